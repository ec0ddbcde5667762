// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation: threads of one Linux process.
 *
 * One mutex. A thread that must wait becomes the *leader* when there is none: it polls
 * every watched descriptor and the wake eventfd with the lock released. The others are
 * followers, each on a condition variable of its own. A leader that comes back (whatever the
 * reason) vacates its place, and wakes nobody: it looks at the links, wakes whom it finds
 * something for (amp_port_wake_one()), and polls again, or leaves. Who leaves (amp_port_unlock())
 * while others follow, nobody polls and nobody is about to, wakes one of them: that one looks in
 * turn, and leads if it still has to wait. So whoever sleeps as a follower has a leader that polls,
 * or a thread inside that will see to one, and rings are armed anew by every thread that goes to
 * sleep. A message costs one wake-up or two, however many threads wait for others.
 *
 * Followers are woken latest first: a thread that is busy, and its stack in a cache, before one
 * that has waited long.
 *
 * A wake-up of all is a number that grows. Each thread remembers the number that it last saw
 * and does not sleep while it differs. amp_port_wake() raises the number, then looks
 * whether a leader polls; the leader marks itself, then looks at the number: both are
 * sequentially consistent, so one of them sees the other and no wake-up is lost. A
 * write to an eventfd is all that amp_port_wake() does otherwise: signal handlers may
 * call it. The followers are told of the number by whoever has the lock next: the leader as it comes
 * back, any other before it gives the lock up.
 *
 * Descriptors below AMPSOCK_FD_BASE are the process's own: read, write and poll of the
 * socket face reach them here. They are polled only after a caller has found them not
 * ready, until they are ready once.
 *
 * fork() is not supported: rings and threads are not the child's.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

#include "../socket/fd.h"
#include "port.h"
#include "posix.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool ending;	/* under the lock, as the next: the process ends, */
static pthread_t ender; /* in this thread */
static int wake_fd = -1; /* written once before the first wait */

/* A thread. Nobody looks at one that does not follow or lead, or that is inside: it may be gone. */
struct waiter {
	LIST_ENTRY(waiter) entry; /* l: while it follows */
	pthread_cond_t cond;	  /* on CLOCK_MONOTONIC */
	unsigned seen;		  /* its own: wake_cnt as it last saw it */
	bool ready;		  /* its own: cond is one */
	bool follows;		  /* l */
	bool named;		  /* l: not one of the rest */
};

/* l: under the lock */
static struct {
	int fd;
	void (*drain)(int fd);
} watch[AMP_PORT_WATCHES];	      /* l */
static unsigned watch_cnt;	      /* l */
static LIST_HEAD(, waiter) followers; /* l */
static unsigned coming;		      /* l: woken, and on their way to the lock */
static const struct waiter *leader;   /* l: NULL while nobody polls */
static bool poked;		      /* l: and it has been told to come back */
static unsigned told;		      /* l: wake_cnt as those who follow know it */
static uint64_t own_fds[2];	      /* l: POLLIN, POLLOUT wanted, bit per own descriptor */
static uint64_t led_fds[2];	      /* l: what the present leader polls of them */
static atomic_uint wake_cnt = 1;      /* grows with every wake */
static atomic_bool leading;	      /* a leader polls; written under the lock */
static _Thread_local struct waiter me;

_Static_assert(AMPSOCK_FD_BASE <= 64, "own descriptors are bits of 64");

static void leader_poke(void)
{
	uint64_t one = 1;
	int e = errno;

	if (write(wake_fd, &one, sizeof(one)) < 0)
		errno = e; /* full: then it is readable all the same */
}

void amp_port_drain(int fd)
{
	uint64_t buf[8];

	while (read(fd, buf, sizeof(buf)) == (ssize_t)sizeof(buf))
		;
}

