// SPDX-License-Identifier: BSD-3-Clause
// Barriers of the split ring: a weakly ordered peer, played on a core that is none.
// build: src/virtio/vq_split.c -include tests/unit/barrier_site.h
/*
 * x86 orders loads with loads and stores with stores, so that no race shows a barrier that
 * is missing. Here each barrier is a call, and what a weakly ordered machine may do at the
 * worst is done by hand: entries become visible at the reader's rmb and not before; what the
 * writer has not written at its wmb may be seen after the index; what the peer writes before
 * its own mb is seen by ours.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ringpair.h"

#define NUM 4u

static struct ringpair rp;
static uint8_t saved[1024]; /* the ring as it is */
static void (*on_barrier)(char which);
static unsigned seen;

void br_hook(char which)
{
	if (on_barrier)
		on_barrier(which);
}

static struct amp_vq_buf take(struct amp_vq *vq)
{
	static struct amp_iov iov[NUM];
	struct amp_vq_buf b = {.iov = iov, .iov_max = NUM};

	assert_int_equal(amp_vq_get(vq, &b), 1);
	return b;
}

static void up(enum amp_vq_dir drv_dir, bool event_idx)
{
	struct rp_opt o = {
		.num = NUM, .drv_dir = drv_dir, .event_idx = event_idx, .buf_len = 64};

	on_barrier = NULL;
	seen = 0;
	assert_int_equal(rp_init(&rp, &o), 0);
	assert_true(rp.mem_len <= sizeof(saved));
}

/* The four ways in which a buffer changes hands, each up to the put: who puts which buffer. */
struct hand {
	struct amp_vq *from, *to;
	uint16_t id;
	uint32_t len;
};

static struct hand hand_over(unsigned way)
{
	struct hand h;
	struct amp_vq_buf b[NUM];

	up(way & 1 ? AMP_VQ_IN : AMP_VQ_OUT, false);
	switch (way) {
	case 0: /* driver's message to the device */
		b[0] = take(&rp.drv);
		h = (struct hand){&rp.drv, &rp.dev, b[0].id, 24};
		break;
	case 1: /* device's message to the driver */
		b[0] = take(&rp.dev);
		h = (struct hand){&rp.dev, &rp.drv, b[0].id, 24};
		break;
	case 2: /* the driver's comes back, when it has no other */
		for (unsigned i = 0; i < NUM; i++) {
			b[i] = take(&rp.drv);
			amp_vq_put(&rp.drv, b[i].id, 24);
			b[i] = take(&rp.dev);
		}
		h = (struct hand){&rp.dev, &rp.drv, b[2].id, 0};
		break;
	default: /* the device's room comes back, when it has no other */
		for (unsigned i = 0; i < NUM; i++) {
			b[i] = take(&rp.dev);
			amp_vq_put(&rp.dev, b[i].id, 24);
			b[i] = take(&rp.drv);
		}
		h = (struct hand){&rp.drv, &rp.dev, b[2].id, 0};
		break;
	}
	return h;
}

/* ---- the reader ---- */

/* Only now the entries are there. */
static void arrive(char which)
{
	if (which != 'r')
		return;
	memcpy(rp.mem, saved, rp.mem_len);
	seen++;
}

static void entries_after_index(void **state)
{
	(void)state;
	for (unsigned way = 0; way < 4; way++) {
		struct hand h = hand_over(way);
		uint16_t avail = rp_avail(&rp)->idx, used = rp_used(&rp)->idx;
		struct amp_vq_buf b;

		amp_vq_put(h.from, h.id, h.len);
		avail = h.from == &rp.drv ? (uint16_t)(avail + 1) : avail;
		used = h.from == &rp.dev ? (uint16_t)(used + 1) : used;
		memcpy(saved, rp.mem, rp.mem_len);
		/* the index has arrived, nothing else has */
		memset(rp.mem, 0xff, rp.mem_len);
		rp_avail(&rp)->idx = avail;
		rp_used(&rp)->idx = used;
		on_barrier = arrive;
		b = take(h.to);
		on_barrier = NULL;
		assert_int_equal(seen, 1);
		assert_int_equal(b.id, h.id);
		if (way < 2)
			assert_int_equal(b.iov[0].len, 24);
		rp_free(&rp);
	}
}

/* ---- the writer ---- */

static void keep(char which)
{
	if (which != 'w')
		return;
	memcpy(saved, rp.mem, rp.mem_len);
	seen++;
}

/* At the barrier everything is written but the index, which is not. */
static void index_after_entries(void **state)
{
	(void)state;
	for (unsigned way = 0; way < 4; way++) {
		struct hand h = hand_over(way);
		const volatile void *idx = h.from == &rp.drv
						   ? (const volatile void *)&rp_avail(&rp)->idx
						   : (const volatile void *)&rp_used(&rp)->idx;
		size_t at = (size_t)((const volatile uint8_t *)idx - rp.mem);

		on_barrier = keep;
		amp_vq_put(h.from, h.id, h.len);
		on_barrier = NULL;
		assert_int_equal(seen, 1);
		assert_true(saved[at] != rp.mem[at]);
		assert_memory_equal(saved, rp.mem, at);
		assert_memory_equal(saved + at + 2, rp.mem + at + 2, rp.mem_len - at - 2);
		rp_free(&rp);
	}
}

/* ---- notifications ---- */

/* The peer goes to sleep at the worst moment: its wish is there at our barrier. */
static void wish(char which)
{
	if (which != 'm')
		return;
	seen++;
	if (rp.drv.event_idx)
		*(volatile uint16_t *)&rp_used(&rp)->ring[NUM] = 0;
	else
		rp_used(&rp)->flags = 0;
}

static void wish_seen_after_index(void **state)
{
	(void)state;
	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		struct amp_vq_buf b;

		up(AMP_VQ_OUT, event_idx);
		*(volatile uint16_t *)&rp_used(&rp)->ring[NUM] = 0x7000;
		rp_used(&rp)->flags = VRING_USED_F_NO_NOTIFY;
		b = take(&rp.drv);
		amp_vq_put(&rp.drv, b.id, 1);
		on_barrier = wish;
		assert_true(amp_vq_kick_due(&rp.drv));
		assert_int_equal(seen, 1);
		rp_free(&rp);
	}
}

/* A message comes at the moment at which we go to sleep. */
static void message(char which)
{
	struct amp_vq_buf b;

	if (which != 'm' || seen++)
		return;
	on_barrier = NULL;
	b = take(&rp.drv);
	amp_vq_put(&rp.drv, b.id, 1);
}

static void index_seen_after_wish(void **state)
{
	(void)state;
	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		up(AMP_VQ_OUT, event_idx);
		on_barrier = message;
		assert_true(amp_vq_arm(&rp.dev));
		assert_int_equal(seen, 1);
		rp_free(&rp);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_after_index),
		cmocka_unit_test(index_after_entries),
		cmocka_unit_test(wish_seen_after_index),
		cmocka_unit_test(index_seen_after_wish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
