// SPDX-License-Identifier: BSD-3-Clause
/*
 * The AF_RPMSG family: sockets on rpmsg endpoints.
 *
 * Theory of operation
 *
 * A bound socket has an endpoint on its link, or on each of them (RPMSG_LINK_ANY), with the
 * same address. The name is announced when the socket can take what comes: of a datagram
 * socket at once, of the others when they listen or are connected, so no peer is invited
 * before its first message has a place to go.
 *
 * A stream that connects is a connection of the engine (rpmsg_stream.c) from then on, with an
 * endpoint of its own, and the operations are those of AF_VSOCK's streams (vsock/af_vsock.c).
 * Raw sockets are in rpmsg_raw.c, listeners in rpmsg_listen.c.
 *
 * connect() by name looks into the link's table. If the name is not there the socket waits
 * (SUB_WAIT) for the announcement, whether its caller does or not: each turn of a link looks
 * again and goes on with the connect, a deadline ends it with ECONNREFUSED.
 *
 * close() takes the endpoints with it. A named one must be withdrawn, which takes a buffer,
 * so the slot may stay for a while (SUB_CLOSED) until the bus says that it is out.
 */
#include <errno.h>
#include <string.h>
#include <sys/rpmsg_socket.h>

#include "ampsock.h"
#include "../wire/le.h"
#include "af_rpmsg.h"

#if AMPSOCK_RPMSG

AMP_OPTIONAL(amp_rpmsg_listen);
AMP_OPTIONAL(amp_rpmsg_accept);
AMP_OPTIONAL(amp_rpmsg_name);
AMP_OPTIONAL(amp_rpmsg_option);
AMP_OPTIONAL(amp_rpmsg_direct);
AMP_OPTIONAL(amp_rpmsg_half_close);
AMP_OPTIONAL(amp_rpmsg_close_family);
AMP_OPTIONAL(amp_rpmsg_unreserve);

/* Names that sockets are bound to: few are, so they are not in each. "": free. A socket that is
 * closed has its own until the withdrawal is out. */
static struct amp_own_name own_names[AMPSOCK_RPMSG_SERVICES]; /* l */

#if AMPSOCK_FAST
bool amp_rsock_waits; /* l */
#endif

int amp_rpmsg_sock_create(struct amp_sock *s, int type, int protocol)
{
	(void)s;
	if (type != SOCK_STREAM && type != SOCK_SEQPACKET && type != SOCK_DGRAM)
		return -ESOCKTNOSUPPORT;
	return protocol && protocol != AF_RPMSG ? -EPROTONOSUPPORT : 0;
}

/* The next socket of this family: as amp_sock_next(). */
#if AMP_ONE_FAMILY
static inline struct amp_sock *next_of_us(const struct amp_sock *s)
{
	return amp_sock_next(s);
}
#else
/* Here alone its table's address is loaded. */
static __attribute__((noinline)) struct amp_sock *next_of_us(const struct amp_sock *s)
{
	return amp_sock_next_of(s, &amp_rpmsg_family);
}
#endif

/* ---- endpoints ---- */

/* Of all links, those that s has an endpoint on are closed. True: nothing is still to be sent, as
 * without a name, or when it was never announced.
 */
static bool close_all(struct amp_sock *s)
{
	struct amp_rsock *p = amp_rsock(s);
	bool done = true;

	for (unsigned i = 0; i < AMPSOCK_RPMSG; i++) {
		struct amp_rpmsg_ept *e = &p->end[i].ept;

		if (!e->kind)
			continue;
		e->kind = 0;
		if (amp_rpmsg_close(&amp_rlinks[i].bus, e))
			continue;
		done = false;
		if (AMPSOCK_RPMSG > 1)
			p->leaving++;
		amp_runner_due(&amp_rlinks[i].l.runner);
	}
	return done;
}

