// SPDX-License-Identifier: BSD-3-Clause
/* Rules of the proxy: grammar, coverage, and every disguise of an address. */
// build: src/proxy/rule.c src/proxy/rule_text.c src/proxy/rule_addr.c src/proxy/host_addr.c src/proxy/log.c
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/rule.h"

/* The host of these tests: 192.0.2.10 and 2001:db8::10. */
static int host_addrs(void **state)
{
	static const uint8_t addrs[2][16] = {
		{[10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 10},
		{0x20, 0x01, 0x0d, 0xb8, [15] = 0x10},
	};

	(void)state;
	amp_dest_set_host_addrs(addrs, 2);
	return 0;
}

static struct amp_rule rule(const char *text)
{
	struct amp_rule_error e = {.msg = ""};
	struct amp_rule r;

	if (amp_rule_parse(text, &r, &e))
		fail_msg("%s: %s", text, e.msg);
	return r;
}

static const char *refused(const char *text)
{
	static struct amp_rule_error e;
	struct amp_rule r;

	assert_int_not_equal(amp_rule_parse(text, &r, &e), 0);
	assert_true(e.at <= strlen(text));
	assert_true(strlen(e.msg) > 10);
	return e.msg;
}

static socklen_t sa_of(const char *ip, uint16_t port, struct sockaddr_storage *ss)
{
	struct sockaddr_in *in = (void *)ss;
	struct sockaddr_in6 *in6 = (void *)ss;

	memset(ss, 0, sizeof(*ss));
	if (inet_pton(AF_INET, ip, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		return sizeof(*in);
	}
	assert_int_equal(inet_pton(AF_INET6, ip, &in6->sin6_addr), 1);
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	return sizeof(*in6);
}

static bool covers(const char *text, enum amp_dir dir, enum amp_proto proto, const char *ip,
		   uint16_t port)
{
	struct amp_rule r = rule(text);
	struct sockaddr_storage ss;
	struct amp_dest d;

	sa_of(ip, port, &ss);
	amp_dest_from((struct sockaddr *)&ss, dir == AMP_DIR_IN, &d);
	return amp_rule_covers(&r, dir, proto, &d);
}

#define OUT(text, ip, port) covers(text, AMP_DIR_OUT, AMP_PROTO_TCP, ip, port)
#define IN(text, ip, port)  covers(text, AMP_DIR_IN, AMP_PROTO_TCP, ip, port)

static void test_plain(void **state)
{
	(void)state;
	assert_true(OUT("out tcp 198.51.100.1:80", "198.51.100.1", 80));
	assert_false(OUT("out tcp 198.51.100.1:80", "198.51.100.1", 81));
	assert_false(OUT("out tcp 198.51.100.1:80", "198.51.100.2", 80));
	assert_false(OUT("out udp 198.51.100.1:80", "198.51.100.1", 80));
	assert_true(OUT("out any 198.51.100.1:80", "198.51.100.1", 80));
	assert_false(IN("out tcp 198.51.100.1:80", "198.51.100.1", 80));
	assert_true(OUT("out tcp 198.51.100.0/24:any", "198.51.100.255", 9));
	assert_false(OUT("out tcp 198.51.100.0/24:any", "198.51.101.0", 9));
	assert_true(OUT("out tcp 198.51.100.128/25:1-9", "198.51.100.200", 9));
	assert_false(OUT("out tcp 198.51.100.128/25:1-9", "198.51.100.127", 9));
	assert_true(OUT("out tcp [2001:db8:1::]/48:443", "2001:db8:1:2::3", 443));
	assert_true(OUT("out tcp [2001:db8:1::/48]:443", "2001:db8:1:2::3", 443));
	assert_false(OUT("out tcp [2001:db8:1::]/48:443", "2001:db8:2::3", 443));
	assert_true(OUT("  out\ttcp   any:any  ", "203.0.113.9", 1));
	assert_true(OUT("out tcp any:any", "2001:db8:5::1", 65535));
}

/* One address, many coats: a rule for it covers them all, a rule for another none. */
static void test_disguises(void **state)
{
	static const char *const coats[] = {
		"198.51.100.7",		 "::ffff:198.51.100.7",	  "::198.51.100.7",
		"64:ff9b::198.51.100.7", "::ffff:0:198.51.100.7",
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(coats) / sizeof(*coats); i++) {
		assert_true(OUT("out tcp 198.51.100.7:80", coats[i], 80));
		assert_true(OUT("out tcp [::ffff:198.51.100.7]:80", coats[i], 80));
		assert_false(OUT("out tcp 198.51.100.8:80", coats[i], 80));
		assert_false(OUT("out tcp [2000::]/3:80", coats[i], 80));
	}
}

/* What is local to the host is not `any`, in whatever coat, nor inside a wide prefix. */
static void test_local(void **state)
{
	static const char *const local[] = {
		"127.0.0.1",
		"127.255.1.2",
		"0.0.0.0",
		"0.1.2.3",
		"169.254.169.254",
		"255.255.255.255",
		"224.0.0.251",
		"::",
		"::1",
		"fe80::1",
		"febf::1",
		"ff02::fb",
		"ff01::1",
		"192.0.2.10",
		"2001:db8::10",
		"::ffff:127.0.0.1",
		"::127.0.0.1",
		"64:ff9b::127.0.0.1",
		"64:ff9b:1::127.0.0.1",
		"2002:7f00:1::",
		"2002:7f00:1:5::99",
		"::ffff:0:127.0.0.1",
		"64:ff9b::169.254.169.254",
		"::ffff:192.0.2.10",
		"2002:c000:20a::1",
		"64:ff9b::c000:20a",
		"::ffff:0.0.0.0",
		"2002:a9fe:a9fe::",
		/* the other places of an IPv4 address behind 64:ff9b:1::/48: RFC 6052 2.2 */
		"64:ff9b:1:7f00:0:100::",	    /* /48 */
		"64:ff9b:1:c000:2:a00::",	    /* /48: 192.0.2.10 */
		"64:ff9b:1:a9fe:a9:fe12:3456:7890", /* /48, whatever follows */
		"64:ff9b:1:57f:0:1::",		    /* /56 */
		"64:ff9b:1:cc0:0:20a::",	    /* /56 */
		"64:ff9b:1:5:7f:0:100:0",	    /* /64 */
		"64:ff9b:1:5:a9:fea9:fe00:0",	    /* /64 */
		"64:ff9b:1:5:6:7:192.0.2.10",	    /* /96 */
		/* Teredo: by its server, by its client (every bit the other way) */
		"2001:0:7f00:1:8000:1234:3a33:9bf8",
		"2001:0:cb00:7109:8000:1234:80ff:fffe",
		"2001:0:cb00:7109:8000:1234:3fff:fdf5",
		/* ISATAP, with and without the bits u and g */
		"2001:db8:7::5efe:127.0.0.1",
		"2001:db8:7::200:5efe:192.0.2.10",
		"2001:db8:7::100:5efe:169.254.169.254",
		"2001:db8:7:0:300:5efe:7f00:1",
		/* multicast that does not leave the link, whatever its flags */
		"ff12::1",
		"ff32:30:2001:db8::1",
		"ff71::1",
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(local) / sizeof(*local); i++) {
		assert_false(OUT("out tcp any:any", local[i], 80));
		assert_false(OUT("out tcp 0.0.0.0/0:any", local[i], 80));
		assert_false(OUT("out tcp [::]/0:any", local[i], 80));
		assert_false(OUT("out tcp 192.0.2.0/24:any", local[i], 80));
		assert_false(OUT("out tcp [2001:db8::]/32:any", local[i], 80));
		assert_true(OUT("out tcp local:any", local[i], 80));
		assert_false(OUT("out udp local:any", local[i], 80));
	}
	assert_false(OUT("out tcp local:any", "198.51.100.7", 80));
	assert_true(OUT("out tcp any:any", "224.0.1.1", 80)); /* multicast that is routed */
	assert_true(OUT("out tcp 192.0.2.0/24:any", "192.0.2.11", 80)); /* a neighbour */
}

/*
 * What goes to an IPv4 address on its way is a host of its own: the one's rule is not the
 * other's. And a prefix in a rule may name a coat.
 */
static void test_by_way_of(void **state)
{
	static const char *const by[] = {
		"2002:c633:6407::1",
		"2002:c633:6407:ffff::",
		"64:ff9b:1::198.51.100.7",
		"64:ff9b:1:c633:64:700::",
		"2001:0:cb00:7109:8000:1234:39cc:9bf8",
		"2001:db8:7::5efe:198.51.100.7",
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(by) / sizeof(*by); i++) {
		char text[80];

		assert_false(OUT("out tcp 198.51.100.7:80", by[i], 80));
		assert_false(OUT("out tcp 0.0.0.0/0:80", by[i], 80));
		assert_true(OUT("out tcp any:80", by[i], 80));
		snprintf(text, sizeof(text), "out tcp [%s]:80", by[i]);
		assert_true(OUT(text, by[i], 80));
	}
	assert_true(OUT("out tcp [2002:c633:6407::]/48:80", "2002:c633:6407::1", 80));
	assert_true(OUT("out tcp [64:ff9b::]/96:80", "64:ff9b::198.51.100.7", 80));
	assert_false(OUT("out tcp [64:ff9b::]/96:80", "198.51.100.7", 80));
	assert_false(OUT("out tcp [64:ff9b::]/96:80", "64:ff9b::127.0.0.1", 80));
	assert_true(OUT("out tcp [64:ff9b:1::]/48:80", "64:ff9b:1::198.51.100.7", 80));
	assert_false(OUT("out tcp [64:ff9b:1::]/48:80", "64:ff9b:1:7f00:0:100::", 80));
	assert_true(OUT("out tcp [2001:db8:7::5efe:7f00:1]:80", "2001:db8:7::5efe:7f00:1", 80));
	assert_true(covers("out udp any:80", AMP_DIR_OUT, AMP_PROTO_UDP, "ff35::1", 80));
	assert_true(
		covers("out udp [ff12::]/16:80", AMP_DIR_OUT, AMP_PROTO_UDP, "ff12::1", 80));
}

/* RFC 6052 2.4: one IPv4 address behind prefixes of every length. */
static void test_site_nat64(void **state)
{
	static const struct {
		const char *prefix, *of_198_51_100_7, *of_127_0_0_1, *of_192_0_2_10;
	} sites[] = {
		{"2001:db8::/32",
		 "2001:db8:c633:6407::", "2001:db8:7f00:1::", "2001:db8:c000:20a::"},
		{"2001:db8:100::/40",
		 "2001:db8:1c6:3364:7::", "2001:db8:17f:0:1::", "2001:db8:1c0:2:a::"},
		{"2001:db8:122::/48", "2001:db8:122:c633:64:700::", "2001:db8:122:7f00:0:100::",
		 "2001:db8:122:c000:2:a00::"},
		{"2001:db8:122:300::/56", "2001:db8:122:3c6:33:6407::",
		 "2001:db8:122:37f:0:1::", "2001:db8:122:3c0:0:20a::"},
		{"2001:db8:122:344::/64", "2001:db8:122:344:c6:3364:700:0",
		 "2001:db8:122:344:7f:0:100:0", "2001:db8:122:344:c0:2:a00:0"},
		{"2001:db8:122:344::/96", "2001:db8:122:344::198.51.100.7",
		 "2001:db8:122:344::127.0.0.1", "2001:db8:122:344::192.0.2.10"},
		{"64:ff9b:1:5::/64", "64:ff9b:1:5:c6:3364:700:0", "64:ff9b:1:5:7f:0:100:0",
		 "64:ff9b:1:5:c0:2:a00:0"},
	};
	char text[80];

	(void)state;
	for (unsigned i = 0; i < sizeof(sites) / sizeof(*sites); i++) {
		const char *good = sites[i].of_198_51_100_7;
		struct amp_nat64 p;

		assert_null(amp_nat64_parse(sites[i].prefix, &p));
		assert_false(OUT("out tcp 198.51.100.0/24:80", good, 80));
		amp_dest_set_nat64(&p, 1);
		assert_true(OUT("out tcp 198.51.100.0/24:80", good, 80));
		assert_true(OUT("out tcp 198.51.100.7:80", good, 80));
		assert_true(OUT("out tcp any:80", good, 80));
		assert_false(OUT("out tcp 198.51.100.8:80", good, 80));
		/* as it was written, too */
		snprintf(text, sizeof(text), "out tcp [%s:80", sites[i].prefix);
		*strchr(text, '/') = 0;
		snprintf(text + strlen(text), 16, "]%s:80", strchr(sites[i].prefix, '/'));
		assert_true(OUT(text, good, 80));
		/* what is this host's is so behind a prefix, whatever that rule says */
		assert_false(OUT(text, sites[i].of_127_0_0_1, 80));
		assert_false(OUT("out tcp any:80", sites[i].of_127_0_0_1, 80));
		assert_true(OUT("out tcp 127.0.0.1:80", sites[i].of_127_0_0_1, 80));
		assert_false(OUT(text, sites[i].of_192_0_2_10, 80));
		assert_true(OUT("out tcp local:80", sites[i].of_192_0_2_10, 80));
		assert_false(OUT("out tcp any:80", "2001:db8::10", 80)); /* the host's own */
		assert_false(OUT("out tcp 198.51.100.0/24:80", "2001:db9:c633:6407::", 80));
		amp_dest_set_nat64(NULL, 0);
	}
}

/* A prefix that somebody has given by mistake, with an address of this host in it. */
static void test_site_nat64_has_ours(void **state)
{
	static const uint8_t ours[1][16] = {
		{0x20, 0x01, 0x0d, 0xb8, [12] = 198, [13] = 51, [14] = 100, [15] = 7}};
	struct amp_nat64 p;

	assert_null(amp_nat64_parse("2001:db8::/96", &p));
	amp_dest_set_nat64(&p, 1);
	amp_dest_set_host_addrs(ours, 1);
	assert_false(OUT("out tcp any:80", "2001:db8::198.51.100.7", 80));
	assert_true(OUT("out tcp any:80", "2001:db8::198.51.100.8", 80));
	amp_dest_set_nat64(NULL, 0);
	host_addrs(state);
}

static void test_site_nat64_refused(void **state)
{
	static const char *const wrong[][2] = {
		{"", "2001:db8:64::/96"},
		{"/96", "2001:db8:64::/96"},
		{"2001:db8:64::", "32, 40, 48, 56, 64 or 96"},
		{"2001:db8:64::/", "32, 40, 48, 56, 64 or 96"},
		{"2001:db8:64::/95", "32, 40, 48, 56, 64 or 96"},
		{"2001:db8:64::/72", "32, 40, 48, 56, 64 or 96"},
		{"2001:d00::/24", "32, 40, 48, 56, 64 or 96"},
		{"2001:db8:64::/128", "32, 40, 48, 56, 64 or 96"},
		{"2001:db8:64::/+96", "32, 40, 48, 56, 64 or 96"},
		{"2001:db8:64::/96x", "32, 40, 48, 56, 64 or 96"},
		{"[2001:db8:64::]/96", "2001:db8:64::/96"},
		{"192.0.2.0/24", "IPv6 prefix"},
		{"2001:db8:64::1/96", "behind its length"},
		{"2001:db8:64::/32", "behind its length"},
		{"2001:db8:64:0:100::/96", "bits 64 to 71"},
		{"::/96", "unicast"},
		{"::ffff:0:0/96", "unicast"},
		{"ff0e::/96", "unicast"},
		{"fe80::/64", "unicast"},
		{"2001:0db8:0064:0000:0000:0000:0000:00000000000000000/96", "IPv6 prefix"},
	};
	struct amp_nat64 a, b;

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		const char *said = amp_nat64_parse(wrong[i][0], &a);

		if (!said || !strstr(said, wrong[i][1]))
			fail_msg("%s: %s", wrong[i][0], said ? said : "taken");
	}
	assert_null(amp_nat64_parse("2001:db8::/32", &a));
	assert_null(amp_nat64_parse("2001:db8:1::/96", &b));
	assert_true(amp_nat64_overlap(&a, &b) && amp_nat64_overlap(&b, &a));
	assert_true(amp_nat64_overlap(&a, &a));
	assert_null(amp_nat64_parse("2001:db9::/32", &b));
	assert_false(amp_nat64_overlap(&a, &b) || amp_nat64_overlap(&b, &a));
}

/* Rules that say a local address themselves. */
static void test_local_named(void **state)
{
	(void)state;
	assert_true(OUT("out tcp 127.0.0.1:80", "127.0.0.1", 80));
	assert_true(OUT("out tcp 127.0.0.1:80", "::ffff:127.0.0.1", 80));
	assert_true(OUT("out tcp 127.0.0.1:80", "0.0.0.0",
			80)); /* connecting there is connecting here */
	/* and a rule for the wildcard is none for that */
	assert_false(OUT("out tcp 0.0.0.0:80", "0.0.0.0", 80));
	assert_false(OUT("out tcp 0.0.0.0/8:80", "::ffff:0.0.0.0", 80));
	assert_false(OUT("out tcp [::]:80", "::", 80));
	assert_false(OUT("out tcp 127.0.0.1:80", "::1", 80));
	assert_true(OUT("out tcp [::1]:80", "::", 80));
	assert_true(OUT("out tcp 127.0.0.0/8:80", "127.4.5.6", 80));
	assert_false(OUT("out tcp 126.0.0.0/7:80", "127.4.5.6", 80));
	assert_true(OUT("out tcp 192.0.2.10:80", "192.0.2.10", 80));
	assert_true(OUT("out tcp 169.254.169.254:80", "169.254.169.254", 80));
	assert_true(OUT("out tcp [fe80::]/10:80", "fe80::5", 80));
	assert_true(OUT("out tcp [2001:db8::10]:80", "2001:db8::10", 80));
	assert_true(OUT("out tcp [64:ff9b::127.0.0.1]:80", "127.0.0.1", 80));
}

/* Binding: the wildcard is itself, and `any` is every address there is. */
static void test_in(void **state)
{
	(void)state;
	assert_true(IN("in tcp 127.0.0.1:8000-8999", "127.0.0.1", 8000));
	assert_true(IN("in tcp 127.0.0.1:8000-8999", "127.0.0.1", 8999));
	assert_false(IN("in tcp 127.0.0.1:8000-8999", "127.0.0.1", 9000));
	assert_false(IN("in tcp 127.0.0.1:8000-8999", "0.0.0.0", 8000));
	assert_false(IN("in tcp 0.0.0.0/0:any", "0.0.0.0", 8000));
	assert_false(IN("in tcp local:any", "0.0.0.0", 8000));
	assert_true(IN("in tcp local:any", "127.0.0.1", 8000));
	assert_true(IN("in tcp 0.0.0.0:8000", "0.0.0.0", 8000));
	assert_true(IN("in tcp [::]:8000", "::", 8000));
	assert_false(IN("in tcp [::]:8000", "::1", 8000));
	assert_true(IN("in tcp any:any", "0.0.0.0", 8000));
	assert_true(IN("in tcp any:any", "127.0.0.1", 0));
	assert_true(IN("in tcp 127.0.0.1:0", "127.0.0.1", 0));
	assert_false(IN("in tcp 127.0.0.1:1-65535", "127.0.0.1", 0));
}

static bool names(const char *text, const char *name, uint16_t port)
{
	struct amp_rule r = rule(text);

	return amp_rule_names(&r, AMP_PROTO_TCP, name, port);
}

static void test_names(void **state)
{
	(void)state;
	assert_true(names("out tcp example.com:443", "example.com", 443));
	assert_true(names("out tcp Example.COM:443", "eXample.com.", 443));
	assert_true(names("out tcp example.com.:443", "example.com", 443));
	assert_false(names("out tcp example.com:443", "example.com", 80));
	assert_true(names("out tcp example.com:443", "example.com", 0)); /* on some port */
	assert_false(names("out udp example.com:443", "example.com", 443));
	assert_false(names("out tcp example.com:443", "www.example.com", 443));
	assert_false(names("out tcp example.com:443", "example.com.evil.test", 443));
	assert_false(names("out tcp example.com:443", "badexample.com", 443));
	assert_true(names("out tcp *.example.com:443", "www.example.com", 443));
	assert_true(names("out tcp *.example.com:443", "a.b.example.com.", 443));
	assert_false(names("out tcp *.example.com:443", "example.com", 443));
	assert_false(names("out tcp *.example.com:443", "badexample.com", 443));
	assert_false(names("out tcp *.example.com:443", ".example.com", 443));
	assert_true(names("out tcp any:443", "whatever.test", 443));
	assert_false(names("out tcp 10.0.0.0/8:443", "whatever.test", 443));
	assert_true(names("out tcp local:any", "localhost", 1));
	assert_false(names("out tcp local:any", "whatever.test", 1));
	assert_true(amp_name_is_local("LOCALHOST"));
	assert_true(amp_name_is_local("x.localhost."));
	assert_false(amp_name_is_local("notlocalhost"));
	assert_false(amp_name_is_local(""));
	/* a name covers no address: leases do that */
	assert_false(OUT("out tcp example.com:80", "198.51.100.1", 80));
}

static void test_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"tcp 10.0.0.1:80",
		"out",
		"out tcp",
		"out sctp 10.0.0.1:80",
		"out tcp 10.0.0.1",
		"out tcp 10.0.0.1:",
		"out tcp :80",
		"out tcp 10.0.0.1:http",
		"out tcp 10.0.0.1:65536",
		"out tcp 10.0.0.1:-1",
		"out tcp 10.0.0.1:0",
		"out tcp 10.0.0.1:0x50",
		"out tcp 10.0.0.1:+80",
		"out tcp 10.0.0.1:90-80",
		"out tcp 10.0.0.1:80-",
		"out tcp 10.0.0.1:80 81",
		"out tcp 10.0.0.256:80",
		"out tcp 10.0.0:80",
		"out tcp 010.0.0.1:80",
		"out tcp 10.0.0.1/33:80",
		"out tcp 10.0.0.1/8:80",
		"out tcp 10.0.0.0/:80",
		"out tcp 10.0.0.0/8/8:80",
		"out tcp 2001:db8::1:80",
		"out tcp [2001:db8::1:80",
		"out tcp [2001:db8::1]80",
		"out tcp [2001:db8::g]:80",
		"out tcp [2001:db8::1]/129:80",
		"out tcp [2001:db8::1]/64:80",
		"out tcp [10.0.0.1]:80",
		"out tcp exa mple.com:80",
		"out tcp ex*mple.com:80",
		"out tcp *.:80",
		"out tcp a..b:80",
		"out tcp exämple.com:80",
		"in tcp example.com:80",
		"out tcp ANY:80",
		"out tcp Local:80",
		"out tcp 10.0.0.1-10.0.0.9:80",
		"out tcp *.10:80",
		"out tcp example.5.:80",
		"out tcp 4294967296:80",
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_non_null(refused(bad[i]));
	assert_non_null(strstr(refused("out tcp 10.0.0.1:99999"), "0 to 65535"));
	assert_non_null(strstr(refused("out tpc 10.0.0.1:80"), "tcp, udp or any"));
	assert_non_null(strstr(refused("out tcp 10.0.0.1:80 now"), "nothing more"));
}

