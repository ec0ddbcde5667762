/* SPDX-License-Identifier: BSD-3-Clause */
/* POSIX's names of <sys/uio.h>. */
#include "../socket/amp_calls.h"

ssize_t readv(int fd, const struct iovec *iov, int iovcnt)
{
	return amp_readv(fd, iov, iovcnt);
}

ssize_t writev(int fd, const struct iovec *iov, int iovcnt)
{
	return amp_writev(fd, iov, iovcnt);
}
