/* SPDX-License-Identifier: BSD-3-Clause */
/* The NVIC of a Cortex-M: one priority, interrupts do not nest. */
#include "board.h"

#define NVIC_ISER 0xe000e100u
#define NVIC_ICER 0xe000e180u
#define NVIC_ICPR 0xe000e280u
#define NVIC_IPR  0xe000e400u
#define WORDS	  2u /* 64 interrupts, as many as start-armv7m.S has vectors */

/* After a warm reset something may still be enabled, and pending. */
static void nvic_init(void)
{
	unsigned i;

	for (i = 0; i < WORDS; i++) {
		*board_reg(NVIC_ICER, i * 4) = UINT32_MAX;
		*board_reg(NVIC_ICPR, i * 4) = UINT32_MAX;
	}
}

static void nvic_enable(unsigned irq)
{
	*(volatile uint8_t *)(NVIC_IPR + irq) = 0x80;
	*board_reg(NVIC_ISER, irq / 32 * 4) = 1u << irq % 32;
}

/* One exception is one interrupt; the NVIC enters the next by itself. */
static void nvic_dispatch(void)
{
	uint32_t ipsr;

	__asm__ volatile("mrs %0, ipsr" : "=r"(ipsr));
	board_irq((ipsr & 0x1ff) - 16);
}

const struct board_intc board_nvic = {
	.init = nvic_init,
	.enable = nvic_enable,
	.dispatch = nvic_dispatch,
};
