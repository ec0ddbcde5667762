// SPDX-License-Identifier: BSD-3-Clause
/*
 * Raw rpmsg messages: SOCK_SEQPACKET and SOCK_DGRAM.
 *
 * Theory of operation
 *
 * Nothing is added to a message, so there is no credit in it, and the bus has none: the only
 * thing that stops a sender is that it runs out of buffers, and those are the whole link's.
 *
 * So no reader keeps them: a message is copied into its socket's ring, behind eight bytes that say
 * whose it is and how long, and its buffer goes back at once. However many sockets are not read,
 * the link goes on. Of the peer's memory nothing is read later.
 *
 * What does not fit is dropped and counted. SOCK_DGRAM may lose messages; SOCK_SEQPACKET may
 * not, so that is the end of the socket: what it has can be read, then ENOBUFS, once.
 */
#include <errno.h>
#include <string.h>
#include <sys/rpmsg_socket.h>

#include "ampsock.h"
#include "af_rpmsg.h"

#if AMPSOCK_RPMSG

AMP_OPTIONAL(amp_rpmsg_child);
/* Where a message has a name they are there (family.h). */
AMP_OPTIONAL(amp_rpmsg_dgram_to);
AMP_OPTIONAL(amp_rraw_source);

/* Who finds nothing, and waits, does not save registers for what he has not found. */
#if AMPSOCK_FAST
#define RRAW_OUTLINE __attribute__((noinline))
#else
#define RRAW_OUTLINE inline
#endif

/* ---- in ---- */

#if AMPSOCK_FAST
/* By somebody who waits, and nothing older is here for him: then the turn ends, or a burst would
 * go by the ring, and be copied twice. */
static bool wanted(struct amp_rlink *l, struct amp_sock *s, const struct amp_rpmsg_rx *rx)
{
	struct amp_rx_want *w = amp_sock_want(s);
	size_t n;

	if (!w || w->full || s->rx.head != s->rx.tail || !rx->len)
		return false;
	n = (size_t)(w->end - w->to);
	if (n > rx->len)
		n = rx->len;
	memcpy(w->to, rx->data, n);
	w->to += n;
	w->full = rx->len;
	l->bus.enough = true;
	return true;
}
#else
static bool wanted(struct amp_rlink *l, struct amp_sock *s, const struct amp_rpmsg_rx *rx)
{
	(void)l;
	(void)s;
	(void)rx;
	return false;
}
#endif

/* Whose a message at the endpoint of s is: s itself, a child of it, or (NULL) nobody's. */
static struct amp_sock *receiver(struct amp_rlink *l, struct amp_sock *s, uint32_t src)
{
	if (s->flags & AMP_SF_CONNECTED)
		return amp_rsock_elsewhere(s, l) || amp_rsock(s)->peer != src ? NULL : s;
	if (s->type == SOCK_DGRAM)
		return s;
	return amp_rpmsg_child ? amp_rpmsg_child(l, s, src) : NULL;
}

/*
 * So many bytes in a ring, and the turn ends: who waits, in recv() or in poll(), gets his turn while
 * there is room for one more of the usual 512-byte buffers' messages, if there ever is for two.
 */
#define ENOUGH (AMPSOCK_RING_LEN >= 1024 ? AMPSOCK_RING_LEN / 2u : 0u)

/* True: s has it (who waits hears of the turn). False: there is no room, which is the end of who may not lose one. */
static bool keep(struct amp_rlink *l, struct amp_sock *s, const struct amp_rpmsg_rx *rx)
{
	struct amp_rraw_hdr h;
	uint32_t used = amp_rxring_used(&s->rx) + (uint32_t)sizeof(h) + rx->len;

	if (AMPSOCK_FAST && s->type == SOCK_SEQPACKET && wanted(l, s, rx))
		return true;
	if (used > AMPSOCK_RING_LEN) {
		if (s->type == SOCK_SEQPACKET) {
			amp_explain("rpmsg: a SOCK_SEQPACKET socket is not read, ENOBUFS");
			amp_rsock_over(s, ENOBUFS);
		}
		return false;
	}
	if (used > ENOUGH)
		l->bus.enough = true;
	h.src = rx->src;
	h.len = (uint16_t)rx->len;
	if (AMPSOCK_RPMSG > 1)
		h.link = (uint16_t)amp_rlink_index(l);
	(void)amp_rxring_write(&s->rx, &h, sizeof(h));
	(void)amp_rxring_write(&s->rx, rx->data, rx->len);
	return true;
}

void amp_rraw_in(struct amp_rlink *l, struct amp_sock *s, const struct amp_rpmsg_rx *rx)
{
	s = receiver(l, s, rx->src);
	if (s && (s->flags & AMP_SF_RD_SHUT))
		return;
	/* over already: a child, or its peer was withdrawn, and the address is another's now */
	if (!s || (s->flags & AMP_SF_EOF) || !keep(l, s, rx))
		amp_counts.dgram_drops++;
}

/* ---- receive ---- */

