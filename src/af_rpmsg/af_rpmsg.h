/* SPDX-License-Identifier: BSD-3-Clause */
/* The AF_RPMSG family: its links and its sockets, for the files of this room. */
#ifndef AMP_AF_RPMSG_H
#define AMP_AF_RPMSG_H

#include "../socket/family.h"
#include "../vsock/af_vsock.h"
#include "rpmsg.h"
#include "rpmsg_stream.h"

#if AMPSOCK_RPMSG

#define AMP_RLINK_ANY 0xffu /* in a byte: RPMSG_LINK_ANY */

/* Queues of a link, as in the resource table: vring0 is the remote's to send. */
#define AMP_RLINK_IN  1u
#define AMP_RLINK_OUT 2u

/* One link, whatever its transport: a bus, the streams on it, and their memory. Everything
 * under the stack lock. */
struct amp_rlink {
	struct amp_rpmsg bus; /* first: found through it */
	uint8_t said;	      /* what the log has had in this life of the link */
	uint16_t out_cnt;     /* buffers to send in, as of up */
#if AMPSOCK_FAST
	uint16_t in_left; /* so many messages go the short way until the next turn */
#endif
	union {
		struct amp_vlink l; /* its index is that in amp_vlinks */
		struct {
			uint8_t vlink_head[offsetof(struct amp_vlink, vs)];
			struct amp_rstream rs; /* rs.vs is l.vs */
		};
	};
#if AMP_RPMSG_OTHERS
	struct amp_rpmsg_ept *ept_hash[AMPSOCK_HASH];
#endif
	struct amp_rpmsg_named door; /* front door, kind 0: none (protocol.md) */
	struct amp_rpmsg_ns
		names[AMPSOCK_RPMSG_NAMES]; /* the peer's services, newest first; free: "" */
};

_Static_assert(offsetof(struct amp_rlink, rs.vs) == offsetof(struct amp_rlink, l.vs),
	       "a link's engine is the beginning of its streams");

extern struct amp_rlink amp_rlinks[AMPSOCK_RPMSG];
extern const struct amp_family amp_rpmsg_family;

static inline struct amp_rlink *amp_rlink_of(struct amp_runner *r)
{
	if (AMPSOCK_RPMSG == 1)
		return &amp_rlinks[0];
	return (struct amp_rlink *)(void *)((char *)r - offsetof(struct amp_rlink, l.runner));
}

static inline struct amp_rlink *amp_rlink_bus(struct amp_rpmsg *bus)
{
	return (struct amp_rlink *)(void *)bus;
}

/* Mostly there is one, and then nothing is to be computed. */
static inline unsigned amp_rlink_index(const struct amp_rlink *l)
{
	return AMPSOCK_RPMSG == 1 ? 0 : (unsigned)(l - amp_rlinks);
}

static inline struct amp_rlink *amp_rlink_at(unsigned i)
{
	return &amp_rlinks[AMPSOCK_RPMSG == 1 ? 0 : i];
}

/* l->l.index */
static inline uint8_t amp_rlink_id(const struct amp_rlink *l)
{
	return AMPSOCK_RPMSG == 1 ? AMP_VLINK_RPMSG : l->l.index;
}

/* Its queues work. */
static inline bool amp_rlink_is_up(const struct amp_rlink *l)
{
	return l->bus.in != NULL;
}

/* Link number i, its bus ready for endpoints whether it is up or not; amp_rlink_new(): for who is
 * about to bring it up. */
#if AMP_RPMSG_OTHERS
struct amp_rlink *amp_rlink_get(unsigned i);
struct amp_rlink *amp_rlink_new(unsigned i);
#else
static inline struct amp_rlink *amp_rlink_get(unsigned i)
{
	return amp_rlink_at(i);
}

