// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls getsockname */
/* Addresses between the wire and the kernel. */
#include <netinet/in.h>
#include <string.h>

#include "offload_inner.h"

socklen_t amp_off_to_sa(const struct amp_off_addr *a, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	if (a->family == AMP_OFF_INET) {
		struct sockaddr_in *in = (void *)ss;

		in->sin_family = AF_INET;
		in->sin_port = htons(a->port);
		memcpy(&in->sin_addr, a->addr, 4);
		return sizeof(*in);
	}
	if (a->family == AMP_OFF_INET6) {
		struct sockaddr_in6 *in6 = (void *)ss;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(a->port);
		in6->sin6_scope_id = a->scope_id;
		memcpy(&in6->sin6_addr, a->addr, 16);
		return sizeof(*in6);
	}
	return 0;
}

void amp_off_from_sa(const struct sockaddr *sa, struct amp_off_addr *a)
{
	memset(a, 0, sizeof(*a));
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		a->family = AMP_OFF_INET;
		a->port = ntohs(in->sin_port);
		memcpy(a->addr, &in->sin_addr, 4);
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		a->family = AMP_OFF_INET6;
		a->port = ntohs(in6->sin6_port);
		a->scope_id = in6->sin6_scope_id;
		memcpy(a->addr, &in6->sin6_addr, 16);
	}
}

void amp_off_same_family(uint8_t family, struct amp_off_addr *a)
{
	if (!a->family || a->family == family)
		return;
	if (family == AMP_OFF_INET6) {
		memmove(a->addr + 12, a->addr, 4);
		memset(a->addr, 0, 10);
		a->addr[10] = a->addr[11] = 0xff;
	} else {
		memset(a->addr, 0, 16); /* no IPv4 word for it: the unspecified address */
		a->scope_id = 0;
	}
	a->family = family;
}

void amp_off_local(int fd, struct amp_off_addr *a)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(ss);

	getsockname(fd, (struct sockaddr *)&ss, &len);
	amp_off_from_sa((struct sockaddr *)&ss, a);
}
