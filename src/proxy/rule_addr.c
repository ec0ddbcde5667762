// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls socket.netlink bind getsockname sendto recvmsg close
 * #syscalls:helper socket bind getsockname sendto recvmsg close
 */
/* The plain form of an address, and whether it is local to this host. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "rule_text.h"

/*
 * Interface addresses in plain form, as many as there are: one left out would be reached by a
 * rule that means others. Not those that local_ranges[] has: a host of many bridges and
 * containers has a link-local one for each.
 */
static struct {
	uint8_t (*addr)[16];
	unsigned cnt;
	uint64_t at_ms;
	bool asked, known;
	bool fixed;
	struct amp_log_rate log;
} host;

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
	{{0xff, 0x01}, 16}, /* RFC 4291 2.7: interface-local */
	{{0xff, 0x02}, 16}, /* link-local multicast */
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

bool amp_prefix_is_local(const uint8_t addr[16], unsigned bits)
{
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

/* IPv4 in its many IPv6 coats comes out as ::ffff:a.b.c.d. */
void amp_addr_plain(uint8_t addr[16])
{
	static const struct {
		struct range range;
		uint8_t v4_at; /* where the IPv4 address lies */
	} coat[] = {
		{{{0, 0x64, 0xff, 0x9b}, 96}, 12},	 /* NAT64, RFC 6052 */
		{{{0, 0x64, 0xff, 0x9b, 0, 1}, 48}, 12}, /* local-use NAT64, RFC 8215 */
		{{{0x20, 0x02}, 16}, 2},		 /* 6to4, RFC 3056 */
		{{{0}, 96}, 12},			 /* IPv4-compatible, RFC 4291 2.5.5.1 */
		{{{[8] = 0xff, [9] = 0xff}, 96}, 12},	 /* IPv4-translated, RFC 2765 */
	};
	uint8_t v4[4];

	/* :: and ::1 are themselves, not 0.0.0.0 and 0.0.0.1 */
	if (prefix_match(addr, &(struct range){{0}, 120}) && addr[15] <= 1)
		return;
	for (unsigned i = 0; i < sizeof(coat) / sizeof(*coat); i++) {
		if (!prefix_match(addr, &coat[i].range))
			continue;
		memcpy(v4, addr + coat[i].v4_at, 4);
		memset(addr, 0, 10);
		addr[10] = addr[11] = 0xff;
		memcpy(addr + 12, v4, 4);
		return;
	}
}

static bool to_plain(const struct sockaddr *sa, uint8_t addr[16], uint16_t *port,
		     uint32_t *scope)
{
	memset(addr, 0, 16);
	*port = 0;
	*scope = 0;
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		addr[10] = addr[11] = 0xff;
		memcpy(addr + 12, &in->sin_addr, 4);
		*port = ntohs(in->sin_port);
		return true;
	}
	if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		memcpy(addr, &in6->sin6_addr, 16);
		*port = ntohs(in6->sin6_port);
		*scope = in6->sin6_scope_id;
		amp_addr_plain(addr);
		return true;
	}
	return false;
}

/* One more at to, if it is one to be kept. How many. */
static unsigned take_addr(const struct sockaddr *sa, uint8_t to[16])
{
	uint16_t port;
	uint32_t scope;

	return sa && to_plain(sa, to, &port, &scope) && !amp_prefix_is_local(to, 128);
}

static bool set_host_addrs(const struct ifaddrs *list)
{
	const struct ifaddrs *i;
	uint8_t(*addr)[16];
	unsigned most = 0, cnt = 0;

	for (i = list; i; i = i->ifa_next)
		most += 2;
	addr = calloc(most + 1, sizeof(*addr));
	if (!addr)
		return false;
	for (i = list; i; i = i->ifa_next) {
		cnt += take_addr(i->ifa_addr, addr[cnt]);
		/* a subnet's broadcast address reaches this host too */
		if (i->ifa_addr && (i->ifa_flags & IFF_BROADCAST))
			cnt += take_addr(i->ifa_broadaddr, addr[cnt]);
	}
	free(host.addr);
	host.addr = addr;
	host.cnt = cnt;
	return true;
}

/* What cannot be read now (descriptors are out) is as it was before. */
static void read_host_addrs(void)
{
	struct ifaddrs *list;
	uint64_t now = amp_now_ms();

	if (host.fixed || (host.asked && now - host.at_ms < AMP_IFADDRS_MS))
		return;
	host.at_ms = now;
	host.asked = true;
	if (getifaddrs(&list) == 0) {
		host.known |= set_host_addrs(list);
		freeifaddrs(list);
	}
	if (!host.known)
		amp_log_some(&host.log, AMP_LOG_ERROR,
			     "the addresses of this host cannot be read: every address counts "
			     "as one of them");
}

void amp_dest_set_host_addrs(const uint8_t (*addrs)[16], unsigned n)
{
	uint8_t(*addr)[16] = calloc(n + 1u, sizeof(*addr));

	if (!addr)
		abort();
	memcpy(addr, addrs, n * sizeof(*addr));
	free(host.addr);
	host.addr = addr;
	host.fixed = host.known = true;
	host.cnt = n;
}

static bool is_local(const uint8_t addr[16])
{
	if (amp_prefix_is_local(addr, 128))
		return true;
	read_host_addrs();
	if (!host.known) /* then none is known to be another's */
		return true;
	for (unsigned i = 0; i < host.cnt; i++) {
		if (memcmp(host.addr[i], addr, 16) == 0)
			return true;
	}
	return false;
}

void amp_dest_from(const struct sockaddr *sa, bool for_bind, struct amp_dest *dest)
{
	static const uint8_t v4_any[16] = V4(0, 0, 0, 0), v6_any[16];

	memset(dest, 0, sizeof(*dest));
	if (!to_plain(sa, dest->addr, &dest->port, &dest->scope_id)) {
		dest->local = true;
		return;
	}
	dest->wildcard =
		memcmp(dest->addr, v4_any, 16) == 0 || memcmp(dest->addr, v6_any, 16) == 0;
	if (dest->wildcard && !for_bind) {
		/* connecting to the unspecified address reaches this host */
		if (dest->addr[10])
			memcpy(dest->addr, (const uint8_t[16])V4(127, 0, 0, 1), 16);
		else
			dest->addr[15] = 1;
		dest->wildcard = false;
	}
	dest->local = is_local(dest->addr);
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
