// SPDX-License-Identifier: BSD-3-Clause
/*
 * The engine's connections: by address, what they owe, and what the packets do that carry no
 * data (vsock.c has the theory of operation).
 */
#include <errno.h>
#include <string.h>

#include "../conn/meter.h"
#include "../port/port.h"
#include "vsock_fast.h"
#include "vsock_inner.h"

/* ---- by address ---- */

static inline struct amp_vsock_conn *find(const struct amp_vsock *vs,
					  const struct amp_vsock_ends *ends, unsigned type)
{
	struct amp_vsock_conn *c = *bucket(vs, ends);

	while (c && (memcmp(&c->ends, ends, sizeof(c->ends)) || c->type != type))
		c = c->hash_next;
	return c;
}

/* One copy, for this file, too. */
__attribute__((noinline)) struct amp_vsock_conn *amp_vsock_find(
	const struct amp_vsock *vs, const struct amp_vsock_ends *ends, unsigned type)
{
	return find(vs, ends, type);
}

#if AMPSOCK_FAST
/* What vsock.c's header_fault() says of addresses, and no foreign ones: those have a hook. */
struct amp_vsock_conn *amp_vsock_other(struct amp_vsock *vs,
				       const volatile struct amp_vsock_hdr *h)
{
	uint64_t src = h->src_cid, dst = h->dst_cid;
	struct amp_vsock_ends ends = {amp_vsock_at((uint32_t)dst, h->dst_port),
				      amp_vsock_at((uint32_t)src, h->src_port)};
	struct amp_vsock_conn *c;

	if (dst != vs->local_cid || src == AMP_VSOCK_CID_LOCAL || src >> 32 ||
	    (amp_vsock_guest(vs) && src != amp_vsock_guest(vs)))
		return NULL;
	c = find(vs, &ends, h->type);
	if (c)
		vs->recent = c;
	return c;
}
#endif

static void hash_add(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	struct amp_vsock_conn **head = bucket(vs, &c->ends);

	c->hash_next = *head;
	*head = c;
}

void amp_vsock_conn_init(struct amp_vsock *vs, struct amp_vsock_conn *c, uint8_t state)
{
	/* all behind buf_alloc; AF_RPMSG's alone are new each time (priv_anew()) */
	if (QUEUES)
		memset(&c->reserved, 0, sizeof(*c) - offsetof(struct amp_vsock_conn, reserved));
	c->standing = AMP_VSOCK_STANDING(state, c->type);
#if AMP_VSOCK_CONN_KNOWS
	c->vs = vs;
#endif
	if (AMP_VSOCK_LOOP_TOLD)
		c->loop = amp_vsock_cid(&c->peer) == AMP_VSOCK_CID_LOCAL;
	hash_add(vs, c);
}

/* ---- what is owed, and the end ---- */

void amp_vsock_owe(struct amp_vsock *vs, struct amp_vsock_conn *c, uint8_t bits)
{
	bool listed = (c->owed & AMP_VSOCK_LISTED) != 0;

	c->owed |= bits | AMP_VSOCK_LISTED;
	if (listed)
		return;
	c->owed_next = NULL;
	if (vs->owed_head)
		vs->owed_tail->owed_next = c;
	else
		vs->owed_head = c;
	vs->owed_tail = c;
}

/* The end: with an RST, or without when the peer has sent one or knows nothing of us. */
static void die(struct amp_vsock *vs, struct amp_vsock_conn *c, bool rst)
{
	if (c->state == AMP_CONN_DEAD)
		return;
	if (c->state == AMP_CONN_CONNECTING && (c->owed & AMP_OWE_REQUEST))
		rst = false;
	c->state = AMP_CONN_DEAD;
	c->owed &= AMP_VSOCK_LISTED;
	amp_vsock_no_deadline(c);
	amp_vsock_owe(vs, c, rst ? AMP_OWE_RST : 0);
}

/* The end, and not one that the owner asked for: it is told, once. */
static void reset(struct amp_vsock *vs, struct amp_vsock_conn *c, bool rst)
{
	uint8_t was = c->state;

	die(vs, c, rst);
	if (was != AMP_CONN_CLOSING && was != AMP_CONN_DEAD)
		tell_event(vs, c, AMP_VSOCK_EV_RESET);
}

