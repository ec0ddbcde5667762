// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rnames.h"

static size_t count(const struct amp_forwards *list)
{
	const struct amp_forward *f;
	size_t n = 0;

	TAILQ_FOREACH(f, list, entry)
	n++;
	return n;
}

static struct amp_rname *by_name(const struct amp_rnames *n, const char *name)
{
	for (unsigned i = 0; i < n->name_cnt; i++) {
		if (strcmp(n->names[i].name, name) == 0)
			return &n->names[i];
	}
	return NULL;
}

static void add_service(struct amp_rnames *n, const struct amp_forward *fwd)
{
	struct amp_rservice *s = &n->services[n->service_cnt++];

	s->fwd = fwd;
	s->end.ept.addr = AMP_RPMSG_ADDR_ANY;
	s->end.name = AMP_RNAMES_DOOR;
	if (fwd && fwd->service.name[0]) {
		s->end.name = fwd->service.name;
	} else if (fwd) {
		s->end.name = NULL;
		s->end.ept.addr = fwd->service.port;
	}
}

/* A place for one more name; NULL: none. */
static struct amp_rname *spare(struct amp_rnames *n)
{
	if (n->name_cnt < n->name_max)
		return &n->names[n->name_cnt++];
	for (unsigned i = 0; i < n->name_cnt; i++) {
		if (!n->names[i].asked && !n->names[i].known)
			return &n->names[i];
	}
	return NULL;
}

int amp_rnames_want(struct amp_rnames *n, const char *name)
{
	struct amp_rname *r = by_name(n, name);

	if (!r) {
		r = spare(n);
		if (!r)
			return -ENOSPC;
		strcpy(r->name, name);
	}
	r->asked = true;
	return 0;
}

int amp_rnames_init(struct amp_rnames *n, const struct amp_link_conf *conf)
{
	const struct amp_forward *f;

	n->name_max = (unsigned)count(&conf->publish) + 1 + AMP_RNAMES_MORE;
	n->names = calloc(n->name_max, sizeof(*n->names));
	n->services = calloc(count(&conf->expose) + 1, sizeof(*n->services));
	if (!n->names || !n->services)
		return -ENOMEM;
	(void)amp_rnames_want(n, AMP_RNAMES_DOOR);
	TAILQ_FOREACH(f, &conf->publish, entry)
	{
		if (f->service.name[0])
			(void)amp_rnames_want(n, f->service.name);
	}
	TAILQ_FOREACH(f, &conf->expose, entry)
	{
		if (!f->service.name[0]) /* before a chosen address takes its place */
			add_service(n, f);
	}
	add_service(n, NULL);
	TAILQ_FOREACH(f, &conf->expose, entry)
	{
		if (f->service.name[0])
			add_service(n, f);
	}
	return 0;
}

void amp_rnames_free(struct amp_rnames *n)
{
	free(n->names);
	free(n->services);
}

static void untold(struct amp_rnames *n)
{
	for (unsigned i = 0; i < n->service_cnt; i++)
		n->services[i].told = false;
}

void amp_rnames_forget(struct amp_rnames *n)
{
	for (unsigned i = 0; i < n->name_cnt; i++)
		n->names[i].known = false;
	untold(n);
}

bool amp_rnames_heard(struct amp_rnames *n, const char *name, uint32_t addr, bool gone,
		      uint32_t *left)
{
	struct amp_rname *r = by_name(n, name);

	*left = AMP_RPMSG_ADDR_ANY;
	if (!r && !gone && strlen(name) < sizeof(r->name)) {
		r = spare(n);
		if (r)
			strcpy(r->name, name);
	}
	if (!r)
		return false;
	if (gone && (!r->known || r->addr != addr))
		return r->asked; /* another one of that name has come since */
	if (r->asked && r->known && (gone || r->addr != addr))
		*left = r->addr;
	r->known = !gone;
	r->addr = addr;
	if (r == &n->names[0]) /* a new front door knows nothing */
		untold(n);
	return r->asked;
}

int amp_rnames_find(const struct amp_rnames *n, const struct amp_service *service,
		    uint32_t *addr)
{
	bool accept = service->kind == AMP_SERVICE_ACCEPT;
	const struct amp_rname *r;

	*addr = service->port;
	if (!accept && !service->name[0])
		return 0;
	r = accept ? amp_rnames_door(n) : by_name(n, service->name);
	if (!r || !r->known)
		return -ENOENT;
	*addr = r->addr;
	return 0;
}

void amp_rnames_tell(struct amp_rnames *n, struct amp_rstream *rs)
{
	if (!amp_rnames_door(n)->known)
		return;
	for (unsigned i = 0; i < n->service_cnt; i++) {
		struct amp_rservice *s = &n->services[i];

		if (s->told || !s->end.name)
			continue;
		if (amp_rstream_tell(rs, s->end.ept.addr, amp_rnames_door(n)->addr, s->end.name,
				     s->end.ept.addr, false))
			return;
		s->told = true;
	}
}

void amp_rnames_withdraw(struct amp_rnames *n, struct amp_rstream *rs)
{
	for (unsigned i = 0; i < n->service_cnt; i++) {
		struct amp_rservice *s = &n->services[i];

		if (s->told)
			(void)amp_rstream_tell(rs, s->end.ept.addr, amp_rnames_door(n)->addr,
					       s->end.name, s->end.ept.addr, true);
		s->told = false;
	}
}
