// SPDX-License-Identifier: BSD-3-Clause
/*
 * A flow.
 *
 * Theory of operation
 *
 * Each direction has its own way. What a push end offers goes to the other end's
 * write() at once; what that does not take stays with the push end, whose peer stops
 * for want of credit, and resume() follows the writer's WRITABLE: a stalled receiver
 * stalls this flow and nothing else. A pull end is read by the flow's work item into
 * memory that the other end reserved, a bounded piece a turn.
 *
 * How much is reserved adapts: it doubles while reads fill it and shrinks to what they
 * brought, so that a one-byte request takes one ring buffer and bulk takes many.
 *
 * EOF of one side becomes shut() of the other; one that takes no more becomes deafen(),
 * where there is such a thing (not in TCP). When both sides have sent EOF (or take no more)
 * both ends are closed in good order. An end that fails takes the other down with a reset.
 *
 * A head is written before anything else goes to its side, in as many pieces as it takes: until
 * then the other end is not read, and its EOF waits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "flow.h"
#include "log.h"

#define WANT_MIN 4096u
#define WANT_MAX (128u * 1024u)
#define TURN_LEN (128u * 1024u) /* bytes a flow may move before others have their turn */

/* Bytes that one side gets first. */
struct amp_flow_head {
	unsigned side;
	bool shut; /* the other end sends no more: shut() is due behind the last byte */
	uint16_t len, at;
	uint8_t bytes[];
};

static void flow_free(struct amp_grave *grave)
{
	struct amp_flow *f = amp_container_of(grave, struct amp_flow, grave);

	free(f->head);
	free(f);
}

bool amp_draining;
static unsigned flow_cnt; /* of all links */
static void (*on_idle)(void);

static void check_idle(void)
{
	void (*idle)(void) = on_idle;

	if (flow_cnt || !idle)
		return;
	on_idle = NULL;
	idle();
}

void amp_flow_drain(void (*idle)(void))
{
	amp_draining = true;
	on_idle = idle;
	check_idle();
}

static void not_half(struct amp_flow *f)
{
	if (f->half)
		amp_limit_give(&f->link->limits, AMP_LIMIT_HALF_OPEN, 1);
	f->half = false;
}

static void flow_gone(struct amp_flow *f)
{
	f->dead = true;
	not_half(f);
	if (f->socket)
		amp_limit_give(&f->link->limits, AMP_LIMIT_SOCKETS, 1);
	amp_work_cancel(&f->work);
	TAILQ_REMOVE(&f->link->flows, f, entry);
	f->link->flow_cnt--;
	if (f->ops && f->ops->gone)
		f->ops->gone(f);
	flow_cnt--;
	check_idle();
	amp_bury(&f->grave, flow_free);
}

static void flow_fail(struct amp_flow *f, unsigned side, int err)
{
	if (f->dead)
		return;
	f->link->stats.resets++;
	if (f->ops && f->ops->failed)
		f->ops->failed(f, side, err);
	if (f->dead) /* to tell the guest was too much for its session, which has ended with all it had */
		return;
	f->end[0]->ops->reset(f->end[0]);
	f->end[1]->ops->reset(f->end[1]);
	flow_gone(f);
}

void amp_flow_kill(struct amp_flow *f)
{
	if (f->dead)
		return;
	f->link->stats.resets++;
	f->end[0]->ops->reset(f->end[0]);
	f->end[1]->ops->reset(f->end[1]);
	flow_gone(f);
}

bool amp_flow_left(struct amp_flow *f, bool gone)
{
	struct amp_end *guest = f->end[0];

	return !f->dead && f->open[0] && f->open[1] && guest->ops->left &&
	       guest->ops->left(guest, gone);
}

unsigned amp_flow_end_all(struct amp_link *link, const struct amp_flow_ops *ops,
			  const void *owner)
{
	struct amp_flow *f, *next;
	unsigned n = 0;

	for (f = TAILQ_FIRST(&link->flows); f; f = next) {
		next = TAILQ_NEXT(f, entry);
		if (f->ops != ops || f->owner != owner)
			continue;
		amp_flow_kill(f);
		n++;
	}
	return n;
}

