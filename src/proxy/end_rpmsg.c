// SPDX-License-Identifier: BSD-3-Clause
/*
 * The raw end: rpmsg messages as they are, between an endpoint of ours and one address of the
 * remote. Nothing is added on the wire, so any rpmsg program is at the other end.
 *
 * There is no handshake, no credit and no goodbye. An end that we open is open at once; one
 * for a service of ours is born with the first message of a new source, and a source that is
 * silent for long, or is the longest silent one when there are too many, is forgotten. A
 * message that finds no buffer is not sent: the user drops it, as UDP does.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rlink.h"

static struct amp_end_rpmsg *of(struct amp_end *end)
{
	return amp_container_of(end, struct amp_end_rpmsg, end);
}

static void due(struct amp_end_rpmsg *e)
{
	if (e->on_due)
		return;
	e->on_due = true;
	TAILQ_INSERT_TAIL(&e->rl->raws_due, e, due_entry);
}

/* ---- from the remote ---- */

static int hold(struct amp_end_rpmsg *e, const struct amp_rpmsg_rx *rx)
{
	struct amp_iov iov = {rx->data, rx->len};
	struct amp_vsock_rx r = {.iov = &iov, .iov_cnt = 1, .len = rx->len};

	e->rx_bytes += rx->len;
	e->rl->vl.link.stats.rx_bytes += rx->len;
	if (e->let_go)
		return 0;
	e->heard_ms = amp_now_ms();
	TAILQ_REMOVE(&e->rl->raws, e, entry);
	TAILQ_INSERT_TAIL(&e->rl->raws, e, entry);
	due(e);
	if (amp_pass_hold(&r, rx->id, &e->held_first, &e->held_last))
		return 1;
	e->rl->vl.link.stats.drops++;
	return 0;
}

static void release_held(struct amp_end_rpmsg *e)
{
	for (unsigned i = e->held_first; i; i = amp_pass.held[i - 1].next)
		amp_rpmsg_release(&e->rl->bus, amp_pass.held[i - 1].id);
	e->held_first = e->held_last = 0;
}

static struct amp_end_rpmsg *end_new(struct amp_rlink *rl, uint32_t peer);

/* The source that one service has not heard of for the longest time. */
static struct amp_end_rpmsg *oldest(struct amp_rlink *rl, const struct amp_rservice *s)
{
	struct amp_end_rpmsg *e;

	TAILQ_FOREACH(e, &rl->raws, entry)
	{
		if (e->service == s && !e->eof && !e->let_go)
			break;
	}
	return e;
}

int amp_end_rpmsg_to_service(struct amp_rlink *rl, struct amp_rservice *s,
			     const struct amp_rpmsg_rx *rx)
{
	struct amp_end_rpmsg *e;

	TAILQ_FOREACH_REVERSE(e, &rl->raws, amp_end_rpmsg_list, entry)
	{
		if (e->service == s && e->peer == rx->src && !e->eof && !e->let_go)
			return hold(e, rx);
	}
	if (s->sources >= AMP_RLINK_SOURCES) {
		e = oldest(rl, s);
		if (e) {
			e->eof = true;
			due(e);
		}
	}
	e = s->sources < 2 * AMP_RLINK_SOURCES ? end_new(rl, rx->src) : NULL;
	if (!e) {
		rl->vl.link.stats.drops++;
		return 0;
	}
	e->service = s;
	e->incoming = true;
	s->sources++;
	return hold(e, rx);
}

int amp_end_rpmsg_to_end(struct amp_rlink *rl, struct amp_rpmsg_ept *ept,
			 const struct amp_rpmsg_rx *rx)
{
	struct amp_end_rpmsg *e = amp_container_of(ept, struct amp_end_rpmsg, ept);

	if (rx->src == e->peer)
		return hold(e, rx);
	rl->vl.link.stats.drops++; /* connected: nobody else is heard */
	return 0;
}

void amp_end_rpmsg_withdrawn(struct amp_rlink *rl, uint32_t addr)
{
	struct amp_end_rpmsg *e;

	TAILQ_FOREACH(e, &rl->raws, entry)
	{
		if (e->service || e->peer != addr)
			continue;
		e->eof = true;
		due(e);
	}
}

void amp_end_rpmsg_down(struct amp_rlink *rl)
{
	struct amp_end_rpmsg *e;

	TAILQ_FOREACH(e, &rl->raws, entry)
	{
		e->held_first = e->held_last = 0;
		e->failed = true;
		due(e);
	}
}

bool amp_end_rpmsg_idle(struct amp_rlink *rl)
{
	uint64_t now = amp_now_ms();
	struct amp_end_rpmsg *e;

	TAILQ_FOREACH(e, &rl->raws, entry)
	{
		if (now - e->heard_ms < AMP_RLINK_IDLE_MS)
			break;
		if (!e->service) /* whoever opened it knows how long it is wanted */
			continue;
		e->eof = true;
		due(e);
	}
	return rl->vl.link.up;
}

/* ---- what there is to tell ---- */

static void raw_free(struct amp_grave *grave)
{
	free(amp_container_of(grave, struct amp_end_rpmsg, grave));
}

static void end_over(struct amp_end_rpmsg *e)
{
	if (e->on_due)
		TAILQ_REMOVE(&e->rl->raws_due, e, due_entry);
	release_held(e);
	TAILQ_REMOVE(&e->rl->raws, e, entry);
	if (e->service)
		e->service->sources--;
	else
		amp_rpmsg_close(&e->rl->bus, &e->ept); /* it has no name to withdraw */
	e->rl->vl.end_cnt--;
	amp_link_end_del(&e->rl->vl.link, &e->end);
	amp_bury(&e->grave, raw_free);
}

