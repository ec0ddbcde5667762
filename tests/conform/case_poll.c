/* SPDX-License-Identifier: BSD-3-Clause */
/* poll() and select(): level-triggered, and what they say is what the next call does. */
#include <sys/select.h>
#include <sys/time.h>

#include "conform.h"

static void level_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	CT_EQ(ct_now(t, fd, POLLIN | POLLOUT), POLLOUT);
	ct_tell(t, "send");
	CT_EQ(ct_poll(t, fd, POLLIN), POLLIN);
	CT_EQ(ct_now(t, fd, POLLIN | POLLOUT), POLLIN | POLLOUT); /* still */
	CT_EQ(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 2);
	CT_EQ(ct_now(t, fd, POLLIN | POLLOUT), POLLOUT);
	CT_ERR(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN);
	ct_tell(t, "done");
}

static void level_b(struct ct *t)
{
	int fd = ct_pair(t);

	ct_wait(t, "send");
	CT_EQ(send(fd, "xy", 2, 0), 2);
	ct_wait(t, "done");
}

static void accept_a(struct ct *t)
{
	int lfd = ct_listen(t, 4);

	CT_EQ(ct_poll(t, lfd, POLLIN), POLLIN);
	CT_EQ(ct_now(t, lfd, POLLIN), POLLIN);
	(void)ct_accept(t, lfd);
	CT_EQ(ct_now(t, lfd, POLLIN), 0);
	ct_nonblock(t, lfd, 1);
	CT_ERR(accept(lfd, NULL, NULL), EAGAIN);
	ct_tell(t, "done");
}

static void accept_b(struct ct *t)
{
	(void)ct_dial(t);
	ct_wait(t, "done");
}

/* ---- the ends ---- */

static void half_a(struct ct *t)
{
	int fd = ct_pair(t);
	char c;

	ct_wait(t, "shut");
	CT_EQ(ct_poll(t, fd, POLLIN | POLLRDHUP), POLLIN | POLLRDHUP);
	CT_EQ(recv(fd, &c, 1, MSG_DONTWAIT), 0);
	CT_EQ(ct_now(t, fd, POLLIN | POLLOUT | POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP);
	CT_EQ(ct_now(t, fd, 0), 0); /* no POLLHUP: our way is open */
	ct_tell(t, "done");
}

static void half_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_OK(shutdown(fd, SHUT_WR));
	/* here sending is over and receiving is not */
	CT_EQ(ct_now(t, fd, POLLIN), 0);
	CT_EQ(ct_now(t, fd, POLLOUT), /* and would not wait: EPIPE */
	      ct_linux_vsock(t, "AF_VSOCK `poll` for POLLOUT after SHUT_WR") ? 0 : POLLOUT);
	ct_tell(t, "shut");
	ct_wait(t, "done");
}

static void hup_a(struct ct *t)
{
	int fd = ct_pair(t);
	char c;

	CT_OK(shutdown(fd, SHUT_WR));
	ct_sync(t, "shut");
	CT_EQ(ct_poll(t, fd, POLLRDHUP) & POLLRDHUP, POLLRDHUP);
	CT_EQ(ct_now(t, fd, 0), POLLHUP); /* unasked */
	CT_EQ(ct_now(t, fd, POLLIN | POLLOUT) & (POLLIN | POLLHUP), POLLIN | POLLHUP);
	CT_EQ(recv(fd, &c, 1, MSG_DONTWAIT), 0);
	ct_sync(t, "done");
}

static void closed_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	ct_wait(t, "closed");
	CT_EQ(ct_poll(t, fd, POLLRDHUP) & POLLRDHUP, POLLRDHUP);
	CT_EQ(ct_now(t, fd, POLLIN) & POLLIN, POLLIN); /* data first */
	CT_EQ(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 1);
	CT_EQ(ct_now(t, fd, POLLIN) & POLLIN, POLLIN); /* then the end */
	CT_EQ(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 0);
	CT_EQ(ct_now(t, fd, POLLIN) & (POLLIN | POLLERR), POLLIN);
}

static void closed_b(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(send(fd, "x", 1, 0), 1);
	ct_close(t, fd);
	ct_tell(t, "closed");
}

static void shut_rd(struct ct *t)
{
	int fd = ct_pair(t);
	char c;

	CT_OK(shutdown(fd, SHUT_RD));
	CT_EQ(ct_now(t, fd, POLLIN | POLLRDHUP | POLLOUT), POLLIN | POLLRDHUP | POLLOUT);
	CT_EQ(recv(fd, &c, 1, MSG_DONTWAIT), 0);
	ct_tell(t, "done");
}

