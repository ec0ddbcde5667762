/* SPDX-License-Identifier: BSD-3-Clause */
/* The AF_VSOCK family's links, for the files of this room that bring one up. */
#ifndef AMP_AF_VSOCK_H
#define AMP_AF_VSOCK_H

#include <string.h>

#include "../conn/meter.h"
#include "../socket/family.h"
#include "vsock_fast.h"

#define AMP_VLINK_LOOP	AMPSOCK_VSOCK_LINKS /* the in-core loop comes behind the links */
#define AMP_VLINK_RPMSG (AMPSOCK_VSOCK_LINKS + AMPSOCK_LOOP) /* and AF_RPMSG's behind it */
#define AMP_VLINK_CNT	(AMP_VLINK_RPMSG + AMPSOCK_RPMSG)

/* Segments of a received chain: a driver's own buffers have one, a device takes any. */
#define AMP_VLINK_IOV (AMP_VQ_CHAINS ? 66 : 1)

struct amp_vdev;

/* One link, whatever its transport: an engine and its memory. Everything under the stack lock.
 */
struct amp_vlink {
	union {
		struct amp_runner runner; /* first: found through it */
		struct {
			uint8_t runner_head[offsetof(struct amp_runner, own)];
			uint8_t index;
			uint8_t out_bit; /* of the queue that leaves, for runner.kick() */
			uint8_t q_cnt;
			bool up;
		};
	};
	/* early, as what else is looked at often: short offsets are short instructions */
	struct amp_vdev *vd;	/* a driver's device */
	const struct amp_vq *q; /* its queues, for the statistics */
	uint8_t event_in;	/* its looks at the links until the event queue's turn */
	uint8_t last; /* its turns of what a device that is gone has left, if one is not enough */
#if AMPSOCK_FAST
	bool whole;	  /* it had a whole turn since kick_due() asked */
	uint32_t in_half; /* half the in queue's entries */
	/* packets more, and the peer may want to hear of the buffers that went back */
	uint32_t in_left;
#endif
#if AMP_VSOCK_ROOM_APART
	struct amp_vsock_conn *hash[AMPSOCK_HASH];
	struct amp_iov iov[AMP_VLINK_IOV];
	struct amp_vsock_stray stray[AMP_VSOCK_STRAYS];
#endif
	struct amp_vsock vs; /* last: an rpmsg link has more of it (struct amp_rstream) */
};

#if AMP_VSOCK_ROOM_APART
static inline void amp_vlink_room(struct amp_vlink *l)
{
	l->vs.hash = l->hash;
	l->vs.hash_len = AMPSOCK_HASH;
	l->vs.iov = l->iov;
	l->vs.iov_max = AMP_VLINK_IOV;
	l->vs.stray = l->stray;
	l->vs.stray_len = AMP_VSOCK_STRAYS;
}
#else
static inline void amp_vlink_room(struct amp_vlink *l)
{
	(void)l; /* the engine has it in it */
}
#endif

extern const struct amp_vsock_ops amp_vlink_ops;
#if AMP_VSOCK_OPS
static inline void amp_vlink_hooks(struct amp_vsock *vs)
{
	vs->ops = &amp_vlink_ops;
}
#else
static inline void amp_vlink_hooks(struct amp_vsock *vs)
{
	(void)vs; /* called by name */
}
#endif

extern const struct amp_family amp_vsock_family;
extern struct amp_vlink *amp_vlinks[AMP_VLINK_CNT];

/* Every connection on it is reset; amp_link_change(). Nothing when it is down already. */
void amp_vlink_down(struct amp_vlink *l);
/* The queues stop for a while, connections stay: set vs.in and vs.out to go on. */
void amp_vlink_pause(struct amp_vlink *l);
/* Packets in a turn at most, and what a turn says of a ring that was lied about. */
#define AMP_VLINK_TURN	 64
#define AMP_VLINK_BROKEN INT32_MIN

/*
 * kick_due() asks about all that went back: so much may come in until it must again. Not more
 * than was left, if there was no whole turn: whoever receives one by one and sends between would
 * never look at the clock, nor, by the short way (family.h, recv_fast), at other links.
 */
#if AMPSOCK_FAST
static inline void amp_vlink_asked(struct amp_vlink *l)
{
	l->vs.settled = false;
	if (!l->whole)
		return;
	l->whole = false;
	l->in_left = l->in_half;
}

