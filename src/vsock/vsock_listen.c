// SPDX-License-Identifier: BSD-3-Clause
/* AF_VSOCK listeners: what listen() and accept() link. */
#include <errno.h>
#include <sys/vm_sockets.h>

#include "af_vsock.h"

#if AMPSOCK_VSOCK

static bool listens_on(struct amp_sock *s, const struct amp_vsock_addr *local, uint8_t type,
		       bool loop)
{
	struct amp_vsock_addr *at = &conn_of(s)->local;

	if (!(s->flags & AMP_SF_LISTEN) || at->port != local->port || wire_type(s) != type)
		return false;
	return at->cid == VMADDR_CID_ANY || at->cid == local->cid || loop;
}

struct amp_vsock_conn *amp_vsock_request(struct amp_vsock *vs,
					 const struct amp_vsock_ends *ends, uint8_t type)
{
	struct amp_vlink *l =
		(struct amp_vlink *)(void *)((char *)vs - offsetof(struct amp_vlink, vs));
	bool loop = l->index == AMP_VLINK_LOOP;
	struct amp_sock *s = NULL, *child;

	if (ends->local.cid != vs->local_cid)
		return NULL;
	do {
		s = amp_sock_next_of(s, &amp_vsock_family);
	} while (s && !listens_on(s, &ends->local, type, loop));
	if (!s || s->queued >= s->backlog)
		return NULL;
	child = amp_sock_find(amp_sock_new(AF_VSOCK, s->type, 0));
	if (!child)
		return NULL;
	if (amp_sock_ring(child)) {
		amp_sock_free(child);
		return NULL;
	}
	memcpy(child->timeo, s->timeo, sizeof(child->timeo));
	child->linger_s = s->linger_s;
	child->link = l->index;
	child->flags = AMP_SF_CONNECTED | AMP_SF_ORPHAN;
	if (!loop && ends->peer.cid == VMADDR_CID_HOST)
		child->flags |= AMP_SF_TRUSTED;
	conn_of(child)->buf_alloc = (AMP_CREDIT_CNT)buf_alloc(child);
	amp_vsock_respond(vs, conn_of(child));
	(void)amp_sock_queue_push(s, child);
	return conn_of(child);
}

int amp_vsock_listen(struct amp_sock *s, int backlog)
{
	(void)backlog;
	(void)amp_vlink_loop();
	return s->flags & AMP_SF_BOUND ? 0 : -EINVAL;
}

struct amp_sock *amp_vsock_accept(struct amp_sock *s, int *err)
{
	struct amp_sock *child = amp_sock_queue_pop(s);

	if (!child)
		*err = -EAGAIN;
	return child;
}

void amp_vsock_unlisten(struct amp_sock *s)
{
	struct amp_sock *child;

	while ((child = amp_sock_queue_pop(s)) != NULL) {
		child->linger_s = 0; /* nobody will read it: an RST */
		amp_vsock_sock_end(child, AMP_END_CLOSED);
	}
}

#endif /* AMPSOCK_VSOCK */
