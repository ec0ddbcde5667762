// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls sched_getattr.self sched_setattr.self
 */
/*
 * Theory of operation
 *
 * Guest, proxy and server on few processors take turns. Who wakes up while all are busy waits until
 * the one that runs has had its turn, which Linux makes 1.4 ms on two processors, 2.8 on eight and
 * more, or till the next tick: ten times what a byte takes there and back. Whoever asks for shorter
 * turns (sched_setattr(2), SCHED_OTHER, sched_runtime; Linux 6.12) gets no more and no less time in
 * all, but is let in sooner when it wakes, and makes way sooner for who wakes where it runs. That is
 * what a process wants that carries messages beside bulk. With bulk alone it would be a loss: who is
 * let in sooner finds less to move. So the loop asks for them as long as it does both (loop.c).
 */
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"
#include "slice.h"

#define SLICE_NS 250000u /* a few turns of bulk (flow.c); the kernel takes 100,000 and more */

/* The kernel's struct sched_attr in its first version: not every libc has one. */
static struct {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime_ns; /* of the usual policy: the turn, 0 before Linux 6.12 */
	uint64_t deadline_ns;
	uint64_t period_ns;
} attr;
static uint64_t usual_ns; /* 0: there is nothing to be asked for */
static bool is_short;

/* As it is now. False: there is no telling, or the policy is another. */
static bool look(void)
{
	if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0))
		return false;
	attr.size = sizeof(attr);
	return attr.policy == SCHED_OTHER;
}

void amp_slice_init(void)
{
	if (look() && attr.runtime_ns > SLICE_NS)
		usual_ns = attr.runtime_ns;
}

void amp_slice_short(bool on)
{
	if (on == is_short || !usual_ns)
		return;
	is_short = on;
	if (!look()) /* renice(1), chrt(1): what an operator has set since the start is not undone */
		return;
	attr.runtime_ns = on ? SLICE_NS : usual_ns;
	if (syscall(SYS_sched_setattr, 0, &attr, 0) == 0)
		return;
	amp_log(AMP_LOG_DEBUG, "no short turns of the processor: %s", strerror(errno));
	usual_ns = 0;
}
