/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The port for one core without an OS. A board hands in its clock and its one-shot
 * timer; everything else is here. Build the library with -DAMP_PORT_THREADS=0.
 */
#ifndef AMP_BAREMETAL_H
#define AMP_BAREMETAL_H

#include <stdint.h>

struct amp_baremetal_clock {
	/* Free-running counter that never wraps in practice. Any context. */
	uint64_t (*ticks)(void);
	/*
	 * Interrupt once when ticks() reaches at, at once if it has; UINT64_MAX: no more.
	 * Called with interrupts enabled. The handler only silences the timer, and that only
	 * when it is due: where the timer or the interrupt controller withdraws an interrupt
	 * late, that of the last alarm can come when the next is set already, which is not set
	 * again before it has gone off. It may go off when nobody waits any more.
	 */
	void (*alarm)(uint64_t at);
};

/* tick_frac: a tick in ms * 2^32, rounded down; ms_ticks: ticks per ms, rounded up. */
void amp_baremetal_start(const struct amp_baremetal_clock *clock, uint32_t tick_frac,
			 uint32_t ms_ticks);
/* 2^32 * 1000 / hz, rounded down, where it is not known before: hz is more than 1000. */
uint32_t amp_baremetal_fraction(uint32_t hz);

/*
 * Once, before the first call into the library, which reads the clock. hz: ticks per second, 1001 to 4 GHz. Of a constant the
 * compiler makes what is needed; else the division is linked, too.
 */
static inline void amp_baremetal_init(const struct amp_baremetal_clock *clock, uint32_t hz)
{
	uint32_t rate =
		hz > 1000 ? hz : 1001; /* a slower one can not tell milliseconds apart */

	amp_baremetal_start(clock,
			    __builtin_constant_p(rate) ? (uint32_t)((1000ull << 32) / rate)
						       : amp_baremetal_fraction(rate),
			    rate / 1000 + 1);
}

/*
 * Where it costs much to be woken, and the peer answers soon: look at the ring for us
 * microseconds before each sleep; 0, as it is at first: sleep at once. What comes meanwhile needs
 * no notification by the peer and no interrupt here. A good value is what a sleep costs both: then
 * the processor's time is at most doubled, and nearly always less than before. Built with
 * AMPSOCK_SPIN=1, after amp_baremetal_init().
 */
void amp_baremetal_spin(uint32_t us);

/* How often the core went to sleep: an idle system counts slowly. */
uint32_t amp_baremetal_sleeps(void);

#endif /* AMP_BAREMETAL_H */
