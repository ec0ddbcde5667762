/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens between two calls: attempts that are given up, ends that cross data, rings that
 * wrap. */
#include <netinet/in.h>
#include <string.h>
#include <sys/select.h>
#include <sys/uio.h>

#include "conform.h"

static void reset(struct ct *t, int fd)
{
	struct linger l = {.l_onoff = 1, .l_linger = 0};

	CT_OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	ct_close(t, fd);
}

/* ---- attempts ---- */

/* Given up as soon as begun, many times; who comes after is served. */
static void abandoned_a(struct ct *t)
{
	int lfd = ct_listen(t, 16), fd;
	char c;

	/* those that had come through are accepted, and have ended or are reset */
	ct_wait(t, "last");
	do {
		fd = ct_accept(t, lfd);
		if (recv(fd, &c, 1, 0) == 1)
			break;
		ct_close(t, fd);
	} while (1);
	CT_EQ(c, 'x');
	ct_tell(t, "done");
}

static void abandoned_b(struct ct *t)
{
	struct ct_addr a;
	int i, fd;

	ct_recv_addr(t, &a);
	for (i = 0; i < 10; i++) {
		fd = ct_socket(t, SOCK_NONBLOCK);
		if (connect(fd, (struct sockaddr *)&a.ss, a.len))
			CT_EQ(errno, EINPROGRESS);
		ct_close(t, fd);
	}
	fd = ct_socket(t, 0);
	CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
	ct_tell(t, "last");
	CT_EQ(send(fd, "x", 1, 0), 1);
	ct_wait(t, "done");
}

static void refused_a(struct ct *t)
{
	struct ct_addr a;

	(void)ct_bound(t, 0, &a);
	ct_send_addr(t, &a);
	ct_wait(t, "done");
}

#define NO_HUP "AF_VSOCK `poll` of a socket without connection"

/* A refusal wakes poll() and select(), and everything about it agrees. */
static void refused_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, SOCK_NONBLOCK), r;
	fd_set rd, wr;

	ct_recv_addr(t, &a);
	r = connect(fd, (struct sockaddr *)&a.ss, a.len);
	CT_ERR2(r, EINPROGRESS, t->tr->e_refused);
	if (errno == EINPROGRESS) {
		r = ct_poll(t, fd, POLLIN | POLLOUT);
		CT_EQ(r & (POLLERR | POLLHUP),
		      ct_linux_vsock(t, NO_HUP) ? POLLERR : POLLERR | POLLHUP);
		FD_ZERO(&rd);
		FD_ZERO(&wr);
		FD_SET(fd, &rd);
		FD_SET(fd, &wr);
		CT_EQ(select(fd + 1, &rd, &wr, NULL, NULL), 2);
		CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_ERROR), t->tr->e_refused);
	}
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_ERROR), 0);
	CT_EQ(ct_now(t, fd, POLLIN | POLLOUT) & POLLERR, 0);
	ct_tell(t, "done");
}

/* Reset before anybody has accepted it. */
static void accept_reset_a(struct ct *t)
{
	int lfd = ct_listen(t, 4), fd;
	char c;

	ct_wait(t, "reset");
	CT_EQ(ct_poll(t, lfd, POLLIN), POLLIN);
	fd = ct_own(t, accept(lfd, NULL, NULL));
	if (fd < 0) {
		CT_EQ(errno, ECONNABORTED); /* POSIX has this for it; Linux does not say it */
	} else {
		CT_EQ(ct_poll(t, fd, POLLIN) & POLLERR, POLLERR);
		CT_ERR(recv(fd, &c, 1, 0), ECONNRESET);
	}
	ct_tell(t, "again");
	fd = ct_accept(t, lfd);
	CT_EQ(recv(fd, &c, 1, 0), 1);
}

static void accept_reset_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	ct_recv_addr(t, &a);
	CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
	reset(t, fd);
	ct_tell(t, "reset");
	ct_wait(t, "again");
	fd = ct_socket(t, 0);
	CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
	CT_EQ(send(fd, "x", 1, 0), 1);
}

/* ---- ends that cross data ---- */

static void then_reset_a(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "abc", 3, 0), 3);
	ct_wait(t, "seen");
	reset(t, fd);
	ct_tell(t, "reset");
}

/* What had arrived is read, then the reset is told. */
static void then_reset_b(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	CT_EQ(recv(fd, buf, 3, MSG_PEEK | MSG_WAITALL), 3);
	ct_tell(t, "seen");
	ct_wait(t, "reset");
	CT_EQ(ct_poll(t, fd, 0) & POLLERR, POLLERR);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 3);
	CT_EQ(memcmp(buf, "abc", 3), 0);
	CT_ERR(recv(fd, buf, sizeof(buf), 0), ECONNRESET);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 0);
}

