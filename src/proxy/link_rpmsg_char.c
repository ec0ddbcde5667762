// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls getrandom */
/* Link type rpmsg-char: the kernel is the rpmsg host. Theory of operation: clink.h, rchar.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "capture.h"
#include "clink.h"
#include "helper.h"
#include "zeroed.h"

#define SCAN_MS	 250u /* what the remote announces is looked up this often */
#define RETRY_MS 1u   /* a kernel without buffers is asked again */

static struct amp_clink *of_vlink(struct amp_vlink *vl)
{
	return amp_container_of(vl, struct amp_clink, vl);
}

static struct amp_clink *of_link(struct amp_link *link)
{
	return amp_container_of(link, struct amp_clink, vl.link);
}

static const char *name_of(const struct amp_clink *cl)
{
	return cl->vl.link.conf->name;
}

/* ---- the engine's way ---- */

static struct amp_rstream_conn *hook_request(struct amp_rstream *rs, uint32_t local,
					     uint32_t peer)
{
	struct amp_clink *cl = rs->door_ctx;
	struct amp_end_vsock *e = NULL;

	(void)peer;
	for (unsigned i = 0; i < cl->names.service_cnt && !e; i++) {
		if (!cl->services[i] || cl->services[i]->src != local)
			continue;
		e = amp_end_vsock_new(&cl->vl, true);
		if (!e)
			return NULL;
		e->fwd = cl->names.services[i].fwd;
	}
	if (!e)
		return NULL;
	e->carrier = !e->fwd;
	amp_end_vsock_due(e);
	return &e->rc;
}

static const struct amp_rstream_ops stream_ops = {
	.request = hook_request,
};

static void char_init(struct amp_vlink *vl)
{
	amp_vlink_engine(vl);
	vl->rs.ops = &stream_ops;
	vl->rs.door = &amp_char_door;
	vl->rs.door_ctx = of_vlink(vl);
	amp_rstream_init(&vl->rs);
	amp_vlink_engine_ready(vl);
}

/* The kernel's buffers are larger than buffer= says, and what was read is not all of it. */
static void too_long(struct amp_clink *cl, struct amp_cept *c)
{
	cl->vl.vs.why = AMP_WHY("a message longer than this link's buffers (see buffer=)");
	if (c->kind == AMP_CEPT_CONN) { /* whose bytes would be missing */
		struct amp_end_vsock *e = amp_container_of(c->rc, struct amp_end_vsock, rc);

		amp_vsock_abort(&cl->vl.vs, &e->c);
		e->ev |= AMP_VSOCK_EV_RESET;
		amp_end_vsock_due(e);
	}
	if (c->kind == AMP_CEPT_RAW)
		cl->vl.link.stats.drops++;
	else
		cl->vl.vs.stats.rx_bad++;
}

static void input(struct amp_clink *cl, struct amp_cept *c, uint8_t *at, uint32_t len)
{
	struct amp_rpmsg_rx rx = {.data = at, .len = len, .dst = c->src};
	struct amp_iov iov = {at, len};
	struct amp_vsock_rx raw = {.iov = &iov, .iov_cnt = 1, .len = len};

	if (__builtin_expect(cl->vl.link.tapped, 0)) /* the kernel does not say who sent it */
		amp_capture_rpmsg(&cl->vl.link, false, c->dst, c->src, at, len);
	if (len > cl->room) {
		too_long(cl, c);
		return;
	}
	switch (c->kind) {
	case AMP_CEPT_SERVICE:
		amp_rstream_serve(&cl->vl.rs, &rx);
		break;
	case AMP_CEPT_CONN:
		(void)amp_rstream_input(&cl->vl.rs, c->rc, &rx);
		break;
	case AMP_CEPT_RAW:
		(void)amp_raw_input(c->raw, &raw, 0);
		break;
	default: /* it only sends: nobody has its address from us */
		cl->vl.rs.stats.foreign++;
		break;
	}
}

