// SPDX-License-Identifier: BSD-3-Clause
// timeout: 60
/*
 * remoteproc: both sides around one table, in every order of events (docs/protocol.md, "remoteproc and
 * epochs"). Tables that lie: test_remoteproc_table.c. Events in the middle of a step, and cores with
 * caches: test_remoteproc_races.c.
 */
#include "rproc_rig.h"

static int setup(void **state)
{
	(void)state;
	rr_init(&(struct rr_opt){.table_off = 0});
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rr_free();
	return 0;
}

/* ---- who is late ---- */

static void test_remote_boots_then_host_starts(void **state)
{
	(void)state;
	rr_reload_reset();
	rr_settle();
	assert_false(rr.remote.up);
	assert_int_equal(rr_host_start(), 0);
	rr_works();
	assert_int_equal(rr.remote.ups, 1);
	assert_int_equal(rr.host.ups, 1);
}

static void test_host_starts_then_remote_boots(void **state)
{
	(void)state;
	rr_load();
	assert_int_equal(rr_host_start(), 0);
	rr_settle();
	assert_false(rr.host.up);
	rr_warm_reset(); /* the loader has been */
	rr_works();
	assert_int_equal(rr.remote.ups, 1);
	assert_int_equal(rr.host.ups, 1);
}

static void test_host_starts_before_the_table_is_loaded(void **state)
{
	(void)state;
	assert_int_equal(rr_host_start(), -ENOENT);
	assert_non_null(rr.h.why);
	rr_reload_reset();
	assert_int_equal(rr_host_start(), 0);
	rr_works();
}

/* The host asked in a table that the loader then loads over. */
static void test_host_starts_then_remote_is_loaded_and_boots(void **state)
{
	(void)state;
	rr_load();
	assert_int_equal(rr_host_start(), 0);
	rr_reload_reset();
	rr_works();
	assert_int_equal(rr.remote.ups, 1);
}

static void test_remote_boots_late_and_looks_late(void **state)
{
	(void)state;
	rr_load();
	assert_int_equal(rr_host_start(), 0);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(amp_rproc_host_look(&rr.h), AMP_RPROC_NOTHING);
	rr_warm_reset();
	rr_works();
}

/* ---- the remote restarts ---- */

static void served(void)
{
	rr_reload_reset();
	assert_int_equal(rr_host_start(), 0);
	rr_works();
}

static void test_warm_reset_finds_driver_ok_standing(void **state)
{
	(void)state;
	served();
	assert_int_equal(rr_table()->vdev.status, 7);
	rr_warm_reset(); /* looks once: the old rings are not for this life */
	assert_false(rr.remote.up);
	rr_works();
	assert_int_equal(rr.host.downs, 1);
	assert_int_equal(rr.host.ups, 2);
	assert_int_equal(rr.remote.ups, 2);
}

static void test_warm_reset_twice_before_the_host_looks(void **state)
{
	(void)state;
	served();
	rr_warm_reset();
	rr_warm_reset();
	rr_works();
	assert_int_equal(rr.host.downs, 1);
}

/* What a remote that counts for itself can not do: it was 1, it is 1 again. */
static void test_reload_begins_with_the_same_table_again(void **state)
{
	(void)state;
	served();
	for (unsigned i = 1; i <= 5; i++) {
		rr_reload_reset();
		assert_false(rr.remote.up);
		rr_works();
		assert_int_equal(rr.host.downs, i);
		assert_int_equal(rr.remote.ups, 1 + i);
	}
}

static void test_reload_twice_before_the_host_looks(void **state)
{
	(void)state;
	served();
	rr_reload_reset();
	rr_remote_off();
	rr_reload_reset();
	rr_works();
	assert_int_equal(rr.host.downs, 1);
}

static void test_host_looks_between_reload_and_boot(void **state)
{
	(void)state;
	served();
	rr_remote_off();
	rr_load();
	rr.host.kicked = true;
	rr_settle(); /* asks, and nobody is there */
	assert_false(rr.host.up);
	rr_warm_reset();
	rr_works();
	assert_int_equal(rr.host.downs, 1);
}

