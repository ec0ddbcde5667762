/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to config.c (the file, rules) and config_link.c (a link's keys). */
#ifndef AMP_PROXY_CONFIG_INNER_H
#define AMP_PROXY_CONFIG_INNER_H

#include "config.h"

/* ---- config.c ---- */
/* ptr, or the end: there is no memory. */
void *amp_config_must(void *ptr);
/* "where: what, found `text`". -EINVAL. */
int amp_config_complain(FILE *err, const char *where, const char *what, const char *text);
struct amp_link_conf *amp_config_new_link(struct amp_config *conf, const char *where);

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
/* The keys of some types (bits; 0: of all) in words, without type and path. */
const char *amp_link_key_list(unsigned types);
/* What only the whole link can show, and its rules. */
int amp_link_check(const struct amp_link_conf *link, FILE *err);

#endif /* AMP_PROXY_CONFIG_INNER_H */
