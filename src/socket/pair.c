// SPDX-License-Identifier: BSD-3-Clause
/* socketpair(): two AF_VSOCK sockets that the in-core loop connects, without a handshake. */
#include <errno.h>
#include <string.h>
#include <sys/vm_sockets.h>

#include "stack.h"

/* Two of AF_VSOCK's, connected. */
static int pair_make(int domain, int type, int sv[2])
{
	struct amp_sock *ab[2] = {NULL, NULL};
	int fd[2], r = 0;

	for (int i = 0; r == 0 && i < 2; i++) {
		ab[i] = amp_sock_new(AF_VSOCK, type, 0, &fd[i]);
		if (ab[i])
			ab[i]->domain = (uint8_t)domain;
		else
			r = fd[i];
	}
	if (r == 0)
		r = amp_vsock_pair(ab);
	if (r == 0)
		memcpy(sv, fd, sizeof(fd));
	for (int i = 0; r && i < 2; i++) {
		if (ab[i])
			amp_sock_close(ab[i]);
	}
	return r;
}

int amp_socketpair(int domain, int type, int protocol, int sv[2])
{
	int r;

	amp_port_lock();
	if (domain != AF_UNIX && domain != AF_VSOCK)
		r = amp_family_find(domain) ? -EOPNOTSUPP : -EAFNOSUPPORT;
	else if (protocol)
		r = -EPROTONOSUPPORT;
	else
		r = AMPSOCK_VSOCK ? pair_make(domain, type, sv) : -EAFNOSUPPORT;
	return (int)amp_release_slow(NULL, r);
}
