/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What mmio.c has in its table (vdev.h). A core whose devices are all behind virtio-mmio calls each by
 * name, from one place: inlined there, it is neither called nor given what is known there.
 */
#ifndef AMP_MMIO_OPS_H
#define AMP_MMIO_OPS_H

#include <errno.h>

#include "../port/port.h"
#include "mmio.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "virtio-mmio registers are little-endian: add swaps for this core");

/* Register offsets, 4.2.2, as indices of 32-bit words. */
enum {
	R_MAGIC = 0x000 / 4,
	R_VERSION = 0x004 / 4,
	R_DEVICE_ID = 0x008 / 4,
	R_DEV_FEATURES = 0x010 / 4,
	R_DEV_FEATURES_SEL = 0x014 / 4,
	R_DRV_FEATURES = 0x020 / 4,
	R_DRV_FEATURES_SEL = 0x024 / 4,
	R_QUEUE_SEL = 0x030 / 4,
	R_QUEUE_NUM_MAX = 0x034 / 4,
	R_QUEUE_NUM = 0x038 / 4,
	R_QUEUE_READY = 0x044 / 4,
	R_QUEUE_NOTIFY = 0x050 / 4,
	R_INT_STATUS = 0x060 / 4,
	R_INT_ACK = 0x064 / 4,
	R_STATUS = 0x070 / 4,
	R_QUEUE_DESC = 0x080 / 4, /* low, high */
	R_QUEUE_DRIVER = 0x090 / 4,
	R_QUEUE_DEVICE = 0x0a0 / 4,
	R_CONFIG_GEN = 0x0fc / 4,
	R_CONFIG = 0x100 / 4,
};

/* Device status, 2.1 */
#define S_ACKNOWLEDGE 1u
#define S_DRIVER      2u
#define S_DRIVER_OK   4u
#define S_FEATURES_OK 8u
#define S_NEEDS_RESET 64u

static inline struct amp_mmio *mmio_of(struct amp_vdev *vd)
{
	return (struct amp_mmio *)(void *)vd; /* vd is the first member */
}

/* 2.1.2: the device is reset once Status reads 0. */
int amp_mmio_forget(struct amp_mmio *m);

/* 3.1.1 steps 1 to 4. */
static inline int amp_mmio_probe(struct amp_vdev *vd, uint32_t device_id, uint64_t *features)
{
	struct amp_mmio *m = mmio_of(vd);
	uint32_t low;
	int err;

	if (m->device_id != device_id)
		return -ENODEV;
	err = amp_mmio_forget(m);
	if (err)
		return err;
	m->regs[R_STATUS] = S_ACKNOWLEDGE;
	m->regs[R_STATUS] = S_ACKNOWLEDGE | S_DRIVER;
	m->regs[R_DEV_FEATURES_SEL] = 0;
	low = m->regs[R_DEV_FEATURES];
	m->regs[R_DEV_FEATURES_SEL] = 1;
	*features = (uint64_t)m->regs[R_DEV_FEATURES] << 32 | low;
	return 0;
}

/* 3.1.1 steps 5 and 6: the device may refuse by not keeping FEATURES_OK. */
static inline int amp_mmio_accept(struct amp_vdev *vd, uint64_t features)
{
	struct amp_mmio *m = mmio_of(vd);

	m->regs[R_DRV_FEATURES_SEL] = 0;
	m->regs[R_DRV_FEATURES] = (uint32_t)features;
	m->regs[R_DRV_FEATURES_SEL] = 1;
	m->regs[R_DRV_FEATURES] = (uint32_t)(features >> 32);
	m->regs[R_STATUS] = S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK;
	if (m->regs[R_STATUS] & S_FEATURES_OK)
		return 0;
	m->why = AMP_MMIO_REFUSED;
	return -ENOTSUP;
}

static inline uint32_t amp_mmio_queue_max(struct amp_vdev *vd, unsigned q)
{
	struct amp_mmio *m = mmio_of(vd);

	m->regs[R_QUEUE_SEL] = q;
	return m->regs[R_QUEUE_NUM_MAX];
}

