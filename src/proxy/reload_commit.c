// SPDX-License-Identifier: BSD-3-Clause
/* What runs becomes what the new configuration says. Theory of operation: reload.h. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "expose.h"
#include "helper.h"
#include "join.h"
#include "listen.h"
#include "offload.h"
#include "publish.h"
#include "reload_inner.h"
#include "rjoin.h"

/* What was tried before, and cannot be had for all that: want of memory, mostly. The rest goes on. */
__attribute__((format(printf, 2, 3))) static void failed(struct amp_reload *rl, const char *fmt,
							 ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!rl->failed++)
		fputs("the new configuration is in force, but not all of it:\n", rl->err);
	fprintf(rl->err, "%s\n", text);
	amp_log(AMP_LOG_ERROR, "reload: %s", text);
}

/* ---- links that are no more ---- */

struct reaped {
	uv_timer_t handle;
	struct amp_link *link;
	struct amp_link_conf *conf;
	bool again;
};

/*
 * libuv calls back for each handle in the turn after it was closed, and looks at its memory until
 * then. A handle that is closed from such a call has its own in a turn that comes later.
 */
static void closed(uv_handle_t *h)
{
	struct reaped *dead = h->data;

	if (!dead->again) {
		dead->again = true;
		uv_timer_init(amp_loop_uv(), &dead->handle);
		uv_close(h, closed);
		return;
	}
	dead->link->ops->free(dead->link);
	if (dead->conf)
		amp_link_conf_free(dead->conf);
	free(dead);
}

void amp_reload_reap(struct amp_link *link, struct amp_link_conf *conf)
{
	struct reaped *dead = calloc(1, sizeof(*dead));

	link->ops->stop(link);
	if (!dead) /* then it stays, stopped: better than a hole */
		return;
	dead->link = link;
	dead->conf = conf;
	uv_timer_init(amp_loop_uv(), &dead->handle);
	dead->handle.data = dead;
	uv_close((uv_handle_t *)&dead->handle, closed);
}

/* ---- joins ---- */

static struct amp_link *link_of(const struct amp_link_conf *conf)
{
	struct amp_link *l;

	TAILQ_FOREACH(l, amp_links_all(), entry)
	{
		if (l->conf == conf)
			break;
	}
	return l;
}

static bool same_pair(const struct amp_join_conf *a, const struct amp_join_conf *b)
{
	unsigned swap = strcmp(a->name[0], b->name[0]) != 0;

	return strcmp(a->name[0], b->name[swap]) == 0 &&
	       strcmp(a->name[1], b->name[!swap]) == 0;
}

/* Ends those that are left out, or whose links end. */
static void end_joins(struct amp_reload *rl)
{
	struct amp_join_conf *a, *b;

	TAILQ_FOREACH(a, &amp_reload_running()->joins, entry)
	{
		a->kept = false;
		TAILQ_FOREACH(b, &rl->fresh->conf.joins, entry)
		{
			if (a->again || b->again || !a->link[0]->twin || !a->link[1]->twin ||
			    !same_pair(a, b))
				continue;
			a->kept = b->kept = true;
		}
		if (a->kept || a->again)
			continue;
		(a->link[0]->type == AMP_LINK_RPMSG_SHM ? amp_rjoin_end : amp_join_end)(
			link_of(a->link[0]), link_of(a->link[1]));
	}
}

static const struct amp_link_conf *in_force(const struct amp_link_conf *f)
{
	return f->twin ? f->twin : f;
}

static bool is_there(const char *name)
{
	const struct amp_link *l;

	TAILQ_FOREACH(l, amp_links_all(), entry)
	{
		if (strcmp(l->conf->name, name) == 0)
			return true;
	}
	return false;
}

/* The new ones, when every link is there. */
static void start_joins(struct amp_reload *rl)
{
	struct amp_join_confs *ours = &amp_reload_running()->joins, old;
	struct amp_join_conf *j, *next;

	for (j = TAILQ_FIRST(&rl->fresh->conf.joins); j; j = next) {
		next = TAILQ_NEXT(j, entry);
		if (!is_there(j->name[0]) || !is_there(j->name[1])) {
			TAILQ_REMOVE(&rl->fresh->conf.joins, j, entry);
			amp_join_conf_free(j);
			continue; /* its link did not start: said */
		}
		j->link[0] = in_force(j->link[0]);
		j->link[1] = in_force(j->link[1]);
		if (j->again || j->kept)
			continue;
		if ((j->link[0]->type == AMP_LINK_RPMSG_SHM ? amp_rjoin_new : amp_join_new)(
			    link_of(j->link[0]), link_of(j->link[1]))) {
			/* not there, so that the next reload tries it again */
			failed(rl, "join %s,%s: no memory", j->name[0], j->name[1]);
			TAILQ_REMOVE(&rl->fresh->conf.joins, j, entry);
			amp_join_conf_free(j);
		}
	}
	TAILQ_INIT(&old);
	TAILQ_CONCAT(&old, ours, entry);
	TAILQ_CONCAT(ours, &rl->fresh->conf.joins, entry);
	TAILQ_CONCAT(&rl->fresh->conf.joins, &old, entry);
}

