/* SPDX-License-Identifier: BSD-3-Clause */
/* netinet/in.h (POSIX.1-2017, RFC 3493) for bare toolchains: numbers and layouts as Linux. */
#ifndef AMP_NETINET_IN_H
#define AMP_NETINET_IN_H

#include <stddef.h>
#include <stdint.h>
#include <inttypes.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The C library's <sys/types.h> has these two, but hides them under -std=c11. */
#ifndef _IN_ADDR_T_DECLARED
typedef uint32_t in_addr_t;
#define _IN_ADDR_T_DECLARED
#endif
#ifndef _IN_PORT_T_DECLARED
typedef uint16_t in_port_t;
#define _IN_PORT_T_DECLARED
#endif

/* All addresses and ports are in network byte order, except where said. */
struct in_addr {
	in_addr_t s_addr;
};

struct sockaddr_in {
	sa_family_t sin_family; /* AF_INET */
	in_port_t sin_port;
	struct in_addr sin_addr;
	unsigned char sin_zero[8];
};

struct in6_addr {
	union {
		uint8_t __s6_addr8[16];
		uint16_t __s6_addr16[8];
		uint32_t __s6_addr32[4];
	} __in6_u;
};
#define s6_addr	  __in6_u.__s6_addr8
#define s6_addr16 __in6_u.__s6_addr16
#define s6_addr32 __in6_u.__s6_addr32

struct sockaddr_in6 {
	sa_family_t sin6_family; /* AF_INET6 */
	in_port_t sin6_port;
	uint32_t sin6_flowinfo;
	struct in6_addr sin6_addr;
	uint32_t sin6_scope_id; /* host byte order */
};

struct ip_mreq {
	struct in_addr imr_multiaddr;
	struct in_addr imr_interface; /* INADDR_ANY: the proxy's choice */
};

struct ipv6_mreq {
	struct in6_addr ipv6mr_multiaddr;
	unsigned int ipv6mr_interface; /* 0: the proxy's choice */
};

extern const struct in6_addr in6addr_any;
extern const struct in6_addr in6addr_loopback;
/* clang-format off */
#define IN6ADDR_ANY_INIT      {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}}
#define IN6ADDR_LOOPBACK_INIT {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}}
/* clang-format on */

/* Host byte order. */
#define INADDR_ANY	 ((in_addr_t)0x00000000)
#define INADDR_LOOPBACK	 ((in_addr_t)0x7f000001)
#define INADDR_BROADCAST ((in_addr_t)0xffffffff)
#define INADDR_NONE	 ((in_addr_t)0xffffffff)

#define INET_ADDRSTRLEN	 16
#define INET6_ADDRSTRLEN 46

#define IPPROTO_IP   0
#define IPPROTO_ICMP 1
#define IPPROTO_TCP  6
#define IPPROTO_UDP  17
#define IPPROTO_IPV6 41
#define IPPROTO_RAW  255

/* Level IPPROTO_IP */
#define IP_TTL		   2
#define IP_MULTICAST_IF	   32
#define IP_MULTICAST_TTL   33
#define IP_MULTICAST_LOOP  34
#define IP_ADD_MEMBERSHIP  35 /* struct ip_mreq */
#define IP_DROP_MEMBERSHIP 36 /* struct ip_mreq */

/* Level IPPROTO_IPV6 */
#define IPV6_UNICAST_HOPS   16
#define IPV6_MULTICAST_IF   17
#define IPV6_MULTICAST_HOPS 18
#define IPV6_MULTICAST_LOOP 19
#define IPV6_JOIN_GROUP	    20 /* struct ipv6_mreq */
#define IPV6_LEAVE_GROUP    21 /* struct ipv6_mreq */
#define IPV6_V6ONLY	    26

#define __AMP_IN6(a)	       ((const struct in6_addr *)(a))
#define __AMP_IN6_ZERO4(a, at) /* four bytes, whatever the address's alignment */ \
	(!(__AMP_IN6(a)->s6_addr[at] | __AMP_IN6(a)->s6_addr[(at) + 1] |          \
	   __AMP_IN6(a)->s6_addr[(at) + 2] | __AMP_IN6(a)->s6_addr[(at) + 3]))
