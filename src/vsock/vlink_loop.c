// SPDX-License-Identifier: BSD-3-Clause
/*
 * The in-core loop of the AF_VSOCK family: CID 1. Linked with listen() and socketpair():
 * without a listener on this core there is nobody to reach.
 */
#include <sys/vm_sockets.h>

#include "af_vsock.h"
#include "vsock_inner.h"

#if AMPSOCK_LOOP
AMP_OPTIONAL(amp_vlink_stats);

/*
 * A packet's header, and what amp_reserve() lends of it. Where data goes from the sender's memory to
 * the receiver's (AMP_VSOCK_LOOP_APART) nothing else lies here, and a small build lends little.
 */
#if AMP_VSOCK_LOOP_APART && !AMPSOCK_FAST
#define LOOP_BUF_LEN (AMP_VSOCK_HDR_LEN + 84u)
#else
#define LOOP_BUF_LEN AMPSOCK_VSOCK_BUF_LEN
#endif

static struct amp_vlink loop_link;
static uint8_t loop_buf[LOOP_BUF_LEN] __attribute__((aligned(8)));

/* Calm when nothing is owed, waits or closes: most of the time. */
static void loop_calm(struct amp_runner *r)
{
	const struct amp_vsock *vs = &loop_link.vs;

	r->calm = !r->due && !vs->owed_head && !vs->to_do && !amp_vsock_timed(vs);
}

static int32_t loop_run(struct amp_runner *r, uint32_t now_ms)
{
	int32_t ms = amp_vlink_turn(&loop_link);

	(void)now_ms;
	loop_calm(r);
	return ms;
}

static unsigned loop_flush(struct amp_runner *r)
{
	amp_vlink_flush(&loop_link);
	amp_vlink_asked(&loop_link);
	loop_calm(r);
	return 0;
}

/* The loop comes up with the first socket that wants it. */
struct amp_vlink *amp_vlink_loop(void)
{
	struct amp_vlink *l = &loop_link;

	if (l->up)
		return l;
	l->runner.run = loop_run;
	l->runner.untimed = true;
	l->runner.kick_due = loop_flush;
	l->runner.stats = amp_vlink_stats;
	l->index = AMP_VLINK_LOOP;
	l->vs.local_cid = VMADDR_CID_LOCAL;
	l->vs.seqpacket = true;
	l->vs.path = &amp_vsock_loop;
	l->vs.loop_buf = loop_buf;
	l->vs.loop_len = sizeof(loop_buf) - AMP_VSOCK_HDR_LEN;
	amp_vlinks[AMP_VLINK_LOOP] = l;
	amp_vlink_up(l);
	return l;
}

/* Nobody asks and nobody answers: both ends know the other's window, and are open. */
int amp_vsock_pair(struct amp_sock *const ab[2])
{
	struct amp_vlink *l = amp_vlink_loop();
	const struct amp_vsock_addr port[2] = {
		amp_vsock_at(VMADDR_CID_LOCAL, amp_vsock_port_any()),
		amp_vsock_at(VMADDR_CID_LOCAL, amp_vsock_port_any()), /* they rotate: another */
	};

	for (unsigned i = 0; i < 2; i++) {
		struct amp_sock *s = ab[i];
		struct amp_vsock_conn *c = conn_of(s);
		int r = amp_sock_ring(s);

		if (r)
			return r;
		s->link = l->index;
		s->flags |= AMP_SF_CONNECTED | AMP_SF_BOUND;
		c->buf_alloc = (AMP_CREDIT_CNT)buf_alloc(s);
		c->ends = (struct amp_vsock_ends){port[i], port[!i]};
		c->type = wire_type(s);
		amp_vsock_conn_init(&l->vs, c, AMP_CONN_OPEN);
		c->credit.peer_buf_alloc = c->buf_alloc; /* they are alike */
	}
	return 0;
}
#else
struct amp_vlink *amp_vlink_loop(void)
{
	return NULL;
}

int amp_vsock_pair(struct amp_sock *const ab[2])
{
	(void)ab;
	return -ENETUNREACH;
}
#endif
