// SPDX-License-Identifier: BSD-3-Clause
/*
 * The split virtqueue, both ends (virtio 1.2, 2.7).
 *
 * Theory of operation
 *
 * A queue is three areas of shared memory. The driver writes descriptors and the
 * avail ring, the device writes the used ring; each side also writes, behind its ring,
 * the index at which it wants to be notified (event index). Either side may be
 * hostile, so:
 *
 *  - indices that this end owns (put_idx, get_idx) and everything that says which
 *    descriptor is where (state[], the free list) are private; what this end wrote into
 *    shared memory is never read back to decide anything;
 *  - the peer's index is read once per batch (peer_idx) and must lie within what can
 *    be outstanding; ids, lengths, flags and addresses are copied once, then checked;
 *  - walking a chain is bounded by the size of its table, whatever "next" says.
 *
 * The first lie breaks the queue: get returns -EBADMSG until it is set up anew.
 *
 * Driver side. A descriptor's private state is the next free one, or BUSY while the
 * peer has it (heads of posted chains keep their private "next" beside the BUSY bit, so
 * that the chain is taken back without trusting shared memory), or HELD between get
 * and put on an in queue. Pool buffers are one descriptor each, whose address is
 * written once. An out queue takes those that were never used first, then what comes back,
 * in the order of the used ring: its index is read when all that was known of is taken.
 *
 * Barriers. Each end publishes entries, then its index (wmb), and reads the index, then
 * entries (rmb): put's wmb pairs with the peer's rmb in its get. kick_due's mb (index
 * written, event index read) pairs with the peer's mb in arm (event index written, index
 * read): at least one of the two sees the other, so no notification is lost.
 *
 * The busy half of this file is vq_ring.h, so that it can be inlined where that pays.
 *
 * Cache maintenance, for cores that are not coherent with their peer, happens where
 * ownership changes: invalidate before reading what the peer wrote, clean after writing
 * what the peer reads.
 */
#include <errno.h>
#include <string.h>

#include "../port/port.h"
#include "vq_ring.h"

int amp_vq_break(struct amp_vq *vq)
{
	vq->broken = true;
	return -EBADMSG;
}

static inline size_t layout(uint16_t num, size_t *avail_off, size_t *used_off)
{
	size_t avail = sizeof(struct vring_desc) * num;
	size_t used = avail + sizeof(struct vring_avail) + 2u * num + 2u;

	used = (used + 3u) & ~(size_t)3u;
	*avail_off = avail;
	*used_off = used;
	return used + sizeof(struct vring_used) + sizeof(struct vring_used_elem) * num + 2u;
}

size_t amp_vq_layout(uint16_t num, size_t *avail_off, size_t *used_off)
{
	return layout(num, avail_off, used_off);
}

void amp_vq_device(struct amp_vq *vq)
{
	vq->role = AMP_VQ_DEVICE;
	vq->mask = (uint16_t)(vq->num - 1u);
	vq->peer_idx = vq->get_idx;
	/*
	 * vhost: a driver that goes on with a ring goes on with its used index (all chains it
	 * had given out were returned before it stopped).
	 */
	vq->put_idx = vq->kick_idx = ring_rd16(&vq->used->idx);
	vq->skew = (uint16_t)(vq->put_idx - vq->get_idx);
	ring_events(vq);
	/* a back-end that died here before us may have left notifications off */
	(void)amp_vq_arm(vq);
}

#if AMPSOCK_VQ_ORDER
/*
 * Chains that are out lie in slots put_idx and following, each marked with its head: the one
 * that comes back is nearly always the first. A slot whose chain was put is marked RING_END,
 * which is no chain's number; the driver does not look at it before the index has passed it.
 */
void amp_vq_used_in_order(struct amp_vq *vq, uint16_t id, uint32_t len)
{
	uint16_t *order = vq->order->id;
	unsigned first = vq->put_idx, cnt = ring_out_cnt(vq), i = 0;
	volatile struct vring_used_elem *e;

	while (i < cnt && order[ring_mask(vq, first + i)] != id)
		i++;
	if (i == cnt) /* not out: the caller's mistake, and no entry must come of it */
		return;
	e = &vq->used->ring[ring_mask(vq, first + i)];
	e->id = id;
	e->len = len;
	amp_port_cache_clean(e, sizeof(*e));
	order[ring_mask(vq, first + i)] = RING_END;
	for (i = 0; i < cnt && order[ring_mask(vq, first + i)] == RING_END; i++)
		vq->put_idx++;
	if (i == 0)
		return;
	amp_wmb(); /* pairs with rmb in the driver's get */
	ring_wr16(&vq->used->idx, vq->put_idx);
}