/* ---- what goes ---- */

static bool is_kept(const struct amp_forward *fwd)
{
	return fwd->twin && fwd->twin->twin == fwd;
}

/* Published ports that end. A twin that does not look back has claimed the socket. */
static void end_publishes(struct amp_reload *rl, struct amp_link *l)
{
	const struct amp_forward *fwd;

	TAILQ_FOREACH(fwd, &l->conf->publish, entry)
	{
		if (l->conf->twin && (is_kept(fwd) || fwd->runtime))
			continue;
		if (fwd->runtime)
			amp_log(AMP_LOG_WARN,
				"link %s: `%s`, published at run time, ends with its link",
				l->conf->name, fwd->text);
		amp_publish_end(l, fwd, fwd->twin != NULL);
		rl->rules_gone++;
	}
}

static bool path_is_wanted(struct amp_reload *rl, const struct amp_link *l)
{
	const struct amp_link *n;

	TAILQ_FOREACH(n, &rl->added, entry)
	{
		if (l->ops->listen_kind && n->ops->listen_kind == l->ops->listen_kind &&
		    strcmp(n->conf->path, l->conf->path) == 0)
			return true;
	}
	return false;
}

static void end_link(struct amp_reload *rl, struct amp_link *l)
{
	struct amp_link_conf *conf = (struct amp_link_conf *)(uintptr_t)l->conf;
	struct amp_target path = amp_listen_path(conf->path);

	amp_log(AMP_LOG_INFO, "link %s: ends: it is not in the configuration any more%s",
		conf->name, path_is_wanted(rl, l) ? ", or is another" : "");
	rl->links_gone++;
	rl->cut += l->stats.cut + l->flow_cnt;
	if (path_is_wanted(rl, l))
		amp_listen_hold(l->ops->listen_kind, &path, l->ops->yield(l));
	TAILQ_REMOVE(amp_links_all(), l, entry);
	TAILQ_REMOVE(&amp_reload_running()->links, conf, entry);
	amp_reload_reap(l, conf);
	amp_capture_gone(l); /* with what its guest was told at the end */
}

/* ---- rules of a link that stays ---- */

static void swap(char **a, char **b)
{
	char *text = *a;

	*a = *b;
	*b = text;
}

/* In the order of the new file; f is left with what is not used any more. */
static void merge_allow(struct amp_reload *rl, struct amp_link *l, struct amp_link_conf *c,
			struct amp_link_conf *f)
{
	struct amp_rules old = TAILQ_HEAD_INITIALIZER(old), fresh;
	struct amp_rule *r, *keep;

	TAILQ_INIT(&fresh);
	TAILQ_CONCAT(&fresh, &f->allow, entry);
	TAILQ_CONCAT(&old, &c->allow, entry);
	while ((r = TAILQ_FIRST(&fresh)) != NULL) {
		TAILQ_REMOVE(&fresh, r, entry);
		keep = r->twin;
		if (!keep) {
			rl->rules_added++;
			TAILQ_INSERT_TAIL(&c->allow, r, entry);
			continue;
		}
		TAILQ_REMOVE(&old, keep, entry);
		swap(&keep->text, &r->text);
		swap(&keep->where, &r->where);
		keep->log = r->log;
		TAILQ_INSERT_TAIL(&c->allow, keep, entry);
		TAILQ_INSERT_TAIL(&f->allow, r, entry);
	}
	TAILQ_FOREACH(r, &old, entry)
	{
		r->gone = true;
		rl->rules_gone++;
	}
	TAILQ_CONCAT(&f->allow, &old, entry);
	amp_offload_rules(l->offload);
}

static void adopt(struct amp_forward *keep, struct amp_forward *fwd)
{
	swap(&keep->text, &fwd->text);
	swap(&keep->where, &fwd->where);
	keep->proxy_protocol = fwd->proxy_protocol;
	keep->runtime = false;
}

