// SPDX-License-Identifier: BSD-3-Clause
// The split ring: both ends against each other, then each end against a liar.
// build: -O1 src/virtio/vq_split.c -DAMPSOCK_CACHE_HOOKS=1
// timeout: 60
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <semaphore.h>
#include <time.h>
#include <cmocka.h>

#include "port/port.h"
#include "ringpair.h"

#define IOVS 40

/*
 * The cache hooks stand before every read and behind every write of shared memory: that
 * is where the other end may come in between. See "interleavings" below.
 */
static void (*on_shared)(void);

void amp_port_cache_clean(const volatile void *addr, size_t len)
{
	(void)addr;
	(void)len;
	if (on_shared)
		on_shared();
}

void amp_port_cache_invalidate(const volatile void *addr, size_t len)
{
	amp_port_cache_clean(addr, len);
}

static struct amp_vq_buf buf_on(struct amp_iov *iov, uint16_t max)
{
	return (struct amp_vq_buf){.iov = iov, .iov_max = max};
}

static struct amp_vq *in_end(struct ringpair *rp)
{
	return rp->drv.dir == AMP_VQ_IN ? &rp->drv : &rp->dev;
}

static struct amp_vq *out_end(struct ringpair *rp)
{
	return rp->drv.dir == AMP_VQ_OUT ? &rp->drv : &rp->dev;
}

/* ---- both ends honest ---- */

static void layout_figures(void **state)
{
	static const struct {
		uint16_t num;
		size_t avail, used, len;
	} want[] = {
		{1, 16, 24, 38},
		{2, 32, 44, 66},
		{8, 128, 152, 222},
		{256, 4096, 4616, 6670},
		{1024, 16384, 18440, 26638},
	};
	size_t a, u;

	(void)state;
	for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		assert_int_equal(amp_vq_layout(want[i].num, &a, &u), want[i].len);
		assert_int_equal(a, want[i].avail);
		assert_int_equal(u, want[i].used);
	}
	assert_int_equal(sizeof(struct vring_desc), 16);
	assert_int_equal(sizeof(struct vring_used_elem), 8);
}

static void init_refuses(void **state)
{
	struct ringpair rp;
	struct rp_opt o = {.num = 8, .buf_len = 64};
	struct amp_vq_setup s;
	struct amp_vq vq;
	static const uint16_t bad[] = {0, 3, 6, 1023, 2048, 32768, 65535};

	(void)state;
	assert_int_equal(rp_init(&rp, &o), 0);
	s = (struct amp_vq_setup){.num = 8,
				  .desc = rp.mem,
				  .avail = rp.mem + rp.avail_off,
				  .used = rp.mem + rp.used_off,
				  .state = rp.state};
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		s.num = bad[i];
		assert_int_equal(amp_vq_init(&vq, &s), -EINVAL);
	}
	s.num = 8;
	s.desc = rp.mem + 8;
	assert_int_equal(amp_vq_init(&vq, &s), -EINVAL);
	s.desc = rp.mem;
	s.avail = rp.mem + rp.avail_off + 1;
	assert_int_equal(amp_vq_init(&vq, &s), -EINVAL);
	s.avail = rp.mem + rp.avail_off;
	s.used = rp.mem + rp.used_off + 2;
	assert_int_equal(amp_vq_init(&vq, &s), -EINVAL);
	s.used = rp.mem + rp.used_off;
	assert_int_equal(amp_vq_init(&vq, &s), 0);
	assert_int_equal(amp_vq_pool(&vq, rp.pool, 64, 0), -EINVAL);
	assert_int_equal(amp_vq_pool(&vq, rp.pool, 64, 9), -EINVAL);
	assert_int_equal(amp_vq_pool(&vq, rp.pool, 0, 8), -EINVAL);
	assert_int_equal(amp_vq_pool(&rp.dev, rp.pool, 64, 8), -EINVAL);
	rp_free(&rp);
}

/* Send total buffers from the out end to the in end in random bursts, each checked. */
static void traffic(const struct rp_opt *o, uint32_t total, uint32_t seed)
{
	struct ringpair rp;
	struct amp_iov iov[IOVS];
	uint32_t sent = 0, seen = 0, cnt = o->cnt ? o->cnt : o->num;
	struct amp_vq *in, *out;

	assert_int_equal(rp_init(&rp, o), 0);
	in = in_end(&rp);
	out = out_end(&rp);
	while (seen < total) {
		uint32_t burst = rp_rand(&seed) % (cnt + 1);

		while (burst-- && sent < total) {
			struct amp_vq_buf b = buf_on(iov, IOVS);
			uint32_t len = 4 + sent % (o->buf_len - 3);
			int r = amp_vq_get(out, &b);

			if (r == 0)
				break;
			assert_int_equal(r, 1);
			assert_int_equal(b.iov_cnt, 1);
			assert_int_equal(b.len, o->buf_len);
			memset(b.iov[0].base, (int)(sent & 0xff), len);
			memcpy(b.iov[0].base, &sent, 4);
			amp_vq_put(out, b.id, len);
			sent++;
		}
		assert_true(sent - seen <= cnt);
		assert_int_equal(amp_vq_avail(in), sent - seen);
		burst = rp_rand(&seed) % (cnt + 1);
		while (burst--) {
			struct amp_vq_buf b = buf_on(iov, IOVS);
			int r = amp_vq_get(in, &b);
			uint32_t word;

			if (r == 0) {
				assert_int_equal(seen, sent);
				break;
			}
			assert_int_equal(r, 1);
			assert_int_equal(b.len, 4 + seen % (o->buf_len - 3));
			memcpy(&word, b.iov[0].base, 4);
			assert_int_equal(word, seen);
			if (b.len > 4)
				assert_int_equal(((uint8_t *)b.iov[0].base)[b.len - 1],
						 seen & 0xff);
			amp_vq_put(in, b.id, 0);
			seen++;
		}
	}
	assert_false(rp.drv.broken || rp.dev.broken);
	rp_free(&rp);
}

static void every_size_both_directions(void **state)
{
	(void)state;
	for (uint16_t num = 1; num <= 1024; num = (uint16_t)(num * 2)) {
		for (unsigned k = 0; k < 8; k++) {
			struct rp_opt o = {.num = num,
					   .buf_len = 24,
					   .bus_off = k & 4 ? 0x7000000000 : 0,
					   .drv_dir = k & 1 ? AMP_VQ_IN : AMP_VQ_OUT,
					   .event_idx = k & 2};

			traffic(&o, 3u * num + 7u, num + k);
		}
	}
}

static void pool_smaller_than_ring(void **state)
{
	struct rp_opt o = {.num = 16, .buf_len = 24, .cnt = 5, .drv_dir = AMP_VQ_OUT};

	(void)state;
	traffic(&o, 1000, 1);
	o.drv_dir = AMP_VQ_IN;
	traffic(&o, 1000, 2);
	o.cnt = 1;
	traffic(&o, 1000, 3);
}

