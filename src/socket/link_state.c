// SPDX-License-Identifier: BSD-3-Clause
/*
 * Which links are up. Who neither waits for one nor has a callback is without it:
 * amp_link_report() is weak in stack.c, and linked from here.
 */
#include <errno.h>

#include "ampsock.h"
#include "stack.h"

static uint32_t links_up;			     /* l: bit per link */
static void (*link_fn)(void *arg, int link, int up); /* l */
static void *link_arg;				     /* l */

void amp_link_report(int link, bool up)
{
	uint32_t bit = 1u << (link & 31);

	if (((links_up & bit) != 0) == up)
		return;
	links_up ^= bit;
	if (link_fn)
		link_fn(link_arg, link, up);
}

void amp_link_callback(void (*fn)(void *arg, int link, int up), void *arg)
{
	amp_port_lock();
	link_fn = fn;
	link_arg = arg;
	amp_port_unlock();
}

int amp_link_wait(int timeout_ms)
{
	struct amp_call c;
	int r = 0;

	amp_enter_timed(&c, timeout_ms);
	while (!links_up && r == 0)
		r = amp_again(&c);
	amp_leave(&c, 0);
	return r ? -ETIMEDOUT : 0;
}
