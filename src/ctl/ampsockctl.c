// SPDX-License-Identifier: BSD-3-Clause
/* ampsockctl: looks into a running ampsock-proxy, and changes it. ampsockctl(1). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../cli/option.h"
#include "../wire/utf8.h"
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

#define LETTERS ":l:w:c:s:n:i:h"

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
	ctl_complain(EINVAL, "%s%s%.200s%s; see --help", what, text ? ", found `" : "",
		     text ? text : "", text ? "`" : "");
	return EXIT_USAGE;
}

/* A whole number from 1 to max. */
static int number(const char *text, uint32_t max, uint32_t *value)
{
	unsigned long v;
	char *end;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno || text[0] < '0' || text[0] > '9' || *end || v == 0 || v > max) {
		char what[60];

		snprintf(what, sizeof(what), "expected a whole number from 1 to %u", max);
		return usage(what, text);
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
		return arg[0] ? 0 : usage("expected a path behind --socket", arg);
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
		return arg[0] ? 0 : usage("expected the name of a file behind -w", arg);
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

static int no_command(int argc, char **argv)
{
	for (unsigned i = 0; i < COMMANDS; i++) {
		if (!commands[i].word[1] || strcmp(argv[0], commands[i].word[0]))
			continue;
		return usage(argv[0][0] == 'p' ? "expected add or del behind publish"
					       : "expected level behind log",
			     argc > 1 ? argv[1] : NULL);
	}
	return usage("there is no such command", argv[0]);
}

/* What a request has is UTF-8: the proxy does not take it otherwise, nor could it be in a file. */
static bool is_utf8(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t left = strlen(text);
	unsigned n = 1;

	for (; left && n; left -= n, p += n)
		n = amp_utf8_len(p, left);
	return n != 0;
}

static bool is_level(const char *text)
{
	static const char *const level[] = {"error", "warning", "info", "debug"};
	unsigned i = 0;

	while (i < 4 && strcmp(text, level[i]))
		i++;
	return i < 4;
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

		if (i < argc && argv[i][0] && is_utf8(argv[i]) &&
		    (c->args[i] != 'V' || is_level(argv[i]))) {
			cJSON_AddStringToObject(req, key[k], argv[i]);
			continue;
		}
		snprintf(text, sizeof(text), "expected %s%s behind %s", what[k],
			 i < argc && !is_utf8(argv[i]) ? " in UTF-8" : "",
			 c->word[1] ? c->word[1] : c->word[0]);
		usage(text, i < argc ? argv[i] : NULL);
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
		return r ? r
			 : ctl_complain(errno, "cannot write the answer: %s", strerror(errno));
	return r;
}

/* Also what is wrong before --json, or with an option beside it, is told as JSON. */
static void errors_json(int argc, char **argv)
{
	char **copy = calloc((size_t)argc + 1, sizeof(*copy)); /* getopt_long() sorts it */
	bool json = false;
	int ch;

	if (!copy)
		return;
	memcpy(copy, argv, (size_t)argc * sizeof(*copy));
	while ((ch = getopt_long(argc, copy, LETTERS, options, NULL)) != -1)
		json |= ch == 'J';
	ctl_errors_json(json);
	free(copy);
	optind = 0; /* glibc: begin anew */
}

static int wrong_option(int ch, char **argv)
{
	char text[AMP_OPTION_TEXT];

	amp_option_fault(text, ch, argv, options);
	/* `->` of one that the shell has taken to pieces */
	ctl_complain(EINVAL, "%s%s", text, optopt == '>' ? " (a rule goes in quotes)" : "");
	return EXIT_USAGE;
}

/*
 * What is opened first would be taken for one that is closed: tables would go to the proxy. What
 * cannot be written to says so when it is.
 */
static void open_standard(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
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
	open_standard();
	errors_json(argc, argv);
	while ((ch = getopt_long(argc, argv, LETTERS, options, NULL)) != -1) {
		if (ch == 'h' || ch == 'V') {
			fputs(ch == 'h' ? help : "ampsockctl " AMPSOCK_VERSION "\n", stdout);
			return 0;
		}
		if (ch == '?' || ch == ':')
			return wrong_option(ch, argv);
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
		return no_command(argc, argv);
	for (char *g = given; *g; g++) {
		char text[] = "option -x is not for this command";

		text[8] = *g;
		if (!strchr(c->options, *g))
			return usage(text, NULL);
	}
	if (opt.link && (!opt.link[0] || !is_utf8(opt.link)))
		return usage("expected the name of a link behind -l", opt.link);
	if (c->run == ctl_capture && !opt.file)
		return usage("expected -w FILE", NULL);
	req = request(c, argc - used, argv + used, &opt);
	return req ? run(c, req, &opt) : EXIT_USAGE;
}
