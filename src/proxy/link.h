/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A link: one guest or one remote core, and everything that is its own: flows,
 * offload sessions, rules, limits, counters. What carries it is behind amp_link_ops.
 */
#ifndef AMP_PROXY_LINK_H
#define AMP_PROXY_LINK_H

#include "config.h"
#include "end.h"

struct amp_flow;
struct amp_link;
struct amp_offload;

/* One guest's share. A guest that wants more is told EMFILE, ENOBUFS or EAI_AGAIN. */
#define AMP_LIMIT_ENDS	   4096u /* connections in the ring */
#define AMP_LIMIT_SESSIONS 64u
#define AMP_LIMIT_WINDOW   (256u * 1024u) /* bytes that a push end keeps, as advertised */

/* What a link's packets are, for whoever captures them. */
enum amp_tap_kind { AMP_TAP_NONE, AMP_TAP_VSOCK, AMP_TAP_RPMSG };

struct amp_link_ops {
	enum amp_tap_kind tap_kind;
	bool tap_made; /* there are no packets: a capture has made ones (slink_tap.c) */
	const char *type;
	const char *peer; /* what is at the other end, in words: guest, remote */
	/* Start listening, mapping, opening. 0 or -errno, with a log line said. */
	int (*start)(struct amp_link *link);
	void (*stop)(struct amp_link *link);
	/*
	 * Its listening Unix socket at conf->path, which it forgets; listen_kind: what the helper
	 * calls that (0: it has none).
	 */
	int (*yield)(struct amp_link *link);
	unsigned listen_kind;
	/* When the loop has closed the handles: the memory. */
	void (*free)(struct amp_link *link);
	/*
	 * A connection to a service in the guest. OPEN or FAILED follows. NULL and *err
	 * (positive errno): no guest, no room. The caller sets owner and user at once.
	 */
	struct amp_end *(*connect)(struct amp_link *link, const struct amp_service *service,
				   bool message, int *err);
	/* A publish rule that is about to come: a service that it names is looked for from now
	 * on. 0 or -errno. NULL: there is nothing to look for. */
	int (*wanted)(struct amp_link *link, const struct amp_forward *fwd);
	/*
	 * Expose rules have come or gone: first, of all links, what is left out ends; then what is
	 * there begins, 0 or -errno, said. NULL: they are looked up.
	 */
	void (*unexposed)(struct amp_link *link);
	int (*exposed)(struct amp_link *link);
	/* Counters, one line. */
	void (*stats)(const struct amp_link *link, char *dst, size_t len);
	/*
	 * An operator wants a fresh start: everything of the guest's ends, as seen by it, too.
	 * Outside of the link's own pass.
	 */
	void (*reset)(struct amp_link *link);
	/* Connections that pass the link without an end here (join.h). NULL: there are none. */
	bool (*joined)(struct amp_link *link, uint64_t *at, uint32_t *join, const void **hint,
		       struct amp_sock_info *info);
	/* link->tapped has changed. Unless tap_kind is NONE. */
	void (*tap)(struct amp_link *link);
};

struct amp_link_stats {
	uint64_t flows;		/* since start */
	uint64_t denied;	/* by policy, and of these: */
	uint64_t denied_dir[2]; /* addresses, by enum amp_dir, */
	uint64_t denied_names;
	uint64_t cut;	     /* flows that a reload does not allow any more */
	uint64_t refused;    /* by limits, or nobody there */
	uint64_t unresolved; /* names that the host's resolver could not ask for */
	uint64_t stale;	     /* offload: unknown session or token */
	uint64_t drops;	     /* datagrams */
	uint64_t attached;
	/* of the rings: payload and packets, from the guest and to it */
	uint64_t rx_bytes, tx_bytes;
	uint64_t rx_packets, tx_packets;
	uint64_t rx_bad;
	uint64_t credit_stalls; /* bytes for the guest found no credit, */
	uint64_t buffer_stalls; /* or no buffer of its */
	uint64_t resets;	/* flows that ended with an error, or were ended */
	uint64_t lies;		/* connections reset because the guest broke a rule */
};

struct amp_link {
	TAILQ_ENTRY(amp_link) entry;
	const struct amp_link_ops *ops;
	const struct amp_link_conf *conf;
	TAILQ_HEAD(, amp_flow) flows;
	unsigned flow_cnt;
	uint32_t num;		    /* never of two links in one process */
	TAILQ_HEAD(, amp_end) ends; /* in the ring: the newest last */
	uint64_t next_end;
	bool up;     /* a guest is attached */
	bool tapped; /* its packets go to amp_capture_*() as they pass */
	struct amp_offload *offload;
	struct amp_link_stats stats;
	struct amp_limits limits;
	struct amp_log_rate log_denied;
	struct amp_log_rate log_rebound;
	struct amp_log_rate log_refused;
	struct amp_log_rate log_guest;
	struct amp_log_rate log_unresolved;
	struct amp_log_rate log_attached;
};

TAILQ_HEAD(amp_links, amp_link);

/* Each link type's own. NULL: no memory. */
struct amp_link *amp_link_vhost_vsock(const struct amp_link_conf *conf);
struct amp_link *amp_link_rpmsg_shm(const struct amp_link_conf *conf);
struct amp_link *amp_link_rpmsg_char(const struct amp_link_conf *conf);
struct amp_link *amp_link_vsock(const struct amp_link_conf *conf);
struct amp_link *amp_link_vsock_unix(const struct amp_link_conf *conf);
/* The one of the configuration's type. */
struct amp_link *amp_link_new(const struct amp_link_conf *conf);

/* Common part, for link types. */
int amp_link_init(struct amp_link *link, const struct amp_link_ops *ops,
		  const struct amp_link_conf *conf);
void amp_link_fini(struct amp_link *link);
/* The guest is there. */
void amp_link_up(struct amp_link *link);
/* It is gone: every session and flow of the link ends now, but where it had ended what it sends. */
void amp_link_gone(struct amp_link *link);
/* Those, too. */
void amp_link_down(struct amp_link *link);

/*
 * The guest asks for a connection to a service: is there anything? *fwd: the expose rule,
 * NULL: the offload protocol. Then, later and outside of the engine, amp_link_incoming() with
 * the end and what was found. message: seqpacket.
 */
bool amp_link_serves(struct amp_link *link, const struct amp_service *service, bool message,
		     const struct amp_forward **fwd);
void amp_link_incoming(struct amp_link *link, struct amp_end *end,
		       const struct amp_forward *fwd);

/* Why ops->connect() failed, in words. */
const char *amp_link_why(const struct amp_link *link, int err);

/* Where the guest takes accept carriers. */
extern const struct amp_service amp_service_accept;

/* A ring end begins; is over. */
void amp_link_end_add(struct amp_link *link, struct amp_end *end);
void amp_link_end_del(struct amp_link *link, struct amp_end *end);

/* Every link of the process, in the order of their numbers: main.c's. */
struct amp_links *amp_links_all(void);

#endif /* AMP_PROXY_LINK_H */
