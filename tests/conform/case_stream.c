/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes of a stream: order, amounts, ends. */
#include <string.h>

#include "conform.h"

#define MUCH 100000u

/* ---- much ---- */

static void much_a(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[1000];
	size_t at;

	for (at = 0; at < MUCH; at += sizeof(buf)) {
		ct_recv_all(t, fd, buf, sizeof(buf));
		CT_TRUE(ct_same(buf, sizeof(buf), at, 1));
	}
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 0);
}

static void much_b(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[1000];
	size_t at;

	for (at = 0; at < MUCH; at += sizeof(buf)) {
		ct_fill(buf, sizeof(buf), at, 1);
		ct_send_all(t, fd, buf, sizeof(buf));
	}
	ct_close(t, fd);
}

/* ---- peek ---- */

static void peek_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	CT_EQ(recv(fd, buf, 1, MSG_PEEK), 1);
	CT_EQ(buf[0], 'o');
	ct_sync(t, "sent");
	CT_EQ(recv(fd, buf, sizeof(buf), MSG_PEEK), 3);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 3);
	CT_EQ(memcmp(buf, "one", 3), 0);
	CT_ERR(recv(fd, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT), EAGAIN);
	ct_tell(t, "done");
}

static void peek_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "one", 3, 0), 3);
	ct_sync(t, "sent");
	ct_wait(t, "done");
}

/* ---- waitall ---- */

static void waitall_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	ct_wait(t, "first");
	ct_tell(t, "go on");
	CT_EQ(recv(fd, buf, 6, MSG_WAITALL), 6);
	CT_EQ(memcmp(buf, "onetwo", 6), 0);
	/* the end of the stream ends the wait */
	CT_EQ(recv(fd, buf, 6, MSG_WAITALL), 1);
	CT_EQ(recv(fd, buf, 6, MSG_WAITALL), 0);
}

static void waitall_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "one", 3, 0), 3);
	ct_tell(t, "first");
	ct_wait(t, "go on");
	CT_EQ(send(fd, "two3", 4, 0), 4);
	ct_close(t, fd);
}

/* ---- half-close ---- */

static void half_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	CT_EQ(recv(fd, buf, sizeof(buf), MSG_WAITALL), 3);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 0);
	CT_EQ(send(fd, "back", 4, 0), 4);
	ct_close(t, fd);
}

static void half_b(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	CT_EQ(send(fd, "fwd", 3, 0), 3);
	CT_OK(shutdown(fd, SHUT_WR));
	CT_ERR(send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	CT_EQ(recv(fd, buf, sizeof(buf), MSG_WAITALL), 4);
	CT_EQ(memcmp(buf, "back", 4), 0);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 0);
}

const struct ct_case ct_stream[] = {
	{"stream.much", "100,000 bytes arrive in order, then the end", CT_STREAM, CT_EOF, 0,
	 much_a, much_b},
	{"stream.peek", "MSG_PEEK leaves what it shows", CT_STREAM, 0, 0, peek_a, peek_b},
	{"stream.waitall", "MSG_WAITALL waits for all of it, or the end", CT_STREAM, CT_EOF, 0,
	 waitall_a, waitall_b},
	{"stream.half-close", "after SHUT_WR the other way goes on", CT_STREAM, CT_EOF, 0,
	 half_a, half_b},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