/* ---- room ---- */

static void out_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[100];
	unsigned long n;

	n = ct_recv_u32(t);
	while (n) {
		size_t r = (size_t)CT_OK(recv(fd, buf, n < sizeof(buf) ? n : sizeof(buf), 0));

		CT_TRUE(r > 0 && r <= n);
		n -= r;
	}
	ct_wait(t, "done");
}

static void out_b(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[100] = "";
	unsigned long n = ct_stuff(t, fd, buf, sizeof(buf));

	n += ct_stuff(t, fd, buf, 1); /* room for a small message is room */
	/* what is on its way makes room for a while: then POLLOUT is true */
	while (ct_now(t, fd, POLLOUT) & POLLOUT) {
		CT_EQ(send(fd, buf, 1, MSG_DONTWAIT), 1);
		n++;
	}
	CT_EQ(ct_now(t, fd, POLLIN | POLLRDHUP), 0);
	ct_send_u32(t, (uint32_t)n);
	CT_EQ(ct_poll(t, fd, POLLOUT), POLLOUT);
	CT_EQ(send(fd, buf, 1, MSG_DONTWAIT), 1);
	ct_tell(t, "done");
}

/* ---- sockets that are nothing yet, and what is none ---- */

static void fresh(struct ct *t)
{
	int fd = ct_socket(t, 0);

	if (t->tr->kind == CT_DGRAM)
		CT_EQ(ct_now(t, fd, POLLIN | POLLOUT), POLLOUT);
	else
		CT_EQ(ct_now(t, fd, POLLIN | POLLOUT),
		      ct_linux_vsock(t, "AF_VSOCK `poll` of a socket without connection")
			      ? POLLOUT
			      : POLLOUT | POLLHUP);
}

/* To look at a socket is not to use it. */
static void looked_at(struct ct *t)
{
	int fd = ct_socket(t, 0);
	struct ct_addr a;

	CT_EQ(ct_now(t, fd, POLLIN | POLLOUT), POLLOUT);
	CT_EQ(ct_now(t, fd, POLLIN), 0);
	ct_addr_free(t, &a);
	CT_OK(bind(fd, (struct sockaddr *)&a.ss, a.len));
	CT_EQ(ct_now(t, fd, POLLIN | POLLOUT), POLLOUT);
}

static void first_a(struct ct *t)
{
	int fd = ct_socket(t, SOCK_NONBLOCK);
	struct ct_addr to;

	ct_recv_addr(t, &to);
	CT_EQ(ct_now(t, fd, POLLOUT), POLLOUT);
	if (ct_differs(t, "the first `send` of an unbound UDP socket, not waiting")) {
		CT_ERR(sendto(fd, "x", 1, 0, (struct sockaddr *)&to.ss, to.len), EAGAIN);
		CT_EQ(ct_poll(t, fd, POLLOUT), POLLOUT);
	}
	CT_EQ(sendto(fd, "x", 1, 0, (struct sockaddr *)&to.ss, to.len), 1);
}

static void first_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_bound(t, 0, &a);
	char c;

	ct_send_addr(t, &a);
	CT_EQ(recv(fd, &c, 1, 0), 1);
}

static void invalid(struct ct *t)
{
	int fd = ct_socket(t, 0), open = ct_bound(t, 0, NULL);
	struct pollfd p[3];

	ct_close(t, fd);
	if (t->tr->kind != CT_DGRAM)
		CT_OK(listen(open, 1));
	p[0] = (struct pollfd){.fd = fd, .events = 0, .revents = 0x7f};
	p[1] = (struct pollfd){.fd = -1, .events = POLLIN, .revents = 0x7f};
	p[2] = (struct pollfd){.fd = open, .events = POLLIN, .revents = 0x7f};
	CT_EQ(poll(p, 3, -1), 1); /* does not wait */
	CT_EQ(p[0].revents, POLLNVAL);
	CT_EQ(p[1].revents, 0); /* a negative one is passed over */
	CT_EQ(p[2].revents, 0);
	CT_EQ(poll(NULL, 0, 0), 0);
	CT_EQ(poll(p + 1, 2, 20), 0);
}

static void listener(struct ct *t)
{
	int lfd = ct_bound(t, 0, NULL);

	CT_OK(listen(lfd, 1));
	CT_EQ(ct_now(t, lfd, POLLIN | POLLOUT | POLLRDHUP), 0);
}