static inline struct amp_rlink *amp_rlink_new(unsigned i)
{
	struct amp_rlink *l = amp_rlink_at(i);

	if (AMPSOCK_RPMSG > 1) /* amp_rlink_id() */
		l->l.index = (uint8_t)(AMP_VLINK_RPMSG + i);
	l->rs.door_ctx = &l->bus;
	amp_vlinks[amp_rlink_id(l)] = &l->l;
	return l;
}
#endif
/* Was it ever brought up? */
static inline bool amp_rlink_exists(unsigned i)
{
#if AMP_ONE_RUNNER
	return amp_rlinks[i].l.runner.untimed;
#else
	return amp_rlinks[i].l.runner.run != NULL;
#endif
}

/* ---- for the files that bring a link up (with rlink_life.h) ---- */

/* Its turn: ms until it wants another, -1; AMP_VLINK_BROKEN: a ring was lied about. */
int32_t amp_rlink_turn(struct amp_rlink *l);
/* Buffers that went back since the peer was last asked whether it wants to hear of them: is it
 * time again? While it has enough of them they are no news. */
static inline bool amp_rlink_many_back(const struct amp_rlink *l)
{
	const struct amp_vq *in = l->bus.in;

	return (uint16_t)(in->put_idx - in->kick_idx) >= in->num / 2u;
}
#if !AMP_ONE_RUNNER
int32_t amp_remote_run(struct amp_runner *r, uint32_t now_ms);
unsigned amp_remote_kick_due(struct amp_runner *r);
#if !AMP_KICK_AT_ONCE
void amp_remote_kick(struct amp_runner *r, unsigned queues);
#endif
#endif
/* amp_runner.stats */
void amp_rlink_stats(const struct amp_runner *r, struct amp_stats *st);

/*
 * kind of an endpoint; 0: not open. In struct amp_rsock it is its socket's type; SOCK_STREAM is a
 * stream service, as is the front door's, in struct amp_rlink.
 */
#define AMP_REPT_CONN 0x80u /* in struct amp_rstream_conn */

/* The turn has seen to everything: the short way may go on for a while, in which the peer does
 * not run out of buffers. */
#if AMPSOCK_FAST
static inline void amp_rlink_go_on(struct amp_rlink *l)
{
	l->in_left = l->bus.in->num / 2u;
}
#else
static inline void amp_rlink_go_on(struct amp_rlink *l)
{
	(void)l;
}
#endif

/* Where a remote hears of the host's services; announced whenever the link is up. */
static inline void amp_rlink_door(struct amp_rlink *l)
{
	if (l->door.ept.kind)
		return;
	l->door.ept.kind = SOCK_STREAM;
	/* at a dynamic address: there is one */
	(void)amp_rpmsg_open(&l->bus, &l->door.ept, AMP_RPMSG_ADDR_ANY);
	amp_rpmsg_announce(&l->bus, &l->door, AMP_RSTREAM_DOOR AMP_RSTREAM_SUFFIX);
}

/* ---- sockets ---- */

/* s->sub, besides SUB_CLOSED */
#define SUB_DOOR  8u  /* the carriers' listener: what comes to the front door is its */
#define SUB_WAIT  16u /* connect() by name, and nobody has announced it yet */
#define SUB_CHILD 32u /* raw, accepted: its endpoint is its listener's */
#define SUB_STALE 64u /* a child: its source may be another's now (withdrawn; link was down) */

/* A name that a socket is bound to, as it is announced. */
struct amp_own_name {
	bool bound; /* else that socket is closed, and has still to withdraw it */
	uint8_t on; /* a link or AMP_RLINK_ANY */
	char name[AMP_RPMSG_NAME_LEN];
};

/*
 * A socket's private part: struct amp_rstream_conn while it is a connection of the engine, or
 * was one (a stream whose s->link is not 0); else this. s->link of a raw socket: its peer's
 * link, 0: it has none.
 */
