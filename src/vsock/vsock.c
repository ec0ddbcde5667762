// SPDX-License-Identifier: BSD-3-Clause
/*
 * The virtio-vsock engine: packets, connections, credit (virtio 1.2, 5.10).
 *
 * Theory of operation
 *
 * amp_vsock_run() is the heart: it takes packets off the in queue, one at a time, and
 * then sends what is owed. Nothing else calls the owner's hooks (but for a loop, whose
 * commit delivers at once).
 *
 * In. The 44-byte header is copied out of shared memory once and only the copy is
 * looked at. The payload is handed to the owner in place; it keeps, writes or holds it.
 *
 * Owed. A packet that the engine must send by itself (REQUEST, RESPONSE, credit,
 * SHUTDOWN, RST) is a bit in the connection, so memory for it is there by
 * construction. Connections with such bits form a list, served first come first
 * served until the out queue is empty; the rest stays owed. So receiving never waits
 * for sending, and a flood of REQUESTs costs connections, not memory. RSTs to
 * connections that we do not know have no struct of the owner's to live in: they go to a
 * short array, or, in a driver's engine, one at a time to a connection of its own that is
 * DEAD from the beginning. While that is full the in queue is left alone (5.10.6.1.2, the
 * one case where the spec lets receiving stop). vsock_out.c sends.
 *
 * End. Every connection ends the same way: it becomes DEAD, goes on the owed list
 * (with or without an RST to send), and when the list is served it leaves the hash and
 * the owner gets EV_GONE, from amp_vsock_run() and from nowhere else, so that no call
 * of the owner pulls the struct away under its feet. Until then packets for it fall on
 * the dead struct and are ignored, which also keeps the port pair from being reused
 * while its RST is still to be sent.
 *
 * The usual way. Data on an open connection with room for it is what nearly every packet
 * is: packet() and amp_vsock_send() go straight through for it (AMPSOCK_FAST), by one look
 * at the word where everything out of the ordinary would show. All the rest is
 * vsock_conn.c's, which does the usual packet, too, only not as fast.
 *
 * CID 1. A connection within this engine (loop) has no queue: what is sent is delivered to the
 * other end's hook in the same call, and control packets when the owed list is served
 * (xport_loop.c).
 */
#include <errno.h>
#include <string.h>

#include "../port/port.h"
#include "../wire/le.h"
#include "vsock_fast.h"
#include "vsock_inner.h"

/* ---- in ---- */

/* The first len bytes of a chain into dst; iov moves on behind them. */
static void take(struct amp_iov **iov, uint16_t *cnt, void *dst, size_t len)
{
	uint8_t *to = dst;

	while (len) {
		size_t part = (*iov)->len < len ? (*iov)->len : len;

		memcpy(to, (*iov)->base, part);
		to += part;
		len -= part;
		(*iov)->base = (uint8_t *)(*iov)->base + part;
		(*iov)->len -= part;
		if ((*iov)->len == 0) {
			(*iov)++;
			(*cnt)--;
		}
	}
}

/* What is wrong with a header, but for its type, in words; NULL: nothing. */
static const char *header_fault(const struct amp_vsock *vs, const struct amp_vsock_hdr *h,
				uint32_t len)
{
	uint32_t src = (uint32_t)h->src_cid;

	if (h->len > len)
		return "length beyond the buffer (virtio 5.10.6)";
	if ((h->src_cid | h->dst_cid) >> 32)
		return "upper half of a CID in use (virtio 5.10.4)";
	if (src == AMP_VSOCK_CID_LOCAL)
		return "CID 1 from outside (virtio 5.10.4)";
	if (amp_vsock_guest(vs) ? src != amp_vsock_guest(vs)
				: (uint32_t)h->dst_cid != vs->local_cid)
		return "foreign CID (virtio 5.10.6)";
	return NULL;
}

/*
 * A packet with a good header, but perhaps for its type, to its connection, to who may be asked,
 * or there is an RST for it.
 */
static inline void find_owner(struct amp_vsock *vs, const struct amp_vsock_hdr *h,
			      struct amp_vsock_rx *rx)
{
	struct amp_vsock_ends ends = {amp_vsock_at((uint32_t)h->dst_cid, h->dst_port),
				      amp_vsock_at((uint32_t)h->src_cid, h->src_port)};
	struct amp_vsock_conn *c;
	unsigned type = h->type;

	/* a known connection pays below, an unknown one gets RST */
	if (!amp_vsock_type_good(type) || h->op - 1u >= AMP_VSOCK_OP_CREDIT_REQUEST)
		vs->stats.rx_bad++;
	AMP_FORGET(type);
	c = amp_vsock_find(vs, &ends, type); /* none is of a type that is not good */
	if (c) {
		if (AMPSOCK_FAST && OPS(vs)->piece)
			SET_RECENT(vs, c);
		amp_vsock_input_for(vs, c, &h->say, rx);
		return;
	}
	if (!amp_vsock_type_good(type))
		type = AMP_VSOCK_STREAM; /* 5.10.6.4: the RST's */
	else if (asked(vs, h, &ends))
		return;
	if (h->op != AMP_VSOCK_OP_RST) /* an RST is never answered */
		stray_rst(vs, &ends, type);
}

