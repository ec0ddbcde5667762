// SPDX-License-Identifier: BSD-3-Clause
/*
 * Raw ends (end_raw.h) on rings that are ours.
 *
 * An end that we open has an endpoint of its own, which hears one address. One for a service
 * of ours shares the service's: it is born with the first message of a new source, and a source
 * that is silent for long, or is the longest silent one when there are too many, is forgotten.
 */
#include <errno.h>

#include "rlink.h"

struct amp_end_rpmsg {
	struct amp_raw_end raw;	      /* first; in raws.all the longest silent is first */
	struct amp_rpmsg_ept ept;     /* unless it shares its service's */
	struct amp_rservice *service; /* incoming; NULL: we opened it */
	uint64_t heard_ms;
};

static struct amp_end_rpmsg *of(struct amp_raw_end *raw)
{
	return amp_container_of(raw, struct amp_end_rpmsg, raw);
}

static struct amp_end_rpmsg *of_end(struct amp_end *end)
{
	return amp_container_of(end, struct amp_end_rpmsg, raw.end);
}

static struct amp_rlink *rlink_of(struct amp_raws *raws)
{
	return amp_container_of(raws, struct amp_rlink, raws);
}

static uint32_t local(const struct amp_raw_end *raw)
{
	const struct amp_end_rpmsg *e =
		(const void *)((const char *)raw - offsetof(struct amp_end_rpmsg, raw));

	return e->service ? e->service->end.ept.addr : e->ept.addr;
}

/* ---- from the remote ---- */

static int hold(struct amp_end_rpmsg *e, const struct amp_rpmsg_rx *rx)
{
	struct amp_iov iov = {rx->data, rx->len};
	struct amp_vsock_rx r = {.iov = &iov, .iov_cnt = 1, .len = rx->len};
	struct amp_raws *raws = e->raw.raws;

	if (!e->raw.let_go) {
		e->heard_ms = amp_now_ms();
		TAILQ_REMOVE(&raws->all, &e->raw, entry);
		TAILQ_INSERT_TAIL(&raws->all, &e->raw, entry);
	}
	return amp_raw_input(&e->raw, &r, rx->id);
}

static struct amp_end_rpmsg *end_new(struct amp_rlink *rl, uint32_t peer)
{
	struct amp_raw_end *raw = amp_raw_new(&rl->raws, sizeof(struct amp_end_rpmsg), peer);
	struct amp_end_rpmsg *e;

	if (!raw)
		return NULL;
	e = of(raw);
	e->heard_ms = amp_now_ms();
	raw->end.empty = true;
	e->ept.kind = AMP_EPT_END;
	return e;
}

/* Of a service, and there is nothing yet that ends it. */
static bool hears(const struct amp_end_rpmsg *e, const struct amp_rservice *s)
{
	return e->service == s && !e->raw.eof && !e->raw.let_go;
}

static void forget(struct amp_raw_end *raw)
{
	raw->eof = true;
	amp_raw_due(raw);
}

/* The source that one service has not heard of for the longest time. */
static void forget_oldest(struct amp_rlink *rl, const struct amp_rservice *s)
{
	struct amp_raw_end *raw;

	TAILQ_FOREACH(raw, &rl->raws.all, entry)
	{
		if (hears(of(raw), s)) {
			forget(raw);
			return;
		}
	}
}

int amp_end_rpmsg_to_service(struct amp_rlink *rl, struct amp_rservice *s,
			     const struct amp_rpmsg_rx *rx)
{
	struct amp_raw_end *raw;
	struct amp_end_rpmsg *e;

	TAILQ_FOREACH_REVERSE(raw, &rl->raws.all, amp_raw_list, entry)
	{
		if (raw->peer == rx->src && hears(of(raw), s))
			return hold(of(raw), rx);
	}
	if (s->sources >= AMP_RLINK_SOURCES)
		forget_oldest(rl, s);
	e = s->sources < 2 * AMP_RLINK_SOURCES ? end_new(rl, rx->src) : NULL;
	if (!e) {
		rl->vl.link.stats.drops++;
		return 0;
	}
	e->service = s;
	e->raw.source = e->raw.incoming = true;
	s->sources++;
	return hold(e, rx);
}

