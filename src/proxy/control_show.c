// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls getpid geteuid getsockopt */
/* What there is to see: one JSON object for each link, socket, rule. docs/control.md has the keys. */
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../wire/utf8.h"
#include "control_inner.h"
#include "offload.h"
#include "reload.h"

#ifndef AMPSOCK_VERSION
#define AMPSOCK_VERSION "0.1.0"
#endif

/* Entries that one turn makes at most: each asks the kernel a few things. */
#define TURN 64u

static uint64_t started_ms;

void amp_ctl_show_init(void)
{
	started_ms = amp_now_ms();
}

/* Text from elsewhere: a file's bytes need be no UTF-8, which an answer is. */
static void add_text(cJSON *o, const char *key, const char *text)
{
	char clean[1100];

	if (!text || !text[0])
		return;
	snprintf(clean, sizeof(clean), "%s", text);
	amp_utf8_clean(clean, false);
	cJSON_AddStringToObject(o, key, clean);
}

/* ---- links ---- */

static void add_stats(cJSON *o, const struct amp_link *l)
{
	const struct amp_link_stats *s = &l->stats;
	const struct {
		const char *key;
		uint64_t v;
	} all[] = {
		{"flows_total", s->flows},
		{"from_guest_bytes", s->rx_bytes},
		{"to_guest_bytes", s->tx_bytes},
		{"from_guest_packets", s->rx_packets},
		{"to_guest_packets", s->tx_packets},
		{"bad_packets", s->rx_bad},
		{"credit_stalls", s->credit_stalls},
		{"buffer_stalls", s->buffer_stalls},
		{"resets", s->resets},
		{"protocol_resets", s->lies},
		{"datagram_drops", s->drops},
		{"denied", s->denied},
		{"denied_out", s->denied_dir[AMP_DIR_OUT]},
		{"denied_in", s->denied_dir[AMP_DIR_IN]},
		{"denied_names", s->denied_names},
		{"cut", s->cut},
		{"refused", s->refused},
		{"unresolved", s->unresolved},
		{"stale", s->stale},
		{"attached", s->attached},
		{"restarts", s->attached ? s->attached - 1 : 0},
	};

	for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++)
		amp_ctl_number(o, all[i].key, all[i].v);
}

/* What is used of each limit, what it is (left out: none), how often it said no. */
static void add_limits(cJSON *o, const struct amp_link *l)
{
	cJSON *all = cJSON_AddObjectToObject(o, "limits");

	for (unsigned i = 0; i < AMP_LIMIT_CNT; i++) {
		cJSON *one = cJSON_AddObjectToObject(all, amp_limit_name[i]);

		if (i < AMP_LIMIT_CONNECTS) /* a level */
			amp_ctl_number(one, "used", l->limits.used[i]);
		if (l->limits.max[i] != AMP_LIMIT_NONE)
			amp_ctl_number(one, "max", l->limits.max[i]);
		amp_ctl_number(one, "refusals", l->limits.hits[i]);
	}
}

static cJSON *next_link(struct amp_ctl *c, struct amp_link *l)
{
	cJSON *o;

	if (c->at)
		return NULL;
	c->at = 1;
	o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "name", l->conf->name);
	cJSON_AddStringToObject(o, "type", l->ops->type);
	add_text(o, "path", l->conf->path);
	if (l->conf->cid)
		amp_ctl_number(o, "cid", l->conf->cid);
	cJSON_AddBoolToObject(o, "up", l->up);
	amp_ctl_number(o, "flows", l->flow_cnt);
	amp_ctl_number(o, "sockets", amp_offload_sockets(l->offload));
	add_stats(o, l);
	add_limits(o, l);
	cJSON_AddBoolToObject(o, "captured", l->tapped);
	return o;
}

const struct amp_ctl_list amp_ctl_links = {.next = next_link};

/* ---- sockets ---- */

/* What nobody uses yet, or any more: it waits for the guest's answer to its end. */
static const char *unused(const struct amp_sock_info *i)
{
	return i->state && strcmp(i->state, "closing") == 0 ? "closing" : "opening";
}

