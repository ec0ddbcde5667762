// SPDX-License-Identifier: BSD-3-Clause
/* Words of a rule, and the forwards (publish, expose), which are words only. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "../wire/offload.h"
#include "../wire/rpmsg_hdr.h"
#include "rule_text.h"

bool amp_text_word(struct amp_text *t)
{
	size_t n;

	t->rest += strspn(t->rest, " \t");
	t->at = t->rest;
	n = strcspn(t->rest, " \t");
	t->rest += n;
	if (n >= sizeof(t->word))
		n = 0;
	memcpy(t->word, t->at, n);
	t->word[n] = 0;
	return n != 0;
}

int amp_text_error(struct amp_text *t, const char *msg)
{
	t->err->at = (unsigned)(t->at - t->all);
	if (t->word[0])
		snprintf(t->err->msg, sizeof(t->err->msg), "at `%.40s`: %s", t->at, msg);
	else
		snprintf(t->err->msg, sizeof(t->err->msg), "%s", msg);
	return -EINVAL;
}

static int text_end(struct amp_text *t)
{
	if (!amp_text_word(t) && !*t->at)
		return 0;
	return amp_text_error(t, "expected nothing more here");
}

int amp_text_last(struct amp_text *t, const char *word, bool *given)
{
	char what[64];

	*given = false;
	if (!amp_text_word(t) && !*t->at)
		return 0;
	*given = strcmp(t->word, word) == 0;
	if (*given)
		return text_end(t);
	snprintf(what, sizeof(what), "expected nothing more here, or `%s`", word);
	return amp_text_error(t, what);
}

bool amp_text_split(const char *word, char *host, char *port, bool *brackets)
{
	const char *colon = strrchr(word, ':');
	size_t n;

	*brackets = word[0] == '[';
	if (!colon || colon == word || !colon[1])
		return false;
	n = (size_t)(colon - word);
	memcpy(host, word, n);
	host[n] = 0;
	strcpy(port, colon + 1);
	if (*brackets) {
		char *end = strchr(host, ']');

		if (!end || (end[1] && end[1] != '/'))
			return false;
		memmove(end, end + 1, strlen(end));
		memmove(host, host + 1, strlen(host));
		return true;
	}
	return !strchr(host, ':');
}

/* Addresses that bind() or connect() would refuse, or that nobody could use. */
static int check_address(struct amp_text *t, const struct amp_target *target)
{
	const struct sockaddr_in6 *in6 = (const void *)&target->addr;
	const struct sockaddr_in *in = (const void *)&target->addr;
	bool v6 = in6->sin6_family == AF_INET6;
	uint32_t v4 = ntohl(in->sin_addr.s_addr);

	if (v6 && IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr))
		return amp_text_error(t,
				      "an address of fe80::/10 is one of an interface, which "
				      "a rule cannot name: expected another address");
	if (target->kind == AMP_TARGET_TCP && (v6 ? IN6_IS_ADDR_MULTICAST(&in6->sin6_addr)
						  : IN_MULTICAST(v4) || v4 == INADDR_BROADCAST))
		return amp_text_error(t,
				      "TCP has neither multicast nor broadcast: expected the "
				      "address of one host");
	return 0;
}

static int parse_inet_target(struct amp_text *t, bool listen, struct amp_target *target)
{
	char host[AMP_TEXT_WORD], port[AMP_TEXT_WORD];
	struct sockaddr_in *in = (void *)&target->addr;
	struct sockaddr_in6 *in6 = (void *)&target->addr;
	uint32_t num;
	bool brackets;

	if (!amp_text_word(t) || !amp_text_split(t->word, host, port, &brackets))
		return amp_text_error(
			t, "expected ADDRESS:PORT, such as 127.0.0.1:8080 or [::1]:8080");
	if (!amp_parse_u32(port, 65535, &num) || (num == 0 && !listen))
		return amp_text_error(t,
				      listen ? "expected a port from 0 (any free one) to 65535"
					     : "expected a port from 1 to 65535");
	if (brackets && inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)num);
		target->len = sizeof(*in6);
	} else if (!brackets && inet_pton(AF_INET, host, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)num);
		target->len = sizeof(*in);
	} else {
		return amp_text_error(
			t, "expected a numeric address: 127.0.0.1:8080 or [::1]:8080");
	}
	return check_address(t, target);
}

