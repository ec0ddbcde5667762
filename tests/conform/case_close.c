/* SPDX-License-Identifier: BSD-3-Clause */
/* shutdown(), close(), and what the other side hears of them, in every order. */
#include <string.h>

#include "conform.h"

static void send_done(struct ct *t, int fd, const char *text)
{
	CT_EQ(send(fd, text, strlen(text), 0), strlen(text));
}

/* Writes until it is told that nobody reads any more: EPIPE, or the reset behind it. */
static void send_until_error(struct ct *t, int fd)
{
	char buf[100] = "";
	ssize_t n;

	do {
		n = send(fd, buf, sizeof(buf), MSG_NOSIGNAL);
	} while (n > 0);
	CT_ERR2(n, EPIPE, ECONNRESET);
}

/* ---- shutdown ---- */

static void wr_a(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[1024];
	size_t at = 0;
	ssize_t n;

	ct_wait(t, "shut");
	while ((n = CT_OK(recv(fd, buf, sizeof(buf), 0))) > 0) {
		CT_TRUE(ct_same(buf, (size_t)n, t->tr->kind == CT_STREAM ? at : 0, 1));
		at += (size_t)n;
	}
	CT_EQ(at, 3000);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 0);
	ct_tell(t, "done");
}

static void wr_b(struct ct *t)
{
	int fd = ct_pair(t), i;
	unsigned char buf[300];

	for (i = 0; i < 10; i++) {
		ct_fill(buf, sizeof(buf), t->tr->kind == CT_STREAM ? 300 * (size_t)i : 0, 1);
		CT_EQ(send(fd, buf, sizeof(buf), 0), sizeof(buf));
	}
	CT_OK(shutdown(fd, SHUT_WR));
	ct_tell(t, "shut");
	ct_wait(t, "done");
}

static void rd_a(struct ct *t)
{
	int fd = ct_pair(t);
	char c;

	CT_OK(shutdown(fd, SHUT_RD));
	CT_EQ(recv(fd, &c, 1, 0), 0);
	CT_EQ(ct_now(t, fd, POLLIN) & POLLIN, POLLIN);
	/* the other way is open */
	send_done(t, fd, "x");
	ct_wait(t, "done");
}

static void rd_b(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	CT_EQ(recv(fd, buf, sizeof(buf), 0), 1);
	ct_tell(t, "done");
}

static void rd_told_a(struct ct *t)
{
	int fd = ct_pair(t);

	CT_OK(shutdown(fd, SHUT_RD));
	ct_tell(t, "shut");
	ct_wait(t, "done");
}

static void rd_told_b(struct ct *t)
{
	int fd = ct_pair(t);
	char c;

	ct_wait(t, "shut");
	send_until_error(t, fd);
	/* it is our way that is shut, not the peer's */
	CT_ERR(recv(fd, &c, 1, MSG_DONTWAIT), EAGAIN);
	ct_tell(t, "done");
}

static void rdwr_a(struct ct *t)
{
	int fd = ct_pair(t);
	char c;

	CT_OK(shutdown(fd, SHUT_RDWR));
	CT_EQ(recv(fd, &c, 1, 0), 0);
	CT_ERR(send(fd, &c, 1, MSG_NOSIGNAL), EPIPE);
	ct_tell(t, "send");
	ct_wait(t, "done");
}

static void rdwr_b(struct ct *t)
{
	int fd = ct_pair(t);
	char c;

	CT_EQ(recv(fd, &c, 1, 0), 0);
	ct_wait(t, "send");
	send_until_error(t, fd);
	ct_tell(t, "done");
}

static void again_a(struct ct *t)
{
	int fd = ct_pair(t);
	char c;

	CT_OK(shutdown(fd, SHUT_WR));
	CT_OK(shutdown(fd, SHUT_WR));
	ct_sync(t, "shut");
	CT_EQ(recv(fd, &c, 1, 0), 1);
	CT_OK(shutdown(fd, SHUT_RD));
	ct_tell(t, "done");
}

static void again_b(struct ct *t)
{
	int fd = ct_pair(t);
	char c;

	ct_sync(t, "shut");
	CT_EQ(recv(fd, &c, 1, 0), 0);
	send_done(t, fd, "x");
	ct_wait(t, "done");
}

static void shut_idle(struct ct *t)
{
	int fd = ct_socket(t, 0);

	CT_ERR(shutdown(fd, SHUT_WR), ENOTCONN);
	CT_ERR(shutdown(fd, SHUT_RD), ENOTCONN);
	fd = ct_bound(t, 0, NULL);
	CT_ERR(shutdown(fd, SHUT_RDWR), ENOTCONN);
}

