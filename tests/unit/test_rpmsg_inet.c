// SPDX-License-Identifier: BSD-3-Clause
/*
 * AF_INET on rpmsg carriers: the session goes to the port that the host tells of at the front
 * door, accepted connections come in by that door; a proxy in miniature is the host.
 */
#define AMPSOCK_CONFIG "port/hosted_config.h" /* as the library it is linked with */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <cmocka.h>

#include <ampsock.h>
#include <sys/rpmsg_socket.h>
#include <sys/vm_sockets.h>

#include "rpmsg_host.h"
#include "socket/amp_calls.h"
#include "socket/family.h"
#include "wire/le.h"
#include "wire/offload.h"

#define TOKEN	   0x1122334455667788ull
#define DOOR_TOKEN 0x99aabbccddeeff00ull
#define LISTENER   21u

enum { OPENS, CONTROL, RAW };

static struct host_conn *knock; /* an accept carrier on its way */
static unsigned hellos, credits;

static struct sockaddr_in sin4(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};

	a.sin_addr.s_addr = htonl(0x0a000001);
	return a;
}

static struct amp_off_addr off4(uint16_t port)
{
	struct amp_off_addr a = {.family = AMP_OFF_INET, .port = port, .addr = {10, 0, 0, 1}};

	return a;
}

static void say(struct host_conn *c, const void *p, size_t len)
{
	if (host_stream_send(c, p, len) != len)
		abort();
}

static void answer(struct host_conn *c, uint8_t op, uint32_t id, uint32_t arg, uint64_t token)
{
	uint8_t p[AMP_OFF_ANSWER_LEN];
	struct amp_off_answer a = {
		.magic = AMP_OFF_MAGIC,
		.version = AMP_OFF_VERSION,
		.op = op,
		.id = id,
		.arg = arg,
		.token = token,
		.max_frame = AMP_OFF_CTL_MAX,
	};

	if (op != AMP_OFF_HELLO) {
		a.local = off4(1000);
		a.peer = off4(2000);
	}
	amp_off_put_answer(p, &a);
	say(c, p, sizeof(p));
}

static void reply(struct host_conn *c, const struct amp_off_ctl *to, const uint8_t *body,
		  size_t len)
{
	uint8_t p[128];
	struct amp_off_ctl r = {.len = (uint16_t)(AMP_OFF_CTL_LEN + len),
				.op = to->op | AMP_OFF_REPLY,
				.seq = to->seq};

	if (to->op == AMP_OFF_PING)
		r.op = AMP_OFF_PONG;
	amp_off_put_ctl(p, &r);
	memcpy(p + AMP_OFF_CTL_LEN, body, len);
	say(c, p, r.len);
}

static void control(struct host_conn *c, const struct amp_off_ctl *ctl)
{
	uint8_t body[64] = {0};
	struct amp_off_addr a = off4(8080);

	switch (ctl->op) {
	case AMP_OFF_PING:
		reply(c, ctl, body, 0);
		break;
	case AMP_OFF_BIND:
		amp_put_le32(body, 20);
		amp_off_put_addr(body + 4, &a);
		reply(c, ctl, body, 4 + AMP_OFF_ADDR_LEN);
		break;
	case AMP_OFF_LISTEN:
		amp_put_le32(body, LISTENER);
		amp_put_le64(body + 8, DOOR_TOKEN);
		amp_off_put_addr(body + 16, &a);
		reply(c, ctl, body, 16 + AMP_OFF_ADDR_LEN);
		break;
	case AMP_OFF_CREDIT:
		credits++;
		break;
	default:
		break;
	}
}

/* The proxy: what a connection says first tells what it is. */
static void serve(struct host_conn *c)
{
	struct amp_off_open o;
	struct amp_off_ctl ctl;

	if (c == knock) {
		answer(c, AMP_OFF_ACCEPT, 30, LISTENER, DOOR_TOKEN);
		c->stage = RAW;
		knock = NULL;
	}
	while (c->stage == OPENS && c->got - c->sent >= AMP_OFF_OPEN_LEN) {
		if (amp_off_get_open(c->bytes + c->sent, &o) != AMP_OFF_OK)
			abort();
		c->sent += AMP_OFF_OPEN_LEN;
		if (o.op == AMP_OFF_HELLO) {
			hellos++;
			c->stage = CONTROL;
			answer(c, AMP_OFF_HELLO, 0, 0, TOKEN);
		} else {
			if (o.token != TOKEN)
				abort();
			c->stage = RAW;
			answer(c, o.op, 10, 0, 0);
		}
	}
	while (c->stage == CONTROL && c->got - c->sent >= AMP_OFF_CTL_LEN &&
	       amp_off_get_ctl(c->bytes + c->sent, &ctl) && c->got - c->sent >= ctl.len) {
		control(c, &ctl);
		c->sent += ctl.len;
	}
	if (c->stage == RAW && c->sent < c->got)
		c->sent += host_stream_send(c, c->bytes + c->sent, c->got - c->sent);
}

static int group_up(void **state)
{
	(void)state;
	host_boot();
	host.serve = serve;
	assert_int_equal(amp_link_rpmsg(&host.rp), 0);
	return amp_link_wait(10000);
}

