/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of this room share: AF_INET and AF_INET6 sockets whose other half is in
 * the proxy (docs/protocol.md), and the session that they belong to.
 *
 * Everything is under the stack lock.
 */
#ifndef AMP_INET_H
#define AMP_INET_H

#include "../socket/family.h"
#include "../wire/offload.h"

/* Where a socket is. Those above AMP_INET_BUSY move by themselves: the session steps them. */
enum amp_inet_state {
	AMP_INET_IDLE = 0,  /* the proxy does not know it */
	AMP_INET_BOUND,	    /* id: bound */
	AMP_INET_LISTENING, /* id: listener */
	AMP_INET_CONN,	    /* id: connected or UDP; the carrier is the data's */
	AMP_INET_DEAD,	    /* over; the carrier may hold bytes to read */
	AMP_INET_BUSY,
	AMP_INET_BIND = AMP_INET_BUSY, /* BIND asked for, or owed to a new session */
	AMP_INET_LISTEN,	       /* the same with LISTEN; id: bound */
	AMP_INET_ZOMBIE,	       /* closed while BIND or LISTEN was on its way */
	AMP_INET_RELEASE,	       /* closed; RELEASE is owed */
	AMP_INET_WAIT,		       /* the session comes up first */
	AMP_INET_CARRIER,	       /* the carrier connects */
	AMP_INET_OPEN,		       /* OPEN is being sent, off bytes are out */
	AMP_INET_ANSWER,	       /* ANSWER is awaited */
	AMP_INET_RSTWAIT,	       /* the carrier is reset, CLOSED may tell why */
	AMP_INET_HEADER,	       /* accept carrier, its header is awaited */
};

/* A socket's own part. 72 bytes on 32-bit machines. */
struct amp_inet {
	struct amp_sock *carrier;
	uint32_t id;
	struct amp_off_addr local;
	union {
		struct amp_off_addr peer;
		struct { /* listener */
			uint64_t token;
			uint8_t credits; /* granted, not used yet */
		} door;
	};
	uint16_t keep[3]; /* TCP_KEEPIDLE, KEEPINTVL, KEEPCNT: travel in OPEN */
	uint16_t until; /* BIND, LISTEN: not before; RSTWAIT, HEADER: deadline: low bits of ms;
			 * UDP: proxy's max_frame */
	uint8_t state;	/* enum amp_inet_state */
	uint8_t off;	/* WAIT, BIND, LISTEN: session ticket; ZOMBIE: operation; OPEN: bytes
			 * out; CONN: errno from CLOSED; UDP: 1 in the middle of a frame */
	uint8_t opts_set; /* bit n - 1: AMP_OFF_ option n <= 8 */
	uint8_t opts;
};

_Static_assert(sizeof(struct amp_inet) <= AMP_SOCK_PRIV_LEN, "AF_INET's part of a socket");

static inline struct amp_inet *amp_inet(struct amp_sock *s)
{
	return (struct amp_inet *)(void *)s->priv.bytes;
}

/* No deadline lies further ahead than this. */
#define AMP_INET_WAIT_MS 1000u

/* Is it over? So it is for a program that was away for longer than 16 bits can tell. */
static inline bool amp_inet_due(const struct amp_inet *i)
{
	uint16_t left = (uint16_t)(i->until - amp_port_now_ms());

	return (uint16_t)(left - 1u) >= AMP_INET_WAIT_MS;
}

extern const struct amp_family amp_inet_family;

/* ---- af_inet.c ---- */

/* Go on as far as possible. */
void amp_inet_step(struct amp_sock *s);
/* The session is gone: err for those that were connected. */
void amp_inet_lost(struct amp_sock *s);
/* The connection is over: err is told once. */
void amp_inet_fail(struct amp_sock *s, int err);
/* CLOSED arrived for s. */
void amp_inet_closed(struct amp_sock *s, int err);
/* Begin to open a carrier: the session does the rest. */
void amp_inet_open(struct amp_sock *s);
void amp_inet_close(struct amp_sock *s);
/* sockaddr to wire and back; -EINVAL, -EAFNOSUPPORT. */
int amp_inet_from_sa(int domain, const struct sockaddr *sa, socklen_t len,
		     struct amp_off_addr *a);
void amp_inet_to_sa(int domain, const struct amp_off_addr *a, struct sockaddr *sa,
		    socklen_t *len);
/* Did the carrier break? Then CLOSED is waited for. */
void amp_inet_watch(struct amp_sock *s);
static inline uint8_t amp_inet_wire(int domain)
{
	return domain == AF_INET6 ? AMP_OFF_INET6 : AMP_OFF_INET;
}

/* Shared with the files below, see there. */
bool amp_inet_own_addr(const struct amp_sock *s, const struct amp_off_addr *a);
void amp_inet_drop_carrier(struct amp_sock *s, uint8_t linger_s);
int amp_inet_fetch(struct amp_sock *s, unsigned op, uint8_t **p, unsigned want_len);
int amp_inet_bind_step(struct amp_sock *s);
struct amp_sock *amp_inet_stream(struct amp_sock *s, int *err);

/* ---- inet_listen.c, linked with listen() ---- */