/* The host has seen the answer and is about to serve when the core is loaded again. */
static void test_reload_between_answer_and_service(void **state)
{
	(void)state;
	rr_reload_reset();
	rr_host_start();
	rr.remote.kicked = false;
	rr_remote_run();
	assert_int_equal(amp_rproc_host_look(&rr.h), AMP_RPROC_UP);
	rr_reload_reset();
	assert_int_equal(amp_rproc_host_up(&rr.h, rr.host.vq), -EAGAIN);
	for (size_t i = 0; i < rr.h.ring[0].len; i++)
		assert_int_equal(rr.ram[rr.h.ring[0].off + i], 0xa5); /* nothing is done */
	rr_works();
	assert_int_equal(rr.remote.ups, 1);
}

static void test_remote_finds_its_rings_broken(void **state)
{
	(void)state;
	served();
	rr_gone(&rr.remote);
	amp_rproc_boot(&rr.rp);
	rr.host.kicked = true;
	rr_works();
	assert_int_equal(rr.host.downs, 1);
	assert_int_equal(rr.remote.downs, 1);
	assert_int_equal(rr.host.ups, 2);
}

/* Another program, whose table lies elsewhere, has other rings, and is found by the owner. */
static void test_another_program_is_loaded(void **state)
{
	(void)state;
	served();
	rr_remote_off();
	rr.o.num = 16;
	rr.o.align = 256;
	rr_make_image();
	rr_reload_reset();
	rr_works();
	assert_int_equal(rr.h.ring[0].num, 16);
	rr_remote_off();
	memset(rr.ram, 0, rr.o.mem_len);
	rr.host.kicked = true;
	rr_settle();
	assert_int_equal(rr.begin_err, -ENOENT);
	for (size_t i = 0; i < rr.o.mem_len; i++)
		assert_int_equal(rr.ram[i], 0); /* the host writes nowhere on a guess */
	rr_reload_reset();
	rr_works();
}

/* ---- the host restarts ---- */

static void test_host_is_killed_and_starts_again(void **state)
{
	(void)state;
	served();
	rr_host_kill();
	assert_int_equal(rr_host_start(), 0);
	assert_true(rr.remote.up); /* has not looked yet */
	assert_int_equal(rr_table()->vdev.status, 0);
	rr_works();
	assert_int_equal(rr.remote.downs, 1);
	assert_int_equal(rr.remote.ups, 2);
}

static void test_host_stops_in_order_and_starts_again(void **state)
{
	(void)state;
	served();
	amp_rproc_host_down(&rr.h);
	rr.remote.kicked = true;
	rr_host_kill();
	rr_settle();
	assert_false(rr.remote.up);
	assert_int_equal(rr.remote.downs, 1);
	assert_int_equal(rr_table()->vdev.status, 0);
	assert_int_equal(rr_host_start(), 0);
	rr_works();
	assert_int_equal(rr.remote.downs, 1);
}

/* DRIVER_OK, 0 and, were it up to the host alone, DRIVER_OK again between two looks. */
static void test_status_7_0_7_between_two_looks(void **state)
{
	(void)state;
	served();
	amp_rproc_host_down(&rr.h);
	rr_host_kill();
	assert_int_equal(rr_host_start(), 0);
	for (unsigned i = 0; i < 10; i++)
		rr_host_run();
	assert_false(rr.host.up); /* waits for the remote to have seen it */
	assert_int_equal(rr_table()->vdev.status, 0);
	rr_works();
	assert_int_equal(rr.remote.downs, 1);
	assert_int_equal(rr.remote.ups, 2);
}

static void test_host_restarts_many_times_between_two_looks(void **state)
{
	(void)state;
	served();
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(rr_host_start(), 0);
	rr_works();
	assert_int_equal(rr.remote.downs, 1);
}

