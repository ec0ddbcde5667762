/* SPDX-License-Identifier: BSD-3-Clause */
/* A core behind a proxy has no network interfaces; index 0 means the proxy's choice. */
#include <errno.h>
#include <net/if.h>

#include "../socket/amp_calls.h"

unsigned int if_nametoindex(const char *name)
{
	(void)name;
	amp_fail(ENODEV);
	return 0;
}

char *if_indextoname(unsigned int index, char *name)
{
	(void)index;
	(void)name;
	amp_fail(ENXIO);
	return NULL;
}

struct if_nameindex *if_nameindex(void)
{
	static const struct if_nameindex end;

	return (struct if_nameindex *)&end;
}

void if_freenameindex(struct if_nameindex *list)
{
	(void)list;
}