static void indices_wrap(void **state)
{
	struct rp_opt o = {.num = 8, .buf_len = 16, .drv_dir = AMP_VQ_OUT, .event_idx = true};

	(void)state;
	traffic(&o, 200000, 11);
	o.drv_dir = AMP_VQ_IN;
	o.num = 1;
	traffic(&o, 200000, 12);
}

/* A device that takes over: avail and used indices far from 0, notifications left off. */
static void start_idx_not_zero(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 4; k++) {
		struct rp_opt o = {.num = 4,
				   .buf_len = 16,
				   .event_idx = k & 1,
				   .drv_dir = k & 2 ? AMP_VQ_IN : AMP_VQ_OUT};
		struct ringpair rp;
		struct amp_iov iov[IOVS];

		assert_int_equal(rp_init(&rp, &o), 0);
		for (uint32_t i = 0; i < 70000; i++) {
			struct amp_vq_buf b = buf_on(iov, IOVS);

			if (i % 9973 == 0) {
				amp_vq_disarm(&rp.dev);
				(void)amp_vq_kick_due(&rp.drv);
				assert_int_equal(rp_dev_init(&rp, &o, rp.dev.get_idx), 0);
				assert_int_equal(rp.dev.put_idx, rp_used(&rp)->idx);
				/* the new one must hear of the next buffer though it has not
				 * armed yet */
				if (o.drv_dir == AMP_VQ_OUT) {
					assert_int_equal(amp_vq_get(&rp.drv, &b), 1);
					amp_vq_put(&rp.drv, b.id, 1);
					assert_true(amp_vq_kick_due(&rp.drv));
					assert_int_equal(amp_vq_get(&rp.dev, &b), 1);
					amp_vq_put(&rp.dev, b.id, 0);
				}
			}
			assert_int_equal(amp_vq_get(out_end(&rp), &b), 1);
			*(uint32_t *)b.iov[0].base = i;
			amp_vq_put(out_end(&rp), b.id, 4);
			assert_int_equal(amp_vq_get(in_end(&rp), &b), 1);
			assert_int_equal(*(uint32_t *)b.iov[0].base, i);
			amp_vq_put(in_end(&rp), b.id, 0);
			assert_int_equal(amp_vq_get(in_end(&rp), &b), 0);
		}
		rp_free(&rp);
	}
}

/* A driver whose used index began at N (rpmsg-lite): the device goes on from there. */
static void used_idx_pre_advanced(void **state)
{
	struct rp_opt o = {.num = 8, .buf_len = 16, .drv_dir = AMP_VQ_IN};
	struct ringpair rp;
	struct amp_iov iov[IOVS];
	struct amp_vq_buf b = buf_on(iov, IOVS);

	(void)state;
	assert_int_equal(rp_init(&rp, &o), 0);
	rp_used(&rp)->idx = 8;
	assert_int_equal(rp_dev_init(&rp, &o, 0), 0);
	assert_int_equal(amp_vq_get(&rp.dev, &b), 1);
	amp_vq_put(&rp.dev, b.id, 4);
	assert_int_equal(rp_used(&rp)->idx, 9);
	assert_int_equal(rp_used(&rp)->ring[0].id, b.id);
	assert_int_equal(rp_used(&rp)->ring[0].len, 4);
	rp_free(&rp);
}

/* Posted chains: any memory, several segments, with and without an indirect table. */
static void posted_chains(void **state)
{
	(void)state;
	for (unsigned ind = 0; ind < 2; ind++) {
		struct rp_opt o = {.num = 8, .drv_dir = AMP_VQ_OUT, .indirect = ind};
		struct vring_desc table[3] __attribute__((aligned(16)));
		struct ringpair rp;
		char a[10] = "abcdefghij", c[20] = "0123456789012345678", d[5] = "vwxyz";
		struct amp_iov post[3] = {{a, 10}, {c, 20}, {d, 5}}, iov[IOVS];
		uint16_t id;
		uint32_t len;

		assert_int_equal(rp_init(&rp, &o), 0);
		rp.map[0] = (struct rp_map){(uintptr_t)a, 10, (uint8_t *)a};
		rp.map[1] = (struct rp_map){(uintptr_t)c, 20, (uint8_t *)c};
		rp.map[2] = (struct rp_map){(uintptr_t)d, 5, (uint8_t *)d};
		rp.map[3] = (struct rp_map){(uintptr_t)table, sizeof(table), (uint8_t *)table};
		assert_int_equal(amp_vq_reap(&rp.drv, &id, &len), 0);
		for (unsigned i = 0; i < 5000; i++) {
			struct amp_vq_buf b = buf_on(iov, 3);
			int h1 = amp_vq_post(&rp.drv, post, 3, 0, ind ? table : NULL), h2;

			assert_true(h1 >= 0);
			h2 = amp_vq_post(&rp.drv, post, 3, 0, ind ? table : NULL);
			assert_true(h2 >= 0 && h2 != h1);
			if (!ind)
				assert_int_equal(amp_vq_post(&rp.drv, post, 3, 0, NULL),
						 -EAGAIN);
			assert_int_equal(rp.drv.free_cnt, ind ? 6 : 2);
			assert_int_equal(amp_vq_get(&rp.dev, &b), 1);
			assert_int_equal(b.id, h1);
			assert_int_equal(b.iov_cnt, 3);
			assert_int_equal(b.len, 35);
			assert_ptr_equal(b.iov[1].base, c);
			assert_int_equal(b.iov[2].len, 5);
			if (i == 4999) { /* one segment too few: broken, not cut */
				b.iov_max = 2;
				assert_int_equal(amp_vq_get(&rp.dev, &b), -EBADMSG);
				break;
			}
			assert_int_equal(amp_vq_get(&rp.dev, &b), 1);
			/* back in the other order */
			amp_vq_put(&rp.dev, (uint16_t)h2, 0);
			amp_vq_put(&rp.dev, (uint16_t)h1, 7);
			assert_int_equal(amp_vq_reap(&rp.drv, &id, &len), 1);
			assert_int_equal(id, h2);
			assert_int_equal(amp_vq_reap(&rp.drv, &id, &len), 1);
			assert_int_equal(id, h1);
			assert_int_equal(len, 7);
			assert_int_equal(rp.drv.free_cnt, 8);
		}
		assert_non_null(rp.dev.why);
		rp_free(&rp);
	}
}