/* The remote has never been up: it hears of the second host all the same. */
static void test_host_is_killed_before_the_remote_has_looked(void **state)
{
	(void)state;
	rr_reload_reset();
	rr_host_start();
	rr.remote.kicked = false;
	rr_remote_run(); /* answers */
	rr.host.kicked = false;
	rr_host_run(); /* serves */
	assert_true(rr.host.up);
	assert_int_equal(rr_host_start(), 0);
	rr_works();
	assert_int_equal(rr.remote.downs, 0);
	assert_int_equal(rr.remote.ups, 1);
}

static void test_host_is_killed_between_question_and_answer(void **state)
{
	(void)state;
	rr_reload_reset();
	rr_host_start();
	rr_host_kill();
	rr_settle();
	assert_false(rr.remote.up);
	assert_int_equal(rr_host_start(), 0);
	rr_works();
}

static void test_host_restarts_while_the_remote_is_off(void **state)
{
	(void)state;
	served();
	rr_remote_off();
	assert_int_equal(rr_host_start(), 0);
	rr_settle();
	assert_false(rr.host.up);
	rr_warm_reset();
	rr_works();
	rr_remote_off();
	assert_int_equal(rr_host_start(), 0);
	rr_settle();
	rr_reload_reset();
	rr_works();
}

/* ---- both ---- */

static void test_both_restart_at_once_remote_first(void **state)
{
	(void)state;
	served();
	rr_host_kill();
	rr_reload_reset();
	assert_int_equal(rr_host_start(), 0);
	rr_works();
}

static void test_both_restart_at_once_host_first(void **state)
{
	(void)state;
	served();
	rr_remote_off();
	assert_int_equal(rr_host_start(), 0);
	rr_reload_reset();
	rr_works();
}

static void test_both_restart_at_once_without_reload(void **state)
{
	(void)state;
	served();
	rr_remote_off();
	rr_host_start();
	rr_warm_reset();
	rr_works();
	rr_host_kill();
	rr_warm_reset();
	rr_host_start();
	rr_works();
}

static void test_neither_side_is_told_of_a_kick(void **state)
{
	(void)state;
	served();
	rr.remote.kicked = rr.host.kicked = false;
	rr_host_start();
	rr.remote.kicked = false; /* lost: whoever polls finds it all the same */
	for (unsigned i = 0; i < 4; i++) {
		rr_remote_run();
		rr_host_run();
	}
	rr_works();
}

/* ---- hosts without epochs ---- */

/* As Linux's vring_init() computes it, from addresses. */
static volatile struct vring_used *linux_used(uint32_t off, unsigned num, unsigned align)
{
	uintptr_t end = (uintptr_t)rr.ram + off + 16u * num + 2u * (3u + num);

	return (void *)((end + align - 1u) & ~((uintptr_t)align - 1u));
}

static volatile struct vring_avail *linux_avail(uint32_t off, unsigned num)
{
	return (void *)(rr.ram + off + 16u * num);
}

/* Rings at fixed places, zeroed, and their addresses into the table: the remote may already run. */
static void linux_find_vqs(void)
{
	for (unsigned i = 0; i < 2; i++) {
		memset(rr.ram + 0x1000 + 0x1000 * i, 0, 0x1000);
		rr_table()->vdev.vring[i].da = (uint32_t)rr.o.da + 0x1000 + 0x1000 * i;
		rr_table()->vdev.vring[i].notifyid = 7 + i;
	}
}

static void linux_desc(unsigned ring, uint16_t id, uint32_t buf, uint32_t len, uint16_t flags)
{
	volatile struct vring_desc *d = (void *)(rr.ram + 0x1000 + 0x1000 * ring);
	volatile struct vring_avail *a = linux_avail(0x1000 + 0x1000 * ring, rr.o.num);

	d[id] = (struct vring_desc){rr.o.da + buf, len, flags, 0};
	a->ring[a->idx % rr.o.num] = id;
	a->idx++;
}

static void linux_status(uint8_t s)
{
	rr_table()->vdev.status = s;
}

