// SPDX-License-Identifier: BSD-3-Clause
/* What the helper refuses: messages that are none, and paths and addresses that no rule names. */
// build: src/proxy/helper_msg.c src/proxy/helper_allow.c src/proxy/config.c src/proxy/config_link.c src/proxy/config_check.c
// build: src/proxy/config_join.c src/proxy/config_proxy.c src/proxy/config_source.c src/proxy/limit.c
// build: src/proxy/rule.c src/proxy/rule_text.c src/proxy/rule_addr.c src/proxy/host_addr.c src/proxy/log.c -linih -lbsd
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/helper_msg.h"

static struct amp_config conf;

static int read_config(void **state)
{
	static const char text[] =
		"[link v]\ntype = vhost-user-vsock\npath = /run/v.sock\ncid = 3\n"
		"publish = unix /run/pub -> vsock:1\npublish = tcp 192.0.2.1:80 -> vsock:2\n"
		"expose = vsock:6000 -> unix /run/exp\nallow = in udp 192.0.2.1:53\n"
		"[link r]\ntype = rpmsg-shm\npath = /dev/shm/ram\nda = 0x1000\nelf = "
		"/lib/fw.elf\n"
		"bell = unix:/run/bell\n"
		"[link c]\ntype = rpmsg-char\npath = /dev/rpmsg_ctrl0\n";
	FILE *f = fmemopen((void *)(uintptr_t)text, sizeof(text) - 1, "r");

	(void)state;
	amp_config_init(&conf);
	assert_non_null(f);
	assert_int_equal(amp_config_stream(&conf, f, "test", stderr), 0);
	assert_int_equal(amp_config_check(&conf, stderr), 0);
	fclose(f);
	return 0;
}

static int free_config(void **state)
{
	(void)state;
	amp_config_free(&conf);
	return 0;
}

static const struct purpose {
	enum amp_helper_kind kind;
	const char *path;
} named[] = {
	{AMP_HELPER_VHOST, "/run/v.sock"},	{AMP_HELPER_PUBLISH, "/run/pub"},
	{AMP_HELPER_EXPOSE, "/run/exp"},	{AMP_HELPER_BELL, "/run/bell"},
	{AMP_HELPER_MEMORY, "/dev/shm/ram"},	{AMP_HELPER_ELF, "/lib/fw.elf"},
	{AMP_HELPER_RCHAR, "/dev/rpmsg_ctrl0"},
};
#define NAMED (sizeof(named) / sizeof(*named))

/* A path is had for what the configuration has it for, and for nothing else. */
static void test_paths(void **state)
{
	static const char *const others[] = {
		"",
		"/",
		"/etc/shadow",
		"/run",
		"/run/",
		"/run/v.sock/",
		"/run/../run/v.sock",
		"/run/v.soc",
		"/run/v.sockx",
		"/dev/rpmsg_ctrl",
		"/dev/rpmsg_ctrl01",
		"run/v.sock",
	};

	(void)state;
	for (unsigned kind = 0; kind < AMP_HELPER_KINDS + 2u; kind++) {
		for (size_t i = 0; i < NAMED; i++) {
			bool has = amp_helper_names(&conf, (enum amp_helper_kind)kind,
						    named[i].path) != NULL;

			assert_int_equal(has, kind == (unsigned)named[i].kind);
		}
		for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
			assert_null(
				amp_helper_names(&conf, (enum amp_helper_kind)kind, others[i]));
	}
}

static bool may_bind(bool tcp, const char *addr, uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

	assert_int_equal(inet_pton(AF_INET, addr, &in.sin_addr), 1);
	return amp_helper_may_bind(&conf, tcp, (struct sockaddr *)&in, sizeof(in));
}

static void test_binds(void **state)
{
	(void)state;
	assert_true(may_bind(true, "192.0.2.1", 80));
	assert_true(may_bind(false, "192.0.2.1", 53));
	assert_false(may_bind(false, "192.0.2.1", 80));
	assert_false(may_bind(true, "192.0.2.1", 53));
	assert_false(may_bind(true, "192.0.2.1", 81));
	assert_false(may_bind(true, "192.0.2.2", 80));
	assert_false(may_bind(true, "0.0.0.0", 80));
}

