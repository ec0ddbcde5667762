// SPDX-License-Identifier: BSD-3-Clause
/* The helper's end of the way by which a worker has descriptors kept: whatever comes along. */
// build: src/proxy/kept_worker.c src/proxy/kept.c src/proxy/helper_msg.c src/proxy/activated.c
// build: src/proxy/rule.c src/proxy/rule_text.c src/proxy/rule_addr.c src/proxy/host_addr.c src/proxy/log.c -lbsd
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

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

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_extra),
		cmocka_unit_test(test_no_room),
	};

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
