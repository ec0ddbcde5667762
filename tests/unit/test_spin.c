// SPDX-License-Identifier: BSD-3-Clause
// build: src/port/baremetal.c -DAMP_PORT_THREADS=0 -DAMPSOCK_SPIN=1 -Itests/unit -DAMP_PORT_CORE="spin_core.h"
// small
/* Looking before sleep (AMPSOCK_SPIN), on a core whose time is the test's. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "port/baremetal.h"
#include "port/port.h"
#include "spin_core.h"

#define HZ	   1000000u /* a tick is a microsecond */
#define NEVER	   UINT64_MAX
#define LOOKS_MORE 64u /* the clock is read once in so many */

bool core_masked;
static struct {
	uint64_t now;
	uint64_t alarm;
	uint64_t wake_at; /* an interrupt that wakes, once */
	uint64_t news_at; /* and one that nobody asked for, to be seen by who looks */
	uint64_t jump_at; /* the core stands still then, for jump */
	uint64_t jump;
	unsigned looks, alarms;
} t;

static void passes(uint64_t ticks)
{
	t.now += ticks;
	if (t.now >= t.jump_at) {
		t.now += t.jump;
		t.jump_at = NEVER;
	}
	if (t.now >= t.wake_at) {
		t.wake_at = NEVER;
		amp_port_wake();
	}
}

static uint64_t ticks(void)
{
	return t.now;
}

static void alarm_at(uint64_t at)
{
	t.alarm = at;
	t.alarms++;
}

static const struct amp_baremetal_clock virtual_clock = {.ticks = ticks, .alarm = alarm_at};

void core_sleep(void)
{
	uint64_t next = t.alarm < t.wake_at ? t.alarm : t.wake_at;

	assert_true(core_masked);
	assert_true(next != NEVER); /* or it would not end */
	passes(next > t.now ? next - t.now : 0);
}

/* A look takes a microsecond. */
static bool news(const void *ctx)
{
	assert_ptr_equal(ctx, &t);
	assert_true(t.looks++ < 10000);
	passes(1);
	return t.now >= t.news_at;
}

static int begin(void **state)
{
	(void)state;
	memset(&t, 0, sizeof(t));
	t.alarm = t.wake_at = t.news_at = t.jump_at = NEVER;
	amp_baremetal_init(&virtual_clock, HZ);
	amp_baremetal_spin(200);
	return 0;
}

static bool look(void)
{
	t.looks = 0;
	return amp_port_spin(news, &t);
}

/* What who waits does: src/socket/stack.c. */
static int wait_ms(int32_t ms)
{
	return look() ? 0 : amp_port_wait(ms);
}

static void test_bounded(void **state)
{
	(void)state;
	assert_false(look());
	assert_in_range(t.now, 200, 200 + LOOKS_MORE);
	assert_int_equal(t.looks, t.now);
	amp_baremetal_spin(2500); /* also beyond a millisecond, which are counted apart */
	t.now = 0;
	assert_false(look());
	assert_in_range(t.now, 2500, 2510 + LOOKS_MORE);
}

static void test_off(void **state)
{
	(void)state;
	amp_baremetal_spin(0);
	t.news_at = 0;
	assert_false(look());
	assert_int_equal(t.looks, 0);
	assert_int_equal(t.now, 0);
}

/* What comes in that time is not slept for; what comes later is. */
static void test_spares_sleep(void **state)
{
	uint32_t sleeps = amp_baremetal_sleeps();

	(void)state;
	t.news_at = 150;
	assert_int_equal(wait_ms(1000), 0);
	assert_in_range(t.now, 150, 150);
	assert_int_equal(amp_baremetal_sleeps(), sleeps);
	assert_int_equal(t.alarms, 0);
	t.news_at = NEVER;
	t.wake_at = t.now + 5000;
	assert_int_equal(wait_ms(1000), 0);
	assert_int_equal(t.now, 150 + 5000);
	assert_int_equal(amp_baremetal_sleeps(), sleeps + 1);
	/* nothing at all: the look is part of no time-out, and that one holds */
	amp_baremetal_spin(200);
	assert_int_equal(wait_ms(10), -ETIMEDOUT);
	assert_in_range(t.now, 5150 + 200 + 10000, 5150 + 200 + LOOKS_MORE + 10010);
}

