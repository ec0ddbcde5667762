// SPDX-License-Identifier: BSD-3-Clause
// The rpmsg bus: a host and a remote over real rings, then each of them against a liar.
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
	assert_int_equal(rx->dst, e->e.ept.addr);
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
				assert_int_equal(rig_send(from, 77, to->e.ept.addr, lens[i], i),
						 0);
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

/* The bytes that Linux, OpenAMP and rpmsg-lite expect, and the lengths that go with them. */
static void bytes_on_the_wire(void **state)
{
	static const uint8_t want[] = {0x04, 0x03, 0x02, 0x01, 0x14, 0, 0,   0,	  0,  0,
				       0,    0,	   3,	 0,    0,    0, 'a', 'b', 'c'};
	struct amp_rpmsg_tx tx;

	(void)state;
	rig_init(4, 512, 512, false);
	rig_open(&rig.host, 0, 0x14, NULL);
	rig_open(&rig.remote, 0, 0x14, NULL);
	rig_up();
	memset(rig.up.pool, 0xee, 4 * 512);
	memset(rig.down.pool, 0xee, 4 * 512);
	for (unsigned way = 0; way < 2; way++) {
		struct rig_side *from = way ? &rig.host : &rig.remote;

		assert_int_equal(amp_rpmsg_reserve(&from->bus, &tx), 0);
		assert_int_equal((uintptr_t)tx.data & 3, 0);
		assert_int_equal(tx.room, 496);
		memcpy(tx.data, "abc", 3);
		amp_rpmsg_commit(&from->bus, &tx, 0x01020304, 0x14, 3);
	}
	assert_memory_equal(rig.up.pool, want, sizeof(want));
	assert_memory_equal(rig.down.pool, want, sizeof(want));
	/* as Linux: the descriptor carries the length of the message, not of the buffer */
	assert_int_equal(rp_desc(&rig.down)[0].len, sizeof(want));
	assert_int_equal(rp_used(&rig.up)->ring[0].len, sizeof(want));
	all_home();
	assert_int_equal(rig.host.ept[0].got + rig.remote.ept[0].got, 2);
	rig_free();
}

/* A reservation says how much fits (497 bytes do not): nobody cuts a message short. */
static void room_is_what_fits(void **state)
{
	static const struct {
		uint32_t buf_len, room;
	} c[] = {{16, 0},	 {17, 1},	 {512, 496},
		 {65551, 65535}, {65552, 65535}, /* 16 bits of length */
		 {100000, 65535}};
	struct amp_rpmsg_tx tx;

	(void)state;
	for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		rig_init(2, c[i].buf_len, c[i].buf_len, false);
		rig_open(&rig.host, 0, 20, NULL);
		rig_open(&rig.remote, 0, 20, NULL);
		rig_up();
		for (unsigned way = 0; way < 2; way++) {
			struct rig_side *from = way ? &rig.host : &rig.remote;

			assert_int_equal(amp_rpmsg_reserve(&from->bus, &tx), 0);
			assert_int_equal(tx.room, c[i].room);
			memset(tx.data, 1, tx.room);
			amp_rpmsg_commit(&from->bus, &tx, 1, 20, tx.room);
			assert_int_equal(rig_settle(), 0);
			assert_int_equal(rig_other(from)->ept[0].last_len, c[i].room);
		}
		all_home();
		rig_free();
	}
}

/* 50,000 messages each way, whoever runs out of buffers first: all arrive, in order. */
static void flood(void **state)
{
	enum { N = 50000 };

	(void)state;
	for (unsigned k = 0; k < SIZES; k++) {
		uint32_t sent[2] = {0, 0}, rnd = k + 1;

		rig_init((uint16_t)(1u << (k + 1)), sizes[k].up, sizes[k].down, k & 1);
		rig_open(&rig.host, 0, 20, NULL);
		rig_open(&rig.remote, 0, 20, NULL);
		rig.host.on_data = rig.remote.on_data = in_sequence;
		rig_up();
		while (rig.host.ept[0].got < N || rig.remote.ept[0].got < N) {
			struct rig_side *s = rp_rand(&rnd) & 1 ? &rig.host : &rig.remote;
			unsigned me = s == &rig.host, burst = rp_rand(&rnd) % 12;

			while (burst-- && sent[me] < N) {
				uint32_t len = rp_rand(&rnd) % 61;

				if (burst == 7)
					len = room_of(s);
				if (rig_send(s, 20, 20, len, sent[me]) == 0)
					sent[me]++;
			}
			assert_true(amp_rpmsg_run(&s->bus, rp_rand(&rnd) % 8) >= 0);
		}
		all_home();
		assert_int_equal(rig.host.ept[0].got, N);
		assert_int_equal(rig.remote.ept[0].got, N);
		assert_int_equal(rig.host.bus.stats.tx_messages, N);
		assert_int_equal(rig.host.bus.stats.rx_messages, N);
		rig_free();
	}
}

/* ---- who is called, and how often ---- */

/* The owner's way out: both queues are asked, once. */
static unsigned kicks(struct rig_side *s)
{
	return (unsigned)amp_vq_kick_due(s->bus.out) + amp_vq_kick_due(s->bus.in);
}

