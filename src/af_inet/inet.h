/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of this room share: AF_INET and AF_INET6 sockets whose other half is in
 * the proxy (docs/protocol.md), and the session that they belong to.
 *
 * Everything is under the stack lock.
 */
#ifndef AMP_INET_H
#define AMP_INET_H

#include <errno.h>

#include "../socket/family.h"
#include "../wire/le.h"
#include "../wire/offload.h"

/* Where a socket is. Those from AMP_INET_RSTWAIT on move by themselves: the session steps them. */
enum amp_inet_state {
	AMP_INET_IDLE = 0,  /* the proxy does not know it */
	AMP_INET_DEAD,	    /* over; the carrier may hold bytes to read */
	AMP_INET_BOUND,	    /* id: bound */
	AMP_INET_LISTENING, /* id: listener */
	AMP_INET_CONN,	    /* id: connected or UDP; the carrier is the data's */
	AMP_INET_RSTWAIT,   /* the same, but it is reset, and CLOSED may tell why */
	AMP_INET_BUSY,
	AMP_INET_BIND = AMP_INET_BUSY, /* BIND is asked for, by bind() or of a new session */
	AMP_INET_LISTEN,	       /* the same with LISTEN; id: bound */
	AMP_INET_RELEASE,	       /* RELEASE is owed; then IDLE, or free when closed */
	AMP_INET_WAIT,		       /* the session comes up first */
	AMP_INET_UP,		       /* the carrier comes up: connects, OPEN, ANSWER */
	AMP_INET_HEADER,	       /* accept carrier, its header is awaited */
};

/* How a carrier comes up, and is left: a socket's, and the session's own, which has no more. */
struct amp_inet_way {
	uint8_t state;	  /* enum amp_inet_state */
	uint8_t off;	  /* WAIT, BIND, LISTEN: session ticket; UP: bytes of OPEN that are
			   * out; CONN: errno from CLOSED; UDP: 1 in the middle of a frame */
	uint8_t opts_set; /* bit n - 1: AMP_OFF_ option n <= 8 */
	uint8_t opts;
	struct amp_sock *carrier;
	uint32_t id;
};

/*
 * A socket's own part: 68 bytes on 32-bit machines, what is looked at most in front, where
 * Thumb reaches it with short instructions. Addresses are kept as they travel (protocol.md
 * 2.3): they come from there, and go there.
 */
struct amp_inet {
	union {
		struct amp_inet_way way;
		struct { /* the same: struct amp_inet_way */
			uint8_t state;
			uint8_t off;
			uint8_t opts_set;
			uint8_t opts;
			struct amp_sock *carrier;
			uint32_t id;
		};
	};
	/* from here on in the order of OPEN, into which they go together */
	uint16_t keep[3]; /* TCP_KEEPIDLE, KEEPINTVL, KEEPCNT */
	uint16_t until; /* BIND, LISTEN: not before; RSTWAIT, HEADER: deadline: low bits of ms;
			   * UDP: proxy's max_frame. There it is the linger time */
	union {
		struct {
			uint8_t peer[AMP_OFF_ADDR_LEN];
			uint8_t local[AMP_OFF_ADDR_LEN]; /* none: all zero */
		};
		struct { /* listener */
			uint8_t token[8];
			uint8_t credits; /* granted, not used yet */
		} door;
	};
};
#define AMP_INET_OPEN_PART (AMP_OFF_O_LOCAL + AMP_OFF_ADDR_LEN - AMP_OFF_O_KEEP)
#define AMP_INET_IN_OPEN(field) \
	(AMP_OFF_O_KEEP + offsetof(struct amp_inet, field) - offsetof(struct amp_inet, keep))
_Static_assert(AMP_INET_IN_OPEN(until) == AMP_OFF_O_LINGER &&
		       AMP_INET_IN_OPEN(peer) == AMP_OFF_O_PEER &&
		       AMP_INET_IN_OPEN(local) == AMP_OFF_O_LOCAL,
	       "struct amp_inet as part of OPEN");

_Static_assert(offsetof(struct amp_inet, id) == offsetof(struct amp_inet_way, id) &&
		       offsetof(struct amp_inet, carrier) ==
			       offsetof(struct amp_inet_way, carrier) &&
		       offsetof(struct amp_inet, opts) == offsetof(struct amp_inet_way, opts),
	       "struct amp_inet.way");
