// SPDX-License-Identifier: BSD-3-Clause
/* What a link's rules say, and what a name may stand for: with a resolver that is played. */
// build: src/proxy/policy.c src/proxy/rule.c src/proxy/rule_text.c src/proxy/rule_addr.c src/proxy/host_addr.c src/proxy/log.c
// build: src/proxy/limit.c
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/offload_inner.h"

#define EACCES 13

static struct amp_link_conf conf;
static struct amp_link guest;
static struct amp_offload off;

static int up(void **state)
{
	/* an interface of the host, in plain form */
	static const uint8_t host[2][16] = {
		{[10] = 0xff, [11] = 0xff, [12] = 203, [13] = 0, [14] = 113, [15] = 5},
		{0x20, 0x01, 0x0d, 0xb8, [15] = 5}};

	(void)state;
	memset(&conf, 0, sizeof(conf));
	memset(&guest, 0, sizeof(guest));
	memset(&off, 0, sizeof(off));
	strcpy(conf.name, "g");
	conf.lease_s = AMP_LEASE_S;
	TAILQ_INIT(&conf.allow);
	guest.conf = &conf;
	off.link = &guest;
	amp_log_level_set(AMP_LOG_ERROR);
	amp_dest_set_host_addrs(host, 2);
	return 0;
}

static int down(void **state)
{
	struct amp_rule *r;

	(void)state;
	while ((r = TAILQ_FIRST(&conf.allow)) != NULL) {
		TAILQ_REMOVE(&conf.allow, r, entry);
		free(r);
	}
	return 0;
}

static struct amp_rule *allow(const char *text)
{
	struct amp_rule *r = calloc(1, sizeof(*r));
	struct amp_rule_error e;

	assert_non_null(r);
	if (amp_rule_parse(text, r, &e))
		fail_msg("%s: %s", text, e.msg);
	r->where = r->text = (char *)(uintptr_t)text;
	TAILQ_INSERT_TAIL(&conf.allow, r, entry);
	return r;
}

static const struct sockaddr *addr(const char *text, uint16_t port)
{
	static union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} to;

	memset(&to, 0, sizeof(to));
	if (inet_pton(AF_INET, text, &to.in.sin_addr) == 1) {
		to.in.sin_family = AF_INET;
		to.in.sin_port = htons(port);
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, &to.in6.sin6_addr), 1);
		to.in6.sin6_family = AF_INET6;
		to.in6.sin6_port = htons(port);
	}
	return &to.sa;
}

static bool may(const char *text, uint16_t port)
{
	struct amp_rule *by;

	return amp_policy_addr(&off, AMP_DIR_OUT, AMP_PROTO_TCP, addr(text, port), "connect",
			       &by) == 0;
}

/* The guest asks for a name, and this is the answer. */
static void play(const char *name, const char *answer)
{
	assert_int_equal(amp_policy_name(&off, AMP_PROTO_TCP, name, 0), 0);
	amp_policy_lease(&off, name, addr(answer, 0));
}

static void test_name_is_its_addresses(void **state)
{
	struct amp_rule *r = allow("out tcp example.com:443");

	(void)state;
	assert_false(may("192.0.2.7", 443)); /* it was given to nobody */
	play("example.com", "192.0.2.7");
	play("EXAMPLE.com.", "2001:db8:1::7");
	assert_true(may("192.0.2.7", 443));
	assert_true(may("::ffff:192.0.2.7", 443)); /* in its coat */
	assert_true(may("2001:db8:1::7", 443));
	assert_false(may("192.0.2.7", 80)); /* the rule's port */
	assert_false(may("192.0.2.8", 443));
	assert_int_equal(r->denied, 0);
	assert_int_equal(amp_policy_name(&off, AMP_PROTO_TCP, "www.example.com", 0), EACCES);
	assert_int_equal(amp_policy_name(&off, AMP_PROTO_UDP, "example.com", 0), EACCES);
	assert_int_equal(guest.stats.denied_names, 2);
	assert_int_equal(guest.stats.denied_dir[AMP_DIR_OUT], 3);
	assert_int_equal(guest.stats.denied, 5);
}

