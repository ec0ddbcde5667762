/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the macros of the headers compute. Compiled with -O2 for a machine that need not
 * be there: each MUST() that holds is folded away, one that does not leaves a call to
 * line_N, which check.py finds in the object.
 */
#include <sys/select.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define JOIN2(a, b) a##b
#define JOIN(a, b)  JOIN2(a, b)
#define MUST(cond)                                       \
	do {                                             \
		extern void JOIN(line_, __LINE__)(void); \
		if (!(cond))                             \
			JOIN(line_, __LINE__)();         \
	} while (0)

#define IN6(...) (&(const struct in6_addr){{{__VA_ARGS__}}})
#define ANY	 IN6(0)
#define LOOP	 IN6(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
#define MAPPED	 IN6(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4)
#define COMPAT	 IN6(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4)
#define LINK	 IN6(0xfe, 0xbf, 1)
#define SITE	 IN6(0xfe, 0xc0, 1)
#define GLOBAL	 IN6(0x20, 0x01, 0x0d, 0xb8)

void addresses(void);
void addresses(void)
{
	MUST(IN6_IS_ADDR_UNSPECIFIED(ANY) && !IN6_IS_ADDR_UNSPECIFIED(LOOP));
	MUST(!IN6_IS_ADDR_UNSPECIFIED(IN6(0, 0, 0, 0, 0, 1)) &&
	     !IN6_IS_ADDR_UNSPECIFIED(COMPAT));
	MUST(IN6_IS_ADDR_LOOPBACK(LOOP) && !IN6_IS_ADDR_LOOPBACK(ANY));
	MUST(!IN6_IS_ADDR_LOOPBACK(COMPAT) && !IN6_IS_ADDR_LOOPBACK(IN6(1)));
	MUST(IN6_IS_ADDR_V4MAPPED(MAPPED) && !IN6_IS_ADDR_V4MAPPED(COMPAT));
	MUST(IN6_IS_ADDR_V4COMPAT(COMPAT) && !IN6_IS_ADDR_V4COMPAT(MAPPED));
	MUST(!IN6_IS_ADDR_V4COMPAT(ANY) && !IN6_IS_ADDR_V4COMPAT(LOOP));
	MUST(IN6_IS_ADDR_LINKLOCAL(LINK) && !IN6_IS_ADDR_LINKLOCAL(SITE));
	MUST(IN6_IS_ADDR_SITELOCAL(SITE) && !IN6_IS_ADDR_SITELOCAL(LINK));
	MUST(!IN6_IS_ADDR_LINKLOCAL(GLOBAL) && !IN6_IS_ADDR_SITELOCAL(GLOBAL));
	MUST(IN6_IS_ADDR_MULTICAST(IN6(0xff)) && !IN6_IS_ADDR_MULTICAST(LINK));
	MUST(IN6_IS_ADDR_MC_NODELOCAL(IN6(0xff, 0x11)) && !IN6_IS_ADDR_MC_NODELOCAL(LOOP));
	MUST(IN6_IS_ADDR_MC_LINKLOCAL(IN6(0xff, 2)) && !IN6_IS_ADDR_MC_LINKLOCAL(IN6(0xfe, 2)));
	MUST(IN6_IS_ADDR_MC_SITELOCAL(IN6(0xff, 5)) && !IN6_IS_ADDR_MC_SITELOCAL(IN6(0xff, 4)));
	MUST(IN6_IS_ADDR_MC_ORGLOCAL(IN6(0xff, 8)) && !IN6_IS_ADDR_MC_ORGLOCAL(IN6(0xff, 9)));
	MUST(IN6_IS_ADDR_MC_GLOBAL(IN6(0xff, 0x1e)) && !IN6_IS_ADDR_MC_GLOBAL(IN6(0xff, 0xf)));
}

/* htons() in a static initialiser. */
struct sockaddr_in initialised = {
	.sin_family = AF_INET,
	.sin_port = htons(0x1234),
	.sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)},
};

void order(void);
void order(void)
{
	uint16_t s = htons(0x1234);
	uint32_t l = htonl(0x12345678);

	MUST(((uint8_t *)&s)[0] == 0x12 && ((uint8_t *)&s)[1] == 0x34);
	MUST(((uint8_t *)&l)[0] == 0x12 && ((uint8_t *)&l)[3] == 0x78);
	MUST(ntohs(s) == 0x1234 && ntohl(l) == 0x12345678);
	MUST(htons((uint16_t)0xffff) == 0xffff && htonl(0x80000000) == ntohl(0x80000000));
}

void sets(void);
void sets(void)
{
	fd_set s;

	FD_ZERO(&s);
	FD_SET(0, &s);
	FD_SET(33, &s);
	FD_SET(FD_SETSIZE - 1, &s);
	MUST(FD_ISSET(0, &s) && FD_ISSET(33, &s) && FD_ISSET(FD_SETSIZE - 1, &s));
	MUST(!FD_ISSET(1, &s) && !FD_ISSET(32, &s) && !FD_ISSET(FD_SETSIZE - 2, &s));
	FD_CLR(33, &s);
	MUST(FD_ISSET(0, &s) && !FD_ISSET(33, &s) && FD_ISSET(FD_SETSIZE - 1, &s));
}

/* Two headers, the second one cut to len bytes: does the walk find it? */
static inline __attribute__((always_inline)) int second(size_t len, socklen_t first_len)
{
	struct cmsghdr buf[8] = {{.cmsg_len = first_len}};
	struct msghdr m = {.msg_control = buf};

	m.msg_controllen = (socklen_t)(CMSG_SPACE(5) + len);
	return CMSG_NXTHDR(&m, buf) != NULL;
}

void control(void);
void control(void)
{
	struct cmsghdr one = {.cmsg_len = sizeof(one)};
	struct msghdr m;

	memset(&m, 0, sizeof(m));
	MUST(CMSG_FIRSTHDR(&m) == NULL);
	m.msg_control = &one;
	m.msg_controllen = sizeof(one) - 1;
	MUST(CMSG_FIRSTHDR(&m) == NULL);
	m.msg_controllen = sizeof(one);
	MUST(CMSG_FIRSTHDR(&m) == &one && CMSG_NXTHDR(&m, NULL) == &one);
	MUST(CMSG_NXTHDR(&m, &one) == NULL);
	MUST(CMSG_DATA(&one) == (unsigned char *)(&one + 1));
	MUST(second(CMSG_LEN(4), CMSG_LEN(5)) && second(CMSG_LEN(0), CMSG_LEN(5)));
	MUST(!second(CMSG_LEN(0) - 1, CMSG_LEN(5)) && !second(0, CMSG_LEN(5)));
	/* lengths that lie */
	MUST(!second(CMSG_LEN(4), 0) && !second(CMSG_LEN(4), CMSG_LEN(0) - 1));
	MUST(!second(CMSG_LEN(4), 0xffffffff) && !second(CMSG_LEN(4), 0x7fffffff));
}

/* The C library declares these as src/posix defines them. */
ssize_t (*const as_read)(int, void *, size_t) = read;
ssize_t (*const as_write)(int, const void *, size_t) = write;
int (*const as_close)(int) = close;
int (*const as_fcntl)(int, int, ...) = fcntl;
