// SPDX-License-Identifier: BSD-3-Clause
// build: src/virtio/vq_split.c src/vsock/vsock.c -Itests/unit
/*
 * The vsock engine as the host's end, against a guest that sends any packet at any time
 * (the rings themselves are in order: fuzz_vq has them), while its owner connects,
 * answers, sends, consumes, closes. The input is a script, one byte a step.
 *
 * What must hold: never more bytes than were advertised, no data and no event after
 * EV_GONE, EV_GONE once and for every connection in the end, no reserved buffer lost,
 * a bounded number of packets out for one in, and the address sanitizer is content.
 */
#include <stdlib.h>
#include <string.h>

#include "ringpair.h"
#include "vsock/vsock.h"

#define NUM   8
#define BUF   256
#define CONNS 4
#define ALLOC 512u
#define GUEST 3u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct conn {
	struct amp_vsock_conn c; /* first: the engine's part */
	bool used;
	bool gone;
	uint32_t held; /* bytes received and not consumed */
};

static const uint8_t *script;
static size_t left;
static struct conn *conns[CONNS]; /* each its own allocation: the sanitizer sees every touch */
static struct conn *dead[CONNS * 4];
static unsigned dead_cnt;
static uint32_t now_ms;

static uint8_t next(void)
{
	if (!left)
		return 0;
	left--;
	return *script++;
}

static void must(int ok)
{
	if (!ok)
		abort();
}

static struct conn *fresh(void)
{
	for (unsigned i = 0; i < CONNS; i++) {
		if (conns[i])
			continue;
		conns[i] = calloc(1, sizeof(*conns[i]));
		must(conns[i] != NULL);
		conns[i]->used = true;
		return conns[i];
	}
	return NULL;
}

/* Memory goes when the engine's call is over: hooks run inside it. */
static void bury(void)
{
	while (dead_cnt)
		free(dead[--dead_cnt]);
}

static struct amp_vsock_conn *on_request(struct amp_vsock *vs, struct amp_vsock_addr local,
					 struct amp_vsock_addr peer, uint8_t type)
{
	struct conn *k = local.port & 1 ? fresh() : NULL;

	must(type == AMP_VSOCK_STREAM || type == AMP_VSOCK_SEQPACKET);
	must(peer.cid == GUEST);
	if (!k)
		return NULL;
	k->c.buf_alloc = ALLOC;
	if (local.port & 2)
		amp_vsock_respond(vs, &k->c);
	return &k->c;
}

static int on_data(struct amp_vsock *vs, struct amp_vsock_conn *c, const struct amp_vsock_rx *rx)
{
	struct conn *k = (struct conn *)c;
	volatile uint8_t sum = 0;
	uint32_t total = 0;

	(void)vs;
	must(k->used && !k->gone);
	for (unsigned i = 0; i < rx->iov_cnt; i++) {
		total += (uint32_t)rx->iov[i].len;
		for (size_t n = 0; n < rx->iov[i].len; n++)
			sum = (uint8_t)(sum + ((uint8_t *)rx->iov[i].base)[n]);
	}
	must(total == rx->len);
	k->held += rx->len;
	must(k->held <= ALLOC);
	return 0;
}

static void on_event(struct amp_vsock *vs, struct amp_vsock_conn *c, unsigned ev)
{
	struct conn *k = (struct conn *)c;

	(void)vs;
	must(k->used && !k->gone);
	if (!(ev & AMP_VSOCK_EV_GONE))
		return;
	k->gone = true;
	for (unsigned i = 0; i < CONNS; i++)
		if (conns[i] == k)
			conns[i] = NULL;
	must(dead_cnt < CONNS * 4);
	dead[dead_cnt++] = k;
}

static const struct amp_vsock_ops ops = {
	.request = on_request,
	.data = on_data,
	.event = on_event,
};

