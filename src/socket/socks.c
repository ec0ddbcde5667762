// SPDX-License-Identifier: BSD-3-Clause
/*
 * Families, sockets, their rings, and the queues of listeners.
 *
 * A slot is given out again only when no call is inside it (users), and then with another
 * generation: a call that waited sees that its socket is gone. A listener's queue is a list of
 * slots' numbers. Without threads nobody can close a socket under a call: no users, no generations.
 */
#include <errno.h>
#include <string.h>

#include "ampsock.h"
#include "stack.h"

/* Enough rings: each socket's is the one with its number, and nothing is to be looked for. */
#define OWN_RINGS (AMPSOCK_RINGS >= AMPSOCK_SOCKETS)
/* Searches begin, and end, where that can be known: of many sockets; a few are soon seen. */
#define BOUNDS AMPSOCK_FAST

/* l: everything here is under the stack lock */
struct amp_sock amp_socks[AMPSOCK_SOCKETS];					   /* l */
static uint8_t rings[AMPSOCK_RINGS][AMPSOCK_RING_LEN] __attribute__((aligned(8))); /* l */
static struct {
	struct amp_sock *first_free; /* none free below it; NULL: none was ever used */
	const struct amp_sock *high; /* no socket at or above it was ever used */
} bounds;			     /* l. BOUNDS alone */
struct amp_stats amp_counts;	     /* l */

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

static inline const struct amp_family *family_find(int domain)
{
	for (size_t i = 0; i < FAMILY_CNT; i++) {
		if (families[i].domain == domain)
			return families[i].fam;
	}
	return NULL;
}

#if AMPSOCK_INET && !AMP_ONE_CARRIER
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
#endif

/* Counted as they come and go where AF_INET's listeners look at that in each turn, or where slots do
 * not tell (AMP_COUNT_USE); else when somebody asks (stats.c). */
static inline void count_socket(int more)
{
	if (!AMP_COUNT_USE)
		return;
	amp_counts.sockets_used += (uint32_t)more;
	if (amp_counts.sockets_used > amp_counts.sockets_max)
		amp_counts.sockets_max = amp_counts.sockets_used;
}

static inline void count_ring(int more)
{
	if (AMP_COUNT_USE)
		amp_counts.rings_used += (uint32_t)more;
}

/* The lowest free slot, or NULL. */
static inline struct amp_sock *slot_free(void)
{
	struct amp_sock *s = BOUNDS && bounds.first_free ? bounds.first_free : amp_socks;

	for (; s < amp_socks + AMPSOCK_SOCKETS; s++) {
		if (BOUNDS)
			bounds.first_free = s;
		if (!s->fam && !(AMP_PORT_THREADS && s->users))
			return s;
	}
	return NULL;
}

AMP_ONCE int amp_sock_fd(const struct amp_sock *s)
{
	return AMPSOCK_FD_BASE + (int)(s - amp_socks);
}

int amp_sock_new(int domain, int type, int protocol)
{
	const struct amp_family *fam = family_find(domain);
	struct amp_sock *s;
	uint8_t gen;
	int r;

	if (!fam)
		return -EAFNOSUPPORT;
	s = slot_free();
	if (!s)
		return -EMFILE;
	r = AMP_FAM(fam, create)(s, type & ~AMP_TYPE_FLAGS, protocol);
	if (r)
		return r;
	gen = s->gen;
	memset(s, 0, sizeof(*s));
	if (AMP_PORT_THREADS)
		s->gen = gen;
	s->fam = fam;
	s->domain = (uint8_t)domain;
	s->type = (uint8_t)(type & ~AMP_TYPE_FLAGS);
	if (type & SOCK_NONBLOCK)
		s->flags = AMP_SF_NONBLOCK;
	s->linger_s = 255;
	if (BOUNDS && s >= bounds.high)
		bounds.high = s + 1;
	count_socket(1);
	return amp_sock_fd(s);
}

void amp_sock_gone(struct amp_sock *s)
{
	if (BOUNDS && s < bounds.first_free)
		bounds.first_free = s;
}

void amp_sock_free(struct amp_sock *s)
{
	amp_sock_ring_free(s);
	s->gen += AMP_PORT_THREADS;
	s->fam = NULL;
	amp_sock_set_want(s, NULL);
	count_socket(-1);
	amp_sock_gone(s);
	amp_sock_changed(s);
}

struct amp_sock *amp_sock_next(const struct amp_sock *s)
{
	struct amp_sock *next = s ? (struct amp_sock *)(uintptr_t)s + 1 : amp_socks;

	for (; next < (BOUNDS ? bounds.high : amp_socks + AMPSOCK_SOCKETS); next++) {
		if (next->fam)
			return next;
	}
	return NULL;
}

struct amp_sock *amp_sock_next_of(const struct amp_sock *s, const struct amp_family *fam)
{
	struct amp_sock *next = s ? (struct amp_sock *)(uintptr_t)s + 1 : amp_socks;