/* A message each way through the rings as the other side lays them out. */
static void linux_traffic(void)
{
	struct amp_iov iov;
	struct amp_vq_buf b = {.iov = &iov, .iov_max = 1};
	volatile struct vring_used *u = linux_used(0x1000, rr.o.num, rr.o.align);
	uint16_t before = u->idx;

	linux_desc(0, 1, 0x4000, 512, VRING_DESC_F_WRITE);
	assert_int_equal(amp_vq_get(&rr.remote.vq[0], &b), 1);
	assert_ptr_equal(iov.base, rr.ram + 0x4000);
	amp_vq_put(&rr.remote.vq[0], b.id, 20);
	assert_int_equal(u->idx, before + 1);
	assert_int_equal(u->ring[before % rr.o.num].id, 1);
	assert_int_equal(u->ring[before % rr.o.num].len, 20);

	linux_desc(1, 2, 0x5000, 33, 0);
	assert_int_equal(amp_vq_get(&rr.remote.vq[1], &b), 1);
	assert_ptr_equal(iov.base, rr.ram + 0x5000);
	assert_int_equal(b.len, 33);
	u = linux_used(0x2000, rr.o.num, rr.o.align);
	before = u->idx;
	amp_vq_put(&rr.remote.vq[1], b.id, 0);
	assert_int_equal(u->idx, before + 1);
	assert_int_equal(u->ring[before % rr.o.num].id, 2);
}

static void remote_comes_up(void)
{
	assert_int_equal(amp_rproc_look(&rr.rp), AMP_RPROC_UP);
	assert_int_equal(amp_rproc_queue(&rr.rp, 0, &rr.remote.vq[0]), 0);
	assert_int_equal(amp_rproc_queue(&rr.rp, 1, &rr.remote.vq[1]), 0);
	rr.remote.up = true;
}

/* The remote is started first and must not touch what is not there yet. */
static void test_linux_host_status_by_status(void **state)
{
	(void)state;
	rr_reload_reset();
	for (uint8_t s = 0; s < 4; s = (uint8_t)(2 * s + 1)) {
		linux_status(s);
		assert_int_equal(amp_rproc_look(&rr.rp), AMP_RPROC_NOTHING);
	}
	linux_find_vqs();
	rr_table()->vdev.gfeatures = 1;
	linux_status(7);
	remote_comes_up();
	assert_int_equal(amp_rproc_features(&rr.rp), 1);
	assert_int_equal(amp_rproc_look(&rr.rp), AMP_RPROC_NOTHING);
	linux_traffic();
	linux_traffic();
	linux_status(0);
	assert_int_equal(amp_rproc_look(&rr.rp), AMP_RPROC_DOWN);
	amp_rproc_boot(&rr.rp);
	assert_int_equal(amp_rproc_look(&rr.rp), AMP_RPROC_NOTHING);
	linux_find_vqs();
	linux_status(7);
	remote_comes_up();
	linux_traffic();
}

/* Linux sets DRIVER_OK once, and the core may take long to get to us: it must find it there. */
static void test_linux_host_has_driver_ok_before_the_remote_boots(void **state)
{
	(void)state;
	rr_load();
	linux_find_vqs();
	linux_status(7);
	rr_remote_boot();
	assert_int_equal(rr_table()->vdev.status, 7);
	assert_int_equal(rr.remote.ups, 1);
	assert_int_equal(rr.bad_queue, 0);
}

/* It would come up at once on the same rings, with other indices: only the host can end that. */
static void test_linux_host_and_broken_rings_stay_down(void **state)
{
	(void)state;
	rr_reload_reset();
	linux_find_vqs();
	linux_status(7);
	remote_comes_up();
	amp_rproc_boot(&rr.rp);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(amp_rproc_look(&rr.rp), AMP_RPROC_NOTHING);
	linux_status(0);
	assert_int_equal(amp_rproc_look(&rr.rp), AMP_RPROC_DOWN);
	amp_rproc_boot(&rr.rp);
	linux_find_vqs();
	linux_status(7);
	remote_comes_up();
	linux_traffic();
}

