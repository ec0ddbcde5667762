// SPDX-License-Identifier: BSD-3-Clause
/*
 * The proxy's loop: a watch that was closed hears nothing, whoever else has its descriptor; a
 * message waits for one turn of bulk, and bulk does not wait for messages for ever; and a ring is
 * looked at before sleep.
 */
// build: src/proxy/loop.c src/proxy/buf.c src/proxy/limit.c src/proxy/log.c -luv
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/loop.h"
#include "proxy/slice.h"

static bool short_turns;

void amp_slice_short(bool on)
{
	short_turns = on;
}

static unsigned heard;

static void on_closed(struct amp_watch *w, uint32_t events)
{
	(void)w;
	(void)events;
	heard++;
}

static void on_last(struct amp_watch *w, uint32_t events)
{
	(void)events;
	amp_watch_close(w);
	amp_loop_stop();
}

static void duplicate(void **state)
{
	struct amp_watch gone = {.ready = on_closed}, last = {.ready = on_last};
	int s[2], end[2], dup_fd;

	(void)state;
	assert_int_equal(amp_loop_init(), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, end), 0);
	dup_fd = dup(s[0]); /* as the helper has one of what it sends */
	assert_int_equal(amp_watch_start(&gone, s[0], EPOLLIN | EPOLLRDHUP | EPOLLET), 0);
	assert_int_equal(amp_watch_start(&last, end[0], EPOLLIN), 0);
	amp_watch_close(&gone);
	close(s[1]); /* the peer goes */
	assert_int_equal(write(end[1], "x", 1), 1);
	amp_loop_run();
	assert_int_equal(heard, 0);
	close(dup_fd);
	close(end[1]);
	amp_loop_fini();
}

/* Two that are ready at once, and whoever is called first stops the other. */
static struct amp_watch pair_watch[2];
static unsigned called;

static void on_either(struct amp_watch *w, uint32_t events)
{
	(void)events;
	called++;
	if (called == 1)
		amp_watch_stop(&pair_watch[w == &pair_watch[0]]);
	amp_loop_stop();
}

static void stopped_in_its_batch(void **state)
{
	int s[2][2];

	(void)state;
	called = 0;
	assert_int_equal(amp_loop_init(), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s[i]), 0);
		pair_watch[i] = (struct amp_watch){.ready = on_either};
		assert_int_equal(amp_watch_start(&pair_watch[i], s[i][0], EPOLLIN), 0);
		assert_int_equal(write(s[i][1], "x", 1), 1);
	}
	amp_loop_run();
	assert_int_equal(called, 1);
	for (unsigned i = 0; i < 2; i++) {
		amp_watch_stop(&pair_watch[i]);
		close(s[i][0]);
		close(s[i][1]);
	}
	amp_loop_fini();
}

/* Small things: so many in a turn, and in the next as many again. */
static unsigned had[2], had_turn;

static void have_things(struct amp_work *work)
{
	assert_false(amp_loop_over());
	while (amp_loop_may())
		had[had_turn]++;
	assert_true(amp_loop_over());
	if (had_turn++)
		amp_loop_stop();
	else
		amp_work_queue(work);
}

static void things_of_a_turn(void **state)
{
	struct amp_work work = {.run = have_things};

	(void)state;
	memset(had, 0, sizeof(had));
	had_turn = 0;
	assert_int_equal(amp_loop_init(), 0);
	amp_work_queue(&work);
	amp_loop_run();
	assert_int_equal(had[0], 128);
	assert_int_equal(had[1], 128);
	assert_true(work.moved > 8192); /* so it goes on behind messages */
	amp_loop_fini();
}

/* What a turn has had is not missed in what a descriptor brings behind it. */
static struct amp_watch behind;
static int behind_fd[2];

static void all_things(struct amp_work *work)
{
	(void)work;
	while (amp_loop_may())
		;
	assert_int_equal(write(behind_fd[1], "x", 1), 1);
}

static void behind_ready(struct amp_watch *w, uint32_t events)
{
	(void)w;
	(void)events;
	had[0] = !amp_loop_over();
	amp_loop_stop();
}

static void things_of_a_watch(void **state)
{
	struct amp_work work = {.run = all_things};

	(void)state;
	had[0] = 0;
	assert_int_equal(amp_loop_init(), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, behind_fd), 0);
	behind.ready = behind_ready;
	assert_int_equal(amp_watch_start(&behind, behind_fd[0], EPOLLIN), 0);
	amp_work_queue(&work);
	amp_loop_run();
	assert_int_equal(had[0], 1);
	amp_watch_stop(&behind);
	close(behind_fd[0]);
	close(behind_fd[1]);
	amp_loop_fini();
}

