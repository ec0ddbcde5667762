/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user front-end: the driver side for a Linux process that is the firmware.
 * It is a struct amp_vdev like virtio-mmio; its memory is a memfd shared with the
 * back-end, in which guest-physical addresses are our own pointers (bus_off 0).
 *
 *	static struct amp_vhost_fe fe;
 *	rc = amp_vhost_fe_open(&fe, "/run/ampsock/g3.sock", 1 << 20);
 *	-ENOENT, -ECONNREFUSED: nobody there yet, try again
 *	fe.vd is the device: rings and buffers must lie in fe.vd.mem, fe.vd.mem_len
 *	events() says AMP_VDEV_EV_GONE: amp_vhost_fe_close(), and open again
 *
 * Open and close are called without the stack lock.
 */
#ifndef AMP_VHOST_USER_FRONTEND_H
#define AMP_VHOST_USER_FRONTEND_H

#include "vdev.h"

#define AMP_VHOST_FE_QUEUES 4u

/* All zero before the first open. Fields belong to the stack lock; a: atomic. */
struct amp_vhost_fe {
	struct amp_vdev vd; /* first: the ops find the rest through it */
	int fd;		    /* connection, -1: closed */
	int mem_fd;
	int kick_fd[AMP_VHOST_FE_QUEUES]; /* a: eventfds, -1: none */
	uint32_t kicking;		  /* a: threads in notify */
	int call_fd[AMP_VHOST_FE_QUEUES];
	uint64_t features;  /* offered */
	uint64_t proto;	    /* protocol features in use */
	uint32_t queues;    /* that the back-end has; without MQ: as many as we can */
	uint32_t set;	    /* bit per queue: queue_set was done */
	uint32_t running;   /* bit per queue: kick sent */
	uint32_t looked_ms; /* when events() last looked at the socket */
	bool watched;	    /* the port watches fd */
	bool gone;	    /* the back-end hung up or broke the protocol */
};

/*
 * Connect to the back-end at path, create mem_len bytes of shared memory. 0 or
 * -errno; -ENOTSUP: the back-end lacks what we need. Not on an open struct.
 */
int amp_vhost_fe_open(struct amp_vhost_fe *fe, const char *path, size_t mem_len);
/* The same over a connected stream socket, which is ours from now on. */
int amp_vhost_fe_open_fd(struct amp_vhost_fe *fe, int fd, size_t mem_len);
/* Memory, descriptors and connection go away: no ring may be in use any more. */
void amp_vhost_fe_close(struct amp_vhost_fe *fe);

#endif /* AMP_VHOST_USER_FRONTEND_H */
