/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names and addresses: getaddrinfo() and its relatives.
 *
 * Theory of operation: what is a number is parsed here; a name, or the name of a service,
 * goes to the proxy, whose host resolves it. Results lie in a static pool, one cell an
 * address, and are lent out until freeaddrinfo(). A canonical name takes as many cells that
 * follow one another as it needs, mostly one, before the addresses are put into others. A list
 * shorter than the truth is returned when the pool has less room than there are answers; only
 * none at all, or no room for the name, is EAI_MEMORY.
 */
#include <errno.h>
#include <string.h>
#include <netdb.h>
#include <arpa/inet.h>
#include <netinet/in.h>

#include "stack.h"
#include "inet_text.h"
#include "../wire/le.h"

#if AMPSOCK_INET
#include "../af_inet/inet.h"

#ifndef EAI_ADDRFAMILY
#define EAI_ADDRFAMILY EAI_NONAME
#endif

#ifndef NI_NUMERICSCOPE /* not in every C library */
#define NI_NUMERICSCOPE 0
#endif

#define NI_KNOWN \
	(NI_NUMERICHOST | NI_NUMERICSERV | NI_NOFQDN | NI_NAMEREQD | NI_DGRAM | NI_NUMERICSCOPE)
#define KNOWN_FLAGS                                                                           \
	(AI_PASSIVE | AI_CANONNAME | AI_NUMERICHOST | AI_NUMERICSERV | AI_V4MAPPED | AI_ALL | \
	 AI_ADDRCONFIG)
/* An address as it travels, protocol.md 2.3: family, port, scope, bytes. */
#define PORT  2
#define SCOPE 4
#define BYTES 8

/* l: under the stack lock; a cell that is lent out is the caller's to read. Aligned: 64 bytes on a
 * 32-bit core, so that nothing is divided by 60. */
union cell {
	_Alignas(16) struct {
		struct addrinfo ai; /* must be first: freeaddrinfo() gets its address */
		union {
			struct sockaddr_in in;
			struct sockaddr_in6 in6;
		} sa;
	};
	char name[sizeof(struct addrinfo) + sizeof(struct sockaddr_in6)]; /* a piece of one */
};

/* One more than addresses: for a name. */
#define CELLS (AMPSOCK_ADDRINFO + 1u)
static union cell pool[CELLS]; /* l */
static uint8_t used[CELLS];    /* l: 0: free; how many are used together, of a name's */

/* A getaddrinfo() on its way. On the caller's stack: small. */
struct query {
	/* what the proxy is asked, as it travels (protocol.md 5.8): 8 bytes */
	uint8_t asked;	  /* family, 0: any */
	uint8_t type;	  /* SOCK_*, 0: both: mostly the same there */
	uint8_t how;	  /* flags there */
	uint8_t node_len; /* 0: nothing */
	uint16_t port;
	uint8_t service_len; /* 0: nothing */
	uint8_t zero;
	/* from here on our own */
	const char *node, *service;
	struct addrinfo *first, **last;
	char *canon; /* AI_CANONNAME: in cells; NULL: there was no room */
	int family, flags;
};
#define QUERY_HEAD 8u
_Static_assert(offsetof(struct query, node_len) == 3 && offsetof(struct query, port) == 4 &&
		       offsetof(struct query, service_len) == 6,
	       "struct query as it travels");

/* ---- the pool ---- */

/* Cells that follow one another, zeroed. */
static union cell *cells_new(unsigned cnt)
{
	unsigned run = 0;

	for (unsigned i = 0; i < CELLS; i++) {
		run = used[i] ? 0 : run + 1;
		if (run < cnt)
			continue;
		i -= cnt - 1;
		memset(&used[i], (int)cnt, cnt);
		return memset(&pool[i], 0, cnt * sizeof(pool[0]));
	}
	return NULL;
}

static void cells_free(const void *first)
{
	uint8_t *cnt;

	if (!first)
		return;
	cnt = &used[(const union cell *)first - pool];
	memset(cnt, 0, *cnt);
}

static void list_free(struct addrinfo *ai)
{
	struct addrinfo *next;

	for (; ai; ai = next) {
		next = ai->ai_next;
		cells_free(ai->ai_canonname);
		cells_free(ai);
	}
}

/* ::ffff:a.b.c.d */
static void map_v4(uint8_t *a)
{
	memcpy(a + BYTES + 12, a + BYTES, 4);
	memset(a + BYTES, 0, 10);
	a[BYTES + 10] = a[BYTES + 11] = 0xff;
	a[0] = AMP_OFF_INET6;
}

