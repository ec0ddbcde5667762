// SPDX-License-Identifier: BSD-3-Clause
/* The ring end: a virtio-vsock connection as an end of a flow. See vlink.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vlink.h"

#define TX_MAX 32u /* ring buffers reserved for one read */
/* Every reservation is given room for the longest legal chain. */
#define TX_IOV (AMP_END_IOV_MAX * 4u)

/* The reservation that is open between reserve() and commit(): one in the process. */
static struct {
	struct amp_vsock_tx tx[TX_MAX];
	unsigned cnt;
	struct amp_iov iov[TX_IOV];
} open_tx;

static struct amp_end_vsock *of(struct amp_end *end)
{
	return amp_container_of(end, struct amp_end_vsock, end);
}

static void end_free(struct amp_grave *grave)
{
	free(amp_container_of(grave, struct amp_end_vsock, grave));
}

void amp_end_vsock_due(struct amp_end_vsock *e)
{
	if (e->on_due)
		return;
	e->on_due = true;
	TAILQ_INSERT_TAIL(&e->vl->due, e, due_entry);
}

static void unstarve(struct amp_end_vsock *e)
{
	if (e->starved_on)
		TAILQ_REMOVE(e->starved_on, e, starved_entry);
	e->starved_on = NULL;
}

static void unmeter(struct amp_end_vsock *e)
{
	if (e->on_metered)
		TAILQ_REMOVE(&e->vl->metered, e, metered_entry);
	e->on_metered = false;
}

void amp_end_vsock_connected(struct amp_end_vsock *e)
{
	if (e->connecting)
		TAILQ_REMOVE(&e->vl->connecting, e, connecting_entry);
	e->connecting = false;
}

/* Both the user and the engine have let go. */
static void end_over(struct amp_end_vsock *e)
{
	if (e->on_due)
		TAILQ_REMOVE(&e->vl->due, e, due_entry);
	e->on_due = false;
	unstarve(e);
	unmeter(e);
	amp_end_vsock_connected(e);
	amp_buf_clear(&e->buf);
	e->vl->end_cnt--;
	amp_link_end_del(&e->vl->link, &e->end);
	amp_bury(&e->grave, end_free);
}

/* ---- from the guest ---- */

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
	bool eof = (e->c.peer_shut & AMP_VSOCK_SHUTDOWN_SEND) || (e->gone && !e->reset);
	bool deaf = (e->c.peer_shut & AMP_VSOCK_SHUTDOWN_RCV) || e->gone || e->reset;

	if (e->broken) {
		fail(e, e->end.message ? EMSGSIZE : ENOBUFS);
		return;
	}
	if (e->reset && !eof) {
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
		unmeter(e);
	if ((e->writable || (ev & AMP_VSOCK_EV_WRITABLE)) && !e->gone && !e->reset) {
		e->writable = false;
		tell(e, AMP_END_WRITABLE);
	}
	if (!e->let_go)
		serve_end(e);
	if (e->let_go && e->gone)
		end_over(e);
}

/* ---- to the guest ---- */

static void v_accept(struct amp_end *end)
{
	struct amp_end_vsock *e = of(end);

	if (e->open)
		return;
	e->open = true;
	if (!e->gone)
		amp_vsock_respond(&e->vl->vs, &e->c);
	amp_work_queue(&e->vl->work);
}

/* No room: credit tells by event, ring buffers by the list of the starved. */
static void starve(struct amp_end_vsock *e)
{
	struct amp_vlink *vl = e->vl;

	amp_work_queue(&vl->work);
	e->stalls++;
	if (e->c.starved) {
		vl->link.stats.credit_stalls++;
		return;
	}
	vl->link.stats.buffer_stalls++;
	if (e->starved_on)
		return;
	e->starved_on = e->promised ? &vl->again : &vl->starved;
	TAILQ_INSERT_TAIL(e->starved_on, e, starved_entry);
}

void amp_end_vsock_fed(struct amp_end_vsock *e)
{
	unstarve(e);
	e->promised = true;
	e->writable = true;
	amp_end_vsock_due(e);
}

/* At the other end of the carriers is our own library, whose bytes are bytes. */
static uint32_t meter_room(struct amp_end_vsock *e, uint32_t open, size_t len)
{
	return e->carrier ? UINT32_MAX
			  : amp_meter_room(&e->meter, &e->c.credit, open, (uint32_t)len);
}

