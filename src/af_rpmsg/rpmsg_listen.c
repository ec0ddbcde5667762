// SPDX-License-Identifier: BSD-3-Clause
/*
 * AF_RPMSG listeners: what listen() and accept() link.
 *
 * Theory of operation
 *
 * Of streams REQUEST makes a connection, with an endpoint of its own. At the front door it is
 * one of the proxy's accept carriers: only the host's own end can reach it, so it is trusted.
 *
 * Raw messages have no handshake: the first one from a new source is a connection, and its
 * first message. All children of a listener share its endpoint and are told apart by the
 * source; so the endpoint, and its announcement, live as long as the last of them. Nobody can
 * be refused: a message for which there is no room in the backlog is dropped and counted.
 */
#include <errno.h>
#include <string.h>

#include "ampsock.h"
#include "af_rpmsg.h"

#if AMPSOCK_RPMSG

int amp_rpmsg_listen(struct amp_sock *s, int backlog)
{
	struct amp_rsock *p = amp_rsock(s);

	(void)backlog;
	if (!(s->flags & AMP_SF_BOUND) || amp_rsock_is_conn(s))
		return -EINVAL;
	/* a name lay there while it waited for that */
	p->recent = NULL;
	p->children = 0;
	amp_rsock_announce(
		s); /* of the front door's, which has no endpoint, there is nothing to tell */
	return 0;
}

struct amp_sock *amp_rpmsg_accept(struct amp_sock *s, int *err)
{
	struct amp_sock *child = amp_sock_queue_pop(s);

	if (!child)
		*err = -EAGAIN;
	return child;
}

static struct amp_sock *new_child(struct amp_sock *s, const struct amp_rlink *l)
{
	struct amp_sock *child;

	if (!(s->flags & AMP_SF_LISTEN) || s->queued >= s->backlog)
		return NULL;
	child = amp_sock_find(amp_sock_new(s->domain, s->type, 0));
	if (!child)
		return NULL;
	memcpy(child->timeo, s->timeo, sizeof(child->timeo));
	child->linger_s = s->linger_s;
	child->link = amp_rlink_id(l);
	child->flags = AMP_SF_CONNECTED | AMP_SF_ORPHAN;
	if (amp_sock_ring(child)) {
		amp_sock_free(child);
		return NULL;
	}
	return child;
}

/* ---- streams ---- */

void amp_rpmsg_serve(struct amp_rlink *l, const struct amp_rpmsg_rx *rx)
{
	amp_rstream_serve(&l->rs, rx);
}

static struct amp_sock *door_listener(void)
{
	struct amp_sock *s = NULL;

	do {
		s = amp_sock_next_of(s, &amp_rpmsg_family);
	} while (s && (!(s->flags & AMP_SF_LISTEN) || !(s->sub & SUB_DOOR)));
	return s;
}

struct amp_rstream_conn *amp_rpmsg_request(struct amp_rstream *rs, uint32_t local,
					   uint32_t peer)
{
	struct amp_rlink *l = (void *)((char *)rs - offsetof(struct amp_rlink, rs));
	struct amp_rpmsg_ept *ept = amp_rpmsg_find(&l->bus, local);
	bool door = ept == &l->door.ept;
	struct amp_sock *s, *child;
	struct amp_rstream_conn *rc;

	(void)peer;
	s = door ? door_listener() : amp_rsock_of(l, ept);
	child = s ? new_child(s, l) : NULL;
	if (!child)
		return NULL;
	if (door)
		child->flags |= AMP_SF_TRUSTED;
	rc = amp_rstream_conn(conn_of(child));
	rc->ept.kind = AMP_REPT_CONN;
	rc->c.buf_alloc = AMPSOCK_RING_LEN;
	amp_vsock_respond(&rs->vs, &rc->c);
	(void)amp_sock_queue_push(s, child);
	return rc;
}

/* ---- raw ---- */

static bool is_child(struct amp_sock *c, const struct amp_rlink *l, const struct amp_sock *s,
		     uint32_t src)
{
	return c->fam == &amp_rpmsg_family && (c->sub & (SUB_CHILD | SUB_STALE)) == SUB_CHILD &&
	       !amp_rsock_elsewhere(c, l) && amp_rsock(c)->parent == s &&
	       amp_rsock(c)->peer == src;
}

struct amp_sock *amp_rpmsg_child(struct amp_rlink *l, struct amp_sock *s, uint32_t src)
{
	struct amp_rsock *p = amp_rsock(s);
	struct amp_sock *c = p->recent;
	unsigned i = amp_rlink_index(l);

	if (!(s->flags & AMP_SF_LISTEN) && !(s->sub & SUB_CLOSED)) /* which children keep */
		return NULL;
	if (c && is_child(c, l, s, src))
		return c;
	c = NULL;
	do {
		c = amp_sock_next_of(c, &amp_rpmsg_family);
	} while (c && !is_child(c, l, s, src));
	if (!c) {
		c = new_child(s, l);
		if (!c)
			return NULL;
		c->sub = SUB_CHILD;
		amp_rsock(c)->end[i].ept.addr = p->end[i].ept.addr;
		amp_rsock(c)->peer = src;
		amp_rsock(c)->parent = s;
		p->children++;
		(void)amp_sock_queue_push(s, c);
	}
	p->recent = c;
	return c;
}

bool amp_rpmsg_close_family(struct amp_sock *s)
{
	struct amp_rsock *p = amp_rsock(s), *up;
	struct amp_sock *parent, *child;

	if (s->sub & SUB_CHILD) {
		parent = p->parent;
		up = amp_rsock(parent);
		if (up->recent == s)
			up->recent = NULL;
		if (--up->children == 0 && (parent->sub & SUB_CLOSED))
			amp_rsock_finish(parent);
		return false;
	}
	if (!(s->flags & AMP_SF_LISTEN))
		return false;
	s->flags &= (uint16_t)~AMP_SF_LISTEN; /* nobody comes any more */
	while ((child = amp_sock_queue_pop(s)) != NULL) {
		child->linger_s = 0;
		AMP_FAM(child->fam, end)(child, AMP_END_CLOSED);
	}
	return p->children != 0;
}

#endif /* AMPSOCK_RPMSG */
