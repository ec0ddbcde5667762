// SPDX-License-Identifier: BSD-3-Clause
// The vsock engine: a guest (driver ends, CID 3) and a host (device ends, CID 2) in one
// process, then each of them against packets made by hand.
// small
// timeout: 60
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "ringpair.h"
#include "vsock/vsock.h"

#define GUEST 3u
#define HOST  2u
#define CONNS 64
#define KEEP  65536u

/* What a connection's owner knows: a receive buffer and what it was told. */
struct end {
	struct amp_vsock_conn c; /* first */
	unsigned open, shut, reset, gone, writable;
	uint8_t rx[KEEP];
	uint32_t rx_len; /* in rx, not consumed */
	uint64_t rx_all;
	uint32_t msgs; /* packets with EOM */
	bool used;
	bool eat;  /* consume in the hook at once */
	bool hold; /* keep the transport's buffer */
	bool deny; /* -ENOBUFS */
	uint16_t held[32];
	unsigned held_cnt;
};

struct side {
	struct amp_vsock vs;
	struct amp_vsock_conn *hash[4];
	struct amp_iov iov[24];
	struct amp_vsock_stray stray[4];
	uint8_t loop[AMP_VSOCK_HDR_LEN + 256] __attribute__((aligned(8)));
	struct end *ends;
	unsigned next;
	uint32_t listen_port; /* 0: nobody */
	uint32_t backlog;
	uint32_t buf_alloc;
	bool later; /* accept outside the hook */
	unsigned requests, tx_ready, pieces;
	bool in_run;	  /* run or down is on the stack: the only place for EV_GONE */
	struct end *last; /* of the last request */
	void (*on_data)(struct side *s, struct end *e);
	void (*on_writable)(struct side *s, struct end *e);
};

/* So many packets went the usual way; a small build has none. */
#define BY_PIECE(n) (AMPSOCK_FAST ? (n) : 0)

static struct {
	struct side guest, host;
	struct ringpair up;   /* guest's out */
	struct ringpair down; /* guest's in */
	uint16_t num;
	uint32_t buf_len;
} w;

static struct side *side_of(struct amp_vsock *vs)
{
	return (struct side *)vs;
}

static struct end *end_new(struct side *s, uint32_t buf_alloc)
{
	for (unsigned i = 0; i < CONNS; i++) {
		struct end *e = &s->ends[s->next++ % CONNS]; /* tests look at ended ones */

		if (e->used)
			continue;
		memset(e, 0, offsetof(struct end, rx));
		memset(&e->rx_len, 0, sizeof(*e) - offsetof(struct end, rx_len));
		e->used = true;
		e->c.buf_alloc = buf_alloc;
		return e;
	}
	return NULL;
}

static struct amp_vsock_conn *on_request(struct amp_vsock *vs,
					 const struct amp_vsock_ends *ends, uint8_t type)
{
	struct side *s = side_of(vs);
	struct end *e;

	assert_true(type == AMP_VSOCK_STREAM || type == AMP_VSOCK_SEQPACKET);
	s->requests++;
	if (ends->local.port != s->listen_port || s->backlog == 0 ||
	    (ends->local.cid != vs->local_cid && ends->local.cid != AMP_VSOCK_CID_LOCAL))
		return NULL;
	s->backlog--;
	e = end_new(s, s->buf_alloc);
	if (!e)
		return NULL;
	s->last = e;
	if (!s->later)
		amp_vsock_respond(vs, &e->c);
	return &e->c;
}

static int on_data(struct amp_vsock *vs, struct amp_vsock_conn *c,
		   const struct amp_vsock_rx *rx)
{
	struct side *s = side_of(vs);
	struct end *e = (struct end *)c;
	uint32_t sum = 0;

	assert_int_equal(c->state, AMP_CONN_OPEN);
	assert_int_equal(e->gone + e->reset, 0);
	if (e->deny)
		return -ENOBUFS;
	for (unsigned i = 0; i < rx->iov_cnt; i++) {
		assert_true(e->rx_len + rx->iov[i].len <= sizeof(e->rx));
		memcpy(e->rx + e->rx_len, rx->iov[i].base, rx->iov[i].len);
		e->rx_len += (uint32_t)rx->iov[i].len;
		sum += (uint32_t)rx->iov[i].len;
	}
	assert_int_equal(sum, rx->len);
	assert_true(e->rx_len <= c->buf_alloc); /* never more than was advertised */
	e->rx_all += sum;
	e->msgs += rx->flags & AMP_VSOCK_SEQ_EOM;
	if (e->eat) {
		e->rx_len = 0;
		amp_vsock_consumed(vs, c, sum);
	}
	if (s->on_data)
		s->on_data(s, e);
	if (e->hold && e->held_cnt < 32) {
		e->held[e->held_cnt++] = rx->id;
		return 1;
	}
	return 0;
}

/* The usual way: who eats at once takes it so, too. */
static bool on_piece(struct amp_vsock *vs, struct amp_vsock_conn *c, const void *data,
		     uint32_t len, uint32_t flags)
{
	struct side *s = side_of(vs);
	struct end *e = (struct end *)c;

	assert_int_equal(c->state, AMP_CONN_OPEN);
	assert_int_equal(e->gone + e->reset, 0);
	assert_true(len > 0 && len <= c->buf_alloc);
	if (!e->eat || e->deny || e->hold)
		return false;
	memcpy(e->rx, data, len);
	e->rx_all += len;
	e->msgs += flags & AMP_VSOCK_SEQ_EOM;
	s->pieces++;
	if (s->on_data)
		s->on_data(s, e);
	return true;
}

static void on_event(struct amp_vsock *vs, struct amp_vsock_conn *c, unsigned ev)
{
	struct side *s = side_of(vs);
	struct end *e = (struct end *)c;

	assert_true(e->used);
	assert_int_equal(e->gone, 0);
	if (ev & AMP_VSOCK_EV_GONE) {
		assert_true(s->in_run);
		assert_int_equal(c->state, AMP_CONN_FREE);
		e->used = false;
	}
	e->open += (ev & AMP_VSOCK_EV_OPEN) != 0;
	e->writable += (ev & AMP_VSOCK_EV_WRITABLE) != 0;
	e->shut += (ev & AMP_VSOCK_EV_SHUT) != 0;
	e->reset += (ev & AMP_VSOCK_EV_RESET) != 0;
	e->gone += (ev & AMP_VSOCK_EV_GONE) != 0;
	assert_true(e->reset <= 1 && e->open <= 1);
	if ((ev & AMP_VSOCK_EV_WRITABLE) && s->on_writable)
		s->on_writable(s, e);
}

static void on_tx_ready(struct amp_vsock *vs)
{
	side_of(vs)->tx_ready++;
}

static const struct amp_vsock_ops ops = {
	.request = on_request,
	.data = on_data,
	.piece = on_piece,
	.event = on_event,
	.tx_ready = on_tx_ready,
};

static void side_init(struct side *s, struct amp_vq *in, struct amp_vq *out, uint32_t cid,
		      uint32_t peer_cid)
{
	struct end *ends = s->ends ? s->ends : calloc(CONNS, sizeof(*ends));

	memset(s, 0, sizeof(*s));
	memset(ends, 0, CONNS * sizeof(*ends));
	s->ends = ends;
	s->listen_port = 80;
	s->backlog = UINT32_MAX;
	s->buf_alloc = 4096;
	s->vs.ops = &ops;
	s->vs.in = in;
	s->vs.out = out;
	s->vs.local_cid = cid;
	s->vs.peer_cid = peer_cid;
	s->vs.hash = s->hash;
	s->vs.hash_len = 4;
	s->vs.iov = s->iov;
	s->vs.iov_max = 24;
	s->vs.stray = s->stray;
	s->vs.stray_len = 4;
	s->vs.path = &amp_vsock_loop;
	s->vs.loop_buf = s->loop;
	s->vs.loop_len = sizeof(s->loop) - AMP_VSOCK_HDR_LEN;
	amp_vsock_init(&s->vs);
}

static void world(uint16_t num, uint32_t buf_len)
{
	struct rp_opt o = {
		.num = num, .buf_len = buf_len, .drv_dir = AMP_VQ_OUT, .event_idx = true};

	rp_free(&w.up);
	rp_free(&w.down);
	assert_int_equal(rp_init(&w.up, &o), 0);
	o.drv_dir = AMP_VQ_IN;
	assert_int_equal(rp_init(&w.down, &o), 0);
	side_init(&w.guest, &w.down.drv, &w.up.drv, GUEST, 0);
	side_init(&w.host, &w.up.dev, &w.down.dev, HOST, GUEST);
	w.num = num;
	w.buf_len = buf_len;
}

static int run(struct side *s)
{
	int r;

	s->in_run = true;
	r = amp_vsock_run(&s->vs, 1000);
	s->in_run = false;
	return r;
}

/* Both sides until neither has anything to do. */
static void settle(void)
{
	unsigned quiet = 0;

	for (unsigned i = 0; quiet < 2 && i < 10000; i++) {
		int a = run(&w.guest), b = run(&w.host);

		assert_true(a >= 0 && b >= 0);
		quiet = a + b ? 0 : quiet + 1;
	}
	assert_int_equal(quiet, 2);
}

static struct end *dial(struct side *s, uint32_t cid, uint32_t port, uint8_t type)
{
	static uint32_t next = 50000;
	struct end *e = end_new(s, 4096);
	struct amp_vsock_addr local = {s->vs.local_cid, ++next}, peer = {cid, port};

	assert_non_null(e);
	assert_int_equal(amp_vsock_connect(&s->vs, &e->c, local, peer, type), 0);
	return e;
}

/* A connection from a to b; *other: b's end. */
static struct end *pair(struct side *a, struct side *b, struct end **other)
{
	struct end *e = dial(a, b->vs.local_cid, 80, AMP_VSOCK_STREAM);

	settle();
	assert_int_equal(e->open, 1);
	*other = b->last;
	return e;
}

static int try_send(struct side *s, struct end *e, const void *data, uint32_t len)
{
	struct amp_iov iov[24];
	struct amp_vsock_tx tx = {.iov = iov, .iov_max = 24};
	int r = amp_vsock_reserve(&s->vs, &e->c, len, &tx);
	const uint8_t *from = data;
	uint32_t sum = 0;

	if (r < 0)
		return r;
	assert_int_equal(r, tx.len);
	for (unsigned i = 0; i < tx.iov_cnt; i++) {
		memcpy(tx.iov[i].base, from, tx.iov[i].len);
		from += tx.iov[i].len;
		sum += (uint32_t)tx.iov[i].len;
	}
	assert_int_equal(sum, r);
	amp_vsock_commit(&s->vs, &e->c, &tx, (uint32_t)r, 0);
	return r;
}

static void eat(struct side *s, struct end *e, uint32_t n)
{
	assert_true(n <= e->rx_len);
	memmove(e->rx, e->rx + n, e->rx_len - n);
	e->rx_len -= n;
	amp_vsock_consumed(&s->vs, &e->c, n);
}

/* nothing leaks: every buffer of both rings is where it was at the start */
static void all_home(void)
{
	settle();
	assert_int_equal(amp_vq_avail(&w.up.drv), w.num);
	assert_int_equal(amp_vq_avail(&w.down.dev), w.num);
	assert_int_equal(ring_out_cnt(&w.up.dev), 0);
	assert_int_equal(ring_out_cnt(&w.down.dev), 0);
	assert_null(w.guest.vs.owed_head);
	assert_null(w.host.vs.owed_head);
	for (unsigned i = 0; i < 4; i++) {
		assert_null(w.guest.hash[i]);
		assert_null(w.host.hash[i]);
	}
}

/* ---- by hand: packets into a ring, packets out of it, without an engine at that end ---- */

struct raw {
	struct amp_vsock_hdr h;
	uint8_t data[512];
};

/* The guest's driver replaced by this test: put a packet on the up ring. */
static bool guest_raw(const struct amp_vsock_hdr *h, const void *data, uint32_t len)
{
	struct amp_iov iov[1];
	struct amp_vq_buf b = {.iov = iov, .iov_max = 1};

	if (amp_vq_get(&w.up.drv, &b) != 1)
		return false;
	memcpy(b.iov[0].base, h, sizeof(*h));
	if (len)
		memcpy((uint8_t *)b.iov[0].base + sizeof(*h), data, len);
	amp_vq_put(&w.up.drv, b.id, (uint32_t)sizeof(*h) + len);
	return true;
}

static struct amp_vsock_hdr hdr(uint16_t op, uint32_t src_port, uint32_t dst_port)
{
	return (struct amp_vsock_hdr){.src_cid = GUEST,
				      .dst_cid = HOST,
				      .src_port = src_port,
				      .dst_port = dst_port,
				      .type = AMP_VSOCK_STREAM,
				      .op = op,
				      .buf_alloc = 4096};
}

