// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls bind close connect getsockname getsockopt listen poll ppoll setsockopt shutdown socket.inet
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "config.h"
#include "helper.h"
#include "kept.h"
#include "listen.h"
#include "log.h"

static unsigned start_tries = AMP_ORPHAN_TRIES;

/*
 * The moment that listen_unix.c waits, for ports, of which nobody tells whose they are: only before the
 * loop runs, where nobody waits for us but who started us.
 */
bool amp_listen_again(int r)
{
	if (r != -EADDRINUSE || !start_tries)
		return false;
	if (start_tries == AMP_ORPHAN_TRIES)
		amp_log(AMP_LOG_INFO, "a port is still in use: waiting up to %u ms for it",
			AMP_ORPHAN_TRIES * AMP_ORPHAN_MS);
	start_tries--;
	(void)poll(NULL, 0, AMP_ORPHAN_MS);
	return true;
}

void amp_listen_started(void)
{
	start_tries = 0;
}

/* Addresses whose sockets are the service manager's, who has them when our rules have gone. */
struct given {
	LIST_ENTRY(given) entry;
	struct amp_target target;
};

static LIST_HEAD(, given) all_given = LIST_HEAD_INITIALIZER(all_given);

static bool is_given(const struct amp_target *t)
{
	const struct given *g;

	LIST_FOREACH(g, &all_given, entry)
	{
		if (amp_target_same(&g->target, t))
			return true;
	}
	return false;
}

static int remember_given(const struct amp_target *t)
{
	struct given *g = is_given(t) ? NULL : calloc(1, sizeof(*g));

	if (!g)
		return is_given(t) ? 0 : -ENOMEM;
	g->target = *t;
	LIST_INSERT_HEAD(&all_given, g, entry);
	return 0;
}

/* What it listens at, or, of UDP, is bound to. */
static bool is_listener(int fd, struct amp_target *t)
{
	socklen_t len = sizeof(int);
	int listens = 0, type = 0;

	memset(t, 0, sizeof(*t));
	t->len = sizeof(t->addr.ss);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len))
		return false;
	t->kind = type == SOCK_DGRAM ? AMP_TARGET_UDP : AMP_TARGET_TCP;
	return (listens || t->kind == AMP_TARGET_UDP) &&
	       getsockname(fd, &t->addr.sa, &t->len) == 0 &&
	       (t->addr.sa.sa_family == AF_INET || t->addr.sa.sa_family == AF_INET6);
}

/*
 * Of TCP and UDP, that we have opened, for amp_listen_share(). What the descriptor is by now is looked
 * at before it is used.
 */
struct opened {
	LIST_ENTRY(opened) entry;
	struct amp_target target;
	int fd;
	bool shared; /* TCP: there was another beside it */
};

static LIST_HEAD(, opened) all_opened = LIST_HEAD_INITIALIZER(all_opened);

static struct opened *find_opened(int fd)
{
	struct opened *o;

	LIST_FOREACH(o, &all_opened, entry)
	{
		if (o->fd == fd)
			break;
	}
	return o;
}

/* No memory: then the two are not there at one time. */
static void remember_opened(const struct amp_target *t, int fd, bool beside)
{
	struct opened *o = find_opened(fd);

	if (!o) {
		o = calloc(1, sizeof(*o));
		if (!o)
			return;
		LIST_INSERT_HEAD(&all_opened, o, entry);
	}
	o->target = *t;
	o->fd = fd;
	o->shared = beside && t->kind == AMP_TARGET_TCP;
}

static void forget_opened(int fd)
{
	struct opened *o = find_opened(fd);

	if (!o)
		return;
	LIST_REMOVE(o, entry);
	free(o);
}

bool amp_listen_share(const struct amp_target *target, bool on)
{
	struct amp_target is;
	struct opened *o;
	int value = on;

	LIST_FOREACH(o, &all_opened, entry)
	{
		if (amp_target_same(&o->target, target) && is_listener(o->fd, &is) &&
		    amp_target_same(&is, target))
			break;
	}
	/* of the manager's the kernel takes none beside it: it is another user's */
	if (!o || is_given(target))
		return false;
	o->shared = target->kind == AMP_TARGET_TCP;
	return setsockopt(o->fd, SOL_SOCKET, SO_REUSEPORT, &value, sizeof(value)) == 0;
}

/* For a moment, beside all that listen at the port: at loopback of either family. 0 or -errno. */
static int bind_alone(sa_family_t family, uint16_t port)
{
	static const int on = 1;
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 0xfffffdu)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
				   .sin6_port = htons(port),
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	r = family == AF_INET6 ? bind(fd, (struct sockaddr *)&in6, sizeof(in6))
			       : bind(fd, (struct sockaddr *)&in, sizeof(in));
	r = r ? -errno : 0;
	close(fd);
	return r;
}

/*
 * The kernel does not look again at the sockets of a port that two have shared: it believes that they
 * still do, and lets each process of our user in that wants to. Until one is bound that does not
 * share; of a low port nobody can (EACCES). If both wildcards are taken there is no address for it.
 */
