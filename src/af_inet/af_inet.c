/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AF_INET and AF_INET6: sockets that the proxy opens (docs/protocol.md).
 *
 * Theory of operation
 *
 * A socket has a state (inet.h). connect(), and any use of a UDP socket, only sets it to
 * WAIT: the session's runner then steps the socket through session, carrier, OPEN and
 * ANSWER, the same way whether somebody waits for it or not. bind() and listen() are
 * requests on the control carrier that their caller fetches the answer of; after a lost
 * session the runner makes them again by itself.
 *
 * Once connected, a TCP socket is its carrier: send, receive, shutdown, poll and the
 * zero-copy calls go straight through to it, and so does the buffer of a waiting caller.
 * That the carrier broke is seen by whoever uses it next; the reason that the proxy knows
 * comes as CLOSED on the control carrier, usually before, at most RST_WAIT_MS later.
 */
#include <errno.h>
#include <string.h>
#include <netinet/in.h>

#include "inet.h"
#include "../wire/le.h"

AMP_OPTIONAL(amp_inet_listen);
AMP_OPTIONAL(amp_inet_accept);
AMP_OPTIONAL(amp_inet_name);
AMP_OPTIONAL(amp_inet_option);
AMP_OPTIONAL(amp_inet_direct);
/* Without listen() no socket comes into their states. */
AMP_OPTIONAL(amp_inet_listen_step);
AMP_OPTIONAL(amp_inet_header_step);

#define RST_WAIT_MS 200
#define RETRY_MS    500 /* listeners of a lost session: between attempts */

/* Not everybody's <poll.h> and <errno.h> have these. */
#ifndef POLLRDHUP
#define POLLRDHUP 0
#endif
#ifndef ESOCKTNOSUPPORT
#define ESOCKTNOSUPPORT 124
#endif

/* ---- addresses ---- */

int amp_inet_from_sa(int domain, const struct sockaddr *sa, socklen_t len,
		     struct amp_off_addr *a)
{
	struct sockaddr_in6 in6;
	struct sockaddr_in in;

	memset(a, 0, sizeof(*a));
	if (sa->sa_family != domain)
		return -EAFNOSUPPORT;
	a->family = amp_inet_wire(domain);
	if (domain == AF_INET) {
		if (len < sizeof(in))
			return -EINVAL;
		memcpy(&in, sa, sizeof(in)); /* the caller's may lie anywhere */
		memcpy(a->addr, &in.sin_addr, 4);
		a->port = ntohs(in.sin_port);
	} else {
		if (len < sizeof(in6))
			return -EINVAL;
		memcpy(&in6, sa, sizeof(in6));
		memcpy(a->addr, &in6.sin6_addr, 16);
		a->port = ntohs(in6.sin6_port);
		a->scope_id = in6.sin6_scope_id;
	}
	return 0;
}

void amp_inet_to_sa(int domain, const struct amp_off_addr *a, struct sockaddr *sa,
		    socklen_t *len)
{
	union {
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} u;
	socklen_t size = domain == AF_INET ? sizeof(u.in) : sizeof(u.in6);

	memset(&u, 0, sizeof(u));
	if (domain == AF_INET) {
		u.in.sin_family = AF_INET;
		u.in.sin_port = htons(a->port);
		memcpy(&u.in.sin_addr, a->addr, 4);
	} else {
		u.in6.sin6_family = AF_INET6;
		u.in6.sin6_port = htons(a->port);
		memcpy(&u.in6.sin6_addr, a->addr, 16);
		u.in6.sin6_scope_id = a->scope_id;
	}
	memcpy(sa, &u, *len < size ? *len : size);
	*len = size;
}

/* An address that the proxy says is s's: of its family, or none at all (protocol.md 2.3). */
bool amp_inet_own_addr(const struct amp_sock *s, const struct amp_off_addr *a)
{
	return a->family == amp_inet_wire(s->domain);
}

/* ---- ends ---- */

