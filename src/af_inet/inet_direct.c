/* SPDX-License-Identifier: BSD-3-Clause */
/* Zero-copy goes through to the carrier, which is the connection. */
#include <errno.h>

#include "inet.h"

int amp_inet_direct(struct amp_sock *s, enum amp_direct op, struct amp_direct_io *io)
{
	struct amp_sock *c;
	int r;

	if (s->type != SOCK_STREAM)
		return -EOPNOTSUPP;
	c = amp_inet_stream(s);
	if (!c)
		return amp_inet_no_stream(amp_inet(s), NULL);
	r = c->fam->direct(c, op, io);
	if (amp_inet(s)->state == AMP_INET_RSTWAIT &&
	    (op == AMP_RESERVE || (op == AMP_BORROW && (r || !io->cnt))))
		return -EAGAIN;
	return r;
}
