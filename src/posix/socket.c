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

ssize_t sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *dest,
	       socklen_t dest_len)
{
	return amp_sendto(fd, buf, len, flags, dest, dest_len);
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	return amp_sendmsg(fd, msg, flags);
}

ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	return amp_recv(fd, buf, len, flags);
}

ssize_t recvfrom(int fd, void *restrict buf, size_t len, int flags,
		 struct sockaddr *restrict src, socklen_t *restrict src_len)
{
	return amp_recvfrom(fd, buf, len, flags, src, src_len);
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	return amp_recvmsg(fd, msg, flags);
}
