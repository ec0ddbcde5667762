// SPDX-License-Identifier: BSD-3-Clause
/* Limits of a link: levels, and buckets by a clock that is the test's. */
// build: src/proxy/limit.c src/proxy/log.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/limit.h"

static struct amp_limits l;
static uint64_t max[AMP_LIMIT_CNT];

static int up(void **state)
{
	(void)state;
	amp_log_level_set(AMP_LOG_ERROR); /* what is refused is counted here, not read */
	memcpy(max, amp_limit_default, sizeof(max));
	amp_limits_init(&l, max, "g");
	return 0;
}

static void test_level(void **state)
{
	(void)state;
	max[AMP_LIMIT_SOCKETS] = 3;
	amp_limits_set(&l, max);
	assert_true(amp_limit_take(&l, AMP_LIMIT_SOCKETS, 1));
	assert_true(amp_limit_take(&l, AMP_LIMIT_SOCKETS, 2));
	assert_int_equal(l.hits[AMP_LIMIT_SOCKETS], 0);
	assert_false(amp_limit_room(&l, AMP_LIMIT_SOCKETS, 1));
	assert_int_equal(l.hits[AMP_LIMIT_SOCKETS], 0); /* a look is no refusal */
	assert_false(amp_limit_take(&l, AMP_LIMIT_SOCKETS, 1));
	assert_int_equal(l.hits[AMP_LIMIT_SOCKETS], 1);
	assert_int_equal(l.used[AMP_LIMIT_SOCKETS], 3); /* what was refused is not taken */
	amp_limit_give(&l, AMP_LIMIT_SOCKETS, 1);
	assert_true(amp_limit_take(&l, AMP_LIMIT_SOCKETS, 1));
	assert_int_equal(l.used[AMP_LIMIT_HALF_OPEN], 0); /* each for itself */
}

/* Made smaller than what is taken: nothing more, until enough is given back. */
static void test_level_shrinks(void **state)
{
	(void)state;
	assert_true(amp_limit_take(&l, AMP_LIMIT_BUFFERED, 1000));
	max[AMP_LIMIT_BUFFERED] = 500;
	amp_limits_set(&l, max);
	assert_false(amp_limit_room(&l, AMP_LIMIT_BUFFERED, 0));
	assert_false(amp_limit_take(&l, AMP_LIMIT_BUFFERED, 1));
	amp_limit_give(&l, AMP_LIMIT_BUFFERED, 501);
	assert_true(amp_limit_take(&l, AMP_LIMIT_BUFFERED, 1));
	assert_false(amp_limit_take(&l, AMP_LIMIT_BUFFERED, UINT64_MAX)); /* no overflow */
}

static unsigned told;

static void on_room(struct amp_limits *limits)
{
	assert_ptr_equal(limits, &l);
	told++;
}

/* Who waits for a socket hears of one that is given back, and of a limit that has grown: once. */
static void test_room(void **state)
{
	(void)state;
	told = 0;
	max[AMP_LIMIT_SOCKETS] = 1;
	amp_limits_set(&l, max);
	l.room = on_room;
	assert_true(amp_limit_await(&l));
	assert_true(amp_limit_take(&l, AMP_LIMIT_SOCKETS, 1));
	amp_limits_set(&l, max);
	amp_limit_give(&l, AMP_LIMIT_SOCKETS, 1); /* nobody waits */
	assert_int_equal(told, 0);
	assert_true(amp_limit_take(&l, AMP_LIMIT_SOCKETS, 1));
	assert_false(amp_limit_await(&l));
	max[AMP_LIMIT_SOCKETS] = 2;
	amp_limits_set(&l, max);
	assert_int_equal(told, 1);
	assert_true(amp_limit_take(&l, AMP_LIMIT_SOCKETS, 1));
	assert_false(amp_limit_await(&l));
	max[AMP_LIMIT_SOCKETS] = 1;
	amp_limits_set(&l, max);		  /* there is less than before */
	amp_limit_give(&l, AMP_LIMIT_SOCKETS, 1); /* and still none */
	assert_int_equal(told, 1);
	amp_limit_give(&l, AMP_LIMIT_SOCKETS, 1);
	assert_int_equal(told, 2);
	amp_limits_set(&l, max);
	assert_int_equal(told, 2);
}

