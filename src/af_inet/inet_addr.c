/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses: the program's, and as they travel (protocol.md 2.3). */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <netinet/in.h>

#include "inet.h"

#if AMPSOCK_INET

/* Where the port is, and the family before it, in both kinds of address. */
#define PORT  offsetof(struct sockaddr_in, sin_port)
#define ADDR4 offsetof(struct sockaddr_in, sin_addr)
#define ADDR6 offsetof(struct sockaddr_in6, sin6_addr)
/* What else there is in either: an address of n bytes is part of BEFORE + n. */
#define BEFORE (sizeof(struct sockaddr_in) - 4u)
_Static_assert(offsetof(struct sockaddr_in6, sin6_port) == PORT &&
		       sizeof(struct sockaddr_in6) == BEFORE + 16u,
	       "from_sa, to_sa");
_Static_assert(offsetof(struct sockaddr_in6, sin6_family) ==
		       offsetof(struct sockaddr_in, sin_family),
	       "from_sa, to_sa");

/* Byte by byte: the caller's may lie anywhere. Ports travel little-endian. */
int amp_inet_from_sa(int domain, const struct sockaddr *sa, socklen_t len, uint8_t *a)
{
	const uint8_t *p = (const uint8_t *)sa, *addr = p + ADDR4;
	size_t n = 4;

	if (domain == AF_INET6) {
		addr = p + ADDR6;
		n = 16;
	}
	if (!sa || len < BEFORE + n) /* first, as on Linux; there may be no family */
		return -EINVAL;
	if (sa->sa_family != domain)
		return -EAFNOSUPPORT;
	memset(a, 0, AMP_OFF_ADDR_LEN);
	amp_put_le32(a, amp_inet_wire(domain) | (uint32_t)ntohs(amp_le16(p + PORT)) << 16);
	if (n == 16)
		memcpy(a + 4, p + offsetof(struct sockaddr_in6, sin6_scope_id), 4);
	amp_copy(a + 8, addr, n);
	return 0;
}

void amp_inet_to_sa(int domain, const uint8_t *a, struct sockaddr *sa, socklen_t *len)
{
	struct sockaddr_in6 in6;
	uint8_t *p = (uint8_t *)&in6, *addr = p + ADDR4;
	size_t n = 4;

	memset(p, 0, sizeof(in6));
	in6.sin6_family = (sa_family_t)domain;
	in6.sin6_port = htons(amp_le16(a + 2));
	if (domain == AF_INET6) {
		memcpy(&in6.sin6_scope_id, a + 4, 4);
		addr = p + ADDR6;
		n = 16;
	}
	amp_copy(addr, a + 8, n);
	n += BEFORE;
	memcpy(sa, p, *len < n ? *len : n);
	*len = (socklen_t)n;
}

/* A function: inline, each copy would be as long as three calls. */
__attribute__((noinline)) void amp_inet_addr_copy(uint8_t *to, const uint8_t *a)
{
	memcpy(to, a, AMP_OFF_ADDR_LEN);
}

bool amp_inet_take_addr(const struct amp_sock *s, uint8_t *to, const uint8_t *a)
{
	if (a[0] != amp_inet_wire(s->domain))
		return false;
	amp_inet_addr_copy(to, a);
	return true;
}

#endif /* AMPSOCK_INET */
