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
 * written once. An out queue looks at the used ring only when its free list is empty:
 * one read of a shared cache line then refills it for a whole burst.
 *
 * Barriers. Each end publishes entries, then its index (wmb), and reads the index, then
 * entries (rmb): put's wmb pairs with the peer's rmb in its get. kick_due's mb (index
 * written, event index read) pairs with the peer's mb in arm (event index written, index
 * read): at least one of the two sees the other, so no notification is lost.
 *
 * Cache maintenance, for cores that are not coherent with their peer, happens where
 * ownership changes: invalidate before reading what the peer wrote, clean after writing
 * what the peer reads.
 */
#include <errno.h>
#include <string.h>

#include "../port/port.h"
#include "vq.h"
#include "vring.h"

#define STATE_BUSY 0x8000u /* the peer has the chain that starts here */
#define STATE_END  0x7fffu /* end of the free list or of a chain */
#define STATE_HELD 0x7ffeu /* in queue: got, not yet put */

static uint16_t rd16(const volatile uint16_t *p)
{
	amp_port_cache_invalidate(p, sizeof(*p));
	return *p;
}

static void wr16(volatile uint16_t *p, uint16_t v)
{
	*p = v;
	amp_port_cache_clean(p, sizeof(*p));
}

/* Off the way of the usual buffer, or its registers are saved for nothing. */
#define RARE __attribute__((noinline, cold))

static RARE int lied(struct amp_vq *vq, const char *why)
{
	vq->broken = true;
	vq->why = why;
	return -EBADMSG;
}

static uint16_t mask(const struct amp_vq *vq, uint16_t idx)
{
	return (uint16_t)(idx & (vq->num - 1u));
}

static bool is_device(const struct amp_vq *vq)
{
	return AMPSOCK_VQ_DEVICE && (!AMPSOCK_VQ_DRIVER || vq->role == AMP_VQ_DEVICE);
}

/* The index that the peer publishes, and where each side asks for notifications. */
static const volatile uint16_t *peer_idx_at(const struct amp_vq *vq)
{
	return is_device(vq) ? &vq->avail->idx : &vq->used->idx;
}

static volatile uint16_t *used_event_at(const struct amp_vq *vq)
{
	return &vq->avail->ring[vq->num];
}

static volatile uint16_t *avail_event_at(const struct amp_vq *vq)
{
	return (volatile uint16_t *)&vq->used->ring[vq->num];
}

size_t amp_vq_layout(uint16_t num, size_t *avail_off, size_t *used_off)
{
	size_t avail = sizeof(struct vring_desc) * num;
	size_t used = avail + sizeof(struct vring_avail) + 2u * num + 2u;

	used = (used + 3u) & ~(size_t)3u;
	*avail_off = avail;
	*used_off = used;
	return used + sizeof(struct vring_used) + sizeof(struct vring_used_elem) * num + 2u;
}

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
	vq->role = (uint8_t)s->role;
	vq->dir = (uint8_t)s->dir;
	vq->event_idx = s->event_idx;
	vq->indirect = s->indirect;
	vq->state = s->state;
	vq->bus_off = s->bus_off;
	vq->xlate = s->xlate;
	if (is_device(vq)) {
		vq->get_idx = vq->peer_idx = s->start_idx;
		/*
		 * vhost: a driver that goes on with a ring goes on with its used index (all
		 * chains it had given out were returned before it stopped).
		 */
		vq->put_idx = vq->kick_idx = rd16(&vq->used->idx);
		/* a back-end that died here before us may have left notifications off */
		(void)amp_vq_arm(vq);
		return 0;
	}
	vq->armed = true;
	len = amp_vq_layout(s->num, &avail_off, &used_off);
	memset(s->desc, 0, avail_off);
	memset(s->avail, 0, used_off - avail_off);
	memset(s->used, 0, len - used_off);
	/* a descriptor is cleaned when it is written: none is looked at before */
	amp_port_cache_clean(s->avail, used_off - avail_off);
	amp_port_cache_clean(s->used, len - used_off);
	for (uint16_t i = 0; i < s->num; i++)
		vq->state[i] = (uint16_t)(i + 1u);
	vq->state[s->num - 1u] = STATE_END;
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

