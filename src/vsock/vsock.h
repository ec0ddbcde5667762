/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The door to the virtio-vsock engine: floor 2 (virtio 1.2, 5.10).
 *
 * One struct amp_vsock is one end of one link: a guest with its driver queues, or a
 * host with its device queues, the same code. It has no globals, no heap, no loop,
 * no descriptors and no lock: the owner (af_vsock.c in the library, a link in the
 * proxy) hands the memory in, serialises the calls and is told of events through
 * struct amp_vsock_ops. Connections are structs inside the owner's own.
 *
 * Hooks are called from amp_vsock_run(), amp_vsock_tick() and amp_vsock_down() (and,
 * on a loop, from amp_vsock_commit()). A hook may call any function of this door on
 * its connection except run/tick/down.
 */
#ifndef AMP_VSOCK_H
#define AMP_VSOCK_H

#include "../ampsock_config.h"
#include "../conn/meter.h"
#include "../virtio/vq.h"
#include "../wire/vsock_hdr.h"

struct amp_vsock;

/* Without AF_VSOCK all connections are rpmsg streams, and all CIDs AMP_VSOCK_CID_LOCAL: they are not
 * kept. */
struct amp_vsock_addr {
#if AMPSOCK_VSOCK
	uint32_t cid; /* the upper 32 bits of a CID are zero (5.10.4) */
#endif
	uint32_t port;
};

#if AMPSOCK_VSOCK
static inline uint32_t amp_vsock_cid(const struct amp_vsock_addr *a)
{
	return a->cid;
}

static inline struct amp_vsock_addr amp_vsock_at(uint32_t cid, uint32_t port)
{
	return (struct amp_vsock_addr){.cid = cid, .port = port};
}
#else
static inline uint32_t amp_vsock_cid(const struct amp_vsock_addr *a)
{
	(void)a;
	return AMP_VSOCK_CID_LOCAL;
}

static inline struct amp_vsock_addr amp_vsock_at(uint32_t cid, uint32_t port)
{
	(void)cid;
	return (struct amp_vsock_addr){.port = port};
}
#endif

struct amp_vsock_ends {
	struct amp_vsock_addr local;
	struct amp_vsock_addr peer;
};

/* Does a connection know its engine? A library that is to be small; with AF_RPMSG alone there is
 * one. */
#define AMP_VSOCK_CONN_KNOWS (AMPSOCK_VSOCK && !AMPSOCK_FAST)

/*
 * Do connections know whether they take a path (loop)? Where an engine has either queues or a path
 * it is enough that the engine does, but for short ways and for the meter (meter.h), which a loop's
 * small windows never reach.
 */
#define AMP_VSOCK_LOOP_TOLD \
	(AMPSOCK_VSOCK &&   \
	 (AMPSOCK_FAST || AMP_VQ_CHAINS || AMPSOCK_RING_LEN >= AMP_METER_BUF_MIN))

#define AMP_VSOCK_LISTED 0x01u /* engine, in owed: linked in the owed list */

/*
 * Life: any -> FREE by amp_vsock_ops.event(AMP_VSOCK_EV_GONE); then the memory is the owner's
 * again. What a packet's way asks of it is one word, so that one look answers.
 */
struct amp_vsock_conn {
	union {
		struct {
			uint8_t state;	       /* enum amp_conn_state */
			uint8_t type;	       /* enum amp_vsock_type */
			uint8_t owed;	       /* AMP_OWE_*, AMP_VSOCK_LISTED */
			uint8_t peer_shut : 2; /* the peer's: AMP_VSOCK_SHUTDOWN_* */
			uint8_t shut : 2;      /* mine */
			uint8_t starved : 1;   /* out of credit: tell me with EV_WRITABLE */
			uint8_t asked : 1; /* engine: CREDIT_REQUEST sent, no credit since */
			uint8_t eager : 1; /* engine: it waits for credit: tell of any byte */
			uint8_t loop : 1;  /* peer.cid is CID 1: its packets take vs->path */
		};
		uint32_t standing; /* all of these at once, AMP_VSOCK_USUAL_* */
	};
	union {
		struct {
			struct amp_vsock_addr local;
			struct amp_vsock_addr peer;
		};
		struct amp_vsock_ends ends; /* engine: both at once */
	};
	AMP_CREDIT_CNT buf_alloc; /* owner's receive buffer in bytes, as advertised */
	AMP_CREDIT_CNT reserved;  /* bytes promised by reserve, not yet committed */
	struct amp_credit credit;
	/* CONNECTING, CLOSING: the end; OPEN: the peer is asked for credit again. 0: none */
	uint32_t deadline_ms;
	struct amp_vsock_conn *hash_next; /* engine */
#if AMP_VSOCK_CONN_KNOWS
	struct amp_vsock *vs; /* engine: itself */
#endif
	struct amp_vsock_conn *owed_next; /* engine: list of those with owed != 0 */
};

