// SPDX-License-Identifier: BSD-3-Clause
/* The addresses of an AF_RPMSG socket. */
#include <errno.h>
#include <string.h>
#include <sys/rpmsg_socket.h>

#include "af_rpmsg.h"

#if AMPSOCK_RPMSG

/* Not a connection of the engine: what it is bound to, or has an endpoint for. */
static inline void local_name(struct amp_sock *s, struct sockaddr_rpmsg *a)
{
	const struct amp_rsock *p = amp_rsock(s);
	bool bound = s->flags & AMP_SF_BOUND, child = s->sub & SUB_CHILD;
	size_t len;

	for (unsigned i = 0; i < AMPSOCK_RPMSG; i++) {
		/* a datagram may have gone out on another link, from an address there */
		if (AMPSOCK_RPMSG > 1 && bound && p->bound_on != AMP_RLINK_ANY &&
		    p->bound_on != i)
			continue;
		if (!p->end[i].ept.kind &&
		    !(child && (AMPSOCK_RPMSG == 1 || s->link == AMP_VLINK_RPMSG + i)))
			continue;
		a->rp_link = (uint16_t)i;
		a->rp_addr = p->end[i].ept.addr;
	}
	if (!bound)
		return;
	a->rp_link = p->bound_on == AMP_RLINK_ANY ? RPMSG_LINK_ANY : p->bound_on;
	if (!p->own)
		return;
	len = strlen(p->own->name);
	if (s->type == SOCK_STREAM)
		len -= sizeof(AMP_RSTREAM_SUFFIX) - 1;
	memcpy(a->rp_name, p->own->name, len);
}

int amp_rpmsg_name(struct amp_sock *s, bool peer, struct sockaddr *addr, socklen_t *len)
{
	bool stream = amp_rsock_is_conn(s);
	struct sockaddr_rpmsg a;

	memset(&a, 0, sizeof(a));
	a.rp_family = AF_RPMSG;
	a.rp_link = RPMSG_LINK_ANY;
	a.rp_addr = RPMSG_ADDR_ANY;
	if (peer && !(s->flags & AMP_SF_CONNECTED))
		return -ENOTCONN;
	if (s->link)
		a.rp_link = (uint16_t)(s->link - AMP_VLINK_RPMSG);
	if (stream)
		a.rp_addr = peer ? conn_of(s)->peer.port : conn_of(s)->local.port;
	else if (peer)
		a.rp_addr = amp_rsock(s)->peer;
	else
		local_name(s, &a);
	memcpy(addr, &a, *len < sizeof(a) ? *len : sizeof(a));
	*len = sizeof(a);
	return 0;
}

#endif /* AMPSOCK_RPMSG */
