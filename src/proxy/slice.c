// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Guest, proxy and server on few processors take turns. Who wakes up while all are busy waits until
 * the one that runs has had its turn, which Linux makes 0.7 ms a processor or longer, up to the next
 * tick: ten times what a byte takes there and back. Whoever asks for shorter turns (sched_setattr(2),
 * SCHED_OTHER, sched_runtime; Linux 6.12) gets no more and no less time in all, but is let in sooner
 * when it wakes, and makes way sooner for who wakes where it runs. That is what a process wants
 * that carries other people's messages: its own turn of bulk (flow.c) is 0.05 ms.
 *
 * Before the two processes part: both inherit it, and a worker that is started later, whose filter
 * has no such call, too.
 */
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "slice.h"

#define SLICE_NS 250000u /* a few turns of bulk; the kernel takes 100,000 and more */

/* The kernel's struct sched_attr in its first version: not every libc has one. */
struct attr {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime_ns; /* of the usual policy: the turn, 0 before Linux 6.12 */
	uint64_t deadline_ns;
	uint64_t period_ns;
};

int amp_slice_short(void)
{
	struct attr a = {.size = sizeof(a)};

	if (syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0))
		return -errno;
	if (a.policy != SCHED_OTHER || a.runtime_ns <= SLICE_NS)
		return 0;
	a.size = sizeof(a);
	a.runtime_ns = SLICE_NS;
	return syscall(SYS_sched_setattr, 0, &a, 0) ? -errno : 0;
}
