/* SPDX-License-Identifier: BSD-3-Clause */
/* One socket, several threads: who waits is woken, nothing is torn. */
#include <string.h>

#include "conform.h"

/* A call in another thread, and what came of it. */
struct call {
	int fd;
	int n, err, events;
	size_t len;
	unsigned seed;
	unsigned times; /* atomic */
	char byte;
};

static void do_recv(void *arg)
{
	struct call *c = arg;

	c->n = (int)recv(c->fd, &c->byte, 1, 0);
	c->err = errno;
}

static void do_accept(void *arg)
{
	struct call *c = arg;

	c->n = accept(c->fd, NULL, NULL);
	c->err = errno;
}

static void do_poll(void *arg)
{
	struct call *c = arg;
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	c->n = poll(&p, 1, -1);
	c->err = errno;
	c->events = p.revents;
}

/* Until it fails. */
static void do_fill(void *arg)
{
	struct call *c = arg;
	char buf[100] = "";

	do {
		c->n = (int)send(c->fd, buf, sizeof(buf), MSG_NOSIGNAL);
		__atomic_add_fetch(&c->times, 1, __ATOMIC_RELAXED);
	} while (c->n > 0);
	c->err = errno;
}

/* len bytes of the pattern */
static void do_send(void *arg)
{
	struct call *c = arg;
	unsigned char buf[500];
	size_t at = 0;

	while (at < c->len) {
		size_t n = c->len - at < sizeof(buf) ? c->len - at : sizeof(buf);

		ct_fill(buf, n, at, c->seed);
		c->n = (int)send(c->fd, buf, n, MSG_NOSIGNAL);
		c->err = errno;
		if (c->n <= 0)
			return;
		at += (size_t)c->n;
	}
}

/* 100 messages that say whose they are, and which */
static void do_messages(void *arg)
{
	struct call *c = arg;
	unsigned char buf[40];
	unsigned i;

	for (i = 0; i < 100; i++) {
		memset(buf, (int)c->seed, sizeof(buf));
		buf[1] = (unsigned char)i;
		c->n = (int)send(c->fd, buf, sizeof(buf), MSG_NOSIGNAL);
		c->err = errno;
		if (c->n != sizeof(buf))
			return;
	}
}

/* Reads to the end; len: how much. */
static void do_drain(void *arg)
{
	struct call *c = arg;
	char buf[300];

	c->len = 0;
	do {
		c->n = (int)recv(c->fd, buf, sizeof(buf), 0);
		c->err = errno;
		if (c->n > 0)
			c->len += (size_t)c->n;
	} while (c->n > 0);
}

/* ---- shutdown wakes ---- */

static void shut_recv(struct ct *t)
{
	struct call c = {.fd = ct_pair(t)};
	struct ct_thread *th = ct_spawn(t, do_recv, &c);

	ct_asleep(t, th);
	CT_OK(shutdown(c.fd, SHUT_RD));
	ct_join(t, th);
	CT_EQ(c.n, 0);
	ct_tell(t, "done");
}

static void shut_poll(struct ct *t)
{
	struct call c = {.fd = ct_pair(t)};
	struct ct_thread *th = ct_spawn(t, do_poll, &c);

	ct_asleep(t, th);
	CT_OK(shutdown(c.fd, SHUT_RD));
	ct_join(t, th);
	CT_EQ(c.n, 1);
	CT_EQ(c.events & POLLIN, POLLIN);
	ct_tell(t, "done");
}

/* The thread sends until there is no room for one more, and waits. */
static struct ct_thread *filling(struct ct *t, struct call *c)
{
	struct ct_thread *th = ct_spawn(t, do_fill, c);
	unsigned before, now = 0;

	do {
		before = now;
		ct_asleep(t, th);
		now = __atomic_load_n(&c->times, __ATOMIC_RELAXED);
	} while (now != before || now == 0);
	return th;
}

