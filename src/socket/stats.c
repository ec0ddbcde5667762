// SPDX-License-Identifier: BSD-3-Clause
/*
 * amp_stats_get(). Who does not call it has nothing of it: a runner's stats() is named weakly
 * where the runner is filled in, and linked from here.
 */
#include "ampsock.h"
#include "stack.h"
#include "../wire/le.h"

typedef void stats_fn(const struct amp_runner *r, struct amp_stats *st);

#if AMPSOCK_VSOCK
extern stats_fn amp_vlink_stats;
#endif
#if AMPSOCK_RPMSG
extern stats_fn amp_rlink_stats;
#endif

/* For the linker's eyes only, as need.h's table. */
static stats_fn *const wanted[] __attribute__((used)) = {
#if AMPSOCK_VSOCK
	amp_vlink_stats,
#endif
#if AMPSOCK_RPMSG
	amp_rlink_stats,
#endif
	0,
};

/* What nobody counted. A slot that was ever used has a type still; the lowest free one is taken first, so
 * there were never more at a time: without threads a slot is free when its socket is. */
static void count(struct amp_stats *st)
{
	for (const struct amp_sock *s = amp_socks; s < amp_socks + AMPSOCK_SOCKETS; s++) {
		st->sockets_max += s->type != 0;
		st->sockets_used += s->fam != NULL;
		st->rings_used += s->rx.buf != NULL;
	}
}

void amp_stats_get(struct amp_stats *st)
{
	struct amp_runner *r = NULL;

	amp_port_lock();
	amp_copy(st, &amp_counts, sizeof(*st));
	if (!AMP_COUNT_USE)
		count(st);
	while ((r = amp_runner_next(r)) != NULL) {
		if (r->stats)
			r->stats(r, st);
	}
	amp_port_unlock();
}
