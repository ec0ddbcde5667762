// SPDX-License-Identifier: BSD-3-Clause
/* shutdown() of an AF_VSOCK socket, and of AF_RPMSG's streams. */
#include <errno.h>

#include "af_vsock.h"

/* What lies in the ring is thrown away. */
static void discard(struct amp_vsock *vs, struct amp_sock *s)
{
	uint32_t held = amp_credit_held(&conn_of(s)->credit);

	s->rx.tail = s->rx.head;
	if (!is_stream(s))
		s->rx_part = 0;
	amp_vsock_consumed(vs, conn_of(s), held);
}

int amp_vsock_half_close(struct amp_sock *s, int how)
{
	struct amp_vsock *vs;

	if (!(s->flags & AMP_SF_CONNECTED))
		return -ENOTCONN;
	vs = engine_of(s);
	s->flags |= AMP_SHUT_FLAGS(how);
	if (how != SHUT_WR)
		discard(vs, s);
	amp_vsock_shutdown(vs, conn_of(s), AMP_SHUT_BITS(how));
	return 0;
}
