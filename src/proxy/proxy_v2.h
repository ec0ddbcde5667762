/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The header of the PROXY protocol, version 2 (haproxy's proxy-protocol.txt, section 2.2): who
 * connected, told before the first byte of the connection. docs/protocol.md has what ours say
 * where a guest, which has no IP address, is who connected.
 */
#ifndef AMP_PROXY_PROXY_V2_H
#define AMP_PROXY_PROXY_V2_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Types of our own, from the range for applications (section 2.2: 0xE0 to 0xEF). Each value is
 * text without a NUL. */
#define AMP_PP2_LINK	0xe0u /* the link's name */
#define AMP_PP2_SOURCE	0xe1u /* who in the guest: vsock:CID:PORT, rpmsg:@ADDRESS */
#define AMP_PP2_SERVICE 0xe2u /* what it asked for, as in the rule: vsock:PORT, rpmsg:NAME */

#define AMP_PP2_HEAD 16u
#define AMP_PP2_UNIX 216u /* two paths of 108 bytes: the longest addresses */
#define AMP_PP2_TEXT 63u  /* longest value of ours */
#define AMP_PP2_MAX  (AMP_PP2_HEAD + AMP_PP2_UNIX + 3u * (3u + AMP_PP2_TEXT))

/*
 * A client of the host: peer connected to local, both of accept(2) and getsockname(2). IPv4 in an
 * IPv6 coat is told as IPv4. Families other than AF_INET, AF_INET6 and AF_UNIX, or a pair of two
 * families, become LOCAL, which says that nothing is known. Returns the length.
 */
size_t amp_pp2_client(uint8_t dst[AMP_PP2_MAX], const struct sockaddr_storage *peer,
		      socklen_t peer_len, const struct sockaddr_storage *local,
		      socklen_t local_len);

/* A guest: LOCAL without addresses, and three values of our own. Texts are cut at AMP_PP2_TEXT bytes. */
size_t amp_pp2_guest(uint8_t dst[AMP_PP2_MAX], const char *link, const char *source,
		     const char *service);

#endif /* AMP_PROXY_PROXY_V2_H */
