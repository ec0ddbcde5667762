// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls getrandom close */
/*
 * The offload protocol, host side (docs/protocol.md): carriers, sessions, ids.
 *
 * Theory of operation
 *
 * A carrier is a stream that the guest opened to the offload port. Until its header is
 * there it is on the list of those without one, which a timer looks after. The header
 * makes it a control carrier (HELLO: a session is born with a random token), a TCP or a
 * UDP socket (their token names a session of the same link). From then on the end has
 * another user and this file sees it no more.
 *
 * A session owns sockets: bound ones, listeners, connections. Each has an id that is
 * unique in the link and not used again. When the control carrier ends, all of them end; a
 * connection that the guest has closed meanwhile delivers what it has, and is nobody's.
 *
 * Who the guest is was settled before the first byte: the link.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "offload_inner.h"
#include "zeroed.h"

struct amp_carrier {
	TAILQ_ENTRY(amp_carrier) entry;
	struct amp_offload *off;
	struct amp_end *end;
	uint64_t deadline_ms;
	struct amp_grave grave;
};

uint64_t amp_off_token(void)
{
	uint64_t token = 0;

	while (token == 0) {
		if (getrandom(&token, sizeof(token), 0) != sizeof(token))
			abort(); /* without randomness a token protects nothing */
	}
	return token;
}

/* ---- ids ---- */

bool amp_osock_add(struct amp_session *ses, struct amp_osock *s)
{
	struct amp_offload *off = ses->off;

	if (!amp_limit_take(&off->link->limits, AMP_LIMIT_SOCKETS, 1)) {
		off->link->stats.refused++;
		return false;
	}
	if (++off->next_id == 0)
		off->next_id = 1;
	s->id = off->next_id;
	s->ses = ses;
	s->hash_next = off->ids[s->id % AMP_OFF_IDS];
	off->ids[s->id % AMP_OFF_IDS] = s;
	TAILQ_INSERT_TAIL(&ses->socks, s, entry);
	off->sock_cnt++;
	return true;
}

void amp_osock_del(struct amp_osock *s)
{
	struct amp_offload *off = s->ses->off;
	struct amp_osock **at = &off->ids[s->id % AMP_OFF_IDS];

	while (*at != s)
		at = &(*at)->hash_next;
	*at = s->hash_next;
	TAILQ_REMOVE(&s->ses->socks, s, entry);
	off->sock_cnt--;
	amp_limit_give(&off->link->limits, AMP_LIMIT_SOCKETS, 1);
}

struct amp_osock *amp_osock_find(struct amp_session *ses, uint32_t id)
{
	struct amp_osock *s = ses->off->ids[id % AMP_OFF_IDS];

	while (s && s->id != id)
		s = s->hash_next;
	/* another session's id is nobody's */
	return s && s->ses == ses ? s : NULL;
}

/* ---- sessions ---- */

static void session_free(struct amp_grave *grave)
{
	free(amp_container_of(grave, struct amp_session, grave));
}

static void leave(struct amp_osock *s)
{
	TAILQ_REMOVE(&s->ses->socks, s, entry);
	s->ses = &s->ses->off->left;
	TAILQ_INSERT_TAIL(&s->ses->socks, s, entry);
}

void amp_session_end(struct amp_session *ses, const char *why)
{
	struct amp_offload *off = ses->off;
	struct amp_osock *s;

	if (ses->over)
		return;
	ses->over = true;
	if (why)
		amp_log_some(&off->log_bad, AMP_LOG_WARN, "link %s: offload session reset: %s",
			     off->link->conf->name, why);
	amp_resolve_forget(off, ses);
	while ((s = TAILQ_FIRST(&ses->socks)) != NULL) {
		if (s->ops->left && s->ops->left(s))
			leave(s);
		else
			s->ops->kill(s);
	}
	ses->ctl->ops->reset(ses->ctl);
	amp_buf_clear(&ses->out);
	TAILQ_REMOVE(&off->sessions, ses, entry);
	off->session_cnt--;
	amp_bury(&ses->grave, session_free);
}

void amp_session_send(struct amp_session *ses, const uint8_t *frame, size_t len)
{
	struct iovec iov = {(void *)(uintptr_t)frame, len};
	ssize_t n = 0;

	if (ses->over)
		return;
	if (ses->out.len == 0)
		n = ses->ctl->ops->write(ses->ctl, &iov, 1, len);
	if (n < 0)
		n = 0;
	if ((size_t)n < len && !amp_buf_put(&ses->out, &iov, 1, (size_t)n))
		amp_session_end(ses, "the guest reads no answers");
}

