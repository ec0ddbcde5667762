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
	CT_TRUE(ct_same_addr(t, &told, &peer));
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

/* ---- without waiting ---- */

static void progress_a(struct ct *t)
{
	int lfd = ct_listen(t, 4), fd = ct_accept(t, lfd);
	char c;

	CT_EQ(recv(fd, &c, 1, 0), 1);
	ct_tell(t, "done");
}

static void progress_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, SOCK_NONBLOCK), r;

	ct_recv_addr(t, &a);
	r = connect(fd, (struct sockaddr *)&a.ss, a.len);
	if (r)
		CT_ERR(r, EINPROGRESS);
	CT_EQ(ct_poll(t, fd, POLLOUT), POLLOUT);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_ERROR), 0);
	CT_EQ(send(fd, "x", 1, 0), 1);
	ct_wait(t, "done");
}

static void progress_refused_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	ct_recv_addr(t, &a);
	ct_timeout(t, fd, SO_SNDTIMEO, 300);
	CT_EQ(ct_connect_nb(t, fd, &a), t->tr->e_refused);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_ERROR), 0); /* told once */
	CT_ERR2(send(fd, "x", 1, MSG_NOSIGNAL), EPIPE, ENOTCONN);
	ct_tell(t, "refused");
}

/* the state is asked for by connect() itself, as old programs do */
static void progress_again_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0), r;

	ct_recv_addr(t, &a);
	CT_EQ(ct_connect_nb(t, fd, &a), 0);
	r = connect(fd, (struct sockaddr *)&a.ss, a.len);
	CT_TRUE(r == 0 || errno == EISCONN);
	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, a.len), EISCONN);
	CT_EQ(send(fd, "x", 1, 0), 1);
	ct_wait(t, "done");
}

/* ---- a full backlog ---- */

static void full_a(struct ct *t)
{
	int lfd = ct_listen(t, 1);
	uint32_t n, i;

	n = ct_recv_u32(t);
	for (i = 0; i < n; i++)
		ct_close(t, ct_accept(t, lfd));
	ct_sync(t, "again");
	ct_tell(t, "accepts");
	(void)ct_accept(t, lfd);
	ct_wait(t, "done");
}

/* What connects at once, with no accept(): it is bounded, and goes on when there is room. */
static void full_b(struct ct *t)
{
	struct ct_addr a;
	uint32_t n = 0;
	int fd, r;

	ct_recv_addr(t, &a);
	for (;;) {
		struct pollfd p;

		CT_TRUE(n < 300);
		fd = ct_socket(t, SOCK_NONBLOCK);
		r = connect(fd, (struct sockaddr *)&a.ss, a.len);
		if (r && errno == EINPROGRESS) {
			p = (struct pollfd){.fd = fd, .events = POLLOUT};
			if (CT_OK(poll(&p, 1, 300)) == 0)
				break; /* waits: TCP */
			r = ct_get(t, fd, SOL_SOCKET, SO_ERROR) ? -1 : 0;
			if (r)
				break; /* refused */
		} else if (r) {
			CT_TRUE(errno == EAGAIN || errno == t->tr->e_refused);
			break;
		}
		n++;
	}
	CT_TRUE(n >= 1);
	ct_close(t, fd);
	ct_send_u32(t, n);
	ct_sync(t, "again");
	ct_wait(t, "accepts");
	fd = ct_socket(t, 0);
	CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
	ct_tell(t, "done");
}

/* ---- the time is over ---- */

static void timeout_a(struct ct *t)
{
	(void)ct_listen(t, 0);
	ct_wait(t, "done");
}

