// SPDX-License-Identifier: BSD-3-Clause
// timeout: 60
/*
 * remoteproc: tables as they may be and as they may not, in memory of exactly its size. What the
 * host makes of a table must lie within the memory and on nothing else, whatever the
 * table says; otherwise it refuses, in words.
 */
#include "rproc_rig.h"

#define LEN sizeof(struct amp_rsc_table)

static int setup(void **state)
{
	(void)state;
	rr_init(&(struct rr_opt){.mem_len = 0x4000, .table_off = 0x4000 - LEN});
	rr_load();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rr_free();
	return 0;
}

/* ---- what a host that accepted a table holds ---- */

static bool apart(size_t a, size_t a_len, size_t b, size_t b_len)
{
	return a + a_len <= b || b + b_len <= a;
}

static void check_placed(const struct amp_rproc_host *h)
{
	struct {
		size_t off, len;
	} p[6] = {{h->table_off, h->table_len}, {h->trace_off, h->trace_len}};

	for (unsigned i = 0; i < 2; i++) {
		const struct amp_rproc_ring *r = &h->ring[i];

		assert_true(r->num && !(r->num & (r->num - 1)) && r->num <= h->state_len);
		assert_true(r->buf_cnt && r->buf_cnt <= r->num);
		assert_int_equal((uint32_t)(h->mem_da + r->off), r->da);
		p[2 + i].off = r->off;
		p[2 + i].len = r->len;
		p[4 + i].off = r->buf_off;
		p[4 + i].len = (size_t)r->buf_cnt * r->buf_len;
	}
	for (unsigned i = 0; i < 6; i++) {
		assert_true(p[i].off <= h->mem_len && p[i].len <= h->mem_len - p[i].off);
		/* (a trace on top of its own table is the remote's affair) */
		for (unsigned j = 0; j < i; j++)
			assert_true(i == 1 || apart(p[i].off, p[i].len, p[j].off, p[j].len));
	}
	assert_true(h->vdev_off % 4 == 0);
	assert_true(h->vdev_off >= h->table_off);
	assert_true(h->vdev_off + 84 <= h->table_off + h->table_len || !h->epochs);
}

static int start(void)
{
	int r = rr_host_start();

	assert_true(r == 0 || r == -EINVAL || r == -ENOENT || r == -ENOSPC);
	if (r) {
		assert_non_null(rr.h.why);
		assert_true(strlen(rr.h.why) > 10);
	} else {
		check_placed(&rr.h);
	}
	return r;
}

/* The remote answers (or is asked nothing), the host serves; then a buffer each way. */
static bool serve(void)
{
	volatile uint32_t *remote = (void *)(rr.ram + rr.h.vdev_off + 72);

	if (rr.h.epochs && rr.h.phase == AMP_RPROC_WAITING)
		*remote = rr.h.epoch;
	rr_host_run();
	if (rr.h.phase != AMP_RPROC_SERVING)
		return false;
	check_placed(&rr.h);
	for (unsigned i = 0; i < 2; i++)
		assert_ptr_equal(rr.host.vq[i].desc, rr.ram + rr.h.ring[i].off);
	assert_true(rr_count_empty(&rr.host, AMP_RPROC_RX) <= rr.h.ring[1].num);
	rr_send(&rr.host, AMP_RPROC_RX, 1);
	assert_false(rr_receive(&rr.host, &rr.remote, AMP_RPROC_TX));
	amp_rproc_host_down(&rr.h);
	return true;
}

static void refused(int err, const char *why)
{
	assert_int_equal(start(), err);
	if (!strstr(rr.h.why, why))
		fail_msg("\"%s\", expected \"%s\"", rr.h.why, why);
	rr_load();
}

#define T_(field) (((struct amp_rsc_table *)(void *)(rr.ram + rr.o.table_off))->field)

/* ---- what is accepted ---- */

