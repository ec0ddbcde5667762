// SPDX-License-Identifier: BSD-3-Clause
// libFuzzer: the vsock engine as host or guest, its peer and its owner are the input.
// build: src/vsock/vsock.c src/vsock/vsock_out.c src/vsock/vsock_conn.c src/vsock/vsock_request.c src/vsock/xport_loop.c src/virtio/vq_split.c -DAMPSOCK_VQ_DEVICE=1
/*
 * Byte 0: role and features. Then records of 8 bytes: a packet of the peer (operation,
 * ports, type, length, credit), or an act of the owner on one of its connections.
 */
#include <stdint.h>
#include <stdio.h>

#include "../unit/ringpair.h"
#include "vsock/vsock.h"

#define CHECK(x)                                                                \
	do {                                                                    \
		if (!(x)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                               \
	} while (0)

#define CONNS 8
#define BUFS  8
#define ALLOC 300u

struct end {
	struct amp_vsock_conn c; /* first */
	bool used, reset, hold;
	uint32_t held_len;
	uint16_t held;
	bool has_held;
};

static struct {
	struct amp_vsock vs;
	struct end ends[CONNS];
	struct amp_vsock_conn *hash[2];
	struct amp_iov iov[8];
	struct amp_vsock_stray stray[2];
	uint8_t loop[AMP_VSOCK_HDR_LEN + 64] __attribute__((aligned(8)));
	struct ringpair in, out; /* as the engine sees them */
	uint32_t later;
	bool running;
} w;

static struct end *end_new(void)
{
	for (unsigned i = 0; i < CONNS; i++) {
		if (w.ends[i].used || w.ends[i].has_held)
			continue;
		memset(&w.ends[i], 0, sizeof(w.ends[i]));
		w.ends[i].used = true;
		w.ends[i].c.buf_alloc = ALLOC;
		return &w.ends[i];
	}
	return NULL;
}

static struct amp_vsock_conn *on_request(struct amp_vsock *vs,
					 const struct amp_vsock_ends *ends, uint8_t type)
{
	struct end *e = ends->local.port == 80 ? end_new() : NULL;

	CHECK(type == AMP_VSOCK_STREAM || type == AMP_VSOCK_SEQPACKET);
	if (!e)
		return NULL;
	if (!w.later)
		amp_vsock_respond(vs, &e->c);
	return &e->c;
}

static int on_data(struct amp_vsock *vs, struct amp_vsock_conn *c,
		   const struct amp_vsock_rx *rx)
{
	struct end *e = (struct end *)c;
	uint32_t sum = 0;
	volatile uint8_t byte = 0;

	(void)vs;
	CHECK(e->used && !e->reset && c->state == AMP_CONN_OPEN);
	for (unsigned i = 0; i < rx->iov_cnt; i++) {
		for (size_t k = 0; k < rx->iov[i].len; k++)
			byte ^= ((const uint8_t *)rx->iov[i].base)[k];
		sum += (uint32_t)rx->iov[i].len;
	}
	(void)byte;
	CHECK(sum == rx->len);
	CHECK(c->credit.rx_cnt - c->credit.fwd_cnt <= ALLOC);
	if (e->hold && !e->has_held && !c->loop) {
		e->has_held = true;
		e->held = rx->id;
		return 1;
	}
	return 0;
}

static bool on_piece(struct amp_vsock *vs, struct amp_vsock_conn *c, const void *data,
		     uint32_t len, uint32_t flags)
{
	struct end *e = (struct end *)c;
	volatile uint8_t byte = 0;

	(void)vs;
	(void)flags;
	CHECK(e->used && !e->reset && c->state == AMP_CONN_OPEN && len);
	for (uint32_t k = 0; k < len; k++)
		byte ^= ((const uint8_t *)data)[k];
	(void)byte;
	CHECK(c->credit.rx_cnt - c->credit.fwd_cnt + len <= ALLOC);
	return !e->hold;
}

static void on_event(struct amp_vsock *vs, struct amp_vsock_conn *c, unsigned ev)
{
	struct end *e = (struct end *)c;

	(void)vs;
	CHECK(e->used);
	if (ev & AMP_VSOCK_EV_RESET) {
		CHECK(!e->reset);
		e->reset = true;
	}
	if (ev & AMP_VSOCK_EV_GONE) {
		CHECK(w.running && c->state == AMP_CONN_FREE);
		e->used = false;
	}
}

static const struct amp_vsock_ops ops = {
	.request = on_request, .data = on_data, .piece = on_piece, .event = on_event};

static void run(void)
{
	int r;

	w.running = true;
	r = amp_vsock_run(&w.vs, 16);
	w.running = false;
	CHECK(r >= 0); /* these rings do not lie: fuzz_vq's do */
}

/* The peer: one packet into the engine's in queue, and its out queue emptied. */
static void peer_packet(const uint8_t *d, bool host)
{
	struct amp_vq *mine = host ? &w.in.drv : &w.in.dev;
	struct amp_iov iov[2];
	struct amp_vq_buf b = {.iov = iov, .iov_max = 2};
	struct amp_vsock_hdr h = {.src_cid = host ? 3 : 2,
				  .dst_cid = host ? 2 : 3,
				  .src_port = d[1] & 3,
				  .dst_port = d[1] & 4 ? 80 : (d[1] >> 3 & 3) + 100u,
				  .type = d[2] & 3,
				  .op = d[0] & 15,
				  .flags = d[2] >> 2 & 7,
				  .len = d[3],
				  .buf_alloc = d[4] * 4u,
				  .fwd_cnt = d[5]};

	if (d[2] >> 5 == 7)
		h.src_cid = (uint64_t)d[6] << (d[7] & 63);
	for (unsigned i = 0; i < CONNS && d[2] >> 5 < 6; i++) {
		const struct amp_vsock_conn *c = &w.ends[i].c;

		if (w.ends[i].used && c->peer.port == h.src_port && c->local.port == h.dst_port)
			h.fwd_cnt = c->credit.tx_cnt;
	}
	if (amp_vq_get(mine, &b) != 1)
		return;
	memcpy(b.iov[0].base, &h, sizeof(h));
	amp_vq_put(mine, b.id, d[6] & 1 ? (uint32_t)sizeof(h) + h.len : d[7]);
}

static void peer_takes(bool host)
{
	struct amp_vq *mine = host ? &w.out.drv : &w.out.dev;
	struct amp_iov iov[2];
	struct amp_vq_buf b = {.iov = iov, .iov_max = 2};
	struct amp_vsock_hdr h;

	while (amp_vq_get(mine, &b) == 1) {
		if (b.len) { /* 0: a buffer that was given back */
			CHECK(b.len >= sizeof(h));
			memcpy(&h, b.iov[0].base, sizeof(h));
			CHECK(h.len == b.len - sizeof(h) && h.op >= 1 && h.op <= 7);
			CHECK(h.buf_alloc == ALLOC || h.op == AMP_VSOCK_OP_RST);
		}
		amp_vq_put(mine, b.id, 0);
	}
}

static void owner_acts(const uint8_t *d, uint32_t now)
{
	struct end *e = &w.ends[d[1] % CONNS];
	struct amp_iov iov[2];
	struct amp_vsock_tx tx = {.iov = iov, .iov_max = 2};
	struct amp_vsock_addr local = {w.vs.local_cid, 100u + (d[2] & 3)},
			      peer = {d[3] & 8 ? 1 : 5 - w.vs.local_cid,
				      d[3] & 4 ? 80 : d[3] & 3};

	if (e->has_held && d[2] & 1) {
		amp_vsock_release(&w.vs, e->held);
		e->has_held = false;
	}
	if (d[0] % 12 == 0) {
		struct end *n = end_new();

		if (n && amp_vsock_connect(&w.vs, &n->c, local, peer, d[4] & 1 ? 1 : 2))
			n->used = false;
		return;
	}
	if (d[0] % 12 == 1) {
		(void)amp_vsock_tick(&w.vs, now);
		(void)amp_vsock_arm(&w.vs);
		w.later = d[2] & 1;
		return;
	}
	if (!e->used || e->c.state == AMP_CONN_FREE)
		return;
	switch (d[0] % 12) {
	case 2:
		amp_vsock_close(&w.vs, &e->c, now, d[2]);
		break;
	case 3:
		amp_vsock_abort(&w.vs, &e->c);
		break;
	case 4:
		amp_vsock_shutdown(&w.vs, &e->c, d[2] & 3);
		break;
	case 5:
		amp_vsock_respond(&w.vs, &e->c);
		break;
	case 6:
		amp_vsock_want_tx(&w.vs, &e->c);
		amp_vsock_want_credit(&w.vs, &e->c);
		break;
	case 7:
	case 8: {
		uint32_t held = e->c.credit.rx_cnt - e->c.credit.fwd_cnt;

		if (held)
			amp_vsock_consumed(&w.vs, &e->c, 1 + d[2] % held);
		break;
	}
	case 9:
		e->hold = d[2] & 1;
		break;
	default:
		if (amp_vsock_reserve(&w.vs, &e->c, 1u + d[2], &tx) < 0)
			break;
		for (unsigned i = 0; i < tx.iov_cnt; i++)
			memset(tx.iov[i].base, d[3], tx.iov[i].len);
		if (d[3] & 1)
			amp_vsock_commit(&w.vs, &e->c, &tx, 1 + d[4] % tx.len, d[5] & 3);
		else
			amp_vsock_cancel(&w.vs, &e->c, &tx);
		break;
	}
}

static void finish(void)
{
	for (unsigned i = 0; i < CONNS; i++) {
		struct end *e = &w.ends[i];

		if (e->has_held)
			amp_vsock_release(&w.vs, e->held);
		e->has_held = false;
		if (e->used && e->c.state != AMP_CONN_FREE)
			amp_vsock_abort(&w.vs, &e->c);
	}
	w.running = true;
	amp_vsock_down(&w.vs);
	w.running = false;
	run();
	for (unsigned i = 0; i < CONNS; i++)
		CHECK(!w.ends[i].used);
	CHECK(!w.vs.owed_head && amp_vsock_tick(&w.vs, 0) == -1);
}

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t len)
{
	struct rp_opt o = {.num = BUFS, .buf_len = 320};
	bool host;
	uint32_t now = 0;

	if (len < 1)
		return 0;
	memset(&w, 0, sizeof(w));
	host = d[0] & 1;
	o.event_idx = d[0] & 2;
	o.drv_dir = host ? AMP_VQ_OUT : AMP_VQ_IN;
	CHECK(rp_init(&w.in, &o) == 0);
	o.drv_dir = host ? AMP_VQ_IN : AMP_VQ_OUT;
	CHECK(rp_init(&w.out, &o) == 0);
	w.vs = (struct amp_vsock){.ops = &ops,
				  .in = host ? &w.in.dev : &w.in.drv,
				  .out = host ? &w.out.dev : &w.out.drv,
				  .local_cid = host ? 2 : 3,
				  .peer_cid = host ? 3 : 0,
				  .seqpacket = d[0] & 4,
				  .hash = w.hash,
				  .hash_len = 2,
				  .iov = w.iov,
				  .iov_max = 8,
				  .stray = w.stray,
				  .stray_len = 2,
				  .path = &amp_vsock_loop,
				  .loop_buf = w.loop,
				  .loop_len = sizeof(w.loop) - AMP_VSOCK_HDR_LEN};
	amp_vsock_init(&w.vs);
	for (d++, len--; len >= 9; d += 9, len -= 9) {
		now += d[8];
		switch (d[0] % 6) {
		case 0:
		case 1:
			peer_packet(d + 1, host);
			if (d[0] & 64)
				run();
			break;
		case 2:
			run();
			break;
		case 3:
			peer_takes(host);
			break;
		default:
			owner_acts(d + 1, now);
			break;
		}
	}
	finish();
	rp_free(&w.in);
	rp_free(&w.out);
	return 0;
}
