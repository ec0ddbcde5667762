/* SPDX-License-Identifier: BSD-3-Clause */
/* Options, fcntl() and ioctl(). */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>

#include "conform.h"

static void types(struct ct *t)
{
	int fd = ct_socket(t, 0), want = 0;

	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_TYPE), t->tr->type);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_DOMAIN), t->tr->family);
	if (t->tr->props & CT_INET)
		want = t->tr->kind == CT_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_PROTOCOL), want);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_ACCEPTCONN), 0);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_ERROR), 0);
}

static void read_only(struct ct *t)
{
	int fd = ct_socket(t, 0), v = 1;

	CT_ERR(setsockopt(fd, SOL_SOCKET, SO_TYPE, &v, sizeof(v)), ENOPROTOOPT);
	CT_ERR(setsockopt(fd, SOL_SOCKET, SO_ERROR, &v, sizeof(v)), ENOPROTOOPT);
	CT_ERR(setsockopt(fd, SOL_SOCKET, SO_DOMAIN, &v, sizeof(v)), ENOPROTOOPT);
	CT_ERR(setsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &v, sizeof(v)), ENOPROTOOPT);
	CT_ERR(setsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &v, sizeof(v)), ENOPROTOOPT);
}

static void unknown(struct ct *t)
{
	int fd = ct_socket(t, 0), v = 1;
	socklen_t len = sizeof(v);

	CT_ERR(setsockopt(fd, SOL_SOCKET, 9999, &v, sizeof(v)), ENOPROTOOPT);
	CT_ERR(getsockopt(fd, SOL_SOCKET, 9999, &v, &len), ENOPROTOOPT);
	CT_ERR2(setsockopt(fd, 9999, 1, &v, sizeof(v)), ENOPROTOOPT, EOPNOTSUPP);
	CT_ERR2(getsockopt(fd, 9999, 1, &v, &len), ENOPROTOOPT, EOPNOTSUPP);
}

static void short_len(struct ct *t)
{
	int fd = ct_socket(t, 0), v = 1;
	struct timeval tv = {.tv_sec = 1};
	struct linger l = {0, 0};

	CT_ERR(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &v, 1), EINVAL);
	CT_ERR(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, 4), EINVAL);
	CT_ERR(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, 4), EINVAL);
	CT_ERR(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &v, 0), EINVAL);
}

/* A length is a number below 2^31, whatever socklen_t can hold. */
static void huge_len(struct ct *t)
{
	static const int option[] = {SO_RCVBUF, SO_LINGER, SO_RCVTIMEO, SO_REUSEADDR, 9999};
	const socklen_t huge = 0x80000000u, most = 0x7fffffffu;
	int fd = ct_socket(t, 0);
	unsigned char v[64];
	socklen_t len;
	unsigned i;

	memset(v, 0, sizeof(v));
	for (i = 0; i < sizeof(option) / sizeof(option[0]); i++) {
		CT_ERR(setsockopt(fd, SOL_SOCKET, option[i], v, huge), EINVAL);
		CT_ERR(setsockopt(fd, SOL_SOCKET, option[i], v, ~(socklen_t)0), EINVAL);
		len = huge;
		CT_ERR(getsockopt(fd, SOL_SOCKET, option[i], v, &len), EINVAL);
	}
	if (t->tr->props & CT_INET)
		CT_ERR(setsockopt(fd, IPPROTO_IP, IP_TTL, v, huge), EINVAL);
	CT_OK(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, v, most));
	len = most;
	CT_OK(getsockopt(fd, SOL_SOCKET, SO_TYPE, v, &len));
	CT_EQ(len, sizeof(int));
}

/* What is read is cut to the room; its length says how much that is. */
static void short_room(struct ct *t)
{
	int fd = ct_socket(t, 0);
	unsigned char v[8];
	socklen_t len = 2;

	memset(v, 0x55, sizeof(v));
	CT_OK(getsockopt(fd, SOL_SOCKET, SO_TYPE, v, &len));
	CT_EQ(len, 2);
	CT_EQ(v[0], t->tr->type);
	CT_EQ(v[2], 0x55);
	len = sizeof(v);
	CT_OK(getsockopt(fd, SOL_SOCKET, SO_TYPE, v, &len));
	CT_EQ(len, sizeof(int));
	CT_EQ(v[4], 0x55);
	len = 0;
	CT_OK(getsockopt(fd, SOL_SOCKET, SO_TYPE, v, &len));
	CT_EQ(len, 0);
}

