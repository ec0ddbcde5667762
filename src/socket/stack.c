// SPDX-License-Identifier: BSD-3-Clause
/*
 * The runners, and how a call enters, waits in and leaves the stack. (Sockets: socks.c.)
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

/* All runners are AF_RPMSG's links, which have all operations. (In a process there are bells, too.) */
#if !AMPSOCK_HOSTED && !AMPSOCK_VSOCK && !AMPSOCK_INET
#define HAS(r, op) true
#else
#define HAS(r, op) ((r)->op != NULL)
#endif
/* A core's links look at the clock themselves, when they have a reason to; the session is told. */
#define TIMED (AMPSOCK_INET || AMPSOCK_HOSTED)

/* l: everything here is under the stack lock */
static struct {
	struct amp_runner *runners;
	unsigned waiters; /* threads in amp_port_wait() */
	int32_t next_ms;  /* when a runner wants to run, as of the last look */
	uint8_t timed;	  /* runners that want to know the time */
	bool changed;	  /* !AMPSOCK_FAST: amp_change() */
} stack;		  /* l. Together: one address to load */
_Static_assert(AMPSOCK_VSOCK_LINKS + AMPSOCK_RPMSG < UINT8_MAX - 8, "stack.timed");
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
struct amp_runner *amp_due; /* l: those with due set */

AMP_OPTIONAL(amp_link_report);
AMP_OPTIONAL(amp_console_ask);

#if !AMPSOCK_FAST
__attribute__((noinline)) void amp_change(void)
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

/* ---- descriptors ---- */

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

AMP_INLINE int32_t amp_links_run(void)
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

struct amp_runner *amp_runner_next(const struct amp_runner *r)
{
	return r ? behind(r) : stack.runners;
}

/* Rings are not disarmed afterwards: with event indices they are so by themselves. */
static inline bool arm_all(void)
{
	unsigned news = 0;

	for (struct amp_runner *r = stack.runners; r; r = behind(r)) {
		if (HAS(r, arm))
			news |= AMP_RUNNER(r, arm)(r, true);
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
static inline unsigned take_due(struct amp_runner *r, bool all)
{
	unsigned bits = r->bits;

	(void)all; /* all_due() */

	amp_due = r->due_next;
	r->listed = false;
	r->bits = 0;
	if (r->due) {
		r->due = false;
		bits |= AMP_RUNNER(r, kick_due)(r);
	}
	return bits;
}

/* Everybody is to be asked. */
static inline void all_due(void)
{
	for (struct amp_runner *r = stack.runners; r; r = r->next) {
		if (HAS(r, kick_due))
			amp_runner_due(r);
	}
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
static inline unsigned take_due(struct amp_runner *r, bool all)
{
	r->due |= all;
	return HAS(r, kick_due) ? AMP_RUNNER(r, kick_due)(r) : 0;
}

static inline void all_due(void)
{
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

/*
 * Send what is owed and the kicks that are due, these without the lock, which is held
 * again on return. all: before sleep, when everybody is asked, and about everything. True:
 * the lock was free or something happened, so look again before sleeping.
 */
static bool flush(bool all)
{
	bool any = false;

	if (all)
		all_due();
	wake_others();
	for (struct amp_runner *r = due_first(); r; r = due_next(r)) {
		unsigned bits = take_due(r, all);

		if (!AMP_KICK_AT_ONCE && bits) {
			any = true;
			amp_port_unlock_briefly();
			AMP_RUNNER(r, kick)(r, bits);
			amp_port_lock();
		}
		if (AMP_PORT_THREADS) {
			any |= CHANGED;
			wake_others();
		}
	}
	return any || CHANGED; /* sending an RST can be the end of a connection */
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
		bits = take_due(r, false);
		if (bits && !amp_due && !amp_changed) {
			amp_port_unlock();
			AMP_RUNNER(r, kick)(r, bits);
			return;
		}
		r->bits = bits;
		if (bits)
			amp_runner_list(r);
		(void)flush(false);
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
	(void)flush(false);
	amp_port_unlock();
}
#endif

/* ---- a call ---- */

#if AMPSOCK_FAST
struct amp_sock *amp_hold_slow(int fd)
{
	struct amp_call c;
	int r = amp_enter(&c, fd, false);

	if (r)
		(void)amp_leave(&c, r);
	return c.s;
}
#endif

int amp_enter(struct amp_call *c, int fd, bool out)
{
	struct amp_sock *s;

	amp_port_lock();
	s = amp_sock_find(fd);
	c->s = s;
	if (!s)
		return -amp_fd_other(fd, AMP_FD_ERR);
	if (AMP_PORT_THREADS && s->users == UINT8_MAX) {
		c->s = NULL;
		return -ENOBUFS;
	}
	s->users += AMP_PORT_THREADS;
	amp_call_init(c, s, amp_timeo_ms(s->timeo[out]));
	return 0;
}

void amp_enter_timed(struct amp_call *c, int32_t timeout_ms)
{
	amp_port_lock();
	c->s = NULL;
	c->looked = c->started = false;
	amp_call_named(c, false);
	c->timeout_ms = timeout_ms < 0 ? AMP_FOREVER : (uint32_t)timeout_ms;
}

int32_t amp_to_ms(int64_t sec, unsigned long parts, unsigned long ms_parts)
{
	if (sec < 0 || parts >= ms_parts * 1000u)
		return AMP_MS_BAD;
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

static AMP_INLINE ssize_t done(ssize_t r)
{
	flush_out();
	return r < 0 ? amp_fail((int)-r) : r;
}

#if AMP_PORT_THREADS
ssize_t amp_release_slow(struct amp_sock *s, ssize_t r)
{
	if (s && --s->users == 0 && !s->fam)
		amp_sock_gone(s);
	return done(r);
}
#else
ssize_t amp_done(ssize_t r)
{
	return done(r);
}
#endif

/* Until woken or the deadline. The lock is free meanwhile. 0, or -EAGAIN: time is up. */
static int amp_sleep(struct amp_call *c)
{
	uint32_t left = AMP_FOREVER;

	if (c->timeout_ms != AMP_FOREVER) {
		uint32_t now_ms = amp_port_now_ms();

		if (!c->started)
			c->deadline_ms = now_ms + c->timeout_ms;
		c->started = true;
		left = c->deadline_ms - now_ms;
		if ((int32_t)left < 0)
			return -EAGAIN;
		/* through that millisecond: at the start one had begun already. Still a positive number */
		left++;
		left -= left >> 31;
	}
	if (flush(true))
		return 0;
	stack.waiters += AMP_PORT_THREADS;
	if (!arm_all())
		port_wait(c, amp_sooner((int32_t)left, stack.next_ms));
	stack.waiters -= AMP_PORT_THREADS;
	return 0;
}

/* Apart: what it has on the stack is not below a look at the links. */
int amp_wait(struct amp_call *c)
{
	int r = c->timeout_ms ? amp_sleep(c) : -EAGAIN;

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
	(void)amp_links_run();
	amp_bulk.stays = false;
}

bool amp_look_on(void)
{
	if (!amp_bulk.left)
		return false;
	amp_bulk.left = false;
	(void)amp_links_run();
	return true;
}
#else
static inline void look_for(const struct amp_call *c)
{
	(void)c;
	(void)amp_links_run();
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