static int char_run(struct amp_vlink *vl, unsigned budget)
{
	struct amp_clink *cl = of_vlink(vl);
	struct amp_cept *c;
	unsigned n = 0;
	ssize_t len;

	/* the arena has a place for each message of a pass: what is held stays there */
	for (; n < budget; n++) {
		uint8_t *at = cl->arena + n * AMP_CLINK_PLACE(cl);

		len = amp_cept_read(cl, at, &c);
		if (len < 0)
			break;
		input(cl, c, at, (uint32_t)len);
	}
	amp_rnames_tell(&cl->names, &vl->rs);
	amp_rstream_run(&vl->rs);
	return (int)n;
}

static void char_release(struct amp_vlink *vl, uint32_t id)
{
	(void)vl;
	(void)id; /* the arena is the next pass's */
}

static int char_connect(struct amp_vlink *vl, struct amp_end_vsock *e,
			const struct amp_service *service)
{
	uint32_t addr;
	int r = amp_rnames_find(&of_vlink(vl)->names, service, &addr);

	return r ? r : amp_rstream_connect(&vl->rs, &e->rc, addr);
}

static bool char_serve(struct amp_vlink *vl)
{
	return amp_raws_serve(&of_vlink(vl)->raws);
}

static const char *char_why(struct amp_vlink *vl)
{
	const char *why = vl->rs.vs.why;

	vl->rs.vs.why = NULL;
	return why;
}

static const struct amp_vlink_ops char_vops = {
	.init = char_init,
	.run = char_run,
	.release = char_release,
	.connect = char_connect,
	.serve = char_serve,
	.why = char_why,
};

static struct amp_end *rc_connect(struct amp_link *link, const struct amp_service *service,
				  bool message, int *err)
{
	struct amp_clink *cl = of_link(link);
	uint32_t addr;
	int r;

	if (!message)
		return amp_vlink_connect(link, service, false, err);
	*err = ENETDOWN;
	if (!link->up)
		return NULL;
	r = amp_rnames_find(&cl->names, service, &addr);
	*err = -r;
	return r ? NULL : amp_end_char_open(cl, addr, err);
}

/* ---- up and down ---- */

static void close_services(struct amp_clink *cl)
{
	for (unsigned i = 0; i < cl->names.service_cnt; i++) {
		if (cl->services[i])
			amp_cept_close(cl->services[i]);
		cl->services[i] = NULL;
	}
}

/* Endpoints for our services, all of them towards the front door. */
static void open_services(struct amp_clink *cl)
{
	uint32_t door = amp_rnames_door(&cl->names)->addr;
	int err;

	for (unsigned i = 0; i < cl->names.service_cnt; i++) {
		struct amp_rservice *s = &cl->names.services[i];
		uint32_t src = s->end.name ? AMP_RPMSG_ADDR_ANY : s->end.ept.addr;

		if (cl->services[i] && cl->services[i]->dst != door) {
			amp_cept_close(cl->services[i]);
			cl->services[i] = NULL;
		}
		if (!cl->services[i])
			cl->services[i] = amp_cept_open(cl, AMP_CEPT_SERVICE, src, door, &err);
		if (!cl->services[i])
			return; /* said; the next scan tries again */
		s->end.ept.addr = cl->services[i]->src;
	}
}

static void detach(struct amp_clink *cl)
{
	amp_log_some(&cl->vl.link.log_attached, AMP_LOG_INFO, "link %s: remote detached",
		     name_of(cl));
	amp_link_down(&cl->vl.link);
	amp_rnames_forget(&cl->names);
	amp_raws_down(&cl->raws);
	amp_vlink_down(&cl->vl);
	while (amp_raws_serve(&cl->raws))
		;
	close_services(cl);
	while (!TAILQ_EMPTY(&cl->pending)) /* refusals that found no buffer any more */
		amp_cept_close(TAILQ_FIRST(&cl->pending));
	uv_timer_stop(&cl->retry);
	cl->lost = false;
	cl->said[0] = 0;
}

/* ---- what the remote announces ---- */

static bool wants(void *ctx, const char *text)
{
	const struct amp_clink *cl = ctx;

	for (unsigned i = 0; i < cl->names.name_cnt; i++) {
		const char *name = cl->names.names[i].name;
		unsigned at = 0;

		if (!cl->names.names[i].asked)
			continue;
		while (name[at] && text[at] == (name[at] == '/' ? '!' : name[at]))
			at++;
		if (!name[at] && text[at] == '.')
			return true;
	}
	return false;
}

