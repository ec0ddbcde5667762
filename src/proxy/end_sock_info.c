// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls getpeername getsockname shutdown */
/* What there is to see of an end on a socket of this host. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h> /* wants sys/socket.h first */

#include "slink.h"

bool amp_end_sock_peer(const struct amp_end_sock *e, struct sockaddr_vm *vm)
{
	socklen_t len = sizeof(*vm);

	memset(vm, 0, sizeof(*vm));
	if (e->peer_kept) {
		vm->svm_family = AF_VSOCK;
		vm->svm_cid = e->peer_cid;
		vm->svm_port = e->peer_port;
		return true;
	}
	return getpeername(e->watch.fd, (struct sockaddr *)vm, &len) == 0 &&
	       vm->svm_family == AF_VSOCK;
}

/* AF_VSOCK's getpeername() says ENOTCONN from now on, although the guest may send (af_vsock.c). */
void amp_end_sock_shutdown(struct amp_end_sock *e, int how)
{
	struct sockaddr_vm vm;

	if (!e->peer_kept && amp_end_sock_peer(e, &vm)) {
		e->peer_kept = true;
		e->peer_cid = vm.svm_cid;
		e->peer_port = vm.svm_port;
	}
	shutdown(e->watch.fd, how);
}

void amp_end_sock_text(const struct amp_end *end, char *dst, size_t len)
{
	const struct amp_end_sock *e =
		(const void *)((const char *)end - offsetof(struct amp_end_sock, end));
	struct sockaddr_vm vm;

	if (amp_end_sock_peer(e, &vm))
		snprintf(dst, len, "vsock:%u:%u", vm.svm_cid, vm.svm_port);
	else
		snprintf(dst, len, "vsock");
}

static void vm_text(const struct sockaddr_vm *vm, char *dst)
{
	if (vm->svm_family == AF_VSOCK)
		snprintf(dst, AMP_INFO_ADDR, "vsock:%u:%u", vm->svm_cid, vm->svm_port);
}

void amp_end_sock_info(const struct amp_end *end, struct amp_sock_info *info)
{
	const struct amp_end_sock *e =
		(const void *)((const char *)end - offsetof(struct amp_end_sock, end));
	struct sockaddr_vm vm = {.svm_family = AF_UNSPEC};
	socklen_t len = sizeof(vm);

	info->ring = true;
	info->message = end->message;
	info->state = e->let_go ? "closing" : e->open ? "established" : "connecting";
	if (amp_end_sock_peer(e, &vm))
		vm_text(&vm, info->guest_peer);
	vm.svm_family = AF_UNSPEC;
	len = sizeof(vm);
	if (getsockname(e->watch.fd, (struct sockaddr *)&vm, &len) == 0)
		vm_text(&vm, info->guest_local);
	/* a monitor says neither CID nor the port of the side that connects */
	if (vm.svm_family != AF_VSOCK)
		snprintf(e->ours ? info->guest_peer : info->guest_local, AMP_INFO_ADDR,
			 "vsock:%u", e->port);
	info->rx_bytes = e->rx_bytes;
	info->tx_bytes = e->tx_bytes;
	info->stalls = e->stalls;
	info->held_len = e->in.len;
	info->window_len = AMP_LIMIT_WINDOW - e->in.len;
}

/* Its end, or its reset, is on the way to us, behind what it said. */
bool amp_end_sock_left(struct amp_end *end, bool gone)
{
	const struct amp_end_sock *e = amp_container_of(end, struct amp_end_sock, end);

	(void)gone;
	return e->open && e->hup && !e->let_go && !e->broken;
}
