/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The usual message of a connected socket, straight through (AMPSOCK_FAST): inlined where it
 * is called for. It means what rpmsg.c, rpmsg_raw.c and rpmsg_stream.c mean by it, and refuses
 * whatever is out of the ordinary; then nothing has happened, and they look at it from its
 * beginning.
 */
#ifndef AMP_RPMSG_FAST_H
#define AMP_RPMSG_FAST_H

#include <string.h>

#include "../virtio/vq_fast.h"
#include "../wire/le.h"
#include "af_rpmsg.h"
#include "rpmsg_stream_inner.h"

#if AMPSOCK_RPMSG
#if AMPSOCK_FAST

/* As it lies in a ring. */
#define RFAST_HDR(field) offsetof(struct amp_rpmsg_hdr, field)

/* Of what AMP_VSOCK_USUAL_OUT asks all but the way that packets take: this is it. */
#define RFAST_USUAL_OUT (AMP_VSOCK_USUAL_OUT & 0x7fffffffu)

/* Nobody waits for a buffer to send in, nor is anything to be sent first. */
static inline bool rfast_calm(const struct amp_rlink *l)
{
	uintptr_t owed = (uintptr_t)l->bus.owed_head | (uintptr_t)l->rs.vs.owed_head;

	return !(owed | l->rs.vs.to_do | l->rs.stray_cnt | l->bus.tx_starved);
}

/* Buffers of a queue went to the peer, who wants to hear of it. */
static inline void rfast_kick(struct amp_rlink *l, struct amp_vq *vq, unsigned bit)
{
	if (!ring_kick_due(vq))
		return;
	l->l.runner.bits |= bit;
	amp_runner_list(&l->l.runner);
}

/* All of m, which is plain, in one message. */
static inline __attribute__((always_inline)) bool amp_rlink_send_fast(struct amp_sock *s,
								      const struct amp_msg *m)
{
	uint32_t len = AMP_RPMSG_HDR_LEN + (uint32_t)m->len, src, dst;
	bool stream = s->type == SOCK_STREAM;
	struct amp_vsock_conn *c = conn_of(s);
	struct ring_buf b = {.p = NULL};
	struct amp_rlink *l;
	struct amp_vq *out;
	uint8_t *to;

	if ((s->flags & SEND_FLAGS) != AMP_SF_CONNECTED || s->type == SOCK_DGRAM ||
	    m->len > UINT16_MAX - AMP_RSTREAM_HDR_LEN)
		return false;
	l = amp_rsock_link(s);
	out = l->bus.out;
	if (stream) {
		uint32_t in_flight = c->credit.tx_cnt - c->credit.peer_fwd_cnt;
		uint32_t alloc = c->credit.peer_buf_alloc;

		if ((c->standing & RFAST_USUAL_OUT) != AMP_CONN_OPEN || in_flight > alloc ||
		    m->len > alloc - in_flight)
			return false;
		len += AMP_RSTREAM_HDR_LEN;
		src = c->local.port;
		dst = c->peer.port;
	} else {
		src = amp_rsock(s)->ept[amp_rlink_index(l)].addr;
		dst = amp_rsock(s)->peer;
	}
	if (!out || !rfast_calm(l) || !ring_peek(out, AMP_VQ_OUT, &b) || b.len < len)
		return false;
	to = b.p;
	amp_put_le32(to + RFAST_HDR(src), src);
	amp_put_le32(to + RFAST_HDR(dst), dst);
	amp_put_le32(to + RFAST_HDR(reserved), 0);
	amp_put_le32(to + RFAST_HDR(len), len - AMP_RPMSG_HDR_LEN); /* flags: 0 */
	to += AMP_RPMSG_HDR_LEN;
	if (stream) {
		amp_put_le32(
			to, AMP_RSTREAM_WORD(AMP_RSTREAM_DATA, 0, amp_rstream_conn(c)->tx_tag));
		amp_put_le32(to + offsetof(struct amp_rstream_hdr, fwd_cnt), c->credit.fwd_cnt);
		to += AMP_RSTREAM_HDR_LEN;
		amp_vsock_told(c);
		c->credit.tx_cnt += (uint32_t)m->len;
		l->rs.vs.stats.tx_packets++;
	}
	memcpy(to, m->plain, m->len);
	if (ring_device(out)) /* a driver's queue does that itself */
		amp_port_cache_clean(b.p, len);
	l->bus.stats.tx_messages++;
	ring_pass(out, AMP_VQ_OUT, &b, len);
	rfast_kick(l, out, AMP_RLINK_OUT);
	return true;
}

/* To somebody who waits for a message, and nothing older is held for him. */
static inline bool rfast_raw_in(const struct amp_rlink *l, struct amp_sock *s, uint32_t src,
				const uint8_t *data, uint32_t len)
{
	struct amp_rx_want *w;
	size_t n;

	if (s->type != SOCK_SEQPACKET)
		return false;
	if (s->flags & AMP_SF_LISTEN) { /* a child that is there already */
		s = amp_rsock(s)->recent;
		if (!s)
			return false;
	}
	w = amp_sock_want(s);
	if ((s->flags & (AMP_SF_CONNECTED | AMP_SF_RD_SHUT)) != AMP_SF_CONNECTED ||
	    amp_rsock_elsewhere(s, l) || amp_rsock(s)->peer != src || amp_rsock(s)->held_cnt ||
	    !w || w->full || !len)
		return false;
	n = (size_t)(w->end - w->to);
	if (n > len)
		n = len;
	memcpy(w->to, data, n);
	w->to += n;
	w->full = len;
	w->eor = false;
	return true;
}

