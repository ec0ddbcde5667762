// SPDX-License-Identifier: BSD-3-Clause
/* shutdown(): apart, because a program that only closes needs none of it. */
#include <errno.h>

#include "stack.h"

#define AMP_NEED half_close
#include "need.h"

/* Who waits in connect() in another thread would take the end of the attempt for a success. */
static void give_up(struct amp_sock *s)
{
	AMP_FAM(s->fam, end)(s, AMP_END_CONNECT);
	s->flags &= (uint16_t)~AMP_SF_CONNECTING;
	if (AMP_PORT_THREADS && s->users > 1 && !s->err)
		s->err = ECONNABORTED;
}

int amp_shutdown(int fd, int how)
{
	struct amp_call c;
	int r = amp_enter(&c, fd, false);

	if (r)
		return r;
	if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
		r = -EINVAL;
	else if (c.s->flags & AMP_SF_CONNECTING)
		give_up(c.s);
	else if (!c.s->fam->half_close)
		r = -EOPNOTSUPP;
	else
		r = c.s->fam->half_close(c.s, how);
	amp_sock_changed(c.s);
	return (int)amp_leave(&c, r);
}
