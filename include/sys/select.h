/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sys/select.h for bare toolchains: the C library's own (fd_set, FD_*, select) plus what
 * it hides under -std=c11. Its <sys/types.h> may be what includes us: nothing here may
 * need more than its <sys/select.h> brings.
 */
#include_next <sys/select.h>

#ifndef AMP_SYS_SELECT_H
#define AMP_SYS_SELECT_H

#include <sys/cdefs.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * select - wait until a descriptor is ready (POSIX.1-2017; sockets and the console).
 * nfds: highest descriptor + 1, at most FD_SETSIZE. The sets are in/out and may be NULL;
 * errorfds reports a pending socket error. timeout NULL: for ever; zero: look only; it is
 * not changed. Level-triggered, agrees with what the call then does.
 * Returns ready descriptors over all sets, 0 when the time is up, -1 with errno EBADF
 * (a set descriptor is not open), EINVAL (nfds or timeout out of range).
 * Thread context only. Declared by the C library, implemented here.
 *
 * pselect - the same with a timespec. There are no signals: sigmask is ignored.
 */
#if defined(__POSIX_VISIBLE) && __POSIX_VISIBLE < 200112
int pselect(int nfds, fd_set *__restrict readfds, fd_set *__restrict writefds,
	    fd_set *__restrict errorfds, const struct timespec *__restrict timeout,
	    const sigset_t *__restrict sigmask);
#endif

#ifdef __cplusplus
}
#endif

#endif /* AMP_SYS_SELECT_H */
