// SPDX-License-Identifier: BSD-3-Clause
// The rpmsg bus against other people's peers, and against liars, in either role.
// timeout: 120
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "rpmsg_rig.h"

#define NUM 4u
#define LEN 512u

/* ---- a peer made by hand ---- */

static uint64_t bus_addr(const struct ringpair *rp, uint32_t off)
{
	return rp->map[0].bus + off;
}

/* Driver: a descriptor, and a chain that starts with it. */
static void describe(struct ringpair *rp, uint16_t slot, uint64_t addr, uint32_t len,
		     uint16_t flags, uint16_t next)
{
	rp_desc(rp)[slot] = (struct vring_desc){addr, len, flags, next};
}

static void offer(struct ringpair *rp, uint16_t head)
{
	rp_avail(rp)->ring[rp_avail(rp)->idx % rp->num] = head;
	rp_avail(rp)->idx++;
}

/* Device: a buffer comes back. */
static void give(struct ringpair *rp, uint32_t id, uint32_t len)
{
	rp_used(rp)->ring[rp_used(rp)->idx % rp->num] = (struct vring_used_elem){id, len};
	rp_used(rp)->idx++;
}

static void header(uint8_t *p, uint32_t src, uint32_t dst, uint16_t len, uint16_t flags)
{
	amp_put_le32(p, src);
	amp_put_le32(p + 4, dst);
	amp_put_le32(p + 8, 0xdeadbeef);
	amp_put_le16(p + 12, len);
	amp_put_le16(p + 14, flags);
}

/* To the remote, in the first buffer of its in queue. */
static void to_remote(uint16_t hdr_len, uint32_t desc_len)
{
	header(rig.down.pool, 1, 20, hdr_len, 0xffff);
	describe(&rig.down, 0, bus_addr(&rig.down, 0), desc_len, 0, 0);
	offer(&rig.down, 0);
}

static void to_host(uint16_t hdr_len, uint32_t used_len)
{
	header(rig.up.pool, 1, 20, hdr_len, 0xffff);
	give(&rig.up, 0, used_len);
}

static void start(void)
{
	rig_init(NUM, LEN, LEN, false);
	rig_open(&rig.host, 0, 20, NULL);
	rig_open(&rig.remote, 0, 20, NULL);
	rig_up();
}

/* ---- peers that are honest in their own way ---- */

/* Linux: descriptors of its messages carry the message's length, to the byte. */
static void lengths_as_linux_writes_them(void **state)
{
	(void)state;
	start();
	for (uint16_t len = 0; len <= 496; len = (uint16_t)(len + 31)) {
		to_remote(len, AMP_RPMSG_HDR_LEN + len);
		assert_int_equal(amp_rpmsg_run(&rig.remote.bus, 8), 1);
		assert_int_equal(rig.remote.ept[0].last_len, len);
	}
	/* others: the buffer's, whatever is in it; reserved and flags are theirs */
	to_remote(3, LEN);
	to_host(3, LEN);
	assert_int_equal(amp_rpmsg_run(&rig.remote.bus, 8), 1);
	assert_int_equal(amp_rpmsg_run(&rig.host.bus, 8), 1);
	assert_int_equal(rig.remote.ept[0].last_len, 3);
	assert_int_equal(rig.host.ept[0].last_len, 3);
	rig_free();
}

/* rpmsg-lite's master has put its buffers into the used ring before we look. */
static void used_ring_that_starts_full(void **state)
{
	(void)state;
	start();
	rig_down();
	for (uint32_t i = 0; i < NUM; i++)
		give(&rig.down, i, LEN);
	assert_int_equal(rp_dev_init(&rig.down, &rig.down_opt, 0), 0);
	amp_rpmsg_up(&rig.remote.bus, &rig.down.dev, &rig.up.dev, true);
	for (uint16_t i = 0; i < 3 * NUM; i++) {
		to_remote(i, LEN);
		assert_int_equal(amp_rpmsg_run(&rig.remote.bus, 8), 1);
		assert_int_equal(rig.remote.ept[0].last_len, i);
		/* the answer goes behind them, not over them */
		assert_int_equal(rp_used(&rig.down)->idx, NUM + i + 1);
		assert_int_equal(rp_used(&rig.down)->ring[(NUM + i) % NUM].id, 0);
		assert_int_equal(rp_used(&rig.down)->ring[(NUM + i) % NUM].len, LEN);
	}
	rig_free();
}

