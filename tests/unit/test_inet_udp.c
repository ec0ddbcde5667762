// SPDX-License-Identifier: BSD-3-Clause
// small
/* AF_INET's UDP side against a scripted proxy: frames, errors, options, reopening. */
// build: -DAMPSOCK_RPMSG=0 -DAMPSOCK_SOCKETS=12 -DAMPSOCK_RING_LEN=1024 src/socket/stack.c src/socket/socks.c
// build: src/socket/api.c src/socket/msg.c src/socket/msg_name.c src/socket/option.c src/socket/poll.c
// build: src/socket/links.c src/socket/rxring.c src/af_inet/af_inet.c src/af_inet/inet_addr.c
// build: src/af_inet/inet_carrier.c src/af_inet/inet_session.c src/af_inet/inet_udp.c src/af_inet/inet_opt.c
// build: src/wire/offload.c src/af_inet/inet_listen.c src/af_inet/inet_name.c
// build: src/af_inet/inet_direct.c src/socket/listen.c src/socket/name.c
// build: src/socket/direct.c src/socket/shutdown.c src/af_inet/inet_shutdown.c src/socket/stats.c
// build: src/vsock/vlink_stats.c
#include <sys/ioctl.h>
#include "inet_rig.h"

static ssize_t send_to(int fd, const void *p, size_t len, int flags)
{
	struct sockaddr_in a = sin4("192.0.2.9", 53);

	errno = 0;
	return amp_sendto(fd, p, len, flags, (struct sockaddr *)&a, sizeof(a));
}

