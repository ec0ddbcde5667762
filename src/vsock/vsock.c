// SPDX-License-Identifier: BSD-3-Clause
/*
 * The virtio-vsock engine: packets, connections, credit (virtio 1.2, 5.10).
 *
 * Theory of operation
 *
 * amp_vsock_run() is the heart: it takes packets off the in queue, one at a time, and
 * then sends what is owed. Nothing else calls the owner's hooks (but for a loop, whose
 * commit delivers at once).
 *
 * In. The 44-byte header is copied out of shared memory once and only the copy is
 * looked at. The payload is handed to the owner in place; it keeps, writes or holds it.
 *
 * Owed. A packet that the engine must send by itself (REQUEST, RESPONSE, credit,
 * SHUTDOWN, RST) is a bit in the connection, so memory for it is there by
 * construction. Connections with such bits form a list, served first come first
 * served until the out queue is empty; the rest stays owed. So receiving never waits
 * for sending, and a flood of REQUESTs costs connections, not memory. RSTs to
 * connections that we do not know have no struct to live in: they go to a short array;
 * while that is full the in queue is left alone (5.10.6.1.2, the one case where the
 * spec lets receiving stop).
 *
 * End. Every connection ends the same way: it becomes DEAD, goes on the owed list
 * (with or without an RST to send), and when the list is served it leaves the hash and
 * the owner gets EV_GONE, from amp_vsock_run() and from nowhere else, so that no call
 * of the owner pulls the struct away under its feet. Until then packets for it fall on
 * the dead struct and are ignored, which also keeps the port pair from being reused
 * while its RST is still to be sent.
 *
 * The usual way. Data on an open connection with room for it is what nearly every packet
 * is: packet() and amp_vsock_send() go straight through for it (AMPSOCK_FAST), by one look
 * at the word where everything out of the ordinary would show. All the rest is
 * vsock_conn.c's, which does the usual packet, too, only not as fast.
 *
 * CID 1. A connection within this engine (loop) has no queue: what is sent is delivered to the
 * other end's hook in the same call, and control packets when the owed list is served
 * (xport_loop.c).
 */
#include <errno.h>
#include <string.h>

#include "../port/port.h"
#include "../wire/le.h"
#include "vsock_fast.h"
#include "vsock_inner.h"

/* ---- in ---- */

/* The first len bytes of a chain into dst; iov moves on behind them. */
static void take(struct amp_iov **iov, uint16_t *cnt, void *dst, size_t len)
{
	uint8_t *to = dst;

	while (len) {
		size_t part = (*iov)->len < len ? (*iov)->len : len;

		memcpy(to, (*iov)->base, part);
		to += part;
		len -= part;
		(*iov)->base = (uint8_t *)(*iov)->base + part;
		(*iov)->len -= part;
		if ((*iov)->len == 0) {
			(*iov)++;
			(*cnt)--;
		}
	}
}

/* Cut a chain's segments down to len bytes in all. */
static inline uint16_t trim(struct amp_iov *iov, uint16_t cnt, size_t len)
{
	uint16_t i = 0;

	if (CHAINS && len == 0)
		return 0;
	if (!CHAINS || len <= iov->len) {
		iov->len = len;
		return 1;
	}
	for (; i < cnt && len; i++) {
		if (iov[i].len > len)
			iov[i].len = len;
		len -= iov[i].len;
	}
	return i;
}

/* What is wrong with a header, but for its type, in words; NULL: nothing. */
static const char *header_fault(const struct amp_vsock *vs, const struct amp_vsock_hdr *h,
				uint32_t len)
{
	uint32_t src = (uint32_t)h->src_cid;

	if (h->len > len)
		return "length beyond the buffer (virtio 5.10.6)";
	if ((h->src_cid | h->dst_cid) >> 32)
		return "upper half of a CID in use (virtio 5.10.4)";
	if (src == AMP_VSOCK_CID_LOCAL)
		return "CID 1 from outside (virtio 5.10.4)";
	if (amp_vsock_guest(vs) ? src != amp_vsock_guest(vs)
				: (uint32_t)h->dst_cid != vs->local_cid)
		return "foreign CID (virtio 5.10.6)";
	return NULL;
}

