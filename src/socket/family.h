/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The door between the socket face (floor 4) and the families (floor 3), and the
 * struct that both work on.
 *
 * Families never block: an operation does what it can now and returns a count, 0 or
 * -errno, -EAGAIN for "not now". The socket face (api.c, for short; msg.c, poll.c, ...) alone waits, times
 * out, knows MSG_DONTWAIT and O_NONBLOCK, and writes errno. After -EAGAIN api.c waits and
 * calls the same operation again with the same arguments until it answers otherwise;
 * for connect, bind, listen and option that is how a request that needs an answer from
 * far away is made: the first call sends it, a later one returns the result. (On a
 * non-blocking socket connect's -EAGAIN becomes EINPROGRESS; bind, listen and option
 * are waited for all the same, bounded.)
 *
 * Everything here runs with the stack lock held.
 */
#ifndef AMP_FAMILY_H
#define AMP_FAMILY_H

#include <sys/types.h>
#include <sys/socket.h>
#include <poll.h>

#include "../port/port.h"

#ifndef POLLRDHUP
#define POLLRDHUP 0
#endif

struct amp_rx_want;
struct amp_sock;
struct amp_stats;

/* What sendmsg and recvmsg move. */
struct amp_msg {
	const struct iovec *iov; /* recv: NULL: nowhere, what is there is counted or dropped */
	size_t iov_cnt;
	size_t len;  /* bytes in iov together, summed and checked once by api.c */
	size_t done; /* bytes moved by earlier calls for this same message (streams) */
	struct sockaddr *name; /* send: destination or NULL; recv: filled in, or NULL */
	socklen_t name_len;    /* recv: in room, out true length */
	int flags;	       /* out of recv: MSG_TRUNC, MSG_EOR */
};

/*
 * A small core with one family beside AF_INET knows whose its carriers are: AMP_CARRIER(c, connect) is
 * that family's by name then, and no entry of a table.
 */
#define AMP_ONE_CARRIER \
	(AMPSOCK_INET && !AMPSOCK_FAST && !AMPSOCK_HOSTED && !(AMPSOCK_VSOCK && AMPSOCK_RPMSG))
#if !AMP_ONE_CARRIER
#define AMP_CARRIER(c, op)   AMP_FAM((c)->fam, op)
#define AMP_CARRIER_CARRY(c) ((c)->fam->carrier->carry)
#else
#define AMP_CARRIER_CARRY(c) amp_vsock_carry
#if AMPSOCK_VSOCK
#define AMP_CARRIER(c, op) amp_vsock_sock_##op
#define AMP_CARRIER_FAMILY amp_vsock_family
#else
#define AMP_CARRIER(c, op) amp_rpmsg_sock_##op
#define AMP_CARRIER_FAMILY amp_rpmsg_family
#endif
#endif

/* No carrier's packet has room for fewer bytes. */
#define AMP_CARRY_LEAST 33u

/* Where an AF_INET socket's carrier goes: data, so that af_inet needs no family's header. */
struct amp_carrier {
	const struct sockaddr *proxy;  /* connect here */
	const struct sockaddr *accept; /* accepted connections arrive here */
	socklen_t len;
#if !AMP_ONE_CARRIER
	bool (*up)(void); /* is one of its links up? NULL: always */
	/*
	 * Of the bytes in iov those from off up to end, as many as go now; none while the window
	 * has no room for whole of them. Their number, AMP_CARRY_LEAST at least where there are so
	 * many, or -errno as sendmsg.
	 */
	ssize_t (*carry)(struct amp_sock *c, const struct iovec *iov, size_t off, size_t end,
			 size_t whole);
#endif
};

enum amp_direct {
	AMP_RESERVE, /* iov[0..cnt): room for up to len bytes to send; sets len; one reservation
			a socket */
	AMP_COMMIT,  /* send the first len bytes of it, 0 gives it back */
	AMP_BORROW, /* iov[0..cnt): received bytes in place; sets len; -EAGAIN none, 0 with cnt 0
			EOF, with another cnt an empty message or none asked for */
	AMP_RETURN, /* the first len of them are done with */
};

