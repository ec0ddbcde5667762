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

bool amp_far_again(struct amp_call *c, int r)
{
	if (r != -EAGAIN)
		return false;
	c->block = true;
	c->timeout_ms = AMPSOCK_CONNECT_MS;
	return amp_again(c) == 0;
}

int amp_far_result(struct amp_call *c, int r)
{
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
	struct amp_sock *s;
	int r;

	amp_port_lock();
	s = amp_sock_open(domain, type, protocol, &r);
	if (s) {
		s->flags &= (uint16_t)~AMP_SF_ORPHAN;
		r = amp_sock_fd(s);
	}
	return (int)amp_release_slow(NULL, r);
}

int amp_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct amp_sock *s = amp_hold(fd);
	struct amp_call c;
	int r = -EINVAL;

	if (!s)
		return -1;
	if (AMPSOCK_INET) /* the others know at once */
		amp_call_init(&c, s, 0);
	if (addr && len >= sizeof(addr->sa_family)) {
		do {
			r = AMP_FAM(s->fam, bind)(s, addr, len);
		} while (AMPSOCK_INET && amp_far_again(&c, r));
	}
	return (int)amp_release_slow(s, AMPSOCK_INET ? amp_far_result(&c, r) : r);
}

/*
 * What ended an attempt. Who waits for it in another thread, too, would take an end that says nothing for
 * a success: the last one takes it along.
 */
static int connect_err(struct amp_sock *s)
{
	return -(AMP_PORT_THREADS && s->users > 1 ? s->err : amp_sock_take_err(s));
}

/*
 * Time's up. As on Linux: SO_SNDTIMEO on TCP leaves the attempt running (EINPROGRESS),
 * everywhere else and with the default of AMPSOCK_CONNECT_MS it is given up.
 */
static int connect_late(struct amp_sock *s)
{
	if (AMPSOCK_INET && s->sndtimeo && (s->domain == AF_INET || s->domain == AF_INET6) &&
	    s->type != SOCK_DGRAM)
		return -EINPROGRESS;
	AMP_FAM(s->fam, end)(s, AMP_END_CONNECT);
	s->flags &= (uint16_t)~AMP_SF_CONNECTING;
	if (!s->err)
		s->err = ETIMEDOUT;
	return connect_err(s);
}

static int connect_loop(struct amp_call *c, const struct sockaddr *addr, socklen_t len)
{
	struct amp_sock *s = c->s;
	bool before = (s->flags & AMP_SF_CONNECTING) != 0;
	int r;

	if (s->type == SOCK_DGRAM) /* only names the peer: nobody expects EINPROGRESS of that */
		c->block = true;
	do {
		if (s->err)
			r = connect_err(s);
		else if (c->looked && !(s->flags & AMP_SF_CONNECTING))
			r = 0; /* connected; that may have ended since, and is to be read */
		else if ((s->flags & AMP_SF_CONNECTED) && s->type != SOCK_DGRAM)
			r = -EISCONN;
		else
			r = AMP_FAM(s->fam, connect)(s, addr, len);
		if (r != -EAGAIN) {
			s->flags &= (uint16_t)~AMP_SF_CONNECTING;
			return r;
		}
		s->flags |= AMP_SF_CONNECTING;
		r = amp_again(c);
	} while (r == 0);
	if (r != -EAGAIN)
		return r;
	if (!c->block)
		return before ? -EALREADY : -EINPROGRESS;
	return connect_late(s);
}

int amp_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct amp_sock *s = amp_hold(fd);
	struct amp_call c;
	int r;

	if (!s)
		return -1;
	amp_call_init(&c, s, s->sndtimeo ? amp_timeo_ms(s->sndtimeo) : AMPSOCK_CONNECT_MS);
	if (s->flags & AMP_SF_LISTEN)
		r = -EOPNOTSUPP;
	else if (!addr || len < sizeof(addr->sa_family))
		r = -EINVAL;
	else
		r = connect_loop(&c, addr, len);
	return (int)amp_release_slow(s, r);
}

int amp_close(int fd)
{
	const struct amp_fd_ops *ops = amp_fd_own(fd);
	struct amp_sock *s = NULL;
	int r = 0;

	if (ops) {
		amp_port_lock();
		if (ops->close)
			r = ops->close(fd);
	} else {
		s = amp_hold(fd);
		if (!s)
			return -1;
		amp_sock_close(s);
	}
	return (int)amp_release_slow(s, r);
}

/* ---- fcntl, ioctl ---- */

static void set_nonblock(struct amp_sock *s, int fd, bool on)
{
	if (!s)
		amp_fd_set_nonblock(fd, on);
	else if (on)
		s->flags |= AMP_SF_NONBLOCK;
	else
		s->flags &= (uint16_t)~AMP_SF_NONBLOCK;
}

/* A call on a socket or on a console descriptor: then c->s is NULL. */
static int enter_any(struct amp_call *c, int fd)
{
	if (!amp_fd_own(fd))
		return amp_enter(c, fd);
	amp_enter_plain(c);
	return 0;
}

int amp_fcntl(int fd, int cmd, ...)
{
	struct amp_call c;
	va_list ap;
	int arg = 0, r = enter_any(&c, fd);

	if (r)
		return r;
	va_start(ap, cmd);
	if (cmd == F_SETFL || cmd == F_SETFD)
		arg = va_arg(ap, int);
	va_end(ap);
	switch (cmd) {
	case F_GETFL:
		r = O_RDWR;
		if (c.s ? c.s->flags & AMP_SF_NONBLOCK : amp_fd_nonblock(fd))
			r |= O_NONBLOCK;
		break;
	case F_SETFL:
		set_nonblock(c.s, fd, (arg & O_NONBLOCK) != 0);
		break;
	case F_GETFD:
	case F_SETFD: /* there is nothing to exec */
		break;
	default:
		r = -EINVAL;
	}
	return (int)amp_leave(&c, r);
}

/* Asked of the family as a peek without buffer, see family.h. */
static int readable_len(struct amp_sock *s)
{
	struct amp_msg m = {.len = INT32_MAX};
	ssize_t n = AMP_FAM(s->fam, recvmsg)(s, &m, MSG_PEEK | MSG_TRUNC);

	return n > 0 ? (int)n : 0;
}

int amp_ioctl(int fd, unsigned long request, ...)
{
	struct amp_call c;
	va_list ap;
	int *arg, r = enter_any(&c, fd);

	if (r)
		return r;
	va_start(ap, request);
	arg = va_arg(ap, int *);
	va_end(ap);
	if (request == FIONBIO) {
		set_nonblock(c.s, fd, *arg != 0);
	} else if (request == FIONREAD && c.s) {
		amp_links_run();
		if (c.s->flags & AMP_SF_LISTEN)
			r = -EINVAL;
		else
			*arg = readable_len(c.s);
	} else {
		r = -ENOTTY;
	}
	return (int)amp_leave(&c, r);
}
