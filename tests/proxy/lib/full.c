// SPDX-License-Identifier: BSD-3-Clause
/*
 * Preloaded under the proxy: each datagram finds the socket full ($FULL_TIMES times, EAGAIN) before
 * it goes. Something small to 127.0.0.1:$FULL_PORT goes in its place, so that the kernel says that
 * there is room, as it would.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int times = -1, left;
static struct sockaddr_in other = {.sin_family = AF_INET};

/* Before there is a filter of system calls. */
__attribute__((constructor)) static void init(void)
{
	other.sin_port = htons((unsigned short)atoi(getenv("FULL_PORT")));
	other.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	left = times = atoi(getenv("FULL_TIMES"));
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	struct iovec one = {(char[]){'.'}, 1};
	struct msghdr small = {.msg_name = &other,
			       .msg_namelen = sizeof(other),
			       .msg_iov = &one,
			       .msg_iovlen = 1};
	int type = 0;
	socklen_t len = sizeof(type);

	if (m->msg_name == NULL || m->msg_namelen < sizeof(other) ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) || type != SOCK_DGRAM)
		return syscall(SYS_sendmsg, fd, m, flags);
	if (left-- > 0) {
		syscall(SYS_sendmsg, fd, &small, flags);
		errno = EAGAIN;
		return -1;
	}
	left = times;
	return syscall(SYS_sendmsg, fd, m, flags);
}