/* Turns as they were taken, a letter each. */
static char turns[4096];
static unsigned turn_cnt;

struct item {
	struct amp_work work;
	char name;
	size_t len;    /* moved in a turn */
	unsigned left; /* turns it wants */
};

static struct item a, b, small, echo;
static int news[2];
static struct amp_watch news_watch;

static void turn(struct amp_work *work)
{
	struct item *it = amp_container_of(work, struct item, work);

	assert_true(turn_cnt < sizeof(turns) - 1);
	turns[turn_cnt++] = it->name;
	amp_loop_moved(it->len);
	if (--it->left)
		amp_work_queue(it == &small && echo.left ? &echo.work
			       : it == &echo		 ? &small.work
							 : work);
	if (it == &a && a.left == 2)
		assert_int_equal(write(news[1], "x", 1), 1);
	if (!a.left && !b.left && !small.left)
		amp_loop_stop();
}

static void on_news(struct amp_watch *w, uint32_t events)
{
	(void)w;
	(void)events;
	amp_work_queue(&small.work);
}

static void begin(size_t small_len, unsigned small_turns)
{
	a = (struct item){{.run = turn}, 'a', 100000, 5};
	b = (struct item){{.run = turn}, 'b', 100000, 5};
	small = (struct item){{.run = turn}, 's', small_len, small_turns};
	echo = (struct item){{.run = turn}, 'e', 1, 0};
	memset(turns, 0, sizeof(turns));
	turn_cnt = 0;
	assert_int_equal(amp_loop_init(), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, news), 0);
	news_watch = (struct amp_watch){.ready = on_news};
	assert_int_equal(amp_watch_start(&news_watch, news[0], EPOLLIN | EPOLLET), 0);
	amp_work_queue(&a.work);
	amp_work_queue(&b.work);
}

static void end(void)
{
	amp_watch_close(&news_watch);
	close(news[1]);
	amp_loop_fini();
}

/* It comes during a's third turn, and has its own before b's: descriptors are looked at. */
static void message_first(void **state)
{
	(void)state;
	begin(1, 1);
	amp_loop_run();
	assert_string_equal(turns, "ababasbabab");
	end();
}

/* Who moved much waits for its next turn with the others; so does who was small and is no more. */
static void bulk_in_turn(void **state)
{
	(void)state;
	begin(100000, 3);
	amp_work_queue(&small.work);
	amp_loop_run();
	assert_string_equal(turns, "absabsabsabab");
	end();
}

/* Who moves little, but has always more of it: no message, and not before the others either. */
static void many_little_turns(void **state)
{
	(void)state;
	begin(1, 6);
	amp_work_queue(&small.work);
	amp_loop_run();
	assert_string_equal(turns, "absabsabsabsabss");
	end();
}

/* Two messages that bring each other about: bulk has a turn for each 64 of theirs. */
static void bulk_not_starved(void **state)
{
	(void)state;
	begin(1, 1500);
	a.left = b.left = 2;
	echo.left = 1500;
	amp_work_queue(&small.work);
	amp_loop_run();
	assert_true(strrchr(turns, 'a') - turns <= 64);
	assert_true(strrchr(turns, 'b') - turns <= 64 + 1 + 64);
	assert_int_equal(turn_cnt, 4 + 2 * 1500 - 1);
	end();
}

/* One who answers a peer and looks at its ring before sleep. */
static struct {
	struct amp_work work;
	struct amp_busy busy;
	unsigned looks;	   /* at the ring in this answer's turn */
	unsigned after;	   /* so many find nothing */
	unsigned answers;  /* to come */
	unsigned left_out; /* of these, asleep at once */
	bool rings;	   /* a descriptor has something from the first look on */
	bool heard;	   /* and was heard */
} peer;

static bool peer_news(const struct amp_busy *busy)
{
	assert_ptr_equal(busy, &peer.busy);
	if (peer.rings && peer.looks == 0)
		assert_int_equal(write(news[1], "x", 1), 1);
	return peer.looks++ >= peer.after;
}

static void peer_answers(struct amp_work *work)
{
	amp_busy_stop(&peer.busy);
	if (peer.answers-- == 0) {
		amp_loop_stop();
		return;
	}
	peer.looks = 0;
	if (amp_busy_start(&peer.busy))
		return;
	peer.left_out++;
	amp_work_queue(work);
}

