// SPDX-License-Identifier: BSD-3-Clause
/* No family has urgent data, so no stream is ever at a mark. */
#include <errno.h>

#include "stack.h"

int amp_sockatmark(int fd)
{
	struct amp_call c;
	int r = amp_enter(&c, fd, false);

	if (!r && c.s->type != SOCK_STREAM)
		r = -ENOTTY;
	return (int)amp_leave(&c, r);
}
