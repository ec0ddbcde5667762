/* SPDX-License-Identifier: BSD-3-Clause */
/* POSIX's names for the calls on options. */
#include "../socket/amp_calls.h"

int getsockopt(int fd, int level, int name, void *restrict val, socklen_t *restrict len)
{
	return amp_getsockopt(fd, level, name, val, len);
}

int setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	return amp_setsockopt(fd, level, name, val, len);
}
