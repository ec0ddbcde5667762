// SPDX-License-Identifier: BSD-3-Clause
/* PROXY protocol headers, byte for byte as proxy-protocol.txt (2.2) has them. */
// build: src/proxy/proxy_v2.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <cmocka.h>

#include "proxy/proxy_v2.h"

static const uint8_t signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
				      0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

static struct sockaddr_storage in4(const char *ip, uint16_t port)
{
	struct sockaddr_storage ss = {.ss_family = AF_INET};
	struct sockaddr_in *in = (void *)&ss;

	assert_int_equal(inet_pton(AF_INET, ip, &in->sin_addr), 1);
	in->sin_port = htons(port);
	return ss;
}

static struct sockaddr_storage in6(const char *ip, uint16_t port)
{
	struct sockaddr_storage ss = {.ss_family = AF_INET6};
	struct sockaddr_in6 *in = (void *)&ss;

	assert_int_equal(inet_pton(AF_INET6, ip, &in->sin6_addr), 1);
	in->sin6_port = htons(port);
	return ss;
}

static void check(const uint8_t *got, size_t len, uint8_t family, const uint8_t *body,
		  size_t body_len)
{
	assert_int_equal(len, AMP_PP2_HEAD + body_len);
	assert_memory_equal(got, signature, 12);
	assert_int_equal(got[12], family ? 0x21 : 0x20);
	assert_int_equal(got[13], family);
	assert_int_equal(got[14] << 8 | got[15], body_len);
	assert_memory_equal(got + 16, body, body_len);
}

static void tcp4(void **state)
{
	static const uint8_t body[] = {192, 0, 2, 7, 127, 0, 0, 1, 0x30, 0x39, 0x1f, 0x90};
	struct sockaddr_storage a = in4("192.0.2.7", 12345), b = in4("127.0.0.1", 8080);
	uint8_t buf[AMP_PP2_MAX];

	(void)state;
	check(buf, amp_pp2_client(buf, &a, sizeof(a), &b, sizeof(b)), 0x11, body, sizeof(body));
	/* the same through a socket of IPv6 that takes both */
	a = in6("::ffff:192.0.2.7", 12345);
	b = in6("::ffff:127.0.0.1", 8080);
	check(buf, amp_pp2_client(buf, &a, sizeof(a), &b, sizeof(b)), 0x11, body, sizeof(body));
}

static void tcp6(void **state)
{
	static const uint8_t body[36] = {0x20,	   0x01,	0x0d, 0xb8,	   [15] = 7,
					 [31] = 1, [32] = 0x30, 0x39, [34] = 0x1f, 0x90};
	struct sockaddr_storage a = in6("2001:db8::7", 12345), b = in6("::1", 8080);
	uint8_t buf[AMP_PP2_MAX];

	(void)state;
	check(buf, amp_pp2_client(buf, &a, sizeof(a), &b, sizeof(b)), 0x21, body, sizeof(body));
}

static void local_socket(void **state)
{
	struct sockaddr_storage a, b = {.ss_family = AF_UNIX};
	struct sockaddr_un *un = (void *)&b;
	uint8_t buf[AMP_PP2_MAX], body[216] = {0};

	(void)state;
	/* a client without a name: the length says so, and what lies behind it is nobody's */
	memset(&a, 'x', sizeof(a));
	a.ss_family = AF_UNIX;
	memset(un->sun_path, 'y', sizeof(un->sun_path)); /* 108 bytes and no NUL are legal */
	memset(body + 108, 'y', 108);
	check(buf, amp_pp2_client(buf, &a, 2, &b, sizeof(*un)), 0x31, body, sizeof(body));
	memset(body + 108, 0, 108);
	memcpy(body + 108, "/run/x", 6);
	strcpy(un->sun_path, "/run/x");
	check(buf, amp_pp2_client(buf, &a, 2, &b, 2 + 7), 0x31, body, sizeof(body));
}

static void unknown(void **state)
{
	struct sockaddr_storage a = in4("192.0.2.7", 1), b = {.ss_family = AF_UNIX};
	struct sockaddr_storage none = {.ss_family = AF_UNSPEC};
	uint8_t buf[AMP_PP2_MAX];

	(void)state;
	check(buf, amp_pp2_client(buf, &a, sizeof(a), &b, sizeof(b)), 0x00, buf, 0);
	check(buf, amp_pp2_client(buf, &none, 2, &none, 2), 0x00, buf, 0);
}

static void guest(void **state)
{
	static const uint8_t body[] = "\xe0\0\2m4"
				      "\xe1\0\014vsock:3:1024"
				      "\xe2\0\012vsock:6000";
	char longest[200];
	uint8_t buf[AMP_PP2_MAX];

	(void)state;
	check(buf, amp_pp2_guest(buf, "m4", "vsock:3:1024", "vsock:6000"), 0x00, body,
	      sizeof(body) - 1);
	memset(longest, 'n', sizeof(longest));
	longest[199] = 0;
	assert_int_equal(amp_pp2_guest(buf, longest, longest, longest),
			 AMP_PP2_HEAD + 3 * (3 + AMP_PP2_TEXT));
	assert_int_equal(buf[16 + 3 + AMP_PP2_TEXT], AMP_PP2_SOURCE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp4),		cmocka_unit_test(tcp6),
		cmocka_unit_test(local_socket), cmocka_unit_test(unknown),
		cmocka_unit_test(guest),
	};

	return cmocka_run_group_tests_name("proxy_v2", tests, NULL, NULL);
}
