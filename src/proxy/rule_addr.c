// SPDX-License-Identifier: BSD-3-Clause
/* The plain form of an address, and whether it is local to this host: rule.h. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "rule_text.h"

struct range {
	uint8_t addr[16];
	uint8_t bits;
};

#define V4(a, b, c, d)                                                           \
	{                                                                        \
		[10] = 0xff, [11] = 0xff, [12] = a, [13] = b, [14] = c, [15] = d \
	}

/* Loopback, unspecified, link-local, and what never leaves the link. */
static const struct range local_ranges[] = {
	{V4(127, 0, 0, 0), 104},   /* RFC 1122 3.2.1.3 */
	{V4(0, 0, 0, 0), 104},	   /* this host, RFC 1122 3.2.1.3 */
	{V4(169, 254, 0, 0), 112}, /* RFC 3927; clouds keep their metadata here */
	{V4(224, 0, 0, 0), 120},   /* RFC 5771: never forwarded */
	{V4(255, 255, 255, 255), 128},
	{{[15] = 0}, 128},  /* :: */
	{{[15] = 1}, 128},  /* ::1 */
	{{0xfe, 0x80}, 10}, /* RFC 4291 2.5.6 */
	/* where clouds tell a machine its secrets, besides 169.254.0.0/16 and fe80::/10 */
	{{0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}, 128}, /* fd00:ec2::254 */
	{{0xfd, 0x20, 0x00, 0xce, [14] = 0x02, [15] = 0x54}, 128}, /* fd20:ce::254 */
	{V4(100, 100, 100, 200), 128},
	{V4(168, 63, 129, 16), 128},
};

static bool prefix_match(const uint8_t addr[16], const struct range *r)
{
	unsigned bytes = r->bits / 8u, rest = r->bits % 8u;

	if (memcmp(addr, r->addr, bytes))
		return false;
	return rest == 0 || ((addr[bytes] ^ r->addr[bytes]) >> (8u - rest)) == 0;
}

/* Multicast of this interface or link, whatever its flags: RFC 4291 2.7. 0 is reserved. */
static bool is_near_multicast(const uint8_t addr[16])
{
	return addr[0] == 0xff && (addr[1] & 0x0fu) <= 2;
}

bool amp_prefix_is_local(const uint8_t addr[16], unsigned bits)
{
	if (bits >= 16 && is_near_multicast(addr))
		return true;
	for (unsigned i = 0; i < sizeof(local_ranges) / sizeof(*local_ranges); i++) {
		if (bits >= local_ranges[i].bits && prefix_match(addr, &local_ranges[i]))
			return true;
	}
	return false;
}

bool amp_addr_is_loopback(const uint8_t addr[16])
{
	static const struct range v4 = {V4(127, 0, 0, 0), 104}, v6 = {{[15] = 1}, 128};

	return prefix_match(addr, &v4) || prefix_match(addr, &v6);
}

bool amp_addr_is_multicast(const uint8_t addr[16])
{
	static const struct range v4 = {V4(224, 0, 0, 0), 100}, v6 = {{0xff}, 8};

	return prefix_match(addr, &v4) || prefix_match(addr, &v6);
}

/*
 * Where IPv4 addresses lie in IPv6 ones. `same`: the whole is another way to write that IPv4
 * address, and nothing else. Others belong to a host of their own that is reached by way of the
 * IPv4 address, so that a rule for the one says nothing of the other; but if the IPv4 address is
 * local to this host, so is what goes there.
 *
 * A translator in the site has a prefix that the configuration names, or one in 64:ff9b:1::/48, of 48, 56, 64 or 96
 * bits, with the IPv4 address behind it and around byte 8 (RFC 6052 2.2): nobody here knows which,
 * so that all four are looked at. What a wrong length reads is often 0.0.0.0/8, where no
 * translator's packet arrives (RFC 1122 3.2.1.3): that is no reason (`zeros`).
 */
