// SPDX-License-Identifier: BSD-3-Clause
// build: src/virtio/vq_split.c src/virtio/remoteproc.c src/virtio/remoteproc_host.c -DAMPSOCK_RPMSG_EVENT_IDX=1
/*
 * The event index over a resource table: negotiated, used by both ends, and not with a host or a
 * remote that does not know it. (The event itself, wrap-around and lost wake-ups: test_vq.c.)
 */
#include "rproc_rig.h"

#define NS  1u
#define EVT (1u << 29)

static int setup(void **state)
{
	(void)state;
	rr_init(&(struct rr_opt){.num = 16});
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rr_free();
	return 0;
}

/* Both ends' first messages are out of the way. */
static void begin(void)
{
	rr_reload_reset();
	assert_int_equal(rr_host_start(), 0);
	rr_works();
}

static struct amp_vq *end(struct rr_side *s, unsigned vring)
{
	return &s->vq[vring];
}

static void drain(struct rr_side *s, const struct rr_side *peer, unsigned vring)
{
	while (rr_receive(s, peer, vring))
		;
}

/* A message, and the question that follows each. */
static unsigned put(struct rr_side *from, unsigned vring)
{
	assert_true(rr_send(from, vring, from->sent));
	from->sent++;
	return amp_vq_kick_due(end(from, vring));
}

/* Kicks of a burst of eight; who receives has been asked to be woken, or has not. */
static unsigned burst(struct rr_side *from, struct rr_side *to, unsigned vring, bool asleep)
{
	unsigned kicks = 0;

	drain(to, from, vring);
	if (asleep)
		assert_false(amp_vq_arm(end(to, vring)));
	else
		amp_vq_disarm(end(to, vring));
	for (unsigned i = 0; i < 8; i++)
		kicks += put(from, vring);
	drain(to, from, vring);
	return kicks;
}

/* Whose own side is in a state that a burst leaves it in: the buffers are back. */
static void bursts(unsigned asleep)
{
	for (unsigned i = 0; i < 5000; i++) { /* the indices go round */
		assert_int_equal(burst(&rr.remote, &rr.host, AMP_RPROC_TX, true), asleep);
		assert_int_equal(burst(&rr.remote, &rr.host, AMP_RPROC_TX, false), 0);
		assert_int_equal(burst(&rr.host, &rr.remote, AMP_RPROC_RX, true), asleep);
		assert_int_equal(burst(&rr.host, &rr.remote, AMP_RPROC_RX, false), 0);
	}
}

static void negotiated(bool yes)
{
	for (unsigned i = 0; i < AMP_RPROC_VRINGS; i++) {
		assert_int_equal(rr.remote.vq[i].event_idx, yes);
		assert_int_equal(rr.host.vq[i].event_idx, yes);
	}
	assert_int_equal(rr_table()->vdev.gfeatures, yes ? NS | EVT : NS);
}

static void a_burst_is_one_kick(void **state)
{
	(void)state;
	assert_int_equal(rr.image.vdev.dfeatures, NS | EVT);
	begin();
	negotiated(true);
	bursts(1);
}

/* What came between the last look and the question has no kick: arm says so. */
static void no_wake_up_is_lost(void **state)
{
	(void)state;
	begin();
	for (unsigned i = 0; i < 8; i++) {
		drain(&rr.host, &rr.remote, AMP_RPROC_TX);
		assert_false(amp_vq_arm(end(&rr.host, AMP_RPROC_TX)));
		assert_int_equal(put(&rr.remote, AMP_RPROC_TX), 1);
		drain(&rr.host, &rr.remote, AMP_RPROC_TX);
		assert_int_equal(put(&rr.remote, AMP_RPROC_TX), 0);
		assert_true(amp_vq_arm(end(&rr.host, AMP_RPROC_TX)));
		/* who has seen it before the question wants the next one */
		drain(&rr.host, &rr.remote, AMP_RPROC_TX);
		assert_true(rr_send(&rr.remote, AMP_RPROC_TX, rr.remote.sent++));
		drain(&rr.host, &rr.remote, AMP_RPROC_TX);
		assert_false(amp_vq_arm(end(&rr.host, AMP_RPROC_TX)));
		assert_false(amp_vq_kick_due(end(&rr.remote, AMP_RPROC_TX)));
	}
}

/* A remote as it was before, or another's: nothing is offered, nothing accepted. */
static void a_remote_that_does_not_offer(void **state)
{
	(void)state;
	rr.image.vdev.dfeatures = NS;
	begin();
	negotiated(false);
	bursts(8);
}

