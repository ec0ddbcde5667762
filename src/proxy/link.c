// SPDX-License-Identifier: BSD-3-Clause
/* What every link does, whatever carries it. */
#include <errno.h>
#include <string.h>

#include "../wire/offload.h"
#include "expose.h"
#include "flow.h"
#include "offload.h"

int amp_link_init(struct amp_link *link, const struct amp_link_ops *ops,
		  const struct amp_link_conf *conf)
{
	link->ops = ops;
	link->conf = conf;
	TAILQ_INIT(&link->flows);
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
	amp_log_some(&link->log_attached, AMP_LOG_INFO, "link %s: %s attached",
		     link->conf->name, link->ops->peer);
}

void amp_link_down(struct amp_link *link)
{
	struct amp_flow *f;

	link->up = false;
	amp_offload_down(link->offload);
	while ((f = TAILQ_FIRST(&link->flows)) != NULL)
		amp_flow_kill(f);
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
