/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * throughput serve PORT [CONNECTIONS]          (one after the other)
 * throughput HOST PORT [COMMANDS [COUNT]]      COMMANDS: letters of R T P, default RTP
 *
 * The client connects and sends one command byte and a little-endian u64 count. R: the
 * server sends count bytes. T: the client sends count bytes, the server answers one byte.
 * P: one byte each way, count times.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static unsigned char buf[65536];

/* left bytes, out to the peer or in from it. */
static int move(int fd, uint64_t left, int out)
{
	while (left > 0) {
		size_t len = left < sizeof(buf) ? (size_t)left : sizeof(buf);
		ssize_t n = out ? send(fd, buf, len, MSG_NOSIGNAL) : recv(fd, buf, len, 0);

		if (n <= 0)
			return -1;
		left -= (uint64_t)n;
	}
	return 0;
}

/* The command that is in buf, as the server or as the client. */
static int handle(int fd, int server)
{
	unsigned char cmd = buf[0];
	uint64_t count = 0, rounds;
	int i, err = 0;

	for (i = 8; i > 0; i--)
		count = count << 8 | buf[i];
	if (cmd == 'R')
		return move(fd, count, server);
	rounds = cmd == 'P' ? count : cmd == 'T';
	for (; rounds > 0 && !err; rounds--)
		err = move(fd, cmd == 'P' ? 1 : count, !server) || move(fd, 1, server);
	return err;
}

static int serve(uint16_t port, long clients)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port)};
	int lfd = socket(AF_INET, SOCK_STREAM, 0), fd, on = 1;
	socklen_t len = sizeof(sin);

	(void)setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(lfd, (struct sockaddr *)&sin, len) || listen(lfd, 16) ||
	    getsockname(lfd, (struct sockaddr *)&sin, &len)) {
		perror("throughput: listen");
		return 1;
	}
	printf("throughput: port %u\n", ntohs(sin.sin_port));
	fflush(stdout);
	for (; clients != 0 && (fd = accept(lfd, NULL, NULL)) >= 0; clients -= clients > 0) {
		if (move(fd, 9, 0) || handle(fd, 1))
			perror("throughput: client lost");
		close(fd);
	}
	return clients != 0;
}

static uint64_t now_us(void)
{
	struct timeval tv;

	gettimeofday(&tv, NULL);
	return (uint64_t)tv.tv_sec * 1000000 + (uint64_t)tv.tv_usec;
}

static int measure(const struct addrinfo *ai, char cmd, uint64_t count)
{
	const char *what = cmd == 'P' ? "round trips/s" : cmd == 'R' ? "MB/s down" : "MB/s up";
	int i, err, fd = socket(ai->ai_family, SOCK_STREAM, 0);
	uint64_t us;

	buf[0] = (unsigned char)cmd;
	for (i = 0; i < 8; i++)
		buf[1 + i] = (unsigned char)(count >> 8 * i);
	if (fd < 0 || connect(fd, ai->ai_addr, ai->ai_addrlen))
		return -1;
	us = now_us();
	err = move(fd, 9, 1) || handle(fd, 0);
	us = now_us() - us;
	us += us == 0;
	close(fd);
	if (!err)
		printf("throughput: %c %lu in %lu us: %lu %s\n", cmd, (unsigned long)count,
		       (unsigned long)us,
		       (unsigned long)(cmd == 'P' ? count * 1000000 / us : count / us), what);
	return err;
}

int main(int argc, char **argv)
{
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *ai;
	const char *cmd = argc > 3 ? argv[3] : "RTP";
	int err;

	if (argc > 2 && strcmp(argv[1], "serve") == 0)
		return serve((uint16_t)atoi(argv[2]), argc > 3 ? atol(argv[3]) : -1);
	err = argc > 2 ? getaddrinfo(argv[1], argv[2], &hints, &ai) : EAI_NONAME;
	if (err) {
		printf("throughput: %s\n", gai_strerror(err));
		return 2;
	}
	for (; *cmd; cmd++) {
		uint64_t count = argc > 4      ? strtoull(argv[4], NULL, 0)
				 : *cmd == 'P' ? 2000
					       : 16u << 20;

		if (measure(ai, *cmd, count) != 0) {
			perror("throughput");
			return 1;
		}
	}
	return 0;
}
