// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls close setsockopt getsockname */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "flow.h"
#include "helper.h"
#include "listen.h"
#include "mux.h"
#include "offload.h"
#include "proxy_v2.h"
#include "publish.h"
#include "udp_relay.h"

/* One publish rule at work. */
struct publish {
	TAILQ_ENTRY(publish) entry;
	struct amp_link *link;
	const struct amp_forward *fwd;
	struct amp_acceptor acceptor;
	struct amp_udp_relay *relay;
	struct amp_mux *mux;
};

static TAILQ_HEAD(, publish) all = TAILQ_HEAD_INITIALIZER(all);

static void refuse(struct publish *p, int fd, int err)
{
	static const struct linger now = {.l_onoff = 1, .l_linger = 0};

	p->link->stats.refused++;
	amp_log_some(&p->link->log_refused, AMP_LOG_WARN,
		     "link %s: publish %s (%s): connection reset: %s", p->link->conf->name,
		     p->fwd->text, p->fwd->where, amp_link_why(p->link, err));
	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(fd);
	}
}

static void publish_failed(struct amp_flow *flow, unsigned side, int err)
{
	if (side == 0 && !flow->open[0])
		refuse(flow->owner, -1, err);
}

static const struct amp_flow_ops publish_flow = {
	.kind = "publish",
	.failed = publish_failed,
};

/* The service is to know who connected: peer, to the address that host's descriptor has. */
static int head(struct amp_flow *flow, const struct amp_end *host,
		const struct sockaddr_storage *peer)
{
	struct sockaddr_storage local = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(local);
	uint8_t bytes[AMP_PP2_MAX];

	if (getsockname(amp_end_fd_fd(host), (struct sockaddr *)&local, &len))
		local.ss_family = AF_UNSPEC;
	return amp_flow_head(flow, 0, bytes,
			     (uint16_t)amp_pp2_client(bytes, peer, sizeof(*peer), &local, len));
}

static void take(struct amp_acceptor *a, int fd, const struct sockaddr_storage *peer)
{
	struct publish *p = amp_container_of(a, struct publish, acceptor);
	struct amp_end *guest, *host;
	struct amp_flow *flow;
	int err;

	if (p->mux) {
		amp_mux_take(p->mux, fd);
		return;
	}
	guest = p->link->ops->connect(p->link, &p->fwd->service, false, &err);
	if (!guest) {
		refuse(p, fd, err);
		return;
	}
	host = amp_end_fd(fd, false);
	if (!host) {
		refuse(p, -1, ENOMEM);
		guest->ops->reset(guest);
		return;
	}
	p->link->stats.flows++;
	amp_forward_hit(p->fwd);
	flow = amp_flow_join(p->link, guest, false, host, true, &publish_flow, p);
	if (flow && p->fwd->proxy_protocol && head(flow, host, peer)) {
		refuse(p, -1, ENOMEM);
		amp_flow_kill(flow);
	}
}

static int start_one(struct publish *p, int fd)
{
	int r;

	if (p->fwd->service.kind == AMP_SERVICE_INET)
		return amp_offload_publish(p->link->offload, p->fwd, fd);
	if (p->fwd->target.kind == AMP_TARGET_UDP) {
		p->relay = amp_udp_relay_publish(p->link, p->fwd, fd);
		return p->relay ? 0 : -ENOMEM;
	}
	if (p->fwd->range_cnt) {
		p->mux = amp_mux_new(p->link, p->fwd);
		if (!p->mux) {
			amp_listen_close(fd);
			return -ENOMEM;
		}
	}
	p->acceptor.take = take;
	r = amp_acceptor_start(&p->acceptor, fd);
	return r;
}

