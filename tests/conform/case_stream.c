/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes of a stream: order, amounts, ends. */
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

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

/* ---- amounts ---- */

/* Reads until the end; how many. All of it is the pattern of seed. */
static unsigned long drain(struct ct *t, int fd, unsigned seed, size_t piece)
{
	unsigned char buf[2048];
	unsigned long all = 0;
	ssize_t n;

	while ((n = CT_OK(recv(fd, buf, piece, 0))) > 0) {
		CT_TRUE(ct_same(buf, (size_t)n, all, seed));
		all += (unsigned long)n;
	}
	return all;
}

static void zero_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[4];

	ct_wait(t, "sent nothing");
	CT_EQ(ct_now(t, fd, POLLIN), 0);
	CT_ERR(recv(fd, buf, 1, MSG_DONTWAIT), EAGAIN);
	ct_tell(t, "send");
	CT_EQ(ct_poll(t, fd, POLLIN), POLLIN);
	CT_EQ(recv(fd, buf, 0, 0), 0); /* no end of the stream: it is what was asked for */
	CT_EQ(recv(fd, buf, 4, 0), 1);
	ct_tell(t, "done");
}

static void zero_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "", 0, 0), 0);
	CT_EQ(write(fd, "", 0), 0);
	ct_tell(t, "sent nothing");
	ct_wait(t, "send");
	CT_EQ(send(fd, "x", 1, 0), 1);
	ct_wait(t, "done");
}

static void odd_a(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(drain(t, fd, 2, 127), 50000);
}

/* pieces of 1, 2, 3 ... bytes, so that no buffer's length fits */
static void odd_b(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[400];
	size_t at, n;

	for (at = 0, n = 1; at < 50000; at += n, n = n % 397 + 1) {
		if (n > 50000 - at)
			n = 50000 - at;
		ct_fill(buf, n, at, 2);
		ct_send_all(t, fd, buf, n);
	}
}

static void stuffed_a(struct ct *t)
{
	int fd = ct_pair(t);
	uint32_t n = ct_recv_u32(t);

	CT_EQ(drain(t, fd, 3, 2048), n);
}

/* What fits without a reader arrives, all of it, and what did not fit was not taken. */
static void stuffed_b(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned char buf[251 * 16]; /* whole periods of the pattern */
	unsigned long all = 0;
	ssize_t n;

	ct_fill(buf, sizeof(buf), 0, 3);
	do {
		size_t at = all % sizeof(buf);

		n = send(fd, buf + at, sizeof(buf) - at, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0)
			all += (unsigned long)n;
	} while (n > 0);
	CT_ERR(n, EAGAIN);
	CT_EQ(ct_now(t, fd, POLLOUT) & POLLERR, 0);
	ct_send_u32(t, (uint32_t)all);
	ct_close(t, fd);
}

static void gather_a(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(drain(t, fd, 4, 2048), 251u * 16 * 64);
}

/* One call with more bytes than any buffer on the way has room for: it waits. */
static void gather_b(struct ct *t)
{
	int fd = ct_pair(t), i;
	unsigned char buf[251 * 16];
	struct iovec iov[64];
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 64};

	ct_fill(buf, sizeof(buf), 0, 4);
	for (i = 0; i < 64; i++)
		iov[i] = (struct iovec){.iov_base = buf, .iov_len = sizeof(buf)};
	CT_EQ(sendmsg(fd, &m, MSG_NOSIGNAL), 64 * sizeof(buf));
}

static void iov_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[3][4];
	struct iovec iov[5] = {{buf[0], 1}, {NULL, 0}, {buf[1], 4}, {buf[2], 0}, {buf[2], 3}};

	ct_wait(t, "sent");
	CT_EQ(ct_poll(t, fd, POLLIN), POLLIN);
	CT_EQ(recv(fd, buf, 8, MSG_PEEK | MSG_WAITALL), 8);
	CT_EQ(readv(fd, iov, 5), 8);
	CT_EQ(memcmp(buf[0], "a", 1), 0);
	CT_EQ(memcmp(buf[1], "bcde", 4), 0);
	CT_EQ(memcmp(buf[2], "fgh", 3), 0);
	CT_EQ(writev(fd, iov, 5), 8);
	ct_wait(t, "done");
}