static void shut_send(struct ct *t)
{
	struct call c = {.fd = ct_pair(t)};
	struct ct_thread *th = filling(t, &c);

	CT_OK(shutdown(c.fd, SHUT_WR));
	ct_join(t, th);
	CT_EQ(c.n, -1);
	CT_EQ(c.err, EPIPE);
	ct_tell(t, "done");
}

/* ---- close, while another thread waits in it ---- */

static const char closed_row[] = "`close` of a socket in which another thread waits";

static void close_recv_a(struct ct *t)
{
	struct call c = {.fd = ct_pair(t)};
	struct ct_thread *th = ct_spawn(t, do_recv, &c);
	int ours = ct_differs(t, closed_row);

	ct_asleep(t, th);
	ct_close(t, c.fd);
	if (!ours)
		ct_tell(t, "send"); /* the call holds the socket: it is woken by data */
	ct_join(t, th);
	CT_EQ(c.n, ours ? -1 : 1);
	if (ours)
		CT_EQ(c.err, EBADF);
	if (ours)
		ct_tell(t, "send");
}

static void close_recv_b(struct ct *t)
{
	int fd = ct_pair(t);

	ct_wait(t, "send");
	(void)send(fd, "x", 1, MSG_NOSIGNAL);
}

static void close_poll_a(struct ct *t)
{
	struct call c = {.fd = ct_pair(t)};
	struct ct_thread *th = ct_spawn(t, do_poll, &c);
	int ours = ct_differs(t, closed_row);

	ct_asleep(t, th);
	ct_close(t, c.fd);
	if (!ours)
		ct_tell(t, "send");
	ct_join(t, th);
	CT_EQ(c.n, 1);
	CT_EQ(c.events & (POLLIN | POLLNVAL), POLLNVAL); /* when it looks again */
	if (ours)
		ct_tell(t, "send");
}

/* Here it hears of it at once; on Linux when there is room for what it was about to send. */
static void close_send_a(struct ct *t)
{
	struct call c = {.fd = ct_pair(t)};
	struct ct_thread *th = filling(t, &c);
	int ours = ct_differs(t, closed_row);

	ct_close(t, c.fd);
	if (!ours)
		ct_tell(t, "read");
	ct_join(t, th);
	CT_EQ(c.n, -1);
	CT_EQ(c.err, EBADF);
	if (ours)
		ct_tell(t, "read");
}

static void close_send_b(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[100];

	ct_wait(t, "read");
	while (recv(fd, buf, sizeof(buf), 0) > 0)
		;
}

static void close_accept_a(struct ct *t)
{
	struct ct_addr a;
	struct call c = {.fd = ct_bound(t, 0, &a)};
	int ours = ct_differs(t, closed_row);
	struct ct_thread *th;

	CT_OK(listen(c.fd, 2));
	th = ct_spawn(t, do_accept, &c);
	ct_asleep(t, th);
	ct_close(t, c.fd);
	if (!ours)
		ct_send_addr(t, &a);
	ct_join(t, th);
	CT_EQ(c.n >= 0, !ours);
	if (c.n >= 0)
		ct_own(t, c.n);
	if (ours)
		CT_EQ(c.err, EBADF);
	if (ours)
		ct_send_addr(t, &a);
	ct_wait(t, "done");
}

static void close_accept_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	ct_recv_addr(t, &a);
	ct_timeout(t, fd, SO_SNDTIMEO, 200);
	(void)connect(fd, (struct sockaddr *)&a.ss, a.len);
	ct_tell(t, "done");
}

/* ---- waiting, and what comes ---- */

static void wake(struct ct *t)
{
	struct call p = {.fd = ct_pair(t)}, r = {.fd = p.fd};
	struct ct_thread *th = ct_spawn(t, do_poll, &p), *th2 = ct_spawn(t, do_recv, &r);

	ct_asleep(t, th);
	ct_asleep(t, th2);
	ct_tell(t, "send"); /* the one wakes the poll(), or goes to recv() before it looks */
	ct_join(t, th2);
	CT_EQ(r.n, 1);
	ct_tell(t, "send");
	ct_join(t, th);
	CT_EQ(p.n, 1);
	CT_EQ(p.events, POLLIN);
	ct_tell(t, "done");
}

