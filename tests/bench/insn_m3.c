/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counted by the board's clock under QEMU -icount shift=0, where an instruction is a
 * nanosecond: at 25 MHz a tick is 40 instructions. Where in a tick a count begins and ends is
 * told by a vernier: reads of the clock that are 41 instructions apart see one tick each time, and
 * two when they have come to the end of a tick. So the count is exact; what an empty one takes is
 * taken off.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../boards/board.h"
#include "insn_arch.h"

#define TICK_INSN 40u
#define STACK_LEN 8192u

static uint64_t stack[STACK_LEN / 8];
static uint32_t *other_sp;
static uint32_t from, empty;
static uint64_t insns;

/* Push what a call keeps, change stacks, pop it. */
__attribute__((naked)) static void change(uint32_t **mine)
{
	__asm__ volatile("push {r4-r11, lr}\n\t"
			 "mov r1, sp\n\t"
			 "ldr r2, [%0]\n\t"
			 "str r1, [%0]\n\t"
			 "mov sp, r2\n\t"
			 "pop {r4-r11, pc}" ::"r"(mine));
}

/*
 * Reads the clock, which counts down, until a read is the first instruction of a tick; how many more
 * reads that took, 1 to 40. Both ways round, to the first read of the loop and from one to the
 * next, it is 41 instructions.
 */
__attribute__((noinline)) static uint32_t vernier(uint32_t *first, uint32_t *last)
{
	const volatile uint32_t *clock = board_reg(board.timer_base, 4);
	uint32_t rounds, prev, now, gone, begin;

	__asm__ volatile("movs %[rounds], #0\n\t"
			 "ldr %[prev], [%[clock]]\n\t"
			 "mov %[begin], %[prev]\n\t"
			 ".rept 4\n\tnop\n\t.endr\n"
			 "1:\n\t"
			 ".rept 35\n\tnop\n\t.endr\n\t"
			 "ldr %[now], [%[clock]]\n\t"
			 "add %[rounds], %[rounds], #1\n\t"
			 "sub %[gone], %[prev], %[now]\n\t"
			 "mov %[prev], %[now]\n\t"
			 "cmp %[gone], #2\n\t"
			 "bne 1b"
			 : [rounds] "=&r"(rounds), [prev] "=&r"(prev), [now] "=&r"(now),
			   [gone] "=&r"(gone), [begin] "=&r"(begin)
			 : [clock] "r"(clock)
			 : "cc", "memory");
	*first = begin;
	*last = prev;
	return rounds;
}

void insn_on(void)
{
	uint32_t first;

	vernier(&first, &from);
}

/* A read that takes n rounds to the beginning of a tick was 40 - n instructions behind one. */
void insn_off(void)
{
	uint32_t first, last, rounds = vernier(&first, &last);

	insns += (from - first) * TICK_INSN + (TICK_INSN - rounds) - empty;
}

/* So many instructions, and none of the compiler's. */
#define COUNT(n)                                                                        \
	__asm__ volatile("bl insn_on\n\t.rept " #n "\n\tnop\n\t.endr\n\tbl insn_off" :: \
				 : "r0", "r1", "r2", "r3", "r12", "lr", "cc", "memory")

void insn_start(void (*other)(void))
{
	uint32_t i, spin;

	/* the first of all is counted while QEMU finds out which instructions read the clock */
	for (i = 0; i < 2; i++) {
		insns = 0;
		COUNT(0);
	}
	empty = (uint32_t)insns;
	insns = 0;
	for (i = 0; i < 2 * TICK_INSN; i++) { /* wherever in a tick they begin, 100 are 100 */
		for (spin = i; spin > 0; spin--)
			__asm__ volatile("nop");
		COUNT(100);
	}
	if (insns != 2 * TICK_INSN * 100) {
		printf("insn_m3: this clock is not one of -icount shift=0\n");
		exit(1);
	}
	insns = 0;
	other_sp =
		(uint32_t *)(void *)&stack[STACK_LEN / 8] - 10; /* 9 registers, aligned to 8 */
	other_sp[8] = (uint32_t)(uintptr_t)other;
}

void insn_turn(void)
{
	change(&other_sp);
}

unsigned long insn_counted(void)
{
	return (unsigned long)insns;
}