void amp_inet_drop_carrier(struct amp_sock *s, uint8_t linger_s)
{
	struct amp_inet *i = amp_inet(s);

	if (i->id && (i->state == AMP_INET_WAIT || i->state == AMP_INET_CARRIER))
		amp_inet_note(AMP_OFF_RELEASE, i->id,
			      0); /* bound for a connect that never left */
	if (i->carrier)
		amp_inet_carrier_close(i->carrier, linger_s);
	i->carrier = NULL;
	i->id = 0;
	i->off = 0;
	i->state = AMP_INET_IDLE;
}

/* An attempt to open came to nothing; the socket may try again. A bound id is used up. */
static void give_up(struct amp_sock *s, int err)
{
	amp_inet_drop_carrier(s, 0);
	if (s->type == SOCK_STREAM) {
		s->flags &= (uint16_t)~AMP_SF_BOUND;
		amp_sock_reset(s, err);
	}
	if (!(s->flags & AMP_SF_BOUND))
		amp_inet(s)->local.family = 0;
	s->err = (uint8_t)err;
	amp_sock_changed(s);
}

void amp_inet_fail(struct amp_sock *s, int err)
{
	struct amp_inet *i = amp_inet(s);

	if (i->state == AMP_INET_HEADER) { /* nobody has seen it yet */
		amp_inet_close(s);
		return;
	}
	if (s->type == SOCK_DGRAM) { /* opens again at its next use, with the same names */
		amp_inet_drop_carrier(s, 0);
		s->err = (uint8_t)err;
		amp_sock_changed(s);
		return;
	}
	if (i->state < AMP_INET_BUSY || i->state == AMP_INET_RSTWAIT) {
		i->state =
			AMP_INET_DEAD; /* the carrier stays: what arrived can still be read */
		i->id = 0;
		if (i->carrier && !(i->carrier->flags & AMP_SF_RESET)) {
			i->carrier->fam->shutdown(i->carrier, SHUT_WR);
			i->carrier->flags |= AMP_SF_EOF; /* SHUT_RD throws away */
		}
		s->flags &= (uint16_t)~AMP_SF_CONNECTED;
		amp_sock_reset(s, err);
		return;
	}
	give_up(s, err);
}

void amp_inet_lost(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);

	switch (i->state) {
	case AMP_INET_BOUND:
	case AMP_INET_LISTENING:
	case AMP_INET_LISTEN:
		memset(&i->door, 0, sizeof(i->door));
		i->state = AMP_INET_BIND; /* the next session hears of it again */
		i->until = (uint16_t)amp_port_now_ms();
		i->id = 0;
		i->off = 0;
		amp_inet_poke();
		break;
	case AMP_INET_ZOMBIE:
	case AMP_INET_RELEASE:
		amp_sock_free(s);
		break;
	case AMP_INET_CONN:
	case AMP_INET_CARRIER:
	case AMP_INET_OPEN:
	case AMP_INET_ANSWER:
	case AMP_INET_RSTWAIT:
	case AMP_INET_HEADER:
		amp_inet_fail(s, ECONNRESET);
		break;
	default: /* those that wait for the session have a ticket */
		break;
	}
}

void amp_inet_closed(struct amp_sock *s, int err)
{
	struct amp_inet *i = amp_inet(s);

	if (i->state == AMP_INET_CONN && s->type == SOCK_STREAM)
		i->off = (uint8_t)(err ? err
				       : ECONNRESET); /* data still comes before the reset */
	else if (i->state < AMP_INET_BUSY || i->state == AMP_INET_RSTWAIT)
		amp_inet_fail(s, err ? err : ECONNRESET);
}

void amp_inet_watch(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);

	/* no error: an orderly end, both halves were closed */
	if (i->state != AMP_INET_CONN || !(i->carrier->flags & AMP_SF_RESET) ||
	    !i->carrier->err)
		return;
	if (s->type == SOCK_DGRAM) {
		amp_inet_fail(s, ECONNRESET);
	} else if (i->off) {
		amp_inet_fail(s, i->off);
	} else {
		i->state = AMP_INET_RSTWAIT;
		i->until = (uint16_t)(amp_port_now_ms() + RST_WAIT_MS);
		amp_inet_poke();
	}
}

