// SPDX-License-Identifier: BSD-3-Clause
/*
 * Two processes, one link: the test is the host (device role), its child is the guest (driver
 * role), over vhost-user. The child serves what the parent asks for; its exit code tells
 * whether it saw what it should.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <ampsock.h>
#include <ampsock_hosted.h>
#include <sys/vm_sockets.h>

#include "socket/amp_calls.h"

#define GUEST_CID 7u
#define ECHO_PORT 1000u
#define MSG_PORT  1001u
#define SINK_PORT 1002u
#define DIE_PORT  1003u
#define BACK_PORT 2000u /* on the host: the guest dials it */

static char dir[] = "/tmp/ampsock-pair-XXXXXX";
static char path[64];
static pid_t guest;

static struct sockaddr_vm vm_addr(uint32_t cid, uint32_t port)
{
	struct sockaddr_vm a;

	memset(&a, 0, sizeof(a));
	a.svm_family = AF_VSOCK;
	a.svm_cid = cid;
	a.svm_port = port;
	return a;
}

static int listen_on(int type, uint32_t port)
{
	struct sockaddr_vm a = vm_addr(VMADDR_CID_ANY, port);
	int fd = amp_socket(AF_VSOCK, type, 0);

	if (fd < 0 || amp_bind(fd, (struct sockaddr *)&a, sizeof(a)) || amp_listen(fd, 8))
		return -1;
	return fd;
}

static int dial_any(int type, uint32_t cid, uint32_t port)
{
	struct sockaddr_vm a = vm_addr(cid, port);
	int fd = amp_socket(AF_VSOCK, type, 0);

	if (fd >= 0 && amp_connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		int e = errno;

		amp_close(fd);
		errno = e;
		return -1;
	}
	return fd;
}

/* ---- the guest's process ---- */

static void guest_echo(int fd)
{
	static char buf[300000];
	ssize_t n;

	while ((n = amp_recv(fd, buf, sizeof(buf), 0)) > 0) {
		if (amp_send(fd, buf, (size_t)n, MSG_EOR) != n)
			_exit(11);
	}
	amp_close(fd);
}

