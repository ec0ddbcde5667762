/* SPDX-License-Identifier: BSD-3-Clause */
/* qemu-system-arm -M mps2-an385: a Cortex-M3, its PSRAM shared with the host, UART1 a mailbox */
#include "board.h"

const struct board board = {
	.name = "qemu-mps2",
	.uart = &board_uart_cmsdk,
	.uart_base = 0x40004000,
	.uart_irq = 0,
	.intc = &board_nvic,
	.timer = &board_timer_sp804,
	.timer_base = 0x40002000,
	.timer_hz = 25000000,
	.timer_irq = 10,
	.mbox = &board_mbox_cmsdk,
	.mbox_base = 0x40005000,
	.mbox_irq = 2,
};