void amp_inet_close(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);
	struct amp_sock *child;
	bool unread;

	while ((s->flags & AMP_SF_LISTEN) && (child = amp_sock_queue_pop(s)) != NULL) {
		child->linger_s = 0; /* never accepted: reset, not closed */
		amp_inet_close(child);
	}
	s->flags |= AMP_SF_ORPHAN;
	if ((i->state == AMP_INET_BIND || i->state == AMP_INET_LISTEN) &&
	    amp_inet_req_mine(s)) {
		i->off = i->state == AMP_INET_BIND ? AMP_OFF_BIND : AMP_OFF_LISTEN;
		i->state = AMP_INET_ZOMBIE;
	} else if (i->id && (i->state == AMP_INET_BOUND || i->state == AMP_INET_LISTENING ||
			     i->state == AMP_INET_LISTEN)) {
		amp_inet_req_forget(s); /* an option: the slot's next socket is another */
		i->state = AMP_INET_RELEASE;
	} else {
		amp_inet_req_forget(s);
		/* unread data: the TCP peer must hear of it (RFC 2525, 2.17) */
		unread = s->type == SOCK_STREAM && i->carrier &&
			 amp_rxring_used(&i->carrier->rx);
		amp_inet_drop_carrier(s, i->state >= AMP_INET_WAIT || unread ? 0 : s->linger_s);
		amp_sock_free(s);
	}
	amp_inet_poke(); /* somebody may be granted the room */
}

/* ---- bind and listen ---- */

static void put_opts(const struct amp_sock *s, uint32_t *set, uint32_t *opts)
{
	const struct amp_inet *i = (const struct amp_inet *)(const void *)s->priv.bytes;

	*set = (uint32_t)i->opts_set << 1;
	*opts = (uint32_t)i->opts << 1;
}

/* 1: answered, the body is *len bytes; else as amp_inet_req(). A wrong length ends the session.
 */
int amp_inet_fetch(struct amp_sock *s, unsigned op, uint8_t **p, unsigned want_len)
{
	struct amp_inet *i = amp_inet(s);
	unsigned len;
	int r = amp_inet_session(&i->off);

	if (r)
		return r;
	r = amp_inet_req(s, op, p, &len);
	if (r != 1 || len == want_len)
		return r;
	amp_inet_violation();
	return -EPROTO;
}

/* 0: bound; -EAGAIN; -errno. */
int amp_inet_bind_step(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);
	struct amp_off_addr a = {.family = 0};
	uint32_t set, opts;
	uint8_t *p;
	int r = amp_inet_fetch(s, AMP_OFF_BIND, &p, 4 + AMP_OFF_ADDR_LEN);

	if (r < 0)
		return r;
	if (r) {
		if (!amp_off_get_addr(p + 4, &a) || !amp_inet_own_addr(s, &a)) {
			amp_inet_violation();
			return -EPROTO;
		}
		i->id = amp_le32(p);
		i->local = a;
		i->state = s->flags & AMP_SF_LISTEN ? AMP_INET_LISTEN : AMP_INET_BOUND;
		return 0;
	}
	put_opts(s, &set, &opts);
	amp_put_le32(p, (uint32_t)amp_inet_wire(s->domain) | AMP_OFF_STREAM << 8);
	amp_put_le32(p + 4, set);
	amp_put_le32(p + 8, opts);
	amp_off_put_addr(p + 12, &i->local);
	amp_inet_req_send(12 + AMP_OFF_ADDR_LEN);
	return -EAGAIN;
}

/* A request of a closed socket: give back what it got. */
static void step_zombie(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);
	unsigned len;
	uint8_t *p;
	int r = amp_inet_req(s, i->off, &p, &len);

	if (r == -EAGAIN)
		return;
	if (r == 1 && len >= 4)
		i->id = amp_le32(p);
	i->state = AMP_INET_RELEASE;
	if (!i->id)
		amp_sock_free(s);
}

