// SPDX-License-Identifier: BSD-3-Clause
/*
 * Preloaded under the proxy where a test plays the name server: getaddrinfo() of a name has the
 * addresses that the file $PLAYED_NAMES has behind it ("NAME ADDRESS" a line), in that order, as it
 * is at that moment, and no other name has one. Of one whose address is "again" it has no answer.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **res)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
		dlsym(RTLD_NEXT, "getaddrinfo");
	char name[256], addr[64];
	FILE *f = node ? fopen(getenv("PLAYED_NAMES"), "re") : NULL;
	struct addrinfo numeric = hints ? *hints : (struct addrinfo){0};
	struct addrinfo **end = res;
	int r = EAI_NONAME;

	if (!node)
		return real(node, service, hints, res);
	numeric.ai_flags |= AI_NUMERICHOST;
	while (f && fscanf(f, "%255s %63s", name, addr) == 2) {
		if (!strcmp(name, node) && !strcmp(addr, "again"))
			r = EAI_AGAIN;
		if (strcmp(name, node) || real(addr, service, &numeric, end))
			continue;
		r = 0;
		while (*end)
			end = &(*end)->ai_next;
	}
	if (f)
		fclose(f);
	return r;
}
