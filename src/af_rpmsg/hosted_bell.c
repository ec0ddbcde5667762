// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bells of hosted rpmsg links: a Unix stream socket on which a byte is a kick, or two
 * eventfds.
 *
 * Theory of operation. A kick only makes the other side look at memory, so bytes have no
 * meaning, one is as good as ten, and one for which there is no room says nothing new: the
 * other side has not read the last. Descriptors are watched by the port; whoever leads there
 * drains them with the lock held, and looks at the links. A thread that never sleeps never
 * leads, so the links' runners look at the bells, too, once in a while.
 */
#include "../ampsock_config.h"

#if AMPSOCK_HOSTED && AMPSOCK_RPMSG

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../port/port.h"
#include "../port/posix.h"
#include "../vsock/hosted.h"
#include "hosted_bell.h"

#define RETRY_MS 100u

static struct amp_bell *bells[AMPSOCK_RPMSG]; /* l */

int amp_bell_init(struct amp_bell *b, const char *text, bool listen)
{
	memset(b, 0, sizeof(*b));
	b->listen_fd = b->fd = b->out_fd = -1;
	if (strncmp(text, "fd:", 3) == 0)
		return sscanf(text + 3, "%d,%d", &b->fd, &b->out_fd) == 2 && b->fd >= 0 &&
				       b->out_fd >= 0
			       ? 0
			       : -EINVAL;
	if (strlen(text) >= sizeof(b->path))
		return -ENAMETOOLONG;
	memcpy(b->path, text, strlen(text) + 1);
	if (!listen)
		return 0;
	b->listen_fd = amp_hosted_listen(text);
	return b->listen_fd < 0 ? b->listen_fd : 0;
}

static void hung_up(struct amp_bell *b)
{
	amp_port_unwatch(b->fd);
	close(b->fd);
	b->fd = b->out_fd = -1;
	b->lost = true;
}

static void take(struct amp_bell *b, int fd)
{
	if (b->fd >= 0) /* who comes later is there; the last one did not say goodbye */
		hung_up(b);
	b->fd = b->out_fd = fd;
}

static void drain(int fd)
{
	char buf[64];
	ssize_t n;

	for (unsigned i = 0; i < AMPSOCK_RPMSG; i++) {
		struct amp_bell *b = bells[i];

		if (!b || b->fd != fd)
			continue;
		if (!b->path[0]) {
			amp_port_drain(fd);
			return;
		}
		do
			n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		while (n == (ssize_t)sizeof(buf));
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			hung_up(b);
		return;
	}
}

static void let_in(struct amp_bell *b)
{
	int fd = accept4(b->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	take(b, fd);
	if (amp_port_watch(fd, drain))
		hung_up(b);
}

static void listen_drain(int fd)
{
	for (unsigned i = 0; i < AMPSOCK_RPMSG; i++) {
		if (bells[i] && bells[i]->listen_fd == fd)
			let_in(bells[i]);
	}
}

/* A Unix socket connects at once or not at all. */
static void try_connect(struct amp_bell *b)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return;
	memcpy(sun.sun_path, b->path, sizeof(sun.sun_path));
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 ||
	    amp_port_watch(fd, drain)) {
		close(fd);
		return;
	}
	take(b, fd);
	amp_bell_ring(b); /* whoever is there looks */
}

void amp_bell_look(struct amp_bell *b, uint32_t now_ms)
{
	if (now_ms - b->looked_ms < (b->listen_fd < 0 ? RETRY_MS : 1u))
		return;
	b->looked_ms = now_ms;
	if (b->fd >= 0 && b->path[0])
		drain(b->fd);
	if (b->listen_fd >= 0)
		let_in(b);
	else if (b->fd < 0)
		try_connect(b);
}

void amp_bell_ring(const struct amp_bell *b)
{
	static const uint64_t one = 1;
	ssize_t n = 0;

	if (b->out_fd < 0)
		return;
	if (b->path[0])
		n = send(b->out_fd, &one, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	else
		n = write(b->out_fd, &one, sizeof(one));
	(void)n; /* full: then there is something to read already */
}

void amp_bell_close(struct amp_bell *b)
{
	for (unsigned i = 0; i < AMPSOCK_RPMSG; i++) {
		if (bells[i] == b)
			bells[i] = NULL;
	}
	if (b->listen_fd >= 0) {
		amp_port_unwatch(b->listen_fd);
		close(b->listen_fd);
	}
	if (b->fd >= 0)
		hung_up(b);
	b->listen_fd = -1;
}

int amp_bell_open(struct amp_bell *b)
{
	unsigned i = 0;
	int r = -ENOBUFS;

	while (i < AMPSOCK_RPMSG && bells[i])
		i++;
	if (i < AMPSOCK_RPMSG)
		r = b->listen_fd >= 0 ? amp_port_watch(b->listen_fd, listen_drain)
		    : b->fd >= 0      ? amp_port_watch(b->fd, drain)
				      : 0;
	if (r) {
		amp_bell_close(b);
		return r;
	}
	bells[i] = b;
	b->looked_ms = amp_port_now_ms() - RETRY_MS; /* at once */
	return 0;
}

#endif /* AMPSOCK_HOSTED && AMPSOCK_RPMSG */
