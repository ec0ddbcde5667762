// SPDX-License-Identifier: BSD-3-Clause
/* shutdown() of an AF_INET socket: a TCP one's carrier does it. */
#include <errno.h>

#include "inet.h"

int amp_inet_half_close(struct amp_sock *s, int how)
{
	struct amp_inet *i = amp_inet(s);
	int r = 0;

	if (!(s->flags & AMP_SF_CONNECTED))
		return -ENOTCONN;
	if (s->type == SOCK_STREAM && i->carrier)
		r = i->carrier->fam->half_close(i->carrier, how);
	s->flags |= AMP_SHUT_FLAGS(how);
	return r;
}
