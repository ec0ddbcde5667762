// SPDX-License-Identifier: BSD-3-Clause
// Streams over rpmsg: two ends on a door made for it, then on two buses; then each of them
// against messages made by hand, and against its own with one byte changed.
// small
// timeout: 120
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "stream_rig.h"

static bool made = false, bus = true;

/* The state of a test says which door it is for. */
static void start(void **state)
{
	rig_init(*(const bool *)*state);
}

/* Nothing may be left; unless a test says otherwise, nothing was wrong either. */
static void end(void)
{
	rig_settle();
	rig_nothing_left();
	assert_int_equal(rig.a.rs.vs.stats.rx_bad + rig.b.rs.vs.stats.rx_bad, 0);
	assert_int_equal(rig.a.rs.vs.stats.resets + rig.b.rs.vs.stats.resets, 0);
	rig_free();
}

/* The same after lies, which were counted where they should be. */
static void end_after_lies(void)
{
	rig_settle();
	rig_nothing_left();
	rig_free();
}

static void close_both(struct rig_side *s, struct rig_end *e, struct rig_end *o)
{
	amp_vsock_close(&s->rs.vs, &e->rc.c, 0, 1000);
	rig_settle();
	if (o->used)
		amp_vsock_close(&rig_other(s)->rs.vs, &o->rc.c, 0, 1000);
	rig_settle();
	assert_int_equal(e->gone + o->gone, 2);
	assert_false(e->wrong || o->wrong);
}

/* n bytes from e to o, which eats as they come. */
static void transfer(struct rig_side *s, struct rig_end *e, struct rig_end *o, uint32_t n)
{
	uint32_t until = e->tx_pos + n;

	o->eat = true;
	rig_eat(rig_other(s), o, o->held);
	for (unsigned tries = 0; e->tx_pos != until; tries++) {
		int r = rig_send(s, e, 1 + rp_rand(&rig.rand) % (until - e->tx_pos));

		assert_true(r > 0 || (r == -EAGAIN && tries < 100000));
		if (r < 0)
			rig_settle();
	}
	rig_settle();
	assert_int_equal(o->rx_pos, until);
	assert_false(o->wrong);
}

/* ---- both sides honest ---- */

static void connects(void **state)
{
	struct rig_end *e, *o;

	start(state);
	for (int way = 0; way < 2; way++) {
		struct rig_side *s = way ? &rig.a : &rig.b;

		e = rig_pair(s, &o);
		assert_int_equal(e->open, 1);
		assert_int_equal(o->open, 0);
		assert_int_equal(e->rc.c.state, AMP_CONN_OPEN);
		assert_int_equal(o->rc.c.state, AMP_CONN_OPEN);
		/* an endpoint of its own, not the service's */
		assert_int_not_equal(o->rc.c.local.port, 20);
		assert_int_equal(e->rc.c.peer.port, o->rc.c.local.port);
		assert_int_equal(o->rc.c.peer.port, e->rc.c.local.port);
		assert_int_equal(e->rc.tx_tag, o->rc.rx_tag);
		assert_int_equal(o->rc.tx_tag, e->rc.rx_tag);
		assert_int_not_equal(e->rc.rx_tag, 0);
		assert_int_not_equal(o->rc.rx_tag, 0);
		assert_int_equal(e->rc.c.credit.peer_buf_alloc, 4096);
		assert_int_equal(o->rc.c.credit.peer_buf_alloc, 4096);
		transfer(s, e, o, 1);
		transfer(s, e, o, 20000);
		transfer(rig_other(s), o, e, 20000);
		close_both(s, e, o);
		assert_int_equal(e->reset + o->reset, 0);
	}
	end();
}

static void accepts_later(void **state)
{
	struct rig_end *e, *o;

	start(state);
	rig.b.later = true;
	e = rig_dial(&rig.a, 100, 20);
	rig_settle();
	o = rig.b.last;
	assert_int_equal(e->open, 0);
	assert_int_equal(o->rc.c.state, AMP_CONN_REQUESTED);
	assert_int_equal(rig_send(&rig.b, o, 1), -ENOTCONN);
	assert_int_equal(rig_send(&rig.a, e, 1), -ENOTCONN);
	amp_vsock_respond(&rig.b.rs.vs, &o->rc.c);
	rig_settle();
	assert_int_equal(e->open, 1);
	transfer(&rig.b, o, e, 500);
	close_both(&rig.b, o, e);
	end();
}

static void refused(void **state)
{
	struct rig_end *e;

	start(state);
	/* no listener behind the address, backlog full, refused later */
	for (int k = 0; k < 3; k++) {
		rig.b.backlog = k == 2;
		rig.b.later = true;
		e = rig_dial(&rig.a, 100, k ? 20 : 20);
		rig_settle();
		if (k == 2)
			amp_vsock_abort(&rig.b.rs.vs, &rig.b.last->rc.c);
		rig_settle();
		assert_int_equal(e->open, 0);
		assert_int_equal(e->reset, 1);
		assert_int_equal(e->gone, 1);
	}
	assert_int_equal(rig.b.requests, 3);
	assert_int_equal(rig.b.rs.vs.stats.rst_strays, 2);
	rig.b.rs.ops = &(const struct amp_rstream_ops){.request = NULL};
	e = rig_dial(&rig.a, 100, 20);
	rig_settle();
	assert_int_equal(e->reset, 1);
	end();
}

static void backlog_of_two(void **state)
{
	struct rig_end *e[4];
	unsigned open = 0, reset = 0;

	start(state);
	rig.b.backlog = 2;
	for (int i = 0; i < 4; i++)
		e[i] = rig_dial(&rig.a, 100, 20);
	rig_settle();
	for (int i = 0; i < 4; i++) {
		open += e[i]->open;
		reset += e[i]->reset;
		if (e[i]->used)
			amp_vsock_abort(&rig.a.rs.vs, &e[i]->rc.c);
	}
	assert_int_equal(open, 2);
	assert_int_equal(reset, 2);
	end();
}

static void half_close_each_way(void **state)
{
	struct rig_end *e, *o;

	start(state);
	for (int way = 0; way < 2; way++) {
		struct rig_side *s = way ? &rig.a : &rig.b;

		e = rig_pair(s, &o);
		assert_int_equal(rig_send(s, e, 300), 300);
		amp_vsock_shutdown(&s->rs.vs, &e->rc.c, AMP_VSOCK_SHUTDOWN_SEND);
		rig_settle();
		/* data first, then the end; it is still there to be read */
		assert_int_equal(o->held, 300);
		assert_int_equal(o->shut, 1);
		assert_int_equal(o->rc.c.peer_shut, AMP_VSOCK_SHUTDOWN_SEND);
		assert_int_equal(rig_send(s, e, 1), -EPIPE);
		transfer(rig_other(s), o, e, 10000);
		rig_eat(rig_other(s), o, 300);
		amp_vsock_shutdown(&rig_other(s)->rs.vs, &o->rc.c, AMP_VSOCK_SHUTDOWN_SEND);
		rig_settle();
		assert_int_equal(e->shut, 1);
		assert_int_equal(o->gone + e->gone, 0);
		close_both(s, e, o);
		assert_int_equal(e->reset + o->reset, 0);
	}
	end();
}

static void shutdown_receive(void **state)
{
	struct rig_end *e, *o;

	start(state);
	e = rig_pair(&rig.a, &o);
	amp_vsock_shutdown(&rig.b.rs.vs, &o->rc.c, AMP_VSOCK_SHUTDOWN_RCV);
	rig_settle();
	assert_int_equal(e->rc.c.peer_shut, AMP_VSOCK_SHUTDOWN_RCV);
	assert_int_equal(rig_send(&rig.a, e, 1), -EPIPE);
	transfer(&rig.b, o, e, 100);
	close_both(&rig.a, e, o);
	end();
}

/* The end comes with data that is not read yet: it is read, then it is over. */
static void end_behind_data(void **state)
{
	struct rig_end *e, *o;

	start(state);
	e = rig_pair(&rig.a, &o);
	assert_int_equal(rig_send(&rig.a, e, 200), 200);
	amp_vsock_close(&rig.a.rs.vs, &e->rc.c, 0, 1000);
	rig_settle();
	assert_int_equal(o->shut, 1);
	assert_int_equal(o->held, 200);
	assert_int_equal(e->gone + o->gone, 0);
	rig_eat(&rig.b, o, 199);
	rig_settle();
	assert_int_equal(e->gone + o->gone, 0);
	rig_eat(&rig.b, o, 1);
	rig_settle();
	assert_int_equal(e->gone + o->gone, 2);
	assert_int_equal(e->reset + o->reset, 0);
	end();
}

static void both_close_at_once(void **state)
{
	struct rig_end *e, *o;

	start(state);
	e = rig_pair(&rig.a, &o);
	assert_int_equal(rig_send(&rig.a, e, 100), 100);
	assert_int_equal(rig_send(&rig.b, o, 100), 100);
	amp_vsock_close(&rig.a.rs.vs, &e->rc.c, 0, 1000);
	amp_vsock_close(&rig.b.rs.vs, &o->rc.c, 0, 1000);
	rig_settle();
	assert_int_equal(e->gone + o->gone, 2);
	assert_int_equal(e->reset + o->reset, 0);
	end();
}

