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

static int give(void *val, socklen_t *len, const void *from, socklen_t size)
{
	if (*len > size)
		*len = size;
	memcpy(val, from, *len);
	return 0;
}

static int get_int(const struct amp_sock *s, int name, int *v)
{
	switch (name) {
	case SO_TYPE:
		*v = s->type;
		break;
	case SO_DOMAIN:
		*v = s->domain;
		break;
	case SO_ACCEPTCONN:
		*v = (s->flags & AMP_SF_LISTEN) != 0;
		break;
	case SO_RCVLOWAT:
		*v = s->flags & AMP_SF_LISTEN || !s->rcvlowat ? 1 : s->rcvlowat;
		break;
	case SO_RCVBUF:
		*v = s->type == SOCK_SEQPACKET ? (int)AMP_RING_MSG_ALLOC : AMPSOCK_RING_LEN;
		break;
	case SO_SNDBUF:
		*v = AMPSOCK_RING_LEN;
		break;
	default:
		return -ENOPROTOOPT;
	}
	return 0;
}

static int get_sol(struct amp_sock *s, int name, void *val, socklen_t *len)
{
	uint32_t ms = name == SO_RCVTIMEO ? s->rcvtimeo_ms : s->sndtimeo_ms;
	struct timeval tv = {.tv_sec = ms / 1000u};
	struct linger l = {.l_onoff = s->linger_s != 255,
			   .l_linger = s->linger_s != 255 ? s->linger_s : 0};
	int v, r;

	switch (name) {
	case SO_RCVTIMEO:
	case SO_SNDTIMEO:
		tv.tv_usec = (int)(ms % 1000u * 1000u);
		return give(val, len, &tv, sizeof(tv));
	case SO_LINGER:
		return give(val, len, &l, sizeof(l));
	case SO_ERROR:
		v = amp_sock_take_err(s);
		return give(val, len, &v, sizeof(v));
	default:
		r = get_int(s, name, &v);
		return r ? r : give(val, len, &v, sizeof(v));
	}
}

static int set_timeout(struct amp_sock *s, int name, const void *val, socklen_t len)
{
	struct timeval tv;
	uint32_t ms;

	if (len < sizeof(tv))
		return -EINVAL;
	memcpy(&tv, val, sizeof(tv));
	if (tv.tv_usec < 0 || tv.tv_usec >= 1000000)
		return -EDOM;
	if (tv.tv_sec < 0)
		ms = 1; /* Linux: do not wait at all */
	else if (tv.tv_sec >= INT32_MAX / 1000)
		ms = INT32_MAX;
	else
		ms = (uint32_t)tv.tv_sec * 1000u + ((uint32_t)tv.tv_usec + 999u) / 1000u;
	*(name == SO_RCVTIMEO ? &s->rcvtimeo_ms : &s->sndtimeo_ms) = ms;
	return 0;
}

static int set_linger(struct amp_sock *s, const void *val, socklen_t len)
{
	struct linger l;

	if (len < sizeof(l))
		return -EINVAL;
	memcpy(&l, val, sizeof(l));
	if (!l.l_onoff)
		s->linger_s = 255;
	else
		s->linger_s = (uint8_t)(l.l_linger < 0 || l.l_linger > 254 ? 254 : l.l_linger);
	return 0;
}

static int set_sol(struct amp_sock *s, int name, const void *val, socklen_t len)
{
	int v;

	if (name == SO_RCVTIMEO || name == SO_SNDTIMEO)
		return set_timeout(s, name, val, len);
	if (name == SO_LINGER)
		return set_linger(s, val, len);
	if (len < sizeof(v))
		return -EINVAL;
	memcpy(&v, val, sizeof(v));
	switch (name) {
	case SO_RCVLOWAT:
		if (v < 0)
			return -EINVAL;
		if (v > AMPSOCK_RING_LEN || v > UINT16_MAX)
			v = AMPSOCK_RING_LEN < UINT16_MAX ? AMPSOCK_RING_LEN : UINT16_MAX;
		if (!(s->flags & AMP_SF_LISTEN))
			s->rcvlowat = (uint16_t)v;
		return 0;
	case SO_RCVBUF:
	case SO_SNDBUF:
		return v > 0 ? 0 : -EINVAL;
	default: /* read-only */
		return -ENOPROTOOPT;
	}
}

/* Is this one answered here? */
static bool common(int level, int name)
{
	if (level != SOL_SOCKET)
		return false;
	switch (name) {
	case SO_TYPE:
	case SO_DOMAIN:
	case SO_ACCEPTCONN:
	case SO_ERROR:
	case SO_RCVTIMEO:
	case SO_SNDTIMEO:
	case SO_RCVBUF:
	case SO_SNDBUF:
	case SO_RCVLOWAT:
	case SO_LINGER:
		return true;
	default:
		return false;
	}
}

/* The family's answer may have to come from far away: waited for, bounded. */
static int family_option(struct amp_call *c, bool set, int level, int name, void *val,
			 socklen_t *len)
{
	int r;

	c->block = true;
	c->timeout_ms = AMPSOCK_CONNECT_MS;
	do {
		r = c->s->fam->option ? c->s->fam->option(c->s, set, level, name, val, len)
				      : -ENOPROTOOPT;
	} while (r == -EAGAIN && (r = amp_again(c)) == 0);
	return r == -EAGAIN ? -ETIMEDOUT : r;
}

int amp_getsockopt(int fd, int level, int name, void *restrict val, socklen_t *restrict len)
{
	struct amp_call c;
	int r = amp_enter(&c, fd);

	if (r)
		return amp_fail(-r);
	if (!val || !len) {
		r = -EFAULT;
	} else if (common(level, name)) {
		if (name == SO_ERROR && !c.s->err)
			amp_links_run(); /* it may have just come */
		r = get_sol(c.s, name, val, len);
	} else {
		r = family_option(&c, false, level, name, val, len);
	}
	return (int)amp_leave(&c, r);
}

int amp_setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	struct amp_call c;
	int r = amp_enter(&c, fd);

	if (r)
		return amp_fail(-r);
	if (!val)
		r = -EFAULT;
	else if (common(level, name))
		r = set_sol(c.s, name, val, len);
	else
		r = family_option(&c, true, level, name, (void *)(uintptr_t)val, &len);
	if (r == 0 && level == SOL_SOCKET && name == SO_LINGER) {
		/* the family may have to tell somebody */
		int f = family_option(&c, true, level, name, (void *)(uintptr_t)val, &len);

		r = f == -ENOPROTOOPT ? 0 : f;
	}
	return (int)amp_leave(&c, r);
}