static void test_placed_in_the_carveout(void **state)
{
	(void)state;
	assert_int_equal(start(), 0);
	assert_true(serve());
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(rr.h.ring[i].buf_cnt, 8);
		assert_int_equal(rr.h.ring[i].buf_len, 512);
		assert_int_equal(T_(vdev.vring[i].da), rr.o.da + rr.h.ring[i].off);
		assert_int_equal(rr.h.ring[i].notifyid, i);
	}
	assert_int_equal(T_(vdev.gfeatures), AMP_RPROC_FEATURES);
	assert_int_equal(amp_rproc_host_features(&rr.h), AMP_RPROC_FEATURES);
}

static void test_placed_where_the_owner_says(void **state)
{
	(void)state;
	/* the carveout is then nobody's business, wherever it is */
	T_(carveout.da) = 0x1000;
	rr_host_start();
	rr.h.shm_off = 0x2000;
	rr.h.shm_len = 0x1000;
	assert_int_equal(amp_rproc_host_init(&rr.h, rr.o.table_off), 0);
	check_placed(&rr.h);
	assert_in_range(rr.h.ring[0].off, 0x2000, 0x2fff);
	assert_in_range(rr.h.ring[1].buf_off, 0x2000, 0x2fff);
	/* 4 KiB hold two rings and six buffers of 512, so eight become four, and two */
	assert_int_equal(rr.h.ring[0].buf_cnt, 2);
	assert_int_equal(rr.h.ring[1].buf_cnt, 2);
	rr.h.shm_len = 0x4001 - 0x2000;
	assert_int_equal(amp_rproc_host_init(&rr.h, rr.o.table_off), -EINVAL);
	rr.h.shm_len = 0x300;
	assert_int_equal(amp_rproc_host_init(&rr.h, rr.o.table_off), -ENOSPC);
}

static void test_fixed_addresses_are_taken(void **state)
{
	(void)state;
	T_(vdev.vring[0].da) = (uint32_t)rr.o.da + 0x1000;
	T_(vdev.vring[1].da) = (uint32_t)rr.o.da + 0x40;
	assert_int_equal(start(), 0);
	assert_int_equal(rr.h.ring[0].off, 0x1000);
	assert_int_equal(rr.h.ring[1].off, 0x40);
	assert_true(serve());
	assert_int_equal(T_(vdev.vring[0].da), rr.o.da + 0x1000);
}

static void test_around_table_and_trace(void **state)
{
	(void)state;
	for (size_t at = 0; at < 0x4000 - LEN; at += 0x1fc) {
		rr_free();
		rr_init(&(struct rr_opt){.mem_len = 0x4000, .table_off = at, .num = 4});
		rr.image.trace.da = (uint32_t)(rr.o.da + (at ^ 0x2000) / 2);
		rr.image.trace.len = 0x200;
		rr_load();
		assert_int_equal(start(), 0);
		assert_int_equal(rr.h.trace_off, (at ^ 0x2000) / 2);
		assert_int_equal(rr.h.trace_len, 0x200);
		assert_true(serve());
	}
}

static void test_other_entries_do_not_hinder(void **state)
{
	(void)state;
	T_(carveout.type) = 1; /* DEVMEM */
	rr_host_start();
	rr.h.shm_len = 0x2000;
	assert_int_equal(amp_rproc_host_init(&rr.h, rr.o.table_off), 0);
	T_(trace.type) = 128; /* a vendor's */
	assert_int_equal(amp_rproc_host_init(&rr.h, rr.o.table_off), 0);
	assert_int_equal(rr.h.trace_len, 0);
	/* another virtio device before ours, of the same size as the trace entry */
	T_(trace.type) = 3;
	T_(trace.da) = 3; /* its id: a console */
	assert_int_equal(amp_rproc_host_init(&rr.h, rr.o.table_off), 0);
	check_placed(&rr.h);
	/* a trace in memory that we do not see */
	rr_load();
	T_(trace.len) = 4;
	T_(trace.da) = 0x20000000;
	assert_int_equal(start(), 0);
	assert_int_equal(rr.h.trace_len, 0);
}

