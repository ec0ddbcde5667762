/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The door to a virtqueue: floor 1.
 *
 * One end of a queue, whichever end it is. An engine above sees a queue as *in*
 * (buffers arrive full, go back empty) or *out* (buffers arrive empty, go away
 * full), and calls the same four things on both, as driver or as device:
 *
 *	               in queue                      out queue
 *	amp_vq_get     next full buffer              next empty buffer
 *	amp_vq_put     give it back (len 0)          send it, len bytes filled
 *	amp_vq_unget   take the last get back (last in, first out)
 *
 *	driver, in     used ring -> get, put -> reposted in the avail ring
 *	driver, out    free list -> get, put -> avail ring; used entries refill the list
 *	device, in     avail ring -> get, put -> used ring with length 0, or as put says
 *	device, out    avail ring -> get, put -> used ring with the length
 *
 * The driver's buffers are a pool in memory that the device can reach
 * (amp_vq_pool()), one descriptor each; or any memory that the owner posts itself
 * (amp_vq_post()), which then comes back from amp_vq_get() by its cookie.
 *
 * Everything in the ring is written by a stranger: each field is read once,
 * checked, then used (virtio 1.2, 2.7). A queue that has been lied to is broken:
 * get returns -EBADMSG from then on, until it is set up anew.
 *
 * Caches that are not coherent with the peer's (AMPSOCK_CACHE_HOOKS): the rings and a
 * pool's buffers are seen to here. Buffers that the queue does not know are their filler's
 * and reader's: a device's out buffer is cleaned by whoever filled it before it is put, and
 * what a device wrote to a posted buffer is invalidated by whoever reaps it.
 *
 * No locking here: the owner serialises calls on a queue. Nothing here notifies;
 * amp_vq_kick_due() says whether the peer wants it and the owner notifies, without
 * its lock.
 */
#ifndef AMP_VQ_H
#define AMP_VQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../ampsock_config.h"

/* Features that are the rings' own (virtio 1.2, 6) */
#define AMP_VIRTIO_F_INDIRECT_DESC (1ull << 28)
#define AMP_VIRTIO_F_EVENT_IDX	   (1ull << 29)

/* The layout of struct iovec, without its header. */
struct amp_iov {
	void *base;
	size_t len;
};

enum amp_vq_role {
	AMP_VQ_DRIVER,
	AMP_VQ_DEVICE,
};

enum amp_vq_dir {
	AMP_VQ_IN,  /* full buffers come to me */
	AMP_VQ_OUT, /* full buffers go from me */
};

/*
 * vsock takes any legal chain (5.10.6). A driver's own buffers are one piece, as are those that a
 * host of rpmsg offers: where there is nothing else, a buffer has its one segment in it.
 */
#define AMP_VQ_CHAINS (AMPSOCK_VQ_DEVICE && AMPSOCK_VSOCK)
#if AMP_VQ_CHAINS
#define AMP_VQ_IOV(name) struct amp_iov *name
#else
#define AMP_VQ_IOV(name) struct amp_iov name[1]
#endif

/* One buffer that is mine between get and put. */
struct amp_vq_buf {
	AMP_VQ_IOV(iov);  /* caller: room for iov_max segments */
	uint16_t iov_max; /* caller */
	uint16_t iov_cnt; /* segments filled in by get: readable on an in queue, writable on out
			   */
	uint16_t id;	  /* head descriptor */
	uint32_t len;	  /* bytes in all segments together */
};

#if AMP_VQ_CHAINS
static inline void amp_vq_buf_room(struct amp_vq_buf *b, struct amp_iov *iov, uint16_t iov_max)
{
	b->iov = iov;
	b->iov_max = iov_max;
}
#else
static inline void amp_vq_buf_room(struct amp_vq_buf *b, struct amp_iov *iov, uint16_t iov_max)
{
	(void)b;
	(void)iov;
	(void)iov_max;
}
#endif

/* A small core's driver is never so busy that it would not be woken. */
#define AMP_VQ_DISARMS (AMPSOCK_FAST || AMPSOCK_VQ_DEVICE)

struct vring_desc; /* virtio 1.2, 2.7.5 */
struct vring_avail;
struct vring_used;

/* A device of shared memory that is all one piece needs no translation but the window. */
#define AMP_VQ_TRANSLATE (AMPSOCK_VSOCK || AMPSOCK_HOSTED)

/*
 * Device side: where the peer's addr..addr+len lies in my memory. What lies in the window whole
 * is found there; of the rest translate says where, NULL: refused.
 * *len_io is the length wanted; a translation may shorten it when the range crosses
 * a border between two mappings, and is then asked again for the rest.
 */
