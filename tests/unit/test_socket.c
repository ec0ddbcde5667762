// SPDX-License-Identifier: BSD-3-Clause
/* The socket face over the in-core loop: every call, its flags, its errors. */
// small
// tsan
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <ampsock.h>
#include <sys/vm_sockets.h>

#include "port/port.h"
#include "port/posix.h"
#include "socket/amp_calls.h"
#include "assert_errno.h"

static struct sockaddr_vm vm_addr(uint32_t cid, uint32_t port)
{
	struct sockaddr_vm a;

	memset(&a, 0, sizeof(a));
	a.svm_family = AF_VSOCK;
	a.svm_cid = cid;
	a.svm_port = port;
	return a;
}

static int listener(int type, int backlog, struct sockaddr_vm *at)
{
	struct sockaddr_vm a = vm_addr(VMADDR_CID_ANY, VMADDR_PORT_ANY);
	socklen_t len = sizeof(*at);
	int fd = amp_socket(AF_VSOCK, type, 0);

	assert_true(fd >= 0);
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(amp_listen(fd, backlog), 0);
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)at, &len), 0);
	assert_int_equal(len, sizeof(*at));
	at->svm_cid = VMADDR_CID_LOCAL;
	return fd;
}

static int dial(int type, const struct sockaddr_vm *at)
{
	int fd = amp_socket(AF_VSOCK, type, 0);

	assert_true(fd >= 0);
	assert_int_equal(amp_connect(fd, (const struct sockaddr *)at, sizeof(*at)), 0);
	return fd;
}

static void pair(int type, int sv[2])
{
	struct sockaddr_vm at;
	int l = listener(type, 1, &at);

	sv[0] = dial(type, &at);
	sv[1] = amp_accept(l, NULL, NULL);
	assert_true(sv[1] >= 0);
	assert_int_equal(amp_close(l), 0);
}

static void close_both(int sv[2])
{
	assert_int_equal(amp_close(sv[0]), 0);
	assert_int_equal(amp_close(sv[1]), 0);
}

/* Nothing is left behind: closed connections end by themselves. */
static int all_gone(void **state)
{
	struct amp_stats st;

	(void)state;
	for (int i = 0; i < 10; i++)
		amp_poll_links();
	amp_stats_get(&st);
	assert_int_equal(st.sockets_used, 0);
	assert_int_equal(st.rings_used, 0);
	return 0;
}

static void set_timeout(int fd, int name, int ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	assert_int_equal(amp_setsockopt(fd, SOL_SOCKET, name, &tv, sizeof(tv)), 0);
}

static int get_int(int fd, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	assert_int_equal(amp_getsockopt(fd, SOL_SOCKET, name, &v, &len), 0);
	assert_int_equal(len, sizeof(v));
	return v;
}

static short poll_now(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	amp_poll(&p, 1, 0);
	return p.revents;
}