struct amp_direct_io {
	struct iovec *iov; /* the caller's two */
	unsigned cnt;
	size_t len;
};

/* Why end() is called. */
enum amp_end_why {
	AMP_END_CONNECT, /* the attempt of a socket with AMP_SF_CONNECTING is given up */
	AMP_END_CLOSED,	 /* the descriptor is gone; the family calls amp_sock_free() when it is
			    done with the struct, now or later */
	AMP_END_LATE,	 /* AF_INET: a call that waited for an answer from far away has given up
			    (amp_far()) */
};

/*
 * The operations that every family has: AMP_FAM(s->fam, bind)(s, addr, len). A program with one
 * family calls them by name, and they are not in its table.
 */
#define AMP_ONE_FAMILY (!AMPSOCK_INET && !(AMPSOCK_VSOCK && AMPSOCK_RPMSG))
#if !AMP_ONE_FAMILY
#define AMP_FAM(fam, op) ((fam)->op)
#elif AMPSOCK_VSOCK
#define AMP_FAM(fam, op) amp_vsock_sock_##op
#else
#define AMP_FAM(fam, op) amp_rpmsg_sock_##op
#endif

struct amp_family {
	int domain;
	/* NULL when this family carries no AF_INET sockets. */
	const struct amp_carrier *carrier;

	/* At most 15 operations. Those that are optional (see below) may be NULL: EOPNOTSUPP. */
#if !AMP_ONE_FAMILY
	int (*create)(struct amp_sock *s, int type, int protocol);
	/* addr is as the program gave it, NULL perhaps. */
	int (*bind)(struct amp_sock *s, const struct sockaddr *addr, socklen_t len);
	int (*connect)(struct amp_sock *s, const struct sockaddr *addr, socklen_t len);
	/* flags: MSG_EOR MSG_NOSIGNAL. A short count is progress, api.c calls again with done
	 * raised; of a message (not SOCK_STREAM) until all is gone, non-blocking or not: its
	 * beginning is out, and the window had room for the rest. */
	ssize_t (*sendmsg)(struct amp_sock *s, const struct amp_msg *m, int flags);
	/* 0: EOF, or a message without bytes: so while s->err is set, a message socket that has
	 * none says -EAGAIN. Of a stream without iov, not peeking: len bytes are thrown away.
	 * flags: MSG_PEEK MSG_TRUNC. MSG_WAITALL and SO_RCVLOWAT are api.c's. */
	ssize_t (*recvmsg)(struct amp_sock *s, struct amp_msg *m, int flags);
	void (*end)(struct amp_sock *s, enum amp_end_why why);
	/* POLLIN POLLOUT POLLRDHUP POLLHUP (POLLERR comes from s->err); agrees with the calls.
	 */
	int (*poll)(struct amp_sock *s);
#endif
	int (*listen)(struct amp_sock *s, int backlog);
	/* A child taken off s's queue, or NULL with *err = -EAGAIN or another. */
	struct amp_sock *(*accept)(struct amp_sock *s, int *err);
	/* shutdown() of a connection. how: SHUT_RD SHUT_WR SHUT_RDWR. */
	int (*half_close)(struct amp_sock *s, int how);
	int (*name)(struct amp_sock *s, bool peer, struct sockaddr *addr, socklen_t *len);
	/* Options that api.c does not answer itself. set: val in; else val out, *len in/out. */
	int (*option)(struct amp_sock *s, bool set, int level, int name, void *val,
		      socklen_t *len);
	int (*direct)(struct amp_sock *s, enum amp_direct op, struct amp_direct_io *io);
#if AMPSOCK_FAST
	/*
	 * The short ways of what nearly every call is; every family has both. They mean what
	 * sendmsg and recvmsg mean, and do nothing where anything is out of the ordinary.
	 *
	 * All len bytes at buf, 1 or more, at once, flags as sendmsg's, of a socket without
	 * pending error. False: nothing has happened.
	 */
	bool (*send_fast)(struct amp_sock *s, const void *buf, size_t len, int flags);
	/*
	 * For a caller who waits: what comes next from the link goes to w, if it is for him and
	 * nothing older is here. What else there is to look at (the peer's life, the clock, other
	 * links) is looked at when nothing comes, and before the peer may want to hear of its
	 * buffers: that bounds it. Of w it knows to and end; s->want, which may be another's or
	 * nobody's, is no concern of it. Of a message nothing is said but its bytes: neither its
	 * length nor whether it ends a record.
	 */
	void (*recv_fast)(struct amp_sock *s, struct amp_rx_want *w);
#endif
};

