/* SPDX-License-Identifier: BSD-3-Clause */
/* Finds the virtio-vsock device among the board's virtio-mmio slots and brings it up. */
#include <errno.h>

#include "board.h"
#include "../include/ampsock.h"
#include "../src/virtio/mmio.h"

static struct amp_mmio mmio;
static unsigned mmio_irq; /* 0: no device yet */

bool board_link_irq(unsigned irq)
{
	if (irq == 0 || irq != mmio_irq)
		return false;
	(void)amp_mmio_isr(&mmio);
	return true;
}

bool board_link(void)
{
	unsigned i;
	int err;

	for (i = 0; i < board.mmio_cnt; i++) {
		err = amp_mmio_init(&mmio, board.mmio_base + i * board.mmio_stride);
		if (err == -ENOTSUP) {
			board_puts(amp_mmio_why(&mmio));
			board_puts("\n");
			return false;
		}
		if (err || mmio.device_id != AMP_VIRTIO_ID_VSOCK)
			continue;
		mmio_irq = board.mmio_irq + i;
		board.intc->enable(mmio_irq);
		err = amp_link_vsock(&mmio.vd);
		if (err == 0)
			return true;
		board_puts(mmio.why ? amp_mmio_why(&mmio)
				    : "the virtio-vsock device can not be used");
		board_puts("\n");
		return false;
	}
	board_puts("no virtio-vsock device: start QEMU with -device vhost-user-vsock-device\n");
	return false;
}
