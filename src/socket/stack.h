/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of this room share: calls into the stack, and waiting inside them. */
#ifndef AMP_STACK_H
#define AMP_STACK_H

#include <errno.h>

#include "amp_calls.h"
#include "family.h"
#include "fd.h"

/* Names that a bare libc may lack. */
#ifndef SOCK_CLOEXEC
#define SOCK_CLOEXEC 0
#endif

#define AMP_TYPE_FLAGS (SOCK_NONBLOCK | SOCK_CLOEXEC)

/* One more copy of a function is worth it where speed matters. */
#if AMPSOCK_FAST
#define AMP_INLINE  inline __attribute__((always_inline))
#define AMP_OUTLINE __attribute__((noinline))
#define AMP_ONCE    AMP_INLINE
#else
#define AMP_INLINE inline
#define AMP_OUTLINE
#define AMP_ONCE __attribute__((noinline))
#endif

/* One call on one socket, from amp_enter() to amp_leave(). On the caller's stack. */
struct amp_call {
	struct amp_sock *s;  /* NULL: a call without socket */
	uint32_t timeout_ms; /* 0: it may not block; AMP_FOREVER */
	uint32_t deadline_ms;
	bool looked;  /* the links had their look */
	bool started; /* deadline_ms is set */
	uint8_t gen;
	uint8_t aside; /* amp_far_begin(): an error that is pending, no longer in s */
#if AMP_PORT_WAKE_ONE
	bool named; /* it is woken by name when there is a reason */
#endif
};

#define AMP_FOREVER UINT32_MAX

#if AMP_PORT_WAKE_ONE
static inline void amp_call_named(struct amp_call *c, bool named)
{
	c->named = named;
}
#else
static inline void amp_call_named(struct amp_call *c, bool named)
{
	(void)c;
	(void)named;
}
#endif

extern struct amp_sock amp_socks[AMPSOCK_SOCKETS];

#if AMPSOCK_FAST
/* Lock, find, hold. NULL with errno EBADF, ENOTSOCK, and the lock is not held. */
struct amp_sock *amp_hold_slow(int fd);
static inline struct amp_sock *amp_hold(int fd)
{
	unsigned i = (unsigned)fd - AMPSOCK_FD_BASE;

	if (AMP_PORT_THREADS || i >= AMPSOCK_SOCKETS)
		return amp_hold_slow(fd);
	amp_port_lock();
	if (amp_socks[i].fam && !(amp_socks[i].flags & AMP_SF_ORPHAN))
		return &amp_socks[i];
	amp_port_unlock();
	return amp_hold_slow(fd); /* which says why not */
}
#endif
/* What amp_again() needs to know about a call on a socket that is held. timeo_ms: of the socket, 0: for ever. */
static inline void amp_call_init(struct amp_call *c, struct amp_sock *s, uint32_t timeo_ms)
{
	c->s = s;
	c->timeout_ms = s->flags & AMP_SF_NONBLOCK ? 0 : timeo_ms ? timeo_ms : AMP_FOREVER;
	c->looked = c->started = false;
	c->gen = AMP_PORT_THREADS ? s->gen : 0;
	c->aside = 0;
	amp_call_named(c, false);
}
/*
 * Lock, find and hold a call's socket, with the time-out of sending (out), or of receiving. 0, or -errno:
 * then only amp_leave() is left to do.
 */
int amp_enter(struct amp_call *c, int fd, bool out);
/*
 * Let go, unlock, notify the peers. Returns r, or -1 with errno when r is negative: every
 * public call ends here (or in amp_fail()).
 */
#if AMP_PORT_THREADS
ssize_t amp_release_slow(struct amp_sock *s, ssize_t r);
#else
ssize_t amp_done(ssize_t r);
static inline ssize_t amp_release_slow(struct amp_sock *s, ssize_t r)
{
	(void)s; /* nobody counts the calls inside */
	return amp_done(r);
}
#endif
#if AMPSOCK_FAST
void amp_flush_out(void);
/* The same, of a call that did well. */
static inline ssize_t amp_release(struct amp_sock *s, ssize_t r)
{
	if (AMP_PORT_THREADS)
		return amp_release_slow(s, r);
	if (amp_due) {
		amp_flush_out();
	} else {
		amp_changed = false; /* nobody else to wake */
		amp_port_unlock();
	}
	return r;
}
#endif
static inline ssize_t amp_leave(struct amp_call *c, ssize_t r)
{
	return amp_release_slow(c->s, r);
}
/*
 * An operation said -EAGAIN: look at the links, the second time sleep. 0: try it again.
 * -EAGAIN: it may not block or its time is up; -EBADF: closed meanwhile.
 */
