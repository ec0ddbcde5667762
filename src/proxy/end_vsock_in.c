// SPDX-License-Identifier: BSD-3-Clause
/*
 * What comes from the guest for a ring end: held while the engine runs, told when it has
 * returned, kept when its user does not take it. vlink.h has the theory.
 */
#include <errno.h>
#include <string.h>

#include "vlink.h"

static void consumed(struct amp_end_vsock *e, size_t len)
{
	if (!e->gone && len)
		amp_vsock_consumed(&e->vl->vs, &e->c, (uint32_t)len);
}

static void release_held(struct amp_end_vsock *e)
{
	for (unsigned i = e->held_first; i; i = amp_pass.held[i - 1].next)
		e->vl->ops->release(e->vl, amp_pass.held[i - 1].id);
	e->held_first = e->held_last = 0;
	e->held_len = 0;
}

static bool keep(struct amp_end_vsock *e, const struct iovec *iov, int cnt, size_t skip)
{
	if (amp_buf_put(&e->buf, iov, cnt, skip))
		return true;
	e->broken = true;
	return false;
}

/* All held packets into the buffer. */
static void spill(struct amp_end_vsock *e)
{
	for (unsigned i = e->held_first; i; i = amp_pass.held[i - 1].next) {
		const struct amp_held *h = &amp_pass.held[i - 1];

		keep(e, &amp_pass.iov[h->iov_at], h->iov_cnt, 0);
	}
	release_held(e);
}

/* Legal, but in so many pieces that the pass has no room to write them all down. */
static int hold_copy(struct amp_end_vsock *e, const struct amp_vsock_rx *rx)
{
	if (e->end.message)
		return -EMSGSIZE;
	spill(e);
	amp_end_vsock_due(e);
	return keep(e, (const struct iovec *)(const void *)rx->iov, rx->iov_cnt, 0) ? 0
										    : -ENOBUFS;
}

unsigned amp_pass_hold(const struct amp_vsock_rx *rx, uint32_t id, uint16_t *first,
		       uint16_t *last)
{
	struct amp_held *h = &amp_pass.held[amp_pass.held_cnt];
	struct iovec *to = &amp_pass.iov[amp_pass.iov_cnt];

	_Static_assert(sizeof(struct iovec) == sizeof(struct amp_iov), "same layout");
	if (rx->iov_cnt > AMP_HELD_IOV - amp_pass.iov_cnt ||
	    amp_pass.held_cnt == AMP_VLINK_BATCH)
		return 0;
	memcpy(to, rx->iov, rx->iov_cnt * sizeof(*to));
	h->iov_at = amp_pass.iov_cnt;
	h->iov_cnt = rx->iov_cnt;
	h->len = rx->len;
	h->flags = rx->flags;
	h->id = id;
	h->next = 0;
	amp_pass.held_cnt++;
	amp_pass.iov_cnt += rx->iov_cnt;
	if (*last)
		amp_pass.held[*last - 1].next = (uint16_t)amp_pass.held_cnt;
	else
		*first = (uint16_t)amp_pass.held_cnt;
	*last = (uint16_t)amp_pass.held_cnt;
	return amp_pass.held_cnt;
}

int amp_end_vsock_hold(struct amp_end_vsock *e, const struct amp_vsock_rx *rx)
{
	uint32_t id = rx->id;

	e->rx_bytes += rx->len;
	e->vl->link.stats.rx_bytes += rx->len;
	if (e->let_go)
		return 0;
	if (e->c.loop) /* a message's buffer is the bus's */
		id = ((const struct amp_rstream_rx *)(const void *)rx)->id;
	if (!amp_pass_hold(rx, id, &e->held_first, &e->held_last))
		return hold_copy(e, rx);
	e->held_len += rx->len;
	amp_end_vsock_due(e);
	return 1;
}

/* Stream: what was kept and what is new, in one piece. */
static void serve_stream(struct amp_end_vsock *e)
{
	static struct iovec iov[AMP_END_IOV_MAX];
	size_t old = e->buf.len, len = old, taken;
	int cnt = amp_buf_peek(&e->buf, iov), first = cnt;
	unsigned i;

	for (i = e->held_first; i; i = amp_pass.held[i - 1].next) {
		const struct amp_held *h = &amp_pass.held[i - 1];

		if (cnt + h->iov_cnt > AMP_END_IOV_MAX)
			break;
		memcpy(iov + cnt, &amp_pass.iov[h->iov_at], h->iov_cnt * sizeof(*iov));
		cnt += h->iov_cnt;
		len += h->len;
	}
	if (len == 0)
		return;
	taken = e->end.user->data(&e->end, iov, cnt, len);
	if (e->let_go) {
		release_held(e);
		return;
	}
	if (taken < len)
		keep(e, iov + first, cnt - first, taken > old ? taken - old : 0);
	for (; i; i = amp_pass.held[i - 1].next) /* what found no room in iov */
		keep(e, &amp_pass.iov[amp_pass.held[i - 1].iov_at],
		     amp_pass.held[i - 1].iov_cnt, 0);
	amp_buf_drop(&e->buf, taken < old ? taken : old);
	release_held(e);
	consumed(e, taken);
}

