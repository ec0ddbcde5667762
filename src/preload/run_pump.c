// SPDX-License-Identifier: BSD-3-Clause
/*
 * ampsock-run: the thread that moves what programs send and receive.
 *
 * Theory of operation. The kernel's ends are in one epoll set, edge-triggered: an edge is
 * remembered in the entry (kin, kout) until a call says EAGAIN. The epoll descriptor itself is
 * one of the process's own that amp_poll() can wait for beside the library's sockets, so the
 * thread sleeps in amp_poll() alone. Of the library's sockets it names those that something
 * waits for, which changes all the time; that is level-triggered.
 *
 * Bounded everywhere: a program that does not read fills its pair, then the library's ring,
 * and credit stops the sender; a peer that does not read keeps the bytes in the pair, and the
 * program's own calls wait. An entry moves a bounded piece, then it is the next one's turn.
 *
 * A program's end is closed when all its copies are (EPOLLHUP, and nobody has its name). What
 * it had written by then still goes out: only then is the library's socket closed.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "../ampsock_config.h"
#include "../socket/amp_calls.h"
#include "run.h"

#define EVENTS	64
#define REST_MS 500 /* how long an entry rests, at most */

/* p: the pump's thread alone */
static int epfd = -1, poke_fd = -1;
static struct pollfd want[AMP_RUN_ENTRIES + 1];	   /* p */
static struct entry *want_of[AMP_RUN_ENTRIES + 1]; /* p */

int pump_add(struct entry *e)
{
	struct epoll_event ev = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.u64 = e->id,
	};

	return epoll_ctl(epfd, EPOLL_CTL_ADD, e->k, &ev) < 0 ? -errno : 0;
}

void pump_poke(struct entry *e)
{
	uint64_t one = 1;

	e->queued = true;
	if (write(poke_fd, &one, sizeof(one)) < 0)
		return; /* full: then it is readable all the same */
}

static void take_event(const struct epoll_event *ev)
{
	struct entry *e;
	uint64_t cnt;

	if (ev->data.u64 == 0) {
		if (read(poke_fd, &cnt, sizeof(cnt)) < 0)
			return;
		return;
	}
	e = entry_find(ev->data.u64);
	if (!e)
		return;
	e->queued = true;
	if (ev->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		e->kin = true;
		e->stuck = false;
	}
	if (ev->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		e->kout = true;
	if (ev->events & EPOLLHUP)
		e->hup = true;
}

static void take_events(void)
{
	struct epoll_event ev[EVENTS];
	int n;

	do {
		n = epoll_wait(epfd, ev, EVENTS, 0);
		for (int i = 0; i < n; i++)
			take_event(&ev[i]);
	} while (n == EVENTS);
}

/* Nothing of it is left to do: the program has closed it, and what it sent is gone. */
static bool over(const struct entry *e)
{
	bool done = e->eof || e->deaf || e->state != ENTRY_OPEN;

	return e->hup && e->refs == 0 && done && !entry_alive(e);
}

/* Nobody waits for this connect() any more: it ends. */
static void give_up(struct entry *e)
{
	if (e->state != ENTRY_WAITING || !e->hup || e->amp < 0 || entry_alive(e))
		return;
	(void)amp_close(e->amp);
	e->amp = -1;
}

/* One turn for everybody that has something to do. True: some want another. */
static bool turns(void)
{
	bool again = false;

	for (unsigned i = 0, left = amp_run.used; i < AMP_RUN_ENTRIES && left; i++) {
		struct entry *e = &amp_run.entries[i];

		if (!e->id)
			continue;
		left--;
		if (!e->queued)
			continue;
		e->queued = move_turn(e);
		again |= e->queued;
		give_up(e);
		if (over(e))
			entry_free(e);
	}
	return again;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* All that rest wake up together. How long to sleep until then: -1, for nobody does. */
static int rest(void)
{
	static int64_t until_ms; /* p; 0: none rest */
	int64_t now = now_ms();
	bool any = false, over = until_ms && now >= until_ms;

	for (unsigned i = 0, left = amp_run.used; i < AMP_RUN_ENTRIES && left; i++) {
		struct entry *e = &amp_run.entries[i];

		left -= e->id != 0;
		if (!e->id || !e->resting)
			continue;
		if (over)
			e->resting = false;
		any |= e->resting;
	}
	if (!any)
		until_ms = 0;
	else if (!until_ms)
		until_ms = now + REST_MS;
	return any ? (int)(until_ms - now) : -1;
}

/* What to wait for. */
static nfds_t wants(void)
{
	nfds_t n = 1;

	want[0] = (struct pollfd){.fd = epfd, .events = POLLIN};
	for (unsigned i = 0, left = amp_run.used; i < AMP_RUN_ENTRIES && left; i++) {
		struct entry *e = &amp_run.entries[i];
		short ev;

		if (!e->id)
			continue;
		left--;
		ev = move_wants(e);
		if (!ev)
			continue;
		want[n] = (struct pollfd){.fd = e->amp, .events = ev};
		want_of[n++] = e;
	}
	return n;
}

static void *pump(void *arg)
{
	bool again = false;
	int wait_ms;
	nfds_t n;

	(void)arg;
	for (;;) {
		pthread_mutex_lock(&amp_run.lock);
		wait_ms = rest();
		n = wants();
		pthread_mutex_unlock(&amp_run.lock);
		if (amp_poll(want, n, again ? 0 : wait_ms) < 0)
			continue;
		pthread_mutex_lock(&amp_run.lock);
		if (want[0].revents || again)
			take_events();
		for (nfds_t i = 1; i < n; i++) {
			if (want[i].revents) {
				want_of[i]->queued = true;
				want_of[i]->stuck = false;
			}
		}
		again = turns();
		pthread_mutex_unlock(&amp_run.lock);
	}
	return NULL;
}

int pump_start(void)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	pthread_t t;

	epfd = epoll_create1(EPOLL_CLOEXEC);
	poke_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (epfd < 0 || poke_fd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, poke_fd, &ev) < 0)
		return -errno;
	if (epfd >= AMPSOCK_FD_BASE) /* the library polls no others of the process's own */
		return -EMFILE;
	return -pthread_create(&t, NULL, pump, NULL);
}