static void test_addresses_of_64_bits(void **state)
{
	(void)state;
	rr_free();
	/* the window crosses a border of 4 GiB */
	rr_init(&(struct rr_opt){.da = 0x17ffffe000, .table_off = 0x100});
	rr_load();
	rr_remote_boot();
	assert_int_equal(start(), 0);
	rr_works();
	assert_true(rr.host.vq[0].desc[0].addr > 0x17ffffe000);
}

static void test_buffers_of_every_length(void **state)
{
	static const uint32_t lens[] = {64, 512, 2048, 16384, 65536};

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		for (unsigned j = 0; j < 5; j++) {
			rr_free();
			rr_init(&(struct rr_opt){
				.mem_len = 0x120000, .num = 8, .buf_len = {lens[i], lens[j]}});
			rr_reload_reset();
			assert_int_equal(start(), 0);
			rr_works();
			assert_int_equal(rr.h.ring[0].buf_cnt, 8);
			assert_int_equal(rr.h.ring[1].buf_cnt, 8);
			assert_int_equal(rr.h.ring[0].buf_len, lens[i]);
			assert_int_equal(rr.h.ring[1].buf_len, lens[j]);
		}
	}
}

/* ---- what is refused ---- */

static void test_refused_header(void **state)
{
	(void)state;
	T_(ver) = 2;
	refused(-ENOENT, "version 1");
	T_(reserved[1]) = 1;
	refused(-ENOENT, "version 1");
	T_(num) = 65;
	refused(-EINVAL, "too many");
	T_(num) = 0xffffffff;
	refused(-EINVAL, "too many");
	T_(num) = 60; /* its offsets would not fit behind it */
	refused(-EINVAL, "beyond the shared memory");
	T_(num) = 0;
	refused(-ENOENT, "no rpmsg vdev");
	T_(num) = 2;
	refused(-ENOENT, "no rpmsg vdev");
	for (unsigned i = 0; i < 3; i++) {
		T_(offset[i]) = LEN;
		refused(-EINVAL, "entry beyond the shared memory");
		T_(offset[i]) = LEN - 4; /* its type, and nothing behind: 0, a carveout */
		refused(-EINVAL, "entry beyond the shared memory");
		T_(offset[i]) = 30;
		refused(-EINVAL, "entry beyond the shared memory");
		T_(offset[i]) = 0xfffffffc;
		refused(-EINVAL, "entry beyond the shared memory");
	}
	rr.o.table_off = 0x4000;
	assert_int_equal(rr_host_start(), -EINVAL);
	rr.o.table_off = SIZE_MAX & ~(size_t)3;
	assert_int_equal(rr_host_start(), -EINVAL);
	rr.o.table_off = 0x4000 - LEN + 2;
	assert_int_equal(rr_host_start(), -EINVAL);
}

static void test_refused_vdev(void **state)
{
	(void)state;
	T_(vdev.id) = 8;
	refused(-ENOENT, "no rpmsg vdev");
	T_(offset[0]) = T_(offset[2]);
	refused(-EINVAL, "two rpmsg vdevs");
	T_(vdev.num_of_vrings) = 1;
	refused(-EINVAL, "two vrings");
	T_(vdev.num_of_vrings) = 3;
	refused(-EINVAL, "two vrings");
	T_(vdev.config_len) = 17; /* the table is the last in memory */
	refused(-EINVAL, "vdev entry beyond");
	T_(vdev.config_len) = 0xffffffff;
	refused(-EINVAL, "vdev entry beyond");
}

