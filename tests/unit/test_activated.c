// SPDX-License-Identifier: BSD-3-Clause
/*
 * Sockets from the service manager. They have to be descriptors 3 and up, which in a test are
 * others': every case is a process of its own, as the proxy is one.
 */
// build: src/proxy/activated.c src/proxy/rule.c src/proxy/rule_text.c src/proxy/rule_addr.c src/proxy/host_addr.c src/proxy/log.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/activated.h"

#define CHECK(x)                                                        \
	do {                                                            \
		if (!(x)) {                                             \
			fprintf(stderr, "line %d: %s\n", __LINE__, #x); \
			_exit(1);                                       \
		}                                                       \
	} while (0)

static char path[64];

/* Puts fd at descriptor `to`. */
static void put(int fd, int to)
{
	CHECK(fd >= 0);
	CHECK(dup2(fd, to) == to);
	if (fd != to)
		close(fd);
}

static int tcp(struct sockaddr_in *in)
{
	socklen_t len = sizeof(*in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*in = (struct sockaddr_in){.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	CHECK(bind(fd, (struct sockaddr *)in, len) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)in, &len) == 0);
	return fd;
}

static int unix_listener(struct sockaddr_un *un)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	*un = (struct sockaddr_un){.sun_family = AF_UNIX};
	strcpy(un->sun_path, path);
	unlink(path);
	CHECK(bind(fd, (struct sockaddr *)un, sizeof(*un)) == 0);
	CHECK(listen(fd, 5) == 0);
	return fd;
}

static void variables(const char *fds, const char *names)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", fds, 1);
	unsetenv("LISTEN_FDNAMES");
	if (names)
		setenv("LISTEN_FDNAMES", names, 1);
}

static void said(void *arg, const char *text)
{
	strcat(arg, text);
	strcat(arg, ";");
}

