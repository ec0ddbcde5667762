// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls:helper epoll_wait epoll_pwait epoll_pwait2 epoll_ctl wait4 waitid kill rt_sigprocmask rt_sigaction rt_sigreturn
 * #syscalls:helper read write close exit exit_group clock_gettime restart_syscall getpid gettid tgkill
 */
/* The helper process itself: theory of operation in helper.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "activated.h"
#include "confine.h"
#include "confine_filter.h"
#include "helper_call.h"
#include "helper_life.h"
#include "helper_msg.h"
#include "kept.h"
#include "kept_msg.h"

static const int passed_on[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
#define PASSED_ON (sizeof(passed_on) / sizeof(*passed_on))

#define NEWS_MAX 512u /* messages in a row: as many as its socket holds, and more */

enum line { CALL, NEWS, KEPT, LINES };

/* The ends here of one worker's sockets. */
struct lines {
	uv_poll_t poll[LINES];
	int fd[LINES];
	unsigned open; /* handles */
};

enum next {
	NEXT_NONE, /* the worker lives */
	NEXT_END,
	NEXT_WORKER,
	NEXT_PROGRAM,
};

struct helper {
	const struct amp_config *conf;
	const char *config_path;
	pid_t worker; /* 0: none at the moment */
	struct lines *lines;
	int call, news; /* of them */
	int code;	/* the worker's exit status */
	enum next next;
	bool stopping; /* somebody has said so */
	bool abnormal; /* it ends although nobody said so */
	bool upgrading;
	uv_signal_t sig[PASSED_ON];
	uv_signal_t child;
	uv_timer_t pause; /* before the next worker */
	sigset_t mask;	  /* as we were started */
	struct amp_log_rate log_bad;
};

static struct helper self;

static void refused(const char *what, int err)
{
	amp_log_some(&self.log_bad, AMP_LOG_ERROR,
		     "the worker process sent a request that is refused: %s: %s", what,
		     strerror(err));
}

/* Of what came with it nothing can be had; but whoever waits, with every guest, is told at once. */
static void no_room(const struct amp_helper_req *req)
{
	struct amp_helper_ans ans;

	amp_log_some(&self.log_bad, AMP_LOG_ERROR,
		     "no descriptor is left for a request of the worker process");
	memset(&ans, 0, AMP_HELPER_ANS_HEAD);
	ans.magic = AMP_HELPER_MAGIC;
	ans.op = req->op;
	ans.id = req->id;
	ans.result = -EMFILE;
	amp_helper_send(self.call, &ans, AMP_HELPER_ANS_HEAD, -1);
}

static void upgrade(void);

static bool serve_kept(void)
{
	bool asked = false, more = amp_kept_serve(self.lines->fd[KEPT], &asked);

	if (asked)
		upgrade();
	return more;
}

/* One request of the call socket. False: none is there. */
static bool serve_call(void)
{
	struct amp_helper_req req = {0};
	struct amp_helper_ans ans;
	int fd, give, r;
	ssize_t n = amp_helper_recv(self.call, &req, sizeof(req), &fd);

	if (n == 0 || n == -EAGAIN || n == -ECONNRESET)
		return false;
	if (n == -EMFILE) {
		no_room(&req);
		return true;
	}
	r = n < 0 ? (int)n : amp_helper_check(&req, (size_t)n, false, fd >= 0);
	if (r) {
		/* not even a number to answer to: whoever waits gives up */
		refused("malformed", -r);
		if (fd >= 0)
			close(fd);
		return n > 0;
	}
	/* what it has given back before is free by then */
	for (unsigned i = 0; i < NEWS_MAX && req.op == AMP_HELPER_BIND && serve_kept(); i++)
		;
	give = amp_helper_do(&self.conf, self.config_path, &req, fd, &ans);
	if (ans.result == -EPERM && !amp_helper_for_others(self.conf, &req))
		refused(req.path, EPERM);
	if (fd >= 0)
		close(fd);
	amp_helper_send(self.call, &ans, AMP_HELPER_ANS_HEAD + ans.text_len, give);
	if (give >= 0)
		close(give);
	return true;
}

static void serve_notify(const struct amp_helper_req *req)
{
	uint32_t drain_s = self.conf->drain_s;

	amp_helper_manager_news(req, drain_s);
	if (req->arg[0] == AMP_HELPER_READY)
		amp_helper_guard_watch(amp_helper_manager_watchdog_ms());
	else if (req->arg[0] == AMP_HELPER_STOPPING)
		amp_helper_guard_stopping(req->arg[1] < drain_s ? req->arg[1] : drain_s);
}