static void last_seq(struct rig_side *s, struct rig_ept *e, const struct amp_rpmsg_rx *rx)
{
	(void)s;
	assert_true(rig_is(rx->data, rx->len, e->want_seq));
}

/* Buffers at any address: what an odd host gives a remote. */
static void buffers_askew(void **state)
{
	(void)state;
	for (uint32_t off = 0; off < 8; off++) {
		uint8_t *p;

		start();
		rig.remote.on_data = last_seq;
		rig.remote.ept[0].want_seq = off;
		p = rig.down.pool + off;
		header(p, 7, 20, 100, 0);
		rig_fill(p + AMP_RPMSG_HDR_LEN, 100, off);
		describe(&rig.down, 0, bus_addr(&rig.down, off), 116, 0, 0);
		offer(&rig.down, 0);
		assert_int_equal(amp_rpmsg_run(&rig.remote.bus, 8), 1);
		assert_int_equal(rig.remote.ept[0].last_src, 7);
		/* and the other way: a message, an announcement */
		describe(&rig.up, 0, bus_addr(&rig.up, off), 116, VRING_DESC_F_WRITE, 0);
		describe(&rig.up, 1, bus_addr(&rig.up, LEN + off), 56, VRING_DESC_F_WRITE, 0);
		assert_int_equal(rig_send(&rig.remote, 8, 9, 100, off), 0);
		rig_open(&rig.remote, 1, 21, "askew");
		assert_int_equal(amp_rpmsg_run(&rig.remote.bus, 8), 0);
		p = rig.up.pool + off;
		assert_int_equal(amp_le32(p), 8);
		assert_int_equal(amp_le32(p + 4), 9);
		assert_int_equal(amp_le32(p + 12), 100);
		assert_true(rig_is(p + AMP_RPMSG_HDR_LEN, 100, off));
		assert_string_equal((char *)p + LEN + AMP_RPMSG_HDR_LEN, "askew");
		rig_free();
	}
}

/* Buffers that end where the shared memory ends: not a byte behind it is looked at. */
static void buffers_at_the_edge(void **state)
{
	(void)state;
	for (uint32_t len = 0; len < 50; len++) {
		uint32_t at = NUM * LEN - AMP_RPMSG_HDR_LEN - len;

		start();
		header(rig.down.pool + at, 7, len & 1 ? 20 : AMP_RPMSG_NS_ADDR, (uint16_t)len,
		       0);
		describe(&rig.down, 0, bus_addr(&rig.down, at), AMP_RPMSG_HDR_LEN + len, 0, 0);
		offer(&rig.down, 0);
		describe(&rig.up, 0, bus_addr(&rig.up, at), AMP_RPMSG_HDR_LEN + len,
			 VRING_DESC_F_WRITE, 0);
		assert_int_equal(amp_rpmsg_run(&rig.remote.bus, 8), 1);
		assert_int_equal(rig_send(&rig.remote, 1, 20, len, 1), 0);
		rig_free();
	}
}

static void scribble(struct rig_side *s, struct rig_ept *e, const struct amp_rpmsg_rx *rx)
{
	uint8_t *hdr = (uint8_t *)rx->data - AMP_RPMSG_HDR_LEN;

	(void)s;
	(void)e;
	memset(hdr, 0xff, AMP_RPMSG_HDR_LEN);
	assert_int_equal(rx->len, 12);
	assert_int_equal(rx->dst, 20);
	assert_int_equal(rx->src, 1);
}

/* A header that changes while it is looked at: what was checked is a copy. */
static void header_that_changes(void **state)
{
	(void)state;
	start();
	rig.remote.on_data = rig.host.on_data = scribble;
	to_remote(12, LEN);
	to_host(12, LEN);
	assert_int_equal(amp_rpmsg_run(&rig.remote.bus, 8), 1);
	assert_int_equal(amp_rpmsg_run(&rig.host.bus, 8), 1);
	assert_int_equal(rig.host.ept[0].got + rig.remote.ept[0].got, 2);
	rig_free();
}

/* ---- liars ---- */