static void test_socket(void **state)
{
	int fd;

	(void)state;
	assert_errno(amp_socket(AF_APPLETALK, SOCK_STREAM, 0), EAFNOSUPPORT);
	assert_errno(amp_socket(AF_VSOCK, SOCK_DGRAM, 0), ESOCKTNOSUPPORT);
	assert_errno(amp_socket(AF_VSOCK, SOCK_STREAM, 77), EPROTONOSUPPORT);
	fd = amp_socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_true(amp_fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(get_int(fd, SO_TYPE), SOCK_STREAM);
	assert_int_equal(get_int(fd, SO_DOMAIN), AF_VSOCK);
	assert_int_equal(get_int(fd, SO_PROTOCOL), 0);
	assert_int_equal(get_int(fd, SO_ACCEPTCONN), 0);
	assert_int_equal(get_int(fd, SO_ERROR), 0);
	assert_int_equal(amp_close(fd), 0);
	assert_errno(amp_close(fd), EBADF);
	assert_errno(amp_send(fd, "x", 1, 0), EBADF);
	assert_errno(amp_readv(fd, &(struct iovec){NULL, 0}, 1), EBADF);
	assert_errno(amp_send(1, "x", 1, 0), ENOTSOCK);
	assert_errno(amp_listen(-1, 1), EBADF);
}

static void test_bind(void **state)
{
	struct sockaddr_vm a = vm_addr(VMADDR_CID_ANY, 5000), b = vm_addr(77, 5001), got;
	socklen_t len = sizeof(got);
	int s = amp_socket(AF_VSOCK, SOCK_STREAM, 0), t = amp_socket(AF_VSOCK, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(amp_getsockname(s, (struct sockaddr *)&got, &len), 0);
	assert_int_equal(got.svm_port, VMADDR_PORT_ANY);
	assert_errno(amp_listen(s, 1), EINVAL); /* as Linux: not bound */
	assert_errno(amp_bind(s, (struct sockaddr *)&a, 4), EINVAL);
	assert_errno(amp_bind(s, (struct sockaddr *)&b, sizeof(b)), EADDRNOTAVAIL);
	a.svm_family = AF_INET;
	assert_errno(amp_bind(s, (struct sockaddr *)&a, sizeof(a)), EAFNOSUPPORT);
	a.svm_family = AF_VSOCK;
	assert_int_equal(amp_bind(s, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_errno(amp_bind(s, (struct sockaddr *)&a, sizeof(a)), EINVAL);
	assert_errno(amp_bind(t, (struct sockaddr *)&a, sizeof(a)), EADDRINUSE);
	assert_int_equal(amp_close(s), 0);
	assert_int_equal(amp_bind(t, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_errno(amp_accept(t, NULL, NULL), EINVAL);
	assert_int_equal(amp_listen(t, 1), 0);
	assert_int_equal(get_int(t, SO_ACCEPTCONN), 1);
	assert_errno(amp_connect(t, (struct sockaddr *)&a, sizeof(a)), EOPNOTSUPP);
	assert_errno(amp_recv(t, &a, 1, 0), ENOTCONN);
	assert_errno(amp_send(t, &a, 1, 0), ENOTCONN);
	assert_errno(amp_accept4(t, NULL, NULL, 0x10000000), EINVAL);
	assert_int_equal(amp_close(t), 0);
}

static void test_refused(void **state)
{
	struct sockaddr_vm a = vm_addr(VMADDR_CID_LOCAL, 999), far_away = vm_addr(7, 1);
	struct pollfd p = {.events = POLLIN | POLLOUT};
	char c;
	int s = amp_socket(AF_VSOCK, SOCK_STREAM, 0);

	(void)state;
	assert_errno(amp_connect(s, (struct sockaddr *)&far_away, sizeof(a)), ENETUNREACH);
	assert_errno(amp_connect(s, (struct sockaddr *)&a, sizeof(a)), ECONNREFUSED);
	assert_errno(amp_recv(s, &c, 1, 0), ENOTCONN);
	assert_errno(amp_connect(s, (struct sockaddr *)&a, sizeof(a)), ECONNREFUSED);
	assert_int_equal(amp_fcntl(s, F_SETFL, O_NONBLOCK), 0);
	if (amp_connect(s, (struct sockaddr *)&a, sizeof(a)) < 0 && errno == EINPROGRESS) {
		p.fd = s;
		assert_int_equal(amp_poll(&p, 1, 5000), 1);
		assert_true(p.revents & POLLERR);
		assert_int_equal(get_int(s, SO_ERROR), ECONNREFUSED);
	} else {
		assert_int_equal(errno, ECONNREFUSED);
	}
	assert_int_equal(get_int(s, SO_ERROR), 0);
	assert_int_equal(amp_close(s), 0);
}

static void test_stream(void **state)
{
	struct sockaddr_vm at, got;
	socklen_t len = sizeof(got);
	char buf[32];
	int l, c, s;

	(void)state;
	l = listener(SOCK_STREAM, 4, &at);
	assert_int_equal(amp_fcntl(l, F_SETFL, O_NONBLOCK), 0);
	assert_errno(amp_accept(l, NULL, NULL), EAGAIN);
	assert_int_equal(poll_now(l, POLLIN), 0);
	c = dial(SOCK_STREAM, &at);
	assert_errno(amp_connect(c, (struct sockaddr *)&at, sizeof(at)), EISCONN);
	assert_int_equal(poll_now(l, POLLIN), POLLIN);
	s = amp_accept4(l, (struct sockaddr *)&got, &len, SOCK_NONBLOCK);
	assert_true(s >= 0);
	assert_int_equal(len, sizeof(got));
	assert_int_equal(got.svm_cid, VMADDR_CID_LOCAL);
	assert_int_equal(amp_getpeername(s, (struct sockaddr *)&got, &len), 0);
	assert_int_equal(amp_getpeername(c, (struct sockaddr *)&got, &len), 0);
	assert_int_equal(got.svm_port, at.svm_port);
	assert_errno(amp_recv(s, buf, sizeof(buf), 0), EAGAIN);
	assert_int_equal(poll_now(s, POLLIN | POLLOUT), POLLOUT);
	assert_int_equal(amp_send(c, "hello ", 6, 0), 6);
	assert_int_equal(amp_write(c, "world", 5), 5);
	assert_int_equal(poll_now(s, POLLIN | POLLOUT), POLLIN | POLLOUT);
	assert_int_equal(amp_recv(s, buf, 5, MSG_PEEK), 5);
	assert_memory_equal(buf, "hello", 5);
	assert_int_equal(amp_ioctl(s, FIONREAD, &len), 0);
	assert_int_equal(len, 11);
	assert_int_equal(amp_read(s, buf, sizeof(buf)), 11);
	assert_memory_equal(buf, "hello world", 11);
	assert_int_equal(amp_recv(s, buf, 0, 0), 0);
	assert_errno(amp_send(c, buf, 1, MSG_OOB), EOPNOTSUPP);
	assert_errno(amp_recv(s, buf, 1, MSG_OOB), EOPNOTSUPP);
	assert_errno(amp_sendto(c, buf, 1, 0, (struct sockaddr *)&at, sizeof(at)), EISCONN);
	assert_errno(amp_shutdown(c, 9), EINVAL);
	/* half-close: the other direction goes on */
	assert_int_equal(amp_send(c, "end", 3, 0), 3);
	assert_int_equal(amp_shutdown(c, SHUT_WR), 0);
	assert_errno(amp_send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
	assert_int_equal(amp_recv(s, buf, 2, 0), 2);
	assert_true(poll_now(s, POLLIN | POLLRDHUP) & POLLIN);
	assert_int_equal(amp_recv(s, buf, 8, 0), 1);
	assert_int_equal(amp_recv(s, buf, 8, 0), 0);
	assert_int_equal(poll_now(s, POLLIN | POLLRDHUP | POLLOUT),
			 POLLIN | POLLRDHUP | POLLOUT);
	assert_int_equal(amp_send(s, "back", 4, 0), 4);
	assert_int_equal(amp_recv(c, buf, 8, 0), 4);
	assert_int_equal(amp_close(s), 0);
	assert_int_equal(amp_recv(c, buf, 8, 0), 0);
	assert_true(poll_now(c, POLLIN) & POLLHUP);
	assert_int_equal(amp_close(c), 0);
	assert_int_equal(amp_close(l), 0);
}

static void test_vectors(void **state)
{
	char a[3], b[5], c[40];
	struct iovec out[3] = {{"ab", 2}, {"", 0}, {"cdefgh", 6}}, in[2] = {{a, 3}, {b, 5}};
	struct msghdr m = {.msg_iov = out, .msg_iovlen = 3};
	int sv[2];

	(void)state;
	pair(SOCK_STREAM, sv);
	assert_int_equal(amp_sendmsg(sv[0], &m, 0), 8);
	assert_int_equal(amp_readv(sv[1], in, 2), 8);
	assert_memory_equal(a, "abc", 3);
	assert_memory_equal(b, "defgh", 5);
	assert_int_equal(amp_writev(sv[1], out, 3), 8);
	m.msg_iov = in;
	m.msg_iovlen = 2;
	assert_int_equal(amp_recvmsg(sv[0], &m, MSG_WAITALL), 8);
	assert_int_equal(m.msg_flags, 0);
	assert_errno(amp_readv(sv[0], in, 0), EINVAL);
	out[0].iov_len = SIZE_MAX / 2;
	out[2].iov_len = SIZE_MAX / 2;
	assert_errno(amp_writev(sv[1], out, 3), EINVAL);
	m.msg_iovlen = 2000;
	assert_errno(amp_sendmsg(sv[1], &m, 0), EMSGSIZE);
	m.msg_iovlen = 1;
	m.msg_control = c;
	m.msg_controllen = 20;
	assert_errno(amp_sendmsg(sv[1], &m, 0), EOPNOTSUPP);
	close_both(sv);
}

static void test_messages(void **state)
{
	static char big[400000], got[400000];
	struct iovec v = {got, 4};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	int alloc, sv[2], n = 0;

	(void)state;
	pair(SOCK_SEQPACKET, sv);
	alloc = get_int(sv[0], SO_RCVBUF);
	for (int i = 0; i < (int)sizeof(big); i++)
		big[i] = (char)(i * 7);
	assert_int_equal(amp_send(sv[0], "one", 3, 0), 3);
	assert_int_equal(amp_send(sv[0], "two two", 7, MSG_EOR), 7);
	assert_int_equal(amp_recv(sv[1], got, 64, MSG_PEEK), 3);
	assert_int_equal(amp_ioctl(sv[1], FIONREAD, &n), 0);
	assert_int_equal(n, 3);
	assert_int_equal(amp_recv(sv[1], got, 64, 0), 3);
	assert_int_equal(amp_recvmsg(sv[1], &m, 0), 4);
	assert_int_equal(m.msg_flags, MSG_TRUNC | MSG_EOR);
	assert_int_equal(amp_send(sv[0], big, (size_t)alloc, 0), alloc);
	assert_errno(amp_send(sv[0], big, 1, MSG_DONTWAIT), EAGAIN);
	assert_int_equal(amp_recv(sv[1], got, 4, MSG_TRUNC), alloc);
	assert_int_equal(amp_send(sv[0], big, (size_t)alloc, 0), alloc);
	assert_int_equal(amp_recv(sv[1], got, sizeof(got), 0), alloc);
	assert_memory_equal(big, got, (size_t)alloc);
	assert_errno(amp_send(sv[0], big, (size_t)alloc + 1, 0), EMSGSIZE);
	/* many small ones fill the credit, never the ring */
	while (amp_send(sv[0], big + n, 1, MSG_DONTWAIT) == 1)
		n++;
	assert_int_equal(n - 3, alloc);
	for (int i = 3; i < n; i++) {
		assert_int_equal(amp_recv(sv[1], got, 9, 0), 1);
		assert_int_equal(got[0], big[i]);
	}
	assert_int_equal(amp_close(sv[0]), 0);
	assert_int_equal(amp_recv(sv[1], got, 9, 0), 0);
	assert_int_equal(amp_close(sv[1]), 0);
}

static void test_backlog(void **state)
{
	struct sockaddr_vm at;
	int l = listener(SOCK_STREAM, 2, &at), c[2], s, extra;
	char b;

	(void)state;
	c[0] = dial(SOCK_STREAM, &at);
	c[1] = dial(SOCK_STREAM, &at);
	extra = amp_socket(AF_VSOCK, SOCK_STREAM, 0);
	assert_errno(amp_connect(extra, (struct sockaddr *)&at, sizeof(at)), ECONNREFUSED);
	s = amp_accept(l, NULL, NULL);
	assert_int_equal(amp_connect(extra, (struct sockaddr *)&at, sizeof(at)), 0);
	/* closing the listener resets what nobody accepted */
	assert_int_equal(amp_close(l), 0);
	assert_errno(amp_recv(extra, &b, 1, 0), ECONNRESET);
	assert_int_equal(amp_recv(extra, &b, 1, 0), 0);
	assert_errno(amp_send(extra, &b, 1, 0), EPIPE);
	assert_true(poll_now(c[1], POLLIN) & POLLERR);
	assert_int_equal(get_int(c[1], SO_ERROR), ECONNRESET);
	assert_false(poll_now(c[1], POLLIN) & POLLERR);
	assert_int_equal(amp_send(c[0], "x", 1, 0), 1);
	assert_int_equal(amp_recv(s, &b, 1, 0), 1);
	assert_int_equal(amp_close(extra), 0);
	assert_int_equal(amp_close(s), 0);
	close_both(c);
}

/* The pair is a connection still, of a listener that is closed: who is bound to its port stays as he was. */
static void test_pair_in_use(void **state)
{
	struct sockaddr_vm at, peer, here, got;
	socklen_t len = sizeof(peer);
	int l = listener(SOCK_STREAM, 1, &at), c = dial(SOCK_STREAM, &at);
	int a = amp_accept(l, NULL, NULL), s = amp_socket(AF_VSOCK, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(amp_getsockname(c, (struct sockaddr *)&peer, &len), 0);
	assert_int_equal(amp_close(l), 0);
	here = vm_addr(VMADDR_CID_ANY, at.svm_port);
	assert_int_equal(amp_bind(s, (struct sockaddr *)&here, sizeof(here)), 0);
	assert_errno(amp_connect(s, (struct sockaddr *)&peer, sizeof(peer)), EADDRINUSE);
	assert_int_equal(amp_getsockname(s, (struct sockaddr *)&got, &len), 0);
	assert_memory_equal(&got, &here, sizeof(got));
	assert_errno(amp_getpeername(s, (struct sockaddr *)&got, &len), ENOTCONN);
	/* bound as it is to any, it listens on any */
	assert_int_equal(amp_listen(s, 1), 0);
	assert_int_equal(amp_close(s), 0);
	assert_int_equal(amp_close(c), 0);
	assert_int_equal(amp_close(a), 0);
}

static void test_linger_zero(void **state)
{
	struct linger lg = {.l_onoff = 1};
	socklen_t len = sizeof(lg);
	char b;
	int sv[2];

	(void)state;
	pair(SOCK_STREAM, sv);
	assert_int_equal(amp_setsockopt(sv[0], SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)), 0);
	lg.l_onoff = 7;
	assert_int_equal(amp_getsockopt(sv[0], SOL_SOCKET, SO_LINGER, &lg, &len), 0);
	assert_int_equal(lg.l_onoff, 1);
	assert_int_equal(amp_send(sv[0], "z", 1, 0), 1);
	assert_int_equal(amp_close(sv[0]), 0);
	/* data first, then the error, once */
	assert_int_equal(amp_recv(sv[1], &b, 1, 0), 1);
	assert_errno(amp_recv(sv[1], &b, 1, 0), ECONNRESET);
	assert_int_equal(amp_recv(sv[1], &b, 1, 0), 0);
	assert_int_equal(amp_close(sv[1]), 0);
}

static void test_timeouts(void **state)
{
	char b[4];
	struct timespec t0, t1;
	struct timeval tv;
	socklen_t len = sizeof(tv);
	struct sockaddr_vm at;
	int sv[2], l;

	(void)state;
	pair(SOCK_STREAM, sv);
	set_timeout(sv[0], SO_RCVTIMEO, 30);
	assert_int_equal(amp_getsockopt(sv[0], SOL_SOCKET, SO_RCVTIMEO, &tv, &len), 0);
	assert_int_equal(tv.tv_usec, 30000);
	clock_gettime(CLOCK_MONOTONIC, &t0);
	assert_errno(amp_recv(sv[0], b, 1, 0), EAGAIN);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	assert_true((t1.tv_sec - t0.tv_sec) * 1000000 + (t1.tv_nsec - t0.tv_nsec) / 1000 >=
		    30000);
	/* a part of what was asked for is better than nothing */
	assert_int_equal(amp_send(sv[1], "xy", 2, 0), 2);
	assert_int_equal(amp_recv(sv[0], b, 4, MSG_WAITALL), 2);
	set_timeout(sv[0], SO_SNDTIMEO, 30);
	while (amp_send(sv[0], b, sizeof(b), 0) > 0)
		;
	assert_int_equal(errno, EAGAIN);
	assert_false(poll_now(sv[0], POLLOUT) & POLLOUT);
	close_both(sv);
	l = listener(SOCK_STREAM, 1, &at);
	set_timeout(l, SO_RCVTIMEO, 20);
	assert_errno(amp_accept(l, NULL, NULL), EAGAIN);
	tv.tv_usec = 1000000;
	assert_errno(amp_setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), EDOM);
	assert_int_equal(amp_close(l), 0);
}

static void test_options(void **state)
{
	int fd = amp_socket(AF_VSOCK, SOCK_STREAM, 0), v = 1;
	socklen_t len = 2;

	(void)state;
	assert_int_equal(amp_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &v, sizeof(v)), 0);
	assert_int_equal(get_int(fd, SO_REUSEADDR), 1);
	assert_errno(amp_setsockopt(fd, SOL_SOCKET, SO_TYPE, &v, sizeof(v)), ENOPROTOOPT);
	assert_errno(amp_setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &v, sizeof(v)), ENOPROTOOPT);
	assert_errno(amp_setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &v, 1), EINVAL);
	assert_errno(amp_setsockopt(fd, 4242, 1, &v, sizeof(v)), ENOPROTOOPT);
	assert_errno(amp_getsockopt(fd, 4242, 1, &v, &len), ENOPROTOOPT);
	assert_int_equal(amp_getsockopt(fd, SOL_SOCKET, SO_TYPE, &v, &len), 0);
	assert_int_equal(len, 2);
	v = 4;
	assert_int_equal(amp_setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &v, sizeof(v)), 0);
	assert_int_equal(get_int(fd, SO_RCVLOWAT), 4);
	assert_true(get_int(fd, SO_RCVBUF) > 0);
	assert_true(get_int(fd, SO_SNDBUF) > 0);
	v = 1;
	assert_int_equal(amp_ioctl(fd, FIONBIO, &v), 0);
	assert_true(amp_fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_errno(amp_ioctl(fd, 0x1234, &v), ENOTTY);
	assert_errno(amp_fcntl(fd, F_SETLK, 0), EINVAL);
	assert_int_equal(amp_close(fd), 0);
}

static void test_lowat(void **state)
{
	int sv[2], v = 4;
	char b[8];

	(void)state;
	pair(SOCK_STREAM, sv);
	assert_int_equal(amp_setsockopt(sv[1], SOL_SOCKET, SO_RCVLOWAT, &v, sizeof(v)), 0);
	assert_int_equal(amp_send(sv[0], "abc", 3, 0), 3);
	assert_int_equal(poll_now(sv[1], POLLIN), 0);
	assert_int_equal(amp_send(sv[0], "d", 1, 0), 1);
	assert_int_equal(poll_now(sv[1], POLLIN), POLLIN);
	assert_int_equal(amp_recv(sv[1], b, 8, 0), 4);
	close_both(sv);
}

/* A pair takes two sockets and no more; where there is one left it takes none. */
static void pair_last(void)
{
	int fd[AMPSOCK_SOCKETS], sv[2], n = 0;

	while (n < AMPSOCK_SOCKETS && (fd[n] = amp_socket(AF_VSOCK, SOCK_STREAM, 0)) >= 0)
		n++;
	assert_in_range(n, 3, AMPSOCK_SOCKETS);
	assert_int_equal(amp_close(fd[--n]), 0);
	assert_errno(amp_socketpair(AF_UNIX, SOCK_STREAM, 0, sv), EMFILE);
	assert_int_equal(amp_close(fd[--n]), 0);
	assert_int_equal(amp_socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	assert_int_equal(amp_close(sv[0]), 0);
	assert_int_equal(amp_close(sv[1]), 0);
	while (n)
		assert_int_equal(amp_close(fd[--n]), 0);
}

static void test_socketpair(void **state)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char b[4];
	int sv[2];

	(void)state;
	assert_errno(amp_socketpair(AF_APPLETALK, SOCK_STREAM, 0, sv), EAFNOSUPPORT);
	assert_errno(amp_socketpair(AF_UNIX, SOCK_STREAM, 5, sv), EPROTONOSUPPORT);
	for (int type = 0; type < 2; type++) {
		int t = type ? SOCK_SEQPACKET : SOCK_STREAM;

		assert_int_equal(amp_socketpair(AF_UNIX, t | SOCK_NONBLOCK, 0, sv), 0);
		assert_int_equal(amp_getsockname(sv[0], (struct sockaddr *)&ss, &len), 0);
		assert_int_equal(ss.ss_family, AF_UNIX);
		assert_int_equal(get_int(sv[1], SO_DOMAIN), AF_UNIX);
		assert_errno(amp_read(sv[0], b, 4), EAGAIN);
		assert_int_equal(amp_write(sv[0], "ab", 2), 2);
		assert_int_equal(amp_read(sv[1], b, 4), 2);
		assert_int_equal(amp_close(sv[0]), 0);
		assert_int_equal(amp_read(sv[1], b, 4), 0);
		assert_int_equal(amp_close(sv[1]), 0);
	}
	pair_last();
}

static void test_poll_select(void **state)
{
	struct pollfd p[3];
	struct timeval tv = {.tv_usec = 1000};
	fd_set rd, wr;
	int sv[2];

	(void)state;
	pair(SOCK_STREAM, sv);
	p[0] = (struct pollfd){.fd = sv[0], .events = POLLIN | POLLRDNORM};
	p[1] = (struct pollfd){.fd = -1, .events = POLLIN};
	p[2] = (struct pollfd){.fd = 63999, .events = POLLIN};
	assert_int_equal(amp_poll(p, 2, 10), 0);
	assert_int_equal(amp_poll(p, 3, -1), 1);
	assert_int_equal(p[2].revents, POLLNVAL);
	assert_int_equal(amp_send(sv[1], "x", 1, 0), 1);
	assert_int_equal(amp_poll(p, 2, -1), 1);
	assert_int_equal(p[0].revents, POLLIN | POLLRDNORM);
	FD_ZERO(&rd);
	FD_ZERO(&wr);
	FD_SET(sv[0], &rd);
	FD_SET(sv[1], &rd);
	FD_SET(sv[1], &wr);
	assert_int_equal(amp_select(sv[0] > sv[1] ? sv[0] + 1 : sv[1] + 1, &rd, &wr, NULL, &tv),
			 2);
	assert_true(FD_ISSET(sv[0], &rd));
	assert_false(FD_ISSET(sv[1], &rd));
	assert_true(FD_ISSET(sv[1], &wr));
	FD_ZERO(&rd);
	FD_SET(sv[1], &rd);
	assert_int_equal(amp_select(sv[1] + 1, &rd, NULL, NULL, &tv), 0);
	assert_false(FD_ISSET(sv[1], &rd));
	FD_SET(1000, &rd);
	FD_SET(sv[1], &rd);
	assert_errno(amp_select(1001, &rd, NULL, NULL, &tv), EBADF);
	assert_true(FD_ISSET(sv[1], &rd)); /* no set is written but by success */
	assert_errno(amp_select(-1, NULL, NULL, NULL, &tv), EINVAL);
	tv.tv_usec = -1;
	assert_errno(amp_select(0, NULL, NULL, NULL, &tv), EINVAL);
	close_both(sv);
}

static void test_zero_copy(void **state)
{
	struct iovec v[2];
	char b[16];
	int sv[2], cnt;
	ssize_t n;

	(void)state;
	pair(SOCK_STREAM, sv);
	n = amp_reserve(sv[0], v, &cnt, 10);
	assert_int_equal(n, 10);
	assert_int_equal(cnt, 1);
	memcpy(v[0].iov_base, "0123456789", 10);
	assert_errno(amp_send(sv[0], "x", 1, 0), EBUSY);
	assert_errno(amp_reserve(sv[0], v, &cnt, 10), EBUSY);
	assert_errno(amp_reserve(sv[0], NULL, &cnt, 10), EFAULT);
	assert_errno(amp_borrow(sv[1], NULL, &cnt, 10), EFAULT);
	assert_errno(amp_borrow(sv[1], v, NULL, 10), EFAULT);
	assert_errno(amp_commit(sv[0], 11), EINVAL);
	assert_int_equal(amp_commit(sv[0], 5), 5);
	assert_errno(amp_commit(sv[0], 1), EINVAL);
	assert_int_equal(amp_reserve(sv[0], v, &cnt, 10), 10);
	assert_int_equal(amp_commit(sv[0], 0), 0);
	assert_int_equal(amp_send(sv[0], "ab", 2, 0), 2);
	assert_int_equal(amp_borrow(sv[1], v, &cnt, 100), 7);
	assert_memory_equal(v[0].iov_base, "01234ab", 7);
	assert_int_equal(amp_give_back(sv[1], 5), 5);
	assert_int_equal(amp_recv(sv[1], b, 16, 0), 2);
	assert_errno(amp_give_back(sv[1], 5), EINVAL);
	assert_int_equal(amp_reserve(sv[0], v, &cnt, 10), 10);
	assert_int_equal(amp_close(sv[0]), 0);
	assert_int_equal(amp_borrow(sv[1], v, &cnt, 100), 0);
	assert_int_equal(amp_close(sv[1]), 0);
}

/* ---- threads ---- */

static void *echo_thread(void *arg)
{
	int fd = *(int *)arg;
	char buf[3000];
	ssize_t n;

	while ((n = amp_recv(fd, buf, sizeof(buf), 0)) > 0) {
		for (ssize_t at = 0, k; at < n; at += k) {
			k = amp_send(fd, buf + at, (size_t)(n - at), 0);
			if (k < 0)
				return (void *)1;
		}
	}
	amp_shutdown(fd, SHUT_WR);
	return n < 0 ? (void *)1 : NULL;
}

struct stream_job {
	int fd;
	size_t total;
};

static void *send_thread(void *arg)
{
	struct stream_job *j = arg;
	uint8_t buf[5000];
	size_t at = 0;

	while (at < j->total) {
		size_t n = sizeof(buf) < j->total - at ? sizeof(buf) : j->total - at;

		for (size_t i = 0; i < n; i++)
			buf[i] = (uint8_t)((at + i) * 31 >> 3);
		if (amp_send(j->fd, buf, n, 0) != (ssize_t)n)
			return (void *)1;
		at += n;
	}
	amp_shutdown(j->fd, SHUT_WR);
	return NULL;
}

static void test_threads_echo(void **state)
{
	struct stream_job j = {.total = 3u << 20};
	pthread_t echo, feed;
	uint8_t buf[7777];
	size_t at = 0;
	void *r;
	ssize_t n;
	int sv[2];

	(void)state;
	pair(SOCK_STREAM, sv);
	j.fd = sv[0];
	assert_int_equal(pthread_create(&echo, NULL, echo_thread, &sv[1]), 0);
	assert_int_equal(pthread_create(&feed, NULL, send_thread, &j), 0);
	while ((n = amp_recv(sv[0], buf, sizeof(buf), MSG_WAITALL)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(buf[i], (uint8_t)((at + (size_t)i) * 31 >> 3));
		at += (size_t)n;
	}
	assert_int_equal(n, 0);
	assert_int_equal(at, j.total);
	pthread_join(feed, &r);
	assert_null(r);
	pthread_join(echo, &r);
	assert_null(r);
	close_both(sv);
}

static void *recv_errno(void *arg)
{
	char b;

	errno = 0;
	if (amp_recv(*(int *)arg, &b, 1, 0) != -1)
		return NULL;
	return (void *)(intptr_t)errno;
}

static void *accept_errno(void *arg)
{
	errno = 0;
	return amp_accept(*(int *)arg, NULL, NULL) == -1 ? (void *)(intptr_t)errno : NULL;
}

/* close() while another thread waits in it: that one hears EBADF. */
static void test_close_wakes(void **state)
{
	struct sockaddr_vm at;
	pthread_t t;
	void *r;
	int sv[2], l;

	(void)state;
	for (int i = 0; i < 20; i++) {
		struct timespec nap = {.tv_nsec = i * 100000};

		pair(SOCK_STREAM, sv);
		pthread_create(&t, NULL, recv_errno, &sv[0]);
		nanosleep(&nap, NULL); /* not to synchronise: to hit different moments */
		assert_int_equal(amp_close(sv[0]), 0);
		pthread_join(t, &r);
		assert_int_equal((intptr_t)r, EBADF);
		assert_int_equal(amp_close(sv[1]), 0);
		l = listener(SOCK_STREAM, 1, &at);
		pthread_create(&t, NULL, accept_errno, &l);
		nanosleep(&nap, NULL);
		assert_int_equal(amp_close(l), 0);
		pthread_join(t, &r);
		assert_int_equal((intptr_t)r, EBADF);
	}
}

static void *ping_thread(void *arg)
{
	int *sv = arg;
	char b;

	for (int i = 0; i < 2000; i++) {
		if (amp_send(sv[0], "p", 1, 0) != 1 || amp_recv(sv[0], &b, 1, 0) != 1)
			return (void *)1;
	}
	return NULL;
}

static void *pong_thread(void *arg)
{
	int *sv = arg;
	char b;

	for (int i = 0; i < 2000; i++) {
		if (amp_recv(sv[1], &b, 1, 0) != 1 || amp_send(sv[1], &b, 1, 0) != 1)
			return (void *)1;
	}
	return NULL;
}

/* Eight threads in one stack, each waiting for another: no wake-up may be lost. */
static void test_threads_pingpong(void **state)
{
	pthread_t t[8];
	int sv[4][2];
	void *r;

	(void)state;
	for (int i = 0; i < 4; i++) {
		assert_int_equal(amp_socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv[i]), 0);
		pthread_create(&t[2 * i], NULL, ping_thread, sv[i]);
		pthread_create(&t[2 * i + 1], NULL, pong_thread, sv[i]);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], &r);
		assert_null(r);
	}
	for (int i = 0; i < 4; i++)
		close_both(sv[i]);
}

static void *flips_flags(void *p)
{
	for (int i = 0; i < 200; i++)
		(void)amp_fcntl(0, F_SETFL, i & 1 ? 0 : O_NONBLOCK);
	return p;
}

/* The process's own descriptors: select() over a pipe in place of the console, and a socket. */
static void test_console(void **state)
{
	int sv[2], p[2], keep = dup(0);
	struct pollfd pf[2];
	char b[4];
	const struct iovec iov[3] = {{b, 0}, {b, 1}, {b + 1, 3}};
	char many[200] = {0};
	pthread_t other;

	(void)state;
	assert_int_equal(pipe(p), 0);
	dup2(p[0], 0);
	pair(SOCK_STREAM, sv);
	pf[0] = (struct pollfd){.fd = 0, .events = POLLIN};
	pf[1] = (struct pollfd){.fd = sv[0], .events = POLLIN};
	assert_int_equal(amp_poll(pf, 2, 5), 0);
	assert_int_equal(write(p[1], "k", 1), 1);
	assert_int_equal(amp_poll(pf, 2, -1), 1);
	assert_int_equal(pf[0].revents, POLLIN);
	assert_int_equal(amp_read(0, b, 4), 1);
	assert_int_equal(amp_fcntl(0, F_SETFL, O_NONBLOCK), 0);
	assert_errno(amp_read(0, b, 4), EAGAIN);
	/* an empty piece is no end of file */
	assert_errno(amp_readv(0, iov, 3), EAGAIN);
	assert_int_equal(write(p[1], "ey", 2), 2);
	assert_int_equal(amp_readv(0, iov, 3), 1);
	assert_int_equal(amp_readv(0, iov + 1, 2), 1); /* the rest is still there */
	assert_int_equal(b[0], 'y');
	/* its flags are under the lock: the thread sanitizer looks */
	assert_int_equal(write(p[1], many, sizeof(many)), sizeof(many));
	assert_int_equal(pthread_create(&other, NULL, flips_flags, NULL), 0);
	for (size_t i = 0; i < sizeof(many); i++)
		assert_int_equal(amp_read(0, b, 1), 1);
	assert_int_equal(pthread_join(other, NULL), 0);
	assert_int_equal(amp_fcntl(0, F_SETFL, 0), 0);
	dup2(keep, 0);
	close(keep);
	close(p[0]);
	close(p[1]);
	close_both(sv);
}

/* listen() keeps its queue where SO_RCVLOWAT lies: one that fails leaves no trace of it. */
static void test_listen_fails(void **state)
{
	struct sockaddr_vm at;
	int l = listener(SOCK_STREAM, 1, &at), c = amp_socket(AF_VSOCK, SOCK_STREAM, 0), s,
	    v = 3;
	socklen_t len = sizeof(v);
	char b[4];

	(void)state;
	assert_int_equal(amp_setsockopt(c, SOL_SOCKET, SO_RCVLOWAT, &v, len), 0);
	assert_errno(amp_listen(c, 200), EINVAL);
	assert_int_equal(get_int(c, SO_RCVLOWAT), 3);
	assert_int_equal(amp_connect(c, (struct sockaddr *)&at, sizeof(at)), 0);
	s = amp_accept(l, NULL, NULL);
	assert_int_equal(amp_send(s, "abc", 3, 0), 3);
	assert_int_equal(poll_now(c, POLLIN), POLLIN);
	assert_int_equal(amp_recv(c, b, 4, 0), 3);
	assert_int_equal(amp_close(s), 0);
	assert_int_equal(amp_close(c), 0);
	assert_int_equal(amp_close(l), 0);
}

/* Who it was is told, gone or not. */
static void test_accept_the_gone(void **state)
{
	struct sockaddr_vm at, a, me;
	socklen_t len = sizeof(a);
	int l = listener(SOCK_STREAM, 1, &at), c = dial(SOCK_STREAM, &at), s;

	(void)state;
	assert_int_equal(amp_getsockname(c, (struct sockaddr *)&me, &len), 0);
	assert_int_equal(amp_close(c), 0);
	amp_poll_links();
	memset(&a, 0xee, sizeof(a));
	s = amp_accept(l, (struct sockaddr *)&a, &len);
	assert_true(s >= 0);
	assert_int_equal(len, sizeof(a));
	assert_int_equal(a.svm_family, AF_VSOCK);
	assert_int_equal(a.svm_port, me.svm_port);
	assert_errno(amp_getpeername(s, (struct sockaddr *)&a, &len), ENOTCONN);
	assert_int_equal(amp_close(s), 0);
	assert_int_equal(amp_close(l), 0);
}

/* ---- who waits for other bytes sleeps on ---- */

#define IDLERS 4
/* Of 4,000 times that all could be woken; without the means to wake one, all are. */
#define WOKEN_MAX (AMP_PORT_WAKE_ONE ? 400 : INT_MAX)

static atomic_int idle_ready;

/* Receives one byte, and says how often it has slept for it. */
static void *idle_thread(void *p)
{
	struct rusage before, after;
	const int *fd = p;
	char byte;

	getrusage(RUSAGE_THREAD, &before);
	atomic_fetch_add(&idle_ready, 1);
	if (amp_recv(*fd, &byte, 1, 0) != 1)
		return (void *)-1;
	getrusage(RUSAGE_THREAD, &after);
	return (void *)(after.ru_nvcsw - before.ru_nvcsw);
}

static void test_wake_one(void **state)
{
	int sv[IDLERS + 1][2], *busy = sv[IDLERS];
	pthread_t t[IDLERS], echo;
	char byte = 1;
	void *r;

	(void)state;
	atomic_store(&idle_ready, 0);
	for (int i = 0; i <= IDLERS; i++)
		pair(SOCK_STREAM, sv[i]);
	for (int i = 0; i < IDLERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, idle_thread, &sv[i][0]), 0);
	while (atomic_load(&idle_ready) < IDLERS)
		sched_yield();
	assert_int_equal(pthread_create(&echo, NULL, echo_thread, &busy[1]), 0);
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(amp_send(busy[0], &byte, 1, 0), 1);
		assert_int_equal(amp_recv(busy[0], &byte, 1, 0), 1);
	}
	amp_shutdown(busy[0], SHUT_WR);
	pthread_join(echo, &r);
	for (int i = 0; i < IDLERS; i++)
		assert_int_equal(amp_send(sv[i][1], &byte, 1, 0), 1);
	for (int i = 0; i < IDLERS; i++) {
		pthread_join(t[i], &r);
		assert_in_range((intptr_t)r, 0, WOKEN_MAX);
	}
	for (int i = 0; i <= IDLERS; i++) {
		amp_close(sv[i][0]);
		amp_close(sv[i][1]);
	}
}

