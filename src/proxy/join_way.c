// SPDX-License-Identifier: BSD-3-Clause
/*
 * A join's way: packets straight into the receiver's buffers, or into a queue of chunks
 * until there are some. Theory of operation: join.h.
 *
 * A chunk is a row of records, each a header and its payload as they will be sent. The
 * first record of the first chunk may be sent in part: its header stays whole, way->done
 * says how far it is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "join_inner.h"

#define CHUNK_LEN (64u * 1024u + AMP_VSOCK_HDR_LEN) /* Linux's largest packet */
#define TURN	  16u /* packets that a way sends before another's turn */
#define SEGMENTS  1024u

struct amp_join_chunk {
	struct amp_join_chunk *next;
	size_t len;  /* of mem */
	size_t put;  /* bytes written */
	size_t get;  /* bytes sent: whole records */
	size_t last; /* where the last record begins */
	uint8_t mem[];
};

/* A place in a list of segments. */
struct cursor {
	const struct amp_iov *iov;
	size_t off;
};

/* The receiver's buffer; the sender's payload has the engine's array. */
static struct amp_iov room[SEGMENTS];

static void copy(struct cursor *to, struct cursor *from, size_t len)
{
	while (len) {
		size_t n = to->iov->len - to->off, have = from->iov->len - from->off;

		if (n > have)
			n = have;
		if (n > len)
			n = len;
		memcpy((uint8_t *)to->iov->base + to->off,
		       (const uint8_t *)from->iov->base + from->off, n);
		len -= n;
		to->off += n;
		from->off += n;
		if (to->off == to->iov->len) {
			to->iov++;
			to->off = 0;
		}
		if (from->off == from->iov->len) {
			from->iov++;
			from->off = 0;
		}
	}
}

static int torn(struct amp_vlink *to, const char *why)
{
	to->vs.torn = true;
	if (why)
		to->vs.out->why = why;
	return amp_vq_break(to->vs.out);
}

/* What room has, behind the header. */
static void tap(struct amp_vlink *to, const struct amp_vsock_hdr *h, uint32_t len)
{
	struct amp_iov *at = room;
	size_t skip = AMP_VSOCK_HDR_LEN;

	while (skip && skip >= at->len) {
		skip -= at->len;
		at++;
	}
	at->base = (uint8_t *)at->base + skip;
	at->len -= skip;
	to->vs.tap(&to->vs, true, h, at, (uint16_t)(room + SEGMENTS - at), len);
}

/*
 * One packet with as much of left bytes as fits the receiver's next buffer. Returns 1 with
 * *left less by that, 0: no buffer, -EBADMSG: the ring is broken.
 */
static int put_packet(struct amp_vlink *to, const struct amp_vsock_hdr *h, struct cursor *from,
		      uint32_t *left)
{
	struct amp_vq_buf buf = {.iov = room, .iov_max = SEGMENTS};
	struct cursor at = {room, 0}, head;
	struct amp_vsock_hdr part = *h;
	struct amp_iov head_iov = {&part, AMP_VSOCK_HDR_LEN};
	int r = amp_vq_get(to->vs.out, &buf);

	if (r <= 0)
		return r < 0 ? torn(to, NULL) : 0;
	if (buf.len < AMP_VSOCK_HDR_LEN + (*left != 0))
		return torn(to, "receive buffer without room for a packet (virtio 5.10.6.1)");
	part.len = *left < buf.len - AMP_VSOCK_HDR_LEN ? *left : buf.len - AMP_VSOCK_HDR_LEN;
	if (part.len < *left)
		part.flags = 0; /* the end of the message goes with its last piece */
	head = (struct cursor){&head_iov, 0};
	copy(&at, &head, AMP_VSOCK_HDR_LEN);
	copy(&at, from, part.len);
	amp_vq_put(to->vs.out, buf.id, AMP_VSOCK_HDR_LEN + part.len);
	to->vs.stats.tx_packets++;
	if (to->vs.tap)
		tap(to, &part, part.len);
	to->link.stats.tx_bytes += part.len;
	*left -= part.len;
	return 1;
}

