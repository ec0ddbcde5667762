/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * demo HOST HTTP_PORT UDP_PORT [LISTEN_PORT]: the firmware of `make demo`. Resolves HOST,
 * fetches /page.txt over TCP (first line "LENGTH HASH", checked), exchanges datagrams,
 * then serves HTTP itself: / , /check/N (N bytes of a pattern), /quit ends it.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static unsigned char buf[2048];
static const struct timeval patience = {.tv_sec = 5};

static int send_all(int fd, const void *data, size_t len)
{
	const char *p = data;
	ssize_t n;

	for (; len > 0; p += n, len -= (size_t)n) {
		n = send(fd, p, len, MSG_NOSIGNAL);
		if (n < 0)
			return -1;
	}
	return 0;
}

static int fetch(struct sockaddr_in *to)
{
	static const char ask[] = "GET /page.txt HTTP/1.0\r\n\r\n";
	unsigned long want = 0, hash = 0, got = 0;
	uint32_t sum = 2166136261u; /* FNV-1a */
	char head[512];
	size_t n = 0;
	ssize_t r;
	int fd = socket(AF_INET, SOCK_STREAM, 0), lines = 0, blank = 0;

	if (fd < 0 || connect(fd, (struct sockaddr *)to, sizeof(*to)) ||
	    send_all(fd, ask, sizeof(ask) - 1))
		return -1;
	while ((r = recv(fd, buf, sizeof(buf), 0)) > 0) {
		for (ssize_t i = 0; i < r; i++) {
			if (lines == 2) {
				sum = (sum ^ buf[i]) * 16777619u;
				got++;
			} else if (buf[i] == '\n') { /* header, empty line, first line */
				head[n] = '\0';
				if (blank)
					want = strtoul(head, NULL, 10), lines = 2;
				if (blank && strchr(head, ' '))
					hash = strtoul(strchr(head, ' '), NULL, 10);
				blank = n == 0;
				n = 0;
			} else if (buf[i] != '\r' && n < sizeof(head) - 1) {
				head[n++] = (char)buf[i];
			}
		}
	}
	close(fd);
	printf("demo: TCP  fetched %lu bytes, hash %lu (expected %lu, %lu)\n", got,
	       (unsigned long)sum, want, hash);
	return r == 0 && want > 0 && got == want && sum == hash ? 0 : -1;
}

static int datagrams(struct sockaddr_in *to)
{
	static const size_t sizes[] = {1, 16, 100, 512, 1000, 1400};
	unsigned char out[1400];
	struct sockaddr_in from = {.sin_family = AF_INET};
	socklen_t len = sizeof(from);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	size_t i, k;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (k = 0; k < sizes[i]; k++)
			out[k] = (unsigned char)(k * 7 + i);
		if (sendto(fd, out, sizes[i], 0, (struct sockaddr *)to, sizeof(*to)) < 0 ||
		    recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len) !=
			    (ssize_t)sizes[i] ||
		    memcmp(buf, out, sizes[i]) != 0 || from.sin_port != to->sin_port)
			return -1;
	}
	close(fd);
	printf("demo: UDP  %lu datagrams echoed\n", (unsigned long)i);
	return 0;
}

/* One request; 1: it was /quit. */
static int serve_one(int fd)
{
	static const char ok[] = "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n";
	static const char hello[] =
		"<!doctype html><title>ampsock</title><h1>Hello from bare metal"
		"</h1><p>This core has no network stack.\n";
	unsigned long len, i, n;
	size_t have = 0;
	ssize_t r;

	while (have < sizeof(buf) - 1 &&
	       (r = recv(fd, buf + have, sizeof(buf) - 1 - have, 0)) > 0) {
		have += (size_t)r;
		buf[have] = '\0';
		if (strstr((char *)buf, "\r\n\r\n"))
			break;
	}
	buf[have] = '\0';
	buf[strcspn((char *)buf, "\r\n")] = '\0';
	printf("demo: HTTP %s\n", (char *)buf);
	(void)send_all(fd, ok, sizeof(ok) - 1);
	if (strncmp((char *)buf, "GET /quit", 9) == 0)
		return send_all(fd, "bye\n", 4), 1;
	if (strncmp((char *)buf, "GET /check/", 11) != 0)
		return send_all(fd, hello, sizeof(hello) - 1), 0;
	len = strtoul((char *)buf + 11, NULL, 10);
	for (i = 0; i < len; i += n) {
		n = len - i < sizeof(buf) ? len - i : sizeof(buf);
		for (unsigned long k = 0; k < n; k++)
			buf[k] = (unsigned char)("0123456789abcdef"[(i + k) * 7 % 16]);
		if (send_all(fd, buf, n) != 0)
			break;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to, me = {.sin_family = AF_INET};
	struct addrinfo hints = {.ai_family = AF_INET}, *ai;
	char text[INET_ADDRSTRLEN];
	int err, fd, lfd, quit = 0;

	err = argc > 3 ? getaddrinfo(argv[1], argv[2], &hints, &ai) : EAI_NONAME;
	if (err) {
		printf("demo: FAILED: name: %s\n", gai_strerror(err));
		return 2;
	}
	memcpy(&to, ai->ai_addr, sizeof(to));
	freeaddrinfo(ai);
	printf("demo: DNS  %s is %s\n", argv[1],
	       inet_ntop(AF_INET, &to.sin_addr, text, sizeof(text)));
	if (fetch(&to) != 0)
		return perror("demo: FAILED: TCP"), 1;
	to.sin_port = htons((uint16_t)atoi(argv[3]));
	if (datagrams(&to) != 0)
		return perror("demo: FAILED: UDP"), 1;
	me.sin_port = htons((uint16_t)(argc > 4 ? atoi(argv[4]) : 80));
	lfd = socket(AF_INET, SOCK_STREAM, 0);
	if (lfd < 0 || bind(lfd, (struct sockaddr *)&me, sizeof(me)) || listen(lfd, 4))
		return perror("demo: FAILED: listen"), 1;
	printf("demo: HTTP serving on port %u\n", ntohs(me.sin_port));
	while (!quit && (fd = accept(lfd, NULL, NULL)) >= 0) {
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		quit = serve_one(fd);
		close(fd);
	}
	close(lfd);
	printf(quit ? "demo: all good\n" : "demo: FAILED: accept\n");
	return !quit;
}
