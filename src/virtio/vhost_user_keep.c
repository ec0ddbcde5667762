/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Theory of operation: vhost_user_keep.h.
 *
 * #syscalls getsockopt close
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vdev.h"
#include "vhost_user_inner.h"
#include "vhost_user_keep.h"
#include "vring.h"

_Static_assert(sizeof(struct amp_vhost_rec) ==
		       56 + 4 * AMP_VU_REGIONS + 32 * AMP_VU_REGIONS + 40 * AMP_VHOST_QUEUES,
	       "no holes");

static void set_slot(struct amp_vhost_kept *kept, unsigned slot, int fd, uint32_t seq)
{
	kept->slot[slot].fd = fd;
	kept->slot[slot].seq = fd >= 0 ? seq : 0;
}

static void save_queue(const struct amp_vhost_be_queue *q, struct amp_vhost_rec_queue *r)
{
	r->desc = q->desc;
	r->avail = q->avail;
	r->used = q->used;
	r->num = q->num;
	r->base = q->base;
	r->skew = q->running ? q->vq.skew : 0;
	r->flags = (uint16_t)((q->has_addr ? AMP_VHOST_REC_ADDR : 0) |
			      (q->kicked ? AMP_VHOST_REC_KICKED : 0) |
			      (q->enabled ? AMP_VHOST_REC_ENABLED : 0) |
			      (q->running ? AMP_VHOST_REC_RUNNING : 0));
	r->kick_seq = q->kick_fd >= 0 ? q->kick_seq : 0;
	r->call_seq = q->call_fd >= 0 ? q->call_seq : 0;
}

int amp_vhost_be_save(const struct amp_vhost_be *be, struct amp_vhost_rec *rec,
		      struct amp_vhost_kept *kept)
{
	unsigned i;

	memset(rec, 0, sizeof(*rec));
	memset(kept, 0, sizeof(*kept));
	for (i = 0; i < AMP_VHOST_SLOTS; i++)
		kept->slot[i].fd = -1;
	if (be->have)
		return -EAGAIN;
	rec->magic = AMP_VHOST_REC_MAGIC;
	rec->version = AMP_VHOST_REC_VERSION;
	rec->len = sizeof(*rec);
	rec->queues = be->queues;
	rec->acked = be->acked;
	rec->proto = be->proto;
	rec->seq = be->seq;
	rec->conn_seq = be->conn_seq;
	rec->req_seq = be->req_fd >= 0 ? be->req_seq : 0;
	rec->regions = be->regions;
	rec->has_acked = be->has_acked;
	rec->mapped = be->mapped;
	rec->blank = be->blank;
	set_slot(kept, AMP_VHOST_CONN, be->fd, be->conn_seq);
	set_slot(kept, AMP_VHOST_REQ, be->req_fd, be->req_seq);
	for (i = 0; i < be->regions; i++) {
		const struct amp_vhost_be_region *r = &be->region[i];

		rec->region[i] =
			(struct amp_vhost_rec_region){r->guest, r->user, r->len, r->offset};
		rec->mem_seq[i] = r->seq;
		set_slot(kept, AMP_VHOST_MEM + i, r->fd, r->seq);
	}
	for (i = 0; i < be->queues; i++) {
		const struct amp_vhost_be_queue *q = &be->q[i];

		save_queue(q, &rec->q[i]);
		set_slot(kept, AMP_VHOST_KICK + i, q->kick_fd, q->kick_seq);
		set_slot(kept, AMP_VHOST_CALL + i, q->call_fd, q->call_seq);
	}
	return 0;
}

static bool rec_ok(const struct amp_vhost_rec *rec)
{
	return rec->magic == AMP_VHOST_REC_MAGIC && rec->version == AMP_VHOST_REC_VERSION &&
	       rec->len == sizeof(*rec) && rec->queues <= AMP_VHOST_QUEUES &&
	       rec->regions <= AMP_VU_REGIONS;
}

