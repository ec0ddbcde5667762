/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The offload protocol's bytes (docs/protocol.md is normative; DESIGN 6). Little-endian,
 * no struct is copied as it lies. This header has the numbers and the offsets; offload.c
 * has the codecs, used by the library (af_inet) and by the proxy.
 *
 * Two kinds of carrier, both reliable byte streams to the proxy's offload port:
 *
 *  data carrier     one per socket. Guest -> proxy: OPEN (fixed header, optional name).
 *                   Proxy -> guest: ANSWER. Then raw bytes (TCP) or UDP frames.
 *  control carrier  one per session. Guest -> proxy: OPEN with op HELLO; ANSWER; then
 *                   control frames in both directions.
 *  accept carrier   opened by the proxy to the guest's accept port. Proxy -> guest:
 *                   ANSWER-shaped ACCEPT header, then raw bytes. The guest answers nothing:
 *                   it keeps the carrier or resets it.
 */
#ifndef AMP_WIRE_OFFLOAD_H
#define AMP_WIRE_OFFLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "le.h"

#define AMP_OFF_MAGIC	0x50534d41u /* "AMSP" on the wire: 41 4d 53 50 */
#define AMP_OFF_VERSION 1u
#define AMP_OFF_PORT	0x414d5301u /* vsock port of the proxy (host CID): carriers connect here */
#define AMP_OFF_ACCEPT_PORT \
	0x414d5302u /* vsock port in the guest: accept carriers connect here */

#define AMP_OFF_NAME_MAX  255u
#define AMP_OFF_ADDRS_MAX 16u

/* Families and types on the wire: ours, not any libc's. */
enum amp_off_family { AMP_OFF_INET = 1, AMP_OFF_INET6 = 2 };
enum amp_off_type { AMP_OFF_STREAM = 1, AMP_OFF_DGRAM = 2 };

/* An address: 24 bytes. */
struct amp_off_addr {
	uint8_t family;	   /* 0: u8, 0 = none */
	uint16_t port;	   /* 2: u16, host order number, LE on the wire */
	uint32_t scope_id; /* 4: u32 */
	uint8_t addr[16];  /* 8: network order, IPv4 in the first four, rest zero */
};
#define AMP_OFF_ADDR_LEN 24u

/* Operations of OPEN and of control frames. */
enum amp_off_op {
	AMP_OFF_HELLO = 1,   /* OPEN, control carrier */
	AMP_OFF_CONNECT = 2, /* OPEN, TCP: connect (bound_id: a socket bound before) */
	AMP_OFF_UDP =
		3, /* OPEN, UDP: bind to local when it has a family, connect to peer when it has */
	AMP_OFF_ACCEPT = 4, /* header of an accept carrier */

	AMP_OFF_PING = 16, /* either way; answered PONG with the same seq */
	AMP_OFF_PONG = 17,
	AMP_OFF_BIND = 18,    /* family addr opts -> status id addr */
	AMP_OFF_LISTEN = 19,  /* bound_id backlog credits -> status listener id, token, addr */
	AMP_OFF_CREDIT = 20,  /* id, u32 more accepts allowed; no answer */
	AMP_OFF_RELEASE = 21, /* id of a bound socket or listener: close it; no answer */
	AMP_OFF_SETOPT = 22,  /* id opt value -> status */
	AMP_OFF_GETOPT = 23,  /* id opt -> status value */
	AMP_OFF_RESOLVE = 24, /* getaddrinfo */
	AMP_OFF_RNAME = 25,   /* getnameinfo */
	AMP_OFF_CLOSED =
		26, /* proxy -> guest: id, status: the true reason, before the carrier's RST */
	AMP_OFF_UDP_CONNECT = 27, /* id addr (family 0: dissolve) -> status, local addr */
	AMP_OFF_REPLY = 128,	  /* set in op of the answer to a control frame */
};

