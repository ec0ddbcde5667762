/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rpmsg messages as Linux's virtio_rpmsg_bus, OpenAMP and rpmsg-lite put them into buffers:
 * a 16-byte header, the name service's 40-byte message, and, of our own, the header of the
 * stream protocol (docs/protocol.md). All little-endian.
 */
#ifndef AMP_WIRE_RPMSG_HDR_H
#define AMP_WIRE_RPMSG_HDR_H

#include <stdint.h>

#define AMP_RPMSG_F_NS (1ull << 0) /* VIRTIO_RPMSG_F_NS: the name service is spoken */

#define AMP_RPMSG_HDR_LEN  16u
#define AMP_RPMSG_NAME_LEN 32u	/* the terminating NUL included */
#define AMP_RPMSG_BUF_LEN  512u /* what every peer expects when nobody says otherwise */

#define AMP_RPMSG_ADDR_ANY UINT32_MAX
#define AMP_RPMSG_NS_ADDR  53u
#define AMP_RPMSG_DYNAMIC  1024u /* dynamic addresses begin here, as on Linux and OpenAMP */

struct amp_rpmsg_hdr {
	uint32_t src;	   /* 0 */
	uint32_t dst;	   /* 4 */
	uint32_t reserved; /* 8 */
	uint16_t len;	   /* 12: of the payload */
	uint16_t flags;	   /* 14 */
} __attribute__((packed, aligned(4)));

#define AMP_RPMSG_NS_LEN     40u
#define AMP_RPMSG_NS_CREATE  0u
#define AMP_RPMSG_NS_DESTROY 1u /* bit 0; other bits are other people's: ignored */

struct amp_rpmsg_ns {
	char name[AMP_RPMSG_NAME_LEN];
	uint32_t addr;
	uint32_t flags;
} __attribute__((packed, aligned(4)));

/*
 * The stream protocol: before each message of a SOCK_STREAM connection. tag: what the
 * receiver chose for this connection (0 in REQUEST, whose receiver has chosen none yet, and
 * in SERVICE). fwd_cnt: bytes that the sender has consumed, free-running.
 */
#define AMP_RSTREAM_HDR_LEN 8u

enum amp_rstream_op {
	AMP_RSTREAM_REQUEST = 1,
	AMP_RSTREAM_RESPONSE = 2,
	AMP_RSTREAM_DATA = 3,
	AMP_RSTREAM_CREDIT = 4,
	AMP_RSTREAM_CREDIT_REQUEST = 5,
	AMP_RSTREAM_SHUTDOWN = 6, /* flags: AMP_VSOCK_SHUTDOWN_* */
	AMP_RSTREAM_RST = 7,
	AMP_RSTREAM_SERVICE = 8, /* to a front door: a stream service of the sender's side */
};

struct amp_rstream_hdr {
	uint8_t op;	  /* 0: enum amp_rstream_op */
	uint8_t flags;	  /* 1: SHUTDOWN, REQUEST, RST: see there; 0 */
	uint16_t tag;	  /* 2 */
	uint32_t fwd_cnt; /* 4 */
} __attribute__((packed, aligned(4)));

#define AMP_RSTREAM_MAGIC   0x53504d41u /* "AMPS" */
#define AMP_RSTREAM_VERSION 1u

/* REQUEST's flags. What comes after it may come from other addresses than the one it names. */
#define AMP_RSTREAM_F_ANY_SRC 1u
/* An RST's flags: 0, or the highest version of who refuses a REQUEST in another one. */

/* Behind the header of REQUEST and RESPONSE, and of the RST that takes a REQUEST back. */
#define AMP_RSTREAM_HELLO_LEN 16u
struct amp_rstream_hello {
	uint32_t magic;	  /* 0 */
	uint8_t version;  /* 4 */
	uint8_t reserved; /* 5: 0 */
	uint16_t tag;	  /* 6: the sender's choice, not 0 */
	uint32_t addr;	  /* 8: the sender's own endpoint of this connection */
	uint32_t window;  /* 12: bytes that the sender can take */
} __attribute__((packed, aligned(4)));

/* Behind the header of SERVICE. */
#define AMP_RSTREAM_SERVICE_LEN 44u
struct amp_rstream_service {
	uint32_t magic;	   /* 0 */
	uint8_t version;   /* 4 */
	uint8_t gone;	   /* 5: 0 here, 1 withdrawn */
	uint16_t reserved; /* 6: 0 */
	uint32_t addr;	   /* 8: REQUESTs (or, without the suffix, raw messages) go here */
	char name[AMP_RPMSG_NAME_LEN]; /* as the name service would announce it */
} __attribute__((packed, aligned(4)));

/* A stream service is announced under its name with this behind it: no raw peer takes it. */
#define AMP_RSTREAM_SUFFIX "~s"
/* The front door of a remote: where the host's SERVICEs and accept carriers go. */
#define AMP_RSTREAM_DOOR "ampsock"

_Static_assert(sizeof(struct amp_rpmsg_hdr) == AMP_RPMSG_HDR_LEN, "rpmsg header");
_Static_assert(sizeof(struct amp_rpmsg_ns) == AMP_RPMSG_NS_LEN, "rpmsg name service");
_Static_assert(sizeof(struct amp_rstream_hdr) == AMP_RSTREAM_HDR_LEN, "docs/protocol.md");
_Static_assert(sizeof(struct amp_rstream_hello) == AMP_RSTREAM_HELLO_LEN, "docs/protocol.md");
_Static_assert(sizeof(struct amp_rstream_service) == AMP_RSTREAM_SERVICE_LEN,
	       "docs/protocol.md");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "big-endian cores: swap in rpmsg.c and rpmsg_stream.c");

#endif /* AMP_WIRE_RPMSG_HDR_H */
