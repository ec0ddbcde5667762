// SPDX-License-Identifier: BSD-3-Clause
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

#include "helper_call.h"
#include "helper_msg.h"

static const int passed_on[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
#define PASSED_ON (sizeof(passed_on) / sizeof(*passed_on))

struct helper {
	const struct amp_config *conf;
	const char *config_path;
	pid_t worker;
	int call, news;
	int code; /* the worker's exit status */
	uv_poll_t poll[2];
	uv_signal_t sig[PASSED_ON];
	uv_signal_t child;
	struct amp_log_rate log_bad;
};

static struct helper self;

static void refused(const char *what, int err)
{
	amp_log_some(&self.log_bad, AMP_LOG_ERROR,
		     "the worker process sent a request that is refused: %s: %s", what,
		     strerror(err));
}

/* One request of the call socket. False: none is there. */
static bool serve_call(void)
{
	struct amp_helper_req req;
	struct amp_helper_ans ans;
	int fd, give, r;
	ssize_t n = amp_helper_recv(self.call, &req, sizeof(req), &fd);

	if (n == 0 || n == -EAGAIN)
		return false;
	r = n < 0 ? (int)n : amp_helper_check(&req, (size_t)n, false, fd >= 0);
	if (r) {
		/* not even a number to answer to: whoever waits gives up */
		refused("malformed", -r);
		if (fd >= 0)
			close(fd);
		return n > 0;
	}
	give = amp_helper_do(self.conf, self.config_path, &req, fd, &ans);
	if (ans.result == -EPERM && req.op != AMP_HELPER_BIND)
		refused(req.path, EPERM);
	if (fd >= 0)
		close(fd);
	amp_helper_send(self.call, &ans, AMP_HELPER_ANS_HEAD + ans.text_len, give);
	if (give >= 0)
		close(give);
	return true;
}

static bool serve_news(void)
{
	struct amp_helper_req req;
	int fd, r;
	ssize_t n = amp_helper_recv(self.news, &req, sizeof(req), &fd);

	if (n == 0 || n == -EAGAIN)
		return false;
	r = n < 0 ? (int)n : amp_helper_check(&req, (size_t)n, true, fd >= 0);
	if (fd >= 0)
		close(fd);
	if (r)
		refused("malformed", -r);
	else
		amp_helper_name(self.news, &req);
	return n > 0;
}

static void readable(uv_poll_t *p, int status, int events)
{
	bool is_call = p == &self.poll[0];

	(void)events;
	/* the worker's end is closed: that it has ended comes as SIGCHLD */
	if (status < 0 || (events & UV_DISCONNECT)) {
		uv_poll_stop(p);
		return;
	}
	for (unsigned n = 0; n < 16 && (is_call ? serve_call() : serve_news()); n++)
		;
}

static void pass_on(uv_signal_t *s, int num)
{
	struct amp_helper_ans ans;

	(void)s;
	memset(&ans, 0, AMP_HELPER_ANS_HEAD);
	ans.magic = AMP_HELPER_MAGIC;
	ans.op = AMP_HELPER_SIGNAL;
	ans.more = (uint32_t)num;
	if (amp_helper_send(self.news, &ans, AMP_HELPER_ANS_HEAD, -1))
		amp_log(AMP_LOG_WARN, "SIG%s: the worker process does not listen",
			sigabbrev_np(num));
}

static void say_death(int sig)
{
	amp_log(AMP_LOG_ERROR, "the worker process was killed by SIG%s%s", sigabbrev_np(sig),
		sig == SIGSYS ? ": it made a system call that its filter does not have. Either a "
				"guest has taken it over, or the filter lacks a call: the kernel's "
				"log has its number (audit: type=1326 ... syscall=N)"
			      : "");
}

static void on_child(uv_signal_t *s, int num)
{
	int status;

	(void)s;
	(void)num;
	if (waitpid(self.worker, &status, WNOHANG) != self.worker)
		return;
	self.code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
	if (WIFSIGNALED(status))
		say_death(WTERMSIG(status));
	uv_stop(uv_default_loop());
}

static int start_loop(void)
{
	uv_loop_t *uv = uv_default_loop();
	const int fds[2] = {self.call, self.news};
	int r = 0;

	for (unsigned i = 0; i < 2 && !r; i++) {
		r = uv_poll_init(uv, &self.poll[i], fds[i]);
		if (!r)
			r = uv_poll_start(&self.poll[i], UV_READABLE | UV_DISCONNECT, readable);
	}
	for (unsigned i = 0; i < PASSED_ON && !r; i++) {
		r = uv_signal_init(uv, &self.sig[i]);
		if (!r)
			r = uv_signal_start(&self.sig[i], pass_on, passed_on[i]);
	}
	if (!r)
		r = uv_signal_init(uv, &self.child);
	if (!r)
		r = uv_signal_start(&self.child, on_child, SIGCHLD);
	return r;
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
	close(self.call);
	close(self.news);
}

static int help(const sigset_t *old_mask)
{
	int r = start_loop();

	if (r) {
		amp_log(AMP_LOG_ERROR, "cannot start: %s", strerror(-r));
		kill(self.worker, SIGKILL);
		return 1;
	}
	on_child(NULL, SIGCHLD); /* it may have ended before there was anybody to hear of it */
	sigprocmask(SIG_SETMASK, old_mask, NULL);
	if (self.code < 0)
		uv_run(uv_default_loop(), UV_RUN_DEFAULT);
	amp_helper_do_fini();
	end_loop();
	return self.code;
}

/* Signals are for the helper: the worker hears of them in its loop. */
static void become_worker(int call, int news, pid_t parent)
{
	for (unsigned i = 0; i < PASSED_ON; i++)
		signal(passed_on[i], SIG_IGN);
	amp_helper_join(call, news);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
}

static void close_pair(const int pair[2])
{
	for (unsigned i = 0; i < 2; i++) {
		if (pair[i] >= 0)
			close(pair[i]);
	}
}

int amp_helper_start(const struct amp_config *conf, const char *config_path, int ready_fd,
		     int *code)
{
	int call[2] = {-1, -1}, news[2] = {-1, -1}, r;
	pid_t parent = getpid();
	sigset_t mask, old;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, call) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, news))
		goto fail;
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	for (unsigned i = 0; i < PASSED_ON; i++)
		sigaddset(&mask, passed_on[i]);
	sigprocmask(SIG_BLOCK, &mask, &old);
	self.worker = fork();
	if (self.worker < 0) {
		sigprocmask(SIG_SETMASK, &old, NULL);
		goto fail;
	}
	if (self.worker == 0) {
		close(call[0]);
		close(news[0]);
		become_worker(call[1], news[1], parent);
		sigprocmask(SIG_SETMASK, &old, NULL);
		return 0;
	}
	close(call[1]);
	close(news[1]);
	if (ready_fd >= 0)
		close(ready_fd);
	self.conf = conf;
	self.config_path = config_path;
	self.call = call[0];
	self.news = news[0];
	self.code = -1;
	*code = help(&old);
	return 1;
fail:
	r = -errno;
	close_pair(call);
	close_pair(news);
	return r;
}
