/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handover HOST PORT: firmware whose host changes under it (tests/qemu/handover.py). It keeps
 *
 *	idle   an AF_VSOCK connection to CID 2, port 6000, on which nothing is ever sent
 *	busy   a TCP connection to an echo server at HOST:PORT, always with a chunk on its way
 *
 * and connects each again when it ends; serves echo on AF_VSOCK port 5000 and TCP port 80. Says
 * what happens to its connections, a line each; a line on the console ends it. Prints BAD when a
 * socket tells its end twice, or what came back was never sent.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/vm_sockets.h>
#include <unistd.h>

#include "../../src/port/port.h"

#define CONNS	 8
#define CHUNK	 3000
#define PAUSE_MS 20 /* before the next attempt to connect */

enum { CONSOLE, VSOCK, TCP, IDLE, BUSY, FIRST_CONN, FDS = FIRST_CONN + CONNS };

static struct pollfd fds[FDS];
static struct sockaddr_in server = {.sin_family = AF_INET};
static struct sockaddr_vm host = {
	.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = 6000};
static uint8_t buf[CHUNK], pattern[CHUNK];
static size_t sent, got;
static bool up[FDS];
static unsigned long turns, bad;
static uint32_t again_ms;

static void complain(const char *what, int value)
{
	bad++;
	printf("BAD %s (%d)\n", what, value);
}

static const char *name_of(const struct pollfd *p)
{
	return p == &fds[IDLE] ? "idle" : p == &fds[BUSY] ? "busy" : "served";
}

/* A socket's error is told once; what follows is EOF. */
static void over(struct pollfd *p, int err)
{
	ssize_t n;

	if (err == ECONNRESET) {
		n = recv(p->fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n != 0)
			complain("recv after ECONNRESET", n < 0 ? errno : (int)n);
	}
	if (up[p - fds] || p >= &fds[FIRST_CONN])
		printf("%s lost: %s\n", name_of(p), err == ECONNRESET ? "reset" : "other end");
	up[p - fds] = false;
	if (close(p->fd) != 0)
		complain("close", errno);
	p->fd = -1;
	again_ms = amp_port_now_ms() + PAUSE_MS;
}

static void accept_one(int listener)
{
	int fd = accept(listener, NULL, NULL), i;

	if (fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED && errno != ECONNRESET)
			complain("accept", errno);
		return;
	}
	for (i = FIRST_CONN; i < FDS && fds[i].fd >= 0; i++)
		;
	if (i == FDS) {
		close(fd);
		return;
	}
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	fds[i].fd = fd;
	fds[i].events = POLLIN;
}

static void echo(struct pollfd *p)
{
	ssize_t n = recv(p->fd, buf, sizeof(buf), 0);

	if (n > 0 && send(p->fd, buf, (size_t)n, MSG_NOSIGNAL) == n)
		return; /* the test sends less than a window */
	if (n == 0 || errno != EAGAIN)
		over(p, n == 0 ? 0 : errno);
}

static void call(struct pollfd *p)
{
	bool idle = p == &fds[IDLE];
	const void *to = idle ? (const void *)&host : (const void *)&server;

	p->fd = socket(idle ? AF_VSOCK : AF_INET, SOCK_STREAM, 0);
	if (p->fd < 0) {
		complain("socket", errno);
		return;
	}
	(void)fcntl(p->fd, F_SETFL, O_NONBLOCK);
	p->events = POLLOUT;
	if (!idle)
		sent = got = 0;
	if (connect(p->fd, to, idle ? sizeof(host) : sizeof(server)) != 0 &&
	    errno != EINPROGRESS)
		over(p, 0);
}

static bool connected(struct pollfd *p)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (up[p - fds])
		return true;
	if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err) {
		over(p, 0);
		return false;
	}
	up[p - fds] = true;
	p->events = POLLIN;
	printf("%s up\n", name_of(p));
	return true;
}

static void wait_idly(struct pollfd *p)
{
	ssize_t n;

	if (!connected(p))
		return;
	n = recv(p->fd, buf, sizeof(buf), 0);
	if (n > 0)
		complain("data on the idle connection", (int)n);
	else if (n == 0 || errno != EAGAIN)
		over(p, n < 0 ? errno : 0);
}

/* One chunk there, the same back, and the next. */
static void talk(struct pollfd *p)
{
	ssize_t n;

	if (!connected(p))
		return;
	n = recv(p->fd, buf, CHUNK - got, 0);
	if (n > 0 && memcmp(buf, pattern + got, (size_t)n) != 0)
		complain("bytes that were never sent", (int)got);
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		over(p, n < 0 ? errno : 0);
		return;
	}
	if (n > 0)
		got += (size_t)n;
	if (got == CHUNK) {
		turns++;
		sent = got = 0;
	}
	n = sent < CHUNK ? send(p->fd, pattern + sent, CHUNK - sent, MSG_NOSIGNAL) : 0;
	if (n > 0)
		sent += (size_t)n;
	else if (n < 0 && errno != EAGAIN) {
		over(p, errno);
		return;
	}
	p->events = sent < CHUNK ? POLLOUT | POLLIN : POLLIN;
}

static void set_up(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(80)};
	struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = 5000};
	int i;

	for (i = 0; i < FDS; i++) {
		fds[i].fd = -1;
		fds[i].events = POLLIN;
	}
	for (i = 0; i < CHUNK; i++)
		pattern[i] = (uint8_t)(i * 31 + i / 256);
	fds[CONSOLE].fd = 0;
	fds[VSOCK].fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	fds[TCP].fd = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(fds[VSOCK].fd, (struct sockaddr *)&vm, sizeof(vm)) || listen(fds[VSOCK].fd, 4))
		complain("listen on vsock port 5000", errno);
	if (bind(fds[TCP].fd, (struct sockaddr *)&in, sizeof(in)) || listen(fds[TCP].fd, 4))
		complain("listen on port 80", errno);
	(void)fcntl(fds[VSOCK].fd, F_SETFL, O_NONBLOCK);
	(void)fcntl(fds[TCP].fd, F_SETFL, O_NONBLOCK);
}

static void serve(void)
{
	int i;

	for (i = VSOCK; i <= TCP; i++) {
		if (fds[i].revents)
			accept_one(fds[i].fd);
	}
	if (fds[IDLE].fd >= 0 && fds[IDLE].revents)
		wait_idly(&fds[IDLE]);
	if (fds[BUSY].fd >= 0 && fds[BUSY].revents)
		talk(&fds[BUSY]);
	for (i = FIRST_CONN; i < FDS; i++) {
		if (fds[i].fd >= 0 && fds[i].revents)
			echo(&fds[i]);
	}
}

int main(int argc, char **argv)
{
	server.sin_port = htons((uint16_t)(argc > 2 ? atoi(argv[2]) : 0));
	if (argc != 3 || inet_pton(AF_INET, argv[1], &server.sin_addr) != 1)
		return 2;
	set_up();
	printf("ready\n");
	for (;;) {
		bool both = fds[IDLE].fd >= 0 && fds[BUSY].fd >= 0;

		if (poll(fds, FDS, both ? -1 : PAUSE_MS) < 0)
			complain("poll", errno);
		if (fds[CONSOLE].revents)
			break;
		serve();
		if ((int32_t)(amp_port_now_ms() - again_ms) < 0)
			continue;
		if (fds[IDLE].fd < 0)
			call(&fds[IDLE]);
		if (fds[BUSY].fd < 0)
			call(&fds[BUSY]);
	}
	printf("turns %lu bad %lu\n", turns, bad);
	return bad != 0;
}