static void test_refused_vrings(void **state)
{
	static const uint32_t nums[] = {0,    3,       7,	   512,	      1024,
					2048, 0x10000, 0x80000000, UINT32_MAX};
	static const uint32_t aligns[] = {0, 1, 2, 3, 12, 0x20000, 0x80000000, UINT32_MAX};

	(void)state;
	for (unsigned r = 0; r < 2; r++) {
		uint32_t other = r ? 0 : 1;

		for (unsigned i = 0; i < sizeof(nums) / 4; i++) {
			T_(vdev.vring[r].num) = nums[i];
			refused(-EINVAL, "vring: ");
		}
		for (unsigned i = 0; i < sizeof(aligns) / 4; i++) {
			T_(vdev.vring[r].align) = aligns[i];
			refused(-EINVAL, "align is no power of two");
		}
		T_(vdev.vring[r].align) = 65536; /* may be, but has no room */
		refused(-ENOSPC, "no room");
		T_(vdev.vring[r].da) = (uint32_t)rr.o.da + 0x20;
		refused(-EINVAL, "not aligned");
		T_(vdev.vring[r].align) = 4; /* descriptors want 16 */
		T_(vdev.vring[r].da) = (uint32_t)rr.o.da + 0x28;
		refused(-EINVAL, "not aligned");
		T_(vdev.vring[r].da) = (uint32_t)rr.o.da - 0x40;
		refused(-EINVAL, "vring beyond");
		T_(vdev.vring[r].da) = (uint32_t)rr.o.da + 0x4000;
		refused(-EINVAL, "vring beyond");
		T_(vdev.vring[r].da) = (uint32_t)rr.o.da + 0x3fc0;
		refused(-EINVAL, "vring beyond");
		T_(vdev.vring[r].da) =
			(uint32_t)rr.o.da + 0x3e00; /* 262 bytes: not yet the table */
		assert_int_equal(start(), 0);
		rr_load();
		T_(vdev.vring[r].da) = (uint32_t)rr.o.da + 0x3e40;
		refused(-EINVAL, "overlaps");
		T_(trace.da) = (uint32_t)rr.o.da + 0x1100;
		T_(trace.len) = 1;
		T_(vdev.vring[r].da) = (uint32_t)rr.o.da + 0x1000;
		refused(-EINVAL, "overlaps");
		T_(vdev.vring[r].da) = (uint32_t)rr.o.da + 0x1000;
		T_(vdev.vring[other].da) = (uint32_t)rr.o.da + 0x1040;
		refused(-EINVAL, "overlaps");
	}
}

static void test_refused_room(void **state)
{
	(void)state;
	T_(carveout.len) = 0x4001;
	refused(-EINVAL, "carveout beyond");
	T_(carveout.da)--;
	refused(-EINVAL, "carveout beyond");
	T_(carveout.da) = AMP_RSC_ADDR_ANY; /* whose? */
	refused(-ENOSPC, "no room for the vrings");
	T_(carveout.type) = 1;
	refused(-ENOSPC, "no room for the vrings");
	T_(carveout.len) = 0x240; /* one ring */
	refused(-ENOSPC, "no room for the vrings");
	T_(carveout.len) = 0x400; /* two, and no buffers */
	refused(-ENOSPC, "no room for buffers");
}

static void test_refused_owner(void **state)
{
	(void)state;
	rr_host_start();
	for (unsigned i = 0; i < 2; i++) {
		static const uint32_t lens[] = {4, 60, 66, 65540, UINT32_MAX};

		for (unsigned j = 0; j < 5; j++) {
			rr.h.buf_len[i] = lens[j];
			assert_int_equal(amp_rproc_host_init(&rr.h, rr.o.table_off), -EINVAL);
		}
		rr.h.buf_len[i] = 0;
	}
	rr.h.mem_da += 8;
	assert_int_equal(amp_rproc_host_init(&rr.h, rr.o.table_off), -EINVAL);
	rr.h.mem_da -= 8;
	assert_int_equal(amp_rproc_host_init(&rr.h, rr.o.table_off), 0);
	rr.h.state_len = 4;
	assert_int_equal(amp_rproc_host_init(&rr.h, rr.o.table_off), -EINVAL);
}

/* ---- whatever it says ---- */

static unsigned taken_cnt, refused_cnt;

static void whatever(void)
{
	if (start() == 0) {
		taken_cnt++;
		serve();
	} else {
		refused_cnt++;
	}
}

