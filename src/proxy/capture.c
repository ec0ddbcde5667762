// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation: capture.h.
 *
 * #syscalls clock_gettime mmap.data munmap
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../wire/le.h"
#include "../wire/rpmsg_hdr.h"
#include "capture.h"

/* struct af_vsockmon_hdr of Linux (include/uapi/linux/vsockmon.h). */
#define MON_LEN	       32u
#define MON_CONNECT    1u
#define MON_DISCONNECT 2u
#define MON_CONTROL    3u
#define MON_PAYLOAD    4u
#define MON_VIRTIO     2u

#define HEADERS_MAX (MON_LEN + AMP_VSOCK_HDR_LEN)

struct amp_capture {
	TAILQ_ENTRY(amp_capture) entry;
	enum amp_tap_kind kind;
	uint32_t link; /* its number; 0: any */
	uint32_t snap_len;
	uint64_t left;		 /* packets to go; UINT64_MAX: no limit */
	uint64_t packets, drops; /* so far */
	bool stopped, ended;
	struct amp_work *news;
	size_t head, len; /* of ring */
	uint8_t ring[AMP_CAPTURE_QUEUE];
};

static TAILQ_HEAD(, amp_capture) captures = TAILQ_HEAD_INITIALIZER(captures);
static unsigned capture_cnt;

static bool of(const struct amp_capture *cap, const struct amp_link *link)
{
	return !cap->stopped && cap->kind == link->ops->tap_kind &&
	       (!cap->link || cap->link == link->num);
}

void amp_capture_look(struct amp_link *link)
{
	struct amp_capture *cap;
	bool want = false;

	TAILQ_FOREACH(cap, &captures, entry)
	want |= of(cap, link);
	if (want == link->tapped)
		return;
	link->tapped = want;
	link->ops->tap(link);
}

/* Which links are looked at has changed. */
static void retap(void)
{
	struct amp_link *link;

	TAILQ_FOREACH(link, amp_links_all(), entry)
	amp_capture_look(link);
}

static void put(struct amp_capture *cap, const void *data, size_t len)
{
	size_t at = (cap->head + cap->len) % AMP_CAPTURE_QUEUE;
	size_t first = AMP_CAPTURE_QUEUE - at < len ? AMP_CAPTURE_QUEUE - at : len;

	memcpy(cap->ring + at, data, first);
	memcpy(cap->ring, (const uint8_t *)data + first, len - first);
	cap->len += len;
}

