// SPDX-License-Identifier: BSD-3-Clause
// Addresses as text against glibc's functions, on written, generated and mangled input.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "socket/amp_calls.h"

#define ROUNDS 200000

/* api.c's, without the rest of it. */
int amp_fail(int err)
{
	errno = err;
	return -1;
}

/* Own generator: the same inputs on every machine. */
static uint32_t rnd_state;

static uint32_t rnd(uint32_t below)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 17;
	rnd_state ^= rnd_state << 5;
	return rnd_state % below;
}

static void same_pton(int af, const char *text)
{
	unsigned char ours[16], theirs[16];
	int got, want;

	memset(ours, 0xa5, sizeof(ours));
	memset(theirs, 0xa5, sizeof(theirs));
	want = inet_pton(af, text, theirs);
	got = amp_inet_pton(af, text, ours);
	if (want == 0) /* glibc may have written half an address; ours must not */
		memset(theirs, 0xa5, sizeof(theirs));
	if (got != want || memcmp(ours, theirs, sizeof(ours)) != 0)
		fail_msg("inet_pton(%d, \"%s\"): %d, glibc %d", af, text, got, want);
}

static void same_ntop(int af, const unsigned char *addr)
{
	char ours[64], theirs[64];

	assert_non_null(inet_ntop(af, addr, theirs, sizeof(theirs)));
	assert_ptr_equal(amp_inet_ntop(af, addr, ours, sizeof(ours)), ours);
	assert_string_equal(ours, theirs);
	same_pton(af, ours);
	/* Room for exactly the text and its end, and one byte less. */
	memset(ours, 'x', sizeof(ours));
	assert_non_null(amp_inet_ntop(af, addr, ours, (socklen_t)strlen(theirs) + 1));
	assert_string_equal(ours, theirs);
	memset(ours, 'x', sizeof(ours));
	errno = 0;
	assert_null(amp_inet_ntop(af, addr, ours, (socklen_t)strlen(theirs)));
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(ours[0], 'x');
}

static void same_aton(const char *text)
{
	struct in_addr ours = {.s_addr = 0xa5a5a5a5}, theirs = ours;
	int want = inet_aton(text, &theirs);
	int got = amp_inet_aton(text, &ours);

	/* glibc takes anything behind white space; ours takes nothing behind the address. */
	if (want && strpbrk(text, " \t\n\v\f\r")) {
		want = 0;
		theirs.s_addr = 0xa5a5a5a5;
	}
	if (!want)
		theirs.s_addr = 0xa5a5a5a5;
	if (got != want || ours.s_addr != theirs.s_addr)
		fail_msg("inet_aton(\"%s\"): %d %08x, glibc %d %08x", text, got, ours.s_addr,
			 want, theirs.s_addr);
	assert_int_equal(amp_inet_addr(text), want ? theirs.s_addr : INADDR_NONE);
}

static void same_all(const char *text)
{
	same_pton(AF_INET, text);
	same_pton(AF_INET6, text);
	same_aton(text);
}

static const char *const written[] = {
	"",
	" ",
	".",
	":",
	"::",
	":::",
	"::::",
	"0",
	"00",
	"1",
	"1.",
	"1.2",
	"1.2.3",
	"1.2.3.4",
	"1.2.3.4.",
	"1.2.3.4.5",
	".1.2.3.4",
	"1..2.3",
	"1.2.3.4 ",
	" 1.2.3.4",
	"1.2.3.4x",
	"01.2.3.4",
	"1.2.3.04",
	"0.0.0.0",
	"255.255.255.255",
	"256.1.1.1",
	"1.1.1.256",
	"1.2.3.-4",
	"+1.2.3.4",
	"0x7f.1",
	"0x7f000001",
	"0x",
	"0x.1",
	"0xg",
	"017700000001",
	"08",
	"4294967295",
	"4294967296",
	"99999999999999999999",
	"0xffffffff",
	"0x100000000",
	"037777777777",
	"040000000000",
	"1.16777215",
	"1.16777216",
	"1.2.65535",
	"1.2.65536",
	"127.1",
	"1.2.3.4\n",
	"1.2.3.4 junk",
	"1.2.3.4\tjunk",
	"0000000000000000001.2.3.4",
	"::1",
	"1::",
	"::ffff:1.2.3.4",
	"::1.2.3.4",
	"::1.2.3",
	"::1.2.3.4.5",
	"::1.2.3.256",
	"::01.2.3.4",
	"1.2.3.4::",
	"::1.2.3.4:5",
	"::ffff:1.2.3.4:",
	"1:2:3:4:5:6:7:8",
	"1:2:3:4:5:6:7:8:",
	":1:2:3:4:5:6:7:8",
	"1:2:3:4:5:6:7",
	"1:2:3:4:5:6:7:8:9",
	"1:2:3:4:5:6:7::",
	"1:2:3:4:5:6:7:8::",
	"1:2:3:4:5:6:7:8:::",
	"::2:3:4:5:6:7:8",
	"1:2:3:4::5:6:7:8",
	"1:2:3::5:6:7:8",
	"1:2:3:4:5:6:1.2.3.4",
	"1:2:3:4:5:6:7:1.2.3.4",
	"1:2:3:4:5:6:7:8:1.2.3.4",
	"1:2:3:4:5::1.2.3.4",
	"1:2:3:4:5:6::1.2.3.4",
	"::1:2:3:4:5:6:1.2.3.4",
	"1::2::3",
	"1:::2",
	"12345::",
	"::12345",
	"::00001",
	"::0001",
	"::fffff",
	"::g",
	"::G",
	"::ABCD:abcd",
	"1:",
	":1",
	"1:2:",
	"::1:",
	"fe80::1%eth0",
	"fe80::1%1",
	"::/0",
	"::1/128",
	"[::1]",
	"::.1.2.3",
	"::a.1.1.1",
	"::1.a.1.1",
	"1.2.3.4:5",
	"::ffff:0x7f.1",
	"0000:0000:0000:0000:0000:0000:255.255.255.255",
	"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
	"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
};

