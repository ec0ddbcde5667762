/* SPDX-License-Identifier: BSD-3-Clause */
/* http_server [PORT [REQUESTS]]: a static page for several clients at once, through poll(). */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS 8

static const char page[] =
	"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n"
	"<!doctype html><title>ampsock</title>\n"
	"<h1>Hello from a core without a network stack</h1>\n";

struct client {
	char tail[4]; /* last bytes of the request: it ends with an empty line */
	size_t sent;
	int asked;
};

static struct pollfd fds[1 + CLIENTS];
static struct client clients[1 + CLIENTS];
static long served;

static void hang_up(int i)
{
	close(fds[i].fd);
	fds[i].fd = -1;
}

static void welcome(void)
{
	int fd = accept(fds[0].fd, NULL, NULL), i;

	for (i = 1; fd >= 0 && i <= CLIENTS; i++) {
		if (fds[i].fd >= 0)
			continue;
		(void)fcntl(fd, F_SETFL, O_NONBLOCK);
		clients[i] = (struct client){.sent = 0};
		fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
		return;
	}
	if (fd >= 0)
		close(fd); /* not reached: POLLIN is off while the house is full */
}

static void listen_to(int i)
{
	char c[128];
	ssize_t n = recv(fds[i].fd, c, sizeof(c), 0), k;

	for (k = 0; k < n; k++) {
		memmove(clients[i].tail, clients[i].tail + 1, 3);
		clients[i].tail[3] = c[k];
		if (memcmp(clients[i].tail, "\r\n\r\n", 4) == 0)
			fds[i].events = POLLOUT;
	}
	if (n <= 0)
		hang_up(i);
}

static void answer(int i)
{
	struct client *c = &clients[i];
	ssize_t n = send(fds[i].fd, page + c->sent, sizeof(page) - 1 - c->sent, MSG_NOSIGNAL);

	if (n >= 0)
		c->sent += (size_t)n;
	if (n >= 0 && c->sent < sizeof(page) - 1)
		return;
	served += n >= 0;
	hang_up(i);
}

int main(int argc, char **argv)
{
	long port = argc > 1 ? atol(argv[1]) : 80, most = argc > 2 ? atol(argv[2]) : -1;
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int i, on = 1, room;

	fds[0] = (struct pollfd){.fd = socket(AF_INET, SOCK_STREAM, 0)};
	(void)setsockopt(fds[0].fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fds[0].fd, (struct sockaddr *)&sin, sizeof(sin)) != 0 ||
	    listen(fds[0].fd, CLIENTS)) {
		perror("http_server");
		return 1;
	}
	printf("http_server: port %ld\n", port);
	for (i = 1; i <= CLIENTS; i++)
		fds[i].fd = -1;
	while (most < 0 || served < most) {
		for (room = 0, i = 1; i <= CLIENTS; i++)
			room += fds[i].fd < 0;
		fds[0].events = room ? POLLIN : 0;
		if (poll(fds, 1 + CLIENTS, -1) < 0) {
			perror("http_server: poll");
			return 1;
		}
		for (i = 1; i <= CLIENTS; i++) {
			if (fds[i].fd >= 0 && fds[i].revents)
				(fds[i].events == POLLIN ? listen_to : answer)(i);
		}
		if (fds[0].revents)
			welcome();
	}
	return 0;
}
