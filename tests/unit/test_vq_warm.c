// SPDX-License-Identifier: BSD-3-Clause
// A driver's queue that sends in used buffers first (AMPSOCK_VQ_WARM): how many it goes round in.
// build: -O1 src/virtio/vq_split.c -DAMPSOCK_VQ_WARM=1
// timeout: 30
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ringpair.h"

#define NUM 8

static const struct rp_opt opt = {.num = NUM, .drv_dir = AMP_VQ_OUT, .buf_len = 16};

static uint16_t send_one(struct ringpair *rp)
{
	struct amp_iov iov[1];
	struct amp_vq_buf b = {.iov = iov, .iov_max = 1};

	assert_int_equal(amp_vq_get(&rp->drv, &b), 1);
	assert_ptr_equal(iov[0].base, rp->pool + b.id * 16u);
	amp_vq_put(&rp->drv, b.id, 16);
	return b.id;
}

static void take_one(struct ringpair *rp)
{
	struct amp_iov iov[NUM];
	struct amp_vq_buf b = {.iov = iov, .iov_max = NUM};

	assert_int_equal(amp_vq_get(&rp->dev, &b), 1);
	amp_vq_put(&rp->dev, b.id, 0);
}

static void as_many_as_are_out(void **state)
{
	(void)state;
	for (unsigned out = 1; out <= NUM; out++) {
		struct ringpair rp;
		unsigned seen = 0;

		assert_int_equal(rp_init(&rp, &opt), 0);
		for (unsigned i = 0; i < out; i++)
			seen |= 1u << send_one(&rp);
		for (unsigned i = 0; i < 5 * NUM; i++) {
			take_one(&rp);
			seen |= 1u << send_one(&rp);
		}
		assert_int_equal(__builtin_popcount(seen), out);
		rp_free(&rp);
	}
}

/* Nothing that was never used is out of reach. */
static void all_of_them(void **state)
{
	struct amp_iov iov[1];
	struct amp_vq_buf b = {.iov = iov, .iov_max = 1};
	struct ringpair rp;
	unsigned seen = 0;

	(void)state;
	assert_int_equal(rp_init(&rp, &opt), 0);
	seen |= 1u << send_one(&rp);
	take_one(&rp);
	assert_int_equal(amp_vq_avail(&rp.drv), NUM);
	for (unsigned i = 0; i < NUM; i++)
		seen |= 1u << send_one(&rp);
	assert_int_equal(seen, (1u << NUM) - 1u);
	assert_int_equal(amp_vq_get(&rp.drv, &b), 0);
	rp_free(&rp);
}

/* A peer that lies is found out while there are buffers that it has never seen. */
static void a_lie(void **state)
{
	struct amp_iov iov[1];
	struct amp_vq_buf b = {.iov = iov, .iov_max = 1};
	struct ringpair rp;

	(void)state;
	assert_int_equal(rp_init(&rp, &opt), 0);
	send_one(&rp);
	rp_used(&rp)->idx = 2;
	assert_int_equal(amp_vq_get(&rp.drv, &b), -EBADMSG);
	assert_true(rp.drv.broken);
	rp_free(&rp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_many_as_are_out),
		cmocka_unit_test(all_of_them),
		cmocka_unit_test(a_lie),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
