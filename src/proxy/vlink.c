// SPDX-License-Identifier: BSD-3-Clause
/* Theory of operation: vlink.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "vlink.h"

/* Longest chain a queue of vhost-user's largest size can hold. */
#define SEGMENTS 1024u
/* Local ports of connections to the guest: above what services use, and walked round. */
#define PORT_FIRST 0xc0000000u
#define PORT_COUNT 0x10000000u

struct amp_pass amp_pass;
static struct amp_iov segments[SEGMENTS];

static struct amp_vlink *vlink_of(struct amp_vsock *vs)
{
	return vs->owner;
}

static struct amp_end_vsock *end_of(struct amp_vsock_conn *c)
{
	return amp_container_of(c, struct amp_end_vsock, c);
}

/* ---- the engine's hooks ---- */

static struct amp_vsock_conn *hook_request(struct amp_vsock *vs,
					   const struct amp_vsock_ends *ends, uint8_t type)
{
	struct amp_service service = {.kind = AMP_SERVICE_VSOCK, .port = ends->local.port};
	struct amp_vlink *vl = vlink_of(vs);
	const struct amp_forward *fwd;
	struct amp_end_vsock *e;

	/* the predecessor knew it: whatever the guest thinks of it, it starts anew */
	if (amp_journal_claim(vl->journal, ends, type))
		return NULL;
	if (ends->local.cid != vs->local_cid ||
	    !amp_link_serves(&vl->link, &service, type == AMP_VSOCK_SEQPACKET, &fwd))
		return NULL;
	e = amp_end_vsock_new(vl, true);
	if (!e)
		return NULL;
	e->noted = amp_journal_note(vl->journal, ends, type);
	e->fwd = fwd;
	e->carrier = !fwd;
	e->end.message = type == AMP_VSOCK_SEQPACKET;
	amp_end_vsock_due(e);
	return &e->c;
}

static int hook_data(struct amp_vsock *vs, struct amp_vsock_conn *c,
		     const struct amp_vsock_rx *rx)
{
	amp_pass.len += rx->len;
	vs->enough = amp_pass.len >= AMP_VLINK_PASS_LEN;
	return amp_end_vsock_hold(end_of(c), rx);
}

static void hook_event(struct amp_vsock *vs, struct amp_vsock_conn *c, unsigned ev)
{
	struct amp_end_vsock *e = end_of(c);

	if (ev & AMP_VSOCK_EV_GONE) /* its RST is out */
		amp_journal_strike(vlink_of(vs)->journal, &e->noted);
	e->ev |= (uint8_t)ev;
	amp_end_vsock_due(e);
}

static struct amp_end_vsock *next_starved(const struct amp_vlink *vl)
{
	return TAILQ_EMPTY(&vl->again) ? TAILQ_FIRST(&vl->starved) : TAILQ_FIRST(&vl->again);
}

/* As many as will find something, if each takes what it took last. */
static void feed(struct amp_vlink *vl)
{
	unsigned left = vl->ops->room ? vl->ops->room(vl) : UINT_MAX;
	struct amp_end_vsock *e;

	while (left && (e = next_starved(vl)) != NULL) {
		left -= e->tx_last < left ? e->tx_last : left;
		vl->promised = true;
		amp_end_vsock_fed(e);
	}
}

static void hook_tx_ready(struct amp_vsock *vs)
{
	feed(vlink_of(vs));
}

static const struct amp_vsock_ops hooks = {
	.request = hook_request,
	.data = hook_data,
	.event = hook_event,
	.tx_ready = hook_tx_ready,
	.foreign = amp_join_packet,
};

static void hook_tap(struct amp_vsock *vs, bool out, const struct amp_vsock_hdr *h,
		     const struct amp_iov *iov, uint16_t iov_cnt, uint32_t len)
{
	amp_capture_vsock(&vlink_of(vs)->link, out, h, iov, iov_cnt, len);
}

void amp_vlink_tap(struct amp_link *link)
{
	struct amp_vlink *vl = amp_container_of(link, struct amp_vlink, link);

	vl->vs.tap = link->tapped ? hook_tap : NULL;
}