static void timeout_b(struct ct *t)
{
	int unix_ = !!(t->tr->props & CT_UNIX), i, fd;
	struct ct_addr a, peer = {.len = sizeof(peer.ss)};

	ct_recv_addr(t, &a);
	/* fills what the listener has room for */
	for (i = 0; i < 300; i++) {
		fd = ct_socket(t, 0);
		ct_timeout(t, fd, SO_SNDTIMEO, 200);
		if (connect(fd, (struct sockaddr *)&a.ss, a.len))
			break;
	}
	CT_TRUE(i >= 1 && i < 300);
	CT_EQ(errno, unix_ ? EAGAIN : EINPROGRESS);
	if (!unix_) {
		/* it goes on */
		ct_nonblock(t, fd, 1);
		CT_ERR(connect(fd, (struct sockaddr *)&a.ss, a.len), EALREADY);
		CT_EQ(ct_now(t, fd, POLLOUT), 0);
		CT_ERR(send(fd, "x", 1, MSG_DONTWAIT), EAGAIN);
		CT_ERR(recv(fd, &i, 1, MSG_DONTWAIT), EAGAIN);
		CT_ERR(listen(fd, 1), EINVAL);
		CT_ERR(getpeername(fd, (struct sockaddr *)&peer.ss, &peer.len), ENOTCONN);
		ct_addr_free(t, &peer);
		CT_ERR(bind(fd, (struct sockaddr *)&peer.ss, peer.len), EINVAL);
		CT_OK(shutdown(fd, SHUT_RDWR)); /* it is given up */
		CT_EQ(ct_now(t, fd, POLLOUT) & ~POLLERR, POLLOUT | POLLHUP);
		CT_ERR(connect(fd, (struct sockaddr *)&a.ss, a.len), EINPROGRESS);
	}
	ct_tell(t, "done");
}

/* by name, which nobody announces */
static void unheard_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	ct_addr_free(t, &a); /* a name that nobody has */
	ct_timeout(t, fd, SO_SNDTIMEO, 100);
	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, a.len), ECONNREFUSED);
	if (t->tr->kind == CT_DGRAM) {
		/* it waits whatever O_NONBLOCK says: there is nothing to poll for */
		ct_nonblock(t, fd, 1);
		CT_ERR(connect(fd, (struct sockaddr *)&a.ss, a.len), ECONNREFUSED);
		return;
	}
	ct_close(t, fd);
	fd = ct_socket(t, SOCK_NONBLOCK);
	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, a.len), EINPROGRESS);
	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, a.len), EALREADY);
	CT_EQ(ct_now(t, fd, POLLOUT), 0);
}

/* ---- to oneself ---- */

static void self_bound(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_bound(t, 0, NULL);

	ct_addr_self(t, fd, &a);
	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, a.len),
	       ct_linux_vsock(t, "AF_VSOCK `connect`, nobody listens") ? EPROTO
								       : t->tr->e_refused);
}

/* TCP: two that open at once, and both are one */
static void self_tcp(struct ct *t)
{
	struct ct_addr a, peer;
	int fd = ct_bound(t, 0, NULL);
	char buf[8];

	ct_addr_self(t, fd, &a);
	CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
	CT_EQ(send(fd, "echo", 4, 0), 4);
	ct_recv_all(t, fd, buf, 4);
	CT_EQ(memcmp(buf, "echo", 4), 0);
	peer.len = sizeof(peer.ss);
	CT_OK(getpeername(fd, (struct sockaddr *)&peer.ss, &peer.len));
	CT_EQ(peer.len, a.len);
	CT_EQ(memcmp(&peer.ss, &a.ss, a.len), 0);
	CT_OK(shutdown(fd, SHUT_WR));
	CT_EQ(recv(fd, buf, sizeof(buf), 0), 0);
}

static void self_listener(struct ct *t)
{
	struct ct_addr a;
	int lfd = ct_bound(t, 0, NULL), fd = ct_socket(t, 0), s;
	char c;

	CT_OK(listen(lfd, 4));
	ct_addr_self(t, lfd, &a);
	CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
	s = ct_accept(t, lfd);
	CT_EQ(send(fd, "1", 1, 0), 1);
	CT_EQ(recv(s, &c, 1, 0), 1);
	CT_EQ(send(s, "2", 1, 0), 1);
	CT_EQ(recv(fd, &c, 1, 0), 1);
	CT_EQ(c, '2');
}

/* ---- wrong addresses ---- */

#define OTHER_FAMILY "AF_VSOCK `bind`, `connect`, an address of another family"

static void wrong_family(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	ct_addr_free(t, &a);
	a.ss.ss_family = 77;
	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, a.len),
	       t->tr->props & CT_UNIX || ct_linux_vsock(t, OTHER_FAMILY) ? EINVAL
									 : EAFNOSUPPORT);
}

