/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A remote and a host around one resource table in one process. Each side sleeps until it is
 * kicked, as firmware in WFI and a proxy in its loop do: rr_settle() runs whoever was kicked
 * until nobody is, so a protocol that needs one look more than it has kicks fails.
 *
 * The shared memory is one allocation of exactly its size. Where a test has caches, each side
 * sees it through a view of its own (rview, hview) and the test's cache hooks copy lines.
 *
 * Every time a side comes up it is a new life of it, and its first message says which. What
 * arrives on a link that is up must be from the other side's present life: rings that a former
 * life has touched would show.
 */
#ifndef RPROC_RIG_H
#define RPROC_RIG_H

#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "virtio/remoteproc.h"
#include "virtio/vring.h"
#include "wire/le.h"

#define RR_NUM_MAX 256u
#define RR_LOOKS   64u /* of one side in a row, and of both until it is quiet */

struct rr_opt {
	size_t mem_len, table_off;
	uint64_t da;
	uint16_t num, align;
	uint32_t trace_len;
	uint32_t vring_da[AMP_RPROC_VRINGS]; /* 0: AMP_RSC_ADDR_ANY */
	uint32_t buf_len[AMP_RPROC_VRINGS];
	uint16_t buf_cnt;
	bool foreign; /* a table without our configuration space */
};

struct rr_side {
	struct amp_vq vq[AMP_RPROC_VRINGS];
	bool running, up, kicked;
	bool off_at_end;      /* (races) not to be started by the test's end */
	unsigned ups, downs;  /* of links: what sockets would hear */
	uint32_t life;	      /* number of the present one */
	uint32_t sent, taken; /* messages in this life */
};

struct rr {
	struct rr_opt o;
	uint8_t *ram, *rview, *hview;
	struct amp_rsc_table image; /* what a loader loads */
	struct amp_rproc rp;
	struct amp_rproc_host h;
	uint16_t *state[AMP_RPROC_VRINGS];
	struct rr_side remote, host;
	unsigned bad_queue; /* amp_rproc_queue() refused */
	unsigned bad_up;    /* amp_rproc_host_up() refused */
	int begin_err;	    /* the last amp_rproc_host_begin() */
	/* a side is up or no longer: instead of first messages, where a bus lies on top */
	void (*changed)(struct rr_side *s);
};

static struct rr rr;

/* Where the table is, in main memory: for what neither side does. */
static inline volatile struct amp_rsc_table *rr_table(void)
{
	return (volatile struct amp_rsc_table *)(void *)(rr.ram + rr.o.table_off);
}

/* ---- messages ---- */

#ifndef RR_CLEAN /* a device's buffers are its owner's to clean: the bus does */
#define RR_CLEAN(p, len)
#endif

static inline bool rr_send(struct rr_side *s, unsigned vring, uint32_t seq)
{
	struct amp_iov iov;
	struct amp_vq_buf b = {.iov = &iov, .iov_max = 1};
	int r = amp_vq_get(&s->vq[vring], &b);

	assert_true(r >= 0);
	if (r == 0)
		return false;
	assert_true(b.len >= 64);
	amp_put_le32(iov.base, s->life);
	amp_put_le32((uint8_t *)iov.base + 4, seq);
	memset((uint8_t *)iov.base + 8, (int)(seq & 0xff), b.len - 8);
	RR_CLEAN(iov.base, b.len);
	amp_vq_put(&s->vq[vring], b.id, b.len);
	return true;
}

/* The next message, from the peer's present life and the next in order. */
static inline bool rr_receive(struct rr_side *s, const struct rr_side *peer, unsigned vring)
{
	struct amp_iov iov;
	struct amp_vq_buf b = {.iov = &iov, .iov_max = 1};
	int r = amp_vq_get(&s->vq[vring], &b);

	assert_true(r >= 0);
	if (r == 0)
		return false;
	assert_int_equal(amp_le32(iov.base), peer->life);
	assert_int_equal(amp_le32((uint8_t *)iov.base + 4), s->taken);
	assert_int_equal(((uint8_t *)iov.base)[b.len - 1], s->taken & 0xff);
	s->taken++;
	amp_vq_put(&s->vq[vring], b.id, 0);
	return true;
}

static inline void rr_came_up(struct rr_side *s, struct rr_side *peer, unsigned out)
{
	static uint32_t lives = 100;

	s->up = true;
	s->ups++;
	s->life = ++lives;
	s->sent = s->taken = 0;
	if (rr.changed)
		rr.changed(s);
	else if (rr_send(s, out, s->sent))
		s->sent++;
	peer->kicked = true;
}

