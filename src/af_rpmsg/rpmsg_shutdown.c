// SPDX-License-Identifier: BSD-3-Clause
/* shutdown() of an AF_RPMSG socket. */
#include <errno.h>

#include "af_rpmsg.h"

#if AMPSOCK_RPMSG

int amp_rpmsg_half_close(struct amp_sock *s, int how)
{
	if (amp_rsock_is_conn(s))
		return amp_vsock_half_close(s, how);
	if (!(s->flags & AMP_SF_CONNECTED))
		return -ENOTCONN;
	s->flags |= AMP_SHUT_FLAGS(how);
	if (how != SHUT_WR)
		s->rx.tail = s->rx.head;
	return 0;
}

#endif /* AMPSOCK_RPMSG */
