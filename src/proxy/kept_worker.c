// SPDX-License-Identifier: BSD-3-Clause
/*
 * The worker's way to the helper's table of descriptors, and the helper's end of it. Theory of
 * operation: kept.h.
 *
 * A socket pair of its own (SOCK_SEQPACKET) carries the messages, one way. The kernel keeps
 * what was sent when the worker dies, so the helper reads it to its end before it starts the
 * next. The worker waits when the helper is slow to read, for a second at most: then a
 * successor lacks a descriptor, and the link that misses it is given up.
 *
 * #syscalls sendmsg poll ppoll close getsockname getsockopt
 * #syscalls:helper recvmsg close fstat newfstatat getsockname getsockopt
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "activated.h"
#include "confine.h"
#include "control.h"
#include "helper_msg.h"
#include "kept.h"
#include "kept_msg.h"
#include "log.h"

#define STREAM "+stream" /* the beginnings of sockets' names */
#define DGRAM  "+dgram"
#define ANY    "+any"

#define MAGIC	0x6b706d61u /* "ampk" */
#define WAIT_MS 1000

enum op { PUT = 1, DROP, SETTLED, UPGRADE };

struct msg {
	uint32_t magic;
	uint32_t op;
	char name[AMP_KEPT_NAME];
};

static int helper = -1; /* the worker's end; -1: nobody keeps anything */
static struct amp_log_rate log_bad;

void amp_kept_join(int fd)
{
	helper = fd;
	amp_confine_keep(fd);
}

union control {
	struct cmsghdr align;
	char room[CMSG_SPACE(sizeof(int))];
};

