// SPDX-License-Identifier: BSD-3-Clause
/*
 * AF_RPMSG without copying. Streams: as AF_VSOCK's. SOCK_SEQPACKET: a message is written into
 * the transport's buffer, and read out of the socket's ring, where the peer does not reach it.
 */
#include <errno.h>
#include <string.h>

#include "af_rpmsg.h"

#if AMPSOCK_RPMSG

static int seq_reserve(struct amp_sock *s, struct amp_direct_io *io)
{
	struct amp_rsock *p = amp_rsock(s);
	int r = amp_vsock_may_send(s, NULL);

	if (r)
		return r;
	/* a message is never split */
	r = amp_rpmsg_reserve_for(&amp_rsock_link(s)->bus, &p->tx, io->len, false);
	if (r)
		return r;
	s->flags |= AMP_SF_RESERVED;
	p->tx.room = (uint32_t)io->len;
	io->iov[0].iov_base = p->tx.data;
	io->iov[0].iov_len = io->len;
	io->cnt = 1;
	return 0;
}

void amp_rpmsg_unreserve(struct amp_sock *s)
{
	amp_rpmsg_cancel(&amp_rsock_link(s)->bus, &amp_rsock(s)->tx);
	s->flags &= (uint16_t)~AMP_SF_RESERVED;
	amp_runner_due(&amp_rsock_link(s)->l.runner);
}

static int seq_commit(struct amp_sock *s, struct amp_direct_io *io)
{
	struct amp_rsock *p = amp_rsock(s);
	struct amp_rlink *l;

	if (!(s->flags & AMP_SF_RESERVED))
		return s->flags & AMP_SF_RESET ? -EPIPE : -EINVAL;
	if (io->len > p->tx.room)
		return -EINVAL;
	if (io->len == 0 || (s->flags & (AMP_SF_HUP | AMP_SF_WR_SHUT))) {
		amp_rpmsg_unreserve(s);
		return io->len ? -EPIPE : 0;
	}
	l = amp_rsock_link(s);
	amp_rpmsg_commit(&l->bus, &p->tx, p->end[amp_rlink_index(l)].ept.addr, p->peer,
			 (uint32_t)io->len);
	s->flags &= (uint16_t)~AMP_SF_RESERVED;
	amp_runner_due(&l->l.runner);
	return 0;
}

/* A whole message, however little was asked for: h, the oldest. */
static inline void seq_borrow(struct amp_sock *s, struct amp_direct_io *io,
			      const struct amp_rraw_hdr *h)
{
	size_t off = (s->rx.tail + sizeof(*h)) & (AMPSOCK_RING_LEN - 1u);
	size_t run = AMPSOCK_RING_LEN - off;

	if (run > h->len)
		run = h->len;
	io->len = h->len;
	io->iov[0].iov_base = s->rx.buf + off;
	io->iov[0].iov_len = run;
	io->iov[1].iov_base = s->rx.buf;
	io->iov[1].iov_len = h->len - run;
	io->cnt = h->len > run ? 2 : 1;
}

/* AMP_BORROW, or the oldest message goes back, however much of it was looked at. */
static inline int seq_received(struct amp_sock *s, struct amp_direct_io *io, bool borrow)
{
	struct amp_rraw_hdr h;

	if (borrow) {
		if (!(s->flags & (AMP_SF_CONNECTED | AMP_SF_RESET)))
			return -ENOTCONN;
		io->len = 0;
		io->cnt = 0;
	}
	if (!amp_rxring_used(&s->rx)) {
		if (!borrow)
			return -EINVAL;
		return s->flags & (AMP_SF_EOF | AMP_SF_RD_SHUT) ? 0 : -EAGAIN;
	}
	amp_rxring_peek(&s->rx, s->rx.tail, &h, sizeof(h));
	if (borrow) {
		seq_borrow(s, io, &h);
		return 0;
	}
	if (io->len > h.len)
		return -EINVAL;
	s->rx.tail = (AMP_RING_IDX)(s->rx.tail + sizeof(h) + h.len);
	return 0;
}

int amp_rpmsg_direct(struct amp_sock *s, enum amp_direct op, struct amp_direct_io *io)
{
	if (s->type == SOCK_STREAM)
		return amp_vsock_direct(s, op, io);
	if (s->type == SOCK_DGRAM)
		return -EOPNOTSUPP;
	if (op == AMP_RESERVE)
		return seq_reserve(s, io);
	if (op == AMP_COMMIT)
		return seq_commit(s, io);
	return seq_received(s, io, op == AMP_BORROW);
}

#endif /* AMPSOCK_RPMSG */