static void end_shared(void)
{
	struct opened *o;

	LIST_FOREACH(o, &all_opened, entry)
	{
		uint16_t port = amp_sockaddr_port(&o->target.addr.sa);
		int r = o->shared ? bind_alone(AF_INET6, port) : 0;

		if (r && r != -EACCES)
			r = bind_alone(AF_INET, port);
		if (r && r != -EACCES)
			amp_log(AMP_LOG_WARN,
				"port %u: until a restart other processes of the proxy's user "
				"may listen there, too",
				(unsigned)port);
		o->shared = false;
	}
}

/*
 * A UDP socket that hears nobody, but who would have its own address: the helper's duplicate of one that
 * ends has it for a moment longer, and takes nothing away from the one beside it.
 */
static void deafen(int fd, const struct amp_target *t)
{
	struct amp_target own = *t;

	if (t->addr.sa.sa_family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&own.addr.ss;

		if (IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr))
			in6->sin6_addr = in6addr_loopback;
	} else {
		struct sockaddr_in *in = (struct sockaddr_in *)&own.addr.ss;

		if (!in->sin_addr.s_addr)
			in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	}
	(void)connect(fd, &own.addr.sa, own.len);
}

void amp_listen_close(int fd)
{
	struct amp_target t;
	bool listens = is_listener(fd, &t), ours = listens && !is_given(&t);

	/* close() here ends it when the last duplicate is closed, shutdown() now, in all of them */
	if (ours && t.kind == AMP_TARGET_TCP)
		shutdown(fd, SHUT_RD);
	if (ours || !listens)
		amp_kept_drop_socket(fd);
	if (ours && t.kind == AMP_TARGET_UDP) /* and its name is another */
		deafen(fd, &t);
	forget_opened(fd);
	close(fd);
}

/* Which of those with any port it is. Returns dst. */
static const char *what_for(const struct amp_target *t, const char *link,
			    const struct amp_service *service, char dst[AMP_KEPT_WHAT])
{
	char addr[AMP_ADDR_TEXT], text[AMP_SERVICE_TEXT];

	snprintf(dst, AMP_KEPT_WHAT, "%s %s %s %s", link,
		 t->kind == AMP_TARGET_TCP ? "tcp" : "udp",
		 amp_sockaddr_text(&t->addr.sa, addr),
		 service ? amp_service_text(service, text) : "-");
	return dst;
}

/* Our predecessor's: nobody who connected meanwhile was refused. what NULL: the port is known. */
static int inet_kept(const struct amp_target *t, int type, const char *what)
{
	return what ? amp_kept_take_any(type, &t->addr.sa, what)
		    : amp_kept_take_socket(type, &t->addr.sa, t->len);
}

static void inet_keep(int fd, const char *what)
{
	if (what)
		amp_kept_put_any(fd, what);
	else
		amp_kept_put_socket(fd);
}

/* Of UDP, what was closed a moment ago can still be the helper's (TCP: amp_listen_close()). */
static int inet_bind(int fd, const struct amp_target *t, bool beside)
{
	bool udp = t->kind == AMP_TARGET_UDP;
	int r = -EADDRINUSE;

	if (!udp || !beside)
		r = amp_helper_bind(fd, &t->addr.sa, t->len);
	if (udp && r == -EADDRINUSE)
		r = amp_helper_bind_there(fd, &t->addr.sa, t->len, beside);
	if (r == -EPERM && !beside) /* of run time: no rule names it, but it may be free now */
		r = amp_helper_bind(fd, &t->addr.sa, t->len);
	return r;
}

/* what: which of those with any port; NULL: it has one. beside: another that has been told so
 * (amp_listen_share()). */
static int inet_listen(const struct amp_target *t, const char *what, bool beside)
{
	static const int on = 1, off;
	bool tcp = t->kind == AMP_TARGET_TCP;
	int type = tcp ? SOCK_STREAM : SOCK_DGRAM;
	int r, fd = amp_helper_passed_inet(tcp, &t->addr.sa, t->len);

	if (fd >= 0 && tcp)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (fd >= 0) { /* the program that we become has them from nobody else */
		r = remember_given(t);
		if (r) {
			close(fd);
			return r;
		}
		amp_kept_put_lent(fd);
	}
	if (fd != -ENOENT)
		return fd;
	fd = inet_kept(t, type, what);
	if (fd >= 0)
		return fd;
	fd = socket(t->addr.sa.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* published ports come back at once after a restart; not for UDP, where it would share
	 */
	if (tcp) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
			   sizeof(on)); /* accepted ones inherit it */
	}
	if (beside)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (t->addr.sa.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	do
		r = inet_bind(fd, t, beside);
	while (amp_listen_again(r));
	if (!r && (!tcp || listen(fd, AMP_LISTEN_BACKLOG) == 0)) {
		if (beside) /* nobody else is to be there: see end_shared() */
			setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &off, sizeof(off));
		inet_keep(fd, what);
		return fd;
	}
	if (!r)
		r = -errno;
	close(fd);
	return r;
}

/* ---- between two owners ---- */

struct held {
	LIST_ENTRY(held) entry;
	unsigned kind;
	struct amp_target target;
	int fd;
};

