/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The loops over a family's sendmsg and recvmsg, as long as it says "not now" or there is more to be
 * moved. Of msg.c alone, whose functions these are: in line where speed matters.
 */
#ifndef AMP_MSG_LOOP_H
#define AMP_MSG_LOOP_H

#include "stack.h"

#if AMPSOCK_FAST
static inline ssize_t send_once(struct amp_sock *s, struct amp_msg *m, int flags)
{
	ssize_t n = m->done || !s->err ? AMP_FAM(s->fam, sendmsg)(s, m, flags) : -EPIPE;

	/* the family may have found out only now */
	return n == -EPIPE && s->err && !m->done ? amp_sock_take_err(s) : n;
}

static inline void call_init(struct amp_call *c, struct amp_sock *s, AMP_TIMEO timeo, int flags)
{
	amp_call_init(c, s, amp_timeo_ms(timeo));
	if (flags & MSG_DONTWAIT)
		c->timeout_ms = 0;
}
#endif

#if AMP_PORT_WAKE_ONE
/* Before a send is tried, and at the end of its call: at's credit is not waited for any longer. */
static void credit_begin(struct amp_sock **at, bool asking)
{
	/* the slot may be another socket's by now */
	if (*at && (*at)->sender == amp_port_self())
		(*at)->sender = NULL;
	*at = amp_credit_wait.at = NULL;
	amp_credit_wait.asking = asking;
}

/* It found no room: is it credit that it waits for, and of which socket (a carrier's)? */
static bool credit_asked(struct amp_sock **at)
{
	*at = amp_credit_wait.at;
	amp_credit_wait.asking = false;
	return *at != NULL;
}

/* Is w where the bytes for s arrive? Then they wake by name. */
static bool want_named(const struct amp_sock *s, const struct amp_rx_want *w)
{
	return amp_sock_want(w->at ? w->at : s) == w && (w->at || s->fam->carrier);
}

static void want_mine(struct amp_rx_want *w)
{
	w->thread = amp_port_self();
}
#elif AMPSOCK_FAST
static inline void credit_begin(struct amp_sock **at, bool asking)
{
	(void)at;
	(void)asking;
}

static inline bool credit_asked(struct amp_sock **at)
{
	(void)at;
	return false;
}

static inline bool want_named(const struct amp_sock *s, const struct amp_rx_want *w)
{
	(void)s;
	(void)w;
	return false;
}

static inline void want_mine(struct amp_rx_want *w)
{
	(void)w;
}
#endif

/*
 * Half a message is worse than waiting for the device. (AF_RPMSG takes one whole, or not at all; what
 * it carries for UDP goes in pieces.)
 */
static inline void half_sent(struct amp_call *c, const struct amp_sock *s)
{
	if ((AMPSOCK_VSOCK || AMPSOCK_INET) && s->type != SOCK_STREAM)
		c->timeout_ms = AMP_FOREVER;
}

#if AMPSOCK_FAST
static AMP_OUTLINE ssize_t send_loop(struct amp_call *c, struct amp_msg *m, int flags)
{
	struct amp_sock *s = c->s, *at = NULL;
	ssize_t n;

	do {
		credit_begin(&at, true);
		n = send_once(s, m, flags);
		amp_call_named(c, credit_asked(&at));
		if (n >= 0) {
			m->done += (size_t)n;
			if (m->done >= m->len) {
				credit_begin(&at, false);
				return (ssize_t)m->done;
			}
			half_sent(c, s);
			n = 0;
			continue;
		}
		if (n != -EAGAIN)
			break;
		n = amp_again(c);
	} while (n == 0);
	credit_begin(&at, false);
	return m->done ? (ssize_t)m->done : n;
}

static void want_set(struct amp_sock *s, struct amp_rx_want *w, const struct amp_msg *m)
{
	const struct iovec *v = m->iov;
	size_t left = m->iov_cnt, skip = m->done;

	for (; left && skip >= v->iov_len; left--, v++)
		skip -= v->iov_len;
	w->to = w->end = NULL;
	if (!left || s->type == SOCK_DGRAM || (m->iov_cnt > 1 && s->type != SOCK_STREAM))
		return;
	w->to = (uint8_t *)v->iov_base + skip;
	w->end = (uint8_t *)v->iov_base + v->iov_len;
	if (!amp_sock_want(s))
		amp_sock_set_want(s, w);
}

static void want_clear(struct amp_sock *s, struct amp_rx_want *w)
{
	if (amp_sock_want(s) == w)
		amp_sock_set_want(s, NULL);
	if (AMPSOCK_INET && w->at && amp_sock_want(w->at) == w)
		amp_sock_set_want(w->at, NULL);
}

/* m's bytes so far are out of the socket's ring: what in the queue belongs behind them, if any. */
static size_t behind_ring(struct amp_sock *s, struct amp_rx_want *w, const struct amp_msg *m)
{
	uint8_t *from;

	want_set(s, w, m);
	from = w->to;
	if (w->to != w->end)
		amp_sock_recv_fast(s, w);
	return (size_t)(w->to - from);
}

