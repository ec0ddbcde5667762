/* SPDX-License-Identifier: BSD-3-Clause */
/* What the engine's files share: vsock.c (packets in), vsock_out.c (and out), vsock_conn.c (connections),
 * vsock_request.c. */
#ifndef AMP_VSOCK_INNER_H
#define AMP_VSOCK_INNER_H

#include <errno.h>
#include <string.h>

#include "../port/port.h"
#include "vsock.h"

/* Without AF_VSOCK all connections take a path; the engine has no queues of its own. Without a
 * loop and AF_RPMSG none does. */
#define QUEUES AMPSOCK_VSOCK
#define PATH   (!QUEUES || AMPSOCK_LOOP || AMPSOCK_RPMSG)

/* A driver's pool buffers are one piece; a device takes what the driver offers. */
#define CHAINS AMP_VQ_CHAINS

/* Does somebody look at the packets? */
#if AMPSOCK_TAP
#define TAPPED(vs) __builtin_expect((vs)->tap != NULL, 0)
#define TAP(vs)	   ((vs)->tap)
#else
#define TAPPED(vs) false
#define TAP(vs)	   ((amp_vsock_tap_fn *)NULL)
#endif

#define SHUT_BOTH (AMP_VSOCK_SHUTDOWN_RCV | AMP_VSOCK_SHUTDOWN_SEND)

/* Without messages, and what AF_INET has on its carriers, a sender takes what credit there is. */
#define LEAST(least) (AMPSOCK_VSOCK || AMPSOCK_INET ? (least) : 1u)

/* Off the way of the usual packet, or its registers are saved for nothing; where all ways are
 * alike, as is shortest. */
#if AMPSOCK_FAST
#define RARE	 __attribute__((noinline, cold))
#define ONE_COPY inline
#else
#define RARE
#if QUEUES
#define ONE_COPY __attribute__((noinline)) /* the one copy of several */
#else
#define ONE_COPY inline /* there are no others: a path has its own control packets */
#endif
#endif

/* Fields that a small core's engine has not: nobody looks at them there. */
#if AMP_VSOCK_ROOM_APART
#define ROOM_FOR(vs, buf) amp_vq_buf_room(buf, (vs)->iov, (vs)->iov_max)
#else
#define ROOM_FOR(vs, buf) amp_vq_buf_room(buf, NULL, 0)
#endif
#if AMP_VSOCK_OPS
#define OPS(vs) ((vs)->ops)
#else
#define OPS(vs) ((const struct amp_vsock_ops *)NULL)
#endif
#if AMPSOCK_FAST
#define RECENT(vs)	  ((vs)->recent)
#define SET_RECENT(vs, c) ((vs)->recent = (c))
#else
#define RECENT(vs)	  ((struct amp_vsock_conn *)NULL)
#define SET_RECENT(vs, c) ((void)(vs), (void)(c))
#endif

/*
 * Hooks of the owner, and the way of a connection that takes a path. Without AF_VSOCK there is
 * one owner and one path; without a device's end (which hosts have, and tests) the owner is the
 * library, and the path its loop. Plain calls then, and no tables (vsock.h).
 */
#define OWNERS CHAINS
#define PATHS  CHAINS
/*
 * Small, and all owners are the library's links: none of them sets enough, and each looks for
 * itself whether a queue is broken.
 */
#define PLAIN (!AMPSOCK_FAST && !OWNERS)
/* Then one that has lost its queues is down, and none is ever paused: what is owed is dropped when its
 * time has come. */
#define OWED_TO_NOBODY (PLAIN && QUEUES)
/* Does it take a path? Of the library's engines one has its queues and the other its path; a
 * host's, and a test's, has connections of both kinds. */