/*
 * Any packet: its header is checked, and it goes to its connection. What breaks a rule is
 * counted, explained, answered where the spec wants that.
 */
static inline void look_up(struct amp_vsock *vs, const struct amp_vsock_hdr *h,
			   struct amp_vsock_rx *rx, uint32_t len)
{
	const char *fault = header_fault(vs, h, len);

	if (fault) {
		vs->stats.rx_bad++;
		blame(vs, fault);
		return;
	}
	if (OWNERS)
		rx->iov_cnt = trim((struct amp_iov *)(uintptr_t)rx->iov, rx->iov_cnt, h->len);
	else
		((struct amp_iov *)(uintptr_t)rx->iov)->len = h->len;
	if (CHAINS && amp_vsock_type_good(h) && h->dst_cid != vs->local_cid &&
	    OPS(vs)->foreign && OPS(vs)->foreign(vs, h, rx))
		return;
	amp_vsock_in(vs, h, rx);
}

/* One packet, whose buffer goes back unless the owner holds it. Not inline: its room on the stack is
 * not that of what is sent. */
static __attribute__((noinline)) void packet(struct amp_vsock *vs, struct amp_vq_buf *buf)
{
	uint32_t len = buf->len - AMP_VSOCK_HDR_LEN;
	struct amp_iov *iov = buf->iov;
	struct amp_vsock_hdr h;
	struct amp_vsock_rx rx;

	rx.held = false;
	vs->stats.rx_packets++;
	if (buf->len < AMP_VSOCK_HDR_LEN) {
		vs->stats.rx_bad++;
		blame(vs, "packet shorter than its header (virtio 5.10.6)");
		goto done;
	}
	if (!CHAINS || iov->len > AMP_VSOCK_HDR_LEN) {
		amp_copy(&h, iov->base, AMP_VSOCK_HDR_LEN);
		iov->base = (uint8_t *)iov->base + AMP_VSOCK_HDR_LEN;
		iov->len -= AMP_VSOCK_HDR_LEN;
	} else {
		take(&iov, &buf->iov_cnt, &h, AMP_VSOCK_HDR_LEN);
	}
	__atomic_signal_fence(__ATOMIC_ACQUIRE); /* the copy, not the original again */
	rx.iov = iov;
	if (OWNERS) { /* else it is one piece, and nobody holds it */
		rx.iov_cnt = buf->iov_cnt;
		rx.id = buf->id;
	}
	rx.len = h.len;
	rx.flags = h.flags;
	if (TAPPED(vs))
		TAP(vs)(vs, false, &h, iov, buf->iov_cnt, h.len < len ? h.len : len);
	look_up(vs, &h, &rx, len);
done:
	if (!OWNERS || !rx.held)
		amp_vq_put(vs->in, buf->id, 0);
}

/* ---- out ---- */

void amp_vsock_fill_header(struct amp_vsock_conn *c, struct amp_vsock_hdr *h, uint16_t op,
			   uint32_t len, uint32_t flags)
{
	vsock_fill(c, h, op, len, flags);
}

/* The out queue is: see there. */
static RARE int torn(struct amp_vsock *vs, const char *why)
{
	vs->torn = true;
	AMP_WHY_SAY(vs->out, why);
	return amp_vq_break(vs->out);
}

