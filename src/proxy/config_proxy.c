// SPDX-License-Identifier: BSD-3-Clause
/* The keys of [proxy], in the file and as options, and the limits of a link. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "config_inner.h"

/* max: of dst, its NUL included. */
static int set_text(char *dst, size_t max, const char *text, const char *what,
		    const char *where, FILE *err)
{
	if (!*text || strlen(text) >= max)
		return amp_config_complain(err, where, what, text);
	strcpy(dst, text);
	return 0;
}

static int set_path(char *dst, size_t max, const char *text, const char *what,
		    const char *where, FILE *err)
{
	if (*text != '/')
		return amp_config_complain(err, where, what, text);
	if (set_text(dst, max, text, what, where, err))
		return -EINVAL;
	amp_path_normal(dst);
	return 0;
}

static int set_log_level(struct amp_config *c, const char *text, const char *where, FILE *err)
{
	return amp_log_level_parse(text, &c->log_level)
		       ? amp_config_complain(err, where,
					     "expected error, warning, info or debug", text)
		       : 0;
}

static int set_user(struct amp_config *c, const char *text, const char *where, FILE *err)
{
	if (set_text(c->user, sizeof(c->user), text,
		     "expected the name of a user without privileges", where, err))
		return -EINVAL;
	return c->look_up && !getpwnam(text)
		       ? amp_config_complain(err, where, "expected a user that there is", text)
		       : 0;
}

static int set_group(struct amp_config *c, char *dst, const char *text, const char *where,
		     FILE *err)
{
	uint32_t n;

	if (set_text(dst, AMP_USER_MAX, text, "expected the name of a group", where, err))
		return -EINVAL;
	if (!c->look_up || getgrnam(text) || amp_parse_u32(text, UINT32_MAX - 1, &n))
		return 0;
	return amp_config_complain(err, where, "expected a group that there is", text);
}

static int set_confine(struct amp_config *c, const char *text, const char *where, FILE *err)
{
	c->confine = strcmp(text, "yes") == 0;
	return c->confine || strcmp(text, "no") == 0
		       ? 0
		       : amp_config_complain(err, where, "expected yes or no", text);
}

static int set_control(struct amp_config *c, const char *text, const char *where, FILE *err)
{
	static const char what[] = "expected an absolute path of at most 107 bytes, such as "
				   "/run/ampsock/control";

	return set_path(c->control, sizeof(c->control), text, what, where, err);
}

static int set_control_group(struct amp_config *c, const char *text, const char *where,
			     FILE *err)
{
	return set_group(c, c->control_group, text, where, err);
}

static int set_control_read_group(struct amp_config *c, const char *text, const char *where,
				  FILE *err)
{
	return set_group(c, c->control_read_group, text, where, err);
}

static int set_metrics(struct amp_config *c, const char *text, const char *where, FILE *err)
{
	struct amp_rule_error e;

	if (amp_target_parse(text, &c->metrics, &e) == 0 && c->metrics.kind != AMP_TARGET_UDP)
		return 0;
	c->metrics.kind = 0;
	return amp_config_complain(err, where,
				   "expected unix PATH or tcp ADDRESS:PORT, such as "
				   "tcp 127.0.0.1:9101",
				   text);
}

static int set_seconds(uint32_t *value, uint32_t min, uint32_t max, const char *what,
		       const char *text, const char *where, FILE *err)
{
	uint32_t v;

	if (!amp_parse_u32(text, max, &v) || v < min)
		return amp_config_complain(err, where, what, text);
	*value = v;
	return 0;
}

static int set_drain(struct amp_config *c, const char *text, const char *where, FILE *err)
{
	return set_seconds(&c->drain_s, 0, AMP_DRAIN_MAX,
			   "expected how long flows may take to end at SIGTERM: 0 to 3600 "
			   "seconds",
			   text, where, err);
}

static int set_lease(struct amp_config *c, const char *text, const char *where, FILE *err)
{
	return set_seconds(&c->lease_s, 1, 86400,
			   "expected how long a name's addresses are allowed: 1 to 86400 "
			   "seconds",
			   text, where, err);
}

static int set_runtime_dir(struct amp_config *c, const char *text, const char *where, FILE *err)
{
	static const char what[] = "expected an absolute path of at most 255 bytes, such as "
				   "/run/ampsock";

	return set_path(c->runtime_dir, sizeof(c->runtime_dir), text, what, where, err);
}

static int add_nat64(struct amp_config *c, const char *text, const char *where, FILE *err)
{
	struct amp_nat64 *p = &c->nat64[c->nat64_cnt];
	const char *wrong;

	if (c->nat64_cnt == AMP_NAT64_MAX)
		return amp_config_complain(err, where, "expected at most 8 NAT64 prefixes",
					   text);
	wrong = amp_nat64_parse(text, p);
	for (unsigned i = 0; i < c->nat64_cnt && !wrong; i++) {
		if (amp_nat64_overlap(&c->nat64[i], p))
			wrong = "expected NAT64 prefixes none of which is a part of another";
	}
	if (wrong)
		return amp_config_complain(err, where, wrong, text);
	c->nat64_cnt++;
	return 0;
}

