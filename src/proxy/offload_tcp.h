/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to offload_tcp.c and offload_listen.c. */
#ifndef AMP_PROXY_OFFLOAD_TCP_H
#define AMP_PROXY_OFFLOAD_TCP_H

#include "offload_inner.h"

/* BIND: a socket that is neither connected nor listening yet. */
struct amp_bound {
	struct amp_osock o; /* first */
	int fd;		    /* -1: virtual */
	struct amp_off_addr local;
};

struct amp_listener {
	struct amp_osock o;	      /* first */
	struct amp_acceptor acceptor; /* unless virtual */
	struct amp_off_addr local;
	uint64_t token;
	uint32_t credits;
};

struct amp_bound *amp_bound_find(struct amp_session *ses, uint32_t id);
/* The id ends. Returns its descriptor, -1: virtual. */
int amp_bound_take(struct amp_bound *b);
/* fd is an accepted connection, that came in at virt if that is not NULL; one credit of l is spent
 * already. */
void amp_tcp_accepted(struct amp_listener *l, struct amp_virtual *virt, int fd,
		      const struct sockaddr_storage *peer);
/* The listener ends: connections of its that the guest has not taken yet end with it. */
void amp_tcp_orphans(struct amp_session *ses, uint32_t listener);
/* struct amp_osock_ops.allowed, of what needs an `in` rule for its local address. */
bool amp_tcp_in_allowed(struct amp_osock *o, const struct amp_off_addr *local);
/* Our defaults and the guest's options on a new socket. Positive errno or 0. */
int amp_tcp_defaults(struct amp_osock *o, int fd, uint32_t opts_set, uint32_t opts);

#endif /* AMP_PROXY_OFFLOAD_TCP_H */
