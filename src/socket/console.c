// SPDX-License-Identifier: BSD-3-Clause
/*
 * The console's descriptors (fd.h). Apart, because a board without a console needs none of it: what
 * is asked of them is named weakly elsewhere, and linked with amp_fd_console().
 */
#include <errno.h>

#include "stack.h"

static const struct amp_fd_ops *own_ops;			  /* set once */
static uint16_t own_flags[AMPSOCK_FD_BASE ? AMPSOCK_FD_BASE : 1]; /* l: AMP_SF_NONBLOCK */

void amp_fd_console(const struct amp_fd_ops *ops)
{
	own_ops = ops;
}

int amp_console_ask(int fd, enum amp_fd_ask ask)
{
	if (!own_ops || fd < 0 || fd >= AMPSOCK_FD_BASE)
		return (int)ask;
	if (ask == AMP_FD_ERR)
		return ENOTSOCK;
	if (ask == AMP_FD_POLL)
		return own_ops->poll(fd);
	return own_ops->close ? own_ops->close(fd) : 0;
}

uint16_t *amp_console_flags(int fd)
{
	return &own_flags[fd];
}

/* What is there, at most the first piece that is not empty: of a terminal any read may be short. */
static ssize_t own_read(struct amp_call *c, int fd, const struct iovec *iov, int iovcnt)
{
	ssize_t n;

	while (iovcnt-- > 1 && !iov->iov_len) /* to read nothing would look like the end */
		iov++;
	do {
		n = own_ops->read(fd, iov->iov_base, iov->iov_len);
		if (n == -EAGAIN)
			n = amp_again(c) ? -EAGAIN : -EINTR;
	} while (n == -EINTR);
	return n;
}

static ssize_t own_write(struct amp_call *c, int fd, const struct iovec *iov, int iovcnt)
{
	size_t done = 0;
	ssize_t n;

	for (; iovcnt; iovcnt--, iov++) {
		for (size_t at = 0; at < iov->iov_len; at += (size_t)n) {
			n = own_ops->write(fd, (const char *)iov->iov_base + at,
					   iov->iov_len - at);
			if (n == -EAGAIN && amp_again(c) == 0)
				n = 0;
			else if (n <= 0)
				return done ? (ssize_t)done : n;
			done += (size_t)n;
		}
	}
	return (ssize_t)done;
}

ssize_t amp_console_io(int fd, const struct iovec *iov, int iovcnt, bool out)
{
	struct amp_call c;

	amp_enter_plain(&c);
	c.block = !(own_flags[fd] & AMP_SF_NONBLOCK);
	return amp_leave(&c,
			 out ? own_write(&c, fd, iov, iovcnt) : own_read(&c, fd, iov, iovcnt));
}
