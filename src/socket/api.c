// SPDX-License-Identifier: BSD-3-Clause
/*
 * The socket calls that open, name, connect and close. Each is: enter, the family's
 * operation (again as long as it says "not now"), leave. What waits and what writes errno
 * is in stack.c.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "stack.h"

AMP_OPTIONAL(amp_console_flags);

int amp_far(struct amp_call *c, int r)
{
	if (amp_far_again(c, r))
		return AMP_FAR_AGAIN;
	if (r != -EAGAIN)
		return r;
	if (AMP_PORT_THREADS && c->s->gen != c->gen) /* closed meanwhile */
		return -EBADF;
	if (AMPSOCK_INET) /* the others know at once */
		AMP_FAM(c->s->fam, end)(c->s, AMP_END_LATE);
	return -ETIMEDOUT;
}

int amp_socket(int domain, int type, int protocol)
{
	amp_port_lock();
	return (int)amp_release_slow(NULL, amp_sock_new(domain, type, protocol));
}

#if AMPSOCK_INET
void amp_far_begin(struct amp_call *c)
{
	if (!(c->s->flags & AMP_SF_RESET))
		return;
	c->aside = c->s->err;
	c->s->err = 0;
}

int amp_far_end(struct amp_call *c, int r)
{
	if (c->s && !c->s->err && (!AMP_PORT_THREADS || c->s->gen == c->gen))
		c->s->err = c->aside;
	return (int)amp_leave(c, r);
}
#endif

int amp_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct amp_call c;
	int r = amp_enter(&c, fd, true);

	if (!r) {
		amp_far_begin(&c);
		do {
			r = AMP_FAM(c.s->fam, bind)(c.s, addr, len);
			if (AMPSOCK_INET) /* the others know at once */
				r = amp_far(&c, r);
		} while (AMPSOCK_INET && r == AMP_FAR_AGAIN);
	}
	return amp_far_end(&c, r);
}

/*
 * What ended an attempt. Who waits for it in another thread, too, would take an end that says
 * nothing for a success: the last one takes it along.
 */
static int connect_err(struct amp_sock *s)
{
	return AMP_PORT_THREADS && s->users > 1 ? -s->err : amp_sock_take_err(s);
}

/* An attempt goes on until it is told what came of it, or time's up. */
static int connect_loop(struct amp_call *c, const struct sockaddr *addr, socklen_t len)
{
	struct amp_sock *s = c->s;
	bool before = (s->flags & AMP_SF_CONNECTING) != 0;
	int r;

	/* a datagram's only names the peer: nobody expects EINPROGRESS of that */
	if (c->timeout_ms == AMP_FOREVER || (!c->timeout_ms && amp_sock_dgram(s)))
		c->timeout_ms = AMPSOCK_CONNECT_MS;
	for (;;) {
		r = connect_err(s);
		if (!r && c->looked && !(s->flags & AMP_SF_CONNECTING))
			break; /* connected; that may have ended since, and is to be read */
		if (!r && (s->flags & AMP_SF_CONNECTED) && !amp_sock_dgram(s))
			r = -EISCONN;
		if (!r)
			r = AMP_FAM(s->fam, connect)(s, addr, len);
		if (r != -EAGAIN)
			break;
		s->flags |= AMP_SF_CONNECTING;
		r = amp_again(c);
		if (r == 0)
			continue;
		if (AMP_PORT_THREADS && r != -EAGAIN) /* closed */
			return r;
		if (!c->timeout_ms)
			return before ? -EALREADY : -EINPROGRESS;
		/*
		 * As on Linux: SO_SNDTIMEO on TCP leaves the attempt running, everywhere else and
		 * with the default of AMPSOCK_CONNECT_MS it is given up.
		 */
		if (AMPSOCK_INET && s->timeo[true] && !amp_sock_dgram(s) &&
		    (s->domain == AF_INET || s->domain == AF_INET6))
			return -EINPROGRESS;
		AMP_FAM(s->fam, end)(s, AMP_END_CONNECT);
		if (!s->err)
			s->err = ETIMEDOUT;
		r = connect_err(s);
		break;
	}
	s->flags &= (uint16_t)~AMP_SF_CONNECTING;
	return r;
}

