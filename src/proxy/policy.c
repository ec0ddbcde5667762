// SPDX-License-Identifier: BSD-3-Clause
/* What a link's allow rules say to an address or a name. Default: no. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "offload_inner.h"

static const char *proto_name(enum amp_proto proto)
{
	return proto == AMP_PROTO_TCP ? "tcp" : proto == AMP_PROTO_UDP ? "udp" : "any";
}

/*
 * An address that the guest was given for an allowed name counts as named by the rule, for
 * as long as the lease lasts: the port and protocol are still the rule's.
 */
static struct amp_rule *by_lease(struct amp_offload *off, enum amp_proto proto,
				 const struct amp_dest *dest)
{
	uint64_t now = amp_now_ms();

	for (unsigned i = 0; i < AMP_OFF_LEASES; i++) {
		const struct amp_lease *l = &off->leases[i];

		if (l->rule && l->until_ms > now && (l->rule->proto & proto) &&
		    amp_rule_port(l->rule, dest->port) && memcmp(l->addr, dest->addr, 16) == 0)
			return (struct amp_rule *)(uintptr_t)l->rule;
	}
	return NULL;
}

static struct amp_rule *match(struct amp_offload *off, enum amp_dir dir, enum amp_proto proto,
			      const struct amp_dest *dest)
{
	struct amp_rule *r;

	TAILQ_FOREACH(r, &off->link->conf->allow, entry)
	{
		if (amp_rule_covers(r, dir, proto, dest))
			return r;
	}
	return dir == AMP_DIR_OUT ? by_lease(off, proto, dest) : NULL;
}

bool amp_policy_quiet(struct amp_offload *off, enum amp_dir dir, enum amp_proto proto,
		      const struct sockaddr *sa)
{
	struct amp_dest dest;
	struct amp_rule *r;

	amp_dest_from(sa, dir == AMP_DIR_IN, &dest);
	r = match(off, dir, proto, &dest);
	if (r)
		r->hits++;
	return r != NULL;
}

int amp_policy_addr(struct amp_offload *off, enum amp_dir dir, enum amp_proto proto,
		    const struct sockaddr *sa, const char *what)
{
	struct amp_link *link = off->link;
	char text[AMP_ADDR_TEXT];
	struct amp_dest dest;

	if (amp_policy_quiet(off, dir, proto, sa))
		return 0;
	amp_dest_from(sa, dir == AMP_DIR_IN, &dest);
	link->stats.denied++;
	amp_log_some(&link->log_denied, AMP_LOG_WARN,
		     "link %s: denied %s: %s %s %s: no allow rule covers it%s",
		     link->conf->name, what, dir == AMP_DIR_IN ? "in" : "out",
		     proto_name(proto), amp_sockaddr_text(sa, text),
		     dir == AMP_DIR_OUT && dest.local ? " (an address of the host itself needs "
							"a rule that names it, or `local`)"
						      : "");
	return EACCES;
}

int amp_policy_listen(struct amp_offload *off, const struct sockaddr *sa, bool chosen)
{
	struct sockaddr_storage ss;

	if (!chosen)
		return amp_policy_addr(off, AMP_DIR_IN, AMP_PROTO_TCP, sa, "listen");
	/* in a rule, port 0 stands for whatever the kernel chooses */
	memcpy(&ss, sa,
	       sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					 : sizeof(struct sockaddr_in));
	if (ss.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&ss)->sin6_port = 0;
	else
		((struct sockaddr_in *)&ss)->sin_port = 0;
	return amp_policy_addr(off, AMP_DIR_IN, AMP_PROTO_TCP, (struct sockaddr *)&ss,
			       "listen");
}

int amp_policy_name(struct amp_offload *off, enum amp_proto proto, const char *name,
		    uint16_t port)
{
	struct amp_link *link = off->link;
	char text[128];
	struct amp_rule *r;

	TAILQ_FOREACH(r, &link->conf->allow, entry)
	{
		if (amp_rule_names(r, proto, name, port)) {
			r->hits++;
			return 0;
		}
	}
	link->stats.denied++;
	amp_log_some(&link->log_denied, AMP_LOG_WARN,
		     "link %s: denied name: %s: no allow rule covers it", link->conf->name,
		     amp_log_clean(text, sizeof(text), name, strlen(name)));
	return EACCES;
}

void amp_policy_lease(struct amp_offload *off, const char *name, const struct sockaddr *sa)
{
	struct amp_dest dest;
	struct amp_rule *r;

	amp_dest_from(sa, false, &dest);
	/* a name that suddenly means the host itself is an attack (DNS rebinding) */
	if (dest.local && !amp_name_is_local(name))
		return;
	TAILQ_FOREACH(r, &off->link->conf->allow, entry)
	{
		struct amp_lease *l = NULL;

		if (r->host != AMP_HOST_NAME || !amp_rule_names(r, AMP_PROTO_ANY, name, 0))
			continue;
		for (unsigned i = 0; i < AMP_OFF_LEASES && !l; i++) {
			if (off->leases[i].rule == r &&
			    memcmp(off->leases[i].addr, dest.addr, 16) == 0)
				l = &off->leases[i];
		}
		if (!l) {
			l = &off->leases[off->lease_next];
			off->lease_next = (off->lease_next + 1u) % AMP_OFF_LEASES;
		}
		l->rule = r;
		memcpy(l->addr, dest.addr, 16);
		l->until_ms = amp_now_ms() + AMP_OFF_LEASE_S * 1000u;
	}
}

bool amp_policy_host(struct amp_offload *off, const struct sockaddr *sa)
{
	uint64_t now = amp_now_ms();
	struct amp_dest dest;
	struct amp_rule *r;

	amp_dest_from(sa, false, &dest);
	TAILQ_FOREACH(r, &off->link->conf->allow, entry)
	{
		dest.port = r->port_lo;
		if (amp_rule_covers(r, AMP_DIR_OUT, r->proto, &dest))
			return true;
	}
	for (unsigned i = 0; i < AMP_OFF_LEASES; i++) {
		const struct amp_lease *l = &off->leases[i];

		if (l->rule && l->until_ms > now && memcmp(l->addr, dest.addr, 16) == 0)
			return true;
	}
	return false;
}

int amp_policy_group(struct amp_offload *off, const struct sockaddr *sa)
{
	struct amp_dest dest;
	struct amp_rule *r;
	char text[AMP_ADDR_TEXT];

	amp_dest_from(sa, true, &dest);
	TAILQ_FOREACH(r, &off->link->conf->allow, entry)
	{
		dest.port = r->port_lo;
		if (amp_rule_covers(r, r->dir, AMP_PROTO_UDP, &dest))
			return 0;
	}
	off->link->stats.denied++;
	amp_log_some(&off->link->log_denied, AMP_LOG_WARN,
		     "link %s: denied join: multicast group %s: no udp allow rule covers it",
		     off->link->conf->name, amp_sockaddr_text(sa, text));
	return EACCES;
}