/* The oldest message, which there is. */
static RRAW_OUTLINE ssize_t take(struct amp_sock *s, struct amp_msg *m, int flags)
{
	struct amp_rraw_hdr h;
	size_t n;

	amp_rxring_peek(&s->rx, s->rx.tail, &h, sizeof(h));
	n = amp_rxring_read(&s->rx, s->rx.tail + sizeof(h), m, h.len);
	if (m->name && s->type == SOCK_DGRAM)
		amp_rraw_source(m, &h);
	if (!(flags & MSG_PEEK))
		s->rx.tail = (AMP_RING_IDX)(s->rx.tail + sizeof(h) + h.len);
	if (n < h.len)
		m->flags |= MSG_TRUNC;
	return (ssize_t)(flags & MSG_TRUNC ? h.len : n);
}

/* Of a stream: bytes that are here. */
static inline ssize_t take_bytes(struct amp_sock *s, struct amp_msg *m, int flags)
{
	size_t n = amp_rxring_read(&s->rx, s->rx.tail, m, m->len - m->done);

	if (!(flags & MSG_PEEK)) {
		s->rx.tail = (AMP_RING_IDX)(s->rx.tail + n);
		amp_vsock_consumed(engine_of(s), conn_of(s), (uint32_t)n);
	}
	return (ssize_t)n;
}

ssize_t amp_rpmsg_sock_recvmsg(struct amp_sock *s, struct amp_msg *m, int flags)
{
	if (s->type != SOCK_DGRAM) {
		m->name_len = 0;
		if (!s->rx.buf || !(s->flags & (AMP_SF_CONNECTED | AMP_SF_RESET)))
			return -ENOTCONN;
	}
	if (s->rx.head == s->rx.tail) {
		if (!(s->flags & (AMP_SF_EOF | AMP_SF_RD_SHUT)) ||
		    (s->type != SOCK_STREAM && s->err))
			return -EAGAIN;
		m->name_len = 0; /* of nobody */
		return 0;
	}
	return s->type == SOCK_STREAM ? take_bytes(s, m, flags) : take(s, m, flags);
}

/* ---- send ---- */

ssize_t amp_rpmsg_sock_sendmsg(struct amp_sock *s, const struct amp_msg *m, int flags)
{
	bool connected = (s->flags & AMP_SF_CONNECTED) != 0;
	struct amp_rpmsg_tx tx;
	struct amp_rlink *l;
	struct amp_iov to;
	uint32_t dst;
	int r;

	if (s->type == SOCK_STREAM)
		return amp_vsock_sock_sendmsg(s, m, flags);
	if (s->type == SOCK_DGRAM && (m->name || !connected)) {
		r = -EDESTADDRREQ;
		if (s->flags & AMP_SF_WR_SHUT)
			r = -EPIPE;
		else if (m->name)
			r = amp_rpmsg_dgram_to(s, m, &dst);
		if (r < 0)
			return r;
		l = amp_rlink_at((unsigned)r);
	} else {
		r = amp_vsock_may_send(s, m->name);
		if (r)
			return r;
		l = amp_rsock_link(s);
		dst = amp_rsock(s)->peer;
	}
	/* the link is up: else there is neither a peer nor an address */
	r = amp_rpmsg_reserve_for(&l->bus, &tx, m->len, false);
	if (r)
		return r;
	to.base = tx.data;
	if (AMP_VQ_CHAINS) /* else not looked at */
		to.len = m->len;
	amp_vsock_gather(&to, m->iov, 0, m->len);
	amp_rpmsg_commit(&l->bus, &tx, amp_rsock(s)->end[amp_rlink_index(l)].ept.addr, dst,
			 (uint32_t)m->len);
	amp_runner_due(&l->l.runner);
	return (ssize_t)m->len;
}

/* ---- poll ---- */

/* Would a send find a buffer? Else it is asked for. */
static inline bool tx_ready(const struct amp_sock *s)
{
	bool ready = true;

	for (unsigned i = 0; i < AMPSOCK_RPMSG; i++) {
		struct amp_rlink *l = &amp_rlinks[i];

		/* of an unconnected datagram socket the next one may go to any link */
		if (amp_rlink_is_up(l) &&
		    !((s->flags & AMP_SF_CONNECTED) && amp_rsock_elsewhere(s, l)))
			ready &= amp_rpmsg_may_send_now(&l->bus);
	}
	return ready;
}

int amp_rpmsg_sock_poll(struct amp_sock *s)
{
	bool stream = s->type == SOCK_STREAM;
	uint32_t used = amp_rxring_used(&s->rx);
	int ev;

	if (stream && used < s->rcvlowat)
		used = 0;
	ev = amp_sock_poll(s, used != 0);
	if (ev >= 0)
		return ev;
	if ((stream && !amp_vsock_may_send_now(engine_of(s), conn_of(s))) || !tx_ready(s))
		return ~ev;
	return ~ev | POLLOUT;
}

#endif /* AMPSOCK_RPMSG */