static void guest_op(uint16_t op, uint32_t src_port, uint32_t flags)
{
	struct amp_vsock_hdr h = hdr(op, src_port, 80);

	h.flags = flags;
	assert_true(guest_raw(&h, NULL, 0));
	(void)run(&w.host);
}

/* The next packet that the host sent, 0: none. Its buffer goes back. */
static int guest_sees(struct raw *p)
{
	struct amp_iov iov[1];
	struct amp_vq_buf b = {.iov = iov, .iov_max = 1};

	memset(p, 0, sizeof(*p));
	if (amp_vq_get(&w.down.drv, &b) != 1)
		return 0;
	assert_true(b.len >= sizeof(p->h));
	memcpy(&p->h, iov[0].base, sizeof(p->h));
	if (b.len > sizeof(p->h) && b.len <= sizeof(*p))
		memcpy(p->data, (uint8_t *)iov[0].base + sizeof(p->h), b.len - sizeof(p->h));
	assert_int_equal(p->h.len, b.len - sizeof(p->h));
	amp_vq_put(&w.down.drv, b.id, 0);
	return p->h.op;
}

static int guest_sees_op(void)
{
	struct raw p;

	return guest_sees(&p);
}

/* A connection of a hand-made guest, open at the host. */
static struct end *raw_open(uint32_t src_port)
{
	guest_op(AMP_VSOCK_OP_REQUEST, src_port, 0);
	assert_int_equal(guest_sees_op(), AMP_VSOCK_OP_RESPONSE);
	return w.host.last;
}

static int raw_rw(uint32_t src_port, uint32_t len)
{
	struct amp_vsock_hdr h = hdr(AMP_VSOCK_OP_RW, src_port, 80);
	uint8_t data[512] = {0};

	h.len = len;
	assert_true(guest_raw(&h, data, len));
	return run(&w.host);
}

/* ---- opening ---- */

static void connect_accept_both_ways(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		struct end *a, *b;

		world(8, 512);
		a = k ? pair(&w.host, &w.guest, &b) : pair(&w.guest, &w.host, &b);
		assert_int_equal(a->c.state, AMP_CONN_OPEN);
		assert_int_equal(b->c.state, AMP_CONN_OPEN);
		assert_int_equal(a->c.credit.peer_buf_alloc, 4096);
		assert_int_equal(b->c.credit.peer_buf_alloc, 4096);
		assert_int_equal(a->c.local.port, b->c.peer.port);
		assert_int_equal(try_send(k ? &w.host : &w.guest, a, "hello", 5), 5);
		assert_int_equal(try_send(k ? &w.guest : &w.host, b, "hi", 2), 2);
		settle();
		assert_memory_equal(b->rx, "hello", 5);
		assert_memory_equal(a->rx, "hi", 2);
		amp_vsock_abort(&w.guest.vs, k ? &b->c : &a->c);
		all_home();
		assert_int_equal(a->gone + b->gone, 2);
		assert_int_equal(a->reset + b->reset, 1); /* the one that was aborted on */
	}
}

static void nobody_there_is_refused(void **state)
{
	struct end *a;

	(void)state;
	world(8, 512);
	a = dial(&w.guest, HOST, 81, AMP_VSOCK_STREAM);
	settle();
	assert_int_equal(a->reset, 1);
	assert_int_equal(a->gone, 1);
	assert_int_equal(a->open, 0);
	assert_int_equal(w.host.vs.stats.rst_strays, 1);
	all_home();
}

static void accept_later_or_abort(void **state)
{
	struct end *a, *b;

	(void)state;
	world(8, 512);
	w.host.later = true;
	a = dial(&w.guest, HOST, 80, AMP_VSOCK_STREAM);
	settle();
	b = w.host.last;
	assert_int_equal(b->c.state, AMP_CONN_REQUESTED);
	assert_int_equal(a->open, 0);
	assert_int_equal(try_send(&w.guest, a, "x", 1), -ENOTCONN);
	assert_int_equal(try_send(&w.host, b, "x", 1), -ENOTCONN);
	amp_vsock_respond(&w.host.vs, &b->c);
	assert_int_equal(b->c.state, AMP_CONN_OPEN);
	settle();
	assert_int_equal(a->open, 1);
	amp_vsock_abort(&w.guest.vs, &a->c);
	settle();
	a = dial(&w.guest, HOST, 80, AMP_VSOCK_STREAM);
	settle();
	amp_vsock_abort(&w.host.vs, &w.host.last->c);
	settle();
	assert_int_equal(a->reset, 1);
	assert_int_equal(a->gone, 1);
	all_home();
}

/* Accepted and sent to in one breath: the peer must see RESPONSE before the data. */
static void no_data_before_our_response(void **state)
{
	struct end *a, *b;

	(void)state;
	world(8, 512);
	w.host.later = true;
	a = dial(&w.guest, HOST, 80, AMP_VSOCK_STREAM);
	settle();
	b = w.host.last;
	amp_vsock_respond(&w.host.vs, &b->c);
	assert_int_equal(amp_vsock_tx_space(&w.host.vs, &b->c), 0);
	assert_int_equal(try_send(&w.host, b, "now", 3), -EAGAIN);
	settle();
	assert_int_equal(w.host.tx_ready, 1);
	assert_int_equal(try_send(&w.host, b, "now", 3), 3);
	settle();
	assert_int_equal(a->rx_len, 3);
	amp_vsock_abort(&w.host.vs, &b->c);
	all_home();
}

static void address_in_use(void **state)
{
	struct end *a, *b;
	struct amp_vsock_addr local = {GUEST, 7}, peer = {HOST, 80};

	(void)state;
	world(8, 512);
	a = end_new(&w.guest, 64);
	b = end_new(&w.guest, 64);
	assert_int_equal(amp_vsock_connect(&w.guest.vs, &a->c, local, peer, AMP_VSOCK_STREAM),
			 0);
	assert_int_equal(amp_vsock_connect(&w.guest.vs, &b->c, local, peer, AMP_VSOCK_STREAM),
			 -EADDRINUSE);
	settle();
	/* "do not reuse a just-closed port pair at once": not until the RST is out */
	amp_vsock_abort(&w.guest.vs, &a->c);
	assert_int_equal(amp_vsock_connect(&w.guest.vs, &b->c, local, peer, AMP_VSOCK_STREAM),
			 -EADDRINUSE);
	settle();
	assert_int_equal(amp_vsock_connect(&w.guest.vs, &b->c, local, peer, AMP_VSOCK_STREAM),
			 0);
	settle();
	assert_int_equal(b->open, 1);
	amp_vsock_abort(&w.guest.vs, &b->c);
	all_home();
}

/* Given up before REQUEST was sent: nothing goes out at all. */
static void abort_before_request(void **state)
{
	struct end *a;

	(void)state;
	world(8, 512);
	a = dial(&w.guest, HOST, 80, AMP_VSOCK_STREAM);
	amp_vsock_abort(&w.guest.vs, &a->c);
	settle();
	assert_int_equal(a->gone, 1);
	assert_int_equal(w.guest.vs.stats.tx_packets, 0);
	all_home();
}

static void peer_gives_up_in_backlog(void **state)
{
	struct end *a, *b;

	(void)state;
	world(8, 512);
	w.host.later = true;
	a = dial(&w.guest, HOST, 80, AMP_VSOCK_STREAM);
	settle();
	b = w.host.last;
	amp_vsock_close(&w.guest.vs, &a->c, 0, 1000);
	settle();
	assert_int_equal(a->gone, 1);
	assert_int_equal(b->reset, 1);
	assert_int_equal(b->gone, 1);
	all_home();
	/* with SHUTDOWN instead of RST: accept finds it over, in order */
	guest_op(AMP_VSOCK_OP_REQUEST, 1000, 0);
	b = w.host.last;
	guest_op(AMP_VSOCK_OP_SHUTDOWN, 1000, 3);
	assert_int_equal(b->shut, 1);
	amp_vsock_respond(&w.host.vs, &b->c);
	(void)run(&w.host);
	assert_int_equal(guest_sees_op(), AMP_VSOCK_OP_RST);
	assert_int_equal(b->gone, 1);
	assert_int_equal(b->reset, 0);
}

static void seqpacket_only_when_negotiated(void **state)
{
	struct end *a;

	(void)state;
	world(8, 512);
	a = dial(&w.guest, HOST, 80, AMP_VSOCK_SEQPACKET);
	settle();
	assert_int_equal(a->reset, 1);
	assert_int_equal(w.host.requests, 0);
	w.guest.vs.seqpacket = w.host.vs.seqpacket = true;
	a = dial(&w.guest, HOST, 80, AMP_VSOCK_SEQPACKET);
	settle();
	assert_int_equal(a->open, 1);
	amp_vsock_abort(&w.guest.vs, &a->c);
	all_home();
}

/* SEQPACKET flags: EOM bit 0, EOR bit 1; messages of no bytes count too. */
static void seqpacket_flags(void **state)
{
	struct amp_iov iov[4];
	struct amp_vsock_tx tx = {.iov = iov, .iov_max = 4};
	struct end *a;

	(void)state;
	world(8, 512);
	w.guest.vs.seqpacket = w.host.vs.seqpacket = true;
	a = dial(&w.guest, HOST, 80, AMP_VSOCK_SEQPACKET);
	settle();
	for (uint32_t flags = 0; flags < 4; flags++) {
		tx = (struct amp_vsock_tx){.iov = iov, .iov_max = 4};
		assert_int_equal(amp_vsock_reserve(&w.guest.vs, &a->c, 3, &tx), 3);
		amp_vsock_commit(&w.guest.vs, &a->c, &tx, 3, flags);
	}
	settle();
	assert_int_equal(w.host.last->rx_len, 12);
	assert_int_equal(w.host.last->msgs, 2);
	amp_vsock_abort(&w.guest.vs, &a->c);
	all_home();
}

/* ---- data and credit ---- */

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

struct flow {
	struct side *from, *to;
	struct end *a, *b;
	uint64_t sent, seen;
};

static void flow_check(struct flow *f, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (f->b->rx[i] != pattern(f->seen + i))
			fail_msg("byte %llu is wrong", (unsigned long long)(f->seen + i));
	f->seen += n;
	eat(f->to, f->b, n);
}

static void flow_send(struct flow *f, uint32_t len)
{
	struct amp_iov iov[4];
	struct amp_vsock_tx tx = {.iov = iov, .iov_max = 4};
	int r = amp_vsock_reserve(&f->from->vs, &f->a->c, len, &tx);

	if (r < 0) {
		assert_int_equal(r, -EAGAIN);
		return;
	}
	for (int i = 0; i < r; i++)
		((uint8_t *)tx.iov[0].base)[i] = pattern(f->sent + (unsigned)i);
	amp_vsock_commit(&f->from->vs, &f->a->c, &tx, (uint32_t)r, 0);
	f->sent += (unsigned)r;
}

static void bulk(uint16_t num, uint32_t buf_len, uint32_t buf_alloc, uint64_t total,
		 uint32_t seed)
{
	struct flow f[2];
	uint64_t before = 0;
	unsigned idle = 0;

	world(num, buf_len);
	w.host.buf_alloc = buf_alloc;
	f[0] = (struct flow){.from = &w.guest, .to = &w.host};
	f[1] = (struct flow){.from = &w.host, .to = &w.guest};
	f[0].a = f[1].b = end_new(&w.guest, buf_alloc);
	assert_int_equal(amp_vsock_connect(&w.guest.vs, &f[0].a->c,
					   (struct amp_vsock_addr){GUEST, 9},
					   (struct amp_vsock_addr){HOST, 80}, AMP_VSOCK_STREAM),
			 0);
	settle();
	f[0].b = f[1].a = w.host.last;
	while (f[0].seen < total || f[1].seen < total) {
		for (unsigned k = 0; k < 2; k++) {
			uint32_t n = rp_rand(&seed) % 4;

			while (n-- && f[k].sent < total) {
				uint64_t left = total - f[k].sent;
				uint32_t len = 1 + rp_rand(&seed) % (buf_len * 2);

				flow_send(&f[k], len < left ? len : (uint32_t)left);
			}
			assert_true(f[k].sent - f[k].seen <= buf_alloc);
			if (rp_rand(&seed) & 1)
				assert_true(run(f[k].to) >= 0);
			/* sometimes all, sometimes a byte, mostly anything */
			n = f[k].b->rx_len;
			if (n && rp_rand(&seed) % 4) {
				uint32_t r = rp_rand(&seed) % 8;

				flow_check(&f[k], r == 0   ? 1
						  : r == 1 ? n
							   : 1 + rp_rand(&seed) % n);
			}
		}
		idle = f[0].seen + f[1].seen == before ? idle + 1 : 0;
		before = f[0].seen + f[1].seen;
		assert_true(idle < 1000); /* no stall */
	}
	assert_int_equal(f[0].seen, total);
	assert_int_equal(f[1].seen, total);
	amp_vsock_abort(&w.guest.vs, &f[0].a->c);
	all_home();
}

