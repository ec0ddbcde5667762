// SPDX-License-Identifier: BSD-3-Clause
/* Accepting: what a failed accept() means, and that none is tried again and again in vain. */
// build: src/proxy/acceptor.c src/proxy/loop.c src/proxy/slice.c src/proxy/buf.c src/proxy/limit.c src/proxy/log.c -luv
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/end.h"
#include "proxy/listen.h"
#include "proxy/publish.h"

#define FORBIDDEN_MS 350u
#define RETRY_MS     100u /* loop.c */

static int refuse;     /* errno of accept4(); 0: it is the kernel's */
static unsigned calls; /* that were refused */
static unsigned taken;

/* In the place of the C library's. */
int accept4(int fd, struct sockaddr *restrict addr, socklen_t *restrict len, int flags)
{
	(void)flags;
	if (refuse) {
		calls++;
		errno = refuse;
		return -1;
	}
	return accept(fd, addr, len);
}

/* Nobody keeps it. */
void amp_listen_close(int fd)
{
	close(fd);
}

/* Where it listens is for the log. */
void amp_fd_info(int fd, struct amp_sock_info *info)
{
	(void)fd;
	(void)info;
}

static void take(struct amp_acceptor *a, int fd, const struct sockaddr_storage *peer)
{
	(void)a;
	(void)peer;
	close(fd);
	taken++;
	amp_loop_stop();
}

static void allow(uv_timer_t *t)
{
	(void)t;
	refuse = 0;
}

/* A packet filter forbids it for FORBIDDEN_MS, with a connection in the queue. */
static void test_waits(void **state)
{
	struct sockaddr_in sin = {.sin_family = AF_INET};
	struct amp_acceptor a = {.take = take};
	socklen_t len = sizeof(sin);
	uint64_t start, took;
	uv_timer_t timer;
	int fd, to;

	(void)state;
	refuse = EPERM;
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(amp_loop_init(), 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	to = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(to, (struct sockaddr *)&sin, sizeof(sin)), 0);
	uv_timer_init(amp_loop_uv(), &timer);
	uv_timer_start(&timer, allow, FORBIDDEN_MS, 0);
	start = amp_now_ms();
	assert_int_equal(amp_acceptor_start(&a, fd), 0);
	amp_loop_run();
	took = amp_now_ms() - start;
	assert_int_equal(taken, 1);
	assert_in_range(took, FORBIDDEN_MS - 1, UINT32_MAX);
	amp_acceptor_stop(&a);
	close(to);
	uv_close((uv_handle_t *)&timer, NULL);
	amp_loop_fini();
	assert_in_range(calls, 1, took / RETRY_MS + 1);
}

static void test_next(void **state)
{
	static const int next[] = {ECONNABORTED, EPROTO, EINTR, ENETDOWN, EHOSTUNREACH};
	static const int pause[] = {EMFILE, ENFILE, ENOMEM, ENOBUFS, EPERM, EACCES, EINVAL};

	(void)state;
	for (unsigned i = 0; i < sizeof(next) / sizeof(*next); i++)
		assert_true(amp_accept_next(next[i]));
	for (unsigned i = 0; i < sizeof(pause) / sizeof(*pause); i++)
		assert_false(amp_accept_next(pause[i]));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_next),
		cmocka_unit_test(test_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
