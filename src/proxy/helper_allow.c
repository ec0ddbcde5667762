// SPDX-License-Identifier: BSD-3-Clause
/* What the helper may touch: what its own copy of the configuration names, and nothing else. */
#include <netinet/in.h>
#include <string.h>

#include "helper_msg.h"

static bool in_forwards(const struct amp_forwards *list, const char *path)
{
	const struct amp_forward *f;

	TAILQ_FOREACH(f, list, entry)
	{
		if (f->target.kind == AMP_TARGET_UNIX &&
		    strcmp(f->target.addr.un.sun_path, path) == 0)
			return true;
	}
	return false;
}

static bool link_names(const struct amp_link_conf *l, enum amp_helper_kind kind,
		       const char *path)
{
	switch (kind) {
	case AMP_HELPER_VHOST:
		return l->type == AMP_LINK_VHOST_USER_VSOCK && strcmp(l->path, path) == 0;
	case AMP_HELPER_PUBLISH:
		return in_forwards(&l->publish, path);
	case AMP_HELPER_EXPOSE:
		return in_forwards(&l->expose, path);
	case AMP_HELPER_BELL:
		return l->type == AMP_LINK_RPMSG_SHM && l->shm.bell.kind == AMP_BELL_UNIX &&
		       strcmp(l->shm.bell.path, path) == 0;
	case AMP_HELPER_MEMORY:
		return l->type == AMP_LINK_RPMSG_SHM && strcmp(l->path, path) == 0;
	case AMP_HELPER_ELF:
		return l->type == AMP_LINK_RPMSG_SHM && l->shm.elf[0] &&
		       strcmp(l->shm.elf, path) == 0;
	case AMP_HELPER_RCHAR:
		return l->type == AMP_LINK_RPMSG_CHAR && strcmp(l->path, path) == 0;
	default:
		return false;
	}
}

const struct amp_link_conf *amp_helper_names(const struct amp_config *conf,
					     enum amp_helper_kind kind, const char *path)
{
	const struct amp_link_conf *l;

	TAILQ_FOREACH(l, &conf->links, entry)
	{
		if (link_names(l, kind, path))
			return l;
	}
	return NULL;
}

static bool same_addr(const struct amp_target *t, bool tcp, const struct amp_dest *dest)
{
	struct amp_dest own;

	if (t->kind != (tcp ? AMP_TARGET_TCP : AMP_TARGET_UDP))
		return false;
	amp_dest_from(&t->addr.sa, true, &own);
	return own.port == dest->port && memcmp(own.addr, dest->addr, sizeof(own.addr)) == 0;
}

static bool link_may_bind(const struct amp_link_conf *l, bool tcp, const struct amp_dest *dest)
{
	const struct amp_forward *f;
	const struct amp_rule *r;

	TAILQ_FOREACH(f, &l->publish, entry)
	{
		if (same_addr(&f->target, tcp, dest))
			return true;
	}
	TAILQ_FOREACH(r, &l->allow, entry)
	{
		if (amp_rule_covers(r, AMP_DIR_IN, tcp ? AMP_PROTO_TCP : AMP_PROTO_UDP, dest))
			return true;
	}
	return false;
}

bool amp_helper_may_bind(const struct amp_config *conf, bool tcp, const struct sockaddr *sa,
			 socklen_t len)
{
	const struct amp_link_conf *l;
	struct amp_dest dest;

	(void)len;
	amp_dest_from(sa, true, &dest);
	TAILQ_FOREACH(l, &conf->links, entry)
	{
		if (link_may_bind(l, tcp, &dest))
			return true;
	}
	return false;
}