	for (; next < (BOUNDS ? bounds.high : amp_socks + AMPSOCK_SOCKETS); next++) {
		if (next->fam == fam)
			return next;
	}
	return NULL;
}

/* ---- rings ---- */

/* A free one, which is taken (AMPSOCK_RINGS: none), and back. */
#if AMPSOCK_FAST
#define RING_TABLE (OWN_RINGS ? 1u : (unsigned)AMPSOCK_RINGS)
static struct {
	uint16_t first; /* none free below it */
	bool used[RING_TABLE];
} pool; /* l */
_Static_assert(RING_TABLE <= UINT16_MAX, "pool.first");

static unsigned ring_take(void)
{
	while (pool.first < RING_TABLE && pool.used[pool.first])
		pool.first++;
	if (pool.first < RING_TABLE)
		pool.used[pool.first] = true;
	return pool.first;
}

static void ring_back(unsigned i)
{
	pool.used[i] = false;
	if (i < pool.first)
		pool.first = (uint16_t)i;
}
#else
/* Few sockets are soon asked which they have: a table would be memory that each costs. */
static bool ring_taken(const uint8_t *ring)
{
	for (const struct amp_sock *s = amp_socks; s < amp_socks + AMPSOCK_SOCKETS; s++) {
		if (s->rx.buf == ring)
			return true;
	}
	return false;
}

static unsigned ring_take(void)
{
	unsigned i = 0;

	while (i < AMPSOCK_RINGS && ring_taken(rings[i]))
		i++;
	return i;
}

static inline void ring_back(unsigned i)
{
	(void)i;
}
#endif

int amp_sock_ring(struct amp_sock *s)
{
	unsigned i;

	if (s->rx.buf)
		return 0;
	i = OWN_RINGS ? (unsigned)(amp_sock_fd(s) - AMPSOCK_FD_BASE) : ring_take();
	if (!OWN_RINGS && i == AMPSOCK_RINGS)
		return -ENOBUFS;
	count_ring(1);
	s->rx.buf = rings[i];
	s->rx.head = s->rx.tail = 0;
	return 0;
}

void amp_sock_ring_free(struct amp_sock *s)
{
	if (!s->rx.buf && (AMP_COUNT_USE || !OWN_RINGS)) /* else nobody is told */
		return;
	if (!OWN_RINGS)
		ring_back((unsigned)((size_t)(s->rx.buf - rings[0]) / AMPSOCK_RING_LEN));
	count_ring(-1);
	s->rx.buf = NULL;
	s->rx.head = s->rx.tail = 0;
}

/* ---- queues ---- */

int amp_sock_queue_push(struct amp_sock *listener, struct amp_sock *child)
{
	struct amp_sock *last = listener;

	if (listener->queued >= listener->backlog)
		return -ENOBUFS;
	while (last->next)
		last = &amp_socks[last->next - 1];
	last->next = (uint16_t)(amp_sock_fd(child) - AMPSOCK_FD_BASE + 1);
	child->next = 0;
	listener->queued++;
	amp_sock_changed(listener);
	return 0;
}

struct amp_sock *amp_sock_queue_peek(const struct amp_sock *listener)
{
	return listener->next ? &amp_socks[listener->next - 1] : NULL;
}

struct amp_sock *amp_sock_queue_pop(struct amp_sock *listener)
{
	struct amp_sock *child = amp_sock_queue_peek(listener);

	if (child) {
		listener->next = child->next;
		listener->queued--;
		child->next = 0;
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

int amp_sock_poll(const struct amp_sock *s, bool readable)
{
	unsigned f = s->flags;
	int ev = readable ? POLLIN : 0, both = 0;

	if (f & AMP_SF_LISTEN)
		return s->next ? POLLIN : 0;
	if (!amp_sock_dgram(s) && !(f & (AMP_SF_CONNECTED | AMP_SF_RESET)))
		return f & AMP_SF_CONNECTING ? 0 : POLLOUT | POLLHUP;
	if (f & (AMP_SF_EOF | AMP_SF_RD_SHUT)) {
		ev = POLLIN | POLLRDHUP;
		both = POLLHUP;
	}
	return f & (AMP_SF_HUP | AMP_SF_WR_SHUT) ? ev | POLLOUT | both : ~ev;
}

/* The descriptor goes at once, whoever waits on it hears EBADF; the rest is the family's. */
void amp_sock_close(struct amp_sock *s)
{
	s->flags |= AMP_SF_ORPHAN;
	s->gen += AMP_PORT_THREADS;
	amp_sock_set_want(s, NULL);
	AMP_FAM(s->fam, end)(s, AMP_END_CLOSED);
	if (AMPSOCK_FAST || AMP_PORT_THREADS) /* else nobody sleeps, nor is about to */
		amp_sock_changed(s);
}

int amp_sock_take_err(struct amp_sock *s)
{
	int err = -s->err;

	s->err = 0;
	return err;
}
