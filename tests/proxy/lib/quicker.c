// SPDX-License-Identifier: BSD-3-Clause
/*
 * Preloaded under the proxy: whoever shares a descriptor with it is quicker, and has made it blocking
 * again when O_NONBLOCK was set.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

int fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	long arg;

	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	if (cmd == F_SETFL)
		arg &= ~(long)O_NONBLOCK;
	return (int)syscall(SYS_fcntl, fd, cmd, arg);
}

int fcntl(int fd, int cmd, ...) __attribute__((alias("fcntl64")));
