// SPDX-License-Identifier: BSD-3-Clause
/* Zero-copy: amp_reserve() and its relatives (ampsock.h). */
#include <errno.h>

#include "ampsock.h"
#include "stack.h"

#define AMP_NEED direct
#include "need.h"

static ssize_t direct_once(struct amp_sock *s, enum amp_direct op, struct amp_direct_io *io)
{
	ssize_t n = -EOPNOTSUPP;

	if (op == AMP_RESERVE && s->err)
		return amp_sock_take_err(s);
	if (s->fam->direct)
		n = s->fam->direct(s, op, io);
	/* before an empty ring, and before EPIPE: the family may have found out only now */
	if (s->err && (op == AMP_RESERVE ? n == -EPIPE
					 : op == AMP_BORROW &&
						   (n == -EAGAIN || (n == 0 && io->cnt == 0))))
		return amp_sock_take_err(s);
	return n ? n : (ssize_t)io->len;
}

static ssize_t direct(int fd, struct iovec iov[2], int *cnt, size_t len, enum amp_direct op)
{
	struct amp_direct_io io;
	struct amp_call c;
	ssize_t n = amp_enter(&c, fd, op == AMP_RESERVE);

	io.iov = iov;
	io.cnt = 0;
	io.len = len;
	if (!n && (op == AMP_RESERVE || op == AMP_BORROW) && (!iov || !cnt))
		n = -EFAULT; /* nobody would know what he has */
	while (n == 0 && (n = direct_once(c.s, op, &io)) == -EAGAIN)
		n = amp_again(&c);
	if (n >= 0 && cnt)
		*cnt = (int)io.cnt;
	return amp_leave(&c, n);
}

ssize_t amp_reserve(int fd, struct iovec iov[2], int *cnt, size_t len)
{
	return direct(fd, iov, cnt, len, AMP_RESERVE);
}

ssize_t amp_commit(int fd, size_t len)
{
	return direct(fd, NULL, NULL, len, AMP_COMMIT);
}

ssize_t amp_borrow(int fd, struct iovec iov[2], int *cnt, size_t len)
{
	return direct(fd, iov, cnt, len, AMP_BORROW);
}

ssize_t amp_give_back(int fd, size_t len)
{
	return direct(fd, NULL, NULL, len, AMP_RETURN);
}