static void test_written(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(written) / sizeof(written[0]); i++)
		same_all(written[i]);
}

/* Every IPv4 number where it counts, and IPv6 with every pattern of zero groups. */
static void test_binary(void **state)
{
	unsigned char a[16];

	(void)state;
	for (unsigned i = 0; i < 256; i++) {
		memcpy(a, (unsigned char[]){(unsigned char)i, 0, (unsigned char)(255 - i), 10},
		       4);
		same_ntop(AF_INET, a);
	}
	for (unsigned mask = 0; mask < 256; mask++) {
		for (unsigned kind = 0; kind < 4; kind++) {
			for (unsigned g = 0; g < 8; g++) {
				unsigned val = kind == 0   ? 1
					       : kind == 1 ? 0xffff
							   : rnd(65535) + 1;

				val = mask >> g & 1 ? val : 0;
				a[2 * g] = (unsigned char)(val >> 8);
				a[2 * g + 1] = (unsigned char)val;
			}
			same_ntop(AF_INET6, a);
		}
	}
	for (unsigned i = 0; i < ROUNDS / 10; i++) {
		for (unsigned b = 0; b < 16; b++)
			a[b] = rnd(3) ? 0 : (unsigned char)rnd(256);
		same_ntop(AF_INET6, a);
		same_ntop(AF_INET, a);
	}
}

/* Text put together from what addresses are made of: mostly nearly right. */
static void test_pieces(void **state)
{
	static const char *const pieces[] = {
		"0",	"1",	 "00",	      "255", "256",	"ffff",	    "abcd", "12345",
		"0x1f", "077",	 "65535",     "99",  ".",	".",	    ".",    ":",
		":",	":",	 "::",	      "::",  "1.2.3.4", "10.0.0.1", "%1",   " ",
		"g",	"ffff:", "2001:db8:", "0:",  "0:0:",	"-1",
	};
	char text[128];

	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned cnt = rnd(12);

		text[0] = '\0';
		while (cnt--)
			strcat(text, pieces[rnd(sizeof(pieces) / sizeof(pieces[0]))]);
		same_all(text);
	}
}

/* A good address with a few bytes changed, cut or doubled; bytes of all values. */
static void test_mangled(void **state)
{
	char text[128];
	unsigned char a[16];

	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++) {
		int af = rnd(2) ? AF_INET : AF_INET6;
		unsigned hits = rnd(3);
		size_t len;

		for (unsigned b = 0; b < 16; b++)
			a[b] = rnd(2) ? 0 : (unsigned char)rnd(256);
		assert_non_null(inet_ntop(af, a, text, sizeof(text)));
		while (hits--) {
			size_t at = rnd((uint32_t)strlen(text) + 1);

			len = strlen(text);
			switch (rnd(4)) {
			case 0:
				text[at] = "0123456789abcdefABCDEF.:xX%- \n"[rnd(30)];
				text[at == len ? len + 1 : len] = '\0';
				break;
			case 1:
				text[at] = (char)rnd(256);
				text[at == len ? len + 1 : len] = '\0';
				break;
			case 2:
				text[at] = '\0';
				break;
			default:
				memmove(text + at + 1, text + at, len - at + 1);
			}
		}
		same_all(text);
	}
}

static void test_family(void **state)
{
	char text[64];

	(void)state;
	errno = 0;
	assert_int_equal(amp_inet_pton(AF_UNIX, "1.2.3.4", text), -1);
	assert_int_equal(errno, EAFNOSUPPORT);
	errno = 0;
	assert_null(amp_inet_ntop(AF_UNIX, "\1\2\3\4", text, sizeof(text)));
	assert_int_equal(errno, EAFNOSUPPORT);
	errno = 0;
	assert_null(amp_inet_ntop(AF_INET, "\1\2\3\4", text, 0));
	assert_int_equal(errno, ENOSPC);
	assert_string_equal(amp_inet_ntoa((struct in_addr){.s_addr = htonl(0x7f000001)}),
			    "127.0.0.1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_written), cmocka_unit_test(test_binary),
		cmocka_unit_test(test_pieces),	cmocka_unit_test(test_mangled),
		cmocka_unit_test(test_family),
	};

	rnd_state = 2463534242u;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
