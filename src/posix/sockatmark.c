/* SPDX-License-Identifier: BSD-3-Clause */
/* sockatmark(), see socket/sockatmark.c. */
#include "../socket/amp_calls.h"

int sockatmark(int fd)
{
	return amp_sockatmark(fd);
}
