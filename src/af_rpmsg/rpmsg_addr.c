// SPDX-License-Identifier: BSD-3-Clause
/* Addresses of AF_RPMSG: as the caller gives them, checked, and whose they are. */
#include <errno.h>
#include <string.h>
#include <sys/rpmsg_socket.h>

#include "../wire/le.h"
#include "af_rpmsg.h"

#if AMPSOCK_RPMSG

/* families.def has the number, because it is read where no header knows the name. */
_Static_assert(AF_RPMSG == 65, "families.def");
_Static_assert(RPMSG_NAME_LEN == AMP_RPMSG_NAME_LEN && RPMSG_ADDR_ANY == AMP_RPMSG_ADDR_ANY,
	       "sys/rpmsg_socket.h and wire/rpmsg_hdr.h");
_Static_assert(
	sizeof(struct sockaddr_rpmsg) == sizeof(struct amp_raddr) &&
		offsetof(struct sockaddr_rpmsg, rp_link) == offsetof(struct amp_raddr, link) &&
		offsetof(struct sockaddr_rpmsg, rp_addr) == offsetof(struct amp_raddr, addr) &&
		offsetof(struct sockaddr_rpmsg, rp_name) == offsetof(struct amp_raddr, name),
	"struct amp_raddr");

#define SUFFIX_LEN (sizeof(AMP_RSTREAM_SUFFIX) - 1)
_Static_assert(SUFFIX_LEN == 2, "amp_raddr_get()");

int amp_raddr_get(const struct amp_sock *s, const struct sockaddr *addr, socklen_t len,
		  struct amp_raddr *to)
{
	size_t max = s->type == SOCK_STREAM ? RPMSG_NAME_LEN - SUFFIX_LEN : RPMSG_NAME_LEN;
	char *end;

	if (!addr || len < sizeof(*to))
		return -EINVAL;
	if (addr->sa_family != AF_RPMSG)
		return -EAFNOSUPPORT;
	amp_copy(to, addr, sizeof(*to)); /* the caller's may lie anywhere */
	end = memchr(to->name, '\0', max);
	if (!end)
		return -ENAMETOOLONG;
	/* The suffix of streams is ours, the front door's name only a carrier's: nobody but this
	 * library makes a socket without descriptor. */
	if ((end >= to->name + SUFFIX_LEN &&
	     amp_le16(end - SUFFIX_LEN) == amp_le16(AMP_RSTREAM_SUFFIX)) ||
	    (!(AMPSOCK_INET && (s->flags & AMP_SF_ORPHAN)) &&
	     strcmp(to->name, AMP_RSTREAM_DOOR) == 0))
		return -EINVAL;
	if ((uint16_t)(to->link + 1u) > AMPSOCK_RPMSG) /* RPMSG_LINK_ANY is 0xffff */
		return -ENODEV;
	if (to->name[0] && s->type == SOCK_STREAM) {
		amp_put_le16(end, amp_le16(AMP_RSTREAM_SUFFIX));
		end[SUFFIX_LEN] = '\0';
	}
	if (to->addr == RPMSG_ADDR_ANY)
		to->addr = 0;
	return 0;
}

/* The newest announcement of name on l, which has none while it is down; NULL: none. */
static inline const struct amp_rpmsg_ns *name_find(const struct amp_rlink *l, const char *name)
{
	for (unsigned i = 0; i < AMPSOCK_RPMSG_NAMES; i++) {
		if (strcmp(l->names[i].name, name) == 0)
			return &l->names[i];
	}
	return NULL;
}

int amp_raddr_find(unsigned on, const char *name, uint32_t *addr)
{
	const struct amp_rpmsg_ns *n;
	int r = -ENETUNREACH;

	for (unsigned i = 0; i < AMPSOCK_RPMSG; i++) {
		struct amp_rlink *l = &amp_rlinks[i];

		if (!amp_rlink_meant(on, i) || !amp_rlink_exists(i))
			continue;
		if (!*name) {
			if (amp_rlink_is_up(l))
				return (int)i;
			continue;
		}
		n = name_find(l, name);
		if (n) {
			*addr = n->addr;
			return (int)i;
		}
		r = -EAGAIN; /* it may yet come, also when the peer is late */
	}
	return r;
}

#endif /* AMPSOCK_RPMSG */
