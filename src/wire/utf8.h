/* SPDX-License-Identifier: BSD-3-Clause */
/* UTF-8 (RFC 3629), as the control socket's requests and answers are. */
#ifndef AMP_WIRE_UTF8_H
#define AMP_WIRE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at p, of which left >= 1 are there: it is *code then. 0: there is none. */
static inline unsigned amp_utf8_get(const unsigned char *p, size_t left, uint32_t *code)
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
	*code = ch;
	return n + 1;
}

static inline unsigned amp_utf8_len(const unsigned char *p, size_t left)
{
	uint32_t code;

	return amp_utf8_get(p, left, &code);
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

/*
 * Columns that a terminal gives it, as wcwidth() has it in a UTF-8 locale: the process that needs it
 * has neither that nor the files for it. Scripts of East Asia and most pictures have two (UAX #11),
 * what is put on the character before it has none: of the marks those of the scripts of Europe.
 */
static inline unsigned amp_utf8_width(uint32_t code)
{
	static const struct {
		uint32_t first, last;
		unsigned width;
	} other[] = {
		{0x300, 0x36f, 0},     {0x483, 0x489, 0},     {0x1100, 0x115f, 2},
		{0x1ab0, 0x1aff, 0},   {0x1dc0, 0x1dff, 0},   {0x200b, 0x200f, 0},
		{0x2060, 0x2064, 0},   {0x20d0, 0x20f0, 0},   {0x231a, 0x231b, 2},
		{0x2329, 0x232a, 2},   {0x23e9, 0x23ec, 2},   {0x2614, 0x2615, 2},
		{0x2648, 0x2653, 2},   {0x274c, 0x274c, 2},   {0x2753, 0x2755, 2},
		{0x2e80, 0x3029, 2},   {0x302a, 0x302d, 0},   {0x302e, 0x303e, 2},
		{0x3041, 0x3098, 2},   {0x3099, 0x309a, 0},   {0x309b, 0x3247, 2},
		{0x3250, 0x4dbf, 2},   {0x4e00, 0xa4cf, 2},   {0xa960, 0xa97c, 2},
		{0xac00, 0xd7a3, 2},   {0xf900, 0xfaff, 2},   {0xfe00, 0xfe0f, 0},
		{0xfe10, 0xfe19, 2},   {0xfe20, 0xfe2f, 0},   {0xfe30, 0xfe6b, 2},
		{0xfeff, 0xfeff, 0},   {0xff01, 0xff60, 2},   {0xffe0, 0xffe6, 2},
		{0x16fe0, 0x18cff, 2}, {0x1aff0, 0x1b2fb, 2}, {0x1f191, 0x1f19a, 2},
		{0x1f200, 0x1f320, 2}, {0x1f32d, 0x1f335, 2}, {0x1f337, 0x1f37c, 2},
		{0x1f37e, 0x1f393, 2}, {0x1f3a0, 0x1f3ca, 2}, {0x1f3e0, 0x1f3f0, 2},
		{0x1f3f8, 0x1f43e, 2}, {0x1f442, 0x1f4fc, 2}, {0x1f4ff, 0x1f53d, 2},
		{0x1f5fb, 0x1f64f, 2}, {0x1f680, 0x1f6c5, 2}, {0x1f6eb, 0x1f6fc, 2},
		{0x1f7e0, 0x1f7f0, 2}, {0x1f90c, 0x1f93a, 2}, {0x1f93c, 0x1f945, 2},
		{0x1f947, 0x1f9ff, 2}, {0x1fa70, 0x1faff, 2}, {0x20000, 0x3fffd, 2},
		{0xe0001, 0xe01ef, 0},
	};

	for (unsigned i = 0; i < sizeof(other) / sizeof(*other) && code >= other[i].first;
	     i++) {
		if (code <= other[i].last)
			return other[i].width;
	}
	return 1;
}

/* Columns of a text on a terminal; what is no character, and will be shown as `?`, has one. */
static inline size_t amp_utf8_columns(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t cnt = 0;

	for (size_t i = 0; i < len;) {
		uint32_t code = '?';
		unsigned n = amp_utf8_get(p + i, len - i, &code);

		cnt += amp_utf8_width(code);
		i += n ? n : 1;
	}
	return cnt;
}

#endif /* AMP_WIRE_UTF8_H */