/*
 * Pay for what you link. A table of operations would keep all of them in every program, so
 * six are optional: listen, accept, half_close, name, option and direct. A family
 *  - defines each as prefix_listen and so on, in files that hold nothing else;
 *  - names them in its table's file after AMP_OPTIONAL(prefix_listen), a weak reference:
 *    the linker takes no member out of an archive for its sake.
 * The public call that needs the operation asks for it by including need.h; so a program
 * that calls listen() has every family's listen, and in one that does not the slot is NULL.
 */
#define AMP_OPTIONAL(fn) extern __typeof__(fn) fn __attribute__((weak))

/*
 * AF_RPMSG's datagram to a name, and a datagram's source: linked by the calls whose messages have
 * names (msg_name.c), and called for nobody else's. Where it goes: its link's number, and *dst; -errno.
 */
int amp_rpmsg_dgram_to(struct amp_sock *s, const struct amp_msg *m, uint32_t *dst);

/*
 * Said once for all families:
 *  - pending errors (s->err) are api.c's: it reports them before a send and after the
 *    last received byte; poll gets POLLERR from it.
 *  - a connection that is over (AMP_SF_RESET) answers recvmsg with what is left, then 0,
 *    and sendmsg with -EPIPE; both with -ENOTCONN where it was an attempt that failed. connect()
 *    on it is -EISCONN or starts anew, as the family likes.
 *  - connect: api.c sets AMP_SF_CONNECTING. When it is done, now or by an event, the family
 *    sets AMP_SF_CONNECTED; by an event it clears AMP_SF_CONNECTING, too: the connection may
 *    have ended again before anybody looks. Failure by event: amp_sock_reset(s, ECONNREFUSED).
 *  - shutdown() of a socket with AMP_SF_CONNECTING gives the attempt up, and so does api.c
 *    at time-outs: both by end().
 */

/* bind() and connect(): the program's address, NULL perhaps, is AF_UNSPEC's. */
static inline bool amp_addr_unspec(const struct sockaddr *addr, socklen_t len)
{
	return addr && len >= sizeof(addr->sa_family) && addr->sa_family == AF_UNSPEC;
}

/* Byte ring of a socket: AMPSOCK_RING_LEN bytes; the counters run free and wrap. */
#if AMPSOCK_RING_LEN <= 32768
#define AMP_RING_IDX uint16_t
#else
#define AMP_RING_IDX uint32_t
#endif
struct amp_rxring {
	uint8_t *buf;	   /* NULL: this socket has none */
	AMP_RING_IDX head; /* bytes ever written */
	AMP_RING_IDX tail; /* bytes ever read */
};

/*
 * Where buffers are large, poll() and select() leave bulk in the queue. One packet of it goes to its
 * socket's ring and makes that readable, which the caller hears at once; his recv() takes what is in the
 * ring, and then what lies behind it in the queue, straight to him: it is copied once, not twice. When
 * none of his descriptors is ready for that, they look again and take all there is, as every other
 * call does: whoever waits for what lies behind somebody's bulk does not depend on him.
 */
#define AMP_BULK_LEN   4096u
#define AMP_BULK_STAYS (AMPSOCK_FAST && AMPSOCK_VSOCK_BUF_LEN > AMP_BULK_LEN)
#if AMP_BULK_STAYS
extern struct amp_bulk {
	bool stays; /* l: this look is poll()'s */
	bool left;  /* l: and some was left */
} amp_bulk;

/* A packet of len bytes went to a socket's ring. Is that enough for this look? */
static inline bool amp_bulk_enough(uint32_t len)
{
	if (!amp_bulk.stays || len <= AMP_BULK_LEN)
		return false;
	amp_bulk.left = true;
	return true;
}
#else
static inline bool amp_bulk_enough(uint32_t len)
{
	(void)len;
	return false;
}
#endif

