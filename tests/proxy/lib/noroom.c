// SPDX-License-Identifier: BSD-3-Clause
/*
 * Preloaded under the proxy: the process that was started, which is the helper, has no room for a
 * descriptor that comes with a message. The kernel does the same: it drops it and says MSG_CTRUNC.
 */
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static pid_t helper;

__attribute__((constructor)) static void init(void)
{
	helper = getpid();
}

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	ssize_t n = syscall(SYS_recvmsg, fd, m, flags);
	struct cmsghdr *c;

	if (n < 0 || getpid() != helper)
		return n;
	c = CMSG_FIRSTHDR(m);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		close(*(int *)CMSG_DATA(c));
		m->msg_controllen = 0;
		m->msg_flags |= MSG_CTRUNC;
	}
	return n;
}
