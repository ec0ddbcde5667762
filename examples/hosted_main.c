/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Before main() of an example that runs as a Linux process with the library inside:
 * AMPSOCK_LINK=vhost-user:PATH brings a link up, vsock-device:PATH,CID waits for one,
 * rpmsg-remote:FILE,BELL and rpmsg-host:FILE,BELL are the two ends of another kind, and
 * rpmsg-device:PATH is the remote of a kernel's rpmsg bus; several are separated by ';'.
 * Without it only CID 1 exists, and a terminal is told. A vhost-user path that nobody listens at is
 * tried again for 10 seconds.
 * AMPSOCK_LOG=1 prints the library's log. Standard input and output become descriptors of
 * the library, so that select() works over console and sockets.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../include/ampsock.h"
#include "../include/ampsock_hosted.h"
#include "../src/port/hosted_config.h"
#include "../src/port/port.h"
#include "../src/port/posix.h"
#include "../src/socket/amp_calls.h"
#include "../src/socket/fd.h"

/* That any hosted library has. Descriptors below them are the process's own. */
#define SOCKETS_MAX 4096

static pid_t who; /* has the links: not what it forks */

/* Under the stack lock. */
static struct {
	char buf[4096];
	size_t len, at;
	int watched, eof;
} in;

/* Takes what is there, so that the watch does not fire for it again. */
static void take(int fd)
{
	ssize_t n;

	if (in.at < in.len || in.eof)
		return;
	n = read(fd, in.buf, sizeof(in.buf));
	in.at = 0;
	in.len = n > 0 ? (size_t)n : 0;
	in.eof = n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN);
	amp_port_unwatch(fd);
	in.watched = 0;
}

static int console_poll(int fd)
{
	if (fd == 0 && in.at == in.len && !in.eof && !in.watched)
		in.watched = amp_port_watch(0, take) == 0;
	return POLLOUT | (fd == 0 && (in.at < in.len || in.eof) ? POLLIN : 0);
}

static ssize_t console_read(int fd, void *buf, size_t len)
{
	size_t n = in.len - in.at < len ? in.len - in.at : len;

	memcpy(buf, in.buf + in.at, n);
	in.at += n;
	if (n > 0 || in.eof || len == 0)
		return (ssize_t)n;
	(void)console_poll(fd);
	return -EAGAIN;
}

static ssize_t console_write(int fd, const void *buf, size_t len)
{
	ssize_t n = write(fd, buf, len);

	return n < 0 ? -errno : n;
}

static const struct amp_fd_ops console_ops = {
	.read = console_read,
	.write = console_write,
	.poll = console_poll,
};

static void print_log(const char *line)
{
	fprintf(stderr, "ampsock: %s\n", line);
}

/* remote:FILE,BELL or host:FILE,BELL */
static int rpmsg_up(const char *link)
{
	const char *file = strchr(link, ':'), *bell = file ? strchr(file, ',') : NULL;
	char path[4096];
	size_t len;

	if (!bell || (len = (size_t)(bell - file - 1)) >= sizeof(path))
		return -EINVAL;
	memcpy(path, file + 1, len);
	path[len] = '\0';
	if (strncmp(link, "remote:", 7) == 0)
		return amp_link_rpmsg_remote(path, bell + 1);
	return strncmp(link, "host:", 5) == 0 ? amp_link_rpmsg_host(path, bell + 1) : -EINVAL;
}

/* Who listens at path may begin later than we; who waits for that knows it. */
static int guest_up(const char *path)
{
	int r = path[0] ? amp_link_vhost_user(path, 1000) : -EINVAL;

	if (r != -ENOENT && r != -ECONNREFUSED && r != -EAGAIN)
		return r;
	fprintf(stderr,
		"AMPSOCK_LINK=vhost-user:%s: nobody answers there; tried again for 9 seconds\n",
		path);
	return amp_link_vhost_user(path, 9000);
}

/* TYPE:PATH: the guest of a proxy or of another such process, or the host for one. */
static int link_up(const char *link)
{
	char path[108];
	const char *comma = strrchr(link, ',');
	size_t len;

	if (strncmp(link, "vhost-user:", 11) == 0)
		return guest_up(link + 11);
	if (strncmp(link, "rpmsg-device:", 13) == 0)
		return amp_link_rpmsg_device(link + 13);
	if (strncmp(link, "rpmsg-", 6) == 0)
		return rpmsg_up(link + 6);
	if (strncmp(link, "vsock-device:", 13) != 0 || !comma)
		return -EINVAL;
	len = (size_t)(comma - link - 13);
	if (len >= sizeof(path))
		return -EINVAL;
	memcpy(path, link + 13, len);
	path[len] = '\0';
	return amp_link_vsock_device(path, (uint32_t)strtoul(comma + 1, NULL, 10));
}

__attribute__((constructor)) static void bring_up(void)
{
	const char *links = getenv("AMPSOCK_LINK");
	char *list, *link, *save;

	who = getpid();
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getenv("AMPSOCK_LOG"))
		amp_log_hook(print_log);
	amp_fd_console(&console_ops);
	if (!links || !*links) {
		if (isatty(STDERR_FILENO)) /* whoever reads this is told; a program that reads is not */
			fputs("AMPSOCK_LINK is not set: there is no link, only CID 1\n",
			      stderr);
		return;
	}
	list = strdup(links); /* for the life of the process */
	for (link = strtok_r(list, ";", &save); link; link = strtok_r(NULL, ";", &save)) {
		int err = link_up(link);

		if (!err)
			continue;
		fprintf(stderr, "AMPSOCK_LINK=%s: %s\n", link,
			err == -EINVAL ? "expected vhost-user:PATH, vsock-device:PATH,CID, "
					 "rpmsg-remote:FILE,BELL, rpmsg-host:FILE,BELL or "
					 "rpmsg-device:PATH"
				       : strerror(-err));
		exit(126);
	}
}

/*
 * As Linux does for its own when a process ends: what is open is closed. And the link ends with the
 * process: what was sent before is to arrive.
 */
__attribute__((destructor)) static void linger(void)
{
	struct amp_stats st;
	int tries = 500;

	if (getpid() != who || !amp_port_end())
		return;
	for (int fd = AMPSOCK_FD_BASE; fd < AMPSOCK_FD_BASE + SOCKETS_MAX; fd++)
		(void)amp_close(fd); /* EBADF: none was open */
	do {
		(void)amp_poll_links();
		amp_stats_get(&st);
		if (st.tx_pending)
			usleep(2000);
	} while (st.tx_pending && tries-- > 0);
}