static cJSON *socket_object(const struct amp_link *l, const struct amp_sock_info *i,
			    uint64_t id)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddStringToObject(o, "link", l->conf->name);
	if (id)
		amp_ctl_number(o, "id", id);
	cJSON_AddStringToObject(o, "kind", i->kind ? i->kind : unused(i));
	add_text(o, "proto", i->proto);
	add_text(o, "state", i->state);
	add_text(o, "guest_peer", i->guest_peer);
	add_text(o, "guest_local", i->guest_local);
	add_text(o, "host_local", i->host_local);
	add_text(o, "host_peer", i->host_peer);
	if (i->ring) {
		cJSON_AddBoolToObject(o, "message", i->message);
		amp_ctl_number(o, "from_guest_bytes", i->rx_bytes);
		amp_ctl_number(o, "to_guest_bytes", i->tx_bytes);
		amp_ctl_number(o, "credit_bytes", i->credit_len);
		amp_ctl_number(o, "window_bytes", i->window_len);
		amp_ctl_number(o, "held_bytes", i->held_len);
	}
	if (i->ring && !i->joined) {
		amp_ctl_number(o, "stalls", i->stalls);
		amp_ctl_number(o, "datagram_drops", i->drops);
	}
	if (i->has_tcp) {
		amp_ctl_number(o, "rtt_us", i->rtt_us);
		amp_ctl_number(o, "rttvar_us", i->rttvar_us);
		amp_ctl_number(o, "retransmits", i->retransmits);
		amp_ctl_number(o, "cwnd_segments", i->cwnd_segments);
	}
	return o;
}

/* Ends in the ring. The list is in the order of its numbers. */
static const struct amp_end *next_end(struct amp_ctl *c, struct amp_link *l)
{
	const struct amp_end *e = c->hint;

	if (e)
		e = TAILQ_NEXT(e, ring_entry);
	else
		e = TAILQ_FIRST(&l->ends);
	while (e && e->num <= c->at)
		e = TAILQ_NEXT(e, ring_entry);
	c->hint = e;
	if (e)
		c->at = e->num;
	return e;
}

/* TCP or UDP. The rule's port may be 0, the socket's is not. */
static void published_at(const struct amp_forward *f, char dst[AMP_INFO_ADDR])
{
	struct amp_target t = f->target;
	char text[AMP_ADDR_TEXT];

	if (f->port && t.addr.sa.sa_family == AF_INET6)
		((struct sockaddr_in6 *)&t.addr)->sin6_port = htons(f->port);
	else if (f->port)
		((struct sockaddr_in *)&t.addr)->sin_port = htons(f->port);
	snprintf(dst, AMP_INFO_ADDR, "%s", amp_sockaddr_text(&t.addr.sa, text));
}

/* As the rule has them: vsock:22,1000-1999. Up to 8, of which what does not fit is cut. */
static void mux_ports(const struct amp_forward *f, char dst[AMP_INFO_ADDR])
{
	size_t n = (size_t)snprintf(dst, AMP_INFO_ADDR, "vsock:");

	if (f->range[0].lo == 0 && f->range[0].hi == UINT32_MAX - 1) {
		snprintf(dst + n, AMP_INFO_ADDR - n, "any");
		return;
	}
	for (unsigned k = 0; k < f->range_cnt && n < AMP_INFO_ADDR; k++) {
		n += (size_t)snprintf(dst + n, AMP_INFO_ADDR - n, "%s%" PRIu32, k ? "," : "",
				      f->range[k].lo);
		if (f->range[k].hi != f->range[k].lo && n < AMP_INFO_ADDR)
			n += (size_t)snprintf(dst + n, AMP_INFO_ADDR - n, "-%" PRIu32,
					      f->range[k].hi);
	}
}

