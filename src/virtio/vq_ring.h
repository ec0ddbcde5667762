/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The busy half of vq_split.c, whose theory of operation it is part of: get, put and
 * kick_due of one buffer. Private to this room and to vq_fast.h.
 */
#ifndef AMP_VQ_RING_H
#define AMP_VQ_RING_H

#include <errno.h>

#include "../port/port.h"
#include "vq.h"
#include "vring.h"

#define RING_BUSY 0x8000u /* the peer has the chain that starts here */
#define RING_END  0x7fffu /* end of the free list or of a chain */
#define RING_HELD 0u	  /* got, not yet put */

/* To a program that has nothing but rpmsg everything but one descriptor is a lie. */
#define RING_CHAINS AMP_VQ_CHAINS

/* Off the way of the usual buffer, or its registers are saved for nothing. */
#define AMP_VQ_RARE __attribute__((noinline, cold))

/*
 * One more copy is worth it where speed matters: what a peek finds stays in registers. A small build
 * has one caller of each that it links, and a compiler does not see which those are.
 */
#if AMPSOCK_FAST
#define RING_INLINE inline __attribute__((always_inline))
#define RING_FLAT   inline
#else
#define RING_INLINE inline
#define RING_FLAT   AMP_INLINED
#endif

static inline int ring_lied(struct amp_vq *vq, const char *why)
{
	int r = amp_vq_break(vq);

	AMP_WHY_SAY(vq, why);
	if (r >= 0)
		__builtin_unreachable(); /* else every caller's caller is warned of */
	return r;
}

/* Device: the chain at head, whatever it is made of (vq_split.c). As amp_vq_get(). */
AMP_VQ_RARE int amp_vq_walk(struct amp_vq *vq, struct amp_vq_buf *buf, uint16_t head);

static inline uint16_t ring_rd16(const volatile uint16_t *p)
{
	amp_port_cache_invalidate(p, sizeof(*p));
	return *p;
}

static inline void ring_wr16(volatile uint16_t *p, uint16_t v)
{
	*p = v;
	amp_port_cache_clean(p, sizeof(*p));
}

static inline unsigned ring_mask(const struct amp_vq *vq, unsigned idx)
{
	return idx & vq->mask;
}

static inline bool ring_event_idx(const struct amp_vq *vq)
{
	return AMPSOCK_EVENT_IDX && vq->event_idx;
}

static inline bool ring_device(const struct amp_vq *vq)
{
	return AMPSOCK_VQ_DEVICE && (!AMPSOCK_VQ_DRIVER || vq->role == AMP_VQ_DEVICE);
}

/* Chains that are out. Device: that I hold; driver: that the peer holds. */
static inline uint16_t ring_out_cnt(const struct amp_vq *vq)
{
	uint16_t ahead = (uint16_t)(vq->put_idx - vq->get_idx);

	return ring_device(vq) ? (uint16_t)(vq->skew - ahead) : ahead;
}

/* The index that the peer publishes, and where each side asks for notifications. */
static inline const volatile uint16_t *ring_peer_idx(const struct amp_vq *vq)
{
	return ring_device(vq) ? &vq->avail->idx : &vq->used->idx;
}

static inline volatile uint16_t *ring_used_event(const struct amp_vq *vq)
{
	return &vq->avail->ring[vq->num];
}

static inline volatile uint16_t *ring_avail_event(const struct amp_vq *vq)
{
	return (volatile uint16_t *)&vq->used->ring[vq->num];
}

/* Where I ask to be notified with event index, and where the peer does: if RING_ASKED(). */
#if AMPSOCK_FAST
#define RING_ASKED(vq, event) ((event) != NULL)

static inline volatile uint16_t *ring_event(const struct amp_vq *vq)
{
	return AMPSOCK_EVENT_IDX ? vq->event : NULL;
}

static inline const volatile uint16_t *ring_peer_event(const struct amp_vq *vq)
{
	return AMPSOCK_EVENT_IDX ? vq->peer_event : NULL;
}

