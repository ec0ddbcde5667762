// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls close listen setsockopt socket.inet */
/*
 * Offloaded bind and listen, and publish to inet:PORT.
 *
 * Without credit from the guest nothing is accepted: connections wait in the kernel's
 * backlog, as they would for a slow program of the host.
 *
 * A published port is a *virtual* one: the host's socket exists from the start and belongs to
 * the rule; the guest's bind to that port succeeds without a socket of its own, and its
 * listener takes the published one's connections. Nobody listening: reset, and said. Several
 * rules may lead to one port (IPv4 and IPv6, say): its listener takes those of all, and is at
 * home (o.virt) at one of them.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "helper.h"
#include "listen.h"
#include "offload_tcp.h"
#include "udp_relay.h"

#define BACKLOG_MAX 1024u
#define CREDIT_MAX  65535u

/* ---- bound ---- */

static void bound_free(struct amp_grave *grave)
{
	free(amp_container_of(grave, struct amp_bound, o.grave));
}

int amp_bound_take(struct amp_bound *b)
{
	int fd = b->fd;

	b->fd = -1;
	amp_osock_del(&b->o);
	amp_bury(&b->o.grave, bound_free);
	return fd;
}

static void bound_kill(struct amp_osock *o)
{
	int fd = amp_bound_take((struct amp_bound *)o);

	if (fd >= 0)
		close(fd);
}

static int bound_fd(const struct amp_osock *o)
{
	return ((const struct amp_bound *)o)->fd;
}

/* A socket of the guest's that waits for something: at an address, or behind a published port. */
static void info(const char *what, int fd, const struct amp_virtual *virt,
		 const struct amp_off_addr *local, struct amp_sock_info *info)
{
	info->kind = info->state = what;
	info->proto = "tcp";
	snprintf(info->guest_local, AMP_INFO_ADDR, "inet:%u", local->port);
	if (fd >= 0)
		amp_fd_info(fd, info);
	else if (virt)
		snprintf(info->host_local, AMP_INFO_ADDR, "publish %.100s", virt->fwd->text);
}

static void bound_info(const struct amp_osock *o, struct amp_sock_info *to)
{
	const struct amp_bound *b = (const struct amp_bound *)o;

	info("bound", b->fd, b->o.virt, &b->local, to);
}

/* Of a bound socket, a listener, and what that accepted: may it still be at this address? */
bool amp_tcp_in_allowed(struct amp_osock *o, const struct amp_off_addr *local)
{
	struct sockaddr_storage ss;

	amp_off_to_sa(local, &ss);
	o->rule[AMP_DIR_IN] = amp_policy_find_in(o->ses->off, AMP_PROTO_TCP,
						 (struct sockaddr *)&ss, o->chosen);
	return o->rule[AMP_DIR_IN] != NULL;
}

static bool bound_allowed(struct amp_osock *o)
{
	return o->virt || amp_tcp_in_allowed(o, &((struct amp_bound *)o)->local);
}

static const struct amp_osock_ops bound_ops = {
	.info = bound_info,
	.kill = bound_kill,
	.fd = bound_fd,
	.allowed = bound_allowed,
	.released = true,
};

struct amp_bound *amp_bound_find(struct amp_session *ses, uint32_t id)
{
	struct amp_osock *o = amp_osock_find(ses, id);

	return o && o->ops == &bound_ops ? (struct amp_bound *)o : NULL;
}

static struct amp_virtual *virtual_find(struct amp_offload *off, enum amp_target_kind kind,
					uint16_t port)
{
	struct amp_virtual *v;

	TAILQ_FOREACH(v, &off->virtuals, entry)
	{
		if (v->fwd->target.kind == kind && v->fwd->service.port == port)
			return v;
	}
	return NULL;
}

/* The next published one that leads where v does, from the beginning; NULL: v has no other. */
static struct amp_virtual *other_virtual(const struct amp_virtual *v)
{
	struct amp_virtual *o;

