// SPDX-License-Identifier: BSD-3-Clause
/* What a link has counted: linked with amp_stats_get(). */
#include "ampsock.h"
#include "af_vsock.h"

void amp_vlink_stats(const struct amp_runner *r, struct amp_stats *st)
{
	const struct amp_vlink *l = (const struct amp_vlink *)(const void *)r;
	const struct amp_vsock_stats *from = &l->vs.stats;

	st->rx_packets += from->rx_packets;
	st->tx_packets += from->tx_packets;
	st->rx_bad += from->rx_bad;
	st->resets += from->resets;
	for (unsigned q = 0; q < l->q_cnt; q++)
		st->kicks += l->q[q].kicks;
	if (l->up && l->q_cnt)
		st->tx_pending += (uint32_t)l->vs.out->num - amp_vq_avail(l->vs.out) +
				  (l->vs.owed_head != NULL);
}
