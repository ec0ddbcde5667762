// SPDX-License-Identifier: BSD-3-Clause
/* ampsock-proxy: options, start, stop. ampsock-proxy(8) says what each option does. */
#include <bsd/stdlib.h>
#include <bsd/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../virtio/sigbus.h"
#include "config.h"
#include "control.h"
#include "join.h"
#include "link.h"
#include "loop.h"
#include "offload.h"
#include "publish.h"
#include "rjoin.h"

#ifndef AMPSOCK_VERSION
#define AMPSOCK_VERSION "0.1.0"
#endif

/* sysexits of our own, few: 0 stopped in good order, 1 cannot run, 2 wrong option or line */
#define EXIT_RUN   1
#define EXIT_USAGE 2

static struct amp_links links = TAILQ_HEAD_INITIALIZER(links);

struct amp_links *amp_links_all(void)
{
	return &links;
}

static const char help[] =
	"usage: ampsock-proxy --link TYPE:PATH[,KEY=VALUE ...] [RULE ...] [--link ...]\n"
	"       ampsock-proxy --config FILE\n"
	"\n"
	"Carries the sockets of guests without a network stack to real ones.\n"
	"\n"
	"  --link vhost-user-vsock:PATH,cid=N[,name=NAME]\n"
	"                       serve a guest; PATH: socket for the VMM\n"
	"  --link rpmsg-shm:PATH,bell=unix:PATH|eventfd:RX,TX|poll:MS[,da=ADDR]\n"
	"         [,elf=FILE|,table=ADDR][,offset=N][,size=N][,carveout=ADDR:SIZE]\n"
	"         [,buffer=N][,buffers=N][,name=NAME]\n"
	"                       serve a remote core; PATH: the file that has its memory\n"
	"  --link rpmsg-char:/dev/rpmsg_ctrlN[,buffer=N][,sysfs=DIR][,name=NAME]\n"
	"                       serve a remote core whose rpmsg host is the kernel\n"
	"rules for the --link before them:\n"
	"  --allow RULE         let the guest reach RULE, e.g. 'out tcp 192.0.2.1:80',\n"
	"                       'out udp 10.0.0.0/8:53', 'out tcp example.com:443',\n"
	"                       'out any any:any', 'in tcp 127.0.0.1:8000-8999'\n"
	"  --publish RULE       host port to guest, e.g. 'tcp 127.0.0.1:8080 -> vsock:5000',\n"
	"                       'tcp 127.0.0.1:8080 -> inet:80', 'unix /run/x.sock -> "
	"vsock:5000'\n"
	"  --expose RULE        guest to host target, e.g. 'vsock:6000 -> tcp 127.0.0.1:22'\n"
	"                       (on rpmsg links: rpmsg:NAME or rpmsg:@ADDRESS for vsock:PORT)\n"
	"any number of times, anywhere:\n"
	"  --join NAME,NAME     let the guests of two links talk to each other\n"
	"\n"
	"  --config FILE        read links and rules from FILE\n"
	"  --check-config       read everything, complain, and exit\n"
	"  --log-level LEVEL    error, warning, info (default) or debug\n"
	"  --verbose            the same as --log-level debug\n"
	"  --control PATH       listen there for ampsockctl; root and this user may connect\n"
	"  --control-group GROUP, --control-read-group GROUP\n"
	"                       so may this group; this one may only look\n"
	"  --metrics unix PATH | tcp ADDRESS:PORT (one argument)\n"
	"                       Prometheus text over HTTP\n"
	"  --ready-fd N         write a byte to descriptor N and close it when all is up\n"
	"  --version            print the version and exit\n"
	"  --help               print this and exit\n"
	"\n"
	"Everything not allowed is denied. SIGUSR1 prints counters, SIGTERM and SIGINT stop.\n"
	"Exit status: 0 stopped, 1 could not start, 2 wrong option, rule or file.\n";

enum opt {
	OPT_LINK = 256,
	OPT_ALLOW,
	OPT_PUBLISH,
	OPT_EXPOSE,
	OPT_JOIN,
	OPT_CONFIG,
	OPT_CHECK,
	OPT_LOG,
	OPT_VERBOSE,
	OPT_READY,
	OPT_CONTROL,
	OPT_CONTROL_GROUP,
	OPT_CONTROL_READ_GROUP,
	OPT_METRICS,
	OPT_VERSION,
	OPT_HELP,
};

