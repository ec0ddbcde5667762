/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One of the two stacks that insn.c sets against each other. Compiled once and linked with
 * each copy of the library; every amp_* name then gets the copy's prefix.
 *
 * The port has no operating system: to wait is to let the other side run. The device is
 * the other side's rings. The device end of a link is a driver end turned round: brought
 * up like any link, then its two queues are set up anew as the device side of the other
 * stack's two queues, in memory that both see.
 */
#include <errno.h>
#include <string.h>

#include <ampsock.h>

#include "insn.h"
#include "port/port.h"
#include "virtio/vdev.h"
#include "wire/vsock_hdr.h"

static struct amp_vq *queue[2];
static uint64_t features;
static uint32_t cid;
static int woken;
static uint8_t mem[1 << 20] __attribute__((aligned(4096)));

int amp_port_wait(int32_t timeout_ms)
{
	(void)timeout_ms;
	if (!woken)
		insn_switch();
	woken = 0;
	return 0;
}

void amp_port_wake(void)
{
	woken = 1;
}

uint32_t amp_port_now_ms(void)
{
	return 1;
}

static int probe(struct amp_vdev *vd, uint32_t device_id, uint64_t *offered)
{
	(void)vd;
	*offered = AMP_VIRTIO_F_VERSION_1 | AMP_VIRTIO_F_EVENT_IDX | AMP_VSOCK_F_SEQPACKET;
	return device_id == AMP_VIRTIO_ID_VSOCK ? 0 : -ENODEV;
}

static int accept_features(struct amp_vdev *vd, uint64_t wanted)
{
	(void)vd;
	features = wanted;
	return 0;
}

static uint32_t queue_max(struct amp_vdev *vd, unsigned q)
{
	(void)vd;
	return q < 3 ? 256 : 0;
}

static int queue_set(struct amp_vdev *vd, unsigned q, const struct amp_vq *vq)
{
	(void)vd;
	if (q < 2)
		queue[q] = (struct amp_vq *)(uintptr_t)vq;
	return 0;
}

static int run(struct amp_vdev *vd)
{
	(void)vd;
	return 0;
}

static int config(struct amp_vdev *vd, uint32_t off, void *dst, uint32_t len)
{
	uint8_t space[8] = {0};

	(void)vd;
	memcpy(space, &cid, sizeof(cid));
	if (off + len > sizeof(space))
		return -EINVAL;
	memcpy(dst, space + off, len);
	return 0;
}

static unsigned events(struct amp_vdev *vd)
{
	(void)vd;
	return 0;
}

static void notify(struct amp_vdev *vd, unsigned q)
{
	(void)vd;
	(void)q;
	insn_kicks++;
}

static void reset(struct amp_vdev *vd)
{
	(void)vd;
}

static const struct amp_vdev_ops ops = {
	.probe = probe,
	.accept = accept_features,
	.queue_max = queue_max,
	.queue_set = queue_set,
	.run = run,
	.config = config,
	.events = events,
	.notify = notify,
	.reset = reset,
};

static struct amp_vdev device = {.ops = &ops, .mem = mem, .mem_len = sizeof(mem)};

int amp_side_up(uint32_t my_cid)
{
	cid = my_cid;
	return amp_link_vsock(&device);
}

struct amp_vq *amp_side_queue(unsigned q)
{
	return queue[q];
}

void *amp_side_mem(void)
{
	return mem;
}

#if AMPSOCK_VQ_DEVICE
/* Become the device side of the other stack's queue, in whose memory everything lies. */
int amp_side_turn(unsigned q, const struct amp_vq *theirs, void *their_mem)
{
	struct amp_vq_setup setup = {
		.role = AMP_VQ_DEVICE,
		.dir = (enum amp_vq_dir)queue[q]->dir,
		.num = theirs->num,
		.desc = (void *)(uintptr_t)theirs->desc,
		.avail = (void *)(uintptr_t)theirs->avail,
		.used = (void *)(uintptr_t)theirs->used,
		.event_idx = (features & AMP_VIRTIO_F_EVENT_IDX) != 0,
		.indirect = (features & AMP_VIRTIO_F_INDIRECT_DESC) != 0,
		.xlate = {.base = their_mem, .addr = (uintptr_t)their_mem, .len = sizeof(mem)},
	};

	return amp_vq_init(queue[q], &setup);
}
#endif