struct amp_vq_xlate {
	uint8_t *base; /* the window, here */
	uint64_t addr; /* and as the peer counts */
	size_t len;    /* 0: none */
#if AMP_VQ_TRANSLATE
	void *(*translate)(void *ctx, uint64_t addr, uint32_t *len_io); /* NULL: nothing else */
	void *ctx;
#endif
};

/*
 * A device that has one of these for its queue completes in the order in which the driver
 * made available: a chain that was put goes into its own slot of the used ring at once, but
 * the used index passes that only when all before it were put, too. So the used index alone
 * says, to whoever takes the queue over from a dead process, which chains are still to be
 * handled: none is lost and none is completed twice.
 */
struct amp_vq_order {
	uint16_t id[1024]; /* by used slot: the chain that belongs there */
};

/* Small and busy fields first: short offsets are short instructions on Thumb. */
struct amp_vq {
	bool broken;	/* the peer lied: amp_vq_break(), why */
	bool event_idx; /* VIRTIO_F_EVENT_IDX negotiated */
	bool armed;	/* the peer is asked to notify me; AMP_VQ_DISARMS */
	uint8_t role;	/* enum amp_vq_role */
	uint8_t dir;	/* enum amp_vq_dir */
	bool indirect;	/* VIRTIO_F_INDIRECT_DESC negotiated */
	uint16_t num;	/* entries, a power of two (virtio 1.2, 2.7) */
	uint16_t mask;	/* num - 1 */
	bool any_dir;	/* owner: descriptors may say the wrong direction */
	bool eager;	/* owner: notify a driver that says that it need not be, too; with event
			   index: one whose event is 0, as if it never wrote it */
	volatile struct vring_desc *desc;
	volatile struct vring_avail *avail;
	volatile struct vring_used *used;
#if AMPSOCK_FAST
	/* event_idx: where I ask to be notified, and where the peer does; else NULL */
	volatile uint16_t *event;
	const volatile uint16_t *peer_event;
#endif
	/* driver */
	uint16_t *state; /* private, num entries: free list, or what is out */
	uint8_t *pool;
	uint32_t buf_len; /* bytes per pool buffer, 0: buffers are posted */
	uint16_t free_head;
	uint16_t free_cnt;
	/* both */
	uint16_t get_idx;  /* device: next avail entry; driver: next used entry */
	uint16_t put_idx;  /* device: next used entry; driver: next avail entry */
	uint16_t peer_idx; /* the peer's index as last read and checked */
	uint16_t kick_idx; /* put_idx when the peer was last considered for a kick */
	uint16_t skew;	   /* put_idx - get_idx when nothing is outstanding */
	uint32_t kicks;	   /* seen by ampsockctl and the statistics */
	uint64_t bus_off;  /* driver: bus address = pointer + bus_off */
			   /* device */
#if AMPSOCK_VQ_DEVICE
	struct amp_vq_xlate xlate;
#endif
#if AMPSOCK_VQ_ORDER
	struct amp_vq_order *order; /* owner: NULL: chains complete as they are put */
#endif
#if AMPSOCK_WHY
	const char *why; /* broken: what the peer did, with the section of the spec */
#endif
};

/* What set-up needs; desc, avail and used are already mapped and sized. */
struct amp_vq_setup {
	enum amp_vq_role role;
	enum amp_vq_dir dir;
	uint16_t num;
	void *desc;
	void *avail;
	void *used;
	bool event_idx;
	bool indirect;
	uint16_t *state;  /* driver: num entries of private memory */
	uint64_t bus_off; /* driver */
#if AMPSOCK_VQ_DEVICE
	struct amp_vq_xlate xlate; /* device */
#endif
	uint16_t start_idx; /* device: avail index to start from (vhost SET_VRING_BASE) */
#if AMPSOCK_VQ_ORDER
	struct amp_vq_order *order; /* device, NULL: none */
#endif
};

/* Bytes of ring memory for num entries, and the offset of each part (2.7: align 16/2/4). */
size_t amp_vq_layout(uint16_t num, size_t *avail_off, size_t *used_off);

/*
 * A driver's queue with its pool, set up whole: num (a power of two, at most 1024), dir,
 * state, pool, buf_len (num buffers of it), bus_off and event_idx are set by the caller, the
 * rest of *vq is zero. ring: amp_vq_layout() bytes, aligned to 16.
 */
void amp_vq_driver(struct amp_vq *vq, void *ring);

