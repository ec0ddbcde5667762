// SPDX-License-Identifier: BSD-3-Clause
/*
 * The remote core as a Linux process, without a resource table: the vrings are those of a
 * vhost-user front-end whose virtio device 7 we are. The front-end is a kernel's: User-mode
 * Linux brings its rpmsg bus up on us as remoteproc would on a core.
 *
 * Theory of operation. Listener, connection and kicks: vsock/hosted_server.c.
 *
 * There is no epoch, and vhost-user does not tell DRIVER_OK to us (virtio_uml does not
 * know the STATUS message). The queues are enabled before the driver has its name service: a
 * used buffer would be an interrupt into a driver that is not ready, and an announcement lost. So
 * the link is up at the driver's first kick of its receive queue, which virtio_rpmsg_bus
 * sends when it has put the buffers there, after DRIVER_OK (virtio 1.2, 3.1.1: before it no
 * buffer is used). A front-end that gives no kick descriptor wants to be polled: it is up
 * when its queues are.
 *
 * What ends a life: a queue stops, the driver begins anew (SET_FEATURES), the front-end hangs
 * up. The driver has forgotten its channels then, and hears all announcements again.
 */
#include "../ampsock_config.h"

#if AMPSOCK_HOSTED && AMPSOCK_RPMSG

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ampsock.h"
#include "ampsock_hosted.h"
#include "../port/port.h"
#include "../port/posix.h"
#include "../virtio/vdev.h"
#include "../virtio/vhost_user_backend.h"
#include "../vsock/hosted.h"
#include "rlink_life.h"

AMP_OPTIONAL(amp_rlink_stats);

#define Q_OUT AMP_HOSTED_OUT /* the driver's receive queue */
#define Q_IN  AMP_HOSTED_IN

struct rdev {
	struct amp_hosted_server s; /* first */
	unsigned running;	    /* bit per queue */
	bool kicked;		    /* the driver's receive queue: DRIVER_OK */
};

static struct rdev rdevs[AMPSOCK_RPMSG]; /* l; by link */

static struct amp_rlink *link_of(const struct rdev *d)
{
	return &amp_rlinks[AMPSOCK_RPMSG == 1 ? 0 : d - rdevs];
}

/* ---- the back-end's hooks ---- */

static void down(struct rdev *d)
{
	d->kicked = false;
	amp_rlink_down(link_of(d));
}

static int on_features(struct amp_vhost_be *be, uint64_t features)
{
	down(be->owner);
	return features & AMP_VIRTIO_F_VERSION_1 ? 0 : -ENOTSUP;
}

static void up_if_ready(struct rdev *d)
{
	struct amp_rlink *l = link_of(d);

	if (l->l.up || d->running != (1u << Q_IN | 1u << Q_OUT))
		return;
	if (!d->kicked && d->s.be.q[Q_OUT].kick_fd >= 0)
		return;
	amp_rlink_up(l, &d->s.be.q[Q_IN].vq, &d->s.be.q[Q_OUT].vq,
		     d->s.be.acked & AMP_RPMSG_F_NS);
}

static void on_queue_start(struct amp_vhost_be *be, unsigned q, struct amp_vq *vq)
{
	struct rdev *d = be->owner;

	(void)vq;
	d->running |= 1u << q;
	up_if_ready(d);
}

/* Held buffers go back with their lives: the driver that stops a queue takes all of them. */
static void on_queue_stop(struct amp_vhost_be *be, unsigned q, struct amp_vq *vq)
{
	struct rdev *d = be->owner;

	(void)vq;
	d->running &= ~(1u << q);
	down(d);
}

static void kicked(struct amp_hosted_server *s, unsigned q)
{
	struct rdev *d = (struct rdev *)(void *)s;

	if (amp_vhost_be_kicked(&s->be, q) || q != Q_OUT)
		return;
	d->kicked = true;
	up_if_ready(d);
}