/* Whatever one side ends with crosses whatever the other does; messages go out, then come in. */
static void ends_that_cross(void **state)
{
	for (unsigned how = 0; how < 16; how++) {
		struct rig_end *e, *o;

		start(state);
		e = rig_pair(&rig.a, &o);
		for (unsigned k = 0; k < 2; k++) {
			struct rig_side *s = k ? &rig.a : &rig.b;
			struct rig_end *x = k ? e : o;

			assert_int_equal(rig_send(s, x, 10), 10);
			switch (how >> 2 * k & 3) {
			case 0:
				amp_vsock_abort(&s->rs.vs, &x->rc.c);
				break;
			case 1:
				amp_vsock_close(&s->rs.vs, &x->rc.c, 0, 1000);
				break;
			case 2:
				amp_vsock_shutdown(&s->rs.vs, &x->rc.c,
						   AMP_VSOCK_SHUTDOWN_SEND);
				break;
			default:
				amp_vsock_shutdown(&s->rs.vs, &x->rc.c, AMP_VSOCK_SHUTDOWN_RCV);
				break;
			}
			s->in_run = true;
			amp_rstream_run(&s->rs);
			s->in_run = false;
		}
		rig_settle();
		if (!e->gone)
			rig_eat(&rig.a, e, e->held);
		if (!o->gone)
			rig_eat(&rig.b, o, o->held);
		rig_settle();
		/* an abort is over at once, a close is when what was sent is read */
		if (how % 4 == 0 || how >> 2 == 0 || how % 4 == 1 || how >> 2 == 1)
			assert_int_equal(e->gone + o->gone, 2);
		else
			close_both(&rig.a, e, o);
		/* told of it: who has not ended it, unless both had */
		assert_int_equal(e->reset, how % 4 == 0 && how >> 2 > 1);
		assert_int_equal(o->reset, how >> 2 == 0 && how % 4 > 1);
		end();
	}
}

static void reset_by_abort(void **state)
{
	struct rig_end *e, *o;

	start(state);
	for (int way = 0; way < 2; way++) {
		struct rig_side *s = way ? &rig.a : &rig.b;

		e = rig_pair(s, &o);
		assert_int_equal(rig_send(s, e, 300), 300);
		assert_int_equal(rig_send(rig_other(s), o, 300), 300);
		amp_vsock_abort(&s->rs.vs, &e->rc.c);
		assert_int_equal(rig_send(s, e, 300), -ECONNRESET);
		rig_settle();
		assert_int_equal(o->held, 300);
		assert_int_equal(o->reset, 1);
		assert_int_equal(e->reset, 0);
		assert_int_equal(e->gone + o->gone, 2);
	}
	end();
}

static void closing_deadline(void **state)
{
	struct rig_end *e, *o;

	start(state);
	e = rig_pair(&rig.a, &o);
	assert_int_equal(rig_send(&rig.a, e, 10), 10);
	amp_vsock_close(&rig.a.rs.vs, &e->rc.c, 1000, 501);
	rig_settle(); /* o does not read */
	assert_int_equal(amp_vsock_tick(&rig.a.rs.vs, 1100), 401);
	rig_settle();
	assert_int_equal(e->gone, 0);
	assert_int_equal(amp_vsock_tick(&rig.a.rs.vs, 1501), 0);
	rig_settle();
	assert_int_equal(e->gone, 1);
	assert_int_equal(o->gone, 1);
	assert_int_equal(amp_vsock_tick(&rig.a.rs.vs, 1500), -1);
	end();
}

/* ---- windows ---- */

static void window_full_and_credit(void **state)
{
	struct rig_end *e, *o;
	uint32_t n = 0;
	int r;

	start(state);
	rig.b.window = 1000;
	e = rig_pair(&rig.a, &o);
	while ((r = rig_send(&rig.a, e, 300)) > 0) {
		n += (uint32_t)r;
		rig_settle();
	}
	assert_int_equal(r, -EAGAIN);
	assert_int_equal(n, 1000);
	assert_int_equal(amp_vsock_tx_space(&rig.a.rs.vs, &e->rc.c), 0);
	rig_settle();
	assert_int_equal(o->held, 1000);
	assert_int_equal(e->writable, 0);
	rig_eat(&rig.b, o, 100);
	rig_settle();
	assert_int_equal(e->writable, 1);
	assert_int_equal(rig_send(&rig.a, e, 300), 100);
	rig_settle();
	transfer(&rig.a, e, o, 50000);
	close_both(&rig.a, e, o);
	end();
}

static void updates_are_not_per_read(void **state)
{
	struct rig_end *e, *o;
	uint32_t before;

	start(state);
	e = rig_pair(&rig.a, &o);
	before = rig.b.rs.vs.stats.tx_packets;
	o->eat = true;
	for (int i = 0; i < 4096; i++) {
		assert_int_equal(rig_send(&rig.a, e, 16), 16);
		rig_settle();
	}
	/* 64 KiB through a window of 4 KiB: an update for each half of it */
	assert_in_range(rig.b.rs.vs.stats.tx_packets - before, 16, 33);
	close_both(&rig.a, e, o);
	end();
}

static void windows_of_one_byte(void **state)
{
	struct rig_end *e = NULL, *o;

	start(state);
	rig.b.window = 1;
	e = rig_dial(&rig.a, 1, 20);
	rig_settle();
	o = rig.b.last;
	transfer(&rig.a, e, o, 300);
	transfer(&rig.b, o, e, 300);
	close_both(&rig.b, o, e);
	end();
}

static void windows_of_nothing_and_of_everything(void **state)
{
	struct rig_end *e, *o;

	start(state);
	rig.b.window = 0;
	e = rig_dial(&rig.a, UINT32_MAX, 20);
	rig_settle();
	o = rig.b.last;
	assert_int_equal(rig_send(&rig.a, e, 1), -EAGAIN);
	rig_settle();
	assert_int_equal(rig_send(&rig.a, e, 1), -EAGAIN);
	transfer(&rig.b, o, e, 100000);
	e->eat = false;
	for (int i = 0; i < 200; i++) {
		assert_true(rig_send(&rig.b, o, 400) > 0);
		rig_settle();
	}
	assert_int_equal(e->held, 200 * 400);
	rig_eat(&rig.a, e, e->held);
	close_both(&rig.b, o, e);
	end();
}

/* ---- buffers ---- */

static void no_buffers_for_a_while(void **state)
{
	struct rig_end *e, *o;

	start(state);
	rig.a.bufs = rig.b.bufs = 0;
	e = rig_dial(&rig.a, 4096, 20);
	rig_settle();
	assert_int_equal(rig.b.requests, 0);
	rig.a.bufs = 1;
	rig_settle();
	assert_int_equal(rig.b.requests, 1);
	assert_int_equal(e->open, 0);
	o = rig.b.last;
	assert_int_equal(rig_send(&rig.b, o, 1), -EAGAIN); /* RESPONSE is owed before */
	rig.b.bufs = 1;
	rig_settle();
	assert_int_equal(e->open, 1);
	/* an event for who has found none */
	rig.a.bufs = 0;
	assert_int_equal(rig_send(&rig.a, e, 1), -EAGAIN);
	rig.a.tx_ready = 0;
	rig_settle();
	assert_int_equal(rig.a.tx_ready, 0);
	rig.a.bufs = 1;
	assert_true(amp_vsock_tx_space(&rig.a.rs.vs, &e->rc.c) > 0);
	rig_settle();
	assert_int_equal(rig.a.tx_ready, 1);
	transfer(&rig.a, e, o, 5000);
	transfer(&rig.b, o, e, 5000);
	close_both(&rig.a, e, o);
	end();
}

/* Data that takes every buffer there is does not keep others from what they owe. */
static void owed_before_data(void **state)
{
	struct rig_end *e, *o, *f;
	uint32_t was;

	start(state);
	e = rig_pair(&rig.a, &o);
	o->eat = true;
	rig.a.bufs = 1;
	f = NULL;
	for (int i = 0; i < 20; i++) {
		assert_int_equal(rig_send(&rig.a, e, 10), 10);
		if (i == 3)
			f = rig_dial(&rig.a, 100, 20);
		was = rig.b.requests;
		/* nothing is taken yet: REQUEST finds no buffer */
		rig.a.in_run = true;
		amp_rstream_run(&rig.a.rs);
		rig.a.in_run = false;
		assert_int_equal(rig.b.requests, was);
		assert_true(rig_take(&rig.b));
		/* the buffer is back, and whose is it? */
		if (i == 3) {
			assert_int_equal(amp_vsock_tx_space(&rig.a.rs.vs, &e->rc.c), 0);
			assert_int_equal(rig_send(&rig.a, e, 10), -EAGAIN);
			rig_settle();
			assert_int_equal(f->open, 1);
		}
	}
	amp_vsock_abort(&rig.a.rs.vs, &f->rc.c);
	close_both(&rig.a, e, o);
	end();
}

