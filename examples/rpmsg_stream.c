/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rpmsg_stream serve NAME [CLIENTS]   a byte stream service: count what comes, tell at the end
 * rpmsg_stream NAME [BYTES]           send, half-close, read how many arrived
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/rpmsg_socket.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned char buf[4096];

static int serve_one(int fd)
{
	unsigned long got = 0;
	char text[32];
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		got += (unsigned long)n;
	if (n < 0)
		return -1;
	n = snprintf(text, sizeof(text), "%lu", got);
	return send(fd, text, (size_t)n, 0) == n ? close(fd) : -1;
}

static int serve(const struct sockaddr_rpmsg *at, long clients)
{
	int lfd = socket(AF_RPMSG, SOCK_STREAM, 0), fd;

	if (lfd < 0 || bind(lfd, (const struct sockaddr *)at, sizeof(*at)) != 0 ||
	    listen(lfd, 4) != 0) {
		perror("rpmsg_stream: listen");
		return 1;
	}
	printf("rpmsg_stream: service %s\n", at->rp_name);
	for (; clients != 0; clients -= clients > 0) {
		fd = accept(lfd, NULL, NULL);
		if (fd < 0 || serve_one(fd) != 0)
			perror("rpmsg_stream: serve");
	}
	return close(lfd) != 0;
}

/* How many the other side has counted, or -1. */
static long ask(int fd, unsigned long len)
{
	char text[32];
	size_t have = 0;
	ssize_t n;

	while (len) {
		n = send(fd, buf, len < sizeof(buf) ? len : sizeof(buf), 0);
		if (n <= 0)
			return -1;
		len -= (unsigned long)n;
	}
	if (shutdown(fd, SHUT_WR) != 0)
		return -1;
	while ((n = recv(fd, text + have, sizeof(text) - 1 - have, 0)) > 0)
		have += (size_t)n;
	text[have] = '\0';
	return n == 0 && have ? atol(text) : -1;
}

int main(int argc, char **argv)
{
	struct sockaddr_rpmsg at = {.rp_family = AF_RPMSG, .rp_addr = RPMSG_ADDR_ANY};
	int server = argc > 2 && strcmp(argv[1], "serve") == 0, fd;
	unsigned long len;

	if (argc < 2) {
		printf("rpmsg_stream serve NAME [CLIENTS] | rpmsg_stream NAME [BYTES]\n");
		return 2;
	}
	strncpy(at.rp_name, argv[server ? 2 : 1], sizeof(at.rp_name) - 1);
	if (server)
		return serve(&at, argc > 3 ? atol(argv[3]) : -1);
	len = argc > 2 ? strtoul(argv[2], NULL, 0) : 100000;
	fd = socket(AF_RPMSG, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
	    ask(fd, len) != (long)len) {
		perror("rpmsg_stream");
		return 1;
	}
	printf("rpmsg_stream: %lu bytes arrived\n", len);
	return close(fd) != 0;
}
