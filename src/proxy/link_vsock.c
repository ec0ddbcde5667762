// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls socket.vsock connect listen bind close getsockname */
/*
 * Link type vsock: the kernel's AF_VSOCK. On a host the guest is one of vhost-vsock's, by its
 * CID; in a guest it is the host, CID 2; CID 1 is the machine itself.
 *
 * Theory of operation
 *
 * A port of AF_VSOCK belongs to the machine and not to a peer, so links share one listening
 * socket for each port. Who has connected says the kernel, with the source CID of the
 * connection, and that decides the link. A CID that no link has is closed and counted, as is one whose
 * own link does not have the port.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h> /* wants sys/socket.h first */
#include <unistd.h>

#include "helper.h"
#include "listen.h"
#include "slink.h"

#define BACKLOG 1024

struct vport {
	TAILQ_ENTRY(vport) entry;
	struct amp_acceptor acceptor;
	uint32_t port;
	bool message;
	unsigned users; /* links that serve it; 0: held, for one that will */
};

static TAILQ_HEAD(, vport) vports = TAILQ_HEAD_INITIALIZER(vports);

struct link_vk {
	struct amp_slink sl; /* first */
	TAILQ_ENTRY(link_vk) entry;
	bool listed; /* started: a reload that comes to nothing stops links that never were */
};

static TAILQ_HEAD(, link_vk) vks = TAILQ_HEAD_INITIALIZER(vks);
static uint64_t strangers;
static struct amp_log_rate log_stranger;

static int type_of(bool message)
{
	return (message ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
}

static int vsock_connect(struct amp_slink *sl, struct amp_end_sock *e, uint32_t port,
			 bool message)
{
	struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK, .svm_cid = sl->link.conf->cid, .svm_port = port};
	int err, fd = socket(AF_VSOCK, type_of(message), 0);

	(void)e;
	if (fd < 0)
		return errno == EAFNOSUPPORT ? -ENETDOWN : -errno;
	if (connect(fd, (struct sockaddr *)&vm, sizeof(vm)) == 0 || errno == EINPROGRESS)
		return fd;
	err = errno;
	close(fd);
	/* no transport for it, or no guest with this CID */
	return err == ENODEV || err == ENETUNREACH ? -ENETDOWN : -err;
}

/* A bound listening socket, or -errno. */
static int open_port(uint32_t port, bool message)
{
	struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
	int r, fd = socket(AF_VSOCK, type_of(message), 0);

	if (fd < 0)
		return -errno;
	r = amp_helper_bind(fd, (struct sockaddr *)&vm, sizeof(vm));
	if (!r && listen(fd, BACKLOG) == 0)
		return fd;
	if (!r)
		r = -errno;
	close(fd);
	return r;
}

static void take(struct amp_acceptor *a, int fd, const struct sockaddr_storage *peer)
{
	struct vport *v = amp_container_of(a, struct vport, acceptor);
	struct sockaddr_vm vm;
	struct link_vk *l;

	memcpy(&vm, peer, sizeof(vm));
	TAILQ_FOREACH(l, &vks, entry)
	{
		if (l->sl.link.conf->cid == vm.svm_cid) {
			amp_slink_incoming(&l->sl, fd, v->port, v->message);
			return;
		}
	}
	strangers++;
	amp_log_some(&log_stranger, AMP_LOG_WARN,
		     "AF_VSOCK port %" PRIu32
		     ": CID %u connected, which no link has: refused (%" PRIu64 " so far)",
		     v->port, vm.svm_cid, strangers);
	close(fd);
}

static struct vport *find(uint32_t port)
{
	struct vport *v;

	TAILQ_FOREACH(v, &vports, entry)
	{
		if (v->port == port)
			return v;
	}
	return NULL;
}

static const char *why(int err)
{
	switch (err) {
	case EAFNOSUPPORT:
		return "this kernel has no AF_VSOCK (load the module vsock, and vhost_vsock on "
		       "a "
		       "host)";
	case EADDRINUSE:
		return "another process listens there";
	case EACCES:
		return "ports below 1024 need CAP_NET_BIND_SERVICE";
	default:
		return strerror(err);
	}
}

