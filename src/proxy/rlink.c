// SPDX-License-Identifier: BSD-3-Clause
/* Theory of operation: rlink.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "rjoin.h"

static struct amp_rlink *of_bus(struct amp_rpmsg *bus)
{
	return bus->owner;
}

static struct amp_rlink *of_vlink(struct amp_vlink *vl)
{
	return amp_container_of(vl, struct amp_rlink, vl);
}

static struct amp_rservice *of_ept(struct amp_rpmsg_ept *ept)
{
	return amp_container_of(ept, struct amp_rservice, end.ept);
}

/* ---- the bus's hooks ---- */

static int bus_data(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept,
		    const struct amp_rpmsg_rx *rx)
{
	struct amp_rlink *rl = of_bus(bus);

	switch (ept->kind) {
	case AMP_EPT_CONN:
		return amp_rstream_input(&rl->vl.rs, amp_rstream_of(ept), rx);
	case AMP_EPT_STREAM:
	case AMP_EPT_JOINED_STREAM:
		amp_rstream_serve(&rl->vl.rs, rx);
		return 0;
	case AMP_EPT_RAW:
		return amp_end_rpmsg_to_service(rl, of_ept(ept), rx);
	case AMP_EPT_JOINED:
		amp_rjoin_input(rl, ept, rx);
		return 0;
	default:
		return amp_end_rpmsg_to_end(rl, ept, rx);
	}
}

static void bus_service(struct amp_rpmsg *bus, const char *name, uint32_t addr, bool gone)
{
	struct amp_rlink *rl = of_bus(bus);
	bool joined = amp_rjoin_service(rl, name, addr, gone);
	uint32_t left;

	if (!amp_rnames_heard(&rl->names, name, addr, gone, &left))
		bus->stats.ns_ignored += !joined;
	else if (left != AMP_RPMSG_ADDR_ANY)
		amp_raws_withdrawn(&rl->raws, left);
}

static void bus_gone(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept)
{
	(void)bus;
	amp_rjoin_gone(ept); /* our own services are never withdrawn while there is a remote */
}

static void bus_tap(struct amp_rpmsg *bus, bool out, uint32_t src, uint32_t dst,
		    const void *data, uint32_t len)
{
	amp_capture_rpmsg(&of_bus(bus)->vl.link, out, src, dst, data, len);
}

void amp_rlink_tap(struct amp_link *link)
{
	struct amp_rlink *rl = amp_container_of(link, struct amp_rlink, vl.link);

	rl->bus.tap = link->tapped ? bus_tap : NULL;
}

static const struct amp_rpmsg_ops bus_ops = {
	.data = bus_data,
	.service = bus_service,
	.gone = bus_gone,
};

/* ---- streams ---- */

static struct amp_rstream_conn *hook_request(struct amp_rstream *rs, uint32_t local,
					     uint32_t peer)
{
	struct amp_vlink *vl = amp_container_of(rs, struct amp_vlink, rs);
	struct amp_rlink *rl = of_vlink(vl);
	struct amp_rpmsg_ept *ept = amp_rpmsg_find(&rl->bus, local);
	struct amp_end_vsock *e;

	(void)peer;
	if (!ept || (ept->kind != AMP_EPT_STREAM && ept->kind != AMP_EPT_JOINED_STREAM))
		return NULL;
	e = amp_end_vsock_new(vl, true);
	if (!e)
		return NULL;
	if (ept->kind == AMP_EPT_STREAM) {
		e->fwd = of_ept(ept)->fwd;
		e->carrier = !e->fwd;
	} else {
		amp_rjoin_stream(ept, e);
	}
	amp_end_vsock_due(e);
	return &e->rc;
}

static const struct amp_rstream_ops stream_ops = {
	.request = hook_request,
};

static void stream_init(struct amp_vlink *vl)
{
	amp_vlink_engine(vl);
	vl->rs.ops = &stream_ops;
	vl->rs.door = &amp_rstream_bus_door;
	vl->rs.door_ctx = &of_vlink(vl)->bus;
	amp_rstream_init(&vl->rs);
	amp_vlink_engine_ready(vl);
}

/* The bus's 32-bit counters into the link's: those of streams count no packets. */
static void count(struct amp_rlink *rl)
{
	struct amp_link_stats *to = &rl->vl.link.stats;
	const struct amp_rpmsg_stats *now = &rl->bus.stats, *old = &rl->counted;

	to->rx_packets += (uint32_t)(now->rx_messages - old->rx_messages);
	to->tx_packets += (uint32_t)(now->tx_messages - old->tx_messages);
	to->rx_bad += (uint32_t)(now->rx_bad - old->rx_bad);
	rl->counted = *now;
}

static int stream_run(struct amp_vlink *vl, unsigned budget)
{
	struct amp_rlink *rl = of_vlink(vl);
	int n = amp_rpmsg_run(&rl->bus, budget);

	count(rl);
	if (n < 0)
		return n;
	if (budget)
		amp_rjoin_flush(rl, false);
	amp_rnames_tell(&rl->names, &vl->rs);
	amp_rstream_run(&vl->rs);
	if (!budget) /* the last of this pass */
		amp_rjoin_flush(rl, true);
	return rl->bus.out && rl->bus.out->broken ? -EBADMSG : n;
}

static void stream_release(struct amp_vlink *vl, uint32_t id)
{
	amp_rpmsg_release(&of_vlink(vl)->bus, id);
}

static int stream_connect(struct amp_vlink *vl, struct amp_end_vsock *e,
			  const struct amp_service *service)
{
	uint32_t addr;
	int r = amp_rnames_find(&of_vlink(vl)->names, service, &addr);

	return r ? r : amp_rstream_connect(&vl->rs, &e->rc, addr);
}

