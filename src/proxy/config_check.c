// SPDX-License-Identifier: BSD-3-Clause
/* What only a whole link shows of its rules, and only the whole configuration of its links. */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <string.h>

#include "../virtio/sigbus.h"
#include "../wire/offload.h"
#include "config_inner.h"

/* ---- the rules of a link ---- */

/* Over /dev/rpmsg nobody knows who sent a raw message, so nobody could be answered. */
static int check_raw(const struct amp_link_conf *link, FILE *err)
{
	const struct amp_forward *f;
	char text[AMP_SERVICE_TEXT];
	int r = 0;

	TAILQ_FOREACH(f, &link->expose, entry)
	{
		if (f->target.kind != AMP_TARGET_UDP || f->service.kind != AMP_SERVICE_RPMSG)
			continue;
		amp_config_at(err, f->where, "expose");
		fprintf(err,
			"%s to udp cannot be on a link of type rpmsg-char, which does "
			"not see who sends: expected a tcp or unix target\n",
			amp_service_text(&f->service, text));
		amp_source_show(err, f->where, "udp");
		r = -EINVAL;
	}
	return r;
}

/* Does the link's type have such services? Said at the rule. */
static int check_services(const struct amp_link_conf *link, const struct amp_forwards *list,
			  const char *key, FILE *err)
{
	bool rpmsg = amp_link_is_rpmsg(link);
	const struct amp_forward *f;
	char text[AMP_SERVICE_TEXT];
	int r = 0;

	TAILQ_FOREACH(f, list, entry)
	{
		if (f->service.kind == AMP_SERVICE_INET ||
		    rpmsg == (f->service.kind == AMP_SERVICE_RPMSG))
			continue;
		amp_config_at(err, f->where, key);
		fprintf(err, "%s is no service of a link of type %s: expected %s\n",
			amp_service_text(&f->service, text), amp_link_type_text(link->type),
			rpmsg ? "rpmsg:NAME or rpmsg:@ADDRESS" : "vsock:PORT");
		amp_source_show(err, f->where, text);
		r = -EINVAL;
	}
	return r;
}

/* The monitor's connections are byte streams. */
static int check_streams(const struct amp_forwards *list, const char *key, FILE *err)
{
	const struct amp_forward *f;
	int r = 0;

	TAILQ_FOREACH(f, list, entry)
	{
		if (f->target.kind != AMP_TARGET_UDP || f->service.kind != AMP_SERVICE_VSOCK)
			continue;
		amp_config_at(err, f->where, key);
		fprintf(err,
			"udp to a vsock port cannot be on a link of type vsock-unix, whose "
			"connections have no messages: expected tcp, unix or (publish) "
			"inet:PORT\n");
		amp_source_show(err, f->where, "udp");
		r = -EINVAL;
	}
	return r;
}

int amp_link_check_rules(const struct amp_link_conf *link, FILE *err)
{
	int r = 0;

	if (link->type == AMP_LINK_RPMSG_CHAR)
		r |= check_raw(link, err);
	if (link->type == AMP_LINK_VSOCK_UNIX) {
		r |= check_streams(&link->publish, "publish", err);
		r |= check_streams(&link->expose, "expose", err);
	}
	r |= check_services(link, &link->publish, "publish", err);
	r |= check_services(link, &link->expose, "expose", err);
	return r ? -EINVAL : 0;
}

int amp_link_check_forward(const struct amp_link_conf *link, const struct amp_forward *fwd,
			   FILE *err)
{
	struct amp_forwards one = TAILQ_HEAD_INITIALIZER(one);
	struct amp_forward copy = *fwd;
	int r = 0;

	TAILQ_INSERT_TAIL(&one, &copy, entry);
	if (link->type == AMP_LINK_VSOCK_UNIX)
		r = check_streams(&one, "publish", err);
	return check_services(link, &one, "publish", err) ? -EINVAL : r;
}

/* What two links cannot share, in words; NULL: they get along. */
static const char *clash(const struct amp_link_conf *a, const struct amp_link_conf *b)
{
	if (strcmp(a->name, b->name) == 0)
		return "name";
	if (a->type != b->type)
		return NULL;
	if (a->type == AMP_LINK_VSOCK)
		return a->cid == b->cid ? "CID" : NULL;
	if (a->type == AMP_LINK_RPMSG_CHAR || a->type == AMP_LINK_VSOCK_UNIX)
		return strcmp(a->path, b->path) == 0 ? "path" : NULL;
	if (a->type == AMP_LINK_VHOST_USER_VSOCK)
		return strcmp(a->path, b->path) == 0 ? "path" : a->cid == b->cid ? "CID" : NULL;
	if (a->shm.bell.kind == AMP_BELL_UNIX && b->shm.bell.kind == AMP_BELL_UNIX &&
	    strcmp(a->shm.bell.path, b->shm.bell.path) == 0)
		return "doorbell";
	/* several remotes may share a file, but not a table in it */
	return strcmp(a->path, b->path) == 0 && a->shm.offset == b->shm.offset &&
			       a->shm.table == b->shm.table &&
			       strcmp(a->shm.elf, b->shm.elf) == 0
		       ? "resource table"
		       : NULL;
}