/* The host lies to the remote's in queue. */
static void in_idx_ahead(void)
{
	rp_avail(&rig.down)->idx = NUM + 1;
}
static void in_entry_beyond(void)
{
	offer(&rig.down, NUM);
}
static void in_outside(void)
{
	describe(&rig.down, 0, bus_addr(&rig.down, NUM * LEN - 8), 64, 0, 0);
	offer(&rig.down, 0);
}
static void in_for_writing(void)
{
	describe(&rig.down, 0, bus_addr(&rig.down, 0), 64, VRING_DESC_F_WRITE, 0);
	offer(&rig.down, 0);
}
static void in_loop(void)
{
	describe(&rig.down, 0, bus_addr(&rig.down, 0), 0, VRING_DESC_F_NEXT, 1);
	describe(&rig.down, 1, bus_addr(&rig.down, 0), 0, VRING_DESC_F_NEXT, 0);
	offer(&rig.down, 0);
}
static void in_two_pieces(void)
{
	header(rig.down.pool, 1, 20, 4, 0);
	describe(&rig.down, 0, bus_addr(&rig.down, 0), 16, VRING_DESC_F_NEXT, 1);
	describe(&rig.down, 1, bus_addr(&rig.down, 16), 4, 0, 0);
	offer(&rig.down, 0);
}
static void in_short_15(void)
{
	to_remote(0, 15);
}
static void in_short_1(void)
{
	to_remote(0, 1);
}
static void in_len_ffff(void)
{
	to_remote(0xffff, LEN);
}
static void in_len_one_more(void)
{
	to_remote(497, LEN);
}
static void in_len_one_more_short(void)
{
	to_remote(5, 20);
}

/* The host lies to the remote's out queue, which sends an announcement. */
static void announce(void)
{
	rig_open(&rig.remote, 1, 21, "name");
}
static void out_idx_ahead(void)
{
	rp_avail(&rig.up)->idx = NUM + 1;
	announce();
}
static void out_entry_beyond(void)
{
	rp_avail(&rig.up)->ring[0] = 77;
	announce();
}
static void out_outside(void)
{
	rp_desc(&rig.up)[0].addr += NUM * LEN;
	announce();
}
static void out_for_reading(void)
{
	rp_desc(&rig.up)[0].flags = 0;
	announce();
}
static void out_two_pieces(void)
{
	describe(&rig.up, 0, bus_addr(&rig.up, 0), 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT,
		 1);
	announce();
}
static void out_short_15(void)
{
	rp_desc(&rig.up)[0].len = 15;
	(void)rig_send(&rig.remote, 1, 20, 0, 0);
}
static void out_empty(void)
{
	rp_desc(&rig.up)[0].len = 0;
	(void)rig_send(&rig.remote, 1, 20, 0, 0);
}
static void out_too_short_for_names(void)
{
	rp_desc(&rig.up)[0].len = 55;
	announce();
}

/* The remote lies to the host's in queue. */
static void used_ahead(void)
{
	rp_used(&rig.up)->idx = NUM + 1;
}
static void used_id_beyond(void)
{
	give(&rig.up, 0x10000, 64);
}
static void used_id_twice(void)
{
	header(rig.up.pool, 1, 20, 4, 0);
	rig.host.ept[0].hold = true;
	give(&rig.up, 0, 64);
	give(&rig.up, 0, 64);
}
static void used_len_beyond(void)
{
	to_host(4, LEN + 1);
}
static void used_short_15(void)
{
	to_host(0, 15);
}
static void used_short_1(void)
{
	to_host(0, 1);
}
static void used_len_ffff(void)
{
	to_host(0xffff, LEN);
}
static void used_len_one_more(void)
{
	to_host(5, 20);
}

/* The remote lies to the host's out queue: it gives back what it never had. */
static void back_ahead(void)
{
	for (unsigned i = 0; i < NUM; i++)
		assert_int_equal(rig_send(&rig.host, 1, 20, 4, 0), 0);
	rp_used(&rig.down)->idx = NUM + 1;
	(void)rig_send(&rig.host, 1, 20, 4, 0);
}
static void back_twice(void)
{
	struct amp_rpmsg_tx a, b;

	for (unsigned i = 0; i < NUM; i++)
		assert_int_equal(rig_send(&rig.host, 1, 20, 4, 0), 0);
	give(&rig.down, 2, 0);
	give(&rig.down, 2, 0);
	/* both before the first is sent anew: afterwards it would be outstanding again */
	assert_int_equal(amp_rpmsg_reserve(&rig.host.bus, &a), 0);
	assert_int_equal(amp_rpmsg_reserve(&rig.host.bus, &b), -EAGAIN);
}