_Static_assert(!AMPSOCK_INET || sizeof(struct amp_inet) <= AMP_SOCK_PRIV_LEN,
	       "AF_INET's part of a socket");

static inline struct amp_inet *amp_inet(struct amp_sock *s)
{
	return (struct amp_inet *)(void *)s->priv.bytes;
}

/* No deadline lies further ahead than this. */
#define AMP_INET_WAIT_MS 1000u

/* ms until a deadline, one less; AMP_INET_WAIT_MS or more: it is over. So it is for a program that was away
 * for longer than 16 bits can tell. */
static inline unsigned amp_inet_left(const struct amp_inet *i)
{
	return (uint16_t)(i->until - amp_port_now_ms() - 1u);
}

extern const struct amp_family amp_inet_family;

/* ---- af_inet.c ---- */

/* Sockets that move by themselves go on as far as possible. Were there any? */
bool amp_inet_step_all(void);
/* The connection, or the attempt at one, is over: err is told once. */
void amp_inet_fail(struct amp_sock *s, int err);
/* From now on in this state, in which the session steps it; until ms are over. -EAGAIN */
int amp_inet_start(struct amp_sock *s, enum amp_inet_state state, unsigned ms);
void amp_inet_close(struct amp_sock *s);
/* Back to IDLE, the carrier closed; RELEASE on the way there when the proxy holds an id for it. */
void amp_inet_drop_carrier(struct amp_inet_way *i);
/* The same at once; an address that s is not bound to is asked for, and told, no more. */
void amp_inet_give_up(struct amp_sock *s);
/* Did the carrier break? Then CLOSED is waited for. */
void amp_inet_watch(struct amp_sock *s);
static inline uint8_t amp_inet_wire(int domain)
{
	if (AF_INET == 2 && AF_INET6 == 10) /* as on Linux: nothing to compare */
		return (uint8_t)(((unsigned)domain >> 3) + AMP_OFF_INET);
	return domain == AF_INET6 ? AMP_OFF_INET6 : AMP_OFF_INET;
}

/* Why what was asked for came to nothing, or a listener to its end, told once: -errno; 0. */
static inline int amp_inet_refused(struct amp_sock *s)
{
	int err = s->err;

	s->err = 0;
	return -err;
}

/* SOCK_*, 0: any. */
static inline uint8_t amp_inet_wire_type(int type)
{
	if (SOCK_STREAM == 1 && SOCK_DGRAM == 2) /* the same there */
		return (uint8_t)type;
	return type == SOCK_STREAM ? AMP_OFF_STREAM : type ? AMP_OFF_DGRAM : 0;
}
_Static_assert(AMP_OFF_STREAM == 1 && AMP_OFF_DGRAM == 2, "amp_inet_wire_type()");

/* Shared with the files below, see there. */
int amp_inet_fetch(struct amp_sock *s, unsigned op, unsigned at);
/* 0: bytes of a TCP socket go by its carrier now; -errno. */
int amp_inet_may_move(struct amp_sock *s, bool in);

/* ---- inet_addr.c ---- */

/* sockaddr to wire and back; -EINVAL, -EAFNOSUPPORT: nothing was written. */
int amp_inet_from_sa(int domain, const struct sockaddr *sa, socklen_t len, uint8_t *a);
void amp_inet_to_sa(int domain, const uint8_t *a, struct sockaddr *sa, socklen_t *len);
void amp_inet_addr_copy(uint8_t *to, const uint8_t *a);
/* The address that the proxy says is s's, and that is one (amp_off_addr_ok()). False: it is none of its
 * family (protocol.md 2.3). */
bool amp_inet_take_addr(const struct amp_sock *s, uint8_t *to, const uint8_t *a);

/* ---- inet_shutdown.c, linked with shutdown() ---- */

int amp_inet_half_close(struct amp_sock *s, int how);

/* ---- inet_listen.c, linked with listen() ---- */

int amp_inet_listen(struct amp_sock *s, int backlog);
struct amp_sock *amp_inet_accept(struct amp_sock *s, int *err);
/* The request and its answer: 0: it listens; -EAGAIN; -errno. */
int amp_inet_listen_step(struct amp_sock *s);
/* An accept carrier's header. 0: it lies in amp_inet_answer, and s in the listener's queue; -EAGAIN: not
 * yet, or s is gone. */