int amp_inet_listen(struct amp_sock *s, int backlog);
struct amp_sock *amp_inet_accept(struct amp_sock *s, int *err);
/* LISTEN's answer; an accept carrier's header. */
int amp_inet_listen_step(struct amp_sock *s);
void amp_inet_header_step(struct amp_sock *s);
/* Accept carriers in, credits out when there is reason to look. True: something came. */
bool amp_inet_door_work(bool up, bool look);

/* ---- inet_name.c, inet_direct.c, linked with their calls ---- */

int amp_inet_name(struct amp_sock *s, bool peer, struct sockaddr *addr, socklen_t *len);
int amp_inet_direct(struct amp_sock *s, enum amp_direct op, struct amp_direct_io *io);

/* ---- inet_opt.c, linked with its calls ---- */

int amp_inet_option(struct amp_sock *s, bool set, int level, int name, void *val,
		    socklen_t *len);

/* ---- inet_udp.c ---- */

ssize_t amp_inet_udp_send(struct amp_sock *s, const struct amp_msg *m, int flags);
ssize_t amp_inet_udp_recv(struct amp_sock *s, struct amp_msg *m, int flags);
int amp_inet_udp_poll(struct amp_sock *s);

/* ---- inet_session.c ---- */

/* Largest control frame that we take: the answer to RESOLVE. */
#define AMP_INET_ANSWER_MAX (16u + AMP_OFF_ADDR_LEN * AMPSOCK_ADDRINFO + 256u)
#define AMP_INET_CTL_TOP \
	(AMPSOCK_RING_LEN < AMP_OFF_CTL_MAX ? AMPSOCK_RING_LEN + 0u : AMP_OFF_CTL_MAX)
#define AMP_INET_CTL_MAX                                             \
	(AMP_INET_ANSWER_MAX < 320u		  ? 320u             \
	 : AMP_INET_ANSWER_MAX > AMP_INET_CTL_TOP ? AMP_INET_CTL_TOP \
						  : AMP_INET_ANSWER_MAX)
_Static_assert(AMP_INET_CTL_MAX <= AMPSOCK_RING_LEN, "a frame is looked at when it is whole");

/*
 * 0: the session is up. Else it is on its way (-EAGAIN), or the attempt that *ticket waited
 * for has failed (-errno; a ticket of 0 begins a new one).
 */
int amp_inet_session(uint8_t *ticket);
/* The family that carries the session's sockets. */
const struct amp_family *amp_inet_carrier_family(void);
/* Connect, once and again: 0, -EAGAIN, -errno. */
int amp_inet_carrier_connect(struct amp_sock *c);
/* A carrier is no longer needed. */
void amp_inet_carrier_close(struct amp_sock *c, uint8_t linger_s);
/* Send what o says: 0 all out, -EAGAIN (*off bytes are), -errno. name: o->name_len bytes. */
int amp_inet_send_open(struct amp_sock *c, struct amp_off_open *o, uint8_t *off);
/* Receive an ANSWER to op: its status as -errno; -EAGAIN. The struct is the session's. */
int amp_inet_recv_answer(struct amp_sock *c, uint8_t op, const struct amp_off_answer **a);
/* The session's scratch struct, zeroed, with magic, version and token. */
struct amp_off_open *amp_inet_new_open(uint8_t op);
/* len bytes of hdr and then of m's payload as one: payload bytes taken; -EAGAIN: nothing went.
 */
ssize_t amp_inet_put(struct amp_sock *c, const void *hdr, size_t len, const struct amp_msg *m);
/* 0: the window has room for len bytes. -EAGAIN, -errno. */
int amp_inet_space(struct amp_sock *c, size_t len);
/* First len bytes that arrived: false when there are fewer. */
bool amp_inet_peek(struct amp_sock *c, void *buf, size_t len);
void amp_inet_drop(struct amp_sock *c, size_t len);

/*
 * A control request, one at a time. key: operation | option << 8. 0: fill *body, then
 * amp_inet_req_send(its length); 1: answered, *body has *len bytes; -EAGAIN; else what the
 * proxy said. Only with the session up.
 */
int amp_inet_req(const void *owner, unsigned key, uint8_t **body, unsigned *len);
void amp_inet_req_send(unsigned len);
/* Is owner's request on its way, or its answer here? */
bool amp_inet_req_mine(const void *owner);
/* owner is gone or no longer interested. */
void amp_inet_req_forget(const void *owner);
/* The proxy's word as -errno. EAGAIN (over a limit) would mean "not now" to api.c: ENOBUFS. */
int amp_inet_err(unsigned status);
/* Status of the last answer, as it was on the wire. */
extern uint8_t amp_inet_req_status;
/* The answer makes no sense: the session ends. */
void amp_inet_violation(void);
/* A frame without answer: 0 or -EAGAIN. */
int amp_inet_note(uint8_t op, uint32_t a, uint32_t b);
/* Look again before sleeping. */
void amp_inet_poke(void);
/* Sockets' numbers have changed. */
void amp_inet_opened(void);
/* A socket is in a state above AMP_INET_BUSY. */
void amp_inet_busy(void);

#endif /* AMP_INET_H */