static const struct option options[] = {
	{"link", required_argument, NULL, OPT_LINK},
	{"allow", required_argument, NULL, OPT_ALLOW},
	{"publish", required_argument, NULL, OPT_PUBLISH},
	{"expose", required_argument, NULL, OPT_EXPOSE},
	{"join", required_argument, NULL, OPT_JOIN},
	{"config", required_argument, NULL, OPT_CONFIG},
	{"check-config", no_argument, NULL, OPT_CHECK},
	{"log-level", required_argument, NULL, OPT_LOG},
	{"verbose", no_argument, NULL, OPT_VERBOSE},
	{"ready-fd", required_argument, NULL, OPT_READY},
	{"control", required_argument, NULL, OPT_CONTROL},
	{"control-group", required_argument, NULL, OPT_CONTROL_GROUP},
	{"control-read-group", required_argument, NULL, OPT_CONTROL_READ_GROUP},
	{"metrics", required_argument, NULL, OPT_METRICS},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

struct settings {
	struct amp_config conf;
	bool check;
	int ready_fd;
};

/* The known option that is most like what was typed: the one with the longest common start. */
static const char *nearest(const char *typed)
{
	const char *best = "help";
	size_t best_len = 0;

	for (const struct option *o = options; o->name; o++) {
		size_t n = 0;

		while (typed[n] && typed[n] == o->name[n])
			n++;
		if (n > best_len) {
			best_len = n;
			best = o->name;
		}
	}
	return best;
}

static int bad_option(char **argv, int opt)
{
	const char *arg = optind > 0 ? argv[optind - 1] : "";

	if (opt == ':')
		fprintf(stderr, "ampsock-proxy: %s: expected a value behind it; see --help\n",
			arg);
	else
		fprintf(stderr,
			"ampsock-proxy: %s: no such option, or one that takes no value; did "
			"you mean "
			"--%s? See --help\n",
			arg, nearest(arg + strspn(arg, "-")));
	return EXIT_USAGE;
}

static int set_ready_fd(struct settings *set, const char *text)
{
	uint32_t fd;

	if (!amp_parse_u32(text, 65535, &fd) || fd < 3 || fcntl((int)fd, F_GETFD) < 0) {
		fprintf(stderr,
			"ampsock-proxy: --ready-fd: expected an open descriptor, 3 or higher, "
			"found `%s`\n",
			text);
		return EXIT_USAGE;
	}
	set->ready_fd = (int)fd;
	return 0;
}

static int set_text(char *dst, size_t room, const char *opt, const char *text)
{
	if (text[0] && strlen(text) < room) {
		strcpy(dst, text);
		return 0;
	}
	fprintf(stderr, "ampsock-proxy: %s: expected 1 to %zu characters, found `%s`\n", opt,
		room - 1, text);
	return EXIT_USAGE;
}

static int set_metrics(struct settings *set, const char *text)
{
	struct amp_rule_error e;
	struct amp_forward fwd;
	char rule[300];

	snprintf(rule, sizeof(rule), "%s -> vsock:1", text);
	if (amp_publish_parse(rule, &fwd, &e) == 0 && fwd.target.kind != AMP_TARGET_UDP) {
		set->conf.metrics = fwd.target;
		return 0;
	}
	fprintf(stderr,
		"ampsock-proxy: --metrics: expected `unix PATH` or `tcp ADDRESS:PORT`, found "
		"`%s`\n",
		text);
	return EXIT_USAGE;
}

static int handle(struct settings *set, int opt, const char *arg)
{
	int r = 0;

	switch (opt) {
	case OPT_LINK:
		r = amp_config_link(&set->conf, arg, stderr);
		break;
	case OPT_ALLOW:
		r = amp_config_rule(&set->conf, "allow", arg, "--allow", stderr);
		break;
	case OPT_PUBLISH:
		r = amp_config_rule(&set->conf, "publish", arg, "--publish", stderr);
		break;
	case OPT_EXPOSE:
		r = amp_config_rule(&set->conf, "expose", arg, "--expose", stderr);
		break;
	case OPT_JOIN:
		r = amp_config_join(&set->conf, arg, "--join", stderr);
		break;
	case OPT_CONFIG:
		r = amp_config_file(&set->conf, arg, stderr);
		break;
	case OPT_CHECK:
		set->check = true;
		break;
	case OPT_VERBOSE:
		set->conf.log_level = AMP_LOG_DEBUG;
		break;
	case OPT_LOG:
		r = amp_log_level_parse(arg, &set->conf.log_level);
		if (r)
			fprintf(stderr,
				"ampsock-proxy: --log-level: expected error, warning, info or "
				"debug, "
				"found `%s`\n",
				arg);
		break;
	case OPT_CONTROL:
		r = set_text(set->conf.control, sizeof(set->conf.control), "--control", arg);
		break;
	case OPT_CONTROL_GROUP:
		r = set_text(set->conf.control_group, AMP_USER_MAX, "--control-group", arg);
		break;
	case OPT_CONTROL_READ_GROUP:
		r = set_text(set->conf.control_read_group, AMP_USER_MAX, "--control-read-group",
			     arg);
		break;
	case OPT_METRICS:
		r = set_metrics(set, arg);
		break;
	case OPT_READY:
		r = set_ready_fd(set, arg);
		break;
	}
	return r ? EXIT_USAGE : 0;
}

/* 0: go on; 1 and *code: exit. */
static int parse(int argc, char **argv, struct settings *set, int *code)
{
	int opt;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (opt == OPT_HELP || opt == OPT_VERSION) {
			fputs(opt == OPT_HELP ? help : "ampsock-proxy " AMPSOCK_VERSION "\n",
			      stdout);
			*code = 0;
			return 1;
		}
		*code = opt == '?' || opt == ':' ? bad_option(argv, opt)
						 : handle(set, opt, optarg);
		if (*code)
			return 1;
	}
	if (optind < argc) {
		fprintf(stderr,
			"ampsock-proxy: expected only options, found `%s`; see --help\n",
			argv[optind]);
		*code = EXIT_USAGE;
		return 1;
	}
	*code = EXIT_USAGE;
	if (amp_config_check(&set->conf, stderr))
		return 1;
	*code = 0;
	return set->check;
}

