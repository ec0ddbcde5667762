/* SPDX-License-Identifier: BSD-3-Clause */
/* arpa/inet.h (POSIX.1-2017) for bare toolchains. htonl() and its kin: <netinet/in.h>. */
#ifndef AMP_ARPA_INET_H
#define AMP_ARPA_INET_H

#include <netinet/in.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * inet_pton - text to a binary address: struct in_addr (AF_INET: exactly four decimal
 * numbers) or in6_addr (AF_INET6: the forms of RFC 4291, 2.2; no scope, no prefix length).
 * 1; 0 when the text is no such address (dst is untouched); -1 with errno EAFNOSUPPORT.
 * Any context. POSIX.1-2017.
 */
int inet_pton(int af, const char *__restrict src, void *__restrict dst);

/*
 * inet_ntop - binary address to text in dst, size bytes of room (INET_ADDRSTRLEN,
 * INET6_ADDRSTRLEN do). IPv6 as RFC 5952 has it. Returns dst, or NULL with errno ENOSPC or
 * EAFNOSUPPORT. Any context. POSIX.1-2017.
 */
const char *inet_ntop(int af, const void *__restrict src, char *__restrict dst, socklen_t size);

/*
 * inet_addr, inet_aton - IPv4 text as 1 to 4 numbers, decimal, octal or hexadecimal.
 * inet_addr returns the address in network byte order or INADDR_NONE (which is also the
 * broadcast address: prefer inet_pton). inet_aton (BSD) returns 1, or 0 for no address.
 * Any context. POSIX.1-2017, inet_aton apart.
 */
in_addr_t inet_addr(const char *cp);
int inet_aton(const char *cp, struct in_addr *in);

/*
 * inet_ntoa - IPv4 address to text in a static buffer, overwritten by the next call: not
 * for several threads; prefer inet_ntop. POSIX.1-2017.
 */
char *inet_ntoa(struct in_addr in);

#ifdef __cplusplus
}
#endif

#endif /* AMP_ARPA_INET_H */