/* Data on a connection that is open, to somebody who waits for it. */
static inline bool rfast_stream_in(struct amp_rlink *l, struct amp_rstream_conn *rc,
				   uint32_t src, const uint8_t *data, uint32_t len)
{
	struct amp_vsock_conn *c = &rc->c;
	uint32_t word, fwd;

	if ((c->standing & AMP_VSOCK_USUAL_IN) != AMP_CONN_OPEN || src != c->peer.port ||
	    len <= AMP_RSTREAM_HDR_LEN)
		return false;
	word = amp_le32(data);
	fwd = amp_le32(data + offsetof(struct amp_rstream_hdr, fwd_cnt));
	amp_rstream_read();
	len -= AMP_RSTREAM_HDR_LEN;
	if (word != AMP_RSTREAM_WORD(AMP_RSTREAM_DATA, 0, rc->rx_tag) ||
	    !amp_credit_rx_ok(&c->credit, c->buf_alloc, len) ||
	    /* once more by amp_vsock_input_for() if nobody waits: that changes nothing */
	    !amp_credit_peer(&c->credit, c->credit.peer_buf_alloc, fwd) ||
	    !amp_vlink_piece(&l->rs.vs, c, data + AMP_RSTREAM_HDR_LEN, len, 0))
		return false;
	l->rs.vs.stats.rx_packets++;
	amp_credit_received(&c->credit, len);
	if (amp_credit_believed(&c->credit) < c->buf_alloc / 2u)
		c->credit.fwd_cnt += len;
	else
		amp_vsock_consumed(&l->rs.vs, c, len);
	return true;
}

/*
 * Takes the next message, if all of it goes to a caller who waits. False: it is looked at by
 * amp_rpmsg_run(). Here, too, a field is read once, and the copy is checked. l->rs.vs.enough: the
 * caller has all that he wanted.
 */
static inline __attribute__((always_inline)) bool amp_rlink_message_fast(struct amp_rlink *l)
{
	struct amp_rpmsg *bus = &l->bus;
	struct amp_vq *in = bus->in;
	struct ring_buf b = {.p = NULL};
	struct amp_rpmsg_ept *ept;
	uint32_t src, dst, len;
	const uint8_t *data;

	if (!in || !ring_peek(in, AMP_VQ_IN, &b) || b.len < AMP_RPMSG_HDR_LEN)
		return false;
	data = b.p;
	src = amp_le32(data + RFAST_HDR(src));
	dst = amp_le32(data + RFAST_HDR(dst));
	len = amp_le16(data + RFAST_HDR(len));
	amp_rstream_read();
	if (len > b.len - AMP_RPMSG_HDR_LEN)
		return false;
	for (ept = bus->hash[dst & (AMPSOCK_HASH - 1u)]; ept && ept->addr != dst;)
		ept = ept->hash_next;
	if (!ept)
		return false;
	data += AMP_RPMSG_HDR_LEN;
	if (ept->kind == AMP_REPT_BOUND) {
		if (!rfast_raw_in(l, amp_rsock_of(l, ept), src, data, len))
			return false;
		l->rs.vs.enough = true;
	} else if (ept->kind != AMP_REPT_CONN ||
		   !rfast_stream_in(l, amp_rstream_of(ept), src, data, len)) {
		return false;
	}
	amp_changed = true;
	bus->stats.rx_messages++;
	/* its whole length: OpenAMP takes that for the room in it (amp_rpmsg_release()) */
	ring_pass(in, AMP_VQ_IN, &b, b.len);
	return true;
}

/*
 * The usual turn, which is one message: the caller has what he waited for. As in
 * amp_rlink_turn() buffers that went back are no news while the peer has enough. 0: it is not
 * over; 1: nor is it, but a message was taken; 2: it is.
 */
static inline __attribute__((always_inline)) int amp_rlink_turn_fast(struct amp_rlink *l)
{
	struct amp_vq *in = l->bus.in;

	if (!rfast_calm(l) || !amp_rlink_message_fast(l))
		return 0;
	if (in->armed)
		amp_vq_disarm(in);
	if (amp_rlink_many_back(l, 0)) { /* and now and then the time is looked at */
		rfast_kick(l, in, AMP_RLINK_IN);
		return 1;
	}
	return l->rs.vs.enough && !l->rs.vs.owed_head ? 2 : 1;
}

#else

static inline bool amp_rlink_send_fast(struct amp_sock *s, const struct amp_msg *m)
{
	(void)s;
	(void)m;
	return false;
}

static inline int amp_rlink_turn_fast(struct amp_rlink *l)
{
	(void)l;
	return 0;
}

#endif
#endif /* AMPSOCK_RPMSG */
#endif /* AMP_RPMSG_FAST_H */
