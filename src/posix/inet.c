/* SPDX-License-Identifier: BSD-3-Clause */
/* POSIX's names for addresses as text and in network byte order. */
#include "../socket/amp_calls.h"

int inet_pton(int af, const char *restrict src, void *restrict dst)
{
	return amp_inet_pton(af, src, dst);
}

const char *inet_ntop(int af, const void *restrict src, char *restrict dst, socklen_t size)
{
	return amp_inet_ntop(af, src, dst, size);
}

in_addr_t inet_addr(const char *cp)
{
	return amp_inet_addr(cp);
}

int inet_aton(const char *cp, struct in_addr *in)
{
	return amp_inet_aton(cp, in);
}

char *inet_ntoa(struct in_addr in)
{
	return amp_inet_ntoa(in);
}

/* The parentheses keep the macros away. */
uint32_t(htonl)(uint32_t host)
{
	return htonl(host);
}

uint16_t(htons)(uint16_t host)
{
	return htons(host);
}

uint32_t(ntohl)(uint32_t net)
{
	return ntohl(net);
}

uint16_t(ntohs)(uint16_t net)
{
	return ntohs(net);
}

const struct in6_addr in6addr_any = IN6ADDR_ANY_INIT;
const struct in6_addr in6addr_loopback = IN6ADDR_LOOPBACK_INIT;