static void refusals_wait_for_buffers(void **state)
{
	struct rig_end *e[AMP_RSTREAM_STRAYS + 2], *x, *o;
	const unsigned n = AMP_RSTREAM_STRAYS;
	unsigned reset = 0;

	start(state);
	x = rig_pair(&rig.b, &o);
	rig.b.backlog = 0;
	rig.b.bufs = 0;
	for (unsigned i = 0; i < n + 2; i++)
		e[i] = rig_dial(&rig.a, 100, 20);
	rig_settle();
	assert_int_equal(rig.b.rs.stray_cnt, n);
	assert_int_equal(rig.b.rs.stats.unanswered, 2);
	rig.b.bufs = 1;
	/* they are before data, and poll would say so */
	assert_int_equal(amp_vsock_tx_space(&rig.b.rs.vs, &x->rc.c), 0);
	assert_int_equal(rig_send(&rig.b, x, 1), -EAGAIN);
	assert_int_equal(amp_rstream_tell(&rig.b.rs, 20, 20, "n", 30, false), -EAGAIN);
	rig_settle();
	assert_int_equal(rig_send(&rig.b, x, 1), 1);
	for (unsigned i = 0; i < n + 2; i++) {
		reset += e[i]->reset;
		if (e[i]->used)
			amp_vsock_abort(&rig.a.rs.vs, &e[i]->rc.c);
	}
	assert_int_equal(reset, n);
	rig_settle();
	rig_eat(&rig.a, o, 1);
	close_both(&rig.b, x, o);
	end();
}

static void reservations(void **state)
{
	struct rig_end *e, *o;
	struct amp_iov iov[2];
	struct amp_vsock_tx tx[2] = {{.iov = &iov[0], .iov_max = 1},
				     {.iov = &iov[1], .iov_max = 1}};
	struct amp_vsock *vs = &rig.a.rs.vs;

	start(state);
	e = rig_pair(&rig.a, &o);
	/* two at a time, the first one shorter than promised, of a window of 4096 */
	assert_int_equal(amp_vsock_reserve(vs, &e->rc.c, 100, &tx[0]), 100);
	assert_true(amp_vsock_reserve(vs, &e->rc.c, 5000, &tx[1]) > 400);
	for (uint32_t i = 0; i < 150; i++)
		((uint8_t *)iov[i >= 50].base)[i >= 50 ? i - 50 : i] = rig_byte(&rig.a, i);
	e->tx_pos = 150;
	amp_vsock_commit(vs, &e->rc.c, &tx[0], 50, 0);
	amp_vsock_commit(vs, &e->rc.c, &tx[1], 100, 0);
	assert_int_equal(e->rc.c.reserved, 0);
	rig_settle();
	assert_int_equal(o->held, 150);
	assert_false(o->wrong);
	rig_eat(&rig.b, o, 150);
	/* given back */
	assert_int_equal(amp_vsock_reserve(vs, &e->rc.c, 100, &tx[0]), 100);
	amp_vsock_cancel(vs, &e->rc.c, &tx[0]);
	transfer(&rig.a, e, o, 10000);
	/* committed when it is over, and cancelled from inside the events */
	assert_true(amp_vsock_reserve(vs, &e->rc.c, 100, &tx[0]) > 0);
	e->tx.iov = &e->tx_iov;
	e->tx.iov_max = 1;
	assert_true(amp_vsock_reserve(vs, &e->rc.c, 100, &e->tx) > 0);
	amp_vsock_abort(&rig.b.rs.vs, &o->rc.c);
	rig.b.in_run = true;
	amp_rstream_run(&rig.b.rs);
	rig.b.in_run = false;
	if (rig.bus)
		assert_true(amp_rpmsg_run(&rig.a.bus, 1) == 1);
	else
		while (rig_take(&rig.a))
			;
	assert_int_equal(e->reset, 1);
	assert_int_equal(e->tx.len, 0);
	amp_vsock_commit(vs, &e->rc.c, &tx[0], 50, 0);
	assert_int_equal(e->rc.c.reserved, 0);
	end();
}

/* ---- ends of attempts ---- */

static void given_up(void **state)
{
	struct rig_end *e, *o;

	start(state);
	/* before REQUEST is out: nobody hears of it */
	e = rig_dial(&rig.a, 100, 20);
	amp_vsock_abort(&rig.a.rs.vs, &e->rc.c);
	rig_settle();
	assert_int_equal(e->gone, 1);
	assert_int_equal(rig.b.requests, 0);
	/* before it is answered */
	rig.b.later = true;
	e = rig_dial(&rig.a, 100, 20);
	rig_settle();
	o = rig.b.last;
	amp_vsock_abort(&rig.a.rs.vs, &e->rc.c);
	rig_settle();
	assert_int_equal(e->gone, 1);
	assert_int_equal(o->reset, 1);
	assert_int_equal(o->gone, 1);
	/* while the answer is on its way */
	e = rig_dial(&rig.a, 100, 20);
	rig_settle();
	o = rig.b.last;
	amp_vsock_respond(&rig.b.rs.vs, &o->rc.c);
	rig.b.in_run = true;
	amp_rstream_run(&rig.b.rs);
	rig.b.in_run = false;
	assert_int_equal(rig_send(&rig.b, o, 10), 10);
	amp_vsock_abort(&rig.a.rs.vs, &e->rc.c);
	rig.a.in_run = true;
	amp_rstream_run(&rig.a.rs);
	rig.a.in_run = false;
	assert_int_equal(e->gone, 1);
	rig_settle();
	assert_int_equal(o->reset, 1);
	/* while the refusal is */
	rig.b.backlog = 0;
	e = rig_dial(&rig.a, 100, 20);
	rig_settle();
	assert_int_equal(e->gone, 1);
	end();
}

/* The attempt's time is over: the engine's deadline, which an owner may set. */
static void timed_out(void **state)
{
	struct rig_end *e;

	start(state);
	rig.b.later = true;
	e = rig_dial(&rig.a, 100, 20);
	amp_vsock_deadline(&rig.a.rs.vs, &e->rc.c, 101);
	rig_settle();
	assert_int_equal(amp_vsock_tick(&rig.a.rs.vs, 101), 0);
	rig_settle();
	assert_int_equal(e->gone, 1);
	assert_int_equal(e->reset, 0);
	assert_int_equal(rig.b.last->gone, 1);
	end();
}

static void no_endpoint(void **state)
{
	struct rig_end *e;

	start(state);
	rig.a.no_open = true;
	e = rig_end_new(&rig.a, 100);
	assert_int_equal(amp_rstream_connect(&rig.a.rs, &e->rc, 20), -ENFILE);
	e->used = false;
	/* the owner has taken it, but there is no endpoint: refused, and the owner hears */
	rig.a.no_open = false;
	rig.b.no_open = true;
	for (int k = 0; k < 2; k++) {
		rig.b.later = k;
		e = rig_dial(&rig.a, 100, 20);
		rig_settle();
		assert_int_equal(e->reset, 1);
		assert_int_equal(e->gone, 1);
		assert_int_equal(rig.b.last->gone, 1);
		assert_int_equal(rig.b.last->rc.ept.addr, AMP_RPMSG_ADDR_ANY);
	}
	end();
}

static void own_address(void **state)
{
	struct rig_end *e, *f, *o;

	start(state);
	e = rig_end_new(&rig.a, 4096);
	e->rc.ept.addr = 77;
	assert_int_equal(amp_rstream_connect(&rig.a.rs, &e->rc, 20), 0);
	if (rig.bus) {
		f = rig_end_new(&rig.a, 100);
		f->rc.ept.addr = 77;
		assert_int_equal(amp_rstream_connect(&rig.a.rs, &f->rc, 20), -EADDRINUSE);
		f->used = false;
	}
	rig_settle();
	o = rig.b.last;
	assert_int_equal(o->rc.c.peer.port, 77);
	close_both(&rig.a, e, o);
	/* the same memory again, as it is: an address of its own choice */
	e->used = true;
	e->open = e->gone = 0;
	e->rx_pos = e->tx_pos = 0;
	assert_int_equal(amp_rstream_connect(&rig.a.rs, &e->rc, 20), 0);
	assert_int_not_equal(e->rc.ept.addr, 77);
	rig_settle();
	assert_int_equal(e->open, 1);
	o = rig.b.last;
	close_both(&rig.a, e, o);
	end();
}

/* ---- the link ---- */

