/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zero_copy HOST PORT [BYTES]: writes a pattern straight into transport memory and reads
 * what an echo server sends back where it lies. The only example that is not plain POSIX.
 */
#include <ampsock.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned char pattern(unsigned long i)
{
	return (unsigned char)(i * 13 ^ i >> 8);
}

/* Fill what one reservation gives; the bytes sent, or -1. */
static ssize_t produce(int fd, unsigned long at, unsigned long left)
{
	struct iovec iov[2];
	ssize_t n;
	size_t k;
	int cnt = 0, i;

	n = amp_reserve(fd, iov, &cnt, left);
	if (n <= 0)
		return -1;
	for (i = 0; i < cnt; i++) {
		for (k = 0; k < iov[i].iov_len; k++)
			((unsigned char *)iov[i].iov_base)[k] = pattern(at++);
	}
	return amp_commit(fd, (size_t)n) < 0 ? -1 : n;
}

/* Check what has arrived; its length, 0 at the end, or -1. */
static ssize_t consume(int fd, unsigned long at)
{
	struct iovec iov[2];
	ssize_t n;
	size_t k;
	int cnt = 0, i;

	n = amp_borrow(fd, iov, &cnt, (size_t)1 << 30);
	for (i = 0; n > 0 && i < cnt; i++) {
		for (k = 0; k < iov[i].iov_len; k++) {
			if (((unsigned char *)iov[i].iov_base)[k] != pattern(at++)) {
				printf("zero_copy: byte %lu is wrong\n", at - 1);
				return -1;
			}
		}
	}
	return n > 0 && amp_give_back(fd, (size_t)n) < 0 ? -1 : n;
}

int main(int argc, char **argv)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *ai;
	unsigned long len = argc > 3 ? strtoul(argv[3], NULL, 0) : 200000, sent = 0, got = 0;
	struct pollfd p = {.events = POLLIN | POLLOUT};
	ssize_t n = 1;

	if (argc < 3 || getaddrinfo(argv[1], argv[2], &hints, &ai) != 0) {
		printf("zero_copy HOST PORT [BYTES]\n");
		return 2;
	}
	p.fd = socket(ai->ai_family, ai->ai_socktype, 0);
	if (p.fd < 0 || connect(p.fd, ai->ai_addr, ai->ai_addrlen) != 0) {
		perror("zero_copy: connect");
		return 1;
	}
	while (n > 0 && poll(&p, 1, 20000) > 0) {
		if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
			n = consume(p.fd, got);
			got += n > 0 ? (unsigned long)n : 0;
		} else if (p.revents & POLLOUT) {
			n = produce(p.fd, sent, len - sent);
			sent += n > 0 ? (unsigned long)n : 0;
			if (sent == len && shutdown(p.fd, SHUT_WR) == 0)
				p.events = POLLIN;
		}
	}
	if (n < 0)
		perror("zero_copy");
	close(p.fd);
	printf("zero_copy: %lu bytes out, %lu back\n", sent, got);
	return n != 0 || got != len || sent != len;
}
