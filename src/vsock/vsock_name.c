// SPDX-License-Identifier: BSD-3-Clause
/* The addresses of an AF_VSOCK socket. */
#include <errno.h>
#include <string.h>
#include <sys/vm_sockets.h>

#include "af_vsock.h"

#if AMPSOCK_VSOCK

int amp_vsock_name(struct amp_sock *s, bool peer, struct sockaddr *addr, socklen_t *len)
{
	const struct amp_vsock_addr *at = peer ? &conn_of(s)->peer : &conn_of(s)->local;
	struct sockaddr_vm vm;

	memset(&vm, 0, sizeof(vm));
	vm.svm_family = AF_VSOCK;
	vm.svm_cid = at->cid;
	vm.svm_port = at->port;
	if (peer && !(s->flags & AMP_SF_CONNECTED))
		return -ENOTCONN;
	if (!(s->flags & (AMP_SF_BOUND | AMP_SF_CONNECTED))) {
		vm.svm_cid = VMADDR_CID_ANY;
		vm.svm_port = VMADDR_PORT_ANY;
	}
	memcpy(addr, &vm, *len < sizeof(vm) ? *len : sizeof(vm));
	*len = sizeof(vm);
	return 0;
}

#endif /* AMPSOCK_VSOCK */