bool amp_vq_arm_at(struct amp_vq *vq, uint16_t idx)
{
	(void)amp_vq_arm(vq); /* flags, for those without event index */
	if (ring_event_idx(vq))
		ring_wr16(ring_avail_event(vq), idx);
	amp_mb(); /* as in amp_vq_arm() */
	return ring_rd16(&vq->avail->idx) != idx;
}

/* An event that the driver's index has passed already. */
void amp_vq_hush(struct amp_vq *vq)
{
	if (ring_event_idx(vq))
		ring_wr16(ring_avail_event(vq), (uint16_t)(vq->get_idx - 1u));
	amp_vq_disarm(vq);
}

uint16_t amp_vq_driver_idx(const struct amp_vq *vq)
{
	return ring_rd16(&vq->avail->idx);
}

static void set_order(struct amp_vq *vq, const struct amp_vq_setup *s)
{
	vq->order = s->order;
}
#else
static void set_order(struct amp_vq *vq, const struct amp_vq_setup *s)
{
	(void)vq;
	(void)s;
}
#endif

#if AMPSOCK_VQ_DEVICE
static inline void set_memory(struct amp_vq *vq, const struct amp_vq_setup *s)
{
	vq->xlate = s->xlate;
}
#else
static inline void set_memory(struct amp_vq *vq, const struct amp_vq_setup *s)
{
	(void)vq;
	(void)s;
}
#endif

int amp_vq_init(struct amp_vq *vq, const struct amp_vq_setup *s)
{
	size_t avail_off, used_off, len;

	/* 2.7: a power of two, at most 32768; 1024 keeps every id below the state marks. */
	if (s->num == 0 || s->num > 1024 || (s->num & (s->num - 1u)))
		return -EINVAL;
	if ((uintptr_t)s->desc & 15 || (uintptr_t)s->avail & 1 || (uintptr_t)s->used & 3)
		return -EINVAL;
	memset(vq, 0, sizeof(*vq));
	vq->desc = s->desc;
	vq->avail = s->avail;
	vq->used = s->used;
	vq->num = s->num;
	vq->mask = (uint16_t)(s->num - 1u);
	vq->role = (uint8_t)s->role;
	vq->dir = (uint8_t)s->dir;
	vq->event_idx = s->event_idx;
	vq->indirect = s->indirect;
	vq->state = s->state;
	vq->bus_off = s->bus_off;
	set_memory(vq, s);
	if (ring_device(vq)) {
		set_order(vq, s);
		vq->get_idx = s->start_idx;
		amp_vq_device(vq);
		return 0;
	}
	vq->armed = true;
	ring_events(vq);
	len = amp_vq_layout(s->num, &avail_off, &used_off);
	memset(s->desc, 0, avail_off);
	memset(s->avail, 0, used_off - avail_off);
	memset(s->used, 0, len - used_off);
	/* a descriptor is cleaned when it is written: none is looked at before */
	amp_port_cache_clean(s->avail, used_off - avail_off);
	amp_port_cache_clean(s->used, len - used_off);
	for (uint16_t i = 0; i < s->num; i++)
		vq->state[i] = (uint16_t)(i + 1u);
	vq->state[s->num - 1u] = RING_END;
	vq->free_cnt = s->num;
	return 0;
}

static void write_desc(volatile struct vring_desc *d, uint64_t addr, uint32_t len,
		       uint16_t flags, uint16_t next)
{
	d->addr = addr;
	d->len = len;
	d->flags = flags;
	d->next = next;
	amp_port_cache_clean(d, sizeof(*d));
}

