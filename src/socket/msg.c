// SPDX-License-Identifier: BSD-3-Clause
/* Bytes in and out: send, recv, read, write and their relatives. */
#include <errno.h>
#include <string.h>
#include <fcntl.h>

#include "ampsock.h"
#include "stack.h"

AMP_OPTIONAL(amp_console_io);

#define AMP_IOV_MAX    1024
#define AMP_LEN_MAX    (SIZE_MAX / 2) /* SSIZE_MAX, where <limits.h> lacks it */
#define AMP_SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_EOR)
#define AMP_RECV_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_PEEK | MSG_WAITALL | MSG_TRUNC)

/* ---- loops over a family's operation ---- */

static inline ssize_t send_once(struct amp_sock *s, struct amp_msg *m, int flags)
{
	ssize_t n = m->done ? 0 : amp_sock_take_err(s);

	return n ? n : AMP_FAM(s->fam, sendmsg)(s, m, flags);
}

#if AMPSOCK_FAST
static inline void call_init(struct amp_call *c, struct amp_sock *s, AMP_TIMEO timeo, int flags)
{
	amp_call_init(c, s, amp_timeo_ms(timeo));
	if (flags & MSG_DONTWAIT)
		c->block = false;
}
#endif

#if AMP_PORT_WAKE_ONE
/* Before a send is tried, and at the end of its call: at's credit is not waited for any longer. */
static void credit_begin(struct amp_sock **at, bool asking)
{
	/* the slot may be another socket's by now */
	if (*at && (*at)->sender == amp_port_self())
		(*at)->sender = NULL;
	*at = amp_credit_wait.at = NULL;
	amp_credit_wait.asking = asking;
}

/* It found no room: is it credit that it waits for, and of which socket (a carrier's)? */
static bool credit_asked(struct amp_sock **at)
{
	*at = amp_credit_wait.at;
	amp_credit_wait.asking = false;
	return *at != NULL;
}

/* Is w where the bytes for s arrive? Then they wake by name. */
static bool want_named(const struct amp_sock *s, const struct amp_rx_want *w)
{
	return amp_sock_want(w->at ? w->at : s) == w && (w->at || s->fam->carrier);
}

static void want_mine(struct amp_rx_want *w)
{
	w->thread = amp_port_self();
}
#elif AMPSOCK_FAST
static inline void credit_begin(struct amp_sock **at, bool asking)
{
	(void)at;
	(void)asking;
}

static inline bool credit_asked(struct amp_sock **at)
{
	(void)at;
	return false;
}

static inline bool want_named(const struct amp_sock *s, const struct amp_rx_want *w)
{
	(void)s;
	(void)w;
	return false;
}

static inline void want_mine(struct amp_rx_want *w)
{
	(void)w;
}
#endif

/*
 * Half a message is worse than waiting for the device. (AF_RPMSG takes one whole, or not at all; what
 * it carries for UDP goes in pieces.) A call: else a small build keeps what is stored here in registers.
 */
static __attribute__((noinline)) void half_sent(struct amp_call *c)
{
	c->block = true;
	c->timeout_ms = 0;
}

#if AMPSOCK_FAST
static AMP_OUTLINE ssize_t send_loop(struct amp_call *c, struct amp_msg *m, int flags)
{
	struct amp_sock *s = c->s, *at = NULL;
	ssize_t n;

	do {
		credit_begin(&at, true);
		n = send_once(s, m, flags);
		amp_call_named(c, credit_asked(&at));
		if (n >= 0) {
			m->done += (size_t)n;
			if (m->done >= m->len) {
				credit_begin(&at, false);
				return (ssize_t)m->done;
			}
			n = 0;
			continue;
		}
		if (n != -EAGAIN)
			break;
		if ((AMPSOCK_VSOCK || AMPSOCK_INET) && m->done && s->type != SOCK_STREAM)
			half_sent(c);
		n = amp_again(c);
	} while (n == 0);
	credit_begin(&at, false);
	return m->done ? (ssize_t)m->done : n;
}

