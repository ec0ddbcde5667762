// SPDX-License-Identifier: BSD-3-Clause
/*
 * Where the kernel delivers an address, asked once for each until something changes: in a network of
 * its own, with routes that come and go.
 */
// build: src/proxy/rule.c src/proxy/rule_text.c src/proxy/rule_addr.c src/proxy/host_addr.c src/proxy/log.c
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/log.h"
#include "proxy/rule.h"

static unsigned asked; /* RTM_GETROUTE requests that have one address to ask for */
static int rtnl = -1;

/* In the place of the C library's: counts what host_addr.c asks. */
ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	const struct nlmsghdr *m = buf;

	asked += m->nlmsg_type == RTM_GETROUTE;
	return syscall(SYS_sendto, fd, buf, len, flags, NULL, 0);
}

static bool is_local(const char *ip)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	struct amp_dest d;

	if (inet_pton(AF_INET, ip, &in.sin_addr) == 1)
		amp_dest_from((struct sockaddr *)&in, false, &d);
	else if (inet_pton(AF_INET6, ip, &in6.sin6_addr) == 1)
		amp_dest_from((struct sockaddr *)&in6, false, &d);
	else
		fail_msg("%s", ip);
	return d.local;
}

/* The socket of news is looked at once a millisecond. */
static void next_ms(void)
{
	for (uint64_t now = amp_now_ms(); amp_now_ms() == now;)
		;
}

struct change {
	struct nlmsghdr head;
	union {
		struct rtmsg route;
		struct ifaddrmsg addr;
		struct fib_rule_hdr {
			uint8_t family, dst_len, src_len, tos, table, res1, res2, action;
			uint32_t flags;
		} rule;
	} u;
	uint8_t attrs[128];
};

static void attr(struct change *c, unsigned short type, const void *data, unsigned short len)
{
	struct rtattr *a = (void *)((char *)c + NLMSG_ALIGN(c->head.nlmsg_len));

	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(len);
	memcpy(RTA_DATA(a), data, len);
	c->head.nlmsg_len = (uint32_t)(NLMSG_ALIGN(c->head.nlmsg_len) + RTA_ALIGN(a->rta_len));
}

/* 0 or -errno, as the kernel says. */
static int apply(struct change *c)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr err;
		char room[256];
	} answer;

	c->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
	if (syscall(SYS_sendto, rtnl, c, c->head.nlmsg_len, 0, NULL, 0) < 0 ||
	    recv(rtnl, &answer, sizeof(answer), 0) < 0)
		return -errno;
	return answer.err.error;
}

static int route(unsigned short what, const char *to, unsigned char bits, unsigned char type,
		 unsigned char table)
{
	struct change c = {
		.head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtmsg)), .nlmsg_type = what},
		.u.route = {.rtm_dst_len = bits,
			    .rtm_table = table,
			    .rtm_protocol = RTPROT_STATIC,
			    .rtm_scope = type == RTN_LOCAL ? RT_SCOPE_HOST : RT_SCOPE_LINK,
			    .rtm_type = type}};
	int lo = (int)if_nametoindex("lo");
	uint8_t addr[16];

	c.u.route.rtm_family = strchr(to, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(c.u.route.rtm_family, to, addr) != 1)
		return -EINVAL;
	attr(&c, RTA_DST, addr, c.u.route.rtm_family == AF_INET6 ? 16 : 4);
	attr(&c, RTA_OIF, &lo, sizeof(lo));
	return apply(&c);
}

/* Of lo. */
static int address(unsigned short what, const char *ip)
{
	struct change c = {.head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifaddrmsg)),
				    .nlmsg_type = what},
			   .u.addr = {.ifa_family = AF_INET,
				      .ifa_prefixlen = 32,
				      .ifa_index = if_nametoindex("lo")}};
	uint8_t addr[4];

	if (inet_pton(AF_INET, ip, addr) != 1)
		return -EINVAL;
	attr(&c, IFA_LOCAL, addr, 4);
	return apply(&c);
}

/* What goes to the address is looked up in table first: FRA_DST 1, FR_ACT_TO_TBL 1. */
static int rule_to(const char *to, unsigned char table)
{
	struct change c = {
		.head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct fib_rule_hdr)),
			 .nlmsg_type = RTM_NEWRULE},
		.u.rule = {.family = AF_INET, .dst_len = 32, .table = table, .action = 1}};
	uint8_t addr[4];

	if (inet_pton(AF_INET, to, addr) != 1)
		return -EINVAL;
	attr(&c, 1, addr, 4);
	return apply(&c);
}

static int own_network(void)
{
	struct ifreq req = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) && unshare(CLONE_NEWNET)) {
		perror("a network of its own (as root, or with user namespaces)");
		return -1;
	}
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	rtnl = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	return fd < 0 || rtnl < 0 || ioctl(fd, SIOCSIFFLAGS, &req) || close(fd);
}

