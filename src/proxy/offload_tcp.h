/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to offload_tcp.c, offload_connect.c and offload_listen.c. */
#ifndef AMP_PROXY_OFFLOAD_TCP_H
#define AMP_PROXY_OFFLOAD_TCP_H

#include "offload_inner.h"

/* A connection that a guest opened, or that came to a listener of its. */
struct amp_tcp {
	struct amp_osock o; /* first */
	struct amp_end *guest;
	struct amp_end *host;
	struct amp_flow *flow;
	int fd;		   /* a bound socket that waits for its name to resolve */
	uint16_t port;	   /* connect by name */
	uint32_t listener; /* accepted: id of its listener, until the guest took the carrier */
	bool half;	   /* counts as half-open */
	bool answering;	   /* header[] is on its way */
	bool refused;	   /* ... and nothing follows it */
	bool accepted;
	bool dead;
	uint8_t header_off;
	uint8_t header[AMP_OFF_ANSWER_LEN];
	struct amp_off_open open;
	struct amp_off_addr bound; /* what an `in` rule allowed: rule[AMP_DIR_IN] */
	struct amp_off_opts
		*opts; /* of the socket that was bound, for another one in its place */
	/* addresses still to try: open.peer, or those of a name */
	struct amp_off_addr *addrs;
	unsigned addr_cnt, addr_at;
};

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

/* ---- offload_tcp.c ---- */
/* NULL: no room. */
struct amp_tcp *amp_tcp_new(struct amp_session *ses, uint8_t family);
/* ANSWER, then the flow, or with err (positive) the end. */
void amp_tcp_answer(struct amp_tcp *t, int err);
/* Connected, refused, or given up. */
void amp_tcp_not_half(struct amp_tcp *t);
extern const struct amp_end_user amp_tcp_host_user, amp_tcp_guest_user;

/* ---- offload_connect.c ---- */
/* The next address of the name, or the answer that none is left: err of the last. */
void amp_tcp_connect_next(struct amp_tcp *t, int err);

/* ---- between offload_listen.c and the others ---- */
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
