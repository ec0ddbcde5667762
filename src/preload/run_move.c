// SPDX-License-Identifier: BSD-3-Clause
/*
 * ampsock-run: bytes and messages between the kernel's end of a pair and the library's socket.
 *
 * Streams are not copied here: readv() goes straight into the ring towards the peer
 * (amp_reserve), sendmsg() out of the socket's own ring (amp_borrow). Messages are looked at,
 * sent on, and only taken away when that went well, so that none is held here.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ampsock.h"
#include "../socket/amp_calls.h"
#include "run.h"

#define PIECE 262144u /* of one entry's turn, each way */

/* Under the lock: a message on its way. */
static uint8_t buf[PIECE];

/* The connection is over for a reason that the program is to hear. */
static void reset(struct entry *e, int err)
{
	if (err && !e->err)
		e->err = err;
	e->deaf = e->mute = true;
	e->state = ENTRY_DEAD;
	shutdown(e->k, SHUT_RDWR);
}

/* The peer takes no more: EPIPE for the program, and what is on its way is lost. */
static void deafen(struct entry *e)
{
	e->deaf = true;
	shutdown(e->k, SHUT_RD);
}

/* It is over, as sending has found out. What has come is still to be read, and then the reason. */
static void cut(struct entry *e, int err)
{
	if (!e->err)
		e->err = err;
	deafen(e);
}

/* The program sends no more. */
static void program_ended(struct entry *e)
{
	e->eof = true;
	e->kin = false;
	if (e->type != SOCK_DGRAM)
		(void)amp_shutdown(e->amp, SHUT_WR);
}

/* The peer sends no more, or (wrote) the program wants no more of it. */
static void peer_ended(struct entry *e, bool refused)
{
	e->mute = true;
	if (refused && e->type != SOCK_DGRAM)
		(void)amp_shutdown(e->amp, SHUT_RD);
	else
		shutdown(e->k, SHUT_WR);
}

static bool again(int err)
{
	return err == EAGAIN || err == EWOULDBLOCK || err == EINTR;
}

/* ---- streams ---- */

/* There is no room for the program's bytes; are there any, or is this their end? */
static void look_for_end(struct entry *e)
{
	uint8_t c;
	ssize_t n = recv(e->k, &c, 1, MSG_PEEK | MSG_DONTWAIT);

	if (n == 0)
		program_ended(e);
	else if (n < 0)
		e->kin = false;
	else
		e->stuck = true;
}

static size_t stream_out(struct entry *e)
{
	size_t done = 0;

	while (e->kin && !e->deaf && !e->stuck && done < PIECE) {
		struct iovec iov[2];
		int cnt = 0, err;
		ssize_t n = amp_reserve(e->amp, iov, &cnt, PIECE - done);

		if (n < 0) {
			if (again(errno))
				look_for_end(e);
			else if (errno == EPIPE)
				deafen(e);
			else
				cut(e, errno);
			break;
		}
		n = readv(e->k, iov, cnt);
		err = errno;
		(void)amp_commit(e->amp, n > 0 ? (size_t)n : 0);
		if (n > 0) {
			done += (size_t)n;
		} else if (n == 0 || !again(err)) {
			/* ECONNRESET: it was closed with bytes that nobody had read */
			program_ended(e);
		} else {
			e->kin = false;
		}
	}
	return done;
}

static size_t stream_in(struct entry *e)
{
	size_t done = 0;

	while (e->kout && !e->mute && done < PIECE) {
		struct iovec iov[2];
		struct msghdr m = {.msg_iov = iov};
		int cnt = 0, err;
		ssize_t n = amp_borrow(e->amp, iov, &cnt, PIECE - done);

		if (n < 0) {
			if (!again(errno))
				reset(e, errno);
			break;
		}
		if (n == 0) {
			peer_ended(e, false);
			break;
		}
		m.msg_iovlen = (size_t)cnt;
		n = sendmsg(e->k, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
		err = errno;
		(void)amp_give_back(e->amp, n > 0 ? (size_t)n : 0);
		if (n > 0)
			done += (size_t)n;
		else if (again(err))
			e->kout = false;
		else
			peer_ended(e, true);
	}
	return done;
}

/* ---- messages ---- */

/* The next message of the program, left where it is. -1 with errno; *end: there are no more. */
static ssize_t peek(struct entry *e, bool *end)
{
	union {
		struct cmsghdr h;
		uint8_t room[256];
	} control;
	struct iovec iov = {.iov_base = buf, .iov_len = sizeof(buf)};
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(e->k, &m, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);

	*end = n == 0 && m.msg_controllen == 0;
	/* a program may pass descriptors, to nobody: they are not kept */
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); n >= 0 && c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0);
		     at += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
			close(fd);
		}
	}
	return n;
}