static void one_kick_a_burst(void **state)
{
	(void)state;
	for (unsigned mode = 0; mode < 4; mode++) {
		struct rig_side *from = mode & 1 ? &rig.host : &rig.remote, *to;

		rig_init(16, 512, 512, mode & 2);
		to = rig_other(from);
		rig_open(to, 0, 20, NULL);
		rig_up();
		(void)kicks(from);
		(void)kicks(to);
		for (unsigned round = 0; round < 1000; round++) {
			assert_false(amp_rpmsg_arm(&to->bus));
			/* asleep: the first burst calls, not each of its messages */
			for (unsigned i = 0; i < 8; i++)
				assert_int_equal(rig_send(from, 1, 20, 16, i), 0);
			assert_int_equal(kicks(from), 1);
			assert_int_equal(kicks(from), 0);
			assert_int_equal(amp_rpmsg_run(&to->bus, 4), 4);
			/* awake: nobody calls, here or there */
			for (unsigned i = 0; i < 8; i++)
				assert_int_equal(rig_send(from, 1, 20, 16, i), 0);
			assert_int_equal(kicks(from), 0);
			assert_int_equal(amp_rpmsg_run(&to->bus, 64), 12);
			/* empty buffers: nobody waits (an event index starts at 0, as if) */
			assert_int_equal(kicks(to), mode == 3 && round == 0);
			assert_int_equal(amp_rpmsg_run(&from->bus, 64), 0);
			assert_int_equal(kicks(from), 0);
		}
		/* what came between the last look and the arming is not lost */
		assert_int_equal(rig_send(from, 1, 20, 16, 0), 0);
		assert_true(amp_rpmsg_arm(&to->bus));
		all_home();
		rig_free();
	}
}

/* Who waits for buffers is called when the first comes back, and told once. */
static void starved_is_called_once(void **state)
{
	(void)state;
	for (unsigned mode = 0; mode < 4; mode++) {
		struct rig_side *from = mode & 1 ? &rig.host : &rig.remote, *to;
		struct amp_rpmsg_tx tx;

		rig_init(8, 512, 512, mode & 2);
		to = rig_other(from);
		rig_open(to, 0, 20, NULL);
		rig_up();
		(void)kicks(from);
		(void)kicks(to);
		for (unsigned round = 0; round < 100; round++) {
			assert_true(amp_rpmsg_tx_ready(&from->bus));
			for (unsigned i = 0; i < 8; i++)
				assert_int_equal(rig_send(from, 1, 20, 16, i), 0);
			assert_false(amp_rpmsg_tx_ready(&from->bus));
			from->tx_ready = 0;
			assert_int_equal(amp_rpmsg_run(&from->bus, 8), 0);
			assert_int_equal(from->tx_ready, 0); /* nobody has asked */
			assert_int_equal(amp_rpmsg_reserve(&from->bus, &tx), -EAGAIN);
			assert_int_equal(amp_rpmsg_run(&from->bus, 8), 0);
			assert_int_equal(from->tx_ready, 0);
			assert_false(amp_rpmsg_arm(&from->bus));
			assert_int_equal(amp_rpmsg_run(&to->bus, 8), 8);
			assert_int_equal(kicks(to), 1);
			assert_int_equal(amp_rpmsg_run(&from->bus, 8), 0);
			assert_int_equal(amp_rpmsg_run(&from->bus, 8), 0);
			assert_int_equal(from->tx_ready, 1);
			/* and nobody waits any more */
			for (unsigned i = 0; i < 4; i++)
				assert_int_equal(rig_send(from, 1, 20, 16, i), 0);
			assert_int_equal(amp_rpmsg_run(&to->bus, 8), 4);
			assert_int_equal(kicks(to), 0);
		}
		all_home();
		rig_free();
	}
}

static void stop_after_one(struct rig_side *s, struct rig_ept *e, const struct amp_rpmsg_rx *rx)
{
	(void)e;
	(void)rx;
	s->bus.enough = true;
}

static void enough_is_enough(void **state)
{
	(void)state;
	rig_init(8, 512, 512, false);
	rig_open(&rig.host, 0, 20, NULL);
	rig_up();
	rig.host.on_data = stop_after_one;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(rig_send(&rig.remote, 1, 20, 4, i), 0);
	assert_int_equal(amp_rpmsg_run(&rig.host.bus, 0), 0);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(amp_rpmsg_arm(&rig.host.bus));
		assert_int_equal(amp_rpmsg_run(&rig.host.bus, 64), 1);
		assert_int_equal(rig.host.ept[0].got, i + 1);
	}
	assert_int_equal(amp_rpmsg_run(&rig.host.bus, 64), 0);
	all_home();
	rig_free();
}

/* ---- addresses ---- */

/* OpenAMP hands out addresses twice after 128 endpoints. */
static void addresses_go_round(void **state)
{
	enum { N = 300 };
	static struct amp_rpmsg_ept e[N], fixed[3];
	static bool used[AMP_RPMSG_DYNAMIC + 4 * N];
	struct amp_rpmsg *bus;

	(void)state;
	rig_init(4, 512, 512, false);
	bus = &rig.remote.bus;
	memset(used, 0, sizeof(used));
	/* in the way */
	assert_int_equal(amp_rpmsg_open(bus, &fixed[0], AMP_RPMSG_DYNAMIC + 10), 0);
	assert_int_equal(amp_rpmsg_open(bus, &fixed[1], AMP_RPMSG_DYNAMIC), 0);
	used[AMP_RPMSG_DYNAMIC + 10] = used[AMP_RPMSG_DYNAMIC] = true;
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < N; i++) {
			assert_int_equal(amp_rpmsg_open(bus, &e[i], AMP_RPMSG_ADDR_ANY), 0);
			assert_true(e[i].addr >= AMP_RPMSG_DYNAMIC &&
				    e[i].addr < sizeof(used) / sizeof(used[0]));
			assert_false(used[e[i].addr]);
			used[e[i].addr] = true;
			assert_ptr_equal(amp_rpmsg_find(bus, e[i].addr), &e[i]);
		}
		/* all closed: the next round gets none of the addresses just freed */
		for (unsigned i = 0; i < N; i++) {
			assert_true(amp_rpmsg_close(bus, &e[i]));
			assert_null(amp_rpmsg_find(bus, e[i].addr));
		}
	}
	/* at the end of the numbers: never 2^32 - 1, nor one that is taken */
	bus->next_addr = AMP_RPMSG_ADDR_ANY - 2u;
	assert_int_equal(amp_rpmsg_open(bus, &fixed[2], AMP_RPMSG_ADDR_ANY - 1u), 0);
	assert_int_equal(amp_rpmsg_open(bus, &e[0], AMP_RPMSG_ADDR_ANY), 0);
	assert_int_equal(e[0].addr, AMP_RPMSG_ADDR_ANY - 2u);
	assert_int_equal(amp_rpmsg_open(bus, &e[1], AMP_RPMSG_ADDR_ANY), 0);
	assert_int_equal(e[1].addr, AMP_RPMSG_DYNAMIC + 1u);
	assert_int_equal(amp_rpmsg_open(bus, &e[2], AMP_RPMSG_DYNAMIC + 1u), -EADDRINUSE);
	rig_free();
}

