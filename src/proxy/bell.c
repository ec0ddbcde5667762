// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls:hot poll ppoll write sendto recvfrom
 * #syscalls close fcntl.flags
 */
/* Doorbells: bell.h says what they are. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bell.h"
#include "helper.h"

/* ---- unix ---- */

static void try_connect(struct amp_bell *b);

static void timer_due(uv_timer_t *t)
{
	struct amp_bell *b = t->data;

	if (b->conf->kind == AMP_BELL_UNIX)
		try_connect(b);
	else
		b->rung(b);
}

static void gone(struct amp_bell *b)
{
	amp_watch_close(&b->watch);
	b->up = false;
	uv_timer_start(&b->timer, timer_due, AMP_BELL_RETRY_MS, 0);
	b->lost(b);
}

/* Level-triggered and a bounded piece at a time: a flood of rings is one look a turn. */
static void sock_ready(struct amp_watch *w, uint32_t events)
{
	struct amp_bell *b = amp_container_of(w, struct amp_bell, watch);
	uint8_t bytes[512];
	ssize_t n = recv(w->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	(void)events;
	if (n > 0) {
		b->rx_cnt += (uint64_t)n;
		b->rung(b);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		gone(b);
	}
}

static void try_connect(struct amp_bell *b)
{
	int fd = amp_helper_connect_unix(AMP_HELPER_BELL, b->conf->path);
	int r = fd < 0 ? fd : amp_watch_start(&b->watch, fd, EPOLLIN);

	if (r < 0) {
		if (fd >= 0)
			close(fd);
		if (!b->said)
			amp_log(AMP_LOG_INFO, "link %s: waiting for the doorbell %s: %s",
				b->link, b->conf->path, strerror(-r));
		b->said = true;
		uv_timer_start(&b->timer, timer_due, AMP_BELL_RETRY_MS, 0);
		return;
	}
	b->up = true;
	b->said = false;
	b->rung(b);
}

/* ---- eventfd ---- */

/* Watched for edges and never read: each ring is one, and a system call less. */
static void eventfd_ready(struct amp_watch *w, uint32_t events)
{
	struct amp_bell *b = amp_container_of(w, struct amp_bell, watch);

	(void)events;
	b->rx_cnt++;
	b->rung(b);
}

static bool is_eventfd(int fd)
{
	char path[32], text[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, text, sizeof(text) - 1);
	if (n < 0)
		return false;
	text[n] = 0;
	return strcmp(text, "anon_inode:[eventfd]") == 0;
}

/* The pairs that this process was started with: open as long as it lives, whatever links come. */
static struct pair {
	int rx, tx;
} * pairs;
static size_t pair_cnt;

static int keep_pair(const struct amp_bell_conf *conf)
{
	struct pair *more = realloc(pairs, (pair_cnt + 1) * sizeof(*pairs));

	if (!more)
		return -ENOMEM;
	pairs = more;
	pairs[pair_cnt++] = (struct pair){conf->rx, conf->tx};
	return 0;
}

bool amp_bell_had(const struct amp_bell_conf *conf)
{
	for (size_t i = 0; i < pair_cnt; i++) {
		if (pairs[i].rx == conf->rx && pairs[i].tx == conf->tx)
			return true;
	}
	return conf->kind != AMP_BELL_EVENTFD;
}

int amp_bell_check(const struct amp_bell_conf *conf, const char *link)
{
	const int fds[2] = {conf->rx, conf->tx};

	if (conf->kind != AMP_BELL_EVENTFD)
		return 0;
	for (unsigned i = 0; i < 2; i++) {
		if (is_eventfd(fds[i]))
			continue;
		amp_log(AMP_LOG_ERROR,
			"link %s: bell=eventfd:%d,%d: descriptor %d is not an open eventfd: "
			"pass it on from the process that starts this one",
			link, fds[0], fds[1], fds[i]);
		return -EBADF;
	}
	return keep_pair(conf);
}

static int start_eventfd(struct amp_bell *b)
{
	const int fds[2] = {b->conf->rx, b->conf->tx};
	int r;

	for (unsigned i = 0; i < 2; i++)
		fcntl(fds[i], F_SETFD, FD_CLOEXEC);
	b->tx = fds[1];
	r = amp_watch_start(&b->watch, fds[0], EPOLLIN | EPOLLET);
	if (r)
		amp_log(AMP_LOG_ERROR, "link %s: cannot watch descriptor %d: %s", b->link,
			fds[0], strerror(-r));
	b->up = !r;
	return r;
}

/* ---- the door ---- */

void amp_bell_init(struct amp_bell *b)
{
	b->watch.fd = b->tx = -1;
	uv_timer_init(amp_loop_uv(), &b->timer);
	b->timer.data = b;
}

int amp_bell_start(struct amp_bell *b)
{
	switch (b->conf->kind) {
	case AMP_BELL_UNIX:
		b->watch.ready = sock_ready;
		try_connect(b);
		return 0;
	case AMP_BELL_EVENTFD:
		b->watch.ready = eventfd_ready;
		return start_eventfd(b);
	default:
		b->up = true;
		uv_timer_start(&b->timer, timer_due, b->conf->poll_ms, b->conf->poll_ms);
		return 0;
	}
}

/*
 * Full: rings enough wait there already. It is asked first, for whoever shares the descriptor
 * can have cleared its O_NONBLOCK (or never set it) and filled it, and write() would sleep. One
 * who does that in between is left to the loop's alarm.
 */
static void ring_eventfd(const struct amp_bell *b)
{
	static const uint64_t one = 1;
	struct pollfd p = {.fd = b->tx, .events = POLLOUT};
	ssize_t n;

	if (poll(&p, 1, 0) != 1)
		return;
	n = write(b->tx, &one, sizeof(one));
	(void)n;
}

void amp_bell_ring(struct amp_bell *b)
{
	static const uint8_t byte = 1;
	ssize_t n;

	if (!b->up)
		return;
	b->tx_cnt++;
	if (b->conf->kind == AMP_BELL_EVENTFD) {
		ring_eventfd(b);
	} else if (b->conf->kind == AMP_BELL_UNIX) {
		n = send(b->watch.fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		(void)n; /* full: likewise; broken: the watch says so */
	}
}

void amp_bell_stop(struct amp_bell *b)
{
	b->up = false;
	if (b->conf->kind == AMP_BELL_EVENTFD)
		amp_watch_stop(&b->watch); /* a reload's next link can have it, nobody else's */
	else
		amp_watch_close(&b->watch);
	uv_close((uv_handle_t *)&b->timer, NULL);
}
