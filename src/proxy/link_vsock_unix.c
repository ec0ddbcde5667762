// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls sendto close */
/*
 * Link type vsock-unix: the guest of a monitor that has vsock on Unix sockets ("hybrid":
 * Firecracker, cloud-hypervisor, Kata's others).
 *
 * Theory of operation
 *
 * To the guest: connect to the monitor's socket, PATH, say which port (hybrid.h), and wait for
 * its answer, for a bounded time. From the guest: the monitor connects to PATH_PORT, so there is
 * a listening socket for each port that the guest may use: the exposed ones and the offload
 * protocol's. Nothing of ours is at PATH itself, and nobody is asked whether the monitor is
 * there: a connection finds it or not, so it may come, go and come again.
 *
 * Who the guest is says the file system: whoever may connect to PATH_PORT is the guest.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "helper.h"
#include "listen.h"
#include "slink.h"

/* One listening socket. */
struct hport {
	struct amp_acceptor acceptor;
	struct amp_sport *p;
	char path[AMP_SUN_PATH];
};

static int hybrid_connect(struct amp_slink *sl, struct amp_end_sock *e, uint32_t port,
			  bool message)
{
	char line[AMP_HYBRID_LINE_MAX];
	int fd = amp_helper_connect_unix(AMP_HELPER_HYBRID, sl->link.conf->path);
	int len = snprintf(line, sizeof(line), "CONNECT %" PRIu32 "\n", port);

	(void)message;
	/* no monitor, or one that has gone and left its file; EAGAIN: it does not accept */
	if (fd < 0)
		return fd == -ENOENT || fd == -ECONNREFUSED ? -ENETDOWN : fd;
	/* the first bytes of a new socket: they go, or it is dead already */
	if (send(fd, line, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) != len) {
		close(fd);
		return -ECONNREFUSED;
	}
	e->asking = true;
	e->hybrid.word = "OK";
	return fd;
}

static void take(struct amp_acceptor *a, int fd, const struct sockaddr_storage *peer)
{
	struct hport *h = amp_container_of(a, struct hport, acceptor);

	(void)peer;
	amp_slink_incoming(h->p->sl, fd, h->p->port, false);
}

static int hybrid_listen(struct amp_slink *sl, struct amp_sport *p)
{
	const struct amp_link_conf *conf = sl->link.conf;
	struct hport *h = calloc(1, sizeof(*h));
	int fd, len, r;

	if (!h)
		return -ENOMEM;
	h->p = p;
	/* its length was checked with the configuration */
	len = snprintf(h->path, sizeof(h->path), "%s_%" PRIu32, conf->path, p->port);
	fd = len < (int)sizeof(h->path) ? amp_link_listen(AMP_HELPER_PORT, h->path)
					: -ENAMETOOLONG;
	if (fd < 0) {
		free(h);
		return fd;
	}
	h->acceptor.take = take;
	r = amp_acceptor_start(&h->acceptor, fd);
	if (r) {
		amp_helper_unlink(AMP_HELPER_PORT, h->path);
		free(h);
		return r;
	}
	p->at = h;
	return 0;
}

static void hybrid_unlisten(struct amp_slink *sl, struct amp_sport *p)
{
	struct hport *h = p->at;

	(void)sl;
	amp_helper_unlink(AMP_HELPER_PORT, h->path);
	amp_acceptor_stop(&h->acceptor);
	free(h);
}

static const struct amp_slink_ops hybrid_ops = {
	.connect = hybrid_connect,
	.listen = hybrid_listen,
	.unlisten = hybrid_unlisten,
};

static int start(struct amp_link *link)
{
	int r = amp_slink_start(link);

	if (!r)
		amp_log(AMP_LOG_INFO, "link %s: waiting for a guest on %s_PORT",
			link->conf->name, link->conf->path);
	return r;
}

static const struct amp_link_ops link_ops = {
	.type = "vsock-unix",
	.start = start,
	.stop = amp_slink_stop,
	.stats = amp_slink_stats,
	AMP_SLINK_LINK_OPS,
};

struct amp_link *amp_link_vsock_unix(const struct amp_link_conf *conf)
{
	return amp_slink_new(sizeof(struct amp_slink), &link_ops, &hybrid_ops, conf);
}