#if CHAINS
/* The header lies across up to three segments, the payload behind it. */
static RARE int header_pieces(struct amp_vsock *vs, struct amp_vsock_tx *tx)
{
	struct amp_iov *iov = tx->iov;
	uint32_t left = AMP_VSOCK_HDR_LEN;
	uint16_t cnt = tx->iov_cnt;

	memset(tx->hdr, 0, sizeof(tx->hdr));
	for (unsigned k = 0; left && cnt && k < 3; k++) {
		tx->hdr[k].base = iov->base;
		tx->hdr[k].len = iov->len < left ? iov->len : left;
		left -= (uint32_t)tx->hdr[k].len;
		iov->base = (uint8_t *)iov->base + tx->hdr[k].len;
		iov->len -= tx->hdr[k].len;
		if (iov->len == 0) {
			iov++;
			cnt--;
		}
	}
	amp_vq_buf_room(&tx->buf, iov, tx->iov_max);
	tx->iov_cnt = cnt;
	if (left)
		return torn(vs, "receive buffer without room for a header (virtio 5.10.6.1)");
	return 1;
}

/* Where it is to be, and the payload: hdr[] and iov. As out_get(). */
static inline int cut_header(struct amp_vsock *vs, struct amp_vsock_tx *tx)
{
	if (tx->iov->len <= AMP_VSOCK_HDR_LEN)
		return header_pieces(vs, tx);
	tx->hdr[0] = (struct amp_iov){tx->iov->base, AMP_VSOCK_HDR_LEN};
	tx->iov->base = (uint8_t *)tx->iov->base + AMP_VSOCK_HDR_LEN;
	tx->iov->len -= AMP_VSOCK_HDR_LEN;
	return 1;
}

/* The header of c's next packet, into its pieces. Shared memory is not read back. */
static inline void put_header(struct amp_vsock *vs, struct amp_vsock_conn *c,
			      struct amp_vsock_tx *tx, uint16_t op, uint32_t len,
			      uint32_t flags)
{
	struct amp_vsock_hdr h;
	const uint8_t *from = (const uint8_t *)&h;
	const uint8_t *end = from + AMP_VSOCK_HDR_LEN;

	if (!TAPPED(vs) && tx->hdr[0].len == AMP_VSOCK_HDR_LEN &&
	    !((uintptr_t)tx->hdr[0].base & 3)) {
		amp_vsock_fill_header(c, tx->hdr[0].base, op, len, flags);
		return;
	}
	amp_vsock_fill_header(c, &h, op, len, flags);
	/* in one piece that is not aligned, the others were never set */
	for (unsigned k = 0; from < end; from += tx->hdr[k].len, k++)
		memcpy(tx->hdr[k].base, from, tx->hdr[k].len);
	if (TAPPED(vs))
		TAP(vs)(vs, true, &h, tx->iov, tx->iov_cnt, len);
}
#else
/* A driver's buffers are one piece, and aligned: the header is in front of the payload. */
static inline int cut_header(struct amp_vsock *vs, struct amp_vsock_tx *tx)
{
	(void)vs;
	tx->iov->base = (uint8_t *)tx->iov->base + AMP_VSOCK_HDR_LEN;
	return 1;
}

static inline void put_header(struct amp_vsock *vs, struct amp_vsock_conn *c,
			      struct amp_vsock_tx *tx, uint16_t op, uint32_t len,
			      uint32_t flags)
{
	uint8_t *at = tx->iov->base;

	(void)vs;
	amp_vsock_fill_header(c, (struct amp_vsock_hdr *)(void *)(at - AMP_VSOCK_HDR_LEN), op,
			      len, flags);
}
#endif

/* A buffer to send in, its place for the header cut off: 1, 0 none, -EBADMSG. */
static inline int out_get(struct amp_vsock *vs, struct amp_vsock_tx *tx)
{
	int r;

	if (!vs->out)
		return 0;
	r = amp_vq_get(vs->out, &tx->buf);
	if (r > 0) {
		tx->len -= AMP_VSOCK_HDR_LEN;
		r = cut_header(vs, tx);
	}
	if (!PLAIN && r < 0)
		vs->torn = true;
	return r;
}

