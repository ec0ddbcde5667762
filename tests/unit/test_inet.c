// SPDX-License-Identifier: BSD-3-Clause
/* AF_INET's TCP side against a scripted proxy: connect, ends, bind, listen, options, session.
 */
// small
// build: -DAMPSOCK_RPMSG=0 -DAMPSOCK_SOCKETS=12 -DAMPSOCK_RING_LEN=1024 src/socket/stack.c src/socket/socks.c
// build: src/socket/api.c src/socket/msg.c src/socket/msg_name.c src/socket/option.c src/socket/poll.c
// build: src/socket/links.c src/socket/rxring.c src/af_inet/af_inet.c src/af_inet/inet_addr.c
// build: src/af_inet/inet_carrier.c src/af_inet/inet_session.c src/af_inet/inet_udp.c src/af_inet/inet_opt.c
// build: src/wire/offload.c src/af_inet/inet_listen.c src/af_inet/inet_name.c
// build: src/af_inet/inet_direct.c src/socket/listen.c src/socket/name.c
// build: src/socket/direct.c src/socket/shutdown.c src/af_inet/inet_shutdown.c src/socket/stats.c src/vsock/vlink_stats.c
#include <limits.h>

#include "inet_rig.h"

static int so_error(int fd)
{
	int v = -1;
	socklen_t len = sizeof(v);

	assert_int_equal(amp_getsockopt(fd, SOL_SOCKET, SO_ERROR, &v, &len), 0);
	return v;
}

static void connect_and_talk(void **state)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	struct wire *w;
	char buf[32];
	int fd;

	(void)state;
	fd = tcp(80);
	w = last_wire();
	assert_int_equal(px.sessions, 1);
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(ntohs(a.sin_port), 40000);
	assert_int_equal(amp_getpeername(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(ntohs(a.sin_port), 80);
	assert_int_equal(a.sin_addr.s_addr, inet_addr("192.0.2.7"));
	assert_int_equal(len, sizeof(a));
	assert_errno(try_connect(fd, 80), EISCONN);
	assert_int_equal(amp_send(fd, "hello", 5, 0), 5);
	assert_int_equal(w->in_len, 5);
	assert_memory_equal(w->in, "hello", 5);
	say(w, "good day", 8);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 8); /* waits: straight to buf */
	assert_memory_equal(buf, "good day", 8);
	assert_errno(amp_recv(fd, buf, 1, MSG_DONTWAIT), EAGAIN);
	assert_int_equal(amp_shutdown(fd, SHUT_WR), 0);
	assert_true(w->shut_wr);
	assert_errno(amp_send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	say(w, "bye", 3);
	w->eof = true;
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 3);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 0);
	assert_int_equal(amp_close(fd), 0);
	assert_null(w->s);
	assert_false(w->aborted);
}

static void connect_fails_truly(void **state)
{
	int fd = amp_socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6};

	(void)state;
	assert_errno(try_connect(fd, 81), ECONNREFUSED);
	assert_errno(try_connect(fd, 82), EACCES);
	assert_errno(try_connect(fd, 83), ETIMEDOUT);
	assert_int_equal(so_error(fd), 0); /* told once */
	assert_errno(amp_send(fd, "x", 1, MSG_NOSIGNAL), ENOTCONN);
	assert_int_equal(try_connect(fd, 80), 0); /* the same socket may try again */
	assert_int_equal(amp_send(fd, "x", 1, 0), 1);
	amp_close(fd);
	fd = amp_socket(AF_INET, SOCK_STREAM, 0);
	assert_errno(amp_connect(fd, (struct sockaddr *)&a6, sizeof(a6)), EAFNOSUPPORT);
	a6.sin6_family = AF_INET;
	assert_errno(amp_connect(fd, (struct sockaddr *)&a6, 4), EINVAL);
	amp_close(fd);
	assert_errno(amp_socket(AF_INET, SOCK_SEQPACKET, 0), ESOCKTNOSUPPORT);
	assert_errno(amp_socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
}

static void session_fails_truly(void **state)
{
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	px.link_down = true;
	assert_errno(try_connect(fd, 80), ENETUNREACH);
	px.link_down = false;
	px.nobody = true;
	assert_errno(try_connect(fd, 80), ENETDOWN);
	px.nobody = false;
	px.version = 2;
	assert_errno(try_connect(fd, 80), EPROTONOSUPPORT);
	px.version = 1;
	px.mute = true; /* takes the carrier and says nothing */
	assert_errno(try_connect(fd, 80), ETIMEDOUT);
	px.mute = false;
	assert_int_equal(try_connect(fd, 80), 0); /* and at once when it is well again */
	amp_close(fd);
}

static void session_garbage_hello(void **state)
{
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	amp_fcntl(fd, F_SETFL, O_NONBLOCK);
	px.mute = true;
	assert_errno(try_connect(fd, 80), EINPROGRESS);
	spin();
	for (int i = 0; i < 88; i++)
		say(px.ctl, "\xee", 1);
	spin();
	assert_int_equal(so_error(fd), EPROTO);
	amp_close(fd);
}

static void answers_in_pieces(void **state)
{
	char buf[16];
	int fd;

	(void)state;
	px.chop = 1;
	px.mtu = 1;
	fd = tcp(80);
	say(last_wire(), "abc", 3);
	assert_int_equal(amp_recv(fd, buf, 3, MSG_WAITALL), 3);
	amp_close(fd);
	px.chop = 0;
	px.mtu = 50; /* OPEN goes in pieces */
	fd = tcp(80);
	amp_close(fd);
	/* half an answer, and then nothing */
	px.cut_answer = 60;
	fd = amp_socket(AF_INET, SOCK_STREAM, 0);
	assert_errno(try_connect(fd, 80), ETIMEDOUT);
	assert_true(last_wire()->aborted);
	/* half an answer, and then the end */
	amp_fcntl(fd, F_SETFL, O_NONBLOCK);
	assert_errno(try_connect(fd, 80), EINPROGRESS);
	spin();
	last_wire()->eof = true;
	spin();
	assert_int_equal(so_error(fd), ECONNRESET);
	amp_close(fd);
}

static struct wire *wire_to(uint16_t port)
{
	unsigned i = 0;

	while (wires[i].op != AMP_OFF_CONNECT || wires[i].open.peer.port != port)
		assert_true(++i < 64);
	return &wires[i];
}

