// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls:helper getsockname getsockopt fcntl fstat newfstatat close */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "activated.h"
#include "rule.h"

/* Slot i is descriptor AMP_ACTIVATED_FIRST + i. */
static struct {
	char *names; /* LISTEN_FDNAMES, each ended by NUL; NULL: none were given */
	const char *name[AMP_ACTIVATED_MAX];
	enum state { AWAY, UNUSED, LENT } state[AMP_ACTIVATED_MAX];
	unsigned cnt;
} got;

static void forget_variables(void)
{
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

/* As many names as descriptors, or none (sd_listen_fds_with_names(3)). */
static int take_names(const char *text)
{
	unsigned n = 0;
	char *rest;

	if (!text)
		return 0;
	rest = got.names = strdup(text);
	if (!rest)
		return -ENOMEM;
	while (rest && n < AMP_ACTIVATED_MAX)
		got.name[n++] = strsep(&rest, ":");
	return rest || n != got.cnt ? -EINVAL : 0;
}

static int prepare(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK))
		return -errno;
	return 0;
}

int amp_activated_init(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	uint32_t id, n;
	int r = 0;

	if (!pid || !fds)
		return 0;
	/* a parent's variables that nobody removed: they mean its descriptors, not ours */
	if (amp_parse_u32(pid, UINT32_MAX, &id) && id != (uint32_t)getpid())
		goto out;
	if (!amp_parse_u32(pid, UINT32_MAX, &id) ||
	    !amp_parse_u32(fds, AMP_ACTIVATED_MAX, &n)) {
		r = -EINVAL;
		goto out;
	}
	got.cnt = n;
	r = take_names(getenv("LISTEN_FDNAMES"));
	for (unsigned i = 0; !r && i < n; i++) {
		r = prepare(AMP_ACTIVATED_FIRST + (int)i);
		got.state[i] = r ? AWAY : UNUSED;
	}
	if (r)
		memset(got.state, 0, sizeof(got.state));
	else
		r = (int)n;
out:
	forget_variables();
	return r;
}

static int take(unsigned i)
{
	got.state[i] = AWAY;
	return AMP_ACTIVATED_FIRST + (int)i;
}

static int lend(unsigned i)
{
	int fd = fcntl(AMP_ACTIVATED_FIRST + (int)i, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	got.state[i] = LENT;
	return fd;
}

static bool same_unix(const struct sockaddr_un *a, socklen_t a_len, const struct sockaddr_un *b)
{
	size_t room = a_len - offsetof(struct sockaddr_un, sun_path);

	/* a path; the kernel's may or may not have its NUL counted. Abstract ones are in no rule. */
	return a_len > offsetof(struct sockaddr_un, sun_path) && a->sun_path[0] == '/' &&
	       strnlen(a->sun_path, room) == strlen(b->sun_path) &&
	       memcmp(a->sun_path, b->sun_path, strlen(b->sun_path)) == 0;
}

static bool same(const struct sockaddr_storage *ss, socklen_t ss_len, const struct sockaddr *sa)
{
	const struct sockaddr_in *in = (const void *)ss, *in2 = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)ss, *in62 = (const void *)sa;

	if (ss->ss_family != sa->sa_family)
		return false;
	switch (sa->sa_family) {
	case AF_INET:
		return in->sin_port == in2->sin_port &&
		       in->sin_addr.s_addr == in2->sin_addr.s_addr;
	case AF_INET6:
		return in6->sin6_port == in62->sin6_port &&
		       memcmp(&in6->sin6_addr, &in62->sin6_addr, sizeof(in6->sin6_addr)) == 0;
	case AF_UNIX:
		return same_unix((const void *)ss, ss_len, (const void *)sa);
	default:
		return false;
	}
}

/* Accepted at an address, it has that address as well, and is for somebody else. */
static bool connected(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	return getpeername(fd, (struct sockaddr *)&ss, &len) == 0;
}

static int option(int fd, int name)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) ? -1 : value;
}

