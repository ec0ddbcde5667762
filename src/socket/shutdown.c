// SPDX-License-Identifier: BSD-3-Clause
/* shutdown(): apart, because a program that only closes needs none of it. */
#include <errno.h>

#include "stack.h"

#define AMP_NEED half_close
#include "need.h"

int amp_shutdown(int fd, int how)
{
	struct amp_call c;
	int r = amp_enter(&c, fd);

	if (r)
		return r;
	if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
		r = -EINVAL;
	else if (c.s->flags & AMP_SF_CONNECTING)
		c.s->fam->end(c.s, AMP_END_CONNECT);
	else if (!c.s->fam->half_close)
		r = -EOPNOTSUPP;
	else
		r = c.s->fam->half_close(c.s, how);
	amp_sock_changed(c.s);
	return (int)amp_leave(&c, r);
}
