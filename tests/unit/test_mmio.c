// SPDX-License-Identifier: BSD-3-Clause
// build: src/virtio/mmio.c src/virtio/mmio_why.c
/* virtio-mmio over registers that are plain memory: what is refused, written and reported. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "virtio/mmio.h"

static uint32_t regs[0x200 / 4];
static struct amp_mmio m;

#define REG(off) regs[(off) / 4]

static int slot(uint32_t magic, uint32_t version, uint32_t id)
{
	memset(regs, 0, sizeof(regs));
	REG(0) = magic;
	REG(4) = version;
	REG(8) = id;
	return amp_mmio_init(&m, (uintptr_t)regs);
}

static int good(void)
{
	return slot(0x74726976, 2, AMP_VIRTIO_ID_VSOCK);
}

static void test_init(void **state)
{
	(void)state;
	assert_int_equal(slot(0, 0, 0), -ENODEV);
	assert_int_equal(slot(0x74726977, 2, 19), -ENODEV);
	assert_int_equal(slot(0x74726976, 2, 0), -ENODEV);
	assert_int_equal(slot(0x74726976, 1, 0),
			 -ENODEV); /* an empty slot may be a legacy one */
	assert_null(amp_mmio_why(&m));
	assert_int_equal(slot(0x74726976, 1, 19), -ENOTSUP);
	assert_non_null(strstr(amp_mmio_why(&m), "-global virtio-mmio.force-legacy=false"));
	assert_int_equal(slot(0x74726976, 3, 19), -ENOTSUP);
	assert_non_null(amp_mmio_why(&m));
	assert_int_equal(good(), 0);
	assert_int_equal(m.device_id, 19);
	assert_int_equal(REG(0x70), 0); /* looking changes nothing */
}

static void test_negotiate(void **state)
{
	uint64_t features = 0;

	(void)state;
	assert_int_equal(good(), 0);
	assert_int_equal(m.vd.ops->probe(&m.vd, AMP_VIRTIO_ID_RPMSG, &features), -ENODEV);
	assert_int_equal(REG(0x70), 0);
	REG(0x10) = 1; /* the same for both halves: memory does not select */
	REG(0x70) = 0xf;
	assert_int_equal(m.vd.ops->probe(&m.vd, AMP_VIRTIO_ID_VSOCK, &features), 0);
	assert_true(features == 0x100000001ull);
	assert_int_equal(REG(0x70), 3);
	assert_int_equal(m.vd.ops->accept(&m.vd, AMP_VIRTIO_F_VERSION_1), 0);
	assert_int_equal(REG(0x70), 11);
	assert_int_equal(REG(0x24), 1);
	assert_int_equal(REG(0x20), 1);
	assert_int_equal(m.vd.ops->run(&m.vd), 0);
	assert_int_equal(REG(0x70), 15);
	m.vd.ops->reset(&m.vd);
	assert_int_equal(REG(0x70), 0);
}

static void test_queue(void **state)
{
	static char ring[64];
	struct amp_vq vq = {.num = 8, .bus_off = 0x100000000ull};
	uint64_t bus = (uint64_t)(uintptr_t)ring + vq.bus_off;

	(void)state;
	vq.desc = (void *)ring;
	vq.avail = (void *)(ring + 16);
	vq.used = (void *)(ring + 32);
	assert_int_equal(good(), 0);
	assert_int_equal(m.vd.ops->queue_max(&m.vd, 5), 0);
	assert_int_equal(m.vd.ops->queue_set(&m.vd, 1, &vq), -EINVAL);
	REG(0x34) = UINT32_MAX; /* as much as the driver likes */
	assert_int_equal(m.vd.ops->queue_max(&m.vd, 1), UINT32_MAX);
	assert_int_equal(REG(0x30), 1);
	assert_int_equal(m.vd.ops->queue_set(&m.vd, 1, &vq), 0);
	assert_int_equal(REG(0x38), 8);
	assert_int_equal(REG(0x44), 1);
	assert_int_equal(REG(0x80), (uint32_t)bus);
	assert_int_equal(REG(0x84), bus >> 32);
	assert_int_equal(REG(0x90), (uint32_t)(bus + 16));
	assert_int_equal(REG(0xa0), (uint32_t)(bus + 32));
	assert_int_equal(m.vd.ops->queue_set(&m.vd, 1, &vq), -EBUSY); /* 4.2.3.2, step 2 */
	m.vd.ops->notify(&m.vd, 1);
	assert_int_equal(REG(0x50), 1);
}

static void test_config(void **state)
{
	uint32_t raw[4], off, len, i;
	uint8_t *conf = (uint8_t *)&REG(0x100);

	(void)state;
	assert_int_equal(good(), 0);
	for (i = 0; i < 32; i++)
		conf[i] = (uint8_t)(i + 1);
	for (off = 0; off < 8; off++) {
		for (len = 0; len <= 8; len++) {
			bool whole = off % 4 == 0 && len % 4 == 0;

			memset(raw, 0, sizeof(raw));
			assert_int_equal(m.vd.ops->config(&m.vd, off, raw, len),
					 whole ? 0 : -EINVAL);
			if (whole)
				assert_memory_equal(raw, conf + off, len);
			assert_int_equal(raw[whole ? len / 4 : 0], 0);
		}
	}
	assert_int_equal(m.vd.ops->config(&m.vd, 0x104, raw, 4), -EINVAL);
	assert_int_equal(m.vd.ops->config(&m.vd, 0, raw, 0x104), -EINVAL);
	assert_int_equal(m.vd.ops->config(&m.vd, 0xfc, raw, 8), -EINVAL);
	assert_int_equal(m.vd.ops->config(&m.vd, UINT32_MAX - 3, raw, 8), -EINVAL);
}

static void test_isr(void **state)
{
	(void)state;
	assert_int_equal(good(), 0);
	assert_false(amp_mmio_isr(&m));
	REG(0x60) = 1;
	assert_true(amp_mmio_isr(&m));
	assert_int_equal(REG(0x64), 1);
	assert_int_equal(m.vd.ops->events(&m.vd), 0);
	REG(0x60) = 3;
	assert_true(amp_mmio_isr(&m));
	assert_int_equal(REG(0x64), 3);
	REG(0x60) = 0;
	assert_int_equal(m.vd.ops->events(&m.vd), AMP_VDEV_EV_CONFIG);
	assert_int_equal(m.vd.ops->events(&m.vd), 0);
	REG(0x60) = 2;
	REG(0x70) = 15 | 64; /* 2.1.2: DEVICE_NEEDS_RESET comes as a configuration change */
	assert_true(amp_mmio_isr(&m));
	assert_int_equal(m.vd.ops->events(&m.vd), AMP_VDEV_EV_GONE);
	assert_int_equal(m.vd.ops->run(&m.vd), 0); /* memory: the bit is overwritten */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_init),  cmocka_unit_test(test_negotiate),
		cmocka_unit_test(test_queue), cmocka_unit_test(test_config),
		cmocka_unit_test(test_isr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
