/* SPDX-License-Identifier: BSD-3-Clause */
/* chat HOST PORT: what is typed goes to the peer, what the peer says is printed: select(). */
#include <netdb.h>
#include <stdio.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

static int write_all(int fd, const char *buf, size_t len)
{
	ssize_t n;

	for (; len > 0; buf += n, len -= (size_t)n) {
		n = write(fd, buf, len);
		if (n < 0)
			return -1;
	}
	return 0;
}

/* Move what is there from one side to the other: 1, 0 at the end, -1. */
static int carry(int from, int to)
{
	char buf[256];
	ssize_t n = read(from, buf, sizeof(buf));

	if (n <= 0)
		return (int)n;
	return write_all(to, buf, (size_t)n) == 0 ? 1 : -1;
}

int main(int argc, char **argv)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *ai;
	int fd, err, typing = 1;
	fd_set set;

	if (argc < 3) {
		printf("chat HOST PORT\n");
		return 2;
	}
	err = getaddrinfo(argv[1], argv[2], &hints, &ai);
	if (err) {
		printf("chat: %s: %s\n", argv[1], gai_strerror(err));
		return 1;
	}
	fd = socket(ai->ai_family, ai->ai_socktype, ai->ai_protocol);
	if (fd < 0 || connect(fd, ai->ai_addr, ai->ai_addrlen) != 0) {
		perror("chat: connect");
		return 1;
	}
	freeaddrinfo(ai);
	printf("chat: connected\n");
	fflush(stdout); /* write() below goes past stdio */
	for (;;) {
		FD_ZERO(&set);
		FD_SET(fd, &set);
		if (typing)
			FD_SET(0, &set);
		if (select(fd + 1, &set, NULL, NULL, NULL) < 0) {
			perror("chat: select");
			return 1;
		}
		if (FD_ISSET(fd, &set)) {
			err = carry(fd, 1);
			if (err <= 0)
				break;
		}
		if (typing && FD_ISSET(0, &set) && carry(0, fd) <= 0) {
			typing = 0;
			(void)shutdown(fd, SHUT_WR);
		}
	}
	close(fd);
	printf("chat: %s\n", err == 0 ? "the peer has left" : "connection lost");
	return err != 0;
}
