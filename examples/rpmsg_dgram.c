/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rpmsg_dgram serve NAME [QUESTIONS]   announce NAME, answer each message to its sender
 * rpmsg_dgram NAME [QUESTIONS]         find NAME by the name service, ask, read the answers
 *
 * One socket talks to any number of endpoints.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/rpmsg_socket.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int serve(const struct sockaddr_rpmsg *at, long left)
{
	int fd = socket(AF_RPMSG, SOCK_DGRAM, 0);
	struct sockaddr_rpmsg who;
	char question[64], text[96];
	ssize_t n;

	if (fd < 0 || bind(fd, (const struct sockaddr *)at, sizeof(*at)) != 0) {
		perror("rpmsg_dgram: bind");
		return 1;
	}
	printf("rpmsg_dgram: service %s\n", at->rp_name);
	for (; left != 0; left -= left > 0) {
		socklen_t len = sizeof(who);

		n = recvfrom(fd, question, sizeof(question) - 1, 0, (struct sockaddr *)&who,
			     &len);
		if (n < 0) {
			perror("rpmsg_dgram: recvfrom");
			continue;
		}
		question[n] = '\0';
		n = snprintf(text, sizeof(text), "you are %lu, and %s",
			     (unsigned long)who.rp_addr, question);
		if (sendto(fd, text, (size_t)n, 0, (struct sockaddr *)&who, len) != n)
			perror("rpmsg_dgram: sendto");
	}
	return close(fd) != 0;
}

static int ask(int fd, long count)
{
	struct timeval second = {.tv_sec = 1};
	char question[32], text[96];
	ssize_t n;

	/* a datagram may be lost, and so may its answer */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second)) != 0)
		return -1;
	for (long k = 1; k <= count; k++) {
		n = snprintf(question, sizeof(question), "this is number %ld", k);
		if (send(fd, question, (size_t)n, 0) != n)
			return -1;
		n = recv(fd, text, sizeof(text) - 1, 0);
		if (n < 0)
			return -1;
		text[n] = '\0';
		if (!strstr(text, question))
			return -1;
	}
	printf("rpmsg_dgram: %s\n", text);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_rpmsg at = {.rp_family = AF_RPMSG, .rp_addr = RPMSG_ADDR_ANY};
	int server = argc > 2 && strcmp(argv[1], "serve") == 0, fd;
	long count = argc > 2 + server ? atol(argv[2 + server]) : server ? -1 : 10;

	if (argc < 2) {
		printf("rpmsg_dgram serve NAME [QUESTIONS] | rpmsg_dgram NAME [QUESTIONS]\n");
		return 2;
	}
	strncpy(at.rp_name, argv[server ? 2 : 1], sizeof(at.rp_name) - 1);
	if (server)
		return serve(&at, count);
	fd = socket(AF_RPMSG, SOCK_DGRAM, 0);
	/* waits until somebody announces the name */
	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
	    ask(fd, count) != 0) {
		perror("rpmsg_dgram");
		return 1;
	}
	return close(fd) != 0;
}