/* The same for a packet of c, whatever way it takes. No: who wants one hears when there is. */
static ONE_COPY bool buf_for(struct amp_vsock *vs, struct amp_vsock_conn *c,
			     struct amp_vsock_tx *tx)
{
	if ((LOOP(vs, c) ? path_reserve(vs, c, tx) : out_get(vs, tx)) > 0)
		return true;
	tx_starve(vs, c);
	return false;
}

/* Header into its place, packet to the peer. */
static ONE_COPY void out_put(struct amp_vsock *vs, struct amp_vsock_conn *c,
			     struct amp_vsock_tx *tx, uint16_t op, uint32_t len, uint32_t flags)
{
	put_header(vs, c, tx, op, len, flags);
	vs->stats.tx_packets++;
	amp_vq_put(vs->out, tx->id, AMP_VSOCK_HDR_LEN + len);
}

/* A packet without payload. Not of a loop's. */
static ONE_COPY bool send_control(struct amp_vsock *vs, struct amp_vsock_conn *c, uint16_t op,
				  uint32_t flags)
{
	struct amp_vsock_tx tx;

	ROOM_FOR(vs, &tx.buf);
	if (!buf_for(vs, c, &tx))
		return false;
	out_put(vs, c, &tx, op, 0, flags);
	return true;
}

#if AMP_VSOCK_ROOM_APART
/* False: no buffer. */
static bool flush_strays(struct amp_vsock *vs)
{
	while (vs->stray_cnt) {
		struct amp_vsock_stray *s = &vs->stray[0];
		struct amp_vsock_conn c = {.type = (uint8_t)s->type};

		c.ends = s->ends;
		if (!send_control(vs, &c, AMP_VSOCK_OP_RST, 0))
			return false;
		vs->stray_cnt--;
		memmove(s, s + 1, vs->stray_cnt * sizeof(*s)); /* rare, and few */
	}
	return true;
}

/* There is room for one more of them. */
static inline bool strays_room(struct amp_vsock *vs)
{
	return !strays_full(vs) || flush_strays(vs);
}
#else
static inline bool flush_strays(struct amp_vsock *vs)
{
	(void)vs;
	return true; /* a connection's */
}

static inline bool strays_room(struct amp_vsock *vs)
{
	return !strays_full(vs) || amp_vsock_flush(vs);
}
#endif

_Static_assert(AMP_OWE_REQUEST == 1u << AMP_VSOCK_OP_REQUEST &&
		       AMP_OWE_RESPONSE == 1u << AMP_VSOCK_OP_RESPONSE &&
		       AMP_OWE_RST == 1u << AMP_VSOCK_OP_RST &&
		       AMP_OWE_SHUTDOWN == 1u << AMP_VSOCK_OP_SHUTDOWN &&
		       AMP_OWE_CREDIT == 1u << AMP_VSOCK_OP_CREDIT_UPDATE &&
		       AMP_OWE_CREDIT_REQ == 1u << AMP_VSOCK_OP_CREDIT_REQUEST,
	       "send_owed()");

/* Send one owed packet of c. False: no buffer. */
static bool send_owed(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	unsigned op = (unsigned)__builtin_ctz(c->owed & ~AMP_VSOCK_LISTED), bit = 1u << op;
	uint32_t flags = op == AMP_VSOCK_OP_SHUTDOWN ? c->shut : 0;

	/* on a loop the answer may come back inside: the bit goes first */
	c->owed &= (uint8_t)~bit;
	if (LOOP(vs, c) ? path_send(vs, c, (uint16_t)op, flags)
			: send_control(vs, c, (uint16_t)op, flags))
		return true;
	if (LOOP(vs, c))
		tx_starve(vs, c);
	c->owed |= (uint8_t)bit;
	return false;
}

bool amp_vsock_flush(struct amp_vsock *vs)
{
	struct amp_vsock_conn *c;

	if (!flush_strays(vs))
		return false;
	while ((c = vs->owed_head) != NULL) {
		while (c->owed != AMP_VSOCK_LISTED) {
			if (!send_owed(vs, c))
				return false;
		}
		vs->owed_head = c->owed_next;
		c->owed = 0;
		if (c->state == AMP_CONN_DEAD)
			amp_vsock_forget(vs, c);
	}
	return true;
}

