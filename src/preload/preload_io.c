// SPDX-License-Identifier: BSD-3-Clause
/*
 * libampsock-preload.so: reading and writing.
 *
 * Bytes and messages go through the kernel's descriptor as they are; nothing here is needed for
 * that, and a program that reads in ways of its own (sendfile, splice, a system call) gets
 * them too. What is added: a 0 that is no end but a reset (ampsock-run knows), a message longer
 * than its peer takes (EMSGSIZE before it is sent), and on datagram sockets the header with the
 * address, which is put before each one here and taken off again.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "preload.h"

#define IOV_CNT	     1024
#define MESSAGE_SURE 464 /* the smallest that somebody's buffers are known to be short of */

/* What a read of ours came to, n bytes of at least one wanted. */
static ssize_t seen(int fd, ssize_t n, bool wanted)
{
	int err;

	if (n > 0 || !wanted || (n < 0 && errno != ECONNRESET))
		return n;
	err = preload_status(fd);
	if (!err)
		return n;
	errno = err;
	return -1;
}

static bool is_dgram(int fd)
{
	struct preload_fd p;

	if ((preload_kind(fd) & FD_KIND) != FD_DGRAM)
		return false;
	if (preload_is_ours(fd, &p))
		return true;
	preload_forget(fd);
	return false;
}

static bool plain(int fd)
{
	unsigned kind = preload_kind(fd) & FD_KIND;

	return kind == FD_NOT || kind == FD_UNKNOWN;
}

/*
 * A pair takes bytes, and waits for some, also before connect(): not so a socket. Asked once, of
 * those that were made here and not seen to be connected. True: ENOTCONN.
 */
static bool unconnected(int fd)
{
	unsigned kind = preload_kind(fd);
	struct preload_fd p;

	if (!(kind & (FD_FRESH | FD_LISTENS)) || (kind & FD_KIND) == FD_DGRAM ||
	    !preload_is_ours(fd, &p))
		return false;
	if (preload_ask_fd(AMP_RUN_CONNECTED, &p, 0, 0) == -ENOTCONN) {
		errno = ENOTCONN;
		return true;
	}
	preload_set(fd, kind & ~(unsigned)FD_FRESH);
	return false;
}

/* Is there nothing to receive from, or was asked for what we have not got? True with errno. */
static bool nothing(int fd, int flags)
{
	if (flags & (MSG_ERRQUEUE | MSG_OOB)) {
		errno = flags & MSG_OOB ? EINVAL : EAGAIN;
		return true;
	}
	return unconnected(fd);
}

/* ---- datagrams ---- */

static ssize_t dgram_recv(int fd, struct msghdr *m, int flags)
{
	struct amp_run_dgram d;
	struct iovec iov[IOV_CNT + 1];
	struct msghdr in = {.msg_iov = iov, .msg_iovlen = m->msg_iovlen + 1};
	ssize_t n;

	if (m->msg_iovlen > IOV_CNT) {
		errno = EMSGSIZE;
		return -1;
	}
	iov[0] = (struct iovec){.iov_base = &d, .iov_len = sizeof(d)};
	memcpy(iov + 1, m->msg_iov, m->msg_iovlen * sizeof(iov[0]));
	n = REAL(recvmsg)(fd, &in, flags);
	if (n < 0)
		return n;
	m->msg_controllen = 0;
	m->msg_flags = in.msg_flags & ~MSG_CTRUNC;
	if ((size_t)n < sizeof(d)) {
		int err = n == 0 ? preload_status(fd) : 0;

		m->msg_namelen = 0;
		errno = err;
		return err ? -1 : 0;
	}
	if (d.err) {
		errno = d.err;
		return -1;
	}
	if (d.addr_len > sizeof(d.addr))
		d.addr_len = sizeof(d.addr);
	if (m->msg_name)
		memcpy(m->msg_name, d.addr,
		       d.addr_len < m->msg_namelen ? d.addr_len : m->msg_namelen);
	m->msg_namelen = m->msg_name ? d.addr_len : 0;
	return n - (ssize_t)sizeof(d);
}