static bool serve_news(void)
{
	struct amp_helper_req req;
	int fd, r;
	ssize_t n = amp_helper_recv(self.news, &req, sizeof(req), &fd);

	if (n == 0 || n == -EAGAIN || n == -ECONNRESET)
		return false;
	r = n < 0 ? (int)n : amp_helper_check(&req, (size_t)n, true, fd >= 0);
	if (fd >= 0)
		close(fd);
	if (r)
		refused("malformed", -r);
	else if (req.op == AMP_HELPER_NOTIFY)
		serve_notify(&req);
	else if (req.op == AMP_HELPER_LEVEL)
		amp_log_level_set((enum amp_log_level)req.arg[0]);
	else if (req.op == AMP_HELPER_PUBLISHED)
		amp_helper_published_news(&req, self.conf->control[0] != 0);
	else if (req.op == AMP_HELPER_HEARD)
		amp_helper_tell_heard(req.id);
	else if (req.op != AMP_HELPER_PONG)
		amp_helper_name(self.news, &req);
	else if (amp_helper_guard_pong(req.id))
		amp_helper_manager_alive();
	return n > 0;
}

static unsigned read_news(void)
{
	unsigned n = 0;

	while (n < NEWS_MAX && serve_news())
		n++;
	return n;
}

static void readable(uv_poll_t *p, int status, int events)
{
	static bool (*const serve[LINES])(void) = {serve_call, serve_news, serve_kept};
	enum line line = (enum line)(p - self.lines->poll);

	/* the worker's end is closed: that it has ended comes as SIGCHLD */
	if (status < 0 || (events & UV_DISCONNECT)) {
		uv_poll_stop(p);
		return;
	}
	for (unsigned n = 0; n < 16 && serve[line](); n++)
		;
}

static void line_closed(uv_handle_t *h)
{
	struct lines *l = h->data;

	if (--l->open == 0)
		free(l);
}

/* What a dead worker has sent is read to its end: descriptors to keep, above all. */
static void hang_up(void)
{
	struct lines *l = self.lines;

	while (serve_kept() || serve_news())
		;
	self.lines = NULL;
	self.call = self.news = -1;
	for (unsigned i = 0; i < LINES; i++) {
		uv_close((uv_handle_t *)&l->poll[i], line_closed);
		close(l->fd[i]);
	}
}

static int pick_up(const int fds[LINES])
{
	struct lines *l = calloc(1, sizeof(*l));
	int r = 0;

	if (!l)
		return -ENOMEM;
	self.lines = l;
	self.call = fds[CALL];
	self.news = fds[NEWS];
	for (unsigned i = 0; i < LINES && !r; i++) {
		l->fd[i] = fds[i];
		r = uv_poll_init(uv_default_loop(), &l->poll[i], fds[i]);
		if (r)
			break;
		l->poll[i].data = l;
		l->open++;
		r = uv_poll_start(&l->poll[i], UV_READABLE | UV_DISCONNECT, readable);
	}
	return r;
}

static void next(enum next what)
{
	self.next = what;
	uv_stop(uv_default_loop());
}

/*
 * SIGTERM. Between two workers there will be no other: that is a good end. Where there would have been
 * none anyway, the last has said how it ended: a start that has failed is none that was stopped.
 */
static void stop(void)
{
	self.stopping = true;
	self.abnormal = false;
	if (self.worker || self.next == NEXT_END)
		return;
	self.code = 0;
	next(NEXT_END);
}

static void pass_on(uv_signal_t *s, int num)
{
	(void)s;
	if (num == SIGUSR2) {
		upgrade();
		return;
	}
	if (num == SIGTERM || num == SIGINT) {
		stop();
		amp_helper_guard_end("does not end");
	}
	amp_helper_tell(num);
}

static void say_death(int sig)
{
	amp_log(AMP_LOG_ERROR, "the worker process was killed by SIG%s%s", sigabbrev_np(sig),
		sig == SIGSYS
			? ": it made a system call that its filter does not have. Either a "
			  "guest has taken it over, or the filter lacks a call: the kernel's "
			  "log has its number (audit: type=1326 ... syscall=N)"
			: "");
}

/* ---- another worker ---- */

static void pause_over(uv_timer_t *t)
{
	(void)t;
	if (!self.worker && !self.stopping)
		next(NEXT_WORKER);
}