/* Driver: hand chain id to the device. */
static void avail_put(struct amp_vq *vq, uint16_t id)
{
	wr16(&vq->avail->ring[mask(vq, vq->put_idx)], id);
	amp_wmb(); /* pairs with rmb in the device's get */
	vq->put_idx++;
	vq->out_cnt++;
	wr16(&vq->avail->idx, vq->put_idx);
}

/* Device: hand chain id back. */
static void used_put(struct amp_vq *vq, uint16_t id, uint32_t len)
{
	volatile struct vring_used_elem *e = &vq->used->ring[mask(vq, vq->put_idx)];

	e->id = id;
	e->len = len;
	amp_port_cache_clean(e, sizeof(*e));
	amp_wmb(); /* pairs with rmb in the driver's get */
	vq->put_idx++;
	vq->out_cnt--;
	wr16(&vq->used->idx, vq->put_idx);
}

int amp_vq_pool(struct amp_vq *vq, void *pool, uint32_t buf_len, uint16_t cnt)
{
	bool in = vq->dir == AMP_VQ_IN;

	if (is_device(vq) || cnt == 0 || cnt > vq->num || buf_len == 0)
		return -EINVAL;
	vq->pool = pool;
	vq->buf_len = buf_len;
	for (uint16_t i = 0; i < cnt; i++) {
		uint8_t *p = vq->pool + (size_t)i * buf_len;

		write_desc(&vq->desc[i], (uintptr_t)p + vq->bus_off, buf_len,
			   in ? VRING_DESC_F_WRITE : 0, 0);
		vq->state[i] = in ? STATE_BUSY : (uint16_t)(i + 1u);
		if (in) {
			amp_port_cache_clean(p, buf_len);
			avail_put(vq, i);
		}
	}
	vq->free_cnt = in ? 0 : cnt;
	vq->free_head = in ? STATE_END : 0;
	if (!in)
		vq->state[cnt - 1u] = STATE_END;
	return 0;
}

/*
 * Is there anything from the peer beyond get_idx? limit: how many entries it can have
 * published at most. Reads the shared index only when what was known is used up.
 */
static inline int peer_has(struct amp_vq *vq, uint16_t limit)
{
	if (vq->broken)
		return -EBADMSG;
	if (vq->peer_idx != vq->get_idx)
		return 1;
	vq->peer_idx = rd16(peer_idx_at(vq));
	if (vq->peer_idx == vq->get_idx)
		return 0;
	if ((uint16_t)(vq->peer_idx - vq->get_idx) > limit)
		return lied(vq, AMP_WHY("ring index ahead of what can be outstanding (virtio "
					"2.7.6, 2.7.8)"));
	amp_rmb(); /* pairs with wmb in the peer's put: entries after index */
	return 1;
}

/* Driver: the next used entry, checked against what is really out. */
static int used_get(struct amp_vq *vq, uint16_t *id, uint32_t *len)
{
	volatile struct vring_used_elem *e;
	uint32_t raw;
	int r = peer_has(vq, vq->out_cnt);

	if (r <= 0)
		return r;
	e = &vq->used->ring[mask(vq, vq->get_idx)];
	amp_port_cache_invalidate(e, sizeof(*e));
	raw = e->id;
	*len = e->len;
	if (raw >= vq->num || !(vq->state[raw] & STATE_BUSY))
		return lied(vq, AMP_WHY("used id that is not outstanding (virtio 2.7.8)"));
	*id = (uint16_t)raw;
	vq->get_idx++;
	vq->out_cnt--;
	return 1;
}

/* Driver: the chain that starts at id goes back to the free list, by its private links. */
static void free_chain(struct amp_vq *vq, uint16_t id)
{
	uint16_t last = id, next = vq->state[id] & STATE_END;

	vq->free_cnt++;
	vq->state[id] = next;
	while (next != STATE_END) {
		last = next;
		next = vq->state[last];
		vq->free_cnt++;
	}
	vq->state[last] = vq->free_head;
	vq->free_head = id;
}

