/* SPDX-License-Identifier: BSD-3-Clause */
/* Little-endian bytes to numbers and back, at any alignment. */
#ifndef AMP_WIRE_LE_H
#define AMP_WIRE_LE_H

#include <stdint.h>

static inline uint16_t amp_le16(const void *p)
{
	const uint8_t *b = p;

	return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t amp_le32(const void *p)
{
	const uint8_t *b = p;

	return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint64_t amp_le64(const void *p)
{
	const uint8_t *b = p;

	return amp_le32(b) | (uint64_t)amp_le32(b + 4) << 32;
}

static inline void amp_put_le16(void *p, uint16_t v)
{
	uint8_t *b = p;

	b[0] = (uint8_t)v;
	b[1] = (uint8_t)(v >> 8);
}

static inline void amp_put_le32(void *p, uint32_t v)
{
	uint8_t *b = p;

	b[0] = (uint8_t)v;
	b[1] = (uint8_t)(v >> 8);
	b[2] = (uint8_t)(v >> 16);
	b[3] = (uint8_t)(v >> 24);
}

static inline void amp_put_le64(void *p, uint64_t v)
{
	amp_put_le32(p, (uint32_t)v);
	amp_put_le32((uint8_t *)p + 4, (uint32_t)(v >> 32));
}

#endif /* AMP_WIRE_LE_H */