static int udp_bound(uint16_t port)
{
	struct sockaddr_in a = sin4("0.0.0.0", port);
	int fd = amp_socket(AF_INET, SOCK_DGRAM, 0);

	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* The oldest frame in w->in, taken out. Returns its payload's length. */
static size_t frame(struct wire *w, struct amp_off_udp *u, uint8_t *buf)
{
	size_t n;

	assert_true(w->in_len >= AMP_OFF_UDP_LEN);
	assert_true(amp_off_get_udp(w->in, u));
	assert_true(w->in_len >= u->len); /* never a partial frame */
	n = u->len - AMP_OFF_UDP_LEN;
	memcpy(buf, w->in + AMP_OFF_UDP_LEN, n);
	w->in_len -= u->len;
	memmove(w->in, w->in + u->len, w->in_len);
	return n;
}

static void there_and_back(void **state)
{
	static uint8_t buf[70000];
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	struct amp_off_udp u;
	struct wire *w;
	int fd = amp_socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP);

	(void)state;
	assert_errno(amp_send(fd, "x", 1, 0), EDESTADDRREQ);
	assert_int_equal(send_to(fd, "query", 5, 0), 5); /* opened by now */
	w = last_wire();
	assert_int_equal(w->op, AMP_OFF_UDP);
	assert_int_equal(w->open.max_frame, AMPSOCK_RING_LEN);
	assert_int_equal(w->open.local.family, 0);
	assert_int_equal(frame(w, &u, buf), 5);
	assert_memory_equal(buf, "query", 5);
	assert_int_equal(u.addr.port, 53);
	assert_int_equal(send_to(fd, "", 0, 0), 0);
	assert_int_equal(frame(w, &u, buf), 0);
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(ntohs(a.sin_port), 40000);
	assert_errno(amp_getpeername(fd, (struct sockaddr *)&a, &len), ENOTCONN);
	say_udp(w, AMP_OFF_UDP_DATA, 0, 6, addr4(0x7f000001, 99), "answer", 6);
	say_udp(w, AMP_OFF_UDP_DATA, 0, 0, addr4(0x7f000001, 100), "", 0);
	say_udp(w, AMP_OFF_UDP_DATA, 0, 3, addr4(0x7f000001, 101), "two", 3);
	assert_int_equal(amp_recvfrom(fd, buf, 100, 0, (struct sockaddr *)&a, &len), 6);
	assert_memory_equal(buf, "answer", 6);
	assert_int_equal(ntohs(a.sin_port), 99);
	assert_int_equal(a.sin_addr.s_addr, htonl(0x7f000001));
	assert_int_equal(amp_recvfrom(fd, buf, 100, 0, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(ntohs(a.sin_port), 100);
	assert_int_equal(amp_recv(fd, buf, 100, 0), 3); /* one datagram a call */
	assert_errno(amp_recv(fd, buf, 100, MSG_DONTWAIT), EAGAIN);
	amp_close(fd);
	assert_null(w->s);
}

/* Whatever pieces they arrive in, nobody sees half a datagram. */
static void split_everywhere(void **state)
{
	uint8_t data[100], buf[200];
	struct pollfd p = {.events = POLLIN};
	int fd = udp_bound(1);
	struct wire *w = last_wire();

	(void)state;
	p.fd = fd;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	for (size_t cut = 1; cut < AMP_OFF_UDP_LEN + sizeof(data); cut++) {
		size_t out_len;

		say_udp(w, AMP_OFF_UDP_DATA, 0, sizeof(data), addr4(1, 1), data, sizeof(data));
		out_len = w->out_len;
		w->out_len = cut; /* the rest waits */
		spin();
		assert_int_equal(amp_poll(&p, 1, 0), 0);
		assert_errno(amp_recv(fd, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN);
		memmove(w->out, w->out + cut,
			out_len - cut); /* px_deliver moved nothing there */
		w->out_len = out_len - cut;
		assert_int_equal(amp_poll(&p, 1, 0), 1);
		assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), sizeof(data));
		assert_memory_equal(buf, data, sizeof(data));
	}
	amp_close(fd);
}

static void truncated(void **state)
{
	uint8_t buf[200];
	struct iovec iov[2] = {{buf, 2}, {buf + 100, 2}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
	int n, fd = udp_bound(1);
	struct wire *w = last_wire();

	(void)state;
	say_udp(w, AMP_OFF_UDP_DATA, 0, 6, addr4(1, 1), "abcdef", 6);
	say_udp(w, AMP_OFF_UDP_DATA, 1, 5000, addr4(1, 1), "ghijkl", 6);
	say_udp(w, AMP_OFF_UDP_DATA, 0, 2, addr4(1, 1), "zz", 2);
	spin();
	assert_int_equal(amp_ioctl(fd, FIONREAD, &n), 0);
	assert_int_equal(n, 6);
	assert_int_equal(amp_recvmsg(fd, &m, MSG_PEEK), 4);
	assert_int_equal(m.msg_flags & MSG_TRUNC, MSG_TRUNC);
	assert_int_equal(amp_recvmsg(fd, &m, 0), 4);
	assert_memory_equal(buf, "ab", 2);
	assert_memory_equal(buf + 100, "cd", 2);
	assert_int_equal(m.msg_flags & MSG_TRUNC, MSG_TRUNC);
	assert_int_equal(amp_recv(fd, buf, 200, MSG_PEEK | MSG_TRUNC),
			 5000); /* cut by the proxy */
	m.msg_iov[0].iov_len = 20;
	m.msg_iovlen = 1;
	assert_int_equal(amp_recvmsg(fd, &m, 0), 6);
	assert_int_equal(m.msg_flags & MSG_TRUNC, MSG_TRUNC);
	assert_int_equal(amp_recvmsg(fd, &m, 0), 2);
	assert_int_equal(m.msg_flags & MSG_TRUNC, 0);
	amp_close(fd);
}

static void errors_and_drops(void **state)
{
	struct amp_off_addr none = {.family = 0};
	struct sockaddr_in a = sin4("192.0.2.9", 53);
	struct pollfd p = {.events = POLLIN | POLLOUT};
	struct amp_stats st0, st;
	socklen_t len = sizeof(int);
	char buf[4];
	int v, fd = amp_socket(AF_INET, SOCK_DGRAM, 0);
	struct wire *w;

	(void)state;
	p.fd = fd;
	amp_stats_get(&st0);
	amp_fcntl(fd, F_SETFL, O_NONBLOCK);
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)),
			 0); /* no EINPROGRESS */
	assert_int_equal(px.udp_connects, 1);
	w = last_wire();
	assert_int_equal(amp_getpeername(fd, (struct sockaddr *)&a, &(socklen_t){sizeof(a)}),
			 0);
	say_udp(w, AMP_OFF_UDP_ERROR, 0, AMP_OFF_ECONNREFUSED, addr4(0xc0000209, 53), "", 0);
	say_udp(w, AMP_OFF_UDP_DROPS, 0, 7, none, "", 0);
	spin();
	assert_errno(amp_recv(fd, buf, 4, 0), ECONNREFUSED);
	assert_errno(amp_recv(fd, buf, 4, 0), EAGAIN); /* once */
	amp_stats_get(&st);
	assert_int_equal(st.dgram_drops - st0.dgram_drops, 7);
	say_udp(w, AMP_OFF_UDP_ERROR, 0, AMP_OFF_EHOSTUNREACH, addr4(0xc0000209, 53), "", 0);
	spin();
	assert_errno(amp_send(fd, "x", 1, 0), EHOSTUNREACH);
	assert_int_equal(amp_send(fd, "x", 1, 0), 1);
	say_udp(w, AMP_OFF_UDP_ERROR, 0, AMP_OFF_ECONNREFUSED, addr4(0xc0000209, 53), "", 0);
	assert_int_equal(amp_poll(&p, 1, 0), 1);
	assert_true(p.revents & POLLERR);
	assert_int_equal(amp_getsockopt(fd, SOL_SOCKET, SO_ERROR, &v, &len), 0);
	assert_int_equal(v, ECONNREFUSED);
	assert_int_equal(amp_poll(&p, 1, 0), 1);
	assert_int_equal(p.revents, POLLOUT);
	/* dissolved */
	a.sin_family = AF_UNSPEC;
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_errno(amp_getpeername(fd, (struct sockaddr *)&a, &(socklen_t){sizeof(a)}),
		     ENOTCONN);
	assert_errno(amp_send(fd, "x", 1, 0), EDESTADDRREQ);
	amp_close(fd);
}

