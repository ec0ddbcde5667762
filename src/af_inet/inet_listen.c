/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listeners: what listen() and accept() link (protocol.md 5, 6).
 *
 * Theory of operation: the proxy knows the listener (LISTEN) and connects a carrier of its
 * own for each connection that it accepted, as many as it has credits for. All of these
 * arrive at one internal listener, the door. A carrier that came in is a socket in the
 * state HEADER until its header has proved whose child it is. Credits are what the pools
 * have room for, over all listeners.
 */
#include <errno.h>
#include <string.h>

#include "inet.h"
#include "ampsock.h"

#if AMPSOCK_INET

#define HEADER_MS    AMP_INET_WAIT_MS
#define DOOR_BACKLOG 16

static struct {
	struct amp_sock *door;	/* NULL: nobody has ever listened */
	struct amp_sock *given; /* who got credit last: those behind it come first */
	uint16_t seen_used;	/* sockets in use when credits were last looked at */
	bool said;		/* of a carrier that nobody asked for, once in a session */
} inbound;			/* l. Together: one address to load */

/* ---- accept carriers ---- */

static int door_open(void)
{
	struct amp_sock *d;
	int r;

	if (inbound.door)
		return 0;
	d = amp_inet_carrier_new();
	if (!d)
		return -ENOBUFS;
	d->backlog = DOOR_BACKLOG;
	r = AMP_CARRIER(d, bind)(d, d->fam->carrier->accept, d->fam->carrier->len);
	if (!r)
		r = d->fam->listen(d, DOOR_BACKLOG);
	if (r) {
		amp_inet_carrier_close(d);
		return r;
	}
	d->flags |= AMP_SF_LISTEN;
	inbound.door = d;
	return 0;
}

/* Credits that the proxy holds, of all listeners together. */
static unsigned granted(void)
{
	struct amp_sock *s = NULL;
	unsigned n = 0;

	while ((s = amp_inet_next(s)) != NULL)
		if (amp_inet(s)->state == AMP_INET_LISTENING)
			n += amp_inet(s)->door.credits;
	return n;
}

/* Only the proxy's own end may knock; the header is judged when it is whole (protocol.md 6). */
static bool door_input(bool up)
{
	struct amp_sock *c, *s;
	bool any = false;
	int err;

	while (inbound.door && (c = amp_sock_queue_peek(inbound.door)) != NULL) {
		s = NULL;
		if ((c->flags & AMP_SF_TRUSTED) && up) {
			s = amp_sock_new(AF_INET, SOCK_STREAM, 0, &err);
			if (!s && granted()) /* refused now, its credit would be lost */
				break;
		}
		any = true;
		(void)inbound.door->fam->accept(inbound.door, &err);
		c->linger_s = 0;
		if (!s) {
			amp_inet_carrier_close(c);
			continue;
		}
		s->flags = AMP_SF_ORPHAN;
		amp_inet(s)->carrier = c;
		amp_inet_start(s, AMP_INET_HEADER, HEADER_MS);
	}
	return any;
}

/* ---- credits ---- */

/* Connections that the pools can hold besides those there are: each takes two slots and a ring. */
static unsigned room(void)
{
	unsigned slots = (AMPSOCK_SOCKETS - amp_counts.sockets_used) / 2;
	unsigned rings = AMPSOCK_RINGS - amp_counts.rings_used;

	return slots < rings ? slots : rings;
}

/*
 * Grant what can be held, to all listeners together never more than there is room for. A listener
 * holds a quarter of what nobody else does, however long its backlog: credits do not come back, and
 * the next listener wants some, too. They have their turns: of little that comes free the same one
 * would have all, for ever.
 */
static void grant(void)
{
	int left = (int)room() - (int)granted(), n;
	struct amp_sock *s = inbound.given;
	bool again = true;

	inbound.seen_used = (uint16_t)amp_counts.sockets_used;
	while (left > 0) {
		struct amp_inet *i;

		s = amp_inet_next(s);
		if (!s) { /* and then from the beginning, once */
			if (!again)
				break;
			again = false;
			continue;
		}
		i = amp_inet(s);
		/* listen() has still to see that it does, or nobody waits any more to see it */
		if (i->state != AMP_INET_LISTENING || !(s->flags & AMP_SF_LISTEN))
			continue;
		n = (left + i->door.credits + 3) / 4;
		if (n > s->backlog - s->queued)
			n = s->backlog - s->queued;
		n -= i->door.credits;
		if (n <= 0)
			continue;
		if (amp_inet_note(AMP_OFF_CREDIT, 16, i->id, (uint32_t)n) < 0) {
			inbound.seen_used = UINT16_MAX; /* try again */
			return;
		}
		i->door.credits = (uint8_t)(i->door.credits + n);
		left -= n;
		inbound.given = s;
	}
}