static void test_long(void **state)
{
	char text[2000] = "out tcp ";
	struct amp_rule_error e;
	struct amp_rule r;

	(void)state;
	memset(text + 8, 'a', 1900);
	strcpy(text + 1900, ":80");
	assert_int_not_equal(amp_rule_parse(text, &r, &e), 0);
}

static void test_publish(void **state)
{
	struct amp_rule_error e;
	struct amp_forward f;

	(void)state;
	assert_int_equal(amp_publish_parse("tcp 127.0.0.1:8080 -> vsock:5000", &f, &e), 0);
	assert_int_equal(f.target.kind, AMP_TARGET_TCP);
	assert_int_equal(f.service.kind, AMP_SERVICE_VSOCK);
	assert_int_equal(f.service.port, 5000);
	assert_int_equal(ntohs(((struct sockaddr_in *)&f.target.addr)->sin_port), 8080);
	assert_int_equal(amp_publish_parse("tcp [::1]:8080 -> inet:80", &f, &e), 0);
	assert_int_equal(f.service.kind, AMP_SERVICE_INET);
	assert_int_equal(amp_publish_parse("udp 127.0.0.1:53 -> vsock:53", &f, &e), 0);
	assert_int_equal(f.target.kind, AMP_TARGET_UDP);
	assert_int_equal(amp_publish_parse("unix /run/x -> vsock:4294967294", &f, &e), 0);
	assert_string_equal(f.target.addr.un.sun_path, "/run/x");
	assert_int_not_equal(amp_publish_parse("unix /run/x -> inet:80", &f, &e), 0);
	assert_int_not_equal(amp_publish_parse("unix run/x -> vsock:80", &f, &e), 0);
	assert_int_not_equal(amp_publish_parse("tcp 127.0.0.1:80 vsock:80", &f, &e), 0);
	assert_int_not_equal(amp_publish_parse("tcp 127.0.0.1:80 -> vsock:", &f, &e), 0);
	assert_int_not_equal(amp_publish_parse("tcp 127.0.0.1:80 -> inet:0", &f, &e), 0);
	assert_int_not_equal(amp_publish_parse("tcp 127.0.0.1:80 -> vsock:4294967295", &f, &e),
			     0);
	assert_int_not_equal(amp_publish_parse("tcp localhost:80 -> vsock:1", &f, &e), 0);
	/* the offload ports are nobody's but the proxy's */
	assert_int_not_equal(amp_publish_parse("tcp 127.0.0.1:80 -> vsock:1095586562", &f, &e),
			     0);
	assert_non_null(strstr(e.msg, "proxy's own"));
}

