// SPDX-License-Identifier: BSD-3-Clause
// build: src/proxy/log.c
/* Log lines: fields, what hostile text becomes, the journal's priority, what is suppressed and told. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/log.h"

static int saved, out[2];
static unsigned held;

static int setup(void **state)
{
	(void)state;
	saved = dup(STDERR_FILENO);
	/* nothing to read is a failure, and no wait without an end */
	if (pipe(out) || fcntl(out[0], F_SETFL, O_NONBLOCK))
		return -1;
	return dup2(out[1], STDERR_FILENO) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(out[0]);
	close(out[1]);
	return 0;
}

/* What was written since the last call; at least a line. */
static const char *written(void)
{
	static char text[16384];
	ssize_t n = read(out[0], text, sizeof(text) - 1);

	assert_true(n > 0);
	text[n] = 0;
	return text;
}

static void on_held(void)
{
	held++;
}

static void test_fields(void **state)
{
	const struct amp_log_field f[] = {
		AMP_LOG_TEXT("link", "g"),	AMP_LOG_TEXT("rule", "a b"),
		AMP_LOG_TEXT("left", NULL),	AMP_LOG_TEXT("empty", ""),
		AMP_LOG_TEXT("q", "a\"b\\c=d"), AMP_LOG_NUMBER("n", UINT64_MAX),
		AMP_LOG_NUMBER("zero", 0),	AMP_LOG_END,
	};

	(void)state;
	amp_log_fields(NULL, AMP_LOG_WARN, f, "message %d", 7);
	assert_string_equal(written(),
			    "ampsock-proxy: warning: message 7 link=g rule=\"a b\" empty=\"\" "
			    "q=\"a\\\"b\\\\c=d\" n=18446744073709551615 zero=0\n");
}