/* A proxy after Linux, Linux after a proxy, the remote running all the time. */
static void test_linux_host_and_ours_take_turns(void **state)
{
	(void)state;
	rr_reload_reset();
	linux_find_vqs();
	linux_status(7);
	remote_comes_up();
	assert_int_equal(rr_host_start(), 0);
	rr_works();
	amp_rproc_host_down(&rr.h);
	rr_host_kill();
	rr.remote.kicked = true;
	rr_settle();
	assert_false(rr.remote.up);
	linux_find_vqs();
	linux_status(7);
	remote_comes_up();
	linux_traffic();
}

/* Layouts of the other implementations: sizes and alignments that there are, used_event counted. */
static void test_linux_host_layouts(void **state)
{
	(void)state;
	for (uint16_t align = 4; align <= 4096; align = (uint16_t)(align * 2)) {
		for (uint16_t num = 4; num <= 64; num = (uint16_t)(num * 2)) {
			rr_free();
			rr_init(&(struct rr_opt){
				.num = num, .align = align, .da = 0x1280000000});
			rr_reload_reset();
			linux_find_vqs();
			if ((uint8_t *)linux_used(0x1000, num, align) + 8u * num + 6u >
			    rr.ram + 0x2000)
				continue; /* does not fit our places */
			linux_status(7);
			remote_comes_up();
			for (unsigned i = 0; i < 2u * num; i++)
				linux_traffic();
		}
	}
}

/* The same of ours: where Linux would put the used ring, and the remote finds it. */
static void test_our_layouts_are_linux_layouts(void **state)
{
	(void)state;
	for (uint16_t align = 4; align <= 4096; align = (uint16_t)(align * 2)) {
		for (uint16_t num = 1; num <= 128; num = (uint16_t)(num * 2)) {
			rr_free();
			rr_init(&(struct rr_opt){
				.mem_len = 0x40000, .num = num, .align = align});
			served();
			for (unsigned i = 0; i < 2; i++) {
				const struct amp_rproc_ring *r = &rr.h.ring[i];

				assert_ptr_equal(rr.ram + r->off + r->used_off,
						 linux_used((uint32_t)r->off, num, align));
			}
		}
	}
}

/* rpmsg-lite's master fills the used ring first; a device starts at 0 and goes on behind that. */
static void test_host_that_prefills_used_buffers(void **state)
{
	volatile struct vring_used *u;

	(void)state;
	rr_reload_reset();
	linux_find_vqs();
	u = linux_used(0x2000, rr.o.num, rr.o.align);
	u->idx = rr.o.num;
	linux_status(7);
	remote_comes_up();
	linux_traffic();
	assert_int_equal(u->idx, rr.o.num + 1);
}

/* ---- remotes without epochs ---- */

static struct amp_vq openamp[2];

/* A remote that knows the status alone, and never writes it. */
static void openamp_up(void)
{
	struct amp_rproc rp = {.table = (void *)(rr.ram + rr.o.table_off),
			       .shm = rr.ram,
			       .shm_da = rr.o.da,
			       .shm_len = rr.o.mem_len,
			       .num = rr.o.num,
			       .align = rr.o.align};

	assert_int_equal(rr_table()->vdev.status, 7);
	rr.rp = rp;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(amp_rproc_queue(&rr.rp, i, &openamp[i]), 0);
	rr.remote.up = true;
	rr.remote.life = 1;
	rr.remote.sent = rr.remote.taken = 0;
	memcpy(rr.remote.vq, openamp, sizeof(openamp));
}

