/* SPDX-License-Identifier: BSD-3-Clause */
/* AF_INET and AF_INET6: options, their ranges and defaults, names, vectors of nothing. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/uio.h>

#include "conform.h"

static struct sockaddr *sa(struct ct_addr *a)
{
	return (struct sockaddr *)&a->ss;
}

static int set(int fd, int level, int option, int v)
{
	return setsockopt(fd, level, option, &v, sizeof(v));
}

/* ---- options ---- */

#define NO_HOPS "IP_TTL, IPV6_UNICAST_HOPS of a TCP socket that is neither bound nor connected"

/* What nobody has set. */
static void defaults(struct ct *t)
{
	int fd = ct_socket(t, 0), v;
	socklen_t len = sizeof(v);

	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_KEEPALIVE), 0);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_REUSEADDR), 0);
	if (t->tr->family == AF_INET6)
		CT_EQ(ct_get(t, fd, IPPROTO_IPV6, IPV6_V6ONLY), 0);
	else if (t->tr->kind == CT_STREAM && ct_differs(t, NO_HOPS))
		CT_ERR(getsockopt(fd, IPPROTO_IP, IP_TTL, &v, &len), ENOPROTOOPT);
	else
		CT_EQ(ct_get(t, fd, IPPROTO_IP, IP_TTL), 64);
	if (t->tr->kind != CT_STREAM)
		return;
	CT_EQ(ct_get(t, fd, IPPROTO_TCP, TCP_NODELAY), 0);
	if (ct_differs(t, "TCP keep-alive times that nobody has set, before `connect`")) {
		CT_EQ(ct_get(t, fd, IPPROTO_TCP, TCP_KEEPIDLE), 0);
		return;
	}
	CT_TRUE(ct_get(t, fd, IPPROTO_TCP, TCP_KEEPIDLE) > 0);
	CT_TRUE(ct_get(t, fd, IPPROTO_TCP, TCP_KEEPINTVL) > 0);
	CT_TRUE(ct_get(t, fd, IPPROTO_TCP, TCP_KEEPCNT) > 0);
}

static void ranges(struct ct *t)
{
	static const int keep[] = {TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT};
	int fd = ct_socket(t, 0), i;

	for (i = 0; i < 3; i++) {
		CT_ERR(set(fd, IPPROTO_TCP, keep[i], 0), EINVAL);
		CT_ERR(set(fd, IPPROTO_TCP, keep[i], -1), EINVAL);
		CT_ERR(set(fd, IPPROTO_TCP, keep[i], 32768), EINVAL);
		CT_OK(set(fd, IPPROTO_TCP, keep[i], i < 2 ? 32767 : 127));
	}
	CT_ERR(set(fd, IPPROTO_TCP, TCP_KEEPCNT, 128), EINVAL);
	CT_EQ(ct_get(t, fd, IPPROTO_TCP, TCP_KEEPCNT), 127);
	CT_ERR(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(char){1}, 1), EINVAL);
	CT_ERR(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(char){1}, 1), EINVAL);
}

static void hop_ranges(struct ct *t)
{
	int fd = ct_bound(t, 0, NULL);
	unsigned char c = 7;

	if (t->tr->family == AF_INET) {
		CT_ERR(set(fd, IPPROTO_IP, IP_TTL, 0), EINVAL);
		CT_ERR(set(fd, IPPROTO_IP, IP_TTL, 256), EINVAL);
		CT_OK(setsockopt(fd, IPPROTO_IP, IP_TTL, &c, 1));
		CT_EQ(ct_get(t, fd, IPPROTO_IP, IP_TTL), 7);
		CT_OK(set(fd, IPPROTO_IP, IP_TTL, -1)); /* the default again */
		CT_EQ(ct_get(t, fd, IPPROTO_IP, IP_TTL), 64);
		return;
	}
	CT_ERR(set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 256), EINVAL);
	CT_ERR(set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, -2), EINVAL);
	CT_OK(set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9));
	CT_OK(set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, -1));
	CT_EQ(ct_get(t, fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 64);
	CT_ERR(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1), EINVAL); /* it is bound */
}

