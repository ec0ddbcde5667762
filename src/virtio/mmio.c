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

#include "mmio_ops.h"

#define MAGIC 0x74726976u /* "virt" */

#define INT_CONFIG 2u /* InterruptStatus, 4.2.2 */

/* Looks at a register that ought to change: a device that needs more is dead. */
#define PATIENCE 0x20000u

int amp_mmio_forget(struct amp_mmio *m)
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

#if AMPSOCK_VDEV_OTHERS
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

	*m = (struct amp_mmio){.regs = regs};
	set_ops(m);
	if (regs[R_MAGIC] != MAGIC)
		return -ENODEV;
	m->device_id = regs[R_DEVICE_ID];
	if (m->device_id == 0)
		return -ENODEV;
	if (regs[R_VERSION] == 2)
		return 0;
	m->why = AMP_MMIO_VERSION;
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