/* Status on the wire: our own enumeration, mapped to errno at each end. */
enum amp_off_status {
	AMP_OFF_OK = 0,
	AMP_OFF_EACCES,
	AMP_OFF_EADDRINUSE,
	AMP_OFF_EADDRNOTAVAIL,
	AMP_OFF_EAFNOSUPPORT,
	AMP_OFF_ECONNABORTED,
	AMP_OFF_ECONNREFUSED,
	AMP_OFF_ECONNRESET,
	AMP_OFF_EHOSTUNREACH,
	AMP_OFF_EINVAL,
	AMP_OFF_EMFILE,
	AMP_OFF_EMSGSIZE,
	AMP_OFF_ENETDOWN,
	AMP_OFF_ENETUNREACH,
	AMP_OFF_ENOBUFS,
	AMP_OFF_ENOPROTOOPT,
	AMP_OFF_ENOTCONN,
	AMP_OFF_EOPNOTSUPP,
	AMP_OFF_EPERM,
	AMP_OFF_EPIPE,
	AMP_OFF_EPROTO,
	AMP_OFF_EPROTONOSUPPORT,
	AMP_OFF_ETIMEDOUT,
	AMP_OFF_EHOSTDOWN,
	AMP_OFF_EAGAIN,
	AMP_OFF_EIO,
	AMP_OFF_EISCONN,
	AMP_OFF_EDESTADDRREQ,
	AMP_OFF_ESTALE, /* ESTALE: unknown session or token */
	AMP_OFF_ERRNOS,
	/* getaddrinfo */
	AMP_OFF_EAI_AGAIN = 64,
	AMP_OFF_EAI_FAIL,
	AMP_OFF_EAI_FAMILY,
	AMP_OFF_EAI_NONAME,
	AMP_OFF_EAI_SERVICE,
	AMP_OFF_EAI_SOCKTYPE,
	AMP_OFF_EAI_MEMORY,
};

/* Socket options on the wire. In OPEN: SETOPT-like list would cost; the common ones are bits. */
enum amp_off_opt {
	AMP_OFF_SO_REUSEADDR = 1,
	AMP_OFF_SO_KEEPALIVE,
	AMP_OFF_SO_BROADCAST,
	AMP_OFF_TCP_NODELAY,
	AMP_OFF_TCP_KEEPIDLE,
	AMP_OFF_TCP_KEEPINTVL,
	AMP_OFF_TCP_KEEPCNT,
	AMP_OFF_IPV6_V6ONLY,
	AMP_OFF_SO_LINGER,
	AMP_OFF_IP_TTL,
	AMP_OFF_IPV6_UNICAST_HOPS,
	AMP_OFF_IP_MULTICAST_TTL,
	AMP_OFF_IP_MULTICAST_LOOP,
	AMP_OFF_IP_MULTICAST_IF,
	AMP_OFF_IP_ADD_MEMBERSHIP,
	AMP_OFF_IP_DROP_MEMBERSHIP,
	AMP_OFF_IPV6_MULTICAST_HOPS,
	AMP_OFF_IPV6_MULTICAST_LOOP,
	AMP_OFF_IPV6_MULTICAST_IF,
	AMP_OFF_IPV6_JOIN_GROUP,
	AMP_OFF_IPV6_LEAVE_GROUP,
	AMP_OFF_SO_REUSEPORT,
};

/* opts bits of OPEN and BIND: 1u << amp_off_opt for the boolean ones set to 1 (numbers < 32).
 * opts_set says which of them the guest set at all, so that 0 is a value too. */

/*
 * OPEN, 120 bytes + name:
 *   0 u32 magic          4 u8 version   5 u8 op        6 u16 total length, name included
 *   8 u64 token (0 in HELLO)
 *  16 u8 family         17 u8 type     18 u16 flags (0)
 *  20 u32 max_frame      largest UDP frame I can take (UDP); largest control frame (HELLO)
 *  24 u32 bound_id       CONNECT: from BIND, 0 none
 *  28 u32 features       HELLO: bits offered
 *  32 u32 opts_set      36 u32 opts
 *  40 u16 keepidle_s    42 u16 keepintvl_s  44 u16 keepcnt  46 u8 linger_s+1 (0: unset)  47 u8 0
 *  48 addr peer (24)    72 addr local (24)
 *  96 u8 name_len, 97 u8[23] zero
 * 120 name (no NUL)
 */
#define AMP_OFF_OPEN_LEN 120u

struct amp_off_open {
	uint32_t magic;
	uint8_t version;
	uint8_t op;
	uint16_t len; /* total */
	uint64_t token;
	uint8_t family;
	uint8_t type;
	uint32_t max_frame;
	uint32_t bound_id;
	uint32_t features;
	uint32_t opts_set;
	uint32_t opts;
	uint16_t keepidle_s, keepintvl_s, keepcnt;
	uint8_t linger;
	struct amp_off_addr peer;
	struct amp_off_addr local;
	uint8_t name_len;
};

/*
 * ANSWER, 88 bytes (also the header of an accept carrier):
 *   0 u32 magic  4 u8 version  5 u8 op (that of OPEN; ACCEPT)  6 u16 status
 *   8 u32 id      socket id; ACCEPT: the new socket's id
 *  12 u32 arg     HELLO: features; ACCEPT: listener id
 *  16 u64 token   HELLO: session token; ACCEPT: accept token; else 0
 *  24 u32 max_frame  largest frame the proxy takes
 *  28 u32 zero
 *  32 u64 zero
 *  40 addr local (24)   64 addr peer (24)
 */
