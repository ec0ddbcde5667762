// SPDX-License-Identifier: BSD-3-Clause
/* The options of AF_RPMSG alone: those of AF_VSOCK. */
#include "af_rpmsg.h"

#if AMPSOCK_RPMSG

int amp_rpmsg_option(struct amp_sock *s, bool set, int level, int name, void *val,
		     socklen_t *len)
{
	return amp_vsock_option(s, set, level, name, val, len);
}

#endif /* AMPSOCK_RPMSG */