/* Published ports: one for each rule of the link. */
static bool next_published(struct amp_ctl *c, struct amp_link *l, struct amp_sock_info *i)
{
	const struct amp_forward *f;
	char service[AMP_SERVICE_TEXT];
	uint64_t n = 0;

	TAILQ_FOREACH(f, &l->conf->publish, entry)
	{
		if (n++ == c->at)
			break;
	}
	if (!f)
		return false;
	c->at++;
	i->kind = "publish";
	i->proto = f->target.kind == AMP_TARGET_UDP ? "udp" : "tcp";
	i->state = f->target.kind == AMP_TARGET_UDP ? "bound" : "listen";
	if (f->target.kind == AMP_TARGET_UNIX) {
		i->proto = "unix";
		snprintf(i->host_local, AMP_INFO_ADDR, "unix:%s", f->target.addr.un.sun_path);
	} else {
		published_at(f, i->host_local);
	}
	if (f->range_cnt)
		mux_ports(f, i->guest_peer);
	else
		snprintf(i->guest_peer, AMP_INFO_ADDR, "%s",
			 amp_service_text(&f->service, service));
	return true;
}

static cJSON *next_socket(struct amp_ctl *c, struct amp_link *l)
{
	struct amp_sock_info i = {.kind = NULL};
	const struct amp_end *e;

	if (c->phase == 0) {
		e = next_end(c, l);
		if (e) {
			e->ops->info(e, &i);
			if (e->user && e->user->info)
				e->user->info(e, &i);
			return socket_object(l, &i, e->num);
		}
		c->phase = 1;
		c->at = c->id = 0;
		c->hint = NULL;
	}
	if (c->phase == 1) {
		if (l->ops->joined && l->ops->joined(l, &c->at, &c->id, &c->hint, &i))
			return socket_object(l, &i, c->at);
		c->phase = 2;
		c->at = c->id = 0;
	}
	if (c->phase == 2) {
		if (amp_offload_next(l->offload, &c->at, &c->id, &i))
			return socket_object(l, &i, 0);
		c->phase = 3;
		c->at = 0;
	}
	return next_published(c, l, &i) ? socket_object(l, &i, 0) : NULL;
}

const struct amp_ctl_list amp_ctl_sockets = {.next = next_socket};

/* ---- rules ---- */

static cJSON *rule_object(const struct amp_link *l, const char *kind, const char *text,
			  const char *where)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddStringToObject(o, "link", l->conf->name);
	cJSON_AddStringToObject(o, "kind", kind);
	add_text(o, "rule", text);
	add_text(o, "where", where);
	return o;
}

static cJSON *next_allow(struct amp_ctl *c, struct amp_link *l)
{
	const struct amp_rule *r;
	uint64_t n = 0;
	cJSON *o;

	TAILQ_FOREACH(r, &l->conf->allow, entry)
	{
		if (n++ == c->at)
			break;
	}
	if (!r)
		return NULL;
	c->at++;
	o = rule_object(l, "allow", r->text, r->where);
	amp_ctl_number(o, "hits", r->hits);
	if (r->host == AMP_HOST_NAME)
		amp_ctl_number(o, "denied", r->denied);
	return o;
}

static cJSON *next_forward(struct amp_ctl *c, struct amp_link *l, const char *kind,
			   const struct amp_forwards *list)
{
	const struct amp_forward *f;
	uint64_t n = 0;
	cJSON *o;

	TAILQ_FOREACH(f, list, entry)
	{
		if (n++ == c->at)
			break;
	}
	if (!f)
		return NULL;
	c->at++;
	o = rule_object(l, kind, f->text, f->where);
	amp_ctl_number(o, "hits", f->hits);
	if (f->id)
		amp_ctl_number(o, "id", f->id);
	if (f->runtime)
		cJSON_AddTrueToObject(o, "runtime");
	return o;
}

/* Who it is joined to, also where the other's section says so. */
static cJSON *next_join(struct amp_ctl *c, struct amp_link *l)
{
	const struct amp_join_conf *j;
	const char *name = l->conf->name;
	uint64_t n = 0;

	TAILQ_FOREACH(j, &amp_config_running()->joins, entry)
	{
		if (!j->again &&
		    (strcmp(j->name[0], name) == 0 || strcmp(j->name[1], name) == 0) &&
		    n++ == c->at)
			break;
	}
	if (!j)
		return NULL;
	c->at++;
	return rule_object(l, "join", j->name[strcmp(j->name[0], name) == 0], j->where);
}