static void link_down(void **state)
{
	struct rig_end *e[4], *o, *f;

	start(state);
	e[0] = rig_pair(&rig.a, &o); /* open, with data and a reservation */
	assert_int_equal(rig_send(&rig.b, o, 100), 100);
	e[0]->tx.iov = &e[0]->tx_iov;
	e[0]->tx.iov_max = 1;
	assert_true(amp_vsock_reserve(&rig.a.rs.vs, &e[0]->rc.c, 10, &e[0]->tx) > 0);
	rig.b.later = true;
	e[1] = rig_dial(&rig.a, 100, 20); /* connecting */
	rig_settle();
	e[2] = rig_pair(&rig.b, &f); /* accepted, closing */
	if (!rig.bus) {		     /* a refusal is owed */
		rig.b.bufs = 0;
		rig.b.backlog = 0;
		o = rig_dial(&rig.a, 100, 20);
		rig_settle();
		assert_int_equal(rig.b.rs.stray_cnt, 1);
	}
	amp_vsock_close(&rig.a.rs.vs, &f->rc.c, 0, 1000);
	e[3] = rig_dial(&rig.a, 100, 20); /* REQUEST owed */
	rig_down(&rig.a);
	rig_down(&rig.b);
	assert_int_equal(rig.b.rs.stray_cnt, 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(e[i]->reset, 1);
		assert_int_equal(e[i]->gone, 1);
	}
	assert_int_equal(f->reset, 0); /* its owner had closed it */
	assert_int_equal(f->gone, 1);
	assert_int_equal(rig_endpoints(&rig.a) + rig_endpoints(&rig.b), 0);
	/* nothing opens while it is down */
	e[0] = rig_end_new(&rig.a, 100);
	assert_int_equal(amp_rstream_connect(&rig.a.rs, &e[0]->rc, 20), -ENETDOWN);
	e[0]->used = false;
	assert_int_equal(amp_rstream_tell(&rig.a.rs, 20, 20, "x", 30, false), -EAGAIN);
	/* the next life; tags go on */
	rig.b.later = false;
	rig.b.bufs = 32;
	rig.b.backlog = 1;
	rig_up();
	assert_true(rig.a.rs.next_tag > 3);
	e[0] = rig_pair(&rig.a, &o);
	transfer(&rig.a, e[0], o, 5000);
	close_both(&rig.a, e[0], o);
	end();
}

static void a_thousand_rounds(void **state)
{
	start(state);
	for (unsigned i = 0; i < 1000; i++) {
		struct rig_side *s = i & 1 ? &rig.a : &rig.b;
		struct rig_end *e, *o;

		rig_other(s)->later = false;
		rig_other(s)->backlog = i % 7 != 0;
		e = rig_dial(s, 1 + i, 20);
		rig_settle();
		if (i % 7 == 0) {
			assert_int_equal(e->gone, 1);
			continue;
		}
		o = rig_other(s)->last;
		transfer(s, e, o, i);
		if (i % 3 == 0)
			amp_vsock_abort(&s->rs.vs, &e->rc.c);
		else if (i % 3 == 1)
			amp_vsock_close(&s->rs.vs, &e->rc.c, 0, 1000);
		else
			amp_vsock_close(&rig_other(s)->rs.vs, &o->rc.c, 0, 1000);
		rig_settle();
		assert_int_equal(e->gone + o->gone, 2);
		rig_nothing_left();
	}
	end();
}

/* ---- doors that do not show the source ---- */

static void over_a_character_device(void **state)
{
	struct rig_end *e, *o;

	start(state);
	rig.b.rs.door = &made_chardev;
	rig.b.chardev = true;
	/* the remote calls */
	e = rig_pair(&rig.a, &o);
	transfer(&rig.a, e, o, 10000);
	transfer(&rig.b, o, e, 10000);
	assert_int_equal(e->rc.ept.mark + o->rc.ept.mark, 0);
	close_both(&rig.a, e, o);
	/* the host calls: what it sends to the new endpoint comes from another descriptor */
	e = rig_pair(&rig.b, &o);
	assert_true(o->rc.ept.mark);
	assert_int_equal(e->dst[1], o->rc.ept.addr);
	transfer(&rig.b, e, o, 10000);
	transfer(&rig.a, o, e, 10000);
	close_both(&rig.b, e, o);
	/* refusals, both ways; given up, both ways */
	for (int k = 0; k < 4; k++) {
		struct rig_side *s = k & 1 ? &rig.a : &rig.b;

		rig_other(s)->backlog = k >= 2;
		rig_other(s)->later = true;
		e = rig_dial(s, 100, 20);
		rig_settle();
		assert_int_equal(e->reset, k < 2);
		if (k < 2)
			continue;
		amp_vsock_abort(&s->rs.vs, &e->rc.c);
		rig_settle();
		assert_int_equal(rig_other(s)->last->reset, 1);
	}
	/* no descriptor for the redirection: both hear of it */
	rig.a.later = false;
	rig.a.backlog = 1;
	rig.b.no_redirect = true;
	e = rig_dial(&rig.b, 100, 20);
	rig_settle();
	assert_int_equal(e->reset, 1);
	assert_int_equal(rig.a.last->reset, 1);
	end_after_lies();
}

/* ---- messages made by hand ---- */

static uint32_t put(uint8_t *m, unsigned op, unsigned flags, uint16_t tag, uint32_t fwd_cnt)
{
	m[0] = (uint8_t)op;
	m[1] = (uint8_t)flags;
	amp_put_le16(m + 2, tag);
	amp_put_le32(m + 4, fwd_cnt);
	return 8;
}

static uint32_t put_hello(uint8_t *m, unsigned op, uint16_t rx_tag, uint16_t tag, uint32_t addr,
			  uint32_t window)
{
	put(m, op, 0, rx_tag, 0);
	amp_put_le32(m + 8, 0x53504d41);
	m[12] = 1;
	m[13] = 0;
	amp_put_le16(m + 14, tag);
	amp_put_le32(m + 16, addr);
	amp_put_le32(m + 20, window);
	return 24;
}

/* What b has to say: the oldest message to a, taken away. */
static uint32_t said(struct rig_msg *m)
{
	static uint8_t last[RIG_ROOM];

	rig.b.in_run = true;
	amp_rstream_run(&rig.b.rs);
	rig.b.in_run = false;
	if (!rig.a.queue_len)
		return 0;
	*m = rig.a.queue[0];
	memmove(rig.a.queue, rig.a.queue + 1, --rig.a.queue_len * sizeof(*m));
	memcpy(last, m->mem + 1, m->len);
	free(m->mem);
	m->mem = last;
	rig.b.out--;
	return m->len;
}

/* b gets this message. */
static void told(uint32_t src, uint32_t dst, const uint8_t *m, uint32_t len)
{
	rig_post(&rig.b, src, dst, m, len);
	assert_true(rig_take(&rig.b));
}

/* Every byte of the exchange where docs/protocol.md draws it. */
static void bytes_on_the_wire(void **state)
{
	uint8_t m[64];
	struct rig_end *e;
	struct rig_msg a;

	start(state);
	rig.b.rs.next_tag = 0x1233;
	rig.b.window = 0x11223344;
	/* REQUEST from 0x500 with tag 0xabcd and a window of 256 */
	static const uint8_t request[] = {1, 0, 0,    0,    0, 0, 0, 0, 'A', 'M', 'P', 'S',
					  1, 0, 0xcd, 0xab, 0, 5, 0, 0, 0,   1,	  0,   0};
	told(0x500, 20, request, sizeof(request));
	e = rig.b.last;
	assert_int_equal(said(&a), 24);
	static const uint8_t response[] = {2,	0,   0xcd, 0xab, 0,    0,    0,	   0,
					   'A', 'M', 'P',  'S',	 1,    0,    0x34, 0x12,
					   0,	4,   0,	   0,	 0x44, 0x33, 0x22, 0x11};
	assert_memory_equal(a.mem, response, 24);
	assert_int_equal(a.src, 1024);
	assert_int_equal(a.dst, 0x500);
	/* data both ways */
	static const uint8_t data[] = {3, 0, 0x34, 0x12, 0, 0, 0, 0, 0x01, 0x08};
	told(0x500, 1024, data, sizeof(data));
	assert_int_equal(e->held, 2);
	assert_false(e->wrong);
	rig_eat(&rig.b, e, 2);
	assert_int_equal(rig_send(&rig.b, e, 3), 3);
	assert_int_equal(said(&a), 11);
	static const uint8_t data_back[] = {3, 0, 0xcd, 0xab, 2, 0, 0, 0, 0, 7, 14};
	assert_memory_equal(a.mem, data_back, 11);
	/* CREDIT_REQUEST, CREDIT with fwd_cnt of the three bytes */
	static const uint8_t ask[] = {5, 0, 0x34, 0x12, 3, 0, 0, 0};
	told(0x500, 1024, ask, 8);
	assert_int_equal(e->rc.c.credit.peer_fwd_cnt, 3);
	assert_int_equal(said(&a), 8);
	static const uint8_t credit[] = {4, 0, 0xcd, 0xab, 2, 0, 0, 0};
	assert_memory_equal(a.mem, credit, 8);
	/* SHUTDOWN of sending, RST */
	amp_vsock_shutdown(&rig.b.rs.vs, &e->rc.c, AMP_VSOCK_SHUTDOWN_SEND);
	assert_int_equal(said(&a), 8);
	static const uint8_t shut[] = {6, 2, 0xcd, 0xab, 2, 0, 0, 0};
	assert_memory_equal(a.mem, shut, 8);
	amp_vsock_abort(&rig.b.rs.vs, &e->rc.c);
	assert_int_equal(said(&a), 8);
	static const uint8_t rst[] = {7, 0, 0xcd, 0xab, 2, 0, 0, 0};
	assert_memory_equal(a.mem, rst, 8);
	assert_int_equal(e->gone, 1);
	/* a REQUEST of ours, and the RST that takes it back */
	e = rig_dial(&rig.b, 0x100, 0x700);
	assert_int_equal(said(&a), 24);
	static const uint8_t ours[] = {1, 0, 0,	   0,	 0, 0, 0, 0, 'A', 'M', 'P', 'S',
				       1, 0, 0x35, 0x12, 1, 4, 0, 0, 0,	  1,   0,   0};
	assert_memory_equal(a.mem, ours, 24);
	assert_int_equal(a.dst, 0x700);
	amp_vsock_abort(&rig.b.rs.vs, &e->rc.c);
	memcpy(m, ours, 24);
	m[0] = 7;
	assert_int_equal(said(&a), 24);
	assert_memory_equal(a.mem, m, 24);
	assert_int_equal(a.dst, 0x700);
	/* SERVICE */
	assert_int_equal(amp_rstream_tell(&rig.b.rs, 20, 0x400, "web~s", 0x99, true), 0);
	assert_int_equal(said(&a), 52);
	memset(m, 0, sizeof(m));
	static const uint8_t service[] = {8, 0, 0, 0,	 0, 0, 0, 0,   'A', 'M', 'P', 'S', 1,
					  1, 0, 0, 0x99, 0, 0, 0, 'w', 'e', 'b', '~', 's'};
	memcpy(m, service, sizeof(service));
	assert_memory_equal(a.mem, m, 52);
	assert_int_equal(a.src, 20);
	assert_int_equal(a.dst, 0x400);
	end();
}