static const struct coat {
	struct range range;
	uint8_t at[4];
	bool same, zeros;
	uint8_t flip; /* every bit: RFC 4380 4 */
} coat[] = {
	{{{0, 0x64, 0xff, 0x9b}, 96}, {12, 13, 14, 15}, .same = true}, /* NAT64, RFC 6052 2.1 */
	{{{0}, 96}, {12, 13, 14, 15}, .same = true}, /* IPv4-compatible, RFC 4291 2.5.5.1 */
	{{{[8] = 0xff, [9] = 0xff}, 96}, {12, 13, 14, 15}, .same = true},  /* RFC 2765 2.1 */
	{{{0, 0x64, 0xff, 0x9b, 0, 1}, 48}, {6, 7, 9, 10}, .zeros = true}, /* RFC 8215 */
	{{{0, 0x64, 0xff, 0x9b, 0, 1}, 48}, {7, 9, 10, 11}, .zeros = true},
	{{{0, 0x64, 0xff, 0x9b, 0, 1}, 48}, {9, 10, 11, 12}, .zeros = true},
	{{{0, 0x64, 0xff, 0x9b, 0, 1}, 48}, {12, 13, 14, 15}, .zeros = true},
	{{{0x20, 0x02}, 16}, {2, 3, 4, 5}, .flip = 0}, /* 6to4, RFC 3056 2 */
	{{{0x20, 0x01}, 32}, {4, 5, 6, 7}, .flip = 0}, /* Teredo, RFC 4380 4: its server */
	{{{0x20, 0x01}, 32}, {12, 13, 14, 15}, .flip = 0xff}, /* and its client */
	{{{0}, 0}, {12, 13, 14, 15}, .flip = 0},	      /* ISATAP: is_isatap() */
};

#define COATS (sizeof(coat) / sizeof(*coat))

/* Of the site's own translators: configured, and `same`. */
static struct coat site[AMP_NAT64_MAX];
static unsigned site_cnt;

/* ::0:5efe:a.b.c.d behind any prefix, whatever the bits u and g say: RFC 5214 6.1. */
static bool is_isatap(const uint8_t addr[16])
{
	return (addr[8] & 0xfcu) == 0 && addr[9] == 0 && addr[10] == 0x5e && addr[11] == 0xfe;
}

static bool wears(const uint8_t addr[16], const struct coat *c)
{
	return c->range.bits ? prefix_match(addr, &c->range) : is_isatap(addr);
}

/* The IPv4 address in it, as ::ffff:a.b.c.d. */
static void unwrap(const uint8_t addr[16], const struct coat *c, uint8_t v4[16])
{
	memset(v4, 0, 10);
	v4[10] = v4[11] = 0xff;
	for (unsigned i = 0; i < 4; i++)
		v4[12 + i] = addr[c->at[i]] ^ c->flip;
}

void amp_addr_plain(uint8_t addr[16])
{
	uint8_t v4[16];

	/* :: and ::1 are themselves, not 0.0.0.0 and 0.0.0.1 */
	if (prefix_match(addr, &(struct range){{0}, 120}) && addr[15] <= 1)
		return;
	for (unsigned i = 0; i < COATS; i++) {
		if (!coat[i].same || !wears(addr, &coat[i]))
			continue;
		unwrap(addr, &coat[i], v4);
		memcpy(addr, v4, 16);
		return;
	}
}

/* ---- NAT64 of the site ---- */

static struct range range_of(const struct amp_nat64 *p)
{
	struct range r = {.bits = p->bits};

	memcpy(r.addr, p->addr, sizeof(r.addr));
	return r;
}

/* Addresses of hosts in the network: not ::/32 with what is written in IPv6 only. */
static bool is_unicast(const uint8_t addr[16])
{
	static const uint8_t none[4];

	return memcmp(addr, none, sizeof(none)) != 0 && addr[0] != 0xff &&
	       !prefix_match(addr, &(struct range){{0xfe, 0x80}, 10});
}

static bool is_length(uint32_t bits)
{
	return bits == 96 || (bits >= 32 && bits <= 64 && bits % 8 == 0);
}

const char *amp_nat64_parse(const char *text, struct amp_nat64 *prefix)
{
	static const char what[] =
		"expected an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits, such as "
		"2001:db8:64::/96 (RFC 6052)";
	char addr[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "/");
	uint32_t bits;

	if (!text[len] || len >= sizeof(addr) || !amp_parse_u32(text + len + 1, 128, &bits))
		return what;
	memcpy(addr, text, len);
	addr[len] = 0;
	if (inet_pton(AF_INET6, addr, prefix->addr) != 1 || !is_length(bits))
		return what;
	prefix->bits = (uint8_t)bits;
	for (unsigned i = bits / 8; i < 16; i++) {
		if (prefix->addr[i])
			return "expected a NAT64 prefix without bits set behind its length";
	}
	if (prefix->addr[8])
		return "expected a NAT64 prefix whose bits 64 to 71 are 0 (RFC 6052 2.2)";
	return is_unicast(prefix->addr) ? NULL : "expected a NAT64 prefix of unicast addresses";
}

