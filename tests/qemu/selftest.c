/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Firmware that tests the board itself, no link needed: clock, timer interrupt, sleeping,
 * receive interrupt, errno, and what a link will stand on (selftest-*.c). Prints what
 * tests/qemu/boards reads.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../../boards/board.h"
#include "../../src/port/port.h"
#include "selftest.h"

extern char __tls_end[];

static uint8_t line[64];
static size_t line_len;

void board_prepare(void);
int main(int argc, char **argv);

void board_prepare(void)
{
	board_stdio();
}

void check(const char *what, int good)
{
	printf("%s %s\n", good ? "good" : "BAD", what);
}

#ifdef __PICOLIBC__
/* A thread-local errno must lie in the program's one block of such data. */
static int errno_is_ours(void)
{
	return (char *)&errno >= __tls_base && (char *)&errno < __tls_end;
}
#else
static int errno_is_ours(void)
{
	return 1;
}
#endif

static void test_clock(void)
{
	uint32_t sleeps = amp_baremetal_sleeps();
	uint32_t start = amp_port_now_ms();
	int ret = amp_port_wait(200);
	uint32_t took = amp_port_now_ms() - start;

	/* An emulator on a busy machine wakes late, never early. */
	check("timer", ret == -ETIMEDOUT && took >= 199 && took < 5000);
	check("sleeps",
	      amp_baremetal_sleeps() - sleeps <= 5 && amp_baremetal_sleeps() != sleeps);
	check("look only", amp_port_wait(0) == -ETIMEDOUT);
	amp_port_wake();
	check("wake is kept", amp_port_wait(-1) == 0);
	errno = 0;
	errno = ETIMEDOUT;
	check("errno", errno == ETIMEDOUT && errno_is_ours());
}

static void test_memcpy(void)
{
	static uint8_t from[96], to[96];
	unsigned a, b, n, i;
	int good = 1;

	for (i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(i * 7 + 1);
	for (a = 0; a < 9; a++) {
		for (b = 0; b < 9; b++) {
			for (n = 0; n <= 80; n++) {
				memset(to, 0, sizeof(to));
				memcpy(to + a, from + b, n);
				good &= memcmp(to + a, from + b, n) == 0 && to[a + n] == 0;
			}
		}
	}
	check("memcpy", good);
}

/* A line back for each line, with the time: the other end has a clock of its own. */
static void test_against_another_clock(void)
{
	int c, lines;

	for (lines = 0; lines < 3; lines++) {
		printf("now %lu\n", (unsigned long)amp_port_now_ms());
		while ((c = getchar()) != '\n')
			;
	}
}

static void test_input(void)
{
	int c;

	printf("type\n");
	while ((c = getchar()) != '\n' && line_len < sizeof(line))
		line[line_len++] = (uint8_t)c;
	check("input by interrupt", line_len == 5 && memcmp(line, "hello", 5) == 0);
}

int main(int argc, char **argv)
{
	printf("hello from %s, %d argument(s)\n", argv[0], argc - 1);
	if (argc > 1 && strcmp(argv[1], "fault") == 0)
		((void (*)(void))(uintptr_t)0x30000000)(); /* nothing to execute there */
	test_clock();
	test_memcpy();
	selftest_link(argc > 1 ? argv[1] : "");
	if (argc > 1 && strcmp(argv[1], "input") == 0)
		test_input();
	if (argc > 1 && strcmp(argv[1], "clock") == 0)
		test_against_another_clock();
	printf("done\n");
	return argc > 2 ? 42 : 0;
}
