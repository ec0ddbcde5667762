// SPDX-License-Identifier: BSD-3-Clause
// build: -O1 src/virtio/remoteproc.c src/virtio/remoteproc_host.c src/virtio/vq_split.c -DAMPSOCK_CACHE_HOOKS=1
// timeout: 60
/*
 * remoteproc: events in the middle of a step. The cache hooks are called before every read and
 * after every write of shared memory, so they are where a test can stop one side and let
 * something happen: the other side runs, a core is reset or loaded again, a process
 * dies. Every event is tried at every such point of several stories, pairs and triples of them at many;
 * then both sides run until it is quiet, and it must work.
 *
 * All of it twice: with coherent caches, and with views, where each side sees memory as of its
 * last invalidate and the other sees nothing before a clean, in lines of 64 bytes. A clean or
 * invalidate that is missing breaks that, and so does a protocol that can not bear that a line
 * is written back over the other side's word.
 */
#include "port/port.h"

#define RR_CLEAN(p, len) amp_port_cache_clean(p, len)
#include "ringpair.h"
#include "rproc_rig.h"

#define LINE 64u

enum side { REMOTE, HOST };

enum event {
	WARM_RESET,
	RELOAD,
	RELOAD_BOOT_LATER,
	WARM_RESET_BOOT_LATER,
	HOST_RESTART,
	HOST_RESTART_LATER,
	OTHER_RUNS,
	REMOTE_ASKS,
	HOST_GOES_DOWN,
	EVENTS
};

static struct {
	bool views;
	unsigned long clock; /* hooks so far */
	struct {
		unsigned long at;
		enum event event;
	} plan[3];
	unsigned plan_cnt, plan_next;
	enum side stack[4]; /* who is in the middle of something, the innermost last */
	unsigned depth;
	jmp_buf out[2];
	unsigned fired;
	const char *story; /* being told */
} race;

/* ---- caches ---- */

static void lines(uint8_t *to, const uint8_t *from, size_t off, size_t len)
{
	size_t a = off & ~(size_t)(LINE - 1), b = (off + len + LINE - 1) & ~(size_t)(LINE - 1);

	memcpy(to + a, from + a, b - a);
}

static uint8_t *view_of(const volatile void *addr, size_t *off)
{
	const uint8_t *p = (const uint8_t *)(uintptr_t)addr;

	for (unsigned i = 0; i < 2; i++) {
		uint8_t *v = i ? rr.hview : rr.rview;

		if (p >= v && p < v + rr.o.mem_len) {
			*off = (size_t)(p - v);
			return v;
		}
	}
	fail_msg("a cache hook for memory that is not shared");
	return NULL;
}

static void fire(enum event e);

static void tick(void)
{
	race.clock++;
	if (race.plan_next < race.plan_cnt && race.clock >= race.plan[race.plan_next].at)
		fire(race.plan[race.plan_next++].event);
}

void amp_port_cache_clean(const volatile void *addr, size_t len)
{
	size_t off;
	uint8_t *v = view_of(addr, &off);

	if (race.views && len)
		lines(rr.ram, v, off, len);
	tick();
}

void amp_port_cache_invalidate(const volatile void *addr, size_t len)
{
	size_t off;
	uint8_t *v;

	tick();
	v = view_of(addr, &off);
	if (race.views && len)
		lines(v, rr.ram, off, len);
}

/* ---- events ---- */

static bool busy(enum side s)
{
	for (unsigned i = 0; i < race.depth; i++)
		if (race.stack[i] == s)
			return true;
	return false;
}

static void happen(enum event e);

/* fn as a step of that side, in which things may happen; also its own end. */
static void step(enum side s, void (*fn)(void))
{
	int e = setjmp(race.out[s]);

	if (e == 0) {
		race.stack[race.depth++] = s;
		fn();
		race.depth--;
		return;
	}
	race.depth--;
	happen((enum event)(e - 1));
}

static void host_starts(void)
{
	(void)rr_host_start();
}

static void remote_asks(void)
{
	rr_gone(&rr.remote);
	amp_rproc_boot(&rr.rp);
	rr.host.kicked = true;
}

static void host_goes_down(void)
{
	rr_gone(&rr.host);
	amp_rproc_host_down(&rr.h);
	rr.remote.kicked = rr.host.kicked = true;
}

