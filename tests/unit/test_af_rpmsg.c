// SPDX-License-Identifier: BSD-3-Clause
/*
 * AF_RPMSG: socket calls of a remote against a host in the same process, on a resource table in
 * static memory. What docs/posix.md says of the family, and the defects of its peers that
 * ours must not have.
 */
// small
// tsan
#define AMPSOCK_CONFIG "port/hosted_config.h" /* as the library it is linked with */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>

#include <ampsock.h>
#include <sys/rpmsg_socket.h>

#include "af_rpmsg/af_rpmsg.h"
#include "rpmsg_host.h"
#include "socket/amp_calls.h"
#include "socket/stack.h"
#include "virtio/vring.h"
#include "wire/le.h"
#include "assert_errno.h"

#define BUF_MAX 496 /* payload of a 512-byte buffer */

static struct sockaddr_rpmsg named(const char *name)
{
	struct sockaddr_rpmsg a = {.rp_family = AF_RPMSG, .rp_addr = RPMSG_ADDR_ANY};

	strcpy(a.rp_name, name);
	return a;
}

static struct sockaddr_rpmsg at(uint32_t addr)
{
	struct sockaddr_rpmsg a = {.rp_family = AF_RPMSG, .rp_addr = addr};

	return a;
}

static int do_bind(int fd, struct sockaddr_rpmsg a)
{
	return amp_bind(fd, (struct sockaddr *)&a, sizeof(a));
}

static int do_connect(int fd, struct sockaddr_rpmsg a)
{
	return amp_connect(fd, (struct sockaddr *)&a, sizeof(a));
}

static int sock(int type)
{
	int fd = amp_socket(AF_RPMSG, type, 0);

	assert_true(fd >= 0);
	return fd;
}

static int dial(int type, struct sockaddr_rpmsg a)
{
	int fd = sock(type);

	assert_int_equal(do_connect(fd, a), 0);
	return fd;
}

static int listener(int type, const char *name, int backlog)
{
	int fd = sock(type);

	assert_int_equal(do_bind(fd, named(name)), 0);
	assert_int_equal(amp_listen(fd, backlog), 0);
	return fd;
}

static uint32_t local_addr(int fd)
{
	struct sockaddr_rpmsg a;
	socklen_t len = sizeof(a);

	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(len, sizeof(a));
	assert_int_equal(a.rp_family, AF_RPMSG);
	return a.rp_addr;
}

static void set_timeout(int fd, int name, int ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	assert_int_equal(amp_setsockopt(fd, SOL_SOCKET, name, &tv, sizeof(tv)), 0);
}

static int so_error(int fd)
{
	int v = -1;
	socklen_t len = sizeof(v);

	assert_int_equal(amp_getsockopt(fd, SOL_SOCKET, SO_ERROR, &v, &len), 0);
	return v;
}

static void nonblock(int fd)
{
	assert_int_equal(amp_fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

static short poll_for(int fd, short events, int ms)
{
	struct pollfd p = {.fd = fd, .events = events};

	amp_poll(&p, 1, ms);
	return p.revents;
}

static void close_ok(int fd)
{
	assert_int_equal(amp_close(fd), 0);
}

static struct amp_stats stats(void)
{
	struct amp_stats st;

	amp_stats_get(&st);
	return st;
}

/* ---- the rig ---- */

static int group_up(void **state)
{
	uint32_t offers;

	(void)state;
	host_boot();
	/* a table of a file that was compiled with other knobs */
	offers = host.rp.table->vdev.dfeatures;
	assert_int_equal(offers, AMP_RPROC_FEATURES);
	if (!AMPSOCK_RPMSG_EVENT_IDX) {
		host.rp.table->vdev.dfeatures |= (uint32_t)AMP_VIRTIO_F_EVENT_IDX;
		assert_int_equal(amp_link_rpmsg(&host.rp), -EINVAL);
		host.rp.table->vdev.dfeatures = offers;
	}
	assert_int_equal(amp_link_rpmsg(&host.rp), 0);
	return amp_link_wait(10000);
}

/* Nothing is left behind, and all buffers are where they were. */
static int all_gone(void **state)
{
	struct amp_stats st;

	(void)state;
	host.deaf = false;
	for (unsigned i = 0; i < HOST_EPTS; i++) {
		if (host.ept[i].open)
			host_close(&host.ept[i]);
	}
	for (int i = 0; i < 10; i++) {
		amp_poll_links();
		host_turn();
	}
	st = stats();
	assert_int_equal(st.sockets_used, 0);
	assert_int_equal(st.rings_used, 0);
	assert_int_equal(st.tx_pending, 0);
	assert_int_equal(amp_vq_avail(&host.q[AMP_RPROC_RX]), HOST_NUM);
	for (unsigned i = 0; i < HOST_CONNS; i++) {
		assert_int_equal(host.conn[i].rc.c.state, AMP_CONN_FREE);
		free(host.conn[i].bytes);
		host.conn[i].bytes = NULL;
	}
	return 0;
}

/* ---- addresses ---- */

static void test_socket(void **state)
{
	int fd;

	(void)state;
	assert_errno(amp_socket(AF_RPMSG, SOCK_RAW, 0), ESOCKTNOSUPPORT);
	assert_errno(amp_socket(AF_RPMSG, SOCK_STREAM, 6), EPROTONOSUPPORT);
	fd = sock(SOCK_STREAM);
	assert_errno(amp_send(fd, "x", 1, 0), ENOTCONN);
	assert_errno(amp_recv(fd, &fd, 1, 0), ENOTCONN);
	assert_errno(amp_shutdown(fd, SHUT_WR), ENOTCONN);
	assert_int_equal(poll_for(fd, POLLIN | POLLOUT, 0), POLLOUT | POLLHUP);
	close_ok(fd);
	fd = sock(SOCK_SEQPACKET);
	assert_errno(amp_send(fd, "x", 1, 0), ENOTCONN);
	assert_errno(amp_recv(fd, &fd, 1, 0), ENOTCONN);
	assert_int_equal(poll_for(fd, POLLIN | POLLOUT, 0), POLLOUT | POLLHUP);
	close_ok(fd);
}

static void test_bad_addresses(void **state)
{
	struct sockaddr_rpmsg a = named("one");
	int d = sock(SOCK_DGRAM), s = sock(SOCK_STREAM), q = sock(SOCK_SEQPACKET);

	(void)state;
	assert_errno(amp_bind(d, (struct sockaddr *)&a, sizeof(a) - 1), EINVAL);
	a.rp_family = AF_INET;
	assert_errno(do_bind(d, a), EAFNOSUPPORT);
	assert_errno(do_connect(q, a), EAFNOSUPPORT);
	/* never truncated: 31 characters, 29 of a stream's */
	a = named("");
	memset(a.rp_name, 'x', sizeof(a.rp_name));
	assert_errno(do_bind(d, a), ENAMETOOLONG);
	assert_errno(do_connect(q, a), ENAMETOOLONG);
	a.rp_name[31] = '\0';
	assert_errno(do_bind(s, a), ENAMETOOLONG);
	a.rp_name[30] = '\0';
	assert_errno(do_bind(s, a), ENAMETOOLONG);
	a.rp_name[29] = '\0';
	assert_int_equal(do_bind(s, a), 0);
	a.rp_name[29] = 'x';
	a.rp_name[30] = 'x';
	assert_int_equal(do_bind(d, a), 0);
	/* reserved: the streams' suffix, the front door */
	assert_errno(do_bind(q, named("name~s")), EINVAL);
	assert_errno(do_bind(q, named("~s")), EINVAL);
	assert_errno(do_connect(q, named("name~s")), EINVAL);
	assert_errno(do_bind(q, named("ampsock")), EINVAL);
	assert_errno(do_connect(q, named("ampsock")), EINVAL);
	/* links */
	a = named("two");
	a.rp_link = 4;
	assert_errno(do_bind(q, a), ENODEV);
	a.rp_link = 3; /* there can be one, but there is none */
	assert_errno(do_connect(q, a), ENETUNREACH);
	a = at(1024);
	a.rp_link = 3;
	assert_errno(do_connect(q, a), ENETUNREACH);
	/* the name service's own address; nobody's */
	assert_errno(do_bind(q, at(53)), EINVAL);
	assert_errno(do_connect(q, at(RPMSG_ADDR_ANY)), EINVAL);
	assert_errno(do_connect(q, at(0)), EINVAL);
	close_ok(d);
	close_ok(s);
	close_ok(q);
}

static void test_in_use(void **state)
{
	struct sockaddr_rpmsg a = named("svc"), got;
	socklen_t len = sizeof(got);
	int d = sock(SOCK_DGRAM), e = sock(SOCK_DGRAM), s = sock(SOCK_STREAM);

	(void)state;
	a.rp_addr = 77;
	assert_int_equal(do_bind(d, a), 0);
	assert_errno(do_bind(d, a), EINVAL);
	assert_errno(do_bind(e, named("svc")), EADDRINUSE);
	assert_errno(do_bind(e, at(77)), EADDRINUSE);
	assert_int_equal(do_bind(s, named("svc")), 0); /* svc~s: another service */
	assert_int_equal(amp_getsockname(d, (struct sockaddr *)&got, &len), 0);
	assert_int_equal(got.rp_addr, 77);
	assert_int_equal(got.rp_link, 0);
	assert_string_equal(got.rp_name, "svc");
	assert_int_equal(amp_getsockname(s, (struct sockaddr *)&got, &len), 0);
	assert_true(got.rp_addr >= 1024);
	assert_string_equal(got.rp_name, "svc");
	assert_errno(amp_getpeername(d, (struct sockaddr *)&got, &len), ENOTCONN);
	amp_poll_links();
	assert_int_equal(host_seen("svc"), 77);
	close_ok(d);
	assert_int_equal(do_bind(e, a), 0); /* free at once */
	amp_poll_links();
	assert_int_equal(host_seen("svc"), 77);
	close_ok(e);
	close_ok(s);
	amp_poll_links();
	assert_int_equal(host_seen("svc"), 0);
}

/* OpenAMP hands out duplicates after 128 endpoints. */
static void test_many_addresses(void **state)
{
	static bool used[4096];
	int fd[300];

	(void)state;
	memset(used, 0, sizeof(used));
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 300; i++) {
			uint32_t addr;

			fd[i] = sock(SOCK_SEQPACKET);
			assert_int_equal(do_bind(fd[i], at(RPMSG_ADDR_ANY)), 0);
			addr = local_addr(fd[i]);
			assert_in_range(addr, 1024, 4095);
			assert_false(used[addr]); /* nor is a just-freed one reused at once */
			used[addr] = true;
		}
		for (int i = 0; i < 300; i++)
			close_ok(fd[i]);
	}
}

static void test_all_links(void **state)
{
	struct sockaddr_rpmsg a = named("all"), got;
	socklen_t len = sizeof(got);
	int s = sock(SOCK_DGRAM), t = sock(SOCK_DGRAM);

	(void)state;
	a.rp_link = RPMSG_LINK_ANY;
	assert_int_equal(do_bind(s, a), 0);
	assert_int_equal(amp_getsockname(s, (struct sockaddr *)&got, &len), 0);
	assert_int_equal(got.rp_link, RPMSG_LINK_ANY);
	a.rp_link = 2;
	assert_errno(do_bind(t, a), EADDRINUSE);
	a = at(got.rp_addr);
	a.rp_link = 2;
	assert_errno(do_bind(t, a), EADDRINUSE);
	amp_poll_links();
	assert_int_equal(host_seen("all"), got.rp_addr);
	close_ok(s);
	assert_int_equal(do_bind(t, a), 0);
	close_ok(t);
}

