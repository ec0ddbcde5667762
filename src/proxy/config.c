// SPDX-License-Identifier: BSD-3-Clause
/*
 * Configuration. inih takes the file apart; the values are rules (rule.c), so that
 * a line of the file and an option on the command line mean the same.
 */
#include <errno.h>
#include <ini.h>
#include <netinet/in.h>
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
	bool failed;
	bool proxy; /* in [proxy] */
	bool skip;  /* of a section whose head was wrong already */
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
	conf->confine = true;
	conf->lease_s = AMP_LEASE_S;
	amp_source_forget();
}

void amp_config_forward_free(struct amp_forward *fwd)
{
	free(fwd->text);
	free(fwd->where);
	free(fwd);
}

static void free_forwards(struct amp_forwards *list)
{
	struct amp_forward *f;

	while ((f = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, f, entry);
		amp_config_forward_free(f);
	}
}

void amp_link_conf_free(struct amp_link_conf *link)
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
	for (unsigned i = 0; i < AMP_LINK_KEYS; i++)
		free(link->key_where[i]);
	free(link->where);
	free(link);
}

void amp_config_free(struct amp_config *conf)
{
	struct amp_link_conf *link;

	amp_join_free_all(conf);
	while ((link = TAILQ_FIRST(&conf->links)) != NULL) {
		TAILQ_REMOVE(&conf->links, link, entry);
		amp_link_conf_free(link);
	}
	amp_source_forget();
}

bool amp_link_conf_same(const struct amp_link_conf *a, const struct amp_link_conf *b)
{
	/* both from calloc(): what lies between the fields is zero */
	return strcmp(a->name, b->name) == 0 && a->type == b->type &&
	       strcmp(a->path, b->path) == 0 && a->cid == b->cid &&
	       strcmp(a->sysfs, b->sysfs) == 0 && memcmp(&a->shm, &b->shm, sizeof(a->shm)) == 0;
}

struct amp_link_conf *amp_config_new_link(struct amp_config *conf, const char *where)
{
	struct amp_link_conf *link = amp_config_must(calloc(1, sizeof(*link)));

	TAILQ_INIT(&link->allow);
	TAILQ_INIT(&link->publish);
	TAILQ_INIT(&link->expose);
	memcpy(link->limit, amp_limit_default, sizeof(link->limit));
	link->where = amp_config_must(strdup(where));
	TAILQ_INSERT_TAIL(&conf->links, link, entry);
	return link;
}

static int complain(FILE *err, const char *where, const char *what, const char *text)
{
	fprintf(err, "%s: %s", where, what);
	if (text)
		fprintf(err, ", found `%s`", text);
	fputc('\n', err);
	return -EINVAL;
}

int amp_config_complain(FILE *err, const char *where, const char *what, const char *text)
{
	complain(err, where, what, text);
	amp_source_show(err, where, text);
	return -EINVAL;
}

int amp_config_complain_key(FILE *err, const char *where, const char *what, const char *key)
{
	complain(err, where, what, key);
	amp_source_show_key(err, where, key);
	return -EINVAL;
}

static int bad_rule(const char *where, const char *key, const struct amp_rule_error *e,
		    const char *text, FILE *err)
{
	fprintf(err, "%s: %s: %s\n", where, key, e->msg);
	amp_source_show_at(err, where, text, e->at);
	return -EINVAL;
}

static int add_allow(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	struct amp_rule *rule = amp_config_must(malloc(sizeof(*rule)));
	struct amp_rule_error e;

	if (amp_rule_parse(text, rule, &e)) {
		free(rule);
		return bad_rule(where, "allow", &e, text, err);
	}
	rule->text = amp_config_must(strdup(text));
	rule->where = amp_config_must(strdup(where));
	TAILQ_INSERT_TAIL(&link->allow, rule, entry);
	return 0;
}

