// SPDX-License-Identifier: BSD-3-Clause
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#include "proxy_v2.h"

#define VERSION_LOCAL 0x20u /* version 2, command LOCAL: "must accept", no addresses */
#define VERSION_PROXY 0x21u /* command PROXY: on behalf of somebody else */
#define FAM_UNSPEC    0x00u
#define FAM_TCP4      0x11u
#define FAM_TCP6      0x21u
#define FAM_UNIX      0x31u

static size_t head(uint8_t *dst, uint8_t family, size_t len)
{
	static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";

	memcpy(dst, signature, sizeof(signature));
	/*
	 * Who has no address goes by LOCAL: with PROXY and UNSPEC a receiver "is free to reject the
	 * connection", which haproxy does. It sends LOCAL itself for clients that have none.
	 */
	dst[12] = family == FAM_UNSPEC ? VERSION_LOCAL : VERSION_PROXY;
	dst[13] = family;
	dst[14] = (uint8_t)(len >> 8); /* network byte order, as everything in it */
	dst[15] = (uint8_t)len;
	return AMP_PP2_HEAD + len;
}

/* An address as 16 bytes, IPv4 as ::ffff:a.b.c.d. */
static int plain(const struct sockaddr_storage *ss, uint8_t addr[16], uint8_t port[2])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	const struct sockaddr_in *in = (const void *)ss;
	const struct sockaddr_in6 *in6 = (const void *)ss;

	if (ss->ss_family == AF_INET) {
		memcpy(addr, mapped, sizeof(mapped));
		memcpy(addr + 12, &in->sin_addr, 4);
		memcpy(port, &in->sin_port, 2);
		return 4;
	}
	memcpy(addr, &in6->sin6_addr, 16);
	memcpy(port, &in6->sin6_port, 2);
	return memcmp(addr, mapped, sizeof(mapped)) == 0 ? 4 : 6;
}

static size_t inet(uint8_t *dst, const struct sockaddr_storage *peer,
		   const struct sockaddr_storage *local)
{
	uint8_t src[16], to[16], src_port[2], to_port[2];
	int a = plain(peer, src, src_port), b = plain(local, to, to_port);
	size_t skip = a == 4 && b == 4 ? 12 : 0, n = 16 - skip;
	uint8_t *p = dst + AMP_PP2_HEAD;

	memcpy(p, src + skip, n);
	memcpy(p + n, to + skip, n);
	memcpy(p + 2 * n, src_port, 2);
	memcpy(p + 2 * n + 2, to_port, 2);
	return head(dst, skip ? FAM_TCP4 : FAM_TCP6, 2 * n + 4);
}

/* The path, padded with zeros: what lies behind len in the structure is nobody's. */
static void path(uint8_t dst[AMP_PP2_UNIX / 2], const struct sockaddr_storage *ss,
		 socklen_t len)
{
	const struct sockaddr_un *un = (const void *)ss;
	size_t n = len > offsetof(struct sockaddr_un, sun_path)
			   ? len - offsetof(struct sockaddr_un, sun_path)
			   : 0;

	memset(dst, 0, AMP_PP2_UNIX / 2);
	memcpy(dst, un->sun_path, n < sizeof(un->sun_path) ? n : sizeof(un->sun_path));
}

static int is_inet(const struct sockaddr_storage *ss)
{
	return ss->ss_family == AF_INET || ss->ss_family == AF_INET6;
}

size_t amp_pp2_client(uint8_t dst[AMP_PP2_MAX], const struct sockaddr_storage *peer,
		      socklen_t peer_len, const struct sockaddr_storage *local,
		      socklen_t local_len)
{
	if (is_inet(peer) && is_inet(local))
		return inet(dst, peer, local);
	if (peer->ss_family != AF_UNIX || local->ss_family != AF_UNIX)
		return head(dst, FAM_UNSPEC, 0);
	path(dst + AMP_PP2_HEAD, peer, peer_len);
	path(dst + AMP_PP2_HEAD + AMP_PP2_UNIX / 2, local, local_len);
	return head(dst, FAM_UNIX, AMP_PP2_UNIX);
}

static size_t value(uint8_t *dst, uint8_t type, const char *text)
{
	size_t len = strnlen(text, AMP_PP2_TEXT);

	dst[0] = type;
	dst[1] = 0;
	dst[2] = (uint8_t)len;
	memcpy(dst + 3, text, len);
	return 3 + len;
}

size_t amp_pp2_guest(uint8_t dst[AMP_PP2_MAX], const char *link, const char *source,
		     const char *service)
{
	uint8_t *first = dst + AMP_PP2_HEAD, *p = first;

	p += value(p, AMP_PP2_LINK, link);
	p += value(p, AMP_PP2_SOURCE, source);
	p += value(p, AMP_PP2_SERVICE, service);
	return head(dst, FAM_UNSPEC, (size_t)(p - first));
}
