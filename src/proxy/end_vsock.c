// SPDX-License-Identifier: BSD-3-Clause
/*
 * The ring end: a virtio-vsock connection as an end of a flow (vlink.h has the theory). Its life,
 * and what goes to the guest; end_vsock_in.c has what comes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vlink.h"

#define TX_MAX 32u /* ring buffers reserved for one read */
#define FEW    2u  /* ring buffers of a write */
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

void amp_end_vsock_unmeter(struct amp_end_vsock *e)
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

void amp_end_vsock_over(struct amp_end_vsock *e)
{
	if (e->on_due)
		TAILQ_REMOVE(&e->vl->due, e, due_entry);
	e->on_due = false;
	unstarve(e);
	amp_end_vsock_unmeter(e);
	amp_end_vsock_connected(e);
	amp_buf_clear(&e->buf);
	e->vl->end_cnt--;
	amp_link_end_del(&e->vl->link, &e->end);
	amp_bury(&e->grave, end_free);
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

static void queue_up(struct amp_end_vsock *e)
{
	if (e->starved_on)
		return;
	e->starved_on = e->promised ? &e->vl->again : &e->vl->starved;
	TAILQ_INSERT_TAIL(e->starved_on, e, starved_entry);
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
	queue_up(e);
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

/*
 * Others wait for ring buffers, and this one has not: who takes many goes behind them, or one whose
 * credit comes with each kick of the guest's would have them all. Who takes few is not held up.
 */
static bool out_of_turn(const struct amp_end_vsock *e)
{
	return !e->promised && e->tx_last > FEW &&
	       !(TAILQ_EMPTY(&e->vl->starved) && TAILQ_EMPTY(&e->vl->again));
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
	if (!e->gone && out_of_turn(e)) {
		amp_work_queue(&e->vl->work);
		queue_up(e);
		return -EAGAIN;
	}
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
	amp_end_let_go(&e->end);
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

static bool v_left(struct amp_end *end, bool gone)
{
	struct amp_end_vsock *e = of(end);
	uint8_t need = AMP_VSOCK_SHUTDOWN_SEND | (gone ? 0 : AMP_VSOCK_SHUTDOWN_RCV);

	if (!e->open || e->let_go || e->broken || e->reset || (e->ev & AMP_VSOCK_EV_RESET) ||
	    (e->c.peer_shut & need) != need)
		return false;
	if (gone && !e->gone) /* the link's end is not to be told as one of its own */
		amp_vsock_close(&e->vl->vs, &e->c, 0, 0);
	return true;
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
	.deafen = v_deafen, .left = v_left, .reset = v_reset, .close = v_close,      \
	.text = v_text, .info = amp_end_vsock_info

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