/* An interrupt ends it soon, and its mark is still there. */
static void test_woken(void **state)
{
	uint32_t sleeps = amp_baremetal_sleeps();

	(void)state;
	t.wake_at = 70;
	assert_int_equal(wait_ms(-1), 0);
	assert_in_range(t.now, 70, 70 + LOOKS_MORE);
	assert_int_equal(amp_baremetal_sleeps(), sleeps);
}

/* Waits without a look, after one in vain. */
static unsigned skipped(void)
{
	unsigned n = 0;

	for (;; n++) {
		assert_false(look());
		if (t.looks)
			return n;
		assert_true(n < 5000);
	}
}

static void test_backs_off(void **state)
{
	static const unsigned pauses[] = {0, 1, 3, 7, 15, 31, 63, 63, 63};

	(void)state;
	for (unsigned i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++)
		assert_int_equal(skipped(), pauses[i]);
	/* one that is worth it, and it is as at first */
	for (unsigned i = 0; i < 63; i++)
		assert_false(look());
	t.news_at = t.now + 10;
	assert_true(look());
	assert_true(look());
	t.news_at = NEVER;
	assert_int_equal(skipped(), 0);
	assert_int_equal(skipped(), 1);
}

/* A look during which the core stood still. */
static void stand_still(void)
{
	t.jump_at = t.now + 100;
	t.jump = 1500;
	t.looks = 0;
	while (!t.looks) /* those that are left out come first */
		assert_false(look());
	assert_true(t.looks <= 100 + LOOKS_MORE);
	t.jump_at = NEVER;
}

/* Once is an accident; again and again, and he whose processor it was is left in peace. */
static void test_away(void **state)
{
	static const unsigned pauses[] = {3, 15, 63, 255, 1023, 1023};

	(void)state;
	for (unsigned i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
		stand_still();
		t.looks = 0;
		for (unsigned k = 0; k < pauses[i]; k++)
			assert_false(look());
		assert_int_equal(t.looks, 0);
	}
	/* found is found, but then it rests, too */
	amp_baremetal_spin(200);
	t.news_at = t.jump_at = t.now + 5;
	assert_true(look());
	t.news_at = NEVER;
	assert_int_equal(skipped(), 3);
}

static void find(unsigned times)
{
	t.news_at = t.now;
	while (times)
		times -= look(); /* those that are left out come first */
	t.news_at = NEVER;
}

/* Each look that has found something is one sleep less the next time. */
static void test_away_forgiven(void **state)
{
	(void)state;
	stand_still();
	stand_still();
	find(15 - 1);
	stand_still();
	t.looks = 0;
	for (unsigned k = 0; k < 4 * 1 + 3; k++)
		assert_false(look());
	assert_int_equal(t.looks, 0);
	find(7);
	stand_still();
	assert_int_equal(skipped(), 3);
}

/* Not much forgiven is not much less: there is a most, and nothing behind it. */
static void test_away_most(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5; i++)
		stand_still();
	find(1023 - 256);
	stand_still();
	assert_int_equal(skipped(), 1023);
}

/* What amp_baremetal_init() takes of hz that is no constant is what a compiler makes of one that is. */
static void test_fraction(void **state)
{
	(void)state;
	for (uint64_t hz = 1001; hz <= UINT32_MAX; hz += hz / 99 + 1)
		assert_int_equal(amp_baremetal_fraction((uint32_t)hz), (1000ull << 32) / hz);
	assert_int_equal(amp_baremetal_fraction(UINT32_MAX), 1000);
	assert_int_equal(amp_baremetal_fraction(1000000), 4294967);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_bounded, begin),
		cmocka_unit_test_setup(test_off, begin),
		cmocka_unit_test_setup(test_spares_sleep, begin),
		cmocka_unit_test_setup(test_woken, begin),
		cmocka_unit_test_setup(test_backs_off, begin),
		cmocka_unit_test_setup(test_away, begin),
		cmocka_unit_test_setup(test_away_forgiven, begin),
		cmocka_unit_test_setup(test_away_most, begin),
		cmocka_unit_test(test_fraction),
	};

	return cmocka_run_group_tests_name("spin", tests, NULL, NULL);
}
