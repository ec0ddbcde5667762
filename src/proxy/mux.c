// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls connect sendto close */
/*
 * Theory of operation
 *
 * A caller is here until it is a flow: first its line is read, byte by byte if need be and not a
 * byte more, then the guest is asked. While it does not answer, what the caller sent behind the line
 * stays in its socket, what the guest sends stays in its end. OK goes out before the flow begins:
 * it is the first thing on a new socket, so it finds room.
 *
 * A refusal has no word: the connection is closed, as the monitors do.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../wire/offload.h"
#include "flow.h"
#include "hybrid.h"
#include "mux.h"

struct caller {
	TAILQ_ENTRY(caller) entry;
	struct amp_mux *mux;
	struct amp_watch watch;
	struct amp_hybrid line;
	struct amp_end *guest; /* NULL: the line is not whole */
	uint64_t deadline_ms;
	struct amp_grave grave;
};

struct amp_mux {
	struct amp_link *link;
	const struct amp_forward *fwd;
	TAILQ_HEAD(callers, caller) callers; /* oldest first */
	unsigned caller_cnt;
	uv_timer_t timer;
};

static void caller_free(struct amp_grave *grave)
{
	free(amp_container_of(grave, struct caller, grave));
}

static void forget(struct caller *c)
{
	TAILQ_REMOVE(&c->mux->callers, c, entry);
	if (--c->mux->caller_cnt == 0)
		uv_timer_stop(&c->mux->timer);
	amp_bury(&c->grave, caller_free);
}

static void hang_up(struct caller *c)
{
	if (c->guest)
		c->guest->ops->reset(c->guest);
	amp_watch_close(&c->watch);
	forget(c);
}

static void refuse(struct caller *c, const char *why)
{
	struct amp_link *link = c->mux->link;

	link->stats.refused++;
	amp_log_some(&link->log_refused, AMP_LOG_WARN,
		     "link %s: publish %s (%s): connection closed: %s", link->conf->name,
		     c->mux->fwd->text, c->mux->fwd->where, why);
	hang_up(c);
}

/* ---- the guest's end, until it has answered ---- */

static size_t guest_data(struct amp_end *end, const struct iovec *iov, int cnt, size_t len)
{
	(void)end;
	(void)iov;
	(void)cnt;
	(void)len;
	return 0; /* kept until the flow runs */
}

static const struct amp_flow_ops mux_flow = {
	.kind = "publish",
};

static void answered(struct caller *c)
{
	struct amp_mux *mux = c->mux;
	struct amp_end *guest = c->guest, *host;
	char line[AMP_HYBRID_LINE_MAX];
	int len = snprintf(line, sizeof(line), "OK %" PRIu32 "\n", c->line.port);
	int fd = c->watch.fd;

	if (send(fd, line, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) != len) {
		hang_up(c); /* the caller has gone */
		return;
	}
	amp_watch_stop(&c->watch);
	forget(c);
	host = amp_end_fd(fd, false);
	if (!host) {
		guest->ops->reset(guest);
		return;
	}
	mux->link->stats.flows++;
	amp_forward_hit(mux->fwd);
	amp_flow_join(mux->link, guest, true, host, true, &mux_flow, mux);
}

static void guest_event(struct amp_end *end, enum amp_end_event event)
{
	struct caller *c = end->owner;

	if (event == AMP_END_OPEN)
		answered(c);
	else if (event == AMP_END_FAILED)
		refuse(c, amp_link_why(c->mux->link, end->err));
}

static void guest_info(const struct amp_end *end, struct amp_sock_info *info)
{
	(void)end;
	info->kind = "publish";
	info->proto = "unix";
	info->state = "connecting";
}

static const struct amp_end_user guest_user = {
	.data = guest_data,
	.event = guest_event,
	.info = guest_info,
};

/* ---- the line ---- */

static bool may_reach(const struct amp_forward *fwd, uint32_t port)
{
	if (port == AMP_OFF_PORT || port == AMP_OFF_ACCEPT_PORT)
		return false; /* the proxy's own (docs/protocol.md, 1), also below `any` */
	for (unsigned i = 0; i < fwd->range_cnt; i++) {
		if (port >= fwd->range[i].lo && port <= fwd->range[i].hi)
			return true;
	}
	return false;
}