static void test_expose(void **state)
{
	struct amp_rule_error e;
	struct amp_forward f;

	(void)state;
	assert_int_equal(amp_expose_parse("vsock:6000 -> tcp 127.0.0.1:22", &f, &e), 0);
	assert_int_equal(f.service.port, 6000);
	assert_int_equal(amp_expose_parse("vsock:6000 -> unix /run/x", &f, &e), 0);
	assert_int_equal(amp_expose_parse("vsock:6000 -> udp [::1]:53", &f, &e), 0);
	assert_int_not_equal(amp_expose_parse("inet:6000 -> tcp 127.0.0.1:22", &f, &e), 0);
	assert_int_not_equal(amp_expose_parse("vsock:6000 -> tcp 127.0.0.1:0", &f, &e), 0);
	assert_int_not_equal(amp_expose_parse("vsock:6000 -> tcp 127.0.0.1:22 x", &f, &e), 0);
	assert_int_not_equal(amp_expose_parse("vsock:1095586561 -> tcp 127.0.0.1:22", &f, &e),
			     0);
}

/* text is refused with these words. */
static void no_service(int (*parse)(const char *, struct amp_forward *,
				    struct amp_rule_error *),
		       const char *text, const char *words)
{
	struct amp_rule_error e = {.msg = ""};
	struct amp_forward f;

	assert_int_not_equal(parse(text, &f, &e), 0);
	if (!strstr(e.msg, words))
		fail_msg("%s: expected `%s` in: %s", text, words, e.msg);
	assert_true(e.at <= strlen(text));
}

