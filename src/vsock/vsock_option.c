// SPDX-License-Identifier: BSD-3-Clause
/* The options of AF_VSOCK alone. */
#include <errno.h>
#include <string.h>

#include "af_vsock.h"

int amp_vsock_option(struct amp_sock *s, bool set, int level, int name, void *val,
		     socklen_t *len)
{
	int v = 0;

	if (level != SOL_SOCKET || (name != SO_REUSEADDR && (set || name != SO_PROTOCOL)))
		return -ENOPROTOOPT;
	if (*len < sizeof(v))
		return -EINVAL;
	if (set) {
		memcpy(&v, val, sizeof(v));
		s->flags &= (uint16_t)~AMP_SF_REUSEADDR;
		if (v)
			s->flags |= AMP_SF_REUSEADDR;
		return 0;
	}
	if (name == SO_REUSEADDR)
		v = (s->flags & AMP_SF_REUSEADDR) != 0;
	memcpy(val, &v, sizeof(v));
	*len = sizeof(v);
	return 0;
}