/* Room for the name that a socket is to be bound to, which nobody else has on that link. */
static int name_keep(struct amp_rsock *p, const struct amp_raddr *at)
{
	struct amp_own_name *n = own_names + AMPSOCK_RPMSG_SERVICES, *room = NULL;

	while (n-- > own_names) {
		if (!n->name[0])
			room = n;
		else if (n->bound && strcmp(n->name, at->name) == 0 &&
			 (amp_rlink_meant(n->on, at->link) || amp_rlink_meant(at->link, n->on)))
			return -EADDRINUSE;
	}
	if (!room) {
		amp_explain("rpmsg: too many names are bound (AMPSOCK_RPMSG_SERVICES)");
		return -ENOBUFS;
	}
	strcpy(room->name, at->name);
	if (AMPSOCK_RPMSG > 1)
		room->on = (uint8_t)at->link;
	room->bound = true;
	p->own = room;
	return 0;
}

/* Nobody is to hear of it any more. */
static void forget(struct amp_sock *s)
{
	if (amp_rsock(s)->own)
		amp_rsock(s)->own->name[0] = '\0';
	amp_sock_free(s);
}

void amp_rsock_finish(struct amp_sock *s)
{
	if (close_all(s))
		forget(s);
	else /* its name was announced, and is for others to bind to */
		amp_rsock(s)->own->bound = false;
}

/* The withdrawal of a closed socket's endpoint is out. */
void amp_rlink_on_gone(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept)
{
	struct amp_sock *s = amp_rsock_of(amp_rlink_bus(bus), ept);

	if (AMPSOCK_RPMSG == 1 || --amp_rsock(s)->leaving == 0)
		forget(s);
}

/* One on each link meant, all at the same address. */
static int open_some(struct amp_sock *s, unsigned on, uint32_t addr)
{
	struct amp_rsock *p = amp_rsock(s);
	int r;

	for (unsigned i = 0; i < AMPSOCK_RPMSG; i++) {
		if (!amp_rlink_meant(on, i) || p->end[i].ept.kind)
			continue;
		r = amp_rpmsg_open(&amp_rlink_get(i)->bus, &p->end[i].ept, addr);
		if (r) {
			if (AMPSOCK_RPMSG > 1)
				(void)close_all(s);
			return r;
		}
		p->end[i].name = NULL;
		p->end[i].ept.kind = s->type;
		addr = p->end[i].ept.addr;
	}
	return 0;
}

int amp_rsock_open(struct amp_sock *s, unsigned on, uint32_t addr)
{
	int r = s->type == SOCK_DGRAM ? amp_sock_ring(s) : 0;

	if (r)
		return r;
	do { /* what is free on one link may not be on the next */
		r = open_some(s, on, addr ? addr : AMP_RPMSG_ADDR_ANY);
	} while (AMPSOCK_RPMSG > 1 && !addr && r == -EADDRINUSE);
	return r;
}

void amp_rsock_announce(struct amp_sock *s)
{
	struct amp_rsock *p = amp_rsock(s);

	for (unsigned i = 0; i < AMPSOCK_RPMSG; i++) {
		struct amp_rlink *l = &amp_rlinks[i];

		/* a datagram may have gone out on a link that the socket is not bound to */
		if (!p->own || !amp_rlink_meant(p->bound_on, i) || p->end[i].name)
			continue;
		amp_rpmsg_announce(&l->bus, &p->end[i], p->own->name);
		if (amp_rlink_is_up(l))
			amp_runner_due(&l->l.runner);
	}
}

