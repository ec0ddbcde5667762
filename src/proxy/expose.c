// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls close connect setsockopt socket.inet */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "expose.h"
#include "flow.h"
#include "helper.h"
#include "proxy_v2.h"
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
	int err;

	do
		err = connect(fd, sa, len) ? errno : 0;
	while (err == EINTR);
	if (err == EINPROGRESS) {
		struct amp_dest dest;

		amp_dest_from(sa, false, &dest);
		if (dest.local)
			err = connect(fd, sa, len) ? errno : 0;
	}
	if (!err || err == EISCONN)
		return 0;
	return err == EINPROGRESS || err == EALREADY ? 1 : -err;
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
	.kind = "expose",
	.failed = expose_failed,
};

/* One more socket, which will be half-open. */
static bool may_connect(struct amp_link *link)
{
	struct amp_limits *l = &link->limits;

	if (!amp_limit_rate(l, AMP_LIMIT_CONNECTS, amp_now_ms()) ||
	    !amp_limit_take(l, AMP_LIMIT_SOCKETS, 1))
		return false;
	if (amp_limit_take(l, AMP_LIMIT_HALF_OPEN, 1))
		return true;
	amp_limit_give(l, AMP_LIMIT_SOCKETS, 1);
	return false;
}

/* The target is to know which guest it is, and who in it. */
static int head(struct amp_flow *flow, const struct amp_end *guest,
		const struct amp_forward *fwd)
{
	char service[AMP_SERVICE_TEXT], source[AMP_PP2_TEXT];
	uint8_t bytes[AMP_PP2_MAX];

	guest->ops->text(guest, source, sizeof(source));
	return amp_flow_head(flow, 1, bytes,
			     (uint16_t)amp_pp2_guest(bytes, flow->link->conf->name, source,
						     amp_service_text(&fwd->service, service)));
}

void amp_expose_incoming(struct amp_link *link, struct amp_end *end,
			 const struct amp_forward *fwd)
{
	struct amp_end *host;
	struct amp_flow *f;
	int fd, r;

	if (fwd->target.kind == AMP_TARGET_UDP) {
		amp_forward_hit(fwd);
		amp_udp_relay_expose(link, end, fwd);
		return;
	}
	amp_forward_hit(fwd);
	if (!may_connect(link)) {
		link->stats.refused++;
		end->ops->reset(end);
		return;
	}
	r = amp_connect_start(&fwd->target, &fd);
	host = r < 0 ? NULL : amp_end_fd(fd, r == 1);
	if (!host) {
		refused(link, fwd, r < 0 ? -r : ENOMEM);
		end->ops->reset(end);
		goto give;
	}
	link->stats.flows++;
	f = amp_flow_join(link, end, false, host, r == 0, &expose_flow, (void *)(uintptr_t)fwd);
	if (!f)
		goto give;
	f->socket = true;
	f->half = r == 1;
	if (!f->half)
		amp_limit_give(&link->limits, AMP_LIMIT_HALF_OPEN, 1);
	if (fwd->proxy_protocol && head(f, end, fwd)) {
		refused(link, fwd, ENOMEM);
		amp_flow_kill(f);
	}
	return;
give:
	amp_limit_give(&link->limits, AMP_LIMIT_SOCKETS, 1);
	amp_limit_give(&link->limits, AMP_LIMIT_HALF_OPEN, 1);
}

unsigned amp_expose_end(struct amp_link *link, const struct amp_forward *fwd)
{
	return amp_udp_relay_unexpose(link, fwd) + amp_flow_end_all(link, &expose_flow, fwd);
}
