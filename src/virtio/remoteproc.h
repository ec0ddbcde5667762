/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The door to a remoteproc resource table with an rpmsg vdev in it: floor 1. Both sides, no
 * globals, no heap, no loop; all of it is memory that the other side may change at any time.
 *
 * The table (version 1, as Linux's remoteproc and OpenAMP read it) lies in shared memory. Its
 * vdev says where the two vrings are, how far the host's driver has come (status) and, in
 * our own configuration space, in which life each side is:
 *
 *	magic u32 "AMPE" | remote_epoch u32 | host_epoch u32 | reserved u32     (config_len 16)
 *
 * Theory of the handshake (docs/protocol.md draws every order of events)
 *
 *  - the remote, at boot: status = 0, remote_epoch += 1 (never 0), kick;
 *  - the host, when it sees an epoch that it has not served: rings and buffers anew,
 *    host_epoch = remote_epoch, status = ACKNOWLEDGE | DRIVER | DRIVER_OK, kick;
 *  - the remote uses the rings while status has DRIVER_OK and host_epoch is its own epoch, or
 *    is 0: a host without epochs (Linux, OpenAMP), whose status alone decides;
 *  - the host that starts or restarts and finds a remote that some host has served before:
 *    status = 0, host_epoch = 0, kick; it waits for the epoch that the remote raises when it sees
 *    that. A remote that is not running will raise it when it boots;
 *  - either side that stops being served reports its link down, once.
 *
 * A remote whose configuration space is not ours (config_len or magic) has no epochs: the host
 * then sets up once, and again when it is told to.
 */
#ifndef AMP_REMOTEPROC_H
#define AMP_REMOTEPROC_H

#include "../ampsock_config.h"
#include "vq.h"

#define AMP_RPROC_VRINGS 2u
#define AMP_RPROC_TX	 0u /* vring0: remote to host */
#define AMP_RPROC_RX	 1u /* vring1: host to remote */

/* ---- the table ---- */

#define AMP_RSC_CARVEOUT 0u
#define AMP_RSC_DEVMEM	 1u
#define AMP_RSC_TRACE	 2u
#define AMP_RSC_VDEV	 3u
#define AMP_RSC_ADDR_ANY UINT32_MAX

struct amp_rsc_vring {
	uint32_t da, align, num, notifyid, pa;
};

struct amp_rproc_config {
	uint32_t magic, remote_epoch, host_epoch, reserved;
};
#define AMP_RPROC_MAGIC 0x45504d41u /* "AMPE" */

/* What AMP_RSC_TABLE() makes: one carveout for rings and buffers, a trace buffer, the vdev. */
struct amp_rsc_table {
	uint32_t ver, num, reserved[2];
	uint32_t offset[3];
	struct {
		uint32_t type, da, pa, len, flags, reserved;
		char name[32];
	} carveout;
	struct {
		uint32_t type, da, len, reserved;
		char name[32];
	} trace;
	struct {
		uint32_t type, id, notifyid, dfeatures, gfeatures, config_len;
		uint8_t status, num_of_vrings, reserved[2];
		struct amp_rsc_vring vring[AMP_RPROC_VRINGS];
		struct amp_rproc_config config;
	} vdev;
};

/* ---- the remote ---- */

struct amp_rproc;

struct amp_rproc_ops {
	/* Ring the host's doorbell for a vring (its notifyid). Thread context, no lock held. */
	void (*notify)(struct amp_rproc *rp, unsigned vring);
};

/* Set ops, table, shm, shm_da, shm_len; the rest is remoteproc.c's. */
struct amp_rproc {
	const struct amp_rproc_ops *ops;
	struct amp_rsc_table *table; /* in shared memory */
	/* The window in which the host's rings and buffers lie, at shm_da as the host counts. */
	uint8_t *shm;
	uint64_t shm_da;
	size_t shm_len;
	uint32_t epoch; /* mine */
	bool up;
};

/* Boot: a new epoch, status 0. The caller kicks (ops->notify) afterwards. */
void amp_rproc_boot(struct amp_rproc *rp);

enum amp_rproc_event { AMP_RPROC_NOTHING, AMP_RPROC_UP, AMP_RPROC_DOWN };
/*
 * A look at the status, cheap. UP: the host serves this epoch: set the queues up
 * (amp_rproc_queue()). DOWN, once: it does no longer: forget the queues, then amp_rproc_boot()
 * and a kick ask for the next life.
 */
enum amp_rproc_event amp_rproc_look(struct amp_rproc *rp);
/* A vring as the device sees it. 0; -EINVAL: what the table says of it can not be. */
int amp_rproc_queue(struct amp_rproc *rp, unsigned vring, struct amp_vq *vq);
/* VIRTIO_RPMSG_F_* that both sides have. */
uint32_t amp_rproc_features(const struct amp_rproc *rp);

/* ---- the host ---- */

/* Set mem, mem_da, mem_len and what is to be set up; the rest is remoteproc_host.c's. */
struct amp_rproc_host {
	uint8_t *mem;	 /* shared memory, mapped; checked to be so long */
	uint64_t mem_da; /* its address as the remote counts */
	size_t mem_len;
	uint32_t buf_len
		[AMP_RPROC_VRINGS]; /* bytes a buffer: 0: AMP_RPMSG_BUF_LEN; multiple of 4 */
	uint16_t buf_cnt; /* buffers a direction at most, 0: as many as the vring has entries */
	uint16_t *state[AMP_RPROC_VRINGS]; /* private memory, state_len entries each */
	uint16_t state_len;
	/* found */
	size_t vdev_off;	     /* of the vdev entry in mem */
	size_t shm_off, shm_len;     /* where rings and buffers may be put */
	size_t trace_off, trace_len; /* 0: none */
	bool epochs;
	bool waiting;	 /* for the remote to raise its epoch */
	uint32_t served; /* epoch, 0: none */
	const char *why; /* what is wrong with the table, in words */
};

/*
 * Find and check the table at offset off of mem, and where rings and buffers go: fixed
 * addresses of the table are taken, AMP_RSC_ADDR_ANY is placed in the first carveout, or
 * else in what shm_off/shm_len (set before) say. 0; -EINVAL, -ENOENT (no rpmsg vdev), -ENOSPC: h->why.
 */
int amp_rproc_host_init(struct amp_rproc_host *h, size_t off);
/* Ask a remote that was served before to begin anew. The caller kicks. */
void amp_rproc_host_begin(struct amp_rproc_host *h);
/* A look at the epochs. UP: call amp_rproc_host_up(). DOWN: the remote has left this epoch. */
enum amp_rproc_event amp_rproc_host_look(struct amp_rproc_host *h);
/* Rings, buffers, DRIVER_OK. vq[AMP_RPROC_TX]: AMP_VQ_IN of the host, [RX]: OUT. The caller kicks. 0; -EINVAL */
int amp_rproc_host_up(struct amp_rproc_host *h, struct amp_vq vq[AMP_RPROC_VRINGS]);
/* The host stops: status 0, and the remote can see it. The caller kicks. */
void amp_rproc_host_down(struct amp_rproc_host *h);
uint32_t amp_rproc_host_features(const struct amp_rproc_host *h);

#endif /* AMP_REMOTEPROC_H */