/*
 * Any packet: its header is checked, and it goes to its connection. What breaks a rule is
 * counted, explained, answered where the spec wants that.
 */
static inline void look_up(struct amp_vsock *vs, const struct amp_vsock_hdr *h,
			   struct amp_vsock_rx *rx, uint32_t len)
{
	const char *fault = header_fault(vs, h, len);

	if (fault) {
		vs->stats.rx_bad++;
		blame(vs, fault);
		return;
	}
	if (OWNERS)
		rx->iov_cnt = trim((struct amp_iov *)(uintptr_t)rx->iov, rx->iov_cnt, h->len);
	else
		((struct amp_iov *)(uintptr_t)rx->iov)->len = h->len;
	if (CHAINS && amp_vsock_type_good(h->type) && h->dst_cid != vs->local_cid &&
	    OPS(vs)->foreign && OPS(vs)->foreign(vs, h, rx))
		return;
	find_owner(vs, h, rx);
}

/* One packet, whose buffer goes back unless the owner holds it. Not inline: its room on the stack is
 * not that of what is sent. */
static __attribute__((noinline)) void packet(struct amp_vsock *vs, struct amp_vq_buf *buf)
{
	uint32_t len = buf->len - AMP_VSOCK_HDR_LEN;
	struct amp_iov *iov = buf->iov;
	struct amp_vsock_hdr h;
	struct amp_vsock_rx rx;

	if (OWNERS)
		rx.held = false;
	vs->stats.rx_packets++;
	if (buf->len < AMP_VSOCK_HDR_LEN) {
		vs->stats.rx_bad++;
		blame(vs, "packet shorter than its header (virtio 5.10.6)");
		goto done;
	}
	if (!CHAINS || iov->len > AMP_VSOCK_HDR_LEN) {
		amp_copy(&h, iov->base, AMP_VSOCK_HDR_LEN);
		iov->base = (uint8_t *)iov->base + AMP_VSOCK_HDR_LEN;
		if (OWNERS) /* else look_up() sets it */
			iov->len -= AMP_VSOCK_HDR_LEN;
	} else {
		take(&iov, &buf->iov_cnt, &h, AMP_VSOCK_HDR_LEN);
	}
	__atomic_signal_fence(__ATOMIC_ACQUIRE); /* the copy, not the original again */
	rx.iov = iov;
	if (OWNERS) { /* else it is one piece, and nobody holds it */
		rx.iov_cnt = buf->iov_cnt;
		rx.id = buf->id;
	}
	rx.len = h.len;
	rx.flags = h.flags;
	if (TAPPED(vs))
		TAP(vs)(vs, false, &h, iov, buf->iov_cnt, h.len < len ? h.len : len);
	look_up(vs, &h, &rx, len);
done:
	if (!OWNERS || !rx.held)
		amp_vq_put(vs->in, buf->id, 0);
}

/* ---- the door ---- */

/* What is owed goes out, who waited for a buffer hears of one. False: a ring is broken. */
static RARE bool settle(struct amp_vsock *vs)
{
	(void)amp_vsock_flush(vs);
	if ((QUEUES && vs->tx_starved && tx_ready(vs, PATH && !PATHS && vs->path)) ||
	    (PATHS && vs->path_starved && path_ready(vs))) {
		if (QUEUES)
			vs->tx_starved = false;
		if (PATHS)
			vs->path_starved = false;
		tell_tx_ready(vs);
	}
	if (!QUEUES || PLAIN)
		return true;
	/* it may have been set up anew since */
	vs->torn = (vs->in && vs->in->broken) || (vs->out && vs->out->broken);
	return !vs->torn;
}

int amp_vsock_run(struct amp_vsock *vs, unsigned budget)
{
	struct amp_vq_buf buf;
	unsigned n = 0;
	int r = 0;

	if (QUEUES && !PLAIN)
		vs->enough = false;
	while (QUEUES && n < budget && vs->in && (PLAIN || !vs->enough)) {
		if (!amp_vsock_strays_room(vs))
			break;
		if (AMPSOCK_FAST && amp_vsock_packet_fast(vs, OPS(vs)->piece)) {
			n++;
			continue;
		}
		ROOM_FOR(vs, &buf);
		r = amp_vq_get(vs->in, &buf);
		if (r <= 0)
			break;
		n++;
		packet(vs, &buf);
	}
	if (!PLAIN && r < 0)
		vs->torn = true;
	r = amp_vsock_owed(vs);
	return !PLAIN && r < 0 ? r : (int)n;
}

int amp_vsock_owed(struct amp_vsock *vs)
{
	return (PLAIN || vs->owed_head || vs->to_do) && !settle(vs) ? -EBADMSG : 0;
}

bool amp_vsock_arm(struct amp_vsock *vs)
{
	return vsock_arm(vs);
}

static bool moved(const struct amp_vq *vq)
{
	return ring_rd16(ring_peer_idx(vq)) != vq->get_idx;
}

bool amp_vsock_news(const struct amp_vsock *vs)
{
	return (vs->in && !strays_full(vs) && moved(vs->in)) ||
	       (vs->out && vs->tx_starved && moved(vs->out));
}

void amp_vsock_release(struct amp_vsock *vs, uint16_t id)
{
	if (vs->in)
		amp_vq_put(vs->in, id, 0);
}
