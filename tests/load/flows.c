/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Flows by the thousand: written once on sockets and built twice, on Linux's own (the direct
 * figure) and on the hosted library (a guest behind the proxy). peer.c is at the other end.
 *
 * A line of standard input is "ID COMMAND ARGUMENT..."; each is done in a thread of its own
 * and answers one line, "ID ok SECONDS" or "ID error WHAT". End of input ends the program.
 *
 *	open  GROUP COUNT ADDRESS PORT     COUNT connections that stay
 *	echo  GROUP BYTES                  each sends BYTES and has to get the same ones back
 *	push  GROUP BYTES                  each sends BYTES
 *	pull  GROUP BYTES                  each is sent BYTES
 *	ask   GROUP BYTES                  each asks for BYTES and reads none of them
 *	drink GROUP                        what was asked for is read, and compared
 *	fill  GROUP                        each sends until its socket takes no more
 *	close GROUP | reset GROUP          with FIN, with RST
 *	churn COUNT AT_ONCE ADDRESS PORT fin|rst
 *	                                   COUNT connections, a byte there and back on each
 *	up BYTES ADDRESS PORT              one connection, BYTES one way
 *	down BYTES ADDRESS PORT
 *	name HOST                          getaddrinfo(): "ID ok SECONDS" or "ID error CODE"
 *
 * What goes over connection n is the n-th stretch of a pattern whose period no buffer divides,
 * so that a byte that is lost, doubled or another connection's is found where it is.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "pattern.h"

#define GROUPS	   16
#define STREAMS	   2048
#define AT_ONCE	   64 /* connections that open() has under way */
#define PIECE	   PATTERN_PIECE
#define TIMEOUT_MS 120000

enum state { IDLE, CONNECTING, HEAD, MOVE, DONE };

struct stream {
	int fd;
	enum state state;
	unsigned seed;
	unsigned head_sent;
	uint8_t head[PEER_HEAD];
	uint64_t out, in; /* bytes moved of this command */
	uint64_t out_len, in_len;
};

struct group {
	struct stream *st;
	unsigned cnt;
};

struct job {
	char line[256];
	char *arg[8];
	int argc;
	struct sockaddr_in peer;
	char why[128];
	uint64_t at; /* churn: opened so far */
	uint64_t count;
	unsigned at_once;
	int rst;
};

static struct group groups[GROUPS];
static unsigned next_seed;

static int fail(struct job *j, const char *what)
{
	snprintf(j->why, sizeof(j->why), "%s: %s", what, strerror(errno));
	return -1;
}

static void head_set(struct stream *s, char op, uint64_t out_len, uint64_t in_len)
{
	peer_head_put(s->head, op, s->seed, op == 'R' ? in_len : out_len);
	s->head_sent = 0;
	s->out = s->in = 0;
	s->out_len = out_len;
	s->in_len = in_len;
	s->state = HEAD;
}

static int open_one(struct job *j, struct stream *s)
{
	int one = 1;

	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (s->fd < 0)
		return fail(j, "socket");
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (ioctl(s->fd, FIONBIO, &one) < 0)
		return fail(j, "FIONBIO");
	s->state = CONNECTING; /* poll() says when, also when it is there at once */
	if (connect(s->fd, (struct sockaddr *)&j->peer, sizeof(j->peer)) < 0 &&
	    errno != EINPROGRESS)
		return fail(j, "connect");
	return 0;
}

static void close_one(struct stream *s, int rst)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	if (rst)
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(s->fd);
	s->state = IDLE;
}

/* 1: moved, 0: not now. */
static int connected(struct job *j, struct stream *s)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 || err) {
		errno = err ? err : errno;
		return fail(j, "connect");
	}
	s->state = s->out_len + s->in_len ? HEAD : DONE;
	return 1;
}

