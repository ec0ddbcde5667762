/* SPDX-License-Identifier: BSD-3-Clause */
/* bind(), listen() and accept(): addresses, backlog, what a listener hands out. */
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/vm_sockets.h>

#include "conform.h"

static uint32_t port_of(struct ct *t, int fd)
{
	struct ct_addr a;

	ct_name(t, fd, &a);
	if (t->tr->family == AF_VSOCK)
		return ((struct sockaddr_vm *)&a.ss)->svm_port;
	if (t->tr->family == AF_INET)
		return ntohs(((struct sockaddr_in *)&a.ss)->sin_port);
	return ntohs(((struct sockaddr_in6 *)&a.ss)->sin6_port);
}

/* ---- bind ---- */

static void any_port(struct ct *t)
{
	int a = ct_bound(t, 0, NULL), b = ct_bound(t, 0, NULL);

	CT_TRUE(port_of(t, a) != 0);
	CT_TRUE(port_of(t, b) != 0);
	CT_TRUE(port_of(t, a) != port_of(t, b));
}

static void in_use(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_bound(t, 0, NULL), two = ct_socket(t, 0);

	ct_name(t, fd, &a);
	CT_ERR(bind(two, (struct sockaddr *)&a.ss, a.len), EADDRINUSE);
	/* and nothing has happened to either */
	ct_addr_free(t, &a);
	CT_OK(bind(two, (struct sockaddr *)&a.ss, a.len));
}

static void bind_twice(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_bound(t, 0, NULL);

	ct_addr_free(t, &a);
	CT_ERR(bind(fd, (struct sockaddr *)&a.ss, a.len), EINVAL);
}

static void bind_free(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_bound(t, 0, NULL);

	if (t->tr->kind != CT_DGRAM)
		CT_OK(listen(fd, 1));
	ct_name(t, fd, &a);
	ct_close(t, fd);
	fd = ct_socket(t, 0);
	CT_OK(bind(fd, (struct sockaddr *)&a.ss, a.len));
}

static void bind_family(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	ct_addr_free(t, &a);
	a.ss.ss_family = 77;
	CT_ERR(bind(fd, (struct sockaddr *)&a.ss, a.len),
	       t->tr->props & CT_UNIX || ct_linux_vsock(t, "AF_VSOCK `bind`, `connect`, an "
							   "address of another family")
		       ? EINVAL
		       : EAFNOSUPPORT);
}

static void bind_short(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	ct_addr_free(t, &a);
	CT_ERR(bind(fd, (struct sockaddr *)&a.ss, 1), EINVAL);
	CT_ERR(bind(fd, (struct sockaddr *)&a.ss, 0), EINVAL);
	CT_OK(bind(fd, (struct sockaddr *)&a.ss, a.len));
}

static void not_local(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	ct_addr_free(t, &a);
	if (t->tr->family == AF_VSOCK)
		((struct sockaddr_vm *)&a.ss)->svm_cid = 0x12345;
	else if (t->tr->family == AF_INET)
		((struct sockaddr_in *)&a.ss)->sin_addr.s_addr =
			htonl(0xc0000201); /* RFC 5737 */
	else
		((struct sockaddr_in6 *)&a.ss)->sin6_addr.s6_addr[0] = 0x20; /* 2000::1 */
	CT_ERR(bind(fd, (struct sockaddr *)&a.ss, a.len), EADDRNOTAVAIL);
	ct_addr_free(t, &a);
	CT_OK(bind(fd, (struct sockaddr *)&a.ss, a.len));
}

static void bind_connected(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_pair(t);

	ct_addr_free(t, &a);
	CT_ERR(bind(fd, (struct sockaddr *)&a.ss, a.len), EINVAL);
	ct_tell(t, "done");
}

