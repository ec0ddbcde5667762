/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The far end of every measurement: one thread, epoll, the protocol of
 * examples/throughput.c: a command byte and a little-endian u64 count, then
 * R: I send count bytes; T: I take count bytes and answer one; P: one byte each
 * way, count times. Prints the port on standard output and serves until it is killed
 * or its standard input ends.
 */
#include "serve.h"

#define BUF_LEN (256 * 1024)

struct conn {
	struct serve_conn c; /* first */
	uint8_t head[9];
	unsigned head_len;
	uint64_t left;
	unsigned owed; /* bytes of answer not yet sent */
};

static char buf[BUF_LEN];

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
		serve_watch(&c->c, EPOLLOUT);
	else if (c->head[0] == 'T' && c->left == 0)
		c->owed = 1;
	return 0;
}

static int input(struct conn *c)
{
	ssize_t n;

	if (c->head_len < sizeof(c->head)) {
		n = recv(c->c.fd, c->head + c->head_len, sizeof(c->head) - c->head_len, 0);
		if (n <= 0)
			return n < 0 && errno == EAGAIN ? 0 : -1;
		c->head_len += (unsigned)n;
		return c->head_len < sizeof(c->head) ? 0 : head_done(c);
	}
	n = recv(c->c.fd, buf, sizeof(buf), 0);
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

/*
 * Of bulk one piece, then the other connections have their turn: a receiver that keeps up never
 * makes send() say EAGAIN, and a byte beside it would wait as long as that lasts.
 */
static int output(struct conn *c)
{
	ssize_t n;

	if (c->head[0] != 'R') {
		while (c->owed) {
			n = send(c->c.fd, buf, c->owed, MSG_NOSIGNAL);
			if (n < 0)
				return errno == EAGAIN ? 0 : -1;
			c->owed -= (unsigned)n;
		}
		return 0;
	}
	if (c->left) {
		n = send(c->c.fd, buf, c->left < sizeof(buf) ? c->left : sizeof(buf),
			 MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		c->left -= (uint64_t)n;
	}
	if (c->left == 0)
		serve_watch(&c->c, EPOLLIN);
	return 0;
}

static void ready(struct serve_conn *sc, uint32_t events)
{
	struct conn *c = (struct conn *)sc;

	if (((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && input(c) < 0) ||
	    (c->head_len == sizeof(c->head) && output(c) < 0))
		serve_over(sc);
}

int main(int argc, char **argv)
{
	return serve_loop((uint16_t)(argc > 1 ? atoi(argv[1]) : 0), sizeof(struct conn), ready);
}
