// SPDX-License-Identifier: BSD-3-Clause
/*
 * Links of the AF_VSOCK family, whatever their transport, the in-core loop among them: what
 * the engine tells, and what that means to a socket.
 */
#include <errno.h>
#include <string.h>
#include <sys/vm_sockets.h>

#include "ampsock.h"
#include "af_vsock.h"

AMP_OPTIONAL(amp_vsock_request);
AMP_OPTIONAL(amp_vsock_unreserve);

struct amp_vlink *amp_vlinks[AMP_VLINK_CNT];

/* ---- events from the engine ---- */

int amp_vsock_may_send(const struct amp_sock *s, const struct amp_msg *m)
{
	unsigned f = s->flags & (AMP_SF_CONNECTED | AMP_SF_WR_SHUT | AMP_SF_HUP | AMP_SF_RESET |
				 AMP_SF_RESERVED);

	if (f == AMP_SF_CONNECTED && !m->name)
		return 0;
	if (f & (AMP_SF_WR_SHUT | AMP_SF_HUP | AMP_SF_RESET))
		return -EPIPE;
	if (m->name)
		return f & AMP_SF_CONNECTED ? -EISCONN : -EOPNOTSUPP;
	return f & AMP_SF_CONNECTED ? -EBUSY : -ENOTCONN;
}

static int message_in(struct amp_sock *s, const struct amp_vsock_rx *rx)
{
	bool first = !(s->sub & SUB_RX_PART), last = (rx->flags & AMP_VSOCK_SEQ_EOM) != 0;
	bool eor = (rx->flags & AMP_VSOCK_SEQ_EOR) != 0;
	int r = 0;

	if (last)
		s->sub &= (uint8_t)~SUB_RX_PART;
	else
		s->sub |= SUB_RX_PART;
	if (rx->iov_cnt == 0)
		return amp_rxring_msg_append(&s->rx, "", 0, first, last, eor);
	for (uint16_t i = 0; i < rx->iov_cnt && r == 0; i++)
		r = amp_rxring_msg_append(&s->rx, rx->iov[i].base, rx->iov[i].len,
					  first && i == 0, last && i == rx->iov_cnt - 1u, eor);
	return r;
}

static int stream_in(struct amp_sock *s, const struct amp_vsock_rx *rx, size_t *direct)
{
	const struct amp_iov *iov = rx->iov;
	size_t here;

	for (unsigned left = rx->iov_cnt; left; left--, iov++) {
		if (amp_sock_rx(s, iov->base, iov->len, &here) != iov->len)
			return -ENOBUFS;
		*direct += here;
	}
	return 0;
}

static int on_data(struct amp_vsock *vs, struct amp_vsock_conn *c,
		   const struct amp_vsock_rx *rx)
{
	struct amp_sock *s = sock_of(c);
	struct amp_rx_want *w = s->want;
	size_t direct = 0;
	int r = 0;

	amp_changed = true;
	if (!is_stream(s))
		return message_in(s, rx);
	/* the usual case: one piece, all of it wanted by somebody who waits */
	if (AMPSOCK_FAST && w && rx->iov_cnt == 1 && rx->len <= w->room && w->iov_cnt == 1 &&
	    s->rx.head == s->rx.tail) {
		memcpy((uint8_t *)w->iov->iov_base + w->skip + w->got, rx->iov->base, rx->len);
		direct = rx->len;
		w->got += direct;
		w->room -= direct;
	} else {
		r = stream_in(s, rx, &direct);
	}
	if (direct) {
		vs->enough = w->room == 0;
		amp_vsock_consumed(vs, c, (uint32_t)direct);
	}
	return r;
}

/* The connection is over, or the attempt: what is told of it. */
static int over_err(const struct amp_sock *s, unsigned ev, bool connecting)
{
	if (ev & AMP_VSOCK_EV_RESET)
		return connecting && amp_vlinks[s->link]->up ? ECONNREFUSED : ECONNRESET;
	/* without a RESET before: an orderly end, or an attempt that got no answer */
	return connecting ? ETIMEDOUT : 0;
}