/* One ends a connection that it began; the port is asked for again at once. */
static void reuseaddr_a(struct ct *t)
{
	struct ct_addr a;
	int lfd = ct_socket(t, 0), fd;
	char c;

	ct_set(t, lfd, SOL_SOCKET, SO_REUSEADDR, 1);
	ct_addr_free(t, &a);
	CT_OK(bind(lfd, (struct sockaddr *)&a.ss, a.len));
	ct_addr_of(t, lfd, &a);
	CT_OK(listen(lfd, 1));
	ct_send_addr(t, &a);
	fd = ct_accept(t, lfd);
	ct_name(t, lfd, &a);
	CT_OK(shutdown(fd, SHUT_WR)); /* the first to close: TIME_WAIT is here */
	CT_EQ(recv(fd, &c, 1, 0), 0);
	ct_close(t, fd);
	ct_close(t, lfd);
	lfd = ct_socket(t, 0);
	ct_set(t, lfd, SOL_SOCKET, SO_REUSEADDR, 1);
	CT_OK(bind(lfd, (struct sockaddr *)&a.ss, a.len));
	CT_OK(listen(lfd, 1));
}

static void reuseaddr_b(struct ct *t)
{
	int fd = ct_dial(t);
	char c;

	CT_EQ(recv(fd, &c, 1, 0), 0);
}

/* ---- listen ---- */

static void listen_unbound(struct ct *t)
{
	int fd = ct_socket(t, 0);

	if (!(t->tr->props & CT_INET)) {
		CT_ERR(listen(fd, 1), EINVAL);
		return;
	}
	CT_OK(listen(fd, 1));
	CT_TRUE(port_of(t, fd) != 0);
}

static void listen_dgram(struct ct *t)
{
	int fd = ct_bound(t, 0, NULL);

	CT_ERR(listen(fd, 1), EOPNOTSUPP);
	CT_ERR(accept(fd, NULL, NULL), EOPNOTSUPP);
}

static void listen_connected(struct ct *t)
{
	int fd = ct_pair(t);

	CT_ERR(listen(fd, 1), EINVAL);
	CT_ERR(accept(fd, NULL, NULL), EINVAL);
	ct_tell(t, "done");
}

static void listen_twice_a(struct ct *t)
{
	int lfd = ct_listen(t, 0);

	CT_EQ(ct_get(t, lfd, SOL_SOCKET, SO_ACCEPTCONN), 1);
	CT_OK(listen(lfd, 5));
	(void)ct_accept(t, lfd);
	CT_OK(listen(lfd, -1)); /* as POSIX has it: as 0 */
	ct_tell(t, "done");
}

static void dial_b(struct ct *t)
{
	(void)ct_dial(t);
	ct_wait(t, "done");
}

/* What nobody has accepted ends with its listener. */
static void listen_closed_a(struct ct *t)
{
	int lfd = ct_listen(t, 4);

	ct_wait(t, "connected");
	ct_close(t, lfd);
	ct_wait(t, "done");
}

static void listen_closed_b(struct ct *t)
{
	int fd = ct_dial(t);
	char c;
	ssize_t n;

	ct_tell(t, "connected");
	n = recv(fd, &c, 1, 0);
	CT_TRUE(n == 0 || (n == -1 && errno == ECONNRESET));
	CT_TRUE(n == -1 || !(t->tr->props & CT_RESETS));
	ct_tell(t, "done");
}

/* ---- accept ---- */

static void accept_flags_a(struct ct *t)
{
	int lfd = ct_listen(t, 4), fd;
	char c;

	ct_nonblock(t, lfd, 1);
	CT_EQ(ct_poll(t, lfd, POLLIN), POLLIN);
	fd = ct_own(t, (int)CT_OK(accept(lfd, NULL, NULL)));
	CT_EQ(CT_OK(fcntl(fd, F_GETFL, 0)) & O_NONBLOCK, 0);
	ct_tell(t, "next");
	CT_EQ(ct_poll(t, lfd, POLLIN), POLLIN);
	fd = ct_own(t, (int)CT_OK(accept4(lfd, NULL, NULL, SOCK_NONBLOCK)));
	CT_EQ(CT_OK(fcntl(fd, F_GETFL, 0)) & O_NONBLOCK, O_NONBLOCK);
	if (t->tr->props & CT_MATES)
		CT_ERR(recv(fd, &c, 1, 0), EAGAIN);
	CT_ERR(accept4(lfd, NULL, NULL, 0x1), EINVAL);
	ct_tell(t, "done");
}