/* Bound to another link, with a name: what it sends here does not tell that name here. */
static void test_other_link(void **state)
{
	struct host_ept *e = host_open(0, 500, NULL);
	struct sockaddr_rpmsg a = named("elsewhere"), to = at(500);
	int fd = sock(SOCK_DGRAM);

	(void)state;
	a.rp_link = 1;
	a.rp_addr = 700;
	assert_int_equal(do_bind(fd, a), 0);
	assert_int_equal(amp_sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
	amp_poll_links();
	host_turn();
	assert_int_equal(e->got, 1);
	assert_int_equal(host_seen("elsewhere"), 0);
	assert_int_equal(local_addr(fd), 700);
	close_ok(fd);
}

/* Bound here, and what it sent elsewhere went from another address: its name is what it is bound
 * to, whichever link comes first. */
static void test_bound_here_sent_there(void **state)
{
	struct sockaddr_rpmsg a = named("here"), got;
	int fd = sock(SOCK_DGRAM);
	socklen_t len = sizeof(got);
	struct amp_sock *s = amp_sock_find(fd);

	(void)state;
	a.rp_addr = 700;
	assert_int_equal(do_bind(fd, a), 0);
	/* as sendto() does on a link without an endpoint of the socket's */
	assert_int_equal(amp_rsock_open(s, 1, RPMSG_ADDR_ANY), 0);
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&got, &len), 0);
	assert_int_equal(got.rp_link, 0);
	assert_int_equal(got.rp_addr, 700);
	assert_string_equal(got.rp_name, "here");
	close_ok(fd);
}

/* ---- SOCK_SEQPACKET ---- */

static void test_seq(void **state)
{
	struct host_ept *e = host_open(0, 500, "echo");
	struct sockaddr_rpmsg got;
	struct iovec v[2];
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
	socklen_t len = sizeof(got);
	char buf[600], big[600];
	int fd, n = -1;

	(void)state;
	e->echo = true;
	for (int i = 0; i < 600; i++)
		big[i] = (char)(i * 3);
	fd = dial(SOCK_SEQPACKET, named("echo"));
	assert_errno(do_connect(fd, named("echo")), EISCONN);
	assert_int_equal(amp_getpeername(fd, (struct sockaddr *)&got, &len), 0);
	assert_int_equal(got.rp_addr, 500);
	assert_true(local_addr(fd) >= 1024);
	assert_int_equal(poll_for(fd, POLLIN | POLLOUT, 0), POLLOUT);
	assert_errno(amp_recv(fd, buf, 1, MSG_DONTWAIT), EAGAIN);
	/* raw on the wire: nothing is added */
	assert_int_equal(amp_send(fd, "hello", 5, 0), 5);
	assert_int_equal(e->got, 1);
	assert_int_equal(e->msg[0].len, 5);
	assert_int_equal(e->msg[0].src, local_addr(fd));
	assert_memory_equal(e->msg[0].data, "hello", 5);
	/* boundaries: never merged, split, or cut in silence */
	assert_int_equal(amp_send(fd, "", 0, 0), 0);
	v[0].iov_base = big;
	v[0].iov_len = 100;
	v[1].iov_base = big + 100;
	v[1].iov_len = BUF_MAX - 100;
	assert_int_equal(amp_sendmsg(fd, &m, 0), BUF_MAX);
	assert_errno(amp_send(fd, big, BUF_MAX + 1, 0), EMSGSIZE);
	assert_errno(amp_send(fd, big, BUF_MAX + 1, MSG_DONTWAIT), EMSGSIZE);
	assert_int_equal(e->got, 3);
	assert_int_equal(e->msg[2].len, BUF_MAX);
	assert_int_equal(poll_for(fd, POLLIN | POLLOUT, 1000), POLLIN | POLLOUT);
	assert_int_equal(amp_ioctl(fd, FIONREAD, &n), 0);
	assert_int_equal(n, 5);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), MSG_PEEK), 5);
	assert_int_equal(amp_recv(fd, buf, 2, MSG_PEEK | MSG_TRUNC), 5);
	v[0].iov_base = buf;
	v[0].iov_len = 1;
	v[1].iov_base = buf + 1;
	v[1].iov_len = 2;
	assert_int_equal(amp_recvmsg(fd, &m, 0), 3);
	assert_int_equal(m.msg_flags, MSG_TRUNC);
	assert_memory_equal(buf, "hel", 3);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 0); /* the empty one */
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), BUF_MAX);
	assert_memory_equal(buf, big, BUF_MAX);
	assert_errno(amp_recv(fd, buf, 1, MSG_DONTWAIT), EAGAIN);
	assert_errno(amp_sendto(fd, "x", 1, 0, (struct sockaddr *)&got, sizeof(got)), EISCONN);
	/* from somebody else: not this connection's */
	assert_int_equal(host_send(501, local_addr(fd), "spy", 3), 0);
	assert_errno(amp_recv(fd, buf, 1, MSG_DONTWAIT), EAGAIN);
	/* half-close is local */
	assert_int_equal(amp_shutdown(fd, SHUT_WR), 0);
	assert_errno(amp_send(fd, "x", 1, 0), EPIPE);
	assert_int_equal(host_send(500, local_addr(fd), "late", 4), 0);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 4);
	assert_int_equal(amp_shutdown(fd, SHUT_RD), 0);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 0);
	close_ok(fd);
}

/* The peer takes its service away: what has come is read first. */
static void test_seq_eof(void **state)
{
	struct host_ept *e = host_open(0, 500, "echo");
	char buf[8];
	int fd = dial(SOCK_SEQPACKET, named("echo"));

	(void)state;
	assert_int_equal(host_send(500, local_addr(fd), "last", 4), 0);
	host_close(e);
	assert_true(poll_for(fd, POLLIN | POLLRDHUP, 1000) & POLLRDHUP);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 4);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 0);
	assert_errno(amp_send(fd, "x", 1, 0), EPIPE);
	assert_true(poll_for(fd, POLLIN, 0) & POLLHUP);
	close_ok(fd);
}

/* Whoever has the address next is somebody else. */
static void test_seq_eof_and_next(void **state)
{
	struct host_ept *e = host_open(0, 500, "echo");
	uint32_t drops = stats().dgram_drops;
	int fd = dial(SOCK_SEQPACKET, named("echo"));
	char buf[8];

	(void)state;
	assert_int_equal(host_send(500, local_addr(fd), "last", 4), 0);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 4);
	host_close(e);
	amp_poll_links();
	for (int i = 0; i < 2;
	     i++) { /* by the links' turn, and by the short way, if that is there */
		assert_int_equal(host_send(500, local_addr(fd), "next", 4), 0);
		if (i == 0)
			amp_poll_links();
		assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 0);
		amp_poll_links();
		assert_int_equal(stats().dgram_drops, drops + 1 + (uint32_t)i);
	}
	close_ok(fd);
}

/* The same of a listener's: a new connection. */
static void test_seq_child_eof_and_next(void **state)
{
	int l = listener(SOCK_SEQPACKET, "srv", 4), a, b;
	uint32_t addr = local_addr(l);
	char buf[8];

	(void)state;
	nonblock(l);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(host_tell("client", 801, false), 0);
		assert_int_equal(host_send(801, addr, "first", 5), 0);
		a = amp_accept(l, NULL, NULL);
		assert_true(a >= 0);
		assert_int_equal(host_tell("client", 801, true), 0);
		assert_int_equal(host_send(801, addr, "new", 3), 0);
		b = amp_accept(l, NULL, NULL);
		assert_true(b >= 0);
		assert_int_equal(amp_recv(a, buf, sizeof(buf), 0), 5);
		assert_int_equal(amp_recv(a, buf, sizeof(buf), 0), 0);
		assert_int_equal(amp_recv(b, buf, sizeof(buf), 0), 3);
		close_ok(i & 1 ? a : b);
		close_ok(i & 1 ? b : a);
	}
	close_ok(l);
}

/* By address nobody can know whether it is there. */
static void test_seq_by_address(void **state)
{
	struct host_ept *e;
	int fd = dial(SOCK_SEQPACKET, at(600));

	(void)state;
	assert_int_equal(amp_send(fd, "nobody", 6, 0), 6);
	e = host_open(0, 600, NULL);
	assert_int_equal(amp_send(fd, "somebody", 8, 0), 8);
	assert_int_equal(e->got, 1);
	close_ok(fd);
	/* bound and connected: the peer sees the address, and the name when there is one */
	fd = sock(SOCK_SEQPACKET);
	assert_int_equal(do_bind(fd, (struct sockaddr_rpmsg){.rp_family = AF_RPMSG,
							     .rp_addr = 99,
							     .rp_name = "chan"}),
			 0);
	amp_poll_links();
	assert_int_equal(host_seen("chan"), 0); /* nobody takes what came yet */
	assert_int_equal(do_connect(fd, at(600)), 0);
	amp_poll_links();
	assert_int_equal(host_seen("chan"), 99);
	assert_int_equal(amp_send(fd, "x", 1, 0), 1);
	assert_int_equal(e->msg[1].src, 99);
	close_ok(fd);
}

static void *announce_later(void *arg)
{
	usleep(20000);
	(void)host_open(0, 700, arg);
	return NULL;
}

static void test_late_name(void **state)
{
	pthread_t th;
	int fd;

	(void)state;
	/* a caller that waits */
	pthread_create(&th, NULL, announce_later, (void *)(uintptr_t) "late");
	fd = dial(SOCK_SEQPACKET, named("late"));
	pthread_join(th, NULL);
	close_ok(fd);
	host_close(&host.ept[0]);
	amp_poll_links();
	/* and one that does not */
	fd = sock(SOCK_SEQPACKET);
	nonblock(fd);
	assert_errno(do_connect(fd, named("late")), EINPROGRESS);
	assert_errno(do_connect(fd, named("late")), EALREADY);
	assert_errno(do_connect(fd, named("other")), EALREADY);
	assert_errno(do_connect(fd, named("x~s")), EALREADY);
	assert_errno(do_bind(fd, named("mine")), EINVAL);
	assert_int_equal(poll_for(fd, POLLIN | POLLOUT, 0), 0);
	(void)host_open(0, 701, "late");
	assert_int_equal(poll_for(fd, POLLOUT, 5000), POLLOUT);
	assert_int_equal(so_error(fd), 0);
	assert_int_equal(amp_send(fd, "x", 1, 0), 1);
	assert_int_equal(host.ept[0].got, 1);
	close_ok(fd);
}

