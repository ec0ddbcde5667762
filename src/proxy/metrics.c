// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls accept4 close getsockname */
/*
 * Prometheus text (exposition format 0.0.4) over as little of HTTP as a scrape needs: GET
 * /metrics, one request a connection, closed at the end of the body.
 *
 * Theory of operation: client.h. The body is made in pieces, family by family and in each link
 * by link; what is kept in between is a cursor.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "control.h"
#include "helper.h"
#include "listen.h"
#include "offload.h"
#include "reload.h"

#ifndef AMPSOCK_VERSION
#define AMPSOCK_VERSION "0.1.0"
#endif

#define CLIENTS	  8u
#define RULE_LEN  1023u /* of a rule's text; an option may have more */
#define LABEL_LEN 2100u /* that, each character escaped */

enum of { OF_PROXY, OF_LINK, OF_STATS, OF_RULE, OF_LIMIT };

struct family {
	const char *name, *help;
	bool counter;
	enum of of;
	uint64_t (*value)(const struct amp_link *l); /* PROXY: of NULL; LINK */
	size_t at; /* STATS: in struct amp_link_stats; LIMIT: in struct amp_limits */
};

struct scrape {
	struct amp_client client; /* first */
	unsigned family;
	bool headed;	  /* HELP and TYPE of it are out */
	uint32_t link;	  /* number of the next link */
	unsigned rule;	  /* or limit, of that link */
	uint64_t configs; /* that there had been when the first of its rules was looked at */
};

static struct amp_server server;
static uint64_t started_ms;
static char path[AMP_SUN_PATH];

static uint64_t uptime(const struct amp_link *l)
{
	(void)l;
	return (amp_now_ms() - started_ms) / 1000u;
}

static uint64_t one(const struct amp_link *l)
{
	(void)l;
	return 1;
}

static uint64_t scrapes(const struct amp_link *l)
{
	(void)l;
	return server.served;
}

static uint64_t reloads(const struct amp_link *l)
{
	(void)l;
	return amp_reload_counts()->cnt;
}

static uint64_t reloads_refused(const struct amp_link *l)
{
	(void)l;
	return amp_reload_counts()->refused;
}

static uint64_t reload_failures(const struct amp_link *l)
{
	(void)l;
	return amp_reload_counts()->failed;
}

static uint64_t up(const struct amp_link *l)
{
	return l->up;
}

static uint64_t flows(const struct amp_link *l)
{
	return l->flow_cnt;
}

static uint64_t sockets(const struct amp_link *l)
{
	return amp_offload_sockets(l->offload);
}

static uint64_t restarts(const struct amp_link *l)
{
	return l->stats.attached ? l->stats.attached - 1 : 0;
}

#define GAUGE(n, h, o, v)                                         \
	{                                                         \
		.name = (n), .help = (h), .of = (o), .value = (v) \
	}
#define COUNTER(n, h, o, v)                                                        \
	{                                                                          \
		.name = (n), .help = (h), .counter = true, .of = (o), .value = (v) \
	}
#define STAT(n, h, field)                                                  \
	{                                                                  \
		.name = (n), .help = (h), .counter = true, .of = OF_STATS, \
		.at = offsetof(struct amp_link_stats, field)               \
	}