/* select() asks once for each set, and once more: the second error waits until the first is told. */
static void two_errors(void **state)
{
	struct sockaddr_in a = sin4("192.0.2.9", 53);
	int fd = amp_socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	struct timeval now = {.tv_sec = 0};
	fd_set in, out;
	char buf[4];

	(void)state;
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	say_udp(last_wire(), AMP_OFF_UDP_ERROR, 0, AMP_OFF_ECONNREFUSED, addr4(0xc0000209, 53),
		"", 0);
	say_udp(last_wire(), AMP_OFF_UDP_ERROR, 0, AMP_OFF_EHOSTUNREACH, addr4(0xc0000209, 53),
		"", 0);
	FD_ZERO(&in);
	FD_SET(fd, &in);
	out = in;
	assert_int_equal(amp_select(fd + 1, &in, &out, NULL, &now), 2);
	assert_errno(amp_recv(fd, buf, 4, 0), ECONNREFUSED);
	assert_errno(amp_recv(fd, buf, 4, 0), EHOSTUNREACH);
	assert_errno(amp_recv(fd, buf, 4, 0), EAGAIN);
	amp_close(fd);
}

/* Who asks how much there is to read has not been told of an error. */
static void counted_error(void **state)
{
	struct sockaddr_in a = sin4("192.0.2.9", 53);
	int fd = amp_socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), n = -1;
	char buf[4];

	(void)state;
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	say_udp(last_wire(), AMP_OFF_UDP_ERROR, 0, AMP_OFF_ECONNREFUSED, addr4(0xc0000209, 53),
		"", 0);
	say_udp(last_wire(), AMP_OFF_UDP_ERROR, 0, AMP_OFF_EHOSTUNREACH, addr4(0xc0000209, 53),
		"", 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(amp_ioctl(fd, FIONREAD, &n), 0);
		assert_int_equal(n, 0);
	}
	assert_errno(amp_recv(fd, buf, 4, 0), ECONNREFUSED);
	assert_errno(amp_recv(fd, buf, 4, 0), EHOSTUNREACH);
	assert_errno(amp_recv(fd, buf, 4, 0), EAGAIN);
	amp_close(fd);
}