static void peer_begin(unsigned after, unsigned answers)
{
	memset(&peer, 0, sizeof(peer));
	peer.work.run = peer_answers;
	peer.busy.work = &peer.work;
	peer.busy.news = peer_news;
	peer.after = after;
	peer.answers = answers;
	assert_int_equal(amp_loop_init(), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, news), 0);
	amp_work_queue(&peer.work);
}

/* No descriptor says anything: each next message is seen in the ring. */
static void ring_is_looked_at(void **state)
{
	(void)state;
	peer_begin(3, 1000);
	amp_loop_run();
	assert_in_range(peer.looks, 4, 5); /* it is seen, and was not in vain */
	assert_int_equal(peer.left_out, 0);
	amp_loop_fini();
	close(news[0]);
	close(news[1]);
}

/* Nothing comes: it has its turn to ask for a notification all the same, and is looked at after
 * 1, 3, 7, 15, 31, 63, 63 answers more. */
static void vain_looks(void **state)
{
	(void)state;
	peer_begin(UINT32_MAX, 8 + 1 + 3 + 7 + 15 + 31 + 63 + 63);
	amp_loop_run();
	assert_int_equal(peer.left_out, 1 + 3 + 7 + 15 + 31 + 63 + 63);
	amp_loop_fini();
	close(news[0]);
	close(news[1]);
}

static void heard_while_looking(struct amp_watch *w, uint32_t events)
{
	(void)w;
	(void)events;
	peer.heard = true;
	assert_true(peer.looks > 0 && peer.looks < 100);
	amp_loop_stop();
}

/* A descriptor that has something is heard at once, and ends it. */
static void descriptors_while_looking(void **state)
{
	(void)state;
	peer_begin(UINT32_MAX, 100);
	peer.rings = true;
	news_watch = (struct amp_watch){.ready = heard_while_looking};
	assert_int_equal(amp_watch_start(&news_watch, news[0], EPOLLIN | EPOLLET), 0);
	amp_loop_run();
	assert_true(peer.heard);
	amp_busy_stop(&peer.busy);
	end();
}

static unsigned bulk_turns;

static void endless_bulk(struct amp_work *work)
{
	amp_loop_moved(100000);
	if (++bulk_turns == 1000)
		amp_loop_stop();
	else
		amp_work_queue(work);
}

/* Others have work all the time, and nobody sleeps: each message waits for a pass of theirs. */
static void ring_beside_bulk(void **state)
{
	struct amp_work others = {.run = endless_bulk};

	(void)state;
	bulk_turns = 0;
	peer_begin(0, 10);
	amp_work_queue(&others);
	amp_loop_run();
	assert_in_range(bulk_turns, 10, 20);
	amp_work_cancel(&others);
	amp_loop_fini();
	close(news[0]);
	close(news[1]);
}

/* A flow of bulk, and messages beside it or not: what turns of the processor the loop wants. */
static struct {
	struct amp_work bulk, message;
	unsigned turns; /* of bulk */
	unsigned phase;
} mixed;

static void mixed_message(struct amp_work *work)
{
	(void)work;
	amp_loop_moved(1);
}

/* Without messages, with, without: until the loop has seen it, which takes an alarm or two. */
static void mixed_bulk(struct amp_work *work)
{
	amp_loop_moved(100000);
	if (short_turns == (mixed.phase == 1) && mixed.turns++ > 1000) {
		mixed.turns = 0;
		mixed.phase++;
	}
	if (mixed.phase == 1)
		amp_work_queue(&mixed.message);
	if (mixed.phase == 3)
		amp_loop_stop();
	else
		amp_work_queue(work);
}

static void short_turns_beside_bulk(void **state)
{
	(void)state;
	memset(&mixed, 0, sizeof(mixed));
	mixed.bulk.run = mixed_bulk;
	mixed.message.run = mixed_message;
	assert_int_equal(amp_loop_init(), 0);
	amp_work_queue(&mixed.bulk);
	amp_loop_run();
	assert_int_equal(mixed.phase, 3);
	assert_false(short_turns);
	amp_work_cancel(&mixed.message);
	amp_loop_fini();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(duplicate),
		cmocka_unit_test(message_first),
		cmocka_unit_test(bulk_in_turn),
		cmocka_unit_test(many_little_turns),
		cmocka_unit_test(bulk_not_starved),
		cmocka_unit_test(ring_is_looked_at),
		cmocka_unit_test(vain_looks),
		cmocka_unit_test(descriptors_while_looking),
		cmocka_unit_test(stopped_in_its_batch),
		cmocka_unit_test(things_of_a_turn),
		cmocka_unit_test(things_of_a_watch),
		cmocka_unit_test(ring_beside_bulk),
		cmocka_unit_test(short_turns_beside_bulk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
