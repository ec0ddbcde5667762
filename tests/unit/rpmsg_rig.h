/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two ends of one rpmsg link in one process: a remote (device ends of both rings) and a host
 * (driver ends), each a bus with endpoints that remember what they were told. For the tests
 * and the fuzzer of the bus.
 */
#ifndef RPMSG_RIG_H
#define RPMSG_RIG_H

#include "af_rpmsg/rpmsg.h"
#include "ringpair.h"
#include "wire/le.h"

#define RIG_EPTS  8u
#define RIG_NAMES 64u
#define RIG_HELD  64u

struct rig_side;

struct rig_ept {
	struct amp_rpmsg_named e; /* first */
	bool leaving;		  /* closed, still to be withdrawn */
	unsigned got, gone;
	uint32_t last_src, last_len;
	uint32_t want_seq; /* the next message's, when it is a sequence */
	bool open;
	bool hold;
};

/* What the other side announced, in order. */
struct rig_name {
	char name[AMP_RPMSG_NAME_LEN];
	uint32_t addr;
	bool withdrawn;
};

struct rig_side {
	struct amp_rpmsg bus; /* first */
	struct amp_rpmsg_ept *hash[4];
	struct rig_ept ept[RIG_EPTS];
	struct rig_name seen[RIG_NAMES];
	unsigned seen_cnt;
	unsigned tx_ready;
	uint32_t held[RIG_HELD];
	unsigned held_cnt;
	void (*on_data)(struct rig_side *s, struct rig_ept *e, const struct amp_rpmsg_rx *rx);
	void (*on_gone)(struct rig_side *s, struct rig_ept *e);
	void (*on_service)(struct rig_side *s, const char *name, uint32_t addr, bool gone);
};

static struct {
	struct rig_side host, remote;
	struct ringpair up;   /* vring0: remote to host */
	struct ringpair down; /* vring1: host to remote */
	struct rp_opt up_opt, down_opt;
	bool ns;
} rig;

/* A message says who it is: sequence number, then bytes that follow from it. */
static inline void rig_fill(uint8_t *p, uint32_t len, uint32_t seq)
{
	uint8_t word[4];

	amp_put_le32(word, seq);
	for (uint32_t i = 0; i < len; i++)
		p[i] = i < 4 ? word[i] : (uint8_t)(seq * 7u + i);
}

static inline bool rig_is(const uint8_t *p, uint32_t len, uint32_t seq)
{
	uint8_t word[4];

	amp_put_le32(word, seq);
	for (uint32_t i = 0; i < len; i++)
		if (p[i] != (i < 4 ? word[i] : (uint8_t)(seq * 7u + i)))
			return false;
	return true;
}

static inline int rig_data(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept,
			   const struct amp_rpmsg_rx *rx)
{
	struct rig_side *s = (struct rig_side *)bus;
	struct rig_ept *e = (struct rig_ept *)ept;

	e->got++;
	e->last_src = rx->src;
	e->last_len = rx->len;
	if (s->on_data)
		s->on_data(s, e, rx);
	if (!e->hold || !amp_rpmsg_may_hold(bus) || s->held_cnt == RIG_HELD)
		return 0;
	s->held[s->held_cnt++] = rx->id;
	return 1;
}

static inline void rig_service(struct amp_rpmsg *bus, const char *name, uint32_t addr,
			       bool gone)
{
	struct rig_side *s = (struct rig_side *)bus;
	struct rig_name *n = &s->seen[s->seen_cnt % RIG_NAMES];

	s->seen_cnt++;
	memset(n->name, 0, sizeof(n->name));
	memcpy(n->name, name, strlen(name));
	n->addr = addr;
	n->withdrawn = gone;
	if (s->on_service)
		s->on_service(s, name, addr, gone);
}

static inline void rig_tx_ready(struct amp_rpmsg *bus)
{
	((struct rig_side *)bus)->tx_ready++;
}

static inline void rig_gone(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept)
{
	struct rig_side *s = (struct rig_side *)bus;
	struct rig_ept *e = (struct rig_ept *)ept;

	e->gone++;
	e->leaving = false;
	e->open = false;
	if (s->on_gone)
		s->on_gone(s, e);
}

