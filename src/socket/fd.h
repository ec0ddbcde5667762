/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors (floor 4): sockets, and whatever a board adds, its console first of all,
 * so that select() works over both.
 */
#ifndef AMP_FD_H
#define AMP_FD_H

#include <stdint.h>
#include <sys/types.h>

/* A descriptor that is no socket. Never blocks: -EAGAIN. Stack lock held. */
struct amp_fd_ops {
	ssize_t (*read)(int fd, void *buf, size_t len);
	ssize_t (*write)(int fd, const void *buf, size_t len);
	int (*poll)(int fd);  /* POLLIN POLLOUT now */
	int (*close)(int fd); /* NULL: stays open, close() answers 0 */
};

/* Board code, once, before the first call: all descriptors below AMPSOCK_FD_BASE, that is
 * 0..2 on a board. NULL takes it away. */
void amp_fd_console(const struct amp_fd_ops *ops);

#endif /* AMP_FD_H */
