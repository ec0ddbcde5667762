/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The door to the rpmsg bus: floor 2.
 *
 * One struct amp_rpmsg is one end of one link: a remote core with its device queues, or a
 * host with its driver queues, the same code. It has no globals, no heap, no loop and no
 * lock: the owner (af_rpmsg's links in the library, a link in the proxy) hands the memory
 * in, serialises the calls and is told of events through struct amp_rpmsg_ops. Endpoints
 * are structs inside the owner's own.
 *
 *	                 vring0 (remote to host)    vring1 (host to remote)
 *	remote (device)  out: AMP_VQ_DEVICE         in: AMP_VQ_DEVICE
 *	host (driver)    in:  AMP_VQ_DRIVER, pool   out: AMP_VQ_DRIVER, pool
 *
 * A message lies in one buffer, header and payload in one piece. Nothing here notifies the
 * peer: the owner asks amp_vq_kick_due() of the two queues when it leaves, which makes it
 * one kick a burst.
 *
 * Hooks are called from amp_rpmsg_run() and from nowhere else (but for gone). A hook may call
 * any function of this door except run, up and down.
 */
#ifndef AMP_RPMSG_H
#define AMP_RPMSG_H

#include "../ampsock_config.h"
#include "../virtio/vq.h"
#include "../wire/rpmsg_hdr.h"

struct amp_rpmsg;

/* What the peer knows of an endpoint's name, or is to be told. */
enum amp_rpmsg_ns_state {
	AMP_RPMSG_NAMELESS = 0,
	AMP_RPMSG_TOLD,	    /* announced in the last life of the link that there was */
	AMP_RPMSG_ANNOUNCE, /* is owed, to a link that is up and has a name service */
};

/* Small, and all are a library's own links, which look for themselves whether a queue is broken. */
#define AMP_RPMSG_PLAIN (!AMPSOCK_FAST && !AMPSOCK_VSOCK && !AMPSOCK_WHY)
/* Buses with other owners than a library's own links, which are called by name. */
#define AMP_RPMSG_OTHERS AMPSOCK_VSOCK

/* Life: amp_rpmsg_open() .. amp_rpmsg_close() true, or amp_rpmsg_ops.gone(). */
struct amp_rpmsg_ept {
	struct amp_rpmsg_ept *hash_next; /* bus: of those in a bucket, or that are leaving */
	uint32_t addr;
	uint8_t kind; /* the owner's own: what this is to it */
	uint8_t ns;   /* bus: enum amp_rpmsg_ns_state */
	bool mark;    /* the owner's own; false by open */
};

/* An endpoint that can have a name: a service's. */
struct amp_rpmsg_named {
	struct amp_rpmsg_ept ept; /* first */
	const char *name; /* owner's, at most 31 characters, valid while it lives; NULL: none */
};

/* One arrived message, in place. */
struct amp_rpmsg_rx {
	/*
	 * The payload: valid until the hook returns, or until released if held. The peer may
	 * still write to it (copy, then look), and on a device aligns it as it likes. To read
	 * only: what is written here may come out anywhere when the core has a cache.
	 */
	void *data;
	uint32_t len;
	uint32_t src;
	uint32_t dst;
	uint32_t id; /* what amp_rpmsg_release() takes: never the same in two lives of a link */
};

struct amp_rpmsg_ops {
	/*
	 * A message for ept. Return 0: done with the buffer; 1: held, the owner calls
	 * amp_rpmsg_release(bus, rx->id) later. It may hold only while amp_rpmsg_may_hold().
	 */
	int (*data)(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept,
		    const struct amp_rpmsg_rx *rx);
	/*
	 * The peer announces a service or withdraws it. name: NUL-terminated, checked, not
	 * empty, valid until the hook returns. NULL: nobody wants to know.
	 */
	void (*service)(struct amp_rpmsg *bus, const char *name, uint32_t addr, bool gone);
	/* A reserve had failed for want of a buffer and there are some again. May be NULL. */
	void (*tx_ready)(struct amp_rpmsg *bus);
	/* The withdrawal of a closed endpoint (amp_rpmsg_named.ept) is out, or the link is down: the
	 * struct is free. */
	void (*gone)(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept);
};

/*
 * A library's own links (rlink.c). In a program without AF_VSOCK no bus has another owner, so
 * they are called by name and bus->ops is nobody's.
 */
void amp_rlink_on_data(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept,
		       const struct amp_rpmsg_rx *rx);
/*
 * What the peer says of a service, checked as for amp_rpmsg_ops.service. flags: AMP_RPMSG_NS_CREATE,
 * AMP_RPMSG_NS_DESTROY, or it is new and in place of what its name had (protocol.md 10.6): a process that
 * was killed has withdrawn nothing, and the next one has other addresses.
 */
#define AMP_RLINK_INSTEAD 2u
void amp_rlink_on_service(struct amp_rpmsg *bus, const struct amp_rpmsg_ns *ns);
void amp_rlink_on_tx_ready(struct amp_rpmsg *bus);
void amp_rlink_on_gone(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept);

/* A message as it passes, in place; out: from us. It only looks. */
typedef void amp_rpmsg_tap_fn(struct amp_rpmsg *bus, bool out, uint32_t src, uint32_t dst,
			      const void *data, uint32_t len);

struct amp_rpmsg_stats {
	uint32_t rx_messages;
	uint32_t tx_messages;
	uint32_t rx_bad;     /* header or length that lies, malformed name service message */
	uint32_t rx_nobody;  /* to an address that nobody has */
	uint32_t ns_ignored; /* announcements that nobody wants to know of */
};

/* A library's own links begin as zeroes; without AMP_RPMSG_OTHERS they are all there is. */
struct amp_rpmsg {
	/* first: no offset to add */
#if AMP_RPMSG_OTHERS
	struct amp_rpmsg_ept **hash; /* hash_len heads, zeroed by init */
#else
	struct amp_rpmsg_ept *hash[AMPSOCK_HASH];
#endif
	struct amp_vq *in; /* NULL: down */
	struct amp_vq *out;
	bool ns;	    /* VIRTIO_RPMSG_F_NS negotiated */
	bool tx_starved;    /* a reserve found no buffer */
	bool enough;	    /* set by a hook: run takes no more messages now */
	bool owed;	    /* there may be an announcement or a withdrawal to be sent */
	bool queued;	    /* owner: more that is owed (by streams) waits for buffers */
	uint32_t next_addr; /* dynamic addresses rotate; 0: at their beginning */
	struct amp_rpmsg_ept *leaving; /* closed, and still to be withdrawn */
#if AMP_RPMSG_OTHERS
	const struct amp_rpmsg_ops *ops;
	void *owner;
	uint16_t held_cnt; /* receive buffers held */
	uint16_t held_max; /* set by up(): the rest is for everybody else */
	uint16_t gen;	   /* number of this life of the link, in every id */
	uint32_t hash_len; /* a power of two */
#endif
#if AMPSOCK_WHY
	const char *why; /* last lie of the peer in words, for one log line; NULL: none */
#endif
	struct amp_rpmsg_stats stats;
#if AMPSOCK_TAP
	amp_rpmsg_tap_fn *tap; /* owner: NULL, nobody looks */
#endif
};

/* Room for one message: between reserve and commit or cancel. */
struct amp_rpmsg_tx {
	uint8_t *data; /* payload, aligned to 4 where the peer's buffers are */
	uint32_t room; /* bytes of payload: a longer message is the caller's to refuse */
	uint32_t id;
};

/* Fields that the caller sets first: ops owner hash hash_len. Down, without endpoints. */
void amp_rpmsg_init(struct amp_rpmsg *bus);

/* What readers may hold of n buffers that go round: three quarters, at least one, and of two or
 * more never all. */
static inline uint16_t amp_rpmsg_hold(unsigned n)
{
	return (uint16_t)((3u * n + 1u) / 4u);
}

/*
 * The link works (DRIVER_OK): in, out and ns say with what. Every named endpoint is announced,
 * also those that were there before. held_max becomes amp_rpmsg_hold() of the in queue: who
 * knows that fewer buffers go round than it has entries sets it lower.
 */
void amp_rpmsg_up(struct amp_rpmsg *bus, struct amp_vq *in, struct amp_vq *out, bool ns);

/*
 * The link is gone: queues, held and reserved buffers are forgotten (what lies in them is
 * readable as long as the owner keeps the memory), announcements owed again at the next up().
 * Endpoints stay; those being closed are gone (ops->gone from here, the one exception).
 */
void amp_rpmsg_down(struct amp_rpmsg *bus);

/*
 * Look at the queues: at most budget messages in, owed announcements out. Returns the number
 * of messages handled (0: nothing to do, or down), or -EBADMSG when the peer has broken a ring
 * or a header (why says how): the owner resets the link. (Not so AMP_RPMSG_PLAIN.) Call again while it returns
 * budget.
 */
int amp_rpmsg_run(struct amp_rpmsg *bus, unsigned budget);

/* Before sleep: ask to be notified of what run waits for. True: run again first. */
bool amp_rpmsg_arm(struct amp_rpmsg *bus);

/*
 * An endpoint at addr (AMP_RPMSG_ADDR_ANY: a free one from 1024 up, a just-freed one not soon
 * again). 0; -EADDRINUSE; -EINVAL: the address is the name service's own.
 */
int amp_rpmsg_open(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept, uint32_t addr);
/* The same with a name, or (NULL) without one yet. -EINVAL, too: it is empty or longer than 31. */
int amp_rpmsg_open_named(struct amp_rpmsg *bus, struct amp_rpmsg_named *n, uint32_t addr,
			 const char *name);
/* It has a name from now on, which is announced at the next run and whenever the link comes up. */
void amp_rpmsg_announce(struct amp_rpmsg *bus, struct amp_rpmsg_named *n, const char *name);
/*
 * Withdraw and forget. No more data for it. True: the struct is the owner's again; false:
 * ops->gone() will say when.
 */
bool amp_rpmsg_close(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept);
/* The endpoint with this address, NULL: none. */
struct amp_rpmsg_ept *amp_rpmsg_find(const struct amp_rpmsg *bus, uint32_t addr);

/*
 * A buffer with room for a message of len bytes. As amp_rpmsg_reserve(), and -EMSGSIZE: the next
 * one has less, and stays where it is. must: every buffer has so much room, or it is a lie. (Without
 * AMP_RPMSG_OTHERS the caller knows that the link is up.)
 */
int amp_rpmsg_reserve_for(struct amp_rpmsg *bus, struct amp_rpmsg_tx *tx, size_t len,
			  bool must);
/*
 * A buffer for one message: 0 with *tx filled in; -EAGAIN: none now (tx_ready will come);
 * -ENETDOWN. Several may be open at once; cancel the last first (a device's other ones go to
 * the peer unused). When the link went down since, commit and cancel do nothing.
 */
static inline int amp_rpmsg_reserve(struct amp_rpmsg *bus, struct amp_rpmsg_tx *tx)
{
	return amp_rpmsg_reserve_for(bus, tx, 0, true);
}
/* Send the first len <= tx->room bytes. */
void amp_rpmsg_commit(struct amp_rpmsg *bus, const struct amp_rpmsg_tx *tx, uint32_t src,
		      uint32_t dst, uint32_t len);
void amp_rpmsg_cancel(struct amp_rpmsg *bus, const struct amp_rpmsg_tx *tx);
/* What is owed found no buffer: the next ones are for that, or data would starve it. */
static inline bool amp_rpmsg_must_queue(const struct amp_rpmsg *bus)
{
	return bus->tx_starved && (bus->owed || bus->queued);
}
/* Would reserve succeed? (A hint.) */
static inline bool amp_rpmsg_tx_ready(const struct amp_rpmsg *bus)
{
	return bus->out && !amp_rpmsg_must_queue(bus) && amp_vq_avail(bus->out);
}
/* The same for who waits for that: if not, tx_ready will come. */
bool amp_rpmsg_may_send_now(struct amp_rpmsg *bus);

#if AMP_RPMSG_OTHERS
static inline bool amp_rpmsg_may_hold(const struct amp_rpmsg *bus)
{
	return bus->held_cnt < bus->held_max;
}
#endif
/* Can there be such a service? name: AMP_RPMSG_NAME_LEN bytes. */
bool amp_rpmsg_ns_good(const char *name, uint32_t addr);

#if AMP_RPMSG_OTHERS
/* A buffer held by ops->data goes back. Does nothing when the link went down since. */
void amp_rpmsg_release(struct amp_rpmsg *bus, uint32_t id);
#endif

#endif /* AMP_RPMSG_H */
