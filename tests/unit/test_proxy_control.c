// SPDX-License-Identifier: BSD-3-Clause
// build: src/proxy/control_json.c -lcjson
/* Requests of the control socket: what is one, what is none, and that nothing else happens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/control_inner.h"

static struct amp_ctl_req req;

static const char *parse(const char *text)
{
	return amp_ctl_parse(text, strlen(text), &req);
}

static void test_good(void **state)
{
	(void)state;
	assert_null(parse(
		"{\"cmd\":\"capture\",\"link\":\"g\",\"count\":4294967295,\"snap\":65535}"));
	assert_string_equal(req.cmd, "capture");
	assert_string_equal(req.link, "g");
	assert_int_equal(req.count, UINT32_MAX);
	assert_int_equal(req.snap, 65535);
	assert_int_equal(req.given, 1u << AMP_CTL_CMD | 1u << AMP_CTL_LINK |
					    1u << AMP_CTL_COUNT | 1u << AMP_CTL_SNAP);
	assert_null(parse(
		" {\t\"rule\" : \"tcp [::1]:1 -> {\\\"\\u00e9\\\\\" , \"cmd\":\"x\"} \r"));
	assert_string_equal(req.rule, "tcp [::1]:1 -> {\"\xc3\xa9\\");
	assert_null(parse("{\"cmd\":\"\xe2\x82\xac\xf0\x9f\x98\x80\"}"));
	/* the last that fits */
	assert_null(parse("{\"cmd\":\"1234567890123456789012345678901\"}"));
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{"", "one JSON object"},
		{"{}", "cmd"},
		{"{\"link\":\"g\"}", "cmd"},
		{"{\"cmd\":\"a\"}x", "one JSON object"},
		{"{\"cmd\":\"a\",}", "one JSON object"},
		{"{\"cmd\":\"a\" \"link\":\"g\"}", "one JSON object"},
		{"{\"cmd\":\"a\",\"cmd\":\"a\"}", "twice"},
		{"{\"cmd\":\"a\",\"c\\u006dd\":\"a\"}", "twice"},
		{"{\"CMD\":\"a\"}", "no request has"},
		{"{\"cmd\":\"a\",\"\":0}", "no request has"},
		{"{\"cmd\":[]}", "flat"},
		{"{\"cmd\":{}}", "flat"},
		{"[{\"cmd\":\"a\"}]", "flat"},
		{"{\"cmd\":7}", "string"},
		{"{\"cmd\":null}", "string"},
		{"{\"cmd\":\"12345678901234567890123456789012\"}", "at most 31 bytes"},
		{"{\"cmd\":\"a\",\"count\":-0.5}", "whole number"},
		{"{\"cmd\":\"a\",\"count\":4294967296}", "whole number"},
		{"{\"cmd\":\"a\",\"count\":1e999}", "whole number"},
		{"{\"cmd\":\"a\",\"count\":true}", "whole number"},
		{"{\"cmd\":\"a\",\"snap\":65536}", "65535"},
		{"{\"cmd\":\"a\\u0000b\"}", "NUL"},
		{"{\"cmd\":\"a\tb\"}", "control character"},
		{"{\"cmd\":\"a\"\v}", "control character"},
		{"{\"cmd\":\"\x80\"}", "UTF-8"},
		{"{\"cmd\":\"\xc1\x81\"}", "UTF-8"},
		{"{\"cmd\":\"\xe0\x80\x80\"}", "UTF-8"},
		{"{\"cmd\":\"\xf4\x90\x80\x80\"}", "UTF-8"},
		{"{\"cmd\":\"\xe2\x82", "UTF-8"},
		{"{\"cmd\":\"a\\", "one JSON object"},
		{"\"", "one JSON object"},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		const char *why = parse(bad[i].text);

		if (!why || !strstr(why, bad[i].why))
			fail_msg("`%s`: %s", bad[i].text, why ? why : "good");
	}
	assert_non_null(amp_ctl_parse("{\"cmd\":\"a\"}\0", 12, &req));
	assert_non_null(amp_ctl_parse("{\"cmd\":\"a\0\"}", 12, &req));
}

/* What is cut off or changed anywhere is looked at no further than it goes (the sanitizers see). */
static void test_any_bytes(void **state)
{
	static const char text[] = "{\"cmd\":\"publish-add\",\"link\":\"g\",\"rule\":\"tcp "
				   "127.0.0.1:80 -> vsock:5\",\"count\":17,\"snap\":\\u12e4}";
	static const char marks[] = "\"\\{}[],:u0e-+.\x80\xe2\xff\n ";
	unsigned good = 0;

	(void)state;
	srandom(1);
	for (unsigned i = 0; i < 200000; i++) {
		size_t len = (size_t)random() % sizeof(text);
		char *copy = malloc(len + 1);

		memcpy(copy, text, len);
		copy[len] = 0;
		for (long n = random() % 4; n && len; n--)
			copy[(size_t)random() % len] =
				marks[random() % (long)(sizeof(marks) - 1)];
		if (!amp_ctl_parse(copy, len, &req)) {
			good++;
			assert_true(req.given & 1u << AMP_CTL_CMD);
			assert_true(strlen(req.cmd) < sizeof(req.cmd) && req.snap <= 65535);
		}
		free(copy);
	}
	assert_true(good < 1000); /* 0.12e4 is a number, too */
}

static void test_numbers(void **state)
{
	cJSON *o = cJSON_CreateObject();
	char text[64];

	(void)state;
	amp_ctl_number(o, "n", UINT64_MAX);
	assert_true(cJSON_PrintPreallocated(o, text, sizeof(text), false));
	assert_string_equal(text, "{\"n\":18446744073709551615}");
	cJSON_Delete(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_any_bytes),
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
