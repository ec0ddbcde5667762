/* SPDX-License-Identifier: BSD-3-Clause */
/* POSIX's name for socketpair(). */
#include "../socket/amp_calls.h"

int socketpair(int domain, int type, int protocol, int sv[2])
{
	return amp_socketpair(domain, type, protocol, sv);
}
