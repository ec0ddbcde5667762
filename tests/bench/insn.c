/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Instructions of a 16-byte message, from send() entered to recv() returned: both ends,
 * memcpy included, the receiver already waiting, the kick hook empty. To be run under
 *
 *	valgrind --tool=callgrind --collect-atstart=no insn MODE COUNT
 *
 * MODE: stream, stream-down, seqpacket (one way), rt (there and back). With a fourth argument,
 * CONNECTIONS, there are so many and every one has its turn (one way, from the guest); between
 * messages, not counted, the guest looks at its link, or credit for many would lie there and
 * leave the host no buffers. A fifth, BURST: so many messages before the host has its turn; COUNT
 * is of bursts. MODE awake: as stream, but the host never sleeps, it asks with MSG_DONTWAIT; for
 * the kicks, which there should be none of.
 *
 * Two copies of the library in one process: g_* as firmware builds it (a driver), h_* as
 * the hosted build (the device end), over real rings. Each has a stack of its own; the
 * change between the two is not counted.
 *
 * Switching the count on and off takes instructions that are counted, though they are this
 * program's and not the library's. MODE nothing and nothing-rt do all the switching of a
 * message one way and of a round trip, without a message: bench.py subtracts what they cost.
 * The arguments of the calls, and the lock and wait of insn_side.c, stay in the figure.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/vm_sockets.h>
#include <ucontext.h>

#include <valgrind/callgrind.h>

#include "insn.h"

#define MESSAGE 16
#define PORT	1234
/* The pool has 16 sockets, and the host listens with one. */
#define CONNS_MAX 15
/* Not 2: to its own stack this end is a guest like any other until its rings are turned round. */
#define HOST_CID 4

#define DECLARE(p)                                                                       \
	int p##_amp_side_up(uint32_t cid);                                               \
	struct amp_vq *p##_amp_side_queue(unsigned q);                                   \
	void *p##_amp_side_mem(void);                                                    \
	int p##_amp_side_turn(unsigned q, const struct amp_vq *theirs, void *their_mem); \
	int p##_amp_socket(int domain, int type, int protocol);                          \
	int p##_amp_bind(int fd, const struct sockaddr *addr, socklen_t len);            \
	int p##_amp_listen(int fd, int backlog);                                         \
	int p##_amp_accept(int fd, struct sockaddr *addr, socklen_t *len);               \
	int p##_amp_connect(int fd, const struct sockaddr *addr, socklen_t len);         \
	ssize_t p##_amp_send(int fd, const void *buf, size_t len, int flags);            \
	ssize_t p##_amp_recv(int fd, void *buf, size_t len, int flags);                  \
	int p##_amp_poll_links(void);

DECLARE(g)
DECLARE(h)

unsigned insn_kicks;

static ucontext_t guest, host;
static char host_stack[256 * 1024];
static int in_host, counting, started;
static int type = SOCK_STREAM;
static unsigned long count, conns = 1, burst = 1;
static int awake;
static int guest_fd[CONNS_MAX], host_fd[CONNS_MAX];
static unsigned kicks, kicks_counted;
enum { ONE_WAY, DOWN, ROUND, NOTHING, NOTHING_ROUND, BURSTS } what;

static void need(int ok, const char *text)
{
	if (!ok) {
		fprintf(stderr, "insn: %s\n", text);
		exit(1);
	}
}

static void count_on(void)
{
	need(!counting, "counting already");
	counting = 1;
	kicks = insn_kicks;
	CALLGRIND_TOGGLE_COLLECT;
}

static void count_off(void)
{
	if (!counting)
		return;
	CALLGRIND_TOGGLE_COLLECT;
	kicks_counted += insn_kicks - kicks;
	counting = 0;
}

void insn_switch(void)
{
	/* Whoever comes back from the change may find that the count has begun or ended. */
	if (counting)
		CALLGRIND_TOGGLE_COLLECT;
	in_host = !in_host;
	if (in_host)
		swapcontext(&guest, &host);
	else
		swapcontext(&host, &guest);
	if (counting)
		CALLGRIND_TOGGLE_COLLECT;
}

/*
 * Bursts, asleep until there is something, or asking again and again. Apart from the loop of single
 * messages, whose own instructions are in their figure.
 */
static void host_bursts(void)
{
	char buf[MESSAGE];
	unsigned long i, k;
	ssize_t n;

	for (i = 0;; i++) {
		for (k = 0; k < burst; k++) {
			n = h_amp_recv(host_fd[i % conns], buf, sizeof(buf),
				       awake ? MSG_DONTWAIT : 0);
			while (awake && n < 0) {
				insn_switch();
				n = h_amp_recv(host_fd[i % conns], buf, sizeof(buf),
					       MSG_DONTWAIT);
			}
			need(n == sizeof(buf), "the host's recv");
		}
		count_off();
	}
}

static void guest_burst(int fd, const char *buf)
{
	unsigned long k;

	count_on();
	for (k = 0; k < burst; k++)
		need(g_amp_send(fd, buf, MESSAGE, 0) == MESSAGE, "send");
	insn_switch();
	need(!counting, "the host received nothing");
}

