/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The door to byte streams over rpmsg endpoints: floor 2.
 *
 * A stream connection is a pair of endpoints of its own and the protocol of docs/protocol.md.
 * Its states, its credit and what it owes are those of the vsock engine (vsock/vsock.h): a
 * struct amp_rstream is a struct amp_vsock whose packets take another way (struct
 * amp_vsock_path), so reserve, commit, consumed, shutdown, close, abort, events and
 * everything that is built on them (sockets, the proxy's ends) serve both.
 * Only opening is different: addresses are endpoints, the answer names a new one.
 *
 * Messages come and go through struct amp_rstream_door_ops: the bus (rpmsg.h) or, over
 * /dev/rpmsgN, a descriptor for each endpoint.
 */
#ifndef AMP_RPMSG_STREAM_H
#define AMP_RPMSG_STREAM_H

#include <stddef.h>

#include "../vsock/vsock.h"
#include "rpmsg.h"

struct amp_rstream;

/* c.local.port and c.peer.port are the endpoints' addresses, both CIDs AMP_VSOCK_CID_LOCAL. */
struct amp_rstream_conn {
	struct amp_vsock_conn c; /* first */
	/* At c.local.port, open while the engine knows c; else its addr is
	 * AMP_RPMSG_ADDR_ANY. */
	struct amp_rpmsg_ept ept;
	uint16_t rx_tag; /* mine: what messages to me carry */
	uint16_t tx_tag; /* the peer's, 0: not known yet */
};

static inline struct amp_rstream_conn *amp_rstream_conn(struct amp_vsock_conn *c)
{
	return (struct amp_rstream_conn *)(void *)c;
}

/* Of an endpoint whose kind says that it is a connection's. */
static inline struct amp_rstream_conn *amp_rstream_of(struct amp_rpmsg_ept *ept)
{
	return (struct amp_rstream_conn *)(void *)((uint8_t *)ept -
						   offsetof(struct amp_rstream_conn, ept));
}

/* What is in the data hook's hands: struct amp_vsock_rx, and what its own id has no room for. */
struct amp_rstream_rx {
	struct amp_vsock_rx v; /* first */
	uint32_t
		id; /* of the message: a hook that holds it (returns 1) releases it at the bus */
};

/* A message has room for the longest that is no data: SERVICE. */
#define AMP_RSTREAM_ROOM (AMP_RSTREAM_HDR_LEN + AMP_RSTREAM_SERVICE_LEN)

struct amp_rstream_door_ops {
	/* Of REQUESTs: AMP_RSTREAM_F_ANY_SRC when an endpoint can send to one address only. */
	uint8_t request_flags;
	/* An endpoint for rc at rc->ept.addr (AMP_RPMSG_ADDR_ANY: any), set rc->ept.addr. dst:
	 * the address it will send to, where the door must know. 0; -errno, nothing set. */
	int (*open)(struct amp_rstream *rs, struct amp_rstream_conn *rc, uint32_t dst);
	/* The peer has named the endpoint that rc sends to from now on; it still receives at
	 * its own. 0; -errno: rc is reset. NULL: commit's dst is enough. */
	int (*redirect)(struct amp_rstream *rs, struct amp_rstream_conn *rc, uint32_t dst);
	/* The engine has let go of rc, whose event EV_GONE follows. */
	void (*close)(struct amp_rstream *rs, struct amp_rstream_conn *rc);
	/* A buffer for one message, of AMP_RSTREAM_ROOM bytes or more. rc NULL, or its
	 * ept.addr AMP_RPMSG_ADDR_ANY: from another endpoint. 0; -errno: none now, or the
	 * link is down. */
	int (*reserve)(struct amp_rstream *rs, struct amp_rstream_conn *rc,
		       struct amp_rpmsg_tx *tx);
	/* Send it to dst, and from src (but for the refusal of a REQUEST, rc as above, where a
	 * door that cannot may use any endpoint). */
	void (*commit)(struct amp_rstream *rs, struct amp_rstream_conn *rc,
		       const struct amp_rpmsg_tx *tx, uint32_t src, uint32_t dst, uint32_t len);
	void (*cancel)(struct amp_rstream *rs, const struct amp_rpmsg_tx *tx);
	bool (*ready)(const struct amp_rstream *rs);
};

struct amp_rstream_ops {
	/*
	 * REQUEST at a service's endpoint `local`. Return a connection whose state is FREE and
	 * whose c.buf_alloc is set (amp_vsock_respond() may be called inside); NULL: refused.
	 */
	struct amp_rstream_conn *(*request)(struct amp_rstream *rs, uint32_t local,
					    uint32_t peer);
	/* SERVICE at a front door: as amp_rpmsg_ops.service. NULL: nobody wants to know. */
	void (*service)(struct amp_rstream *rs, const char *name, uint32_t addr, bool gone);
};

/* The request hook of a library's own links (rpmsg_listen.c); without AF_VSOCK there is no
 * other, and it is called by name, as rpmsg.h says of the bus's. */
struct amp_rstream_conn *amp_rpmsg_request(struct amp_rstream *rs, uint32_t local,
					   uint32_t peer);

/* RSTs to REQUESTs that nobody takes: bounded, the rest is counted (a peer that hears nothing
 * times out). */
struct amp_rstream_stray {
	uint32_t local, peer;
	uint16_t tag;
	uint8_t flags; /* of the RST */
};
#define AMP_RSTREAM_STRAYS 4u

/* Beside those of the engine: rx_bad there counts what is malformed. */
struct amp_rstream_stats {
	uint32_t foreign;    /* tag or source of no connection here: dropped, not answered */
	uint32_t duplicates; /* REQUESTs whose connection lives: dropped */
	uint32_t versions;   /* REQUESTs of other versions: refused */
	uint32_t unanswered; /* REQUESTs whose RST found no room */
};

struct amp_rstream {
	struct amp_vsock
		vs; /* first. The owner sets vs.ops (data, event, tx_ready), hash, iov */
	const struct amp_rstream_ops *ops;
	const struct amp_rstream_door_ops *door;
	void *door_ctx;
	/* Goes on over init and down. Who may come back while a peer still has connections
	 * with its last life (/dev/rpmsgN) starts it at random. */
	uint16_t next_tag;
	uint16_t stray_cnt;
	struct amp_rstream_stray stray[AMP_RSTREAM_STRAYS];
	struct amp_rstream_stats stats;
};

/* Fields that the caller sets first: vs.{ops owner hash hash_len iov iov_max}, ops, door,
 * door_ctx. */
void amp_rstream_init(struct amp_rstream *rs);

/*
 * The link is gone, as amp_vsock_down(): every connection gets EV_RESET | EV_GONE and its
 * endpoint is closed. The bus goes down first, so that hooks cannot open anew.
 */
void amp_rstream_down(struct amp_rstream *rs);

/*
 * A message has arrived for rc's endpoint; rx->src: 0 where the door cannot see it. Hooks are
 * called from here, too, except for EV_GONE; vs.enough, which they may set, is the owner's to
 * look at. True: the owner holds the buffer.
 */
bool amp_rstream_input(struct amp_rstream *rs, struct amp_rstream_conn *rc,
		       const struct amp_rpmsg_rx *rx) __attribute__((nonnull));

/*
 * A message has arrived at the endpoint rx->dst of a stream service or a front door, which is
 * no connection's. In a file of its own (rpmsg_serve.c): who never listens has none of it.
 */
void amp_rstream_serve(struct amp_rstream *rs, const struct amp_rpmsg_rx *rx);
/*
 * The same at a front door, for who never listens: SERVICE, and nothing else (rpmsg_told.c).
 * REQUESTs count as malformed then: their senders time out.
 */
void amp_rstream_told(struct amp_rstream *rs, const struct amp_rpmsg_rx *rx);

/*
 * REQUEST to the service at addr goes out at the next run. rc->c.buf_alloc is set by the
 * caller, and rc->ept.addr (AMP_RPMSG_ADDR_ANY or 0: any). 0; what the door says: -ENETDOWN,
 * -EADDRINUSE. A refusal is EV_RESET before any EV_OPEN.
 */
int amp_rstream_connect(struct amp_rstream *rs, struct amp_rstream_conn *rc, uint32_t addr);

/*
 * Send what is owed (and RSTs to strangers): amp_vsock_run(&rs->vs, 0) and more. After calls
 * and hooks, and from the bus's tx_ready: it raises the engine's. Returns 0.
 */
int amp_rstream_run(struct amp_rstream *rs);

/*
 * Tell a front door of a service of ours: name (1 to 31 characters, as the name service would
 * announce it) at addr, from our endpoint src. 0; -EAGAIN: no buffer now; -EINVAL: the name.
 */
int amp_rstream_tell(struct amp_rstream *rs, uint32_t src, uint32_t door, const char *name,
		     uint32_t addr, bool gone);

/* Is this the name of a stream service ("x~s")? Length of the name without the suffix, 0: no. */
size_t amp_rstream_name_len(const char *name);

/* The door onto a bus: door_ctx is a struct amp_rpmsg *. */
extern const struct amp_rstream_door_ops amp_rstream_bus_door;

#endif /* AMP_RPMSG_STREAM_H */
