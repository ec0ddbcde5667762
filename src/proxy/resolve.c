// SPDX-License-Identifier: BSD-3-Clause
/*
 * Names: the helper has the host's resolver (helper.h). A link may have a few jobs there at
 * once and some waiting, so that a guest whose names resolve slowly does not take the resolver's
 * threads from the others.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "helper.h"
#include "offload_inner.h"

TAILQ_HEAD(resolve_list, amp_resolve);

/* With the helper, of every link: these cannot be stopped, only not be waited for. */
static struct resolve_list running = TAILQ_HEAD_INITIALIZER(running);
static uint64_t last_id;

static unsigned status_of(int err)
{
	switch (err) {
	case 0:
		return AMP_OFF_OK;
	case EAI_AGAIN:
		return AMP_OFF_EAI_AGAIN;
	case EAI_FAMILY:
		return AMP_OFF_EAI_FAMILY;
	case EAI_NONAME:
		return AMP_OFF_EAI_NONAME;
	case EAI_SERVICE:
		return AMP_OFF_EAI_SERVICE;
	case EAI_SOCKTYPE:
		return AMP_OFF_EAI_SOCKTYPE;
	case EAI_MEMORY:
		return AMP_OFF_EAI_MEMORY;
	default:
		return AMP_OFF_EAI_FAIL;
	}
}

/* No such name is an answer, and the guest's affair. That there is none is the host's. */
static void tell(const struct amp_resolve *r, unsigned status, const char *why)
{
	struct amp_link *link = r->off->link;
	char text[sizeof(r->host)];
	const struct amp_log_field fields[] = {
		AMP_LOG_TEXT("event", "unresolved"),
		AMP_LOG_TEXT("link", link->conf->name),
		AMP_LOG_TEXT("name", r->reverse ? NULL : r->host),
		AMP_LOG_END,
	};

	if (status != AMP_OFF_EAI_AGAIN && status != AMP_OFF_EAI_FAIL &&
	    status != AMP_OFF_EAI_MEMORY)
		return;
	link->stats.unresolved++;
	amp_log_fields(&link->log_unresolved, AMP_LOG_WARN, fields,
		       "link %s: %s%s: no answer from this host's resolver: %s",
		       link->conf->name, r->reverse ? "the name of an address" : "name ",
		       amp_log_clean(text, sizeof(text), r->host, strlen(r->host)), why);
}

static void start_next(struct amp_offload *off);

static void finished(struct amp_resolve *r, unsigned status, const struct addrinfo *res)
{
	struct amp_offload *off = r->off;

	if (r->running) {
		TAILQ_REMOVE(&running, r, entry);
		if (off)
			off->resolving--;
	}
	if (r->done)
		r->done(r, status, res);
	free(r);
	if (off)
		start_next(off);
}

static void on_name(uint64_t id, const struct amp_helper_name *name)
{
	unsigned status = status_of(name->err);
	struct amp_resolve *r;

	TAILQ_FOREACH(r, &running, entry)
	{
		if (r->id == id)
			break;
	}
	if (!r)
		return;
	if (r->off)
		tell(r, status, gai_strerror(name->err));
	/* strings go through the job itself: there is no addrinfo to hand over */
	if (r->reverse && name->host && !name->err) {
		strncpy(r->host, name->host, sizeof(r->host) - 1);
		strncpy(r->service, name->service, sizeof(r->service) - 1);
	}
	finished(r, status, r->reverse ? NULL : name->res);
}

static int run(struct amp_resolve *r)
{
	amp_helper_on_name(on_name);
	r->id = ++last_id;
	if (r->reverse)
		return amp_helper_nameinfo(r->id, (struct sockaddr *)&r->sa,
					   r->sa.ss_family == AF_INET6
						   ? sizeof(struct sockaddr_in6)
						   : sizeof(struct sockaddr_in),
					   r->flags);
	return amp_helper_resolve(r->id, r->host, r->service, &r->hints);
}

static void start_next(struct amp_offload *off)
{
	struct amp_resolve *r;

	while (off->resolving < AMP_OFF_RESOLVING &&
	       (r = TAILQ_FIRST(&off->resolves)) != NULL) {
		int err;

		TAILQ_REMOVE(&off->resolves, r, entry);
		off->resolve_cnt--;
		err = run(r);
		if (err) {
			finished(r, AMP_OFF_EAI_AGAIN, NULL);
			return;
		}
		r->running = true;
		TAILQ_INSERT_TAIL(&running, r, entry);
		off->resolving++;
	}
}

struct amp_resolve *amp_resolve_new(void)
{
	return calloc(1, sizeof(struct amp_resolve));
}

int amp_resolve_start(struct amp_offload *off, struct amp_resolve *r)
{
	if (off->resolve_cnt >= AMP_OFF_RESOLVES) {
		off->link->stats.refused++;
		amp_log_some(&off->link->log_refused, AMP_LOG_WARN,
			     "link %s: a name is refused: %u are being resolved, %u wait",
			     off->link->conf->name, off->resolving, off->resolve_cnt);
		free(r);
		return -EAGAIN;
	}
	r->off = off;
	TAILQ_INSERT_TAIL(&off->resolves, r, entry);
	off->resolve_cnt++;
	start_next(off);
	return 0;
}

void amp_resolve_forget(struct amp_offload *off, void *owner)
{
	struct amp_resolve *r, *next;

	for (r = TAILQ_FIRST(&off->resolves); r; r = next) {
		next = TAILQ_NEXT(r, entry);
		if (owner && r->owner != owner)
			continue;
		TAILQ_REMOVE(&off->resolves, r, entry);
		off->resolve_cnt--;
		free(r);
	}
	TAILQ_FOREACH(r, &running, entry)
	{
		if (r->off != off || (owner && r->owner != owner))
			continue;
		r->done = NULL;
		if (!owner)
			r->off = NULL;
	}
}

void amp_resolve_fini(void)
{
	struct amp_resolve *r;

	while ((r = TAILQ_FIRST(&running)) != NULL) {
		TAILQ_REMOVE(&running, r, entry);
		free(r);
	}
}

void amp_resolve_drop(struct amp_resolve *r)
{
	free(r);
}
