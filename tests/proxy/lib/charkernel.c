// SPDX-License-Identifier: BSD-3-Clause
/*
 * Preloaded under the proxy in tests of rpmsg-char: what is opened below $CHARKERNEL/dev is a
 * connection to charkernel.py, which plays the kernel's part. A message is a packet of a Unix
 * socket, as it is one read or write of /dev/rpmsgN.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rpmsg.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FDS 65536

static char device[FDS][32];

/* Who is sent the descriptor of a device (the proxy's worker) is to know which it is. */
static void put_name(int fd, const char *name)
{
	static unsigned n;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int len = snprintf(un.sun_path + 1, sizeof(un.sun_path) - 1, "charkernel/%d/%u/%s",
			   (int)getpid(), n++, name);

	bind(fd, (struct sockaddr *)&un,
	     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len));
}

static void learn_name(int fd)
{
	static const char prefix[] = "charkernel/";
	struct sockaddr_un un = {0};
	socklen_t len = sizeof(un) - 1;
	int err = errno;
	char *name;

	if (fd >= 0 && fd < FDS && getsockname(fd, (struct sockaddr *)&un, &len) == 0 &&
	    un.sun_family == AF_UNIX && !un.sun_path[0] &&
	    strncmp(un.sun_path + 1, prefix, sizeof(prefix) - 1) == 0) {
		name = strrchr(un.sun_path + 1, '/') + 1;
		snprintf(device[fd], sizeof(device[fd]), "%.31s", name);
	}
	errno = err;
}

ssize_t recvmsg(int sock, struct msghdr *msg, int flags)
{
	ssize_t (*real)(int, struct msghdr *, int) = dlsym(RTLD_NEXT, "recvmsg");
	ssize_t n = real(sock, msg, flags);
	struct cmsghdr *c;
	int fd;

	for (c = n > 0 ? CMSG_FIRSTHDR(msg) : NULL; c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
			memcpy(&fd, CMSG_DATA(c), sizeof(fd));
			learn_name(fd);
		}
	}
	return n;
}

/* Asks the kernel. The connection, or -1 with its answer in errno. */
static int ask_once(const char *what, const char *name, const void *more, size_t len)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	const char *dir = getenv("CHARKERNEL");
	int (*real_close)(int) = dlsym(RTLD_NEXT, "close");
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	char text[256] = "";
	int answer = EIO, n;
	ssize_t got = -1;

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/kernel", dir);
	n = snprintf(text, sizeof(text), "%s %s ", what, name);
	memcpy(text + n, more, len);
	if (fd < 0)
		return -1;
	if (strcmp(what, "open") == 0)
		put_name(fd, name);
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0 &&
	    send(fd, text, (size_t)n + len, 0) >= 0) {
		do
			got = recv(fd, &answer, sizeof(answer), 0);
		while (got < 0 &&
		       errno == EINTR); /* the loop's alarm: no call of the kernel's */
	}
	if (got != sizeof(answer) || answer) {
		real_close(fd);
		errno = answer;
		return -1;
	}
	return fd;
}

/* What waits here would not wait in a kernel: the proxy's alarm must not end it (loop.h). */
static int ask(const char *what, const char *name, const void *more, size_t len)
{
	sigset_t all, old;
	int fd, err;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	fd = ask_once(what, name, more, len);
	err = errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	errno = err;
	return fd;
}

static int open_any(const char *sym, const char *path, int flags, mode_t mode)
{
	int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, sym);
	const char *dir = getenv("CHARKERNEL");
	size_t len = dir ? strlen(dir) : 0;
	int fd;

	if (!len || strncmp(path, dir, len) || strncmp(path + len, "/dev/", 5))
		return real(path, flags, mode);
	fd = ask("open", path + len + 5, "", 0);
	if (fd < 0 || fd >= FDS)
		return -1;
	snprintf(device[fd], sizeof(device[fd]), "%s", path + len + 5);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	return open_any("open", path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	return open_any("open64", path, flags, mode);
}

int close(int fd)
{
	int (*real)(int) = dlsym(RTLD_NEXT, "close");

	if (fd >= 0 && fd < FDS)
		device[fd][0] = 0;
	return real(fd);
}

/*
 * $CHARKERNEL_STOPS, a number: who has read a message that begins with this byte, and finds no more
 * behind it, stops, so that what happens right then can be chosen.
 */
ssize_t read(int fd, void *buf, size_t len)
{
	static int last = -1;
	ssize_t (*real)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
	const char *stops = getenv("CHARKERNEL_STOPS");
	ssize_t n = real(fd, buf, len);

	if (!stops || fd < 0 || fd >= FDS || !device[fd][0])
		return n;
	if (n > 0) {
		last = *(uint8_t *)buf == atoi(stops) ? fd : -1;
	} else if (n < 0 && errno == EAGAIN && last == fd) {
		last = -1;
		raise(SIGSTOP);
		errno = EAGAIN;
	}
	return n;
}

static int found_alive =
	-1; /* the descriptor that the caller asked about last, when it was there */

int poll(struct pollfd *p, nfds_t cnt, int timeout_ms)
{
	int (*real)(struct pollfd *, nfds_t, int) = dlsym(RTLD_NEXT, "poll");
	int n = real(p, cnt, timeout_ms);

	found_alive = cnt == 1 && n == 0 ? p->fd : -1;
	return n;
}

/*
 * The end of an endpoint is told on its own connection, for whoever has it may have nothing else:
 * no more from us, and then the kernel closes it.
 */
static int destroy(int fd)
{
	struct pollfd p = {.fd = fd};
	bool asked = found_alive == fd;

	if (poll(&p, 1, 0) > 0) {
		/* could the caller know that the device has gone? Not if it has since he asked */
		if (!asked)
			dprintf(STDERR_FILENO, "ERROR: charkernel: %s is taken away twice\n",
				device[fd]);
		return -1;
	}
	if (shutdown(fd, SHUT_WR))
		return -1;
	while (poll(&p, 1, -1) <= 0 && errno == EINTR) /* the loop's alarm */
		;
	return 0;
}

static pid_t helper;

__attribute__((constructor)) static void begin(void)
{
	helper = getpid();
}

int ioctl(int fd, unsigned long req, ...)
{
	int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
	int (*real_close)(int) = dlsym(RTLD_NEXT, "close");
	struct rlimit soft, hard;
	va_list ap;
	void *arg;
	int r;

	va_start(ap, req);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (fd < 0 || fd >= FDS || !device[fd][0])
		return real(fd, req, arg);
	if (req != RPMSG_CREATE_EPT_IOCTL) {
		/* a worker gone wrong lets go of none */
		if (getenv("CHARKERNEL_LEAK") && getpid() != helper)
			return 0;
		return destroy(fd);
	}
	/* the kernel's call takes no descriptor: what we need for it does not count */
	getrlimit(RLIMIT_NOFILE, &soft);
	hard = (struct rlimit){soft.rlim_max, soft.rlim_max};
	setrlimit(RLIMIT_NOFILE, &hard);
	r = ask("create", device[fd], arg, sizeof(struct rpmsg_endpoint_info));
	setrlimit(RLIMIT_NOFILE, &soft);
	if (r < 0)
		return -1;
	real_close(r);
	return 0;
}
