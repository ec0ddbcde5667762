/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sys/rpmsg_socket.h - AF_RPMSG: sockets on rpmsg endpoints.
 *
 * An address is a link, and on it either an endpoint's 32-bit address or the name of a
 * service that the other side announces (or that a bound socket announces itself).
 *
 *	SOCK_SEQPACKET  raw rpmsg messages, connected: speaks to any rpmsg peer
 *	SOCK_DGRAM      raw rpmsg messages, unconnected
 *	SOCK_STREAM     a byte stream with credit and half-close, between two ends that both
 *	                speak docs/protocol.md
 */
#ifndef AMP_SYS_RPMSG_SOCKET_H
#define AMP_SYS_RPMSG_SOCKET_H

#include <stdint.h>
#include <sys/socket.h>

/* Above Linux's AF_MAX, and the number that NuttX uses. */
#ifndef AF_RPMSG
#define AF_RPMSG 65
#define PF_RPMSG AF_RPMSG
#endif

#define RPMSG_LINK_ANY 0xffffU /* bind: all links; connect: the first that has the service */
#define RPMSG_ADDR_ANY 0xffffffffU /* bind: a free one; connect: by name */
#define RPMSG_NAME_LEN 32 /* the terminating NUL included: names have 1 to 31 characters */

struct sockaddr_rpmsg {
	sa_family_t rp_family; /* AF_RPMSG */
	uint16_t rp_link;      /* number of an rpmsg link, in the order of bring-up from 0 */
	uint32_t rp_addr;      /* host byte order */
	char rp_name[RPMSG_NAME_LEN]; /* "": by address. A stream's name has at most 29 */
};

#endif /* AMP_SYS_RPMSG_SOCKET_H */
