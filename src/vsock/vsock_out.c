// SPDX-License-Identifier: BSD-3-Clause
/*
 * The engine's packets on their way out: buffers, headers, what is owed, data (vsock.c has the
 * theory of operation).
 */
#include <errno.h>
#include <string.h>

#include "vsock_fast.h"
#include "vsock_inner.h"

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
			      struct amp_vsock_tx *tx, unsigned op, uint32_t len,
			      uint32_t flags)
{
	struct amp_vsock_hdr h;
	const uint8_t *from = (const uint8_t *)&h;
	const uint8_t *end = from + AMP_VSOCK_HDR_LEN;

	if (!TAPPED(vs) && tx->hdr[0].len == AMP_VSOCK_HDR_LEN &&
	    !((uintptr_t)tx->hdr[0].base & 3)) {
		vsock_fill(c, tx->hdr[0].base, op, len, flags);
		return;
	}
	vsock_fill(c, &h, op, len, flags);
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
			      struct amp_vsock_tx *tx, unsigned op, uint32_t len,
			      uint32_t flags)
{
	uint8_t *h = (uint8_t *)tx->iov->base - AMP_VSOCK_HDR_LEN;

	(void)vs;
	AMP_FORGET(h); /* a field before the payload is a longer instruction */
	vsock_fill(c, (struct amp_vsock_hdr *)(void *)h, op, len, flags);
}
#endif

