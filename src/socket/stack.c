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
 * wakes the sleepers as it leaves or goes to sleep itself: all of them, or, where the port can
 * (AMP_PORT_WAKE_ONE) and it is nobody else's affair, the one whose bytes or credit it is. That
 * the links are looked at by one of those who wait is then the port's to see to.
 *
 * Without threads nobody can close a socket under a call: no users, no generations.
 */
#include <errno.h>
#include <string.h>

#include "ampsock.h"
#include "stack.h"

/* Enough rings: each socket's is the one with its number, and nothing is to be looked for. */
#define OWN_RINGS  (AMPSOCK_RINGS >= AMPSOCK_SOCKETS)
#define RING_TABLE (OWN_RINGS ? 1u : (unsigned)AMPSOCK_RINGS)
/* Searches begin, and end, where that can be known: of many sockets; a few are soon seen. */
#define BOUNDS AMPSOCK_FAST
/* All runners are AF_RPMSG's links, which have all operations. (In a process there are bells, too.) */
#if !AMPSOCK_HOSTED && !AMPSOCK_VSOCK && !AMPSOCK_INET
#define HAS(r, op) true
#else
#define HAS(r, op) ((r)->op != NULL)
#endif
/* A core's links look at the clock themselves, when they have a reason to; the session is told. */
#define TIMED (AMPSOCK_INET || AMPSOCK_HOSTED)

/* l: everything here is under the stack lock */
struct amp_sock amp_socks[AMPSOCK_SOCKETS];					   /* l */
static uint8_t rings[AMPSOCK_RINGS][AMPSOCK_RING_LEN] __attribute__((aligned(8))); /* l */
static struct {
	struct amp_runner *runners;
	unsigned waiters;    /* threads in amp_port_wait() */
	int32_t next_ms;     /* when a runner wants to run, as of the last look */
	uint16_t first_ring; /* none free below it */
	uint8_t timed;	     /* runners that want to know the time */
	bool changed;	     /* !AMPSOCK_FAST: amp_change() */
	bool ring_used[RING_TABLE];
} stack; /* l. Together: one address to load */
static struct {
	struct amp_sock *first_free; /* none free below it; NULL: none was ever used */
	const struct amp_sock *high; /* no socket at or above it was ever used */
} bounds;			     /* l. BOUNDS alone */
_Static_assert(AMPSOCK_VSOCK_LINKS + AMPSOCK_RPMSG < UINT8_MAX - 8, "stack.timed");
_Static_assert(RING_TABLE <= UINT16_MAX, "stack.first_ring");
#if AMPSOCK_FAST
bool amp_changed; /* l */
bool amp_stirred; /* l */
#define CHANGED amp_changed
#else
#define CHANGED stack.changed
#endif
#if AMP_PORT_WAKE_ONE
struct amp_wakes amp_wakes; /* l */
struct amp_credit_wait amp_credit_wait;
#endif
struct amp_runner *amp_due;  /* l: those with due set */
struct amp_stats amp_counts; /* l */

AMP_OPTIONAL(amp_link_report);
AMP_OPTIONAL(amp_console_ask);

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

#if AMPSOCK_INET
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

#if !AMPSOCK_FAST
void amp_change(void)
{
	stack.changed = true;
}
#endif

void amp_link_change(int link, bool up)
{
	amp_change();
	if (amp_link_report)
		amp_link_report(link, up);
}

/* ---- sockets ---- */

/* Counted as they come and go where AF_INET's listeners look at that in each turn; else when somebody
 * asks (stats.c). */
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

/* The lowest free slot; AMPSOCK_SOCKETS: none. */
static unsigned slot_free(void)
{
	unsigned i =
		BOUNDS && bounds.first_free ? (unsigned)(bounds.first_free - amp_socks) : 0;

	while (i < AMPSOCK_SOCKETS &&
	       (amp_socks[i].fam || (AMP_PORT_THREADS && amp_socks[i].users)))
		i++;
	if (BOUNDS)
		bounds.first_free = amp_socks + i;
	return i;
}

struct amp_sock *amp_sock_new(int domain, int type, int protocol, int *fd)
{
	const struct amp_family *fam = amp_family_find(domain);
	unsigned i = slot_free();
	struct amp_sock *s = amp_socks + i;
	uint8_t gen;
	int r;

