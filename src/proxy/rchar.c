// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls close poll ppoll ioctl.rpmsg
 * #syscalls:helper openat readlink readlinkat lstat stat newfstatat fstat getdents64 lseek read close fcntl ioctl poll ppoll
 */
/* What rchar.h says. What the kernel writes into sysfs is believed, but bounded. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rpmsg.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "rchar.h"

#define SCAN_MAX 4096u /* entries of a directory */

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* One line of an attribute, without its end. */
static bool attribute(char *dst, size_t len, const char *sysfs, const char *dir,
		      const char *entry, const char *attr)
{
	char path[512];
	ssize_t n;
	int fd;

	if (snprintf(path, sizeof(path), "%s/%s/%s/%s", sysfs, dir, entry, attr) >=
	    (int)sizeof(path))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, dst, len - 1);
	close(fd);
	if (n < 0)
		return false;
	dst[n] = 0;
	dst[strcspn(dst, "\n")] = 0;
	return true;
}

static void say_too_many(const char *sysfs, const char *dir)
{
	static bool said;

	if (!said)
		amp_log(AMP_LOG_ERROR,
			"%s/%s has more than %u entries: those behind are not seen", sysfs, dir,
			SCAN_MAX);
	said = true;
}

/* Calls fn for each entry that begins with prefix, until it says true. */
static bool each(const char *sysfs, const char *dir, const char *prefix,
		 bool (*fn)(void *ctx, const char *entry), void *ctx)
{
	char path[512];
	struct dirent *d;
	bool found = false;
	unsigned i = 0;
	DIR *all;

	snprintf(path, sizeof(path), "%s/%s", sysfs, dir);
	all = opendir(path);
	if (!all)
		return false;
	for (; !found && (d = readdir(all)) != NULL && i < SCAN_MAX; i++)
		found = strncmp(d->d_name, prefix, strlen(prefix)) == 0 && fn(ctx, d->d_name);
	if (i == SCAN_MAX)
		say_too_many(sysfs, dir);
	closedir(all);
	return found;
}

/* ---- the control device ---- */

