// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls write close
 * The C library's own, for memory, and for a process that has gone wrong:
 * #syscalls brk mmap.data munmap mremap mprotect.data madvise
 * #syscalls getpid gettid rt_sigprocmask rt_sigaction tgkill.self
 */
/* The worker process: start, signals, stop. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../virtio/sigbus.h"
#include "bell.h"
#include "control.h"
#include "flow.h"
#include "helper.h"
#include "join.h"
#include "kept.h"
#include "link.h"
#include "listen.h"
#include "loop.h"
#include "offload.h"
#include "publish.h"
#include "reload.h"
#include "rjoin.h"
#include "run.h"

static struct amp_links links = TAILQ_HEAD_INITIALIZER(links);

struct amp_links *amp_links_all(void)
{
	return &links;
}

static void print_rules(const struct amp_link *l)
{
	const struct amp_forward *f;
	const struct amp_rule *r;

	TAILQ_FOREACH(r, &l->conf->allow, entry)
	amp_log_counters("rule of=%s hits=%" PRIu64 " denied=%" PRIu64 " allow %s (%s)",
			 l->conf->name, r->hits, r->denied, r->text, r->where);
	TAILQ_FOREACH(f, &l->conf->publish, entry)
	amp_log_counters("rule of=%s hits=%" PRIu64 " id=%" PRIu32 " publish %s (%s)",
			 l->conf->name, f->hits, f->id, f->text, f->where);
	TAILQ_FOREACH(f, &l->conf->expose, entry)
	amp_log_counters("rule of=%s hits=%" PRIu64 " expose %s (%s)", l->conf->name, f->hits,
			 f->text, f->where);
}

static void print_limits(const struct amp_link *l)
{
	static const char *const name[AMP_LIMIT_CNT] = {
		"sockets", "half_open", "buffered", "connects", "dns", "datagrams",
	};
	char text[300];
	size_t n = 0;

	for (unsigned i = 0; i < AMP_LIMIT_CNT; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " limited_%s=%" PRIu64,
				      name[i], l->limits.hits[i]);
	amp_log_counters("limits of=%s%s used_sockets=%" PRIu64 " used_half_open=%" PRIu64
			 " used_buffered=%" PRIu64,
			 l->conf->name, text, l->limits.used[AMP_LIMIT_SOCKETS],
			 l->limits.used[AMP_LIMIT_HALF_OPEN],
			 l->limits.used[AMP_LIMIT_BUFFERED]);
}

static void print_counters(void)
{
	struct amp_link *l;
	char text[300];

	TAILQ_FOREACH(l, &links, entry)
	{
		l->ops->stats(l, text, sizeof(text));
		amp_log_counters(
			"link=%s up=%d flows=%u flows_total=%" PRIu64
			" sockets=%u denied=%" PRIu64 " refused=%" PRIu64 " unresolved=%" PRIu64
			" stale=%" PRIu64 " datagram_drops=%" PRIu64 " attached=%" PRIu64
			" denied_in=%" PRIu64 " denied_out=%" PRIu64 " denied_names=%" PRIu64
			" cut=%" PRIu64 " %s",
			l->conf->name, l->up, l->flow_cnt, l->stats.flows,
			amp_offload_sockets(l->offload), l->stats.denied, l->stats.refused,
			l->stats.unresolved, l->stats.stale, l->stats.drops, l->stats.attached,
			l->stats.denied_dir[AMP_DIR_IN], l->stats.denied_dir[AMP_DIR_OUT],
			l->stats.denied_names, l->stats.cut, text);
		print_limits(l);
		print_rules(l);
	}
	amp_join_stats();
	amp_rjoin_stats();
}

/*
 * Another program goes on: flows end here and now, links as they are, and what outlives us is
 * with the helper. No ring is touched any more, no file removed.
 */
static void hand_over(void)
{
	struct amp_link *l;

	amp_log(AMP_LOG_INFO, "upgrade: this process hands over");
	TAILQ_FOREACH(l, &links, entry)
	amp_link_down(l);
	amp_helper_tell_last();
	exit(AMP_EXIT_UPGRADE);
}

static bool stopping;

static void stop_now(const char *why)
{
	stopping = true;
	amp_log(AMP_LOG_INFO, "%s: stopping", why);
	amp_helper_notify(AMP_HELPER_STOPPING, "Stopping");
	amp_loop_stop();
}

/* ---- drain: no new connections, and an end when the old ones have had theirs ---- */

static uv_timer_t drain_timer;

static void drained(void)
{
	if (!stopping) /* else it is the stop that has ended them */
		stop_now("every connection has ended");
}

static void drain_over(uv_timer_t *t)
{
	struct amp_link *l;
	unsigned n = 0;

	(void)t;
	TAILQ_FOREACH(l, &links, entry)
	n += l->flow_cnt;
	amp_log(AMP_LOG_WARN, "drain: %u connections have not ended in time: they are reset",
		n);
	stop_now("drain");
}

static void drain(uint32_t seconds)
{
	struct amp_link *l;

	TAILQ_FOREACH(l, &links, entry)
	amp_publish_quit(l);
	/* said when it is so: whoever hears of it finds the ports closed */
	amp_log(AMP_LOG_INFO, "SIGTERM: connections have %" PRIu32 " s to end", seconds);
	amp_helper_notify_drain(seconds, "Waiting for connections to end");
	uv_timer_init(amp_loop_uv(), &drain_timer);
	uv_timer_start(&drain_timer, drain_over, seconds * 1000ull, 0);
	amp_flow_drain(drained);
}

