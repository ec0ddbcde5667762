/* SPDX-License-Identifier: BSD-3-Clause */
/* POSIX's names for the resolver. */
#include "../socket/amp_calls.h"

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
