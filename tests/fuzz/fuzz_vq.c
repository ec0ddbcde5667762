// SPDX-License-Identifier: BSD-3-Clause
// libFuzzer: one end of a split ring, the other end is the input.
// build: src/virtio/vq_split.c -DAMPSOCK_VQ_DEVICE=1
/*
 * Byte 0 and 1 choose role, direction, size and features. Then operations: what the owner
 * does (get, put, unget, kick, arm) or a write of the peer: offset (u16) and value (u8)
 * somewhere in the ring memory. Descriptor addresses are folded onto the two mappings, so
 * that chains get anywhere.
 */
#include <stdint.h>
#include <stdio.h>

#include "../unit/ringpair.h"

#define CHECK(x)                                                                \
	do {                                                                    \
		if (!(x)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                               \
	} while (0)

/* Some of the peer's writes as it would mean them, the rest as they come. */
static void peer_writes(struct ringpair *rp, const uint8_t *d, bool driver)
{
	uint16_t slot = (uint16_t)(d[0] & (rp->num - 1u));
	struct vring_desc *desc = &rp_desc(rp)[slot];

	switch (d[1] & 3) {
	case 0:
		rp->mem[(d[0] | (unsigned)d[2] << 8) % rp->mem_len] = d[3];
		break;
	case 1:
		if (driver) {
			rp_used(rp)->ring[slot].id = d[2];
			rp_used(rp)->ring[slot].len = d[3];
		} else {
			desc->addr = 0x1000u + (uint64_t)d[2] * 8;
			desc->len = d[3];
			desc->flags = d[1] >> 2 & 7;
			desc->next = d[1] >> 5;
		}
		break;
	case 2:
		rp_avail(rp)->ring[slot] = d[2];
		break;
	default:
		if (driver)
			rp_used(rp)->idx++;
		else
			rp_avail(rp)->idx++;
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t len)
{
	static uint8_t low[512], high[512];
	struct ringpair rp;
	struct rp_opt o;
	struct amp_iov iov[4];
	uint16_t held[16];
	unsigned held_cnt = 0;
	struct amp_vq *vq;
	bool driver;

	if (len < 2)
		return 0;
	driver = d[0] & 1;
	o = (struct rp_opt){.num = (uint16_t)(1u << (d[1] & 3)),
			    .drv_dir = d[0] >> 1 & 1,
			    .event_idx = d[0] & 4,
			    .indirect = d[0] & 8,
			    .buf_len = driver ? 64 : 0};
	CHECK(rp_init(&rp, &o) == 0);
	if (!driver) {
		rp.map[0] = (struct rp_map){0x1000, 512, low};
		rp.map[1] = (struct rp_map){0x1200, 512, high};
		rp.map[2] = (struct rp_map){0x1400, (uint32_t)rp.avail_off, rp.mem};
	}
	vq = driver ? &rp.drv : &rp.dev;
	for (d += 2, len -= 2; len >= 5; d += 5, len -= 5) {
		struct amp_vq_buf b = {.iov = iov, .iov_max = 4};

		switch (d[0] % 8) {
		case 0:
			if (held_cnt == 16 || amp_vq_get(vq, &b) <= 0)
				break;
			CHECK(b.id < o.num && b.iov_cnt <= b.iov_max);
			CHECK(rp_in_maps(&rp, &b));
			for (unsigned i = 0; driver && i < held_cnt; i++)
				CHECK(held[i] != b.id);
			held[held_cnt++] = b.id;
			CHECK(held_cnt <= o.num);
			break;
		case 1:
			if (held_cnt)
				amp_vq_put(vq, held[--held_cnt], 4);
			break;
		case 2:
			if (held_cnt)
				amp_vq_unget(vq, held[--held_cnt]);
			break;
		case 3:
			(void)amp_vq_kick_due(vq);
			if (d[1] & 1)
				(void)amp_vq_arm(vq);
			else
				amp_vq_disarm(vq);
			CHECK(amp_vq_avail(vq) <= 2 * o.num);
			break;
		default:
			peer_writes(&rp, d + 1, driver);
			break;
		}
	}
	rp_free(&rp);
	return 0;
}
