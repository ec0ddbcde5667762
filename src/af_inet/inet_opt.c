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

/* Level and name by number on the wire; number 1 comes first. */
static const uint8_t options[][2] = {
#define OPT(opt, level, name) [(opt)-1] = {level, name}
	OPT(AMP_OFF_SO_REUSEADDR, SOL_SOCKET, SO_REUSEADDR),
	OPT(AMP_OFF_SO_KEEPALIVE, SOL_SOCKET, SO_KEEPALIVE),
	OPT(AMP_OFF_SO_BROADCAST, SOL_SOCKET, SO_BROADCAST),
	OPT(AMP_OFF_SO_REUSEPORT, SOL_SOCKET, SO_REUSEPORT),
	OPT(AMP_OFF_SO_LINGER, SOL_SOCKET, SO_LINGER),
	OPT(AMP_OFF_TCP_NODELAY, IPPROTO_TCP, TCP_NODELAY),
	OPT(AMP_OFF_TCP_KEEPIDLE, IPPROTO_TCP, TCP_KEEPIDLE),
	OPT(AMP_OFF_TCP_KEEPINTVL, IPPROTO_TCP, TCP_KEEPINTVL),
	OPT(AMP_OFF_TCP_KEEPCNT, IPPROTO_TCP, TCP_KEEPCNT),
	OPT(AMP_OFF_IPV6_V6ONLY, IPPROTO_IPV6, IPV6_V6ONLY),
	OPT(AMP_OFF_IPV6_UNICAST_HOPS, IPPROTO_IPV6, IPV6_UNICAST_HOPS),
	OPT(AMP_OFF_IPV6_MULTICAST_HOPS, IPPROTO_IPV6, IPV6_MULTICAST_HOPS),
	OPT(AMP_OFF_IPV6_MULTICAST_LOOP, IPPROTO_IPV6, IPV6_MULTICAST_LOOP),
	OPT(AMP_OFF_IPV6_MULTICAST_IF, IPPROTO_IPV6, IPV6_MULTICAST_IF),
	OPT(AMP_OFF_IPV6_JOIN_GROUP, IPPROTO_IPV6, IPV6_JOIN_GROUP),
	OPT(AMP_OFF_IPV6_LEAVE_GROUP, IPPROTO_IPV6, IPV6_LEAVE_GROUP),
	OPT(AMP_OFF_IP_TTL, IPPROTO_IP, IP_TTL),
	OPT(AMP_OFF_IP_MULTICAST_TTL, IPPROTO_IP, IP_MULTICAST_TTL),
	OPT(AMP_OFF_IP_MULTICAST_LOOP, IPPROTO_IP, IP_MULTICAST_LOOP),
	OPT(AMP_OFF_IP_MULTICAST_IF, IPPROTO_IP, IP_MULTICAST_IF),
	OPT(AMP_OFF_IP_ADD_MEMBERSHIP, IPPROTO_IP, IP_ADD_MEMBERSHIP),
	OPT(AMP_OFF_IP_DROP_MEMBERSHIP, IPPROTO_IP, IP_DROP_MEMBERSHIP),
#undef OPT
};

/* Numbers up to 8 fit the bits that a socket remembers. */
#define IS_PRESET(opt) ((opt) <= 8u)

static int preset(struct amp_inet *i, bool set, unsigned opt, int32_t *v)
{
	unsigned keep = opt - AMP_OFF_TCP_KEEPIDLE; /* and two behind it */
	uint8_t bit = (uint8_t)(1u << (opt - 1));

	if (keep < 3) {
		if (!set)
			*v = i->keep[keep];
		else if (*v < 1 || *v > (keep < 2 ? 32767 : 127)) /* as Linux */
			return -EINVAL;
		else
			i->keep[keep] = (uint16_t)*v;
	} else if (!set) {
		*v = (i->opts & bit) != 0;
	} else {
		i->opts_set |= bit;
		i->opts = (uint8_t)(*v ? i->opts | bit : i->opts & ~bit);
	}
	return 0;
}

/* The longest value: an address, an index and an address. The longest that a program gives. */
#define VAL_MAX	  (AMP_OFF_ADDR_LEN + 8u)
#define MREQ6_LEN 20u

/*
 * The value as it travels (protocol.md 5.6): its length, or -EINVAL when the program's is shorter
 * than it must be: struct ipv6_mreq; ip_mreq, or ip_mreqn, which has an index behind it; linger;
 * in_addr, or ip_mreqn; of numbers one byte will do, which is what IP_MULTICAST_TTL is on BSD.
 */
