// SPDX-License-Identifier: BSD-3-Clause
// libFuzzer: the rpmsg bus as host or remote, its peer and its owner are the input.
// build: src/af_rpmsg/rpmsg.c src/virtio/vq_split.c -DAMPSOCK_VQ_DEVICE=1
/*
 * Byte 0: role and features. Then records of 8 bytes: a write of the peer (a buffer with a
 * header that may be good, or anything anywhere), or an act of the owner.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>

#include "../unit/rpmsg_rig.h"

#define CHECK(x)                                                                \
	do {                                                                    \
		if (!(x)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                               \
	} while (0)

#define NUM 4u
#define LEN 128u

static struct rig_side *me;
static bool running;

static void on_data(struct rig_side *s, struct rig_ept *e, const struct amp_rpmsg_rx *rx)
{
	const struct ringpair *rp = s == &rig.host ? &rig.up : &rig.down;
	const uint8_t *p = rx->data;
	volatile uint8_t sum = 0;

	CHECK(running && e->open && rx->dst == e->e.ept.addr);
	CHECK(p >= rp->pool + AMP_RPMSG_HDR_LEN && p + rx->len <= rp->pool + NUM * LEN);
	for (uint32_t i = 0; i < rx->len; i++)
		sum ^= p[i];
	s->bus.enough = sum == 0x5a;
}

static void on_service(struct rig_side *s, const char *name, uint32_t addr, bool gone)
{
	size_t len = strlen(name);

	(void)s;
	(void)gone;
	CHECK(running && len > 0 && len < AMP_RPMSG_NAME_LEN && addr != AMP_RPMSG_ADDR_ANY);
}

static void on_gone(struct rig_side *s, struct rig_ept *e)
{
	(void)s;
	CHECK(running && !e->open);
	memset(&e->e, 0xa5, sizeof(e->e));
}

static void run(unsigned budget)
{
	int r;

	running = true;
	r = amp_rpmsg_run(&me->bus, budget);
	CHECK(r == -EBADMSG || (r >= 0 && (unsigned)r <= budget));
	CHECK(me->bus.held_cnt <= me->bus.held_max || !me->bus.in);
	if (r < 0) {
		CHECK(me->bus.why);
		rig_up();
		me->held_cnt &= 3u; /* stale from now on */
	}
	running = false;
}

/* The peer's side of one ring: it is the driver when we are the remote. */
static void peer_writes(const uint8_t *d)
{
	struct ringpair *rp = d[0] & 1 ? &rig.up : &rig.down;
	uint16_t slot = d[1] % NUM;
	uint8_t *p = rp->pool + slot * LEN + (d[2] & 3);
	uint16_t *idx;

	switch (d[0] >> 1 & 7) {
	case 0:
		rp->mem[(d[1] | (unsigned)d[2] << 8) % rp->mem_len] = d[3];
		return;
	case 1:
		rp->pool[(d[1] | (unsigned)d[2] << 8) % (NUM * LEN)] = d[3];
		return;
	case 2:
		memset(p + 16, d[3], 32);
		amp_put_le32(p + 48, d[4]);
		amp_put_le32(p + 52, d[5]);
		p[16 + (d[6] & 31)] = 0;
		break;
	default:
		break;
	}
	amp_put_le32(p, d[3]);
	amp_put_le32(p + 4, d[4] & 8 ? AMP_RPMSG_NS_ADDR : 20u + (d[4] & 7));
	amp_put_le16(p + 12, (uint16_t)(d[5] | (d[4] & 128 ? d[6] << 8 : 0)));
	if (me == &rig.host) {
		idx = &rp_used(rp)->idx;
		rp_used(rp)->ring[*idx % NUM] = (struct vring_used_elem){
			d[4] & 64 ? d[6] : slot, d[4] & 32 ? d[6] : LEN};
	} else {
		idx = &rp_avail(rp)->idx;
		rp_avail(rp)->ring[*idx % NUM] = d[4] & 64 ? d[6] : slot;
		rp_desc(rp)[slot] = (struct vring_desc){
			rp->map[0].bus + slot * LEN + (d[2] & 3), d[4] & 32 ? d[6] : LEN - 3,
			(uint16_t)((rp == &rig.up) * 2u ^ (d[2] >> 2 & d[2] >> 5)), d[6]};
	}
	(*idx)++;
}

