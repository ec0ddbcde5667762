/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What flows.c and peer.c agree on: a head of 17 bytes before each command, {op, u64 seed, u64
 * count} little-endian, and what the bytes behind it are.
 *
 *	E	count bytes there, the same ones back
 *	R	count bytes back
 *	T	count bytes there, one back
 */
#ifndef LOAD_PATTERN_H
#define LOAD_PATTERN_H

#include <stdint.h>

#define PEER_HEAD      17u
#define PATTERN_PERIOD 65521u /* a prime: no buffer's length divides it */
#define PATTERN_PIECE  65536u /* bytes that pattern_at() has behind each place */

static uint8_t pattern[PATTERN_PERIOD + PATTERN_PIECE];

static inline void pattern_make(void)
{
	uint32_t x = 12345;

	for (unsigned i = 0; i < sizeof(pattern); i++) {
		if (i >= PATTERN_PERIOD) {
			pattern[i] = pattern[i - PATTERN_PERIOD];
			continue;
		}
		x = x * 1664525u + 1013904223u;
		pattern[i] = (uint8_t)(x >> 24);
	}
}

static inline const uint8_t *pattern_at(uint64_t seed, uint64_t at)
{
	return pattern + (at + seed * 7919u) % PATTERN_PERIOD;
}

static inline void peer_head_put(uint8_t *p, char op, uint64_t seed, uint64_t count)
{
	p[0] = (uint8_t)op;
	for (unsigned i = 0; i < 8; i++) {
		p[1 + i] = (uint8_t)(seed >> (8 * i));
		p[9 + i] = (uint8_t)(count >> (8 * i));
	}
}

static inline uint64_t peer_head_num(const uint8_t *p)
{
	uint64_t n = 0;

	for (unsigned i = 8; i > 0; i--)
		n = n << 8 | p[i - 1];
	return n;
}

#endif /* LOAD_PATTERN_H */
