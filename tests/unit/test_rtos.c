// SPDX-License-Identifier: BSD-3-Clause
/*
 * The port for a system with threads that docs/porting.md shows: it is what stands there, and no
 * wake-up of a thread or an interrupt handler is lost. The system's calls are made of POSIX's; an
 * interrupt handler is a thread that runs while no other has interrupts masked.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- a small system ---- */

struct mutex {
	pthread_mutex_t m;
};

struct sem {
	pthread_mutex_t m;
	pthread_cond_t c;
	unsigned cnt;
};

#define mutex_t struct mutex
#define sem_t	struct sem
#define MUTEX_INITIAL                     \
	{                                 \
		PTHREAD_MUTEX_INITIALIZER \
	}
#define SEM_INITIAL(n)                                                 \
	{                                                              \
		PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, n \
	}

static pthread_mutex_t interrupts = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static void mutex_lock(struct mutex *m)
{
	pthread_mutex_lock(&m->m);
}

static void mutex_unlock(struct mutex *m)
{
	pthread_mutex_unlock(&m->m);
}

static unsigned irq_mask(void)
{
	pthread_mutex_lock(&interrupts);
	return 0;
}

static void irq_restore(unsigned key)
{
	(void)key;
	pthread_mutex_unlock(&interrupts);
}

static void sem_give(struct sem *s)
{
	pthread_mutex_lock(&s->m);
	s->cnt++;
	pthread_cond_signal(&s->c);
	pthread_mutex_unlock(&s->m);
}

static bool sem_take(struct sem *s, int32_t timeout_ms)
{
	struct timespec until;
	bool got;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (timeout_ms < 0 ? 1000000 : timeout_ms) / 1000;
	until.tv_nsec += timeout_ms < 0 ? 0 : timeout_ms % 1000 * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&s->m);
	while (!s->cnt && r == 0)
		r = pthread_cond_timedwait(&s->c, &s->m, &until);
	got = s->cnt != 0;
	s->cnt -= got;
	pthread_mutex_unlock(&s->m);
	return got;
}

static uint32_t uptime_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint32_t)now.tv_sec * 1000u + (uint32_t)(now.tv_nsec / 1000000);
}

#include "rtos_port.h"

/* ---- what is asked of it ---- */

#define THREADS 4
#define EVENTS	500 /* for each of them, half of them by interrupts */

static unsigned ready[THREADS]; /* interrupts masked: events that nobody has taken yet */

/* Taken by a thread that waits as the library does (port.h). */
static void *consumer(void *arg)
{
	unsigned *mine = arg;

	for (unsigned got = 0; got < EVENTS;) {
		amp_port_lock();
		for (;;) {
			unsigned key = irq_mask(), n = *mine;

			*mine = 0;
			irq_restore(key);
			got += n;
			if (n)
				break;
			(void)amp_port_wait(-1);
		}
		amp_port_unlock();
	}
	return NULL;
}

static void *handler(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < THREADS * EVENTS / 2; i++) {
		unsigned key = irq_mask();

		ready[i % THREADS]++;
		amp_port_wake();
		irq_restore(key);
		if (i % 8 == 0) /* so that they sleep now and then */
			sched_yield();
	}
	return NULL;
}

/* A thread makes progress for others, and says so before it leaves. */
static void *producer(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < THREADS * EVENTS / 2; i++) {
		unsigned key;

		amp_port_lock();
		key = irq_mask();
		ready[i % THREADS]++;
		irq_restore(key);
		amp_port_wake();
		amp_port_unlock();
	}
	return NULL;
}

static void test_nothing_lost(void **state)
{
	pthread_t t[THREADS + 2];

	(void)state;
	alarm(15); /* one that is lost is waited for for ever */
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, consumer, &ready[i]), 0);
	assert_int_equal(pthread_create(&t[THREADS], NULL, handler, NULL), 0);
	assert_int_equal(pthread_create(&t[THREADS + 1], NULL, producer, NULL), 0);
	for (unsigned i = 0; i < THREADS + 2; i++)
		pthread_join(t[i], NULL);
	alarm(0);
	assert_null(waiters);
}

static void test_marks(void **state)
{
	uint32_t before = amp_port_now_ms();

	(void)state;
	alarm(15);
	amp_port_lock();
	amp_port_wake(); /* since the look: no sleep */
	assert_int_equal(amp_port_wait(-1), 0);
	assert_int_equal(amp_port_wait(2), -ETIMEDOUT);
	assert_true(amp_port_now_ms() - before >= 1);
	amp_port_unlock();
	amp_port_wake(); /* before the look, which sees it */
	amp_port_lock();
	assert_int_equal(amp_port_wait(0), -ETIMEDOUT);
	amp_port_unlock();
	alarm(0);
}

/* docs/porting.md beside this file's directory. */
static char *text_of(const char *name)
{
	static char text[2][65536];
	static unsigned at;
	char path[256], *to = text[at++ % 2];
	const char *slash = strrchr(__FILE__, '/');
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%.*s/%s", (int)(slash ? slash - __FILE__ : 1),
		 slash ? __FILE__ : ".", name);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(to, 1, sizeof(text[0]) - 1, f);
	to[n] = '\0';
	fclose(f);
	return to;
}

static void test_documented(void **state)
{
	const char *code = strstr(text_of("rtos_port.h"), "#include <errno.h>");

	(void)state;
	assert_non_null(code);
	if (!strstr(text_of("../../docs/porting.md"), code))
		fail_msg("docs/porting.md does not have the port of tests/unit/rtos_port.h");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_nothing_lost),
		cmocka_unit_test(test_documented),
	};

	return cmocka_run_group_tests_name("rtos", tests, NULL, NULL);
}