/* Bound to one name, and waiting for another. */
static void test_bound_waits(void **state)
{
	static const int types[] = {SOCK_SEQPACKET, SOCK_DGRAM};
	struct sockaddr_rpmsg a;
	socklen_t len = sizeof(a);
	pthread_t th;
	char c;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		int fd = sock(types[i]);

		assert_int_equal(do_bind(fd, named("mine")), 0);
		if (types[i] == SOCK_DGRAM) { /* which without a wait is refused at once */
			pthread_create(&th, NULL, announce_later, (void *)(uintptr_t) "theirs");
			assert_int_equal(do_connect(fd, named("theirs")), 0);
			pthread_join(th, NULL);
		} else {
			nonblock(fd);
			assert_errno(do_connect(fd, named("theirs")), EINPROGRESS);
			assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&a, &len), 0);
			assert_string_equal(a.rp_name, "mine");
			assert_errno(amp_getpeername(fd, (struct sockaddr *)&a, &len),
				     ENOTCONN);
			(void)host_open(0, 700, "theirs");
			assert_int_equal(poll_for(fd, POLLOUT, 5000), POLLOUT);
			assert_int_equal(so_error(fd), 0);
		}
		assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&a, &len), 0);
		assert_string_equal(a.rp_name, "mine");
		assert_int_equal(amp_getpeername(fd, (struct sockaddr *)&a, &len), 0);
		assert_int_equal(a.rp_addr, 700);
		/* the peer has heard of the one and is heard by it */
		assert_int_equal(host_seen("mine"), local_addr(fd));
		assert_int_equal(host_send(700, local_addr(fd), "x", 1), 0);
		assert_int_equal(poll_for(fd, POLLIN, 5000), POLLIN);
		assert_int_equal(amp_recv(fd, &c, 1, 0), 1);
		close_ok(fd);
		host_close(&host.ept[0]);
		amp_poll_links();
	}
}

/* NuttX's sockets block for ever when nobody listens. */
static void test_no_name(void **state)
{
	static const int types[] = {SOCK_SEQPACKET, SOCK_STREAM, SOCK_DGRAM};
	struct pollfd p = {.events = POLLOUT};
	char c;

	(void)state;
	for (int i = 0; i < 3; i++) {
		int fd = sock(types[i]);
		uint32_t t0 = amp_port_now_ms();

		set_timeout(fd, SO_SNDTIMEO, 60);
		assert_errno(do_connect(fd, named("nobody")), ECONNREFUSED);
		assert_in_range(amp_port_now_ms() - t0, 50, 5000);
		assert_int_equal(so_error(fd), 0);
		if (types[i] != SOCK_DGRAM) {
			nonblock(fd);
			assert_errno(do_connect(fd, named("nobody")), EINPROGRESS);
			p.fd = fd;
			assert_int_equal(amp_poll(&p, 1, 5000), 1);
			assert_true(p.revents & POLLERR);
			assert_int_equal(so_error(fd), ECONNREFUSED);
			assert_errno(amp_recv(fd, &c, 1, 0), ENOTCONN);
		}
		close_ok(fd);
	}
}

static void test_wait_given_up(void **state)
{
	int fd = sock(SOCK_STREAM);

	(void)state;
	nonblock(fd);
	assert_errno(do_connect(fd, named("never")), EINPROGRESS);
	close_ok(fd);
	/* nobody is there to take it */
	(void)host_open(0, 700, "never~s");
	host_turn();
	amp_poll_links();
}

static void test_seq_listen(void **state)
{
	int l = listener(SOCK_SEQPACKET, "srv", 2), a, b;
	struct sockaddr_rpmsg got;
	socklen_t len = sizeof(got);
	uint32_t addr = local_addr(l), drops;
	struct host_ept *p = host_open(0, 801, NULL), *q = host_open(1, 802, NULL);
	char buf[16];

	(void)state;
	nonblock(l);
	assert_errno(amp_accept(l, NULL, NULL), EAGAIN);
	assert_errno(do_connect(l, at(1)), EOPNOTSUPP);
	assert_int_equal(host_seen("srv"), addr);
	assert_int_equal(host_send(801, addr, "a1", 2), 0);
	assert_int_equal(host_send(802, addr, "b1", 2), 0);
	assert_int_equal(host_send(801, addr, "a2", 2), 0);
	assert_int_equal(poll_for(l, POLLIN, 1000), POLLIN);
	a = amp_accept(l, (struct sockaddr *)&got, &len);
	assert_true(a >= 0);
	assert_int_equal(got.rp_addr, 801);
	b = amp_accept(l, NULL, NULL);
	assert_true(b >= 0);
	/* the message that opened it is its first */
	assert_int_equal(amp_recv(a, buf, sizeof(buf), 0), 2);
	assert_memory_equal(buf, "a1", 2);
	assert_int_equal(amp_recv(b, buf, sizeof(buf), 0), 2);
	assert_memory_equal(buf, "b1", 2);
	assert_int_equal(amp_recv(a, buf, sizeof(buf), 0), 2);
	assert_memory_equal(buf, "a2", 2);
	assert_int_equal(local_addr(a), addr);
	assert_int_equal(amp_send(a, "ra", 2, 0), 2);
	assert_int_equal(amp_send(b, "rb", 2, 0), 2);
	assert_memory_equal(p->msg[0].data, "ra", 2);
	assert_memory_equal(q->msg[0].data, "rb", 2);
	assert_int_equal(p->msg[0].src, addr);
	/* backlog: two wait, the third is dropped and counted, and nothing hangs */
	drops = stats().dgram_drops;
	assert_int_equal(host_send(803, addr, "c", 1), 0);
	assert_int_equal(host_send(804, addr, "d", 1), 0);
	assert_int_equal(host_send(805, addr, "e", 1), 0);
	amp_poll_links();
	assert_int_equal(stats().dgram_drops, drops + 1);
	/* without its listener a connection goes on, and so does the announcement */
	close_ok(l);
	amp_poll_links();
	assert_int_equal(host_seen("srv"), addr);
	assert_int_equal(host_send(801, addr, "a3", 2), 0);
	assert_int_equal(host_send(806, addr, "f", 1), 0); /* but nobody new comes */
	assert_int_equal(amp_recv(a, buf, sizeof(buf), 0), 2);
	amp_poll_links();
	assert_int_equal(stats().dgram_drops, drops + 2);
	close_ok(a);
	amp_poll_links();
	assert_int_equal(host_seen("srv"), addr);
	close_ok(b);
	amp_poll_links();
	assert_int_equal(host_seen("srv"), 0);
}

/* A closed child's source may come again: a new connection. */
static void test_seq_again(void **state)
{
	int l = listener(SOCK_SEQPACKET, "srv", 4), a;
	uint32_t addr = local_addr(l);
	char buf[4];

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(host_send(900, addr, "x", 1), 0);
		a = amp_accept(l, NULL, NULL);
		assert_true(a >= 0);
		assert_int_equal(amp_recv(a, buf, sizeof(buf), 0), 1);
		close_ok(a);
	}
	close_ok(l);
}

/* A child that is over stays a child: it becomes nothing else. */
static void test_seq_child_over(void **state)
{
	int l = listener(SOCK_SEQPACKET, "srv", 4), a;
	char buf[4];

	(void)state;
	assert_int_equal(host_send(900, local_addr(l), "x", 1), 0);
	a = amp_accept(l, NULL, NULL);
	assert_true(a >= 0);
	assert_int_equal(amp_recv(a, buf, sizeof(buf), 0), 1);
	host_restart();
	assert_errno(amp_recv(a, buf, sizeof(buf), 0), ECONNRESET);
	nonblock(a);
	assert_errno(do_connect(a, named("nobody")), EISCONN);
	assert_errno(do_connect(a, at(900)), EISCONN);
	assert_errno(do_bind(a, named("other")), EINVAL);
	close_ok(l);
	close_ok(a);
}

/* A child of the link's last life that nobody has closed yet is not in the way of who comes
 * from the same address now. */
static void test_seq_new_life(void **state)
{
	int l = listener(SOCK_SEQPACKET, "srv", 4), a, b;
	struct amp_stats before;
	char buf[4];

	(void)state;
	assert_int_equal(host_send(900, local_addr(l), "x", 1), 0);
	a = amp_accept(l, NULL, NULL);
	assert_true(a >= 0);
	before = stats();
	host_restart();
	assert_int_equal(amp_link_wait(5000), 0);
	for (int i = 0; i < 4; i++)
		amp_poll_links();
	assert_int_equal(host_send(900, host_seen("srv"), "new", 3), 0);
	assert_int_equal(poll_for(l, POLLIN, 1000), POLLIN);
	b = amp_accept(l, NULL, NULL);
	assert_true(b >= 0);
	assert_int_equal(amp_recv(b, buf, sizeof(buf), 0), 3);
	assert_int_equal(stats().dgram_drops, before.dgram_drops);
	close_ok(a);
	assert_int_equal(host_send(900, local_addr(l), "more", 4), 0);
	assert_int_equal(amp_recv(b, buf, sizeof(buf), 0), 4);
	close_ok(l);
	close_ok(b);
}

/* So many of the longest messages a socket keeps that is not read. */
#define KEPT ((int)(AMPSOCK_RING_LEN / (sizeof(struct amp_rraw_hdr) + BUF_MAX)))

/* The longest message, from src to dst: all its bytes are n. */
static void host_fill(uint32_t src, uint32_t dst, int n)
{
	char buf[BUF_MAX];

	memset(buf, n, sizeof(buf));
	assert_int_equal(host_send(src, dst, buf, sizeof(buf)), 0);
	amp_poll_links();
}

/* A message without bytes is one, also when an error waits behind it. */
static void test_seq_empty(void **state)
{
	struct host_ept *e = host_open(0, 500, "echo");
	int fd = dial(SOCK_SEQPACKET, named("echo"));
	char buf[4];

	(void)state;
	(void)e;
	assert_int_equal(host_send(500, local_addr(fd), NULL, 0), 0);
	for (int i = 0; i <= KEPT; i++)
		host_fill(500, local_addr(fd), i);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 0);
	for (int i = 0; i < KEPT; i++)
		assert_int_equal(amp_recv(fd, buf, sizeof(buf), MSG_TRUNC), BUF_MAX);
	assert_errno(amp_recv(fd, buf, sizeof(buf), 0), ENOBUFS);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 0);
	close_ok(fd);
}

/* What comes next begins a little behind the beginning of the ring. */
static void shift_ring(int fd, uint32_t to)
{
	char buf[100] = "";

	assert_int_equal(host_send(500, to, buf, sizeof(buf)), 0);
	amp_poll_links();
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), sizeof(buf));
}