int amp_vq_pool(struct amp_vq *vq, void *pool, uint32_t buf_len, uint16_t cnt)
{
	bool in = vq->dir == AMP_VQ_IN;

	if (ring_device(vq) || cnt == 0 || cnt > vq->num || buf_len == 0)
		return -EINVAL;
	vq->pool = pool;
	vq->buf_len = buf_len;
	for (uint16_t i = 0; i < cnt; i++) {
		uint8_t *p = vq->pool + (size_t)i * buf_len;

		write_desc(&vq->desc[i], (uintptr_t)p + vq->bus_off, buf_len,
			   in ? VRING_DESC_F_WRITE : 0, 0);
		vq->state[i] = in ? RING_BUSY : (uint16_t)(i + 1u);
		if (in) {
			amp_port_cache_clean(p, buf_len);
			ring_avail_put(vq, i);
		}
	}
	vq->free_cnt = in ? 0 : cnt;
	vq->free_head = in ? RING_END : 0;
	if (!in)
		vq->state[cnt - 1u] = RING_END;
	return 0;
}

void amp_vq_driver(struct amp_vq *vq, void *ring)
{
	bool in = vq->dir == AMP_VQ_IN;
	uint16_t num = vq->num;
	size_t avail, used, len = layout(num, &avail, &used);
	uint8_t *p = vq->pool;

	memset(ring, 0, len);
	vq->desc = ring;
	vq->avail = (void *)((uint8_t *)ring + avail);
	vq->used = (void *)((uint8_t *)ring + used);
	vq->mask = (uint16_t)(num - 1u);
	if (AMP_VQ_DISARMS)
		vq->armed = true;
	ring_events(vq);
	for (unsigned i = 0; i < num; i++, p += vq->buf_len) {
		vq->desc[i].addr = (uintptr_t)p + vq->bus_off;
		vq->desc[i].len = vq->buf_len;
		vq->state[i] = (uint16_t)(i + 1u); /* of the last nobody asks: free_cnt */
		if (in) {
			vq->desc[i].flags = VRING_DESC_F_WRITE;
			amp_vq_put(vq, (uint16_t)i, 0);
		}
	}
	if (in)
		amp_port_cache_clean(vq->pool, (size_t)num * vq->buf_len);
	else
		vq->free_cnt = num;
	amp_port_cache_clean(ring, len);
}

#if AMPSOCK_VQ_DEVICE && AMP_VQ_TRANSLATE
void *amp_vq_elsewhere(const struct amp_vq *vq, uint64_t addr, uint32_t *len)
{
	return vq->xlate.translate ? vq->xlate.translate(vq->xlate.ctx, addr, len) : NULL;
}

void *amp_vq_elsewhere_whole(const struct amp_vq *vq, uint64_t addr, uint32_t len)
{
	uint32_t part = len;
	void *p = amp_vq_elsewhere(vq, addr, &part);

	return part == len ? p : NULL;
}
#endif

/* Driver: the chain that starts at id goes back to the free list, by its private links. */
static void free_chain(struct amp_vq *vq, uint16_t id)
{
	uint16_t last = id, next = vq->state[id] & RING_END;

	vq->free_cnt++;
	vq->state[id] = next;
	while (next != RING_END) {
		last = next;
		next = vq->state[last];
		vq->free_cnt++;
	}
	vq->state[last] = vq->free_head;
	vq->free_head = id;
}

/* Device: one descriptor's memory, in as many segments as its mappings need. */
static int add_segments(struct amp_vq *vq, struct amp_vq_buf *buf, uint64_t addr, uint32_t len)
{
	if ((uint64_t)buf->len + len > UINT32_MAX)
		return ring_lied(vq, "chain longer than 2^32 bytes (virtio 2.7.5.2)");
	buf->len += len;
	while (len) {
		uint32_t part = len;
		void *p;

		if (!ring_window(vq, addr, len, &p))
			p = amp_vq_elsewhere(vq, addr, &part);
		if (!p || part == 0 || part > len)
			return ring_lied(vq, "descriptor address outside the shared memory");
		if (buf->iov_cnt == buf->iov_max)
			return ring_lied(vq,
					 "chain of too many descriptors (virtio 2.7.5.3.1)");
		if (vq->dir == AMP_VQ_IN)
			amp_port_cache_invalidate(p, part);
		buf->iov[buf->iov_cnt].base = p;
		buf->iov[buf->iov_cnt].len = part;
		buf->iov_cnt++;
		addr += part;
		len -= part;
	}
	return 0;
}

