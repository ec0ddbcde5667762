// SPDX-License-Identifier: BSD-3-Clause
/*
 * Sockets, their rings, the runners, and how a call enters, waits in and leaves the stack.
 *
 * Theory of operation
 *
 * Every public call takes the stack lock, finds its socket, counts itself in s->users and
 * calls the family. A call that cannot go on calls amp_again(): the first time that only
 * looks at the links (runners), after that it sleeps in the port, with the rings armed, and
 * looks again. While it sleeps the lock is free, so on return everything may have changed:
 * the generation number tells whether the descriptor is still the same socket. A slot with
 * users inside is not given out again.
 *
 * Notifying a peer can take long (a system call, an exit to a hypervisor) and a peer that
 * is called directly would deadlock: so kicks are collected under the lock and sent without
 * it, on the way out or before sleeping. In the latter case the lock was free for a moment:
 * look again first.
 *
 * Whatever happens to a socket sets amp_changed. With threads, the one that made it happen
 * wakes the sleepers as it leaves or goes to sleep itself.
 *
 * Without threads nobody can close a socket under a call: no users, no generations.
 */
#include <errno.h>
#include <string.h>

#include "ampsock.h"
#include "stack.h"

/* l: everything here is under the stack lock */
static struct amp_sock socks[AMPSOCK_SOCKETS];					   /* l */
static uint8_t rings[AMPSOCK_RINGS][AMPSOCK_RING_LEN] __attribute__((aligned(8))); /* l */
static bool ring_used[AMPSOCK_RINGS];						   /* l */
static unsigned first_free, first_ring; /* l: none free below these */
static unsigned high;			/* l: no socket at or above it was ever used */
static struct amp_runner *runners;	/* l */
static unsigned waiters;		/* l: threads in amp_port_wait() */
static int32_t next_ms;			/* l: when a runner wants to run, as of the last look */
static uint32_t own_nonblock[2];	/* l: bit per console descriptor */
static const struct amp_fd_ops *own;	/* set once */
bool amp_changed;			/* l */
struct amp_runner *amp_due;		/* l: those with due set */
struct amp_stats amp_counts;		/* l */

#define AMP_FAMILY(prefix, af) extern const struct amp_family prefix##_family;
#include "families.def"
#undef AMP_FAMILY

static const struct {
	const struct amp_family *fam;
	int domain;
} families[] = {
#define AMP_FAMILY(prefix, af) {&prefix##_family, af},
#include "families.def"
#undef AMP_FAMILY
};
#define FAMILY_CNT (sizeof(families) / sizeof(families[0]))

const struct amp_family *amp_family_find(int domain)
{
	for (size_t i = 0; i < FAMILY_CNT; i++) {
		if (families[i].domain == domain)
			return families[i].fam;
	}
	return NULL;
}

const struct amp_family *amp_family_carrier(void)
{
	const struct amp_family *first = NULL;

	for (size_t i = 0; i < FAMILY_CNT; i++) {
		const struct amp_family *fam = families[i].fam;

		if (!fam->carrier)
			continue;
		if (!(AMPSOCK_VSOCK && AMPSOCK_RPMSG > 0) || !fam->carrier->up ||
		    fam->carrier->up())
			return fam;
		if (!first)
			first = fam;
	}
	return first;
}

/* ---- sockets ---- */

struct amp_sock *amp_sock_new(const struct amp_family *fam, int domain, int type, int protocol,
			      int *err)
{
	struct amp_sock *s;
	uint8_t gen;

	while (first_free < AMPSOCK_SOCKETS &&
	       (socks[first_free].fam || socks[first_free].users))
		first_free++;
	if (first_free == AMPSOCK_SOCKETS) {
		*err = -EMFILE;
		return NULL;
	}
	s = &socks[first_free];
	gen = s->gen;
	memset(s, 0, sizeof(*s));
	s->gen = gen;
	s->domain = (uint8_t)domain;
	s->type = (uint8_t)type;
	s->flags = AMP_SF_ORPHAN;
	s->linger_s = 255;
	*err = fam->create(s, type, protocol);
	if (*err)
		return NULL;
	s->fam = fam;
	if (first_free >= high)
		high = first_free + 1;
	if (++amp_counts.sockets_used > amp_counts.sockets_max)
		amp_counts.sockets_max = amp_counts.sockets_used;
	return s;
}

static void slot_is_free(const struct amp_sock *s)
{
	if ((unsigned)(s - socks) < first_free)
		first_free = (unsigned)(s - socks);
}

void amp_sock_free(struct amp_sock *s)
{
	amp_sock_ring_free(s);
	s->gen++;
	s->fam = NULL;
	s->want = NULL;
	amp_counts.sockets_used--;
	slot_is_free(s);
	amp_sock_changed(s);
}