/* Borrowed: the same order, an empty message is not the end, and one may lie around the ring's. */
static void test_borrow_empty(void **state)
{
	int fd = dial(SOCK_SEQPACKET, at(500)), cnt = 9, n, in_two = 0;
	uint32_t to = local_addr(fd);
	struct iovec iov[2];

	(void)state;
	shift_ring(fd, to);
	for (n = 0; so_error(fd) == 0; n++) {
		host_fill(500, to, n);
		assert_int_equal(host_send(500, to, NULL, 0), 0);
		amp_poll_links();
	}
	close_ok(fd);
	fd = dial(SOCK_SEQPACKET, at(500));
	to = local_addr(fd);
	shift_ring(fd, to);
	for (int i = 0; i < n; i++) {
		host_fill(500, to, i);
		assert_int_equal(host_send(500, to, NULL, 0), 0);
		amp_poll_links();
	}
	for (int i = 0; i < n - 1; i++) {
		assert_int_equal(amp_borrow(fd, iov, &cnt, 10), BUF_MAX);
		assert_in_range(cnt, 1, 2);
		in_two += cnt == 2;
		for (int k = 0; k < cnt; k++)
			assert_int_equal(*((uint8_t *)iov[k].iov_base + iov[k].iov_len - 1),
					 (uint8_t)i);
		assert_int_equal(iov[0].iov_len + (cnt == 2 ? iov[1].iov_len : 0), BUF_MAX);
		assert_errno(amp_give_back(fd, BUF_MAX + 1), EINVAL);
		assert_int_equal(amp_give_back(fd, (size_t)(i % BUF_MAX)), i % BUF_MAX);
		if (i == n - 2) /* there was no room for more */
			break;
		assert_int_equal(amp_borrow(fd, iov, &cnt, 10), 0);
		assert_int_equal(cnt, 1);
		assert_int_equal(iov[0].iov_len, 0);
		assert_int_equal(amp_give_back(fd, 0), 0);
	}
	assert_int_equal(in_two, 1);
	while (amp_borrow(fd, iov, &cnt, 10) >= 0) {
		assert_int_not_equal(cnt, 0);
		assert_int_equal(amp_give_back(fd, 0), 0);
	}
	assert_int_equal(errno, ENOBUFS);
	assert_int_equal(amp_borrow(fd, iov, &cnt, 10), 0);
	assert_int_equal(cnt, 0);
	assert_errno(amp_give_back(fd, 0), EINVAL);
	close_ok(fd);
}

/* A reader that does not read: its socket pays, loudly, and nobody else. */
static void test_stalled(void **state)
{
	struct host_ept *e = host_open(0, 500, "flood");
	int s = dial(SOCK_SEQPACKET, at(500)), t = dial(SOCK_SEQPACKET, at(501));
	uint32_t to = local_addr(s), drops = stats().dgram_drops;
	unsigned char buf[4];

	(void)state;
	(void)e;
	for (int n = 0; n < KEPT + 8; n++)
		host_fill(500, to, n);
	assert_int_equal(stats().dgram_drops, drops + 8);
	/* the rest of the link is alive */
	for (int i = 0; i < 200; i++) {
		assert_int_equal(host_send(501, local_addr(t), "ok", 2), 0);
		assert_int_equal(amp_recv(t, buf, sizeof(buf), 0), 2);
	}
	assert_true(poll_for(s, POLLIN, 0) & POLLERR);
	for (int n = 0; n < KEPT; n++) {
		assert_int_equal(amp_recv(s, buf, sizeof(buf), MSG_TRUNC), BUF_MAX);
		assert_int_equal(buf[0], (unsigned char)n);
	}
	assert_errno(amp_recv(s, buf, sizeof(buf), 0), ENOBUFS);
	assert_int_equal(amp_recv(s, buf, sizeof(buf), 0), 0);
	assert_errno(amp_send(s, "x", 1, 0), EPIPE);
	close_ok(s);
	close_ok(t);
}

/* Many stalled readers: they keep nothing of the link's. */
static void test_stalled_together(void **state)
{
	int fd[4], live = dial(SOCK_SEQPACKET, at(599)), failed = 0;
	char buf[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		fd[i] = dial(SOCK_SEQPACKET, at(600 + (uint32_t)i));
	for (int k = 0; k <= KEPT; k++) {
		for (int i = 0; i < 4; i++)
			host_fill(600 + (uint32_t)i, local_addr(fd[i]), k);
		if (k % 100 == 0)
			assert_int_equal(amp_vq_avail(&host.q[AMP_RPROC_RX]), HOST_NUM);
	}
	for (int i = 0; i < 100; i++) {
		assert_int_equal(host_send(599, local_addr(live), "ok", 2), 0);
		assert_int_equal(amp_recv(live, buf, sizeof(buf), 0), 2);
	}
	for (int i = 0; i < 4; i++) {
		failed += so_error(fd[i]) == ENOBUFS;
		close_ok(fd[i]);
	}
	assert_int_equal(failed, 4);
	close_ok(live);
}

/* ---- SOCK_DGRAM ---- */

static void test_dgram(void **state)
{
	struct host_ept *e = host_open(0, 500, "time"), *f = host_open(1, 501, NULL);
	struct sockaddr_rpmsg got, to = named("time"), nobody = named("nobody");
	struct sockaddr sa = {.sa_family = AF_UNSPEC};
	socklen_t len = sizeof(got);
	char buf[600];
	int fd = sock(SOCK_DGRAM), n;
	uint32_t drops;

	(void)state;
	assert_errno(amp_send(fd, "x", 1, 0), EDESTADDRREQ);
	assert_errno(amp_listen(fd, 1), EOPNOTSUPP);
	assert_errno(amp_accept(fd, NULL, NULL), EOPNOTSUPP);
	assert_int_equal(poll_for(fd, POLLIN | POLLOUT, 0), POLLOUT);
	assert_errno(amp_sendto(fd, "x", 1, 0, (struct sockaddr *)&nobody, sizeof(nobody)),
		     ECONNREFUSED);
	assert_int_equal(amp_sendto(fd, "what?", 5, 0, (struct sockaddr *)&to, sizeof(to)), 5);
	assert_int_equal(e->got, 1);
	assert_int_equal(e->msg[0].src, local_addr(fd)); /* it has one now */
	assert_memory_equal(e->msg[0].data, "what?", 5);
	assert_errno(amp_sendto(fd, buf, BUF_MAX + 1, 0, (struct sockaddr *)&to, sizeof(to)),
		     EMSGSIZE);
	/* whose it is */
	assert_int_equal(host_send(500, local_addr(fd), "five", 4), 0);
	assert_int_equal(host_send(501, local_addr(fd), "", 0), 0);
	assert_int_equal(host_send(501, local_addr(fd), "six", 3), 0);
	assert_int_equal(
		amp_recvfrom(fd, buf, 2, MSG_TRUNC | MSG_PEEK, (struct sockaddr *)&got, &len),
		4);
	assert_int_equal(amp_ioctl(fd, FIONREAD, &n), 0);
	assert_int_equal(n, 4);
	assert_int_equal(amp_recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&got, &len),
			 4);
	assert_int_equal(len, sizeof(got));
	assert_int_equal(got.rp_family, AF_RPMSG);
	assert_int_equal(got.rp_addr, 500);
	assert_int_equal(got.rp_link, 0);
	assert_int_equal(amp_recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&got, &len),
			 0);
	assert_int_equal(got.rp_addr, 501);
	/* an address that came in can be answered */
	assert_int_equal(amp_sendto(fd, "yes", 3, 0, (struct sockaddr *)&got, sizeof(got)), 3);
	assert_int_equal(f->got, 1);
	assert_int_equal(amp_recv(fd, buf, 2, 0), 2); /* the rest is gone, as everywhere */
	assert_errno(amp_recv(fd, buf, 2, MSG_DONTWAIT), EAGAIN);
	/* connected: a default, and a filter */
	assert_int_equal(do_connect(fd, named("time")), 0);
	assert_int_equal(amp_send(fd, "dflt", 4, 0), 4);
	assert_int_equal(e->got, 2);
	drops = stats().dgram_drops;
	assert_int_equal(host_send(501, local_addr(fd), "spam", 4), 0);
	assert_int_equal(host_send(500, local_addr(fd), "ham", 3), 0);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 3);
	assert_int_equal(stats().dgram_drops, drops + 1);
	assert_int_equal(do_connect(fd, at(501)), 0); /* another one */
	assert_int_equal(amp_send(fd, "hi", 2, 0), 2);
	assert_int_equal(f->got, 2);
	assert_int_equal(amp_connect(fd, &sa, sizeof(sa)), 0);
	assert_errno(amp_send(fd, "x", 1, 0), EDESTADDRREQ);
	close_ok(fd);
}

static void test_dgram_full(void **state)
{
	char buf[BUF_MAX];
	int fd = sock(SOCK_DGRAM), n = 0, sent = 2000;
	uint32_t drops = stats().dgram_drops;

	(void)state;
	memset(buf, 7, sizeof(buf));
	assert_errno(amp_recv(fd, buf, 1, MSG_DONTWAIT), EAGAIN);
	assert_int_equal(do_bind(fd, named("sink")), 0);
	amp_poll_links();
	for (int i = 0; i < sent; i++) {
		assert_int_equal(host_send(500, host_seen("sink"), buf, sizeof(buf)), 0);
		amp_poll_links();
	}
	while (amp_recv(fd, buf, sizeof(buf), MSG_DONTWAIT) == (ssize_t)sizeof(buf))
		n++;
	assert_true(n > 100 && n < sent);
	assert_int_equal(stats().dgram_drops - drops, sent - n);
	close_ok(fd);
}

/* ---- SOCK_STREAM ---- */

static void test_stream(void **state)
{
	struct host_ept *e = host_open(0, 500, "tty~s");
	struct sockaddr_rpmsg got;
	socklen_t len = sizeof(got);
	static char out[100000], in[100000];
	size_t sent = 0, have = 0;
	ssize_t n;
	int fd = dial(SOCK_STREAM, named("tty"));

	(void)state;
	(void)e;
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 7 ^ i >> 8);
	assert_int_equal(amp_getpeername(fd, (struct sockaddr *)&got, &len), 0);
	assert_int_not_equal(got.rp_addr, 500); /* an endpoint of its own */
	assert_errno(amp_sendto(fd, "x", 1, 0, (struct sockaddr *)&got, sizeof(got)), EISCONN);
	nonblock(fd);
	while (have < sizeof(in)) {
		short ev = poll_for(fd, sent < sizeof(out) ? POLLIN | POLLOUT : POLLIN, 5000);

		assert_true(ev & (POLLIN | POLLOUT));
		if ((ev & POLLOUT) && sent < sizeof(out)) {
			n = amp_send(fd, out + sent, sizeof(out) - sent, 0);
			assert_true(n > 0);
			sent += (size_t)n;
			if (sent == sizeof(out))
				assert_int_equal(amp_shutdown(fd, SHUT_WR), 0);
		}
		if (ev & POLLIN) {
			n = amp_recv(fd, in + have, sizeof(in) - have, 0);
			assert_true(n > 0);
			have += (size_t)n;
		}
	}
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(amp_fcntl(fd, F_SETFL, 0), 0);
	assert_int_equal(amp_recv(fd, in, 1, 0), 0); /* the end, both ways */
	assert_errno(amp_send(fd, "x", 1, 0), EPIPE);
	close_ok(fd);
}

static void test_stream_refused(void **state)
{
	struct host_ept *e = host_open(0, 500, "no~s");
	uint32_t t0 = amp_port_now_ms();
	int fd = sock(SOCK_STREAM);

	(void)state;
	(void)e;
	host.refuse = 500;
	assert_errno(do_connect(fd, named("no")), ECONNREFUSED);
	assert_true(amp_port_now_ms() - t0 < 5000);
	assert_errno(do_connect(fd, named("no")), ECONNREFUSED);
	host.refuse = 0;
	assert_int_equal(do_connect(fd, named("no")), 0); /* and again, when it may */
	assert_int_equal(amp_send(fd, "abc", 3, 0), 3);
	assert_int_equal(amp_recv(fd, &t0, 3, MSG_WAITALL), 3);
	close_ok(fd);
}

/* The connection is over, and the next is refused before it has begun: a socket as any other, which
 * has no address yet and can be bound. */