void amp_session_closed(struct amp_session *ses, uint32_t id, int err)
{
	uint8_t p[AMP_OFF_CTL_LEN + 8];
	struct amp_off_ctl c = {.len = sizeof(p), .op = AMP_OFF_CLOSED};

	amp_off_put_ctl(p, &c);
	amp_put_le32(p + 8, id);
	amp_put_le32(p + 12, amp_off_status(err));
	amp_session_send(ses, p, sizeof(p));
}

static void session_flush(struct amp_session *ses)
{
	struct iovec iov[2];
	int cnt = amp_buf_peek(&ses->out, iov);
	ssize_t n;

	if (cnt) {
		n = ses->ctl->ops->write(ses->ctl, iov, cnt, ses->out.len);
		if (n > 0)
			amp_buf_drop(&ses->out, (size_t)n);
	}
	if (ses->out.len < AMP_OFF_CTL_QUEUE)
		ses->ctl->ops->resume(ses->ctl);
}

/* Control frames are small and few: they are handled from a flat copy. */
static size_t session_data(struct amp_end *end, const struct iovec *iov, int cnt, size_t len)
{
	static uint8_t flat[AMP_OFF_CTL_MAX * 4];
	struct amp_session *ses = end->owner;

	if (ses->out.len >= AMP_OFF_CTL_QUEUE)
		return 0; /* read your answers first */
	if (len > sizeof(flat)) {
		len = sizeof(flat);
		end->ops->resume(end); /* the rest in its turn */
	}
	amp_iov_copy(iov, cnt, 0, flat, len);
	return amp_session_input(ses, flat, len);
}

static void session_event(struct amp_end *end, enum amp_end_event event)
{
	struct amp_session *ses = end->owner;

	if (event == AMP_END_WRITABLE)
		session_flush(ses);
	else if (event == AMP_END_EOF || event == AMP_END_DEAF || event == AMP_END_FAILED)
		amp_session_end(ses, NULL);
}

static void session_info(const struct amp_end *end, struct amp_sock_info *info)
{
	(void)end;
	info->kind = "control";
}

static const struct amp_end_user session_user = {
	.data = session_data,
	.event = session_event,
	.info = session_info,
};

void amp_carrier_refuse(struct amp_offload *off, struct amp_end *end, uint8_t op,
			unsigned status)
{
	struct amp_off_answer a = {.magic = AMP_OFF_MAGIC,
				   .version = AMP_OFF_VERSION,
				   .op = op,
				   .status = (uint16_t)status};
	uint8_t p[AMP_OFF_ANSWER_LEN];
	struct iovec iov = {p, sizeof(p)};

	if (status != AMP_OFF_EMFILE) /* that was counted where there was no room */
		off->link->stats.refused++;
	amp_off_put_answer(p, &a);
	if (end->ops->write(end, &iov, 1, sizeof(p)) == sizeof(p))
		end->ops->close(end);
	else
		end->ops->reset(end);
}

static void hello(struct amp_offload *off, struct amp_end *end, const struct amp_off_open *o)
{
	struct amp_off_answer a = {.magic = AMP_OFF_MAGIC,
				   .version = AMP_OFF_VERSION,
				   .op = AMP_OFF_HELLO,
				   .max_frame = AMP_OFF_CTL_MAX};
	struct amp_session *ses;
	uint8_t p[AMP_OFF_ANSWER_LEN];

	if (o->max_frame < AMP_OFF_CTL_MIN) {
		amp_carrier_refuse(off, end, o->op, AMP_OFF_EINVAL);
		return;
	}
	if (off->session_cnt >= AMP_LIMIT_SESSIONS) {
		amp_carrier_refuse(off, end, o->op, AMP_OFF_ENOBUFS);
		return;
	}
	ses = calloc(1, sizeof(*ses));
	if (!ses) {
		amp_carrier_refuse(off, end, o->op, AMP_OFF_ENOBUFS);
		return;
	}
	ses->off = off;
	ses->ctl = end;
	ses->num = ++off->next_session;
	ses->token = a.token = amp_off_token();
	ses->max_frame = o->max_frame < AMP_OFF_CTL_MAX ? o->max_frame : AMP_OFF_CTL_MAX;
	TAILQ_INIT(&ses->socks);
	TAILQ_INSERT_TAIL(&off->sessions, ses, entry);
	off->session_cnt++;
	end->owner = ses;
	end->user = &session_user;
	amp_off_put_answer(p, &a);
	amp_session_send(ses, p, sizeof(p));
	if (!ses->over)
		end->ops->resume(end);
}

static struct amp_session *session_by_token(struct amp_offload *off, uint64_t token)
{
	struct amp_session *ses;