/* A connection of b's with a peer that is us: endpoint 500, tag 9. */
static struct rig_end *by_hand(uint32_t window)
{
	uint8_t m[24];
	struct rig_msg a;

	told(500, 20, m, put_hello(m, AMP_RSTREAM_REQUEST, 0, 9, 500, window));
	assert_int_equal(said(&a), 24);
	return rig.b.last;
}

static void forged(void **state)
{
	uint8_t m[16];
	struct rig_end *e;
	uint32_t at;
	uint16_t tag;

	start(state);
	e = by_hand(100);
	at = e->rc.ept.addr;
	tag = e->rc.rx_tag;
	/* another's source, another's tag, no tag; in each operation */
	for (unsigned op = 0; op < 12; op++) {
		memset(m, 0, sizeof(m));
		told(501, at, m, put(m, op, 3, tag, 0) + 8);
		told(500, at, m, put(m, op, 3, (uint16_t)(tag + 1), 0) + 8);
		told(500, at, m, put(m, op, 3, 0, 0) + 8);
	}
	assert_int_equal(rig.b.rs.stats.foreign, 3 * 12);
	assert_int_equal(e->rc.c.state, AMP_CONN_OPEN);
	assert_int_equal(e->held + e->shut + e->reset, 0);
	assert_int_equal(rig.a.queue_len, 0); /* none is answered */
	/* and here is a true one */
	m[8] = rig_byte(&rig.a, 0);
	told(500, at, m, put(m, AMP_RSTREAM_DATA, 0, tag, 0) + 1);
	assert_int_equal(e->held, 1);
	told(500, at, m, put(m, AMP_RSTREAM_RST, 0, tag, 0));
	assert_int_equal(e->reset, 1);
	end();
}

/* The connection has gone and its address is another's: what was on its way is nobody's. */
static void late_data_to_reused_address(void **state)
{
	uint8_t m[16] = {0};
	struct rig_end *e, *f;
	uint32_t at;
	uint16_t tag;

	start(state);
	e = by_hand(100);
	at = e->rc.ept.addr;
	tag = e->rc.rx_tag;
	amp_vsock_abort(&rig.b.rs.vs, &e->rc.c);
	rig_settle();
	assert_int_equal(e->gone, 1);
	told(500, at, m, put(m, AMP_RSTREAM_DATA, 0, tag, 0) + 8);
	assert_int_equal(rig.b.nobody, 1);
	rig.b.next_addr = at;
	f = by_hand(100);
	assert_int_equal(f->rc.ept.addr, at);
	assert_int_not_equal(f->rc.rx_tag, tag);
	for (unsigned op = AMP_RSTREAM_RESPONSE; op <= AMP_RSTREAM_SERVICE; op++)
		told(500, at, m, put(m, op, 3, tag, 0) + 8);
	assert_int_equal(rig.b.rs.stats.foreign, 7);
	assert_int_equal(f->held + f->shut + f->reset, 0);
	assert_int_equal(f->rc.c.state, AMP_CONN_OPEN);
	/* a service there? the same */
	rig.b.service[1].addr = 7777;
	for (unsigned op = AMP_RSTREAM_RESPONSE; op <= AMP_RSTREAM_RST; op++)
		told(500, 7777, m, put(m, op, 3, tag, 0) + 8);
	assert_int_equal(rig.b.rs.stats.foreign, 13);
	assert_int_equal(rig.a.queue_len, 0);
	amp_vsock_abort(&rig.b.rs.vs, &f->rc.c);
	end();
}

static void tags_go_round(void **state)
{
	struct rig_end *e;

	start(state);
	rig.b.rs.next_tag = 0xfffe;
	e = by_hand(100);
	assert_int_equal(e->rc.rx_tag, 0xffff);
	amp_vsock_abort(&rig.b.rs.vs, &e->rc.c);
	rig_settle();
	e = by_hand(100);
	assert_int_equal(e->rc.rx_tag, 1); /* 0 is nobody's */
	amp_vsock_abort(&rig.b.rs.vs, &e->rc.c);
	end();
}

static void duplicate_request(void **state)
{
	uint8_t m[24];
	struct rig_end *e, *f;
	struct rig_msg a;

	start(state);
	e = by_hand(100);
	told(500, 20, m, put_hello(m, AMP_RSTREAM_REQUEST, 0, 9, 500, 100));
	assert_int_equal(rig.b.requests, 1);
	assert_int_equal(rig.b.rs.stats.duplicates, 1);
	assert_int_equal(said(&a), 0);
	assert_int_equal(e->rc.c.state, AMP_CONN_OPEN);
	/* the RST that takes it back is for this one: or it would be, with another tag */
	told(500, 20, m, put_hello(m, AMP_RSTREAM_RST, 0, 10, 500, 100));
	assert_int_equal(e->reset, 0);
	assert_int_equal(rig.b.rs.stats.foreign, 1);
	/* nothing else takes it back */
	for (unsigned op = AMP_RSTREAM_RESPONSE; op <= AMP_RSTREAM_RST; op++) {
		put_hello(m, op, op == AMP_RSTREAM_RST, 9, 500, 100);
		told(500, 20, m, 24);
		m[1] = 1;
		m[2] = 0;
		told(500, 20, m, 24);
	}
	assert_int_equal(e->reset, 0);
	assert_int_equal(rig.b.rs.stats.foreign, 1 + 2 * 6);
	/* another tag: the endpoint has begun anew, and knows nothing of its last connection */
	told(500, 20, m, put_hello(m, AMP_RSTREAM_REQUEST, 0, 10, 500, 100));
	assert_int_equal(rig.b.requests, 2);
	assert_int_equal(e->reset, 1);
	f = rig.b.last;
	assert_int_equal(said(&a), 24);
	assert_int_equal(said(&a), 0);
	assert_int_equal(e->gone, 1);
	told(500, 20, m, put_hello(m, AMP_RSTREAM_RST, 0, 10, 500, 100));
	assert_int_equal(f->reset, 1);
	/* its service is no endpoint of a connection: who asks it is not done with */
	e = rig_dial(&rig.b, 100, 30);
	assert_int_equal(said(&a), 24);
	told(30, 20, m, put_hello(m, AMP_RSTREAM_REQUEST, 0, 11, 30, 100));
	assert_int_equal(e->reset, 0);
	f = rig.b.last;
	assert_int_equal(f->rc.tx_tag, 11);
	amp_vsock_abort(&rig.b.rs.vs, &e->rc.c);
	amp_vsock_abort(&rig.b.rs.vs, &f->rc.c);
	end();
}

/*
 * The connection is over on this side, and its RST waits for a buffer. The peer, which has begun
 * anew at the same address and with whatever tag, gets a new one, and never that RST.
 */
