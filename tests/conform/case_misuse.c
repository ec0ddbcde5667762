/* SPDX-License-Identifier: BSD-3-Clause */
/* Wrong use, and the errno for it. */
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "conform.h"

static void badf(struct ct *t)
{
	struct ct_addr a;
	socklen_t len = sizeof(a.ss);
	char c = 0;
	int fd = ct_socket(t, 0), v = 0;

	ct_addr_free(t, &a);
	ct_close(t, fd);
	CT_ERR(close(fd), EBADF);
	CT_ERR(bind(fd, (struct sockaddr *)&a.ss, a.len), EBADF);
	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, a.len), EBADF);
	CT_ERR(listen(fd, 1), EBADF);
	CT_ERR(accept(fd, NULL, NULL), EBADF);
	CT_ERR(send(fd, &c, 1, 0), EBADF);
	CT_ERR(recv(fd, &c, 1, 0), EBADF);
	CT_ERR(read(fd, &c, 1), EBADF);
	CT_ERR(write(fd, &c, 1), EBADF);
	CT_ERR(readv(fd, &(struct iovec){NULL, 0}, 1), EBADF);
	CT_ERR(writev(fd, &(struct iovec){NULL, 0}, 1), EBADF);
	CT_ERR(shutdown(fd, SHUT_RDWR), EBADF);
	CT_ERR(getsockname(fd, (struct sockaddr *)&a.ss, &len), EBADF);
	CT_ERR(getpeername(fd, (struct sockaddr *)&a.ss, &len), EBADF);
	CT_ERR(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &v, sizeof(v)), EBADF);
	CT_ERR(send(-1, &c, 1, 0), EBADF);
	CT_EQ(ct_now(t, fd, POLLIN | POLLOUT), POLLNVAL);
}

static void notconn(struct ct *t)
{
	struct ct_addr a;
	socklen_t len = sizeof(a.ss);
	char c = 0;
	int fd = ct_socket(t, 0);

	CT_ERR(getpeername(fd, (struct sockaddr *)&a.ss, &len), ENOTCONN);
	CT_ERR(accept(fd, NULL, NULL), EINVAL);
	CT_ERR(recv(fd, &c, 1, MSG_DONTWAIT),
	       t->tr->props & CT_UNIX && t->tr->kind == CT_STREAM ? EINVAL : ENOTCONN);
}

static void send_unconnected(struct ct *t)
{
	int fd = ct_socket(t, 0);
	char c = 0;
	struct iovec iov = {&c, 1};

	CT_ERR2(send(fd, &c, 1, MSG_NOSIGNAL), ENOTCONN, EPIPE); /* TCP on Linux: EPIPE */
	CT_ERR2(sendmsg(fd, &(struct msghdr){.msg_iov = &iov, .msg_iovlen = 1}, MSG_NOSIGNAL),
		ENOTCONN, EPIPE);
}

/* A listener is no connection. */
static void listener_io(struct ct *t)
{
	int lfd = ct_bound(t, 0, NULL), n = -1;
	char c = 0;

	CT_OK(listen(lfd, 1));
	CT_ERR2(send(lfd, &c, 1, MSG_NOSIGNAL), ENOTCONN, EPIPE);
	CT_ERR2(recv(lfd, &c, 1, 0), ENOTCONN, EINVAL);
	CT_TRUE(ioctl(lfd, FIONREAD, &n) == -1 || n == 0);
}

