/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets that the service manager passed (sd_listen_fds(3)): LISTEN_PID, LISTEN_FDS,
 * LISTEN_FDNAMES. Each goes to the rule, link or control socket whose address it has, so that a
 * .socket unit and the configuration need no word in common but the address; one that nobody
 * wants is told and closed: its clients would wait for ever without anybody knowing why.
 */
#ifndef AMP_PROXY_ACTIVATED_H
#define AMP_PROXY_ACTIVATED_H

#include <stdbool.h>
#include <sys/socket.h>

#define AMP_ACTIVATED_FIRST 3	  /* SD_LISTEN_FDS_START */
#define AMP_ACTIVATED_MAX   8192u /* the manager's store, of 4096 in our units, and sockets */
#define AMP_ACTIVATED_NAME  256u

/*
 * Takes the descriptors and the variables over: once, before anything else opens a descriptor or
 * forks. They are made close-on-exec and non-blocking. The number; -EINVAL: the variables make no
 * sense (nothing is taken then); -EBADF: a number that is no open descriptor.
 */
int amp_activated_init(void);

/*
 * A duplicate of the socket of `type` (SOCK_STREAM: listening; SOCK_DGRAM: bound) that has exactly
 * this address; the caller's. The socket itself stays here, for the next who asks: the unit keeps
 * the address busy, and nobody could bind it anew. -ENOENT: none was passed. -EPROTOTYPE: it has
 * the address, but not the type, or does not listen. -EMFILE.
 */
int amp_activated_lend(int type, const struct sockaddr *sa);
/* Is the socket of this inode one of them, lent or not? Its address is in use for good. */
bool amp_activated_has(unsigned long inode);
/*
 * One that a program before this one, the same process, was passed (kept.h): here it is as if it had been
 * lent already. -EMFILE: closed.
 */
int amp_activated_adopt(int fd);
/* Are there any? */
bool amp_activated_any(void);
/* By the name of a descriptor (FileDescriptorName=, FDNAME=), whatever it is; the caller's. */
int amp_activated_take_name(const char *name);

/* The next whose name begins like this, and its name, which lasts; the caller's. -ENOENT: no more. */
int amp_activated_take_prefix(const char *prefix, const char **name);

/* What nobody wanted so far: each is named to say() and closed. The number. */
unsigned amp_activated_rest(void (*say)(void *arg, const char *text), void *arg);
/* Closes everything: another process has it. */
void amp_activated_close(void);

#endif /* AMP_PROXY_ACTIVATED_H */
