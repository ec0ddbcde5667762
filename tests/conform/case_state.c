/* SPDX-License-Identifier: BSD-3-Clause */
/* What a call says in a state, or of an address or a length, that few programs come to. */
#include <netinet/in.h>
#include <string.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "conform.h"

static struct sockaddr *sa(struct ct_addr *a)
{
	return (struct sockaddr *)&a->ss;
}

static in_port_t *port_of(struct ct_addr *a)
{
	if (a->ss.ss_family == AF_INET6)
		return &((struct sockaddr_in6 *)&a->ss)->sin6_port;
	return &((struct sockaddr_in *)&a->ss)->sin_port;
}

static int has_peer(int fd)
{
	struct ct_addr a;

	a.len = sizeof(a.ss);
	return getpeername(fd, sa(&a), &a.len);
}

/* ---- names ---- */

static void names(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	ct_name(t, fd, &a);
	CT_EQ(a.ss.ss_family, t->tr->family);
	if (t->tr->props & CT_INET)
		CT_EQ(*port_of(&a), 0);
	CT_ERR(has_peer(fd), ENOTCONN);
	fd = ct_bound(t, 0, NULL);
	CT_ERR(has_peer(fd), ENOTCONN);
	if (t->tr->kind == CT_DGRAM)
		return;
	CT_OK(listen(fd, 1));
	CT_ERR(has_peer(fd), ENOTCONN);
	ct_addr_free(t, &a);
	CT_ERR(bind(fd, sa(&a), a.len), EINVAL);
	CT_ERR(accept4(fd, NULL, NULL, 0x10), EINVAL);
}

static void reset_a(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_pair(t);
	char c;

	CT_OK(has_peer(fd));
	ct_tell(t, "reset");
	CT_EQ(ct_poll(t, fd, POLLERR) & POLLERR, POLLERR);
	CT_ERR(recv(fd, &c, 1, 0), ECONNRESET);
	CT_ERR(has_peer(fd), ENOTCONN);
	CT_ERR(shutdown(fd, SHUT_RDWR), ENOTCONN);
	CT_ERR(send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	CT_EQ(recv(fd, &c, 1, 0), 0);
	ct_recv_addr(t, &a);
	if (t->tr->props & CT_INET &&
	    !ct_differs(t, "`connect` on a connection that was reset"))
		CT_ERR(connect(fd, sa(&a), a.len), EISCONN);
	else
		CT_OK(connect(fd, sa(&a), a.len));
	ct_tell(t, "done");
}

static void reset_b(struct ct *t)
{
	struct linger l = {.l_onoff = 1};
	struct ct_addr a;
	int fd = ct_pair(t), lfd;

	ct_wait(t, "reset");
	CT_OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	ct_close(t, fd);
	lfd = ct_bound(t, 0, &a);
	CT_OK(listen(lfd, 1));
	ct_send_addr(t, &a);
	ct_wait(t, "done");
}

static void not_connected(struct ct *t)
{
	int fd = ct_socket(t, 0);

	CT_ERR(shutdown(fd, SHUT_RD), ENOTCONN);
	CT_ERR(shutdown(fd, SHUT_WR), ENOTCONN);
	fd = ct_bound(t, 0, NULL);
	if (t->tr->kind != CT_DGRAM) {
		CT_EQ(ct_now(t, fd, POLLIN | POLLOUT | POLLRDHUP),
		      ct_linux_vsock(t, "AF_VSOCK `poll` of a socket without connection")
			      ? POLLOUT
			      : POLLOUT | POLLHUP);
		CT_EQ(ct_fionread(t, fd, 0), 0);
	}
	CT_ERR(shutdown(fd, SHUT_RDWR), ENOTCONN);
}

/* A backlog of -1 is the largest there is, and with 0 there is room for one. */
static void backlog_a(struct ct *t)
{
	struct ct_addr a;
	int lfd = ct_bound(t, 0, &a), i;

	CT_OK(listen(lfd, -1));
	ct_send_addr(t, &a);
	for (i = 0; i < 3; i++)
		ct_wait(t, "connected");
	for (i = 0; i < 3; i++)
		(void)ct_accept(t, lfd);
	lfd = ct_bound(t, 0, &a);
	CT_OK(listen(lfd, 0));
	ct_send_addr(t, &a);
	ct_wait(t, "connected");
	(void)ct_accept(t, lfd);
	ct_tell(t, "done");
}

static void backlog_b(struct ct *t)
{
	struct ct_addr a;
	int i;

	ct_recv_addr(t, &a);
	for (i = 0; i < 4; i++) {
		if (i == 3)
			ct_recv_addr(t, &a);
		CT_OK(connect(ct_socket(t, 0), sa(&a), a.len));
		ct_tell(t, "connected");
	}
	ct_wait(t, "done");
}

/* ---- bytes ---- */

static void nothing_a(struct ct *t)
{
	int fd = ct_pair(t);
	struct iovec iov[2] = {{NULL, 0}, {NULL, 0}};
	char c;

	CT_EQ(writev(fd, iov, 2), 0);
	CT_OK(shutdown(fd, SHUT_WR));
	CT_ERR(send(fd, &c, 0, MSG_NOSIGNAL), EPIPE);
	CT_EQ(recv(fd, &c, 1, MSG_PEEK), 1);
	CT_EQ(recv(fd, &c, 1, MSG_WAITALL), 1);
	CT_EQ(recv(fd, &c, 1, MSG_PEEK | MSG_WAITALL), 0);
	CT_EQ(recv(fd, &c, 0, 0), 0);
	CT_EQ(ct_fionread(t, fd, 0), 0);
	ct_tell(t, "done");
}

static void nothing_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "x", 1, 0), 1);
	CT_OK(shutdown(fd, SHUT_WR));
	ct_wait(t, "done");
}

