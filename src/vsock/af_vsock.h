/* SPDX-License-Identifier: BSD-3-Clause */
/* The AF_VSOCK family's links, for the files of this room that bring one up. */
#ifndef AMP_AF_VSOCK_H
#define AMP_AF_VSOCK_H

#include "../socket/family.h"
#include "vsock.h"

#define AMP_VLINK_LOOP AMPSOCK_VSOCK_LINKS /* the in-core loop comes behind the links */
#define AMP_VLINK_CNT  (AMPSOCK_VSOCK_LINKS + AMPSOCK_LOOP)

/* Segments of a received chain: a driver's own buffers have one, a device takes any. */
#if AMPSOCK_VQ_DEVICE
#define AMP_VLINK_IOV 66
#else
#define AMP_VLINK_IOV 2
#endif

/* One link, whatever its transport: an engine and its memory. Everything under the stack lock. */
struct amp_vlink {
	struct amp_runner runner; /* first: found through it */
	struct amp_vsock vs;
	struct amp_vsock_conn *hash[AMPSOCK_HASH];
	struct amp_vsock_stray stray[4];
	struct amp_iov iov[AMP_VLINK_IOV];
	uint8_t index;
	bool up;
};

extern const struct amp_vsock_ops amp_vlink_ops;
extern struct amp_vlink *amp_vlinks[AMP_VLINK_CNT];

/* Set vs.in, vs.out, vs.local_cid, vs.peer_cid, vs.seqpacket first; then the link is up. */
void amp_vlink_up(struct amp_vlink *l);
/* Every connection on it is reset; amp_link_report(). Nothing when it is down already. */
void amp_vlink_down(struct amp_vlink *l);
/* The queues stop for a while, connections stay: set vs.in and vs.out to go on. */
void amp_vlink_pause(struct amp_vlink *l);
/* The engine's turn: ms until it wants another, -1; *broken: a ring was lied about. */
int32_t amp_vlink_turn(struct amp_vlink *l, uint32_t now_ms, bool *broken);
/* Send what is owed, on the way out of the stack. */
static inline void amp_vlink_flush(struct amp_vlink *l)
{
	if (l->vs.owed_head || l->vs.stray_cnt)
		(void)amp_vsock_run(&l->vs, 0);
}
void amp_vlink_stats(const struct amp_runner *r, struct amp_stats *st);

#endif /* AMP_AF_VSOCK_H */