static void drop(int fd)
{
	uint8_t c;

	(void)recv(fd, &c, 1, MSG_DONTWAIT);
}

/*
 * An error of a datagram socket: told where the next datagram would be. One that lasts, as when
 * there is no link, would be there each time: it is told once, and looked at in a while.
 */
static void tell(struct entry *e, int err)
{
	struct amp_run_dgram d = {.err = err};

	e->resting = err == e->told_err;
	e->told_err = err;
	if (!e->resting && send(e->k, &d, sizeof(d), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		e->err = err;
}

/* One message of len bytes in buf to the library. */
static ssize_t pass_on(struct entry *e, size_t len)
{
	struct amp_run_dgram d;

	if (len > sizeof(buf)) {
		errno = EMSGSIZE;
		return -1;
	}
	if (e->type != SOCK_DGRAM)
		return amp_send(e->amp, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (len < sizeof(d)) {
		errno = EINVAL;
		return -1;
	}
	memcpy(&d, buf, sizeof(d));
	if (d.addr_len > sizeof(d.addr))
		d.addr_len = sizeof(d.addr);
	return amp_sendto(e->amp, buf + sizeof(d), len - sizeof(d), MSG_DONTWAIT | MSG_NOSIGNAL,
			  d.addr_len ? (struct sockaddr *)(void *)d.addr : NULL, d.addr_len);
}

static size_t messages_out(struct entry *e)
{
	size_t done = 0;

	while (e->kin && !e->deaf && !e->stuck && done < PIECE) {
		bool end;
		ssize_t n = peek(e, &end);

		if (end || (n < 0 && !again(errno))) {
			program_ended(e);
			break;
		}
		if (n < 0) {
			e->kin = false;
			break;
		}
		e->told_err = 0; /* what becomes of this one is news */
		e->resting = false;
		if (pass_on(e, (size_t)n) < 0) {
			if (again(errno)) {
				e->stuck = true;
				break;
			}
			if (e->type == SOCK_DGRAM) {
				tell(e, errno);
			} else if (errno == EMSGSIZE) {
				e->err = EMSGSIZE;
				fprintf(stderr,
					"ampsock-run: a message of %zd bytes is longer than "
					"its peer takes: dropped\n",
					n);
			} else if (errno == EPIPE) {
				deafen(e);
			} else {
				cut(e, errno);
			}
		}
		drop(e->k);
		done += (size_t)n + 64;
	}
	return done;
}

/* The library's next message, left where it is: behind a header in buf if it is a datagram. */
static ssize_t peek_amp(struct entry *e, size_t *head)
{
	struct amp_run_dgram d = {.err = 0};
	socklen_t len = sizeof(d.addr);
	ssize_t n;

	*head = 0;
	if (e->type != SOCK_DGRAM)
		return amp_recv(e->amp, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);
	*head = sizeof(d);
	n = amp_recvfrom(e->amp, buf + sizeof(d), sizeof(buf) - sizeof(d),
			 MSG_PEEK | MSG_DONTWAIT, (struct sockaddr *)(void *)d.addr, &len);
	d.addr_len = len < sizeof(d.addr) ? len : sizeof(d.addr);
	memcpy(buf, &d, sizeof(d));
	return n;
}

/* A message socket says 0: is that its end? Only AF_RPMSG has messages without bytes. */
static bool is_end(const struct entry *e)
{
	struct pollfd p = {.fd = e->amp, .events = POLLIN | POLLRDHUP};

	if (e->type == SOCK_DGRAM)
		return false;
	return e->domain == AF_VSOCK ||
	       (amp_poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP)));
}

static size_t messages_in(struct entry *e)
{
	size_t done = 0, head;
	uint8_t c;

	while (e->kout && !e->mute && !e->resting && done < PIECE) {
		ssize_t n = peek_amp(e, &head);

		if (n < 0 && !again(errno)) {
			if (e->type != SOCK_DGRAM) {
				reset(e, errno);
				break;
			}
			tell(e, errno);
			done += 64;
			continue;
		}
		if (n < 0)
			break;
		if (n == 0 && is_end(e)) {
			peer_ended(e, false);
			break;
		}
		if (send(e->k, buf, head + (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
			if (again(errno))
				e->kout = false;
			else
				peer_ended(e, true);
			break;
		}
		(void)amp_recv(e->amp, &c, 1, MSG_DONTWAIT);
		e->told_err = 0;
		done += (size_t)n + 64;
	}
	return done;
}

/* ---- the rest of a socket's life ---- */

/* One connection: an entry of its own, whose descriptor goes to whoever accepts. */
static void hand_over(const struct entry *listener, int amp, struct amp_run_accept *a)
{
	union {
		struct cmsghdr h;
		uint8_t room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = a, .iov_len = sizeof(*a)};
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int fd, err;
	struct entry *e = entry_new(listener->domain, listener->type, amp, &fd, &err);

	if (!e) {
		fprintf(stderr, "ampsock-run: a connection is turned away: %s\n",
			strerror(-err));
		(void)amp_close(amp);
		return;
	}
	e->state = ENTRY_OPEN;
	e->queued = true;
	memset(&control, 0, sizeof(control));
	control.h.cmsg_level = SOL_SOCKET;
	control.h.cmsg_type = SCM_RIGHTS;
	control.h.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.h), &fd, sizeof(fd));
	if (sendmsg(listener->k, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && again(errno))
		fprintf(stderr, "ampsock-run: a connection is turned away: %s\n",
			strerror(errno));
	close(fd); /* the listener is gone: then its last copy, and the entry ends */
}

/* As many as the program's queue takes: the others wait in the library's. */
static void listener_turn(struct entry *e)
{
	while (!e->hup) {
		struct amp_run_accept a = {.addr_len = sizeof(a.addr)};
		struct pollfd p = {.fd = e->k, .events = POLLOUT};
		socklen_t len = sizeof(a.addr);
		int amp;

		if (poll(&p, 1, 0) <= 0 || !(p.revents & POLLOUT)) {
			e->kout = false;
			return;
		}
		amp = amp_accept4(e->amp, (struct sockaddr *)(void *)a.addr, &len,
				  SOCK_NONBLOCK);
		if (amp < 0) {
			if (!again(errno) && errno != ECONNABORTED && !e->err)
				e->err = errno;
			return;
		}
		a.addr_len = len < sizeof(a.addr) ? len : sizeof(a.addr);
		hand_over(e, amp, &a);
	}
}

/* The stuffing that kept the descriptor from being writable. */
static void unstuff(struct entry *e)
{
	while (e->junk) {
		size_t most =
			e->type == SOCK_STREAM && e->junk < sizeof(buf) ? e->junk : sizeof(buf);
		ssize_t n = recv(e->k, buf, most, MSG_DONTWAIT);

		if (n < 0)
			break;
		e->junk -= e->type == SOCK_STREAM ? (size_t)n : 1;
		if (n == 0 && e->type == SOCK_STREAM)
			break;
	}
	e->junk = 0;
}

static void connecting_turn(struct entry *e)
{
	struct pollfd p = {.fd = e->amp, .events = POLLOUT};
	socklen_t len = sizeof(e->err);

	if (amp_poll(&p, 1, 0) <= 0 || !(p.revents & (POLLOUT | POLLERR | POLLHUP)))
		return;
	if (amp_getsockopt(e->amp, SOL_SOCKET, SO_ERROR, &e->err, &len) < 0)
		e->err = errno;
	if (e->err) {
		e->state = ENTRY_FAILED;
		shutdown(e->k, SHUT_RDWR);
		unstuff(e);
	} else {
		unstuff(e);
		e->state = ENTRY_OPEN;
		e->kin = e->kout = true;
	}
	pthread_cond_broadcast(&amp_run.news);
}

bool move_turn(struct entry *e)
{
	size_t out, in;

	if (e->state == ENTRY_CONNECTING)
		connecting_turn(e);
	if (e->state == ENTRY_LISTEN)
		listener_turn(e);
	if (e->state != ENTRY_OPEN)
		return false;
	if (e->type == SOCK_STREAM) {
		in = stream_in(e);
		out = stream_out(e);
	} else {
		in = messages_in(e);
		out = messages_out(e);
	}
	return in >= PIECE || out >= PIECE;
}

short move_wants(const struct entry *e)
{
	short ev = 0;

	switch (e->state) {
	case ENTRY_CONNECTING:
		return POLLOUT;
	case ENTRY_LISTEN:
		return e->kout && !e->hup ? POLLIN : 0;
	case ENTRY_OPEN:
		if (e->kout && !e->mute && !e->resting)
			ev |= POLLIN;
		if (e->kin && e->stuck && !e->deaf)
			ev |= POLLOUT;
		return ev;
	default:
		return 0;
	}
}