static void shut_unread_a(struct ct *t)
{
	int fd = ct_pair(t), ours;
	char buf[8];

	CT_EQ(ct_poll(t, fd, POLLIN), POLLIN);
	CT_OK(shutdown(fd, SHUT_RD));
	/* Linux's AF_VSOCK is as we are */
	ours = t->tr->props & CT_VSOCK || ct_differs(t, "`shutdown(SHUT_RD)` with data unread");
	CT_EQ(recv(fd, buf, sizeof(buf), 0), ours ? 0 : 3);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 0);
	ct_tell(t, "done");
}

static void shut_unread_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "abc", 3, 0), 3);
	ct_wait(t, "done");
}

/* The peer has shut its way; ours carries much more than any buffer. */
static void long_half(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[1000];
	size_t at;

	if (t->role == 'a') {
		CT_OK(shutdown(fd, SHUT_WR));
		for (at = 0; at < 300000; at += sizeof(buf)) {
			ct_recv_all(t, fd, buf, sizeof(buf));
			CT_TRUE(ct_same(buf, sizeof(buf), at, 3));
		}
		CT_EQ(recv(fd, buf, 1, 0), 0);
		return;
	}
	CT_EQ(recv(fd, buf, 1, 0), 0);
	for (at = 0; at < 300000; at += sizeof(buf)) {
		ct_fill(buf, sizeof(buf), at, 3);
		ct_send_all(t, fd, buf, sizeof(buf));
	}
	ct_close(t, fd);
}

/* ---- rings that wrap ---- */

/* MSG_PEEK, short and long reads in turn, at every place of a ring. */
static void wrap_a(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[1500];
	size_t at = 0, n = 1;
	ssize_t r;

	for (;;) {
		r = CT_OK(recv(fd, buf, sizeof(buf), MSG_PEEK));
		if (r == 0)
			break;
		CT_TRUE(ct_same(buf, (size_t)r, at, 4));
		n = n % 1499 + 7;
		if (n > sizeof(buf))
			n = sizeof(buf);
		r = CT_OK(recv(fd, buf, n, 0));
		CT_TRUE(r > 0 && ct_same(buf, (size_t)r, at, 4));
		at += (size_t)r;
	}
	CT_EQ(at, 600000);
}

static void wrap_b(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[1200];
	size_t at;

	for (at = 0; at < 600000; at += sizeof(buf)) {
		ct_fill(buf, sizeof(buf), at, 4);
		ct_send_all(t, fd, buf, sizeof(buf));
	}
	ct_close(t, fd);
}

/* writev() that takes a part says how much, in the middle of a piece or not. */
static void part_a(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[2048];
	size_t at = 0;
	ssize_t n;

	while ((n = CT_OK(recv(fd, buf, sizeof(buf), 0))) > 0) {
		CT_TRUE(ct_same(buf, (size_t)n, at, 5));
		at += (size_t)n;
	}
	CT_EQ(at, 400000);
}

static void part_b(struct ct *t)
{
	int fd = ct_pair(t), i;
	unsigned char buf[16][500];
	struct iovec iov[16];
	size_t at = 0;
	ssize_t n;

	ct_nonblock(t, fd, 1);
	while (at < 400000) {
		size_t all = 0;

		for (i = 0; i < 16; i++) {
			size_t len = 500u - 31u * (size_t)i;

			if (len > 400000 - at - all)
				len = 400000 - at - all;
			ct_fill(buf[i], len, at + all, 5);
			iov[i] = (struct iovec){buf[i], len};
			all += len;
		}
		n = writev(fd, iov, 16);
		if (n < 0) {
			CT_ERR(n, EAGAIN);
			(void)ct_poll(t, fd, POLLOUT);
			continue;
		}
		CT_TRUE(n > 0 && (size_t)n <= all);
		at += (size_t)n;
	}
	ct_close(t, fd);
}

/* ---- messages ---- */

/* One for which there is no room is not begun. */
static void no_part_a(struct ct *t)
{
	int fd = ct_pair(t);
	uint32_t two = ct_recv_u32(t), n = ct_recv_u32(t) / 100;
	unsigned char buf[2001];
	ssize_t r;

	for (; n + two; n -= r == 100, two -= r == 2000) {
		r = CT_OK(recv(fd, buf, sizeof(buf), 0));
		CT_TRUE((r == 100 && n) || (r == 2000 && two));
		CT_TRUE(ct_same(buf, (size_t)r, 0, 6));
	}
	ct_tell(t, "room");
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 2000);
	CT_TRUE(ct_same(buf, 2000, 0, 6));
	ct_tell(t, "done");
}