static void offer_port(void)
{
	struct host_ept *e = host_open(0, 500, NULL);

	e->stream = true;
	assert_int_equal(host_tell("ampsock~s", 500, false), 0);
}

static int tcp(void)
{
	struct sockaddr_in a = sin4(2000);
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void talk(int fd)
{
	char out[3000], in[3000];

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 5);
	assert_int_equal(amp_send(fd, out, sizeof(out), 0), sizeof(out));
	assert_int_equal(amp_recv(fd, in, sizeof(in), MSG_WAITALL), sizeof(in));
	assert_memory_equal(in, out, sizeof(in));
}

/* A host without a proxy: nobody tells of the port. */
static void test_no_proxy(void **state)
{
	struct sockaddr_in a = sin4(2000);
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), -1);
	assert_true(errno == ETIMEDOUT || errno == ENETDOWN);
	assert_int_equal(amp_close(fd), 0);
}

static void test_connect(void **state)
{
	struct sockaddr_in got;
	socklen_t len = sizeof(got);
	int a, b;

	(void)state;
	offer_port();
	a = tcp();
	b = tcp();
	assert_int_equal(hellos, 1);
	assert_int_equal(amp_getpeername(a, (struct sockaddr *)&got, &len), 0);
	assert_int_equal(ntohs(got.sin_port), 2000);
	talk(a);
	talk(b);
	assert_int_equal(amp_close(a), 0);
	talk(b);
	assert_int_equal(amp_close(b), 0);
}

static void test_accept(void **state)
{
	struct sockaddr_in got;
	socklen_t len = sizeof(got);
	uint32_t door = host_seen("ampsock~s");
	struct host_conn *c;
	char buf[8];
	int l = amp_socket(AF_INET, SOCK_STREAM, 0), s;

	(void)state;
	assert_int_equal(amp_listen(l, 2), 0);
	for (int i = 0; i < 20 && !credits; i++)
		amp_poll_links();
	assert_true(credits);
	host_lock();
	c = host_conn_new();
	knock = c;
	assert_int_equal(amp_rstream_connect(&host.rs, &c->rc, door), 0);
	host_unlock();
	s = amp_accept(l, (struct sockaddr *)&got, &len);
	assert_true(s >= 0);
	assert_int_equal(ntohs(got.sin_port), 2000);
	talk(s);
	/* the proxy ends it: the end is told */
	host_lock();
	amp_vsock_shutdown(&host.rs.vs, &c->rc.c, AMP_VSOCK_SHUTDOWN_SEND);
	host_unlock();
	assert_int_equal(amp_recv(s, buf, sizeof(buf), 0), 0);
	assert_int_equal(amp_close(s), 0);
	/* without the token nobody gets in */
	host_lock();
	c = host_conn_new();
	c->stage = RAW;
	assert_int_equal(amp_rstream_connect(&host.rs, &c->rc, door), 0);
	host_unlock();
	amp_poll_links();
	host_lock();
	assert_int_equal(c->rc.c.state, AMP_CONN_OPEN);
	(void)host_stream_send(c, got.sin_zero, 8);
	{
		uint8_t junk[AMP_OFF_ANSWER_LEN] = {0};

		(void)host_stream_send(c, junk, sizeof(junk));
	}
	host_unlock();
	for (int i = 0; i < 5; i++) {
		amp_poll_links();
		host_turn();
	}
	assert_true(c->events & AMP_VSOCK_EV_RESET);
	assert_int_equal(amp_close(l), 0);
}

/* The host dies: sockets hear of it, a listener is registered anew, connects work again. */
static void test_restart(void **state)
{
	int a, l;
	char c;

	(void)state;
	for (int round = 0; round < 20; round++) {
		unsigned before;

		a = tcp();
		l = amp_socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(amp_listen(l, 1), 0);
		host_restart();
		if (host.ept[0].open)
			host_close(&host.ept[0]);
		assert_int_equal(amp_recv(a, &c, 1, 0), -1);
		assert_int_equal(errno, ECONNRESET);
		assert_int_equal(amp_recv(a, &c, 1, 0), 0);
		assert_int_equal(amp_close(a), 0);
		assert_int_equal(amp_link_wait(5000), 0);
		amp_poll_links();
		before = credits;
		offer_port();
		a = tcp();
		talk(a);
		for (int i = 0; i < 50 && credits == before; i++)
			amp_poll_links();
		assert_true(credits > before); /* it listens again */
		assert_int_equal(amp_close(a), 0);
		assert_int_equal(amp_close(l), 0);
	}
}

extern const struct amp_family amp_vsock_family;

/* With both families compiled in the one whose link is up carries. */
static void test_carrier(void **state)
{
	(void)state;
	assert_int_equal(amp_family_carrier()->domain, AF_RPMSG);
	assert_int_equal(amp_vsock_family.carrier->up(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_proxy), cmocka_unit_test(test_connect),
		cmocka_unit_test(test_accept),	 cmocka_unit_test(test_restart),
		cmocka_unit_test(test_carrier),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, group_up, NULL);
}