static bool stream_serve(struct amp_vlink *vl)
{
	return amp_raws_serve(&of_vlink(vl)->raws);
}

static const char *stream_why(struct amp_vlink *vl)
{
	struct amp_rpmsg *bus = &of_vlink(vl)->bus;
	const char *why = vl->rs.vs.why;

	/* a broken ring ends the link, which has a line of its own */
	if (!why && bus->in && !bus->in->broken && !bus->out->broken)
		why = bus->why;
	vl->rs.vs.why = bus->why = NULL;
	return why;
}

static const struct amp_vlink_ops stream_vops = {
	.messages = true,
	.init = stream_init,
	.run = stream_run,
	.release = stream_release,
	.connect = stream_connect,
	.serve = stream_serve,
	.why = stream_why,
};

struct amp_end *amp_rlink_connect(struct amp_link *link, const struct amp_service *service,
				  bool message, int *err)
{
	struct amp_rlink *rl = amp_container_of(link, struct amp_rlink, vl.link);
	uint32_t addr;
	int r;

	if (!message)
		return amp_vlink_connect(link, service, false, err);
	*err = ENETDOWN;
	if (!link->up)
		return NULL;
	r = amp_rnames_find(&rl->names, service, &addr);
	if (r) {
		*err = -r;
		return NULL;
	}
	return amp_end_rpmsg_open(rl, addr, err);
}

int amp_rlink_wanted(struct amp_link *link, const struct amp_forward *fwd)
{
	struct amp_rlink *rl = amp_container_of(link, struct amp_rlink, vl.link);

	return fwd->service.name[0] ? amp_rnames_want(&rl->names, fwd->service.name) : 0;
}

/* ---- the link ---- */

static void idle_due(uv_timer_t *t)
{
	struct amp_rlink *rl = t->data;

	amp_rjoin_idle(rl);
	if (!amp_end_rpmsg_idle(rl))
		uv_timer_stop(t);
	amp_work_queue(&rl->vl.work);
}

void amp_rlink_up(struct amp_rlink *rl, struct amp_vq *in, struct amp_vq *out, bool ns)
{
	amp_rpmsg_up(&rl->bus, in, out, ns);
	/* what is held is held for one pass only */
	rl->bus.held_max = UINT16_MAX;
	uv_timer_start(&rl->idle, idle_due, AMP_RLINK_IDLE_MS / 4, AMP_RLINK_IDLE_MS / 4);
	amp_link_up(&rl->vl.link);
	amp_work_queue(&rl->vl.work);
}

void amp_rlink_down(struct amp_rlink *rl)
{
	amp_rpmsg_down(&rl->bus);
	amp_rjoin_down(rl);
	amp_rnames_forget(&rl->names);
	amp_link_down(&rl->vl.link);
	amp_raws_down(&rl->raws);
	amp_vlink_down(&rl->vl);
	while (amp_raws_serve(&rl->raws))
		;
	uv_timer_stop(&rl->idle);
}

static int open_services(struct amp_rlink *rl)
{
	int r = 0;

	for (unsigned i = 0; i < rl->names.service_cnt && !r; i++) {
		struct amp_rservice *s = &rl->names.services[i];
		bool raw = s->fwd && s->fwd->target.kind == AMP_TARGET_UDP;

		s->end.ept.kind = raw ? AMP_EPT_RAW : AMP_EPT_STREAM;
		r = amp_rpmsg_open_named(&rl->bus, &s->end, s->end.ept.addr, s->end.name);
	}
	return r;
}

int amp_rlink_init(struct amp_rlink *rl, const struct amp_link_ops *ops,
		   const struct amp_link_conf *conf)
{
	int r;

	rl->bus.ops = &bus_ops;
	rl->bus.owner = rl;
	rl->bus.hash = rl->hash;
	rl->bus.hash_len = AMP_RLINK_HASH;
	amp_rpmsg_init(&rl->bus);
	amp_end_rpmsg_init(rl);
	TAILQ_INIT(&rl->joined);
	r = amp_rnames_init(&rl->names, conf);
	if (!r)
		r = open_services(rl);
	/* last: from here on the loop knows of timers in it, and it cannot just be freed */
	if (!r)
		r = amp_vlink_init(&rl->vl, ops, &stream_vops, conf);
	if (r)
		return r;
	uv_timer_init(amp_loop_uv(), &rl->idle);
	rl->idle.data = rl;
	return 0;
}

void amp_rlink_fini(struct amp_rlink *rl)
{
	uv_close((uv_handle_t *)&rl->idle, NULL);
	amp_vlink_fini(&rl->vl);
}

void amp_rlink_free(struct amp_rlink *rl)
{
	amp_rnames_free(&rl->names);
}

size_t amp_rlink_stats(const struct amp_rlink *rl, char *dst, size_t len)
{
	const struct amp_rpmsg_stats *b = &rl->bus.stats;
	const struct amp_vsock_stats *s = &rl->vl.vs.stats;
	int n = snprintf(dst, len,
			 "ends=%u rx_messages=%" PRIu32 " tx_messages=%" PRIu32
			 " rx_bad=%" PRIu32 " rx_nobody=%" PRIu32 " resets=%" PRIu32,
			 rl->vl.end_cnt, b->rx_messages, b->tx_messages, b->rx_bad + s->rx_bad,
			 b->rx_nobody, s->resets);

	return n < 0 ? 0 : (size_t)n < len ? (size_t)n : len - 1;
}
