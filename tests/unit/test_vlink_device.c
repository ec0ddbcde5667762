// SPDX-License-Identifier: BSD-3-Clause
/* A link of the library at the device's end: packets of many descriptors, and nobody sleeps. */
#define AMPSOCK_CONFIG "port/hosted_config.h" /* as the library it is linked with */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "vsock/af_vsock.h"

#define NUM 16

static uint8_t ring[4096] __attribute__((aligned(16)));
static uint8_t packet[64] __attribute__((aligned(16)));
static struct amp_vq drv, dev;
static uint16_t state[NUM];
static struct amp_vlink l;

static void *translate(void *ctx, uint64_t addr, uint32_t *len)
{
	(void)ctx;
	(void)len;
	return (void *)(uintptr_t)addr;
}

static unsigned none_due(struct amp_runner *r)
{
	(void)r;
	return 0;
}

static void queues(void)
{
	struct amp_vq_setup s = {.role = AMP_VQ_DRIVER, .dir = AMP_VQ_OUT, .num = NUM};
	size_t avail, used;

	(void)amp_vq_layout(NUM, &avail, &used);
	s.desc = ring;
	s.avail = ring + avail;
	s.used = ring + used;
	s.state = state;
	assert_int_equal(amp_vq_init(&drv, &s), 0);
	s.role = AMP_VQ_DEVICE;
	s.dir = AMP_VQ_IN;
	s.xlate.translate = translate;
	assert_int_equal(amp_vq_init(&dev, &s), 0);
}

/* Four packets fill the ring, and the driver waits until it hears of them. */
static void test_ring_is_full(void **st)
{
	struct amp_vsock_hdr h = {
		.src_cid = 3, .dst_cid = 2, .type = 1, .op = AMP_VSOCK_OP_RST};
	struct amp_iov iov[4] = {{packet, 10},
				 {packet + 10, 10},
				 {packet + 20, 10},
				 {packet + 30, AMP_VSOCK_HDR_LEN - 30}};

	(void)st;
	memcpy(packet, &h, AMP_VSOCK_HDR_LEN);
	queues();
	l.runner.kick_due = none_due;
	l.vs.in = &dev;
	l.vs.local_cid = 2;
	l.vs.peer_cid = 3;
	amp_vlink_up(&l);
	amp_vlink_asked(&l);
	l.runner.due = false;
	for (int i = 0; i < NUM / 4; i++)
		assert_true(amp_vq_post(&drv, iov, 4, 0, NULL) >= 0);
	assert_int_equal(amp_vq_post(&drv, iov, 4, 0, NULL), -11);
	(void)amp_vlink_turn(&l);
	(void)amp_vlink_turn(&l); /* nothing more comes */
	assert_int_equal(l.vs.stats.rx_packets, NUM / 4);
	assert_true(l.runner.due);
	amp_vlink_asked(&l);
	l.runner.due = false;
	(void)amp_vlink_turn(&l); /* once */
	assert_false(l.runner.due);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_ring_is_full)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
