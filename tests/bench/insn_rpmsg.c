/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Instructions of an rpmsg message, from send() entered on the remote to recv() returned on the
 * host: both ends, memcpy included, the receiver already waiting, the kick hook empty.
 *
 *	insn_rpmsg seq|stream|awake|copy|nothing LENGTH BURST COUNT [CONNECTIONS]
 *
 * COUNT times BURST messages of LENGTH bytes, the connections taking turns. awake: as seq, but
 * the host never sleeps, it asks with MSG_DONTWAIT; for the kicks, which there should be none of.
 * copy: nothing but memcpy(), one of LENGTH bytes at each end, which is the least that a message
 * can cost. Switching the count on and off takes instructions that are counted, though they are
 * this program's: nothing does all the switching of a burst, without a message, and bench.py
 * subtracts what that costs. Two copies of the library in one program: r_* as firmware builds it
 * (the remote, device of the rings), h_* as the host (their driver), over a resource table and
 * vrings in memory that both see. Each has a stack of its own; the change between the two is not
 * counted.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/rpmsg_socket.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "insn_arch.h"
#include "insn_rpmsg.h"

#define LEN_MAX 496
/* The pool has 16 sockets, and the remote listens with one. */
#define CONNS_MAX 15

#define DECLARE(p)                                                               \
	int p##_amp_socket(int domain, int type, int protocol);                  \
	int p##_amp_bind(int fd, const struct sockaddr *addr, socklen_t len);    \
	int p##_amp_listen(int fd, int backlog);                                 \
	int p##_amp_accept(int fd, struct sockaddr *addr, socklen_t *len);       \
	int p##_amp_connect(int fd, const struct sockaddr *addr, socklen_t len); \
	ssize_t p##_amp_send(int fd, const void *buf, size_t len, int flags);    \
	ssize_t p##_amp_recv(int fd, void *buf, size_t len, int flags);

DECLARE(r)
DECLARE(h)
int r_amp_side_up(void);
int h_amp_side_up(void);

unsigned insn_kicks;
uint8_t insn_shm[INSN_SHM_LEN] __attribute__((aligned(4096)));

static const struct sockaddr_rpmsg bench = {
	.rp_family = AF_RPMSG, .rp_addr = RPMSG_ADDR_ANY, .rp_name = "bench"};
static int counting, type, nothing, awake, copy;
static unsigned long len, burst, count, conns = 1;
static int host_fd[CONNS_MAX], remote_fd[CONNS_MAX];
static unsigned kicks, kicks_counted;
static char host_buf[LEN_MAX], remote_buf[LEN_MAX], between[LEN_MAX];

static void need(int ok, const char *text)
{
	if (!ok) {
		printf("insn_rpmsg: %s\n", text);
		exit(1);
	}
}

static void count_on(void)
{
	need(!counting, "counting already");
	counting = 1;
	kicks = insn_kicks;
	insn_on();
}

static void count_off(void)
{
	if (!counting)
		return;
	insn_off();
	kicks_counted += insn_kicks - kicks;
	counting = 0;
}

/* Whoever comes back from the change may find that the count has begun or ended. */
void insn_switch(void)
{
	if (counting)
		insn_off();
	insn_turn();
	if (counting)
		insn_on();
}

/* What is not a message asleep has loops of its own: their instructions are in the figure. */
static void host_awake(void)
{
	unsigned long i;
	ssize_t n;

	for (;;) {
		for (i = 0; i < burst; i++) {
			n = h_amp_recv(host_fd[0], host_buf, len, MSG_DONTWAIT);
			while (n < 0) {
				insn_switch();
				n = h_amp_recv(host_fd[0], host_buf, len, MSG_DONTWAIT);
			}
			need(n == (ssize_t)len, "the host's recv");
		}
		count_off();
	}
}

/* As in the library the compiler does not know the length. */
static void copied(char *to, const char *from)
{
	memcpy(to, from, len);
	__asm__ volatile("" ::"r"(to) : "memory");
}

static void host_copies(void)
{
	for (;;) {
		insn_switch();
		copied(host_buf, between);
		count_off();
	}
}

static void told(void)
{
	printf("%lu messages, %u kicks, %lu instructions\n", count * burst, kicks_counted,
	       insn_counted());
}

static void remote_copies(void)
{
	unsigned long i;

	for (i = 0; i < count; i++) {
		count_on();
		copied(between, remote_buf);
		insn_switch();
	}
	told();
	exit(0);
}

static void host_main(void)
{
	unsigned long i, turn;

	for (i = 0; i < conns; i++) {
		host_fd[i] = h_amp_socket(AF_RPMSG, type, 0);
		need(host_fd[i] >= 0, "the host's socket");
		need(h_amp_connect(host_fd[i], (const struct sockaddr *)&bench,
				   sizeof(bench)) == 0,
		     "the host's connect");
		need(h_amp_send(host_fd[i], "x", 1, 0) == 1, "the host's first message");
		insn_switch(); /* the remote accepts it and takes it */
	}
	if (copy)
		host_copies();
	if (awake)
		host_awake();
	while (nothing) {
		insn_switch();
		count_off();
	}
	for (turn = 0;; turn++) {
		for (i = 0; i < burst; i++)
			need(h_amp_recv(host_fd[turn % conns], host_buf, len, 0) ==
				     (ssize_t)len,
			     "the host's recv");
		count_off();
	}
}

int main(int argc, char **argv)
{
	unsigned long i, k;
	int l, fd;

	need(argc == 5 || argc == 6, "usage: insn_rpmsg seq|stream|awake|copy|nothing LENGTH "
				     "BURST COUNT [CONNECTIONS]");
	nothing = strcmp(argv[1], "nothing") == 0;
	awake = strcmp(argv[1], "awake") == 0;
	copy = strcmp(argv[1], "copy") == 0;
	type = awake || strcmp(argv[1], "seq") == 0 ? SOCK_SEQPACKET : SOCK_STREAM;
	len = strtoul(argv[2], NULL, 10);
	burst = strtoul(argv[3], NULL, 10);
	count = strtoul(argv[4], NULL, 10);
	if (argc == 6)
		conns = strtoul(argv[5], NULL, 10);
	need(conns >= 1 && conns <= CONNS_MAX, "CONNECTIONS up to 15");
	need(len >= 1 && len <= LEN_MAX && burst >= 1, "LENGTH up to 496, BURST from 1");

	need(r_amp_side_up() == 0, "the remote's link");
	need(h_amp_side_up() == 0, "the host's link");
	insn_start(host_main);
	l = r_amp_socket(AF_RPMSG, type, 0);
	need(l >= 0, "socket");
	need(r_amp_bind(l, (const struct sockaddr *)&bench, sizeof(bench)) == 0, "bind");
	need(r_amp_listen(l, CONNS_MAX) == 0, "listen");
	for (i = 0; i < conns; i++) {
		remote_fd[i] = r_amp_accept(l, NULL, NULL); /* the host runs while we wait */
		need(remote_fd[i] >= 0, "accept");
		need(r_amp_recv(remote_fd[i], remote_buf, 1, 0) == 1, "recv");
	}
	insn_switch(); /* the host waits in recv */
	if (copy)
		remote_copies();
	for (i = 0; i < count; i++) {
		fd = remote_fd[i % conns];
		count_on();
		for (k = 0; k < burst && !nothing; k++)
			need(r_amp_send(fd, remote_buf, len, 0) == (ssize_t)len, "send");
		insn_switch();
		need(!counting, "the host received nothing");
	}
	told();
	return 0;
}
