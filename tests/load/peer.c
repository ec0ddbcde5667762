/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The far end of flows.c: one thread, epoll, thousands of connections. Prints its port and
 * serves until standard input ends. pattern.h has the protocol. What comes is compared with
 * the pattern, too: a connection that brings other bytes is reset.
 */
#include "../bench/serve.h"
#include "pattern.h"

#define AHEAD 65536u /* bytes of an echo that may wait to be sent */

struct conn {
	struct serve_conn c; /* first */
	uint8_t head[PEER_HEAD];
	unsigned head_len;
	char op;
	uint64_t seed;
	uint64_t in, in_len;   /* bytes of the command */
	uint64_t out, out_len; /* E: out_len follows in */
};

static int head(struct conn *c)
{
	uint64_t count = peer_head_num(c->head + 9);

	c->op = (char)c->head[0];
	c->seed = peer_head_num(c->head + 1);
	c->in = c->out = 0;
	c->in_len = c->op == 'R' ? 0 : count;
	c->out_len = c->op == 'R' ? count : c->op == 'T' && count == 0;
	return c->op == 'E' || c->op == 'R' || c->op == 'T' ? 0 : -1;
}

/* -1: over, 0: not now, 1: go on. */
static int input(struct conn *c)
{
	uint8_t buf[16384];
	int in_head = c->in == c->in_len && c->out == c->out_len;
	uint64_t left = in_head ? PEER_HEAD - c->head_len : c->in_len - c->in;
	size_t want = left < sizeof(buf) ? (size_t)left : sizeof(buf);
	ssize_t n;

	if (c->op == 'E' && want > AHEAD - (c->in - c->out))
		want = AHEAD - (c->in - c->out);
	if (want == 0)
		return 0;
	n = recv(c->c.fd, buf, want, 0);
	if (n <= 0)
		return n < 0 && errno == EAGAIN ? 0 : -1;
	if (in_head) {
		memcpy(c->head + c->head_len, buf, (size_t)n);
		c->head_len += (unsigned)n;
		if (c->head_len < PEER_HEAD)
			return 1;
		c->head_len = 0;
		return head(c) ? -1 : 1;
	}
	if (memcmp(buf, pattern_at(c->seed, c->in), (size_t)n))
		return -1;
	c->in += (uint64_t)n;
	if (c->op == 'E')
		c->out_len = c->in;
	else if (c->in == c->in_len)
		c->out_len = 1;
	return 1;
}

static int output(struct conn *c)
{
	while (c->out < c->out_len) {
		uint64_t left = c->out_len - c->out;
		ssize_t n =
			send(c->c.fd, pattern_at(c->seed, c->out),
			     left < PATTERN_PIECE ? (size_t)left : PATTERN_PIECE, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		c->out += (uint64_t)n;
	}
	return 0;
}

static void ready(struct serve_conn *sc, uint32_t events)
{
	struct conn *c = (struct conn *)sc;
	static const struct linger now = {.l_onoff = 1, .l_linger = 0};
	int r, budget = 8;

	(void)events; /* both ways are tried, whatever came */
	do {
		r = input(c);
		if (r >= 0 && output(c) < 0)
			r = -1;
	} while (r > 0 && --budget);
	if (r < 0) {
		if (c->in < c->in_len)
			setsockopt(c->c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		serve_over(sc);
		return;
	}
	/* the next head waits until the answer is out; so does what an echo has no room for */
	if (c->out == c->out_len)
		serve_watch(sc, EPOLLIN);
	else if (c->in < c->in_len && c->in - c->out < AHEAD)
		serve_watch(sc, EPOLLOUT | EPOLLIN);
	else
		serve_watch(sc, EPOLLOUT);
}

int main(void)
{
	pattern_make();
	return serve_loop(0, sizeof(struct conn), ready);
}