static void want_set(struct amp_sock *s, struct amp_rx_want *w, const struct amp_msg *m)
{
	const struct iovec *v = m->iov;
	size_t left = m->iov_cnt, skip = m->done;

	for (; left && skip >= v->iov_len; left--, v++)
		skip -= v->iov_len;
	w->to = w->end = NULL;
	if (!left || s->type == SOCK_DGRAM || (m->iov_cnt > 1 && s->type != SOCK_STREAM))
		return;
	w->to = (uint8_t *)v->iov_base + skip;
	w->end = (uint8_t *)v->iov_base + v->iov_len;
	if (!amp_sock_want(s))
		amp_sock_set_want(s, w);
}

static void want_clear(struct amp_sock *s, struct amp_rx_want *w)
{
	if (amp_sock_want(s) == w)
		amp_sock_set_want(s, NULL);
	if (AMPSOCK_INET && w->at && amp_sock_want(w->at) == w)
		amp_sock_set_want(w->at, NULL);
}

/* m's bytes so far are out of the socket's ring: what in the queue belongs behind them, if any. */
static size_t behind_ring(struct amp_sock *s, struct amp_rx_want *w, const struct amp_msg *m)
{
	uint8_t *from;

	want_set(s, w, m);
	from = w->to;
	if (w->to != w->end)
		amp_sock_recv_fast(s, w);
	return (size_t)(w->to - from);
}

/* Has a message come straight to the caller? Only the short ways do that. */
static inline bool w_full(const struct amp_rx_want *w)
{
	return w->full;
}
#endif

/* Streams: fewer bytes than these are worth waiting for more. */
static size_t least(const struct amp_sock *s, const struct amp_msg *m, int flags)
{
	size_t need = flags & MSG_WAITALL ? m->len : s->rcvlowat ? s->rcvlowat : 1;

	if (need > m->len)
		need = m->len;
	if ((flags & MSG_PEEK) && need > AMPSOCK_RING_LEN)
		need = AMPSOCK_RING_LEN;
	return s->type == SOCK_STREAM ? need : 1;
}

#if AMPSOCK_FAST
/*
 * The caller's buffer is registered before the first look at the links, so that what arrives
 * then, or while this call sleeps, is copied only once.
 */
static ssize_t recv_loop(struct amp_call *c, struct amp_msg *m, int flags)
{
	struct amp_sock *s = c->s;
	size_t need = least(s, m, flags);
	bool stream = s->type == SOCK_STREAM, peek = (flags & MSG_PEEK) != 0;
	struct amp_rx_want w;
	uint8_t *from;
	ssize_t n;

	w.at = NULL; /* field by field: a compiler would call memset() */
	w.to = NULL;
	w.full = 0;
	w.eor = false;
	want_mine(&w);
	do {
		if (!peek)
			want_set(s, &w, m);
		n = AMP_FAM(s->fam, recvmsg)(s, m, flags);
		if (stream && n > 0 && !peek) {
			m->done += (size_t)n;
			n = 0;
			continue; /* nothing more is there, and the rest goes behind it */
		}
		/* of messages one is enough, and one byte of it is needed */
		if (m->done >= need ||
		    (n == -EAGAIN ? s->err && !m->done : n <= 0 || (size_t)n >= need))
			break;
		from = w.to;
		amp_call_named(c, want_named(s, &w));
		n = amp_again(c);
		m->done += (size_t)(w.to - from);
		if (m->done >= need && !w.full) {
			want_clear(s, &w);
			return (ssize_t)m->done;
		}
		if (w_full(&w) || m->done >= need)
			break;
		if (peek && n == -EAGAIN) /* less than asked for is better than nothing */
			n = AMP_FAM(s->fam, recvmsg)(s, m, flags);
	} while (n == 0 && m->done < need);
	if (AMP_BULK_STAYS && stream && n == 0 && m->done < m->len && !peek)
		m->done += behind_ring(s, &w, m);
	want_clear(s, &w);
	if (w_full(&w)) {
		if (w.full > m->done)
			m->flags |= MSG_TRUNC;
		if (w.eor)
			m->flags |= MSG_EOR;
		return flags & MSG_TRUNC ? (ssize_t)w.full : (ssize_t)m->done;
	}
	if (m->done)
		return (ssize_t)m->done;
	if (n == -EAGAIN || (n == 0 && stream)) {
		/* what had arrived comes first, then the error, once, then EOF */
		if (s->err)
			return amp_sock_take_err(s);
		if (need == 0) /* asked for nothing */
			return 0;
	}
	return n;
}
#else
/*
 * Both ways. All comes by the ring, and nobody registers where it is to go. When there is nothing to
 * wait for any longer, what the last try said is the answer: the links had their look before it.
 */
