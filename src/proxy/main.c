// SPDX-License-Identifier: BSD-3-Clause
/* ampsock-proxy: options, and start. ampsock-proxy(8) says what each option does. */
#include <bsd/stdlib.h>
#include <bsd/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../cli/option.h"
#include "config.h"
#include "confine.h"
#include "control.h"
#include "helper.h"
#include "options.h"
#include "run.h"
#include "slice.h"

#ifndef AMPSOCK_VERSION
#define AMPSOCK_VERSION "0.1.0"
#endif

/* sysexits of our own, few: 0 stopped in good order, 1 cannot run, 2 wrong option or line */
#define EXIT_RUN   AMP_EXIT_RUN
#define EXIT_USAGE 2

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
	"  --link vsock:CID[,name=NAME]\n"
	"                       serve a guest of this kernel's vhost-vsock (2: the host of "
	"this\n"
	"                       machine, 1: the machine itself)\n"
	"  --link vsock-unix:PATH[,name=NAME]\n"
	"                       serve a guest of Firecracker or cloud-hypervisor; PATH: their\n"
	"                       vsock socket\n"
	"rules for the --link before them:\n"
	"  --allow RULE         let the guest reach RULE, e.g. 'out tcp 192.0.2.1:80',\n"
	"                       'out udp 10.0.0.0/8:53', 'out tcp example.com:443',\n"
	"                       'out any any:any', 'in tcp 127.0.0.1:8000-8999'\n"
	"  --publish RULE       host port to guest, e.g. 'tcp 127.0.0.1:8080 -> vsock:5000',\n"
	"                       'tcp 127.0.0.1:8080 -> inet:80', 'unix /run/x.sock -> "
	"vsock:5000',\n"
	"                       'vsock-mux /run/x.vsock -> vsock:22,5000-5999'\n"
	"  --expose RULE        guest to host target, e.g. 'vsock:6000 -> tcp 127.0.0.1:22'\n"
	"                       (on rpmsg links: rpmsg:NAME or rpmsg:@ADDRESS for vsock:PORT)\n"
	"any number of times, anywhere:\n"
	"  --join NAME,NAME     let the guests of two links talk to each other\n"
	"\n"
	"  --limit 'NAME N'     of the link before it: sockets, half-open, buffered,\n"
	"                       connects/s, dns/s, datagrams/s\n"
	"\n"
	"  --config FILE        read links and rules from FILE\n"
	"  --check-config       read everything, complain, and exit\n"
	"these stand whatever the file says, also when it is read again at SIGHUP:\n"
	"  --log-level LEVEL    error, warning, info (default) or debug\n"
	"  --user NAME          run as NAME (default: ampsock, or nobody)\n"
	"  --no-confine         no filter, no empty root: for debuggers\n"
	"  --control PATH       a socket for ampsockctl(1)\n"
	"  --control-group GROUP, --control-read-group GROUP\n"
	"                       who may use it for everything, who may only look\n"
	"  --metrics WHERE      'unix PATH' or 'tcp ADDRESS:PORT': counters for Prometheus\n"
	"  --drain SECONDS      let connections end for so long at SIGTERM (default: 0)\n"
	"  --runtime-dir PATH   where `ampsockctl publish add` may make sockets\n"
	"  --lease SECONDS      how long a name's addresses are allowed (default: 300)\n"
	"  --nat64 'PREFIX/LEN ...'\n"
	"                       prefixes of the network's NAT64: what is behind one is the\n"
	"                       IPv4 address in it\n"
	"  --verbose            the same as --log-level debug\n"
	"  --ready-fd N         write a byte to descriptor N and close it when all is up\n"
	"  --version            print the version and exit\n"
	"  --help               print this and exit\n"
	"\n"
	"Everything not allowed is denied. SIGHUP reads the file again, SIGUSR1 prints "
	"counters,\n"
	"SIGTERM and SIGINT stop.\n"
	"Exit status: 0 stopped, 1 could not start, 2 wrong option, rule or file.\n";

