// SPDX-License-Identifier: BSD-3-Clause
/*
 * AF_VSOCK links whose driver end we are: a virtio-vsock device behind a struct amp_vdev.
 *
 * Theory of operation
 *
 * Three queues (virtio 1.2, 5.10.2): what arrives, what leaves, events. Rings and buffers
 * are carved from the transport's memory if it brings some, else from static memory.
 *
 * When the device asks for a reset, is gone, breaks a ring or says that its transport was
 * reset (5.10.6.7: CIDs may have changed), every connection is reset and the device is
 * brought up anew at once; listeners stay. If that fails the link is down until
 * amp_link_vsock() is called again.
 */
#include <errno.h>
#include <string.h>

#include "ampsock.h"
#include "../virtio/mmio_ops.h"
#include "../wire/le.h"
#include "af_vsock.h"
#include "hosted.h"
#include "vsock_inner.h"

#if AMPSOCK_VSOCK

AMP_OPTIONAL(amp_vlink_stats);

#define Q_RX	0u
#define Q_TX	1u
#define Q_EVENT 2u
#define Q_CNT	3u
_Static_assert(AMP_VQ_IN == (Q_RX & 1) && AMP_VQ_OUT == (Q_TX & 1) &&
		       AMP_VQ_IN == (Q_EVENT & 1),
	       "queue_up()");

#define NUM		      AMPSOCK_VSOCK_NUM
#define EVENT_NUM	      2u
#define EVENT_LEN	      8u /* 5.10.6.7: le32 id, rounded up */
#define EVENT_TRANSPORT_RESET 0u
#define EVENT_EVERY	      64u

/* amp_vq_layout(): 16 bytes a descriptor, 2 and 8 an entry in the rings, 6 each for flags and
 * indices; as num is even, the used ring is aligned two bytes behind the other, or none. */
#define RING_LEN(num) ((26u * (num) + 12u + 2u + 15u) & ~15u)
#define BUF_LEN	      ((AMPSOCK_VSOCK_BUF_LEN + 3u) & ~3u)
#define MEM_LEN \
	(2u * RING_LEN(NUM) + RING_LEN(EVENT_NUM) + EVENT_NUM * EVENT_LEN + 2u * NUM * BUF_LEN)

/* Where the pools begin: rx, tx, events. */
#define POOLS (2u * RING_LEN(NUM) + RING_LEN(EVENT_NUM))

/* Does a turn take all that a queue can hold? */
#define ONE_TURN (!AMPSOCK_FAST && NUM <= AMP_VLINK_TURN)

/* Off the way of the looks that find nothing, where speed matters. */
#if AMPSOCK_FAST
#define SELDOM __attribute__((noinline))
#else
#define SELDOM
#endif

struct drv_link {
	struct amp_vlink l; /* first */
	struct amp_vq q[Q_CNT];
#if AMPSOCK_FAST
	bool event_armed; /* notified of the next event already */
#endif
	uint16_t state[2 * NUM + EVENT_NUM];
};

static struct drv_link drv[AMPSOCK_VSOCK_LINKS];
static uint8_t own_mem[AMPSOCK_VSOCK_LINKS][MEM_LEN] __attribute__((aligned(64)));

static struct drv_link *drv_of(struct amp_runner *r)
{
	return (struct drv_link *)(void *)r;
}

#if AMPSOCK_FAST
/* Does the device know that it is to notify of the next event? Was it so before? */
static inline bool event_told(struct drv_link *d, bool now)
{
	bool before = d->event_armed;

	d->event_armed = now;
	return before;
}
#else
static inline bool event_told(struct drv_link *d, bool now)
{
	(void)d;
	(void)now;
	return false; /* it is told each time */
}
#endif

/* The largest power of two that the device allows, and we have memory for. */
static uint16_t queue_num(struct amp_vdev *vd, unsigned q, uint16_t num)
{
	uint32_t max = AMP_VDEV(vd, queue_max)(vd, q);

	while (num > max)
		num >>= 1;
	return num;
}

