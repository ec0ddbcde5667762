// SPDX-License-Identifier: BSD-3-Clause
/* What every link does, whatever carries it. */
#include <errno.h>

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
	amp_log(AMP_LOG_INFO, "link %s: guest attached", link->conf->name);
}

void amp_link_down(struct amp_link *link)
{
	struct amp_flow *f;

	link->up = false;
	amp_offload_down(link->offload);
	while ((f = TAILQ_FIRST(&link->flows)) != NULL)
		amp_flow_kill(f);
}

bool amp_link_serves(struct amp_link *link, uint32_t port, bool message)
{
	if (port == AMP_OFF_PORT)
		return !message;
	if (amp_expose_find(link, port, message))
		return true;
	link->stats.refused++;
	amp_log_some(
		&link->log_refused, AMP_LOG_WARN,
		"link %s: the guest asked for vsock port %u (%s), which no expose rule has",
		link->conf->name, port, message ? "seqpacket" : "stream");
	return false;
}

void amp_link_incoming(struct amp_link *link, struct amp_end *end, uint32_t port)
{
	const struct amp_forward *fwd;

	if (port == AMP_OFF_PORT) {
		amp_offload_incoming(link->offload, end);
		return;
	}
	fwd = amp_expose_find(link, port, end->message);
	if (fwd)
		amp_expose_incoming(link, end, fwd);
	else
		end->ops->reset(end);
}
