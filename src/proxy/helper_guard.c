// SPDX-License-Identifier: BSD-3-Clause
/*
 * A worker that hangs: it does not read, is stopped, or spins. And workers that die, one after the
 * other.
 *
 * Theory of operation
 *
 * Two things end it, with SIGKILL, which a worker cannot have its own way with:
 *
 *	it is to end	It has AMP_HELPER_END_MS. One that drains says so (STOPPING) and has as long
 *			as the configuration says, once; who says nothing hangs. That is well
 *			before a service manager would kill all of us (helper_manager.c). What
 *			has arrived is read before: if there was anything, the helper was not
 *			listening, its socket may have been full, and the worker has LATE_MS to
 *			say it again, once.
 *	watchdog	If the manager has one, the worker is asked (PING) four times in the
 *			manager's interval, and its loop answers. Two answers in a row that are
 *			missing, and the worker is killed: three quarters of the interval after the
 *			last answer that the manager heard of. The last quarter is its
 *			successor's, to go on with the guests and to answer. If it does not, the
 *			manager does what it is there for.
 *
 * The questions begin with each worker's READY: before the first a start may take as long as
 * TimeoutStartSec= says, and a successor that is not ready in the last quarter is the manager's
 * affair. They are counted, and what has arrived is read before one is: a helper that was stopped itself, or
 * waited for a processor, finds no worker guilty of that.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <uv.h>

#include "helper_life.h"
#include "helper_msg.h"

#define PARTS	4u /* questions in the manager's interval */
#define MISSED	2u /* answers */
#define LATE_MS 500u

static struct {
	pid_t worker; /* 0: none */
	int sock;
	unsigned (*read)(void); /* what the worker has sent */
	bool killed;
	uv_timer_t end;
	const char *why;     /* it is to end */
	uint64_t end_at_ms;  /* 0: it is not to */
	bool drained;	     /* it had its longer time */
	bool late;	     /* it had LATE_MS */
	uv_timer_t watchdog; /* started with READY, for good */
	bool ready;
	uint64_t asked, answered; /* numbers of the last PING and PONG */
	unsigned missed;
} guard = {.sock = -1};

int amp_helper_guard_init(uv_loop_t *uv, unsigned (*read)(void))
{
	int r = uv_timer_init(uv, &guard.end);

	guard.read = read;
	return r ? r : uv_timer_init(uv, &guard.watchdog);
}

static void end_it(const char *why)
{
	if (!guard.worker || guard.killed)
		return;
	amp_log(AMP_LOG_ERROR, "the worker process %s: killed", why);
	guard.killed = true;
	kill(guard.worker, SIGKILL);
}

bool amp_helper_guard_killed(void)
{
	return guard.killed;
}

/* ---- it is to end ---- */

static void end_due(uv_timer_t *t)
{
	uint64_t at_ms = guard.end_at_ms;
	unsigned read = guard.read();

	if (guard.end_at_ms != at_ms) /* it has said how long */
		return;
	if (!read || guard.late) {
		end_it(guard.why);
		return;
	}
	guard.late = true;
	uv_timer_start(t, end_due, LATE_MS, 0);
}

static void end_at(uint64_t at_ms)
{
	uint64_t now = amp_now_ms();

	guard.end_at_ms = at_ms;
	uv_timer_start(&guard.end, end_due, at_ms > now ? at_ms - now : 0, 0);
}

void amp_helper_guard_end(const char *why)
{
	uint64_t at_ms = amp_now_ms() + AMP_HELPER_END_MS;

	guard.why = why;
	if (guard.worker && (!guard.end_at_ms || at_ms < guard.end_at_ms))
		end_at(at_ms);
}

void amp_helper_guard_stopping(uint32_t wait_s)
{
	if (!guard.end_at_ms) /* by itself */
		return;
	if (wait_s && !guard.drained)
		end_at(amp_now_ms() + wait_s * 1000ull + AMP_HELPER_END_MS);
	else
		amp_helper_guard_end(guard.why);
	guard.drained |= wait_s > 0;
}

/* ---- watchdog ---- */

static void ask(void)
{
	struct amp_helper_ans ans;

	memset(&ans, 0, AMP_HELPER_ANS_HEAD);
	ans.magic = AMP_HELPER_MAGIC;
	ans.op = AMP_HELPER_PING;
	ans.id = ++guard.asked;
	/* no room: it has not read the last ones either, and that is what there is to find out */
	(void)amp_helper_send(guard.sock, &ans, AMP_HELPER_ANS_HEAD, -1);
}

static void ask_again(uv_timer_t *t)
{
	(void)t;
	if (!guard.worker || !guard.ready)
		return;
	guard.read();
	guard.missed = guard.answered == guard.asked ? 0 : guard.missed + 1;
	if (guard.missed < MISSED)
		ask();
	else
		end_it("does not answer the watchdog's questions");
}

void amp_helper_guard_watch(uint64_t interval_ms)
{
	uint64_t every_ms = interval_ms / PARTS;

	if (!interval_ms || guard.ready)
		return;
	guard.ready = true;
	ask(); /* the manager is to hear of it soon */
	if (uv_is_active((uv_handle_t *)&guard.watchdog))
		return;
	if (!every_ms)
		every_ms = 1;
	uv_timer_start(&guard.watchdog, ask_again, every_ms, every_ms);
}

bool amp_helper_guard_pong(uint64_t id)
{
	if (id <= guard.answered || id > guard.asked)
		return false;
	guard.answered = id;
	return true;
}

void amp_helper_guard_worker(pid_t pid, int sock)
{
	guard.worker = pid;
	guard.sock = sock;
	guard.killed = guard.drained = guard.late = false;
	guard.end_at_ms = 0;
	uv_timer_stop(&guard.end);
	/* no answer of the one before is the next one's */
	guard.answered = guard.asked;
	guard.missed = 0;
	guard.ready = false;
}

/* ---- those that die ---- */

int64_t amp_helper_guard_back_off(void)
{
	static uint64_t died_ms[AMP_HELPER_LIVES]; /* the last ones, round */
	static unsigned deaths;
	uint64_t now = amp_now_ms();
	unsigned recent = 0;

	for (unsigned i = 0; i < AMP_HELPER_LIVES; i++)
		recent += died_ms[i] && now - died_ms[i] < AMP_HELPER_LIVES_MS;
	if (recent == AMP_HELPER_LIVES)
		return -1;
	died_ms[deaths++ % AMP_HELPER_LIVES] = now;
	return recent ? 50 << recent : 0;
}