int amp_rpmsg_sock_bind(struct amp_sock *s, const struct sockaddr *addr, socklen_t len)
{
	struct amp_rsock *p = amp_rsock(s);
	struct amp_raddr at;
	int r = amp_raddr_get(s, addr, len, &at);

	if (r)
		return r;
	if ((s->flags & (AMP_SF_BOUND | AMP_SF_CONNECTED | AMP_SF_CONNECTING)) ||
	    (s->sub & SUB_CHILD) || amp_rsock_is_conn(s))
		return -EINVAL;
	p->bound_on =
		(uint8_t)at.link; /* no matter if it fails: AMP_SF_BOUND says that it is */
	/* without descriptor: the carriers' listener, and that is for the front door */
	if (AMPSOCK_INET && (s->flags & AMP_SF_ORPHAN)) {
		s->sub |= SUB_DOOR;
	} else {
		if (at.name[0])
			r = name_keep(p, &at);
		if (r)
			return r;
		(void)close_all(s); /* one that a datagram was sent from */
		r = amp_rsock_open(s, at.link, at.addr);
	}
	if (r) {
		if (p->own) /* nobody has heard of it */
			p->own->name[0] = '\0';
		p->own = NULL;
		return r;
	}
	s->flags |= AMP_SF_BOUND;
	if (s->type == SOCK_DGRAM)
		amp_rsock_announce(s);
	return 0;
}

/* ---- connect ---- */

#define FRESH \
	((uint16_t) ~(AMP_SF_RESET | AMP_SF_EOF | AMP_SF_HUP | AMP_SF_RD_SHUT | AMP_SF_WR_SHUT))

/* No peer, nor one that is waited for: what it had reserved goes back, and of a connection what was not
 * read. */
static __attribute__((noinline)) void disconnect(struct amp_sock *s)
{
	if (s->flags & AMP_SF_RESERVED)
		amp_rpmsg_unreserve(s);
	if (s->type != SOCK_DGRAM)
		s->rx.tail = s->rx.head;
	s->link = 0;
	s->sub &= (uint8_t)~SUB_WAIT;
	s->flags &= FRESH & (uint16_t)~AMP_SF_CONNECTED;
}

static int wait_for(struct amp_sock *s, const struct amp_raddr *to)
{
	struct amp_rsock *p = amp_rsock(s);

	disconnect(s);
	s->sub |= SUB_WAIT;
	amp_rsock_set_waiting(true);
	p->deadline_ms = amp_port_now_ms() +
			 (s->timeo[true] ? amp_timeo_ms(s->timeo[true]) : AMPSOCK_CONNECT_MS);
	strcpy(p->wait, to->name);
	if (AMPSOCK_RPMSG > 1)
		p->wait_on = (uint8_t)to->link;
	return -EAGAIN;
}

/* Its private part is as after socket(). */
static inline void priv_anew(struct amp_sock *s)
{
	memset(&s->priv, 0, sizeof(s->priv));
}

/* It is a connection of the engine from now on. */
static int start_stream(struct amp_sock *s, struct amp_rlink *l, uint32_t addr)
{
	struct amp_rstream_conn *rc = amp_rstream_conn(conn_of(s));
	uint32_t local = s->flags & AMP_SF_BOUND
				 ? amp_rsock(s)->end[amp_rlink_index(l)].ept.addr
				 : AMP_RPMSG_ADDR_ANY;

	(void)close_all(s);
	priv_anew(s);
	s->flags &= (uint16_t)~AMP_SF_BOUND;
	s->sub = 0;
	s->link = amp_rlink_id(l);
	rc->ept.addr = local;
	rc->ept.kind = AMP_REPT_CONN;
	rc->c.buf_alloc = AMPSOCK_RING_LEN;
	/* the link is up, and its address was its own before: nothing can be said against it */
	(void)amp_rstream_connect(&l->rs, rc, addr);
	amp_runner_due(&l->l.runner);
	/* an attempt that nobody watches (O_NONBLOCK) ends, too */
	amp_vsock_deadline(&l->rs.vs, &rc->c, amp_port_now_ms() + AMPSOCK_CONNECT_MS);
	return -EAGAIN;
}

