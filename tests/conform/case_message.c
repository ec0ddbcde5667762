/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages: what SOCK_SEQPACKET and SOCK_DGRAM have in common. */
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

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

/* ---- peek ---- */

#define OTHER_ERRORS "AF_VSOCK messages: MSG_PEEK, and one that is too large"

static void peek_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	if (ct_linux_vsock(t, OTHER_ERRORS)) {
		CT_EQ(ct_poll(t, fd, POLLIN), POLLIN);
		CT_ERR(recv(fd, buf, sizeof(buf), MSG_PEEK), ENOMEM);
	} else {
		CT_EQ(recv(fd, buf, sizeof(buf), MSG_PEEK), 5);
		CT_EQ(recv(fd, buf, 2, MSG_PEEK), 2);
		/* how long the next one is */
		CT_EQ(recv(fd, buf, 2, MSG_PEEK | MSG_TRUNC), 5);
		CT_EQ(recv(fd, buf, 0, MSG_PEEK | MSG_TRUNC), 5);
	}
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 5);
	CT_EQ(memcmp(buf, "first", 5), 0);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 3);
	CT_EQ(memcmp(buf, "two", 3), 0);
	ct_tell(t, "done");
}

static void peek_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "first", 5, 0), 5);
	CT_EQ(send(fd, "two", 3, 0), 3);
	ct_wait(t, "done");
}

/* ---- gathered, scattered ---- */

static void iov_a(struct ct *t)
{
	int fd = ct_pair(t), i;
	unsigned char buf[400];
	struct iovec iov[40];
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 40};

	for (i = 0; i < 40; i++)
		iov[i] = (struct iovec){buf + 10 * i, 10};
	CT_EQ(recvmsg(fd, &m, 0), 300);
	CT_TRUE(ct_same(buf, 300, 0, 7));
	CT_EQ(m.msg_flags & MSG_TRUNC, 0);
	CT_EQ(readv(fd, iov, 2), 20); /* the rest of it is gone */
	CT_TRUE(ct_same(buf, 20, 0, 7));
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 4);
	ct_tell(t, "done");
}

static void iov_b(struct ct *t)
{
	int fd = ct_pair(t), i;
	unsigned char buf[300];
	struct iovec iov[30];
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 30};

	ct_fill(buf, sizeof(buf), 0, 7);
	for (i = 0; i < 30; i++)
		iov[i] = (struct iovec){buf + 10 * i, 10};
	CT_EQ(sendmsg(fd, &m, 0), 300);
	CT_EQ(writev(fd, iov, 30), 300);
	CT_EQ(write(fd, "last", 4), 4);
	ct_wait(t, "done");
}

/* ---- too large ---- */

static void big_b(struct ct *t)
{
	int fd = ct_pair(t), i;
	static const char zero[4096];
	struct iovec iov[512];
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 512};

	for (i = 0; i < 512; i++) /* 2 MiB */
		iov[i] = (struct iovec){(void *)(uintptr_t)zero, sizeof(zero)};
	CT_ERR(sendmsg(fd, &m, MSG_NOSIGNAL),
	       ct_linux_vsock(t, OTHER_ERRORS) ? ENOMEM : EMSGSIZE);
	CT_EQ(send(fd, "small", 5, 0), 5); /* nothing has happened to the socket */
	ct_wait(t, "done");
}

static void big_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	CT_EQ(recv(fd, buf, sizeof(buf), 0), 5);
	ct_tell(t, "done");
}

static void largest_a(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[2048];

	CT_EQ(recv(fd, buf, sizeof(buf), 0), ct_recv_u32(t));
	ct_tell(t, "done");
}

/* Just what the family says, and one more. */
static void largest_b(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[2048];

	CT_TRUE(t->tr->msg_max < sizeof(buf));
	CT_EQ(send(fd, buf, t->tr->msg_max, 0), t->tr->msg_max);
	CT_ERR(send(fd, buf, t->tr->msg_max + 1, 0), EMSGSIZE);
	ct_send_u32(t, t->tr->msg_max);
	ct_wait(t, "done");
}

static void two_k_a(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[2001];

	CT_EQ(recv(fd, buf, sizeof(buf), 0), 2000);
	CT_TRUE(ct_same(buf, 2000, 0, 8));
	ct_tell(t, "done");
}

static void two_k_b(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[2000];

	ct_fill(buf, sizeof(buf), 0, 8);
	CT_EQ(send(fd, buf, sizeof(buf), 0), sizeof(buf));
	ct_wait(t, "done");
}