static LIST_HEAD(, held) all_held = LIST_HEAD_INITIALIZER(all_held);

void amp_listen_hold(unsigned kind, const struct amp_target *target, int fd)
{
	struct held *h = calloc(1, sizeof(*h));

	if (!h) {
		amp_log(AMP_LOG_ERROR, "no memory: a listening socket is closed");
		close(fd);
		return;
	}
	h->kind = kind;
	h->target = *target;
	h->fd = fd;
	LIST_INSERT_HEAD(&all_held, h, entry);
}

static int take_held(unsigned kind, const struct amp_target *target)
{
	struct held *h;
	int fd = -1;

	LIST_FOREACH(h, &all_held, entry)
	{
		if (h->kind == kind && amp_target_same(&h->target, target))
			break;
	}
	if (h) {
		fd = h->fd;
		LIST_REMOVE(h, entry);
		free(h);
	}
	return fd;
}

void amp_listen_let_go(void)
{
	struct held *h;

	while ((h = LIST_FIRST(&all_held)) != NULL) {
		LIST_REMOVE(h, entry);
		if (h->target.kind == AMP_TARGET_UNIX)
			amp_helper_unlink(h->kind ? (enum amp_helper_kind)h->kind
						  : AMP_HELPER_PUBLISH,
					  h->target.addr.un.sun_path);
		amp_listen_close(h->fd);
		free(h);
	}
	end_shared();
}

struct amp_target amp_listen_path(const char *path)
{
	struct amp_target t;

	memset(&t, 0, sizeof(t));
	t.kind = AMP_TARGET_UNIX;
	t.len = sizeof(t.addr.un);
	t.addr.un.sun_family = AF_UNIX;
	strncpy(t.addr.un.sun_path, path, sizeof(t.addr.un.sun_path) - 1);
	return t;
}

int amp_link_listen(unsigned kind, const char *path)
{
	struct amp_target t = amp_listen_path(path);
	int fd = take_held(kind, &t);

	return fd >= 0 ? fd : amp_helper_listen_unix((enum amp_helper_kind)kind, path);
}

/* An address that has a part of t's: the same one would have been lent. */
static bool has_given(const struct amp_target *t)
{
	const struct given *g;

	LIST_FOREACH(g, &all_given, entry)
	{
		if (amp_target_overlap(&g->target, t))
			return true;
	}
	return false;
}

const char *amp_listen_why(const struct amp_target *target, int r)
{
	bool file = target->kind == AMP_TARGET_UNIX;

	switch (r) {
	case -EADDRINUSE:
		if (!file && has_given(target))
			return "a socket of the service manager's has the address, or a part "
			       "of "
			       "it: expected the address of that socket, or another port";
		return file ? "another process listens there"
			    : "the port is already in use by another process";
	case -EADDRNOTAVAIL:
		return "no interface of this host has that address";
	case -EPROTOTYPE:
		return "what the service manager passed for it is no listening socket";
	case -EACCES:
		return file ? strerror(EACCES)
			    : "a port that low needs CAP_NET_BIND_SERVICE, or a systemd.socket "
			      "unit with this address";
	case -EPERM:
		return file ? "expected a path in runtime-dir, or one that a rule of the "
			      "configuration has"
			    : strerror(EPERM);
	case -ENOENT:
		return file ? "its directory does not exist" : strerror(ENOENT);
	case -EEXIST:
		return file ? "there is a file that is no socket" : strerror(EEXIST);
	default:
		return strerror(-r);
	}
}

static bool any_port(const struct amp_target *t)
{
	return t->kind != AMP_TARGET_UNIX && !amp_sockaddr_port(&t->addr.sa);
}

static int target_open(const struct amp_target *target, const char *link,
		       const struct amp_service *service, bool beside)
{
	char text[AMP_ADDR_TEXT], what[AMP_KEPT_WHAT];
	int r;

	if (target->kind == AMP_TARGET_UNIX)
		return amp_helper_listen_unix(AMP_HELPER_PUBLISH, target->addr.un.sun_path);
	r = inet_listen(target, any_port(target) ? what_for(target, link, service, what) : NULL,
			beside);
	if (r >= 0)
		remember_opened(target, r, beside);
	if (r < 0)
		amp_log(AMP_LOG_ERROR, "link %s: cannot publish %s %s: %s", link,
			target->kind == AMP_TARGET_TCP ? "tcp" : "udp",
			amp_sockaddr_text(&target->addr.sa, text), amp_listen_why(target, r));
	return r;
}

int amp_target_open(const struct amp_target *target, const char *link,
		    const struct amp_service *service)
{
	return target_open(target, link, service, false);
}

int amp_target_beside(const struct amp_target *target, const char *link)
{
	return target_open(target, link, NULL, true);
}

int amp_target_listen(const struct amp_target *target, const char *link,
		      const struct amp_service *service)
{
	char what[AMP_KEPT_WHAT];
	int fd = take_held(0, target);

	if (fd < 0)
		return amp_target_open(target, link, service);
	if (any_port(target)) /* it may be for something else from now on */
		amp_kept_put_any(fd, what_for(target, link, service, what));
	return fd;
}