bool amp_join_room(const struct amp_join_way *w, uint32_t len)
{
	size_t limit = AMP_JOIN_QUEUE / w->to->join_cnt;

	return w->queued < limit && AMP_VSOCK_HDR_LEN + len <= limit - w->queued;
}

/*
 * Stream data behind stream data of the same connection is one record, and of what only says
 * how far somebody has read the last word counts.
 */
static bool append(struct amp_join_way *w, const struct amp_vsock_hdr *h, struct cursor *from,
		   uint32_t len)
{
	struct amp_join_chunk *c = w->tail;
	struct amp_vsock_hdr last;
	struct amp_iov to_iov;
	struct cursor to = {&to_iov, 0};

	if (!c || len > c->len - c->put ||
	    !(h->op == AMP_VSOCK_OP_CREDIT_UPDATE || h->op == AMP_VSOCK_OP_CREDIT_REQUEST ||
	      (h->op == AMP_VSOCK_OP_RW && h->type == AMP_VSOCK_STREAM)))
		return false;
	memcpy(&last, c->mem + c->last, sizeof(last));
	if (last.op != h->op || last.type != h->type || last.src_port != h->src_port ||
	    last.dst_port != h->dst_port)
		return false;
	last.len += len;
	last.buf_alloc = h->buf_alloc;
	last.fwd_cnt = h->fwd_cnt;
	memcpy(c->mem + c->last, &last, sizeof(last));
	to_iov = (struct amp_iov){c->mem + c->put, len};
	copy(&to, from, len);
	c->put += len;
	w->queued += len;
	return true;
}

static struct amp_join_chunk *chunk_for(struct amp_join_way *w, size_t need)
{
	struct amp_join_chunk *c = w->tail;
	size_t len = need > CHUNK_LEN ? need : CHUNK_LEN;

	if (c && need <= c->len - c->put)
		return c;
	c = malloc(sizeof(*c) + len);
	if (!c)
		return NULL;
	*c = (struct amp_join_chunk){.len = len};
	if (w->tail) {
		w->tail->next = c;
	} else {
		w->head = c;
		w->done = 0;
		TAILQ_INSERT_TAIL(&w->to->waiting, w, waiting_entry);
	}
	w->tail = c;
	return c;
}

/* The rest of a packet, for later. */
static void store(struct amp_join_way *w, const struct amp_vsock_hdr *h, struct cursor *from,
		  uint32_t len)
{
	struct amp_vsock_hdr whole = *h;
	struct amp_join_chunk *c;
	struct amp_iov to_iov;
	struct cursor to = {&to_iov, 0};

	if (w->lost || append(w, h, from, len))
		return;
	c = chunk_for(w, AMP_VSOCK_HDR_LEN + (size_t)len);
	if (!c) { /* the receiver cannot be told either: its link ends, when its turn comes */
		if (!w->head)
			TAILQ_INSERT_TAIL(&w->to->waiting, w, waiting_entry);
		w->lost = true;
		return;
	}
	whole.len = len;
	memcpy(c->mem + c->put, &whole, AMP_VSOCK_HDR_LEN);
	to_iov = (struct amp_iov){c->mem + c->put + AMP_VSOCK_HDR_LEN, len};
	copy(&to, from, len);
	c->last = c->put;
	c->put += AMP_VSOCK_HDR_LEN + (size_t)len;
	w->queued += AMP_VSOCK_HDR_LEN + (size_t)len;
}

/* Bits that have a meaning. */
static uint32_t flags_of(const struct amp_vsock_hdr *h)
{
	if (h->op == AMP_VSOCK_OP_SHUTDOWN)
		return h->flags & (AMP_VSOCK_SHUTDOWN_RCV | AMP_VSOCK_SHUTDOWN_SEND);
	if (h->op == AMP_VSOCK_OP_RW && h->type == AMP_VSOCK_SEQPACKET)
		return h->flags & (AMP_VSOCK_SEQ_EOM | AMP_VSOCK_SEQ_EOR);
	return 0;
}