static ssize_t move(struct amp_call *c, struct amp_msg *m, int flags, bool out)
{
	struct amp_sock *s = c->s;
	size_t need = !out ? least(s, m, flags) : m->len ? m->len : 1;
	ssize_t n;
	int r;

	do {
		n = out ? send_once(s, m, flags) : AMP_FAM(s->fam, recvmsg)(s, m, flags);
		if (n > 0 && !(flags & MSG_PEEK)) {
			/* of received messages one is enough, and one byte of it */
			m->done += (size_t)n;
			continue;
		}
		if (n > 0 ? (size_t)n >= need : n != -EAGAIN || (s->err && !m->done))
			break;
		if ((AMPSOCK_VSOCK || AMPSOCK_INET) && m->done && s->type != SOCK_STREAM)
			half_sent(c);
		r = amp_again(c);
		if (AMP_PORT_THREADS && r == -EBADF)
			n = r;
		if (r)
			break;
	} while (m->done < need);
	if (m->done)
		return (ssize_t)m->done;
	if (n == -EAGAIN || (n == 0 && s->type == SOCK_STREAM)) {
		/* what had arrived comes first, then the error, once, then EOF */
		r = amp_sock_take_err(s);
		if (r || need == 0) /* or asked for nothing */
			return r;
	}
	return n;
}
#endif

/* ---- messages ---- */

static int msg_init(struct amp_msg *m, const struct iovec *iov, size_t cnt)
{
	static const struct iovec none;

	memset(m, 0, sizeof(*m));
	m->iov = cnt ? iov : &none; /* NULL is no caller's (family.h) */
	m->iov_cnt = cnt;
	if (cnt > AMP_IOV_MAX)
		return -EMSGSIZE;
	for (; cnt; cnt--, iov++) {
		if (iov->iov_len > (size_t)PTRDIFF_MAX - m->len)
			return -EINVAL;
		m->len += iov->iov_len;
	}
	return 0;
}

static int msg_from(struct amp_msg *m, const struct msghdr *msg)
{
	int r = msg_init(m, msg->msg_iov, (size_t)msg->msg_iovlen);

	m->name = msg->msg_name;
	if (m->name)
		m->name_len = msg->msg_namelen;
	return r;
}

#if AMPSOCK_FAST
static AMP_INLINE int msg_enter(struct amp_call *c, int fd, bool out)
{
	struct amp_sock *s = amp_hold(fd);

	if (!s)
		return -1;
	amp_call_init(c, s, amp_timeo_ms(out ? s->sndtimeo : s->rcvtimeo));
	return 0;
}

static AMP_INLINE ssize_t move(struct amp_call *c, struct amp_msg *m, int flags, bool out)
{
	return out ? send_loop(c, m, flags) : recv_loop(c, m, flags);
}
#else
static inline int msg_enter(struct amp_call *c, int fd, bool out)
{
	return amp_enter(c, fd, out);
}
#endif

/* out: it is sent, else received. */
static AMP_OUTLINE ssize_t do_msg(int fd, struct amp_msg *m, int flags, bool out)
{
	struct amp_call c;
	int r;

	if (flags & ~(out ? AMP_SEND_FLAGS : AMP_RECV_FLAGS))
		return amp_fail(EOPNOTSUPP);
	r = msg_enter(&c, fd, out);
	if (r)
		return r;
	if (flags & MSG_DONTWAIT)
		c.block = false;
	return amp_leave(&c, move(&c, m, flags, out));
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
	call_init(&c, s, s->sndtimeo, flags);
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
	call_init(&c, s, s->rcvtimeo, 0);
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
	call_init(&c, s, s->rcvtimeo, 0);
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
						   int flags, bool out)
{
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
	struct amp_msg m;

	if (len > AMP_LEN_MAX)
		return amp_fail(EINVAL);
	msg_simple(&m, &iov);
	return do_msg(fd, &m, flags, out);
}