/* Has a message come straight to the caller? Only the short ways do that. */
static inline bool w_full(const struct amp_rx_want *w)
{
	return w->full;
}
#endif

/* Streams: fewer bytes than these are worth waiting for more. */
static size_t least(const struct amp_sock *s, const struct amp_msg *m, int flags)
{
	size_t need = flags & MSG_WAITALL ? m->len : s->rcvlowat ? s->rcvlowat : 1;

	if (need > m->len)
		need = m->len;
	if ((flags & MSG_PEEK) && need > AMPSOCK_RING_LEN)
		need = AMPSOCK_RING_LEN;
	return s->type == SOCK_STREAM ? need : 1;
}

#if AMPSOCK_FAST
/*
 * The caller's buffer is registered before the first look at the links, so that what arrives
 * then, or while this call sleeps, is copied only once.
 */
static ssize_t recv_loop(struct amp_call *c, struct amp_msg *m, int flags)
{
	struct amp_sock *s = c->s;
	size_t need = least(s, m, flags);
	bool stream = s->type == SOCK_STREAM, peek = (flags & MSG_PEEK) != 0;
	struct amp_rx_want w;
	uint8_t *from;
	ssize_t n;

	w.at = NULL; /* field by field: a compiler would call memset() */
	w.to = NULL;
	w.full = 0;
	w.eor = false;
	want_mine(&w);
	do {
		if (!peek)
			want_set(s, &w, m);
		n = AMP_FAM(s->fam, recvmsg)(s, m, flags);
		if (stream && n > 0 && !peek) {
			m->done += (size_t)n;
			n = 0;
			continue; /* nothing more is there, and the rest goes behind it */
		}
		/* of messages one is enough, and one byte of it is needed */
		if (m->done >= need ||
		    (n == -EAGAIN ? s->err && !m->done : n <= 0 || (size_t)n >= need))
			break;
		from = w.to;
		amp_call_named(c, want_named(s, &w));
		n = amp_again(c);
		m->done += (size_t)(w.to - from);
		if (m->done >= need && !w.full) {
			want_clear(s, &w);
			return (ssize_t)m->done;
		}
		if (w_full(&w) || m->done >= need)
			break;
		if (peek && n == -EAGAIN) /* less than asked for is better than nothing */
			n = AMP_FAM(s->fam, recvmsg)(s, m, flags);
	} while (n == 0 && m->done < need);
	if (AMP_BULK_STAYS && stream && n == 0 && m->done < m->len && !peek)
		m->done += behind_ring(s, &w, m);
	want_clear(s, &w);
	if (w_full(&w)) {
		if (w.full > m->done)
			m->flags |= MSG_TRUNC;
		if (w.eor)
			m->flags |= MSG_EOR;
		return flags & MSG_TRUNC ? (ssize_t)w.full : (ssize_t)m->done;
	}
	if (m->done)
		return (ssize_t)m->done;
	if (n == -EAGAIN || (n == 0 && stream)) {
		/* what had arrived comes first, then the error, once, then EOF */
		if (s->err)
			return amp_sock_take_err(s);
		if (need == 0) /* asked for nothing */
			return 0;
	}
	return n;
}
/* Both ways. */
static AMP_INLINE ssize_t msg_move(struct amp_call *c, struct amp_msg *m, int flags, bool out)
{
	return out ? send_loop(c, m, flags) : recv_loop(c, m, flags);
}
#else
/*
 * Both ways. All comes by the ring, and nobody registers where it is to go. When there is nothing to
 * wait for any longer, what the last try said is the answer: the links had their look before it.
 */
static ssize_t msg_move(struct amp_call *c, struct amp_msg *m, int flags, bool out)
{
	struct amp_sock *s = c->s;
	size_t need = !out ? least(s, m, flags) : m->len ? m->len : 1;
	ssize_t n;
	int r;

	do {
		n = -EAGAIN;
		if (!out)
			n = AMP_FAM(s->fam, recvmsg)(s, m, flags);
		else if (!s->err || m->done) /* else that comes first */
			n = AMP_FAM(s->fam, sendmsg)(s, m, flags);
		if (n > 0 && !(flags & MSG_PEEK)) {
			/* of received messages one is enough, and one byte of it */
			m->done += (size_t)n;
			half_sent(c, s);
			continue;
		}
		if (n > 0 ? (size_t)n >= need : n != -EAGAIN || (s->err && !m->done))
			break;
		r = amp_again(c);
		if (AMP_PORT_THREADS && r == -EBADF)
			n = r;
		if (r)
			break;
	} while (m->done < need);
	if (m->done)
		return (ssize_t)m->done;
	if (n == -EAGAIN || n == -EPIPE || (n == 0 && s->type == SOCK_STREAM)) {
		/* what had arrived comes first, then the error, once, then EOF, or EPIPE */
		r = amp_sock_take_err(s);
		if (r || need == 0) /* or asked for nothing */
			return r;
	}
	return n;
}
#endif

#endif /* AMP_MSG_LOOP_H */