static void test_foreign_remote_is_served_once_and_again_when_told(void **state)
{
	(void)state;
	rr_free();
	rr_init(&(struct rr_opt){.foreign = true});
	rr_load();
	assert_int_equal(rr_host_start(), 0);
	assert_true(rr.host.up);
	assert_false(rr.h.epochs);
	openamp_up();
	rr_traffic(20);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(amp_rproc_host_look(&rr.h), AMP_RPROC_NOTHING);
	assert_int_equal(rr.host.ups, 1);
	amp_rproc_host_down(&rr.h);
	assert_int_equal(rr_table()->vdev.status, 0);
	rr_host_run();
	assert_int_equal(rr.host.ups, 2);
	openamp_up();
	rr_traffic(20);
	/* loaded again: the table says so by itself */
	rr_load();
	rr_host_run();
	assert_int_equal(rr.host.downs, 2);
	assert_int_equal(rr.host.ups, 3);
	openamp_up();
	rr_traffic(20);
	/* or by an address alone */
	rr_table()->vdev.vring[1].da = AMP_RSC_ADDR_ANY;
	rr_host_run();
	assert_int_equal(rr.host.downs, 3);
	openamp_up();
	rr_traffic(20);
}

static void test_foreign_remote_by_its_magic(void **state)
{
	(void)state;
	rr.image.vdev.config.magic++;
	rr_load();
	assert_int_equal(rr_host_start(), 0);
	assert_false(rr.h.epochs);
	assert_true(rr.host.up);
	assert_int_equal(rr_table()->vdev.config.host_epoch, 0); /* not ours to write */
	/* ours instead, while that is served: it is asked, and not served before it answers */
	rr_make_image();
	rr_reload_reset();
	rr_works();
	assert_true(rr.h.epochs);
	assert_int_equal(rr.host.downs, 1);
	/* and the other way round */
	rr_remote_off();
	rr.image.vdev.config_len = 0;
	rr_load();
	rr_host_run();
	assert_false(rr.h.epochs);
	assert_true(rr.host.up);
}

/* One of ours is loaded over it between the look and the service: it has not been asked. */
static void test_foreign_remote_becomes_ours_before_it_is_served(void **state)
{
	(void)state;
	rr_free();
	rr_init(&(struct rr_opt){.foreign = true});
	rr_load();
	rr_host_start();
	amp_rproc_host_down(&rr.h);
	assert_int_equal(amp_rproc_host_look(&rr.h), AMP_RPROC_DOWN);
	assert_int_equal(amp_rproc_host_begin(&rr.h), 0);
	assert_int_equal(amp_rproc_host_look(&rr.h), AMP_RPROC_UP);
	rr.o.foreign = false;
	rr_make_image();
	rr_reload_reset();
	assert_int_equal(amp_rproc_host_up(&rr.h, rr.host.vq), -EAGAIN);
	rr_works();
}

/* A stale answer that happens to be the next number is none. */
static void test_an_answer_before_the_question(void **state)
{
	(void)state;
	served();
	rr_remote_off();
	rr_table()->vdev.config.remote_epoch = rr.h.epoch + 1;
	assert_int_equal(rr_host_start(), 0);
	rr_settle();
	assert_false(rr.host.up);
	rr_warm_reset();
	rr_works();
}

/* ---- a thousand times ---- */

static void rounds(const struct rr_opt *o)
{
	rr_free();
	rr_init(o);
	served();
	for (unsigned i = 0; i < 1000; i++) {
		if (i % 3)
			rr_warm_reset();
		else
			rr_reload_reset();
		rr_works();
		rr_traffic(i % 40);
	}
	assert_int_equal(rr.remote.ups, 1001);
	assert_int_equal(rr.host.downs, 1000);
	for (unsigned i = 0; i < 1000; i++) {
		/* something on its way each time: messages unread, buffers held, then gone */
		(void)rr_send(&rr.remote, AMP_RPROC_TX, 0);
		(void)rr_send(&rr.host, AMP_RPROC_RX, 0);
		if (i % 2) {
			amp_rproc_host_down(&rr.h);
			rr.remote.kicked = true;
		}
		rr_host_kill();
		if (i % 3)
			rr_settle();
		assert_int_equal(rr_host_start(), 0);
		rr_works();
		rr_traffic(i % 40);
	}
	assert_int_equal(rr.remote.ups, 2001);
	assert_int_equal(rr.bad_queue, 0);
	assert_int_equal(rr.bad_up, 0);
}