static void mutate(const struct rr_opt *o)
{
	static const uint32_t words[] = {0,	     1,		 2,	     3,
					 4,	     7,		 16,	     64,
					 0xd8,	     0x100,	 0x3f28,     0x4000,
					 0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffffc,
					 0xffffffff, 0x21000000, 0x21000040, 0x21003fc0};

	rr_free();
	rr_init(o);
	taken_cnt = refused_cnt = 0;
	for (size_t at = 0; at < LEN; at++) {
		for (unsigned v = 0; v < 256; v++) {
			rr_load();
			rr.ram[o->table_off + at] = (uint8_t)v;
			whatever();
		}
	}
	for (size_t at = 0; at < LEN; at += 4) {
		for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
			rr_load();
			amp_put_le32(rr.ram + o->table_off + at, words[i]);
			whatever();
		}
	}
	assert_true(taken_cnt > 10000);
	assert_true(refused_cnt > 5000);
}

static void test_every_byte_at_the_end_of_memory(void **state)
{
	(void)state;
	mutate(&(struct rr_opt){.mem_len = 0x4000, .table_off = 0x4000 - LEN, .buf_cnt = 2});
}

static void test_every_byte_at_the_start_of_memory(void **state)
{
	(void)state;
	mutate(&(struct rr_opt){.mem_len = 0x4000,
				.trace_len = 256,
				.vring_da = {0x21001000, 0x21002000},
				.buf_cnt = 2});
}

/* Where a host has hardly more memory than the table and what it needs. */
static void test_every_byte_with_no_room_to_spare(void **state)
{
	const size_t rings = 2 * 256, bufs = 2 * 64;

	(void)state;
	mutate(&(struct rr_opt){.mem_len = LEN + 40 + rings + bufs,
				.table_off = rings + bufs + 40,
				.num = 4,
				.buf_len = {64, 64}});
}

/* Any two words at random, which a single one does not reach. */
static void test_words_at_random(void **state)
{
	uint32_t seed = 4711;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		rr_load();
		for (unsigned j = 0; j < 3; j++) {
			uint32_t v;

			seed = seed * 1664525u + 1013904223u;
			v = seed >> 8;
			if (v % 3 == 0)
				v = (uint32_t)rr.o.da + v % 0x4100;
			else if (v % 3 == 1)
				v = v % 0x120;
			amp_put_le32(rr.ram + rr.o.table_off + (seed >> 16) % (LEN / 4) * 4, v);
		}
		whatever();
	}
}

/* A table that changes between any two steps of the host. */
static void test_every_byte_while_it_is_served(void **state)
{
	(void)state;
	rr_free();
	rr_init(&(struct rr_opt){.mem_len = 0x4000, .table_off = 0x2000});
	rr_reload_reset();
	assert_int_equal(rr_host_start(), 0);
	rr_works();
	for (size_t at = 0; at < LEN; at++) {
		for (unsigned v = 0; v < 256; v += 5) {
			uint8_t *p = rr.ram + rr.o.table_off + at, was = *p;

			*p = (uint8_t)v;
			(void)amp_rproc_host_look(&rr.h);
			rr_host_run();
			(void)serve();
			*p = was;
		}
		rr_reload_reset();
		rr_works();
	}
}

/* ---- the remote ---- */

/* A host that lies: only its addresses count, and only within the window. */
static void test_remote_against_every_byte(void **state)
{
	(void)state;
	for (size_t at = 132; at < LEN; at++) {
		for (unsigned v = 0; v < 256; v++) {
			struct amp_vq vq[2];
			bool known = at < 160 || (at - 160) % 20 >= 4 || at >= 200;

			rr_load();
			rr_remote_boot();
			T_(vdev.vring[0].da) = (uint32_t)rr.o.da + 0x1000;
			T_(vdev.vring[1].da) = (uint32_t)rr.o.da + 0x2000;
			T_(vdev.status) = 7;
			rr.ram[rr.o.table_off + at] = (uint8_t)v;
			(void)amp_rproc_look(&rr.rp);
			for (unsigned i = 0; i < 2; i++) {
				int r = amp_rproc_queue(&rr.rp, i, &vq[i]);

				assert_true(r == 0 || (r == -EINVAL && !known));
				if (r)
					continue;
				assert_int_equal(vq[i].num, 8);
				assert_true((uint8_t *)vq[i].desc >= rr.ram);
				assert_true((uint8_t *)&vq[i].used->ring[8] + 2 <=
					    rr.ram + rr.o.mem_len);
			}
		}
	}
}