static void request_of_the_dead(void **state)
{
	uint8_t m[24];
	struct rig_end *e, *f;
	struct rig_msg a;

	start(state);
	for (uint16_t tag = 9; tag < 11; tag++) {
		rig.b.requests = 0;
		rig.b.rs.stats.duplicates = 0;
		e = by_hand(100); /* with tag 9 */
		rig.b.bufs = 0;
		amp_vsock_abort(&rig.b.rs.vs, &e->rc.c);
		told(500, 20, m, put_hello(m, AMP_RSTREAM_REQUEST, 0, tag, 500, 100));
		assert_int_equal(rig.b.requests, 2);
		f = rig.b.last;
		assert_ptr_not_equal(e, f);
		/* and this is its duplicate, dead ones or not */
		told(500, 20, m, put_hello(m, AMP_RSTREAM_REQUEST, 0, tag, 500, 100));
		assert_int_equal(rig.b.requests, 2);
		assert_int_equal(rig.b.rs.stats.duplicates, 1);
		rig.b.bufs = 4;
		assert_int_equal(said(&a), 24);
		assert_int_equal(a.mem[0], AMP_RSTREAM_RESPONSE);
		assert_int_equal(said(&a), 0);
		assert_int_equal(e->gone, 1);
		assert_int_equal(e->reset, 0); /* its owner has ended it */
		assert_int_equal(f->rc.c.state, AMP_CONN_OPEN);
		told(500, 20, m, put_hello(m, AMP_RSTREAM_RST, 0, tag, 500, 100));
		assert_int_equal(f->reset, 1);
		rig_settle();
	}
	end();
}

static void bad_requests(void **state)
{
	static const struct {
		const char *what;
		uint8_t off, value;
		uint32_t len;
		unsigned bad, versions;
		int answer; /* flags of the RST, -1: none */
	} cases[] = {
		{"flags", 1, 2, 24, 1, 0, 0},
		{"flags", 1, 0x80, 24, 1, 0, 0},
		{"tag", 2, 1, 24, 1, 0, 0},
		{"tag", 3, 1, 24, 1, 0, 0},
		{"fwd_cnt", 4, 1, 24, 1, 0, 0},
		{"fwd_cnt", 7, 1, 24, 1, 0, 0},
		{"magic", 8, 'B', 24, 1, 0, -1},
		{"magic", 11, 'B', 24, 1, 0, -1},
		{"version 0", 12, 0, 24, 0, 1, 1},
		{"version 2", 12, 2, 24, 0, 1, 1},
		{"version 2, longer", 12, 2, 40, 0, 1, 1},
		{"reserved", 13, 1, 24, 1, 0, 0},
		{"own tag 0", 14, 0, 24, 1, 0, -1},
		{"not its address", 16, 1, 24, 1, 0, -1},
		{"short", 0, 1, 23, 1, 0, -1},
		{"long", 0, 1, 25, 1, 0, 0},
		{"header alone", 0, 1, 8, 1, 0, -1},
		{"not even that", 0, 1, 7, 1, 0, -1},
		{"nothing", 0, 1, 0, 1, 0, -1},
	};
	uint8_t m[64];
	struct rig_msg a;

	start(state);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t bad = rig.b.rs.vs.stats.rx_bad, v = rig.b.rs.stats.versions;

		memset(m, 0, sizeof(m));
		put_hello(m, AMP_RSTREAM_REQUEST, 0, 9, 500, 100);
		m[cases[i].off] = cases[i].value;
		told(500, 20, m, cases[i].len);
		if (rig.b.rs.vs.stats.rx_bad - bad != cases[i].bad ||
		    rig.b.rs.stats.versions - v != cases[i].versions)
			fail_msg("%s: not counted", cases[i].what);
		if (said(&a) != (cases[i].answer < 0 ? 0 : 8))
			fail_msg("%s: answer", cases[i].what);
		if (cases[i].answer < 0)
			continue;
		assert_int_equal(a.mem[0], AMP_RSTREAM_RST);
		assert_int_equal(a.mem[1], cases[i].answer);
		assert_int_equal(amp_le16(a.mem + 2), 9);
		assert_int_equal(a.dst, 500);
		assert_int_equal(a.src, 20);
	}
	assert_int_equal(rig.b.requests, 0);
	/* addresses that nobody can have, where the source is not seen */
	rig.b.chardev = true;
	for (int i = 0; i < 2; i++) {
		told(0, 20, m, put_hello(m, 1, 0, 9, i ? AMP_RPMSG_ADDR_ANY : 0, 100));
		assert_int_equal(said(&a), 0);
	}
	assert_int_equal(rig.b.requests, 0);
	end_after_lies();
}

/* Where the source is not seen, the payload's word counts. */
static void request_names_its_address(void **state)
{
	uint8_t m[24];
	struct rig_msg a;

	start(state);
	rig.b.chardev = true;
	rig.b.rs.door = &made_chardev;
	told(123, 20, m, put_hello(m, AMP_RSTREAM_REQUEST, 0, 9, 500, 100));
	assert_int_equal(said(&a), 24);
	assert_int_equal(a.dst, 500);
	/* late ones at a service stay nobody's: an RST needs its hello */
	told(123, 20, m, put(m, AMP_RSTREAM_RST, 0, 9, 0));
	assert_int_equal(rig.b.rs.stats.foreign, 1);
	told(123, 20, m, put_hello(m, AMP_RSTREAM_RST, 0, 9, 500, 100));
	assert_int_equal(rig.b.last->reset, 1);
	end();
}

static void bad_responses(void **state)
{
	static const struct {
		const char *what;
		uint8_t off, value;
		uint32_t len;
	} cases[] = {
		{"magic", 8, 'B', 24},	   {"version 0", 12, 0, 24},
		{"version 2", 12, 2, 24},  {"reserved", 13, 1, 24},
		{"its tag 0", 14, 0, 24},  {"not its address", 16, 1, 24},
		{"short", 0, 2, 23},	   {"long", 0, 2, 25},
		{"header alone", 0, 2, 8}, {"DATA", 0, 3, 24},
		{"CREDIT", 0, 4, 8},	   {"CREDIT_REQUEST", 0, 5, 8},
		{"SHUTDOWN", 0, 6, 8},	   {"SERVICE", 0, 8, 24},
		{"nonsense", 0, 99, 24},
	};
	uint8_t m[32];
	struct rig_msg a;
	struct rig_end *e;

	start(state);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t src = cases[i].len == 24 && cases[i].off ? 600 : 20;

		e = rig_dial(&rig.b, 100, 20);
		assert_int_equal(said(&a), 24);
		memset(m, 0, sizeof(m));
		put_hello(m, AMP_RSTREAM_RESPONSE, e->rc.rx_tag, 9, 600, 100);
		m[cases[i].off] = cases[i].value;
		if (cases[i].off == 0 && cases[i].value == 2)
			src = 600;
		told(src, e->rc.ept.addr, m, cases[i].len);
		if (e->reset != 1 || e->open)
			fail_msg("%s: not reset", cases[i].what);
		/* taken back, for the peer's tag is not known */
		assert_int_equal(said(&a), 24);
		assert_int_equal(a.mem[0], AMP_RSTREAM_RST);
		assert_int_equal(amp_le16(a.mem + 2), 0);
		assert_int_equal(a.dst, 20);
		assert_int_equal(e->gone, 1);
	}
	/* good, but that it has consumed what nobody sent: the RST goes where it said */
	e = rig_dial(&rig.b, 100, 20);
	assert_int_equal(said(&a), 24);
	put_hello(m, AMP_RSTREAM_RESPONSE, e->rc.rx_tag, 9, 600, 100);
	m[4] = 1;
	told(600, e->rc.ept.addr, m, 24);
	assert_int_equal(e->reset, 1);
	assert_int_equal(said(&a), 8);
	assert_int_equal(a.dst, 600);
	/* a refusal may come from anywhere, an answer before REQUEST is out is a guess */
	e = rig_dial(&rig.b, 100, 20);
	assert_int_equal(said(&a), 24);
	told(999, e->rc.ept.addr, m, put(m, AMP_RSTREAM_RST, 1, e->rc.rx_tag, 0));
	assert_int_equal(e->reset, 1);
	e = rig_dial(&rig.b, 100, 20);
	told(600, e->rc.ept.addr, m,
	     put_hello(m, AMP_RSTREAM_RESPONSE, e->rc.rx_tag, 9, 600, 100));
	assert_int_equal(e->reset, 1);
	assert_int_equal(said(&a), 0);
	/* a second RESPONSE, from where the first came */
	e = rig_dial(&rig.b, 100, 20);
	assert_int_equal(said(&a), 24);
	told(600, e->rc.ept.addr, m,
	     put_hello(m, AMP_RSTREAM_RESPONSE, e->rc.rx_tag, 9, 600, 100));
	assert_int_equal(e->open, 1);
	told(601, e->rc.ept.addr, m,
	     put_hello(m, AMP_RSTREAM_RESPONSE, e->rc.rx_tag, 8, 601, 100));
	assert_int_equal(e->reset, 0);
	assert_int_equal(e->rc.tx_tag, 9);
	told(600, e->rc.ept.addr, m,
	     put_hello(m, AMP_RSTREAM_RESPONSE, e->rc.rx_tag, 8, 600, 100));
	assert_int_equal(e->reset, 1);
	assert_int_equal(said(&a), 8);
	assert_int_equal(amp_le16(a.mem + 2), 9);
	end_after_lies();
}