static void post_refuses(void **state)
{
	struct rp_opt o = {.num = 2, .drv_dir = AMP_VQ_IN};
	struct ringpair rp;
	char a[4];
	struct amp_iov post[4] = {{a, 1}, {a, 1}, {a, 1}, {a, 1}};

	(void)state;
	assert_int_equal(rp_init(&rp, &o), 0);
	assert_int_equal(amp_vq_post(&rp.drv, post, 0, 0, NULL), -EINVAL);
	assert_int_equal(amp_vq_post(&rp.drv, post, 0, 3, NULL), -EINVAL);
	assert_int_equal(amp_vq_post(&rp.drv, post, 0, 1, a), -EINVAL); /* not negotiated */
	assert_int_equal(amp_vq_post(&rp.dev, post, 0, 1, NULL), -EINVAL);
	assert_int_equal(amp_vq_post(&rp.drv, post, 0, 2, NULL), 0);
	assert_int_equal(amp_vq_post(&rp.drv, post, 0, 1, NULL), -EAGAIN);
	rp_free(&rp);
}

/* Writable chains of a device's out queue; a range over two mappings becomes two segments. */
static void chain_across_mappings(void **state)
{
	struct rp_opt o = {.num = 4, .drv_dir = AMP_VQ_IN};
	struct ringpair rp;
	uint8_t x[16], y[16];
	struct amp_iov post[1] = {{(void *)(uintptr_t)0x1008, 24}}, iov[IOVS];
	struct amp_vq_buf b = buf_on(iov, IOVS);

	(void)state;
	assert_int_equal(rp_init(&rp, &o), 0);
	rp.map[0] = (struct rp_map){0x1000, 16, x};
	rp.map[1] = (struct rp_map){0x1010, 16, y};
	on_shared = NULL;
	assert_int_equal(amp_vq_post(&rp.drv, post, 0, 1, NULL), 0);
	assert_int_equal(amp_vq_get(&rp.dev, &b), 1);
	assert_int_equal(b.iov_cnt, 2);
	assert_ptr_equal(b.iov[0].base, x + 8);
	assert_int_equal(b.iov[0].len, 8);
	assert_ptr_equal(b.iov[1].base, y);
	assert_int_equal(b.iov[1].len, 16);
	amp_vq_put(&rp.dev, b.id, 24);
	/* one byte beyond the second mapping */
	post[0].len = 25;
	assert_true(amp_vq_post(&rp.drv, post, 0, 1, NULL) >= 0);
	assert_int_equal(amp_vq_get(&rp.dev, &b), -EBADMSG);
	rp_free(&rp);
}

static void unget_gives_the_same_again(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 4; k++) {
		struct rp_opt o = {
			.num = 4, .buf_len = 16, .drv_dir = k & 1 ? AMP_VQ_IN : AMP_VQ_OUT};
		struct ringpair rp;
		struct amp_iov iov[IOVS];
		struct amp_vq_buf a = buf_on(iov, IOVS), b = buf_on(iov + 8, 8);
		struct amp_vq *vq;

		assert_int_equal(rp_init(&rp, &o), 0);
		for (unsigned i = 0; i < 2; i++) { /* two in flight */
			assert_int_equal(amp_vq_get(out_end(&rp), &a), 1);
			memset(a.iov[0].base, (int)('a' + i), 4);
			if (k & 2)
				amp_vq_put(out_end(&rp), a.id, 4);
			else
				amp_vq_unget(out_end(&rp), a.id);
		}
		vq = k & 2 ? in_end(&rp) : out_end(&rp);
		for (unsigned i = 0; i < 1000; i++) {
			uint16_t first, second;

			assert_int_equal(amp_vq_get(vq, &a), 1);
			first = a.id;
			assert_int_equal(amp_vq_get(vq, &b), 1);
			second = b.id;
			amp_vq_unget(vq, b.id);
			amp_vq_unget(vq, a.id);
			assert_int_equal(amp_vq_get(vq, &a), 1);
			assert_int_equal(a.id, first);
			assert_int_equal(amp_vq_get(vq, &b), 1);
			assert_int_equal(b.id, second);
			amp_vq_unget(vq, b.id);
			amp_vq_unget(vq, a.id);
		}
		assert_false(vq->broken);
		rp_free(&rp);
	}
}

/* First got, first ungot: nothing is lost, doubled or broken, though the order may change. */
static void unget_out_of_order(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 4; k++) {
		struct rp_opt o = {
			.num = 4, .buf_len = 16, .drv_dir = k & 1 ? AMP_VQ_IN : AMP_VQ_OUT};
		struct ringpair rp;
		struct amp_iov iov[IOVS];
		struct amp_vq_buf a = buf_on(iov, 8), b = buf_on(iov + 8, 8);
		struct amp_vq *vq, *other;

		assert_int_equal(rp_init(&rp, &o), 0);
		vq = k & 2 ? in_end(&rp) : out_end(&rp);
		other = k & 2 ? out_end(&rp) : in_end(&rp);
		for (unsigned i = 0; i < 1000; i++) {
			while (k & 2 && amp_vq_get(other, &a) == 1)
				amp_vq_put(other, a.id, 4);
			assert_int_equal(amp_vq_get(vq, &a), 1);
			assert_int_equal(amp_vq_get(vq, &b), 1);
			amp_vq_unget(vq, a.id);
			amp_vq_unget(vq, b.id);
			/* a device's out queue sent an empty buffer: the driver takes and
			 * reposts it */
			while (!(k & 2) && amp_vq_get(other, &a) == 1)
				amp_vq_put(other, a.id, 0);
			while (k & 2 && amp_vq_get(vq, &a) == 1)
				amp_vq_put(vq, a.id, 0);
		}
		assert_false(rp.drv.broken || rp.dev.broken);
		/* all four are still there */
		if (!(k & 2))
			for (unsigned i = 0; i < 4; i++)
				assert_int_equal(amp_vq_get(vq, &a), 1);
		rp_free(&rp);
	}
}

/* ---- notifications ---- */

static void put_one(struct ringpair *rp)
{
	struct amp_iov iov[IOVS];
	struct amp_vq_buf b = buf_on(iov, IOVS);

	assert_int_equal(amp_vq_get(out_end(rp), &b), 1);
	amp_vq_put(out_end(rp), b.id, 1);
}

static unsigned drain(struct ringpair *rp)
{
	struct amp_iov iov[IOVS];
	struct amp_vq_buf b = buf_on(iov, IOVS);
	unsigned n = 0;

	while (amp_vq_get(in_end(rp), &b) == 1) {
		amp_vq_put(in_end(rp), b.id, 0);
		n++;
	}
	return n;
}

