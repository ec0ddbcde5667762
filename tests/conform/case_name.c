/* SPDX-License-Identifier: BSD-3-Clause */
/* getaddrinfo(), getnameinfo(): flags and errors. */
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

#include "conform.h"

static struct addrinfo hints_of(const struct ct *t, int flags)
{
	struct addrinfo h;

	memset(&h, 0, sizeof(h));
	h.ai_family = t->tr->family;
	h.ai_socktype = t->tr->type;
	h.ai_flags = flags;
	return h;
}

/* What getaddrinfo() returns; a list is given back. */
static int ask(struct ct *t, const char *node, const char *service, int flags)
{
	struct addrinfo h = hints_of(t, flags), *res = NULL;
	int r = getaddrinfo(node, service, &h, &res);

	if (r == 0) {
		CT_TRUE(res != NULL);
		freeaddrinfo(res);
	}
	return r;
}

static const char *loopback(const struct ct *t)
{
	return t->tr->family == AF_INET ? "127.0.0.1" : "::1";
}

/* Port and whether it is the loopback (1), any (0) or another (-1). */
static unsigned port_of(const struct sockaddr *sa)
{
	return sa->sa_family == AF_INET
		       ? ntohs(((const struct sockaddr_in *)(const void *)sa)->sin_port)
		       : ntohs(((const struct sockaddr_in6 *)(const void *)sa)->sin6_port);
}

static int which(const struct sockaddr *sa)
{
	static const unsigned char any[16], one[16] = {[15] = 1};
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;

	if (sa->sa_family == AF_INET)
		return in->sin_addr.s_addr == htonl(INADDR_LOOPBACK) ? 1
		       : in->sin_addr.s_addr == 0		     ? 0
								     : -1;
	return memcmp(&in6->sin6_addr, one, 16) == 0   ? 1
	       : memcmp(&in6->sin6_addr, any, 16) == 0 ? 0
						       : -1;
}

static void numeric(struct ct *t)
{
	struct addrinfo h = hints_of(t, AI_NUMERICHOST | AI_NUMERICSERV), *res;

	CT_EQ(getaddrinfo(loopback(t), "8080", &h, &res), 0);
	CT_EQ(res->ai_family, t->tr->family);
	CT_EQ(res->ai_socktype, t->tr->type);
	CT_EQ(res->ai_protocol, t->tr->kind == CT_STREAM ? IPPROTO_TCP : IPPROTO_UDP);
	CT_EQ(res->ai_addrlen, t->tr->family == AF_INET ? sizeof(struct sockaddr_in)
							: sizeof(struct sockaddr_in6));
	CT_EQ(res->ai_addr->sa_family, t->tr->family);
	CT_EQ(port_of(res->ai_addr), 8080);
	CT_EQ(which(res->ai_addr), 1);
	CT_TRUE(res->ai_next == NULL);
	CT_TRUE(res->ai_canonname == NULL);
	freeaddrinfo(res);
}

static void passive(struct ct *t)
{
	struct addrinfo h = hints_of(t, AI_PASSIVE | AI_NUMERICSERV), *res;

	CT_EQ(getaddrinfo(NULL, "99", &h, &res), 0);
	CT_EQ(which(res->ai_addr), 0);
	CT_EQ(port_of(res->ai_addr), 99);
	freeaddrinfo(res);
	h.ai_flags = AI_NUMERICSERV;
	CT_EQ(getaddrinfo(NULL, "99", &h, &res), 0);
	CT_EQ(which(res->ai_addr), 1);
	freeaddrinfo(res);
	/* with a node the flag means nothing */
	h.ai_flags = AI_PASSIVE;
	CT_EQ(getaddrinfo(loopback(t), NULL, &h, &res), 0);
	CT_EQ(which(res->ai_addr), 1);
	CT_EQ(port_of(res->ai_addr), 0);
	freeaddrinfo(res);
}