/* What a SOCK_SEQPACKET socket can promise its peer: message headers take the rest. */
#define AMP_RING_MSG_ALLOC (AMPSOCK_RING_LEN / 2u)

/* flags of a socket. Those of a connection's state are neighbours: one instruction clears all. */
#define AMP_SF_NONBLOCK	  0x0001u
#define AMP_SF_LISTEN	  0x0002u
#define AMP_SF_BOUND	  0x0004u
#define AMP_SF_CONNECTED  0x0008u
#define AMP_SF_CONNECTING 0x0010u
#define AMP_SF_RD_SHUT	  0x0020u /* I receive no more */
#define AMP_SF_WR_SHUT	  0x0040u /* I send no more */
#define AMP_SF_HUP	  0x0080u /* the peer receives no more: EPIPE */
#define AMP_SF_EOF	  0x0100u /* the peer sends no more: EOF once the ring is drained */
#define AMP_SF_RESET	  0x0200u /* the connection is dead; err was or will be told once */
#define AMP_SF_TRUSTED	  0x0400u /* the peer is the carrier's own end: the proxy itself */
#define AMP_SF_ORPHAN	  0x0800u /* no descriptor: internal, queued for accept, or closing */
#define AMP_SF_REUSEADDR  0x1000u
#define AMP_SF_EOR	  0x2000u
#define AMP_SF_RESERVED	  0x4000u /* a reservation is open (AMP_RESERVE) */

/* shutdown(how) as AMP_SF_RD_SHUT and AMP_SF_WR_SHUT, and as virtio has it (5.10.6.4). */
#define AMP_SHUT_BITS(how)  ((uint8_t)((how) + 1))
#define AMP_SHUT_FLAGS(how) ((uint16_t)(AMP_SHUT_BITS(how) * AMP_SF_RD_SHUT))
_Static_assert(SHUT_RD == 0 && SHUT_WR == 1 && SHUT_RDWR == 2 &&
		       AMP_SF_WR_SHUT == 2 * AMP_SF_RD_SHUT,
	       "AMP_SHUT_BITS");

/*
 * Room for a family's own part of a socket: the longest; each family asserts that it fits. AF_INET has
 * two addresses; AF_VSOCK a connection; AF_RPMSG a connection with its endpoint, or an endpoint on
 * each link and the name that it waits for.
 */
#define AMP_SOCK_PRIV_INET (AMPSOCK_INET * (sizeof(void *) * 3 + 56))
#define AMP_SOCK_PRIV_CONN                                           \
	(sizeof(void *) * (AMPSOCK_VSOCK && !AMPSOCK_FAST ? 3 : 2) + \
	 4 * sizeof(AMP_CREDIT_CNT) + 32 + AMPSOCK_VSOCK * 16)
#define AMP_SOCK_PRIV_RAW \
	(AMPSOCK_RPMSG ? AMPSOCK_RPMSG * (sizeof(void *) * 3 + 8) + sizeof(void *) * 5 + 24 : 0)
#define AMP_SOCK_PRIV_STREAM (AMPSOCK_RPMSG ? AMP_SOCK_PRIV_CONN + sizeof(void *) + 12 : 0)
#define AMP_SOCK_MAX(a, b)   ((a) > (b) ? (a) : (b))
#define AMP_SOCK_PRIV_LEN                                                  \
	AMP_SOCK_MAX(AMP_SOCK_MAX(AMP_SOCK_PRIV_INET, AMP_SOCK_PRIV_CONN), \
		     AMP_SOCK_MAX(AMP_SOCK_PRIV_RAW, AMP_SOCK_PRIV_STREAM))

/*
 * A time-out of a socket, 0: for ever. Where there are no threads there is little memory, too: 11 bits
 * and the power of two that they are to be multiplied with, rounded up: exact up to 2 s, to
 * a thousandth above. AF_RPMSG alone would have more text for it than its few sockets have bytes.
 */