/* ---- the two sides ---- */

static inline void rr_gone(struct rr_side *s)
{
	if (!s->up)
		return;
	s->downs++;
	s->up = false;
	if (rr.changed)
		rr.changed(s);
}

/* Both volatile: a test may leave a side in the middle of anything. */
static inline void rr_remote_run(void)
{
	struct rr_side *s = &rr.remote;

	s->kicked = false;
	for (unsigned i = 0; i < RR_LOOKS; i++) {
		switch (amp_rproc_look(&rr.rp)) {
		case AMP_RPROC_NOTHING:
			return;
		case AMP_RPROC_DOWN:
			rr_gone(s);
			amp_rproc_boot(&rr.rp);
			rr.host.kicked = true;
			break;
		case AMP_RPROC_UP:
			if (amp_rproc_queue(&rr.rp, 0, &s->vq[0]) ||
			    amp_rproc_queue(&rr.rp, 1, &s->vq[1]))
				rr.bad_queue++;
			else
				rr_came_up(s, &rr.host, AMP_RPROC_TX);
			break;
		}
	}
	fail_msg("the remote's looks never end");
}

static inline void rr_host_run(void)
{
	struct rr_side *s = &rr.host;

	s->kicked = false;
	for (unsigned i = 0; i < RR_LOOKS; i++) {
		switch (amp_rproc_host_look(&rr.h)) {
		case AMP_RPROC_NOTHING:
			return;
		case AMP_RPROC_DOWN:
			rr_gone(s);
			rr.begin_err = amp_rproc_host_begin(&rr.h);
			if (rr.begin_err)
				return; /* again at the next kick */
			rr.remote.kicked = true;
			break;
		case AMP_RPROC_UP:
			if (amp_rproc_host_up(&rr.h, s->vq))
				rr.bad_up++;
			else
				rr_came_up(s, &rr.remote, AMP_RPROC_RX);
			break;
		}
	}
	fail_msg("the host's looks never end");
}

static inline void rr_settle(void)
{
	for (unsigned i = 0; i < RR_LOOKS; i++) {
		if (rr.remote.kicked && rr.remote.running)
			rr_remote_run();
		else if (rr.host.kicked && rr.host.running)
			rr_host_run();
		else
			return;
	}
	fail_msg("the two sides never come to rest");
}

/* The program is loaded: the table as it is in the ELF. */
static inline void rr_load(void)
{
	memcpy(rr.ram + rr.o.table_off, &rr.image, sizeof(rr.image));
}

static inline void rr_remote_off(void)
{
	rr_gone(&rr.remote);
	rr.remote.running = false;
}

/* The core starts: nothing that it knew before is left. */
static inline void rr_remote_boot(void)
{
	if (rr.rview != rr.ram)
		memcpy(rr.rview, rr.ram, rr.o.mem_len); /* its cache is empty */
	rr_gone(&rr.remote);
	memset(&rr.rp, 0, sizeof(rr.rp));
	rr.rp.table = (void *)(rr.rview + rr.o.table_off);
	rr.rp.shm = rr.rview;
	rr.rp.shm_da = rr.o.da;
	rr.rp.shm_len = rr.o.mem_len;
	rr.rp.num = rr.o.num;
	rr.rp.align = rr.o.align;
	rr.remote.running = true;
	amp_rproc_boot(&rr.rp);
	rr.host.kicked = true;
	rr_remote_run();
}

/* Reset without a loader: memory stays as it is. */
static inline void rr_warm_reset(void)
{
	rr_remote_boot();
}

/* Reset with one (QEMU's loads the ELF again). */
static inline void rr_reload_reset(void)
{
	rr_load();
	rr_remote_boot();
}

/* The process is gone, without a last word. */
static inline void rr_host_kill(void)
{
	rr.host.running = rr.host.up = false;
	for (unsigned i = 0; i < AMP_RPROC_VRINGS; i++) {
		free(rr.state[i]);
		rr.state[i] = NULL;
	}
}