static void fault(struct ct *t)
{
	int fd = ct_socket(t, 0), v = 0;
	socklen_t len = sizeof(v);
	void *volatile null = NULL;

	CT_ERR(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, null, sizeof(v)), EFAULT);
	CT_ERR(getsockopt(fd, SOL_SOCKET, SO_TYPE, null, &len), EFAULT);
	CT_ERR(getsockopt(fd, SOL_SOCKET, SO_TYPE, &v, null), EFAULT);
}

/* ---- times ---- */

static void get_time(struct ct *t, int fd, int option, struct timeval *tv)
{
	socklen_t len = sizeof(*tv);

	CT_OK(getsockopt(fd, SOL_SOCKET, option, tv, &len));
	CT_EQ(len, sizeof(*tv));
}

static void times(struct ct *t)
{
	static const int option[] = {SO_RCVTIMEO, SO_SNDTIMEO};
	int fd = ct_socket(t, 0), i;
	struct timeval tv;

	for (i = 0; i < 2; i++) {
		get_time(t, fd, option[i], &tv);
		CT_EQ(tv.tv_sec, 0);
		CT_EQ(tv.tv_usec, 0);
		tv.tv_sec = 3;
		tv.tv_usec = 500000;
		CT_OK(setsockopt(fd, SOL_SOCKET, option[i], &tv, sizeof(tv)));
		memset(&tv, 0, sizeof(tv));
		get_time(t, fd, option[i], &tv);
		CT_EQ(tv.tv_sec, 3);
		CT_EQ(tv.tv_usec, 500000);
		tv.tv_sec = 0;
		tv.tv_usec = 0; /* for ever again */
		CT_OK(setsockopt(fd, SOL_SOCKET, option[i], &tv, sizeof(tv)));
		get_time(t, fd, option[i], &tv);
		CT_EQ(tv.tv_sec + tv.tv_usec, 0);
		tv.tv_usec = 1000000;
		CT_ERR(setsockopt(fd, SOL_SOCKET, option[i], &tv, sizeof(tv)), EDOM);
		tv.tv_usec = -1;
		CT_ERR(setsockopt(fd, SOL_SOCKET, option[i], &tv, sizeof(tv)), EDOM);
	}
}

static void send_time(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[100] = "";

	(void)ct_stuff(t, fd, buf, sizeof(buf));
	ct_timeout(t, fd, SO_SNDTIMEO, 60);
	/* room that what is on its way makes is used; then the time is over */
	while (send(fd, buf, sizeof(buf), MSG_NOSIGNAL) > 0)
		;
	CT_EQ(errno, EAGAIN);
	ct_tell(t, "done");
}

static void recv_time(struct ct *t)
{
	int fd = ct_pair(t);
	char c;
	struct iovec iov = {&c, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	ct_timeout(t, fd, SO_RCVTIMEO, 30);
	CT_ERR(recv(fd, &c, 1, 0), EAGAIN);
	CT_ERR(recvmsg(fd, &m, 0), EAGAIN);
	CT_ERR(read(fd, &c, 1), EAGAIN);
	CT_ERR(recv(fd, &c, 1, MSG_PEEK), EAGAIN);
	ct_tell(t, "done");
}

/* ---- values ---- */

static void linger(struct ct *t)
{
	int fd = ct_socket(t, 0);
	struct linger l = {.l_onoff = 7, .l_linger = 7};
	socklen_t len = sizeof(l);

	CT_OK(getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &len));
	CT_EQ(len, sizeof(l));
	CT_EQ(l.l_onoff, 0);
	l = (struct linger){.l_onoff = 1, .l_linger = 5};
	CT_OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	l = (struct linger){0, 0};
	CT_OK(getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &len));
	CT_EQ(l.l_onoff, 1);
	CT_EQ(l.l_linger, 5);
	l.l_onoff = 0;
	CT_OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	CT_OK(getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &len));
	CT_EQ(l.l_onoff, 0);
}

static void buffers(struct ct *t)
{
	int fd = ct_socket(t, 0), was;

	was = ct_get(t, fd, SOL_SOCKET, SO_RCVBUF);
	CT_TRUE(was > 0);
	CT_TRUE(ct_get(t, fd, SOL_SOCKET, SO_SNDBUF) > 0);
	ct_set(t, fd, SOL_SOCKET, SO_RCVBUF, 8192);
	ct_set(t, fd, SOL_SOCKET, SO_SNDBUF, 8192);
	if (ct_differs(t, "`SO_RCVBUF`"))
		CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_RCVBUF), was);
	else
		CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_RCVBUF), 16384);
}

