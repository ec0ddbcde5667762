/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets as they pass, copied for whoever captures them (control.c; docs/control.md,
 * "Capture"). The door for the links: called only while link->tapped.
 *
 * Theory of operation
 *
 * A capture is a queue of AMP_CAPTURE_QUEUE bytes between the links' passes and one connection
 * of the control socket. A packet is copied there, cut to the length that was asked for, or it is
 * counted as dropped: nothing waits for the reader. Each record says how many were dropped
 * before it. What writes a file is the reader, in another process (ampsockctl).
 */
#ifndef AMP_PROXY_CAPTURE_H
#define AMP_PROXY_CAPTURE_H

#include "../virtio/vq.h"
#include "../wire/vsock_hdr.h"
#include "link.h"

#define AMP_CAPTURE_QUEUE (2u << 20)
#define AMP_CAPTURE_SNAP  65535u /* bytes of a packet, headers included, at most */
#define AMP_CAPTURES	  4u	 /* at a time */

/* Link types of a pcap file: those of tcpdump.org. */
#define AMP_DLT_VSOCK 271u
#define AMP_DLT_USER0 147u

/* A record on the connection, little-endian, the captured bytes behind it. */
#define AMP_CAPTURE_REC_LEN 32u
/* Before each rpmsg message, whose own header of 16 bytes follows. */
#define AMP_CAPTURE_RPMSG_LEN 8u

struct amp_capture;

void amp_capture_vsock(struct amp_link *link, bool out, const struct amp_vsock_hdr *h,
		       const struct amp_iov *iov, unsigned iov_cnt, uint32_t len);
void amp_capture_rpmsg(struct amp_link *link, bool out, uint32_t src, uint32_t dst,
		       const void *data, uint32_t len);

/* A guest has come: is its link looked at? */
void amp_capture_look(struct amp_link *link);

/* A link goes for good: what captures it alone has seen everything. */
void amp_capture_gone(const struct amp_link *link);

/* ---- for control.c ---- */

/*
 * Capture what passes through link, or (NULL) all links of a kind. news: there is something to
 * take; called from a link's pass. count: packets, 0: no limit. NULL: no memory.
 */
struct amp_capture *amp_capture_new(struct amp_link *link, enum amp_tap_kind kind,
				    uint32_t snap_len, uint64_t count, struct amp_work *news);
void amp_capture_free(struct amp_capture *cap);
/* No more packets from now on: what is there can be taken, an end record last. */
void amp_capture_stop(struct amp_capture *cap);
/* Up to room bytes into dst; 0: nothing now. */
size_t amp_capture_take(struct amp_capture *cap, uint8_t *dst, size_t room);
/* Everything, the end record too, was taken. */
bool amp_capture_over(const struct amp_capture *cap);
/* What it has seen: packets taken, and dropped for want of room. */
void amp_capture_seen(const struct amp_capture *cap, uint64_t *packets, uint64_t *drops);
/* How many captures there are. */
unsigned amp_capture_count(void);

#endif /* AMP_PROXY_CAPTURE_H */