/* "virtio0." of "../../../virtio0.rpmsg_ctrl.0.0". */
static int find_bus(struct amp_rchar *rc)
{
	char path[512], link[256], *dot;
	const char *base;
	ssize_t n;

	if (snprintf(path, sizeof(path), "%s/class/rpmsg/%s/device", rc->sysfs,
		     base_of(rc->real)) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return -errno;
	link[n] = 0;
	base = base_of(link);
	dot = strchr(base, '.');
	if (!dot || (size_t)(dot - base) + 2 > sizeof(rc->bus))
		return -EINVAL;
	dot[1] = 0;
	strcpy(rc->bus, base);
	return 0;
}

static int open_endpoint(const struct amp_rchar *rc, const char *entry)
{
	char path[512];
	int fd, dir_len = (int)(base_of(rc->real) - rc->real);

	if (snprintf(path, sizeof(path), "%.*s%s", dir_len, rc->real, entry) >=
	    (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void own_prefix(const struct amp_rchar *rc, char dst[32])
{
	snprintf(dst, 32, "amp:%.15s:", base_of(rc->real));
}

static bool is_endpoint(const char *entry)
{
	return entry[5] && entry[5 + strspn(entry + 5, "0123456789")] == 0;
}

static bool sweep_one(void *ctx, const char *entry)
{
	const struct amp_rchar *rc = ctx;
	char name[64], own[32];
	int fd;

	own_prefix(rc, own);
	if (!is_endpoint(entry) ||
	    !attribute(name, sizeof(name), rc->sysfs, "class/rpmsg", entry, "name") ||
	    strncmp(name, own, strlen(own)))
		return false;
	fd = open_endpoint(rc, entry);
	if (fd >= 0)
		amp_rchar_destroy(fd, false);
	return false;
}

/* udev's links name a remote, whatever number it has today. */
static int resolve(struct amp_rchar *rc)
{
	char *real = realpath(rc->path, NULL);
	int r = -errno;

	if (real)
		r = strlen(real) < sizeof(rc->real) ? 0 : -ENAMETOOLONG;
	if (!r)
		strcpy(rc->real, real);
	free(real);
	return r;
}

/* Of the control device; 0: it is not there. */
static ino_t sys_ino(const struct amp_rchar *rc)
{
	struct stat st;
	char path[512];

	if (snprintf(path, sizeof(path), "%s/class/rpmsg/%s/", rc->sysfs, base_of(rc->real)) >=
		    (int)sizeof(path) ||
	    stat(path, &st))
		return 0;
	return st.st_ino;
}

static int open_control(const struct amp_rchar *rc)
{
	int fd = open(rc->real, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

struct census {
	const struct amp_rchar *rc;
	unsigned seen, own;
};

static bool count_one(void *ctx, const char *entry)
{
	struct census *c = ctx;
	char name[64], own[32];

	own_prefix(c->rc, own);
	c->seen++;
	c->own += is_endpoint(entry) &&
		  attribute(name, sizeof(name), c->rc->sysfs, "class/rpmsg", entry, "name") &&
		  strncmp(name, own, strlen(own)) == 0;
	return false;
}

/* One more? Whoever asks for it may have let go of none: what sysfs says counts. */
static bool has_room(struct amp_rchar *rc)
{
	struct census c = {.rc = rc};

	if (rc->made < rc->max)
		return true;
	each(rc->sysfs, "class/rpmsg", "rpmsg", count_one, &c);
	/* one that is not seen could not be opened, either; and `.` and `..` were not counted */
	rc->made = c.seen + 2 < SCAN_MAX ? c.own : rc->max;
	return rc->made < rc->max;
}

int amp_rchar_find(struct amp_rchar *rc)
{
	struct stat st;
	int r = resolve(rc), fd;

	if (r)
		return r;
	fd = open_control(rc); /* may we? */
	if (fd < 0)
		return fd;
	close(fd);
	r = find_bus(rc);
	if (r)
		return r;
	rc->sys_ino = sys_ino(rc);
	if (!rc->sys_ino || stat(rc->real, &st))
		return -ENODEV;
	rc->dev = st.st_dev;
	rc->ino = st.st_ino;
	each(rc->sysfs, "class/rpmsg", "rpmsg", sweep_one, rc);
	rc->made = rc->max; /* not known: counted when the first is made */
	return 0;
}

bool amp_rchar_stands(const struct amp_rchar *rc)
{
	struct stat st;

	return sys_ino(rc) == rc->sys_ino && stat(rc->path, &st) == 0 && st.st_dev == rc->dev &&
	       st.st_ino == rc->ino;
}

/* ---- endpoints ---- */

struct search {
	const struct amp_rchar *rc;
	const char *name;
	char entry[32];
};

static bool has_name(void *ctx, const char *entry)
{
	struct search *s = ctx;
	char name[64];

	if (strlen(entry) >= sizeof(s->entry) || !is_endpoint(entry) ||
	    !attribute(name, sizeof(name), s->rc->sysfs, "class/rpmsg", entry, "name") ||
	    strcmp(name, s->name))
		return false;
	strcpy(s->entry, entry);
	return true;
}

/* Two descriptors: a directory and an attribute are open at once. */
static int look_for(struct amp_rchar *rc, struct search *s)
{
	char guess[32];

	/* the call does not say which it is: the lowest free number, more often than not */
	snprintf(guess, sizeof(guess), "rpmsg%u", rc->likely);
	if (!has_name(s, guess) && !each(rc->sysfs, "class/rpmsg", "rpmsg", has_name, s))
		return -ENODEV;
	rc->likely = (unsigned)strtoul(s->entry + 5, NULL, 10) + 1;
	return open_endpoint(rc, s->entry);
}

int amp_rchar_create(struct amp_rchar *rc, uint32_t src, uint32_t dst)
{
	struct rpmsg_endpoint_info info = {.src = src, .dst = dst};
	struct search s = {.rc = rc, .name = info.name};
	char own[32];
	int r = 0, fd, spare;

	if (!has_room(rc))
		return -ENOBUFS;
	own_prefix(rc, own);
	/* at most 4 + 15 + 1 characters, and ten more */
	if (snprintf(info.name, sizeof(info.name), "%.20s%u", own, rc->next++) >=
	    (int)sizeof(info.name))
		return -ENAMETOOLONG;
	/*
	 * Only who has opened an endpoint can end it. So what it takes to find and open it is had
	 * before it is made: without descriptors, each try would leave one in the kernel.
	 */
	fd = open_control(rc);
	if (fd < 0)
		return fd;
	spare = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (spare < 0)
		r = -errno;
	else if (sys_ino(rc) != rc->sys_ino)
		r = -ENODEV;
	else if (ioctl(fd, RPMSG_CREATE_EPT_IOCTL, &info) < 0)
		r = -errno;
	else
		rc->made++;
	if (spare >= 0)
		close(spare);
	close(fd);
	return r ? r : look_for(rc, &s);
}

void amp_rchar_destroy(int fd, bool gone)
{
	struct pollfd p = {.fd = fd};

	if (!gone && poll(&p, 1, 0) == 0)
		ioctl(fd, RPMSG_DESTROY_EPT_IOCTL);
	close(fd);
}

/* ---- services ---- */

static const char channels[] = "bus/rpmsg/devices";

void amp_rchar_scan_end(struct amp_rchar_scan *scan)
{
	if (scan->dir)
		closedir(scan->dir);
	scan->dir = NULL;
}

static void scan_begin(const struct amp_rchar *rc, struct amp_rchar_scan *scan)
{
	char path[512];

	amp_rchar_scan_end(scan);
	scan->cnt = 0;
	snprintf(path, sizeof(path), "%s/%s", rc->sysfs, channels);
	if (rc->bus[0])
		scan->dir = opendir(path);
}

size_t amp_rchar_scan(const struct amp_rchar *rc, struct amp_rchar_scan *scan, bool first,
		      char *dst, size_t len)
{
	size_t n = 0, bus_len = strlen(rc->bus);
	struct dirent *d;

	if (first)
		scan_begin(rc, scan);
	/* room for the longest, so that none is taken that does not fit */
	while (scan->dir && len - n >= sizeof(d->d_name)) {
		d = readdir(scan->dir);
		if (!d || scan->cnt++ >= SCAN_MAX) {
			if (d)
				say_too_many(rc->sysfs, channels);
			amp_rchar_scan_end(scan);
		} else if (strncmp(d->d_name, rc->bus, bus_len) == 0) {
			strcpy(dst + n, d->d_name + bus_len);
			n += strlen(dst + n) + 1;
		}
	}
	return n;
}

int amp_rchar_attr(const struct amp_rchar *rc, const char *entry, char *name, size_t len,
		   uint32_t *addr)
{
	char full[512], dst[32], *end;
	long long value;

	if (snprintf(full, sizeof(full), "%s%s", rc->bus, entry) >= (int)sizeof(full))
		return -ENAMETOOLONG;
	if (!rc->bus[0] || !attribute(name, len, rc->sysfs, channels, full, "name") ||
	    !attribute(dst, sizeof(dst), rc->sysfs, channels, full, "dst"))
		return -ENOENT;
	value = strtoll(dst, &end, 0); /* 0x400 here, 1024 or -1 there */
	if (end == dst || *end || value <= 0 || value >= UINT32_MAX)
		return -EINVAL;
	*addr = (uint32_t)value;
	return 0;
}
