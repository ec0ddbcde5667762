/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UDP for publish and expose: a datagram is a SOCK_SEQPACKET message on AF_VSOCK, one
 * vsock connection for each peer; or an rpmsg message, one endpoint for each peer. A datagram that the other side has no room for is
 * dropped and counted, as UDP does.
 */
#ifndef AMP_PROXY_UDP_RELAY_H
#define AMP_PROXY_UDP_RELAY_H

#include "link.h"

#define AMP_RELAY_PEERS	  256u	 /* of one publish rule */
#define AMP_RELAY_IDLE_MS 60000u /* a peer that says nothing this long is forgotten */

struct amp_udp_relay;

/*
 * From now on SO_RXQ_OVFL says how many datagrams the kernel has dropped since the socket was made.
 * How many those are already: another rule's, who has counted them.
 */
uint32_t amp_udp_count_drops(int fd);
/* The guest connected to an exposed port. */
void amp_udp_relay_expose(struct amp_link *link, struct amp_end *end,
			  const struct amp_forward *fwd);
/* A published port: fd is bound. NULL: no memory. */
struct amp_udp_relay *amp_udp_relay_publish(struct amp_link *link,
					    const struct amp_forward *fwd, int fd);
/* The socket is the caller's from now on: amp_udp_relay_free() leaves it alone. */
int amp_udp_relay_yield(struct amp_udp_relay *r);
/* The peers of an expose rule that goes. How many. */
unsigned amp_udp_relay_unexpose(struct amp_link *link, const struct amp_forward *fwd);
void amp_udp_relay_free(struct amp_udp_relay *relay);

#endif /* AMP_PROXY_UDP_RELAY_H */
