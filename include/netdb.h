/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netdb.h (POSIX.1-2017, RFC 3493) for bare toolchains: numbers and layouts as on Linux.
 * Names are resolved by the proxy. There are no host, network or service tables here.
 */
#ifndef AMP_NETDB_H
#define AMP_NETDB_H

#include <stdint.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define IPPORT_RESERVED 1024

/* ai_flags */
#define AI_PASSIVE     0x0001
#define AI_CANONNAME   0x0002
#define AI_NUMERICHOST 0x0004
#define AI_V4MAPPED    0x0008
#define AI_ALL	       0x0010
#define AI_ADDRCONFIG  0x0020
#define AI_NUMERICSERV 0x0400

/* getnameinfo() flags */
#define NI_NUMERICHOST	1
#define NI_NUMERICSERV	2
#define NI_NOFQDN	4
#define NI_NAMEREQD	8
#define NI_DGRAM	16
#define NI_NUMERICSCOPE 256
#define NI_MAXHOST	1025
#define NI_MAXSERV	32

/* What getaddrinfo() and getnameinfo() return. */
#define EAI_BADFLAGS (-1)
#define EAI_NONAME   (-2)
#define EAI_AGAIN    (-3)
#define EAI_FAIL     (-4)
#define EAI_FAMILY   (-6)
#define EAI_SOCKTYPE (-7)
#define EAI_SERVICE  (-8)
#define EAI_MEMORY   (-10)
#define EAI_SYSTEM   (-11)
#define EAI_OVERFLOW (-12)

#ifdef __cplusplus
extern "C" {
#endif

struct addrinfo {
	int ai_flags;
	int ai_family;
	int ai_socktype;
	int ai_protocol;
	socklen_t ai_addrlen;
	struct sockaddr *ai_addr;
	char *ai_canonname;
	struct addrinfo *ai_next;
};

struct hostent {
	char *h_name;
	char **h_aliases;
	int h_addrtype;
	int h_length;
	char **h_addr_list;
};

struct netent {
	char *n_name;
	char **n_aliases;
	int n_addrtype;
	uint32_t n_net;
};

struct protoent {
	char *p_name;
	char **p_aliases;
	int p_proto;
};

struct servent {
	char *s_name;
	char **s_aliases;
	int s_port; /* network byte order */
	char *s_proto;
};

/*
 * getaddrinfo - addresses of a host and a port of a service. Numbers are read here, names of
 * either are asked of the proxy: then it blocks, at most AMPSOCK_CONNECT_MS. node or service may be
 * NULL, not both. *res is a list from a static pool (AMPSOCK_ADDRINFO addresses in all, and a
 * canonical name): give it back with freeaddrinfo(). 0, or EAI_NONAME, EAI_AGAIN (no link,
 * time-out), EAI_FAIL (the proxy's rules do not allow the name, among others), EAI_FAMILY,
 * EAI_SOCKTYPE, EAI_SERVICE, EAI_BADFLAGS, EAI_MEMORY (the pool is lent out). errno is not set.
 * Thread context; a library with AMPSOCK_INET. POSIX.1-2017.
 */
int getaddrinfo(const char *__restrict node, const char *__restrict service,
		const struct addrinfo *__restrict hints, struct addrinfo **__restrict res);

/* freeaddrinfo - give back a list that getaddrinfo() lent, or its tail. Thread context.
 * POSIX.1-2017. */
void freeaddrinfo(struct addrinfo *res);

/* gai_strerror - a short constant text for an EAI_* value. Any context. POSIX.1-2017. */
const char *gai_strerror(int ecode);

/*
 * getnameinfo - address to text, to host and serv: room of host_len and serv_len bytes, or
 * NULL. Names are asked of the proxy (it blocks), numbers with NI_NUMERICHOST and
 * NI_NUMERICSERV are not. 0, or EAI_FAMILY, EAI_OVERFLOW, EAI_NONAME, EAI_BADFLAGS,
 * EAI_AGAIN, EAI_FAIL. Thread context. POSIX.1-2017.
 */
int getnameinfo(const struct sockaddr *__restrict addr, socklen_t len, char *__restrict host,
		socklen_t host_len, char *__restrict serv, socklen_t serv_len, int flags);

/*
 * getprotobyname, getprotobynumber, getprotoent - ip icmp tcp udp ipv6, from constant
 * memory; NULL for others and at the end. getprotoent's place is one for all threads.
 * Any context but that. POSIX.1-2017.
 */
struct protoent *getprotobyname(const char *name);
struct protoent *getprotobynumber(int proto);
struct protoent *getprotoent(void);
void setprotoent(int stayopen);
void endprotoent(void);

/* No tables here: all of these return NULL, set and end do nothing. POSIX.1-2017. */
struct servent *getservbyname(const char *name, const char *proto);
struct servent *getservbyport(int port, const char *proto);
struct servent *getservent(void);
void setservent(int stayopen);
void endservent(void);
struct hostent *gethostent(void);
void sethostent(int stayopen);
void endhostent(void);
struct netent *getnetbyaddr(uint32_t net, int type);
struct netent *getnetbyname(const char *name);
struct netent *getnetent(void);
void setnetent(int stayopen);
void endnetent(void);

#ifdef __cplusplus
}
#endif

#endif /* AMP_NETDB_H */