#define AMP_OFF_ANSWER_LEN 88u

/* Where the fields are, for who fills or reads the bytes as they lie (the library). */
#define AMP_OFF_O_TOKEN	    8
#define AMP_OFF_O_FAMILY    16 /* and type, 17 */
#define AMP_OFF_O_MAX_FRAME 20
#define AMP_OFF_O_BOUND_ID  24
#define AMP_OFF_O_OPTS_SET  32
#define AMP_OFF_O_OPTS	    36
#define AMP_OFF_O_KEEP	    40 /* three times u16 */
#define AMP_OFF_O_LINGER    46
#define AMP_OFF_O_PEER	    48
#define AMP_OFF_O_LOCAL	    72

#define AMP_OFF_A_OP	    5
#define AMP_OFF_A_STATUS    6
#define AMP_OFF_A_ID	    8
#define AMP_OFF_A_ARG	    12
#define AMP_OFF_A_TOKEN	    16
#define AMP_OFF_A_MAX_FRAME 24
#define AMP_OFF_A_LOCAL	    40
#define AMP_OFF_A_PEER	    64

struct amp_off_answer {
	uint32_t magic;
	uint8_t version;
	uint8_t op;
	uint16_t status;
	uint32_t id;
	uint32_t arg;
	uint64_t token;
	uint32_t max_frame;
	struct amp_off_addr local;
	struct amp_off_addr peer;
};

/* Control frame header, 8 bytes: u16 total length, u8 op, u8 status (replies), u32 seq. */
#define AMP_OFF_CTL_LEN 8u
#define AMP_OFF_CTL_MAX 768u /* every control frame fits */

struct amp_off_ctl {
	uint16_t len;
	uint8_t op;
	uint8_t status;
	uint32_t seq;
};

/*
 * Bodies behind the 8 bytes:
 *  A bound id is used up by a CONNECT that names it, whatever comes of it, and by a LISTEN that
 *  succeeds (the listener id replaces it). LISTEN always names a bound id. An id of a connected,
 *  UDP or accepted socket ends with its carrier; RELEASE is for bound ids and listeners only.
 *  Addresses of a socket are always of its own family (an AF_INET6 socket: ::ffff:a.b.c.d).
 *  BIND     u8 family u8 type u16 0, u32 opts_set, u32 opts, addr       -> u32 id, addr
 *  LISTEN   u32 bound_id, u32 backlog, u32 credits                      -> u32 id, u32 0, u64 token, addr
 *  CREDIT   u32 id, u32 n: so many accepts more. A credit is used when the accept carrier opens; one whose
 *           carrier the guest refuses (RST before RESPONSE) comes back
 *  RELEASE  u32 id
 *  SETOPT   u32 id, u16 opt, u16 value length, value                    -> -
 *  GETOPT   u32 id, u16 opt, u16 0                                      -> u16 0, u16 value length, value
 *           values: i32 LE; LINGER i32 onoff i32 seconds; membership: addr group, u32 ifindex,
 *           IPv4 address of the interface (4 bytes, network order; 0: by ifindex, both 0: any);
 *           IP_MULTICAST_IF: u32 ifindex, IPv4 address (4 bytes); IPV6_MULTICAST_IF: i32 ifindex
 *  RESOLVE  u8 family (0 any) u8 type (0 any) u8 flags (2: canonname, 4: AI_ADDRCONFIG, 8: AI_PASSIVE) u8 name_len,
 *           u16 port (0 when there is a service), u8 service_len, u8 0, name, service
 *                                                                       -> u8 count, u8 canon_len, u16 0, u32 lease_s, addrs, canonname
 *           Numeric hosts are not sent. No name: only the service is asked for (what getaddrinfo() makes of
 *           a NULL node). Each address once, its port filled in; as many as fit the guest's max_frame.
 *  RNAME    u8 flags (1: NAMEREQD, 2: DGRAM) u8[3], addr                -> u8 host_len, u8 serv_len, u16 0, host, service
 *  CLOSED   u32 id, u32 status
 *  UDP_CONNECT u32 id, u32 0, addr                                      -> addr
 */

/*
 * UDP frame, 32 bytes + payload: u16 total length, u8 kind, u8 flags,
 * u32 true payload length (DATA) or status (ERROR) or count (DROPS), addr (24).
 * Total length <= the receiver's max_frame. TRUNC (proxy -> guest only): the true length
 * is larger than what follows; without it the two are equal. DATA guest -> proxy: addr is
 * the destination, family 0: the connected peer; proxy -> guest: the true source.
 */