static void flag(struct ct *t, int fd, int level, int option)
{
	CT_EQ(ct_get(t, fd, level, option), 0);
	ct_set(t, fd, level, option, 1);
	CT_EQ(ct_get(t, fd, level, option), 1);
	ct_set(t, fd, level, option, 0);
	CT_EQ(ct_get(t, fd, level, option), 0);
}

static void reuseaddr(struct ct *t)
{
	flag(t, ct_socket(t, 0), SOL_SOCKET, SO_REUSEADDR);
}

static void tcp_flags(struct ct *t)
{
	int fd = ct_socket(t, 0);

	flag(t, fd, SOL_SOCKET, SO_KEEPALIVE);
	ct_set(t, fd, IPPROTO_TCP, TCP_NODELAY, 1);
	CT_EQ(ct_get(t, fd, IPPROTO_TCP, TCP_NODELAY), 1);
	ct_set(t, fd, IPPROTO_TCP, TCP_KEEPIDLE, 50);
	ct_set(t, fd, IPPROTO_TCP, TCP_KEEPINTVL, 20);
	ct_set(t, fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
	CT_EQ(ct_get(t, fd, IPPROTO_TCP, TCP_KEEPIDLE), 50);
	CT_EQ(ct_get(t, fd, IPPROTO_TCP, TCP_KEEPINTVL), 20);
	CT_EQ(ct_get(t, fd, IPPROTO_TCP, TCP_KEEPCNT), 4);
	CT_ERR(setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){0}, sizeof(int)), EINVAL);
}

/* the same on a connection, where it is the kernel's to say */
static void tcp_connected(struct ct *t)
{
	int fd = ct_pair(t);

	ct_set(t, fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_KEEPALIVE), 1);
	ct_set(t, fd, IPPROTO_TCP, TCP_NODELAY, 1);
	CT_EQ(ct_get(t, fd, IPPROTO_TCP, TCP_NODELAY), 1);
	ct_set(t, fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
	CT_EQ(ct_get(t, fd, IPPROTO_TCP, TCP_KEEPCNT), 3);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
	ct_tell(t, "done");
}

static void hops(struct ct *t)
{
	int v6 = t->tr->family == AF_INET6;
	int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP, option = v6 ? IPV6_UNICAST_HOPS : IP_TTL;
	int fd = ct_bound(t, 0, NULL);

	ct_set(t, fd, level, option, 42);
	CT_EQ(ct_get(t, fd, level, option), 42);
	CT_ERR(setsockopt(fd, level, option, &(int){1000}, sizeof(int)), EINVAL);
}

static void v6only(struct ct *t)
{
	int fd = ct_socket(t, 0);

	if (t->tr->family != AF_INET6) {
		CT_ERR(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int)),
		       ENOPROTOOPT);
		return;
	}
	ct_set(t, fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	CT_EQ(ct_get(t, fd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
}

static void broadcast(struct ct *t)
{
	flag(t, ct_socket(t, 0), SOL_SOCKET, SO_BROADCAST);
}

static void foreign(struct ct *t)
{
	int fd = ct_socket(t, 0);

	CT_ERR2(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), ENOPROTOOPT,
		EOPNOTSUPP);
	CT_ERR2(setsockopt(fd, IPPROTO_IP, IP_TTL, &(int){1}, sizeof(int)), ENOPROTOOPT,
		EOPNOTSUPP);
}

static void lowat(struct ct *t)
{
	int fd = ct_socket(t, 0);

	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_RCVLOWAT), 1);
	ct_set(t, fd, SOL_SOCKET, SO_RCVLOWAT, 0); /* as 1 */
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_RCVLOWAT), 1);
	ct_set(t, fd, SOL_SOCKET, SO_RCVLOWAT, 100);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_RCVLOWAT), 100);
}

/* ---- fcntl, ioctl ---- */

