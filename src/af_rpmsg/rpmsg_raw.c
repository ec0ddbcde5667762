// SPDX-License-Identifier: BSD-3-Clause
/*
 * Raw rpmsg messages: SOCK_SEQPACKET and SOCK_DGRAM.
 *
 * Theory of operation
 *
 * Nothing is added to a message, so there is no credit in it, and the bus has none: the only
 * thing that stops a sender is that it runs out of buffers, and those are the whole link's.
 *
 * SOCK_SEQPACKET may not lose a message, so a socket whose reader is behind keeps the
 * transport's buffers: at most AMPSOCK_RPMSG_HOLD of them, and at most twice as many as are
 * still free to be held, so that however many sockets stall, one that holds none finds some
 * (together they leave a quarter of the ring to streams, datagrams and who is quick). One
 * more, and the socket is over: what it holds can be read, then ENOBUFS, once. Buffers are
 * held in an array of our own, with the length as it was checked; of the peer's memory only
 * payload is read later.
 *
 * SOCK_DGRAM may lose messages: they are copied into the socket's ring, behind eight bytes
 * that say whose they are, and what does not fit is dropped and counted.
 */
#include <errno.h>
#include <string.h>
#include <sys/rpmsg_socket.h>

#include "ampsock.h"
#include "af_rpmsg.h"

#if AMPSOCK_RPMSG

AMP_OPTIONAL(amp_rpmsg_child);

/* Who finds nothing, and waits, does not save registers for what he has not found. */
#if AMPSOCK_FAST
#define RRAW_OUTLINE __attribute__((noinline))
#else
#define RRAW_OUTLINE inline
#endif

/* Before each datagram in the ring. */
struct dgram_hdr {
	uint32_t src;
	uint16_t len;
	uint16_t link;
};

/* ---- held buffers ---- */

void amp_rraw_pop(struct amp_sock *s)
{
	struct amp_rlink *l = amp_rsock_link(s);
	struct amp_rsock *p = amp_rsock(s);
	uint8_t i = p->held_head;
	struct amp_rheld *h = &l->held[i];

	p->held_head = h->next;
	p->held_cnt--;
	h->next = (uint8_t)(l->held_free - i - 1);
	l->held_free = i;
	amp_rpmsg_release(&l->bus, h->id);
	if (AMPSOCK_FAST && l->bus.in && amp_rlink_many_back(l))
		amp_runner_due(&l->l.runner);
}

void amp_rraw_drop(struct amp_sock *s)
{
	while (amp_rsock(s)->held_cnt)
		amp_rraw_pop(s);
}

/* ---- in ---- */

static AMP_INLINED int dropped(void)
{
	amp_counts.dgram_drops++;
	return 0;
}

#if AMPSOCK_FAST
/* By somebody who waits, and nothing older is held for him: then the turn ends, or a burst would
 * be held, and more of it than may be. */