#define AMP_OFF_UDP_LEN 32u
enum amp_off_udp_kind {
	AMP_OFF_UDP_DATA = 0,
	AMP_OFF_UDP_ERROR = 1, /* arg: status, addr: whom it was sent to; no payload */
	AMP_OFF_UDP_DROPS =
		2, /* arg: datagrams dropped since the last such frame; no addr, no payload */
};
#define AMP_OFF_UDP_TRUNC 1u

struct amp_off_udp {
	uint16_t len;
	uint8_t kind;
	uint8_t flags;
	uint32_t arg;
	struct amp_off_addr addr;
};

/*
 * Codecs: put writes the fixed part; get checks magic, version, op and lengths. The checks
 * alone (ok), for who leaves the bytes where they are: what get refuses, they refuse.
 */
bool amp_off_addr_ok(const uint8_t *p);
/* As amp_off_get_answer(). */
static inline int amp_off_answer_ok(const uint8_t p[AMP_OFF_ANSWER_LEN])
{
	if (amp_le32(p) != AMP_OFF_MAGIC)
		return AMP_OFF_EPROTO;
	if (p[4] != AMP_OFF_VERSION)
		return AMP_OFF_EPROTONOSUPPORT;
	return !(amp_le32(p + 28) | amp_le32(p + 32) | amp_le32(p + 36)) &&
			       amp_off_addr_ok(p + AMP_OFF_A_LOCAL) &&
			       amp_off_addr_ok(p + AMP_OFF_A_PEER)
		       ? AMP_OFF_OK
		       : AMP_OFF_EPROTO;
}

/* protocol.md 7: lengths must agree, or everything behind this frame is garbage. max_len: the longest
 * frame that is taken. */
static inline bool amp_off_udp_ok(const uint8_t p[AMP_OFF_UDP_LEN], uint32_t max_len)
{
	uint32_t carried = amp_le16(p) - AMP_OFF_UDP_LEN; /* wraps: below 32 is too short */
	uint32_t arg = amp_le32(p + 4);

	if (carried > max_len - AMP_OFF_UDP_LEN || !amp_off_addr_ok(p + 8))
		return false;
	switch (amp_le16(p + 2)) { /* kind, and flags above it */
	case AMP_OFF_UDP_DATA:
		return arg == carried;
	case AMP_OFF_UDP_DATA | AMP_OFF_UDP_TRUNC << 8:
		/* no datagram is longer: it becomes a return value */
		return arg > carried && arg <= UINT16_MAX;
	case AMP_OFF_UDP_ERROR:
		return !carried && arg != AMP_OFF_OK;
	case AMP_OFF_UDP_DROPS:
		return !carried;
	default:
		return false;
	}
}

void amp_off_put_addr(uint8_t *p, const struct amp_off_addr *a);
bool amp_off_get_addr(const uint8_t *p, struct amp_off_addr *a); /* false: malformed */
void amp_off_put_open(uint8_t p[AMP_OFF_OPEN_LEN], const struct amp_off_open *o);
/* AMP_OFF_OK, AMP_OFF_EPROTO (malformed), AMP_OFF_EPROTONOSUPPORT (version). */
int amp_off_get_open(const uint8_t p[AMP_OFF_OPEN_LEN], struct amp_off_open *o);
void amp_off_put_answer(uint8_t p[AMP_OFF_ANSWER_LEN], const struct amp_off_answer *a);
int amp_off_get_answer(const uint8_t p[AMP_OFF_ANSWER_LEN], struct amp_off_answer *a);
void amp_off_put_ctl(uint8_t p[AMP_OFF_CTL_LEN], const struct amp_off_ctl *c);
bool amp_off_get_ctl(const uint8_t p[AMP_OFF_CTL_LEN], struct amp_off_ctl *c);
void amp_off_put_udp(uint8_t p[AMP_OFF_UDP_LEN], const struct amp_off_udp *u);
bool amp_off_get_udp(const uint8_t p[AMP_OFF_UDP_LEN], struct amp_off_udp *u);
/* errno of this libc <-> status of the wire; unknown ones become EIO. */
extern const uint8_t amp_off_errnos[AMP_OFF_ERRNOS];
static inline int amp_off_errno(unsigned status)
{
	return amp_off_errnos[status < AMP_OFF_ERRNOS ? status : (unsigned)AMP_OFF_EIO];
}
unsigned amp_off_status(int err);

#endif /* AMP_WIRE_OFFLOAD_H */