#define LOOP(vs, c) (!QUEUES || (PATH && (PATHS ? (c)->loop : (vs)->path != NULL)))
#if QUEUES
#define ONE_PATH(fn) amp_vsock_loop_##fn
#else
#define ONE_PATH(fn) amp_rstream_path_##fn
#endif
#ifndef AMP_XPORT_LOOP /* its own file; nobody takes the path where it is not linked */
extern __typeof__(amp_vsock_loop_send) amp_vsock_loop_send __attribute__((weak));
extern __typeof__(amp_vsock_loop_reserve) amp_vsock_loop_reserve __attribute__((weak));
extern __typeof__(amp_vsock_loop_commit) amp_vsock_loop_commit __attribute__((weak));
extern __typeof__(amp_vsock_loop_cancel) amp_vsock_loop_cancel __attribute__((weak));
extern __typeof__(amp_vsock_loop_ready) amp_vsock_loop_ready __attribute__((weak));
#endif

/* ev: one of them, and constant. */
static AMP_INLINED void tell_event(struct amp_vsock *vs, struct amp_vsock_conn *c, unsigned ev)
{
	if (OWNERS)
		OPS(vs)->event(vs, c, ev);
	else if (ev == AMP_VSOCK_EV_OPEN)
		amp_vlink_on_open(c);
	else if (ev == AMP_VSOCK_EV_WRITABLE)
		amp_vlink_on_writable(c);
	else if (ev == AMP_VSOCK_EV_SHUT)
		amp_vlink_on_shut(c);
	else
		amp_vlink_on_over(c, ev);
}

static inline int tell_data(struct amp_vsock *vs, struct amp_vsock_conn *c,
			    const struct amp_vsock_rx *rx)
{
	if (OWNERS)
		return OPS(vs)->data(vs, c, rx);
	return amp_vlink_on_data(vs, c, rx);
}

static inline void tell_tx_ready(struct amp_vsock *vs)
{
	if (!OWNERS)
		amp_vlink_on_tx_ready(vs);
	else if (OPS(vs)->tx_ready)
		OPS(vs)->tx_ready(vs);
}

static inline bool path_send(struct amp_vsock *vs, struct amp_vsock_conn *c, uint16_t op,
			     uint32_t flags)
{
	if (PATHS)
		return vs->path->send(vs, c, op, flags);
	return ONE_PATH(send)(vs, c, op, flags);
}

static inline int path_reserve(struct amp_vsock *vs, struct amp_vsock_conn *c,
			       struct amp_vsock_tx *tx)
{
	if (PATHS)
		return vs->path->reserve(vs, c, tx);
	return ONE_PATH(reserve)(vs, c, tx);
}

static inline void path_commit(struct amp_vsock *vs, struct amp_vsock_conn *c,
			       struct amp_vsock_tx *tx, uint32_t len, uint32_t flags)
{
	if (PATHS)
		vs->path->commit(vs, c, tx, len, flags);
	else
		ONE_PATH(commit)(vs, c, tx, len, flags);
}

static inline void path_cancel(struct amp_vsock *vs, struct amp_vsock_tx *tx)
{
	if (PATHS)
		vs->path->cancel(vs, tx);
	else
		ONE_PATH(cancel)(vs, tx);
}

static inline bool path_ready(const struct amp_vsock *vs)
{
	if (PATHS)
		return vs->path->ready(vs);
	return ONE_PATH(ready)(vs);
}

static inline void path_gone(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	if (!QUEUES)
		amp_rstream_path_gone(vs, c);
	else if (PATHS && vs->path->gone)
		vs->path->gone(vs, c);
}

static inline bool usual(const struct amp_vsock_conn *c, uint32_t which)
{
	return AMPSOCK_FAST && (c->standing & which) == AMP_CONN_OPEN;
}

/* What the peer did, in words for the log, where words are compiled in. */
static inline void blame(struct amp_vsock *vs, const char *what)
{
	AMP_WHY_SAY(vs, what);
}

/* A small core's links have one bucket: no arithmetic. */
#define ONE_BUCKET (AMPSOCK_HASH == 1)
#define BUCKETS	   AMP_VSOCK_BUCKETS(vs)

