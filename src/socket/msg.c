// SPDX-License-Identifier: BSD-3-Clause
/* Bytes in and out: send, recv, read, write. With names and headers: msg_name.c. */
#include <errno.h>
#include <string.h>
#include <fcntl.h>

#include "ampsock.h"
#include "stack.h"
#include "msg_loop.h"

AMP_OPTIONAL(amp_console_io);

#define AMP_IOV_MAX 1024
#define AMP_LEN_MAX (SIZE_MAX / 2) /* SSIZE_MAX, where <limits.h> lacks it */

/* ---- messages ---- */

/* Its pieces and name are set, the rest is not. */
static int msg_init(struct amp_msg *m)
{
	static const struct iovec none;
	const struct iovec *iov = m->iov;
	size_t cnt = m->iov_cnt;

	if (cnt > AMP_IOV_MAX)
		return -EMSGSIZE;
	if (!cnt) /* NULL is no caller's (family.h) */
		m->iov = &none;
	m->len = m->done = 0;
	m->flags = 0;
	for (; cnt; cnt--, iov++) {
		if (iov->iov_len > (size_t)PTRDIFF_MAX - m->len)
			return -EINVAL;
		m->len += iov->iov_len;
	}
	return 0;
}

/* may: AMP_SEND_FLAGS, it is sent, or AMP_RECV_FLAGS, it is received. */
static AMP_OUTLINE ssize_t do_msg(int fd, struct amp_msg *m, int flags, int may)
{
	bool out = (may & MSG_EOR) != 0; /* AMP_SEND_FLAGS alone has it */
	struct amp_call c;
	ssize_t r = amp_enter(&c, fd, out);

	if (flags & MSG_DONTWAIT)
		c.timeout_ms = 0;
	if (!r && m->len > AMP_LEN_MAX)
		r = -EINVAL;
	if (!r)
		r = flags & ~may ? -EOPNOTSUPP : msg_move(&c, m, flags, out);
	return amp_leave(&c, r);
}

ssize_t amp_msg_pieces(int fd, struct amp_msg *m, int flags, int may)
{
	int r = msg_init(m);

	return r ? amp_fail(-r) : do_msg(fd, m, flags, may);
}

/* Of one piece, field by field: a compiler would call memset() for it. */
static AMP_INLINE void msg_simple(struct amp_msg *m, const struct iovec *iov)
{
	m->iov = iov;
	m->iov_cnt = 1;
	m->len = iov->iov_len;
	m->done = 0;
	m->name = NULL;
	m->name_len = 0;
	m->flags = 0;
}

#if AMPSOCK_FAST
/* What amp_sock_send_fast() would not do. */
static AMP_OUTLINE ssize_t send_rest(struct amp_sock *s, const void *buf, size_t len, int flags)
{
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
	struct amp_call c;
	struct amp_msg m;

	/* what little bytes want is credit, mostly, and that may have come */
	if (len <= AMPSOCK_VSOCK_BUF_LEN && s->type != SOCK_DGRAM) {
		(void)amp_links_run();
		if (amp_sock_send_fast(s, buf, len, flags))
			return amp_release(s, (ssize_t)len);
	}
	msg_simple(&m, &iov);
	call_init(&c, s, s->timeo[true], flags);
	return amp_release_slow(s, send_loop(&c, &m, flags));
}

static AMP_OUTLINE ssize_t send_other(int fd, const void *buf, size_t len, int flags)
{
	return amp_sendto(fd, buf, len, flags, NULL, 0);
}

static AMP_INLINE ssize_t send_now(int fd, const void *buf, size_t len, int flags)
{
	struct amp_sock *s;

	if (len - 1 > AMP_LEN_MAX - 1 || flags & ~AMP_SEND_FLAGS)
		return send_other(fd, buf, len, flags);
	s = amp_hold(fd);
	if (!s)
		return -1;
	if (amp_sock_send_fast(s, buf, len, flags))
		return amp_release(s, (ssize_t)len);
	return send_rest(s, buf, len, flags);
}

/* What recv_now() has no short way for. */
static AMP_OUTLINE ssize_t recv_other(struct amp_sock *s, void *buf, size_t len)
{
	const struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct amp_call c;
	struct amp_msg m;

	msg_simple(&m, &iov);
	call_init(&c, s, s->timeo[false], 0);
	return amp_release_slow(s, recv_loop(&c, &m, 0));
}

/*
 * Nothing came for w, whose to and end are set, by amp_sock_recv_fast(): what is there, or comes by
 * a look at the links, or later. As recv_loop() of a call without flags. What comes next is mostly
 * what the caller waits for who was woken: when it is, the links have no look.
 */
