/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AF_INET and AF_INET6: sockets that the proxy opens (docs/protocol.md).
 *
 * Theory of operation
 *
 * A socket has a state (inet.h). connect(), and any use of a UDP socket, only sets it to
 * WAIT: the session's runner then steps the socket through session, carrier, OPEN and
 * ANSWER, the same way whether somebody waits for it or not. So it is with bind() and
 * listen(), which are requests on the control carrier: the runner makes them, whether the
 * call asks or, after a lost session, nobody does.
 *
 * Once connected, a TCP socket is its carrier: send, receive, shutdown, poll and the
 * zero-copy calls go straight through to it, and so does the buffer of a waiting caller.
 * That the carrier broke is seen by whoever uses it next; the reason that the proxy knows
 * comes as CLOSED on the control carrier, usually before, at most RST_WAIT_MS later.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <netinet/in.h>

#include "inet.h"

AMP_OPTIONAL(amp_inet_listen);
AMP_OPTIONAL(amp_inet_accept);
AMP_OPTIONAL(amp_inet_name);
AMP_OPTIONAL(amp_inet_option);
AMP_OPTIONAL(amp_inet_direct);
AMP_OPTIONAL(amp_inet_half_close);
/* Without listen() no socket comes into their states. */
AMP_OPTIONAL(amp_inet_listen_step);
AMP_OPTIONAL(amp_inet_header_step);
AMP_OPTIONAL(amp_inet_listen_end);

#if AMPSOCK_INET

#define RST_WAIT_MS 200
#define RETRY_MS    500 /* listeners of a lost session: between attempts */

/* Not everybody's <errno.h> has this. */
#ifndef ESOCKTNOSUPPORT
#define ESOCKTNOSUPPORT 124
#endif

/* ---- ends ---- */

void amp_inet_drop_carrier(struct amp_inet_way *i)
{
	if (i->carrier) {
		amp_inet_carrier_close(i->carrier);
		i->carrier = NULL;
		/* its id ends with it, but for one that was bound for an OPEN that never left */
		if (i->state != AMP_INET_UP || i->off)
			i->id = 0;
	}
	i->off = 0;
	i->state = i->id ? AMP_INET_RELEASE : AMP_INET_IDLE;
	amp_inet_poke();
}

void amp_inet_give_up(struct amp_sock *s)
{
	amp_inet_drop_carrier(&amp_inet(s)->way);
	if (!(s->flags & AMP_SF_BOUND))
		memset(amp_inet(s)->local, 0, AMP_OFF_ADDR_LEN);
}

void amp_inet_fail(struct amp_sock *s, int err)
{
	struct amp_inet *i = amp_inet(s);

	amp_inet_req_forget(s); /* who waits for an answer has no use for it */
	if (s->type ==
	    SOCK_DGRAM) { /* it is opened again at its next use, with the same names */
		amp_inet_give_up(s);
		s->err = (uint8_t)err;
		return;
	}
	/* it may try again; a bound id is used up */
	s->flags &= (uint16_t) ~(AMP_SF_CONNECTED | AMP_SF_BOUND);
	if (i->state < AMP_INET_BUSY) {
		/* the carrier stays: what arrived can still be read. The proxy, who knows, resets it,
		 * and nothing more is sent */
		i->state = AMP_INET_DEAD;
		i->id = 0;
		if (i->carrier)
			i->carrier->flags |= AMP_SF_EOF | AMP_SF_HUP;
	} else {
		amp_inet_give_up(s);
	}
	amp_sock_reset(s, err);
}

void amp_inet_watch(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);
	struct amp_sock *c = i->carrier;

	if (i->state != AMP_INET_CONN)
		return;
	/* no error: an orderly end, both halves were closed; but a device that is not the proxy's has an
	 * end for its reset, too (docs/protocol.md, 1): CLOSED tells */
	if ((c->flags & AMP_SF_EOF) && i->off)
		amp_inet_fail(s, i->off);
	else if ((c->flags & AMP_SF_RESET) && c->err)
		amp_inet_start(s, AMP_INET_RSTWAIT, RST_WAIT_MS);
}

void amp_inet_close(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);

	if (s->flags & AMP_SF_LISTEN) /* else it may not even be linked */
		amp_inet_listen_end(s);
	s->flags |= AMP_SF_ORPHAN;
	amp_inet_req_forget(s); /* the slot's next socket is another */
	/* unread data: the TCP peer must hear of it (RFC 2525, 2.17) */
	if (i->state < AMP_INET_BUSY && i->carrier &&
	    !(s->type == SOCK_STREAM && amp_rxring_used(&i->carrier->rx)))
		i->carrier->linger_s = s->linger_s;
	amp_inet_drop_carrier(&i->way); /* somebody may be granted the room */
	if (i->state != AMP_INET_RELEASE)
		amp_sock_free(s);
}