static void set_up(void)
{
	wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

/* ---- followers ---- */

static void call_up(struct waiter *w)
{
	LIST_REMOVE(w, entry);
	w->follows = false;
	coming++;
	pthread_cond_signal(&w->cond);
}

static void call_all_up(void)
{
	while (!LIST_EMPTY(&followers))
		call_up(LIST_FIRST(&followers));
}

/* Those who follow have seen no number after told: now it is cnt. */
static void tell(unsigned cnt)
{
	if (told == cnt)
		return;
	told = cnt;
	call_all_up();
}

/* Who has the lock, and is not to have it any more. */
static void stay(void)
{
	if (!ending || pthread_equal(ender, pthread_self()))
		return;
	pthread_mutex_unlock(&lock);
	for (;;)
		pause();
}

void amp_port_lock(void)
{
	pthread_mutex_lock(&lock);
	stay();
}

bool amp_port_end(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec++;
	if (pthread_mutex_timedlock(&lock, &ts))
		return false;
	stay();
	ending = true;
	ender = pthread_self();
	pthread_mutex_unlock(&lock);
	return true;
}

#if AMP_PORT_WAKE_ONE
void amp_port_unlock_briefly(void)
{
	if (!LIST_EMPTY(&followers))
		tell(atomic_load(&wake_cnt));
	pthread_mutex_unlock(&lock);
}
#endif

void amp_port_unlock(void)
{
	if (!LIST_EMPTY(&followers)) {
		tell(atomic_load(&wake_cnt));
		if (!leader && !coming)
			call_up(LIST_FIRST(&followers));
	}
	pthread_mutex_unlock(&lock);
}

void amp_port_wake(void)
{
	atomic_fetch_add(&wake_cnt, 1);
	if (atomic_load(&leading))
		leader_poke();
}

#if AMP_PORT_WAKE_ONE
void *amp_port_self(void)
{
	return &me;
}

static void call_back(void)
{
	if (!poked)
		leader_poke();
	poked = true;
}

void amp_port_wake_one(void *thread)
{
	struct waiter *w = thread;

	if (w->follows)
		call_up(w);
	else if (w == leader)
		call_back();
}

void amp_port_wake_rest(void)
{
	struct waiter *w, *next;

	for (w = LIST_FIRST(&followers); w; w = next) {
		next = LIST_NEXT(w, entry);
		if (!w->named)
			call_up(w);
	}
	if (leader && !leader->named)
		call_back();
}
#endif

uint32_t amp_port_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint32_t)ts.tv_sec * 1000u + (uint32_t)ts.tv_nsec / 1000000u;
}

int amp_port_watch(int fd, void (*drain)(int fd))
{
	if (watch_cnt == AMP_PORT_WATCHES)
		return -ENOBUFS;
	watch[watch_cnt].fd = fd;
	watch[watch_cnt].drain = drain;
	watch_cnt++;
	amp_port_wake(); /* the leader polls without it */
	return 0;
}

void amp_port_unwatch(int fd)
{
	for (unsigned i = 0; i < watch_cnt; i++) {
		if (watch[i].fd != fd)
			continue;
		watch[i] = watch[--watch_cnt];
		break;
	}
	amp_port_wake();
}

/* A descriptor may have been unwatched, and even reused, while the leader polled. */
static void drain_ready(const struct pollfd *p, nfds_t cnt)
{
	for (nfds_t k = 0; k < cnt; k++) {
		if (!p[k].revents)
			continue;
		for (unsigned i = 0; i < watch_cnt; i++) {
			if (watch[i].fd == p[k].fd && watch[i].drain)
				watch[i].drain(p[k].fd);
		}
	}
}

static nfds_t own_list(struct pollfd *p)
{
	uint64_t set = own_fds[0] | own_fds[1];
	nfds_t n = 0;

	led_fds[0] = own_fds[0];
	led_fds[1] = own_fds[1];
	for (; set; set &= set - 1, n++) {
		int fd = __builtin_ctzll(set);

		p[n].fd = fd;
		p[n].events = (short)((own_fds[0] >> fd & 1 ? POLLIN : 0) |
				      (own_fds[1] >> fd & 1 ? POLLOUT : 0));
	}
	return n;
}

static void lead(int32_t timeout_ms)
{
	struct pollfd p[AMP_PORT_WATCHES + 64 + 1];
	nfds_t n = 0, own;

	p[n++] = (struct pollfd){.fd = wake_fd, .events = POLLIN};
	own = own_list(p + n);
	n += own;
	for (unsigned i = 0; i < watch_cnt; i++)
		p[n++] = (struct pollfd){.fd = watch[i].fd, .events = POLLIN};
	leader = &me;
	poked = false;
	atomic_store(&leading, true);
	if (atomic_load(&wake_cnt) != me.seen)
		timeout_ms = 0;
	pthread_mutex_unlock(&lock);
	if (poll(p, n, timeout_ms) < 0)
		n = 0; /* EINTR: an early return like any other */
	amp_port_lock();
	atomic_store(&leading, false);
	leader = NULL;
	if (n && p[0].revents)
		amp_port_drain(wake_fd);
	for (nfds_t k = 1; n && k <= own; k++) {
		if (p[k].revents) {
			own_fds[0] &= ~(1ull << p[k].fd);
			own_fds[1] &= ~(1ull << p[k].fd);
			call_all_up(); /* whose it is, nobody knows */
		}
	}
	if (n)
		drain_ready(p + 1 + own, n - 1 - own);
	tell(atomic_load(&wake_cnt));
}

