/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The loop: libuv's, with two things of our own on it.
 *
 * Theory of operation
 *
 * libuv has timers, signals and the resolver's threads. Data descriptors are not uv_poll
 * handles: changing what such a handle waits for costs two epoll_ctl() calls, and a flow
 * changes its mind with every stall. They sit in one epoll set of ours, edge-triggered,
 * added once and never changed. Whoever gets an edge remembers it until a call says EAGAIN.
 * libuv's own descriptor sits in the same set (that is what uv_backend_fd() is for): libuv
 * runs when it has something to do, and a round trip of data costs one epoll_wait() a wake-up.
 *
 * Work is done in passes, after each wake-up: FIFOs of work items (a link whose
 * rings have news, a flow that can move bytes). An item does a bounded piece, says how many
 * bytes that were (amp_loop_moved()) and, when there is more, goes to the end of a queue:
 * that is the round-robin between flows and links. There are two queues. Who moved much in
 * his last turn, or has more to do at its end, waits in the second; all of the first, up to
 * FIRST_ITEMS, have their turn before the next of the second has one. So a message does not wait
 * behind bulk, and bulk waits no longer than the messages that are due take: two guests whose
 * messages bring each other about are not all there is. A pass ends when the queues
 * are empty, PASS_LEN bytes have moved, or its budget of items is spent; then the loop looks
 * at descriptors, timers and signals again, without sleeping while work is left: what came
 * meanwhile has waited for one turn of bulk, or of as many datagrams or requests as a turn may have.
 *
 * Nothing in a pass may wait, and one call can be made to: a front-end that shares an eventfd
 * can clear O_NONBLOCK on it and fill it, and then write() sleeps. While the loop is awake an
 * alarm goes off every AMP_LOOP_ALARM_MS; its handler does nothing but end such a wait with
 * EINTR, which the writer takes for the lie that it is. The alarm stops when nothing
 * happened between two of them: an idle proxy is not woken. That is also when memory that
 * was kept for more of the same work goes back.
 *
 * Busy polling. To be woken costs more than all else that a message takes, when the processor
 * has fallen asleep meanwhile. So before the loop sleeps it looks at the rings of those who have
 * just answered a peer that is awake, and may expect its next message within microseconds
 * (struct amp_busy): for AMP_BUSY_NS at most, and not as long as a descriptor has something. Where
 * that was in vain it is left out ever more often, so a peer that has nothing to say costs one look
 * in 64 answers. The one who is looked at has not asked to be notified: his work item runs once
 * more in any case before the loop sleeps, and asks then. As long as others have work the loop does
 * not sleep, and looks between two passes.
 *
 * Memory of objects that end goes through amp_bury(): it is freed at the end of the
 * pass, when no frame on the stack can still look at it.
 */
#ifndef AMP_PROXY_LOOP_H
#define AMP_PROXY_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <uv.h>

#define AMP_LOOP_ALARM_MS 100

struct amp_watch {
	int fd; /* -1: not watched */
	void (*ready)(struct amp_watch *w, uint32_t events);
	bool retrying;
	LIST_ENTRY(amp_watch) retry_entry; /* while retrying */
};

struct amp_work {
	TAILQ_ENTRY(amp_work) entry;
	void (*run)(struct amp_work *work);
	uint32_t moved; /* bytes, in its last turn */
	bool queued;
	bool bulk; /* in the second queue */
};

#define AMP_BUSY_NS 50000u /* a guest's next message, in an emulator too, is there by then */

struct amp_busy {
	LIST_ENTRY(amp_busy) entry; /* while on */
	struct amp_work *work;
	bool (*news)(const struct amp_busy *busy); /* is there something for work? */
	uint8_t vain; /* so often left out, after the last look that found nothing */
	uint8_t skip; /* of these, to come */
	bool on;
};

struct amp_grave {
	struct amp_grave *next;
	void (*free)(struct amp_grave *grave);
};

#define amp_container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

int amp_loop_init(void);
uv_loop_t *amp_loop_uv(void);
/* Runs until amp_loop_stop(). libuv handles with descriptors are to be started before it. */
void amp_loop_run(void);
void amp_loop_stop(void);
/* Closes what init opened; every other handle must be closed or closing. */
void amp_loop_fini(void);

/* Watch fd for events; EPOLLET for edges. 0 or -errno. ready may stop its own and other
 * watches. */
int amp_watch_start(struct amp_watch *w, int fd, uint32_t events);
/* The descriptor stays open, or has duplicates (those of listening sockets: the helper's). */
void amp_watch_stop(struct amp_watch *w);
/* Closes the descriptor, too. */
void amp_watch_close(struct amp_watch *w);
/* Closes it, and whatever duplicates there are (the helper's, the service manager's) stay quiet. */
void amp_watch_close_shared(struct amp_watch *w);

void amp_work_queue(struct amp_work *work);
void amp_work_cancel(struct amp_work *work);
/* The item that runs now has moved len bytes (more). */
void amp_loop_moved(size_t len);
/*
 * May it do one more small thing in this turn: a datagram, a request? They move few bytes and cost
 * calls to the kernel all the same, so they count as more bytes than they have, and a turn has
 * a number of them.
 */
bool amp_loop_may(void);
/* Would it say no? */
bool amp_loop_over(void);

/*
 * Look at busy's ring before the next sleep; then its work item is queued. False: not this time.
 */
bool amp_busy_start(struct amp_busy *busy);
void amp_busy_stop(struct amp_busy *busy);

void amp_bury(struct amp_grave *grave, void (*free_fn)(struct amp_grave *grave));

/* accept() had no descriptor left: w is called again (EPOLLIN) after a while. */
void amp_watch_retry(struct amp_watch *w);

#endif /* AMP_PROXY_LOOP_H */
