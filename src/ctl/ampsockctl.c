// SPDX-License-Identifier: BSD-3-Clause
/* ampsockctl: looks into a running ampsock-proxy, and changes it. ampsockctl(1). */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

#ifndef AMPSOCK_VERSION
#define AMPSOCK_VERSION "0.1.0"
#endif

#define SOCKET "/run/ampsock/control"

static const char help[] =
	"usage: ampsockctl [--socket PATH] [--json] COMMAND\n"
	"\n"
	"Looks into a running ampsock-proxy, and changes it.\n"
	"\n"
	"  status                    the proxy as a whole\n"
	"  links [-l LINK]           each link, and what it has counted\n"
	"  sockets [-l LINK]         each socket: both ends, state, bytes, credit, RTT\n"
	"  top [-l LINK] [-n FRAMES] [-i SECONDS]\n"
	"                            what moves, refreshed every 2 seconds\n"
	"  rules [-l LINK]           each rule, and how often it was the one\n"
	"  publish add LINK RULE     publish a port, until the proxy ends\n"
	"  publish del LINK RULE     publish it no more\n"
	"  log level LEVEL           error, warning, info or debug\n"
	"  capture -w FILE [-l LINK] [-c COUNT] [-s BYTES]\n"
	"                            packets to a pcap file, until COUNT or a signal\n"
	"  reset LINK                end everything that the link's guest has open\n"
	"  reload                    read the configuration again\n"
	"  upgrade                   let a new program take over, guests and all\n"
	"\n"
	"  --socket PATH             of the proxy; AMPSOCK_CONTROL, or " SOCKET "\n"
	"  --json                    JSON, not tables\n"
	"  --help, --version         print this, or the version, and exit\n"
	"\n"
	"Exit status: 0, 1 refused or failed, 2 wrong option or command.\n";