/* Takes everything, then answers with the sum: half-close both ways. */
static void guest_sink(int fd)
{
	static uint8_t buf[100000];
	uint64_t sum = 0;
	ssize_t n;

	while ((n = amp_recv(fd, buf, sizeof(buf), 0)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			sum += buf[i];
	}
	if (n < 0 || amp_send(fd, &sum, sizeof(sum), 0) != sizeof(sum))
		_exit(12);
	amp_close(fd);
}

static void guest_main(void)
{
	struct pollfd p[4];
	int back, r;
	char b[5];

	alarm(60);
	r = amp_link_vhost_user(path, 10000);
	if (r)
		_exit(2);
	p[0].fd = listen_on(SOCK_STREAM, ECHO_PORT);
	p[1].fd = listen_on(SOCK_SEQPACKET, MSG_PORT);
	p[2].fd = listen_on(SOCK_STREAM, SINK_PORT);
	p[3].fd = listen_on(SOCK_STREAM, DIE_PORT);
	back = dial_any(SOCK_STREAM, VMADDR_CID_HOST, BACK_PORT);
	if (back < 0 || amp_send(back, "ready", 5, 0) != 5 ||
	    amp_recv(back, b, 5, MSG_WAITALL) != 5)
		_exit(3);
	for (;;) {
		for (int i = 0; i < 4; i++)
			p[i].events = POLLIN;
		if (amp_poll(p, 4, -1) <= 0)
			_exit(4);
		for (int i = 0; i < 4; i++) {
			int fd;

			if (!(p[i].revents & POLLIN))
				continue;
			fd = amp_accept(p[i].fd, NULL, NULL);
			if (fd < 0)
				_exit(5);
			if (i == 3)
				_exit(amp_recv(fd, b, 1, 0) == 1 ? 0 : 6);
			if (i == 2)
				guest_sink(fd);
			else
				guest_echo(fd);
		}
	}
}

/* ---- the host ---- */

static int back_listener, back;

/* The guest's process starts before this one has any thread or link of its own. */
static int start_guest(void)
{
	guest = fork();
	if (guest == 0) {
		guest_main();
		_exit(1);
	}
	return guest < 0;
}

static int set_up(void **state)
{
	char b[5];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/g.sock", dir);
	assert_int_equal(start_guest(), 0);
	assert_int_equal(amp_link_vsock_device(path, 2), -EINVAL);
	assert_int_equal(amp_link_vsock_device(path, GUEST_CID), 0);
	back_listener = listen_on(SOCK_STREAM, BACK_PORT);
	assert_true(back_listener >= 0);
	assert_int_equal(amp_link_wait(10000), 0);
	back = amp_accept(back_listener, NULL, NULL);
	assert_true(back >= 0);
	assert_int_equal(amp_recv(back, b, 5, MSG_WAITALL), 5);
	assert_memory_equal(b, "ready", 5);
	assert_int_equal(amp_send(back, "hello", 5, 0), 5);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (guest > 0) {
		kill(guest, SIGKILL);
		waitpid(guest, NULL, 0);
	}
	unlink(path);
	rmdir(dir);
	return 0;
}

static void test_names(void **state)
{
	struct sockaddr_vm a;
	socklen_t len = sizeof(a);

	(void)state;
	assert_int_equal(amp_getpeername(back, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(a.svm_cid, GUEST_CID);
	assert_int_equal(amp_getsockname(back, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(a.svm_cid, VMADDR_CID_HOST);
	assert_int_equal(a.svm_port, BACK_PORT);
}

static void test_refused(void **state)
{
	(void)state;
	assert_int_equal(dial_any(SOCK_STREAM, GUEST_CID, 4444), -1);
	assert_int_equal(errno, ECONNREFUSED);
	/* a stream listener is no seqpacket listener */
	assert_int_equal(dial_any(SOCK_SEQPACKET, GUEST_CID, ECHO_PORT), -1);
	assert_int_equal(errno, ECONNREFUSED);
	assert_int_equal(dial_any(SOCK_STREAM, GUEST_CID + 1, ECHO_PORT), -1);
	assert_int_equal(errno, ENETUNREACH);
}

static void test_round_trips(void **state)
{
	int fd = dial_any(SOCK_STREAM, GUEST_CID, ECHO_PORT);
	char b[8];

	(void)state;
	assert_true(fd >= 0);
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(amp_send(fd, &i, sizeof(i), 0), sizeof(i));
		assert_int_equal(amp_recv(fd, b, sizeof(i), MSG_WAITALL), sizeof(i));
		assert_memory_equal(b, &i, sizeof(i));
	}
	assert_int_equal(amp_shutdown(fd, SHUT_WR), 0);
	assert_int_equal(amp_recv(fd, b, 8, 0), 0);
	assert_int_equal(amp_close(fd), 0);
}

static void test_messages(void **state)
{
	static char out[131072], in[200000];
	int fd = dial_any(SOCK_SEQPACKET, GUEST_CID, MSG_PORT);
	static const size_t lens[] = {1, 63, 64, 65, 4096, 65535, 65536, 131072};
	struct iovec v = {in, sizeof(in)};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};

	(void)state;
	assert_true(fd >= 0);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 13);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		assert_int_equal(amp_send(fd, out, lens[i], 0), lens[i]);
		assert_int_equal(amp_recvmsg(fd, &m, 0), lens[i]);
		assert_int_equal(m.msg_flags, MSG_EOR);
		assert_memory_equal(in, out, lens[i]);
	}
	/* several at once keep their borders; a large one waits for its whole credit */
	for (int i = 0; i < 10; i++) {
		assert_int_equal(amp_send(fd, out, 100, 0), 100);
		assert_int_equal(amp_send(fd, out + 9, 70000, 0), 70000);
		assert_int_equal(amp_recv(fd, in, sizeof(in), 0), 100);
		assert_int_equal(amp_recv(fd, in, sizeof(in), 0), 70000);
		assert_memory_equal(in, out + 9, 70000);
	}
	assert_int_equal(amp_close(fd), 0);
}

/* What comes while a caller waits goes straight to it: whole, cut, in pieces. */
static void test_waiting(void **state)
{
	int msg = dial_any(SOCK_SEQPACKET, GUEST_CID, MSG_PORT), str;
	char out[64], in[64], a[7], b[1], c[40];
	struct iovec v = {in, sizeof(in)}, vs[4] = {{a, 7}, {NULL, 0}, {b, 1}, {c, 40}};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};

	(void)state;
	assert_true(msg >= 0);
	for (int i = 0; i < 300; i++) {
		size_t n = 1 + (size_t)(i % 60), room = 1 + (size_t)(i * 7 % 64);
		size_t fits = n < room ? n : room;

		memset(out, i, sizeof(out));
		memset(in, ~i, sizeof(in));
		v.iov_len = room;
		assert_int_equal(amp_send(msg, out, n, 0), n);
		assert_int_equal(amp_recvmsg(msg, &m, 0), fits);
		assert_int_equal(m.msg_flags, MSG_EOR | (room < n ? MSG_TRUNC : 0));
		assert_memory_equal(in, out, fits);
		assert_true(fits == sizeof(in) || in[fits] == (char)~i);
		assert_int_equal(amp_send(msg, out, n, 0), n);
		assert_int_equal(amp_recv(msg, in, room, MSG_TRUNC), n);
		/* nothing of the last one is left */
		assert_int_equal(amp_recv(msg, in, room, MSG_DONTWAIT), -1);
		assert_int_equal(errno, EAGAIN);
	}
	assert_int_equal(amp_close(msg), 0);
	str = dial_any(SOCK_STREAM, GUEST_CID, ECHO_PORT);
	assert_true(str >= 0);
	for (int i = 0; i < 300; i++) {
		for (size_t k = 0; k < 48; k++)
			out[k] = (char)(i + (int)k);
		/* the end comes by itself */
		assert_int_equal(amp_send(str, out, 5 + (size_t)(i % 40), 0), 5 + i % 40);
		assert_int_equal(amp_send(str, out + 5 + i % 40, 43 - (size_t)(i % 40), 0),
				 43 - i % 40);
		m = (struct msghdr){.msg_iov = vs, .msg_iovlen = 4};
		assert_int_equal(amp_recvmsg(str, &m, MSG_WAITALL), 48);
		assert_memory_equal(a, out, 7);
		assert_int_equal(b[0], out[7]);
		assert_memory_equal(c, out + 8, 40);
	}
	assert_int_equal(amp_close(str), 0);
}