/* Port 0 of a rule is any free one: this one. */
static void learn_port(const struct amp_link *link, struct amp_forward *fwd, int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char text[AMP_ADDR_TEXT];

	if (fwd->target.kind == AMP_TARGET_UNIX || amp_sockaddr_port(&fwd->target.addr.sa) ||
	    getsockname(fd, (struct sockaddr *)&ss, &len))
		return;
	fwd->port = amp_sockaddr_port((const struct sockaddr *)&ss);
	amp_log(AMP_LOG_INFO, "link %s: publish %s (%s): its address is %s", link->conf->name,
		fwd->text, fwd->where, amp_sockaddr_text((const struct sockaddr *)&ss, text));
}

/* A run-time rule has to be told by something shorter than its text. */
static uint32_t next_id = 1;

int amp_publish_one(struct amp_link *link, struct amp_forward *fwd)
{
	int r, fd = amp_target_listen(&fwd->target, link->conf->name, &fwd->service);
	struct publish *p;

	if (fd < 0)
		return fd;
	p = calloc(1, sizeof(*p));
	if (!p) {
		amp_listen_close(fd);
		return -ENOMEM;
	}
	p->link = link;
	p->fwd = fwd;
	p->acceptor.watch.fd = -1;
	if (!fwd->id)
		fwd->id = next_id++;
	learn_port(link, fwd, fd);
	TAILQ_INSERT_TAIL(&all, p, entry);
	r = start_one(p, fd);
	if (r)
		amp_publish_end(link, fwd, false);
	return r;
}

int amp_publish_start(struct amp_link *link)
{
	const struct amp_forward *fwd;
	int r = 0;

	TAILQ_FOREACH(fwd, &link->conf->publish, entry)
	{
		r = amp_publish_one(link, (struct amp_forward *)(uintptr_t)fwd);
		if (r)
			break;
	}
	return r;
}

/* Its socket, of which nobody hears any more; -1: it has none. */
static int stop_one(struct publish *p)
{
	int fd = p->acceptor.watch.fd;

	if (p->fwd->service.kind == AMP_SERVICE_INET)
		return amp_offload_unpublish(p->link->offload, p->fwd);
	if (p->relay)
		return amp_udp_relay_yield(p->relay);
	amp_work_cancel(&p->acceptor.work);
	amp_watch_stop(&p->acceptor.watch);
	return fd;
}

static void end(struct publish *p, bool hold)
{
	const struct amp_target *target = &p->fwd->target;
	int fd = stop_one(p);

	p->link->stats.cut += amp_flow_end_all(p->link, &publish_flow, p);
	if (fd >= 0 && hold) {
		amp_listen_hold(0, target, fd);
	} else if (fd >= 0) {
		if (target->kind == AMP_TARGET_UNIX)
			amp_helper_unlink(AMP_HELPER_PUBLISH, target->addr.un.sun_path);
		amp_listen_close(fd);
	}
	TAILQ_REMOVE(&all, p, entry);
	amp_udp_relay_free(p->relay);
	amp_mux_free(p->mux);
	free(p);
}

void amp_publish_end(struct amp_link *link, const struct amp_forward *fwd, bool hold)
{
	struct publish *p;

	TAILQ_FOREACH(p, &all, entry)
	{
		if (p->link == link && p->fwd == fwd)
			break;
	}
	if (p)
		end(p, hold);
}

void amp_publish_quit(struct amp_link *link)
{
	struct publish *p;

	amp_offload_quit(link->offload);
	TAILQ_FOREACH(p, &all, entry)
	{
		if (p->link != link || p->acceptor.watch.fd < 0)
			continue;
		if (p->fwd->target.kind == AMP_TARGET_UNIX)
			amp_helper_unlink(AMP_HELPER_PUBLISH, p->fwd->target.addr.un.sun_path);
		amp_acceptor_stop(&p->acceptor);
	}
}

void amp_publish_stop(struct amp_link *link)
{
	struct publish *p, *next;

	for (p = TAILQ_FIRST(&all); p; p = next) {
		next = TAILQ_NEXT(p, entry);
		if (p->link == link)
			end(p, false);
	}
}
