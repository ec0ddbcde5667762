// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls getpeername getsockname
 *
 * Packets for a capture of a link that has none (slink.h): its connections are sockets, whose
 * packets another has made and taken apart. What is put together here is what a ring would
 * have shown of the same calls: REQUEST and RESPONSE, RW with the bytes, SHUTDOWN, RST, from
 * and to the addresses. It is a record of what passed through the proxy, not of what was on
 * the ring: bytes come in the pieces of recvmsg() and sendmsg(), and there is no credit, so
 * buf_alloc and fwd_cnt are 0 and CREDIT_UPDATE is never seen (docs/control.md, "Capture").
 *
 * A monitor keeps some of the addresses to itself: the guest's CID, and the port that the
 * connecting side has. In their place are AMP_SLINK_TAP_CID and AMP_SLINK_TAP_PORT plus the
 * number of the end, the `id` that `ampsockctl sockets` shows.
 */
#include <string.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h> /* wants sys/socket.h first */

#include "capture.h"
#include "slink.h"

#define RCV  AMP_VSOCK_SHUTDOWN_RCV
#define SEND AMP_VSOCK_SHUTDOWN_SEND

static uint32_t made_up_port(uint64_t num)
{
	return AMP_SLINK_TAP_PORT | ((uint32_t)num & (AMP_SLINK_TAP_PORT - 1));
}

void amp_slink_tap_changed(struct amp_link *link)
{
	(void)link; /* link->tapped is looked at */
}

/* The addresses, guest's first. What only the kernel knows is asked of it. e NULL: no end yet. */
static void addresses(struct amp_slink *sl, int fd, const struct amp_end_sock *e, uint32_t port,
		      uint64_t num, struct sockaddr_vm vm[2])
{
	socklen_t len[2] = {sizeof(vm[0]), sizeof(vm[1])};
	uint32_t cid = sl->link.conf->cid;
	unsigned other = e && e->ours ? 1 : 0; /* whose port nobody told us */

	memset(vm, 0, 2 * sizeof(*vm));
	if (sl->link.conf->type == AMP_LINK_VSOCK) {
		if (e)
			(void)amp_end_sock_peer(e, &vm[0]);
		else
			(void)getpeername(fd, (struct sockaddr *)&vm[0], &len[0]);
		(void)getsockname(fd, (struct sockaddr *)&vm[1], &len[1]);
	}
	/* not connected yet, or bound to any CID: then it is as the configuration says */
	if (vm[0].svm_family != AF_VSOCK)
		vm[0].svm_cid = cid ? cid : AMP_SLINK_TAP_CID;
	if (vm[1].svm_family != AF_VSOCK || vm[1].svm_cid == VMADDR_CID_ANY)
		vm[1].svm_cid = cid == VMADDR_CID_LOCAL	 ? VMADDR_CID_LOCAL
				: cid == VMADDR_CID_HOST ? AMP_SLINK_TAP_CID
							 : VMADDR_CID_HOST;
	vm[!other].svm_port = port;
	if (vm[other].svm_family != AF_VSOCK)
		vm[other].svm_port = made_up_port(num);
}

static void put(struct amp_slink *sl, const struct sockaddr_vm vm[2], bool out, bool message,
		unsigned op, uint32_t flags, const struct amp_iov *iov, unsigned iov_cnt,
		uint32_t len)
{
	struct amp_vsock_hdr h = {
		.src_cid = vm[out].svm_cid,
		.dst_cid = vm[!out].svm_cid,
		.src_port = vm[out].svm_port,
		.dst_port = vm[!out].svm_port,
		.len = len,
		.type = message ? AMP_VSOCK_SEQPACKET : AMP_VSOCK_STREAM,
		.op = (uint16_t)op,
		.flags = flags,
	};

	amp_capture_vsock(&sl->link, out, &h, iov, iov_cnt, len);
}

static void tap(struct amp_end_sock *e, bool out, unsigned op, uint32_t flags,
		const struct amp_iov *iov, unsigned iov_cnt, uint32_t len)
{
	struct sockaddr_vm vm[2];

	addresses(e->sl, e->watch.fd, e, e->port, e->end.num, vm);
	put(e->sl, vm, out, e->end.message, op, flags, iov, iov_cnt, len);
}

void amp_slink_tap_op(struct amp_end_sock *e, bool out, unsigned op)
{
	if (op == AMP_VSOCK_OP_RST)
		e->tap_rst = true;
	if (e->sl->link.tapped)
		tap(e, out, op, 0, NULL, 0, 0);
}

void amp_slink_tap_shut(struct amp_end_sock *e, bool out, uint32_t flags)
{
	uint32_t all = e->tap_shut[out] | flags;

	/* a connection that never was has no end in order */
	if (!e->open || all == e->tap_shut[out])
		return;
	e->tap_shut[out] = (uint8_t)all;
	/* both of the flags that were said before, too, as the drivers do */
	if (e->sl->link.tapped)
		tap(e, out, AMP_VSOCK_OP_SHUTDOWN, all, NULL, 0, 0);
}

void amp_slink_tap_data(struct amp_end_sock *e, bool out, const struct iovec *iov, int cnt,
			size_t len)
{
	static struct amp_iov part[AMP_END_IOV_MAX];
	uint32_t flags = e->end.message ? AMP_VSOCK_SEQ_EOM : 0;
	size_t left = len;
	unsigned n = 0;

	for (; n < (unsigned)cnt && n < AMP_END_IOV_MAX && left; n++) {
		part[n].base = iov[n].iov_base;
		part[n].len = iov[n].iov_len < left ? iov[n].iov_len : left;
		left -= part[n].len;
	}
	tap(e, out, AMP_VSOCK_OP_RW, flags, part, n, (uint32_t)(len - left));
}

/* Nothing but a packet tells the guest that a connection is over; which one, e says. */
void amp_slink_tap_over(struct amp_end_sock *e, bool orderly)
{
	if (e->watch.fd < 0 || e->tap_rst)
		return;
	if (orderly && e->open)
		amp_slink_tap_shut(e, true, RCV | SEND);
	else
		amp_slink_tap_op(e, true, AMP_VSOCK_OP_RST);
}

void amp_slink_tap_refused(struct amp_slink *sl, int fd, uint32_t port, bool message)
{
	struct sockaddr_vm vm[2];

	if (!sl->link.tapped)
		return;
	addresses(sl, fd, NULL, port, ++sl->link.next_end, vm);
	put(sl, vm, false, message, AMP_VSOCK_OP_REQUEST, 0, NULL, 0, 0);
	put(sl, vm, true, message, AMP_VSOCK_OP_RST, 0, NULL, 0, 0);
}