/* The rings' addresses are known. */
static inline void ring_events(struct amp_vq *vq)
{
	if (!ring_event_idx(vq))
		return;
	vq->event = ring_device(vq) ? ring_avail_event(vq) : ring_used_event(vq);
	vq->peer_event = ring_device(vq) ? ring_used_event(vq) : ring_avail_event(vq);
}
#else
#define RING_ASKED(vq, event) ring_event_idx(vq)

static inline volatile uint16_t *ring_event(const struct amp_vq *vq)
{
	return ring_device(vq) ? ring_avail_event(vq) : ring_used_event(vq);
}

static inline const volatile uint16_t *ring_peer_event(const struct amp_vq *vq)
{
	return ring_device(vq) ? ring_used_event(vq) : ring_avail_event(vq);
}

static inline void ring_events(struct amp_vq *vq)
{
	(void)vq;
}
#endif

#if AMPSOCK_VQ_DEVICE
/* Device: does addr..addr+len lie in the window, with *at? No sum that could overflow. */
static inline bool ring_window(const struct amp_vq *vq, uint64_t addr, uint32_t len, void **at)
{
	uint64_t far = addr - vq->xlate.addr;
	size_t off = (size_t)far;

	if (off != far || off > vq->xlate.len || len > vq->xlate.len - off)
		return false;
	*at = vq->xlate.base + off;
	return true;
}
#else
static inline bool ring_window(const struct amp_vq *vq, uint64_t addr, uint32_t len, void **at)
{
	(void)vq;
	(void)addr;
	(void)len;
	(void)at;
	return false;
}
#endif

#if AMPSOCK_VQ_DEVICE && AMP_VQ_TRANSLATE
/* Device: where addr and what follows lies, up to *len bytes of it: as translate. Not the way of
 * a window's buffer, whose registers are not saved for it. */
AMP_VQ_RARE void *amp_vq_elsewhere(const struct amp_vq *vq, uint64_t addr, uint32_t *len);
/* All of it; NULL: nowhere, or in pieces. */
AMP_VQ_RARE void *amp_vq_elsewhere_whole(const struct amp_vq *vq, uint64_t addr, uint32_t len);
#else
static inline void *amp_vq_elsewhere(const struct amp_vq *vq, uint64_t addr, uint32_t *len)
{
	(void)vq;
	(void)addr;
	(void)len;
	return NULL;
}

static inline void *amp_vq_elsewhere_whole(const struct amp_vq *vq, uint64_t addr, uint32_t len)
{
	(void)vq;
	(void)addr;
	(void)len;
	return NULL;
}
#endif

/* Device: where addr..addr+len lies, which is not empty, in one piece. False: it does not. */
static inline bool ring_memory(const struct amp_vq *vq, uint64_t addr, uint32_t len, void **at)
{
	if (ring_window(vq, addr, len, at))
		return true;
	*at = amp_vq_elsewhere_whole(vq, addr, len);
	return *at != NULL;
}

/* Driver: hand chain id to the device. */
static RING_FLAT void ring_avail_put(struct amp_vq *vq, uint16_t id)
{
	unsigned at = vq->put_idx;

	ring_wr16(&vq->avail->ring[ring_mask(vq, at)], id);
	vq->put_idx = (uint16_t)(at + 1u);
	amp_wmb(); /* pairs with rmb in the device's get */
	ring_wr16(&vq->avail->idx, (uint16_t)(at + 1u));
}

#if AMPSOCK_VQ_ORDER
/* ring_used_put() of a queue that has an order (vq_split.c). */
__attribute__((noinline)) void amp_vq_used_in_order(struct amp_vq *vq, uint16_t id,
						    uint32_t len);

/* Is that what id's way back is? Then it is done. */
static inline bool ring_in_order(struct amp_vq *vq, uint16_t id, uint32_t len)
{
	if (!vq->order)
		return false;
	amp_vq_used_in_order(vq, id, len);
	return true;
}

static inline void ring_order(struct amp_vq *vq, uint16_t id)
{
	if (vq->order)
		vq->order->id[ring_mask(vq, (unsigned)vq->get_idx + vq->skew)] = id;
}

static inline bool ring_ordered(const struct amp_vq *vq)
{
	return vq->order != NULL;
}
#else
static inline bool ring_in_order(struct amp_vq *vq, uint16_t id, uint32_t len)
{
	(void)vq;
	(void)id;
	(void)len;
	return false;
}

