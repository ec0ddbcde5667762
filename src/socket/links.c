// SPDX-License-Identifier: BSD-3-Clause
/* What ampsock.h has beside the sockets: progress, the log. */
#include <errno.h>

#include "ampsock.h"
#include "stack.h"

static void (*log_fn)(const char *line); /* l */

int amp_poll_links(void)
{
	int32_t ms;

	amp_port_lock();
	ms = amp_links_run();
	amp_release_slow(NULL, 0);
	return ms;
}

void amp_log_hook(void (*fn)(const char *line))
{
	amp_port_lock();
	log_fn = fn;
	amp_port_unlock();
}

void amp_log(const char *line)
{
	if (log_fn && *line) /* without AMPSOCK_WHY there are no words */
		log_fn(line);
}