/* ---- the door ---- */

/* What is owed goes out, who waited for a buffer hears of one. False: a ring is broken. */
static RARE bool settle(struct amp_vsock *vs)
{
	(void)amp_vsock_flush(vs);
	if (QUEUES && AMPSOCK_FAST)
		vs->settled = true;
	if ((QUEUES && vs->tx_starved && tx_ready(vs, PATH && !PATHS && vs->path)) ||
	    ((PATHS || !QUEUES) && vs->path_starved && path_ready(vs))) {
		if (QUEUES)
			vs->tx_starved = false;
		if (PATHS || !QUEUES)
			vs->path_starved = false;
		tell_tx_ready(vs);
	}
	if (!QUEUES || PLAIN)
		return true;
	/* it may have been set up anew since */
	vs->torn = (vs->in && vs->in->broken) || (vs->out && vs->out->broken);
	return !vs->torn;
}

int amp_vsock_run(struct amp_vsock *vs, unsigned budget)
{
	struct amp_vq_buf buf;
	unsigned n = 0;
	int r = 0;

	if (QUEUES && !PLAIN)
		vs->enough = false;
	while (QUEUES && n < budget && vs->in && (PLAIN || !vs->enough)) {
		if (!strays_room(vs))
			break;
		if (AMPSOCK_FAST && amp_vsock_packet_fast(vs, OPS(vs)->piece)) {
			n++;
			continue;
		}
		ROOM_FOR(vs, &buf);
		r = amp_vq_get(vs->in, &buf);
		if (r <= 0)
			break;
		n++;
		packet(vs, &buf);
	}
	if (!PLAIN && r < 0)
		vs->torn = true;
	r = amp_vsock_owed(vs);
	return r < 0 ? r : (int)n;
}

int amp_vsock_owed(struct amp_vsock *vs)
{
	return (vs->owed_head || vs->to_do) && !settle(vs) ? -EBADMSG : 0;
}

bool amp_vsock_arm(struct amp_vsock *vs)
{
	bool more = vs->in && !strays_full(vs) && amp_vq_arm(vs->in);

	return (vs->out && vs->tx_starved && amp_vq_arm(vs->out)) || more;
}

static bool moved(const struct amp_vq *vq)
{
	return ring_rd16(ring_peer_idx(vq)) != vq->get_idx;
}

bool amp_vsock_news(const struct amp_vsock *vs)
{
	return (vs->in && !strays_full(vs) && moved(vs->in)) ||
	       (vs->out && vs->tx_starved && moved(vs->out));
}

int amp_vsock_may_reserve(struct amp_vsock *vs, struct amp_vsock_conn *c, size_t want)
{
	uint32_t space = credit_left(c);
	int r = usual(c, AMP_VSOCK_USUAL_OUT) ? 0 : amp_vsock_may_send_on(c);

	if (r == 0 && (space == 0 || must_queue(vs, c)))
		r = -EAGAIN;
	if (r) {
		if (r == -EAGAIN)
			amp_vsock_want_tx(vs, c);
		return r;
	}
	if (CHAINS && space > INT32_MAX)
		space = INT32_MAX;
	return (int)(space < want ? space : want);
}

bool amp_vsock_may_send_now(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	if (amp_vsock_may_reserve(vs, c, 1) < 0)
		return false;
	if (tx_ready(vs, LOOP(vs, c)))
		return true;
	tx_starve(vs, c);
	return false;
}

/* How much of it there is a buffer for. */
static inline int reserve(struct amp_vsock *vs, struct amp_vsock_conn *c, int n,
			  struct amp_vsock_tx *tx)
{
	if (n < 0)
		return n;
	if (!buf_for(vs, c, tx))
		return -EAGAIN;
	if (CHAINS && tx->len == 0) {
		(void)torn(vs, "receive buffer without room for data (virtio 5.10.6.1)");
		tx_starve(vs, c);
		return -EAGAIN;
	}
	return tx->len < (uint32_t)n ? (int)tx->len : n;
}

