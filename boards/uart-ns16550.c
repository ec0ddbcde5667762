/* SPDX-License-Identifier: BSD-3-Clause */
/* 16550 UART, registers one byte apart: polled transmit, interrupt on receive. */
#include "board.h"

#define RBR_THR 0u
#define IER	1u
#define FCR	2u
#define LCR	3u
#define LSR	5u

static volatile uint8_t *reg8(uintptr_t base, unsigned off)
{
	return (volatile uint8_t *)(base + off);
}

static void ns16550_init(uintptr_t base)
{
	*reg8(base, IER) = 0;
	*reg8(base, LCR) = 3;	      /* 8 bits */
	*reg8(base, FCR) = 1 | 2 | 4; /* FIFOs on and empty, interrupt from the first byte */
	*reg8(base, IER) = 1;
}

static void ns16550_put(uintptr_t base, char c)
{
	while (!(*reg8(base, LSR) & 0x20))
		;
	*reg8(base, RBR_THR) = (uint8_t)c;
}

static int ns16550_get(uintptr_t base)
{
	return *reg8(base, LSR) & 1 ? *reg8(base, RBR_THR) : -1;
}

const struct board_uart board_ns16550 = {
	.init = ns16550_init,
	.put = ns16550_put,
	.get = ns16550_get,
};