void amp_vsock_conn_lied(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	vs->stats.resets++;
	reset(vs, c, true);
}

/* ---- in ---- */

/* The peer has closed both ways and everything of it is consumed: the orderly end. */
static bool drained(const struct amp_vsock_conn *c)
{
	return c->peer_shut == SHUT_BOTH && amp_credit_held(&c->credit) == 0;
}

static void in_shutdown(struct amp_vsock *vs, struct amp_vsock_conn *c, uint32_t flags)
{
	uint8_t was = c->peer_shut;

	c->peer_shut |= flags & SHUT_BOTH;
	if (c->state == AMP_CONN_CLOSING) {
		if (c->peer_shut == SHUT_BOTH)
			die(vs, c, true);
		return;
	}
	if (c->peer_shut != was)
		tell_event(vs, c, AMP_VSOCK_EV_SHUT);
	amp_vsock_consumed(vs, c, 0); /* perhaps all was, before */
}

static inline void in_data(struct amp_vsock *vs, struct amp_vsock_conn *c,
			   struct amp_vsock_rx *rx)
{
	int r;

	if (c->state == AMP_CONN_CLOSING)
		return; /* nobody reads it any more */
	if (c->state != AMP_CONN_OPEN || (c->peer_shut & AMP_VSOCK_SHUTDOWN_SEND)) {
		conn_lied(vs, c, "data on a connection that is not open (virtio 5.10.6.4)");
		return;
	}
	if (!amp_credit_rx_ok(&c->credit, c->buf_alloc, rx->len)) {
		conn_lied(vs, c, "more data than credit (virtio 5.10.6.3)");
		return;
	}
	amp_credit_received(&c->credit, rx->len);
	if (c->shut & AMP_VSOCK_SHUTDOWN_RCV) {
		amp_vsock_consumed(vs, c, rx->len);
		return;
	}
	if (!QUEUES || c->type == AMP_VSOCK_STREAM) { /* a path has no messages */
		if (rx->len == 0)
			return;
	} else if (!(rx->flags & AMP_VSOCK_SEQ_EOM)) {
		/*
		 * Nobody reads half a message, and it may be longer than the credit that its
		 * sender knows of (Linux begins it nevertheless): what was read before it, or
		 * is read now, is told at once, however little, or both wait for ever.
		 */
		c->eager = 1;
		amp_vsock_consumed(vs, c, 0);
	}
	r = tell_data(vs, c, rx);
	if (r < 0)
		conn_lied(vs, c, "receive buffer overrun");
	else if (OWNERS)
		rx->held = r > 0;
}

void amp_vsock_in_rst(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	c->owed &= AMP_VSOCK_LISTED; /* nothing more to say, not even an RST of ours */
	/* after the peer's SHUTDOWN of both, or our own, an RST is the orderly end (5.10.6.5):
	 * nobody is told that it was none */
	if (c->shut == SHUT_BOTH || c->peer_shut == SHUT_BOTH)
		c->state = AMP_CONN_CLOSING;
	reset(vs, c, false);
}

void amp_vsock_stray_rst(struct amp_vsock *vs, const struct amp_vsock_ends *ends, unsigned type)
{
	stray_rst(vs, ends, type);
}

/* What every packet says of the peer's buffer. False: it claims more than was sent. */
static inline bool in_credit(struct amp_vsock *vs, struct amp_vsock_conn *c,
			     const struct amp_vsock_say *h)
{
	bool news = (h->buf_alloc ^ c->credit.peer_buf_alloc) |
		    (h->fwd_cnt ^ c->credit.peer_fwd_cnt);

	if (!amp_credit_peer(&c->credit, h->buf_alloc, h->fwd_cnt))
		return false;
	if (news && c->starved) {
		/* nor is the peer asked any more for what has come: who wants more will say so */
		c->standing &= ~AMP_VSOCK_DROUGHT;
		tell_event(vs, c, AMP_VSOCK_EV_WRITABLE);
	}
	return true;
}

