// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls:helper socket connect bind listen close getsockopt kill nanosleep clock_nanosleep lstat newfstatat unlink
 */
/* Unix sockets that listen, which the helper makes. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "listen.h"
#include "log.h"

/* Does anybody listen there? *maker: the process that made the socket, 0: not known. */
static bool answers(const struct sockaddr_un *un, pid_t *maker)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);
	bool r;

	*maker = 0;
	if (fd < 0)
		return true; /* not known: leave it alone */
	r = connect(fd, (const struct sockaddr *)un, sizeof(*un)) == 0 || errno == EAGAIN;
	if (r && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
		*maker = cred.pid;
	close(fd);
	return r;
}

/*
 * A helper that was killed takes its worker, which has the socket, with it: but that takes a moment,
 * in which whoever starts the proxy again is here. So one whose maker is gone has a moment to go.
 */
static bool alive(const struct sockaddr_un *un)
{
	static const struct timespec moment = {.tv_nsec = AMP_ORPHAN_MS * 1000000l};
	pid_t maker;

	for (unsigned n = 0; n < AMP_ORPHAN_TRIES && answers(un, &maker); n++) {
		if (maker <= 0 || kill(maker, 0) == 0 || errno != ESRCH)
			return true;
		nanosleep(&moment, NULL);
	}
	return answers(un, &maker);
}

/* Removes a socket file that a dead process left. 0 or -errno, said. */
static int clear_path(const struct sockaddr_un *un, const char *place)
{
	struct stat st;

	if (lstat(un->sun_path, &st))
		return 0;
	if (!S_ISSOCK(st.st_mode)) {
		amp_log(AMP_LOG_ERROR,
			"%s: %s exists and is no socket: remove it or give another path", place,
			un->sun_path);
		return -EEXIST;
	}
	if (alive(un)) {
		amp_log(AMP_LOG_ERROR,
			"%s: %s is already in use by another process: stop it or give "
			"another path",
			place, un->sun_path);
		return -EADDRINUSE;
	}
	unlink(un->sun_path);
	return 0;
}

static void say_why(const char *path, const char *place, int err)
{
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash)
		*slash = 0;
	if (err == ENOENT && slash)
		amp_log(AMP_LOG_ERROR,
			"%s: directory %s does not exist: create it, or give a path in "
			"one that does",
			place, dir[0] ? dir : "/");
	else
		amp_log(AMP_LOG_ERROR, "%s: cannot listen on %s: %s", place, path,
			strerror(err));
}

int amp_unix_listen(const char *path, const char *place)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd, r;

	memcpy(un.sun_path, path, strlen(path) + 1);
	r = clear_path(&un, place);
	if (r)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&un, sizeof(un)) == 0 &&
	    listen(fd, AMP_LISTEN_BACKLOG) == 0)
		return fd;
	r = -errno;
	say_why(path, place, -r);
	if (fd >= 0)
		close(fd);
	return r;
}
