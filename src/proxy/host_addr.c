// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls socket.netlink bind getsockname sendto recvmsg recvfrom close getpid
 * #syscalls:helper socket bind getsockname sendto recvmsg recvfrom close getpid
 */
/*
 * The addresses of this host's interfaces.
 *
 * Theory of operation: the kernel says on a netlink socket that an address has come or gone. Nobody
 * waits for that, so that a proxy with nothing to do is not woken: before the list is used the
 * socket is looked at, at most once a millisecond, and only if it had something the list is read
 * anew. What overran the socket meanwhile is something, too (ENOBUFS). Where there is no such
 * socket the list is read anew when it is older than AGE_MS.
 *
 * An address that no interface has can be this host's for all that: all of a net that loopback has
 * one of, and routes of type local, which clouds make for what a load balancer forwards. So the
 * kernel is asked where it would deliver what the list does not have. What it said is kept, in a
 * table that forgets all when the socket says that anything of addresses, routes, routing rules or
 * interfaces has changed, and each after AGE_MS. So it can be out of date by as long as the list
 * can: a millisecond. A guest that asks for many addresses pushes out others' answers, which costs
 * two calls each.
 *
 * Worker and helper have sockets each: one that came by fork() is its parent's.
 */
#include <errno.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "rule_text.h"

#define AGE_MS 5000u
#define READS  64u /* at one look; what is left is something at the next */
#define ROUTES 64u /* answers that are kept; a power of two */

/*
 * In plain form, as many as there are: one left out would be reached by a rule that means
 * others. Not those that are local wherever they are (amp_prefix_is_local()): a host of many
 * bridges and containers has a link-local one for each.
 */
static struct {
	uint8_t (*addr)[16];
	unsigned cnt;
	int news;   /* the netlink socket; 0: none */
	int routes; /* another, to ask on; 0: none */
	struct route {
		uint8_t addr[16];
		uint64_t until_ms; /* 0: nothing is kept here */
		bool here;
	} kept[ROUTES];
	pid_t owner; /* of them */
	uint64_t looked_ms, read_ms;
	bool stale, known;
	bool lost; /* the kernel had no room for news, and has none until all of it was read */
	bool fixed;
	struct amp_log_rate log;
} host;

/* One more at to, if it is one to be kept. How many. */
static unsigned take_addr(const struct sockaddr *sa, uint8_t to[16])
{
	if (!sa || (sa->sa_family != AF_INET && sa->sa_family != AF_INET6))
		return 0;
	memset(to, 0, 16);
	if (sa->sa_family == AF_INET6) {
		memcpy(to, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
		amp_addr_plain(to);
	} else {
		to[10] = to[11] = 0xff;
		memcpy(to + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
	}
	return !amp_prefix_is_local(to, 128);
}

static bool set_addrs(const struct ifaddrs *list)
{
	const struct ifaddrs *i;
	uint8_t(*addr)[16];
	unsigned most = 0, cnt = 0;

	for (i = list; i; i = i->ifa_next)
		most += 2;
	addr = calloc(most + 1, sizeof(*addr));
	if (!addr)
		return false;
	for (i = list; i; i = i->ifa_next) {
		cnt += take_addr(i->ifa_addr, addr[cnt]);
		/* a subnet's broadcast address reaches this host too */
		if (i->ifa_addr && (i->ifa_flags & IFF_BROADCAST))
			cnt += take_addr(i->ifa_broadaddr, addr[cnt]);
	}
	free(host.addr);
	host.addr = addr;
	host.cnt = cnt;
	return true;
}

/* What cannot be read now (descriptors are out) is as it was before, and is tried again. */
static void read_addrs(uint64_t now)
{
	struct ifaddrs *list;

	if (getifaddrs(&list) == 0) {
		if (set_addrs(list)) {
			host.known = true;
			host.stale = false;
			host.read_ms = now;
		}
		freeifaddrs(list);
	}
	if (!host.known)
		amp_log_some(&host.log, AMP_LOG_ERROR,
			     "the addresses of this host cannot be read: every address counts "
			     "as one of them");
}

/* Changes from now on are told: what was read before may be old. */
static bool open_news(void)
{
	const struct sockaddr_nl groups = {.nl_family = AF_NETLINK,
					   .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR |
							RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
							RTMGRP_IPV6_ROUTE | RTMGRP_IPV4_RULE |
							1u << (RTNLGRP_IPV6_RULE - 1)};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (host.owner != getpid())
		host.routes = 0;
	host.owner = getpid();
	host.news = 0;
	host.lost = false;
	memset(host.kept, 0, sizeof(host.kept));
	if (fd < 0)
		return false;
	if (fd == 0 || bind(fd, (const struct sockaddr *)&groups, sizeof(groups))) {
		close(fd);
		return false;
	}
	host.news = fd;
	host.stale = true;
	return true;
}

/* To ask on. False: descriptors are out. */
static bool open_routes(void)
{
	int fd;

	if (host.routes)
		return true;
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
	host.routes = fd > 0 ? fd : 0;
	return host.routes;
}

/*
 * Does what goes there arrive here? The kernel answers within send(). False also if there is no way
 * there: then *known is false; and true if it cannot be asked, when nobody knows that it does not.
 */
static bool ask_route(const uint8_t addr[16], bool *known)
{
	static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};
	static uint32_t seq;
	bool v4 = memcmp(addr, v4_mapped, sizeof(v4_mapped)) == 0;
	uint8_t len = v4 ? 4 : 16;
	struct {
		struct nlmsghdr head;
		struct rtmsg route;
		struct rtattr to;
		uint8_t addr[16];
	} ask = {
		.head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtmsg)) + RTA_LENGTH(len),
			 .nlmsg_type = RTM_GETROUTE,
			 .nlmsg_flags = NLM_F_REQUEST,
			 .nlmsg_seq = ++seq},
		.route = {.rtm_family = v4 ? AF_INET : AF_INET6,
			  .rtm_dst_len = (uint8_t)(len * 8u)},
		.to = {.rta_len = RTA_LENGTH(len), .rta_type = RTA_DST},
	};
	struct {
		struct nlmsghdr head;
		struct rtmsg route;
		uint8_t rest[1024]; /* attributes, which are not looked at */
	} answer;
	ssize_t n;

	*known = false;
	if (!open_routes())
		return true;
	memcpy(ask.addr, addr + (16 - len), len);
	if (send(host.routes, &ask, ask.head.nlmsg_len, MSG_DONTWAIT) < 0)
		return true;
	do
		n = recv(host.routes, &answer, sizeof(answer), MSG_DONTWAIT);
	while (n >= (ssize_t)sizeof(answer.head) && answer.head.nlmsg_seq != seq);
	if (n < 0)
		return true;
	if (n < (ssize_t)(sizeof(answer.head) + sizeof(answer.route)) ||
	    answer.head.nlmsg_type != RTM_NEWROUTE)
		return false; /* no way there */
	*known = true;
	return answer.route.rtm_type == RTN_LOCAL || answer.route.rtm_type == RTN_BROADCAST ||
	       answer.route.rtm_type == RTN_ANYCAST;
}