static void several_a(struct ct *t)
{
	int one = ct_pair(t), two = ct_pair(t);
	struct pollfd p[2] = {{.fd = one, .events = POLLIN}, {.fd = two, .events = POLLIN}};
	char c;

	CT_EQ(poll(p, 2, 0), 0);
	ct_tell(t, "second");
	CT_EQ(poll(p, 2, -1), 1);
	CT_EQ(p[0].revents, 0);
	CT_EQ(p[1].revents, POLLIN);
	ct_tell(t, "first");
	CT_EQ(ct_poll(t, one, POLLIN), POLLIN);
	CT_EQ(poll(p, 2, -1), 2);
	CT_EQ(p[0].revents, POLLIN);
	CT_EQ(p[1].revents, POLLIN);
	CT_EQ(recv(two, &c, 1, MSG_DONTWAIT), 1);
	CT_EQ(poll(p, 2, 0), 1);
	CT_EQ(p[1].revents, 0);
	/* the same one twice */
	p[1] = p[0];
	p[1].events = POLLOUT;
	CT_EQ(poll(p, 2, 0), 2);
	CT_EQ(p[1].revents, POLLOUT);
	ct_tell(t, "done");
}

static void several_b(struct ct *t)
{
	int one = ct_pair(t), two = ct_pair(t);

	ct_wait(t, "second");
	CT_EQ(send(two, "2", 1, 0), 1);
	ct_wait(t, "first");
	CT_EQ(send(one, "1", 1, 0), 1);
	ct_wait(t, "done");
}

static void too_many(struct ct *t)
{
	static struct pollfd p[1];
	volatile nfds_t many = 1u << 24; /* the compiler would not have it */

	CT_ERR(poll(p, many, 0), EINVAL);
}

/* ---- select ---- */

/* select() on one descriptor for all three; which it says. */
static int selected(struct ct *t, int fd, int ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	fd_set r, w, x;
	int n, got;

	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_ZERO(&x);
	FD_SET(fd, &r);
	FD_SET(fd, &w);
	FD_SET(fd, &x);
	n = (int)CT_OK(select(fd + 1, &r, &w, &x, ms < 0 ? NULL : &tv));
	got = (FD_ISSET(fd, &r) ? 1 : 0) + (FD_ISSET(fd, &w) ? 2 : 0) +
	      (FD_ISSET(fd, &x) ? 4 : 0);
	CT_EQ(n, (got & 1) + (got >> 1 & 1) + (got >> 2));
	return got;
}

static void select_a(struct ct *t)
{
	int fd = ct_pair(t);
	fd_set r;
	char c;

	CT_EQ(selected(t, fd, 0), 2);
	ct_tell(t, "send");
	FD_ZERO(&r);
	FD_SET(fd, &r);
	CT_EQ(select(fd + 1, &r, NULL, NULL, NULL), 1);
	CT_TRUE(FD_ISSET(fd, &r));
	CT_EQ(selected(t, fd, -1), 3);
	CT_EQ(recv(fd, &c, 1, MSG_DONTWAIT), 1);
	CT_EQ(selected(t, fd, 0), 2);
	ct_tell(t, "done");
}

static void send_b(struct ct *t)
{
	int fd = ct_pair(t);

	ct_wait(t, "send");
	CT_EQ(send(fd, "x", 1, 0), 1);
	ct_wait(t, "done");
}

static void select_end_a(struct ct *t)
{
	int fd = ct_pair(t);
	char c;

	ct_wait(t, "closed");
	CT_EQ(ct_poll(t, fd, POLLRDHUP) & POLLRDHUP, POLLRDHUP);
	CT_EQ(selected(t, fd, 0) & 1, 1); /* the end is readable */
	CT_EQ(recv(fd, &c, 1, MSG_DONTWAIT), 0);
}

static void select_end_b(struct ct *t)
{
	int fd = ct_pair(t);

	ct_close(t, fd);
	ct_tell(t, "closed");
}

