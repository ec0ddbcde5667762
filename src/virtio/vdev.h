/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The door to a virtio transport as the *driver* sees it (virtio 1.2, 3.1): what
 * virtio-mmio and the vhost-user front-end have in common. An engine's owner
 * (link_driver.c) brings a device up with its operations and needs to know nothing else.
 *
 * The *device* role has no vdev: its back-end (vhost_user_backend.c) sets the queues
 * up and hands them over.
 */
#ifndef AMP_VDEV_H
#define AMP_VDEV_H

#include <errno.h>

#include "vq.h"

#define AMP_VIRTIO_ID_VSOCK 19u
#define AMP_VIRTIO_ID_RPMSG 7u

/* Those of the rings: vq.h */
#define AMP_VIRTIO_F_VERSION_1	 (1ull << 32)
#define AMP_VIRTIO_F_RING_PACKED (1ull << 34)

/* What happened since the last look; from ops->events(). */
#define AMP_VDEV_EV_CONFIG 1u /* configuration changed: read it again */
#define AMP_VDEV_EV_GONE   2u /* the device or its process is gone, or asks for a reset */

struct amp_vdev;

struct amp_vdev_ops {
	/* Reset, ACKNOWLEDGE, DRIVER; offered features. 0 or -errno. */
	int (*probe)(struct amp_vdev *vd, uint32_t device_id, uint64_t *features);
	/* FEATURES_OK with these features. 0 or -ENOTSUP. */
	int (*accept)(struct amp_vdev *vd, uint64_t features);
	/* Most entries that queue q can have, as the device says; 0: no such queue. */
	uint32_t (*queue_max)(struct amp_vdev *vd, unsigned q);
	/* Tell the device where queue q lies; vq->kick goes through notify. */
	int (*queue_set)(struct amp_vdev *vd, unsigned q, const struct amp_vq *vq);
	/* DRIVER_OK. */
	int (*run)(struct amp_vdev *vd);
	/* Device configuration, 4.2.2.2: read consistently. Whole words: off and len are
	 * multiples of 4, and so is dst. */
	int (*config)(struct amp_vdev *vd, uint32_t off, void *dst, uint32_t len);
	/* AMP_VDEV_EV_*; clears them, but for GONE, which stays until reset: what the device had sent
	 * before may take more than one look. Called at every look at the link: cheap. */
	unsigned (*events)(struct amp_vdev *vd);
	/* The driver put something into queue q and the device wants to know. No lock held. */
	void (*notify)(struct amp_vdev *vd, unsigned q);
	/* Status 0: the device forgets everything and touches no memory any more. */
	void (*reset)(struct amp_vdev *vd);
};

/* Whole words, of a configuration of at most 256 bytes: a slot of virtio-mmio has no more. */
static inline bool amp_vdev_config_ok(uint32_t off, uint32_t len)
{
	return !((off | len) & 3) && off <= 0x100 && len <= 0x100 - off;
}

/*
 * An operation: AMP_VDEV(vd, probe)(vd, ...). A core whose devices are all behind virtio-mmio calls
 * them by name (mmio_ops.h): amp_link_vsock() refuses a transport of another kind without AMPSOCK_VDEV_OTHERS.
 */
#if AMPSOCK_VDEV_OTHERS
#define AMP_VDEV(vd, op) ((vd)->ops->op)
#else
#define AMP_VDEV(vd, op) amp_mmio_##op
#endif

struct amp_vdev {
	const struct amp_vdev_ops *ops; /* without AMPSOCK_VDEV_OTHERS: NULL */
	/* Memory for rings and buffers, in reach of the device: the transport's, or the owner's. */
	void *mem;
	size_t mem_len;
	uint64_t bus_off; /* bus address = pointer + bus_off */
};

#endif /* AMP_VDEV_H */