/* Runs fn in a process of its own with nothing open from 3 up. */
static void apart(void (*fn)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		for (int fd = 3; fd < 64; fd++)
			close(fd);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void matched(void)
{
	struct sockaddr_in t, u, other = {.sin_family = AF_INET, .sin_port = htons(1)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	char rest[1024] = "", want[256];
	struct sockaddr_un un;
	int udp;

	put(tcp(&t), 3);
	CHECK(listen(3, 5) == 0);
	put(unix_listener(&un), 4);
	/* UDP at TCP's port */
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	u = t;
	CHECK(bind(udp, (struct sockaddr *)&u, sizeof(u)) == 0);
	put(udp, 5);
	put(tcp(&u), 6); /* bound, and does not listen */
	variables("4", "a:b:c:d");
	CHECK(amp_activated_init() == 4);
	CHECK(!getenv("LISTEN_PID") && !getenv("LISTEN_FDS") && !getenv("LISTEN_FDNAMES"));
	CHECK(fcntl(3, F_GETFD) == FD_CLOEXEC && (fcntl(3, F_GETFL) & O_NONBLOCK));
	in6.sin6_port = t.sin_port;
	CHECK(amp_activated_lend(SOCK_STREAM, (void *)&other) == -ENOENT);
	CHECK(amp_activated_lend(SOCK_STREAM, (void *)&in6) == -ENOENT);
	CHECK(amp_activated_lend(SOCK_DGRAM, (void *)&t) == 7);
	CHECK(amp_activated_lend(SOCK_STREAM, (void *)&t) == 8);
	CHECK(fcntl(8, F_GETFD) == FD_CLOEXEC);
	close(8);
	CHECK(amp_activated_lend(SOCK_STREAM, (void *)&t) == 8); /* and again */
	CHECK(amp_activated_lend(SOCK_STREAM, (void *)&u) == -EPROTOTYPE);
	CHECK(amp_activated_lend(SOCK_STREAM, (void *)&un) == 9);
	CHECK(amp_activated_rest(said, rest) == 1);
	snprintf(want, sizeof(want), "descriptor 6 (d): tcp 127.0.0.1:%u;", ntohs(u.sin_port));
	CHECK(strcmp(rest, want) == 0);
	CHECK(fcntl(6, F_GETFD) < 0 && errno == EBADF);
	CHECK(amp_activated_rest(said, rest) == 0);
	CHECK(amp_activated_lend(SOCK_STREAM, (void *)&un) == 6);
	amp_activated_close();
	CHECK(amp_activated_lend(SOCK_STREAM, (void *)&un) == -ENOENT);
	CHECK(fcntl(3, F_GETFD) < 0 && fcntl(4, F_GETFD) < 0 && fcntl(5, F_GETFD) < 0);
	CHECK(fcntl(6, F_GETFD) >= 0);
}

static void by_name(void)
{
	struct sockaddr_un un;
	char rest[1024] = "";
	int fds[2];

	put(unix_listener(&un), 3);
	CHECK(pipe(fds) == 0);
	CHECK(fds[0] == 4 && fds[1] == 5);
	variables("3", "control:state:state");
	CHECK(amp_activated_init() == 3);
	CHECK(amp_activated_take_name("links") == -ENOENT);
	CHECK(amp_activated_take_name("state") == 4);
	CHECK(amp_activated_take_name("state") == 5);
	CHECK(amp_activated_take_name("state") == -ENOENT);
	CHECK(amp_activated_lend(SOCK_STREAM, (void *)&un) == 6);
	CHECK(amp_activated_rest(said, rest) == 0);
}

/* A connection that was accepted, and kept over a restart: it has its listener's address. */
static void kept(void)
{
	struct sockaddr_un un;
	int fd;

	put(unix_listener(&un), 10);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0);
	put(fd, 11);
	put(accept(10, NULL, NULL), 3);
	variables("1", "link");
	CHECK(amp_activated_init() == 1);
	CHECK(amp_activated_lend(SOCK_STREAM, (void *)&un) == -ENOENT);
	CHECK(amp_activated_take_name("link") == 3);
}

static void strange(void)
{
	char rest[2048] = "";
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/nowhere"};
	int fds[2];

	CHECK(pipe(fds) == 0 && fds[0] == 3);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0 && fds[0] == 5);
	variables("4", NULL);
	CHECK(amp_activated_init() == 4);
	CHECK(amp_activated_lend(SOCK_STREAM, (void *)&un) == -ENOENT);
	CHECK(amp_activated_rest(said, rest) == 4);
	CHECK(strcmp(rest,
		     "descriptor 3 (no name): no socket;descriptor 4 (no name): no socket;"
		     "descriptor 5 (no name): unix (no path);"
		     "descriptor 6 (no name): unix (no path);") == 0);
}

static void refused(void)
{
	char more[16];
	int fds[2];

	CHECK(pipe(fds) == 0 && fds[0] == 3);
	CHECK(amp_activated_init() == 0); /* no variables */
	variables("2", NULL);
	setenv("LISTEN_PID", "1", 1);
	CHECK(amp_activated_init() == 0); /* another's */
	CHECK(!getenv("LISTEN_FDS"));
	variables("x", NULL);
	CHECK(amp_activated_init() == -EINVAL);
	snprintf(more, sizeof(more), "%u", AMP_ACTIVATED_MAX + 1);
	variables(more, NULL);
	CHECK(amp_activated_init() == -EINVAL);
	variables("2", "a");
	CHECK(amp_activated_init() == -EINVAL);
	variables("2", "a:b:c");
	CHECK(amp_activated_init() == -EINVAL);
	variables("3", NULL);
	CHECK(amp_activated_init() == -EBADF);
	CHECK(amp_activated_take_name("a") == -ENOENT);
	CHECK(fcntl(3, F_GETFD) >= 0);
}

static void test_matched(void **state)
{
	(void)state;
	apart(matched);
}

static void test_by_name(void **state)
{
	(void)state;
	apart(by_name);
}

static void test_kept(void **state)
{
	(void)state;
	apart(kept);
}

static void test_strange(void **state)
{
	(void)state;
	apart(strange);
}

static void test_refused(void **state)
{
	(void)state;
	apart(refused);
}

static int setup(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "/tmp/ampsock-activated-%d", (int)getpid());
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matched), cmocka_unit_test(test_by_name),
		cmocka_unit_test(test_kept),	cmocka_unit_test(test_strange),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("activated", tests, setup, teardown);
}
