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

/* All of it is written; what comes first is what was read. */
static ssize_t own_io(struct amp_call *c, int fd, const struct iovec *iov, int iovcnt, bool out)
{
	size_t done = 0;
	ssize_t n;

	for (; iovcnt; iovcnt--, iov++) {
		for (size_t at = 0; at < iov->iov_len; at += (size_t)n) {
			char *p = (char *)iov->iov_base + at;
			size_t len = iov->iov_len - at;

			n = out ? own_ops->write(fd, p, len) : own_ops->read(fd, p, len);
			if (n == -EAGAIN && amp_again(c) == 0)
				n = 0;
			else if (n <= 0 || !out) /* nothing is done before that is read */
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
	c.timeout_ms = own_flags[fd] & AMP_SF_NONBLOCK ? 0 : AMP_FOREVER;
	return amp_leave(&c, own_io(&c, fd, iov, iovcnt, out));
}
