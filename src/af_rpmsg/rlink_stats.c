// SPDX-License-Identifier: BSD-3-Clause
/* What a link has counted: linked with amp_stats_get(). */
#include "ampsock.h"
#include "af_rpmsg.h"

#if AMPSOCK_RPMSG

void amp_rlink_stats(const struct amp_runner *r, struct amp_stats *st)
{
	const struct amp_rlink *l = amp_rlink_of((struct amp_runner *)(uintptr_t)r);
	uint16_t avail;

	st->rx_packets += l->bus.stats.rx_messages;
	st->tx_packets += l->bus.stats.tx_messages;
	st->rx_bad += l->bus.stats.rx_bad + l->rs.vs.stats.rx_bad;
	st->resets += l->rs.vs.stats.resets;
	st->dgram_drops += l->bus.stats.rx_nobody;
	if (!amp_rlink_is_up(l))
		return;
	avail = amp_vq_avail(l->bus.out);
	st->kicks += l->bus.in->kicks + l->bus.out->kicks;
	st->tx_pending += (l->out_cnt > avail ? (uint32_t)(l->out_cnt - avail) : 0) +
			  (l->rs.vs.owed_head != NULL) + l->bus.owed;
}

#endif /* AMPSOCK_RPMSG */