static const struct family families[] = {
	GAUGE("ampsock_build_info", "Always 1; the version is a label.", OF_PROXY, one),
	GAUGE("ampsock_uptime_seconds", "Seconds since the proxy began.", OF_PROXY, uptime),
	COUNTER("ampsock_scrapes_total", "Requests answered here.", OF_PROXY, scrapes),
	COUNTER("ampsock_reloads_total", "Times that the configuration was read again.",
		OF_PROXY, reloads),
	COUNTER("ampsock_reloads_refused_total", "Reloads that changed nothing.", OF_PROXY,
		reloads_refused),
	COUNTER("ampsock_reload_failures_total",
		"Links and rules of a new configuration that could not be started.", OF_PROXY,
		reload_failures),
	GAUGE("ampsock_link_up", "1 while a guest or remote is attached.", OF_LINK, up),
	GAUGE("ampsock_link_flows", "Flows that there are now.", OF_LINK, flows),
	GAUGE("ampsock_link_sockets", "Offloaded sockets that there are now.", OF_LINK,
	      sockets),
	COUNTER("ampsock_link_restarts_total", "Times that the guest came again.", OF_LINK,
		restarts),
	STAT("ampsock_link_attached_total", "Times that a guest attached.", attached),
	STAT("ampsock_link_flows_total", "Flows that began.", flows),
	STAT("ampsock_link_from_guest_bytes_total", "Payload bytes from the guest.", rx_bytes),
	STAT("ampsock_link_to_guest_bytes_total", "Payload bytes to the guest.", tx_bytes),
	STAT("ampsock_link_from_guest_packets_total", "Packets from the guest.", rx_packets),
	STAT("ampsock_link_to_guest_packets_total", "Packets to the guest.", tx_packets),
	STAT("ampsock_link_bad_packets_total", "Malformed packets from the guest.", rx_bad),
	STAT("ampsock_link_credit_stalls_total",
	     "Times that bytes for the guest waited for its credit.", credit_stalls),
	STAT("ampsock_link_buffer_stalls_total",
	     "Times that bytes for the guest waited for its buffers.", buffer_stalls),
	STAT("ampsock_link_resets_total", "Flows that ended with an error, or were ended.",
	     resets),
	STAT("ampsock_link_protocol_resets_total",
	     "Connections reset because the guest broke a rule of the protocol.", lies),
	STAT("ampsock_link_datagram_drops_total", "Datagrams dropped.", drops),
	STAT("ampsock_link_denied_total", "Requests denied by policy.", denied),
	STAT("ampsock_link_denied_out_total", "Of these, addresses to be reached.",
	     denied_dir[AMP_DIR_OUT]),
	STAT("ampsock_link_denied_in_total", "Of these, addresses to be bound.",
	     denied_dir[AMP_DIR_IN]),
	STAT("ampsock_link_denied_names_total", "Of these, names.", denied_names),
	STAT("ampsock_link_cut_total", "Flows ended because a reload does not allow them.",
	     cut),
	STAT("ampsock_link_refused_total", "Requests refused: limits, or nobody there.",
	     refused),
	STAT("ampsock_link_unresolved_total",
	     "Names that the host's resolver had no answer for.", unresolved),
	STAT("ampsock_link_stale_total", "Offload requests of sessions that are no more.",
	     stale),
	{.name = "ampsock_rule_hits_total",
	 .help = "Times that an allow rule was the one that allowed.",
	 .counter = true,
	 .of = OF_RULE},
	{.name = "ampsock_limit_refusals_total",
	 .help = "Times that a limit of the link said no.",
	 .counter = true,
	 .of = OF_LIMIT,
	 .at = offsetof(struct amp_limits, hits)},
	{.name = "ampsock_limit_used",
	 .help = "How much of the limit is used; rates do not have it.",
	 .of = OF_LIMIT,
	 .at = offsetof(struct amp_limits, used)},
	{.name = "ampsock_limit_max",
	 .help = "The limit, if there is one.",
	 .of = OF_LIMIT,
	 .at = offsetof(struct amp_limits, max)},
};

#define FAMILIES (sizeof(families) / sizeof(*families))

/* A label's value as the format wants it: \\, \" and \n. */
static const char *escape(char dst[LABEL_LEN], const char *text)
{
	const char *end = text + strnlen(text, RULE_LEN);
	size_t n = 0;

	for (; text < end; text++) {
		if (*text == '\\' || *text == '"' || *text == '\n')
			dst[n++] = '\\';
		dst[n++] = *text == '\n' ? 'n' : *text;
	}
	dst[n] = 0;
	return dst;
}

static void head(struct scrape *s, const struct family *f)
{
	char text[400];

	snprintf(text, sizeof(text), "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name,
		 f->counter ? "counter" : "gauge");
	amp_client_puts(&s->client, text);
}

static void sample_proxy(struct scrape *s, const struct family *f)
{
	char text[200];

	snprintf(text, sizeof(text), "%s%s %" PRIu64 "\n", f->name,
		 f->value == one ? "{version=\"" AMPSOCK_VERSION "\"}" : "", f->value(NULL));
	amp_client_puts(&s->client, text);
}