static void iov_b(struct ct *t)
{
	static char abc[] = "abc", de[] = "de", fgh[] = "fgh";
	struct iovec iov[4] = {{abc, 3}, {de, 2}, {NULL, 0}, {fgh, 3}};
	int fd = ct_pair(t);
	char buf[8];

	CT_EQ(writev(fd, iov, 4), 8);
	ct_tell(t, "sent");
	ct_recv_all(t, fd, buf, 8);
	CT_EQ(memcmp(buf, "abcdefgh", 8), 0);
	ct_tell(t, "done");
}

static void short_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	ct_wait(t, "sent");
	CT_EQ(recv(fd, buf, 8, MSG_PEEK | MSG_WAITALL), 8);
	CT_EQ(read(fd, buf, 3), 3);
	CT_EQ(recv(fd, buf + 3, 2, 0), 2);
	CT_EQ(recv(fd, buf + 5, 3, 0), 3);
	CT_EQ(memcmp(buf, "12345678", 8), 0);
	ct_tell(t, "done");
}

static void short_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "12345678", 8, 0), 8);
	ct_tell(t, "sent");
	ct_wait(t, "done");
}

static void pingpong(struct ct *t)
{
	int fd = ct_pair(t), i;
	unsigned char c;

	for (i = 0; i < 500; i++) {
		if (t->role == 'b') {
			c = (unsigned char)i;
			CT_EQ(send(fd, &c, 1, 0), 1);
		}
		CT_EQ(recv(fd, &c, 1, 0), 1);
		CT_EQ(c, (unsigned char)i);
		if (t->role == 'a')
			CT_EQ(send(fd, &c, 1, 0), 1);
	}
	ct_sync(t, "done");
}

/* Both send and receive at the same time, one thread each: nobody may wait for the other. */
static void both(struct ct *t)
{
	int fd = ct_pair(t);
	unsigned mine = t->role == 'a' ? 5 : 6, other = t->role == 'a' ? 6 : 5;
	unsigned char in[1024], out[1024];
	size_t sent = 0, got = 0, n;
	ssize_t r;

	ct_nonblock(t, fd, 1);
	while (sent < MUCH || got < MUCH) {
		int ev =
			ct_poll(t, fd, (sent < MUCH ? POLLOUT : 0) | (got < MUCH ? POLLIN : 0));

		CT_EQ(ev & POLLERR, 0);
		if (ev & POLLOUT) {
			n = MUCH - sent < sizeof(out) ? MUCH - sent : sizeof(out);
			ct_fill(out, n, sent, mine);
			r = send(fd, out, n, MSG_NOSIGNAL);
			/* POLLOUT has said so; but another thread may have had the link's last
			 * buffer meanwhile */
			if (r < 0)
				CT_ERR(r, EAGAIN);
			else
				sent += (size_t)r;
		}
		if (ev & POLLIN) {
			r = recv(fd, in, MUCH - got < sizeof(in) ? MUCH - got : sizeof(in), 0);
			CT_TRUE(CT_OK(r) > 0);
			CT_TRUE(ct_same(in, (size_t)r, got, other));
			got += (size_t)r;
		}
	}
	ct_sync(t, "done");
}

/* ---- flags ---- */

static void peek_end_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	CT_EQ(recv(fd, buf, 2, MSG_WAITALL | MSG_PEEK), 2);
	CT_EQ(recv(fd, buf, 2, 0), 2);
	CT_EQ(recv(fd, buf, 2, MSG_PEEK), 0);
	CT_EQ(recv(fd, buf, 2, MSG_PEEK), 0);
	CT_EQ(recv(fd, buf, 2, 0), 0);
	CT_EQ(recv(fd, buf, 2, MSG_DONTWAIT), 0); /* the end stays */
}

static void peek_end_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "12", 2, 0), 2);
}

static void waitall_late_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	ct_wait(t, "sent");
	CT_EQ(ct_poll(t, fd, POLLIN), POLLIN);
	CT_EQ(recv(fd, buf, 2, MSG_PEEK | MSG_WAITALL), 2);
	/* what is there, when it may not wait */
	CT_EQ(recv(fd, buf, 8, MSG_WAITALL | MSG_DONTWAIT), 2);
	ct_tell(t, "again");
	ct_timeout(t, fd, SO_RCVTIMEO, 100);
	CT_EQ(ct_poll(t, fd, POLLIN), POLLIN);
	CT_EQ(recv(fd, buf, 8, MSG_WAITALL), 2); /* the time-out ends it with what there is */
	CT_ERR(recv(fd, buf, 8, MSG_WAITALL), EAGAIN);
	ct_tell(t, "done");
}