static const struct lie {
	const char *name;
	void (*tell)(void);
	bool host; /* to the host */
	const char *why;
} lies[] = {
	{"avail index ahead", in_idx_ahead, false, "ahead"},
	{"avail entry beyond", in_entry_beyond, false, "beyond the queue"},
	{"address outside", in_outside, false, "outside"},
	{"wrong direction", in_for_writing, false, "direction"},
	{"loop", in_loop, false, "loop"},
	{"two pieces", in_two_pieces, false, "too many descriptors"},
	{"15 bytes", in_short_15, false, "shorter than its header"},
	{"1 byte", in_short_1, false, "shorter than its header"},
	{"length 65535", in_len_ffff, false, "beyond the buffer"},
	{"one byte more", in_len_one_more, false, "beyond the buffer"},
	{"one byte more than sent", in_len_one_more_short, false, "beyond the buffer"},
	{"out: avail index ahead", out_idx_ahead, false, "ahead"},
	{"out: avail entry beyond", out_entry_beyond, false, "beyond the queue"},
	{"out: address outside", out_outside, false, "outside"},
	{"out: wrong direction", out_for_reading, false, "direction"},
	{"out: two pieces", out_two_pieces, false, "too many descriptors"},
	{"out: 15 bytes", out_short_15, false, "without room"},
	{"out: no byte", out_empty, false, "without room"},
	{"out: too short for names", out_too_short_for_names, false, "without room"},
	{"used index ahead", used_ahead, true, "ahead"},
	{"used id beyond", used_id_beyond, true, "not outstanding"},
	{"used id twice", used_id_twice, true, "not outstanding"},
	{"used length beyond", used_len_beyond, true, "used length"},
	{"used: 15 bytes", used_short_15, true, "shorter than its header"},
	{"used: 1 byte", used_short_1, true, "shorter than its header"},
	{"used: length 65535", used_len_ffff, true, "beyond the buffer"},
	{"used: one byte more than sent", used_len_one_more, true, "beyond the buffer"},
	{"back: used index ahead", back_ahead, true, "ahead"},
	{"back: used id twice", back_twice, true, "not outstanding"},
};

/* Each is found, explained, and costs this link its life: the next one works. */
static void lies_are_seen(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		const struct lie *l = &lies[i];
		struct rig_side *s;
		struct amp_rpmsg_tx tx;
		unsigned got;

		start();
		s = l->host ? &rig.host : &rig.remote;
		l->tell();
		if (amp_rpmsg_run(&s->bus, 8) != -EBADMSG)
			fail_msg("%s: not seen", l->name);
		if (!s->bus.why || !strstr(s->bus.why, l->why))
			fail_msg("%s: %s", l->name, s->bus.why ? s->bus.why : "(null)");
		/* nothing more comes of it, whatever its owner still does */
		got = s->ept[0].got;
		assert_int_equal(amp_rpmsg_run(&s->bus, 8), -EBADMSG);
		if (amp_rpmsg_reserve(&s->bus, &tx) == 0)
			amp_rpmsg_cancel(&s->bus, &tx);
		(void)amp_rpmsg_arm(&s->bus);
		(void)amp_rpmsg_tx_ready(&s->bus);
		assert_int_equal(s->ept[0].got, got);
		rig.host.ept[0].hold = false;
		rig_down();
		rig_up();
		assert_int_equal(rig_send(&rig.host, 1, 20, 4, 0), 0);
		assert_int_equal(rig_send(&rig.remote, 1, 20, 4, 0), 0);
		assert_int_equal(rig_settle(), 0);
		assert_int_equal(s->ept[0].got, got + 1);
		assert_int_equal(amp_vq_avail(&rig.up.dev), NUM);
		assert_int_equal(amp_vq_avail(&rig.down.drv), NUM);
		rig_free();
	}
}