static void worker_ended(int status)
{
	int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	bool hung = amp_helper_guard_killed();
	int64_t wait;

	hang_up();
	amp_helper_guard_worker(0, -1);
	amp_helper_tell_worker(-1);
	self.worker = 0;
	self.code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
	if (self.upgrading && (sig || self.code == AMP_EXIT_UPGRADE)) {
		/* who said so after the worker was told to hand over has said it to us alone */
		if (self.stopping)
			self.code = 0;
		next(self.stopping ? NEXT_END : NEXT_PROGRAM);
		return;
	}
	if (sig && !hung)
		say_death(sig);
	/* to whoever would start us again, that is no good end */
	if (!sig && !self.stopping && self.code != 1) {
		amp_log(AMP_LOG_ERROR,
			"the worker process ended with status %d, and nobody told it to: a "
			"guest "
			"may have taken it over",
			self.code);
		self.code = 1;
	}
	/* who was told to stop leaves nothing to go on with, however it ended */
	self.abnormal = self.code != 0 && !self.stopping;
	if (!sig || sig == SIGSYS || self.stopping) {
		next(NEXT_END);
		return;
	}
	wait = amp_helper_guard_back_off();
	if (wait < 0) {
		amp_log(AMP_LOG_ERROR, "%u worker processes were killed within %u s: giving up",
			AMP_HELPER_LIVES + 1, AMP_HELPER_LIVES_MS / 1000);
		next(NEXT_END);
		return;
	}
	amp_log(AMP_LOG_WARN,
		"another worker process is started, which goes on with what was kept");
	uv_timer_start(&self.pause, pause_over, (uint64_t)wait, 0);
}

/* ---- another program ---- */

static void upgrade(void)
{
	if (self.upgrading || self.stopping)
		amp_log(AMP_LOG_WARN, "upgrade: not now: %s",
			self.stopping ? "the proxy stops" : "another is under way");
	else
		amp_helper_try_program(&self.mask);
}

/*
 * The new program is good. Without a worker, as one has died: the next, which is the new program's,
 * takes what it has left.
 */
static void hand_over(void)
{
	if (self.stopping) {
		amp_log(AMP_LOG_WARN, "upgrade: given up: the proxy stops");
		return;
	}
	self.upgrading = true;
	if (self.worker) {
		amp_helper_tell(SIGUSR2);
		amp_helper_guard_end("does not hand over for the upgrade");
		return;
	}
	uv_timer_stop(&self.pause);
	next(NEXT_PROGRAM);
}

static void on_child(uv_signal_t *s, int num)
{
	int status;

	(void)s;
	(void)num;
	if (amp_helper_try_reap())
		hand_over();
	if (self.worker > 0 && waitpid(self.worker, &status, WNOHANG) == self.worker)
		worker_ended(status);
}

/* ---- life ---- */

static int start_loop(void)
{
	uv_loop_t *uv = uv_default_loop();
	int r = uv ? 0 : -ENOMEM;

	for (unsigned i = 0; i < PASSED_ON && !r; i++) {
		r = uv_signal_init(uv, &self.sig[i]);
		if (!r)
			r = uv_signal_start(&self.sig[i], pass_on, passed_on[i]);
	}
	if (!r)
		r = uv_signal_init(uv, &self.child);
	if (!r)
		r = uv_signal_start(&self.child, on_child, SIGCHLD);
	if (!r)
		r = uv_timer_init(uv, &self.pause);
	if (!r)
		r = amp_helper_try_init(uv);
	if (!r)
		r = amp_helper_tell_init(uv);
	return r ? r : amp_helper_guard_init(uv, read_news);
}

static void close_handle(uv_handle_t *h, void *ctx)
{
	(void)ctx;
	if (!uv_is_closing(h))
		uv_close(h, NULL);
}

/* A name that still resolves in a thread can take as long as it likes: not with us. */
static void end_loop(void)
{
	if (amp_helper_name_busy())
		_exit(self.code);
	uv_walk(uv_default_loop(), close_handle, NULL);
	uv_run(uv_default_loop(), UV_RUN_DEFAULT);
	uv_loop_close(uv_default_loop());
	uv_library_shutdown();
}

/*
 * Until the worker has ended. Signals are blocked again then, and stay so over exec(), which keeps
 * those that are pending. One that came just before is in the loop still: SIGTERM changes what
 * is next.
 */
static void help(const sigset_t *blocked)
{
	self.next = NEXT_NONE;
	on_child(NULL, SIGCHLD); /* it may have ended before there was anybody to hear of it */
	sigprocmask(SIG_SETMASK, &self.mask, NULL);
	while (self.next == NEXT_NONE)
		uv_run(uv_default_loop(), UV_RUN_DEFAULT);
	sigprocmask(SIG_BLOCK, blocked, NULL);
	uv_run(uv_default_loop(), UV_RUN_NOWAIT);
}