static void test_rpmsg(void **state)
{
	static const struct {
		const char *text, *name;
		uint32_t addr;
		enum amp_target_kind kind;
	} good[] = {
		{"tcp 127.0.0.1:80 -> rpmsg:web", "web~s", 0, AMP_TARGET_TCP},
		{"unix /run/x -> rpmsg:web", "web~s", 0, AMP_TARGET_UNIX},
		{"udp 127.0.0.1:80 -> rpmsg:web", "web", 0, AMP_TARGET_UDP},
		{"udp 127.0.0.1:80 -> rpmsg:@30", "", 30, AMP_TARGET_UDP},
		{"tcp 127.0.0.1:80 -> rpmsg:@0xfffffffe", "", 0xfffffffe, AMP_TARGET_TCP},
		{"tcp 127.0.0.1:80 -> rpmsg:12345678901234567890123456789",
		 "12345678901234567890123456789~s", 0, AMP_TARGET_TCP},
		{"udp 127.0.0.1:80 -> rpmsg:1234567890123456789012345678901",
		 "1234567890123456789012345678901", 0, AMP_TARGET_UDP},
	};
	struct amp_rule_error e;
	struct amp_forward f, g;
	char text[AMP_SERVICE_TEXT];

	(void)state;
	for (unsigned i = 0; i < sizeof(good) / sizeof(*good); i++) {
		char turned[128];
		const char *arrow = strstr(good[i].text, " -> ");

		assert_int_equal(amp_publish_parse(good[i].text, &f, &e), 0);
		assert_int_equal(f.service.kind, AMP_SERVICE_RPMSG);
		assert_int_equal(f.target.kind, good[i].kind);
		assert_string_equal(f.service.name, good[i].name);
		assert_int_equal(f.service.port, good[i].addr);
		snprintf(turned, sizeof(turned), "%s -> %.*s", arrow + 4,
			 (int)(arrow - good[i].text), good[i].text);
		assert_int_equal(amp_expose_parse(turned, &g, &e), 0);
		assert_true(amp_service_same(&f.service, &g.service));
		if (good[i].name[0])
			assert_string_equal(amp_service_text(&f.service, text), arrow + 4);
	}
	/* the suffix is the proxy's, the name too; a raw service may be called like that */
	no_service(amp_publish_parse, "tcp 127.0.0.1:80 -> rpmsg:ampsock", "proxy's own");
	no_service(amp_publish_parse, "udp 127.0.0.1:80 -> rpmsg:ampsock", "proxy's own");
	no_service(amp_expose_parse, "rpmsg:ampsock -> tcp 127.0.0.1:80", "proxy's own");
	no_service(amp_expose_parse, "rpmsg:ampsock -> udp 127.0.0.1:80", "proxy's own");
	no_service(amp_expose_parse, "rpmsg:ampsock~s -> tcp 127.0.0.1:80", "without it");
	no_service(amp_publish_parse, "tcp 127.0.0.1:80 -> rpmsg:web~s", "without it");
	no_service(amp_publish_parse, "tcp 127.0.0.1:80 -> rpmsg:", "1 to 29");
	no_service(amp_publish_parse,
		   "tcp 127.0.0.1:80 -> rpmsg:123456789012345678901234567890", "1 to 29");
	no_service(amp_expose_parse, "rpmsg:123456789012345678901234567890 -> tcp 127.0.0.1:80",
		   "1 to 29");
	no_service(amp_publish_parse,
		   "udp 127.0.0.1:80 -> rpmsg:12345678901234567890123456789012", "1 to 31");
	no_service(amp_publish_parse, "udp 127.0.0.1:80 -> rpmsg:w\xc3\xa9", "printable");
	no_service(amp_publish_parse, "udp 127.0.0.1:80 -> rpmsg:@", "address of an endpoint");
	no_service(amp_publish_parse, "udp 127.0.0.1:80 -> rpmsg:@53", "name service");
	no_service(amp_publish_parse, "udp 127.0.0.1:80 -> rpmsg:@0xffffffff", "address");
	no_service(amp_publish_parse, "udp 127.0.0.1:80 -> rpmsg:@x", "address");
	no_service(amp_publish_parse, "udp 127.0.0.1:80 -> rpmsg", "rpmsg:NAME");
	no_service(amp_expose_parse, "rpmsg:a b -> tcp 127.0.0.1:80", "expected `->`");
}

