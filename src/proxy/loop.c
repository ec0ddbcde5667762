// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls:hot epoll_wait epoll_pwait
 * #syscalls epoll_ctl timer_settime timer_delete rt_sigreturn restart_syscall close clock_gettime exit_group exit
 */
/* Theory of operation: loop.h. One loop a process, so its state is static. */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "loop.h"
#include "slice.h"

#define EVENTS_MAX  64
#define REST_GRAVES 256u
#define PASS_ITEMS  512u /* work items until descriptors and timers are looked at again */
#define FIRST_ITEMS 64u	 /* of the first queue, until one of the second has its turn */
#define PASS_LEN    (64u * 1024u) /* and bytes */
#define SMALL_LEN   8192u	  /* who moves no more in a turn has the next one before bulk */
#define THINGS	    128u /* small things in a turn; of a batch of 64 packets none waits */
#define THING_LEN   512u /* bytes that each counts as: a turn of them is a pass */
#define MIXED	    3u	 /* one message for so many turns of bulk, and there are both */
#define RETRY_MS    100u
#define BUSY_LOOKS  64u /* for one at the descriptors and the clock */
#define BUSY_SKIP   63u

TAILQ_HEAD(work_head, amp_work);
LIST_HEAD(watch_head, amp_watch);
LIST_HEAD(busy_head, amp_busy);

static uv_loop_t uv;
static struct amp_watch uv_watch = {.fd = -1};
static uv_timer_t retry_timer;
static bool uv_due;
static bool stopped;
static int ep = -1;
static struct work_head work = TAILQ_HEAD_INITIALIZER(work);
static struct work_head bulk = TAILQ_HEAD_INITIALIZER(bulk);
static struct amp_work *running;
static size_t pass_moved;
static size_t turn_moved;
static unsigned things;			 /* in this turn */
static unsigned small_turns, bulk_turns; /* that moved something, since the last alarm */
static struct amp_grave *graves;
static unsigned buried; /* since the heap was trimmed */
static struct epoll_event batch[EVENTS_MAX];
static int batch_cnt;
static int batch_at;
static struct watch_head retry = LIST_HEAD_INITIALIZER(retry);
static struct busy_head busy = LIST_HEAD_INITIALIZER(busy);
static timer_t alarm_timer;
static volatile sig_atomic_t alarms; /* that went off */
static sig_atomic_t alarms_seen;
static bool alarm_on, awake; /* awake: something happened since the last alarm */

static void on_alarm(int num)
{
	(void)num;
	alarms++;
}

/* Not with SA_RESTART: it is there to end a wait. To this thread, not to the resolver's. */
static int alarm_init(void)
{
	struct sigaction sa = {.sa_handler = on_alarm};
	struct sigevent to = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM};

	to._sigev_un._tid = gettid();
	if (sigaction(SIGALRM, &sa, NULL) || timer_create(CLOCK_MONOTONIC, &to, &alarm_timer))
		return -errno;
	return 0;
}

static void alarm_set(bool on)
{
	const struct timespec every = {.tv_nsec = on ? AMP_LOOP_ALARM_MS * 1000000L : 0};
	const struct itimerspec when = {.it_interval = every, .it_value = every};

	timer_settime(alarm_timer, 0, &when, NULL);
	alarm_on = on;
}

/*
 * Nothing has happened for a while, and the next thing may be hours away: what was kept for
 * more work of the same sort goes back. The heap's holes are worth a look only when many
 * objects went.
 */
static void rest(void)
{
	amp_buf_rest();
	if (buried < REST_GRAVES)
		return;
	buried = 0;
	malloc_trim(0);
}

/* Messages beside bulk: these would wait for whole turns of others (slice.c). */
static void choose_slice(void)
{
	amp_slice_short(bulk_turns && (size_t)small_turns * MIXED >= bulk_turns);
	small_turns = bulk_turns = 0;
}

/* Before sleep and after: the alarm runs while there is work, and a little longer. */
static void alarm_check(bool work_came)
{
	if (work_came && !alarm_on)
		alarm_set(true);
	awake |= work_came;
	if (alarms == alarms_seen)
		return;
	alarms_seen = alarms;
	choose_slice();
	if (!awake) {
		alarm_set(false);
		rest();
	}
	awake = false;
}

static void uv_ready(struct amp_watch *w, uint32_t events)
{
	(void)w;
	(void)events;
	uv_due = true;
}