static void accept_flags_b(struct ct *t)
{
	struct ct_addr a;
	int i, fd;

	ct_recv_addr(t, &a);
	for (i = 0; i < 2; i++) {
		fd = ct_socket(t, 0);
		CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
		if (!(t->tr->props & CT_MATES))
			CT_EQ(send(fd, "x", 1, 0), 1);
		ct_wait(t, i ? "done" : "next");
	}
}

static void accept_short_a(struct ct *t)
{
	int lfd = ct_listen(t, 4), fd;
	struct ct_addr a, peer;

	memset(&a, 0x55, sizeof(a));
	a.len = 4;
	fd = ct_own(t, (int)CT_OK(accept(lfd, (struct sockaddr *)&a.ss, &a.len)));
	peer.len = sizeof(peer.ss);
	CT_OK(getpeername(fd, (struct sockaddr *)&peer.ss, &peer.len));
	CT_EQ(a.len, peer.len); /* the true length */
	CT_EQ(memcmp(&a.ss, &peer.ss, 4), 0);
	CT_EQ(((unsigned char *)&a.ss)[4], 0x55); /* and nothing behind the room */
	ct_tell(t, "done");
}

static void accept_timeout(struct ct *t)
{
	int lfd = ct_bound(t, 0, NULL);

	CT_OK(listen(lfd, 1));
	ct_timeout(t, lfd, SO_RCVTIMEO, 50);
	CT_ERR(accept(lfd, NULL, NULL), EAGAIN);
	ct_nonblock(t, lfd, 1);
	CT_ERR(accept(lfd, NULL, NULL), EAGAIN);
}

static void accept_idle(struct ct *t)
{
	int fd = ct_bound(t, 0, NULL);

	CT_ERR(accept(fd, NULL, NULL), EINVAL);
}

static void accept_many_a(struct ct *t)
{
	int lfd = ct_listen(t, 4), i;
	unsigned char n;

	for (i = 0; i < 50; i++) {
		int fd = ct_accept(t, lfd);

		CT_EQ(recv(fd, &n, 1, 0), 1);
		CT_EQ(n, i);
		CT_EQ(send(fd, &n, 1, 0), 1);
		CT_EQ(recv(fd, &n, 1, 0), 0);
		ct_close(t, fd);
	}
}

static void accept_many_b(struct ct *t)
{
	struct ct_addr a;
	unsigned char i, n;

	ct_recv_addr(t, &a);
	for (i = 0; i < 50; i++) {
		int fd = ct_socket(t, 0);

		CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
		CT_EQ(send(fd, &i, 1, 0), 1);
		CT_EQ(recv(fd, &n, 1, 0), 1);
		CT_EQ(n, i);
		ct_close(t, fd);
	}
}

/* An accepted socket is no listener, and outlives the one it came from. */
static void accept_outlives_a(struct ct *t)
{
	int lfd = ct_listen(t, 1), fd = ct_accept(t, lfd);
	char c;

	ct_close(t, lfd);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_ACCEPTCONN), 0);
	ct_tell(t, "closed");
	CT_EQ(recv(fd, &c, 1, 0), 1);
	CT_EQ(send(fd, &c, 1, 0), 1);
	ct_wait(t, "done");
}

static void accept_outlives_b(struct ct *t)
{
	int fd = ct_dial(t);
	char c = 'x';

	ct_wait(t, "closed");
	CT_EQ(send(fd, &c, 1, 0), 1);
	CT_EQ(recv(fd, &c, 1, 0), 1);
	ct_tell(t, "done");
}