static void on_gone(struct amp_vhost_be *be, int err)
{
	(void)err;
	amp_hosted_gone(be);
	down(be->owner);
	amp_vhost_be_reset(be);
}

static const struct amp_vhost_be_ops be_ops = {
	.features = on_features,
	.queue_start = on_queue_start,
	.queue_stop = on_queue_stop,
	.kick_fd = amp_hosted_kick_fd,
	.gone = on_gone,
};

/* ---- the runner ---- */

/* What a thread that never sleeps does not see otherwise. */
static void look(struct rdev *d, uint32_t now_ms)
{
	struct pollfd p = {.events = POLLIN};

	if (!amp_hosted_look(&d->s, now_ms))
		return;
	p.fd = d->s.be.q[Q_OUT].kick_fd; /* not the one from before a request has changed it */
	if (!d->kicked && d->running && p.fd >= 0 && poll(&p, 1, 0) > 0)
		kicked(&d->s, Q_OUT);
}

static int32_t dev_run(struct amp_runner *r, uint32_t now_ms)
{
	struct amp_rlink *l = amp_rlink_of(r);
	struct rdev *d = &rdevs[amp_rlink_index(l)];
	int32_t ms;

	look(d, now_ms);
	ms = amp_rlink_turn(l);
	if (!amp_rlink_is_up(l))
		return ms;
	return amp_hosted_failed(&d->s, ms == AMP_VLINK_BROKEN) ? 0 : ms;
}

static void notify(struct rdev *d, unsigned bits)
{
	if (bits & AMP_RLINK_IN)
		(void)amp_vhost_be_notify(&d->s.be, Q_IN);
	if (bits & AMP_RLINK_OUT)
		(void)amp_vhost_be_notify(&d->s.be, Q_OUT);
}

/* The descriptor never blocks, and may not be closed meanwhile: the kick is sent here. */
static unsigned dev_kick_due(struct amp_runner *r)
{
	struct amp_rlink *l = amp_rlink_of(r);

	notify(&rdevs[amp_rlink_index(l)], amp_rlink_kick_due(r));
	return 0;
}

/* One that a message's straight way has found due: with the lock after all, likewise. */
static void dev_kick(struct amp_runner *r, unsigned queues)
{
	struct amp_rlink *l = amp_rlink_of(r);

	amp_port_lock();
	if (l->l.up)
		notify(&rdevs[amp_rlink_index(l)], queues);
	amp_port_unlock();
}

/* ---- bring-up ---- */

static struct rdev *dev_slot(void)
{
	for (unsigned i = 0; i < AMPSOCK_RPMSG; i++) {
		if (!amp_rlink_exists(i))
			return &rdevs[i];
	}
	return NULL;
}

static void set_up(struct rdev *d)
{
	d->s.kicked = kicked;
	d->s.be.ops = &be_ops;
	d->s.be.owner = d;
	d->s.be.features = AMP_RPMSG_F_NS;
}

int amp_link_rpmsg_device(const char *path)
{
	int fd = amp_hosted_listen(path);
	struct amp_rlink *l;
	struct rdev *d;

	if (fd < 0)
		return fd;
	amp_sigbus_install();
	amp_port_lock();
	d = dev_slot();
	if (d)
		set_up(d);
	if (!d || amp_hosted_serve(&d->s, fd)) {
		amp_port_unlock();
		close(fd);
		unlink(path);
		return -ENOBUFS;
	}
	l = amp_rlink_new((unsigned)(d - rdevs));
	l->l.runner.run = dev_run;
	l->l.runner.arm = amp_rlink_arm;
	l->l.runner.kick_due = dev_kick_due;
	l->l.runner.kick = dev_kick;
	l->l.runner.stats = amp_rlink_stats;
	(void)amp_rlink_door(l); /* a dynamic address: there is one */
	amp_runner_add(&l->l.runner);
	amp_port_unlock();
	amp_port_wake();
	return 0;
}

#endif /* AMPSOCK_HOSTED && AMPSOCK_RPMSG */
