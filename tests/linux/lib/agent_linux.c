// SPDX-License-Identifier: BSD-3-Clause
/*
 * What tests/e2e/agent.c has of the library beyond socket calls, for its build on Linux's own
 * sockets: there is no link to bring up, and nothing to count.
 */
#include <errno.h>
#include <string.h>

#include "../../../include/ampsock.h"
#include "../../../include/ampsock_hosted.h"

void amp_log_hook(void (*hook)(const char *line))
{
	(void)hook;
}

int amp_link_vhost_user(const char *path, int timeout_ms)
{
	(void)path;
	(void)timeout_ms;
	return -EOPNOTSUPP;
}

int amp_link_rpmsg_host(const char *file, const char *bell)
{
	(void)file;
	(void)bell;
	return -EOPNOTSUPP;
}

int amp_link_rpmsg_remote(const char *file, const char *bell)
{
	(void)file;
	(void)bell;
	return -EOPNOTSUPP;
}

int amp_link_rpmsg_device(const char *path)
{
	(void)path;
	return -EOPNOTSUPP;
}

void amp_stats_get(struct amp_stats *out)
{
	memset(out, 0, sizeof(*out));
}
