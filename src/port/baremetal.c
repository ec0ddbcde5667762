/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Theory of operation: one core, one thread, interrupts.
 *
 * The lock is nothing: interrupt handlers run no stack code, they leave a mark and
 * return. A wake-up would be lost if the interrupt came after the last look at the mark
 * and before the wait instruction; so that look and the instruction run with interrupts
 * masked. The wait instruction ends for a pending interrupt even though it is masked
 * (Arm WFI, RISC-V Privileged 3.3.3), unmasking then lets its handler run.
 *
 * The alarm that bounds a wait stays set when something else ends it: what it may cost is one wake-up
 * for nothing. A timer is slow to write, under a hypervisor a trap, and the next wait nearly always
 * ends later; so with AMPSOCK_FAST it is set again only when it has gone off or would come too late.
 *
 * To be woken can cost much more than the wait was long: in an emulator or under a hypervisor each
 * interrupt is two switches between threads of the host. So a core may look at its rings for
 * a while before it sleeps (AMPSOCK_SPIN), and while it does the peer has not been asked to notify.
 * The clock, slow to read there, is asked once in so many looks. Where nothing comes in that time,
 * because the peer is far, it is tried ever less often. So it is where the clock has jumped between
 * two looks, because somebody else wanted the processor that the core is made of: once is an
 * accident and costs a few looks, again and again is a busy host, and a guest that sleeps is the
 * one that it lets run when there is news.
 *
 * Milliseconds come from the board's counter by multiplication: per tick 2^32 * 1000 / hz
 * parts of 2^32, the remainder is carried, so that nothing drifts by when it was asked.
 */
#include <errno.h>

#include "port.h"
#include "baremetal.h"

#if AMP_PORT_THREADS && !defined(__cppcheck__)
#error "baremetal.c has no threads: -DAMP_PORT_THREADS=0, or a port of your own (docs/porting.md)"
#endif
#if defined(__arm__) && __ARM_ARCH < 6
#error "no cpsid and wfi on this core: name yours with -mcpu= (or -march=)"
#endif

#if defined(AMP_PORT_CORE)
#include AMP_PORT_CORE /* a core that is not here: irq_mask(), irq_unmask(), core_sleep() */
#elif defined(__riscv)
static inline void irq_mask(void)
{
	__asm__ volatile("csrci mstatus, 8" ::: "memory");
}

static inline void irq_unmask(void)
{
	__asm__ volatile("csrsi mstatus, 8" ::: "memory");
}

static inline void core_sleep(void)
{
	__asm__ volatile("wfi" ::: "memory");
}
#elif defined(__aarch64__)
static inline void irq_mask(void)
{
	__asm__ volatile("msr daifset, #2" ::: "memory");
}

static inline void irq_unmask(void)
{
	__asm__ volatile("msr daifclr, #2\n\tisb" ::: "memory");
}

static inline void core_sleep(void)
{
	__asm__ volatile("dsb sy\n\twfi" ::: "memory");
}
#elif defined(__arm__)
static inline void irq_mask(void)
{
	__asm__ volatile("cpsid i" ::: "memory");
}

static inline void irq_unmask(void)
{
	__asm__ volatile("cpsie i\n\tisb" ::: "memory");
}

static inline void core_sleep(void)
{
	__asm__ volatile("dsb\n\twfi" ::: "memory");
}
#else
#error "how does this core mask interrupts and sleep? -DAMP_PORT_CORE='\"my_core.h\"' (docs/porting.md)"
#endif

/* Fields: t thread only; i written by interrupt handlers too. */
static struct {
	const struct amp_baremetal_clock *clock; /* t */
	volatile uint8_t woken; /* i; early: short offsets, short instructions */
	uint32_t tick_frac;	/* t: 1 tick in ms * 2^32 */
	uint32_t ms_ticks;	/* t: ticks per ms, rounded up */
	uint64_t seen;		/* t: ticks already turned into ms */
	uint32_t now_ms;	/* t */
	uint32_t frac;		/* t: ms * 2^32 beyond now_ms */
	uint32_t sleeps;	/* t */
#if AMPSOCK_SPIN
	uint64_t spin_ticks; /* t */
	uint16_t spin_vain;  /* t: as many sleeps without, after the last that found nothing */
	uint16_t
		spin_away; /* t: as many sleeps without, after the last during which it stood still */
	uint16_t spin_skip; /* t: of these, to come */
#endif
#if AMPSOCK_FAST
	uint64_t alarm; /* t: what the alarm is set to, or was last */
#endif
} bm;

/* By long division: this library divides no 64 bits. */
uint32_t amp_baremetal_fraction(uint32_t hz)
{
	uint32_t q = 0, rest = 1000; /* less than hz */
	unsigned i;

	for (i = 0; i < 32; i++) {
		uint32_t more = hz - rest;

		q <<= 1;
		if (rest >= more) { /* 2 * rest >= hz, which may not fit */
			rest -= more;
			q |= 1;
		} else {
			rest <<= 1;
		}
	}
	return q;
}