/* Awake peers are not kicked; a sleeping one once per burst. Buffers go back unkicked too. */
static void kicks_per_burst(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 4; k++) {
		struct rp_opt o = {.num = 16,
				   .buf_len = 16,
				   .event_idx = k & 1,
				   .drv_dir = k & 2 ? AMP_VQ_IN : AMP_VQ_OUT};
		struct ringpair rp;
		unsigned kicks;

		assert_int_equal(rp_init(&rp, &o), 0);
		drain(&rp);
		amp_vq_disarm(out_end(&rp));
		/* once around the 16-bit index, so that an old event index is met again */
		for (unsigned i = 0; i < 9000; i++) {
			assert_false(amp_vq_arm(in_end(&rp)));
			kicks = 0;
			for (unsigned n = 0; n < 10; n++) {
				put_one(&rp);
				kicks += amp_vq_kick_due(out_end(&rp));
				if (n == 0)
					amp_vq_disarm(in_end(&rp)); /* it woke up */
			}
			assert_int_equal(kicks, 1);
			assert_int_equal(drain(&rp), 10);
			(void)amp_vq_kick_due(in_end(&rp));
			/* awake: none */
			kicks = 0;
			for (unsigned n = 0; n < 10; n++) {
				put_one(&rp);
				kicks += amp_vq_kick_due(out_end(&rp));
				if (n & 1)
					drain(&rp);
			}
			assert_int_equal(kicks, 0);
			/* nothing new, no kick */
			assert_false(amp_vq_kick_due(out_end(&rp)));
			drain(&rp);
		}
		/* the refills of a producer that does not wait for them: at most a stray or two
		 */
		assert_true(in_end(&rp)->kicks <= 3);
		rp_free(&rp);
	}
}

/* A device that looks by itself: what it had asked for does not come, until it asks again. */
static void hushed(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		struct rp_opt o = {
			.num = 16, .buf_len = 16, .event_idx = k & 1, .drv_dir = AMP_VQ_OUT};
		struct ringpair rp;

		assert_int_equal(rp_init(&rp, &o), 0);
		for (unsigned i = 0; i < 70000; i++) { /* once around the 16-bit index */
			assert_false(amp_vq_arm(in_end(&rp)));
			amp_vq_hush(in_end(&rp));
			for (unsigned n = 0; n < 2; n++) {
				put_one(&rp);
				assert_false(amp_vq_kick_due(out_end(&rp)));
				assert_int_equal(drain(&rp), 1);
			}
			assert_false(amp_vq_arm(in_end(&rp)));
			put_one(&rp);
			assert_true(amp_vq_kick_due(out_end(&rp)));
			assert_int_equal(drain(&rp), 1);
		}
		rp_free(&rp);
	}
}

/* The whole burst put, then one question: one kick, wherever in the burst the event lies. */
static void burst_then_kick(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		struct rp_opt o = {.num = 8, .buf_len = 16, .event_idx = k};
		struct ringpair rp;

		o.drv_dir = AMP_VQ_OUT;
		assert_int_equal(rp_init(&rp, &o), 0);
		for (unsigned i = 0; i < 20000; i++) {
			unsigned n = 1 + i % 8;

			assert_false(amp_vq_arm(in_end(&rp)));
			for (unsigned j = 0; j < n; j++)
				put_one(&rp);
			assert_true(amp_vq_kick_due(out_end(&rp)));
			assert_false(amp_vq_kick_due(out_end(&rp)));
			assert_true(
				amp_vq_arm(in_end(&rp))); /* came in the meantime: look again */
			assert_int_equal(drain(&rp), n);
		}
		rp_free(&rp);
	}
}

/*
 * Interleavings. Two threads run by turns: at each access to shared memory the schedule
 * (one bit per step) says who goes on. The producer puts a buffer and asks kick_due; the
 * consumer drains, arms, and sleeps if arm says that nothing came. Asleep, with a buffer
 * in the ring and no kick: a lost notification.
 */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	uint32_t schedule;
	unsigned step;
	int turn; /* 0, 1 */
	bool over[2];
	struct ringpair rp;
	bool kicked, asleep;
	unsigned got;
} il = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static _Thread_local int il_me;

static void il_wait_turn(void)
{
	while (il.turn != il_me)
		pthread_cond_wait(&il.cond, &il.lock);
}

static void il_point(void)
{
	int next = (int)(il.schedule >> (il.step & 31) & 1);

	il.step++;
	if (il.over[next])
		next = !next;
	if (next == il_me)
		return;
	il.turn = next;
	pthread_cond_broadcast(&il.cond);
	il_wait_turn();
}

static void il_end(void)
{
	il.over[il_me] = true;
	il.turn = !il_me;
	pthread_cond_broadcast(&il.cond);
}

static void *il_consumer(void *arg)
{
	il_me = 1;
	pthread_mutex_lock(&il.lock);
	il_wait_turn();
	(void)arg;
	for (unsigned i = 0; i < 2 && !il.asleep; i++) {
		il.got += drain(&il.rp);
		il_point();
		il.asleep = !amp_vq_arm(in_end(&il.rp));
	}
	il_end();
	pthread_mutex_unlock(&il.lock);
	return NULL;
}

static void il_producer(void)
{
	il_me = 0;
	il_wait_turn();
	put_one(&il.rp);
	il_point();
	il.kicked |= amp_vq_kick_due(out_end(&il.rp));
	il_end();
}

static void no_notification_lost(void **state)
{
	unsigned slept = 0, kicked = 0;

	(void)state;
	for (uint32_t run = 0; run < 4u << 10; run++) {
		struct rp_opt o = {.num = 2,
				   .buf_len = 8,
				   .event_idx = run & 1,
				   .drv_dir = run & 2 ? AMP_VQ_IN : AMP_VQ_OUT};
		pthread_t t;

		assert_int_equal(rp_init(&il.rp, &o), 0);
		if (run & 4) { /* not the first: the event index has been written before */
			put_one(&il.rp);
			(void)amp_vq_kick_due(out_end(&il.rp));
			drain(&il.rp);
			(void)amp_vq_kick_due(in_end(&il.rp));
		}
		amp_vq_disarm(in_end(&il.rp));
		/* ten bits decide, spread over the first twenty steps in each of several ways
		 */
		il.schedule = (run >> 2) ^ (run >> 2) * 0x9e3779b1u << 10;
		il.step = 0;
		il.turn = (int)(run >> 11 & 1);
		il.over[0] = il.over[1] = il.kicked = il.asleep = false;
		il.got = 0;
		pthread_mutex_lock(&il.lock);
		on_shared = il_point;
		assert_int_equal(pthread_create(&t, NULL, il_consumer, NULL), 0);
		il_producer();
		while (!il.over[1])
			pthread_cond_wait(&il.cond, &il.lock);
		on_shared = NULL;
		pthread_mutex_unlock(&il.lock);
		pthread_join(t, NULL);
		if (il.asleep && il.got == 0)
			assert_true(il.kicked);
		if (il.kicked)
			kicked++;
		if (il.got && il.asleep)
			slept++;
		assert_int_equal(il.got + drain(&il.rp), 1);
		rp_free(&il.rp);
	}
	/* the schedules reached both outcomes */
	assert_true(slept > 100 && kicked > 100);
}

/*
 * The same with two real threads, both ends sleeping for each other: whole sleeps and
 * wakes, and (on a machine that reorders enough) the barriers.
 */
static struct {
	struct ringpair rp;
	sem_t wake[2];
	bool lost;
} race;

#define RACE_TOTAL 100000u