static void owner_acts(const uint8_t *d)
{
	static struct amp_rpmsg_tx tx[3];
	static unsigned tx_cnt;
	struct rig_ept *e = &me->ept[d[1] % RIG_EPTS];
	uint32_t addr = d[2] & 1 ? 20u + (d[2] >> 1 & 7) : AMP_RPMSG_ADDR_ANY;
	int r;

	if (!me->bus.in) /* LLVMFuzzerTestOneInput's last call: forget */
		tx_cnt = 0;
	switch (d[0] % 8) {
	case 0:
		if (e->open || e->leaving)
			break;
		r = amp_rpmsg_open_named(&me->bus, &e->e, addr, d[3] & 1 ? "name" : NULL);
		CHECK(r == 0 || r == -EADDRINUSE);
		e->open = r == 0;
		e->hold = d[3] & 2;
		break;
	case 1:
		if (!e->open)
			break;
		e->open = false;
		e->leaving = !amp_rpmsg_close(&me->bus, &e->e.ept);
		if (!e->leaving)
			memset(&e->e, 0xa5, sizeof(e->e));
		break;
	case 2:
		if (me->held_cnt)
			amp_rpmsg_release(&me->bus, me->held[--me->held_cnt]);
		break;
	case 3:
		if (tx_cnt < 3 && amp_rpmsg_reserve(&me->bus, &tx[tx_cnt]) == 0) {
			memset(tx[tx_cnt].data, d[2], tx[tx_cnt].room);
			tx_cnt++;
		}
		break;
	case 4:
		if (tx_cnt && d[2] & 1)
			amp_rpmsg_commit(&me->bus, &tx[tx_cnt - 1], d[3], d[4],
					 d[5] % (tx[tx_cnt - 1].room + 1u));
		else if (tx_cnt)
			amp_rpmsg_cancel(&me->bus, &tx[tx_cnt - 1]);
		tx_cnt -= tx_cnt > 0;
		break;
	case 5:
		(void)amp_rpmsg_arm(&me->bus);
		(void)amp_vq_kick_due(me->bus.in);
		(void)amp_vq_kick_due(me->bus.out);
		(void)amp_rpmsg_tx_ready(&me->bus);
		break;
	case 6:
		if (d[2] < 8) {
			running = true;
			rig.ns = d[2] & 1;
			rig_up();
			running = false;
		}
		break;
	default:
		run(d[2] & 7);
		break;
	}
}

static void finish(void)
{
	static const uint8_t nothing[8] = {7};

	running = true;
	amp_rpmsg_down(&me->bus);
	running = false;
	CHECK(!me->bus.leaving);
	for (unsigned i = 0; i < RIG_EPTS; i++)
		if (me->ept[i].open)
			CHECK(amp_rpmsg_close(&me->bus, &me->ept[i].e.ept));
	for (unsigned i = 0; i < me->bus.hash_len; i++)
		CHECK(!me->hash[i]);
	owner_acts(nothing);
}

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t len)
{
	if (len < 1)
		return 0;
	rig_init(NUM, LEN, LEN, d[0] & 2);
	me = d[0] & 1 ? &rig.host : &rig.remote;
	me->on_data = on_data;
	me->on_service = on_service;
	me->on_gone = on_gone;
	rig.ns = d[0] & 4;
	rig_up();
	for (d++, len--; len >= 8; d += 8, len -= 8) {
		if (d[0] & 1)
			peer_writes(d + 1);
		else
			owner_acts(d + 1);
	}
	finish();
	rig_free();
	return 0;
}
