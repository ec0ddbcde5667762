// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls setsockopt */
/*
 * Multicast groups that a guest's socket is in.
 *
 * The kernel knows them and does not tell. They are written down here for two who must end them:
 * a reload that forbids a group, and the end of a user of a published port, whose socket is the
 * rule's and stays.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "offload_inner.h"

#define GROUPS_MAX \
	256u /* of a socket; Linux has 20 of IPv4, and as many of IPv6 as it has memory */

struct amp_group {
	struct amp_group *next;
	struct amp_off_addr addr;
	uint32_t ifindex;
	uint8_t own[4]; /* IPv4: an address of the interface */
};

static int change(int fd, const struct amp_group *g, bool join)
{
	if (g->addr.family == AMP_OFF_INET6) {
		struct ipv6_mreq m = {.ipv6mr_interface = g->ifindex};

		memcpy(&m.ipv6mr_multiaddr, g->addr.addr, 16);
		return setsockopt(fd, IPPROTO_IPV6, join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP,
				  &m, sizeof(m))
			       ? errno
			       : 0;
	}
	struct ip_mreqn m = {.imr_ifindex = (int)g->ifindex};

	memcpy(&m.imr_multiaddr, g->addr.addr, 4);
	memcpy(&m.imr_address, g->own, 4);
	return setsockopt(fd, IPPROTO_IP, join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP, &m,
			  sizeof(m))
		       ? errno
		       : 0;
}

static bool same(const struct amp_group *a, const struct amp_group *b)
{
	return a->addr.family == b->addr.family &&
	       memcmp(a->addr.addr, b->addr.addr, sizeof(a->addr.addr)) == 0;
}

static void forget(struct amp_group **at)
{
	struct amp_group *g = *at;

	*at = g->next;
	free(g);
}

/* The kernel takes the interface in more than one way: which of two it left is a guess. */
static void left(struct amp_osock *s, const struct amp_group *what)
{
	struct amp_group **at, **found = NULL;

	for (at = &s->groups; *at; at = &(*at)->next) {
		if (!same(*at, what))
			continue;
		if (!found ||
		    ((*at)->ifindex == what->ifindex && memcmp((*at)->own, what->own, 4) == 0))
			found = at;
	}
	if (found)
		forget(found);
}

static int join(struct amp_osock *s, int fd, const struct amp_group *what)
{
	struct sockaddr_storage ss;
	struct amp_group *g;
	unsigned n = 0;
	int err;

	amp_off_to_sa(&what->addr, &ss);
	err = amp_policy_group(s->ses->off, (struct sockaddr *)&ss);
	if (err)
		return err;
	for (g = s->groups; g; g = g->next)
		n++;
	g = n < GROUPS_MAX ? malloc(sizeof(*g)) : NULL;
	if (!g)
		return ENOBUFS;
	*g = *what;
	err = change(fd, g, true);
	if (err) {
		free(g);
		return err;
	}
	g->next = s->groups;
	s->groups = g;
	return 0;
}

int amp_off_membership(struct amp_osock *s, int fd, unsigned opt, const uint8_t *v, size_t len)
{
	bool v6 = opt == AMP_OFF_IPV6_JOIN_GROUP || opt == AMP_OFF_IPV6_LEAVE_GROUP;
	struct amp_group what = {.next = NULL};
	int err;

	if (len != AMP_OFF_ADDR_LEN + 8 || !amp_off_get_addr(v, &what.addr) ||
	    what.addr.family != (v6 ? AMP_OFF_INET6 : AMP_OFF_INET))
		return EINVAL;
	what.ifindex = amp_le32(v + AMP_OFF_ADDR_LEN);
	memcpy(what.own, v + AMP_OFF_ADDR_LEN + 4, 4);
	if (opt == AMP_OFF_IPV6_JOIN_GROUP || opt == AMP_OFF_IP_ADD_MEMBERSHIP)
		return join(s, fd, &what);
	err = change(fd, &what, false);
	if (!err)
		left(s, &what);
	return err;
}

bool amp_off_groups_allowed(struct amp_osock *s, int fd, struct sockaddr_storage *denied)
{
	struct amp_group **at;

	for (at = &s->groups; *at; at = &(*at)->next) {
		amp_off_to_sa(&(*at)->addr, denied);
		if (amp_policy_group_find(s->ses->off, (struct sockaddr *)denied))
			continue;
		(void)change(fd, *at, false);
		forget(at);
		return false;
	}
	return true;
}

void amp_off_groups_leave(struct amp_osock *s, int fd)
{
	while (s->groups) {
		if (fd >= 0)
			(void)change(fd, s->groups, false);
		forget(&s->groups);
	}
}
