/* SPDX-License-Identifier: BSD-3-Clause */
/* POSIX's names for the calls of a server: apart, see socket/family.h. */
#include "../socket/amp_calls.h"

int listen(int fd, int backlog)
{
	return amp_listen(fd, backlog);
}

int accept(int fd, struct sockaddr *restrict addr, socklen_t *restrict len)
{
	return amp_accept(fd, addr, len);
}

int accept4(int fd, struct sockaddr *restrict addr, socklen_t *restrict len, int flags)
{
	return amp_accept4(fd, addr, len, flags);
}