/* The guest has unread packets enough (meter.h). */
static void metered(struct amp_end_vsock *e)
{
	amp_vsock_want_credit(&e->vl->vs, &e->c);
	amp_work_queue(&e->vl->work);
	e->stalls++;
	e->vl->link.stats.credit_stalls++;
	if (e->on_metered)
		return;
	e->on_metered = true;
	TAILQ_INSERT_TAIL(&e->vl->metered, e, metered_entry);
	amp_vlink_metered(e->vl);
}

void amp_end_vsock_ask(struct amp_end_vsock *e)
{
	e->c.asked = 0; /* the answer may have come before there was news */
	amp_vsock_want_credit(&e->vl->vs, &e->c);
}

static ssize_t v_reserve(struct amp_end *end, size_t want, struct iovec *iov, int *cnt)
{
	struct amp_end_vsock *e = of(end);
	unsigned used = 0;
	uint32_t room = UINT32_MAX;
	size_t total = 0;
	int r = -ECONNRESET;

	*cnt = 0;
	open_tx.cnt = 0;
	while (!e->gone && open_tx.cnt < TX_MAX && total < want &&
	       used + AMP_END_IOV_MAX <= TX_IOV) {
		struct amp_vsock_tx *tx = &open_tx.tx[open_tx.cnt];

		tx->iov = &open_tx.iov[used];
		tx->iov_max = AMP_END_IOV_MAX;
		room = meter_room(e, open_tx.cnt, total);
		if (room > want - total)
			room = (uint32_t)(want - total);
		if (room == 0)
			break;
		r = amp_vsock_reserve(&e->vl->vs, &e->c, room, tx);
		if (r < 0)
			break;
		if (*cnt + tx->iov_cnt > AMP_END_IOV_MAX) {
			amp_vsock_cancel(&e->vl->vs, &e->c, tx);
			break;
		}
		memcpy(iov + *cnt, tx->iov, tx->iov_cnt * sizeof(*iov));
		*cnt += tx->iov_cnt;
		used += tx->iov_cnt + 3u; /* the header's segments lie before it */
		total += tx->len;
		open_tx.cnt++;
	}
	if (total)
		return (ssize_t)total;
	if (room == 0 && want) {
		metered(e);
		return -EAGAIN;
	}
	if (r == -EAGAIN)
		starve(e);
	return r;
}

static void commit(struct amp_end_vsock *e, size_t len, uint32_t flags)
{
	unsigned n = open_tx.cnt, used = 0;
	size_t left = len;

	e->tx_bytes += len;
	e->vl->link.stats.tx_bytes += len;

	while (used < n && left) {
		left -= left < open_tx.tx[used].len ? left : open_tx.tx[used].len;
		used++;
	}
	/* last reserved goes back first */
	while (n > used)
		amp_vsock_cancel(&e->vl->vs, &e->c, &open_tx.tx[--n]);
	for (unsigned i = 0; i < used; i++) {
		struct amp_vsock_tx *tx = &open_tx.tx[i];
		uint32_t part = len < tx->len ? (uint32_t)len : tx->len;

		len -= part;
		amp_vsock_commit(&e->vl->vs, &e->c, tx, part, i + 1 == used ? flags : 0);
	}
	open_tx.cnt = 0;
	amp_meter_sent(&e->meter, used);
	if (used) {
		e->promised = false;
		e->tx_last = (uint8_t)used;
		amp_work_queue(&e->vl->work);
	}
}

static void v_commit(struct amp_end *end, size_t len)
{
	commit(of(end), len, 0);
}

/* Copies from[] behind `skip` bytes into to[]. */
static void copy_iov(const struct iovec *to, int to_cnt, const struct iovec *from, size_t skip)
{
	for (int i = 0; i < to_cnt; i++) {
		uint8_t *dst = to[i].iov_base;
		size_t left = to[i].iov_len;

		while (left) {
			size_t n;

			while (skip >= from->iov_len)
				skip -= from++->iov_len;
			n = from->iov_len - skip < left ? from->iov_len - skip : left;
			memcpy(dst, (const uint8_t *)from->iov_base + skip, n);
			dst += n;
			left -= n;
			skip += n;
		}
	}
}

