// SPDX-License-Identifier: BSD-3-Clause
/* The helper's end of the way by which a worker has descriptors kept: whatever comes along. */
// build: src/proxy/kept_worker.c src/proxy/kept.c src/proxy/helper_msg.c src/proxy/activated.c
// build: src/proxy/rule.c src/proxy/rule_text.c src/proxy/rule_addr.c src/proxy/host_addr.c src/proxy/log.c -lbsd
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/activated.h"
#include "proxy/confine.h"
#include "proxy/helper_msg.h"
#include "proxy/kept.h"
#include "proxy/kept_msg.h"

#define PUT 1u
#define MAX 4u

static int pair[2];

/* Neither a service manager nor a confinement here. */
void amp_helper_manager_tell(const char *text, int fd)
{
	(void)text;
	(void)fd;
}

void amp_confine_keep(int fd)
{
	(void)fd;
}

static unsigned open_cnt(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* A worker's message with cnt descriptors, cut or filled with zeros to len bytes. */
static void put(const char *name, unsigned cnt, size_t len)
{
	struct {
		uint32_t magic, op;
		char name[AMP_KEPT_NAME];
		char more[64];
	} text = {.magic = 0x6b706d61u, .op = PUT};
	struct iovec iov = {&text, len};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(MAX * sizeof(int))];
	} ctl;
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	int fds[MAX] = {1, 1, 1, 1};

	strcpy(text.name, name);
	memset(&ctl, 0, sizeof(ctl));
	if (cnt) {
		ctl.head.cmsg_level = SOL_SOCKET;
		ctl.head.cmsg_type = SCM_RIGHTS;
		ctl.head.cmsg_len = CMSG_LEN(cnt * sizeof(int));
		memcpy(CMSG_DATA(&ctl.head), fds, cnt * sizeof(int));
		m.msg_control = &ctl;
		m.msg_controllen = CMSG_SPACE(cnt * sizeof(int));
	}
	assert_int_equal(sendmsg(pair[1], &m, 0), len);
}

#define LEN (8u + AMP_KEPT_NAME)

static void test_extra(void **state)
{
	unsigned before = open_cnt();
	bool upgrade = false;

	(void)state;
	for (unsigned cnt = 0; cnt <= MAX; cnt++) {
		put("a", cnt, LEN);
		assert_true(amp_kept_serve(pair[0], &upgrade));
		amp_kept_remove("a");
		assert_int_equal(open_cnt(), before);
	}
	for (unsigned cnt = 0; cnt <= MAX; cnt++) { /* no name, too short, too long */
		put("no/name", cnt, LEN);
		put("a", cnt, LEN - 1);
		put("a", cnt, LEN + 1);
		for (unsigned i = 0; i < 3; i++)
			assert_true(amp_kept_serve(pair[0], &upgrade));
		assert_false(amp_kept_remove("a"));
		assert_int_equal(open_cnt(), before);
	}
	put("+unix-0123456789abcdef", 1, LEN); /* the helper's own names */
	put("+given-0123456789abcdef", 1, LEN);
	for (unsigned i = 0; i < 2; i++)
		assert_true(amp_kept_serve(pair[0], &upgrade));
	assert_false(amp_kept_remove("+unix-0123456789abcdef"));
	assert_false(amp_kept_remove("+given-0123456789abcdef"));
	assert_int_equal(open_cnt(), before);
	assert_false(upgrade);
	assert_false(amp_kept_serve(pair[0], &upgrade));
}

/* No room for it: it is said, what comes behind it is served. */
static void test_no_room(void **state)
{
	struct rlimit old, rl;
	bool upgrade = false;
	int fd = dup(1);

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	rl = old;
	rl.rlim_cur = (rlim_t)fd;
	close(fd);
	put("a", 1, LEN);
	put("b", 1, LEN);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &rl), 0);
	assert_true(amp_kept_serve(pair[0], &upgrade));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_true(amp_kept_serve(pair[0], &upgrade));
	assert_false(amp_kept_remove("a"));
	assert_true(amp_kept_remove("b"));
}

