// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls sendmsg recvmsg close
 * #syscalls:helper sendmsg recvmsg close
 */
/* Sending, receiving and checking the messages of helper_msg.h. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h> /* wants sys/socket.h first */
#include <unistd.h>

#include "helper_msg.h"

#define FDS_MAX 4u /* descriptors that are taken off a message, to be closed if not wanted */

static bool ends(const char *text, size_t len)
{
	return memchr(text, 0, len) != NULL;
}

static bool inet_addr_ok(const struct amp_helper_req *req)
{
	return (req->sa.ss_family == AF_INET && req->sa_len == sizeof(struct sockaddr_in)) ||
	       (req->sa.ss_family == AF_INET6 && req->sa_len == sizeof(struct sockaddr_in6));
}

static bool bind_addr_ok(const struct amp_helper_req *req)
{
	return inet_addr_ok(req) ||
	       (req->sa.ss_family == AF_VSOCK && req->sa_len == sizeof(struct sockaddr_vm));
}

static bool wants_path(uint32_t op)
{
	return op != AMP_HELPER_BIND && op != AMP_HELPER_PASSED && op != AMP_HELPER_CONFIG &&
	       op != AMP_HELPER_PEER && op != AMP_HELPER_CONFIG_DONE &&
	       op != AMP_HELPER_JOURNAL;
}

/* Does the operation go with what the path is for? */
static bool kind_ok(uint32_t op, uint32_t kind)
{
	switch (op) {
	case AMP_HELPER_OPEN:
	case AMP_HELPER_STAT:
		return kind == AMP_HELPER_MEMORY || kind == AMP_HELPER_ELF;
	case AMP_HELPER_LISTEN:
	case AMP_HELPER_UNLINK:
		return kind == AMP_HELPER_VHOST || kind == AMP_HELPER_PUBLISH ||
		       kind == AMP_HELPER_PORT || kind == AMP_HELPER_CONTROL ||
		       kind == AMP_HELPER_METRICS;
	case AMP_HELPER_CONNECT:
		return kind == AMP_HELPER_EXPOSE || kind == AMP_HELPER_BELL ||
		       kind == AMP_HELPER_HYBRID;
	case AMP_HELPER_BIND:
	case AMP_HELPER_PASSED:
	case AMP_HELPER_CONFIG:
	case AMP_HELPER_CONFIG_DONE:
	case AMP_HELPER_PEER:
	case AMP_HELPER_JOURNAL:
		return kind == 0;
	default:
		return kind == AMP_HELPER_RCHAR;
	}
}

static int check_call(const struct amp_helper_req *req, unsigned fd_cnt)
{
	bool bind = req->op == AMP_HELPER_BIND;

	if (!req->op || req->op >= AMP_HELPER_CALLS || !kind_ok(req->op, req->kind) ||
	    fd_cnt != (bind || req->op == AMP_HELPER_PEER ? 1 : 0))
		return -EINVAL;
	if (wants_path(req->op) && !req->path[0])
		return -EINVAL;
	if ((bind && !bind_addr_ok(req)) ||
	    (req->op == AMP_HELPER_PASSED && !inet_addr_ok(req)))
		return -EINVAL;
	/* one entry of one directory */
	if (req->op == AMP_HELPER_ATTR &&
	    (!req->name[0] || strchr(req->name, '/') || strstr(req->name, "..")))
		return -EINVAL;
	return 0;
}

static int check_news(const struct amp_helper_req *req, unsigned fd_cnt)
{
	if (fd_cnt || req->kind)
		return -EINVAL;
	if (req->op == AMP_HELPER_RESOLVE)
		return req->path[0] || req->name[0] ? 0 : -EINVAL;
	if (req->op == AMP_HELPER_NOTIFY)
		return req->arg[0] < AMP_HELPER_STATES ? 0 : -EINVAL;
	if (req->op == AMP_HELPER_PUBLISHED)
		return req->arg[0] < AMP_PUBLISHED_KINDS ? 0 : -EINVAL;
	if (req->op == AMP_HELPER_LEVEL)
		return req->arg[0] <= AMP_LOG_DEBUG ? 0 : -EINVAL;
	if (req->op == AMP_HELPER_PONG || req->op == AMP_HELPER_HEARD)
		return 0;
	return req->op == AMP_HELPER_NAME && inet_addr_ok(req) ? 0 : -EINVAL;
}

int amp_helper_check(const struct amp_helper_req *req, size_t len, bool news, unsigned fd_cnt)
{
	if (len != sizeof(*req) || req->magic != AMP_HELPER_MAGIC)
		return -EBADMSG;
	if (!ends(req->path, sizeof(req->path)) || !ends(req->name, sizeof(req->name)))
		return -EBADMSG;
	return news ? check_news(req, fd_cnt) : check_call(req, fd_cnt);
}

ssize_t amp_helper_recv(int sock, void *buf, size_t len, int *fd)
{
	union {
		char space[CMSG_SPACE(FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} ctl;
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = ctl.space,
			     .msg_controllen = sizeof(ctl.space)};
	struct cmsghdr *c;
	ssize_t n;

	*fd = -1;
	do
		n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		size_t cnt = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fds[FDS_MAX];

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || cnt > FDS_MAX)
			continue;
		memcpy(fds, CMSG_DATA(c), cnt * sizeof(int));
		for (size_t i = 0; i < cnt; i++) {
			if (*fd >= 0)
				close(fds[i]);
			else
				*fd = fds[i];
		}
	}
	if (!(msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC)))
		return n;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	return msg.msg_flags & MSG_CTRUNC ? -EMFILE : -EBADMSG;
}

int amp_helper_send(int sock, const void *buf, size_t len, int fd)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} ctl;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c;
	ssize_t n;

	if (fd >= 0) {
		memset(&ctl, 0, sizeof(ctl));
		msg.msg_control = ctl.space;
		msg.msg_controllen = sizeof(ctl.space);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	do
		n = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}