static void nonblocking(void **state)
{
	struct pollfd p[2] = {{.events = POLLOUT}, {.events = POLLOUT}};

	(void)state;
	for (int i = 0; i < 2; i++) {
		p[i].fd = amp_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		assert_errno(try_connect(p[i].fd, (uint16_t)(80 + i)), EINPROGRESS);
	}
	/* one session for both who wait */
	while (amp_poll(p, 2, 1000) < 2)
		assert_true(sleeps < 1000);
	assert_int_equal(px.sessions, 1);
	assert_int_equal(p[0].revents, POLLOUT);
	assert_int_equal(so_error(p[0].fd), 0);
	assert_true(p[1].revents & POLLERR);
	assert_int_equal(so_error(p[1].fd), ECONNREFUSED);
	assert_errno(try_connect(p[0].fd, 80), EISCONN);
	p[0].events = POLLIN;
	assert_int_equal(amp_poll(p, 1, 100), 0);
	say(wire_to(80), "x", 1);
	assert_int_equal(amp_poll(p, 1, 100), 1);
	amp_close(p[0].fd);
	assert_errno(try_connect(p[1].fd, 85), EINPROGRESS);
	spin();
	assert_errno(try_connect(p[1].fd, 85), EALREADY);
	amp_close(p[1].fd); /* gives up in the middle */
	assert_true(last_wire()->aborted);
}

static void do_shutdown(int fd)
{
	assert_int_equal(amp_shutdown(fd, SHUT_RDWR), 0);
}

static void do_close(int fd)
{
	assert_int_equal(amp_close(fd), 0);
}

/* Somebody else ends what a caller waits for: that one is not told that it has worked. */
static void ended_by_another_thread(void **state)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(81)};
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	px.mute = true;
	in_sleep = do_shutdown;
	in_sleep_fd = fd;
	assert_errno(try_connect(fd, 80), ECONNABORTED);
	assert_int_equal(so_error(fd), 0);
	in_sleep = do_close;
	assert_errno(amp_bind(fd, (struct sockaddr *)&sin, sizeof(sin)), EBADF);
}

static int told; /* errno of the other thread's connect() */

static void do_connect(int fd)
{
	px.stall_in = false;
	assert_int_equal(try_connect(fd, 80), -1);
	told = errno;
}

/* Two threads wait for one attempt: what ends it, time or the peer, is told to both. */
static void two_wait(void **state)
{
	struct timeval tv = {.tv_usec = 50000};
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	in_sleep_fd = fd;
	in_sleep = do_connect;
	px.stall_in = true;
	assert_errno(try_connect(fd, 81), ECONNREFUSED);
	assert_int_equal(told, ECONNREFUSED);
	assert_int_equal(so_error(fd), 0);
	in_sleep = do_connect; /* whose time is over first, and with it the attempt */
	assert_errno(try_connect(fd, 85), ETIMEDOUT);
	assert_int_equal(told, ETIMEDOUT);
	assert_int_equal(so_error(fd), 0);
	/* of TCP an attempt with a time-out of its own goes on, as on Linux */
	assert_int_equal(amp_setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)), 0);
	in_sleep = do_connect;
	assert_errno(try_connect(fd, 85), EINPROGRESS);
	assert_int_equal(told, EINPROGRESS);
	amp_close(fd);
}

static void answer_at_last(int fd)
{
	(void)fd;
	px.stall_in = false;
	clock_ms += AMPSOCK_CONNECT_MS;
}

static void open_at_last(int fd)
{
	answer_at_last(fd);
	spin(); /* another thread sees it first */
}

/* It is open, or its answer is here, when the time is over: open it is, as on Linux. */
static void open_when_time_is_over(void **state)
{
	static void (*const how[])(int fd) = {answer_at_last, open_at_last};

	(void)state;
	amp_close(tcp(80)); /* a session */
	for (int i = 0; i < 2; i++) {
		int fd = amp_socket(AF_INET, SOCK_STREAM, 0);

		px.stall_in = true;
		in_sleep = how[i];
		assert_int_equal(try_connect(fd, 80), 0);
		assert_int_equal(amp_send(fd, "x", 1, 0), 1);
		spin();
		assert_false(last_wire()->aborted);
		amp_close(fd);
	}
}

static void byte_at_last(int fd)
{
	(void)fd;
	say(last_wire(), "x", 1);
}

static void nothing_yet(int fd)
{
	(void)fd;
	in_sleep = byte_at_last;
}

static void nothing_for_me(int fd)
{
	(void)fd;
}