static void errors(struct ct *t)
{
	struct addrinfo h = hints_of(t, 0), *res;

	CT_EQ(ask(t, NULL, NULL, 0), EAI_NONAME);
	CT_EQ(ask(t, "not.a.number", "80", AI_NUMERICHOST), EAI_NONAME);
	CT_EQ(ask(t, "1.2.3.4.5", "80", AI_NUMERICHOST), EAI_NONAME);
	CT_EQ(ask(t, "::1::", "80", AI_NUMERICHOST), EAI_NONAME);
	CT_EQ(ask(t, loopback(t), "http", AI_NUMERICSERV), EAI_NONAME);
	CT_EQ(ask(t, loopback(t), "80", 0x8000000), EAI_BADFLAGS);
	CT_EQ(ask(t, NULL, "80", AI_CANONNAME), EAI_BADFLAGS);
	h.ai_family = 77;
	CT_EQ(getaddrinfo(loopback(t), "80", &h, &res), EAI_FAMILY);
	h.ai_family = t->tr->family;
	h.ai_socktype = 77;
	CT_EQ(getaddrinfo(loopback(t), "80", &h, &res), EAI_SOCKTYPE);
}

/* An address of the other family. glibc has a code of its own for it, which POSIX has not. */
static void other_family(struct ct *t)
{
	const char *other = t->tr->family == AF_INET ? "::1" : "127.0.0.1";
	int r = ask(t, other, "80", AI_NUMERICHOST);

	CT_TRUE(r == EAI_NONAME || r == -9 /* EAI_ADDRFAMILY */);
}

static void canonical(struct ct *t)
{
	struct addrinfo h = hints_of(t, AI_CANONNAME | AI_NUMERICHOST), *res;

	CT_EQ(getaddrinfo(loopback(t), "80", &h, &res), 0);
	CT_TRUE(res->ai_canonname != NULL);
	CT_EQ(strcmp(res->ai_canonname, loopback(t)), 0);
	freeaddrinfo(res);
}

/* No hints: an entry for each type. */
static void no_hints(struct ct *t)
{
	struct addrinfo *res, *a;
	unsigned types = 0;

	CT_EQ(getaddrinfo(loopback(t), "80", NULL, &res), 0);
	for (a = res; a; a = a->ai_next) {
		CT_EQ(a->ai_family, t->tr->family);
		CT_EQ(port_of(a->ai_addr), 80);
		types |= 1u << a->ai_socktype;
	}
	freeaddrinfo(res);
	CT_EQ(types & (1u << SOCK_STREAM), 1u << SOCK_STREAM);
	CT_EQ(types & (1u << SOCK_DGRAM), 1u << SOCK_DGRAM);
}

static void protocols(struct ct *t)
{
	struct addrinfo h = hints_of(t, 0), *res;

	h.ai_socktype = 0;
	h.ai_protocol = t->tr->kind == CT_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
	CT_EQ(getaddrinfo(loopback(t), "80", &h, &res), 0);
	CT_EQ(res->ai_socktype, t->tr->type);
	CT_TRUE(res->ai_next == NULL);
	freeaddrinfo(res);
	/* a type and a protocol that do not go together */
	h.ai_socktype = t->tr->kind == CT_STREAM ? SOCK_DGRAM : SOCK_STREAM;
	CT_EQ(getaddrinfo(loopback(t), "80", &h, &res), EAI_SOCKTYPE);
}

static void ports(struct ct *t)
{
	CT_EQ(ask(t, loopback(t), "0", AI_NUMERICSERV), 0);
	CT_EQ(ask(t, loopback(t), "65535", AI_NUMERICSERV), 0);
	CT_EQ(ask(t, loopback(t), "80x", AI_NUMERICSERV), EAI_NONAME);
}

/* What inet_addr() takes is a number here, too: fewer parts, octal, hexadecimal. */
static void forms(struct ct *t)
{
	static const char *const good[] = {"127.1",	  "127.0.1",	"0x7f.1",
					   "0177.0.0.01", "2130706433", "0X7f000001"};
	static const char *const none[] = {"127.0.0.256", "127.0.0.1.", "0x",
					   "08.1",	  "127..1",	"127.1 ",
					   "127.1%1",	  "4294967296"};
	struct addrinfo h = hints_of(t, AI_NUMERICHOST | AI_CANONNAME), *res;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		CT_EQ(getaddrinfo(good[i], "80", &h, &res), 0);
		CT_EQ(res->ai_family, AF_INET);
		CT_EQ(which(res->ai_addr), 1);
		CT_EQ(strcmp(res->ai_canonname, good[i]), 0);
		freeaddrinfo(res);
	}
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		CT_EQ(getaddrinfo(none[i], "80", &h, &res), EAI_NONAME);
}

