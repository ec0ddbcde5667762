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

struct protoent *getprotobyname(const char *name)
{
	for (unsigned i = 0; i < PROTOS; i++)
		if (strcmp(protos[i].p_name, name) == 0)
			return (struct protoent *)&protos[i];
	return NULL;
}

struct protoent *getprotobynumber(int proto)
{
	for (unsigned i = 0; i < PROTOS; i++)
		if (protos[i].p_proto == proto)
			return (struct protoent *)&protos[i];
	return NULL;
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
	next_proto = 0;
}
