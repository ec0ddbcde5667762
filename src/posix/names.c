/* SPDX-License-Identifier: BSD-3-Clause */
/* POSIX's names for the calls that tell addresses. */
#include "../socket/amp_calls.h"

int getsockname(int fd, struct sockaddr *restrict addr, socklen_t *restrict len)
{
	return amp_getsockname(fd, addr, len);
}

int getpeername(int fd, struct sockaddr *restrict addr, socklen_t *restrict len)
{
	return amp_getpeername(fd, addr, len);
}