enum opt {
	OPT_LINK = 256,
	OPT_ALLOW,
	OPT_PUBLISH,
	OPT_EXPOSE,
	OPT_JOIN,
	OPT_LIMIT,
	OPT_CONFIG,
	OPT_CHECK,
	OPT_KEY, /* of [proxy], by the option's name */
	OPT_NO_CONFINE,
	OPT_VERBOSE,
	OPT_READY,
	OPT_VERSION,
	OPT_HELP,
};

static const struct option options[] = {
	{"link", required_argument, NULL, OPT_LINK},
	{"allow", required_argument, NULL, OPT_ALLOW},
	{"publish", required_argument, NULL, OPT_PUBLISH},
	{"expose", required_argument, NULL, OPT_EXPOSE},
	{"join", required_argument, NULL, OPT_JOIN},
	{"limit", required_argument, NULL, OPT_LIMIT},
	{"config", required_argument, NULL, OPT_CONFIG},
	{"check-config", no_argument, NULL, OPT_CHECK},
	{"log-level", required_argument, NULL, OPT_KEY},
	{"user", required_argument, NULL, OPT_KEY},
	{"no-confine", no_argument, NULL, OPT_NO_CONFINE},
	{"control", required_argument, NULL, OPT_KEY},
	{"control-group", required_argument, NULL, OPT_KEY},
	{"control-read-group", required_argument, NULL, OPT_KEY},
	{"metrics", required_argument, NULL, OPT_KEY},
	{"drain", required_argument, NULL, OPT_KEY},
	{"runtime-dir", required_argument, NULL, OPT_KEY},
	{"lease", required_argument, NULL, OPT_KEY},
	{"nat64", required_argument, NULL, OPT_KEY},
	{"verbose", no_argument, NULL, OPT_VERBOSE},
	{"ready-fd", required_argument, NULL, OPT_READY},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

struct settings {
	struct amp_config *conf;
	FILE *err;
	const char *config_path;
	FILE *text; /* what --config is to be read from when the options are read again */
	bool again;
	bool check;
	int ready_fd;
};

static struct {
	int argc;
	char **argv;
} args;

static int bad_option(const struct settings *set, char **argv, int opt)
{
	char text[AMP_OPTION_TEXT];

	amp_option_fault(text, opt, argv, options);
	fprintf(set->err, "ampsock-proxy: %s\n", text);
	return EXIT_USAGE;
}

static int set_ready_fd(struct settings *set, const char *text)
{
	uint32_t fd;

	if (set->again)
		return 0;
	if (!amp_parse_u32(text, 65535, &fd) || fd < 3 || fcntl((int)fd, F_GETFD) < 0) {
		fprintf(set->err,
			"ampsock-proxy: --ready-fd: expected an open descriptor, 3 or higher, "
			"found `%s`\n",
			text);
		return EXIT_USAGE;
	}
	set->ready_fd = (int)fd;
	return 0;
}

static int set_config(struct settings *set, const char *path)
{
	int r;

	if (set->config_path) {
		fprintf(set->err,
			"ampsock-proxy: --config: expected once, found `%s` behind `%s`\n",
			path, set->config_path);
		return -EINVAL;
	}
	set->config_path = path;
	r = set->again ? amp_config_stream(set->conf, set->text, path, set->err)
		       : amp_config_file(set->conf, path, set->err);
	if (r) /* and what only the whole can show */
		amp_config_check(set->conf, set->err);
	return r;
}

static int set_key(struct settings *set, const char *key, const char *arg)
{
	char where[40];

	snprintf(where, sizeof(where), "--%s", key);
	return amp_config_option(set->conf, key, arg, where, set->err);
}

/* name: the option's, without its dashes. */
static int handle(struct settings *set, int opt, const char *name, const char *arg)
{
	int r = 0;

	switch (opt) {
	case OPT_LINK:
		r = amp_config_link(set->conf, arg, set->err);
		break;
	case OPT_ALLOW:
		r = amp_config_rule(set->conf, "allow", arg, "--allow", set->err);
		break;
	case OPT_PUBLISH:
		r = amp_config_rule(set->conf, "publish", arg, "--publish", set->err);
		break;
	case OPT_EXPOSE:
		r = amp_config_rule(set->conf, "expose", arg, "--expose", set->err);
		break;
	case OPT_JOIN:
		r = amp_config_join(set->conf, arg, "--join", set->err);
		break;
	case OPT_CONFIG:
		r = set_config(set, arg);
		break;
	case OPT_CHECK:
		set->check = true;
		break;
	case OPT_LIMIT:
		r = amp_config_rule(set->conf, "limit", arg, "--limit", set->err);
		break;
	case OPT_VERBOSE:
		r = set_key(set, "log-level", "debug");
		break;
	case OPT_NO_CONFINE:
		r = set_key(set, "confine", "no");
		break;
	case OPT_KEY:
		r = set_key(set, name, arg);
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
	int opt, at = 0;

	opterr = 0;
	optind = 0; /* glibc: begin anew */
	while ((opt = getopt_long(argc, argv, ":", options, &at)) != -1) {
		if (opt == OPT_HELP || opt == OPT_VERSION) {
			fputs(opt == OPT_HELP ? help : "ampsock-proxy " AMPSOCK_VERSION "\n",
			      stdout);
			*code = 0;
			return 1;
		}
		*code = opt == '?' || opt == ':' ? bad_option(set, argv, opt)
						 : handle(set, opt, options[at].name, optarg);
		if (*code)
			return 1;
	}
	if (optind < argc) {
		fprintf(set->err,
			"ampsock-proxy: expected only options, found `%s`; see --help\n",
			argv[optind]);
		*code = EXIT_USAGE;
		return 1;
	}
	*code = EXIT_USAGE;
	if (amp_config_check(set->conf, set->err))
		return 1;
	*code = 0;
	return set->check;
}

int amp_options_again(FILE *text, struct amp_config *conf, FILE *err)
{
	struct settings set = {
		.conf = conf, .err = err, .text = text, .again = true, .ready_fd = -1};
	int code;

	amp_config_init(conf);
	parse(args.argc, args.argv, &set, &code);
	return code ? -EINVAL : 0;
}

/*
 * A socket of a guest is a descriptor of the worker, what its link needs one of the helper, too
 * (kept.h): take all that we may have, as nobody here uses select().
 */
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

/* Two processes from here on; each comes back with its exit status. */
static int start(struct settings *set)
{
	struct amp_confine confine;
	int code, r;

	if (amp_confine_init(&confine, set->conf))
		return EXIT_RUN;
	signal(SIGPIPE, SIG_IGN);
	if (amp_control_prepare(set->conf))
		return EXIT_USAGE;
	raise_descriptors();
	amp_slice_init();
	amp_dest_set_nat64(set->conf->nat64, set->conf->nat64_cnt);
	r = amp_helper_start(set->conf, &confine, set->config_path, &set->ready_fd, &code);
	if (r < 0) {
		amp_log(AMP_LOG_ERROR, "cannot start: %s", strerror(-r));
		return EXIT_RUN;
	}
	return r ? code : amp_run(amp_helper_config_now(), &confine, set->ready_fd);
}

/* What is opened first would be taken for one of them, be written to, and be replaced. */
static void open_standard(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	static struct amp_config conf;
	struct settings set = {.conf = &conf, .ready_fd = -1};
	int code;

	open_standard();
	set.err = amp_log_errors();
	amp_helper_program(argc, argv);
	args.argc = argc;
	args.argv = argv;
	amp_config_init(&conf);
	conf.look_up = true;
	if (parse(argc, argv, &set, &code) == 0) {
		amp_log_level_set(amp_helper_kept_level(conf.log_level));
		amp_helper_published_load();
		code = start(&set);
	}
	amp_config_free(&conf);
	amp_helper_program_free();
	return code;
}
