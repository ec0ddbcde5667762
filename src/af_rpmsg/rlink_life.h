/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What brings a link up, runs it and sees it go down: inlined into the one file of a program that does
 * (link_remote.c, hosted_host.c, hosted_device.c). rlink.c has the theory of operation.
 */
#ifndef AMP_RLINK_LIFE_H
#define AMP_RLINK_LIFE_H

#include "ampsock.h"
#include "af_rpmsg.h"

#if AMPSOCK_RPMSG

/* The queues work (DRIVER_OK), its runner is added. ns: VIRTIO_RPMSG_F_NS. */
static inline void amp_rlink_up(struct amp_rlink *l, struct amp_vq *in, struct amp_vq *out,
				bool ns)
{
	amp_rpmsg_up(&l->bus, in, out, ns);
	l->out_cnt = amp_vq_avail(out);
	l->l.up = true;
	amp_runner_due(&l->l.runner); /* announcements */
	amp_link_change(amp_rlink_id(l), true);
}

/* Every connection on it is reset; amp_link_change(). Nothing when it is down already. */
static inline void amp_rlink_down(struct amp_rlink *l)
{
	if (!amp_rlink_is_up(l))
		return;
	l->l.up = false;
	memset(l->names, 0, sizeof(l->names));
	if (AMPSOCK_WHY)
		l->said = 0;
	amp_counts.kicks +=
		l->bus.in->kicks + l->bus.out->kicks; /* the next queues count anew */
	/* first the bus, so that nothing is opened anew from the hooks */
	amp_rpmsg_down(&l->bus);
	amp_rstream_down(&l->rs);
	amp_rsock_link_down(l);
	amp_counts.link_resets++;
	amp_link_change(amp_rlink_id(l), false);
}

/* What the streams owe. What found no buffer has the next ones. */
static inline void amp_rlink_flush(struct amp_rlink *l)
{
	(void)amp_rstream_run(&l->rs);
	if (AMP_RPMSG_OTHERS) /* else that has said so */
		l->bus.queued = l->rs.vs.owed_head || l->rs.stray_cnt;
}

/* The same where speed matters: no call is quicker than one that finds nothing. */
static inline void amp_rlink_flush_owed(struct amp_rlink *l)
{
	if (!AMPSOCK_FAST || l->rs.vs.owed_head || l->rs.stray_cnt)
		amp_rlink_flush(l);
}

/* Is a queue of it, which is up, broken? Of a bus that does not say so itself. */
static inline bool amp_rlink_is_broken(const struct amp_rlink *l)
{
	return amp_rlink_is_up(l) && (l->bus.in->broken || l->bus.out->broken);
}

/* amp_runner.arm */
static inline bool amp_rlink_arm(struct amp_runner *r, bool on)
{
	struct amp_rlink *l = amp_rlink_of(r);

	(void)on;
	if (!amp_rlink_is_up(l))
		return false;
	/* a poll() that found no buffer has asked the engine, not the bus */
	if (AMP_RPMSG_OTHERS)
		l->bus.tx_starved |= l->rs.vs.path_starved;
	return amp_rpmsg_arm(&l->bus);
}

/* amp_runner.kick_due: AMP_RLINK_IN, AMP_RLINK_OUT */
static inline unsigned amp_rlink_kick_due(struct amp_runner *r)
{
	struct amp_rlink *l = amp_rlink_of(r);
	unsigned bits = 0;

	if (!amp_rlink_is_up(l))
		return 0;
	(void)amp_rpmsg_run(&l->bus, 0); /* announcements; a broken ring is the next turn's */
	amp_rlink_flush_owed(l);
	if ((amp_vlink_ask_back(&l->l) || amp_rlink_many_back(l)) && amp_vq_kick_due(l->bus.in))
		bits |= AMP_RLINK_IN;
	if (amp_vq_kick_due(l->bus.out))
		bits |= AMP_RLINK_OUT;
	return bits;
}

#endif /* AMPSOCK_RPMSG */
#endif /* AMP_RLINK_LIFE_H */