static void send_msg(enum op op, const char *name, int fd)
{
	struct msg text = {.magic = MAGIC, .op = op};
	struct iovec iov = {&text, sizeof(text)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	struct pollfd p = {.fd = helper, .events = POLLOUT};
	uint64_t now = amp_now_ms(), end = now + WAIT_MS;
	union control ctl;

	if (helper < 0)
		return;
	snprintf(text.name, sizeof(text.name), "%s", name);
	if (fd >= 0) {
		struct cmsghdr *c;

		memset(&ctl, 0, sizeof(ctl));
		m.msg_control = &ctl;
		m.msg_controllen = sizeof(ctl);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	while (sendmsg(helper, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN || now >= end) {
			amp_log_some(&log_bad, AMP_LOG_WARN,
				     "%s cannot be kept for a successor: %s", name,
				     strerror(errno));
			return;
		}
		(void)poll(&p, 1, (int)(end - now)); /* EINTR is the loop's alarm */
		now = amp_now_ms();
	}
}

void amp_kept_put(const char *name, int fd)
{
	send_msg(PUT, name, fd);
}

void amp_kept_drop(const char *name)
{
	send_msg(DROP, name, -1);
}

/* A link's, or of a kind that there is today; the program before this one may have been a newer one. */
static bool is_known(const char *name)
{
	return name[0] != '+' || strncmp(name, STREAM "-", strlen(STREAM "-")) == 0 ||
	       strncmp(name, DGRAM "-", strlen(DGRAM "-")) == 0 ||
	       strncmp(name, ANY "-", strlen(ANY "-")) == 0;
}

/* Unix sockets are the helper's own affair, and the manager's stay. */
static void drop_one(const char *name, int fd, void *ctx)
{
	(void)fd;
	(void)ctx;
	if (amp_kept_is_unix(name) || amp_kept_is_lent(name))
		return;
	if (!is_known(name))
		amp_log(AMP_LOG_WARN,
			"%s, kept by the program before this one, is of a kind that this one "
			"does "
			"not know: closed",
			name);
	amp_kept_drop(name);
}

/*
 * Asks the helper to execute the program file anew (helper_upgrade.c). Nothing happens at once, and
 * nothing at all, but for a line in the log, if the new program does not like the options or
 * the configuration.
 */
int amp_upgrade(char *why, size_t len)
{
	if (helper < 0) {
		snprintf(why, len, "no helper process that could become another program");
		return -ENOTCONN;
	}
	send_msg(UPGRADE, "-", -1);
	return 0;
}

void amp_kept_settle(void)
{
	amp_kept_each(drop_one, NULL);
	amp_kept_clear();
	send_msg(SETTLED, "-", -1);
}

/* ---- names ---- */

static void socket_name(char *dst, int type, const struct sockaddr *sa, socklen_t len)
{
	amp_kept_hash_name(dst, type == SOCK_DGRAM ? DGRAM : STREAM, sa, len);
}

/* As the kernel says it: in IPv6 with what was left out. */
static bool name_of(int fd, char *dst)
{
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof(ss), type_len = sizeof(int);
	int type = 0;

	if (getsockname(fd, (struct sockaddr *)&ss, &len) || len > sizeof(ss) ||
	    (ss.ss_family != AF_INET && ss.ss_family != AF_INET6) ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len))
		return false;
	socket_name(dst, type, (struct sockaddr *)&ss, len);
	return true;
}

static bool lent_name(int fd, char *dst)
{
	char name[AMP_KEPT_NAME];

	if (!name_of(fd, name))
		return false;
	amp_kept_hash_name(dst, AMP_KEPT_LENT, name, strlen(name));
	return true;
}

/* ---- the helper's end ---- */

static void act(const struct msg *text, int fd, bool *upgrade)
{
	if (text->op == PUT && fd >= 0) {
		if (!amp_kept_is_lent(text->name))
			amp_kept_store(text->name, fd);
		if (amp_kept_add(text->name, fd) == 0)
			return;
		amp_kept_unstore(text->name);
		amp_log_some(&log_bad, AMP_LOG_WARN, "too many descriptors to keep");
		return;
	}
	if (fd >= 0)
		close(fd);
	if (text->op == DROP && amp_kept_remove(text->name))
		amp_kept_unstore(text->name);
	else if (text->op == SETTLED)
		amp_kept_sweep();
	else if (text->op == UPGRADE)
		*upgrade = true;
}

/*
 * A service manager's socket is in the table for good, and the next program believes that it is one: so it
 * has to be one that was passed, under the one name that it has.
 */
static bool may_be_lent(const struct msg *text, int fd)
{
	char name[AMP_KEPT_NAME];
	struct stat st;

	return text->op == PUT && fd >= 0 && lent_name(fd, name) &&
	       strcmp(name, text->name) == 0 && fstat(fd, &st) == 0 &&
	       amp_activated_has(st.st_ino);
}

bool amp_kept_serve(int sock, bool *upgrade)
{
	struct msg text;
	int fd;
	ssize_t n = amp_helper_recv(sock, &text, sizeof(text), &fd);

	if (n == -EMFILE) {
		amp_log_some(&log_bad, AMP_LOG_WARN,
			     "no descriptor is left to keep another for a successor");
		return true;
	}
	if (n == 0 || (n < 0 && n != -EBADMSG))
		return false;
	/* the helper's own sockets are neither put nor dropped by a worker */
	if (n == (ssize_t)sizeof(text) && text.magic == MAGIC && amp_kept_name_ok(text.name) &&
	    !amp_kept_is_unix(text.name) &&
	    (!amp_kept_is_lent(text.name) || may_be_lent(&text, fd))) {
		act(&text, fd, upgrade);
		return true;
	}
	if (fd >= 0)
		close(fd);
	amp_log_some(
		&log_bad, AMP_LOG_ERROR,
		"the worker process sent a descriptor to keep in a message that is refused");
	return true;
}

/* ---- sockets ---- */

/* What listens, or is bound; other: a file of the service manager's that was exchanged, say. */
static bool serves(int fd, int type)
{
	socklen_t len = sizeof(int);
	int on = 0;

	return type == SOCK_DGRAM ||
	       (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on);
}

int amp_kept_take_socket(int type, const struct sockaddr *sa, socklen_t len)
{
	char name[AMP_KEPT_NAME], have[AMP_KEPT_NAME];
	int fd;

	socket_name(name, type, sa, len);
	fd = amp_kept_take(name);
	if (fd < 0)
		return -1;
	if (name_of(fd, have) && strcmp(have, name) == 0 && serves(fd, type))
		return fd;
	close(fd);
	amp_kept_drop(name);
	return -1;
}

void amp_kept_put_socket(int fd)
{
	char name[AMP_KEPT_NAME];

	if (name_of(fd, name))
		amp_kept_put(name, fd);
}

void amp_kept_put_lent(int fd)
{
	char name[AMP_KEPT_NAME];

	if (lent_name(fd, name))
		amp_kept_put(name, fd);
}

/* ---- sockets with any port: what they are for tells them from one another, not the address ---- */

struct any {
	LIST_ENTRY(any) entry;
	int fd; /* as it was put: what it is by now is looked at */
	char addr[AMP_KEPT_NAME];
	char name[AMP_KEPT_NAME];
	char what[AMP_KEPT_WHAT];
};

static LIST_HEAD(, any) anys = LIST_HEAD_INITIALIZER(anys);

static struct any *any_of(int fd)
{
	char addr[AMP_KEPT_NAME];
	struct any *a;

	LIST_FOREACH(a, &anys, entry)
	{
		if (a->fd == fd)
			break;
	}
	return a && name_of(fd, addr) && strcmp(addr, a->addr) == 0 ? a : NULL;
}

static bool in_use(const char *name)
{
	const struct any *a;

	LIST_FOREACH(a, &anys, entry)
	{
		if (strcmp(a->name, name) == 0)
			return true;
	}
	return false;
}

/* Several may be for the same. */
static void any_number(struct any *a, const char *what, unsigned n)
{
	char text[AMP_KEPT_WHAT + 16];

	snprintf(a->what, sizeof(a->what), "%s", what);
	snprintf(text, sizeof(text), "%s %u", what, n);
	amp_kept_hash_name(a->name, ANY, text, strlen(text));
}

/* The next that nobody has. */
static void any_name(struct any *a, const char *what)
{
	unsigned n = 0;

	do
		any_number(a, what, n++);
	while (in_use(a->name));
}

/* The next that there is. Those before it may have been taken, or have gone: the others keep their numbers. */
static int any_take(struct any *a, const char *what)
{
	unsigned n = 0, gone = 0;

	while (gone < AMP_KEPT_SAME) {
		any_number(a, what, n++);
		if (amp_kept_has(a->name))
			return amp_kept_take(a->name);
		gone += !in_use(a->name);
	}
	return -1;
}

/* The address, but for its port. */
static bool same_host(const struct sockaddr_storage *a, const struct sockaddr *b)
{
	const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)a;

	if (a->ss_family != b->sa_family)
		return false;
	if (b->sa_family == AF_INET6)
		return memcmp(&a6->sin6_addr, &((const struct sockaddr_in6 *)b)->sin6_addr,
			      sizeof(a6->sin6_addr)) == 0;
	return b->sa_family == AF_INET &&
	       ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)b)->sin_addr.s_addr;
}