/* A reload: a lease goes to a rule that has all of the names that the old one had, or to none. */
static void test_heir_of_many(void **state)
{
	struct amp_rule *wild = allow("out tcp *.example.com:443"), *r;

	(void)state;
	play("a.example.com", "192.0.2.7");
	assert_true(may("192.0.2.7", 443));
	TAILQ_REMOVE(&conf.allow, wild, entry);
	wild->gone = true;
	/* one name of those, and not the one that was asked for */
	r = allow("out tcp x.example.com:443");
	amp_policy_forget(&off);
	assert_false(may("192.0.2.7", 443));
	TAILQ_REMOVE(&conf.allow, r, entry);
	free(r);
	off.leases[0].rule = wild;
	allow("out tcp *.com:443");
	amp_policy_forget(&off);
	assert_true(may("192.0.2.7", 443));
	free(wild);
}

/* The name resolves to something else the second time: to what must not be had by name. */
static void test_rebinding(void **state)
{
	static const char *const bad[] = {
		"127.0.0.1",
		"127.9.9.9",
		"0.0.0.0",
		"::",
		"::1",
		"::ffff:127.0.0.1",
		"64:ff9b::7f00:1", /* NAT64 */
		"64:ff9b:1::7f00:1",
		"2002:7f00:1::", /* 6to4 */
		"::127.0.0.1",
		"::ffff:0:127.0.0.1",
		"169.254.169.254", /* metadata */
		"::ffff:169.254.169.254",
		"64:ff9b::a9fe:a9fe",
		"fd00:ec2::254",
		"fd20:ce::254",
		"100.100.100.200",
		"168.63.129.16",
		"169.254.1.1",
		"fe80::1",
		"224.0.0.251",
		"239.255.255.250",
		"ff02::fb",
		"ff0e::1",
		"255.255.255.255",
		"203.0.113.5", /* the host's own interface */
		"2001:db8::5",
		"64:ff9b::cb00:7105",
	};
	struct amp_rule *r = allow("out any evil.example:any");
	uint64_t n = 0;

	(void)state;
	play("evil.example", "192.0.2.7");
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		play("evil.example", bad[i]);
		if (may(bad[i], 80))
			fail_msg("%s is had by name", bad[i]);
		assert_int_equal(r->denied, ++n);
	}
	assert_true(may("192.0.2.7", 80)); /* the lease that it has stays */
}

/* Whoever wants them names them, or their class. */
static void test_named(void **state)
{
	(void)state;
	allow("out tcp inside.example:80");
	allow("out tcp 127.0.0.1:80");
	allow("out tcp [fd00:ec2::254]:80");
	allow("out tcp 239.0.0.0/8:80");
	play("inside.example", "127.0.0.1");
	play("inside.example", "fd00:ec2::254");
	play("inside.example", "239.1.1.1");
	play("inside.example", "203.0.113.5");
	assert_true(may("127.0.0.1", 80));
	assert_true(may("64:ff9b::7f00:1", 80));
	assert_true(may("fd00:ec2::254", 80));
	assert_true(may("239.1.1.1", 80));
	assert_false(may("203.0.113.5", 80));
	allow("out tcp local:80");
	assert_true(may("203.0.113.5", 80));
	assert_true(may("169.254.169.254", 80));
}

/* `any` is every name and every address that is not local: metadata is. */
static void test_any(void **state)
{
	(void)state;
	allow("out tcp any:any");
	play("whatever.example", "192.0.2.9");
	assert_true(may("192.0.2.9", 80));
	assert_true(may("224.5.5.5", 80));
	assert_false(may("127.0.0.1", 80));
	assert_false(may("169.254.169.254", 80));
	assert_false(may("fd00:ec2::254", 80));
	assert_false(may("100.100.100.200", 80));
}

static void test_localhost(void **state)
{
	(void)state;
	allow("out tcp localhost:80");
	play("localhost", "127.0.0.1");
	play("localhost", "::1");
	assert_true(may("127.0.0.1", 80));
	assert_true(may("::1", 80));
	/* a resolver that lies about it */
	play("localhost", "203.0.113.5");
	play("localhost", "169.254.169.254");
	play("localhost", "192.0.2.1");
	assert_false(may("203.0.113.5", 80));
	assert_false(may("169.254.169.254", 80));
	assert_false(may("192.0.2.1", 80));
}