/* ---- who listens where ---- */

/* 0: any free one. In network order: nobody counts with it. */
static uint16_t target_port(const struct amp_target *t)
{
	return t->addr.sa.sa_family == AF_INET6
		       ? ((const struct sockaddr_in6 *)&t->addr.ss)->sin6_port
		       : ((const struct sockaddr_in *)&t->addr.ss)->sin_port;
}

static bool is_wildcard(const struct amp_target *t)
{
	return t->addr.sa.sa_family == AF_INET6
		       ? IN6_IS_ADDR_UNSPECIFIED(
				 &((const struct sockaddr_in6 *)&t->addr.ss)->sin6_addr)
		       : ((const struct sockaddr_in *)&t->addr.ss)->sin_addr.s_addr == 0;
}

/* Each port 0 is another free one. IPv6 sockets are IPv6 alone (listen.c). */
bool amp_target_overlap(const struct amp_target *a, const struct amp_target *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == AMP_TARGET_UNIX)
		return strcmp(a->addr.un.sun_path, b->addr.un.sun_path) == 0;
	if (!target_port(a) || target_port(a) != target_port(b) ||
	    a->addr.sa.sa_family != b->addr.sa.sa_family)
		return false;
	return is_wildcard(a) || is_wildcard(b) || amp_target_same(a, b);
}

static bool is_port(const struct amp_link_conf *l, uint32_t port, const char *path)
{
	char own[sizeof(l->path) + 12];

	snprintf(own, sizeof(own), "%s_%" PRIu32, l->path, port);
	return strcmp(own, path) == 0;
}

static bool link_listens(const struct amp_link_conf *l, const char *path)
{
	const struct amp_forward *f;

	if (l->type == AMP_LINK_VHOST_USER_VSOCK)
		return strcmp(l->path, path) == 0;
	if (l->type != AMP_LINK_VSOCK_UNIX)
		return false;
	TAILQ_FOREACH(f, &l->expose, entry)
	{
		if (is_port(l, f->service.port, path))
			return true;
	}
	return is_port(l, AMP_OFF_PORT, path);
}

/* Besides what is published. NULL, or who has it: a link's name then is in *link. */
static const char *own_listener(const struct amp_config *conf, const struct amp_target *t,
				const struct amp_link_conf **link)
{
	const struct amp_link_conf *l;
	bool path = t->kind == AMP_TARGET_UNIX;

	*link = NULL;
	if (path && strcmp(conf->control, t->addr.un.sun_path) == 0)
		return "the control socket's";
	if (conf->metrics.kind && amp_target_overlap(&conf->metrics, t))
		return "that of metrics";
	TAILQ_FOREACH(l, &conf->links, entry)
	{
		if (!path || !link_listens(l, t->addr.un.sun_path))
			continue;
		*link = l;
		return "that of link ";
	}
	return NULL;
}

bool amp_config_taken(const struct amp_config *conf, const struct amp_target *target,
		      const struct amp_forward *self, char *who, size_t len)
{
	const struct amp_link_conf *l;
	const struct amp_forward *f;
	const char *own = own_listener(conf, target, &l);

	if (own) {
		snprintf(who, len, "this address is %s%s", own, l ? l->name : "");
		return true;
	}
	TAILQ_FOREACH(l, &conf->links, entry)
	{
		TAILQ_FOREACH(f, &l->publish, entry)
		{
			if (f == self)
				return false;
			if (!amp_target_overlap(&f->target, target))
				continue;
			snprintf(who, len,
				 "this address is published already at %s (link %s)%s%s",
				 f->where, l->name, f->runtime ? ": " : "",
				 f->runtime ? f->text : "");
			return true;
		}
	}
	return false;
}