/* What the liars below may do to one ring: some of it as it should be, the rest as it comes. */
static void peer_writes(struct ringpair *rp, bool driver, uint32_t *rnd)
{
	uint16_t slot = (uint16_t)(rp_rand(rnd) % NUM);
	uint32_t r = rp_rand(rnd);

	header(rp->pool + slot * LEN, r & 3, r & 8 ? AMP_RPMSG_NS_ADDR : 19 + (r >> 4 & 3),
	       (uint16_t)(r & 16 ? r >> 16 & 63 : r >> 8), 0);
	if (r & 2)
		memcpy(rp->pool + slot * LEN + AMP_RPMSG_HDR_LEN, "name", 5);
	switch (r >> 24 & 15) {
	case 0:
		rp->mem[rp_rand(rnd) % rp->mem_len] = (uint8_t)r;
		break;
	case 1:
		for (unsigned i = 0; i < AMP_RPMSG_NS_LEN; i++)
			rp->pool[slot * LEN + 16 + i] = (uint8_t)(rp_rand(rnd) >> (r & 15));
		break;
	default:
		if (driver) {
			describe(rp, slot, bus_addr(rp, slot * LEN + (r >> 5 & 3)),
				 r & 32 ? LEN - 4 : r >> 9 & 127,
				 (r >> 28 ? rp->dev.dir == AMP_VQ_OUT : r & 7) * 2u, 0);
			offer(rp, slot);
		} else {
			give(rp, r >> 28 ? slot : r & 7, r & 32 ? LEN : r >> 9 & 127);
		}
		break;
	}
}

static void random_liar(bool host)
{
	struct rig_side *s = host ? &rig.host : &rig.remote;
	uint32_t rnd = host ? 99 : 98;
	unsigned broken = 0, got = 0;

	start();
	s->ept[0].hold = true;
	for (unsigned i = 0; i < 200000; i++) {
		struct amp_rpmsg_tx tx;
		int r;

		switch (rp_rand(&rnd) % 8) {
		case 0:
		case 1:
		case 2:
			peer_writes(&rig.up, !host, &rnd);
			break;
		case 3:
		case 4:
			peer_writes(&rig.down, !host, &rnd);
			break;
		case 5:
			if (s->held_cnt)
				amp_rpmsg_release(&s->bus, s->held[--s->held_cnt]);
			if (amp_rpmsg_reserve(&s->bus, &tx) == 0) {
				assert_true(tx.room <= NUM * LEN - AMP_RPMSG_HDR_LEN);
				rig_fill(tx.data, tx.room, 0);
				if (rnd & 64)
					amp_rpmsg_commit(&s->bus, &tx, 1, 2, tx.room);
				else
					amp_rpmsg_cancel(&s->bus, &tx);
			}
			break;
		default:
			if (!s->ept[1].open)
				rig_open(s, 1, AMP_RPMSG_ADDR_ANY, "name");
			else if (!s->ept[1].leaving && s->ept[1].e.ept.ns == AMP_RPMSG_TOLD) {
				s->ept[1].leaving = !amp_rpmsg_close(&s->bus, &s->ept[1].e.ept);
				assert_true(s->ept[1].leaving);
			}
			r = amp_rpmsg_run(&s->bus, 4);
			(void)amp_rpmsg_arm(&s->bus);
			if (r >= 0)
				break;
			assert_int_equal(r, -EBADMSG);
			broken++;
			got += s->ept[0].got;
			s->ept[0].got = 0;
			rig_up();
			break;
		}
	}
	/* it was no mere noise: a good part of it got through */
	assert_true(got > 1000 && broken > 1000);
	assert_true(s->seen_cnt > 100 && s->bus.stats.rx_nobody > 1000);
	assert_true(s->bus.stats.rx_bad > 1000);
	rig_free();
}

static void random_host(void **state)
{
	(void)state;
	random_liar(false);
}

static void random_remote(void **state)
{
	(void)state;
	random_liar(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths_as_linux_writes_them),
		cmocka_unit_test(used_ring_that_starts_full),
		cmocka_unit_test(buffers_askew),
		cmocka_unit_test(buffers_at_the_edge),
		cmocka_unit_test(header_that_changes),
		cmocka_unit_test(lies_are_seen),
		cmocka_unit_test(random_host),
		cmocka_unit_test(random_remote),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
