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
	if ((unsigned)backlog > UINT8_MAX) /* below 0 is the most there is, as on Linux */
		backlog = UINT8_MAX;
	backlog += !backlog;
	if (!s->fam->listen || amp_sock_dgram(s)) {
		r = -EOPNOTSUPP;
	} else if (s->flags & (AMP_SF_CONNECTED | AMP_SF_CONNECTING)) {
		r = -EINVAL;
	} else if (s->flags & AMP_SF_LISTEN) {
		s->backlog = (uint8_t)backlog;
	} else {
		low = s->rcvlowat;
		s->rcvlowat = 0; /* its place is the queue's, when all goes well */
		s->backlog = (uint8_t)backlog;
		err = amp_far_begin(s);
		do {
			r = s->fam->listen(s, backlog);
			r = amp_far(&c, r);
			if (AMP_PORT_THREADS && r != -EBADF && (s->flags & AMP_SF_LISTEN))
				r = 0; /* another's */
		} while (r == AMP_FAR_AGAIN);
		if (AMP_PORT_THREADS && !r && !(s->flags & AMP_SF_LISTEN)) {
			s->backlog = (uint8_t)backlog; /* SO_RCVLOWAT may be set meanwhile */
			s->queued = 0;
		}
		if (r == 0)
			s->flags |= AMP_SF_LISTEN;
		else
			s->rcvlowat = low;
	}
	return amp_far_end(&c, r, err);
}

int amp_accept4(int fd, struct sockaddr *restrict addr, socklen_t *restrict len, int flags)
{
	struct amp_call c;
	struct amp_sock *child = NULL;
	int r = amp_enter(&c, fd, false), err;
	unsigned child_flags;

	if (r)
		return r;
	do {
		if (!c.s->fam->accept || amp_sock_dgram(c.s)) {
			r = -EOPNOTSUPP;
		} else if (!(c.s->flags & AMP_SF_LISTEN) || (flags & ~AMP_TYPE_FLAGS)) {
			r = -EINVAL;
		} else {
			child = c.s->fam->accept(c.s, &err);
			r = err;
		}
	} while (!child && r == -EAGAIN && (r = amp_again(&c)) == 0);
	if (child) {
		child_flags = child->flags & ~AMP_SF_ORPHAN;
		if (flags & SOCK_NONBLOCK)
			child_flags |= AMP_SF_NONBLOCK;
		if (addr && len) { /* who it was is told, though it may be gone already */
			child->flags |= AMP_SF_CONNECTED;
			child->fam->name(child, true, addr, len);
		}
		child->flags = (uint16_t)child_flags;
		r = amp_sock_fd(child);
	}
	return (int)amp_leave(&c, r);
}

int amp_accept(int fd, struct sockaddr *restrict addr, socklen_t *restrict len)
{
	return amp_accept4(fd, addr, len, 0);
}
