// SPDX-License-Identifier: BSD-3-Clause
/*
 * The helper becomes another program: upgrade without an end.
 *
 * Theory of operation
 *
 *	SIGUSR2, or the worker asks (amp_upgrade())
 *	the new program file is run with --check-config and the same options: if it does not like
 *	    them, or is no program, nothing has happened
 *	the worker is told; it resets its flows and ends with AMP_EXIT_UPGRADE
 *	the table of descriptors goes into a memory file, and the program file is executed:
 *	    same process, same main PID, same children's reaper
 *
 * Which file that is was found out at start: /proc/self/exe by its name, because after the
 * package manager's rename() the name leads to the new one. If the exec fails after all, a
 * new worker of the present program goes on.
 *
 * The helper's filter of system calls stays with the process through the exec: nothing takes one off,
 * and an exec in front of it, or a parent without one that executes in our place, would leave the
 * process with the privileges unfiltered. So it lets through what any program does when it
 * starts. The new program lays its own upon it if it is another one (kept.h): a process has as many
 * as there were different ones, and the same program a thousand times has one.
 *
 * #syscalls:helper execve fork vfork clone wait4 fcntl rt_sigprocmask readlink readlinkat
 * #syscalls:helper set_tid_address arch_prctl access faccessat uname brk mmap munmap mprotect
 * #syscalls:helper getrandom prlimit64 rseq set_robust_list openat read pread64 fstat newfstatat
 * #syscalls:helper getuid geteuid getgid getegid getpid getppid socket connect sendto recvfrom
 * #syscalls:helper eventfd2 pipe2 epoll_create1 epoll_ctl socketpair seccomp prctl capget capset
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper_life.h"
#include "kept.h"
#include "helper.h"

#define CHECK_MS 30000 /* for a new program to read its options and the configuration */

static char program[4096];
static char **args; /* [0] to the NULL, and room for one more */
static unsigned arg_cnt;
static pid_t checker; /* the new program's process that is tried; 0: none */
static uv_timer_t patience;

/* Variables that the program takes out of its environment, and the next is to find again. */
static const char *const managers[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"};
#define MANAGERS (sizeof(managers) / sizeof(*managers))
static char *said[MANAGERS];

/* --ready-fd was for the first start: whoever waited has gone on. */
static bool is_ready(const char *arg, bool *two)
{
	*two = strcmp(arg, "--ready-fd") == 0;
	return *two || strncmp(arg, "--ready-fd=", 11) == 0;
}

void amp_helper_program(int argc, char **argv)
{
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	bool two;

	for (unsigned i = 0; i < MANAGERS; i++) {
		const char *value = getenv(managers[i]);

		said[i] = value ? strdup(value) : NULL;
	}
	if (n <= 0)
		return;
	program[n] = 0;
	args = calloc((size_t)argc + 2, sizeof(*args));
	if (!args)
		return;
	for (int i = 0; i < argc; i++) {
		if (i > 0 && is_ready(argv[i], &two))
			i += two;
		else
			args[arg_cnt++] = argv[i];
	}
}

void amp_helper_program_free(void)
{
	free(args);
	args = NULL;
	for (unsigned i = 0; i < MANAGERS; i++)
		free(said[i]);
}

/* ---- the new program is tried ---- */

static void check_over(uv_timer_t *t)
{
	(void)t;
	amp_log(AMP_LOG_ERROR,
		"upgrade: the program has not read its options and the configuration in %d s: "
		"killed",
		CHECK_MS / 1000);
	kill(checker, SIGKILL);
}

int amp_helper_try_init(uv_loop_t *uv)
{
	return uv_timer_init(uv, &patience);
}

static void try_it(pid_t parent, const sigset_t *mask)
{
	static char check[] = "--check-config";

	args[arg_cnt] = check;
	/* it may wait for a file of the configuration when we are no more */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	sigprocmask(SIG_SETMASK, mask, NULL);
	execv(program, args);
	amp_log(AMP_LOG_ERROR, "upgrade: %s: %s", program, strerror(errno));
	_exit(127);
}

void amp_helper_try_program(const sigset_t *mask)
{
	pid_t parent = getpid(), pid;

	if (checker) {
		amp_log(AMP_LOG_WARN, "upgrade: not now: another is under way");
		return;
	}
	if (!args) {
		amp_log(AMP_LOG_ERROR, "upgrade: the program file is not known");
		return;
	}
	pid = fork();
	if (pid == 0)
		try_it(parent, mask);
	if (pid < 0) {
		amp_log(AMP_LOG_ERROR, "upgrade: no process: %s", strerror(errno));
		return;
	}
	checker = pid;
	uv_timer_start(&patience, check_over, CHECK_MS, 0);
}

bool amp_helper_try_reap(void)
{
	int status;

	if (!checker || waitpid(checker, &status, WNOHANG) != checker)
		return false;
	checker = 0;
	uv_timer_stop(&patience);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	amp_log(AMP_LOG_ERROR,
		"upgrade: the program does not take these options and this configuration "
		"(status %d): going on as before",
		WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
	return false;
}

void amp_helper_try_end(void)
{
	if (!checker)
		return;
	uv_timer_stop(&patience);
	kill(checker, SIGKILL);
	while (waitpid(checker, NULL, 0) < 0 && errno == EINTR)
		;
	checker = 0;
}

/* ---- it takes our place ---- */

/*
 * "SET CONFIGURED", where they differ. It holds as after a reload: unless the file, which the next
 * program reads anew, has another level by then.
 */
#define LEVEL_ENV "AMPSOCK_LOG_LEVEL"

static int save_level(enum amp_log_level configured)
{
	char text[40];

	if (amp_log_level_get() == configured)
		return 0;
	snprintf(text, sizeof(text), "%s %s", amp_log_level_text(amp_log_level_get()),
		 amp_log_level_text(configured));
	return setenv(LEVEL_ENV, text, 1);
}

enum amp_log_level amp_helper_kept_level(enum amp_log_level level)
{
	const char *text = getenv(LEVEL_ENV);
	enum amp_log_level set, configured;
	char word[2][12];

	if (text && sscanf(text, "%11s %11s", word[0], word[1]) == 2 &&
	    !amp_log_level_parse(word[0], &set) && !amp_log_level_parse(word[1], &configured) &&
	    configured == level)
		level = set;
	unsetenv(LEVEL_ENV);
	return level;
}

int amp_helper_exec(enum amp_log_level level)
{
	char text[16];
	int fd = amp_kept_save(), r = fd;

	if (fd < 0)
		goto fail;
	snprintf(text, sizeof(text), "%d", fd);
	if (setenv(AMP_KEPT_ENV, text, 1) || save_level(level) || amp_helper_published_save()) {
		r = -ENOMEM;
	} else {
		for (unsigned i = 0; i < MANAGERS; i++) {
			if (said[i])
				setenv(managers[i], said[i], 1);
		}
		amp_log(AMP_LOG_INFO, "upgrade: executing %s", program);
		execv(program, args);
		r = -errno;
	}
	unsetenv(AMP_KEPT_ENV);
	unsetenv(LEVEL_ENV);
	amp_helper_published_unsave();
	for (unsigned i = 0; i < MANAGERS; i++)
		unsetenv(managers[i]);
	close(fd);
	amp_kept_unsave();
fail:
	amp_log(AMP_LOG_ERROR, "upgrade: %s: %s: going on with the present program", program,
		strerror(-r));
	return r;
}