/* A line is one line, and of bounded length, whatever is in it. */
static void test_hostile(void **state)
{
	char longer[4000], clean[8];
	struct amp_log_rate many = {0};
	const char *text;

	(void)state;
	amp_log(AMP_LOG_ERROR, "a\nb\033[2Jc\x7f");
	assert_string_equal(written(), "ampsock-proxy: error: a?b?[2Jc?\n");
	/* U+009B is the same to a terminal; U+00A0 and U+045B, which has its last byte, are not */
	amp_log_fields(NULL, AMP_LOG_ERROR,
		       (const struct amp_log_field[]){
			       AMP_LOG_TEXT("k", "\xc2\x9b[J\u00a0\u045b"), AMP_LOG_END},
		       "a\xc2\x85");
	assert_string_equal(written(), "ampsock-proxy: error: a?? k=??[J\u00a0\u045b\n");
	memset(longer, 'y', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	amp_log_fields(NULL, AMP_LOG_ERROR,
		       (const struct amp_log_field[]){AMP_LOG_TEXT("k", "v w"), AMP_LOG_END},
		       "%s", longer);
	text = written();
	assert_int_equal(strlen(text), 2048);
	assert_int_equal(strcspn(text, "\n"), 2047);
	assert_string_equal(text + 2048 - 8, "yy[cut]\n");
	/* the last that fits, and the first that does not */
	longer[2047 - 22] = 0;
	amp_log(AMP_LOG_ERROR, "%s", longer);
	assert_string_equal(written() + 2048 - 4, "yyy\n");
	longer[2047 - 22] = 'y';
	longer[2048 - 22] = 0;
	amp_log(AMP_LOG_ERROR, "%s", longer);
	assert_string_equal(written() + 2048 - 8, "yy[cut]\n");
	/* no half of a character before the mark: 3 bytes, of which the mark would leave 2 */
	longer[2047 - 22 - 5 - 2] = (char)0xe2;
	longer[2047 - 22 - 5 - 1] = (char)0x82;
	longer[2047 - 22 - 5] = (char)0xac;
	amp_log(AMP_LOG_ERROR, "%s", longer);
	assert_string_equal(written() + 2048 - 10, "yy[cut]\n");
	/* fields may be what is too much, and so may the text of what was suppressed */
	longer[2000] = 0;
	amp_log_fields(NULL, AMP_LOG_ERROR,
		       (const struct amp_log_field[]){AMP_LOG_TEXT("k", longer), AMP_LOG_END},
		       "m");
	assert_non_null(strstr(written(), "yyy\n"));
	amp_log_fields(NULL, AMP_LOG_ERROR,
		       (const struct amp_log_field[]){AMP_LOG_TEXT("k", longer),
						      AMP_LOG_TEXT("l", longer), AMP_LOG_END},
		       "m");
	assert_non_null(strstr(written(), "yyy[cut]\n"));
	for (unsigned i = 0; i <= AMP_LOG_BURST; i++)
		amp_log_some(&many, AMP_LOG_ERROR, "%s", longer);
	(void)written();
	(void)amp_log_tell(true);
	text = written();
	assert_non_null(strstr(text, "1 more suppressed, the first of them: yyy"));
	assert_non_null(strstr(text, "yyy[cut]\n"));
	assert_string_equal(amp_log_clean(clean, sizeof(clean), "ab\x80\ncdefgh", 11),
			    "ab??cde");
}

static void test_level(void **state)
{
	enum amp_log_level level;

	(void)state;
	assert_int_equal(amp_log_level_parse("debug", &level), 0);
	assert_int_equal(level, AMP_LOG_DEBUG);
	assert_int_equal(amp_log_level_parse("DEBUG", &level), -EINVAL);
	amp_log_level_set(AMP_LOG_ERROR);
	amp_log(AMP_LOG_WARN, "not this");
	amp_log(AMP_LOG_ERROR, "but this");
	assert_string_equal(written(), "ampsock-proxy: error: but this\n");
	amp_log_level_set(AMP_LOG_INFO);
}

static unsigned lines_with(const char *text, const char *word)
{
	unsigned n = 0;

	while ((text = strstr(text, word)) != NULL) {
		text++;
		n++;
	}
	return n;
}

/* Ten of a kind, then none, then how many more there would have been: also when the kind is gone. */
static void test_suppressed(void **state)
{
	struct amp_log_rate *rate = calloc(1, sizeof(*rate)), other = {0};
	const char *text;

	(void)state;
	held = 0;
	amp_log_on_held(on_held);
	for (unsigned i = 0; i < 25; i++)
		amp_log_some(rate, AMP_LOG_WARN, "flood %u", i);
	assert_int_equal(held, 1);
	amp_log_some(&other, AMP_LOG_WARN, "another kind");
	text = written();
	assert_int_equal(lines_with(text, "flood"), 10);
	assert_int_equal(lines_with(text, "another kind"), 1);
	free(rate);
	assert_true(amp_log_tell(false) > 0); /* its window is not over */
	assert_true(amp_log_tell(false) <= AMP_LOG_WINDOW_MS);
	assert_int_equal(amp_log_tell(true), 0);
	assert_string_equal(written(),
			    "ampsock-proxy: warning: 15 more suppressed, the first of "
			    "them: flood 10\n");
	amp_log_on_held(NULL);
}

/* The next one of the kind, in the next window, tells it. */
static void test_next_window(void **state)
{
	struct amp_log_rate rate = {0};
	const char *text;

	(void)state;
	for (unsigned i = 0; i < 13; i++)
		amp_log_some(&rate, AMP_LOG_INFO, "line");
	(void)written();
	rate.since_ms -= AMP_LOG_WINDOW_MS; /* as if that time had passed */
	amp_log_some(&rate, AMP_LOG_INFO, "line");
	text = written();
	assert_string_equal(text, "ampsock-proxy: info: 3 more like the next one suppressed\n"
				  "ampsock-proxy: info: line\n");
	assert_int_equal(amp_log_tell(true), 0); /* and nobody tells it again */
	amp_log(AMP_LOG_INFO, "end");
	assert_string_equal(written(), "ampsock-proxy: info: end\n");
}

/* More kinds than the table has room for: their counts wait in the kind. */
static void test_many_kinds(void **state)
{
	static struct amp_log_rate rate[40];

	(void)state;
	for (unsigned k = 0; k < 40; k++) {
		for (unsigned i = 0; i < 12; i++)
			amp_log_some(&rate[k], AMP_LOG_INFO, "k");
		(void)written();
	}
	assert_int_equal(rate[39].held_back, 2);
	assert_int_equal(amp_log_tell(true), 0);
	assert_int_equal(lines_with(written(), "2 more suppressed"), 16);
	rate[39].since_ms -= AMP_LOG_WINDOW_MS;
	amp_log_some(&rate[39], AMP_LOG_INFO, "k");
	assert_int_equal(lines_with(written(), "2 more like the next one"), 1);
}

/* In a process of its own: it is found out once. */
static void test_journal(void **state)
{
	struct stat st;
	char text[64];

	(void)state;
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", text, 1);
	amp_log_level_set(AMP_LOG_DEBUG);
	amp_log(AMP_LOG_ERROR, "a");
	amp_log(AMP_LOG_WARN, "b");
	amp_log(AMP_LOG_INFO, "c");
	amp_log(AMP_LOG_DEBUG, "d");
	assert_string_equal(written(),
			    "<3>ampsock-proxy: error: a\n<4>ampsock-proxy: warning: b\n"
			    "<6>ampsock-proxy: info: c\n<7>ampsock-proxy: debug: d\n");
}

/* What somebody asked for is there at every level, and waits for nobody either. */
static void test_counters(void **state)
{
	char whole[2000], text[4096];
	size_t n = 0;
	ssize_t r;

	(void)state;
	memset(whole, 'x', sizeof(whole) - 1);
	whole[sizeof(whole) - 1] = 0;
	amp_log_level_set(AMP_LOG_ERROR);
	amp_log_counters("link=%s", "g");
	assert_string_equal(written(), "ampsock-proxy: counters: link=g\n");
	/* the pipe is full long before, and a write would not return: the test would not end */
	while (n++ < 100)
		amp_log_counters("%s", whole);
	assert_int_equal(fcntl(out[0], F_SETFL, O_NONBLOCK), 0);
	for (n = 0; (r = read(out[0], text, sizeof(text))) > 0; n += (size_t)r)
		;
	assert_int_equal(fcntl(out[0], F_SETFL, 0), 0);
	assert_true(n > 0 && n < 100 * sizeof(whole));
	amp_log_counters("there");
	assert_non_null(strstr(written(), " lines were lost here"));
	amp_log_level_set(AMP_LOG_INFO);
}

/* The log's file system is full, and then it is not: a line says how many were lost. */
static void test_full(void **state)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	const char *text;

	(void)state;
	assert_true(full >= 0);
	assert_true(dup2(full, STDERR_FILENO) >= 0);
	amp_log(AMP_LOG_ERROR, "one");
	amp_log(AMP_LOG_ERROR, "two");
	assert_true(dup2(out[1], STDERR_FILENO) >= 0);
	close(full);
	amp_log(AMP_LOG_ERROR, "three");
	text = written();
	assert_non_null(strstr(text, "2 lines were lost here"));
	assert_non_null(strstr(text, "error: three\n"));
	assert_null(strstr(text, "two"));
	amp_log(AMP_LOG_ERROR, "four");
	assert_string_equal(written(), "ampsock-proxy: error: four\n");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),	    cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_level),	    cmocka_unit_test(test_suppressed),
		cmocka_unit_test(test_next_window), cmocka_unit_test(test_many_kinds),
		cmocka_unit_test(test_full),	    cmocka_unit_test(test_counters),
	};
	const struct CMUnitTest journal[] = {cmocka_unit_test(test_journal)};
	char *again[] = {argv[0], (char *)"journal", NULL};

	if (argc > 1)
		return cmocka_run_group_tests_name("journal", journal, setup, teardown);
	if (cmocka_run_group_tests_name("log", tests, setup, teardown))
		return 1;
	fflush(stdout);
	execv("/proc/self/exe", again);
	return 1;
}