static void shut_how(struct ct *t)
{
	int fd = ct_pair(t);

	CT_ERR(shutdown(fd, 3), EINVAL);
	CT_ERR(shutdown(fd, -1), EINVAL);
	send_done(t, fd, "x");
	ct_tell(t, "done");
}

/* Both shut at the same time; what was on its way is read. */
static void cross(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	send_done(t, fd, "last");
	CT_OK(shutdown(fd, SHUT_WR));
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 4);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 0);
	CT_ERR(send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	ct_sync(t, "done");
}

/* ---- close ---- */

static void eof_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	ct_wait(t, "closed");
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 3);
	CT_EQ(memcmp(buf, "bye", 3), 0);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 0);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 0);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_ERROR), 0);
}

static void eof_b(struct ct *t)
{
	int fd = ct_pair(t);

	send_done(t, fd, "bye");
	ct_close(t, fd);
	ct_tell(t, "closed");
}

static void epipe_a(struct ct *t)
{
	int fd = ct_pair(t);

	ct_wait(t, "closed");
	send_until_error(t, fd);
	CT_ERR(send(fd, "x", 1, MSG_NOSIGNAL), EPIPE); /* an error is told once, this always */
}

static void close_b(struct ct *t)
{
	int fd = ct_pair(t);

	ct_close(t, fd);
	ct_tell(t, "closed");
}

/* Data for somebody who has gone with it unread. */
static void unread_a(struct ct *t)
{
	int fd = ct_pair(t);

	ct_wait(t, "sent");
	CT_EQ(ct_poll(t, fd, POLLIN), POLLIN);
	ct_close(t, fd);
	ct_tell(t, "closed");
}

static void unread_reset_b(struct ct *t)
{
	int fd = ct_pair(t);
	char c;

	send_done(t, fd, "unread");
	ct_tell(t, "sent");
	ct_wait(t, "closed");
	CT_ERR(recv(fd, &c, 1, 0), ECONNRESET);
	CT_EQ(recv(fd, &c, 1, 0), 0); /* told once */
	CT_ERR(send(fd, &c, 1, MSG_NOSIGNAL), EPIPE);
}

static void unread_end_b(struct ct *t)
{
	int fd = ct_pair(t);
	char c;

	send_done(t, fd, "unread");
	ct_tell(t, "sent");
	ct_wait(t, "closed");
	CT_EQ(recv(fd, &c, 1, 0), 0);
	send_until_error(t, fd);
}

static void linger_a(struct ct *t)
{
	struct linger l = {.l_onoff = 1, .l_linger = 0};
	int fd = ct_pair(t);

	(void)ct_linux_vsock(t, "AF_VSOCK `close` with SO_LINGER of 0 s");
	CT_OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	ct_close(t, fd);
	ct_tell(t, "closed");
}

static void linger_b(struct ct *t)
{
	int fd = ct_pair(t), ev;
	char c;

	ct_wait(t, "closed");
	ev = ct_poll(t, fd, POLLIN);
	CT_EQ(ev & (POLLERR | POLLHUP), POLLERR | POLLHUP);
	CT_ERR(recv(fd, &c, 1, 0), ECONNRESET);
	CT_EQ(recv(fd, &c, 1, 0), 0);
	CT_ERR(send(fd, &c, 1, MSG_NOSIGNAL), EPIPE);
	CT_ERR(getpeername(fd, (struct sockaddr *)&(struct sockaddr_storage){0},
			   &(socklen_t){sizeof(struct sockaddr_storage)}),
	       ENOTCONN);
}

static void so_error_b(struct ct *t)
{
	int fd = ct_pair(t);
	char c;

	ct_wait(t, "closed");
	CT_EQ(ct_poll(t, fd, POLLIN) & POLLERR, POLLERR);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_ERROR), ECONNRESET);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_ERROR), 0); /* taken with the reading */
	CT_EQ(recv(fd, &c, 1, 0), 0);
	CT_EQ(ct_now(t, fd, POLLIN) & POLLERR, 0);
}

static void send_reset_b(struct ct *t)
{
	int fd = ct_pair(t);
	char c = 0;

	ct_wait(t, "closed");
	CT_EQ(ct_poll(t, fd, POLLIN) & POLLERR, POLLERR);
	/* whoever calls first is told; who sends may hear EPIPE with it */
	CT_ERR2(send(fd, &c, 1, MSG_NOSIGNAL), ECONNRESET, EPIPE);
	CT_ERR(send(fd, &c, 1, MSG_NOSIGNAL), EPIPE);
}

/* A sender that waits for room is told when nobody will read it. */
static void blocked_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[100];

	ct_wait(t, "full");
	ct_tell(t, "sends");
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 100);
	ct_close(t, fd);
}

static void blocked_b(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[100] = "";

	(void)ct_stuff(t, fd, buf, sizeof(buf));
	ct_tell(t, "full");
	ct_wait(t, "sends");
	send_until_error(t, fd);
}

