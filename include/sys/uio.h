/* SPDX-License-Identifier: BSD-3-Clause */
/* sys/uio.h (POSIX.1-2017) for bare toolchains. */
#ifndef AMP_SYS_UIO_H
#define AMP_SYS_UIO_H

#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct iovec {
	void *iov_base;
	size_t iov_len; /* bytes */
};

/*
 * readv, writev - read() and write() over iovcnt buffers in order. iovcnt: 1 to 1024.
 * Returns bytes moved, 0 at end of file (readv), or -1 with errno as read() and write(),
 * and EINVAL (iovcnt out of range, or the lengths add up to more than SSIZE_MAX).
 * Thread context. POSIX.1-2017.
 */
ssize_t readv(int fd, const struct iovec *iov, int iovcnt);
ssize_t writev(int fd, const struct iovec *iov, int iovcnt);

#ifdef __cplusplus
}
#endif

#endif /* AMP_SYS_UIO_H */
