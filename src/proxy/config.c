// SPDX-License-Identifier: BSD-3-Clause
/*
 * Configuration. inih takes the file apart; the values are rules (rule.c), so that
 * a line of the file and an option on the command line mean the same.
 */
#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

#include "config_inner.h"

/* inih's own: INI_MAX_LINE less line end and NUL. It would cut a longer line in two. */
#define INI_LINE_LEN ((size_t)INI_MAX_LINE - 3)
#define LINE_LEN     1023u

struct file {
	struct amp_config *conf;
	struct amp_link_conf *link; /* section being read */
	FILE *in;
	FILE *err;
	const char *path;
	int line;
	size_t len; /* so far */
	bool failed;
	bool proxy; /* in [proxy] */
	bool skip;  /* of a section whose head was wrong already */
	bool aside; /* inih has the key alone: set_aside() */
	char value[LINE_LEN + 1];
};

int amp_config_no_memory(FILE *err, const char *where)
{
	fprintf(err, "%s: out of memory\n", where);
	return -ENOMEM;
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

static void rule_free(struct amp_rule *r)
{
	free(r->text);
	free(r->where);
	free(r);
}

void amp_link_conf_free(struct amp_link_conf *link)
{
	struct amp_rule *r;

	while ((r = TAILQ_FIRST(&link->allow)) != NULL) {
		TAILQ_REMOVE(&link->allow, r, entry);
		rule_free(r);
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
	struct amp_link_conf *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	TAILQ_INIT(&link->allow);
	TAILQ_INIT(&link->publish);
	TAILQ_INIT(&link->expose);
	memcpy(link->limit, amp_limit_default, sizeof(link->limit));
	link->where = strdup(where);
	if (!link->where) {
		free(link);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&conf->links, link, entry);
	return link;
}

void amp_config_at(FILE *err, const char *where, const char *key)
{
	bool option = strncmp(where, "--", 2) == 0 && strcmp(where + 2, key) == 0;

	fprintf(err, "%s: %s%s", where, option ? "" : key, option ? "" : ": ");
}

/* what may begin with the key, as for a rule of a file: an option's name says it already. */
static int complain(FILE *err, const char *where, const char *what, const char *text)
{
	size_t key = strncmp(where, "--", 2) ? 0 : strlen(where + 2);

	if (key && strncmp(what, where + 2, key) == 0 && strncmp(what + key, ": ", 2) == 0)
		what += key + 2;
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
	amp_config_at(err, where, key);
	fprintf(err, "%s\n", e->msg);
	amp_source_show_at(err, where, text, e->at);
	return -EINVAL;
}

static int add_allow(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	struct amp_rule *rule = malloc(sizeof(*rule));
	struct amp_rule_error e;

	if (!rule)
		return amp_config_no_memory(err, where);
	if (amp_rule_parse(text, rule, &e)) {
		free(rule);
		return bad_rule(where, "allow", &e, text, err);
	}
	rule->text = strdup(text);
	rule->where = strdup(where);
	if (!rule->text || !rule->where) {
		rule_free(rule);
		return amp_config_no_memory(err, where);
	}
	TAILQ_INSERT_TAIL(&link->allow, rule, entry);
	return 0;
}

struct amp_forward *amp_config_forward(const struct amp_link_conf *link, bool publish,
				       const char *text, const char *where, FILE *err)
{
	struct amp_forward *fwd = malloc(sizeof(*fwd));
	struct amp_forward *other;
	struct amp_rule_error e;
	char service[AMP_SERVICE_TEXT];

	if (!fwd) {
		amp_config_no_memory(err, where);
		return NULL;
	}
	if ((publish ? amp_publish_parse : amp_expose_parse)(text, fwd, &e)) {
		free(fwd);
		bad_rule(where, publish ? "publish" : "expose", &e, text, err);
		return NULL;
	}
	TAILQ_FOREACH(other, &link->expose, entry)
	{
		if (!publish && amp_service_same(&other->service, &fwd->service)) {
			amp_config_at(err, where, "expose");
			fprintf(err, "%s is exposed already at %s\n",
				amp_service_text(&fwd->service, service), other->where);
			amp_source_show(err, where, service);
			free(fwd);
			return NULL;
		}
	}
	fwd->text = strdup(text);
	fwd->where = strdup(where);
	if (!fwd->text || !fwd->where) {
		amp_config_forward_free(fwd);
		amp_config_no_memory(err, where);
		return NULL;
	}
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
	if (!f->link) {
		amp_config_no_memory(f->err, where);
		return;
	}
	f->link->named = true;
	if (amp_link_set_name(f->link, name, where, f->err)) {
		f->link->bad = true;
		return;
	}
	f->skip = false;
	f->failed = false;
}

/* inih would not look at it. True: it is no comment, and said. */
static bool behind_section(struct file *f, const char *text, const char *where)
{
	size_t blanks = strspn(text, " \t");

	if (!text[blanks] || (blanks && text[blanks] == ';'))
		return false;
	amp_config_complain(
		f->err, where,
		"expected nothing behind `]` (a comment there begins with a blank and `;`)",
		text + blanks);
	return true;
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
		f->failed |= failed | behind_section(f, end + 1, where);
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

/* A file of another kind, or in UTF-16. */
static bool has_zero(struct file *f, int zero, const char *where)
{
	if (zero < 0)
		return false;
	fprintf(f->err, "%s: expected text (ASCII or UTF-8), found a zero byte\n", where);
	amp_source_show_column(f->err, where, (size_t)zero);
	f->failed = true;
	return true;
}

/* What is behind it would be cut; a file in which all line ends are such has one line. */
static bool has_return(struct file *f, const char *text, const char *where)
{
	size_t at = strcspn(text, "\r\n");

	if (!text[at + strspn(text + at, "\r\n")])
		return false;
	fprintf(f->err, "%s: expected LF or CR LF behind each line, found a CR alone\n", where);
	amp_source_show_column(f->err, where, at);
	f->failed = true;
	return true;
}

/* The rest of it goes unread. */
static bool too_long(struct file *f, const char *text, const char *where)
{
	size_t len = strlen(text);
	int ch = (unsigned char)text[len - 1]; /* not one that is EOF */

	len -= ch == '\n';
	len -= len && text[len - 1] == '\r';
	if (len <= LINE_LEN)
		return false;
	for (; ch != '\n' && ch != EOF && f->len <= AMP_CONFIG_MAX; f->len++)
		ch = fgetc(f->in);
	fprintf(f->err, "%s: expected a line of at most %u bytes\n", where, LINE_LEN);
	amp_source_show_column(f->err, where, LINE_LEN);
	f->failed = true;
	return true;
}

/* Up to one of the stops, or to a comment: as inih sees it. */
static size_t plain_len(const char *text, const char *stops)
{
	size_t n = 0;

	while (text[n] && !strchr(stops, text[n]) &&
	       !(n && text[n] == ';' && (text[n - 1] == ' ' || text[n - 1] == '\t')))
		n++;
	return n;
}

/*
 * inih has no room for the line: it gets what is before the value, and file_key() the value from
 * here, which is cut where inih would cut it. A key of that length is no key: inih has its start.
 */
static void set_aside(struct file *f, char *text)
{
	size_t key = plain_len(text, "=:"), len;
	char *value = text + key;

	if (!*value || *value == ';' || key >= INI_LINE_LEN) {
		text[INI_LINE_LEN - 1] = *value;
		text[key < INI_LINE_LEN ? key : INI_LINE_LEN] = 0;
		return;
	}
	value[plain_len(value + 1, "") + 1] = 0;
	value += 1 + strspn(value + 1, " \t");
	len = strlen(value);
	while (len && (value[len - 1] == ' ' || value[len - 1] == '\t'))
		len--;
	memcpy(f->value, value, len);
	f->value[len] = 0;
	text[key + 1] = 0;
	f->aside = true;
}

/*
 * fgets() that counts, keeps the line for complaints, and refuses what inih would cut. Blanks
 * before a key are left out: to inih such a line is more of the value before it.
 */
static char *read_line(char *str, int num, void *stream)
{
	struct file *f = stream;
	char where[300], line[LINE_LEN + 3], *text = line;
	int zero;

	f->aside = false;
	if (f->len > AMP_CONFIG_MAX || !amp_source_read(f->in, line, sizeof(line), &zero))
		return NULL;
	f->len += strlen(line);
	f->line++;
	snprintf(where, sizeof(where), "%s:%d", f->path, f->line);
	amp_source_add(where, line);
	if (f->line == 1 && strncmp(text, "\xef\xbb\xbf", 3) == 0)
		text += 3;
	text += strspn(text, " \t\r\n");
	if (too_long(f, line, where) || has_zero(f, zero, where) ||
	    has_return(f, line, where) || !look_at_line(f, text, where) || *text == '#' ||
	    *text == ';')
		text[0] = 0;
	if (strlen(text) > INI_LINE_LEN)
		set_aside(f, text);
	snprintf(str, (size_t)num, "%s\n", text);
	return str;
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

/* What other files of this form take, and this one would take for part of the value. */
static int look_at_value(struct file *f, const char *value, const char *where)
{
	const char *p;

	if (*value == '"' || *value == '\'')
		return amp_config_complain(f->err, where, "expected the value without quotes",
					   value);
	for (p = strchr(value, '#'); p; p = strchr(p + 1, '#')) {
		if (p > value && (p[-1] == ' ' || p[-1] == '\t'))
			return amp_config_complain(f->err, where,
						   "expected a comment behind a value to begin "
						   "with a blank and `;`",
						   p);
	}
	return 0;
}

/* inih calls this for each key. Returns what inih wants: 1 good. */
static int file_key(void *user, const char *section, const char *name, const char *value)
{
	struct file *f = user;
	char where[300];
	int r = 0;

	(void)section; /* read_line() has seen it */
	if (f->aside)
		value = f->value;
	snprintf(where, sizeof(where), "%s:%d", f->path, f->line);
	if (f->skip)
		return 1;
	if (look_at_value(f, value, where))
		r = -EINVAL;
	else if (f->link)
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
	if (f.len > AMP_CONFIG_MAX) {
		fprintf(err, "%s: expected a file of at most %u bytes\n", path, AMP_CONFIG_MAX);
		f.failed = true;
	}
	if (ferror(in)) { /* a directory, a disk's error: what was read may be half of it */
		fprintf(err, "%s: cannot be read: %s\n", path, strerror(errno));
		f.failed = true;
	}
	conf->file = path;
	conf->bad |= r || f.failed;
	return r || f.failed ? -EINVAL : 0;
}