/* Nothing is received any more: 0 bytes, of nobody. */
static void shut_for_reading(void **state)
{
	struct sockaddr_in a = sin4("192.0.2.9", 53);
	socklen_t len = sizeof(a);
	int fd = udp_bound(1);
	char buf[4];

	(void)state;
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(amp_shutdown(fd, SHUT_RD), 0);
	assert_int_equal(amp_recvfrom(fd, buf, 4, 0, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(len, 0);
	amp_close(fd);
}

static void whole_or_not_at_all(void **state)
{
	static uint8_t big[65508], buf[70000];
	struct pollfd p = {.events = POLLOUT};
	struct amp_off_udp u;
	int fd = udp_bound(1);
	struct wire *w = last_wire();

	(void)state;
	p.fd = fd;
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7);
	assert_errno(send_to(fd, big, 65508, 0), EMSGSIZE);
	assert_errno(send_to(fd, big, 65507, 0),
		     EMSGSIZE); /* 32 more than a frame's length holds */
	px.window = 100;
	assert_errno(send_to(fd, big, 69, MSG_DONTWAIT), EAGAIN);
	assert_int_equal(w->in_len, 0); /* not a byte of it */
	assert_int_equal(send_to(fd, big, 68, MSG_DONTWAIT), 68);
	assert_int_equal(amp_poll(&p, 1, 0), 0);
	assert_int_equal(frame(w, &u, buf), 68);
	assert_memory_equal(buf, big, 68);
	assert_int_equal(amp_poll(&p, 1, 0), 1);
	/* many transport buffers for one datagram, non-blocking or not */
	px.window = 66000;
	px.mtu = 40;
	assert_int_equal(send_to(fd, big, 65503, MSG_DONTWAIT), 65503);
	assert_int_equal(frame(w, &u, buf), 65503);
	assert_memory_equal(buf, big, 65503);
	/* no buffer for the rest: who has begun does not leave it there */
	px.dry = 3;
	assert_int_equal(send_to(fd, big, 400, MSG_DONTWAIT), 400);
	assert_int_equal(px.dry, 0);
	assert_int_equal(frame(w, &u, buf), 400);
	px.mtu = AMP_CARRY_LEAST; /* the header and a byte */
	assert_int_equal(send_to(fd, big, 10, MSG_DONTWAIT), 10);
	assert_int_equal(frame(w, &u, buf), 10);
	assert_memory_equal(buf, big, 10);
	px.mtu = 2000;
	px.udp_max = 200; /* a proxy that takes less */
	amp_close(fd);
	fd = udp_bound(1);
	w = last_wire();
	assert_errno(send_to(fd, big, 169, 0), EMSGSIZE);
	assert_int_equal(send_to(fd, big, 168, 0), 168);
	amp_close(fd);
}

/* Two threads send on one socket: the second waits until the first one's frame is whole. */
static void frames_do_not_mix(void **state)
{
	static uint8_t big[200], buf[400];
	struct iovec iov = {big, 200};
	struct sockaddr_in to = sin4("192.0.2.9", 53);
	struct amp_msg first = {.iov = &iov,
				.iov_cnt = 1,
				.len = 200,
				.name = (struct sockaddr *)&to,
				.name_len = sizeof(to)};
	struct amp_msg second = first;
	struct amp_off_udp u;
	struct amp_sock *s = NULL;
	int fd = udp_bound(1);
	struct wire *w = last_wire();
	ssize_t n;

	(void)state;
	while ((s = amp_sock_next(s)) != NULL && s->domain != AF_INET)
		;
	px.mtu = 60;
	n = s->fam->sendmsg(s, &first, 0);
	assert_int_equal(n, 28);
	assert_int_equal(s->fam->sendmsg(s, &second, 0), -EAGAIN);
	assert_int_equal(amp_poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 0), 0);
	for (first.done = (size_t)n; first.done < 200; first.done += (size_t)n) {
		n = s->fam->sendmsg(s, &first, 0);
		assert_true(n > 0);
	}
	px.mtu = 2000;
	assert_int_equal(s->fam->sendmsg(s, &second, 0), 200);
	assert_int_equal(frame(w, &u, buf), 200);
	assert_int_equal(frame(w, &u, buf), 200);
	assert_int_equal(w->in_len, 0);
	amp_close(fd);
}

