/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-mmio, modern (version 2), driver side (virtio 1.2, 4.2): a transport behind
 * struct amp_vdev_ops. Board code finds the device and owns the interrupt line:
 *
 *	err = amp_mmio_init(&m, slot_base);
 *	(route the slot's interrupt to a handler that calls amp_mmio_isr(&m))
 *	err = amp_link_vsock(&m.vd);
 */
#ifndef AMP_MMIO_H
#define AMP_MMIO_H

#include "vdev.h"

struct amp_mmio {
	struct amp_vdev vd;
	volatile uint32_t *regs;
	volatile uint8_t event; /* isr sets, thread clears: look at Status */
	uint8_t why;		/* 0, or the last error: amp_mmio_why() */
	uint32_t device_id;	/* of what sits in the slot */
};

/*
 * Look at the slot at base. Touches no register that changes the device. 0; -ENODEV no
 * virtio-mmio there or the slot is empty; -ENOTSUP legacy device, amp_mmio_why() says what to
 * do. m->vd.mem stays empty: the rings lie in the owner's memory, bus address = address.
 */
int amp_mmio_init(struct amp_mmio *m, uintptr_t base);

/* The slot's interrupt, from its handler: acknowledges the device and wakes. False: not ours. */
bool amp_mmio_isr(struct amp_mmio *m);

/* The last error in words, what is wrong and what to do, one line; NULL: none. */
const char *amp_mmio_why(const struct amp_mmio *m);

/* m->why */
enum {
	AMP_MMIO_STUCK_RESET = 1,
	AMP_MMIO_REFUSED,
	AMP_MMIO_RESTLESS,
	AMP_MMIO_VERSION, /* legacy, or unknown */
};

#endif /* AMP_MMIO_H */
