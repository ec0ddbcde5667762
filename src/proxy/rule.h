/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rules: what a link may reach, what is published to it and exposed to it. One
 * grammar for the configuration file and the command line (ampsock-proxy(8)).
 *
 *	allow    in|out  tcp|udp|any  HOST:PORT  [log]
 *	publish  tcp|udp ADDRESS:PORT | unix PATH   ->  SERVICE | inet:PORT  [proxy-protocol]
 *	publish  vsock-mux PATH   ->  vsock:PORTS
 *	expose   SERVICE  ->  tcp|udp ADDRESS:PORT | unix PATH  [proxy-protocol]
 *
 *	SERVICE: vsock:PORT on a vsock link; rpmsg:NAME or rpmsg:@ADDRESS on an rpmsg link, for
 *	         tcp and unix a byte stream (announced as NAME~s), for udp raw messages
 *	HOST: any | local | address[/bits] | [v6 address[/bits]] | name | *.name
 *	PORTS: any, or up to 8 of PORT and PORT-PORT with commas between: who connects chooses one
 *	PORT: any | number | number-number (allow only); 0 in an `in` rule: an ephemeral port
 *
 * Nothing is allowed by default. Addresses have disguises: before a rule is asked an
 * address is brought to its plain form (::ffff:a.b.c.d, ::ffff:0:a.b.c.d, 64:ff9b::a.b.c.d and
 * ::a.b.c.d are a.b.c.d; connecting to 0.0.0.0 or :: is connecting to loopback). What is local to
 * the host (loopback, link-local, any address of its interfaces, where clouds tell a host its
 * secrets) is reached only by a rule that says so: `local`, or an address or prefix that lies
 * itself inside that class. An IPv6 address through which packets go to an IPv4 one (6to4, Teredo,
 * ISATAP, a site's own NAT64) is local, too, if that is: rule_addr.c.
 */
#ifndef AMP_PROXY_RULE_H
#define AMP_PROXY_RULE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "log.h"

enum amp_proto { AMP_PROTO_TCP = 1, AMP_PROTO_UDP = 2, AMP_PROTO_ANY = 3 };
enum amp_dir { AMP_DIR_OUT, AMP_DIR_IN };
enum amp_host_kind { AMP_HOST_ANY, AMP_HOST_LOCAL, AMP_HOST_PREFIX, AMP_HOST_NAME };

#define AMP_RULE_NAME_MAX 255u

/* Why a text is no rule: words, and where they stand in it. */
struct amp_rule_error {
	unsigned at;
	char msg[200];
};

struct amp_rule {
	TAILQ_ENTRY(amp_rule) entry;
	enum amp_dir dir;
	enum amp_proto proto;
	enum amp_host_kind host;
	uint8_t addr[16]; /* plain form: IPv4 as ::ffff:a.b.c.d */
	uint8_t bits;	  /* of 128 */
	bool wild;	  /* name: *.name */
	uint16_t port_lo, port_hi;
	char name[AMP_RULE_NAME_MAX + 1]; /* lower case, without the final dot */
	struct amp_rule *twin;		  /* in the other configuration: reload.c */
	char *text;			  /* as it was written */
	char *where;			  /* file:line, or "command line" */
	bool log;			  /* hits are logged */
	bool gone; /* left out by a reload: what it allowed is asked anew */
	struct amp_log_rate log_rate;
	uint64_t hits;
	uint64_t denied; /* name: addresses that it stood for and that were not granted */
};

TAILQ_HEAD(amp_rules, amp_rule);

/* An address and port in plain form. */
struct amp_dest {
	uint8_t addr[16];
	uint8_t as_given[16]; /* in its coat: a prefix in a rule may name just that */
	uint16_t port;
	uint32_t scope_id;
	bool local;    /* to the host */
	bool wildcard; /* 0.0.0.0 or :: as it was given */
};

enum amp_target_kind { AMP_TARGET_TCP = 1, AMP_TARGET_UDP, AMP_TARGET_UNIX };

struct amp_target { /* on the host */
	enum amp_target_kind kind;
	socklen_t len;
	union {
		struct sockaddr sa;
		struct sockaddr_storage ss;
		struct sockaddr_un un;
	} addr;
};

enum amp_service_kind {
	AMP_SERVICE_VSOCK = 1,
	AMP_SERVICE_INET,
	AMP_SERVICE_RPMSG,
	AMP_SERVICE_ACCEPT, /* the guest's own for accept carriers: in no rule */
};

#define AMP_SERVICE_NAME 32u /* the terminating NUL included */

struct amp_service { /* in the guest */
	enum amp_service_kind kind;
	uint32_t port;		     /* RPMSG without a name: the endpoint's address */
	char name[AMP_SERVICE_NAME]; /* RPMSG; as it is announced, with the suffix of streams */
};

#define AMP_RANGES_MAX 8u

struct amp_forward { /* publish or expose */
	TAILQ_ENTRY(amp_forward) entry;
	struct amp_target target;
	struct amp_service service; /* vsock-mux: the first of range[] */
	struct {
		uint32_t lo, hi;
	} range[AMP_RANGES_MAX];
	unsigned range_cnt;	  /* not 0: vsock-mux, target.kind is AMP_TARGET_UNIX */
	bool proxy_protocol;	  /* each connection begins with who it is: PROXY, version 2 */
	bool runtime;		  /* published while the proxy ran: no file has it */
	uint16_t port;		  /* published: that of the socket, if the rule's is 0 */
	uint32_t id;		  /* of a published one: publish.c */
	uint64_t hits;		  /* connections, UDP peers; of UDP to inet, sockets */
	struct amp_forward *twin; /* in the other configuration: reload.c */
	char *text;
	char *where;
};

TAILQ_HEAD(amp_forwards, amp_forward);

/* 0 or -EINVAL and *err. text is not kept. */
int amp_rule_parse(const char *text, struct amp_rule *rule, struct amp_rule_error *err);
int amp_publish_parse(const char *text, struct amp_forward *fwd, struct amp_rule_error *err);
int amp_expose_parse(const char *text, struct amp_forward *fwd, struct amp_rule_error *err);
/* unix PATH, or tcp|udp ADDRESS:PORT to listen on. */
int amp_target_parse(const char *text, struct amp_target *target, struct amp_rule_error *err);

/* Do both allow the same (whether it is logged aside)? Forward the same? */
bool amp_rule_same(const struct amp_rule *a, const struct amp_rule *b);
bool amp_target_same(const struct amp_target *a, const struct amp_target *b);

/* Counters are all that changes in a rule while it is in force. */
static inline void amp_forward_hit(const struct amp_forward *fwd)
{
	((struct amp_forward *)(uintptr_t)fwd)->hits++;
}

/* Do both mean the same service? */
bool amp_service_same(const struct amp_service *a, const struct amp_service *b);
/* As in a rule, without the suffix of streams. Returns dst. */
#define AMP_SERVICE_TEXT 48u
const char *amp_service_text(const struct amp_service *s, char dst[AMP_SERVICE_TEXT]);

/* One spelling for a path: no slash twice, no `.` on the way. `..` stays, as what is before it may
 * be a link: whether two paths are one socket is known when it is made (helper_do.c). */
void amp_path_normal(char *path);

/* Decimal, no sign, no blanks, nothing behind it. */
bool amp_parse_u32(const char *text, uint32_t max, uint32_t *value);
/* Decimal, or hexadecimal behind 0x; k, M or G behind it multiply by 1024 and so on. */
bool amp_parse_u64(const char *text, uint64_t max, uint64_t *value);

/*
 * What the site's own translators put before an IPv4 address (RFC 6052 2.2), besides 64:ff9b::/96:
 * such an address is the IPv4 one, in rules and where it is local.
 */
#define AMP_NAT64_MAX 8u

struct amp_nat64 {
	uint8_t addr[16];
	uint8_t bits; /* 32, 40, 48, 56, 64 or 96 */
};

/* "2001:db8:64::/96". NULL, or what was expected. */
const char *amp_nat64_parse(const char *text, struct amp_nat64 *prefix);
bool amp_nat64_overlap(const struct amp_nat64 *a, const struct amp_nat64 *b);
/* From now on, for amp_dest_from(). Copied. */
void amp_dest_set_nat64(const struct amp_nat64 *prefixes, unsigned cnt);

/* The plain form of an address to connect or send to; for_bind: the wildcard stays itself. */
void amp_dest_from(const struct sockaddr *sa, bool for_bind, struct amp_dest *dest);

/* Does the rule, which names no name, cover dest? */
bool amp_rule_covers(const struct amp_rule *rule, enum amp_dir dir, enum amp_proto proto,
		     const struct amp_dest *dest);
/* Does the rule cover this name as a name (any, or the name itself)? port 0: on some port. */
bool amp_rule_names(const struct amp_rule *rule, enum amp_proto proto, const char *name,
		    uint16_t port);
bool amp_rule_port(const struct amp_rule *rule, uint16_t port);

bool amp_addr_is_loopback(const uint8_t addr[16]);
bool amp_addr_is_multicast(const uint8_t addr[16]);

/* localhost and below: the one name that may stand for a local address (RFC 6761, 6.3). */
bool amp_name_is_local(const char *name);

/*
 * Is it one of an interface's, a broadcast address there, or does a route lead it back here? addr:
 * plain. Of this moment: host_addr.c.
 * When they could never be had, every address is.
 */
bool amp_host_has(const uint8_t addr[16]);
/* For tests: n addresses in plain form instead of the host's. */
void amp_dest_set_host_addrs(const uint8_t (*addrs)[16], unsigned n);

#define AMP_ADDR_TEXT 64u
uint16_t amp_sockaddr_port(const struct sockaddr *sa); /* 0 of other families than IP, too */
const char *amp_sockaddr_text(const struct sockaddr *sa, char dst[AMP_ADDR_TEXT]);

#endif /* AMP_PROXY_RULE_H */
