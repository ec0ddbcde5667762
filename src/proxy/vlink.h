/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A link whose guest speaks virtio-vsock, or byte streams over rpmsg, which are the same
 * engine's (src/vsock, af_rpmsg/rpmsg_stream.h): the engine, its memory, and the ends on top
 * of it. How packets come and go is behind struct amp_vlink_ops; what moves the rings to
 * us (vhost-user, shared memory) is on the outside.
 *
 * Theory of operation
 *
 * The engine's hooks do nothing but take notes: a packet is held (its place in guest
 * memory is written down), an event is a bit in the end, and the end goes on the list
 * of those due. When amp_vsock_run() has returned the ends are served: all packets of
 * one end go to its user in one call, straight from guest memory, so that sixteen
 * packets of one flow become one sendmsg(). What the user does not take is copied to
 * the end's buffer and every ring buffer goes back to the guest before the pass is over:
 * a stalled flow holds none.
 *
 * Ends that want to send and find no ring buffer wait in a queue. As many of them as there
 * are buffers are told of those, in their turn: the cost of a buffer does not grow with the
 * number of flows that want one. Because no user runs inside the engine, users may do
 * anything, also to other ends.
 */
#ifndef AMP_PROXY_VLINK_H
#define AMP_PROXY_VLINK_H

#include "../af_rpmsg/rpmsg_stream.h"
#include "buf.h"
#include "join.h"
#include "journal.h"
#include "link.h"
#include "../conn/meter.h"

#define AMP_VLINK_HASH	1024u
#define AMP_VLINK_STRAY 64u
#define AMP_VLINK_BATCH 64u /* packets a pass: the rest of the link's turn comes later */
/* And bytes a pass: with the packet that brings them it is over. */
#define AMP_VLINK_PASS_LEN (256u * 1024u)
/* An end with no more of them is served before those with more. */
#define AMP_VLINK_SMALL_LEN 4096u
#define AMP_VLINK_CONNECT_MS \
	10000u /* a guest that does not answer a REQUEST in this time refuses */
#define AMP_VLINK_ASK_MS   640u	 /* at most between two questions how far the guest has read */
#define AMP_VLINK_CLOSE_MS 2000u /* how long a closed connection waits for the guest's RST */

struct amp_vlink;

TAILQ_HEAD(amp_end_vsock_list, amp_end_vsock);

struct amp_end_vsock {
	struct amp_end end;
	union {
		struct amp_vsock_conn c;
		struct amp_rstream_conn rc; /* begins with c */
	};
	struct amp_vlink *vl;
	void *door_in, *door_out;      /* rpmsg-char: its endpoints */
	const struct amp_forward *fwd; /* incoming: what it asked for, NULL: offload, or: */
	struct amp_link *joined;       /* a service of this link's remote, at: */
	uint32_t joined_addr;
	struct amp_grave grave;
	TAILQ_ENTRY(amp_end_vsock) due_entry;
	TAILQ_ENTRY(amp_end_vsock) starved_entry;
	struct amp_end_vsock_list *starved_on; /* NULL: waits for no ring buffer */
	TAILQ_ENTRY(amp_end_vsock) metered_entry;
	struct amp_meter meter;
	TAILQ_ENTRY(amp_end_vsock) connecting_entry;
	uint64_t deadline_ms; /* connecting */
	uint32_t noted;	      /* in the journal */
	struct amp_buf buf;
	uint16_t held_first; /* index + 1 into the pass's packets, 0: none */
	uint16_t held_last;
	uint32_t held_len; /* bytes in them */
	uint32_t stalls;
	uint64_t rx_bytes, tx_bytes;
	uint8_t ev;	 /* AMP_VSOCK_EV_* not yet told */
	uint8_t tx_last; /* ring buffers of its last write: what it may want next */
	bool on_due;
	bool on_metered;
	bool incoming; /* the guest asked; nobody has looked yet */
	bool carrier;  /* of the offload protocol */
	bool open;
	bool connecting; /* on vl->connecting */
	bool writable;	 /* to be told */
	bool promised;	 /* was told of ring buffers, and has had none since */
	bool eof_told;
	bool deaf_told;
	bool reset;  /* the peer's RST has come */
	bool let_go; /* by the user */
	bool gone;   /* the engine has let go */
	bool broken; /* message too big, or no memory: to be told */
};

struct amp_vlink_ops {
	bool messages; /* packets are the bus's messages, which are counted there */
	/* The engine without its connections, as before the first guest. */
	void (*init)(struct amp_vlink *vl);
	/* Packets in, at most budget, and owed ones out: as amp_vsock_run(). */
	int (*run)(struct amp_vlink *vl, unsigned budget);
	/* A packet that was held goes back. */
	void (*release)(struct amp_vlink *vl, uint32_t id);
	/* e asks for a service. 0 or -errno. */
	int (*connect)(struct amp_vlink *vl, struct amp_end_vsock *e,
		       const struct amp_service *service);
	/* Ring buffers that there are to send in. NULL: not known. */
	unsigned (*room)(const struct amp_vlink *vl);
	/* Ends of another kind that are due. True: more are due already. NULL: there are none. */
	bool (*serve)(struct amp_vlink *vl);
	/* What the peer did that it must not, in words, once; NULL: nothing. */
	const char *(*why)(struct amp_vlink *vl);
};