/*
 * Most packets belong to a connection that is open and that nobody has shut, with nothing out
 * of the ordinary: then standing & these is AMP_CONN_OPEN (little-endian, as vsock_hdr.h
 * asserts). To send, no RESPONSE may be owed, which goes before any data; nor is a loop usual.
 */
#define AMP_VSOCK_USUAL_IN  0x5f0000ffu
#define AMP_VSOCK_USUAL_OUT (0x8f0000ffu | AMP_OWE_RESPONSE << 16)
/* What all of it is in the beginning. */
#define AMP_VSOCK_STANDING(state, type) ((uint32_t)(state) | (uint32_t)(type) << 8)
/* The same of credit that is waited for: starved, asked, and what asks. */
#define AMP_VSOCK_DROUGHT (0x30000000u | AMP_OWE_CREDIT_REQ << 16)

/* Events rise. Several may come in one call. */
#define AMP_VSOCK_EV_OPEN     0x01u /* RESPONSE arrived: connected */
#define AMP_VSOCK_EV_WRITABLE 0x02u /* credit arrived after a reserve had found none */
#define AMP_VSOCK_EV_SHUT     0x04u /* peer_shut changed */
#define AMP_VSOCK_EV_RESET    0x08u /* RST from the peer, a lie, or the link went down */
#define AMP_VSOCK_EV_GONE     0x10u /* the engine has let go: the last call about it */

/* One arrived packet's payload, in place. */
struct amp_vsock_rx {
	/* The memory is valid until the hook returns, or until released if held; the array
	 * itself only until the hook returns: who holds copies the segments. Never held on a
	 * loop. */
	const struct amp_iov *iov;
	uint16_t iov_cnt;
	uint16_t id;	/* what amp_vsock_release() takes */
	bool held;	/* engine: the hook holds it (false before; only who has hooks can) */
	uint32_t len;	/* bytes in iov */
	uint32_t flags; /* AMP_VSOCK_SEQ_* on seqpacket */
};

typedef bool amp_vsock_piece_fn(struct amp_vsock *vs, struct amp_vsock_conn *c,
				const void *data, uint32_t len, uint32_t flags);

/*
 * A packet as it passes through the queues, header and payload in place; out: from us. It only
 * looks. The payload may still be written to by the peer.
 */
typedef void amp_vsock_tap_fn(struct amp_vsock *vs, bool out, const struct amp_vsock_hdr *h,
			      const struct amp_iov *iov, uint16_t iov_cnt, uint32_t len);

struct amp_vsock_ops {
	/*
	 * REQUEST from ends->peer to ends->local of a known type; the local CID may be a foreign one.
	 * Return a connection whose state is FREE (all fields but buf_alloc are set by the
	 * engine when the hook returns: the owner sets buf_alloc, and may call
	 * amp_vsock_respond() inside the hook); answer otherwise later with
	 * amp_vsock_respond() or amp_vsock_abort(). NULL: refused, the peer gets RST; so is
	 * everybody without this hook (a program that never listens).
	 */
	struct amp_vsock_conn *(*request)(struct amp_vsock *vs,
					  const struct amp_vsock_ends *ends, uint8_t type);
	/*
	 * Payload within the advertised credit. The owner copies or keeps what it needs and
	 * calls amp_vsock_consumed() when the bytes have left its buffer. Return 0: done with
	 * the buffer; 1: held, the owner calls amp_vsock_release(vs, rx->id) later (before its
	 * next sleep: held buffers are the whole link's); -errno: cannot take it, the
	 * connection is reset.
	 */
	int (*data)(struct amp_vsock *vs, struct amp_vsock_conn *c,
		    const struct amp_vsock_rx *rx);
	/*
	 * Called before data(), for a payload that lies in one piece: true when it has been
	 * copied to where it is consumed. False: it is offered again, to data(). May be NULL.
	 */
	amp_vsock_piece_fn *piece;
	void (*event)(struct amp_vsock *vs, struct amp_vsock_conn *c, unsigned ev);
	/* Reserve had failed for want of a buffer and there are some again. May be NULL. */
	void (*tx_ready)(struct amp_vsock *vs);
	/*
	 * Device side: a packet from the link's guest, in every way well-formed, to a CID that
	 * is not vs->local_cid. rx is its payload, valid until the hook returns. True: taken;
	 * false: nobody has that address, the peer gets RST. NULL: nobody ever has.
	 */
	bool (*foreign)(struct amp_vsock *vs, const struct amp_vsock_hdr *h,
			const struct amp_vsock_rx *rx);
};

