/* SPDX-License-Identifier: BSD-3-Clause */
/* Zero-copy goes through to the carrier, which is the connection. */
#include <errno.h>

#include "inet.h"

int amp_inet_direct(struct amp_sock *s, enum amp_direct op, struct amp_direct_io *io)
{
	struct amp_sock *c = amp_inet(s)->carrier;
	int r;

	if (s->type != SOCK_STREAM)
		return -EOPNOTSUPP;
	r = amp_inet_may_move(s, op >= AMP_BORROW);
	return r ? r : c->fam->direct(c, op, io);
}
