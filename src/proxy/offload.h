/* SPDX-License-Identifier: BSD-3-Clause */
/* The offload protocol's host side: what link.c and publish.c call. */
#ifndef AMP_PROXY_OFFLOAD_H
#define AMP_PROXY_OFFLOAD_H

#include "link.h"

/* NULL: no memory. */
struct amp_offload *amp_offload_new(struct amp_link *link);
void amp_offload_free(struct amp_offload *off);
/* The guest is gone: every session ends. */
void amp_offload_down(struct amp_offload *off);
/* A carrier from the guest itself. */
void amp_offload_incoming(struct amp_offload *off, struct amp_end *end);
/*
 * publish to inet:PORT: the guest's own bind to PORT is served from fd (bound; for TCP
 * listening). fd is ours from now on. 0 or -errno.
 */
int amp_offload_publish(struct amp_offload *off, const struct amp_forward *fwd, int fd);
/* The rule goes, and with it what the guest has at its port. Its socket, which is the caller's
 * from now on; -1: there is none. */
int amp_offload_unpublish(struct amp_offload *off, const struct amp_forward *fwd);
/* Rules have come, or gone (struct amp_rule.gone): sockets that none allows any more end. */
void amp_offload_rules(struct amp_offload *off);
/* No connection is accepted any more, neither published nor by the guest's own listeners. */
void amp_offload_quit(struct amp_offload *off);
/*
 * The guest's sockets that have no end in the ring (bound, listening), one by one: that behind
 * session *ses, socket *id, which are set to it (0, 0: the first). False: no more.
 */
bool amp_offload_next(const struct amp_offload *off, uint64_t *ses, uint32_t *id,
		      struct amp_sock_info *info);
unsigned amp_offload_sockets(const struct amp_offload *off);
/* At the end: jobs whose answers nobody waits for any more. */
void amp_resolve_fini(void);

#endif /* AMP_PROXY_OFFLOAD_H */