/* Descriptor 0 is the channel: a pipe, or the console. */
static void not_socket(struct ct *t)
{
	struct ct_addr a;
	socklen_t len = sizeof(a.ss);
	char c = 0;
	int v = 0;
	struct iovec iov = {&c, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	ct_addr_free(t, &a);
	CT_ERR(bind(0, (struct sockaddr *)&a.ss, a.len), ENOTSOCK);
	CT_ERR(connect(0, (struct sockaddr *)&a.ss, a.len), ENOTSOCK);
	CT_ERR(listen(0, 1), ENOTSOCK);
	CT_ERR(accept(0, NULL, NULL), ENOTSOCK);
	CT_ERR(accept4(0, NULL, NULL, SOCK_NONBLOCK), ENOTSOCK);
	CT_ERR(send(0, &c, 1, 0), ENOTSOCK);
	CT_ERR(recv(0, &c, 1, 0), ENOTSOCK);
	CT_ERR(sendmsg(0, &m, 0), ENOTSOCK);
	CT_ERR(recvmsg(0, &m, 0), ENOTSOCK);
	CT_ERR(shutdown(0, SHUT_RDWR), ENOTSOCK);
	CT_ERR(getsockname(0, (struct sockaddr *)&a.ss, &len), ENOTSOCK);
	CT_ERR(getpeername(0, (struct sockaddr *)&a.ss, &len), ENOTSOCK);
	len = sizeof(v);
	CT_ERR(getsockopt(0, SOL_SOCKET, SO_TYPE, &v, &len), ENOTSOCK);
	CT_ERR(setsockopt(0, SOL_SOCKET, SO_RCVBUF, &v, len), ENOTSOCK);
}

static void null_address(struct ct *t)
{
	struct sockaddr *volatile none = NULL;
	socklen_t *volatile no_len = NULL;
	struct sockaddr_storage ss;
	int fd = ct_socket(t, 0);

	CT_ERR2(bind(fd, none, 16), EFAULT, EINVAL);
	CT_ERR2(connect(fd, none, 16), EFAULT, EINVAL);
	CT_ERR2(getsockname(fd, (struct sockaddr *)&ss, no_len), EFAULT, EINVAL);
	CT_ERR2(getsockname(fd, none, &(socklen_t){16}), EFAULT, EINVAL);
}

/* What does not fit the room is cut off, with the true length. */
static void name_room(struct ct *t)
{
	struct ct_addr a, full;
	int fd = ct_bound(t, 0, NULL);

	ct_name(t, fd, &full);
	memset(&a, 0x55, sizeof(a));
	a.len = 3;
	CT_OK(getsockname(fd, (struct sockaddr *)&a.ss, &a.len));
	CT_EQ(a.len, full.len);
	CT_EQ(memcmp(&a.ss, &full.ss, 3), 0);
	CT_EQ(((unsigned char *)&a.ss)[3], 0x55);
	a.len = 0;
	CT_OK(getsockname(fd, (struct sockaddr *)&a.ss, &a.len));
	CT_EQ(a.len, full.len);
}

/* The counts and lengths of an iovec. */
static void iovecs(struct ct *t)
{
	static struct iovec iov[1025];
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 1025};
	volatile int neg = -1;
	int fd = ct_pair(t);
	char c = 0;

	CT_ERR(sendmsg(fd, &m, MSG_NOSIGNAL), EMSGSIZE);
	CT_ERR(recvmsg(fd, &m, MSG_DONTWAIT), EMSGSIZE);
	CT_ERR(readv(fd, iov, 1025), EINVAL);
	CT_ERR(writev(fd, iov, 1025), EINVAL);
	CT_ERR(readv(fd, iov, neg), EINVAL);
	CT_ERR(writev(fd, iov, neg), EINVAL);
	iov[0] = (struct iovec){&c, 1};
	iov[1] = (struct iovec){&c, (size_t)-1 >> 1};
	iov[2] = (struct iovec){&c, (size_t)-1 >> 1};
	CT_ERR(writev(fd, (struct iovec[]){{&c, (size_t)-1}}, 1), EINVAL);
	CT_EQ(writev(fd, iov, 1), 1);
	iov[0] = iov[1] = iov[2] = (struct iovec){NULL, 0};
	ct_tell(t, "done");
}

static void domains(struct ct *t)
{
	CT_ERR(socket(77, t->tr->type, 0), EAFNOSUPPORT);
	CT_ERR(socket(-1, t->tr->type, 0), EAFNOSUPPORT);
	CT_ERR2(socket(t->tr->family, 9, 0), ESOCKTNOSUPPORT, EINVAL);
	CT_ERR2(socket(t->tr->family, 15, 0), ESOCKTNOSUPPORT, EINVAL);
	CT_ERR2(socket(t->tr->family, t->tr->type, 200), EPROTONOSUPPORT, EINVAL);
	CT_ERR2(socket(t->tr->family, t->tr->type | 0x100, 0), EINVAL, ESOCKTNOSUPPORT);
	if (!(t->tr->props & CT_INET))
		return;
	CT_ERR(socket(t->tr->family, SOCK_SEQPACKET, 0), ESOCKTNOSUPPORT);
	CT_ERR(socket(t->tr->family, t->tr->type,
		      t->tr->kind == CT_STREAM ? IPPROTO_UDP : IPPROTO_TCP),
	       EPROTONOSUPPORT);
	(void)ct_own(t,
		     (int)CT_OK(socket(t->tr->family, t->tr->type,
				       t->tr->kind == CT_STREAM ? IPPROTO_TCP : IPPROTO_UDP)));
}

/* Two descriptors of a new socketpair. */
static void pair_of(struct ct *t, int flags, int sv[2])
{
	CT_OK(socketpair(AF_UNIX, t->tr->type | flags, 0, sv));
	ct_own(t, sv[0]);
	ct_own(t, sv[1]);
}

static void pair(struct ct *t)
{
	int sv[2], i;
	char buf[8];

	pair_of(t, 0, sv);
	for (i = 0; i < 2; i++) {
		CT_EQ(send(sv[i], "ping", 4, 0), 4);
		CT_EQ(recv(sv[!i], buf, sizeof(buf), 0), 4);
		CT_EQ(memcmp(buf, "ping", 4), 0);
	}
	CT_ERR(recv(sv[0], buf, 1, MSG_DONTWAIT), EAGAIN);
	CT_EQ(ct_get(t, sv[0], SOL_SOCKET, SO_TYPE), t->tr->type);
	CT_OK(shutdown(sv[0], SHUT_WR));
	CT_EQ(recv(sv[1], buf, 1, 0), 0);
	CT_EQ(send(sv[1], "x", 1, 0), 1);
	ct_close(t, sv[1]);
	CT_EQ(recv(sv[0], buf, 1, 0), 1);
	CT_EQ(recv(sv[0], buf, 1, 0), 0);
}

