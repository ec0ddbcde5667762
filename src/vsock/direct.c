// SPDX-License-Identifier: BSD-3-Clause
/* AF_VSOCK without copying: the engine's reservations and the socket's ring, lent to the
 * caller. */
#include <errno.h>
#include <string.h>

#include "af_vsock.h"

/* A handful for all sockets: they are meant to be short. */
#define RESERVATIONS 2
static struct reservation {
	struct amp_sock *s; /* NULL: free */
	struct amp_vsock_tx tx;
#if AMP_VQ_CHAINS
	struct amp_iov iov[AMP_VLINK_IOV];
#endif
} reserved[RESERVATIONS];

#if AMP_VQ_CHAINS
#define RESERVED_IOV(at) (at)->iov
#else
#define RESERVED_IOV(at) NULL
#endif

/* A driver's buffer is one piece. */
#define DIRECT_IOV (AMP_VQ_CHAINS ? 2u : 1u)

/* That of s, or a free one (NULL); NULL: there is none. */
static struct reservation *reservation_of(const struct amp_sock *s)
{
	struct reservation *at = reserved;

	AMP_FORGET(s); /* one copy of this will do */
	for (; at < reserved + RESERVATIONS; at++) {
		if (at->s == s)
			return at;
	}
	return NULL;
}

static void reservation_end(struct reservation *at)
{
	at->s->flags &= (uint16_t)~AMP_SF_RESERVED;
	at->s = NULL;
}

void amp_vsock_unreserve(struct amp_sock *s)
{
	struct reservation *at = reservation_of(s);

	amp_vsock_cancel(engine_of(s), conn_of(s), &at->tx);
	reservation_end(at);
}

static int direct_reserve(struct amp_sock *s, struct amp_direct_io *io)
{
	struct reservation *at = reservation_of(NULL);
	struct amp_vsock_tx *tx;
	int r = amp_vsock_may_send(s, NULL);
	uint32_t want = io->len > INT32_MAX ? INT32_MAX : (uint32_t)io->len;

	if (r)
		return r;
	if (!at)
		return -ENOBUFS;
	if (s->type != SOCK_STREAM) /* a message may not fit in one packet */
		return -EOPNOTSUPP;
	tx = &at->tx;
	amp_vq_buf_room(&tx->buf, RESERVED_IOV(at), AMP_VLINK_IOV);
	if (want) {
		want = amp_vsock_meter(s, want);
		if (!want)
			return -EAGAIN;
	}
	r = amp_vsock_reserve(engine_of(s), conn_of(s), want, tx);
	if (r < 0)
		return r == -ECONNRESET ? -EPIPE : r;
	at->s = s;
	s->flags |= AMP_SF_RESERVED;
	io->len = 0;
	for (io->cnt = 0; io->cnt < DIRECT_IOV && io->cnt < tx->iov_cnt; io->cnt++) {
		io->iov[io->cnt].iov_base = tx->iov[io->cnt].base;
		io->iov[io->cnt].iov_len = tx->iov[io->cnt].len;
		io->len += tx->iov[io->cnt].len;
	}
	return 0;
}

static int direct_commit(struct amp_sock *s, struct amp_direct_io *io)
{
	struct reservation *at;

	if (!(s->flags & AMP_SF_RESERVED))
		return s->flags & AMP_SF_RESET ? -EPIPE : -EINVAL;
	at = reservation_of(s);
	if (io->len > at->tx.len)
		return -EINVAL;
	if (io->len == 0) {
		amp_vsock_unreserve(s);
		return 0;
	}
	amp_vsock_commit(engine_of(s), conn_of(s), &at->tx, (uint32_t)io->len, 0);
	amp_vsock_metered(s);
	reservation_end(at);
	return 0;
}

static int direct_borrow(struct amp_sock *s, struct amp_direct_io *io)
{
	uint32_t used = amp_rxring_used(&s->rx);
	uint32_t off = s->rx.tail & (AMPSOCK_RING_LEN - 1u), run = AMPSOCK_RING_LEN - off;

	if (s->type != SOCK_STREAM)
		return -EOPNOTSUPP;
	if (!s->rx.buf || !(s->flags & (AMP_SF_CONNECTED | AMP_SF_RESET)))
		return -ENOTCONN;
	if (!used && !(s->flags & (AMP_SF_EOF | AMP_SF_RD_SHUT)))
		return -EAGAIN;
	if (io->len > used)
		io->len = used;
	if (run > io->len)
		run = (uint32_t)io->len;
	io->iov[0].iov_base = s->rx.buf + off;
	io->iov[0].iov_len = run;
	io->iov[1].iov_base = s->rx.buf;
	io->iov[1].iov_len = io->len - run;
	io->cnt = used == 0 ? 0 : io->len > run ? 2 : 1;
	return 0;
}

static int direct_return(struct amp_sock *s, struct amp_direct_io *io)
{
	if (!s->rx.buf || io->len > amp_rxring_used(&s->rx))
		return -EINVAL;
	s->rx.tail = (AMP_RING_IDX)(s->rx.tail + io->len);
	if (io->len)
		amp_vsock_consumed(engine_of(s), conn_of(s), (uint32_t)io->len);
	return 0;
}

int amp_vsock_direct(struct amp_sock *s, enum amp_direct op, struct amp_direct_io *io)
{
	switch (op) {
	case AMP_RESERVE:
		return direct_reserve(s, io);
	case AMP_COMMIT:
		return direct_commit(s, io);
	case AMP_BORROW:
		return direct_borrow(s, io);
	default:
		return direct_return(s, io);
	}
}
