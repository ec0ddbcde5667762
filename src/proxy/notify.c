// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls:helper socket sendmsg clock_gettime close */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "notify.h"

/* Decimal digits alone; strtoull() would take blanks and signs. */
static bool number(const char *text, uint64_t *value)
{
	uint64_t v = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (unsigned)(*text - '0'), &v))
			return false;
	}
	*value = v;
	return true;
}

/* "/path", or "@name" for the abstract name space (sd_notify(3), "Notes"). */
static int set_address(struct amp_notify *n, const char *text)
{
	size_t len = strlen(text);

	if ((text[0] != '/' && text[0] != '@') || !text[1])
		return -EINVAL;
	if (len >= sizeof(n->addr.sun_path))
		return -ENAMETOOLONG;
	n->addr.sun_family = AF_UNIX;
	memcpy(n->addr.sun_path, text, len);
	n->addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	if (text[0] == '@')
		n->addr.sun_path[0] =
			0; /* and no byte behind the name, it would be part of it */
	else
		n->addr_len++;
	return 0;
}

static int set_watchdog(struct amp_notify *n, const char *usec, const char *pid)
{
	uint64_t us, id;

	if (pid && !number(pid, &id))
		return -EINVAL;
	if (pid && id != (uint64_t)getpid())
		return 0; /* another's */
	if (!number(usec, &us) || us == 0)
		return -EINVAL;
	n->watchdog_us = us;
	return 0;
}

int amp_notify_open(struct amp_notify *n)
{
	const char *path = getenv("NOTIFY_SOCKET"), *usec = getenv("WATCHDOG_USEC");
	int r = 0;

	memset(n, 0, sizeof(*n));
	n->fd = -1;
	if (path) {
		r = set_address(n, path);
		if (!r) {
			n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
			r = n->fd < 0 ? -errno : 0;
		}
	}
	if (!r && usec && n->fd >= 0)
		r = set_watchdog(n, usec, getenv("WATCHDOG_PID"));
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return r;
}

void amp_notify_close(struct amp_notify *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
	n->watchdog_us = 0;
}

int amp_notify_send_fds(struct amp_notify *n, const char *text, const int *fds, unsigned cnt)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(AMP_NOTIFY_FDS * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
	struct msghdr msg = {.msg_name = &n->addr,
			     .msg_namelen = n->addr_len,
			     .msg_iov = &iov,
			     .msg_iovlen = 1};
	ssize_t r;

	if (cnt > AMP_NOTIFY_FDS)
		return -EINVAL;
	if (n->fd < 0)
		return 0;
	if (cnt) {
		memset(&control, 0, sizeof(control));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(cnt * sizeof(int));
		memcpy(CMSG_DATA(&control.head), fds, cnt * sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(cnt * sizeof(int));
	}
	do
		r = sendmsg(n->fd, &msg, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int amp_notify_send(struct amp_notify *n, const char *text)
{
	return amp_notify_send_fds(n, text, NULL, 0);
}

int amp_notify_status(struct amp_notify *n, const char *state, const char *text)
{
	char msg[AMP_NOTIFY_TEXT];
	int at = snprintf(msg, sizeof(msg), "%s%sSTATUS=", state ? state : "",
			  state ? "\n" : "");

	if (at < 0 || (size_t)at >= sizeof(msg))
		return -EINVAL;
	snprintf(msg + at, sizeof(msg) - (size_t)at, "%s", text);
	for (char *p = msg + at; *p; p++) {
		if ((unsigned char)*p < ' ')
			*p = ' ';
	}
	return amp_notify_send(n, msg);
}

int amp_notify_reloading(struct amp_notify *n)
{
	char msg[80];
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	snprintf(msg, sizeof(msg), "RELOADING=1\nMONOTONIC_USEC=%llu",
		 (unsigned long long)ts.tv_sec * 1000000u +
			 (unsigned long long)ts.tv_nsec / 1000u);
	return amp_notify_send(n, msg);
}

uint64_t amp_notify_watchdog_ms(const struct amp_notify *n)
{
	uint64_t ms = n->watchdog_us / 2000u;

	return n->watchdog_us && !ms ? 1 : ms;
}
