// SPDX-License-Identifier: BSD-3-Clause
/* What a reload does not allow any more, of all sessions of a link. */
#include <errno.h>

#include "offload_inner.h"

/* The guest hears why. */
static void cut(struct amp_osock *s)
{
	struct amp_session *ses = s->ses;

	ses->off->link->stats.cut++;
	amp_session_closed(ses, s->id, EACCES);
	if (!ses->over || ses == &ses->off->left) /* else it went with the others */
		s->ops->kill(s);
}

/* Calls end() for every socket that asks() says no to. What end() does may end others, too. */
static void sweep(struct amp_offload *off, bool (*asks)(struct amp_osock *s, const void *arg),
		  const void *arg)
{
	struct amp_session *ses, *next;
	struct amp_osock *s;

	for (ses = &off->left; ses; ses = next) {
		next = ses == &off->left ? TAILQ_FIRST(&off->sessions) : TAILQ_NEXT(ses, entry);
		do {
			TAILQ_FOREACH(s, &ses->socks, entry)
			{
				if (!asks(s, arg))
					break;
			}
			if (s)
				cut(s);
		} while (s && (!ses->over || ses == &off->left));
	}
}

static bool still_allowed(struct amp_osock *s, const void *arg)
{
	(void)arg;
	return !s->ops->allowed || s->ops->allowed(s);
}

static bool elsewhere(struct amp_osock *s, const void *arg)
{
	return s->virt != arg;
}

void amp_offload_rules(struct amp_offload *off)
{
	amp_policy_forget(off);
	sweep(off, still_allowed, NULL);
}

int amp_offload_unpublish(struct amp_offload *off, const struct amp_forward *fwd)
{
	struct amp_virtual *v;

	TAILQ_FOREACH(v, &off->virtuals, entry)
	{
		if (v->fwd == fwd)
			break;
	}
	if (!v)
		return -1;
	amp_virtual_leave(v);
	sweep(off, elsewhere, v);
	return amp_virtual_free(v);
}