static void liars_lose_the_socket(void **state)
{
	char buf[8];
	int fd = udp_bound(4321);
	struct wire *w = last_wire();
	uint8_t bad[AMP_OFF_UDP_LEN] = {31, 0};

	(void)state;
	say(w, bad, sizeof(bad));
	assert_errno(amp_recv(fd, buf, 8, 0), EPROTO);
	assert_true(w->aborted);
	assert_int_equal(send_to(fd, "x", 1, 0), 1); /* opened again, with the port it had */
	w = last_wire();
	assert_int_equal(w->open.local.port, 4321);
	amp_put_le16(bad, AMPSOCK_RING_LEN + 1); /* longer than we said we can take */
	amp_put_le32(bad + 4, AMPSOCK_RING_LEN + 1 - 32);
	bad[8] = 1;
	say(w, bad, sizeof(bad));
	assert_errno(amp_recv(fd, buf, 8, 0), EPROTO);
	assert_true(w->aborted);
	amp_close(fd);
}

static void bind_and_names(void **state)
{
	struct sockaddr_in a = sin4("0.0.0.0", 0);
	socklen_t len = sizeof(a);
	struct wire *w;
	char buf[4];
	int fd = udp_bound(0);

	(void)state;
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(ntohs(a.sin_port), 45678);
	assert_errno(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), EINVAL);
	assert_errno(amp_listen(fd, 1), EOPNOTSUPP);
	assert_errno(amp_accept(fd, NULL, NULL), EOPNOTSUPP);
	amp_close(fd);
	fd = amp_socket(AF_INET, SOCK_DGRAM, 0);
	a = sin4("0.0.0.0", 84);
	assert_errno(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), EADDRINUSE);
	a = sin4("0.0.0.0", 1000);
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	/* the session dies: told once, then the socket works again under its name */
	w = last_wire();
	px.ctl->rst = true;
	w->rst = true;
	assert_errno(amp_recv(fd, buf, 4, 0), ECONNRESET);
	assert_int_equal(send_to(fd, "x", 1, 0), 1);
	assert_ptr_not_equal(w, last_wire());
	assert_int_equal(last_wire()->open.local.port, 1000);
	assert_int_equal(px.sessions, 2);
	amp_close(fd);
	fd = amp_socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(send_to(fd, "x", 1, 0), 1);
	assert_errno(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), EINVAL);
	amp_close(fd);
}

/* The next use asks for no address, whole or in part. */
static void bind_is_refused(void **state)
{
	struct sockaddr_in a = sin4("10.0.0.2", 84), to = sin4("192.0.2.7", 9);
	int fd = amp_socket(AF_INET, SOCK_DGRAM, 0);

	(void)state;
	assert_errno(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), EADDRINUSE);
	assert_int_equal(amp_sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
	assert_int_equal(last_wire()->open.local.family, 0);
	amp_close(fd);
}

/* bind() that was given up: the next one is bound to what it asks for. */
static void bind_times_out(void **state)
{
	struct sockaddr_in a = sin4("10.0.0.2", 85), b = sin4("10.0.0.2", 2222), got;
	int fd = amp_socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t len = sizeof(got);

	(void)state;
	assert_errno(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), ETIMEDOUT);
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&b, sizeof(b)), 0);
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&got, &len), 0);
	assert_int_equal(ntohs(got.sin_port), 2222);
	assert_int_equal(px.sessions, 1);
	amp_close(fd);
	/* and what is used without is bound to nothing in particular */
	fd = amp_socket(AF_INET, SOCK_DGRAM, 0);
	assert_errno(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), ETIMEDOUT);
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&got, &len), 0);
	assert_int_equal(got.sin_port, 0);
	assert_int_equal(send_to(fd, "x", 1, 0), 1);
	assert_int_equal(last_wire()->open.local.family, 0);
	amp_close(fd);
}

