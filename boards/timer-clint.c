/* SPDX-License-Identifier: BSD-3-Clause */
/* RISC-V machine timer in a CLINT, hart 0. */
#include "board.h"

#define MTIMECMP 0x4000u
#define MTIME	 0xbff8u

static uint64_t clint_ticks(void)
{
#if __riscv_xlen == 64
	return *(volatile uint64_t *)(board.timer_base + MTIME);
#else
	uint32_t high, low;

	do {
		high = *board_reg(board.timer_base, MTIME + 4);
		low = *board_reg(board.timer_base, MTIME);
	} while (*board_reg(board.timer_base, MTIME + 4) != high);
	return (uint64_t)high << 32 | low;
#endif
}

/* In halves, so that no half-written value lies in the past. */
static void clint_alarm(uint64_t at)
{
	*board_reg(board.timer_base, MTIMECMP + 4) = UINT32_MAX;
	*board_reg(board.timer_base, MTIMECMP) = (uint32_t)at;
	*board_reg(board.timer_base, MTIMECMP + 4) = (uint32_t)(at >> 32);
}

static void clint_off(void)
{
	clint_alarm(UINT64_MAX);
}

/* Of an alarm before this one the interrupt may still come (Privileged 3.2.1: mtip follows
 * eventually). */
static void clint_silence(void)
{
	uint64_t at = (uint64_t)*board_reg(board.timer_base, MTIMECMP + 4) << 32 |
		      *board_reg(board.timer_base, MTIMECMP);

	if (clint_ticks() >= at)
		clint_off();
}

const struct board_timer board_timer_clint = {
	.clock = {.ticks = clint_ticks, .alarm = clint_alarm},
	.init = clint_off,
	.silence = clint_silence,
};
