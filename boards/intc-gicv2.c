/* SPDX-License-Identifier: BSD-3-Clause */
/* Arm GICv2, one core, one priority. */
#include "board.h"

#define GICD_CTLR	0x000u
#define GICD_ISENABLER	0x100u
#define GICD_IPRIORITYR 0x400u
#define GICD_ITARGETSR	0x800u
#define GICC_CTLR	0x00u
#define GICC_PMR	0x04u
#define GICC_IAR	0x0cu
#define GICC_EOIR	0x10u
#define SPURIOUS	1020u

static void gicv2_init(void)
{
	*board_reg(board.intc_base, GICD_CTLR) = 1;
	*board_reg(board.intc_cpu_base, GICC_PMR) = 0xff;
	*board_reg(board.intc_cpu_base, GICC_CTLR) = 1;
}

static void gicv2_enable(unsigned irq)
{
	volatile uint8_t *prio = (volatile uint8_t *)(board.intc_base + GICD_IPRIORITYR);
	volatile uint8_t *target = (volatile uint8_t *)(board.intc_base + GICD_ITARGETSR);

	prio[irq] = 0xa0;
	if (irq >= 32)
		target[irq] = 1; /* this core */
	*board_reg(board.intc_base, GICD_ISENABLER + irq / 32 * 4) = 1u << irq % 32;
}

/* One: another that is pending interrupts again at once, and to ask for it costs more than that. */
static void gicv2_dispatch(void)
{
	uint32_t iar = *board_reg(board.intc_cpu_base, GICC_IAR);

	if ((iar & 0x3ff) >= SPURIOUS)
		return;
	board_irq(iar & 0x3ff);
	*board_reg(board.intc_cpu_base, GICC_EOIR) = iar;
}

const struct board_intc board_gicv2 = {
	.init = gicv2_init,
	.enable = gicv2_enable,
	.dispatch = gicv2_dispatch,
};
