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

#endif /* AMP_INET_TEXT_H */
