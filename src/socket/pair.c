// SPDX-License-Identifier: BSD-3-Clause
/* socketpair(): two AF_VSOCK sockets that the in-core loop connects, without a handshake. */
#include <errno.h>
#include <string.h>
#include <sys/vm_sockets.h>

#include "stack.h"

/* Is there a family for it? */
static bool known(int domain)
{
#define AMP_FAMILY(prefix, af) \
	if (domain == (af))    \
		return true;
#include "families.def"
#undef AMP_FAMILY
	return false;
}

/* Two of AF_VSOCK's, connected. */
static int pair_make(int domain, int type, int sv[2])
{
	struct amp_sock *ab[2];
	int fd[2], r;

	fd[0] = amp_sock_new(AF_VSOCK, type, 0);
	ab[0] = amp_sock_find(fd[0]);
	if (!ab[0])
		return fd[0];
	fd[1] = amp_sock_new(AF_VSOCK, type, 0);
	ab[1] = amp_sock_find(fd[1]);
	r = ab[1] ? amp_vsock_pair(ab) : fd[1];
	if (r == 0) {
		ab[0]->domain = ab[1]->domain = (uint8_t)domain;
		memcpy(sv, fd, sizeof(fd));
		return 0;
	}
	amp_sock_close(ab[0]);
	if (ab[1])
		amp_sock_close(ab[1]);
	return r;
}

int amp_socketpair(int domain, int type, int protocol, int sv[2])
{
	int r;

	amp_port_lock();
	if (domain != AF_UNIX && domain != AF_VSOCK)
		r = known(domain) ? -EOPNOTSUPP : -EAFNOSUPPORT;
	else if (protocol)
		r = -EPROTONOSUPPORT;
	else
		r = AMPSOCK_VSOCK ? pair_make(domain, type, sv) : -EAFNOSUPPORT;
	return (int)amp_release_slow(NULL, r);
}
