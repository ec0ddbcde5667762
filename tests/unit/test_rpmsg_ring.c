// SPDX-License-Identifier: BSD-3-Clause
/*
 * AF_RPMSG's raw messages where memory is short: a ring has room for two of the longest, and
 * there are fewer rings than sockets.
 */
// build: -DAMPSOCK_RING_LEN=1024 -DAMPSOCK_SOCKETS=6 -DAMPSOCK_RINGS=2 -DAMPSOCK_RPMSG=1 -DAMPSOCK_INET=0
// build: src/socket/stack.c src/socket/socks.c src/socket/api.c src/socket/msg.c src/socket/msg_name.c
// build: src/af_rpmsg/rpmsg_addr.c src/af_rpmsg/rpmsg_dgram.c src/socket/poll.c src/socket/links.c
// build: src/socket/listen.c src/socket/name.c src/socket/rxring.c src/socket/stats.c src/af_rpmsg/af_rpmsg.c
// build: src/af_rpmsg/link_remote.c src/af_rpmsg/rlink.c src/af_rpmsg/rlink_stats.c src/af_rpmsg/rpmsg.c
// build: src/af_rpmsg/rpmsg_fast.c src/af_rpmsg/rpmsg_listen.c src/af_rpmsg/rpmsg_name.c
// build: src/af_rpmsg/rpmsg_raw.c src/vsock/vsock_listen.c src/vsock/vsock_name.c src/af_rpmsg/rpmsg_serve.c
// build: src/af_rpmsg/rpmsg_stream.c src/af_rpmsg/rpmsg_told.c src/vsock/af_vsock.c src/vsock/vlink.c
// build: src/vsock/vlink_loop.c src/vsock/vsock.c src/vsock/vsock_conn.c src/vsock/vsock_out.c
// build: src/vsock/vsock_request.c src/vsock/xport_loop.c
// small
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ampsock.h>
#include <sys/rpmsg_socket.h>

#include "rpmsg_host.h"
#include "socket/amp_calls.h"
#include "socket/stack.h"
#include "assert_errno.h"

#define LONGEST 496 /* payload of a 512-byte buffer */
#define BURST	12

static int dial(uint32_t addr)
{
	struct sockaddr_rpmsg a = {.rp_family = AF_RPMSG, .rp_addr = addr};
	int fd = amp_socket(AF_RPMSG, SOCK_SEQPACKET, 0);

	assert_true(fd >= 0);
	if (amp_connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	(void)amp_close(fd);
	return -1;
}

static uint32_t local_addr(int fd)
{
	struct sockaddr_rpmsg a;
	socklen_t len = sizeof(a);

	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&a, &len), 0);
	return a.rp_addr;
}

/* In the transport's ring before anybody looks. */
static void burst(uint32_t to, uint32_t first_len)
{
	static uint8_t buf[LONGEST];

	for (int i = 0; i < BURST; i++) {
		memset(buf, i, sizeof(buf));
		assert_int_equal(host_send(500, to, buf, i ? LONGEST : first_len), 0);
	}
}

static void expect(int fd, int i, size_t len)
{
	static uint8_t buf[LONGEST];

	assert_int_equal(amp_recv(fd, buf, sizeof(buf), MSG_DONTWAIT), len);
	assert_int_equal(buf[0], i);
	assert_int_equal(buf[len - 1], i);
}

/* Who reads whatever is there loses nothing, in however short a time it has come. */
static void who_reads(void **state)
{
	static const uint32_t first[] = {1, 100, 300, LONGEST};
	int fd = dial(500);

	(void)state;
	for (unsigned k = 0; k < sizeof(first) / sizeof(*first); k++) {
		burst(local_addr(fd), first[k]);
		for (int i = 0; i < BURST; i++)
			expect(fd, i, i ? LONGEST : first[k]);
	}
	assert_int_equal(amp_close(fd), 0);
}

static void who_polls(void **state)
{
	static const uint32_t first[] = {1, 100, 300, LONGEST};
	int fd = dial(500);

	(void)state;
	for (unsigned k = 0; k < sizeof(first) / sizeof(*first); k++) {
		burst(local_addr(fd), first[k]);
		for (int i = 0; i < BURST;) {
			struct pollfd p = {.fd = fd, .events = POLLIN};

			assert_int_equal(amp_poll(&p, 1, 0), 1);
			assert_int_equal(p.revents, POLLIN);
			for (; p.revents && i < BURST; i++) {
				expect(fd, i, i ? LONGEST : first[k]);
				p.revents = 0;
			}
		}
	}
	assert_int_equal(amp_close(fd), 0);
}

/* Without a ring there is no connection, and nothing is left of the attempt. */
static void no_ring(void **state)
{
	struct sockaddr_rpmsg a = {.rp_family = AF_RPMSG, .rp_addr = RPMSG_ADDR_ANY};
	struct pollfd p = {.events = POLLIN};
	struct amp_stats before, after;
	int ls = amp_socket(AF_RPMSG, SOCK_SEQPACKET, 0), one = dial(500), two = dial(501), c;

	(void)state;
	strcpy(a.rp_name, "srv");
	assert_int_equal(amp_bind(ls, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(amp_listen(ls, 2), 0);
	assert_errno(dial(502), ENOBUFS);
	amp_stats_get(&before);
	assert_int_equal(host_send(900, local_addr(ls), "a", 1), 0);
	p.fd = ls;
	assert_int_equal(amp_poll(&p, 1, 0), 0);
	amp_stats_get(&after);
	assert_int_equal(after.dgram_drops, before.dgram_drops + 1);
	assert_int_equal(after.sockets_used, before.sockets_used);
	assert_int_equal(amp_close(one), 0);
	assert_int_equal(host_send(900, local_addr(ls), "b", 1), 0);
	assert_int_equal(amp_poll(&p, 1, 0), 1);
	c = amp_accept(ls, NULL, NULL);
	assert_true(c >= 0);
	expect(c, 'b', 1);
	assert_int_equal(amp_close(c), 0);
	assert_int_equal(amp_close(two), 0);
	assert_int_equal(amp_close(ls), 0);
	one = dial(500), two = dial(501); /* all came back */
	assert_true(one >= 0 && two >= 0);
	assert_int_equal(amp_close(one), 0);
	assert_int_equal(amp_close(two), 0);
}

/* A call sleeps in a socket that another thread closes: the slot is not free yet, and the next socket has
 * another. There was never more than one at a time. */
static void most_at_a_time(void **state)
{
	int fd = amp_socket(AF_RPMSG, SOCK_SEQPACKET, 0), other;
	struct amp_stats st;
	struct amp_call c;

	(void)state;
	assert_int_equal(amp_enter(&c, fd, false), 0);
	amp_port_unlock();
	assert_int_equal(amp_close(fd), 0);
	other = amp_socket(AF_RPMSG, SOCK_SEQPACKET, 0);
	assert_true(other > fd);
	amp_port_lock();
	amp_leave(&c, 0);
	amp_stats_get(&st);
	assert_int_equal(st.sockets_used, 1);
	assert_int_equal(st.sockets_max, 1);
	assert_int_equal(amp_close(other), 0);
	amp_stats_get(&st);
	assert_int_equal(st.sockets_used, 0);
	assert_int_equal(st.sockets_max, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(most_at_a_time), /* first: of all the others, too */
		cmocka_unit_test(who_reads),
		cmocka_unit_test(who_polls),
		cmocka_unit_test(no_ring),
	};

	host_boot();
	if (amp_link_rpmsg(&host.rp) || amp_link_wait(5000))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
