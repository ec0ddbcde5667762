/* SPDX-License-Identifier: BSD-3-Clause */
/* One virtio device (entropy) through the same transport and ring that vsock uses. */
#include <errno.h>
#include <stdio.h>

#include "../../boards/board.h"
#include "../../src/port/port.h"
#include "../../src/virtio/mmio_ops.h"
#include "selftest.h"

#define VIRTIO_ID_RNG 4u
#define RNG_NUM	      4u
#define PATIENCE_MS   200u
#define TRIES	      25u

static struct amp_mmio mmio;
static unsigned mmio_irq;
static volatile unsigned interrupts;

bool board_link_irq(unsigned irq)
{
	if (irq != mmio_irq)
		return false;
	interrupts++;
	return amp_mmio_isr(&mmio);
}

static int find_rng(void)
{
	unsigned i;
	int err = -ENODEV;

	for (i = 0; i < board.mmio_cnt; i++) {
		err = amp_mmio_init(&mmio, board.mmio_base + i * board.mmio_stride);
		if (err == -ENODEV)
			continue;
		mmio_irq = board.mmio_irq + i;
		break;
	}
	return err;
}

/* The second and third only come if the first interrupt was acknowledged everywhere. */
static void test_request(struct amp_vq *vq)
{
	static uint8_t entropy[64];
	struct amp_iov iov = {entropy, sizeof(entropy)};
	uint32_t len = 0, i, sleeps = amp_baremetal_sleeps();
	uint16_t id;
	unsigned tries = 1;
	int woken, any = 0;

	interrupts = 0;
	check("post", amp_vq_post(vq, &iov, 0, 1, NULL) >= 0);
	check("nothing before its time", !amp_vq_arm(vq));
	if (amp_vq_kick_due(vq))
		AMP_VDEV(&mmio.vd, notify)(&mmio.vd, 0);
	/* one interrupt leaves one mark, and the first wait after it takes it, asleep or not */
	do
		woken = amp_port_wait(PATIENCE_MS);
	while (interrupts == 0 && (woken == 0 || ++tries < TRIES));
	check("woken by interrupt", interrupts > 0 && woken == 0);
	check("asleep until then", amp_baremetal_sleeps() - sleeps < 3 + 2 * tries);
	check("buffer came back",
	      amp_vq_reap(vq, &id, &len) == 1 && len > 0 && len <= sizeof(entropy));
	for (i = 0; i < len && i < sizeof(entropy); i++)
		any |= entropy[i];
	check("entropy", any != 0);
}

/* The alarm of a wait that an interrupt ended goes off in the middle of the next, which goes on. */
static void test_stale_alarm(void)
{
	uint32_t start = amp_port_now_ms(), sleeps = amp_baremetal_sleeps(), took;
	int ret;

	do /* a mark may be left */
		ret = amp_port_wait(PATIENCE_MS + 100);
	while (ret == 0);
	took = amp_port_now_ms() - start;
	check("timer, behind another's alarm",
	      ret == -ETIMEDOUT && took >= PATIENCE_MS + 99 && took < 5000);
	check("asleep, behind another's alarm", amp_baremetal_sleeps() - sleeps < 6);
}

/* News at the so-manyth look. */
struct looks {
	uint32_t done, come;
};

static bool look(const void *ctx)
{
	struct looks *l = *(struct looks *const *)ctx;

	return ++l->done >= l->come;
}

/* Of a busy machine only what is certain: it may take the core away at any time. */
static void test_spin(void)
{
	struct looks l = {.come = 3}, *ctx = &l;
	uint64_t start;

	amp_baremetal_spin(0);
	check("no spin unless told", !amp_port_spin(look, &ctx) && l.done == 0);
	amp_baremetal_spin(2000);
	check("spin finds", amp_port_spin(look, &ctx) && l.done == 3);
	amp_baremetal_spin(2000);
	l = (struct looks){.come = UINT32_MAX};
	start = board.timer->clock.ticks();
	check("spin ends", !amp_port_spin(look, &ctx) && l.done > 64);
	check("spin takes its time, or is away",
	      board.timer->clock.ticks() - start >
		      (board.timer_hz ? board.timer_hz : board.timer->hz()) / 1000);
	l = (struct looks){.come = 1};
	check("not at once again", !amp_port_spin(look, &ctx) && l.done == 0);
	amp_baremetal_spin(1000000);
	l = (struct looks){.come = UINT32_MAX};
	amp_port_wake();
	start = amp_port_now_ms();
	check("spin ends when woken",
	      !amp_port_spin(look, &ctx) && (l.done == 64 || amp_port_now_ms() - start < 900));
	check("the wake is kept", amp_port_wait(-1) == 0);
	amp_baremetal_spin(board.spin_us);
}

static void test_rng(void)
{
	static _Alignas(16) uint8_t ring[512];
	static uint16_t state[RNG_NUM];
	size_t avail, used;
	struct amp_vq vq;
	struct amp_vq_setup setup = {.role = AMP_VQ_DRIVER, .dir = AMP_VQ_IN, .num = RNG_NUM};
	uint64_t features;
	int err, round;

	(void)amp_vq_layout(RNG_NUM, &avail, &used);
	setup.desc = ring;
	setup.avail = ring + avail;
	setup.used = ring + used;
	setup.state = state;
	err = AMP_VDEV(&mmio.vd, probe)(&mmio.vd, AMP_VIRTIO_ID_VSOCK, &features);
	check("another device's id", err == -ENODEV);
	err = AMP_VDEV(&mmio.vd, probe)(&mmio.vd, VIRTIO_ID_RNG, &features);
	check("probe", err == 0 && (features & AMP_VIRTIO_F_VERSION_1));
	check("features", AMP_VDEV(&mmio.vd, accept)(&mmio.vd, AMP_VIRTIO_F_VERSION_1) == 0);
	check("queue", AMP_VDEV(&mmio.vd, queue_max)(&mmio.vd, 0) >= RNG_NUM &&
			       AMP_VDEV(&mmio.vd, queue_max)(&mmio.vd, 7) == 0);
	board.intc->enable(mmio_irq);
	check("ring", amp_vq_init(&vq, &setup) == 0);
	check("queue set", AMP_VDEV(&mmio.vd, queue_set)(&mmio.vd, 0, &vq) == 0);
	check("run", AMP_VDEV(&mmio.vd, run)(&mmio.vd) == 0);
	for (round = 0; round < 3; round++)
		test_request(&vq);
	test_stale_alarm();
	check("no event", AMP_VDEV(&mmio.vd, events)(&mmio.vd) == 0);
	AMP_VDEV(&mmio.vd, reset)(&mmio.vd);
	check("queue is free after reset",
	      AMP_VDEV(&mmio.vd, queue_set)(&mmio.vd, 0, &vq) == 0);
	AMP_VDEV(&mmio.vd, reset)(&mmio.vd);
}

void selftest_link(const char *what)
{
	int err = find_rng();

	(void)what;
	test_spin();
	if (err == 0)
		test_rng();
	else
		printf("slot: %d %s\n", -err,
		       err == -ENOTSUP ? amp_mmio_why(&mmio) : "all empty");
}
