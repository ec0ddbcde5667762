// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation: the host's side of a resource table, in user space.
 *
 * The remote, or whatever runs in its place, can write all of the memory at any time. So:
 *
 *  - the table is walked with every offset and length checked against the memory that is
 *    really mapped, each word read once into a local; what the walk finds is kept in struct
 *    amp_rproc_host, private memory, and nothing is fetched from the table a second time;
 *  - later reads of the table (status, epochs, addresses) are compared with what this side
 *    wrote, for equality, and serve for nothing else (but that a new number is neither of
 *    the two that stand there);
 *  - the table is walked anew whenever a new epoch is asked for or served: the remote may
 *    have been loaded with another program, whose table lies and looks different. What is
 *    written always goes where the last walk said, and that is within the memory;
 *  - rings and buffers must not overlap each other, the table or the trace buffer. It would
 *    be the remote's own loss, but the queue's checks are simpler to trust without that.
 *
 * Order. begin: status, then host_epoch (wmb): a remote that sees the question sees nothing
 * of an older DRIVER_OK. look: remote_epoch, then the rest (rmb, pairs with the wmb of the
 * remote's boot). up: rings and addresses, then DRIVER_OK (wmb, pairs with the rmb of the
 * remote's look), and at last (mb) a check that it was the same remote all the time: a
 * reload in the middle may have taken some of it away, and the status came too late for it.
 */
#include <errno.h>
#include <string.h>

#include "../port/port.h"
#include "remoteproc.h"

#define ENTRIES_MAX 64u /* of a table: no real one has ten */
#define CONFIG_MAX  4096u
#define ALIGN_MAX   65536u
#define NUM_MAX	    1024u /* what a queue takes (vq_split.c) */
#define BUF_ALIGN   64u	  /* no buffer shares a cache line with a ring */

/* Of the entries as they lie in the table. */
#define VDEV_LEN \
	(offsetof(struct amp_rsc_table, vdev.config) - offsetof(struct amp_rsc_table, vdev))
#define AT_VDEV(member) \
	(offsetof(struct amp_rsc_table, vdev.member) - offsetof(struct amp_rsc_table, vdev))

/* What a walk finds besides what stays in struct amp_rproc_host. */
struct walk {
	size_t room_off, room_len; /* for rings and buffers */
	struct amp_rsc_vring vring[AMP_RPROC_VRINGS];
	unsigned vdevs;
	bool carveout, trace;
};

static int bad(struct amp_rproc_host *h, int err, const char *why)
{
	h->why = why;
	return err;
}

/* off + len within the memory, without a sum that could overflow. */
static bool within(const struct amp_rproc_host *h, size_t off, size_t len)
{
	return off <= h->mem_len && len <= h->mem_len - off;
}

static bool overlap(size_t a, size_t a_len, size_t b, size_t b_len)
{
	return a_len && b_len && a < b + b_len && b < a + a_len;
}

/* off is within, and a multiple of 4. */
static uint32_t rd32(const struct amp_rproc_host *h, size_t off)
{
	const volatile uint32_t *p = (const volatile void *)(h->mem + off);

	amp_port_cache_invalidate(p, sizeof(*p));
	return *p;
}

static void wr32(struct amp_rproc_host *h, size_t off, uint32_t v)
{
	volatile uint32_t *p = (volatile void *)(h->mem + off);

	*p = v;
	amp_port_cache_clean(p, sizeof(*p));
}

static uint8_t rd_status(const struct amp_rproc_host *h)
{
	const volatile uint8_t *p = h->mem + h->vdev_off + AT_VDEV(status);

	amp_port_cache_invalidate(p, 1);
	return *p;
}

static void wr_status(struct amp_rproc_host *h, uint8_t v)
{
	volatile uint8_t *p = h->mem + h->vdev_off + AT_VDEV(status);

	*p = v;
	amp_port_cache_clean(p, 1);
}

/* Where da lies: it is the lower half of an address, and mem_da may have an upper one. */
static bool find_da(const struct amp_rproc_host *h, uint32_t da, size_t len, size_t *off)
{
	*off = da - (uint32_t)h->mem_da;
	return within(h, *off, len);
}

/* The first carveout with an address: where rings and buffers go if nobody says otherwise. */
static int see_carveout(struct amp_rproc_host *h, struct walk *w, size_t at)
{
	uint32_t da = rd32(h, at + 4), len = rd32(h, at + 12);

	if (w->carveout || h->shm_len || da == AMP_RSC_ADDR_ANY)
		return 0;
	w->carveout = true;
	if (!find_da(h, da, len, &w->room_off))
		return bad(h, -EINVAL, "carveout beyond the shared memory");
	w->room_len = len;
	return 0;
}

static void see_trace(struct amp_rproc_host *h, struct walk *w, size_t at)
{
	uint32_t da = rd32(h, at + 4), len = rd32(h, at + 8);
	size_t off;

	/* a trace elsewhere, in memory that we do not see, is none of our affair */
	if (w->trace || len == 0 || da == AMP_RSC_ADDR_ANY || !find_da(h, da, len, &off))
		return;
	w->trace = true;
	h->trace_off = off;
	h->trace_len = len;
}

static int see_vdev(struct amp_rproc_host *h, struct walk *w, size_t at, size_t *len)
{
	uint32_t config_len, status;

	if (!within(h, at, AT_VDEV(vring)))
		return bad(h, -EINVAL, "vdev entry beyond the shared memory");
	if (rd32(h, at + AT_VDEV(id)) != AMP_RPROC_VIRTIO_ID)
		return 0; /* another device: another driver's */
	if (w->vdevs++)
		return bad(h, -EINVAL, "two rpmsg vdevs");
	status = rd32(h, at + AT_VDEV(status));
	config_len = rd32(h, at + AT_VDEV(config_len));
	if ((status >> 8 & 0xff) != AMP_RPROC_VRINGS)
		return bad(h, -EINVAL, "an rpmsg vdev has two vrings");
	if (config_len > CONFIG_MAX || !within(h, at, VDEV_LEN + config_len))
		return bad(h, -EINVAL, "vdev entry beyond the shared memory");
	*len = VDEV_LEN + config_len;
	h->vdev_off = at;
	h->features = rd32(h, at + AT_VDEV(dfeatures)) & AMP_RPROC_FEATURES;
	h->epochs = config_len >= sizeof(struct amp_rproc_config) &&
		    rd32(h, at + AT_VDEV(config.magic)) == AMP_RPROC_MAGIC;
	for (unsigned i = 0; i < AMP_RPROC_VRINGS; i++) {
		size_t ring = at + AT_VDEV(vring) + i * sizeof(struct amp_rsc_vring);

		w->vring[i].da = rd32(h, ring);
		w->vring[i].align = rd32(h, ring + 4);
		w->vring[i].num = rd32(h, ring + 8);
		w->vring[i].notifyid = rd32(h, ring + 12);
	}
	return 0;
}

static int see_entry(struct amp_rproc_host *h, struct walk *w, uint32_t off)
{
	size_t left = h->mem_len - h->table_off, at = h->table_off + off, len = 4;
	int err = 0;

	if (off % 4 || off > left || left - off < len)
		return bad(h, -EINVAL, "table entry beyond the shared memory");
	switch (rd32(h, at)) {
	case AMP_RSC_CARVEOUT:
		len = sizeof(((struct amp_rsc_table *)0)->carveout);
		if (left - off < len)
			return bad(h, -EINVAL, "carveout entry beyond the shared memory");
		err = see_carveout(h, w, at);
		break;
	case AMP_RSC_TRACE:
		len = sizeof(((struct amp_rsc_table *)0)->trace);
		if (left - off < len)
			return bad(h, -EINVAL, "trace entry beyond the shared memory");
		see_trace(h, w, at);
		break;
	case AMP_RSC_VDEV:
		err = see_vdev(h, w, at, &len);
		break;
	default: /* as Linux: what we do not know does not hinder */
		break;
	}
	if (h->table_len < off + len)
		h->table_len = off + len;
	return err;
}

/* All entries; of the table's header, what Linux checks. */
static int walk(struct amp_rproc_host *h, struct walk *w)
{
	uint32_t num;
	int err;

	if (h->table_off % 4 ||
	    !within(h, h->table_off, offsetof(struct amp_rsc_table, offset)))
		return bad(h, -EINVAL, "the table lies beyond the shared memory, or askew");
	if (rd32(h, h->table_off) != 1 || rd32(h, h->table_off + 8) ||
	    rd32(h, h->table_off + 12))
		return bad(h, -ENOENT, "no resource table of version 1 there");
	num = rd32(h, h->table_off + 4);
	if (num > ENTRIES_MAX)
		return bad(h, -EINVAL, "too many table entries");
	h->table_len = offsetof(struct amp_rsc_table, offset) + 4u * num;
	if (!within(h, h->table_off, h->table_len))
		return bad(h, -EINVAL, "table entries beyond the shared memory");
	for (uint32_t i = 0; i < num; i++) {
		err = see_entry(h, w,
				rd32(h, h->table_off + offsetof(struct amp_rsc_table, offset) +
						4u * i));
		if (err)
			return err;
	}
	if (w->vdevs == 0)
		return bad(h, -ENOENT, "no rpmsg vdev in the table");
	if (h->shm_len) {
		w->room_off = h->shm_off;
		w->room_len = h->shm_len;
		if (!within(h, w->room_off, w->room_len))
			return bad(h, -EINVAL, "room for rings beyond the shared memory");
	}
	return 0;
}

/* The end of something that the range would overlap; 0: it is free. */
static size_t taken(const struct amp_rproc_host *h, size_t off, size_t len)
{
	if (overlap(off, len, h->table_off, h->table_len))
		return h->table_off + h->table_len;
	if (overlap(off, len, h->trace_off, h->trace_len))
		return h->trace_off + h->trace_len;
	for (unsigned i = 0; i < AMP_RPROC_VRINGS; i++) {
		const struct amp_rproc_ring *r = &h->ring[i];

		if (r->da != AMP_RSC_ADDR_ANY && overlap(off, len, r->off, r->len))
			return r->off + r->len;
		if (overlap(off, len, r->buf_off, (size_t)r->buf_len * r->buf_cnt))
			return r->buf_off + (size_t)r->buf_len * r->buf_cnt;
	}
	return 0;
}

/* The first free place of that length in the room. Each turn leaves one of at most six behind. */
static bool place(const struct amp_rproc_host *h, const struct walk *w, size_t align,
		  size_t len, size_t *off)
{
	size_t end = w->room_off + w->room_len, at = w->room_off, next;

	for (;;) {
		/* as the remote counts; within the memory, so no sum overflows */
		at += (size_t)(-(h->mem_da + at) & (align - 1u));
		if (at > end || len > end - at)
			return false;
		next = taken(h, at, len);
		if (!next)
			break;
		at = next;
	}
	*off = at;
	return true;
}

/* virtio 1.2, 2.7 and 2.7.2: a vring's size, and its place if it has one already. */
static int size_ring(struct amp_rproc_host *h, const struct amp_rsc_vring *v, unsigned i)
{
	struct amp_rproc_ring *r = &h->ring[i];

	if (v->num == 0 || v->num > NUM_MAX || v->num & (v->num - 1u))
		return bad(h, -EINVAL, "vring: num is no power of two up to 1024");
	if (v->num > h->state_len)
		return bad(h, -EINVAL, "vring: more entries than this host is made for");
	if (v->align < 4 || v->align > ALIGN_MAX || v->align & (v->align - 1u))
		return bad(h, -EINVAL, "vring: align is no power of two from 4 to 65536");
	r->num = (uint16_t)v->num;
	r->notifyid = v->notifyid;
	r->da = v->da;
	r->used_off = (18u * (size_t)v->num + 6u + v->align - 1u) & ~((size_t)v->align - 1u);
	r->len = r->used_off + 8u * (size_t)v->num + 6u;
	if (r->da == AMP_RSC_ADDR_ANY)
		return 0;
	if (r->da & (v->align - 1u) || r->da & 15u)
		return bad(h, -EINVAL, "vring: its address is not aligned");
	if (!find_da(h, r->da, r->len, &r->off))
		return bad(h, -EINVAL, "vring beyond the shared memory");
	r->da = AMP_RSC_ADDR_ANY; /* is not in its own way */
	if (taken(h, r->off, r->len))
		return bad(h, -EINVAL,
			   "vring overlaps the table, the trace or the other vring");
	r->da = v->da;
	return 0;
}

static int place_rings(struct amp_rproc_host *h, const struct walk *w)
{
	for (unsigned i = 0; i < AMP_RPROC_VRINGS; i++) {
		struct amp_rproc_ring *r = &h->ring[i];
		uint32_t align = w->vring[i].align;

		if (r->da != AMP_RSC_ADDR_ANY)
			continue;
		if (!place(h, w, align > BUF_ALIGN ? align : BUF_ALIGN, r->len, &r->off))
			return bad(h, -ENOSPC, "no room for the vrings");
		r->da = (uint32_t)h->mem_da + (uint32_t)r->off;
	}
	return 0;
}

/* As many as may be, as many as have room: half of them, and again, before none. */
static int place_buffers(struct amp_rproc_host *h, const struct walk *w)
{
	unsigned max = h->buf_cnt ? h->buf_cnt : NUM_MAX, i;

	for (; max; max /= 2) {
		for (i = 0; i < AMP_RPROC_VRINGS; i++)
			h->ring[i].buf_cnt = 0;
		for (i = 0; i < AMP_RPROC_VRINGS; i++) {
			struct amp_rproc_ring *r = &h->ring[i];
			unsigned cnt = r->num < max ? r->num : max;

			if (!place(h, w, BUF_ALIGN, (size_t)cnt * r->buf_len, &r->buf_off))
				break;
			r->buf_cnt = (uint16_t)cnt;
		}
		if (i == AMP_RPROC_VRINGS)
			return 0;
	}
	return bad(h, -ENOSPC, "no room for buffers");
}

static int parse(struct amp_rproc_host *h)
{
	struct walk w = {.room_off = 0};
	int err;

	h->why = NULL;
	h->trace_off = h->trace_len = 0;
	memset(h->ring, 0, sizeof(h->ring));
	if ((uintptr_t)h->mem & 15 || h->mem_da & 15)
		return bad(h, -EINVAL, "the shared memory is not aligned to 16");
	for (unsigned i = 0; i < AMP_RPROC_VRINGS; i++) {
		uint32_t len = h->buf_len[i] ? h->buf_len[i] : AMP_RPMSG_BUF_LEN;

		if (len < 64 || len > 65536 || len % 4)
			return bad(h, -EINVAL,
				   "buffers have 64 to 65536 bytes, a multiple of 4");
		h->ring[i].da = AMP_RSC_ADDR_ANY;
		h->ring[i].buf_len = len;
	}
	err = walk(h, &w);
	for (unsigned i = 0; !err && i < AMP_RPROC_VRINGS; i++)
		err = size_ring(h, &w.vring[i], i);
	if (!err)
		err = place_rings(h, &w);
	if (!err)
		err = place_buffers(h, &w);
	return err;
}

int amp_rproc_host_init(struct amp_rproc_host *h, size_t off)
{
	h->table_off = off;
	h->phase = AMP_RPROC_IDLE;
	h->epoch = 0;
	return parse(h);
}

int amp_rproc_host_begin(struct amp_rproc_host *h)
{
	uint32_t host, remote, next;
	int err;

	h->phase = AMP_RPROC_IDLE;
	err = parse(h);
	if (err)
		return err;
	wr_status(h, 0);
	h->phase = AMP_RPROC_WAITING;
	if (!h->epochs)
		return 0;
	/* new: neither what the remote has answered nor what it may be about to answer */
	host = rd32(h, h->vdev_off + AT_VDEV(config.host_epoch));
	remote = rd32(h, h->vdev_off + AT_VDEV(config.remote_epoch));
	next = host;
	do
		next++;
	while (next == 0 || next == remote);
	h->epoch = next;
	amp_wmb(); /* pairs with rmb in the remote's look: the status before the question */
	wr32(h, h->vdev_off + AT_VDEV(config.host_epoch), next);
	return 0;
}

static inline uint32_t differs(const uint8_t *vdev, size_t off, uint32_t from)
{
	const volatile uint32_t *p = (const volatile void *)(vdev + off);

	amp_port_cache_invalidate(p, sizeof(*p));
	return *p ^ from;
}

/* Is it all as this side left it, and repeated by the remote? At every look: few branches. */
static inline bool agreed(const struct amp_rproc_host *h)
{
	const uint8_t *vdev = h->mem + h->vdev_off;
	uint32_t epoch = h->epoch, wrong;

	if (!h->epochs)
		return true;
	wrong = differs(vdev, AT_VDEV(config.remote_epoch), epoch);
	amp_rmb(); /* pairs with wmb in the remote's boot: its answer, then the rest */
	wrong |= differs(vdev, AT_VDEV(config.host_epoch), epoch);
	return epoch && !wrong;
}

/* Also: status and addresses. */
static inline bool serving(const struct amp_rproc_host *h)
{
	const uint8_t *vdev = h->mem + h->vdev_off;

	if (!agreed(h) ||
	    rd_status(h) != (AMP_RPROC_ACKNOWLEDGE | AMP_RPROC_DRIVER | AMP_RPROC_DRIVER_OK))
		return false;
	return !(differs(vdev, AT_VDEV(vring[0].da), h->ring[0].da) |
		 differs(vdev, AT_VDEV(vring[1].da), h->ring[1].da));
}

enum amp_rproc_event amp_rproc_host_look(struct amp_rproc_host *h)
{
	if (h->phase == AMP_RPROC_SERVING && serving(h))
		return AMP_RPROC_NOTHING;
	if (h->phase == AMP_RPROC_WAITING) {
		if (agreed(h))
			return AMP_RPROC_UP;
		if (rd32(h, h->vdev_off + AT_VDEV(config.host_epoch)) == h->epoch)
			return AMP_RPROC_NOTHING;
		/* the question is gone: a table was loaded over it */
	}
	h->phase = AMP_RPROC_IDLE;
	return AMP_RPROC_DOWN;
}

static int set_up(struct amp_rproc_host *h, struct amp_vq *vq, unsigned i)
{
	const struct amp_rproc_ring *r = &h->ring[i];
	struct amp_vq_setup s = {
		.role = AMP_VQ_DRIVER,
		.dir = i == AMP_RPROC_TX ? AMP_VQ_IN : AMP_VQ_OUT,
		.num = r->num,
		.desc = h->mem + r->off,
		.avail = h->mem + r->off + 16u * (size_t)r->num,
		.used = h->mem + r->off + r->used_off,
		.event_idx = h->features & (uint32_t)AMP_VIRTIO_F_EVENT_IDX,
		.state = h->state[i],
		.bus_off = h->mem_da - (uintptr_t)h->mem,
	};
	int err = amp_vq_init(vq, &s);

	if (err)
		return err;
	wr32(h, h->vdev_off + AT_VDEV(vring) + i * sizeof(struct amp_rsc_vring), r->da);
	return amp_vq_pool(vq, h->mem + r->buf_off, r->buf_len, r->buf_cnt);
}

int amp_rproc_host_up(struct amp_rproc_host *h, struct amp_vq vq[AMP_RPROC_VRINGS])
{
	int err;

	h->phase = AMP_RPROC_IDLE;
	err = parse(h);
	if (err)
		return err;
	if (!agreed(h))
		return -EAGAIN;
	wr_status(h, AMP_RPROC_ACKNOWLEDGE);
	wr_status(h, AMP_RPROC_ACKNOWLEDGE | AMP_RPROC_DRIVER);
	wr32(h, h->vdev_off + AT_VDEV(gfeatures), h->features);
	for (unsigned i = 0; !err && i < AMP_RPROC_VRINGS; i++)
		err = set_up(h, &vq[i], i);
	if (err)
		return bad(h, err, "vrings that no queue takes");
	if (h->epochs)
		wr32(h, h->vdev_off + AT_VDEV(config.rx_cnt), h->ring[AMP_RPROC_RX].buf_cnt);
	amp_wmb(); /* pairs with rmb in the remote's look: all of this before DRIVER_OK */
	wr_status(h, AMP_RPROC_ACKNOWLEDGE | AMP_RPROC_DRIVER | AMP_RPROC_DRIVER_OK);
	amp_mb(); /* the status before the check: whoever reloads later finds and clears it */
	if (!serving(h)) {
		wr_status(h, 0);
		return -EAGAIN;
	}
	h->phase = AMP_RPROC_SERVING;
	return 0;
}

void amp_rproc_host_down(struct amp_rproc_host *h)
{
	/* the table may be another one by now, or none: then there is nobody to tell */
	if (h->phase != AMP_RPROC_IDLE && parse(h) == 0)
		wr_status(h, 0);
	h->phase = AMP_RPROC_IDLE;
}
