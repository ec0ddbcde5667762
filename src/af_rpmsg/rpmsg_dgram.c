// SPDX-License-Identifier: BSD-3-Clause
/* Names of datagrams: what sendto(), recvfrom() and their relatives link. */
#include <errno.h>
#include <string.h>
#include <sys/rpmsg_socket.h>

#include "af_rpmsg.h"

#if AMPSOCK_RPMSG

int amp_rpmsg_dgram_to(struct amp_sock *s, const struct amp_msg *m, uint32_t *dst)
{
	struct amp_raddr to;
	int r = amp_raddr_get(s, m->name, m->name_len, &to), err;

	if (r)
		return r;
	r = amp_raddr_find(to.link, to.name, &to.addr);
	if (r < 0) /* a datagram does not wait until somebody has announced it */
		return r == -EAGAIN ? -ECONNREFUSED : r;
	*dst = to.addr;
	err = amp_rsock_open(s, (unsigned)r, 0);
	return err ? err : r;
}

void amp_rraw_source(struct amp_msg *m, const struct amp_rraw_hdr *h)
{
	struct sockaddr_rpmsg a;

	memset(&a, 0, sizeof(a));
	a.rp_family = AF_RPMSG;
	if (AMPSOCK_RPMSG > 1)
		a.rp_link = h->link;
	a.rp_addr = h->src;
	memcpy(m->name, &a, m->name_len < sizeof(a) ? m->name_len : sizeof(a));
	m->name_len = sizeof(a);
}

#endif /* AMPSOCK_RPMSG */