/* The same, asked once. Which place an address has, a guest may know: it gains nothing by it. */
static bool routed_here(const uint8_t addr[16], uint64_t now)
{
	unsigned at = 0;
	struct route *r;
	bool known;

	for (unsigned i = 0; i < 16; i++)
		at = at * 31u + addr[i];
	r = &host.kept[(at ^ at >> 8) % ROUTES];
	if (r->until_ms > now && memcmp(r->addr, addr, 16) == 0)
		return r->here;
	r->here = ask_route(addr, &known);
	memcpy(r->addr, addr, 16);
	r->until_ms = known && host.news ? now + AGE_MS : 0;
	return r->here;
}

/* Is any of the messages about an address? What cannot be told is. len: what recv() said. */
static bool about_addrs(const void *message, size_t len)
{
	const struct nlmsghdr *m = message;

	for (; NLMSG_OK(m, len); m = NLMSG_NEXT(m, len)) {
		if (m->nlmsg_type == RTM_NEWADDR || m->nlmsg_type == RTM_DELADDR)
			return true;
	}
	return len > 0;
}

static void look(uint64_t now)
{
	/* its head is enough: the kernel puts one change into each */
	union {
		struct nlmsghdr head;
		char room[1024];
	} message;
	ssize_t n;

	if (!host.news || host.owner != getpid()) {
		if (!open_news() && now - host.read_ms >= AGE_MS)
			host.stale = true;
		return;
	}
	for (unsigned i = 0; i < READS; i++) {
		n = recv(host.news, &message, sizeof(message), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN) {
			host.lost = false;
			return;
		}
		memset(host.kept, 0, sizeof(host.kept));
		/* ENOBUFS is said once: what comes before the last one is read is lost without a word */
		host.lost |= n < 0;
		/* a full router's routes are no reason to read its addresses again */
		host.stale |= host.lost || about_addrs(&message, (size_t)n);
	}
}

void amp_dest_set_host_addrs(const uint8_t (*addrs)[16], unsigned n)
{
	uint8_t(*addr)[16] = calloc(n + 1u, sizeof(*addr));

	if (!addr)
		abort();
	memcpy(addr, addrs, n * sizeof(*addr));
	free(host.addr);
	host.addr = addr;
	host.fixed = host.known = true;
	host.cnt = n;
}

static bool host_has(const uint8_t addr[16])
{
	uint64_t now = amp_now_ms();

	if (!host.fixed && (!host.known || now != host.looked_ms)) {
		host.looked_ms = now;
		look(now);
		if (host.stale || !host.known)
			read_addrs(now);
	}
	if (!host.known) /* then none is known to be another's */
		return true;
	for (unsigned i = 0; i < host.cnt; i++) {
		if (memcmp(host.addr[i], addr, 16) == 0)
			return true;
	}
	return !host.fixed && routed_here(addr, now);
}

/* Nobody who asks for an address expects a call to the kernel: errno stays what it was. */
bool amp_host_has(const uint8_t addr[16])
{
	int err = errno;
	bool has = host_has(addr);

	errno = err;
	return has;
}