struct amp_sock *amp_sock_open(int domain, int type, int protocol, int *err)
{
	const struct amp_family *fam = amp_family_find(domain);
	struct amp_sock *s;

	if (!fam) {
		*err = -EAFNOSUPPORT;
		return NULL;
	}
	s = amp_sock_new(fam, domain, type & ~AMP_TYPE_FLAGS, protocol, err);
	if (s && (type & SOCK_NONBLOCK))
		s->flags |= AMP_SF_NONBLOCK;
	return s;
}

struct amp_sock *amp_sock_next(const struct amp_sock *s)
{
	for (unsigned i = s ? (unsigned)(s - socks) + 1 : 0; i < high; i++) {
		if (socks[i].fam)
			return &socks[i];
	}
	return NULL;
}

int amp_sock_ring(struct amp_sock *s)
{
	if (s->rx.buf)
		return 0;
	while (first_ring < AMPSOCK_RINGS && ring_used[first_ring])
		first_ring++;
	if (first_ring == AMPSOCK_RINGS)
		return -ENOBUFS;
	ring_used[first_ring] = true;
	amp_counts.rings_used++;
	s->rx.buf = rings[first_ring];
	s->rx.head = s->rx.tail = 0;
	return 0;
}

void amp_sock_ring_free(struct amp_sock *s)
{
	unsigned i;

	if (!s->rx.buf)
		return;
	i = (unsigned)((size_t)(s->rx.buf - rings[0]) / AMPSOCK_RING_LEN);
	ring_used[i] = false;
	if (i < first_ring)
		first_ring = i;
	amp_counts.rings_used--;
	s->rx.buf = NULL;
	s->rx.head = s->rx.tail = 0;
}

int amp_sock_queue_push(struct amp_sock *listener, struct amp_sock *child)
{
	struct amp_sock **at = &listener->queue;

	if (listener->queued >= listener->backlog)
		return -ENOBUFS;
	while (*at)
		at = &(*at)->next;
	child->next = NULL;
	*at = child;
	listener->queued++;
	amp_sock_changed(listener);
	return 0;
}

struct amp_sock *amp_sock_queue_pop(struct amp_sock *listener)
{
	struct amp_sock *child = listener->queue;

	if (child) {
		listener->queue = child->next;
		listener->queued--;
		child->next = NULL;
	}
	return child;
}

void amp_sock_reset(struct amp_sock *s, int err)
{
	s->flags |= AMP_SF_RESET | AMP_SF_EOF | AMP_SF_HUP;
	s->flags &= (uint16_t)~AMP_SF_CONNECTING;
	s->err = (uint8_t)err;
	amp_sock_changed(s);
}

/* The descriptor goes at once, whoever waits on it hears EBADF; the rest is the family's. */
void amp_sock_close(struct amp_sock *s)
{
	s->flags |= AMP_SF_ORPHAN;
	s->gen++;
	s->want = NULL;
	s->fam->shutdown(s, AMP_SHUT_CLOSE);
	amp_sock_changed(s);
}

int amp_sock_take_err(struct amp_sock *s)
{
	int err = s->err;

	s->err = 0;
	return err;
}

/* ---- descriptors ---- */

int amp_sock_fd(const struct amp_sock *s)
{
	return AMPSOCK_FD_BASE + (int)(s - socks);
}

struct amp_sock *amp_sock_find(int fd, int *err)
{
	unsigned i = (unsigned)fd - AMPSOCK_FD_BASE;

	if (i < AMPSOCK_SOCKETS && socks[i].fam && !(socks[i].flags & AMP_SF_ORPHAN))
		return &socks[i];
	*err = amp_fd_own(fd) ? -ENOTSOCK : -EBADF;
	return NULL;
}

void amp_fd_console(const struct amp_fd_ops *ops)
{
	own = ops;
}

const struct amp_fd_ops *amp_fd_own(int fd)
{
	return fd >= 0 && fd < AMPSOCK_FD_BASE ? own : NULL;
}

bool amp_fd_nonblock(int fd)
{
	return own_nonblock[fd / 32 & 1] >> (fd & 31) & 1;
}

void amp_fd_set_nonblock(int fd, bool on)
{
	uint32_t bit = 1u << (fd & 31);

	if (on)
		own_nonblock[fd / 32 & 1] |= bit;
	else
		own_nonblock[fd / 32 & 1] &= ~bit;
}

/* ---- runners ---- */

void amp_runner_add(struct amp_runner *r)
{
	struct amp_runner **at = &runners;

	/* at the end: who sits on links looks after they have brought something */
	for (; *at; at = &(*at)->next) {
		if (*at == r)
			return;
	}
	r->next = NULL;
	*at = r;
}