/* Device: the table that an indirect descriptor names (2.7.5.3). */
static AMP_VQ_RARE int indirect_table(struct amp_vq *vq, const struct vring_desc *d,
				      volatile struct vring_desc **table, uint32_t *table_len,
				      bool *nested)
{
	if (!vq->indirect)
		return ring_lied(vq, "indirect descriptor that was not negotiated (virtio "
				     "2.7.5.3)");
	if (d->flags & VRING_DESC_F_NEXT || *nested)
		return ring_lied(vq, "indirect descriptor with next, or within a table "
				     "(virtio 2.7.5.3.1)");
	*nested = true;
	if (d->len == 0 || d->len % sizeof(struct vring_desc))
		return ring_lied(vq, "indirect table of odd length (virtio 2.7.5.3.1)");
	void *at;

	if (!ring_memory(vq, d->addr, d->len, &at) || (uintptr_t)at & 7)
		return ring_lied(vq, "indirect table outside the shared memory, or askew");
	*table = at;
	*table_len = d->len / (uint32_t)sizeof(struct vring_desc);
	return 0;
}

/* Device: walk the chain at head, each descriptor copied once. Then it is held. */
int amp_vq_walk(struct amp_vq *vq, struct amp_vq_buf *buf, uint16_t head)
{
	volatile struct vring_desc *table = vq->desc;
	uint32_t table_len = vq->num, steps = 0, idx = head;
	uint16_t want = vq->dir == AMP_VQ_OUT ? VRING_DESC_F_WRITE : 0;
	bool nested = false;
	struct vring_desc d;
	int r;

	buf->id = head;
	buf->iov_cnt = 0;
	buf->len = 0;
	for (;;) {
		if (idx >= table_len)
			return ring_lied(vq,
					 "descriptor number beyond the table (virtio 2.7.5)");
		/* no chain is longer than the queue, however large its table: more is a loop */
		if (steps++ > vq->num)
			return ring_lied(vq, "descriptor loop (virtio 2.7.5.2, 2.7.5.3.1)");
		amp_port_cache_invalidate(&table[idx], sizeof(d));
		d.addr = table[idx].addr;
		d.len = table[idx].len;
		d.flags = table[idx].flags;
		d.next = table[idx].next;
		if (d.flags & VRING_DESC_F_INDIRECT) {
			r = indirect_table(vq, &d, &table, &table_len, &nested);
			if (r)
				return r;
			idx = 0;
			continue;
		}
		if ((d.flags & VRING_DESC_F_WRITE) != want && !vq->any_dir)
			return ring_lied(vq,
					 "descriptor of the wrong direction (virtio 2.7.4.2)");
		r = add_segments(vq, buf, d.addr, d.len);
		if (r)
			return r;
		if (!(d.flags & VRING_DESC_F_NEXT))
			break;
		idx = d.next;
	}
	ring_device_took(vq, head);
	return 1;
}

int amp_vq_get(struct amp_vq *vq, struct amp_vq_buf *buf)
{
	return ring_get(vq, (enum amp_vq_dir)vq->dir, buf);
}

void amp_vq_put(struct amp_vq *vq, uint16_t id, uint32_t len)
{
	ring_put(vq, (enum amp_vq_dir)vq->dir, id, len);
}

uint32_t amp_vq_desc_len(const struct amp_vq *vq, uint16_t id)
{
	return vq->desc[id].len; /* as get saw it: nobody honest writes it meanwhile */
}

void amp_vq_unget(struct amp_vq *vq, uint16_t id)
{
	if (ring_device(vq)) {
		/* the entry is compared only: whoever changed it meanwhile harms itself */
		if (vq->avail->ring[ring_mask(vq, (uint16_t)(vq->get_idx - 1u))] != id) {
			ring_used_put(vq, id, 0);
			return;
		}
		vq->get_idx--;
		return;
	}
	if (vq->dir == AMP_VQ_OUT) {
		vq->state[id] = vq->free_head;
		vq->free_head = id;
		vq->free_cnt++;
		return;
	}
	/* as above: only compared */
	if (vq->used->ring[ring_mask(vq, (uint16_t)(vq->get_idx - 1u))].id != id) {
		amp_vq_put(vq, id, 0);
		return;
	}
	vq->state[id] = RING_BUSY | RING_END;
	vq->get_idx--;
}

