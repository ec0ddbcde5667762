// SPDX-License-Identifier: BSD-3-Clause
/*
 * CID 1: connections within one engine (vsock.c). There is no queue: reserve gives out one
 * static buffer, commit hands it to the other end's hook in the same call, and control
 * packets go straight in when the owed list is served. The addresses are checked by nobody,
 * for they come from our own structs.
 */
#define AMP_XPORT_LOOP
#include "vsock_inner.h"

bool amp_vsock_loop_send(struct amp_vsock *vs, struct amp_vsock_conn *c, uint16_t op,
			 uint32_t flags)
{
	struct amp_vsock_rx none = {.iov = NULL};
	struct amp_vsock_hdr h;

	amp_vsock_fill_header(c, &h, op, 0, flags);
	amp_vsock_input(vs, &h, &none);
	return true;
}

/* The other end is here, and hears of it at once. */
void amp_vsock_loop_stray(struct amp_vsock *vs, const struct amp_vsock_ends *ends,
			  unsigned type)
{
	struct amp_vsock_ends turned = {ends->peer, ends->local};
	struct amp_vsock_conn *c = amp_vsock_find(vs, &turned, type);

	if (c)
		amp_vsock_in_rst(vs, c);
}

int amp_vsock_loop_reserve(struct amp_vsock *vs, struct amp_vsock_conn *c,
			   struct amp_vsock_tx *tx)
{
	(void)c;
	if (vs->loop_busy)
		return 0;
	vs->loop_busy = true;
	tx->iov[0].base = vs->loop_buf;
	tx->iov[0].len = vs->loop_len;
	tx->iov_cnt = 1;
	tx->room = vs->loop_len;
	return 1;
}

void amp_vsock_loop_commit(struct amp_vsock *vs, struct amp_vsock_conn *c,
			   struct amp_vsock_tx *tx, uint32_t len, uint32_t flags)
{
	struct amp_vsock_rx rx = {.iov = tx->iov, .iov_cnt = 1, .len = len, .flags = flags};
	struct amp_vsock_hdr h;

	amp_vsock_fill_header(c, &h, AMP_VSOCK_OP_RW, len, flags);
	tx->iov[0].len = len;
	amp_vsock_input(vs, &h, &rx);
	vs->loop_busy = false;
}

void amp_vsock_loop_cancel(struct amp_vsock *vs, struct amp_vsock_tx *tx)
{
	(void)tx;
	vs->loop_busy = false;
}

bool amp_vsock_loop_ready(const struct amp_vsock *vs)
{
	return !vs->loop_busy;
}

const struct amp_vsock_path amp_vsock_loop = {
	.stays = true,
	.send = amp_vsock_loop_send,
	.stray = amp_vsock_loop_stray,
	.reserve = amp_vsock_loop_reserve,
	.commit = amp_vsock_loop_commit,
	.cancel = amp_vsock_loop_cancel,
	.ready = amp_vsock_loop_ready,
};