	TAILQ_FOREACH(ses, &off->sessions, entry)
	{
		if (ses->token == token)
			return ses;
	}
	return NULL;
}

/* ---- carriers ---- */

static void carrier_free(struct amp_grave *grave)
{
	free(amp_container_of(grave, struct amp_carrier, grave));
}

static struct amp_end *carrier_done(struct amp_carrier *c)
{
	struct amp_end *end = c->end;

	TAILQ_REMOVE(&c->off->carriers, c, entry);
	amp_bury(&c->grave, carrier_free);
	return end;
}

static void carrier_bad(struct amp_carrier *c, const char *why)
{
	struct amp_link *link = c->off->link;
	struct amp_end *end = carrier_done(c);

	link->stats.refused++;
	amp_log_some(&c->off->log_bad, AMP_LOG_WARN, "link %s: offload carrier reset: %s",
		     link->conf->name, why);
	end->ops->reset(end);
}

static void carrier_opened(struct amp_carrier *c, const struct amp_off_open *o,
			   const char *name)
{
	struct amp_offload *off = c->off;
	struct amp_session *ses;
	struct amp_end *end = carrier_done(c);

	if (o->op == AMP_OFF_HELLO) {
		hello(off, end, o);
		return;
	}
	ses = session_by_token(off, o->token);
	if (!ses) {
		off->link->stats.stale++;
		amp_log_some(&off->log_bad, AMP_LOG_WARN,
			     "link %s: offload carrier with an unknown token",
			     off->link->conf->name);
		amp_carrier_refuse(off, end, o->op, AMP_OFF_ESTALE);
		return;
	}
	off->link->stats.flows++;
	if (o->op == AMP_OFF_UDP)
		amp_udp_open(ses, end, o);
	else
		amp_tcp_open(ses, end, o, name);
}

static size_t carrier_data(struct amp_end *end, const struct iovec *iov, int cnt, size_t len)
{
	struct amp_carrier *c = end->owner;
	uint8_t p[AMP_OFF_OPEN_LEN + AMP_OFF_NAME_MAX + 1];
	struct amp_off_open o;
	unsigned status;

	/* of another version even the length may differ: its first bytes decide */
	if (amp_iov_copy(iov, cnt, 0, p, 6) && amp_le32(p) == AMP_OFF_MAGIC &&
	    p[4] != AMP_OFF_VERSION) {
		struct amp_offload *off = c->off;

		amp_log_some(&off->log_bad, AMP_LOG_WARN,
			     "link %s: the guest speaks version %u of the offload protocol, "
			     "this proxy %u",
			     off->link->conf->name, p[4], AMP_OFF_VERSION);
		amp_carrier_refuse(off, carrier_done(c), 0, AMP_OFF_EPROTONOSUPPORT);
		return len;
	}
	if (!amp_iov_copy(iov, cnt, 0, p, AMP_OFF_OPEN_LEN))
		return 0;
	status = (unsigned)amp_off_get_open(p, &o);
	if (status != AMP_OFF_OK) {
		carrier_bad(c, "malformed header");
		return len;
	}
	if (!amp_iov_copy(iov, cnt, 0, p, o.len))
		return 0;
	p[o.len] = 0;
	if (memchr(p + AMP_OFF_OPEN_LEN, 0, o.name_len)) {
		carrier_bad(c, "a name with a zero byte in it");
		return len;
	}
	carrier_opened(c, &o, (const char *)p + AMP_OFF_OPEN_LEN);
	return o.len;
}

static void carrier_event(struct amp_end *end, enum amp_end_event event)
{
	if (event == AMP_END_EOF || event == AMP_END_DEAF || event == AMP_END_FAILED)
		carrier_bad(end->owner, "closed before its header was whole");
}

static void carrier_info(const struct amp_end *end, struct amp_sock_info *info)
{
	(void)end;
	info->kind = "carrier"; /* of what it has not said yet */
}

static const struct amp_end_user carrier_user = {
	.data = carrier_data,
	.event = carrier_event,
	.info = carrier_info,
};

/* Carriers are in the order of their deadlines: only the first ones can be late. */
static void on_timer(uv_timer_t *t)
{
	struct amp_offload *off = t->data;
	uint64_t now = amp_now_ms();
	struct amp_carrier *c;

	while ((c = TAILQ_FIRST(&off->carriers)) != NULL && c->deadline_ms <= now)
		carrier_bad(c, "no header in time");
	c = TAILQ_FIRST(&off->carriers);
	if (c)
		uv_timer_start(t, on_timer, c->deadline_ms - now, 0);
}

