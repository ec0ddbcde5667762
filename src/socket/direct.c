// SPDX-License-Identifier: BSD-3-Clause
/* Zero-copy: amp_reserve() and its relatives (ampsock.h). */
#include <errno.h>

#include "ampsock.h"
#include "stack.h"

#define AMP_NEED direct
#include "need.h"

static ssize_t direct(int fd, struct iovec iov[2], int *cnt, size_t len, enum amp_direct op)
{
	struct amp_direct_io io = {.len = len};
	struct amp_call c;
	ssize_t n = amp_enter(&c, fd, op == AMP_RESERVE);

	if (n)
		return n;
	do {
		n = -EPIPE; /* which an error comes before, as before an empty ring */
		if (op != AMP_RESERVE || !c.s->err)
			n = c.s->fam->direct ? c.s->fam->direct(c.s, op, &io) : -EOPNOTSUPP;
		if (c.s->err && (op == AMP_BORROW ? n == -EAGAIN || (n == 0 && io.cnt == 0)
						  : op == AMP_RESERVE && n == -EPIPE))
			n = amp_sock_take_err(c.s);
	} while (n == -EAGAIN && (n = amp_again(&c)) == 0);
	if (n == 0) {
		n = (ssize_t)io.len;
		if (iov) {
			iov[0] = io.iov[0];
			iov[1] = io.iov[1];
			*cnt = (int)io.cnt;
		}
	}
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
