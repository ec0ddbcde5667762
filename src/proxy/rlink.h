/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A link whose remote speaks rpmsg, on a bus that is this process's (af_rpmsg/rpmsg.h): who is
 * the host of its rings (shared memory) is on the outside.
 *
 * Theory of operation
 *
 * Four kinds of endpoint are on the bus: those of stream connections, which are ends as over
 * vsock (vlink.h); our stream services, where REQUESTs arrive; our raw services; and those of
 * raw ends, which are connected to one address of the remote (end_rpmsg.c).
 */
#ifndef AMP_PROXY_RLINK_H
#define AMP_PROXY_RLINK_H

#include "end_raw.h"
#include "rnames.h"
#include "vlink.h"

#define AMP_RLINK_HASH	  1024u
#define AMP_RLINK_SOURCES 256u	 /* that one raw service listens to at a time */
#define AMP_RLINK_IDLE_MS 60000u /* a source that is silent this long is forgotten */

struct amp_rlink;
struct amp_rjoin_side;

enum amp_ept_kind {
	AMP_EPT_CONN,	/* of a stream connection */
	AMP_EPT_STREAM, /* our stream service */
	AMP_EPT_RAW,	/* our raw service */
	AMP_EPT_END,	/* of a raw end */
	AMP_EPT_JOINED, /* of a joined remote's, raw (rjoin.h) */
	AMP_EPT_JOINED_STREAM,
};

struct amp_rlink {
	struct amp_vlink vl; /* first */
	struct amp_rpmsg bus;
	struct amp_rpmsg_stats counted; /* what link.stats has of bus.stats */
	struct amp_rnames names;
	struct amp_raws raws;
	TAILQ_HEAD(amp_rjoin_sides, amp_rjoin_side) joined;
	uv_timer_t idle;
	struct amp_rpmsg_ept *hash[AMP_RLINK_HASH];
};

int amp_rlink_init(struct amp_rlink *rl, const struct amp_link_ops *ops,
		   const struct amp_link_conf *conf);
/* The remote is there. */
void amp_rlink_up(struct amp_rlink *rl, struct amp_vq *in, struct amp_vq *out, bool ns);
/* It is gone: every end of its hears of it. */
void amp_rlink_down(struct amp_rlink *rl);
/* amp_link_ops.tap() */
void amp_rlink_tap(struct amp_link *link);
void amp_rlink_fini(struct amp_rlink *rl);
void amp_rlink_free(struct amp_rlink *rl);
/* struct amp_link_ops */
struct amp_end *amp_rlink_connect(struct amp_link *link, const struct amp_service *service,
				  bool message, int *err);
int amp_rlink_wanted(struct amp_link *link, const struct amp_forward *fwd);
/* Bytes written to dst. */
size_t amp_rlink_stats(const struct amp_rlink *rl, char *dst, size_t len);

/* ---- between rlink.c and end_rpmsg.c ---- */

void amp_end_rpmsg_init(struct amp_rlink *rl);
/* NULL and *err: no room. The end is OPEN as soon as somebody can be told. */
struct amp_end *amp_end_rpmsg_open(struct amp_rlink *rl, uint32_t peer, int *err);
/* A message for a raw service, or for a raw end's own endpoint. As the bus's data hook. */
int amp_end_rpmsg_to_service(struct amp_rlink *rl, struct amp_rservice *s,
			     const struct amp_rpmsg_rx *rx);
int amp_end_rpmsg_to_end(struct amp_rlink *rl, struct amp_rpmsg_ept *ept,
			 const struct amp_rpmsg_rx *rx);
/* Those silent for too long hear EOF. False: nobody is left to look after. */
bool amp_end_rpmsg_idle(struct amp_rlink *rl);

#endif /* AMP_PROXY_RLINK_H */