/* Not shorter than asked for: the clock's millisecond had begun when it was read. */
static void timeout_to_its_end(void **state)
{
	struct pollfd p = {.events = POLLIN};
	struct timeval tv = {.tv_usec = 50000};
	uint32_t t0;
	char b;

	(void)state;
	p.fd = tcp(80);
	assert_int_equal(amp_setsockopt(p.fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
	in_sleep = nothing_for_me;
	t0 = clock_ms;
	assert_errno(amp_recv(p.fd, &b, 1, 0), EAGAIN);
	assert_int_equal(clock_ms - t0, 51);

	in_sleep = nothing_for_me;
	t0 = clock_ms;
	assert_int_equal(amp_poll(&p, 1, 50), 0);
	assert_int_equal(clock_ms - t0, 51);

	/* the longest that there is, woken for nothing in its first millisecond */
	in_sleep = nothing_yet;
	assert_int_equal(amp_poll(&p, 1, INT_MAX), 1);
	amp_close(p.fd);
}

/* Whoever gives room back does not wait for the reason of a reset, and is not told to come again. */
static void commit_waits_for_nothing(void **state)
{
	struct iovec iov[2];
	struct wire *w;
	uint32_t t0;
	int fd, cnt;

	(void)state;
	for (int flag = 0; flag <= O_NONBLOCK; flag += O_NONBLOCK) {
		fd = tcp(80);
		assert_int_equal(amp_fcntl(fd, F_SETFL, flag), 0);
		assert_int_equal(amp_reserve(fd, iov, &cnt, 5), 5);
		w = last_wire();
		w->rst = true;
		spin();
		t0 = clock_ms;
		assert_int_equal(amp_commit(fd, 0), 0);
		assert_int_equal(w->room_len, 0);
		assert_int_equal(amp_give_back(fd, 0), 0);
		assert_int_equal(clock_ms, t0);
		amp_close(fd);
	}
}

/* The true reason of an end, whichever comes first. */
static void closed_tells_why(void **state)
{
	struct pollfd p = {.events = POLLIN};
	uint32_t t0;
	struct wire *w;
	char buf[8];
	int fd;

	(void)state;
	fd = tcp(80);
	w = last_wire();
	say(w, "last", 4);
	say_closed(w->id, AMP_OFF_ETIMEDOUT);
	w->rst = true;
	spin();
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0),
			 4); /* what came before comes first */
	assert_errno(amp_recv(fd, buf, sizeof(buf), 0), ETIMEDOUT);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 0);
	assert_errno(amp_send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	amp_close(fd);

	fd = tcp(80); /* an end in the place of the RST */
	w = last_wire();
	say(w, "last", 4);
	say_closed(w->id, AMP_OFF_ETIMEDOUT);
	w->eof = true;
	spin();
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 4);
	assert_errno(amp_recv(fd, buf, sizeof(buf), 0), ETIMEDOUT);
	assert_errno(amp_send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	amp_close(fd);

	/* who writes first hears the reason first, EPIPE behind it */
	for (int way = 0; way < 2; way++) {
		struct iovec iov[2];
		int cnt;

		fd = tcp(80);
		w = last_wire();
		say_closed(w->id, AMP_OFF_ETIMEDOUT);
		w->rst = true;
		spin();
		if (way)
			assert_errno(amp_reserve(fd, iov, &cnt, 1), ETIMEDOUT);
		else
			assert_errno(amp_send(fd, "x", 1, MSG_NOSIGNAL), ETIMEDOUT);
		assert_errno(amp_send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
		assert_errno(amp_send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
		amp_close(fd);
	}

	fd = tcp(80); /* and one that is just that */
	last_wire()->eof = true;
	assert_int_equal(amp_recv(fd, buf, 1, 0), 0);
	assert_int_equal(amp_send(fd, "x", 1, MSG_NOSIGNAL), 1);
	amp_close(fd);

	fd = tcp(80); /* RST first, the reason in time */
	w = last_wire();
	w->rst = true;
	spin();
	assert_errno(amp_recv(fd, buf, 1, MSG_DONTWAIT), EAGAIN);
	assert_errno(amp_send(fd, buf, 1, MSG_DONTWAIT), EAGAIN);
	say_closed(w->id, AMP_OFF_EHOSTUNREACH);
	spin();
	assert_errno(amp_recv(fd, buf, 1, 0), EHOSTUNREACH);
	amp_close(fd);

	fd = tcp(80); /* no reason at all: bounded */
	w = last_wire();
	w->rst = true;
	t0 = clock_ms;
	assert_errno(amp_recv(fd, buf, 1, 0), ECONNRESET);
	assert_in_range(clock_ms - t0, 200, 400);
	amp_close(fd);

	p.fd = fd = tcp(80); /* a poller hears of it, too */
	last_wire()->rst = true;
	assert_int_equal(amp_poll(&p, 1, 5000), 1);
	assert_true((p.revents & (POLLERR | POLLHUP)) == (POLLERR | POLLHUP));
	assert_int_equal(so_error(fd), ECONNRESET);
	amp_close(fd);

	fd = tcp(80); /* an orderly end is none of this */
	last_wire()->s->flags |= AMP_SF_RESET | AMP_SF_EOF | AMP_SF_HUP;
	assert_int_equal(amp_recv(fd, buf, 1, 0), 0);
	amp_close(fd);
}

static void options(void **state)
{
	int one = 1, v = 0, fd = amp_socket(AF_INET, SOCK_STREAM, 0);
	struct linger l = {.l_onoff = 1, .l_linger = 0};
	socklen_t len = sizeof(v);
	struct wire *w;

	(void)state;
	assert_int_equal(amp_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
	assert_int_equal(amp_setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &v, sizeof(v)), 0);
	v = 77;
	assert_int_equal(amp_setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &v, sizeof(v)), 0);
	v = 0;
	assert_errno(amp_setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &v, sizeof(v)), EINVAL);
	assert_errno(amp_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &v, 2), EINVAL);
	assert_errno(amp_setsockopt(fd, IPPROTO_TCP, 99, &v, sizeof(v)), ENOPROTOOPT);
	assert_errno(amp_setsockopt(fd, IPPROTO_IP, IP_TTL, &one, sizeof(v)), ENOPROTOOPT);
	assert_int_equal(amp_getsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &v, &len), 0);
	assert_int_equal(v, 77);
	assert_int_equal(amp_getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &v, &len), 0);
	assert_int_equal(v, 1);
	assert_int_equal(try_connect(fd, 80), 0);
	w = last_wire();
	assert_int_equal(w->open.opts_set,
			 1u << AMP_OFF_TCP_NODELAY | 1u << AMP_OFF_SO_KEEPALIVE);
	assert_int_equal(w->open.opts, 1u << AMP_OFF_TCP_NODELAY);
	assert_int_equal(w->open.keepintvl_s, 77);
	assert_int_equal(w->open.linger, 0);
	/* and now the proxy is asked */
	assert_int_equal(amp_setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &one, sizeof(one)), 0);
	assert_int_equal(px.setopts, 1);
	assert_int_equal(amp_le32(px.last_opt), w->id);
	assert_int_equal(amp_le16(px.last_opt + 4), AMP_OFF_TCP_KEEPIDLE);
	assert_int_equal(amp_le16(px.last_opt + 6), 4);
	assert_int_equal(amp_le32(px.last_opt + 8), 1);
	assert_int_equal(amp_getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &v, &len), 0);
	assert_int_equal(v, 42);
	px.opt_status = AMP_OFF_ENOPROTOOPT;
	assert_errno(amp_setsockopt(fd, IPPROTO_IP, IP_TTL, &one, sizeof(one)), ENOPROTOOPT);
	px.opt_status = AMP_OFF_EPERM;
	assert_errno(amp_getsockopt(fd, IPPROTO_IP, IP_TTL, &one, &len), EPERM);
	px.opt_status = 0;
	assert_int_equal(amp_setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)), 0);
	assert_int_equal(amp_le16(px.last_opt + 4), AMP_OFF_SO_LINGER);
	amp_close(fd);
	assert_true(w->aborted); /* linger 0: reset */
}

static void bind_names_and_releases(void **state)
{
	struct sockaddr_in a = sin4("10.0.0.2", 0);
	socklen_t len = sizeof(a);
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(ntohs(a.sin_port), 5555);
	assert_errno(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), EINVAL);
	assert_int_equal(try_connect(fd, 80), 0);
	assert_int_equal(last_wire()->open.bound_id, px.bind_id);
	amp_close(fd);
	spin();
	assert_int_equal(px.releases, 0); /* CONNECT used the id up */

	fd = amp_socket(AF_INET, SOCK_STREAM, 0);
	a = sin4("10.0.0.2", 84);
	assert_errno(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), EADDRINUSE);
	a = sin4("10.0.0.2", 82);
	assert_errno(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), EACCES);
	a = sin4("10.0.0.2", 1234);
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	amp_close(fd);
	spin();
	assert_int_equal(px.releases, 1);
	assert_int_equal(px.released[0], px.bind_id);

	/* nor has a CONNECT that never left */
	fd = amp_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	px.window = 0;
	assert_errno(try_connect(fd, 80), EINPROGRESS);
	spin();
	amp_close(fd);
	px.window = 16384;
	spin();
	assert_int_equal(px.releases, 2);
}

static int listener(int backlog)
{
	struct sockaddr_in a = sin4("0.0.0.0", 8080);
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(amp_listen(fd, backlog), 0);
	spin();
	return fd;
}

