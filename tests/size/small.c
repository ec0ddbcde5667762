/* SPDX-License-Identifier: BSD-3-Clause */
/* The smallest useful program: socket, bind, connect, send, recv, poll, close on one family. */
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#if defined(SMALL_INET)
#include <netinet/in.h>
#elif defined(SMALL_RPMSG)
#include <sys/rpmsg_socket.h>
#else
#include <sys/vm_sockets.h>
#endif

int main(void);

#if defined(SMALL_INET)
#define FAMILY AF_INET
static struct sockaddr_in here = {.sin_family = AF_INET};
static struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = 0x5000};
#elif defined(SMALL_RPMSG)
#define FAMILY AF_RPMSG
static struct sockaddr_rpmsg here = {.rp_family = AF_RPMSG, .rp_addr = RPMSG_ADDR_ANY};
static struct sockaddr_rpmsg there = {
	.rp_family = AF_RPMSG, .rp_addr = RPMSG_ADDR_ANY, .rp_name = "echo"};
#else
#define FAMILY AF_VSOCK
static struct sockaddr_vm here = {.svm_family = AF_VSOCK, .svm_port = 1000};
static struct sockaddr_vm there = {.svm_family = AF_VSOCK, .svm_cid = 2, .svm_port = 1000};
#endif

static int talk(int type)
{
	char buf[16];
	struct pollfd p = {.events = POLLIN};
	int fd = socket(FAMILY, type, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0 ||
	    connect(fd, (struct sockaddr *)&there, sizeof(there)) < 0)
		return -1;
	p.fd = fd;
	if (send(fd, "hello", 5, 0) != 5 || poll(&p, 1, 1000) != 1 ||
	    recv(fd, buf, sizeof(buf), 0) <= 0)
		return -1;
	return close(fd);
}

int main(void)
{
#if defined(SMALL_INET)
	return talk(SOCK_STREAM) + talk(SOCK_DGRAM);
#elif defined(SMALL_RPMSG)
	return talk(SOCK_STREAM) + talk(SOCK_DGRAM) + talk(SOCK_SEQPACKET);
#else
	return talk(SOCK_STREAM);
#endif
}
