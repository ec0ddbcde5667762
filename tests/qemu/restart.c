/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * restart HOST PORT: firmware that goes on through everything that tests/qemu/restarts.py does to
 * it and to its host. It serves echo on TCP port 80, on the rpmsg stream service `echo`
 * and, raw, on `raw`, and keeps a TCP connection of its own to an echo server at HOST:PORT busy.
 * Commands on the console, a letter and a newline:
 *
 *	q   be quiet: no connection of its own; when nothing is left, say what is in use
 *	g   go on
 *	w   warm reset: jump to the reset vector, memory shared with the host as it is
 *	e   end
 *
 * Prints BAD when a socket tells its end twice, or anything else is not as it should be.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/rpmsg_socket.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ampsock.h>

#include "../../boards/board.h"
#include "../../src/af_rpmsg/af_rpmsg.h"
#include "../../src/port/port.h"

#define CONNS	 8
#define CHUNK	 600 /* more than a message, less than a window */
#define PAUSE_MS 20  /* before the next attempt to connect */

enum { CONSOLE, TCP, STREAM, RAW, MINE, FIRST_CONN, FDS = FIRST_CONN + CONNS };

int main(int argc, char **argv);
void _start(void);

static struct pollfd fds[FDS];
static struct sockaddr_in server = {.sin_family = AF_INET};
static uint8_t buf[2048], pattern[CHUNK];
static size_t sent, got; /* of the chunk that is on its way, on our own connection */
static bool connecting, quiet, said;
static uint32_t again_ms, turns, resets, bad;

static void complain(const char *what, int value)
{
	bad++;
	printf("BAD %s (%d)\n", what, value);
}

/* A socket's error is told once; what follows is EOF and EPIPE. */
static void over(struct pollfd *p, int err)
{
	int soerr = 0;
	socklen_t len = sizeof(soerr);
	ssize_t n = recv(p->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (err == ECONNRESET) {
		resets++;
		if (n != 0)
			complain("recv after ECONNRESET", n < 0 ? errno : (int)n);
		if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &soerr, &len) != 0 || soerr != 0)
			complain("SO_ERROR after ECONNRESET", soerr);
		if (send(p->fd, buf, 1, MSG_DONTWAIT) >= 0 || errno != EPIPE)
			complain("send after ECONNRESET", errno);
	}
	if (close(p->fd) != 0)
		complain("close", errno);
	p->fd = -1;
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

/* What came goes back. A send that does not take all of it waits: the peer reads. */
static void echo(struct pollfd *p)
{
	ssize_t n = recv(p->fd, buf, sizeof(buf), 0), k, at;

	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			over(p, n < 0 ? errno : 0);
		return;
	}
	(void)fcntl(p->fd, F_SETFL, 0);
	for (at = 0; at < n; at += k) {
		k = send(p->fd, buf + at, (size_t)(n - at), 0);
		if (k < 0) {
			over(p, errno);
			return;
		}
	}
	(void)fcntl(p->fd, F_SETFL, O_NONBLOCK);
}

static void echo_raw(int fd)
{
	struct sockaddr_rpmsg from;
	socklen_t len = sizeof(from);
	ssize_t n =
		recvfrom(fd, buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&from, &len);

	if (n >= 0)
		(void)sendto(fd, buf, (size_t)n, MSG_DONTWAIT, (struct sockaddr *)&from, len);
}

static void give_up(int err)
{
	connecting = false;
	over(&fds[MINE], err);
	again_ms = amp_port_now_ms() + PAUSE_MS;
}

static void call(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0) {
		complain("socket", errno);
		return;
	}
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	fds[MINE].fd = fd;
	fds[MINE].events = POLLOUT;
	sent = got = 0;
	connecting = true;
	if (connect(fd, (struct sockaddr *)&server, sizeof(server)) != 0 &&
	    errno != EINPROGRESS)
		give_up(0); /* whatever it was: there was no connection to end */
}

/* One chunk there, the same back, and the next. */
static void talk(void)
{
	int err = 0;
	socklen_t len = sizeof(err);
	ssize_t n;

	if (connecting) {
		if (getsockopt(fds[MINE].fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err) {
			give_up(0);
			return;
		}
		connecting = false;
	}
	n = sent < CHUNK ? send(fds[MINE].fd, pattern + sent, CHUNK - sent, MSG_NOSIGNAL) : 0;
	if (n > 0)
		sent += (size_t)n;
	else if (n < 0 && errno != EAGAIN) {
		give_up(errno);
		return;
	}
	n = recv(fds[MINE].fd, buf, CHUNK - got, 0);
	if (n > 0 && memcmp(buf, pattern + got, (size_t)n) != 0)
		complain("bytes that were never sent", (int)got);
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		give_up(n < 0 ? errno : 0);
		return;
	}
	if (n > 0)
		got += (size_t)n;
	if (got == CHUNK) {
		turns++;
		sent = got = 0;
		if (quiet)
			give_up(0);
	}
	fds[MINE].events = sent < CHUNK ? POLLOUT | POLLIN : POLLIN;
}

