// SPDX-License-Identifier: BSD-3-Clause
/* What there is to see of a ring end (ampsockctl sockets). */
#include <stdio.h>

#include "vlink.h"

static const char *state_of(const struct amp_end_vsock *e)
{
	if (e->let_go)
		return "closing";
	if (e->c.state == AMP_CONN_CONNECTING || e->c.state == AMP_CONN_REQUESTED)
		return "connecting";
	return e->gone || e->c.state != AMP_CONN_OPEN ? "closing" : "established";
}

void amp_end_vsock_info(const struct amp_end *end, struct amp_sock_info *info)
{
	const struct amp_end_vsock *e =
		(const void *)((const char *)end - offsetof(struct amp_end_vsock, end));
	const struct amp_credit *c = &e->c.credit;
	uint32_t held = c->rx_cnt - c->fwd_cnt;

	info->ring = true;
	info->message = end->message;
	info->state = state_of(e);
	if (e->c.loop) {
		snprintf(info->guest_peer, AMP_INFO_ADDR, "rpmsg:@%u", e->c.peer.port);
		snprintf(info->guest_local, AMP_INFO_ADDR, "rpmsg:@%u", e->c.local.port);
	} else {
		snprintf(info->guest_peer, AMP_INFO_ADDR, "vsock:%u:%u", e->c.peer.cid,
			 e->c.peer.port);
		snprintf(info->guest_local, AMP_INFO_ADDR, "vsock:%u:%u", e->c.local.cid,
			 e->c.local.port);
	}
	info->rx_bytes = e->rx_bytes;
	info->tx_bytes = e->tx_bytes;
	info->stalls = e->stalls;
	info->credit_len = amp_credit_tx_space(c);
	info->window_len = held < e->c.buf_alloc ? e->c.buf_alloc - held : 0;
	info->held_len = e->buf.len;
}
