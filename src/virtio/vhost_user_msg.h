/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user protocol as it lies on the socket: host byte order, unaligned on
 * the wire, so every struct here is packed. Section names are those of the
 * vhost-user specification (QEMU, docs/interop/vhost-user.rst).
 */
#ifndef AMP_VHOST_USER_MSG_H
#define AMP_VHOST_USER_MSG_H

#include <stdint.h>

/* "Header": flags */
#define AMP_VU_VERSION	    1u
#define AMP_VU_VERSION_MASK 3u
#define AMP_VU_REPLY	    (1u << 2)
#define AMP_VU_NEED_REPLY   (1u << 3)

/* "Front-end message types" */
enum amp_vu_req {
	AMP_VU_GET_FEATURES = 1,
	AMP_VU_SET_FEATURES = 2,
	AMP_VU_SET_OWNER = 3,
	AMP_VU_RESET_OWNER = 4,
	AMP_VU_SET_MEM_TABLE = 5,
	AMP_VU_SET_LOG_BASE = 6,
	AMP_VU_SET_LOG_FD = 7,
	AMP_VU_SET_VRING_NUM = 8,
	AMP_VU_SET_VRING_ADDR = 9,
	AMP_VU_SET_VRING_BASE = 10,
	AMP_VU_GET_VRING_BASE = 11,
	AMP_VU_SET_VRING_KICK = 12,
	AMP_VU_SET_VRING_CALL = 13,
	AMP_VU_SET_VRING_ERR = 14,
	AMP_VU_GET_PROTOCOL_FEATURES = 15,
	AMP_VU_SET_PROTOCOL_FEATURES = 16,
	AMP_VU_GET_QUEUE_NUM = 17,
	AMP_VU_SET_VRING_ENABLE = 18,
	AMP_VU_SET_BACKEND_REQ_FD = 21,
	AMP_VU_GET_CONFIG = 24,
	AMP_VU_SET_CONFIG = 25,
};

/* Feature bit 30: the protocol features below can be negotiated. */
#define AMP_VU_F_PROTOCOL_FEATURES (1ull << 30)

/* "Protocol features" */
#define AMP_VU_PROTO_MQ		 (1ull << 0)
#define AMP_VU_PROTO_REPLY_ACK	 (1ull << 3)
#define AMP_VU_PROTO_BACKEND_REQ (1ull << 5)
#define AMP_VU_PROTO_CONFIG	 (1ull << 9)

/* SET_VRING_KICK, _CALL, _ERR: bits 0-7 are the queue, bit 8 says that no fd comes along. */
#define AMP_VU_VRING_IDX_MASK 0xffull
#define AMP_VU_VRING_NOFD     (1ull << 8)

#define AMP_VU_REGIONS	  8u   /* "Multiple memory regions description": at most 8 */
#define AMP_VU_CONFIG_MAX 256u /* "Virtio device config space" */

struct amp_vu_hdr {
	uint32_t req;
	uint32_t flags;
	uint32_t size; /* of the payload */
} __attribute__((packed));

struct amp_vu_state { /* "A vring state description" */
	uint32_t index;
	uint32_t num;
} __attribute__((packed));

struct amp_vu_addr { /* "A vring address description": front-end addresses, log apart */
	uint32_t index;
	uint32_t flags; /* bit 0: log writes */
	uint64_t desc;
	uint64_t used;
	uint64_t avail;
	uint64_t log;
} __attribute__((packed));

struct amp_vu_region { /* "Memory region description" */
	uint64_t guest_addr;
	uint64_t size;
	uint64_t user_addr;
	uint64_t mmap_offset;
} __attribute__((packed));

struct amp_vu_mem {
	uint32_t cnt;
	uint32_t padding;
	struct amp_vu_region region[AMP_VU_REGIONS];
} __attribute__((packed));

struct amp_vu_config { /* "Virtio device config space" */
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t data[AMP_VU_CONFIG_MAX];
} __attribute__((packed));

#define AMP_VU_CONFIG_HDR_LEN 12u

union amp_vu_payload {
	uint64_t u64;
	struct amp_vu_state state;
	struct amp_vu_addr addr;
	struct amp_vu_mem mem;
	struct amp_vu_config config;
} __attribute__((packed));

struct amp_vu_msg {
	struct amp_vu_hdr hdr;
	union amp_vu_payload u;
} __attribute__((packed, aligned(4)));

#define AMP_VU_HDR_LEN 12u

_Static_assert(sizeof(struct amp_vu_hdr) == AMP_VU_HDR_LEN, "Header");
_Static_assert(sizeof(struct amp_vu_addr) == 40, "A vring address description");
_Static_assert(sizeof(struct amp_vu_mem) == 8 + 32 * AMP_VU_REGIONS, "Memory regions");
_Static_assert(sizeof(struct amp_vu_config) == 268, "Virtio device config space");

#endif /* AMP_VHOST_USER_MSG_H */
