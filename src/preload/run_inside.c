// SPDX-License-Identifier: BSD-3-Clause
/* ampsock-run: what no socket call tells, asked of the library's own structures. */
#include <errno.h>
#include <sys/rpmsg_socket.h>

#include "ampsock.h"
#include "../af_rpmsg/af_rpmsg.h"
#include "../socket/stack.h"
#include "run_start.h"

/* Closed, and something of it may still be on its way. */
static bool closing(const struct amp_sock *s)
{
	const struct amp_vlink *l = s->link < AMP_VLINK_CNT ? amp_vlinks[s->link] : NULL;

	if (!(s->flags & AMP_SF_ORPHAN))
		return false;
	if (s->domain == AF_INET || s->domain == AF_INET6)
		return true;
	/* carriers have no descriptor either, but who holds them is counted; and what waits for a
	 * link that is down waits for nobody */
	return (s->sub & SUB_CLOSED) && l && l->up;
}

unsigned run_closing(void)
{
	struct amp_stats st;
	struct amp_sock *s = NULL;
	unsigned n = 0;

	amp_stats_get(&st);
	amp_port_lock();
	while ((s = amp_sock_next(s)) != NULL) {
		n += closing(s);
	}
	amp_port_unlock();
	return n ? n : st.tx_pending;
}

/* What the next buffer towards the peer has room for. */
static int rpmsg_room(struct amp_sock *s)
{
	struct amp_rlink *l = amp_rsock_link(s);
	struct amp_rpmsg_tx tx;

	if (amp_rpmsg_reserve(&l->bus, &tx))
		return 0;
	amp_rpmsg_cancel(&l->bus, &tx);
	return (int)tx.room;
}

int run_limit(int amp)
{
	struct amp_sock *s;
	int most = 0;

	amp_port_lock();
	s = amp_sock_find(amp);
	if (s && s->type == SOCK_SEQPACKET && (s->flags & AMP_SF_CONNECTED))
		most = s->domain == AF_RPMSG
			       ? rpmsg_room(s)
			       : (int)(conn_of(s)->credit.peer_buf_alloc & INT32_MAX);
	amp_port_unlock();
	return most;
}