static struct amp_helper_req good(uint32_t op, uint32_t kind, const char *path)
{
	struct amp_helper_req req = {
		.magic = AMP_HELPER_MAGIC, .op = op, .id = 1, .kind = kind};

	strcpy(req.path, path);
	return req;
}

static int check(const struct amp_helper_req *req)
{
	return amp_helper_check(req, sizeof(*req), false, 0);
}

static void test_good(void **state)
{
	struct amp_helper_req req = good(AMP_HELPER_OPEN, AMP_HELPER_MEMORY, "/dev/shm/ram");
	struct sockaddr_in in = {.sin_family = AF_INET};

	(void)state;
	assert_int_equal(check(&req), 0);
	req = good(AMP_HELPER_ATTR, AMP_HELPER_RCHAR, "/dev/rpmsg_ctrl0");
	strcpy(req.name, "svc.-1.1024");
	assert_int_equal(check(&req), 0);
	req = good(AMP_HELPER_BIND, 0, "");
	memcpy(&req.sa, &in, sizeof(in));
	req.sa_len = sizeof(in);
	assert_int_equal(amp_helper_check(&req, sizeof(req), false, 1), 0);
	req = good(AMP_HELPER_RESOLVE, 0, "example.com");
	assert_int_equal(amp_helper_check(&req, sizeof(req), true, 0), 0);
}

static void test_malformed(void **state)
{
	struct amp_helper_req req = good(AMP_HELPER_OPEN, AMP_HELPER_MEMORY, "/dev/shm/ram");
	const struct amp_helper_req ok = req;

	(void)state;
	for (size_t len = 0; len < sizeof(req); len++)
		assert_int_equal(amp_helper_check(&req, len, false, 0), -EBADMSG);
	req.magic++;
	assert_int_equal(check(&req), -EBADMSG);
	req = ok;
	memset(req.path, 'x', sizeof(req.path));
	assert_int_equal(check(&req), -EBADMSG);
	req = ok;
	memset(req.name, 'x', sizeof(req.name));
	assert_int_equal(check(&req), -EBADMSG);
	req = ok;
	req.path[0] = 0;
	assert_int_equal(check(&req), -EINVAL);
	assert_int_equal(amp_helper_check(&ok, sizeof(ok), false, 1),
			 -EINVAL); /* with a descriptor */
	assert_int_equal(amp_helper_check(&ok, sizeof(ok), true, 0),
			 -EINVAL); /* on the other socket */
}

/* Operation and purpose go together or not at all, and the other socket's are none. */
static void test_mismatch(void **state)
{
	struct amp_helper_req req;

	(void)state;
	for (uint32_t kind = 0; kind < AMP_HELPER_KINDS + 4u; kind++) {
		req = good(AMP_HELPER_OPEN, kind, "/x");
		assert_int_equal(check(&req) == 0,
				 kind == AMP_HELPER_MEMORY || kind == AMP_HELPER_ELF);
		req = good(AMP_HELPER_CREATE, kind, "/x");
		assert_int_equal(check(&req) == 0, kind == AMP_HELPER_RCHAR);
	}
	for (uint32_t op = AMP_HELPER_CALLS; op < 300; op++) {
		req = good(op, AMP_HELPER_MEMORY, "/x");
		assert_int_equal(check(&req), -EINVAL);
	}
	req = good(UINT32_MAX, AMP_HELPER_RCHAR, "/x");
	assert_int_equal(check(&req), -EINVAL);
	req = good(0, AMP_HELPER_RCHAR, "/x");
	assert_int_equal(check(&req), -EINVAL);
}

/* An entry of one directory: not a way out of it. */
static void test_entries(void **state)
{
	static const char *const bad[] = {"", "..", "../x", "a/b", "/etc/passwd", "a..b/"};
	struct amp_helper_req req = good(AMP_HELPER_ATTR, AMP_HELPER_RCHAR, "/dev/rpmsg_ctrl0");

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		strcpy(req.name, bad[i]);
		assert_int_equal(check(&req), -EINVAL);
	}
}