bool amp_nat64_overlap(const struct amp_nat64 *a, const struct amp_nat64 *b)
{
	const struct amp_nat64 *wide = a->bits < b->bits ? a : b;
	struct range r = range_of(wide);

	return prefix_match(wide == a ? b->addr : a->addr, &r);
}

void amp_dest_set_nat64(const struct amp_nat64 *prefixes, unsigned cnt)
{
	site_cnt = cnt < AMP_NAT64_MAX ? cnt : AMP_NAT64_MAX;
	for (unsigned i = 0; i < site_cnt; i++) {
		unsigned at = prefixes[i].bits / 8u;

		site[i] = (struct coat){.range = range_of(&prefixes[i]), .same = true};
		for (unsigned n = 0; n < 4; n++) {
			at += at == 8; /* nothing is there: 2.2 */
			site[i].at[n] = (uint8_t)at++;
		}
	}
}

static bool site_plain(uint8_t addr[16])
{
	uint8_t v4[16];

	for (unsigned i = 0; i < site_cnt; i++) {
		if (!wears(addr, &site[i]))
			continue;
		unwrap(addr, &site[i], v4);
		memcpy(addr, v4, 16);
		return true;
	}
	return false;
}

/* ---- the whole ---- */

static bool to_plain(const struct sockaddr *sa, struct amp_dest *dest)
{
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		dest->addr[10] = dest->addr[11] = 0xff;
		memcpy(dest->addr + 12, &in->sin_addr, 4);
		dest->port = ntohs(in->sin_port);
		memcpy(dest->as_given, dest->addr, 16);
		return true;
	}
	if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		memcpy(dest->addr, &in6->sin6_addr, 16);
		dest->port = ntohs(in6->sin6_port);
		dest->scope_id = in6->sin6_scope_id;
		memcpy(dest->as_given, dest->addr, 16);
		if (!site_plain(dest->addr))
			amp_addr_plain(dest->addr);
		return true;
	}
	return false;
}

static bool is_here(const uint8_t addr[16])
{
	return amp_prefix_is_local(addr, 128) || amp_host_has(addr);
}

/* Also by way of an IPv4 address in it. */
static bool is_local(const uint8_t addr[16])
{
	uint8_t v4[16];

	for (unsigned i = 0; i < COATS; i++) {
		if (coat[i].same || !wears(addr, &coat[i]))
			continue;
		unwrap(addr, &coat[i], v4);
		if (!(coat[i].zeros && v4[12] == 0) && is_here(v4))
			return true;
	}
	return is_here(addr);
}

void amp_dest_from(const struct sockaddr *sa, bool for_bind, struct amp_dest *dest)
{
	static const uint8_t v4_any[16] = V4(0, 0, 0, 0), v6_any[16];

	uint8_t as_given[16];

	memset(dest, 0, sizeof(*dest));
	if (!to_plain(sa, dest)) {
		dest->local = true;
		return;
	}
	memcpy(as_given, dest->as_given, 16);
	dest->wildcard =
		memcmp(dest->addr, v4_any, 16) == 0 || memcmp(dest->addr, v6_any, 16) == 0;
	if (dest->wildcard && !for_bind) {
		/* connecting to the unspecified address reaches this host */
		if (dest->addr[10])
			memcpy(dest->addr, (const uint8_t[16])V4(127, 0, 0, 1), 16);
		else
			dest->addr[15] = 1;
		memcpy(dest->as_given, dest->addr, 16); /* no rule means loopback by it */
		dest->wildcard = false;
	}
	/* whoever has given a prefix that an interface has an address in is not to reach that */
	dest->local = is_local(dest->addr) || (site_cnt && is_here(as_given));
}

uint16_t amp_sockaddr_port(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)(const void *)sa)->sin6_port);
	return sa->sa_family == AF_INET
		       ? ntohs(((const struct sockaddr_in *)(const void *)sa)->sin_port)
		       : 0;
}

const char *amp_sockaddr_text(const struct sockaddr *sa, char dst[AMP_ADDR_TEXT])
{
	char ip[INET6_ADDRSTRLEN] = "?";

	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip));
		snprintf(dst, AMP_ADDR_TEXT, "%s:%u", ip, ntohs(in->sin_port));
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
		snprintf(dst, AMP_ADDR_TEXT, "[%s]:%u", ip, ntohs(in6->sin6_port));
	} else {
		snprintf(dst, AMP_ADDR_TEXT, "(family %d)", sa->sa_family);
	}
	return dst;
}
