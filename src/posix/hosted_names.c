// SPDX-License-Identifier: BSD-3-Clause
/*
 * Linux processes only: other names that a C library's headers give the socket calls. An
 * object's calls are renamed after it was compiled (docs/architecture.md), and what is in it
 * depends on how: fcntl64 with -D_FILE_OFFSET_BITS=64, __recv_chk and its kin, which have the
 * buffer's size, with -D_FORTIFY_SOURCE, __select64 and its kin on 32-bit machines with
 * -D_TIME_BITS=64. A name that was missed would not fail to link: it would be a call of Linux's
 * own on a descriptor that is not Linux's.
 *
 * mk/10-lib.mk has the list. Names with a wide time_t are defined where the library itself has one:
 * a program that was compiled otherwise does not link, which is better than its time-outs misread.
 */
#include <stdarg.h>

#include "socket/amp_calls.h"

_Noreturn void __chk_fail(void); /* the C library's: a message and abort() */

int amp_fcntl64(int fd, int cmd, ...);
ssize_t amp___read_chk(int fd, void *buf, size_t len, size_t room);
ssize_t amp___recv_chk(int fd, void *buf, size_t len, size_t room, int flags);
ssize_t amp___recvfrom_chk(int fd, void *restrict buf, size_t len, size_t room, int flags,
			   struct sockaddr *restrict src, socklen_t *restrict src_len);
int amp___poll_chk(struct pollfd *fds, nfds_t nfds, int timeout, size_t room);
int amp___ppoll_chk(struct pollfd *fds, nfds_t nfds, const struct timespec *timeout,
		    const sigset_t *sigmask, size_t room);

/* Of the commands that there are, those that have an argument have an int. */
int amp_fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	int arg;

	va_start(ap, cmd);
	arg = va_arg(ap, int);
	va_end(ap);
	return amp_fcntl(fd, cmd, arg);
}

ssize_t amp___read_chk(int fd, void *buf, size_t len, size_t room)
{
	if (len > room)
		__chk_fail();
	return amp_read(fd, buf, len);
}

ssize_t amp___recv_chk(int fd, void *buf, size_t len, size_t room, int flags)
{
	if (len > room)
		__chk_fail();
	return amp_recv(fd, buf, len, flags);
}

ssize_t amp___recvfrom_chk(int fd, void *restrict buf, size_t len, size_t room, int flags,
			   struct sockaddr *restrict src, socklen_t *restrict src_len)
{
	if (len > room)
		__chk_fail();
	return amp_recvfrom(fd, buf, len, flags, src, src_len);
}

int amp___poll_chk(struct pollfd *fds, nfds_t nfds, int timeout, size_t room)
{
	if (room / sizeof(*fds) < nfds)
		__chk_fail();
	return amp_poll(fds, nfds, timeout);
}

int amp___ppoll_chk(struct pollfd *fds, nfds_t nfds, const struct timespec *timeout,
		    const sigset_t *sigmask, size_t room)
{
	if (room / sizeof(*fds) < nfds)
		__chk_fail();
	return amp_ppoll(fds, nfds, timeout, sigmask);
}

#ifdef __USE_TIME_BITS64
#define SAME(name) __attribute__((alias(#name)))
__typeof__(amp_fcntl64) amp___fcntl_time64 SAME(amp_fcntl64);
__typeof__(amp___ppoll_chk) amp___ppoll64_chk SAME(amp___ppoll_chk);

int amp___ioctl_time64(int fd, unsigned long request, ...);
__typeof__(amp_ppoll) amp___ppoll64;
__typeof__(amp_select) amp___select64;
__typeof__(amp_pselect) amp___pselect64;
__typeof__(amp_recvmsg) amp___recvmsg64;
__typeof__(amp_sendmsg) amp___sendmsg64;
__typeof__(amp_getsockopt) amp___getsockopt64;
__typeof__(amp_setsockopt) amp___setsockopt64;

int amp___ioctl_time64(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	return amp_ioctl(fd, request, arg);
}

int amp___ppoll64(struct pollfd *fds, nfds_t nfds, const struct timespec *timeout,
		  const sigset_t *sigmask)
{
	return amp_ppoll(fds, nfds, timeout, sigmask);
}

int amp___select64(int nfds, fd_set *restrict readfds, fd_set *restrict writefds,
		   fd_set *restrict errorfds, struct timeval *restrict timeout)
{
	return amp_select(nfds, readfds, writefds, errorfds, timeout);
}

int amp___pselect64(int nfds, fd_set *restrict readfds, fd_set *restrict writefds,
		    fd_set *restrict errorfds, const struct timespec *restrict timeout,
		    const sigset_t *restrict sigmask)
{
	return amp_pselect(nfds, readfds, writefds, errorfds, timeout, sigmask);
}

ssize_t amp___recvmsg64(int fd, struct msghdr *msg, int flags)
{
	return amp_recvmsg(fd, msg, flags);
}

ssize_t amp___sendmsg64(int fd, const struct msghdr *msg, int flags)
{
	return amp_sendmsg(fd, msg, flags);
}

int amp___getsockopt64(int fd, int level, int name, void *restrict val, socklen_t *restrict len)
{
	return amp_getsockopt(fd, level, name, val, len);
}

int amp___setsockopt64(int fd, int level, int name, const void *val, socklen_t len)
{
	return amp_setsockopt(fd, level, name, val, len);
}
#endif
