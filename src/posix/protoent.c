/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The protocols that a program could mean. POSIX's struct has no const, and forbids the
 * program to write to it: the table is read-only.
 */
#include <netdb.h>
#include <string.h>

static char *const no_alias[1];

/* clang-format off */
#define PROTO(name, number) {(char *)name, (char **)no_alias, number}
/* clang-format on */
static const struct protoent protos[] = {
	PROTO("ip", IPPROTO_IP),   PROTO("icmp", IPPROTO_ICMP), PROTO("tcp", IPPROTO_TCP),
	PROTO("udp", IPPROTO_UDP), PROTO("ipv6", IPPROTO_IPV6),
};
#define PROTOS (sizeof(protos) / sizeof(protos[0]))

/* Of getprotoent(): POSIX lets it serve one thread. */
static unsigned next_proto;

/* By name, or where that is NULL by number. */
static struct protoent *find(const char *name, int number)
{
	const struct protoent *p = protos;

	for (unsigned i = 0; i < PROTOS; i++, p++)
		if (name ? strcmp(p->p_name, name) == 0 : p->p_proto == number)
			return (struct protoent *)p;
	return NULL;
}

struct protoent *getprotobyname(const char *name)
{
	return find(name, 0);
}

struct protoent *getprotobynumber(int proto)
{
	return find(NULL, proto);
}

struct protoent *getprotoent(void)
{
	return next_proto < PROTOS ? (struct protoent *)&protos[next_proto++] : NULL;
}

void setprotoent(int stayopen)
{
	(void)stayopen;
	next_proto = 0;
}

void endprotoent(void)
{
	setprotoent(0);
}