void amp_join_send(struct amp_join_way *w, const struct amp_vsock_hdr *h,
		   const struct amp_iov *iov, uint32_t len)
{
	struct amp_vlink *to = w->to;
	struct cursor from = {iov, 0};
	struct amp_vsock_hdr out = *h;
	uint32_t left = len;
	int r = 0;

	out.flags = flags_of(h);
	w->packets++;
	w->bytes += len;
	amp_work_queue(&to->work); /* kicks, and delivers */
	if (to->vs.out && !to->vs.tx_starved && !to->promised && TAILQ_EMPTY(&to->waiting)) {
		do
			r = put_packet(to, &out, &from, &left);
		while (r > 0 && left);
	}
	if (r <= 0)
		store(w, &out, &from, left);
}

/* ---- from the queue ---- */

static void pop(struct amp_join_way *w, uint32_t len)
{
	struct amp_join_chunk *c = w->head;

	c->get += AMP_VSOCK_HDR_LEN + (size_t)len;
	w->queued -= AMP_VSOCK_HDR_LEN + (size_t)len;
	w->done = 0;
	if (c->get < c->put)
		return;
	w->head = c->next;
	if (!w->head) {
		w->tail = NULL;
		TAILQ_REMOVE(&w->to->waiting, w, waiting_entry);
	}
	free(c);
}

/* At most max packets of the first record: how many, or -EBADMSG. */
static int turn(struct amp_join_way *w, unsigned max)
{
	struct amp_join_chunk *c = w->head;
	struct amp_vsock_hdr h;
	struct cursor from;
	struct amp_iov iov;
	uint32_t left, len;
	unsigned n = 0;
	int r;

	memcpy(&h, c->mem + c->get, sizeof(h));
	len = h.len;
	left = len - w->done;
	iov = (struct amp_iov){c->mem + c->get + AMP_VSOCK_HDR_LEN + w->done, left};
	from = (struct cursor){&iov, 0};
	do {
		r = put_packet(w->to, &h, &from, &left);
		n += r > 0;
	} while (r > 0 && left && n < max);
	w->to->join_moved += len - w->done - left;
	w->done = len - left;
	if (n && !left)
		pop(w, len);
	return r < 0 ? r : (int)n;
}

void amp_join_deliver(struct amp_vlink *vl, bool last)
{
	struct amp_join_way *w = TAILQ_FIRST(&vl->waiting);
	unsigned avail;

	if (!w || !vl->vs.out)
		return;
	if (last && (vl->vs.tx_starved || vl->promised)) {
		if (vl->promised)
			amp_work_queue(&vl->work); /* what the guest's own flows leave */
		return;
	}
	avail = amp_vq_avail(vl->vs.out);
	if (!last)
		avail = amp_vlink_share(vl, avail);
	while (avail && w && vl->join_moved < AMP_JOIN_TURN) {
		int n = w->lost ? torn(vl, "no memory for its packets")
				: turn(w, avail < TURN ? avail : TURN);

		if (n <= 0)
			break;
		avail -= (unsigned)n;
		if (w->head) {
			TAILQ_REMOVE(&vl->waiting, w, waiting_entry);
			TAILQ_INSERT_TAIL(&vl->waiting, w, waiting_entry);
		}
		w = TAILQ_FIRST(&vl->waiting);
	}
	if (w && last && vl->join_moved >= AMP_JOIN_TURN)
		amp_work_queue(&vl->work);
	else if (w && last)
		vl->vs.tx_starved = true; /* the driver is to say when it has new ones */
}

void amp_join_drop(struct amp_join_way *w)
{
	if (w->head || w->lost)
		TAILQ_REMOVE(&w->to->waiting, w, waiting_entry);
	while (w->head) {
		struct amp_join_chunk *c = w->head;

		w->head = c->next;
		free(c);
	}
	w->tail = NULL;
	w->queued = 0;
	w->done = 0;
	w->lost = false;
}
