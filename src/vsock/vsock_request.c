// SPDX-License-Identifier: BSD-3-Clause
/* The engine's half of listening: what a REQUEST becomes (vsock_inner.h). */
#include "vsock_inner.h"

struct amp_vsock_conn *amp_vsock_take_request(struct amp_vsock *vs,
					      const struct amp_vsock_hdr *h,
					      const struct amp_vsock_ends *ends)
{
	struct amp_vsock_conn *c;

	if (!QUEUES || (OWNERS && !OPS(vs)->request) ||
	    (h->type != AMP_VSOCK_STREAM && !vs->seqpacket &&
	     amp_vsock_cid(&ends->peer) != AMP_VSOCK_CID_LOCAL))
		return NULL;
	c = OWNERS ? OPS(vs)->request(vs, ends, (uint8_t)h->type)
		   : amp_vsock_request(vs, ends, (uint8_t)h->type);
	if (c)
		amp_vsock_requested(vs, c, ends, h->type, h->buf_alloc);
	return c;
}

void amp_vsock_requested(struct amp_vsock *vs, struct amp_vsock_conn *c,
			 const struct amp_vsock_ends *ends, unsigned type,
			 uint32_t peer_buf_alloc)
{
	bool answered = c->state == AMP_CONN_OPEN; /* amp_vsock_respond() inside the hook */

	c->ends = *ends;
	c->type = (uint8_t)type;
	amp_vsock_conn_init(vs, c, AMP_CONN_REQUESTED);
	c->credit.peer_buf_alloc = peer_buf_alloc;
	if (answered)
		amp_vsock_respond(vs, c);
}

void amp_vsock_respond(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	if (c->state == AMP_CONN_FREE) /* in the request hook: the rest is its last life */
		c->state = AMP_CONN_OPEN;
	if (c->state != AMP_CONN_REQUESTED)
		return;
	amp_vsock_owe(vs, c, AMP_OWE_RESPONSE);
	c->state = AMP_CONN_OPEN;
	amp_vsock_consumed(vs, c, 0); /* it may have given up while it waited for us */
}
