/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UDP: datagrams as frames on the socket's carrier (protocol.md 7).
 *
 * Theory of operation: a frame goes whole or not at all. Before its first byte the
 * carrier's window must have room for its last, so a socket that may not block can say
 * EAGAIN; after the first byte api.c does not leave before the last, whatever the socket's
 * flags, and whoever else wants to send meanwhile waits (off is 1). Received frames stay
 * in the carrier's ring, which is as large as the largest frame that we told the proxy;
 * so one that is longer is a lie.
 */
#include <errno.h>

#include "ampsock.h"
#include "inet.h"

#define UDP_MAX 65507u /* RFC 768 over IPv4 */

/*
 * The oldest whole frame, DROPS taken out. 0: *u is it; -EAGAIN: none; -errno: it was an
 * ERROR and is gone, or the carrier is.
 */
static int head(struct amp_sock *s, struct amp_off_udp *u)
{
	struct amp_sock *c = amp_inet(s)->carrier;
	const uint32_t max_len = AMPSOCK_RING_LEN; /* the 65535 of the field may be less */
	uint8_t p[AMP_OFF_UDP_LEN];

	while (amp_inet_peek(c, p, sizeof(p))) {
		if (!amp_off_get_udp(p, u) || u->len > max_len) {
			amp_inet_fail(s, EPROTO);
			s->err = 0;
			return -EPROTO;
		}
		if (amp_rxring_used(&c->rx) < u->len)
			break;
		if (u->kind == AMP_OFF_UDP_DATA)
			return 0;
		amp_inet_drop(c, u->len);
		if (u->kind == AMP_OFF_UDP_DROPS)
			amp_counts.dgram_drops += u->arg;
		/* one of many peers is not there: no error of an unconnected socket (as Linux)
		 */
		else if (u->arg != AMP_OFF_ECONNREFUSED || amp_inet(s)->peer.family)
			return amp_inet_err(u->arg);
	}
	amp_inet_watch(s);
	if (amp_inet(s)->state == AMP_INET_CONN && (c->flags & AMP_SF_EOF))
		amp_inet_fail(s, ECONNRESET);
	return -EAGAIN;
}

static int send_frame(struct amp_sock *s, const struct amp_msg *m, size_t *n)
{
	struct amp_inet *i = amp_inet(s);
	struct amp_off_udp u = {.kind = AMP_OFF_UDP_DATA, .arg = (uint32_t)m->len};
	uint8_t p[AMP_OFF_UDP_LEN];
	ssize_t r = 0;

	if (m->name)
		r = amp_inet_from_sa(s->domain, m->name, m->name_len, &u.addr);
	else if (!i->peer.family)
		r = -EDESTADDRREQ;
	if (!r && (m->len > UDP_MAX || m->len + AMP_OFF_UDP_LEN > i->until))
		r = -EMSGSIZE;
	if (r)
		return (int)r;
	if (i->off)
		return -EAGAIN; /* another thread is in the middle of its frame */
	u.len = (uint16_t)(m->len + AMP_OFF_UDP_LEN);
	amp_off_put_udp(p, &u);
	r = amp_inet_put(i->carrier, p, sizeof(p), m);
	if (r < 0)
		return (int)r;
	*n = (size_t)r;
	return 0;
}

ssize_t amp_inet_udp_send(struct amp_sock *s, const struct amp_msg *m, int flags)
{
	struct amp_inet *i = amp_inet(s);
	struct amp_off_udp u;
	struct amp_msg rest;
	size_t n = 0;
	ssize_t r;

	if (s->flags & AMP_SF_WR_SHUT)
		return -EPIPE;
	if (i->state != AMP_INET_CONN) {
		if (m->done)
			return -ECONNRESET; /* half a datagram went down with its carrier */
		if (i->state == AMP_INET_IDLE)
			amp_inet_open(s);
		return -EAGAIN;
	}
	if (m->done == 0) {
		r = head(s, &u); /* an ICMP error is told before the next datagram goes */
		if (r == 0 || (r == -EAGAIN && i->state == AMP_INET_CONN))
			r = send_frame(s, m, &n);
		if (r)
			return r;
		i->off = n < m->len;
		return (ssize_t)n;
	}
	rest = *m;
	rest.name = NULL;
	r = i->carrier->fam->sendmsg(i->carrier, &rest, flags & ~MSG_EOR);
	if (r > 0)
		i->off = m->done + (size_t)r < m->len;
	else if (r != -EAGAIN)
		amp_inet_fail(s, ECONNRESET);
	return r;
}

ssize_t amp_inet_udp_recv(struct amp_sock *s, struct amp_msg *m, int flags)
{
	struct amp_inet *i = amp_inet(s);
	struct amp_off_udp u;
	struct amp_rxring r;
	size_t n;
	int err;

	if (s->flags & AMP_SF_RD_SHUT)
		return 0;
	if (i->state != AMP_INET_CONN)
		return -EAGAIN;
	err = head(s, &u);
	if (err)
		return err;
	n = (size_t)u.len - AMP_OFF_UDP_LEN;
	if (n > m->len)
		n = m->len;
	r = i->carrier->rx; /* a second reader, behind the header */
	r.tail = (AMP_RING_IDX)(r.tail + AMP_OFF_UDP_LEN);
	n = amp_rxring_read(&r, m->iov, m->iov_cnt, 0, n, true);
	if (m->name)
		amp_inet_to_sa(s->domain, &u.addr, m->name, &m->name_len);
	if (u.arg > n)
		m->flags |= MSG_TRUNC;
	if (!(flags & MSG_PEEK))
		amp_inet_drop(i->carrier, u.len);
	return flags & MSG_TRUNC ? (ssize_t)u.arg : (ssize_t)n;
}

int amp_inet_udp_poll(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);
	struct amp_off_udp u;
	int r, ev = 0;

	if (i->state == AMP_INET_IDLE && !s->err)
		amp_inet_open(s); /* until it is open, nothing can be sent */
	if (i->state != AMP_INET_CONN)
		return 0;
	r = head(s, &u);
	if (r == 0 || (s->flags & AMP_SF_RD_SHUT))
		ev = POLLIN;
	else if (r != -EAGAIN)
		s->err = (uint8_t)-r;
	if (i->state == AMP_INET_CONN && !i->off &&
	    amp_inet_space(i->carrier, AMP_OFF_UDP_LEN + 1) == 0)
		ev |= POLLOUT;
	return ev;
}
