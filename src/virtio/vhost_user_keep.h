/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user back-end: what a successor needs to go on with a front-end that does not
 * know that there is one. Linux only.
 *
 * Theory of operation. A front-end says once what its device shall be: features, memory,
 * where the rings lie, which descriptors wake whom. QEMU never says it again to the same
 * device. So it is written down (amp_vhost_be_save()) whenever it has changed, together with
 * the numbers of the descriptors, which somebody else keeps open (the kept descriptors'
 * *names* contain the sequence number that the record has, so that a record never goes with
 * descriptors of another day).
 *
 * A successor says it all again to itself (amp_vhost_be_restore()): each field becomes the
 * message that it came from, and goes through the handler that an unknown front-end's goes
 * through, with all its checks. A record is as hostile as a guest: what made the
 * predecessor crash may have written it.
 *
 * Where a ring stands is not in the record, which is older than the crash. It is in the ring:
 * chains complete in order (struct amp_vq_order), so the used index says how many have, and
 * `skew`, which does not change while the queue runs, makes an avail index of it. A
 * chain that the predecessor had taken and not completed is taken again.
 */
#ifndef AMP_VHOST_USER_KEEP_H
#define AMP_VHOST_USER_KEEP_H

#include "vhost_user_backend.h"

#define AMP_VHOST_REC_MAGIC   0x31525641u /* "AVR1" */
#define AMP_VHOST_REC_VERSION 1u

struct amp_vhost_rec_region {
	uint64_t guest;
	uint64_t user;
	uint64_t len;
	uint64_t offset;
};

#define AMP_VHOST_REC_ADDR    1u /* desc, avail, used are known */
#define AMP_VHOST_REC_KICKED  2u
#define AMP_VHOST_REC_ENABLED 4u
#define AMP_VHOST_REC_RUNNING 8u

struct amp_vhost_rec_queue {
	uint64_t desc, avail, used;
	uint16_t num;
	uint16_t base; /* not running: where to start */
	uint16_t skew; /* running: used index less avail index, when nothing is out */
	uint16_t flags;
	uint32_t kick_seq, call_seq; /* 0: no descriptor */
};

/* As it lies in memory or in a file: this machine's byte order, no holes. */
struct amp_vhost_rec {
	uint32_t magic;
	uint32_t version;
	uint32_t len; /* sizeof(struct amp_vhost_rec) */
	uint32_t queues;
	uint64_t acked;
	uint64_t proto;
	uint32_t seq; /* the highest */
	uint32_t conn_seq;
	uint32_t req_seq;
	uint32_t regions;
	uint8_t has_acked, mapped, blank, pad[5];
	uint32_t mem_seq[AMP_VU_REGIONS];
	struct amp_vhost_rec_region region[AMP_VU_REGIONS];
	struct amp_vhost_rec_queue q[AMP_VHOST_QUEUES];
};

/* Which of a back-end's descriptors. */
enum amp_vhost_slot {
	AMP_VHOST_CONN,
	AMP_VHOST_REQ,
	AMP_VHOST_MEM, /* .. + AMP_VU_REGIONS - 1 */
	AMP_VHOST_KICK = AMP_VHOST_MEM + AMP_VU_REGIONS,
	AMP_VHOST_CALL = AMP_VHOST_KICK + AMP_VHOST_QUEUES,
	AMP_VHOST_SLOTS = AMP_VHOST_CALL + AMP_VHOST_QUEUES,
};

/* fd -1: none. */
struct amp_vhost_kept {
	struct {
		int fd;
		uint32_t seq;
	} slot[AMP_VHOST_SLOTS];
};

/*
 * What be is now. The descriptors in *kept stay be's. 0; -EAGAIN: a message has come in part,
 * which a successor would not get again.
 */
int amp_vhost_be_save(const struct amp_vhost_be *be, struct amp_vhost_rec *rec,
		      struct amp_vhost_kept *kept);

/* Which descriptors rec speaks of: seq in *kept; fd is -1. 0 or -EINVAL: no record. */
int amp_vhost_rec_slots(const struct amp_vhost_rec *rec, struct amp_vhost_kept *kept);

/*
 * be is as after init or reset, and goes on as rec says with the descriptors in *kept, which
 * are be's from now on, whatever comes of it. Hooks are called as when the front-end says it,
 * ops->gone too when there is something wrong. 0 or -errno.
 */
int amp_vhost_be_restore(struct amp_vhost_be *be, const struct amp_vhost_rec *rec,
			 struct amp_vhost_kept *kept);

/* "conn", "mem3": for names. dst: room for 8. */
const char *amp_vhost_slot_name(unsigned slot, char *dst);

#endif /* AMP_VHOST_USER_KEEP_H */