/* Who wants all of it, and has a part when his time is over, or may not wait, gets that part. */
static void part_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[4];

	CT_ERR(recv(fd, buf, sizeof(buf), MSG_WAITALL | MSG_DONTWAIT), EAGAIN);
	ct_tell(t, "send");
	CT_EQ(ct_poll(t, fd, POLLIN), POLLIN);
	CT_EQ(recv(fd, buf, sizeof(buf), MSG_WAITALL | MSG_DONTWAIT), 1);
	ct_tell(t, "send");
	ct_timeout(t, fd, SO_RCVTIMEO, 30);
	while (recv(fd, buf, sizeof(buf), MSG_WAITALL) != 1)
		CT_EQ(errno, EAGAIN);
	ct_tell(t, "done");
}

static void part_b(struct ct *t)
{
	int fd = ct_pair(t);

	ct_wait(t, "send");
	CT_EQ(send(fd, "x", 1, 0), 1);
	ct_wait(t, "send");
	CT_EQ(send(fd, "y", 1, 0), 1);
	ct_wait(t, "done");
}

/* ---- addresses of AF_INET and AF_INET6 ---- */

static void port_0(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	ct_addr_free(t, &a);
	if (t->tr->kind == CT_STREAM) {
		CT_ERR(connect(fd, sa(&a), a.len), ECONNREFUSED);
		return;
	}
	CT_OK(connect(fd, sa(&a), a.len));
	CT_ERR(has_peer(fd), ENOTCONN);
	CT_EQ(ct_poll(t, fd, POLLOUT), POLLOUT);
}

static void unspecified(struct ct *t)
{
	struct ct_addr a, peer;
	int fd = ct_bound(t, 0, NULL), with;
	char c;

	ct_name(t, fd, &a);
	if (t->tr->kind == CT_STREAM)
		CT_OK(listen(fd, 1));
	peer = a;
	if (t->tr->family == AF_INET)
		((struct sockaddr_in *)&a.ss)->sin_addr.s_addr = htonl(INADDR_ANY);
	else
		((struct sockaddr_in6 *)&a.ss)->sin6_addr = in6addr_any;
	with = ct_socket(t, 0);
	CT_OK(connect(with, sa(&a), a.len));
	if (t->tr->kind == CT_DGRAM &&
	    ct_differs(t, "UDP `connect` to the unspecified address"))
		peer = a;
	a.len = sizeof(a.ss);
	CT_OK(getpeername(with, sa(&a), &a.len));
	CT_TRUE(ct_same_addr(t, &a, &peer));
	CT_EQ(send(with, "x", 1, 0), 1);
	if (t->tr->kind == CT_STREAM)
		fd = ct_accept(t, fd);
	CT_EQ(recv(fd, &c, 1, 0), 1);
}

