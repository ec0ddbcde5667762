/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One of the two stacks that insn_rpmsg.c sets against each other: with AMPSOCK_VQ_DEVICE
 * the remote, else the host. Compiled with each copy of the library; every amp_* name
 * then gets the copy's letter. The port has no operating system: to wait is to let the
 * other side run.
 */
#include <errno.h>
#include <string.h>

#include <ampsock.h>

#include "af_rpmsg/rlink_life.h"
#include "insn_rpmsg.h"
#include "port/port.h"
#include "virtio/remoteproc.h"

int amp_side_up(void);

static int woken;

int amp_port_wait(int32_t timeout_ms)
{
	(void)timeout_ms;
	if (!woken)
		insn_switch();
	woken = 0;
	return 0;
}

void amp_port_wake(void)
{
	woken = 1;
}

uint32_t amp_port_now_ms(void)
{
	return 1;
}

#if AMPSOCK_VQ_DEVICE
static void notify(struct amp_rproc *rp, unsigned vring)
{
	(void)rp;
	(void)vring;
	insn_kicks++;
}

static const struct amp_rproc_ops ops = {.notify = notify};
static struct amp_rproc rproc = {
	.ops = &ops,
	.table = (struct amp_rsc_table *)(void *)insn_shm,
	.shm = insn_shm + INSN_TABLE_LEN,
	.shm_da = INSN_SHM_DA + INSN_TABLE_LEN,
	.shm_len = INSN_SHM_LEN - INSN_TABLE_LEN,
	.num = INSN_ENTRIES,
	.align = 16,
};

int amp_side_up(void)
{
	static const struct amp_rsc_table table =
		AMP_RSC_TABLE_INIT(INSN_SHM_DA + INSN_TABLE_LEN, INSN_SHM_LEN - INSN_TABLE_LEN,
				   0, 0, INSN_ENTRIES, 16, AMP_RSC_ADDR_ANY, AMP_RSC_ADDR_ANY);

	memcpy(insn_shm, &table, sizeof(table));
	return amp_link_rpmsg(&rproc);
}
#else
static uint16_t state[AMP_RPROC_VRINGS][INSN_ENTRIES];
static struct amp_rproc_host host = {
	.mem = insn_shm,
	.mem_da = INSN_SHM_DA,
	.mem_len = INSN_SHM_LEN,
	.state = {state[0], state[1]},
	.state_len = INSN_ENTRIES,
};
static struct amp_vq vq[AMP_RPROC_VRINGS];

/* What a host's link does at every look: has the remote gone? */
static int32_t run(struct amp_runner *r, uint32_t now_ms)
{
	struct amp_rlink *l = amp_rlink_of(r);
	int32_t ms = -1;

	(void)now_ms;
	switch (amp_rproc_host_look(&host)) {
	case AMP_RPROC_DOWN:
		amp_rlink_down(l);
		(void)amp_rproc_host_begin(&host);
		break;
	case AMP_RPROC_UP:
		if (amp_rproc_host_up(&host, vq) == 0)
			amp_rlink_up(l, &vq[AMP_RPROC_TX], &vq[AMP_RPROC_RX], true);
		break;
	case AMP_RPROC_NOTHING:
		break;
	}
	if (l->l.up)
		ms = amp_rlink_turn(l);
	return ms;
}

static void kick(struct amp_runner *r, unsigned queues)
{
	(void)r;
	(void)queues;
}

int amp_side_up(void)
{
	struct amp_rlink *l = amp_rlink_new(0);

	l->l.runner.run = run;
	l->l.runner.untimed = true;
	l->l.runner.arm = amp_rlink_arm;
	l->l.runner.kick_due = amp_rlink_kick_due;
	l->l.runner.kick = kick;
	l->l.runner.stats = amp_rlink_stats;
	amp_runner_add(&l->l.runner);
	return amp_rproc_host_init(&host, 0);
}
#endif
