/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * POSIX's names for the calls that make and use descriptors. They are in one file so that
 * a program that makes a socket has our read, write and close too, whatever the order of
 * the archives: the C library brings others, which know no sockets.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include "../socket/amp_calls.h"

int socket(int domain, int type, int protocol)
{
	return amp_socket(domain, type, protocol);
}

ssize_t read(int fd, void *buf, size_t len)
{
	return amp_read(fd, buf, len);
}

ssize_t write(int fd, const void *buf, size_t len)
{
	return amp_write(fd, buf, len);
}

int close(int fd)
{
	return amp_close(fd);
}

/*
 * newlib's stdio calls these; picolibc's calls the ones above. Weak, because a C library's
 * board support may come with all of its own in one object (rdimon): then stdio is its.
 */
ssize_t _read(int fd, void *buf, size_t len) __attribute__((weak, alias("read")));
ssize_t _write(int fd, const void *buf, size_t len) __attribute__((weak, alias("write")));
int _close(int fd) __attribute__((weak, alias("close")));

int fcntl(int fd, int cmd, ...)
{
	int arg = 0;
	va_list ap;

	va_start(ap, cmd);
	if (cmd == F_SETFL) /* F_SETFD's says nothing here */
		arg = va_arg(ap, int);
	va_end(ap);
	return amp_fcntl_arg(fd, cmd, arg);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	int *arg;

	va_start(ap, request);
	arg = va_arg(ap, int *);
	va_end(ap);
	return amp_ioctl_arg(fd, request, arg);
}
