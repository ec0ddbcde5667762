// SPDX-License-Identifier: BSD-3-Clause
/* Preloaded under ampsockctl: SIGINT comes when it is about to wait, not a moment later. */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

static int raised;

int poll(struct pollfd *fds, nfds_t cnt, int timeout_ms)
{
	if (timeout_ms < 0 && !raised++)
		raise(SIGINT);
	return (int)syscall(SYS_poll, fds, cnt, timeout_ms);
}

int ppoll(struct pollfd *fds, nfds_t cnt, const struct timespec *timeout, const sigset_t *mask)
{
	if (!timeout && !raised++)
		raise(SIGINT);
	return (int)syscall(SYS_ppoll, fds, cnt, timeout, mask, 8);
}