/*
 * A device's queue, set up whole: desc, avail, used, num (a power of two, at most 1024), dir,
 * event_idx and xlate are set by the caller, who has checked that they are aligned; get_idx is
 * where to start, the rest of *vq is zero. The used ring is taken as it is.
 */
void amp_vq_device(struct amp_vq *vq);

/*
 * 0, or -EINVAL when num is no power of two or a part is misaligned. The driver
 * zeroes the ring; the device takes used->idx as it is.
 */
int amp_vq_init(struct amp_vq *vq, const struct amp_vq_setup *setup);

/* Driver: give the queue cnt (<= num) buffers of buf_len bytes each at pool; an in queue posts
 * them all. */
int amp_vq_pool(struct amp_vq *vq, void *pool, uint32_t buf_len, uint16_t cnt);

/* 1: *buf filled in; 0: none now; -EBADMSG: broken; -E2BIG never (a chain longer than iov_max
 * is broken). */
int amp_vq_get(struct amp_vq *vq, struct amp_vq_buf *buf);
void amp_vq_put(struct amp_vq *vq, uint16_t id, uint32_t len);
/*
 * The length of head descriptor id, between get and put: what the ring says now, of a device's
 * queue a stranger's word. Good for saying it back, with put, and for nothing else.
 */
uint32_t amp_vq_desc_len(const struct amp_vq *vq, uint16_t id);
/* When another buffer was got since: put with length 0 (a device's out queue: returned unused).
 */
void amp_vq_unget(struct amp_vq *vq, uint16_t id);

/* The same of the buffer that was got this very moment. */
static inline void amp_vq_leave(struct amp_vq *vq, uint16_t id)
{
	if (AMPSOCK_VQ_DRIVER)
		amp_vq_unget(vq, id);
	else
		vq->get_idx--;
}

/*
 * Driver with posted buffers: offer rd_cnt device-readable then wr_cnt
 * device-writable segments as one chain. Returns its id or -EAGAIN; -EINVAL when it
 * is longer than the queue. With indirect != NULL (room for rd_cnt + wr_cnt
 * descriptors, aligned to 16, in reach of the device; negotiated) the chain takes one
 * ring entry.
 */
int amp_vq_post(struct amp_vq *vq, const struct amp_iov *iov, uint16_t rd_cnt, uint16_t wr_cnt,
		void *indirect);
/*
 * Driver with posted buffers: 1: *id came back with *len bytes written; 0; -EBADMSG.
 * The length is the device's word: who posted knows how much it can be, and checks.
 */
int amp_vq_reap(struct amp_vq *vq, uint16_t *id, uint32_t *len);

/* Does the peer want to be notified of what was put since the last call? (2.7.7, 2.7.10) */
bool amp_vq_kick_due(struct amp_vq *vq);

/* Was anything put since? Without, kick_due has nothing to ask. */
static inline bool amp_vq_news(const struct amp_vq *vq)
{
	return vq->kick_idx != vq->put_idx;
}

/* Whoever has just asked for a buffer, and got none: is it that there was none? */
static inline bool amp_vq_seen_empty(const struct amp_vq *vq)
{
	return vq->peer_idx == vq->get_idx && !vq->broken;
}

/*
 * Ask the peer to notify me of its next buffer. Returns true when one came in the
 * meantime: look again, the notification may never come. disarm: do not bother.
 */
bool amp_vq_arm(struct amp_vq *vq);
void amp_vq_disarm(struct amp_vq *vq); /* AMP_VQ_DISARMS, else there is none */
#if AMPSOCK_VQ_ORDER
/* The same of the buffer that is made available when the driver's index is idx, whatever lies
 * there before it. */
bool amp_vq_arm_at(struct amp_vq *vq, uint16_t idx);
/* No notification of the next buffers, even if it was asked for. (After disarm the one that was
 * asked for still comes, with event index.) */
void amp_vq_hush(struct amp_vq *vq);
/* The driver's index, as it is now. */
uint16_t amp_vq_driver_idx(const struct amp_vq *vq);
#endif

/*
 * Whoever reads what lies in the buffers finds a lie, too: the queue is broken. Returns
 * -EBADMSG. AMP_WHY_SAY() is the caller's.
 */
int amp_vq_break(struct amp_vq *vq);

/* Buffers that get could return now (a hint: the peer may lie). Never negative. */
uint16_t amp_vq_avail(const struct amp_vq *vq);
/* Are there any? */
bool amp_vq_any(const struct amp_vq *vq);

#endif /* AMP_VQ_H */