/* A listener or bound socket that a new session must hear of. */
static void step_again(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);
	uint16_t now_ms = (uint16_t)amp_port_now_ms();
	int r;

	if (!amp_inet_due(i))
		return;
	i->until = now_ms;
	r = i->state == AMP_INET_BIND ? amp_inet_bind_step(s) : amp_inet_listen_step(s);
	if (r && r != -EAGAIN) {
		i->until = (uint16_t)(now_ms + RETRY_MS);
		i->off = 0;
	}
}

/* ---- connect ---- */

static int send_open(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);
	bool tcp = s->type == SOCK_STREAM;
	struct amp_off_open *o = amp_inet_new_open(tcp ? AMP_OFF_CONNECT : AMP_OFF_UDP);

	o->family = amp_inet_wire(s->domain);
	o->type = tcp ? AMP_OFF_STREAM : AMP_OFF_DGRAM;
	o->max_frame = AMPSOCK_RING_LEN < UINT16_MAX ? AMPSOCK_RING_LEN : UINT16_MAX;
	o->bound_id = i->id;
	put_opts(s, &o->opts_set, &o->opts);
	o->keepidle_s = i->keep[0];
	o->keepintvl_s = i->keep[1];
	o->keepcnt = i->keep[2];
	o->linger = (uint8_t)(s->linger_s + 1); /* 255, not set, becomes 0 */
	o->peer = i->peer;
	o->local = i->local;
	return amp_inet_send_open(i->carrier, o, &i->off);
}

static int take_open_answer(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);
	const struct amp_off_answer *a;
	bool tcp = s->type == SOCK_STREAM;
	int r = amp_inet_recv_answer(i->carrier, tcp ? AMP_OFF_CONNECT : AMP_OFF_UDP, &a);

	if (r)
		return r;
	if (!amp_inet_own_addr(s, &a->local) || (tcp && !amp_inet_own_addr(s, &a->peer)))
		return -EPROTO;
	if (!i->local.family) /* nobody asked to bind it, nobody else can */
		s->flags |= AMP_SF_BOUND;
	i->local = a->local;
	i->id = a->id;
	i->off = 0;
	i->state = AMP_INET_CONN;
	if (tcp) {
		i->peer = a->peer;
		s->flags |= AMP_SF_CONNECTED;
	} else {
		i->until = (uint16_t)(a->max_frame < UINT16_MAX ? a->max_frame : UINT16_MAX);
	}
	amp_sock_changed(s);
	return 0;
}

static int step_open(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);
	const struct amp_family *fam;
	int r;

	switch (i->state) {
	case AMP_INET_WAIT:
		r = amp_inet_session(&i->off);
		if (r)
			return r;
		fam = amp_inet_carrier_family();
		i->carrier = amp_sock_new(fam, fam->domain, SOCK_STREAM, 0, &r);
		if (!i->carrier)
			return -ENOBUFS;
		i->state = AMP_INET_CARRIER;
		/* fall through */
	case AMP_INET_CARRIER:
		r = amp_inet_carrier_connect(i->carrier);
		if (r)
			return r;
		i->off = 0;
		i->state = AMP_INET_OPEN;
		/* fall through */
	case AMP_INET_OPEN:
		r = send_open(s);
		if (r)
			return r;
		i->state = AMP_INET_ANSWER;
		/* fall through */
	default:
		return take_open_answer(s);
	}
}

void amp_inet_step(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);
	uint8_t before = i->state;
	int r;

	switch (before) {
	case AMP_INET_BIND:
	case AMP_INET_LISTEN:
		step_again(s);
		return;
	case AMP_INET_ZOMBIE:
		step_zombie(s);
		return;
	case AMP_INET_RELEASE:
		if (!amp_inet_note(AMP_OFF_RELEASE, i->id, 0))
			amp_sock_free(s);
		return;
	case AMP_INET_RSTWAIT:
		if (amp_inet_due(i))
			amp_inet_fail(s, ECONNRESET);
		return;
	case AMP_INET_HEADER:
		amp_inet_header_step(s);
		return;
	default:
		r = step_open(s);
		if (r && r != -EAGAIN)
			give_up(s, -r);
		else if (i->state != before)
			amp_inet_poke(); /* the link has something to send */
	}
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

