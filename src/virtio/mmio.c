/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Theory of operation: virtio-mmio registers as a virtio transport (virtio 1.2, 4.2).
 *
 * Every register is 32 bits, little-endian, and belongs to the device: what is read
 * from it is checked and every wait for it is bounded, so that a dead or hostile device
 * costs an error and not a hang. The interrupt handler does three things only: read
 * InterruptStatus, acknowledge it, wake. That a used buffer came is not recorded, the
 * rings say so themselves; that the configuration changed (or the device wants a reset,
 * which arrives the same way, 2.1.2) is left in m->event for the next look.
 */
#include <errno.h>
#include <string.h>

#include "mmio.h"
#include "../port/port.h"

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

#define MAGIC 0x74726976u /* "virt" */

#define INT_CONFIG 2u /* InterruptStatus, 4.2.2 */

/* Device status, 2.1 */
#define S_ACKNOWLEDGE 1u
#define S_DRIVER      2u
#define S_DRIVER_OK   4u
#define S_FEATURES_OK 8u
#define S_NEEDS_RESET 64u

/* Looks at a register that ought to change: a device that needs more is dead. */
#define PATIENCE 100000u

/* In the table, or called by name. */
#if AMPSOCK_VDEV_OTHERS
#define OP static
#else
#define OP
#endif

static struct amp_mmio *mmio_of(struct amp_vdev *vd)
{
	return (struct amp_mmio *)(void *)vd; /* vd is the first member */
}

/* 2.1.2: the device is reset once Status reads 0. */
static __attribute__((noinline)) int mmio_forget(struct amp_mmio *m)
{
	uint32_t i;

	m->regs[R_STATUS] = 0;
	for (i = 0; i < PATIENCE; i++) {
		if (m->regs[R_STATUS] == 0) {
			m->event = 0;
			return 0;
		}
	}
	m->why = AMP_MMIO_STUCK_RESET;
	return -EIO;
}

/* 3.1.1 steps 1 to 4. */
OP int amp_mmio_probe(struct amp_vdev *vd, uint32_t device_id, uint64_t *features)
{
	struct amp_mmio *m = mmio_of(vd);
	uint32_t low;
	int err;

	if (m->device_id != device_id)
		return -ENODEV;
	err = mmio_forget(m);
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
OP int amp_mmio_accept(struct amp_vdev *vd, uint64_t features)
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

OP uint16_t amp_mmio_queue_max(struct amp_vdev *vd, unsigned q)
{
	struct amp_mmio *m = mmio_of(vd);
	uint32_t num;

	m->regs[R_QUEUE_SEL] = q;
	num = m->regs[R_QUEUE_NUM_MAX];
	return num > 32768 ? 32768 : (uint16_t)num; /* 2.7: at most 2^15 */
}

static void mmio_put_addr(struct amp_mmio *m, unsigned reg, const volatile void *p,
			  uint64_t bus_off)
{
	uint64_t bus = (uint64_t)(uintptr_t)p + bus_off;

	m->regs[reg] = (uint32_t)bus;
	m->regs[reg + 1] = (uint32_t)(bus >> 32);
}

/* 4.2.3.2 */
OP int amp_mmio_queue_set(struct amp_vdev *vd, unsigned q, const struct amp_vq *vq)
{
	struct amp_mmio *m = mmio_of(vd);

	m->regs[R_QUEUE_SEL] = q;
	if (m->regs[R_QUEUE_READY] != 0)
		return -EBUSY;
	if (vq->num > m->regs[R_QUEUE_NUM_MAX])
		return -EINVAL;
	m->regs[R_QUEUE_NUM] = vq->num;
	mmio_put_addr(m, R_QUEUE_DESC, vq->desc, vq->bus_off);
	mmio_put_addr(m, R_QUEUE_DRIVER, vq->avail, vq->bus_off);
	mmio_put_addr(m, R_QUEUE_DEVICE, vq->used, vq->bus_off);
	amp_io_wmb(); /* the ring's first state before the device may look at it */
	m->regs[R_QUEUE_READY] = 1;
	return m->regs[R_QUEUE_READY] == 1 ? 0 : -EIO;
}

OP int amp_mmio_run(struct amp_vdev *vd)
{
	struct amp_mmio *m = mmio_of(vd);

	amp_io_wmb();
	m->regs[R_STATUS] = S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK;
	return m->regs[R_STATUS] & S_NEEDS_RESET ? -EIO : 0;
}

/* 4.2.2.2: fields wider than 32 bits are read in pieces, and again if ConfigGeneration moved. */
OP int amp_mmio_words(struct amp_vdev *vd, uint32_t first, uint32_t *to, uint32_t cnt)
{
	struct amp_mmio *m = mmio_of(vd);
	uint32_t gen, i, tries;

	for (tries = 0; tries < 16; tries++) {
		gen = m->regs[R_CONFIG_GEN];
		for (i = 0; i < cnt; i++)
			to[i] = m->regs[R_CONFIG + first + i];
		if (m->regs[R_CONFIG_GEN] == gen)
			return 0;
	}
	m->why = AMP_MMIO_RESTLESS;
	return -EIO;
}

OP unsigned amp_mmio_events(struct amp_vdev *vd)
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

OP void amp_mmio_notify(struct amp_vdev *vd, unsigned q)
{
	amp_io_wmb(); /* pairs with the device's read of avail->idx after the notification */
	mmio_of(vd)->regs[R_QUEUE_NOTIFY] = q;
}

OP void amp_mmio_reset(struct amp_vdev *vd)
{
	(void)mmio_forget(mmio_of(vd));
}

#if AMPSOCK_VDEV_OTHERS
static int amp_mmio_config(struct amp_vdev *vd, uint32_t off, void *dst, uint32_t len)
{
	return amp_vdev_config_ok(off, len) ? amp_mmio_words(vd, off / 4, dst, len / 4)
					    : -EINVAL;
}

static const struct amp_vdev_ops mmio_ops = {
	.probe = amp_mmio_probe,
	.accept = amp_mmio_accept,
	.queue_max = amp_mmio_queue_max,
	.queue_set = amp_mmio_queue_set,
	.run = amp_mmio_run,
	.config = amp_mmio_config,
	.events = amp_mmio_events,
	.notify = amp_mmio_notify,
	.reset = amp_mmio_reset,
};

static inline void set_ops(struct amp_mmio *m)
{
	m->vd.ops = &mmio_ops;
}
#else
static inline void set_ops(struct amp_mmio *m)
{
	(void)m;
}
#endif

/* 4.2.2.1: magic, then version, then the id; 0 in an empty slot, even of version 1. */
int amp_mmio_init(struct amp_mmio *m, uintptr_t base)
{
	volatile uint32_t *regs = (volatile uint32_t *)base; /* board data */
	uint32_t version;

	*m = (struct amp_mmio){.regs = regs};
	set_ops(m);
	if (regs[R_MAGIC] != MAGIC)
		return -ENODEV;
	m->device_id = regs[R_DEVICE_ID];
	if (m->device_id == 0)
		return -ENODEV;
	version = regs[R_VERSION];
	if (version == 2)
		return 0;
	m->why = version == 1 ? AMP_MMIO_LEGACY : AMP_MMIO_VERSION;
	return -ENOTSUP;
}

bool amp_mmio_isr(struct amp_mmio *m)
{
	uint32_t st = m->regs[R_INT_STATUS];

	if (st == 0)
		return false;
	m->regs[R_INT_ACK] = st;
	if (st & INT_CONFIG)
		m->event = 1;
	amp_port_wake();
	return true;
}
