/* SPDX-License-Identifier: BSD-3-Clause */
/* What the proxy shall do, from the command line and from an INI file: ampsock-proxy(8). */
#ifndef AMP_PROXY_CONFIG_H
#define AMP_PROXY_CONFIG_H

#include <stdio.h>

#include "log.h"
#include "rule.h"

enum amp_link_type { AMP_LINK_NONE, AMP_LINK_VHOST_USER_VSOCK };

#define AMP_LINK_NAME_MAX 31u

struct amp_link_conf {
	TAILQ_ENTRY(amp_link_conf) entry;
	char name[AMP_LINK_NAME_MAX + 1];
	enum amp_link_type type;
	char path[108]; /* vhost-user: what sun_path takes */
	uint32_t cid;
	char *where;
	struct amp_rules allow;
	struct amp_forwards publish;
	struct amp_forwards expose;
};

TAILQ_HEAD(amp_link_confs, amp_link_conf);

struct amp_config {
	struct amp_link_confs links;
	enum amp_log_level log_level;
};

void amp_config_init(struct amp_config *conf);
void amp_config_free(struct amp_config *conf);

/* Each of these writes its complaint, with place and what was expected, to err. 0 or -EINVAL.
 */
int amp_config_file(struct amp_config *conf, const char *path, FILE *err);
/* TYPE:PATH,cid=N[,name=X] */
int amp_config_link(struct amp_config *conf, const char *text, FILE *err);
/* key: allow, publish or expose; for the last link given. where: file:line or an option's name
 */
int amp_config_rule(struct amp_config *conf, const char *key, const char *text,
		    const char *where, FILE *err);
/* What only the whole can show: no two links with one name, CID or path. */
int amp_config_check(const struct amp_config *conf, FILE *err);

#endif /* AMP_PROXY_CONFIG_H */