static void lengths(struct ct *t)
{
	struct ct_addr a, other;
	struct iovec iov = {"x", 1};
	struct msghdr m = {.msg_name = &a.ss, .msg_iov = &iov, .msg_iovlen = 1};
	/* an AF_INET6 address without its scope is one, too, on Linux */
	int fd = ct_socket(t, 0), less = t->tr->family == AF_INET ? 1 : 5;
	char c;

	ct_addr_free(t, &a);
	other = a;
	other.ss.ss_family = 77;
	CT_ERR(bind(fd, sa(&a), a.len - (socklen_t)less), EINVAL);
	CT_ERR(bind(fd, sa(&other), 8), EINVAL);
	CT_ERR(connect(fd, sa(&a), a.len - (socklen_t)less), EINVAL);
	CT_ERR(connect(fd, sa(&other), 8), EINVAL);
	CT_ERR(connect(fd, sa(&other), a.len), EAFNOSUPPORT);
	if (t->tr->kind != CT_DGRAM)
		return;
	fd = ct_bound(t, 0, &a);
	CT_ERR(sendto(fd, "x", 1, 0, sa(&a), a.len - (socklen_t)less), EINVAL);
	CT_ERR(sendto(fd, "x", 1, 0, sa(&a), 1), EINVAL);
	CT_ERR(sendto(fd, "x", 1, 0, sa(&other), 8), EINVAL);
	CT_ERR2(sendto(fd, "x", 1, 0, sa(&other), a.len), EAFNOSUPPORT, EINVAL);
	CT_ERR(sendmsg(fd, &m, 0), EDESTADDRREQ); /* a name of no length is none */
	CT_OK(connect(fd, sa(&a), a.len));
	CT_EQ(sendmsg(fd, &m, 0), 1);
	CT_EQ(recv(fd, &c, 1, 0), 1);
	/* what has sent is bound */
	fd = ct_socket(t, 0);
	CT_EQ(sendto(fd, "x", 1, 0, sa(&a), a.len), 1);
	ct_addr_free(t, &other);
	CT_ERR(bind(fd, sa(&other), other.len), EINVAL);
}

/* AF_UNSPEC, and no more than the family: no peer; a port that connect() took goes back. */
static void no_peer(struct ct *t)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	struct ct_addr a, mine;
	int fd = ct_socket(t, 0), other = ct_bound(t, 0, &a);
	char c;

	CT_ERR(connect(fd, &none, 1), EINVAL);
	CT_OK(connect(fd, &none, sizeof(sa_family_t)));
	CT_OK(connect(fd, sa(&a), a.len));
	ct_name(t, fd, &mine);
	CT_TRUE(*port_of(&mine) != 0);
	CT_OK(connect(fd, &none, sizeof(sa_family_t)));
	CT_ERR(has_peer(fd), ENOTCONN);
	CT_ERR(send(fd, "x", 1, 0), EDESTADDRREQ);
	CT_OK(connect(fd, &none, sizeof(none)));
	CT_EQ(sendto(fd, "x", 1, 0, sa(&a), a.len), 1);
	CT_EQ(recv(other, &c, 1, 0), 1);
	CT_OK(connect(fd, sa(&a), a.len));
	CT_EQ(send(fd, "y", 1, 0), 1);
	CT_EQ(recv(other, &c, 1, 0), 1);
}

static void unspec(struct ct *t)
{
	struct sockaddr_storage none = {.ss_family = AF_UNSPEC};
	int fd = ct_socket(t, 0);

	if (t->tr->kind == CT_STREAM &&
	    ct_differs(t, "AF_INET `bind` and TCP `connect`, AF_UNSPEC"))
		CT_ERR(connect(fd, (struct sockaddr *)&none, sizeof(none)), EAFNOSUPPORT);
	else
		CT_OK(connect(fd, (struct sockaddr *)&none, sizeof(none)));
	if (t->tr->family == AF_INET &&
	    !ct_differs(t, "AF_INET `bind` and TCP `connect`, AF_UNSPEC"))
		CT_OK(bind(fd, (struct sockaddr *)&none, sizeof(none)));
	else
		CT_ERR(bind(fd, (struct sockaddr *)&none, sizeof(none)), EAFNOSUPPORT);
}

/* ---- datagrams that receive or send no more ---- */

static void dgram_shut_a(struct ct *t)
{
	struct ct_addr peer;
	int fd = ct_pair(t);

	peer.len = sizeof(peer.ss);
	CT_OK(getpeername(fd, sa(&peer), &peer.len));
	CT_OK(shutdown(fd, SHUT_RD));
	CT_EQ(ct_poll(t, fd, POLLIN | POLLRDHUP), POLLIN | POLLRDHUP);
	CT_EQ(ct_poll(t, fd, POLLOUT), POLLOUT);
	CT_OK(shutdown(fd, SHUT_WR));
	CT_EQ(ct_now(t, fd, POLLIN | POLLOUT | POLLRDHUP),
	      POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	CT_ERR(sendto(fd, "x", 1, MSG_NOSIGNAL, sa(&peer), peer.len), EPIPE);
	ct_tell(t, "done");
}

/* ---- options ---- */

static void no_sizes(struct ct *t)
{
	static const int size[] = {0, -1, 1 << 30};
	int fd = ct_socket(t, 0), i;

	for (i = 0; i < 3; i++) {
		ct_set(t, fd, SOL_SOCKET, SO_RCVBUF, size[i]);
		ct_set(t, fd, SOL_SOCKET, SO_SNDBUF, size[i]);
		CT_TRUE(ct_get(t, fd, SOL_SOCKET, SO_RCVBUF) > 0);
		CT_TRUE(ct_get(t, fd, SOL_SOCKET, SO_SNDBUF) > 0);
		if (i && ct_linux_vsock(t, "AF_VSOCK `SO_RCVLOWAT` larger than the buffer")) {
			CT_ERR(setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &size[i], sizeof(int)),
			       EINVAL);
			continue;
		}
		ct_set(t, fd, SOL_SOCKET, SO_RCVLOWAT, size[i]);
		CT_TRUE(ct_get(t, fd, SOL_SOCKET, SO_RCVLOWAT) > 0);
	}
}

