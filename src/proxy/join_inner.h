/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to join.c (what may pass) and join_way.c (how it gets there). */
#ifndef AMP_PROXY_JOIN_INNER_H
#define AMP_PROXY_JOIN_INNER_H

#include "vlink.h"

#define AMP_JOIN_HASH_BITS 10u
#define AMP_JOIN_HASH	   (1u << AMP_JOIN_HASH_BITS)

/* One end of a pair. Counters are free-running, as on the wire. */
struct amp_join_end {
	uint32_t sent;	/* bytes it sent */
	uint32_t fwd;	/* bytes it consumed, as it last said */
	uint32_t alloc; /* its buffer: the most it ever said */
	uint32_t shut;	/* AMP_VSOCK_SHUTDOWN_*: what it said it does no more */
	uint64_t total; /* as sent, in full */
};

/* One connection between two joined guests. */
struct amp_join_pair {
	struct amp_join_pair *next;
	TAILQ_ENTRY(amp_join_pair) entry; /* join->pairs */
	uint64_t num[2];		  /* among the ends of link[0] and link[1] */
	uint32_t port[2];		  /* of link[0]'s and link[1]'s guest */
	struct amp_join_end end[2];
	TAILQ_ENTRY(amp_join_pair) asked_entry; /* way[opener].asked, until it is open */
	uint64_t asked_ms;
	uint32_t noted[2]; /* in the journals of the two links */
	uint8_t type;	   /* enum amp_vsock_type */
	uint8_t opener;
	bool open; /* RESPONSE has come */
};

struct amp_join {
	TAILQ_ENTRY(amp_join) entry;
	struct amp_join_way way[2];
	uint64_t resets;		   /* pairs ended by us: a broken rule, or no room */
	uint64_t key[2];		   /* random */
	uint32_t num;			   /* later ones have greater numbers */
	TAILQ_HEAD(, amp_join_pair) pairs; /* the newest last */
	struct amp_join_pair *hash[AMP_JOIN_HASH];
};

/* ---- join_way.c ---- */
/* Would a packet with len bytes of payload find room? */
bool amp_join_room(const struct amp_join_way *w, uint32_t len);
/* To the guest at the end of the way, now or when its turn comes. len bytes at iov. */
void amp_join_send(struct amp_join_way *w, const struct amp_vsock_hdr *h,
		   const struct amp_iov *iov, uint32_t len);
/* Forget what waits. */
void amp_join_drop(struct amp_join_way *w);

#endif /* AMP_PROXY_JOIN_INNER_H */
