/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names and addresses: getaddrinfo() and its relatives.
 *
 * Theory of operation: what is a number is parsed here; a name, or the name of a service,
 * goes to the proxy, whose host resolves it. Results lie in a static pool, one cell an
 * address, and are lent out until freeaddrinfo(). A list shorter than the truth is
 * returned when the pool has less room than there are answers; only none at all is
 * EAI_MEMORY. There is one canonical name at a time.
 */
#include <errno.h>
#include <string.h>
#include <netdb.h>
#include <arpa/inet.h>
#include <netinet/in.h>

#include "stack.h"
#include "../wire/le.h"

#if AMPSOCK_INET
#include "../af_inet/inet.h"

#ifndef EAI_ADDRFAMILY
#define EAI_ADDRFAMILY EAI_NONAME
#endif

#define KNOWN_FLAGS                                                                           \
	(AI_PASSIVE | AI_CANONNAME | AI_NUMERICHOST | AI_NUMERICSERV | AI_V4MAPPED | AI_ALL | \
	 AI_ADDRCONFIG)
#define CANON_MAX 255u

/* l: under the stack lock; a cell that is lent out is the caller's to read */
struct cell {
	struct addrinfo ai; /* must be first: freeaddrinfo() gets its address */
	union {
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} sa;
	bool used; /* l */
};

static struct cell pool[AMPSOCK_ADDRINFO]; /* l */
static char canon[CANON_MAX + 1];	   /* l */
static bool canon_used;			   /* l */

/* A getaddrinfo() on its way. On the caller's stack: small. */
struct query {
	const char *node, *service;
	struct addrinfo *first, **last;
	uint16_t port;
	uint8_t node_len, service_len; /* of what the proxy is asked; 0: nothing */
	uint8_t type;		       /* SOCK_*, 0: both */
	uint8_t ticket;
	int family, flags;
};

/* ---- the pool ---- */

static struct cell *cell_new(void)
{
	unsigned i;

	for (i = 0; i < AMPSOCK_ADDRINFO; i++)
		if (!pool[i].used) {
			memset(&pool[i], 0, sizeof(pool[i]));
			pool[i].used = true;
			return &pool[i];
		}
	return NULL;
}

static void list_free(struct addrinfo *ai)
{
	struct addrinfo *next;

	for (; ai; ai = next) {
		next = ai->ai_next;
		if (ai->ai_canonname)
			canon_used = false;
		((struct cell *)(void *)ai)->used = false;
	}
}

/* One address; both types when neither was asked for, as elsewhere. */
static void add(struct query *q, const struct amp_off_addr *a)
{
	uint8_t type = q->type ? q->type : SOCK_STREAM;
	struct cell *c;

	while ((c = cell_new()) != NULL) {
		c->ai.ai_family = a->family == AMP_OFF_INET ? AF_INET : AF_INET6;
		c->ai.ai_socktype = type;
		c->ai.ai_protocol = type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
		c->ai.ai_flags = q->flags;
		c->ai.ai_addr = (struct sockaddr *)(void *)&c->sa;
		c->ai.ai_addrlen = sizeof(c->sa);
		amp_inet_to_sa(c->ai.ai_family, a, c->ai.ai_addr, &c->ai.ai_addrlen);
		*q->last = &c->ai;
		q->last = &c->ai.ai_next;
		if (q->type || type == SOCK_DGRAM)
			return;
		type = SOCK_DGRAM;
	}
}

static void set_canon(struct query *q, const void *name, size_t len)
{
	if (!q->first || !(q->flags & AI_CANONNAME) || q->first->ai_canonname)
		return;
	memcpy(canon, name, len);
	canon[len] = '\0';
	canon_used = true;
	q->first->ai_canonname = canon;
}

/* ::ffff:a.b.c.d */
static void map_v4(struct amp_off_addr *a)
{
	memcpy(a->addr + 12, a->addr, 4);
	memset(a->addr, 0, 10);
	a->addr[10] = a->addr[11] = 0xff;
	a->family = AMP_OFF_INET6;
}

/* ---- numbers ---- */

/* A decimal number of at most max, and nothing else. */
static bool number(const char *s, uint32_t max, uint32_t *v)
{
	uint32_t n = 0;

	if (!*s)
		return false;
	for (; *s >= '0' && *s <= '9'; s++) {
		n = n * 10 + (uint32_t)(*s - '0');
		if (n > max)
			return false;
	}
	*v = n;
	return !*s;
}

static bool numeric6(const char *node, struct amp_off_addr *a)
{
	const char *zone = strchr(node, '%');
	char text[INET6_ADDRSTRLEN];
	size_t len = zone ? (size_t)(zone - node) : strlen(node);

	if (len >= sizeof(text) ||
	    (zone && !number(zone + 1, UINT32_MAX / 10 - 1, &a->scope_id)))
		return false;
	memcpy(text, node, len);
	text[len] = '\0';
	return amp_inet_pton(AF_INET6, text, a->addr) == 1;
}

