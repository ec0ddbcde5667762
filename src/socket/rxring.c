// SPDX-License-Identifier: BSD-3-Clause
/*
 * Receive rings: bytes, or whole messages.
 *
 * Theory of operation
 *
 * A message lies in the ring behind a header. Up to 63 bytes it is one byte long, EOR
 * << 6 | length; else four, 0x80 | EOR << 6 and then the length in 24 bits, little-endian.
 * A message that arrives in pieces grows behind its header, which is of the form that its
 * length needs: when that is the long one, what has come before moves up. head stays in
 * front of it until the last piece, so that nobody reads half a message. So a header
 * never takes more than its message does (a message is at least one byte: a peer that sends
 * empty ones runs into -ENOBUFS), and a peer that keeps to a credit of AMP_RING_MSG_ALLOC,
 * half the ring, always fits.
 */
#include <errno.h>
#include <string.h>

#include "../wire/le.h"
#include "family.h"

#define SHORT_MAX 63u
#define LONG_LEN  4u
#define H_LONG	  0x80u
#define H_EOR	  0x40u

_Static_assert(AMPSOCK_RING_LEN <= 1 << 23, "the long header has 24 bits");

static uint8_t *ring_at(const struct amp_rxring *r, uint32_t pos)
{
	return r->buf + (pos & (AMPSOCK_RING_LEN - 1u));
}

/* Bytes from pos to the end of the buffer, at most len. */
static size_t run_len(uint32_t pos, size_t len)
{
	size_t run = AMPSOCK_RING_LEN - (pos & (AMPSOCK_RING_LEN - 1u));

	return run < len ? run : len;
}

static void ring_put(const struct amp_rxring *r, uint32_t pos, const void *data, size_t len)
{
	size_t run = run_len(pos, len);

	if (run)
		memcpy(ring_at(r, pos), data, run);
	if (run < len)
		memcpy(r->buf, (const uint8_t *)data + run, len - run);
}

void amp_rxring_peek(const struct amp_rxring *r, uint32_t pos, void *to, size_t len)
{
	size_t run = run_len(pos, len);

	memcpy(to, ring_at(r, pos), run);
	memcpy((uint8_t *)to + run, r->buf, len - run);
}

size_t amp_msg_put(const struct amp_msg *m, size_t skip, const void *data, size_t len)
{
	const struct iovec *iov = m->iov;
	const uint8_t *from = data;
	size_t left = len;

	if (!iov)
		return len;
	for (size_t cnt = m->iov_cnt; cnt && left; iov++, cnt--) {
		size_t n = iov->iov_len;

		if (skip >= n) {
			skip -= n;
			continue;
		}
		n -= skip;
		if (n > left)
			n = left;
		memcpy((uint8_t *)iov->iov_base + skip, from, n);
		from += n;
		left -= n;
		skip = 0;
	}
	return len - left;
}

size_t amp_sock_rx(struct amp_sock *s, const void *data, size_t len, size_t *direct)
{
	struct amp_rx_want *w = amp_sock_want(s);
	struct amp_rxring *r = &s->rx;
	const uint8_t *from = data;
	size_t n = 0;

	/* in order: only when nothing older lies in the ring */
	if (w && r->head == r->tail) {
		n = (size_t)(w->end - w->to);
		if (n > len)
			n = len;
		memcpy(w->to, from, n);
		w->to += n;
	}
	*direct = n;
	if (n == len)
		return n;
	from += n;
	len -= n;
	if (len > amp_rxring_room(r))
		len = amp_rxring_room(r);
	if (len) {
		ring_put(r, r->head, from, len);
		r->head = (AMP_RING_IDX)(r->head + len);
	}
	return n + len;
}

size_t amp_rxring_read(const struct amp_rxring *r, uint32_t pos, const struct amp_msg *m,
		       size_t len)
{
	size_t n = (AMP_RING_IDX)(r->head - pos), run;

	if (len > n)
		len = n;
	run = run_len(pos, len);
	n = amp_msg_put(m, m->done, ring_at(r, pos), run);
	if (n == run && run < len)
		n += amp_msg_put(m, m->done + n, r->buf, len - run);
	return n;
}

/* ---- messages ---- */

/* Length of the message at pos, and EOR in bit 31. */
#define LEN_EOR (1u << 31)
static AMP_INLINED uint32_t msg_len(const struct amp_rxring *r, uint32_t pos)
{
	uint8_t raw[LONG_LEN];
	uint32_t h, eor;

	amp_rxring_peek(r, pos, raw, LONG_LEN); /* of a short one what is behind it, too */
	h = amp_le32(raw);
	eor = h & H_EOR ? LEN_EOR : 0;
	return eor | (h & H_LONG ? h >> 8 : h & SHORT_MAX);
}

static inline uint32_t hdr_len(uint32_t len)
{
	return len > SHORT_MAX ? LONG_LEN : 1;
}

int amp_rxring_msg_append(struct amp_rxring *r, const void *data, size_t len, unsigned how)
{
	uint32_t room = amp_rxring_room(r), have = 0, all, hdr;
	uint32_t mark = how & AMP_RX_EOR ? H_EOR : 0;
	uint8_t h[LONG_LEN];

	if (!(how & AMP_RX_FIRST))
		have = msg_len(r, r->head) & ~LEN_EOR;
	all = have + (uint32_t)len;
	hdr = hdr_len(all);
	if (len > room || hdr + all > room)
		return -ENOBUFS;
	ring_put(r, r->head + hdr + have, data, len);
	if (hdr > hdr_len(have)) {
		while (have--)
			*ring_at(r, r->head + LONG_LEN + have) =
				*ring_at(r, r->head + 1 + have);
	}
	amp_put_le32(h, hdr == 1 ? mark | all : H_LONG | mark | all << 8);
	ring_put(r, r->head, h, hdr);
	if (how & AMP_RX_LAST)
		r->head = (AMP_RING_IDX)(r->head + hdr + all);
	return 0;
}

ssize_t amp_rxring_msg_read(struct amp_rxring *r, struct amp_msg *m, bool peek, size_t *full)
{
	uint32_t hdr, len;
	size_t n;

	if (r->head == r->tail)
		return -EAGAIN;
	len = msg_len(r, r->tail);
	if (len & LEN_EOR)
		m->flags |= MSG_EOR;
	len &= ~LEN_EOR;
	hdr = hdr_len(len);
	*full = len;
	n = amp_rxring_read(r, r->tail + hdr, m, len);
	if (n < len)
		m->flags |= MSG_TRUNC;
	if (!peek)
		r->tail = (AMP_RING_IDX)(r->tail + hdr + len);
	return (ssize_t)n;
}