static void put_record(struct amp_capture *cap, uint32_t type, uint32_t len, uint32_t full_len,
		       uint32_t link)
{
	uint8_t rec[AMP_CAPTURE_REC_LEN];
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	amp_put_le32(rec, type);
	amp_put_le32(rec + 4, len);
	amp_put_le32(rec + 8, full_len);
	amp_put_le32(rec + 12, link);
	amp_put_le64(rec + 16, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
	amp_put_le64(rec + 24, cap->drops);
	put(cap, rec, sizeof(rec));
}

static void add(struct amp_capture *cap, const struct amp_link *link, const uint8_t *headers,
		uint32_t headers_len, const struct amp_iov *iov, unsigned iov_cnt, uint32_t len)
{
	uint32_t full = headers_len + len, want = full < cap->snap_len ? full : cap->snap_len;
	uint32_t left = want > headers_len ? want - headers_len : 0;

	/* the end record always finds room */
	if (AMP_CAPTURE_QUEUE - cap->len < 2 * AMP_CAPTURE_REC_LEN + want) {
		cap->drops++;
		return;
	}
	put_record(cap, 0, want, full, link->num);
	put(cap, headers, want - left);
	for (unsigned i = 0; i < iov_cnt && left; i++) {
		uint32_t n = iov[i].len < left ? (uint32_t)iov[i].len : left;

		put(cap, iov[i].base, n);
		left -= n;
	}
	while (left) { /* cannot be: the length was checked against the pieces */
		put(cap, "", 1);
		left--;
	}
	cap->packets++;
	amp_work_queue(cap->news);
	if (cap->left != UINT64_MAX && --cap->left == 0)
		amp_capture_stop(cap);
}

static void add_all(const struct amp_link *link, const uint8_t *headers, uint32_t headers_len,
		    const struct amp_iov *iov, unsigned iov_cnt, uint32_t len)
{
	struct amp_capture *cap;

	TAILQ_FOREACH(cap, &captures, entry)
	{
		if (of(cap, link))
			add(cap, link, headers, headers_len, iov, iov_cnt, len);
	}
}

static unsigned mon_op(unsigned op)
{
	switch (op) {
	case AMP_VSOCK_OP_REQUEST:
	case AMP_VSOCK_OP_RESPONSE:
		return MON_CONNECT;
	case AMP_VSOCK_OP_RST:
	case AMP_VSOCK_OP_SHUTDOWN:
		return MON_DISCONNECT;
	case AMP_VSOCK_OP_RW:
		return MON_PAYLOAD;
	case AMP_VSOCK_OP_CREDIT_UPDATE:
	case AMP_VSOCK_OP_CREDIT_REQUEST:
		return MON_CONTROL;
	default:
		return 0;
	}
}

void amp_capture_vsock(struct amp_link *link, bool out, const struct amp_vsock_hdr *h,
		       const struct amp_iov *iov, unsigned iov_cnt, uint32_t len)
{
	uint8_t p[HEADERS_MAX] = {0};

	(void)out; /* the CIDs say it */
	amp_put_le64(p, h->src_cid);
	amp_put_le64(p + 8, h->dst_cid);
	amp_put_le32(p + 16, h->src_port);
	amp_put_le32(p + 20, h->dst_port);
	amp_put_le16(p + 24, (uint16_t)mon_op(h->op));
	amp_put_le16(p + 26, MON_VIRTIO);
	amp_put_le16(p + 28, AMP_VSOCK_HDR_LEN);
	memcpy(p + MON_LEN, h, AMP_VSOCK_HDR_LEN);
	add_all(link, p, sizeof(p), iov, iov_cnt, len);
}

void amp_capture_rpmsg(struct amp_link *link, bool out, uint32_t src, uint32_t dst,
		       const void *data, uint32_t len)
{
	uint8_t p[AMP_CAPTURE_RPMSG_LEN + AMP_RPMSG_HDR_LEN] = {1, out};
	struct amp_iov iov = {(void *)(uintptr_t)data, len};

	amp_put_le16(p + 2, AMP_CAPTURE_RPMSG_LEN);
	amp_put_le32(p + 4, link->num);
	amp_put_le32(p + 8, src);
	amp_put_le32(p + 12, dst);
	amp_put_le16(p + 20, (uint16_t)len);
	add_all(link, p, sizeof(p), &iov, 1, len);
}

struct amp_capture *amp_capture_new(struct amp_link *link, enum amp_tap_kind kind,
				    uint32_t snap_len, uint64_t count, struct amp_work *news)
{
	struct amp_capture *cap = calloc(1, sizeof(*cap));

	if (!cap)
		return NULL;
	cap->kind = kind;
	cap->link = link ? link->num : 0;
	cap->snap_len = snap_len;
	cap->left = count ? count : UINT64_MAX;
	cap->news = news;
	TAILQ_INSERT_TAIL(&captures, cap, entry);
	capture_cnt++;
	retap();
	return cap;
}

/* Not from within a pass, where the links are walked already: retap() only sets pointers. */
void amp_capture_stop(struct amp_capture *cap)
{
	if (cap->stopped)
		return;
	cap->stopped = true;
	put_record(cap, 1, 0, 0, 0);
	retap();
	amp_work_queue(cap->news);
}

void amp_capture_gone(const struct amp_link *link)
{
	struct amp_capture *cap;

	TAILQ_FOREACH(cap, &captures, entry)
	{
		if (cap->link == link->num)
			amp_capture_stop(cap);
	}
}

void amp_capture_free(struct amp_capture *cap)
{
	if (!cap)
		return;
	TAILQ_REMOVE(&captures, cap, entry);
	capture_cnt--;
	retap();
	free(cap);
}

size_t amp_capture_take(struct amp_capture *cap, uint8_t *dst, size_t room)
{
	size_t done = 0;

	while (done < room && cap->len) {
		size_t n = AMP_CAPTURE_QUEUE - cap->head;

		if (n > cap->len)
			n = cap->len;
		if (n > room - done)
			n = room - done;
		memcpy(dst + done, cap->ring + cap->head, n);
		cap->head = (cap->head + n) % AMP_CAPTURE_QUEUE;
		cap->len -= n;
		done += n;
	}
	return done;
}

bool amp_capture_over(const struct amp_capture *cap)
{
	return cap->stopped && cap->len == 0;
}

void amp_capture_seen(const struct amp_capture *cap, uint64_t *packets, uint64_t *drops)
{
	*packets = cap->packets;
	*drops = cap->drops;
}

unsigned amp_capture_count(void)
{
	return capture_cnt;
}