/* 0: it was a number, and is in the list; 1: it is none; EAI_*. */
static int numeric_host(struct query *q)
{
	struct amp_off_addr a;

	memset(&a, 0, sizeof(a));
	a.port = q->port;
	if (amp_inet_pton(AF_INET, q->node, a.addr) == 1) {
		a.family = AMP_OFF_INET;
		if (q->family == AF_INET6) {
			if (!(q->flags & AI_V4MAPPED))
				return EAI_ADDRFAMILY;
			map_v4(&a);
		}
	} else if (numeric6(q->node, &a)) {
		a.family = AMP_OFF_INET6;
		if (q->family == AF_INET)
			return EAI_ADDRFAMILY;
	} else {
		return 1;
	}
	add(q, &a);
	return 0;
}

/* No node: every address of this host, or its loopback; IPv4 first. */
static void no_host(struct query *q)
{
	struct amp_off_addr a;
	bool passive = q->flags & AI_PASSIVE;

	memset(&a, 0, sizeof(a));
	a.port = q->port;
	a.family = AMP_OFF_INET;
	if (!passive) {
		a.addr[0] = 127;
		a.addr[3] = 1;
	}
	if (q->family != AF_INET6)
		add(q, &a);
	memset(a.addr, 0, 4);
	a.family = AMP_OFF_INET6;
	a.addr[15] = !passive;
	if (q->family != AF_INET)
		add(q, &a);
}

/* ---- the proxy's answers ---- */

static int eai_of(int r)
{
	static const int8_t eai[] = {EAI_AGAIN,	  EAI_FAIL,	EAI_FAMILY, EAI_NONAME,
				     EAI_SERVICE, EAI_SOCKTYPE, EAI_MEMORY};
	unsigned status = amp_inet_req_status;

	if (r == -EPROTO)
		return EAI_FAIL;
	if (r == -EIO && status >= AMP_OFF_EAI_AGAIN &&
	    status - AMP_OFF_EAI_AGAIN < sizeof(eai))
		return eai[status - AMP_OFF_EAI_AGAIN];
	return r == -EACCES ? EAI_FAIL : EAI_AGAIN;
}

/* The list that the answer holds; -EPROTO when it is none (protocol.md 5.9). */
static int take_addrs(struct query *q, const uint8_t *p, unsigned len, int family)
{
	unsigned n, cnt = p[0], canon_len = p[1];
	struct amp_off_addr a;

	if (len < 8 || len != 8 + cnt * AMP_OFF_ADDR_LEN + canon_len || cnt > AMP_OFF_ADDRS_MAX)
		return -EPROTO;
	for (n = 0, p += 8; n < cnt; n++, p += AMP_OFF_ADDR_LEN) {
		if (!amp_off_get_addr(p, &a) || !a.family ||
		    (family != AF_UNSPEC && a.family != amp_inet_wire(family)))
			return -EPROTO;
		if (!q->node_len) { /* only the service was asked for */
			q->port = a.port;
			return 0;
		}
		if (q->family == AF_INET6 && a.family == AMP_OFF_INET)
			map_v4(&a);
		add(q, &a);
	}
	if (canon_len)
		set_canon(q, p, canon_len);
	return 0;
}

/* Once and again. 0; -EAGAIN; -errno with the status where eai_of() finds it. */
static int ask(struct query *q, const struct amp_call *owner, int family)
{
	uint8_t *p, flags = 0;
	unsigned len;
	int r = amp_inet_session(&q->ticket);

	if (!r)
		r = amp_inet_req(owner, AMP_OFF_RESOLVE, &p, &len);
	if (r < 0)
		return r;
	if (r) {
		r = take_addrs(q, p, len, family);
		if (r)
			amp_inet_violation();
		return r;
	}
	if (q->flags & AI_CANONNAME)
		flags |= 2;
	if (q->flags & AI_ADDRCONFIG)
		flags |= 4;
	if (q->flags & AI_PASSIVE)
		flags |= 8;
	p[0] = family == AF_UNSPEC ? 0 : amp_inet_wire(family);
	p[1] = q->type == SOCK_STREAM ? AMP_OFF_STREAM : q->type ? AMP_OFF_DGRAM : 0;
	p[2] = flags;
	p[3] = q->node_len;
	amp_put_le16(p + 4, q->port);
	p[6] = q->service_len;
	p[7] = 0;
	if (q->node_len)
		memcpy(p + 8, q->node, q->node_len);
	if (q->service_len)
		memcpy(p + 8 + q->node_len, q->service, q->service_len);
	amp_inet_req_send(8u + q->node_len + q->service_len);
	return -EAGAIN;
}