/* ---- bind and listen ---- */

/* A request whose answer has s's address at `at`, the last thing in it. 1: s has it now; else
 * as amp_inet_req(). */
int amp_inet_fetch(struct amp_sock *s, unsigned op, unsigned at)
{
	struct amp_inet *i = amp_inet(s);
	int r = amp_inet_req(s, &i->off, op);

	if (r == 1 && (amp_inet_body_len() != at + AMP_OFF_ADDR_LEN ||
		       !amp_off_addr_ok(amp_inet_body + at) ||
		       !amp_inet_take_addr(s, i->local, amp_inet_body + at)))
		return amp_inet_violation();
	return r;
}

/* 0: bound; -EAGAIN; -errno. */
static int bind_step(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);
	uint8_t *p = amp_inet_body;
	int r = amp_inet_fetch(s, AMP_OFF_BIND, 4);

	if (r < 0)
		return r;
	if (r) {
		i->id = amp_le32(p);
		i->state = s->flags & AMP_SF_LISTEN ? AMP_INET_LISTEN : AMP_INET_BOUND;
		s->err = 0; /* of an attempt before */
		return 0;
	}
	amp_put_le32(p, (uint32_t)amp_inet_wire(s->domain) | AMP_OFF_STREAM << 8);
	amp_put_le32(p + 4, (uint32_t)i->opts_set << 1);
	amp_put_le32(p + 8, (uint32_t)i->opts << 1);
	amp_inet_addr_copy(p + 12, i->local);
	return amp_inet_req_send(12 + AMP_OFF_ADDR_LEN);
}

/* ---- connect ---- */

static int take_open_answer(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);
	const uint8_t *a = amp_inet_answer;
	bool named = i->local[0];
	uint32_t max_frame = amp_le32(a + AMP_OFF_A_MAX_FRAME);

	if (!amp_inet_take_addr(s, i->local, a + AMP_OFF_A_LOCAL))
		return -EPROTO;
	if (s->type == SOCK_STREAM) {
		if (!amp_inet_take_addr(s, i->peer, a + AMP_OFF_A_PEER))
			return -EPROTO;
		s->flags = (uint16_t)((s->flags | AMP_SF_CONNECTED) & ~AMP_SF_CONNECTING);
	}
	if (!named) /* nobody asked to bind it, nobody else can */
		s->flags |= AMP_SF_BOUND;
	i->until = (uint16_t)(max_frame < UINT16_MAX ? max_frame : UINT16_MAX);
	i->id = amp_le32(a + AMP_OFF_A_ID);
	i->off = 0;
	i->state = AMP_INET_CONN;
	return 0;
}

static int step_open(struct amp_sock *s, unsigned left)
{
	struct amp_inet *i = amp_inet(s);
	int r = 0;

	if (i->state == AMP_INET_HEADER) {
		r = amp_inet_header_step(s, left);
	} else {
		if (i->state == AMP_INET_WAIT)
			r = amp_inet_session(&i->off);
		if (!r)
			r = amp_inet_up(&i->way, s);
	}
	return r ? r : take_open_answer(s);
}

/*
 * BIND or LISTEN was refused. What of an older session is not taken is asked for again. An error is
 * told by bind() or listen(), which wait for this, or by whoever next wants the address.
 */
static void refused(struct amp_sock *s, int err)
{
	struct amp_inet *i = amp_inet(s);

	if (!(s->flags & AMP_SF_LISTEN)) {
		s->err = (uint8_t)err;
		if (!(s->flags & AMP_SF_BOUND)) {
			amp_inet_give_up(s);
			return;
		}
		if (i->state == AMP_INET_LISTEN) {
			i->state = AMP_INET_BOUND;
			return;
		}
	}
	amp_inet_start(s, (enum amp_inet_state)i->state, RETRY_MS);
}

static void release(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);

	/* id 0: the proxy is gone itself */
	if (i->id && amp_inet_note(AMP_OFF_RELEASE, 12, i->id, 0) <= 0)
		return;
	i->id = 0;
	i->state = AMP_INET_IDLE;
	if (s->flags & AMP_SF_ORPHAN)
		amp_sock_free(s);
}

/* Go on as far as possible. */
static void step(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);
	unsigned left = amp_inet_left(i), state = i->state;
	int r;

	if (left < AMP_INET_WAIT_MS && state <= AMP_INET_LISTEN)
		return;
	if (state == AMP_INET_RELEASE) {
		release(s);
		return;
	}
	if (state == AMP_INET_BIND)
		r = bind_step(s);
	else if (state == AMP_INET_LISTEN)
		r = amp_inet_listen_step(s);
	else
		r = state == AMP_INET_RSTWAIT ? -ECONNRESET : step_open(s, left);
	if (r == -EAGAIN)
		return;
	if (r && (state == AMP_INET_BIND || state == AMP_INET_LISTEN))
		refused(s, -r);
	else if (r)
		amp_inet_fail(s, -r);
	amp_inet_poke(); /* somebody waits for this */
}

