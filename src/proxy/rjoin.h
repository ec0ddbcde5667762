/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Joined remotes: two rpmsg-shm links whose remotes reach each other's services, because the
 * configuration says so.
 *
 * Theory of operation
 *
 * What one remote announces is announced to the other, by an *alias*: an endpoint on the
 * other's bus that stands for an address of this one. (Not the offload protocol's names, and
 * none that a rule gives to the other link already.)
 *
 * Raw messages are switched. One that arrives at an alias goes to the address that it stands
 * for, from an alias of its own source, so that an answer finds its way back, also one that
 * comes from another endpoint than was asked. Aliases of sources are made as they are seen,
 * AMP_RJOIN_SOURCES a side; the one that has been silent for longest gives way, and whoever is
 * silent for AMP_RLINK_IDLE_MS.
 *
 * Streams (NAME~s) have addresses in their handshake and credit of their own, and a connection
 * may be idle for days: they end here, in two connections that a flow joins. What the
 * receiver does not take stays unacknowledged at its sender, but for one window.
 *
 * rpmsg has no credit, so a message that finds no buffer waits here, up to AMP_RJOIN_QUEUE
 * bytes a direction, and one that finds no room there is dropped and counted, as is one longer
 * than the receiver's buffers: a remote that takes nothing stops nobody else.
 *
 * When a remote goes, its names are withdrawn from the other, and its aliases with them. One
 * that announces and withdraws without end would fill the other's buffers with that: above a
 * rate that no honest one needs its names are withdrawn, until it starts anew.
 */
#ifndef AMP_PROXY_RJOIN_H
#define AMP_PROXY_RJOIN_H

#include "rlink.h"

#define AMP_RJOIN_NAMES	  64u
#define AMP_RJOIN_SOURCES 256u
#define AMP_RJOIN_NEWS	  512u /* announcements and withdrawals at once, and then one: */
#define AMP_RJOIN_NEWS_MS 5u   /* in this time */
#define AMP_RJOIN_QUEUE	  (256u * 1024u)

struct amp_rjoin_side;

/* An address of one remote, as the other one sees it. */
struct amp_rjoin_alias {
	TAILQ_ENTRY(amp_rjoin_alias) entry;
	struct amp_rpmsg_named
		end; /* on the other's bus; kind: AMP_EPT_JOINED or _JOINED_STREAM */
	struct amp_rjoin_side *side; /* whose address */
	uint32_t addr;
	uint64_t heard_ms;
	char name[AMP_RPMSG_NAME_LEN]; /* "": a source */
};

TAILQ_HEAD(amp_rjoin_aliases, amp_rjoin_alias);

/* A message that waits. */
struct amp_rjoin_message {
	STAILQ_ENTRY(amp_rjoin_message) entry;
	uint32_t src, dst, len;
	uint8_t data[];
};

/* One remote of a join. */
struct amp_rjoin_side {
	TAILQ_ENTRY(amp_rjoin_side) entry; /* rl->joined */
	struct amp_rlink *rl;
	struct amp_rjoin_side *other;
	struct amp_rjoin_aliases names;
	struct amp_rjoin_aliases sources; /* longest silent first */
	unsigned name_cnt, source_cnt;
	unsigned news; /* that are still allowed */
	uint64_t news_ms;
	bool muted; /* it has no names for the other any more, in this life */
	STAILQ_HEAD(, amp_rjoin_message) queue; /* to this remote */
	size_t queued;
	uint64_t messages, bytes, drops; /* to this remote */
};

/* Two links of type rpmsg-shm. 0, -ENOMEM. */
int amp_rjoin_new(struct amp_link *a, struct amp_link *b);
/* The join of these two ends: each remote is told that the other's services are gone. */
void amp_rjoin_end(struct amp_link *a, struct amp_link *b);
void amp_rjoins_free(void);
void amp_rjoin_stats(void);

/* ---- for rlink.c ---- */

/* rl's remote announces or withdraws. True: somebody is joined to it. */
bool amp_rjoin_service(struct amp_rlink *rl, const char *name, uint32_t addr, bool gone);
/* A message for an alias on rl's bus. */
void amp_rjoin_input(struct amp_rlink *rl, struct amp_rpmsg_ept *ept,
		     const struct amp_rpmsg_rx *rx);
/* A stream for one: where it leads. */
void amp_rjoin_stream(struct amp_rpmsg_ept *ept, struct amp_end_vsock *e);
void amp_rjoin_gone(struct amp_rpmsg_ept *ept);
/* What waits for rl's remote: before its own connections have their turn (half of the buffers),
 * and after. */
void amp_rjoin_flush(struct amp_rlink *rl, bool last);
void amp_rjoin_idle(struct amp_rlink *rl);
void amp_rjoin_down(struct amp_rlink *rl);

#endif /* AMP_PROXY_RJOIN_H */
