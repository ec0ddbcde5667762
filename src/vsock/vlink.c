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
#include "vsock_inner.h"

#if AMPSOCK_VSOCK
AMP_OPTIONAL(amp_vsock_request);
#endif
AMP_OPTIONAL(amp_vsock_unreserve);

struct amp_vlink *amp_vlinks[AMP_VLINK_CNT];

/* ---- events from the engine ---- */

_Static_assert(AMP_VSOCK_SHUTDOWN_RCV *AMP_SF_HUP == AMP_SF_HUP &&
		       AMP_VSOCK_SHUTDOWN_SEND * AMP_SF_HUP == AMP_SF_EOF,
	       "what the peer shuts, in flags");

int amp_vsock_may_send(const struct amp_sock *s, const void *name)
{
	unsigned f = s->flags;

	if (f & (AMP_SF_WR_SHUT | AMP_SF_HUP | AMP_SF_RESET))
		return s->rx.buf ? -EPIPE : -ENOTCONN; /* an attempt that failed has no ring */
	if (!(f & AMP_SF_CONNECTED))
		return name ? -EOPNOTSUPP : -ENOTCONN;
	if (name)
		return -EISCONN;
	return f & AMP_SF_RESERVED ? -EBUSY : 0;
}

_Static_assert(AMP_RX_LAST == AMP_VSOCK_SEQ_EOM && AMP_RX_EOR == AMP_VSOCK_SEQ_EOR,
	       "message_in()");

static int message_in(struct amp_sock *s, const struct amp_vsock_rx *rx)
{
	unsigned how = rx->flags & (AMP_RX_LAST | AMP_RX_EOR);
	unsigned cnt = AMP_VQ_CHAINS ? rx->iov_cnt : 1;
	int r = 0;

	if (AMP_VQ_CHAINS && cnt == 0) /* a device's: nothing in it, but it may be the last */
		return amp_rxring_msg_append(s, "", 0, how);
	for (unsigned i = 0; r == 0 && i < cnt; i++)
		r = amp_rxring_msg_append(s, rx->iov[i].base, rx->iov[i].len,
					  i + 1 < cnt ? 0 : how);
	return r;
}

/* Who waits for them by name is told; and, as some may go to the ring, who waits otherwise. */
static void bytes_came(struct amp_sock *s)
{
	if (!AMP_PORT_WAKE_ONE) {
		amp_change();
		return;
	}
	amp_more();
	if (amp_sock_want(s))
		amp_wake_want(amp_sock_want(s));
	amp_wake_rest();
}

int amp_vlink_on_data(struct amp_vsock *vs, struct amp_vsock_conn *c,
		      const struct amp_vsock_rx *rx)
{
	struct amp_sock *s = sock_of(c);
	size_t direct = 0, here, n;

	bytes_came(s);
	if (!is_stream(s))
		return message_in(s, rx);
	for (unsigned i = 0; i < (AMP_VQ_CHAINS ? rx->iov_cnt : 1u); i++) {
		n = rx->iov[i].len;
		if (amp_sock_rx(s, rx->iov[i].base, n, &here) != n)
			return -ENOBUFS;
		direct += here;
	}
	if (AMPSOCK_FAST && direct) {
		vs->enough = amp_sock_want(s)->to == amp_sock_want(s)->end;
		amp_vsock_consumed(vs, c, (uint32_t)direct);
	} else if (AMP_BULK_STAYS && amp_bulk_enough(rx->len)) {
		vs->enough = true;
	}
	return 0;
}

/* The connection is over, or the attempt: what is told of it. */
static int over_err(const struct amp_sock *s, unsigned ev, bool connecting)
{
	if (ev & AMP_VSOCK_EV_RESET)
		return connecting && amp_vlink_of(s)->up ? ECONNREFUSED : ECONNRESET;
	/* without a RESET before: an orderly end, or an attempt that got no answer */
	return connecting ? ETIMEDOUT : 0;
}

/*
 * The engine's events, each by itself. By the socket: its fields are near its beginning, and so
 * short offsets.
 */
void amp_vlink_on_open(struct amp_vsock_conn *c)
{
	struct amp_sock *s = sock_of(c);

	amp_vsock_no_deadline(c); /* of the attempt */
	s->flags = (uint16_t)((s->flags | AMP_SF_CONNECTED) & ~AMP_SF_CONNECTING);
	amp_sock_changed(s);
}

void amp_vlink_on_writable(struct amp_vsock_conn *c)
{
	amp_vsock_no_deadline(c); /* of the meter */
	amp_sock_credit(sock_of(c));
}

void amp_vlink_on_shut(struct amp_vsock_conn *c)
{
	struct amp_sock *s = sock_of(c);

	s->flags |= (uint16_t)(c->peer_shut * AMP_SF_HUP);
	amp_sock_changed(s);
}

void amp_vlink_on_over(struct amp_vsock_conn *c, unsigned ev)
{
	struct amp_sock *s = sock_of(c);
	bool connecting;
	unsigned f;
	int err;

	AMP_FORGET(s);
	unreserve(s);
	f = s->flags;
	connecting = !(f & (AMP_SF_CONNECTED | AMP_SF_RESET));
	err = over_err(s, ev, connecting);
	if (err) {
		s->err = (uint8_t)err;
		f &= ~AMP_SF_CONNECTING;
	}
	if (connecting)
		amp_sock_ring_free(s);
	s->flags = (uint16_t)((f & ~AMP_SF_CONNECTED) | AMP_SF_RESET | AMP_SF_EOF | AMP_SF_HUP);
	s->sub &= SUB_CLOSED;
	if ((ev & AMP_VSOCK_EV_GONE) && s->sub)
		amp_sock_free(s);
	amp_sock_changed(s);
}

/* Any of them, and several at once. */
static void on_event(struct amp_vsock *vs, struct amp_vsock_conn *c, unsigned ev)
{
	(void)vs;
	if (ev & AMP_VSOCK_EV_OPEN)
		amp_vlink_on_open(c);
	if (ev & AMP_VSOCK_EV_WRITABLE)
		amp_vlink_on_writable(c);
	if (ev & AMP_VSOCK_EV_SHUT)
		amp_vlink_on_shut(c);
	if (ev & (AMP_VSOCK_EV_RESET | AMP_VSOCK_EV_GONE))
		amp_vlink_on_over(c, ev);
}

void amp_vlink_on_tx_ready(struct amp_vsock *vs)
{
	(void)vs;
	amp_change();
}

const struct amp_vsock_ops amp_vlink_ops = {
#if AMPSOCK_VSOCK
	.request = amp_vsock_request,
#endif
	.data = amp_vlink_on_data,
#if AMPSOCK_FAST
	.piece = amp_vlink_piece,
#endif
	.event = on_event,
	.tx_ready = amp_vlink_on_tx_ready,
};

/* ---- links ---- */

#if AMPSOCK_VSOCK
void amp_vlink_pause(struct amp_vlink *l)
{
	struct amp_sock *s = NULL;

	while ((s = amp_sock_next_of(s, &amp_vsock_family)) != NULL) {
		if (amp_vlinks[s->link] == l)
			unreserve(s);
	}
	l->vs.in = l->vs.out = NULL;
}
#endif

void amp_vlink_down(struct amp_vlink *l)
{
	if (!l->up)
		return;
	l->up = false;
	amp_vsock_down(&l->vs);
	amp_counts.link_resets++;
	amp_link_change(l->index, false);
}
