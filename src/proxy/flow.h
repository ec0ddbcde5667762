/* SPDX-License-Identifier: BSD-3-Clause */
/* A flow joins two ends and moves bytes both ways until both are through (DESIGN 7). */
#ifndef AMP_PROXY_FLOW_H
#define AMP_PROXY_FLOW_H

#include "end.h"
#include "link.h"

struct amp_flow;

/* Who wants to know of a flow's end: the offload protocol. NULL slots: nobody. */
struct amp_flow_ops {
	const char *kind; /* in one word: publish, expose ... */
	/* side's end broke with err (positive errno); the other end is reset right after. */
	void (*failed)(struct amp_flow *flow, unsigned side, int err);
	/* Last call: both ends are gone. */
	void (*gone)(struct amp_flow *flow);
};

struct amp_flow {
	TAILQ_ENTRY(amp_flow) entry; /* link->flows */
	struct amp_link *link;
	struct amp_end *end[2]; /* 0: the guest's, 1: the host's */
	const struct amp_flow_ops *ops;
	void *owner;
	struct amp_work work; /* moves bytes from pull ends */
	struct amp_grave grave;
	uint64_t bytes[2]; /* from end i */
	uint32_t want[2];  /* pull end i: bytes to reserve for its next read */
	bool open[2];
	bool eof[2]; /* end i sends no more: the other was told */
	bool dead;
	bool socket; /* counts as one of the link's: AMP_LIMIT_SOCKETS */
	bool half;   /* AMP_LIMIT_HALF_OPEN: the host's end is not connected yet */
	struct amp_flow_head *head; /* NULL: no such bytes, or they are sent */
};

/*
 * Joins guest and host ends of the same link. open: which are connected already.
 * Both ends are the flow's from now on, also when it fails (NULL: no memory).
 */
struct amp_flow *amp_flow_join(struct amp_link *link, struct amp_end *guest, bool guest_open,
			       struct amp_end *host, bool host_open,
			       const struct amp_flow_ops *ops, void *owner);
/*
 * From now on no flow begins but those whose guest or host is being waited for already; idle is
 * called, once, when the last has ended: at once, if there is none.
 */
extern bool amp_draining;
void amp_flow_drain(void (*idle)(void));
/*
 * len bytes that side gets before those of the other end: to be called right behind
 * amp_flow_join(), once. -ENOMEM: there is no memory, and the flow would begin without.
 */
int amp_flow_head(struct amp_flow *flow, unsigned side, const uint8_t *bytes, uint16_t len);
/* Abnormal end from outside: both ends see a reset. No ops->failed. */
void amp_flow_kill(struct amp_flow *flow);
/* What the guest said is complete, and can be delivered without it: amp_end_ops.left(). */
bool amp_flow_left(struct amp_flow *flow, bool gone);
/* All of a link's with these ops and this owner. How many. */
unsigned amp_flow_end_all(struct amp_link *link, const struct amp_flow_ops *ops,
			  const void *owner);

#endif /* AMP_PROXY_FLOW_H */