static void race_sleep(unsigned who)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 5;
	if (sem_timedwait(&race.wake[who], &until))
		__atomic_store_n(&race.lost, true, __ATOMIC_RELAXED);
}

static void *race_consumer(void *arg)
{
	struct amp_vq *vq = in_end(&race.rp);
	struct amp_iov iov[2];
	struct amp_vq_buf b = buf_on(iov, 2);
	uint32_t seen = 0, word;

	(void)arg;
	while (seen < RACE_TOTAL && !__atomic_load_n(&race.lost, __ATOMIC_RELAXED)) {
		while (amp_vq_get(vq, &b) == 1) {
			memcpy(&word, b.iov[0].base, 4);
			if (word != seen++)
				__atomic_store_n(&race.lost, true, __ATOMIC_RELAXED);
			amp_vq_put(vq, b.id, 0);
		}
		if (amp_vq_kick_due(vq))
			sem_post(&race.wake[0]);
		if (seen < RACE_TOTAL && !amp_vq_arm(vq)) {
			race_sleep(1);
			amp_vq_disarm(vq);
		}
	}
	sem_post(&race.wake[0]);
	return NULL;
}

static void no_notification_lost_two_cores(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 4; k++) {
		struct rp_opt o = {.num = 4,
				   .buf_len = 8,
				   .event_idx = k & 1,
				   .drv_dir = k & 2 ? AMP_VQ_IN : AMP_VQ_OUT};
		struct amp_iov iov[2];
		struct amp_vq_buf b = buf_on(iov, 2);
		struct amp_vq *vq;
		pthread_t t;

		race.lost = false;
		sem_init(&race.wake[0], 0, 0);
		sem_init(&race.wake[1], 0, 0);
		assert_int_equal(rp_init(&race.rp, &o), 0);
		assert_int_equal(pthread_create(&t, NULL, race_consumer, NULL), 0);
		vq = out_end(&race.rp);
		for (uint32_t sent = 0;
		     sent < RACE_TOTAL && !__atomic_load_n(&race.lost, __ATOMIC_RELAXED);) {
			if (amp_vq_get(vq, &b) == 1) {
				memcpy(b.iov[0].base, &sent, 4);
				amp_vq_put(vq, b.id, 4);
				sent++;
			} else if (!amp_vq_arm(vq)) {
				race_sleep(0);
				amp_vq_disarm(vq);
			}
			if (amp_vq_kick_due(vq))
				sem_post(&race.wake[1]);
		}
		pthread_join(t, NULL);
		assert_false(race.lost);
		assert_false(race.rp.drv.broken || race.rp.dev.broken);
		rp_free(&race.rp);
	}
}

/* ---- a lying driver, seen by the device ---- */

struct dev_case {
	const char *what;
	void (*lie)(struct ringpair *rp);
	bool out; /* the device's queue is out */
	bool no_indirect;
};

#define TABLE_AT 0x5000u
static struct vring_desc fi_table[16] __attribute__((aligned(16)));

static void one_avail(struct ringpair *rp, uint16_t head)
{
	rp_avail(rp)->ring[0] = head;
	rp_avail(rp)->idx = 1;
}

static void good_desc(struct ringpair *rp, unsigned i)
{
	rp_desc(rp)[i] = (struct vring_desc){0x1000, 16, 0, 0};
}

static void l_idx_jump(struct ringpair *rp)
{
	good_desc(rp, 0);
	rp_avail(rp)->idx = 5;
}
static void l_idx_back(struct ringpair *rp)
{
	rp_avail(rp)->idx = 0xffff;
}
static void l_head(struct ringpair *rp)
{
	one_avail(rp, 4);
}
static void l_head_max(struct ringpair *rp)
{
	one_avail(rp, 0xffff);
}
static void l_next(struct ringpair *rp)
{
	good_desc(rp, 0);
	rp_desc(rp)[0].flags = VRING_DESC_F_NEXT;
	rp_desc(rp)[0].next = 4;
	one_avail(rp, 0);
}
static void l_loop_self(struct ringpair *rp)
{
	rp_desc(rp)[0] = (struct vring_desc){0x1000, 0, VRING_DESC_F_NEXT, 0};
	one_avail(rp, 0);
}
static void l_loop_two(struct ringpair *rp)
{
	rp_desc(rp)[0] = (struct vring_desc){0x1000, 1, VRING_DESC_F_NEXT, 1};
	rp_desc(rp)[1] = (struct vring_desc){0x1000, 1, VRING_DESC_F_NEXT, 0};
	one_avail(rp, 0);
}
static void l_addr(struct ringpair *rp)
{
	rp_desc(rp)[0] = (struct vring_desc){0x9000, 1, 0, 0};
	one_avail(rp, 0);
}
static void l_addr_before(struct ringpair *rp)
{
	rp_desc(rp)[0] = (struct vring_desc){0xfff, 1, 0, 0};
	one_avail(rp, 0);
}
static void l_addr_end(struct ringpair *rp)
{
	rp_desc(rp)[0] = (struct vring_desc){0x1001, 16, 0, 0};
	one_avail(rp, 0);
}
static void l_addr_wrap(struct ringpair *rp)
{
	rp_desc(rp)[0] = (struct vring_desc){UINT64_MAX - 3, 16, 0, 0};
	one_avail(rp, 0);
}
static void l_len_huge(struct ringpair *rp)
{
	rp_desc(rp)[0] = (struct vring_desc){0x1000, UINT32_MAX, 0, 0};
	one_avail(rp, 0);
}
static void l_len_sum(struct ringpair *rp)
{
	/* the huge map makes each of them good by itself */
	rp_desc(rp)[0] = (struct vring_desc){1ull << 40, 0x80000000, VRING_DESC_F_NEXT, 1};
	rp_desc(rp)[1] = (struct vring_desc){1ull << 40, 0x80000000, 0, 0};
	one_avail(rp, 0);
}
static void l_direction(struct ringpair *rp)
{
	good_desc(rp, 0);
	rp_desc(rp)[0].flags = rp->dev.dir == AMP_VQ_IN ? VRING_DESC_F_WRITE : 0;
	one_avail(rp, 0);
}
static void l_direction_second(struct ringpair *rp)
{
	uint16_t right = rp->dev.dir == AMP_VQ_OUT ? VRING_DESC_F_WRITE : 0;

	good_desc(rp, 0);
	good_desc(rp, 1);
	rp_desc(rp)[0].flags = right | VRING_DESC_F_NEXT;
	rp_desc(rp)[0].next = 1;
	rp_desc(rp)[1].flags = right ^ VRING_DESC_F_WRITE;
	one_avail(rp, 0);
}
static void indirect_to(struct ringpair *rp, uint64_t at, uint32_t len, uint16_t flags)
{
	for (unsigned i = 0; i < 16; i++)
		fi_table[i] = (struct vring_desc){0x1000, 1, 0, 0};
	rp_desc(rp)[0] =
		(struct vring_desc){at, len, (uint16_t)(VRING_DESC_F_INDIRECT | flags), 1};
	good_desc(rp, 1);
	one_avail(rp, 0);
}
static void l_ind(struct ringpair *rp)
{
	indirect_to(rp, TABLE_AT, 16, 0);
}
static void l_ind_next(struct ringpair *rp)
{
	indirect_to(rp, TABLE_AT, 16, VRING_DESC_F_NEXT);
}
static void l_ind_zero(struct ringpair *rp)
{
	indirect_to(rp, TABLE_AT, 0, 0);
}
static void l_ind_odd(struct ringpair *rp)
{
	indirect_to(rp, TABLE_AT, 24, 0);
}
static void l_ind_addr(struct ringpair *rp)
{
	indirect_to(rp, 0x8000, 16, 0);
}
static void l_ind_end(struct ringpair *rp)
{
	indirect_to(rp, TABLE_AT + 16, sizeof(fi_table), 0);
}
static void l_ind_askew(struct ringpair *rp)
{
	indirect_to(rp, TABLE_AT + 1, 16, 0);
}
static void l_ind_huge(struct ringpair *rp)
{
	indirect_to(rp, TABLE_AT, 0xfffffff0, 0);
}
static void l_ind_nested(struct ringpair *rp)
{
	indirect_to(rp, TABLE_AT, 32, 0);
	fi_table[0] = (struct vring_desc){TABLE_AT, 32, VRING_DESC_F_INDIRECT, 0};
}
static void l_ind_ring_itself(struct ringpair *rp)
{
	/* the ring's own table, named as an indirect one: a loop through INDIRECT */
	indirect_to(rp, 0x6000, 64, 0);
}
static void l_ind_next_out(struct ringpair *rp)
{
	indirect_to(rp, TABLE_AT, 32, 0);
	fi_table[0].flags = VRING_DESC_F_NEXT;
	fi_table[0].next = 2;
}
static void l_ind_loop(struct ringpair *rp)
{
	indirect_to(rp, TABLE_AT, 32, 0);
	fi_table[0] = (struct vring_desc){0x1000, 0, VRING_DESC_F_NEXT, 1};
	fi_table[1] = (struct vring_desc){0x1000, 0, VRING_DESC_F_NEXT, 0};
}
static void l_ind_longer_than_queue(struct ringpair *rp)
{
	indirect_to(rp, TABLE_AT, sizeof(fi_table), 0);
	for (uint16_t i = 0; i < 15; i++)
		fi_table[i] =
			(struct vring_desc){0x1000, 0, VRING_DESC_F_NEXT, (uint16_t)(i + 1)};
}
static void l_ind_direction(struct ringpair *rp)
{
	indirect_to(rp, TABLE_AT, 16, 0);
	fi_table[0].flags = rp->dev.dir == AMP_VQ_IN ? VRING_DESC_F_WRITE : 0;
}
static void l_iov_max(struct ringpair *rp)
{
	uint16_t right = rp->dev.dir == AMP_VQ_OUT ? VRING_DESC_F_WRITE : 0;

	for (uint16_t i = 0; i < 4; i++)
		rp_desc(rp)[i] = (struct vring_desc){
			0x1000, 1, (uint16_t)(right | VRING_DESC_F_NEXT), (uint16_t)(i + 1)};
	rp_desc(rp)[3].flags = right;
	one_avail(rp, 0);
}

