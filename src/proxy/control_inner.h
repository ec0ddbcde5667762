/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to control*.c. */
#ifndef AMP_PROXY_CONTROL_INNER_H
#define AMP_PROXY_CONTROL_INNER_H

#include <cjson/cJSON.h>

#include "capture.h"
#include "client.h"
#include "control.h"

#define AMP_CONTROL_CLIENTS 16u
#define AMP_CONTROL_LOOKERS 8u /* of these, at most, such as may only look */

/* A request's keys, as bits and by name. */
enum amp_ctl_key {
	AMP_CTL_CMD,
	AMP_CTL_LINK,
	AMP_CTL_RULE,
	AMP_CTL_LEVEL,
	AMP_CTL_COUNT,
	AMP_CTL_SNAP,
	AMP_CTL_KEYS
};

struct amp_ctl_req {
	unsigned given; /* keys, as bits */
	char cmd[32];
	char link[AMP_LINK_NAME_MAX + 1];
	char rule[1024];
	char level[16];
	uint32_t count, snap;
};

struct amp_ctl;

/* A list: its entries, link by link. */
struct amp_ctl_list {
	/*
	 * The next entry of link behind the cursor, which moves on; NULL: no more of this link.
	 */
	cJSON *(*next)(struct amp_ctl *c, struct amp_link *link);
};

struct amp_ctl {
	struct amp_client client; /* first */
	enum amp_ctl_right right;
	uint32_t uid, pid;
	const struct amp_ctl_list *list; /* being told */
	bool first;			 /* nothing of it is told yet */
	uint32_t only;			 /* number of the one link wanted; 0: all */
	uint32_t link;			 /* cursor: a link's number, */
	unsigned phase;			 /* a kind of entry, */
	uint64_t at;			 /* the last entry's number, */
	uint32_t id;			 /* and a second one */
	const void *hint;		 /* where that entry is, in this turn */
	struct amp_capture *capture;
};

/* ---- control_json.c ---- */
/*
 * One line, without its end, into *req. NULL, or what is wrong with it in words. Strict: a flat
 * object of known keys, each once, UTF-8, no control characters, whole numbers.
 */
const char *amp_ctl_parse(const char *text, size_t len, struct amp_ctl_req *req);
/* A counter: all of its 64 bits, which a cJSON number does not have. */
void amp_ctl_number(cJSON *obj, const char *key, uint64_t v);

/* ---- control_show.c ---- */
extern const struct amp_ctl_list amp_ctl_links, amp_ctl_sockets, amp_ctl_rules;
cJSON *amp_ctl_status(void);
/* The proxy's time begins. */
void amp_ctl_show_init(void);
/* More of c->list into the answer. */
void amp_ctl_list_more(struct amp_ctl *c);

/* ---- control_peer.c ---- */
/* As amp_control_right(), by the helper where this process sees too little. *err: 0, or the errno
 * value that says why the helper could not be asked. */
enum amp_ctl_right amp_ctl_ask_right(int fd, uint32_t *uid, uint32_t *pid, int *err);

#endif /* AMP_PROXY_CONTROL_INNER_H */