/* Many short ones: nothing runs out, no end is lost. */
static void churn_a(struct ct *t)
{
	int lfd = ct_listen(t, 4), i;
	char c;

	for (i = 0; i < 200; i++) {
		int fd = ct_accept(t, lfd);

		if (i & 1)
			CT_EQ(recv(fd, &c, 1, 0), 1);
		CT_EQ(recv(fd, &c, 1, 0), 0);
		ct_close(t, fd);
		if (i % 4 == 3) /* no more at once than the backlog has room for */
			ct_tell(t, "go on");
	}
}

static void churn_b(struct ct *t)
{
	struct ct_addr a;
	int i;

	ct_recv_addr(t, &a);
	for (i = 0; i < 200; i++) {
		int fd = ct_socket(t, 0);

		CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
		if (i & 1)
			send_done(t, fd, "x");
		ct_close(t, fd);
		if (i % 4 == 3)
			ct_wait(t, "go on");
	}
}

/* The last bytes of a sender that has closed, though the reader takes them late. */
static void late_a(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[100];
	size_t n = ct_recv_u32(t), at;

	for (at = 0; at < n; at += 100)
		ct_recv_all(t, fd, buf, 100);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 0);
}

static void late_b(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[100] = "";
	unsigned long n = 0;

	/* as many whole ones as are taken without a reader */
	ct_nonblock(t, fd, 1);
	for (;;) {
		ssize_t r = send(fd, buf, sizeof(buf), MSG_NOSIGNAL);

		if (r != sizeof(buf)) {
			if (r > 0) {
				ct_nonblock(t, fd, 0);
				ct_send_u32(t, (uint32_t)n + 100);
				ct_send_all(t, fd, buf, sizeof(buf) - (size_t)r);
				break;
			}
			ct_send_u32(t, (uint32_t)n);
			break;
		}
		n += 100;
	}
	ct_close(t, fd);
}

const struct ct_case ct_close_cases[] = {
	{"shutdown.wr", "3000 bytes in flight, then the end", CT_CONN, CT_EOF, 0, wr_a, wr_b},
	{"shutdown.rd", "SHUT_RD: recv() says 0, sending goes on", CT_CONN, CT_EOF, 0, rd_a,
	 rd_b},
	{"shutdown.rd-told", "SHUT_RD: the peer's send() fails", CT_CONN, CT_EOF | CT_RD_TOLD,
	 0, rd_told_a, rd_told_b},
	{"shutdown.rdwr", "SHUT_RDWR: the end here and there", CT_CONN, CT_EOF, 0, rdwr_a,
	 rdwr_b},
	{"shutdown.again", "twice, and the other way later", CT_CONN, CT_EOF, 0, again_a,
	 again_b},
	{"shutdown.not-connected", "ENOTCONN", CT_CONN, 0, CT_UNIX, shut_idle, ct_nothing},
	{"shutdown.how", "another value: EINVAL", CT_CONN, CT_MATES, 0, shut_how, ct_quiet},
	{"shutdown.cross", "both at once: what was on its way is read", CT_CONN, CT_EOF, 0,
	 cross, cross},
	{"close.eof", "what was sent, then 0, and again 0", CT_CONN, CT_EOF, 0, eof_a, eof_b},
	{"close.epipe", "sending to who has closed: EPIPE, for ever", CT_CONN, CT_EOF, 0,
	 epipe_a, close_b},
	{"close.unread-reset", "closed with unread data: ECONNRESET, once", CT_CONN,
	 CT_EOF | CT_RESETS, 0, unread_a, unread_reset_b},
	{"close.unread-end", "closed with unread data: an ordinary end", CT_CONN, CT_EOF,
	 CT_RESETS, unread_a, unread_end_b},
	{"close.linger", "SO_LINGER {1, 0}: POLLERR and POLLHUP, ECONNRESET once, then 0",
	 CT_CONN, CT_LINGERS, 0, linger_a, linger_b},
	{"close.so-error", "a reset by SO_ERROR, which clears it", CT_CONN, CT_LINGERS, 0,
	 linger_a, so_error_b},
	{"close.send-reset", "a reset is told to who sends", CT_CONN, CT_LINGERS, 0, linger_a,
	 send_reset_b},
	{"close.blocked", "a sender that waits for room is woken", CT_CONN,
	 CT_EOF | CT_PRESSURE, 0, blocked_a, blocked_b},
	{"close.churn", "200 connections in a row", CT_CONN, CT_EOF | CT_MATES, 0, churn_a,
	 churn_b},
	{"close.late", "what a sender left behind is read after it has closed", CT_CONN,
	 CT_EOF | CT_PRESSURE, 0, late_a, late_b},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
