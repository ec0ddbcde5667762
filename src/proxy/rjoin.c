// SPDX-License-Identifier: BSD-3-Clause
/* Theory of operation: rjoin.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "flow.h"
#include "rjoin.h"

struct rjoin {
	TAILQ_ENTRY(rjoin) entry;
	struct amp_rjoin_side side[2];
};

static TAILQ_HEAD(, rjoin) joins = TAILQ_HEAD_INITIALIZER(joins);

static const char *name_of(const struct amp_rjoin_side *s)
{
	return s->rl->vl.link.conf->name;
}

static struct amp_rjoin_alias *of(struct amp_rpmsg_ept *ept)
{
	return amp_container_of(ept, struct amp_rjoin_alias, end.ept);
}

/* ---- aliases ---- */

static bool is_stream(const char *name)
{
	size_t len = strlen(name), suffix = sizeof(AMP_RSTREAM_SUFFIX) - 1;

	return len > suffix && strcmp(name + len - suffix, AMP_RSTREAM_SUFFIX) == 0;
}

/* An endpoint on the other's bus for s's address; name: to announce there, "" for a source. */
static struct amp_rjoin_alias *alias_new(struct amp_rjoin_side *s, uint32_t addr,
					 const char *name)
{
	struct amp_rjoin_alias *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->side = s;
	a->addr = addr;
	a->heard_ms = amp_now_ms();
	memcpy(a->name, name, strlen(name) + 1); /* checked by the bus */
	a->end.ept.kind = is_stream(name) ? AMP_EPT_JOINED_STREAM : AMP_EPT_JOINED;
	amp_rpmsg_open_named(&s->other->rl->bus, &a->end, AMP_RPMSG_ADDR_ANY,
			     name[0] ? a->name : NULL); /* cannot fail */
	amp_work_queue(&s->other->rl->vl.work);
	if (name[0]) {
		TAILQ_INSERT_TAIL(&s->names, a, entry);
		s->name_cnt++;
	} else {
		TAILQ_INSERT_TAIL(&s->sources, a, entry);
		s->source_cnt++;
	}
	return a;
}

static void alias_close(struct amp_rjoin_alias *a)
{
	struct amp_rjoin_side *s = a->side;

	if (a->name[0]) {
		TAILQ_REMOVE(&s->names, a, entry);
		s->name_cnt--;
	} else {
		TAILQ_REMOVE(&s->sources, a, entry);
		s->source_cnt--;
	}
	if (amp_rpmsg_close(&s->other->rl->bus, &a->end.ept))
		free(a);
	else
		amp_work_queue(&s->other->rl->vl.work);
}

void amp_rjoin_gone(struct amp_rpmsg_ept *ept)
{
	free(of(ept));
}

/* What stands for this address of s's remote, made if there is nothing. NULL: nothing can. */
static struct amp_rjoin_alias *alias_of(struct amp_rjoin_side *s, uint32_t addr)
{
	struct amp_rjoin_alias *a;

	TAILQ_FOREACH(a, &s->names, entry)
	{
		if (a->addr == addr) /* what serves streams sends no raw messages */
			return a->end.ept.kind == AMP_EPT_JOINED ? a : NULL;
	}
	TAILQ_FOREACH_REVERSE(a, &s->sources, amp_rjoin_aliases, entry)
	{
		if (a->addr == addr)
			break;
	}
	if (!a && s->source_cnt >= AMP_RJOIN_SOURCES)
		alias_close(TAILQ_FIRST(&s->sources));
	if (!a)
		return alias_new(s, addr, "");
	return a;
}

/* It has said something, or was spoken to. */
static void heard(struct amp_rjoin_alias *a)
{
	if (a->name[0])
		return;
	a->heard_ms = amp_now_ms();
	TAILQ_REMOVE(&a->side->sources, a, entry);
	TAILQ_INSERT_TAIL(&a->side->sources, a, entry);
}

/* ---- names ---- */

/* Names that are the proxy's own on the other link, or everywhere. */
static bool taken(const struct amp_rlink *rl, const char *name)
{
	for (unsigned i = 0; i < rl->names.service_cnt; i++) {
		const char *own = rl->names.services[i].end.name;

		if (own && strcmp(own, name) == 0)
			return true;
	}
	return false;
}

/* What a kernel that makes a device of it, or a person who reads it, expects. */
static bool printable(const char *name)
{
	while (*name > 0x20 && *name < 0x7f)
		name++;
	return !*name;
}

