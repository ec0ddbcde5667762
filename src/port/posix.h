/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The port for a Linux process: what the hosted transports need of it beyond port.h.
 */
#ifndef AMP_PORT_POSIX_H
#define AMP_PORT_POSIX_H

#include <stdbool.h>

#define AMP_PORT_WATCHES 128

/*
 * While some thread sleeps in amp_port_wait(), fd being readable wakes it. drain is then
 * called with the stack lock held (NULL: whoever reads fd in its runner drains it). fd
 * must not be closed before amp_port_unwatch(). Lock held. 0 or -ENOBUFS.
 */
int amp_port_watch(int fd, void (*drain)(int fd));
void amp_port_unwatch(int fd);

/* A drain for eventfds and for sockets used as such. */
void amp_port_drain(int fd);

/*
 * The process ends, in this thread: no other comes back from a call of the library, or gets into one,
 * which would be told that its sockets are closed. Once. False: the lock is not to be had within a
 * second, as a signal handler ends the process in the midst of a call.
 */
bool amp_port_end(void);

#endif /* AMP_PORT_POSIX_H */