void amp_baremetal_start(const struct amp_baremetal_clock *clock, uint32_t tick_frac,
			 uint32_t ms_ticks)
{
	bm.clock = clock;
	bm.tick_frac = tick_frac;
	bm.ms_ticks = ms_ticks;
	bm.seen = clock->ticks();
#if AMPSOCK_FAST
	bm.alarm = UINT64_MAX;
#endif
}

#if AMPSOCK_SPIN
#define SPIN_LOOKS     64u /* for one at the clock */
#define SPIN_SKIP_VAIN 63u
#define SPIN_SKIP_AWAY 1023u /* at most; each look that finds something takes one off */

void amp_baremetal_spin(uint32_t us)
{
	bm.spin_ticks = (uint64_t)(us / 1000) * bm.ms_ticks + us % 1000 * bm.ms_ticks / 1000;
	bm.spin_vain = 0;
	bm.spin_away = 0;
	bm.spin_skip = 0;
}

/* News within spin_ticks? Then, or when there are none, *away: the core stood still meanwhile. */
static bool spin(bool (*news)(const void *ctx), const void *ctx, bool *away)
{
	uint64_t now = bm.clock->ticks(), end = now + bm.spin_ticks, last;
	bool found = false;
	unsigned i;

	do {
		for (i = 0; i < SPIN_LOOKS && !found; i++)
			found = news(ctx);
		last = now;
		now = bm.clock->ticks();
		*away = now - last > bm.ms_ticks;
	} while (!found && !*away && !bm.woken && now < end);
	return found;
}

static __attribute__((noinline)) bool spin_wisely(bool (*news)(const void *ctx),
						  const void *ctx)
{
	bool away, found = spin(news, ctx, &away);
	unsigned more = 4u * bm.spin_away + 3u;

	bm.spin_vain = found ? 0 : (uint16_t)(2u * bm.spin_vain + 1u) & SPIN_SKIP_VAIN;
	if (away)
		bm.spin_away = (uint16_t)(more < SPIN_SKIP_AWAY ? more : SPIN_SKIP_AWAY);
	else if (found && bm.spin_away)
		bm.spin_away--;
	bm.spin_skip = away ? bm.spin_away : bm.spin_vain;
	return found;
}

bool amp_port_spin(bool (*news)(const void *ctx), const void *ctx)
{
	if (!bm.spin_ticks)
		return false;
	if (!bm.spin_skip)
		return spin_wisely(news, ctx);
	bm.spin_skip--;
	return false;
}
#endif

uint32_t amp_baremetal_sleeps(void)
{
	return bm.sleeps;
}

void amp_port_wake(void)
{
	bm.woken = 1;
}

uint32_t amp_port_now_ms(void)
{
	uint64_t now = bm.clock->ticks();
	uint64_t gone = now - bm.seen;
	uint64_t part = (uint64_t)(uint32_t)gone * bm.tick_frac + bm.frac;

	bm.seen = now;
	bm.now_ms += (uint32_t)(gone >> 32) * bm.tick_frac + (uint32_t)(part >> 32);
	bm.frac = (uint32_t)part;
	return bm.now_ms;
}

#if AMPSOCK_FAST
/* Sleep until woken, or until end. */
static void doze(uint64_t end)
{
	uint64_t now;

	for (;;) {
		irq_mask();
		now = bm.clock->ticks();
		if (bm.woken || now >= end)
			break;
		if (bm.alarm <= end && (now < bm.alarm || end == UINT64_MAX)) {
			bm.sleeps++;
			core_sleep();
			irq_unmask(); /* the handlers run here */
		} else {
			irq_unmask();
			bm.clock->alarm(end);
			bm.alarm = end;
		}
	}
	irq_unmask();
}
#else
static void doze(uint64_t end)
{
	bm.clock->alarm(end); /* set anew each time */
	for (;;) {
		irq_mask();
		if (bm.woken || bm.clock->ticks() >= end)
			break;
		bm.sleeps++;
		core_sleep();
		irq_unmask(); /* the handlers run here */
	}
	irq_unmask();
}
#endif

int amp_port_wait(int32_t timeout_ms)
{
	uint64_t end = UINT64_MAX;
	uint32_t ms = (uint32_t)timeout_ms;

	if (!AMPSOCK_FAST || (!bm.woken && timeout_ms != 0)) { /* else it ends at once, too */
		/* -1; a small build takes it for 49 days, and who waits asks again after that */
		if (!AMPSOCK_FAST || ms != UINT32_MAX)
			end = bm.clock->ticks() + (uint64_t)ms * bm.ms_ticks;
		doze(end);
	}
	if (!bm.woken)
		return -ETIMEDOUT;
	bm.woken = 0; /* the caller looks at everything after this */
	return 0;
}
