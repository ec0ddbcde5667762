/* SPDX-License-Identifier: BSD-3-Clause */
/* No family has urgent data, so no stream is ever at a mark. */
#include <errno.h>

#include "../socket/amp_calls.h"

int sockatmark(int fd)
{
	int type = 0;
	socklen_t len = sizeof(type);

	if (amp_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return -1;
	return type == SOCK_STREAM ? 0 : amp_fail(ENOTTY);
}
