// SPDX-License-Identifier: BSD-3-Clause
/* What a worker is told of signals, and how long it may be silent. */
// build: src/proxy/helper_tell.c src/proxy/helper_guard.c src/proxy/helper_msg.c src/proxy/log.c -lbsd -luv -DAMP_HELPER_END_MS=100u
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/helper_life.h"
#include "proxy/helper_msg.h"

static int pair[2] = {-1, -1};

/* Another worker's socket. */
static void begin(void)
{
	if (pair[0] >= 0) {
		close(pair[0]);
		close(pair[1]);
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

/* What the worker hears next: the operation, 0 if nothing is there. */
static uint32_t hears(struct amp_helper_ans *ans)
{
	int fd;

	return amp_helper_recv(pair[1], ans, sizeof(*ans), &fd) > 0 ? ans->op : 0;
}

static void test_told(void **state)
{
	struct amp_helper_ans ans;

	(void)state;
	begin();
	amp_helper_tell(SIGHUP); /* nobody is there: for the next one */
	amp_helper_tell(SIGUSR1);
	amp_helper_tell_worker(pair[0]);
	assert_int_equal(hears(&ans), AMP_HELPER_SIGNAL);
	assert_int_equal(ans.more, SIGHUP);
	assert_int_equal(hears(&ans), 0);
	amp_helper_tell_heard(ans.id);
	amp_helper_tell_worker(-1);
	begin();
	amp_helper_tell_worker(pair[0]);
	assert_int_equal(hears(&ans), 0);
	amp_helper_tell_worker(-1);
}

static void test_hangup_again(void **state)
{
	struct amp_helper_ans ans;
	uint64_t first;

	(void)state;
	begin();
	amp_helper_tell_worker(pair[0]);
	amp_helper_tell(SIGHUP);
	assert_int_equal(hears(&ans), AMP_HELPER_SIGNAL);
	first = ans.id;
	amp_helper_tell(SIGHUP); /* the one that counts */
	assert_int_equal(hears(&ans), AMP_HELPER_SIGNAL);
	amp_helper_tell_heard(first);
	amp_helper_tell(SIGUSR1);
	amp_helper_tell_worker(-1);
	begin();
	amp_helper_tell_worker(pair[0]);
	assert_int_equal(hears(&ans), AMP_HELPER_SIGNAL);
	assert_int_equal(ans.more, SIGHUP);
	assert_int_equal(hears(&ans), 0); /* SIGUSR1 was the other's */
	/* it dies, too: perhaps of that */
	amp_helper_tell_worker(-1);
	begin();
	amp_helper_tell_worker(pair[0]);
	assert_int_equal(hears(&ans), 0);
	/* but a new one has its two tries */
	amp_helper_tell(SIGHUP);
	amp_helper_tell_worker(-1);
	begin();
	amp_helper_tell_worker(pair[0]);
	assert_int_equal(hears(&ans), AMP_HELPER_SIGNAL);
	amp_helper_tell_worker(-1);
}

/* It has died, and SIGHUP is there before SIGCHLD is heard of. */
static void test_hangup_dead(void **state)
{
	struct amp_helper_ans ans;

	(void)state;
	begin();
	amp_helper_tell_worker(pair[0]);
	close(pair[1]);
	pair[1] = -1;
	amp_helper_tell(SIGHUP);
	amp_helper_tell(SIGUSR1);
	amp_helper_tell_worker(-1);
	begin();
	amp_helper_tell_worker(pair[0]);
	assert_int_equal(hears(&ans), AMP_HELPER_SIGNAL);
	assert_int_equal(ans.more, SIGHUP);
	assert_int_equal(hears(&ans), 0);
	amp_helper_tell_heard(ans.id);
	amp_helper_tell_worker(-1);
}

/* ---- the watchdog ---- */

#define INTERVAL_MS 200

static unsigned rounds, questions;
static bool answer;
static unsigned says_drain, says_other; /* how often something is there */

static unsigned read_news(void)
{
	struct amp_helper_ans ans;
	unsigned n = 0;

	rounds++;
	while (answer && hears(&ans) == AMP_HELPER_PING) {
		questions++;
		n++;
		assert_true(amp_helper_guard_pong(ans.id));
		assert_false(amp_helper_guard_pong(ans.id));
		assert_false(amp_helper_guard_pong(ans.id + 1));
	}
	if (says_drain) {
		amp_helper_guard_stopping(1);
		n += says_drain--;
	}
	if (says_other)
		n += says_other--;
	return n;
}

static pid_t sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		raise(SIGSTOP);
		_exit(0);
	}
	assert_true(pid > 0);
	return pid;
}