/*
 * RSTs owed to nobody we know: bounded; when full, the in queue is left alone (5.10.6.1.2). Where
 * all links are alike there is one, and it is a connection that is over from the beginning.
 */
struct amp_vsock_stray {
	struct amp_vsock_ends ends;
	uint32_t type;
};

struct amp_vsock_stats {
	uint32_t rx_packets;
	uint32_t tx_packets;
	uint32_t rx_bad; /* malformed, wrong CID, unknown op: answered or dropped as the spec
			    says */
	uint32_t rst_strays; /* RST sent to unknown connections */
	uint32_t resets;     /* connections reset because the peer broke a rule */
};

/*
 * A program with virtio-vsock device's ends has links of many kinds: each owner gives its engine
 * tables and room of their own size. Where all links are alike, the engine has them in it.
 */
#define AMP_VSOCK_ROOM_APART AMP_VQ_CHAINS
#if AMP_VSOCK_ROOM_APART
#define AMP_VSOCK_ROOM(type, name, cnt) type *name
#else
#define AMP_VSOCK_ROOM(type, name, cnt) type name[cnt]
#endif
#define AMP_VSOCK_STRAYS 4 /* of a library's link, which has room apart */

/* Does the engine look at a table of hooks? Else it calls the library's by name (vsock_inner.h). */
#define AMP_VSOCK_OPS (AMPSOCK_FAST || AMP_VQ_CHAINS)

struct amp_vsock {
#if AMP_VSOCK_OPS
	const struct amp_vsock_ops *ops;
#endif
#if AMP_VSOCK_ROOM_APART
	void *owner;
#endif
	struct amp_vq *in; /* NULL: loop only */
	struct amp_vq *out;
	struct amp_vsock_conn
		*owed_head; /* first in, first out: round-robin between connections */
	union {
		struct {
			uint8_t stray_cnt; /* AMP_VSOCK_ROOM_APART */
			bool tx_starved;   /* a reserve found no buffer */
			bool path_starved; /* a reserve found nothing on the path */
			bool torn;	   /* a ring is broken */
		};
		uint32_t to_do; /* engine: any of these at once */
	};
	bool enough;	    /* set by a hook: run takes no more packets now */
	bool settled;	    /* set by run and flush: it may have sent something */
	bool timed;	    /* engine: amp_vsock_timed() */
	bool loop_busy;	    /* loop_buf is reserved */
	bool seqpacket;	    /* VIRTIO_VSOCK_F_SEQPACKET negotiated */
	uint8_t stray_len;  /* AMP_VSOCK_ROOM_APART, as the other lengths */
	bool said;	    /* owner: why was logged, once in a life of the link */
	uint32_t local_cid; /* mine */
#if AMP_VSOCK_ROOM_APART
	uint32_t peer_cid; /* device side: what src_cid must be; driver side: 0, any */
#endif
	struct amp_vsock_conn *owed_tail;
#if AMPSOCK_FAST
	struct amp_vsock_conn *recent; /* engine: got the last packet; never one of a loop */
#endif
	/* AMP_VSOCK_BUCKETS heads, zeroed by init */
	AMP_VSOCK_ROOM(struct amp_vsock_conn *, hash, AMPSOCK_HASH);
#if AMP_VSOCK_ROOM_APART
	struct amp_iov *iov; /* room to receive into: iov_max segments */
	uint32_t hash_len; /* a power of two; not looked at, nor set, when AMPSOCK_HASH is 1 */
	uint16_t iov_max;
#endif
	const struct amp_vsock_path *path; /* of connections to CID 1; NULL: there are none */
	/* amp_vsock_loop: a header, aligned as such, and one packet's payload, loop_len bytes */
	void *loop_buf;
	uint32_t loop_len;
#if AMPSOCK_WHY
	const char *why; /* last lie of the peer in words, for one log line; NULL: none */
#endif
	struct amp_vsock_stats stats;
#if AMP_VSOCK_ROOM_APART
	struct amp_vsock_stray *stray; /* stray_len */
#elif AMPSOCK_VSOCK
	struct amp_vsock_conn
		stranger; /* engine: it is DEAD while it has an RST to send, or FREE */
#endif
#if AMPSOCK_TAP
	amp_vsock_tap_fn *tap; /* owner: NULL, nobody looks */
#endif
};

