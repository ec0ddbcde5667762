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
#include <sys/vm_sockets.h>

#include "../../src/port/port.h"

#define CHUNK	3000
#define BUF_LEN CHUNK
#include "talk.h"

#define CONNS 8

enum { CONSOLE, VSOCK, TCP, IDLE, BUSY, FIRST_CONN, FDS = FIRST_CONN + CONNS };

static struct pollfd fds[FDS];
static struct sockaddr_vm host = {
	.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = 6000};
static bool up[FDS];
static uint32_t again_ms;

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

static void keep_busy(struct pollfd *p)
{
	int err;

	if (connected(p) && !talk(p, true, &err))
		over(p, err);
}

static void set_up(void)
{
	struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = 5000};

	talk_set_up(fds, FDS);
	fds[CONSOLE].fd = 0;
	fds[VSOCK].fd =
		talk_bind(AF_VSOCK, SOCK_STREAM, &vm, sizeof(vm), "listen on vsock port 5000");
	fds[TCP].fd = talk_listen_tcp();
}

static void serve(void)
{
	int i;

	for (i = VSOCK; i <= TCP; i++) {
		if (fds[i].revents)
			accept_one(fds[i].fd, &fds[FIRST_CONN], CONNS);
	}
	if (fds[IDLE].fd >= 0 && fds[IDLE].revents)
		wait_idly(&fds[IDLE]);
	if (fds[BUSY].fd >= 0 && fds[BUSY].revents)
		keep_busy(&fds[BUSY]);
	for (i = FIRST_CONN; i < FDS; i++) {
		if (fds[i].fd >= 0 && fds[i].revents)
			echo(&fds[i]);
	}
}

int main(int argc, char **argv)
{
	if (!talk_args(argc, argv))
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
