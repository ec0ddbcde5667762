// SPDX-License-Identifier: BSD-3-Clause
/*
 * remoteproc with the rpmsg bus on top of both sides: whoever restarts, the names are there
 * again, messages go both ways, and no buffer stays behind.
 */
#include "af_rpmsg/rpmsg.h"
#include "rproc_rig.h"

struct end {
	struct amp_rpmsg bus; /* first */
	struct amp_rpmsg_ept *hash[4];
	struct amp_rpmsg_named ept;
	uint32_t peer;	/* who was announced under our name, 0: nobody */
	unsigned names; /* announcements seen */
	unsigned got;	/* messages */
	bool echo, hold;
	uint32_t held;
	bool holds;
};

static struct end ends[2]; /* remote, host */

static int on_data(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept,
		   const struct amp_rpmsg_rx *rx)
{
	struct end *e = (struct end *)bus;
	struct amp_rpmsg_tx tx;

	e->got++;
	if (e->echo && amp_rpmsg_reserve(bus, &tx) == 0) {
		assert_true(rx->len <= tx.room);
		memcpy(tx.data, rx->data, rx->len);
		amp_rpmsg_commit(bus, &tx, ept->addr, rx->src, rx->len);
	}
	if (!e->hold || e->holds)
		return 0;
	e->holds = true;
	e->held = rx->id;
	return 1;
}

static void on_service(struct amp_rpmsg *bus, const char *name, uint32_t addr, bool gone)
{
	struct end *e = (struct end *)bus;

	assert_string_equal(name, "echo");
	e->names++;
	e->peer = gone ? 0 : addr;
}

static void on_gone(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept)
{
	(void)bus;
	(void)ept;
}

static const struct amp_rpmsg_ops ops = {
	.data = on_data, .service = on_service, .gone = on_gone};

static void end_init(struct end *e)
{
	memset(e, 0, sizeof(*e));
	e->bus.ops = &ops;
	e->bus.hash = e->hash;
	e->bus.hash_len = 4;
	amp_rpmsg_init(&e->bus);
	assert_int_equal(amp_rpmsg_open_named(&e->bus, &e->ept, AMP_RPMSG_ADDR_ANY, "echo"), 0);
}

static void changed(struct rr_side *s)
{
	struct end *e = &ends[s == &rr.host];

	e->peer = 0;
	if (!s->up)
		amp_rpmsg_down(&e->bus);
	else if (s == &rr.host)
		amp_rpmsg_up(&e->bus, &s->vq[AMP_RPROC_TX], &s->vq[AMP_RPROC_RX],
			     amp_rproc_host_features(&rr.h) & AMP_RPMSG_F_NS);
	else
		amp_rpmsg_up(&e->bus, &s->vq[AMP_RPROC_RX], &s->vq[AMP_RPROC_TX],
			     amp_rproc_features(&rr.rp) & AMP_RPMSG_F_NS);
}

static void run(void)
{
	int a, b;

	do {
		a = amp_rpmsg_run(&ends[0].bus, 16);
		b = amp_rpmsg_run(&ends[1].bus, 16);
		assert_true(a >= 0 && b >= 0);
	} while (a || b);
}

/* The host's side of the program is a new one, too. */
static void host_process(void)
{
	rr_host_kill();
	end_init(&ends[1]);
	assert_int_equal(rr_host_start(), 0);
}

static void send(struct end *from, uint32_t len)
{
	struct amp_rpmsg_tx tx;

	assert_int_equal(amp_rpmsg_reserve(&from->bus, &tx), 0);
	memset(tx.data, 7, len);
	amp_rpmsg_commit(&from->bus, &tx, from->ept.ept.addr, from->peer, len);
}

static void works(void)
{
	unsigned got;

	rr_settle();
	assert_true(rr.remote.up && rr.host.up);
	run();
	assert_int_not_equal(ends[0].peer, 0);
	assert_int_not_equal(ends[1].peer, 0);
	for (unsigned e = 0; e < 2; e++) {
		ends[e].echo = false;
		ends[!e].echo = true;
		got = ends[e].got;
		for (unsigned i = 0; i < 40; i++) {
			send(&ends[e], 496);
			if (i % 4 == 3)
				run();
		}
		run();
		assert_int_equal(ends[e].got - got, 40);
	}
	ends[0].echo = ends[1].echo = false;
	assert_int_equal(rr_count_empty(&rr.remote, AMP_RPROC_TX),
			 rr.h.ring[AMP_RPROC_TX].buf_cnt);
	assert_int_equal(rr_count_empty(&rr.host, AMP_RPROC_RX),
			 rr.h.ring[AMP_RPROC_RX].buf_cnt);
}

static void test_names_and_messages_after_every_restart(void **state)
{
	(void)state;
	rr_init(&(struct rr_opt){.num = 8});
	rr.changed = changed;
	end_init(&ends[0]);
	rr_load();
	rr_remote_boot();
	host_process();
	works();
	for (unsigned i = 0; i < 300; i++) {
		unsigned names = ends[0].names;

		/* messages unread and a buffer held when it happens */
		ends[0].hold = ends[1].hold = true;
		send(&ends[0], 100);
		send(&ends[1], 100);
		run();
		assert_true(ends[0].holds && ends[1].holds);
		ends[0].hold = ends[1].hold = false;
		send(&ends[0], 200);
		send(&ends[1], 200);
		switch (i % 5) {
		case 0:
			rr_warm_reset();
			break;
		case 1:
			rr_reload_reset();
			break;
		case 2:
			host_process();
			break;
		case 3:
			rr_remote_off();
			host_process();
			rr_reload_reset();
			break;
		default:
			rr_gone(&rr.remote);
			amp_rproc_boot(&rr.rp);
			rr.host.kicked = true;
			break;
		}
		rr_settle();
		for (unsigned e = 0; e < 2; e++) { /* a buffer of a life that is over */
			amp_rpmsg_release(&ends[e].bus, ends[e].held);
			ends[e].holds = false;
		}
		works();
		assert_true(ends[0].names > names);
	}
	rr_free();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_and_messages_after_every_restart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
