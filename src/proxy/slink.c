// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls connect listen accept4 close
 *
 * Theory of operation: slink.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../wire/offload.h"
#include "slink.h"

static struct amp_slink *of_link(struct amp_link *link)
{
	return amp_container_of(link, struct amp_slink, link);
}

/* ---- who waits ---- */

static void tick_due(uv_timer_t *t)
{
	struct amp_slink *sl = t->data;
	uint64_t now = amp_now_ms();
	struct amp_end_sock *e;

	while ((e = TAILQ_FIRST(&sl->waits)) != NULL && e->deadline_ms <= now) {
		amp_slink_wait_over(e);
		amp_end_sock_kill(e, ETIMEDOUT);
	}
	if (e)
		uv_timer_start(&sl->tick, tick_due, e->deadline_ms - now, 0);
}

void amp_slink_wait(struct amp_end_sock *e)
{
	struct amp_slink *sl = e->sl;

	amp_slink_wait_over(e);
	e->deadline_ms = amp_now_ms() + AMP_SLINK_WAIT_MS;
	TAILQ_INSERT_TAIL(&sl->waits, e, wait_entry);
	if (!uv_is_active((uv_handle_t *)&sl->tick))
		uv_timer_start(&sl->tick, tick_due, AMP_SLINK_WAIT_MS, 0);
}

void amp_slink_wait_over(struct amp_end_sock *e)
{
	if (e->deadline_ms)
		TAILQ_REMOVE(&e->sl->waits, e, wait_entry);
	e->deadline_ms = 0;
	/* an idle proxy is not woken */
	if (TAILQ_EMPTY(&e->sl->waits))
		uv_timer_stop(&e->sl->tick);
}

/* ---- there, and gone ---- */

/* From the loop: whoever let the last end go is not on the stack any more. */
static void look(struct amp_work *work)
{
	struct amp_slink *sl = amp_container_of(work, struct amp_slink, work);

	if (sl->end_cnt || !sl->link.up)
		return;
	amp_link_down(&sl->link);
	amp_log_some(&sl->log_detached, AMP_LOG_INFO, "link %s: guest detached",
		     sl->link.conf->name);
}

/* ---- connections ---- */

struct amp_end *amp_slink_connect(struct amp_link *link, const struct amp_service *service,
				  bool message, int *err)
{
	struct amp_slink *sl = of_link(link);
	struct amp_end_sock *e;
	int fd, r;

	*err = EOPNOTSUPP;
	if (message && !sl->ops->messages)
		return NULL;
	*err = ENOBUFS;
	e = amp_end_sock_new(sl);
	if (!e)
		return NULL;
	fd = sl->ops->connect(sl, e, service->port, message);
	if (fd < 0) {
		*err = -fd;
		amp_end_sock_drop(e);
		return NULL;
	}
	r = amp_end_sock_start(e, fd, true, service->port, message);
	if (r) {
		*err = -r;
		return NULL;
	}
	return &e->end;
}

void amp_slink_incoming(struct amp_slink *sl, int fd, uint32_t port, bool message)
{
	struct amp_service service = {.kind = AMP_SERVICE_VSOCK, .port = port};
	const struct amp_forward *fwd;
	struct amp_end_sock *e;

	if (!amp_link_serves(&sl->link, &service, message, &fwd)) {
		amp_slink_tap_refused(sl, fd, port, message);
		close(fd);
		return;
	}
	e = amp_end_sock_new(sl);
	if (!e) {
		sl->link.stats.refused++;
		amp_log_some(&sl->link.log_refused, AMP_LOG_WARN,
			     "link %s: more than %u connections, or no memory: refused",
			     sl->link.conf->name, AMP_LIMIT_ENDS);
		amp_slink_tap_refused(sl, fd, port, message);
		close(fd);
		return;
	}
	if (amp_end_sock_start(e, fd, false, port, message))
		return;
	amp_link_up(&sl->link);
	amp_link_incoming(&sl->link, &e->end, fwd);
}

/* ---- where the guest's connections arrive ---- */

static struct amp_sport *find_port(struct amp_slink *sl, uint32_t port, bool message)
{
	struct amp_sport *p;

	TAILQ_FOREACH(p, &sl->ports, entry)
	{
		if (p->port == port && p->message == message)
			return p;
	}
	return NULL;
}