/* A small core's links have one bucket, and its owners do not say so in hash_len. */
#if AMP_VSOCK_ROOM_APART
#define AMP_VSOCK_BUCKETS(vs) (AMPSOCK_HASH == 1 ? 1u : (vs)->hash_len)
#else
#define AMP_VSOCK_BUCKETS(vs) ((uint32_t)AMPSOCK_HASH)
#endif

/* The only CID at the other end; 0: any. */
#if AMP_VSOCK_ROOM_APART
static inline uint32_t amp_vsock_guest(const struct amp_vsock *vs)
{
	return vs->peer_cid;
}
#else
static inline uint32_t amp_vsock_guest(const struct amp_vsock *vs)
{
	(void)vs;
	return 0;
}
#endif

/* A piece of transport memory to fill: between reserve and commit or cancel. */
struct amp_vsock_tx {
	union {
		struct amp_vq_buf buf; /* engine: as the queue gave it */
		struct {
			AMP_VQ_IOV(iov); /* caller: room for iov_max segments; set to the
					  * payload by reserve */
			uint16_t iov_max;
			uint16_t iov_cnt; /* payload segments */
			uint16_t id;
			uint32_t len; /* payload bytes promised: <= want */
		};
	};
	union {
#if AMP_VQ_CHAINS
		/* engine: where the header goes, in pieces (5.10.6: any legal chain) */
		struct amp_iov hdr[3];
#endif
		void *own[AMPSOCK_RPMSG ? 3 : 1]; /* a path's: AF_RPMSG has one */
	};
};
_Static_assert(offsetof(struct amp_vsock_tx, id) == offsetof(struct amp_vq_buf, id) &&
		       offsetof(struct amp_vsock_tx, len) == offsetof(struct amp_vq_buf, len),
	       "struct amp_vsock_tx.buf");

/* Fields that the caller sets first: ops owner in out local_cid peer_cid seqpacket hash
 * hash_len iov iov_max stray stray_len path loop_buf loop_len. What stats counts goes on. */
void amp_vsock_init(struct amp_vsock *vs);

/*
 * Look at the queues: at most budget packets in, owed packets out. Returns the number
 * of packets handled (0: nothing to do), or -EBADMSG when a ring is broken: the owner
 * resets the link. Call again while it returns budget.
 */
int amp_vsock_run(struct amp_vsock *vs, unsigned budget);

/* The second half of it: owed packets out. 0 or -EBADMSG. */
int amp_vsock_owed(struct amp_vsock *vs);

/*
 * Before sleep: ask to be notified of what run waits for. True: run again first, the
 * notification may never come. While RSTs wait for the peer's buffers the in queue is not
 * armed, full as it may be: its turn comes with the out queue's.
 */
bool amp_vsock_arm(struct amp_vsock *vs);
/* What arm would say. Asks for nothing, and reads an index or two. */
bool amp_vsock_news(const struct amp_vsock *vs);

/* RST to the peer of a connection that there is not, with the next run; forgotten when stray[] is
 * full. */
void amp_vsock_stray_rst(struct amp_vsock *vs, const struct amp_vsock_ends *ends,
			 unsigned type);

/* The link is gone: every connection gets EV_RESET | EV_GONE, queues are forgotten. */
void amp_vsock_down(struct amp_vsock *vs);

/* Time-outs of connections, while there may be some: amp_vsock_timed(). Returns ms until the next,
 * -1: none. */
