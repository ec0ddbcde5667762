/* SPDX-License-Identifier: BSD-3-Clause */
/* qemu-system-riscv64 -M virt -bios none */
#include "board.h"

const struct board board = {
	.name = "qemu-virt-riscv64",
	.uart = &board_ns16550,
	.uart_base = 0x10000000,
	.uart_irq = 10,
	.intc = &board_plic,
	.intc_base = 0x0c000000,
	.intc_cpu_base = 0x0c200000,
	.timer = &board_timer_clint,
	.timer_base = 0x02000000,
	.timer_hz = 10000000,
	.spin_us = 200,
	.mmio_base = 0x10001000,
	.mmio_stride = 0x1000,
	.mmio_cnt = 8,
	.mmio_irq = 1,
};