#define AMP_TIMEO_MAX_MS (0x7ffu << 20)
#define AMP_TIMEO_PACKED (!AMP_PORT_THREADS && (AMPSOCK_INET || AMPSOCK_VSOCK))
#if AMP_TIMEO_PACKED
#define AMP_TIMEO uint16_t
#else
#define AMP_TIMEO uint32_t
#endif
static inline uint32_t amp_timeo_unpack(uint16_t t)
{
	return (t & 0x7ffu) << (t >> 11);
}

/* ms: up to AMP_TIMEO_MAX_MS */
static inline uint16_t amp_timeo_pack(uint32_t ms)
{
	unsigned e = 0;

	for (; ms > 0x7ffu; e++)
		ms = (ms + 1) / 2;
	return (uint16_t)(e << 11 | ms);
}

static inline uint32_t amp_timeo_ms(AMP_TIMEO t)
{
	return AMP_TIMEO_PACKED ? amp_timeo_unpack((uint16_t)t) : t;
}

/* Without threads nobody closes a socket under a call, nor looks at gen and users. */
#if AMP_PORT_THREADS
#define AMP_SOCK_THREADED struct
#else
#define AMP_SOCK_THREADED union
#endif

/* Locking: everything under the stack lock, except fam and type which never change. */
struct amp_sock {
	const struct amp_family *fam; /* NULL: free slot */
	uint8_t type;	  /* SOCK_*; bytes early: short offsets are short instructions */
	uint8_t domain;	  /* AF_*: AF_INET and AF_INET6 share a family */
	uint8_t err;	  /* pending error (errno), reported once: SO_ERROR or a call */
	uint8_t linger_s; /* 255: not set */
	uint8_t link;	  /* the family's own: on which link */
	uint8_t sub;	  /* the family's own: more flags */
	AMP_SOCK_THREADED
	{
		/* 1 + the index of a child, 0: none. It waits in a listener's queue: of the one
		 * behind; listener: of the oldest that is ready for accept */
		uint16_t next;
		struct {
			uint8_t gen;   /* changes at every reuse of the slot */
			uint8_t users; /* calls inside: the slot is not reused before they
					  leave */
		};
	};
	uint16_t flags; /* AMP_SF_* */
	union {
		uint16_t rcvlowat;    /* 0: as 1 */
		AMP_RING_IDX rx_part; /* SOCK_SEQPACKET: bytes behind rx.head, of a message */
		struct {	      /* listener */
			uint8_t backlog;
			uint8_t queued; /* children in queue */
		};
	};
#if AMP_TIMEO_PACKED
	AMP_TIMEO timeo[2]; /* amp_timeo_ms(); of receiving, of sending */
#endif
#if AMPSOCK_FAST
	struct amp_rx_want *want; /* a caller waits in recv: copy straight to it */
#endif
#if AMP_PORT_WAKE_ONE
	void *sender; /* a thread that sleeps until the peer gives more credit */
#endif
	struct amp_rxring rx;
	union {
		uint8_t bytes[AMP_SOCK_PRIV_LEN];
		void *align; /* a family has nothing that wants more */
	} priv;
#if !AMP_TIMEO_PACKED
	AMP_TIMEO timeo[2]; /* larger, and so behind what is looked at more often */
#endif
};

/* AF_VSOCK has no datagrams: where it is alone, nobody has. */
static inline bool amp_sock_dgram(const struct amp_sock *s)
{
	return (AMPSOCK_INET || AMPSOCK_RPMSG > 0) && s->type == SOCK_DGRAM;
}

/*
 * A recv that waits: where its bytes go. Lives on the caller's stack; s->want is set
 * before recvmsg is called. A family whose bytes arrive on another socket (a carrier) may
 * pass it on from recvmsg: carrier->want = s->want, s->want->at = carrier; api.c takes
 * both back when the call ends. Only what comes when nothing older lies in the ring may go
 * here. Of messages it takes one whole, or its beginning: who puts it there sets full.
 */
