/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UDP: datagrams as frames on the socket's carrier (protocol.md 7).
 *
 * Theory of operation: a frame goes whole or not at all. Before its first byte the
 * carrier's window must have room for its last, so a socket that may not block can say
 * EAGAIN; after the first byte api.c does not leave before the last, whatever the socket's
 * flags, and another thread that wants to send meanwhile waits (off is 1). Received frames stay
 * in the carrier's ring, which is as large as the largest frame that we told the proxy;
 * so one that is longer is a lie.
 */
#include <errno.h>
#include <string.h>

#include "ampsock.h"
#include "inet.h"

_Static_assert(AMP_OFF_UDP_LEN < AMP_CARRY_LEAST, "progress is more than a header");

/* Where the fields of a frame are (protocol.md 7). */
#define KIND 2
#define ARG  4
#define ADDR 8

/* Without threads a call is alone until it returns. */
#define MID_FRAME(i) (AMP_PORT_THREADS && (i)->off)

/*
 * The oldest whole frame, DROPS taken out. 1: p is its header; 0: none; -EAGAIN: the socket is not
 * open; -errno: it was an ERROR and is gone, or the carrier is.
 */
static int head(struct amp_sock *s, uint8_t p[AMP_OFF_UDP_LEN])
{
	struct amp_inet *i = amp_inet(s);
	struct amp_sock *c = i->carrier;
	const uint32_t max_len = AMPSOCK_RING_LEN < UINT16_MAX ? AMPSOCK_RING_LEN : UINT16_MAX;

	if (i->state == AMP_INET_IDLE && !s->err)
		return amp_inet_start(s, AMP_INET_WAIT, 0); /* by its use */
	if (i->state != AMP_INET_CONN)
		return -EAGAIN;
	while (amp_inet_take(c, p, AMP_OFF_UDP_LEN, MSG_PEEK)) {
		uint32_t len = amp_le16(p), arg = amp_le32(p + ARG);

		if (!amp_off_udp_ok(p, max_len)) {
			amp_inet_give_up(s);
			return -EPROTO;
		}
		if (amp_rxring_used(&c->rx) < len)
			break;
		if (p[KIND] == AMP_OFF_UDP_DATA)
			return 1;
		if (s->err) /* poll() found it: one is told before the next */
			return 0;
		amp_inet_take(c, NULL, len, 0);
		if (p[KIND] == AMP_OFF_UDP_DROPS)
			amp_counts.dgram_drops += arg;
		/* one of many peers is not there: no error of an unconnected socket (as Linux)
		 */
		else if (arg != AMP_OFF_ECONNREFUSED || i->peer[0])
			return amp_inet_err(arg);
	}
	if (!(c->flags & AMP_SF_EOF))
		return 0;
	amp_inet_fail(s, ECONNRESET);
	return -EAGAIN;
}

/* The header of m's frame. */
static int put_header(struct amp_sock *s, const struct amp_msg *m, uint8_t *p)
{
	struct amp_inet *i = amp_inet(s);
	int r = 0;

	memset(p, 0, AMP_OFF_UDP_LEN);
	if (m->name) {
		r = amp_inet_from_sa(s->domain, m->name, m->name_len, p + ADDR);
		if (!r && !amp_le16(p + ADDR + 2))
			r = -EINVAL; /* port 0 is nobody's */
	} else if (!i->peer[0]) {
		r = -EDESTADDRREQ;
	}
	/* what the proxy takes is never more than a frame's length can say */
	if (!r && m->len + AMP_OFF_UDP_LEN > i->until)
		r = -EMSGSIZE;
	if (!r && MID_FRAME(i))
		r = -EAGAIN;
	amp_put_le16(p, (uint16_t)(m->len + AMP_OFF_UDP_LEN));
	amp_put_le32(p + ARG, (uint32_t)m->len);
	return r;
}

/* The beginning of m's frame: the header p and a piece. Its length. */
static size_t begin(const struct amp_msg *m, struct iovec iov[2], uint8_t *p)
{
	const struct iovec *from = m->iov;

	iov[0].iov_base = p;
	iov[0].iov_len = AMP_OFF_UDP_LEN;
	if (!m->len)
		return AMP_OFF_UDP_LEN;
	while (!from->iov_len)
		from++;
	iov[1] = *from;
	return AMP_OFF_UDP_LEN + iov[1].iov_len;
}

