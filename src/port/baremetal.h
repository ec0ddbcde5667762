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

/* Once, before the first call into the library, which reads the clock. hz: ticks per second,
 * 1001 to 4 GHz. */
void amp_baremetal_init(const struct amp_baremetal_clock *clock, uint32_t hz);

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
