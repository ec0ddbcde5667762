// SPDX-License-Identifier: BSD-3-Clause
/*
 * The usual message of a connected socket, straight through (AMPSOCK_FAST): the family's
 * send_fast and recv_fast. It means what rpmsg.c, rpmsg_raw.c and rpmsg_stream.c mean by it, and
 * refuses whatever is out of the ordinary; then nothing has happened, and they look at it from
 * its beginning.
 *
 * A message is received for who asks, and waits: it is his when it comes next, and the ends in
 * its header are the two that his connection has. No table is looked at for that.
 */
#include <string.h>

#include "../virtio/vq_fast.h"
#include "../wire/le.h"
#include "af_rpmsg.h"
#include "rpmsg_stream_inner.h"

#if AMPSOCK_RPMSG && AMPSOCK_FAST

/* As it lies in a ring. */
#define RFAST_HDR(field) offsetof(struct amp_rpmsg_hdr, field)

/* Of what AMP_VSOCK_USUAL_OUT asks all but the way that packets take: this is it. */
#define RFAST_USUAL_OUT (AMP_VSOCK_USUAL_OUT & 0x7fffffffu)

/* Nobody waits for a buffer to send in: what is owed found some, or goes out with this call. */
static inline bool rfast_calm(const struct amp_rlink *l)
{
	return !(l->rs.vs.to_do | l->rs.stray_cnt | l->bus.tx_starved);
}

/*
 * A message of all bytes, its header included, from src to dst: where its payload is to be written,
 * NULL: no. Then rfast_sent().
 */
static inline __attribute__((always_inline)) uint8_t *rfast_begin(struct amp_rlink *l,
								  uint32_t src, uint32_t dst,
								  uint32_t all)
{
	struct amp_vq *out = l->bus.out;
	struct ring_buf b = {.p = NULL};
	uint8_t *to;

	if (!out || !rfast_calm(l) || !ring_peek(out, AMP_VQ_OUT, &b) || b.len < all)
		return NULL;
	ring_enter(out, AMP_VQ_OUT, &b, all);
	l->bus.stats.tx_messages++;
	to = b.p;
	amp_put_le32(to + RFAST_HDR(src), src);
	amp_put_le32(to + RFAST_HDR(dst), dst);
	amp_put_le32(to + RFAST_HDR(reserved), 0);
	amp_put_le32(to + RFAST_HDR(len), all - AMP_RPMSG_HDR_LEN); /* flags: 0 */
	return to + AMP_RPMSG_HDR_LEN;
}

/* Its all bytes are written. */
static inline void rfast_sent(struct amp_rlink *l, const uint8_t *payload, uint32_t all)
{
	struct amp_vq *out = l->bus.out;

	ring_publish(out, AMP_VQ_OUT, payload - AMP_RPMSG_HDR_LEN, all);
	if (ring_kick_put(out))
		amp_runner_kick(&l->l.runner, AMP_RLINK_OUT);
}

/* The four ways are each by themselves: none saves another's registers. */
#define RFAST_OUTLINE __attribute__((noinline))

static RFAST_OUTLINE bool send_raw(struct amp_sock *s, const void *data, size_t len)
{
	uint32_t all = AMP_RPMSG_HDR_LEN + (uint32_t)len;
	struct amp_rlink *l;
	uint8_t *to;

	if ((s->flags & SEND_FLAGS) != AMP_SF_CONNECTED || len > UINT16_MAX)
		return false;
	l = amp_rsock_link(s);
	to = rfast_begin(l, amp_rsock(s)->end[amp_rlink_index(l)].ept.addr, amp_rsock(s)->peer,
			 all);
	if (!to)
		return false;
	memcpy(to, data, len);
	rfast_sent(l, to, all);
	return true;
}

static RFAST_OUTLINE bool send_stream(struct amp_sock *s, const void *data, size_t len)
{
	uint32_t all = AMP_RPMSG_HDR_LEN + AMP_RSTREAM_HDR_LEN + (uint32_t)len;
	struct amp_vsock_conn *c = conn_of(s);
	uint32_t in_flight = c->credit.tx_cnt - c->credit.peer_fwd_cnt;
	uint32_t alloc = c->credit.peer_buf_alloc;
	struct amp_rlink *l;
	uint8_t *to;

	if ((s->flags & SEND_FLAGS) != AMP_SF_CONNECTED ||
	    len > UINT16_MAX - AMP_RSTREAM_HDR_LEN ||
	    (c->standing & RFAST_USUAL_OUT) != AMP_CONN_OPEN || in_flight > alloc ||
	    len > alloc - in_flight)
		return false;
	l = amp_rsock_link(s);
	to = rfast_begin(l, c->local.port, c->peer.port, all);
	if (!to)
		return false;
	amp_put_le32(to, AMP_RSTREAM_WORD(AMP_RSTREAM_DATA, 0, amp_rstream_conn(c)->tx_tag));
	amp_put_le32(to + offsetof(struct amp_rstream_hdr, fwd_cnt), c->credit.fwd_cnt);
	amp_vsock_told(c);
	c->credit.tx_cnt += (uint32_t)len;
	amp_rstream_count(&l->rs.vs.stats.tx_packets);
	memcpy(to + AMP_RSTREAM_HDR_LEN, data, len);
	rfast_sent(l, to, all);
	return true;
}

