// SPDX-License-Identifier: BSD-3-Clause
/* Theory of operation: join.h. */
#include <bsd/stdlib.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "../wire/offload.h"
#include "join_inner.h"

TAILQ_HEAD(join_list, amp_join);

static struct join_list joins = TAILQ_HEAD_INITIALIZER(joins);
/* By a reload: only what they had still to say is left of them. */
static struct join_list ended = TAILQ_HEAD_INITIALIZER(ended);

static uint32_t last_num;

/* ---- pairs ---- */

/* Multiplied with what no guest knows: ports chosen to share a bucket are not to be had. */
static struct amp_join_pair **bucket(struct amp_join *j, const uint32_t port[2])
{
	uint64_t h = j->key[0] * port[0] + j->key[1] * port[1];

	return &j->hash[h >> (64u - AMP_JOIN_HASH_BITS)];
}

static struct amp_join_pair *find(struct amp_join *j, const uint32_t port[2], unsigned type)
{
	struct amp_join_pair *p = *bucket(j, port);

	while (p && (p->port[0] != port[0] || p->port[1] != port[1] || p->type != type))
		p = p->next;
	return p;
}

/* Both guests' journals have it: one of them may be taken over by itself. */
static void note(struct amp_join *j, struct amp_join_pair *p)
{
	for (unsigned i = 0; i < 2; i++) {
		struct amp_vlink *vl = j->way[i].from, *other = j->way[i].to;
		struct amp_vsock_ends ends = {
			{other->link.conf->cid, p->port[!i]},
			{vl->link.conf->cid, p->port[i]},
		};

		p->noted[i] = amp_journal_note(vl->journal, &ends, p->type);
	}
}

/* For whoever lists them: no two of a link's ends, in its ring or here, have one number. */
static void number(struct amp_join *j, struct amp_join_pair *p)
{
	for (unsigned i = 0; i < 2; i++)
		p->num[i] = ++j->way[i].from->link.next_end;
	TAILQ_INSERT_TAIL(&j->pairs, p, entry);
}

static void forget(struct amp_join *j, struct amp_join_pair *p)
{
	struct amp_join_pair **at = bucket(j, p->port);

	for (unsigned i = 0; i < 2; i++)
		amp_journal_strike(j->way[i].from->journal, &p->noted[i]);

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	TAILQ_REMOVE(&j->pairs, p, entry);
	if (!p->open)
		TAILQ_REMOVE(&j->way[p->opener].asked, p, asked_entry);
	j->way[p->opener].pairs--;
	free(p);
}

/* RST to the guest at the end of the way, as from the other. */
static void send_rst(struct amp_join_way *w, const struct amp_join_pair *p)
{
	struct amp_vsock_hdr h = {
		.src_cid = w->from->link.conf->cid,
		.dst_cid = w->to->link.conf->cid,
		.src_port = p->port[w->side],
		.dst_port = p->port[!w->side],
		.type = p->type,
		.op = AMP_VSOCK_OP_RST,
	};

	amp_join_send(w, &h, NULL, 0);
}

/* What was asked for too long ago to be answered any more. */
static void expire(struct amp_join_way *w, uint64_t now_ms)
{
	struct amp_join_way *back = &w->join->way[!w->side];
	struct amp_join_pair *p;

	while ((p = TAILQ_FIRST(&w->asked)) != NULL &&
	       now_ms - p->asked_ms >= AMP_JOIN_ASK_MS) {
		send_rst(w, p);
		send_rst(back, p);
		forget(w->join, p);
	}
}

/* The sender broke a rule (why), or there is no room (NULL, and said): both ends hear of it,
 * the sender from the engine. */
static bool end_pair(struct amp_join_way *w, struct amp_join_pair *p, const char *why)
{
	if (why)
		w->from->vs.why = why;
	w->join->resets++;
	send_rst(w, p);
	forget(w->join, p);
	return false;
}

/* ---- what may pass ---- */

static void refuse(struct amp_vlink *vl, const struct amp_vsock_hdr *h, const char *why)
{
	vl->link.stats.refused++;
	amp_log_some(&vl->link.log_refused, AMP_LOG_WARN,
		     "link %s: the guest asked for CID %" PRIu64 " port %" PRIu32 " (%s): %s",
		     vl->link.conf->name, h->dst_cid, h->dst_port,
		     h->type == AMP_VSOCK_SEQPACKET ? "seqpacket" : "stream", why);
}

