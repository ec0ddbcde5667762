/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages: what SOCK_SEQPACKET and SOCK_DGRAM have in common. */
#include <string.h>

#include "conform.h"

/* ---- bounds ---- */

static const unsigned lens[] = {1, 2, 16, 100, 255, 400};

static void bounds_a(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[512];
	unsigned i;

	for (i = 0; i < sizeof(lens) / sizeof(*lens); i++) {
		CT_EQ(recv(fd, buf, sizeof(buf), 0), lens[i]);
		CT_TRUE(ct_same(buf, lens[i], 0, i));
	}
	ct_tell(t, "done");
}

static void bounds_b(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[512];
	unsigned i;

	for (i = 0; i < sizeof(lens) / sizeof(*lens); i++) {
		ct_fill(buf, lens[i], 0, i);
		CT_EQ(send(fd, buf, lens[i], 0), lens[i]);
	}
	ct_wait(t, "done");
}

/* ---- cut off ---- */

static void trunc_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];
	struct iovec iov = {.iov_base = buf, .iov_len = 2};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	CT_EQ(recv(fd, buf, 2, 0), 2); /* the rest of it is gone */
	CT_EQ(recv(fd, buf, 2, MSG_TRUNC), 6);
	CT_EQ(recvmsg(fd, &m, 0), 2);
	CT_EQ(m.msg_flags & MSG_TRUNC, MSG_TRUNC);
	CT_EQ(memcmp(buf, "th", 2), 0);
	iov.iov_len = sizeof(buf);
	CT_EQ(recvmsg(fd, &m, 0), 4);
	CT_EQ(m.msg_flags & MSG_TRUNC, 0);
	ct_tell(t, "done");
}

static void trunc_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "first", 5, 0), 5);
	CT_EQ(send(fd, "second", 6, 0), 6);
	CT_EQ(send(fd, "third", 5, 0), 5);
	CT_EQ(send(fd, "last", 4, 0), 4);
	ct_wait(t, "done");
}

/* ---- empty ---- */

static void empty_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	CT_EQ(ct_poll(t, fd, POLLIN) & POLLIN, POLLIN);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 0);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 1);
	ct_tell(t, "done");
}

static void empty_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "", 0, 0), 0);
	CT_EQ(send(fd, "x", 1, 0), 1);
	ct_wait(t, "done");
}

const struct ct_case ct_message[] = {
	{"message.bounds", "messages keep their boundaries and their order", CT_MSG, 0, 0,
	 bounds_a, bounds_b},
	{"message.trunc", "what does not fit is cut off, and MSG_TRUNC says so", CT_MSG, 0, 0,
	 trunc_a, trunc_b},
	{"message.empty", "an empty message arrives as one", CT_MSG, CT_EMPTY, 0, empty_a,
	 empty_b},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