static inline void ring_order(struct amp_vq *vq, uint16_t id)
{
	(void)vq;
	(void)id;
}

static inline bool ring_ordered(const struct amp_vq *vq)
{
	(void)vq;
	return false;
}
#endif

/* Device: the chain at get_idx, whose head is id, is taken. */
static inline void ring_device_took(struct amp_vq *vq, uint16_t id)
{
	ring_order(vq, id);
	vq->get_idx++;
}

/* Device: hand chain id back. */
static inline void ring_used_put(struct amp_vq *vq, uint16_t id, uint32_t len)
{
	unsigned at = vq->put_idx;
	volatile struct vring_used_elem *e = &vq->used->ring[ring_mask(vq, at)];

	if (ring_in_order(vq, id, len))
		return;
	e->id = id;
	e->len = len;
	amp_port_cache_clean(e, sizeof(*e));
	vq->put_idx = (uint16_t)(at + 1u);
	amp_wmb(); /* pairs with rmb in the driver's get */
	ring_wr16(&vq->used->idx, (uint16_t)(at + 1u));
}

/*
 * Is there anything from the peer beyond get_idx? It can not have published more than is
 * out (driver), or than the queue has beyond what I hold (device). The shared index is
 * read only when what was known is used up.
 */
static RING_FLAT int ring_peer_has(struct amp_vq *vq)
{
	uint16_t limit, now;

	if (vq->broken)
		return -EBADMSG;
	if (vq->peer_idx != vq->get_idx)
		return 1;
	now = ring_rd16(ring_peer_idx(vq));
	if (now == vq->get_idx)
		return 0;
	limit = ring_out_cnt(vq);
	if (ring_device(vq))
		limit = (uint16_t)(vq->num - limit);
	if ((uint16_t)(now - vq->get_idx) > limit)
		return ring_lied(vq, "ring index ahead of what can be outstanding "
				     "(virtio 2.7.6, 2.7.8)");
	vq->peer_idx = now;
	amp_rmb(); /* pairs with wmb in the peer's put: entries after index */
	return 1;
}

/* A buffer in one piece. */
struct ring_buf {
	void *p;
	uint32_t len;
	uint16_t id;
	bool fresh; /* driver, out: from the free list */
};

/* Driver: the next used entry, checked against what is really out; it stays where it is. */
static RING_FLAT int ring_used_peek(struct amp_vq *vq, uint16_t *id, uint32_t *len)
{
	volatile struct vring_used_elem *e;
	uint32_t raw;
	int r = ring_peer_has(vq);

	if (r <= 0)
		return r;
	e = &vq->used->ring[ring_mask(vq, vq->get_idx)];
	amp_port_cache_invalidate(e, sizeof(*e));
	raw = e->id;
	*len = e->len;
	if (raw >= vq->num || !(vq->state[raw] & RING_BUSY))
		return ring_lied(vq, "used id that is not outstanding (virtio 2.7.8)");
	*id = (uint16_t)raw;
	return 1;
}

/*
 * Driver, out: take a buffer that no message has been in? Else the next is the oldest that came
 * back, if there is one. A queue that takes used ones first goes round in no more of them than are out
 * at a time, which a cache may hold (AMPSOCK_VQ_WARM); the other order needs no look at the peer's index.
 */
static inline bool ring_takes_fresh(struct amp_vq *vq)
{
	return vq->free_cnt && !vq->broken && (!AMPSOCK_VQ_WARM || ring_peer_has(vq) == 0);
}

/* What ring_driver_get() would give next, checked, without taking it. */
static RING_INLINE int ring_driver_peek(struct amp_vq *vq, enum amp_vq_dir dir,
					struct ring_buf *b)
{
	int r;

