/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rpmsg_echo serve NAME [CLIENTS]   announce NAME, send every message back
 * rpmsg_echo NAME [MESSAGES]        find NAME, send messages, check what comes back
 *
 * Raw rpmsg messages: the other side may be this program, a Linux rpmsg driver, OpenAMP.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/rpmsg_socket.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_MAX 496 /* what fits into Linux's buffers of 512 bytes */

static unsigned char out[MESSAGE_MAX], in[MESSAGE_MAX + 1];

static int serve(const struct sockaddr_rpmsg *at, long clients)
{
	int lfd = socket(AF_RPMSG, SOCK_SEQPACKET, 0), fd;
	ssize_t n;

	if (lfd < 0 || bind(lfd, (const struct sockaddr *)at, sizeof(*at)) != 0 ||
	    listen(lfd, 4) != 0) {
		perror("rpmsg_echo: listen");
		return 1;
	}
	printf("rpmsg_echo: service %s\n", at->rp_name);
	for (; clients != 0; clients -= clients > 0) {
		/* the first message from a new address is a connection */
		fd = accept(lfd, NULL, NULL);
		if (fd < 0) {
			perror("rpmsg_echo: accept");
			return 1;
		}
		/* an empty message ends it: raw rpmsg has no other goodbye from a client */
		while ((n = recv(fd, in, sizeof(in), 0)) > 0) {
			if (send(fd, in, (size_t)n, 0) != n)
				perror("rpmsg_echo: send");
		}
		close(fd);
	}
	return close(lfd) != 0;
}

static int ask(int fd, long count)
{
	size_t len, i;
	ssize_t n;

	for (long k = 0; k < count; k++) {
		len = 1 + (size_t)(k * 37 % MESSAGE_MAX);
		for (i = 0; i < len; i++)
			out[i] = (unsigned char)(k + (long)i * 7);
		if (send(fd, out, len, 0) != (ssize_t)len)
			return -1;
		n = recv(fd, in, sizeof(in), 0);
		if (n != (ssize_t)len || memcmp(in, out, len) != 0)
			return -1;
	}
	return send(fd, "", 0, 0) == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct sockaddr_rpmsg at = {.rp_family = AF_RPMSG, .rp_addr = RPMSG_ADDR_ANY};
	int server = argc > 2 && strcmp(argv[1], "serve") == 0, fd;
	long count;

	if (argc < 2 || (!server && argc > 3)) {
		printf("rpmsg_echo serve NAME [CLIENTS] | rpmsg_echo NAME [MESSAGES]\n");
		return 2;
	}
	strncpy(at.rp_name, argv[server ? 2 : 1], sizeof(at.rp_name) - 1);
	if (server)
		return serve(&at, argc > 3 ? atol(argv[3]) : -1);
	count = argc > 2 ? atol(argv[2]) : 1000;
	fd = socket(AF_RPMSG, SOCK_SEQPACKET, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
	    ask(fd, count) != 0) {
		perror("rpmsg_echo");
		return 1;
	}
	printf("rpmsg_echo: %ld messages there and back\n", count);
	return close(fd) != 0;
}
