/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The usual packet, straight through (AMPSOCK_FAST): inlined where it is called for. It means
 * what vsock.c means by it, and refuses whatever is out of the ordinary.
 */
#ifndef AMP_VSOCK_FAST_H
#define AMP_VSOCK_FAST_H

#include <string.h>

#include "../virtio/vq_fast.h"
#include "vsock.h"

/*
 * Type and operation are the eighth word of a header: one look, or one store. Elsewhere they are two
 * fields of 16 bits, so this word may be an alias.
 */
#define VSOCK_TYPE_OP(type, op) ((uint32_t)(type) | (uint32_t)(op) << 16)
typedef uint32_t __attribute__((may_alias)) vsock_word;
static inline volatile vsock_word *vsock_type_op(volatile struct amp_vsock_hdr *h)
{
	return (volatile vsock_word *)h + 7;
}
_Static_assert(offsetof(struct amp_vsock_hdr, type) == 28 &&
		       offsetof(struct amp_vsock_hdr, op) == 30,
	       "vsock_type_op()");

/* The header of c's next packet. */
static inline void vsock_fill(struct amp_vsock_conn *c, volatile struct amp_vsock_hdr *h,
			      unsigned op, uint32_t len, uint32_t flags)
{
	h->src_cid = amp_vsock_cid(&c->local);
	h->dst_cid = amp_vsock_cid(&c->peer);
	h->src_port = c->local.port;
	h->dst_port = c->peer.port;
	h->len = len;
	*vsock_type_op(h) = VSOCK_TYPE_OP(c->type, op);
	h->flags = flags;
	h->buf_alloc = c->buf_alloc;
	h->fwd_cnt = c->credit.fwd_cnt;
	amp_credit_told(&c->credit);
	c->owed &= (uint8_t)~AMP_OWE_CREDIT;
}

#if AMPSOCK_FAST
/*
 * The connection of a packet that is not for vs->recent: that it is from now on, so that among
 * many connections, too, a packet goes straight through. NULL: whatever it is, it is
 * amp_vsock_run()'s affair.
 */
struct amp_vsock_conn *amp_vsock_other(struct amp_vsock *vs,
				       const volatile struct amp_vsock_hdr *h);

/* len bytes arrived, and are consumed at once. True: something may be owed for that. */
static inline bool amp_vsock_took(struct amp_vsock *vs, struct amp_vsock_conn *c, uint32_t len)
{
	amp_credit_received(&c->credit, len);
	if (amp_credit_believed(&c->credit) < c->buf_alloc / 2u) {
		c->credit.fwd_cnt += len;
		return false;
	}
	amp_vsock_consumed(vs, c, len);
	return true;
}

/*
 * Takes the next packet, if it is data in one piece for a connection where all is well, and the
 * owner takes it at once. False: it is looked at again, from its beginning, by
 * amp_vsock_run(). Here, too, a field is read once, straight out of shared memory, and compared
 * or kept. piece: as in struct amp_vsock_ops.
 */
static inline __attribute__((always_inline)) bool amp_vsock_packet_fast(
	struct amp_vsock *vs, amp_vsock_piece_fn *piece)
{
	struct amp_vsock_conn *c = vs->recent;
	const volatile struct amp_vsock_hdr *h;
	uint32_t len, fwd;
	struct ring_buf b = {.p = NULL};

	if (!piece || vs->to_do || !vs->in || !ring_peek(vs->in, AMP_VQ_IN, &b) ||
	    b.len <= AMP_VSOCK_HDR_LEN || (AMPSOCK_VQ_DEVICE && ((uintptr_t)b.p & 3)))
		return false;
	h = b.p;
	/* whole CIDs are compared, so they are good ones (5.10.4) */
	if (!c || h->src_port != c->peer.port || h->src_cid != amp_vsock_cid(&c->peer) ||
	    h->dst_port != c->local.port || h->dst_cid != amp_vsock_cid(&c->local)) {
		c = amp_vsock_other(vs, h);
		if (!c)
			return false;
	}
	len = h->len;
	if ((c->standing & AMP_VSOCK_USUAL_IN) != AMP_CONN_OPEN ||
	    *vsock_type_op(b.p) != VSOCK_TYPE_OP(c->type, AMP_VSOCK_OP_RW) ||
	    len - 1u >= b.len - AMP_VSOCK_HDR_LEN ||
	    !amp_credit_rx_ok(&c->credit, c->buf_alloc, len))
		return false;
	fwd = h->fwd_cnt;
	/* once more by amp_vsock_run() if the owner will not have it: that changes nothing */
	if (!amp_credit_peer(&c->credit, h->buf_alloc, fwd) ||
	    !piece(vs, c, (const uint8_t *)b.p + AMP_VSOCK_HDR_LEN, len, h->flags))
		return false;
	vs->stats.rx_packets++;
	ring_enter(vs->in, AMP_VQ_IN, &b, 0);
	ring_publish(vs->in, AMP_VQ_IN, b.p, b.len);
	(void)amp_vsock_took(vs, c, len);
	return true;
}

/*
 * All len bytes at data in one packet; the owner has no reservation open. False: nothing has
 * happened, amp_vsock_send() says what can. *kick: the peer wants to hear of it.
 */
static inline bool amp_vsock_send_fast(struct amp_vsock *vs, struct amp_vsock_conn *c,
				       const void *data, size_t len, uint32_t flags, bool *kick)
{
	uint32_t in_flight = c->credit.tx_cnt - c->credit.peer_fwd_cnt;
	uint32_t alloc = c->credit.peer_buf_alloc;
	struct ring_buf b = {.p = NULL};
	struct amp_vq *out = vs->out;

	if ((c->standing & AMP_VSOCK_USUAL_OUT) != AMP_CONN_OPEN || vs->to_do || !out ||
	    in_flight > alloc || len > alloc - in_flight || !ring_peek(out, AMP_VQ_OUT, &b) ||
	    b.len < AMP_VSOCK_HDR_LEN + len || (AMPSOCK_VQ_DEVICE && ((uintptr_t)b.p & 3)))
		return false;
	vsock_fill(c, b.p, AMP_VSOCK_OP_RW, (uint32_t)len, flags);
	c->credit.tx_cnt += (uint32_t)len;
	vs->stats.tx_packets++;
	ring_enter(out, AMP_VQ_OUT, &b, AMP_VSOCK_HDR_LEN + (uint32_t)len);
	memcpy((uint8_t *)b.p + AMP_VSOCK_HDR_LEN, data, len);
	ring_publish(out, AMP_VQ_OUT, b.p, AMP_VSOCK_HDR_LEN + (uint32_t)len);
	*kick = ring_kick_put(out);
	return true;
}
#else
static inline bool amp_vsock_packet_fast(struct amp_vsock *vs, amp_vsock_piece_fn *piece)
{
	(void)vs;
	(void)piece;
	return false;
}

static inline bool amp_vsock_send_fast(struct amp_vsock *vs, struct amp_vsock_conn *c,
				       const void *data, size_t len, uint32_t flags, bool *kick)
{
	(void)vs;
	(void)c;
	(void)data;
	(void)len;
	(void)flags;
	(void)kick;
	return false;
}
#endif

#endif /* AMP_VSOCK_FAST_H */
