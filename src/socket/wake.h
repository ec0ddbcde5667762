/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whom a change concerns: who waits in a call is woken by name, or with all others. A part of family.h,
 * which alone includes it: floors 3 and 4 say what has happened, stack.c wakes.
 */
#ifndef AMP_WAKE_H
#define AMP_WAKE_H

/*
 * Something that a waiter or poller may look for has happened to s. amp_stirred: the same, but for
 * bytes that went straight into a waiting caller's buffer, and until the AF_INET session, which
 * otherwise rests, has looked: neither carriers nor sockets of its own get bytes that way.
 */
#if AMP_PORT_WAKE_ONE
/*
 * Whom it concerns, when that is known: whose bytes have come, or whose credit. Everybody else
 * sleeps on. Every change that does not say is everybody's; too many names, too.
 */
#define AMP_WAKES_MAX 8u
extern struct amp_wakes {
	bool all, rest; /* rest: those that did not wait by name */
	unsigned cnt;
	void *one[AMP_WAKES_MAX];
} amp_wakes;
static inline void amp_wake_all(void)
{
	amp_wakes.all = true;
}

static inline void amp_wake_rest(void)
{
	amp_wakes.rest = true;
}

static inline void amp_wake_one(void *thread)
{
	struct amp_wakes *w = &amp_wakes;

	if (w->cnt && w->one[w->cnt - 1] == thread)
		return;
	if (w->cnt == AMP_WAKES_MAX)
		w->all = true;
	else
		w->one[w->cnt++] = thread;
}

/* Bytes come for the caller who waits with w. */
static inline void amp_wake_want(const struct amp_rx_want *w)
{
	amp_wake_one(w->thread);
}
#else
static inline void amp_wake_all(void)
{
}

static inline void amp_wake_rest(void)
{
}

static inline void amp_wake_want(const struct amp_rx_want *w)
{
	(void)w;
}
#endif

#if AMPSOCK_FAST
extern bool amp_changed;
extern bool amp_stirred;
static inline void amp_change(void)
{
	amp_changed = true;
	amp_stirred = true;
	amp_wake_all();
}

/* The turn ended early, and there may be more. Who leaves without having looked hands that on. */
static inline void amp_more(void)
{
	amp_changed = true;
	amp_stirred = true;
}

/* Bytes went straight to a caller who waits: his affair alone. */
static inline void amp_mine(void)
{
	amp_changed = true;
}

/* recv_fast took something: the caller's affair alone, and of other threads that come after. */
static inline void amp_took(void)
{
	if (AMP_PORT_THREADS)
		amp_changed = true;
}
#else
void amp_change(void); /* a call is less than half as long */
static inline void amp_more(void)
{
	amp_change();
}

static inline void amp_mine(void)
{
	amp_change();
}
#endif
static inline void amp_sock_changed(struct amp_sock *s)
{
	(void)s;
	amp_change();
}

#if AMP_PORT_WAKE_ONE
/* The send that is tried now, by a call that may wait, and where it found no room. */
extern struct amp_credit_wait {
	bool asking;
	struct amp_sock *at; /* its sender is the calling thread: it waits by name */
} amp_credit_wait;	     /* l */
/*
 * A send is to go on when the peer has more room for s. Of one thread a socket, and one socket a
 * thread, the name is kept; the others are of the rest. Runners send, too, and wait for nothing.
 */
static inline void amp_wait_credit(struct amp_sock *s)
{
	struct amp_credit_wait *w = &amp_credit_wait;

	if (!w->asking || w->at || s->sender)
		return;
	w->at = s;
	s->sender = amp_port_self();
}

/* It has. */
static inline void amp_sock_credit(struct amp_sock *s)
{
	amp_more();
	if (s->sender)
		amp_wake_one(s->sender);
	amp_wake_rest();
}
#else
static inline void amp_wait_credit(struct amp_sock *s)
{
	(void)s;
}

static inline void amp_sock_credit(struct amp_sock *s)
{
	amp_sock_changed(s);
}
#endif

#endif /* AMP_WAKE_H */
