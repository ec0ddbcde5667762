/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The far end of every measurement: one thread, epoll, the protocol of
 * examples/throughput.c: a command byte and a little-endian u64 count, then
 * R: I send count bytes; T: I take count bytes and answer one; P: one byte each
 * way, count times. Prints the port on standard output and serves until it is killed
 * or its standard input ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUF_LEN (256 * 1024)

struct conn {
	int fd;
	uint8_t head[9];
	unsigned head_len;
	uint64_t left;
	unsigned owed; /* bytes of answer not yet sent */
};

static char buf[BUF_LEN];
static int ep;

static void watch(struct conn *c, uint32_t events, int op)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};

	if (epoll_ctl(ep, op, c->fd, &ev) < 0) {
		perror("epoll_ctl");
		exit(1);
	}
}

static void take(int listener)
{
	int one = 1, fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		struct conn *c = calloc(1, sizeof(*c));

		if (!c)
			abort();
		c->fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		watch(c, EPOLLIN, EPOLL_CTL_ADD);
	}
}

/* -1: the connection is over. */
static int head_done(struct conn *c)
{
	unsigned i;

	c->left = 0;
	for (i = 8; i > 0; i--)
		c->left = c->left << 8 | c->head[i];
	if (!strchr("RTP", c->head[0]) || c->head[0] == 0)
		return -1;
	if (c->head[0] == 'R')
		watch(c, EPOLLOUT, EPOLL_CTL_MOD);
	else if (c->head[0] == 'T' && c->left == 0)
		c->owed = 1;
	return 0;
}

static int input(struct conn *c)
{
	ssize_t n;

	if (c->head_len < sizeof(c->head)) {
		n = recv(c->fd, c->head + c->head_len, sizeof(c->head) - c->head_len, 0);
		if (n <= 0)
			return n < 0 && errno == EAGAIN ? 0 : -1;
		c->head_len += (unsigned)n;
		return c->head_len < sizeof(c->head) ? 0 : head_done(c);
	}
	n = recv(c->fd, buf, sizeof(buf), 0);
	if (n <= 0)
		return n < 0 && errno == EAGAIN ? 0 : -1;
	if ((uint64_t)n > c->left)
		return -1;
	c->left -= (uint64_t)n;
	if (c->head[0] == 'P')
		c->owed += (unsigned)n;
	else if (c->left == 0)
		c->owed = 1;
	return 0;
}

static int output(struct conn *c)
{
	ssize_t n;

	if (c->head[0] != 'R') {
		while (c->owed) {
			n = send(c->fd, buf, c->owed, MSG_NOSIGNAL);
			if (n < 0)
				return errno == EAGAIN ? 0 : -1;
			c->owed -= (unsigned)n;
		}
		return 0;
	}
	while (c->left) {
		n = send(c->fd, buf, c->left < sizeof(buf) ? c->left : sizeof(buf),
			 MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		c->left -= (uint64_t)n;
	}
	watch(c, EPOLLIN, EPOLL_CTL_MOD);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct rlimit files = {65536, 65536};
	socklen_t len = sizeof(a);
	int one = 1, l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct conn listener = {.fd = l}, quit = {.fd = 0};
	struct epoll_event ev[64];
	int i, n;

	if (argc > 1)
		a.sin_port = htons((uint16_t)atoi(argv[1]));
	setrlimit(RLIMIT_NOFILE, &files);
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	ep = epoll_create1(0);
	if (bind(l, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(l, 4096) < 0 ||
	    getsockname(l, (struct sockaddr *)&a, &len) < 0) {
		perror("server");
		return 1;
	}
	watch(&listener, EPOLLIN, EPOLL_CTL_ADD);
	watch(&quit, EPOLLIN, EPOLL_CTL_ADD);
	printf("%d\n", ntohs(a.sin_port));
	fflush(stdout);
	for (;;) {
		n = epoll_wait(ep, ev, 64, -1);
		for (i = 0; i < n; i++) {
			struct conn *c = ev[i].data.ptr;

			if (c == &quit)
				return 0;
			if (c == &listener) {
				take(l);
				continue;
			}
			if (((ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) &&
			     input(c) < 0) ||
			    (c->head_len == sizeof(c->head) && output(c) < 0)) {
				close(c->fd);
				free(c);
			}
		}
	}
}