struct amp_rx_want {
	struct amp_sock *at; /* NULL, or the other socket whose want points here */
	uint8_t *to;	     /* the next byte's place: whoever puts some there moves it on */
	uint8_t *end;	     /* of all that is wanted, or of the piece under way */
	size_t full;	     /* SOCK_SEQPACKET: not 0: a message came, and this long it was */
	bool eor;	     /* SOCK_SEQPACKET: it ends a record */
#if AMP_PORT_WAKE_ONE
	void *thread; /* whose it is */
#endif
};

#if AMPSOCK_FAST
static inline struct amp_rx_want *amp_sock_want(const struct amp_sock *s)
{
	return s->want;
}

static inline void amp_sock_set_want(struct amp_sock *s, struct amp_rx_want *w)
{
	s->want = w;
}

static inline bool amp_sock_send_fast(struct amp_sock *s, const void *buf, size_t len,
				      int flags)
{
	return !s->err && s->fam->send_fast(s, buf, len, flags);
}

static inline void amp_sock_recv_fast(struct amp_sock *s, struct amp_rx_want *w)
{
	s->fam->recv_fast(s, w);
}
#else
/* All that comes goes by the ring: one copy more, and 200 bytes less. */
static inline struct amp_rx_want *amp_sock_want(const struct amp_sock *s)
{
	(void)s;
	return NULL;
}

static inline void amp_sock_set_want(struct amp_sock *s, struct amp_rx_want *w)
{
	(void)s;
	(void)w;
}

static inline bool amp_sock_send_fast(struct amp_sock *s, const void *buf, size_t len,
				      int flags)
{
	(void)s;
	(void)buf;
	(void)len;
	(void)flags;
	return false;
}

static inline void amp_sock_recv_fast(struct amp_sock *s, struct amp_rx_want *w)
{
	(void)s;
	(void)w;
}
#endif

/* The first family that has a carrier whose link is up, else the first that has one. */
#if !AMP_ONE_CARRIER
const struct amp_family *amp_family_carrier(void);
#else
extern const struct amp_family AMP_CARRIER_FAMILY;
static inline const struct amp_family *amp_family_carrier(void)
{
	return &AMP_CARRIER_FAMILY;
}
#endif
/* socketpair(), which AF_VSOCK's loop makes of two new sockets of it, of one type. 0, or -errno:
 * they are to be closed. */
int amp_vsock_pair(struct amp_sock *const ab[2]);

/*
 * What socket() makes: fam->create() done. Its descriptor, or -errno. One that is not the application's,
 * or not yet, is made an orphan by who asked for it (AMP_SF_ORPHAN).
 */
int amp_sock_new(int domain, int type, int protocol);
/* The socket with this descriptor; NULL, of -errno, too. */
struct amp_sock *amp_sock_find(int fd);
/* Give the slot back (generation raised); its ring with it. */
void amp_sock_free(struct amp_sock *s);
/* Give the socket a receive ring / take it back. -ENOBUFS. */
int amp_sock_ring(struct amp_sock *s);
void amp_sock_ring_free(struct amp_sock *s);
/* Listener's queue. push: -ENOBUFS when full. */
int amp_sock_queue_push(struct amp_sock *listener, struct amp_sock *child);
struct amp_sock *amp_sock_queue_pop(struct amp_sock *listener);
/* The oldest, which stays; NULL. */
struct amp_sock *amp_sock_queue_peek(const struct amp_sock *listener);

#include "wake.h"

/*
 * poll() of who goes by the flags above; readable: something lies here to be received. Negative:
 * ~ of it, and whether s is writable is still to be seen; if it is not, asked for.
 */
int amp_sock_poll(const struct amp_sock *s, bool readable);
/* Set the pending error and the RESET flag, wake. */
void amp_sock_reset(struct amp_sock *s, int err);

/* rxring.c: stream bytes. Put into a waiting caller's buffer first, then the ring.
 * Returns bytes taken (all, unless the ring is full); *direct: bytes that went to the caller.
 */