int32_t amp_vsock_tick(struct amp_vsock *vs, uint32_t now_ms);

/*
 * Open towards c->peer: REQUEST goes out at the next run. c->ends, c->type and c->buf_alloc
 * are set by the caller. -EADDRINUSE: that pair exists; -ENETDOWN: no link (and not CID 1).
 */
int amp_vsock_open(struct amp_vsock *vs, struct amp_vsock_conn *c);
static inline int amp_vsock_connect_ends(struct amp_vsock *vs, struct amp_vsock_conn *c,
					 const struct amp_vsock_ends *ends, uint8_t type)
{
	c->ends = *ends;
	c->type = type;
	return amp_vsock_open(vs, c);
}
static inline int amp_vsock_connect(struct amp_vsock *vs, struct amp_vsock_conn *c,
				    struct amp_vsock_addr local, struct amp_vsock_addr peer,
				    uint8_t type)
{
	const struct amp_vsock_ends ends = {local, peer};

	return amp_vsock_connect_ends(vs, c, &ends, type);
}
/* Accept a REQUESTED connection: it is OPEN at once. */
void amp_vsock_respond(struct amp_vsock *vs, struct amp_vsock_conn *c);
/* RST and forget: EV_GONE follows from amp_vsock_run() when the RST is out. No EV_RESET. */
void amp_vsock_abort(struct amp_vsock *vs, struct amp_vsock_conn *c);
/* I shall send / receive no more. flags: AMP_VSOCK_SHUTDOWN_*. Goes out after committed data.
 */
void amp_vsock_shutdown(struct amp_vsock *vs, struct amp_vsock_conn *c, uint8_t flags);
/* May a connection have a deadline? A small engine looks at them each time instead. */
#if AMPSOCK_FAST
static inline bool amp_vsock_timed(const struct amp_vsock *vs)
{
	return vs->timed;
}
static inline void amp_vsock_set_timed(struct amp_vsock *vs, bool timed)
{
	vs->timed = timed;
}
#else
static inline bool amp_vsock_timed(const struct amp_vsock *vs)
{
	(void)vs;
	return true;
}
static inline void amp_vsock_set_timed(struct amp_vsock *vs, bool timed)
{
	(void)vs;
	(void)timed;
}
#endif
/* c is aborted by amp_vsock_tick() when this time has come, or a ms later: odd, as 0 is none. */
static inline void amp_vsock_deadline(struct amp_vsock *vs, struct amp_vsock_conn *c,
				      uint32_t at_ms)
{
	c->deadline_ms = at_ms | 1;
	amp_vsock_set_timed(vs, true);
}
static inline void amp_vsock_no_deadline(struct amp_vsock_conn *c)
{
	c->deadline_ms = 0;
}
/*
 * Orderly end: SHUTDOWN of both, then wait for the peer's RST until now + wait_ms;
 * EV_GONE when over. Data that still arrives is thrown away. wait_ms 0: amp_vsock_abort().
 */
void amp_vsock_close(struct amp_vsock *vs, struct amp_vsock_conn *c, uint32_t now_ms,
		     uint32_t wait_ms);

/*
 * Room for up to want bytes of payload on c. Returns bytes (> 0, tx->len), or
 * -EAGAIN: no credit (EV_WRITABLE will come) or no buffer (tx_ready will come);
 * -EPIPE: I shut down or the peer receives no more; -ENOTCONN, -ECONNRESET.
 * Several reservations may be open at once; commit in order.
 */
int amp_vsock_reserve(struct amp_vsock *vs, struct amp_vsock_conn *c, uint32_t want,
		      struct amp_vsock_tx *tx);
/* What is to be sent: len bytes of what lies from off on in the pieces at iov (the layout of struct
 * iovec). */
struct amp_vsock_load {
	const void *iov;
	size_t off, len;
	size_t least;	/* nothing is sent before the peer has credit for so much */
	uint32_t flags; /* AMP_VSOCK_SEQ_*, they go with the last of the len bytes */
};
/*
 * reserve, copy and commit in one: in one packet as much of *load as there is credit for. *load is
 * then what was meant to go. Returns bytes sent, or -errno as amp_vsock_reserve(); of no bytes
 * what it would say of some.
 */