static void announced(struct amp_rjoin_side *s, const char *name, uint32_t addr)
{
	struct amp_link *link = &s->rl->vl.link;
	char text[AMP_RPMSG_NAME_LEN];

	if (strcmp(name, AMP_RNAMES_DOOR) == 0)
		return;
	amp_log_clean(text, sizeof(text), name, strlen(name));
	if (!printable(name)) {
		link->stats.refused++;
		amp_log_some(
			&link->log_refused, AMP_LOG_WARN,
			"link %s: its service %s is not passed on to link %s: a name of more "
			"than letters, digits and signs",
			name_of(s), text, name_of(s->other));
		return;
	}
	if (taken(s->other->rl, name)) {
		amp_log_some(
			&link->log_guest, AMP_LOG_WARN,
			"link %s: its service %s is not passed on to link %s, which has one "
			"of that name by an expose rule",
			name_of(s), text, name_of(s->other));
		return;
	}
	if (s->name_cnt >= AMP_RJOIN_NAMES || !alias_new(s, addr, name)) {
		link->stats.refused++;
		amp_log_some(
			&link->log_refused, AMP_LOG_WARN,
			"link %s: its service %s is not passed on to link %s: more than %u",
			name_of(s), text, name_of(s->other), AMP_RJOIN_NAMES);
		return;
	}
	amp_log_some(&link->log_guest, AMP_LOG_DEBUG,
		     "link %s: its service %s is announced to link %s", name_of(s), text,
		     name_of(s->other));
}

static void close_all(struct amp_rjoin_aliases *list)
{
	struct amp_rjoin_alias *a;

	while ((a = TAILQ_FIRST(list)) != NULL)
		alias_close(a);
}

/* One more announcement or withdrawal for the other remote? */
static bool news(struct amp_rjoin_side *s)
{
	struct amp_link *link = &s->rl->vl.link;
	uint64_t now = amp_now_ms(), more = (now - s->news_ms) / AMP_RJOIN_NEWS_MS;

	s->news_ms += more * AMP_RJOIN_NEWS_MS;
	s->news = more < AMP_RJOIN_NEWS - s->news ? s->news + (unsigned)more : AMP_RJOIN_NEWS;
	if (s->muted)
		return false;
	if (s->news) {
		s->news--;
		return true;
	}
	s->muted = true;
	link->stats.refused++;
	amp_log_some(
		&link->log_refused, AMP_LOG_WARN,
		"link %s: it announces and withdraws services without end: link %s is told "
		"of none, until it starts anew",
		name_of(s), name_of(s->other));
	close_all(&s->names);
	return false;
}

bool amp_rjoin_service(struct amp_rlink *rl, const char *name, uint32_t addr, bool gone)
{
	struct amp_rjoin_side *s;

	TAILQ_FOREACH(s, &rl->joined, entry)
	{
		struct amp_rjoin_alias *a;

		TAILQ_FOREACH(a, &s->names, entry)
		{
			if (a->addr == addr && strcmp(a->name, name) == 0)
				break;
		}
		if (!a == gone || !news(s)) /* it changes nothing */
			continue;
		if (gone)
			alias_close(a);
		else
			announced(s, name, addr);
	}
	return !TAILQ_EMPTY(&rl->joined);
}

/* ---- messages ---- */

static void drop(struct amp_rjoin_side *to)
{
	to->drops++;
	to->other->rl->vl.link.stats.drops++;
}

/* Into a buffer of the remote's. False: there is none now. */
static bool put(struct amp_rjoin_side *to, uint32_t src, uint32_t dst, const void *data,
		uint32_t len)
{
	struct amp_rpmsg *bus = &to->rl->bus;
	struct amp_rpmsg_tx tx;

	if (amp_rpmsg_reserve(bus, &tx))
		return false;
	if (len > tx.room) {
		amp_rpmsg_cancel(bus, &tx);
		drop(to);
		amp_log_some(&to->rl->vl.link.log_guest, AMP_LOG_WARN,
			     "link %s: a message of %" PRIu32
			     " bytes from link %s does not fit "
			     "its buffers",
			     name_of(to), len, name_of(to->other));
		return true;
	}
	memcpy(tx.data, data, len);
	amp_rpmsg_commit(bus, &tx, src, dst, len);
	to->messages++;
	to->bytes += len;
	return true;
}