static void happen(enum event e)
{
	switch (e) {
	case WARM_RESET:
		step(REMOTE, rr_warm_reset);
		break;
	case RELOAD:
		step(REMOTE, rr_reload_reset);
		break;
	case RELOAD_BOOT_LATER:
		rr_load();
		rr_remote_off();
		break;
	case WARM_RESET_BOOT_LATER:
		rr_remote_off();
		break;
	case HOST_RESTART:
		step(HOST, host_starts);
		break;
	case HOST_RESTART_LATER:
		rr_host_kill();
		break;
	case OTHER_RUNS:
		if (race.stack[race.depth - 1] == HOST)
			step(REMOTE, rr_remote_run);
		else
			step(HOST, rr_host_run);
		break;
	case REMOTE_ASKS:
		step(REMOTE, remote_asks);
		break;
	case HOST_GOES_DOWN:
		step(HOST, host_goes_down);
		break;
	case EVENTS:
		break;
	}
}

/* In the middle of somebody's step. Who is reset or killed never comes back to it. */
static void fire(enum event e)
{
	enum side inner, of = HOST;

	if (race.depth == 0)
		return;
	inner = race.stack[race.depth - 1];
	if (e == WARM_RESET || e == RELOAD || e == RELOAD_BOOT_LATER ||
	    e == WARM_RESET_BOOT_LATER || e == REMOTE_ASKS)
		of = REMOTE;
	if (e == OTHER_RUNS)
		of = inner == HOST ? REMOTE : HOST;
	if (of == REMOTE ? !rr.remote.running && (e == REMOTE_ASKS || e == OTHER_RUNS)
			 : !rr.host.running && (e == HOST_GOES_DOWN || e == OTHER_RUNS))
		return;
	if (busy(of)) {
		if (inner != of || e == REMOTE_ASKS || e == HOST_GOES_DOWN)
			return;
		race.fired++;
		longjmp(race.out[of], (int)e + 1);
	}
	race.fired++;
	happen(e);
}

/* ---- stories ---- */

static void quiet(void)
{
	for (unsigned i = 0; i < RR_LOOKS; i++) {
		if (rr.remote.kicked && rr.remote.running)
			step(REMOTE, rr_remote_run);
		else if (rr.host.kicked && rr.host.running)
			step(HOST, rr_host_run);
		else
			return;
	}
	fail_msg("the two sides never come to rest");
}

static void remote_then_host(void)
{
	step(REMOTE, rr_reload_reset);
	step(HOST, host_starts);
}

static void host_then_remote(void)
{
	rr_load();
	step(HOST, host_starts);
	step(REMOTE, rr_warm_reset);
}

static void warm_reset(void)
{
	step(REMOTE, rr_warm_reset);
}

static void reload(void)
{
	step(REMOTE, rr_reload_reset);
}

static void host_restart(void)
{
	step(HOST, host_starts);
}

static void asks(void)
{
	step(REMOTE, remote_asks);
}

static void goes_down(void)
{
	step(HOST, host_goes_down);
}

static const struct story {
	const char *name;
	bool served; /* before it begins */
	void (*run)(void);
} stories[] = {
	{"remote, then host", false, remote_then_host},
	{"host, then remote", false, host_then_remote},
	{"warm reset", true, warm_reset},
	{"reload", true, reload},
	{"host restart", true, host_restart},
	{"remote asks", true, asks},
	{"host goes down", true, goes_down},
};
#define STORIES (sizeof(stories) / sizeof(stories[0]))

/* One story with the plan of race. Returns how many points it had. */
static unsigned long tell(const struct story *s)
{
	unsigned cnt = race.plan_cnt;
	unsigned long points;

	race.story = s->name;
	rr_init(&(struct rr_opt){.mem_len = 0x2000, .num = 4, .buf_len = {64, 64}});
	if (race.views) {
		if (posix_memalign((void **)&rr.rview, 4096, rr.o.mem_len) ||
		    posix_memalign((void **)&rr.hview, 4096, rr.o.mem_len))
			abort();
		memset(rr.rview, 0x55, rr.o.mem_len);
		memset(rr.hview, 0x33, rr.o.mem_len);
	}
	race.plan_cnt = race.plan_next = race.depth = 0;
	if (s->served) {
		rr_reload_reset();
		assert_int_equal(rr_host_start(), 0);
		rr_works();
	}
	race.clock = 0;
	race.plan_cnt = cnt;
	s->run();
	quiet();
	points = race.clock;
	race.plan_cnt = 0;
	/* whoever was to start later does now, and whoever was early is asked to look */
	if (!rr.remote.running)
		rr_remote_boot();
	if (!rr.host.running)
		(void)rr_host_start();
	rr_works();
	/* (a status that a dying host wrote behind a reload's back can look like Linux's) */
	if (cnt < 2)
		assert_int_equal(rr.bad_queue, 0);
	rr_free();
	race.story = NULL;
	return points;
}

