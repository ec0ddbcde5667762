/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many packets a peer can still take: floor 2, for the owners of connections on both
 * sides (a guest's kernel behind the proxy, a host's kernel before firmware).
 *
 * Theory of operation
 *
 * Credit counts bytes (virtio 1.2, 5.10.6.3), but the peer's memory holds packets: newer
 * Linux kernels charge each with the struct around it as well and reset a connection whose
 * sum passes its buffer, 455 packets of one byte with the usual 256 KiB. So packets that
 * the peer has not read yet are charged like that here too, and when the sum is reached
 * the flow waits as it does for credit; meanwhile what comes gathers in the sender's
 * kernel, or waits with its caller, and goes out as few large packets.
 *
 * fwd_cnt tells bytes, not packets. Two counts make an upper bound of what is under way:
 * packets sent since `mark` and those before; when fwd_cnt reaches the mark the older
 * count is forgotten, the newer becomes the older and the mark moves to what is sent now.
 */
#ifndef AMP_METER_H
#define AMP_METER_H

#include "conn.h"

/* Linux: an empty packet's share, SKB_TRUESIZE(0). */
#define AMP_METER_PACKET 576u
/* Linux has 256 KiB; a small core's buffer is a ring of bytes, where a byte is a byte. */
#define AMP_METER_BUF_MIN 131072u
/* Linux before 6.7 does not volunteer that the little they had is read: asked again. */
#define AMP_METER_MS 20u

struct amp_meter {
	uint32_t mark;	/* tx_cnt when `newer` began */
	uint16_t older; /* both stay below buf_alloc / AMP_METER_PACKET, and that below 2^16 */
	uint16_t newer;
};

/* More than this of a peer's buffer is not counted on, or the counts above were too short. */
#define AMP_METER_BUF_MAX (32u << 20)

/* cnt packets were sent. */
static inline void amp_meter_sent(struct amp_meter *m, uint32_t cnt)
{
	m->newer = (uint16_t)(m->newer + cnt);
}

/*
 * The largest payload of one more packet, 0: wait. `open` packets of `len` bytes in all are
 * reserved and not yet sent.
 */
static inline uint32_t amp_meter_room(struct amp_meter *m, const struct amp_credit *c,
				      uint32_t open, uint32_t len)
{
	uint32_t in_flight = c->tx_cnt - c->peer_fwd_cnt, used;
	uint32_t alloc =
		c->peer_buf_alloc < AMP_METER_BUF_MAX ? c->peer_buf_alloc : AMP_METER_BUF_MAX;

	if (in_flight == 0) {
		m->older = m->newer = 0;
		m->mark = c->tx_cnt;
	} else if ((int32_t)(c->peer_fwd_cnt - m->mark) >= 0) {
		m->older = m->newer;
		m->newer = 0;
		m->mark = c->tx_cnt;
	}
	/* whoever has nothing unread takes a whole message, in however many pieces */
	if (in_flight == 0 || alloc < AMP_METER_BUF_MIN)
		return UINT32_MAX;
	if (in_flight >= alloc)
		return 0;
	used = in_flight + len + AMP_METER_PACKET * (m->older + m->newer + open + 1u);
	return used < alloc ? alloc - used : 0;
}

#endif /* AMP_METER_H */
