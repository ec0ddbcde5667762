/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When the session need not look (AMPSOCK_FAST). Without, it looks each time.
 *
 * Theory of operation. Each look at the links ends at the session, which nearly always has
 * nothing to do, and would need its whole round and the clock to find that out. So once all
 * that moves has come to rest and all that is owed is sent, it says so, and does no work until
 * amp_stirred is set: something has happened to a socket, other than bytes that went straight
 * to a waiting caller. What does not come by a link ends the rest itself: the first socket, and
 * time. The clock is looked at before every sleep, and now and then by a program that never
 * sleeps.
 */
#ifndef AMP_INET_REST_H
#define AMP_INET_REST_H

#include "../socket/family.h"

#if AMPSOCK_FAST
/* A caller whose bytes have come does not sleep now: of so many looks one asks the clock. Among
 * threads it may be another's that have come, and whoever looks sleeps all the same. */
#define AMP_REST_LOOKS 16

struct amp_rest {
	bool on;
	bool silent;   /* no ping is to be sent */
	uint8_t looks; /* that may still do without the clock */
};

static inline bool amp_rest_undisturbed(const struct amp_rest *r)
{
	return r->on && !amp_stirred;
}

/* What has happened is going to be looked at. */
static inline void amp_rest_end(struct amp_rest *r)
{
	amp_stirred = false;
	r->on = false;
}

static inline void amp_rest_begin(struct amp_rest *r, bool silent)
{
	r->on = true;
	r->silent = silent;
	r->looks = AMP_REST_LOOKS;
}

/* Nothing is to be done now: *left_ms until there is, 0: another look before sleep will tell. */
static inline bool amp_rest_goes_on(struct amp_rest *r, uint32_t ping_ms, int32_t *left_ms)
{
	*left_ms = 0;
	if (!amp_rest_undisturbed(r))
		return false;
	if (!AMP_PORT_THREADS && amp_changed && --r->looks)
		return true;
	r->looks = AMP_REST_LOOKS;
	*left_ms = r->silent ? -1 : (int32_t)(ping_ms - amp_port_now_ms());
	return r->silent || *left_ms > 0;
}
#else
struct amp_rest {
	bool none;
};

static inline bool amp_rest_undisturbed(const struct amp_rest *r)
{
	(void)r;
	return false;
}

static inline void amp_rest_end(struct amp_rest *r)
{
	(void)r;
}

static inline void amp_rest_begin(struct amp_rest *r, bool silent)
{
	(void)r;
	(void)silent;
}

static inline bool amp_rest_goes_on(struct amp_rest *r, uint32_t ping_ms, int32_t *left_ms)
{
	(void)r;
	(void)ping_ms;
	(void)left_ms;
	return false;
}
#endif

#endif /* AMP_INET_REST_H */