static void test_addresses(void **state)
{
	static const struct {
		sa_family_t family;
		uint32_t len;
	} bad[] = {
		{AF_UNIX, sizeof(struct sockaddr_in)},
		{AF_NETLINK, 12},
		{AF_INET, 0},
		{AF_INET, sizeof(struct sockaddr_in) - 1},
		{AF_INET, sizeof(struct sockaddr_in6)},
		{AF_INET6, sizeof(struct sockaddr_in)},
		{AF_INET, UINT32_MAX},
		{AF_INET6, sizeof(struct sockaddr_storage)},
		{AF_UNSPEC, sizeof(struct sockaddr_in)},
	};
	struct amp_helper_req req = good(AMP_HELPER_BIND, 0, "");

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		req.sa.ss_family = bad[i].family;
		req.sa_len = bad[i].len;
		req.op = AMP_HELPER_BIND;
		assert_int_equal(amp_helper_check(&req, sizeof(req), false, 1), -EINVAL);
		req.op = AMP_HELPER_NAME;
		assert_int_equal(amp_helper_check(&req, sizeof(req), true, 0), -EINVAL);
	}
}

/* Whatever passes has strings with an end, a known operation and a length that fits. */
static void test_noise(void **state)
{
	struct amp_helper_req req;
	unsigned passed = 0;

	(void)state;
	srandom(1);
	for (unsigned n = 0; n < 200000; n++) {
		uint8_t *p = (uint8_t *)&req;
		bool news = n & 1;

		req = good((uint32_t)(random() % 48), (uint32_t)(random() % 16), "/run/v.sock");
		for (long i = random() % 8; i > 0; i--)
			p[random() % (long)sizeof(req)] = (uint8_t)random();
		if (amp_helper_check(&req, sizeof(req), news, (unsigned)random() % 2))
			continue;
		passed++;
		assert_non_null(memchr(req.path, 0, sizeof(req.path)));
		assert_non_null(memchr(req.name, 0, sizeof(req.name)));
		assert_true(news ? req.op >= AMP_HELPER_RESOLVE : req.op < AMP_HELPER_CALLS);
		assert_true(req.kind < AMP_HELPER_KINDS);
	}
	assert_true(passed > 100);
}

/* More descriptors than one, and one where there is no room: none stays open. */
static void test_descriptors(void **state)
{
	struct amp_helper_req req = good(AMP_HELPER_OPEN, AMP_HELPER_MEMORY, "/x"), got;
	union {
		char space[CMSG_SPACE(3 * sizeof(int))];
		struct cmsghdr align;
	} ctl = {{0}};
	struct iovec iov = {&req, sizeof(req)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = ctl.space,
			     .msg_controllen = sizeof(ctl.space)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int pair[2], fds[3] = {0, 1, 2}, fd, before, after;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(c), fds, sizeof(fds));
	before = dup(0);
	close(before);
	assert_int_equal(sendmsg(pair[0], &msg, 0), sizeof(req));
	assert_int_equal(amp_helper_recv(pair[1], &got, sizeof(got), &fd), sizeof(req));
	assert_true(fd >= 0);
	close(fd);
	after = dup(0);
	close(after);
	assert_int_equal(after, before);
	assert_int_equal(amp_helper_send(pair[0], &req, sizeof(req), 0), 0);
	assert_int_equal(amp_helper_recv(pair[1], &got, sizeof(got) - 1, &fd), -EBADMSG);
	assert_int_equal(fd, -1);
	close(pair[0]);
	assert_int_equal(amp_helper_recv(pair[1], &got, sizeof(got), &fd), 0);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),	    cmocka_unit_test(test_binds),
		cmocka_unit_test(test_good),	    cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_mismatch),    cmocka_unit_test(test_entries),
		cmocka_unit_test(test_addresses),   cmocka_unit_test(test_noise),
		cmocka_unit_test(test_descriptors),
	};

	return cmocka_run_group_tests(tests, read_config, free_config);
}