/* One address, mapped if need be; both types when neither was asked for, as elsewhere. */
static void add(struct query *q, uint8_t *a)
{
	int type = q->type ? q->type : SOCK_STREAM;
	union cell *c;

	if (q->family == AF_INET6 && a[0] == AMP_OFF_INET)
		map_v4(a);
	while ((c = cells_new(1)) != NULL) {
		c->ai.ai_family = a[0] == AMP_OFF_INET ? AF_INET : AF_INET6;
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

/* In place of the one that there is; before there are addresses, or they may leave no room. */
static void set_canon(struct query *q, const void *name, size_t len)
{
	if (!(q->flags & AI_CANONNAME) || q->first)
		return;
	cells_free(q->canon);
	q->canon = (char *)cells_new((unsigned)(len / sizeof(union cell)) + 1);
	if (q->canon)
		memcpy(q->canon, name, len); /* its end is there */
}

/* ---- numbers ---- */

/* A decimal number of at most max, and nothing else. */
static bool number(const char *s, uint32_t max, uint32_t *v)
{
	const char *end = amp_inet_number(s, 10, max, v);

	return end && !*end;
}

/* Is the host a number? Of IPv4 in each form that inet_addr() takes. a, all zero before and aligned as
 * a struct in_addr, becomes it. */
static bool numeric_host(const char *node, uint8_t *a)
{
	uint32_t scope = 0;
	const char *end;

	a[0] = AMP_OFF_INET;
	if (amp_inet_aton(node, (struct in_addr *)(void *)(a + BYTES)))
		return true;
	a[0] = AMP_OFF_INET6;
	end = amp_inet_parse(AF_INET6, node, a + BYTES);
	if (!end || (*end && !number(end + 1, UINT32_MAX, &scope)))
		return false;
	amp_put_le32(a + SCOPE, scope);
	return true;
}

/* No node: every address of this host, or its loopback; IPv4 first. */
static void no_host(struct query *q, uint8_t *a)
{
	bool loop = !(q->flags & AI_PASSIVE);

	a[0] = AMP_OFF_INET;
	if (loop)
		amp_put_le32(a + BYTES, htonl(INADDR_LOOPBACK));
	if (q->family != AF_INET6)
		add(q, a);
	a[0] = AMP_OFF_INET6;
	amp_put_le32(a + BYTES, 0);
	a[BYTES + 15] = loop;
	if (q->family != AF_INET)
		add(q, a);
}

/* ---- what the proxy is asked ---- */

static unsigned fill_query(const struct query *q)
{
	uint8_t *p = amp_inet_body;

	memcpy(p, q, QUERY_HEAD);
	if (SOCK_STREAM != 1)
		p[1] = amp_inet_wire_type(q->type);
	p += QUERY_HEAD;
	if (q->node_len)
		memcpy(p, q->node, q->node_len);
	if (q->service_len)
		memcpy(p + q->node_len, q->service, q->service_len);
	return QUERY_HEAD + q->node_len + q->service_len;
}

/* As it travels (protocol.md 5.9). */
struct reverse {
	uint32_t how;
	uint8_t a[AMP_OFF_ADDR_LEN];
};

static unsigned fill_reverse(const struct reverse *v)
{
	amp_copy(amp_inet_body, v, sizeof(*v));
	return sizeof(*v);
}

/* ---- the proxy's answers ---- */

static int eai_of(int r)
{
	static const int8_t eai[] = {EAI_AGAIN,	  EAI_FAIL,	EAI_FAMILY, EAI_NONAME,
				     EAI_SERVICE, EAI_SOCKTYPE, EAI_MEMORY};
	unsigned n = amp_inet_frame[3] - (unsigned)AMP_OFF_EAI_AGAIN;

	if (r == -EIO && n < sizeof(eai))
		return eai[n];
	return r == -EACCES || r == -EPROTO ? EAI_FAIL : EAI_AGAIN;
}

/*
 * Ask for what is a struct query (AMP_OFF_RESOLVE) or a struct reverse (AMP_OFF_RNAME), and wait. 0: the
 * answer is in amp_inet_body; EAI_*. One that makes no sense: amp_inet_violation().
 */
static int ask(struct amp_call *c, unsigned op, const void *what)
{
	uint8_t ticket = 0;
	unsigned len;
	int r;

	do {
		r = amp_inet_req(c, &ticket, op);
		if (r == 0) {
			len = op == AMP_OFF_RNAME ? fill_reverse(what) : fill_query(what);
			r = amp_inet_req_send(len);
		}
	} while (amp_far_again(c, r));
	if (r == 1)
		return 0;
	amp_inet_req_forget(c);
	return eai_of(r);
}

/* ---- by name ---- */

/* The list that the answer holds (protocol.md 5.8). False: nonsense. */
static __attribute__((noinline)) bool take_list(struct query *q)
{
	uint8_t *p = amp_inet_body;
	unsigned cnt = p[0], canon_len = p[1];

	/* of a shorter one, too, what these two say is not true */
	if (amp_inet_body_len() != 8 + cnt * AMP_OFF_ADDR_LEN + canon_len ||
	    cnt > AMP_OFF_ADDRS_MAX)
		return false;
	p += 8;
	if (canon_len && q->node_len)
		set_canon(q, p + cnt * AMP_OFF_ADDR_LEN, canon_len);
	for (; cnt; cnt--, p += AMP_OFF_ADDR_LEN) {
		if (!p[0] || !amp_off_addr_ok(p) || (q->asked && p[0] != q->asked))
			return false;
		if (!q->node_len) { /* only the service was asked for */
			q->port = amp_le16(p + PORT);
			return true;
		}
		add(q, p);
	}
	return true;
}

static __attribute__((noinline)) bool numeric(const char *node)
{
	_Alignas(struct in_addr) uint8_t a[AMP_OFF_ADDR_LEN];

	return numeric_host(node, a);
}

/* The node is an address, or none. */
static __attribute__((noinline)) int no_name(struct query *q)
{
	_Alignas(struct in_addr) uint8_t a[AMP_OFF_ADDR_LEN] = {0};

	if (q->node)
		(void)numeric_host(q->node, a);
	amp_put_le16(a + PORT, q->port);
	if (!q->node)
		no_host(q, a);
	else if (a[0] == AMP_OFF_INET6 ? q->family == AF_INET
				       : q->family == AF_INET6 && !(q->flags & AI_V4MAPPED))
		return EAI_ADDRFAMILY;
	else
		add(q, a);
	return 0;
}

/* AI_V4MAPPED: addresses of IPv4 are wanted, too, or as nothing else was found. */
static bool mapped_next(const struct query *q, int r)
{
	if (q->asked != AMP_OFF_INET6 || !(q->flags & AI_V4MAPPED))
		return false;
	return r == EAI_NONAME || r == EAI_FAMILY || (!r && (q->flags & AI_ALL));
}

/* Addresses lie in its calls' frames, not below the waiting for an answer. */
static int lookup(struct query *q, struct amp_call *c)
{
	bool named = q->node && !numeric(q->node), again = false;
	int r = 0;

	if (named && (q->flags & AI_NUMERICHOST))
		return EAI_NONAME;
	if (!named)
		q->node_len = 0; /* the host is no question: only the service is */
	while (named || q->service_len) {
		r = ask(c, AMP_OFF_RESOLVE, q);
		if (!r && !take_list(q)) {
			(void)amp_inet_violation();
			r = EAI_FAIL;
		}
		if (again && q->first)
			r = 0;
		again = named && mapped_next(q, r);
		if (!again)
			break;
		q->asked = AMP_OFF_INET;
	}
	return named || r ? r : no_name(q);
}

static int check_hints(struct query *q, const struct addrinfo *hints)
{
	int proto = hints->ai_protocol, type = hints->ai_socktype, want = type;

	q->flags = hints->ai_flags;
	q->family = hints->ai_family;
	q->how =
		(uint8_t)((q->flags & AI_CANONNAME ? 2 : 0) |
			  (q->flags & AI_ADDRCONFIG ? 4 : 0) | (q->flags & AI_PASSIVE ? 8 : 0));
	if (proto)
		want = proto == IPPROTO_TCP   ? SOCK_STREAM
		       : proto == IPPROTO_UDP ? SOCK_DGRAM
					      : -1;
	if ((type && type != want) || (want && want != SOCK_STREAM && want != SOCK_DGRAM))
		return EAI_SOCKTYPE;
	q->type = (uint8_t)want;
	if (q->family) {
		if (q->family != AF_INET && q->family != AF_INET6)
			return EAI_FAMILY;
		q->asked = amp_inet_wire(q->family);
	}
	if ((q->flags & ~KNOWN_FLAGS) || ((q->flags & AI_CANONNAME) && !q->node))
		return EAI_BADFLAGS;
	return 0;
}

static int check(struct query *q)
{
	uint32_t port = 0;
	size_t len;

	if (q->node) {
		len = strlen(q->node);
		if (!len || len > AMP_OFF_NAME_MAX)
			return EAI_NONAME;
		q->node_len = (uint8_t)len;
	} else if (!q->service) {
		return EAI_NONAME;
	}
	if (q->service && !number(q->service, UINT16_MAX, &port)) {
		len = strlen(q->service);
		if ((q->flags & AI_NUMERICSERV) || !len)
			return EAI_NONAME;
		if (len > NI_MAXSERV)
			return EAI_SERVICE;
		q->service_len = (uint8_t)len;
	}
	q->port = (uint16_t)port;
	return 0;
}

int amp_getaddrinfo(const char *restrict node, const char *restrict service,
		    const struct addrinfo *restrict hints, struct addrinfo **restrict res)
{
	struct query q = {.node = node, .service = service};
	struct amp_call c;
	int r = hints ? check_hints(&q, hints) : 0;

	if (!r)
		r = check(&q);
	if (r)
		return r;
	q.last = &q.first;
	amp_enter_plain(&c);
	set_canon(&q, node, q.node_len); /* unless the answer has another */
	r = lookup(&q, &c);
	AMP_FORGET(r);
	if (!r && (!q.first || (!q.canon && (q.flags & AI_CANONNAME))))
		r = EAI_MEMORY;
	if (r) {
		cells_free(q.canon);
		list_free(q.first);
	} else {
		q.first->ai_canonname = q.canon;
		*res = q.first;
	}
	amp_leave(&c, 0);
	return r;
}

void amp_freeaddrinfo(struct addrinfo *res)
{
	amp_port_lock();
	list_free(res);
	amp_port_unlock();
}

/* ---- the other way ---- */

/* Text of len bytes to where the caller wants it, with its end. */
static __attribute__((noinline)) int give(char *to, socklen_t room, const void *text,
					  size_t len)
{
	if (len >= room)
		return EAI_OVERFLOW;
	memcpy(to, text, len);
	to[len] = '\0';
	return 0;
}

/* v in decimal behind prefix (0: none), to where the caller wants it. */
static __attribute__((noinline)) int give_number(char *to, socklen_t room, char prefix,
						 uint32_t v)
{
	char text[12], *p = text;

	*p = prefix;
	p = amp_inet_put(p + !!prefix, v, 10);
	return give(to, room, text, (size_t)(p - text));
}

/* The host's name that p has, or as the number that it is. */
static __attribute__((noinline)) int give_host(char *host, socklen_t room, const uint8_t *p,
					       const uint8_t *a)
{
	int af = a[0] == AMP_OFF_INET ? AF_INET : AF_INET6;
	size_t len;

	if (p[0])
		return give(host, room, p + 4, p[0]);
	if (!amp_inet_ntop(af, a + BYTES, host, room))
		return EAI_OVERFLOW;
	if (!amp_le32(a + SCOPE))
		return 0;
	len = strlen(host);
	return give_number(host + len, (socklen_t)(room - len), '%', amp_le32(a + SCOPE));
}

int amp_getnameinfo(const struct sockaddr *restrict addr, socklen_t len, char *restrict host,
		    socklen_t host_len, char *restrict serv, socklen_t serv_len, int flags)
{
	static const uint8_t none[2];
	const uint8_t *p = none; /* the proxy's texts */
	struct reverse v;
	socklen_t name, service; /* not 0: wanted as texts */
	struct amp_call c;
	int r = 0;

	if (flags & ~NI_KNOWN)
		return EAI_BADFLAGS;
	if ((addr->sa_family != AF_INET && addr->sa_family != AF_INET6) ||
	    amp_inet_from_sa(addr->sa_family, addr, len, v.a))
		return EAI_FAMILY;
	if (!host)
		host_len = 0;
	if (!serv)
		serv_len = 0;
	name = flags & NI_NUMERICHOST ? 0 : host_len;
	service = flags & NI_NUMERICSERV ? 0 : serv_len;
	if (!(host_len | serv_len) || (host && (flags & NI_NAMEREQD) && !name))
		return EAI_NONAME;
	v.how = (flags & NI_NAMEREQD ? 1u : 0) | (flags & NI_DGRAM ? 2u : 0);
	AMP_FORGET(flags);
	amp_enter_plain(&c);
	if (name | service) {
		r = ask(&c, AMP_OFF_RNAME, &v);
		if (!r) {
			p = amp_inet_body;
			if (amp_inet_body_len() != 4u + p[0] + p[1]) {
				(void)amp_inet_violation();
				p = none;
				r = EAI_FAIL;
			}
		}
	}
	AMP_FORGET(p); /* one copy of what follows will do */
	AMP_FORGET(r);
	if (!(flags & NI_NAMEREQD) || !host_len) /* a number will do */
		r = 0;
	else if (!r && !p[0])
		r = EAI_NONAME;
	if (!r && host_len)
		r = give_host(host, host_len, flags & NI_NUMERICHOST ? none : p, v.a);
	if (!r && serv_len)
		r = !(flags & NI_NUMERICSERV) && p[1]
			    ? give(serv, serv_len, p + 4 + p[0], p[1])
			    : give_number(serv, serv_len, 0, amp_le16(v.a + PORT));
	amp_leave(&c, 0);
	return r;
}
#endif