static void bulk_both_ways_64_mib(void **state)
{
	(void)state;
	bulk(8, 512, 4096, 12 << 20, 1);
	bulk(64, 4096, 65536, 20 << 20, 2);
}

static void bulk_odd_sizes(void **state)
{
	(void)state;
	bulk(1, 45, 1, 2000, 3); /* one buffer, one byte */
	bulk(1, 512, 100, 200000, 4);
	bulk(2, 128, 65536, 500000, 5);
	bulk(128, 100, 7, 50000, 6);
}

/* The counters of credit are free-running: 32 bits wrap in mid-stream. */
static void counters_wrap(void **state)
{
	struct end *a, *b;
	struct flow f = {.from = &w.guest, .to = &w.host};

	(void)state;
	world(8, 512);
	a = pair(&w.guest, &w.host, &b);
	a->c.credit.tx_cnt = a->c.credit.peer_fwd_cnt = UINT32_MAX - 1000;
	b->c.credit.rx_cnt = b->c.credit.fwd_cnt = b->c.credit.told_fwd_cnt = UINT32_MAX - 1000;
	f.a = a;
	f.b = b;
	while (f.seen < 100000) {
		flow_send(&f, 300);
		settle();
		flow_check(&f, b->rx_len);
	}
	assert_true(b->c.credit.rx_cnt < 200000);
	amp_vsock_abort(&w.guest.vs, &a->c);
	all_home();
}

/* A stalled receiver: credit stops the sender exactly, EV_WRITABLE starts it again, once. */
static void credit_stops_and_starts(void **state)
{
	struct end *a, *b;
	uint8_t data[400] = {0};
	uint32_t sent = 0;
	int r;

	(void)state;
	world(8, 512);
	a = pair(&w.guest, &w.host, &b);
	while ((r = try_send(&w.guest, a, data, 400)) > 0) {
		sent += (uint32_t)r;
		settle();
	}
	assert_int_equal(sent, 4096);
	assert_int_equal(b->rx_len, 4096);
	settle();
	assert_int_equal(a->writable, 0);
	eat(&w.host, b, 100); /* it asked: told at once */
	settle();
	assert_int_equal(a->writable, 1);
	assert_int_equal(amp_vsock_tx_space(&w.guest.vs, &a->c), 100);
	eat(&w.host, b, 100);
	settle();
	assert_int_equal(a->writable, 1);
	amp_vsock_abort(&w.guest.vs, &a->c);
	all_home();
}

/* Credit that lies in the queue already when there seems to be none: nobody is asked for it. */
static void credit_that_has_come_is_not_asked_for(void **state)
{
	struct end *a, *b;
	uint8_t data[400] = {0};
	uint32_t sent;

	(void)state;
	world(16, 512);
	a = pair(&w.guest, &w.host, &b);
	while (try_send(&w.guest, a, data, 400) > 0)
		assert_true(run(&w.host) >= 0);
	assert_int_equal(b->rx_len, 4096);
	sent = w.guest.vs.stats.tx_packets;
	eat(&w.host, b, 3000);
	assert_true(run(&w.host) >= 0);
	assert_true(run(&w.guest) >= 0);
	assert_int_equal(a->writable, 1);
	assert_int_equal(w.guest.vs.stats.tx_packets, sent);
	assert_int_equal(amp_vsock_tx_space(&w.guest.vs, &a->c), 3000);
	/* the next time there is none it is asked for */
	while (try_send(&w.guest, a, data, 400) > 0)
		assert_true(run(&w.host) >= 0);
	sent = w.guest.vs.stats.tx_packets;
	settle();
	assert_int_equal(w.guest.vs.stats.tx_packets, sent + 1);
	amp_vsock_abort(&w.guest.vs, &a->c);
	all_home();
}

/* Proactive updates without any CREDIT_REQUEST, but not one per read. */
static void updates_are_volunteered_not_per_read(void **state)
{
	struct raw p;
	struct end *b;
	unsigned updates = 0;

	(void)state;
	world(8, 512);
	b = raw_open(1000);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(raw_rw(1000, 468), 1);
	assert_int_equal(guest_sees_op(), 0);
	while (b->rx_len) {
		eat(&w.host, b, 1);
		(void)run(&w.host);
		if (guest_sees(&p)) {
			assert_int_equal(p.h.op, AMP_VSOCK_OP_CREDIT_UPDATE);
			assert_int_equal(p.h.fwd_cnt, b->c.credit.fwd_cnt);
			updates++;
		}
	}
	assert_true(updates >= 1 && updates <= 8);
	/* believed free: at least half of the buffer, or it could stall */
	assert_true(b->c.credit.rx_cnt - b->c.credit.told_fwd_cnt < 2048);
}

/*
 * A sender that begins a message without the credit for all of it, as Linux does: nobody can
 * read half a message, so what was read before it is told although it is little, whether that
 * was before (k == 0) or comes now.
 */
static void half_a_message_does_not_stall(void **state)
{
	static const uint8_t data[468];

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		struct end *a, *b;
		uint32_t sent = 0;

		world(32, 512);
		w.guest.vs.seqpacket = w.host.vs.seqpacket = true;
		a = dial(&w.guest, HOST, 80, AMP_VSOCK_SEQPACKET);
		settle();
		b = w.host.last;
		assert_int_equal(try_send(&w.guest, a, data, 10), 10);
		settle();
		if (k == 0)
			eat(&w.host, b, 10);
		while (sent < 4096) {
			uint32_t len = 4096 - sent < 468 ? 4096 - sent : 468;
			int r = try_send(&w.guest, a, data, len);

			if (r == -EAGAIN) { /* Linux does not ask, it sleeps */
				a->c.owed &= (uint8_t)~AMP_OWE_CREDIT_REQ;
				assert_int_equal(sent, 4086);
				if (k == 1)
					eat(&w.host, b, 10);
				settle();
				assert_int_equal(a->writable, 1);
				r = try_send(&w.guest, a, data, 10);
			}
			assert_true(r > 0);
			sent += (uint32_t)r;
			settle();
			/* and not one a packet: there is no news */
			assert_true(w.host.vs.stats.tx_packets <= 3);
		}
		assert_int_equal(b->rx_len, 4096);
		amp_vsock_abort(&w.guest.vs, &a->c);
		all_home();
	}
}

static void credit_request_is_answered(void **state)
{
	struct raw p;
	struct end *b;

	(void)state;
	world(8, 512);
	b = raw_open(1000);
	assert_int_equal(raw_rw(1000, 10), 1);
	guest_op(AMP_VSOCK_OP_CREDIT_REQUEST, 1000, 0);
	assert_int_equal(guest_sees(&p), AMP_VSOCK_OP_CREDIT_UPDATE);
	assert_int_equal(p.h.fwd_cnt, 0);
	assert_int_equal(p.h.buf_alloc, 4096);
	/* who asked is told of the next byte, too */
	eat(&w.host, b, 1);
	(void)run(&w.host);
	assert_int_equal(guest_sees(&p), AMP_VSOCK_OP_CREDIT_UPDATE);
	assert_int_equal(p.h.fwd_cnt, 1);
	/* and after our own SHUTDOWN(send) */
	amp_vsock_shutdown(&w.host.vs, &b->c, AMP_VSOCK_SHUTDOWN_SEND);
	(void)run(&w.host);
	assert_int_equal(guest_sees(&p), AMP_VSOCK_OP_SHUTDOWN);
	assert_int_equal(p.h.flags, AMP_VSOCK_SHUTDOWN_SEND);
	guest_op(AMP_VSOCK_OP_CREDIT_REQUEST, 1000, 0);
	assert_int_equal(guest_sees_op(), AMP_VSOCK_OP_CREDIT_UPDATE);
}

/*
 * Who closes has nothing more to ask for. Linux, which may have no connection any more behind the SHUTDOWN,
 * would answer with an RST, and that with the first one, too late for this connection.
 */
static void closed_asks_for_nothing(void **state)
{
	struct end *b;

	(void)state;
	world(8, 512);
	b = raw_open(1000);
	amp_vsock_want_credit(&w.host.vs, &b->c);
	amp_vsock_close(&w.host.vs, &b->c, 0, 1000);
	(void)run(&w.host);
	assert_int_equal(guest_sees_op(), AMP_VSOCK_OP_SHUTDOWN);
	assert_int_equal(guest_sees_op(), 0);
	guest_op(AMP_VSOCK_OP_RST, 1000, 0);
	assert_int_equal(guest_sees_op(), 0);
}

static void updates_after_own_shutdown_send(void **state)
{
	struct end *a, *b;
	uint8_t data[468] = {0};
	uint32_t got = 0;

	(void)state;
	world(8, 512);
	a = pair(&w.guest, &w.host, &b);
	amp_vsock_shutdown(&w.host.vs, &b->c, AMP_VSOCK_SHUTDOWN_SEND);
	settle();
	assert_int_equal(a->shut, 1);
	while (got < 100000) {
		int r = try_send(&w.guest, a, data, 468);

		got += r > 0 ? (uint32_t)r : 0;
		settle();
		if (b->rx_len)
			eat(&w.host, b, b->rx_len);
		assert_true(r > 0 || a->writable);
	}
	amp_vsock_abort(&w.guest.vs, &a->c);
	all_home();
}

static void reservations_and_cancel(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		struct side *s = k ? &w.host : &w.guest, *o = k ? &w.guest : &w.host;
		struct amp_iov iov[3][4];
		struct amp_vsock_tx tx[3];
		struct end *a, *b;

		world(8, 512);
		a = pair(s, o, &b);
		for (unsigned i = 0; i < 3; i++) {
			tx[i] = (struct amp_vsock_tx){.iov = iov[i], .iov_max = 4};
			assert_int_equal(amp_vsock_reserve(&s->vs, &a->c, 400, &tx[i]), 400);
			memset(tx[i].iov[0].base, (int)('a' + i), 400);
		}
		assert_int_equal(a->c.reserved, 1200);
		amp_vsock_cancel(&s->vs, &a->c, &tx[2]);
		amp_vsock_commit(&s->vs, &a->c, &tx[0], 10, 0);
		amp_vsock_commit(&s->vs, &a->c, &tx[1], 400, 0);
		settle();
		assert_int_equal(a->c.reserved, 0);
		assert_int_equal(a->c.credit.tx_cnt, 410);
		assert_int_equal(b->rx_len, 410);
		assert_int_equal(b->rx[9], 'a');
		assert_int_equal(b->rx[10], 'b');
		/* first reserved, first cancelled: allowed, though it costs the device a packet
		 */
		for (unsigned i = 0; i < 2; i++) {
			tx[i] = (struct amp_vsock_tx){.iov = iov[i], .iov_max = 4};
			assert_int_equal(amp_vsock_reserve(&s->vs, &a->c, 400, &tx[i]), 400);
		}
		amp_vsock_cancel(&s->vs, &a->c, &tx[0]);
		amp_vsock_cancel(&s->vs, &a->c, &tx[1]);
		settle();
		assert_int_equal(b->rx_len, 410);
		amp_vsock_abort(&s->vs, &a->c);
		all_home();
	}
}

/* All credit reserved, then cancelled: whoever waited meanwhile hears of it. */
static void reserved_credit_comes_back(void **state)
{
	struct amp_iov iov[4];
	struct amp_vsock_tx tx = {.iov = iov, .iov_max = 4};
	struct end *a, *b;

	(void)state;
	world(8, 512);
	w.host.buf_alloc = 300;
	a = pair(&w.guest, &w.host, &b);
	assert_int_equal(amp_vsock_reserve(&w.guest.vs, &a->c, 400, &tx), 300);
	assert_int_equal(try_send(&w.guest, a, "x", 1), -EAGAIN);
	amp_vsock_cancel(&w.guest.vs, &a->c, &tx);
	w.guest.tx_ready = 0;
	settle();
	assert_int_equal(w.guest.tx_ready, 1);
	assert_int_equal(try_send(&w.guest, a, "x", 1), 1);
	amp_vsock_abort(&w.guest.vs, &a->c);
	all_home();
}

/* The end comes between reserve and commit: the buffer goes back, nothing goes out. */
static void commit_after_the_end(void **state)
{
	struct amp_iov iov[4];
	struct amp_vsock_tx tx = {.iov = iov, .iov_max = 4};
	struct end *a, *b;

	(void)state;
	for (unsigned k = 0; k < 3; k++) {
		world(8, 512);
		a = pair(&w.guest, &w.host, &b);
		tx = (struct amp_vsock_tx){.iov = iov, .iov_max = 4};
		assert_int_equal(amp_vsock_reserve(&w.guest.vs, &a->c, 9, &tx), 9);
		if (k == 2) { /* the link itself is gone */
			w.guest.in_run = true;
			amp_vsock_down(&w.guest.vs);
			amp_vsock_commit(&w.guest.vs, &a->c, &tx, 9, 0);
			continue;
		}
		amp_vsock_abort(&w.host.vs, &b->c);
		if (k == 0)
			settle();
		amp_vsock_commit(&w.guest.vs, &a->c, &tx, 9, 0);
		all_home();
		assert_int_equal(b->rx_len, 0);
		assert_int_equal(w.host.vs.stats.rst_strays, 0);
	}
}

