// SPDX-License-Identifier: BSD-3-Clause
/*
 * Configuration. inih takes the file apart; the values are rules (rule.c), so that
 * a line of the file and an option on the command line mean the same.
 */
#include <bsd/string.h>
#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

#include "config_inner.h"

/* inih's own: INI_MAX_LINE less line end and NUL. A longer line would be cut in two. */
#define INI_LINE_LEN (INI_MAX_LINE - 3)

struct file {
	struct amp_config *conf;
	struct amp_link_conf *link; /* section being read */
	FILE *in;
	FILE *err;
	const char *path;
	int line;
	int section_line;
	char section[64];
	bool failed;
	bool skip; /* of a section whose head was wrong already */
};

void *amp_config_must(void *ptr)
{
	if (!ptr) {
		amp_log(AMP_LOG_ERROR, "out of memory while reading the configuration");
		exit(1);
	}
	return ptr;
}

void amp_config_init(struct amp_config *conf)
{
	memset(conf, 0, sizeof(*conf));
	TAILQ_INIT(&conf->links);
	TAILQ_INIT(&conf->joins);
	conf->log_level = AMP_LOG_INFO;
}

static void free_forwards(struct amp_forwards *list)
{
	struct amp_forward *f;

	while ((f = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, f, entry);
		free(f->text);
		free(f->where);
		free(f);
	}
}

static void free_link(struct amp_link_conf *link)
{
	struct amp_rule *r;

	while ((r = TAILQ_FIRST(&link->allow)) != NULL) {
		TAILQ_REMOVE(&link->allow, r, entry);
		free(r->text);
		free(r->where);
		free(r);
	}
	free_forwards(&link->publish);
	free_forwards(&link->expose);
	free(link->where);
	free(link);
}

void amp_config_free(struct amp_config *conf)
{
	struct amp_link_conf *link;

	amp_join_free_all(conf);
	while ((link = TAILQ_FIRST(&conf->links)) != NULL) {
		TAILQ_REMOVE(&conf->links, link, entry);
		free_link(link);
	}
}

struct amp_link_conf *amp_config_new_link(struct amp_config *conf, const char *where)
{
	struct amp_link_conf *link = amp_config_must(calloc(1, sizeof(*link)));

	TAILQ_INIT(&link->allow);
	TAILQ_INIT(&link->publish);
	TAILQ_INIT(&link->expose);
	link->where = amp_config_must(strdup(where));
	TAILQ_INSERT_TAIL(&conf->links, link, entry);
	return link;
}

int amp_config_complain(FILE *err, const char *where, const char *what, const char *text)
{
	fprintf(err, "%s: %s", where, what);
	if (text)
		fprintf(err, ", found `%s`", text);
	fputc('\n', err);
	return -EINVAL;
}

static int bad_rule(const char *where, const char *key, const struct amp_rule_error *e,
		    FILE *err)
{
	fprintf(err, "%s: %s: %s\n", where, key, e->msg);
	return -EINVAL;
}

static int add_allow(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	struct amp_rule *rule = amp_config_must(malloc(sizeof(*rule)));
	struct amp_rule_error e;

	if (amp_rule_parse(text, rule, &e)) {
		free(rule);
		return bad_rule(where, "allow", &e, err);
	}
	rule->text = amp_config_must(strdup(text));
	rule->where = amp_config_must(strdup(where));
	TAILQ_INSERT_TAIL(&link->allow, rule, entry);
	return 0;
}

static int add_forward(struct amp_link_conf *link, bool publish, const char *text,
		       const char *where, FILE *err)
{
	struct amp_forward *fwd = amp_config_must(malloc(sizeof(*fwd)));
	struct amp_forward *other;
	struct amp_rule_error e;
	char service[AMP_SERVICE_TEXT];

	if ((publish ? amp_publish_parse : amp_expose_parse)(text, fwd, &e)) {
		free(fwd);
		return bad_rule(where, publish ? "publish" : "expose", &e, err);
	}
	TAILQ_FOREACH(other, &link->expose, entry)
	{
		if (!publish && amp_service_same(&other->service, &fwd->service)) {
			fprintf(err, "%s: expose: %s is exposed already at %s\n", where,
				amp_service_text(&fwd->service, service), other->where);
			free(fwd);
			return -EINVAL;
		}
	}
	fwd->text = amp_config_must(strdup(text));
	fwd->where = amp_config_must(strdup(where));
	if (publish)
		TAILQ_INSERT_TAIL(&link->publish, fwd, entry);
	else
		TAILQ_INSERT_TAIL(&link->expose, fwd, entry);
	return 0;
}

static int link_rule(struct amp_link_conf *link, const char *key, const char *text,
		     const char *where, FILE *err)
{
	if (strcmp(key, "allow") == 0)
		return add_allow(link, text, where, err);
	return add_forward(link, key[0] == 'p', text, where, err);
}

int amp_config_rule(struct amp_config *conf, const char *key, const char *text,
		    const char *where, FILE *err)
{
	struct amp_link_conf *link = TAILQ_LAST(&conf->links, amp_link_confs);

	if (!link)
		return amp_config_complain(
			err, where,
			"expected a --link before it: rules belong to the last link given",
			NULL);
	return link_rule(link, key, text, where, err);
}

