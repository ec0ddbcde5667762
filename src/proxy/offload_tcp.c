// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls close getpeername setsockopt */
/*
 * Offloaded TCP: connections that the guest opens, and those that come to its listeners.
 *
 * Theory of operation
 *
 * A connection goes through: [name resolved] -> host socket connecting -> ANSWER written
 * -> flow. Until the flow starts, this file is the user of both ends; what the guest
 * sends early stays in its end. The order of an accepted one is the reverse: the host
 * socket is there, the carrier to the guest opens, the ACCEPT header goes first.
 *
 * When the host's side of a flow breaks, the true reason goes out on the control carrier
 * before the carrier is reset.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "flow.h"
#include "offload_tcp.h"

/* ---- a connection ---- */

static struct amp_tcp *tcp_of(struct amp_osock *o)
{
	return amp_container_of(o, struct amp_tcp, o);
}

static void tcp_free(struct amp_grave *grave)
{
	struct amp_tcp *t = tcp_of(amp_container_of(grave, struct amp_osock, grave));

	if (t->addrs != &t->open.peer)
		free(t->addrs);
	free(t->opts);
	free(t);
}

void amp_tcp_not_half(struct amp_tcp *t)
{
	if (t->half)
		amp_limit_give(&t->o.ses->off->link->limits, AMP_LIMIT_HALF_OPEN, 1);
	t->half = false;
}

/* The id ends; the ends are somebody else's or gone. */
static void tcp_gone(struct amp_tcp *t)
{
	if (t->dead)
		return;
	t->dead = true;
	amp_tcp_not_half(t);
	amp_resolve_forget(t->o.ses->off, t);
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
	amp_osock_del(&t->o);
	amp_bury(&t->o.grave, tcp_free);
}

static void tcp_kill(struct amp_osock *o)
{
	struct amp_tcp *t = tcp_of(o);

	if (t->dead)
		return;
	if (t->flow) {
		amp_flow_kill(t->flow); /* comes back through flow_gone() */
		return;
	}
	if (t->guest)
		t->guest->ops->reset(t->guest);
	if (t->host)
		t->host->ops->reset(t->host);
	tcp_gone(t);
}

static int tcp_fd(const struct amp_osock *o)
{
	const struct amp_tcp *t = (const void *)o;

	return t->host ? amp_end_fd_fd(t->host) : -1;
}

static bool tcp_allowed(struct amp_osock *o)
{
	struct amp_tcp *t = tcp_of(o);
	struct amp_rule **out = &o->rule[AMP_DIR_OUT], *in = o->rule[AMP_DIR_IN];
	struct sockaddr_storage ss;

	if (*out && (*out)->gone) {
		amp_off_to_sa(&t->addrs[t->addr_at - 1], &ss);
		*out = amp_policy_find(o->ses->off, AMP_DIR_OUT, AMP_PROTO_TCP,
				       (struct sockaddr *)&ss);
		if (!*out)
			return false;
	}
	return !in || !in->gone || amp_tcp_in_allowed(o, &t->bound);
}

static bool tcp_left(struct amp_osock *o)
{
	struct amp_flow *f = tcp_of(o)->flow;

	return f && amp_flow_left(f, !o->ses->off->link->up);
}

static const struct amp_osock_ops tcp_ops = {
	.kill = tcp_kill,
	.left = tcp_left,
	.fd = tcp_fd,
	.allowed = tcp_allowed,
};

struct amp_tcp *amp_tcp_new(struct amp_session *ses, uint8_t family)
{
	struct amp_tcp *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->o.ops = &tcp_ops;
	t->o.family = family;
	t->o.type = AMP_OFF_STREAM;
	t->fd = -1;
	if (amp_osock_add(ses, &t->o))
		return t;
	free(t);
	return NULL;
}

/* ---- the flow's end ---- */

static void flow_failed(struct amp_flow *flow, unsigned side, int err)
{
	struct amp_tcp *t = flow->owner;

	if (side == 1)
		amp_session_closed(t->o.ses, t->o.id, err);
}

static void flow_gone(struct amp_flow *flow)
{
	struct amp_tcp *t = flow->owner;

	t->flow = NULL;
	t->guest = t->host = NULL;
	tcp_gone(t);
}