static void addresses_that_are_refused(void **state)
{
	static const char longest[] = "0123456789012345678901234567890",
			  longer[] = "01234567890123456789012345678901";
	struct amp_rpmsg_named e;
	struct amp_rpmsg_ept f;

	(void)state;
	rig_init(4, 512, 512, false);
	rig_up();
	assert_int_equal(amp_rpmsg_open_named(&rig.host.bus, &e, AMP_RPMSG_NS_ADDR, NULL),
			 -EINVAL);
	assert_int_equal(amp_rpmsg_open_named(&rig.host.bus, &e, 20, ""), -EINVAL);
	assert_int_equal(amp_rpmsg_open_named(&rig.host.bus, &e, 20, longer), -EINVAL);
	assert_null(amp_rpmsg_find(&rig.host.bus, 20));
	/* whatever was in the struct */
	memset(&e, 0xff, sizeof(e));
	assert_int_equal(amp_rpmsg_open_named(&rig.host.bus, &e, 20, NULL), 0);
	assert_true(amp_rpmsg_close(&rig.host.bus, &e.ept));
	assert_int_equal(amp_rpmsg_open_named(&rig.host.bus, &e, 0, longest), 0);
	assert_int_equal(amp_rpmsg_open(&rig.host.bus, &f, 0), -EADDRINUSE);
	all_home();
	assert_int_equal(rig.remote.seen_cnt, 1);
	assert_string_equal(rig.remote.seen[0].name, longest);
	assert_int_equal(rig.remote.seen[0].addr, 0);
	rig_free();
}

/* ---- name service ---- */

static const struct rig_name *seen(const struct rig_side *s, unsigned i)
{
	assert_true(i < s->seen_cnt);
	return &s->seen[i];
}

static void announced_both_ways(void **state)
{
	(void)state;
	for (unsigned way = 0; way < 2; way++) {
		struct rig_side *s, *o;

		rig_init(4, 512, 512, false);
		s = way ? &rig.host : &rig.remote;
		o = rig_other(s);
		/* before the link, in its order; without a name: nobody's business */
		rig_open(s, 0, AMP_RPMSG_ADDR_ANY, "first");
		rig_open(s, 1, AMP_RPMSG_ADDR_ANY, NULL);
		assert_int_equal(amp_rpmsg_run(&s->bus, 8), 0);
		rig_up();
		all_home();
		assert_int_equal(o->seen_cnt, 1);
		assert_string_equal(seen(o, 0)->name, "first");
		assert_int_equal(seen(o, 0)->addr, s->ept[0].e.ept.addr);
		assert_false(seen(o, 0)->withdrawn);
		/* with the link up */
		rig_open(s, 2, 77, "second");
		all_home();
		assert_string_equal(seen(o, 1)->name, "second");
		assert_int_equal(seen(o, 1)->addr, 77);
		/* withdrawn, and its address is free at once; the order says who is who */
		assert_false(amp_rpmsg_close(&s->bus, &s->ept[2].e.ept));
		rig_open(s, 3, 77, "third");
		assert_int_equal(s->ept[2].gone, 0);
		all_home();
		assert_int_equal(s->ept[2].gone, 1);
		assert_string_equal(seen(o, 2)->name, "second");
		assert_int_equal(seen(o, 2)->addr, 77);
		assert_true(seen(o, 2)->withdrawn);
		assert_string_equal(seen(o, 3)->name, "third");
		assert_false(seen(o, 3)->withdrawn);
		/* never announced: nothing to withdraw */
		rig_open(s, 4, 78, "fourth");
		rig_open(s, 5, 79, "fifth");
		assert_true(amp_rpmsg_close(&s->bus, &s->ept[4].e.ept));
		assert_true(amp_rpmsg_close(&s->bus, &s->ept[1].e.ept));
		all_home();
		assert_int_equal(o->seen_cnt, 5);
		assert_string_equal(seen(o, 4)->name, "fifth");
		assert_int_equal(s->seen_cnt, 0);
		rig_free();
	}
}

static void announced_in_order_of_opening(void **state)
{
	static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};

	(void)state;
	rig_init(2, 512, 512, false);
	/* all in one bucket */
	for (unsigned i = 0; i < RIG_EPTS; i++)
		rig_open(&rig.remote, i, 100 - 4 * i, names[i]);
	rig_up();
	all_home();
	for (unsigned i = 0; i < RIG_EPTS; i++)
		assert_string_equal(seen(&rig.host, i)->name, names[i]);
	rig_free();
}