static int start_raw(struct amp_sock *s, struct amp_rlink *l, uint32_t addr)
{
	/* it has its ring, and any address will do */
	(void)amp_rsock_open(s, amp_rlink_index(l), 0);
	amp_rsock_announce(s);
	amp_rsock(s)->peer = addr;
	s->link = amp_rlink_id(l);
	s->flags = (s->flags & (uint16_t)~AMP_SF_CONNECTING) | AMP_SF_CONNECTED;
	amp_sock_changed(s);
	return 0;
}

static int start(struct amp_sock *s, unsigned i, uint32_t addr)
{
	const struct amp_rsock *p = amp_rsock(s);
	struct amp_rlink *l = amp_rlink_at(i);
	int r;

	if ((s->flags & AMP_SF_BOUND) && !amp_rlink_meant(p->bound_on, i))
		return -ENETUNREACH;
	r = amp_sock_ring(s);
	if (r)
		return r;
	disconnect(s);
	return s->type == SOCK_STREAM ? start_stream(s, l, addr) : start_raw(s, l, addr);
}

int amp_rpmsg_sock_connect(struct amp_sock *s, const struct sockaddr *addr, socklen_t len)
{
	bool conn = amp_rsock_is_conn(s);
	struct amp_raddr to;
	int r;

	if (s->type == SOCK_DGRAM && amp_addr_unspec(addr, len)) {
		disconnect(s);
		return 0;
	}
	/* an attempt is under way, or the last connection has packets to send */
	if ((s->sub & SUB_WAIT) || (conn && conn_of(s)->state != AMP_CONN_FREE))
		return -EAGAIN;
	if (s->sub & SUB_CHILD) /* over, and its listener's for ever */
		return -EISCONN;
	r = amp_raddr_get(s, addr, len, &to);
	if (r)
		return r;
	if (conn) { /* of the last one nothing is left, though the next may be refused at once */
		priv_anew(s);
		s->link = 0;
		amp_sock_ring_free(s);
	}
	if (!to.name[0] && !to.addr)
		return -EINVAL;
	/* a service is announced for who connects to it, not from */
	if (s->type == SOCK_STREAM && amp_rsock(s)->own)
		return -EINVAL;
	r = amp_raddr_find(to.link, to.name, &to.addr);
	if (r >= 0)
		return start(s, (unsigned)r, to.addr);
	return r == -EAGAIN ? wait_for(s, &to) : r;
}

void amp_rsock_withdrawn(struct amp_rlink *l, uint32_t addr)
{
	struct amp_sock *s = NULL;

	while ((s = next_of_us(s)) != NULL) {
		/* a stream has an end of its own */
		if (s->type == SOCK_SEQPACKET && (s->flags & AMP_SF_CONNECTED) &&
		    !amp_rsock_elsewhere(s, l) && amp_rsock(s)->peer == addr) {
			s->flags |= AMP_SF_EOF | AMP_SF_HUP;
			s->sub |= SUB_STALE;
		}
	}
}

int32_t amp_rsock_wait(void)
{
	uint32_t now_ms = amp_port_now_ms(), addr;
	struct amp_sock *s = NULL;
	int32_t next = -1, left;
	int r;

	while ((s = next_of_us(s)) != NULL) {
		const struct amp_rsock *p = amp_rsock(s);

		if (!(s->sub & SUB_WAIT))
			continue;
		left = (int32_t)(p->deadline_ms - now_ms);
		r = amp_raddr_find(p->wait_on, p->wait, &addr);
		if (r >= 0) {
			r = start(s, (unsigned)r, addr);
		} else if (left <= 0) {
			r = -ECONNREFUSED;
		} else {
			next = amp_sooner(next, left);
			continue;
		}
		if (r && r != -EAGAIN)
			amp_rsock_over(s, -r);
	}
	amp_rsock_set_waiting(next >= 0);
	return next;
}

/* ---- the end ---- */

void amp_rsock_over(struct amp_sock *s, int err)
{
	s->flags &= (uint16_t) ~(AMP_SF_CONNECTED | AMP_SF_CONNECTING);
	s->sub &= (uint8_t)~SUB_WAIT;
	if (s->type != SOCK_DGRAM) {
		amp_sock_reset(s, err);
		return;
	}
	/* its address stays, its peer's may be another next time */
	s->link = 0;
	s->err = (uint8_t)err;
	amp_sock_changed(s);
}

