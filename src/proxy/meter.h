/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many packets a guest can still take.
 *
 * Theory of operation
 *
 * Credit counts bytes (virtio 1.2, 5.10.6.3), but a guest's memory holds packets: newer
 * Linux guests charge each with the struct around it as well and reset a connection whose
 * sum passes its buffer, 455 packets of one byte with the usual 256 KiB. So packets that
 * the guest has not read yet are charged like that here too, and when the sum is reached
 * the flow waits as it does for credit; meanwhile what comes gathers in the kernel and
 * goes out as few large packets.
 *
 * fwd_cnt tells bytes, not packets. Two counts make an upper bound of what is under way:
 * packets sent since `mark` and those before; when fwd_cnt reaches the mark the older
 * count is forgotten, the newer becomes the older and the mark moves to what is sent now.
 */
#ifndef AMP_PROXY_METER_H
#define AMP_PROXY_METER_H

#include "../conn/conn.h"

/* Linux: an empty packet's share, SKB_TRUESIZE(0). */
#define AMP_METER_PACKET 576u
/* Linux has 256 KiB; a small core's buffer is a ring of bytes, where a byte is a byte. */
#define AMP_METER_BUF_MIN 131072u
/* Guests before Linux 6.7 do not volunteer that the little they had is read: asked again. */
#define AMP_METER_MS 20u

struct amp_meter {
	uint32_t mark; /* tx_cnt when `newer` began */
	uint32_t older;
	uint32_t newer;
};

/* cnt packets were sent. */
static inline void amp_meter_sent(struct amp_meter *m, uint32_t cnt)
{
	m->newer += cnt;
}

/*
 * The largest payload of one more packet, 0: wait. `open` packets of `len` bytes in all are
 * reserved and not yet sent.
 */
static inline uint32_t amp_meter_room(struct amp_meter *m, const struct amp_credit *c,
				      uint32_t open, uint32_t len)
{
	uint32_t in_flight = c->tx_cnt - c->peer_fwd_cnt;
	uint64_t used;

	if (in_flight == 0) {
		m->older = m->newer = 0;
		m->mark = c->tx_cnt;
	} else if ((int32_t)(c->peer_fwd_cnt - m->mark) >= 0) {
		m->older = m->newer;
		m->newer = 0;
		m->mark = c->tx_cnt;
	}
	/* whoever has nothing unread takes a whole message, in however many pieces */
	if (in_flight == 0 || c->peer_buf_alloc < AMP_METER_BUF_MIN)
		return UINT32_MAX;
	used = (uint64_t)in_flight + len +
	       (uint64_t)AMP_METER_PACKET * (m->older + m->newer + open + 1u);
	return used < c->peer_buf_alloc ? c->peer_buf_alloc - (uint32_t)used : 0;
}

#endif /* AMP_PROXY_METER_H */