static inline struct amp_vsock_conn **bucket(const struct amp_vsock *vs,
					     const struct amp_vsock_ends *ends)
{
	uint32_t h = ends->local.port * 31u ^ ends->peer.port ^ amp_vsock_cid(&ends->peer) << 5;

	/* const is who only looks it up: the table may be in it */
	return (struct amp_vsock_conn **)(uintptr_t)&vs
		->hash[ONE_BUCKET ? 0 : (h ^ h >> 12) & (BUCKETS - 1u)];
}

static inline void hash_del(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	struct amp_vsock_conn **at = bucket(vs, &c->ends);

	while (*at != c)
		at = &(*at)->hash_next;
	*at = c->hash_next;
}

struct amp_vsock_conn *amp_vsock_find(const struct amp_vsock *vs,
				      const struct amp_vsock_ends *ends, unsigned type);
/* A fresh connection; its ends, its type and the owner's buf_alloc stay. */
void amp_vsock_conn_init(struct amp_vsock *vs, struct amp_vsock_conn *c, uint8_t state);
void amp_vsock_owe(struct amp_vsock *vs, struct amp_vsock_conn *c, uint8_t bits);
/* The peer broke a rule: its connection pays. */
RARE void amp_vsock_conn_lied(struct amp_vsock *vs, struct amp_vsock_conn *c);
static inline void conn_lied(struct amp_vsock *vs, struct amp_vsock_conn *c, const char *why)
{
	blame(vs, why);
	amp_vsock_conn_lied(vs, c);
}
static inline bool amp_vsock_type_good(unsigned type)
{
	return type - 1u <= 1u;
}
/* How much of want may be sent on c now, if there is credit for least, or what a reserve says
 * instead (-EAGAIN: asked for). */
int amp_vsock_may_reserve(struct amp_vsock *vs, struct amp_vsock_conn *c, size_t want,
			  size_t least);
/* 0, or why nothing can be sent on c. The library has looked at its socket's flags, which say the
 * same but for a RESPONSE that is still to go. */
int amp_vsock_why_not_send(const struct amp_vsock_conn *c);
static inline int amp_vsock_may_send_on(const struct amp_vsock_conn *c)
{
	if (c->owed & AMP_OWE_RESPONSE) /* no data before it */
		return -EAGAIN;
	return OWNERS ? amp_vsock_why_not_send(c) : 0;
}
/* No buffer, or not now: tx_ready will say when to try again. (AF_RPMSG's bus has noted it.) */
static inline void tx_starve(struct amp_vsock *vs, const struct amp_vsock_conn *c)
{
	if (PATHS && c->loop)
		vs->path_starved = true;
	else if (QUEUES)
		vs->tx_starved = true;
}

/*
 * A REQUEST: the owner's hook is asked. Returns its connection or NULL. In a file of its own:
 * a program without listeners is without it, and refuses everybody.
 */
struct amp_vsock_conn *amp_vsock_take_request(struct amp_vsock *vs,
					      const struct amp_vsock_hdr *h,
					      const struct amp_vsock_ends *ends);
extern __typeof__(amp_vsock_take_request) amp_vsock_take_request __attribute__((weak));
static inline bool asked(struct amp_vsock *vs, const struct amp_vsock_hdr *h,
			 const struct amp_vsock_ends *ends)
{
	return h->op == AMP_VSOCK_OP_REQUEST && amp_vsock_take_request &&
	       amp_vsock_take_request(vs, h, ends);
}

static inline uint32_t credit_left(const struct amp_vsock_conn *c)
{
	uint32_t space = amp_credit_tx_space(&c->credit);

	return space > c->reserved ? space - c->reserved : 0;
}

/* RSTs to nobody we know: as many as there is room for. */
#if QUEUES && !AMP_VSOCK_ROOM_APART
#define STRANGER(vs) (&(vs)->stranger)
#else
#define STRANGER(vs) ((struct amp_vsock_conn *)NULL)
#endif
static inline bool strays_full(const struct amp_vsock *vs)
{
	if (AMP_VSOCK_ROOM_APART)
		return vs->stray_cnt == vs->stray_len;
	return QUEUES && STRANGER(vs)->state != AMP_CONN_FREE;
}