static ssize_t v_write(struct amp_end *end, const struct iovec *iov, int cnt, size_t len)
{
	static struct iovec room[AMP_END_IOV_MAX];
	struct amp_end_vsock *e = of(end);
	size_t done = 0;
	int room_cnt;

	(void)cnt;
	while (done < len) {
		ssize_t n = v_reserve(end, len - done, room, &room_cnt);

		/* a message that does not fit whole is not begun */
		if (n > 0 && end->message && (size_t)n < len) {
			commit(e, 0, 0);
			if (meter_room(e, 0, 0) < len) {
				metered(e);
				return -EAGAIN;
			}
			amp_vsock_want_tx(&e->vl->vs, &e->c);
			starve(e);
			return -EAGAIN;
		}
		if (n < 0)
			return done ? (ssize_t)done : n;
		copy_iov(room, room_cnt, iov, done);
		commit(e, (size_t)n, end->message ? AMP_VSOCK_SEQ_EOM : 0);
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static void v_resume(struct amp_end *end)
{
	struct amp_end_vsock *e = of(end);

	/* a new user hears of the peer's end too */
	e->eof_told = e->deaf_told = false;
	amp_end_vsock_due(e);
	amp_work_queue(&e->vl->work);
}

static size_t v_space(struct amp_end *end)
{
	struct amp_end_vsock *e = of(end);

	return e->gone ? 0 : amp_vsock_tx_space(&e->vl->vs, &e->c);
}

static void v_want(struct amp_end *end)
{
	struct amp_end_vsock *e = of(end);

	if (e->gone)
		return;
	amp_vsock_want_tx(&e->vl->vs, &e->c);
	starve(e);
}

static void v_shut(struct amp_end *end)
{
	struct amp_end_vsock *e = of(end);

	if (!e->gone)
		amp_vsock_shutdown(&e->vl->vs, &e->c, AMP_VSOCK_SHUTDOWN_SEND);
	amp_work_queue(&e->vl->work);
}

static void v_deafen(struct amp_end *end)
{
	struct amp_end_vsock *e = of(end);

	if (!e->gone)
		amp_vsock_shutdown(&e->vl->vs, &e->c, AMP_VSOCK_SHUTDOWN_RCV);
	amp_work_queue(&e->vl->work);
}

static void let_go(struct amp_end_vsock *e)
{
	e->let_go = true;
	amp_buf_clear(&e->buf);
	amp_end_vsock_due(e);
	amp_work_queue(&e->vl->work);
}

static void v_reset(struct amp_end *end)
{
	struct amp_end_vsock *e = of(end);

	if (e->let_go)
		return;
	if (!e->gone)
		amp_vsock_abort(&e->vl->vs, &e->c);
	let_go(e);
}

static void v_close(struct amp_end *end)
{
	struct amp_end_vsock *e = of(end);

	if (e->let_go)
		return;
	if (!e->gone)
		amp_vsock_close(&e->vl->vs, &e->c, (uint32_t)amp_now_ms(), AMP_VLINK_CLOSE_MS);
	let_go(e);
}

static void v_text(const struct amp_end *end, char *dst, size_t len)
{
	const struct amp_end_vsock *e =
		(const void *)((const char *)end - offsetof(struct amp_end_vsock, end));

	if (e->c.loop) /* not the engine's own queues: rpmsg */
		snprintf(dst, len, "rpmsg:@%u", e->c.peer.port);
	else
		snprintf(dst, len, "vsock:%u:%u", e->c.peer.cid, e->c.peer.port);
}

#define COMMON_OPS                                                                   \
	.name = "vsock", .write = v_write, .reserve = v_reserve, .commit = v_commit, \
	.resume = v_resume, .space = v_space, .want = v_want, .shut = v_shut,        \
	.deafen = v_deafen, .reset = v_reset, .close = v_close, .text = v_text,      \
	.info = amp_end_vsock_info

static const struct amp_end_ops in_ops = {COMMON_OPS, .accept = v_accept};
static const struct amp_end_ops out_ops = {COMMON_OPS};

bool amp_end_is_vsock(const struct amp_end *end)
{
	return end->ops == &in_ops || end->ops == &out_ops;
}

struct amp_end_vsock *amp_end_vsock_new(struct amp_vlink *vl, bool incoming)
{
	struct amp_end_vsock *e;

	if (vl->end_cnt >= AMP_LIMIT_ENDS) {
		vl->link.stats.refused++;
		return NULL;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	vl->end_cnt++;
	amp_link_end_add(&vl->link, &e->end);
	e->vl = vl;
	e->end.ops = incoming ? &in_ops : &out_ops;
	e->incoming = incoming;
	e->c.buf_alloc = AMP_BUF_LEN;
	e->tx_last = 1;
	e->buf.limits = &vl->link.limits;
	return e;
}
