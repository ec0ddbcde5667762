// SPDX-License-Identifier: BSD-3-Clause
/*
 * What tests/e2e/agent.c has of the library beyond socket calls, for its build on Linux's own
 * sockets: there is no link to bring up, and nothing to count. And patience: Linux gives up a
 * connect() of AF_VSOCK after two seconds, which a guest among other tests may need.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <linux/vm_sockets.h>

#include "../../../include/ampsock.h"
#include "../../../include/ampsock_hosted.h"

#define PATIENCE_S 60

int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol);

int __wrap_socket(int family, int type, int protocol)
{
	const struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd = __real_socket(family, type, protocol);

	if (fd >= 0 && family == AF_VSOCK)
		setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience,
			   sizeof(patience));
	return fd;
}

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