static void hold_and_release(void **state)
{
	struct end *a, *b;
	uint8_t data[16] = {0};

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		struct side *s = k ? &w.host : &w.guest, *o = k ? &w.guest : &w.host;

		world(8, 512);
		a = pair(s, o, &b);
		b->hold = true;
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(try_send(s, a, data, 16), 16);
		settle();
		assert_int_equal(b->held_cnt, 8);
		assert_int_equal(try_send(s, a, data, 16), -EAGAIN);
		b->hold = false;
		while (b->held_cnt)
			amp_vsock_release(&o->vs, b->held[--b->held_cnt]);
		s->tx_ready = 0;
		settle();
		assert_int_equal(s->tx_ready, 1);
		assert_int_equal(try_send(s, a, data, 16), 16);
		settle();
		assert_int_equal(b->rx_all, 9 * 16);
		amp_vsock_abort(&s->vs, &a->c);
		all_home();
		/* after the link is gone a release is harmless */
		o->in_run = true;
		amp_vsock_down(&o->vs);
		amp_vsock_release(&o->vs, 0);
	}
}

static void owner_cannot_take_it(void **state)
{
	struct end *a, *b;

	(void)state;
	world(8, 512);
	a = pair(&w.guest, &w.host, &b);
	b->deny = true;
	assert_int_equal(try_send(&w.guest, a, "x", 1), 1);
	settle();
	assert_int_equal(a->reset, 1);
	assert_int_equal(b->reset, 1);
	assert_int_equal(w.host.vs.stats.resets, 1);
	all_home();
}

static void abort_in_hook(struct side *s, struct end *e)
{
	amp_vsock_abort(&s->vs, &e->c);
	e->deny = true;
}

static void close_in_hook(struct side *s, struct end *e)
{
	amp_vsock_close(&s->vs, &e->c, 0, 100);
}

/* The owner ends it inside the data hook: it is told no RESET of its own doing. */
static void owner_ends_inside_the_hook(void **state)
{
	struct end *a, *b;

	(void)state;
	world(8, 512);
	a = pair(&w.guest, &w.host, &b);
	w.host.on_data = abort_in_hook;
	assert_int_equal(try_send(&w.guest, a, "x", 1), 1);
	settle();
	assert_int_equal(b->reset, 0);
	assert_int_equal(b->gone, 1);
	assert_int_equal(a->reset, 1);
	all_home();
	a = pair(&w.guest, &w.host, &b);
	w.host.on_data = close_in_hook;
	assert_int_equal(try_send(&w.guest, a, "x", 1), 1);
	assert_int_equal(try_send(&w.guest, a, "y", 1), 1);
	settle();
	assert_int_equal(a->reset + b->reset, 0);
	assert_int_equal(a->gone + b->gone, 2);
	all_home();
}

/* ---- ending ---- */

static void half_close_each_way(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		struct side *s = k ? &w.host : &w.guest, *o = k ? &w.guest : &w.host;
		struct end *a, *b;

		world(8, 512);
		a = pair(s, o, &b);
		assert_int_equal(try_send(s, a, "last", 4), 4);
		amp_vsock_shutdown(&s->vs, &a->c, AMP_VSOCK_SHUTDOWN_SEND);
		assert_int_equal(try_send(s, a, "x", 1), -EPIPE);
		assert_int_equal(amp_vsock_tx_space(&s->vs, &a->c), 0);
		settle();
		/* data before EOF */
		assert_int_equal(b->rx_len, 4);
		assert_int_equal(b->shut, 1);
		assert_int_equal(b->c.peer_shut, AMP_VSOCK_SHUTDOWN_SEND);
		/* the other way still works */
		for (unsigned i = 0; i < 1000; i++) {
			assert_int_equal(try_send(o, b, "more", 4), 4);
			settle();
			eat(s, a, 4);
		}
		amp_vsock_shutdown(&o->vs, &b->c, AMP_VSOCK_SHUTDOWN_SEND);
		settle();
		assert_int_equal(a->shut, 1);
		assert_int_equal(a->reset + b->reset + a->gone + b->gone, 0);
		eat(o, b, 4);
		amp_vsock_close(&s->vs, &a->c, 0, 1000);
		settle();
		assert_int_equal(a->gone + b->gone, 2);
		assert_int_equal(a->reset + b->reset, 0);
		all_home();
	}
}

/* A receiver that will receive no more: EPIPE at the sender. */
static void shutdown_receive(void **state)
{
	struct end *a, *b;

	(void)state;
	world(8, 512);
	a = pair(&w.guest, &w.host, &b);
	amp_vsock_shutdown(&w.host.vs, &b->c, AMP_VSOCK_SHUTDOWN_RCV);
	/* what is under way falls on the floor, without an error and without eating credit */
	assert_int_equal(try_send(&w.guest, a, "x", 1), 1);
	settle();
	assert_int_equal(b->rx_all, 0);
	assert_int_equal(b->c.credit.fwd_cnt, 1);
	assert_int_equal(try_send(&w.guest, a, "x", 1), -EPIPE);
	assert_int_equal(try_send(&w.host, b, "y", 1), 1);
	settle();
	assert_int_equal(a->rx_len, 1);
	amp_vsock_abort(&w.guest.vs, &a->c);
	all_home();
}

static void close_waits_for_unread_data(void **state)
{
	struct end *a, *b;

	(void)state;
	world(8, 512);
	a = pair(&w.guest, &w.host, &b);
	assert_int_equal(try_send(&w.guest, a, "unread", 6), 6);
	amp_vsock_close(&w.guest.vs, &a->c, 0, 8000);
	settle();
	assert_int_equal(b->rx_len, 6);
	assert_int_equal(b->shut, 1);
	assert_int_equal(a->gone + b->gone, 0);
	assert_int_equal(try_send(&w.host, b, "x", 1), -EPIPE);
	eat(&w.host, b, 5);
	settle();
	assert_int_equal(b->gone, 0);
	eat(&w.host, b, 1); /* the last byte: the orderly RST */
	settle();
	assert_int_equal(a->gone + b->gone, 2);
	assert_int_equal(a->reset + b->reset, 0);
	all_home();
}

static void close_with_data_unread_on_our_side(void **state)
{
	struct end *a, *b;

	(void)state;
	world(8, 512);
	a = pair(&w.guest, &w.host, &b);
	assert_int_equal(try_send(&w.host, b, "unread", 6), 6);
	settle();
	amp_vsock_close(&w.guest.vs, &a->c, 0, 8000);
	settle();
	/* as Linux: no reset for it */
	assert_int_equal(a->gone + b->gone, 2);
	assert_int_equal(a->reset + b->reset, 0);
	all_home();
}

static void close_times_out(void **state)
{
	struct end *a, *b;

	(void)state;
	world(8, 512);
	a = pair(&w.guest, &w.host, &b);
	assert_int_equal(try_send(&w.guest, a, "unread", 6), 6);
	assert_int_equal(amp_vsock_tick(&w.guest.vs, 0xffffff00u), -1);
	amp_vsock_close(&w.guest.vs, &a->c, 0xffffff00u, 1001); /* the clock wraps meanwhile */
	amp_vsock_close(&w.guest.vs, &a->c, 0xffffff00u, 1001); /* twice is once */
	settle();
	assert_true(amp_vsock_timed(&w.guest.vs));
	assert_int_equal(amp_vsock_tick(&w.guest.vs, 0xffffff00u), 1001);
	assert_int_equal(amp_vsock_tick(&w.guest.vs, 744), 1);
	assert_int_equal(a->gone, 0);
	assert_int_equal(amp_vsock_tick(&w.guest.vs, 745), 0);
	assert_int_equal(a->gone, 0); /* GONE comes from run only */
	settle();
	assert_int_equal(a->gone, 1);
	assert_int_equal(a->reset, 0);
	/* the peer was told that all is over, in order: it had seen SHUTDOWN of both */
	assert_int_equal(b->reset, 0);
	assert_int_equal(b->gone, 1);
	assert_int_equal(b->rx_len, 6);
	assert_int_equal(amp_vsock_tick(&w.guest.vs, 745), -1);
	all_home();
}

static void close_crosses_close(void **state)
{
	struct end *a, *b;

	(void)state;
	world(8, 512);
	a = pair(&w.guest, &w.host, &b);
	amp_vsock_close(&w.guest.vs, &a->c, 0, 8000);
	amp_vsock_close(&w.host.vs, &b->c, 0, 8000);
	settle();
	assert_int_equal(a->gone + b->gone, 2);
	assert_int_equal(a->reset + b->reset, 0);
	all_home();
}

static void rst_orders(void **state)
{
	struct end *b;

	(void)state;
	world(8, 512);
	/* after SHUTDOWN of both: orderly */
	b = raw_open(1);
	assert_int_equal(raw_rw(1, 4), 1);
	guest_op(AMP_VSOCK_OP_SHUTDOWN, 1, 1);
	guest_op(AMP_VSOCK_OP_SHUTDOWN, 1, 2);
	assert_int_equal(b->shut, 2);
	guest_op(AMP_VSOCK_OP_RST, 1, 0);
	assert_int_equal(b->reset, 0);
	assert_int_equal(b->gone, 1);
	assert_int_equal(b->rx_len, 4);
	/* after one of them: a reset */
	b = raw_open(2);
	guest_op(AMP_VSOCK_OP_SHUTDOWN, 2, 2);
	guest_op(AMP_VSOCK_OP_RST, 2, 0);
	assert_int_equal(b->reset, 1);
	assert_int_equal(b->gone, 1);
	/* data queued before the RST is delivered before it */
	b = raw_open(3);
	{
		struct amp_vsock_hdr h = hdr(AMP_VSOCK_OP_RW, 3, 80);

		h.len = 4;
		assert_true(guest_raw(&h, "abcd", 4));
		h = hdr(AMP_VSOCK_OP_RST, 3, 80);
		assert_true(guest_raw(&h, NULL, 0));
		assert_true(guest_raw(&h, NULL, 0)); /* twice: the second falls on nothing */
	}
	assert_int_equal(run(&w.host), 3);
	assert_int_equal(b->rx_len, 4);
	assert_int_equal(b->reset, 1);
	assert_int_equal(b->gone, 1);
	/* after our own SHUTDOWN of both, which the peer answers so */
	b = raw_open(4);
	amp_vsock_shutdown(&w.host.vs, &b->c, 3);
	(void)run(&w.host);
	assert_int_equal(guest_sees_op(), AMP_VSOCK_OP_SHUTDOWN);
	guest_op(AMP_VSOCK_OP_RST, 4, 0);
	assert_int_equal(b->reset, 0);
	assert_int_equal(b->gone, 1);
	/* none of these RSTs was answered */
	assert_int_equal(guest_sees_op(), 0);
}

static void rst_is_never_answered(void **state)
{
	struct amp_vsock_hdr h;

	(void)state;
	world(8, 512);
	guest_op(AMP_VSOCK_OP_RST, 77, 0);
	h = hdr(AMP_VSOCK_OP_RST, 78, 80);
	h.type = 9;
	assert_true(guest_raw(&h, NULL, 0));
	assert_int_equal(run(&w.host), 1);
	assert_int_equal(guest_sees_op(), 0);
	assert_int_equal(w.host.vs.stats.rst_strays, 0);
}

/* RST, then at once REQUEST on the same pair, in one batch: refused, not forgotten. */
static void pair_reused_in_one_batch(void **state)
{
	struct amp_vsock_hdr h = hdr(AMP_VSOCK_OP_RST, 1, 80);
	struct raw p;
	struct end *b;

	(void)state;
	world(8, 512);
	b = raw_open(1);
	assert_true(guest_raw(&h, NULL, 0));
	h.op = AMP_VSOCK_OP_REQUEST;
	assert_true(guest_raw(&h, NULL, 0));
	assert_int_equal(run(&w.host), 2);
	assert_int_equal(b->gone, 1);
	assert_int_equal(guest_sees(&p), AMP_VSOCK_OP_RST);
	assert_int_equal(p.h.dst_port, 1);
	(void)raw_open(1);
}

/* ---- rings that are full ---- */

static void owed_survive_a_full_ring(void **state)
{
	struct end *a[20];

	(void)state;
	world(2, 512);
	for (unsigned i = 0; i < 20; i++)
		a[i] = dial(&w.guest, HOST, 80, AMP_VSOCK_STREAM);
	assert_int_equal(run(&w.guest), 0);
	assert_int_equal(w.guest.vs.stats.tx_packets, 2);
	assert_true(w.guest.vs.tx_starved);
	settle();
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(a[i]->open, 1);
		amp_vsock_close(&w.guest.vs, &a[i]->c, 0, 1000);
	}
	all_home();
}