static void select_idle(struct ct *t)
{
	int fd = ct_bound(t, 0, NULL);
	struct timeval tv = {.tv_usec = 20000};
	struct timespec ts = {.tv_nsec = 20000000};
	fd_set r;

	if (t->tr->kind != CT_DGRAM)
		CT_OK(listen(fd, 1));
	FD_ZERO(&r);
	FD_SET(fd, &r);
	CT_EQ(select(fd + 1, &r, NULL, NULL, &tv), 0);
	CT_TRUE(!FD_ISSET(fd, &r));
	FD_SET(fd, &r);
	CT_EQ(pselect(fd + 1, &r, NULL, NULL, &ts, NULL), 0);
	CT_TRUE(!FD_ISSET(fd, &r));
	CT_EQ(select(0, NULL, NULL, NULL, &(struct timeval){.tv_usec = 1000}), 0);
	FD_SET(fd, &r);
	CT_ERR(select(-1, &r, NULL, NULL, &tv), EINVAL);
	tv.tv_sec = -1;
	CT_ERR(select(fd + 1, &r, NULL, NULL, &tv), EINVAL);
	ct_close(t, fd);
	tv.tv_sec = 0;
	FD_ZERO(&r);
	FD_SET(fd, &r);
	CT_ERR(select(fd + 1, &r, NULL, NULL, &tv), EBADF);
}

static void ppoll_a(struct ct *t)
{
	struct timespec ts = {.tv_nsec = 20000000};
	int fd = ct_pair(t);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	CT_EQ(ppoll(&p, 1, &ts, NULL), 0);
	ct_tell(t, "send");
	CT_EQ(ppoll(&p, 1, NULL, NULL), 1);
	CT_EQ(p.revents, POLLIN);
	ts.tv_nsec = 1000000000;
	CT_ERR(ppoll(&p, 1, &ts, NULL), EINVAL);
	ct_tell(t, "done");
}

/* POLLRDNORM and POLLWRNORM are the same two. */
static void norm_a(struct ct *t)
{
	int fd = ct_pair(t);

	CT_EQ(ct_now(t, fd, POLLRDNORM | POLLWRNORM), POLLWRNORM);
	ct_tell(t, "send");
	CT_EQ(ct_poll(t, fd, POLLRDNORM), POLLRDNORM);
	CT_EQ(ct_now(t, fd, POLLPRI), 0);
	ct_tell(t, "done");
}

const struct ct_case ct_poll_cases[] = {
	{"poll.level", "POLLIN stays until it was read, and agrees with recv()", CT_ALL, 0, 0,
	 level_a, level_b},
	{"poll.accept", "POLLIN on a listener, and agrees with accept()", CT_CONN, 0, 0,
	 accept_a, accept_b},
	{"poll.listener", "nothing on a listener to which nobody has come", CT_CONN, 0, 0,
	 listener, ct_nothing},
	{"poll.half", "half-closed: POLLIN, POLLRDHUP, and no POLLHUP", CT_CONN, CT_EOF, 0,
	 half_a, half_b},
	{"poll.hup", "both ways closed: POLLHUP, asked or not", CT_CONN, CT_EOF, 0, hup_a,
	 hup_a},
	{"poll.closed", "the peer has closed: data, then the end", CT_CONN, CT_EOF, 0, closed_a,
	 closed_b},
	{"poll.shut-rd", "SHUT_RD here: POLLIN, POLLRDHUP", CT_CONN, CT_MATES, 0, shut_rd,
	 ct_quiet},
	{"poll.out", "no POLLOUT when there is no room; then as send() does", CT_ALL,
	 CT_PRESSURE, 0, out_a, out_b},
	{"poll.fresh", "a socket that is not connected: POLLOUT, POLLHUP", CT_ALL, 0, 0, fresh,
	 ct_nothing},
	{"poll.looked-at", "who only polls a datagram socket may still bind it", CT_DGRAM,
	 CT_PORTS, 0, looked_at, ct_nothing},
	{"poll.first", "POLLOUT of a socket that was never used, and its first datagram",
	 CT_DGRAM, CT_INET, 0, first_a, first_b},
	{"poll.invalid", "POLLNVAL, negative descriptors, none at all", CT_ALL, 0, 0, invalid,
	 ct_nothing},
	{"poll.several", "several, and one twice", CT_ALL, CT_EOF, 0, several_a, several_b},
	{"poll.too-many", "more than there can be descriptors: EINVAL", CT_ALL, 0, 0, too_many,
	 ct_nothing},
	{"poll.norm", "POLLRDNORM, POLLWRNORM; no POLLPRI", CT_ALL, 0, 0, norm_a, send_b},
	{"poll.ppoll", "ppoll(): a time, none, a wrong one", CT_ALL, 0, 0, ppoll_a, send_b},
	{"select.level", "readable until it was read, writable", CT_ALL, 0, 0, select_a,
	 send_b},
	{"select.end", "the end is readable", CT_CONN, CT_EOF, 0, select_end_a, select_end_b},
	{"select.idle", "time, EINVAL, EBADF; pselect()", CT_ALL, 0, 0, select_idle,
	 ct_nothing},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
