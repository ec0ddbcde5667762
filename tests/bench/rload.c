/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two processes over rpmsg: rload serve, and rload up|down|rt COUNT against it. up: COUNT bytes
 * of a stream from the server (the remote) to the client (the host), down: the other way; rt:
 * COUNT raw messages of 16 bytes, each answered. The client prints the count and the seconds
 * it took.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/rpmsg_socket.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUF_LEN (64 * 1024)
#define MESSAGE 16

static char buf[BUF_LEN];

struct head {
	char what; /* u, d */
	char pad[7];
	uint64_t count;
};

static void die(const char *what)
{
	fprintf(stderr, "rload: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_rpmsg named(const char *name)
{
	struct sockaddr_rpmsg a = {.rp_family = AF_RPMSG, .rp_addr = RPMSG_ADDR_ANY};

	strncpy(a.rp_name, name, sizeof(a.rp_name) - 1);
	return a;
}

static int listener(int type, const char *name)
{
	struct sockaddr_rpmsg a = named(name);
	int fd = socket(AF_RPMSG, type, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 4))
		die(name);
	return fd;
}

static int caller(int type, const char *name)
{
	struct sockaddr_rpmsg a = named(name);
	int fd = socket(AF_RPMSG, type, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die(name);
	return fd;
}

static void give(int fd, uint64_t count)
{
	ssize_t n;

	for (; count; count -= (uint64_t)n) {
		n = send(fd, buf, count < BUF_LEN ? (size_t)count : BUF_LEN, 0);
		if (n <= 0)
			die("send");
	}
}

static void take(int fd, uint64_t count)
{
	ssize_t n;

	for (; count; count -= (uint64_t)n) {
		n = recv(fd, buf, count < BUF_LEN ? (size_t)count : BUF_LEN, 0);
		if (n <= 0)
			die("recv");
	}
}

/* One client after the other, of either kind; for ever. */
static void serve(void)
{
	int streams = listener(SOCK_STREAM, "bulk"), raw = listener(SOCK_SEQPACKET, "rt"), fd;
	struct head h;
	ssize_t n;

	for (;;) {
		fd = accept(streams, NULL, NULL);
		if (fd < 0)
			die("accept");
		if (recv(fd, &h, sizeof(h), MSG_WAITALL) != sizeof(h))
			die("recv");
		if (h.what == 'u')
			give(fd, h.count);
		else if (h.what == 'd')
			take(fd, h.count);
		if (h.what == 'r') {
			int r = accept(raw, NULL, NULL);

			for (; h.count; h.count--) {
				n = recv(r, buf, sizeof(buf), 0);
				if (n <= 0 || send(r, buf, (size_t)n, 0) != n)
					die("round trip");
			}
			close(r);
		}
		if (send(fd, "!", 1, 0) != 1)
			die("send");
		while (recv(fd, buf, 1, 0) > 0)
			;
		close(fd);
	}
}

int main(int argc, char **argv)
{
	struct timespec from, to;
	struct head h = {0};
	uint64_t i;
	int fd, r;

	if (argc == 2 && strcmp(argv[1], "serve") == 0)
		serve();
	if (argc != 3 || !strchr("udr", argv[1][0])) {
		fprintf(stderr, "usage: rload serve | rload up|down|rt COUNT\n");
		return 2;
	}
	h.what = argv[1][0];
	h.count = strtoull(argv[2], NULL, 10);
	fd = caller(SOCK_STREAM, "bulk");
	clock_gettime(CLOCK_MONOTONIC, &from);
	if (send(fd, &h, sizeof(h), 0) != sizeof(h))
		die("send");
	if (h.what == 'u')
		take(fd, h.count);
	else if (h.what == 'd')
		give(fd, h.count);
	else {
		r = caller(SOCK_SEQPACKET, "rt");
		clock_gettime(CLOCK_MONOTONIC, &from);
		for (i = 0; i < h.count; i++) {
			if (send(r, buf, MESSAGE, 0) != MESSAGE ||
			    recv(r, buf, BUF_LEN, 0) != MESSAGE)
				die("round trip");
		}
		clock_gettime(CLOCK_MONOTONIC, &to);
	}
	if (recv(fd, buf, 1, 0) != 1)
		die("the server's last word");
	if (h.what != 'r')
		clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%llu %.6f\n", (unsigned long long)h.count,
	       (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
	return 0;
}
