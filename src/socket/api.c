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
	int r;

	amp_port_lock();
	(void)amp_sock_new(domain, type, protocol, &r);
	return (int)amp_release_slow(NULL, r);
}

int amp_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct amp_call c;
	int r = amp_enter(&c, fd, true);

	if (r)
		return r;
	do {
		r = AMP_FAM(c.s->fam, bind)(c.s, addr, len);
		if (AMPSOCK_INET) /* the others know at once */
			r = amp_far(&c, r);
	} while (AMPSOCK_INET && r == AMP_FAR_AGAIN);
	return (int)amp_leave(&c, r);
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

	if (r)
		return r;
	/* a datagram's only names the peer: nobody expects EINPROGRESS of that */
	if (c.timeout_ms == AMP_FOREVER || (!c.timeout_ms && amp_sock_dgram(c.s)))
		c.timeout_ms = AMPSOCK_CONNECT_MS;
	r = -EOPNOTSUPP;
	if (!(c.s->flags & AMP_SF_LISTEN))
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

/*
 * A call on a socket or on a console descriptor: then c->s is NULL. Where AMP_SF_NONBLOCK is; NULL
 * with errno.
 */
static uint16_t *enter_any(struct amp_call *c, int fd)
{
	if (amp_fd_own(fd)) {
		amp_enter_plain(c);
		return amp_console_flags(fd);
	}
	return amp_enter(c, fd, false) ? NULL : &c->s->flags;
}

static void set_nonblock(uint16_t *flags, bool on)
{
	*flags = (uint16_t)((*flags & ~AMP_SF_NONBLOCK) | (on ? AMP_SF_NONBLOCK : 0));
}

int amp_fcntl_arg(int fd, int cmd, int arg)
{
	struct amp_call c;
	uint16_t *flags = enter_any(&c, fd);
	int r = 0;

	if (!flags)
		return -1;
	if (cmd == F_SETFL)
		set_nonblock(flags, (arg & O_NONBLOCK) != 0);
	else if (cmd == F_GETFL)
		r = *flags & AMP_SF_NONBLOCK ? O_RDWR | O_NONBLOCK : O_RDWR;
	else if (cmd != F_GETFD && cmd != F_SETFD) /* there is nothing to exec */
		r = -EINVAL;
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

int amp_ioctl_arg(int fd, unsigned long request, int *arg)
{
	struct amp_call c;
	uint16_t *flags = enter_any(&c, fd);
	int r = 0;

	if (!flags)
		return -1;
	if (request == FIONBIO) {
		set_nonblock(flags, *arg != 0);
	} else if (request == FIONREAD && c.s) {
		amp_links_run();
		if (*flags & AMP_SF_LISTEN)
			r = -EINVAL;
		else
			*arg = readable_len(c.s);
	} else {
		r = -ENOTTY;
	}
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
