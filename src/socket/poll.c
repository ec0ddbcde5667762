// SPDX-License-Identifier: BSD-3-Clause
/*
 * poll() and select(): level-triggered. They look at the links once, then at the
 * descriptors; when nothing is ready they sleep as any other call does and look again.
 */
#include <errno.h>

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

	for (; nfds; nfds--, fds++) {
		int ev = fds->fd < 0 ? 0 : ready(fds->fd);

		ev &= fds->events | POLLERR | POLLHUP | POLLNVAL;
		fds->revents = (short)ev;
		cnt += ev != 0;
	}
	return cnt;
}

int amp_poll(struct pollfd *fds, nfds_t nfds, int timeout)
{
	struct amp_call c;
	int cnt = 0;

	amp_enter_timed(&c, timeout);
	if (nfds > AMPSOCK_SOCKETS + AMPSOCK_FD_BASE)
		cnt = -EINVAL;
	while (cnt == 0 && amp_again(&c) == 0) { /* the links have their look first */
		cnt = poll_scan(fds, nfds);
		if (cnt == 0 && amp_look_on())
			cnt = poll_scan(fds, nfds);
	}
	return (int)amp_leave(&c, cnt);
}

/* AMP_MS_BAD: EINVAL. */
static __attribute__((noinline)) int32_t to_ms(const struct timespec *t)
{
	return t ? amp_to_ms(t->tv_sec, (unsigned long)t->tv_nsec, 1000000) : -1;
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

/*
 * Bits set that are true, or -EBADF. take: those that are not are cleared. Apart: what it needs is not
 * below the waiting.
 */
static __attribute__((noinline)) int select_scan(int nfds, fd_set *const sets[3], bool take)
{
	int cnt = 0;

	for (int k = 0; k < 3; k++) {
		for (int fd = 0; sets[k] && fd < nfds; fd++) {
			int ev;

			if (!FD_ISSET(fd, sets[k]))
				continue;
			ev = ready(fd);
			if (ev & POLLNVAL)
				return -EBADF;
			if (ev & set_events[k])
				cnt++;
			else if (take)
				FD_CLR(fd, sets[k]);
		}
	}
	return cnt;
}

static int do_select(int nfds, fd_set *const sets[3], int32_t timeout_ms)
{
	struct amp_call c;
	int cnt = 0;

	amp_enter_timed(&c, timeout_ms);
	if ((unsigned)nfds > FD_SETSIZE || timeout_ms == AMP_MS_BAD)
		cnt = -EINVAL;
	while (cnt == 0 && amp_again(&c) == 0) {
		cnt = select_scan(nfds, sets, false);
		if (cnt == 0 && amp_look_on())
			cnt = select_scan(nfds, sets, false);
	}
	if (cnt >= 0)
		cnt = select_scan(nfds, sets, true);
	return (int)amp_leave(&c, cnt);
}

int amp_select(int nfds, fd_set *restrict readfds, fd_set *restrict writefds,
	       fd_set *restrict errorfds, struct timeval *restrict timeout)
{
	fd_set *const sets[3] = {readfds, writefds, errorfds};
	int32_t ms = -1;

	if (timeout)
		ms = amp_to_ms(timeout->tv_sec, (unsigned long)timeout->tv_usec, 1000);
	return do_select(nfds, sets, ms);
}

int amp_pselect(int nfds, fd_set *restrict readfds, fd_set *restrict writefds,
		fd_set *restrict errorfds, const struct timespec *restrict timeout,
		const sigset_t *restrict sigmask)
{
	fd_set *const sets[3] = {readfds, writefds, errorfds};

	(void)sigmask;
	return do_select(nfds, sets, to_ms(timeout));
}
