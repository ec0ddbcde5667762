/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to reload.c (what can fail) and reload_commit.c (what cannot). */
#ifndef AMP_PROXY_RELOAD_INNER_H
#define AMP_PROXY_RELOAD_INNER_H

#include "reload.h"

/* A configuration on its way in, and then what is left over on its way out. */
struct amp_old_config {
	struct amp_grave grave;
	struct amp_config conf;
};

struct amp_reload {
	struct amp_old_config *fresh;
	struct amp_links added; /* made, not started */
	FILE *err;
	/* at the commit, where it should not: said in err and in the log */
	unsigned failed;
	/* for the log */
	unsigned links_added, links_gone, rules_added, rules_gone;
	uint64_t cut;
	char restart
		[128]; /* keys of [proxy] that have changed and cannot, with blanks between */
};

struct amp_config *amp_reload_running(void);
/* Twins are set, sockets are open. rl->fresh has what is to be freed afterwards. */
void amp_reload_commit(struct amp_reload *rl);
/* Stops a link that is in no list any more. It is freed when the loop has closed its handles, and
 * conf (or NULL) with it. */
void amp_reload_reap(struct amp_link *link, struct amp_link_conf *conf);

#endif /* AMP_PROXY_RELOAD_INNER_H */