/* The offload protocol is between a guest and the proxy: carriers come from CID 2 alone. */
static bool reserved(uint32_t port)
{
	return port == AMP_OFF_PORT || port == AMP_OFF_ACCEPT_PORT;
}

/* Why a new connection cannot be, in words; NULL: it can. */
static const char *request_fault(const struct amp_join_way *w, const struct amp_vsock_hdr *h)
{
	if (reserved(h->dst_port) || reserved(h->src_port))
		return "a port of the offload protocol, which is the proxy's";
	if (!w->to->link.up)
		return "no guest is attached there";
	if (h->type == AMP_VSOCK_SEQPACKET && !w->to->vs.seqpacket)
		return "the guest there has no seqpacket";
	if (w->pairs >= AMP_JOIN_PAIRS)
		return "too many connections between these two guests";
	if (!amp_join_room(w, 0))
		return "too much waits for the guest there already";
	/* what it is told of it waits, too, until it takes it */
	if (!amp_join_room(&w->join->way[!w->side], 0))
		return "too much waits for this guest already";
	return NULL;
}

/* The predecessor knew this very pair: whatever the guest thinks of it, it starts anew. */
static bool claimed(struct amp_join_way *w, const struct amp_vsock_hdr *h)
{
	struct amp_vsock_addr to = {(uint32_t)h->dst_cid, h->dst_port};
	struct amp_vsock_addr from = {(uint32_t)h->src_cid, h->src_port};
	struct amp_vsock_ends mine = {to, from}, other = {from, to};

	/* the other guest is to hear its RST first */
	return amp_journal_claim(w->from->journal, &mine, h->type) ||
	       amp_journal_waits(w->to->journal, &other, h->type);
}

/* REQUEST. The same once more, unanswered yet, begins anew: its guest has forgotten the first. */
static bool request(struct amp_join_way *w, const struct amp_vsock_hdr *h,
		    const uint32_t port[2])
{
	struct amp_join_pair *p;
	uint64_t now_ms = amp_now_ms();
	struct amp_join_pair **at;
	const char *why;

	expire(w, now_ms);
	if (claimed(w, h))
		return false;
	p = find(w->join, port, h->type);
	if (p && (p->open || p->opener != w->side))
		return end_pair(w, p,
				"REQUEST on a connection that is there (virtio 5.10.6.4)");
	why = request_fault(w, h);
	if (!why && !p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			why = "no memory";
	} else if (why && p) {
		send_rst(w, p); /* it may have answered meanwhile */
		forget(w->join, p);
	}
	if (why) {
		refuse(w->from, h, why);
		return false;
	}
	if (!p->type) { /* a fresh one */
		p->port[0] = port[0];
		p->port[1] = port[1];
		p->type = (uint8_t)h->type;
		p->opener = (uint8_t)w->side;
		at = bucket(w->join, port);
		p->next = *at;
		*at = p;
		number(w->join, p);
		note(w->join, p);
		w->pairs++;
		TAILQ_INSERT_TAIL(&w->asked, p, asked_entry);
		p->asked_ms = now_ms;
	}
	p->end[w->side].alloc = h->buf_alloc;
	p->end[w->side].shut = 0;
	amp_join_send(w, h, NULL, 0);
	return true;
}

/* What the header says of the sender's buffer. NULL, or what is wrong with it. */
static const char *credit_fault(struct amp_join_pair *p, unsigned me,
				const struct amp_vsock_hdr *h)
{
	struct amp_join_end *e = &p->end[me];
	uint32_t sent = p->end[!me].sent;

	if (sent - h->fwd_cnt > sent - e->fwd)
		return "fwd_cnt beyond what was sent (virtio 5.10.6.3)";
	e->fwd = h->fwd_cnt;
	/* one that makes its buffer smaller still gets what was under way */
	if (h->buf_alloc > e->alloc)
		e->alloc = h->buf_alloc;
	return NULL;
}

