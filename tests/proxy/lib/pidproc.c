// SPDX-License-Identifier: BSD-3-Clause
/* Preloaded under the proxy: a /proc that has nothing but processes, as with ProcSubset=pid of systemd. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>

__attribute__((constructor)) static void mount_it(void)
{
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("proc", "/proc", "proc", 0, "subset=pid"))
		abort();
}
