// SPDX-License-Identifier: BSD-3-Clause
/* socketpair(): two AF_VSOCK sockets of the in-core loop, in one piece under the lock. */
#include <errno.h>
#include <string.h>
#include <sys/vm_sockets.h>

#include "stack.h"

#define AMP_NEED listen
#include "need.h"
#define AMP_NEED accept
#include "need.h"
#define AMP_NEED name
#include "need.h"

/* Connects a to a listener that nobody else knows. Its child, or NULL with *err. */
static struct amp_sock *pair_connect(struct amp_sock *listener, struct amp_sock *a, int *err)
{
	struct sockaddr_vm vm;
	socklen_t len = sizeof(vm);
	struct sockaddr *name = (struct sockaddr *)&vm;
	struct amp_sock *b = NULL;
	int r = listener->fam->name(listener, false, name, &len);

	for (int i = 0; r == 0 && i < 4 && !b; i++) {
		if (!(a->flags & AMP_SF_CONNECTED))
			r = AMP_FAM(a->fam, connect)(a, name, len);
		if (r && r != -EAGAIN)
			break;
		amp_links_run();
		b = listener->fam->accept(listener, &r);
		r = 0;
	}
	if (b && !(a->flags & AMP_SF_CONNECTED)) {
		amp_sock_close(b);
		b = NULL;
	}
	*err = b ? 0 : r ? r : -ENOBUFS;
	return b;
}

static int pair_make(int type, struct amp_sock *ab[2])
{
	struct sockaddr_vm vm;
	struct amp_sock *listener;
	int r = 0;

	memset(&vm, 0, sizeof(vm));
	vm.svm_family = AF_VSOCK;
	vm.svm_port = VMADDR_PORT_ANY;
	vm.svm_cid = VMADDR_CID_LOCAL;
	listener = amp_sock_open(AF_VSOCK, type, 0, &r);
	if (!listener)
		return r;
	ab[0] = amp_sock_open(AF_VSOCK, type, 0, &r);
	if (!ab[0])
		goto out;
	listener->backlog = 1;
	r = AMP_FAM(listener->fam, bind)(listener, (struct sockaddr *)&vm, sizeof(vm));
	if (r == 0)
		r = listener->fam->listen(listener, 1);
	if (r == 0) {
		listener->flags |= AMP_SF_LISTEN;
		ab[1] = pair_connect(listener, ab[0], &r);
	}
	if (r)
		amp_sock_close(ab[0]);
out:
	amp_sock_close(listener);
	return r;
}

int amp_socketpair(int domain, int type, int protocol, int sv[2])
{
	struct amp_sock *ab[2];
	struct amp_call c;
	int r;

	amp_enter_plain(&c);
	if (domain != AF_UNIX && domain != AF_VSOCK)
		r = amp_family_find(domain) ? -EOPNOTSUPP : -EAFNOSUPPORT;
	else if (protocol)
		r = -EPROTONOSUPPORT;
	else
		r = pair_make(type, ab);
	for (int i = 0; r == 0 && i < 2; i++) {
		ab[i]->domain = (uint8_t)domain;
		ab[i]->flags &= (uint16_t)~AMP_SF_ORPHAN;
		if (type & SOCK_NONBLOCK)
			ab[i]->flags |= AMP_SF_NONBLOCK;
		sv[i] = amp_sock_fd(ab[i]);
	}
	return (int)amp_leave(&c, r);
}
