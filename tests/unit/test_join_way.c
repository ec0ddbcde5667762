// SPDX-License-Identifier: BSD-3-Clause
// build: -DAMPSOCK_TAP=1
/* A join's way without memory for what waits: the receiver's link ends, nothing goes missing in
 * silence. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/join_inner.h"

static bool no_memory;
static unsigned room_for; /* packets, of 44 bytes and 1000 */
static unsigned breaks;
static uint8_t mem[AMP_VSOCK_HDR_LEN + 1000];

static void *try_malloc(size_t n)
{
	return no_memory ? NULL : malloc(n);
}

static int get(struct amp_vq *vq, struct amp_vq_buf *buf)
{
	(void)vq;
	if (!room_for)
		return 0;
	room_for--;
	buf->iov[0] = (struct amp_iov){mem, sizeof(mem)};
	buf->iov_cnt = 1;
	buf->len = sizeof(mem);
	return 1;
}

static void put(struct amp_vq *vq, uint16_t id, uint32_t len)
{
	(void)vq, (void)id, (void)len;
}

static int break_it(struct amp_vq *vq)
{
	vq->broken = true;
	breaks++;
	return -EBADMSG;
}

static unsigned try_avail(struct amp_vq *vq)
{
	(void)vq;
	return room_for;
}

void amp_work_queue(struct amp_work *w)
{
	(void)w;
}

unsigned amp_vlink_share(struct amp_vlink *vl, unsigned n)
{
	(void)vl;
	return n;
}

#define malloc	     try_malloc
#define amp_vq_get   get
#define amp_vq_put   put
#define amp_vq_break break_it
#define amp_vq_avail try_avail
#include "proxy/join_way.c"
#undef malloc

static struct amp_vlink from, to;
static struct amp_join join;
static struct amp_vq out;

static struct amp_join_way *begin(void)
{
	struct amp_join_way *w = &join.way[0];

	memset(&join, 0, sizeof(join));
	memset(&out, 0, sizeof(out));
	to = (struct amp_vlink){.join_cnt = 1, .vs.out = &out};
	TAILQ_INIT(&to.waiting);
	w->from = &from;
	w->to = &to;
	w->join = &join;
	no_memory = false;
	room_for = breaks = 0;
	return w;
}

static void send_rw(struct amp_join_way *w, uint32_t len)
{
	static uint8_t data[4096];
	const struct amp_vsock_hdr h = {.op = AMP_VSOCK_OP_RW, .type = AMP_VSOCK_STREAM};
	const struct amp_iov iov = {data, len};

	amp_join_send(w, &h, &iov, len);
}

/* The first packet, or what of it finds no buffer: nothing waits yet. */
static void test_first(void **state)
{
	struct amp_join_way *w = begin();

	(void)state;
	room_for = 1;
	no_memory = true;
	send_rw(w, 3000);
	no_memory = false;
	room_for = 2; /* what comes now must not follow upon 1000 of 3000 bytes */
	send_rw(w, 10);
	assert_int_equal(room_for, 2);
	amp_join_deliver(&to, true);
	assert_int_equal(breaks, 1);
	assert_true(to.vs.torn);
	amp_join_drop(w);
	assert_true(TAILQ_EMPTY(&to.waiting));
	to.vs.torn = to.vs.tx_starved = out.broken = false;
	send_rw(w, 10); /* a new life */
	assert_int_equal(room_for, 1);
}

/* Behind what waits already. */
static void test_behind(void **state)
{
	struct amp_join_way *w = begin();

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		send_rw(w, 4096);
	no_memory = true;
	for (unsigned i = 0; i < 10; i++)
		send_rw(w, 4096);
	no_memory = false;
	send_rw(w, 10);
	room_for = 1;
	amp_join_deliver(&to, true);
	assert_int_equal(breaks, 1);
	amp_join_drop(w);
	assert_true(TAILQ_EMPTY(&to.waiting));
	assert_int_equal(w->queued, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first),
		cmocka_unit_test(test_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