/* A story without an end: which, and what happened in it. */
static int teardown(void **state)
{
	(void)state;
	if (!rr.ram)
		return 0;
	print_message("# %s%s:", race.story ? race.story : "no story",
		      race.views ? ", with caches" : "");
	for (unsigned i = 0; i < race.plan_next; i++)
		print_message(" event %d at %lu", race.plan[i].event, race.plan[i].at);
	print_message("\n");
	rr_free();
	race.story = NULL;
	return 0;
}

static void one_event(const struct story *s)
{
	unsigned long points, at;

	race.plan_cnt = 0;
	points = tell(s);
	assert_true(points > 20);
	for (int e = 0; e < EVENTS; e++) {
		race.fired = 0;
		for (at = 1; at <= points; at++) {
			race.plan[0].at = at;
			race.plan[0].event = (enum event)e;
			race.plan_cnt = 1;
			tell(s);
		}
		assert_true(race.fired > 0);
	}
}

static void more_events(const struct story *s, uint32_t seed, unsigned n)
{
	unsigned long points;

	race.plan_cnt = 0;
	points = tell(s);
	while (n--) {
		race.plan[0].at = 1 + rp_rand(&seed) % points;
		race.plan[0].event = (enum event)(rp_rand(&seed) % EVENTS);
		race.plan[1].at = race.plan[0].at + 1 + rp_rand(&seed) % 150;
		race.plan[1].event = (enum event)(rp_rand(&seed) % EVENTS);
		race.plan[2].at = race.plan[1].at + 1 + rp_rand(&seed) % 150;
		race.plan[2].event = (enum event)(rp_rand(&seed) % EVENTS);
		race.plan_cnt = 2 + n % 2;
		tell(s);
	}
}

static void test_one_event_at_every_point(void **state)
{
	(void)state;
	race.views = false;
	for (unsigned i = 0; i < STORIES; i++)
		one_event(&stories[i]);
}

static void test_one_event_at_every_point_with_caches(void **state)
{
	(void)state;
	race.views = true;
	for (unsigned i = 0; i < STORIES; i++)
		one_event(&stories[i]);
}

static void test_more_events(void **state)
{
	(void)state;
	race.views = false;
	for (unsigned i = 0; i < STORIES; i++)
		more_events(&stories[i], 0x1234567 + i, 2000);
}

static void test_more_events_with_caches(void **state)
{
	(void)state;
	race.views = true;
	for (unsigned i = 0; i < STORIES; i++)
		more_events(&stories[i], 0x7654321 + i, 2000);
}

static int up_result;

static void host_up(void)
{
	up_result = amp_rproc_host_up(&rr.h, rr.host.vq);
}

/* Loaded again while it is being served: the host notices before it says that it serves. */
static void test_reload_while_served_is_undone(void **state)
{
	unsigned long at = 0;
	unsigned refused = 0;
	bool last;

	(void)state;
	race.views = false;
	do {
		rr_init(&(struct rr_opt){.mem_len = 0x2000, .num = 4, .buf_len = {64, 64}});
		race.plan_cnt = race.plan_next = race.depth = 0;
		rr_reload_reset();
		assert_int_equal(rr_host_start(), 0);
		rr_remote_run();
		assert_int_equal(amp_rproc_host_look(&rr.h), AMP_RPROC_UP);
		race.clock = 0;
		race.plan[0].at = ++at;
		race.plan[0].event = RELOAD_BOOT_LATER;
		race.plan_cnt = 1;
		step(HOST, host_up);
		race.plan_cnt = 0;
		if (up_result) {
			refused++;
			assert_int_equal(rr_table()->vdev.status, 0);
		}
		last = !race.plan_next; /* too late: nothing has happened */
		assert_int_equal(amp_rproc_look(&rr.rp), last ? AMP_RPROC_UP : AMP_RPROC_DOWN);
		rr_remote_boot();
		rr_works();
		rr_free();
	} while (!last);
	assert_true(at > 50);
	assert_int_equal(refused, at - 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, NULL, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_one_event_at_every_point),
		T(test_one_event_at_every_point_with_caches),
		T(test_more_events),
		T(test_reload_while_served_is_undone),
		T(test_more_events_with_caches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