static inline void amp_vlink_begin(struct amp_vlink *l)
{
	l->in_half = l->vs.in ? (l->vs.in->num + 1u) / 2 : 1;
	l->in_left = 1;
}

/* In a turn, when a packet has gone the short way: was that all of it? Once in half a ring it is
 * not, and the time is looked at. */
static inline bool amp_vlink_usual(struct amp_vlink *l)
{
	return l->vs.enough && !l->vs.owed_head && --l->in_left;
}

/* In another, n packets came, and their buffers went back. */
static inline void amp_vlink_back(struct amp_vlink *l, unsigned n)
{
	l->whole = true;
	if (l->in_left <= n || l->vs.settled || (n == 0 && l->in_left < l->in_half))
		amp_runner_due(&l->runner);
	else
		l->in_left -= n;
}
#else
static inline void amp_vlink_asked(struct amp_vlink *l)
{
	(void)l;
}

static inline void amp_vlink_begin(struct amp_vlink *l)
{
	(void)l;
}

static inline bool amp_vlink_usual(struct amp_vlink *l)
{
	(void)l;
	return false;
}

/* Two packets can be half of a small build's ring, and one all of a device's that has no more. */
static inline void amp_vlink_back(struct amp_vlink *l, unsigned n)
{
	if (n != 1 || l->vs.in->num == 1)
		l->runner.due = true;
}
#endif

/* Set vs.in, vs.out, vs.local_cid, vs.peer_cid, vs.seqpacket first; then the link is up. Who calls
 * says amp_link_change(), but of the loop, which is no link to a program. */
static inline void amp_vlink_up(struct amp_vlink *l)
{
	amp_vlink_hooks(&l->vs);
	amp_vlink_room(l);
	if (AMPSOCK_WHY)
		l->vs.said = false;
	if (AMP_VSOCK_OPS) /* a small core's begins with nothing, and ends so (amp_vsock_down()) */
		amp_vsock_init(&l->vs);
	amp_vlink_begin(l);
	l->up = true;
	amp_runner_add(&l->runner);
}

/* kick_due(): is it time to ask about the buffers that went back? With the short ways it is only
 * called when it is. */
static inline bool amp_vlink_ask_back(struct amp_vlink *l)
{
	bool due = AMPSOCK_FAST || l->runner.due;

	if (!AMPSOCK_FAST)
		l->runner.due = false;
	return due;
}

/* Send what is owed, on the way out of the stack. */
static inline void amp_vlink_flush(struct amp_vlink *l)
{
	if (!AMPSOCK_FAST || l->vs.owed_head || l->vs.to_do)
		(void)amp_vsock_owed(&l->vs);
}
void amp_vlink_stats(const struct amp_runner *r, struct amp_stats *st);
/* The in-core loop, brought up with the first socket that wants it; NULL without. */
struct amp_vlink *amp_vlink_loop(void);

/* ---- sockets ---- */

/* s->sub */
#define SUB_TX_PART 2u /* the middle of a message is to be sent */
#define SUB_CLOSED  4u /* nobody but the engine holds it: freed at EV_GONE */

/* An AF_VSOCK socket's own part. AF_RPMSG's streams begin alike, and have no meter. */
struct amp_vsock_sock {
	struct amp_vsock_conn c;
	struct amp_meter meter;
};

_Static_assert(sizeof(struct amp_vsock_sock) <= AMP_SOCK_PRIV_LEN, "AMP_SOCK_PRIV_LEN");

static inline struct amp_vsock_conn *conn_of(struct amp_sock *s)
{
	return (struct amp_vsock_conn *)(void *)&s->priv;
}

static inline struct amp_sock *sock_of(struct amp_vsock_conn *c)
{
	return (struct amp_sock *)(void *)((char *)c - offsetof(struct amp_sock, priv));
}

/* Of a connection. Where one link of AF_RPMSG's is all that there can be, it is that. */
#if AMP_VSOCK_CONN_KNOWS
static inline struct amp_vlink *amp_vlink_of(const struct amp_sock *s)
{
	const struct amp_vsock_conn *c = (const struct amp_vsock_conn *)(const void *)&s->priv;

	return (struct amp_vlink *)(void *)((char *)c->vs - offsetof(struct amp_vlink, vs));
}
#else
static inline struct amp_vlink *amp_vlink_of(const struct amp_sock *s)
{
	return amp_vlinks[AMPSOCK_VSOCK || AMPSOCK_RPMSG > 1 ? s->link : AMP_VLINK_RPMSG];
}
#endif

