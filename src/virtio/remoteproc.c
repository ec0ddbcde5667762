// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation: the remote's side of a resource table.
 *
 * The handshake is the door's (remoteproc.h), where boot and look are, too, which have one caller.
 * Here is what makes it safe on this side:
 *
 *  - the host writes addresses after this core may already run, so none is read before
 *    DRIVER_OK is seen, and each then once, into a local;
 *  - of all that the table says of a vring only da is the host's to say. num and align are
 *    the firmware's own constants, and a ring and every buffer must lie within the window;
 *  - status and host_epoch are compared and never counted with.
 *
 * Order. boot: status, then remote_epoch (wmb, pairs with the rmb of the host's look): a host
 * that sees the answer sees the status gone, and what it writes then comes later. look:
 * status, then host_epoch and the rest (rmb, pairs with the wmb before the host's
 * DRIVER_OK): what DRIVER_OK promises is there.
 */
#include <errno.h>
#include <string.h>

#include "../port/port.h"
#include "remoteproc.h"

#if AMPSOCK_VQ_DEVICE

int amp_rproc_queue(struct amp_rproc *rp, unsigned vring, struct amp_vq *vq)
{
	uint32_t da = amp_rproc_table(rp)->vdev.vring[vring].da, mask = rp->align - 1u;
	uint32_t off = da - (uint32_t)rp->shm_da; /* a da is the lower half of an address */
	/* virtio 1.2, 2.7.2 (legacy layout): used_event is counted, then used is aligned */
	size_t avail = 16u * (size_t)rp->num;
	size_t used = (avail + 2u * rp->num + 6u + mask) & ~(size_t)mask;
	size_t len = used + 8u * (size_t)rp->num + 6u;
	uint8_t *at = rp->shm + off;

	/* virtio 1.2, 2.7: descriptors at 16; shm and its da are so aligned, num a power of two */
	if (da & (mask | 15u) || off > rp->shm_len || len > rp->shm_len - off)
		return -EINVAL;
	memset(vq, 0, sizeof(*vq));
	vq->dir = vring == AMP_RPROC_TX ? AMP_VQ_OUT : AMP_VQ_IN;
	vq->num = rp->num;
	vq->event_idx = AMPSOCK_RPMSG_EVENT_IDX &&
			amp_rproc_features(rp) & (uint32_t)AMP_VIRTIO_F_EVENT_IDX;
	vq->xlate.base = rp->shm;
	vq->xlate.addr = rp->shm_da;
	vq->xlate.len = rp->shm_len;
	vq->desc = (void *)at;
	vq->avail = (void *)(at + avail);
	vq->used = (void *)(at + used);
	amp_vq_device(vq);
	return 0;
}

#endif /* AMPSOCK_VQ_DEVICE */

void amp_rproc_trace(struct amp_rproc_trace *t, const char *text, size_t len)
{
	while (len--) {
		t->buf[t->at] = *text++;
		amp_port_cache_clean(&t->buf[t->at], 1);
		if (++t->at >= t->len - 1u)
			t->at = 0;
		t->buf[t->at] = 0;
	}
	amp_port_cache_clean(&t->buf[t->at], 1);
}