/* A packet of a connection that is known, neither REQUEST nor RST: NULL, or why it must not be. */
static const char *known_fault(struct amp_join_way *w, struct amp_join_pair *p,
			       const struct amp_vsock_hdr *h, uint32_t len)
{
	unsigned me = w->side;
	struct amp_join_end *e = &p->end[me];
	const char *why = credit_fault(p, me, h);

	if (why)
		return why;
	if (h->op == AMP_VSOCK_OP_RESPONSE) {
		if (p->open || p->opener == me)
			return "RESPONSE to no REQUEST (virtio 5.10.6.4)";
		p->open = true;
		TAILQ_REMOVE(&w->join->way[p->opener].asked, p, asked_entry);
	} else if (h->op == AMP_VSOCK_OP_RW && !p->open) {
		return "data on a connection that is not open (virtio 5.10.6.4)";
	} else if (h->op == AMP_VSOCK_OP_INVALID || h->op > AMP_VSOCK_OP_CREDIT_REQUEST) {
		return "unknown operation (virtio 5.10.6.4)";
	}
	if (len > AMP_JOIN_PACKET)
		return "a packet of more than 1 MiB";
	if (len > p->end[!me].alloc || e->sent - p->end[!me].fwd > p->end[!me].alloc - len)
		return "more data than credit (virtio 5.10.6.3)";
	e->sent += len;
	e->total += len;
	if (h->op == AMP_VSOCK_OP_SHUTDOWN)
		e->shut |= h->flags & (AMP_VSOCK_SHUTDOWN_RCV | AMP_VSOCK_SHUTDOWN_SEND);
	return NULL;
}

/* Nobody's fault, or that of the guest that takes nothing. */
static const char *say_full(struct amp_join_way *w)
{
	amp_log_some(
		&w->from->link.log_refused, AMP_LOG_WARN,
		"link %s: a connection to joined guest %s is reset: %zu bytes wait for that "
		"already",
		w->from->link.conf->name, w->to->link.conf->name, w->queued);
	return NULL;
}

static struct amp_join_way *way_to(struct amp_vlink *vl, uint64_t cid)
{
	struct amp_join_way *w;

	TAILQ_FOREACH(w, &vl->joined, joined_entry)
	{
		if (w->to->link.conf->cid == cid)
			break;
	}
	return w;
}

bool amp_join_packet(struct amp_vsock *vs, const struct amp_vsock_hdr *h,
		     const struct amp_vsock_rx *rx)
{
	struct amp_vlink *vl = vs->owner;
	struct amp_join_way *w = way_to(vl, h->dst_cid);
	bool data = h->op == AMP_VSOCK_OP_RW;
	struct amp_join_pair *p;
	uint32_t port[2], len;
	const char *why;

	if (!w) {
		if (h->op == AMP_VSOCK_OP_REQUEST)
			refuse(vl, h, "no join leads there");
		return false;
	}
	port[w->side] = h->src_port;
	port[!w->side] = h->dst_port;
	if (h->op == AMP_VSOCK_OP_REQUEST)
		return request(w, h, port);
	p = find(w->join, port, h->type);
	if (!p) /* RST, which is answered to everything but RST */
		return false;
	if (h->op == AMP_VSOCK_OP_RST) {
		send_rst(w, p);
		forget(w->join, p);
		return true;
	}
	len = data ? rx->len : 0;
	vl->link.stats.rx_bytes += len;
	why = known_fault(w, p, h, len);
	if (why)
		return end_pair(w, p, why);
	if (!amp_join_room(w, len))
		return end_pair(w, p, say_full(w));
	amp_join_send(w, h, data ? rx->iov : NULL, len);
	vl->join_moved += len;
	if (vl->join_moved >= AMP_JOIN_TURN)
		vs->enough = true;
	return true;
}

/* ---- life ---- */

int amp_join_new(struct amp_link *a, struct amp_link *b)
{
	struct amp_join *j = calloc(1, sizeof(*j));
	struct amp_vlink *vl[2] = {amp_container_of(a, struct amp_vlink, link),
				   amp_container_of(b, struct amp_vlink, link)};

	if (!j)
		return -ENOMEM;
	arc4random_buf(j->key, sizeof(j->key));
	j->num = ++last_num;
	TAILQ_INIT(&j->pairs);
	for (unsigned i = 0; i < 2; i++) {
		struct amp_join_way *w = &j->way[i];

		w->join = j;
		w->side = i;
		w->from = vl[i];
		w->to = vl[!i];
		TAILQ_INIT(&w->asked);
		TAILQ_INSERT_TAIL(&vl[i]->joined, w, joined_entry);
		vl[i]->join_cnt++;
	}
	TAILQ_INSERT_TAIL(&joins, j, entry);
	return 0;
}

