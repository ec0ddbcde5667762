// SPDX-License-Identifier: BSD-3-Clause
/*
 * An rpmsg link whose remote we are: the vdev of a resource table, the device's end of its
 * two vrings.
 *
 * Theory of operation
 *
 * What the host does with the link is in memory, and every turn looks at it (remoteproc.c);
 * kicks only make turns happen. DRIVER_OK: the vrings are where the table says, and the
 * link is up. DRIVER_OK gone, or the host asks for another life: everything of this one is
 * reset, and the host is answered. Rings that it breaks end the life from our side.
 */
#include <errno.h>
#include <string.h>

#include "ampsock.h"
#include "../virtio/remoteproc.h"
#include "rlink_life.h"

#if AMPSOCK_RPMSG && AMPSOCK_VQ_DEVICE

AMP_OPTIONAL(amp_rlink_stats);

struct remote {
	struct amp_rproc *rp; /* NULL: free slot */
	bool answer;	      /* the host is to look at what we wrote: a kick is due */
	struct amp_vq q[AMP_RPROC_VRINGS];
};

/* Its registers are not saved for one kick. */
#if AMPSOCK_FAST
#define REMOTE_OUTLINE __attribute__((noinline))
#else
#define REMOTE_OUTLINE inline
#endif

static struct remote remotes[AMPSOCK_RPMSG]; /* l */

static struct remote *remote_of(struct amp_runner *r)
{
	return &remotes[amp_rlink_index(amp_rlink_of(r))];
}

/* Another life: nothing is up here, and the host can see it. */
static __attribute__((noinline)) void begin(struct amp_rlink *l)
{
	struct remote *m = &remotes[amp_rlink_index(l)];

	AMP_FORGET(m);
	amp_rlink_down(l);
	amp_rproc_boot(m->rp);
	if (AMP_KICK_AT_ONCE) {
		m->rp->ops->notify(m->rp, AMP_RPROC_TX);
		return;
	}
	m->answer = true;
	amp_runner_due(&l->l.runner);
}

/*
 * rpmsg-lite's master keeps the buffers that it may send in the used ring from the beginning, as
 * if they had come back: no other host starts with a used index. It marks them as buffers
 * that it receives (WRITE), and suppresses notifications of both vrings once and for all,
 * which its own remotes never look at.
 *
 * OpenAMP's host (which has no epochs) accepts every feature that a table offers, the event index,
 * too, and then never writes the event at which it wants to be notified of messages: it stays 0.
 * Linux, who does write it, passes 0 once in 65,536 messages.
 */
static void see_host(struct remote *m)
{
	bool lite = m->q[AMP_RPROC_RX].skew != 0;

	m->q[AMP_RPROC_RX].any_dir = lite;
	m->q[AMP_RPROC_TX].eager = lite || (AMPSOCK_RPMSG_EVENT_IDX && !m->rp->epoch &&
					    m->q[AMP_RPROC_TX].event_idx);
}

static void served(struct amp_rlink *l, struct remote *m)
{
	for (unsigned i = 0; i < AMP_RPROC_VRINGS; i++) {
		if (amp_rproc_queue(m->rp, i, &m->q[i])) {
			amp_explain("rpmsg: vrings beyond the shared memory, or askew");
			return;
		}
	}
	see_host(m);
	amp_rlink_up(l, &m->q[AMP_RPROC_RX], &m->q[AMP_RPROC_TX],
		     amp_rproc_features(m->rp) & AMP_RPMSG_F_NS);
}

int32_t amp_remote_run(struct amp_runner *r, uint32_t now_ms)
{
	struct amp_rlink *l = amp_rlink_of(r);
	struct remote *m = remote_of(r);
	enum amp_rproc_event ev;
	int32_t ms;

	AMP_FORGET(m);
	AMP_FORGET(l);
	(void)now_ms;
	/* again after each, but not for ever: a host may change its mind all the time */
	for (int i = 0; i < 3 && (ev = amp_rproc_look(m->rp)) != AMP_RPROC_NOTHING; i++) {
		if (ev == AMP_RPROC_UP)
			served(l, m);
		else
			begin(l);
	}
	ms = amp_rlink_turn(l);
	if (AMP_RPMSG_PLAIN ? amp_rlink_is_broken(l) : ms == AMP_VLINK_BROKEN)
		begin(l);
	return ms;
}