static void test_stream_anew(void **state)
{
	struct host_ept *e = host_open(0, 500, "svc~s");
	struct sockaddr_rpmsg nobody = at(RPMSG_ADDR_ANY);
	int fd = sock(SOCK_STREAM);
	char c;

	(void)state;
	(void)e;
	assert_int_equal(do_connect(fd, named("svc")), 0);
	host_restart();
	assert_errno(amp_recv(fd, &c, 1, 0), ECONNRESET);
	assert_errno(do_connect(fd, nobody), EINVAL);
	assert_errno(amp_recv(fd, &c, 1, 0), ENOTCONN);
	assert_int_equal(local_addr(fd), RPMSG_ADDR_ANY);
	assert_int_equal(do_bind(fd, at(77)), 0);
	assert_int_equal(do_connect(fd, named("svc")), 0);
	assert_int_equal(local_addr(fd), 77);
	assert_int_equal(amp_send(fd, "a", 1, 0), 1);
	assert_int_equal(amp_recv(fd, &c, 1, 0), 1);
	close_ok(fd);
}

/* Credit stops the sender, and only that one. */
static void test_stream_credit(void **state)
{
	static char buf[65536];
	struct host_ept *e = host_open(0, 500, "slow~s");
	int s = dial(SOCK_STREAM, named("slow")), t;
	ssize_t n, sent = 0;

	(void)state;
	(void)e;
	host_lock();
	host.conn[0].hold = true;
	host.conn[0].echo = false;
	host_unlock();
	nonblock(s);
	while ((n = amp_send(s, buf, sizeof(buf), 0)) > 0)
		sent += n;
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(sent, 32768); /* its window */
	assert_int_equal(poll_for(s, POLLOUT, 0), 0);
	t = dial(SOCK_STREAM, named("slow"));
	assert_int_equal(amp_send(t, "abc", 3, 0), 3);
	assert_int_equal(amp_recv(t, buf, 3, MSG_WAITALL), 3);
	host_lock();
	amp_vsock_consumed(&host.rs.vs, &host.conn[0].rc.c, 32768);
	host_unlock();
	assert_int_equal(poll_for(s, POLLOUT, 5000), POLLOUT);
	assert_int_equal(amp_send(s, "more", 4, 0), 4);
	host_lock();
	amp_vsock_consumed(&host.rs.vs, &host.conn[0].rc.c, 4);
	host_unlock();
	close_ok(s);
	close_ok(t);
}

static void test_stream_listen(void **state)
{
	int l, c;
	struct sockaddr_rpmsg got;
	socklen_t len = sizeof(got);
	struct host_conn *h;
	uint32_t to;
	char buf[16];

	(void)state;
	l = sock(SOCK_STREAM);
	assert_errno(amp_listen(l, 1), EINVAL); /* not bound */
	assert_int_equal(do_bind(l, named("shell")), 0);
	amp_poll_links();
	assert_int_equal(host_seen("shell~s"), 0); /* nobody takes it yet */
	assert_int_equal(amp_listen(l, 1), 0);
	amp_poll_links();
	to = host_seen("shell~s");
	assert_int_equal(to, local_addr(l));
	host_lock();
	h = host_conn_new();
	assert_int_equal(amp_rstream_connect(&host.rs, &h->rc, to), 0);
	host_unlock();
	c = amp_accept(l, (struct sockaddr *)&got, &len);
	assert_true(c >= 0);
	assert_int_equal(got.rp_addr, h->rc.c.local.port);
	amp_poll_links();
	assert_true(h->events & AMP_VSOCK_EV_OPEN);
	host_lock();
	assert_int_equal(host_stream_send(h, "hello", 5), 5);
	host_unlock();
	assert_int_equal(amp_recv(c, buf, sizeof(buf), 0), 5);
	assert_int_equal(amp_send(c, "world", 5, 0), 5);
	assert_int_equal(h->got, 5);
	/* the backlog is full with one: the next is refused, at once */
	host_lock();
	h = host_conn_new();
	assert_int_equal(amp_rstream_connect(&host.rs, &h->rc, to), 0);
	host_unlock();
	amp_poll_links();
	host_lock();
	h = host_conn_new();
	assert_int_equal(amp_rstream_connect(&host.rs, &h->rc, to), 0);
	host_unlock();
	amp_poll_links();
	host_turn();
	assert_true(h->events & AMP_VSOCK_EV_RESET);
	/* with the listener go those that nobody accepted */
	close_ok(l);
	amp_poll_links();
	assert_int_equal(host_seen("shell~s"), 0);
	assert_int_equal(amp_send(c, "still", 5, 0), 5);
	/* the peer dies: what has come is read, then ECONNRESET once */
	h = &host.conn[0];
	host_lock();
	assert_int_equal(host_stream_send(h, "bye", 3), 3);
	amp_vsock_abort(&host.rs.vs, &h->rc.c);
	host_unlock();
	assert_int_equal(amp_recv(c, buf, sizeof(buf), 0), 3);
	assert_errno(amp_recv(c, buf, sizeof(buf), 0), ECONNRESET);
	assert_int_equal(amp_recv(c, buf, sizeof(buf), 0), 0);
	close_ok(c);
}

/* The host's services by SERVICE, which a kernel lets it say; the door itself is closed. */
static void test_front_door(void **state)
{
	uint32_t door = host_seen("ampsock~s");
	struct host_ept *e = host_open(0, 500, NULL);
	struct host_conn *h;
	struct sockaddr_rpmsg a = named("ampsock");
	int fd = sock(SOCK_STREAM);
	char buf[4];

	(void)state;
	assert_true(door >= 1024);
	e->stream = true;
	nonblock(fd);
	assert_errno(do_connect(fd, named("web")), EINPROGRESS);
	assert_int_equal(host_tell("web~s", 500, false), 0);
	assert_int_equal(poll_for(fd, POLLOUT, 5000), POLLOUT);
	assert_int_equal(so_error(fd), 0);
	assert_int_equal(amp_send(fd, "abc", 3, 0), 3);
	assert_int_equal(poll_for(fd, POLLIN, 5000), POLLIN);
	assert_int_equal(amp_recv(fd, buf, 4, 0), 3);
	close_ok(fd);
	assert_int_equal(host_tell("web~s", 500, true), 0);
	amp_poll_links();
	fd = sock(SOCK_STREAM);
	set_timeout(fd, SO_SNDTIMEO, 20);
	assert_errno(do_connect(fd, named("web")), ECONNREFUSED);
	/* no program gets a carrier */
	assert_int_equal(host_tell("ampsock~s", 500, false), 0);
	amp_poll_links();
	assert_errno(do_connect(fd, a), EINVAL);
	assert_int_equal(host_tell("ampsock~s", 500, true), 0);
	close_ok(fd);
	/* nobody waits for accept carriers */
	host_lock();
	h = host_conn_new();
	assert_int_equal(amp_rstream_connect(&host.rs, &h->rc, door), 0);
	host_unlock();
	amp_poll_links();
	host_turn();
	assert_true(h->events & AMP_VSOCK_EV_RESET);
}

/* A process that is killed withdraws nothing, and the next one has other addresses. */
static void test_service_moves(void **state)
{
	uint32_t lost = stats().names_lost;
	struct sockaddr_rpmsg a;
	socklen_t len = sizeof(a);
	char b[4];
	int fd;

	(void)state;
	assert_int_equal(host_tell("moves", 4000, false), 0);
	amp_poll_links();
	fd = dial(SOCK_SEQPACKET, named("moves"));
	for (unsigned i = 1; i < 100; i++) {
		assert_int_equal(host_tell("moves", 4000 + i, false), 0);
		amp_poll_links();
	}
	assert_int_equal(stats().names_lost, lost);
	assert_int_equal(amp_recv(fd, b, sizeof(b), 0), 0); /* the first is over */
	close_ok(fd);
	fd = dial(SOCK_SEQPACKET, named("moves"));
	assert_int_equal(amp_getpeername(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(a.rp_addr, 4099);
	close_ok(fd);
	assert_int_equal(host_tell("moves", 4099, true), 0);
	amp_poll_links();
	fd = sock(SOCK_SEQPACKET);
	set_timeout(fd, SO_SNDTIMEO, 20);
	assert_errno(do_connect(fd, named("moves")), ECONNREFUSED);
	close_ok(fd);
}

/* Names that sockets are bound to have a table, whose places come back. */
static void test_names_bound(void **state)
{
	enum { N = AMPSOCK_RPMSG_SERVICES < 20 ? AMPSOCK_RPMSG_SERVICES : 20 };
	char name[16];
	int fd[N], more;

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < N; i++) {
			snprintf(name, sizeof(name), "b%u", i);
			fd[i] = sock(i & 1 ? SOCK_DGRAM : SOCK_STREAM);
			assert_int_equal(do_bind(fd[i], named(name)), 0);
		}
		more = sock(SOCK_SEQPACKET);
		if (AMPSOCK_RPMSG_SERVICES == N)
			assert_errno(do_bind(more, named("more")), ENOBUFS);
		assert_errno(do_bind(more, named("b1")), EADDRINUSE);
		assert_int_equal(do_bind(more, at(77)), 0); /* it needs none */
		close_ok(more);
		for (unsigned i = 0; i < N; i++)
			close_ok(fd[i]);
		amp_poll_links(); /* withdrawals */
		host_turn();
	}
}

static void test_too_many_names(void **state)
{
	char name[16];
	uint32_t lost = stats().names_lost;
	int fd;

	(void)state;
	for (unsigned i = 0; i < 70; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		assert_int_equal(host_tell(name, 1000 + i, false), 0);
		amp_poll_links();
	}
	assert_int_equal(stats().names_lost, lost + 6); /* AMPSOCK_RPMSG_NAMES 64 */
	fd = dial(SOCK_SEQPACKET, named("n63"));
	close_ok(fd);
	/* who waits for it hears of it all the same */
	fd = sock(SOCK_SEQPACKET);
	nonblock(fd);
	assert_errno(do_connect(fd, named("n80")), EINPROGRESS);
	assert_int_equal(host_tell("n80", 5000, false), 0);
	assert_int_equal(poll_for(fd, POLLOUT, 5000), POLLOUT);
	close_ok(fd);
	for (unsigned i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		assert_int_equal(host_tell(name, 1000 + i, true), 0);
		amp_poll_links();
	}
	fd = sock(SOCK_SEQPACKET);
	set_timeout(fd, SO_SNDTIMEO, 20);
	assert_errno(do_connect(fd, named("n63")), ECONNREFUSED);
	close_ok(fd);
}

/* ---- no copies ---- */

