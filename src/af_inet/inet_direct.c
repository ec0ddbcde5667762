/* SPDX-License-Identifier: BSD-3-Clause */
/* Zero-copy goes through to the carrier, which is the connection. */
#include <errno.h>

#include "inet.h"

int amp_inet_direct(struct amp_sock *s, enum amp_direct op, struct amp_direct_io *io)
{
	struct amp_inet *i = amp_inet(s);
	int r;

	if (s->type != SOCK_STREAM)
		return -EOPNOTSUPP;
	r = amp_inet_may_move(s, op >= AMP_BORROW);
	/* what is given back does not wait for the reason of a reset */
	if (i->state == AMP_INET_RSTWAIT && (op == AMP_COMMIT || op == AMP_RETURN))
		r = 0;
	return r ? r : i->carrier->fam->direct(i->carrier, op, io);
}