static inline void mmio_put_addr(volatile uint32_t *regs, const volatile void *p,
				 uint64_t bus_off)
{
	uint64_t bus = (uint64_t)(uintptr_t)p + bus_off;

	regs[0] = (uint32_t)bus;
	regs[1] = (uint32_t)(bus >> 32);
}

/* 4.2.3.2 */
static inline int amp_mmio_queue_set(struct amp_vdev *vd, unsigned q, const struct amp_vq *vq)
{
	volatile uint32_t *regs = mmio_of(vd)->regs, *addrs = &regs[R_QUEUE_DESC];

	regs[R_QUEUE_SEL] = q;
	if (regs[R_QUEUE_READY] != 0)
		return -EBUSY;
	if (AMPSOCK_VDEV_OTHERS && vq->num > regs[R_QUEUE_NUM_MAX])
		return -EINVAL; /* who calls by name has just seen to that */
	regs[R_QUEUE_NUM] = vq->num;
	AMP_FORGET(addrs); /* nearer than from the beginning: so are the next */
	mmio_put_addr(addrs, vq->desc, vq->bus_off);
	mmio_put_addr(addrs + R_QUEUE_DRIVER - R_QUEUE_DESC, vq->avail, vq->bus_off);
	mmio_put_addr(addrs + R_QUEUE_DEVICE - R_QUEUE_DESC, vq->used, vq->bus_off);
	amp_io_wmb(); /* the ring's first state before the device may look at it */
	regs[R_QUEUE_READY] = 1;
	return regs[R_QUEUE_READY] == 1 ? 0 : -EIO;
}

static inline int amp_mmio_run(struct amp_vdev *vd)
{
	struct amp_mmio *m = mmio_of(vd);

	amp_io_wmb();
	m->regs[R_STATUS] = S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK;
	return m->regs[R_STATUS] & S_NEEDS_RESET ? -EIO : 0;
}

/* 4.2.2.2: fields wider than 32 bits are read in pieces, and again if ConfigGeneration moved. */
static inline int amp_mmio_words(struct amp_vdev *vd, uint32_t first, uint32_t *to,
				 uint32_t cnt)
{
	struct amp_mmio *m = mmio_of(vd);
	volatile uint32_t *regs = &m->regs[R_CONFIG_GEN];
	uint32_t gen, i, tries;

	AMP_FORGET(regs);
	for (tries = 0; tries < 16; tries++) {
		gen = regs[0];
		for (i = 0; i < cnt; i++)
			to[i] = regs[R_CONFIG - R_CONFIG_GEN + first + i];
		if (regs[0] == gen)
			return 0;
	}
	m->why = AMP_MMIO_RESTLESS;
	return -EIO;
}

static inline int amp_mmio_config(struct amp_vdev *vd, uint32_t off, void *dst, uint32_t len)
{
	return amp_vdev_config_ok(off, len) ? amp_mmio_words(vd, off / 4, dst, len / 4)
					    : -EINVAL;
}

static inline unsigned amp_mmio_events(struct amp_vdev *vd)
{
	struct amp_mmio *m = mmio_of(vd);

	if (!m->event)
		return 0;
	m->event = 0; /* before the look at Status: a later interrupt sets it again */
	if (!(m->regs[R_STATUS] & S_NEEDS_RESET))
		return AMP_VDEV_EV_CONFIG;
	m->event = 1; /* until it is reset: what it had sent may take more than one look */
	return AMP_VDEV_EV_GONE;
}

static inline void amp_mmio_notify(struct amp_vdev *vd, unsigned q)
{
	amp_io_wmb(); /* pairs with the device's read of avail->idx after the notification */
	mmio_of(vd)->regs[R_QUEUE_NOTIFY] = q;
}

static inline void amp_mmio_reset(struct amp_vdev *vd)
{
	(void)amp_mmio_forget(mmio_of(vd));
}

#endif /* AMP_MMIO_OPS_H */