void amp_vlink_engine(struct amp_vlink *vl)
{
	vl->vs.ops = &hooks;
	vl->vs.owner = vl;
	vl->vs.in = vl->vs.out = NULL;
	/* amp_vsock_init() writes to all of it, and where nobody has been that makes pages of it */
	for (unsigned i = 0; i < AMP_VLINK_HASH; i++) {
		if (vl->hash[i])
			vl->hash[i] = NULL;
	}
	vl->vs.hash = vl->hash;
	vl->vs.hash_len = 1;
	vl->vs.iov = segments;
	vl->vs.iov_max = SEGMENTS;
	vl->vs.stray = vl->stray;
	vl->vs.stray_len = AMP_VLINK_STRAY;
	amp_vlink_count(vl);
	memset(&vl->vs.stats, 0, sizeof(vl->vs.stats));
	memset(&vl->counted, 0, sizeof(vl->counted));
}

void amp_vlink_engine_ready(struct amp_vlink *vl)
{
	vl->vs.hash_len = AMP_VLINK_HASH;
}

/* ---- packets that are the engine's own ---- */

static void vsock_init(struct amp_vlink *vl)
{
	amp_vlink_engine(vl);
	vl->vs.local_cid = AMP_VSOCK_CID_HOST;
	vl->vs.peer_cid = vl->link.conf->cid;
	vl->vs.seqpacket = false;
	amp_vsock_init(&vl->vs);
	amp_vlink_engine_ready(vl);
}

static int vsock_run(struct amp_vlink *vl, unsigned budget)
{
	return amp_vsock_run(&vl->vs, budget);
}

static unsigned vsock_room(const struct amp_vlink *vl)
{
	return vl->vs.out ? amp_vq_avail(vl->vs.out) : 0;
}

static void vsock_release(struct amp_vlink *vl, uint32_t id)
{
	amp_vsock_release(&vl->vs, (uint16_t)id);
}

static int vsock_connect(struct amp_vlink *vl, struct amp_end_vsock *e,
			 const struct amp_service *service)
{
	struct amp_vsock_addr peer = {vl->link.conf->cid, service->port};
	uint8_t type = e->end.message ? AMP_VSOCK_SEQPACKET : AMP_VSOCK_STREAM;
	int r = -EADDRINUSE;

	if (e->end.message && !vl->vs.seqpacket)
		return -EPROTONOSUPPORT;
	for (unsigned i = 0; i < 64 && r == -EADDRINUSE; i++) {
		struct amp_vsock_addr local = {AMP_VSOCK_CID_HOST,
					       PORT_FIRST + vl->next_port % PORT_COUNT};

		amp_journal_set_port(vl->journal, ++vl->next_port);
		r = amp_vsock_connect(&vl->vs, &e->c, local, peer, type);
	}
	return r;
}

static const char *vsock_why(struct amp_vlink *vl)
{
	const char *why = vl->vs.why;

	vl->vs.why = NULL;
	return why;
}

const struct amp_vlink_ops amp_vlink_vsock = {
	.init = vsock_init,
	.run = vsock_run,
	.room = vsock_room,
	.release = vsock_release,
	.connect = vsock_connect,
	.why = vsock_why,
};

/* ---- the link ---- */

int amp_vlink_init(struct amp_vlink *vl, const struct amp_link_ops *ops,
		   const struct amp_vlink_ops *vops, const struct amp_link_conf *conf)
{
	int r = amp_link_init(&vl->link, ops, conf);

	if (r)
		return r;
	vl->ops = vops;
	TAILQ_INIT(&vl->due);
	TAILQ_INIT(&vl->starved);
	TAILQ_INIT(&vl->again);
	TAILQ_INIT(&vl->metered);
	TAILQ_INIT(&vl->connecting);
	TAILQ_INIT(&vl->joined);
	TAILQ_INIT(&vl->waiting);
	uv_timer_init(amp_loop_uv(), &vl->tick);
	vl->tick.data = vl;
	vops->init(vl);
	return 0;
}

void amp_vlink_count(struct amp_vlink *vl)
{
	struct amp_link_stats *to = &vl->link.stats;
	const struct amp_vsock_stats *now = &vl->vs.stats, *old = &vl->counted;

	if (!vl->ops->messages) {
		to->rx_packets += (uint32_t)(now->rx_packets - old->rx_packets);
		to->tx_packets += (uint32_t)(now->tx_packets - old->tx_packets);
	}
	to->rx_bad += (uint32_t)(now->rx_bad - old->rx_bad);
	to->lies += (uint32_t)(now->resets - old->resets);
	vl->counted = *now;
}

/* One that finds that the turn has had its datagrams and requests goes before those that had theirs. */
static void serve(struct amp_end_vsock *e, struct amp_end_vsock_list *left)
{
	struct amp_vlink *vl = e->vl;
	bool over = amp_loop_over();

	e->on_due = false;
	amp_end_vsock_serve(e);
	if (!over || !e->on_due)
		return;
	TAILQ_REMOVE(&vl->due, e, due_entry);
	TAILQ_INSERT_TAIL(left, e, due_entry);
}