/* Round-robin: with one buffer at a time, everybody's turn comes in the order of asking. */
static void owed_are_served_in_turn(void **state)
{
	struct end *a[10];

	(void)state;
	world(1, 512);
	for (unsigned i = 0; i < 10; i++)
		a[i] = dial(&w.guest, HOST, 80, AMP_VSOCK_STREAM);
	for (unsigned i = 0; i < 10; i++) {
		(void)run(&w.guest);
		assert_int_equal(w.guest.vs.stats.tx_packets, i + 1);
		(void)run(&w.host);
		assert_int_equal(w.host.last->c.peer.port, a[i]->c.local.port);
	}
	settle();
	for (unsigned i = 0; i < 10; i++)
		amp_vsock_abort(&w.guest.vs, &a[i]->c);
	all_home();
}

/* One connection that always has something to say does not keep others from theirs. */
static void chatter_does_not_starve(void **state)
{
	struct end *b, *c;
	struct raw p;
	unsigned i, updates = 0;

	(void)state;
	world(2, 512);
	b = raw_open(1);
	(void)b;
	w.host.later = true;
	guest_op(AMP_VSOCK_OP_REQUEST, 2, 0);
	c = w.host.last;
	for (i = 0; i < 4; i++)
		guest_op(AMP_VSOCK_OP_CREDIT_REQUEST, 1, 0);
	amp_vsock_respond(&w.host.vs, &c->c);
	for (i = 0; i < 10; i++) {
		guest_op(AMP_VSOCK_OP_CREDIT_REQUEST, 1, 0);
		if (guest_sees(&p) == AMP_VSOCK_OP_RESPONSE)
			break;
		updates++;
	}
	assert_true(i < 10 && updates <= 3);
}

/* The classic deadlock: both rings full on both sides, each wants to send. */
static void both_rings_full_no_deadlock(void **state)
{
	struct flow f[2];
	struct end *more[8];
	uint64_t last = 0;
	unsigned idle = 0;

	(void)state;
	world(2, 512);
	f[0] = (struct flow){.from = &w.guest, .to = &w.host};
	f[1] = (struct flow){.from = &w.host, .to = &w.guest};
	f[0].a = f[1].b = pair(&w.guest, &w.host, &f[0].b);
	f[1].a = f[0].b;
	/* fill both directions without anyone looking */
	for (unsigned i = 0; i < 4; i++) {
		flow_send(&f[0], 400);
		flow_send(&f[1], 400);
	}
	/* and replies owed on both sides on top */
	for (unsigned i = 0; i < 8; i++)
		more[i] = dial(i & 1 ? &w.guest : &w.host, i & 1 ? HOST : GUEST,
			       i & 2 ? 80 : 81, AMP_VSOCK_STREAM);
	assert_true(run(&w.guest) >= 0);
	while (f[0].seen < 100000 || f[1].seen < 100000) {
		uint64_t before = f[0].seen + f[1].seen;

		/* the first buffers after a drought are for what is owed */
		idle = idle && before == last ? idle + 1 : 1;
		last = before;
		assert_true(idle < 12);
		for (unsigned k = 0; k < 2; k++) {
			flow_send(&f[k], 400);
			flow_send(&f[k], 400);
			flow_send(&f[k], 400);
		}
		assert_true(run(&w.guest) >= 0 && run(&w.host) >= 0);
		for (unsigned k = 0; k < 2; k++)
			flow_check(&f[k], f[k].b->rx_len);
	}
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(i & 2 ? more[i]->open : more[i]->reset, 1);
	w.guest.in_run = w.host.in_run = true;
	amp_vsock_down(&w.guest.vs);
	amp_vsock_down(&w.host.vs);
}

/* RSTs to strangers are bounded; when there is no room receiving stops, and goes on later. */
static void stray_bound_stops_and_resumes(void **state)
{
	struct raw p;
	unsigned rsts = 0;

	(void)state;
	world(16, 512);
	/* the host's out ring full: the guest takes nothing, gives nothing */
	{
		struct end *b = raw_open(1);
		uint8_t x = 0;

		while (try_send(&w.host, b, &x, 1) == 1)
			;
	}
	for (unsigned i = 0; i < 10; i++) {
		struct amp_vsock_hdr h = hdr(AMP_VSOCK_OP_RW, 100 + i, 80);

		assert_true(guest_raw(&h, NULL, 0));
	}
	assert_int_equal(run(&w.host), 4);
	assert_int_equal(w.host.vs.stray_cnt, 4);
	assert_int_equal(run(&w.host), 0);
	assert_int_equal(amp_vq_avail(&w.up.dev), 6);
	/* nothing to spin on while it waits for buffers */
	assert_false(amp_vsock_arm(&w.host.vs));
	while (guest_sees_op() == AMP_VSOCK_OP_RW)
		;
	assert_true(amp_vq_kick_due(&w.down.drv)); /* the host asked for it */
	assert_int_equal(run(&w.host), 6);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(guest_sees(&p), AMP_VSOCK_OP_RST);
		assert_int_equal(p.h.dst_port, 100 + i);
		rsts++;
	}
	assert_int_equal(guest_sees_op(), 0);
	assert_int_equal(w.host.vs.stats.rst_strays, 10);
	assert_false(amp_vsock_arm(&w.host.vs));
}

static void tx_ready_is_raised(void **state)
{
	struct end *a, *b;
	uint8_t x = 0;

	(void)state;
	world(4, 512);
	a = pair(&w.guest, &w.host, &b);
	w.guest.tx_ready = 0;
	for (unsigned i = 0; i < 1000; i++) {
		while (try_send(&w.guest, a, &x, 1) == 1)
			;
		(void)run(&w.guest); /* credit, sometimes */
		assert_int_equal(w.guest.tx_ready, i);
		assert_false(amp_vsock_arm(&w.guest.vs));
		assert_int_equal(run(&w.host), 4);
		assert_true(amp_vq_kick_due(&w.up.dev)); /* it is to wake up */
		eat(&w.host, b, b->rx_len);
		(void)run(&w.guest);
		assert_int_equal(w.guest.tx_ready, i + 1);
		(void)run(&w.guest);
		assert_int_equal(w.guest.tx_ready, i + 1);
		(void)run(&w.host);
	}
	amp_vsock_abort(&w.guest.vs, &a->c);
	all_home();
}

/* ---- lies ---- */

struct lie {
	const char *what;
	uint16_t op;
	uint32_t flags;
	uint32_t len;
	uint32_t fwd_cnt;
};

static void lies_on_an_open_connection(void **state)
{
	static const struct lie lies[] = {
		{"RESPONSE", AMP_VSOCK_OP_RESPONSE, 0, 0, 0},
		{"REQUEST again", AMP_VSOCK_OP_REQUEST, 0, 0, 0},
		{"op 0", AMP_VSOCK_OP_INVALID, 0, 0, 0},
		{"op 8", 8, 0, 0, 0},
		{"op 65535", 65535, 0, 0, 0},
		{"fwd_cnt ahead", AMP_VSOCK_OP_CREDIT_UPDATE, 0, 0, 1},
		{"fwd_cnt far ahead", AMP_VSOCK_OP_CREDIT_UPDATE, 0, 0, 0x80000000},
		{"fwd_cnt behind", AMP_VSOCK_OP_CREDIT_UPDATE, 0, 0, UINT32_MAX},
		{"credit overrun", AMP_VSOCK_OP_RW, 0, 101, 0},
		{"data, fwd_cnt ahead", AMP_VSOCK_OP_RW, 0, 10, 1},
		{"data, fwd_cnt behind", AMP_VSOCK_OP_RW, 0, 10, UINT32_MAX},
	};

	(void)state;
	/* the second time after a good packet, which opens the usual way */
	for (unsigned k = 0; k < 2 * sizeof(lies) / sizeof(lies[0]); k++) {
		unsigned i = k / 2, warm = k & 1;
		struct amp_vsock_hdr h = hdr(lies[i].op, 1, 80);
		uint8_t data[200] = {0};
		struct end *b, *other;

		world(8, 512);
		other = raw_open(2);
		w.host.buf_alloc = 100;
		b = raw_open(1);
		b->eat = warm;
		if (warm) {
			assert_int_equal(raw_rw(1, 5), 1);
			assert_int_equal(raw_rw(1, 5), 1);
			assert_int_equal(w.host.pieces, BY_PIECE(2));
		}
		h.flags = lies[i].flags;
		h.fwd_cnt = lies[i].fwd_cnt;
		h.len = lies[i].len;
		assert_true(guest_raw(&h, data, h.len));
		assert_int_equal(run(&w.host), 1);
		if (b->reset != 1 || b->gone != 1 || guest_sees_op() != AMP_VSOCK_OP_RST)
			fail_msg("not seen: %s", lies[i].what);
		assert_non_null(w.host.vs.why);
		assert_int_equal(b->rx_all, 10 * warm);
		assert_int_equal(w.host.pieces, BY_PIECE(2 * warm));
		assert_int_equal(w.host.vs.stats.resets, 1);
		/* nobody else pays */
		assert_int_equal(other->reset, 0);
		assert_int_equal(raw_rw(2, 5), 1);
		assert_int_equal(other->rx_len, 5);
	}
}

static void fwd_cnt_within_what_was_sent(void **state)
{
	struct amp_vsock_hdr h = hdr(AMP_VSOCK_OP_CREDIT_UPDATE, 1, 80);
	struct end *b;

	(void)state;
	world(8, 512);
	b = raw_open(1);
	assert_int_equal(try_send(&w.host, b, "12345", 5), 5);
	assert_int_equal(try_send(&w.host, b, "12345", 5), 5);
	h.fwd_cnt = 7;
	assert_true(guest_raw(&h, NULL, 0));
	(void)run(&w.host);
	assert_int_equal(b->reset, 0);
	/* a smaller buffer than what is under way: no credit, not four billion */
	h.buf_alloc = 2;
	assert_true(guest_raw(&h, NULL, 0));
	(void)run(&w.host);
	assert_int_equal(amp_vsock_tx_space(&w.host.vs, &b->c), 0);
	/* back again is a lie */
	h.fwd_cnt = 6;
	assert_true(guest_raw(&h, NULL, 0));
	(void)run(&w.host);
	assert_int_equal(b->reset, 1);
}

static void credit_to_the_last_byte(void **state)
{
	struct end *b;

	(void)state;
	world(8, 512);
	w.host.buf_alloc = 100;
	b = raw_open(1);
	assert_int_equal(raw_rw(1, 60), 1);
	assert_int_equal(raw_rw(1, 40), 1);
	assert_int_equal(b->rx_len, 100);
	assert_int_equal(raw_rw(1, 0), 1); /* empty: no harm */
	assert_int_equal(b->reset, 0);
	assert_int_equal(raw_rw(1, 1), 1);
	assert_int_equal(b->reset, 1);
	assert_int_equal(b->rx_len, 100);
}

static void data_after_shutdown_send(void **state)
{
	struct end *b;

	(void)state;
	world(8, 512);
	b = raw_open(1);
	guest_op(AMP_VSOCK_OP_SHUTDOWN, 1, 2);
	assert_int_equal(raw_rw(1, 1), 1);
	assert_int_equal(b->reset, 1);
	assert_int_equal(b->rx_all, 0);
}

static void data_before_response(void **state)
{
	struct end *b;

	(void)state;
	world(8, 512);
	w.host.later = true;
	/* to a connection that we have not accepted */
	guest_op(AMP_VSOCK_OP_REQUEST, 1, 0);
	b = w.host.last;
	assert_int_equal(raw_rw(1, 1), 1);
	assert_int_equal(b->reset, 1);
	assert_int_equal(b->gone, 1);
	assert_int_equal(guest_sees_op(), AMP_VSOCK_OP_RST);
	/* and instead of the RESPONSE that we wait for */
	for (unsigned op = AMP_VSOCK_OP_REQUEST; op <= AMP_VSOCK_OP_CREDIT_REQUEST; op++) {
		struct amp_vsock_hdr h = hdr((uint16_t)op, 80, 0);

		if (op == AMP_VSOCK_OP_RESPONSE || op == AMP_VSOCK_OP_RST)
			continue;
		b = dial(&w.host, GUEST, 80, AMP_VSOCK_STREAM);
		(void)run(&w.host);
		assert_int_equal(guest_sees_op(), AMP_VSOCK_OP_REQUEST);
		h.dst_port = b->c.local.port;
		assert_true(guest_raw(&h, NULL, 0));
		(void)run(&w.host);
		assert_int_equal(b->open, 0);
		assert_int_equal(b->reset, 1);
		assert_int_equal(guest_sees_op(), AMP_VSOCK_OP_RST);
	}
}

/* A RESPONSE that comes before our REQUEST has left. */
static void response_before_request(void **state)
{
	struct amp_vsock_hdr h = hdr(AMP_VSOCK_OP_RESPONSE, 80, 0);
	struct end *b;

	(void)state;
	world(8, 512);
	b = dial(&w.host, GUEST, 80, AMP_VSOCK_STREAM);
	h.dst_port = b->c.local.port;
	assert_true(guest_raw(&h, NULL, 0));
	(void)run(&w.host);
	assert_int_equal(b->open, 0);
	assert_int_equal(b->reset, 1);
	assert_int_equal(guest_sees_op(), 0);
}