	TAILQ_FOREACH(o, &v->off->virtuals, entry)
	{
		if (o != v && o->fwd->target.kind == v->fwd->target.kind &&
		    o->fwd->service.port == v->fwd->service.port)
			break;
	}
	return o;
}

/* Who waits at the ports of l's home: its turn may have come. */
static void go_virtual(const struct amp_virtual *home)
{
	struct amp_virtual *v;

	TAILQ_FOREACH(v, &home->off->virtuals, entry)
	{
		if (v->fwd->target.kind == AMP_TARGET_TCP &&
		    v->fwd->service.port == home->fwd->service.port)
			amp_acceptor_go(&v->acceptor);
	}
}

/* l, or NULL, serves all that lead where home does. */
static void serve_virtual(const struct amp_virtual *home, struct amp_listener *l)
{
	struct amp_virtual *v;

	TAILQ_FOREACH(v, &home->off->virtuals, entry)
	{
		if (v->fwd->target.kind == AMP_TARGET_TCP &&
		    v->fwd->service.port == home->fwd->service.port)
			v->listener = l;
	}
	go_virtual(home);
}

struct amp_virtual *amp_virtual_udp_find(struct amp_offload *off, uint16_t port)
{
	return virtual_find(off, AMP_TARGET_UDP, port);
}

static int bind_real(struct amp_bound *b, uint32_t opts_set, uint32_t opts,
		     const struct amp_off_addr *addr)
{
	struct amp_offload *off = b->o.ses->off;
	struct sockaddr_storage ss;
	socklen_t len = amp_off_to_sa(addr, &ss);
	int err = 0;

	/* port 0 harms nobody until it listens: LISTEN asks then */
	if (addr->port)
		err = amp_policy_addr(off, AMP_DIR_IN, AMP_PROTO_TCP, (struct sockaddr *)&ss,
				      "bind", &b->o.rule[AMP_DIR_IN]);
	if (err)
		return err;
	b->fd = amp_off_socket(off, ss.ss_family, SOCK_STREAM);
	if (b->fd < 0)
		return -b->fd;
	err = amp_tcp_defaults(&b->o, b->fd, opts_set, opts);
	if (!err)
		err = -amp_helper_bind(b->fd, (struct sockaddr *)&ss, len);
	if (!err)
		amp_off_local(b->fd, &b->local);
	b->o.chosen = !addr->port;
	return err;
}

int amp_tcp_bind(struct amp_session *ses, uint8_t family, uint32_t opts_set, uint32_t opts,
		 const struct amp_off_addr *addr, uint32_t *id, struct amp_off_addr *bound)
{
	struct amp_bound *b;
	int err = 0;

	if (family != AMP_OFF_INET && family != AMP_OFF_INET6)
		return EAFNOSUPPORT;
	b = calloc(1, sizeof(*b));
	if (!b)
		return ENOBUFS;
	b->o.ops = &bound_ops;
	b->o.family = family;
	b->o.type = AMP_OFF_STREAM;
	b->fd = -1;
	if (!amp_osock_add(ses, &b->o)) {
		free(b);
		return EMFILE;
	}
	b->o.virt = addr->port ? virtual_find(ses->off, AMP_TARGET_TCP, addr->port) : NULL;
	if (b->o.virt)
		b->local = *addr;
	else
		err = bind_real(b, opts_set, opts, addr);
	if (err) {
		bound_kill(&b->o);
		return err;
	}
	*id = b->o.id;
	*bound = b->local;
	return 0;
}

/* ---- listeners ---- */

static void listener_free(struct amp_grave *grave)
{
	free(amp_container_of(grave, struct amp_listener, o.grave));
}

static void listener_kill(struct amp_osock *o)
{
	struct amp_listener *l = (struct amp_listener *)o;

	if (l->o.virt) {
		serve_virtual(l->o.virt, NULL); /* who waits there is reset now */
	} else {
		amp_acceptor_stop(&l->acceptor);
	}
	amp_osock_del(&l->o);
	amp_tcp_orphans(l->o.ses, l->o.id);
	amp_bury(&l->o.grave, listener_free);
}