struct amp_forward *amp_config_forward(const struct amp_link_conf *link, bool publish,
				       const char *text, const char *where, FILE *err)
{
	struct amp_forward *fwd = amp_config_must(malloc(sizeof(*fwd)));
	struct amp_forward *other;
	struct amp_rule_error e;
	char service[AMP_SERVICE_TEXT];

	if ((publish ? amp_publish_parse : amp_expose_parse)(text, fwd, &e)) {
		free(fwd);
		bad_rule(where, publish ? "publish" : "expose", &e, text, err);
		return NULL;
	}
	TAILQ_FOREACH(other, &link->expose, entry)
	{
		if (!publish && amp_service_same(&other->service, &fwd->service)) {
			fprintf(err, "%s: expose: %s is exposed already at %s\n", where,
				amp_service_text(&fwd->service, service), other->where);
			amp_source_show(err, where, service);
			free(fwd);
			return NULL;
		}
	}
	fwd->text = amp_config_must(strdup(text));
	fwd->where = amp_config_must(strdup(where));
	return fwd;
}

static int link_rule(struct amp_link_conf *link, const char *key, const char *text,
		     const char *where, FILE *err)
{
	bool publish = key[0] == 'p';
	struct amp_forward *fwd;

	if (strcmp(key, "allow") == 0)
		return add_allow(link, text, where, err);
	if (strcmp(key, "limit") == 0)
		return amp_config_limit(link, text, where, err);
	fwd = amp_config_forward(link, publish, text, where, err);
	if (!fwd)
		return -EINVAL;
	if (publish)
		TAILQ_INSERT_TAIL(&link->publish, fwd, entry);
	else
		TAILQ_INSERT_TAIL(&link->expose, fwd, entry);
	return 0;
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

static void file_section(struct file *f, const char *section, const char *where)
{
	struct amp_link_conf *link;
	const char *name;

	f->link = NULL;
	f->proxy = strcmp(section, "proxy") == 0;
	f->skip = false;
	if (f->proxy)
		return;
	f->skip = true;
	f->failed = true;
	if (strncmp(section, "link ", 5)) {
		amp_config_complain(f->err, where, "expected [proxy] or [link NAME]", section);
		return;
	}
	name = section + 5 + strspn(section + 5, " \t");
	TAILQ_FOREACH(link, &f->conf->links, entry)
	{
		if (strcmp(link->name, name))
			continue;
		fprintf(f->err, "%s: [link %s] is there already, from %s\n", where, name,
			link->where);
		amp_source_show(f->err, where, name);
		return;
	}
	f->link = amp_config_new_link(f->conf, where);
	f->link->named = true;
	if (amp_link_set_name(f->link, name, where, f->err)) {
		f->link->bad = true;
		return;
	}
	f->skip = false;
	f->failed = false;
}

/* What kind of line it is decides inih, too; but only of the first wrong one, and of sections
 * that have keys. True: it is for inih. */
static bool look_at_line(struct file *f, char *text, const char *where)
{
	char *end = text + strcspn(text, "\r\n");
	bool failed = f->failed;

	*end = 0;
	if (!*text || *text == '#' || *text == ';')
		return true;
	if (*text == '[') {
		end = strchr(text, ']');
		if (!end) {
			amp_config_complain(f->err, where,
					    "expected `]` behind a section's name", NULL);
			f->failed = f->skip = true;
			return false;
		}
		*end = 0;
		file_section(f, text + 1, where);
		f->failed |= failed;
		return false;
	}
	if (strchr(text, '='))
		return true;
	amp_config_complain(f->err, where,
			    "expected [section], key = value, or a comment that begins with # "
			    "or ;",
			    NULL);
	f->failed = true;
	return false;
}

/* A line longer than inih takes: the rest of it goes unread. */
static bool too_long(struct file *f, const char *str, const char *where)
{
	size_t len = strlen(str);
	int ch;

	if (len <= INI_LINE_LEN || str[len - 1] == '\n' || feof(f->in))
		return false;
	while ((ch = fgetc(f->in)) != EOF && ch != '\n')
		;
	fprintf(f->err, "%s: expected a line of at most %d bytes\n", where, INI_LINE_LEN);
	f->failed = true;
	return true;
}

/*
 * fgets() that counts, keeps the line for complaints, and refuses what inih would cut. Blanks
 * before a key are left out: to inih such a line is more of the value before it.
 */
static char *read_line(char *str, int num, void *stream)
{
	struct file *f = stream;
	char *r = fgets(str, num, f->in);
	char where[300];
	size_t blanks;

	if (!r)
		return NULL;
	f->line++;
	snprintf(where, sizeof(where), "%s:%d", f->path, f->line);
	amp_source_add(where, str);
	if (f->line == 1 && strncmp(str, "\xef\xbb\xbf", 3) == 0)
		memmove(str, str + 3, strlen(str + 3) + 1);
	blanks = strspn(str, " \t\r\n");
	memmove(str, str + blanks, strlen(str + blanks) + 1);
	if (too_long(f, str, where) || !look_at_line(f, str, where))
		strcpy(str, "#");
	return r;
}

static int unknown_key(struct file *f, const char *name, const char *where)
{
	static const char *const rules[] = {"allow", "publish", "expose", "join", "limit"};
	struct amp_nearest near = {NULL, 0};
	char what[400];

	amp_link_nearest_key(name, &near);
	for (unsigned i = 0; i < sizeof(rules) / sizeof(*rules); i++)
		amp_nearest(name, rules[i], &near);
	snprintf(what, sizeof(what),
		 "expected one of the keys type, path, %s, allow, publish, expose, join, "
		 "limit%s%s%s",
		 amp_link_key_list(0), near.word ? " (did you mean `" : "",
		 near.word ? near.word : "", near.word ? "`?)" : "");
	return amp_config_complain_key(f->err, where, what, name);
}

static int link_key(struct file *f, const char *name, const char *value, const char *where)
{
	int r;

	if (strcmp(name, "allow") == 0 || strcmp(name, "publish") == 0 ||
	    strcmp(name, "expose") == 0 || strcmp(name, "limit") == 0)
		return link_rule(f->link, name, value, where, f->err);
	if (strcmp(name, "join") == 0)
		return amp_join_add(f->conf, f->link, value, where, f->err);
	r = amp_link_set_key(f->link, name, value, where, f->err);
	return r <= 0 ? r : unknown_key(f, name, where);
}

/* inih calls this for each key. Returns what inih wants: 1 good. */
static int file_key(void *user, const char *section, const char *name, const char *value)
{
	struct file *f = user;
	char where[300];
	int r = 0;

	(void)section; /* read_line() has seen it */
	snprintf(where, sizeof(where), "%s:%d", f->path, f->line);
	if (f->skip)
		return 1;
	if (f->link)
		r = link_key(f, name, value, where);
	else if (f->proxy)
		r = amp_proxy_set_key(f->conf, name, value, where, false, f->err);
	else
		r = amp_config_complain_key(
			f->err, where, "expected a key inside of [proxy] or [link NAME]", name);
	if (r) {
		f->failed = true;
		if (f->link)
			f->link->bad = true;
	}
	return 1;
}

int amp_config_stream(struct amp_config *conf, FILE *in, const char *path, FILE *err)
{
	struct file f = {.conf = conf, .path = path, .err = err, .in = in};
	int r = ini_parse_stream(read_line, &f, file_key, &f);

	if (r > 0 && !f.failed) /* what look_at_line() took for good */
		fprintf(err, "%s:%d: expected [section] or key = value\n", path, r);
	if (ferror(in)) { /* a directory, a disk's error: what was read may be half of it */
		fprintf(err, "%s: cannot be read: %s\n", path, strerror(errno));
		f.failed = true;
	}
	conf->bad |= r || f.failed;
	return r || f.failed ? -EINVAL : 0;
}

int amp_config_file(struct amp_config *conf, const char *path, FILE *err)
{
	FILE *in = fopen(path, "re");
	int r;

	if (!in) {
		fprintf(err, "%s: %s\n", path, strerror(errno));
		conf->bad = true;
		return -EINVAL;
	}
	r = amp_config_stream(conf, in, path, err);
	fclose(in);
	return r;
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
		fprintf(err, "%s: publish: this address is published already at %s\n", b->where,
			a->where);
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