/* Files and descriptors stay for the next helper if there will be one. */
static void end(void)
{
	amp_helper_try_end();
	if (!self.abnormal || !amp_helper_managed()) {
		amp_helper_do_fini();
		amp_kept_forget();
	}
	amp_kept_clear();
	amp_helper_manager_close();
	end_loop();
}

/* Signals are for the helper: the worker hears of them in its loop. */
static void become_worker(const int fds[LINES], pid_t parent, bool passed)
{
	amp_helper_manager_close();
	for (unsigned i = 0; i < PASSED_ON; i++)
		signal(passed_on[i], SIG_IGN);
	amp_helper_join(fds[CALL], fds[NEWS], passed);
	amp_kept_join(fds[KEPT]);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
}

static void close_all(const int fds[LINES])
{
	for (unsigned i = 0; i < LINES; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

/* 0: this is the worker. Its process, or -errno. Signals are blocked in both. */
static pid_t spawn(pid_t parent, bool passed)
{
	int ours[LINES] = {-1, -1, -1}, theirs[LINES] = {-1, -1, -1}, r = 0;
	pid_t pid = 0;

	for (unsigned i = 0; i < LINES && !r; i++) {
		int pair[2];

		r = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ? -errno : 0;
		if (!r) {
			ours[i] = pair[0];
			theirs[i] = pair[1];
		}
	}
	if (!r) {
		amp_kept_unused();
		pid = fork();
		r = pid < 0 ? -errno : 0;
	}
	if (!r && pid == 0) {
		close_all(ours);
		become_worker(theirs, parent, passed);
		return 0;
	}
	close_all(theirs);
	if (!r)
		r = pick_up(ours);
	if (!r) {
		self.worker = pid;
		amp_helper_guard_worker(pid, self.news);
		amp_helper_tell_worker(self.news);
		return pid;
	}
	if (pid > 0)
		kill(pid, SIGKILL);
	if (!self.lines)
		close_all(ours);
	return r;
}

static int confine_self(const struct amp_confine *confine)
{
	uint64_t id = amp_filter_helper_id(), filter = amp_kept_has_filter(id) ? id : 0;
	bool had = filter != 0;
	int r = amp_confine_helper(confine, &filter);

	if (!r && filter && !had)
		amp_kept_filter(filter);
	return r;
}

int amp_helper_start(const struct amp_config *conf, const struct amp_confine *confine,
		     const char *config_path, int *ready_fd, int *code)
{
	bool confined = false;
	int r = amp_helper_manager_open();
	pid_t parent = getpid(), pid;
	sigset_t mask;

	if (r < 0)
		return r;
	self.conf = conf;
	self.config_path = config_path;
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	for (unsigned i = 0; i < PASSED_ON; i++)
		sigaddset(&mask, passed_on[i]);
	sigprocmask(SIG_BLOCK, &mask, &self.mask);
	/* ours, whoever started us: the program before this one has left them blocked */
	for (unsigned i = 0; i < PASSED_ON; i++)
		sigdelset(&self.mask, passed_on[i]);
	sigdelset(&self.mask, SIGCHLD);
	amp_kept_load();
	r = start_loop();
	while (!r) {
		pid = spawn(parent, amp_activated_any());
		if (pid == 0) {
			sigprocmask(SIG_SETMASK, &self.mask, NULL);
			return 0;
		}
		if (pid < 0) {
			r = pid;
			if (self.next != NEXT_NONE)
				amp_log(AMP_LOG_ERROR, "no other worker process: %s",
					strerror(-r));
			break;
		}
		if (*ready_fd >= 0)
			close(*ready_fd);
		*ready_fd = -1;
		if (!confined && confine_self(confine)) {
			kill(pid, SIGKILL);
			self.code = 1;
			break;
		}
		confined = true;
		help(&mask);
		if (self.next == NEXT_PROGRAM) {
			amp_helper_exec(self.conf->log_level);
			self.upgrading = false;
		} else if (self.next == NEXT_END) {
			break;
		}
	}
	sigprocmask(SIG_SETMASK, &self.mask, NULL);
	if (r && self.next == NEXT_NONE) /* the first could not even begin */
		return r;
	self.abnormal |= r != 0;
	*code = r ? 1 : self.code;
	end();
	return 1;
}

struct amp_config *amp_helper_config_now(void)
{
	return (struct amp_config *)(uintptr_t)self.conf;
}