static void sample_link(struct scrape *s, const struct family *f, const struct amp_link *l)
{
	const uint8_t *stats = (const uint8_t *)&l->stats;
	char text[LABEL_LEN + 200], name[LABEL_LEN];
	uint64_t v;

	if (f->of == OF_STATS)
		memcpy(&v, stats + f->at, sizeof(v));
	else
		v = f->value(l);
	snprintf(text, sizeof(text), "%s{link=\"%s\",type=\"%s\"} %" PRIu64 "\n", f->name,
		 escape(name, l->conf->name), l->ops->type, v);
	amp_client_puts(&s->client, text);
}

static bool same_text(const struct amp_rule *a, const struct amp_rule *b)
{
	return strncmp(a->text, b->text, RULE_LEN) == 0;
}

/* Configurations that there have been. */
static uint64_t configs(void)
{
	return amp_reload_counts()->cnt - amp_reload_counts()->refused;
}

/* The rule at a place, and the sum of hits of all with its text; *first: none before it has it. */
static const struct amp_rule *rule_at(const struct amp_link *l, unsigned place, bool *first,
				      uint64_t *hits)
{
	const struct amp_rule *r = TAILQ_FIRST(&l->conf->allow), *o;

	while (r && place-- > 0)
		r = TAILQ_NEXT(r, entry);
	if (!r)
		return NULL;
	o = TAILQ_FIRST(&l->conf->allow);
	while (!same_text(o, r))
		o = TAILQ_NEXT(o, entry);
	*first = o == r;
	*hits = 0;
	for (; o; o = TAILQ_NEXT(o, entry))
		*hits += same_text(o, r) ? o->hits : 0;
	return r;
}

/*
 * The text says which rule it is, as places change with a reload; one that is there twice is one.
 * False: the link has no more, or others by now, of which some may be out already.
 */
static bool sample_rule(struct scrape *s, const struct family *f, const struct amp_link *l)
{
	static char text[AMP_CLIENT_ITEM], rule[LABEL_LEN];
	const struct amp_rule *r;
	uint64_t hits;
	bool first;

	if (!s->rule)
		s->configs = configs();
	r = rule_at(l, s->rule, &first, &hits);
	if (!r || s->configs != configs())
		return false;
	s->rule++;
	if (!first)
		return true;
	snprintf(text, sizeof(text), "%s{link=\"%s\",rule=\"%s\"} %" PRIu64 "\n", f->name,
		 l->conf->name, escape(rule, r->text), hits);
	amp_client_puts(&s->client, text);
	return true;
}

static bool sample_limit(struct scrape *s, const struct family *f, const struct amp_link *l)
{
	char text[300];
	uint64_t v;

	if (s->rule == AMP_LIMIT_CNT ||
	    (f->at == offsetof(struct amp_limits, used) && s->rule == AMP_LIMIT_CONNECTS))
		return false;
	memcpy(&v, (const uint8_t *)&l->limits + f->at + s->rule * sizeof(v), sizeof(v));
	if (f->at == offsetof(struct amp_limits, max) && v == AMP_LIMIT_NONE) {
		s->rule++;
		return true;
	}
	snprintf(text, sizeof(text), "%s{link=\"%s\",limit=\"%s\"} %" PRIu64 "\n", f->name,
		 l->conf->name, amp_limit_name[s->rule], v);
	amp_client_puts(&s->client, text);
	s->rule++;
	return true;
}

static const struct amp_link *link_from(uint32_t num)
{
	const struct amp_link *l;

	TAILQ_FOREACH(l, amp_links_all(), entry)
	{
		if (l->num >= num)
			break;
	}
	return l;
}

/* One sample, or the next family. */
static void step(struct scrape *s)
{
	const struct family *f = &families[s->family];
	const struct amp_link *l = f->of == OF_PROXY ? NULL : link_from(s->link);

	if (!s->headed) {
		s->headed = true;
		head(s, f);
		if (f->of == OF_PROXY)
			sample_proxy(s, f);
	}
	if (!l) {
		s->family++;
		s->headed = false;
		s->link = s->rule = 0;
		return;
	}
	if (f->of == OF_RULE || f->of == OF_LIMIT) {
		if (l->num != s->link)
			s->rule = 0;
		s->link = l->num;
		if (f->of == OF_RULE ? sample_rule(s, f, l) : sample_limit(s, f, l))
			return;
	} else {
		sample_link(s, f, l);
	}
	s->link = l->num + 1;
	s->rule = 0;
}