static void cond_ready(void)
{
	pthread_condattr_t attr;

	if (me.ready)
		return;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&me.cond, &attr);
	pthread_condattr_destroy(&attr);
	me.ready = true;
}

static void follow(int32_t timeout_ms)
{
	struct timespec ts;

	if ((own_fds[0] & ~led_fds[0]) | (own_fds[1] & ~led_fds[1]))
		leader_poke(); /* it does not poll what this thread waits for */
	cond_ready();
	LIST_INSERT_HEAD(&followers, &me, entry);
	me.follows = true;
	if (timeout_ms < 0) {
		pthread_cond_wait(&me.cond, &lock);
	} else {
		clock_gettime(CLOCK_MONOTONIC, &ts);
		ts.tv_sec += timeout_ms / 1000;
		ts.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
		if (ts.tv_nsec >= 1000000000) {
			ts.tv_nsec -= 1000000000;
			ts.tv_sec++;
		}
		pthread_cond_timedwait(&me.cond, &lock, &ts);
	}
	stay();
	if (me.follows) /* nobody has called: time is up, or for no reason at all */
		LIST_REMOVE(&me, entry);
	else
		coming--;
	me.follows = false;
}

static int wait_as(int32_t timeout_ms, bool named)
{
	uint32_t start = timeout_ms > 0 ? amp_port_now_ms() : 0;
	unsigned now = atomic_load(&wake_cnt);

	pthread_once(&once, set_up);
	if (now != me.seen) {
		me.seen = now;
		return 0;
	}
	tell(now); /* whoever follows from here on has seen it */
	me.named = named;
	if (leader)
		follow(timeout_ms);
	else
		lead(timeout_ms);
	me.seen = atomic_load(&wake_cnt);
	if (timeout_ms >= 0 &&
	    (timeout_ms == 0 || amp_port_now_ms() - start >= (uint32_t)timeout_ms))
		return -ETIMEDOUT;
	return 0;
}

int amp_port_wait(int32_t timeout_ms)
{
	return wait_as(timeout_ms, false);
}

#if AMP_PORT_WAKE_ONE
int amp_port_wait_as(int32_t timeout_ms, bool named)
{
	return wait_as(timeout_ms, named);
}
#endif

/* ---- the process's own descriptors ---- */

static int own_poll(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};

	if (poll(&p, 1, 0) < 0)
		return POLLERR;
	if (!(p.revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL)))
		own_fds[0] |= 1ull << fd;
	if (!(p.revents & (POLLOUT | POLLHUP | POLLERR | POLLNVAL)))
		own_fds[1] |= 1ull << fd;
	return p.revents;
}

static ssize_t own_read(int fd, void *buf, size_t len)
{
	ssize_t n;

	if (!(own_poll(fd) & (POLLIN | POLLHUP | POLLERR | POLLNVAL)))
		return -EAGAIN;
	n = read(fd, buf, len);
	return n < 0 ? -errno : n;
}

static ssize_t own_write(int fd, const void *buf, size_t len)
{
	ssize_t n;

	if (!(own_poll(fd) & (POLLOUT | POLLHUP | POLLERR | POLLNVAL)))
		return -EAGAIN;
	/* POLLOUT promises a pipe this much; more could block with the lock held */
	n = write(fd, buf, len < PIPE_BUF ? len : PIPE_BUF);
	return n < 0 ? -errno : n;
}

static int own_close(int fd)
{
	own_fds[0] &= ~(1ull << fd);
	own_fds[1] &= ~(1ull << fd);
	return close(fd) < 0 ? -errno : 0;
}

static const struct amp_fd_ops own_ops = {
	.read = own_read,
	.write = own_write,
	.poll = own_poll,
	.close = own_close,
};

__attribute__((constructor)) static void own_init(void)
{
	amp_fd_console(&own_ops);
}