void amp_rsock_link_down(struct amp_rlink *l)
{
	struct amp_sock *s = NULL;

	while ((s = next_of_us(s)) != NULL) {
		if (s->type == SOCK_STREAM || amp_rsock_elsewhere(s, l))
			continue;
		s->sub |= SUB_STALE;			/* of a child */
		s->flags &= (uint16_t)~AMP_SF_RESERVED; /* there is nothing to go back to */
		if (!(s->flags & AMP_SF_CONNECTED))
			continue; /* over already, and told */
		amp_rsock_over(s, ECONNRESET);
	}
}

static void close_raw(struct amp_sock *s)
{
	bool wait;

	disconnect(s);
	amp_sock_ring_free(s);
	/* only who listens has children, or is one */
	wait = amp_rpmsg_close_family && amp_rpmsg_close_family(s);
	s->sub |= SUB_CLOSED;
	if (!wait)
		amp_rsock_finish(s);
}

void amp_rpmsg_sock_end(struct amp_sock *s, enum amp_end_why why)
{
	if (amp_rsock_is_conn(s)) {
		amp_vsock_conn_end(s, why);
		return;
	}
	if (why == AMP_END_CLOSED)
		close_raw(s);
	else /* nobody has announced it in time */
		amp_rsock_over(s, ECONNREFUSED);
}

/* ---- what AF_INET's carriers need to know (docs/protocol.md) ---- */

#if AMPSOCK_INET
#if !AMP_ONE_CARRIER
static bool carrier_up(void)
{
	for (unsigned i = 0; i < AMPSOCK_RPMSG; i++) {
		if (amp_rlink_is_up(&amp_rlinks[i]))
			return true;
	}
	return false;
}
#endif

_Static_assert(AMP_RSTREAM_ROOM - AMP_RSTREAM_HDR_LEN >= AMP_CARRY_LEAST,
	       "what carriers rely on: a buffer with less room is refused");

static const struct sockaddr_rpmsg door_addr = {
	.rp_family = AF_RPMSG,
	.rp_link = RPMSG_LINK_ANY,
	.rp_addr = RPMSG_ADDR_ANY,
	.rp_name = AMP_RSTREAM_DOOR,
};
static const struct amp_carrier carrier = {
	.proxy = (const struct sockaddr *)&door_addr,
	.accept = (const struct sockaddr *)&door_addr,
	.len = sizeof(door_addr),
#if !AMP_ONE_CARRIER
	.up = AMPSOCK_VSOCK ? carrier_up : NULL, /* else nobody asks */
	.carry = amp_vsock_carry,
#endif
};
#endif

const struct amp_family amp_rpmsg_family = {
	.domain = AF_RPMSG,
#if AMPSOCK_INET
	.carrier = &carrier,
#endif
#if !AMP_ONE_FAMILY
	.create = amp_rpmsg_sock_create,
	.bind = amp_rpmsg_sock_bind,
	.connect = amp_rpmsg_sock_connect,
	.sendmsg = amp_rpmsg_sock_sendmsg,
	.recvmsg = amp_rpmsg_sock_recvmsg,
	.end = amp_rpmsg_sock_end,
	.poll = amp_rpmsg_sock_poll,
#endif
	.listen = amp_rpmsg_listen,
	.accept = amp_rpmsg_accept,
	.half_close = amp_rpmsg_half_close,
	.name = amp_rpmsg_name,
	.option = amp_rpmsg_option,
	.direct = amp_rpmsg_direct,
#if AMPSOCK_FAST
	.send_fast = amp_rpmsg_send_fast,
	.recv_fast = amp_rpmsg_recv_fast,
#endif
};

#endif /* AMPSOCK_RPMSG */