	if (!fam)
		r = -EAFNOSUPPORT;
	else if (i == AMPSOCK_SOCKETS)
		r = -EMFILE;
	else
		r = AMP_FAM(fam, create)(s, type & ~AMP_TYPE_FLAGS, protocol);
	*fd = r ? r : AMPSOCK_FD_BASE + (int)i;
	if (r)
		return NULL;
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
	return s;
}

static void slot_is_free(struct amp_sock *s)
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
	slot_is_free(s);
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

static unsigned ring_free(void)
{
	while (stack.first_ring < RING_TABLE && stack.ring_used[stack.first_ring])
		stack.first_ring++;
	return stack.first_ring;
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

int amp_sock_ring(struct amp_sock *s)
{
	unsigned i = (unsigned)(s - amp_socks);

	if (s->rx.buf)
		return 0;
	if (!OWN_RINGS) {
		i = ring_free();
		if (i == RING_TABLE)
			return -ENOBUFS;
		stack.ring_used[i] = true;
	}
	count_ring(1);
	s->rx.buf = rings[i];
	s->rx.head = s->rx.tail = 0;
	return 0;
}

void amp_sock_ring_free(struct amp_sock *s)
{
	unsigned i;

	if (!s->rx.buf)
		return;
	if (!OWN_RINGS) {
		i = (unsigned)((size_t)(s->rx.buf - rings[0]) / AMPSOCK_RING_LEN);
		stack.ring_used[i] = false;
		if (i < stack.first_ring)
			stack.first_ring = (uint16_t)i;
	}
	count_ring(-1);
	s->rx.buf = NULL;
	s->rx.head = s->rx.tail = 0;
}

int amp_sock_queue_push(struct amp_sock *listener, struct amp_sock *child)
{
	struct amp_sock *last = listener;

	if (listener->queued >= listener->backlog)
		return -ENOBUFS;
	while (last->next)
		last = &amp_socks[last->next - 1];
	last->next = (uint16_t)(child - amp_socks + 1);
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
	if (s->type != SOCK_DGRAM && !(f & (AMP_SF_CONNECTED | AMP_SF_RESET)))
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
	amp_sock_changed(s);
}

int amp_sock_take_err(struct amp_sock *s)
{
	int err = -s->err;

	s->err = 0;
	return err;
}

/* ---- descriptors ---- */

int amp_sock_fd(const struct amp_sock *s)
{
	return AMPSOCK_FD_BASE + (int)(s - amp_socks);
}

struct amp_sock *amp_sock_find(int fd)
{
	unsigned i = (unsigned)fd - AMPSOCK_FD_BASE;

	if (i < AMPSOCK_SOCKETS && amp_socks[i].fam && !(amp_socks[i].flags & AMP_SF_ORPHAN))
		return &amp_socks[i];
	return NULL;
}

__attribute__((noinline)) int amp_fd_other(int fd, enum amp_fd_ask ask)
{
	return amp_console_ask ? amp_console_ask(fd, ask) : (int)ask;
}

/* ---- runners ---- */

#if AMPSOCK_FAST
void amp_runner_due(struct amp_runner *r)
{
	r->due = true;
	if (AMPSOCK_VSOCK) /* its loop alone is ever calm */
		r->calm = false;
	amp_runner_list(r);
}
#endif

/* The runner behind r. */
static inline struct amp_runner *behind(const struct amp_runner *r)
{
	return AMP_ONE_RUNNER ? NULL : r->next;
}

void amp_runner_add(struct amp_runner *r)
{
	struct amp_runner **at = &stack.runners;
	bool new = true;

	/* at the end: who sits on links looks after they have brought something */
	while (!AMP_ONE_RUNNER && *at) {
		if (*at == r) {
			if (!TIMED) /* they are links, all of them */
				return;
			new = false;
			*at = r->next;
		} else {
			at = &(*at)->next;
		}
	}
	r->next = NULL;
	*at = r;
	if (TIMED && new)
		stack.timed += !r->untimed;
}

void amp_runner_del(struct amp_runner *r)
{
	for (struct amp_runner **at = &stack.runners; *at; at = &(*at)->next) {
		if (*at == r) {
			*at = r->next;
			if (TIMED)
				stack.timed -= !r->untimed;
			return;
		}
	}
}

static AMP_INLINE int32_t look(void)
{
	uint32_t now_ms = TIMED && stack.timed ? amp_port_now_ms() : 0;
	uint32_t next = UINT32_MAX, ms; /* -1 is more than any time */
	struct amp_runner *then;

	for (struct amp_runner *r = stack.runners; r; r = then) {
		then = behind(r); /* r may add itself, which is then the last */
		if (AMPSOCK_FAST && AMPSOCK_VSOCK && r->calm)
			continue;
		ms = (uint32_t)AMP_RUNNER(r, run)(r, now_ms);
		if (ms < next)
			next = ms;
	}
	stack.next_ms = (int32_t)next;
	return stack.next_ms;
}

int32_t amp_links_run(void)
{
	return look();
}

struct amp_runner *amp_runner_next(const struct amp_runner *r)
{
	return r ? behind(r) : stack.runners;
}

/* Rings are not disarmed afterwards: with event indices they are so by themselves. */
static bool arm_all(void)
{
	bool news = false;

	for (struct amp_runner *r = stack.runners; r; r = behind(r)) {
		if (HAS(r, arm) && AMP_RUNNER(r, arm)(r, true))
			news = true;
	}
	return news;
}

#if AMP_PORT_WAKE_ONE
static void wake_named(void)
{
	if (amp_wakes.all) {
		amp_port_wake();
		return;
	}
	for (unsigned i = 0; i < amp_wakes.cnt; i++)
		amp_port_wake_one(amp_wakes.one[i]);
	if (amp_wakes.rest)
		amp_port_wake_rest();
}

static void wakes_done(void)
{
	amp_wakes.all = amp_wakes.rest = false;
	amp_wakes.cnt = 0;
}

static int port_wait(const struct amp_call *c, int32_t timeout_ms)
{
	return amp_port_wait_as(timeout_ms, c->named);
}
#else
static void wake_named(void)
{
	amp_port_wake();
}

static inline void wakes_done(void)
{
}

static inline int port_wait(const struct amp_call *c, int32_t timeout_ms)
{
	(void)c;
	return amp_port_wait(timeout_ms);
}
#endif

static inline void wake_others(void)
{
	if (AMP_PORT_THREADS && CHANGED && stack.waiters)
		wake_named();
	CHANGED = false;
	wakes_done();
}

#if AMPSOCK_FAST
/* The first of those that are due: it is no longer. Returns the queues to be kicked. */
static inline unsigned take_due(struct amp_runner *r)
{
	unsigned bits = r->bits;

	amp_due = r->due_next;
	r->listed = false;
	r->bits = 0;
	if (r->due) {
		r->due = false;
		bits |= AMP_RUNNER(r, kick_due)(r);
	}
	return bits;
}

/* Those that are due, one after the other: each is taken off the list. */
static inline struct amp_runner *due_first(void)
{
	return amp_due;
}

static inline struct amp_runner *due_next(const struct amp_runner *r)
{
	(void)r;
	return amp_due;
}
#else
static inline unsigned take_due(struct amp_runner *r)
{
	return HAS(r, kick_due) ? AMP_RUNNER(r, kick_due)(r) : 0;
}

static inline struct amp_runner *due_first(void)
{
	return stack.runners;
}

static inline struct amp_runner *due_next(const struct amp_runner *r)
{
	return behind(r);
}
#endif

/* Before sleep: everybody is asked, and about everything. */
static inline void all_due(void)
{
	for (struct amp_runner *r = stack.runners; r; r = behind(r)) {
		if (!AMPSOCK_FAST)
			r->due = true;
		else if (HAS(r, kick_due))
			amp_runner_due(r);
	}
}

/*
 * Send what is owed and the kicks that are due, these without the lock, which is held
 * again on return. True: the lock was free or something happened, so look again before
 * sleeping.
 */
static bool flush(void)
{
	bool any = false;

	wake_others();
	for (struct amp_runner *r = due_first(); r; r = due_next(r)) {
		unsigned bits = take_due(r);

		if (!AMP_KICK_AT_ONCE && bits) {
			any = true;
			amp_port_unlock_briefly();
			AMP_RUNNER(r, kick)(r, bits);
			amp_port_lock();
		}
		any |= CHANGED; /* sending an RST can be the end of a connection */
		wake_others();
	}
	return any;
}

/* The same on the way out: the lock is not held on return, nor taken again for one kick. */
#if AMPSOCK_FAST
void amp_flush_out(void)
{
	struct amp_runner *r = amp_due;
	unsigned bits;

	wake_others();
	if (r && !r->due && !r->due_next) { /* one kick and no more */
		bits = r->bits;
		amp_due = NULL;
		r->listed = false;
		r->bits = 0;
		amp_port_unlock();
		AMP_RUNNER(r, kick)(r, bits);
		return;
	}
	if (r) {
		bits = take_due(r);
		if (bits && !amp_due && !amp_changed) {
			amp_port_unlock();
			AMP_RUNNER(r, kick)(r, bits);
			return;
		}
		r->bits = bits;
		if (bits)
			amp_runner_list(r);
		(void)flush();
	}
	amp_port_unlock();
}

static inline void flush_out(void)
{
	amp_flush_out();
}
#else
static inline void flush_out(void)
{
	(void)flush();
	amp_port_unlock();
}
#endif

/* ---- a call ---- */

static AMP_INLINE struct amp_sock *hold(int fd)
{
	struct amp_sock *s;
	int err;

	amp_port_lock();
	s = amp_sock_find(fd);
	if (!s) {
		err = amp_fd_other(fd, AMP_FD_ERR);
	} else if (AMP_PORT_THREADS && s->users == UINT8_MAX) {
		err = ENOBUFS;
	} else {
		s->users += AMP_PORT_THREADS;
		return s;
	}
	amp_port_unlock();
	(void)amp_fail(err);
	return NULL;
}

#if AMPSOCK_FAST
struct amp_sock *amp_hold_slow(int fd)
{
	return hold(fd);
}
#define HOLD amp_hold
#else
#define HOLD hold
#endif

int amp_enter(struct amp_call *c, int fd, bool out)
{
	struct amp_sock *s = HOLD(fd);

	if (!s)
		return -1;
	amp_call_init(c, s, amp_timeo_ms(out ? s->sndtimeo : s->rcvtimeo));
	return 0;
}

void amp_enter_plain(struct amp_call *c)
{
	memset(c, 0, sizeof(*c));
	amp_port_lock();
}

void amp_enter_timed(struct amp_call *c, int32_t timeout_ms)
{
	amp_enter_plain(c);
	c->block = timeout_ms != 0;
	c->timeout_ms = timeout_ms > 0 ? (uint32_t)timeout_ms : 0;
}

int32_t amp_to_ms(int64_t sec, unsigned long parts, unsigned long ms_parts)
{
	if (parts >= ms_parts * 1000u)
		return AMP_MS_BAD;
	if (sec < 0)
		return -1;
	if (sec >= (int32_t)(AMP_TIMEO_MAX_MS / 1000u))
		return (int32_t)AMP_TIMEO_MAX_MS;
	return (int32_t)((uint32_t)sec * 1000u +
			 (uint32_t)((parts + ms_parts - 1u) / ms_parts));
}

__attribute__((noinline)) int amp_fail(int err)
{
	errno = err;
	return -1;
}

ssize_t amp_release_slow(struct amp_sock *s, ssize_t r)
{
	if (AMP_PORT_THREADS && s && --s->users == 0 && !s->fam)
		slot_is_free(s);
	flush_out();
	return r < 0 ? amp_fail((int)-r) : r;
}

/* Until woken or the deadline. The lock is free meanwhile. 0, or -EAGAIN: time is up. */
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
			return -EAGAIN;
	}
	left = amp_sooner(left, stack.next_ms);
	all_due();
	if (flush())
		return 0;
	stack.waiters += AMP_PORT_THREADS;
	if (!arm_all())
		port_wait(c, left);
	stack.waiters -= AMP_PORT_THREADS;
	return 0;
}

/* Apart: what it has on the stack is not below a look at the links. */
int amp_wait(struct amp_call *c)
{
	int r = c->block ? amp_sleep(c) : -EAGAIN;

	if (AMP_PORT_THREADS && c->s && c->s->gen != c->gen)
		return -EBADF;
	return r;
}

#if AMP_BULK_STAYS
struct amp_bulk amp_bulk; /* l */

/* Calls that wait and have no socket are poll() and select(), or do not mind. */
static void look_for(const struct amp_call *c)
{
	amp_bulk.stays = !c->s;
	amp_bulk.left = false;
	(void)look();
	amp_bulk.stays = false;
}

bool amp_look_on(void)
{
	if (!amp_bulk.left)
		return false;
	amp_bulk.left = false;
	(void)look();
	return true;
}
#else
static inline void look_for(const struct amp_call *c)
{
	(void)c;
	(void)look();
}
#endif

int amp_again(struct amp_call *c)
{
	int r = c->looked ? amp_wait(c) : 0;

	if (r == 0) {
		c->looked = true;
		look_for(c);
	}
	if (AMP_PORT_THREADS && c->s && c->s->gen != c->gen)
		return -EBADF;
	return r;
}