/* data sent before accept() waits there */
static void accept_data_a(struct ct *t)
{
	int lfd = ct_listen(t, 2), fd;
	char buf[16];

	ct_wait(t, "sent");
	fd = ct_accept(t, lfd);
	ct_recv_all(t, fd, buf, 5);
	CT_EQ(memcmp(buf, "early", 5), 0);
	ct_tell(t, "done");
}

static void accept_data_b(struct ct *t)
{
	int fd = ct_dial(t);

	CT_EQ(send(fd, "early", 5, 0), 5);
	ct_tell(t, "sent");
	ct_wait(t, "done");
}

const struct ct_case ct_bind[] = {
	{"bind.any-port", "port 0: a free one, and getsockname() tells it", CT_ALL, CT_PORTS,
	 CT_UNIX | CT_RPMSG, any_port, ct_nothing},
	{"bind.in-use", "an address that another has: EADDRINUSE", CT_ALL, 0, 0, in_use,
	 ct_nothing},
	{"bind.twice", "a bound socket: EINVAL", CT_ALL, 0, 0, bind_twice, ct_nothing},
	{"bind.free-again", "an address is free when its socket is closed", CT_ALL, 0, 0,
	 bind_free, ct_nothing},
	{"bind.family", "an address of another family", CT_ALL, 0, 0, bind_family, ct_nothing},
	{"bind.short", "an address that is too short: EINVAL", CT_ALL, 0, 0, bind_short,
	 ct_nothing},
	{"bind.not-local", "an address that is not ours: EADDRNOTAVAIL", CT_ALL, 0,
	 CT_UNIX | CT_RPMSG, not_local, ct_nothing},
	{"bind.connected", "a connected socket: EINVAL", CT_CONN, CT_MATES, CT_UNIX,
	 bind_connected, ct_quiet},
	{"bind.reuseaddr", "SO_REUSEADDR: a port again while its last connection lingers",
	 CT_STREAM, CT_INET, 0, reuseaddr_a, reuseaddr_b},
	{"listen.unbound", "without bind(): TCP takes a port, others say EINVAL", CT_CONN, 0, 0,
	 listen_unbound, ct_nothing},
	{"listen.dgram", "listen() and accept() on datagrams: EOPNOTSUPP", CT_DGRAM, 0, 0,
	 listen_dgram, ct_nothing},
	{"listen.connected", "on a connected socket: EINVAL", CT_CONN, CT_MATES, 0,
	 listen_connected, ct_quiet},
	{"listen.twice", "again, with another backlog; SO_ACCEPTCONN", CT_CONN, 0, 0,
	 listen_twice_a, dial_b},
	{"listen.closed", "who was not accepted hears the end of the listener", CT_CONN,
	 CT_BACKLOG | CT_EOF, 0, listen_closed_a, listen_closed_b},
	{"accept.flags", "O_NONBLOCK is accept4()'s, not inherited", CT_CONN, 0, 0,
	 accept_flags_a, accept_flags_b},
	{"accept.short", "an address is cut to the room, its length is the true one", CT_CONN,
	 CT_MATES, CT_UNIX, accept_short_a, dial_b},
	{"accept.timeout", "SO_RCVTIMEO and O_NONBLOCK: EAGAIN", CT_CONN, 0, 0, accept_timeout,
	 ct_nothing},
	{"accept.not-listening", "bound, but not listening: EINVAL", CT_CONN, 0, 0, accept_idle,
	 ct_nothing},
	{"accept.many", "50 connections, one after the other", CT_CONN, CT_MATES | CT_EOF, 0,
	 accept_many_a, accept_many_b},
	{"accept.outlives", "a connection outlives its listener", CT_CONN, CT_MATES, 0,
	 accept_outlives_a, accept_outlives_b},
	{"accept.data", "data that came before accept() is read after it", CT_CONN,
	 CT_MATES | CT_BACKLOG, 0, accept_data_a, accept_data_b},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
