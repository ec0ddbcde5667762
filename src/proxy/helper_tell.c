// SPDX-License-Identifier: BSD-3-Clause
/*
 * Signals, which the helper passes on to the worker in messages.
 *
 * Theory of operation
 *
 * The socket may be full of answers of the resolver: what does not fit is remembered and told when
 * there is room.
 *
 * SIGHUP must not get lost with a worker that dies: the operator has been told nothing. So a
 * worker says when it has dealt with one (HEARD, with the message's number), and one that it has
 * not is told to its successor; but not to a third, in case that it was what the others died
 * of. Every other signal is for the worker that there is.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <uv.h>

#include "helper_life.h"
#include "helper_msg.h"

#define RETRY_MS 50 /* until a worker that does not read is told again */

static struct {
	int sock;	   /* of the worker that there is; -1: none */
	uint32_t untold;   /* signals that it has not been told of: 1 << number */
	uint64_t last_id;  /* of messages */
	uint64_t hangup;   /* the last SIGHUP's; 0: it was dealt with */
	bool hangup_again; /* its worker is the second that was told of it */
	uv_timer_t retry;
} tell = {.sock = -1};

int amp_helper_tell_init(uv_loop_t *uv)
{
	return uv_timer_init(uv, &tell.retry);
}

static int send_signal(int num)
{
	struct amp_helper_ans ans;
	int r;

	memset(&ans, 0, AMP_HELPER_ANS_HEAD);
	ans.magic = AMP_HELPER_MAGIC;
	ans.op = AMP_HELPER_SIGNAL;
	ans.id = ++tell.last_id;
	ans.more = (uint32_t)num;
	r = amp_helper_send(tell.sock, &ans, AMP_HELPER_ANS_HEAD, -1);
	if (!r && num == SIGHUP)
		tell.hangup = ans.id;
	return r;
}

/*
 * r: of send_signal(). A worker that has died already, as nobody here has heard of yet, hears of
 * nothing: its successor is to hear of SIGHUP.
 */
static bool to_be_told(int num, int r)
{
	return r == -EAGAIN || (r && num == SIGHUP);
}

static void tell_again(uv_timer_t *t)
{
	for (int num = 1; num < 32; num++) {
		if (!(tell.untold & 1u << num))
			continue;
		if (tell.sock < 0 || to_be_told(num, send_signal(num)))
			return;
		tell.untold &= ~(1u << num);
	}
	uv_timer_stop(t);
}

void amp_helper_tell(int num)
{
	int r;

	if (num == SIGHUP)
		tell.hangup_again = false;
	if (tell.sock < 0) { /* between two of them */
		if (num == SIGHUP)
			tell.untold |= 1u << num;
		return;
	}
	r = send_signal(num);
	if (!to_be_told(num, r))
		return;
	if (r == -EAGAIN && !(tell.untold & 1u << num))
		amp_log(AMP_LOG_WARN,
			"SIG%s: the worker process does not listen: it is told when it does",
			sigabbrev_np(num));
	tell.untold |= 1u << num;
	if (!uv_is_active((uv_handle_t *)&tell.retry))
		uv_timer_start(&tell.retry, tell_again, RETRY_MS, RETRY_MS);
}

void amp_helper_tell_heard(uint64_t id)
{
	if (id == tell.hangup)
		tell.hangup = 0;
}

void amp_helper_tell_worker(int sock)
{
	tell.sock = sock;
	if (sock >= 0) {
		tell_again(&tell.retry);
		if (tell.untold)
			uv_timer_start(&tell.retry, tell_again, RETRY_MS, RETRY_MS);
		return;
	}
	uv_timer_stop(&tell.retry);
	tell.untold &= 1u << SIGHUP;
	if (tell.hangup && !(tell.untold & 1u << SIGHUP)) {
		if (tell.hangup_again) {
			amp_log(AMP_LOG_ERROR, "SIGHUP: two worker processes have died before "
					       "they had read the "
					       "configuration again: it stays as it is");
		} else {
			amp_log(AMP_LOG_WARN,
				"SIGHUP: the worker process died before it had read the "
				"configuration again: the next one is told");
			tell.untold |= 1u << SIGHUP;
			tell.hangup_again = true;
		}
	}
	tell.hangup = 0;
}