static void no_part_b(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[2000];
	unsigned long n;
	uint32_t two = 0;

	(void)ct_linux_vsock(t, "AF_VSOCK messages: `send` that says EAGAIN");
	ct_fill(buf, sizeof(buf), 0, 6);
	n = ct_stuff(t, fd, buf, 100);
	/* what is on its way makes room for a while: no part of it is taken, or all */
	while (send(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		two++;
	CT_EQ(errno, EAGAIN);
	n += ct_stuff(t, fd, buf, 100);
	ct_send_u32(t, two);
	ct_send_u32(t, (uint32_t)n);
	ct_wait(t, "room");
	CT_EQ(send(fd, buf, sizeof(buf), 0), sizeof(buf));
	ct_wait(t, "done");
}

static void empty_from_a(struct ct *t)
{
	struct ct_addr from, mine;
	int fd = ct_bound(t, 0, &mine);
	char c;

	ct_send_addr(t, &mine);
	from.len = sizeof(from.ss);
	CT_EQ(recvfrom(fd, &c, 1, 0, (struct sockaddr *)&from.ss, &from.len), 0);
	/* an empty one has a sender, and can be answered by an empty one */
	CT_EQ(sendto(fd, NULL, 0, 0, (struct sockaddr *)&from.ss, from.len), 0);
	ct_wait(t, "done");
}

static void empty_from_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_bound(t, 0, NULL);
	char c;

	ct_recv_addr(t, &a);
	CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
	CT_EQ(send(fd, &c, 0, 0), 0);
	CT_EQ(ct_poll(t, fd, POLLIN), POLLIN);
	CT_EQ(recv(fd, &c, 1, 0), 0);
	ct_tell(t, "done");
}

/* ---- both families of IP at one port ---- */

static void dual_a(struct ct *t)
{
	struct sockaddr_in6 any, peer;
	socklen_t len = sizeof(any);
	int lfd = ct_socket(t, 0), fd;
	char c;

	memset(&any, 0, sizeof(any));
	any.sin6_family = AF_INET6;
	ct_set(t, lfd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	CT_OK(bind(lfd, (struct sockaddr *)&any, sizeof(any)));
	CT_OK(listen(lfd, 2));
	CT_OK(getsockname(lfd, (struct sockaddr *)&any, &len));
	ct_send_u32(t, ntohs(any.sin6_port));
	len = sizeof(peer);
	fd = ct_own(t, (int)CT_OK(accept(lfd, (struct sockaddr *)&peer, &len)));
	CT_EQ(peer.sin6_family, AF_INET6);
	CT_EQ(memcmp(&peer.sin6_addr, "\0\0\0\0\0\0\0\0\0\0\377\377\177\0\0\1", 16), 0);
	CT_EQ(recv(fd, &c, 1, 0), 1);
	ct_tell(t, "done");
}

static void dual_b(struct ct *t)
{
	struct sockaddr_in in;
	int fd = ct_own(t, (int)CT_OK(socket(AF_INET, SOCK_STREAM, 0)));

	memset(&in, 0, sizeof(in));
	in.sin_family = AF_INET;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in.sin_port = htons((uint16_t)ct_recv_u32(t));
	CT_OK(connect(fd, (struct sockaddr *)&in, sizeof(in)));
	CT_EQ(send(fd, "4", 1, 0), 1);
	ct_wait(t, "done");
}

const struct ct_case ct_edge[] = {
	{"edge.abandoned", "ten attempts given up at once; the next one is served", CT_CONN,
	 CT_MATES | CT_EOF, 0, abandoned_a, abandoned_b},
	{"edge.refused", "a refusal: POLLERR, POLLHUP, select(), SO_ERROR once", CT_CONN,
	 CT_REFUSES, CT_UNIX | CT_RPMSG, refused_a, refused_b},
	{"edge.accept-reset", "reset before accept(): that one is told, the next one served",
	 CT_CONN, CT_LINGERS | CT_BACKLOG | CT_MATES, 0, accept_reset_a, accept_reset_b},
	{"edge.then-reset", "data, then a reset: read, then told", CT_STREAM, CT_LINGERS, 0,
	 then_reset_a, then_reset_b},
	{"edge.shut-unread", "SHUT_RD with unread data", CT_CONN, CT_MATES, 0, shut_unread_a,
	 shut_unread_b},
	{"edge.long-half", "300,000 bytes after the peer has shut its way", CT_STREAM, CT_EOF,
	 0, long_half, long_half},
	{"edge.wrap", "MSG_PEEK and reads of every length, at every place of a ring", CT_STREAM,
	 CT_EOF, 0, wrap_a, wrap_b},
	{"edge.part", "writev() without waiting: parts of it, none twice, none lost", CT_STREAM,
	 CT_EOF, 0, part_a, part_b},
	{"edge.no-part", "a message without room is not begun", CT_MSG,
	 CT_PRESSURE | CT_BIG | CT_WHOLE, 0, no_part_a, no_part_b},
	{"edge.empty-from", "an empty datagram has a sender", CT_DGRAM, CT_EMPTY, 0,
	 empty_from_a, empty_from_b},
	{"edge.dual", "an AF_INET6 listener takes IPv4 without IPV6_V6ONLY", CT_STREAM, CT_INET,
	 CT_V4, dual_a, dual_b},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