static const char *skip_nothing(const char *p)
{
	while (*p == '/' || (p[0] == '.' && p[1] == '/'))
		p += *p == '/' ? 1 : 2;
	return p;
}

void amp_path_normal(char *path)
{
	const char *from = *path == '/' ? path : skip_nothing(path);
	char *to = path;

	if (!*from)
		return;
	while (*from) {
		*to++ = *from;
		from = *from == '/' ? skip_nothing(from + 1) : from + 1;
	}
	*to = 0;
}

static int parse_path(struct amp_text *t, struct amp_target *target)
{
	target->kind = AMP_TARGET_UNIX;
	if (amp_text_word(t))
		amp_path_normal(t->word);
	if (t->word[0] != '/' || strlen(t->word) >= sizeof(target->addr.un.sun_path))
		return amp_text_error(t, "expected an absolute path of at most 107 bytes");
	target->addr.un.sun_family = AF_UNIX;
	strcpy(target->addr.un.sun_path, t->word);
	target->len = sizeof(target->addr.un);
	return 0;
}

/* mux: set for vsock-mux, which can be published only. */
static int parse_target(struct amp_text *t, bool listen, struct amp_target *target, bool *mux)
{
	memset(target, 0, sizeof(*target));
	amp_text_word(t);
	*mux = listen && strcmp(t->word, "vsock-mux") == 0;
	if (*mux || strcmp(t->word, "unix") == 0)
		return parse_path(t, target);
	if (strcmp(t->word, "tcp") == 0)
		target->kind = AMP_TARGET_TCP;
	else if (strcmp(t->word, "udp") == 0)
		target->kind = AMP_TARGET_UDP;
	else
		return amp_text_error(t, listen ? "expected tcp, udp, unix or vsock-mux"
						: "expected tcp, udp or unix");
	return parse_inet_target(t, listen, target);
}

/* What a service is called: the complaint when it is not right. */
static int parse_port(struct amp_text *t, const char *text, struct amp_service *service)
{
	bool inet = service->kind == AMP_SERVICE_INET;

	/* AF_VSOCK has a port 0, but whoever writes it means a free one, as on the other side */
	if (!amp_parse_u32(text, inet ? 65535 : UINT32_MAX - 1, &service->port) ||
	    service->port == 0)
		return amp_text_error(t, inet ? "expected a port from 1 to 65535 (a service "
						"has one that its clients know)"
					      : "expected a port from 1 to 4294967294 (a "
						"service has one that its clients know)");
	/* offload ports belong to the proxy and its guest alone (DESIGN 6, Listen) */
	if (!inet && (service->port == AMP_OFF_PORT || service->port == AMP_OFF_ACCEPT_PORT))
		return amp_text_error(t, "this port is the proxy's own: expected another one");
	return 0;
}

static bool ends_in_suffix(const char *name, size_t len)
{
	size_t n = strlen(AMP_RSTREAM_SUFFIX);

	return len > n && strcmp(name + len - n, AMP_RSTREAM_SUFFIX) == 0;
}

/*
 * NAME or @ADDRESS. A stream's name has the suffix behind it from here on: it is announced
 * and looked up as it is in service->name.
 */
static int parse_rpmsg(struct amp_text *t, const char *text, bool stream,
		       struct amp_service *service)
{
	size_t len = strlen(text), max = AMP_SERVICE_NAME - 1u;
	uint64_t addr;

