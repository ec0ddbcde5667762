// SPDX-License-Identifier: BSD-3-Clause
/* Levels and buckets: limit.h. */
#include <inttypes.h>
#include <string.h>

#include "limit.h"

#define TOKEN 1000u /* thousandths, so that a millisecond of a rate of one is not lost */

const char *const amp_limit_name[AMP_LIMIT_CNT] = {
	"sockets", "half-open", "buffered", "connects/s", "dns/s", "datagrams/s",
};

const uint64_t amp_limit_default[AMP_LIMIT_CNT] = {
	2048, 256, 256u << 20, 10000, 100, 1000000,
};

static bool is_rate(unsigned what)
{
	return what >= AMP_LIMIT_CONNECTS;
}

/* What a bucket holds: a second's worth. The configuration keeps max below 2^53. */
static uint64_t depth(const struct amp_limits *l, unsigned what)
{
	return l->max[what] == AMP_LIMIT_NONE ? 0 : l->max[what] * TOKEN;
}

void amp_limits_init(struct amp_limits *l, const uint64_t max[AMP_LIMIT_CNT], const char *link)
{
	memset(l, 0, sizeof(*l));
	l->link = link;
	memcpy(l->max, max, sizeof(l->max));
	for (unsigned i = AMP_LIMIT_CONNECTS; i < AMP_LIMIT_CNT; i++)
		l->used[i] = depth(l, i);
}

/* There may be room for a socket now. */
static void tell(struct amp_limits *l)
{
	if (!l->waited || !amp_limit_room(l, AMP_LIMIT_SOCKETS, 1))
		return;
	l->waited = false;
	l->room(l);
}

void amp_limits_set(struct amp_limits *l, const uint64_t max[AMP_LIMIT_CNT])
{
	for (unsigned i = 0; i < AMP_LIMIT_CNT; i++) {
		bool changed = l->max[i] != max[i];

		l->max[i] = max[i];
		/* full, as at the start: a bucket is a second's, and a reload is rare */
		if (changed && is_rate(i))
			l->used[i] = depth(l, i);
	}
	tell(l);
}

static bool hit(struct amp_limits *l, enum amp_limit what)
{
	l->hits[what]++;
	amp_log_some(&l->log[what], AMP_LOG_WARN,
		     "link %s: limit %s %" PRIu64 " reached: the guest is refused", l->link,
		     amp_limit_name[what], l->max[what]);
	return false;
}

bool amp_limit_room(const struct amp_limits *l, enum amp_limit what, uint64_t n)
{
	return l->used[what] <= l->max[what] && n <= l->max[what] - l->used[what];
}

bool amp_limit_take(struct amp_limits *l, enum amp_limit what, uint64_t n)
{
	if (!amp_limit_room(l, what, n))
		return hit(l, what);
	l->used[what] += n;
	return true;
}

void amp_limit_give(struct amp_limits *l, enum amp_limit what, uint64_t n)
{
	l->used[what] -= n;
	if (what == AMP_LIMIT_SOCKETS)
		tell(l);
}

bool amp_limit_await(struct amp_limits *l)
{
	bool room = amp_limit_room(l, AMP_LIMIT_SOCKETS, 1);

	l->waited |= !room && l->room;
	return room;
}

bool amp_limit_rate(struct amp_limits *l, enum amp_limit what, uint64_t now_ms)
{
	uint64_t full = depth(l, what), since = now_ms - l->at_ms[what];

	if (l->max[what] == AMP_LIMIT_NONE)
		return true;
	/* a second fills it, however long it was; and a clock that went back fills nothing */
	if (now_ms < l->at_ms[what])
		since = 0;
	if (since >= TOKEN || since * l->max[what] >= full - l->used[what])
		l->used[what] = full;
	else
		l->used[what] += since * l->max[what];
	l->at_ms[what] = now_ms;
	if (l->used[what] < TOKEN)
		return hit(l, what);
	l->used[what] -= TOKEN;
	return true;
}