static void test_watchdog(void **state)
{
	struct amp_helper_ans ans;
	pid_t pid = sleeper();
	int status;

	(void)state;
	begin();
	amp_helper_guard_worker(pid, pair[0]);
	assert_int_equal(hears(&ans), 0); /* it is not ready */
	answer = true;
	amp_helper_guard_watch(INTERVAL_MS);
	while (rounds < 6)
		uv_run(uv_default_loop(), UV_RUN_ONCE);
	assert_int_equal(questions, 6);
	assert_false(amp_helper_guard_killed());
	/* silent: asked once more, and no third time */
	answer = false;
	while (!amp_helper_guard_killed())
		uv_run(uv_default_loop(), UV_RUN_ONCE);
	assert_int_equal(rounds, 8);
	assert_int_equal(hears(&ans), AMP_HELPER_PING);
	assert_int_equal(hears(&ans), AMP_HELPER_PING);
	assert_int_equal(hears(&ans), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	amp_helper_guard_worker(0, -1);
	/* the next one is asked when it is ready, and once by that */
	begin();
	pid = sleeper();
	amp_helper_guard_worker(pid, pair[0]);
	assert_int_equal(hears(&ans), 0);
	amp_helper_guard_watch(INTERVAL_MS);
	amp_helper_guard_watch(INTERVAL_MS);
	assert_int_equal(hears(&ans), AMP_HELPER_PING);
	assert_false(amp_helper_guard_pong(ans.id - 1)); /* the one before it */
	assert_true(amp_helper_guard_pong(ans.id));
	assert_int_equal(hears(&ans), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	amp_helper_guard_worker(0, -1);
}

static void pass_ms(uint64_t ms)
{
	for (uint64_t end = amp_now_ms() + ms; amp_now_ms() < end;)
		;
}

static void gone(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	amp_helper_guard_worker(0, -1);
}

/* The helper did not run while the worker's time passed: what it has said is heard before it is killed. */
static void test_end_heard_late(void **state)
{
	pid_t pid = sleeper();
	uint64_t begun;

	(void)state;
	answer = false;
	begin();
	amp_helper_guard_worker(pid, pair[0]);
	amp_helper_guard_end("does not end");
	says_drain = 1;
	pass_ms(AMP_HELPER_END_MS + 50);
	begun = amp_now_ms();
	uv_run(uv_default_loop(), UV_RUN_NOWAIT);
	assert_false(amp_helper_guard_killed());
	assert_int_equal(says_drain, 0);
	while (!amp_helper_guard_killed())
		uv_run(uv_default_loop(), UV_RUN_ONCE);
	assert_true(amp_now_ms() - begun >= 1000 + AMP_HELPER_END_MS);
	gone(pid);
	/* something else was there: it may have had no room, so it has a little longer, once */
	pid = sleeper();
	begin();
	amp_helper_guard_worker(pid, pair[0]);
	amp_helper_guard_end("does not end");
	says_other = 1000;
	pass_ms(AMP_HELPER_END_MS + 50);
	uv_run(uv_default_loop(), UV_RUN_NOWAIT);
	assert_false(amp_helper_guard_killed());
	while (!amp_helper_guard_killed())
		uv_run(uv_default_loop(), UV_RUN_ONCE);
	gone(pid);
	says_other = 0;
	/* who says nothing is killed then */
	pid = sleeper();
	begin();
	amp_helper_guard_worker(pid, pair[0]);
	amp_helper_guard_end("does not end");
	pass_ms(AMP_HELPER_END_MS + 50);
	uv_run(uv_default_loop(), UV_RUN_NOWAIT);
	assert_true(amp_helper_guard_killed());
	gone(pid);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_told),	       cmocka_unit_test(test_hangup_again),
		cmocka_unit_test(test_hangup_dead),    cmocka_unit_test(test_watchdog),
		cmocka_unit_test(test_end_heard_late),
	};

	if (amp_helper_tell_init(uv_default_loop()) ||
	    amp_helper_guard_init(uv_default_loop(), read_news))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