/* Each end is replaced by one that knows it, and one that does not. */
static void restarts_change_it(void **state)
{
	(void)state;
	begin();
	for (unsigned i = 0; i < 50; i++) {
		bool offers = i % 3 != 0;

		rr.image.vdev.dfeatures = offers ? NS | EVT : NS;
		rr_reload_reset();
		if (i & 1)
			assert_int_equal(rr_host_start(), 0);
		rr_works();
		negotiated(offers);
		assert_int_equal(burst(&rr.remote, &rr.host, AMP_RPROC_TX, true),
				 offers ? 1 : 8);
		assert_int_equal(burst(&rr.host, &rr.remote, AMP_RPROC_RX, true),
				 offers ? 1 : 8);
	}
}

/* A host without epochs that has written `accepted`; its end of the rings is the same driver. */
static void foreign_host(uint32_t accepted, bool uses)
{
	static uint16_t state[AMP_RPROC_VRINGS][16];

	rr_gone(&rr.remote);
	rr_table()->vdev.status = 0;
	rr_remote_run();
	for (unsigned i = 0; i < AMP_RPROC_VRINGS; i++) {
		size_t avail, used;
		uint8_t *at = rr.ram + 0x1000 + 0x1000 * i;
		struct amp_vq_setup s = {.role = AMP_VQ_DRIVER,
					 .dir = i == AMP_RPROC_TX ? AMP_VQ_IN : AMP_VQ_OUT,
					 .num = 16,
					 .event_idx = uses,
					 .state = state[i],
					 .bus_off = rr.o.da - (uintptr_t)rr.ram};

		(void)amp_vq_layout(16, &avail, &used);
		s.desc = at;
		s.avail = at + avail;
		s.used = at + ((used + 63u) & ~(size_t)63u);
		assert_int_equal(amp_vq_init(&rr.host.vq[i], &s), 0);
		assert_int_equal(
			amp_vq_pool(&rr.host.vq[i], rr.ram + 0x4000 + 0x2000 * i, 512, 16), 0);
		rr_table()->vdev.vring[i].da = (uint32_t)rr.o.da + 0x1000 + 0x1000 * i;
	}
	rr_table()->vdev.gfeatures = accepted;
	rr_table()->vdev.status = 7;
	rr.host.life++;
	rr.host.sent = rr.host.taken = 0;
	rr_remote_run();
	assert_true(rr.remote.up);
	for (unsigned i = 0; i < AMP_RPROC_VRINGS; i++)
		assert_int_equal(rr.remote.vq[i].event_idx, uses);
}

/* One after the other, in memory as the one before has left it. */
static void foreign_hosts(void **state)
{
	(void)state;
	rr_reload_reset();
	for (unsigned i = 0; i < 20; i++) {
		bool uses = i & 1;

		foreign_host(uses ? NS | EVT : i & 2 ? NS : 0, uses);
		for (unsigned k = 0; k < 3; k++) {
			assert_int_equal(burst(&rr.remote, &rr.host, AMP_RPROC_TX, true),
					 uses ? 1 : 8);
			assert_int_equal(burst(&rr.remote, &rr.host, AMP_RPROC_TX, false), 0);
			assert_int_equal(burst(&rr.host, &rr.remote, AMP_RPROC_RX, true),
					 uses ? 1 : 8);
		}
	}
}

/* A driver that has accepted it and never writes its event: whose queue is `eager` notifies all. */
static void a_driver_that_never_writes_its_event(void **state)
{
	struct amp_vq *q = end(&rr.remote, AMP_RPROC_TX);

	(void)state;
	rr_reload_reset();
	foreign_host(NS | EVT, true);
	q->eager = true;
	for (unsigned i = 0; i < 70000; i++) {
		assert_int_equal(put(&rr.remote, AMP_RPROC_TX), 1);
		drain(&rr.host, &rr.remote, AMP_RPROC_TX);
	}
	/* it does, after all */
	assert_int_equal(burst(&rr.remote, &rr.host, AMP_RPROC_TX, true), 1);
	assert_int_equal(burst(&rr.remote, &rr.host, AMP_RPROC_TX, false), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_burst_is_one_kick),
		T(no_wake_up_is_lost),
		T(a_remote_that_does_not_offer),
		T(restarts_change_it),
		T(foreign_hosts),
		T(a_driver_that_never_writes_its_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
