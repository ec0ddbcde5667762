// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls getsockopt setsockopt */
/*
 * Socket options between the wire and the kernel.
 *
 * Two are not simply passed on. TCP_NODELAY: the kernel's socket has it on until the
 * guest switches it off by name, because one send() of the guest reaches us as several ring
 * buffers, and Nagle's algorithm would hold back the last of them for the peer's delayed
 * acknowledgement, which no program expects of one send(). What the guest reads back is
 * what it set. SO_LINGER: kept for the guest to read; a time-out makes close() wait, and
 * this process waits for nobody (a linger of 0 reaches the peer as the guest's RST).
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "offload_inner.h"

int amp_off_socket(struct amp_offload *off, int domain, int type)
{
	int fd = socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err = errno;

	if (fd >= 0)
		return fd;
	if (err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM) {
		off->link->stats.refused++;
		amp_log_some(&off->link->log_refused, AMP_LOG_ERROR,
			     "link %s: no socket for the guest: %s%s", off->link->conf->name,
			     strerror(err),
			     err == EMFILE ? " (LimitNOFILE= of the unit, or ulimit -n)" : "");
	}
	return -err;
}

bool amp_off_rate(struct amp_offload *off, enum amp_limit what)
{
	bool good = amp_limit_rate(&off->link->limits, what, amp_now_ms());

	off->link->stats.refused += !good;
	return good;
}

/* Options whose value is an int on both sides. */
static const struct {
	int level, name;
} int_opt[] = {
	[AMP_OFF_SO_REUSEADDR] = {SOL_SOCKET, SO_REUSEADDR},
	[AMP_OFF_SO_KEEPALIVE] = {SOL_SOCKET, SO_KEEPALIVE},
	[AMP_OFF_SO_BROADCAST] = {SOL_SOCKET, SO_BROADCAST},
	[AMP_OFF_TCP_NODELAY] = {IPPROTO_TCP, TCP_NODELAY},
	[AMP_OFF_TCP_KEEPIDLE] = {IPPROTO_TCP, TCP_KEEPIDLE},
	[AMP_OFF_TCP_KEEPINTVL] = {IPPROTO_TCP, TCP_KEEPINTVL},
	[AMP_OFF_TCP_KEEPCNT] = {IPPROTO_TCP, TCP_KEEPCNT},
	[AMP_OFF_IPV6_V6ONLY] = {IPPROTO_IPV6, IPV6_V6ONLY},
	[AMP_OFF_IP_TTL] = {IPPROTO_IP, IP_TTL},
	[AMP_OFF_IPV6_UNICAST_HOPS] = {IPPROTO_IPV6, IPV6_UNICAST_HOPS},
	[AMP_OFF_IP_MULTICAST_TTL] = {IPPROTO_IP, IP_MULTICAST_TTL},
	[AMP_OFF_IP_MULTICAST_LOOP] = {IPPROTO_IP, IP_MULTICAST_LOOP},
	[AMP_OFF_IPV6_MULTICAST_HOPS] = {IPPROTO_IPV6, IPV6_MULTICAST_HOPS},
	[AMP_OFF_IPV6_MULTICAST_LOOP] = {IPPROTO_IPV6, IPV6_MULTICAST_LOOP},
	[AMP_OFF_IPV6_MULTICAST_IF] = {IPPROTO_IPV6, IPV6_MULTICAST_IF},
	[AMP_OFF_SO_REUSEPORT] = {SOL_SOCKET, SO_REUSEPORT},
};

#define INT_OPTS (sizeof(int_opt) / sizeof(*int_opt))

_Static_assert(INT_OPTS <= AMP_OFF_OPTS, "a bit of struct amp_off_opts for each");

static bool is_int(unsigned opt)
{
	return opt < INT_OPTS && int_opt[opt].name;
}

/* Does the option exist on this kind of socket? As Linux says it. */
static bool fits(const struct amp_osock *s, unsigned opt)
{
	bool tcp = s->type == AMP_OFF_STREAM;

	switch (opt) {
	case AMP_OFF_TCP_NODELAY:
	case AMP_OFF_TCP_KEEPIDLE:
	case AMP_OFF_TCP_KEEPINTVL:
	case AMP_OFF_TCP_KEEPCNT:
		return tcp;
	case AMP_OFF_IP_MULTICAST_TTL:
	case AMP_OFF_IP_MULTICAST_LOOP:
	case AMP_OFF_IP_MULTICAST_IF:
	case AMP_OFF_IP_ADD_MEMBERSHIP:
	case AMP_OFF_IP_DROP_MEMBERSHIP:
		return !tcp;
	case AMP_OFF_IPV6_V6ONLY:
	case AMP_OFF_IPV6_UNICAST_HOPS:
		return s->family == AMP_OFF_INET6;
	case AMP_OFF_IPV6_MULTICAST_HOPS:
	case AMP_OFF_IPV6_MULTICAST_LOOP:
	case AMP_OFF_IPV6_MULTICAST_IF:
	case AMP_OFF_IPV6_JOIN_GROUP:
	case AMP_OFF_IPV6_LEAVE_GROUP:
		return !tcp && s->family == AMP_OFF_INET6;
	default:
		return true;
	}
}