void amp_join_reset(struct amp_vlink *vl)
{
	struct amp_join_way *w;

	TAILQ_FOREACH(w, &vl->joined, joined_entry)
	{
		struct amp_join *j = w->join;

		for (unsigned i = 0; i < AMP_JOIN_HASH; i++) {
			while (j->hash[i]) {
				j->resets++;
				send_rst(w, j->hash[i]);
				send_rst(&j->way[!w->side], j->hash[i]);
				forget(j, j->hash[i]);
			}
		}
	}
}

void amp_join_down(struct amp_vlink *vl)
{
	struct amp_join_way *w;

	while ((w = TAILQ_FIRST(&vl->waiting)) != NULL)
		amp_join_drop(w);
	TAILQ_FOREACH(w, &vl->joined, joined_entry)
	{
		struct amp_join *j = w->join;

		for (unsigned i = 0; i < AMP_JOIN_HASH; i++) {
			while (j->hash[i]) {
				if (w->to->link.up)
					send_rst(w, j->hash[i]);
				forget(j, j->hash[i]);
			}
		}
	}
}

/* What waits for the guests is delivered first. */
static void free_ended(bool all)
{
	struct amp_join *j, *next;

	for (j = TAILQ_FIRST(&ended); j; j = next) {
		next = TAILQ_NEXT(j, entry);
		if (!all &&
		    (j->way[0].head || j->way[0].lost || j->way[1].head || j->way[1].lost))
			continue;
		TAILQ_REMOVE(&ended, j, entry);
		amp_join_drop(&j->way[0]);
		amp_join_drop(&j->way[1]);
		free(j);
	}
}

void amp_join_end(struct amp_link *a, struct amp_link *b)
{
	struct amp_vlink *vl = amp_container_of(a, struct amp_vlink, link);
	struct amp_join_way *w;
	struct amp_join *j;

	free_ended(false);
	TAILQ_FOREACH(w, &vl->joined, joined_entry)
	{
		if (&w->to->link == b)
			break;
	}
	if (!w)
		return;
	j = w->join;
	for (unsigned i = 0; i < AMP_JOIN_HASH; i++) {
		while (j->hash[i]) {
			for (unsigned side = 0; side < 2; side++) {
				if (j->way[side].to->link.up)
					send_rst(&j->way[side], j->hash[i]);
			}
			j->way[j->hash[i]->opener].from->link.stats.cut++;
			forget(j, j->hash[i]);
		}
	}
	for (unsigned side = 0; side < 2; side++) {
		w = &j->way[side];
		TAILQ_REMOVE(&w->from->joined, w, joined_entry);
		w->from->join_cnt--;
	}
	TAILQ_REMOVE(&joins, j, entry);
	TAILQ_INSERT_TAIL(&ended, j, entry);
}

void amp_joins_free(void)
{
	struct amp_join *j;

	free_ended(true);
	while ((j = TAILQ_FIRST(&joins)) != NULL) {
		TAILQ_REMOVE(&joins, j, entry);
		amp_join_drop(&j->way[0]);
		amp_join_drop(&j->way[1]);
		free(j);
	}
}

void amp_join_stats(void)
{
	const struct amp_join *j;

	TAILQ_FOREACH(j, &joins, entry)
	{
		const struct amp_join_way *a = &j->way[0], *b = &j->way[1];

		amp_log_counters("join=%s,%s pairs=%" PRIu32 " packets=%" PRIu64 ",%" PRIu64
				 " bytes=%" PRIu64 ",%" PRIu64
				 " waiting=%zu,%zu resets=%" PRIu64,
				 a->from->link.conf->name, b->from->link.conf->name,
				 a->pairs + b->pairs, a->packets, b->packets, a->bytes,
				 b->bytes, a->queued, b->queued, j->resets);
	}
}