static void host_main(void)
{
	struct sockaddr_vm a = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = PORT};
	char buf[MESSAGE];
	int l = h_amp_socket(AF_VSOCK, type, 0), fd;
	unsigned long i;

	need(l >= 0 && h_amp_bind(l, (struct sockaddr *)&a, sizeof(a)) == 0 &&
		     h_amp_listen(l, 1) == 0,
	     "the host's listener");
	for (i = 0; i < conns; i++) {
		host_fd[i] = h_amp_accept(l, NULL, NULL);
		need(host_fd[i] >= 0, "accept");
	}
	fd = host_fd[0];
	if (what == BURSTS)
		host_bursts();
	while (what >= NOTHING) {
		insn_switch();
		if (what == NOTHING)
			count_off();
	}
	for (i = 0;; i++) {
		fd = host_fd[i % conns];
		if (what == DOWN) {
			if (!started) {
				insn_switch();
				continue;
			}
			memset(buf, 'x', sizeof(buf));
			count_on();
			need(h_amp_send(fd, buf, sizeof(buf), 0) == sizeof(buf),
			     "the host's send");
			insn_switch();
			continue;
		}
		need(h_amp_recv(fd, buf, sizeof(buf), 0) == sizeof(buf), "the host's recv");
		if (what == ONE_WAY)
			count_off();
		else
			need(h_amp_send(fd, buf, sizeof(buf), 0) == sizeof(buf),
			     "the host's send");
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = HOST_CID, .svm_port = PORT};
	static const char *const modes[] = {"stream",	  "stream-down", "rt",	 "nothing",
					    "nothing-rt", "seqpacket",	 "awake"};
	char buf[MESSAGE] = "0123456789abcde";
	unsigned long i;
	int fd, m;

	for (m = 0; argc >= 3 && m < 7 && strcmp(argv[1], modes[m]); m++)
		;
	if (argc >= 4)
		conns = strtoul(argv[3], NULL, 10);
	if (argc == 5)
		burst = strtoul(argv[4], NULL, 10);
	need(argc >= 3 && argc <= 5 && m < 7 && conns >= 1 && conns <= CONNS_MAX &&
		     burst >= 1 && burst <= 16 && (argc == 3 || m == ONE_WAY || m >= 5),
	     "usage: insn stream|stream-down|seqpacket|awake|rt|nothing|nothing-rt COUNT "
	     "[CONNECTIONS [BURST]]");
	awake = m == 6;
	what = awake || argc == 5 ? BURSTS : m == 5 ? ONE_WAY : m;
	type = m == 5 ? SOCK_SEQPACKET : SOCK_STREAM;
	count = strtoul(argv[2], NULL, 10);

	need(g_amp_side_up(3) == 0 && h_amp_side_up(HOST_CID) == 0, "links");
	/* The guest's in queue is the host's out queue. */
	need(h_amp_side_turn(0, g_amp_side_queue(1), g_amp_side_mem()) == 0 &&
		     h_amp_side_turn(1, g_amp_side_queue(0), g_amp_side_mem()) == 0,
	     "the device's rings");
	getcontext(&host);
	host.uc_stack.ss_sp = host_stack;
	host.uc_stack.ss_size = sizeof(host_stack);
	makecontext(&host, host_main, 0);

	insn_switch(); /* the host listens */
	for (i = 0; i < conns; i++) {
		guest_fd[i] = g_amp_socket(AF_VSOCK, type, 0);
		need(guest_fd[i] >= 0, "socket");
		need(g_amp_connect(guest_fd[i], (struct sockaddr *)&a, sizeof(a)) == 0,
		     "connect");
		insn_switch(); /* the host has accepted, and waits */
	}
	started = 1;
	for (i = 0; i < count; i++) {
		fd = guest_fd[i % conns];
		if (argc >= 4)
			g_amp_poll_links();
		switch (what) {
		case ONE_WAY:
			count_on();
			need(g_amp_send(fd, buf, sizeof(buf), 0) == sizeof(buf), "send");
			insn_switch();
			need(!counting, "the host received nothing");
			break;
		case BURSTS:
			guest_burst(fd, buf);
			break;
		case DOWN:
			need(g_amp_recv(fd, buf, sizeof(buf), 0) == sizeof(buf), "recv");
			count_off();
			break;
		case NOTHING:
			count_on();
			insn_switch();
			need(!counting, "the host did not run");
			break;
		case NOTHING_ROUND:
			count_on();
			insn_switch();
			count_off();
			break;
		case ROUND:
			count_on();
			need(g_amp_send(fd, buf, sizeof(buf), 0) == sizeof(buf), "send");
			need(g_amp_recv(fd, buf, sizeof(buf), 0) == sizeof(buf), "recv");
			count_off();
			break;
		}
	}
	printf("%lu messages, %u kicks\n", count * burst, kicks_counted);
	return 0;
}