static void groups4(struct ct *t, int fd)
{
	struct ip_mreq m = {{htonl(0xefff4d21)}, {htonl(INADDR_LOOPBACK)}};
	unsigned char c = 3;

	CT_EQ(ct_get(t, fd, IPPROTO_IP, IP_MULTICAST_TTL), 1);
	CT_EQ(ct_get(t, fd, IPPROTO_IP, IP_MULTICAST_LOOP), 1);
	CT_OK(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &c, 1)); /* as on BSD */
	CT_EQ(ct_get(t, fd, IPPROTO_IP, IP_MULTICAST_TTL), 3);
	CT_ERR(set(fd, IPPROTO_IP, IP_MULTICAST_TTL, 256), EINVAL);
	CT_ERR(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, 7), EINVAL);
	CT_ERR(setsockopt(fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof(m)), EADDRNOTAVAIL);
	CT_OK(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)));
	CT_ERR(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)), EADDRINUSE);
	CT_OK(setsockopt(fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof(m)));
	m.imr_multiaddr.s_addr = htonl(INADDR_LOOPBACK); /* no group */
	CT_ERR(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)), EINVAL);
}

static void groups6(struct ct *t, int fd)
{
	struct ipv6_mreq m = {.ipv6mr_interface = 1}; /* lo */

	m.ipv6mr_multiaddr.s6_addr[0] = 0xff;
	m.ipv6mr_multiaddr.s6_addr[1] = 0x12;
	m.ipv6mr_multiaddr.s6_addr[15] = 0x77;
	CT_EQ(ct_get(t, fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS), 1);
	CT_EQ(ct_get(t, fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP), 1);
	CT_ERR(set(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 256), EINVAL);
	CT_ERR(setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, 16), EINVAL);
	CT_ERR(setsockopt(fd, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &m, sizeof(m)), EADDRNOTAVAIL);
	CT_OK(setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof(m)));
	CT_ERR(setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof(m)), EADDRINUSE);
	CT_OK(setsockopt(fd, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &m, sizeof(m)));
	m.ipv6mr_multiaddr.s6_addr[0] = 0x20; /* no group */
	CT_ERR(setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof(m)), EINVAL);
}

static void multicast(struct ct *t)
{
	int fd = ct_socket(t, 0);

	if (t->tr->family == AF_INET)
		groups4(t, fd);
	else
		groups6(t, fd);
}

/* ---- names ---- */

/* A socket bound to any address has its peer's way as its own when it is connected. */
static void own_name(struct ct *t)
{
	struct ct_addr to, mine, any;
	int peer = ct_bound(t, 0, &to), fd = ct_socket(t, 0);

	(void)peer;
	memset(&any, 0, sizeof(any));
	any.ss.ss_family = (sa_family_t)t->tr->family;
	any.len = to.len;
	CT_OK(bind(fd, sa(&any), any.len));
	ct_name(t, fd, &mine);
	CT_EQ(memcmp(&mine.ss, &any.ss, 2), 0);
	CT_OK(connect(fd, sa(&to), to.len));
	ct_name(t, fd, &mine);
	if (t->tr->family == AF_INET)
		CT_EQ(ntohl(((struct sockaddr_in *)&mine.ss)->sin_addr.s_addr),
		      INADDR_LOOPBACK);
	else
		CT_EQ(((struct sockaddr_in6 *)&mine.ss)->sin6_addr.s6_addr[15], 1);
}

