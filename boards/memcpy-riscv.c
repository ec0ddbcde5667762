/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memcpy for RISC-V without misaligned accesses. picolibc's copies byte by byte as soon
 * as source and destination are not aligned alike, which is the usual case for payload
 * behind a 44-byte header: here the words are shifted together instead.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define W (sizeof(uintptr_t))

struct word {
	uintptr_t v;
} __attribute__((may_alias));

static void copy_alike(struct word **dp, const struct word **sp, size_t words)
{
	struct word *d = *dp;
	const struct word *s = *sp;

	for (; words >= 8; words -= 8, d += 8, s += 8) {
		uintptr_t a = s[0].v, b = s[1].v, c = s[2].v, e = s[3].v;
		uintptr_t f = s[4].v, g = s[5].v, h = s[6].v, i = s[7].v;

		d[0].v = a, d[1].v = b, d[2].v = c, d[3].v = e;
		d[4].v = f, d[5].v = g, d[6].v = h, d[7].v = i;
	}
	for (; words > 0; words--)
		*d++ = *s++;
	*dp = d;
	*sp = s;
}

/* s is the aligned word that holds the first byte, shift bits into it. */
static void copy_shifted(struct word *d, const struct word *s, size_t words, unsigned shift)
{
	uintptr_t have = s->v, next;

	for (; words >= 2; words -= 2, d += 2) {
		next = (++s)->v;
		d[0].v = have >> shift | next << (W * 8 - shift);
		have = (++s)->v;
		d[1].v = next >> shift | have << (W * 8 - shift);
	}
	if (words > 0)
		d->v = have >> shift | s[1].v << (W * 8 - shift);
}

void *memcpy(void *restrict dst, const void *restrict src, size_t len)
{
	uint8_t *d = dst;
	const uint8_t *s = src;
	size_t words;
	unsigned skew;

	if (len >= 2 * W) {
		for (; (uintptr_t)d % W != 0; len--)
			*d++ = *s++;
		words = len / W;
		skew = (unsigned)((uintptr_t)s % W);
		if (skew == 0) {
			struct word *dw = (struct word *)(void *)d;
			const struct word *sw = (const struct word *)(const void *)s;

			copy_alike(&dw, &sw, words);
		} else {
			copy_shifted((struct word *)(void *)d,
				     (const struct word *)(const void *)(s - skew), words,
				     skew * 8);
		}
		d += words * W;
		s += words * W;
		len %= W;
	}
	while (len-- > 0)
		*d++ = *s++;
	return dst;
}
