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

static int do_listen(struct amp_call *c, int backlog)
{
	struct amp_sock *s = c->s;
	uint16_t low = s->rcvlowat;
	int r;

	if ((unsigned)backlog > UINT8_MAX) /* below 0 is the most there is, as on Linux */
		backlog = UINT8_MAX;
	backlog += !backlog;
	if (!s->fam->listen || amp_sock_dgram(s))
		return -EOPNOTSUPP;
	if (s->flags & (AMP_SF_CONNECTED | AMP_SF_CONNECTING))
		return -EINVAL;
	if (!(s->flags & AMP_SF_LISTEN))
		s->rcvlowat = 0; /* its place is the queue's, when all goes well */
	s->backlog = (uint8_t)backlog;
	if (s->flags & AMP_SF_LISTEN)
		return 0;
	amp_far_begin(c);
	do {
		r = s->fam->listen(s, backlog);
		r = amp_far(c, r);
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
	return r;
}

int amp_listen(int fd, int backlog)
{
	struct amp_call c;
	int r = amp_enter(&c, fd, false);

	if (!r)
		r = do_listen(&c, backlog);
	return amp_far_end(&c, r);
}

/* A child taken off the queue, or NULL with *err. */
static struct amp_sock *take_child(struct amp_call *c, int *err)
{
	struct amp_sock *s = c->s;

	if (!s->fam->accept || amp_sock_dgram(s))
		*err = -EOPNOTSUPP;
	else if (!(s->flags & AMP_SF_LISTEN))
		*err = -EINVAL;
	else
		return s->fam->accept(s, err);
	return NULL;
}

int amp_accept4(int fd, struct sockaddr *restrict addr, socklen_t *restrict len, int flags)
{
	struct amp_call c;
	struct amp_sock *child = NULL;
	int r = amp_enter(&c, fd, false);
	unsigned child_flags;

	if (!r && flags & ~AMP_TYPE_FLAGS)
		r = -EINVAL;
	while (!r && !(child = take_child(&c, &r)) && r == -EAGAIN)
		r = amp_again(&c);
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