/* Nothing of an application is left: what is in use now must be so every time. */
static void say_quiet(void)
{
	const struct amp_rlink *l = &amp_rlinks[0];
	struct amp_stats st;
	int i, used = 0;

	for (i = MINE; i < FDS; i++)
		used += fds[i].fd >= 0;
	amp_stats_get(&st);
	if (used || !l->l.up || st.tx_pending || l->rs.vs.closing_cnt || said)
		return;
	said = true;
	printf("quiet sockets %lu rings %lu held %u tx %u of %u names %u turns %lu resets %lu "
	       "bad %lu\n",
	       (unsigned long)st.sockets_used, (unsigned long)st.rings_used, l->bus.held_cnt,
	       amp_vq_avail(l->bus.out), l->out_cnt, l->name_cnt, (unsigned long)turns,
	       (unsigned long)resets, (unsigned long)bad);
}

static int command(void)
{
	char c = 0;

	if (read(0, &c, 1) != 1)
		return 0;
	if (c == 'q') {
		quiet = true;
		said = false;
		if (fds[MINE].fd >= 0 && connecting)
			give_up(0);
	} else if (c == 'g') {
		quiet = false;
	} else if (c == 'w') {
		(void)board_irq_save();
		_start();
	}
	return c == 'e';
}

static void set_up(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(80)};
	struct sockaddr_rpmsg stream = {.rp_family = AF_RPMSG,
					.rp_link = RPMSG_LINK_ANY,
					.rp_addr = RPMSG_ADDR_ANY,
					.rp_name = "echo"};
	struct sockaddr_rpmsg raw = {.rp_family = AF_RPMSG,
				     .rp_link = RPMSG_LINK_ANY,
				     .rp_addr = RPMSG_ADDR_ANY,
				     .rp_name = "raw"};
	int i;

	for (i = 0; i < FDS; i++)
		fds[i].fd = -1;
	for (i = 0; i < CHUNK; i++)
		pattern[i] = (uint8_t)(i * 31 + i / 256);
	fds[CONSOLE].fd = 0;
	fds[TCP].fd = socket(AF_INET, SOCK_STREAM, 0);
	fds[STREAM].fd = socket(AF_RPMSG, SOCK_STREAM, 0);
	fds[RAW].fd = socket(AF_RPMSG, SOCK_DGRAM, 0);
	for (i = CONSOLE; i < MINE; i++)
		fds[i].events = POLLIN;
	if (bind(fds[STREAM].fd, (struct sockaddr *)&stream, sizeof(stream)) ||
	    listen(fds[STREAM].fd, 4))
		complain("listen on echo", errno);
	if (bind(fds[RAW].fd, (struct sockaddr *)&raw, sizeof(raw)))
		complain("bind to raw", errno);
	if (bind(fds[TCP].fd, (struct sockaddr *)&in, sizeof(in)) || listen(fds[TCP].fd, 4))
		complain("listen on port 80", errno);
	(void)fcntl(fds[TCP].fd, F_SETFL, O_NONBLOCK);
	(void)fcntl(fds[STREAM].fd, F_SETFL, O_NONBLOCK);
}

int main(int argc, char **argv)
{
	int i;

	server.sin_port = htons((uint16_t)(argc > 2 ? atoi(argv[2]) : 0));
	if (argc != 3 || inet_pton(AF_INET, argv[1], &server.sin_addr) != 1)
		return 2;
	set_up();
	printf("ready\n");
	for (;;) {
		if (poll(fds, FDS,
			 fds[MINE].fd < 0 && !quiet ? PAUSE_MS
			 : quiet && !said	    ? 5
						    : -1) < 0)
			complain("poll", errno);
		if (fds[CONSOLE].revents && command())
			break;
		if (fds[TCP].revents)
			accept_one(fds[TCP].fd);
		if (fds[STREAM].revents)
			accept_one(fds[STREAM].fd);
		if (fds[RAW].revents)
			echo_raw(fds[RAW].fd);
		if (fds[MINE].fd >= 0 && fds[MINE].revents)
			talk();
		for (i = FIRST_CONN; i < FDS; i++) {
			if (fds[i].fd >= 0 && fds[i].revents)
				echo(&fds[i]);
		}
		if (quiet)
			say_quiet();
		else if (fds[MINE].fd < 0 && (int32_t)(amp_port_now_ms() - again_ms) >= 0)
			call();
	}
	printf("turns %lu resets %lu bad %lu\n", (unsigned long)turns, (unsigned long)resets,
	       (unsigned long)bad);
	return bad != 0;
}
