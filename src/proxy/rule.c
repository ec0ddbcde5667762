// SPDX-License-Identifier: BSD-3-Clause
/* The grammar of allow rules, and whom they cover. rule.h has the words for it. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rule.h"
#include "rule_text.h"

bool amp_parse_u32(const char *text, uint32_t max, uint32_t *value)
{
	uint64_t v = 0;

	if (!*text || strlen(text) > 10)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		v = v * 10u + (unsigned)(*text - '0');
	}
	if (v > max)
		return false;
	*value = (uint32_t)v;
	return true;
}

bool amp_parse_u64(const char *text, uint64_t max, uint64_t *value)
{
	static const char units[] = "kMG", digits[] = "0123456789abcdef";
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *p = hex ? text + 2 : text, *first = p;
	uint64_t v = 0;
	const char *at;

	for (; *p && (at = memchr(digits, tolower((unsigned char)*p), hex ? 16 : 10)); p++) {
		if (__builtin_mul_overflow(v, hex ? 16u : 10u, &v) ||
		    __builtin_add_overflow(v, (unsigned)(at - digits), &v))
			return false;
	}
	if (p == first)
		return false;
	at = *p ? strchr(units, *p == 'K' ? 'k' : *p) : NULL;
	if (at) {
		if (__builtin_mul_overflow(v, 1ull << 10u * (unsigned)(at - units + 1), &v))
			return false;
		p++;
	}
	if (*p || v > max)
		return false;
	*value = v;
	return true;
}

static bool valid_name(const char *name)
{
	size_t len = strlen(name), label = 0;

	if (len == 0 || len > AMP_RULE_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char ch = (unsigned char)name[i];

		if (ch == '.') {
			if (label == 0)
				return false;
			label = 0;
		} else if (isalnum(ch) || ch == '-' || ch == '_') {
			if (++label > 63)
				return false;
		} else {
			return false;
		}
	}
	return true;
}

/* All digits and dots: meant as an address, so a wrong one is no name. */
static bool looks_numeric(const char *s)
{
	return s[strspn(s, "0123456789.")] == 0;
}

/* No top-level domain is a number (RFC 3696 2): 10.0.0.1-10.0.0.9 was meant as addresses, too. */
static bool ends_in_number(const char *name)
{
	size_t len = strlen(name), digits = 0;

	if (len && name[len - 1] == '.')
		len--;
	while (digits < len && name[len - digits - 1] >= '0' && name[len - digits - 1] <= '9')
		digits++;
	return digits && (digits == len || name[len - digits - 1] == '.');
}

/* "address", "address/bits": into plain form. */
static bool parse_prefix(char *text, bool v6_only, struct amp_rule *rule)
{
	static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};
	char *slash = strchr(text, '/');
	uint32_t bits, max;
	bool v4;

	if (slash)
		*slash++ = 0;
	memcpy(rule->addr, v4_mapped, sizeof(v4_mapped));
	v4 = !v6_only && inet_pton(AF_INET, text, rule->addr + 12) == 1;
	if (!v4 && (!v6_only || inet_pton(AF_INET6, text, rule->addr) != 1))
		return false;
	max = v4 ? 32 : 128;
	bits = max;
	if (slash && !amp_parse_u32(slash, max, &bits))
		return false;
	rule->bits = (uint8_t)(v4 ? bits + 96 : bits);
	for (unsigned i = rule->bits; i < 128; i++) {
		if (rule->addr[i / 8] & (0x80u >> i % 8))
			return false; /* bits behind the prefix: a slip of the pen */
	}
	if (rule->bits == 128)
		amp_addr_plain(rule->addr);
	return true;
}