static inline ssize_t send_now(int fd, const void *buf, size_t len, int flags)
{
	return one_piece(fd, buf, len, flags, true);
}

static inline ssize_t recv_now(int fd, void *buf, size_t len, int flags)
{
	return one_piece(fd, buf, len, flags, false);
}
#endif

ssize_t amp_sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *dest,
		   socklen_t dest_len)
{
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
	struct amp_msg m;

	if (len > AMP_LEN_MAX)
		return amp_fail(EINVAL);
	msg_simple(&m, &iov);
	if (dest) {
		m.name = (struct sockaddr *)(uintptr_t)dest;
		m.name_len = dest_len;
	}
	return do_msg(fd, &m, flags, true);
}

ssize_t amp_send(int fd, const void *buf, size_t len, int flags)
{
	/* its own, or a program that only has send() had sendto(), too */
	return send_now(fd, buf, len, flags);
}

ssize_t amp_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct amp_msg m;
	int r = msg_from(&m, msg);

	if (!msg->msg_namelen) /* as on Linux there is no name then */
		m.name = NULL;
	if (r == 0 && msg->msg_controllen)
		r = -EOPNOTSUPP;
	return r ? amp_fail(-r) : do_msg(fd, &m, flags, true);
}

ssize_t amp_recvfrom(int fd, void *restrict buf, size_t len, int flags,
		     struct sockaddr *restrict src, socklen_t *restrict src_len)
{
	const struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct amp_msg m;
	ssize_t n;

	if (len > AMP_LEN_MAX)
		return amp_fail(EINVAL);
	msg_simple(&m, &iov);
	if (src && src_len) {
		m.name = src;
		m.name_len = *src_len;
	}
	n = do_msg(fd, &m, flags, false);
	if (n >= 0 && m.name)
		*src_len = m.name_len;
	return n;
}

ssize_t amp_recv(int fd, void *buf, size_t len, int flags)
{
	return recv_now(fd, buf, len, flags); /* as amp_send() */
}

ssize_t amp_recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct amp_msg m;
	int r = msg_from(&m, msg);
	ssize_t n = r ? amp_fail(-r) : do_msg(fd, &m, flags, false);

	if (n >= 0) {
		msg->msg_namelen = m.name ? m.name_len : 0;
		msg->msg_controllen = 0;
		msg->msg_flags = m.flags;
	}
	return n;
}

/* ---- read and write, which also reach the console ---- */

static ssize_t vector(int fd, const struct iovec *iov, int iovcnt, bool out)
{
	struct amp_msg m;

	if (iovcnt <= 0 || iovcnt > AMP_IOV_MAX || msg_init(&m, iov, (size_t)iovcnt))
		return amp_fail(EINVAL);
	if (!m.len) /* no message, not even an empty one: as on Linux, of a descriptor */
		return amp_fcntl(fd, F_GETFD);
	return amp_fd_own(fd) ? amp_console_io(fd, iov, iovcnt, out) : do_msg(fd, &m, 0, out);
}

ssize_t amp_readv(int fd, const struct iovec *iov, int iovcnt)
{
	return vector(fd, iov, iovcnt, false);
}

ssize_t amp_writev(int fd, const struct iovec *iov, int iovcnt)
{
	return vector(fd, iov, iovcnt, true);
}

static __attribute__((noinline)) ssize_t own_piece(int fd, void *buf, size_t len, bool out)
{
	const struct iovec iov = {.iov_base = buf, .iov_len = len};

	return amp_console_io(fd, &iov, 1, out);
}

ssize_t amp_read(int fd, void *buf, size_t len)
{
	return amp_fd_own(fd) ? own_piece(fd, buf, len, false) : amp_recv(fd, buf, len, 0);
}

ssize_t amp_write(int fd, const void *buf, size_t len)
{
	return amp_fd_own(fd) ? own_piece(fd, (void *)(uintptr_t)buf, len, true)
			      : amp_send(fd, buf, len, 0);
}