/*
 * Those due now; who becomes due meanwhile waits for the next pass. First those with little,
 * whose messages would else wait for the copying of what came before them.
 */
static void serve_due(struct amp_vlink *vl)
{
	struct amp_end_vsock_list now = TAILQ_HEAD_INITIALIZER(now);
	struct amp_end_vsock_list much = TAILQ_HEAD_INITIALIZER(much);
	struct amp_end_vsock_list left = TAILQ_HEAD_INITIALIZER(left);
	struct amp_end_vsock *e;

	TAILQ_CONCAT(&now, &vl->due, due_entry);
	while ((e = TAILQ_FIRST(&now)) != NULL) {
		TAILQ_REMOVE(&now, e, due_entry);
		if (e->held_len > AMP_VLINK_SMALL_LEN)
			TAILQ_INSERT_TAIL(&much, e, due_entry);
		else
			serve(e, &left);
	}
	while ((e = TAILQ_FIRST(&much)) != NULL) {
		TAILQ_REMOVE(&much, e, due_entry);
		serve(e, &left);
	}
	TAILQ_CONCAT(&left, &vl->due, due_entry);
	TAILQ_CONCAT(&vl->due, &left, due_entry);
}

static void complain(struct amp_vlink *vl)
{
	const char *why = vl->ops->why(vl);

	if (why)
		amp_log_some(&vl->link.log_guest, AMP_LOG_WARN,
			     "link %s: the %s broke a rule: %s", vl->link.conf->name,
			     vl->link.ops->peer, why);
}

static void tick_start(struct amp_vlink *vl);

unsigned amp_vlink_share(struct amp_vlink *vl, unsigned avail)
{
	if (avail & 1u)
		vl->join_odd = !vl->join_odd;
	return avail / 2u + (avail & vl->join_odd);
}

/*
 * Some still wait, and nobody would tell them: of those who were told last, not all have sent
 * what they were thought to, or the engine has not heard yet that there are no buffers left.
 */
static void wait_on(struct amp_vlink *vl)
{
	if (!vl->ops->room || vl->vs.tx_starved || !next_starved(vl))
		return;
	vl->promised = true; /* before joined guests' packets */
	if (vl->ops->room(vl))
		amp_work_queue(&vl->work);
	else
		vl->vs.tx_starved = true; /* the driver is to say when it has new ones */
}

int amp_vlink_run(struct amp_vlink *vl)
{
	bool more;
	int n, r;

	amp_pass.held_cnt = 0;
	amp_pass.iov_cnt = 0;
	amp_pass.len = 0;
	vl->promised = false;
	vl->join_moved = 0;
	amp_join_deliver(vl, false);
	n = vl->ops->run(vl, AMP_VLINK_BATCH);
	if (vl->ops->room && !vl->vs.tx_starved && !vl->promised)
		feed(vl);
	serve_due(vl); /* also when the ring is broken: held packets are in it */
	more = vl->ops->serve && vl->ops->serve(vl);
	r = vl->ops->run(vl, 0); /* what the users owe now */
	wait_on(vl);
	amp_join_deliver(vl, true);
	complain(vl);
	amp_vlink_count(vl);
	amp_loop_moved(amp_pass.len + vl->join_moved);
	if (more || !TAILQ_EMPTY(&vl->due))
		amp_work_queue(&vl->work);
	if (amp_vsock_timed(&vl->vs))
		tick_start(vl);
	return r < 0 ? r : n;
}

void amp_vlink_serve(struct amp_vlink *vl)
{
	serve_due(vl);
	if (!TAILQ_EMPTY(&vl->due))
		amp_work_queue(&vl->work);
}

void amp_vlink_down(struct amp_vlink *vl)
{
	amp_pass.held_cnt = 0;
	amp_join_down(vl);
	amp_vsock_down(&vl->vs);
	while (!TAILQ_EMPTY(&vl->due))
		serve_due(vl);
	uv_timer_stop(&vl->tick);
	vl->ops->init(vl);
}

/*
 * Flows and sessions first, which tell their hosts; what is left (datagram peers) hears what it
 * would hear of a guest that went. The RSTs go out with the link's next pass.
 */
