/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to config.c (the file, rules) and config_link.c (a link's keys). */
#ifndef AMP_PROXY_CONFIG_INNER_H
#define AMP_PROXY_CONFIG_INNER_H

#include "config.h"

/* ---- config.c ---- */
/* Says so: of a reload it is the end, not of the process. -ENOMEM. */
int amp_config_no_memory(FILE *err, const char *where);
/* "where: key: "; the key is not said twice if where is its option. */
void amp_config_at(FILE *err, const char *where, const char *key);
/* "where: what, found `text`", and the line with text marked. NULL: the line. -EINVAL. */
int amp_config_complain(FILE *err, const char *where, const char *what, const char *text);
/* The same about a key. */
int amp_config_complain_key(FILE *err, const char *where, const char *what, const char *key);
/* NULL: no memory, not yet said. */
struct amp_link_conf *amp_config_new_link(struct amp_config *conf, const char *where);

/* ---- config_proxy.c ---- */
/* 0, -EINVAL and said; 1: there is no such key. option: it overrules the file. */
int amp_proxy_set_key(struct amp_config *conf, const char *name, const char *value,
		      const char *where, bool option, FILE *err);
/* The keys of [proxy] in words. */
const char *amp_proxy_key_list(void);
/* `limit = NAME N` */
int amp_config_limit(struct amp_link_conf *link, const char *text, const char *where,
		     FILE *err);

/* ---- config_source.c ---- */
/* fgets(), but a zero byte does not hide what is behind it. *zero: where the first was, or -1. False:
 * the end. */
bool amp_source_read(FILE *in, char *line, size_t size, int *zero);
/* A line of a file, for complaints that say the same where: shown if there is memory for it. */
void amp_source_add(const char *where, const char *text);
void amp_source_forget(void);
/* The line of where, if it is one of a file, with text in it marked: in its value if it can be.
 * NULL: all of it. */
void amp_source_show(FILE *err, const char *where, const char *text);
/* The same with the character there marked. */
void amp_source_show_column(FILE *err, const char *where, size_t at);
void amp_source_show_key(FILE *err, const char *where, const char *key);
/* The word at a place in a value, which is an option's when where is no file's. */
void amp_source_show_at(FILE *err, const char *where, const char *value, size_t at);

/* The known word that is most like what was typed; zeroed at first. */
struct amp_nearest {
	const char *word; /* NULL: none is like it */
	unsigned distance;
};
void amp_nearest(const char *typed, const char *known, struct amp_nearest *n);

/* ---- config_join.c ---- */
/* A file's `join = NAME ...` in link's section. */
int amp_join_add(struct amp_config *conf, const struct amp_link_conf *link, const char *text,
		 const char *where, FILE *err);
void amp_join_free_all(struct amp_config *conf);
int amp_join_check(struct amp_config *conf, FILE *err);

/* ---- config_link.c ---- */
int amp_link_set_name(struct amp_link_conf *link, const char *text, const char *where,
		      FILE *err);
/* 0, -EINVAL and said; 1: there is no such key. */
int amp_link_set_key(struct amp_link_conf *link, const char *name, const char *value,
		     const char *where, FILE *err);
void amp_link_nearest_key(const char *typed, struct amp_nearest *n);
/* The keys of some types (bits; 0: of all) in words, without type and path. */
const char *amp_link_key_list(unsigned types);
/* What only the whole link can show, and its rules. */
int amp_link_check(const struct amp_link_conf *link, FILE *err);
const char *amp_link_type_text(enum amp_link_type type);
static inline bool amp_link_is_rpmsg(const struct amp_link_conf *link)
{
	return link->type == AMP_LINK_RPMSG_SHM || link->type == AMP_LINK_RPMSG_CHAR;
}

/* ---- config_check.c ---- */
/* Are the link's rules such as its type can serve? */
int amp_link_check_rules(const struct amp_link_conf *link, FILE *err);
/*
 * Does anything of ours listen there, or where that is a part of? In words. Of what is published
 * only what comes before self; NULL: all.
 */
bool amp_config_taken(const struct amp_config *conf, const struct amp_target *target,
		      const struct amp_forward *self, char *who, size_t len);
/* May the link have fwd besides all that there is (of its own rules: those before it)? 0, -EEXIST
 * or -EINVAL, said. */
int amp_config_check_publish(const struct amp_config *conf, const struct amp_link_conf *link,
			     const struct amp_forward *fwd, FILE *err);
/* Has the link's type such a service? For one publish rule. */
int amp_link_check_forward(const struct amp_link_conf *link, const struct amp_forward *fwd,
			   FILE *err);

#endif /* AMP_PROXY_CONFIG_INNER_H */
