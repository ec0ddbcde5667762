/* SPDX-License-Identifier: BSD-3-Clause */
/* RISC-V platform-level interrupt controller, context 0 (hart 0, machine mode). */
#include "board.h"

#define PRIORITY  0x0u
#define ENABLE	  0x2000u
#define THRESHOLD 0x0u /* from intc_cpu_base */
#define CLAIM	  0x4u

static void plic_init(void)
{
	*board_reg(board.intc_cpu_base, THRESHOLD) = 0;
}

static void plic_enable(unsigned irq)
{
	*board_reg(board.intc_base, PRIORITY + irq * 4) = 1;
	*board_reg(board.intc_base, ENABLE + irq / 32 * 4) |= 1u << irq % 32;
}

/* One: another that is pending traps again at once, and to ask for it costs more than that. */
static void plic_dispatch(void)
{
	uint32_t irq = *board_reg(board.intc_cpu_base, CLAIM);

	if (irq == 0)
		return;
	board_irq(irq);
	*board_reg(board.intc_cpu_base, CLAIM) = irq;
}

const struct board_intc board_plic = {
	.init = plic_init,
	.enable = plic_enable,
	.dispatch = plic_dispatch,
};