int amp_vhost_rec_slots(const struct amp_vhost_rec *rec, struct amp_vhost_kept *kept)
{
	unsigned i;

	memset(kept, 0, sizeof(*kept));
	for (i = 0; i < AMP_VHOST_SLOTS; i++)
		kept->slot[i].fd = -1;
	if (!rec_ok(rec) || !rec->conn_seq)
		return -EINVAL;
	kept->slot[AMP_VHOST_CONN].seq = rec->conn_seq;
	kept->slot[AMP_VHOST_REQ].seq = rec->req_seq;
	for (i = 0; i < rec->regions; i++)
		kept->slot[AMP_VHOST_MEM + i].seq = rec->mem_seq[i];
	for (i = 0; i < rec->queues; i++) {
		kept->slot[AMP_VHOST_KICK + i].seq = rec->q[i].kick_seq;
		kept->slot[AMP_VHOST_CALL + i].seq = rec->q[i].call_seq;
	}
	return 0;
}

const char *amp_vhost_slot_name(unsigned slot, char *dst)
{
	if (slot >= AMP_VHOST_CALL)
		snprintf(dst, 8, "call%u", (slot - AMP_VHOST_CALL) & 7u);
	else if (slot >= AMP_VHOST_KICK)
		snprintf(dst, 8, "kick%u", (slot - AMP_VHOST_KICK) & 7u);
	else if (slot >= AMP_VHOST_MEM)
		snprintf(dst, 8, "mem%u", (slot - AMP_VHOST_MEM) & 7u);
	else
		snprintf(dst, 8, "%s", slot == AMP_VHOST_CONN ? "conn" : "req");
	return dst;
}

/* ---- the way back ---- */

/* A message to ourselves, its payload in be->msg.u and its descriptors in be->fds. */
static int say(struct amp_vhost_be *be, uint32_t req, uint32_t len)
{
	int rc;

	be->msg.hdr.req = req;
	be->msg.hdr.flags = AMP_VU_VERSION;
	be->msg.hdr.size = len;
	rc = amp_vhost_be_handle(be);
	while (be->fd_cnt > 0)
		amp_vhost_be_close(&be->fds[--be->fd_cnt]);
	if (rc == 0)
		rc = be->err;
	return rc;
}

static int say_u64(struct amp_vhost_be *be, uint32_t req, uint64_t v)
{
	be->msg.u.u64 = v;
	return say(be, req, 8);
}

static int say_state(struct amp_vhost_be *be, uint32_t req, uint32_t q, uint32_t num)
{
	be->msg.u.state = (struct amp_vu_state){q, num};
	return say(be, req, sizeof(be->msg.u.state));
}

static void attach(struct amp_vhost_be *be, struct amp_vhost_kept *kept, unsigned slot)
{
	if (kept->slot[slot].fd < 0)
		return;
	be->fds[be->fd_cnt++] = kept->slot[slot].fd;
	kept->slot[slot].fd = -1;
}

static int say_fd(struct amp_vhost_be *be, uint32_t req, unsigned q,
		  struct amp_vhost_kept *kept, unsigned slot)
{
	bool none = kept->slot[slot].fd < 0;

	attach(be, kept, slot);
	return say_u64(be, req, q | (none ? AMP_VU_VRING_NOFD : 0));
}

static int say_memory(struct amp_vhost_be *be, const struct amp_vhost_rec *rec,
		      struct amp_vhost_kept *kept)
{
	uint32_t i;

	be->msg.u.mem.cnt = rec->regions;
	be->msg.u.mem.padding = 0;
	for (i = 0; i < rec->regions; i++) {
		const struct amp_vhost_rec_region *r = &rec->region[i];

		be->msg.u.mem.region[i] =
			(struct amp_vu_region){r->guest, r->len, r->user, r->offset};
		attach(be, kept, AMP_VHOST_MEM + i);
	}
	return say(be, AMP_VU_SET_MEM_TABLE,
		   (uint32_t)(8 + rec->regions * sizeof(struct amp_vu_region)));
}

/* Avail index of the first chain that is not complete. */
static int find_base(struct amp_vhost_be *be, unsigned i, const struct amp_vhost_rec_queue *r,
		     uint16_t *base)
{
	const volatile struct vring_used *used;

	*base = r->base;
	if (!(r->flags & AMP_VHOST_REC_RUNNING))
		return 0;
	used = amp_vhost_be_user(be, r->used, 6u + 8u * r->num);
	if (!used || (uintptr_t)used & 3)
		return amp_vhost_be_why(be, -EFAULT, "queue %u: ring outside the shared memory",
					i);
	*base = (uint16_t)(used->idx - r->skew);
	return 0;
}