static void localhost(struct ct *t)
{
	struct addrinfo h = hints_of(t, 0), *res, *a;
	int r = getaddrinfo("localhost", "80", &h, &res);

	/* a host may have it for one family only */
	if (t->tr->family == AF_INET6 && r != 0)
		return;
	CT_EQ(r, 0);
	for (a = res; a; a = a->ai_next) {
		CT_EQ(a->ai_family, t->tr->family);
		CT_EQ(port_of(a->ai_addr), 80);
	}
	freeaddrinfo(res);
}

/* A service by name, which the host knows; and one that it does not. */
static void services(struct ct *t)
{
	struct addrinfo h = hints_of(t, AI_NUMERICHOST), *res;

	CT_EQ(getaddrinfo(loopback(t), "domain", &h, &res), 0);
	CT_EQ(port_of(res->ai_addr), 53);
	freeaddrinfo(res);
	CT_EQ(ask(t, loopback(t), "no-such-service", 0), EAI_SERVICE);
}

static void unknown(struct ct *t)
{
	int r = ask(t, "no-such-host.invalid", "80", 0);

	/* EAI_AGAIN: a host without resolver */
	CT_TRUE(r == EAI_NONAME || r == EAI_AGAIN || r == -5 /* EAI_NODATA */);
	CT_TRUE(gai_strerror(r)[0] != '\0');
	CT_TRUE(gai_strerror(12345)[0] != '\0');
	CT_EQ(strcmp(gai_strerror(EAI_NONAME), gai_strerror(EAI_MEMORY)) == 0, 0);
}

/* ---- getnameinfo ---- */

static void local(struct ct *t, unsigned port, struct ct_addr *a)
{
	ct_addr_free(t, a);
	if (t->tr->family == AF_INET)
		((struct sockaddr_in *)&a->ss)->sin_port = htons((uint16_t)port);
	else
		((struct sockaddr_in6 *)&a->ss)->sin6_port = htons((uint16_t)port);
}

static void nameinfo(struct ct *t)
{
	struct ct_addr a;
	const struct sockaddr *sa = (struct sockaddr *)&a.ss;
	int f = NI_NUMERICHOST | NI_NUMERICSERV;
	char host[64], serv[16];

	local(t, 8080, &a);
	CT_EQ(getnameinfo(sa, a.len, host, sizeof(host), serv, sizeof(serv), f), 0);
	CT_EQ(strcmp(host, loopback(t)), 0);
	CT_EQ(strcmp(serv, "8080"), 0);
	CT_EQ(getnameinfo(sa, a.len, NULL, 0, serv, sizeof(serv), f), 0);
	CT_EQ(getnameinfo(sa, a.len, host, sizeof(host), NULL, 0, f), 0);
	CT_EQ(getnameinfo(sa, a.len, host, 3, NULL, 0, f), EAI_OVERFLOW);
	CT_EQ(getnameinfo(sa, a.len, NULL, 0, serv, 2, f), EAI_OVERFLOW);
	CT_EQ(getnameinfo(sa, 4, host, sizeof(host), NULL, 0, f), EAI_FAMILY);
	CT_EQ(getnameinfo(sa, a.len, host, sizeof(host), NULL, 0, f | 0x40000000),
	      EAI_BADFLAGS);
	a.ss.ss_family = 77;
	CT_EQ(getnameinfo(sa, a.len, host, sizeof(host), NULL, 0, f), EAI_FAMILY);
}