static int put_val(uint8_t *p, unsigned opt, const void *val, socklen_t len)
{
	uint8_t *v =
		p + 8; /* where an address has its bytes, and an IPv6 group its index behind */
	socklen_t least = 8;
	int n = 8;

	memset(p, 0, VAL_MAX);
	memcpy(v, val, len < MREQ6_LEN ? len : MREQ6_LEN);
	switch (opt) {
	case AMP_OFF_IP_ADD_MEMBERSHIP:
	case AMP_OFF_IP_DROP_MEMBERSHIP:
		p[0] = AMP_OFF_INET;
		amp_put_le32(v + 16, amp_le32(v + 8));
		amp_put_le32(v + 20, amp_le32(v + 4));
		memset(v + 4, 0, 12);
		n = VAL_MAX;
		break;
	case AMP_OFF_IPV6_JOIN_GROUP:
	case AMP_OFF_IPV6_LEAVE_GROUP:
		p[0] = AMP_OFF_INET6;
		least = MREQ6_LEN;
		n = VAL_MAX;
		break;
	case AMP_OFF_IP_MULTICAST_IF:
		least = 4;
		amp_put_le32(p, amp_le32(v + 8));
		amp_put_le32(p + 4, amp_le32(len < 8 ? v : v + 4));
		break;
	case AMP_OFF_SO_LINGER:
		amp_put_le32(p, amp_le32(v));
		amp_put_le32(p + 4, amp_le32(v + 4));
		break;
	default:
		least = 1;
		n = 4;
		/* le.h: little-endian */
		amp_put_le32(p, len < 4 ? v[0] : amp_le32(v));
	}
	return len < least ? -EINVAL : n;
}

static int give(const void *v, void *val, socklen_t *len)
{
	if (*len > 4)
		*len = 4;
	memcpy(val, v, *len);
	return 0;
}

static int ask(struct amp_sock *s, bool set, unsigned opt, void *val, socklen_t *len)
{
	struct amp_inet *i = amp_inet(s);
	unsigned op = set ? AMP_OFF_SETOPT : AMP_OFF_GETOPT;
	/* behind u16 0, u16 length; of an interface the address, which is behind its index */
	unsigned at = opt == AMP_OFF_IP_MULTICAST_IF ? 8 : 4;
	uint8_t *p = amp_inet_body;
	int n = 0, r = amp_inet_req(s, &i->off, op | opt << 8);

	if (r < 0)
		return r;
	if (r && set)
		return 0;
	AMP_FORGET(p); /* one address, in a register */
	if (r)
		return amp_inet_body_len() < at + 4 ? -EPROTO : give(p + at, val, len);
	if (set)
		n = put_val(p + 8, opt, val, *len);
	if (n < 0)
		return n;
	amp_put_le32(p, i->id);
	amp_put_le32(p + 4, opt | (uint32_t)n << 16);
	return amp_inet_req_send(8 + (unsigned)n);
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
	unsigned opt = 0;
	int32_t v = 0;
	int r;

	if (level == SOL_SOCKET && name == SO_PROTOCOL && !set) {
		v = s->type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
		return give(&v, val, len);
	}
	do {
		if (opt == sizeof(options) / sizeof(options[0]))
			return -ENOPROTOOPT;
		opt++;
	} while (options[opt - 1][0] != level || options[opt - 1][1] != name);
	if (!fits(s, level, opt))
		return -ENOPROTOOPT;
	if (i->state >= AMP_INET_BUSY)
		return -EAGAIN;
	if (IS_PRESET(opt)) {
		if (set && *len < sizeof(v))
			return -EINVAL;
		/* bound, it is too late for IPV6_V6ONLY, and the proxy says so */
		if (!i->id || (i->state == AMP_INET_BOUND && opt != AMP_OFF_IPV6_V6ONLY)) {
			if (set)
				memcpy(&v, val, sizeof(v));
			r = preset(i, set, opt, &v);
			return r || set ? r : give(&v, val, len);
		}
	} else if (i->state == AMP_INET_IDLE && s->type == SOCK_DGRAM) {
		return amp_inet_start(s, AMP_INET_WAIT, 0);
	}
	/* SO_LINGER of a socket without connection is in s->linger_s; OPEN takes it along */
	return i->id ? ask(s, set, opt, val, len) : -ENOPROTOOPT;
}