int amp_activated_lend(int type, const struct sockaddr *sa)
{
	int r = -ENOENT;

	for (unsigned i = 0; i < got.cnt; i++) {
		struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
		socklen_t ss_len = sizeof(ss);
		int fd = AMP_ACTIVATED_FIRST + (int)i;

		if (got.state[i] == AWAY || getsockname(fd, (struct sockaddr *)&ss, &ss_len) ||
		    !same(&ss, ss_len, sa) || connected(fd))
			continue;
		/* TCP and UDP may well have the same port: go on */
		if (option(fd, SO_TYPE) == type &&
		    (type != SOCK_STREAM || option(fd, SO_ACCEPTCONN) == 1))
			return lend(i);
		if (option(fd, SO_TYPE) == type || sa->sa_family == AF_UNIX)
			r = -EPROTOTYPE;
	}
	return r;
}

bool amp_activated_has(unsigned long inode)
{
	struct stat st;

	for (unsigned i = 0; i < got.cnt; i++) {
		if (got.state[i] != AWAY && fstat(AMP_ACTIVATED_FIRST + (int)i, &st) == 0 &&
		    S_ISSOCK(st.st_mode) && st.st_ino == inode)
			return true;
	}
	return false;
}

int amp_activated_adopt(int fd)
{
	unsigned i = (unsigned)fd - AMP_ACTIVATED_FIRST;

	if (i >= AMP_ACTIVATED_MAX) {
		close(fd);
		return -EMFILE;
	}
	got.state[i] = LENT;
	if (got.cnt <= i)
		got.cnt = i + 1;
	return 0;
}

bool amp_activated_any(void)
{
	return got.cnt > 0;
}

int amp_activated_take_name(const char *name)
{
	for (unsigned i = 0; i < got.cnt; i++) {
		if (got.state[i] != AWAY && got.name[i] && strcmp(got.name[i], name) == 0)
			return take(i);
	}
	return -ENOENT;
}

int amp_activated_take_prefix(const char *prefix, const char **name)
{
	for (unsigned i = 0; i < got.cnt; i++) {
		if (got.state[i] == AWAY || !got.name[i] ||
		    strncmp(got.name[i], prefix, strlen(prefix)) != 0)
			continue;
		*name = got.name[i];
		return take(i);
	}
	return -ENOENT;
}

static void text_of(int fd, char *dst, size_t len)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
	socklen_t ss_len = sizeof(ss);
	const struct sockaddr_un *un = (const void *)&ss;
	char text[AMP_ADDR_TEXT];
	int type = option(fd, SO_TYPE);

	if (getsockname(fd, (struct sockaddr *)&ss, &ss_len))
		snprintf(dst, len, "no socket");
	else if (ss.ss_family == AF_UNIX && un->sun_path[0] == '/')
		snprintf(dst, len, "unix %.*s",
			 (int)(ss_len - offsetof(struct sockaddr_un, sun_path)), un->sun_path);
	else if (ss.ss_family == AF_UNIX)
		snprintf(dst, len, "unix (no path)");
	else if (ss.ss_family == AF_INET || ss.ss_family == AF_INET6)
		snprintf(dst, len, "%s %s", type == SOCK_STREAM ? "tcp" : "udp",
			 amp_sockaddr_text((struct sockaddr *)&ss, text));
	else
		snprintf(dst, len, "a socket of family %d", ss.ss_family);
}

unsigned amp_activated_rest(void (*say)(void *arg, const char *text), void *arg)
{
	unsigned n = 0;

	for (unsigned i = 0; i < got.cnt; i++) {
		char text[160 + AMP_ACTIVATED_NAME], addr[128];

		if (got.state[i] != UNUSED)
			continue;
		text_of(AMP_ACTIVATED_FIRST + (int)i, addr, sizeof(addr));
		snprintf(text, sizeof(text), "descriptor %u (%.200s): %s",
			 AMP_ACTIVATED_FIRST + i, got.name[i] ? got.name[i] : "no name", addr);
		say(arg, text);
		close(take(i));
		n++;
	}
	return n;
}

void amp_activated_close(void)
{
	for (unsigned i = 0; i < got.cnt; i++) {
		if (got.state[i] != AWAY)
			close(take(i));
	}
	free(got.names);
	got.names = NULL;
	memset(got.name, 0, sizeof(got.name));
	got.cnt = 0;
}