/* What an open connection does not survive, and what it does not mind. */
static void lies_on_a_connection(void **state)
{
	static const struct {
		const char *what;
		uint8_t op, flags;
		uint32_t fwd_cnt, payload;
		bool reset;
	} cases[] = {
		{"REQUEST", 1, 0, 0, 16, true},
		{"RESPONSE", 2, 0, 0, 16, true},
		{"SERVICE", 8, 0, 0, 44, true},
		{"op 0", 0, 0, 0, 0, true},
		{"op 9", 9, 0, 0, 0, true},
		{"op 16", 16, 0, 0, 0, true},
		{"op 255", 255, 0, 0, 0, true},
		{"credit", 4, 0, 11, 0, true},
		{"credit", 4, 0, UINT32_MAX, 0, true},
		{"data", 3, 0, 11, 1, true},
		{"too much data", 3, 0, 0, 101, true},
		{"credit", 4, 0, 10, 0, false},
		{"empty data", 3, 0, 0, 0, false},
		{"data, flags", 3, 0xff, 0, 1, false},
		{"credit, long", 4, 0, 0, 9, false},
		{"shutdown, none", 6, 0xfc, 0, 0, false},
	};
	uint8_t m[128];
	struct rig_end *e;

	start(state);
	rig.b.window = 100;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rig_msg a;

		e = by_hand(100);
		assert_int_equal(rig_send(&rig.b, e, 10), 10);
		assert_int_equal(said(&a), 18);
		memset(m, 0, sizeof(m));
		m[8] = rig_byte(&rig.a, 0);
		told(500, e->rc.ept.addr, m,
		     put(m, cases[i].op, cases[i].flags, e->rc.rx_tag, cases[i].fwd_cnt) +
			     cases[i].payload);
		if (e->reset != cases[i].reset)
			fail_msg("%s: reset %u", cases[i].what, e->reset);
		if (e->reset) {
			assert_int_equal(said(&a), 8);
			assert_int_equal(a.mem[0], AMP_RSTREAM_RST);
			assert_int_equal(amp_le16(a.mem + 2), 9);
			assert_int_equal(e->gone, 1);
			continue;
		}
		assert_int_equal(e->rc.c.state, AMP_CONN_OPEN);
		amp_vsock_abort(&rig.b.rs.vs, &e->rc.c);
		rig_settle();
	}
	/* in another order than they were sent: data behind its end */
	e = by_hand(100);
	told(500, e->rc.ept.addr, m,
	     put(m, AMP_RSTREAM_SHUTDOWN, AMP_VSOCK_SHUTDOWN_SEND, e->rc.rx_tag, 0));
	assert_int_equal(e->shut, 1);
	told(500, e->rc.ept.addr, m, put(m, AMP_RSTREAM_DATA, 0, e->rc.rx_tag, 0) + 1);
	assert_int_equal(e->reset, 1);
	rig_settle();
	/* shorter than a header: whose could it be? */
	e = by_hand(100);
	for (uint32_t len = 0; len < 8; len++)
		told(500, e->rc.ept.addr, m, len);
	assert_int_equal(rig.b.rs.vs.stats.rx_bad, 8);
	assert_int_equal(e->reset, 0);
	amp_vsock_abort(&rig.b.rs.vs, &e->rc.c);
	end_after_lies();
}

/* A connection that is over, whose RST waits for a buffer. */
static void messages_for_the_dead(void **state)
{
	uint8_t m[16] = {0};
	struct rig_end *e;
	struct rig_msg a;

	start(state);
	e = by_hand(100);
	rig.b.bufs = 0;
	amp_vsock_abort(&rig.b.rs.vs, &e->rc.c);
	for (unsigned op = 2; op < 10; op++)
		told(500, e->rc.ept.addr, m, put(m, op, 3, e->rc.rx_tag, 0));
	assert_int_equal(e->held + e->shut + e->reset, 0);
	rig.b.bufs = 2;
	assert_int_equal(said(&a), 8);
	assert_int_equal(a.mem[0], AMP_RSTREAM_RST);
	assert_int_equal(said(&a), 0);
	end();
}

/* ---- SERVICE ---- */

static void services(void **state)
{
	static const char longest[] = "1234567890123456789012345678901";

	start(state);
	assert_int_equal(amp_rstream_tell(&rig.a.rs, 20, 20, "web~s", 1500, false), 0);
	rig_settle();
	assert_int_equal(rig.b.told, 1);
	assert_string_equal(rig.b.name, "web~s");
	assert_int_equal(rig.b.name_addr, 1500);
	assert_false(rig.b.name_gone);
	assert_int_equal(amp_rstream_tell(&rig.b.rs, 20, 20, longest, 2, true), 0);
	rig_settle();
	assert_string_equal(rig.a.name, longest);
	assert_true(rig.a.name_gone);
	assert_int_equal(amp_rstream_tell(&rig.b.rs, 20, 20, "", 2, true), -EINVAL);
	assert_int_equal(
		amp_rstream_tell(&rig.b.rs, 20, 20, "12345678901234567890123456789012", 2, 0),
		-EINVAL);
	rig.b.rs.ops = &(const struct amp_rstream_ops){.service = NULL};
	assert_int_equal(amp_rstream_tell(&rig.a.rs, 20, 20, "web~s", 1500, false), 0);
	rig_settle();
	assert_int_equal(rig.b.told, 1);
	end();
}

static void malformed_services(void **state)
{
	static const struct {
		uint8_t off, value;
		uint32_t len;
	} cases[] = {
		{1, 1, 52},  {2, 1, 52},  {3, 1, 52},	 {8, 0, 52},  {11, 0, 52}, {12, 0, 52},
		{12, 2, 52}, {13, 2, 52}, {13, 255, 52}, {14, 1, 52}, {15, 1, 52}, {16, 0, 52},
		{20, 0, 52}, {0, 8, 51},  {0, 8, 53},	 {0, 8, 8},   {0, 8, 20},
	};
	uint8_t m[64];

	start(state);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(m, 0, sizeof(m));
		put(m, AMP_RSTREAM_SERVICE, 0, 0, 0);
		amp_put_le32(m + 8, 0x53504d41);
		m[12] = 1;
		m[16] = 30;
		m[20] = 'n';
		m[cases[i].off] = cases[i].value;
		told(500, 20, m, cases[i].len);
		assert_int_equal(rig.b.rs.vs.stats.rx_bad, i + 1);
	}
	/* no NUL; an address that is none */
	memset(m + 20, 'n', 32);
	told(500, 20, m, 52);
	memset(m + 50, 0, 2);
	memset(m + 16, 0xff, 4);
	told(500, 20, m, 52);
	assert_int_equal(rig.b.told, 0);
	assert_int_equal(rig.a.queue_len, 0);
	memset(m + 17, 0, 3);
	m[13] = 0;
	told(500, 20, m, 52);
	assert_int_equal(rig.b.told, 1);
	assert_int_equal(strlen(rig.b.name), 30);
	end_after_lies();
}

static void names(void **state)
{
	(void)state;
	assert_int_equal(amp_rstream_name_len("web~s"), 3);
	assert_int_equal(amp_rstream_name_len("a~s"), 1);
	assert_int_equal(amp_rstream_name_len("a~s~s"), 3);
	assert_int_equal(amp_rstream_name_len("~s"), 0);
	assert_int_equal(amp_rstream_name_len("s"), 0);
	assert_int_equal(amp_rstream_name_len(""), 0);
	assert_int_equal(amp_rstream_name_len("web"), 0);
	assert_int_equal(amp_rstream_name_len("web~S"), 0);
	assert_int_equal(amp_rstream_name_len("web~"), 0);
}

/* ---- the bus ---- */

static void buffers_too_small(void **state)
{
	struct rig_end *e;

	start(state);
	rig_down(&rig.a);
	rig_down(&rig.b);
	rig.buf_len = AMP_RPMSG_HDR_LEN + AMP_RSTREAM_ROOM - 4;
	rig_up();
	e = rig_dial(&rig.a, 100, 20);
	assert_true(rig_run(&rig.a) >= 0);
	assert_int_equal(amp_rpmsg_run(&rig.a.bus, 64), -EBADMSG);
	rig_down(&rig.a);
	assert_int_equal(e->reset, 1);
	assert_int_equal(e->gone, 1);
	rig_down(&rig.b);
	rig.buf_len += 4;
	rig_up();
	e = rig_dial(&rig.a, 100, 20);
	rig_settle();
	assert_int_equal(e->open, 1);
	amp_vsock_abort(&rig.a.rs.vs, &e->rc.c);
	end();
}

