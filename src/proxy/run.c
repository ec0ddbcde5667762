// SPDX-License-Identifier: BSD-3-Clause
/* The worker process: start, signals, stop. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../virtio/sigbus.h"
#include "control.h"
#include "helper.h"
#include "join.h"
#include "kept.h"
#include "link.h"
#include "loop.h"
#include "offload.h"
#include "publish.h"
#include "rjoin.h"
#include "run.h"

static struct amp_links links = TAILQ_HEAD_INITIALIZER(links);

struct amp_links *amp_links_all(void)
{
	return &links;
}

static void print_counters(void)
{
	struct amp_link *l;
	char text[300];

	TAILQ_FOREACH(l, &links, entry)
	{
		l->ops->stats(l, text, sizeof(text));
		fprintf(stderr,
			"ampsock-proxy: counters: link=%s up=%d flows=%u flows_total=%" PRIu64
			" sockets=%u denied=%" PRIu64 " refused=%" PRIu64 " stale=%" PRIu64
			" datagram_drops=%" PRIu64 " attached=%" PRIu64 " %s\n",
			l->conf->name, l->up, l->flow_cnt, l->stats.flows,
			amp_offload_sockets(l->offload), l->stats.denied, l->stats.refused,
			l->stats.stale, l->stats.drops, l->stats.attached, text);
	}
	amp_join_stats(stderr);
	amp_rjoin_stats(stderr);
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
	exit(AMP_EXIT_UPGRADE);
}

static void on_signal(int num)
{
	if (num == SIGUSR2)
		hand_over();
	if (num == SIGUSR1) {
		print_counters();
	} else if (num == SIGTERM || num == SIGINT) {
		amp_log(AMP_LOG_INFO, "SIG%s: stopping", num == SIGTERM ? "TERM" : "INT");
		amp_helper_notify(AMP_HELPER_STOPPING, "Stopping");
		amp_loop_stop();
	}
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

static void say_ready(const struct amp_config *conf)
{
	const struct amp_link_conf *c;
	char text[80];
	unsigned n = 0;

	TAILQ_FOREACH(c, &conf->links, entry)
	n++;
	snprintf(text, sizeof(text), "Serving %u link%s", n, n == 1 ? "" : "s");
	amp_helper_notify(AMP_HELPER_READY, text);
}

/* A socket of a guest is a descriptor of ours: take all that we may have, as no select() is used. */
static void raise_descriptors(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) || rl.rlim_cur == rl.rlim_max)
		return;
	rl.rlim_cur = rl.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &rl))
		amp_log(AMP_LOG_WARN, "cannot raise the limit of open files: %s",
			strerror(errno));
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

int amp_run(const struct amp_config *conf, int ready_fd)
{
	int r = amp_loop_init();

	if (!r)
		r = amp_sigbus_install();
	if (!r)
		r = amp_helper_watch(on_signal, on_orphaned);
	if (r) {
		amp_log(AMP_LOG_ERROR, "cannot start: %s", strerror(-r));
		return AMP_EXIT_RUN;
	}
	raise_descriptors();
	amp_log_timer_start();
	r = amp_control_start(conf);
	if (!r)
		r = amp_metrics_start(conf);
	if (!r)
		r = start_links(conf);
	if (!r)
		r = join_links(conf);
	amp_kept_settle();
	if (!r) {
		tell_ready(ready_fd);
		say_ready(conf);
		amp_loop_run();
	}
	amp_control_stop();
	amp_metrics_stop();
	stop_links();
	amp_log_timer_stop();
	amp_helper_unwatch();
	amp_loop_fini();
	amp_resolve_fini();
	free_links();
	return r ? AMP_EXIT_RUN : 0;
}