/* ---- who leaves sees to it that somebody looks at the descriptors ---- */

#define TURN_MS 10000 /* nobody waits so long, or nobody polls */

static unsigned turns, turn_waiters; /* under the lock */
static atomic_uint turns_taken;

static void turn_drain(int fd)
{
	amp_port_drain(fd);
	turns++;
}

/* Takes one turn and leaves. */
static void *turn_thread(void *p)
{
	int r = 0;

	(void)p;
	amp_port_lock();
	turn_waiters++;
	while (!turns && r == 0)
		r = amp_port_wait(TURN_MS);
	if (r == 0)
		turns--;
	amp_port_unlock();
	atomic_fetch_add(&turns_taken, 1);
	return r ? (void *)-1 : NULL;
}

static void test_who_leaves_hands_over(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	uint64_t one = 1;
	pthread_t t[3];
	unsigned n;
	void *r;

	(void)state;
	amp_port_lock();
	turns = turn_waiters = 0;
	assert_int_equal(amp_port_watch(fd, turn_drain), 0);
	amp_port_unlock();
	atomic_store(&turns_taken, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, turn_thread, NULL), 0);
	do { /* they give the lock up where they sleep, one polling for all */
		sched_yield();
		amp_port_lock();
		n = turn_waiters;
		amp_port_unlock();
	} while (n < 3);
	/* from here on this thread neither calls nor wakes anybody */
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
		while (atomic_load(&turns_taken) < i)
			sched_yield();
	}
	for (int i = 0; i < 3; i++) {
		pthread_join(t[i], &r);
		assert_null(r);
	}
	amp_port_lock();
	amp_port_unwatch(fd);
	amp_port_unlock();
	close(fd);
}

#define T(f) cmocka_unit_test_teardown(f, all_gone)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_socket),	      T(test_bind),
		T(test_refused),      T(test_stream),
		T(test_vectors),      T(test_messages),
		T(test_backlog),      T(test_linger_zero),
		T(test_timeouts),     T(test_options),
		T(test_lowat),	      T(test_socketpair),
		T(test_zero_copy),    T(test_poll_select),
		T(test_threads_echo), T(test_close_wakes),
		T(test_console),      T(test_threads_pingpong),
		T(test_listen_fails), T(test_accept_the_gone),
		T(test_wake_one),     T(test_who_leaves_hands_over),
		T(test_pair_in_use),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