	if (stream)
		max -= strlen(AMP_RSTREAM_SUFFIX);
	if (text[0] == '@') {
		if (!amp_parse_u64(text + 1, AMP_RPMSG_ADDR_ANY - 1u, &addr) || addr == 0 ||
		    addr == AMP_RPMSG_NS_ADDR)
			return amp_text_error(t, "expected the address of an endpoint, such as "
						 "@30 or @0x400 (53 is the name service's)");
		service->port = (uint32_t)addr;
		return 0;
	}
	if (len == 0 || len > max)
		return amp_text_error(t, stream ? "expected a service's name of 1 to 29 "
						  "characters, or @ADDRESS"
						: "expected a service's name of 1 to 31 "
						  "characters, or @ADDRESS");
	for (const char *p = text; *p; p++) {
		if (*p < '!' || *p > '~')
			return amp_text_error(t, "expected a name of printable characters");
	}
	if (ends_in_suffix(text, len))
		return amp_text_error(t, "the ending " AMP_RSTREAM_SUFFIX " is the proxy's own "
					 "mark of streams: expected the name without it");
	if (strcmp(text, AMP_RSTREAM_DOOR) == 0)
		return amp_text_error(t, "the name " AMP_RSTREAM_DOOR
					 " is the proxy's own: expected another one");
	strcpy(service->name, text);
	if (stream)
		strcat(service->name, AMP_RSTREAM_SUFFIX);
	return 0;
}

/* The word only: what it means may depend on the other side of the arrow. */
static int parse_service(struct amp_text *t, bool inet, bool stream,
			 struct amp_service *service)
{
	if (strncmp(t->word, "vsock:", 6) == 0) {
		service->kind = AMP_SERVICE_VSOCK;
		return parse_port(t, t->word + 6, service);
	}
	if (inet && strncmp(t->word, "inet:", 5) == 0) {
		service->kind = AMP_SERVICE_INET;
		return parse_port(t, t->word + 5, service);
	}
	if (strncmp(t->word, "rpmsg:", 6) == 0) {
		service->kind = AMP_SERVICE_RPMSG;
		return parse_rpmsg(t, t->word + 6, stream, service);
	}
	return amp_text_error(
		t, inet ? "expected vsock:PORT, rpmsg:NAME, rpmsg:@ADDRESS or inet:PORT"
			: "expected vsock:PORT, rpmsg:NAME or rpmsg:@ADDRESS");
}

bool amp_service_same(const struct amp_service *a, const struct amp_service *b)
{
	return a->kind == b->kind && a->port == b->port && strcmp(a->name, b->name) == 0;
}

const char *amp_service_text(const struct amp_service *s, char dst[AMP_SERVICE_TEXT])
{
	size_t len = strlen(s->name);

	if (ends_in_suffix(s->name, len))
		len -= strlen(AMP_RSTREAM_SUFFIX);
	if (s->kind == AMP_SERVICE_RPMSG && len)
		snprintf(dst, AMP_SERVICE_TEXT, "rpmsg:%.*s", (int)len, s->name);
	else
		snprintf(dst, AMP_SERVICE_TEXT, "%s%u",
			 s->kind == AMP_SERVICE_RPMSG  ? "rpmsg:@"
			 : s->kind == AMP_SERVICE_INET ? "inet:"
						       : "vsock:",
			 s->port);
	return dst;
}

/* PORT or PORT-PORT */
static bool parse_range(char *text, uint32_t *lo, uint32_t *hi)
{
	char *dash = strchr(text, '-');

	if (dash)
		*dash++ = 0;
	if (!amp_parse_u32(text, UINT32_MAX - 1, lo) || !*lo)
		return false;
	*hi = *lo;
	return !dash || (amp_parse_u32(dash, UINT32_MAX - 1, hi) && *lo <= *hi);
}

/* vsock:any, or vsock:22,1000-1999: the ports that a vsock-mux leads to. */
static int parse_ranges(struct amp_text *t, struct amp_forward *fwd)
{
	char list[AMP_TEXT_WORD], *rest = list, *one;

	fwd->service.kind = AMP_SERVICE_VSOCK;
	if (strncmp(t->word, "vsock:", 6))
		return amp_text_error(t, "expected vsock:PORTS, such as vsock:22 or vsock:any");
	strcpy(list, t->word + 6);
	if (strcmp(list, "any") == 0) {
		fwd->range[0].hi = UINT32_MAX - 1;
		fwd->range_cnt = 1;
		return 0;
	}
	while ((one = strsep(&rest, ",")) != NULL) {
		if (fwd->range_cnt == AMP_RANGES_MAX)
			return amp_text_error(
				t, "expected at most 8 ports and ranges: join some, or "
				   "publish another path");
		if (!parse_range(one, &fwd->range[fwd->range_cnt].lo,
				 &fwd->range[fwd->range_cnt].hi))
			return amp_text_error(t, "expected any, or ports and ranges such as "
						 "22,1000-1999 (1 to 4294967294)");
		fwd->range_cnt++;
	}
	fwd->service.port = fwd->range[0].lo;
	return 0;
}