/* Seqpacket: a message is complete with its EOM (virtio 1.2, 5.10.6.7). */
static void serve_messages(struct amp_end_vsock *e)
{
	struct iovec whole[2];

	for (unsigned i = e->held_first; i && !e->let_go; i = amp_pass.held[i - 1].next) {
		const struct amp_held *h = &amp_pass.held[i - 1];
		const struct iovec *iov = &amp_pass.iov[h->iov_at];
		size_t len = e->buf.len + h->len;

		if (!(h->flags & AMP_VSOCK_SEQ_EOM)) {
			keep(e, iov, h->iov_cnt, 0);
			/* no room for more and no end in sight: it would wait for ever */
			e->broken |= e->buf.len == AMP_BUF_LEN;
			continue;
		}
		if (e->buf.len == 0) {
			e->end.user->data(&e->end, iov, h->iov_cnt, len);
		} else if (keep(e, iov, h->iov_cnt, 0)) {
			int cnt = amp_buf_peek(&e->buf, whole);

			e->end.user->data(&e->end, whole, cnt, len);
			amp_buf_clear(&e->buf);
		}
		if (!e->let_go)
			consumed(e, len);
	}
	release_held(e);
}

static void tell(struct amp_end_vsock *e, enum amp_end_event event)
{
	if (!e->let_go)
		e->end.user->event(&e->end, event);
}

static void fail(struct amp_end_vsock *e, int err)
{
	e->end.err = err;
	tell(e, AMP_END_FAILED);
}

/* How the peer stands to the connection, after its data. */
static void serve_end(struct amp_end_vsock *e)
{
	bool eof = (e->c.peer_shut & AMP_VSOCK_SHUTDOWN_SEND) || e->gone;
	bool deaf = (e->c.peer_shut & AMP_VSOCK_SHUTDOWN_RCV) || e->gone;

	if (e->broken) {
		fail(e, e->end.message ? EMSGSIZE : ENOBUFS);
		return;
	}
	if (e->reset) { /* whether or not it had sent its EOF, as TCP */
		fail(e, e->open ? ECONNRESET : ECONNREFUSED);
		return;
	}
	/* first: when both are due, the host's socket is closed, not shut down before. If it has
	 * unread bytes, the kernel then sends RST and no FIN that would call them read. */
	if (deaf && !e->deaf_told) {
		e->deaf_told = true;
		tell(e, AMP_END_DEAF);
	}
	if (eof && !e->eof_told && (e->buf.len == 0 || e->end.message)) {
		e->eof_told = true;
		tell(e, AMP_END_EOF);
	}
}

void amp_end_vsock_serve(struct amp_end_vsock *e)
{
	uint8_t ev = e->ev;

	e->ev = 0;
	e->gone |= (ev & AMP_VSOCK_EV_GONE) != 0;
	e->reset |= (ev & AMP_VSOCK_EV_RESET) != 0;
	if (ev & (AMP_VSOCK_EV_OPEN | AMP_VSOCK_EV_RESET | AMP_VSOCK_EV_GONE))
		amp_end_vsock_connected(e);
	if (e->incoming) {
		e->incoming = false;
		if (e->joined)
			amp_join_incoming(&e->vl->link, &e->end, e->joined, e->joined_addr);
		else
			amp_link_incoming(&e->vl->link, &e->end, e->fwd);
	}
	if (ev & AMP_VSOCK_EV_OPEN) {
		e->open = true;
		tell(e, AMP_END_OPEN);
	}
	if (!e->let_go && e->end.message)
		serve_messages(e);
	else if (!e->let_go)
		serve_stream(e);
	else
		release_held(e);
	if (e->gone || e->reset || e->let_go || (ev & AMP_VSOCK_EV_WRITABLE))
		amp_end_vsock_unmeter(e);
	if ((e->writable || (ev & AMP_VSOCK_EV_WRITABLE)) && !e->gone && !e->reset) {
		e->writable = false;
		tell(e, AMP_END_WRITABLE);
	}
	if (!e->let_go)
		serve_end(e);
	if (e->let_go && e->gone)
		amp_end_vsock_over(e);
}
