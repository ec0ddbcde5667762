/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ARMv7-A: an identity map in 1 MiB sections (RAM is normal cacheable memory, all else
 * is device memory and not executable), exceptions.
 */
#include "board.h"

#define MIB	0x100000u
#define SECTION 2u
#define XN	(1u << 4)
#define AP_RW	(1u << 10)
#define DEVICE	(1u << 2) /* TEX 0, C 0, B 1 */
#define NORMAL \
	(1u << 12 | 1u << 3 | 1u << 2) /* TEX 1, C 1, B 1: write-back, write-allocate \
					*/
#define SHARED (1u << 16)

void board_arch_irq(void);
void board_arch_fault(uintptr_t fsr, uintptr_t lr, uintptr_t far);

static uint32_t map[4096] __attribute__((aligned(16384)));

void board_mmu_on(void)
{
	uint32_t sctlr;
	uint32_t i;

	for (i = 0; i < 4096; i++) {
		uint32_t at = i * MIB;
		bool ram =
			at + (MIB - 1) >= (uintptr_t)__ram_start && at < (uintptr_t)__ram_end;

		map[i] = at | SECTION | AP_RW | (ram ? NORMAL | SHARED : DEVICE | XN);
	}
	__asm__ volatile(
		"mcr p15, 0, %0, c3, c0, 0" ::"r"(1)); /* domain 0: permissions count */
	__asm__ volatile(
		"mcr p15, 0, %0, c2, c0, 2" ::"r"(0)); /* TTBCR: TTBR0 for everything */
	__asm__ volatile(
		"mcr p15, 0, %0, c2, c0, 0" ::"r"((uint32_t)map | 0x4a)); /* walks cached */
	__asm__ volatile("mcr p15, 0, %0, c8, c7, 0" ::"r"(0));		  /* TLB */
	__asm__ volatile("mcr p15, 0, %0, c7, c5, 0" ::"r"(0)); /* instruction cache */
	__asm__ volatile("dsb\n\tisb" ::: "memory");
	__asm__ volatile("mrc p15, 0, %0, c1, c0, 0" : "=r"(sctlr));
	sctlr |= 1u | 1u << 2 | 1u << 11 |
		 1u << 12;	   /* MMU, data cache, prediction, instructions */
	sctlr &= ~(2u | 1u << 28); /* unaligned is fine; no TEX remap */
	__asm__ volatile("mcr p15, 0, %0, c1, c0, 0\n\tisb" ::"r"(sctlr) : "memory");
}

void board_irq_on(void)
{
	__asm__ volatile("cpsie i" ::: "memory");
}

void board_arch_irq(void)
{
	board.intc->dispatch();
}

void board_arch_fault(uintptr_t fsr, uintptr_t lr, uintptr_t far)
{
	board_fault("exception: fsr", fsr, lr, far);
}
