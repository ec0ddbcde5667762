// SPDX-License-Identifier: BSD-3-Clause
// The rpmsg bus: a host and a remote over real rings, then each of them against a liar.
// build: src/af_rpmsg/rpmsg.c src/virtio/vq_split.c -DAMPSOCK_VQ_DEVICE=1
// timeout: 120
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "rpmsg_rig.h"

static const struct {
	uint32_t up, down;
} sizes[] = {{512, 512}, {2048, 512}, {512, 2048}, {16384, 16384}, {2048, 16384}};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static uint32_t room_of(const struct rig_side *s)
{
	return (s == &rig.host ? rig.down_opt.buf_len : rig.up_opt.buf_len) - AMP_RPMSG_HDR_LEN;
}

/* Every buffer is where it is when nothing is on its way. */
static void all_home(void)
{
	assert_int_equal(rig_settle(), 0);
	assert_int_equal(rig.host.bus.held_cnt, 0);
	assert_int_equal(rig.remote.bus.held_cnt, 0);
	assert_int_equal(amp_vq_avail(&rig.up.dev), rig.up_opt.num);
	assert_int_equal(amp_vq_avail(&rig.down.drv), rig.down_opt.num);
	assert_int_equal(amp_vq_avail(&rig.up.drv), 0);
	assert_int_equal(amp_vq_avail(&rig.down.dev), 0);
}

/* Messages must come as rig_fill() made them, in order, ept by ept. */
static void in_sequence(struct rig_side *s, struct rig_ept *e, const struct amp_rpmsg_rx *rx)
{
	(void)s;
	assert_true(rig_is(rx->data, rx->len, e->want_seq));
	assert_int_equal(rx->dst, e->e.addr);
	e->want_seq++;
}

/* ---- both sides honest ---- */

static void messages_of_every_size(void **state)
{
	(void)state;
	for (unsigned k = 0; k < SIZES; k++) {
		rig_init(4, sizes[k].up, sizes[k].down, k & 1);
		rig_open(&rig.host, 0, 20, NULL);
		rig_open(&rig.remote, 0, 30, NULL);
		rig.host.on_data = rig.remote.on_data = in_sequence;
		rig_up();
		for (unsigned way = 0; way < 2; way++) {
			struct rig_side *from = way ? &rig.host : &rig.remote;
			struct rig_ept *to = &rig_other(from)->ept[0];
			uint32_t max = room_of(from);
			const uint32_t lens[] = {0, 1, 3, 4, 15, 16, 17, max - 1, max};

			for (uint32_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
				assert_int_equal(rig_send(from, 77, to->e.addr, lens[i], i), 0);
				assert_int_equal(rig_settle(), 0);
				assert_int_equal(to->got, i + 1);
				assert_int_equal(to->last_len, lens[i]);
				assert_int_equal(to->last_src, 77);
			}
		}
		all_home();
		assert_int_equal(rig.host.bus.stats.rx_bad + rig.remote.bus.stats.rx_bad, 0);
		rig_free();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_of_every_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