static const struct amp_rpmsg_ops rig_ops = {
	.data = rig_data, .service = rig_service, .tx_ready = rig_tx_ready, .gone = rig_gone};

static inline void rig_side_init(struct rig_side *s)
{
	memset(s, 0, sizeof(*s));
	s->bus.ops = &rig_ops;
	s->bus.owner = s;
	s->bus.hash = s->hash;
	s->bus.hash_len = 4;
	amp_rpmsg_init(&s->bus);
}

/* The rings anew in the memory that they have, as a host does it between two lives. */
static inline int rig_ring_again(struct ringpair *rp, const struct rp_opt *o)
{
	struct amp_vq_setup s = {.role = AMP_VQ_DRIVER,
				 .dir = o->drv_dir,
				 .num = o->num,
				 .event_idx = o->event_idx,
				 .state = rp->state,
				 .desc = rp->mem,
				 .avail = rp->mem + rp->avail_off,
				 .used = rp->mem + rp->used_off};

	if (amp_vq_init(&rp->drv, &s) || rp_dev_init(rp, o, 0))
		return -1;
	return amp_vq_pool(&rp->drv, rp->pool, o->buf_len, o->cnt ? o->cnt : o->num);
}

static inline void rig_up(void)
{
	if (rig_ring_again(&rig.up, &rig.up_opt) || rig_ring_again(&rig.down, &rig.down_opt))
		abort();
	amp_rpmsg_up(&rig.remote.bus, &rig.down.dev, &rig.up.dev, rig.ns);
	amp_rpmsg_up(&rig.host.bus, &rig.up.drv, &rig.down.drv, rig.ns);
}

static inline void rig_down(void)
{
	amp_rpmsg_down(&rig.remote.bus);
	amp_rpmsg_down(&rig.host.bus);
}

/* Down, with rings of num entries and buffers of these sizes. */
static inline void rig_init(uint16_t num, uint32_t up_len, uint32_t down_len, bool event_idx)
{
	memset(&rig, 0, sizeof(rig));
	rig.ns = true;
	rig.up_opt = (struct rp_opt){
		.num = num, .drv_dir = AMP_VQ_IN, .event_idx = event_idx, .buf_len = up_len};
	rig.down_opt = rig.up_opt;
	rig.down_opt.drv_dir = AMP_VQ_OUT;
	rig.down_opt.buf_len = down_len;
	if (rp_init(&rig.up, &rig.up_opt) || rp_init(&rig.down, &rig.down_opt))
		abort();
	rig_side_init(&rig.host);
	rig_side_init(&rig.remote);
}

static inline void rig_free(void)
{
	rp_free(&rig.up);
	rp_free(&rig.down);
}

static inline struct rig_side *rig_other(const struct rig_side *s)
{
	return s == &rig.host ? &rig.remote : &rig.host;
}

/* Until neither side has anything more to do. */
static inline int rig_settle(void)
{
	/* twice: what is owed goes out behind what came in */
	for (unsigned idle = 0; idle < 2; idle++) {
		int a = amp_rpmsg_run(&rig.host.bus, 64);
		int b = amp_rpmsg_run(&rig.remote.bus, 64);

		if (a < 0 || b < 0)
			return -1;
		if (a || b)
			idle = 0;
	}
	return 0;
}

static inline int rig_send(struct rig_side *s, uint32_t src, uint32_t dst, uint32_t len,
			   uint32_t seq)
{
	struct amp_rpmsg_tx tx;
	int r = amp_rpmsg_reserve(&s->bus, &tx);

	if (r)
		return r;
	if (len > tx.room)
		abort();
	rig_fill(tx.data, len, seq);
	amp_rpmsg_commit(&s->bus, &tx, src, dst, len);
	return 0;
}

static inline void rig_open(struct rig_side *s, unsigned i, uint32_t addr, const char *name)
{
	if (amp_rpmsg_open_named(&s->bus, &s->ept[i].e, addr, name))
		abort();
	s->ept[i].open = true;
}

#endif /* RPMSG_RIG_H */