/* Nobody takes side's head (any more). */
static void head_drop(struct amp_flow *f, unsigned side)
{
	if (!f->head || f->head->side != side)
		return;
	free(f->head);
	f->head = NULL;
}

/* May anything else go to side now? false: not yet, WRITABLE will come; or the flow is dead. */
static bool head_sent(struct amp_flow *f, unsigned side)
{
	struct amp_flow_head *h = f->head;
	struct amp_end *to = f->end[side];
	struct iovec iov;
	bool shut;
	ssize_t n;

	if (!h || h->side != side)
		return true;
	iov.iov_base = h->bytes + h->at;
	iov.iov_len = (size_t)(h->len - h->at);
	n = to->ops->write(to, &iov, 1, iov.iov_len);
	if (n == -EPIPE) { /* who takes nothing: what comes behind finds that out for itself */
		head_drop(f, side);
		return true;
	}
	if (n < 0) {
		if (n != -EAGAIN)
			flow_fail(f, side, (int)-n);
		return false;
	}
	h->at = (uint16_t)(h->at + n);
	if (h->at < h->len)
		return false;
	shut = h->shut;
	head_drop(f, side);
	if (shut)
		to->ops->shut(to);
	return true;
}

/* Nothing more comes from side. */
static void flow_eof(struct amp_flow *f, unsigned side)
{
	if (f->dead || f->eof[side])
		return;
	f->eof[side] = true;
	if (!f->eof[!side]) {
		if (f->head && f->head->side != side)
			f->head->shut = true;
		else
			f->end[!side]->ops->shut(f->end[!side]);
		return;
	}
	f->end[0]->ops->close(f->end[0]);
	f->end[1]->ops->close(f->end[1]);
	flow_gone(f);
}

/*
 * One read from side. Bytes moved, 0: no more now. `iov` is static: it is big, and
 * nothing of it outlives the call.
 */
static ssize_t flow_pull(struct amp_flow *f, unsigned side)
{
	static struct iovec iov[AMP_END_IOV_MAX];
	struct amp_end *from = f->end[side], *to = f->end[!side];
	ssize_t room, n;
	int cnt;

	if (!head_sent(f, !side))
		return 0;
	room = to->ops->reserve(to, f->want[side], iov, &cnt);
	if (room == -EAGAIN)
		return 0;
	if (room == -EPIPE) { /* the guest takes no more; DEAF says the rest */
		flow_eof(f, side);
		return 0;
	}
	if (room < 0) {
		flow_fail(f, !side, (int)-room);
		return 0;
	}
	n = from->ops->read(from, iov, cnt, (size_t)room);
	to->ops->commit(to, n > 0 ? (size_t)n : 0);
	if (n == 0) {
		flow_eof(f, side);
	} else if (n == -EAGAIN) {
		return 0;
	} else if (n < 0) {
		flow_fail(f, side, (int)-n);
		return 0;
	}
	f->bytes[side] += (uint64_t)n;
	amp_loop_moved((size_t)n);
	if (n == room && f->want[side] < WANT_MAX)
		f->want[side] *= 2;
	else if (n < room)
		f->want[side] = (uint32_t)n * 2u < WANT_MIN ? WANT_MIN : (uint32_t)n * 2u;
	return n;
}

static void flow_run(struct amp_work *work)
{
	struct amp_flow *f = amp_container_of(work, struct amp_flow, work);
	size_t moved = 0;

	if (f->head)
		head_sent(f, f->head->side);
	for (unsigned side = 0; side < 2; side++) {
		while (!f->dead && !f->eof[side] && f->end[side]->ops->read) {
			ssize_t n = flow_pull(f, side);

			if (n <= 0)
				break;
			moved += (size_t)n;
			if (moved >= TURN_LEN) {
				amp_work_queue(&f->work);
				return;
			}
		}
	}
}

static void flow_opened(struct amp_flow *f, unsigned side)
{
	f->open[side] = true;
	if (side == 1)
		not_half(f);
	if (!f->open[!side]) {
		struct amp_end *other = f->end[!side];

		/* the target answers: now the guest's request is answered too */
		if (!other->ops->accept)
			return;
		other->ops->accept(other);
		f->open[!side] = true;
	}
	for (unsigned i = 0; i < 2; i++) {
		if (f->end[i]->ops->resume)
			f->end[i]->ops->resume(f->end[i]);
	}
	amp_work_queue(&f->work);
}

