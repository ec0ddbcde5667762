// SPDX-License-Identifier: BSD-3-Clause
/* What the worker tells the helper, whose socket is full. */
// build: src/proxy/helper_call.c src/proxy/helper_msg.c src/proxy/loop.c src/proxy/slice.c src/proxy/buf.c src/proxy/limit.c
// build: src/proxy/log.c -lbsd -luv -Wl,--wrap=poll
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/confine.h"
#include "proxy/helper.h"
#include "proxy/helper_call.h"
#include "proxy/helper_msg.h"
#include "proxy/loop.h"

static int calls[2], news[2];

void amp_confine_keep(int fd)
{
	(void)fd;
}

static void no_signal(int num)
{
	(void)num;
}

static void not_gone(void)
{
	fail_msg("the helper is not gone");
}

/* What the helper hears next; 0: nothing is there. */
static uint32_t hears(struct amp_helper_req *req)
{
	int fd;
	ssize_t n = amp_helper_recv(news[0], req, sizeof(*req), &fd);

	if (n == -EAGAIN)
		return 0;
	assert_int_equal(amp_helper_check(req, (size_t)n, true, 0), 0);
	return req->op;
}

/* Questions for names until there is no room. How many. */
static unsigned fill(void)
{
	static const struct addrinfo hints;
	unsigned n = 0;

	while (amp_helper_resolve(n, "a.example", "80", &hints) == 0)
		assert_true(++n < 100000);
	return n;
}

static uv_timer_t late;
static bool over;

static void is_over(uv_timer_t *t)
{
	(void)t;
	over = true;
}

/* Timers for a while, longer than the worker takes to try again. */
static void run(void)
{
	over = false;
	uv_timer_start(&late, is_over, 200, 0);
	while (!over)
		uv_run(amp_loop_uv(), UV_RUN_ONCE);
}

static void test_full(void **state)
{
	unsigned filled = fill();
	struct amp_helper_req req;

	(void)state;
	amp_helper_notify(AMP_HELPER_RELOADING, NULL);
	amp_helper_notify(AMP_HELPER_READY, "Serving 1 link");
	amp_helper_log_level(AMP_LOG_ERROR);
	amp_helper_notify_drain(77, "Waiting");
	run(); /* and there is still no room */
	for (unsigned i = 0; i < filled; i++)
		assert_int_equal(hears(&req), AMP_HELPER_RESOLVE);
	assert_int_equal(hears(&req), 0);
	run();
	assert_int_equal(hears(&req), AMP_HELPER_NOTIFY);
	assert_int_equal(req.arg[0], AMP_HELPER_RELOADING);
	assert_int_equal(hears(&req), AMP_HELPER_NOTIFY);
	assert_int_equal(req.arg[0], AMP_HELPER_READY);
	assert_string_equal(req.path, "Serving 1 link");
	assert_int_equal(hears(&req), AMP_HELPER_LEVEL);
	assert_int_equal(hears(&req), AMP_HELPER_NOTIFY);
	assert_int_equal(req.arg[0], AMP_HELPER_STOPPING);
	assert_int_equal(req.arg[1], 77);
	assert_int_equal(hears(&req), 0);
	/* at once, when there is room */
	amp_helper_notify(AMP_HELPER_READY, "again");
	assert_int_equal(hears(&req), AMP_HELPER_NOTIFY);
	assert_string_equal(req.path, "again");
	assert_int_equal(hears(&req), 0);
}

/* More than are remembered: the last ones are. */
static void test_many(void **state)
{
	unsigned filled = fill(), n = 0;
	struct amp_helper_req req;
	char text[16];

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "%u", i);
		amp_helper_notify(AMP_HELPER_READY, text);
	}
	amp_helper_notify_drain(5, "last");
	for (unsigned i = 0; i < filled; i++)
		assert_int_equal(hears(&req), AMP_HELPER_RESOLVE);
	run();
	while (hears(&req) == AMP_HELPER_NOTIFY)
		n++;
	assert_in_range(n, 2, 100);
	assert_int_equal(req.arg[0], AMP_HELPER_STOPPING);
	assert_int_equal(req.arg[1], 5);
}

/* The loop has ended when STOPPING is said: it goes out before the process does. */
static void test_last(void **state)
{
	unsigned filled = fill();
	struct amp_helper_req req;

	(void)state;
	amp_helper_notify(AMP_HELPER_STOPPING, "Stopping");
	for (unsigned i = 0; i < filled; i++)
		assert_int_equal(hears(&req), AMP_HELPER_RESOLVE);
	amp_helper_unwatch();
	assert_int_equal(hears(&req), AMP_HELPER_NOTIFY);
	assert_int_equal(req.arg[0], AMP_HELPER_STOPPING);
}

static unsigned polls;

int __real_poll(struct pollfd *fds, nfds_t cnt, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t cnt, int timeout_ms);

int __wrap_poll(struct pollfd *fds, nfds_t cnt, int timeout_ms)
{
	polls++;
	return __real_poll(fds, cnt, timeout_ms);
}

/* The helper is dead, and there is something to be said: that is not tried again and again. */
static void test_dead(void **state)
{
	(void)state;
	close(news[0]);
	amp_helper_notify(AMP_HELPER_STOPPING, "Stopping");
	polls = 0;
	amp_helper_tell_last();
	assert_int_equal(polls, 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_last),
		cmocka_unit_test(test_dead),
	};
	int failed;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, calls) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, news) || amp_loop_init())
		return 1;
	amp_helper_join(calls[1], news[1], false);
	if (amp_helper_watch(no_signal, not_gone) || uv_timer_init(amp_loop_uv(), &late))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	uv_close((uv_handle_t *)&late, NULL);
	amp_loop_fini();
	return failed;
}
