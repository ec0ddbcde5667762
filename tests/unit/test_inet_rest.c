// SPDX-License-Identifier: BSD-3-Clause
/*
 * The session between events: a program that is served well never sleeps, and each of its looks
 * brings it bytes that the session has nothing to do with. All the same it keeps its promises.
 */
// build: -DAMPSOCK_RPMSG=0 -DAMPSOCK_SOCKETS=12 -DAMPSOCK_RING_LEN=1024 src/socket/stack.c src/socket/socks.c
// build: src/socket/api.c src/socket/msg.c src/socket/msg_name.c src/socket/option.c src/socket/poll.c
// build: src/socket/links.c src/socket/rxring.c src/af_inet/af_inet.c src/af_inet/inet_addr.c
// build: src/af_inet/inet_carrier.c src/af_inet/inet_session.c src/af_inet/inet_udp.c src/af_inet/inet_opt.c
// build: src/wire/offload.c src/af_inet/inet_listen.c src/af_inet/inet_name.c
// build: src/af_inet/inet_direct.c src/socket/listen.c src/socket/name.c
// build: src/socket/direct.c -DAMP_PORT_THREADS=0
// small
#include "inet_rig.h"

/* As fast as the proxy sends: a byte at each look, ms apart. */
static void stream(struct wire *w, int fd, unsigned bytes, uint32_t ms)
{
	char c;

	for (unsigned i = 0; i < bytes; i++) {
		say(w, "x", 1);
		clock_ms += ms;
		assert_int_equal(amp_recv(fd, &c, 1, 0), 1);
		assert_int_equal(c, 'x');
	}
}

/* Whether the proxy lives is asked for, though nobody sleeps; not much later than it should be. */
static void pings_beside_bulk(void **state)
{
	int fd = tcp(80);
	struct wire *w = last_wire();

	(void)state;
	spin();
	px.pings = 0;
	sleeps = 0;
	stream(w, fd, 400, 100);
	assert_int_equal(sleeps, 0);
	assert_in_range(px.pings, 40000 / (AMPSOCK_PING_MS + 1700),
			40000 / AMPSOCK_PING_MS + 1);
	amp_close(fd);
	spin();
}

/* What the proxy says on the control carrier is heard at the next look, and so is its end. */
static void hears_beside_bulk(void **state)
{
	int fd = tcp(80), other = tcp(80);
	char c;

	(void)state;
	stream(last_wire(), other, 3, 0);
	px.bind_port = 0;
	say_ctl(AMP_OFF_PING, 0, 5, "", 0);
	stream(last_wire(), other, 3, 0);
	assert_int_equal(px.bind_port, 7777);
	px.ctl->rst = true;
	stream(last_wire(), other, 1, 0);
	assert_errno(amp_recv(fd, &c, 1, MSG_DONTWAIT), ECONNRESET);
	amp_close(fd);
	amp_close(other);
	spin();
}

/* A socket that opens ends the rest of a session that had none, and did not ping. */
static void first_socket_pings(void **state)
{
	int fd = tcp(80);

	(void)state;
	amp_close(fd);
	pass(60000);
	px.pings = 0;
	fd = amp_socket(AF_INET, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	pass(AMPSOCK_PING_MS + 100);
	assert_in_range(px.pings, 1, 2);
	amp_close(fd);
	spin();
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_up, rig_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(pings_beside_bulk),
		T(hears_beside_bulk),
		T(first_socket_pings),
	};

	return cmocka_run_group_tests_name("inet_rest", tests, NULL, NULL);
}