static ssize_t dgram_send(int fd, const struct msghdr *m, int flags)
{
	struct amp_run_dgram d = {.addr_len = m->msg_name ? m->msg_namelen : 0};
	struct iovec iov[IOV_CNT + 1];
	struct msghdr out = {.msg_iov = iov, .msg_iovlen = m->msg_iovlen + 1};
	size_t len = 0;
	ssize_t n;

	for (size_t i = 0; i < m->msg_iovlen && len <= AMP_RUN_DGRAM_MAX; i++)
		len += m->msg_iov[i].iov_len;
	if (m->msg_iovlen > IOV_CNT || len > AMP_RUN_DGRAM_MAX || d.addr_len > sizeof(d.addr)) {
		errno = d.addr_len > sizeof(d.addr) ? EINVAL : EMSGSIZE;
		return -1;
	}
	if (d.addr_len)
		memcpy(d.addr, m->msg_name, d.addr_len);
	iov[0] = (struct iovec){.iov_base = &d, .iov_len = sizeof(d)};
	memcpy(iov + 1, m->msg_iov, m->msg_iovlen * sizeof(iov[0]));
	n = REAL(sendmsg)(fd, &out, flags | MSG_NOSIGNAL);
	return n < 0 ? n : n - (ssize_t)sizeof(d);
}

/* ---- receive ---- */

/* Descriptors that came with a message may be ours. */
static void look_at_rights(struct msghdr *m)
{
	struct cmsghdr *c = m->msg_control ? CMSG_FIRSTHDR(m) : NULL;

	for (; c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0);
		     at += sizeof(int)) {
			int got;

			memcpy(&got, CMSG_DATA(c) + at, sizeof(got));
			preload_forget(got);
		}
	}
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	ssize_t n;

	if (!plain(fd) && nothing(fd, flags))
		return -1;
	if (is_dgram(fd))
		return dgram_recv(fd, m, flags);
	n = REAL(recvmsg)(fd, m, flags);
	if (!plain(fd))
		return seen(fd, n, true);
	if (n >= 0)
		look_at_rights(m);
	return n;
}

static ssize_t recv_any(int fd, void *buf, size_t len, int flags, struct sockaddr *src,
			socklen_t *src_len)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (nothing(fd, flags))
		return -1;
	if (!is_dgram(fd))
		return seen(fd, REAL(recvfrom)(fd, buf, len, flags, src, src_len), len > 0);
	if (src && src_len) {
		m.msg_name = src;
		m.msg_namelen = *src_len;
	}
	n = dgram_recv(fd, &m, flags);
	if (n >= 0 && src && src_len)
		*src_len = m.msg_namelen;
	return n;
}

EXPORT ssize_t recvfrom(int fd, void *restrict buf, size_t len, int flags,
			struct sockaddr *restrict src, socklen_t *restrict src_len)
{
	return plain(fd) ? REAL(recvfrom)(fd, buf, len, flags, src, src_len)
			 : recv_any(fd, buf, len, flags, src, src_len);
}

EXPORT ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	return plain(fd) ? REAL(recv)(fd, buf, len, flags)
			 : recv_any(fd, buf, len, flags, NULL, NULL);
}

EXPORT ssize_t read(int fd, void *buf, size_t len)
{
	if (plain(fd))
		return REAL(read)(fd, buf, len);
	if (unconnected(fd))
		return -1;
	return is_dgram(fd) ? recv_any(fd, buf, len, 0, NULL, NULL)
			    : seen(fd, REAL(read)(fd, buf, len), len > 0);
}

EXPORT ssize_t readv(int fd, const struct iovec *iov, int cnt)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov,
			   .msg_iovlen = (size_t)cnt};

	if (plain(fd))
		return REAL(readv)(fd, iov, cnt);
	if (unconnected(fd))
		return -1;
	if (cnt > 0 && is_dgram(fd))
		return dgram_recv(fd, &m, 0);
	return seen(fd, REAL(readv)(fd, iov, cnt), cnt > 0);
}

EXPORT int recvmmsg(int fd, struct mmsghdr *v, unsigned cnt, int flags,
		    struct timespec *timeout)
{
	unsigned i = 0;
	int got;

	if (!is_dgram(fd)) {
		got = REAL(recvmmsg)(fd, v, cnt, flags, timeout);
		for (int k = 0; k < got; k++)
			look_at_rights(&v[k].msg_hdr);
		return got;
	}
	for (; i < cnt; i++) {
		/* the time-out is looked at between messages alone, as Linux has it */
		ssize_t n =
			dgram_recv(fd, &v[i].msg_hdr,
				   (flags & ~MSG_WAITFORONE) |
					   (i && (flags & MSG_WAITFORONE) ? MSG_DONTWAIT : 0));

		if (n < 0)
			return i ? (int)i : -1;
		v[i].msg_len = (unsigned)n;
	}
	return (int)i;
}