bool amp_inet_step_all(void)
{
	struct amp_sock *s = NULL;
	bool any = false;

	while ((s = amp_inet_next(s)) != NULL) {
		if (amp_inet(s)->state < AMP_INET_RSTWAIT)
			continue;
		any = true;
		step(s);
	}
	return any;
}

/* ---- operations ---- */

static int inet_create(struct amp_sock *s, int type, int protocol)
{
	(void)s;
	if (type != SOCK_STREAM && type != SOCK_DGRAM)
		return -ESOCKTNOSUPPORT;
	if (protocol && protocol != (type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP))
		return -EPROTONOSUPPORT;
	amp_inet_opened();
	return 0;
}

int amp_inet_start(struct amp_sock *s, enum amp_inet_state state, unsigned ms)
{
	struct amp_inet *i = amp_inet(s);

	i->state = (uint8_t)state;
	i->off = 0;
	i->until = (uint16_t)(amp_port_now_ms() + ms);
	amp_inet_poke();
	return -EAGAIN;
}

/* UDP sockets bind by being opened. */
static int inet_bind(struct amp_sock *s, const struct sockaddr *sa, socklen_t len)
{
	struct amp_inet *i = amp_inet(s);
	bool udp = s->type == SOCK_DGRAM;
	int r;

	if (s->flags & AMP_SF_BOUND)
		return -EINVAL;
	r = amp_inet_refused(s);
	if (r)
		return r;
	if (i->state == AMP_INET_IDLE) {
		r = amp_inet_from_sa(s->domain, sa, len, i->local);
		return r ? r : amp_inet_start(s, udp ? AMP_INET_WAIT : AMP_INET_BIND, 0);
	}
	if (i->state == (udp ? AMP_INET_CONN : AMP_INET_BOUND)) {
		s->flags |= AMP_SF_BOUND;
		return 0;
	}
	/* the others are connected, or on their way: no more to be bound */
	return udp || (i->state >= AMP_INET_BUSY && i->state < AMP_INET_WAIT) ? -EAGAIN
									      : -EINVAL;
}

/* Of UDP sa is only named, or (AF_UNSPEC) no peer any more. */
static int inet_connect(struct amp_sock *s, const struct sockaddr *sa, socklen_t len)
{
	struct amp_inet *i = amp_inet(s);
	unsigned udp = s->type == SOCK_DGRAM; /* a word, for AMP_FORGET() */
	uint8_t a[AMP_OFF_ADDR_LEN];
	uint8_t *p = amp_inet_body;
	int r = 0;

	if (i->state >= AMP_INET_BUSY)
		return -EAGAIN;
	if (udp && amp_addr_unspec(sa, len))
		memset(a, 0, sizeof(a));
	else
		r = amp_inet_from_sa(s->domain, sa, len, a);
	if (r)
		return r;
	if (!udp) {
		if (i->state == AMP_INET_LISTENING)
			return -EISCONN;
		if (i->state == AMP_INET_DEAD)
			amp_inet_give_up(s);
	} else if (i->state != AMP_INET_IDLE) {
		r = amp_inet_fetch(s, AMP_OFF_UDP_CONNECT, 0);
		if (r < 0)
			return r;
		if (r == 0) {
			amp_put_le32(p, i->id);
			amp_put_le32(p + 4, 0);
			amp_inet_addr_copy(p + 8, a);
			return amp_inet_req_send(8 + AMP_OFF_ADDR_LEN);
		}
	} else if (a[0]) { /* a trip more, once */
		return amp_inet_start(s, AMP_INET_WAIT, 0);
	}
	AMP_FORGET(udp); /* one copy of what follows will do */
	amp_inet_addr_copy(i->peer, a);
	s->flags &= (uint16_t) ~(AMP_SF_RESET | AMP_SF_EOF | AMP_SF_HUP | AMP_SF_CONNECTED);
	if (!udp)
		return amp_inet_start(s, AMP_INET_WAIT, 0);
	if (amp_le16(a + 2)) /* port 0 can be sent to, and is no peer, as on Linux */
		s->flags |= AMP_SF_CONNECTED;
	return 0;
}

/* The carrier of a TCP socket that is connected as it should be, and amp_inet_watch() would see
 * nothing; else NULL, and amp_inet_may_move() says what. */
static inline struct amp_sock *usual_stream(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);

	if (!AMPSOCK_FAST || s->type != SOCK_STREAM || i->state != AMP_INET_CONN ||
	    (i->carrier->flags & (AMP_SF_RESET | AMP_SF_EOF)))
		return NULL;
	return i->carrier;
}

