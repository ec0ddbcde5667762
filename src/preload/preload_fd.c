// SPDX-License-Identifier: BSD-3-Clause
/*
 * libampsock-preload.so: calls that make one descriptor another. They do what they always do;
 * only what was seen of a number is not true of its next owner.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "preload.h"

/*
 * What a socket is bound to is free, and nobody connects to a listener any more, when close()
 * returns: ampsock-run hears of it by itself, but later.
 */
EXPORT int close(int fd)
{
	unsigned kind = preload_kind_seen(fd);
	struct preload_fd p;
	bool tell = (kind & (FD_LISTENS | FD_FRESH)) && preload_is_ours(fd, &p);
	int r;

	preload_forget(fd); /* before: then the number may be another thread's */
	r = REAL(close)(fd);
	if (tell && r == 0)
		(void)preload_ask_fd(AMP_RUN_CLOSED, &p, 0, 0);
	return r;
}

EXPORT int dup(int fd)
{
	int to = REAL(dup)(fd);

	preload_copied(fd, to);
	return to;
}

EXPORT int dup2(int fd, int to)
{
	int r = REAL(dup2)(fd, to);

	if (r >= 0 && fd != to)
		preload_copied(fd, to);
	return r;
}

EXPORT int dup3(int fd, int to, int flags)
{
	int r = REAL(dup3)(fd, to, flags);

	if (r >= 0)
		preload_copied(fd, to);
	return r;
}

EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	if (!(flags & (int)CLOSE_RANGE_CLOEXEC)) {
		for (unsigned fd = first; fd <= last && fd < 65536; fd++)
			preload_forget((int)fd);
	}
	return REAL(close_range)(first, last, flags);
}

EXPORT void closefrom(int first)
{
	for (int fd = first < 0 ? 0 : first; fd < 65536; fd++)
		preload_forget(fd);
	REAL(closefrom)(first);
}

/* The third argument is an int or a pointer, or not there: passed on as it came. */
static int do_fcntl(int (*real)(int, int, ...), int fd, int cmd, void *arg)
{
	int r = real(fd, cmd, arg);

	if (r >= 0 && (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC))
		preload_copied(fd, r);
	return r;
}

EXPORT int fcntl(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return do_fcntl(REAL(fcntl), fd, cmd, arg);
}

EXPORT int fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return do_fcntl(REAL(fcntl64), fd, cmd, arg);
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
	struct preload_fd p;
	va_list ap;
	void *arg;
	int r;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	r = REAL(ioctl)(fd, request, arg);
	/* a datagram's header is not the program's */
	if (r == 0 && request == FIONREAD && (preload_kind(fd) & FD_KIND) == FD_DGRAM &&
	    preload_is_ours(fd, &p)) {
		int *n = arg;

		*n = *n > (int)sizeof(struct amp_run_dgram)
			     ? *n - (int)sizeof(struct amp_run_dgram)
			     : 0;
	}
	return r;
}