int amp_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct amp_call c;
	int r = amp_enter(&c, fd, true);

	if (!r && c.s->flags & AMP_SF_LISTEN)
		r = -EOPNOTSUPP;
	if (!r)
		r = connect_loop(&c, addr, len);
	return (int)amp_leave(&c, r);
}

int amp_close(int fd)
{
	struct amp_sock *s;
	int r = 0;

	amp_port_lock();
	s = amp_sock_find(fd);
	if (s)
		amp_sock_close(s);
	else
		r = amp_fd_other(fd, AMP_FD_CLOSE);
	return (int)amp_release_slow(NULL, r);
}

/* ---- fcntl, ioctl ---- */

/* A call on a socket or on a console descriptor: then c->s is NULL. *flags: where AMP_SF_NONBLOCK is. */
static int enter_any(struct amp_call *c, int fd, uint16_t **flags)
{
	int r = amp_enter(c, fd, false);

	if (r == -ENOTSOCK) {
		*flags = amp_console_flags(fd);
		return 0;
	}
	if (!r)
		*flags = &c->s->flags;
	return r;
}

static int set_nonblock(uint16_t *flags, bool on)
{
	*flags = (uint16_t)((*flags & ~AMP_SF_NONBLOCK) | (on ? AMP_SF_NONBLOCK : 0));
	return 0;
}

static int do_fcntl(uint16_t *flags, int cmd, int arg)
{
	switch (cmd) {
	case F_SETFL:
		return set_nonblock(flags, (arg & O_NONBLOCK) != 0);
	case F_GETFL:
		return *flags & AMP_SF_NONBLOCK ? O_RDWR | O_NONBLOCK : O_RDWR;
	case F_GETFD:
	case F_SETFD: /* there is nothing to exec */
		return 0;
	default:
		return -EINVAL;
	}
}

int amp_fcntl_arg(int fd, int cmd, int arg)
{
	struct amp_call c;
	uint16_t *flags;
	int r = enter_any(&c, fd, &flags);

	if (!r)
		r = do_fcntl(flags, cmd, arg);
	return (int)amp_leave(&c, r);
}

int amp_fcntl(int fd, int cmd, ...)
{
	int arg = 0;
	va_list ap;

	va_start(ap, cmd);
	if (cmd == F_SETFL)
		arg = va_arg(ap, int);
	va_end(ap);
	return amp_fcntl_arg(fd, cmd, arg);
}

/* Asked of the family as a peek without buffer, see family.h. */
static int readable_len(struct amp_sock *s)
{
	struct amp_msg m = {.len = INT32_MAX};
	ssize_t n = AMP_FAM(s->fam, recvmsg)(s, &m, MSG_PEEK | MSG_TRUNC);

	return n > 0 ? (int)n : 0;
}

/* s: NULL of the console's. */
static int do_ioctl(struct amp_sock *s, uint16_t *flags, unsigned long request, int *arg)
{
	if (request == FIONBIO)
		return set_nonblock(flags, *arg != 0);
	if (request != FIONREAD || !s)
		return -ENOTTY;
	amp_links_run();
	if (*flags & AMP_SF_LISTEN)
		return -EINVAL;
	*arg = readable_len(s);
	return 0;
}

int amp_ioctl_arg(int fd, unsigned long request, int *arg)
{
	struct amp_call c;
	uint16_t *flags;
	int r = enter_any(&c, fd, &flags);

	if (!r)
		r = do_ioctl(c.s, flags, request, arg);
	return (int)amp_leave(&c, r);
}

int amp_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	int *arg;

	va_start(ap, request);
	arg = va_arg(ap, int *);
	va_end(ap);
	return amp_ioctl_arg(fd, request, arg);
}