static void dispatch(int timeout_ms)
{
	batch_cnt = epoll_wait(ep, batch, EVENTS_MAX, timeout_ms);
	alarm_check(batch_cnt >= 0); /* 0: a timer, or work that waits: these can hang, too */
	for (batch_at = 0; batch_at < batch_cnt; batch_at++) {
		struct amp_watch *w = batch[batch_at].data.ptr;

		things = 0; /* a turn, too */
		if (w)
			w->ready(w, batch[batch_at].events);
	}
	batch_cnt = 0;
}

static void bury_all(void)
{
	while (graves) {
		struct amp_grave *g = graves;

		graves = g->next;
		g->free(g);
	}
}

static bool work_left(void)
{
	return !TAILQ_EMPTY(&work) || !TAILQ_EMPTY(&bulk);
}

static void run_first(struct work_head *list)
{
	struct amp_work *item = TAILQ_FIRST(list);

	TAILQ_REMOVE(list, item, entry);
	item->queued = false;
	item->moved = 0;
	turn_moved = 0;
	things = 0;
	running = item; /* it may be gone when run() returns: nothing looks at it then */
	item->run(item);
	running = NULL;
	bulk_turns += turn_moved > SMALL_LEN;
	small_turns += turn_moved && turn_moved <= SMALL_LEN;
}

static void pass(void)
{
	unsigned n = 0;

	pass_moved = 0;
	while (n < PASS_ITEMS && pass_moved < PASS_LEN && work_left()) {
		for (unsigned i = 0; i < FIRST_ITEMS && !TAILQ_EMPTY(&work); i++, n++)
			run_first(&work);
		/* whatever the first queue did: no number of messages keeps bulk from its turn */
		if (!TAILQ_EMPTY(&bulk)) {
			run_first(&bulk);
			n++;
		}
	}
	bury_all();
}

/* Whoever is called may stop any other watch, which takes it out of either list. */
static void retry_due(uv_timer_t *t)
{
	struct watch_head due = LIST_HEAD_INITIALIZER(due);
	struct amp_watch *w;

	(void)t;
	while ((w = LIST_FIRST(&retry)) != NULL) {
		LIST_REMOVE(w, retry_entry);
		LIST_INSERT_HEAD(&due, w, retry_entry);
	}
	while ((w = LIST_FIRST(&due)) != NULL) {
		LIST_REMOVE(w, retry_entry);
		w->retrying = false;
		w->ready(w, EPOLLIN);
	}
}

int amp_loop_init(void)
{
	int r = uv_loop_init(&uv);

	if (r)
		return r;
	stopped = false;
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (ep < 0)
		return -errno;
	r = alarm_init();
	if (r)
		return r;
	uv_timer_init(&uv, &retry_timer);
	uv_watch.ready = uv_ready;
	return amp_watch_start(&uv_watch, uv_backend_fd(&uv), EPOLLIN);
}

uv_loop_t *amp_loop_uv(void)
{
	return &uv;
}

/* ---- busy polling ---- */

bool amp_busy_start(struct amp_busy *b)
{
	if (b->on)
		return true;
	if (b->skip) {
		b->skip--;
		return false;
	}
	b->on = true;
	LIST_INSERT_HEAD(&busy, b, entry);
	return true;
}

void amp_busy_stop(struct amp_busy *b)
{
	if (b->on)
		LIST_REMOVE(b, entry);
	b->on = false;
}

static bool busy_news(void)
{
	const struct amp_busy *b;

	LIST_FOREACH(b, &busy, entry)
	{
		if (b->news(b))
			return true;
	}
	return false;
}

/* It has its turn, in which it asks to be notified, or answers again. */
static void busy_end(struct amp_busy *b, bool vain)
{
	amp_busy_stop(b);
	b->vain = vain ? (2u * b->vain + 1u) & BUSY_SKIP : 0;
	b->skip = b->vain;
	amp_work_queue(b->work);
}

/* Others have work, so there is no sleep before which all have their turn, perhaps for long. */
static void busy_pass(void)
{
	struct amp_busy *b, *next;

	for (b = LIST_FIRST(&busy); b; b = next) {
		next = LIST_NEXT(b, entry);
		if (b->news(b))
			busy_end(b, false);
	}
}