/* The child's: where it went wrong, or 0. */
static int routes(void)
{
	if (own_network() || route(RTM_NEWROUTE, "192.0.2.0", 24, RTN_UNICAST, RT_TABLE_MAIN) ||
	    route(RTM_NEWROUTE, "2001:db8::", 64, RTN_UNICAST, RT_TABLE_MAIN))
		return 10;
	/* who asks between a call and its errno finds it as it was: connect() and its EINPROGRESS */
	for (unsigned i = 0; i < 3; i++) {
		errno = EINPROGRESS;
		if (is_local("192.0.2.1") || errno != EINPROGRESS)
			return 9;
		next_ms();
	}
	/* each is asked for once, however often it is wanted */
	for (unsigned i = 0; i < 100; i++) {
		if (is_local("192.0.2.1") || is_local("192.0.2.2") || is_local("2001:db8::1"))
			return 11;
		next_ms();
	}
	if (asked != 3)
		return 12;
	/* a route, and one of the other family */
	if (route(RTM_NEWROUTE, "192.0.2.1", 32, RTN_LOCAL, RT_TABLE_LOCAL))
		return 13;
	next_ms();
	if (!is_local("192.0.2.1") || is_local("192.0.2.2") || is_local("2001:db8::1"))
		return 14;
	if (route(RTM_NEWROUTE, "2001:db8::1", 128, RTN_LOCAL, RT_TABLE_LOCAL))
		return 15;
	next_ms();
	if (!is_local("2001:db8::1") || is_local("2001:db8::2") || !is_local("192.0.2.1"))
		return 16;
	if (route(RTM_DELROUTE, "192.0.2.1", 32, RTN_LOCAL, RT_TABLE_LOCAL))
		return 17;
	next_ms();
	if (is_local("192.0.2.1"))
		return 18;
	/* a table that counts from now on for one address */
	if (route(RTM_NEWROUTE, "192.0.2.3", 32, RTN_LOCAL, 100))
		return 19;
	next_ms();
	if (is_local("192.0.2.3"))
		return 20;
	if (rule_to("192.0.2.3", 100))
		return 21;
	next_ms();
	return is_local("192.0.2.3") ? 0 : 22;
}

/* More than are kept: right for all that. */
static int many(void)
{
	char ip[INET_ADDRSTRLEN];

	if (own_network() || route(RTM_NEWROUTE, "10.0.0.0", 8, RTN_UNICAST, RT_TABLE_MAIN) ||
	    route(RTM_NEWROUTE, "10.0.1.0", 24, RTN_LOCAL, RT_TABLE_LOCAL))
		return 10;
	for (unsigned turn = 0; turn < 2; turn++) {
		for (unsigned i = 0; i < 1024; i++) {
			snprintf(ip, sizeof(ip), "10.0.%u.%u", i / 256, i % 256);
			if (is_local(ip) != (i / 256 == 1))
				return 11;
		}
	}
	return 0;
}

/* News that the kernel has no room for, also after it has said so: none is missed. */
static int overrun(void)
{
	char ip[INET_ADDRSTRLEN];

	if (own_network() || address(RTM_NEWADDR, "198.51.100.1") || !is_local("198.51.100.1"))
		return 10;
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(ip, sizeof(ip), "10.%u.%u.0", i / 256, i % 256);
		if (route(RTM_NEWROUTE, ip, 24, RTN_UNICAST, RT_TABLE_MAIN))
			return 11;
	}
	next_ms();
	if (!is_local("198.51.100.1") || address(RTM_DELADDR, "198.51.100.1"))
		return 12;
	for (unsigned i = 0; i < 2000; i++) { /* until nothing is left to read */
		next_ms();
		if (!is_local("198.51.100.1"))
			return 0;
	}
	return 13;
}

/* There was a descriptor for one of the two sockets alone: later there is one for the other. */
static int no_descriptor(void)
{
	struct rlimit all, few;
	int fd;

	if (own_network() || route(RTM_NEWROUTE, "192.0.2.1", 32, RTN_LOCAL, RT_TABLE_LOCAL) ||
	    getrlimit(RLIMIT_NOFILE, &all))
		return 10;
	fd = dup(0);
	close(fd);
	few = (struct rlimit){(rlim_t)fd + 1, all.rlim_max};
	if (setrlimit(RLIMIT_NOFILE, &few) || !is_local("192.0.2.2"))
		return 11; /* it could be one of ours, as far as can be known */
	few.rlim_cur++;
	next_ms();
	/* now there is room to read the addresses, but the next is asked for in vain */
	if (setrlimit(RLIMIT_NOFILE, &few) || !is_local("192.0.2.1"))
		return 12;
	if (setrlimit(RLIMIT_NOFILE, &all))
		return 13;
	next_ms();
	return is_local("192.0.2.1") && !is_local("192.0.2.2") ? 0 : 14;
}

static void in_child(int (*what)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(what());
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_routes(void **state)
{
	(void)state;
	in_child(routes);
}

static void test_many(void **state)
{
	(void)state;
	in_child(many);
}

static void test_overrun(void **state)
{
	(void)state;
	in_child(overrun);
}

static void test_no_descriptor(void **state)
{
	(void)state;
	in_child(no_descriptor);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_overrun),
		cmocka_unit_test(test_no_descriptor),
	};

	return cmocka_run_group_tests_name("host_addr", tests, NULL, NULL);
}