int amp_kept_take_any(int type, const struct sockaddr *sa, const char *what)
{
	struct any *a = calloc(1, sizeof(*a));
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof(ss), type_len = sizeof(int);
	int has = 0;

	if (!a)
		return -1;
	a->fd = any_take(a, what);
	if (a->fd >= 0 && getsockname(a->fd, (struct sockaddr *)&ss, &len) == 0 &&
	    same_host(&ss, sa) &&
	    getsockopt(a->fd, SOL_SOCKET, SO_TYPE, &has, &type_len) == 0 && has == type &&
	    serves(a->fd, type) && name_of(a->fd, a->addr)) {
		LIST_INSERT_HEAD(&anys, a, entry);
		return a->fd;
	}
	if (a->fd >= 0) {
		close(a->fd);
		amp_kept_drop(a->name);
	}
	free(a);
	return -1;
}

static void any_end(struct any *a)
{
	amp_kept_drop(a->name);
	LIST_REMOVE(a, entry);
	free(a);
}

/* Under its new name first: whenever we die, it has one. Without memory it keeps the old one. */
void amp_kept_put_any(int fd, const char *what)
{
	struct any *old = any_of(fd), *a;

	/* as it is called already: a second number would be one that no successor asks for */
	if (old && strcmp(old->what, what) == 0)
		return;
	a = calloc(1, sizeof(*a));
	if (!a || !name_of(fd, a->addr)) {
		free(a);
		return;
	}
	a->fd = fd;
	any_name(a, what);
	LIST_INSERT_HEAD(&anys, a, entry);
	amp_kept_put(a->name, fd);
	if (old)
		any_end(old);
}

void amp_kept_drop_socket(int fd)
{
	char name[AMP_KEPT_NAME];
	struct any *a = any_of(fd);

	if (a) {
		any_end(a);
	} else if (name_of(fd, name)) {
		amp_kept_drop(name);
	}
}
