/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The door to memory shared with somebody who may shrink its file: floor 1, Linux only.
 *
 * An access behind a file's new end gets SIGBUS. The handler, one for the process, finds the
 * guard by the address, lays zero pages over all that it guards, so that the interrupted code
 * runs to its end on harmless data, and marks it dead; the owner looks at the mark after
 * each run. A SIGBUS anywhere else ends the process as before.
 *
 * System calls get EFAULT instead (readv() and friends): treat that as dead, too.
 */
#ifndef AMP_SIGBUS_H
#define AMP_SIGBUS_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#define AMP_SIGBUS_AREAS  8u
#define AMP_SIGBUS_GUARDS 256u /* of the process */

/* Zeroed at first. One owner, one thread; areas and cnt are read by the handler. */
struct amp_sigbus {
	struct {
		uint8_t *map;
		size_t len;
	} area[AMP_SIGBUS_AREAS];
	unsigned cnt;
	volatile sig_atomic_t dead;
};

/* Once per process; again does no harm. 0 or -errno. */
int amp_sigbus_install(void);

/* Look after g from now on. 0; -ENFILE: too many. leave: unmap all and forget (also what
 * was never entered). */
int amp_sigbus_enter(struct amp_sigbus *g);
void amp_sigbus_leave(struct amp_sigbus *g);

/* A mapping that g owns from now on; at most AMP_SIGBUS_AREAS. */
void amp_sigbus_add(struct amp_sigbus *g, void *map, size_t len);
/* Unmaps all; g stays looked after. dead is the owner's to clear. */
void amp_sigbus_unmap(struct amp_sigbus *g);

#endif /* AMP_SIGBUS_H */
