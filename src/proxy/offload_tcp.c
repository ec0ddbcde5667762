// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls close connect getpeername setsockopt socket.inet */
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

#include "expose.h"
#include "flow.h"
#include "helper.h"
#include "offload_inner.h"
#include "offload_tcp.h"

/* ---- a connection ---- */

struct tcp {
	struct amp_osock o; /* first */
	struct amp_end *guest;
	struct amp_end *host;
	struct amp_flow *flow;
	int fd;		   /* a bound socket that waits for its name to resolve */
	uint16_t port;	   /* connect by name */
	uint32_t listener; /* accepted: id of its listener, until the guest took the carrier */
	bool half;	   /* counts as half-open */
	bool answering;	   /* header[] is on its way */
	bool refused;	   /* ... and nothing follows it */
	bool accepted;
	bool dead;
	uint8_t header_off;
	uint8_t header[AMP_OFF_ANSWER_LEN];
	struct amp_off_open open;
	struct amp_off_addr bound; /* what an `in` rule allowed: rule[AMP_DIR_IN] */
	struct amp_off_opts
		*opts; /* of the socket that was bound, for another one in its place */
	/* addresses still to try: open.peer, or those of a name */
	struct amp_off_addr *addrs;
	unsigned addr_cnt, addr_at;
};

static struct tcp *tcp_of(struct amp_osock *o)
{
	return amp_container_of(o, struct tcp, o);
}

static void tcp_free(struct amp_grave *grave)
{
	struct tcp *t = tcp_of(amp_container_of(grave, struct amp_osock, grave));

	if (t->addrs != &t->open.peer)
		free(t->addrs);
	free(t->opts);
	free(t);
}

/* Connected, refused, or given up. */
static void not_half(struct tcp *t)
{
	if (t->half)
		amp_limit_give(&t->o.ses->off->link->limits, AMP_LIMIT_HALF_OPEN, 1);
	t->half = false;
}

/* The id ends; the ends are somebody else's or gone. */
static void tcp_gone(struct tcp *t)
{
	if (t->dead)
		return;
	t->dead = true;
	not_half(t);
	amp_resolve_forget(t->o.ses->off, t);
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
	amp_osock_del(&t->o);
	amp_bury(&t->o.grave, tcp_free);
}

static void tcp_kill(struct amp_osock *o)
{
	struct tcp *t = tcp_of(o);

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
	const struct tcp *t = (const void *)o;

	return t->host ? amp_end_fd_fd(t->host) : -1;
}