/* The memory: the rings, one behind the other, then the pools. */
static int queue_up(struct drv_link *d, struct amp_vdev *vd, unsigned q, uint32_t features,
		    uint8_t *mem)
{
	bool event = q == Q_EVENT;
	struct amp_vq *vq = &d->q[q];

	AMP_FORGET(mem); /* else each queue's own part of it has a register */
	vq->num = queue_num(vd, q, event ? EVENT_NUM : NUM);
	if (vq->num == 0 && !event)
		return -ENODEV;
	vq->dir = q & 1u;
	vq->event_idx = (features & AMP_VIRTIO_F_EVENT_IDX) != 0;
	vq->bus_off = vd->bus_off;
	vq->state = d->state + q * NUM;
	vq->pool = mem + POOLS + q * (NUM * BUF_LEN);
	vq->buf_len = event ? EVENT_LEN : BUF_LEN;
	amp_vq_driver(vq, mem + q * RING_LEN(NUM));
	if (vq->num ==
	    0) /* a device without events: the queue is ours alone, and always empty */
		return 0;
	return AMP_VDEV(vd, queue_set)(vd, q, vq);
}

/* 5.10.4: the upper half of a CID is zero; 0, 1, 2 and the broadcast are nobody's guest. */
static int read_cid(struct drv_link *d, struct amp_vdev *vd)
{
	uint32_t raw[2];
	int r = AMP_VDEV(vd, config)(vd, 0, raw, sizeof(raw));

	if (r)
		return r;
	if (raw[1] || raw[0] <= AMP_VSOCK_CID_HOST || raw[0] == UINT32_MAX) {
		if (AMPSOCK_WHY)
			amp_log("vsock: the device's guest CID is not usable");
		return -EPROTO;
	}
	d->l.vs.local_cid = raw[0]; /* mmio.c, vsock_hdr.h: little-endian cores */
	return 0;
}

/* 3.1.1 */
static int link_start(struct drv_link *d)
{
	struct amp_vdev *vd = d->l.vd;
	uint8_t *mem = own_mem[AMPSOCK_VSOCK_LINKS == 1 ? 0 : d->l.index];
	uint32_t wanted =
		AMP_VSOCK_F_SEQPACKET | (AMPSOCK_EVENT_IDX ? AMP_VIRTIO_F_EVENT_IDX : 0);
	uint64_t features;
	int r;

	if (vd->mem) {
		if (vd->mem_len < MEM_LEN)
			return -ENOBUFS;
		mem = vd->mem;
	}
	r = AMP_VDEV(vd, probe)(vd, AMP_VIRTIO_ID_VSOCK, &features);
	if (r)
		return r;
	r = -ENOTSUP;
	if (!(features & AMP_VIRTIO_F_VERSION_1))
		goto fail;
	memset(d->q, 0, sizeof(d->q));
	AMP_FORGET(wanted); /* else it is cleared bit by bit */
	wanted &= (uint32_t)features;
	r = AMP_VDEV(vd, accept)(vd, AMP_VIRTIO_F_VERSION_1 | wanted);
	if (r)
		goto fail;
	r = read_cid(d, vd);
	if (r)
		goto fail;
	for (unsigned q = 0; q < Q_CNT; q++) {
		r = queue_up(d, vd, q, wanted, mem);
		if (r)
			goto fail;
	}
	r = AMP_VDEV(vd, run)(vd);
	if (r)
		goto fail;
	d->l.vs.in = &d->q[Q_RX];
	d->l.vs.out = &d->q[Q_TX];
	d->l.vs.seqpacket = (wanted & AMP_VSOCK_F_SEQPACKET) != 0;
	if (AMPSOCK_FAST)
		d->l.event_in = 1;
	event_told(d, false);
	if (!ONE_TURN)
		d->l.last = NUM < UINT8_MAX ? NUM : UINT8_MAX;
	amp_vlink_up(&d->l);
	amp_link_change(d->l.index, true);
	amp_runner_due(&d->l.runner);
	return 0;
fail:
	AMP_VDEV(vd, reset)(vd);
	return r;
}