static void test_direct(void **state)
{
	struct host_ept *e = host_open(0, 500, "echo");
	int fd = dial(SOCK_SEQPACKET, named("echo")), cnt;
	struct iovec iov[2];

	(void)state;
	e->echo = true;
	assert_errno(amp_reserve(fd, iov, &cnt, BUF_MAX + 1), EMSGSIZE);
	assert_errno(amp_reserve(fd, iov, &cnt, SIZE_MAX), EMSGSIZE);
	assert_errno(amp_reserve(fd, iov, &cnt, SIZE_MAX - 15), EMSGSIZE);
	assert_int_equal(amp_reserve(fd, iov, &cnt, 100), 100);
	assert_int_equal(cnt, 1);
	memset(iov[0].iov_base, 'z', 100);
	assert_errno(amp_send(fd, "x", 1, 0), EBUSY);
	assert_errno(amp_commit(fd, 101), EINVAL);
	assert_int_equal(amp_commit(fd, 60), 60);
	assert_int_equal(e->got, 1);
	assert_int_equal(e->msg[0].len, 60);
	assert_int_equal(amp_reserve(fd, iov, &cnt, 10), 10);
	assert_int_equal(amp_commit(fd, 0), 0);
	assert_errno(amp_commit(fd, 1), EINVAL);
	assert_int_equal(amp_borrow(fd, iov, &cnt, 1), 60); /* a whole message */
	assert_int_equal(((char *)iov[0].iov_base)[59], 'z');
	assert_int_equal(amp_give_back(fd, 60), 60);
	assert_errno(amp_give_back(fd, 1), EINVAL);
	assert_int_equal(amp_reserve(fd, iov, &cnt, 10), 10);
	close_ok(fd); /* with a reservation */
	fd = dial(SOCK_DGRAM, named("echo"));
	assert_errno(amp_reserve(fd, iov, &cnt, 10), EOPNOTSUPP);
	close_ok(fd);
}

/* ---- restart ---- */

static void is_reset(int fd)
{
	char c;

	assert_true(poll_for(fd, POLLIN, 5000) & POLLERR);
	assert_errno(amp_recv(fd, &c, 1, 0), ECONNRESET);
}

static void *recv_reset(void *arg)
{
	is_reset(*(int *)arg);
	return NULL;
}

/* Everything that there can be on a link, and the host dies 1,000 times. */
static void test_restart(void **state)
{
	int dl = sock(SOCK_DGRAM), ql = listener(SOCK_SEQPACKET, "raw", 4);
	int sl = listener(SOCK_STREAM, "str", 4);
	struct amp_stats before = stats();
	char buf[8];

	(void)state;
	assert_int_equal(do_bind(dl, named("dgr")), 0);
	for (int round = 0; round < 1000; round++) {
		int q, s, d, qc;

		(void)host_open(0, 500, "peer");
		(void)host_open(1, 501, "peer~s");
		q = dial(SOCK_SEQPACKET, named("peer"));
		s = dial(SOCK_STREAM, named("peer"));
		d = dial(SOCK_DGRAM, named("peer"));
		assert_int_equal(host_send(502, host_seen("raw"), "x", 1), 0);
		qc = amp_accept(ql, NULL, NULL);
		assert_true(qc >= 0);
		/* unread messages, a stalled stream, somebody in the backlog */
		assert_int_equal(host_send(500, local_addr(q), "last", 4), 0);
		assert_int_equal(host_send(503, host_seen("raw"), "x", 1), 0);
		assert_int_equal(amp_send(s, "abc", 3, 0), 3);
		assert_int_equal(amp_recv(s, buf, 1, 0), 1);
		amp_poll_links();
		host_restart();
		assert_int_equal(amp_recv(q, buf, 8, 0), 4); /* what had come */
		is_reset(q);
		assert_int_equal(amp_recv(q, buf, 8, 0), 0); /* once */
		assert_errno(amp_send(q, "x", 1, 0), EPIPE);
		assert_int_equal(amp_recv(s, buf, 8, 0), 2);
		assert_errno(amp_recv(s, buf, 8, 0), ECONNRESET);
		assert_int_equal(amp_recv(s, buf, 8, 0), 0);
		is_reset(d);
		assert_errno(amp_recv(d, buf, 1, MSG_DONTWAIT), EAGAIN); /* it lives on */
		assert_int_equal(amp_recv(qc, buf, 8, 0), 1);
		is_reset(qc);
		close_ok(q);
		close_ok(s);
		close_ok(d);
		close_ok(qc);
		qc = amp_accept(ql, NULL, NULL);
		assert_int_equal(amp_recv(qc, buf, 8, 0), 1);
		is_reset(qc);
		close_ok(qc);
		/* known again, at the same addresses */
		assert_int_equal(amp_link_wait(5000), 0);
		for (int i = 0; i < 4; i++)
			amp_poll_links();
		assert_int_equal(host_seen("raw"), local_addr(ql));
		assert_int_equal(host_seen("str~s"), local_addr(sl));
		assert_int_equal(host_seen("dgr"), local_addr(dl));
		assert_true(host_seen("ampsock~s"));
		assert_int_equal(host_send(504, host_seen("dgr"), "hi", 2), 0);
		assert_int_equal(amp_recv(dl, buf, sizeof(buf), 0), 2);
		assert_int_equal(stats().sockets_used, before.sockets_used);
		assert_int_equal(amp_vq_avail(&host.q[AMP_RPROC_RX]), HOST_NUM);
		host_close(&host.ept[0]);
		host_close(&host.ept[1]);
		amp_poll_links();
	}
	assert_int_equal(stats().link_resets - before.link_resets, 1000);
	close_ok(dl);
	close_ok(ql);
	close_ok(sl);
}

/* What the last host had announced is nothing to the next one. */
static void test_stale_names(void **state)
{
	struct host_ept *e = host_open(0, 500, "old");
	int fd;

	(void)state;
	fd = dial(SOCK_SEQPACKET, named("old"));
	close_ok(fd);
	host_lock();
	host_bus_down();
	assert_true(amp_rpmsg_close(&host.bus, &e->e.ept)); /* it dies: nobody withdraws */
	e->open = false;
	assert_int_equal(amp_rproc_host_init(&host.h, 0), 0);
	host_unlock();
	for (int i = 0; i < 4; i++)
		amp_poll_links();
	assert_int_equal(amp_link_wait(5000), 0);
	fd = sock(SOCK_SEQPACKET);
	set_timeout(fd, SO_SNDTIMEO, 20);
	assert_errno(do_connect(fd, named("old")), ECONNREFUSED);
	close_ok(fd);
}

/* A thread that sleeps in a call hears of it. */
static void test_restart_wakes(void **state)
{
	pthread_t th;
	int fd;

	(void)state;
	(void)host_open(0, 500, "peer");
	fd = dial(SOCK_SEQPACKET, named("peer"));
	pthread_create(&th, NULL, recv_reset, &fd);
	usleep(10000);
	host_restart();
	pthread_join(th, NULL);
	close_ok(fd);
}

/* Without a host: by name one waits for it, by address there is no way. */
static void test_host_away(void **state)
{
	struct host_ept *e = host_open(0, 500, "back");
	int fd = sock(SOCK_SEQPACKET), d = sock(SOCK_DGRAM), q = sock(SOCK_SEQPACKET);
	struct sockaddr_rpmsg to = at(500);

	(void)state;
	(void)e;
	host_lock();
	amp_rproc_host_down(&host.h);
	host_bus_down();
	host.deaf = true;
	amp_port_unlock();
	amp_poll_links();
	assert_int_equal(amp_link_wait(0), -ETIMEDOUT);
	assert_errno(do_connect(q, at(500)), ENETUNREACH);
	assert_errno(amp_sendto(d, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)), ENETUNREACH);
	nonblock(fd);
	assert_errno(do_connect(fd, named("back")), EINPROGRESS);
	assert_int_equal(poll_for(fd, POLLOUT, 20), 0);
	host.deaf = false;
	host_turn();
	assert_int_equal(poll_for(fd, POLLOUT, 5000), POLLOUT);
	assert_int_equal(so_error(fd), 0);
	close_ok(fd);
	close_ok(d);
	close_ok(q);
}

/* ---- lies ---- */

static void test_broken_ring(void **state)
{
	unsigned ups = host.ups;
	uint32_t bad = stats().rx_bad;
	struct amp_rpmsg_tx tx;
	int fd = dial(SOCK_SEQPACKET, at(500));

	(void)state;
	for (int i = 0; i < 3; i++) {
		host_lock();
		switch (i) {
		case 0: /* more in the header than in the buffer */
			assert_int_equal(amp_rpmsg_reserve(&host.bus, &tx), 0);
			amp_rpmsg_commit(&host.bus, &tx, 1, 2, 4);
			memset(tx.data - AMP_RPMSG_HDR_LEN +
				       offsetof(struct amp_rpmsg_hdr, len),
			       0xff, 2);
			break;
		case 1: /* an index from nowhere */
			((volatile uint16_t *)(void *)host.q[AMP_RPROC_RX].avail)[1] += 1000;
			break;
		default:
			((volatile uint16_t *)(void *)host.q[AMP_RPROC_TX].avail)[1] += 1000;
			break;
		}
		amp_port_unlock();
		if (i == 2) { /* found by who sends */
			int d = sock(SOCK_DGRAM);
			struct sockaddr_rpmsg to = at(500);

			host.deaf = true;
			for (unsigned k = 0; k <= HOST_NUM; k++)
				(void)amp_sendto(d, "x", 1, MSG_DONTWAIT,
						 (struct sockaddr *)&to, sizeof(to));
			host.deaf = false;
			close_ok(d);
		}
		for (int k = 0; k < 5; k++) {
			amp_poll_links();
			host_turn();
		}
		assert_int_equal(amp_link_wait(5000), 0);
		assert_int_equal(host.ups, ++ups);
	}
	assert_true(stats().rx_bad > bad);
	is_reset(fd);
	close_ok(fd);
}

/* Garbage for the name service, the front door and everybody else: nobody is hurt. */
static void test_garbage(void **state)
{
	uint32_t seed = 12345, fd_addr;
	uint8_t junk[BUF_MAX];
	struct host_ept *e = host_open(0, 500, "good");
	int fd = dial(SOCK_SEQPACKET, named("good")), l = listener(SOCK_STREAM, "x", 2), s;

	(void)state;
	(void)e;
	(void)host_open(1, 501, "good~s");
	s = dial(SOCK_STREAM, named("good"));
	fd_addr = local_addr(fd);
	for (int i = 0; i < 20000; i++) {
		uint32_t to[] = {53, host_seen("ampsock~s"), local_addr(l), local_addr(s),
				 9999};
		uint32_t len;

		seed ^= seed << 13;
		seed ^= seed >> 17;
		seed ^= seed << 5;
		len = seed % 64;
		for (uint32_t k = 0; k < len; k++)
			junk[k] = (uint8_t)(seed >> k % 24);
		if (i % 3 == 0 && len > 8) { /* near the truth */
			junk[0] = (uint8_t)(i % 9);
			junk[1] = junk[2] = junk[3] = 0;
		}
		(void)host_send(seed % 7 ? 500 : seed, to[i % 5], junk, len);
		amp_poll_links();
	}
	assert_int_equal(host_send(500, fd_addr, "alive", 5), 0);
	assert_int_equal(amp_recv(fd, junk, sizeof(junk), 0), 5);
	close_ok(fd);
	close_ok(l);
	close_ok(s);
}

static unsigned lines;

static void count_line(const char *line)
{
	lines += strstr(line, "malformed") != NULL;
}

/* Whoever writes nonsense all the time has it counted, and said once in a life of the link. */
static void test_nonsense_is_said_once(void **state)
{
	char junk[BUF_MAX] = "\x8";
	uint32_t bad = stats().rx_bad;

	(void)state;
	lines = 0;
	amp_log_hook(count_line);
	for (unsigned life = 1; life <= 2; life++) {
		uint32_t door;

		host_restart();
		amp_poll_links();
		assert_int_equal(amp_link_wait(5000), 0);
		host_turn();
		door = host_seen("ampsock~s");
		for (int i = 0; i < 20; i++) {
			assert_int_equal(host_send(500, AMP_RPMSG_NS_ADDR, junk, 39), 0);
			amp_poll_links();
			assert_int_equal(host_send(500, door, junk, 51), 0);
			amp_poll_links();
		}
		assert_int_equal(stats().rx_bad, bad + 40 * life);
		assert_int_equal(lines, 2 * life); /* of the one, of the other */
	}
	amp_log_hook(NULL);
}