struct amp_vlink {
	struct amp_link link;
	const struct amp_vlink_ops *ops;
	union {
		struct amp_vsock vs;
		struct amp_rstream rs; /* begins with vs */
	};
	struct amp_work work;	     /* the pass: set up by the transport */
	struct amp_journal *journal; /* NULL: nobody takes over */
	struct amp_end_vsock_list due;
	/* wait for ring buffers, in the order they will get them; before all others (again) those
	 * that had their turn and found none left */
	struct amp_end_vsock_list starved, again;
	struct amp_end_vsock_list metered;    /* wait for the guest to read packets */
	struct amp_end_vsock_list connecting; /* to the guest, oldest first */
	struct amp_join_ways joined;	      /* out of here: a way for each joined guest */
	struct amp_join_ways waiting; /* to here: with packets, in the order of their turns */
	unsigned join_cnt;	      /* of joined */
	size_t join_moved;	      /* bytes from and to joined guests in this pass */
	bool join_odd;		      /* whose turn it is at the odd buffer */
	bool promised; /* starved ends were told of buffers in this pass, or since */
	unsigned end_cnt;
	uint32_t meter_ms;  /* until metered ends are asked about again */
	uint32_t next_port; /* ours, for connections to the guest; of any size */
	uv_timer_t tick;
	struct amp_vsock_stats counted; /* what link.stats has of vs.stats */
	struct amp_vsock_stray stray[AMP_VLINK_STRAY];
	struct amp_vsock_conn *hash[AMP_VLINK_HASH]; /* last: zeroed.h */
};

int amp_vlink_init(struct amp_vlink *vl, const struct amp_link_ops *ops,
		   const struct amp_vlink_ops *vops, const struct amp_link_conf *conf);
/* The engine's hooks and memory that do not depend on the way of its packets; amp_vsock_init() or
 * amp_rstream_init() is to follow, and then that it is ready. */
void amp_vlink_engine(struct amp_vlink *vl);
void amp_vlink_engine_ready(struct amp_vlink *vl);
extern const struct amp_vlink_ops amp_vlink_vsock;
/* Engine and deliveries, once. Packets handled, or -EBADMSG: the ring is broken. */
int amp_vlink_run(struct amp_vlink *vl);
/* Without rings: what the ends of a guest that is gone have still to do. */
void amp_vlink_serve(struct amp_vlink *vl);
/* The guest is gone: every end of its hears of it. The engine is fresh afterwards. */
void amp_vlink_down(struct amp_vlink *vl);
/* The engine's 32-bit counters into the link's. */
void amp_vlink_count(struct amp_vlink *vl);
/* Every end is reset, and its guest hears of each: amp_link_ops.reset(). */
void amp_vlink_reset(struct amp_link *link);
/* amp_link_ops.tap() of links with vsock packets. */
void amp_vlink_tap(struct amp_link *link);
/* After down: closes the timer. */
void amp_vlink_fini(struct amp_vlink *vl);
struct amp_end *amp_vlink_connect(struct amp_link *link, const struct amp_service *service,
				  bool message, int *err);
void amp_vlink_stats(const struct amp_link *link, char *dst, size_t len);

/* ---- between vlink.c and end_vsock*.c ---- */

/* A packet that the engine let us hold until the pass is over. */
struct amp_held {
	uint32_t iov_at; /* in iov */
	uint32_t len;
	uint32_t flags;
	uint32_t id; /* what amp_vlink_ops.release() takes */
	uint16_t iov_cnt;
	uint16_t next; /* of the same end, index + 1; 0: last */
};

#define AMP_HELD_IOV 2048u

/* One pass at a time, whichever link's. */
struct amp_pass {
	struct amp_held held[AMP_VLINK_BATCH];
	unsigned held_cnt;
	unsigned iov_cnt;
	uint32_t len; /* bytes that came, held or not */
	struct iovec iov[AMP_HELD_IOV];
};

extern struct amp_pass amp_pass;

/* Write a held packet down: its number + 1, linked behind *last; 0: no room in the pass. */
unsigned amp_pass_hold(const struct amp_vsock_rx *rx, uint32_t id, uint16_t *first,
		       uint16_t *last);

/* Both the user and the engine have let go. */
void amp_end_vsock_over(struct amp_end_vsock *e);
/* The guest has read what it had to, or will not. */
void amp_end_vsock_unmeter(struct amp_end_vsock *e);
/* Answered, or never will be. */
void amp_end_vsock_connected(struct amp_end_vsock *e);
/* amp_end_ops.info() */
void amp_end_vsock_info(const struct amp_end *end, struct amp_sock_info *info);
bool amp_end_is_vsock(const struct amp_end *end);
struct amp_end_vsock *amp_end_vsock_new(struct amp_vlink *vl, bool incoming);
void amp_end_vsock_due(struct amp_end_vsock *e);
/* There may be a ring buffer for e now: its user hears of it. */
void amp_end_vsock_fed(struct amp_end_vsock *e);
/* Ask the guest once more how far it has read. */
void amp_end_vsock_ask(struct amp_end_vsock *e);
/* Somebody is metered: look again soon. */
void amp_vlink_metered(struct amp_vlink *vl);
/* Joined peers' part of the buffers that there are now. */
unsigned amp_vlink_share(struct amp_vlink *vl, unsigned avail);

/* ---- end_vsock_in.c ---- */

/* Tell the user what there is to tell. */
void amp_end_vsock_serve(struct amp_end_vsock *e);
/* From the engine's data hook: 0 or 1 as it wants, -errno. */
int amp_end_vsock_hold(struct amp_end_vsock *e, const struct amp_vsock_rx *rx);

#endif /* AMP_PROXY_VLINK_H */