static void test_1000_restarts_of_each_side_lose_no_buffer(void **state)
{
	(void)state;
	rounds(&(struct rr_opt){.num = 16, .align = 16});
}

static void test_1000_restarts_with_large_buffers(void **state)
{
	(void)state;
	rounds(&(struct rr_opt){.mem_len = 0x60000,
				.table_off = 0x5fe00,
				.da = 0x8280000000,
				.num = 8,
				.align = 4096,
				.buf_len = {2048, 16384},
				.buf_cnt = 4});
}

/* The number wraps, and 0 is no epoch. */
static void test_epochs_wrap(void **state)
{
	(void)state;
	rr_load();
	rr_table()->vdev.config.host_epoch = UINT32_MAX - 1;
	rr_warm_reset();
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(rr_host_start(), 0);
		rr_works();
		assert_int_not_equal(rr.h.epoch, 0);
	}
	assert_in_range(rr.h.epoch, 1, 5);
}

/* ---- the trace buffer ---- */

static void test_trace(void **state)
{
	char buf[8];
	struct amp_rproc_trace t = {.buf = buf, .len = sizeof(buf)};

	(void)state;
	memset(buf, 0, sizeof(buf));
	amp_rproc_trace(&t, "abc", 3);
	assert_string_equal(buf, "abc");
	amp_rproc_trace(&t, "", 0);
	assert_string_equal(buf, "abc");
	amp_rproc_trace(&t, "defg", 4); /* seven bytes and a NUL: the end */
	assert_memory_equal(buf, "\0bcdefg\0", 8);
	amp_rproc_trace(&t, "hi", 2);
	assert_string_equal(buf, "hi");
	assert_memory_equal(buf + 3, "defg", 5);
	for (unsigned i = 0; i < 1000; i++)
		amp_rproc_trace(&t, "0123456789", i % 11);
	assert_int_equal(buf[7], 0);
	assert_in_range(t.at, 0, 6);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_remote_boots_then_host_starts),
		T(test_host_starts_then_remote_boots),
		T(test_host_starts_before_the_table_is_loaded),
		T(test_host_starts_then_remote_is_loaded_and_boots),
		T(test_remote_boots_late_and_looks_late),
		T(test_warm_reset_finds_driver_ok_standing),
		T(test_warm_reset_twice_before_the_host_looks),
		T(test_reload_begins_with_the_same_table_again),
		T(test_reload_twice_before_the_host_looks),
		T(test_host_looks_between_reload_and_boot),
		T(test_reload_between_answer_and_service),
		T(test_remote_finds_its_rings_broken),
		T(test_another_program_is_loaded),
		T(test_host_is_killed_and_starts_again),
		T(test_host_stops_in_order_and_starts_again),
		T(test_status_7_0_7_between_two_looks),
		T(test_host_restarts_many_times_between_two_looks),
		T(test_host_is_killed_before_the_remote_has_looked),
		T(test_host_is_killed_between_question_and_answer),
		T(test_host_restarts_while_the_remote_is_off),
		T(test_both_restart_at_once_remote_first),
		T(test_both_restart_at_once_host_first),
		T(test_both_restart_at_once_without_reload),
		T(test_neither_side_is_told_of_a_kick),
		T(test_linux_host_status_by_status),
		T(test_linux_host_has_driver_ok_before_the_remote_boots),
		T(test_linux_host_and_broken_rings_stay_down),
		T(test_linux_host_and_ours_take_turns),
		T(test_linux_host_layouts),
		T(test_our_layouts_are_linux_layouts),
		T(test_host_that_prefills_used_buffers),
		T(test_foreign_remote_is_served_once_and_again_when_told),
		T(test_foreign_remote_by_its_magic),
		T(test_foreign_remote_becomes_ours_before_it_is_served),
		T(test_an_answer_before_the_question),
		T(test_1000_restarts_of_each_side_lose_no_buffer),
		T(test_1000_restarts_with_large_buffers),
		T(test_epochs_wrap),
		T(test_trace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