/* A sealed file as a helper leaves it, with text behind the line of the process. */
static int table_file(const char *magic, pid_t pid, const char *text, bool sealed)
{
	int fd = memfd_create("table", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_true(dprintf(fd, "%s\n%d process\n%s", magic, (int)pid, text) > 0);
	if (sealed)
		assert_int_equal(
			fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
	return fd;
}

static void set_env(int fd, const char *behind)
{
	char text[32];

	snprintf(text, sizeof(text), "%d%s", fd, behind);
	assert_int_equal(setenv(AMP_KEPT_ENV, text, 1), 0);
}

#define GOOD "ampsock kept 2"

/* What is not such a table gives nothing, and takes nothing that is kept already. */
static void test_bad_table(void **state)
{
	static const char *const lines[] = {
		"x\n", "1 a\n", "%d +bad/name\n", "%d stored\n", "%d b", "%d b\n%d c\n", "\n",
	};
	unsigned before = open_cnt();
	char text[64];
	FILE *f;
	int fd;

	(void)state;
	assert_int_equal(amp_kept_add("stored", dup(1)), 0);
	set_env(-1, "");
	assert_int_equal(amp_kept_load(), 1);
	assert_null(getenv(AMP_KEPT_ENV));
	set_env(1000, "");
	assert_int_equal(amp_kept_load(), 1);
	set_env(1, "x");
	assert_int_equal(amp_kept_load(), 1);
	fd = table_file(GOOD, getpid(), "", false);
	set_env(fd, "");
	assert_int_equal(amp_kept_load(), 1);
	close(fd);
	/* nor one that has no seals at all */
	f = tmpfile();
	assert_non_null(f);
	fd = dup(1);
	assert_true(fprintf(f, "%s\n%d process\n%d a\n", GOOD, (int)getpid(), fd) > 0);
	assert_int_equal(fflush(f), 0);
	set_env(fileno(f), "");
	assert_int_equal(amp_kept_load(), 1);
	fclose(f);
	close(fd);
	set_env(table_file("ampsock kept 1", getpid(), "", true), "");
	assert_int_equal(amp_kept_load(), 1);
	set_env(table_file(GOOD, getpid() + 1, "", true), "");
	assert_int_equal(amp_kept_load(), 1);
	for (unsigned i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		int first = dup(1), n;

		fd = dup(1);
		n = snprintf(text, sizeof(text), "0 filter-%016x\n%d first\n", i + 1, first);
		/* at most two descriptors in a line: the same one */
		snprintf(text + n, sizeof(text) - (size_t)n, lines[i], fd, fd);
		set_env(table_file(GOOD, getpid(), text, true), "");
		assert_int_equal(amp_kept_load(), 1);
		assert_int_equal(fcntl(first, F_GETFD), -1);
		assert_false(amp_kept_has_filter(i + 1));
		if (fcntl(fd, F_GETFD) >= 0)
			close(fd);
	}
	assert_int_equal(open_cnt(), before + 1);
	/* and a good one */
	fd = dup(1);
	snprintf(text, sizeof(text), "0 filter-%016x\n%d first\n", 77, fd);
	set_env(table_file(GOOD, getpid(), text, true), "");
	assert_int_equal(amp_kept_load(), 2);
	assert_true(amp_kept_has_filter(77));
	assert_true(amp_kept_remove("first"));
	assert_true(amp_kept_remove("stored"));
	assert_int_equal(open_cnt(), before);
}

static int listener(uint16_t *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*port = in.sin_port;
	return fd;
}

static void serve_all(unsigned cnt)
{
	bool upgrade;

	while (cnt--)
		assert_true(amp_kept_serve(pair[1], &upgrade));
}

/* Three that are for the same, of which one goes, and one becomes another: a successor finds the rest. */
static void test_any_gap(void **state)
{
	struct sockaddr_in any = {.sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	uint16_t port[3], got;
	unsigned before = open_cnt();
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	int fd[3], now;
	char text[256];

	(void)state;
	amp_kept_clear();
	amp_kept_join(pair[0]);
	for (unsigned i = 0; i < 3; i++) {
		fd[i] = listener(&port[i]);
		amp_kept_put_any(fd[i], "same");
	}
	serve_all(3);
	amp_kept_drop_socket(fd[0]);
	amp_kept_put_any(fd[1], "other");
	serve_all(3);			   /* one goes, one comes, and is no more what it was */
	for (unsigned i = 1; i < 3; i++) { /* they are the next worker's, from here on */
		amp_kept_drop_socket(fd[i]);
		assert_true(recv(pair[1], text, sizeof(text), 0) > 0);
	}
	for (unsigned i = 0; i < 3; i++)
		close(fd[i]);
	for (unsigned i = 1; i < 3; i++) {
		now = amp_kept_take_any(SOCK_STREAM, (struct sockaddr *)&any,
					i == 1 ? "other" : "same");
		assert_true(now >= 0);
		assert_int_equal(getsockname(now, (struct sockaddr *)&in, &len), 0);
		got = in.sin_port;
		assert_int_equal(got, port[i]);
		amp_kept_drop_socket(now);
		assert_true(recv(pair[1], text, sizeof(text), 0) > 0);
		close(now);
	}
	assert_int_equal(amp_kept_take_any(SOCK_STREAM, (struct sockaddr *)&any, "same"), -1);
	assert_int_equal(open_cnt(), before);
	amp_kept_join(-1);
	amp_kept_clear();
}

/* As many as there are, though the first of them are taken already and their names are not there. */
static void test_any_many(void **state)
{
	enum { MANY = AMP_KEPT_SAME + 6 };
	struct sockaddr_in any = {.sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	unsigned before = open_cnt();
	int fd[MANY];
	char text[256];
	uint16_t port;

	(void)state;
	amp_kept_clear();
	amp_kept_join(pair[0]);
	for (unsigned i = 0; i < MANY; i++) {
		fd[i] = listener(&port);
		amp_kept_put_any(fd[i], "same");
		serve_all(1);
	}
	for (unsigned i = 0; i < MANY; i++) { /* the next worker's, from here on */
		amp_kept_drop_socket(fd[i]);
		assert_true(recv(pair[1], text, sizeof(text), 0) > 0);
		close(fd[i]);
	}
	for (unsigned i = 0; i < MANY; i++) {
		fd[i] = amp_kept_take_any(SOCK_STREAM, (struct sockaddr *)&any, "same");
		assert_true(fd[i] >= 0);
	}
	assert_int_equal(amp_kept_take_any(SOCK_STREAM, (struct sockaddr *)&any, "same"), -1);
	for (unsigned i = 0; i < MANY; i++) {
		amp_kept_drop_socket(fd[i]);
		assert_true(recv(pair[1], text, sizeof(text), 0) > 0);
		close(fd[i]);
	}
	assert_int_equal(open_cnt(), before);
	amp_kept_join(-1);
	amp_kept_clear();
}

static char the_name[AMP_KEPT_NAME];

static void name_it(const char *name, int fd, void *ctx)
{
	(void)fd;
	(void)ctx;
	strcpy(the_name, name);
}

/* A manager's socket is one that it has passed, and no worker drops it. */
static void test_lent(void **state)
{
	int passed = socket(AF_INET, SOCK_STREAM, 0), other = socket(AF_INET, SOCK_STREAM, 0);
	unsigned before = open_cnt();
	char name[AMP_KEPT_NAME];
	bool upgrade;

	(void)state;
	assert_int_equal(amp_activated_adopt(passed), 0);
	amp_kept_join(pair[0]);
	amp_kept_put_lent(other);
	serve_all(1);
	assert_int_equal(open_cnt(), before);
	amp_kept_put("+lent-0123456789abcdef", passed); /* under another name */
	serve_all(1);
	assert_int_equal(open_cnt(), before);
	amp_kept_put_lent(passed);
	amp_kept_put_lent(passed);
	serve_all(2);
	assert_int_equal(open_cnt(), before + 1);
	the_name[0] = '\0';
	amp_kept_each(name_it, NULL);
	strcpy(name, the_name);
	amp_kept_drop(name);
	assert_true(amp_kept_serve(pair[1], &upgrade));
	assert_int_equal(open_cnt(), before + 1);
	amp_kept_join(-1);
	amp_kept_clear();
	amp_activated_close();
	close(other);
}

/* What a newer program has left is not closed without a word. */
static void test_newer(void **state)
{
	static const char *const names[] = {"+later-0123456789abcdef",
					    "+stream-0123456789abcdef", "g-mem0-7",
					    "+lent-0123456789abcdef"};
	int out[2], saved = dup(STDERR_FILENO);
	char said[2048];
	ssize_t n;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(amp_kept_add(names[i], dup(1)), 0);
	assert_int_equal(pipe2(out, O_NONBLOCK), 0);
	assert_true(dup2(out[1], STDERR_FILENO) >= 0);
	amp_kept_settle();
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	n = read(out[0], said, sizeof(said) - 1);
	assert_true(n > 0);
	said[n] = '\0';
	assert_non_null(strstr(said, "+later-0123456789abcdef, kept by the program before"));
	assert_ptr_equal(strchr(said, '\n'), said + n - 1); /* and of nothing else */
	close(saved);
	close(out[0]);
	close(out[1]);
}

/* The helper reads on when the loop's alarm has gone off so often. */
static volatile sig_atomic_t alarms;

static void on_alarm(int num)
{
	char text[256];

	(void)num;
	if (++alarms == 8 && recv(pair[0], text, sizeof(text), MSG_DONTWAIT) < 0)
		abort();
}

/* A helper that is busy is waited for, however often the alarm interrupts that. */
static void test_slow_helper(void **state)
{
	const struct sigaction sa = {.sa_handler = on_alarm};
	const struct itimerval every = {{.tv_usec = 5000}, {.tv_usec = 5000}},
			       never = {{0}, {0}};
	char text[256];
	bool last = false;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	amp_kept_join(pair[1]);
	while (send(pair[1], text, sizeof(text), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(sigaction(SIGALRM, &sa, NULL), 0);
	setitimer(ITIMER_REAL, &every, NULL);
	amp_kept_drop("last");
	setitimer(ITIMER_REAL, &never, NULL);
	while (recv(pair[0], text, sizeof(text), MSG_DONTWAIT) > 0)
		last |= memcmp(text + 8, "last", 5) == 0;
	assert_true(last);
	amp_kept_join(-1);
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_extra),	  cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_bad_table), cmocka_unit_test(test_any_gap),
		cmocka_unit_test(test_any_many),  cmocka_unit_test(test_lent),
		cmocka_unit_test(test_newer),	  cmocka_unit_test(test_slow_helper),
	};

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
