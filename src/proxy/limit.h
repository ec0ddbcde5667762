/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What one link may use of the host, so that a guest that goes wrong costs itself and nobody
 * else. Three are levels, taken and given back; three are rates, each a bucket of tokens that
 * holds one second's worth: a guest may use that in a burst and then the rate.
 *
 * The defaults are what no honest guest reaches, so that a link works without a word about
 * limits; a guest that is not trusted has lower ones (ampsock.conf(5)).
 *
 *	sockets      2048     as many as a select() of two sets; each is a descriptor of ours
 *	half-open    256      connects under way: what a scan, or a dead target, piles up; each
 *	                      lasts two minutes in the kernel
 *	buffered     256M     what stalled receivers have not taken: 1024 full windows
 *	connects/s   10000    more than one core of ours opens on loopback
 *	dns/s        100      the resolver is shared by all guests, and is often somebody else's
 *	datagrams/s  1000000  a send is cheaper than a name or a connect, so this is for those
 *	                      who know their guest: by default the core is the limit
 */
#ifndef AMP_PROXY_LIMIT_H
#define AMP_PROXY_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "log.h"

enum amp_limit {
	AMP_LIMIT_SOCKETS,
	AMP_LIMIT_HALF_OPEN,
	AMP_LIMIT_BUFFERED, /* bytes */
	AMP_LIMIT_CONNECTS, /* a second, from here on */
	AMP_LIMIT_DNS,
	AMP_LIMIT_DATAGRAMS,
	AMP_LIMIT_CNT
};

#define AMP_LIMIT_NONE UINT64_MAX

/* As in `limit = NAME N`. */
extern const char *const amp_limit_name[AMP_LIMIT_CNT];
extern const uint64_t amp_limit_default[AMP_LIMIT_CNT];

struct amp_limits {
	uint64_t max[AMP_LIMIT_CNT];
	uint64_t used[AMP_LIMIT_CNT];  /* levels; rates: thousandths of a token that are left */
	uint64_t at_ms[AMP_LIMIT_CNT]; /* rates: when it was filled last */
	uint64_t hits[AMP_LIMIT_CNT];  /* refusals */
	const char *link;	       /* for the log */
	struct amp_log_rate log[AMP_LIMIT_CNT];
	/* Somebody waits for one of AMP_LIMIT_SOCKETS, and who is told once when there may be one. */
	bool waited;
	void (*room)(struct amp_limits *l);
};

/* Full buckets. max and link are copied. */
void amp_limits_init(struct amp_limits *l, const uint64_t max[AMP_LIMIT_CNT], const char *link);
/* Other limits from now on: what is taken stays taken, a bucket has no more than it holds. */
void amp_limits_set(struct amp_limits *l, const uint64_t max[AMP_LIMIT_CNT]);

/* n of a level; false: that would be too many (counted and said), none is taken. */
bool amp_limit_take(struct amp_limits *l, enum amp_limit what, uint64_t n);
void amp_limit_give(struct amp_limits *l, enum amp_limit what, uint64_t n);
/* Without taking, counting, or a word. */
bool amp_limit_room(const struct amp_limits *l, enum amp_limit what, uint64_t n);
/* One more socket? No: l->room() will say when to ask again. */
bool amp_limit_await(struct amp_limits *l);
/* One of a rate, likewise. now_ms: amp_now_ms(). */
bool amp_limit_rate(struct amp_limits *l, enum amp_limit what, uint64_t now_ms);

#endif /* AMP_PROXY_LIMIT_H */