static void unknown_type_gets_rst(void **state)
{
	struct amp_vsock_hdr h = hdr(AMP_VSOCK_OP_REQUEST, 5, 80);
	struct raw p;

	(void)state;
	world(8, 512);
	h.type = 3;
	assert_true(guest_raw(&h, NULL, 0));
	assert_int_equal(run(&w.host), 1);
	assert_int_equal(guest_sees(&p), AMP_VSOCK_OP_RST);
	assert_int_equal(p.h.dst_port, 5);
	assert_int_equal(p.h.src_port, 80);
	assert_int_equal(w.host.requests, 0);
	assert_int_equal(w.host.vs.stats.rx_bad, 1);
}

static void unknown_connection_gets_rst(void **state)
{
	struct raw p;

	(void)state;
	world(8, 512);
	for (uint16_t op = 0; op < 10; op++) {
		if (op == AMP_VSOCK_OP_REQUEST || op == AMP_VSOCK_OP_RST)
			continue;
		guest_op(op, 5, 0);
		assert_int_equal(guest_sees(&p), AMP_VSOCK_OP_RST);
		assert_int_equal(p.h.src_cid, HOST);
		assert_int_equal(p.h.dst_cid, GUEST);
		assert_int_equal(p.h.dst_port, 5);
		assert_int_equal(p.h.len, 0);
	}
}

static void wrong_cids_are_dropped(void **state)
{
	static const struct {
		uint64_t src, dst;
		bool dropped;
	} cases[] = {
		{4, HOST, true},
		{GUEST | 1ull << 32, HOST, true},
		{GUEST, HOST | 1ull << 40, true},
		{AMP_VSOCK_CID_LOCAL, HOST, true},
		{0, HOST, true},
		{GUEST, 99, false}, /* somebody else: refused */
	};
	struct raw p;

	(void)state;
	world(8, 512);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct amp_vsock_hdr h = hdr(AMP_VSOCK_OP_REQUEST, 5, 80);

		h.src_cid = cases[i].src;
		h.dst_cid = cases[i].dst;
		assert_true(guest_raw(&h, NULL, 0));
		assert_int_equal(run(&w.host), 1);
		assert_int_equal(guest_sees(&p), cases[i].dropped ? 0 : AMP_VSOCK_OP_RST);
		if (!cases[i].dropped)
			assert_int_equal(p.h.src_cid, 99);
	}
	assert_int_equal(w.host.vs.stats.rx_bad, 5);
	/* the guest takes what is for it, from anybody, and nothing else */
	for (unsigned i = 0; i < 3; i++) {
		struct amp_iov iov[4];
		struct amp_vq_buf b = {.iov = iov, .iov_max = 4};
		struct amp_vsock_hdr h = hdr(AMP_VSOCK_OP_REQUEST, 9, 80);

		h.src_cid = i == 2 ? AMP_VSOCK_CID_LOCAL : 7;
		h.dst_cid = i == 1 ? 4 : GUEST;
		assert_int_equal(amp_vq_get(&w.down.dev, &b), 1);
		memcpy(iov[0].base, &h, sizeof(h));
		amp_vq_put(&w.down.dev, b.id, sizeof(h));
		assert_int_equal(run(&w.guest), 1);
		assert_int_equal(w.guest.requests, 1);
		assert_int_equal(w.guest.vs.stats.rx_bad, i);
	}
}

static int send_one(struct side *s, struct end *e, const void *data, size_t len)
{
	const struct amp_iov iov = {(void *)(uintptr_t)data, len};

	return amp_vsock_send(&s->vs, &e->c, &iov, 0, len, 0);
}

/* amp_vsock_send(): one packet with as much as goes. */
static void send_in_one(void **state)
{
	uint8_t data[512];

	(void)state;
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	for (unsigned k = 0; k < 2; k++) {
		struct side *s = k ? &w.host : &w.guest, *o = k ? &w.guest : &w.host;
		const struct amp_iov part[4] = {
			{data, 20}, {data, 0}, {data + 20, 30}, {data + 50, 9}};
		struct end *a, *b, *l;

		world(8, 256);
		o->buf_alloc = 300;
		a = pair(s, o, &b);
		/* from the middle of the first piece into the third */
		assert_int_equal(amp_vsock_send(&s->vs, &a->c, part, 5, 40, 0), 40);
		assert_int_equal(send_one(s, a, data + 45, 5), 5);
		settle();
		assert_int_equal(b->rx_len, 45);
		assert_memory_equal(b->rx, data + 5, 45);
		/* more than a buffer holds */
		assert_int_equal(send_one(s, a, data + 50, 213), 212);
		assert_int_equal(a->c.credit.tx_cnt, 257);
		/* who waits for a buffer comes first */
		amp_vsock_shutdown(&s->vs, &a->c, AMP_VSOCK_SHUTDOWN_RCV);
		s->vs.tx_starved = true;
		assert_int_equal(send_one(s, a, data + 262, 38), -EAGAIN);
		settle();
		/* more than the peer's window holds */
		assert_int_equal(send_one(s, a, data + 262, 100), 43);
		assert_int_equal(send_one(s, a, data, 1), -EAGAIN);
		settle();
		assert_int_equal(b->rx_len, 300);
		assert_memory_equal(b->rx, data + 5, 257);
		assert_memory_equal(b->rx + 257, data + 262, 43);
		eat(o, b, 300);
		settle();
		/* no buffer */
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(send_one(s, a, data, 1), 1);
		assert_int_equal(send_one(s, a, data, 1), -EAGAIN);
		settle();
		assert_int_equal(b->rx_len, 8);
		eat(o, b, 8);
		/* a loop has no queue */
		l = dial(s, AMP_VSOCK_CID_LOCAL, 80, AMP_VSOCK_STREAM);
		settle();
		assert_int_equal(l->open, 1);
		assert_int_equal(send_one(s, l, data, 7), 7);
		amp_vsock_abort(&s->vs, &l->c);
		amp_vsock_shutdown(&s->vs, &a->c, AMP_VSOCK_SHUTDOWN_SEND);
		assert_int_equal(send_one(s, a, data, 1), -EPIPE);
		amp_vsock_abort(&s->vs, &a->c);
		all_home();
	}
}

/* What is like the last packet in all but one thing is not of its connection. */
static void nearly_the_same_again(void **state)
{
	struct end *e;

	(void)state;
	world(8, 512);
	e = raw_open(5);
	e->eat = true;
	assert_int_equal(raw_rw(5, 10), 1);
	for (unsigned i = 0; i < 9; i++) {
		struct amp_vsock_hdr h = hdr(AMP_VSOCK_OP_RW, 5, 80);
		uint32_t bad = w.host.vs.stats.rx_bad;

		assert_int_equal(raw_rw(5, 10), 1);
		assert_int_equal(w.host.pieces, BY_PIECE(i + 2));
		assert_int_equal(e->rx_all, 10 * (i + 2));
		h.len = i == 6 ? 11 : i == 7 ? UINT32_MAX : i == 8 ? 0 : 10;
		h.src_cid = i == 0 ? 4 : i == 1 ? GUEST | 1ull << 32 : GUEST;
		h.dst_cid = i == 2 ? HOST | 1ull << 32 : HOST;
		h.src_port = i == 3 ? 6 : 5;
		h.dst_port = i == 4 ? 81 : 80;
		h.type = i == 5 ? AMP_VSOCK_SEQPACKET : AMP_VSOCK_STREAM;
		assert_true(guest_raw(&h, "0123456789", 10));
		assert_int_equal(run(&w.host), 1);
		assert_int_equal(w.host.pieces, BY_PIECE(i + 2));
		assert_int_equal(e->rx_all, 10 * (i + 2));
		assert_int_equal(w.host.vs.stats.rx_bad, bad + (i < 3 || i == 6 || i == 7));
		assert_int_equal(guest_sees_op(), i < 3 || i > 5 ? 0 : AMP_VSOCK_OP_RST);
	}
}

/* Each of several connections has its turn: all of it goes straight through. */
static void usual_way_in_turns(void **state)
{
	struct end *e[3];

	(void)state;
	world(8, 512);
	for (unsigned i = 0; i < 3; i++) {
		e[i] = raw_open(5 + i);
		e[i]->eat = true;
	}
	for (unsigned k = 0; k < 12; k++)
		assert_int_equal(raw_rw(5 + k % 3, 10), 1);
	assert_int_equal(w.host.pieces, BY_PIECE(12));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(e[i]->rx_all, 40);
}

/* What is out of the ordinary with the connection, or the engine, closes the usual way. */
static void usual_way_closes(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		struct end *e;
		unsigned open;

		world(8, 512);
		e = raw_open(5);
		e->eat = true;
		assert_int_equal(raw_rw(5, 10), 1);
		assert_int_equal(raw_rw(5, 10), 1);
		assert_int_equal(w.host.pieces, BY_PIECE(2));
		if (i == 0)
			guest_op(AMP_VSOCK_OP_CREDIT_REQUEST, 5, 0);
		else if (i == 1)
			guest_op(AMP_VSOCK_OP_SHUTDOWN, 5, AMP_VSOCK_SHUTDOWN_RCV);
		else if (i == 2)
			amp_vsock_shutdown(&w.host.vs, &e->c, AMP_VSOCK_SHUTDOWN_SEND);
		else if (i == 3)
			amp_vsock_want_credit(&w.host.vs, &e->c);
		else if (i == 4)
			w.host.vs.tx_starved = true;
		else
			(void)raw_open(6);
		open = w.host.pieces;
		assert_int_equal(raw_rw(5, 10), 1);
		/* somebody else's packet in between closes nothing that one packet does not open */
		assert_int_equal(w.host.pieces, BY_PIECE(open + (i == 5)));
		assert_int_equal(e->rx_all, 30);
		assert_int_equal(e->c.credit.rx_cnt, 30);
		assert_int_equal(e->c.credit.fwd_cnt, 30);
	}
}

static void enough_for_now(struct side *s, struct end *e)
{
	(void)e;
	s->vs.enough = true;
}

/* The owner has what it waited for: the next packets stay where they are. */
static void enough_ends_the_run(void **state)
{
	struct end *e;

	(void)state;
	world(8, 512);
	e = raw_open(5);
	w.host.on_data = enough_for_now;
	for (unsigned i = 0; i < 3; i++) {
		struct amp_vsock_hdr h = hdr(AMP_VSOCK_OP_RW, 5, 80);

		h.len = 10;
		assert_true(guest_raw(&h, "0123456789", 10));
	}
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(run(&w.host), 1);
		assert_int_equal(e->rx_len, 10 * i);
	}
	assert_int_equal(run(&w.host), 0);
}

static void short_and_long_packets(void **state)
{
	struct amp_vsock_hdr h = hdr(AMP_VSOCK_OP_REQUEST, 5, 80);

	(void)state;
	world(64, 512);
	for (uint32_t len = 0; len < AMP_VSOCK_HDR_LEN; len++) {
		struct amp_iov iov[1];
		struct amp_vq_buf b = {.iov = iov, .iov_max = 1};

		assert_int_equal(amp_vq_get(&w.up.drv, &b), 1);
		memcpy(b.iov[0].base, &h, sizeof(h));
		amp_vq_put(&w.up.drv, b.id, len);
	}
	assert_int_equal(run(&w.host), AMP_VSOCK_HDR_LEN);
	assert_int_equal(w.host.requests, 0);
	assert_int_equal(w.host.vs.stats.rx_bad, AMP_VSOCK_HDR_LEN);
	assert_int_equal(guest_sees_op(), 0);
	/* says more than there is */
	h.len = 1;
	assert_true(guest_raw(&h, NULL, 0));
	h.len = UINT32_MAX;
	assert_true(guest_raw(&h, NULL, 0));
	assert_int_equal(run(&w.host), 2);
	assert_int_equal(w.host.requests, 0);
	/* more there than said: the rest is not data */
	{
		struct end *b = raw_open(6);

		h = hdr(AMP_VSOCK_OP_RW, 6, 80);
		h.len = 3;
		assert_true(guest_raw(&h, "abcdef", 6));
		(void)run(&w.host);
		assert_int_equal(b->rx_len, 3);
	}
}

/* ---- any legal chain ---- */