/* The ring is full until the peer looks: what waits goes out without being asked again. */
static void ring_full_both_ways(void **state)
{
	struct rig_end *e, *o;
	int r;

	start(state);
	rig.b.window = 1 << 20;
	e = rig_dial(&rig.a, 1 << 20, 20);
	rig_settle();
	o = rig.b.last;
	for (int i = 0; i < 50; i++) {
		while ((r = rig_send(&rig.a, e, 100)) > 0)
			;
		assert_int_equal(r, -EAGAIN);
		while ((r = rig_send(&rig.b, o, 100)) > 0)
			;
		assert_int_equal(r, -EAGAIN);
		rig.a.tx_ready = rig.b.tx_ready = 0;
		amp_vsock_consumed(&rig.b.rs.vs, &o->rc.c, o->held);
		amp_vsock_consumed(&rig.a.rs.vs, &e->rc.c, e->held);
		e->held = o->held = 0;
		rig_settle();
		assert_int_equal(rig.a.tx_ready, 1);
		assert_int_equal(rig.b.tx_ready, 1);
	}
	assert_int_equal(o->rx_pos, e->tx_pos);
	assert_int_equal(e->rx_pos, o->tx_pos);
	amp_vsock_consumed(&rig.b.rs.vs, &o->rc.c, o->held);
	amp_vsock_consumed(&rig.a.rs.vs, &e->rc.c, e->held);
	close_both(&rig.a, e, o);
	end();
}

/* ---- chance ---- */

/* One step of an owner who knows no mercy. */
static void act(struct rig_side *s, uint32_t r)
{
	struct rig_end *e = &s->ends[(r >> 8) % RIG_ENDS];

	s->later = r >> 30 & 1;
	s->backlog = r >> 29 & 1 ? UINT32_MAX : 0;
	s->window = 1 + (r >> 20 & 0x3ff);
	switch (r % 16) {
	case 0:
	case 1:
		e = rig_end_new(s, s->window);
		if (e && amp_rstream_connect(&s->rs, &e->rc, r & 64 ? 20 : 21))
			e->used = false;
		return;
	case 2:
		if (!rig.bus)
			s->bufs = r >> 8 & 7;
		return;
	default:
		break;
	}
	if (!e->used)
		return;
	switch (r % 16) {
	case 3:
		amp_vsock_abort(&s->rs.vs, &e->rc.c);
		break;
	case 4:
		amp_vsock_close(&s->rs.vs, &e->rc.c, 0, 1000);
		break;
	case 5:
		amp_vsock_shutdown(&s->rs.vs, &e->rc.c, (uint8_t)(r >> 16 & 3));
		break;
	case 6:
	case 7:
		amp_vsock_respond(&s->rs.vs, &e->rc.c);
		break;
	case 8:
	case 9:
	case 10:
		if (e->held && e->rc.c.state == AMP_CONN_OPEN)
			rig_eat(s, e, 1 + (r >> 16) % e->held);
		break;
	case 11:
		e->eat = r >> 16 & 1;
		break;
	default:
		(void)rig_send(s, e, 1 + (r >> 16 & 0x1ff));
		break;
	}
}

static void random_owners(void **state)
{
	start(state);
	rig.a.eagain_pct = rig.b.eagain_pct = 10;
	for (unsigned i = 0; i < 60000; i++) {
		uint32_t r = rp_rand(&rig.rand);
		struct rig_side *s = r >> 31 ? &rig.a : &rig.b;

		act(s, rp_rand(&rig.rand));
		if (r % 4 == 0)
			rig_run(s);
		else if (!rig.bus && r % 4 == 1)
			rig_take(s);
		for (unsigned k = 0; k < RIG_ENDS; k++)
			assert_false(rig.a.ends[k].wrong || rig.b.ends[k].wrong);
	}
	rig.a.eagain_pct = rig.b.eagain_pct = 0;
	rig.a.bufs = rig.b.bufs = 32;
	for (unsigned k = 0; k < 2 * RIG_ENDS; k++) {
		struct rig_side *s = k & 1 ? &rig.a : &rig.b;

		if (s->ends[k / 2].used)
			amp_vsock_abort(&s->rs.vs, &s->ends[k / 2].rc.c);
	}
	assert_int_equal(rig.a.rs.stats.duplicates + rig.b.rs.stats.duplicates, 0);
	end();
}

/*
 * A conversation with everything in it, again and again: each time one byte of one message is
 * another, or a message is missing, comes twice or is cut short. Whoever is lied to may reset
 * what it likes; nothing may be left, nobody may hear anything twice.
 */
static struct {
	unsigned message, byte, how, seen;
	bool done;
} change;

static void change_tap(struct rig_side *to, struct rig_msg *m)
{
	static const uint8_t with[] = {0x01, 0x80, 0xff, 0x07};

	if (change.seen++ != change.message)
		return;
	if (change.how < 4) {
		if (change.byte >= m->len)
			return;
		m->mem[1 + change.byte] ^= with[change.how];
	} else if (change.byte == 0 && change.how == 4) {
		free(m->mem);
		m->mem = NULL;
	} else if (change.byte == 0 && change.how == 5) {
		rig_deliver(to, m);
	} else if (change.how == 6 && change.byte < m->len) {
		m->len = change.byte;
	} else {
		return;
	}
	change.done = true;
}

/* Each may end at any point. */
static void conversation(void)
{
	struct rig_end *e, *o = NULL;

	rig.a.tap = rig.b.tap = change_tap;
	rig.b.window = 64;
	(void)amp_rstream_tell(&rig.a.rs, 20, 20, "n~s", 30, false);
	e = rig_dial(&rig.a, 64, 20);
	rig_settle();
	if (rig.b.last)
		o = rig.b.last;
	for (int i = 0; i < 3; i++) {
		if (e->used)
			(void)rig_send(&rig.a, e, 64);
		if (o && o->used)
			(void)rig_send(&rig.b, o, 20);
		rig_settle();
		if (e->used && e->held)
			rig_eat(&rig.a, e, e->held);
		if (o && o->used && o->held)
			rig_eat(&rig.b, o, o->held);
		rig_settle();
	}
	if (e->used)
		amp_vsock_shutdown(&rig.a.rs.vs, &e->rc.c, AMP_VSOCK_SHUTDOWN_SEND);
	rig_settle();
	if (o && o->used)
		amp_vsock_close(&rig.b.rs.vs, &o->rc.c, 0, 1000);
	rig_settle();
	e = rig_dial(&rig.b, 100, 20);
	rig_settle();
	if (e->used)
		amp_vsock_abort(&rig.b.rs.vs, &e->rc.c);
	rig_settle();
}

static void every_byte_another(void **state)
{
	unsigned changed = 0, resets = 0;

	for (change.message = 0;; change.message++) {
		unsigned of_message = changed;

		for (change.how = 0; change.how < 7; change.how++) {
			for (change.byte = 0;; change.byte++) {
				change.seen = 0;
				change.done = false;
				start(state);
				conversation();
				resets += rig.a.rs.vs.stats.resets + rig.b.rs.vs.stats.resets;
				for (unsigned k = 0; k < RIG_ENDS; k++) {
					if (rig.a.ends[k].used)
						amp_vsock_abort(&rig.a.rs.vs,
								&rig.a.ends[k].rc.c);
					if (rig.b.ends[k].used)
						amp_vsock_abort(&rig.b.rs.vs,
								&rig.b.ends[k].rc.c);
				}
				end_after_lies();
				if (!change.done)
					break;
				changed++;
			}
		}
		if (changed == of_message)
			break;
	}
	assert_true(change.message >= 15);
	assert_true(changed > 1500);
	assert_true(resets > 200);
}

#define MADE(f) cmocka_unit_test_prestate(f, &made)
#define BUS(f)                                  \
	{                                       \
		"bus: " #f, f, NULL, NULL, &bus \
	}
#define BOTH(f) MADE(f), BUS(f)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(connects),
		BOTH(accepts_later),
		BOTH(refused),
		BOTH(backlog_of_two),
		BOTH(half_close_each_way),
		BOTH(shutdown_receive),
		BOTH(end_behind_data),
		BOTH(both_close_at_once),
		BOTH(reset_by_abort),
		BOTH(ends_that_cross),
		BOTH(closing_deadline),
		BOTH(window_full_and_credit),
		BOTH(updates_are_not_per_read),
		BOTH(windows_of_one_byte),
		BOTH(windows_of_nothing_and_of_everything),
		MADE(no_buffers_for_a_while),
		MADE(owed_before_data),
		MADE(refusals_wait_for_buffers),
		BOTH(reservations),
		BOTH(given_up),
		BOTH(timed_out),
		MADE(no_endpoint),
		BOTH(own_address),
		BOTH(link_down),
		BOTH(a_thousand_rounds),
		MADE(over_a_character_device),
		MADE(bytes_on_the_wire),
		MADE(forged),
		MADE(late_data_to_reused_address),
		MADE(tags_go_round),
		MADE(duplicate_request),
		MADE(request_of_the_dead),
		MADE(bad_requests),
		MADE(request_names_its_address),
		MADE(bad_responses),
		MADE(lies_on_a_connection),
		MADE(messages_for_the_dead),
		BOTH(services),
		MADE(malformed_services),
		MADE(names),
		BUS(buffers_too_small),
		BUS(ring_full_both_ways),
		BOTH(random_owners),
		MADE(every_byte_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
