/* SPDX-License-Identifier: BSD-3-Clause */
/* Arm PrimeCell UART PL011: polled transmit, interrupt on receive. */
#include "board.h"

#define DR    0x00u
#define FR    0x18u
#define LCR_H 0x2cu
#define CR    0x30u
#define IMSC  0x38u
#define ICR   0x44u

#define FR_TXFF (1u << 5)
#define FR_RXFE (1u << 4)

static void pl011_init(uintptr_t base)
{
	*board_reg(base, CR) = 0;
	*board_reg(base, ICR) = 0x7ff;
	*board_reg(base, LCR_H) = 3u << 5 | 1u << 4; /* 8 bits, FIFOs */
	*board_reg(base, IMSC) = 1u << 4 | 1u << 6;  /* receive, receive time-out */
	*board_reg(base, CR) = 1u | 1u << 8 | 1u << 9;
}

static void pl011_put(uintptr_t base, char c)
{
	while (*board_reg(base, FR) & FR_TXFF)
		;
	*board_reg(base, DR) = (uint8_t)c;
}

static int pl011_get(uintptr_t base)
{
	return *board_reg(base, FR) & FR_RXFE ? -1 : (int)(*board_reg(base, DR) & 0xff);
}

const struct board_uart board_pl011 = {
	.init = pl011_init,
	.put = pl011_put,
	.get = pl011_get,
};