static bool tcp_allowed(struct amp_osock *o)
{
	struct tcp *t = tcp_of(o);
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

static const struct amp_osock_ops tcp_ops = {
	.kill = tcp_kill,
	.fd = tcp_fd,
	.allowed = tcp_allowed,
};

/* ---- the flow's end ---- */

static void flow_failed(struct amp_flow *flow, unsigned side, int err)
{
	struct tcp *t = flow->owner;

	if (side == 1)
		amp_session_closed(t->o.ses, t->o.id, err);
}

static void flow_gone(struct amp_flow *flow)
{
	struct tcp *t = flow->owner;

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

static void start_flow(struct tcp *t)
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

static void header_write(struct tcp *t)
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

static void header_start(struct tcp *t, struct amp_off_answer *a)
{
	a->magic = AMP_OFF_MAGIC;
	a->version = AMP_OFF_VERSION;
	a->id = t->o.id;
	amp_off_put_answer(t->header, a);
	t->answering = true;
	t->refused = a->status != AMP_OFF_OK;
	header_write(t);
}

static void answer(struct tcp *t, int err)
{
	struct amp_off_answer a = {.op = AMP_OFF_CONNECT,
				   .status = (uint16_t)amp_off_status(err)};
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (!err) {
		amp_off_local(amp_end_fd_fd(t->host), &a.local);
		if (getpeername(amp_end_fd_fd(t->host), (struct sockaddr *)&ss, &len) == 0)
			amp_off_from_sa((struct sockaddr *)&ss, &a.peer);
		/* connected, and gone again before we looked: its own address was good */
		if (!a.peer.family)
			a.peer = t->open.peer;
	}
	header_start(t, &a);
}

/* ---- connecting ---- */

static void connect_next(struct tcp *t, int err);

static void host_event(struct amp_end *end, enum amp_end_event event)
{
	struct tcp *t = end->owner;

	if (event == AMP_END_OPEN || event == AMP_END_FAILED)
		not_half(t);
	if (event == AMP_END_OPEN) {
		answer(t, 0);
	} else if (event == AMP_END_FAILED && !t->answering) {
		int err = end->err;

		end->ops->close(end);
		t->host = NULL;
		connect_next(t, err);
	}
	/* anything else keeps until the flow runs: the end remembers its edges */
}

static const struct amp_end_user host_user = {
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

static void accepted_open(struct tcp *t);

static void guest_event(struct amp_end *end, enum amp_end_event event)
{
	struct tcp *t = end->owner;

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
	const struct tcp *t = end->owner;
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

static const struct amp_end_user guest_user = {
	.data = guest_data,
	.event = guest_event,
	.info = guest_info,
};

int amp_tcp_defaults(struct amp_osock *o, int fd, uint32_t opts_set, uint32_t opts)
{
	static const int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* see offload_opt.c */
	return amp_off_set_bits(o, fd, opts_set, opts);
}

/* A socket with the guest's options. fd or -errno. */
static int new_socket(struct amp_osock *o, uint32_t opts_set, uint32_t opts)
{
	int family = o->family == AMP_OFF_INET6 ? AF_INET6 : AF_INET;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	err = amp_tcp_defaults(o, fd, opts_set, opts);
	if (!err)
		return fd;
	close(fd);
	return -err;
}

/*
 * A bound socket whose first address did not answer: Linux lets go of the port with the failed
 * connect() if it had chosen it, so that the next address has another socket at the same place.
 */
static int bind_again(struct tcp *t, int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = amp_off_to_sa(&t->bound, &ss);

	amp_off_opts_put(fd, t->opts);
	return -amp_helper_bind(fd, (struct sockaddr *)&ss, len);
}

static int connect_socket(struct tcp *t)
{
	const struct amp_off_open *o = &t->open;
	int err = 0, fd = t->fd;

	t->fd = -1;
	if (fd < 0) {
		fd = new_socket(&t->o, o->opts_set, o->opts);
		if (fd < 0)
			return fd;
		if (o->bound_id)
			err = bind_again(t, fd);
	}
	if (!err)
		err = amp_off_set_keep(fd, o);
	if (!err && o->local.family && !o->bound_id) {
		struct sockaddr_storage ss;
		socklen_t len = amp_off_to_sa(&o->local, &ss);

		t->bound = o->local;
		/* a fixed local port is a bind like any other */
		if (o->local.port)
			err = amp_policy_addr(t->o.ses->off, AMP_DIR_IN, AMP_PROTO_TCP,
					      (struct sockaddr *)&ss, "bind",
					      &t->o.rule[AMP_DIR_IN]);
		if (!err)
			err = -amp_helper_bind(fd, (struct sockaddr *)&ss, len);
	}
	if (!err)
		return fd;
	close(fd);
	return -err;
}

/* 0: under way or there; positive errno. */
static int connect_one(struct tcp *t, const struct sockaddr *sa)
{
	struct amp_limits *limits = &t->o.ses->off->link->limits;
	int r, fd;
	socklen_t len = sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
						  : sizeof(struct sockaddr_in);

	if (!amp_limit_take(limits, AMP_LIMIT_HALF_OPEN, 1))
		return ENOBUFS;
	t->half = true;
	fd = connect_socket(t);
	r = fd < 0 ? fd : amp_connect_fd(fd, sa, len);
	if (r < 1)
		not_half(t);
	if (r < 0) {
		if (fd >= 0)
			close(fd);
		return -r;
	}
	t->host = amp_end_fd(fd, r == 1);
	if (!t->host) {
		not_half(t);
		return ENOBUFS;
	}
	t->host->owner = t;
	t->host->user = &host_user;
	if (r == 0)
		answer(t, 0);
	return 0;
}

/* The next address of the name, or the answer that none is left: err of the last. */
static void connect_next(struct tcp *t, int err)
{
	while (t->addr_at < t->addr_cnt) {
		struct sockaddr_storage ss;
		const struct sockaddr *sa = (struct sockaddr *)&ss;

		amp_off_to_sa(&t->addrs[t->addr_at++], &ss);
		err = amp_policy_addr(t->o.ses->off, AMP_DIR_OUT, AMP_PROTO_TCP, sa, "connect",
				      &t->o.rule[AMP_DIR_OUT]);
		if (!err)
			err = connect_one(t, sa);
		if (!err)
			return;
	}
	answer(t, err);
}

static int eai_errno(unsigned status)
{
	return status == AMP_OFF_EAI_AGAIN ? ETIMEDOUT : EHOSTUNREACH;
}

static void name_resolved(struct amp_resolve *r, unsigned status, const struct addrinfo *res)
{
	struct tcp *t = r->owner;

	t->addrs = calloc(AMP_OFF_ADDRS_MAX, sizeof(*t->addrs));
	for (const struct addrinfo *a = res; t->addrs && a && t->addr_cnt < AMP_OFF_ADDRS_MAX;
	     a = a->ai_next) {
		amp_off_from_sa(a->ai_addr, &t->addrs[t->addr_cnt]);
		t->addrs[t->addr_cnt].port = t->port;
		amp_policy_lease(t->o.ses->off, r->host, a->ai_addr);
		t->addr_cnt++;
	}
	connect_next(t, eai_errno(status));
}

static void connect_name(struct tcp *t, const char *name)
{
	struct amp_resolve *r;
	int err = amp_policy_name(t->o.ses->off, AMP_PROTO_TCP, name, t->port);

	if (err) {
		answer(t, err);
		return;
	}
	if (!amp_limit_rate(&t->o.ses->off->link->limits, AMP_LIMIT_DNS, amp_now_ms())) {
		answer(t, EAGAIN);
		return;
	}
	r = amp_resolve_new();
	if (!r) {
		answer(t, ENOBUFS);
		return;
	}
	strncpy(r->host, name, sizeof(r->host) - 1);
	r->hints.ai_family = t->o.family == AMP_OFF_INET6 ? AF_INET6 : AF_INET;
	r->hints.ai_socktype = SOCK_STREAM;
	if (t->o.family == AMP_OFF_INET6)
		r->hints.ai_flags = AI_V4MAPPED;
	r->owner = t;
	r->done = name_resolved;
	if (amp_resolve_start(t->o.ses->off, r))
		answer(t, EAGAIN);
}

static struct tcp *tcp_new(struct amp_session *ses, uint8_t family)
{
	struct tcp *t = calloc(1, sizeof(*t));

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

/* The socket that BIND made: its id is used up, whatever comes of it. */
static int take_bound(struct tcp *t)
{
	struct amp_bound *b = amp_bound_find(t->o.ses, t->open.bound_id);
	int err;

	if (!b)
		return ESTALE;
	t->bound = b->local;
	t->o.chosen = b->o.chosen;
	t->o.rule[AMP_DIR_IN] = b->o.rule[AMP_DIR_IN];
	t->fd = amp_bound_take(b);
	if (t->fd < 0 || b->o.family != t->o.family)
		return EINVAL; /* virtual: there is no socket behind it */
	err = amp_off_set_bits(&t->o, t->fd, t->open.opts_set, t->open.opts);
	if (err || !t->open.name_len)
		return err;
	t->opts = malloc(sizeof(*t->opts));
	if (!t->opts)
		return ENOBUFS;
	amp_off_opts_save(t->fd, t->opts);
	return 0;
}

void amp_tcp_open(struct amp_session *ses, struct amp_end *carrier,
		  const struct amp_off_open *o, const char *name)
{
	struct tcp *t = tcp_new(ses, o->family);
	int err = 0;

	if (!t) {
		amp_carrier_refuse(ses->off, carrier, AMP_OFF_CONNECT, AMP_OFF_EMFILE);
		return;
	}
	t->guest = carrier;
	t->open = *o;
	t->o.linger_on = o->linger != 0;
	t->o.linger_s = o->linger ? o->linger - 1 : 0;
	carrier->owner = t;
	carrier->user = &guest_user;
	if (o->bound_id)
		err = take_bound(t);
	if (!err && !amp_limit_rate(&ses->off->link->limits, AMP_LIMIT_CONNECTS, amp_now_ms()))
		err = ENOBUFS;
	t->port = o->peer.port;
	if (err) {
		answer(t, err);
	} else if (o->name_len) {
		connect_name(t, name);
	} else {
		t->addrs = &t->open.peer;
		t->addr_cnt = 1;
		connect_next(t, 0);
	}
}

/* ---- accepted connections ---- */

void amp_tcp_accepted(struct amp_listener *l, int fd, const struct sockaddr_storage *peer)
{
	static const struct linger now = {.l_onoff = 1, .l_linger = 0};
	struct amp_session *ses = l->o.ses;
	struct amp_link *link = ses->off->link;
	struct tcp *t = tcp_new(ses, l->o.family);
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
	t->o.virt = l->o.virt;
	amp_off_from_sa((const struct sockaddr *)peer, &a.peer);
	amp_off_local(fd, &a.local);
	/* behind a published port the guest sees the port that it is bound to */
	if (l->o.virt)
		a.local.port = l->local.port;
	amp_off_same_family(l->o.family, &a.local);
	amp_off_same_family(l->o.family, &a.peer);
	t->host = amp_end_fd(fd, false);
	if (t->host) {
		t->host->owner = t;
		t->host->user = &host_user;
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
	t->guest->user = &guest_user;
	link->stats.flows++;
	a.magic = AMP_OFF_MAGIC;
	a.version = AMP_OFF_VERSION;
	a.id = t->o.id;
	amp_off_put_answer(t->header, &a);
}

/* The guest's accept port answered: the header first. */
static void accepted_open(struct tcp *t)
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
