/* SPDX-License-Identifier: BSD-3-Clause */
/* shutdown(), see socket/shutdown.c. */
#include "../socket/amp_calls.h"

int shutdown(int fd, int how)
{
	return amp_shutdown(fd, how);
}