int amp_vsock_send_load(struct amp_vsock *vs, struct amp_vsock_conn *c,
			struct amp_vsock_load *load);
static inline int amp_vsock_send(struct amp_vsock *vs, struct amp_vsock_conn *c,
				 const void *iov, size_t off, size_t len, uint32_t flags)
{
	struct amp_vsock_load load = {iov, off, len, 1, flags};

	return amp_vsock_send_load(vs, c, &load);
}
/* The same of no connection: into the pieces at to (one, whose length is not looked at, unless
 * there is a device's queue). */
void amp_vsock_gather(const struct amp_iov *to, const void *from, size_t off, size_t len);
/*
 * Send the first len bytes of the reservation (0 < len <= tx->len). flags: AMP_VSOCK_SEQ_*.
 * When the connection has ended since, or receives no more, it is cancelled instead.
 */
void amp_vsock_commit(struct amp_vsock *vs, struct amp_vsock_conn *c, struct amp_vsock_tx *tx,
		      uint32_t len, uint32_t flags);
/*
 * Give it back unused: last reserved first. Needed in every state, also inside EV_RESET and
 * EV_GONE, or the buffer is lost until the link goes down.
 */
void amp_vsock_cancel(struct amp_vsock *vs, struct amp_vsock_conn *c, struct amp_vsock_tx *tx);

/* Bytes that reserve would give now, 0: none. Does not ask for events. */
uint32_t amp_vsock_tx_space(const struct amp_vsock *vs, const struct amp_vsock_conn *c);
/* The same for who waits for it: if it gives none, is there credit, or a buffer, tell me of either. (Without
 * AF_VSOCK of credit alone: buffers are the bus's.) */
bool amp_vsock_may_send_now(struct amp_vsock *vs, struct amp_vsock_conn *c);
/* Ask for EV_WRITABLE when there is more credit than now: a whole message needs it. */
void amp_vsock_want_credit(struct amp_vsock *vs, struct amp_vsock_conn *c);
/* Ask for EV_WRITABLE / tx_ready as a failed reserve would, and for credit from the peer. */
void amp_vsock_want_tx(struct amp_vsock *vs, struct amp_vsock_conn *c);

/*
 * n bytes have left the owner's receive buffer: the peer may send as many more. When
 * the peer has shut down both ways and this was its last byte, the engine answers with
 * RST as Linux does and lets go: EV_GONE without EV_RESET is an orderly end.
 */
void amp_vsock_consumed(struct amp_vsock *vs, struct amp_vsock_conn *c, uint32_t n);
/* A buffer held by ops->data goes back. */
void amp_vsock_release(struct amp_vsock *vs, uint16_t id);

/* ---- ways for packets that are not the engine's two queues ---- */

/*
 * Connections to CID 1 take such a way: into this very core (xport_loop.c), or as rpmsg
 * messages (af_rpmsg/rpmsg_stream.c: the CID then says nothing, the ports are endpoint
 * addresses). What travels is the same: states, credit and owed packets are the engine's.
 */
struct amp_vsock_path {
	bool stays; /* connections outlive amp_vsock_down() */
	/* A packet without payload. False: no buffer now, it stays owed until the next run. */
	bool (*send)(struct amp_vsock *vs, struct amp_vsock_conn *c, uint16_t op,
		     uint32_t flags);
	/* 1 with tx->iov and len set (not 0), 0: none now. */
	int (*reserve)(struct amp_vsock *vs, struct amp_vsock_conn *c, struct amp_vsock_tx *tx);
	void (*commit)(struct amp_vsock *vs, struct amp_vsock_conn *c, struct amp_vsock_tx *tx,
		       uint32_t len, uint32_t flags);
	void (*cancel)(struct amp_vsock *vs, struct amp_vsock_tx *tx);
	/* Would reserve give something now? */
	bool (*ready)(const struct amp_vsock *vs);
	/* The engine has let go of c; the owner hears of it next, by EV_GONE. May be NULL. */
	void (*gone)(struct amp_vsock *vs, struct amp_vsock_conn *c);
};
extern const struct amp_vsock_path amp_vsock_loop;
bool amp_vsock_loop_send(struct amp_vsock *vs, struct amp_vsock_conn *c, uint16_t op,
			 uint32_t flags);
