/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long a byte takes there and back, as a distribution; alone, or beside a connection that
 * moves bulk as fast as it can. Built twice, as load.c is, and speaks to the same server.
 *
 *	lat idle|up|down ADDRESS PORT COUNT
 *
 * idle: nothing else; up, down: beside bulk that this process sends or receives, in a thread of its
 * own. Prints: median, 99th and 99.9th percentile and the longest of COUNT round trips (fewer, when
 * 3 s are over), in microseconds, and the bulk's MB/s. Exit 1 with a message when anything was not right.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WARM	  50
#define COUNT_MAX 1000000
#define MOST_NS	  3000000000ull

static char buf[128 * 1024];
static uint32_t ns[COUNT_MAX];
static struct sockaddr_in peer = {.sin_family = AF_INET};
static atomic_int stop;
static atomic_ullong moved;
static char op;

static void die(const char *what)
{
	fprintf(stderr, "lat: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int open_conn(char what, uint64_t count)
{
	uint8_t head[9] = {(uint8_t)what};
	int one = 1, i, fd = socket(AF_INET, SOCK_STREAM, 0);

	for (i = 0; i < 8; i++)
		head[1 + i] = (uint8_t)(count >> (8 * i));
	if (fd < 0)
		die("socket");
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
		die("TCP_NODELAY");
	if (connect(fd, (struct sockaddr *)&peer, sizeof(peer)) < 0)
		die("connect");
	if (send(fd, head, sizeof(head), 0) != sizeof(head))
		die("send");
	return fd;
}

static void *bulk(void *unused)
{
	int fd = open_conn(op, (uint64_t)1 << 50);
	ssize_t n;

	(void)unused;
	while (!atomic_load(&stop)) {
		n = op == 'T' ? send(fd, buf, sizeof(buf), 0) : recv(fd, buf, sizeof(buf), 0);
		if (n <= 0)
			die("bulk");
		atomic_fetch_add(&moved, (unsigned long long)n);
	}
	close(fd);
	return NULL;
}

static int shorter(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double at(unsigned long count, double part)
{
	unsigned long i = (unsigned long)(part * (double)count);

	return ns[i < count ? i : count - 1] / 1e3;
}

int main(int argc, char **argv)
{
	unsigned long long before, bytes;
	unsigned long count, i;
	uint64_t from, to;
	pthread_t thread;
	char byte = 0;
	int fd;

	count = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
	if (count == 0 || count > COUNT_MAX ||
	    inet_pton(AF_INET, argv[2], &peer.sin_addr) != 1 ||
	    (strcmp(argv[1], "idle") && strcmp(argv[1], "up") && strcmp(argv[1], "down"))) {
		fprintf(stderr, "usage: lat idle|up|down ADDRESS PORT COUNT (up to %d)\n",
			COUNT_MAX);
		return 2;
	}
	peer.sin_port = htons((uint16_t)atoi(argv[3]));
	op = argv[1][0] == 'u' ? 'T' : argv[1][0] == 'd' ? 'R' : 0;
	fd = open_conn('P', count + WARM);
	if (op && pthread_create(&thread, NULL, bulk, NULL))
		die("thread");
	while (op && atomic_load(&moved) < (4u << 20))
		sched_yield(); /* it is under way */
	before = atomic_load(&moved);
	from = now_ns();
	for (i = 0; i < count + WARM && (i <= WARM || now_ns() - from < MOST_NS); i++) {
		uint64_t begun = now_ns(), took;

		if (send(fd, &byte, 1, 0) != 1)
			die("send");
		if (recv(fd, &byte, 1, 0) != 1)
			die("recv");
		took = now_ns() - begun;
		if (i == WARM) {
			from = begun;
			before = atomic_load(&moved);
		}
		if (i >= WARM)
			ns[i - WARM] = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
	}
	to = now_ns();
	count = i - WARM;
	bytes = atomic_load(&moved) - before;
	atomic_store(&stop, 1);
	if (op && pthread_join(thread, NULL))
		die("thread");
	close(fd);
	qsort(ns, count, sizeof(ns[0]), shorter);
	printf("%.2f %.2f %.2f %.2f %.1f\n", at(count, .5), at(count, .99), at(count, .999),
	       ns[count - 1] / 1e3, (double)bytes * 1e3 / (double)(to - from));
	return 0;
}