static int say_queue(struct amp_vhost_be *be, unsigned i, const struct amp_vhost_rec_queue *r,
		     struct amp_vhost_kept *kept)
{
	uint16_t base;
	int rc = find_base(be, i, r, &base);

	if (rc == 0 && r->num)
		rc = say_state(be, AMP_VU_SET_VRING_NUM, i, r->num);
	if (rc == 0)
		rc = say_state(be, AMP_VU_SET_VRING_BASE, i, base);
	if (rc == 0 && (r->flags & AMP_VHOST_REC_ADDR)) {
		be->msg.u.addr = (struct amp_vu_addr){i, 0, r->desc, r->used, r->avail, 0};
		rc = say(be, AMP_VU_SET_VRING_ADDR, sizeof(be->msg.u.addr));
	}
	if (rc == 0)
		rc = say_fd(be, AMP_VU_SET_VRING_CALL, i, kept, AMP_VHOST_CALL + i);
	if (rc == 0)
		rc = say_state(be, AMP_VU_SET_VRING_ENABLE, i,
			       (r->flags & AMP_VHOST_REC_ENABLED) != 0);
	if (rc == 0 && (r->flags & AMP_VHOST_REC_KICKED))
		rc = say_fd(be, AMP_VU_SET_VRING_KICK, i, kept, AMP_VHOST_KICK + i);
	return rc;
}

static int say_all(struct amp_vhost_be *be, const struct amp_vhost_rec *rec,
		   struct amp_vhost_kept *kept)
{
	unsigned i;
	int rc = 0;

	if (!rec_ok(rec) || rec->queues != be->queues)
		return amp_vhost_be_why(be, -EINVAL,
					"what was kept of it is not this version's record");
	be->changes++;
	rc = say_u64(be, AMP_VU_SET_PROTOCOL_FEATURES, rec->proto);
	if (rc == 0 && rec->has_acked)
		rc = say_u64(be, AMP_VU_SET_FEATURES, rec->acked | AMP_VU_F_PROTOCOL_FEATURES);
	if (rc == 0 && rec->req_seq) {
		attach(be, kept, AMP_VHOST_REQ);
		rc = say(be, AMP_VU_SET_BACKEND_REQ_FD, 0);
	}
	if (rc == 0 && rec->regions)
		rc = say_memory(be, rec, kept);
	be->mapped = rec->mapped != 0;
	be->blank = rec->blank != 0;
	for (i = 0; i < rec->queues && rc == 0; i++)
		rc = say_queue(be, i, &rec->q[i], kept);
	return rc;
}

static int take_conn(struct amp_vhost_be *be, struct amp_vhost_kept *kept)
{
	int fd = kept->slot[AMP_VHOST_CONN].fd, domain = 0, type = 0;
	socklen_t len = sizeof(int);

	kept->slot[AMP_VHOST_CONN].fd = -1;
	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || domain != AF_UNIX ||
	    type != SOCK_STREAM) {
		if (fd >= 0)
			close(fd);
		return -ENOTSOCK;
	}
	return amp_vhost_be_start(be, fd);
}

int amp_vhost_be_restore(struct amp_vhost_be *be, const struct amp_vhost_rec *rec,
			 struct amp_vhost_kept *kept)
{
	unsigned i;
	int rc;

	be->seq = rec->seq; /* what is kept from now on has other names */
	rc = take_conn(be, kept);

	if (rc == 0) {
		be->busy = true;
		rc = say_all(be, rec, kept);
		be->busy = false;
		be->have = 0;
		if (rc == 0)
			rc = be->guard.dead ? -EFAULT : be->err;
		if (rc < 0) {
			be->err = 0;
			amp_vhost_be_fail(be, rc, be->why);
		}
	}
	for (i = 0; i < AMP_VHOST_SLOTS; i++)
		amp_vhost_be_close(&kept->slot[i].fd);
	return rc;
}