static void waitall_late_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "12", 2, 0), 2);
	ct_tell(t, "sent");
	ct_wait(t, "again");
	CT_EQ(send(fd, "34", 2, 0), 2);
	ct_wait(t, "done");
}

static void oob(struct ct *t)
{
	int fd = ct_pair(t);
	char c;

	if (ct_differs(t, "a bad or unsupported `MSG_*` flag")) {
		CT_ERR(recv(fd, &c, 1, MSG_OOB | MSG_DONTWAIT), EOPNOTSUPP);
		CT_ERR(send(fd, &c, 1, MSG_PEEK), EOPNOTSUPP);
		CT_ERR(send(fd, &c, 1, 0x800000), EOPNOTSUPP);
	} else {
		CT_ERR2(recv(fd, &c, 1, MSG_OOB | MSG_DONTWAIT), EOPNOTSUPP, EINVAL);
		CT_EQ(send(fd, &c, 1, MSG_PEEK), 1);
	}
	ct_tell(t, "done");
}

static void dontwait(struct ct *t)
{
	int fd = ct_pair(t);
	char c;

	CT_ERR(recv(fd, &c, 1, MSG_DONTWAIT), EAGAIN);
	ct_nonblock(t, fd, 1);
	CT_ERR(recv(fd, &c, 1, 0), EAGAIN);
	CT_ERR(read(fd, &c, 1), EAGAIN);
	ct_nonblock(t, fd, 0);
	ct_timeout(t, fd, SO_RCVTIMEO, 50);
	CT_ERR(recv(fd, &c, 1, 0), EAGAIN);
	ct_tell(t, "done");
}

static void rdwr_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	CT_EQ(read(fd, buf, sizeof(buf)), 4);
	CT_EQ(memcmp(buf, "ping", 4), 0);
	CT_EQ(write(fd, "pong", 4), 4);
	CT_EQ(read(fd, buf, sizeof(buf)), 0);
}

static void rdwr_b(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	CT_EQ(write(fd, "ping", 4), 4);
	CT_EQ(read(fd, buf, sizeof(buf)), 4);
	CT_EQ(memcmp(buf, "pong", 4), 0);
}

/* recvfrom() on a connection: POSIX leaves the address to the family; the call works */
static void from_a(struct ct *t)
{
	int fd = ct_pair(t);
	struct ct_addr a;
	char buf[8];
	struct iovec iov = {buf, sizeof(buf)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	a.len = sizeof(a.ss);
	CT_EQ(recvfrom(fd, buf, 1, 0, (struct sockaddr *)&a.ss, &a.len), 1);
	CT_TRUE(a.len <= sizeof(a.ss));
	CT_EQ(recvmsg(fd, &m, 0), 1);
	CT_EQ(m.msg_controllen, 0);
	CT_EQ(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC), 0);
	ct_tell(t, "done");
}

static void from_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "12", 2, 0), 2);
	ct_wait(t, "done");
}

static void fionread_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[16];

	CT_EQ(ct_fionread(t, fd, 0), 0);
	ct_tell(t, "send");
	CT_EQ(recv(fd, buf, 10, MSG_PEEK | MSG_WAITALL), 10);
	CT_EQ(ct_fionread(t, fd, 10), 10);
	CT_EQ(recv(fd, buf, 4, 0), 4);
	CT_EQ(ct_fionread(t, fd, 6), 6);
	ct_tell(t, "done");
}

static void fionread_b(struct ct *t)
{
	int fd = ct_pair(t);

	ct_wait(t, "send");
	CT_EQ(send(fd, "0123456789", 10, 0), 10);
	ct_wait(t, "done");
}

static void lowat_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[16];

	ct_set(t, fd, SOL_SOCKET, SO_RCVLOWAT, 4);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_RCVLOWAT), 4);
	ct_tell(t, "three");
	ct_until(t, fd, 3);
	CT_EQ(ct_now(t, fd, POLLIN), 0);
	ct_tell(t, "one more");
	/* Linux's TCP is not woken when recv() has the three already: poll() first */
	CT_EQ(ct_poll(t, fd, POLLIN), POLLIN);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 4);
	ct_tell(t, "last");
	/* the end of the stream is worth waking for, whatever the mark says */
	CT_EQ(ct_poll(t, fd, POLLIN) & POLLIN, POLLIN);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 2);
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 0);
}