#if AMPSOCK_FAST
size_t amp_sock_rx(struct amp_sock *s, const void *data, size_t len, size_t *direct);
#endif
/* To the ring alone. */
size_t amp_rxring_write(struct amp_rxring *r, const void *data, size_t len);
#if !AMPSOCK_FAST
static inline size_t amp_sock_rx(struct amp_sock *s, const void *data, size_t len,
				 size_t *direct)
{
	*direct = 0;
	return amp_rxring_write(&s->rx, data, len);
}
#endif
/* Up to len bytes from pos on, of those that are there, to behind the first m->done bytes of m's
 * iov. Returns what fitted; without an iov that is all: counted, or thrown away. They stay: who is
 * done with them moves r->tail. */
size_t amp_rxring_read(const struct amp_rxring *r, uint32_t pos, const struct amp_msg *m,
		       size_t len);
/* len bytes from pos on, whether there or not. */
void amp_rxring_peek(const struct amp_rxring *r, uint32_t pos, void *to, size_t len);
static inline uint32_t amp_rxring_used(const struct amp_rxring *r)
{
	return (AMP_RING_IDX)(r->head - r->tail);
}

static inline uint32_t amp_rxring_room(const struct amp_rxring *r)
{
	return AMPSOCK_RING_LEN - amp_rxring_used(r);
}
/*
 * Messages in the same ring: append as fragments arrive (-ENOBUFS: no room); read one message, of
 * whose m nothing is done: bytes copied, *full its true length, MSG_EOR and MSG_TRUNC in m->flags;
 * -EAGAIN none complete.
 */
int amp_rxring_msg_append(struct amp_sock *s, const void *data, size_t len, unsigned how);
#define AMP_RX_LAST 1u /* how: it ends the message */
#define AMP_RX_EOR  2u /* and that a record */
ssize_t amp_rxring_msg_read(struct amp_rxring *r, struct amp_msg *m, bool peek, size_t *full);

#include "runner.h"

/* Link number `link` (the order of bring-up) is up or down. */
void amp_link_change(int link, bool up);
/* The same, for amp_link_wait() and the callback: linked with them. */
void amp_link_report(int link, bool up);
/* A datagram was dropped, a link was reset: amp_stats_get(). Sockets and rings in use are counted
 * there only with AF_INET, or where threads can close a socket whose slot is not free yet. */
extern struct amp_stats amp_counts;
#define AMP_COUNT_USE (AMPSOCK_INET || AMP_PORT_THREADS)
/* One line for the application's log hook. */
void amp_log(const char *line);
/* The same, where words are compiled in (AMPSOCK_WHY). */
static inline void amp_explain(const char *line)
{
	if (AMPSOCK_WHY)
		amp_log(line);
}

/* struct amp_family's, of the only one or of whose the carriers are: by name. */
#if AMP_ONE_FAMILY
#define AMP_BY_NAME(op) AMP_FAM(, op)
#elif AMP_ONE_CARRIER
#define AMP_BY_NAME(op) AMP_CARRIER(, op)
#endif
#ifdef AMP_BY_NAME
int AMP_BY_NAME(create)(struct amp_sock *s, int type, int protocol);
int AMP_BY_NAME(bind)(struct amp_sock *s, const struct sockaddr *addr, socklen_t len);
int AMP_BY_NAME(connect)(struct amp_sock *s, const struct sockaddr *addr, socklen_t len);
ssize_t AMP_BY_NAME(sendmsg)(struct amp_sock *s, const struct amp_msg *m, int flags);
ssize_t AMP_BY_NAME(recvmsg)(struct amp_sock *s, struct amp_msg *m, int flags);
void AMP_BY_NAME(end)(struct amp_sock *s, enum amp_end_why why);
int AMP_BY_NAME(poll)(struct amp_sock *s);
#endif
#if AMP_ONE_CARRIER
/* struct amp_carrier's. */
ssize_t AMP_CARRIER_CARRY()(struct amp_sock *c, const struct iovec *iov, size_t off, size_t end,
			    size_t whole);
#endif

/* What is left of the sockets: NULL at the end. For rare searches (a free port, a listener). */
struct amp_sock *amp_sock_next(const struct amp_sock *s);
/* The same of one family. */
struct amp_sock *amp_sock_next_of(const struct amp_sock *s, const struct amp_family *fam);
/* One look at every runner, as a call that waits does. Not from a runner. */
int32_t amp_links_run(void);

#endif /* AMP_FAMILY_H */
