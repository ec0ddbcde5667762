// SPDX-License-Identifier: BSD-3-Clause
/* No file system: an empty root, and Landlock. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "confine.h"

/* ---- a mount namespace with nothing in it ---- */

static int put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
	int r = n < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return r;
}

/* The one user and group that we are, as themselves. */
static int map_ids(uid_t uid, gid_t gid)
{
	char text[64];
	int r = put_file("/proc/self/setgroups", "deny");

	if (r)
		return r;
	snprintf(text, sizeof(text), "%u %u 1\n", (unsigned)uid, (unsigned)uid);
	r = put_file("/proc/self/uid_map", text);
	snprintf(text, sizeof(text), "%u %u 1\n", (unsigned)gid, (unsigned)gid);
	return r ? r : put_file("/proc/self/gid_map", text);
}

/* Over a directory that is always there; then this is the root, and the old one is gone. */
static int pivot(void)
{
	static const char over[] = "/tmp";
	const unsigned long how = MS_NODEV | MS_NOEXEC | MS_NOSUID | MS_RDONLY;

	if (mount("", "/", "", MS_PRIVATE | MS_REC, NULL) ||
	    mount("none", over, "tmpfs", how, "nr_inodes=2,size=4k,mode=0555") || chdir(over) ||
	    syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
		return -errno;
	return 0;
}

static int own_namespace(bool root)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int r = 0;

	if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | (root ? 0 : CLONE_NEWUSER)))
		return -errno;
	if (!root)
		r = map_ids(uid, gid);
	return r ? r : pivot();
}

/* ---- chroot ---- */

/* In a directory that has no name any more: nobody can put anything into it. */
static int nameless_root(void)
{
	char path[] = "/tmp/ampsock-XXXXXX";

	if (!mkdtemp(path))
		return -errno;
	if (chdir(path)) {
		rmdir(path);
		return -errno;
	}
	rmdir(path);
	return chroot(".") || chdir("/") ? -errno : 0;
}

int amp_confine_empty_root(bool root)
{
	int r = own_namespace(root);

	return r && root ? nameless_root() : r;
}

/* ---- Landlock ---- */

/* Not in every libc's headers: linux/landlock.h, by version of the interface. */
#define LANDLOCK_CREATE	  444
#define LANDLOCK_RESTRICT 446

struct landlock_attr {
	uint64_t fs;
	uint64_t net;	 /* version 4 */
	uint64_t scoped; /* version 6: abstract Unix sockets, signals */
};

int amp_confine_landlock(void)
{
	/* rights over files: 13 in version 1, one more in 2, 3 and 5 */
	static const uint64_t fs[] = {0, 0x1fff, 0x3fff, 0x7fff, 0x7fff, 0xffff};
	struct landlock_attr attr = {0};
	long abi = syscall(LANDLOCK_CREATE, NULL, 0, 1);
	size_t len = sizeof(attr.fs);
	int fd, r = 0;

	if (abi < 1)
		return abi < 0 ? -errno : -ENOSYS;
	attr.fs = fs[abi < 5 ? abi : 5];
	if (abi >= 6) {
		attr.scoped = 3;
		len = sizeof(attr);
	}
	fd = (int)syscall(LANDLOCK_CREATE, &attr, len, 0);
	if (fd < 0)
		return -errno;
	if (syscall(LANDLOCK_RESTRICT, fd, 0))
		r = -errno;
	close(fd);
	return r;
}
