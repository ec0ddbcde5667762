// SPDX-License-Identifier: BSD-3-Clause
/*
 * Options. What concerns every socket is answered here; the rest is the family's. Buffer
 * sizes are compiled in: setting them is accepted as the hint that POSIX says it is, and
 * getsockopt() tells the truth.
 */
#include <errno.h>
#include <string.h>
#include <sys/time.h>

#include "stack.h"

#define AMP_NEED option
#include "need.h"

union value {
	int v;
	struct linger l;
	struct timeval tv;
};

/* The size of an option's value when it is answered here, else 0. */
static socklen_t size_of(int level, int name)
{
	if (level != SOL_SOCKET)
		return 0;
	switch (name) {
	case SO_TYPE:
	case SO_DOMAIN:
	case SO_ACCEPTCONN:
	case SO_ERROR:
	case SO_RCVBUF:
	case SO_SNDBUF:
	case SO_RCVLOWAT:
		return sizeof(int);
	case SO_LINGER:
		return sizeof(struct linger);
	case SO_RCVTIMEO:
	case SO_SNDTIMEO:
		return sizeof(struct timeval);
	default:
		return 0;
	}
}

static AMP_TIMEO *timeout_of(struct amp_sock *s, int name)
{
	return name == SO_RCVTIMEO ? &s->rcvtimeo : &s->sndtimeo;
}

/* Has it one, or is its place something else's? A message needs no more than itself. */
static bool has_lowat(const struct amp_sock *s)
{
	return s->type != SOCK_SEQPACKET && !(s->flags & AMP_SF_LISTEN);
}

/* u: all zero before. */
static void get_sol(struct amp_sock *s, int name, union value *u)
{
	uint32_t ms;

	switch (name) {
	case SO_RCVTIMEO:
	case SO_SNDTIMEO:
		ms = amp_timeo_ms(*timeout_of(s, name));
		u->tv.tv_sec = ms / 1000u;
		u->tv.tv_usec = (int)(ms % 1000u * 1000u);
		break;
	case SO_LINGER:
		if (s->linger_s != 255) {
			u->l.l_onoff = 1;
			u->l.l_linger = s->linger_s;
		}
		break;
	case SO_ERROR:
		if (!s->err)
			amp_links_run(); /* it may have just come */
		u->v = amp_sock_take_err(s);
		break;
	case SO_TYPE:
		u->v = s->type;
		break;
	case SO_DOMAIN:
		u->v = s->domain;
		break;
	case SO_ACCEPTCONN:
		u->v = (s->flags & AMP_SF_LISTEN) != 0;
		break;
	case SO_RCVLOWAT:
		u->v = has_lowat(s) && s->rcvlowat ? s->rcvlowat : 1;
		break;
	default: /* SO_RCVBUF, SO_SNDBUF */
		u->v = name == SO_RCVBUF && s->type == SOCK_SEQPACKET ? (int)AMP_RING_MSG_ALLOC
								      : AMPSOCK_RING_LEN;
	}
}

static int set_timeout(AMP_TIMEO *to, const struct timeval *tv)
{
	uint32_t ms;

	if (tv->tv_usec < 0 || tv->tv_usec >= 1000000)
		return -EDOM;
	if (tv->tv_sec < 0)
		ms = 1; /* Linux: do not wait at all */
	else if (tv->tv_sec >= (int32_t)(AMP_TIMEO_MAX_MS / 1000u))
		ms = AMP_TIMEO_MAX_MS;
	else
		ms = (uint32_t)tv->tv_sec * 1000u + ((uint32_t)tv->tv_usec + 999u) / 1000u;
	*to = AMP_TIMEO_PACKED ? amp_timeo_pack(ms) : (AMP_TIMEO)ms;
	return 0;
}

static int set_sol(struct amp_sock *s, int name, const union value *u)
{
	int v = u->v;

	switch (name) {
	case SO_RCVTIMEO:
	case SO_SNDTIMEO:
		return set_timeout(timeout_of(s, name), &u->tv);
	case SO_LINGER:
		v = u->l.l_linger;
		s->linger_s = (uint8_t)(!u->l.l_onoff ? 255 : v < 0 || v > 254 ? 254 : v);
		return 0;
	case SO_RCVLOWAT:
		if (v < 0)
			return -EINVAL;
		if (v > AMPSOCK_RING_LEN || v > UINT16_MAX)
			v = AMPSOCK_RING_LEN < UINT16_MAX ? AMPSOCK_RING_LEN : UINT16_MAX;
		if (has_lowat(s))
			s->rcvlowat = (uint16_t)v;
		return 0;
	case SO_RCVBUF:
	case SO_SNDBUF:
		return v > 0 ? 0 : -EINVAL;
	default: /* read-only */
		return -ENOPROTOOPT;
	}
}

/* What is asked, on the stack of who asks: where a call waits there should be little else. */
struct ask {
	bool set;
	int level, name;
	void *val;
	socklen_t *len;
};

/* The family's answer may have to come from far away: waited for, bounded. */
static __attribute__((noinline)) int far_option(int fd, const struct ask *a)
{
	struct amp_call c;
	int r = amp_enter(&c, fd);

	if (r)
		return r;
	do {
		r = -EFAULT;
		if (a->val && a->len)
			r = c.s->fam->option ? c.s->fam->option(c.s, a->set, a->level, a->name,
								a->val, a->len)
					     : -ENOPROTOOPT;
	} while (amp_far_again(&c, r));
	r = amp_far_result(&c, r);
	/* it is known here, but the family may have to tell somebody */
	if (r == -ENOPROTOOPT && a->level == SOL_SOCKET && a->name == SO_LINGER)
		r = 0;
	return (int)amp_leave(&c, r);
}

/* One that is answered here. */
static __attribute__((noinline)) int near_option(int fd, const struct ask *a, socklen_t size)
{
	struct amp_sock *s = amp_hold(fd);
	union value u;
	int r = 0;

	if (!s)
		return -1;
	memset(&u, 0, sizeof(u));
	if (!a->set) {
		get_sol(s, a->name, &u);
		if (*a->len > size)
			*a->len = size;
		memcpy(a->val, &u, *a->len);
	} else if (*a->len < size) {
		r = -EINVAL;
	} else {
		memcpy(&u, a->val, size);
		r = set_sol(s, a->name, &u);
	}
	return (int)amp_release_slow(s, r);
}

static int option(int fd, const struct ask *a)
{
	socklen_t size = a->val && a->len ? size_of(a->level, a->name) : 0;
	bool linger = a->name == SO_LINGER && a->set;
	int r = size ? near_option(fd, a, size) : 0;

	return r || (size && !linger) ? r : far_option(fd, a);
}

int amp_getsockopt(int fd, int level, int name, void *restrict val, socklen_t *restrict len)
{
	const struct ask a = {false, level, name, val, len};

	return option(fd, &a);
}

int amp_setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	const struct ask a = {true, level, name, (void *)(uintptr_t)val, &len};

	return option(fd, &a);
}