int amp_inet_header_step(struct amp_sock *s, unsigned left);
/* A listener closes: those whom nobody accepted are reset. */
void amp_inet_listen_end(struct amp_sock *s);
/* Accept carriers in, credits out when there is reason to look. Not 0: something came. Words: bytes
 * are made bytes each time. */
unsigned amp_inet_door_work(unsigned state, unsigned look);

/* ---- inet_name.c, inet_direct.c, linked with their calls ---- */

int amp_inet_name(struct amp_sock *s, bool peer, struct sockaddr *addr, socklen_t *len);
int amp_inet_direct(struct amp_sock *s, enum amp_direct op, struct amp_direct_io *io);

/* ---- inet_opt.c, linked with its calls ---- */

int amp_inet_option(struct amp_sock *s, bool set, int level, int name, void *val,
		    socklen_t *len);

/* ---- inet_udp.c ---- */

ssize_t amp_inet_udp_send(struct amp_sock *s, const struct amp_msg *m);
ssize_t amp_inet_udp_recv(struct amp_sock *s, struct amp_msg *m, int flags);
int amp_inet_udp_poll(struct amp_sock *s);

/* ---- inet_carrier.c ---- */

/* A socket that becomes a carrier, of the family that carries the session: unless it is given a
 * linger time its end is a reset. NULL: none left. */
struct amp_sock *amp_inet_carrier_new(void);
/* A carrier is no longer needed. */
static inline void amp_inet_carrier_close(struct amp_sock *c)
{
	AMP_CARRIER(c, end)(c, AMP_END_CLOSED);
}
/*
 * i's carrier on its way up, from none: connect, OPEN for s, whose way it is (NULL: HELLO), the answer.
 * 0: it is here and says yes; -EAGAIN; -errno.
 */
int amp_inet_up(struct amp_inet_way *i, struct amp_sock *s);
/* Receive an ANSWER to op: its status as -errno; -EAGAIN. 0: it lies in amp_inet_answer. */
int amp_inet_recv_answer(struct amp_sock *c, unsigned op);
extern uint8_t amp_inet_answer[AMP_OFF_OPEN_LEN]; /* until the next one */
/* len bytes at p, of which done are out: how many more are now; -EAGAIN: the window has no room
 * for all the rest; -errno. */
int amp_inet_send(struct amp_sock *c, void *p, size_t len, size_t done);
/* The first len bytes that arrived; flags: 0 or MSG_PEEK; buf NULL: away with them. False:
 * there are fewer. */
bool amp_inet_take(struct amp_sock *c, void *buf, size_t len, int flags);
/* The proxy's word as -errno. */
int amp_inet_err(unsigned status);

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

/* The next of this family's sockets, NULL behind the last. */
struct amp_sock *amp_inet_next(const struct amp_sock *s);

/*
 * 0: the session is up. Else it is on its way (-EAGAIN), or the attempt that *ticket waited
 * for has failed (-errno; a ticket of 0 begins a new one).
 */
int amp_inet_session(uint8_t *ticket);

/*
 * A control request, one at a time. key: operation | option << 8. 0: fill amp_inet_body, then
 * amp_inet_req_send(its length); 1: answered, amp_inet_body has amp_inet_body_len() bytes;
 * -EAGAIN; else what became of the session (see there) or what the proxy said.
 */
int amp_inet_req(const void *owner, uint8_t *ticket, unsigned key);
int amp_inet_req_send(unsigned len); /* -EAGAIN */
/* The request's frame, and then its answer's. */
extern uint8_t amp_inet_frame[AMP_INET_CTL_MAX];
#define amp_inet_body (amp_inet_frame + AMP_OFF_CTL_LEN)
static inline unsigned amp_inet_body_len(void)
{
	return amp_le16(amp_inet_frame) - AMP_OFF_CTL_LEN;
}
/* owner is gone or no longer interested. What the answer gives it is given back. */
void amp_inet_req_forget(const void *owner);
/* The answer makes no sense: the session ends, before anything else of it is looked at.
 * -EPROTO. */
int amp_inet_violation(void);
/* A frame of len bytes without answer, of which a is the number, too: more than 0, or -errno. */
int amp_inet_note(unsigned op, unsigned len, uint32_t a, uint32_t b);
/* Look again before sleeping: at the sockets that move by themselves, too. */
void amp_inet_poke(void);
/* There is a socket. */
void amp_inet_opened(void);

#endif /* AMP_INET_H */