/* A buffer to send in, its place for the header cut off: 1, 0 none, -EBADMSG. */
static inline int out_get(struct amp_vsock *vs, struct amp_vsock_tx *tx)
{
	int r;

	if (!OWED_TO_NOBODY && !vs->out) /* else whoever sends data has found the link up */
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
static inline bool buf_for(struct amp_vsock *vs, struct amp_vsock_conn *c,
			   struct amp_vsock_tx *tx, bool path)
{
	if ((path ? path_reserve(vs, c, tx) : out_get(vs, tx)) > 0)
		return true;
	tx_starve(vs, c);
	return false;
}

/* Header into its place, packet to the peer. */
static ONE_COPY void out_put(struct amp_vsock *vs, struct amp_vsock_conn *c,
			     struct amp_vsock_tx *tx, unsigned op, uint32_t len, uint32_t flags)
{
	put_header(vs, c, tx, op, len, flags);
	vs->stats.tx_packets++;
	amp_vq_put(vs->out, tx->id, AMP_VSOCK_HDR_LEN + len);
}

/* There is a buffer, but not for data. */
static inline bool too_small(struct amp_vsock *vs, struct amp_vsock_conn *c,
			     const struct amp_vsock_tx *tx)
{
	if (!CHAINS || tx->len)
		return false;
	(void)torn(vs, "receive buffer without room for data (virtio 5.10.6.1)");
	tx_starve(vs, c);
	return true;
}

/* len bytes of what lies from off on in the pieces at from, into those at to. */
__attribute__((noinline)) void amp_vsock_gather(const struct amp_iov *to, const void *from,
						size_t off, size_t len)
{
	const struct amp_iov *at = from;
	uint8_t *dst = to->base;
	size_t n, at_len, room = to->len;
	const uint8_t *base;

	while (len) {
		/* by copy: it is the caller's type, another one in name */
		memcpy(&at_len, &at->len, sizeof(at_len));
		memcpy(&base, &at->base, sizeof(base));
		if (off >= at_len) {
			off -= at_len;
			at++;
			continue;
		}
		if (CHAINS && !room) {
			to++;
			dst = to->base;
			room = to->len;
			continue;
		}
		n = at_len - off;
		if (n > len)
			n = len;
		if (CHAINS && n > room)
			n = room;
		memcpy(dst, base + off, n);
		dst += n;
		off += n;
		len -= n;
		room -= n;
	}
}

/* A packet with as much of the load as there is a buffer for (without payload, not of a loop's).
 * Returns its length, or -EAGAIN. */
static ONE_COPY int send_packet(struct amp_vsock *vs, struct amp_vsock_conn *c, unsigned op,
				const struct amp_vsock_load *load)
{
	uint32_t len = (uint32_t)load->len, flags = load->flags;
	bool path = len && !AMP_VSOCK_LOOP_APART && LOOP(vs, c);
	struct amp_vsock_tx tx;

	if (!QUEUES)
		return amp_rstream_path_packet(vs, c, op, load);
	ROOM_FOR(vs, &tx.buf);
	if (!buf_for(vs, c, &tx, path))
		return -EAGAIN;
	if (len) {
		if (too_small(vs, c, &tx))
			return -EAGAIN;
		if (len > tx.len) {
			len = tx.len;
			flags = 0;
		}
		amp_vsock_gather(tx.iov, load->iov, load->off, len);
		c->credit.tx_cnt += len;
	}
	if (path)
		path_commit(vs, c, &tx, len, flags);
	else
		out_put(vs, c, &tx, op, len, flags);
	return (int)len;
}

static inline bool send_control(struct amp_vsock *vs, struct amp_vsock_conn *c, unsigned op,
				uint32_t flags)
{
	struct amp_vsock_load load; /* of which there is no more */

	if (OWED_TO_NOBODY && !vs->out)
		return true;
	load.len = 0;
	load.flags = flags;
	return send_packet(vs, c, op, &load) >= 0;
}

/* Something is about to be sent: the peer is asked whether it wants to hear of it. */
static inline void settles(struct amp_vsock *vs)
{
	if (QUEUES && AMPSOCK_FAST)
		vs->settled = true;
}

#if AMP_VSOCK_ROOM_APART
/* False: no buffer. */
static bool flush_strays(struct amp_vsock *vs)
{
	settles(vs);
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

bool amp_vsock_strays_room(struct amp_vsock *vs)
{
	return !strays_full(vs) || flush_strays(vs);
}
#else
static inline bool flush_strays(struct amp_vsock *vs)
{
	settles(vs);
	return true; /* a connection's */
}
#endif

/* Send one owed packet of c. False: no buffer. */
static bool send_owed(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	unsigned bits = c->owed & ~AMP_VSOCK_LISTED;
	unsigned op = (unsigned)__builtin_ctz(bits), bit = bits & -bits;
	uint32_t flags = op == AMP_VSOCK_OP_SHUTDOWN ? c->shut : 0;

	/* on a loop the answer may come back inside: the bit goes first */
	c->owed &= (uint8_t)~bit;
	if (QUEUES && LOOP(vs, c) ? path_send(vs, c, (uint16_t)op, flags)
				  : send_control(vs, c, op, flags))
		return true;
	if (PATHS && LOOP(vs, c)) /* the library's loop never fails, AF_RPMSG's bus knows */
		tx_starve(vs, c);
	c->owed |= (uint8_t)bit;
	return false;
}

/* Out of the hash, then the owner's last word about it. */
static void forget(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	c->state = AMP_CONN_FREE;
	if (c == STRANGER(vs)) /* nobody's */
		return;
	hash_del(vs, c);
	if (RECENT(vs) == c)
		SET_RECENT(vs, NULL);
	if (LOOP(vs, c))
		path_gone(vs, c);
	tell_event(vs, c, AMP_VSOCK_EV_GONE);
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
			forget(vs, c);
	}
	return true;
}

/* ---- the door ---- */

int amp_vsock_may_reserve(struct amp_vsock *vs, struct amp_vsock_conn *c, size_t want,
			  size_t least)
{
	uint32_t space = credit_left(c);
	int r = usual(c, AMP_VSOCK_USUAL_OUT) ? 0 : amp_vsock_may_send_on(c);

	if (r == 0 && (space < LEAST(least) || must_queue(vs, c)))
		r = -EAGAIN;
	if (r) {
		if (r == -EAGAIN)
			want_tx(vs, c, LEAST(least));
		return r;
	}
	if (CHAINS && space > INT32_MAX)
		space = INT32_MAX;
	return (int)(space < want ? space : want);
}

bool amp_vsock_may_send_now(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	if (amp_vsock_may_reserve(vs, c, 1, 1) < 0)
		return false;
	if (!QUEUES || tx_ready(vs, LOOP(vs, c))) /* AF_RPMSG asks its bus itself */
		return true;
	tx_starve(vs, c);
	return false;
}

int amp_vsock_reserve(struct amp_vsock *vs, struct amp_vsock_conn *c, uint32_t want,
		      struct amp_vsock_tx *tx)
{
	int r = amp_vsock_may_reserve(vs, c, want, 1);

	if (r < 0)
		return r;
	if (!buf_for(vs, c, tx, LOOP(vs, c)) || too_small(vs, c, tx))
		return -EAGAIN;
	if (tx->len > (uint32_t)r)
		tx->len = (uint32_t)r;
	tx->iov_cnt = trim(tx->iov, tx->iov_cnt, tx->len);
	c->reserved = (AMP_CREDIT_CNT)(c->reserved + tx->len);
	return (int)tx->len;
}

int amp_vsock_send_load(struct amp_vsock *vs, struct amp_vsock_conn *c,
			struct amp_vsock_load *load)
{
	int r = amp_vsock_may_reserve(vs, c, load->len, load->least);

	if (r <= 0)
		return r;
	if (QUEUES && (size_t)r < load->len) /* a path has no messages */
		load->flags = 0;
	load->len = (size_t)r;
	return send_packet(vs, c, AMP_VSOCK_OP_RW, load);
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
	c->credit.tx_cnt += len;
	if (LOOP(vs, c))
		path_commit(vs, c, tx, len, flags);
	else
		out_put(vs, c, tx, AMP_VSOCK_OP_RW, len, flags);
}

void amp_vsock_cancel(struct amp_vsock *vs, struct amp_vsock_conn *c, struct amp_vsock_tx *tx)
{
	c->reserved = (AMP_CREDIT_CNT)(c->reserved - tx->len);
	if (LOOP(vs, c))
		path_cancel(vs, tx);
	else if (vs->out)
		amp_vq_unget(vs->out, tx->id);
}