/* ---- running ---- */

static void on_stop(uv_signal_t *s, int num)
{
	(void)s;
	amp_log(AMP_LOG_INFO, "%s: stopping", num == SIGTERM ? "SIGTERM" : "SIGINT");
	amp_loop_stop();
}

static void on_counters(uv_signal_t *s, int num)
{
	struct amp_link *l;
	char text[300];

	(void)s;
	(void)num;
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

static int start_links(const struct amp_config *conf)
{
	const struct amp_link_conf *c;

	TAILQ_FOREACH(c, &conf->links, entry)
	{
		struct amp_link *l = c->type == AMP_LINK_RPMSG_SHM    ? amp_link_rpmsg_shm(c)
				     : c->type == AMP_LINK_RPMSG_CHAR ? amp_link_rpmsg_char(c)
								      : amp_link_vhost_vsock(c);

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

static int run(struct settings *set)
{
	static uv_signal_t sig[3];
	static const int nums[3] = {SIGTERM, SIGINT, SIGUSR1};
	int r = amp_loop_init();

	if (!r)
		r = amp_sigbus_install();
	if (r) {
		amp_log(AMP_LOG_ERROR, "cannot start: %s", strerror(-r));
		return EXIT_RUN;
	}
	signal(SIGPIPE, SIG_IGN);
	raise_descriptors();
	for (unsigned i = 0; i < 3; i++) {
		uv_signal_init(amp_loop_uv(), &sig[i]);
		uv_signal_start(&sig[i], nums[i] == SIGUSR1 ? on_counters : on_stop, nums[i]);
	}
	amp_log_timer_start();
	r = amp_control_start(&set->conf);
	if (!r)
		r = amp_metrics_start(&set->conf);
	if (!r)
		r = start_links(&set->conf);
	if (!r)
		r = join_links(&set->conf);
	if (!r) {
		tell_ready(set->ready_fd);
		amp_loop_run();
	}
	amp_control_stop();
	amp_metrics_stop();
	stop_links();
	amp_log_timer_stop();
	for (unsigned i = 0; i < 3; i++)
		uv_close((uv_handle_t *)&sig[i], NULL);
	/* a name that still resolves in a thread can take as long as it likes: not with us */
	if (amp_resolve_busy())
		_exit(r ? EXIT_RUN : 0);
	amp_loop_fini();
	amp_joins_free();
	amp_rjoins_free();
	while (!TAILQ_EMPTY(&links)) {
		struct amp_link *l = TAILQ_FIRST(&links);

		TAILQ_REMOVE(&links, l, entry);
		l->ops->free(l);
	}
	return r ? EXIT_RUN : 0;
}

int main(int argc, char **argv)
{
	struct settings set = {.ready_fd = -1};
	int code;

	amp_config_init(&set.conf);
	if (parse(argc, argv, &set, &code) == 0) {
		amp_log_level_set(set.conf.log_level);
		code = run(&set);
	}
	amp_config_free(&set.conf);
	return code;
}
