/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options. Those that OPEN or BIND carry are remembered until there is a socket at the
 * proxy; all others, and all later ones, are asked of it and answered by it. What is not
 * in the table is ENOPROTOOPT.
 */
#include <errno.h>
#include <string.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "inet.h"
#include "../wire/le.h"

/* Linux's numbers, where a header hides them. */
#ifndef IP_TTL
#define IP_TTL 2
#endif
#ifndef SO_PROTOCOL
#define SO_PROTOCOL 38
#endif
#ifndef SO_REUSEPORT
#define SO_REUSEPORT 15
#endif

enum { V_INT, V_LINGER, V_MEMBER4, V_MEMBER6, V_IF4 };

static const struct {
	uint8_t level, name, opt, val;
} options[] = {
	{SOL_SOCKET, SO_REUSEADDR, AMP_OFF_SO_REUSEADDR, V_INT},
	{SOL_SOCKET, SO_KEEPALIVE, AMP_OFF_SO_KEEPALIVE, V_INT},
	{SOL_SOCKET, SO_BROADCAST, AMP_OFF_SO_BROADCAST, V_INT},
	{SOL_SOCKET, SO_REUSEPORT, AMP_OFF_SO_REUSEPORT, V_INT},
	{SOL_SOCKET, SO_LINGER, AMP_OFF_SO_LINGER, V_LINGER},
	{IPPROTO_TCP, TCP_NODELAY, AMP_OFF_TCP_NODELAY, V_INT},
	{IPPROTO_TCP, TCP_KEEPIDLE, AMP_OFF_TCP_KEEPIDLE, V_INT},
	{IPPROTO_TCP, TCP_KEEPINTVL, AMP_OFF_TCP_KEEPINTVL, V_INT},
	{IPPROTO_TCP, TCP_KEEPCNT, AMP_OFF_TCP_KEEPCNT, V_INT},
	{IPPROTO_IPV6, IPV6_V6ONLY, AMP_OFF_IPV6_V6ONLY, V_INT},
	{IPPROTO_IPV6, IPV6_UNICAST_HOPS, AMP_OFF_IPV6_UNICAST_HOPS, V_INT},
	{IPPROTO_IPV6, IPV6_MULTICAST_HOPS, AMP_OFF_IPV6_MULTICAST_HOPS, V_INT},
	{IPPROTO_IPV6, IPV6_MULTICAST_LOOP, AMP_OFF_IPV6_MULTICAST_LOOP, V_INT},
	{IPPROTO_IPV6, IPV6_MULTICAST_IF, AMP_OFF_IPV6_MULTICAST_IF, V_INT},
	{IPPROTO_IPV6, IPV6_JOIN_GROUP, AMP_OFF_IPV6_JOIN_GROUP, V_MEMBER6},
	{IPPROTO_IPV6, IPV6_LEAVE_GROUP, AMP_OFF_IPV6_LEAVE_GROUP, V_MEMBER6},
	{IPPROTO_IP, IP_TTL, AMP_OFF_IP_TTL, V_INT},
	{IPPROTO_IP, IP_MULTICAST_TTL, AMP_OFF_IP_MULTICAST_TTL, V_INT},
	{IPPROTO_IP, IP_MULTICAST_LOOP, AMP_OFF_IP_MULTICAST_LOOP, V_INT},
	{IPPROTO_IP, IP_MULTICAST_IF, AMP_OFF_IP_MULTICAST_IF, V_IF4},
	{IPPROTO_IP, IP_ADD_MEMBERSHIP, AMP_OFF_IP_ADD_MEMBERSHIP, V_MEMBER4},
	{IPPROTO_IP, IP_DROP_MEMBERSHIP, AMP_OFF_IP_DROP_MEMBERSHIP, V_MEMBER4},
};

/* Numbers up to 8 fit the bits that a socket remembers. */
#define IS_PRESET(opt) ((opt) <= 8u)

static int preset(struct amp_inet *i, bool set, unsigned opt, int32_t *v)
{
	bool keep = opt >= AMP_OFF_TCP_KEEPIDLE && opt <= AMP_OFF_TCP_KEEPCNT;
	uint8_t bit = (uint8_t)(1u << (opt - 1));

	if (!set) {
		*v = keep ? i->keep[opt - AMP_OFF_TCP_KEEPIDLE] : (i->opts & bit) != 0;
		return 0;
	}
	if (keep) {
		if (*v < 1 || *v > 32767) /* as Linux */
			return -EINVAL;
		i->keep[opt - AMP_OFF_TCP_KEEPIDLE] = (uint16_t)*v;
		return 0;
	}
	i->opts_set |= bit;
	i->opts = (uint8_t)(*v ? i->opts | bit : i->opts & ~bit);
	return 0;
}