/* The next message's header, checked, and where its payload lies; the buffer b is still the
 * ring's. False: none, or it is for amp_rpmsg_run(). */
struct rfast_msg {
	uint32_t src, dst, len;
	const uint8_t *data;
	struct ring_buf b;
};

static inline __attribute__((always_inline)) bool rfast_peek(struct amp_vq *in,
							     struct rfast_msg *m)
{
	m->b = (struct ring_buf){.p = NULL};
	if (!in || !ring_peek(in, AMP_VQ_IN, &m->b) || m->b.len < AMP_RPMSG_HDR_LEN)
		return false;
	m->data = m->b.p;
	m->src = amp_le32(m->data + RFAST_HDR(src));
	m->dst = amp_le32(m->data + RFAST_HDR(dst));
	m->len = amp_le16(m->data + RFAST_HDR(len));
	amp_rstream_read(); /* from here on the copies only */
	m->data += AMP_RPMSG_HDR_LEN;
	return m->len <= m->b.len - AMP_RPMSG_HDR_LEN;
}

/* All of m that is wanted, or fits, goes to the caller: n bytes at from. */
static inline void rfast_take(struct amp_rlink *l, struct rfast_msg *m, struct amp_rx_want *w,
			      const uint8_t *from, size_t n)
{
	struct amp_vq *in = l->bus.in;
	uint8_t *to = w->to;

	w->to = to + n;
	amp_took();
	l->in_left--;
	l->bus.stats.rx_messages++;
	if (in->armed) {
		ring_disarm(in);
		amp_wake_all(); /* who sleeps arms it anew */
	}
	/* its whole length: OpenAMP takes that for the room in it (amp_rpmsg_release()) */
	ring_enter(in, AMP_VQ_IN, &m->b, m->b.len);
	memcpy(to, from, n);
	ring_publish(in, AMP_VQ_IN, m->b.p, m->b.len);
}

/* A whole message for s, which waits. */
static RFAST_OUTLINE void recv_raw(struct amp_sock *s, struct amp_rx_want *w)
{
	const struct amp_rsock *p = amp_rsock(s);
	struct amp_rlink *l;
	struct rfast_msg m;
	size_t n;

	if ((s->flags & (AMP_SF_CONNECTED | AMP_SF_RD_SHUT | AMP_SF_EOF)) != AMP_SF_CONNECTED ||
	    s->rx.head != s->rx.tail)
		return;
	l = amp_rsock_link(s);
	if (!l->in_left || !rfast_peek(l->bus.in, &m) ||
	    m.dst != p->end[amp_rlink_index(l)].ept.addr || m.src != p->peer || !m.len)
		return;
	n = (size_t)(w->end - w->to);
	if (n > m.len)
		n = m.len;
	rfast_take(l, &m, w, m.data, n);
}

/* Data on a connection that is open, all of it for s, which waits: as much as has come. */
static RFAST_OUTLINE void recv_stream(struct amp_sock *s, struct amp_rx_want *w)
{
	struct amp_vsock_conn *c = conn_of(s);
	uint32_t word, fwd, len;
	struct amp_rlink *l;
	struct rfast_msg m;

	if (!(s->flags & AMP_SF_CONNECTED) || s->rx.head != s->rx.tail ||
	    (c->standing & AMP_VSOCK_USUAL_IN) != AMP_CONN_OPEN)
		return;
	l = amp_rsock_link(s);
	do {
		if (!l->in_left || !rfast_peek(l->bus.in, &m) || m.dst != c->local.port ||
		    m.src != c->peer.port || m.len <= AMP_RSTREAM_HDR_LEN)
			return;
		word = amp_le32(m.data);
		fwd = amp_le32(m.data + offsetof(struct amp_rstream_hdr, fwd_cnt));
		amp_rstream_read();
		len = m.len - AMP_RSTREAM_HDR_LEN;
		if (word != AMP_RSTREAM_WORD(AMP_RSTREAM_DATA, 0,
					     amp_rstream_conn(c)->rx_tag) ||
		    len > (size_t)(w->end - w->to) ||
		    !amp_credit_rx_ok(&c->credit, c->buf_alloc, len) ||
		    !amp_credit_peer(&c->credit, c->credit.peer_buf_alloc, fwd))
			return;
		amp_rstream_count(&l->rs.vs.stats.rx_packets);
		if (amp_vsock_took(&l->rs.vs, c, len))
			amp_runner_due(&l->l.runner);
		rfast_take(l, &m, w, m.data + AMP_RSTREAM_HDR_LEN, len);
	} while (w->to != w->end);
}

/* A message has no mark (MSG_EOR): it ends where it ends. */
bool amp_rpmsg_send_fast(struct amp_sock *s, const void *buf, size_t len, int flags)
{
	(void)flags;
	return s->type == SOCK_STREAM ? send_stream(s, buf, len) : send_raw(s, buf, len);
}

void amp_rpmsg_recv_fast(struct amp_sock *s, struct amp_rx_want *w)
{
	if (s->type == SOCK_STREAM)
		recv_stream(s, w);
	else if (s->type == SOCK_SEQPACKET)
		recv_raw(s, w);
}

#endif /* AMPSOCK_RPMSG && AMPSOCK_FAST */