/* The remote's own connections come first with what is there. */
static bool flows_wait(const struct amp_rlink *rl)
{
	return rl->vl.vs.path_starved || rl->vl.promised;
}

static void forward(struct amp_rjoin_side *to, uint32_t src, uint32_t dst,
		    const struct amp_rpmsg_rx *rx)
{
	size_t need = sizeof(struct amp_rjoin_message) + rx->len;
	struct amp_rjoin_message *m;

	amp_work_queue(&to->rl->vl.work); /* rings, and flushes */
	if (STAILQ_EMPTY(&to->queue) && !flows_wait(to->rl) &&
	    put(to, src, dst, rx->data, rx->len))
		return;
	m = need <= AMP_RJOIN_QUEUE - to->queued ? malloc(need) : NULL;
	if (!m) {
		drop(to);
		return;
	}
	m->src = src;
	m->dst = dst;
	m->len = rx->len;
	memcpy(m->data, rx->data, rx->len);
	STAILQ_INSERT_TAIL(&to->queue, m, entry);
	to->queued += need;
}

void amp_rjoin_input(struct amp_rlink *rl, struct amp_rpmsg_ept *ept,
		     const struct amp_rpmsg_rx *rx)
{
	struct amp_rjoin_alias *to = of(ept), *from;
	struct amp_rjoin_side *s = to->side;

	/* an address that no endpoint has: there is no answering it */
	if (rx->src == AMP_RPMSG_NS_ADDR || rx->src == AMP_RPMSG_ADDR_ANY) {
		rl->vl.link.stats.drops++;
		return;
	}
	from = alias_of(s->other, rx->src);
	if (!from) {
		drop(s);
		return;
	}
	heard(from);
	heard(to);
	forward(s, from->end.ept.addr, to->addr, rx);
}

static void pop(struct amp_rjoin_side *to)
{
	struct amp_rjoin_message *m = STAILQ_FIRST(&to->queue);

	STAILQ_REMOVE_HEAD(&to->queue, entry);
	to->queued -= sizeof(*m) + m->len;
	free(m);
}

void amp_rjoin_flush(struct amp_rlink *rl, bool last)
{
	unsigned left = rl->bus.out ? amp_vq_avail(rl->bus.out) : 0;
	struct amp_rjoin_side *s, *next;

	if (!last)
		left = amp_vlink_share(&rl->vl, left);
	else if (flows_wait(rl))
		left = 0;
	for (s = TAILQ_FIRST(&rl->joined); s && left; s = next) {
		const struct amp_rjoin_message *m = STAILQ_FIRST(&s->queue);

		next = TAILQ_NEXT(s, entry);
		if (!m)
			continue;
		if (!put(s, m->src, m->dst, m->data, m->len))
			break;
		pop(s);
		left--;
		if (!STAILQ_EMPTY(&s->queue)) { /* behind the others, for another turn */
			TAILQ_REMOVE(&rl->joined, s, entry);
			TAILQ_INSERT_TAIL(&rl->joined, s, entry);
			next = TAILQ_FIRST(&rl->joined);
		}
	}
	TAILQ_FOREACH(s, &rl->joined, entry)
	{
		if (!last || STAILQ_EMPTY(&s->queue))
			continue;
		if (rl->vl.promised)
			amp_work_queue(&rl->vl.work); /* what they leave */
		else if (rl->bus.out)
			rl->bus.tx_starved =
				true; /* the remote is to say when it has buffers */
	}
}

/* ---- streams ---- */

static void refuse(struct amp_link *link, const struct amp_link *to, const char *why)
{
	link->stats.refused++;
	amp_log_some(&link->log_refused, AMP_LOG_WARN,
		     "link %s: a stream to joined link %s: %s", link->conf->name,
		     to->conf->name, why);
}

void amp_rjoin_stream(struct amp_rpmsg_ept *ept, struct amp_end_vsock *e)
{
	e->joined = &of(ept)->side->rl->vl.link;
	e->joined_addr = of(ept)->addr;
}

static void failed(struct amp_flow *flow, unsigned side, int err)
{
	if (side == 1 && !flow->open[1])
		refuse(flow->link, flow->owner, strerror(err));
}

static const struct amp_flow_ops stream_flow = {
	.kind = "join",
	.failed = failed,
};

