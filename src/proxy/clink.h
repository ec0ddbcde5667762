/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to link_rpmsg_char.c, door_char.c and end_char.c: a link whose rpmsg host is the
 * kernel (rchar.h).
 *
 * Theory of operation
 *
 * There is no bus here but a descriptor for each endpoint. One can send to one address
 * only, so a connection that we open needs two: the first is where we receive, and sends
 * REQUEST to the service; the remote's answer names the endpoint to talk to, and the
 * second sends there (REQUEST says that it will come from elsewhere: docs/protocol.md). One
 * that we accept knows its peer from the start. Our services' endpoints all send to the front
 * door, to which SERVICE goes; they exist while the remote has one.
 *
 * What arrives is read into an arena of the link, which lasts for the pass as ring buffers
 * do. What goes out waits in the endpoint's own slots while the kernel has no buffer: nobody
 * says when it has one again, so a timer tries. Meanwhile nobody else sends, for the buffers
 * are the whole remote's.
 */
#ifndef AMP_PROXY_CLINK_H
#define AMP_PROXY_CLINK_H

#include "end_raw.h"
#include "rchar.h"
#include "rnames.h"
#include "vlink.h"

#define AMP_CEPT_SLOTS 8u
/* In the arena: a byte more than a message may have shows the one that has more. */
#define AMP_CLINK_PLACE(cl) ((size_t)(cl)->room + 4u)

struct amp_clink;

enum amp_cept_kind {
	AMP_CEPT_SERVICE, /* of a stream service of ours */
	AMP_CEPT_CONN,	  /* of a stream connection */
	AMP_CEPT_AWAY,	  /* the second of one, which only sends */
	AMP_CEPT_RAW,	  /* of a raw end */
	AMP_CEPT_ONCE,	  /* for one message to somebody */
};

struct amp_cept {
	TAILQ_ENTRY(amp_cept) readable_entry;
	TAILQ_ENTRY(amp_cept) pending_entry;
	struct amp_watch watch;
	struct amp_clink *cl;
	struct amp_grave grave;
	uint8_t kind; /* enum amp_cept_kind */
	bool readable;
	bool hup;
	bool pending; /* committed messages wait for the kernel */
	uint32_t src, dst;
	union {
		struct amp_rstream_conn *rc;
		struct amp_raw_end *raw;
	};
	unsigned first, cnt;	      /* slots in use */
	uint32_t len[AMP_CEPT_SLOTS]; /* 0: reserved, not committed */
	uint8_t mem[];		      /* AMP_CEPT_SLOTS times cl->room */
};

TAILQ_HEAD(amp_cepts, amp_cept);

struct amp_clink {
	struct amp_vlink vl; /* first */
	const char *path;    /* of the control device */
	struct amp_rnames names;
	struct amp_cept **services; /* one for each of names.services; NULL: no front door */
	struct amp_cepts readable, pending;
	struct amp_cept *loose; /* where messages from no connection are written */
	struct amp_raws raws;
	uint32_t room; /* bytes a message */
	uint32_t next_addr;
	uint8_t *arena;
	unsigned cept_cnt;
	bool lost; /* an endpoint says that the remote is gone */
	uv_timer_t scan, retry;
	char said[300];
	struct amp_log_rate log_bad;
};

/* ---- door_char.c ---- */
extern const struct amp_rstream_door_ops amp_char_door;
/* An endpoint at src (AMP_RPMSG_ADDR_ANY: one that we choose) that sends to dst. NULL and *err. */
struct amp_cept *amp_cept_open(struct amp_clink *cl, enum amp_cept_kind kind, uint32_t src,
			       uint32_t dst, int *err);
void amp_cept_close(struct amp_cept *c);
/* The memory of one that has no descriptor: struct amp_clink.loose. */
struct amp_cept *amp_cept_new(struct amp_clink *cl);
/* Try those that wait. */
void amp_cept_retry(struct amp_clink *cl);
/* One readable message, round-robin, into at (AMP_CLINK_PLACE(cl) bytes): its length, -1: none
 * now. cl->room + 1: it was longer, and is cut. *c: whose. */
ssize_t amp_cept_read(struct amp_clink *cl, uint8_t *at, struct amp_cept **c);

/* ---- end_char.c ---- */
void amp_end_char_init(struct amp_clink *cl);
struct amp_end *amp_end_char_open(struct amp_clink *cl, uint32_t peer, int *err);

#endif /* AMP_PROXY_CLINK_H */
