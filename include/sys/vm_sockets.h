/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sys/vm_sockets.h - AF_VSOCK addresses with Linux's names, numbers and layout. On Linux
 * it is <linux/vm_sockets.h>; on a bare toolchain <sys/socket.h> is ours, and so is this.
 */
#ifndef AMP_SYS_VM_SOCKETS_H
#define AMP_SYS_VM_SOCKETS_H

#include <sys/socket.h>

#ifndef AMP_SYS_SOCKET_H
#include <linux/vm_sockets.h>
#else

#define VMADDR_CID_ANY		   0xffffffffU /* bind: any of mine */
#define VMADDR_CID_HYPERVISOR	   0
#define VMADDR_CID_LOCAL	   1	       /* this core itself: the in-core loop */
#define VMADDR_CID_HOST		   2	       /* the host: the proxy's exposed ports */
#define VMADDR_PORT_ANY		   0xffffffffU /* bind: any free one */
#define VMADDR_FLAG_TO_HOST	   0x01
#define VM_SOCKETS_INVALID_VERSION 0xffffffffU

struct sockaddr_vm {
	sa_family_t svm_family; /* AF_VSOCK */
	unsigned short svm_reserved1;
	unsigned int svm_port; /* host byte order */
	unsigned int svm_cid;  /* host byte order */
	unsigned char svm_flags;
	unsigned char svm_zero[sizeof(struct sockaddr) - sizeof(sa_family_t) -
			       sizeof(unsigned short) - 2 * sizeof(unsigned int) -
			       sizeof(unsigned char)];
};

#endif /* AMP_SYS_SOCKET_H */

#endif /* AMP_SYS_VM_SOCKETS_H */