/* ---- kicks ---- */

static void test_kicks(void **state)
{
	struct host_ept *e = host_open(0, 500, NULL);
	int fd = dial(SOCK_DGRAM, at(500));
	unsigned before;

	(void)state;
	/* one burst in one call: sendmsg has one message, so a burst is what poll leaves owed */
	before = host.kicks[AMP_RPROC_TX];
	for (int i = 0; i < 10; i++)
		assert_int_equal(amp_send(fd, "x", 1, 0), 1);
	assert_int_equal(host.kicks[AMP_RPROC_TX] - before, 10); /* it slept each time */
	assert_int_equal(e->got, 10);
	/* while it is awake (it has not asked for a kick since) nobody rings */
	host.deaf = true;
	before = host.kicks[AMP_RPROC_TX];
	for (int i = 0; i < 20; i++)
		assert_int_equal(amp_send(fd, "x", 1, 0), 1);
	assert_in_range(host.kicks[AMP_RPROC_TX] - before, 0, 20);
	host_lock();
	amp_vq_disarm(&host.q[AMP_RPROC_TX]);
	amp_port_unlock();
	before = host.kicks[AMP_RPROC_TX];
	for (int i = 0; i < 20; i++)
		assert_int_equal(amp_send(fd, "x", 1, 0), 1);
	assert_int_equal(host.kicks[AMP_RPROC_TX], before);
	host.deaf = false;
	host_turn();
	assert_int_equal(e->got, 50);
	assert_true(stats().kicks >= 10);
	close_ok(fd);
}

/* A host that has run out of buffers hears when they come back, and only then. */
static void test_kicks_back(void **state)
{
	int fd = sock(SOCK_DGRAM);
	unsigned before, n = 0;

	(void)state;
	assert_int_equal(do_bind(fd, at(700)), 0);
	before = host.kicks[AMP_RPROC_RX];
	assert_int_equal(host_send(500, 700, "x", 1), 0);
	amp_poll_links();
	assert_int_equal(host.kicks[AMP_RPROC_RX], before); /* it has enough */
	while (host_send(500, 700, "x", 1) == 0)
		n++;
	assert_int_equal(n, HOST_NUM);
	amp_poll_links();
	assert_int_equal(host.kicks[AMP_RPROC_RX], before + 1); /* one for all of them */
	assert_int_equal(host_send(500, 700, "x", 1), 0);
	close_ok(fd);
}

/* The same when fewer buffers go round than the ring has entries, and nobody ever sleeps. */
static void test_kicks_few(void **state)
{
	int fd = sock(SOCK_DGRAM);
	unsigned before;
	char c;

	(void)state;
	nonblock(fd);
	host.h.buf_cnt = HOST_NUM / 4;
	host_restart();
	amp_poll_links();
	assert_int_equal(amp_link_wait(5000), 0);
	assert_int_equal(do_bind(fd, at(700)), 0);
	while (amp_recv(fd, &c, 1, 0) == 1)
		;
	for (unsigned i = 0; i < HOST_NUM / 4; i++)
		assert_int_equal(host_send(500, 700, "x", 1), 0);
	assert_int_equal(host_send(500, 700, "x", 1), -EAGAIN);
	before = host.kicks[AMP_RPROC_RX];
	for (unsigned i = 0; i < HOST_NUM / 4; i++)
		assert_int_equal(amp_recv(fd, &c, 1, 0), 1);
	for (int i = 0; i < 3; i++)
		assert_errno(amp_recv(fd, &c, 1, 0), EAGAIN);
	assert_int_equal(host.kicks[AMP_RPROC_RX], before + 1);
	host.h.buf_cnt = 0;
	host_restart();
	amp_poll_links();
	close_ok(fd);
}

/* Who does not read takes no buffer from another, however few go round. */
static void test_few_buffers(void **state)
{
	static const uint16_t counts[] = {1, 2, 3, 4, 8, HOST_NUM};
	volatile uint32_t *told = &((struct amp_rsc_table *)host.rp.table)->vdev.config.rx_cnt;
	char c;

	(void)state;
	for (unsigned i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
		unsigned n = counts[i];
		int s, t;

		host.h.buf_cnt = (uint16_t)n;
		host_restart();
		amp_poll_links();
		assert_int_equal(amp_link_wait(5000), 0);
		assert_int_equal(*told, n);
		s = dial(SOCK_SEQPACKET, at(500)), t = dial(SOCK_SEQPACKET, at(501));
		for (unsigned k = 0; k < 3 * HOST_NUM; k++) {
			assert_int_equal(host_send(500, local_addr(s), "x", 1), 0);
			amp_poll_links();
			assert_int_equal(host_send(501, local_addr(t), "y", 1), 0);
			assert_int_equal(amp_recv(t, &c, 1, 0), 1);
		}
		for (unsigned k = 0; k < 3 * HOST_NUM; k++)
			assert_int_equal(amp_recv(s, &c, 1, 0), 1);
		close_ok(s);
		close_ok(t);
	}
	host.h.buf_cnt = 0;
	host_restart();
	amp_poll_links();
	assert_int_equal(amp_link_wait(5000), 0);
}

static void *wait_one(void *arg)
{
	char c;

	return amp_recv(*(int *)arg, &c, 1, 0) == 1 ? arg : NULL;
}

/*
 * One thread sleeps; another takes a message that is nobody's before its sender has looked
 * whether it must ring. The next one is the sleeper's.
 */
static void test_kick_taken(void **state)
{
	struct amp_rpmsg_tx tx;
	int fd = sock(SOCK_DGRAM);
	struct timespec late;
	pthread_t th;
	void *ok;

	(void)state;
	assert_int_equal(do_bind(fd, at(700)), 0);
	assert_int_equal(host_send(500, 702, "x", 1), 0);
	amp_poll_links(); /* not armed */
	assert_int_equal(pthread_create(&th, NULL, wait_one, &fd), 0);
	for (bool armed = false; !armed;) { /* it sleeps */
		host_lock();
		armed = !(*(volatile uint16_t *)&host.q[AMP_RPROC_RX].used->flags & 1);
		amp_port_unlock();
	}
	for (int i = 0; i < 2; i++) {
		host_lock();
		assert_int_equal(amp_rpmsg_reserve(&host.bus, &tx), 0);
		tx.data[0] = 'x';
		amp_rpmsg_commit(&host.bus, &tx, 500, 701 - (uint32_t)i, 1);
		if (i == 0) {
			amp_port_unlock();
			amp_poll_links();
			for (int k = 0; k < 20; k++) { /* the sleeper may have its turn */
				struct timespec ts = {.tv_nsec = 1000000};

				nanosleep(&ts, NULL);
			}
			host_lock();
		}
		if (host_run()) {
			amp_port_unlock();
			amp_port_wake();
		} else {
			amp_port_unlock();
		}
	}
	clock_gettime(CLOCK_REALTIME, &late);
	late.tv_sec += 5;
	assert_int_equal(pthread_timedjoin_np(th, &ok, &late), 0);
	assert_non_null(ok);
	close_ok(fd);
}

/* ---- straight out of the ring to the caller, and what must not go that way ---- */

static void test_straight(void **state)
{
	int fd = dial(SOCK_SEQPACKET, at(500));
	uint32_t to = local_addr(fd);
	struct iovec v = {.iov_len = 2};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	char buf[16] = "";

	(void)state;
	v.iov_base = buf;
	amp_poll_links();
	assert_int_equal(host_send(500, to, "abc", 3), 0);
	assert_int_equal(host_send(501, to, "nobody's", 8), 0);
	assert_int_equal(host_send(500, to, "", 0), 0);
	assert_int_equal(host_send(500, to, "defg", 4), 0);
	assert_int_equal(host_send(500, to, "hi", 2), 0);
	assert_int_equal(host_send(500, to, "jkl", 3), 0);
	assert_int_equal(amp_recv(fd, buf, 2, 0), 2); /* cut, and the rest is gone */
	assert_memory_equal(buf, "ab\0", 3);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 0);
	assert_int_equal(amp_recvmsg(fd, &m, 0), 2);
	assert_int_equal(m.msg_flags, MSG_TRUNC);
	assert_memory_equal(buf, "de", 2);
	assert_int_equal(amp_recv(fd, buf, 1, MSG_TRUNC), 2);
	assert_int_equal(buf[0], 'h');
	/* what is held already comes first */
	assert_int_equal(poll_for(fd, POLLIN, 0), POLLIN);
	assert_int_equal(host_send(500, to, "mno", 3), 0);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 3);
	assert_memory_equal(buf, "jkl", 3);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 3);
	assert_memory_equal(buf, "mno", 3);
	/* who receives no more gets nothing */
	assert_int_equal(host_send(500, to, "p", 1), 0);
	assert_int_equal(amp_shutdown(fd, SHUT_RD), 0);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 0);
	close_ok(fd);
}

/* Of several children, and with messages for others before. */
static void test_straight_child(void **state)
{
	int l = listener(SOCK_SEQPACKET, "srv", 2), a, b;
	uint32_t addr = local_addr(l);
	char buf[4];

	(void)state;
	assert_int_equal(host_send(801, addr, "a", 1), 0);
	assert_int_equal(host_send(802, addr, "b", 1), 0);
	a = amp_accept(l, NULL, NULL);
	b = amp_accept(l, NULL, NULL);
	assert_int_equal(amp_recv(a, buf, 4, 0), 1);
	assert_int_equal(amp_recv(b, buf, 4, 0), 1);
	for (int i = 0; i < 200; i++) {
		char c[3] = {(char)i, (char)(i + 1), (char)(i + 2)};

		assert_int_equal(host_send(801, addr, &c[0], 1), 0);
		assert_int_equal(host_send(802, addr, &c[1], 1), 0);
		assert_int_equal(host_send(801, addr, &c[2], 1), 0);
		assert_int_equal(amp_recv(b, buf, 4, 0), 1);
		assert_int_equal(buf[0], c[1]);
		assert_int_equal(amp_recv(a, buf, 4, 0), 1);
		assert_int_equal(buf[0], c[0]);
		assert_int_equal(amp_recv(a, buf, 4, 0), 1);
		assert_int_equal(buf[0], c[2]);
	}
	close_ok(a);
	close_ok(b);
	close_ok(l);
}

/* Several who wait on one socket, each his own way: each message is somebody's, whole, and once. */
#define SEVERAL	     3u
#define SEVERAL_MSGS 3000u

struct several {
	int fd;
	atomic_uint next_way, got, over;
	atomic_uchar seen[SEVERAL_MSGS];
};

