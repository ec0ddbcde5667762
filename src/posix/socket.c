/* SPDX-License-Identifier: BSD-3-Clause */
/* POSIX's names for the calls on sockets. */
#include "../socket/amp_calls.h"

int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	return amp_bind(fd, addr, len);
}

int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	return amp_connect(fd, addr, len);
}

ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	return amp_send(fd, buf, len, flags);
}

ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	return amp_recv(fd, buf, len, flags);
}