struct amp_rsock {
	/* bytes early: short offsets are short instructions */
	uint8_t bound_on; /* AMP_SF_BOUND: a link or AMP_RLINK_ANY */
	uint8_t wait_on;  /* SUB_WAIT: a link or AMP_RLINK_ANY */
	uint8_t leaving;  /* closed: endpoints whose withdrawal is still to be sent */
	struct amp_rpmsg_named
		end[AMPSOCK_RPMSG]; /* by link. A child: its listener's address */
	struct amp_own_name *own;   /* that it is bound to; NULL: none */
	union {
		struct {			       /* SUB_WAIT */
			char wait[AMP_RPMSG_NAME_LEN]; /* for whom */
			uint32_t deadline_ms;
		};
		struct {
			uint32_t peer;
			union {
				struct amp_sock *parent; /* child */
				struct amp_sock *recent; /* listener: who got the last one */
			};
			uint16_t children;	/* listener: living ones, accepted or not */
			struct amp_rpmsg_tx tx; /* AMP_SF_RESERVED */
		};
	};
};

_Static_assert(sizeof(struct amp_rsock) <= AMP_SOCK_PRIV_LEN, "AMP_SOCK_PRIV_LEN");
_Static_assert(sizeof(struct amp_rstream_conn) <= AMP_SOCK_PRIV_LEN, "AMP_SOCK_PRIV_LEN");
_Static_assert(AMP_VLINK_RPMSG > 0, "s->link 0: on no link");

static inline struct amp_rsock *amp_rsock(struct amp_sock *s)
{
	return (struct amp_rsock *)(void *)&s->priv;
}

/* The socket whose endpoint on l this is. */
static inline struct amp_sock *amp_rsock_of(const struct amp_rlink *l,
					    struct amp_rpmsg_ept *ept)
{
	struct amp_rpmsg_named *end = (struct amp_rpmsg_named *)(void *)ept;

	return (struct amp_sock *)(void *)((char *)(end - amp_rlink_index(l)) -
					   offsetof(struct amp_sock, priv) -
					   offsetof(struct amp_rsock, end));
}

static inline struct amp_rlink *amp_rsock_link(const struct amp_sock *s)
{
	return &amp_rlinks[AMPSOCK_RPMSG == 1 ? 0 : s->link - AMP_VLINK_RPMSG];
}

/* Of a socket that has a peer: is it on another link? */
static inline bool amp_rsock_elsewhere(const struct amp_sock *s, const struct amp_rlink *l)
{
	return AMPSOCK_RPMSG > 1 && s->link != amp_rlink_id(l);
}

/* Is the private part a connection of the engine? */
static inline bool amp_rsock_is_conn(const struct amp_sock *s)
{
	return s->type == SOCK_STREAM && s->link;
}

/* The checked address: struct sockaddr_rpmsg, with the name as it goes over the wire, the
 * address 0 for any. */
struct amp_raddr {
	uint16_t family;
	uint16_t link; /* or 0xffff: any */
	uint32_t addr;
	char name[AMP_RPMSG_NAME_LEN]; /* "": none */
};
int amp_raddr_get(const struct amp_sock *s, const struct sockaddr *addr, socklen_t len,
		  struct amp_raddr *to);
/* Is link i meant? A byte has AMP_RLINK_ANY for any; checked addresses name no other. */
static inline bool amp_rlink_meant(unsigned link, unsigned i)
{
	return AMPSOCK_RPMSG == 1 || (uint8_t)link == AMP_RLINK_ANY || link == i;
}

/* Who is meant on a link (or any, as in struct amp_raddr): its link's number, with *addr when there
 * is a name. -EAGAIN: not announced (yet); -ENETUNREACH. */
int amp_raddr_find(unsigned on, const char *name, uint32_t *addr);

/* Endpoints of s on link on, or on all, without its name yet. */
int amp_rsock_open(struct amp_sock *s, unsigned on, uint32_t addr);
/* Tell the peer of the name that s is bound to, if any: now it listens, or talks. */
void amp_rsock_announce(struct amp_sock *s);
/* A service is gone: the end of who is connected to it. */
void amp_rsock_withdrawn(struct amp_rlink *l, uint32_t addr);
/* Each turn sees whether the announcement has come that a connect() waits for, or else to its
 * deadline. ms until the next of these, -1: none. */