/* Of a connection that is known, and neither over nor still to be answered. */
static inline void in_open(struct amp_vsock *vs, struct amp_vsock_conn *c,
			   const struct amp_vsock_say *h, struct amp_vsock_rx *rx)
{
	switch (h->op) {
	case AMP_VSOCK_OP_RW:
		in_data(vs, c, rx);
		break;
	case AMP_VSOCK_OP_SHUTDOWN:
		in_shutdown(vs, c, h->flags);
		break;
	case AMP_VSOCK_OP_CREDIT_REQUEST:
		c->eager = 1; /* it waits for more than it has: tell it of the next byte, too */
		amp_vsock_owe(vs, c, AMP_OWE_CREDIT);
		break;
	case AMP_VSOCK_OP_CREDIT_UPDATE:
		break;
	default:
		conn_lied(vs, c, "operation out of place (virtio 5.10.6.4)");
		break;
	}
}

/* For paths, too (vsock.h). */
void amp_vsock_input_for(struct amp_vsock *vs, struct amp_vsock_conn *c,
			 const struct amp_vsock_say *h, struct amp_vsock_rx *rx)
{
	if (h->op == AMP_VSOCK_OP_RST) {
		amp_vsock_in_rst(vs, c);
		return;
	}
	if (c->state == AMP_CONN_DEAD) {
		/* as if unknown: who asks anew for a pair that is about to go must hear of it
		 */
		amp_vsock_owe(vs, c, AMP_OWE_RST);
		return;
	}
	if (!in_credit(vs, c, h)) {
		conn_lied(vs, c, "fwd_cnt beyond what was sent (virtio 5.10.6.3)");
		return;
	}
	if (c->state == AMP_CONN_CONNECTING) {
		if (h->op != AMP_VSOCK_OP_RESPONSE || (c->owed & AMP_OWE_REQUEST)) {
			conn_lied(vs, c, "no RESPONSE to a REQUEST (virtio 5.10.6.4)");
			return;
		}
		c->state = AMP_CONN_OPEN;
		tell_event(vs, c, AMP_VSOCK_EV_OPEN);
		return;
	}
	if (OWNERS && c->state == AMP_CONN_DEAD) /* by the hook's own will, when credit came */
		return;
	in_open(vs, c, h, rx);
}

/* ---- for paths (vsock.h) ---- */

void amp_vsock_rekey(struct amp_vsock *vs, struct amp_vsock_conn *c, uint32_t peer_port)
{
	if (!ONE_BUCKET)
		hash_del(vs, c);
	c->peer.port = peer_port;
	if (!ONE_BUCKET)
		hash_add(vs, c);
}

/* ---- the door ---- */

void amp_vsock_init(struct amp_vsock *vs)
{
	vsock_begin(vs);
}

void amp_vsock_down(struct amp_vsock *vs)
{
	if (QUEUES) {
		vs->in = vs->out = NULL;
		vs->tx_starved = false;
		vs->stray_cnt = 0;
		if (!AMP_VSOCK_ROOM_APART && !OWED_TO_NOBODY)
			STRANGER(vs)->owed &= AMP_VSOCK_LISTED;
	}
	for (uint32_t i = 0; i < BUCKETS; i++) {
		struct amp_vsock_conn *c, *next;

		for (c = vs->hash[i]; c; c = next) {
			next = c->hash_next;
			if (PATHS && c->loop && path_stays(vs))
				continue;
			reset(vs, c, false);
			if (!OWED_TO_NOBODY)
				c->owed = AMP_VSOCK_LISTED; /* nothing can be sent */
		}
	}
	(void)amp_vsock_flush(vs);
}

int32_t amp_vsock_tick(struct amp_vsock *vs, uint32_t now_ms)
{
	int32_t next = -1;

	amp_vsock_set_timed(vs, false);
	for (uint32_t i = 0; i < BUCKETS; i++) {
		for (struct amp_vsock_conn *c = vs->hash[i]; c; c = c->hash_next) {
			int32_t left = (int32_t)(c->deadline_ms - now_ms);

			if (!c->deadline_ms)
				continue;
			amp_vsock_set_timed(vs, true);
			/* of those that are open: the meter, which AF_RPMSG has not */
			if (QUEUES && left <= 0 && c->state == AMP_CONN_OPEN) {
				c->asked =
					0; /* the answer may have come before there was news */
				amp_vsock_want_credit(vs, c);
				left = AMP_METER_MS;
				amp_vsock_deadline(vs, c, now_ms + AMP_METER_MS);
			} else if (left <= 0) {
				die(vs, c, true);
				left = 0;
			}
			next = amp_sooner(next, left);
		}
	}
	return next;
}