/* What was asked for and not given is asked for no more. */
static void names_of_the_failed(void **state)
{
	struct sockaddr_in a = sin4("10.0.0.2", 84), got;
	socklen_t len = sizeof(got);
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	assert_errno(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), EADDRINUSE);
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&got, &len), 0);
	assert_int_equal(got.sin_port, 0);
	assert_int_equal(got.sin_addr.s_addr, 0);
	assert_errno(try_connect(fd, 81), ECONNREFUSED);
	assert_int_equal(last_wire()->open.local.family, 0);
	assert_int_equal(try_connect(fd, 80), 0);
	assert_int_equal(last_wire()->open.local.family, 0);
	/* over: the next connection has a port of its own */
	last_wire()->rst = true;
	spin();
	assert_errno(amp_send(fd, "x", 1, MSG_NOSIGNAL), ECONNRESET);
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&got, &len), 0);
	assert_int_equal(ntohs(got.sin_port), 40000);
	assert_int_equal(try_connect(fd, 80), 0);
	assert_int_equal(last_wire()->open.local.family, 0);
	amp_close(fd);

	/* an address of which a part was left would be a header that the proxy refuses */
	fd = amp_socket(AF_INET, SOCK_STREAM, 0);
	a = sin4("10.0.0.2", 1234);
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_errno(try_connect(fd, 81), ECONNREFUSED);
	assert_int_equal(last_wire()->open.bound_id, px.bind_id);
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&got, &len), 0);
	assert_int_equal(got.sin_port, 0);
	assert_int_equal(try_connect(fd, 80), 0);
	assert_int_equal(last_wire()->open.bound_id, 0);
	assert_int_equal(last_wire()->open.local.family, 0);
	amp_close(fd);

	/* listen() binds, too */
	fd = amp_socket(AF_INET, SOCK_STREAM, 0);
	px.bind_status = AMP_OFF_EACCES;
	assert_errno(amp_listen(fd, 1), EACCES);
	px.bind_status = 0;
	assert_int_equal(try_connect(fd, 80), 0);
	assert_int_equal(last_wire()->open.local.family, 0);
	amp_close(fd);
}