static int set_nat64(struct amp_config *c, const char *text, const char *where, FILE *err)
{
	char *word;
	size_t len;
	int r = 0;

	c->nat64_cnt = 0;
	do {
		text += strspn(text, " \t");
		len = strcspn(text, " \t");
		if (!len && c->nat64_cnt)
			break;
		word = strndup(text, len);
		r = word ? add_nat64(c, word, where, err) : amp_config_no_memory(err, where);
		free(word);
		text += len;
	} while (*text && !r);
	return r;
}

static const struct key {
	const char *name;
	int (*set)(struct amp_config *c, const char *text, const char *where, FILE *err);
} keys[] = {
	{"user", set_user},
	{"confine", set_confine},
	{"log-level", set_log_level},
	{"control", set_control},
	{"control-group", set_control_group},
	{"control-read-group", set_control_read_group},
	{"metrics", set_metrics},
	{"drain", set_drain},
	{"runtime-dir", set_runtime_dir},
	{"lease", set_lease},
	{"nat64", set_nat64},
};
#define KEYS (sizeof(keys) / sizeof(*keys))

const char *amp_proxy_key_list(void)
{
	static char text[192];
	size_t len = 0;

	text[0] = 0;
	for (unsigned i = 0; i < KEYS; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len ? ", " : "",
					keys[i].name);
	return text;
}

static int unknown(const char *name, const char *where, FILE *err)
{
	struct amp_nearest near = {NULL, 0};
	char what[300];

	for (unsigned i = 0; i < KEYS; i++)
		amp_nearest(name, keys[i].name, &near);
	snprintf(what, sizeof(what), "expected one of the keys %s in [proxy]%s%s%s",
		 amp_proxy_key_list(), near.word ? " (did you mean `" : "",
		 near.word ? near.word : "", near.word ? "`?)" : "");
	return amp_config_complain_key(err, where, what, name);
}

int amp_proxy_set_key(struct amp_config *conf, const char *name, const char *value,
		      const char *where, bool option, FILE *err)
{
	/* what an option has said is not changed, but it has to be right all the same */
	struct amp_config other = *conf;

	for (unsigned i = 0; i < KEYS; i++) {
		bool overruled = !option && (conf->by_option & 1u << i);

		if (strcmp(name, keys[i].name))
			continue;
		if (!option && (conf->given & 1u << i))
			return amp_config_complain_key(
				err, where, "expected this key once in [proxy]", name);
		*(option ? &conf->by_option : &conf->given) |= 1u << i;
		return keys[i].set(overruled ? &other : conf, value, where, err);
	}
	return unknown(name, where, err);
}

int amp_config_option(struct amp_config *conf, const char *key, const char *text,
		      const char *where, FILE *err)
{
	return amp_proxy_set_key(conf, key, text, where, true, err);
}

/* Compared, each with a line in the log, in reload_commit.c: proxy_keys(). */
void amp_config_keep_started(struct amp_config *conf, const struct amp_config *was)
{
	memcpy(conf->user, was->user, sizeof(conf->user));
	conf->confine = was->confine;
	memcpy(conf->control, was->control, sizeof(conf->control));
	memcpy(conf->control_group, was->control_group, sizeof(conf->control_group));
	memcpy(conf->control_read_group, was->control_read_group,
	       sizeof(conf->control_read_group));
	conf->metrics = was->metrics;
	memcpy(conf->nat64, was->nat64, sizeof(conf->nat64));
	conf->nat64_cnt = was->nat64_cnt;
}

/* ---- limits ---- */

/* limit.c multiplies rates. */
#define LIMIT_MAX      (1ull << 50)
#define LIMIT_MAX_TEXT "1048576G"

int amp_config_limit(struct amp_link_conf *link, const char *text, const char *where, FILE *err)
{
	size_t len = strcspn(text, " \t");
	const char *number = text + len + strspn(text + len, " \t");
	struct amp_nearest near = {NULL, 0};
	char name[32], what[300];
	unsigned i;

	snprintf(name, sizeof(name), "%.*s", (int)len, text);
	for (i = 0; i < AMP_LIMIT_CNT && strcmp(name, amp_limit_name[i]); i++)
		amp_nearest(name, amp_limit_name[i], &near);
	if (i == AMP_LIMIT_CNT) {
		snprintf(what, sizeof(what),
			 "limit: expected sockets, half-open, buffered, connects/s, dns/s or "
			 "datagrams/s and a number%s%s%s",
			 near.word ? " (did you mean `" : "", near.word ? near.word : "",
			 near.word ? "`?)" : "");
		return amp_config_complain(err, where, what, name);
	}
	if (link->limits_given & 1u << i) {
		snprintf(what, sizeof(what), "limit: expected %s once in a link",
			 amp_limit_name[i]);
		return amp_config_complain(err, where, what, name);
	}
	link->limits_given |= 1u << i;
	if (strcmp(number, "none") == 0) {
		link->limit[i] = AMP_LIMIT_NONE;
	} else if (!amp_parse_u64(number, LIMIT_MAX, &link->limit[i]) || !link->limit[i]) {
		link->limit[i] = amp_limit_default[i];
		snprintf(what, sizeof(what),
			 "limit: expected a number from 1 up to " LIMIT_MAX_TEXT
			 " behind %s (k, M and G may follow), or none",
			 amp_limit_name[i]);
		return amp_config_complain(err, where, what, number);
	}
	return 0;
}