/* The engine, to look at it, or to put something into it: what it then owes goes out before the lock does. */
#if AMPSOCK_FAST
static inline struct amp_vsock *engine_of(const struct amp_sock *s)
{
	struct amp_vlink *l = amp_vlink_of(s);

	amp_runner_due(&l->runner);
	return &l->vs;
}
#elif AMPSOCK_VSOCK
static inline struct amp_vsock *engine_of(const struct amp_sock *s)
{
	return ((const struct amp_vsock_conn *)(const void *)&s->priv)->vs;
}
#else
static inline struct amp_vsock *engine_of(const struct amp_sock *s)
{
	return &amp_vlink_of(s)->vs;
}
#endif

/* Of those that are connections of the engine. Without AF_VSOCK there is no SOCK_SEQPACKET
 * among them. */
static inline bool is_stream(const struct amp_sock *s)
{
	return !AMPSOCK_VSOCK || s->type == SOCK_STREAM;
}

/* All of it wanted by somebody who waits, and nothing older in the ring. */
static inline bool amp_vlink_piece(struct amp_vsock *vs, struct amp_vsock_conn *c,
				   const void *data, uint32_t len, uint32_t flags)
{
	struct amp_sock *s = sock_of(c);
	struct amp_rx_want *w = amp_sock_want(s);
	size_t n = len, room;

	if (!w || s->rx.head != s->rx.tail)
		return false;
	room = (size_t)(w->end - w->to);
	if (is_stream(s)) {
		if (n > room)
			return false;
	} else {
		if (w->full || s->rx_part || !(flags & AMP_VSOCK_SEQ_EOM))
			return false;
		if (n > room)
			n = room;
		w->full = len;
		w->eor = (flags & AMP_VSOCK_SEQ_EOR) != 0;
		room = n;
	}
	memcpy(w->to, data, n);
	w->to += n;
	vs->enough = n == room;
	amp_mine();
	amp_wake_want(w);
	return true;
}

/*
 * The engine's turn: ms until it wants another, -1, or AMP_VLINK_BROKEN: a ring was lied about.
 *
 * No more once a caller has all that it wanted: it is told sooner, and what follows may be
 * for its next buffer. Bounded: a flood on one link must not keep a call from its socket.
 *
 * Buffers that went back need a kick at once only when the peer might have run out of them:
 * before half the ring has come in since the last time, it has not, or there are unseen
 * packets (whose buffers may be few, of many descriptors each: so also when none is left).
 * Before sleep everybody is asked.
 */
static inline int32_t amp_vlink_turn(struct amp_vlink *l)
{
	struct amp_vsock *vs = &l->vs;
	unsigned enough;
	int n = 0, r;
	int32_t ms = -1;

	if (AMPSOCK_FAST)
		vs->enough = false;
	if (amp_vsock_packet_fast(vs, amp_vlink_piece)) {
		n = 1;
		if (amp_vlink_usual(l))
			return 0;
	}
	enough = AMPSOCK_FAST && vs->enough;
	/* found empty just now, and nothing to send: before sleep, that is every turn */
	if (AMPSOCK_FAST && !n && vs->in && !vs->to_do && !vs->owed_head &&
	    amp_vq_seen_empty(vs->in))
		r = 0;
	else
		r = amp_vsock_run(vs, enough ? 0 : AMP_VLINK_TURN);
	if (AMP_VSOCK_OPS && r < 0) /* else drv_run() looks itself */
		return AMP_VLINK_BROKEN;
	if (AMPSOCK_FAST)
		enough |= vs->enough;
	amp_vlink_back(l, (unsigned)(n + r));
	AMP_FORGET(r);
	enough |= (unsigned)r / AMP_VLINK_TURN; /* 1 when that was all used */
	if (AMP_WHY_OF(vs)) {			/* counted each time */
		if (!vs->said)
			amp_log(AMP_WHY_OF(vs));
		vs->said = true;
		AMP_WHY_SAY(vs, NULL);
	}
	/* a peer who never pauses does not stop the clock */
	if (amp_vsock_timed(vs))
		ms = amp_vsock_tick(vs, amp_port_now_ms());
	if (!enough)
		return ms;
	amp_more(); /* for somebody who sleeps */
	return 0;
}

