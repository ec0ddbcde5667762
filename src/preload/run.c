// SPDX-License-Identifier: BSD-3-Clause
/*
 * ampsock-run: an ordinary program, with the sockets of the link for its AF_VSOCK, AF_RPMSG
 * and, with --offload, AF_INET and AF_INET6.
 *
 * Theory of operation. The link and the library's sockets live here, not in the program: what
 * a program has is one end of a Unix socket pair, whose other end the pump (run_pump.c) joins
 * to a socket of the library. The library that is preloaded into the program
 * (libampsock-preload.so) sends those calls here whose meaning is ours (run_ctl.c). So the
 * program may fork, exec, run threads, exit at once or be killed: descriptors are the
 * kernel's, every process below has the same link, and what was written still goes out.
 *
 * This process starts the program, passes signals on to it, and ends when the program and all
 * that it started have ended (they are adopted: PR_SET_CHILD_SUBREAPER) and what they sent has
 * arrived, or the time for that (--linger) is over; with the program's exit status.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ampsock.h"
#include "../cli/option.h"
#include "run.h"
#include "run_start.h"

#define LINGER_S	 10
#define FDS_FOR_REQUESTS 64 /* see share_descriptors() */

static struct {
	pid_t child;
	int status;	/* of the child */
	bool ended;	/* the child has */
	bool all_ended; /* and whatever it left */
} run;

static const char help[] =
	"usage: ampsock-run --link LINK [--link ...] [--offload] [--linger S] [--] PROGRAM "
	"[ARG ...]\n"
	"\n"
	"Runs PROGRAM, an ordinary dynamically linked one, with AF_VSOCK and AF_RPMSG sockets "
	"on\n"
	"the links given.\n"
	"\n"
	"  --link vhost-user:PATH         be the guest of what listens at PATH: ampsock-proxy, "
	"or\n"
	"                                 another program's vsock-device\n"
	"  --link vsock-device:PATH,CID   be the host, CID 2, of one guest, CID, that "
	"connects\n"
	"  --link rpmsg-remote:FILE,BELL  be the remote core whose memory is FILE; BELL: the "
	"path of\n"
	"                                 a Unix socket, or fd:IN,OUT, two inherited eventfds\n"
	"  --link rpmsg-host:FILE,BELL    be its host\n"
	"  --offload        carry AF_INET and AF_INET6, too: to the ampsock-proxy at the other "
	"end\n"
	"  --linger S       wait so long for what PROGRAM left to be taken (10)\n"
	"  --verbose        the library's log on standard error\n"
	"  --version        print the version and exit\n"
	"  --help           print this and exit\n"
	"\n"
	"Without --link there is CID 1 alone, this program itself.\n"
	"Exit status: that of PROGRAM; 125 the link did not come up, 126 PROGRAM can not be "
	"run or\n"
	"not so, 127 there is none, 2 wrong option.\n";

enum opt { OPT_LINK = 256, OPT_OFFLOAD, OPT_LINGER, OPT_VERBOSE, OPT_VERSION, OPT_HELP };

static const struct option options[] = {
	{"link", required_argument, NULL, OPT_LINK},
	{"offload", no_argument, NULL, OPT_OFFLOAD},
	{"linger", required_argument, NULL, OPT_LINGER},
	{"verbose", no_argument, NULL, OPT_VERBOSE},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

/* option: NULL if it is about none. */
static int usage(const char *option, const char *what)
{
	fprintf(stderr, "ampsock-run: %s%s%s; see --help\n", option ? option : "",
		option ? ": " : "", what);
	return RUN_EXIT_USAGE;
}

static void print_log(const char *line)
{
	fprintf(stderr, "ampsock: %s\n", line);
}

static int parse_linger(const char *text, int *s)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(text, &end, 10);
	if (errno || end == text || *end || v < 0 || v > 3600)
		return -1;
	*s = (int)v;
	return 0;
}

/* ---- signals and children ---- */

/* Those that somebody sends to us and means for the program. The terminal's own go to the
 * whole group: the program has them already. */
static void pass_on(const struct signalfd_siginfo *si)
{
	bool terminal = si->ssi_code == SI_KERNEL;

	if (si->ssi_signo == SIGCHLD)
		return;
	if (!terminal && !run.ended)
		kill(run.child, (int)si->ssi_signo);
	if (si->ssi_signo == SIGTSTP)
		raise(SIGSTOP);
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == run.child) {
			run.ended = true;
			run.status = status;
		}
	}
	run.all_ended = pid < 0 && errno == ECHILD;
}