void amp_join_incoming(struct amp_link *link, struct amp_end *end, struct amp_link *to,
		       uint32_t addr)
{
	struct amp_service service = {.kind = AMP_SERVICE_RPMSG, .port = addr};
	struct amp_end *other;
	int err;

	other = to->ops->connect(to, &service, false, &err);
	if (!other) {
		refuse(link, to, amp_link_why(to, err));
		end->ops->reset(end);
		return;
	}
	link->stats.flows++;
	amp_flow_join(link, end, false, other, false, &stream_flow, to);
}

/* ---- life ---- */

int amp_rjoin_new(struct amp_link *a, struct amp_link *b)
{
	struct rjoin *j = calloc(1, sizeof(*j));
	struct amp_rlink *rl[2] = {amp_container_of(a, struct amp_rlink, vl.link),
				   amp_container_of(b, struct amp_rlink, vl.link)};

	if (!j)
		return -ENOMEM;
	for (unsigned i = 0; i < 2; i++) {
		struct amp_rjoin_side *s = &j->side[i];

		s->rl = rl[i];
		s->other = &j->side[!i];
		s->news = AMP_RJOIN_NEWS;
		s->news_ms = amp_now_ms();
		TAILQ_INIT(&s->names);
		TAILQ_INIT(&s->sources);
		STAILQ_INIT(&s->queue);
		TAILQ_INSERT_TAIL(&rl[i]->joined, s, entry);
	}
	TAILQ_INSERT_TAIL(&joins, j, entry);
	return 0;
}

void amp_rjoin_down(struct amp_rlink *rl)
{
	struct amp_rjoin_side *s;

	TAILQ_FOREACH(s, &rl->joined, entry)
	{
		s->muted = false;
		close_all(&s->names);
		close_all(&s->sources);
		close_all(&s->other->sources); /* nobody here knows them any more */
		while (!STAILQ_EMPTY(&s->queue))
			pop(s);
	}
}

static void side_end(struct amp_rjoin_side *s)
{
	struct amp_link *link = &s->rl->vl.link;

	close_all(&s->names);
	close_all(&s->sources);
	while (!STAILQ_EMPTY(&s->queue))
		pop(s);
	link->stats.cut += amp_flow_end_all(link, &stream_flow, &s->other->rl->vl.link);
	TAILQ_REMOVE(&s->rl->joined, s, entry);
}

void amp_rjoin_end(struct amp_link *a, struct amp_link *b)
{
	struct rjoin *j;

	TAILQ_FOREACH(j, &joins, entry)
	{
		const struct amp_link *l[2] = {&j->side[0].rl->vl.link,
					       &j->side[1].rl->vl.link};

		if ((l[0] == a && l[1] == b) || (l[0] == b && l[1] == a))
			break;
	}
	if (!j)
		return;
	side_end(&j->side[0]);
	side_end(&j->side[1]);
	TAILQ_REMOVE(&joins, j, entry);
	free(j);
}

void amp_rjoin_idle(struct amp_rlink *rl)
{
	uint64_t now = amp_now_ms();
	struct amp_rjoin_side *s;

	TAILQ_FOREACH(s, &rl->joined, entry)
	{
		struct amp_rjoin_alias *a;

		while ((a = TAILQ_FIRST(&s->sources)) != NULL &&
		       now - a->heard_ms >= AMP_RLINK_IDLE_MS)
			alias_close(a);
	}
}

void amp_rjoins_free(void)
{
	struct rjoin *j;

	while ((j = TAILQ_FIRST(&joins)) != NULL) {
		TAILQ_REMOVE(&joins, j, entry);
		free(j); /* its links have stopped: nothing is left in it */
	}
}

void amp_rjoin_stats(void)
{
	const struct rjoin *j;

	TAILQ_FOREACH(j, &joins, entry)
	{
		const struct amp_rjoin_side *a = &j->side[0], *b = &j->side[1];

		amp_log_counters("join=%s,%s services=%u,%u sources=%u,%u "
				 "messages=%" PRIu64 ",%" PRIu64 " bytes=%" PRIu64 ",%" PRIu64
				 " waiting=%zu,%zu drops=%" PRIu64 ",%" PRIu64,
				 name_of(a), name_of(b), a->name_cnt, b->name_cnt,
				 a->source_cnt, b->source_cnt, b->messages, a->messages,
				 b->bytes, a->bytes, b->queued, a->queued, b->drops, a->drops);
	}
}
