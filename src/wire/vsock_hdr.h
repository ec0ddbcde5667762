/* SPDX-License-Identifier: BSD-3-Clause */
/* The virtio-vsock packet header (virtio 1.2, 5.10.6): 44 bytes, little-endian. */
#ifndef AMP_WIRE_VSOCK_HDR_H
#define AMP_WIRE_VSOCK_HDR_H

#include <stdint.h>

#include "../ampsock_config.h"

#define AMP_VSOCK_HDR_LEN 44u

#define AMP_VSOCK_F_SEQPACKET (1ull << 1) /* 5.10.3 */

#define AMP_VSOCK_CID_HYPERVISOR 0u
#define AMP_VSOCK_CID_LOCAL	 1u
#define AMP_VSOCK_CID_HOST	 2u

enum amp_vsock_type {
	AMP_VSOCK_STREAM = 1,
	AMP_VSOCK_SEQPACKET = 2,
};

/* A library without AF_VSOCK has no packets of it, but rpmsg streams: their numbers (rpmsg_hdr.h). */
#if AMPSOCK_VSOCK
#define AMP_VSOCK_OP(virtio, rpmsg) (virtio)
#else
#define AMP_VSOCK_OP(virtio, rpmsg) (rpmsg)
#endif
enum amp_vsock_op {
	AMP_VSOCK_OP_INVALID = 0,
	AMP_VSOCK_OP_REQUEST = 1,
	AMP_VSOCK_OP_RESPONSE = 2,
	AMP_VSOCK_OP_RST = AMP_VSOCK_OP(3, 7),
	AMP_VSOCK_OP_SHUTDOWN = AMP_VSOCK_OP(4, 6),
	AMP_VSOCK_OP_RW = AMP_VSOCK_OP(5, 3),
	AMP_VSOCK_OP_CREDIT_UPDATE = AMP_VSOCK_OP(6, 4),
	AMP_VSOCK_OP_CREDIT_REQUEST = AMP_VSOCK_OP(7, 5),
};

#define AMP_VSOCK_SHUTDOWN_RCV	1u /* I shall receive no more */
#define AMP_VSOCK_SHUTDOWN_SEND 2u /* I shall send no more */

#define AMP_VSOCK_SEQ_EOM 1u
#define AMP_VSOCK_SEQ_EOR 2u

/* What a packet says: the end of its header. */
struct amp_vsock_say {
	uint16_t type;
	uint16_t op;
	uint32_t flags;
	uint32_t buf_alloc;
	uint32_t fwd_cnt;
};

/* The header as it lies in memory on a little-endian machine; offsets in comments. */
struct amp_vsock_hdr {
	uint64_t src_cid;  /* 0 */
	uint64_t dst_cid;  /* 8 */
	uint32_t src_port; /* 16 */
	uint32_t dst_port; /* 20 */
	uint32_t len;	   /* 24 */
	union {
		struct {
			uint16_t type;	    /* 28 */
			uint16_t op;	    /* 30 */
			uint32_t flags;	    /* 32 */
			uint32_t buf_alloc; /* 36 */
			uint32_t fwd_cnt;   /* 40 */
		};
		struct amp_vsock_say say;
	};
} __attribute__((packed, aligned(4)));

_Static_assert(sizeof(struct amp_vsock_hdr) == AMP_VSOCK_HDR_LEN, "virtio 1.2, 5.10.6");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "big-endian cores: swap in vsock.c when the header is copied in and out");

#endif /* AMP_WIRE_VSOCK_HDR_H */
