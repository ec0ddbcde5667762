// SPDX-License-Identifier: BSD-3-Clause
// build: src/virtio/vq_split.c -Itests/unit
/*
 * One end of a split ring against a peer that writes anything anywhere into the shared
 * memory, between any two calls. The input is a script: set-up, then one byte a step.
 *
 * What must hold whatever the peer does: every segment handed out lies in a mapping (each
 * byte is touched under the address sanitizer), the segments' sum is the length said, no
 * buffer is out twice, no more are out than the ring has, broken stays broken.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ringpair.h"

#define NUM  8
#define BUF  64
#define SEGS 6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *script;
static size_t left;

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

struct out {
	uint16_t id[NUM];
	unsigned cnt;
};

static void touch(const struct amp_vq_buf *b, bool write)
{
	volatile uint8_t sum = 0;
	uint64_t total = 0;

	must(b->iov_cnt <= b->iov_max);
	for (unsigned i = 0; i < b->iov_cnt; i++) {
		volatile uint8_t *p = b->iov[i].base;

		total += b->iov[i].len;
		for (size_t k = 0; k < b->iov[i].len; k++) {
			if (write)
				p[k] = (uint8_t)k;
			else
				sum = (uint8_t)(sum + p[k]);
		}
	}
	must(total == b->len);
}

static void get(struct amp_vq *vq, struct out *o)
{
	struct amp_iov iov[SEGS];
	struct amp_vq_buf b = {.iov = iov, .iov_max = SEGS};
	bool broken = vq->broken;
	int r;

	if (o->cnt == NUM)
		return;
	r = amp_vq_get(vq, &b);
	must(r == 1 || r == 0 || r == -EBADMSG);
	must(!broken || r == -EBADMSG);
	must(r != -EBADMSG || (vq->broken && vq->why));
	if (r != 1)
		return;
	must(b.id < NUM);
	/* A lying driver may offer a chain twice to a device; it only cheats itself. */
	for (unsigned i = 0; i < o->cnt && vq->role == AMP_VQ_DRIVER; i++)
		must(o->id[i] != b.id);
	touch(&b, vq->dir == AMP_VQ_OUT);
	o->id[o->cnt++] = b.id;
}

static void scribble(struct ringpair *rp)
{
	unsigned at = next(), n = next() % 16u + 1u;

	at = (at | (unsigned)next() << 8) % (unsigned)rp->mem_len;
	for (; n && at < rp->mem_len; n--, at++)
		rp->mem[at] = next();
}

/* What an honest but odd peer would write: a valid address, an index one ahead. */
static void plausible(struct ringpair *rp, bool driver_is_peer)
{
	unsigned i = next() % NUM;

	switch (next() % 5) {
	case 0:
		rp_desc(rp)[i].addr = rp->map[0].bus + next();
		rp_desc(rp)[i].len = next();
		rp_desc(rp)[i].flags = next() & 7;
		rp_desc(rp)[i].next = next() % (NUM + 1);
		break;
	case 1:
		rp_avail(rp)->ring[i] = next() % (NUM + 1);
		break;
	case 2:
		rp_used(rp)->ring[i].id = next() % (NUM + 1);
		rp_used(rp)->ring[i].len = next();
		break;
	case 3:
		if (driver_is_peer)
			rp_avail(rp)->idx++;
		else
			rp_used(rp)->idx++;
		break;
	default:
		/* an indirect table in the pool */
		memset(rp->pool + (size_t)i * 16, next(), 16);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct out out = {.cnt = 0};
	struct ringpair rp;
	struct amp_vq *vq;
	uint8_t setup;

	if (size < 4)
		return 0;
	script = data;
	left = size;
	setup = next();
	struct rp_opt opt = {
		.num = NUM,
		.drv_dir = setup & 1 ? AMP_VQ_IN : AMP_VQ_OUT,
		.event_idx = setup & 2,
		.indirect = setup & 4,
		.buf_len = BUF,
		.bus_off = setup & 8 ? 0x1000 : 0,
	};
	if (rp_init(&rp, &opt))
		abort();
	vq = setup & 16 ? &rp.drv : &rp.dev;
	while (left) {
		uint8_t op = next();

		switch (op & 15) {
		case 0:
		case 1:
		case 2:
			scribble(&rp);
			break;
		case 3:
		case 4:
		case 5:
			plausible(&rp, vq == &rp.dev);
			break;
		case 6:
		case 7:
		case 8:
			get(vq, &out);
			break;
		case 9:
		case 10:
			if (out.cnt) {
				unsigned i = (op >> 4) % out.cnt;
				uint32_t len = vq->dir == AMP_VQ_OUT ? next() % (BUF + 1u) : 0;

				amp_vq_put(vq, out.id[i], len);
				out.id[i] = out.id[--out.cnt];
			}
			break;
		case 11:
			if (out.cnt)
				amp_vq_unget(vq, out.id[--out.cnt]);
			break;
		case 12:
			(void)amp_vq_kick_due(vq);
			break;
		case 13:
			(void)amp_vq_arm(vq);
			break;
		case 14:
			amp_vq_disarm(vq);
			break;
		default:
			(void)amp_vq_avail(vq); /* a hint: the peer may lie */
			break;
		}
	}
	rp_free(&rp);
	return 0;
}
