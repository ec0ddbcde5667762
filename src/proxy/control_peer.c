// SPDX-License-Identifier: BSD-3-Clause
/*
 * Who is at the other end of a control connection, and what that allows.
 *
 * A process in a user namespace sees every user that has no number there as one and the same,
 * the overflow user. An unprivileged worker is in such a namespace, where its own user is the
 * only one, so it asks the helper, which is not. And nobody is let in for being the overflow
 * user or in the overflow group, whatever the configuration says: that could be anybody.
 *
 * #syscalls getsockopt geteuid
 * #syscalls:helper getsockopt geteuid
 */
#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control_inner.h"
#include "helper.h"

#define GROUPS_MAX 1024u /* of a peer, that are looked at */

/* Linux's kernel.overflowuid and overflowgid, as nobody changes them. */
#define OVERFLOW_ID 65534u

static struct {
	uid_t owner; /* who started the proxy */
	bool has_all, has_look;
	gid_t all, look;
} rights;

static int group_of(const char *key, const char *name, bool *has, gid_t *gid)
{
	const struct group *gr;
	uint32_t n;

	*has = name[0] != 0;
	if (!*has)
		return 0;
	gr = getgrnam(name);
	if (gr) {
		*gid = gr->gr_gid;
	} else if (amp_parse_u32(name, UINT32_MAX - 1, &n)) {
		*gid = n;
	} else {
		amp_log(AMP_LOG_ERROR, "%s: there is no group `%s`", key, name);
		return -EINVAL;
	}
	if (*gid != OVERFLOW_ID)
		return 0;
	amp_log(AMP_LOG_ERROR,
		"%s: `%s` is what the kernel calls every group that it cannot name: expected "
		"another one",
		key, name);
	return -EINVAL;
}

int amp_control_prepare(const struct amp_config *conf)
{
	int r = group_of("control-group", conf->control_group, &rights.has_all, &rights.all);

	rights.owner = geteuid();
	return r ? r
		 : group_of("control-read-group", conf->control_read_group, &rights.has_look,
			    &rights.look);
}

/* Who may do what is asked of each connection; without groups nobody else needs one. */
mode_t amp_control_mode(void)
{
	return rights.has_all || rights.has_look ? 0666 : 0600;
}

static enum amp_ctl_right of_group(gid_t gid)
{
	if (rights.has_all && gid == rights.all)
		return AMP_CTL_ALL;
	return rights.has_look && gid == rights.look ? AMP_CTL_LOOK : AMP_CTL_NONE;
}

/*
 * The credentials are those of connect(): whoever passes its descriptor on passes its right on.
 * Not knowing is refusing.
 */
enum amp_ctl_right amp_control_right(int fd, uint32_t *uid, uint32_t *pid)
{
	static gid_t groups[GROUPS_MAX];
	socklen_t len = sizeof(groups);
	struct ucred cred;
	socklen_t cred_len = sizeof(cred);
	enum amp_ctl_right right;

	*uid = *pid = UINT32_MAX;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len))
		return AMP_CTL_NONE;
	*uid = cred.uid;
	*pid = (uint32_t)cred.pid;
	if (cred.uid == 0 ||
	    (cred.uid != OVERFLOW_ID && (cred.uid == rights.owner || cred.uid == geteuid())))
		return AMP_CTL_ALL;
	right = of_group(cred.gid);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len))
		return right;
	for (size_t i = 0; i < len / sizeof(*groups); i++) {
		enum amp_ctl_right r = of_group(groups[i]);

		if (r > right)
			right = r;
	}
	return right;
}

enum amp_ctl_right amp_ctl_ask_right(int fd, uint32_t *uid, uint32_t *pid, int *err)
{
	enum amp_ctl_right right = amp_control_right(fd, uid, pid);
	struct amp_helper_peer peer;

	*err = 0;
	/* started by root: the worker is in the same user namespace */
	if (right == AMP_CTL_ALL || rights.owner == 0)
		return right;
	*err = -amp_helper_peer(fd, &peer);
	if (*err)
		return right;
	*uid = peer.uid;
	*pid = peer.pid;
	return (enum amp_ctl_right)peer.right;
}
