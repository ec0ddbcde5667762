// SPDX-License-Identifier: BSD-3-Clause
/*
 * CID 1: connections within one engine (vsock.c). There is no queue: data goes from the
 * sender's memory to the other end's hook in the call that sends it (or by way of one static
 * buffer, which reserve gives out and commit hands over), and control packets go straight in
 * when the owed list is served. The addresses are checked by nobody, for they come from our own
 * structs. The header of a packet is what it means while it is taken in, so there is one.
 */
#include <string.h>

#define AMP_XPORT_LOOP
#include "vsock_inner.h"

/* c's next packet, whose operation and flags are set, to where it goes: to somebody, to who may be
 * asked, or it is refused. */
static void deliver(struct amp_vsock *vs, struct amp_vsock_conn *c, struct amp_vsock_rx *rx)
{
	const struct amp_vsock_ends turned = {c->peer, c->local};
	struct amp_vsock_conn *to = amp_vsock_find(vs, &turned, c->type);
	struct amp_vsock_hdr *h = vs->loop_buf;
	struct amp_vsock_say say;

	h->type = c->type;
	h->buf_alloc = c->buf_alloc;
	h->fwd_cnt = c->credit.fwd_cnt;
	amp_vsock_told(c);
	if (OWNERS) /* whose hook may send, before all of it has been looked at; the library's do not */
		say = h->say;
	if (to)
		amp_vsock_input_for(vs, to, OWNERS ? &say : &h->say, rx);
	else if (h->op != AMP_VSOCK_OP_RST && !asked(vs, h, &turned))
		amp_vsock_in_rst(vs, c);
}

static void set_op(struct amp_vsock *vs, uint16_t op, uint32_t flags)
{
	struct amp_vsock_hdr *h = vs->loop_buf;

	h->op = op;
	h->flags = flags;
}

bool amp_vsock_loop_send(struct amp_vsock *vs, struct amp_vsock_conn *c, uint16_t op,
			 uint32_t flags)
{
	set_op(vs, op, flags);
	deliver(vs, c, NULL);
	return true;
}

/* Data, len bytes of what lies at piece. */
static void deliver_data(struct amp_vsock *vs, struct amp_vsock_conn *c, struct amp_iov *piece,
			 uint32_t len, uint32_t flags)
{
	struct amp_vsock_rx rx;

	piece->len = len;
	rx.iov = piece;
	rx.len = len;
	rx.flags = flags;
	if (OWNERS) {
		rx.iov_cnt = 1;
		rx.held = false;
	}
	set_op(vs, AMP_VSOCK_OP_RW, flags);
	deliver(vs, c, &rx);
}

int amp_vsock_loop_data(struct amp_vsock *vs, struct amp_vsock_conn *c,
			struct amp_vsock_load *load)
{
	const struct amp_iov *at = load->iov;
	size_t off = load->off, len;
	struct amp_iov piece;
	int r = amp_vsock_may_reserve(vs, c, load->len, load->least);

	if (r <= 0)
		return r;
	/* by copy: it is the caller's type, another one in name */
	for (memcpy(&piece, at, sizeof(piece)); off >= piece.len;
	     memcpy(&piece, ++at, sizeof(piece)))
		off -= piece.len;
	piece.base = (uint8_t *)piece.base + off;
	len = piece.len - off;
	if (len > (size_t)r)
		len = (size_t)r;
	c->credit.tx_cnt += (uint32_t)len;
	deliver_data(vs, c, &piece, (uint32_t)len, len == load->len ? load->flags : 0);
	return (int)len;
}

int amp_vsock_loop_reserve(struct amp_vsock *vs, struct amp_vsock_conn *c,
			   struct amp_vsock_tx *tx)
{
	(void)c;
	if (vs->loop_busy)
		return 0;
	vs->loop_busy = true;
	tx->iov[0].base = (uint8_t *)vs->loop_buf + AMP_VSOCK_HDR_LEN;
	tx->iov[0].len = tx->len = vs->loop_len;
	tx->iov_cnt = 1;
	return 1;
}

void amp_vsock_loop_commit(struct amp_vsock *vs, struct amp_vsock_conn *c,
			   struct amp_vsock_tx *tx, uint32_t len, uint32_t flags)
{
	deliver_data(vs, c, tx->iov, len, flags);
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
	.reserve = amp_vsock_loop_reserve,
	.commit = amp_vsock_loop_commit,
	.cancel = amp_vsock_loop_cancel,
	.ready = amp_vsock_loop_ready,
};