static void announced_again_after_restart(void **state)
{
	(void)state;
	rig_init(4, 512, 512, false);
	rig_open(&rig.remote, 0, AMP_RPMSG_ADDR_ANY, "echo");
	rig_open(&rig.host, 0, AMP_RPMSG_ADDR_ANY, "host");
	for (unsigned life = 1; life <= 5; life++) {
		rig_up();
		all_home();
		assert_int_equal(rig.host.seen_cnt, life);
		assert_int_equal(rig.remote.seen_cnt, life);
		if (life & 1)
			rig_down(); /* else up comes without it: the same */
	}
	/* closed while it was down, or with the withdrawal on its way: gone, and no more said */
	rig_up();
	assert_int_equal(rig_settle(), 0);
	assert_false(amp_rpmsg_close(&rig.remote.bus, &rig.remote.ept[0].e.ept));
	rig_down();
	assert_int_equal(rig.remote.ept[0].gone, 1);
	assert_true(amp_rpmsg_close(&rig.host.bus, &rig.host.ept[0].e.ept));
	rig_up();
	all_home();
	assert_int_equal(rig.host.seen_cnt, 6);
	assert_int_equal(rig.remote.seen_cnt, 6);
	rig_free();
}

static void nothing_announced_without_ns(void **state)
{
	(void)state;
	rig_init(4, 512, 512, false);
	rig.ns = false;
	rig_open(&rig.remote, 0, 20, "before");
	rig_up();
	rig_open(&rig.remote, 1, 21, "after");
	all_home();
	assert_int_equal(rig.remote.bus.stats.tx_messages, 0);
	assert_int_equal(rig.host.seen_cnt, 0);
	assert_true(amp_rpmsg_close(&rig.remote.bus, &rig.remote.ept[0].e.ept));
	/* nor withdrawn, when it was announced to an earlier host */
	rig.ns = true;
	rig_up();
	assert_int_equal(rig_settle(), 0);
	assert_int_equal(rig.remote.ept[1].e.ept.ns, AMP_RPMSG_TOLD);
	rig.ns = false;
	rig_up();
	assert_true(amp_rpmsg_close(&rig.remote.bus, &rig.remote.ept[1].e.ept));
	/* and an announcement is a message to nobody */
	assert_int_equal(rig_send(&rig.host, 1, AMP_RPMSG_NS_ADDR, 40, 1), 0);
	all_home();
	assert_int_equal(rig.remote.bus.stats.rx_nobody, 1);
	assert_int_equal(rig.remote.bus.stats.rx_bad, 0);
	rig_free();
}

/* Senders that take every buffer there is: announcements get theirs all the same. */
static void announcements_do_not_starve(void **state)
{
	(void)state;
	for (unsigned way = 0; way < 2; way++) {
		struct rig_side *s, *o;

		rig_init(4, 512, 512, false);
		s = way ? &rig.host : &rig.remote;
		o = rig_other(s);
		rig_open(o, 0, 20, NULL);
		rig_up();
		for (unsigned round = 0; round < 100; round++) {
			rig_open(s, round & 1, 30, "late");
			while (rig_send(s, 1, 20, 8, 0) == 0)
				;
			assert_int_equal(amp_rpmsg_run(&s->bus, 8), 0); /* finds none */
			assert_int_equal(amp_rpmsg_run(&o->bus, 1), 1);
			assert_false(amp_rpmsg_tx_ready(&s->bus));
			assert_int_equal(rig_send(s, 1, 20, 8, 0), -EAGAIN);
			assert_int_equal(amp_rpmsg_run(&s->bus, 8), 0);
			assert_int_equal(s->ept[round & 1].e.ept.ns, AMP_RPMSG_TOLD);
			assert_int_equal(rig_settle(), 0);
			assert_int_equal(o->seen_cnt, 2 * round + 1);
			/* its withdrawal just the same */
			while (rig_send(s, 1, 20, 8, 0) == 0)
				;
			assert_false(amp_rpmsg_close(&s->bus, &s->ept[round & 1].e.ept));
			assert_int_equal(amp_rpmsg_run(&s->bus, 8), 0);
			assert_int_equal(amp_rpmsg_run(&o->bus, 1), 1);
			assert_int_equal(rig_send(s, 1, 20, 8, 0), -EAGAIN);
			assert_int_equal(amp_rpmsg_run(&s->bus, 8), 0);
			assert_int_equal(s->ept[round & 1].gone, round / 2 + 1);
			assert_int_equal(rig_settle(), 0);
		}
		assert_true(s->tx_ready > 0);
		all_home();
		rig_free();
	}
}

static void name_service_messages(void **state)
{
	static const struct {
		const char *name;
		uint32_t addr, flags, len;
		unsigned services, bad;
		bool withdrawn;
	} c[] = {
		{"good", 1, 0, 40, 1, 0, false},
		{"good", 1, 1, 40, 1, 0, true},
		{"NuttX asks for an answer", 1, 2, 40, 1, 0, false},
		{"flags of the future", 1, 0xfffffffeu, 40, 1, 0, false},
		{"flags of the future", 1, 0xffffffffu, 40, 1, 0, true},
		{"longer than it need be", 1, 0, 56, 1, 0, false},
		{"short", 1, 0, 39, 0, 1, false},
		{"", 1, 0, 0, 0, 1, false},
		{"", 1, 0, 40, 0, 1, false},
		{"thirty-two characters and no nul", 1, 0, 40, 0, 1, false},
		{"nowhere", AMP_RPMSG_ADDR_ANY, 0, 40, 0, 1, false},
	};

	(void)state;
	for (unsigned way = 0; way < 2; way++) {
		struct rig_side *s, *o;

		rig_init(2, 512, 512, false);
		s = way ? &rig.host : &rig.remote;
		o = rig_other(s);
		rig_up();
		for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
			uint32_t bad = o->bus.stats.rx_bad;
			unsigned was = o->seen_cnt;
			struct amp_rpmsg_tx tx;

			assert_int_equal(amp_rpmsg_reserve(&s->bus, &tx), 0);
			memset(tx.data, 0x55, 56);
			memset(tx.data, 0, 32);
			memcpy(tx.data, c[i].name, strlen(c[i].name));
			amp_put_le32(tx.data + 32, c[i].addr);
			amp_put_le32(tx.data + 36, c[i].flags);
			amp_rpmsg_commit(&s->bus, &tx, 9, AMP_RPMSG_NS_ADDR, c[i].len);
			all_home();
			assert_int_equal(o->seen_cnt - was, c[i].services);
			assert_int_equal(o->bus.stats.rx_bad - bad, c[i].bad);
			if (!c[i].services) {
				assert_non_null(o->bus.why);
				continue;
			}
			assert_string_equal(seen(o, was)->name, c[i].name);
			assert_int_equal(seen(o, was)->addr, c[i].addr);
			assert_int_equal(seen(o, was)->withdrawn, c[i].withdrawn);
		}
		rig_free();
	}
}

