/* SPDX-License-Identifier: BSD-3-Clause */
/* getsockname() and getpeername(): what the proxy said. */
#include <errno.h>

#include "inet.h"

int amp_inet_name(struct amp_sock *s, bool peer, struct sockaddr *addr, socklen_t *len)
{
	struct amp_inet *i = amp_inet(s);

	if (peer && !(s->flags & AMP_SF_CONNECTED))
		return -ENOTCONN;
	amp_inet_to_sa(s->domain, peer ? i->peer : i->local, addr, len);
	return 0;
}
