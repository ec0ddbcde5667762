// SPDX-License-Identifier: BSD-3-Clause
/* What only a whole link shows of its rules, and only the whole configuration of its links. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

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

/* ---- the whole ---- */

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

/* 0: any free one. In network order: nobody counts with it. */
static uint16_t target_port(const struct amp_target *t)
{
	return t->addr.sa.sa_family == AF_INET6
		       ? ((const struct sockaddr_in6 *)&t->addr.ss)->sin6_port
		       : ((const struct sockaddr_in *)&t->addr.ss)->sin_port;
}

static bool listens_twice(const struct amp_forward *a, const struct amp_forward *b)
{
	if (a->target.kind != AMP_TARGET_UNIX && !target_port(&a->target))
		return false; /* each has a free one */
	return amp_target_same(&a->target, &b->target);
}

/* Each published address in one rule. */
static int check_published(const struct amp_forward *a, const struct amp_forward *from,
			   FILE *err)
{
	for (const struct amp_forward *b = from; b; b = TAILQ_NEXT(b, entry)) {
		if (!listens_twice(a, b))
			continue;
		amp_config_at(err, b->where, "publish");
		fprintf(err, "this address is published already at %s\n", a->where);
		amp_source_show_at(err, b->where, b->text, 0);
		return -EINVAL;
	}
	return 0;
}

static int check_all_published(const struct amp_config *conf, FILE *err)
{
	const struct amp_link_conf *l, *m;
	const struct amp_forward *f;
	int r = 0;

	TAILQ_FOREACH(l, &conf->links, entry)
	{
		TAILQ_FOREACH(f, &l->publish, entry)
		{
			r |= check_published(f, TAILQ_NEXT(f, entry), err);
			for (m = TAILQ_NEXT(l, entry); m; m = TAILQ_NEXT(m, entry))
				r |= check_published(f, TAILQ_FIRST(&m->publish), err);
		}
	}
	return r ? -EINVAL : 0;
}

int amp_config_check(struct amp_config *conf, FILE *err)
{
	struct amp_link_conf *a, *b;
	int r = 0;

	if (TAILQ_EMPTY(&conf->links) && !conf->bad) {
		fprintf(err, "nothing to do: expected --link or a [link NAME] section in "
			     "--config\n");
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
	if (check_all_published(conf, err))
		r = -EINVAL;
	return conf->bad ? -EINVAL : r;
}