static void nobody_listens_to_names(void **state)
{
	struct amp_rpmsg_ops deaf = rig_ops;

	(void)state;
	rig_init(2, 512, 512, false);
	deaf.service = NULL;
	deaf.tx_ready = NULL;
	rig.host.bus.ops = &deaf;
	rig_open(&rig.remote, 0, 20, "x");
	rig_up();
	all_home();
	assert_int_equal(rig.host.bus.stats.ns_ignored, 1);
	assert_int_equal(rig.host.bus.stats.rx_bad, 0);
	while (rig_send(&rig.host, 1, 20, 8, 0) == 0)
		;
	all_home(); /* tx_ready is NULL, too */
	rig_free();
}

static void messages_to_nobody(void **state)
{
	(void)state;
	rig_init(4, 512, 512, false);
	rig_open(&rig.host, 0, 20, NULL);
	rig_up();
	for (uint32_t dst = 0; dst < 100; dst++) {
		if (dst != 20 && dst != AMP_RPMSG_NS_ADDR)
			assert_int_equal(rig_send(&rig.remote, 1, dst, 40, 0), 0);
		all_home();
	}
	assert_int_equal(rig_send(&rig.remote, 1, AMP_RPMSG_ADDR_ANY, 40, 0), 0);
	all_home();
	assert_int_equal(rig.host.bus.stats.rx_nobody, 99);
	assert_int_equal(rig.host.bus.stats.rx_bad, 0);
	assert_int_equal(rig.host.ept[0].got, 0);
	/* closed: nobody from the next message on */
	assert_int_equal(rig_send(&rig.remote, 1, 20, 4, 0), 0);
	assert_true(amp_rpmsg_close(&rig.host.bus, &rig.host.ept[0].e.ept));
	all_home();
	assert_int_equal(rig.host.ept[0].got, 0);
	assert_int_equal(rig.host.bus.stats.rx_nobody, 100);
	rig_free();
}

/* ---- buffers that are held, reserved, given back ---- */

static void release_all(struct rig_side *s)
{
	for (unsigned i = 0; i < s->held_cnt; i++)
		amp_rpmsg_release(&s->bus, s->held[i]);
	s->held_cnt = 0;
}

/* A ring of one: what is held is all there is, but it can be held. */
static void only_one_is_held(void **state)
{
	(void)state;
	rig_init(1, 512, 512, false);
	rig_open(&rig.host, 0, 20, NULL);
	rig.host.ept[0].hold = true;
	rig_up();
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(rig_send(&rig.remote, 1, 20, 8, i), 0);
		assert_int_equal(rig_settle(), 0);
		assert_int_equal(rig.host.bus.held_cnt, 1);
		assert_int_equal(rig_send(&rig.remote, 1, 20, 8, i), -EAGAIN);
		release_all(&rig.host);
	}
	all_home();
	rig_free();
}

/* One endpoint holds all that it may: everybody else's messages go on. */
static void holder_leaves_a_reserve(void **state)
{
	static const uint16_t nums[] = {2, 4, 8, 16, 32}, most[] = {1, 3, 6, 12, 24};

	(void)state;
	for (unsigned k = 0; k < 10; k++) {
		struct rig_side *s, *o;

		rig_init(nums[k / 2], 512, 512, k & 2);
		s = k & 1 ? &rig.host : &rig.remote;
		o = rig_other(s);
		rig_open(s, 0, 20, NULL);
		rig_open(s, 1, 21, NULL);
		s->ept[0].hold = true;
		rig_up();
		for (unsigned i = 0; i < 40; i++) {
			assert_int_equal(rig_send(o, 1, 20, 8, i), 0);
			assert_int_equal(rig_settle(), 0);
		}
		assert_int_equal(s->bus.held_cnt, most[k / 2]);
		assert_int_equal(amp_rpmsg_may_hold(&s->bus), false);
		for (unsigned i = 0; i < 200; i++) {
			assert_int_equal(rig_send(o, 1, 21, 8, i), 0);
			assert_int_equal(rig_settle(), 0);
		}
		assert_int_equal(s->ept[1].got, 200);
		release_all(s);
		all_home();
		rig_free();
	}
	for (unsigned n = 1; n <= 1024; n++)
		assert_in_range(amp_rpmsg_hold(n), 1, n == 1 ? 1 : n - 1);
}