/* Ask and wait. 0 or EAI_*. */
static int ask_wait(struct query *q, struct amp_call *c, int family)
{
	int r;

	do {
		r = ask(q, c, family);
	} while (r == -EAGAIN && amp_again(c) == 0);
	if (!r)
		return 0;
	amp_inet_req_forget(c);
	return eai_of(r);
}

static int names(struct query *q, struct amp_call *c)
{
	bool map = q->family == AF_INET6 && (q->flags & AI_V4MAPPED);
	int r = ask_wait(q, c, q->family);

	if (map && (r == EAI_NONAME || r == EAI_FAMILY || (!r && (q->flags & AI_ALL)))) {
		int r4 = ask_wait(q, c, AF_INET);

		r = q->first ? 0 : r4;
	}
	return r;
}

static int lookup(struct query *q, struct amp_call *c)
{
	uint8_t node_len = q->node_len;
	int r;

	if (q->service_len && (!node_len || (q->node && numeric_host(q) != 1))) {
		/* the host is no question: only the service is */
		list_free(q->first);
		q->first = NULL;
		q->last = &q->first;
		q->node_len = 0;
		r = ask_wait(q, c, q->family);
		q->node_len = node_len;
		if (r)
			return r;
	}
	if (!q->node) {
		no_host(q);
		return 0;
	}
	r = numeric_host(q);
	if (r != 1)
		return r;
	return q->flags & AI_NUMERICHOST ? EAI_NONAME : names(q, c);
}

static int check(struct query *q, const struct addrinfo *hints)
{
	uint32_t port = 0;
	size_t len;

	if (hints) {
		q->flags = hints->ai_flags;
		q->family = hints->ai_family;
		if (hints->ai_protocol == IPPROTO_TCP)
			q->type = SOCK_STREAM;
		else if (hints->ai_protocol == IPPROTO_UDP)
			q->type = SOCK_DGRAM;
		if (hints->ai_socktype) {
			if ((hints->ai_socktype != SOCK_STREAM &&
			     hints->ai_socktype != SOCK_DGRAM) ||
			    (q->type && q->type != hints->ai_socktype) ||
			    (hints->ai_protocol && !q->type))
				return EAI_SOCKTYPE;
			q->type = (uint8_t)hints->ai_socktype;
		} else if (hints->ai_protocol && !q->type) {
			return EAI_SOCKTYPE;
		}
	}
	if ((q->flags & ~KNOWN_FLAGS) || ((q->flags & AI_CANONNAME) && !q->node))
		return EAI_BADFLAGS;
	if (q->family != AF_UNSPEC && q->family != AF_INET && q->family != AF_INET6)
		return EAI_FAMILY;
	if (!q->node && !q->service)
		return EAI_NONAME;
	len = q->node ? strlen(q->node) : 0;
	if (len > AMP_OFF_NAME_MAX || (q->node && !len))
		return EAI_NONAME;
	q->node_len = (uint8_t)len;
	if (!q->service)
		return 0;
	if (number(q->service, UINT16_MAX, &port)) {
		q->port = (uint16_t)port;
		return 0;
	}
	len = strlen(q->service);
	if ((q->flags & AI_NUMERICSERV) || !len)
		return EAI_NONAME;
	q->service_len = (uint8_t)len;
	return len > NI_MAXSERV ? EAI_SERVICE : 0;
}

int amp_getaddrinfo(const char *restrict node, const char *restrict service,
		    const struct addrinfo *restrict hints, struct addrinfo **restrict res)
{
	struct query q = {.node = node, .service = service};
	struct amp_call c;
	int r = check(&q, hints);

	if (r)
		return r;
	q.last = &q.first;
	amp_enter_plain(&c);
	c.block = true;
	c.timeout_ms = AMPSOCK_CONNECT_MS;
	r = (q.flags & AI_CANONNAME) && canon_used ? EAI_MEMORY : lookup(&q, &c);
	if (!r && !q.first)
		r = EAI_MEMORY;
	if (r)
		list_free(q.first);
	else
		set_canon(&q, node, q.node_len);
	amp_leave(&c, 0);
	if (!r)
		*res = q.first;
	return r;
}

void amp_freeaddrinfo(struct addrinfo *res)
{
	struct amp_call c;

	amp_enter_plain(&c);
	list_free(res);
	amp_leave(&c, 0);
}

/* ---- the other way ---- */

/* Text of len bytes to where the caller wants it, with its end. */
static int give(char *to, socklen_t room, const void *text, size_t len)
{
	if (!to || !room)
		return 0;
	if (len >= room)
		return EAI_OVERFLOW;
	memcpy(to, text, len);
	to[len] = '\0';
	return 0;
}

