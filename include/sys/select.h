/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sys/select.h for bare toolchains: the C library's own (fd_set, FD_*, select) plus what
 * it hides under -std=c11. Its <sys/types.h> may be what includes us: nothing here may
 * need more than its <sys/select.h> brings.
 */
#pragma GCC system_header /* -pedantic: #include_next is no ISO C */
#include_next <sys/select.h>

#ifndef AMP_SYS_SELECT_H
#define AMP_SYS_SELECT_H

#include <stddef.h>
#include <sys/cdefs.h>

/* newlib 3's masks are signed, so that -Wconversion trips over every use. */
#ifdef fd_set
#undef FD_SET
#undef FD_CLR
#undef FD_ISSET
#define __AMP_FD_WORD(n, p) ((p)->fds_bits[(size_t)(n) / NFDBITS])
#define __AMP_FD_BIT(n)	    ((fd_mask)1 << ((size_t)(n) % NFDBITS))
#define FD_SET(n, p)	    (__AMP_FD_WORD(n, p) |= __AMP_FD_BIT(n))
#define FD_CLR(n, p)	    (__AMP_FD_WORD(n, p) &= ~__AMP_FD_BIT(n))
#define FD_ISSET(n, p)	    ((__AMP_FD_WORD(n, p) & __AMP_FD_BIT(n)) != 0)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/*
 * select - wait until a descriptor is ready (POSIX.1-2017; sockets and the console).
 * nfds: highest descriptor + 1, at most FD_SETSIZE. The sets are in/out and may be NULL;
 * errorfds never reports anything (there is no urgent data): a pending socket error makes
 * a descriptor readable and writable. timeout NULL: for ever; zero: look only; it is
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
