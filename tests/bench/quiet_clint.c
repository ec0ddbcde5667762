/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The CLINT without its alarm, for icount.c: QEMU has no "off" for mtimecmp. Once
 * written, however far away, a timer is armed, and the guest's clock runs on while it sleeps.
 */
#include "../../boards/board.h"

static uint64_t ticks(void)
{
	return *(volatile uint64_t *)(board.timer_base + 0xbff8u);
}

static void alarm_at(uint64_t at)
{
	(void)at;
}

static void nothing(void)
{
}

/* mtimecmp is 0 out of reset, so the interrupt is pending: never again. */
static void mask(void)
{
	__asm__ volatile("csrc mie, %0" ::"r"(0x80));
}

const struct board_timer board_timer_clint = {
	.clock = {.ticks = ticks, .alarm = alarm_at},
	.init = nothing,
	.silence = mask,
};