static void test_numbers(void **state)
{
	uint32_t v;

	(void)state;
	assert_true(amp_parse_u32("0", 10, &v));
	assert_true(amp_parse_u32("4294967295", UINT32_MAX, &v));
	assert_int_equal(v, UINT32_MAX);
	assert_false(amp_parse_u32("4294967296", UINT32_MAX, &v));
	assert_false(amp_parse_u32("99999999999999999999", UINT32_MAX, &v));
	assert_false(amp_parse_u32("", 10, &v));
	assert_false(amp_parse_u32(" 1", 10, &v));
	assert_false(amp_parse_u32("1 ", 10, &v));
	assert_false(amp_parse_u32("-1", 10, &v));
	assert_false(amp_parse_u32("11", 10, &v));
}

static void test_big_numbers(void **state)
{
	static const char *const wrong[] = {"",	 "0x",	"x1", "-1", "1 ",  " 1",  "1kk",
					    "g", "0xg", "1t", "1b", "1.5", "0x1z"};
	uint64_t v;

	(void)state;
	assert_true(amp_parse_u64("0", 10, &v));
	assert_int_equal(v, 0);
	assert_true(amp_parse_u64("0x21000000", UINT64_MAX, &v));
	assert_int_equal(v, 0x21000000);
	assert_true(amp_parse_u64("0xFFFFFFFFFFFFFFFF", UINT64_MAX, &v));
	assert_true(v == UINT64_MAX);
	assert_true(amp_parse_u64("18446744073709551615", UINT64_MAX, &v));
	assert_true(amp_parse_u64("16M", UINT64_MAX, &v));
	assert_int_equal(v, 16 << 20);
	assert_true(amp_parse_u64("0x10k", UINT64_MAX, &v));
	assert_int_equal(v, 16 << 10);
	assert_true(amp_parse_u64("3G", UINT64_MAX, &v));
	assert_false(amp_parse_u64("18446744073709551616", UINT64_MAX, &v));
	assert_false(amp_parse_u64("0x10000000000000000", UINT64_MAX, &v));
	assert_false(amp_parse_u64("18446744073709551615k", UINT64_MAX, &v));
	assert_false(amp_parse_u64("11", 10, &v));
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		assert_false(amp_parse_u64(wrong[i], UINT64_MAX, &v));
}

