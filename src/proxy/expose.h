/* SPDX-License-Identifier: BSD-3-Clause */
/* expose: the guest connects to a port of ours, we connect to a target of the host. */
#ifndef AMP_PROXY_EXPOSE_H
#define AMP_PROXY_EXPOSE_H

#include "link.h"

/* NULL: nothing is exposed there (for messages: to UDP; for streams: to TCP or Unix). */
const struct amp_forward *amp_expose_find(const struct amp_link *link,
					  const struct amp_service *service, bool message);
/* The rule goes, and with it what came through it. How many connections. */
unsigned amp_expose_end(struct amp_link *link, const struct amp_forward *fwd);
void amp_expose_incoming(struct amp_link *link, struct amp_end *end,
			 const struct amp_forward *fwd);

/*
 * Connect a new non-blocking socket. *fd; 0: connected, 1: under way, or -errno. The
 * handshake with a port of this host is over when connect() returns, so it is asked
 * again at once: that saves a turn of the loop.
 */
int amp_connect_start(const struct amp_target *target, int *fd);
/* The same for a socket that exists. */
int amp_connect_fd(int fd, const struct sockaddr *sa, socklen_t len);

#endif /* AMP_PROXY_EXPOSE_H */
