// SPDX-License-Identifier: BSD-3-Clause
/*
 * Receive rings: bytes, or whole messages.
 *
 * Theory of operation
 *
 * A message lies in the ring as chunks, each a byte (length, and what it ends) and then its
 * bytes: it is cut where it arrived in pieces, and else into as few as the length's bits allow.
 * head stays in front of one that is not whole, s->rx_part says how much of it is there: so
 * nobody reads half a message. A chunk's byte never takes more than the bytes behind it do (it
 * has one at least: a peer that sends empty messages, or pieces, runs into -ENOBUFS), so a peer that
 * keeps to a credit of AMP_RING_MSG_ALLOC, half the ring, always fits.
 */
#include <errno.h>
#include <string.h>

#include "family.h"

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

	memcpy(ring_at(r, pos), data, run);
	memcpy(r->buf, (const uint8_t *)data + run, len - run);
}

void amp_rxring_peek(const struct amp_rxring *r, uint32_t pos, void *to, size_t len)
{
	size_t run = run_len(pos, len);

	memcpy(to, ring_at(r, pos), run);
	memcpy((uint8_t *)to + run, r->buf, len - run);
}

size_t amp_rxring_write(struct amp_rxring *r, const void *data, size_t len)
{
	if (len > amp_rxring_room(r))
		len = amp_rxring_room(r);
	ring_put(r, r->head, data, len);
	r->head = (AMP_RING_IDX)(r->head + len);
	return len;
}

#if AMPSOCK_FAST
size_t amp_sock_rx(struct amp_sock *s, const void *data, size_t len, size_t *direct)
{
	struct amp_rx_want *w = amp_sock_want(s);
	struct amp_rxring *r = &s->rx;
	size_t n = 0;

	/* in order: only when nothing older lies in the ring */
	if (w && r->head == r->tail) {
		n = (size_t)(w->end - w->to);
		if (n > len)
			n = len;
		memcpy(w->to, data, n);
		w->to += n;
	}
	*direct = n;
	return n == len ? n : n + amp_rxring_write(r, (const uint8_t *)data + n, len - n);
}
#endif

size_t amp_rxring_read(const struct amp_rxring *r, uint32_t pos, const struct amp_msg *m,
		       size_t len)
{
	const struct iovec *iov = m->iov;
	size_t left = (AMP_RING_IDX)(r->head - pos), skip = m->done;

	if (left > len)
		left = len;
	len = left;
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
		amp_rxring_peek(r, pos, (uint8_t *)iov->iov_base + skip, n);
		pos += (uint32_t)n;
		left -= n;
		skip = 0;
	}
	return len - left;
}

/* ---- messages ---- */

/*
 * A chunk's first byte: AMP_RX_LAST, AMP_RX_EOR, and its length: up to 31, or so many times 16. In a
 * small build, which has less code for more chunks, up to 63.
 */
#if AMPSOCK_FAST
#define CHUNK_MAX   31u
#define CHUNK_SHIFT 3
#define CHUNK_UNIT  4u /* the bit that says 16, and 16 as a shift */
#else
#define CHUNK_MAX   63u
#define CHUNK_SHIFT 2
#define CHUNK_UNIT  0u
#endif

int amp_rxring_msg_append(struct amp_sock *s, const void *data, size_t len, unsigned how)
{
	struct amp_rxring *r = &s->rx;
	uint32_t pos = (uint32_t)r->head + s->rx_part;
	const uint8_t *from = data;
	unsigned h; /* the chunk's first byte */
	size_t n;

	do {
		h = len > CHUNK_MAX ? CHUNK_UNIT : 0;
		n = len >> h;
		if (n > CHUNK_MAX)
			n = CHUNK_MAX;
		h |= (unsigned)n << CHUNK_SHIFT;
		n <<= h & CHUNK_UNIT;
		if ((AMP_RING_IDX)(pos - r->tail) + n >= AMPSOCK_RING_LEN)
			return -ENOBUFS;
		len -= n;
		if (!len)
			h |= how;
		*ring_at(r, pos++) = (uint8_t)h;
		ring_put(r, pos, from, n);
		pos += (uint32_t)n;
		from += n;
	} while (len);
	if (how & AMP_RX_LAST)
		r->head = (AMP_RING_IDX)pos;
	s->rx_part = (AMP_RING_IDX)(pos - r->head);
	return 0;
}

ssize_t amp_rxring_msg_read(struct amp_rxring *r, struct amp_msg *m, bool peek, size_t *full)
{
	uint32_t pos = r->tail;
	size_t all = 0, n;
	unsigned h;

	if (r->head == pos)
		return -EAGAIN;
	do {
		h = *ring_at(r, pos++);
		n = (size_t)h >> CHUNK_SHIFT << (h & CHUNK_UNIT);
		m->done += amp_rxring_read(r, pos, m, n);
		all += n;
		pos += (uint32_t)n;
	} while (!(h & AMP_RX_LAST));
	n = m->done;
	m->done = 0; /* the caller's to count */
	m->flags = h & AMP_RX_EOR ? MSG_EOR : 0;
	if (n < all)
		m->flags |= MSG_TRUNC;
	if (!peek)
		r->tail = (AMP_RING_IDX)pos;
	*full = all;
	return (ssize_t)n;
}
