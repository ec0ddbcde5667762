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

static int do_shutdown(struct amp_sock *s, int how)
{
	if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
		return -EINVAL;
	amp_sock_changed(s);
	if (!(s->flags & AMP_SF_CONNECTING))
		return s->fam->half_close ? s->fam->half_close(s, how) : -EOPNOTSUPP;
	give_up(s);
	return 0;
}

int amp_shutdown(int fd, int how)
{
	struct amp_call c;
	int r = amp_enter(&c, fd, false);

	if (!r)
		r = do_shutdown(c.s, how);
	return (int)amp_leave(&c, r);
}