static void test_remote_rings_within_the_window(void **state)
{
	/* 8 entries, align 64: the used ring begins at 192 and ends 70 later */
	static const struct {
		uint32_t off;
		int err;
	} tries[] = {{0, 0},
		     {0x40, 0},
		     {0x20, -EINVAL},
		     {0x3ec0, 0},
		     {0x3f00, -EINVAL},
		     {0x3fc0, -EINVAL},
		     {0x4000, -EINVAL},
		     {0x4040, -EINVAL},
		     {0xffffffc0, -EINVAL},
		     {0x80000000, -EINVAL},
		     {1, -EINVAL}};

	(void)state;
	rr_remote_boot();
	for (unsigned i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		T_(vdev.vring[1].da) = (uint32_t)rr.o.da + tries[i].off;
		assert_int_equal(amp_rproc_queue(&rr.rp, 1, &rr.remote.vq[1]), tries[i].err);
	}
	/* num and align are the firmware's, not the table's */
	T_(vdev.vring[1].da) = (uint32_t)rr.o.da;
	T_(vdev.vring[1].num) = 1024;
	T_(vdev.vring[1].align) = 4;
	assert_int_equal(amp_rproc_queue(&rr.rp, 1, &rr.remote.vq[1]), 0);
	assert_int_equal(rr.remote.vq[1].num, 8);
	assert_ptr_equal(rr.remote.vq[1].used, rr.ram + 192);
}

static void test_remote_buffers_within_the_window(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		bool ok;
	} tries[] = {
		{0x1000, 512, true},
		{0, 1, true},
		{0x3fff, 1, true},
		{0x3e00, 512, true},
		{0x3e01, 512, false},
		{0x4000, 1, false},
		{0, 0x4000, true},
		{0, 0x4001, false},
		{0x1000, UINT32_MAX, false},
		{UINT64_MAX, 2, false},
		{UINT64_MAX, 1, false},
		{1ull << 32, 1, false},
		{1ull << 63, 1, false},
		{(uint64_t)-512, 512, false},
		{(uint64_t)-512, 1024, false},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		struct amp_iov iov;
		struct amp_vq_buf b = {.iov = &iov, .iov_max = 1};
		struct amp_vq vq;
		struct vring_desc *d = (void *)(rr.ram + 0x400);
		struct vring_avail *a = (void *)(rr.ram + 0x400 + 8 * 16);

		memset(rr.ram + 0x400, 0, 0x200);
		rr_load();
		rr_remote_boot();
		T_(vdev.vring[1].da) = (uint32_t)rr.o.da + 0x400;
		assert_int_equal(amp_rproc_queue(&rr.rp, 1, &vq), 0);
		d[3].addr = rr.o.da + tries[i].addr;
		d[3].len = tries[i].len;
		a->ring[0] = 3;
		a->idx = 1;
		assert_int_equal(amp_vq_get(&vq, &b), tries[i].ok ? 1 : -EBADMSG);
		if (tries[i].ok)
			assert_ptr_equal(iov.base, rr.ram + tries[i].addr);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_placed_in_the_carveout),
		T(test_placed_where_the_owner_says),
		T(test_fixed_addresses_are_taken),
		T(test_around_table_and_trace),
		T(test_other_entries_do_not_hinder),
		T(test_addresses_of_64_bits),
		T(test_buffers_of_every_length),
		T(test_refused_header),
		T(test_refused_vdev),
		T(test_refused_vrings),
		T(test_refused_room),
		T(test_refused_owner),
		T(test_every_byte_at_the_end_of_memory),
		T(test_every_byte_at_the_start_of_memory),
		T(test_every_byte_with_no_room_to_spare),
		T(test_words_at_random),
		T(test_every_byte_while_it_is_served),
		T(test_remote_against_every_byte),
		T(test_remote_rings_within_the_window),
		T(test_remote_buffers_within_the_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
