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
#include <sys/ioctl.h>
#include <sys/rpmsg_socket.h>

#include <ampsock.h>

#include "../../boards/board.h"
#include "../../src/af_rpmsg/af_rpmsg.h"
#include "../../src/port/port.h"

#define CHUNK	600 /* more than a message, less than a window */
#define BUF_LEN 2048
#include "talk.h"

#define CONNS 8

enum { CONSOLE, TCP, STREAM, RAW, MINE, FIRST_CONN, FDS = FIRST_CONN + CONNS };

int main(int argc, char **argv);
void _start(void);

static struct pollfd fds[FDS];
static bool connecting, quiet, said;
static uint32_t again_ms, resets;

/* A socket's error is told once; what follows is EOF and EPIPE. */
static void over(struct pollfd *p, int err)
{
	int soerr = 0;
	socklen_t len = sizeof(soerr);
	ssize_t n;

	do { /* a send is told before what had come is read */
		n = recv(p->fd, buf, sizeof(buf), MSG_DONTWAIT);
	} while (n > 0);
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

static void keep_busy(void)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (connecting &&
	    (getsockopt(fds[MINE].fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err)) {
		give_up(0);
		return;
	}
	connecting = false;
	if (!talk(&fds[MINE], !quiet, &err))
		give_up(err);
}

/* Nothing of an application is left: what is in use now must be so every time. */
static void say_quiet(void)
{
	const struct amp_rlink *l = &amp_rlinks[0];
	struct amp_stats st;
	unsigned names = 0;
	int i, used = 0;

	for (i = MINE; i < FDS; i++)
		used += fds[i].fd >= 0;
	for (i = 0; i < AMPSOCK_RPMSG_NAMES; i++)
		names += l->names[i].name[0] != '\0';
	amp_stats_get(&st);
	if (used || !l->l.up || st.tx_pending || l->rs.vs.timed || said)
		return;
	said = true;
	printf("quiet sockets %lu rings %lu tx %u of %u names %u turns %lu resets %lu "
	       "bad %lu\n",
	       (unsigned long)st.sockets_used, (unsigned long)st.rings_used,
	       amp_vq_avail(l->bus.out), l->out_cnt, names, turns, (unsigned long)resets, bad);
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
	struct sockaddr_rpmsg stream = {.rp_family = AF_RPMSG,
					.rp_link = RPMSG_LINK_ANY,
					.rp_addr = RPMSG_ADDR_ANY,
					.rp_name = "echo"};
	struct sockaddr_rpmsg raw = {.rp_family = AF_RPMSG,
				     .rp_link = RPMSG_LINK_ANY,
				     .rp_addr = RPMSG_ADDR_ANY,
				     .rp_name = "raw"};

	talk_set_up(fds, FDS);
	fds[CONSOLE].fd = 0;
	fds[TCP].fd = talk_listen_tcp();
	fds[STREAM].fd =
		talk_bind(AF_RPMSG, SOCK_STREAM, &stream, sizeof(stream), "listen on echo");
	fds[RAW].fd = talk_bind(AF_RPMSG, SOCK_DGRAM, &raw, sizeof(raw), "bind to raw");
}

int main(int argc, char **argv)
{
	int i;

	if (!talk_args(argc, argv))
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
			accept_one(fds[TCP].fd, &fds[FIRST_CONN], CONNS);
		if (fds[STREAM].revents)
			accept_one(fds[STREAM].fd, &fds[FIRST_CONN], CONNS);
		if (fds[RAW].revents)
			echo_raw(fds[RAW].fd);
		if (fds[MINE].fd >= 0 && fds[MINE].revents)
			keep_busy();
		for (i = FIRST_CONN; i < FDS; i++) {
			if (fds[i].fd >= 0 && fds[i].revents)
				echo(&fds[i]);
		}
		if (quiet)
			say_quiet();
		else if (fds[MINE].fd < 0 && (int32_t)(amp_port_now_ms() - again_ms) >= 0)
			call();
	}
	printf("turns %lu resets %lu bad %lu\n", turns, (unsigned long)resets, bad);
	return bad != 0;
}
