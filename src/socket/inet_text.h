/* SPDX-License-Identifier: BSD-3-Clause */
/* What the resolver shares with inet_pton(). */
#ifndef AMP_INET_TEXT_H
#define AMP_INET_TEXT_H

#include <stdint.h>

/*
 * The address of family af (AF_INET: 4 bytes, AF_INET6: 16) that s begins with; what is
 * behind it: the end or a '%' (of IPv6: a zone). NULL: it is none, out may be half written.
 */
const char *amp_inet_parse(int af, const char *s, uint8_t *out);
/* Where a number of at most most, in digits of that base, ends; NULL: there is none, or a larger
 * one. */
const char *amp_inet_number(const char *s, unsigned base, uint32_t most, uint32_t *val);
/* val in text to p, without an end; what is behind it. At most 10 bytes in base 10, 8 in 16. */
char *amp_inet_put(char *p, uint32_t val, unsigned base);

#endif /* AMP_INET_TEXT_H */