static void wake_b(struct ct *t)
{
	int fd = ct_pair(t);

	ct_wait(t, "send");
	CT_EQ(send(fd, "x", 1, 0), 1);
	ct_wait(t, "send");
	(void)send(fd, "x", 1, MSG_NOSIGNAL); /* the first may have been enough */
	ct_wait(t, "done");
}

/* Each thread that waits in accept() gets one. */
static void accepts_a(struct ct *t)
{
	int lfd = ct_listen(t, 4), i;
	struct call c[3] = {{.fd = lfd}, {.fd = lfd}, {.fd = lfd}};
	struct ct_thread *th[3];

	for (i = 0; i < 3; i++)
		th[i] = ct_spawn(t, do_accept, &c[i]);
	for (i = 0; i < 3; i++)
		ct_asleep(t, th[i]);
	ct_tell(t, "connect");
	for (i = 0; i < 3; i++) {
		ct_join(t, th[i]);
		CT_TRUE(c[i].n >= 0);
		ct_own(t, c[i].n);
	}
	CT_TRUE(c[0].n != c[1].n && c[1].n != c[2].n);
	ct_tell(t, "done");
}

static void accepts_b(struct ct *t)
{
	struct ct_addr a;
	int i, fd;

	ct_recv_addr(t, &a);
	ct_wait(t, "connect");
	for (i = 0; i < 3; i++) {
		fd = ct_socket(t, 0);
		CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
	}
	ct_wait(t, "done");
}

/* ---- both ways at once ---- */

/* One thread sends while this one receives, on both sides. */
static void duplex(struct ct *t)
{
	unsigned mine = t->role == 'a' ? 1 : 2;
	struct call c = {.fd = ct_pair(t), .len = 200000, .seed = mine};
	struct ct_thread *th = ct_spawn(t, do_send, &c);
	unsigned char buf[1000];
	size_t at;

	for (at = 0; at < c.len; at += sizeof(buf)) {
		ct_recv_all(t, c.fd, buf, sizeof(buf));
		CT_TRUE(ct_same(buf, sizeof(buf), at, 3 - mine));
	}
	ct_join(t, th);
	CT_TRUE(c.n > 0);
	ct_sync(t, "done");
}

/* Two that receive from one stream share it; nothing is twice or missing. */
static void share_a(struct ct *t)
{
	int fd = ct_pair(t);
	struct call one = {.fd = fd}, two = {.fd = fd};
	struct ct_thread *th = ct_spawn(t, do_drain, &one), *th2 = ct_spawn(t, do_drain, &two);

	ct_join(t, th);
	ct_join(t, th2);
	CT_EQ(one.n, 0);
	CT_EQ(two.n, 0);
	CT_EQ(one.len + two.len, 100000);
}

static void share_b(struct ct *t)
{
	struct call c = {.fd = ct_pair(t), .len = 100000, .seed = 1};

	do_send(&c);
	CT_TRUE(c.n > 0);
	ct_close(t, c.fd);
}

/* Messages of two threads on one socket: each whole, each thread's in order. */
static void mixed_a(struct ct *t)
{
	int fd = ct_pair(t), i;
	unsigned char buf[64], next[3] = {0, 0, 0};

	for (i = 0; i < 200; i++) {
		unsigned who;

		CT_EQ(recv(fd, buf, sizeof(buf), 0), 40);
		who = buf[0];
		CT_TRUE(who == 1 || who == 2);
		CT_EQ(buf[1], next[who]);
		CT_EQ(buf[39], who);
		next[who]++;
	}
	ct_tell(t, "done");
}

