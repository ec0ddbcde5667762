/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vsock_echo serve PORT [CONNECTIONS]   send everything back, one client after the other
 * vsock_echo CID PORT [BYTES]           send, half-close, check what comes back
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/vm_sockets.h>
#include <unistd.h>

static unsigned char buf[4096];

static int serve(struct sockaddr_vm *vm, long clients)
{
	int lfd = socket(AF_VSOCK, SOCK_STREAM, 0), fd;
	ssize_t n, m, done;

	vm->svm_cid = VMADDR_CID_ANY;
	if (lfd < 0 || bind(lfd, (struct sockaddr *)vm, sizeof(*vm)) != 0 ||
	    listen(lfd, 4) != 0) {
		perror("vsock_echo: listen");
		return 1;
	}
	printf("vsock_echo: port %u\n", (unsigned)vm->svm_port);
	for (; clients != 0; clients -= clients > 0) {
		fd = accept(lfd, NULL, NULL);
		if (fd < 0) {
			perror("vsock_echo: accept");
			return 1;
		}
		while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
			for (done = 0; done < n; done += m) {
				m = send(fd, buf + done, (size_t)(n - done), MSG_NOSIGNAL);
				if (m < 0) {
					perror("vsock_echo: send");
					break;
				}
			}
		}
		close(fd);
	}
	close(lfd);
	return 0;
}

static unsigned char pattern(unsigned long i)
{
	return (unsigned char)(i ^ i >> 8 ^ i >> 16);
}

/* Both ways at once, so that neither side has to swallow the whole. */
static int ask(int fd, unsigned long len)
{
	unsigned long sent = 0, got = 0;
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
	ssize_t n, i;

	while (poll(&p, 1, 20000) > 0) {
		if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
			n = recv(fd, buf, sizeof(buf), 0);
			if (n <= 0)
				return n == 0 && got == len ? 0 : -1;
			for (i = 0; i < n; i++) {
				if (buf[i] != pattern(got++))
					return -1;
			}
		} else if (p.revents & POLLOUT) {
			unsigned long k, want = len - sent < 1000 ? len - sent : 1000;

			for (k = 0; k < want; k++)
				buf[k] = pattern(sent + k);
			n = want ? send(fd, buf, want, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
			sent += n > 0 ? (unsigned long)n : 0;
			if (sent == len && shutdown(fd, SHUT_WR) == 0)
				p.events = POLLIN;
		}
	}
	return -1;
}

int main(int argc, char **argv)
{
	struct sockaddr_vm vm = {.svm_family = AF_VSOCK};
	unsigned long len = argc > 3 ? strtoul(argv[3], NULL, 0) : 100000;
	int fd;

	if (argc < 3) {
		printf("vsock_echo serve PORT [CONNECTIONS] | vsock_echo CID PORT [BYTES]\n");
		return 2;
	}
	vm.svm_port = (unsigned)strtoul(argv[2], NULL, 0);
	if (strcmp(argv[1], "serve") == 0)
		return serve(&vm, argc > 3 ? atol(argv[3]) : -1);
	vm.svm_cid = (unsigned)strtoul(argv[1], NULL, 0);
	fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&vm, sizeof(vm)) != 0 ||
	    ask(fd, len) != 0) {
		perror("vsock_echo");
		return 1;
	}
	printf("vsock_echo: %lu bytes there and back\n", len);
	return close(fd) != 0;
}
