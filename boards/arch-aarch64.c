/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AArch64: an identity map in 1 GiB blocks (the GiB blocks that hold RAM are normal
 * cacheable memory, the rest of the low 4 GiB is device memory), exceptions.
 */
#include "board.h"

#define GIB	    0x40000000ull
#define BLOCK	    1ull
#define ATTR_NORMAL (1ull << 2) /* MAIR index 1 */
#define SH_INNER    (3ull << 8)
#define AF	    (1ull << 10)
#define XN	    (1ull << 54 | 1ull << 53)

void board_arch_irq(void);
void board_arch_fault(uintptr_t esr, uintptr_t elr, uintptr_t far);

static uint64_t map[4] __attribute__((aligned(4096)));

void board_mmu_on(void)
{
	uint64_t sctlr;
	unsigned i;

	for (i = 0; i < 4; i++) {
		uint64_t at = i * GIB;
		bool ram = at + GIB > (uintptr_t)__ram_start && at < (uintptr_t)__ram_end;

		map[i] = at | BLOCK | AF | (ram ? ATTR_NORMAL | SH_INNER : XN);
	}
	/* attribute 0: device nGnRE, 1: normal write-back; 4 KiB granule, 32-bit space */
	__asm__ volatile("msr mair_el1, %0" ::"r"(0xff04ull));
	__asm__ volatile("msr tcr_el1, %0" ::"r"(1ull << 23 | 3ull << 12 | 1ull << 10 |
						 1ull << 8 | 32ull));
	__asm__ volatile("msr ttbr0_el1, %0" ::"r"(map));
	__asm__ volatile("dsb sy\n\ttlbi vmalle1\n\tdsb sy\n\tisb" ::: "memory");
	__asm__ volatile("mrs %0, sctlr_el1" : "=r"(sctlr));
	sctlr |= 1u | 1u << 2 | 1u << 12; /* MMU, data and instruction caches */
	sctlr &= ~2ull;			  /* unaligned accesses are fine */
	__asm__ volatile("msr sctlr_el1, %0\n\tisb" ::"r"(sctlr) : "memory");
}

void board_irq_on(void)
{
	__asm__ volatile("msr daifclr, #2" ::: "memory");
}

void board_arch_irq(void)
{
	board.intc->dispatch();
}

void board_arch_fault(uintptr_t esr, uintptr_t elr, uintptr_t far)
{
	board_fault("exception: esr", esr, elr, far);
}