static void on_event(struct amp_vsock *vs, struct amp_vsock_conn *c, unsigned ev)
{
	struct amp_sock *s = sock_of(c);
	unsigned over = ev & (AMP_VSOCK_EV_RESET | AMP_VSOCK_EV_GONE), f;
	int err;

	if (over)
		unreserve(s);
	f = s->flags;
	if (ev & AMP_VSOCK_EV_OPEN) {
		f = (f | AMP_SF_CONNECTED) & ~AMP_SF_CONNECTING;
		if (c->has_deadline)
			vs->closing_cnt--;
		c->has_deadline = 0;
	}
	if ((ev & AMP_VSOCK_EV_SHUT) && (c->peer_shut & AMP_VSOCK_SHUTDOWN_SEND))
		f |= AMP_SF_EOF;
	if ((ev & AMP_VSOCK_EV_SHUT) && (c->peer_shut & AMP_VSOCK_SHUTDOWN_RCV))
		f |= AMP_SF_HUP;
	if (over) {
		bool connecting = !(f & (AMP_SF_CONNECTED | AMP_SF_RESET));

		err = over_err(s, ev, connecting);
		if (err) {
			s->err = (uint8_t)err;
			f &= ~AMP_SF_CONNECTING;
		}
		if (connecting && (ev & AMP_VSOCK_EV_RESET))
			amp_sock_ring_free(s);
		f = (f & ~AMP_SF_CONNECTED) | AMP_SF_RESET | AMP_SF_EOF | AMP_SF_HUP;
		s->sub &= SUB_CLOSED;
	}
	s->flags = (uint16_t)f;
	if ((ev & AMP_VSOCK_EV_GONE) && (s->sub & SUB_CLOSED))
		amp_sock_free(s);
	amp_sock_changed(s);
}

static void on_tx_ready(struct amp_vsock *vs)
{
	(void)vs;
	amp_changed = true;
}

const struct amp_vsock_ops amp_vlink_ops = {
	.request = amp_vsock_request,
	.data = on_data,
	.event = on_event,
	.tx_ready = on_tx_ready,
};

/* ---- links ---- */

void amp_vlink_up(struct amp_vlink *l)
{
	struct amp_vsock *vs = &l->vs;

	vs->ops = &amp_vlink_ops;
	vs->owner = l;
	vs->hash = l->hash;
	vs->hash_len = AMPSOCK_HASH;
	vs->iov = l->iov;
	vs->iov_max = AMP_VLINK_IOV;
	vs->stray = l->stray;
	vs->stray_len = sizeof(l->stray) / sizeof(l->stray[0]);
	amp_vlink_stats(&l->runner, &amp_counts); /* of the time before: init zeroes them */
	amp_vsock_init(vs);
	l->up = true;
	amp_runner_add(&l->runner);
	if (l->index != AMP_VLINK_LOOP)
		amp_link_report(l->index, true);
}

void amp_vlink_pause(struct amp_vlink *l)
{
	struct amp_sock *s = NULL;

	while ((s = amp_sock_next(s)) != NULL) {
		if (s->fam == &amp_vsock_family && amp_vlinks[s->link] == l)
			unreserve(s);
	}
	l->vs.in = l->vs.out = NULL;
}

void amp_vlink_down(struct amp_vlink *l)
{
	if (!l->up)
		return;
	l->up = false;
	amp_vsock_down(&l->vs);
	amp_counts.link_resets++;
	amp_link_report(l->index, false);
}

#define TURN 64

int32_t amp_vlink_turn(struct amp_vlink *l, bool *broken)
{
	uint32_t sent = l->vs.stats.tx_packets;
	int n;

	/*
	 * No more once a caller has all that it wanted: it is told sooner,
	 * and what follows may be for its next buffer. Bounded: a flood on one link must not
	 * keep a call from its socket.
	 */
	n = amp_vsock_run(&l->vs, TURN);
	*broken = n < 0;
	/*
	 * Buffers that went back need a kick at once only when the peer might have run out
	 * of them: before half the ring has come in since the last time, it has not, or
	 * there are unseen packets. Before sleep everybody is asked.
	 */
	if (n > 0)
		l->in_cnt = (uint16_t)(l->in_cnt + n);
	if (l->vs.stats.tx_packets != sent || (l->vs.in && l->in_cnt >= l->vs.in->num / 2u))
		amp_runner_due(&l->runner);
	if (l->vs.why) {
		amp_log(l->vs.why);
		l->vs.why = NULL;
	}
	if (n == TURN || l->vs.enough) {
		amp_changed = true; /* there may be more, for somebody who sleeps */
		return 0;
	}
	return l->vs.closing_cnt ? amp_vsock_tick(&l->vs, amp_port_now_ms()) : -1;
}

void amp_vlink_stats(const struct amp_runner *r, struct amp_stats *st)
{
	const struct amp_vsock_stats *from =
		&((const struct amp_vlink *)(const void *)r)->vs.stats;

	st->rx_packets += from->rx_packets;
	st->tx_packets += from->tx_packets;
	st->rx_bad += from->rx_bad;
	st->resets += from->resets;
}