static void pair_flags(struct ct *t)
{
	int sv[2];
	char c;

	pair_of(t, SOCK_NONBLOCK, sv);
	CT_ERR(recv(sv[0], &c, 1, 0), EAGAIN);
	CT_ERR(recv(sv[1], &c, 1, 0), EAGAIN);
	CT_EQ(CT_OK(fcntl(sv[1], F_GETFL, 0)) & O_NONBLOCK, O_NONBLOCK);
	CT_ERR(socketpair(AF_INET, SOCK_STREAM, 0, sv), EOPNOTSUPP);
	CT_ERR(socketpair(77, SOCK_STREAM, 0, sv), EAFNOSUPPORT);
	CT_ERR2(socketpair(AF_UNIX, 9, 0, sv), ESOCKTNOSUPPORT, EINVAL);
	CT_ERR(socketpair(AF_UNIX, t->tr->type, 99, sv), EPROTONOSUPPORT);
}

/* shutdown() of a listener */
static void shut_listener(struct ct *t)
{
	int lfd = ct_bound(t, 0, NULL);

	CT_OK(listen(lfd, 1));
	if (t->tr->props & CT_INET && !ct_differs(t, "`shutdown` of a listening TCP socket")) {
		CT_OK(shutdown(lfd, SHUT_RDWR));
		CT_ERR(accept(lfd, NULL, NULL), EINVAL);
		return;
	}
	CT_ERR(shutdown(lfd, SHUT_RDWR), ENOTCONN);
	ct_nonblock(t, lfd, 1);
	CT_ERR(accept(lfd, NULL, NULL), EAGAIN); /* it still listens */
}

/* An error leaves the socket as it was: it can still be used. */
static void still_good_a(struct ct *t)
{
	struct ct_addr a;
	int lfd = ct_socket(t, 0);
	char c;

	CT_ERR(accept(lfd, NULL, NULL), EINVAL);
	CT_ERR2(send(lfd, "x", 1, MSG_NOSIGNAL), ENOTCONN, EPIPE);
	ct_addr_free(t, &a);
	CT_ERR(bind(lfd, (struct sockaddr *)&a.ss, 1), EINVAL);
	CT_OK(bind(lfd, (struct sockaddr *)&a.ss, a.len));
	CT_OK(listen(lfd, 1));
	ct_addr_of(t, lfd, &a);
	ct_send_addr(t, &a);
	lfd = ct_accept(t, lfd);
	CT_EQ(recv(lfd, &c, 1, 0), 1);
	ct_tell(t, "done");
}

static void still_good_b(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, 0), EINVAL);
	CT_ERR2(recv(fd, &a, 1, MSG_DONTWAIT), ENOTCONN, EINVAL);
	ct_recv_addr(t, &a);
	CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
	CT_EQ(send(fd, "x", 1, 0), 1);
	ct_wait(t, "done");
}

const struct ct_case ct_misuse[] = {
	{"misuse.badf", "every call on a closed descriptor says EBADF", CT_ALL, 0, 0, badf,
	 ct_nothing},
	{"misuse.not-socket", "every call on what is no socket says ENOTSOCK", CT_ALL, 0, 0,
	 not_socket, ct_nothing},
	{"misuse.not-connected", "getpeername(), recv(), accept() before connect()", CT_CONN, 0,
	 0, notconn, ct_nothing},
	{"misuse.send", "send() before connect()", CT_CONN, 0, 0, send_unconnected, ct_nothing},
	{"misuse.listener", "send() and recv() on a listener", CT_CONN, 0, 0, listener_io,
	 ct_nothing},
	{"misuse.null", "no address: EFAULT or EINVAL", CT_ALL, 0, 0, null_address, ct_nothing},
	{"misuse.room", "getsockname() cuts to the room, and tells the true length", CT_ALL, 0,
	 0, name_room, ct_nothing},
	{"misuse.iovec", "too many pieces, too long ones", CT_CONN, CT_MATES, 0, iovecs,
	 ct_quiet},
	{"misuse.domain", "socket() with a family, type, protocol that is none", CT_ALL, 0, 0,
	 domains, ct_nothing},
	{"misuse.shut-listener", "shutdown() of a listener", CT_CONN, CT_MATES, CT_UNIX,
	 shut_listener, ct_nothing},
	{"misuse.still-good", "a refused call leaves the socket as it was", CT_CONN, CT_MATES,
	 0, still_good_a, still_good_b},
	{"socketpair.pair", "both ways, half-close, the end", CT_CONN, CT_SOCKPAIR, 0, pair,
	 ct_nothing},
	{"socketpair.flags", "SOCK_NONBLOCK for both; other families, types", CT_CONN,
	 CT_SOCKPAIR, 0, pair_flags, ct_nothing},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
