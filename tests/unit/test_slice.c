// SPDX-License-Identifier: BSD-3-Clause
/* Short turns of the processor: what else an operator has set stays. */
// build: src/proxy/slice.c src/proxy/log.c
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/slice.h"

static uint64_t turn_ns(void)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime_ns, deadline_ns, period_ns;
	} attr = {0};

	assert_int_equal(syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0), 0);
	return attr.runtime_ns;
}

/* (Before Linux 6.12 there are no such turns: then these are 0, and stay so.) */
static void stays(void **state)
{
	uint64_t usual_ns = turn_ns(), short_ns = usual_ns > 250000 ? 250000 : usual_ns;
	int nice = getpriority(PRIO_PROCESS, 0) + 3;

	(void)state;
	amp_slice_init();
	assert_int_equal(setpriority(PRIO_PROCESS, 0, nice), 0);
	amp_slice_short(true);
	assert_int_equal(getpriority(PRIO_PROCESS, 0), nice);
	assert_int_equal(turn_ns(), short_ns);
	assert_int_equal(setpriority(PRIO_PROCESS, 0, nice + 3), 0);
	amp_slice_short(false);
	assert_int_equal(getpriority(PRIO_PROCESS, 0), nice + 3);
	assert_int_equal(turn_ns(), usual_ns);
	assert_int_equal(sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0}), 0);
	amp_slice_short(true);
	assert_int_equal(sched_getscheduler(0), SCHED_BATCH);
}

int main(void)
{
	/* those who run all of this may have done so with another policy (chrt --idle) */
	if (sched_getscheduler(0) != SCHED_OTHER &&
	    sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){0})) {
		perror("test_slice: needs SCHED_OTHER, and may not have it");
		return 1;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
