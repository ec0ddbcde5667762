// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "expose.h"
#include "flow.h"
#include "helper.h"
#include "udp_relay.h"

const struct amp_forward *amp_expose_find(const struct amp_link *link,
					  const struct amp_service *service, bool message)
{
	const struct amp_forward *fwd;

	TAILQ_FOREACH(fwd, &link->conf->expose, entry)
	{
		if (amp_service_same(&fwd->service, service))
			return (fwd->target.kind == AMP_TARGET_UDP) == message ? fwd : NULL;
	}
	return NULL;
}

int amp_connect_fd(int fd, const struct sockaddr *sa, socklen_t len)
{
	int r;

	do
		r = connect(fd, sa, len);
	while (r && errno == EINTR);
	if (r && errno == EINPROGRESS) {
		struct amp_dest dest;

		amp_dest_from(sa, false, &dest);
		if (dest.local)
			r = connect(fd, sa, len);
	}
	if (!r || errno == EISCONN)
		return 0;
	return errno == EINPROGRESS || errno == EALREADY ? 1 : -errno;
}

int amp_connect_start(const struct amp_target *target, int *fd)
{
	static const int on = 1;
	int type = target->kind == AMP_TARGET_UDP ? SOCK_DGRAM : SOCK_STREAM;
	int r;

	if (target->kind == AMP_TARGET_UNIX) {
		*fd = amp_helper_connect_unix(AMP_HELPER_EXPOSE, target->addr.un.sun_path);
		return *fd < 0 ? *fd : 0;
	}
	*fd = socket(target->addr.sa.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return -errno;
	/* a forwarder adds no delay of its own: the guest's stack has done its batching */
	if (target->kind == AMP_TARGET_TCP)
		setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	r = amp_connect_fd(*fd, &target->addr.sa, target->len);
	if (r < 0) {
		close(*fd);
		*fd = -1;
	}
	return r;
}

static void refused(struct amp_link *link, const struct amp_forward *fwd, int err)
{
	link->stats.refused++;
	amp_log_some(&link->log_refused, AMP_LOG_WARN, "link %s: expose %s (%s): %s",
		     link->conf->name, fwd->text, fwd->where, strerror(err));
}

static void expose_failed(struct amp_flow *flow, unsigned side, int err)
{
	if (side == 1 && !flow->open[1])
		refused(flow->link, flow->owner, err);
}

static const struct amp_flow_ops expose_flow = {
	.failed = expose_failed,
};

void amp_expose_incoming(struct amp_link *link, struct amp_end *end,
			 const struct amp_forward *fwd)
{
	struct amp_end *host;
	int fd, r;

	if (fwd->target.kind == AMP_TARGET_UDP) {
		amp_udp_relay_expose(link, end, fwd);
		return;
	}
	r = amp_connect_start(&fwd->target, &fd);
	if (r < 0) {
		refused(link, fwd, -r);
		end->ops->reset(end);
		return;
	}
	host = amp_end_fd(fd, r == 1);
	if (!host) {
		refused(link, fwd, ENOMEM);
		end->ops->reset(end);
		return;
	}
	link->stats.flows++;
	amp_flow_join(link, end, false, host, r == 0, &expose_flow, (void *)(uintptr_t)fwd);
}