static void *receive_some(void *arg)
{
	struct several *m = arg;
	unsigned way = atomic_fetch_add(&m->next_way, 1);
	uint8_t b[4];
	struct iovec v = {.iov_base = b, .iov_len = sizeof(b)};

	for (;;) {
		ssize_t n =
			way == 0 ? amp_readv(m->fd, &v, 1) : amp_recv(m->fd, b, sizeof(b), 0);

		/* n == 1: the end, of this one */
		if (n != 2 || amp_le16(b) >= SEVERAL_MSGS) {
			atomic_fetch_add(&m->over, 1);
			return n == 1 ? arg : NULL;
		}
		atomic_fetch_add(&m->seen[amp_le16(b)], 1);
		atomic_fetch_add(&m->got, 1);
	}
}

static void test_straight_several(void **state)
{
	static struct several m;
	pthread_t th[SEVERAL];
	void *ok;

	(void)state;
	m.fd = dial(SOCK_SEQPACKET, at(500));
	for (unsigned i = 0; i < SEVERAL; i++)
		assert_int_equal(pthread_create(&th[i], NULL, receive_some, &m), 0);
	for (unsigned i = 0; i < SEVERAL_MSGS; i++) {
		uint8_t b[2];

		amp_put_le16(b, (uint16_t)i);
		while (i - atomic_load(&m.got) >= 4) { /* or it is held, and ENOBUFS at last */
			assert_int_equal(m.over, 0);
			sched_yield();
		}
		assert_int_equal(host_send(500, local_addr(m.fd), b, 2), 0);
	}
	for (unsigned i = 0; i < SEVERAL; i++)
		assert_int_equal(host_send(500, local_addr(m.fd), "", 1), 0);
	for (unsigned i = 0; i < SEVERAL; i++) {
		assert_int_equal(pthread_join(th[i], &ok), 0);
		assert_non_null(ok);
	}
	for (unsigned i = 0; i < SEVERAL_MSGS; i++)
		assert_int_equal(m.seen[i], 1);
	close_ok(m.fd);
}

/*
 * A host without buffers is kicked when half of the ring has gone back. One that has sent and
 * sent, and gone: that is noticed before all of it is read, but by a small build, whose look
 * takes all that there is room for: what it has is read first.
 */
static void test_straight_bounded(void **state)
{
	int fd = dial(SOCK_SEQPACKET, at(500));
	uint32_t to = local_addr(fd);
	unsigned before = host.kicks[AMP_RPROC_RX], n = 0;
	char c;

	(void)state;
	amp_poll_links();
	for (int i = 0; i < 320; i++) {
		assert_int_equal(host_send(500, to, "x", 1), 0);
		assert_int_equal(amp_recv(fd, &c, 1, 0), 1);
	}
	assert_int_equal(host.kicks[AMP_RPROC_RX], before); /* it has enough */
	while (host_send(500, to, "x", 1) == 0)
		n++;
	assert_int_equal(n, HOST_NUM);
	for (n = 0; host.kicks[AMP_RPROC_RX] == before; n++)
		assert_int_equal(amp_recv(fd, &c, 1, 0), 1);
	assert_in_range(n, 1, HOST_NUM / 2);
	while (host_send(500, to, "x", 1) == 0)
		;
	n = 0;
	host_lock();
	amp_rproc_host_down(&host.h);
	host_bus_down();
	host.deaf = true;
	amp_port_unlock();
	while (amp_recv(fd, &c, 1, 0) == 1)
		n++;
	assert_int_equal(errno, ECONNRESET);
	assert_in_range(n, 1, AMPSOCK_FAST ? HOST_NUM / 2 : HOST_NUM);
	host.deaf = false;
	host_turn();
	assert_int_equal(amp_link_wait(5000), 0);
	close_ok(fd);
}

/* A host that always has something for somebody who waits: time goes by all the same. */
static void test_deadline_under_load(void **state)
{
	int fd = dial(SOCK_SEQPACKET, at(500)), w = sock(SOCK_SEQPACKET);
	uint32_t to = local_addr(fd), end_ms;
	struct amp_sock *s;
	unsigned after = 0;
	char c;

	(void)state;
	nonblock(w);
	set_timeout(w, SO_SNDTIMEO, 30);
	assert_errno(do_connect(w, named("nobody")), EINPROGRESS);
	end_ms = amp_port_now_ms() + 30;
	amp_port_lock();
	s = amp_sock_find(w);
	amp_port_unlock();
	while (after < 2 * HOST_NUM && (s->flags & AMP_SF_CONNECTING)) {
		assert_int_equal(host_send(500, to, "x", 1), 0);
		assert_int_equal(amp_recv(fd, &c, 1, 0), 1);
		after += (int32_t)(amp_port_now_ms() - end_ms) > 0;
	}
	assert_false(s->flags & AMP_SF_CONNECTING);
	assert_in_range(after, 0, HOST_NUM + 1);
	assert_int_equal(so_error(w), ECONNREFUSED);
	close_ok(w);
	close_ok(fd);
}

/* ---- the device runs out of buffers ---- */

static void test_no_buffers(void **state)
{
	struct host_ept *e = host_open(0, 500, NULL);
	int fd = dial(SOCK_SEQPACKET, at(500)), n = 0;

	(void)state;
	host.deaf = true;
	while (amp_send(fd, "x", 1, MSG_DONTWAIT) == 1)
		n++;
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(n, HOST_NUM);
	assert_int_equal(poll_for(fd, POLLOUT, 0), 0);
	assert_int_equal(stats().tx_pending, HOST_NUM);
	host.deaf = false;
	host_turn();
	assert_int_equal(poll_for(fd, POLLOUT, 5000), POLLOUT);
	assert_int_equal(e->got, HOST_NUM);
	close_ok(fd);
}

/* The same of a stream that has sent with the last one: who then waits in poll() hears. */
static void test_no_buffers_stream(void **state)
{
	int fd, n = 0;
	bool kick;

	(void)state;
	(void)host_open(1, 501, "str~s");
	fd = dial(SOCK_STREAM, named("str"));
	host_turn();
	host.deaf = true;
	for (unsigned i = 0; i < HOST_NUM; i++)
		n += (int)amp_send(fd, "x", 1, MSG_DONTWAIT);
	assert_int_equal(n, HOST_NUM);
	assert_int_equal(poll_for(fd, POLLOUT, 20), 0);
	/* nobody was refused a buffer, and yet somebody waits for one */
	host_lock();
	for (unsigned i = 0; i < HOST_CONNS; i++)
		host.conn[i].echo = false;
	kick = host_run();
	amp_port_unlock();
	assert_true(kick);
	host.deaf = false;
	amp_port_wake();
	assert_int_equal(poll_for(fd, POLLOUT, 5000), POLLOUT);
	close_ok(fd);
}

/* ---- threads ---- */

static atomic_int thread_fails;

#define CHECK(x)                                                                         \
	do {                                                                             \
		if (!(x)) {                                                              \
			fprintf(stderr, "%s:%d: %s, errno %d\n", __FILE__, __LINE__, #x, \
				errno);                                                  \
			atomic_fetch_add(&thread_fails, 1);                              \
		}                                                                        \
	} while (0)

static void *talk_seq(void *arg)
{
	struct sockaddr_rpmsg a = named("seq");
	char out[32], in[32];

	for (int i = 0; i < 300; i++) {
		int fd = amp_socket(AF_RPMSG, SOCK_SEQPACKET, 0);
		int n = snprintf(out, sizeof(out), "%p %d", arg, i);

		CHECK(fd >= 0 && amp_connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
		CHECK(amp_send(fd, out, (size_t)n, 0) == n);
		CHECK(amp_recv(fd, in, sizeof(in), 0) == n && memcmp(in, out, (size_t)n) == 0);
		CHECK(amp_close(fd) == 0);
	}
	return NULL;
}

static void *talk_stream(void *arg)
{
	struct sockaddr_rpmsg a = named("str");
	char out[1000], in[1000];

	for (int i = 0; i < 100; i++) {
		int fd = amp_socket(AF_RPMSG, SOCK_STREAM, 0);

		memset(out, (int)((uintptr_t)arg >> 4) + i, sizeof(out));
		CHECK(fd >= 0 && amp_connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
		CHECK(amp_send(fd, out, sizeof(out), 0) == (ssize_t)sizeof(out));
		CHECK(amp_recv(fd, in, sizeof(in), MSG_WAITALL) == (ssize_t)sizeof(in) &&
		      memcmp(in, out, sizeof(in)) == 0);
		CHECK(amp_close(fd) == 0);
	}
	return NULL;
}

static void *talk_dgram(void *arg)
{
	struct sockaddr_rpmsg a = named("seq");
	char in[32];
	int fd = amp_socket(AF_RPMSG, SOCK_DGRAM, 0);

	(void)arg;
	for (int i = 0; i < 300; i++) {
		CHECK(amp_sendto(fd, &i, sizeof(i), 0, (struct sockaddr *)&a, sizeof(a)) ==
		      (ssize_t)sizeof(i));
		CHECK(amp_recv(fd, in, sizeof(in), 0) == (ssize_t)sizeof(i) &&
		      memcmp(in, &i, sizeof(i)) == 0);
	}
	CHECK(amp_close(fd) == 0);
	return NULL;
}

static void test_threads(void **state)
{
	void *(*const fn[])(void *) = {talk_seq, talk_stream, talk_dgram, talk_seq, talk_dgram};
	pthread_t th[5];
	int id[5] = {0};
	struct host_ept *e = host_open(0, 500, "seq");

	(void)state;
	host_lock();
	e->echo = true;
	host_unlock();
	(void)host_open(1, 501, "str~s");
	host_turn();
	amp_poll_links();
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(pthread_create(&th[i], NULL, fn[i], &id[i]), 0);
	for (unsigned i = 0; i < 5; i++)
		pthread_join(th[i], NULL);
	assert_int_equal(thread_fails, 0);
}

#define T(fn) cmocka_unit_test_teardown(fn, all_gone)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_socket),
		T(test_bad_addresses),
		T(test_in_use),
		T(test_many_addresses),
		T(test_all_links),
		T(test_other_link),
		T(test_bound_here_sent_there),
		T(test_seq),
		T(test_seq_eof),
		T(test_seq_by_address),
		T(test_late_name),
		T(test_bound_waits),
		T(test_no_name),
		T(test_wait_given_up),
		T(test_seq_listen),
		T(test_seq_eof_and_next),
		T(test_seq_child_eof_and_next),
		T(test_seq_again),
		T(test_stalled),
		T(test_stalled_together),
		T(test_dgram),
		T(test_dgram_full),
		T(test_stream),
		T(test_stream_refused),
		T(test_stream_anew),
		T(test_stream_credit),
		T(test_stream_listen),
		T(test_front_door),
		T(test_service_moves),
		T(test_too_many_names),
		T(test_direct),
		T(test_restart),
		T(test_stale_names),
		T(test_restart_wakes),
		T(test_host_away),
		T(test_broken_ring),
		T(test_garbage),
		T(test_nonsense_is_said_once),
		T(test_kicks),
		T(test_kicks_back),
		T(test_few_buffers),
		T(test_no_buffers),
		T(test_seq_child_over),
		T(test_seq_empty),
		T(test_borrow_empty),
		T(test_seq_new_life),
		T(test_no_buffers_stream),
		T(test_kicks_few),
		T(test_kick_taken),
		T(test_threads),
		T(test_names_bound), /* late: the host remembers so many names */
		T(test_straight),
		T(test_straight_child),
		T(test_straight_several),
		T(test_straight_bounded),
		T(test_deadline_under_load),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, group_up, NULL);
}
