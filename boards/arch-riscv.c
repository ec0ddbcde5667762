/* SPDX-License-Identifier: BSD-3-Clause */
/* RISC-V, machine mode: no translation to set up; traps. */
#include "board.h"

#define IRQ_FLAG ((uintptr_t)1 << (__riscv_xlen - 1))
#define MTI	 7u
#define MEI	 11u

void board_arch_trap(uintptr_t cause, uintptr_t pc, uintptr_t val);

void board_mmu_on(void)
{
}

void board_irq_on(void)
{
	__asm__ volatile("csrs mie, %0" ::"r"(1u << MTI | 1u << MEI));
	__asm__ volatile("csrsi mstatus, 8" ::: "memory");
}

void board_arch_trap(uintptr_t cause, uintptr_t pc, uintptr_t val)
{
	if (cause == (IRQ_FLAG | MEI))
		board.intc->dispatch();
	else if (cause == (IRQ_FLAG | MTI))
		board.timer->silence();
	else
		board_fault("trap: mcause", cause, pc, val);
}