/* ---- a reader that does not read ---- */

static void full_a(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned n = ct_recv_u32(t), i;
	unsigned char buf[128];

	for (i = 0; i < n; i++) {
		CT_EQ(recv(fd, buf, sizeof(buf), 0), 100);
		CT_TRUE(ct_same(buf, 100, 0, i));
	}
	ct_tell(t, "read");
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 100);
	CT_TRUE(ct_same(buf, 100, 0, i));
	ct_tell(t, "done");
}

static void full_b(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[100];
	unsigned n = 0;

	(void)ct_linux_vsock(t, "AF_VSOCK messages: `send` that says EAGAIN");
	for (;;) {
		ct_fill(buf, sizeof(buf), 0, n);
		if (send(fd, buf, sizeof(buf), MSG_DONTWAIT) != sizeof(buf))
			break;
		CT_TRUE(++n < 1000000);
	}
	CT_EQ(errno, EAGAIN);
	CT_TRUE(n >= 1);
	ct_send_u32(t, n);
	ct_wait(t, "read");
	CT_EQ(ct_poll(t, fd, POLLOUT) & POLLOUT, POLLOUT);
	CT_EQ(send(fd, buf, sizeof(buf), MSG_DONTWAIT), sizeof(buf)); /* as poll() has said */
	ct_wait(t, "done");
}

/* Waits as long as there is no room: 2000 messages, none lost. */
static void many_a(struct ct *t)
{
	int fd = ct_pair(t), i;
	unsigned char buf[64];

	for (i = 0; i < 2000; i++) {
		CT_EQ(recv(fd, buf, sizeof(buf), 0), i % 50 + 1);
		CT_TRUE(ct_same(buf, (size_t)(i % 50 + 1), 0, (unsigned)i));
	}
	ct_tell(t, "done");
}

static void many_b(struct ct *t)
{
	int fd = ct_pair(t), i;
	unsigned char buf[64];

	for (i = 0; i < 2000; i++) {
		ct_fill(buf, sizeof(buf), 0, (unsigned)i);
		CT_EQ(send(fd, buf, (size_t)(i % 50 + 1), 0), i % 50 + 1);
	}
	ct_wait(t, "done");
}

static void pingpong(struct ct *t)
{
	int fd = ct_pair(t), i;
	unsigned char buf[64];

	for (i = 0; i < 300; i++) {
		size_t n = (size_t)(i % 60 + 1);

		if (t->role == 'b') {
			ct_fill(buf, n, 0, (unsigned)i);
			CT_EQ(send(fd, buf, n, 0), n);
		}
		CT_EQ(recv(fd, buf, sizeof(buf), 0), n);
		CT_TRUE(ct_same(buf, n, 0, (unsigned)i));
		if (t->role == 'a')
			CT_EQ(send(fd, buf, n, 0), n);
	}
	ct_sync(t, "done");
}

/* ---- flags, amounts ---- */

static void waitall_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	CT_EQ(recv(fd, buf, sizeof(buf), MSG_WAITALL), 2); /* one message, never two */
	CT_EQ(recv(fd, buf, sizeof(buf), MSG_WAITALL), 3);
	ct_tell(t, "done");
}

static void waitall_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "12", 2, 0), 2);
	CT_EQ(send(fd, "345", 3, 0), 3);
	ct_wait(t, "done");
}

static void none_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];
	struct msghdr m = {.msg_iov = NULL};

	if (ct_linux_vsock(t, "AF_VSOCK messages: `recv` of 0 bytes")) {
		CT_EQ(recv(fd, buf, 0, 0), 0);
		CT_EQ(recv(fd, buf, sizeof(buf), 0), 1); /* not gone */
		CT_EQ(recv(fd, buf, sizeof(buf), 0), 2);
		CT_EQ(recv(fd, buf, sizeof(buf), 0), 1);
		ct_tell(t, "done");
		return;
	}
	CT_EQ(recv(fd, buf, 0, 0), 0); /* it was read, though into nothing */
	CT_EQ(recvmsg(fd, &m, 0), 0);
	CT_EQ(m.msg_flags & MSG_TRUNC, MSG_TRUNC);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 1);
	CT_EQ(buf[0], '3');
	ct_tell(t, "done");
}

static void none_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "1", 1, 0), 1);
	CT_EQ(send(fd, "22", 2, 0), 2);
	CT_EQ(send(fd, "3", 1, 0), 1);
	ct_wait(t, "done");
}