/* A packet in pieces of the given lengths, as a driver with posted buffers would send it. */
static void split_case(const uint32_t *part, unsigned cnt)
{
	struct rp_opt o = {.num = 32, .drv_dir = AMP_VQ_OUT};
	static uint8_t mem[17 * 4096];
	struct amp_iov iov[20];
	struct amp_vsock_hdr h = hdr(AMP_VSOCK_OP_REQUEST, 5, 80);
	uint32_t off = 0, sum = 0, len;
	uint16_t id;

	world(8, 512);
	rp_free(&w.up);
	assert_int_equal(rp_init(&w.up, &o), 0);
	w.host.vs.in = &w.up.dev;
	w.host.buf_alloc = KEEP;
	w.up.map[0] = (struct rp_map){(uintptr_t)mem, sizeof(mem), mem};
	memcpy(mem, &h, sizeof(h));
	iov[0] = (struct amp_iov){mem, sizeof(h)};
	assert_true(amp_vq_post(&w.up.drv, iov, 1, 0, NULL) >= 0);
	assert_int_equal(run(&w.host), 1);
	assert_int_equal(amp_vq_reap(&w.up.drv, &id, &len), 1);
	for (unsigned i = 0; i < cnt; i++)
		sum += part[i];
	h.op = AMP_VSOCK_OP_RW;
	h.len = sum - AMP_VSOCK_HDR_LEN;
	memcpy(mem, &h, sizeof(h));
	for (uint32_t i = AMP_VSOCK_HDR_LEN; i < sum; i++)
		mem[i] = pattern(i);
	for (unsigned i = 0; i < cnt; i++) {
		iov[i] = (struct amp_iov){mem + off, part[i]};
		off += part[i];
	}
	assert_true(amp_vq_post(&w.up.drv, iov, (uint16_t)cnt, 0, NULL) >= 0);
	assert_int_equal(run(&w.host), 1);
	assert_int_equal(w.host.last->rx_len, sum - AMP_VSOCK_HDR_LEN);
	for (uint32_t i = AMP_VSOCK_HDR_LEN; i < sum; i++)
		assert_int_equal(w.host.last->rx[i - AMP_VSOCK_HDR_LEN], pattern(i));
	assert_int_equal(amp_vq_reap(&w.up.drv, &id, &len), 1);
}

static void receive_any_split(void **state)
{
	static const uint32_t two[] = {20, 24, 100}, three[] = {1, 42, 1, 50},
			      inside[] = {40, 60, 7}, exact[] = {44},
			      linux_one[] = {44 + 65536}, linux_two[] = {44, 32768, 32768},
			      linux_zerocopy[] = {44,	4096, 4096, 4096, 4096, 4096,
						  4096, 4096, 4096, 4096, 4096, 4096,
						  4096, 4096, 4096, 4096, 4096};

	(void)state;
	split_case(two, 3);
	split_case(three, 4);
	split_case(inside, 3);
	split_case(exact, 1);
	/* what Linux makes of 64 KiB: a copy, a vmalloc()ed one, the pages themselves */
	split_case(linux_one, 1);
	split_case(linux_two, 3);
	split_case(linux_zerocopy, 17);
}

/* The guest's receive buffers in pieces: the host fills them in pieces. */
static void send_into_any_split(void **state)
{
	static const uint32_t parts[][4] = {
		{44, 100, 0, 0},  {10, 34, 100, 0}, {10, 10, 124, 0}, {1, 1, 200, 0},
		{20, 24, 50, 50}, {200, 0, 0, 0},   {10, 134, 0, 0},  {3776, 0, 0, 0},
	};

	(void)state;
	for (unsigned k = 0; k < sizeof(parts) / sizeof(parts[0]); k++) {
		struct rp_opt o = {.num = 8, .drv_dir = AMP_VQ_IN};
		static uint8_t mem[4096];
		struct amp_iov iov[4];
		struct end *b;
		struct amp_vsock_hdr h;
		uint32_t off = 0, len;
		uint16_t id, cnt = 0;

		world(8, 512);
		b = raw_open(1);
		rp_free(&w.down);
		assert_int_equal(rp_init(&w.down, &o), 0);
		w.host.vs.out = &w.down.dev;
		w.down.map[0] = (struct rp_map){(uintptr_t)mem, sizeof(mem), mem};
		for (; cnt < 4 && parts[k][cnt]; cnt++) {
			iov[cnt] = (struct amp_iov){mem + off, parts[k][cnt]};
			off += parts[k][cnt];
		}
		memset(mem, 0xee, sizeof(mem));
		assert_true(amp_vq_post(&w.down.drv, iov, 0, cnt, NULL) >= 0);
		{
			uint8_t data[90];

			for (unsigned i = 0; i < sizeof(data); i++)
				data[i] = pattern(i);
			assert_int_equal(try_send(&w.host, b, data, sizeof(data)),
					 sizeof(data));
		}
		assert_int_equal(amp_vq_reap(&w.down.drv, &id, &len), 1);
		assert_int_equal(len, 44 + 90);
		memcpy(&h, mem, sizeof(h));
		assert_int_equal(h.op, AMP_VSOCK_OP_RW);
		assert_int_equal(h.len, 90);
		for (unsigned i = 0; i < 90; i++)
			assert_int_equal(mem[44 + i], pattern(i));
		assert_int_equal(mem[44 + 90], 0xee);
	}
}

/* Receive buffers too small for a header, or for a byte of data: the link is broken. */
static void receive_buffers_too_small(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		struct rp_opt o = {.num = 8, .drv_dir = AMP_VQ_IN};
		static uint8_t mem[64];
		struct amp_iov iov[1] = {{mem, 43 + k}};
		struct end *b;

		world(8, 512);
		b = raw_open(1);
		rp_free(&w.down);
		assert_int_equal(rp_init(&w.down, &o), 0);
		w.host.vs.out = &w.down.dev;
		w.down.map[0] = (struct rp_map){(uintptr_t)mem, sizeof(mem), mem};
		assert_true(amp_vq_post(&w.down.drv, iov, 0, 1, NULL) >= 0);
		assert_int_equal(try_send(&w.host, b, "x", 1), -EAGAIN);
		assert_int_equal(run(&w.host), -EBADMSG);
		assert_non_null(w.down.dev.why);
	}
}

/* ---- within one engine: CID 1 ---- */

static struct end *loop_pair(struct side *s, struct end **other)
{
	struct end *a = dial(s, AMP_VSOCK_CID_LOCAL, 80, AMP_VSOCK_STREAM);

	run(s);
	assert_int_equal(a->open, 1);
	*other = s->last;
	return a;
}

static void loop_data_and_close(void **state)
{
	struct end *a, *b;
	uint8_t data[300] = {1, 2, 3};

	(void)state;
	world(8, 512);
	a = loop_pair(&w.guest, &b);
	assert_int_equal(a->c.local.cid, AMP_VSOCK_CID_LOCAL);
	assert_int_equal(b->c.peer.cid, AMP_VSOCK_CID_LOCAL);
	assert_int_equal(try_send(&w.guest, a, data, 300), 256);
	assert_int_equal(b->rx_len, 256); /* at once */
	assert_memory_equal(b->rx, data, 256);
	for (unsigned i = 0; i < 1000; i++) {
		eat(&w.guest, b, b->rx_len);
		run(&w.guest);
		while (try_send(&w.guest, a, data, 200) > 0)
			;
		assert_true(b->rx_len >= 2048); /* less: it was not told of what is free */
		run(&w.guest);
	}
	/* nothing of it went over the wire */
	assert_int_equal(w.guest.vs.stats.tx_packets, 0);
	assert_int_equal(try_send(&w.guest, b, "z", 1), 1);
	amp_vsock_close(&w.guest.vs, &a->c, 0, 100);
	run(&w.guest);
	assert_int_equal(b->shut, 1);
	eat(&w.guest, b, b->rx_len);
	run(&w.guest);
	assert_int_equal(a->gone + b->gone, 2);
	assert_int_equal(a->reset + b->reset, 0);
	all_home();
}

static void loop_refused_and_self(void **state)
{
	struct end *a[10];
	struct amp_vsock_addr self = {AMP_VSOCK_CID_LOCAL, 4000};

	(void)state;
	world(8, 512);
	/* more than there are places for strays */
	for (unsigned i = 0; i < 10; i++)
		a[i] = dial(&w.guest, AMP_VSOCK_CID_LOCAL, 81, AMP_VSOCK_STREAM);
	run(&w.guest);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(a[i]->reset, 1);
		assert_int_equal(a[i]->gone, 1);
	}
	/* an end that is its own other end */
	a[0] = end_new(&w.guest, 64);
	assert_int_equal(amp_vsock_connect(&w.guest.vs, &a[0]->c, self, self, AMP_VSOCK_STREAM),
			 0);
	run(&w.guest);
	assert_int_equal(a[0]->open, 0);
	assert_int_equal(a[0]->reset, 1);
	assert_int_equal(a[0]->gone, 1);
	all_home();
}

static void echo_in_hook(struct side *s, struct end *e)
{
	/* the loop's one buffer is in use right now: EAGAIN, then tx_ready */
	if (e == s->last)
		assert_int_equal(try_send(s, e, "echo", 4), -EAGAIN);
}

static void send_in_hook(struct side *s, struct end *e)
{
	assert_int_equal(try_send(s, e, "more", 4), 4);
}

/* Who sends when he hears of credit does so within the packet that told of it. */
static void loop_sends_when_writable(void **state)
{
	struct end *a, *b;
	uint8_t data[256] = {0};
	uint64_t sent = 4;
	int r;

	(void)state;
	world(8, 512);
	a = loop_pair(&w.guest, &b);
	while ((r = try_send(&w.guest, a, data, 256)) > 0)
		sent += (unsigned)r;
	assert_int_equal(r, -EAGAIN);
	run(&w.guest);
	w.guest.on_writable = send_in_hook;
	eat(&w.guest, b, b->rx_len);
	run(&w.guest);
	assert_int_equal(a->writable, 1);
	assert_int_equal(b->rx_all, sent);
	assert_int_equal(a->reset + b->reset, 0);
	w.guest.on_writable = NULL;
	amp_vsock_abort(&w.guest.vs, &a->c);
	all_home();
}

static void loop_without_a_link(void **state)
{
	struct end *a, *b;
	struct amp_iov iov[2];
	struct amp_vsock_tx tx = {.iov = iov, .iov_max = 2};

	(void)state;
	world(8, 512);
	side_init(&w.guest, NULL, NULL, GUEST, 0);
	a = end_new(&w.guest, 64);
	assert_int_equal(amp_vsock_connect(&w.guest.vs, &a->c,
					   (struct amp_vsock_addr){GUEST, 1},
					   (struct amp_vsock_addr){HOST, 1}, AMP_VSOCK_STREAM),
			 -ENETDOWN);
	a->used = false;
	a = loop_pair(&w.guest, &b);
	/* one reservation at a time; the second waits for tx_ready, which comes */
	assert_int_equal(amp_vsock_reserve(&w.guest.vs, &a->c, 4, &tx), 4);
	assert_int_equal(try_send(&w.guest, b, "x", 1), -EAGAIN);
	run(&w.guest);
	assert_int_equal(w.guest.tx_ready, 0);
	amp_vsock_cancel(&w.guest.vs, &a->c, &tx);
	run(&w.guest);
	assert_int_equal(w.guest.tx_ready, 1);
	w.guest.on_data = echo_in_hook;
	assert_int_equal(try_send(&w.guest, a, "ping", 4), 4);
	run(&w.guest);
	assert_int_equal(w.guest.tx_ready, 2);
	w.guest.on_data = NULL;
	assert_int_equal(try_send(&w.guest, b, "echo", 4), 4);
	assert_int_equal(a->rx_len, 4);
	/* a link that goes down leaves the loop alone */
	w.guest.in_run = true;
	amp_vsock_down(&w.guest.vs);
	assert_int_equal(try_send(&w.guest, a, "ping", 4), 4);
	amp_vsock_abort(&w.guest.vs, &a->c);
	run(&w.guest);
	assert_int_equal(b->reset, 1);
	assert_int_equal(a->gone + b->gone, 2);
}

/* ---- the link goes ---- */

static void link_down_with_many(void **state)
{
	struct end *a[40], *l, *m;
	unsigned reset = 0;

	(void)state;
	world(8, 512);
	l = loop_pair(&w.guest, &m);
	for (unsigned i = 0; i < 40; i++) {
		a[i] = dial(&w.guest, HOST, i % 3 ? 80 : 81, AMP_VSOCK_STREAM);
		if (i % 5 == 0)
			settle();
	}
	for (unsigned i = 0; i < 40; i++)
		if (a[i]->used && i % 7 == 0)
			amp_vsock_close(&w.guest.vs, &a[i]->c, 0, 100);
	w.guest.in_run = true;
	amp_vsock_down(&w.guest.vs);
	w.guest.in_run = false;
	for (unsigned i = 0; i < 40; i++) {
		assert_int_equal(a[i]->gone, 1);
		if (i % 7 == 0 && a[i]->open)
			assert_int_equal(a[i]->reset, 0); /* closed: nobody is told */
		reset += a[i]->reset;
	}
	assert_true(reset > 20);
	assert_int_equal(amp_vsock_tick(&w.guest.vs, 0), -1); /* nobody has a deadline */
	assert_false(w.guest.vs.timed);
	assert_int_equal(l->gone + m->gone + l->reset, 0);
	assert_int_equal(try_send(&w.guest, l, "still", 5), 5);
	assert_int_equal(run(&w.guest), 0);
	amp_vsock_abort(&w.guest.vs, &l->c);
	run(&w.guest);
	assert_int_equal(m->gone, 1);
}