static void short_address(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	ct_addr_free(t, &a);
	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, 1), EINVAL);
	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, 0), EINVAL);
	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, sizeof(sa_family_t)), EINVAL);
}

static void listener_connects(struct ct *t)
{
	struct ct_addr a;
	int lfd = ct_bound(t, 0, NULL), other = ct_bound(t, 0, NULL);
	int want = t->tr->props & CT_INET ? EISCONN : EINVAL;

	CT_OK(listen(lfd, 1));
	CT_OK(listen(other, 1));
	ct_addr_self(t, other, &a);
	if (ct_differs(t, "`connect` on a listening socket"))
		want = EOPNOTSUPP;
	CT_ERR(connect(lfd, (struct sockaddr *)&a.ss, a.len), want);
}

/* ---- the same descriptor, after a refusal ---- */

static void reuse_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	ct_recv_addr(t, &a);
	ct_timeout(t, fd, SO_SNDTIMEO, 300);
	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, a.len), t->tr->e_refused);
	ct_tell(t, "refused");
	ct_wait(t, "listens");
	if (ct_linux_vsock(t, "AF_VSOCK `connect` again, after a refusal"))
		CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_ERROR), t->tr->e_refused);
	CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_ERROR), 0);
}

/* No connection: nothing can be sent on it, or comes. */
static void refused_io_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0), want = ENOTCONN, i;
	char c = 0;

	ct_recv_addr(t, &a);
	ct_timeout(t, fd, SO_SNDTIMEO, 300);
	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, a.len), t->tr->e_refused);
	ct_tell(t, "refused");
	if (t->tr->props & CT_INET &&
	    !ct_differs(t, "`send` on a TCP socket that is not connected"))
		want = EPIPE;
	for (i = 0; i < 2; i++)
		CT_ERR(send(fd, &c, 1, MSG_NOSIGNAL), want);
	CT_ERR(recv(fd, &c, 1, MSG_DONTWAIT),
	       t->tr->props & CT_UNIX && t->tr->kind == CT_STREAM ? EINVAL : ENOTCONN);
	CT_ERR(getpeername(fd, (struct sockaddr *)&a.ss, &a.len), ENOTCONN);
}

#define NB_LISTEN "`listen` after a `connect` without blocking failed"

/* A refusal that waits for SO_ERROR is not bind()'s or listen()'s to tell. */
static void kept_b(struct ct *t)
{
	struct ct_addr to, a, bad;
	int i;

	ct_recv_addr(t, &to);
	for (i = 0; i < 3; i++) {
		int fd = ct_socket(t, SOCK_NONBLOCK);

		if (connect(fd, (struct sockaddr *)&to.ss, to.len) == 0 || errno != EINPROGRESS)
			break; /* told at once: nothing is pending */
		CT_TRUE(ct_poll(t, fd, POLLOUT) & POLLERR);
		ct_addr_free(t, &a);
		bad = a;
		bad.ss.ss_family = AF_UNSPEC + 77;
		if (i == 1)
			CT_ERR2(bind(fd, (struct sockaddr *)&bad.ss, bad.len), EAFNOSUPPORT,
				EINVAL);
		else
			CT_OK(bind(fd, (struct sockaddr *)&a.ss, a.len));
		if (i == 2 && ct_differs(t, NB_LISTEN))
			CT_OK(listen(fd, 1));
		else if (i == 2)
			CT_ERR(listen(fd, 1), EINVAL);
		CT_TRUE(ct_now(t, fd, 0) & POLLERR);
		CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_ERROR), t->tr->e_refused);
		CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_ERROR), 0);
	}
	ct_tell(t, "refused");
}

/* a bound socket connects from the address it is bound to */
static void from_bound_a(struct ct *t)
{
	struct ct_addr peer, told;
	int lfd = ct_listen(t, 1);

	peer.len = sizeof(peer.ss);
	(void)ct_own(t, (int)CT_OK(accept(lfd, (struct sockaddr *)&peer.ss, &peer.len)));
	ct_recv_addr(t, &told);
	CT_TRUE(ct_same_addr(t, &peer, &told));
	ct_tell(t, "done");
}