static int listener_fd(const struct amp_osock *o)
{
	const struct amp_listener *l = (const struct amp_listener *)o;

	return l->o.virt ? -1 : l->acceptor.watch.fd;
}

static void listener_info(const struct amp_osock *o, struct amp_sock_info *to)
{
	const struct amp_listener *l = (const struct amp_listener *)o;

	info("listen", listener_fd(o), l->o.virt, &l->local, to);
}

static bool listener_allowed(struct amp_osock *o)
{
	return o->virt || amp_tcp_in_allowed(o, &((struct amp_listener *)o)->local);
}

static const struct amp_osock_ops listener_ops = {
	.info = listener_info,
	.kill = listener_kill,
	.fd = listener_fd,
	.allowed = listener_allowed,
	.released = true,
};

void amp_tcp_quit(struct amp_osock *o)
{
	if (o->ops == &listener_ops)
		amp_acceptor_stop(&((struct amp_listener *)o)->acceptor);
}

static bool may_take(const struct amp_listener *l)
{
	return l->credits > 0 && amp_limit_await(&l->o.ses->off->link->limits);
}

/* Who waits in a queue for a socket is not heard of again: accept() is asked for them. */
void amp_tcp_room(struct amp_osock *o)
{
	if (o->ops == &listener_ops && !o->virt)
		amp_acceptor_go(&((struct amp_listener *)o)->acceptor);
}

static bool listener_want(struct amp_acceptor *a)
{
	return may_take(amp_container_of(a, struct amp_listener, acceptor));
}

static void listener_take(struct amp_acceptor *a, int fd, const struct sockaddr_storage *peer)
{
	struct amp_listener *l = amp_container_of(a, struct amp_listener, acceptor);

	l->credits--;
	amp_tcp_accepted(l, NULL, fd, peer);
}

static int listen_real(struct amp_listener *l, struct amp_bound *b, uint32_t backlog)
{
	struct sockaddr_storage ss;
	int err;

	amp_off_to_sa(&b->local, &ss);
	l->o.chosen = b->o.chosen;
	err = amp_policy_listen(l->o.ses->off, (struct sockaddr *)&ss, b->o.chosen,
				&l->o.rule[AMP_DIR_IN]);
	if (err)
		return err;
	if (listen(b->fd, (int)(backlog < BACKLOG_MAX ? backlog : BACKLOG_MAX)))
		return errno;
	l->acceptor.want = listener_want;
	l->acceptor.take = listener_take;
	return 0;
}

static int listen_virtual(struct amp_listener *l)
{
	if (l->o.virt->listener)
		return EADDRINUSE;
	serve_virtual(l->o.virt, l);
	return 0;
}

int amp_tcp_listen(struct amp_session *ses, uint32_t bound_id, uint32_t backlog,
		   uint32_t credits, uint32_t *id, uint64_t *token, struct amp_off_addr *bound)
{
	struct amp_bound *b = amp_bound_find(ses, bound_id);
	struct amp_listener *l;
	int err;

	if (!b)
		return ESTALE;
	l = calloc(1, sizeof(*l));
	if (!l)
		return ENOBUFS;
	l->o.ops = &listener_ops;
	l->o.family = b->o.family;
	l->o.type = AMP_OFF_STREAM;
	l->o.nodelay = b->o.nodelay;
	l->o.virt = b->o.virt;
	l->local = b->local;
	l->token = amp_off_token();
	l->credits = credits < CREDIT_MAX ? credits : CREDIT_MAX;
	l->acceptor.watch.fd = -1;
	if (!amp_osock_add(ses, &l->o)) {
		free(l);
		return EMFILE;
	}
	err = l->o.virt ? listen_virtual(l) : listen_real(l, b, backlog);
	if (err) {
		l->o.virt = NULL;
		listener_kill(&l->o);
		return err;
	}
	*id = l->o.id;
	*token = l->token;
	*bound = l->local;
	/* the listener's id takes the bound one's place */
	if (!l->o.virt && amp_acceptor_start(&l->acceptor, amp_bound_take(b))) {
		listener_kill(&l->o);
		return ENOBUFS;
	}
	if (l->o.virt)
		amp_bound_take(b);
	return 0;
}

