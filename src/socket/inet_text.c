/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses as text. Parsing is strict: what is not wholly an address is none, and a
 * failed parse leaves the destination alone. No locks, no state but inet_ntoa's buffer.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "amp_calls.h"
#include "inet_text.h"

/* Where an address may end; '%' is before the zone of an IPv6 one. */
static bool at_end(char c)
{
	return c == '\0' || c == '%';
}

/* The value of a digit of whatever base; 16: it is none. */
static __attribute__((noinline)) unsigned digit(char c)
{
	unsigned low = (unsigned char)c | 0x20u;

	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	return low >= 'a' && low <= 'f' ? low - 'a' + 10 : 16;
}

const char *amp_inet_number(const char *s, unsigned base, uint32_t most, uint32_t *val)
{
	const char *from = s;
	uint32_t v = 0;
	unsigned d;

	for (; (d = digit(*s)) < base; s++) {
		if (v > (most - d) / base)
			return NULL;
		v = v * base + d;
	}
	*val = v;
	return s == from ? NULL : s;
}

/*
 * a, a.b, a.b.c or a.b.c.d, the last number taking the bytes that are left; each decimal, octal (0) or
 * hexadecimal (0x). strict: four decimal numbers, and a leading zero, which elsewhere means octal, is
 * refused. What is behind it; NULL.
 */
static const char *dotted(const char *s, bool strict, void *out)
{
	uint32_t most = UINT32_MAX, addr = 0, val; /* most: of all bytes that are left */

	while (most) {
		unsigned base = 10;

		if (*s == '0' && !strict) {
			base = 8;
			if ((s[1] | 0x20) == 'x') {
				base = 16;
				s += 2;
			}
		} else if (*s == '0' && digit(s[1]) < 10) {
			return NULL;
		}
		s = amp_inet_number(s, base, most, &val);
		if (!s)
			return NULL;
		if (strict ? most == 255 && at_end(*s) : *s == '\0') {
			addr = htonl(addr | val);
			memcpy(out, &addr, sizeof(addr));
			return s;
		}
		if (*s++ != '.' || val > 255)
			return NULL;
		most >>= 8;
		addr |= val * (most + 1);
	}
	return NULL;
}

#define NOWHERE 17

/* RFC 4291, 2.2: groups of 1 to 4 digits, one "::", the last 32 bits perhaps as IPv4. */
static const char *parse6(const char *s, uint8_t *out)
{
	unsigned at = 0, gap = NOWHERE; /* bytes so far; where "::" was */

	if (s[0] == ':' && *++s != ':')
		return NULL;
	for (;;) {
		const char *group = s;
		uint32_t val;
		uint16_t be;

		if (digit(*s) == 16) {
			if (at_end(*s))
				break;
			if (*s++ != ':' || gap != NOWHERE)
				return NULL;
			gap = at;
			continue;
		}
		s = amp_inet_number(group, 16, 0xffff, &val);
		if (!s || s - group > 4)
			return NULL;
		if (*s == '.') {
			s = at > 12 ? NULL : dotted(group, true, out + at);
			if (!s)
				return NULL;
			at += 4;
			break;
		}
		if (at > 14)
			return NULL;
		be = htons((uint16_t)val);
		memcpy(out + at, &be, sizeof(be));
		at += 2;
		if (*s == ':' && at_end(*++s))
			return NULL;
	}
	if (gap == NOWHERE)
		return at == 16 ? s : NULL;
	if (at == 16) /* "::" stands for one group at least */
		return NULL;
	memmove(out + 16 - (at - gap), out + gap, at - gap);
	memset(out + gap, 0, 16 - at);
	return s;
}

const char *amp_inet_parse(int af, const char *s, uint8_t *out)
{
	return af == AF_INET ? dotted(s, true, out) : parse6(s, out);
}

int amp_inet_pton(int af, const char *restrict src, void *restrict dst)
{
	uint8_t addr[16];
	const char *end;

	if (af != AF_INET && af != AF_INET6)
		return amp_fail(EAFNOSUPPORT);
	end = amp_inet_parse(af, src, addr);
	if (!end || *end)
		return 0;
	memcpy(dst, addr, af == AF_INET ? 4 : 16);
	return 1;
}

__attribute__((noinline)) char *amp_inet_put(char *p, uint32_t val, unsigned base)
{
	uint32_t unit = 1;

	while (val / unit >= base)
		unit *= base;
	for (; unit; unit /= base) {
		uint32_t d = val / unit;

		val -= d * unit;
		d += d < 10 ? '0' : 'a' - 10;
		*p++ = (char)d;
	}
	return p;
}

static char *ntop4(const uint8_t a[4], char *p)
{
	for (unsigned i = 0; i < 4; i++) {
		p = amp_inet_put(p, a[i], 10);
		*p++ = '.';
	}
	*--p = '\0';
	return p;
}

/* The i-th group of an IPv6 address. */
static inline uint16_t group6(const uint8_t a[16], unsigned i)
{
	uint16_t be;

	memcpy(&be, a + 2 * i, sizeof(be));
	return ntohs(be);
}

/* Where the longest run of two or more zero groups begins (the first of equals); 8: none. */
static unsigned zero_run(const uint8_t a[16], unsigned *len)
{
	unsigned best = 8, best_len = 1, run = 0;

	for (unsigned i = 0; i < 8; i++) {
		run = group6(a, i) ? 0 : run + 1;
		if (run > best_len) {
			best_len = run;
			best = i + 1 - run;
		}
	}
	*len = best_len;
	return best;
}

/*
 * RFC 5952: lower case, no leading zeros, "::" for the longest run. The IPv4 addresses in
 * ::ffff:0:0/96 and ::/96 (but not :: and ::1) end in dots, as everybody's inet_ntop has it.
 */
static char *ntop6(const uint8_t a[16], char *p)
{
	unsigned len, gap = zero_run(a, &len);
	bool v4 = gap == 0 && (len == 6 || (len == 5 && group6(a, 5) == 0xffff));

	for (unsigned i = 0; i < 8; i++) {
		if (i == gap) {
			*p++ = ':';
			i += len - 1;
			if (i == 7)
				*p++ = ':';
			continue;
		}
		if (i != 0)
			*p++ = ':';
		if (v4 && i == 6)
			return ntop4(a + 12, p);
		p = amp_inet_put(p, group6(a, i), 16);
	}
	*p = '\0';
	return p;
}

const char *amp_inet_ntop(int af, const void *restrict src, char *restrict dst, socklen_t size)
{
	char text[INET6_ADDRSTRLEN];
	char *end;

	if (af == AF_INET) {
		end = ntop4(src, text);
	} else if (af == AF_INET6) {
		end = ntop6(src, text);
	} else {
		amp_fail(EAFNOSUPPORT);
		return NULL;
	}
	if ((size_t)(end - text) >= size) {
		amp_fail(ENOSPC);
		return NULL;
	}
	return memcpy(dst, text, (size_t)(end - text) + 1);
}

/* Unlike BSD's nothing may follow, white space neither. */
int amp_inet_aton(const char *cp, struct in_addr *in)
{
	return dotted(cp, false, &in->s_addr) != NULL;
}

in_addr_t amp_inet_addr(const char *cp)
{
	struct in_addr in;

	return amp_inet_aton(cp, &in) ? in.s_addr : INADDR_NONE;
}

char *amp_inet_ntoa(struct in_addr in)
{
	static char text[INET_ADDRSTRLEN];

	ntop4((const uint8_t *)&in.s_addr, text);
	return text;
}
