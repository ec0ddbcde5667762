// SPDX-License-Identifier: BSD-3-Clause
/*
 * Preloaded under the proxy: while the file $NO_WATCH begins with another byte than zero no listening
 * socket can be watched (ENOSPC: fs.epoll.max_user_watches), which is found out when it is in use.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic(char) *none;

__attribute__((constructor)) static void begin(void)
{
	int fd = open(getenv("NO_WATCH"), O_RDONLY | O_CLOEXEC);

	none = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (none == MAP_FAILED)
		abort();
}

int epoll_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
	socklen_t len = sizeof(int);
	int listens = 0;

	if (op == EPOLL_CTL_ADD && atomic_load(none) &&
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens) {
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_epoll_ctl, ep, op, fd, ev);
}