ssize_t amp_inet_udp_send(struct amp_sock *s, const struct amp_msg *m)
{
	struct amp_inet *i = amp_inet(s);
	uint8_t p[AMP_OFF_UDP_LEN];
	const struct iovec *from = m->iov;
	size_t end = m->len, whole = 0;
	struct iovec iov[2];
	ssize_t r;

	if (s->flags & AMP_SF_WR_SHUT)
		return -EPIPE;
	if (m->done) {
		if (i->state != AMP_INET_CONN)
			return -ECONNRESET; /* half a datagram went down with its carrier */
	} else {
		r = head(s, p); /* an ICMP error is told before the next datagram goes */
		if (r >= 0)
			r = put_header(s, m, p);
		if (r)
			return r;
		end = begin(m, iov, p);
		from = iov;
		whole = AMP_OFF_UDP_LEN + m->len;
	}
	r = AMP_CARRIER_CARRY(i->carrier)(i->carrier, from, m->done, end, whole);
	if (!m->done && r >= 0)
		r -= (ssize_t)
			AMP_OFF_UDP_LEN; /* AMP_CARRY_LEAST: a byte more, if there is one */
	if (AMP_PORT_THREADS && r >= 0)
		i->off = m->done + (size_t)r < m->len;
	if (r < 0 && r != -EAGAIN && m->done)
		amp_inet_fail(s, ECONNRESET);
	return r;
}

ssize_t amp_inet_udp_recv(struct amp_sock *s, struct amp_msg *m, int flags)
{
	struct amp_inet *i = amp_inet(s);
	uint8_t p[AMP_OFF_UDP_LEN];
	const struct amp_rxring *r;
	uint32_t arg;
	size_t n;
	int err;

	if (s->flags & AMP_SF_RD_SHUT) {
		m->name_len = 0; /* of nobody */
		return 0;
	}
	/* who only looks has not used it, and may still bind it */
	err = s->flags & AMP_SF_BOUND ? head(s, p) : 0;
	if (err < 0 && err != -EAGAIN && !m->iov) { /* FIONREAD tells nobody */
		s->err = (uint8_t)-err;
		err = 0;
	}
	if (err <= 0)
		return err ? err : -EAGAIN;
	arg = amp_le32(p + ARG);
	r = &i->carrier->rx;
	n = amp_rxring_read(r, r->tail + AMP_OFF_UDP_LEN, m, amp_le16(p) - AMP_OFF_UDP_LEN);
	if (m->name)
		amp_inet_to_sa(s->domain, p + ADDR, m->name, &m->name_len);
	if (arg > n)
		m->flags |= MSG_TRUNC;
	if (!(flags & MSG_PEEK))
		amp_inet_take(i->carrier, NULL, amp_le16(p), 0);
	if (flags & MSG_TRUNC)
		n = arg;
	return (ssize_t)n;
}

int amp_inet_udp_poll(struct amp_sock *s)
{
	/* room for a header and something: more than that cannot be known */
	struct amp_inet *i = amp_inet(s);
	uint8_t p[AMP_OFF_UDP_LEN];
	int r, ev;

	/* who only looks has not used it (as in recv), and nothing is in the way of a first datagram */
	if (i->state == AMP_INET_IDLE && !(s->flags & AMP_SF_BOUND))
		return POLLOUT;
	r = head(s, p);
	if (r < 0 && r != -EAGAIN) {
		s->err = (uint8_t)-r;
		/* connect() in another thread is told, and fetches no answer */
		if (AMP_PORT_THREADS && (s->flags & AMP_SF_CONNECTING))
			amp_inet_req_forget(s);
	}
	if (i->state != AMP_INET_CONN)
		return 0;
	ev = amp_sock_poll(s, r > 0);
	if (ev >= 0)
		return ev;
	ev = ~ev;
	if (!MID_FRAME(i) &&
	    AMP_CARRIER_CARRY(i->carrier)(i->carrier, NULL, 0, 0, AMP_OFF_UDP_LEN + 1) == 0)
		ev |= POLLOUT;
	return ev;
}