static void multicast_options(void **state)
{
	struct ip_mreq m = {.imr_multiaddr.s_addr = inet_addr("224.1.2.3"),
			    .imr_interface.s_addr = inet_addr("10.0.0.2")};
	struct in_addr ifaddr = {.s_addr = inet_addr("10.0.0.2")};
	const uint32_t mreqn[8] = {inet_addr("224.1.2.4"), inet_addr("10.0.0.3"), 7, 8, 9, 10};
	int one = 1, fd = amp_socket(AF_INET, SOCK_DGRAM, 0);
	struct amp_off_addr group;
	unsigned char ttl = 9;

	(void)state;
	assert_int_equal(amp_setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one)), 0);
	assert_int_equal(px.setopts, 0);
	assert_int_equal(amp_setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)), 0);
	assert_int_equal(last_wire()->open.opts, 1u << AMP_OFF_SO_BROADCAST);
	assert_int_equal(px.last_opt_len, 8 + 32);
	assert_int_equal(px.last_opt[8], AMP_OFF_INET);
	assert_memory_equal(px.last_opt + 16, &m.imr_multiaddr, 4);
	assert_int_equal(amp_le32(px.last_opt + 32), 0);
	assert_memory_equal(px.last_opt + 36, &m.imr_interface, 4);
	assert_errno(amp_setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, 4), EINVAL);
	assert_int_equal(amp_setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, 1), 0);
	assert_int_equal(amp_le32(px.last_opt + 8), 9);
	assert_int_equal(amp_setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &ifaddr, 4), 0);
	assert_int_equal(amp_le32(px.last_opt + 8), 0);
	assert_memory_equal(px.last_opt + 12, &ifaddr, 4);
	/* with an index behind, and what no kernel looks at behind that */
	assert_int_equal(amp_setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, mreqn, 12), 0);
	assert_int_equal(px.last_opt_len, 8 + 8);
	assert_int_equal(amp_le32(px.last_opt + 8), 7);
	assert_memory_equal(px.last_opt + 12, mreqn + 1, 4);
	assert_int_equal(
		amp_setsockopt(fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, mreqn, sizeof(mreqn)), 0);
	assert_true(amp_off_get_addr(px.last_opt + 8, &group));
	assert_int_equal(group.family, AMP_OFF_INET);
	assert_memory_equal(group.addr, mreqn, 4);
	assert_int_equal(amp_le32(px.last_opt + 32), 7);
	assert_memory_equal(px.last_opt + 36, mreqn + 1, 4);
	assert_errno(amp_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)),
		     ENOPROTOOPT);
	amp_close(fd);
	/* IPv6: the index is right behind the group */
	fd = amp_socket(AF_INET6, SOCK_DGRAM, 0);
	assert_int_equal(
		amp_setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, mreqn, sizeof(mreqn)), 0);
	assert_int_equal(px.last_opt_len, 8 + 32);
	assert_true(amp_off_get_addr(px.last_opt + 8, &group));
	assert_int_equal(group.family, AMP_OFF_INET6);
	assert_memory_equal(group.addr, mreqn, 16);
	assert_int_equal(amp_le32(px.last_opt + 32), 9);
	assert_int_equal(amp_le32(px.last_opt + 36), 0);
	assert_errno(amp_setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, mreqn, 19), EINVAL);
	amp_close(fd);
}