/*
 * Driver, out: everything that came back goes to the free list, as used_get() would take it
 * one by one. Pool buffers are chains of one.
 */
static __attribute__((noinline)) int refill(struct amp_vq *vq)
{
	int r = peer_has(vq, vq->out_cnt);
	uint16_t at = vq->get_idx, head = vq->free_head;

	if (r <= 0)
		return r;
	for (; at != vq->peer_idx; at++) {
		volatile struct vring_used_elem *e = &vq->used->ring[mask(vq, at)];
		uint32_t id;

		amp_port_cache_invalidate(e, sizeof(*e));
		id = e->id;
		if (id >= vq->num || !(vq->state[id] & STATE_BUSY))
			return lied(vq,
				    AMP_WHY("used id that is not outstanding (virtio 2.7.8)"));
		vq->state[id] = head;
		head = (uint16_t)id;
	}
	at = (uint16_t)(at - vq->get_idx);
	vq->get_idx = vq->peer_idx;
	vq->free_cnt = (uint16_t)(vq->free_cnt + at);
	vq->out_cnt = (uint16_t)(vq->out_cnt - at);
	vq->free_head = head;
	return 1;
}

static int driver_get(struct amp_vq *vq, struct amp_vq_buf *buf)
{
	uint8_t *p;
	int r;

	if (vq->dir == AMP_VQ_OUT) {
		if (vq->free_cnt == 0) {
			r = refill(vq);
			if (vq->free_cnt == 0)
				return r;
		}
		if (vq->broken)
			return -EBADMSG;
		buf->id = vq->free_head;
		buf->len = vq->buf_len;
		vq->free_head = vq->state[buf->id];
		vq->free_cnt--;
	} else {
		r = used_get(vq, &buf->id, &buf->len);
		if (r <= 0)
			return r;
		if (buf->len > vq->buf_len)
			return lied(vq,
				    AMP_WHY("used length beyond the buffer (virtio 2.7.8.2)"));
	}
	vq->state[buf->id] = STATE_HELD;
	p = vq->pool + (size_t)buf->id * vq->buf_len;
	if (vq->dir == AMP_VQ_IN)
		amp_port_cache_invalidate(p, buf->len);
	buf->iov[0].base = p;
	buf->iov[0].len = buf->len;
	buf->iov_cnt = 1;
	return 1;
}

