/* SPDX-License-Identifier: BSD-3-Clause */
/* Listening sockets, with a message that says what to do when one cannot be had. */
#ifndef AMP_PROXY_LISTEN_H
#define AMP_PROXY_LISTEN_H

#include "rule.h"

#define AMP_LISTEN_BACKLOG 1024
/* A predecessor that was killed has its sockets for a moment longer. */
#define AMP_ORPHAN_TRIES 50u
#define AMP_ORPHAN_MS	 20u

/*
 * A non-blocking listening Unix stream socket at path. A stale socket file is removed; one
 * that somebody listens on is not. Returns the descriptor, or -errno with a log line said, which
 * begins with the place: a link, or what is none's. For the helper alone.
 */
int amp_unix_listen(const char *path, const char *place);
/*
 * The same for any target: TCP listens, UDP is bound. In the worker. Where the port is any, who has asked
 * is whose successor gets the same: the link (or another word), and the service, if it is for one.
 */
int amp_target_listen(const struct amp_target *target, const char *link,
		      const struct amp_service *service);
/* The same, but never one that is held (see below). */
int amp_target_open(const struct amp_target *target, const char *link,
		    const struct amp_service *service);
/* What r, which one of these said, means for a person. */
const char *amp_listen_why(const struct amp_target *target, int r);
/*
 * Two of TCP, or UDP, where one is the wildcard and the other a part of it, until the older has ended: on: the
 * socket of ours that listens at target lets amp_target_beside() open the other. False: there
 * is none that can.
 */
bool amp_listen_share(const struct amp_target *target, bool on);
int amp_target_beside(const struct amp_target *target, const char *link);
/*
 * A predecessor that was killed has its ports for a moment longer. true: r says in use, and time has
 * passed: try again. One second in all while the worker starts, never after amp_listen_started().
 */
bool amp_listen_again(int r);
void amp_listen_started(void);
/*
 * The end of a socket of these calls: who connects from now on is refused at once, although the
 * helper and the service manager have duplicates. One that the service manager made is only given
 * back: it listens on.
 */
void amp_listen_close(int fd);
/* For a link's own socket. kind: enum amp_helper_kind. */
int amp_link_listen(unsigned kind, const char *path);

/*
 * Sockets between two owners, in a reload: those that are opened before anything changes, and
 * those that rules or links give up for others to go on with. The two calls above take from here
 * first. kind: 0 for a target of a publish rule.
 */
void amp_listen_hold(unsigned kind, const struct amp_target *target, int fd);
/* Those that nobody has taken are closed, and their files removed. */
void amp_listen_let_go(void);
/* The same for ports of AF_VSOCK, which links share (link_vsock.c). 0 or -errno, said. */
int amp_vsock_hold(const char *link, uint32_t port, bool message);
void amp_vsock_let_go(void);
/* A link's path as a target. */
struct amp_target amp_listen_path(const char *path);

#endif /* AMP_PROXY_LISTEN_H */
