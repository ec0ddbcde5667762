/* SPDX-License-Identifier: BSD-3-Clause */
/* POSIX's names for messages that have one. */
#include "../socket/amp_calls.h"

ssize_t sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *dest,
	       socklen_t dest_len)
{
	return amp_sendto(fd, buf, len, flags, dest, dest_len);
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	return amp_sendmsg(fd, msg, flags);
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