static const struct dev_case dev_cases[] = {
	{"avail idx jump", l_idx_jump, false, false},
	{"avail idx backwards", l_idx_back, false, false},
	{"head beyond", l_head, false, false},
	{"head 65535", l_head_max, true, false},
	{"next beyond", l_next, false, false},
	{"loop of one, empty", l_loop_self, false, false},
	{"loop of two", l_loop_two, false, false},
	{"address unmapped", l_addr, false, false},
	{"address before the map", l_addr_before, false, false},
	{"end beyond the map", l_addr_end, false, false},
	{"address wraps 2^64", l_addr_wrap, false, false},
	{"length 2^32-1", l_len_huge, false, false},
	{"lengths sum to 2^32", l_len_sum, false, false},
	{"writable on in", l_direction, false, false},
	{"readable on out", l_direction, true, false},
	{"second writable on in", l_direction_second, false, false},
	{"second readable on out", l_direction_second, true, false},
	{"indirect not negotiated", l_ind, false, true},
	{"indirect with next", l_ind_next, false, false},
	{"indirect empty", l_ind_zero, false, false},
	{"indirect odd", l_ind_odd, false, false},
	{"indirect unmapped", l_ind_addr, false, false},
	{"indirect beyond the map", l_ind_end, false, false},
	{"indirect askew", l_ind_askew, false, false},
	{"indirect huge", l_ind_huge, false, false},
	{"indirect nested", l_ind_nested, false, false},
	{"indirect names the ring's own table", l_ind_ring_itself, false, false},
	{"indirect next beyond", l_ind_next_out, false, false},
	{"indirect loop", l_ind_loop, false, false},
	{"indirect chain longer than the queue", l_ind_longer_than_queue, false, false},
	{"indirect wrong direction", l_ind_direction, false, false},
	{"indirect wrong direction, out", l_ind_direction, true, false},
	{"longer than iov_max", l_iov_max, false, false},
};

static void device_sees_through(void **state)
{
	static uint8_t data[16];

	(void)state;
	for (unsigned i = 0; i < sizeof(dev_cases) / sizeof(dev_cases[0]); i++) {
		const struct dev_case *dc = &dev_cases[i];
		struct rp_opt o = {.num = 4,
				   .indirect = !dc->no_indirect,
				   .drv_dir = dc->out ? AMP_VQ_IN : AMP_VQ_OUT};
		struct ringpair rp;
		struct amp_iov iov[3];
		struct amp_vq_buf b = buf_on(iov, 3);
		struct amp_vq before;

		assert_int_equal(rp_init(&rp, &o), 0);
		rp.map[0] = (struct rp_map){0x1000, sizeof(data), data};
		rp.map[1] = (struct rp_map){TABLE_AT, sizeof(fi_table), (uint8_t *)fi_table};
		rp.map[2] = (struct rp_map){0x6000, 64, rp.mem};
		rp.map[3] = (struct rp_map){1ull << 40, UINT32_MAX, data}; /* never followed */
		before = rp.dev;
		dc->lie(&rp);
		if (amp_vq_get(&rp.dev, &b) != -EBADMSG || !rp.dev.why)
			fail_msg("not seen: %s", dc->what);
		/* it stays broken, and nothing but that has changed */
		assert_int_equal(amp_vq_get(&rp.dev, &b), -EBADMSG);
		assert_int_equal(rp.dev.get_idx, before.get_idx);
		assert_int_equal(rp.dev.put_idx, before.put_idx);
		assert_int_equal(ring_out_cnt(&rp.dev), ring_out_cnt(&before));
		assert_int_equal(rp_used(&rp)->idx, 0);
		assert_int_equal(amp_vq_avail(&rp.dev), 0);
		assert_false(amp_vq_kick_due(&rp.dev));
		/* set up anew it works */
		rp_avail(&rp)->idx = 0;
		assert_int_equal(rp_dev_init(&rp, &o, 0), 0);
		assert_int_equal(amp_vq_get(&rp.dev, &b), 0);
		rp_free(&rp);
	}
}