static void broken_ring_is_reported(void **state)
{
	struct end *a, *b;

	(void)state;
	world(8, 512);
	a = pair(&w.guest, &w.host, &b);
	rp_avail(&w.up)->idx = (uint16_t)(rp_avail(&w.up)->idx + 100);
	assert_int_equal(run(&w.host), -EBADMSG);
	assert_int_equal(b->gone, 0);
	rp_used(&w.up)->idx = (uint16_t)(rp_used(&w.up)->idx + 100);
	while (try_send(&w.guest, a, "x", 1) == 1)
		;
	assert_int_equal(run(&w.guest), -EBADMSG);
}

/* ---- anything at all ---- */

/* Random packets by hand against the host, random acts of its owner. */
static void random_guest(void **state)
{
	uint32_t seed = 99, gone = 0, open = 0;

	(void)state;
	world(16, 256);
	w.host.buf_alloc = 300;
	w.host.vs.seqpacket = true;
	for (uint32_t step = 0; step < 300000; step++) {
		struct amp_vsock_hdr h =
			hdr((uint16_t)(rp_rand(&seed) % 9), 1 + rp_rand(&seed) % 5, 80);
		struct end *e = &w.host.ends[rp_rand(&seed) % CONNS];
		uint32_t r = rp_rand(&seed) % 24;
		uint8_t data[200];

		if (r < 12) {
			struct raw p;

			memset(data, (int)step, sizeof(data));
			/* mostly what keeps a connection alive */
			if (rp_rand(&seed) % 12 &&
			    (h.op < 1 || h.op == 2 || h.op == 3 || h.op == 4 || h.op == 8))
				h.op = AMP_VSOCK_OP_RW;
			h.type = rp_rand(&seed) % 100 ? 1 + rp_rand(&seed) % 2
						      : (uint16_t)rp_rand(&seed);
			h.len = h.op == AMP_VSOCK_OP_RW
					? rp_rand(&seed) % (rp_rand(&seed) % 8 ? 20 : 200)
					: 0;
			h.flags = rp_rand(&seed) % 4;
			if (rp_rand(&seed) % 8 == 0)
				h.buf_alloc = rp_rand(&seed) % 500;
			if (rp_rand(&seed) % 100 == 0)
				h.fwd_cnt = rp_rand(&seed);
			/* mostly the truth about what was consumed */
			for (unsigned i = 0; i < CONNS && h.op != AMP_VSOCK_OP_INVALID; i++) {
				struct amp_vsock_conn *c = &w.host.ends[i].c;

				if (w.host.ends[i].used && c->peer.port == h.src_port &&
				    c->type == h.type)
					h.fwd_cnt = c->credit.tx_cnt;
			}
			(void)guest_raw(&h, data, h.len);
			while (rp_rand(&seed) % 4 && guest_sees(&p))
				;
		} else if (r < 16) {
			assert_true(run(&w.host) >= 0);
			w.host.later = rp_rand(&seed) % 4 == 0;
			w.host.backlog = rp_rand(&seed) % 12;
		} else if (r < 17) {
			(void)amp_vsock_tick(&w.host.vs, step);
		} else if (r < 18) {
			(void)amp_vsock_arm(&w.host.vs);
		} else if (e->used && e->c.state != AMP_CONN_FREE) {
			open += e->c.state == AMP_CONN_OPEN;
			if (r == 18) {
				e->hold = rp_rand(&seed) % 8 == 0;
				while (e->held_cnt)
					amp_vsock_release(&w.host.vs, e->held[--e->held_cnt]);
			} else if (r == 19 && rp_rand(&seed) % 4 == 0) {
				while (e->held_cnt)
					amp_vsock_release(&w.host.vs, e->held[--e->held_cnt]);
				amp_vsock_close(&w.host.vs, &e->c, step, 500);
			} else if (r == 20 && rp_rand(&seed) % 8 == 0) {
				amp_vsock_abort(&w.host.vs, &e->c);
			} else if (r == 21) {
				(void)try_send(&w.host, e, data, 1 + rp_rand(&seed) % 100);
			} else if (r == 22) {
				if (rp_rand(&seed) % 8 == 0)
					amp_vsock_shutdown(&w.host.vs, &e->c,
							   (uint8_t)(rp_rand(&seed) % 4));
				else
					amp_vsock_respond(&w.host.vs, &e->c);
			} else if (e->rx_len) {
				eat(&w.host, e, 1 + rp_rand(&seed) % e->rx_len);
			}
		}
		gone += e->gone;
		e->gone = 0;
		/* those that ended while they held buffers */
		for (unsigned i = 0; i < CONNS; i++) {
			struct end *d = &w.host.ends[i];

			while (!d->used && d->held_cnt)
				amp_vsock_release(&w.host.vs, d->held[--d->held_cnt]);
		}
	}
	assert_true(gone > 1000 && open > 3000);
	/* and nothing is left behind, of what comes of requests that are in the ring yet neither */
	for (unsigned n = 0; n < 100; n++) {
		struct raw p;

		for (unsigned i = 0; i < CONNS; i++) {
			struct end *e = &w.host.ends[i];

			while (e->held_cnt)
				amp_vsock_release(&w.host.vs, e->held[--e->held_cnt]);
			if (e->used)
				amp_vsock_abort(&w.host.vs, &e->c);
		}
		assert_true(run(&w.host) >= 0);
		while (guest_sees(&p))
			;
	}
	for (unsigned i = 0; i < CONNS; i++)
		assert_false(w.host.ends[i].used);
	assert_null(w.host.vs.owed_head);
	assert_int_equal(amp_vsock_tick(&w.host.vs, 0), -1);
	assert_int_equal(ring_out_cnt(&w.up.dev) + ring_out_cnt(&w.down.dev), 0);
}

/* Two honest engines with random owners: nothing is ever a lie, nothing is left behind. */
static void random_owners(void **state)
{
	uint32_t seed = 4242;

	(void)state;
	world(4, 200);
	w.guest.buf_alloc = w.host.buf_alloc = 600;
	for (uint32_t step = 0; step < 300000; step++) {
		struct side *s = rp_rand(&seed) & 1 ? &w.guest : &w.host;
		struct side *o = s == &w.guest ? &w.host : &w.guest;
		struct end *e = &s->ends[rp_rand(&seed) % 10];
		uint8_t data[300] = {0};

		s->later = rp_rand(&seed) % 8 == 0;
		switch (rp_rand(&seed) % 10) {
		case 0:
			if (!e->used && !s->ends[CONNS - 20].used)
				dial(s, o->vs.local_cid, rp_rand(&seed) % 8 ? 80 : 81,
				     AMP_VSOCK_STREAM);
			break;
		case 1:
			if (e->used && rp_rand(&seed) % 4 == 0)
				amp_vsock_close(&s->vs, &e->c, step, 2000);
			break;
		case 2:
			if (e->used && rp_rand(&seed) % 16 == 0)
				amp_vsock_abort(&s->vs, &e->c);
			break;
		case 3:
			if (e->used && rp_rand(&seed) % 4 == 0)
				amp_vsock_shutdown(&s->vs, &e->c,
						   (uint8_t)(1 + rp_rand(&seed) % 3));
			break;
		case 4:
			if (e->used)
				amp_vsock_respond(&s->vs, &e->c);
			break;
		case 5:
		case 6:
			if (e->used)
				(void)try_send(s, e, data, 1 + rp_rand(&seed) % 299);
			break;
		case 7:
			if (e->used && e->rx_len && e->c.state != AMP_CONN_FREE)
				eat(s, e, 1 + rp_rand(&seed) % e->rx_len);
			break;
		case 8:
			(void)amp_vsock_tick(&s->vs, step);
			break;
		default:
			assert_true(run(s) >= 0);
			break;
		}
		assert_int_equal(s->vs.stats.resets + s->vs.stats.rx_bad, 0);
	}
	for (unsigned k = 0; k < 2; k++) {
		struct side *s = k ? &w.guest : &w.host;

		for (unsigned i = 0; i < CONNS; i++)
			if (s->ends[i].used)
				amp_vsock_abort(&s->vs, &s->ends[i].c);
	}
	all_home();
	assert_int_equal(w.guest.vs.stats.resets + w.host.vs.stats.resets, 0);
}

/* A program without listen(): no hook, and whoever knocks is refused. */
static void no_request_hook(void **state)
{
	struct amp_vsock_ops deaf = ops;
	struct end *e;

	(void)state;
	world(8, 1024);
	deaf.request = NULL;
	w.guest.vs.ops = &deaf;
	e = dial(&w.host, GUEST, 80, AMP_VSOCK_STREAM);
	settle();
	assert_int_equal(e->reset, 1);
	assert_int_equal(w.guest.vs.stats.rst_strays, 1);
	e = dial(&w.guest, AMP_VSOCK_CID_LOCAL, 80, AMP_VSOCK_STREAM);
	settle();
	assert_int_equal(e->reset, 1);
	all_home();
}

static int fini(void **state)
{
	(void)state;
	rp_free(&w.up);
	rp_free(&w.down);
	free(w.guest.ends);
	free(w.host.ends);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connect_accept_both_ways),
		cmocka_unit_test(nobody_there_is_refused),
		cmocka_unit_test(no_request_hook),
		cmocka_unit_test(accept_later_or_abort),
		cmocka_unit_test(no_data_before_our_response),
		cmocka_unit_test(address_in_use),
		cmocka_unit_test(abort_before_request),
		cmocka_unit_test(peer_gives_up_in_backlog),
		cmocka_unit_test(seqpacket_only_when_negotiated),
		cmocka_unit_test(seqpacket_flags),
		cmocka_unit_test(bulk_both_ways_64_mib),
		cmocka_unit_test(bulk_odd_sizes),
		cmocka_unit_test(counters_wrap),
		cmocka_unit_test(credit_stops_and_starts),
		cmocka_unit_test(updates_are_volunteered_not_per_read),
		cmocka_unit_test(half_a_message_does_not_stall),
		cmocka_unit_test(credit_that_has_come_is_not_asked_for),
		cmocka_unit_test(credit_request_is_answered),
		cmocka_unit_test(closed_asks_for_nothing),
		cmocka_unit_test(updates_after_own_shutdown_send),
		cmocka_unit_test(reservations_and_cancel),
		cmocka_unit_test(reserved_credit_comes_back),
		cmocka_unit_test(commit_after_the_end),
		cmocka_unit_test(hold_and_release),
		cmocka_unit_test(owner_cannot_take_it),
		cmocka_unit_test(owner_ends_inside_the_hook),
		cmocka_unit_test(half_close_each_way),
		cmocka_unit_test(shutdown_receive),
		cmocka_unit_test(close_waits_for_unread_data),
		cmocka_unit_test(close_with_data_unread_on_our_side),
		cmocka_unit_test(close_times_out),
		cmocka_unit_test(close_crosses_close),
		cmocka_unit_test(rst_orders),
		cmocka_unit_test(rst_is_never_answered),
		cmocka_unit_test(pair_reused_in_one_batch),
		cmocka_unit_test(owed_survive_a_full_ring),
		cmocka_unit_test(owed_are_served_in_turn),
		cmocka_unit_test(chatter_does_not_starve),
		cmocka_unit_test(both_rings_full_no_deadlock),
		cmocka_unit_test(stray_bound_stops_and_resumes),
		cmocka_unit_test(tx_ready_is_raised),
		cmocka_unit_test(lies_on_an_open_connection),
		cmocka_unit_test(fwd_cnt_within_what_was_sent),
		cmocka_unit_test(credit_to_the_last_byte),
		cmocka_unit_test(data_after_shutdown_send),
		cmocka_unit_test(data_before_response),
		cmocka_unit_test(response_before_request),
		cmocka_unit_test(unknown_type_gets_rst),
		cmocka_unit_test(unknown_connection_gets_rst),
		cmocka_unit_test(wrong_cids_are_dropped),
		cmocka_unit_test(send_in_one),
		cmocka_unit_test(nearly_the_same_again),
		cmocka_unit_test(usual_way_in_turns),
		cmocka_unit_test(usual_way_closes),
		cmocka_unit_test(enough_ends_the_run),
		cmocka_unit_test(short_and_long_packets),
		cmocka_unit_test(receive_any_split),
		cmocka_unit_test(send_into_any_split),
		cmocka_unit_test(receive_buffers_too_small),
		cmocka_unit_test(loop_data_and_close),
		cmocka_unit_test(loop_refused_and_self),
		cmocka_unit_test(loop_sends_when_writable),
		cmocka_unit_test(loop_without_a_link),
		cmocka_unit_test(link_down_with_many),
		cmocka_unit_test(broken_ring_is_reported),
		cmocka_unit_test(random_guest),
		cmocka_unit_test(random_owners),
	};

	return cmocka_run_group_tests(tests, NULL, fini);
}
