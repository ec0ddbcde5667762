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

/* c's other end; NULL: there is none. */
static __attribute__((noinline)) struct amp_vsock_conn *other_end(
	const struct amp_vsock *vs, const struct amp_vsock_conn *c)
{
	const struct amp_vsock_ends turned = {c->peer, c->local};

	return amp_vsock_find(vs, &turned, c->type);
}

/* c's REQUEST, to a port that is no connection's yet: has the owner taken it? */
static __attribute__((noinline)) bool taken(struct amp_vsock *vs,
					    const struct amp_vsock_conn *c)
{
	const struct amp_vsock_ends turned = {c->peer, c->local};

	return asked(vs, vs->loop_buf, &turned);
}

/* The next packet of c, to where it goes: to somebody, to who may be asked, or it is refused. */
static void deliver(struct amp_vsock *vs, struct amp_vsock_conn *c, uint16_t op, uint32_t flags,
		    struct amp_vsock_rx *rx)
{
	struct amp_vsock_conn *to = other_end(vs, c);
	struct amp_vsock_hdr *h = vs->loop_buf;
	struct amp_vsock_say say;

	amp_vsock_fill_header(c, h, op, rx ? rx->len : 0, flags);
	if (OWNERS) /* whose hook may send, before all of it has been looked at; the library's do not */
		say = h->say;
	if (to)
		amp_vsock_input_for(vs, to, OWNERS ? &say : &h->say, rx);
	else if (op != AMP_VSOCK_OP_RST && !taken(vs, c))
		amp_vsock_in_rst(vs, c);
}

bool amp_vsock_loop_send(struct amp_vsock *vs, struct amp_vsock_conn *c, uint16_t op,
			 uint32_t flags)
{
	deliver(vs, c, op, flags, NULL);
	return true;
}

int amp_vsock_loop_data(struct amp_vsock *vs, struct amp_vsock_conn *c,
			struct amp_vsock_load *load)
{
	const struct amp_iov *at = load->iov;
	size_t off = load->off;
	struct amp_vsock_rx rx = {.iov_cnt = 1};
	struct amp_iov piece;
	int r = amp_vsock_may_reserve(vs, c, load->len, load->least);

	if (r <= 0)
		return r;
	/* by copy: it is the caller's type, another one in name */
	for (memcpy(&piece, at, sizeof(piece)); off >= piece.len;
	     memcpy(&piece, ++at, sizeof(piece)))
		off -= piece.len;
	piece.base = (uint8_t *)piece.base + off;
	piece.len -= off;
	if (piece.len > (size_t)r)
		piece.len = (size_t)r;
	rx.iov = &piece;
	rx.len = (uint32_t)piece.len;
	if (rx.len == load->len)
		rx.flags = load->flags;
	c->credit.tx_cnt += rx.len;
	deliver(vs, c, AMP_VSOCK_OP_RW, rx.flags, &rx);
	return (int)rx.len;
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
	struct amp_vsock_rx rx = {.iov = tx->iov, .iov_cnt = 1, .len = len, .flags = flags};

	tx->iov[0].len = len;
	deliver(vs, c, AMP_VSOCK_OP_RW, flags, &rx);
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