static int send_some(struct job *j, struct stream *s, const uint8_t *from, size_t len)
{
	ssize_t n = send(s->fd, from, len, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN ? 0 : fail(j, "send");
	return (int)n;
}

static int take_some(struct job *j, struct stream *s)
{
	uint8_t buf[PIECE];
	size_t want = s->in_len - s->in < PIECE ? (size_t)(s->in_len - s->in) : PIECE;
	ssize_t n = recv(s->fd, buf, want, 0);

	if (n < 0)
		return errno == EAGAIN ? 0 : fail(j, "recv");
	if (n == 0) {
		errno = ECONNABORTED;
		return fail(j, "recv");
	}
	if (memcmp(buf, pattern_at(s->seed, s->in), (size_t)n)) {
		snprintf(j->why, sizeof(j->why), "stream %u: other bytes behind %llu", s->seed,
			 (unsigned long long)s->in);
		return -1;
	}
	s->in += (uint64_t)n;
	return (int)n;
}

/* One turn of a stream that is ready: > 0 moved, 0 has to wait, < 0 failed. */
static int turn(struct job *j, struct stream *s)
{
	int n, m = 0;

	switch (s->state) {
	case CONNECTING:
		return connected(j, s);
	case HEAD:
		n = send_some(j, s, s->head + s->head_sent, PEER_HEAD - s->head_sent);
		if (n > 0)
			s->head_sent += (unsigned)n;
		if (s->head_sent == PEER_HEAD)
			s->state = s->out_len + s->in_len ? MOVE : DONE;
		return n;
	case MOVE:
		if (s->out < s->out_len) {
			uint64_t left = s->out_len - s->out;

			n = send_some(j, s, pattern_at(s->seed, s->out),
				      left < PIECE ? (size_t)left : PIECE);
			if (n < 0)
				return n;
			s->out += (uint64_t)n;
			m = n;
		}
		if (s->in < s->in_len) {
			n = take_some(j, s);
			if (n < 0)
				return n;
			m += n;
		}
		if (s->out == s->out_len && s->in == s->in_len)
			s->state = DONE;
		return m;
	default:
		return 0;
	}
}

static short wants(const struct stream *s)
{
	short ev = s->state == MOVE && s->in < s->in_len ? POLLIN : 0;

	if (s->state != MOVE || s->out < s->out_len)
		ev |= POLLOUT;
	return ev;
}

/* A connection of churn() is through: the next in its place. */
static int next_one(struct job *j, struct stream *s)
{
	close_one(s, j->rst);
	if (j->at == j->count)
		return 0;
	j->at++;
	s->seed = __atomic_fetch_add(&next_seed, 1, __ATOMIC_RELAXED);
	head_set(s, 'E', 1, 1);
	return open_one(j, s) ? -1 : 0;
}

/* Until every stream is DONE; churn: IDLE. */
static int drive(struct job *j, struct stream *st, unsigned cnt)
{
	struct pollfd *p = calloc(cnt, sizeof(*p));
	unsigned *who = calloc(cnt, sizeof(*who)), n;
	int r = 0;

	do {
		n = 0;
		for (unsigned i = 0; i < cnt; i++) {
			if (st[i].state == IDLE || st[i].state == DONE)
				continue;
			p[n] = (struct pollfd){.fd = st[i].fd, .events = wants(&st[i])};
			who[n++] = i;
		}
		if (n && poll(p, n, TIMEOUT_MS) <= 0) {
			errno = ETIMEDOUT;
			r = fail(j, "nothing moves");
		}
		for (unsigned i = 0; i < n && r >= 0; i++) {
			struct stream *s = &st[who[i]];
			int budget = 4;

			while (p[i].revents && budget-- && (r = turn(j, s)) > 0 &&
			       s->state != DONE)
				;
			if (r >= 0 && s->state == DONE && j->count)
				r = next_one(j, s);
		}
	} while (n && r >= 0);
	free(p);
	free(who);
	return r < 0 ? -1 : 0;
}

/* ---- commands ---- */

static uint64_t num(const struct job *j, int i)
{
	return i < j->argc ? strtoull(j->arg[i], NULL, 10) : 0;
}

static int to(struct job *j, int i)
{
	j->peer.sin_family = AF_INET;
	j->peer.sin_port = htons((uint16_t)num(j, i + 1));
	if (i + 1 < j->argc && inet_pton(AF_INET, j->arg[i], &j->peer.sin_addr) == 1)
		return 0;
	errno = EINVAL;
	return fail(j, "ADDRESS PORT");
}

static struct group *group(struct job *j)
{
	return &groups[num(j, 2) % GROUPS];
}

static int do_open(struct job *j)
{
	struct group *g = group(j);
	unsigned cnt = (unsigned)num(j, 3);

	if (to(j, 4))
		return -1;
	g->st = calloc(cnt, sizeof(*g->st));
	g->cnt = cnt;
	for (unsigned at = 0; at < cnt; at += AT_ONCE) {
		unsigned n = cnt - at < AT_ONCE ? cnt - at : AT_ONCE;

		for (unsigned i = at; i < at + n; i++) {
			g->st[i].seed = __atomic_fetch_add(&next_seed, 1, __ATOMIC_RELAXED);
			if (open_one(j, &g->st[i]))
				return -1;
		}
		if (drive(j, g->st + at, n))
			return -1;
	}
	return 0;
}

static int do_move(struct job *j)
{
	struct group *g = group(j);
	uint64_t len = num(j, 3);
	char op = strcmp(j->arg[1], "echo") == 0   ? 'E'
		  : strcmp(j->arg[1], "push") == 0 ? 'T'
						   : 'R';

	for (unsigned i = 0; i < g->cnt; i++)
		head_set(&g->st[i], op, op == 'R' ? 0 : len, op == 'T' ? 1 : len);
	return drive(j, g->st, g->cnt);
}

static int do_ask(struct job *j)
{
	struct group *g = group(j);

	for (unsigned i = 0; i < g->cnt; i++)
		head_set(&g->st[i], 'R', 0, 0);
	for (unsigned i = 0; i < g->cnt; i++)
		peer_head_put(g->st[i].head, 'R', g->st[i].seed, num(j, 3));
	if (drive(j, g->st, g->cnt))
		return -1;
	for (unsigned i = 0; i < g->cnt; i++)
		g->st[i].in_len = num(j, 3);
	return 0;
}

static int do_drink(struct job *j)
{
	struct group *g = group(j);

	for (unsigned i = 0; i < g->cnt; i++)
		g->st[i].state = MOVE;
	return drive(j, g->st, g->cnt);
}

static int do_fill(struct job *j)
{
	struct group *g = group(j);

	for (unsigned i = 0; i < g->cnt; i++) {
		struct stream *s = &g->st[i];
		struct pollfd p = {.fd = s->fd, .events = POLLOUT};
		int n;

		/* what the socket takes at once; then, once more, what it takes in a while */
		do {
			n = send_some(j, s, pattern_at(s->seed, s->out), PIECE);
			if (n > 0)
				s->out += (uint64_t)n;
			else if (n == 0 && poll(&p, 1, 200) > 0)
				n = 1;
		} while (n > 0);
		if (n < 0)
			return -1;
	}
	return 0;
}

static int do_close(struct job *j)
{
	struct group *g = group(j);

	for (unsigned i = 0; i < g->cnt; i++) {
		if (g->st[i].state != IDLE) /* an open() that failed stops in the middle */
			close_one(&g->st[i], j->arg[1][0] == 'r');
	}
	free(g->st);
	g->st = NULL;
	g->cnt = 0;
	return 0;
}

static int do_churn(struct job *j)
{
	unsigned n = (unsigned)num(j, 3);
	struct stream *st = calloc(n, sizeof(*st));
	int r = 0;

	if (to(j, 4))
		return -1;
	j->count = num(j, 2);
	j->rst = j->argc > 6 && strcmp(j->arg[6], "rst") == 0;
	for (unsigned i = 0; i < n && !r; i++) {
		j->at++;
		st[i].seed = __atomic_fetch_add(&next_seed, 1, __ATOMIC_RELAXED);
		head_set(&st[i], 'E', 1, 1);
		r = open_one(j, &st[i]);
	}
	if (!r)
		r = drive(j, st, n);
	free(st);
	return r;
}

static int do_bulk(struct job *j)
{
	int up = strcmp(j->arg[1], "up") == 0;
	struct stream s = {.seed = 0};

	if (to(j, 3))
		return -1;
	head_set(&s, up ? 'T' : 'R', up ? num(j, 2) : 0, up ? 1 : num(j, 2));
	if (open_one(j, &s))
		return -1;
	if (drive(j, &s, 1))
		return -1;
	close_one(&s, 0);
	return 0;
}

static int do_name(struct job *j)
{
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *res;
	int r = getaddrinfo(j->argc > 2 ? j->arg[2] : "", NULL, &hints, &res);

	if (r == 0)
		freeaddrinfo(res);
	else
		snprintf(j->why, sizeof(j->why), "%d", r);
	return r ? -1 : 0;
}

static const struct {
	const char *name;
	int (*run)(struct job *j);
} commands[] = {
	{"open", do_open},   {"echo", do_move},	  {"push", do_move}, {"pull", do_move},
	{"ask", do_ask},     {"drink", do_drink}, {"fill", do_fill}, {"close", do_close},
	{"reset", do_close}, {"churn", do_churn}, {"up", do_bulk},   {"down", do_bulk},
	{"name", do_name},
};

static void *work(void *arg)
{
	struct job *j = arg;
	struct timespec from, till;
	int r = -1;

	snprintf(j->why, sizeof(j->why), "no such command");
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (unsigned i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (j->argc > 1 && strcmp(commands[i].name, j->arg[1]) == 0)
			r = commands[i].run(j);
	}
	clock_gettime(CLOCK_MONOTONIC, &till);
	if (r)
		printf("%s error %s\n", j->arg[0], j->why);
	else
		printf("%s ok %.6f\n", j->arg[0],
		       (double)(till.tv_sec - from.tv_sec) +
			       (double)(till.tv_nsec - from.tv_nsec) / 1e9);
	free(j);
	return NULL;
}

static void start(char *line)
{
	struct job *j = calloc(1, sizeof(*j));
	size_t len = strnlen(line, sizeof(j->line) - 1);
	pthread_t t;
	char *save;

	memcpy(j->line, line, len);
	for (char *w = strtok_r(j->line, " ", &save); w && j->argc < 8;
	     w = strtok_r(NULL, " ", &save))
		j->arg[j->argc++] = w;
	if (j->argc && pthread_create(&t, NULL, work, j) == 0)
		pthread_detach(t);
	else
		free(j);
}

int main(void)
{
	char text[4096];
	size_t len = 0;
	ssize_t n;

	setvbuf(stdout, NULL, _IOLBF, 0);
	pattern_make();
	printf("0 ok 0\n");
	/* read() is the library's in a guest: it moves the rings while no command runs */
	while ((n = read(0, text + len, sizeof(text) - 1 - len)) > 0) {
		char *line = text, *end;

		len += (size_t)n;
		text[len] = '\0';
		while ((end = strchr(line, '\n')) != NULL) {
			*end = '\0';
			start(line);
			line = end + 1;
		}
		len -= (size_t)(line - text);
		memmove(text, line, len);
	}
	fflush(stdout);
	return 0;
}