static int new_port(const char *link, uint32_t port, bool message, struct vport **v)
{
	int fd, r;

	do
		fd = open_port(port, message);
	while (amp_listen_again(fd));
	if (fd < 0) {
		amp_log(AMP_LOG_ERROR,
			"link %s: cannot listen on AF_VSOCK port %" PRIu32 ": %s", link, port,
			why(-fd));
		return fd;
	}
	*v = calloc(1, sizeof(**v));
	if (!*v) {
		close(fd);
		return -ENOMEM;
	}
	(*v)->port = port;
	(*v)->message = message;
	(*v)->acceptor.take = take;
	r = amp_acceptor_start(&(*v)->acceptor, fd);
	if (r) {
		free(*v);
		return r;
	}
	TAILQ_INSERT_TAIL(&vports, *v, entry);
	return 0;
}

int amp_vsock_hold(const char *link, uint32_t port, bool message)
{
	struct vport *v = find(port);

	/* of the other kind: it may go with the rule that has it */
	return v ? 0 : new_port(link, port, message, &v);
}

static void end_port(struct vport *v)
{
	TAILQ_REMOVE(&vports, v, entry);
	amp_acceptor_stop(&v->acceptor);
	free(v);
}

void amp_vsock_let_go(void)
{
	struct vport *v, *next;

	for (v = TAILQ_FIRST(&vports); v; v = next) {
		next = TAILQ_NEXT(v, entry);
		if (!v->users)
			end_port(v);
	}
}

static int vsock_listen(struct amp_slink *sl, struct amp_sport *p)
{
	const char *name = sl->link.conf->name;
	struct vport *v = find(p->port);
	int r;

	/* the kernel has one name space of ports for both kinds */
	if (v && v->message != p->message) {
		amp_log(AMP_LOG_ERROR,
			"link %s: AF_VSOCK port %" PRIu32
			" is another link's for %s: expected one kind of target for a port "
			"that links share, or another port",
			name, p->port, v->message ? "udp" : "tcp or unix");
		return -EADDRINUSE;
	}
	if (!v) {
		r = new_port(name, p->port, p->message, &v);
		if (r)
			return r;
	}
	v->users++;
	p->at = v;
	return 0;
}

static void vsock_unlisten(struct amp_slink *sl, struct amp_sport *p)
{
	struct vport *v = p->at;

	(void)sl;
	if (--v->users == 0)
		end_port(v);
}

static const struct amp_slink_ops vsock_ops = {
	.connect = vsock_connect,
	.listen = vsock_listen,
	.unlisten = vsock_unlisten,
	.messages = true,
};

static int start(struct amp_link *link)
{
	struct link_vk *l = (struct link_vk *)link;
	int r;

	TAILQ_INSERT_TAIL(&vks, l, entry);
	l->listed = true;
	r = amp_slink_start(link);
	if (!r)
		amp_log(AMP_LOG_INFO, "link %s: waiting for cid %" PRIu32 " on AF_VSOCK",
			link->conf->name, link->conf->cid);
	return r;
}

static void stop(struct amp_link *link)
{
	struct link_vk *l = (struct link_vk *)link;

	if (l->listed)
		TAILQ_REMOVE(&vks, l, entry);
	amp_slink_stop(link);
}

static void stats(const struct amp_link *link, char *dst, size_t len)
{
	size_t n;

	amp_slink_stats(link, dst, len);
	n = strlen(dst);
	snprintf(dst + n, len - n, " cid=%" PRIu32 " strangers=%" PRIu64, link->conf->cid,
		 strangers);
}

static const struct amp_link_ops link_ops = {
	.type = "vsock",
	.start = start,
	.stop = stop,
	.stats = stats,
	AMP_SLINK_LINK_OPS,
};

struct amp_link *amp_link_vsock(const struct amp_link_conf *conf)
{
	return amp_slink_new(sizeof(struct link_vk), &link_ops, &vsock_ops, conf);
}
