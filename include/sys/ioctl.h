/* SPDX-License-Identifier: BSD-3-Clause */
/* sys/ioctl.h for bare toolchains: requests and numbers as on Linux. */
#ifndef AMP_SYS_IOCTL_H
#define AMP_SYS_IOCTL_H

#define FIONREAD 0x541B /* int *: bytes (or the next message's bytes) that recv would give */
#define FIONBIO	 0x5421 /* const int *: non-zero sets O_NONBLOCK, zero clears it */

#ifdef __cplusplus
extern "C" {
#endif

/* Newer picolibc has this header too, with an ioctl of three arguments, no more, no less. */
#ifndef _SYS_IOCTL_H_
#define _SYS_IOCTL_H_
/*
 * ioctl - FIONREAD, FIONBIO. The argument is an int pointer, borrowed for the call.
 * Returns 0, or -1 with errno EBADF, ENOTTY (no such request), EINVAL (FIONREAD on a
 * listener). Thread context. Source: Linux ioctl_tty(2); not in POSIX outside STREAMS.
 */
int ioctl(int fd, unsigned long request, ...);
#endif

#ifdef __cplusplus
}
#endif

#endif /* AMP_SYS_IOCTL_H */
