// SPDX-License-Identifier: BSD-3-Clause
/*
 * Links of the AF_RPMSG family, whatever their transport: what the bus and the streams on it
 * tell, and what that means to a socket.
 *
 * Theory of operation
 *
 * A link is a bus (rpmsg.c) and an engine for streams (rpmsg_stream.c) whose door the bus is.
 * Buses are there from the first use on, up or not: sockets are bound, and a listener's
 * address is its own, before the peer runs and while it restarts. What brings a link up and
 * sees it go down (link_remote.c, hosted_host.c) hands its two queues in.
 *
 * What arrives is looked at in the order of the ring, and goes by the kind of its endpoint:
 * to a connection of the engine, to a service of it, or, raw, to a socket (rpmsg_raw.c).
 *
 * Names. The peer announces services by the name service, or, where a kernel does not let it,
 * by SERVICE at our front door (protocol.md); they are kept in a short table, the newest
 * first. When it is full the oldest is forgotten: counted, said once. While it is, the run ends with
 * each, and the turn shows it to who waits for it, however many follow.
 */
#include <errno.h>
#include <string.h>

#include "ampsock.h"
#include "../wire/le.h"
#include "rlink_life.h"

#if AMPSOCK_RPMSG

AMP_OPTIONAL(amp_rpmsg_request);
AMP_OPTIONAL(amp_rpmsg_serve);

#define TURN 64

/* struct amp_rlink.said */
#define SAID_NAMES   1u
#define SAID_BUS     2u
#define SAID_STREAMS 4u

struct amp_rlink amp_rlinks[AMPSOCK_RPMSG]; /* l */

/* ---- names ---- */

static inline void name_lost(struct amp_rlink *l)
{
	amp_counts.names_lost++;
	if (AMPSOCK_WHY && !(l->said & SAID_NAMES))
		amp_log("rpmsg: too many services (AMPSOCK_RPMSG_NAMES)");
	if (AMPSOCK_WHY)
		l->said |= SAID_NAMES;
}

void amp_rlink_on_service(struct amp_rpmsg *bus, const struct amp_rpmsg_ns *ns)
{
	struct amp_rlink *l = amp_rlink_bus(bus);
	struct amp_rpmsg_ns *n = l->names + AMPSOCK_RPMSG_NAMES, *room = n - 1;

	while (n-- > l->names) {
		if (strcmp(n->name, ns->name) == 0 &&
		    (n->addr == ns->addr || ns->flags == AMP_RLINK_INSTEAD)) {
			if (n->addr != ns->addr)
				amp_rsock_withdrawn(l, n->addr);
			n->name[0] = '\0'; /* what is said again is the newest again */
		}
		if (!n->name[0])
			room = n;
	}
	if (ns->flags == AMP_RPMSG_NS_DESTROY) { /* kept or not */
		amp_rsock_withdrawn(l, ns->addr);
		return;
	}
	if (room->name[0])
		name_lost(l);
	memmove(l->names + 1, l->names, (size_t)((char *)room - (char *)l->names));
	amp_copy(l->names, ns, sizeof(*ns));
	/* the turn shows it to who waits, before it is lost again */
	if (l->names[AMPSOCK_RPMSG_NAMES - 1].name[0])
		bus->enough = true;
}

/* ---- events from the bus and from the streams ---- */

void amp_rlink_on_data(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept,
		       const struct amp_rpmsg_rx *rx)
{
	struct amp_rlink *l = amp_rlink_bus(bus);

	if (ept->kind == AMP_REPT_CONN) {
		/* holds nothing. enough: a caller has all that it wanted */
		if (AMPSOCK_FAST)
			l->rs.vs.enough = false;
		(void)amp_rstream_input(&l->rs, amp_rstream_of(ept), rx);
		if (AMPSOCK_FAST)
			bus->enough = l->rs.vs.enough;
		return;
	}
	if (ept->kind != SOCK_STREAM)
		amp_rraw_in(l, amp_rsock_of(l, ept), rx);
	else if (amp_rpmsg_serve)
		amp_rpmsg_serve(l, rx);
	else
		amp_rstream_told(&l->rs, rx);
}

void amp_rlink_on_tx_ready(struct amp_rpmsg *bus)
{
	struct amp_rlink *l = amp_rlink_bus(bus);

	amp_change();
	if (AMPSOCK_FAST) /* else the turn and kick_due(), which alone look, do that next */
		amp_rlink_flush(l);
}

#if AMP_RPMSG_OTHERS
static int bus_data(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept,
		    const struct amp_rpmsg_rx *rx)
{
	amp_rlink_on_data(bus, ept, rx);
	return 0;
}

