// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls close connect socket.inet */
/*
 * Offloaded TCP, towards the host: the address or the name that a guest connects to, the socket
 * for it, and the next address when one does not answer. offload_tcp.c has the theory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "expose.h"
#include "helper.h"
#include "offload_tcp.h"

/* A socket with the guest's options. fd or -errno. */
static int new_socket(struct amp_osock *o, uint32_t opts_set, uint32_t opts)
{
	int family = o->family == AMP_OFF_INET6 ? AF_INET6 : AF_INET;
	int fd = amp_off_socket(o->ses->off, family, SOCK_STREAM);
	int err;

	if (fd < 0)
		return fd;
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
static int bind_again(struct amp_tcp *t, int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = amp_off_to_sa(&t->bound, &ss);

	amp_off_opts_put(fd, t->opts);
	return -amp_helper_bind(fd, (struct sockaddr *)&ss, len);
}

static int connect_socket(struct amp_tcp *t)
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
static int connect_one(struct amp_tcp *t, const struct sockaddr *sa)
{
	struct amp_link *link = t->o.ses->off->link;
	int r, fd;
	socklen_t len = sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
						  : sizeof(struct sockaddr_in);

	if (!amp_limit_take(&link->limits, AMP_LIMIT_HALF_OPEN, 1)) {
		link->stats.refused++;
		return ENOBUFS;
	}
	t->half = true;
	fd = connect_socket(t);
	r = fd < 0 ? fd : amp_connect_fd(fd, sa, len);
	if (r < 1)
		amp_tcp_not_half(t);
	if (r < 0) {
		if (fd >= 0)
			close(fd);
		return -r;
	}
	t->host = amp_end_fd(fd, r == 1);
	if (!t->host) {
		amp_tcp_not_half(t);
		return ENOBUFS;
	}
	t->host->owner = t;
	t->host->user = &amp_tcp_host_user;
	if (r == 0)
		amp_tcp_answer(t, 0);
	return 0;
}

void amp_tcp_connect_next(struct amp_tcp *t, int err)
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
	amp_tcp_answer(t, err);
}

static int eai_errno(unsigned status)
{
	return status == AMP_OFF_EAI_AGAIN ? ETIMEDOUT : EHOSTUNREACH;
}

static void name_resolved(struct amp_resolve *r, unsigned status, const struct addrinfo *res)
{
	struct amp_tcp *t = r->owner;

	t->addrs = calloc(AMP_OFF_ADDRS_MAX, sizeof(*t->addrs));
	for (const struct addrinfo *a = res; t->addrs && a && t->addr_cnt < AMP_OFF_ADDRS_MAX;
	     a = a->ai_next) {
		amp_off_from_sa(a->ai_addr, &t->addrs[t->addr_cnt]);
		t->addrs[t->addr_cnt].port = t->port;
		amp_policy_lease(t->o.ses->off, r->host, a->ai_addr);
		t->addr_cnt++;
	}
	amp_tcp_connect_next(t, eai_errno(status));
}

static void connect_name(struct amp_tcp *t, const char *name)
{
	struct amp_resolve *r;
	int err = amp_policy_name(t->o.ses->off, AMP_PROTO_TCP, name, t->port);

	if (err) {
		amp_tcp_answer(t, err);
		return;
	}
	if (!amp_off_rate(t->o.ses->off, AMP_LIMIT_DNS)) {
		amp_tcp_answer(t, EAGAIN);
		return;
	}
	r = amp_resolve_new();
	if (!r) {
		amp_tcp_answer(t, ENOBUFS);
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
		amp_tcp_answer(t, EAGAIN);
}

/* The socket that BIND made: its id is used up, whatever comes of it. */
static int take_bound(struct amp_tcp *t)
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
	struct amp_tcp *t = amp_tcp_new(ses, o->family);
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
	carrier->user = &amp_tcp_guest_user;
	if (o->bound_id)
		err = take_bound(t);
	if (!err && !amp_off_rate(ses->off, AMP_LIMIT_CONNECTS))
		err = ENOBUFS;
	t->port = o->peer.port;
	if (err) {
		amp_tcp_answer(t, err);
	} else if (o->name_len) {
		connect_name(t, name);
	} else {
		t->addrs = &t->open.peer;
		t->addr_cnt = 1;
		amp_tcp_connect_next(t, 0);
	}
}