/* What no rule covered: the last entry of each link. */
static cJSON *denied_object(struct amp_ctl *c, struct amp_link *l)
{
	cJSON *o;

	if (c->at)
		return NULL;
	c->at = 1;
	o = rule_object(l, "default", "deny", "");
	amp_ctl_number(o, "denied", l->stats.denied);
	return o;
}

static cJSON *next_rule(struct amp_ctl *c, struct amp_link *l)
{
	cJSON *o = NULL;

	for (; c->phase < 5; c->phase++, c->at = 0) {
		o = c->phase == 0   ? next_allow(c, l)
		    : c->phase == 1 ? next_forward(c, l, "publish", &l->conf->publish)
		    : c->phase == 2 ? next_forward(c, l, "expose", &l->conf->expose)
		    : c->phase == 3 ? next_join(c, l)
				    : denied_object(c, l);
		if (o)
			break;
	}
	return o;
}

const struct amp_ctl_list amp_ctl_rules = {.next = next_rule};

/* ---- any list ---- */

static struct amp_link *link_from(uint32_t num)
{
	struct amp_link *l;

	TAILQ_FOREACH(l, amp_links_all(), entry)
	{
		if (l->num >= num)
			break;
	}
	return l;
}

static bool put_item(struct amp_ctl *c, cJSON *o)
{
	static char text[AMP_CLIENT_ITEM - 2];
	bool good = o && cJSON_PrintPreallocated(o, text, sizeof(text), false);

	cJSON_Delete(o);
	if (!good) /* no memory, or an entry of a size that none has: it is not left out in silence */
		strcpy(text, "{}");
	if (!c->first)
		amp_client_puts(&c->client, ",");
	c->first = false;
	return amp_client_puts(&c->client, text);
}

void amp_ctl_list_more(struct amp_ctl *c)
{
	c->hint = NULL; /* the last turn's may be gone */
	for (unsigned n = 0; n < TURN && amp_client_room(&c->client) >= AMP_CLIENT_ITEM; n++) {
		struct amp_link *l = link_from(c->link);
		cJSON *o;

		if (!l || (c->only && l->num != c->only)) {
			amp_client_puts(&c->client, "]}\n");
			c->list = NULL;
			c->client.answering = false;
			return;
		}
		if (l->num != c->link) {
			c->link = l->num;
			c->phase = c->id = 0;
			c->at = 0;
			c->hint = NULL;
		}
		o = c->list->next(c, l);
		if (o) {
			put_item(c, o);
			continue;
		}
		c->link = l->num + 1;
		c->phase = c->id = 0;
		c->at = 0;
		c->hint = NULL;
	}
	amp_work_queue(&c->client.work);
}

/* ---- status ---- */

cJSON *amp_ctl_status(void)
{
	struct amp_link_stats sum = {0};
	unsigned links = 0, up = 0, flows = 0;
	const struct amp_link *l;
	cJSON *o = cJSON_CreateObject();

	TAILQ_FOREACH(l, amp_links_all(), entry)
	{
		links++;
		up += l->up;
		flows += l->flow_cnt;
		sum.rx_bytes += l->stats.rx_bytes;
		sum.tx_bytes += l->stats.tx_bytes;
		sum.flows += l->stats.flows;
		sum.denied += l->stats.denied;
	}
	cJSON_AddStringToObject(o, "version", AMPSOCK_VERSION);
	amp_ctl_number(o, "pid", (uint64_t)getpid());
	amp_ctl_number(o, "uid", geteuid());
	amp_ctl_number(o, "uptime_ms", amp_now_ms() - started_ms);
	amp_ctl_number(o, "links", links);
	amp_ctl_number(o, "links_up", up);
	amp_ctl_number(o, "flows", flows);
	amp_ctl_number(o, "flows_total", sum.flows);
	amp_ctl_number(o, "from_guest_bytes", sum.rx_bytes);
	amp_ctl_number(o, "to_guest_bytes", sum.tx_bytes);
	amp_ctl_number(o, "denied", sum.denied);
	amp_ctl_number(o, "captures", amp_capture_count());
	cJSON_AddStringToObject(o, "log_level", amp_log_level_text(amp_log_level_get()));
	return o;
}