/* Returns when to run again: at once. */
static int32_t link_restart(struct drv_link *d, const char *why)
{
	if (AMPSOCK_WHY)
		amp_log(why);
	/* before the rings are forgotten: the device must not write there any more */
	AMP_VDEV(d->l.vd, reset)(d->l.vd);
	amp_vlink_down(&d->l);
	if (link_start(d) && AMPSOCK_WHY)
		amp_log("vsock: the device does not come back");
	return 0;
}

/*
 * 5.10.6.7; anything else is unknown and ignored. True: the transport was reset, or the
 * ring is broken, which comes to the same. One at a time: a device can fill buffers as fast
 * as they go back; what is left is seen the next time, and before sleep.
 */
static SELDOM bool event_came(struct drv_link *d)
{
	struct amp_vq_buf b;
	struct amp_iov iov;
	struct amp_vq *q = &d->q[Q_EVENT];
	uint32_t event = ~EVENT_TRANSPORT_RESET;

	amp_vq_buf_room(&b, &iov, 1);
	if (AMPSOCK_FAST)
		d->l.event_in = EVENT_EVERY;
	if (amp_vq_get(q, &b) > 0) {
		if (b.len >= 4)
			event = amp_le32(b.iov->base);
		AMP_FORGET(event);
		amp_vq_put(q, b.id, 0);
		event_told(d, false);
		if (AMPSOCK_FAST)
			d->l.event_in = 1;
		amp_runner_due(&d->l.runner);
	}
	return event == EVENT_TRANSPORT_RESET || q->broken;
}

static int32_t drv_run(struct amp_runner *r, uint32_t now_ms)
{
	struct drv_link *d = drv_of(r);
	bool gone;
	int32_t ms;

	(void)now_ms;
	if (!d->l.up)
		return -1;
	gone = AMP_VDEV(d->l.vd, events)(d->l.vd) & AMP_VDEV_EV_GONE;
	/* events come with an interrupt: looked for when one may have come, and now and then; or
	 * always, where the look is shorter than to know when */
	if (!gone && (!AMPSOCK_FAST || --d->l.event_in == 0) && event_came(d))
		return link_restart(d, AMP_WHY("vsock: the host has reset the transport"));
	ms = amp_vlink_turn(&d->l);
	/* what it had sent before lies in our memory and is told first, as of a peer's RST */
	if (gone && (ONE_TURN || ms != 0 || --d->l.last == 0))
		return link_restart(d, AMP_WHY("vsock: the device is gone or wants a reset"));
	if (AMP_VSOCK_OPS ? ms != AMP_VLINK_BROKEN : !(d->q[Q_RX].broken || d->q[Q_TX].broken))
		return ms;
	return link_restart(d, AMP_WHY_OF(d->q[Q_RX].broken ? &d->q[Q_RX] : &d->q[Q_TX]));
}

/* amp_vq_arm() for events, which hardly ever come: where they are notified of already there is
 * nothing to be written, nor to be ordered. */
static inline bool event_arm(struct drv_link *d)
{
	if (event_told(d, true))
		return ring_rd16(ring_peer_idx(&d->q[Q_EVENT])) != d->q[Q_EVENT].get_idx;
	return amp_vq_arm(&d->q[Q_EVENT]);
}

#if AMPSOCK_SPIN
static bool looked(const void *vs)
{
	return amp_vsock_news(vs);
}

static inline bool news_soon(struct drv_link *d)
{
	return amp_port_spin(looked, &d->l.vs);
}
#else
static inline bool news_soon(struct drv_link *d)
{
	(void)d;
	return false;
}
#endif

static bool drv_arm(struct amp_runner *r, bool on)
{
	struct drv_link *d = drv_of(r);

	(void)on;
	if (!d->l.up)
		return false;
	if (news_soon(d) || vsock_arm(&d->l.vs))
		return true;
	if (!event_arm(d))
		return false;
	if (AMPSOCK_FAST)
		d->l.event_in = 1;
	return true;
}

/* The bit of a queue whose peer wants to hear of it. Where speed matters a look saves the call,
 * which looks, too, whether there is anything new. */
static inline unsigned queue_due(struct drv_link *d, unsigned q)
{
	return (!AMPSOCK_FAST || amp_vq_news(&d->q[q])) && AMP_VQ_KICK_DUE(&d->q[q]) ? 1u << q
										     : 0;
}

