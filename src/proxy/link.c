// SPDX-License-Identifier: BSD-3-Clause
/* What every link does, whatever carries it. */
#include <errno.h>
#include <string.h>

#include "../wire/offload.h"
#include "capture.h"
#include "expose.h"
#include "flow.h"
#include "offload.h"

int amp_link_init(struct amp_link *link, const struct amp_link_ops *ops,
		  const struct amp_link_conf *conf)
{
	static uint32_t last;

	link->ops = ops;
	link->conf = conf;
	link->num = ++last;
	TAILQ_INIT(&link->flows);
	TAILQ_INIT(&link->ends);
	amp_limits_init(&link->limits, conf->limit, conf->name);
	link->offload = amp_offload_new(link);
	return link->offload ? 0 : -ENOMEM;
}

void amp_link_fini(struct amp_link *link)
{
	amp_offload_free(link->offload);
	link->offload = NULL;
}

void amp_link_up(struct amp_link *link)
{
	if (link->up)
		return;
	link->up = true;
	link->stats.attached++;
	amp_capture_look(link); /* it may be newer than the capture */
	amp_log_fields(&link->log_attached, AMP_LOG_INFO,
		       (const struct amp_log_field[]){
			       AMP_LOG_TEXT("event", "attached"),
			       AMP_LOG_TEXT("link", link->conf->name),
			       AMP_LOG_TEXT("type", link->ops->type),
			       AMP_LOG_NUMBER("times", link->stats.attached), AMP_LOG_END},
		       "link %s: %s attached", link->conf->name, link->ops->peer);
}

void amp_link_end_add(struct amp_link *link, struct amp_end *end)
{
	end->num = ++link->next_end;
	TAILQ_INSERT_TAIL(&link->ends, end, ring_entry);
}

void amp_link_end_del(struct amp_link *link, struct amp_end *end)
{
	TAILQ_REMOVE(&link->ends, end, ring_entry);
}

void amp_link_gone(struct amp_link *link)
{
	struct amp_flow *f, *next;

	link->up = false;
	amp_offload_down(link->offload);
	for (f = TAILQ_FIRST(&link->flows); f; f = next) {
		next = TAILQ_NEXT(f, entry);
		if (!amp_flow_left(f, true))
			amp_flow_kill(f);
	}
}

void amp_link_down(struct amp_link *link)
{
	struct amp_flow *f;

	link->up = false;
	amp_offload_down(link->offload);
	while ((f = TAILQ_FIRST(&link->flows)) != NULL)
		amp_flow_kill(f);
}

struct amp_link *amp_link_new(const struct amp_link_conf *conf)
{
	switch (conf->type) {
	case AMP_LINK_VHOST_USER_VSOCK:
		return amp_link_vhost_vsock(conf);
	case AMP_LINK_RPMSG_SHM:
		return amp_link_rpmsg_shm(conf);
	case AMP_LINK_RPMSG_CHAR:
		return amp_link_rpmsg_char(conf);
	case AMP_LINK_VSOCK:
		return amp_link_vsock(conf);
	case AMP_LINK_VSOCK_UNIX:
		return amp_link_vsock_unix(conf);
	case AMP_LINK_NONE:
		break;
	}
	return NULL;
}

const char *amp_link_why(const struct amp_link *link, int err)
{
	if (err == ENETDOWN)
		return strcmp(link->ops->peer, "guest") == 0 ? "no guest is attached"
							     : "no remote is attached";
	if (err == ENOENT)
		return "the remote has not announced it";
	return strerror(err);
}

const struct amp_service amp_service_accept = {.kind = AMP_SERVICE_ACCEPT,
					       .port = AMP_OFF_ACCEPT_PORT};

bool amp_link_serves(struct amp_link *link, const struct amp_service *service, bool message,
		     const struct amp_forward **fwd)
{
	char text[AMP_SERVICE_TEXT];

	*fwd = NULL;
	if (amp_draining) {
		link->stats.refused++;
		return false;
	}
	if (service->kind == AMP_SERVICE_VSOCK && service->port == AMP_OFF_PORT)
		return !message;
	*fwd = amp_expose_find(link, service, message);
	if (*fwd)
		return true;
	link->stats.refused++;
	amp_log_some(&link->log_refused, AMP_LOG_WARN,
		     "link %s: the guest asked for %s (%s), which no expose rule has",
		     link->conf->name, amp_service_text(service, text),
		     message ? "seqpacket" : "stream");
	return false;
}

void amp_link_incoming(struct amp_link *link, struct amp_end *end,
		       const struct amp_forward *fwd)
{
	if (fwd)
		amp_expose_incoming(link, end, fwd);
	else
		amp_offload_incoming(link->offload, end);
}