static void mixed_b(struct ct *t)
{
	int fd = ct_pair(t);
	struct call one = {.fd = fd, .seed = 1}, two = {.fd = fd, .seed = 2};
	struct ct_thread *th = ct_spawn(t, do_messages, &one);

	do_messages(&two);
	ct_join(t, th);
	CT_EQ(one.n, 40);
	CT_EQ(two.n, 40);
	ct_wait(t, "done");
}

/* Connections of their own in eight threads at once. */
#define EIGHT 8

static void eight_a(struct ct *t)
{
	int lfd = ct_listen(t, EIGHT), i;
	struct call c[EIGHT];
	struct ct_thread *th[EIGHT];

	for (i = 0; i < EIGHT; i++) {
		c[i] = (struct call){.fd = ct_accept(t, lfd)};
		th[i] = ct_spawn(t, do_drain, &c[i]);
	}
	for (i = 0; i < EIGHT; i++) {
		ct_join(t, th[i]);
		CT_EQ(c[i].n, 0);
		CT_EQ(c[i].len, 50000);
	}
}

static void eight_b(struct ct *t)
{
	struct ct_addr a;
	struct call c[EIGHT];
	struct ct_thread *th[EIGHT];
	int i;

	ct_recv_addr(t, &a);
	for (i = 0; i < EIGHT; i++) {
		c[i] = (struct call){.fd = ct_socket(t, 0), .len = 50000, .seed = 1};
		CT_OK(connect(c[i].fd, (struct sockaddr *)&a.ss, a.len));
		th[i] = ct_spawn(t, do_send, &c[i]);
	}
	for (i = 0; i < EIGHT; i++) {
		ct_join(t, th[i]);
		CT_TRUE(c[i].n > 0);
		ct_close(t, c[i].fd);
	}
}

const struct ct_case ct_thread_cases[] = {
	{"thread.shut-recv", "shutdown() wakes a recv(): 0", CT_CONN, CT_THREADS | CT_MATES, 0,
	 shut_recv, ct_quiet},
	{"thread.shut-poll", "shutdown() wakes a poll()", CT_CONN, CT_THREADS | CT_MATES, 0,
	 shut_poll, ct_quiet},
	{"thread.shut-send", "shutdown() wakes a send() that waits for room: EPIPE", CT_CONN,
	 CT_THREADS | CT_PRESSURE, 0, shut_send, ct_quiet},
	{"thread.close-recv", "close() while another thread is in recv()", CT_CONN,
	 CT_THREADS | CT_MATES, 0, close_recv_a, close_recv_b},
	{"thread.close-poll", "close() while another thread is in poll()", CT_CONN,
	 CT_THREADS | CT_MATES, 0, close_poll_a, close_recv_b},
	{"thread.close-send", "close() while another thread waits for room in send()", CT_CONN,
	 CT_THREADS | CT_PRESSURE, 0, close_send_a, close_send_b},
	{"thread.close-accept", "close() while another thread is in accept()", CT_CONN,
	 CT_THREADS | CT_MATES, 0, close_accept_a, close_accept_b},
	{"thread.wake", "data wakes who waits in recv() and in poll()", CT_ALL, CT_THREADS, 0,
	 wake, wake_b},
	{"thread.accepts", "three threads in accept() get one connection each", CT_CONN,
	 CT_THREADS | CT_MATES, 0, accepts_a, accepts_b},
	{"thread.duplex", "one thread sends while another receives, on both sides", CT_STREAM,
	 CT_THREADS, 0, duplex, duplex},
	{"thread.share", "two threads receive from one stream: nothing twice, nothing lost",
	 CT_STREAM, CT_THREADS | CT_EOF, 0, share_a, share_b},
	{"thread.mixed", "two threads send messages on one socket: each whole, in order",
	 CT_MSG, CT_THREADS | CT_PRESSURE, 0, mixed_a, mixed_b},
	{"thread.eight", "eight connections in eight threads", CT_STREAM,
	 CT_THREADS | CT_EOF | CT_BACKLOG, 0, eight_a, eight_b},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
