// SPDX-License-Identifier: BSD-3-Clause
/* What the helper may touch: what its own copy of the configuration names, and nothing else. */
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h> /* wants sys/socket.h first */

#include "../wire/offload.h"
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

static bool is_port_path(const struct amp_link_conf *l, uint32_t port, const char *path)
{
	char own[sizeof(l->path) + 12];

	snprintf(own, sizeof(own), "%s_%" PRIu32, l->path, port);
	return strcmp(own, path) == 0;
}

/* PATH_PORT, of a port that the guest may use. */
static bool has_port(const struct amp_link_conf *l, const char *path)
{
	const struct amp_forward *f;

	if (l->type != AMP_LINK_VSOCK_UNIX)
		return false;
	TAILQ_FOREACH(f, &l->expose, entry)
	{
		if (is_port_path(l, f->service.port, path))
			return true;
	}
	return is_port_path(l, AMP_OFF_PORT, path);
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
	case AMP_HELPER_HYBRID:
		return l->type == AMP_LINK_VSOCK_UNIX && strcmp(l->path, path) == 0;
	case AMP_HELPER_PORT:
		return has_port(l, path);
	default:
		return false;
	}
}

/* A socket file right in the directory where rules that come at run time may have theirs. */
static bool in_runtime_dir(const struct amp_config *conf, const char *path)
{
	size_t len = strlen(conf->runtime_dir);

	while (len > 1 && conf->runtime_dir[len - 1] == '/')
		len--;
	return len && strncmp(path, conf->runtime_dir, len) == 0 && path[len] == '/' &&
	       path[len + 1] && !strchr(path + len + 1, '/') && strcmp(path + len, "/..");
}

/* What belongs to no link, in a link's place, but for its type: the name is for the log. */
static const struct amp_link_conf *own_place(const struct amp_config *conf,
					     enum amp_helper_kind kind, const char *path)
{
	static const struct amp_link_conf control = {.name = "control"};
	static const struct amp_link_conf metrics = {.name = "metrics"};

	if (kind == AMP_HELPER_CONTROL && conf->control[0] && strcmp(conf->control, path) == 0)
		return &control;
	if (kind == AMP_HELPER_METRICS && conf->metrics.kind == AMP_TARGET_UNIX &&
	    strcmp(conf->metrics.addr.un.sun_path, path) == 0)
		return &metrics;
	return NULL;
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
	if (kind == AMP_HELPER_PUBLISH && in_runtime_dir(conf, path))
		return TAILQ_FIRST(&conf->links);
	return own_place(conf, kind, path);
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
	if (same_addr(&conf->metrics, tcp, &dest))
		return true;
	TAILQ_FOREACH(l, &conf->links, entry)
	{
		if (link_may_bind(l, tcp, &dest))
			return true;
	}
	return false;
}

bool amp_helper_may_bind_vsock(const struct amp_config *conf, const struct sockaddr *sa)
{
	const struct amp_link_conf *l;
	const struct amp_forward *f;
	struct sockaddr_vm vm;

	memcpy(&vm, sa, sizeof(vm));
	if (vm.svm_cid != VMADDR_CID_ANY)
		return false;
	TAILQ_FOREACH(l, &conf->links, entry)
	{
		TAILQ_FOREACH(f, &l->expose, entry)
		{
			if (l->type == AMP_LINK_VSOCK && f->service.port == vm.svm_port)
				return true;
		}
	}
	return false;
}

bool amp_helper_for_others(const struct amp_config *conf, const struct amp_helper_req *req)
{
	return req->op == AMP_HELPER_BIND ||
	       (req->op == AMP_HELPER_LISTEN && req->kind == AMP_HELPER_PUBLISH &&
		conf->control[0]);
}
