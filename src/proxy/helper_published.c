// SPDX-License-Identifier: BSD-3-Clause
/*
 * What was published at run time, for the next worker and the next program: no file has it. The
 * worker says all of it whenever it changes, and that takes the place of what it said before when it
 * is whole. Its successor is forked from the helper and so has the list; the next program has it
 * from the environment. Neither believes it: a rule is read and checked as one that a control
 * client asks for.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "helper_life.h"
#include "helper_msg.h"

#define PUBLISHED_ENV "AMPSOCK_PUBLISHED" /* LINK\nRULE\n for each */
/* Of a worker gone wrong. A variable that is longer than 128 KiB lets no exec() pass. */
#define RULES_MAX 256u
#define TEXT_MAX  65536u

struct published {
	TAILQ_ENTRY(published) entry;
	char link[AMP_LINK_NAME_MAX + 1];
	char rule[AMP_HELPER_RULE_MAX + 1];
};

TAILQ_HEAD(published_head, published);
static struct published_head all = TAILQ_HEAD_INITIALIZER(all);	    /* what holds */
static struct published_head fresh = TAILQ_HEAD_INITIALIZER(fresh); /* what is being said */
static unsigned cnt;						    /* of the list that grows */
static size_t text_len; /* with it, in PUBLISHED_ENV */
static struct amp_log_rate log_room;

static void forget(struct published_head *list)
{
	struct published *p;

	while ((p = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, p, entry);
		free(p);
	}
	cnt = 0;
	text_len = 0;
}

/* A rule, or more of the last one. False: there is no room for it, and none for what follows it. */
static bool add(struct published_head *list, const char *link, const char *rule, bool more)
{
	size_t len = strlen(rule) + (more ? 0 : strlen(link) + 2);
	struct published *p = more ? TAILQ_LAST(list, published_head) : NULL;

	if (!more && cnt < RULES_MAX && strlen(link) < sizeof(p->link))
		p = calloc(1, sizeof(*p));
	if (!p || len > TEXT_MAX - text_len ||
	    strlen(p->rule) + strlen(rule) >= sizeof(p->rule)) {
		amp_log_some(&log_room, AMP_LOG_WARN,
			     "link %s: `%s`, published at run time, is not kept: there is no "
			     "room",
			     link, p && more ? p->rule : rule);
		if (p && more)
			TAILQ_REMOVE(list, p, entry);
		free(p);
		return false;
	}
	text_len += len;
	strcat(p->rule, rule);
	if (more)
		return true;
	strcpy(p->link, link);
	TAILQ_INSERT_TAIL(list, p, entry);
	cnt++;
	return true;
}

void amp_helper_published_news(const struct amp_helper_req *req, bool control)
{
	static bool good;

	switch (control ? req->arg[0] : AMP_PUBLISHED_BEGIN) {
	case AMP_PUBLISHED_BEGIN:
		forget(&fresh);
		good = false; /* there is none to say more of */
		if (!control) /* a worker that is taken over wants to outlive itself */
			forget(&all);
		break;
	case AMP_PUBLISHED_ALL:
		forget(&all);
		TAILQ_CONCAT(&all, &fresh, entry);
		break;
	default:
		if (good || req->arg[0] == AMP_PUBLISHED_RULE)
			good = add(&fresh, req->name, req->path,
				   req->arg[0] == AMP_PUBLISHED_MORE);
	}
}

void amp_helper_published_each(void (*fn)(const char *link, const char *rule))
{
	const struct published *p;

	TAILQ_FOREACH(p, &all, entry)
	fn(p->link, p->rule);
}

int amp_helper_published_save(void)
{
	size_t len = 1;
	struct published *p;
	char *text, *to;
	int r;

	TAILQ_FOREACH(p, &all, entry)
	len += strlen(p->link) + strlen(p->rule) + 2;
	if (len == 1)
		return 0;
	text = to = calloc(1, len);
	if (!text)
		return -1;
	TAILQ_FOREACH(p, &all, entry)
	to += sprintf(to, "%s\n%s\n", p->link, p->rule);
	r = setenv(PUBLISHED_ENV, text, 1);
	free(text);
	return r;
}

void amp_helper_published_unsave(void)
{
	unsetenv(PUBLISHED_ENV);
}

void amp_helper_published_load(void)
{
	char *text = getenv(PUBLISHED_ENV), *rest, *link, *rule;

	text = text ? strdup(text) : NULL;
	rest = text;
	while ((link = strsep(&rest, "\n")) != NULL && (rule = strsep(&rest, "\n")) != NULL)
		add(&all, link, rule, false);
	free(text);
	unsetenv(PUBLISHED_ENV);
}
