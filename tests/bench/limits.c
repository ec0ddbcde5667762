/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What nobody on this machine can beat: the price of a copy, of a system call, of waking another
 * thread, and of TCP over loopback for who sends and for who receives.
 *
 *	limits
 *
 * Prints a name, a number and its unit a line.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BLOCK (64 * 1024)
#define BULK  (512ull << 20)
#define CALLS 200000
#define TURNS 20000

static int pair[2], ping, pong;
static double receiver_s;

static void need(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "limits: %s: %s\n", what, strerror(errno));
		exit(1);
	}
}

static double now_s(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/*
 * GB/s from one buffer to another, both of len bytes. They lie half a page apart modulo pages: two at
 * nearly the same place of theirs, as malloc() gives them, are copied at a twentieth of the speed, because
 * the processor takes each load for one that waits for the store before.
 */
static double copy(size_t len)
{
	uint8_t *from = aligned_alloc(4096, len), *both = aligned_alloc(4096, len + 4096);
	uint8_t *to = both + 2048;
	size_t times = (1ull << 30) / len, i;
	double begun;

	need(from && both, "memory");
	memset(from, 1, len);
	memset(to, 2, len);
	begun = now_s(CLOCK_THREAD_CPUTIME_ID);
	for (i = 0; i < times; i++) {
		from[i % len] = (uint8_t)i;
		memcpy(to, from, len);
		__asm__ volatile("" ::"r"(to) : "memory");
	}
	begun = now_s(CLOCK_THREAD_CPUTIME_ID) - begun;
	free(from);
	free(both);
	return (double)(times * len) / begun / 1e9;
}

static void *receiver(void *unused)
{
	static char buf[BLOCK];
	uint64_t left = BULK;
	double begun = now_s(CLOCK_THREAD_CPUTIME_ID);

	(void)unused;
	while (left) {
		ssize_t n = recv(pair[1], buf, sizeof(buf), 0);

		need(n > 0, "recv");
		left -= (uint64_t)n;
	}
	receiver_s = now_s(CLOCK_THREAD_CPUTIME_ID) - begun;
	return NULL;
}

static void connect_pair(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0);

	need(l >= 0 && bind(l, (struct sockaddr *)&a, len) == 0 && listen(l, 1) == 0 &&
		     getsockname(l, (struct sockaddr *)&a, &len) == 0,
	     "listener");
	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	need(connect(pair[0], (struct sockaddr *)&a, len) == 0, "connect");
	pair[1] = accept(l, NULL, NULL);
	need(pair[1] >= 0, "accept");
	close(l);
}

static void *answerer(void *unused)
{
	uint64_t one;
	int i;

	for (i = 0; i < TURNS; i++)
		need(read(ping, &one, 8) == 8 && write(pong, &one, 8) == 8, "eventfd");
	return unused;
}

int main(void)
{
	static char buf[BLOCK];
	uint64_t left, one = 1;
	pthread_t thread;
	double begun;
	int i;

	printf("limit_copy_64k %.2f GB/s\n", copy(BLOCK));
	printf("limit_copy_16m %.2f GB/s\n", copy(16u << 20));
	begun = now_s(CLOCK_THREAD_CPUTIME_ID);
	for (i = 0; i < CALLS; i++)
		syscall(SYS_getppid);
	printf("limit_syscall %.1f ns\n",
	       (now_s(CLOCK_THREAD_CPUTIME_ID) - begun) / CALLS * 1e9);

	ping = eventfd(0, 0);
	pong = eventfd(0, 0);
	need(pthread_create(&thread, NULL, answerer, NULL) == 0, "thread");
	begun = now_s(CLOCK_MONOTONIC);
	for (i = 0; i < TURNS; i++)
		need(write(ping, &one, 8) == 8 && read(pong, &one, 8) == 8, "eventfd");
	printf("limit_wake_there_and_back %.2f us\n",
	       (now_s(CLOCK_MONOTONIC) - begun) / TURNS * 1e6);
	pthread_join(thread, NULL);

	connect_pair();
	need(pthread_create(&thread, NULL, receiver, NULL) == 0, "thread");
	begun = now_s(CLOCK_THREAD_CPUTIME_ID);
	for (left = BULK; left;) {
		ssize_t n = send(pair[0], buf, sizeof(buf), 0);

		need(n > 0, "send");
		left -= (uint64_t)n;
	}
	begun = now_s(CLOCK_THREAD_CPUTIME_ID) - begun;
	pthread_join(thread, NULL);
	printf("limit_tcp_send %.3f s/GB\n", begun / (double)BULK * 1e9);
	printf("limit_tcp_receive %.3f s/GB\n", receiver_s / (double)BULK * 1e9);
	return 0;
}