static void more(struct amp_client *client)
{
	struct scrape *s = amp_container_of(client, struct scrape, client);

	while (s->family < FAMILIES && amp_client_room(client) >= AMP_CLIENT_ITEM)
		step(s);
	if (s->family < FAMILIES)
		return;
	client->answering = false;
	client->last = true;
}

/* ---- HTTP ---- */

static void status(struct amp_client *client, const char *line, bool good)
{
	amp_client_puts(client, "HTTP/1.0 ");
	amp_client_puts(client, line);
	amp_client_puts(client, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
				"Connection: close\r\n\r\n");
	if (good) {
		client->answering = true;
		return;
	}
	amp_client_puts(client, line);
	amp_client_puts(client, "\n");
	client->last = true;
}

/* Where the header ends: an empty line. */
static size_t header_len(const char *text)
{
	const char *crlf = strstr(text, "\r\n\r\n"), *lf = strstr(text, "\n\n");

	if (crlf && (!lf || crlf < lf))
		return (size_t)(crlf - text) + 4;
	return lf ? (size_t)(lf - text) + 2 : 0;
}

static size_t input(struct amp_client *client, const char *text, size_t len)
{
	static const char get[] = "GET ", where[] = "/metrics";
	size_t n;

	if (memchr(text, 0, len)) {
		status(client, "400 Bad Request", false);
		return len;
	}
	n = header_len(text);
	if (!n)
		return 0;
	if (strncmp(text, get, sizeof(get) - 1)) {
		status(client, "405 Method Not Allowed", false);
		return n;
	}
	text += sizeof(get) - 1;
	if (strncmp(text, where, sizeof(where) - 1) ||
	    !strchr(" ?\r\n", text[sizeof(where) - 1]))
		status(client, "404 Not Found", false);
	else
		status(client, "200 OK", true);
	return n;
}

static void bad(struct amp_client *client, bool eof)
{
	status(client, eof ? "400 Bad Request" : "431 Request Header Fields Too Large", false);
}

/* The listener's place says who may ask. */
static bool admit(struct amp_client *client)
{
	unsigned all = 0;
	struct amp_client *o;

	TAILQ_FOREACH(o, &server.clients, entry)
	all += !o->last;
	if (all <= CLIENTS)
		return true;
	status(client, "503 Service Unavailable", false);
	return false;
}

static const struct amp_client_ops metrics_ops = {
	.size = sizeof(struct scrape),
	.admit = admit,
	.input = input,
	.bad = bad,
	.more = more,
	.request_ms = 5000,
	.answer_ms = 5000,
	.idle_ms = 5000,
	.what = "metrics",
};

int amp_metrics_start(const struct amp_config *conf)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);
	char text[AMP_ADDR_TEXT];
	int fd, r;

	started_ms = amp_now_ms();
	if (!conf->metrics.kind)
		return 0;
	fd = conf->metrics.kind == AMP_TARGET_UNIX
		     ? amp_helper_listen_unix(AMP_HELPER_METRICS,
					      conf->metrics.addr.un.sun_path)
		     : amp_target_listen(&conf->metrics, "metrics", NULL);
	if (fd < 0)
		return fd;
	if (conf->metrics.kind == AMP_TARGET_UNIX)
		strcpy(path, conf->metrics.addr.un.sun_path);
	else if (getsockname(fd, (struct sockaddr *)&at,
			     &len)) /* the port may be any free one */
		memcpy(&at, &conf->metrics.addr, sizeof(at));
	r = amp_server_start(&server, &metrics_ops, fd, CLIENTS);
	if (!r)
		amp_log(AMP_LOG_INFO, "metrics: listening on %s",
			path[0] ? path : amp_sockaddr_text((struct sockaddr *)&at, text));
	return r;
}

void amp_metrics_stop(void)
{
	if (!server.ops)
		return;
	amp_server_stop(&server);
	server.ops = NULL;
	if (path[0])
		amp_helper_unlink(AMP_HELPER_METRICS, path);
}