/* ---- send ---- */

/* A message of ours may be longer than its peer takes: said before, not after. True with errno,
 * also when there is no peer. */
static bool refused(int fd, size_t len)
{
	struct preload_fd p;
	int most;

	if (unconnected(fd))
		return true;
	if (len <= MESSAGE_SURE || (preload_kind(fd) & FD_KIND) != FD_MESSAGES)
		return false;
	most = preload_limit(fd);
	if (most == 0 || len <= (size_t)most)
		return false;
	if (!preload_is_ours(fd, &p)) { /* a number that was: closed where nobody looked */
		preload_forget(fd);
		return false;
	}
	errno = EMSGSIZE;
	return true;
}

static size_t total(const struct iovec *iov, size_t cnt)
{
	size_t len = 0;

	for (size_t i = 0; i < cnt && i < IOV_CNT; i++)
		len += iov[i].iov_len;
	return len;
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	if (plain(fd))
		return REAL(sendmsg)(fd, m, flags);
	if (is_dgram(fd))
		return dgram_send(fd, m, flags);
	return refused(fd, total(m->msg_iov, m->msg_iovlen)) ? -1 : REAL(sendmsg)(fd, m, flags);
}

EXPORT ssize_t sendto(int fd, const void *buf, size_t len, int flags,
		      const struct sockaddr *dest, socklen_t dest_len)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
	struct msghdr m = {
		.msg_name = (void *)(uintptr_t)dest,
		.msg_namelen = dest_len,
		.msg_iov = &iov,
		.msg_iovlen = 1,
	};

	if (plain(fd))
		return REAL(sendto)(fd, buf, len, flags, dest, dest_len);
	if (is_dgram(fd))
		return dgram_send(fd, &m, flags);
	return refused(fd, len) ? -1 : REAL(sendto)(fd, buf, len, flags, dest, dest_len);
}

EXPORT ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	return plain(fd) ? REAL(send)(fd, buf, len, flags)
			 : sendto(fd, buf, len, flags, NULL, 0);
}

EXPORT ssize_t write(int fd, const void *buf, size_t len)
{
	if (plain(fd))
		return REAL(write)(fd, buf, len);
	if (is_dgram(fd))
		return sendto(fd, buf, len, 0, NULL, 0);
	return refused(fd, len) ? -1 : REAL(write)(fd, buf, len);
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int cnt)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov,
			   .msg_iovlen = (size_t)cnt};

	if (cnt <= 0 || plain(fd))
		return REAL(writev)(fd, iov, cnt);
	if (is_dgram(fd))
		return dgram_send(fd, &m, 0);
	return refused(fd, total(iov, (size_t)cnt)) ? -1 : REAL(writev)(fd, iov, cnt);
}

EXPORT int sendmmsg(int fd, struct mmsghdr *v, unsigned cnt, int flags)
{
	unsigned i = 0;

	if (plain(fd))
		return REAL(sendmmsg)(fd, v, cnt, flags);
	for (; i < cnt; i++) {
		ssize_t n = sendmsg(fd, &v[i].msg_hdr, flags);

		if (n < 0)
			return i ? (int)i : -1;
		v[i].msg_len = (unsigned)n;
	}
	return (int)i;
}

/* ---- what fortified programs call (-D_FORTIFY_SOURCE): the same with the buffer's size ---- */

_Noreturn void __chk_fail(void);
EXPORT ssize_t __read_chk(int fd, void *buf, size_t len, size_t room);
EXPORT ssize_t __recv_chk(int fd, void *buf, size_t len, size_t room, int flags);
EXPORT ssize_t __recvfrom_chk(int fd, void *restrict buf, size_t len, size_t room, int flags,
			      struct sockaddr *restrict src, socklen_t *restrict src_len);

EXPORT ssize_t __read_chk(int fd, void *buf, size_t len, size_t room)
{
	if (len > room)
		__chk_fail();
	return read(fd, buf, len);
}

EXPORT ssize_t __recv_chk(int fd, void *buf, size_t len, size_t room, int flags)
{
	if (len > room)
		__chk_fail();
	return recv(fd, buf, len, flags);
}

EXPORT ssize_t __recvfrom_chk(int fd, void *restrict buf, size_t len, size_t room, int flags,
			      struct sockaddr *restrict src, socklen_t *restrict src_len)
{
	if (len > room)
		__chk_fail();
	return recvfrom(fd, buf, len, flags, src, src_len);
}
