/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * udp_echo serve PORT [COUNT]   send every datagram back to where it came from
 * udp_echo HOST PORT [COUNT]    send datagrams of all sizes, check what comes back
 */
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static unsigned char out[1400], in[2048];

static int serve(uint16_t port, long count)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_storage from;
	socklen_t from_len;
	ssize_t n;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&sin, sizeof(sin)) != 0) {
		perror("udp_echo: bind");
		return 1;
	}
	printf("udp_echo: port %u\n", port);
	for (; count != 0; count -= count > 0) {
		from_len = sizeof(from);
		n = recvfrom(fd, in, sizeof(in), 0, (struct sockaddr *)&from, &from_len);
		if (n < 0 ||
		    sendto(fd, in, (size_t)n, 0, (struct sockaddr *)&from, from_len) != n) {
			perror("udp_echo");
			return 1;
		}
	}
	close(fd);
	return 0;
}

static int ask(int fd, const struct addrinfo *to, size_t len)
{
	ssize_t n;
	size_t i;
	int tries;

	for (i = 0; i < len; i++)
		out[i] = (unsigned char)(i * 31 + len);
	for (tries = 0; tries < 3; tries++) { /* datagrams may get lost */
		if (sendto(fd, out, len, 0, to->ai_addr, to->ai_addrlen) != (ssize_t)len)
			break;
		n = recvfrom(fd, in, sizeof(in), 0, NULL, NULL);
		if (n >= 0) {
			if ((size_t)n == len && memcmp(in, out, len) == 0)
				return 0;
			printf("udp_echo: sent %lu bytes, got %ld others\n", (unsigned long)len,
			       (long)n);
			return -1;
		}
	}
	perror("udp_echo");
	return -1;
}

int main(int argc, char **argv)
{
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM}, *to;
	struct timeval patience = {.tv_sec = 2};
	long count = argc > 3 ? atol(argv[3]) : -1, i;
	int fd, err;

	if (argc < 3) {
		printf("udp_echo serve PORT [COUNT] | udp_echo HOST PORT [COUNT]\n");
		return 2;
	}
	if (strcmp(argv[1], "serve") == 0)
		return serve((uint16_t)atoi(argv[2]), count);
	err = getaddrinfo(argv[1], argv[2], &hints, &to);
	if (err) {
		printf("udp_echo: %s: %s\n", argv[1], gai_strerror(err));
		return 1;
	}
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (count < 0)
		count = 20;
	for (i = 0; i < count; i++) {
		if (ask(fd, to, 1 + (size_t)i * 73 % sizeof(out)) != 0)
			return 1;
	}
	printf("udp_echo: %ld datagrams there and back\n", count);
	freeaddrinfo(to);
	close(fd);
	return 0;
}
