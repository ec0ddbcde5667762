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

/* Those that are answered here; their values are numbers, a struct linger, times. */
enum {
	TYPE,
	DOMAIN,
	ACCEPTCONN,
	ERROR,
	RCVBUF,
	SNDBUF,
	RCVLOWAT,
	LINGER,
	RCVTIMEO,
	SNDTIMEO,
	NONE,
};
static const uint8_t near_names[] = {
	[TYPE] = SO_TYPE,	  [DOMAIN] = SO_DOMAIN, [ACCEPTCONN] = SO_ACCEPTCONN,
	[ERROR] = SO_ERROR,	  [RCVBUF] = SO_RCVBUF, [SNDBUF] = SO_SNDBUF,
	[RCVLOWAT] = SO_RCVLOWAT, [LINGER] = SO_LINGER, [RCVTIMEO] = SO_RCVTIMEO,
	[SNDTIMEO] = SO_SNDTIMEO,
};

#define LOWAT_MAX (AMPSOCK_RING_LEN < UINT16_MAX ? AMPSOCK_RING_LEN : UINT16_MAX)

static unsigned near_find(int level, int name)
{
	unsigned opt = level == SOL_SOCKET ? 0 : NONE;

	while (opt < NONE && near_names[opt] != name)
		opt++;
	return opt;
}

#define FAR 1 /* the family's to answer, or to be told of */

static AMP_TIMEO *timeout_of(struct amp_sock *s, unsigned opt)
{
	return &s->timeo[opt - RCVTIMEO];
}

/* Has it one, or is its place something else's? A message needs no more than itself. */
static bool has_lowat(const struct amp_sock *s)
{
	return s->type != SOCK_SEQPACKET && !(s->flags & AMP_SF_LISTEN);
}

/* u: all zero before. */
static void get_sol(struct amp_sock *s, unsigned opt, union value *u)
{
	uint32_t ms;

	switch (opt) {
	case RCVTIMEO:
	case SNDTIMEO:
		ms = amp_timeo_ms(*timeout_of(s, opt));
		u->tv.tv_sec = ms / 1000u;
		u->tv.tv_usec = (int)(ms % 1000u * 1000u);
		break;
	case LINGER:
		if (s->linger_s != 255) {
			u->l.l_onoff = 1;
			u->l.l_linger = s->linger_s;
		}
		break;
	case ERROR:
		if (!s->err)
			amp_links_run(); /* it may have just come */
		u->v = -amp_sock_take_err(s);
		break;
	case TYPE:
		u->v = s->type;
		break;
	case DOMAIN:
		u->v = s->domain;
		break;
	case ACCEPTCONN:
		u->v = (s->flags & AMP_SF_LISTEN) != 0;
		break;
	case RCVLOWAT:
		u->v = has_lowat(s) && s->rcvlowat ? s->rcvlowat : 1;
		break;
	default: /* RCVBUF, SNDBUF */
		u->v = AMPSOCK_RING_LEN;
		if (opt == RCVBUF && s->type == SOCK_SEQPACKET)
			u->v = AMP_RING_MSG_ALLOC;
	}
}

static int set_timeout(AMP_TIMEO *to, const struct timeval *tv)
{
	bool before = tv->tv_sec < 0;
	int32_t ms = amp_to_ms(before ? 0 : tv->tv_sec, (unsigned long)tv->tv_usec, 1000);

	if (ms == AMP_MS_BAD)
		return -EDOM;
	if (before)
		ms = 1; /* Linux: do not wait at all */
	*to = AMP_TIMEO_PACKED ? amp_timeo_pack((uint32_t)ms) : (AMP_TIMEO)ms;
	return 0;
}

static int set_sol(struct amp_sock *s, unsigned opt, const union value *u)
{
	int v = u->v;

	switch (opt) {
	case RCVTIMEO:
	case SNDTIMEO:
		return set_timeout(timeout_of(s, opt), &u->tv);
	case LINGER:
		v = u->l.l_linger;
		s->linger_s = (uint8_t)(!u->l.l_onoff ? 255 : v < 0 || v > 254 ? 254 : v);
		return FAR;
	case RCVLOWAT:
		if ((unsigned)v > LOWAT_MAX) /* below 0, too, as on Linux */
			v = LOWAT_MAX;
		if (has_lowat(s))
			s->rcvlowat = (uint16_t)v;
		return 0;
	default: /* a size is a hint, whatever it is; the others are read-only */
		return opt < RCVBUF ? -ENOPROTOOPT : 0;
	}
}

/* What is asked, on the stack of who asks: where a call waits there should be little else. */
struct ask {
	int level, name;
	void *val;
	socklen_t *len;
	int set; /* a whole word is shorter to write */
};

/* Apart: what it has on the stack is not below the waiting. */
static __attribute__((noinline)) int near_option(struct amp_sock *s, const struct ask *a)
{
	socklen_t len = *a->len, size = sizeof(int);
	union value u;
	unsigned opt;

	if (len > INT32_MAX) /* an int's, below 0, as on Linux */
		return -EINVAL;
	opt = near_find(a->level, a->name);
	if (opt == NONE)
		return FAR;
	if (opt >= LINGER)
		size = opt == LINGER ? sizeof(struct linger) : sizeof(struct timeval);
	memset(&u, 0, sizeof(u));
	if (!a->set) {
		get_sol(s, opt, &u);
		if (len > size)
			len = size;
		*a->len = len;
		memcpy(a->val, &u, len);
		return 0;
	}
	if (len < size)
		return -EINVAL;
	memcpy(&u, a->val, size);
	return set_sol(s, opt, &u);
}

/* The family's answer may have to come from far away: waited for, bounded. */
static int option(int fd, const struct ask *a)
{
	struct amp_call c;
	int r = amp_enter(&c, fd, false);

	if (!r)
		r = a->val && a->len ? near_option(c.s, a) : -EFAULT;
	if (r == FAR) {
		do {
			r = c.s->fam->option ? c.s->fam->option(c.s, a->set != 0, a->level,
								a->name, a->val, a->len)
					     : -ENOPROTOOPT;
			r = amp_far(&c, r);
		} while (r == AMP_FAR_AGAIN);
		/* it is known here, but the family may have to tell somebody */
		if (r == -ENOPROTOOPT && a->level == SOL_SOCKET && a->name == SO_LINGER)
			r = 0;
	}
	return (int)amp_leave(&c, r);
}

int amp_getsockopt(int fd, int level, int name, void *restrict val, socklen_t *restrict len)
{
	const struct ask a = {level, name, val, len, false};

	return option(fd, &a);
}

int amp_setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	const struct ask a = {level, name, (void *)(uintptr_t)val, &len, true};

	return option(fd, &a);
}