static unsigned drv_kick_due(struct amp_runner *r)
{
	struct drv_link *d = drv_of(r);
	unsigned bits = 0;

	if (!d->l.up)
		return 0;
	amp_vlink_flush(&d->l);
	amp_vlink_asked(&d->l);
	if (AMPSOCK_FAST) /* a loop has registers to save, each time */
		return queue_due(d, Q_TX) | queue_due(d, Q_RX) | queue_due(d, Q_EVENT);
	for (unsigned q = amp_vlink_ask_back(&d->l) ? Q_RX : Q_TX; q < Q_CNT; q++) {
		if (!AMP_KICK_AT_ONCE)
			bits |= queue_due(d, q);
		else if (queue_due(d, q))
			AMP_VDEV(d->l.vd, notify)(d->l.vd, q);
	}
	return bits;
}

static __attribute__((noinline)) void kick_all(struct amp_vdev *vd, unsigned queues)
{
	for (unsigned q = 0; queues; q++, queues >>= 1) {
		if (queues & 1)
			AMP_VDEV(vd, notify)(vd, q);
	}
}

static void drv_kick(struct amp_runner *r, unsigned queues)
{
	struct amp_vdev *vd = drv_of(r)->l.vd;

	if (AMPSOCK_FAST && queues == 1u << Q_TX)
		AMP_VDEV(vd, notify)(vd, Q_TX);
	else
		kick_all(vd, queues);
}

/* This device's slot from before, or a free one, or one whose device is gone. */
static struct drv_link *slot_for(struct amp_vdev *vd)
{
	struct drv_link *best = NULL;

	for (unsigned i = 0; i < AMPSOCK_VSOCK_LINKS; i++) {
		struct drv_link *d = &drv[i];

		if (d->l.vd == vd)
			return d;
		if (AMPSOCK_HOSTED ? amp_vlinks[i] && (amp_vlinks[i] != &d->l || d->l.up)
				   : d->l.up)
			continue; /* a hosted program has other kinds of links, too */
		if (!best || (best->l.vd && !d->l.vd))
			best = d;
	}
	return best;
}

int amp_link_vsock(struct amp_vdev *vd)
{
	struct drv_link *d;
	unsigned kicks = 0;
	int r = -ENOBUFS;

	if (!AMPSOCK_VDEV_OTHERS && vd->ops)
		return -ENOTSUP;
	amp_port_lock();
	d = slot_for(vd);
	if (d) {
		if (AMPSOCK_VSOCK_LINKS > 1)
			d->l.index = (uint8_t)(d - drv);
		AMP_FORGET(d); /* nearer than the addresses of its parts */
		amp_vlink_down(&d->l);
		d->l.vd = vd;
		if (AMPSOCK_FAST)
			d->l.out_bit = 1u << Q_TX;
		d->l.runner.run = drv_run;
		d->l.runner.untimed = true;
		d->l.runner.arm = drv_arm;
		d->l.runner.kick_due = drv_kick_due;
		if (!AMP_KICK_AT_ONCE)
			d->l.runner.kick = drv_kick;
		d->l.runner.stats = amp_vlink_stats;
		d->l.q = d->q;
		d->l.q_cnt = Q_CNT;
		amp_vlinks[d->l.index] = &d->l;
		r = link_start(d);
		if (r == 0) /* else vd stays: a thread may be on its way to notify it */
			kicks = drv_kick_due(&d->l.runner);
	}
	amp_port_unlock();
	if (!AMP_KICK_AT_ONCE && kicks)
		d->l.runner.kick(&d->l.runner, kicks);
	amp_port_wake(); /* amp_link_wait() */
	return r;
}

size_t amp_vsock_driver_mem_len(void)
{
	return MEM_LEN;
}

bool amp_vsock_driver_up(const struct amp_vdev *vd)
{
	for (unsigned i = 0; i < AMPSOCK_VSOCK_LINKS; i++) {
		if (drv[i].l.vd == vd && drv[i].l.up)
			return true;
	}
	return false;
}

#endif /* AMPSOCK_VSOCK */
