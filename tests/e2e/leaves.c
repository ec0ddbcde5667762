// SPDX-License-Identifier: BSD-3-Clause
/*
 * A program that ends without closing what it has open, and before that has a child that does; a thread
 * of its waits for its peer meanwhile:
 *
 *	leaves tcp|vsock PORT LEN FILE	sends LEN bytes to 127.0.0.1, or to CID 2, writes a line to
 *					FILE, and leaves main()
 *	leaves alarm PORT		ends in a signal handler, in the midst of a call
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

static int connected(int tcp, unsigned port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct sockaddr_vm vm = {.svm_family = AF_VSOCK, .svm_cid = 2, .svm_port = port};
	int fd = socket(tcp ? AF_INET : AF_VSOCK, SOCK_STREAM, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, tcp ? (struct sockaddr *)&in : (struct sockaddr *)&vm,
			      tcp ? sizeof(in) : sizeof(vm))) {
		perror("leaves");
		exit(1);
	}
	return fd;
}

/* Whoever reads when the process ends hears nothing of it. */
static void *reader(void *arg)
{
	char c;

	recv(*(int *)arg, &c, 1, 0);
	perror("leaves: recv");
	exit(3);
}

static void end(int sig)
{
	(void)sig;
	exit(0);
}

static _Noreturn void in_a_call(unsigned port)
{
	int fd = connected(1, port);
	char c;

	signal(SIGALRM, end);
	ualarm(50000, 0);
	for (;;)
		recv(fd, &c, 1, MSG_DONTWAIT);
}

int main(int argc, char **argv)
{
	static char buf[1 << 16];
	pthread_t thread;
	pid_t child;
	size_t len;
	FILE *out;
	int fd;

	if (argc == 3 && strcmp(argv[1], "alarm") == 0)
		in_a_call((unsigned)atoi(argv[2]));
	if (argc != 5)
		return 2;
	fd = connected(strcmp(argv[1], "tcp") == 0, (unsigned)atoi(argv[2]));
	child = fork();
	if (child == 0)
		exit(0);
	if (waitpid(child, NULL, 0) != child)
		return 1;
	if (pthread_create(&thread, NULL, reader, &fd))
		return 1;
	out = fopen(argv[4], "w");
	if (!out || fputs("left\n", out) < 0)
		return 1;
	for (len = (size_t)atol(argv[3]); len;) {
		ssize_t n = send(fd, buf, len < sizeof(buf) ? len : sizeof(buf), 0);

		if (n <= 0) {
			perror("leaves: send");
			return 1;
		}
		len -= (size_t)n;
	}
	return 0;
}