static void ask(struct caller *c)
{
	struct amp_service service = {.kind = AMP_SERVICE_VSOCK, .port = c->line.port};
	struct amp_link *link = c->mux->link;
	char why[64];
	int err = 0;

	if (!may_reach(c->mux->fwd, c->line.port)) {
		link->stats.denied++;
		snprintf(why, sizeof(why), "CONNECT %" PRIu32 ": no port of this rule",
			 c->line.port);
		refuse(c, why);
		return;
	}
	c->guest = link->ops->connect(link, &service, false, &err);
	if (!c->guest) {
		refuse(c, amp_link_why(link, err));
		return;
	}
	c->guest->owner = c;
	c->guest->user = &guest_user;
}

static void ready(struct amp_watch *w, uint32_t events)
{
	struct caller *c = amp_container_of(w, struct caller, watch);
	int r;

	if (c->guest) {
		/* both ways; whoever has only ended what it sends waits for the answer */
		if (events & (EPOLLHUP | EPOLLERR))
			hang_up(c);
		return;
	}
	r = amp_hybrid_read(&c->line, w->fd);
	if (r == 1)
		ask(c);
	else if (r == -EPROTO)
		refuse(c, "expected `CONNECT PORT` and a newline");
	else if (r != -EAGAIN)
		hang_up(c);
}

/* The guest's answer has the link's own deadline. */
static void on_timer(uv_timer_t *t)
{
	struct amp_mux *mux = t->data;
	uint64_t now = amp_now_ms(), next_ms = 0;
	struct caller *c, *next;

	for (c = TAILQ_FIRST(&mux->callers); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (c->guest)
			continue;
		if (c->deadline_ms > now) {
			next_ms = c->deadline_ms - now;
			break;
		}
		refuse(c, "no `CONNECT PORT` in time");
	}
	if (next_ms)
		uv_timer_start(t, on_timer, next_ms, 0);
}

void amp_mux_take(struct amp_mux *mux, int fd)
{
	struct caller *c = mux->caller_cnt < AMP_MUX_WAIT_MAX ? calloc(1, sizeof(*c)) : NULL;

	if (!c || amp_watch_start(&c->watch, fd, EPOLLIN | EPOLLRDHUP | EPOLLET)) {
		mux->link->stats.refused++;
		amp_log_some(&mux->link->log_refused, AMP_LOG_WARN,
			     "link %s: publish %s (%s): more than %u wait, or no memory: "
			     "connection closed",
			     mux->link->conf->name, mux->fwd->text, mux->fwd->where,
			     AMP_MUX_WAIT_MAX);
		close(fd);
		free(c);
		return;
	}
	c->mux = mux;
	c->watch.ready = ready;
	c->line.word = "CONNECT";
	c->deadline_ms = amp_now_ms() + AMP_MUX_WAIT_MS;
	TAILQ_INSERT_TAIL(&mux->callers, c, entry);
	mux->caller_cnt++;
	if (!uv_is_active((uv_handle_t *)&mux->timer))
		uv_timer_start(&mux->timer, on_timer, AMP_MUX_WAIT_MS, 0);
}

struct amp_mux *amp_mux_new(struct amp_link *link, const struct amp_forward *fwd)
{
	struct amp_mux *mux = calloc(1, sizeof(*mux));

	if (!mux)
		return NULL;
	mux->link = link;
	mux->fwd = fwd;
	TAILQ_INIT(&mux->callers);
	uv_timer_init(amp_loop_uv(), &mux->timer);
	mux->timer.data = mux;
	return mux;
}

static void timer_closed(uv_handle_t *h)
{
	free(h->data);
}

void amp_mux_free(struct amp_mux *mux)
{
	struct caller *c;

	if (!mux)
		return;
	while ((c = TAILQ_FIRST(&mux->callers)) != NULL)
		hang_up(c);
	mux->link->stats.cut += amp_flow_end_all(mux->link, &mux_flow, mux);
	uv_close((uv_handle_t *)&mux->timer, timer_closed);
}
