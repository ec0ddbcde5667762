/* SPDX-License-Identifier: BSD-3-Clause */
/* Between link_vhost_vsock.c and link_vv_keep.c, which see to one struct. */
#ifndef AMP_PROXY_LINK_VV_H
#define AMP_PROXY_LINK_VV_H

#include "../virtio/vhost_user_keep.h"
#include "vlink.h"

/* virtio 1.2, 5.10.2: 0 receives (for the guest), 1 transmits, 2 tells events */
#define AMP_VV_RX     0u
#define AMP_VV_TX     1u
#define AMP_VV_EVENT  2u
#define AMP_VV_QUEUES 3u

struct amp_link_vv;

struct amp_vv_kick {
	struct amp_watch watch;
	struct amp_link_vv *link;
	unsigned q;
};

/* What a guest that we took over has still to be told, in this order. */
enum amp_vv_news {
	AMP_VV_NONE,
	AMP_VV_RST,   /* that its connections are gone: RST for each in the journal */
	AMP_VV_RESET, /* that its transport was reset: an event, where it gives us a buffer */
	AMP_VV_TOLD,  /* it is to give the event's buffer back first */
};

struct amp_link_vv {
	struct amp_vlink vl; /* first */
	struct amp_vhost_be be;
	struct amp_watch listen;
	struct amp_watch conn;
	struct amp_vv_kick kick[AMP_VV_QUEUES];
	struct amp_vq *vq[AMP_VV_QUEUES];
	uint16_t stopped_at[AMP_VV_QUEUES]; /* ring position when the queue stopped */
	bool ran[AMP_VV_QUEUES];
	uint64_t bytes; /* of link.stats, both ways, as of the last turn */
	uint8_t config[8];
	struct amp_busy busy; /* between an answer and the guest's next message */
	unsigned left;	      /* packets in the ring that are taken before the VMM's words, */
	unsigned due_turns;   /* and how often ends that are due may still have more, */
	bool taking;	      /* in turns: it has begun */
	bool next_waits;      /* another VMM, for this one's end to be read */
	bool awake; /* the guest did not want to hear of the last buffer that it got */
	struct amp_log_rate log_second, log_again, log_reset, log_detached;
	/* link_vv_keep.c */
	struct amp_vhost_kept kept; /* under which names descriptors are kept now */
	uint32_t kept_changes;	    /* be.changes then; be's own counts from 0 */
	enum amp_vv_news news;
	bool ring_all;	     /* taken over: a call may have been lost */
	bool no_event;	     /* it had its time: only RSTs are told yet */
	uint16_t event_seen; /* the event queue's avail index when it was told */
	uv_timer_t patience;
	struct amp_vq_order order[AMP_VV_QUEUES]; /* last: zeroed.h */
};

/* A VMM is there: from now on what a successor needs is kept. */
void amp_vv_keep_start(struct amp_link_vv *l);
/* Around amp_vhost_be_readable(): messages are being handled, were handled. */
void amp_vv_keep_begin(struct amp_link_vv *l);
void amp_vv_keep_end(struct amp_link_vv *l);
/* It is gone. */
void amp_vv_keep_stop(struct amp_link_vv *l);

/*
 * At the start of the link: a guest of our predecessor's, if there is one, as if it had just
 * connected. True: there is, and be runs.
 */
bool amp_vv_take_over(struct amp_link_vv *l);
/* Rings every call. 0, or -EINTR as amp_vhost_be_notify(). */
int amp_vv_ring_all(struct amp_link_vv *l);
/* In each pass, before the engine's turn. True: the guest is to be left alone in this one. */
bool amp_vv_tell(struct amp_link_vv *l);
/* Its driver starts anew, or it is gone: there is nothing to be told. */
void amp_vv_tell_end(struct amp_link_vv *l);

#endif /* AMP_PROXY_LINK_VV_H */