static int parse_arrow(struct amp_text *t)
{
	amp_text_word(t);
	return strcmp(t->word, "->") ? amp_text_error(t, "expected `->`") : 0;
}

int amp_target_parse(const char *text, struct amp_target *target, struct amp_rule_error *err)
{
	struct amp_text t = {.all = text, .rest = text, .err = err};
	bool mux;
	int r = parse_target(&t, true, target, &mux);

	if (!r && mux)
		r = amp_text_error(&t, "expected tcp or unix");
	return r ? r : text_end(&t);
}

bool amp_target_same(const struct amp_target *a, const struct amp_target *b)
{
	return a->kind == b->kind && a->len == b->len &&
	       memcmp(&a->addr, &b->addr, a->len) == 0;
}

/* The last word of a forward. */
static int parse_proxy_protocol(struct amp_text *t, struct amp_forward *fwd)
{
	int r = amp_text_last(t, "proxy-protocol", &fwd->proxy_protocol);

	if (r || !fwd->proxy_protocol)
		return r;
	t->at = strstr(t->all, "proxy-protocol");
	strcpy(t->word, "proxy-protocol");
	if (fwd->range_cnt)
		return amp_text_error(
			t, "the beginning of a vsock-mux is its CONNECT: expected tcp "
			   "or unix");
	if (fwd->target.kind == AMP_TARGET_UDP)
		return amp_text_error(t, "a datagram has no beginning to say it in: expected "
					 "tcp or unix");
	if (fwd->service.kind == AMP_SERVICE_INET)
		return amp_text_error(t, "an AF_INET listener sees its client's address: "
					 "expected vsock:PORT or rpmsg:NAME");
	return 0;
}

int amp_publish_parse(const char *text, struct amp_forward *fwd, struct amp_rule_error *err)
{
	struct amp_text t = {.all = text, .rest = text, .err = err};
	bool mux;
	int r;

	memset(fwd, 0, sizeof(*fwd));
	r = parse_target(&t, true, &fwd->target, &mux);
	if (!r)
		r = parse_arrow(&t);
	if (!r) {
		amp_text_word(&t);
		r = mux ? parse_ranges(&t, fwd)
			: parse_service(&t, true, fwd->target.kind != AMP_TARGET_UDP,
					&fwd->service);
	}
	if (!r && fwd->service.kind == AMP_SERVICE_INET && fwd->target.kind == AMP_TARGET_UNIX)
		r = amp_text_error(&t, "a Unix socket has no address that AF_INET could show: "
				       "expected vsock:PORT or rpmsg:NAME");
	return r ? r : parse_proxy_protocol(&t, fwd);
}

int amp_expose_parse(const char *text, struct amp_forward *fwd, struct amp_rule_error *err)
{
	struct amp_text t = {.all = text, .rest = text, .err = err}, first;
	bool mux;
	int r;

	memset(fwd, 0, sizeof(*fwd));
	amp_text_word(&t);
	first = t;
	r = parse_service(&t, false, false, &fwd->service);
	if (!r)
		r = parse_arrow(&t);
	if (!r)
		r = parse_target(&t, false, &fwd->target, &mux);
	if (!r)
		r = parse_proxy_protocol(&t, fwd);
	/* once more, with what the target says about it: a stream has a shorter name */
	if (!r && fwd->target.kind != AMP_TARGET_UDP) {
		memset(&fwd->service, 0, sizeof(fwd->service));
		r = parse_service(&first, false, true, &fwd->service);
	}
	return r;
}
