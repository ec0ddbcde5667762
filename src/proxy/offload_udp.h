/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to offload_udp*.c.
 *
 * Offloaded UDP: one kernel socket a carrier, datagrams as frames in both directions.
 *
 * Theory of operation
 *
 * Guest to host. A frame is sent with one sendmsg() straight from where it lies; a frame
 * that is not whole yet stays in the carrier's end, whose window bounds it. Every
 * destination is asked of the policy (the last good one is remembered for a second).
 *
 * Host to guest. Datagrams are read, several a call, while the ring has room; a frame
 * that did not fit whole waits in `spill`, and while anything waits there nothing is read:
 * then the kernel's receive buffer fills and drops, as for any slow program. What was
 * dropped, there or here, is counted and the guest is told with a DROPS frame.
 *
 * A socket that no `in` rule covers takes datagrams only from where it may send to. One
 * that is covered, or published, takes them from anywhere, and may answer the last few
 * peers that it heard from.
 */
#ifndef AMP_PROXY_OFFLOAD_UDP_H
#define AMP_PROXY_OFFLOAD_UDP_H

#include <netinet/in.h>
#include <string.h>

#include "offload_inner.h"

#define AMP_UDP_PEERS	 16u
#define AMP_UDP_CACHE_MS 1000u /* that a policy's yes is remembered */

struct amp_udp {
	struct amp_osock o; /* first */
	struct amp_end *end;
	struct amp_watch watch;
	struct amp_work work; /* reads the socket */
	struct amp_buf spill;
	uint32_t max_payload;
	uint32_t drops; /* not yet told */
	uint64_t drops_all;
	uint32_t kernel_drops; /* as SO_RXQ_OVFL last said */
	bool heard;	       /* it has said something to this user */
	bool readable, writable, errors;
	bool in_ok; /* takes datagrams from anybody */
	bool connected;
	bool paid; /* the frame that waits for room has its token of datagrams/s */
	bool dead;
	struct amp_off_addr local;    /* as bound */
	struct sockaddr_storage peer; /* virtual and connected: the filter is ours */
	struct sockaddr_storage good; /* may be sent to until good_until_ms */
	uint64_t good_until_ms;
	struct sockaddr_storage good_in;
	uint64_t good_in_until_ms;
	struct sockaddr_storage peers[AMP_UDP_PEERS]; /* heard from, when in_ok */
	unsigned peer_next;
};

static inline bool amp_udp_same(const struct sockaddr_storage *a,
				const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	return memcmp(a, b,
		      a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					       : sizeof(struct sockaddr_in)) == 0;
}

/* ---- offload_udp.c ---- */
/* It is over; the carrier is reset. */
void amp_udp_kill(struct amp_udp *u);

/* ---- offload_udp_in.c: host to guest ---- */
/* The guest is told; to: whom it was for, or NULL. */
void amp_udp_error(struct amp_udp *u, int err, const struct sockaddr *to);
void amp_udp_run(struct amp_work *work);
/* There is room on the carrier. */
void amp_udp_writable(struct amp_udp *u);

/* ---- offload_udp_out.c: guest to host ---- */
/* Who may be answered without an `out` rule. */
bool amp_udp_heard_from(const struct amp_udp *u, const struct sockaddr_storage *peer);
/* 0, or a positive errno that is said. */
int amp_udp_may_send(struct amp_udp *u, const struct sockaddr_storage *to);
socklen_t amp_udp_to_kernel(const struct amp_udp *u, const struct amp_off_addr *a,
			    struct sockaddr_storage *ss);
/* struct amp_end_user */
size_t amp_udp_data(struct amp_end *end, const struct iovec *iov, int cnt, size_t len);

#endif /* AMP_PROXY_OFFLOAD_UDP_H */