static void lowat_b(struct ct *t)
{
	int fd = ct_pair(t);

	ct_wait(t, "three");
	CT_EQ(send(fd, "123", 3, 0), 3);
	ct_wait(t, "one more");
	CT_EQ(send(fd, "4", 1, 0), 1);
	ct_wait(t, "last");
	CT_EQ(send(fd, "56", 2, 0), 2);
	CT_OK(shutdown(fd, SHUT_WR));
	ct_close(t, fd);
}

static void sendto_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_pair(t);

	a.len = sizeof(a.ss);
	CT_OK(getpeername(fd, (struct sockaddr *)&a.ss, &a.len));
	if (t->tr->props & CT_INET &&
	    !ct_differs(t, "`sendto` with an address on a connected TCP socket"))
		CT_EQ(sendto(fd, "x", 1, 0, (struct sockaddr *)&a.ss, a.len), 1);
	else
		CT_ERR(sendto(fd, "x", 1, 0, (struct sockaddr *)&a.ss, a.len), EISCONN);
	ct_tell(t, "done");
}

const struct ct_case ct_stream[] = {
	{"stream.much", "100,000 bytes arrive in order, then the end", CT_STREAM, CT_EOF, 0,
	 much_a, much_b},
	{"stream.zero", "0 bytes: nothing is sent, nothing is taken", CT_STREAM, 0, 0, zero_a,
	 zero_b},
	{"stream.odd", "pieces of every length", CT_STREAM, CT_EOF, 0, odd_a, odd_b},
	{"stream.stuffed", "what was taken without a reader arrives, no more and no less",
	 CT_STREAM, CT_EOF, 0, stuffed_a, stuffed_b},
	{"stream.gather", "one sendmsg() of 257,024 bytes in 64 pieces waits for the reader",
	 CT_STREAM, CT_EOF, 0, gather_a, gather_b},
	{"stream.iov", "readv(), writev(), with empty pieces", CT_STREAM, 0, 0, iov_a, iov_b},
	{"stream.short", "short reads leave the rest", CT_STREAM, 0, 0, short_a, short_b},
	{"stream.pingpong", "500 round trips of one byte", CT_STREAM, 0, 0, pingpong, pingpong},
	{"stream.both", "100,000 bytes each way at once, by poll()", CT_STREAM, 0, 0, both,
	 both},
	{"stream.read-write", "read() and write()", CT_STREAM, CT_EOF, 0, rdwr_a, rdwr_b},
	{"stream.from", "recvfrom(), recvmsg() on a connection", CT_STREAM, 0, 0, from_a,
	 from_b},
	{"stream.peek", "MSG_PEEK leaves what it shows", CT_STREAM, 0, 0, peek_a, peek_b},
	{"stream.peek-end", "MSG_PEEK shows the end, which stays", CT_STREAM, CT_EOF, 0,
	 peek_end_a, peek_end_b},
	{"stream.waitall", "MSG_WAITALL waits for all of it, or the end", CT_STREAM, CT_EOF, 0,
	 waitall_a, waitall_b},
	{"stream.waitall-late", "MSG_WAITALL ends with what there is", CT_STREAM, 0, 0,
	 waitall_late_a, waitall_late_b},
	{"stream.dontwait", "nothing there: EAGAIN, by flag, by O_NONBLOCK, by SO_RCVTIMEO",
	 CT_CONN, CT_MATES, 0, dontwait, ct_quiet},
	{"stream.flags", "flags that are no use here", CT_STREAM, 0, 0, oob, ct_quiet},
	{"stream.half-close", "after SHUT_WR the other way goes on", CT_STREAM, CT_EOF, 0,
	 half_a, half_b},
	{"stream.fionread", "FIONREAD counts what is there", CT_STREAM, 0, 0, fionread_a,
	 fionread_b},
	{"stream.lowat", "SO_RCVLOWAT holds poll() and recv() back, not the end", CT_STREAM,
	 CT_EOF, CT_UNIX, lowat_a, lowat_b},
	{"stream.sendto", "sendto() with an address", CT_STREAM, 0, 0, ct_quiet, sendto_b},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
