/* SPDX-License-Identifier: BSD-3-Clause */
/* The port that docs/porting.md shows, "Threads of an RTOS": test_rtos.c runs it, and compares. */
/* clang-format off */
#include <errno.h>
#include "port/port.h"                        /* with the two files: ampsock.h */

struct waiter {
	struct waiter *next;
	sem_t woken;                          /* the system's, initialised to 0 */
};
static mutex_t lock = MUTEX_INITIAL;
static struct waiter *waiters;                /* interrupts masked */
static volatile unsigned wakes;               /* interrupts masked */
static unsigned seen;                         /* wakes, when who holds the lock last looked */

void amp_port_lock(void)   { mutex_lock(&lock); seen = wakes; }
void amp_port_unlock(void) { mutex_unlock(&lock); }

void amp_port_wake(void)                      /* from threads and interrupt handlers */
{
	unsigned key = irq_mask();

	wakes++;
	for (struct waiter *w = waiters; w; w = w->next)
		sem_give(&w->woken);
	irq_restore(key);
}

int amp_port_wait(int32_t timeout_ms)         /* -1: for ever */
{
	struct waiter w = {.woken = SEM_INITIAL(0)}, **at;
	unsigned key = irq_mask();
	bool woken;

	if (wakes != seen) {                  /* since the caller looked: look again */
		seen = wakes;
		irq_restore(key);
		return 0;
	}
	w.next = waiters;                     /* from here on a wake is counted in w.woken */
	waiters = &w;
	irq_restore(key);
	mutex_unlock(&lock);
	woken = sem_take(&w.woken, timeout_ms);
	mutex_lock(&lock);
	key = irq_mask();
	for (at = &waiters; *at != &w; at = &(*at)->next)
		;
	*at = w.next;
	seen = wakes;
	irq_restore(key);
	return woken ? 0 : -ETIMEDOUT;
}

uint32_t amp_port_now_ms(void)                /* free-running: 32 bits, all of them */
{
	return uptime_ms();
}
