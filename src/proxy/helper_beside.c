// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls:helper open openat read close fstat newfstatat bind
 */
/*
 * A UDP socket beside another of ours, where one is the wildcard and the other a part of it, while a
 * reload puts the one in the place of the other. Both have SO_REUSEPORT for that moment, and then the
 * kernel looks at one socket of the port alone: if that is ours it does not see that a stranger has
 * another part, who was there before. So who is there is looked at here, in /proc. A stranger who
 * comes between the two is the younger one, whom the kernel looks at.
 */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "activated.h"
#include "helper_msg.h"
#include "kept.h"
#include "log.h"

/* Of the process: these are there, too, where /proc has processes alone (ProcSubset=pid). */
#define UDP  "/proc/self/net/udp"
#define UDP6 "/proc/self/net/udp6"

struct search {
	unsigned long inode;
	bool found;
};

static void is_it(const char *name, int fd, void *ctx)
{
	struct search *s = ctx;
	struct stat st;

	(void)name;
	s->found |= fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_ino == s->inode;
}

/*
 * All sockets that listen for the worker are kept. One of the service manager's is none of them: it is
 * here when its rule has gone, too, and would have what comes for its address, and nobody to read it.
 */
static bool is_ours(unsigned long inode)
{
	struct search s = {.inode = inode};

	amp_kept_each(is_it, &s);
	return s.found && !amp_activated_has(inode);
}

/* An address of IPv4 in UDP6, ::ffff:0:0/96: each of its four words is printed as this machine has it. */
static bool is_mapped(const char *addr)
{
	char start[25];

	snprintf(start, sizeof(start), "%016x%08X", 0u, (unsigned)htonl(0xffff));
	return strncmp(addr, start, sizeof(start) - 1) == 0;
}

/* 0, -EADDRINUSE, or why that is not known. mapped: those addresses count, and no others. */
static int nobody_elses(const char *path, unsigned port, bool mapped)
{
	FILE *f = fopen(path, "re");
	unsigned long inode;
	unsigned at;
	char line[256], addr[33];
	int r = 0;

	if (!f)
		return -errno;
	while (!r && fgets(line, sizeof(line), f)) {
		/* slot, local and remote address, state, queues, timer, retransmits, user, time-out */
		if (sscanf(line, " %*u: %32[0-9A-F]:%x %*s %*s %*s %*s %*s %*s %*s %lu", addr,
			   &at, &inode) == 3 &&
		    at == port && is_mapped(addr) == mapped && !is_ours(inode))
			r = -EADDRINUSE;
	}
	fclose(f);
	return r;
}

int amp_helper_bind_beside(int fd, const struct sockaddr *sa, socklen_t len)
{
	bool six = sa->sa_family == AF_INET6;
	const char *path = six ? UDP6 : UDP;
	int r = nobody_elses(path, amp_sockaddr_port(sa), false);

	if (!r && !six) {
		path = UDP6;
		r = nobody_elses(path, amp_sockaddr_port(sa), true);
		if (r == -ENOENT) /* a kernel without IPv6 */
			r = 0;
	}
	if (r && r != -EADDRINUSE)
		amp_log(AMP_LOG_ERROR, "who else has a port cannot be looked up in %s: %s",
			path, strerror(-r));
	if (r)
		return r;
	return bind(fd, sa, len) ? -errno : 0;
}
