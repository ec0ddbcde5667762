// SPDX-License-Identifier: BSD-3-Clause
/*
 * libampsock-preload.so: names. With --offload they are the proxy's to resolve, whose network
 * it is that addresses are of. The answers are put together as the C library's own are, each
 * in one piece of malloc()'s: its freeaddrinfo() frees them.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "preload.h"

static struct addrinfo *one(const struct amp_run_ai *a, int flags)
{
	struct addrinfo *ai = calloc(1, sizeof(*ai) + sizeof(a->addr));

	if (!ai)
		return NULL;
	ai->ai_flags = flags;
	ai->ai_family = a->family;
	ai->ai_socktype = a->type;
	ai->ai_protocol = a->protocol;
	ai->ai_addrlen = a->addr_len < sizeof(a->addr) ? a->addr_len : sizeof(a->addr);
	ai->ai_addr = (struct sockaddr *)(ai + 1);
	memcpy(ai->ai_addr, a->addr, ai->ai_addrlen);
	return ai;
}

static int unpack(const struct amp_run_rep *rep, int flags, struct addrinfo **res)
{
	struct addrinfo *first = NULL, **last = &first;
	size_t at = 0;

	for (int i = 0; i < rep->ret && at + sizeof(struct amp_run_ai) <= rep->data_len; i++) {
		struct amp_run_ai a;

		memcpy(&a, rep->data + at, sizeof(a));
		at += sizeof(a);
		*last = one(&a, flags);
		if (!*last)
			goto no_memory;
		last = &(*last)->ai_next;
	}
	if (!first)
		return EAI_FAIL;
	if (at < rep->data_len && rep->data[rep->data_len - 1] == '\0') {
		first->ai_canonname = strdup((const char *)rep->data + at);
		if (!first->ai_canonname)
			goto no_memory;
	}
	*res = first;
	return 0;

no_memory:
	if (first)
		freeaddrinfo(first);
	return EAI_MEMORY;
}

EXPORT int getaddrinfo(const char *restrict node, const char *restrict service,
		       const struct addrinfo *restrict hints, struct addrinfo **restrict res)
{
	struct amp_run_req q = {.op = AMP_RUN_GETADDRINFO};
	struct amp_run_rep rep;
	char text[AMP_RUN_DATA_MAX];
	size_t n, s;
	int r;

	if (!preload_takes(AF_INET, SOCK_STREAM) || (hints && hints->ai_family == AF_UNIX))
		return REAL(getaddrinfo)(node, service, hints, res);
	n = node ? strlen(node) : 0;
	s = service ? strlen(service) : 0;
	if (n + s + 2 > sizeof(text))
		return EAI_NONAME;
	memcpy(text, node ? node : "", n + 1);
	memcpy(text + n + 1, service ? service : "", s + 1);
	if (hints) {
		q.a[0] = hints->ai_flags;
		q.a[1] = hints->ai_family;
		q.a[2] = hints->ai_socktype;
		q.a[3] = hints->ai_protocol;
	}
	r = preload_ask(&q, text, n + s + 2, &rep, NULL);
	if (r < 0) {
		errno = -r;
		return EAI_SYSTEM;
	}
	return rep.val ? rep.val : unpack(&rep, q.a[0], res);
}