static inline int rr_host_start(void)
{
	rr_host_kill();
	if (rr.hview != rr.ram)
		memcpy(rr.hview, rr.ram, rr.o.mem_len);
	memset(&rr.h, 0, sizeof(rr.h));
	rr.h.mem = rr.hview;
	rr.h.mem_da = rr.o.da;
	rr.h.mem_len = rr.o.mem_len;
	rr.h.buf_cnt = rr.o.buf_cnt;
	rr.h.state_len = RR_NUM_MAX;
	for (unsigned i = 0; i < AMP_RPROC_VRINGS; i++) {
		rr.h.buf_len[i] = rr.o.buf_len[i];
		rr.state[i] = malloc(RR_NUM_MAX * sizeof(uint16_t));
		rr.h.state[i] = rr.state[i];
	}
	rr.host.running = true;
	rr.begin_err = amp_rproc_host_init(&rr.h, rr.o.table_off);
	if (rr.begin_err == 0)
		rr_host_run();
	return rr.begin_err;
}

/* ---- the whole ---- */

static inline void rr_make_image(void)
{
	const struct rr_opt *o = &rr.o;
	uint32_t end = (uint32_t)o->da + (uint32_t)o->mem_len - o->trace_len;
	struct amp_rsc_table t = AMP_RSC_TABLE_INIT(
		(uint32_t)o->da, (uint32_t)o->mem_len, o->trace_len ? end : 0, o->trace_len,
		o->num, o->align, o->vring_da[0] ? o->vring_da[0] : AMP_RSC_ADDR_ANY,
		o->vring_da[1] ? o->vring_da[1] : AMP_RSC_ADDR_ANY);

	if (o->foreign)
		t.vdev.config_len = 0;
	rr.image = t;
}

static inline void rr_init(const struct rr_opt *o)
{
	memset(&rr, 0, sizeof(rr));
	rr.o = *o;
	if (!rr.o.mem_len)
		rr.o.mem_len = 0x8000;
	if (!rr.o.da)
		rr.o.da = 0x21000000;
	if (!rr.o.num)
		rr.o.num = 8;
	if (!rr.o.align)
		rr.o.align = 64;
	if (posix_memalign((void **)&rr.ram, 4096, rr.o.mem_len))
		abort();
	memset(rr.ram, 0xa5, rr.o.mem_len);
	rr.rview = rr.hview = rr.ram;
	rr_make_image();
}

static inline void rr_free(void)
{
	rr_host_kill();
	if (rr.rview != rr.ram)
		free(rr.rview);
	if (rr.hview != rr.ram)
		free(rr.hview);
	free(rr.ram);
	rr.ram = NULL;
}

/* ---- what must hold when all is quiet ---- */

/* All empty buffers of an out queue, and back. */
static inline unsigned rr_count_empty(struct rr_side *s, unsigned vring)
{
	uint16_t id[RR_NUM_MAX];
	unsigned n = 0;

	for (;;) {
		struct amp_iov iov;
		struct amp_vq_buf b = {.iov = &iov, .iov_max = 1};
		int r = amp_vq_get(&s->vq[vring], &b);

		assert_true(r >= 0);
		if (r == 0)
			break;
		assert_true(n < RR_NUM_MAX);
		id[n++] = b.id;
	}
	for (unsigned i = n; i--;)
		amp_vq_unget(&s->vq[vring], id[i]);
	return n;
}

/* n messages each way in bursts, and every buffer is back where it was. */
static inline void rr_traffic(unsigned n)
{
	struct rr_side *r = &rr.remote, *h = &rr.host;

	assert_true(r->up && h->up);
	for (unsigned i = 0; i < n; i++) {
		if (rr_send(r, AMP_RPROC_TX, r->sent))
			r->sent++;
		if (rr_send(h, AMP_RPROC_RX, h->sent))
			h->sent++;
		if (i % 3 == 0) {
			while (rr_receive(h, r, AMP_RPROC_TX))
				;
			while (rr_receive(r, h, AMP_RPROC_RX))
				;
		}
	}
	while (rr_receive(h, r, AMP_RPROC_TX))
		;
	while (rr_receive(r, h, AMP_RPROC_RX))
		;
	assert_int_equal(h->taken, r->sent);
	assert_int_equal(r->taken, h->sent);
	assert_int_equal(rr_count_empty(r, AMP_RPROC_TX), rr.h.ring[AMP_RPROC_TX].buf_cnt);
	assert_int_equal(rr_count_empty(h, AMP_RPROC_RX), rr.h.ring[AMP_RPROC_RX].buf_cnt);
}

/* Both are up, on the same epoch, and it works. */
static inline void rr_works(void)
{
	rr_settle();
	assert_true(rr.remote.up);
	assert_true(rr.host.up);
	if (!rr.o.foreign) {
		assert_int_equal(rr.rp.epoch, rr.h.epoch);
		assert_int_not_equal(rr.rp.epoch, 0);
	}
	rr_traffic(10);
}

#endif /* RPROC_RIG_H */
