/* SPDX-License-Identifier: BSD-3-Clause */
/* qemu-system-aarch64 -M virt,gic-version=2 -cpu cortex-a53 */
#include "board.h"

const struct board board = {
	.name = "qemu-virt-aarch64",
	.uart = &board_pl011,
	.uart_base = 0x09000000,
	.uart_irq = 32 + 1,
	.intc = &board_gicv2,
	.intc_base = 0x08000000,
	.intc_cpu_base = 0x08010000,
	.timer = &board_timer_arm,
	.timer_irq = 16 + 11,
	.spin_us = 200,
	.mmio_base = 0x0a000000,
	.mmio_stride = 0x200,
	.mmio_cnt = 32,
	.mmio_irq = 32 + 16,
};