static unsigned burst(enum amp_limit what, uint64_t now_ms)
{
	unsigned n = 0;

	while (n < 100000 && amp_limit_rate(&l, what, now_ms))
		n++;
	return n;
}

static void test_rate(void **state)
{
	(void)state;
	max[AMP_LIMIT_DNS] = 10;
	amp_limits_set(&l, max);
	assert_int_equal(burst(AMP_LIMIT_DNS, 5000), 10); /* a second's worth at once */
	assert_int_equal(l.hits[AMP_LIMIT_DNS], 1);
	assert_int_equal(burst(AMP_LIMIT_DNS, 5000), 0);
	assert_int_equal(burst(AMP_LIMIT_DNS, 5099), 0);
	assert_int_equal(burst(AMP_LIMIT_DNS, 5100), 1);
	assert_int_equal(burst(AMP_LIMIT_DNS, 5550), 4); /* and the half that is left over */
	assert_int_equal(burst(AMP_LIMIT_DNS, 5600), 1); /* counts */
	assert_int_equal(burst(AMP_LIMIT_DNS, 3600000),
			 10); /* an hour's silence saves no more */
	assert_int_equal(burst(AMP_LIMIT_DNS, UINT64_MAX), 10);
	assert_int_equal(burst(AMP_LIMIT_DNS, 7), 0); /* a clock that went back gives nothing */
	assert_int_equal(burst(AMP_LIMIT_DNS, 1007), 10);
}

/* Over a long time the rate is the rate, however often it is asked. */
static void test_rate_is_exact(void **state)
{
	unsigned n = 0;

	(void)state;
	max[AMP_LIMIT_CONNECTS] = 7;
	amp_limits_set(&l, max);
	for (uint64_t t = 1; t <= 100000; t++)
		n += amp_limit_rate(&l, AMP_LIMIT_CONNECTS, t);
	assert_in_range(n, 7 * 100, 7 * 100 + 7);
	max[AMP_LIMIT_CONNECTS] = 50000; /* several a millisecond */
	amp_limits_set(&l, max);
	n = burst(AMP_LIMIT_CONNECTS, 200000);
	assert_int_equal(n, 50000);
	assert_int_equal(burst(AMP_LIMIT_CONNECTS, 200001), 50);
}

static void test_none(void **state)
{
	(void)state;
	for (unsigned i = 0; i < AMP_LIMIT_CNT; i++)
		max[i] = AMP_LIMIT_NONE;
	amp_limits_set(&l, max);
	assert_int_equal(burst(AMP_LIMIT_DATAGRAMS, 1), 100000);
	assert_true(amp_limit_take(&l, AMP_LIMIT_BUFFERED, 1ull << 60));
	amp_limit_give(&l, AMP_LIMIT_BUFFERED, 1ull << 60);
	/* and limited again: a full bucket */
	max[AMP_LIMIT_DATAGRAMS] = 2;
	amp_limits_set(&l, max);
	assert_int_equal(burst(AMP_LIMIT_DATAGRAMS, 1), 2);
}

/* A reload that changes nothing fills no bucket; one that lowers a rate leaves no old burst. */
static void test_set_again(void **state)
{
	(void)state;
	max[AMP_LIMIT_DNS] = 10;
	amp_limits_set(&l, max);
	assert_int_equal(burst(AMP_LIMIT_DNS, 1000), 10);
	amp_limits_set(&l, max);
	assert_int_equal(burst(AMP_LIMIT_DNS, 1000), 0);
	max[AMP_LIMIT_DNS] = 3;
	amp_limits_set(&l, max);
	assert_int_equal(burst(AMP_LIMIT_DNS, 1000), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_level, up),
		cmocka_unit_test_setup(test_level_shrinks, up),
		cmocka_unit_test_setup(test_room, up),
		cmocka_unit_test_setup(test_rate, up),
		cmocka_unit_test_setup(test_rate_is_exact, up),
		cmocka_unit_test_setup(test_none, up),
		cmocka_unit_test_setup(test_set_again, up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
