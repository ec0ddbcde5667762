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

#include "config.h"

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

static const struct {
	const char *text;
	enum amp_link_type type;
} link_types[] = {
	{"vhost-user-vsock", AMP_LINK_VHOST_USER_VSOCK},
};

static const char link_type_list[] = "vhost-user-vsock";

static enum amp_link_type link_type(const char *text)
{
	for (unsigned i = 0; i < sizeof(link_types) / sizeof(*link_types); i++) {
		if (strcmp(text, link_types[i].text) == 0)
			return link_types[i].type;
	}
	return AMP_LINK_NONE;
}

static void *must(void *ptr)
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

	while ((link = TAILQ_FIRST(&conf->links)) != NULL) {
		TAILQ_REMOVE(&conf->links, link, entry);
		free_link(link);
	}
}

static struct amp_link_conf *new_link(struct amp_config *conf, const char *where)
{
	struct amp_link_conf *link = must(calloc(1, sizeof(*link)));

	TAILQ_INIT(&link->allow);
	TAILQ_INIT(&link->publish);
	TAILQ_INIT(&link->expose);
	link->where = must(strdup(where));
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

static int set_name(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	size_t len = strlen(text);

	if (len == 0 || len > AMP_LINK_NAME_MAX ||
	    text[strspn(text,
			"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")])
		return complain(
			err, where,
			"expected a link name of at most 31 letters, digits, `-`, `_` and `.`",
			text);
	memcpy(link->name, text, len + 1);
	return 0;
}

static int set_path(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	size_t len = strlen(text);

	if (len == 0 || len >= sizeof(link->path))
		return complain(err, where, "expected a socket path of 1 to 107 bytes", text);
	memcpy(link->path, text, len + 1);
	return 0;
}

static int set_cid(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	/* virtio 1.2, 5.10.4: 0, 1, 2 and 0xffffffff are reserved */
	if (!amp_parse_u32(text, UINT32_MAX - 1, &link->cid) || link->cid < 3) {
		link->cid = 0;
		return complain(err, where, "expected a CID from 3 to 4294967294", text);
	}
	return 0;
}

static int set_type(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	char what[96];

	link->type = link_type(text);
	if (link->type != AMP_LINK_NONE)
		return 0;
	snprintf(what, sizeof(what), "expected a link type: %s", link_type_list);
	return complain(err, where, what, text);
}

static int link_option(struct amp_link_conf *link, char *opt, FILE *err)
{
	char *value = strchr(opt, '=');

	if (value)
		*value++ = 0;
	if (value && strcmp(opt, "cid") == 0)
		return set_cid(link, value, link->where, err);
	if (value && strcmp(opt, "name") == 0)
		return set_name(link, value, link->where, err);
	return complain(err, link->where, "expected cid=N or name=NAME behind the path", opt);
}

int amp_config_link(struct amp_config *conf, const char *text, FILE *err)
{
	struct amp_link_conf *link = new_link(conf, "--link");
	char *copy = must(strdup(text));
	char *colon = strchr(copy, ':');
	char *rest, *opt;
	int r;

	if (!colon) {
		r = complain(err, "--link",
			     "expected TYPE:PATH,cid=N[,name=NAME], such as "
			     "vhost-user-vsock:/run/ampsock/g3.sock,cid=3",
			     text);
		goto out;
	}
	*colon = 0;
	rest = colon + 1;
	r = set_type(link, copy, "--link", err);
	if (!r)
		r = set_path(link, strsep(&rest, ","), "--link", err);
	while (!r && (opt = strsep(&rest, ",")) != NULL)
		r = link_option(link, opt, err);
	if (!r && !link->name[0])
		snprintf(link->name, sizeof(link->name), "cid%u", link->cid);
out:
	free(copy);
	return r;
}

static int bad_rule(const char *where, const char *key, const struct amp_rule_error *e,
		    FILE *err)
{
	fprintf(err, "%s: %s: %s\n", where, key, e->msg);
	return -EINVAL;
}

static int add_allow(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	struct amp_rule *rule = must(malloc(sizeof(*rule)));
	struct amp_rule_error e;

	if (amp_rule_parse(text, rule, &e)) {
		free(rule);
		return bad_rule(where, "allow", &e, err);
	}
	rule->text = must(strdup(text));
	rule->where = must(strdup(where));
	TAILQ_INSERT_TAIL(&link->allow, rule, entry);
	return 0;
}

static int add_forward(struct amp_link_conf *link, bool publish, const char *text,
		       const char *where, FILE *err)
{
	struct amp_forward *fwd = must(malloc(sizeof(*fwd)));
	struct amp_forward *other;
	struct amp_rule_error e;

	if ((publish ? amp_publish_parse : amp_expose_parse)(text, fwd, &e)) {
		free(fwd);
		return bad_rule(where, publish ? "publish" : "expose", &e, err);
	}
	TAILQ_FOREACH(other, &link->expose, entry)
	{
		if (!publish && other->service.port == fwd->service.port) {
			fprintf(err, "%s: expose: vsock:%u is exposed already at %s\n", where,
				fwd->service.port, other->where);
			free(fwd);
			return -EINVAL;
		}
	}
	fwd->text = must(strdup(text));
	fwd->where = must(strdup(where));
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
		return complain(
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
		return complain(f->err, where,
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
	f->link = new_link(f->conf, where);
	return set_name(f->link, section, where, f->err);
}

/* Also tells two sections of one name, one behind the other: inih makes one of them. */
static bool given(const struct amp_link_conf *link, const char *name)
{
	return strcmp(name, "type") == 0   ? link->type != AMP_LINK_NONE
	       : strcmp(name, "path") == 0 ? link->path[0] != 0
					   : strcmp(name, "cid") == 0 && link->cid != 0;
}

static int link_key(struct file *f, const char *name, const char *value, const char *where)
{
	if (given(f->link, name))
		return complain(f->err, where, "expected this key once in a link", name);
	if (strcmp(name, "type") == 0)
		return set_type(f->link, value, where, f->err);
	if (strcmp(name, "path") == 0)
		return set_path(f->link, value, where, f->err);
	if (strcmp(name, "cid") == 0)
		return set_cid(f->link, value, where, f->err);
	if (strcmp(name, "allow") == 0 || strcmp(name, "publish") == 0 ||
	    strcmp(name, "expose") == 0)
		return link_rule(f->link, name, value, where, f->err);
	return complain(f->err, where,
			"expected one of the keys type, path, cid, allow, publish, expose",
			name);
}

static int proxy_key(struct file *f, const char *name, const char *value, const char *where)
{
	if (strcmp(name, "log-level") == 0) {
		if (amp_log_level_parse(value, &f->conf->log_level))
			return complain(f->err, where, "expected error, warning, info or debug",
					value);
		return 0;
	}
	return complain(f->err, where, "expected the key log-level in [proxy]", name);
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

static int check_link(const struct amp_link_conf *link, FILE *err)
{
	if (link->type == AMP_LINK_NONE)
		return complain(err, link->where,
				"this link has no type: expected type = vhost-user-vsock",
				NULL);
	if (!link->path[0])
		return complain(err, link->where,
				"this link has no path: expected path = SOCKET", NULL);
	if (!link->cid)
		return complain(err, link->where,
				"this link has no CID: expected cid = N (3 or more)", NULL);
	return 0;
}

int amp_config_check(const struct amp_config *conf, FILE *err)
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
		if (check_link(a, err))
			r = -EINVAL;
		for (b = TAILQ_NEXT(a, entry); b; b = TAILQ_NEXT(b, entry)) {
			const char *same = strcmp(a->name, b->name) == 0   ? "name"
					   : strcmp(a->path, b->path) == 0 ? "path"
					   : a->cid == b->cid		   ? "CID"
									   : NULL;

			if (!same)
				continue;
			fprintf(err, "%s: link %s has the same %s as link %s at %s\n", b->where,
				b->name, same, a->name, a->where);
			r = -EINVAL;
		}
	}
	return r;
}