static void test_mux(void **state)
{
	static const char *const wrong[] = {
		"vsock-mux /x -> vsock:",
		"vsock-mux /x -> vsock:1,",
		"vsock-mux /x -> vsock:,1",
		"vsock-mux /x -> vsock:2-1",
		"vsock-mux /x -> vsock:1-",
		"vsock-mux /x -> vsock:-1",
		"vsock-mux /x -> vsock:anything",
		"vsock-mux /x -> vsock:any,1",
		"vsock-mux /x -> vsock:1 2",
		"vsock-mux /x -> vsock:4294967295",
		"vsock-mux /x -> rpmsg:a",
		"vsock-mux x -> vsock:1",
		"vsock-mux /x vsock:1",
		"vsock-mux /x -> vsock:1,2,3,4,5,6,7,8,9",
		"vsock-mux /x -> vsock:1 proxy-protocol",
	};
	struct amp_rule_error e;
	struct amp_forward f;

	(void)state;
	assert_int_equal(amp_publish_parse("vsock-mux /run/x -> vsock:22,5000-5999", &f, &e),
			 0);
	assert_int_equal(f.target.kind, AMP_TARGET_UNIX);
	assert_string_equal(f.target.addr.un.sun_path, "/run/x");
	assert_int_equal(f.service.kind, AMP_SERVICE_VSOCK);
	assert_int_equal(f.range_cnt, 2);
	assert_int_equal(f.range[0].lo, 22);
	assert_int_equal(f.range[0].hi, 22);
	assert_int_equal(f.range[1].lo, 5000);
	assert_int_equal(f.range[1].hi, 5999);
	assert_int_equal(amp_publish_parse("vsock-mux /x -> vsock:any", &f, &e), 0);
	assert_int_equal(f.range_cnt, 1);
	assert_int_equal(f.range[0].lo, 0);
	assert_int_equal(f.range[0].hi, UINT32_MAX - 1);
	assert_int_equal(amp_publish_parse("vsock-mux /x -> vsock:1,2,3,4,5,6,7,8-9", &f, &e),
			 0);
	assert_int_equal(f.range_cnt, 8);
	assert_int_equal(amp_publish_parse("unix /x -> vsock:1", &f, &e), 0);
	assert_int_equal(f.range_cnt, 0);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		assert_int_not_equal(amp_publish_parse(wrong[i], &f, &e), 0);
	assert_int_not_equal(amp_expose_parse("vsock:1 -> vsock-mux /x", &f, &e), 0);
}