/* What is held stays as it is until it is released. */
static void held_is_not_overwritten(void **state)
{
	static const uint8_t *kept[3];
	uint32_t n = 0;

	(void)state;
	rig_init(4, 512, 512, false);
	rig_open(&rig.host, 0, 20, NULL);
	rig_open(&rig.host, 1, 21, NULL);
	rig.host.ept[0].hold = true;
	rig_up();
	for (; n < 3; n++) {
		assert_int_equal(rig_send(&rig.remote, 1, 20, 100, n), 0);
		assert_int_equal(rig_settle(), 0);
		kept[n] = rig.up.pool + (rig.host.held[n] & 0xffff) * 512 + 16;
	}
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(rig_send(&rig.remote, 1, 21, 100, 1000 + i), 0);
		assert_int_equal(rig_settle(), 0);
	}
	while (n--)
		assert_true(rig_is(kept[n], 100, n));
	release_all(&rig.host);
	all_home();
	rig_free();
}

/*
 * A remote gives the host's buffers back with their descriptors' length, not with the 0 bytes
 * that it wrote: OpenAMP's host takes the used length for the room in the buffer.
 */
static void buffers_come_back_whole(void **state)
{
	static const uint32_t dst[] = {20, 99, 21}; /* read, for nobody, held */
	uint16_t id[3];

	(void)state;
	rig_init(4, 512, 512, false);
	rig_open(&rig.remote, 0, 20, NULL);
	rig_open(&rig.remote, 1, 21, NULL);
	rig.remote.ept[1].hold = true;
	rig_up();
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(rig_send(&rig.host, 1, dst[i], 8, i), 0);
		id[i] = rp_avail(&rig.down)->ring[i];
		rp_desc(&rig.down)[id[i]].len = 512; /* as that host has it */
		assert_int_equal(rig_settle(), 0);
	}
	assert_int_equal(rig.remote.held_cnt, 1);
	release_all(&rig.remote);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(rp_used(&rig.down)->ring[i].id, id[i]);
		assert_int_equal(rp_used(&rig.down)->ring[i].len, 512);
	}
	all_home();
	rig_free();
}

/* Released, committed or cancelled in another life of the link: as if it had not been. */
static void stale_ids_are_harmless(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 12; k++) {
		struct rig_side *s, *o;
		struct amp_rpmsg_tx tx;

		rig_init(4, 512, 512, k & 2);
		s = k & 1 ? &rig.host : &rig.remote;
		o = rig_other(s);
		rig_open(s, 0, 20, NULL);
		rig_open(o, 0, 20, NULL);
		s->ept[0].hold = true;
		rig_up();
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(rig_send(o, 1, 20, 8, i), 0);
		assert_int_equal(rig_settle(), 0);
		assert_int_equal(s->bus.held_cnt, 3);
		assert_int_equal(amp_rpmsg_reserve(&s->bus, &tx), 0);
		rig_down();
		assert_int_equal(amp_rpmsg_reserve(&s->bus, &tx), -ENETDOWN);
		s->ept[0].hold = false;
		if (k >= 4) {
			rig_up();
			assert_int_equal(s->bus.held_cnt, 0);
		}
		if (k >= 8) /* and somebody else holds the same buffers now */
			for (unsigned i = 0; i < 3; i++) {
				struct amp_rpmsg_tx t;

				assert_int_equal(amp_rpmsg_reserve(&s->bus, &t), 0);
				amp_rpmsg_commit(&s->bus, &t, 1, 20, 0);
			}
		release_all(s);
		amp_rpmsg_commit(&s->bus, &tx, 1, 20, 4);
		amp_rpmsg_cancel(&s->bus, &tx);
		if (k < 4)
			rig_up();
		assert_int_equal(s->bus.held_cnt, 0);
		all_home();
		assert_int_equal(o->ept[0].got, k >= 8 ? 3 : 0);
		for (unsigned i = 0; i < 50; i++) {
			assert_int_equal(rig_send(o, 1, 20, 8, i), 0);
			assert_int_equal(rig_send(s, 1, 20, 8, i), 0);
			all_home();
		}
		rig_free();
	}
}

static void cancel_gives_back(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 4; k++) {
		struct amp_rpmsg_tx tx[4], more;
		struct rig_side *s, *o;

		rig_init(4, 512, 512, k & 2);
		s = k & 1 ? &rig.host : &rig.remote;
		o = rig_other(s);
		rig_open(o, 0, 20, NULL);
		o->on_data = in_sequence;
		rig_up();
		for (unsigned i = 0; i < 100; i++) {
			/* the last first: nobody hears of it */
			for (unsigned n = 0; n < 4; n++)
				assert_int_equal(amp_rpmsg_reserve(&s->bus, &tx[n]), 0);
			assert_int_equal(amp_rpmsg_reserve(&s->bus, &more), -EAGAIN);
			for (unsigned n = 4; n-- > 0;)
				amp_rpmsg_cancel(&s->bus, &tx[n]);
			assert_int_equal(amp_vq_avail(s->bus.out), 4);
			/* in between: no message either, and nobody takes it for a lie */
			for (unsigned n = 0; n < 4; n++)
				assert_int_equal(amp_rpmsg_reserve(&s->bus, &tx[n]), 0);
			rig_fill(tx[1].data, 20, 2 * i);
			rig_fill(tx[3].data, 20, 2 * i + 1);
			memset(tx[2].data - AMP_RPMSG_HDR_LEN, 0xff, AMP_RPMSG_HDR_LEN);
			amp_rpmsg_commit(&s->bus, &tx[1], 1, 20, 20);
			amp_rpmsg_cancel(&s->bus, &tx[0]);
			amp_rpmsg_cancel(&s->bus, &tx[2]);
			amp_rpmsg_commit(&s->bus, &tx[3], 1, 20, 20);
			all_home();
			assert_int_equal(o->ept[0].got, 2 * i + 2);
		}
		assert_int_equal(o->bus.stats.rx_bad + o->bus.stats.rx_nobody, 0);
		assert_int_equal(o->bus.stats.rx_messages, 200);
		rig_free();
	}
}