	b->fresh = dir == AMP_VQ_OUT && ring_takes_fresh(vq);
	if (b->fresh) {
		b->id = vq->free_head;
	} else {
		r = ring_used_peek(vq, &b->id, &b->len);
		if (r <= 0)
			return r;
	}
	if (dir == AMP_VQ_OUT)
		b->len = vq->buf_len;
	else if (b->len > vq->buf_len)
		return ring_lied(vq, "used length beyond the buffer (virtio 2.7.8.2)");
	b->p = vq->pool + (size_t)b->id * vq->buf_len;
	if (dir == AMP_VQ_IN)
		amp_port_cache_invalidate(b->p, b->len);
	return 1;
}

/* 2: more than one piece, b->id is its head. */
static RING_INLINE int ring_device_peek(struct amp_vq *vq, enum amp_vq_dir dir,
					struct ring_buf *b)
{
	uint16_t want = dir == AMP_VQ_OUT ? VRING_DESC_F_WRITE : 0, flags;
	volatile struct vring_desc *d;
	int r = ring_peer_has(vq);

	if (r <= 0)
		return r;
	b->fresh = false;
	b->id = ring_rd16(&vq->avail->ring[ring_mask(vq, vq->get_idx)]);
	if (b->id >= vq->num)
		return ring_lied(vq, "avail entry beyond the queue (virtio 2.7.6)");
	/* nearly always one direct descriptor in one mapping */
	d = &vq->desc[b->id];
	amp_port_cache_invalidate(d, sizeof(*d));
	b->len = d->len;
	flags = d->flags;
	if ((flags != want && (!vq->any_dir || (flags ^ want) != VRING_DESC_F_WRITE)) ||
	    !b->len)
		return 2;
	if (!ring_memory(vq, d->addr, b->len, &b->p))
		return 2;
	if (dir == AMP_VQ_IN)
		amp_port_cache_invalidate(b->p, b->len);
	return 1;
}

/* For the way of the usual buffer: false also when there is none, or not in one piece. */
static RING_INLINE bool ring_peek(struct amp_vq *vq, enum amp_vq_dir dir, struct ring_buf *b)
{
	if (ring_ordered(vq))
		return false;
	return (ring_device(vq) ? ring_device_peek(vq, dir, b)
				: ring_driver_peek(vq, dir, b)) == 1;
}

/* Driver: the next buffer is mine now. */
static inline int ring_driver_get(struct amp_vq *vq, enum amp_vq_dir dir,
				  struct amp_vq_buf *buf)
{
	uint32_t len, room = vq->buf_len;
	uint16_t id;
	int r;

	if (dir == AMP_VQ_OUT && ring_takes_fresh(vq)) {
		id = vq->free_head;
		vq->free_head = vq->state[id];
		vq->free_cnt--;
	} else {
		r = ring_used_peek(vq, &id, &len);
		if (r <= 0)
			return r;
		vq->get_idx++;
		if (dir == AMP_VQ_IN) {
			if (len > room)
				return ring_lied(
					vq, "used length beyond the buffer (virtio 2.7.8.2)");
			room = len;
		}
	}
	vq->state[id] = RING_HELD;
	buf->id = id;
	buf->len = room;
	buf->iov[0].base = vq->pool + (size_t)id * vq->buf_len;
	buf->iov[0].len = room;
	buf->iov_cnt = 1;
	if (dir == AMP_VQ_IN)
		amp_port_cache_invalidate(buf->iov[0].base, buf->len);
	return 1;
}

static inline int ring_get(struct amp_vq *vq, enum amp_vq_dir dir, struct amp_vq_buf *buf)
{
	struct ring_buf b = {.p = NULL};
	int r;

	if (!ring_device(vq))
		return ring_driver_get(vq, dir, buf);
	r = ring_device_peek(vq, dir, &b);
	if (r <= 0)
		return r;
	if (RING_CHAINS && (r == 2 || !buf->iov_max))
		return amp_vq_walk(vq, buf, b.id); /* which reads all of it anew */
	if (r == 2)
		return ring_lied(vq, "buffer that is not one descriptor in the shared memory");
	ring_device_took(vq, b.id);
	buf->id = b.id;
	buf->len = b.len;
	buf->iov[0].base = b.p;
	buf->iov[0].len = b.len;
	buf->iov_cnt = 1;
	return 1;
}