static void fionread_a(struct ct *t)
{
	int fd = ct_pair(t), n;
	char buf[16];

	CT_EQ(ct_fionread(t, fd, 0), 0);
	ct_tell(t, "send");
	CT_EQ(ct_poll(t, fd, POLLIN), POLLIN);
	n = ct_fionread(t, fd, 10);
	/* the next message; of all of them in AF_UNIX */
	CT_TRUE(n == 10 || (t->tr->props & CT_UNIX && n == 13));
	CT_EQ(recv(fd, buf, 1, 0), 1);
	CT_EQ(ct_poll(t, fd, POLLIN), POLLIN);
	CT_EQ(ct_fionread(t, fd, 3), 3);
	ct_tell(t, "done");
}

static void fionread_b(struct ct *t)
{
	int fd = ct_pair(t);

	ct_wait(t, "send");
	CT_EQ(send(fd, "0123456789", 10, 0), 10);
	CT_EQ(send(fd, "012", 3, 0), 3);
	ct_wait(t, "done");
}

static void eor_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];
	struct iovec iov = {buf, sizeof(buf)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	CT_EQ(recvmsg(fd, &m, 0), 2);
	CT_EQ(m.msg_flags & MSG_EOR, MSG_EOR);
	CT_EQ(recvmsg(fd, &m, 0), 3);
	CT_EQ(m.msg_flags & MSG_EOR, 0);
	ct_tell(t, "done");
}

static void eor_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "12", 2, MSG_EOR), 2);
	CT_EQ(send(fd, "345", 3, 0), 3);
	ct_wait(t, "done");
}

static void end_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	CT_EQ(recv(fd, buf, sizeof(buf), 0), 2);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 3);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 0);
	CT_EQ(send(fd, "back", 4, 0), 4);
	ct_wait(t, "done");
}

static void end_b(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	CT_EQ(send(fd, "12", 2, 0), 2);
	CT_EQ(send(fd, "345", 3, 0), 3);
	CT_OK(shutdown(fd, SHUT_WR));
	CT_ERR(send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 4);
	ct_tell(t, "done");
}

const struct ct_case ct_message[] = {
	{"message.bounds", "messages keep their boundaries and their order", CT_MSG, 0, 0,
	 bounds_a, bounds_b},
	{"message.trunc", "what does not fit is cut off, and MSG_TRUNC says so", CT_MSG, 0, 0,
	 trunc_a, trunc_b},
	{"message.none", "read into nothing: the message is gone", CT_MSG, 0, 0, none_a,
	 none_b},
	{"message.empty", "an empty message arrives as one", CT_MSG, CT_EMPTY, 0, empty_a,
	 empty_b},
	{"message.peek", "MSG_PEEK leaves the message, MSG_TRUNC tells its length", CT_MSG, 0,
	 0, peek_a, peek_b},
	{"message.iov", "one message from 30 pieces, into 40", CT_MSG, 0, 0, iov_a, iov_b},
	{"message.too-big", "EMSGSIZE, and the socket is as it was", CT_MSG, 0, 0, big_a,
	 big_b},
	{"message.largest", "the largest there is, and one byte more", CT_MSG, 0, CT_BIG,
	 largest_a, largest_b},
	{"message.2000", "a message of 2000 bytes", CT_MSG, CT_BIG, 0, two_k_a, two_k_b},
	{"message.full", "nobody reads: EAGAIN, and nothing is lost", CT_MSG,
	 CT_PRESSURE | CT_WHOLE, 0, full_a, full_b},
	{"message.many", "2000 messages, none lost", CT_MSG, CT_PRESSURE, 0, many_a, many_b},
	{"message.pingpong", "300 messages there and back", CT_MSG, 0, 0, pingpong, pingpong},
	{"message.waitall", "MSG_WAITALL joins no messages", CT_MSG, 0, 0, waitall_a,
	 waitall_b},
	{"message.fionread", "FIONREAD tells the next message's length", CT_MSG, 0, 0,
	 fionread_a, fionread_b},
	{"message.eor", "MSG_EOR arrives with the message it was sent with", CT_SEQPACKET,
	 CT_VSOCK, 0, eor_a, eor_b},
	{"message.end", "what was sent before SHUT_WR, then 0; the other way goes on",
	 CT_SEQPACKET, CT_EOF, 0, end_a, end_b},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
