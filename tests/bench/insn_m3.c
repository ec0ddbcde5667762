/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counted by the board's clock under QEMU -icount shift=0, where an instruction is a
 * nanosecond: at 25 MHz a tick is 40 instructions. The count begins at another place
 * of the tick each time, so that what is cut off averages out, and what an empty count costs
 * is taken off.
 */
#include <stdint.h>

#include "../../boards/board.h"
#include "insn_arch.h"

#define TICK_INSN 40u
#define STACK_LEN 8192u

static uint64_t stack[STACK_LEN / 8];
static uint32_t *other_sp;
static uint32_t from, ticks, counts, empty;
static uint32_t jitter;

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

static uint32_t clock_ticks(void)
{
	return ~*board_reg(board.timer_base, 4);
}

void insn_on(void)
{
	uint32_t spin;

	for (spin = jitter++ * 7 % 41; spin > 0; spin--)
		__asm__ volatile("nop");
	from = clock_ticks();
}

void insn_off(void)
{
	ticks += clock_ticks() - from;
	counts++;
}

void insn_start(void (*other)(void))
{
	unsigned i;

	for (i = 0; i < 2050; i++) {
		insn_on();
		insn_off();
	}
	empty = (uint32_t)((uint64_t)ticks * TICK_INSN * 256 / counts);
	ticks = 0;
	counts = 0;
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
	return (unsigned long)((uint64_t)ticks * TICK_INSN - ((uint64_t)counts * empty >> 8));
}
