/* SPDX-License-Identifier: BSD-3-Clause */
/* POSIX's names for waiting on several descriptors. */
#include "../socket/amp_calls.h"

int poll(struct pollfd *fds, nfds_t nfds, int timeout)
{
	return amp_poll(fds, nfds, timeout);
}

int ppoll(struct pollfd *fds, nfds_t nfds, const struct timespec *timeout,
	  const sigset_t *sigmask)
{
	return amp_ppoll(fds, nfds, timeout, sigmask);
}

int select(int nfds, fd_set *readfds, fd_set *writefds, fd_set *errorfds,
	   struct timeval *timeout)
{
	return amp_select(nfds, readfds, writefds, errorfds, timeout);
}

int pselect(int nfds, fd_set *readfds, fd_set *writefds, fd_set *errorfds,
	    const struct timespec *timeout, const sigset_t *sigmask)
{
	return amp_pselect(nfds, readfds, writefds, errorfds, timeout, sigmask);
}