/* What looks odd and is legal: empty descriptors, WRITE beside INDIRECT, indirect at the end.
 */
static void device_takes_what_is_legal(void **state)
{
	static uint8_t data[16];
	struct rp_opt o = {.num = 4, .indirect = true, .drv_dir = AMP_VQ_OUT};
	struct ringpair rp;
	struct amp_iov iov[8];
	struct amp_vq_buf b = buf_on(iov, 8);

	(void)state;
	assert_int_equal(rp_init(&rp, &o), 0);
	rp.map[0] = (struct rp_map){0x1000, sizeof(data), data};
	rp.map[1] = (struct rp_map){TABLE_AT, sizeof(fi_table), (uint8_t *)fi_table};
	for (uint16_t i = 0; i < 4; i++)
		fi_table[i] =
			(struct vring_desc){0x1000, 2, VRING_DESC_F_NEXT, (uint16_t)(i + 1)};
	fi_table[1].len = 0;
	fi_table[3].flags = 0;
	rp_desc(&rp)[2] = (struct vring_desc){TABLE_AT, 64,
					      VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0};
	one_avail(&rp, 2);
	assert_int_equal(amp_vq_get(&rp.dev, &b), 1);
	assert_int_equal(b.id, 2);
	assert_int_equal(b.len, 6);
	assert_int_equal(b.iov_cnt, 3);
	amp_vq_put(&rp.dev, 2, 0);
	rp_desc(&rp)[0] = (struct vring_desc){0x1000, 0, 0, 0};
	rp_avail(&rp)->ring[1] = 0;
	rp_avail(&rp)->idx = 2;
	assert_int_equal(amp_vq_get(&rp.dev, &b), 1);
	assert_int_equal(b.len, 0);
	assert_int_equal(b.iov_cnt, 0);
	rp_free(&rp);
}

/* The same head offered twice harms only who offered it: bounded, no state of ours lost. */
static void device_same_head_twice(void **state)
{
	static uint8_t data[16];
	struct rp_opt o = {.num = 4, .drv_dir = AMP_VQ_OUT};
	struct ringpair rp;
	struct amp_iov iov[8];
	struct amp_vq_buf b = buf_on(iov, 8);

	(void)state;
	assert_int_equal(rp_init(&rp, &o), 0);
	rp.map[0] = (struct rp_map){0x1000, sizeof(data), data};
	good_desc(&rp, 1);
	for (unsigned i = 0; i < 4; i++)
		rp_avail(&rp)->ring[i] = 1;
	rp_avail(&rp)->idx = 4;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(amp_vq_get(&rp.dev, &b), 1);
	rp_avail(&rp)->idx = 5; /* a fifth while I hold all four */
	assert_int_equal(amp_vq_get(&rp.dev, &b), -EBADMSG);
	for (unsigned i = 0; i < 4; i++)
		amp_vq_put(&rp.dev, 1, 0);
	assert_int_equal(ring_out_cnt(&rp.dev), 0);
	rp_free(&rp);
}

/* ---- a lying device, seen by the driver ---- */

static void used(struct ringpair *rp, unsigned slot, uint32_t id, uint32_t len, uint16_t idx)
{
	rp_used(rp)->ring[slot].id = id;
	rp_used(rp)->ring[slot].len = len;
	rp_used(rp)->idx = idx;
}

static void u_idx_jump(struct ringpair *rp)
{
	used(rp, 0, 0, 1, 4);
}
static void u_idx_back(struct ringpair *rp)
{
	used(rp, 0, 0, 1, 0xffff);
}
static void u_id(struct ringpair *rp)
{
	used(rp, 0, 4, 1, 1);
}
static void u_id_wide(struct ringpair *rp)
{
	used(rp, 0, 0x10000, 1, 1); /* low half is good */
}
static void u_id_idle(struct ringpair *rp)
{
	used(rp, 0, 3, 1, 1); /* three buffers are out: 0, 1, 2 */
}
static void u_len(struct ringpair *rp)
{
	used(rp, 0, 0, 17, 1);
}
static void u_len_max(struct ringpair *rp)
{
	used(rp, 0, 0, UINT32_MAX, 1);
}
static void u_twice(struct ringpair *rp)
{
	struct amp_iov iov[1];
	struct amp_vq_buf b = buf_on(iov, 1);

	used(rp, 0, 1, 1, 1);
	assert_int_equal(amp_vq_get(&rp->drv, &b), 1);
	used(rp, 1, 1, 1, 2);
}

static void driver_sees_through(void **state)
{
	static const struct {
		const char *what;
		void (*lie)(struct ringpair *rp);
		bool in_only;
	} cases[] = {
		{"used idx jump", u_idx_jump, false},
		{"used idx backwards", u_idx_back, false},
		{"id beyond", u_id, false},
		{"id beyond 16 bits", u_id_wide, false},
		{"id not out", u_id_idle, false},
		{"id twice", u_twice, false},
		{"length beyond the buffer", u_len, true},
		{"length 2^32-1", u_len_max, true},
	};

	(void)state;
	for (unsigned i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
		struct rp_opt o = {.num = 4,
				   .cnt = 3,
				   .buf_len = 16,
				   .drv_dir = i & 1 ? AMP_VQ_OUT : AMP_VQ_IN};
		struct ringpair rp;
		struct amp_iov iov[1];
		struct amp_vq_buf b = buf_on(iov, 1);
		int r;

		if (cases[i / 2].in_only && (i & 1))
			continue;
		assert_int_equal(rp_init(&rp, &o), 0);
		for (unsigned k = 0; i & 1 && k < 3; k++) { /* all out */
			assert_int_equal(amp_vq_get(&rp.drv, &b), 1);
			amp_vq_put(&rp.drv, b.id, 8);
		}
		cases[i / 2].lie(&rp);
		r = amp_vq_get(&rp.drv, &b);
		if (r != -EBADMSG || !rp.drv.why)
			fail_msg("not seen (%d): %s", r, cases[i / 2].what);
		assert_int_equal(amp_vq_get(&rp.drv, &b), -EBADMSG);
		assert_int_equal(amp_vq_avail(&rp.drv), 0);
		rp_free(&rp);
	}
}

