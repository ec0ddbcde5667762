/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arm CMSDK APB UART: one byte of buffer each way. As console, and as a mailbox to the core
 * that shares our memory: a byte is a kick, whatever it says.
 */
#include "board.h"
#include "../src/port/port.h"

#define DATA	0x00u
#define STATE	0x04u
#define CTRL	0x08u
#define INTCLR	0x0cu
#define BAUDDIV 0x10u

#define TX_FULL (1u << 0)
#define RX_FULL (1u << 1)
#define TX_ON	(1u << 0)
#define RX_ON	(1u << 1)
#define RX_IRQ	(1u << 3)
#define RX_INT	(1u << 1) /* in INTCLR */

static void cmsdk_init(uintptr_t base)
{
	*board_reg(base, CTRL) = 0;
	*board_reg(base, BAUDDIV) = 217; /* 115200 of 25 MHz */
	*board_reg(base, INTCLR) = 15;
	*board_reg(base, CTRL) = TX_ON | RX_ON | RX_IRQ;
}

static void cmsdk_put(uintptr_t base, char c)
{
	while (*board_reg(base, STATE) & TX_FULL)
		;
	*board_reg(base, DATA) = (uint8_t)c;
}

/* Clear first: the interrupt of a byte that comes after the look must stay. */
static int cmsdk_get(uintptr_t base)
{
	*board_reg(base, INTCLR) = RX_INT;
	return *board_reg(base, STATE) & RX_FULL ? (int)(*board_reg(base, DATA) & 0xff) : -1;
}

/* A byte that has not gone yet arrives after this, which is all that a kick is for. */
static void cmsdk_ring(uintptr_t base)
{
	amp_io_wmb();
	if (!(*board_reg(base, STATE) & TX_FULL))
		*board_reg(base, DATA) = 1;
}

static void cmsdk_take(uintptr_t base)
{
	while (cmsdk_get(base) >= 0)
		;
}

const struct board_uart board_uart_cmsdk = {
	.init = cmsdk_init,
	.put = cmsdk_put,
	.get = cmsdk_get,
};

const struct board_mbox board_mbox_cmsdk = {
	.init = cmsdk_init,
	.ring = cmsdk_ring,
	.take = cmsdk_take,
};
