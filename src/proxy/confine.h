/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Confinement: what the worker gives up before it reads the first byte of a guest.
 *
 * Theory of operation
 *
 * Everything a guest sends is read by the worker, so the worker is what a guest could take over.
 * What it could then do is what this leaves:
 *
 *	descriptors   those that it was started for; every other one is closed
 *	files         none: an empty, read-only root (a mount namespace of its own where that is
 *	              allowed, in a user namespace where it is not root; else chroot), and
 *	              Landlock with no rule, where the kernel has it
 *	user          an unprivileged one, no groups, no capability, no_new_privs
 *	limits        no core file, no file that grows, no further process
 *	others        it cannot be traced and traces nobody, and signals nobody
 *	system calls  those that the comments beside the code name (confine_filter.h); any other
 *	              kills the process, and the helper says so
 *
 * What cannot be had (a container often forbids namespaces) is said in the log and is no
 * error, as long as the user, the capabilities and the filter are: without one of these the
 * proxy does not run, unless it was told so (--no-confine).
 *
 * The helper keeps the user, the files and the capabilities that its requests need, drops the
 * other ones, and has a filter that refuses.
 */
#ifndef AMP_PROXY_CONFINE_H
#define AMP_PROXY_CONFINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"

struct amp_confine {
	bool on;
	bool drop; /* to uid and gid: we are root */
	uid_t uid;
	gid_t gid;
	char user[AMP_USER_MAX];
};

/*
 * Before anything else is done: finds the user. -EINVAL, said: there is none, or root did not
 * name one.
 */
int amp_confine_init(struct amp_confine *c, const struct amp_config *conf);

/*
 * In the worker, first: standard input and output become /dev/null, standard error and what
 * amp_confine_keep() was told of stay open (below 0 does not count), all others are closed. 0 or
 * -errno.
 */
void amp_confine_keep(int fd);
int amp_confine_close_others(void);

/* In the worker, when it is ready to serve and before it does. 0 or -errno, said. */
int amp_confine_worker(const struct amp_confine *c);
/*
 * In the helper, before its first request. 0 or -errno, said. *filter: what amp_filter_helper_id()
 * says if the process has that filter already, from a program before this one; becomes that if it has
 * it now, or 0.
 */
int amp_confine_helper(const struct amp_confine *c, uint64_t *filter);

/* ---- confine_root.c ---- */
/* 0, or -errno: it cannot be had. root: with CAP_SYS_ADMIN or CAP_SYS_CHROOT, perhaps. */
int amp_confine_empty_root(bool root);
/* No path at all, by Landlock; likewise. */
int amp_confine_landlock(void);

#endif /* AMP_PROXY_CONFINE_H */