static void listen_and_accept(void **state)
{
	struct pollfd p = {.events = POLLIN};
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	struct wire *w;
	char buf[8];
	int fd, c;

	(void)state;
	p.fd = fd = listener(2);
	assert_int_equal(px.credits, 1);
	assert_int_equal(amp_poll(&p, 1, 0), 0);
	w = visit(1111);
	say(w, "GET", 3); /* right behind the header */
	assert_int_equal(amp_poll(&p, 1, 0), 1);
	c = amp_accept(fd, (struct sockaddr *)&a, &len);
	assert_true(c >= 0);
	assert_int_equal(ntohs(a.sin_port), 1111);
	assert_int_equal(amp_getsockname(c, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(ntohs(a.sin_port), 8080);
	assert_int_equal(amp_recv(c, buf, sizeof(buf), 0), 3);
	assert_int_equal(amp_send(c, "200", 3, 0), 3);
	assert_memory_equal(w->in, "200", 3);
	spin();
	assert_int_equal(px.credits, 2); /* granted again */
	say_closed(w->id, AMP_OFF_ETIMEDOUT);
	w->rst = true;
	spin();
	assert_errno(amp_recv(c, buf, 1, 0), ETIMEDOUT);
	amp_close(c);
	assert_int_equal(amp_fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	assert_errno(amp_accept(fd, NULL, NULL), EAGAIN);
	/* one waits unaccepted when the listener closes: reset */
	w = visit(1112);
	spin();
	amp_close(fd);
	assert_true(w->aborted);
	spin();
	assert_int_equal(px.released[0], px.listener);
}

/* A reload took the rule away: who waits for a visitor hears it, once, and no longer waits. */
static void listener_not_allowed_any_more(void **state)
{
	struct pollfd p = {.events = POLLIN};

	(void)state;
	p.fd = listener(2);
	say_closed(px.listener, AMP_OFF_EACCES);
	spin();
	assert_int_equal(amp_poll(&p, 1, 0), 1);
	assert_true(p.revents & POLLERR);
	assert_errno(amp_accept(p.fd, NULL, NULL), EACCES);
	assert_errno(amp_accept(p.fd, NULL, NULL), EINVAL);
	amp_close(p.fd);
}

static void listen_unbound_and_refused(void **state)
{
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a;
	socklen_t len = sizeof(a);

	(void)state;
	px.listen_status = AMP_OFF_EACCES;
	assert_errno(amp_listen(fd, 1), EACCES);
	px.listen_status = 0;
	assert_int_equal(amp_listen(fd, 1), 0);
	assert_int_equal(px.binds, 1); /* bound by the first try */
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(ntohs(a.sin_port), 5555);
	assert_errno(try_connect(fd, 80), EOPNOTSUPP);
	amp_close(fd);
}

/* Whoever cannot prove that the proxy accepted: reset, and the listener hears nothing. */
static void forged_accepts(void **state)
{
	struct amp_off_addr l = addr4(0x0a000002, 8080), r = addr4(0x0a000009, 1), none = {0},
			    six = {.family = AMP_OFF_INET6};
	int fd = listener(4);
	struct wire *w;
	unsigned left = px.credits;

	(void)state;
	amp_fcntl(fd, F_SETFL, O_NONBLOCK);
#define FORGE(op, status, arg, token, local, peer)                     \
	do {                                                           \
		w = knock(true);                                       \
		say_answer(w, op, status, 1, arg, token, local, peer); \
		spin();                                                \
		assert_true(w->aborted);                               \
		assert_errno(amp_accept(fd, NULL, NULL), EAGAIN);      \
	} while (0)
	FORGE(AMP_OFF_ACCEPT, 0, px.listener, DOOR_TOKEN ^ 1, l, r);
	FORGE(AMP_OFF_ACCEPT, 0, px.listener + 1, DOOR_TOKEN, l, r);
	FORGE(AMP_OFF_ACCEPT, 0, 0, 0, l, r);
	FORGE(AMP_OFF_CONNECT, 0, px.listener, DOOR_TOKEN, l, r);
	FORGE(AMP_OFF_ACCEPT, 5, px.listener, DOOR_TOKEN, l, r);
	FORGE(AMP_OFF_ACCEPT, 0, px.listener, DOOR_TOKEN, none, r);
	FORGE(AMP_OFF_ACCEPT, 0, px.listener, DOOR_TOKEN, l, six);
	px.version = 2;
	FORGE(AMP_OFF_ACCEPT, 0, px.listener, DOOR_TOKEN, l, r);
	px.version = 1;
	/* all is right, but it is not the proxy who speaks */
	w = knock(false);
	say_answer(w, AMP_OFF_ACCEPT, 0, 1, px.listener, DOOR_TOKEN, l, r);
	spin();
	assert_true(w->aborted);
	/* half a header, and then silence */
	px.cut_answer = 87;
	w = knock(true);
	say_answer(w, AMP_OFF_ACCEPT, 0, 1, px.listener, DOOR_TOKEN, l, r);
	px.cut_answer = 0;
	spin();
	assert_false(w->aborted);
	pass(1500);
	assert_true(w->aborted);
	assert_errno(amp_accept(fd, NULL, NULL), EAGAIN);
	/* none of them cost a credit */
	assert_int_equal(px.credits, left);
	for (unsigned i = 0; i < px.credits; i++) { /* granted again meanwhile */
		assert_non_null(visit((uint16_t)(2000 + i)));
		spin();
	}
	assert_int_equal(px.credits, 4);
	w = visit(3000); /* one more than granted */
	spin();
	assert_true(w->aborted);
	amp_close(fd);
	spin();
}

static unsigned unasked;

static void count_unasked(const char *line)
{
	unasked += strstr(line, "nobody asked for") != NULL;
}

/* Whoever knocks all the time is counted, and said once in a session. */
static void forged_is_said_once(void **state)
{
	struct amp_off_addr l = addr4(0x0a000002, 8080), r = addr4(0x0a000009, 1);
	struct amp_stats before, now;
	int fd = listener(4);

	(void)state;
	unasked = 0;
	amp_stats_get(&before);
	amp_log_hook(count_unasked);
	for (unsigned session = 1; session <= 2; session++) {
		for (unsigned i = 0; i < 20; i++) {
			struct wire *w = knock(true);

			say_answer(w, AMP_OFF_ACCEPT, 0, 1, px.listener, DOOR_TOKEN ^ 1, l, r);
			spin();
			assert_true(w->aborted);
		}
		assert_int_equal(unasked, session);
		amp_stats_get(&now);
		assert_int_equal(now.rx_bad, before.rx_bad + 20 * session);
		px.ctl->rst = true;
		pass(1000);
		assert_int_equal(px.sessions, session + 1);
	}
	amp_log_hook(NULL);
	amp_close(fd);
	spin();
}

/* However long its backlog, the first leaves some for the others, one after the other; then there is
 * none left, and the fourth must not be visited. */
static void no_credit_no_visit(void **state)
{
	int a = listener(100), b, c, d;
	struct wire *w;

	(void)state;
	assert_int_equal(px.credits, 1);
	b = listener(100);
	assert_int_equal(px.credits, 1);
	c = listener(100);
	assert_int_equal(px.credits, 1);
	d = listener(100);
	assert_int_equal(px.credits, 0);
	w = visit(1);
	spin();
	assert_true(w->aborted);
	amp_close(b); /* its credits are for others now */
	spin();
	assert_true(px.credits > 0);
	w = visit(2);
	spin();
	assert_false(w->aborted);
	amp_close(a);
	amp_close(c);
	amp_close(d);
}

/* A visitor of the listener that the proxy calls id; it stays until somebody accepts it. */
static void visit_at(uint32_t id)
{
	uint32_t last = px.listener;

	assert_true(px.credit_of[id % IDS]);
	px.credit_of[id % IDS]--;
	px.listener = id;
	assert_non_null(visit(1));
	px.listener = last;
	spin();
}

/*
 * Room for one connection, and three listeners, two of which have visitors all the time: the third has
 * its turn.
 */
static void credits_go_round(void **state)
{
	int l[3], s[2], c, granted;
	uint32_t id[3];

	(void)state;
	for (int n = 0; n < 2; n++) { /* twelve slots: two are the session's */
		s[n] = amp_socket(AF_INET, SOCK_STREAM, 0);
		assert_true(s[n] >= 0);
	}
	for (int n = 0; n < 3; n++) {
		l[n] = listener(100);
		amp_fcntl(l[n], F_SETFL, O_NONBLOCK);
		id[n] = px.listener;
	}
	assert_true(px.credit_of[id[0] % IDS] && px.credit_of[id[1] % IDS]);
	assert_false(px.credit_of[id[2] % IDS]);
	for (granted = 0; granted < 4 && !px.credit_of[id[2] % IDS]; granted++) {
		for (int n = 0; n < 2; n++) {
			if (!px.credit_of[id[n] % IDS])
				continue;
			visit_at(id[n]);
			c = amp_accept(l[n], NULL, NULL);
			assert_true(c >= 0);
			amp_close(c);
			spin();
		}
	}
	assert_true(px.credit_of[id[2] % IDS]);
	for (int n = 0; n < 3; n++)
		amp_close(l[n]);
	amp_close(s[0]);
	amp_close(s[1]);
	spin();
}

/* Twelve slots: control, door, listener; each connection takes two. */
static void credits_follow_the_pools(void **state)
{
	int fd = listener(100), c[8], n = 0, more;

	(void)state;
	assert_int_equal(px.credits, 1); /* (12 - 3) / 2, and a quarter of that */
	for (unsigned granted = 0; granted < 4; granted++) {
		assert_non_null(visit((uint16_t)(100 + granted)));
		spin();
	}
	assert_int_equal(px.credits, 4);
	amp_fcntl(fd, F_SETFL, O_NONBLOCK);
	while ((more = amp_accept(fd, NULL, NULL)) >= 0)
		c[n++] = more;
	assert_int_equal(n, 4);
	spin();
	assert_int_equal(px.credits, 4); /* accepted, but the slots are still theirs */
	amp_close(c[0]);
	spin();
	assert_int_equal(px.credits, 5);
	amp_close(c[1]);
	spin();
	assert_int_equal(px.credits, 5); /* of two */
	while (n > 2)
		amp_close(c[--n]);
	amp_close(fd);
	spin();
}

static void ping_finds_the_dead(void **state)
{
	struct wire *w;
	char buf[4];
	uint32_t t0;
	int fd = tcp(80), lfd = listener(1), c;
	struct amp_stats st;

	(void)state;
	pass(10000);
	assert_in_range(px.pings, 4, 6);
	say_ctl(AMP_OFF_PING, 0, 5, "", 0); /* the proxy may ask, too */
	spin();
	assert_int_equal(px.bind_port, 7777);
	px.bind_port = 8080;
	t0 = clock_ms;
	px.mute = true;
	assert_errno(amp_recv(fd, buf, 1, 0), ECONNRESET); /* idle in recv */
	assert_in_range(clock_ms - t0, AMPSOCK_PING_MS, 3 * AMPSOCK_PING_MS + 500);
	assert_int_equal(amp_recv(fd, buf, 1, 0), 0); /* once */
	px.mute = false;
	assert_int_equal(try_connect(fd, 80), 0); /* it may connect anew */
	px.mute = true;
	pass(10000);
	amp_close(fd);
	amp_stats_get(&st);
	assert_true(st.link_resets > 0);
	/* it lives again: the listener registers itself, with the port it had */
	px.mute = false;
	px.binds = px.listens = 0;
	pass(3000);
	assert_int_equal(px.binds, 1);
	assert_int_equal(px.listens, 1);
	assert_int_equal(px.bind_port, 8080);
	assert_true(px.credits > 0);
	w = visit(4711);
	c = amp_accept(lfd, NULL, NULL);
	assert_true(c >= 0);
	assert_int_equal(amp_send(c, "x", 1, 0), 1);
	assert_int_equal(w->in_len, 1);
	amp_close(c);
	amp_close(lfd);
	spin();
	px.pings = 0;
	pass(10000);
	assert_int_equal(px.pings, 0); /* no sockets, no pings */
}

/* Each time that a ping is due there is no room for it, as beside a sender who fills the link; and soon
 * there is. The proxy lives, and so does the session. */
static void ping_waits_for_room(void **state)
{
	int fd = tcp(80);

	(void)state;
	spin();
	px.pings = 0;
	for (int i = 0; i < 6; i++) {
		px.window = 0;
		clock_ms += AMPSOCK_PING_MS;
		spin();
		px.window = 16384;
		amp_sock_changed(px.ctl->s); /* credit */
		spin();
	}
	assert_int_equal(px.sessions, 1);
	assert_int_equal(px.pings, 6);
	assert_int_equal(amp_send(fd, "x", 1, 0), 1);
	amp_close(fd);
	spin();
}

static void listener_keeps_trying(void **state)
{
	int lfd = listener(1);

	(void)state;
	px.ctl->rst = true;
	px.nobody = true;
	pass(5000);
	px.nobody = false;
	px.binds = px.listens = 0;
	pass(1500);
	assert_int_equal(px.listens, 1);
	amp_close(lfd);
}

static void no_lies_on_the_control_carrier(void **state)
{
	static const struct {
		uint8_t op, status;
		uint32_t seq;
		size_t len;
	} lies[] = {
		{AMP_OFF_BIND | AMP_OFF_REPLY, 0, 1, 28}, /* an answer to nothing */
		{AMP_OFF_PING, 1, 0, 0},
		{AMP_OFF_PONG, 0, 0, 4},
		{AMP_OFF_CLOSED, 0, 0, 4},
		{AMP_OFF_CLOSED, 0, 0, 8}, /* of nobody: no id is 0 */
		{AMP_OFF_BIND, 0, 0, 28},
		{77, 0, 0, 0},
		{0, 0, 0, 0},
	};
	static const uint8_t body[64];
	uint8_t huge[8] = {0xff, 0xff, AMP_OFF_PING}, tiny[8] = {7, 0, AMP_OFF_PING};
	char buf[4];

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]) + 2; i++) {
		int fd = tcp(80);

		say_closed(4, 4); /* of a socket that is gone: no lie */
		spin();
		assert_errno(amp_recv(fd, buf, 1, MSG_DONTWAIT), EAGAIN);
		if (i == 0)
			say(px.ctl, huge, 8);
		else if (i == 1)
			say(px.ctl, tiny, 8);
		else
			say_ctl(lies[i - 2].op, lies[i - 2].status, lies[i - 2].seq, body,
				lies[i - 2].len);
		spin();
		assert_true(px.ctl->aborted);
		assert_errno(amp_recv(fd, buf, 1, 0), ECONNRESET);
		amp_close(fd);
	}
}

