/* SPDX-License-Identifier: BSD-3-Clause */
/* http_get HOST [PORT [PATH]]: fetch a page and print it. Plain POSIX. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int dial(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list, *ai;
	int err = getaddrinfo(host, port, &hints, &list);
	int fd = -1;

	if (err) {
		printf("http_get: %s: %s\n", host, gai_strerror(err));
		return -1;
	}
	for (ai = list; ai && fd < 0; ai = ai->ai_next) {
		fd = socket(ai->ai_family, ai->ai_socktype, ai->ai_protocol);
		if (fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen) != 0) {
			perror("http_get: connect");
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(list);
	return fd;
}

static int send_all(int fd, const char *buf, size_t len)
{
	ssize_t n;

	for (; len > 0; buf += n, len -= (size_t)n) {
		n = send(fd, buf, len, MSG_NOSIGNAL);
		if (n < 0)
			return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *host = argc > 1 ? argv[1] : "localhost";
	const char *path = argc > 3 ? argv[3] : "/";
	char buf[1024];
	size_t total = 0;
	ssize_t n;
	int fd = dial(host, argc > 2 ? argv[2] : "80");

	if (fd < 0)
		return 1;
	n = snprintf(buf, sizeof(buf),
		     "GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host);
	if (n < 0 || (size_t)n >= sizeof(buf) || send_all(fd, buf, (size_t)n) != 0) {
		perror("http_get: send");
		return 1;
	}
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
		total += (size_t)n;
		fwrite(buf, 1, (size_t)n, stdout);
	}
	if (n < 0)
		perror("http_get: recv");
	close(fd);
	printf("\nhttp_get: %lu bytes\n", (unsigned long)total);
	return n < 0 || total == 0;
}