static REMOTE_OUTLINE void kick_all(struct amp_rproc *rp, unsigned queues)
{
	if (queues & AMP_RLINK_OUT)
		rp->ops->notify(rp, AMP_RPROC_TX);
	if (queues & AMP_RLINK_IN)
		rp->ops->notify(rp, AMP_RPROC_RX);
}

#if AMP_KICK_AT_ONCE
static inline void begun(struct amp_runner *r)
{
	(void)r; /* and the host has heard of it */
	amp_port_unlock();
}

unsigned amp_remote_kick_due(struct amp_runner *r)
{
	unsigned bits = amp_rlink_kick_due(r);

	AMP_FORGET(bits);
	kick_all(remote_of(r)->rp, bits);
	return 0;
}
#else
void amp_remote_kick(struct amp_runner *r, unsigned queues)
{
	struct amp_rproc *rp = remote_of(r)->rp;

	if (AMPSOCK_FAST && queues == AMP_RLINK_OUT)
		rp->ops->notify(rp, AMP_RPROC_TX);
	else
		kick_all(rp, queues);
}

unsigned amp_remote_kick_due(struct amp_runner *r)
{
	struct remote *m = remote_of(r);
	unsigned bits = amp_rlink_kick_due(r);

	if (m->answer)
		bits |= AMP_RLINK_OUT;
	m->answer = false;
	return bits;
}

static inline void begun(struct amp_runner *r)
{
	unsigned kicks = amp_remote_kick_due(r);

	amp_port_unlock();
	amp_remote_kick(r, kicks);
}
#endif

#if AMP_ONE_RUNNER
bool amp_remote_arm(struct amp_runner *r, bool on)
{
	return amp_rlink_arm(r, on);
}

static inline void init_runner(struct amp_runner *r)
{
	(void)r;
}
#else
#if AMP_KICK_AT_ONCE
static inline void init_kick(struct amp_runner *r)
{
	(void)r;
}
#else
static inline void init_kick(struct amp_runner *r)
{
	r->kick = amp_remote_kick;
}
#endif

static void init_runner(struct amp_runner *r)
{
	r->run = amp_remote_run;
	r->arm = amp_rlink_arm;
	r->kick_due = amp_remote_kick_due;
	init_kick(r);
}
#endif

/* Its slot from before, or a free one that no other kind of link has. */
static int slot_for(const struct amp_rproc *rp)
{
	for (int i = 0; i < AMPSOCK_RPMSG; i++) {
		if (remotes[i].rp == rp)
			return i;
	}
	for (int i = 0; i < AMPSOCK_RPMSG; i++) {
		if (!amp_rlink_exists((unsigned)i))
			return i;
	}
	return -ENOBUFS;
}

static bool possible(const struct amp_rproc *rp)
{
	/* of a file that was compiled with another AMPSOCK_RPMSG_EVENT_IDX: a host that takes it waits
	 * to be asked for kicks where nobody here would */
	if (!AMPSOCK_RPMSG_EVENT_IDX &&
	    (rp->table->vdev.dfeatures & (uint32_t)AMP_VIRTIO_F_EVENT_IDX)) {
		amp_explain("rpmsg: the table offers the event index, the library has none");
		return false;
	}
	return AMP_IS_POW2(rp->num) && rp->num <= 1024 && rp->align >= 4 &&
	       AMP_IS_POW2(rp->align) && !(((uintptr_t)rp->shm | (uint32_t)rp->shm_da) & 15);
}

int amp_link_rpmsg(struct amp_rproc *rp)
{
	struct amp_rlink *l;
	int i;

	if (!possible(rp))
		return -EINVAL;
	amp_port_lock();
	i = slot_for(rp);
	if (i < 0) {
		amp_port_unlock();
		return i;
	}
	l = amp_rlink_new((unsigned)i);
	remotes[i].rp = rp;
	init_runner(&l->l.runner);
	l->l.runner.untimed = true;
	l->l.runner.stats = amp_rlink_stats;
	amp_rlink_door(l);
	amp_runner_add(&l->l.runner);
	begin(l);
	begun(&l->l.runner);
	amp_port_wake(); /* who waits for the link looks again */
	return 0;
}

#endif /* AMPSOCK_RPMSG && AMPSOCK_VQ_DEVICE */
