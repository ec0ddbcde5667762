// SPDX-License-Identifier: BSD-3-Clause
/* Publish rules that come and go while the proxy runs: reload.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config_inner.h"
#include "control.h"
#include "helper.h"
#include "listen.h"
#include "publish.h"
#include "reload_inner.h"

#define RUN_TIME "run time" /* in the place of FILE:LINE */

/* What conf->publish points to, to be changed. */
static struct amp_link_conf *conf_of(struct amp_link *link)
{
	return (struct amp_link_conf *)(uintptr_t)link->conf;
}

/* What was written to err, without its last line end, into why. */
static int told(FILE *err, char **text, int r, char *why, size_t len)
{
	fclose(err);
	if (r && *text && **text) {
		(*text)[strlen(*text) - 1] = 0;
		snprintf(why, len, "%s", *text);
	}
	free(*text);
	return r;
}

/* A path may have any of them, but no file and no list of the helper's can. */
static int check_text(const char *text, FILE *err)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' && *text != '\t') {
			fprintf(err, "expected a rule without control characters\n");
			return -EINVAL;
		}
	}
	return 0;
}

static int add(struct amp_link *link, const char *text, FILE *err)
{
	struct amp_forward *fwd = amp_config_forward(link->conf, true, text, RUN_TIME, err);
	int r;

	if (!fwd)
		return -EINVAL;
	r = check_text(text, err);
	if (r)
		goto out;
	r = amp_link_check_forward(link->conf, fwd, err);
	if (!r)
		r = amp_config_check_publish(amp_config_running(), link->conf, fwd, err);
	if (r)
		goto out;
	fwd->runtime = true;
	if (link->ops->wanted)
		r = link->ops->wanted(link, fwd);
	if (!r)
		r = amp_publish_one(link, fwd);
	if (r)
		fprintf(err, "cannot listen: %s\n", amp_listen_why(&fwd->target, r));
out:
	if (r)
		amp_config_forward_free(fwd);
	else
		TAILQ_INSERT_TAIL(&conf_of(link)->publish, fwd, entry);
	return r;
}

static int open_one(struct amp_link *link, const char *text, char *why, size_t len)
{
	char *said = NULL;
	size_t said_len;
	FILE *err = open_memstream(&said, &said_len);
	int r;

	why[0] = 0;
	if (!err)
		return -ENOMEM;
	r = add(link, text, err);
	if (!r)
		amp_log(AMP_LOG_INFO, "link %s: publish %s: added at run time",
			link->conf->name, text);
	return told(err, &said, r, why, len);
}

int amp_publish_add(struct amp_link *link, const char *text, char *why, size_t len)
{
	int r = open_one(link, text, why, len);

	if (!r)
		amp_publish_tell();
	return r;
}

/* ---- and after this process ---- */

static void tell_all(void)
{
	const struct amp_forward *fwd;
	const struct amp_link *l;

	TAILQ_FOREACH(l, amp_links_all(), entry)
	{
		TAILQ_FOREACH(fwd, &l->conf->publish, entry)
		{
			if (fwd->runtime)
				amp_helper_published(l->conf->name, fwd->text);
		}
	}
}

void amp_publish_tell(void)
{
	amp_helper_published_tell(tell_all);
}

static void again(const char *link, const char *rule)
{
	char why[AMP_WHY_LEN] = "there is no such link";
	struct amp_link *l;

	TAILQ_FOREACH(l, amp_links_all(), entry)
	{
		if (strcmp(l->conf->name, link) == 0)
			break;
	}
	if (!l || open_one(l, rule, why, sizeof(why)))
		amp_log(AMP_LOG_WARN, "link %s: `%s`, published at run time, is no more: %.*s",
			link, rule, (int)strcspn(why, "\n"), why);
}

void amp_publish_again(void)
{
	amp_helper_published_each(again);
	amp_publish_tell();
}

/* ---- and away ---- */

static struct amp_forward *find(struct amp_link *link, const char *text)
{
	struct amp_forward want, *fwd;
	struct amp_rule_error e;
	bool rule = amp_publish_parse(text, &want, &e) == 0;
	uint32_t id = 0;

	if (!rule && !amp_parse_u32(text, UINT32_MAX, &id))
		return NULL;
	TAILQ_FOREACH(fwd, &conf_of(link)->publish, entry)
	{
		if (rule ? amp_target_same(&fwd->target, &want.target) &&
				    amp_service_same(&fwd->service, &want.service)
			 : id && fwd->id == id)
			break;
	}
	return fwd;
}

struct deleted {
	struct amp_grave grave;
	struct amp_forward *fwd;
};

static void free_deleted(struct amp_grave *grave)
{
	struct deleted *d = amp_container_of(grave, struct deleted, grave);

	amp_config_forward_free(d->fwd);
	free(d);
}

int amp_publish_del(struct amp_link *link, const char *text, char *why, size_t len)
{
	struct amp_forward *fwd = find(link, text);
	struct deleted *d;

	why[0] = 0;
	if (!fwd) {
		snprintf(why, len,
			 "link %s publishes no such rule: expected its number, or its text as "
			 "it was given",
			 link->conf->name);
		return -ENOENT;
	}
	d = malloc(sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->fwd = fwd;
	amp_publish_end(link, fwd, false);
	TAILQ_REMOVE(&conf_of(link)->publish, fwd, entry);
	amp_log(AMP_LOG_INFO, "link %s: publish %s (%s): deleted at run time", link->conf->name,
		fwd->text, fwd->where);
	amp_publish_tell();
	amp_bury(&d->grave, free_deleted);
	return 0;
}
