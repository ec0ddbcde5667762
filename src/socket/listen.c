// SPDX-License-Identifier: BSD-3-Clause
/* listen() and accept(): apart, because a program that only connects needs none of it. */
#include <errno.h>

#include "stack.h"

#define AMP_NEED listen
#include "need.h"
#define AMP_NEED accept
#include "need.h"
#define AMP_NEED name
#include "need.h"

int amp_listen(int fd, int backlog)
{
	struct amp_call c;
	struct amp_sock *s;
	uint16_t low;
	uint8_t err = 0;
	int r = amp_enter(&c, fd, false);

	if (r)
		return r;
	s = c.s;
	low = s->rcvlowat;
	if ((unsigned)backlog > UINT8_MAX) /* below 0 is the most there is, as on Linux */
		backlog = UINT8_MAX;
	backlog += !backlog;
	if (!s->fam->listen || s->type == SOCK_DGRAM) {
		r = -EOPNOTSUPP;
	} else if (s->flags & (AMP_SF_CONNECTED | AMP_SF_CONNECTING)) {
		r = -EINVAL;
	} else {
		if (!(s->flags & AMP_SF_LISTEN))
			s->rcvlowat = 0; /* its place is the queue's, when all goes well */
		s->backlog = (uint8_t)backlog;
		if (AMPSOCK_INET)
			err = amp_far_begin(s);
		do {
			r = s->flags & AMP_SF_LISTEN ? 0 : s->fam->listen(s, backlog);
		} while (amp_far_again(&c, r));
		if (r == 0)
			s->flags |= AMP_SF_LISTEN;
		else if (!(s->flags & AMP_SF_LISTEN))
			s->rcvlowat = low;
	}
	return (int)amp_leave(&c, amp_far_result(&c, r, err));
}

int amp_accept4(int fd, struct sockaddr *restrict addr, socklen_t *restrict len, int flags)
{
	struct amp_call c;
	struct amp_sock *child = NULL;
	int r = flags & ~AMP_TYPE_FLAGS ? amp_fail(EINVAL) : amp_enter(&c, fd, false);

	if (r)
		return r;
	do {
		if (!c.s->fam->accept || c.s->type == SOCK_DGRAM)
			r = -EOPNOTSUPP;
		else if (!(c.s->flags & AMP_SF_LISTEN))
			r = -EINVAL;
		else
			child = c.s->fam->accept(c.s, &r);
	} while (!child && r == -EAGAIN && (r = amp_again(&c)) == 0);
	if (child) {
		child->flags &= (uint16_t)~AMP_SF_ORPHAN;
		if (flags & SOCK_NONBLOCK)
			child->flags |= AMP_SF_NONBLOCK;
		if (addr && len) { /* who it was is told, though it may be gone already */
			uint16_t flags_now = child->flags;

			child->flags |= AMP_SF_CONNECTED;
			child->fam->name(child, true, addr, len);
			child->flags = flags_now;
		}
		r = amp_sock_fd(child);
	}
	return (int)amp_leave(&c, r);
}

int amp_accept(int fd, struct sockaddr *restrict addr, socklen_t *restrict len)
{
	return amp_accept4(fd, addr, len, 0);
}