/* The answer of a request that was answered already, and answers of the wrong length. */
static bool odd_bind(const struct amp_off_ctl *c, const uint8_t *body, unsigned len)
{
	static const uint8_t ans[40];

	(void)body;
	(void)len;
	if (c->op != AMP_OFF_BIND)
		return false;
	say_ctl(AMP_OFF_BIND | AMP_OFF_REPLY, 0, c->seq, ans, 27);
	return true;
}

static bool late_seq(const struct amp_off_ctl *c, const uint8_t *body, unsigned len)
{
	static const uint8_t ans[28];

	(void)body;
	(void)len;
	if (c->op != AMP_OFF_BIND)
		return false;
	say_ctl(AMP_OFF_BIND | AMP_OFF_REPLY, AMP_OFF_EACCES, c->seq - 1, ans, 0);
	return true;
}

static bool twice(const struct amp_off_ctl *c, const uint8_t *body, unsigned len)
{
	(void)body;
	(void)len;
	if (c->op == AMP_OFF_SETOPT)
		say_ctl(AMP_OFF_SETOPT | AMP_OFF_REPLY, 0, c->seq, "", 0);
	return false;
}

static void odd_answers(void **state)
{
	struct sockaddr_in a = sin4("10.0.0.2", 1234);
	int one = 1, fd = amp_socket(AF_INET, SOCK_STREAM, 0);
	char buf[4];

	(void)state;
	px_resolver = odd_bind;
	assert_errno(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), EPROTO);
	px_resolver = late_seq;
	assert_errno(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), EPROTO);
	px_resolver = twice;
	amp_close(fd);
	fd = tcp(80);
	amp_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	assert_errno(amp_recv(fd, buf, 1, 0), ECONNRESET);
	px_resolver = NULL;
	amp_close(fd);
}

/* The session turns out to be none when a bound socket is to connect: the next one knows no number of it. */
static void bound_for_the_next_session(void **state)
{
	struct sockaddr_in a = sin4("10.0.0.2", 1234);
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0),
	    liar = amp_socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	px_resolver = odd_bind;
	assert_errno(amp_bind(liar, (struct sockaddr *)&a, sizeof(a)), EPROTO);
	px_resolver = NULL;
	assert_int_equal(try_connect(fd, 80), 0);
	assert_int_equal(px.sessions, 2);
	assert_int_equal(last_wire()->open.bound_id, 0);
	assert_int_equal(last_wire()->open.local.port, 1234);
	amp_close(liar);
	amp_close(fd);
}

static void close_while_binding(void **state)
{
	struct sockaddr_in a = sin4("10.0.0.2", 1234);
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	amp_close(tcp(80)); /* session up */
	px.stall_in = true;
	assert_errno(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), ETIMEDOUT);
	amp_close(fd);
	px.stall_in = false;
	spin();
	if (px.ctl->s) { /* it came after all: given back */
		assert_int_equal(px.releases, 1);
		assert_int_equal(px.released[0], px.bind_id);
	}
}

static void pool_runs_out(void **state)
{
	int fd[12], n = 0;

	(void)state;
	while ((fd[n] = amp_socket(AF_INET, SOCK_STREAM, 0)) >= 0)
		n++;
	assert_int_equal(errno, EMFILE);
	assert_errno(try_connect(fd[0], 80), ENOBUFS);
	amp_close(fd[--n]);
	amp_close(fd[--n]);
	assert_int_equal(try_connect(fd[0], 80), 0);
	assert_errno(try_connect(fd[1], 80), ENOBUFS);
	while (n)
		amp_close(fd[--n]);
}

