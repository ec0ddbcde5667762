/* SPDX-License-Identifier: BSD-3-Clause */
/* What runs out: descriptors, room, patience; and that it comes back. */
#include <string.h>

#include "conform.h"

/* As many sockets as there are. */
static unsigned take_all(struct ct *t)
{
	unsigned n = 0;
	int fd;

	while (n < CT_FDS - 24 && (fd = socket(t->tr->family, t->tr->type, 0)) >= 0) {
		ct_own(t, fd);
		n++;
	}
	CT_TRUE(n > 0 && n < CT_FDS - 24);
	CT_TRUE(errno == EMFILE || errno == ENFILE);
	return n;
}

/* But for `but` of them. */
static void give_all(struct ct *t, unsigned n, unsigned but)
{
	while (n-- > but)
		ct_close(t, t->fds[t->nfds - 1]);
}

static void sockets(struct ct *t)
{
	unsigned n, again = take_all(t), tries = 0;

	/* those of the case before may still be closing */
	do {
		CT_TRUE(tries++ < 200);
		n = again;
		give_all(t, n, 0);
		(void)poll(NULL, 0, 10);
		again = take_all(t);
	} while (again != n);
	CT_ERR2(socket(t->tr->family, t->tr->type, 0), EMFILE, ENFILE);
	ct_close(t, t->fds[t->nfds - 1]);
	(void)ct_socket(t, 0);
	CT_ERR2(socket(t->tr->family, t->tr->type, 0), EMFILE, ENFILE);
	give_all(t, n, 0);
	(void)ct_socket(t, 0);
}

/* Linux: one that waits to be accepted is not lost because there is no descriptor for it. Here
 * the backlog is of the same pool: it is refused, or reset. Both work again afterwards. */
static void accept_a(struct ct *t)
{
	int lfd = ct_listen(t, 4), fd;
	unsigned n;
	char c;

	ct_wait(t, "socket");
	n = take_all(t);
	ct_tell(t, "full");
	ct_wait(t, "connected");
	if (t->has & CT_LINUX) {
		CT_EQ(ct_poll(t, lfd, POLLIN), POLLIN);
		CT_ERR(accept(lfd, NULL, NULL), EMFILE);
		ct_close(t, t->fds[t->nfds - 1]);
		n--;
		fd = ct_accept(t, lfd);
		CT_EQ(recv(fd, &c, 1, 0), 1);
		CT_EQ(c, '1');
		ct_close(t, fd);
	}
	give_all(t, n, 0);
	ct_tell(t, "again");
	do {
		fd = ct_accept(t, lfd);
	} while (recv(fd, &c, 1, 0) != 1 || c != '2');
	ct_tell(t, "done");
}

static void accept_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0), r;

	ct_recv_addr(t, &a);
	ct_timeout(t, fd, SO_SNDTIMEO, 500);
	ct_tell(t, "socket");
	ct_wait(t, "full");
	r = connect(fd, (struct sockaddr *)&a.ss, a.len);
	if (r)
		CT_TRUE(errno == t->tr->e_refused || errno == ENOBUFS || errno == EMFILE);
	else
		(void)send(fd, "1", 1, MSG_NOSIGNAL);
	ct_tell(t, "connected");
	ct_wait(t, "again");
	fd = ct_socket(t, 0);
	CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
	CT_EQ(send(fd, "2", 1, 0), 1);
	ct_wait(t, "done");
}

/* Many at once, each with its own data; then all of them again. */
#define MANY 60

static void many_a(struct ct *t)
{
	int lfd = ct_listen(t, 4), fd[MANY], i, round;
	unsigned char n;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < MANY; i++) {
			fd[i] = ct_accept(t, lfd);
			ct_tell(t, "next");
		}
		for (i = 0; i < MANY; i++) {
			CT_EQ(recv(fd[i], &n, 1, 0), 1);
			CT_EQ(n, i);
		}
		for (i = 0; i < MANY; i++)
			ct_close(t, fd[i]);
		ct_tell(t, "closed");
	}
}

static void many_b(struct ct *t)
{
	struct ct_addr a;
	int fd[MANY], round;
	unsigned char i;
	char c;

	ct_recv_addr(t, &a);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < MANY; i++) {
			fd[i] = ct_socket(t, 0);
			CT_OK(connect(fd[i], (struct sockaddr *)&a.ss, a.len));
			ct_wait(t, "next");
		}
		for (i = MANY; i-- > 0;)
			CT_EQ(send(fd[i], &i, 1, 0), 1);
		ct_wait(t, "closed");
		for (i = 0; i < MANY; i++) {
			CT_EQ(recv(fd[i], &c, 1, 0), 0);
			ct_close(t, fd[i]);
		}
	}
}

