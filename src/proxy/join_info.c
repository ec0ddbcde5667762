// SPDX-License-Identifier: BSD-3-Clause
/*
 * What there is to see of connections between joined guests (control_show.c). Each is shown with
 * both of its links, from that link's side: its own guest is "the guest", the other one stands
 * where otherwise the host does.
 */
#include <stdio.h>

#include "join_inner.h"

/* The first way of vl whose join has a number of at least num: they lie in that order. */
static const struct amp_join_way *way_from(const struct amp_vlink *vl, uint32_t num)
{
	const struct amp_join_way *w;

	TAILQ_FOREACH(w, &vl->joined, joined_entry)
	{
		if (w->join->num >= num)
			break;
	}
	return w;
}

/* What each side will send no more, seen from side `me`. */
static const char *state_of(const struct amp_join_pair *p, unsigned me)
{
	bool guest = p->end[me].shut & AMP_VSOCK_SHUTDOWN_SEND;
	bool host = p->end[!me].shut & AMP_VSOCK_SHUTDOWN_SEND;

	if (!p->open)
		return "connecting";
	if (guest && host)
		return "closing";
	return guest ? "guest-shut" : host ? "host-shut" : "established";
}

static void fill(const struct amp_join_way *w, const struct amp_join_pair *p,
		 struct amp_sock_info *info)
{
	unsigned me = w->side;
	const struct amp_join_end *guest = &p->end[me], *host = &p->end[!me];
	uint32_t to_read = host->sent - guest->fwd; /* by our guest */

	info->kind = "join";
	info->state = state_of(p, me);
	info->ring = info->joined = true;
	info->message = p->type == AMP_VSOCK_SEQPACKET;
	snprintf(info->guest_peer, AMP_INFO_ADDR, "vsock:%u:%u", w->from->link.conf->cid,
		 p->port[me]);
	snprintf(info->guest_local, AMP_INFO_ADDR, "vsock:%u:%u", w->to->link.conf->cid,
		 p->port[!me]);
	info->rx_bytes = guest->total;
	info->tx_bytes = host->total;
	info->held_len = guest->sent - host->fwd;
	info->credit_len = guest->alloc - to_read;
	info->window_len = host->alloc - info->held_len;
}

bool amp_join_next(struct amp_link *link, uint64_t *at, uint32_t *join, const void **hint,
		   struct amp_sock_info *info)
{
	const struct amp_vlink *vl = amp_container_of(link, struct amp_vlink, link);
	const struct amp_join_way *w = way_from(vl, *join);
	const struct amp_join_pair *p = *hint;

	for (; w; w = TAILQ_NEXT(w, joined_entry)) {
		if (w->join->num != *join)
			*at = 0;
		*join = w->join->num;
		p = p ? TAILQ_NEXT(p, entry) : TAILQ_FIRST(&w->join->pairs);
		while (p && p->num[w->side] <= *at)
			p = TAILQ_NEXT(p, entry);
		if (p)
			break;
	}
	*hint = p;
	if (!p)
		return false;
	*at = p->num[w->side];
	fill(w, p, info);
	return true;
}
