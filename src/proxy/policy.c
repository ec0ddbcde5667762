// SPDX-License-Identifier: BSD-3-Clause
/* What a link's allow rules say to an address or a name. Default: no. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "offload_inner.h"

static const char *proto_name(enum amp_proto proto)
{
	return proto == AMP_PROTO_TCP ? "tcp" : proto == AMP_PROTO_UDP ? "udp" : "any";
}

/* Of the host itself, a name has localhost's addresses at most: also if it got them after the lease. */
static bool lease_holds(const struct amp_rule *r, const struct amp_dest *dest)
{
	return !dest->local || amp_name_is_local(r->name);
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
		    amp_rule_port(l->rule, dest->port) &&
		    memcmp(l->addr, dest->addr, 16) == 0 && lease_holds(l->rule, dest))
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

struct amp_rule *amp_policy_find(struct amp_offload *off, enum amp_dir dir,
				 enum amp_proto proto, const struct sockaddr *sa)
{
	struct amp_dest dest;

	amp_dest_from(sa, dir == AMP_DIR_IN, &dest);
	return match(off, dir, proto, &dest);
}

struct amp_rule *amp_policy_quiet(struct amp_offload *off, enum amp_dir dir,
				  enum amp_proto proto, const struct sockaddr *sa)
{
	struct amp_rule *r = amp_policy_find(off, dir, proto, sa);

	if (r)
		r->hits++;
	return r;
}

static void say_allowed(struct amp_offload *off, struct amp_rule *r, enum amp_dir dir,
			enum amp_proto proto, const struct sockaddr *sa, const char *what)
{
	char text[AMP_ADDR_TEXT];

	amp_log_some(&r->log_rate, AMP_LOG_INFO, "link %s: allowed %s: %s %s %s by %s",
		     off->link->conf->name, what, dir == AMP_DIR_IN ? "in" : "out",
		     proto_name(proto), amp_sockaddr_text(sa, text), r->where);
}

#define HINT_LEN 160

/* Of an address that no rule covers: why not, where one may well think that a rule does. */
static const char *hint(const struct amp_offload *off, enum amp_proto proto,
			const struct amp_dest *dest, char text[HINT_LEN])
{
	const struct amp_link_conf *conf = off->link->conf;
	const struct amp_rule *r;

	TAILQ_FOREACH(r, &conf->allow, entry)
	{
		if (r->dir != AMP_DIR_OUT || r->host != AMP_HOST_NAME || !(r->proto & proto) ||
		    !amp_rule_port(r, dest->port) || amp_name_is_local(r->name) != dest->local)
			continue;
		(void)snprintf(text, HINT_LEN,
			       " (`%.80s` covers what the guest resolved in the last %u s)",
			       r->text, conf->lease_s);
		return text;
	}
	return dest->local ? " (an address of the host itself needs a rule that names it, or "
			     "`local`)"
			   : "";
}

int amp_policy_addr(struct amp_offload *off, enum amp_dir dir, enum amp_proto proto,
		    const struct sockaddr *sa, const char *what, struct amp_rule **by)
{
	struct amp_link *link = off->link;
	struct amp_rule *r = amp_policy_quiet(off, dir, proto, sa);
	char text[AMP_ADDR_TEXT], why[HINT_LEN];
	struct amp_dest dest;

	*by = r;
	if (r && r->log)
		say_allowed(off, r, dir, proto, sa, what);
	if (r)
		return 0;
	amp_dest_from(sa, dir == AMP_DIR_IN, &dest);
	link->stats.denied++;
	link->stats.denied_dir[dir]++;
	amp_log_fields(&link->log_denied, AMP_LOG_WARN,
		       (const struct amp_log_field[]){
			       AMP_LOG_TEXT("event", "denied"),
			       AMP_LOG_TEXT("link", link->conf->name),
			       AMP_LOG_TEXT("call", what),
			       AMP_LOG_TEXT("dir", dir == AMP_DIR_IN ? "in" : "out"),
			       AMP_LOG_TEXT("proto", proto_name(proto)),
			       AMP_LOG_TEXT("addr", amp_sockaddr_text(sa, text)), AMP_LOG_END},
		       "link %s: denied %s: %s %s %s: no allow rule covers it%s",
		       link->conf->name, what, dir == AMP_DIR_IN ? "in" : "out",
		       proto_name(proto), amp_sockaddr_text(sa, text),
		       dir == AMP_DIR_OUT ? hint(off, proto, &dest, why) : "");
	return EACCES;
}

/* In a rule, port 0 stands for whatever the kernel chooses. */
static const struct sockaddr *unport(const struct sockaddr *sa, struct sockaddr_storage *ss)
{
	memcpy(ss, sa,
	       sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					 : sizeof(struct sockaddr_in));
	if (ss->ss_family == AF_INET6)
		((struct sockaddr_in6 *)ss)->sin6_port = 0;
	else
		((struct sockaddr_in *)ss)->sin_port = 0;
	return (const struct sockaddr *)ss;
}

int amp_policy_listen(struct amp_offload *off, const struct sockaddr *sa, bool chosen,
		      struct amp_rule **by)
{
	struct sockaddr_storage ss;

	return amp_policy_addr(off, AMP_DIR_IN, AMP_PROTO_TCP, chosen ? unport(sa, &ss) : sa,
			       "listen", by);
}

struct amp_rule *amp_policy_find_in(struct amp_offload *off, enum amp_proto proto,
				    const struct sockaddr *sa, bool chosen)
{
	struct sockaddr_storage ss;

	return amp_policy_find(off, AMP_DIR_IN, proto, chosen ? unport(sa, &ss) : sa);
}