/* connect() that was not answered in time: that, and no answer of its for the next one. */
static void connect_times_out(void **state)
{
	struct sockaddr_in a = sin4("192.0.2.9", 53), b = sin4("192.0.2.10", 54);
	struct timeval soon = {.tv_usec = 100000};
	struct amp_off_addr at;
	socklen_t len = sizeof(b);
	int fd = udp_bound(1);
	struct wire *w = last_wire();

	(void)state;
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	amp_setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof(soon));
	px.stall_in = true;
	a.sin_port = htons(99);
	assert_errno(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), ETIMEDOUT);
	assert_int_equal(amp_send(fd, "x", 1, 0), 1); /* nobody shut the socket down */
	px.stall_in = false;
	spin(); /* now it comes */
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&b, sizeof(b)), 0);
	assert_int_equal(px.udp_connects, 3);
	assert_true(amp_off_get_addr(px.frame + 8, &at));
	assert_int_equal(at.port, 54);
	assert_int_equal(amp_getpeername(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(ntohs(a.sin_port), 54);
	assert_false(w->shut_wr);
	amp_close(fd);
}

/* Who only looks whether something is here has not used the socket: it can still be bound. */
static void looked_at(void **state)
{
	struct sockaddr_in a = sin4("0.0.0.0", 5353), got;
	struct pollfd p = {.events = POLLIN | POLLOUT};
	int fd = amp_socket(AF_INET, SOCK_DGRAM, 0), n = -1;
	socklen_t len = sizeof(got);
	uint32_t id = px.next_id;
	char c;

	(void)state;
	assert_int_equal(amp_ioctl(fd, FIONREAD, &n), 0);
	assert_int_equal(n, 0);
	assert_errno(amp_recv(fd, &c, 1, MSG_DONTWAIT), EAGAIN);
	p.fd = fd;
	for (n = 0; n < 3; n++) {
		assert_int_equal(amp_poll(&p, 1, 0), 1);
		assert_int_equal(p.revents, POLLOUT);
		spin();
	}
	assert_int_equal(px.next_id, id); /* the proxy has heard of nothing */
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&got, &len), 0);
	assert_int_equal(ntohs(got.sin_port), 5353);
	amp_close(fd);
}

/* A first datagram that may not wait goes once the proxy has opened the socket: poll() says when. */
static void first_datagram(void **state)
{
	int fd = amp_socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	(void)state;
	assert_int_equal(amp_poll(&p, 1, 0), 1);
	px.stall_in = true;
	assert_errno(send_to(fd, "x", 1, 0), EAGAIN);
	assert_int_equal(amp_poll(&p, 1, 0), 0);
	px.stall_in = false;
	assert_int_equal(amp_poll(&p, 1, -1), 1);
	assert_int_equal(p.revents, POLLOUT);
	assert_int_equal(send_to(fd, "x", 1, 0), 1);
	amp_close(fd);
}

static struct wire *bad_way;

static void hears_of_it(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	px.stall_in = false;
	say_udp(bad_way, AMP_OFF_UDP_ERROR, 0, AMP_OFF_EHOSTUNREACH, addr4(0xc0000209, 53), "",
		0);
	assert_int_equal(amp_poll(&p, 1, 0), 1);
}

/* connect() ends with an error that another thread's poll() has seen: its answer, which nobody fetches,
 * is in nobody's way. */
static void connect_is_told_before(void **state)
{
	struct sockaddr_in a = sin4("192.0.2.9", 53);
	int fd = udp_bound(1), other, one = 1;

	(void)state;
	bad_way = last_wire();
	other = udp_bound(2);
	px.stall_in = true;
	in_sleep_fd = fd;
	in_sleep = hears_of_it;
	assert_errno(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), EHOSTUNREACH);
	assert_int_equal(amp_setsockopt(other, IPPROTO_IP, IP_TTL, &one, sizeof(one)), 0);
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(px.sessions, 1);
	amp_close(other);
	amp_close(fd);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_up, rig_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(there_and_back),
		T(split_everywhere),
		T(truncated),
		T(errors_and_drops),
		T(whole_or_not_at_all),
		T(frames_do_not_mix),
		T(liars_lose_the_socket),
		T(bind_and_names),
		T(multicast_options),
		T(bind_is_refused),
		T(connect_times_out),
		T(bind_times_out),
		T(connect_is_told_before),
		T(looked_at),
		T(first_datagram),
		T(two_errors),
		T(counted_error),
		T(shut_for_reading),
	};

	return cmocka_run_group_tests_name("inet_udp", tests, NULL, NULL);
}