void amp_tcp_credit(struct amp_session *ses, uint32_t id, uint32_t n)
{
	struct amp_osock *o = amp_osock_find(ses, id);
	struct amp_listener *l = (struct amp_listener *)o;

	if (!o || o->ops != &listener_ops)
		return; /* released meanwhile */
	if (n > CREDIT_MAX - l->credits)
		n = CREDIT_MAX - l->credits;
	l->credits += n;
	if (l->o.virt)
		go_virtual(l->o.virt);
	else
		amp_acceptor_go(&l->acceptor);
}

/* ---- published ports ---- */

/* Without a listener connections are taken too: to be reset. */
static bool virtual_want(struct amp_acceptor *a)
{
	struct amp_virtual *v = amp_container_of(a, struct amp_virtual, acceptor);

	return !v->listener || may_take(v->listener);
}

static void virtual_take(struct amp_acceptor *a, int fd, const struct sockaddr_storage *peer)
{
	static const struct linger now = {.l_onoff = 1, .l_linger = 0};
	struct amp_virtual *v = amp_container_of(a, struct amp_virtual, acceptor);
	struct amp_link *link = v->off->link;

	if (v->listener) {
		v->listener->credits--;
		amp_forward_hit(v->fwd);
		amp_tcp_accepted(v->listener, v, fd, peer);
		return;
	}
	link->stats.refused++;
	amp_log_some(&link->log_refused, AMP_LOG_WARN,
		     "link %s: publish %s (%s): connection reset: %s", link->conf->name,
		     v->fwd->text, v->fwd->where,
		     link->up ? "the guest does not listen" : "no guest is attached");
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

static struct amp_virtual *virtual_new(struct amp_offload *off, const struct amp_forward *fwd)
{
	struct amp_virtual *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->off = off;
	v->fwd = fwd;
	v->udp_fd = -1;
	v->acceptor.watch.fd = -1;
	TAILQ_INSERT_TAIL(&off->virtuals, v, entry);
	return v;
}

int amp_virtual_tcp(struct amp_offload *off, const struct amp_forward *fwd, int fd)
{
	struct amp_virtual *v = virtual_new(off, fwd), *other;

	if (!v) {
		amp_listen_close(fd);
		return -ENOMEM;
	}
	other = other_virtual(v);
	v->listener = other ? other->listener : NULL;
	v->acceptor.want = virtual_want;
	v->acceptor.take = virtual_take;
	return amp_acceptor_start(&v->acceptor, fd);
}

int amp_virtual_udp(struct amp_offload *off, const struct amp_forward *fwd, int fd)
{
	struct amp_virtual *v = virtual_new(off, fwd);

	if (!v) {
		amp_listen_close(fd);
		return -ENOMEM;
	}
	v->udp_fd = fd;
	v->udp_drops = amp_udp_count_drops(fd);
	amp_off_own_groups(fd);
	amp_off_opts_save(fd, &v->udp_opts);
	return 0;
}

void amp_virtual_leave(struct amp_virtual *v)
{
	struct amp_virtual *other = other_virtual(v);
	struct amp_session *ses;
	struct amp_osock *s;

	if (!other)
		return;
	TAILQ_FOREACH(ses, &v->off->sessions, entry)
	{
		TAILQ_FOREACH(s, &ses->socks, entry)
		{
			if (s->virt == v && (s->ops == &bound_ops || s->ops == &listener_ops))
				s->virt = other;
		}
	}
}

int amp_virtual_free(struct amp_virtual *v)
{
	int fd = v->udp_fd >= 0 ? v->udp_fd : v->acceptor.watch.fd;

	TAILQ_REMOVE(&v->off->virtuals, v, entry);
	amp_work_cancel(&v->acceptor.work);
	amp_watch_stop(&v->acceptor.watch);
	free(v);
	return fd;
}