static void heard(void *ctx, const char *name, uint32_t addr)
{
	struct amp_clink *cl = ctx;
	uint32_t left = AMP_RPMSG_ADDR_ANY;

	for (unsigned i = 0; i < cl->names.name_cnt; i++) {
		struct amp_rname *n = &cl->names.names[i];

		if (strcmp(n->name, name))
			continue;
		n->seen = true;
		if (!n->known || n->addr != addr)
			(void)amp_rnames_heard(&cl->names, name, addr, false, &left);
	}
	if (left != AMP_RPMSG_ADDR_ANY)
		amp_raws_withdrawn(&cl->raws, left);
}

static void scan(struct amp_clink *cl)
{
	static const struct amp_rchar_ops ops = {.wants = wants, .heard = heard};

	for (unsigned i = 0; i < cl->names.name_cnt; i++)
		cl->names.names[i].seen = false;
	amp_helper_rchar_scan(cl->path, &ops, cl);
	for (unsigned i = 0; i < cl->names.name_cnt; i++) {
		struct amp_rname *n = &cl->names.names[i];
		uint32_t left;

		if (n->seen || !n->known)
			continue;
		(void)amp_rnames_heard(&cl->names, n->name, n->addr, true, &left);
		amp_raws_withdrawn(&cl->raws, left);
	}
	if (amp_rnames_door(&cl->names)->known)
		open_services(cl);
	else
		close_services(cl);
	amp_work_queue(&cl->vl.work);
}

static void waits(struct amp_clink *cl, int err)
{
	char text[sizeof(cl->said)];

	snprintf(text, sizeof(text), "%s: %s", cl->path, strerror(err));
	if (strcmp(text, cl->said))
		amp_log(AMP_LOG_INFO, "link %s: waiting: %s", name_of(cl), text);
	memcpy(cl->said, text, sizeof(text));
}

static void look(struct amp_clink *cl)
{
	bool up = cl->vl.link.up;
	int r;

	cl->lost |= up && !amp_helper_rchar_stands(cl->path);
	if (up && cl->lost) {
		detach(cl);
		up = false;
	}
	if (!up) {
		r = amp_helper_rchar_find(cl->path);
		if (r) {
			waits(cl, -r);
			return;
		}
		cl->said[0] = 0;
		amp_link_up(&cl->vl.link);
	}
	scan(cl);
}

static void scan_due(uv_timer_t *t)
{
	look(t->data);
}

static void retry_due(uv_timer_t *t)
{
	struct amp_clink *cl = t->data;

	amp_cept_retry(cl);
	amp_work_queue(&cl->vl.work);
}

static void run(struct amp_work *work)
{
	struct amp_clink *cl = amp_container_of(work, struct amp_clink, vl.work);

	if (!cl->vl.link.up)
		return;
	if (!cl->lost && amp_vlink_run(&cl->vl) == (int)AMP_VLINK_BATCH)
		amp_work_queue(work);
	if (cl->lost) {
		detach(cl);
		return;
	}
	if (!TAILQ_EMPTY(&cl->pending) && !uv_is_active((uv_handle_t *)&cl->retry))
		uv_timer_start(&cl->retry, retry_due, RETRY_MS, 0);
}

/* ---- the link ---- */

static int start(struct amp_link *link)
{
	struct amp_clink *cl = of_link(link);

	look(cl);
	uv_timer_start(&cl->scan, scan_due, SCAN_MS, SCAN_MS);
	return 0;
}

/*
 * The kernel stays, and says nothing to the remote of a process that ends: we do, or it would
 * wait for its pings. What finds no buffer is left to them.
 */
static void goodbye(struct amp_clink *cl)
{
	struct amp_vsock *vs = &cl->vl.rs.vs;
	struct amp_vsock_conn *c, *next;

	amp_rnames_withdraw(&cl->names, &cl->vl.rs); /* first, or it comes again at once */
	for (uint32_t i = 0; i < vs->hash_len; i++) {
		for (c = vs->hash[i]; c; c = next) {
			struct amp_end_vsock *e = amp_container_of(c, struct amp_end_vsock, c);

			next = c->hash_next;
			amp_vsock_abort(vs, c);
			e->ev |= AMP_VSOCK_EV_RESET;
			amp_end_vsock_due(e);
		}
	}
	amp_rstream_run(&cl->vl.rs);
}