static void inet6(void **state)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6,
				 .sin6_port = htons(80),
				 .sin6_addr = IN6ADDR_LOOPBACK_INIT,
				 .sin6_scope_id = 3};
	socklen_t len = sizeof(a);
	int fd = amp_socket(AF_INET6, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(last_wire()->open.peer.scope_id, 3);
	memset(&a, 0, sizeof(a));
	assert_int_equal(amp_getpeername(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(a.sin6_scope_id, 3);
	assert_int_equal(a.sin6_addr.s6_addr[15], 1);
	assert_int_equal(len, sizeof(a));
	amp_close(fd);
}

/* The slot that a credit stood for is somebody else's now: the visitor waits, or the credit
 * would be lost, and with it the listener. */
static void visitor_waits_for_a_slot(void **state)
{
	int fd = listener(1), s[9], c;
	struct wire *w;

	(void)state;
	assert_int_equal(px.credits, 1);
	for (int n = 0; n < 8; n++)
		s[n] = amp_socket(AF_INET, SOCK_STREAM, 0);
	w = visit(1111); /* the carrier takes the last one */
	assert_non_null(w);
	spin();
	assert_false(w->aborted);
	assert_errno(amp_socket(AF_INET, SOCK_STREAM, 0), EMFILE);
	for (int n = 0; n < 8; n++)
		amp_close(s[n]);
	amp_fcntl(fd, F_SETFL, O_NONBLOCK);
	spin();
	c = amp_accept(fd, NULL, NULL);
	assert_true(c >= 0);
	spin();
	assert_int_equal(px.credits, 2);
	amp_close(c);
	amp_close(fd);
	spin();
}

/* What had arrived can be read, then the error is told, then EOF. */
static void lost_session_leaves_the_data(void **state)
{
	int fd = tcp(80);
	char buf[8];

	(void)state;
	say(last_wire(), "last", 4);
	spin();
	px.ctl->rst = true;
	spin();
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 4);
	assert_memory_equal(buf, "last", 4);
	assert_errno(amp_recv(fd, buf, 1, 0), ECONNRESET);
	assert_int_equal(amp_recv(fd, buf, 1, 0), 0);
	assert_errno(amp_send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	amp_close(fd);
}

/* Whatever becomes of listen(): the address that bind() gave is not exchanged for another. */
static void lost_session_leaves_the_name(void **state)
{
	struct sockaddr_in a = sin4("0.0.0.0", 8080);
	socklen_t len = sizeof(a);
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	px.ctl->rst = true;
	px.nobody = true;
	spin();
	assert_errno(amp_listen(fd, 1), ENETDOWN);
	px.nobody = false;
	assert_int_equal(amp_listen(fd, 1), 0);
	assert_int_equal(px.bind_port, 8080);
	memset(&a, 0, sizeof(a));
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(ntohs(a.sin_port), 8080);
	amp_close(fd);
	spin();
}

/* Deadlines are 16 bits: a program that was away for longer finds them over, not to come. */
static void away_for_long(void **state)
{
	char buf[4];
	int fd = tcp(80);

	(void)state;
	last_wire()->rst = true;
	spin();
	assert_errno(amp_recv(fd, buf, 1, MSG_DONTWAIT), EAGAIN); /* CLOSED may tell why */
	clock_ms += 40000;
	spin();
	assert_errno(amp_recv(fd, buf, 1, MSG_DONTWAIT), ECONNRESET);
	amp_close(fd);
}

/* A limit of the proxy's says EAGAIN, which here would mean: wait for the answer. */
static void over_a_limit(void **state)
{
	struct sockaddr_in a = sin4("0.0.0.0", 86);
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	assert_errno(try_connect(fd, 86), ENOBUFS);
	assert_errno(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), ENOBUFS);
	assert_int_equal(px.binds, 1);
	assert_int_equal(try_connect(fd, 80), 0);
	amp_close(fd);
}

/* One thread sets an option while another closes the socket: the answer is not for the next
 * socket in that slot. */
static void answers_of_the_closed(void **state)
{
	struct sockaddr_in a = sin4("0.0.0.0", 8080);
	struct amp_sock *s = NULL;
	socklen_t len = sizeof(int);
	int one = 1, fd = amp_socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	while ((s = amp_sock_next(s)) != NULL && s->domain != AF_INET)
		;
	assert_non_null(s);
	assert_int_equal(s->fam->option(s, true, IPPROTO_IP, IP_TTL, &one, &len), -EAGAIN);
	amp_close(fd);
	spin();
	assert_int_equal(px.setopts, 1);
	assert_int_equal(px.releases, 1); /* went between the request and its answer */
	assert_int_equal(amp_socket(AF_INET, SOCK_STREAM, 0), fd);
	assert_int_equal(try_connect(fd, 80), 0);
	assert_int_equal(amp_setsockopt(fd, IPPROTO_IP, IP_TTL, &one, sizeof(one)), 0);
	assert_int_equal(px.setopts, 2);
	assert_int_equal(px.sessions, 1);
	amp_close(fd);
}

static uint32_t held_seq;
static uint8_t held_op;

/* One request is not answered yet; pings are. */
static bool hold_one(const struct amp_off_ctl *c, const uint8_t *body, unsigned len)
{
	(void)body;
	(void)len;
	if (c->op == AMP_OFF_PING || c->op == AMP_OFF_PONG)
		return false;
	held_op = c->op;
	held_seq = c->seq;
	px_resolver = NULL;
	return true;
}

static void answer_late(const void *body, size_t len)
{
	say_ctl(held_op | AMP_OFF_REPLY, 0, held_seq, body, len);
	spin();
	assert_int_equal(px.sessions, 1);
}

/* The answer to a call that was given up is neither the next one's nor the session's end. */
static void late_answers(void **state)
{
	struct sockaddr_in a = sin4("10.0.0.2", 1111), b = sin4("10.0.0.2", 2222), got;
	int v = 5, fd = amp_socket(AF_INET, SOCK_STREAM, 0), other = tcp(80);
	socklen_t len = sizeof(got), v_len = sizeof(v);
	struct amp_off_addr addr = addr4(0x0a000002, 1111);
	uint8_t ans[28];

	(void)state;
	px_resolver = hold_one;
	assert_errno(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), ETIMEDOUT);
	assert_int_equal(held_op, AMP_OFF_BIND);
	amp_put_le32(ans, 77);
	amp_off_put_addr(ans + 4, &addr);
	answer_late(ans, sizeof(ans));
	assert_int_equal(px.releases, 1); /* nobody wants it */
	assert_int_equal(px.released[0], 77);
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&b, sizeof(b)), 0);
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&got, &len), 0);
	assert_int_equal(ntohs(got.sin_port), 2222);
	/* an option: the next value is sent, not taken for set by the answer to the one before */
	px_resolver = hold_one;
	assert_errno(amp_setsockopt(fd, IPPROTO_IP, IP_TTL, &v, sizeof(v)), ETIMEDOUT);
	assert_int_equal(held_op, AMP_OFF_SETOPT);
	answer_late("", 0);
	v = 6;
	assert_int_equal(amp_setsockopt(fd, IPPROTO_IP, IP_TTL, &v, sizeof(v)), 0);
	assert_int_equal(px.setopts, 1);
	assert_int_equal(px.last_opt[8], 6);
	px_resolver = hold_one;
	assert_errno(amp_getsockopt(fd, IPPROTO_IP, IP_TTL, &v, &v_len), ETIMEDOUT);
	memset(ans, 0, 8);
	ans[2] = 4;
	ans[4] = 99;
	answer_late(ans, 8);
	assert_int_equal(amp_getsockopt(fd, IPPROTO_IP, IP_TTL, &v, &v_len), 0);
	assert_int_equal(v, 42);
	/* one that takes long: connections stay, the next request has its turn behind it */
	px_resolver = hold_one;
	assert_errno(amp_setsockopt(fd, IPPROTO_IP, IP_TTL, &v, sizeof(v)), ETIMEDOUT);
	pass(AMPSOCK_CONNECT_MS);
	assert_int_equal(amp_send(other, "x", 1, 0), 1);
	answer_late("", 0);
	assert_int_equal(amp_setsockopt(fd, IPPROTO_IP, IP_TTL, &v, sizeof(v)), 0);
	/* but an answer that never comes is a proxy that does not work */
	px_resolver = hold_one;
	assert_errno(amp_setsockopt(fd, IPPROTO_IP, IP_TTL, &v, sizeof(v)), ETIMEDOUT);
	pass(4 * AMPSOCK_CONNECT_MS);
	assert_errno(amp_send(other, "x", 1, MSG_NOSIGNAL), ECONNRESET);
	px_resolver = NULL;
	amp_close(other);
	amp_close(fd);
}

