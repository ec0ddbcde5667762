/* SPDX-License-Identifier: BSD-3-Clause */
/* The split ring as it lies in shared memory (virtio 1.2, 2.7): private to this room. */
#ifndef AMP_VRING_H
#define AMP_VRING_H

#include <stdint.h>

#define VRING_DESC_F_NEXT     1u
#define VRING_DESC_F_WRITE    2u
#define VRING_DESC_F_INDIRECT 4u

#define VRING_USED_F_NO_NOTIFY	   1u
#define VRING_AVAIL_F_NO_INTERRUPT 1u

struct vring_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct vring_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[]; /* num entries, then used_event */
};

struct vring_used_elem {
	uint32_t id;
	uint32_t len;
};

struct vring_used {
	uint16_t flags;
	uint16_t idx;
	struct vring_used_elem ring[]; /* num entries, then u16 avail_event */
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio 1.2, 2.7: little-endian");

#endif /* AMP_VRING_H */
