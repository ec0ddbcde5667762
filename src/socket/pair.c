// SPDX-License-Identifier: BSD-3-Clause
/* socketpair(): two AF_VSOCK sockets that the in-core loop connects, without a handshake. */
#include <errno.h>
#include <string.h>
#include <sys/vm_sockets.h>

#include "stack.h"

/* Two of AF_VSOCK's, connected. */
static int pair_make(int type, struct amp_sock *ab[2])
{
	int r;

	ab[0] = amp_sock_open(AF_VSOCK, type, 0, &r);
	if (!ab[0])
		return r;
	ab[1] = amp_sock_open(AF_VSOCK, type, 0, &r);
	if (ab[1]) {
		r = amp_vsock_pair(ab);
		if (!r)
			return 0;
		amp_sock_close(ab[1]);
	}
	amp_sock_close(ab[0]);
	return r;
}

int amp_socketpair(int domain, int type, int protocol, int sv[2])
{
	struct amp_sock *ab[2];
	struct amp_call c;
	int r;

	amp_enter_plain(&c);
	if (domain != AF_UNIX && domain != AF_VSOCK)
		r = amp_family_find(domain) ? -EOPNOTSUPP : -EAFNOSUPPORT;
	else if (protocol)
		r = -EPROTONOSUPPORT;
	else
		r = AMPSOCK_VSOCK ? pair_make(type, ab) : -EAFNOSUPPORT;
	for (int i = 0; r == 0 && i < 2; i++) {
		ab[i]->domain = (uint8_t)domain;
		ab[i]->flags &= (uint16_t)~AMP_SF_ORPHAN;
		sv[i] = amp_sock_fd(ab[i]);
	}
	return (int)amp_leave(&c, r);
}