static inline void commit(struct amp_vsock *vs, struct amp_vsock_conn *c,
			  struct amp_vsock_tx *tx, uint32_t len, uint32_t flags, bool path)
{
	c->credit.tx_cnt += len;
	if (path)
		path_commit(vs, c, tx, len, flags);
	else
		out_put(vs, c, tx, AMP_VSOCK_OP_RW, len, flags);
}

int amp_vsock_reserve(struct amp_vsock *vs, struct amp_vsock_conn *c, uint32_t want,
		      struct amp_vsock_tx *tx)
{
	int r = reserve(vs, c, amp_vsock_may_reserve(vs, c, want), tx);

	if (r >= 0) {
		tx->len = (uint32_t)r;
		tx->iov_cnt = trim(tx->iov, tx->iov_cnt, tx->len);
		c->reserved = (AMP_CREDIT_CNT)(c->reserved + tx->len);
	}
	return r;
}

/* len bytes of what lies from off on in the pieces at from, into those at to. */
__attribute__((noinline)) void amp_vsock_gather(const struct amp_iov *to, const void *from,
						size_t off, size_t len)
{
	const struct amp_iov *at = from;
	size_t n, at_len, done = 0;
	const uint8_t *base;

	for (; len; len -= n, done += n) {
		/* by copy: it is the caller's type, another one in name */
		memcpy(&at_len, &at->len, sizeof(at_len));
		memcpy(&base, &at->base, sizeof(base));
		n = 0;
		if (off >= at_len) {
			off -= at_len;
			at++;
			continue;
		}
		if (CHAINS && done == to->len) {
			to++;
			done = 0;
		}
		n = at_len - off;
		if (n > len)
			n = len;
		if (CHAINS && n > to->len - done)
			n = to->len - done;
		memcpy((uint8_t *)to->base + done, base + off, n);
		off += n;
	}
}

int amp_vsock_send(struct amp_vsock *vs, struct amp_vsock_conn *c, const void *iov, size_t off,
		   size_t len, uint32_t flags)
{
	struct amp_vsock_tx tx;
	int r;

	ROOM_FOR(vs, &tx.buf);
	r = reserve(vs, c, amp_vsock_may_reserve(vs, c, len), &tx);
	if (r < 0)
		return r;
	amp_vsock_gather(tx.iov, iov, off, (size_t)r);
	commit(vs, c, &tx, (uint32_t)r, (size_t)r == len ? flags : 0,
	       !AMP_VSOCK_LOOP_APART && LOOP(vs, c));
	return r;
}

void amp_vsock_commit(struct amp_vsock *vs, struct amp_vsock_conn *c, struct amp_vsock_tx *tx,
		      uint32_t len, uint32_t flags)
{
	/* over since it was reserved? */
	if (!usual(c, AMP_VSOCK_USUAL_OUT) &&
	    (amp_vsock_may_send_on(c) || amp_vsock_why_not_send(c))) {
		amp_vsock_cancel(vs, c, tx);
		return;
	}
	c->reserved = (AMP_CREDIT_CNT)(c->reserved - tx->len);
	commit(vs, c, tx, len, flags, LOOP(vs, c));
}

void amp_vsock_cancel(struct amp_vsock *vs, struct amp_vsock_conn *c, struct amp_vsock_tx *tx)
{
	c->reserved = (AMP_CREDIT_CNT)(c->reserved - tx->len);
	if (LOOP(vs, c))
		path_cancel(vs, tx);
	else if (vs->out)
		amp_vq_unget(vs->out, tx->id);
}

void amp_vsock_release(struct amp_vsock *vs, uint16_t id)
{
	if (vs->in)
		amp_vq_put(vs->in, id, 0);
}
