// SPDX-License-Identifier: BSD-3-Clause
/* The proxy's loop: a watch that was closed hears nothing, whoever else has its descriptor. */
// build: src/proxy/loop.c src/proxy/buf.c src/proxy/limit.c src/proxy/log.c -luv
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/loop.h"

static unsigned heard;

static void on_closed(struct amp_watch *w, uint32_t events)
{
	(void)w;
	(void)events;
	heard++;
}

static void on_last(struct amp_watch *w, uint32_t events)
{
	(void)events;
	amp_watch_close(w);
	amp_loop_stop();
}

static void duplicate(void **state)
{
	struct amp_watch gone = {.ready = on_closed}, last = {.ready = on_last};
	int s[2], end[2], dup_fd;

	(void)state;
	assert_int_equal(amp_loop_init(), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, end), 0);
	dup_fd = dup(s[0]); /* as the helper has one of what it sends */
	assert_int_equal(amp_watch_start(&gone, s[0], EPOLLIN | EPOLLRDHUP | EPOLLET), 0);
	assert_int_equal(amp_watch_start(&last, end[0], EPOLLIN), 0);
	amp_watch_close(&gone);
	close(s[1]); /* the peer goes */
	assert_int_equal(write(end[1], "x", 1), 1);
	amp_loop_run();
	assert_int_equal(heard, 0);
	close(dup_fd);
	close(end[1]);
	amp_loop_fini();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(duplicate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