/* Readers that do not read stop their senders, and nobody else. */
#define STALLED 12

static void stalled_a(struct ct *t)
{
	int i, fd = 0;
	char c;

	for (i = 0; i < STALLED; i++)
		fd = ct_pair(t);
	for (i = 0; i < 100; i++) {
		CT_EQ(recv(fd, &c, 1, 0), 1);
		CT_EQ(send(fd, &c, 1, 0), 1);
	}
	ct_tell(t, "done");
}

static void stalled_b(struct ct *t)
{
	char buf[100] = "", c;
	int fd[STALLED], i;

	for (i = 0; i < STALLED; i++)
		fd[i] = ct_pair(t);
	for (i = 0; i < STALLED - 1; i++)
		(void)ct_stuff(t, fd[i], buf, sizeof(buf));
	for (i = 0; i < 100; i++) {
		CT_EQ(send(fd[STALLED - 1], "x", 1, 0), 1);
		CT_EQ(recv(fd[STALLED - 1], &c, 1, 0), 1);
	}
	ct_wait(t, "done");
}

/* Raw rpmsg has no credit: who does not read loses the connection, loudly, and the link goes
 * on. */
static void held_a(struct ct *t)
{
	int fd = ct_pair(t), second = ct_pair(t);
	uint32_t n, want = 1;
	ssize_t r;

	ct_wait(t, "sent");
	CT_EQ(recv(second, &n, sizeof(n), 0), sizeof(n)); /* behind all of the others */
	while ((r = recv(fd, &n, sizeof(n), 0)) == sizeof(n))
		CT_EQ(n, want++);
	CT_ERR(r, ENOBUFS);
	CT_TRUE(want > 1);
	CT_EQ(recv(fd, &n, sizeof(n), 0), 0); /* told once */
	ct_tell(t, "done");
}

static void held_b(struct ct *t)
{
	int fd = ct_pair(t), second = ct_pair(t);
	uint32_t buf[100] = {0}, n; /* more than any receive ring has room for */

	for (n = 1; n <= 1000; n++) {
		buf[0] = n;
		CT_EQ(send(fd, buf, sizeof(buf), 0), sizeof(buf));
	}
	CT_EQ(send(second, &n, sizeof(n), 0), sizeof(n));
	ct_tell(t, "sent");
	ct_wait(t, "done");
}

/* A backlog's connections count, too: a burst is served, or refused, and then served. */
static void burst_a(struct ct *t)
{
	int lfd = ct_listen(t, 8), i;
	char c;

	for (i = 0; i < 40; i++) {
		int fd = ct_accept(t, lfd);

		CT_EQ(recv(fd, &c, 1, 0), 1);
		CT_EQ(send(fd, &c, 1, 0), 1);
		ct_close(t, fd);
	}
}

static void burst_b(struct ct *t)
{
	struct ct_addr a;
	int i, fd;
	char c;

	ct_recv_addr(t, &a);
	for (i = 0; i < 40; i++) {
		do { /* refused, when many are on their way: once more */
			fd = ct_socket(t, 0);
			if (connect(fd, (struct sockaddr *)&a.ss, a.len) == 0)
				break;
			CT_EQ(errno, t->tr->e_refused);
			ct_close(t, fd);
		} while (1);
		CT_EQ(send(fd, "x", 1, 0), 1);
		CT_EQ(recv(fd, &c, 1, 0), 1);
		ct_close(t, fd);
	}
}

const struct ct_case ct_limit[] = {
	{"limit.sockets", "EMFILE; one closed is one more; all closed are all again", CT_ALL, 0,
	 0, sockets, ct_nothing},
	{"limit.accept",
	 "no descriptor for who connects: he waits or is refused, and later served", CT_CONN,
	 CT_BACKLOG | CT_MATES | CT_APART, 0, accept_a, accept_b},
	{"limit.many", "60 connections at once, three times", CT_CONN, CT_MATES | CT_EOF, 0,
	 many_a, many_b},
	{"limit.stalled", "11 readers that do not read stop nobody else", CT_CONN, CT_PRESSURE,
	 0, stalled_a, stalled_b},
	{"limit.held", "no credit: ENOBUFS, once, and the link goes on", CT_SEQPACKET, CT_RPMSG,
	 0, held_a, held_b},
	{"limit.burst", "40 connections in a row, each answered", CT_CONN, CT_MATES, 0, burst_a,
	 burst_b},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