/* Two published ports can lead to one port of the guest's, but a datagram socket of its is one. */
static const struct amp_forward *same_socket(const struct amp_link_conf *l,
					     const struct amp_forward *fwd)
{
	const struct amp_forward *f;

	if (fwd->service.kind != AMP_SERVICE_INET || fwd->target.kind != AMP_TARGET_UDP)
		return NULL;
	TAILQ_FOREACH(f, &l->publish, entry)
	{
		if (f == fwd)
			break;
		if (f->target.kind == AMP_TARGET_UDP &&
		    amp_service_same(&f->service, &fwd->service))
			return f;
	}
	return f == fwd ? NULL : f;
}

int amp_config_check_publish(const struct amp_config *conf, const struct amp_link_conf *link,
			     const struct amp_forward *fwd, FILE *err)
{
	const struct amp_forward *other = same_socket(link, fwd);
	char who[400];
	size_t at = 0;

	if (other) {
		snprintf(who, sizeof(who),
			 "udp to inet:%u is published already at %s: expected one udp address "
			 "for a port of the guest",
			 (unsigned)fwd->service.port, other->where);
		at = (size_t)(strstr(fwd->text, "inet:") - fwd->text);
	} else if (!amp_config_taken(conf, &fwd->target, fwd, who, sizeof(who))) {
		return 0;
	}
	amp_config_at(err, fwd->where, "publish");
	fprintf(err, "%s\n", who);
	amp_source_show_at(err, fwd->where, fwd->text, at);
	return other ? -EINVAL : -EEXIST;
}

static int check_listeners(const struct amp_config *conf, FILE *err)
{
	struct amp_target metrics = conf->metrics;
	const struct amp_link_conf *l;
	const struct amp_forward *f;
	int r = 0;

	if (conf->control[0] && metrics.kind == AMP_TARGET_UNIX &&
	    strcmp(metrics.addr.un.sun_path, conf->control) == 0) {
		fprintf(err, "%s%scontrol and metrics have the same path: expected two\n",
			conf->file ? conf->file : "", conf->file ? ": " : "");
		r = -EINVAL;
	}
	TAILQ_FOREACH(l, &conf->links, entry)
	{
		bool control = conf->control[0] && link_listens(l, conf->control);

		if (control || (metrics.kind == AMP_TARGET_UNIX &&
				link_listens(l, metrics.addr.un.sun_path))) {
			amp_config_complain(
				err, l->where,
				control ? "the control socket has this link's path: "
					  "expected another"
					: "metrics has this link's path: expected "
					  "another",
				NULL);
			r = -EINVAL;
		}
		TAILQ_FOREACH(f, &l->publish, entry)
		r |= amp_config_check_publish(conf, l, f, err);
	}
	return r ? -EINVAL : 0;
}

/* ---- the whole ---- */

/* Of vhost-user-vsock it is guests that are counted, when they come. */
static int check_count(const struct amp_config *conf, FILE *err)
{
	const struct amp_link_conf *l;
	unsigned n = 0;

	TAILQ_FOREACH(l, &conf->links, entry)
	{
		n += l->type == AMP_LINK_RPMSG_SHM;
		if (n > AMP_SIGBUS_GUARDS)
			return amp_config_complain(err, l->where,
						   "expected at most 256 links of type "
						   "rpmsg-shm in one process",
						   NULL);
	}
	return 0;
}

int amp_config_check(struct amp_config *conf, FILE *err)
{
	struct amp_link_conf *a, *b;
	int r = 0;

	if (TAILQ_EMPTY(&conf->links) && !conf->bad) {
		if (conf->file)
			fprintf(err, "%s: nothing to do: expected a [link NAME] section\n",
				conf->file);
		else
			fprintf(err, "nothing to do: expected --link or a [link NAME] section "
				     "in --config\n");
		return -EINVAL;
	}
	TAILQ_FOREACH(a, &conf->links, entry)
	{
		a->lease_s = conf->lease_s;
		if (a->bad) /* what follows from that would be told as well */
			continue;
		if (amp_link_check(a, err))
			r = -EINVAL;
		for (b = TAILQ_NEXT(a, entry); b; b = TAILQ_NEXT(b, entry)) {
			const char *same = b->bad ? NULL : clash(a, b);

			if (!same)
				continue;
			fprintf(err, "%s: link %s has the same %s as link %s at %s%s\n",
				b->where, b->name, same, a->name, a->where,
				strcmp(same, "name") == 0 && !(a->named && b->named)
					? ": one of them is called so because it was given no "
					  "name: expected name=NAME there"
					: "");
			amp_source_show(err, b->where, NULL);
			r = -EINVAL;
		}
	}
	if (!conf->bad && amp_join_check(conf, err))
		r = -EINVAL;
	if (check_listeners(conf, err) || check_count(conf, err))
		r = -EINVAL;
	return conf->bad ? -EINVAL : r;
}
