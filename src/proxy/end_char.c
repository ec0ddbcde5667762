// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls:hot writev */
/*
 * The raw end on /dev/rpmsgN: an endpoint that sends to one address of the remote. Only ends
 * that we open: for a service of ours one would have to know who sent a message.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "capture.h"
#include "clink.h"

struct amp_end_char {
	struct amp_end end;
	struct amp_clink *cl;
	struct amp_cept *cept;
	TAILQ_ENTRY(amp_end_char) entry;
	TAILQ_ENTRY(amp_end_char) due_entry;
	struct amp_grave grave;
	uint16_t held_first, held_last; /* as in struct amp_end_vsock */
	uint64_t rx_bytes, tx_bytes;
	bool on_due;
	bool opening; /* OPEN is to be told */
	bool eof;     /* the remote has withdrawn the service */
	bool failed;  /* the link went down */
	bool let_go;  /* by the user */
};

static struct amp_end_char *of(struct amp_end *end)
{
	return amp_container_of(end, struct amp_end_char, end);
}

static void due(struct amp_end_char *e)
{
	if (e->on_due)
		return;
	e->on_due = true;
	TAILQ_INSERT_TAIL(&e->cl->raws_due, e, due_entry);
}

void amp_end_char_input(struct amp_end *end, const struct amp_vsock_rx *rx)
{
	struct amp_end_char *e = of(end);

	e->rx_bytes += rx->len;
	e->cl->vl.link.stats.rx_bytes += rx->len;
	if (e->let_go)
		return;
	due(e);
	if (!amp_pass_hold(rx, 0, &e->held_first, &e->held_last))
		e->cl->vl.link.stats.drops++;
}

void amp_end_char_withdrawn(struct amp_clink *cl, uint32_t addr)
{
	struct amp_end_char *e;

	TAILQ_FOREACH(e, &cl->raws, entry)
	{
		if (e->cept->dst != addr)
			continue;
		e->eof = true;
		due(e);
	}
}

void amp_end_char_down(struct amp_clink *cl)
{
	struct amp_end_char *e;

	TAILQ_FOREACH(e, &cl->raws, entry)
	{
		e->held_first = e->held_last = 0;
		e->failed = true;
		due(e);
	}
}

static void raw_free(struct amp_grave *grave)
{
	free(amp_container_of(grave, struct amp_end_char, grave));
}

static void end_over(struct amp_end_char *e)
{
	if (e->on_due)
		TAILQ_REMOVE(&e->cl->raws_due, e, due_entry);
	TAILQ_REMOVE(&e->cl->raws, e, entry);
	amp_cept_close(e->cept);
	e->cl->vl.end_cnt--;
	amp_link_end_del(&e->cl->vl.link, &e->end);
	amp_bury(&e->grave, raw_free);
}

static void tell(struct amp_end_char *e, enum amp_end_event event)
{
	if (!e->let_go)
		e->end.user->event(&e->end, event);
}

static void serve(struct amp_end_char *e)
{
	if (e->opening) {
		e->opening = false;
		tell(e, AMP_END_OPEN);
	}
	for (unsigned i = e->held_first; i && !e->let_go; i = amp_pass.held[i - 1].next) {
		const struct amp_held *h = &amp_pass.held[i - 1];

		e->end.user->data(&e->end, &amp_pass.iov[h->iov_at], h->iov_cnt, h->len);
	}
	e->held_first = e->held_last = 0;
	if (e->failed) {
		e->end.err = ECONNRESET;
		tell(e, AMP_END_FAILED);
	} else if (e->eof) {
		tell(e, AMP_END_EOF);
	}
	if (e->let_go)
		end_over(e);
}

bool amp_end_char_serve(struct amp_clink *cl)
{
	struct amp_end_char *last = TAILQ_LAST(&cl->raws_due, amp_end_chars), *e = NULL;

	while (e != last) { /* who becomes due meanwhile waits for the next pass */
		e = TAILQ_FIRST(&cl->raws_due);
		TAILQ_REMOVE(&cl->raws_due, e, due_entry);
		e->on_due = false;
		serve(e);
	}
	return !TAILQ_EMPTY(&cl->raws_due);
}

static ssize_t raw_write(struct amp_end *end, const struct iovec *iov, int cnt, size_t len)
{
	struct amp_end_char *e = of(end);
	ssize_t n;

	if (e->failed)
		return -ECONNRESET;
	if (len > e->cl->room)
		return -EMSGSIZE;
	if (!TAILQ_EMPTY(&e->cl->pending))
		return -EAGAIN;
	n = writev(e->cept->watch.fd, iov, cnt);
	if (n < 0)
		return errno == ENOMEM ? -EAGAIN : -errno;
	if (__builtin_expect(e->cl->vl.link.tapped, 0) && cnt == 1)
		amp_capture_rpmsg(&e->cl->vl.link, true, e->cept->src, e->cept->dst,
				  iov->iov_base, (uint32_t)n);
	e->tx_bytes += (uint64_t)n;
	e->cl->vl.link.stats.tx_bytes += (uint64_t)n;
	e->cl->vl.link.stats.tx_packets++;
	return n;
}

static void raw_shut(struct amp_end *end)
{
	(void)end; /* messages have no end of file */
}

static void raw_close(struct amp_end *end)
{
	struct amp_end_char *e = of(end);

	e->let_go = true;
	due(e);
	amp_work_queue(&e->cl->vl.work);
}

static void raw_text(const struct amp_end *end, char *dst, size_t len)
{
	const struct amp_end_char *e =
		(const void *)((const char *)end - offsetof(struct amp_end_char, end));

	snprintf(dst, len, "rpmsg:@%u", e->cept->dst);
}

static void raw_info(const struct amp_end *end, struct amp_sock_info *info)
{
	const struct amp_end_char *e =
		(const void *)((const char *)end - offsetof(struct amp_end_char, end));

	info->ring = info->message = true;
	info->state = e->let_go || e->failed ? "closing" : "established";
	snprintf(info->guest_peer, AMP_INFO_ADDR, "rpmsg:@%u", e->cept->dst);
	snprintf(info->guest_local, AMP_INFO_ADDR, "rpmsg:@%u", e->cept->src);
	info->rx_bytes = e->rx_bytes;
	info->tx_bytes = e->tx_bytes;
}

/* As end_rpmsg.c's: one user, who drops. An empty message would read as nothing. */
static const struct amp_end_ops raw_ops = {
	.name = "rpmsg-char",
	.write = raw_write,
	.shut = raw_shut,
	.reset = raw_close,
	.close = raw_close,
	.text = raw_text,
	.info = raw_info,
};

struct amp_end *amp_end_char_open(struct amp_clink *cl, uint32_t peer, int *err)
{
	struct amp_end_char *e;

	*err = ENOBUFS;
	if (cl->vl.end_cnt >= AMP_LIMIT_ENDS) {
		cl->vl.link.stats.refused++;
		return NULL;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->cept = amp_cept_open(cl, AMP_CEPT_RAW, AMP_RPMSG_ADDR_ANY, peer, err);
	if (!e->cept) {
		free(e);
		return NULL;
	}
	e->cl = cl;
	e->cept->raw = &e->end;
	e->end.ops = &raw_ops;
	e->end.message = true;
	e->opening = true;
	cl->vl.end_cnt++;
	amp_link_end_add(&cl->vl.link, &e->end);
	TAILQ_INSERT_TAIL(&cl->raws, e, entry);
	due(e);
	amp_work_queue(&cl->vl.work);
	return &e->end;
}
