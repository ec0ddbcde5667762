// SPDX-License-Identifier: BSD-3-Clause
/* The line before a hybrid vsock connection's bytes: in every cut, and what is none. */
// build: src/proxy/hybrid.c src/proxy/rule.c src/proxy/rule_text.c src/proxy/rule_addr.c src/proxy/host_addr.c src/proxy/log.c
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/hybrid.h"

/* text in pieces of step bytes. The result at the last piece; *left: bytes behind the line. */
static int feed(const char *word, const char *text, size_t step, uint32_t *port, size_t *left)
{
	struct amp_hybrid h = {.word = word};
	size_t len = strlen(text), at = 0, used;
	int r = 0;

	while (at < len && r == 0) {
		size_t n = len - at < step ? len - at : step;

		r = amp_hybrid_feed(&h, text + at, n, &used);
		assert_true(used <= n);
		if (r == 0)
			assert_int_equal(used, n);
		at += used;
	}
	*port = h.port;
	*left = len - at;
	return r;
}

static void good(const char *word, const char *text, uint32_t want, size_t behind)
{
	for (size_t step = 1; step <= strlen(text); step++) {
		uint32_t port;
		size_t left;

		assert_int_equal(feed(word, text, step, &port, &left), 1);
		assert_int_equal(port, want);
		assert_int_equal(left, behind);
	}
}

static void bad(const char *word, const char *text)
{
	for (size_t step = 1; step <= strlen(text); step++) {
		uint32_t port;
		size_t left;

		assert_int_equal(feed(word, text, step, &port, &left), -EPROTO);
	}
}

static void lines(void **state)
{
	(void)state;
	good("OK", "OK 1073741824\n", 1073741824, 0);
	good("OK", "OK 0\n", 0, 0);
	good("OK", "ok 4294967295\r\n", UINT32_MAX, 0);
	good("OK", "OK 5\nOK 6\n", 5, 5);
	good("OK", "OK 5\n\n", 5, 1);
	good("CONNECT", "CONNECT 22\nSSH-2.0-x", 22, 9);
	good("CONNECT", "connect \t22 \n", 22, 0);
}

static void no_lines(void **state)
{
	static const char *const texts[] = {
		"\n",
		"OK\n",
		"OK \n",
		"OK x\n",
		"OK -1\n",
		"OK 1 2\n",
		"OK 4294967296\n",
		"OK 1.5\n",
		"OK1\n",
		"O\n",
		"OKAY 1\n",
		"NO 1\n",
		"HTTP/1.1 400\r\n",
		"OK 1\r2\n",
		"OK 00000000001\n",
		"OK \r\n",
		"OK 0x10\n",
		/* too long, and no newline in sight */
		"OK 1                              ",
		"OK                                1\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		bad("OK", texts[i]);
	bad("CONNECT", "GET / HTTP/1.0\r\n");
	bad("CONNECT", "CONNECT host:22 HTTP/1.0\r\n");
}

static void zero_bytes(void **state)
{
	struct amp_hybrid h = {.word = "OK"};
	size_t used;

	(void)state;
	assert_int_equal(amp_hybrid_feed(&h, "OK 1\0\n", 6, &used), -EPROTO);
	h = (struct amp_hybrid){.word = "OK"};
	assert_int_equal(amp_hybrid_feed(&h, "", 0, &used), 0);
	assert_int_equal(used, 0);
	/* as far as it goes: a prefix is no mistake */
	assert_int_equal(amp_hybrid_feed(&h, "OK 12", 5, &used), 0);
}

/* From a socket: what is behind the newline stays in it. */
static void from_socket(void **state)
{
	static const char text[] = "OK 77\nthe bytes";
	char rest[32];
	int s[2];

	(void)state;
	for (size_t cut = 1; cut < sizeof(text) - 1; cut++) {
		struct amp_hybrid h = {.word = "OK"};
		int r;

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s), 0);
		assert_int_equal(amp_hybrid_read(&h, s[0]), -EAGAIN);
		assert_int_equal(send(s[1], text, cut, 0), cut);
		r = amp_hybrid_read(&h, s[0]);
		assert_int_equal(r, cut < 6 ? -EAGAIN : 1);
		assert_int_equal(send(s[1], text + cut, sizeof(text) - 1 - cut, 0),
				 sizeof(text) - 1 - cut);
		if (r != 1)
			assert_int_equal(amp_hybrid_read(&h, s[0]), 1);
		assert_int_equal(h.port, 77);
		assert_int_equal(recv(s[0], rest, sizeof(rest), 0), 9);
		assert_memory_equal(rest, "the bytes", 9);
		close(s[0]);
		close(s[1]);
	}
}

/* The end of the stream before the newline, at each byte of the line. */
static void early_end(void **state)
{
	static const char text[] = "OK 77";
	int s[2];

	(void)state;
	for (size_t len = 0; len < sizeof(text); len++) {
		struct amp_hybrid h = {.word = "OK"};

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s), 0);
		assert_int_equal(send(s[1], text, len, 0), len);
		close(s[1]);
		assert_int_equal(amp_hybrid_read(&h, s[0]), -ECONNREFUSED);
		close(s[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),      cmocka_unit_test(no_lines),
		cmocka_unit_test(zero_bytes), cmocka_unit_test(from_socket),
		cmocka_unit_test(early_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