/* Device: one descriptor's memory, in as many segments as its mappings need. */
static int add_segments(struct amp_vq *vq, struct amp_vq_buf *buf, uint64_t addr, uint32_t len)
{
	if ((uint64_t)buf->len + len > UINT32_MAX)
		return lied(vq, AMP_WHY("chain longer than 2^32 bytes (virtio 2.7.5.2)"));
	buf->len += len;
	while (len) {
		uint32_t part = len;
		void *p = vq->xlate.translate(vq->xlate.ctx, addr, &part);

		if (!p || part == 0 || part > len)
			return lied(vq,
				    AMP_WHY("descriptor address outside the shared memory"));
		if (buf->iov_cnt == buf->iov_max)
			return lied(
				vq,
				AMP_WHY("chain of too many descriptors (virtio 2.7.5.3.1)"));
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
static RARE int indirect_table(struct amp_vq *vq, const struct vring_desc *d,
			       volatile struct vring_desc **table, uint32_t *table_len,
			       bool *nested)
{
	uint32_t part = d->len;

	if (!vq->indirect)
		return lied(vq, AMP_WHY("indirect descriptor that was not negotiated (virtio "
					"2.7.5.3)"));
	if (d->flags & VRING_DESC_F_NEXT || *nested)
		return lied(vq, AMP_WHY("indirect descriptor with next, or within a table "
					"(virtio 2.7.5.3.1)"));
	*nested = true;
	if (d->len == 0 || d->len % sizeof(struct vring_desc))
		return lied(vq, AMP_WHY("indirect table of odd length (virtio 2.7.5.3.1)"));
	*table = vq->xlate.translate(vq->xlate.ctx, d->addr, &part);
	if (!*table || part < d->len || (uintptr_t)*table & 7)
		return lied(vq, AMP_WHY("indirect table outside the shared memory, or askew"));
	*table_len = d->len / (uint32_t)sizeof(struct vring_desc);
	return 0;
}

/* Device: walk the chain at head, each descriptor copied once. Then it is held. */
static __attribute__((noinline)) int walk(struct amp_vq *vq, struct amp_vq_buf *buf,
					  uint16_t head)
{
	volatile struct vring_desc *table = vq->desc;
	uint32_t table_len = vq->num, steps = 0, idx = head;
	uint16_t want = vq->dir == AMP_VQ_OUT ? VRING_DESC_F_WRITE : 0;
	bool nested = false;
	struct vring_desc d;
	int r;

	for (;;) {
		if (idx >= table_len)
			return lied(
				vq,
				AMP_WHY("descriptor number beyond the table (virtio 2.7.5)"));
		/* no chain is longer than the queue, however large its table: more is a loop */
		if (steps++ > vq->num)
			return lied(vq, AMP_WHY("descriptor loop (virtio 2.7.5.2, 2.7.5.3.1)"));
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
		if ((d.flags & VRING_DESC_F_WRITE) != want)
			return lied(
				vq,
				AMP_WHY("descriptor of the wrong direction (virtio 2.7.4.2)"));
		r = add_segments(vq, buf, d.addr, d.len);
		if (r)
			return r;
		if (!(d.flags & VRING_DESC_F_NEXT))
			break;
		idx = d.next;
	}
	vq->get_idx++;
	vq->out_cnt++;
	return 1;
}

static int device_get(struct amp_vq *vq, struct amp_vq_buf *buf)
{
	uint16_t want = vq->dir == AMP_VQ_OUT ? VRING_DESC_F_WRITE : 0, head;
	int r = peer_has(vq, (uint16_t)(vq->num - vq->out_cnt));
	uint32_t len, part;
	uint64_t addr;
	void *p;

	if (r <= 0)
		return r;
	head = rd16(&vq->avail->ring[mask(vq, vq->get_idx)]);
	if (head >= vq->num)
		return lied(vq, AMP_WHY("avail entry beyond the queue (virtio 2.7.6)"));
	buf->id = head;
	/* nearly always one direct descriptor in one mapping; what it is otherwise, walk()
	 * reads anew */
	amp_port_cache_invalidate(&vq->desc[head], sizeof(vq->desc[head]));
	part = len = vq->desc[head].len;
	addr = vq->desc[head].addr;
	if (vq->desc[head].flags == want && len && buf->iov_max) {
		p = vq->xlate.translate(vq->xlate.ctx, addr, &part);
		if (p && part == len) {
			if (vq->dir == AMP_VQ_IN)
				amp_port_cache_invalidate(p, len);
			buf->iov[0].base = p;
			buf->iov[0].len = len;
			buf->iov_cnt = 1;
			buf->len = len;
			vq->get_idx++;
			vq->out_cnt++;
			return 1;
		}
	}
	buf->iov_cnt = 0;
	buf->len = 0;
	return walk(vq, buf, head);
}

int amp_vq_get(struct amp_vq *vq, struct amp_vq_buf *buf)
{
	return is_device(vq) ? device_get(vq, buf) : driver_get(vq, buf);
}

void amp_vq_put(struct amp_vq *vq, uint16_t id, uint32_t len)
{
	if (is_device(vq)) {
		used_put(vq, id, len);
		return;
	}
	vq->state[id] = STATE_BUSY | STATE_END;
	if (vq->dir == AMP_VQ_OUT) {
		amp_port_cache_clean(vq->pool + (size_t)id * vq->buf_len, len);
		vq->desc[id].len = len;
		amp_port_cache_clean(&vq->desc[id], sizeof(vq->desc[id]));
	}
	avail_put(vq, id);
}

void amp_vq_unget(struct amp_vq *vq, uint16_t id)
{
	if (is_device(vq)) {
		/* the entry is compared only: whoever changed it meanwhile harms itself */
		if (vq->avail->ring[mask(vq, (uint16_t)(vq->get_idx - 1u))] != id) {
			used_put(vq, id, 0);
			return;
		}
		vq->get_idx--;
		vq->out_cnt--;
		return;
	}
	if (vq->dir == AMP_VQ_OUT) {
		vq->state[id] = vq->free_head;
		vq->free_head = id;
		vq->free_cnt++;
		return;
	}
	/* as above: only compared */
	if (vq->used->ring[mask(vq, (uint16_t)(vq->get_idx - 1u))].id != id) {
		amp_vq_put(vq, id, 0);
		return;
	}
	vq->state[id] = STATE_BUSY | STATE_END;
	vq->get_idx--;
	vq->out_cnt++;
}

int amp_vq_post(struct amp_vq *vq, const struct amp_iov *iov, uint16_t rd_cnt, uint16_t wr_cnt,
		void *indirect)
{
	volatile struct vring_desc *table = indirect ? indirect : vq->desc;
	uint16_t cnt = (uint16_t)(rd_cnt + wr_cnt), head = vq->free_head, slot = head,
		 last = head;

	if (cnt == 0 || cnt > vq->num || (indirect && !vq->indirect) || is_device(vq))
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
	vq->state[last] = STATE_END;
	vq->state[head] |= STATE_BUSY;
	avail_put(vq, head);
	return head;
}

int amp_vq_reap(struct amp_vq *vq, uint16_t *id, uint32_t *len)
{
	int r = used_get(vq, id, len);

	if (r > 0)
		free_chain(vq, *id);
	return r;
}

bool amp_vq_kick_due(struct amp_vq *vq)
{
	uint16_t old = vq->kick_idx, now = vq->put_idx;
	bool due;

	if (old == now || vq->broken)
		return false;
	vq->kick_idx = now;
	amp_mb(); /* pairs with mb in the peer's arm: index before event index */
	if (vq->event_idx) {
		uint16_t ev = rd16(is_device(vq) ? used_event_at(vq) : avail_event_at(vq));

		/* 2.7.7.2, 2.7.10.2: has the index passed the event? */
		due = (uint16_t)(now - ev - 1u) < (uint16_t)(now - old);
	} else if (is_device(vq)) {
		due = !(rd16(&vq->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	} else {
		due = !(rd16(&vq->used->flags) & VRING_USED_F_NO_NOTIFY);
	}
	vq->kicks += due;
	return due;
}

bool amp_vq_arm(struct amp_vq *vq)
{
	if (vq->event_idx)
		wr16(is_device(vq) ? avail_event_at(vq) : used_event_at(vq), vq->get_idx);
	else if (!vq->armed)
		wr16(is_device(vq) ? &vq->used->flags : &vq->avail->flags, 0);
	vq->armed = true;
	amp_mb(); /* pairs with mb in the peer's kick_due: event index before index */
	return rd16(peer_idx_at(vq)) != vq->get_idx;
}

void amp_vq_disarm(struct amp_vq *vq)
{
	/* With event index nothing is to do: past the event there are no notifications. */
	if (!vq->event_idx && vq->armed)
		wr16(is_device(vq) ? &vq->used->flags : &vq->avail->flags,
		     is_device(vq) ? VRING_USED_F_NO_NOTIFY : VRING_AVAIL_F_NO_INTERRUPT);
	vq->armed = false;
}

uint16_t amp_vq_avail(const struct amp_vq *vq)
{
	uint16_t n = (uint16_t)(rd16(peer_idx_at(vq)) - vq->get_idx);

	if (vq->broken)
		return 0;
	if (n > vq->num)
		n = vq->num;
	if (!is_device(vq) && vq->dir == AMP_VQ_OUT)
		n = (uint16_t)(n + vq->free_cnt);
	return n;
}