static void close_port(struct amp_slink *sl, struct amp_sport *p)
{
	TAILQ_REMOVE(&sl->ports, p, entry);
	sl->ops->unlisten(sl, p);
	free(p);
}

static int open_port(struct amp_slink *sl, uint32_t port, bool message)
{
	struct amp_sport *p;
	int r;

	if (find_port(sl, port, message))
		return 0;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->sl = sl;
	p->port = port;
	p->message = message;
	r = sl->ops->listen(sl, p);
	if (r)
		free(p);
	else
		TAILQ_INSERT_TAIL(&sl->ports, p, entry);
	return r;
}

static bool is_wanted(const struct amp_link *link, const struct amp_sport *p)
{
	const struct amp_forward *fwd;

	if (p->port == AMP_OFF_PORT)
		return true;
	TAILQ_FOREACH(fwd, &link->conf->expose, entry)
	{
		if (fwd->service.port == p->port &&
		    (fwd->target.kind == AMP_TARGET_UDP) == p->message)
			return true;
	}
	return false;
}

/*
 * What goes is closed first, and of all links: a port of another kind than before has the old one
 * in the way, which another link may share.
 */
void amp_slink_close_ports(struct amp_link *link)
{
	struct amp_slink *sl = of_link(link);
	struct amp_sport *p, *next;

	for (p = TAILQ_FIRST(&sl->ports); p; p = next) {
		next = TAILQ_NEXT(p, entry);
		if (!is_wanted(link, p))
			close_port(sl, p);
	}
}

/* One that cannot be had keeps no other from being had. */
int amp_slink_ports(struct amp_link *link)
{
	struct amp_slink *sl = of_link(link);
	const struct amp_forward *fwd;
	int r, err;

	r = open_port(sl, AMP_OFF_PORT, false);
	TAILQ_FOREACH(fwd, &link->conf->expose, entry)
	{
		err = open_port(sl, fwd->service.port, fwd->target.kind == AMP_TARGET_UDP);
		r = r ? r : err;
	}
	return r;
}

/* ---- the link ---- */

int amp_slink_start(struct amp_link *link)
{
	return amp_slink_ports(link);
}

void amp_slink_stop(struct amp_link *link)
{
	struct amp_slink *sl = of_link(link);
	struct amp_sport *p;
	struct amp_end_sock *e;

	while ((p = TAILQ_FIRST(&sl->ports)) != NULL)
		close_port(sl, p);
	amp_link_down(link);
	while ((e = TAILQ_FIRST(&sl->ends)) != NULL)
		amp_end_sock_kill(e, ECONNRESET);
	amp_work_cancel(&sl->work);
	uv_close((uv_handle_t *)&sl->tick, NULL);
	amp_link_fini(link);
}

void amp_slink_reset(struct amp_link *link)
{
	struct amp_slink *sl = of_link(link);
	struct amp_end_sock *e, *next;

	amp_link_down(link);
	for (e = TAILQ_FIRST(&sl->ends); e; e = next) {
		next = TAILQ_NEXT(e, entry);
		if (!e->let_go)
			amp_end_sock_kill(e, ECONNRESET);
	}
}

void amp_slink_stats(const struct amp_link *link, char *dst, size_t len)
{
	const struct amp_slink *sl =
		(const void *)((const char *)link - offsetof(struct amp_slink, link));
	const struct amp_sport *p;
	unsigned ports = 0;

	TAILQ_FOREACH(p, &sl->ports, entry)
	ports++;
	snprintf(dst, len, "ends=%u ports=%u", sl->end_cnt, ports);
}

struct amp_link *amp_slink_new(size_t len, const struct amp_link_ops *ops,
			       const struct amp_slink_ops *sops,
			       const struct amp_link_conf *conf)
{
	struct amp_slink *sl = calloc(1, len);

	if (!sl)
		return NULL;
	if (amp_link_init(&sl->link, ops, conf)) {
		free(sl);
		return NULL;
	}
	sl->ops = sops;
	sl->work.run = look;
	TAILQ_INIT(&sl->ends);
	TAILQ_INIT(&sl->waits);
	TAILQ_INIT(&sl->ports);
	uv_timer_init(amp_loop_uv(), &sl->tick);
	sl->tick.data = sl;
	return &sl->link;
}

void amp_slink_free(struct amp_link *link)
{
	free(amp_container_of(link, struct amp_slink, link));
}
