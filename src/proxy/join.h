/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Joined guests: two links whose guests talk to each other over AF_VSOCK, because the
 * configuration says so.
 *
 * Theory of operation
 *
 * Packets are switched, not terminated. What one guest's driver sends to the other's CID is
 * copied, once, into the other's receive buffers with the header that it came with. So
 * credit, half-close, message boundaries, what a refused or reset connection looks like and
 * whatever is built on them is between the two guests' own stacks, as if a wire were between
 * them; the proxy adds no buffer that acknowledges what nobody has read. Of the header only
 * the length and the end-of-message flags change, where a packet is longer than a receive
 * buffer and goes in pieces (the flags with the last).
 *
 * Nothing is passed on that was not looked at: the source must be the link's own CID (the
 * engine saw to that), the destination the CID of a joined link, the ports not those of the
 * offload protocol, and but for REQUEST the connection must be known. For each there is a
 * *pair*: who asked, whether it was answered, and in both directions what was sent, what
 * was consumed, how much the receiver said it takes. A guest that sends more than it was
 * allowed, or says things out of turn, loses that connection. The table is what lets every
 * connection of a guest that goes away be reset at the other end. Each guest may have opened
 * AMP_JOIN_PAIRS through each join. A REQUEST that was not answered in AMP_JOIN_ASK_MS has lost
 * its place: both guests hear RST when the next REQUEST comes, so that one who never answers
 * does not fill the table for ever.
 *
 * Where the receiver has no buffer ready packets wait in a *way*, one for each direction of
 * each join, so that a guest that takes nothing stops nobody's transmit ring. Waiting bytes
 * are bounded three times: per connection by the credit that its receiver gave, per way by
 * its share of AMP_JOIN_QUEUE, and by that for each receiving guest. What exceeds the share
 * resets the connection that it belongs to: never another way's. Stream data that waits is
 * put together, so that small packets cost no more than their bytes. RSTs are exempt, as
 * there is one for a pair at most, and no pair without its REQUEST's place.
 *
 * Two guests that work together can make each packet as long as their memory: how much is
 * copied in one go is bounded, too, or all the others would wait for it.
 *
 * Ways take turns on their receiver's buffers, and all of them together get half of those
 * when the receiver's own flows want buffers, too.
 */
#ifndef AMP_PROXY_JOIN_H
#define AMP_PROXY_JOIN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>

#define AMP_JOIN_PAIRS	2048u
#define AMP_JOIN_ASK_MS 60000u	    /* an unanswered REQUEST: Linux's guests wait for 2 s */
#define AMP_JOIN_QUEUE	(32u << 20) /* bytes that wait for one guest, of all ways to it */
#define AMP_JOIN_TURN	(1u << 20)  /* bytes copied in a pass of a link: the rest comes later */
#define AMP_JOIN_PACKET (1u << 20)  /* payload of one packet; Linux's have 64 KiB at most */

struct amp_end;
struct amp_link;
struct amp_sock_info;
struct amp_vlink;
struct amp_vsock;
struct amp_vsock_hdr;
struct amp_vsock_rx;
struct amp_join;
struct amp_join_chunk;
struct amp_join_pair;

TAILQ_HEAD(amp_join_asked, amp_join_pair);

/* One direction. */
struct amp_join_way {
	TAILQ_ENTRY(amp_join_way) joined_entry; /* from->joined */
	TAILQ_ENTRY(amp_join_way)
	waiting_entry; /* to->waiting, while something waits or is lost */
	struct amp_join *join;
	unsigned side; /* from is join->link[side] */
	struct amp_vlink *from, *to;
	struct amp_join_chunk *head, *tail; /* packets that wait, in order */
	uint32_t done;			    /* payload bytes of the first that are sent */
	uint32_t pairs;			    /* that `from` asked for */
	struct amp_join_asked asked;	    /* of those, the unanswered: the oldest first */
	size_t queued;			    /* bytes, headers and all */
	bool lost;			    /* no memory for something that must not be lost */
	uint64_t packets;
	uint64_t bytes;
};

TAILQ_HEAD(amp_join_ways, amp_join_way);

/* Two links of type vhost-user-vsock. 0, -ENOMEM. */
int amp_join_new(struct amp_link *a, struct amp_link *b);
/* The join of these two ends: so do the connections between their guests. */
void amp_join_end(struct amp_link *a, struct amp_link *b);
/* All of them, when every link has stopped. */
void amp_joins_free(void);
/* A line of counters for each. */
void amp_join_stats(void);

/*
 * amp_link_ops.joined(): the next of link's connections with joined guests behind *join, *at,
 * which move on. *hint: where that is, while nothing else runs; NULL at first.
 */
bool amp_join_next(struct amp_link *link, uint64_t *at, uint32_t *join, const void **hint,
		   struct amp_sock_info *info);

/* ---- for vlink.c and end_vsock.c ---- */

/* The engine's hook for packets to other CIDs (vsock.h). */
bool amp_join_packet(struct amp_vsock *vs, const struct amp_vsock_hdr *h,
		     const struct amp_vsock_rx *rx);
/* What waits for vl's guest, into its buffers: before its own flows have their turn (last:
 * false) and after. */
void amp_join_deliver(struct amp_vlink *vl, bool last);
/* A stream of link's remote to a service at addr of a joined one (rjoin.h). */
void amp_join_incoming(struct amp_link *link, struct amp_end *end, struct amp_link *to,
		       uint32_t addr);
/* Every connection of vl's guest with joined ones ends, for both. */
void amp_join_reset(struct amp_vlink *vl);
/* vl's guest is gone: the others' connections to it end. */
void amp_join_down(struct amp_vlink *vl);

#endif /* AMP_PROXY_JOIN_H */
