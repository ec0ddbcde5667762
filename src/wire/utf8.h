/* SPDX-License-Identifier: BSD-3-Clause */
/* UTF-8 (RFC 3629), as the control socket's requests and answers are. */
#ifndef AMP_WIRE_UTF8_H
#define AMP_WIRE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at p, of which left >= 1 are there. 0: there is none. */
static inline unsigned amp_utf8_len(const unsigned char *p, size_t left)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t min;
	} form[] = {
		{0x80, 0, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
	unsigned n = 0;
	uint32_t ch;

	while (n < 4 && (p[0] & form[n].mask) != form[n].lead)
		n++;
	if (n == 4 || n >= left)
		return 0;
	ch = p[0] & (unsigned char)~form[n].mask;
	for (unsigned i = 1; i <= n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		ch = ch << 6 | (p[i] & 0x3fu);
	}
	if (ch < form[n].min || ch > 0x10ffff || (ch >= 0xd800 && ch < 0xe000))
		return 0;
	return n + 1;
}

#endif /* AMP_WIRE_UTF8_H */
