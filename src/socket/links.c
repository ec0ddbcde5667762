// SPDX-License-Identifier: BSD-3-Clause
/* What ampsock.h has beside the sockets: progress, the log. */
#include <errno.h>

#include "ampsock.h"
#include "stack.h"

static void (*log_fn)(const char *line); /* l */

int amp_poll_links(void)
{
	struct amp_call c;
	int32_t ms;

	amp_enter_plain(&c);
	ms = amp_links_run();
	amp_leave(&c, 0);
	return ms;
}

void amp_log_hook(void (*fn)(const char *line))
{
	struct amp_call c;

	amp_enter_plain(&c);
	log_fn = fn;
	amp_leave(&c, 0);
}

void amp_log(const char *line)
{
	if (log_fn && *line) /* without AMPSOCK_WHY there are no words */
		log_fn(line);
}