/* v in decimal, at the end of text; returns where it begins. */
static char *decimal(char *end, uint32_t v)
{
	*--end = '\0';
	do {
		*--end = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	return end;
}

static int numeric_name(const struct amp_off_addr *a, char *host, socklen_t host_len)
{
	char text[INET6_ADDRSTRLEN + 12], zone[12], *z;
	size_t len;

	if (!amp_inet_ntop(a->family == AMP_OFF_INET ? AF_INET : AF_INET6, a->addr, text,
			   sizeof(text)))
		return EAI_FAIL;
	len = strlen(text);
	if (a->scope_id) {
		z = decimal(zone + sizeof(zone), a->scope_id);
		text[len++] = '%';
		memcpy(text + len, z, strlen(z));
		len += strlen(z);
	}
	return give(host, host_len, text, len);
}

/* Where the proxy's texts go. */
struct reverse {
	struct amp_off_addr a;
	char *host, *serv; /* NULL: not wanted, or a number will do */
	socklen_t host_len, serv_len;
	int flags;
	uint8_t ticket;
	bool host_done, serv_done;
};

static int take_names(struct reverse *v, const uint8_t *p, unsigned len)
{
	unsigned host_len = p[0], serv_len = p[1];
	int r = 0;

	if (len < 4 || len != 4 + host_len + serv_len)
		return -EPROTO;
	if (host_len && v->host) {
		v->host_done = true;
		r = give(v->host, v->host_len, p + 4, host_len);
	}
	if (serv_len && v->serv && !r) {
		v->serv_done = true;
		r = give(v->serv, v->serv_len, p + 4 + host_len, serv_len);
	}
	return r ? -EMSGSIZE : 0;
}

static int ask_name(struct reverse *v, const struct amp_call *owner)
{
	unsigned len;
	uint8_t *p;
	int r = amp_inet_session(&v->ticket);

	if (!r)
		r = amp_inet_req(owner, AMP_OFF_RNAME, &p, &len);
	if (r < 0)
		return r;
	if (r) {
		r = take_names(v, p, len);
		if (r == -EPROTO)
			amp_inet_violation();
		return r;
	}
	amp_put_le32(p, (v->flags & NI_NAMEREQD ? 1u : 0) | (v->flags & NI_DGRAM ? 2u : 0));
	amp_off_put_addr(p + 4, &v->a);
	amp_inet_req_send(4 + AMP_OFF_ADDR_LEN);
	return -EAGAIN;
}

int amp_getnameinfo(const struct sockaddr *restrict addr, socklen_t len, char *restrict host,
		    socklen_t host_len, char *restrict serv, socklen_t serv_len, int flags)
{
	struct reverse v = {.host = flags & NI_NUMERICHOST || !host_len ? NULL : host,
			    .serv = flags & NI_NUMERICSERV || !serv_len ? NULL : serv,
			    .host_len = host_len,
			    .serv_len = serv_len,
			    .flags = flags};
	struct amp_call c;
	char text[8], *t;
	int r;

	if ((addr->sa_family != AF_INET && addr->sa_family != AF_INET6) ||
	    amp_inet_from_sa(addr->sa_family, addr, len, &v.a))
		return EAI_FAMILY;
	if (!((host && host_len) || (serv && serv_len)) ||
	    (flags & NI_NAMEREQD && !v.host && host))
		return EAI_NONAME;
	if (v.host || v.serv) {
		amp_enter_plain(&c);
		c.block = true;
		c.timeout_ms = AMPSOCK_CONNECT_MS;
		do {
			r = ask_name(&v, &c);
		} while (r == -EAGAIN && amp_again(&c) == 0);
		if (r)
			amp_inet_req_forget(&c);
		amp_leave(&c, 0);
		if (r == -EMSGSIZE)
			return EAI_OVERFLOW;
		if ((flags & NI_NAMEREQD) && v.host && !v.host_done)
			return r ? eai_of(r) : EAI_NONAME;
	}
	if (!v.host_done) {
		r = numeric_name(&v.a, host, host_len);
		if (r)
			return r;
	}
	if (v.serv_done)
		return 0;
	t = decimal(text + sizeof(text), v.a.port);
	return give(serv, serv_len, t, strlen(t));
}
#endif

const char *amp_gai_strerror(int ecode)
{
	switch (ecode) {
	case 0:
		return "no error";
	case EAI_AGAIN:
		return "no answer at present, try again";
	case EAI_BADFLAGS:
		return "flags do not fit together";
	case EAI_FAIL:
		return "the name cannot be resolved";
	case EAI_FAMILY:
		return "address family not supported";
	case EAI_MEMORY:
		return "no room for the result";
	case EAI_NONAME:
		return "name or service not known";
	case EAI_SERVICE:
		return "service not known for this socket type";
	case EAI_SOCKTYPE:
		return "socket type not supported";
	case EAI_SYSTEM:
		return "system error, see errno";
	case EAI_OVERFLOW:
		return "buffer too small";
	default:
		return "unknown error";
	}
}