int32_t amp_rsock_wait(void);
/* May there be one? A small build looks each time instead (as amp_vsock_timed()). */
#if AMPSOCK_FAST
extern bool amp_rsock_waits;
static inline bool amp_rsock_waiting(void)
{
	return amp_rsock_waits;
}
static inline void amp_rsock_set_waiting(bool waits)
{
	amp_rsock_waits = waits;
}
#else
static inline bool amp_rsock_waiting(void)
{
	return true;
}
static inline void amp_rsock_set_waiting(bool waits)
{
	(void)waits;
}
#endif
/* The connection of a raw socket is over, or the attempt; err is told once. */
void amp_rsock_over(struct amp_sock *s, int err);
/* The last of a closed socket: its endpoints. */
void amp_rsock_finish(struct amp_sock *s);
/* l is down: what that means to raw sockets. */
void amp_rsock_link_down(struct amp_rlink *l);

/* ---- raw messages ---- */

/* Before each message in a raw socket's ring. */
struct amp_rraw_hdr {
	uint32_t src;
	uint16_t len;  /* as it was checked: the rpmsg header has 16 bits for it */
	uint16_t link; /* where there are several */
};
/* A datagram's source, for m's name (rpmsg_dgram.c, as amp_rpmsg_dgram_to()). */
void amp_rraw_source(struct amp_msg *m, const struct amp_rraw_hdr *h);
/* A message at the endpoint of s. */
void amp_rraw_in(struct amp_rlink *l, struct amp_sock *s, const struct amp_rpmsg_rx *rx);

/* ---- the family's operations (struct amp_family) ---- */

int amp_rpmsg_sock_create(struct amp_sock *s, int type, int protocol);
int amp_rpmsg_sock_bind(struct amp_sock *s, const struct sockaddr *addr, socklen_t len);
int amp_rpmsg_sock_connect(struct amp_sock *s, const struct sockaddr *addr, socklen_t len);
ssize_t amp_rpmsg_sock_sendmsg(struct amp_sock *s, const struct amp_msg *m, int flags);
ssize_t amp_rpmsg_sock_recvmsg(struct amp_sock *s, struct amp_msg *m, int flags);
void amp_rpmsg_sock_end(struct amp_sock *s, enum amp_end_why why);
int amp_rpmsg_sock_poll(struct amp_sock *s);

/* ---- the short ways (rpmsg_fast.c) ---- */

bool amp_rpmsg_send_fast(struct amp_sock *s, const void *buf, size_t len, int flags);
void amp_rpmsg_recv_fast(struct amp_sock *s, struct amp_rx_want *w);

/* ---- linked when they are called for (family.h) ---- */

int amp_rpmsg_listen(struct amp_sock *s, int backlog);
struct amp_sock *amp_rpmsg_accept(struct amp_sock *s, int *err);
int amp_rpmsg_name(struct amp_sock *s, bool peer, struct sockaddr *addr, socklen_t *len);
int amp_rpmsg_option(struct amp_sock *s, bool set, int level, int name, void *val,
		     socklen_t *len);
int amp_rpmsg_half_close(struct amp_sock *s, int how);
int amp_rpmsg_direct(struct amp_sock *s, enum amp_direct op, struct amp_direct_io *io);
/* The reservation of a raw socket, which there is, goes back unused. */
void amp_rpmsg_unreserve(struct amp_sock *s);
/* A message at the address of a stream service, or at the front door. */
void amp_rpmsg_serve(struct amp_rlink *l, const struct amp_rpmsg_rx *rx);
/* Whose message from src this is, of a raw listener: a child of it, new or not; NULL: nobody's.
 */
struct amp_sock *amp_rpmsg_child(struct amp_rlink *l, struct amp_sock *s, uint32_t src);
/* A listener, or a child of one, is closed. True: its endpoint stays until the last child is
 * closed, too. */
bool amp_rpmsg_close_family(struct amp_sock *s);

#endif /* AMPSOCK_RPMSG */
#endif /* AMP_AF_RPMSG_H */