static const struct option options[] = {
	{"socket", required_argument, NULL, 'S'},
	{"json", no_argument, NULL, 'J'},
	{"link", required_argument, NULL, 'l'},
	{"write", required_argument, NULL, 'w'},
	{"count", required_argument, NULL, 'c'},
	{"snap", required_argument, NULL, 's'},
	{"frames", required_argument, NULL, 'n'},
	{"interval", required_argument, NULL, 'i'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static const struct command {
	const char *word[2];
	const char *request; /* NULL: one of its own */
	const char *options; /* that it takes */
	const char *args; /* names of its further arguments, a letter each: Link, Rule, leVel */
	int (*run)(struct ctl_conn *conn, const struct ctl_options *opt);
} commands[] = {
	{{"status"}, "status", "", "", NULL},
	{{"links"}, "links", "l", "", NULL},
	{{"sockets"}, "sockets", "l", "", NULL},
	{{"rules"}, "rules", "l", "", NULL},
	{{"top"}, NULL, "lni", "", ctl_top},
	{{"publish", "add"}, "publish-add", "", "LR", NULL},
	{{"publish", "del"}, "publish-del", "", "LR", NULL},
	{{"log", "level"}, "log-level", "", "V", NULL},
	{{"capture"}, NULL, "wlcs", "", ctl_capture},
	{{"reset"}, "reset", "", "L", NULL},
	{{"reload"}, "reload", "", "", NULL},
	{{"upgrade"}, "upgrade", "", "", NULL},
};

#define COMMANDS (sizeof(commands) / sizeof(*commands))

static int usage(const char *what, const char *text)
{
	fprintf(stderr, "ampsockctl: %s%s%s%s; see --help\n", what, text ? ", found `" : "",
		text ? text : "", text ? "`" : "");
	return EXIT_USAGE;
}

/* A whole number from 1 to max. */
static int number(const char *text, uint32_t max, uint32_t *value)
{
	unsigned long v;
	char *end;

	v = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || v == 0 || v > max) {
		fprintf(stderr,
			"ampsockctl: expected a whole number from 1 to %u, found `%s`; see "
			"--help\n",
			max, text);
		return EXIT_USAGE;
	}
	*value = (uint32_t)v;
	return 0;
}

/* given: the letters of what was there. */
static int take_option(struct ctl_options *opt, int ch, const char *arg, char *given)
{
	size_t n = strlen(given);

	switch (ch) {
	case 'S':
		opt->socket = arg;
		return 0;
	case 'J':
		opt->json = true;
		return 0;
	}
	if (!strchr(given, ch)) {
		given[n] = (char)ch;
		given[n + 1] = 0;
	}
	switch (ch) {
	case 'l':
		opt->link = arg;
		return 0;
	case 'w':
		opt->file = arg;
		return 0;
	case 'c':
		return number(arg, UINT32_MAX, &opt->count);
	case 's':
		return number(arg, 65535, &opt->snap);
	case 'n':
		return number(arg, UINT32_MAX, &opt->frames);
	default:
		return number(arg, 86400, &opt->interval_s);
	}
}

static const struct command *find(int argc, char **argv, int *used)
{
	for (unsigned i = 0; i < COMMANDS; i++) {
		const struct command *c = &commands[i];
		int n = c->word[1] ? 2 : 1;

		if (argc < n || strcmp(argv[0], c->word[0]) ||
		    (c->word[1] && strcmp(argv[1], c->word[1])))
			continue;
		*used = n;
		return c;
	}
	return NULL;
}

/* What its arguments say, as a request. NULL: complained of. */
static cJSON *request(const struct command *c, int argc, char **argv,
		      const struct ctl_options *opt)
{
	static const char *const what[] = {"the name of a link", "a rule, as one argument",
					   "error, warning, info or debug"};
	static const char letters[] = "LRV";
	static const char *const key[] = {"link", "rule", "level"};
	cJSON *req = cJSON_CreateObject();

	for (int i = 0; c->args[i]; i++) {
		size_t k = (size_t)(strchr(letters, c->args[i]) - letters);
		char text[80];

		if (i < argc) {
			cJSON_AddStringToObject(req, key[k], argv[i]);
			continue;
		}
		snprintf(text, sizeof(text), "expected %s behind %s", what[k],
			 c->word[1] ? c->word[1] : c->word[0]);
		usage(text, NULL);
		cJSON_Delete(req);
		return NULL;
	}
	if (argc > (int)strlen(c->args)) {
		usage("expected nothing more (a rule is one argument, in quotes)",
		      argv[strlen(c->args)]);
		cJSON_Delete(req);
		return NULL;
	}
	if (opt->link && strchr(c->options, 'l'))
		cJSON_AddStringToObject(req, "link", opt->link);
	return req;
}

static int run(const struct command *c, cJSON *req, const struct ctl_options *opt)
{
	struct ctl_conn conn;
	cJSON *result;
	int r = ctl_connect(&conn, opt->socket);

	if (!r && c->run) {
		r = c->run(&conn, opt);
	} else if (!r) {
		result = ctl_ask(&conn, c->request, req);
		req = NULL;
		r = result ? 0 : EXIT_RUN;
		/* what only does something has nothing to show */
		if (result &&
		    (opt->json || cJSON_GetArraySize(result) || cJSON_IsArray(result)))
			r = ctl_show(c->request, result, opt);
		cJSON_Delete(result);
	}
	cJSON_Delete(req);
	ctl_close(&conn);
	if (fflush(stdout) || ferror(stdout))
		return r ? r : ctl_complain("cannot write the answer");
	return r;
}

int main(int argc, char **argv)
{
	struct ctl_options opt = {.socket = getenv("AMPSOCK_CONTROL"), .interval_s = 2};
	const struct command *c;
	char given[16] = "";
	int ch, r, used = 0;
	cJSON *req;

	if (!opt.socket || !opt.socket[0])
		opt.socket = SOCKET;
	opterr = 0;
	while ((ch = getopt_long(argc, argv, ":l:w:c:s:n:i:h", options, NULL)) != -1) {
		if (ch == 'h' || ch == 'V') {
			fputs(ch == 'h' ? help : "ampsockctl " AMPSOCK_VERSION "\n", stdout);
			return 0;
		}
		if (ch == '?' || ch == ':')
			return usage(
				ch == ':' ? "expected a value behind an option"
					  : "there is no such option (a rule goes in quotes)",
				argv[optind - 1]);
		r = take_option(&opt, ch, optarg, given);
		if (r)
			return r;
	}
	argc -= optind;
	argv += optind;
	if (!argc)
		return usage("expected a command", NULL);
	c = find(argc, argv, &used);
	if (!c)
		return usage("there is no such command", argv[0]);
	for (char *g = given; *g; g++) {
		char text[] = "option -x is not for this command";

		text[8] = *g;
		if (!strchr(c->options, *g))
			return usage(text, NULL);
	}
	if (c->run == ctl_capture && !opt.file)
		return usage("expected -w FILE", NULL);
	req = request(c, argc - used, argv + used, &opt);
	return req ? run(c, req, &opt) : EXIT_USAGE;
}
