// SPDX-License-Identifier: BSD-3-Clause
/* The service manager's protocol, against a socket as systemd's is. */
// build: src/proxy/notify.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/notify.h"

/* What a manager has: its socket, and the last message with its descriptors. */
static struct {
	int fd;
	char path[108];
	char text[4096];
	int fds[8];
	unsigned fd_cnt;
} mgr;

static void bind_at(const char *path, bool abstract)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));

	strcpy(un.sun_path, path);
	if (abstract)
		un.sun_path[0] = 0;
	mgr.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	assert_true(mgr.fd >= 0);
	assert_int_equal(bind(mgr.fd, (struct sockaddr *)&un, len + !abstract), 0);
	strcpy(mgr.path, path);
	setenv("NOTIFY_SOCKET", path, 1);
}

static int setup(void **state)
{
	char dir[] = "/tmp/ampsock-notify-XXXXXX", path[64];

	(void)state;
	memset(&mgr, 0, sizeof(mgr));
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/notify", dir);
	bind_at(path, false);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close(mgr.fd);
	unlink(mgr.path);
	*strrchr(mgr.path, '/') = 0;
	rmdir(mgr.path);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return 0;
}

/* NULL: nothing came. */
static const char *heard(void)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(mgr.fds))];
	} control;
	struct iovec iov = {mgr.text, sizeof(mgr.text) - 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(mgr.fd, &msg, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c;

	if (n < 0)
		return NULL;
	mgr.text[n] = 0;
	mgr.fd_cnt = 0;
	c = CMSG_FIRSTHDR(&msg);
	if (c) {
		mgr.fd_cnt = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(mgr.fds, CMSG_DATA(c), mgr.fd_cnt * sizeof(int));
	}
	return mgr.text;
}

static void path_socket(void **state)
{
	struct amp_notify n;

	(void)state;
	assert_int_equal(amp_notify_open(&n), 0);
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_int_equal(amp_notify_send(&n, "READY=1"), 0);
	assert_string_equal(heard(), "READY=1");
	assert_int_equal(amp_notify_status(&n, "STOPPING=1", "two\nREADY=1\tlines"), 0);
	assert_string_equal(heard(), "STOPPING=1\nSTATUS=two READY=1 lines");
	assert_int_equal(amp_notify_status(&n, NULL, "alone"), 0);
	assert_string_equal(heard(), "STATUS=alone");
	amp_notify_close(&n);
	assert_int_equal(amp_notify_send(&n, "READY=1"), 0);
	assert_null(heard());
}

static void abstract_socket(void **state)
{
	struct amp_notify n;
	char name[40];

	(void)state;
	snprintf(name, sizeof(name), "@ampsock-notify-%d", (int)getpid());
	close(mgr.fd);
	unlink(mgr.path);
	{
		char keep[108];

		strcpy(keep, mgr.path);
		bind_at(name, true);
		strcpy(mgr.path, keep);
	}
	assert_int_equal(amp_notify_open(&n), 0);
	assert_int_equal(amp_notify_send(&n, "READY=1"), 0);
	assert_string_equal(heard(), "READY=1");
	amp_notify_close(&n);
}

static void reloading(void **state)
{
	unsigned long long us;
	struct amp_notify n;
	struct timespec ts;
	char rest;

	(void)state;
	assert_int_equal(amp_notify_open(&n), 0);
	assert_int_equal(amp_notify_reloading(&n), 0);
	assert_int_equal(sscanf(heard(), "RELOADING=1\nMONOTONIC_USEC=%llu%c", &us, &rest), 1);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	assert_in_range((unsigned long long)ts.tv_sec * 1000000u +
				(unsigned long long)ts.tv_nsec / 1000u - us,
			0, 10000000);
	amp_notify_close(&n);
}

static void descriptors(void **state)
{
	struct amp_notify n;
	int many[AMP_NOTIFY_FDS + 1] = {0}, pipe_fds[2];
	char byte = 0;

	(void)state;
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(amp_notify_open(&n), 0);
	assert_int_equal(amp_notify_send_fds(&n, "FDSTORE=1\nFDNAME=x", &pipe_fds[1], 1), 0);
	assert_string_equal(heard(), "FDSTORE=1\nFDNAME=x");
	assert_int_equal(mgr.fd_cnt, 1);
	assert_int_equal(write(mgr.fds[0], "y", 1), 1);
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	assert_int_equal(amp_notify_send_fds(&n, "FDSTORE=1", many, AMP_NOTIFY_FDS + 1),
			 -EINVAL);
	assert_null(heard());
	close(mgr.fds[0]);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	amp_notify_close(&n);
}

/* A manager that reads nothing must not stop us. */
static void full(void **state)
{
	struct amp_notify n;
	int r = 0;

	(void)state;
	assert_int_equal(amp_notify_open(&n), 0);
	for (unsigned i = 0; i < 100000 && r == 0; i++)
		r = amp_notify_send(&n, "STATUS=again");
	assert_int_equal(r, -EAGAIN);
	close(mgr.fd);
	assert_int_equal(amp_notify_send(&n, "READY=1"), -ECONNREFUSED);
	mgr.fd = -1;
	amp_notify_close(&n);
}

static uint64_t watchdog(const char *usec, const char *pid, int want)
{
	struct amp_notify n;
	uint64_t ms;

	setenv("NOTIFY_SOCKET", mgr.path, 1);
	setenv("WATCHDOG_USEC", usec, 1);
	unsetenv("WATCHDOG_PID");
	if (pid)
		setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(amp_notify_open(&n), want);
	assert_null(getenv("WATCHDOG_USEC"));
	assert_null(getenv("WATCHDOG_PID"));
	ms = amp_notify_watchdog_ms(&n);
	amp_notify_close(&n);
	return ms;
}

static void watchdog_times(void **state)
{
	char me[16];

	(void)state;
	snprintf(me, sizeof(me), "%d", (int)getpid());
	assert_int_equal(watchdog("30000000", me, 0), 15000);
	assert_int_equal(watchdog("30000000", NULL, 0), 15000);
	assert_int_equal(watchdog("1", me, 0), 1);
	assert_int_equal(watchdog("30000000", "1", 0), 0);
	assert_int_equal(watchdog("0", me, -EINVAL), 0);
	assert_int_equal(watchdog("-5", me, -EINVAL), 0);
	assert_int_equal(watchdog("99999999999999999999999", me, -EINVAL), 0);
	assert_int_equal(watchdog("30000000", "me", -EINVAL), 0);
}

static void bad_addresses(void **state)
{
	char longest[120];
	static const char *const bad[] = {"", "@", "/", "relative", "vsock:2:1234"};
	struct amp_notify n;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		setenv("NOTIFY_SOCKET", bad[i], 1);
		assert_int_equal(amp_notify_open(&n), -EINVAL);
		assert_int_equal(amp_notify_send(&n, "READY=1"), 0);
	}
	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	longest[108] = 0;
	setenv("NOTIFY_SOCKET", longest, 1);
	assert_int_equal(amp_notify_open(&n), -ENAMETOOLONG);
	unsetenv("NOTIFY_SOCKET");
	setenv("WATCHDOG_USEC", "1000000", 1);
	assert_int_equal(amp_notify_open(&n), 0);
	assert_int_equal(n.fd, -1);
	assert_int_equal(amp_notify_watchdog_ms(&n), 0); /* nobody would hear of it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(path_socket, setup, teardown),
		cmocka_unit_test_setup_teardown(abstract_socket, setup, teardown),
		cmocka_unit_test_setup_teardown(reloading, setup, teardown),
		cmocka_unit_test_setup_teardown(descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(full, setup, teardown),
		cmocka_unit_test_setup_teardown(watchdog_times, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_addresses, setup, teardown),
	};

	return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