static const struct amp_flow_ops tcp_flow = {
	.kind = "connect",
	.failed = flow_failed,
	.gone = flow_gone,
};

static const struct amp_flow_ops accepted_flow = {
	.kind = "accept",
	.failed = flow_failed,
	.gone = flow_gone,
};

static void start_flow(struct amp_tcp *t)
{
	struct amp_flow *f;

	f = amp_flow_join(t->o.ses->off->link, t->guest, true, t->host, true,
			  t->accepted ? &accepted_flow : &tcp_flow, t);
	if (!f) { /* both ends are reset already */
		t->guest = t->host = NULL;
		tcp_gone(t);
		return;
	}
	t->flow = f;
}

/* ---- header and answer ---- */

static void header_write(struct amp_tcp *t)
{
	struct iovec iov = {t->header + t->header_off, AMP_OFF_ANSWER_LEN - t->header_off};
	ssize_t n = t->guest->ops->write(t->guest, &iov, 1, iov.iov_len);

	if (n == -EAGAIN)
		return;
	if (n < 0) {
		tcp_kill(&t->o);
		return;
	}
	t->header_off = (uint8_t)(t->header_off + n);
	if (t->header_off < AMP_OFF_ANSWER_LEN)
		return; /* WRITABLE */
	t->answering = false;
	if (!t->refused) {
		start_flow(t);
		return;
	}
	t->guest->ops->close(t->guest);
	t->guest = NULL;
	tcp_kill(&t->o);
}

static void header_start(struct amp_tcp *t, struct amp_off_answer *a)
{
	a->magic = AMP_OFF_MAGIC;
	a->version = AMP_OFF_VERSION;
	a->id = t->o.id;
	amp_off_put_answer(t->header, a);
	t->answering = true;
	t->refused = a->status != AMP_OFF_OK;
	header_write(t);
}

/*
 * Whom it is connected to: whom we said, without asking the kernel. It decides itself what 0.0.0.0, its
 * like and a scope become.
 */
static void connected_to(const struct amp_tcp *t, struct amp_off_addr *peer)
{
	static const uint8_t zero[4];
	const struct amp_off_addr *said = &t->addrs[t->addr_at - 1];
	const uint8_t *last = said->addr + (said->family == AMP_OFF_INET6 ? 12 : 0);
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	amp_off_to_sa(said, &ss);
	/* an error: connected, and gone again before we looked */
	if (memcmp(last, zero, sizeof(zero)) == 0 || said->scope_id)
		getpeername(amp_end_fd_fd(t->host), (struct sockaddr *)&ss, &len);
	amp_off_from_sa((struct sockaddr *)&ss, peer);
}

void amp_tcp_answer(struct amp_tcp *t, int err)
{
	struct amp_off_answer a = {.op = AMP_OFF_CONNECT,
				   .status = (uint16_t)amp_off_status(err)};

	if (!err) {
		amp_off_local(amp_end_fd_fd(t->host), &a.local);
		connected_to(t, &a.peer);
	}
	header_start(t, &a);
}

/* ---- both ends, until the flow runs ---- */

static void host_event(struct amp_end *end, enum amp_end_event event)
{
	struct amp_tcp *t = end->owner;

	if (event == AMP_END_OPEN || event == AMP_END_FAILED)
		amp_tcp_not_half(t);
	if (event == AMP_END_OPEN) {
		amp_tcp_answer(t, 0);
	} else if (event == AMP_END_FAILED && !t->answering) {
		int err = end->err;

		end->ops->close(end);
		t->host = NULL;
		amp_tcp_connect_next(t, err);
	}
	/* anything else keeps until the flow runs: the end remembers its edges */
}

const struct amp_end_user amp_tcp_host_user = {
	.event = host_event,
};

static size_t guest_data(struct amp_end *end, const struct iovec *iov, int cnt, size_t len)
{
	(void)end;
	(void)iov;
	(void)cnt;
	(void)len;
	return 0; /* kept until the flow runs */
}

static void accepted_open(struct amp_tcp *t);

static void guest_event(struct amp_end *end, enum amp_end_event event)
{
	struct amp_tcp *t = end->owner;

	if (event == AMP_END_OPEN)
		accepted_open(t);
	else if (event == AMP_END_WRITABLE && t->answering)
		header_write(t);
	else if (event == AMP_END_FAILED || event == AMP_END_DEAF) {
		/* the guest refused an accept carrier: its credit was not used */
		if (t->listener)
			amp_tcp_credit(t->o.ses, t->listener, 1);
		tcp_kill(&t->o);
	}
	/* EOF is told again to the flow */
}