int amp_end_rpmsg_to_end(struct amp_rlink *rl, struct amp_rpmsg_ept *ept,
			 const struct amp_rpmsg_rx *rx)
{
	struct amp_end_rpmsg *e = amp_container_of(ept, struct amp_end_rpmsg, ept);

	if (rx->src == e->raw.peer)
		return hold(e, rx);
	rl->vl.link.stats.drops++; /* connected: nobody else is heard */
	return 0;
}

bool amp_end_rpmsg_idle(struct amp_rlink *rl)
{
	uint64_t now = amp_now_ms();
	struct amp_raw_end *raw;

	TAILQ_FOREACH(raw, &rl->raws.all, entry)
	{
		if (now - of(raw)->heard_ms < AMP_RLINK_IDLE_MS)
			break;
		if (raw->source) /* whoever opened one knows how long it is wanted */
			forget(raw);
	}
	return rl->vl.link.up;
}

static void look(struct amp_raw_end *raw)
{
	amp_link_incoming(&raw->raws->vl->link, &raw->end, of(raw)->service->fwd);
}

static void release(struct amp_raw_end *raw, uint32_t id)
{
	amp_rpmsg_release(&rlink_of(raw->raws)->bus, id);
}

static void over(struct amp_raw_end *raw)
{
	struct amp_end_rpmsg *e = of(raw);

	if (e->service)
		e->service->sources--;
	else
		amp_rpmsg_close(&rlink_of(raw->raws)->bus, &e->ept); /* no name to withdraw */
}

/* ---- to the remote ---- */

static ssize_t raw_write(struct amp_end *end, const struct iovec *iov, int cnt, size_t len)
{
	struct amp_end_rpmsg *e = of_end(end);
	struct amp_rlink *rl = rlink_of(e->raw.raws);
	struct amp_rpmsg_tx tx;
	int r;

	if (e->raw.failed)
		return -ECONNRESET;
	r = amp_rpmsg_reserve(&rl->bus, &tx);
	amp_work_queue(&rl->vl.work); /* to send, or to ask for buffers */
	if (r)
		return r;
	if (len > tx.room) {
		amp_rpmsg_cancel(&rl->bus, &tx);
		return -EMSGSIZE;
	}
	amp_iov_copy(iov, cnt, 0, tx.data, len);
	amp_rpmsg_commit(&rl->bus, &tx, local(&e->raw), e->raw.peer, (uint32_t)len);
	amp_raw_sent(&e->raw, len);
	return (ssize_t)len;
}

static void raw_accept(struct amp_end *end)
{
	(void)end; /* nobody waits for an answer */
}

static const struct amp_end_ops raw_end_ops = {
	.name = "rpmsg",
	.accept = raw_accept,
	.write = raw_write,
	.shut = amp_raw_shut,
	.reset = amp_raw_close,
	.close = amp_raw_close,
	.text = amp_raw_text,
	.info = amp_raw_info,
};

static const struct amp_raw_ops raw_ops = {
	.end = &raw_end_ops,
	.local = local,
	.look = look,
	.release = release,
	.over = over,
};

void amp_end_rpmsg_init(struct amp_rlink *rl)
{
	amp_raws_init(&rl->raws, &rl->vl, &raw_ops);
}

struct amp_end *amp_end_rpmsg_open(struct amp_rlink *rl, uint32_t peer, int *err)
{
	struct amp_end_rpmsg *e = end_new(rl, peer);

	*err = ENOBUFS;
	if (!e)
		return NULL;
	amp_rpmsg_open(&rl->bus, &e->ept, AMP_RPMSG_ADDR_ANY); /* cannot fail */
	return amp_raw_opened(&e->raw);
}