unsigned amp_inet_door_work(unsigned state, unsigned look)
{
	bool up = state == AMP_INET_CONN, any = door_input(up);

	if (AMPSOCK_WHY && !up)
		inbound.said = false;
	if (up && inbound.door && (look || any || inbound.seen_used != amp_counts.sockets_used))
		grant();
	return any;
}

/* ---- listen ---- */

int amp_inet_listen_step(struct amp_sock *s)
{
	struct amp_inet *i = amp_inet(s);
	uint8_t *p = amp_inet_body;
	int r = door_open();

	if (!r)
		r = amp_inet_fetch(s, AMP_OFF_LISTEN, 16);
	if (r < 0)
		return r;
	if (r) {
		i->id = amp_le32(p);
		memcpy(i->door.token, p + 8, 8);
		i->door.credits = 0;
		i->state = AMP_INET_LISTENING;
		return 0;
	}
	amp_put_le32(p, i->id);
	amp_put_le32(p + 4, s->backlog);
	amp_put_le32(p + 8, 0); /* credits are granted when there is a listener to queue at */
	return amp_inet_req_send(12);
}

int amp_inet_listen(struct amp_sock *s, int backlog)
{
	struct amp_inet *i = amp_inet(s);
	int r;

	(void)backlog; /* s->backlog */
	r = amp_inet_refused(s);
	if (r)
		return r;
	switch (i->state) {
	case AMP_INET_IDLE: /* any address, any port */
		i->local[0] = amp_inet_wire(s->domain);
		return amp_inet_start(s, AMP_INET_BIND, 0);
	case AMP_INET_BOUND:
		s->flags |= AMP_SF_BOUND;
		return amp_inet_start(s, AMP_INET_LISTEN, 0);
	case AMP_INET_LISTENING:
		amp_inet_poke(); /* credit */
		return 0;
	case AMP_INET_BIND:
	case AMP_INET_LISTEN:
	case AMP_INET_RELEASE:
		return -EAGAIN;
	default:
		return -EINVAL;
	}
}

struct amp_sock *amp_inet_accept(struct amp_sock *s, int *err)
{
	struct amp_sock *child = amp_sock_queue_pop(s);

	*err = -EAGAIN;
	if (child) {
		amp_inet_poke();			  /* room in the queue: credit */
	} else if (amp_inet(s)->state == AMP_INET_DEAD) { /* CLOSED: its rule is gone */
		*err = amp_inet_refused(s);
		if (!*err)
			*err = -EINVAL;
	}
	return child;
}

/* Never accepted: reset, not closed. */
void amp_inet_listen_end(struct amp_sock *s)
{
	struct amp_sock *child;

	while ((child = amp_sock_queue_pop(s)) != NULL) {
		amp_inet_drop_carrier(&amp_inet(child)->way);
		amp_sock_free(child);
	}
}

/* ---- the header of an accept carrier ---- */

/* protocol.md 6: a carrier that claims to be an accepted connection must prove it. */
static bool header_ok(struct amp_sock *s)
{
	const uint8_t *a = amp_inet_answer;
	struct amp_sock *l = NULL;
	struct amp_inet *li;

	AMP_FORGET(a); /* one address, in a register */
	do {
		l = amp_inet_next(l);
		if (!l)
			return false;
		li = amp_inet(l);
	} while (li->state != AMP_INET_LISTENING || li->id != amp_le32(a + AMP_OFF_A_ARG) ||
		 memcmp(li->door.token, a + AMP_OFF_A_TOKEN, 8) != 0);
	s->domain = l->domain;
	if (!li->door.credits || a[AMP_OFF_A_LOCAL] != amp_inet_wire(l->domain) ||
	    a[AMP_OFF_A_PEER] != a[AMP_OFF_A_LOCAL])
		return false;
	li->door.credits--;
	return amp_sock_queue_push(l, s) == 0;
}

int amp_inet_header_step(struct amp_sock *s, unsigned left)
{
	int r = amp_inet_recv_answer(amp_inet(s)->carrier, AMP_OFF_ACCEPT);

	if ((r == -EAGAIN && left < AMP_INET_WAIT_MS) || (r == 0 && header_ok(s)))
		return r;
	amp_counts.rx_bad++;
	if (AMPSOCK_WHY && !inbound.said) {
		amp_log("offload: an accept carrier that nobody asked for, reset");
		inbound.said = true;
	}
	amp_inet_close(s);
	return -EAGAIN;
}

#endif /* AMPSOCK_INET */
