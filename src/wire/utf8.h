/* SPDX-License-Identifier: BSD-3-Clause */
/* UTF-8 (RFC 3629), as the control socket's requests and answers are. */
#ifndef AMP_WIRE_UTF8_H
#define AMP_WIRE_UTF8_H

#include <stdbool.h>
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

/*
 * Text from elsewhere, made fit for an answer or a terminal where it stands: what is no UTF-8, and
 * each control character (C0, DEL, and C1, which is a terminal's, too), becomes '?'. lines: several
 * may be there, and marks below them: line ends and tabs stay.
 */
static inline void amp_utf8_clean(char *text, bool lines)
{
	size_t left = 0;
	char *ch = text;

	while (text[left])
		left++;
	while (left) {
		unsigned n = amp_utf8_len((const unsigned char *)ch, left);
		bool kept = lines && (*ch == '\n' || *ch == '\t');

		if (n == 0 || ((unsigned char)*ch < 0x20 && !kept) || *ch == 0x7f) {
			*ch = '?';
			n = 1;
		} else if (n == 2 && (unsigned char)ch[0] == 0xc2 &&
			   (unsigned char)ch[1] < 0xa0) {
			ch[0] = ch[1] = '?';
		}
		ch += n;
		left -= n;
	}
}

/* Characters, not bytes: columns of a terminal, but for those that have two or none. */
static inline size_t amp_utf8_cnt(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t cnt = 0;

	for (size_t i = 0; i < len; cnt++) {
		unsigned n = amp_utf8_len(p + i, len - i);

		i += n ? n : 1;
	}
	return cnt;
}

#endif /* AMP_WIRE_UTF8_H */