/* An IPv4 address for an AF_INET6 socket, if it asks for it. */
static void mapped(struct ct *t)
{
	static const unsigned char want[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
	struct addrinfo h = hints_of(t, AI_V4MAPPED | AI_NUMERICSERV), *res;
	const struct sockaddr_in6 *in6;

	CT_EQ(getaddrinfo("127.0.0.1", "80", &h, &res), 0);
	CT_EQ(res->ai_family, t->tr->family);
	CT_TRUE(res->ai_next == NULL);
	CT_EQ(port_of(res->ai_addr), 80);
	if (t->tr->family == AF_INET) { /* there it means nothing */
		CT_EQ(which(res->ai_addr), 1);
	} else {
		in6 = (const struct sockaddr_in6 *)(const void *)res->ai_addr;
		CT_EQ(res->ai_addrlen, sizeof(*in6));
		CT_EQ(memcmp(&in6->sin6_addr, want, 16), 0);
	}
	freeaddrinfo(res);
	h.ai_flags |= AI_ALL; /* what is of the family comes as it is */
	CT_EQ(getaddrinfo(loopback(t), "80", &h, &res), 0);
	CT_EQ(which(res->ai_addr), 1);
	CT_TRUE(res->ai_next == NULL);
	freeaddrinfo(res);
}

/* Name and back: what getaddrinfo() gives can be connected to. */
static void usable_a(struct ct *t)
{
	struct ct_addr a;
	char serv[8];
	int lfd = ct_bound(t, 0, &a), fd;
	char c;

	CT_OK(listen(lfd, 1));
	CT_EQ(getnameinfo((struct sockaddr *)&a.ss, a.len, NULL, 0, serv, sizeof(serv),
			  NI_NUMERICSERV),
	      0);
	ct_tell(t, serv);
	fd = ct_accept(t, lfd);
	CT_EQ(recv(fd, &c, 1, 0), 1);
	ct_tell(t, "done");
}

static void usable_b(struct ct *t)
{
	struct addrinfo h = hints_of(t, AI_NUMERICHOST), *res;
	char port[8] = "";
	int fd = ct_socket(t, 0);

	ct_hear(t, port, sizeof(port));
	CT_EQ(getaddrinfo(loopback(t), port, &h, &res), 0);
	CT_OK(connect(fd, res->ai_addr, res->ai_addrlen));
	freeaddrinfo(res);
	CT_EQ(send(fd, "x", 1, 0), 1);
	ct_wait(t, "done");
}

const struct ct_case ct_name_cases[] = {
	{"name.numeric", "AI_NUMERICHOST, AI_NUMERICSERV: one entry, all fields", CT_ALL,
	 CT_INET, 0, numeric, ct_nothing},
	{"name.passive", "no node: any with AI_PASSIVE, else the loopback", CT_ALL, CT_INET, 0,
	 passive, ct_nothing},
	{"name.errors", "EAI_NONAME, EAI_BADFLAGS, EAI_FAMILY, EAI_SOCKTYPE", CT_ALL, CT_INET,
	 0, errors, ct_nothing},
	{"name.other-family", "an address of the other family", CT_ALL, CT_INET, 0,
	 other_family, ct_nothing},
	{"name.mapped", "AI_V4MAPPED, AI_ALL: IPv4 addresses for AF_INET6", CT_ALL, CT_INET, 0,
	 mapped, ct_nothing},
	{"name.canonical", "AI_CANONNAME of a number is the number", CT_ALL, CT_INET, 0,
	 canonical, ct_nothing},
	{"name.no-hints", "without hints: streams and datagrams", CT_ALL, CT_INET, 0, no_hints,
	 ct_nothing},
	{"name.protocols", "by protocol; and one that does not fit", CT_ALL, CT_INET, 0,
	 protocols, ct_nothing},
	{"name.ports", "ports from 0 to 65535, and what is none", CT_ALL, CT_INET, 0, ports,
	 ct_nothing},
	{"name.forms", "other forms of IPv4 addresses: 127.1, octal, hexadecimal", CT_ALL,
	 CT_INET | CT_V4, 0, forms, ct_nothing},
	{"name.localhost", "a name that every host has", CT_ALL, CT_INET, 0, localhost,
	 ct_nothing},
	{"name.services", "a service by name; EAI_SERVICE", CT_ALL, CT_INET, 0, services,
	 ct_nothing},
	{"name.unknown", "a name that nobody has; gai_strerror()", CT_ALL, CT_INET, 0, unknown,
	 ct_nothing},
	{"name.info", "getnameinfo(): numbers, EAI_OVERFLOW, EAI_FAMILY, EAI_BADFLAGS", CT_ALL,
	 CT_INET, 0, nameinfo, ct_nothing},
	{"name.usable", "what it gives can be connected to", CT_STREAM, CT_INET, 0, usable_a,
	 usable_b},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