#define __AMP_IN6_ZERO8(a) (__AMP_IN6_ZERO4(a, 0) && __AMP_IN6_ZERO4(a, 4))
#define __AMP_IN6_MC(a, scope) \
	(IN6_IS_ADDR_MULTICAST(a) && (__AMP_IN6(a)->s6_addr[1] & 0xf) == (scope))

#define IN6_IS_ADDR_UNSPECIFIED(a) \
	(__AMP_IN6_ZERO8(a) && __AMP_IN6_ZERO4(a, 8) && __AMP_IN6_ZERO4(a, 12))
#define IN6_IS_ADDR_LOOPBACK(a)                                    \
	(__AMP_IN6_ZERO8(a) && __AMP_IN6_ZERO4(a, 8) &&            \
	 !(__AMP_IN6(a)->s6_addr[12] | __AMP_IN6(a)->s6_addr[13] | \
	   __AMP_IN6(a)->s6_addr[14]) &&                           \
	 __AMP_IN6(a)->s6_addr[15] == 1)
#define IN6_IS_ADDR_MULTICAST(a) (__AMP_IN6(a)->s6_addr[0] == 0xff)
#define IN6_IS_ADDR_LINKLOCAL(a) \
	(__AMP_IN6(a)->s6_addr[0] == 0xfe && (__AMP_IN6(a)->s6_addr[1] & 0xc0) == 0x80)
#define IN6_IS_ADDR_SITELOCAL(a) \
	(__AMP_IN6(a)->s6_addr[0] == 0xfe && (__AMP_IN6(a)->s6_addr[1] & 0xc0) == 0xc0)
#define IN6_IS_ADDR_V4MAPPED(a)                                                          \
	(__AMP_IN6_ZERO8(a) && !(__AMP_IN6(a)->s6_addr[8] | __AMP_IN6(a)->s6_addr[9]) && \
	 __AMP_IN6(a)->s6_addr[10] == 0xff && __AMP_IN6(a)->s6_addr[11] == 0xff)
#define IN6_IS_ADDR_V4COMPAT(a)                                     \
	(__AMP_IN6_ZERO8(a) && __AMP_IN6_ZERO4(a, 8) &&             \
	 (__AMP_IN6(a)->s6_addr[12] || __AMP_IN6(a)->s6_addr[13] || \
	  __AMP_IN6(a)->s6_addr[14] || __AMP_IN6(a)->s6_addr[15] > 1))
#define IN6_IS_ADDR_MC_NODELOCAL(a) __AMP_IN6_MC(a, 0x1)
#define IN6_IS_ADDR_MC_LINKLOCAL(a) __AMP_IN6_MC(a, 0x2)
#define IN6_IS_ADDR_MC_SITELOCAL(a) __AMP_IN6_MC(a, 0x5)
#define IN6_IS_ADDR_MC_ORGLOCAL(a)  __AMP_IN6_MC(a, 0x8)
#define IN6_IS_ADDR_MC_GLOBAL(a)    __AMP_IN6_MC(a, 0xe)

/*
 * htonl, htons, ntohl, ntohs - host to network byte order and back. Any context, ISRs too.
 * POSIX.1-2017. In C also macros, so that a static initialiser can use them.
 */
#undef htonl
#undef htons
#undef ntohl
#undef ntohs
uint32_t htonl(uint32_t host);
uint16_t htons(uint16_t host);
uint32_t ntohl(uint32_t net);
uint16_t ntohs(uint16_t net);

#ifndef __cplusplus
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define htonl(x) ((uint32_t)__builtin_bswap32((uint32_t)(x)))
#define htons(x) ((uint16_t)__builtin_bswap16((uint16_t)(x)))
#else
#define htonl(x) ((uint32_t)(x))
#define htons(x) ((uint16_t)(x))
#endif
#define ntohl(x) htonl(x)
#define ntohs(x) htons(x)
#endif

#ifdef __cplusplus
}
#endif

#endif /* AMP_NETINET_IN_H */