static int set_int(struct amp_osock *s, int fd, unsigned opt, int value)
{
	if (!is_int(opt) || !fits(s, opt))
		return ENOPROTOOPT;
	/* two guests must not share a port that way */
	if (opt == AMP_OFF_SO_REUSEPORT && s->type == AMP_OFF_STREAM)
		return ENOPROTOOPT;
	/* the address is bound already, and with these another program could have it, too */
	if (s->virt && (opt == AMP_OFF_SO_REUSEADDR || opt == AMP_OFF_SO_REUSEPORT))
		return 0;
	if (opt == AMP_OFF_TCP_NODELAY)
		s->nodelay = value != 0;
	return setsockopt(fd, int_opt[opt].level, int_opt[opt].name, &value, sizeof(value))
		       ? errno
		       : 0;
}

int amp_off_set_bits(struct amp_osock *s, int fd, uint32_t opts_set, uint32_t opts)
{
	int err = 0;

	for (unsigned opt = 1; opt < 32 && !err; opt++) {
		if (opts_set & 1u << opt)
			err = set_int(s, fd, opt, (opts & 1u << opt) != 0);
	}
	return err;
}

void amp_off_opts_save(int fd, struct amp_off_opts *to)
{
	to->known = 0;
	for (unsigned opt = 1; opt < INT_OPTS; opt++) {
		socklen_t len = sizeof(to->value[opt]);

		if (is_int(opt) && getsockopt(fd, int_opt[opt].level, int_opt[opt].name,
					      &to->value[opt], &len) == 0)
			to->known |= 1u << opt;
	}
}

/* What does not go there (an option of multicast on a stream) was nothing of the guest's. */
void amp_off_opts_put(int fd, const struct amp_off_opts *from)
{
	for (unsigned opt = 1; opt < INT_OPTS; opt++) {
		if (from->known & 1u << opt)
			setsockopt(fd, int_opt[opt].level, int_opt[opt].name, &from->value[opt],
				   sizeof(from->value[opt]));
	}
}

void amp_off_opts_back(int fd, const struct amp_off_opts *from)
{
	static const struct ip_mreqn none;

	setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &none, sizeof(none));
	amp_off_opts_put(fd, from);
}

int amp_off_set_keep(int fd, const struct amp_off_open *o)
{
	const struct {
		int name, value;
	} keep[] = {
		{TCP_KEEPIDLE, o->keepidle_s},
		{TCP_KEEPINTVL, o->keepintvl_s},
		{TCP_KEEPCNT, o->keepcnt},
	};

	for (unsigned i = 0; i < 3; i++) {
		if (keep[i].value &&
		    setsockopt(fd, IPPROTO_TCP, keep[i].name, &keep[i].value, sizeof(int)))
			return errno;
	}
	return 0;
}

static int multicast_if(int fd, const uint8_t *v, size_t len)
{
	struct ip_mreqn m = {.imr_ifindex = 0};

	if (len != 8)
		return EINVAL;
	m.imr_ifindex = (int)amp_le32(v);
	memcpy(&m.imr_address, v + 4, 4);
	return setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &m, sizeof(m)) ? errno : 0;
}

/* Of groups that other programs of this host are in nobody gets anything. */
void amp_off_own_groups(int fd)
{
	static const int off;

	setsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &off, sizeof(off));
	setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, &off, sizeof(off));
}

int amp_off_setopt(struct amp_osock *s, unsigned opt, const uint8_t *value, size_t len)
{
	int fd = s->ops->fd(s);

	if (fd < 0)
		return ENOTCONN;
	if (!fits(s, opt))
		return ENOPROTOOPT;
	switch (opt) {
	case AMP_OFF_SO_LINGER:
		if (len != 8)
			return EINVAL;
		s->linger_on = (int32_t)amp_le32(value);
		s->linger_s = (int32_t)amp_le32(value + 4);
		return 0;
	case AMP_OFF_IP_ADD_MEMBERSHIP:
	case AMP_OFF_IP_DROP_MEMBERSHIP:
	case AMP_OFF_IPV6_JOIN_GROUP:
	case AMP_OFF_IPV6_LEAVE_GROUP:
		return amp_off_membership(s, fd, opt, value, len);
	case AMP_OFF_IP_MULTICAST_IF:
		return multicast_if(fd, value, len);
	default:
		return len == 4 ? set_int(s, fd, opt, (int32_t)amp_le32(value)) : EINVAL;
	}
}

int amp_off_getopt(struct amp_osock *s, unsigned opt, uint8_t *value, size_t *len)
{
	int fd = s->ops->fd(s), v = 0;
	socklen_t v_len = sizeof(v);

	if (fd < 0)
		return ENOTCONN;
	if (opt == AMP_OFF_SO_LINGER) {
		amp_put_le32(value, (uint32_t)s->linger_on);
		amp_put_le32(value + 4, (uint32_t)s->linger_s);
		*len = 8;
		return 0;
	}
	if (opt == AMP_OFF_IP_MULTICAST_IF && fits(s, opt)) {
		memset(value, 0, 8);
		v_len = 4;
		if (getsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, value + 4, &v_len))
			return errno;
		*len = 8;
		return 0;
	}
	if (!is_int(opt) || !fits(s, opt))
		return ENOPROTOOPT;
	if (opt == AMP_OFF_TCP_NODELAY)
		v = s->nodelay;
	else if (getsockopt(fd, int_opt[opt].level, int_opt[opt].name, &v, &v_len))
		return errno;
	amp_put_le32(value, (uint32_t)v);
	*len = 4;
	return 0;
}