static void stop(struct amp_link *link)
{
	struct amp_clink *cl = of_link(link);

	if (link->up && !cl->lost)
		goodbye(cl);
	if (link->up)
		detach(cl);
	uv_close((uv_handle_t *)&cl->scan, NULL);
	uv_close((uv_handle_t *)&cl->retry, NULL);
	amp_vlink_fini(&cl->vl);
}

static int wanted(struct amp_link *link, const struct amp_forward *fwd)
{
	return fwd->service.name[0] ? amp_rnames_want(&of_link(link)->names, fwd->service.name)
				    : 0;
}

static void rc_free(struct amp_link *link)
{
	struct amp_clink *cl = of_link(link);

	amp_rnames_free(&cl->names);
	free(cl->services);
	free(cl->loose);
	free(cl->arena);
	amp_zeroed_free(cl, sizeof(*cl));
}

static void stats(const struct amp_link *link, char *dst, size_t len)
{
	const struct amp_clink *cl =
		(const void *)((const char *)link - offsetof(struct amp_clink, vl.link));
	const struct amp_vsock_stats *s = &cl->vl.vs.stats;

	snprintf(dst, len,
		 "ends=%u endpoints=%u rx_packets=%" PRIu32 " tx_packets=%" PRIu32
		 " rx_bad=%" PRIu32 " foreign=%" PRIu32 " resets=%" PRIu32,
		 cl->vl.end_cnt, cl->cept_cnt, s->rx_packets, s->tx_packets, s->rx_bad,
		 cl->vl.rs.stats.foreign, s->resets);
}

/* The kernel has the rings: link->tapped is looked at where messages are read and written. */
static void tap(struct amp_link *link)
{
	(void)link;
}

/* As at the end; the next look finds the remote again. */
static void reset(struct amp_link *link)
{
	struct amp_clink *cl = of_link(link);

	if (!link->up)
		return;
	if (!cl->lost)
		goodbye(cl);
	detach(cl);
}

static const struct amp_link_ops rc_ops = {
	.type = "rpmsg-char",
	.peer = "remote",
	.start = start,
	.stop = stop,
	.free = rc_free,
	.connect = rc_connect,
	.wanted = wanted,
	.stats = stats,
	.reset = reset,
	.tap_kind = AMP_TAP_RPMSG,
	.tap = tap,
};

static bool memory(struct amp_clink *cl, const struct amp_link_conf *conf)
{
	uint32_t len = conf->shm.buf_len ? conf->shm.buf_len : AMP_RPMSG_BUF_LEN;

	cl->room = len - AMP_RPMSG_HDR_LEN;
	cl->arena = malloc(AMP_VLINK_BATCH * AMP_CLINK_PLACE(cl));
	cl->loose = amp_cept_new(cl);
	if (!cl->arena || !cl->loose || amp_rnames_init(&cl->names, conf))
		return false;
	cl->services = calloc(cl->names.service_cnt, sizeof(struct amp_cept *));
	return cl->services != NULL;
}

struct amp_link *amp_link_rpmsg_char(const struct amp_link_conf *conf)
{
	struct amp_clink *cl = amp_zeroed_new(sizeof(*cl));

	if (!cl)
		return NULL;
	if (!memory(cl, conf) || amp_vlink_init(&cl->vl, &rc_ops, &char_vops, conf)) {
		rc_free(&cl->vl.link);
		return NULL;
	}
	/* the remote may still have connections with our last life */
	if (getrandom(&cl->vl.rs.next_tag, sizeof(cl->vl.rs.next_tag), 0) < 0 ||
	    getrandom(&cl->next_addr, sizeof(cl->next_addr), 0) < 0)
		abort();
	cl->next_addr %= 0x00f00000u;
	TAILQ_INIT(&cl->readable);
	TAILQ_INIT(&cl->pending);
	amp_end_char_init(cl);
	cl->path = conf->path;
	cl->vl.work.run = run;
	uv_timer_init(amp_loop_uv(), &cl->scan);
	uv_timer_init(amp_loop_uv(), &cl->retry);
	cl->scan.data = cl->retry.data = cl;
	return &cl->vl.link;
}