/* A driver that does not look at used lengths finds a message to nobody, not an old one. */
static void cancelled_is_no_old_message(void **state)
{
	struct amp_rpmsg_tx tx[2];

	(void)state;
	rig_init(2, 512, 512, false);
	rig_up();
	assert_int_equal(amp_rpmsg_reserve(&rig.remote.bus, &tx[0]), 0);
	assert_int_equal(amp_rpmsg_reserve(&rig.remote.bus, &tx[1]), 0);
	memset(rig.up.pool, 0x01, 2 * 512);
	amp_rpmsg_cancel(&rig.remote.bus, &tx[0]);
	assert_int_equal(rp_used(&rig.up)->idx, 1);
	assert_int_equal(rp_used(&rig.up)->ring[0].len, 0);
	assert_int_equal(amp_le32(tx[0].data - 12), AMP_RPMSG_ADDR_ANY);
	assert_int_equal(amp_le16(tx[0].data - 4), 0);
	rig_free();
}

/* ---- hooks that do what hooks may do ---- */

static void close_myself(struct rig_side *s, struct rig_ept *e, const struct amp_rpmsg_rx *rx)
{
	(void)rx;
	e->open = !amp_rpmsg_close(&s->bus, &e->e.ept);
	if (e->open)
		return;
	memset(&e->e, 0xa5, sizeof(e->e)); /* the owner's again, at once */
	rig_open(s, 1, 20, "heir");
}

static void open_again(struct rig_side *s, struct rig_ept *e)
{
	rig_open(s, (unsigned)(e - s->ept), 20, "again");
}

static void answer_name(struct rig_side *s, const char *name, uint32_t addr, bool gone)
{
	(void)name;
	if (!gone)
		assert_int_equal(rig_send(s, 5, addr, 4, 0), 0);
}

static void hooks_call_back(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		struct rig_side *s, *o;

		rig_init(8, 512, 512, false);
		s = k ? &rig.host : &rig.remote;
		o = rig_other(s);
		/* closed while its own message is delivered */
		s->on_data = close_myself;
		rig_open(s, 0, 20, NULL);
		rig_up();
		assert_int_equal(rig_send(o, 1, 20, 4, 0), 0);
		assert_int_equal(rig_send(o, 1, 20, 4, 0), 0);
		assert_int_equal(rig_settle(), 0);
		assert_int_equal(s->ept[0].got, 1);
		assert_int_equal(s->ept[1].got, 1);
		assert_int_equal(s->ept[1].gone, 0); /* never announced, and opened anew */
		assert_int_equal(s->ept[1].e.ept.ns, AMP_RPMSG_TOLD);
		s->on_data = NULL;
		assert_false(amp_rpmsg_close(&s->bus, &s->ept[1].e.ept));
		all_home();
		assert_int_equal(s->ept[1].gone, 1);
		/* opened anew as it goes, also when the link does */
		s->on_gone = open_again;
		o->on_service = answer_name;
		rig_open(s, 2, 20, "x");
		all_home();
		assert_false(amp_rpmsg_close(&s->bus, &s->ept[2].e.ept));
		all_home();
		assert_int_equal(s->ept[2].gone, 1);
		assert_int_equal(s->ept[2].e.ept.ns, AMP_RPMSG_TOLD);
		assert_false(amp_rpmsg_close(&s->bus, &s->ept[2].e.ept));
		rig_down();
		assert_int_equal(s->ept[2].gone, 2);
		assert_int_not_equal(s->ept[2].e.ept.ns, AMP_RPMSG_TOLD);
		rig_up();
		all_home();
		assert_int_equal(s->ept[2].e.ept.ns, AMP_RPMSG_TOLD);
		assert_int_equal(s->ept[2].got, 3); /* the answers */
		rig_free();
	}
}

static void nothing_while_down(void **state)
{
	struct amp_rpmsg_tx tx;

	(void)state;
	rig_init(2, 512, 512, false);
	assert_int_equal(amp_rpmsg_run(&rig.host.bus, 8), 0);
	assert_false(amp_rpmsg_arm(&rig.host.bus));
	assert_false(amp_rpmsg_tx_ready(&rig.host.bus));
	assert_int_equal(amp_rpmsg_reserve(&rig.host.bus, &tx), -ENETDOWN);
	rig_open(&rig.host, 0, 20, "name");
	assert_true(amp_rpmsg_close(&rig.host.bus, &rig.host.ept[0].e.ept));
	rig_up();
	assert_int_equal(amp_rpmsg_reserve(&rig.host.bus, &tx), 0);
	/* however often */
	for (unsigned i = 0; i < 70000; i++) {
		amp_rpmsg_down(&rig.host.bus);
		amp_rpmsg_release(&rig.host.bus, tx.id);
		amp_rpmsg_commit(&rig.host.bus, &tx, 1, 2, 4);
		amp_rpmsg_cancel(&rig.host.bus, &tx);
	}
	rig_free();
}

/* ---- restarts ---- */

