/* SPDX-License-Identifier: BSD-3-Clause */
/* Arm generic timer, the virtual one; the same registers by two names. */
#include "board.h"

#if defined(__aarch64__)
#define GET_FREQ(v)  __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(v))
#define GET_COUNT(v) __asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(v))
#define SET_CVAL(v)  __asm__ volatile("msr cntv_cval_el0, %0" ::"r"(v))
#define SET_CTL(v)   __asm__ volatile("msr cntv_ctl_el0, %0\n\tisb" ::"r"((uint64_t)(v)))
#define GET_CTL(v)   __asm__ volatile("mrs %0, cntv_ctl_el0" : "=r"(v))
#define TIMER_WORD   uint64_t
#else
#define GET_FREQ(v)  __asm__ volatile("mrc p15, 0, %0, c14, c0, 0" : "=r"(v))
#define GET_COUNT(v) __asm__ volatile("isb\n\tmrrc p15, 1, %Q0, %R0, c14" : "=r"(v))
#define SET_CVAL(v)  __asm__ volatile("mcrr p15, 3, %Q0, %R0, c14" ::"r"(v))
#define SET_CTL(v)   __asm__ volatile("mcr p15, 0, %0, c14, c3, 1\n\tisb" ::"r"((uint32_t)(v)))
#define GET_CTL(v)   __asm__ volatile("mrc p15, 0, %0, c14, c3, 1" : "=r"(v))
#define TIMER_WORD   uint32_t
#endif

static uint32_t arm_hz(void)
{
	TIMER_WORD hz;

	GET_FREQ(hz);
	return (uint32_t)hz;
}

static uint64_t arm_ticks(void)
{
	uint64_t t;

	GET_COUNT(t);
	return t;
}

static void arm_alarm(uint64_t at)
{
	if (at == UINT64_MAX) {
		SET_CTL(0);
		return;
	}
	SET_CVAL(at);
	SET_CTL(1); /* on, not masked */
}

static void arm_off(void)
{
	SET_CTL(0);
}

#define ISTATUS 4u /* it is due */

/* Of an alarm before this one the interrupt may still be on its way through the controller. */
static void arm_silence(void)
{
	TIMER_WORD ctl;

	GET_CTL(ctl);
	if (ctl & ISTATUS)
		arm_off();
}

const struct board_timer board_timer_arm = {
	.clock = {.ticks = arm_ticks, .alarm = arm_alarm},
	.hz = arm_hz,
	.init = arm_off,
	.silence = arm_silence,
};
