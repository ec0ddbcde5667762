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
#include <sys/stat.h>

#include "helper_msg.h"
#include "kept.h"

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

/* All sockets that listen for the worker are kept. */
static bool is_ours(unsigned long inode)
{
	struct search s = {.inode = inode};

	amp_kept_each(is_it, &s);
	return s.found;
}

/* 0, -EADDRINUSE, or why that is not known. */
static int nobody_elses(const char *path, unsigned port)
{
	FILE *f = fopen(path, "re");
	unsigned long inode;
	unsigned at;
	char line[256];
	int r = 0;

	if (!f)
		return -errno;
	while (!r && fgets(line, sizeof(line), f)) {
		/* slot, local and remote address, state, queues, timer, retransmits, user, time-out */
		if (sscanf(line, " %*u: %*[0-9A-F]:%x %*s %*s %*s %*s %*s %*s %*s %lu", &at,
			   &inode) == 2 &&
		    at == port && !is_ours(inode))
			r = -EADDRINUSE;
	}
	fclose(f);
	return r;
}

int amp_helper_bind_beside(int fd, const struct sockaddr *sa, socklen_t len)
{
	int r = nobody_elses(sa->sa_family == AF_INET6 ? "/proc/net/udp6" : "/proc/net/udp",
			     amp_sockaddr_port(sa));

	if (r)
		return r;
	return bind(fd, sa, len) ? -errno : 0;
}