static bool is_local(const char *ip)
{
	struct sockaddr_storage ss;
	struct amp_dest d;

	sa_of(ip, 1, &ss);
	amp_dest_from((struct sockaddr *)&ss, false, &d);
	return d.local;
}

/* A host of containers and bridges has hundreds of addresses: the last is local like the first. */
static void test_many_addresses(void **state)
{
	static uint8_t addrs[1000][16];

	for (unsigned i = 0; i < 1000; i++) {
		addrs[i][10] = addrs[i][11] = 0xff;
		addrs[i][12] = 10;
		addrs[i][14] = (uint8_t)(i >> 8);
		addrs[i][15] = (uint8_t)i;
	}
	amp_dest_set_host_addrs(addrs, 1000);
	assert_true(is_local("10.0.0.0"));
	assert_true(is_local("10.0.3.231"));
	assert_false(is_local("10.0.3.232"));
	host_addrs(state);
}

/* To be run before any are set: no descriptor, so nothing is known. */
static void test_unknown_addresses(void **state)
{
	struct rlimit was, none;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	amp_log_level_set(AMP_LOG_ERROR);
	assert_true(is_local("192.0.2.1"));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
}

/* In a network of its own, where one may: a new address counts from the next millisecond on. */
static int change_address(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct ifreq req = {.ifr_name = "lo"};
	uint64_t now;
	int fd, r;

	inet_pton(AF_INET, "198.51.100.77", &in.sin_addr);
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) && unshare(CLONE_NEWNET)) {
		perror("a network of its own (as root, or with user namespaces)");
		return 10;
	}
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (is_local("198.51.100.77"))
		return 11;
	memcpy(&req.ifr_addr, &in, sizeof(in));
	r = ioctl(fd, SIOCSIFADDR, &req);
	for (now = amp_now_ms(); amp_now_ms() == now;)
		;
	if (r || !is_local("198.51.100.77"))
		return 12;
	inet_pton(AF_INET, "198.51.100.78", &in.sin_addr);
	memcpy(&req.ifr_addr, &in, sizeof(in));
	r = ioctl(fd, SIOCSIFADDR, &req); /* and the other one goes */
	for (now = amp_now_ms(); amp_now_ms() == now;)
		;
	if (r || is_local("198.51.100.77") || !is_local("198.51.100.78"))
		return 13;
	/* loopback has one of the net and is up: the kernel takes all of it for itself */
	req.ifr_flags = IFF_UP;
	r = ioctl(fd, SIOCSIFFLAGS, &req);
	return r || !is_local("198.51.100.77") || is_local("192.0.2.1") ? 14 : 0;
}

/* To be run before any are set. */
static void test_new_address(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	assert_false(is_local("198.51.100.77")); /* what the child has open is its parent's */
	pid = fork();
	if (pid == 0)
		_exit(change_address());
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unknown_addresses),
		cmocka_unit_test(test_new_address),
		cmocka_unit_test(test_many_addresses),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_disguises),
		cmocka_unit_test(test_local),
		cmocka_unit_test(test_by_way_of),
		cmocka_unit_test(test_site_nat64),
		cmocka_unit_test(test_site_nat64_has_ours),
		cmocka_unit_test(test_site_nat64_refused),
		cmocka_unit_test(test_local_named),
		cmocka_unit_test(test_in),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_publish),
		cmocka_unit_test(test_expose),
		cmocka_unit_test(test_rpmsg),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_big_numbers),
		cmocka_unit_test(test_mux),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