/* Is there room for one more of them, or can there be? */
#if AMP_VSOCK_ROOM_APART
bool amp_vsock_strays_room(struct amp_vsock *vs);
#else
static inline bool amp_vsock_strays_room(struct amp_vsock *vs)
{
	return !strays_full(vs) || amp_vsock_flush(vs);
}
#endif

#if AMP_VSOCK_ROOM_APART
static inline void owe_stray(struct amp_vsock *vs, const struct amp_vsock_ends *ends,
			     unsigned type)
{
	struct amp_vsock_stray *s = &vs->stray[vs->stray_cnt++];

	s->type = type;
	s->ends = *ends;
}
#else
static inline void owe_stray(struct amp_vsock *vs, const struct amp_vsock_ends *ends,
			     unsigned type)
{
	struct amp_vsock_conn *c = STRANGER(vs);

	/* its credit is, and stays, zero; nobody finds it, for no packet comes in meanwhile */
	c->standing = AMP_VSOCK_STANDING(AMP_CONN_DEAD, type);
	c->ends = *ends;
	amp_vsock_owe(vs, c, AMP_OWE_RST);
}
#endif

/* RST to an address that we know nothing of. There is room: run() saw to it. */
static inline void stray_rst(struct amp_vsock *vs, const struct amp_vsock_ends *ends,
			     unsigned type)
{
	if (!QUEUES || (AMP_VSOCK_ROOM_APART && strays_full(vs)))
		return;
	vs->stats.rst_strays++;
	owe_stray(vs, ends, type);
}

/* Only a loop does. The library's has an engine of its own, which is never down. */
static inline bool path_stays(const struct amp_vsock *vs)
{
	return PATHS && vs->path->stays;
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

/* amp_vsock_arm(). A link has its queues while it is up. Who hears of news does not sleep, and asks
 * again. */
static inline bool vsock_arm(struct amp_vsock *vs)
{
	if ((PLAIN || vs->in) && !strays_full(vs) && amp_vq_arm(vs->in))
		return true;
	return vs->tx_starved && (PLAIN || vs->out) && amp_vq_arm(vs->out);
}

/* amp_vsock_init() */
static inline void vsock_begin(struct amp_vsock *vs)
{
	memset(vs->hash, 0, BUCKETS * sizeof(*vs->hash));
	vs->owed_head = NULL;
	SET_RECENT(vs, NULL);
	vs->to_do = 0;
	vs->loop_busy = false;
	amp_vsock_set_timed(vs, false);
	AMP_WHY_SAY(vs, NULL);
}

/* Could what waits for a buffer have one now? */
static inline bool tx_ready(const struct amp_vsock *vs, bool loop)
{
	if (PLAIN && QUEUES) /* a loop's own one is lent, or it is not */
		return vs->out ? amp_vq_any(vs->out) : !vs->loop_busy;
	return loop ? path_ready(vs) : vs->out && amp_vq_any(vs->out);
}

static inline void want_tx(struct amp_vsock *vs, struct amp_vsock_conn *c, size_t least)
{
	if (!PLAIN && c->state != AMP_CONN_OPEN) /* whose socket is connected, is open */
		return;
	/* credit that is only reserved comes back here, not from the peer */
	if (amp_credit_tx_space(&c->credit) >= least)
		tx_starve(vs, c);
	else
		amp_vsock_want_credit(vs, c);
}

/* Owed packets found no buffer: the next ones are theirs, or data would starve them. (AF_RPMSG's bus
 * sees to that.) */
static inline bool must_queue(const struct amp_vsock *vs, const struct amp_vsock_conn *c)
{
	if (PATHS && c->loop)
		return vs->path_starved && vs->owed_head && !path_stays(vs);
	return QUEUES && vs->tx_starved &&
	       (vs->owed_head || (AMP_VSOCK_ROOM_APART && vs->stray_cnt));
}

#endif /* AMP_VSOCK_INNER_H */