/* IPv4 by an AF_INET6 socket, unless it says IPv6 alone. */
static void mapped(struct ct *t)
{
	static const unsigned char lo[] = {0, 0, 0,   0,   0,	0, 0, 0,
					   0, 0, 255, 255, 127, 0, 0, 1};
	struct sockaddr_in6 to = {.sin6_family = AF_INET6}, mine;
	struct sockaddr_in in = {.sin_family = AF_INET};
	int at = ct_own(t, (int)CT_OK(socket(AF_INET, t->tr->type, 0))), fd;
	socklen_t len = sizeof(in);
	char c;

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CT_OK(bind(at, (struct sockaddr *)&in, sizeof(in)));
	CT_OK(getsockname(at, (struct sockaddr *)&in, &len));
	if (t->tr->kind == CT_STREAM)
		CT_OK(listen(at, 1));
	memcpy(&to.sin6_addr, lo, 16);
	to.sin6_port = in.sin_port;
	fd = ct_socket(t, 0);
	ct_set(t, fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	CT_ERR(connect(fd, (struct sockaddr *)&to, sizeof(to)), ENETUNREACH);
	fd = ct_socket(t, 0);
	CT_OK(connect(fd, (struct sockaddr *)&to, sizeof(to)));
	len = sizeof(mine);
	CT_OK(getsockname(fd, (struct sockaddr *)&mine, &len));
	CT_EQ(len, sizeof(mine));
	CT_EQ(memcmp(&mine.sin6_addr, lo, 16), 0);
	CT_OK(getpeername(fd, (struct sockaddr *)&mine, &len));
	CT_EQ(memcmp(&mine.sin6_addr, lo, 16), 0);
	CT_EQ(send(fd, "4", 1, 0), 1);
	if (t->tr->kind == CT_STREAM)
		at = ct_accept(t, at);
	CT_EQ(recv(at, &c, 1, 0), 1);
}

/* ---- read() and write() of nothing ---- */

static void nothing_a(struct ct *t)
{
	int fd = ct_pair(t);
	struct iovec none[2] = {{NULL, 0}, {NULL, 0}};
	char c;

	/* a vector of nothing is nothing, where write() is an empty message */
	CT_EQ(writev(fd, none, 2), 0);
	if (t->tr->props & CT_EMPTY)
		CT_EQ(write(fd, "", 0), 0);
	CT_EQ(send(fd, "x", 1, 0), 1);
	CT_EQ(ct_poll(t, fd, POLLIN), POLLIN);
	CT_EQ(readv(fd, none, 2), 0);
	CT_EQ(recv(fd, &c, 1, MSG_DONTWAIT), 1);
	ct_tell(t, "done");
}

static void nothing_b(struct ct *t)
{
	int fd = ct_pair(t);
	char c = 0;

	CT_EQ(send(fd, "y", 1, 0), 1);
	if (t->tr->props & CT_EMPTY)
		CT_EQ(recv(fd, &c, 1, 0), 0);
	CT_EQ(recv(fd, &c, 1, 0), 1);
	CT_EQ(c, 'x');
	ct_wait(t, "done");
}

/* ---- an end that is a reset in the end ---- */

static void reset_after_eof_a(struct ct *t)
{
	int fd = ct_pair(t);
	char c;

	CT_EQ(recv(fd, &c, 1, 0), 0);
	ct_tell(t, "reset");
	CT_EQ(ct_poll(t, fd, POLLERR) & (POLLERR | POLLHUP), POLLERR | POLLHUP);
	if (ct_differs(t, "`recv` after the end of a stream that is reset then"))
		CT_ERR2(recv(fd, &c, 1, 0), ECONNRESET, EPIPE);
	CT_EQ(recv(fd, &c, 1, 0), 0);
	CT_ERR(send(fd, &c, 1, MSG_NOSIGNAL), EPIPE);
}

static void reset_after_eof_b(struct ct *t)
{
	struct linger l = {.l_onoff = 1};
	int fd = ct_pair(t);

	CT_OK(shutdown(fd, SHUT_WR));
	ct_wait(t, "reset");
	CT_OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
}

const struct ct_case ct_inet[] = {
	{"inet.defaults", "options that nobody has set", CT_ALL, CT_INET, 0, defaults,
	 ct_nothing},
	{"inet.ranges", "TCP's options: too small, too large, too short", CT_STREAM, CT_INET, 0,
	 ranges, ct_nothing},
	{"inet.hop-ranges", "hops: out of range, of one byte, -1", CT_ALL, CT_INET, 0,
	 hop_ranges, ct_nothing},
	{"inet.multicast", "groups: twice, not joined, none; hops of one byte", CT_DGRAM,
	 CT_INET, 0, multicast, ct_nothing},
	{"inet.own-name", "bound to any address: a name of its own with connect()", CT_DGRAM,
	 CT_INET | CT_SELF, 0, own_name, ct_nothing},
	{"inet.mapped", "IPv4 by AF_INET6, and not with IPV6_V6ONLY", CT_ALL, CT_INET | CT_SELF,
	 CT_V4, mapped, ct_nothing},
	{"inet.vectors", "writev() and readv() of nothing, write() of nothing", CT_ALL,
	 CT_MATES | CT_EOF, 0, nothing_a, nothing_b},
	{"inet.dgram-vectors", "the same of datagrams", CT_DGRAM, 0, 0, nothing_a, nothing_b},
	{"inet.end-reset", "EOF, then a reset: 0, EPIPE", CT_CONN, CT_EOF | CT_LINGERS, 0,
	 reset_after_eof_a, reset_after_eof_b},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
