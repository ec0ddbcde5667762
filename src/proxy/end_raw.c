// SPDX-License-Identifier: BSD-3-Clause
/* Raw ends, what they have in common: end_raw.h has the theory. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "end_raw.h"

static struct amp_raw_end *of(struct amp_end *end)
{
	return amp_container_of(end, struct amp_raw_end, end);
}

static const struct amp_raw_end *of_const(const struct amp_end *end)
{
	return (const void *)((const char *)end - offsetof(struct amp_raw_end, end));
}

/* ---- their lives ---- */

void amp_raws_init(struct amp_raws *raws, struct amp_vlink *vl, const struct amp_raw_ops *ops)
{
	raws->vl = vl;
	raws->ops = ops;
	TAILQ_INIT(&raws->all);
	TAILQ_INIT(&raws->due);
}

bool amp_raws_room(struct amp_raws *raws)
{
	if (raws->vl->end_cnt < AMP_LIMIT_ENDS)
		return true;
	raws->vl->link.stats.refused++;
	return false;
}

struct amp_raw_end *amp_raw_new(struct amp_raws *raws, size_t len, uint32_t peer)
{
	struct amp_raw_end *e = amp_raws_room(raws) ? calloc(1, len) : NULL;

	if (!e)
		return NULL;
	e->raws = raws;
	e->peer = peer;
	e->end.ops = raws->ops->end;
	e->end.message = true;
	raws->vl->end_cnt++;
	amp_link_end_add(&raws->vl->link, &e->end);
	TAILQ_INSERT_TAIL(&raws->all, e, entry);
	return e;
}

struct amp_end *amp_raw_opened(struct amp_raw_end *e)
{
	e->opening = true;
	amp_raw_due(e);
	amp_work_queue(&e->raws->vl->work);
	return &e->end;
}

static void release_held(struct amp_raw_end *e)
{
	for (unsigned i = e->held_first; i && e->raws->ops->release;
	     i = amp_pass.held[i - 1].next)
		e->raws->ops->release(e, amp_pass.held[i - 1].id);
	e->held_first = e->held_last = 0;
}

static void raw_free(struct amp_grave *grave)
{
	free(amp_container_of(grave, struct amp_raw_end, grave));
}

static void end_over(struct amp_raw_end *e)
{
	struct amp_raws *raws = e->raws;

	if (e->on_due)
		TAILQ_REMOVE(&raws->due, e, due_entry);
	release_held(e);
	TAILQ_REMOVE(&raws->all, e, entry);
	raws->ops->over(e);
	raws->vl->end_cnt--;
	amp_link_end_del(&raws->vl->link, &e->end);
	amp_bury(&e->grave, raw_free);
}

/* ---- from the remote ---- */

void amp_raw_due(struct amp_raw_end *e)
{
	if (e->on_due)
		return;
	e->on_due = true;
	TAILQ_INSERT_TAIL(&e->raws->due, e, due_entry);
}

bool amp_raw_input(struct amp_raw_end *e, const struct amp_vsock_rx *rx, uint32_t id)
{
	struct amp_link_stats *stats = &e->raws->vl->link.stats;

	e->rx_bytes += rx->len;
	stats->rx_bytes += rx->len;
	if (e->let_go)
		return false;
	amp_raw_due(e);
	if (amp_pass_hold(rx, id, &e->held_first, &e->held_last))
		return true;
	stats->drops++;
	return false;
}

void amp_raws_withdrawn(struct amp_raws *raws, uint32_t addr)
{
	struct amp_raw_end *e;

	TAILQ_FOREACH(e, &raws->all, entry)
	{
		if (e->source || e->peer != addr)
			continue;
		e->eof = true;
		amp_raw_due(e);
	}
}

void amp_raws_down(struct amp_raws *raws)
{
	struct amp_raw_end *e;

	TAILQ_FOREACH(e, &raws->all, entry)
	{
		e->held_first = e->held_last = 0;
		e->failed = true;
		amp_raw_due(e);
	}
}

/* ---- what there is to tell ---- */

static void tell(struct amp_raw_end *e, enum amp_end_event event)
{
	if (!e->let_go)
		e->end.user->event(&e->end, event);
}

static void serve(struct amp_raw_end *e)
{
	if (e->incoming) {
		e->incoming = false;
		e->raws->ops->look(e);
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

bool amp_raws_serve(struct amp_raws *raws)
{
	struct amp_raw_list now = TAILQ_HEAD_INITIALIZER(now);
	struct amp_raw_end *e;

	TAILQ_CONCAT(&now, &raws->due, due_entry); /* who becomes due meanwhile waits */
	while ((e = TAILQ_FIRST(&now)) != NULL) {
		TAILQ_REMOVE(&now, e, due_entry);
		e->on_due = false;
		serve(e);
	}
	return !TAILQ_EMPTY(&raws->due);
}

/* ---- from the user ---- */

void amp_raw_sent(struct amp_raw_end *e, size_t len)
{
	e->tx_bytes += len;
	e->raws->vl->link.stats.tx_bytes += len;
}

void amp_raw_shut(struct amp_end *end)
{
	(void)end; /* messages have no end of file */
}

void amp_raw_close(struct amp_end *end)
{
	struct amp_raw_end *e = of(end);

	e->let_go = true;
	amp_end_let_go(end);
	amp_raw_due(e);
	amp_work_queue(&e->raws->vl->work);
}

void amp_raw_text(const struct amp_end *end, char *dst, size_t len)
{
	snprintf(dst, len, "rpmsg:@%u", of_const(end)->peer);
}

void amp_raw_info(const struct amp_end *end, struct amp_sock_info *info)
{
	const struct amp_raw_end *e = of_const(end);

	info->ring = info->message = true;
	info->state = e->let_go || e->failed ? "closing" : "established";
	snprintf(info->guest_peer, AMP_INFO_ADDR, "rpmsg:@%u", e->peer);
	snprintf(info->guest_local, AMP_INFO_ADDR, "rpmsg:@%u", e->raws->ops->local(e));
	info->rx_bytes = e->rx_bytes;
	info->tx_bytes = e->tx_bytes;
}