static void tell(struct amp_end_rpmsg *e, enum amp_end_event event)
{
	if (!e->let_go)
		e->end.user->event(&e->end, event);
}

static void serve(struct amp_end_rpmsg *e)
{
	if (e->incoming) {
		e->incoming = false;
		amp_link_incoming(&e->rl->vl.link, &e->end, e->service->fwd);
	}
	if (e->opening) {
		e->opening = false;
		tell(e, AMP_END_OPEN);
	}
	for (unsigned i = e->held_first; i && !e->let_go; i = amp_pass.held[i - 1].next) {
		const struct amp_held *h = &amp_pass.held[i - 1];

		e->end.user->data(&e->end, &amp_pass.iov[h->iov_at], h->iov_cnt, h->len);
	}
	release_held(e);
	if (e->failed) {
		e->end.err = ECONNRESET;
		tell(e, AMP_END_FAILED);
	} else if (e->eof) {
		tell(e, AMP_END_EOF);
	}
	if (e->let_go)
		end_over(e);
}

bool amp_end_rpmsg_serve(struct amp_rlink *rl)
{
	struct amp_end_rpmsg_list now = TAILQ_HEAD_INITIALIZER(now);
	struct amp_end_rpmsg *e;

	TAILQ_CONCAT(&now, &rl->raws_due, due_entry);
	while ((e = TAILQ_FIRST(&now)) != NULL) {
		TAILQ_REMOVE(&now, e, due_entry);
		e->on_due = false;
		serve(e);
	}
	return !TAILQ_EMPTY(&rl->raws_due);
}

/* ---- to the remote ---- */

static ssize_t raw_write(struct amp_end *end, const struct iovec *iov, int cnt, size_t len)
{
	struct amp_end_rpmsg *e = of(end);
	struct amp_rpmsg_tx tx;
	int r;

	if (e->failed)
		return -ECONNRESET;
	r = amp_rpmsg_reserve(&e->rl->bus, &tx);
	amp_work_queue(&e->rl->vl.work); /* to send, or to ask for buffers */
	if (r)
		return r;
	if (len > tx.room) {
		amp_rpmsg_cancel(&e->rl->bus, &tx);
		return -EMSGSIZE;
	}
	amp_iov_copy(iov, cnt, 0, tx.data, len);
	amp_rpmsg_commit(&e->rl->bus, &tx, e->service ? e->service->ept.addr : e->ept.addr,
			 e->peer, (uint32_t)len);
	e->tx_bytes += len;
	e->rl->vl.link.stats.tx_bytes += len;
	return (ssize_t)len;
}

static void raw_accept(struct amp_end *end)
{
	(void)end; /* nobody waits for an answer */
}

static void raw_shut(struct amp_end *end)
{
	(void)end; /* messages have no end of file */
}

static void raw_close(struct amp_end *end)
{
	struct amp_end_rpmsg *e = of(end);

	e->let_go = true;
	due(e);
	amp_work_queue(&e->rl->vl.work);
}

static void raw_text(const struct amp_end *end, char *dst, size_t len)
{
	const struct amp_end_rpmsg *e =
		(const void *)((const char *)end - offsetof(struct amp_end_rpmsg, end));

	snprintf(dst, len, "rpmsg:@%u", e->peer);
}

static void raw_info(const struct amp_end *end, struct amp_sock_info *info)
{
	const struct amp_end_rpmsg *e =
		(const void *)((const char *)end - offsetof(struct amp_end_rpmsg, end));

	info->ring = info->message = true;
	info->state = e->let_go || e->failed ? "closing" : "established";
	snprintf(info->guest_peer, AMP_INFO_ADDR, "rpmsg:@%u", e->peer);
	snprintf(info->guest_local, AMP_INFO_ADDR, "rpmsg:@%u",
		 e->service ? e->service->ept.addr : e->ept.addr);
	info->rx_bytes = e->rx_bytes;
	info->tx_bytes = e->tx_bytes;
}

/* No reserve, resume, space, want: message ends have one user (udp_relay.c), who drops. */
static const struct amp_end_ops raw_ops = {
	.name = "rpmsg",
	.accept = raw_accept,
	.write = raw_write,
	.shut = raw_shut,
	.reset = raw_close,
	.close = raw_close,
	.text = raw_text,
	.info = raw_info,
};

static struct amp_end_rpmsg *end_new(struct amp_rlink *rl, uint32_t peer)
{
	struct amp_end_rpmsg *e;

	if (rl->vl.end_cnt >= AMP_LIMIT_ENDS) {
		rl->vl.link.stats.refused++;
		return NULL;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	rl->vl.end_cnt++;
	amp_link_end_add(&rl->vl.link, &e->end);
	e->rl = rl;
	e->peer = peer;
	e->heard_ms = amp_now_ms();
	e->end.ops = &raw_ops;
	e->end.message = e->end.empty = true;
	e->ept.kind = AMP_EPT_END;
	TAILQ_INSERT_TAIL(&rl->raws, e, entry);
	return e;
}

struct amp_end *amp_end_rpmsg_open(struct amp_rlink *rl, uint32_t peer, int *err)
{
	struct amp_end_rpmsg *e = end_new(rl, peer);

	*err = ENOBUFS;
	if (!e)
		return NULL;
	amp_rpmsg_open(&rl->bus, &e->ept, AMP_RPMSG_ADDR_ANY, NULL); /* cannot fail */
	e->opening = true;
	due(e);
	amp_work_queue(&rl->vl.work);
	return &e->end;
}
