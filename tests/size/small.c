/* SPDX-License-Identifier: BSD-3-Clause */
/* The smallest useful program: socket, bind, connect, send, recv, poll, close on one family. */
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

int main(void);

#if defined(SMALL_INET)
#include <netinet/in.h>
#define DOMAIN AF_INET
static struct sockaddr_in here = {.sin_family = AF_INET};
static struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = 0x5000};
static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
#elif defined(SMALL_RPMSG)
#include <sys/rpmsg_socket.h>
#define DOMAIN AF_RPMSG
static struct sockaddr_rpmsg here = {
	.rp_family = AF_RPMSG, .rp_addr = RPMSG_ADDR_ANY, .rp_name = "here"};
static struct sockaddr_rpmsg there = {
	.rp_family = AF_RPMSG, .rp_addr = RPMSG_ADDR_ANY, .rp_name = "there"};
static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
#else
#include <sys/vm_sockets.h>
#define DOMAIN AF_VSOCK
static struct sockaddr_vm here = {.svm_family = AF_VSOCK, .svm_port = 1000};
static struct sockaddr_vm there = {.svm_family = AF_VSOCK, .svm_cid = 2, .svm_port = 1000};
static const int types[] = {SOCK_STREAM};
#endif

static int talk(int type)
{
	char buf[16];
	struct pollfd p = {.events = POLLIN};
	int fd = socket(DOMAIN, type, 0);

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
	unsigned i;
	int bad = 0;

	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		bad += talk(types[i]);
	return bad;
}
