/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The load, written once on sockets and built twice: on Linux's own (the direct figure, and
 * socat's) and on the hosted library (ours). Speaks examples/throughput.c's protocol.
 *
 *	load up|down|rt|conn ADDRESS PORT STREAMS COUNT
 *
 * up, down: COUNT bytes in all over STREAMS connections; rt: COUNT one-byte round trips in
 * all; conn: COUNT connections in all, STREAMS at a time, one round trip on each.
 * Prints: COUNT and the seconds it took. Exit 1 with a message when anything was not right.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUF_LEN	    (128 * 1024)
#define STREAMS_MAX 2048

enum state { IDLE, CONNECTING, HEAD, RUN, ANSWER };

struct stream {
	int fd;
	enum state state;
	unsigned head_sent;
	uint64_t left; /* bytes, or round trips */
	uint8_t head[9];
	uint8_t waiting; /* rt: the byte is on its way */
};

static char buf[BUF_LEN];
static struct stream st[STREAMS_MAX];
static struct pollfd pfd[STREAMS_MAX];
static struct sockaddr_in peer = {.sin_family = AF_INET};
static uint64_t to_open; /* conn: connections still to be opened */
static unsigned live;
static int mode;

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void head_set(struct stream *s, char op, uint64_t count)
{
	unsigned i;

	s->head[0] = (uint8_t)op;
	for (i = 0; i < 8; i++)
		s->head[1 + i] = (uint8_t)(count >> (8 * i));
	s->left = count;
	s->head_sent = 0;
}

static void open_stream(struct stream *s, char op, uint64_t count)
{
	int one = 1;

	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (s->fd < 0)
		die("socket");
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (ioctl(s->fd, FIONBIO, &one) < 0)
		die("FIONBIO");
	head_set(s, op, count);
	s->waiting = 0;
	s->state = HEAD;
	if (connect(s->fd, (struct sockaddr *)&peer, sizeof(peer)) < 0) {
		if (errno != EINPROGRESS)
			die("connect");
		s->state = CONNECTING;
	}
	live++;
}

static void close_stream(struct stream *s)
{
	close(s->fd);
	s->state = IDLE;
	live--;
	if (to_open) {
		to_open--;
		open_stream(s, 'P', 1);
	}
}

/* 0: not now. */
static size_t moved(ssize_t n, const char *what)
{
	if (n > 0)
		return (size_t)n;
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n == 0)
		errno = ECONNABORTED;
	die(what);
	return 0;
}

/* One turn of a stream that is ready. False: it has to wait. */
static int turn(struct stream *s)
{
	size_t n;
	int err = 0;
	socklen_t len = sizeof(err);

	switch (s->state) {
	case CONNECTING:
		if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 || err) {
			errno = err ? err : errno;
			die("connect");
		}
		s->state = HEAD;
		return 1;
	case HEAD:
		n = moved(
			send(s->fd, s->head + s->head_sent, sizeof(s->head) - s->head_sent, 0),
			"send");
		s->head_sent += (unsigned)n;
		if (s->head_sent == sizeof(s->head))
			s->state = RUN;
		return n > 0;
	case RUN:
		if (s->head[0] == 'T') {
			n = moved(send(s->fd, buf,
				       s->left < BUF_LEN ? (size_t)s->left : BUF_LEN, 0),
				  "send");
			s->left -= n;
			if (s->left == 0)
				s->state = ANSWER;
			return n > 0;
		}
		if (s->head[0] == 'R') {
			n = moved(recv(s->fd, buf,
				       s->left < BUF_LEN ? (size_t)s->left : BUF_LEN, 0),
				  "recv");
			s->left -= n;
			if (s->left == 0)
				close_stream(s);
			return n > 0 && s->state == RUN;
		}
		if (!s->waiting) {
			s->waiting = moved(send(s->fd, buf, 1, 0), "send") == 1;
			return 0;
		}
		if (moved(recv(s->fd, buf, 1, 0), "recv") == 0)
			return 0;
		s->waiting = 0;
		if (--s->left == 0) {
			close_stream(s);
			return 0;
		}
		return 1;
	case ANSWER:
		if (moved(recv(s->fd, buf, 1, 0), "recv"))
			close_stream(s);
		return 0;
	case IDLE:
		break;
	}
	return 0;
}

static short wants(const struct stream *s)
{
	switch (s->state) {
	case CONNECTING:
	case HEAD:
		return POLLOUT;
	case RUN:
		if (s->head[0] == 'T')
			return POLLOUT;
		return s->head[0] == 'R' || s->waiting ? POLLIN : POLLOUT;
	default:
		return POLLIN;
	}
}

static void drive(unsigned streams)
{
	unsigned i, cnt;

	while (live) {
		for (i = 0, cnt = 0; i < streams; i++) {
			if (st[i].state == IDLE)
				continue;
			pfd[cnt].fd = st[i].fd;
			pfd[cnt].events = wants(&st[i]);
			pfd[cnt].revents = 0;
			cnt++;
		}
		if (poll(pfd, cnt, 20000) <= 0) {
			errno = ETIMEDOUT;
			die("nothing moves");
		}
		/* Idle streams stay idle within one round, so both lists have one order. */
		for (i = 0, cnt = 0; i < streams; i++) {
			if (st[i].state == IDLE)
				continue;
			if (pfd[cnt].fd != st[i].fd)
				continue;
			if (pfd[cnt++].revents) {
				int budget = 4;

				while (turn(&st[i]) && --budget > 0)
					;
			}
		}
	}
}

int main(int argc, char **argv)
{
	static const char names[] = "T" /* up */ "R" /* down */ "P" /* rt */ "P" /* conn */;
	static const char *const modes[] = {"up", "down", "rt", "conn"};
	struct timespec from, to;
	unsigned streams, i;
	uint64_t count;

	for (mode = 0; argc == 6 && mode < 4 && strcmp(argv[1], modes[mode]); mode++)
		;
	if (argc != 6 || mode == 4 || inet_pton(AF_INET, argv[2], &peer.sin_addr) != 1) {
		fprintf(stderr, "usage: load up|down|rt|conn ADDRESS PORT STREAMS COUNT\n");
		return 2;
	}
	peer.sin_port = htons((uint16_t)atoi(argv[3]));
	streams = (unsigned)atoi(argv[4]);
	count = strtoull(argv[5], NULL, 10);
	if (streams == 0 || streams > STREAMS_MAX || count < streams) {
		fprintf(stderr, "load: 1 to %d streams, at least one each\n", STREAMS_MAX);
		return 2;
	}
	clock_gettime(CLOCK_MONOTONIC, &from);
	to_open = 0;
	for (i = 0; i < streams; i++)
		open_stream(&st[i], names[mode], mode == 3 ? 1 : count / streams);
	to_open = mode == 3 ? count - streams : 0;
	drive(streams);
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%llu %.6f\n",
	       (unsigned long long)(mode == 3 ? count : count / streams * streams),
	       (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
	return 0;
}
