/* SPDX-License-Identifier: BSD-3-Clause */
/* connect(), listen(), accept(), and the names that sockets have. */
#include <string.h>

#include "conform.h"

/* ---- link.up: not counted, the runner's first: waits until there is a way ---- */

static void up_a(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_bound(t, 0, &a);

	CT_OK(listen(fd, 4));
	ct_send_addr(t, &a);
	ct_wait(t, "up");
}

static void up_b(struct ct *t)
{
	struct ct_addr a;

	ct_recv_addr(t, &a);
	for (;;) {
		int fd = ct_socket(t, 0);

		if (connect(fd, (struct sockaddr *)&a.ss, a.len) == 0)
			break;
		CT_TRUE(errno == ENETUNREACH || errno == ENODEV || errno == ENETDOWN);
		ct_close(t, fd);
		(void)poll(NULL, 0, 10);
	}
	ct_tell(t, "up");
}

const struct ct_case ct_link[] = {
	{"link.up", "there is a way from b to a", CT_CONN, CT_MATES, 0, up_a, up_b},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};

/* ---- refused ---- */

static void refused_a(struct ct *t)
{
	struct ct_addr a;

	(void)ct_bound(t, 0, &a);
	ct_send_addr(t, &a);
	ct_wait(t, "refused");
}

static void refused_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	ct_recv_addr(t, &a);
	ct_timeout(t, fd, SO_SNDTIMEO, 300);
	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, a.len), t->tr->e_refused);
	ct_tell(t, "refused");
}

static void refused_again_a(struct ct *t)
{
	struct ct_addr a;
	int lfd = ct_bound(t, 0, &a);

	ct_send_addr(t, &a);
	ct_wait(t, "refused");
	CT_OK(listen(lfd, 1));
	ct_tell(t, "listens");
	(void)ct_accept(t, lfd);
}

static void refused_again_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	ct_recv_addr(t, &a);
	ct_timeout(t, fd, SO_SNDTIMEO, 300);
	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, a.len), t->tr->e_refused);
	ct_tell(t, "refused");
	ct_wait(t, "listens");
	fd = ct_socket(t, 0);
	CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
}

/* ---- names ---- */

static void names_a(struct ct *t)
{
	struct ct_addr mine, peer, told;
	int lfd = ct_listen(t, 1), fd;

	peer.len = sizeof(peer.ss);
	fd = ct_own(t, (int)CT_OK(accept(lfd, (struct sockaddr *)&peer.ss, &peer.len)));
	mine.len = sizeof(mine.ss);
	CT_OK(getpeername(fd, (struct sockaddr *)&mine.ss, &mine.len));
	CT_EQ(mine.len, peer.len);
	CT_EQ(memcmp(&mine.ss, &peer.ss, peer.len), 0);
	/* b's own name for itself is what we see */
	ct_recv_addr(t, &told);
	CT_EQ(told.len, peer.len);
	CT_EQ(memcmp(&told.ss, &peer.ss, peer.len), 0);
	ct_tell(t, "done");
}

static void names_b(struct ct *t)
{
	int fd = ct_dial(t);
	struct ct_addr a;

	ct_addr_of(t, fd, &a);
	ct_send_addr(t, &a);
	ct_wait(t, "done");
}

/* ---- twice ---- */

static void twice_a(struct ct *t)
{
	int lfd = ct_listen(t, 2);

	(void)ct_accept(t, lfd);
	ct_wait(t, "done");
}

static void twice_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	ct_recv_addr(t, &a);
	CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, a.len), EISCONN);
	ct_tell(t, "done");
}

/* ---- order ---- */

static void order_a(struct ct *t)
{
	int lfd = ct_listen(t, 8), i;
	unsigned char n;

	ct_wait(t, "all connected");
	for (i = 0; i < 4; i++) {
		int fd = ct_accept(t, lfd);

		CT_EQ(recv(fd, &n, 1, 0), 1);
		CT_EQ(n, i);
	}
	ct_tell(t, "done");
}

static void order_b(struct ct *t)
{
	struct ct_addr a;
	unsigned char i;

	ct_recv_addr(t, &a);
	for (i = 0; i < 4; i++) {
		int fd = ct_socket(t, 0);

		CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
		CT_EQ(send(fd, &i, 1, 0), 1);
	}
	ct_tell(t, "all connected");
	ct_wait(t, "done");
}

/* ---- left before accept ---- */

static void left_a(struct ct *t)
{
	int lfd = ct_listen(t, 8), fd;
	char buf[8];

	ct_wait(t, "gone");
	fd = ct_accept(t, lfd);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 3);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 0);
}

static void left_b(struct ct *t)
{
	int fd = ct_dial(t);

	CT_EQ(send(fd, "bye", 3, 0), 3);
	ct_close(t, fd);
	ct_tell(t, "gone");
}

/* ---- accepted, and at once left again ---- */

static void brief_a(struct ct *t)
{
	int lfd = ct_listen(t, 4), i;

	for (i = 0; i < 20; i++) {
		int fd = ct_accept(t, lfd);

		CT_EQ(send(fd, "hi", 2, 0), 2);
		ct_close(t, fd);
	}
	ct_wait(t, "done");
}

static void brief_b(struct ct *t)
{
	struct ct_addr a;
	char buf[8];
	int i;

	ct_recv_addr(t, &a);
	for (i = 0; i < 20; i++) {
		int fd = ct_socket(t, 0);

		CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
		CT_EQ(recv(fd, buf, sizeof(buf), 0), 2);
		CT_EQ(recv(fd, buf, sizeof(buf), 0), 0);
		ct_close(t, fd);
	}
	ct_tell(t, "done");
}

const struct ct_case ct_connect[] = {
	{"connect.refused", "bound, but not listening", CT_CONN, CT_REFUSES, 0, refused_a,
	 refused_b},
	{"connect.refused-then-listens", "refused once, connected when it listens", CT_CONN,
	 CT_REFUSES, 0, refused_again_a, refused_again_b},
	{"connect.names", "accept(), getpeername() and the peer's getsockname() agree", CT_CONN,
	 CT_MATES, CT_UNIX, names_a, names_b},
	{"connect.twice", "a connected socket says EISCONN", CT_CONN, CT_MATES, 0, twice_a,
	 twice_b},
	{"accept.order", "first come, first accepted", CT_CONN, CT_BACKLOG | CT_MATES, 0,
	 order_a, order_b},
	{"accept.left", "who left before accept() is accepted, with its data and its end",
	 CT_CONN, CT_BACKLOG | CT_MATES | CT_EOF, 0, left_a, left_b},
	{"connect.brief",
	 "accepted, greeted and left at once: connect() succeeds, the greeting is read",
	 CT_CONN, CT_MATES | CT_EOF, 0, brief_a, brief_b},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