static int parse_host(struct amp_text *t, char *host, bool brackets, struct amp_rule *rule)
{
	if (strcmp(host, "any") == 0 || strcmp(host, "local") == 0) {
		rule->host = *host == 'a' ? AMP_HOST_ANY : AMP_HOST_LOCAL;
		return 0;
	}
	if (brackets || looks_numeric(host) || strchr(host, '/')) {
		rule->host = AMP_HOST_PREFIX;
		if (brackets && strchr(host, '%'))
			return amp_text_error(t, "expected an IPv6 address without `%`: it is "
						 "meant on every interface");
		if (!parse_prefix(host, brackets, rule))
			return amp_text_error(
				t, brackets ? "expected an IPv6 address or prefix in brackets, "
					      "such as [2001:db8::]/32 (no bits set behind the "
					      "prefix)"
					    : "expected an IPv4 address or prefix, such as "
					      "192.0.2.1 or 10.0.0.0/8 (no bits set behind the "
					      "prefix)");
		return 0;
	}
	if (strcasecmp(host, "any") == 0 || strcasecmp(host, "local") == 0)
		return amp_text_error(t, "expected any or local in small letters");
	if (ends_in_number(host))
		return amp_text_error(t,
				      "expected one address or a prefix, such as 192.0.2.1 or "
				      "10.0.0.0/8, or a host name");
	rule->host = AMP_HOST_NAME;
	if (strncmp(host, "*.", 2) == 0) {
		rule->wild = true;
		host += 2;
	}
	for (const char *p = host; *p; p++) {
		if (*p & 0x80)
			return amp_text_error(t, "expected a host name in ASCII, such as "
						 "xn--bcher-kva.example");
	}
	if (!valid_name(host) || rule->dir == AMP_DIR_IN)
		return amp_text_error(
			t,
			rule->dir == AMP_DIR_IN
				? "expected any, local or an address of this host (names are "
				  "for `out` rules)"
				: "expected any, local, an address, a prefix or a host name");
	for (char *p = rule->name; *host; host++)
		*p++ = (char)tolower((unsigned char)*host);
	if (rule->name[strlen(rule->name) - 1] == '.')
		rule->name[strlen(rule->name) - 1] = 0;
	return 0;
}

static int parse_ports(struct amp_text *t, char *text, struct amp_rule *rule)
{
	char *dash = strchr(text, '-');
	uint32_t lo, hi;

	rule->port_lo = 0;
	rule->port_hi = 65535;
	if (strcmp(text, "any") == 0)
		return 0;
	if (dash)
		*dash++ = 0;
	if (!amp_parse_u32(text, 65535, &lo) || (dash && !amp_parse_u32(dash, 65535, &hi)))
		return amp_text_error(
			t, "expected a port: any, a number from 0 to 65535, or a range such "
			   "as 8000-8999");
	if (!dash)
		hi = lo;
	if (hi < lo || (rule->dir == AMP_DIR_OUT && lo == 0))
		return amp_text_error(
			t, hi < lo ? "expected the smaller port of the range first"
				   : "port 0 cannot be reached: expected 1 to 65535");
	rule->port_lo = (uint16_t)lo;
	rule->port_hi = (uint16_t)hi;
	return 0;
}

int amp_rule_parse(const char *text, struct amp_rule *rule, struct amp_rule_error *err)
{
	static const char *const protos[] = {"", "tcp", "udp", "any"};
	struct amp_text t = {.all = text, .rest = text, .err = err};
	char host[AMP_TEXT_WORD], port[AMP_TEXT_WORD];
	bool brackets;
	int r;

	memset(rule, 0, sizeof(*rule));
	if (!amp_text_word(&t) || (strcmp(t.word, "in") && strcmp(t.word, "out")))
		return amp_text_error(&t,
				      "expected `in` or `out`, as in: out tcp 192.0.2.1:80");
	rule->dir = t.word[0] == 'i' ? AMP_DIR_IN : AMP_DIR_OUT;
	amp_text_word(&t);
	for (unsigned i = 1; i < 4; i++) {
		if (strcmp(t.word, protos[i]) == 0)
			rule->proto = (enum amp_proto)i;
	}
	if (!rule->proto)
		return amp_text_error(&t, "expected tcp, udp or any");
	if (!amp_text_word(&t) || !amp_text_split(t.word, host, port, &brackets))
		return amp_text_error(
			&t, "expected HOST:PORT, such as 192.0.2.1:80, [2001:db8::1]:80, "
			    "example.com:443 or any:any");
	r = parse_host(&t, host, brackets, rule);
	if (!r)
		r = parse_ports(&t, port, rule);
	if (!r)
		r = amp_text_last(&t, "log", &rule->log);
	return r;
}