static void terminate(int num)
{
	uint32_t seconds = amp_config_running()->drain_s;

	if (num == SIGTERM && seconds && !amp_draining)
		drain(seconds);
	else
		stop_now(num == SIGTERM ? "SIGTERM" : "SIGINT");
}

static void on_signal(int num)
{
	char why[1024];

	if (num == SIGUSR2)
		hand_over();
	if (num == SIGUSR1)
		print_counters();
	else if (num == SIGTERM || num == SIGINT)
		terminate(num);
	else if (num == SIGHUP)
		(void)amp_reload(why, sizeof(why)); /* it says all there is to say */
}

static void on_orphaned(void)
{
	amp_log(AMP_LOG_ERROR, "the helper process is gone: stopping");
	_exit(AMP_EXIT_RUN); /* as PR_SET_PDEATHSIG does in this very moment, or did */
}

static int start_links(const struct amp_config *conf)
{
	const struct amp_link_conf *c;

	TAILQ_FOREACH(c, &conf->links, entry)
	{
		struct amp_link *l = amp_link_new(c);

		if (!l) {
			amp_log(AMP_LOG_ERROR,
				"link %s: no memory, or more links than one "
				"process serves (256)",
				c->name);
			return -ENOMEM;
		}
		TAILQ_INSERT_TAIL(&links, l, entry);
		if (l->ops->start(l) || amp_publish_start(l))
			return -EIO;
	}
	return 0;
}

static struct amp_link *link_of(const struct amp_link_conf *conf)
{
	struct amp_link *l = TAILQ_FIRST(&links);

	while (l->conf != conf)
		l = TAILQ_NEXT(l, entry);
	return l;
}

static int join_links(const struct amp_config *conf)
{
	const struct amp_join_conf *j;

	TAILQ_FOREACH(j, &conf->joins, entry)
	{
		if (j->again)
			continue;
		if ((j->link[0]->type == AMP_LINK_RPMSG_SHM ? amp_rjoin_new : amp_join_new)(
			    link_of(j->link[0]), link_of(j->link[1]))) {
			amp_log(AMP_LOG_ERROR, "join %s,%s: no memory", j->name[0], j->name[1]);
			return -ENOMEM;
		}
	}
	return 0;
}

static void stop_links(void)
{
	struct amp_link *l;

	TAILQ_FOREACH(l, &links, entry)
	{
		amp_publish_stop(l);
		l->ops->stop(l);
	}
}

static void tell_ready(int fd)
{
	if (fd < 0)
		return;
	if (write(fd, "\n", 1) != 1)
		amp_log(AMP_LOG_WARN, "--ready-fd %d: %s", fd, strerror(errno));
	close(fd);
}

static void free_links(void)
{
	amp_joins_free();
	amp_rjoins_free();
	while (!TAILQ_EMPTY(&links)) {
		struct amp_link *l = TAILQ_FIRST(&links);

		TAILQ_REMOVE(&links, l, entry);
		l->ops->free(l);
	}
}

static bool inherited; /* there was something kept of a process before this one */

static void keep_one(const char *name, int fd, void *ctx)
{
	(void)name;
	(void)ctx;
	inherited = true;
	amp_confine_keep(fd);
}

/* What the configuration names by number is what whoever started us left open for it. */
static int keep_descriptors(const struct amp_config *conf, int ready_fd)
{
	const struct amp_link_conf *l;
	int r;

	amp_confine_keep(ready_fd);
	amp_kept_each(keep_one, NULL);
	TAILQ_FOREACH(l, &conf->links, entry)
	{
		r = amp_bell_check(&l->shm.bell, l->name);
		if (r)
			return r;
		if (l->shm.bell.kind != AMP_BELL_EVENTFD)
			continue;
		amp_confine_keep(l->shm.bell.rx);
		amp_confine_keep(l->shm.bell.tx);
	}
	r = amp_confine_close_others();
	if (r)
		amp_log(AMP_LOG_ERROR, "cannot start: /dev/null: %s", strerror(-r));
	return r;
}

static int start_loop(void)
{
	int r = amp_loop_init();

	if (!r)
		r = amp_sigbus_install();
	if (!r)
		r = amp_helper_watch(on_signal, on_orphaned);
	if (r)
		amp_log(AMP_LOG_ERROR, "cannot start: %s", strerror(-r));
	return r;
}

int amp_run(struct amp_config *conf, const struct amp_confine *confine, int ready_fd)
{
	int r = keep_descriptors(conf, ready_fd);

	amp_reload_init(conf);
	amp_dest_set_nat64(conf->nat64, conf->nat64_cnt);
	if (r || start_loop())
		return AMP_EXIT_RUN;
	/* files, names of users and groups, anything that is opened: above this line */
	if (amp_confine_worker(confine))
		return AMP_EXIT_RUN;
	amp_log_timer_start();
	r = amp_control_start(conf);
	if (!r)
		r = amp_metrics_start(conf);
	if (!r)
		r = start_links(conf);
	if (!r)
		r = join_links(conf);
	if (!r)
		amp_publish_again();
	amp_listen_started();
	if (r && inherited) {
		/* as if it had died: what is kept is for the start that the manager tries next */
		amp_log_tell(true);
		_exit(AMP_EXIT_RUN);
	}
	amp_kept_settle();
	if (!r) {
		tell_ready(ready_fd);
		amp_reload_say_ready();
		amp_loop_run();
	}
	amp_control_stop();
	amp_metrics_stop();
	stop_links();
	if (amp_draining)
		uv_close((uv_handle_t *)&drain_timer, NULL);
	amp_log_timer_stop();
	amp_helper_unwatch();
	amp_loop_fini();
	amp_resolve_fini();
	free_links();
	return r ? AMP_EXIT_RUN : 0;
}
