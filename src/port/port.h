/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The door to the operating system, or to the bare core: floor 0.
 *
 * The stack has one lock. Whoever runs stack code holds it; the only place that
 * gives it up in the middle is amp_port_wait(). Interrupt handlers take no lock:
 * they acknowledge their device and call amp_port_wake(), nothing more.
 *
 * No wake-up may be lost: amp_port_wake() leaves a mark that survives until the
 * next amp_port_wait() sees it. The caller's loop is always
 *
 *	amp_port_lock();
 *	for (;;) {
 *		amp_links_run();              (look at the rings)
 *		if (what I wait for is there)
 *			break;
 *		amp_port_wait(timeout_ms);    (sleep unless woken since the last wait)
 *	}
 *	amp_port_unlock();
 *
 * so a wake between the look and the sleep makes the sleep return at once.
 */
#ifndef AMP_PORT_H
#define AMP_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../ampsock_config.h"

/* Shorter in line than as a function, which a compiler does not always see. */
#define AMP_INLINED inline __attribute__((always_inline))

/*
 * Sleep until woken, at most timeout_ms (-1: for ever; 0: look only). Called with
 * the stack lock held, releases it while asleep and holds it again on return.
 * May return early for no reason. Returns 0, or -ETIMEDOUT when the time is up.
 */
int amp_port_wait(int32_t timeout_ms);

#if AMPSOCK_SPIN
/*
 * Before sleep, and before the peer is asked for a notification: look for news for as long as
 * the port finds worth while. True: there are some. False: none came, or something woke, or
 * the port does not do this.
 */
bool amp_port_spin(bool (*news)(const void *ctx), const void *ctx);
#endif

/*
 * Wake every waiter, now or at its next amp_port_wait(). From a thread (with or
 * without the lock) or from an interrupt handler.
 */
void amp_port_wake(void);

/* Monotonic milliseconds, free-running 32 bits: compare by signed difference. */
uint32_t amp_port_now_ms(void);

/* The earlier of two times from now, in ms; -1: never, which is more than any. */
static inline int32_t amp_sooner(int32_t a, int32_t b)
{
	return (uint32_t)a < (uint32_t)b ? a : b;
}

/*
 * 1 where several threads may be inside the library at once: a thread that makes
 * progress for others then wakes them as it leaves. On bare metal there are none.
 */
#ifndef AMP_PORT_THREADS
#define AMP_PORT_THREADS 1
#endif

#if AMPSOCK_SPIN && AMP_PORT_THREADS && !defined(__cppcheck__)
#error "AMPSOCK_SPIN=1 is for one core without threads (src/port/baremetal.c): -DAMP_PORT_THREADS=0, or AMPSOCK_SPIN=0"
#endif

/* Take and give the stack lock. Thread context only. Not recursive. Without threads it is
 * nothing: interrupt handlers run no stack code. */
#if AMP_PORT_THREADS
void amp_port_lock(void);
void amp_port_unlock(void);
#else
static inline void amp_port_lock(void)
{
}

static inline void amp_port_unlock(void)
{
}
#endif

/*
 * 1: the port can wake one thread and let the others sleep. Without, or where speed does not matter,
 * every change wakes every waiter, and each looks for itself.
 */
#define AMP_PORT_WAKE_ONE (AMP_PORT_THREADS && AMPSOCK_HOSTED && AMPSOCK_FAST)
#if AMP_PORT_WAKE_ONE
/*
 * All with the lock held. As amp_port_wait(); named: of one whom amp_port_wake_one() wakes when
 * there is a reason, and amp_port_wake_rest() does not.
 */
int amp_port_wait_as(int32_t timeout_ms, bool named);
/* The calling thread's name; as long as it lives. */
void *amp_port_self(void);
/* Wakes that thread, which is inside the library; nothing when it does not sleep. */
void amp_port_wake_one(void *thread);
/* Those that did not wait by name. */
void amp_port_wake_rest(void);
/*
 * Gives the lock up as amp_port_unlock() does, by one who takes it again at once, and then waits or
 * leaves. (Who leaves sees to it that somebody who waits looks at the links in his place.)
 */
void amp_port_unlock_briefly(void);
#else
static inline void amp_port_unlock_briefly(void)
{
	amp_port_unlock();
}
#endif

/*
 * Barriers for memory shared with the peer. The peer may be another core, so these
 * order normal memory for all observers even when our own build has one thread.
 * Each use names its pair on the other side of the ring.
 */
static inline void amp_rmb(void)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
}

static inline void amp_wmb(void)
{
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline void amp_mb(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Order earlier writes to shared memory before a later device register write. */
static inline void amp_io_wmb(void)
{
#if defined(__riscv)
	__asm__ volatile("fence w,o" ::: "memory");
#elif defined(__aarch64__)
	__asm__ volatile("dsb st" ::: "memory");
#elif defined(__arm__) && defined(__ARM_ARCH) && __ARM_ARCH >= 7
	__asm__ volatile("dsb" ::: "memory");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/*
 * Cache maintenance for cores that are not coherent with their peer. Called at
 * exactly the places where ownership of shared memory changes hands (a test fails when
 * one is missing, or not needed). addr and len are as they come: every line that they
 * touch is meant. Done when they return (a DSB on Arm): what follows says that it is.
 * clean: what was written goes to memory. invalidate: the next read comes from memory;
 * the line has not been written, if docs/porting.md was followed.
 */
#if AMPSOCK_CACHE_HOOKS
void amp_port_cache_clean(const volatile void *addr, size_t len);
void amp_port_cache_invalidate(const volatile void *addr, size_t len);
#else
static inline void amp_port_cache_clean(const volatile void *addr, size_t len)
{
	(void)addr;
	(void)len;
}

static inline void amp_port_cache_invalidate(const volatile void *addr, size_t len)
{
	(void)addr;
	(void)len;
}
#endif

#endif /* AMP_PORT_H */