void amp_offload_incoming(struct amp_offload *off, struct amp_end *end)
{
	struct amp_carrier *c = calloc(1, sizeof(*c));

	if (!c) {
		end->ops->reset(end);
		return;
	}
	c->off = off;
	c->end = end;
	c->deadline_ms = amp_now_ms() + AMP_OFF_HEADER_MS;
	TAILQ_INSERT_TAIL(&off->carriers, c, entry);
	end->owner = c;
	end->user = &carrier_user;
	end->ops->accept(end);
	if (!uv_is_active((uv_handle_t *)&off->timer))
		uv_timer_start(&off->timer, on_timer, AMP_OFF_HEADER_MS, 0);
}

/* ---- the door ---- */

/* A listener that its guest has given credit did without for want of a socket. */
static void room(struct amp_limits *limits)
{
	struct amp_link *link = amp_container_of(limits, struct amp_link, limits);
	struct amp_session *ses;
	struct amp_virtual *v;
	struct amp_osock *s;

	TAILQ_FOREACH(v, &link->offload->virtuals, entry)
	amp_acceptor_go(&v->acceptor);
	TAILQ_FOREACH(ses, &link->offload->sessions, entry)
	{
		TAILQ_FOREACH(s, &ses->socks, entry)
		amp_tcp_room(s);
	}
}

struct amp_offload *amp_offload_new(struct amp_link *link)
{
	struct amp_offload *off = amp_zeroed_new(sizeof(*off));

	if (!off)
		return NULL;
	off->link = link;
	off->left = (struct amp_session){.off = off, .over = true};
	TAILQ_INIT(&off->left.socks);
	link->limits.room = room;
	TAILQ_INIT(&off->sessions);
	TAILQ_INIT(&off->carriers);
	TAILQ_INIT(&off->virtuals);
	TAILQ_INIT(&off->resolves);
	uv_timer_init(amp_loop_uv(), &off->timer);
	off->timer.data = off;
	return off;
}

void amp_offload_down(struct amp_offload *off)
{
	struct amp_session *ses;
	struct amp_carrier *c;

	while ((ses = TAILQ_FIRST(&off->sessions)) != NULL)
		amp_session_end(ses, NULL);
	while ((c = TAILQ_FIRST(&off->carriers)) != NULL) {
		struct amp_end *end = carrier_done(c);

		end->ops->reset(end);
	}
	for (unsigned i = 0; i < AMP_OFF_LEASES; i++) { /* the next guest was given nothing */
		if (off->leases[i].rule)
			memset(&off->leases[i], 0, sizeof(off->leases[i]));
	}
	uv_timer_stop(&off->timer);
}

static void timer_closed(uv_handle_t *h)
{
	amp_zeroed_free(h->data, sizeof(struct amp_offload));
}

void amp_offload_free(struct amp_offload *off)
{
	struct amp_virtual *v;

	amp_offload_down(off);
	off->link->limits.waited = false;
	off->link->limits.room = NULL;
	amp_resolve_forget(off, NULL);
	while ((v = TAILQ_FIRST(&off->virtuals)) != NULL)
		close(amp_virtual_free(v));
	uv_close((uv_handle_t *)&off->timer, timer_closed);
}

int amp_offload_publish(struct amp_offload *off, const struct amp_forward *fwd, int fd)
{
	return fwd->target.kind == AMP_TARGET_UDP ? amp_virtual_udp(off, fwd, fd)
						  : amp_virtual_tcp(off, fwd, fd);
}

void amp_offload_quit(struct amp_offload *off)
{
	struct amp_session *ses;
	struct amp_virtual *v;
	struct amp_osock *s;

	TAILQ_FOREACH(v, &off->virtuals, entry)
	amp_acceptor_stop(&v->acceptor);
	TAILQ_FOREACH(ses, &off->sessions, entry)
	{
		TAILQ_FOREACH(s, &ses->socks, entry)
		amp_tcp_quit(s);
	}
}

bool amp_offload_next(const struct amp_offload *off, uint64_t *num, uint32_t *id,
		      struct amp_sock_info *info)
{
	const struct amp_session *ses;
	const struct amp_osock *s;

	TAILQ_FOREACH(ses, &off->sessions, entry)
	{
		if (ses->num < *num)
			continue;
		TAILQ_FOREACH(s, &ses->socks, entry)
		{
			if (!s->ops->info || (ses->num == *num && s->id <= *id))
				continue;
			*num = ses->num;
			*id = s->id;
			s->ops->info(s, info);
			return true;
		}
	}
	return false;
}

unsigned amp_offload_sockets(const struct amp_offload *off)
{
	return off ? off->sock_cnt : 0;
}