/* Any number but 0 is yes. */
static void truth(struct ct *t)
{
	int fd = ct_socket(t, 0);

	ct_set(t, fd, SOL_SOCKET, SO_REUSEADDR, 7);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_REUSEADDR), 1);
	ct_set(t, fd, SOL_SOCKET, SO_REUSEADDR, -1);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_REUSEADDR), 1);
	if (!(t->tr->props & CT_INET))
		return;
	ct_set(t, fd, SOL_SOCKET, SO_KEEPALIVE, 7);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_KEEPALIVE), 1);
}

/* The shortest time is not for ever; one below 0 is over. */
static void short_times(struct ct *t)
{
	struct timeval tv = {.tv_usec = 1};
	socklen_t len = sizeof(tv);
	int fd = ct_pair(t);
	char c;

	CT_OK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	CT_OK(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, &len));
	CT_TRUE(tv.tv_sec == 0 && tv.tv_usec > 0 && tv.tv_usec <= 10000);
	CT_ERR(recv(fd, &c, 1, 0), EAGAIN);
	tv.tv_sec = -1;
	tv.tv_usec = 0;
	CT_OK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	CT_ERR(recv(fd, &c, 1, 0), EAGAIN);
	/* more than a year */
	tv.tv_sec = 1 << 30;
	CT_OK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	ct_tell(t, "done");
}

const struct ct_case ct_state[] = {
	{"state.names", "new, bound, listening: getsockname(), no peer, no bind()", CT_ALL, 0,
	 0, names, ct_nothing},
	{"state.reset", "after a reset there is no peer", CT_CONN,
	 CT_EOF | CT_LINGERS | CT_MATES, 0, reset_a, reset_b},
	{"state.not-connected", "shutdown(): ENOTCONN; poll(), FIONREAD", CT_ALL, 0, CT_UNIX,
	 not_connected, ct_nothing},
	{"state.backlog", "-1 is the largest there is, 0 is one", CT_CONN,
	 CT_BACKLOG | CT_MATES, 0, backlog_a, backlog_b},
	{"state.nothing", "0 bytes after SHUT_WR, and after the peer's", CT_STREAM, CT_EOF, 0,
	 nothing_a, nothing_b},
	{"state.part", "MSG_WAITALL when the time is over, and with MSG_DONTWAIT", CT_STREAM, 0,
	 0, part_a, part_b},
	{"state.port-0", "connect() to port 0", CT_ALL, CT_INET, 0, port_0, ct_nothing},
	{"state.unspecified", "connect() to the unspecified address: to this host", CT_ALL,
	 CT_INET | CT_SELF, 0, unspecified, ct_nothing},
	{"state.lengths", "addresses too short, of another family, of no length", CT_ALL,
	 CT_INET | CT_SELF, 0, lengths, ct_nothing},
	{"state.no-peer", "AF_UNSPEC, of two bytes: no peer any more", CT_DGRAM,
	 CT_INET | CT_SELF, 0, no_peer, ct_nothing},
	{"state.unspec", "AF_UNSPEC on a new socket", CT_ALL, CT_INET, 0, unspec, ct_nothing},
	{"state.dgram-shut", "poll() after SHUT_RD and SHUT_RDWR; sendto() says EPIPE",
	 CT_DGRAM, 0, 0, dgram_shut_a, ct_quiet},
	{"state.sizes", "SO_RCVBUF, SO_SNDBUF, SO_RCVLOWAT of 0, below it, and too large",
	 CT_STREAM, 0, 0, no_sizes, ct_nothing},
	{"state.truth", "7 and -1 are as 1", CT_ALL, 0, 0, truth, ct_nothing},
	{"state.times", "SO_RCVTIMEO of 1 us, below 0, more than a year", CT_ALL, 0, 0,
	 short_times, ct_quiet},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