/* Bytes that arrive on the carrier go to who waits at s. */
static inline void want_at(struct amp_sock *s, struct amp_sock *c)
{
	amp_sock_set_want(c, amp_sock_want(s));
	if (amp_sock_want(s))
		amp_sock_want(s)->at = c;
}

/* A function: two copies are longer. */
__attribute__((noinline)) int amp_inet_may_move(struct amp_sock *s, bool in)
{
	struct amp_inet *i = amp_inet(s);
	int r;

	amp_inet_watch(s);
	if (i->state > AMP_INET_BUSY)
		return -EAGAIN;
	r = i->carrier ? 0 : -ENOTCONN;
	/* all read, and soon we know why there is no more */
	if (i->state == AMP_INET_RSTWAIT && !(in && amp_rxring_used(&i->carrier->rx)))
		r = -EAGAIN;
	return r;
}

static ssize_t inet_sendmsg(struct amp_sock *s, const struct amp_msg *m, int flags)
{
	struct amp_sock *c = usual_stream(s);
	int r;

	if (!c) {
		if (s->type == SOCK_DGRAM)
			return amp_inet_udp_send(s, m);
		r = amp_inet_may_move(s, false);
		if (r)
			return r;
		c = amp_inet(s)->carrier;
	}
	return AMP_CARRIER(c, sendmsg)(c, m, flags);
}

static ssize_t inet_recvmsg(struct amp_sock *s, struct amp_msg *m, int flags)
{
	struct amp_sock *c = usual_stream(s);
	int r;

	if (!c) {
		if (s->type == SOCK_DGRAM)
			return amp_inet_udp_recv(s, m, flags);
		r = amp_inet_may_move(s, true);
		if (r)
			return r;
		c = amp_inet(s)->carrier;
	}
	want_at(s, c);
	return AMP_CARRIER(c, recvmsg)(c, m, flags);
}

#if AMPSOCK_FAST
static bool inet_send_fast(struct amp_sock *s, const void *buf, size_t len, int flags)
{
	if (s->type == SOCK_DGRAM)
		return false;
	return !amp_inet_may_move(s, false) &&
	       amp_sock_send_fast(amp_inet(s)->carrier, buf, len, flags);
}

static void inet_recv_fast(struct amp_sock *s, struct amp_rx_want *w)
{
	if (s->type != SOCK_DGRAM && amp_inet(s)->state == AMP_INET_CONN)
		amp_sock_recv_fast(amp_inet(s)->carrier, w);
}
#endif

/*
 * A call has given up. The next one may ask for something else, and must neither take the answer
 * that is still to come nor find a socket that is about to be bound to the address of this one.
 * (listen() asks for the same each time.)
 */
static void inet_end(struct amp_sock *s, enum amp_end_why why)
{
	unsigned state = amp_inet(s)->state;
	bool udp = s->type == SOCK_DGRAM;

	if (why == AMP_END_CLOSED) {
		amp_inet_close(s);
		return;
	}
	if (state == AMP_INET_LISTEN)
		return;
	if (why == AMP_END_CONNECT && !udp) {
		if (state >= AMP_INET_WAIT)
			amp_inet_fail(s, 0);
		return;
	}
	amp_inet_req_forget(s);
	if (udp ? state > AMP_INET_BUSY
		: (state == AMP_INET_BIND || state == AMP_INET_BOUND) &&
			    !(s->flags & AMP_SF_BOUND))
		amp_inet_give_up(s);
}

static int inet_poll(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);

	if (s->type == SOCK_DGRAM)
		return amp_inet_udp_poll(s);
	amp_inet_watch(s);
	if (i->state == AMP_INET_CONN) {
		i->carrier->rcvlowat = s->rcvlowat;
		return AMP_CARRIER(i->carrier, poll)(i->carrier);
	}
	if (i->state == AMP_INET_RSTWAIT)
		return amp_rxring_used(&i->carrier->rx) ? POLLIN : 0;
	return amp_sock_poll(s, false);
}

const struct amp_family amp_inet_family = {
	.domain = AF_INET,
	.create = inet_create,
	.bind = inet_bind,
	.connect = inet_connect,
	.listen = amp_inet_listen,
	.accept = amp_inet_accept,
	.sendmsg = inet_sendmsg,
	.recvmsg = inet_recvmsg,
	.end = inet_end,
	.half_close = amp_inet_half_close,
	.name = amp_inet_name,
	.option = amp_inet_option,
	.poll = inet_poll,
	.direct = amp_inet_direct,
#if AMPSOCK_FAST
	.send_fast = inet_send_fast,
	.recv_fast = inet_recv_fast,
#endif
};

#endif /* AMPSOCK_INET */
