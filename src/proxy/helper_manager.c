// SPDX-License-Identifier: BSD-3-Clause
/*
 * The service manager (systemd), which knows the helper alone: it has the main PID.
 *
 * Theory of operation
 *
 * READY, RELOADING, STOPPING and STATUS are the worker's to know and the helper's to send.
 *
 * WATCHDOG=1 says that guests are served, and that is not for the helper to claim. It asks the
 * worker, whose loop answers, and sends WATCHDOG=1 for each answer (helper_guard.c).
 *
 * Sockets that the manager passed stay here. The worker is given a duplicate of those whose
 * address a rule or link names; what nobody has asked for when it is ready is told and closed.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "activated.h"
#include "helper_call.h"
#include "helper_msg.h"
#include "notify.h"

#define STOP_S	     10u /* for the end itself, behind a drain */
#define TELL_MS	     1000
#define TELL_STEP_MS 1

static struct amp_notify notify = {.fd = -1};
static struct amp_log_rate log_notify;

int amp_helper_manager_open(void)
{
	int r = amp_notify_open(&notify);

	if (r)
		amp_log(AMP_LOG_WARN,
			"NOTIFY_SOCKET, WATCHDOG_USEC or WATCHDOG_PID is wrong, and ignored: "
			"%s",
			strerror(-r));
	r = amp_activated_init();
	if (r < 0)
		amp_log(AMP_LOG_ERROR,
			"LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES do not go together: %s",
			strerror(-r));
	return r;
}

void amp_helper_manager_close(void)
{
	amp_notify_close(&notify);
	amp_activated_close();
}

static void sent(int r)
{
	if (r)
		amp_log_some(&log_notify, AMP_LOG_WARN, "the service manager does not hear: %s",
			     strerror(-r));
}

bool amp_helper_managed(void)
{
	return notify.fd >= 0;
}

/*
 * A store with a gap is of no use, and a READY that is lost is the end of a start: so these wait while
 * the manager's queue is full (which may be ten messages long): at most TELL_MS in a row, and not
 * again before it has taken one. r: of the last try. True: to be tried again.
 */
static bool persist(int r)
{
	static int left = TELL_MS / TELL_STEP_MS;

	if (r == -EAGAIN && left > 0) {
		left--;
		(void)poll(NULL, 0, TELL_STEP_MS);
		return true;
	}
	left = r ? 0 : TELL_MS / TELL_STEP_MS;
	sent(r);
	return false;
}

void amp_helper_manager_tell(const char *text, int fd)
{
	while (persist(amp_notify_send_fds(&notify, text, &fd, fd >= 0)))
		;
}

static void tell_state(const char *state, const char *status)
{
	while (persist(amp_notify_status(&notify, state, status)))
		;
}

uint64_t amp_helper_manager_watchdog_ms(void)
{
	return 2 * amp_notify_watchdog_ms(&notify);
}

void amp_helper_manager_alive(void)
{
	sent(amp_notify_send(&notify, "WATCHDOG=1"));
}

static void say_unused(void *arg, const char *text)
{
	(void)arg;
	amp_log(AMP_LOG_WARN,
		"%s was passed by the service manager and is not used: no publish rule, link "
		"or "
		"control socket has that address. It is closed here; its clients will wait",
		text);
}

/*
 * Longer than the manager would wait for the end: as long as the configuration says, and once.
 * Or a worker that is taken over could put off the machine's shutdown for as long as it likes.
 */
static uint64_t extension_s(uint32_t wanted_s, uint32_t drain_s)
{
	static bool extended;

	if (wanted_s > drain_s)
		wanted_s = drain_s;
	if (!wanted_s || extended)
		return 0;
	extended = true;
	return wanted_s + STOP_S;
}

void amp_helper_manager_news(const struct amp_helper_req *req, uint32_t drain_s)
{
	static const char *const states[] = {
		[AMP_HELPER_READY] = "READY=1",
		[AMP_HELPER_STOPPING] = "STOPPING=1",
	};
	uint64_t more_s = 0;
	char drain[64];

	if (req->arg[0] == AMP_HELPER_RELOADING) {
		while (persist(amp_notify_reloading(&notify)))
			;
		return;
	}
	if (req->arg[0] == AMP_HELPER_STOPPING)
		more_s = extension_s(req->arg[1], drain_s);
	if (more_s) {
		snprintf(drain, sizeof(drain),
			 "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64 "000000", more_s);
		tell_state(drain, req->path);
		return;
	}
	tell_state(states[req->arg[0]], req->path);
	if (req->arg[0] == AMP_HELPER_READY)
		amp_activated_rest(say_unused, NULL);
}

int amp_helper_passed(bool tcp, const struct sockaddr *sa)
{
	return amp_activated_lend(tcp ? SOCK_STREAM : SOCK_DGRAM, sa);
}
