// SPDX-License-Identifier: BSD-3-Clause
/*
 * Which links are up. Who neither waits for one nor has a callback is without it:
 * amp_link_report() is weak in stack.c, and linked from here.
 */
#include <errno.h>

#include "ampsock.h"
#include "stack.h"

static struct {
	uint32_t up; /* bit per link */
	void (*fn)(void *arg, int link, int up);
	void *arg;
} links; /* l */

void amp_link_report(int link, bool up)
{
	unsigned bit = (unsigned)link & 31;

	if ((links.up >> bit & 1u) == up)
		return;
	links.up ^= 1u << bit;
	if (links.fn)
		links.fn(links.arg, link, up);
}

void amp_link_callback(void (*fn)(void *arg, int link, int up), void *arg)
{
	amp_port_lock();
	links.fn = fn;
	links.arg = arg;
	amp_port_unlock();
}

int amp_link_wait(int timeout_ms)
{
	struct amp_call c;
	int r = 0;

	amp_enter_timed(&c, timeout_ms);
	while (!links.up && r == 0)
		r = amp_again(&c);
	amp_leave(&c, 0);
	return r ? -ETIMEDOUT : 0;
}