static void test_bulk(void **state)
{
	static uint8_t buf[200000];
	int fd = dial_any(SOCK_STREAM, GUEST_CID, SINK_PORT);
	uint64_t sum = 0, got;

	(void)state;
	assert_true(fd >= 0);
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 31 >> 2);
	for (int k = 0; k < 100; k++) {
		for (size_t i = 0; i < sizeof(buf); i++)
			sum += buf[i];
		assert_int_equal(amp_send(fd, buf, sizeof(buf), 0), sizeof(buf));
	}
	assert_int_equal(amp_shutdown(fd, SHUT_WR), 0);
	assert_int_equal(amp_recv(fd, &got, sizeof(got), MSG_WAITALL), sizeof(got));
	assert_int_equal(got, sum);
	assert_int_equal(amp_close(fd), 0);
}

/* The guest dies: everything connected hears it once; the listener lives for the next guest. */
static void test_death(void **state)
{
	int fd = dial_any(SOCK_STREAM, GUEST_CID, DIE_PORT), st;
	struct pollfd p = {.fd = back, .events = POLLIN};
	char b[5];

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(amp_send(fd, "x", 1, 0), 1);
	assert_int_equal(amp_recv(fd, b, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(amp_recv(fd, b, 1, 0), 0);
	assert_int_equal(amp_poll(&p, 1, 10000), 1);
	assert_true(p.revents & POLLERR);
	assert_true(p.revents & POLLHUP);
	assert_int_equal(amp_recv(back, b, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(amp_send(back, b, 1, 0), -1);
	assert_int_equal(errno, EPIPE);
	assert_int_equal(amp_close(fd), 0);
	assert_int_equal(amp_close(back), 0);
	assert_int_equal(waitpid(guest, &st, 0), guest);
	guest = 0;
	assert_true(WIFEXITED(st));
	assert_int_equal(WEXITSTATUS(st), 0);
}

#define T(f) cmocka_unit_test(f)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_names),	 T(test_refused), T(test_round_trips), T(test_messages),
		T(test_waiting), T(test_bulk),	  T(test_death),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