static size_t flow_data(struct amp_end *end, const struct iovec *iov, int cnt, size_t len)
{
	struct amp_flow *f = end->owner;
	unsigned side = end == f->end[1];
	struct amp_end *to = f->end[!side];
	ssize_t n;

	if (f->dead || !f->open[!side])
		return 0;
	if (f->eof[side])
		return len; /* told to be over already: nobody takes it */
	if (!head_sent(f, !side))
		return 0;
	n = to->ops->write(to, iov, cnt, len);
	if (n >= 0) {
		f->bytes[side] += (uint64_t)n;
		return (size_t)n;
	}
	if (n != -EAGAIN)
		flow_fail(f, !side, (int)-n);
	return 0;
}

static void flow_event(struct amp_end *end, enum amp_end_event event)
{
	struct amp_flow *f = end->owner;
	unsigned side = end == f->end[1];
	struct amp_end *other = f->end[!side];

	if (f->dead)
		return;
	switch (event) {
	case AMP_END_OPEN:
		flow_opened(f, side);
		break;
	case AMP_END_READABLE:
		if (f->open[0] && f->open[1])
			amp_work_queue(&f->work);
		break;
	case AMP_END_WRITABLE:
		if (!head_sent(f, side))
			break;
		if (other->ops->resume)
			other->ops->resume(other);
		else
			amp_work_queue(&f->work);
		break;
	case AMP_END_EOF:
		flow_eof(f, side);
		break;
	case AMP_END_DEAF:
		head_drop(f, side);
		/* whatever the other side still sends has no reader: where it can hear, it hears */
		if (other->ops->deafen && !f->eof[!side])
			other->ops->deafen(other);
		flow_eof(f, !side);
		break;
	case AMP_END_FAILED:
		flow_fail(f, side, end->err);
		break;
	}
}

static void flow_info(const struct amp_end *end, struct amp_sock_info *info)
{
	const struct amp_flow *f = end->owner;
	unsigned side = end == f->end[1];
	const struct amp_end *other = f->end[!side];

	info->kind = f->ops ? f->ops->kind : "flow";
	if (other->ops->read && other->ops->info)
		other->ops->info(other, info);
	else
		other->ops->text(other, info->host_peer, AMP_INFO_ADDR);
	if (!f->open[0] || !f->open[1])
		info->state = "connecting";
	else
		info->state = f->eof[side]    ? "guest-shut"
			      : f->eof[!side] ? "host-shut"
					      : "established";
}

static const struct amp_end_user flow_user = {
	.data = flow_data,
	.event = flow_event,
	.info = flow_info,
};

struct amp_flow *amp_flow_join(struct amp_link *link, struct amp_end *guest, bool guest_open,
			       struct amp_end *host, bool host_open,
			       const struct amp_flow_ops *ops, void *owner)
{
	struct amp_flow *f = calloc(1, sizeof(*f));

	if (!f) {
		guest->ops->reset(guest);
		host->ops->reset(host);
		return NULL;
	}
	f->link = link;
	f->end[0] = guest;
	f->end[1] = host;
	f->open[0] = guest_open;
	f->open[1] = host_open;
	f->ops = ops;
	f->owner = owner;
	f->work.run = flow_run;
	f->want[0] = f->want[1] = WANT_MIN;
	guest->owner = host->owner = f;
	guest->user = host->user = &flow_user;
	TAILQ_INSERT_TAIL(&link->flows, f, entry);
	link->flow_cnt++;
	flow_cnt++;
	if (host_open && !guest_open && guest->ops->accept) {
		guest->ops->accept(guest);
		f->open[0] = guest_open = true;
	}
	if (guest_open && host_open) {
		if (guest->ops->resume)
			guest->ops->resume(guest);
		amp_work_queue(&f->work);
	}
	return f;
}

int amp_flow_head(struct amp_flow *f, unsigned side, const uint8_t *bytes, uint16_t len)
{
	f->head = malloc(sizeof(*f->head) + len);
	if (!f->head)
		return -ENOMEM;
	*f->head = (struct amp_flow_head){.side = side, .len = len};
	memcpy(f->head->bytes, bytes, len);
	return 0;
}
