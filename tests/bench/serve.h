/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A TCP server on loopback in one thread, for as many connections as there are: the far end of
 * measurements (server.c) and of load (tests/load/peer.c). Prints its port, and serves until
 * standard input ends. What it says is the program's: its struct of a connection begins with
 * struct serve_conn, and ready() is called with what epoll says of one.
 */
#ifndef BENCH_SERVE_H
#define BENCH_SERVE_H

#include <errno.h>
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

struct serve_conn {
	int fd;
	uint32_t events; /* 0: epoll does not know it yet */
};

static int serve_ep;

static inline void serve_watch(struct serve_conn *c, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};
	int op = c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (c->events == events)
		return;
	c->events = events;
	if (epoll_ctl(serve_ep, op, c->fd, &ev) < 0) {
		perror("epoll_ctl");
		exit(1);
	}
}

/* conn_len: of the program's struct, which starts as zeroes. */
static inline void serve_take(int listener, size_t conn_len)
{
	int one = 1, fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		struct serve_conn *c = calloc(1, conn_len);

		if (!c)
			abort();
		c->fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		serve_watch(c, EPOLLIN);
	}
}

static inline void serve_over(struct serve_conn *c)
{
	close(c->fd);
	free(c);
}

static inline void serve_many_files(void)
{
	struct rlimit files = {65536, 65536};

	if (setrlimit(RLIMIT_NOFILE, &files) < 0 && getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

/* main(). port: 0 for any. ready() ends a connection with serve_over(). */
static inline int serve_loop(uint16_t port, size_t conn_len,
			     void (*ready)(struct serve_conn *, uint32_t events))
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons(port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int one = 1, l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct serve_conn listener = {.fd = l}, quit = {.fd = 0};
	struct epoll_event ev[64];

	serve_many_files();
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	serve_ep = epoll_create1(0);
	if (bind(l, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(l, 4096) < 0 ||
	    getsockname(l, (struct sockaddr *)&a, &len) < 0) {
		perror("listen");
		return 1;
	}
	serve_watch(&listener, EPOLLIN);
	serve_watch(&quit, EPOLLIN);
	printf("%d\n", ntohs(a.sin_port));
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(serve_ep, ev, 64, -1);

		for (int i = 0; i < n; i++) {
			struct serve_conn *c = ev[i].data.ptr;

			if (c == &quit)
				return 0;
			if (c == &listener)
				serve_take(l, conn_len);
			else
				ready(c, ev[i].events);
		}
	}
}

#endif