static void guest_info(const struct amp_end *end, struct amp_sock_info *info)
{
	const struct amp_tcp *t = end->owner;
	struct sockaddr_storage ss;
	char text[AMP_ADDR_TEXT];

	info->kind = t->accepted ? "accept" : "connect";
	info->proto = "tcp";
	info->state = t->answering && t->refused ? "refused" : "connecting";
	if (t->host) {
		amp_fd_info(amp_end_fd_fd(t->host), info);
	} else if (t->open.peer.family) {
		amp_off_to_sa(&t->open.peer, &ss);
		strcpy(info->host_peer, amp_sockaddr_text((struct sockaddr *)&ss, text));
	}
}

const struct amp_end_user amp_tcp_guest_user = {
	.data = guest_data,
	.event = guest_event,
	.info = guest_info,
};

int amp_tcp_defaults(struct amp_osock *o, int fd, uint32_t opts_set, uint32_t opts)
{
	static const int on = 1;

	/* see offload_opt.c; most guests say so themselves */
	if (!(opts_set & 1u << AMP_OFF_TCP_NODELAY))
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return amp_off_set_bits(o, fd, opts_set, opts);
}

/* ---- accepted connections ---- */

void amp_tcp_accepted(struct amp_listener *l, struct amp_virtual *virt, int fd,
		      const struct sockaddr_storage *peer)
{
	static const struct linger now = {.l_onoff = 1, .l_linger = 0};
	struct amp_session *ses = l->o.ses;
	struct amp_link *link = ses->off->link;
	struct amp_tcp *t = amp_tcp_new(ses, l->o.family);
	struct amp_off_answer a = {.op = AMP_OFF_ACCEPT, .arg = l->o.id, .token = l->token};
	int err = ENOBUFS;

	if (!t) {
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(fd);
		/* the guest never hears of it: its credit was not used */
		amp_tcp_credit(ses, l->o.id, 1);
		return;
	}
	t->listener = l->o.id;
	t->accepted = true;
	t->o.nodelay = l->o.nodelay;
	t->bound = l->local;
	t->o.chosen = l->o.chosen;
	t->o.rule[AMP_DIR_IN] = l->o.rule[AMP_DIR_IN];
	t->o.virt = virt;
	amp_off_from_sa((const struct sockaddr *)peer, &a.peer);
	amp_off_local(fd, &a.local);
	/* behind a published port the guest sees the port that it is bound to */
	if (virt)
		a.local.port = l->local.port;
	amp_off_same_family(l->o.family, &a.local);
	amp_off_same_family(l->o.family, &a.peer);
	t->host = amp_end_fd(fd, false);
	if (t->host) {
		t->host->owner = t;
		t->host->user = &amp_tcp_host_user;
		t->guest = link->ops->connect(link, &amp_service_accept, false, &err);
	}
	if (!t->guest) {
		amp_log_some(&link->log_refused, AMP_LOG_WARN, "link %s: accept: %s",
			     link->conf->name, amp_link_why(link, err));
		/* the guest never hears of it: its credit was not used */
		amp_tcp_credit(ses, l->o.id, 1);
		tcp_kill(&t->o);
		return;
	}
	t->guest->owner = t;
	t->guest->user = &amp_tcp_guest_user;
	link->stats.flows++;
	a.magic = AMP_OFF_MAGIC;
	a.version = AMP_OFF_VERSION;
	a.id = t->o.id;
	amp_off_put_answer(t->header, &a);
}

/* The guest's accept port answered: the header first. */
static void accepted_open(struct amp_tcp *t)
{
	t->listener = 0;
	t->answering = true;
	header_write(t);
}

void amp_tcp_orphans(struct amp_session *ses, uint32_t listener)
{
	struct amp_osock *o, *next;

	for (o = TAILQ_FIRST(&ses->socks); o; o = next) {
		next = TAILQ_NEXT(o, entry);
		if (o->ops == &tcp_ops && tcp_of(o)->listener == listener)
			tcp_kill(o);
	}
}