/* ---- the file ---- */

/* fgets() that counts, and refuses what inih would cut. */
static char *read_line(char *str, int num, void *stream)
{
	struct file *f = stream;
	char *r = fgets(str, num, f->in);
	size_t len;

	if (!r)
		return NULL;
	f->line++;
	len = strlen(str);
	if (len > INI_LINE_LEN && str[len - 1] != '\n' && !feof(f->in)) {
		int ch;

		fprintf(f->err, "%s:%d: expected a line of at most %d bytes\n", f->path,
			f->line, INI_LINE_LEN);
		f->failed = true;
		while ((ch = fgetc(f->in)) != EOF && ch != '\n')
			;
		strcpy(str, "#\n");
	}
	return r;
}

static int file_section(struct file *f, const char *section, const char *where)
{
	struct amp_link_conf *link;

	strlcpy(f->section, section, sizeof(f->section));
	f->link = NULL;
	if (strcmp(section, "proxy") == 0)
		return 0;
	if (strncmp(section, "link ", 5))
		return amp_config_complain(f->err, where,
					   "expected a key inside of [proxy] or [link NAME]",
					   section[0] ? section : NULL);
	section += 5 + strspn(section + 5, " \t");
	TAILQ_FOREACH(link, &f->conf->links, entry)
	{
		if (strcmp(link->name, section) == 0) {
			fprintf(f->err, "%s: [link %s] is there already, from %s\n", where,
				section, link->where);
			return -EINVAL;
		}
	}
	f->link = amp_config_new_link(f->conf, where);
	f->link->named = true;
	return amp_link_set_name(f->link, section, where, f->err);
}

static int link_key(struct file *f, const char *name, const char *value, const char *where)
{
	char what[256];
	int r;

	if (strcmp(name, "allow") == 0 || strcmp(name, "publish") == 0 ||
	    strcmp(name, "expose") == 0)
		return link_rule(f->link, name, value, where, f->err);
	if (strcmp(name, "join") == 0)
		return amp_join_add(f->conf, f->link, value, where, f->err);
	r = amp_link_set_key(f->link, name, value, where, f->err);
	if (r <= 0)
		return r;
	snprintf(what, sizeof(what),
		 "expected one of the keys type, path, %s, allow, publish, expose, join",
		 amp_link_key_list(0));
	return amp_config_complain(f->err, where, what, name);
}

static int proxy_key(struct file *f, const char *name, const char *value, const char *where)
{
	if (strcmp(name, "log-level") == 0) {
		if (amp_log_level_parse(value, &f->conf->log_level))
			return amp_config_complain(
				f->err, where, "expected error, warning, info or debug", value);
		return 0;
	}
	return amp_config_complain(f->err, where, "expected the key log-level in [proxy]",
				   name);
}

/* inih calls this for each key. Returns what inih wants: 1 good. */
static int file_key(void *user, const char *section, const char *name, const char *value)
{
	struct file *f = user;
	char where[300];
	int r = 0;

	snprintf(where, sizeof(where), "%s:%d", f->path, f->line);
	if (strcmp(section, f->section) || !f->section[0]) {
		r = file_section(f, section, where);
		f->skip = r != 0;
	}
	if (!f->skip && f->link)
		r = link_key(f, name, value, where);
	else if (!f->skip)
		r = proxy_key(f, name, value, where);
	if (r)
		f->failed = true;
	return 1;
}

int amp_config_file(struct amp_config *conf, const char *path, FILE *err)
{
	struct file f = {.conf = conf, .path = path, .err = err};
	int r;

	f.in = fopen(path, "re");
	if (!f.in) {
		fprintf(err, "%s: %s\n", path, strerror(errno));
		return -EINVAL;
	}
	r = ini_parse_stream(read_line, &f, file_key, &f);
	fclose(f.in);
	if (r > 0)
		fprintf(err,
			"%s:%d: expected [section], key = value, or a comment that begins with "
			"# or ;\n",
			path, r);
	return r || f.failed ? -EINVAL : 0;
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

int amp_config_check(struct amp_config *conf, FILE *err)
{
	const struct amp_link_conf *a, *b;
	int r = 0;

	if (TAILQ_EMPTY(&conf->links)) {
		fprintf(err, "nothing to do: expected --link or a [link NAME] section in "
			     "--config\n");
		return -EINVAL;
	}
	TAILQ_FOREACH(a, &conf->links, entry)
	{
		if (amp_link_check(a, err))
			r = -EINVAL;
		for (b = TAILQ_NEXT(a, entry); b; b = TAILQ_NEXT(b, entry)) {
			const char *same = clash(a, b);

			if (!same)
				continue;
			fprintf(err, "%s: link %s has the same %s as link %s at %s%s\n",
				b->where, b->name, same, a->name, a->where,
				strcmp(same, "name") == 0 && !(a->named && b->named)
					? ": one of them is called so because it was given no "
					  "name: expected name=NAME there"
					: "");
			r = -EINVAL;
		}
	}
	if (amp_join_check(conf, err))
		r = -EINVAL;
	return r;
}