static inline void ring_put(struct amp_vq *vq, enum amp_vq_dir dir, uint16_t id, uint32_t len)
{
	if (ring_device(vq)) {
		ring_used_put(vq, id, len);
		return;
	}
	vq->state[id] = RING_BUSY | RING_END;
	if (dir == AMP_VQ_OUT) {
		amp_port_cache_clean(vq->pool + (size_t)id * vq->buf_len, len);
		vq->desc[id].len = len;
		amp_port_cache_clean(&vq->desc[id], sizeof(vq->desc[id]));
	}
	ring_avail_put(vq, id);
}

/*
 * Getting and putting at once: what was peeked at goes (back) to the peer. In two steps,
 * so that little is to be remembered over the copy between them: its entry, of len bytes; and,
 * when they are there, or read, the index. Not of a queue that has an order.
 */
static inline void ring_enter(struct amp_vq *vq, enum amp_vq_dir dir, const struct ring_buf *b,
			      uint32_t len)
{
	unsigned at = vq->put_idx;

	vq->put_idx = (uint16_t)(at + 1u);
	at = ring_mask(vq, at);
	if (ring_device(vq)) {
		volatile struct vring_used_elem *e = &vq->used->ring[at];

		vq->get_idx++;
		e->id = b->id;
		e->len = len;
		amp_port_cache_clean(e, sizeof(*e));
		return;
	}
	if (dir == AMP_VQ_OUT && b->fresh) {
		vq->free_head = vq->state[b->id];
		vq->free_cnt--;
		vq->state[b->id] = RING_BUSY | RING_END;
	} else {
		vq->get_idx++; /* its state says BUSY still */
	}
	if (dir == AMP_VQ_OUT) {
		vq->desc[b->id].len = len;
		amp_port_cache_clean(&vq->desc[b->id], sizeof(vq->desc[b->id]));
	}
	ring_wr16(&vq->avail->ring[at], b->id);
}

/* len bytes at p are written, of an out queue. */
static inline void ring_publish(struct amp_vq *vq, enum amp_vq_dir dir, const void *p,
				uint32_t len)
{
	if (dir == AMP_VQ_OUT)
		amp_port_cache_clean(p, len);
	amp_wmb(); /* pairs with rmb in the peer's get */
	ring_wr16(ring_device(vq) ? &vq->used->idx : &vq->avail->idx, vq->put_idx);
}

/* amp_vq_disarm() of a queue that is armed. */
static inline void ring_disarm(struct amp_vq *vq)
{
	/* With event index nothing is to do: past the event there are no notifications. */
	if (!ring_event_idx(vq))
		ring_wr16(ring_device(vq) ? &vq->used->flags : &vq->avail->flags,
			  ring_device(vq) ? VRING_USED_F_NO_NOTIFY
					  : VRING_AVAIL_F_NO_INTERRUPT);
	vq->armed = false;
}

/* ring_kick_due() of a queue that is not broken and was put to. */
static inline bool ring_kick_put(struct amp_vq *vq)
{
	const volatile uint16_t *event = ring_peer_event(vq);
	unsigned old = vq->kick_idx, now = vq->put_idx;
	bool due;

	vq->kick_idx = (uint16_t)now;
	amp_mb(); /* pairs with mb in the peer's arm: index before event index */
	if (RING_ASKED(vq, event)) {
		unsigned ev = ring_rd16(event);

		/*
		 * 2.7.7.2, 2.7.10.2: has the index passed the event? That is, is the event one of
		 * those from old on, before now; of 16 bits each, which are quicker compared as the
		 * upper half of 32.
		 */
		due = (uint32_t)(ev - old) << 16 < (uint32_t)(now - old) << 16 ||
		      (!ev && ring_device(vq) && vq->eager);
	} else if (ring_device(vq)) {
		due = !(ring_rd16(&vq->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT) || vq->eager;
	} else {
		due = !(ring_rd16(&vq->used->flags) & VRING_USED_F_NO_NOTIFY);
	}
	if (!due)
		return false;
	vq->kicks++;
	return true;
}

static inline bool ring_kick_due(struct amp_vq *vq)
{
	return vq->kick_idx != vq->put_idx && !vq->broken && ring_kick_put(vq);
}

#endif /* AMP_VQ_RING_H */
