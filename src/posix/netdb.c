/* SPDX-License-Identifier: BSD-3-Clause */
/* POSIX's names for the resolver. */
#include "../ampsock_config.h"
#include "../socket/amp_calls.h"

#if !AMPSOCK_INET
/* There is no resolver: the linker's message is to say why. */
#define NEEDS_INET __asm__("getaddrinfo_needs_AMPSOCK_INET_1")
extern __typeof__(getaddrinfo) amp_getaddrinfo NEEDS_INET;
extern __typeof__(freeaddrinfo) amp_freeaddrinfo NEEDS_INET;
extern __typeof__(getnameinfo) amp_getnameinfo NEEDS_INET;
#endif

int getaddrinfo(const char *restrict node, const char *restrict service,
		const struct addrinfo *restrict hints, struct addrinfo **restrict res)
{
	return amp_getaddrinfo(node, service, hints, res);
}

void freeaddrinfo(struct addrinfo *res)
{
	amp_freeaddrinfo(res);
}

const char *gai_strerror(int ecode)
{
	return amp_gai_strerror(ecode);
}

int getnameinfo(const struct sockaddr *restrict addr, socklen_t len, char *restrict host,
		socklen_t host_len, char *restrict serv, socklen_t serv_len, int flags)
{
	return amp_getnameinfo(addr, len, host, host_len, serv, serv_len, flags);
}