/* An address that the host has from now on is the host's, also for who was given it for a name. */
static void test_lease_of_host(void **state)
{
	static const uint8_t host[1][16] = {
		{[10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 7}};

	(void)state;
	allow("out tcp example.com:80");
	allow("out tcp localhost:80");
	play("example.com", "192.0.2.7");
	play("localhost", "127.0.0.1");
	assert_true(may("192.0.2.7", 80));
	amp_dest_set_host_addrs(host, 1);
	assert_false(may("192.0.2.7", 80));
	assert_true(may("127.0.0.1", 80));
}

static void test_lease_ends(void **state)
{
	(void)state;
	allow("out tcp *.example.com:443");
	play("a.example.com", "192.0.2.7");
	assert_true(may("192.0.2.7", 443));
	for (unsigned i = 0; i < AMP_OFF_LEASES; i++)
		off.leases[i].until_ms = amp_now_ms(); /* as if it had been so long */
	assert_false(may("192.0.2.7", 443));
	play("a.example.com", "192.0.2.7");
	assert_true(may("192.0.2.7", 443));
	/* no more of them than there is room for, and the oldest go */
	for (unsigned i = 0; i < AMP_OFF_LEASES; i++) {
		char text[24];

		snprintf(text, sizeof(text), "198.51.%u.%u", i / 250, i % 250 + 1);
		play("b.example.com", text);
	}
	assert_false(may("192.0.2.7", 443));
	assert_true(may("198.51.1.1", 443));
}

/* Rules that a reload has left out give their names' addresses to others with the name. */
static void test_heirs(void **state)
{
	struct amp_rule *old = allow("out tcp example.com:443"), *wild, *other;

	(void)state;
	play("example.com", "192.0.2.7");
	old->gone = true;
	TAILQ_REMOVE(&conf.allow, old, entry);
	other = allow("out tcp other.example:443");
	wild = allow("out tcp *.com:443");
	amp_policy_forget(&off);
	assert_ptr_equal(off.leases[0].rule, wild);
	free(old);
	assert_true(may("192.0.2.7", 443));
	wild->gone = true;
	TAILQ_REMOVE(&conf.allow, wild, entry);
	amp_policy_forget(&off);
	free(wild);
	assert_null(off.leases[0].rule);
	assert_false(may("192.0.2.7", 443));
	(void)other;
}

static void test_counts(void **state)
{
	struct amp_rule *first = allow("out tcp 192.0.2.0/24:80"), *by;
	struct amp_rule *in = allow("in tcp any:0");

	(void)state;
	assert_true(may("192.0.2.1", 80));
	assert_true(may("192.0.2.2", 80));
	assert_false(may("192.0.3.2", 80));
	assert_int_equal(first->hits, 2);
	assert_int_equal(amp_policy_listen(&off, addr("0.0.0.0", 40000), true, &by), 0);
	assert_ptr_equal(by, in);
	assert_int_equal(amp_policy_listen(&off, addr("0.0.0.0", 40000), false, &by), EACCES);
	assert_null(by);
	assert_int_equal(guest.stats.denied_dir[AMP_DIR_IN], 1);
	assert_int_equal(guest.stats.denied_dir[AMP_DIR_OUT], 1);
	/* a look is no use */
	assert_ptr_equal(
		amp_policy_find(&off, AMP_DIR_OUT, AMP_PROTO_TCP, addr("192.0.2.1", 80)),
		first);
	assert_int_equal(first->hits, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_name_is_its_addresses, up, down),
		cmocka_unit_test_setup_teardown(test_heir_of_many, up, down),
		cmocka_unit_test_setup_teardown(test_rebinding, up, down),
		cmocka_unit_test_setup_teardown(test_named, up, down),
		cmocka_unit_test_setup_teardown(test_any, up, down),
		cmocka_unit_test_setup_teardown(test_localhost, up, down),
		cmocka_unit_test_setup_teardown(test_lease_of_host, up, down),
		cmocka_unit_test_setup_teardown(test_lease_ends, up, down),
		cmocka_unit_test_setup_teardown(test_heirs, up, down),
		cmocka_unit_test_setup_teardown(test_counts, up, down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