/* what: AMP_RPMSG_NS_DESTROY, or how it is new */
static void service(struct amp_rpmsg *bus, const char *name, uint32_t addr, uint32_t what)
{
	struct amp_rpmsg_ns ns = {.addr = addr, .flags = what};

	memcpy(ns.name, name, strlen(name));
	amp_rlink_on_service(bus, &ns);
}

static void bus_service(struct amp_rpmsg *bus, const char *name, uint32_t addr, bool gone)
{
	service(bus, name, addr, gone ? AMP_RPMSG_NS_DESTROY : AMP_RPMSG_NS_CREATE);
}

static const struct amp_rpmsg_ops bus_ops = {
	.data = bus_data,
	.service = bus_service,
	.tx_ready = amp_rlink_on_tx_ready,
	.gone = amp_rlink_on_gone,
};

static void stream_service(struct amp_rstream *rs, const char *name, uint32_t addr, bool gone)
{
	service(rs->door_ctx, name, addr, gone ? AMP_RPMSG_NS_DESTROY : AMP_RLINK_INSTEAD);
}

static const struct amp_rstream_ops stream_ops = {
	.request = amp_rpmsg_request,
	.service = stream_service,
};
#endif

/* ---- life ---- */

/* In static memory: of what amp_rpmsg_init() and amp_rstream_init() do this is left. */
#if AMP_RPMSG_OTHERS
struct amp_rlink *amp_rlink_get(unsigned i)
{
	struct amp_rlink *l = amp_rlink_at(i);

	if (l->bus.ops)
		return l;
	l->bus.ops = &bus_ops;
	l->bus.hash = l->ept_hash;
	l->bus.hash_len = AMPSOCK_HASH;
	l->l.index = (uint8_t)(AMP_VLINK_RPMSG + i);
	amp_vlink_hooks(&l->rs.vs);
	amp_vlink_room(&l->l);
	l->rs.ops = &stream_ops;
	l->rs.door = &amp_rstream_bus_door;
	l->rs.door_ctx = &l->bus;
	amp_rstream_init(&l->rs);
	amp_vlinks[amp_rlink_id(l)] = &l->l;
	return l;
}

struct amp_rlink *amp_rlink_new(unsigned i)
{
	return amp_rlink_get(i);
}
#endif

/* ---- turns ---- */

/*
 * What the peer did is counted each time, and said the first time: of the bus and of the streams,
 * once in a life of the link. (What ends that life is always said: there is another one then.)
 */
static void say(struct amp_rlink *l, const char *why, uint8_t bit, bool broken)
{
	if (!(l->said & bit) || broken)
		amp_log(why);
	l->said |= bit;
}

int32_t amp_rlink_turn(struct amp_rlink *l)
{
	int n = amp_rpmsg_run(&l->bus, TURN);
	int32_t ms = -1;

	/* before who waits for a buffer to send data in tries again */
	amp_rlink_flush_owed(l);
	if (AMP_WHY_OF(&l->bus)) {
		say(l, AMP_WHY_OF(&l->bus), SAID_BUS, n < 0);
		AMP_WHY_SAY(&l->bus, NULL);
	}
	if (AMP_WHY_OF(&l->rs.vs)) {
		say(l, AMP_WHY_OF(&l->rs.vs), SAID_STREAMS, false);
		AMP_WHY_SAY(&l->rs.vs, NULL);
	}
	if (!AMP_RPMSG_PLAIN &&
	    (n < 0 || (AMPSOCK_FAST && amp_rlink_is_up(l) && l->bus.out->broken)))
		return AMP_VLINK_BROKEN;
	if (n) /* who sleeps arms the ring anew, and there may be more */
		amp_change();
	else if (!AMPSOCK_FAST)
		l->l.runner.due = true;
	if (AMPSOCK_FAST && amp_rlink_is_up(l)) {
		/*
		 * As amp_vlink_turn(): buffers that went back are no news while the peer has
		 * enough. It may have when they were half the ring, or when nothing more comes:
		 * fewer may go round.
		 */
		amp_rlink_go_on(l);
		if (amp_vq_news(l->bus.out) ||
		    (n ? amp_rlink_many_back(l) : amp_vq_news(l->bus.in)))
			amp_runner_due(&l->l.runner);
	}
	/* a peer who never pauses does not stop the clock */
	if (amp_vsock_timed(&l->rs.vs))
		ms = amp_vsock_tick(&l->rs.vs, amp_port_now_ms());
	if (amp_rsock_waiting())
		ms = amp_sooner(ms, amp_rsock_wait());
	return n == TURN || l->bus.enough ? 0 : ms;
}

#endif /* AMPSOCK_RPMSG */
