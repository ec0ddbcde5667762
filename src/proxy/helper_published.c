// SPDX-License-Identifier: BSD-3-Clause
/*
 * What was published at run time, for the next worker and the next program: no file has it. The
 * worker says all of it whenever it changes. Its successor is forked from the helper and so has
 * the list; the next program has it from the environment. Neither believes it: a rule is read and
 * checked as one that a control client asks for.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "helper_life.h"
#include "helper_msg.h"

#define PUBLISHED_ENV "AMPSOCK_PUBLISHED" /* LINK\nRULE\n for each */
#define RULES_MAX     256u		  /* of a worker gone wrong */

struct published {
	TAILQ_ENTRY(published) entry;
	char link[AMP_LINK_NAME_MAX + 1];
	char rule[AMP_HELPER_RULE_MAX + 1];
};

static TAILQ_HEAD(published_head, published) all = TAILQ_HEAD_INITIALIZER(all);
static unsigned cnt;

static void forget(void)
{
	struct published *p;

	while ((p = TAILQ_FIRST(&all)) != NULL) {
		TAILQ_REMOVE(&all, p, entry);
		free(p);
	}
	cnt = 0;
}

/* False: there is no room for it, and none for what follows it. */
static bool add(const char *link, const char *rule)
{
	struct published *p = cnt < RULES_MAX && strlen(link) < sizeof(p->link) &&
					      strlen(rule) < sizeof(p->rule)
				      ? calloc(1, sizeof(*p))
				      : NULL;

	if (!p) {
		amp_log(AMP_LOG_WARN, "link %s: `%s`, published at run time, is not kept", link,
			rule);
		return false;
	}
	strcpy(p->link, link);
	strcpy(p->rule, rule);
	TAILQ_INSERT_TAIL(&all, p, entry);
	cnt++;
	return true;
}

void amp_helper_published_news(const struct amp_helper_req *req)
{
	static bool good;
	struct published *p = TAILQ_LAST(&all, published_head);

	if (req->arg[0] == AMP_PUBLISHED_NONE)
		forget();
	else if (req->arg[0] == AMP_PUBLISHED_RULE)
		good = add(req->name, req->path);
	else if (good && p && strlen(p->rule) + strlen(req->path) < sizeof(p->rule))
		strcat(p->rule, req->path);
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
		add(link, rule);
	free(text);
	unsetenv(PUBLISHED_ENV);
}
