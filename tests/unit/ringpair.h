/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two ends of one split ring in one process, for the tests of floors 1 and 2. Ring and
 * buffers are separate allocations of exactly their size, so that the address sanitizer
 * sees any step outside. The device reaches memory only through a table of mappings,
 * as it would behind vhost-user.
 */
#ifndef RINGPAIR_H
#define RINGPAIR_H

#include <stdlib.h>
#include <string.h>

#include "virtio/vq.h"
#include "virtio/vq_ring.h"

#define RP_MAPS 4

struct rp_map {
	uint64_t bus;
	uint32_t len;
	uint8_t *ptr;
};

struct ringpair {
	struct amp_vq drv;
	struct amp_vq dev;
	uint16_t num;
	uint8_t *mem; /* the ring */
	size_t mem_len;
	size_t avail_off, used_off;
	uint16_t *state;
	uint8_t *pool;
	struct rp_map map[RP_MAPS];
	unsigned translations;
};

/* mappings are looked up as a back-end does: no entry, no pointer */
static inline void *rp_translate(void *ctx, uint64_t addr, uint32_t *len_io)
{
	struct ringpair *rp = ctx;

	rp->translations++;
	for (unsigned i = 0; i < RP_MAPS; i++) {
		const struct rp_map *m = &rp->map[i];

		if (m->ptr && addr >= m->bus && addr - m->bus < m->len) {
			uint64_t left = m->len - (addr - m->bus);

			if (*len_io > left)
				*len_io = (uint32_t)left;
			return m->ptr + (addr - m->bus);
		}
	}
	return NULL;
}

static inline struct vring_desc *rp_desc(struct ringpair *rp)
{
	return (struct vring_desc *)rp->mem;
}

static inline struct vring_avail *rp_avail(struct ringpair *rp)
{
	return (struct vring_avail *)(rp->mem + rp->avail_off);
}

static inline struct vring_used *rp_used(struct ringpair *rp)
{
	return (struct vring_used *)(rp->mem + rp->used_off);
}

struct rp_opt {
	uint16_t num;
	enum amp_vq_dir drv_dir; /* the device's is the other one */
	bool event_idx;
	bool indirect;
	uint32_t buf_len; /* 0: no pool */
	uint16_t cnt;	  /* pool buffers, 0: num */
	uint64_t bus_off;
};

static inline int rp_dev_init(struct ringpair *rp, const struct rp_opt *o, uint16_t start_idx)
{
	struct amp_vq_setup s = {
		.role = AMP_VQ_DEVICE,
		.dir = o->drv_dir == AMP_VQ_IN ? AMP_VQ_OUT : AMP_VQ_IN,
		.num = o->num,
		.desc = rp->mem,
		.avail = rp->mem + rp->avail_off,
		.used = rp->mem + rp->used_off,
		.event_idx = o->event_idx,
		.indirect = o->indirect,
		.xlate = {.translate = rp_translate, .ctx = rp},
		.start_idx = start_idx,
	};

	return amp_vq_init(&rp->dev, &s);
}

static inline int rp_init(struct ringpair *rp, const struct rp_opt *o)
{
	struct amp_vq_setup s = {
		.role = AMP_VQ_DRIVER,
		.dir = o->drv_dir,
		.num = o->num,
		.event_idx = o->event_idx,
		.indirect = o->indirect,
		.bus_off = o->bus_off,
	};
	uint16_t cnt = o->cnt ? o->cnt : o->num;

	memset(rp, 0, sizeof(*rp));
	rp->num = o->num;
	rp->mem_len = amp_vq_layout(o->num, &rp->avail_off, &rp->used_off);
	if (posix_memalign((void **)&rp->mem, 16, rp->mem_len))
		abort();
	memset(rp->mem, 0xa5, rp->mem_len);
	rp->state = malloc(sizeof(*rp->state) * o->num);
	s.state = rp->state;
	s.desc = rp->mem;
	s.avail = rp->mem + rp->avail_off;
	s.used = rp->mem + rp->used_off;
	if (amp_vq_init(&rp->drv, &s) || rp_dev_init(rp, o, 0))
		return -1;
	if (o->buf_len == 0)
		return 0;
	if (posix_memalign((void **)&rp->pool, 16, (size_t)cnt * o->buf_len))
		abort();
	rp->map[0].bus = (uintptr_t)rp->pool + o->bus_off;
	rp->map[0].len = (uint32_t)cnt * o->buf_len;
	rp->map[0].ptr = rp->pool;
	return amp_vq_pool(&rp->drv, rp->pool, o->buf_len, cnt);
}

static inline void rp_free(struct ringpair *rp)
{
	free(rp->mem);
	free(rp->state);
	free(rp->pool);
}

/* Whatever the driver said: all of the buffer is in memory that is mapped, and its lengths add up. */
static inline bool rp_in_maps(const struct ringpair *rp, const struct amp_vq_buf *b)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < b->iov_cnt; i++) {
		const uint8_t *p = b->iov[i].base;
		bool in = false;

		for (unsigned m = 0; m < RP_MAPS; m++)
			in |= rp->map[m].ptr && p >= rp->map[m].ptr &&
			      p + b->iov[i].len <= rp->map[m].ptr + rp->map[m].len;
		if (!in)
			return false;
		sum += b->iov[i].len;
	}
	return sum == b->len;
}

/* xorshift: the same numbers everywhere */
static inline uint32_t rp_rand(uint32_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 17;
	*s ^= *s << 5;
	return *s;
}

#endif /* RINGPAIR_H */