void amp_inet_open(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);

	i->state = AMP_INET_WAIT;
	i->off = 0;
	amp_inet_poke();
}

static int udp_bind(struct amp_sock *s, const struct sockaddr *sa, socklen_t len)
{
	struct amp_inet *i = amp_inet(s);
	int r = -s->err;

	if (s->flags & AMP_SF_BOUND)
		return -EINVAL;
	s->err = 0;
	if (i->state >= AMP_INET_BUSY)
		return -EAGAIN;
	if (i->state == AMP_INET_CONN) {
		s->flags |= AMP_SF_BOUND;
		return 0;
	}
	if (!r)
		r = amp_inet_from_sa(s->domain, sa, len, &i->local);
	if (!r) {
		amp_inet_open(s);
		r = -EAGAIN;
	}
	return r;
}

static int inet_bind(struct amp_sock *s, const struct sockaddr *sa, socklen_t len)
{
	struct amp_inet *i = amp_inet(s);
	int r;

	if (s->type == SOCK_DGRAM)
		return udp_bind(s, sa, len);
	if (i->state == AMP_INET_IDLE) {
		r = amp_inet_from_sa(s->domain, sa, len, &i->local);
		if (r)
			return r;
		i->state = AMP_INET_BIND;
		i->off = 0;
	}
	if (i->state != AMP_INET_BIND || (s->flags & AMP_SF_BOUND))
		return -EINVAL;
	r = amp_inet_bind_step(s);
	if (r == 0)
		s->flags |= AMP_SF_BOUND;
	else if (r != -EAGAIN)
		amp_inet_drop_carrier(s, 0);
	return r;
}

static int udp_connect(struct amp_sock *s, const struct sockaddr *sa, socklen_t len)
{
	struct amp_inet *i = amp_inet(s);
	struct amp_off_addr a = {.family = 0};
	unsigned got;
	uint8_t *p;
	int r = 0;

	if (sa->sa_family != AF_UNSPEC)
		r = amp_inet_from_sa(s->domain, sa, len, &a);
	if (r)
		return r;
	if (i->state != AMP_INET_CONN) { /* a trip more, once */
		if (i->state == AMP_INET_IDLE)
			amp_inet_open(s);
		return -EAGAIN;
	}
	r = amp_inet_req(s, AMP_OFF_UDP_CONNECT, &p, &got);
	if (r == 0) {
		amp_put_le32(p, i->id);
		amp_put_le32(p + 4, 0);
		amp_off_put_addr(p + 8, &a);
		amp_inet_req_send(8 + AMP_OFF_ADDR_LEN);
		return -EAGAIN;
	}
	if (r < 0)
		return r;
	i->peer = a;
	if (got != AMP_OFF_ADDR_LEN || !amp_off_get_addr(p, &a) || !amp_inet_own_addr(s, &a)) {
		amp_inet_violation();
		return -EPROTO;
	}
	i->local = a;
	s->flags &= (uint16_t)~AMP_SF_CONNECTED;
	if (i->peer.family)
		s->flags |= AMP_SF_CONNECTED;
	return 0;
}

static int inet_connect(struct amp_sock *s, const struct sockaddr *sa, socklen_t len)
{
	struct amp_inet *i = amp_inet(s);
	struct amp_off_addr a;
	int r;

	if (s->type == SOCK_DGRAM)
		return udp_connect(s, sa, len);
	if (i->state >= AMP_INET_BUSY)
		return -EAGAIN;
	if (i->state == AMP_INET_CONN || i->state == AMP_INET_LISTENING)
		return -EISCONN;
	r = amp_inet_from_sa(s->domain, sa, len, &a);
	if (r)
		return r;
	if (i->state == AMP_INET_DEAD)
		amp_inet_drop_carrier(s, 0);
	i->peer = a;
	s->flags &= (uint16_t) ~(AMP_SF_RESET | AMP_SF_EOF | AMP_SF_HUP | AMP_SF_CONNECTED);
	amp_inet_open(s);
	return -EAGAIN;
}