static void from_bound_b(struct ct *t)
{
	struct ct_addr a, mine;
	int fd = ct_bound(t, 0, &mine);

	ct_recv_addr(t, &a);
	CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
	ct_send_addr(t, &mine);
	ct_wait(t, "done");
}

const struct ct_case ct_connect[] = {
	{"connect.refused", "bound, but not listening", CT_CONN, CT_REFUSES, 0, refused_a,
	 refused_b},
	{"connect.refused-then-listens", "refused once, connected when it listens", CT_CONN,
	 CT_REFUSES, 0, refused_again_a, refused_again_b},
	{"connect.refused-same", "after a refusal the same descriptor connects", CT_CONN,
	 CT_REFUSES, 0, refused_again_a, reuse_b},
	{"connect.refused-io", "after a refusal send() and recv() say ENOTCONN", CT_CONN,
	 CT_REFUSES, 0, refused_a, refused_io_b},
	{"connect.names", "accept(), getpeername() and the peer's getsockname() agree", CT_CONN,
	 CT_MATES, CT_UNIX, names_a, names_b},
	{"connect.from-bound", "a bound socket connects from its address", CT_CONN, CT_MATES,
	 CT_RPMSG, from_bound_a, from_bound_b},
	{"connect.twice", "a connected socket says EISCONN", CT_CONN, CT_MATES, 0, twice_a,
	 twice_b},
	{"connect.brief",
	 "accepted, greeted and left at once: it succeeds, the greeting is read", CT_CONN,
	 CT_MATES | CT_EOF, 0, brief_a, brief_b},
	{"connect.progress", "O_NONBLOCK: EINPROGRESS or done, POLLOUT, SO_ERROR 0", CT_CONN,
	 CT_MATES, 0, progress_a, progress_b},
	{"connect.progress-refused", "O_NONBLOCK: refused by SO_ERROR, once", CT_CONN,
	 CT_REFUSES, CT_UNIX, refused_a, progress_refused_b},
	{"connect.progress-kept",
	 "O_NONBLOCK: a refusal waits for SO_ERROR, whatever bind() says", CT_CONN,
	 CT_REFUSES | CT_INET, 0, refused_a, kept_b},
	{"connect.progress-again", "O_NONBLOCK: connect() again says 0 or EISCONN", CT_CONN,
	 CT_MATES, CT_UNIX, progress_a, progress_again_b},
	{"connect.full", "a backlog is bounded, and goes on when there is room", CT_CONN,
	 CT_MATES | CT_BACKLOG, 0, full_a, full_b},
	{"connect.timeout", "SO_SNDTIMEO ends the wait on a full backlog", CT_CONN, CT_WAITS, 0,
	 timeout_a, timeout_b},
	{"connect.unheard", "a name that nobody announces: ECONNREFUSED when the time is over",
	 CT_ALL, CT_RPMSG, 0, ct_nothing, unheard_b},
	{"connect.self", "to its own address, where it does not listen: refused", CT_CONN,
	 CT_SELF | CT_REFUSES, CT_INET, self_bound, ct_nothing},
	{"connect.self-tcp", "to its own address: connected with itself", CT_STREAM, CT_INET, 0,
	 self_tcp, ct_nothing},
	{"connect.self-listener", "to a listener in the same program", CT_CONN,
	 CT_SELF | CT_BACKLOG, 0, self_listener, ct_nothing},
	{"connect.family", "an address of another family", CT_CONN, 0, 0, wrong_family,
	 ct_nothing},
	{"connect.short", "an address that is too short: EINVAL", CT_ALL, 0, 0, short_address,
	 ct_nothing},
	{"connect.listener", "on a listening socket", CT_CONN, CT_SELF, 0, listener_connects,
	 ct_nothing},
	{"accept.order", "first come, first accepted", CT_CONN, CT_BACKLOG | CT_MATES, 0,
	 order_a, order_b},
	{"accept.left", "who left before accept() is accepted, with its data and its end",
	 CT_CONN, CT_BACKLOG | CT_MATES | CT_EOF, 0, left_a, left_b},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
