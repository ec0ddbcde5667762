/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arm SP804 dual timer, and the CMSDK's, which has its registers. The first counts down
 * freely and is the clock: 32 bits, extended by noticing that they went round. The second
 * is the alarm. It is never further away than half a turn of the first, so that a turn is
 * noticed even though nobody asks for the time (85 s at 25 MHz).
 */
#include "board.h"

#define LOAD	0x00u
#define VALUE	0x04u
#define CONTROL 0x08u
#define INTCLR	0x0cu
#define ALARM	0x20u /* the second timer's registers */

#define ONE_SHOT 1u
#define BITS_32	 (1u << 1)
#define IRQ_ON	 (1u << 5)
#define ON	 (1u << 7)

#define HALF_TURN 0x80000000u

/* Thread and interrupt handler, interrupts masked. */
static uint32_t high, low;
static uint64_t alarm_at = UINT64_MAX;

static uint64_t sp804_ticks(void)
{
	uintptr_t masked = board_irq_save();
	uint32_t now = ~*board_reg(board.timer_base, VALUE);
	uint64_t ticks;

	if (now < low)
		high++;
	low = now;
	ticks = (uint64_t)high << 32 | now;
	board_irq_restore(masked);
	return ticks;
}

static void arm_alarm(void)
{
	uint64_t now = sp804_ticks();
	uint64_t left = alarm_at > now ? alarm_at - now : 1;

	if (left > HALF_TURN)
		left = HALF_TURN;
	*board_reg(board.timer_base, ALARM + CONTROL) = ONE_SHOT | BITS_32 | IRQ_ON;
	*board_reg(board.timer_base, ALARM + INTCLR) = 1;
	*board_reg(board.timer_base, ALARM + LOAD) = (uint32_t)left;
	*board_reg(board.timer_base, ALARM + CONTROL) = ONE_SHOT | BITS_32 | IRQ_ON | ON;
}

static void sp804_alarm(uint64_t at)
{
	uintptr_t masked = board_irq_save();

	alarm_at = at;
	arm_alarm();
	board_irq_restore(masked);
}

static void sp804_silence(void)
{
	if (sp804_ticks() >= alarm_at)
		alarm_at = UINT64_MAX;
	arm_alarm();
}

static void sp804_init(void)
{
	*board_reg(board.timer_base, CONTROL) = BITS_32;
	*board_reg(board.timer_base, LOAD) = UINT32_MAX;
	*board_reg(board.timer_base, CONTROL) = BITS_32 | ON;
	low = ~*board_reg(board.timer_base, VALUE);
	arm_alarm();
}

const struct board_timer board_timer_sp804 = {
	.clock = {.ticks = sp804_ticks, .alarm = sp804_alarm},
	.init = sp804_init,
	.silence = sp804_silence,
};
