// SPDX-License-Identifier: BSD-3-Clause
/*
 * Linux's rpmsg character devices from a program's side: static, for an initramfs.
 *
 *	chardev ept CTRL NAME SRC DST       RPMSG_CREATE_EPT_IOCTL
 *	chardev dev CTRL NAME SRC DST       RPMSG_CREATE_DEV_IOCTL: the kernel announces it
 *	chardev undev CTRL NAME SRC DST     RPMSG_RELEASE_DEV_IOCTL
 *	chardev unept DEV                   RPMSG_DESTROY_EPT_IOCTL
 *	chardev nodes COUNT                 /dev/rpmsg0 and so on, and control devices
 *	chardev send DEV SIZE               one message of the pattern's beginning
 *	chardev pour DEV COUNT SIZE         so many of them
 *	chardev recv DEV BYTES              reads messages until there are so many bytes; to stdout
 *	chardev echo DEV COUNT              so many messages go back where they came from
 *	chardev flood DEV COUNT WINDOW      the pattern in messages of all lengths, with at most WINDOW
 *	                                    of them not echoed yet; what comes back goes to stdout
 *	chardev hold DEV                    opens it, says so, and waits for its end: exit 0 at EPIPE
 *
 * The pattern is that of tests/e2e/agent.c. Exit 1 with errno's name in words; 2: usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/rpmsg.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PERIOD 65521u
#define ROOM   496u

static uint8_t pattern[2 * PERIOD];

static int fail(const char *what)
{
	fprintf(stderr, "chardev: %s: %s\n", what, strerror(errno));
	return 1;
}

static unsigned long num(const char *text)
{
	return strtoul(text, NULL, 0);
}

static void out(const uint8_t *data, size_t len)
{
	if (fwrite(data, 1, len, stdout) != len)
		exit(fail("stdout"));
}

static int control(char **arg, unsigned long req)
{
	struct rpmsg_endpoint_info info = {.src = (uint32_t)num(arg[2]),
					   .dst = (uint32_t)num(arg[3])};
	int fd = open(arg[0], O_RDWR);

	snprintf(info.name, sizeof(info.name), "%s", arg[1]);
	return fd < 0 ? fail(arg[0]) : ioctl(fd, req, &info) < 0 ? fail("ioctl") : 0;
}

static int ept(char **arg)
{
	return control(arg, RPMSG_CREATE_EPT_IOCTL);
}

static int dev(char **arg)
{
	return control(arg, RPMSG_CREATE_DEV_IOCTL);
}

static int undev(char **arg)
{
	return control(arg, RPMSG_RELEASE_DEV_IOCTL);
}

static int make(const char *driver, const char *name, unsigned long cnt)
{
	FILE *f = fopen("/proc/devices", "r");
	unsigned major = 0;
	char line[80];

	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (strlen(line) > 4 && strcmp(line + 4, driver) == 0)
			major = (unsigned)num(line);
	}
	errno = ENODEV;
	for (unsigned i = 0; major && i < cnt; i++) {
		snprintf(line, sizeof(line), "/dev/%s%u", name, i);
		if (mknod(line, S_IFCHR | 0600, makedev(major, i)) < 0 && errno != EEXIST)
			return fail(line);
	}
	return major ? 0 : fail(driver);
}

static int nodes(char **arg)
{
	int r = make("rpmsg_ctrl", "rpmsg_ctrl", 4);

	return r ? r : make("rpmsg_char", "rpmsg", num(arg[0]));
}

static int opened(char **arg)
{
	int fd = open(arg[0], O_RDWR);

	if (fd < 0)
		exit(fail(arg[0]));
	return fd;
}

static int unept(char **arg)
{
	return ioctl(opened(arg), RPMSG_DESTROY_EPT_IOCTL) < 0 ? fail("ioctl") : 0;
}

static int send_one(char **arg)
{
	size_t len = num(arg[1]);

	return write(opened(arg), pattern, len) == (ssize_t)len ? 0 : fail("write");
}

static int pour(char **arg)
{
	size_t len = num(arg[2]);
	int fd = opened(arg);

	for (unsigned long i = num(arg[1]); i > 0; i--) {
		if (write(fd, pattern, len) != (ssize_t)len)
			return fail("write");
	}
	return 0;
}

static int recv_all(char **arg)
{
	int fd = opened(arg);
	size_t left = num(arg[1]);
	uint8_t buf[ROOM];

	puts("open"); /* so that who sends can begin */
	fflush(stdout);
	while (left) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n < 0)
			return fail("read");
		out(buf, (size_t)n);
		left -= (size_t)n < left ? (size_t)n : left;
	}
	return 0;
}

static int echo(char **arg)
{
	int fd = opened(arg);
	uint8_t buf[ROOM];

	puts("open");
	fflush(stdout);
	for (unsigned long i = num(arg[1]); i > 0; i--) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n < 0 || write(fd, buf, (size_t)n) != n)
			return fail("echo");
	}
	return 0;
}

/* The length of message i: every one there is, and the longest often. */
static size_t length(unsigned long i)
{
	return i % 4 == 0 ? ROOM : 1 + i * 7 % ROOM;
}

static int flood(char **arg)
{
	int fd = opened(arg);
	unsigned long cnt = num(arg[1]), window = num(arg[2]), sent = 0, got = 0;
	size_t at = 0;
	uint8_t buf[ROOM];

	while (got < cnt) {
		while (sent < cnt && sent - got < window) {
			size_t len = length(sent++);

			if (write(fd, pattern + at % PERIOD, len) != (ssize_t)len)
				return fail("write");
			at += len;
		}
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n < 0)
			return fail("read");
		errno = EPROTO;
		if ((size_t)n != length(got++))
			return fail("a message of another length");
		out(buf, (size_t)n);
	}
	return 0;
}

static int hold(char **arg)
{
	int fd = opened(arg);
	uint8_t buf[ROOM];

	puts("open");
	fflush(stdout);
	while (read(fd, buf, sizeof(buf)) >= 0)
		;
	return errno == EPIPE ? 0 : fail("read");
}

static const struct {
	const char *name;
	int args;
	int (*fn)(char **arg);
} calls[] = {
	{"ept", 4, ept},     {"dev", 4, dev},	    {"undev", 4, undev},   {"unept", 1, unept},
	{"nodes", 1, nodes}, {"send", 2, send_one}, {"recv", 2, recv_all}, {"echo", 2, echo},
	{"flood", 3, flood}, {"hold", 1, hold},	    {"pour", 3, pour},
};

int main(int argc, char **argv)
{
	uint32_t x = 12345;

	for (unsigned i = 0; i < PERIOD; i++) {
		x = x * 1664525u + 1013904223u;
		pattern[i] = pattern[i + PERIOD] = (uint8_t)(x >> 24);
	}
	for (size_t i = 0; argc > 1 && i < sizeof(calls) / sizeof(*calls); i++) {
		if (strcmp(argv[1], calls[i].name) == 0 && argc == calls[i].args + 2) {
			int r = calls[i].fn(argv + 2);

			return fflush(stdout) ? fail("stdout") : r;
		}
	}
	fprintf(stderr, "usage: the first lines of chardev.c\n");
	return 2;
}