static inline uint32_t buf_alloc(const struct amp_sock *s)
{
	return s->type == SOCK_STREAM ? AMPSOCK_RING_LEN : AMP_RING_MSG_ALLOC;
}

static inline uint8_t wire_type(const struct amp_sock *s)
{
	return s->type == SOCK_STREAM ? AMP_VSOCK_STREAM : AMP_VSOCK_SEQPACKET;
}

/* The reservation, which there is, goes back unused. */
void amp_vsock_unreserve(struct amp_sock *s);
static inline void unreserve(struct amp_sock *s)
{
	if (s->flags & AMP_SF_RESERVED) /* else direct.c may not even be linked */
		amp_vsock_unreserve(s);
}

/* What may be said of a socket that sends: CONNECTED alone, else amp_vsock_may_send() objects. */
#define SEND_FLAGS \
	(AMP_SF_CONNECTED | AMP_SF_WR_SHUT | AMP_SF_HUP | AMP_SF_RESET | AMP_SF_RESERVED)
int amp_vsock_may_send(const struct amp_sock *s, const void *name);

/* Is the peer's buffer one that is measured in packets, too (meter.h)? */
static inline bool metered(const struct amp_sock *s)
{
	const struct amp_vsock_conn *c = (const struct amp_vsock_conn *)(const void *)&s->priv;

	return AMPSOCK_VSOCK && c->credit.peer_buf_alloc >= AMP_METER_BUF_MIN &&
	       !(AMP_VSOCK_LOOP_TOLD && c->loop);
}

/* Then: has it room for len bytes, or (a stream) how many? 0: wait, it is asked. */
uint32_t amp_vsock_meter(struct amp_sock *s, uint32_t len);
/* A packet was sent. Who is not measured has his counts forgotten when he is (meter.h); AF_RPMSG's
 * streams, which are told by loop, have none. */
static inline void amp_vsock_metered(struct amp_sock *s)
{
	if (AMPSOCK_VSOCK && !(AMPSOCK_RPMSG && conn_of(s)->loop))
		amp_meter_sent(&((struct amp_vsock_sock *)(void *)&s->priv)->meter, 1);
}

/* A port that no socket is bound to. */
uint32_t amp_vsock_port_any(void);

/* What a socket does that is a connection of the engine: AF_VSOCK's, and AF_RPMSG's streams. */
int amp_vsock_sock_create(struct amp_sock *s, int type, int protocol);
int amp_vsock_sock_bind(struct amp_sock *s, const struct sockaddr *addr, socklen_t len);
int amp_vsock_sock_connect(struct amp_sock *s, const struct sockaddr *addr, socklen_t len);
ssize_t amp_vsock_sock_sendmsg(struct amp_sock *s, const struct amp_msg *m, int flags);
/* struct amp_carrier's. */
ssize_t amp_vsock_carry(struct amp_sock *s, const struct iovec *iov, size_t off, size_t end,
			size_t whole);
ssize_t amp_vsock_sock_recvmsg(struct amp_sock *s, struct amp_msg *m, int flags);
bool amp_vsock_sock_send_fast(struct amp_sock *s, const void *buf, size_t len, int flags);
void amp_vsock_sock_recv_fast(struct amp_sock *s, struct amp_rx_want *w);
void amp_vsock_conn_end(struct amp_sock *s, enum amp_end_why why); /* who does not listen */
void amp_vsock_sock_end(struct amp_sock *s, enum amp_end_why why); /* AF_VSOCK's own */
int amp_vsock_sock_poll(struct amp_sock *s);

/* ---- linked when they are called for (family.h) ---- */

int amp_vsock_listen(struct amp_sock *s, int backlog);
/* A listener closes: so do those that nobody has accepted. */
void amp_vsock_unlisten(struct amp_sock *s);
struct amp_sock *amp_vsock_accept(struct amp_sock *s, int *err);
int amp_vsock_name(struct amp_sock *s, bool peer, struct sockaddr *addr, socklen_t *len);
int amp_vsock_option(struct amp_sock *s, bool set, int level, int name, void *val,
		     socklen_t *len);
int amp_vsock_half_close(struct amp_sock *s, int how);
int amp_vsock_direct(struct amp_sock *s, enum amp_direct op, struct amp_direct_io *io);

#endif /* AMP_AF_VSOCK_H */
