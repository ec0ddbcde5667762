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
/* POLLRDNORM with POLLIN, POLLWRNORM with POLLOUT: as far from them the one as the other. */
#define NORM(ev) (((ev) & (POLLIN | POLLOUT)) * (POLLRDNORM / POLLIN))
_Static_assert(NORM(POLLIN) == POLLRDNORM && NORM(POLLOUT) == POLLWRNORM, "NORM()");

/* All that is true of fd now, POLLNVAL when it is no descriptor. */
static int ready(int fd)
{
	struct amp_sock *s = amp_sock_find(fd);
	int ev;

	if (!s)
		return amp_fd_other(fd, AMP_FD_POLL);
	ev = AMP_FAM(s->fam, poll)(s);
	if (s->err)
		ev |= POLLERR | POLLIN | POLLOUT; /* the next call will not block */
	return ev | NORM(ev);
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
	int cnt = 0;

	if (nfds > AMPSOCK_SOCKETS + AMPSOCK_FD_BASE)
		return amp_fail(EINVAL);
	amp_enter_timed(&c, timeout);
	while (cnt == 0 && amp_again(&c) == 0) { /* the links have their look first */
		cnt = poll_scan(fds, nfds);
		if (cnt == 0 && amp_look_on())
			cnt = poll_scan(fds, nfds);
	}
	return (int)amp_leave(&c, cnt);
}

/* AMP_MS_BAD: EINVAL. */
static int32_t to_ms(const struct timespec *t)
{
	int32_t ms;

	if (!t)
		return -1;
	ms = amp_to_ms(t->tv_sec, (unsigned long)t->tv_nsec, 1000000);
	return ms < 0 ? AMP_MS_BAD : ms;
}

int amp_ppoll(struct pollfd *fds, nfds_t nfds, const struct timespec *timeout,
	      const sigset_t *sigmask)
{
	int32_t ms = to_ms(timeout);

	(void)sigmask; /* nothing of ours is interrupted by signals */
	return ms == AMP_MS_BAD ? amp_fail(EINVAL) : amp_poll(fds, nfds, ms);
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
	int cnt = 0;

	if (nfds < 0 || nfds > FD_SETSIZE || timeout_ms == AMP_MS_BAD)
		return amp_fail(EINVAL);
	amp_enter_timed(&c, timeout_ms);
	while (cnt == 0 && amp_again(&c) == 0) {
		cnt = select_scan(nfds, in, out);
		if (cnt == 0 && amp_look_on())
			cnt = select_scan(nfds, in, out);
	}
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
	int32_t ms = -1;

	if (timeout) {
		ms = amp_to_ms(timeout->tv_sec, (unsigned long)timeout->tv_usec, 1000);
		if (ms < 0)
			ms = AMP_MS_BAD;
	}
	return do_select(nfds, in, ms);
}

int amp_pselect(int nfds, fd_set *restrict readfds, fd_set *restrict writefds,
		fd_set *restrict errorfds, const struct timespec *restrict timeout,
		const sigset_t *restrict sigmask)
{
	fd_set *const in[3] = {readfds, writefds, errorfds};

	(void)sigmask;
	return do_select(nfds, in, to_ms(timeout));
}
