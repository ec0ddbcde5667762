/* SPDX-License-Identifier: BSD-3-Clause */
/* The core of test_spin.c, for src/port/baremetal.c: its clock stands still unless something says
 * how long it took. */
#ifndef SPIN_CORE_H
#define SPIN_CORE_H

#include <stdbool.h>

extern bool core_masked;
/* Time passes until an interrupt is pending. */
void core_sleep(void);

static inline void irq_mask(void)
{
	core_masked = true;
}

static inline void irq_unmask(void)
{
	core_masked = false;
}

#endif /* SPIN_CORE_H */