static bool wanted(struct amp_rlink *l, struct amp_sock *s, const struct amp_rpmsg_rx *rx)
{
	struct amp_rx_want *w = amp_sock_want(s);
	size_t n;

	if (!w || w->full || amp_rsock(s)->held_cnt || !rx->len)
		return false;
	n = (size_t)(w->end - w->to);
	if (n > rx->len)
		n = rx->len;
	memcpy(w->to, rx->data, n);
	w->to += n;
	w->full = rx->len;
	l->bus.enough = true;
	amp_sock_changed(s);
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

static int seq_in(struct amp_rlink *l, struct amp_sock *s, const struct amp_rpmsg_rx *rx)
{
	struct amp_rsock *p = amp_rsock(s);
	int room = 2 * (l->bus.held_max - l->bus.held_cnt);
	uint8_t i = l->held_free;
	struct amp_rheld *h;

	if (room > AMPSOCK_RPMSG_HOLD)
		room = AMPSOCK_RPMSG_HOLD;
	if (s->flags & AMP_SF_RD_SHUT)
		return 0;
	if (s->flags & AMP_SF_RESET) /* a child that is over already */
		return dropped();
	if (AMPSOCK_FAST && wanted(l, s, rx))
		return 0;
	/* of the array there is a free one as long as the bus allows it: see amp_rlink_up() */
	room -= p->held_cnt;
	if (room <= 0) {
		amp_explain("rpmsg: a SOCK_SEQPACKET socket is not read, ENOBUFS");
		amp_rsock_over(s, ENOBUFS);
		return dropped();
	}
	/* This one takes one of it, and of those that are free to be held: the turn ends while
	 * there is room, for a reader who may be waiting in it. */
	if (!AMPSOCK_FAST && room <= 3)
		l->bus.enough = true;
	h = &l->held[i];
	l->held_free = (uint8_t)(h->next + i + 1);
	h->data = rx->data;
	h->len = (uint16_t)rx->len; /* the header has 16 bits for it */
	h->id = rx->id;
	if (p->held_cnt++)
		l->held[p->held_tail].next = i;
	else
		p->held_head = i;
	p->held_tail = i;
	amp_sock_changed(s);
	return 1;
}

static int dgram_in(const struct amp_rlink *l, struct amp_sock *s,
		    const struct amp_rpmsg_rx *rx)
{
	struct dgram_hdr h = {
		.src = rx->src,
		.len = (uint16_t)rx->len,
		.link = (uint16_t)amp_rlink_index(l),
	};
	size_t direct;

	if (s->flags & AMP_SF_RD_SHUT)
		return 0;
	if ((s->flags & AMP_SF_CONNECTED) &&
	    (amp_rsock_elsewhere(s, l) || amp_rsock(s)->peer != rx->src))
		return dropped();
	if (!s->rx.buf || amp_rxring_room(&s->rx) < sizeof(h) + h.len)
		return dropped();
	(void)amp_sock_rx(s, &h, sizeof(h), &direct);
	(void)amp_sock_rx(s, rx->data, h.len, &direct);
	amp_sock_changed(s);
	return 0;
}

int amp_rraw_in(struct amp_rlink *l, struct amp_sock *s, const struct amp_rpmsg_rx *rx)
{
	struct amp_rsock *p = amp_rsock(s);

	if (s->type == SOCK_DGRAM)
		return dgram_in(l, s, rx);
	if (s->flags & AMP_SF_CONNECTED) {
		if (amp_rsock_elsewhere(s, l) || p->peer != rx->src)
			return dropped();
		return seq_in(l, s, rx);
	}
	if (s->sub & SUB_WAIT || !amp_rpmsg_child)
		return dropped();
	s = amp_rpmsg_child(l, s, rx->src);
	return s ? seq_in(l, s, rx) : dropped();
}

/* ---- receive ---- */

/* What a recv that finds nothing says. */
static ssize_t nothing(const struct amp_sock *s)
{
	if (!s->link && s->type != SOCK_DGRAM)
		return -ENOTCONN;
	return (s->flags & (AMP_SF_EOF | AMP_SF_RD_SHUT)) && !s->err ? 0 : -EAGAIN;
}

static void give_source(struct amp_msg *m, const struct dgram_hdr *h)
{
	struct sockaddr_rpmsg a;

	if (!m->name)
		return;
	memset(&a, 0, sizeof(a));
	a.rp_family = AF_RPMSG;
	if (AMPSOCK_RPMSG > 1)
		a.rp_link = h->link;
	a.rp_addr = h->src;
	memcpy(m->name, &a, m->name_len < sizeof(a) ? m->name_len : sizeof(a));
	m->name_len = sizeof(a);
}

/* The oldest message, which there is. */
static RRAW_OUTLINE ssize_t take(struct amp_sock *s, struct amp_msg *m, int flags)
{
	const struct amp_rheld *held;
	struct dgram_hdr h;
	bool peek = (flags & MSG_PEEK) != 0;
	size_t n, full;

	if (s->type == SOCK_DGRAM) {
		amp_rxring_peek(&s->rx, s->rx.tail, &h, sizeof(h));
		full = h.len;
		n = amp_rxring_read(&s->rx, s->rx.tail + sizeof(h), m, full);
		give_source(m, &h);
		if (!peek)
			s->rx.tail = (AMP_RING_IDX)(s->rx.tail + sizeof(h) + full);
	} else {
		held = &amp_rsock_link(s)->held[amp_rsock(s)->held_head];
		full = held->len;
		n = amp_msg_put(m, 0, held->data, full);
		if (!peek)
			amp_rraw_pop(s);
	}
	if (n < full)
		m->flags |= MSG_TRUNC;
	return (ssize_t)(flags & MSG_TRUNC ? full : n);
}

ssize_t amp_rraw_recv(struct amp_sock *s, struct amp_msg *m, int flags)
{
	bool none;

	if (s->type == SOCK_DGRAM) {
		none = !amp_rxring_used(&s->rx);
	} else {
		m->name_len = 0;
		none = (s->sub & SUB_WAIT) || !amp_rsock(s)->held_cnt;
	}
	return none ? nothing(s) : take(s, m, flags);
}

/* ---- send ---- */

/* Where a datagram goes that does not go to the socket's peer: 0 with its link and *dst; -errno. */
static int dgram_to(struct amp_sock *s, const struct amp_msg *m, struct amp_rlink **l,
		    uint32_t *dst)
{
	struct amp_raddr to;
	int r, err;

	if (s->flags & AMP_SF_WR_SHUT)
		return -EPIPE;
	if (!m->name)
		return -EDESTADDRREQ;
	r = amp_raddr_get(s, m->name, m->name_len, &to);
	if (r)
		return r;
	*l = amp_raddr_find(to.link, to.name, &to.addr, &err);
	if (!*l) /* nobody has announced it, and a datagram does not wait until somebody does */
		return err == -EAGAIN ? -ECONNREFUSED : err;
	*dst = to.addr;
	return amp_rsock_open(s, amp_rlink_index(*l), 0, true);
}

ssize_t amp_rraw_send(struct amp_sock *s, const struct amp_msg *m)
{
	struct amp_rlink *l;
	struct amp_rpmsg_tx tx;
	struct amp_iov to;
	uint32_t dst = 0;
	int r;

	if (s->type == SOCK_DGRAM && (m->name || !(s->flags & AMP_SF_CONNECTED))) {
		r = dgram_to(s, m, &l, &dst);
		if (r)
			return r;
	} else {
		r = amp_vsock_may_send(s, m->name);
		if (r)
			return r;
		l = amp_rsock_link(s);
		dst = amp_rsock(s)->peer;
	}
	/* the link is up: else there is neither a peer nor an address */
	r = amp_rlink_must_queue(l) ? -EAGAIN
				    : amp_rpmsg_reserve_for(&l->bus, &tx, m->len, false);
	if (r)
		return r;
	to.base = tx.data;
	to.len = m->len;
	amp_vsock_gather(&to, m->iov, 0, m->len);
	amp_rpmsg_commit(&l->bus, &tx, amp_rsock(s)->end[amp_rlink_index(l)].ept.addr, dst,
			 (uint32_t)m->len);
	amp_runner_due(&l->l.runner);
	return (ssize_t)m->len;
}

/* ---- poll ---- */

/* Would a send find a buffer? Else it is asked for. */
static bool tx_ready(const struct amp_sock *s)
{
	bool ready = true;

	for (unsigned i = 0; i < AMPSOCK_RPMSG; i++) {
		struct amp_rlink *l = &amp_rlinks[i];

		/* of an unconnected datagram socket the next one may go to any link */
		if (!amp_rlink_is_up(l) ||
		    (amp_rpmsg_tx_ready(&l->bus) && !amp_rlink_must_queue(l)) ||
		    ((s->flags & AMP_SF_CONNECTED) && amp_rsock_elsewhere(s, l)))
			continue;
		l->bus.tx_starved = true;
		ready = false;
	}
	return ready;
}

int amp_rraw_poll(struct amp_sock *s)
{
	/* of the two one is always empty */
	int ev = amp_sock_poll(s, amp_rxring_used(&s->rx) || amp_rsock(s)->held_cnt);

	if (ev >= 0)
		return ev;
	return tx_ready(s) ? ~ev | POLLOUT : ~ev;
}

#endif /* AMPSOCK_RPMSG */