/* A random life: everything that an owner does. */
static void live(uint32_t *rnd, unsigned steps)
{
	struct amp_rpmsg_tx tx[2];
	bool has[2] = {false, false};

	while (steps--) {
		unsigned me = rp_rand(rnd) & 1;
		struct rig_side *s = me ? &rig.host : &rig.remote;
		struct rig_ept *e = &s->ept[rp_rand(rnd) % RIG_EPTS];

		switch (rp_rand(rnd) % 8) {
		case 0:
			if (!e->open)
				rig_open(s, (unsigned)(e - s->ept), AMP_RPMSG_ADDR_ANY,
					 rp_rand(rnd) & 1 ? "svc" : NULL);
			else if (!s->bus.owed && amp_rpmsg_close(&s->bus, &e->e.ept))
				e->open = false;
			break;
		case 1:
			e->hold = rp_rand(rnd) & 1;
			break;
		case 2:
			release_all(s);
			break;
		case 3:
			if (has[me])
				amp_rpmsg_commit(&s->bus, &tx[me], 1,
						 rig_other(s)->ept[0].e.ept.addr, 4);
			has[me] = !has[me] && amp_rpmsg_reserve(&s->bus, &tx[me]) == 0;
			break;
		case 4:
			assert_true(amp_rpmsg_run(&s->bus, rp_rand(rnd) % 5) >= 0);
			break;
		default:
			(void)rig_send(s, e->e.ept.addr,
				       rig_other(s)->ept[rp_rand(rnd) % RIG_EPTS].e.ept.addr,
				       rp_rand(rnd) % 32, 0);
			break;
		}
	}
	for (unsigned me = 0; me < 2; me++)
		if (has[me])
			amp_rpmsg_cancel(me ? &rig.host.bus : &rig.remote.bus, &tx[me]);
}

/* Up and down, in the middle of anything: no buffer lost, no announcement either. */
static void thousand_lives(void **state)
{
	uint32_t rnd = 7;

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		rig_init(8, 512, 2048, k);
		rig_open(&rig.remote, 0, 20, "always");
		rig_open(&rig.host, 0, 20, "there");
		rig_open(&rig.remote, 1, 21, NULL);
		rig_open(&rig.host, 1, 21, NULL);
		for (unsigned round = 0; round < 1000; round++) {
			rig_up();
			assert_int_equal(amp_vq_avail(&rig.up.dev), 8);
			assert_int_equal(amp_vq_avail(&rig.down.drv), 8);
			live(&rnd, rp_rand(&rnd) % 100);
			if (round & 1) {
				for (unsigned i = 0; i < RIG_EPTS; i++)
					rig.host.ept[i].hold = rig.remote.ept[i].hold = false;
				release_all(&rig.host); /* some of it is stale */
				release_all(&rig.remote);
				rig.host.seen_cnt = rig.remote.seen_cnt = 0;
				all_home();
			}
			/* else: cut short, with messages, held buffers and debts */
			rig_down();
		}
		/* a life without incidents: each of them is announced, once */
		rig.host.seen_cnt = rig.remote.seen_cnt = 0;
		rig.host.held_cnt = rig.remote.held_cnt = 0;
		rig_up();
		all_home();
		for (unsigned way = 0; way < 2; way++) {
			struct rig_side *s = way ? &rig.host : &rig.remote;
			unsigned named = 0;

			for (unsigned i = 0; i < RIG_EPTS; i++)
				named += s->ept[i].open && s->ept[i].e.name;
			assert_int_equal(rig_other(s)->seen_cnt, named);
		}
		assert_int_equal(rig.host.bus.stats.rx_bad + rig.remote.bus.stats.rx_bad, 0);
		rig_free();
	}
}

/*
 * State of ours in shared buffers would be the peer's to change: whoever has a buffer may
 * write it full, nothing comes of it.
 */
static void buffers_hold_no_state(void **state)
{
	(void)state;
	rig_init(4, 512, 512, false);
	rig_open(&rig.host, 0, 20, NULL);
	rig_open(&rig.remote, 0, 20, NULL);
	rig_up();
	for (unsigned i = 0; i < 500; i++) {
		rig.host.ept[0].hold = rig.remote.ept[0].hold = i % 3 == 0;
		assert_int_equal(rig_send(&rig.host, 1, 20, 16, i), 0);
		assert_int_equal(rig_send(&rig.remote, 1, 20, 16, i), 0);
		assert_int_equal(rig_settle(), 0);
		memset(rig.up.pool, (int)i, 4 * 512);
		memset(rig.down.pool, (int)~i, 4 * 512);
		release_all(&rig.host);
		release_all(&rig.remote);
		all_home();
	}
	assert_int_equal(rig.host.ept[0].got, 500);
	assert_int_equal(rig.remote.ept[0].got, 500);
	rig_free();
}
int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_of_every_size),
		cmocka_unit_test(bytes_on_the_wire),
		cmocka_unit_test(room_is_what_fits),
		cmocka_unit_test(flood),
		cmocka_unit_test(one_kick_a_burst),
		cmocka_unit_test(starved_is_called_once),
		cmocka_unit_test(enough_is_enough),
		cmocka_unit_test(addresses_go_round),
		cmocka_unit_test(addresses_that_are_refused),
		cmocka_unit_test(announced_both_ways),
		cmocka_unit_test(announced_in_order_of_opening),
		cmocka_unit_test(announced_again_after_restart),
		cmocka_unit_test(nothing_announced_without_ns),
		cmocka_unit_test(announcements_do_not_starve),
		cmocka_unit_test(name_service_messages),
		cmocka_unit_test(nobody_listens_to_names),
		cmocka_unit_test(messages_to_nobody),
		cmocka_unit_test(only_one_is_held),
		cmocka_unit_test(holder_leaves_a_reserve),
		cmocka_unit_test(held_is_not_overwritten),
		cmocka_unit_test(buffers_come_back_whole),
		cmocka_unit_test(stale_ids_are_harmless),
		cmocka_unit_test(cancel_gives_back),
		cmocka_unit_test(cancelled_is_no_old_message),
		cmocka_unit_test(hooks_call_back),
		cmocka_unit_test(nothing_while_down),
		cmocka_unit_test(thousand_lives),
		cmocka_unit_test(buffers_hold_no_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