int amp_again(struct amp_call *c);
/* The look of a call without socket left bulk where it was (AMP_BULK_STAYS), and nothing came of it: now
 * all of it is taken. False: it left none. */
#if AMP_BULK_STAYS
bool amp_look_on(void);
#else
static inline bool amp_look_on(void)
{
	return false;
}
#endif

/* Only sleep, once the links had their look; the caller looks himself. As amp_again(). */
int amp_wait(struct amp_call *c);
/* A call without socket that waits: not at all (0), for ever (negative), or so long. */
void amp_enter_timed(struct amp_call *c, int32_t timeout_ms);
/* The same, but it does not wait. */
static inline void amp_enter_plain(struct amp_call *c)
{
	amp_enter_timed(c, 0);
}
/*
 * sec and what is beyond, in parts of which ms_parts are a millisecond: in ms, rounded up, at most
 * AMP_TIMEO_MAX_MS. AMP_MS_BAD: negative, or more parts than a second has.
 */
int32_t amp_to_ms(int64_t sec, unsigned long parts, unsigned long ms_parts);
#define AMP_MS_BAD (-2)

/*
 * bind() and listen(), which AF_INET tells by s->err what came of them: what is pending there of a
 * connection that is over is put aside, and goes back at the end of the call, or into SO_ERROR it never comes.
 */
#if AMPSOCK_INET
void amp_far_begin(struct amp_call *c);
int amp_far_end(struct amp_call *c, int r);
#else
static inline void amp_far_begin(const struct amp_call *c)
{
	(void)c;
}

static inline int amp_far_end(struct amp_call *c, int r)
{
	return (int)amp_leave(c, r);
}
#endif
/* An operation that needs an answer from far away: waited for, but not for ever. False: over. */
static inline bool amp_far_again(struct amp_call *c, int r)
{
	if (r != -EAGAIN)
		return false;
	c->timeout_ms = AMPSOCK_CONNECT_MS;
	return amp_again(c) == 0;
}

/*
 * r is what an operation said that may need an answer from far away. AMP_FAR_AGAIN: try again. Else what it came to; an answer that comes after all is nobody's.
 */
int amp_far(struct amp_call *c, int r);
#define AMP_FAR_AGAIN 1

/* The last call has left a slot that was given back. */
void amp_sock_gone(struct amp_sock *s);
/* The descriptor goes at once, whoever waits on it hears EBADF; the rest is the family's. */
void amp_sock_close(struct amp_sock *s);
/* ---- messages (msg.c) ---- */

#define AMP_SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_EOR)
#define AMP_RECV_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_PEEK | MSG_WAITALL | MSG_TRUNC)
/* m's pieces, to or from its name: iov, iov_cnt, name and name_len are set. may: AMP_SEND_FLAGS, they are
 * sent, or AMP_RECV_FLAGS, they are received. What the call returns. */
ssize_t amp_msg_pieces(int fd, struct amp_msg *m, int flags, int may);

int amp_sock_fd(const struct amp_sock *s);
/* The runner behind r, the first for NULL; NULL at the end. */
struct amp_runner *amp_runner_next(const struct amp_runner *r);
/* The pending error, -errno, cleared; 0. */
int amp_sock_take_err(struct amp_sock *s);

/* ---- descriptors that are no sockets (console.c, linked with amp_fd_console()) ---- */

/* What is asked of one; as a number, the answer of one that is nothing at all. */
enum amp_fd_ask {
	AMP_FD_ERR = EBADF,	/* errno of a call for sockets; the console's: ENOTSOCK */
	AMP_FD_POLL = POLLNVAL, /* what poll() finds */
	AMP_FD_CLOSE = -EBADF,	/* close(): 0 or -errno */
};
int amp_fd_other(int fd, enum amp_fd_ask ask);
static inline bool amp_fd_own(int fd)
{
	return amp_fd_other(fd, AMP_FD_ERR) == ENOTSOCK;
}

/* Of the console's: all that amp_fd_other() answers; where AMP_SF_NONBLOCK is; readv() and writev().
 * Named weakly. */
int amp_console_ask(int fd, enum amp_fd_ask ask);
uint16_t *amp_console_flags(int fd);
ssize_t amp_console_io(int fd, const struct iovec *iov, int iovcnt, bool out);

#endif /* AMP_STACK_H */