void amp_runner_del(struct amp_runner *r)
{
	/* r->next stays: whoever walks the list stands on it */
	for (struct amp_runner **at = &runners; *at; at = &(*at)->next) {
		if (*at == r) {
			*at = r->next;
			return;
		}
	}
}

int32_t amp_links_run(void)
{
	uint32_t now_ms = 0;
	bool asked = false;

	next_ms = -1;
	for (struct amp_runner *r = runners; r; r = r->next) {
		int32_t ms;

		if (!r->untimed && !asked) {
			now_ms = amp_port_now_ms();
			asked = true;
		}
		ms = r->run(r, now_ms);
		if (ms >= 0 && (next_ms < 0 || ms < next_ms))
			next_ms = ms;
	}
	return next_ms;
}

void amp_runner_stats(struct amp_stats *st)
{
	for (struct amp_runner *r = runners; r; r = r->next) {
		if (r->stats)
			r->stats(r, st);
	}
}

/* Rings are not disarmed afterwards: with event indices they are so by themselves. */
static bool arm_all(void)
{
	bool news = false;

	for (struct amp_runner *r = runners; r; r = r->next) {
		if (r->arm && r->arm(r, true))
			news = true;
	}
	return news;
}

static void wake_others(void)
{
	if (AMP_PORT_THREADS && amp_changed && waiters)
		amp_port_wake();
	amp_changed = false;
}

/*
 * Send what is owed and the kicks that are due, these without the lock. Held or not on
 * return, as told. True: the lock was free or something happened, so look again before
 * sleeping.
 */
static bool flush_due(bool relock)
{
	bool any = false, last;

	wake_others();
	do {
		struct amp_runner *r = amp_due;
		unsigned bits;

		amp_due = r->due_next;
		r->due = false;
		bits = r->kick_due(r);
		if (!bits)
			continue;
		any = true;
		last = !relock && !amp_due && !amp_changed;
		amp_port_unlock();
		r->kick(r, bits);
		if (last)
			return true;
		amp_port_lock();
	} while (amp_due);
	any |= amp_changed; /* sending an RST can be the end of a connection */
	wake_others();
	if (!relock)
		amp_port_unlock();
	return any;
}

static bool flush(bool relock)
{
	if (amp_due)
		return flush_due(relock);
	wake_others();
	if (!relock)
		amp_port_unlock();
	return false;
}

/* ---- a call ---- */

int amp_enter(struct amp_call *c, int fd)
{
	int err = 0;

	amp_port_lock();
	c->s = amp_sock_find(fd, &err);
	if (!c->s || (AMP_PORT_THREADS && c->s->users == UINT8_MAX)) {
		amp_port_unlock();
		return c->s ? -ENOBUFS : err;
	}
	if (AMP_PORT_THREADS) {
		c->s->users++;
		c->gen = c->s->gen;
	}
	c->block = !(c->s->flags & AMP_SF_NONBLOCK);
	c->timeout_ms = 0;
	c->looked = c->started = false;
	return 0;
}

void amp_enter_plain(struct amp_call *c)
{
	memset(c, 0, sizeof(*c));
	amp_port_lock();
}

int amp_fail(int err)
{
	errno = err;
	return -1;
}

ssize_t amp_leave(struct amp_call *c, ssize_t r)
{
	if (AMP_PORT_THREADS && c->s && --c->s->users == 0 && !c->s->fam)
		slot_is_free(c->s);
	flush(false);
	return r < 0 ? amp_fail((int)-r) : r;
}

/* Until woken or the deadline. The lock is free meanwhile. 0 or -ETIMEDOUT. */
static int amp_sleep(struct amp_call *c)
{
	int32_t left = -1;

	if (c->timeout_ms) {
		uint32_t now_ms = amp_port_now_ms();

		if (!c->started)
			c->deadline_ms = now_ms + c->timeout_ms;
		c->started = true;
		left = (int32_t)(c->deadline_ms - now_ms);
		if (left <= 0)
			return -ETIMEDOUT;
	}
	if (next_ms >= 0 && (left < 0 || next_ms < left))
		left = next_ms;
	for (struct amp_runner *r = runners; r; r = r->next) {
		if (r->kick_due)
			amp_runner_due(r);
	}
	if (flush(true))
		return 0;
	waiters++;
	if (!arm_all())
		amp_port_wait(left);
	waiters--;
	return 0;
}

int amp_again(struct amp_call *c)
{
	int r = 0;

	if (c->looked)
		r = c->block ? amp_sleep(c) : -EAGAIN;
	if (r == 0) {
		c->looked = true;
		amp_links_run();
	}
	if (AMP_PORT_THREADS && c->s && c->s->gen != c->gen)
		return -EBADF;
	return r ? -EAGAIN : 0;
}