int amp_policy_name(struct amp_offload *off, enum amp_proto proto, const char *name,
		    uint16_t port)
{
	struct amp_link *link = off->link;
	struct amp_rule *r;
	char text[128];

	TAILQ_FOREACH(r, &link->conf->allow, entry)
	{
		if (amp_rule_names(r, proto, name, port)) {
			r->hits++;
			if (r->log)
				amp_log_some(
					&r->log_rate, AMP_LOG_INFO,
					"link %s: allowed name: %s by %s", link->conf->name,
					amp_log_clean(text, sizeof(text), name, strlen(name)),
					r->where);
			return 0;
		}
	}
	link->stats.denied++;
	link->stats.denied_names++;
	amp_log_clean(text, sizeof(text), name, strlen(name));
	amp_log_fields(&link->log_denied, AMP_LOG_WARN,
		       (const struct amp_log_field[]){AMP_LOG_TEXT("event", "denied"),
						      AMP_LOG_TEXT("link", link->conf->name),
						      AMP_LOG_TEXT("call", "name"),
						      AMP_LOG_TEXT("name", text), AMP_LOG_END},
		       "link %s: denied name: %s: no allow rule covers it", link->conf->name,
		       text);
	return EACCES;
}

/*
 * Who has a name in the DNS says what it stands for, and may say something else the second time
 * (DNS rebinding): what is local to the host, cloud metadata and multicast are not had by
 * name, but by a rule that names the address or its class. localhost is nobody's in the DNS.
 */
static bool name_may_be(const char *name, const struct amp_dest *dest)
{
	if (amp_name_is_local(name))
		return amp_addr_is_loopback(dest->addr);
	return !dest->local && !amp_addr_is_multicast(dest->addr);
}

static void say_rebound(struct amp_offload *off, const char *name, const struct sockaddr *sa)
{
	char text[128], addr[AMP_ADDR_TEXT];
	char *port = strrchr(amp_sockaddr_text(sa, addr), ':');

	if (port) /* of the resolver's: none, or a service's */
		*port = 0;
	amp_log_some(&off->link->log_rebound, AMP_LOG_WARN,
		     "link %s: name %s stands for %s, which is local to the host or multicast: "
		     "not allowed by its name (DNS rebinding), but by a rule with the address",
		     off->link->conf->name,
		     amp_log_clean(text, sizeof(text), name, strlen(name)), addr);
}

static void lease(struct amp_offload *off, const struct amp_rule *r, const uint8_t addr[16])
{
	struct amp_lease *l = NULL;

	for (unsigned i = 0; i < AMP_OFF_LEASES && !l; i++) {
		if (off->leases[i].rule == r && memcmp(off->leases[i].addr, addr, 16) == 0)
			l = &off->leases[i];
	}
	if (!l) {
		l = &off->leases[off->lease_next];
		off->lease_next = (off->lease_next + 1u) % AMP_OFF_LEASES;
	}
	l->rule = r;
	memcpy(l->addr, addr, 16);
	l->until_ms = amp_now_ms() + off->link->conf->lease_s * 1000ull;
}

void amp_policy_lease(struct amp_offload *off, const char *name, const struct sockaddr *sa)
{
	struct amp_dest dest;
	struct amp_rule *r;
	bool good, refused = false;

	amp_dest_from(sa, false, &dest);
	good = name_may_be(name, &dest);
	TAILQ_FOREACH(r, &off->link->conf->allow, entry)
	{
		if (r->host != AMP_HOST_NAME || !amp_rule_names(r, AMP_PROTO_ANY, name, 0))
			continue;
		if (good) {
			lease(off, r, dest.addr);
		} else {
			r->denied++;
			refused = true;
		}
	}
	if (refused)
		say_rebound(off, name, sa);
}

/* A rule that names all of what an older one named. */
static struct amp_rule *heir(struct amp_offload *off, const struct amp_rule *old)
{
	char name[AMP_RULE_NAME_MAX + 3];
	struct amp_rule *r;

	snprintf(name, sizeof(name), "%s%s", old->wild ? "x." : "", old->name);
	TAILQ_FOREACH(r, &off->link->conf->allow, entry)
	{
		if (r->host == AMP_HOST_NAME && r->wild >= old->wild &&
		    amp_rule_names(r, AMP_PROTO_ANY, name, 0))
			break;
	}
	return r;
}

void amp_policy_forget(struct amp_offload *off)
{
	for (unsigned i = 0; i < AMP_OFF_LEASES; i++) {
		struct amp_lease *l = &off->leases[i];

		if (l->rule && l->rule->gone)
			l->rule = heir(off, l->rule);
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

		if (l->rule && l->until_ms > now && memcmp(l->addr, dest.addr, 16) == 0 &&
		    lease_holds(l->rule, &dest))
			return true;
	}
	return false;
}

bool amp_policy_group_find(struct amp_offload *off, const struct sockaddr *sa)
{
	struct amp_dest dest;
	struct amp_rule *r;

	amp_dest_from(sa, true, &dest);
	TAILQ_FOREACH(r, &off->link->conf->allow, entry)
	{
		dest.port = r->port_lo;
		if (amp_rule_covers(r, r->dir, AMP_PROTO_UDP, &dest))
			return true;
	}
	return false;
}

int amp_policy_group(struct amp_offload *off, const struct sockaddr *sa)
{
	char text[AMP_ADDR_TEXT];

	if (amp_policy_group_find(off, sa))
		return 0;
	off->link->stats.denied++;
	off->link->stats.denied_dir[AMP_DIR_OUT]++;
	amp_log_some(&off->link->log_denied, AMP_LOG_WARN,
		     "link %s: denied join: multicast group %s: no udp allow rule covers it",
		     off->link->conf->name, amp_sockaddr_text(sa, text));
	return EACCES;
}