int amp_vq_post(struct amp_vq *vq, const struct amp_iov *iov, uint16_t rd_cnt, uint16_t wr_cnt,
		void *indirect)
{
	volatile struct vring_desc *table = indirect ? indirect : vq->desc;
	uint16_t cnt = (uint16_t)(rd_cnt + wr_cnt), head = vq->free_head, slot = head,
		 last = head;

	if (cnt == 0 || cnt > vq->num || (indirect && !vq->indirect) || ring_device(vq))
		return -EINVAL;
	if (vq->free_cnt < (indirect ? 1 : cnt))
		return -EAGAIN;
	for (uint16_t i = 0; i < cnt; i++) {
		uint16_t flags = i < rd_cnt ? 0 : VRING_DESC_F_WRITE;
		uint16_t at = indirect ? i : slot;
		uint16_t next = indirect ? (uint16_t)(i + 1u) : vq->state[slot];

		if (i + 1u < cnt)
			flags |= VRING_DESC_F_NEXT;
		/* what is to be written must not come out of this cache over it */
		amp_port_cache_clean(iov[i].base, iov[i].len);
		write_desc(&table[at], (uintptr_t)iov[i].base + vq->bus_off,
			   (uint32_t)iov[i].len, flags, flags & VRING_DESC_F_NEXT ? next : 0);
		if (!indirect) {
			last = slot;
			slot = next;
		}
	}
	if (indirect) {
		slot = vq->state[head];
		write_desc(&vq->desc[head], (uintptr_t)indirect + vq->bus_off,
			   (uint32_t)(cnt * sizeof(struct vring_desc)), VRING_DESC_F_INDIRECT,
			   0);
	}
	vq->free_head = slot;
	vq->free_cnt = (uint16_t)(vq->free_cnt - (indirect ? 1u : cnt));
	vq->state[last] = RING_END;
	vq->state[head] |= RING_BUSY;
	ring_avail_put(vq, head);
	return head;
}

int amp_vq_reap(struct amp_vq *vq, uint16_t *id, uint32_t *len)
{
	int r = ring_used_peek(vq, id, len);

	if (r > 0) {
		vq->get_idx++;
		free_chain(vq, *id);
	}
	return r;
}

bool amp_vq_kick_due(struct amp_vq *vq)
{
	return ring_kick_due(vq);
}

bool amp_vq_arm(struct amp_vq *vq)
{
	volatile uint16_t *event = ring_event(vq);

	if (RING_ASKED(vq, event))
		ring_wr16(event, vq->get_idx);
	else if (AMP_VQ_DISARMS && !vq->armed)
		ring_wr16(ring_device(vq) ? &vq->used->flags : &vq->avail->flags, 0);
	if (AMP_VQ_DISARMS)
		vq->armed = true;
	amp_mb(); /* pairs with mb in the peer's kick_due: event index before index */
	return ring_rd16(ring_peer_idx(vq)) != vq->get_idx;
}

#if AMP_VQ_DISARMS
void amp_vq_disarm(struct amp_vq *vq)
{
	if (vq->armed)
		ring_disarm(vq);
}
#endif

bool amp_vq_any(const struct amp_vq *vq)
{
	if (vq->broken)
		return false;
	if (!ring_device(vq) && vq->free_cnt) /* an in queue has posted its pool */
		return true;
	return ring_rd16(ring_peer_idx(vq)) != vq->get_idx;
}

uint16_t amp_vq_avail(const struct amp_vq *vq)
{
	uint16_t n = (uint16_t)(ring_rd16(ring_peer_idx(vq)) - vq->get_idx);

	if (vq->broken)
		return 0;
	if (n > vq->num)
		n = vq->num;
	if (!ring_device(vq) && vq->dir == AMP_VQ_OUT)
		n = (uint16_t)(n + vq->free_cnt);
	return n;
}
