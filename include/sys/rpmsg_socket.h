/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sys/rpmsg_socket.h - AF_RPMSG addresses: an rpmsg endpoint, named by the link it is on
 * and its 32-bit address, its service name, or both. On bare metal and on Linux.
 */
#ifndef AMP_SYS_RPMSG_SOCKET_H
#define AMP_SYS_RPMSG_SOCKET_H

#include <stdint.h>
#include <sys/socket.h>

/* Above Linux's AF_MAX. */
#define AF_RPMSG 65
#define PF_RPMSG AF_RPMSG

#define RPMSG_NAME_LEN 32	   /* as in the name-service message, final NUL included */
#define RPMSG_ADDR_ANY 0xffffffffU /* bind: any free one; connect: by name */
#define RPMSG_LINK_ANY 0xffffU	   /* bind: every link; connect: the first that has it */

struct sockaddr_rpmsg {
	sa_family_t rp_family; /* AF_RPMSG */
	uint16_t rp_link;      /* number of the link, in the order of bring-up */
	uint32_t rp_addr;      /* endpoint address, host byte order */
	char rp_name[RPMSG_NAME_LEN];
};

#endif /* AMP_SYS_RPMSG_SOCKET_H */