/*
 * Is the loop the only path there is? Then data on it is its owner's to send by this, as by
 * amp_vsock_send_load(), which there has queues.
 */
#define AMP_VSOCK_LOOP_APART (AMPSOCK_VSOCK && AMPSOCK_LOOP && !AMPSOCK_VQ_DEVICE)
int amp_vsock_loop_data(struct amp_vsock *vs, struct amp_vsock_conn *c,
			struct amp_vsock_load *load);
int amp_vsock_loop_reserve(struct amp_vsock *vs, struct amp_vsock_conn *c,
			   struct amp_vsock_tx *tx);
void amp_vsock_loop_commit(struct amp_vsock *vs, struct amp_vsock_conn *c,
			   struct amp_vsock_tx *tx, uint32_t len, uint32_t flags);
void amp_vsock_loop_cancel(struct amp_vsock *vs, struct amp_vsock_tx *tx);
bool amp_vsock_loop_ready(const struct amp_vsock *vs);

/*
 * AF_RPMSG's path, and what a library's own links hear (vsock/vlink.c). In a program without
 * AF_VSOCK there is no other of either, so the engine calls them by name, and what of them
 * nobody calls is not linked.
 */
bool amp_rstream_path_send(struct amp_vsock *vs, struct amp_vsock_conn *c, uint16_t op,
			   uint32_t flags);
int amp_rstream_path_reserve(struct amp_vsock *vs, struct amp_vsock_conn *c,
			     struct amp_vsock_tx *tx);
void amp_rstream_path_commit(struct amp_vsock *vs, struct amp_vsock_conn *c,
			     struct amp_vsock_tx *tx, uint32_t len, uint32_t flags);
/* Either: as send, or, of some bytes, as amp_vsock_send_load() when there is credit for all of them. */
int amp_rstream_path_packet(struct amp_vsock *vs, struct amp_vsock_conn *c, unsigned op,
			    const struct amp_vsock_load *load);
void amp_rstream_path_cancel(struct amp_vsock *vs, struct amp_vsock_tx *tx);
bool amp_rstream_path_ready(const struct amp_vsock *vs);
void amp_rstream_path_gone(struct amp_vsock *vs, struct amp_vsock_conn *c);
int amp_vlink_on_data(struct amp_vsock *vs, struct amp_vsock_conn *c,
		      const struct amp_vsock_rx *rx);
void amp_vlink_on_open(struct amp_vsock_conn *c);
void amp_vlink_on_writable(struct amp_vsock_conn *c);
void amp_vlink_on_shut(struct amp_vsock_conn *c);
void amp_vlink_on_over(struct amp_vsock_conn *c, unsigned ev); /* RESET or GONE */
void amp_vlink_on_tx_ready(struct amp_vsock *vs);
struct amp_vsock_conn *amp_vsock_request(struct amp_vsock *vs,
					 const struct amp_vsock_ends *ends, uint8_t type);

/* For paths alone. Send what is owed. False: no buffer for all of it. */
bool amp_vsock_flush(struct amp_vsock *vs);
/* The peer has been told of all that was consumed. */
static inline void amp_vsock_told(struct amp_vsock_conn *c)
{
	amp_credit_told(&c->credit);
	c->owed &= (uint8_t)~AMP_OWE_CREDIT;
}
/*
 * A good packet has arrived for c: type does not count, and of
 * rx, which may else be NULL, what has data.
 */
void amp_vsock_input_for(struct amp_vsock *vs, struct amp_vsock_conn *c,
			 const struct amp_vsock_say *h, struct amp_vsock_rx *rx);
/* The peer's RST, however it came. */
void amp_vsock_in_rst(struct amp_vsock *vs, struct amp_vsock_conn *c);
/*
 * REQUEST, for which the owner gave c (state FREE, or OPEN: amp_vsock_respond() in its hook):
 * the same as after amp_vsock_ops.request, for a path that has a request hook of its own.
 */
void amp_vsock_requested(struct amp_vsock *vs, struct amp_vsock_conn *c,
			 const struct amp_vsock_ends *ends, unsigned type,
			 uint32_t peer_buf_alloc);
/* The peer's RESPONSE names another port than the one that was asked. */
void amp_vsock_rekey(struct amp_vsock *vs, struct amp_vsock_conn *c, uint32_t peer_port);

#endif /* AMP_VSOCK_H */
