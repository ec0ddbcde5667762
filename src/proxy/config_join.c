// SPDX-License-Identifier: BSD-3-Clause
/* Which links are joined: said by name, and the links may come later in the file. */
#include <bsd/string.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config_inner.h"

#define SEPARATORS ", \t"

/* One pair. The names are copied whole: a longer one is no link's. */
static int add(struct amp_config *conf, const char *a, const char *b, const char *where,
	       FILE *err)
{
	struct amp_join_conf *j;

	if (strlen(b) > AMP_LINK_NAME_MAX || strlen(a) > AMP_LINK_NAME_MAX)
		return amp_config_complain(err, where,
					   "join: expected a link name of at most 31 bytes",
					   strlen(b) > AMP_LINK_NAME_MAX ? b : a);
	j = calloc(1, sizeof(*j));
	if (!j)
		return amp_config_no_memory(err, where);
	strlcpy(j->name[0], a, sizeof(j->name[0]));
	strlcpy(j->name[1], b, sizeof(j->name[1]));
	j->where = strdup(where);
	if (!j->where) {
		free(j);
		return amp_config_no_memory(err, where);
	}
	TAILQ_INSERT_TAIL(&conf->joins, j, entry);
	return 0;
}

/* The next name of a list, cut off; NULL: none. */
static char *next_name(char **rest)
{
	char *name;

	while ((name = strsep(rest, SEPARATORS)) != NULL && !*name)
		;
	return name;
}

int amp_join_add(struct amp_config *conf, const struct amp_link_conf *link, const char *text,
		 const char *where, FILE *err)
{
	char *copy = strdup(text), *rest = copy, *name;
	int r = 0, n = 0;

	if (!copy)
		return amp_config_no_memory(err, where);
	while (!r && (name = next_name(&rest)) != NULL) {
		r = add(conf, link->name, name, where, err);
		n++;
	}
	free(copy);
	if (!r && n == 0)
		return amp_config_complain(err, where,
					   "join: expected the names of other links, such as "
					   "`join = g4, g5`",
					   text);
	return r;
}

int amp_config_join(struct amp_config *conf, const char *text, const char *where, FILE *err)
{
	char *copy = strdup(text), *rest = copy, *a, *b;
	int r;

	if (!copy)
		return amp_config_no_memory(err, where);
	a = next_name(&rest);
	b = next_name(&rest);
	if (!b || next_name(&rest))
		r = amp_config_complain(err, where,
					"expected the names of two links, such as g3,g4", text);
	else
		r = add(conf, a, b, where, err);
	free(copy);
	return r;
}

void amp_join_conf_free(struct amp_join_conf *j)
{
	free(j->where);
	free(j);
}

void amp_join_free_all(struct amp_config *conf)
{
	struct amp_join_conf *j;

	while ((j = TAILQ_FIRST(&conf->joins)) != NULL) {
		TAILQ_REMOVE(&conf->joins, j, entry);
		amp_join_conf_free(j);
	}
}

static const struct amp_link_conf *by_name(const struct amp_config *conf, const char *name)
{
	const struct amp_link_conf *l;

	TAILQ_FOREACH(l, &conf->links, entry)
	{
		if (strcmp(l->name, name) == 0)
			return l;
	}
	return NULL;
}

/* Written in both sections, or twice: a join has no direction. */
static bool said_before(const struct amp_config *conf, const struct amp_join_conf *j)
{
	const struct amp_join_conf *o = TAILQ_FIRST(&conf->joins);

	for (; o != j; o = TAILQ_NEXT(o, entry)) {
		if ((o->link[0] == j->link[0] && o->link[1] == j->link[1]) ||
		    (o->link[0] == j->link[1] && o->link[1] == j->link[0]))
			return true;
	}
	return false;
}

static int check(const struct amp_config *conf, struct amp_join_conf *j, FILE *err)
{
	for (unsigned i = 0; i < 2; i++) {
		j->link[i] = by_name(conf, j->name[i]);
		if (!j->link[i])
			return amp_config_complain(err, j->where,
						   "join: expected the name of a link that is "
						   "there",
						   j->name[i]);
	}
	if (j->link[0] == j->link[1])
		return amp_config_complain(err, j->where,
					   "join: expected two different links: a guest "
					   "reaches itself without us",
					   j->name[0]);
	if (j->link[0]->type != j->link[1]->type ||
	    (j->link[0]->type != AMP_LINK_VHOST_USER_VSOCK &&
	     j->link[0]->type != AMP_LINK_RPMSG_SHM)) {
		amp_config_at(err, j->where, "join");
		fprintf(err,
			"%s and %s cannot be joined: expected two links of type "
			"vhost-user-vsock, or two of type rpmsg-shm\n",
			j->name[0], j->name[1]);
		amp_source_show(err, j->where, j->name[1]);
		return -EINVAL;
	}
	j->again = said_before(conf, j);
	return 0;
}

int amp_join_check(struct amp_config *conf, FILE *err)
{
	struct amp_join_conf *j;
	int r = 0;

	TAILQ_FOREACH(j, &conf->joins, entry)
	{
		if (check(conf, j, err))
			r = -EINVAL;
	}
	return r;
}
