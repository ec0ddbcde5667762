/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What handover.c and restart.c share: firmware that keeps a connection busy with chunks that
 * come back as they went, and takes connections to echo. Each includes it once, with CHUNK
 * and BUF_LEN (bytes) defined.
 */
#ifndef TALK_H
#define TALK_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAUSE_MS 20 /* before the next attempt to connect */

static struct sockaddr_in server = {.sin_family = AF_INET};
static uint8_t buf[BUF_LEN], pattern[CHUNK];
static size_t sent, got; /* of the chunk that is on its way */
static unsigned long turns, bad;

static void complain(const char *what, int value)
{
	bad++;
	printf("BAD %s (%d)\n", what, value);
}

/* argv: HOST PORT of the echo server. */
static bool talk_args(int argc, char **argv)
{
	server.sin_port = htons((uint16_t)(argc > 2 ? atoi(argv[2]) : 0));
	return argc == 3 && inet_pton(AF_INET, argv[1], &server.sin_addr) == 1;
}

static void talk_set_up(struct pollfd *fds, int cnt)
{
	for (int i = 0; i < cnt; i++) {
		fds[i].fd = -1;
		fds[i].events = POLLIN;
	}
	for (int i = 0; i < CHUNK; i++)
		pattern[i] = (uint8_t)(i * 31 + i / 256);
}

/* type: SOCK_STREAM for a listener that does not block. */
static int talk_bind(int family, int type, const void *addr, socklen_t len, const char *what)
{
	int fd = socket(family, type, 0);

	if (bind(fd, addr, len) || (type == SOCK_STREAM && listen(fd, 4)))
		complain(what, errno);
	if (type == SOCK_STREAM)
		(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static int talk_listen_tcp(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(80)};

	return talk_bind(AF_INET, SOCK_STREAM, &in, sizeof(in), "listen on port 80");
}

/* Into a free one of conns[cnt], or not at all. */
static void accept_one(int listener, struct pollfd *conns, int cnt)
{
	int fd = accept(listener, NULL, NULL), i;

	if (fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED && errno != ECONNRESET)
			complain("accept", errno);
		return;
	}
	for (i = 0; i < cnt && conns[i].fd >= 0; i++)
		;
	if (i == cnt) {
		close(fd);
		return;
	}
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	conns[i].fd = fd;
	conns[i].events = POLLIN;
}

/*
 * One chunk there, the same back, and, if it goes on, the next. False: it is over, by err (0: the
 * other end has closed it, or the chunk was the last).
 */
static bool talk(struct pollfd *p, bool on, int *err)
{
	ssize_t n = recv(p->fd, buf, CHUNK - got, 0);

	*err = n < 0 ? errno : 0;
	if (n > 0 && memcmp(buf, pattern + got, (size_t)n) != 0)
		complain("bytes that were never sent", (int)got);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		return false;
	if (n > 0)
		got += (size_t)n;
	if (got == CHUNK) {
		turns++;
		sent = got = 0;
		if (!on)
			return false;
	}
	n = sent < CHUNK ? send(p->fd, pattern + sent, CHUNK - sent, MSG_NOSIGNAL) : 0;
	*err = n < 0 ? errno : 0;
	if (n > 0)
		sent += (size_t)n;
	else if (n < 0 && errno != EAGAIN)
		return false;
	p->events = sent < CHUNK ? POLLOUT | POLLIN : POLLIN;
	return true;
}

#endif