static void fcntls(struct ct *t)
{
	int fd = ct_socket(t, SOCK_NONBLOCK);

	CT_EQ(CT_OK(fcntl(fd, F_GETFL, 0)) & (O_ACCMODE | O_NONBLOCK), O_RDWR | O_NONBLOCK);
	CT_OK(fcntl(fd, F_SETFL, 0));
	CT_EQ(CT_OK(fcntl(fd, F_GETFL, 0)) & O_NONBLOCK, 0);
	CT_OK(fcntl(fd, F_SETFL, O_NONBLOCK | O_RDWR));
	CT_EQ(CT_OK(fcntl(fd, F_GETFL, 0)) & O_NONBLOCK, O_NONBLOCK);
	CT_OK(fcntl(fd, F_GETFD, 0));
	CT_OK(fcntl(fd, F_SETFD, FD_CLOEXEC));
	CT_ERR(fcntl(fd, 9999, 0), EINVAL);
	ct_close(t, fd);
	CT_ERR(fcntl(fd, F_GETFL, 0), EBADF);
}

static void ioctls(struct ct *t)
{
	int fd = ct_socket(t, 0), on = 1;

	CT_OK(ioctl(fd, FIONBIO, &on));
	CT_EQ(CT_OK(fcntl(fd, F_GETFL, 0)) & O_NONBLOCK, O_NONBLOCK);
	on = 0;
	CT_OK(ioctl(fd, FIONBIO, &on));
	CT_EQ(CT_OK(fcntl(fd, F_GETFL, 0)) & O_NONBLOCK, 0);
	CT_ERR(ioctl(fd, 0x12345, &on),
	       ct_linux_vsock(t, "AF_VSOCK `ioctl`: FIONREAD, and what is none") ? EOPNOTSUPP
										 : ENOTTY);
	ct_close(t, fd);
	CT_ERR(ioctl(fd, FIONBIO, &on), EBADF);
}

const struct ct_case ct_option[] = {
	{"option.types", "SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ERROR of a new socket", CT_ALL, 0,
	 0, types, ct_nothing},
	{"option.read-only", "setting what can only be read: ENOPROTOOPT", CT_ALL, 0, 0,
	 read_only, ct_nothing},
	{"option.unknown", "ENOPROTOOPT", CT_ALL, 0, 0, unknown, ct_nothing},
	{"option.huge", "a length of 2^31 or more: EINVAL", CT_ALL, 0, 0, huge_len, ct_nothing},
	{"option.short", "a value that is too short: EINVAL", CT_ALL, 0, 0, short_len,
	 ct_nothing},
	{"option.room", "what is read is cut to the room", CT_ALL, 0, 0, short_room,
	 ct_nothing},
	{"option.fault", "NULL: EFAULT", CT_ALL, 0, 0, fault, ct_nothing},
	{"option.times", "SO_RCVTIMEO, SO_SNDTIMEO: value, for ever, EDOM", CT_ALL, 0, 0, times,
	 ct_nothing},
	{"option.rcvtimeo", "every way to receive says EAGAIN when the time is over", CT_ALL, 0,
	 0, recv_time, ct_quiet},
	{"option.sndtimeo", "a sender without room says EAGAIN when the time is over", CT_ALL,
	 CT_PRESSURE, 0, send_time, ct_quiet},
	{"option.linger", "SO_LINGER", CT_CONN, 0, 0, linger, ct_nothing},
	{"option.buffers", "SO_RCVBUF, SO_SNDBUF", CT_ALL, 0, 0, buffers, ct_nothing},
	{"option.lowat", "SO_RCVLOWAT: 1, and 0 is as 1", CT_STREAM, 0, 0, lowat, ct_nothing},
	{"option.reuseaddr", "SO_REUSEADDR", CT_ALL, 0, 0, reuseaddr, ct_nothing},
	{"option.tcp", "TCP's, before connect()", CT_STREAM, CT_INET, 0, tcp_flags, ct_nothing},
	{"option.tcp-connected", "TCP's, on a connection", CT_STREAM, CT_INET, 0, tcp_connected,
	 ct_quiet},
	{"option.hops", "IP_TTL, IPV6_UNICAST_HOPS", CT_ALL, CT_INET, 0, hops, ct_nothing},
	{"option.v6only", "IPV6_V6ONLY", CT_ALL, CT_INET, 0, v6only, ct_nothing},
	{"option.broadcast", "SO_BROADCAST", CT_DGRAM, CT_INET, 0, broadcast, ct_nothing},
	{"option.foreign", "TCP's and IP's on another family", CT_ALL, 0, CT_INET, foreign,
	 ct_nothing},
	{"option.fcntl", "F_GETFL, F_SETFL, F_GETFD, F_SETFD; another: EINVAL", CT_ALL, 0, 0,
	 fcntls, ct_nothing},
	{"option.ioctl", "FIONBIO; another: ENOTTY", CT_ALL, 0, 0, ioctls, ct_nothing},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