/* The carrier of a connected TCP socket, or NULL with what to answer instead. */
struct amp_sock *amp_inet_stream(struct amp_sock *s, int *err)
{
	struct amp_inet *i = amp_inet(s);

	amp_inet_watch(s);
	*err = i->state > AMP_INET_BUSY ? -EAGAIN : -ENOTCONN;
	return i->state == AMP_INET_CONN || i->state == AMP_INET_DEAD ||
			       i->state == AMP_INET_RSTWAIT
		       ? i->carrier
		       : NULL;
}

static ssize_t inet_sendmsg(struct amp_sock *s, const struct amp_msg *m, int flags)
{
	struct amp_sock *c;
	int err;

	if (s->type == SOCK_DGRAM)
		return amp_inet_udp_send(s, m, flags);
	c = amp_inet_stream(s, &err);
	if (!c)
		return err;
	if (amp_inet(s)->state == AMP_INET_RSTWAIT)
		return -EAGAIN;
	return c->fam->sendmsg(c, m, flags);
}

static ssize_t inet_recvmsg(struct amp_sock *s, struct amp_msg *m, int flags)
{
	struct amp_sock *c;
	ssize_t n;
	int err;

	if (s->type == SOCK_DGRAM)
		return amp_inet_udp_recv(s, m, flags);
	c = amp_inet_stream(s, &err);
	if (!c)
		return err;
	c->want = s->want;
	if (s->want)
		s->want->at = c;
	n = c->fam->recvmsg(c, m, flags);
	/* all read, and soon we know why there is no more */
	return n <= 0 && m->len && amp_inet(s)->state == AMP_INET_RSTWAIT ? -EAGAIN : n;
}

static int inet_shutdown(struct amp_sock *s, int how)
{
	struct amp_inet *i = amp_inet(s);
	int r = 0;

	if (how == AMP_SHUT_CLOSE) {
		amp_inet_close(s);
		return 0;
	}
	if (s->type == SOCK_STREAM && i->state >= AMP_INET_WAIT &&
	    i->state <= AMP_INET_ANSWER) {
		give_up(s, 0);
		return 0;
	}
	if (s->type == SOCK_DGRAM && (s->flags & AMP_SF_CONNECTING)) {
		amp_inet_req_forget(s); /* the next one must not take its answer */
		return 0;
	}
	if (!(s->flags & AMP_SF_CONNECTED))
		return -ENOTCONN;
	if (s->type == SOCK_STREAM && i->carrier)
		r = i->carrier->fam->shutdown(i->carrier, how);
	if (how != SHUT_WR)
		s->flags |= AMP_SF_RD_SHUT;
	if (how != SHUT_RD)
		s->flags |= AMP_SF_WR_SHUT;
	return r;
}

static int inet_poll(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);

	if (s->type == SOCK_DGRAM)
		return amp_inet_udp_poll(s);
	if (s->flags & AMP_SF_LISTEN)
		return s->queue ? POLLIN : 0;
	amp_inet_watch(s);
	switch (i->state) {
	case AMP_INET_CONN:
		i->carrier->rcvlowat = s->rcvlowat;
		return i->carrier->fam->poll(i->carrier);
	case AMP_INET_RSTWAIT:
		return amp_rxring_used(&i->carrier->rx) ? POLLIN : 0;
	case AMP_INET_IDLE:
	case AMP_INET_BOUND:
	case AMP_INET_DEAD:
		return POLLOUT | POLLHUP | (s->flags & AMP_SF_RESET ? POLLIN | POLLRDHUP : 0);
	default:
		return 0;
	}
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
	.shutdown = inet_shutdown,
	.name = amp_inet_name,
	.option = amp_inet_option,
	.poll = inet_poll,
	.direct = amp_inet_direct,
};
