// SPDX-License-Identifier: BSD-3-Clause
/*
 * poll() and select(): level-triggered. They look at the links once, then at the
 * descriptors; when nothing is ready they sleep as any other call does and look again.
 */
#include <errno.h>
#include <string.h>

#include "stack.h"

#ifndef POLLRDNORM
#define POLLRDNORM POLLIN
#endif
#ifndef POLLWRNORM
#define POLLWRNORM POLLOUT
#endif

/* All that is true of fd now, POLLNVAL when it is no descriptor. */
static int ready(int fd)
{
	const struct amp_fd_ops *ops = amp_fd_own(fd);
	struct amp_sock *s;
	int ev;

	if (ops)
		return ops->poll(fd);
	s = amp_sock_find(fd);
	if (!s)
		return POLLNVAL;
	ev = AMP_FAM(s->fam, poll)(s);
	if (s->err)
		ev |= POLLERR | POLLIN | POLLOUT; /* the next call will not block */
	if (ev & POLLIN)
		ev |= POLLRDNORM;
	if (ev & POLLOUT)
		ev |= POLLWRNORM;
	return ev;
}

static void poll_enter(struct amp_call *c, int32_t timeout_ms)
{
	amp_enter_plain(c);
	c->block = timeout_ms != 0;
	c->timeout_ms = timeout_ms > 0 ? (uint32_t)timeout_ms : 0;
	c->looked = true;
	amp_links_run();
}

static int poll_scan(struct pollfd *fds, nfds_t nfds)
{
	int cnt = 0;

	for (nfds_t i = 0; i < nfds; i++) {
		int ev = fds[i].fd < 0 ? 0 : ready(fds[i].fd);

		fds[i].revents = (short)(ev & (fds[i].events | POLLERR | POLLHUP | POLLNVAL));
		if (fds[i].revents)
			cnt++;
	}
	return cnt;
}

int amp_poll(struct pollfd *fds, nfds_t nfds, int timeout)
{
	struct amp_call c;
	int cnt;

	if (nfds > AMPSOCK_SOCKETS + AMPSOCK_FD_BASE)
		return amp_fail(EINVAL);
	poll_enter(&c, timeout);
	do {
		cnt = poll_scan(fds, nfds);
	} while (cnt == 0 && amp_again(&c) == 0);
	return (int)amp_leave(&c, cnt);
}

/* Rounded up. NULL: -1, for ever; -2: EINVAL. */
static int32_t to_ms(const struct timespec *t)
{
	if (!t)
		return -1;
	if (t->tv_sec < 0 || t->tv_nsec < 0 || t->tv_nsec > 999999999)
		return -2;
	if (t->tv_sec > INT32_MAX / 1000 - 1)
		return INT32_MAX;
	return (int32_t)t->tv_sec * 1000 +
	       (int32_t)(((uint32_t)t->tv_nsec + 999999u) / 1000000u);
}

int amp_ppoll(struct pollfd *fds, nfds_t nfds, const struct timespec *timeout,
	      const sigset_t *sigmask)
{
	int32_t ms = to_ms(timeout);

	(void)sigmask; /* nothing of ours is interrupted by signals */
	return ms == -2 ? amp_fail(EINVAL) : amp_poll(fds, nfds, ms);
}

/* What select() asks of each of its sets. */
static const short set_events[3] = {
	POLLIN | POLLHUP | POLLERR,
	POLLOUT | POLLERR,
	POLLPRI,
};

/* Fills out from in. Bits set, or -EBADF. Apart: what it needs is not below the waiting. */
static __attribute__((noinline)) int select_scan(int nfds, fd_set *const in[3], fd_set out[3])
{
	int cnt = 0;

	for (int k = 0; k < 3; k++)
		FD_ZERO(&out[k]);
	for (int fd = 0; fd < nfds; fd++) {
		int ev = -1;

		for (int k = 0; k < 3; k++) {
			if (!in[k] || !FD_ISSET(fd, in[k]))
				continue;
			if (ev < 0)
				ev = ready(fd);
			if (ev & POLLNVAL)
				return -EBADF;
			if (ev & set_events[k]) {
				FD_SET(fd, &out[k]);
				cnt++;
			}
		}
	}
	return cnt;
}

static int do_select(int nfds, fd_set *const in[3], int32_t timeout_ms)
{
	struct amp_call c;
	fd_set out[3];
	int cnt;

	if (nfds < 0 || nfds > FD_SETSIZE || timeout_ms == -2)
		return amp_fail(EINVAL);
	poll_enter(&c, timeout_ms);
	do {
		cnt = select_scan(nfds, in, out);
	} while (cnt == 0 && amp_again(&c) == 0);
	for (int k = 0; k < 3 && cnt >= 0; k++) {
		if (in[k])
			memcpy(in[k], &out[k], sizeof(fd_set));
	}
	return (int)amp_leave(&c, cnt);
}

int amp_select(int nfds, fd_set *restrict readfds, fd_set *restrict writefds,
	       fd_set *restrict errorfds, struct timeval *restrict timeout)
{
	fd_set *const in[3] = {readfds, writefds, errorfds};
	struct timespec t;

	if (timeout) {
		t.tv_sec = timeout->tv_sec;
		t.tv_nsec = timeout->tv_usec;
		t.tv_nsec = (unsigned long)t.tv_nsec < 1000000 ? t.tv_nsec * 1000 : -1;
	}
	return do_select(nfds, in, to_ms(timeout ? &t : NULL));
}

int amp_pselect(int nfds, fd_set *restrict readfds, fd_set *restrict writefds,
		fd_set *restrict errorfds, const struct timespec *restrict timeout,
		const sigset_t *restrict sigmask)
{
	fd_set *const in[3] = {readfds, writefds, errorfds};

	(void)sigmask;
	return do_select(nfds, in, to_ms(timeout));
}