void amp_vlink_reset(struct amp_link *link)
{
	struct amp_vlink *vl = amp_container_of(link, struct amp_vlink, link);
	struct amp_end *end, *next;
	bool up = link->up;

	amp_link_down(link);
	link->up = up;
	if (up)
		amp_join_reset(vl);
	for (end = TAILQ_FIRST(&link->ends); end; end = next) {
		struct amp_end_vsock *e = amp_container_of(end, struct amp_end_vsock, end);

		next = TAILQ_NEXT(end, ring_entry);
		if (!amp_end_is_vsock(end) || e->let_go || e->gone)
			continue;
		amp_vsock_abort(&vl->vs, &e->c);
		e->ev |= AMP_VSOCK_EV_RESET;
		amp_end_vsock_due(e);
	}
	amp_work_queue(&vl->work);
}

void amp_vlink_fini(struct amp_vlink *vl)
{
	amp_work_cancel(&vl->work);
	uv_close((uv_handle_t *)&vl->tick, NULL);
	amp_link_fini(&vl->link);
}

static void tick_due(uv_timer_t *t);

static void meter_start(struct amp_vlink *vl)
{
	if (!uv_is_active((uv_handle_t *)&vl->tick) ||
	    uv_timer_get_due_in(&vl->tick) > vl->meter_ms)
		uv_timer_start(&vl->tick, tick_due, vl->meter_ms, 0);
}

void amp_vlink_metered(struct amp_vlink *vl)
{
	vl->meter_ms = AMP_METER_MS;
	meter_start(vl);
}

/* A guest that reads nothing for long is asked less and less often. */
static void ask_metered(struct amp_vlink *vl)
{
	struct amp_end_vsock *e;

	if (TAILQ_EMPTY(&vl->metered))
		return;
	TAILQ_FOREACH(e, &vl->metered, metered_entry)
	amp_end_vsock_ask(e);
	if (vl->meter_ms < AMP_VLINK_ASK_MS)
		vl->meter_ms *= 2;
	meter_start(vl);
}

static void tick_due(uv_timer_t *t)
{
	struct amp_vlink *vl = t->data;
	uint64_t now = amp_now_ms();
	struct amp_end_vsock *e;

	while ((e = TAILQ_FIRST(&vl->connecting)) != NULL && e->deadline_ms <= now) {
		amp_end_vsock_connected(e);
		amp_vsock_abort(&vl->vs, &e->c);
		e->ev |= AMP_VSOCK_EV_RESET;
		amp_end_vsock_due(e);
	}
	if (amp_vsock_tick(&vl->vs, (uint32_t)now) >= 0 || !TAILQ_EMPTY(&vl->connecting))
		tick_start(vl);
	ask_metered(vl);
	amp_work_queue(&vl->work);
}

static void tick_start(struct amp_vlink *vl)
{
	if (!uv_is_active((uv_handle_t *)&vl->tick))
		uv_timer_start(&vl->tick, tick_due, AMP_VLINK_CLOSE_MS / 4, 0);
}

struct amp_end *amp_vlink_connect(struct amp_link *link, const struct amp_service *service,
				  bool message, int *err)
{
	struct amp_vlink *vl = amp_container_of(link, struct amp_vlink, link);
	struct amp_end_vsock *e;
	int r;

	*err = ENETDOWN;
	if (!link->up)
		return NULL;
	*err = ENOBUFS;
	e = amp_end_vsock_new(vl, false);
	if (!e)
		return NULL;
	e->end.message = message;
	e->carrier = service->kind == AMP_SERVICE_ACCEPT;
	r = vl->ops->connect(vl, e, service);
	if (r) {
		*err = -r;
		vl->end_cnt--;
		amp_link_end_del(link, &e->end);
		free(e);
		return NULL;
	}
	e->noted = amp_journal_note(vl->journal, &e->c.ends, e->c.type);
	e->connecting = true;
	e->deadline_ms = amp_now_ms() + AMP_VLINK_CONNECT_MS;
	TAILQ_INSERT_TAIL(&vl->connecting, e, connecting_entry);
	tick_start(vl);
	amp_work_queue(&vl->work);
	return &e->end;
}

void amp_vlink_stats(const struct amp_link *link, char *dst, size_t len)
{
	const struct amp_vlink *vl =
		(const void *)((const char *)link - offsetof(struct amp_vlink, link));
	const struct amp_vsock_stats *s = &vl->vs.stats;

	snprintf(dst, len,
		 "cid=%" PRIu32 " ends=%u rx_packets=%" PRIu32 " tx_packets=%" PRIu32
		 " rx_bad=%" PRIu32 " rst_strays=%" PRIu32 " resets=%" PRIu32,
		 link->conf->cid, vl->end_cnt, s->rx_packets, s->tx_packets, s->rx_bad,
		 s->rst_strays, s->resets);
}
