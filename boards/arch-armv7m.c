/* SPDX-License-Identifier: BSD-3-Clause */
/* ARMv7-M (Cortex-M3 and above): no MMU, the vector is the interrupt's own number. */
#include "board.h"

#define SCB_CFSR  0xe000ed28u /* configurable fault status */
#define SCB_MMFAR 0xe000ed34u
#define SCB_BFAR  0xe000ed38u
#define MMARVALID (1u << 7)
#define BFARVALID (1u << 15)

void board_arch_irq(void);
_Noreturn void board_arch_fault(uintptr_t pc);

/* Nothing to map: the architecture says what is memory, and unaligned access to it is fine. */
void board_mmu_on(void)
{
}

void board_irq_on(void)
{
	__asm__ volatile("cpsie i\n\tisb" ::: "memory");
}

uintptr_t board_irq_save(void)
{
	uintptr_t masked;

	__asm__ volatile("mrs %0, primask\n\tcpsid i" : "=r"(masked)::"memory");
	return masked;
}

void board_irq_restore(uintptr_t masked)
{
	__asm__ volatile("msr primask, %0" ::"r"(masked) : "memory");
}

/* Registers that a C function may spoil are saved by the core: this is the vector. */
void board_arch_irq(void)
{
	board.intc->dispatch();
}

void board_arch_fault(uintptr_t pc)
{
	uint32_t cfsr = *board_reg(SCB_CFSR, 0), addr = 0;

	if (cfsr & BFARVALID)
		addr = *board_reg(SCB_BFAR, 0);
	else if (cfsr & MMARVALID)
		addr = *board_reg(SCB_MMFAR, 0);
	board_fault("exception: cfsr", cfsr, pc, addr);
}