bool amp_rule_same(const struct amp_rule *a, const struct amp_rule *b)
{
	return a->dir == b->dir && a->proto == b->proto && a->host == b->host &&
	       memcmp(a->addr, b->addr, sizeof(a->addr)) == 0 && a->bits == b->bits &&
	       a->wild == b->wild && a->port_lo == b->port_lo && a->port_hi == b->port_hi &&
	       strcmp(a->name, b->name) == 0;
}

static bool in_prefix(const uint8_t addr[16], const uint8_t prefix[16], unsigned bits)
{
	unsigned bytes = bits / 8;

	if (memcmp(addr, prefix, bytes))
		return false;
	return bits % 8 == 0 ||
	       ((addr[bytes] ^ prefix[bytes]) & (0xff00u >> bits % 8) & 0xffu) == 0;
}

/*
 * Is the rule's prefix itself inside what is local? Then whoever wrote it meant it:
 * 127.0.0.1 does, 0.0.0.0/0 and 10.0.0.0/8 do not, whatever addresses the host has.
 */
static bool means_local(const struct amp_rule *rule)
{
	if (rule->host == AMP_HOST_PREFIX)
		return rule->bits == 128 || amp_prefix_is_local(rule->addr, rule->bits);
	return rule->host == AMP_HOST_LOCAL;
}

bool amp_rule_port(const struct amp_rule *rule, uint16_t port)
{
	return port >= rule->port_lo && port <= rule->port_hi;
}

bool amp_rule_covers(const struct amp_rule *rule, enum amp_dir dir, enum amp_proto proto,
		     const struct amp_dest *dest)
{
	if (rule->dir != dir || !(rule->proto & proto) || !amp_rule_port(rule, dest->port))
		return false;
	/* binding is to the host's own addresses by nature: there `any` covers them all */
	if (dir == AMP_DIR_IN && rule->host == AMP_HOST_LOCAL)
		return dest->local && !dest->wildcard;
	if (dir == AMP_DIR_OUT && dest->local && !means_local(rule))
		return false;
	switch (rule->host) {
	case AMP_HOST_ANY:
		return true;
	case AMP_HOST_LOCAL:
		return dest->local;
	case AMP_HOST_PREFIX:
		/* the wildcard is every address: only a rule for it alone covers it */
		if (dest->wildcard)
			return rule->bits == 128 && memcmp(rule->addr, dest->addr, 16) == 0;
		return in_prefix(dest->addr, rule->addr, rule->bits) ||
		       in_prefix(dest->as_given, rule->addr, rule->bits);
	default:
		return false;
	}
}

bool amp_rule_names(const struct amp_rule *rule, enum amp_proto proto, const char *name,
		    uint16_t port)
{
	size_t len = strlen(name), own = strlen(rule->name);

	if (rule->dir != AMP_DIR_OUT || !(rule->proto & proto) ||
	    (port && !amp_rule_port(rule, port)))
		return false;
	if (rule->host == AMP_HOST_ANY)
		return true;
	if (rule->host == AMP_HOST_LOCAL)
		return amp_name_is_local(name);
	if (rule->host != AMP_HOST_NAME)
		return false;
	if (len && name[len - 1] == '.')
		len--;
	if (!rule->wild)
		return len == own && strncasecmp(name, rule->name, len) == 0;
	return len > own + 1 && name[len - own - 1] == '.' &&
	       strncasecmp(name + len - own, rule->name, own) == 0;
}

bool amp_name_is_local(const char *name)
{
	static const char tail[] = ".localhost";
	size_t len = strlen(name), n = sizeof(tail) - 1;

	if (len && name[len - 1] == '.')
		len--;
	if (len == n - 1)
		return strncasecmp(name, tail + 1, len) == 0;
	return len > n && strncasecmp(name + len - n, tail, n) == 0;
}