static void merge_expose(struct amp_reload *rl, struct amp_link *l, struct amp_link_conf *c,
			 struct amp_link_conf *f)
{
	struct amp_forwards old = TAILQ_HEAD_INITIALIZER(old), fresh;
	struct amp_forward *fwd, *keep;

	TAILQ_INIT(&fresh);
	TAILQ_CONCAT(&fresh, &f->expose, entry);
	TAILQ_CONCAT(&old, &c->expose, entry);
	while ((fwd = TAILQ_FIRST(&fresh)) != NULL) {
		TAILQ_REMOVE(&fresh, fwd, entry);
		keep = fwd->twin;
		if (!keep) {
			rl->rules_added++;
			TAILQ_INSERT_TAIL(&c->expose, fwd, entry);
			continue;
		}
		TAILQ_REMOVE(&old, keep, entry);
		if (!amp_target_same(&keep->target, &fwd->target)) {
			l->stats.cut += amp_expose_end(l, keep);
			keep->target = fwd->target;
			keep->hits = 0;
			rl->rules_gone++;
			rl->rules_added++;
		}
		adopt(keep, fwd);
		TAILQ_INSERT_TAIL(&c->expose, keep, entry);
		TAILQ_INSERT_TAIL(&f->expose, fwd, entry);
	}
	TAILQ_FOREACH(fwd, &old, entry)
	{
		l->stats.cut += amp_expose_end(l, fwd);
		rl->rules_gone++;
	}
	TAILQ_CONCAT(&f->expose, &old, entry);
}

/* Links share ports, so that one may get what another lets go. */
static void move_ports(struct amp_reload *rl)
{
	struct amp_link *l;
	int r;

	TAILQ_FOREACH(l, amp_links_all(), entry)
	{
		if (l->ops->unexposed)
			l->ops->unexposed(l);
	}
	TAILQ_FOREACH(l, amp_links_all(), entry)
	{
		r = l->ops->exposed ? l->ops->exposed(l) : 0;
		if (r)
			failed(rl, "link %s: cannot listen where its guest connects: %s",
			       l->conf->name, strerror(-r));
	}
}

/* Those that end have ended. Run-time rules come behind those of the file. */
static void merge_publish(struct amp_reload *rl, struct amp_link *l, struct amp_link_conf *c,
			  struct amp_link_conf *f)
{
	struct amp_forwards old = TAILQ_HEAD_INITIALIZER(old), fresh;
	struct amp_forward *fwd, *keep, *next;
	int r;

	TAILQ_INIT(&fresh);
	TAILQ_CONCAT(&fresh, &f->publish, entry);
	TAILQ_CONCAT(&old, &c->publish, entry);
	while ((fwd = TAILQ_FIRST(&fresh)) != NULL) {
		TAILQ_REMOVE(&fresh, fwd, entry);
		keep = fwd->twin;
		if (!keep) {
			rl->rules_added++;
			TAILQ_INSERT_TAIL(&c->publish, fwd, entry);
			if (l->ops->wanted && l->ops->wanted(l, fwd))
				amp_log(AMP_LOG_WARN,
					"link %s: publish %s (%s): too many names have come at "
					"run time: the service is not found before a restart",
					c->name, fwd->text, fwd->where);
			r = amp_publish_one(l, fwd); /* its socket is held */
			if (r) { /* not there, so that the next reload tries it again */
				failed(rl, "%s: link %s: publish %s: %s", fwd->where, c->name,
				       fwd->text, strerror(-r));
				TAILQ_REMOVE(&c->publish, fwd, entry);
				TAILQ_INSERT_TAIL(&f->publish, fwd, entry);
			}
			continue;
		}
		TAILQ_REMOVE(&old, keep, entry);
		adopt(keep, fwd);
		TAILQ_INSERT_TAIL(&c->publish, keep, entry);
		TAILQ_INSERT_TAIL(&f->publish, fwd, entry);
	}
	for (fwd = TAILQ_FIRST(&old); fwd; fwd = next) {
		next = TAILQ_NEXT(fwd, entry);
		TAILQ_REMOVE(&old, fwd, entry);
		if (fwd->runtime)
			TAILQ_INSERT_TAIL(&c->publish, fwd, entry);
		else
			TAILQ_INSERT_TAIL(&f->publish, fwd, entry);
	}
}

