/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two ends of rpmsg streams in one process, for their tests and their fuzzer. What is between
 * them is a door made for the purpose (messages are separate allocations of exactly their
 * size, at odd addresses; buffers run out, sources are hidden, messages are changed on the
 * way) or two buses on real rings.
 */
#ifndef STREAM_RIG_H
#define STREAM_RIG_H

#include <errno.h>
#include <stdio.h>

#include "af_rpmsg/rpmsg_stream.h"
#include "ringpair.h"
#include "wire/le.h"

#define RIG_ENDS     24u
#define RIG_MSGS     256u
#define RIG_SERVICES 4u
#define RIG_BUCKETS  (AMPSOCK_HASH == 1 ? 0u : 4u) /* a small core's owners do not say */
#define RIG_ROOM     496u

#define RIG_CHECK(x)                                                            \
	do {                                                                    \
		if (!(x)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                               \
	} while (0)

/* A connection's owner: counts what it is told, and knows the bytes that must come. */
struct rig_end {
	struct amp_rstream_conn rc; /* first */
	bool used;
	bool eat;   /* consume in the hook */
	bool hold;  /* have reservations open over everything else */
	bool wrong; /* bytes came that were not sent */
	unsigned open, shut, reset, gone, writable;
	uint32_t held; /* received, not consumed */
	uint32_t rx_pos, tx_pos;
	uint32_t dst[2]; /* the only addresses this can send to, on a door like /dev/rpmsgN */
	struct amp_iov tx_iov;
	struct amp_vsock_tx tx; /* len != 0: a reservation */
};

struct rig_msg {
	uint32_t src, dst, len;
	uint8_t *mem; /* one byte, then the message */
	bool counted; /* in its sender's `out` */
};

enum rig_kind { RIG_CONN = 1, RIG_SERVICE };

struct rig_side {
	struct amp_rstream rs; /* first */
	struct amp_vsock_conn *hash[4];
	struct amp_iov iov[1];
	struct rig_end ends[RIG_ENDS];
	struct rig_end *last; /* of the last REQUEST */
	unsigned next_end;
	struct amp_rpmsg_ept service[RIG_SERVICES];
	/* what the owner does with REQUESTs */
	uint32_t backlog, window;
	bool later; /* answers outside the hook */
	unsigned requests, tx_ready, nobody;
	bool in_run; /* the only place for EV_GONE */
	/* what SERVICE told */
	unsigned told;
	char name[AMP_RPMSG_NAME_LEN];
	uint32_t name_addr;
	bool name_gone;
	/* the made door */
	unsigned bufs;	     /* this many messages may be on their way or reserved */
	unsigned out;	     /* and so many are */
	unsigned eagain_pct; /* reserve fails all the same, in so many cases of 100 */
	unsigned opened;     /* endpoints of connections */
	uint32_t next_addr;
	bool no_open, no_redirect, down;
	bool chardev; /* sees no source */
	unsigned queue_len;
	struct rig_msg queue[RIG_MSGS]; /* to this side */
	void (*tap)(struct rig_side *to, struct rig_msg *m);
	/* the bus */
	struct amp_rpmsg bus;
	struct amp_rpmsg_ept *bus_hash[4];
};

static struct {
	struct rig_side a, b;
	struct ringpair up; /* a is the remote, b the host */
	struct ringpair down;
	uint16_t num;
	uint32_t buf_len;
	bool bus;
	uint32_t rand;
} rig;

static inline struct rig_side *rig_other(const struct rig_side *s)
{
	return s == &rig.a ? &rig.b : &rig.a;
}

static inline struct rig_side *rig_side(struct amp_rstream *rs)
{
	return (struct rig_side *)(void *)rs;
}

/* ---- owners ---- */

static inline struct rig_end *rig_end_new(struct rig_side *s, uint32_t window)
{
	for (unsigned i = 0; i < RIG_ENDS; i++) {
		struct rig_end *e = &s->ends[s->next_end++ % RIG_ENDS];

		if (e->used)
			continue;
		memset(e, 0, sizeof(*e));
		e->used = true;
		e->rc.c.buf_alloc = window;
		e->rc.ept.kind = RIG_CONN;
		return e;
	}
	return NULL;
}

static inline uint8_t rig_byte(const struct rig_side *from, uint32_t pos)
{
	return (uint8_t)(pos * 7u + (pos >> 8) + (from == &rig.a));
}

static inline struct amp_rstream_conn *rig_request(struct amp_rstream *rs, uint32_t local,
						   uint32_t peer)
{
	struct rig_side *s = rig_side(rs);
	struct rig_end *e;

	RIG_CHECK(peer && peer != AMP_RPMSG_ADDR_ANY);
	(void)local;
	s->requests++;
	if (!s->backlog)
		return NULL;
	e = rig_end_new(s, s->window);
	if (!e)
		return NULL;
	s->backlog--;
	s->last = e;
	if (!s->later)
		amp_vsock_respond(&rs->vs, &e->rc.c);
	return &e->rc;
}

static inline void rig_service(struct amp_rstream *rs, const char *name, uint32_t addr,
			       bool gone)
{
	struct rig_side *s = rig_side(rs);

	RIG_CHECK(strlen(name) > 0 && strlen(name) < AMP_RPMSG_NAME_LEN);
	RIG_CHECK(addr && addr != AMP_RPMSG_ADDR_ANY);
	s->told++;
	memset(s->name, 0, sizeof(s->name));
	memcpy(s->name, name, strlen(name));
	s->name_addr = addr;
	s->name_gone = gone;
}

static inline int rig_data(struct amp_vsock *vs, struct amp_vsock_conn *c,
			   const struct amp_vsock_rx *rx)
{
	struct rig_side *s = (struct rig_side *)(void *)vs;
	struct rig_end *e = (struct rig_end *)(void *)c;
	const uint8_t *p = rx->iov->base;

	RIG_CHECK(e->used && !e->gone && !e->reset && c->state == AMP_CONN_OPEN);
	RIG_CHECK(rx->len && rx->iov_cnt == 1 && rx->iov->len == rx->len);
	for (uint32_t i = 0; i < rx->len; i++, e->rx_pos++)
		e->wrong |= p[i] != rig_byte(rig_other(s), e->rx_pos);
	e->held += rx->len;
	RIG_CHECK(e->held <= c->buf_alloc);
	if (e->eat) {
		uint32_t n = e->held;

		e->held = 0;
		amp_vsock_consumed(vs, c, n);
	}
	return 0;
}

static inline void rig_event(struct amp_vsock *vs, struct amp_vsock_conn *c, unsigned ev)
{
	struct rig_side *s = (struct rig_side *)(void *)vs;
	struct rig_end *e = (struct rig_end *)(void *)c;

	RIG_CHECK(e->used && !e->gone);
	e->open += (ev & AMP_VSOCK_EV_OPEN) != 0;
	e->writable += (ev & AMP_VSOCK_EV_WRITABLE) != 0;
	e->shut += (ev & AMP_VSOCK_EV_SHUT) != 0;
	e->reset += (ev & AMP_VSOCK_EV_RESET) != 0;
	RIG_CHECK(e->reset <= 1 && e->open <= 1);
	if (ev & AMP_VSOCK_EV_GONE) {
		RIG_CHECK(s->in_run && c->state == AMP_CONN_FREE);
		RIG_CHECK(e->rc.ept.addr == AMP_RPMSG_ADDR_ANY); /* closed before */
		e->gone = 1;
		e->used = false;
	}
	if ((ev & (AMP_VSOCK_EV_RESET | AMP_VSOCK_EV_GONE)) && e->tx.len) {
		amp_vsock_cancel(vs, c, &e->tx);
		e->tx.len = 0;
	}
}

static inline void rig_tx_ready(struct amp_vsock *vs)
{
	((struct rig_side *)(void *)vs)->tx_ready++;
}

static const struct amp_rstream_ops rig_ops = {.request = rig_request, .service = rig_service};
static const struct amp_vsock_ops rig_vs_ops = {
	.data = rig_data, .event = rig_event, .tx_ready = rig_tx_ready};

/* Up to want bytes of what comes next. Bytes, or what reserve says. */
static inline int rig_send(struct rig_side *s, struct rig_end *e, uint32_t want)
{
	struct amp_iov iov;
	struct amp_vsock_tx tx = {.iov = &iov, .iov_max = 1};
	int r = amp_vsock_reserve(&s->rs.vs, &e->rc.c, want, &tx);

	if (r < 0)
		return r;
	RIG_CHECK(r > 0 && tx.iov_cnt == 1 && iov.len == (size_t)r && (uint32_t)r == tx.len);
	for (int i = 0; i < r; i++)
		((uint8_t *)iov.base)[i] = rig_byte(s, e->tx_pos + (uint32_t)i);
	e->tx_pos += (uint32_t)r;
	amp_vsock_commit(&s->rs.vs, &e->rc.c, &tx, (uint32_t)r, 0);
	return r;
}

static inline void rig_eat(struct rig_side *s, struct rig_end *e, uint32_t n)
{
	RIG_CHECK(n <= e->held);
	e->held -= n;
	amp_vsock_consumed(&s->rs.vs, &e->rc.c, n);
}

/* ---- the made door ---- */

static inline struct amp_rpmsg_ept *rig_service_at(struct rig_side *s, uint32_t addr)
{
	for (unsigned i = 0; i < RIG_SERVICES; i++) {
		if (s->service[i].addr == addr && addr)
			return &s->service[i];
	}
	return NULL;
}

static inline struct rig_end *rig_end_at(struct rig_side *s, uint32_t addr)
{
	for (unsigned i = 0; i < RIG_ENDS; i++) {
		if (s->ends[i].used && s->ends[i].rc.ept.addr == addr)
			return &s->ends[i];
	}
	return NULL;
}

static inline int made_open(struct amp_rstream *rs, struct amp_rstream_conn *rc, uint32_t dst)
{
	struct rig_side *s = rig_side(rs);
	struct rig_end *e = (struct rig_end *)(void *)rc;

	if (s->down)
		return -ENETDOWN;
	if (s->no_open)
		return -ENFILE;
	if (rc->ept.addr == AMP_RPMSG_ADDR_ANY)
		rc->ept.addr = s->next_addr++;
	e->dst[0] = dst;
	e->dst[1] = 0;
	s->opened++;
	return 0;
}

static inline int made_redirect(struct amp_rstream *rs, struct amp_rstream_conn *rc,
				uint32_t dst)
{
	if (rig_side(rs)->no_redirect)
		return -EMFILE;
	((struct rig_end *)(void *)rc)->dst[1] = dst;
	return 0;
}

static inline void made_close(struct amp_rstream *rs, struct amp_rstream_conn *rc)
{
	RIG_CHECK(rc->c.state == AMP_CONN_FREE && rc->ept.addr != AMP_RPMSG_ADDR_ANY);
	RIG_CHECK(rig_side(rs)->opened);
	rig_side(rs)->opened--;
}

static inline int made_reserve(struct amp_rstream *rs, struct amp_rstream_conn *rc,
			       struct amp_rpmsg_tx *tx)
{
	struct rig_side *s = rig_side(rs);

	(void)rc;
	if (s->down || s->out >= s->bufs || rp_rand(&rig.rand) % 100 < s->eagain_pct)
		return -EAGAIN;
	s->out++;
	tx->data = (uint8_t *)malloc(1 + RIG_ROOM) + 1;
	memset(tx->data, 0xa5, RIG_ROOM);
	tx->room = RIG_ROOM;
	tx->id = 0x12345678; /* more than 16 bits of it must come back */
	return 0;
}

static inline void made_cancel(struct amp_rstream *rs, const struct amp_rpmsg_tx *tx)
{
	RIG_CHECK(tx->id == 0x12345678 && rig_side(rs)->out);
	rig_side(rs)->out--;
	free(tx->data - 1);
}

/* A message to side `to`; the memory is its own. */
static inline void rig_post(struct rig_side *to, uint32_t src, uint32_t dst, const void *data,
			    uint32_t len)
{
	struct rig_msg *m = &to->queue[to->queue_len++];

	RIG_CHECK(to->queue_len <= RIG_MSGS);
	*m = (struct rig_msg){.src = src, .dst = dst, .len = len, .mem = malloc(1 + len)};
	memcpy(m->mem + 1, data, len);
}

static inline void made_commit(struct amp_rstream *rs, struct amp_rstream_conn *rc,
			       const struct amp_rpmsg_tx *tx, uint32_t src, uint32_t dst,
			       uint32_t len)
{
	struct rig_side *s = rig_side(rs);
	struct rig_end *e = (struct rig_end *)(void *)rc;

	RIG_CHECK(len >= AMP_RSTREAM_HDR_LEN && len <= RIG_ROOM && dst != AMP_RPMSG_ADDR_ANY);
	RIG_CHECK(!rc || rc->c.state != AMP_CONN_FREE);
	if (rs->door->redirect && (!rc || rc->ept.addr == AMP_RPMSG_ADDR_ANY)) {
		src = s->next_addr++; /* a descriptor for this one message */
	} else if (rs->door->redirect) {
		RIG_CHECK(dst == e->dst[e->dst[1] != 0]);
		src += e->dst[1] ? 100000 : 0; /* a second descriptor */
	}
	rig_post(rig_other(s), src, dst, tx->data, len);
	made_cancel(rs, tx);
	rig_other(s)->queue[rig_other(s)->queue_len - 1].counted = true;
	s->out++; /* until it is taken */
}

static inline bool made_ready(const struct amp_rstream *rs)
{
	const struct rig_side *s = (const struct rig_side *)(const void *)rs;

	return !s->down && s->out < s->bufs;
}

static const struct amp_rstream_door_ops made_door = {
	.open = made_open,
	.close = made_close,
	.reserve = made_reserve,
	.commit = made_commit,
	.cancel = made_cancel,
	.ready = made_ready,
};
static const struct amp_rstream_door_ops made_chardev = {
	.request_flags = AMP_RSTREAM_F_ANY_SRC,
	.open = made_open,
	.redirect = made_redirect,
	.close = made_close,
	.reserve = made_reserve,
	.commit = made_commit,
	.cancel = made_cancel,
	.ready = made_ready,
};

static inline void rig_deliver(struct rig_side *s, const struct rig_msg *m)
{
	struct amp_rpmsg_rx rx = {
		.len = m->len, .src = s->chardev ? 0 : m->src, .dst = m->dst, .id = 0x87654321};
	/* at an odd address, and nothing behind it */
	uint8_t *copy = malloc(1 + m->len);
	struct rig_end *e = rig_end_at(s, m->dst);

	memcpy(copy + 1, m->mem + 1, m->len);
	rx.data = copy + 1;
	if (rig_service_at(s, m->dst))
		amp_rstream_serve(&s->rs, &rx);
	else if (e)
		RIG_CHECK(!amp_rstream_input(&s->rs, &e->rc, &rx));
	else
		s->nobody++;
	free(copy);
}

/* The oldest message of those on their way to s. */
static inline bool rig_take(struct rig_side *s)
{
	struct rig_msg m = s->queue[0];

	if (!s->queue_len)
		return false;
	memmove(s->queue, s->queue + 1, --s->queue_len * sizeof(m));
	rig_other(s)->out -= m.counted;
	if (s->tap)
		s->tap(s, &m);
	if (m.mem)
		rig_deliver(s, &m);
	free(m.mem);
	return true;
}

/* ---- the bus ---- */

static inline int rig_bus_data(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept,
			       const struct amp_rpmsg_rx *rx)
{
	struct rig_side *s = bus->owner;

	if (ept->kind == RIG_CONN)
		RIG_CHECK(!amp_rstream_input(&s->rs, amp_rstream_of(ept), rx));
	else
		amp_rstream_serve(&s->rs, rx);
	return 0;
}

static inline void rig_bus_tx_ready(struct amp_rpmsg *bus)
{
	struct rig_side *s = bus->owner;

	s->in_run = true;
	RIG_CHECK(amp_rstream_run(&s->rs) == 0);
	s->in_run = false;
}

static const struct amp_rpmsg_ops rig_bus_ops = {.data = rig_bus_data,
						 .tx_ready = rig_bus_tx_ready};

/* ---- both ---- */

static inline int rig_run(struct rig_side *s)
{
	int n = 0;

	if (rig.bus) {
		n = amp_rpmsg_run(&s->bus, 64);
		if (n < 0)
			return n;
	} else {
		while (rig_take(s))
			n++;
	}
	s->in_run = true;
	RIG_CHECK(amp_rstream_run(&s->rs) == 0);
	s->in_run = false;
	return n;
}

/* Until nothing is on its way. */
static inline void rig_settle(void)
{
	for (unsigned quiet = 0, i = 0; quiet < 3; i++) {
		int a = rig_run(&rig.a), b = rig_run(&rig.b);

		RIG_CHECK(a >= 0 && b >= 0 && i < 100000);
		quiet = a + b || rig.a.queue_len || rig.b.queue_len ? 0 : quiet + 1;
	}
}

static inline void rig_side_init(struct rig_side *s)
{
	memset(s, 0, sizeof(*s));
	s->backlog = UINT32_MAX;
	s->window = 4096;
	s->bufs = 32;
	s->next_addr = 1024;
	s->rs.vs.ops = &rig_vs_ops;
	s->rs.vs.hash = s->hash;
	s->rs.vs.hash_len = RIG_BUCKETS;
	s->rs.vs.iov = s->iov;
	s->rs.vs.iov_max = 1;
	s->rs.ops = &rig_ops;
	s->rs.door = &made_door;
	amp_rstream_init(&s->rs);
	s->bus.ops = &rig_bus_ops;
	s->bus.owner = s;
	s->bus.hash = s->bus_hash;
	s->bus.hash_len = RIG_BUCKETS;
	amp_rpmsg_init(&s->bus);
	if (rig.bus) {
		s->rs.door = &amp_rstream_bus_door;
		s->rs.door_ctx = &s->bus;
	}
}

/* Service i of s, at this address. */
static inline void rig_serve(struct rig_side *s, unsigned i, uint32_t addr)
{
	s->service[i].addr = addr;
	s->service[i].kind = RIG_SERVICE;
	if (rig.bus)
		RIG_CHECK(amp_rpmsg_open(&s->bus, &s->service[i], addr) == 0);
}

static inline void rig_rings(void)
{
	struct rp_opt o = {.num = rig.num, .buf_len = rig.buf_len, .drv_dir = AMP_VQ_IN};

	rp_free(&rig.up);
	rp_free(&rig.down);
	RIG_CHECK(rp_init(&rig.up, &o) == 0);
	o.drv_dir = AMP_VQ_OUT;
	RIG_CHECK(rp_init(&rig.down, &o) == 0);
}

static inline void rig_up(void)
{
	if (rig.bus) {
		rig_rings();
		amp_rpmsg_up(&rig.a.bus, &rig.down.dev, &rig.up.dev, false);
		amp_rpmsg_up(&rig.b.bus, &rig.up.drv, &rig.down.drv, false);
	}
	rig.a.down = rig.b.down = false;
}

static inline void rig_down(struct rig_side *s)
{
	if (rig.bus)
		amp_rpmsg_down(&s->bus);
	s->down = true;
	s->in_run = true;
	amp_rstream_down(&s->rs);
	s->in_run = false;
	while (s->queue_len) {
		free(s->queue[--s->queue_len].mem);
		rig_other(s)->out -= s->queue[s->queue_len].counted;
	}
}

/* Service 0 of both is at address 20. */
static inline void rig_init(bool bus)
{
	rp_free(&rig.up);
	rp_free(&rig.down);
	memset(&rig, 0, sizeof(rig));
	rig.bus = bus;
	rig.num = 16;
	rig.buf_len = AMP_RPMSG_BUF_LEN;
	rig.rand = 0x2545f491;
	rig_side_init(&rig.a);
	rig_side_init(&rig.b);
	rig_serve(&rig.a, 0, 20);
	rig_serve(&rig.b, 0, 20);
	rig_up();
}

static inline unsigned rig_endpoints(const struct rig_side *s)
{
	unsigned n = 0;

	if (!rig.bus)
		return s->opened;
	for (unsigned i = 0; i < 4; i++) {
		for (const struct amp_rpmsg_ept *e = s->bus_hash[i]; e; e = e->hash_next)
			n += e->kind == RIG_CONN;
	}
	return n;
}

/* Nothing is left of any connection. */
static inline void rig_nothing_left(void)
{
	for (unsigned k = 0; k < 2; k++) {
		struct rig_side *s = k ? &rig.a : &rig.b;

		for (unsigned i = 0; i < RIG_ENDS; i++)
			RIG_CHECK(!s->ends[i].used);
		for (unsigned i = 0; i < 4; i++)
			RIG_CHECK(!s->hash[i]);
		RIG_CHECK(!s->rs.vs.owed_head && !s->rs.stray_cnt);
		RIG_CHECK(rig_endpoints(s) == 0);
		RIG_CHECK(rig.bus || s->out == 0);
	}
	if (rig.bus && rig.a.bus.in) {
		RIG_CHECK(amp_vq_avail(&rig.up.dev) == rig.num);
		RIG_CHECK(amp_vq_avail(&rig.down.drv) == rig.num);
	}
}

static inline void rig_free(void)
{
	for (unsigned k = 0; k < 2; k++) {
		struct rig_side *s = k ? &rig.a : &rig.b;

		while (s->queue_len)
			free(s->queue[--s->queue_len].mem);
	}
	rp_free(&rig.up);
	rp_free(&rig.down);
	memset(&rig, 0, sizeof(rig));
}

static inline struct rig_end *rig_dial(struct rig_side *s, uint32_t window, uint32_t addr)
{
	struct rig_end *e = rig_end_new(s, window);

	RIG_CHECK(e && amp_rstream_connect(&s->rs, &e->rc, addr) == 0);
	return e;
}

/* A connection from s to the other side; *other: its end. */
static inline struct rig_end *rig_pair(struct rig_side *s, struct rig_end **other)
{
	struct rig_end *e = rig_dial(s, 4096, 20);

	rig_settle();
	RIG_CHECK(e->open == 1 && e->used);
	*other = rig_other(s)->last;
	return e;
}

#endif /* STREAM_RIG_H */
