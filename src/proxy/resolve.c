// SPDX-License-Identifier: BSD-3-Clause
/*
 * The host's resolver, in libuv's threads. A link may have a few jobs there at once and
 * some waiting, so that a guest whose names resolve slowly does not take the threads from
 * the others.
 */
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "offload_inner.h"

TAILQ_HEAD(resolve_list, amp_resolve);

/* In threads, of every link: these cannot be stopped, only not be waited for. */
static struct resolve_list running = TAILQ_HEAD_INITIALIZER(running);
static unsigned busy;

static unsigned status_of(int uv_err)
{
	switch (uv_err) {
	case 0:
		return AMP_OFF_OK;
	case UV_EAI_AGAIN:
	case UV_ECANCELED:
	case UV_EAI_CANCELED:
		return AMP_OFF_EAI_AGAIN;
	case UV_EAI_FAMILY:
	case UV_EAI_ADDRFAMILY:
		return AMP_OFF_EAI_FAMILY;
	case UV_EAI_NONAME:
	case UV_EAI_NODATA:
		return AMP_OFF_EAI_NONAME;
	case UV_EAI_SERVICE:
		return AMP_OFF_EAI_SERVICE;
	case UV_EAI_SOCKTYPE:
		return AMP_OFF_EAI_SOCKTYPE;
	case UV_EAI_MEMORY:
	case UV_ENOMEM:
		return AMP_OFF_EAI_MEMORY;
	default:
		return AMP_OFF_EAI_FAIL;
	}
}

static void start_next(struct amp_offload *off);

static void finished(struct amp_resolve *r, unsigned status, const struct addrinfo *res)
{
	struct amp_offload *off = r->off;

	if (r->running) {
		TAILQ_REMOVE(&running, r, entry);
		busy--;
		if (off)
			off->resolving--;
	}
	if (r->done)
		r->done(r, status, res);
	free(r);
	if (off)
		start_next(off);
}

static void on_addr(uv_getaddrinfo_t *req, int err, struct addrinfo *res)
{
	finished(amp_container_of(req, struct amp_resolve, req.addr), status_of(err), res);
	uv_freeaddrinfo(res);
}

static void on_name(uv_getnameinfo_t *req, int err, const char *host, const char *service)
{
	struct amp_resolve *r = amp_container_of(req, struct amp_resolve, req.name);

	/* strings go through the job itself: there is no addrinfo to hand over */
	if (!err) {
		strncpy(r->host, host, sizeof(r->host) - 1);
		strncpy(r->service, service, sizeof(r->service) - 1);
	}
	finished(r, status_of(err), NULL);
}

static int run(struct amp_resolve *r)
{
	uv_loop_t *uv = amp_loop_uv();

	if (r->reverse)
		return uv_getnameinfo(uv, &r->req.name, on_name, (struct sockaddr *)&r->sa,
				      r->flags);
	return uv_getaddrinfo(uv, &r->req.addr, on_addr, r->host[0] ? r->host : NULL,
			      r->service[0] ? r->service : NULL, &r->hints);
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
			finished(r, status_of(err), NULL);
			return;
		}
		r->running = true;
		TAILQ_INSERT_TAIL(&running, r, entry);
		off->resolving++;
		busy++;
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

unsigned amp_resolve_busy(void)
{
	return busy;
}

void amp_resolve_drop(struct amp_resolve *r)
{
	free(r);
}