static void driver_posted_sees_through(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct rp_opt o = {.num = 8, .drv_dir = AMP_VQ_IN};
		struct ringpair rp;
		char a[8];
		struct amp_iov post[3] = {{a, 1}, {a, 2}, {a, 3}};
		uint16_t id;
		uint32_t len;

		assert_int_equal(rp_init(&rp, &o), 0);
		assert_int_equal(amp_vq_post(&rp.drv, post, 1, 2, NULL), 0);
		assert_int_equal(amp_vq_post(&rp.drv, post, 0, 2, NULL), 3);
		switch (i) {
		case 0: /* a middle descriptor is no head */
			used(&rp, 0, 1, 0, 1);
			break;
		case 1: /* a free one */
			used(&rp, 0, 7, 0, 1);
			break;
		case 2: /* twice */
			used(&rp, 0, 3, 0, 1);
			assert_int_equal(amp_vq_reap(&rp.drv, &id, &len), 1);
			used(&rp, 1, 3, 0, 2);
			break;
		default: /* what the descriptors say now does not matter */
			memset(rp.mem, 0xff, rp.avail_off);
			used(&rp, 0, 0, 0, 1);
			assert_int_equal(amp_vq_reap(&rp.drv, &id, &len), 1);
			assert_int_equal(rp.drv.free_cnt, 6);
			used(&rp, 1, 8, 0, 2);
			break;
		}
		assert_int_equal(amp_vq_reap(&rp.drv, &id, &len), -EBADMSG);
		assert_non_null(rp.drv.why);
		rp_free(&rp);
	}
}

/* ---- anything at all ---- */

static void scribble(struct ringpair *rp, uint32_t *seed, bool driver_victim)
{
	uint32_t r = rp_rand(seed),
		 v = rp_rand(seed) % 20 ? rp_rand(seed) % (rp->num + 1u) : rp_rand(seed);
	uint16_t slot = (uint16_t)(rp_rand(seed) & (rp->num - 1u));
	struct vring_desc *d = &rp_desc(rp)[slot];

	if (r % 16 == 0) {
		size_t at = rp_rand(seed) % rp->mem_len;

		rp->mem[at] = (uint8_t)rp_rand(seed);
	} else if (driver_victim) {
		rp_used(rp)->ring[slot].id = v;
		rp_used(rp)->ring[slot].len = rp_rand(seed) % 70;
		if (r & 16)
			rp_used(rp)->idx++;
	} else {
		static const uint16_t flags[] = {0, 0, 0, 2, 2, 1, 3, 4, 4, 6, 5};

		d->addr = 0x1000 + (rp_rand(seed) % 4) * 256 + rp_rand(seed) % 3 * 8;
		d->len = rp_rand(seed) % 8 ? rp_rand(seed) % 8 * 16 : rp_rand(seed);
		d->flags = flags[rp_rand(seed) % 11];
		d->next = (uint16_t)v;
		rp_avail(rp)->ring[slot] = (uint16_t)v;
		if (r & 16)
			rp_avail(rp)->idx++;
	}
}

static void random_peer(void **state)
{
	uint32_t seed = 0x1234567, gets = 0, lies = 0, life = 0;
	uint8_t *low = malloc(256), *high = malloc(512);
	struct ringpair rp = {0};
	struct rp_opt o = {0};
	uint16_t held[8];
	unsigned held_cnt = 0;
	bool driver = false;

	(void)state;
	for (uint32_t step = 0; step < 1000000; step++) {
		struct amp_vq *vq = driver ? &rp.drv : &rp.dev;
		struct amp_iov iov[5];
		struct amp_vq_buf b = buf_on(iov, 5);
		int r;

		if (step == 0 || vq->broken || life++ > 3000) {
			lies += step && vq->broken;
			life = 0;
			rp_free(&rp);
			driver = rp_rand(&seed) & 1;
			o = (struct rp_opt){.num = (uint16_t)(1u << rp_rand(&seed) % 4),
					    .drv_dir = rp_rand(&seed) & 1,
					    .event_idx = rp_rand(&seed) & 1,
					    .indirect = rp_rand(&seed) & 1,
					    .buf_len = driver ? 64 : 0};
			assert_int_equal(rp_init(&rp, &o), 0);
			if (!driver) {
				rp.map[0] = (struct rp_map){0x1000, 256, low};
				rp.map[1] = (struct rp_map){0x1100, 512, high};
				rp.map[2] =
					(struct rp_map){0x1300, (uint32_t)rp.avail_off, rp.mem};
			}
			held_cnt = 0;
			continue;
		}
		switch (rp_rand(&seed) % 8) {
		case 0:
		case 1:
			if (held_cnt == 8)
				break;
			r = amp_vq_get(vq, &b);
			if (r <= 0)
				break;
			gets++;
			assert_true(b.iov_cnt <= 5 && b.id < o.num);
			assert_true(rp_in_maps(&rp, &b));
			for (unsigned i = 0; driver && i < held_cnt; i++)
				assert_int_not_equal(held[i], b.id);
			held[held_cnt++] = b.id;
			assert_true(held_cnt <= o.num);
			break;
		case 2:
			if (held_cnt == 0)
				break;
			amp_vq_put(vq, held[--held_cnt], 4);
			break;
		case 3:
			if (held_cnt == 0)
				break;
			if (rp_rand(&seed) & 3) {
				amp_vq_unget(vq, held[--held_cnt]);
			} else {
				amp_vq_unget(vq, held[0]);
				memmove(held, held + 1, --held_cnt * sizeof(held[0]));
			}
			break;
		case 4:
			(void)amp_vq_kick_due(vq);
			if (rp_rand(&seed) & 1)
				(void)amp_vq_arm(vq);
			else
				amp_vq_disarm(vq);
			assert_true(amp_vq_avail(vq) <= 2 * o.num);
			break;
		default:
			scribble(&rp, &seed, driver);
			break;
		}
	}
	rp_free(&rp);
	free(low);
	free(high);
	/* it went deep often enough to mean something */
	assert_true(gets > 20000 && lies > 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout_figures),
		cmocka_unit_test(init_refuses),
		cmocka_unit_test(every_size_both_directions),
		cmocka_unit_test(pool_smaller_than_ring),
		cmocka_unit_test(indices_wrap),
		cmocka_unit_test(start_idx_not_zero),
		cmocka_unit_test(used_idx_pre_advanced),
		cmocka_unit_test(posted_chains),
		cmocka_unit_test(post_refuses),
		cmocka_unit_test(chain_across_mappings),
		cmocka_unit_test(unget_gives_the_same_again),
		cmocka_unit_test(unget_out_of_order),
		cmocka_unit_test(kicks_per_burst),
		cmocka_unit_test(hushed),
		cmocka_unit_test(burst_then_kick),
		cmocka_unit_test(no_notification_lost),
		cmocka_unit_test(no_notification_lost_two_cores),
		cmocka_unit_test(device_sees_through),
		cmocka_unit_test(device_takes_what_is_legal),
		cmocka_unit_test(device_same_head_twice),
		cmocka_unit_test(driver_sees_through),
		cmocka_unit_test(driver_posted_sees_through),
		cmocka_unit_test(random_peer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
