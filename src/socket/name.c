// SPDX-License-Identifier: BSD-3-Clause
/* getsockname() and getpeername(). */
#include <errno.h>
#include <string.h>

#include "stack.h"

#define AMP_NEED name
#include "need.h"

static int name_of(struct amp_sock *s, bool peer, struct sockaddr *addr, socklen_t *len)
{
	static const sa_family_t af = AF_UNIX;

	if (!addr || !len)
		return -EINVAL;
	if (s->domain != AF_UNIX)
		return s->fam->name(s, peer, addr, len);
	/* socketpair(): no name */
	memcpy(addr, &af, *len < sizeof(af) ? *len : sizeof(af));
	*len = sizeof(af);
	return 0;
}

static int get_name(int fd, bool peer, struct sockaddr *addr, socklen_t *len)
{
	struct amp_call c;
	int r = amp_enter(&c, fd, false);

	if (!r)
		r = name_of(c.s, peer, addr, len);
	return (int)amp_leave(&c, r);
}

int amp_getsockname(int fd, struct sockaddr *restrict addr, socklen_t *restrict len)
{
	return get_name(fd, false, addr, len);
}

int amp_getpeername(int fd, struct sockaddr *restrict addr, socklen_t *restrict len)
{
	return get_name(fd, true, addr, len);
}