static AMP_OUTLINE ssize_t recv_rest(struct amp_sock *s, struct amp_rx_want *w)
{
	uint8_t *buf = w->to;
	const struct iovec iov = {.iov_base = buf, .iov_len = (size_t)(w->end - buf)};
	struct amp_msg m;
	struct amp_call c;
	ssize_t n;

	if (s->type == SOCK_DGRAM) /* there is more to a datagram than its bytes */
		return recv_other(s, buf, iov.iov_len);
	w->at = NULL;
	w->full = 0;
	want_mine(w);
	amp_sock_set_want(s, w);
	msg_simple(&m, &iov);
	call_init(&c, s, s->timeo[false], 0);
	n = AMP_FAM(s->fam, recvmsg)(s, &m, 0);
	if (n == -EAGAIN && !s->err) {
		(void)amp_links_run();
		if (amp_changed && w->to == buf) /* else there is nothing still */
			n = AMP_FAM(s->fam, recvmsg)(s, &m, 0);
	}
	while (n == -EAGAIN && !s->err && w->to == buf) {
		amp_call_named(&c, want_named(s, w));
		n = amp_wait(&c);
		if (n || (AMP_PORT_THREADS && w->to != buf)) /* another's look brought some */
			break;
		amp_sock_recv_fast(s, w);
		if (w->to != buf)
			break;
		(void)amp_links_run();
		if (w->to == buf)
			n = AMP_FAM(s->fam, recvmsg)(s, &m, 0);
	}
	if (AMP_BULK_STAYS && n > 0 && (size_t)n < m.len && s->type == SOCK_STREAM &&
	    w->to == buf) {
		m.done = (size_t)n;
		(void)behind_ring(s, w, &m);
	}
	want_clear(s, w);
	if (w->to != buf)
		return amp_release(s, w->to - buf);
	if (n > 0)
		return amp_release(s, n);
	/* an error comes first, once, then EOF */
	if ((n == -EAGAIN || (n == 0 && s->type == SOCK_STREAM)) && s->err)
		n = amp_sock_take_err(s);
	return amp_release_slow(s, n);
}

/* What comes next, straight to the caller, of a socket as most are, to a buffer of len bytes,
 * which are not 0. */
static AMP_INLINE ssize_t recv_now(int fd, void *buf, size_t len, int flags)
{
	struct amp_rx_want w;
	struct amp_sock *s;

	if (flags || len - 1 > AMP_LEN_MAX - 1)
		return amp_recvfrom(fd, buf, len, flags, NULL, NULL);
	s = amp_hold(fd);
	if (!s)
		return -1;
	if ((AMP_PORT_THREADS && amp_sock_want(s)) || s->rcvlowat > 1)
		return recv_other(s, buf, len);
	w.to = buf;
	w.end = (uint8_t *)buf + len;
	amp_sock_recv_fast(s, &w);
	if (w.to == buf)
		return recv_rest(s, &w);
	return amp_release(s, w.to - (uint8_t *)buf);
}

#else
static __attribute__((noinline)) ssize_t one_piece(int fd, const void *buf, size_t len,
						   int flags, int may)
{
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
	struct amp_msg m;

	msg_simple(&m, &iov);
	return do_msg(fd, &m, flags, may);
}

static inline ssize_t send_now(int fd, const void *buf, size_t len, int flags)
{
	return one_piece(fd, buf, len, flags, AMP_SEND_FLAGS);
}

static inline ssize_t recv_now(int fd, void *buf, size_t len, int flags)
{
	return one_piece(fd, buf, len, flags, AMP_RECV_FLAGS);
}
#endif

ssize_t amp_send(int fd, const void *buf, size_t len, int flags)
{
	/* its own, or a program that only has send() had sendto(), too */
	return send_now(fd, buf, len, flags);
}

ssize_t amp_recv(int fd, void *buf, size_t len, int flags)
{
	return recv_now(fd, buf, len, flags); /* as amp_send() */
}

/* ---- read and write, which also reach the console ---- */

static ssize_t vector(int fd, const struct iovec *iov, int iovcnt, int may)
{
	struct amp_msg m;

	m.iov = iov;
	m.iov_cnt = (size_t)iovcnt;
	m.name = NULL;
	if (iovcnt <= 0 || msg_init(&m))
		return amp_fail(EINVAL);
	if (!m.len) /* no message, not even an empty one: as on Linux, of a descriptor */
		return amp_fcntl_arg(fd, F_GETFD, 0);
	if (amp_fd_own(fd))
		return amp_console_io(fd, iov, iovcnt, (may & MSG_EOR) != 0);
	return do_msg(fd, &m, 0, may);
}

ssize_t amp_readv(int fd, const struct iovec *iov, int iovcnt)
{
	return vector(fd, iov, iovcnt, AMP_RECV_FLAGS);
}

ssize_t amp_writev(int fd, const struct iovec *iov, int iovcnt)
{
	return vector(fd, iov, iovcnt, AMP_SEND_FLAGS);
}

static __attribute__((noinline)) ssize_t own_piece(int fd, void *buf, size_t len, bool out)
{
	const struct iovec iov = {.iov_base = buf, .iov_len = len};

	return amp_console_io(fd, &iov, 1, out);
}

#if AMPSOCK_FAST
static AMP_INLINE ssize_t piece(int fd, void *buf, size_t len, int may)
{
	return may == AMP_SEND_FLAGS ? amp_send(fd, buf, len, 0) : amp_recv(fd, buf, len, 0);
}
#else
static inline ssize_t piece(int fd, void *buf, size_t len, int may)
{
	return one_piece(fd, buf, len, 0, may);
}
#endif

/* read() and write(): a copy each where speed matters. */
static AMP_ONCE ssize_t io(int fd, void *buf, size_t len, int may)
{
	if (amp_fd_own(fd))
		return own_piece(fd, buf, len, (may & MSG_EOR) != 0);
	return piece(fd, buf, len, may);
}

ssize_t amp_read(int fd, void *buf, size_t len)
{
	return io(fd, buf, len, AMP_RECV_FLAGS);
}

ssize_t amp_write(int fd, const void *buf, size_t len)
{
	return io(fd, (void *)(uintptr_t)buf, len, AMP_SEND_FLAGS);
}