static void merge_link(struct amp_reload *rl, struct amp_link *l)
{
	struct amp_link_conf *c = (struct amp_link_conf *)(uintptr_t)l->conf, *f = c->twin;

	swap(&c->where, &f->where);
	memcpy(c->limit, f->limit, sizeof(c->limit));
	c->limits_given = f->limits_given;
	c->lease_s = f->lease_s;
	amp_limits_set(&l->limits, c->limit);
	merge_allow(rl, l, c, f);
	merge_expose(rl, l, c, f);
	merge_publish(rl, l, c, f);
	rl->cut += l->stats.cut;
}

/* ---- what comes ---- */

static void start_link(struct amp_reload *rl, struct amp_link *l)
{
	struct amp_link_conf *conf = (struct amp_link_conf *)(uintptr_t)l->conf;
	int r;

	TAILQ_REMOVE(&rl->added, l, entry);
	TAILQ_REMOVE(&rl->fresh->conf.links, conf, entry);
	TAILQ_INSERT_TAIL(&amp_reload_running()->links, conf, entry);
	TAILQ_INSERT_TAIL(amp_links_all(), l, entry);
	rl->links_added++;
	r = l->ops->start(l);
	if (!r)
		r = amp_publish_start(l);
	if (!r)
		return;
	/* not there, likewise */
	failed(rl, "%s: link %s did not start: %s", conf->where, conf->name, strerror(-r));
	amp_publish_stop(l);
	TAILQ_REMOVE(amp_links_all(), l, entry);
	TAILQ_REMOVE(&amp_reload_running()->links, conf, entry);
	rl->links_added--;
	amp_reload_reap(l, conf);
}

/* ---- [proxy] ---- */

static void needs_restart(struct amp_reload *rl, const char *key, const char *is,
			  const char *will)
{
	size_t n = strlen(rl->restart);

	if (strcmp(is, will) == 0)
		return;
	snprintf(rl->restart + n, sizeof(rl->restart) - n, "%s%s", n ? " " : "", key);
	amp_log(AMP_LOG_WARN, "reload: %s takes a restart to change", key);
}

static void proxy_keys(struct amp_reload *rl, struct amp_config *c, const struct amp_config *f)
{
	needs_restart(rl, "user", c->user, f->user);
	needs_restart(rl, "confine", c->confine ? "yes" : "no", f->confine ? "yes" : "no");
	needs_restart(rl, "control", c->control, f->control);
	needs_restart(rl, "control-group", c->control_group, f->control_group);
	needs_restart(rl, "control-read-group", c->control_read_group, f->control_read_group);
	if (c->metrics.kind != f->metrics.kind ||
	    (c->metrics.kind && !amp_target_same(&c->metrics, &f->metrics)))
		needs_restart(rl, "metrics", "", "other");
	if (c->nat64_cnt != f->nat64_cnt ||
	    memcmp(c->nat64, f->nat64, c->nat64_cnt * sizeof(c->nat64[0])) != 0)
		needs_restart(rl, "nat64", "", "other");
	/* a level that was set while the proxy ran stays, unless the file has another now */
	if (c->log_level != f->log_level)
		amp_helper_log_level(f->log_level);
	c->log_level = f->log_level;
	c->drain_s = f->drain_s;
	c->lease_s = f->lease_s;
	memcpy(c->runtime_dir, f->runtime_dir, sizeof(c->runtime_dir));
}

/* ---- the whole ---- */

void amp_reload_commit(struct amp_reload *rl)
{
	struct amp_link *l, *next;

	TAILQ_FOREACH(l, amp_links_all(), entry)
	rl->cut -= l->stats.cut; /* of before */
	end_joins(rl);
	TAILQ_FOREACH(l, amp_links_all(), entry)
	end_publishes(rl, l);
	for (l = TAILQ_FIRST(amp_links_all()); l; l = next) {
		next = TAILQ_NEXT(l, entry);
		if (!l->conf->twin)
			end_link(rl, l);
	}
	TAILQ_FOREACH(l, amp_links_all(), entry)
	merge_link(rl, l);
	move_ports(rl);
	while ((l = TAILQ_FIRST(&rl->added)) != NULL)
		start_link(rl, l);
	start_joins(rl);
	amp_publish_tell(); /* before any other news: what of the old list is not told yet is no more */
	proxy_keys(rl, amp_reload_running(), &rl->fresh->conf);
	amp_listen_let_go(); /* none are left, unless memory was short */
	amp_vsock_let_go();
	amp_log(AMP_LOG_INFO,
		"reload: %u links and %u rules added, %u links and %u rules removed, %" PRIu64
		" connections cut",
		rl->links_added, rl->rules_added, rl->links_gone, rl->rules_gone, rl->cut);
}