/* Numbers at the edges more often than elsewhere. */
static uint32_t edge(void)
{
	static const uint32_t edges[] = {0, 1, BUF - 44, BUF, ALLOC - 1, ALLOC, ALLOC + 1, 0x7fffffff,
					 0x80000000, 0xffffffff};
	uint8_t b = next();

	return b < 128 ? b : edges[b % (sizeof(edges) / sizeof(edges[0]))];
}

static void packet_in(struct amp_vq *drv)
{
	struct amp_iov iov[2];
	struct amp_vq_buf b = {.iov = iov, .iov_max = 2};
	struct amp_vsock_hdr h = {.src_cid = GUEST, .dst_cid = 2};
	uint8_t odd = next(), ports = next();
	uint32_t len;

	if (amp_vq_get(drv, &b) != 1)
		return;
	h.src_port = 100u + (ports & 3);
	h.dst_port = 1u + (ports >> 2 & 3);
	h.op = odd & 1 ? next() : ports >> 4 & 7;
	h.type = odd & 2 ? next() : 1 + (ports >> 7);
	h.flags = h.op == AMP_VSOCK_OP_SHUTDOWN || odd & 4 ? edge() : 0;
	h.buf_alloc = odd & 8 ? edge() : 4096;
	h.fwd_cnt = odd & 16 ? edge() : 0;
	len = h.op == AMP_VSOCK_OP_RW ? next() % (BUF - 44u + 1) : 0;
	h.len = odd & 32 ? edge() : len;
	if (odd & 64)
		h.src_cid = (uint64_t)edge() << (odd & 128 ? 32 : 0);
	memcpy(iov[0].base, &h, sizeof(h));
	memset((uint8_t *)iov[0].base + sizeof(h), 0x5a, len);
	amp_vq_put(drv, b.id, odd & 128 && !(odd & 64) ? next() % BUF : (uint32_t)sizeof(h) + len);
}

static void send_packet(struct amp_vq *drv, struct amp_vsock_hdr h, uint32_t len)
{
	struct amp_iov iov[2];
	struct amp_vq_buf b = {.iov = iov, .iov_max = 2};

	h.len = len;
	must(amp_vq_get(drv, &b) == 1);
	memcpy(iov[0].base, &h, sizeof(h));
	memset((uint8_t *)iov[0].base + sizeof(h), 0x5a, len);
	amp_vq_put(drv, b.id, (uint32_t)sizeof(h) + len);
}

/* Begin behind the first steps of every conversation: the interesting ones come later. */
static void warm(struct amp_vq *drv, uint8_t how)
{
	struct amp_vsock_hdr h = {
		.src_cid = GUEST, .dst_cid = 2, .src_port = 100, .dst_port = 3, .type = 1,
		.op = AMP_VSOCK_OP_REQUEST, .buf_alloc = how & 8 ? 64 : 4096,
	};

	send_packet(drv, h, 0);
	h.op = AMP_VSOCK_OP_RW;
	for (how &= 3; how > 0; how--)
		send_packet(drv, h, 200);
}

/* The guest takes what the host sent; each packet must be well-formed. */
static unsigned drain(struct amp_vq *drv)
{
	struct amp_iov iov[2];
	struct amp_vq_buf b = {.iov = iov, .iov_max = 2};
	struct amp_vsock_hdr h;
	unsigned cnt = 0;

	while (amp_vq_get(drv, &b) == 1) {
		must(b.len >= sizeof(h));
		memcpy(&h, iov[0].base, sizeof(h));
		must(h.src_cid == 2 && h.op >= AMP_VSOCK_OP_REQUEST && h.op <= AMP_VSOCK_OP_CREDIT_REQUEST);
		must(h.len == b.len - sizeof(h));
		amp_vq_put(drv, b.id, 0);
		cnt++;
	}
	return cnt;
}

