/* SPDX-License-Identifier: BSD-3-Clause */
/* Little-endian bytes to numbers and back, at any alignment. */
#ifndef AMP_WIRE_LE_H
#define AMP_WIRE_LE_H

#include <stdint.h>
#include <string.h>

#include "../ampsock_config.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little-endian cores: add swaps");

/* Of tens of bytes: where size matters a call, which is shorter than what a compiler makes of it. */
static inline void amp_copy(void *to, const void *from, size_t len)
{
	if (!AMPSOCK_FAST)
		__asm__("" : "+r"(len));
	memcpy(to, from, len);
}

/* Copies, for the pieces may lie anywhere: one instruction where the core allows it. */

static inline uint16_t amp_le16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t amp_le32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t amp_le64(const void *p)
{
	return amp_le32(p) | (uint64_t)amp_le32((const uint8_t *)p + 4) << 32;
}

static inline void amp_put_le16(void *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void amp_put_le32(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void amp_put_le64(void *p, uint64_t v)
{
	amp_put_le32(p, (uint32_t)v);
	amp_put_le32((uint8_t *)p + 4, (uint32_t)(v >> 32));
}

#endif /* AMP_WIRE_LE_H */
