/* SPDX-License-Identifier: BSD-3-Clause */
/* What the proxy shall do, from the command line and from an INI file: ampsock-proxy(8). */
#ifndef AMP_PROXY_CONFIG_H
#define AMP_PROXY_CONFIG_H

#include <stdio.h>

#include "limit.h"
#include "rule.h"

enum amp_link_type {
	AMP_LINK_NONE,
	AMP_LINK_VHOST_USER_VSOCK,
	AMP_LINK_RPMSG_SHM,
	AMP_LINK_RPMSG_CHAR,
	AMP_LINK_VSOCK,
	AMP_LINK_VSOCK_UNIX,
};

#define AMP_LINK_NAME_MAX 31u
#define AMP_CONFIG_MAX	  (16u << 20) /* bytes of a file: what is longer may have no end */
#define AMP_SUN_PATH	  108u	      /* what sun_path takes, its NUL included */

enum amp_bell_kind { AMP_BELL_NONE, AMP_BELL_UNIX, AMP_BELL_EVENTFD, AMP_BELL_POLL };

/* How a remote and we wake each other. */
struct amp_bell_conf {
	enum amp_bell_kind kind;
	char path[AMP_SUN_PATH]; /* UNIX */
	int rx, tx;		 /* EVENTFD */
	uint32_t poll_ms;	 /* POLL */
};

/* rpmsg-shm. Addresses are the remote's. */
struct amp_shm_conf {
	char elf[256];		       /* "": no file to look the table up in */
	uint64_t da;		       /* of the file's first byte */
	uint64_t offset;	       /* into the file: where the window begins */
	uint64_t size;		       /* of the window, 0: to the end of the file */
	uint64_t table;		       /* address of the resource table */
	bool has_table;		       /* 0 is an address, too */
	uint64_t carveout, carve_size; /* for tables that have none; size 0: not given */
	uint32_t buf_len, buf_cnt;     /* 0: the usual; buf_len also for rpmsg-char */
	struct amp_bell_conf bell;
};

#define AMP_LINK_KEYS 16u /* room for what config_link.c knows */

struct amp_link_conf {
	TAILQ_ENTRY(amp_link_conf) entry;
	char name[AMP_LINK_NAME_MAX + 1];
	enum amp_link_type type;
	char path[256];
	uint32_t cid;	 /* vhost-user-vsock, vsock */
	char sysfs[256]; /* rpmsg-char: "": /sys */
	struct amp_shm_conf shm;
	uint64_t limit[AMP_LIMIT_CNT];
	unsigned limits_given;
	uint32_t lease_s;		/* of names: [proxy]'s, by amp_config_check() */
	unsigned given;			/* keys: config_link.c */
	char *key_where[AMP_LINK_KEYS]; /* where each was given, for complaints */
	bool named;			/* by a person */
	bool bad;			/* something of it was wrong, and said */
	struct amp_link_conf *twin;	/* in the other configuration: reload.c */
	char *where;
	struct amp_rules allow;
	struct amp_forwards publish;
	struct amp_forwards expose;
};

TAILQ_HEAD(amp_link_confs, amp_link_conf);

/* Two links whose guests may talk to each other. */
struct amp_join_conf {
	TAILQ_ENTRY(amp_join_conf) entry;
	char name[2][AMP_LINK_NAME_MAX + 1];
	const struct amp_link_conf *link[2]; /* by amp_config_check() */
	bool again;			     /* said before: it counts once */
	bool kept;			     /* in the other configuration, too: reload.c */
	char *where;
};

TAILQ_HEAD(amp_join_confs, amp_join_conf);

#define AMP_USER_MAX  64u /* a user's or group's name, its NUL included */
#define AMP_LEASE_S   300u
#define AMP_DRAIN_MAX 3600u

struct amp_config {
	struct amp_link_confs links;
	struct amp_join_confs joins;
	enum amp_log_level log_level;
	char user[AMP_USER_MAX]; /* "": ampsock, or nobody */
	bool confine;
	char control[AMP_SUN_PATH]; /* "": no control socket */
	char control_group[AMP_USER_MAX];
	char control_read_group[AMP_USER_MAX];
	struct amp_target metrics; /* kind 0: none; UNIX or TCP */
	uint32_t drain_s;
	char runtime_dir[256]; /* "": none */
	uint32_t lease_s;
	struct amp_nat64 nat64[AMP_NAT64_MAX];
	unsigned nat64_cnt;
	unsigned given, by_option; /* keys of [proxy]: config_proxy.c */
	const char *file;	   /* its name, as given; NULL: options alone */
	bool bad;		   /* something was wrong, and said */
	bool look_up;		   /* are there such users and groups? Not when confined */
};

/* The same guest by the same way? Their rules aside. */
bool amp_link_conf_same(const struct amp_link_conf *a, const struct amp_link_conf *b);
void amp_link_conf_free(struct amp_link_conf *link); /* in no list any more */
void amp_join_conf_free(struct amp_join_conf *join);

void amp_config_init(struct amp_config *conf);
void amp_config_free(struct amp_config *conf);

/* Each of these writes its complaint, with place and what was expected, to err. 0 or -EINVAL.
 */
int amp_config_file(struct amp_config *conf, const char *path, FILE *err);
/* The same from an open file; path: for complaints. All that is wrong in it is said. */
int amp_config_stream(struct amp_config *conf, FILE *in, const char *path, FILE *err);
/* TYPE:PATH[,KEY=VALUE ...][,name=X] */
int amp_config_link(struct amp_config *conf, const char *text, FILE *err);
/* key: allow, publish, expose or limit; for the last link given. where: file:line or an
 * option's name */
int amp_config_rule(struct amp_config *conf, const char *key, const char *text,
		    const char *where, FILE *err);
/* A key of [proxy] as an option: it stands whatever a file says. where: the option's name. */
int amp_config_option(struct amp_config *conf, const char *key, const char *text,
		      const char *where, FILE *err);
/* The keys of [proxy] that a reload does not change: conf gets them from what runs. */
void amp_config_keep_started(struct amp_config *conf, const struct amp_config *was);
/* One rule that belongs to no configuration yet; NULL: said. `where` names its origin. */
struct amp_forward *amp_config_forward(const struct amp_link_conf *link, bool publish,
				       const char *text, const char *where, FILE *err);
void amp_config_forward_free(struct amp_forward *fwd);
/* NAME,NAME */
int amp_config_join(struct amp_config *conf, const char *text, const char *where, FILE *err);
/* Can only one of them listen? The same address, or the wildcard and one of the same port. */
bool amp_target_overlap(const struct amp_target *a, const struct amp_target *b);
/* What only the whole can show: no two links with one name, CID or path, no rule
 * that the link's type cannot serve, no join of links that there are not, no address published
 * twice. */
int amp_config_check(struct amp_config *conf, FILE *err);

#endif /* AMP_PROXY_CONFIG_H */