static struct wire *ending; /* of the connection that ends in the meantime */

static void end_then_answer(int fd)
{
	(void)fd;
	say_closed(ending->id, AMP_OFF_EHOSTUNREACH);
	say_ctl(held_op | AMP_OFF_REPLY, AMP_OFF_EINVAL, held_seq, "", 0);
}

/* The connection ends before its option is answered: that answer, which nobody fetches, is in nobody's
 * way. */
static void ends_before_the_answer(void **state)
{
	int v = 5, fd = tcp(80), other;
	char c;

	(void)state;
	ending = last_wire();
	other = tcp(80);
	ending->rst = true;
	spin();
	assert_errno(amp_recv(fd, &c, 1, MSG_DONTWAIT), EAGAIN);
	px_resolver = hold_one;
	in_sleep = end_then_answer;
	assert_int_equal(amp_setsockopt(fd, IPPROTO_IP, IP_TTL, &v, sizeof(v)), -1);
	assert_errno(amp_recv(fd, &c, 1, 0), EHOSTUNREACH);
	assert_int_equal(amp_setsockopt(other, IPPROTO_IP, IP_TTL, &v, sizeof(v)), 0);
	assert_int_equal(px.sessions, 1);
	amp_close(other);
	amp_close(fd);
}

static void do_listen(int fd)
{
	px.stall_in = false;
	assert_int_equal(amp_listen(fd, 2), 0);
}

/* One thread waits for an option of the socket that another makes a listener. */
static void option_and_listen(void **state)
{
	struct sockaddr_in a = sin4("0.0.0.0", 8080);
	int v = 5, fd = amp_socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	in_sleep_fd = fd;
	in_sleep = do_listen;
	px.stall_in = true;
	assert_int_equal(amp_setsockopt(fd, IPPROTO_IP, IP_TTL, &v, sizeof(v)), 0);
	amp_close(fd);
	spin();
}

static void do_lowat(int fd)
{
	int v = 0x301; /* as a queue: one place, and three wait */

	px.stall_in = false;
	assert_int_equal(amp_setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &v, sizeof(v)), 0);
}

/* One thread waits in listen() for the proxy, another sets what lies where the queue will be. */
static void lowat_and_listen(void **state)
{
	struct sockaddr_in a = sin4("0.0.0.0", 8080);
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0), c;

	(void)state;
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	in_sleep_fd = fd;
	in_sleep = do_lowat;
	px.stall_in = true;
	assert_int_equal(amp_listen(fd, 2), 0);
	assert_null(in_sleep);
	spin();
	assert_int_equal(px.credits, 1);
	visit(1111);
	c = amp_accept(fd, NULL, NULL);
	assert_true(c >= 0);
	amp_close(c);
	amp_close(fd);
	spin();
}

/* listen() is answered after it has given up: it is the answer to the next one, in whose way no
 * other request stands; and no visitor comes before. */
static void late_listener(void **state)
{
	struct sockaddr_in a = sin4("0.0.0.0", 8080), b = sin4("0.0.0.0", 8081);
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0),
	    other = amp_socket(AF_INET, SOCK_STREAM, 0);
	int low = 3, c;
	struct amp_off_addr addr = addr4(0, 8080);
	uint8_t ans[40] = {0};

	(void)state;
	assert_int_equal(amp_setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low)), 0);
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	px_resolver = hold_one;
	assert_errno(amp_listen(fd, 2), ETIMEDOUT);
	assert_int_equal(held_op, AMP_OFF_LISTEN);
	px.listener = 78;
	amp_put_le32(ans, px.listener);
	amp_put_le64(ans + 8, DOOR_TOKEN);
	amp_off_put_addr(ans + 16, &addr);
	answer_late(ans, sizeof(ans));
	assert_int_equal(px.creds, 0);
	assert_int_equal(amp_bind(other, (struct sockaddr *)&b, sizeof(b)), 0);
	px.bind_port = 8080;
	assert_int_equal(amp_listen(fd, 2), 0);
	assert_int_equal(px.listens, 0);
	spin();
	assert_int_equal(px.credits, 1);
	assert_non_null(visit(1));
	spin();
	c = amp_accept(fd, NULL, NULL);
	assert_true(c >= 0);
	px_resolver = NULL;
	amp_close(c);
	amp_close(other);
	amp_close(fd);
	spin();
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_up, rig_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(connect_and_talk),
		T(connect_fails_truly),
		T(session_fails_truly),
		T(session_garbage_hello),
		T(answers_in_pieces),
		T(nonblocking),
		T(ended_by_another_thread),
		T(two_wait),
		T(open_when_time_is_over),
		T(timeout_to_its_end),
		T(closed_tells_why),
		T(commit_waits_for_nothing),
		T(options),
		T(bind_names_and_releases),
		T(names_of_the_failed),
		T(listen_and_accept),
		T(listen_unbound_and_refused),
		T(listener_not_allowed_any_more),
		T(forged_accepts),
		T(forged_is_said_once),
		T(credits_follow_the_pools),
		T(credits_go_round),
		T(no_credit_no_visit),
		T(ping_finds_the_dead),
		T(ping_waits_for_room),
		T(listener_keeps_trying),
		T(no_lies_on_the_control_carrier),
		T(odd_answers),
		T(bound_for_the_next_session),
		T(close_while_binding),
		T(pool_runs_out),
		T(inet6),
		T(visitor_waits_for_a_slot),
		T(lost_session_leaves_the_data),
		T(lost_session_leaves_the_name),
		T(away_for_long),
		T(over_a_limit),
		T(answers_of_the_closed),
		T(late_answers),
		T(ends_before_the_answer),
		T(option_and_listen),
		T(lowat_and_listen),
		T(late_listener),
	};

	return cmocka_run_group_tests_name("inet", tests, NULL, NULL);
}