static void watch_set(sigset_t *set)
{
	static const int sigs[] = {SIGCHLD, SIGTERM, SIGHUP,  SIGINT,	SIGQUIT, SIGUSR1,
				   SIGUSR2, SIGTSTP, SIGCONT, SIGWINCH, SIGALRM, SIGPIPE};

	sigemptyset(set);
	for (size_t i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		sigaddset(set, sigs[i]);
}

/* Until everybody has ended. */
static void serve(int door, int sigs)
{
	struct pollfd p[2] = {{.fd = door, .events = POLLIN}, {.fd = sigs, .events = POLLIN}};
	struct signalfd_siginfo si;

	while (!run.all_ended) {
		if (poll(p, 2, -1) < 0)
			continue;
		while (read(sigs, &si, sizeof(si)) == (ssize_t)sizeof(si))
			pass_on(&si);
		reap();
		if (p[0].revents)
			ctl_accept(door);
	}
}

/* ---- the end ---- */

/* Sockets that programs have left, and packets that the peer has not taken yet. */
static unsigned left_over(void)
{
	unsigned n;

	pthread_mutex_lock(&amp_run.lock);
	n = amp_run.used;
	pthread_mutex_unlock(&amp_run.lock);
	return n + run_closing();
}

static void linger(int linger_s)
{
	const struct timespec nap = {.tv_nsec = 2000000};
	struct timespec start, now;
	unsigned left;

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (;;) {
		(void)amp_poll_links();
		left = left_over();
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (!left || now.tv_sec - start.tv_sec > linger_s ||
		    (now.tv_sec - start.tv_sec == linger_s && now.tv_nsec >= start.tv_nsec))
			break;
		nanosleep(&nap, NULL);
	}
	if (left)
		fprintf(stderr,
			"ampsock-run: after %d s %u sockets have not ended: what they still "
			"had is lost\n",
			linger_s, left);
}

/* As the program ended, so do we. */
static int finish(void)
{
	if (WIFSIGNALED(run.status)) {
		struct rlimit none = {0, 0};
		sigset_t set;

		setrlimit(RLIMIT_CORE, &none); /* the program's is enough */
		signal(WTERMSIG(run.status), SIG_DFL);
		sigemptyset(&set);
		sigaddset(&set, WTERMSIG(run.status));
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		raise(WTERMSIG(run.status));
		return 128 + WTERMSIG(run.status);
	}
	return WEXITSTATUS(run.status);
}

static void keep_off_stdio(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	/* the program may close its own and mean it */
	if (null >= 0) {
		dup2(null, 0);
		dup2(null, 1);
		if (null > 2)
			close(null);
	}
}

/* Closed ones are not to be given to what is opened here: it is the program that has them
 * closed. */
static void no_holes(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

static void more_descriptors(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max < 8192 ? l.rlim_max : 8192;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

/*
 * Sockets may not take the last ones, nor may strangers: no request could be served then, not
 * even one that closes some, and nobody could find out that a program has closed its end.
 */
static void share_descriptors(void)
{
	struct rlimit l;
	int all = 8192, keep;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < 8192)
		all = (int)l.rlim_cur;
	keep = all / 8 < AMP_RUN_STRANGERS ? all / 8 : AMP_RUN_STRANGERS;
	amp_run.stranger_max = keep > 0 ? (unsigned)keep : 1;
	keep += FDS_FOR_REQUESTS;
	amp_run.fd_max = all - (keep < all / 2 ? keep : all / 2);
}

static int parse(int argc, char **argv, int *linger_s)
{
	int c, r;
	char text[AMP_OPTION_TEXT];

	opterr = 0;
	while ((c = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
		switch (c) {
		case OPT_LINK:
			r = run_link_up(optarg);
			if (r)
				return r;
			break;
		case OPT_OFFLOAD:
			amp_run.offload = true;
			break;
		case OPT_LINGER:
			if (parse_linger(optarg, linger_s))
				return usage("--linger", "expected seconds, 0 to 3600");
			break;
		case OPT_VERBOSE:
			amp_log_hook(print_log);
			break;
		case OPT_VERSION:
			puts("ampsock-run " AMPSOCK_VERSION);
			exit(0);
		case OPT_HELP:
			fputs(help, stdout);
			exit(0);
		default:
			amp_option_fault(text, c, argv, options);
			fprintf(stderr, "ampsock-run: %s\n", text);
			return RUN_EXIT_USAGE;
		}
	}
	return optind < argc ? 0 : usage(NULL, "no program");
}

int main(int argc, char **argv)
{
	int linger_s = LINGER_S, door, sigs, r;
	sigset_t set, old;

	no_holes();
	r = parse(argc, argv, &linger_s);
	if (r == 0)
		r = run_check_program(argv[optind]);
	if (r)
		return r;
	if (getrandom(&amp_run.nonce, sizeof(amp_run.nonce), 0) < 0 ||
	    getrandom(amp_run.token, sizeof(amp_run.token), 0) < 0 || (door = ctl_open()) < 0) {
		fprintf(stderr, "ampsock-run: can not begin: %s\n", strerror(errno));
		return RUN_EXIT_LINK;
	}
	watch_set(&set);
	sigprocmask(SIG_BLOCK, &set, &old);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	run.child = run_start(argv + optind, &old);
	if (run.child < 0)
		return RUN_EXIT_NOT_RUN;
	keep_off_stdio();
	more_descriptors();
	share_descriptors();
	sigs = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	r = sigs < 0 ? -errno : pump_start();
	if (r == 0)
		r = run_links_watch();
	if (r) {
		fprintf(stderr, "ampsock-run: can not begin: %s\n", strerror(-r));
		kill(run.child, SIGKILL);
		return RUN_EXIT_LINK;
	}
	serve(door, sigs);
	linger(linger_s);
	return finish();
}