/* The value as it travels: its length, or -EINVAL. */
static int put_val(uint8_t *p, unsigned kind, const void *val, socklen_t len)
{
	struct amp_off_addr a = {.family = AMP_OFF_INET6};
	uint32_t v[3] = {0, 0, 0};

	memcpy(v, val, len < sizeof(v) ? len : sizeof(v));
	switch (kind) {
	case V_MEMBER4: /* struct ip_mreq, or ip_mreqn with an index behind it */
		if (len < 8)
			return -EINVAL;
		a.family = AMP_OFF_INET;
		memcpy(a.addr, &v[0], 4);
		amp_off_put_addr(p, &a);
		amp_put_le32(p + AMP_OFF_ADDR_LEN, v[2]);
		memcpy(p + AMP_OFF_ADDR_LEN + 4, &v[1], 4);
		return AMP_OFF_ADDR_LEN + 8;
	case V_MEMBER6:
		if (len < 20)
			return -EINVAL;
		memcpy(a.addr, val, 16);
		memcpy(v, (const uint8_t *)val + 16, 4);
		amp_off_put_addr(p, &a);
		amp_put_le32(p + AMP_OFF_ADDR_LEN, v[0]);
		amp_put_le32(p + AMP_OFF_ADDR_LEN + 4, 0);
		return AMP_OFF_ADDR_LEN + 8;
	case V_IF4: /* struct in_addr, or ip_mreqn */
		if (len < 4)
			return -EINVAL;
		amp_put_le32(p, v[2]);
		memcpy(p + 4, &v[len >= 8], 4);
		return 8;
	case V_LINGER:
		if (len < 8)
			return -EINVAL;
		amp_put_le32(p, v[0]);
		amp_put_le32(p + 4, v[1]);
		return 8;
	default: /* one byte will do for IP_MULTICAST_TTL, where BSD has it so */
		if (len < 1)
			return -EINVAL;
		amp_put_le32(p, len < 4 ? *(const uint8_t *)val : v[0]);
		return 4;
	}
}

static int give(const int32_t *v, void *val, socklen_t *len)
{
	if (*len > sizeof(*v))
		*len = sizeof(*v);
	memcpy(val, v, *len);
	return 0;
}

static int get_val(const uint8_t *p, unsigned got, unsigned kind, void *val, socklen_t *len)
{
	int32_t v;

	if (got < 4u + (kind == V_IF4 ? 8u : 4u))
		return -EPROTO;
	v = (int32_t)amp_le32(p + 4);
	if (kind == V_IF4)
		memcpy(&v, p + 8, 4);
	return give(&v, val, len);
}

static int ask(struct amp_sock *s, bool set, unsigned k, void *val, socklen_t *len)
{
	struct amp_inet *i = amp_inet(s);
	unsigned op = set ? AMP_OFF_SETOPT : AMP_OFF_GETOPT, opt = options[k].opt, got;
	uint8_t *p;
	int n = 0, r = amp_inet_req(s, op | opt << 8, &p, &got);

	if (r < 0)
		return r;
	if (r)
		return set ? 0 : get_val(p, got, options[k].val, val, len);
	if (set)
		n = put_val(p + 8, options[k].val, val, *len);
	if (n < 0)
		return n;
	amp_put_le32(p, i->id);
	amp_put_le16(p + 4, (uint16_t)opt);
	amp_put_le16(p + 6, (uint16_t)n);
	amp_inet_req_send(8 + (unsigned)n);
	return -EAGAIN;
}

/* What the proxy's socket has not is refused now, not by a connect() or bind() later. */
static bool fits(const struct amp_sock *s, int level, unsigned opt)
{
	if (s->type == SOCK_STREAM ? opt == AMP_OFF_SO_BROADCAST || opt == AMP_OFF_SO_REUSEPORT
				   : level == IPPROTO_TCP)
		return false;
	return level != IPPROTO_IPV6 || s->domain == AF_INET6;
}

int amp_inet_option(struct amp_sock *s, bool set, int level, int name, void *val,
		    socklen_t *len)
{
	struct amp_inet *i = amp_inet(s);
	unsigned k, opt;
	int32_t v = 0;
	int r;

	if (level == SOL_SOCKET && name == SO_PROTOCOL && !set) {
		v = s->type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
		return give(&v, val, len);
	}
	for (k = 0; options[k].level != level || options[k].name != name; k++)
		if (k + 1 == sizeof(options) / sizeof(options[0]))
			return -ENOPROTOOPT;
	opt = options[k].opt;
	if (!fits(s, level, opt))
		return -ENOPROTOOPT;
	if (i->state >= AMP_INET_BUSY)
		return -EAGAIN;
	if (IS_PRESET(opt)) {
		if (set && *len < sizeof(v))
			return -EINVAL;
		if (i->state == AMP_INET_IDLE || i->state == AMP_INET_BOUND) {
			if (set)
				memcpy(&v, val, sizeof(v));
			r = preset(i, set, opt, &v);
			if (r || set)
				return r;
			return give(&v, val, len);
		}
	} else if (i->state == AMP_INET_IDLE && s->type == SOCK_DGRAM) {
		amp_inet_open(s);
		return -EAGAIN;
	}
	/* SO_LINGER of a socket without connection is in s->linger_s; OPEN takes it along */
	return i->id ? ask(s, set, k, val, len) : -ENOPROTOOPT;
}