/* Instead of sleep, for a while; nothing is queued when it begins. */
static void busy_poll(void)
{
	uint64_t end = uv_hrtime() + AMP_BUSY_NS;
	bool news = false;
	struct amp_busy *b;

	do {
		for (unsigned i = 0; i < BUSY_LOOKS && !news; i++)
			news = busy_news();
		if (!news)
			dispatch(0);
	} while (!news && !work_left() && !uv_due && uv_hrtime() < end);
	while ((b = LIST_FIRST(&busy)) != NULL)
		busy_end(b, !b->news(b));
}

/* Until libuv has something to do. It says 0 where it has nothing at all, too. */
static int uv_timeout_ms(void)
{
	return uv_loop_alive(&uv) ? uv_backend_timeout(&uv) : -1;
}

void amp_loop_run(void)
{
	uv_run(&uv, UV_RUN_NOWAIT); /* puts the descriptors of its handles into its set */
	while (!stopped) {
		if (work_left())
			busy_pass();
		else if (!LIST_EMPTY(&busy))
			busy_poll();
		uv_update_time(&uv);
		dispatch(work_left() ? 0 : uv_timeout_ms());
		/* its descriptor, a timer that is due, or a handle that waits to be closed */
		if (uv_due || uv_timeout_ms() == 0) {
			uv_due = false;
			uv_run(&uv, UV_RUN_NOWAIT);
		}
		pass();
	}
}

void amp_loop_stop(void)
{
	stopped = true;
}

void amp_loop_fini(void)
{
	amp_watch_stop(&uv_watch);
	uv_close((uv_handle_t *)&retry_timer, NULL);
	uv_run(&uv, UV_RUN_DEFAULT); /* lets every handle close and every request end */
	bury_all();
	uv_loop_close(&uv);
	close(ep);
	ep = -1;
	timer_delete(alarm_timer);
	alarm_on = false;
}

int amp_watch_start(struct amp_watch *w, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev))
		return -errno;
	w->fd = fd;
	return 0;
}

/* Events already fetched must not reach a watch that is no more. */
static void forget(struct amp_watch *w)
{
	w->fd = -1;
	for (int i = batch_at + 1; i < batch_cnt; i++) {
		if (batch[i].data.ptr == w)
			batch[i].data.ptr = NULL;
	}
	if (w->retrying)
		LIST_REMOVE(w, retry_entry);
	w->retrying = false;
}

void amp_watch_stop(struct amp_watch *w)
{
	if (w->fd < 0)
		return;
	epoll_ctl(ep, EPOLL_CTL_DEL, w->fd, NULL);
	forget(w);
}

void amp_watch_close(struct amp_watch *w)
{
	int fd = w->fd;

	if (fd < 0)
		return;
	/* not left to close(): a descriptor that came from the helper has a duplicate there for a moment,
	 * and as long as there is one the kernel keeps it in the set, with a pointer to w */
	epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL);
	forget(w);
	close(fd);
}

void amp_watch_close_shared(struct amp_watch *w)
{
	int fd = w->fd;

	if (fd < 0)
		return;
	amp_watch_stop(w);
	close(fd);
}

void amp_watch_retry(struct amp_watch *w)
{
	if (w->retrying)
		return;
	w->retrying = true;
	LIST_INSERT_HEAD(&retry, w, retry_entry);
	if (!uv_is_active((uv_handle_t *)&retry_timer))
		uv_timer_start(&retry_timer, retry_due, RETRY_MS, 0);
}

void amp_work_queue(struct amp_work *item)
{
	if (item->queued)
		return;
	item->queued = true;
	item->bulk = item == running || item->moved > SMALL_LEN;
	TAILQ_INSERT_TAIL(item->bulk ? &bulk : &work, item, entry);
}

void amp_loop_moved(size_t len)
{
	pass_moved += len;
	turn_moved += len;
	if (running) /* a turn is far shorter than 4 GiB */
		running->moved += (uint32_t)len;
}

bool amp_loop_over(void)
{
	return things == THINGS;
}

bool amp_loop_may(void)
{
	if (amp_loop_over())
		return false;
	things++;
	amp_loop_moved(THING_LEN);
	return true;
}

void amp_work_cancel(struct amp_work *item)
{
	if (!item->queued)
		return;
	item->queued = false;
	TAILQ_REMOVE(item->bulk ? &bulk : &work, item, entry);
}

void amp_bury(struct amp_grave *grave, void (*free_fn)(struct amp_grave *grave))
{
	buried++;
	grave->free = free_fn;
	grave->next = graves;
	graves = grave;
}