int amp_vsock_open(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	bool loop = amp_vsock_cid(&c->peer) == AMP_VSOCK_CID_LOCAL;

	/* a library's family has found the link up, and its CID */
	if (QUEUES && !PLAIN && (loop ? !vs->path : !vs->out))
		return -ENETDOWN;
	if (QUEUES && !PLAIN && loop)
		c->local = amp_vsock_at(AMP_VSOCK_CID_LOCAL, c->local.port);
	/* a path that is alone has no two connections from one port */
	if (QUEUES && amp_vsock_find(vs, &c->ends, c->type))
		return -EADDRINUSE;
	amp_vsock_conn_init(vs, c, AMP_CONN_CONNECTING);
	amp_vsock_owe(vs, c, AMP_OWE_REQUEST);
	return 0;
}

void amp_vsock_abort(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	if (c->state != AMP_CONN_FREE)
		die(vs, c, true);
}

void amp_vsock_shutdown(struct amp_vsock *vs, struct amp_vsock_conn *c, uint8_t flags)
{
	if (c->state != AMP_CONN_OPEN || (c->shut & flags) == flags)
		return;
	c->shut = (c->shut | flags) & SHUT_BOTH;
	amp_vsock_owe(vs, c, AMP_OWE_SHUTDOWN);
}

void amp_vsock_close(struct amp_vsock *vs, struct amp_vsock_conn *c, uint32_t now_ms,
		     uint32_t wait_ms)
{
	if (c->state != AMP_CONN_OPEN || c->peer_shut == SHUT_BOTH || wait_ms == 0) {
		/* a socket closes once, and what the engine knows */
		if (PLAIN || (c->state != AMP_CONN_CLOSING && c->state != AMP_CONN_FREE))
			die(vs, c, true);
		return;
	}
	if (c->shut != SHUT_BOTH) {
		c->shut = SHUT_BOTH;
		amp_vsock_owe(vs, c, AMP_OWE_SHUTDOWN);
	}
	/* nothing more to ask for, or to tell: behind SHUTDOWN it may find no connection any more, and the
	 * RST for that the next one from here; nor does anybody wait for credit */
	c->standing &= ~(AMP_VSOCK_DROUGHT | AMP_OWE_CREDIT << 16);
	c->state = AMP_CONN_CLOSING;
	amp_vsock_deadline(vs, c, now_ms + wait_ms);
}

int amp_vsock_why_not_send(const struct amp_vsock_conn *c)
{
	if ((c->shut & AMP_VSOCK_SHUTDOWN_SEND) || (c->peer_shut & AMP_VSOCK_SHUTDOWN_RCV))
		return -EPIPE;
	if (c->state == AMP_CONN_OPEN)
		return 0;
	return c->state == AMP_CONN_CONNECTING || c->state == AMP_CONN_REQUESTED ? -ENOTCONN
										 : -ECONNRESET;
}

uint32_t amp_vsock_tx_space(const struct amp_vsock *vs, const struct amp_vsock_conn *c)
{
	uint32_t space = credit_left(c);

	if (amp_vsock_may_send_on(c) || space == 0 || must_queue(vs, c))
		return 0;
	return tx_ready(vs, LOOP(vs, c)) ? space : 0;
}

void amp_vsock_want_credit(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	bool before = c->asked;

	if (!PLAIN && c->state != AMP_CONN_OPEN) /* as want_tx() */
		return;
	/* 5.10.6.3: ask once per drought, for peers that do not volunteer updates */
	c->starved = 1;
	c->asked = 1;
	if (!before)
		amp_vsock_owe(vs, c, AMP_OWE_CREDIT_REQ);
}

void amp_vsock_want_tx(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	want_tx(vs, c, 1);
}

void amp_vsock_consumed(struct amp_vsock *vs, struct amp_vsock_conn *c, uint32_t n)
{
	c->credit.fwd_cnt += n;
	if (c->state != AMP_CONN_OPEN)
		return;
	if (c->peer_shut & AMP_VSOCK_SHUTDOWN_SEND) {
		if (drained(c))
			die(vs, c, true);
	} else if (amp_credit_news(&c->credit) &&
		   (c->eager || amp_credit_update_due(&c->credit, c->buf_alloc))) {
		c->eager = 0;
		amp_vsock_owe(vs, c, AMP_OWE_CREDIT);
	}
}
