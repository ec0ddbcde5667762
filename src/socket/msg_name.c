// SPDX-License-Identifier: BSD-3-Clause
/*
 * Messages that have a name, or more than one piece: sendto, recvfrom, sendmsg, recvmsg. A program
 * without them has nothing of what a family needs to read and to write the name of a message.
 */
#include <errno.h>

#include "ampsock.h"
#include "stack.h"

#if AMPSOCK_RPMSG
/* For the linker's eyes only, as need.h's table: of the one family that has that in a file of its own. */
static int (*const wanted[])(struct amp_sock *, const struct amp_msg *, uint32_t *)
	__attribute__((used)) = {amp_rpmsg_dgram_to};
#endif

ssize_t amp_sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *dest,
		   socklen_t dest_len)
{
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
	struct amp_msg m;

	m.iov = &iov;
	m.iov_cnt = 1;
	m.name = (struct sockaddr *)(uintptr_t)dest;
	m.name_len = dest_len;
	return amp_msg_pieces(fd, &m, flags, AMP_SEND_FLAGS);
}

ssize_t amp_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct amp_msg m;

	if (msg->msg_controllen)
		return amp_fail(EOPNOTSUPP);
	m.iov = msg->msg_iov;
	m.iov_cnt = (size_t)msg->msg_iovlen;
	m.name_len = msg->msg_namelen;
	m.name = m.name_len ? msg->msg_name : NULL; /* as on Linux */
	return amp_msg_pieces(fd, &m, flags, AMP_SEND_FLAGS);
}

ssize_t amp_recvfrom(int fd, void *restrict buf, size_t len, int flags,
		     struct sockaddr *restrict src, socklen_t *restrict src_len)
{
	const struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct amp_msg m;
	ssize_t n;

	m.iov = &iov;
	m.iov_cnt = 1;
	m.name = src_len ? src : NULL;
	m.name_len = src_len ? *src_len : 0;
	n = amp_msg_pieces(fd, &m, flags, AMP_RECV_FLAGS);
	if (n >= 0 && m.name)
		*src_len = m.name_len;
	return n;
}

ssize_t amp_recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct amp_msg m;
	ssize_t n;

	m.iov = msg->msg_iov;
	m.iov_cnt = (size_t)msg->msg_iovlen;
	m.name = msg->msg_name;
	m.name_len = m.name ? msg->msg_namelen : 0;
	n = amp_msg_pieces(fd, &m, flags, AMP_RECV_FLAGS);
	if (n >= 0) {
		msg->msg_namelen = m.name_len;
		msg->msg_controllen = 0;
		msg->msg_flags = m.flags;
	}
	return n;
}
