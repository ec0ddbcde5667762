// SPDX-License-Identifier: BSD-3-Clause
/* What getaddrinfo() and getnameinfo() say, in words. */
#include <stddef.h>
#include <stdint.h>
#include <netdb.h>

#include "amp_calls.h"

/* A byte says where each begins: no table of pointers. */
#define TEXTS(X)                                   \
	X(0, none, "no error")                     \
	X(EAI_AGAIN, again, "try again")           \
	X(EAI_BADFLAGS, flags, "wrong flags")      \
	X(EAI_FAIL, fail, "lookup failed")         \
	X(EAI_FAMILY, family, "wrong family")      \
	X(EAI_MEMORY, memory, "out of memory")     \
	X(EAI_NONAME, noname, "unknown name")      \
	X(EAI_SERVICE, service, "unknown service") \
	X(EAI_SOCKTYPE, type, "wrong type")        \
	X(EAI_SYSTEM, sys, "system error")         \
	X(EAI_OVERFLOW, overflow, "no room")

#define ROOM(code, name, text)	char name[sizeof(text)];
#define VALUE(code, name, text) .name = text,
static const struct texts {
	char unknown[sizeof("unknown error")];
	TEXTS(ROOM)
} texts = {.unknown = "unknown error", TEXTS(VALUE)};
_Static_assert(sizeof(texts) <= UINT8_MAX, "where a text begins");

const char *amp_gai_strerror(int ecode)
{
	uint8_t at = offsetof(struct texts, unknown);

#define WHERE(code, name, text)                    \
	case code:                                 \
		at = offsetof(struct texts, name); \
		break;
	switch (ecode) {
		TEXTS(WHERE)
	default:
		break;
	}
	return (const char *)&texts + at;
}