static void owner_step(struct amp_vsock *vs, uint8_t op)
{
	struct conn *k = conns[op >> 4 & (CONNS - 1)];
	struct amp_iov iov[4];
	struct amp_vsock_tx tx = {.iov = iov, .iov_max = 4};
	struct amp_vsock_addr local = {2, 50u + (op >> 4)}, peer = {GUEST, 100u + (op >> 6)};
	uint32_t n;
	int r;

	if ((op & 15) == 4) {
		k = fresh();
		if (!k)
			return;
		k->c.buf_alloc = ALLOC;
		if (amp_vsock_connect(vs, &k->c, local, peer, 1 + (op >> 7)) != 0)
			k->gone = true;
		if (k->gone) {
			for (unsigned i = 0; i < CONNS; i++)
				if (conns[i] == k)
					conns[i] = NULL;
			free(k);
		}
		return;
	}
	if (!k)
		return;
	switch (op & 15) {
	case 5:
		if (k->c.state == AMP_CONN_REQUESTED)
			amp_vsock_respond(vs, &k->c);
		break;
	case 6:
		amp_vsock_abort(vs, &k->c);
		break;
	case 7:
		amp_vsock_shutdown(vs, &k->c, next() & 3);
		break;
	case 8:
		amp_vsock_close(vs, &k->c, now_ms, 100);
		break;
	case 9:
	case 10:
		r = amp_vsock_reserve(vs, &k->c, edge() % 1000 + 1, &tx);
		if (r <= 0)
			break;
		must((uint32_t)r == tx.len && tx.iov_cnt > 0);
		n = 0;
		for (unsigned i = 0; i < tx.iov_cnt; i++) {
			memset(iov[i].base, 1, iov[i].len);
			n += (uint32_t)iov[i].len;
		}
		must(n == tx.len);
		if (next() & 1)
			amp_vsock_commit(vs, &k->c, &tx, tx.len, 0);
		else
			amp_vsock_cancel(vs, &k->c, &tx);
		break;
	default:
		n = edge() % (k->held + 1);
		k->held -= n;
		if (n)
			amp_vsock_consumed(vs, &k->c, n);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rp_opt to_host = {.num = NUM, .drv_dir = AMP_VQ_OUT, .buf_len = BUF};
	struct rp_opt to_guest = {.num = NUM, .drv_dir = AMP_VQ_IN, .buf_len = BUF};
	struct amp_vsock_conn *hash[2];
	struct amp_vsock_stray stray[4];
	struct amp_iov iov[4];
	struct ringpair in, out;
	struct amp_vsock vs = {
		.ops = &ops, .in = &in.dev, .out = &out.dev, .local_cid = 2, .peer_cid = GUEST,
		.hash = hash, .hash_len = 2, .iov = iov, .iov_max = 4, .stray = stray, .stray_len = 4,
	};
	uint8_t setup;
	int r;

	if (size < 2)
		return 0;
	script = data;
	left = size;
	now_ms = 0xfffffff0u; /* wraps soon */
	if (rp_init(&in, &to_host) || rp_init(&out, &to_guest))
		abort();
	setup = next();
	vs.seqpacket = setup & 1;
	amp_vsock_init(&vs);
	if (setup & 2)
		warm(&in.drv, setup >> 2);
	while (left) {
		uint8_t op = next();

		switch (op & 15) {
		case 0:
		case 1:
		case 2:
			packet_in(&in.drv);
			break;
		case 3:
			r = amp_vsock_run(&vs, 4);
			must(r >= 0 && r <= 64);
			break;
		case 12:
			(void)drain(&out.drv);
			break;
		case 13:
			now_ms += next();
			(void)amp_vsock_tick(&vs, now_ms);
			break;
		default:
			owner_step(&vs, op);
			break;
		}
		bury();
	}
	/* In the end everything drains: a guest that takes its packets hears of all there is. */
	for (unsigned i = 0; i < 64; i++) {
		must(amp_vsock_run(&vs, 16) >= 0);
		(void)drain(&out.drv);
		bury();
	}
	must(amp_vq_avail(&in.dev) == 0); /* nothing is left lying in the ring */
	amp_vsock_down(&vs);
	bury();
	for (unsigned i = 0; i < CONNS; i++)
		must(conns[i] == NULL);
	rp_free(&in);
	rp_free(&out);
	return 0;
}
