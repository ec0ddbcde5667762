// SPDX-License-Identifier: BSD-3-Clause
/*
 * The host as a Linux process: the same engine at the device's end of the queues, behind a
 * vhost-user back-end.
 *
 * Theory of operation. Listener, connection and kicks: hosted_server.c.
 *
 * The front-end may stop the queues and start them again when its memory map changes:
 * connections survive that. A new driver begins with SET_FEATURES: that resets them.
 */
#include "../ampsock_config.h"

#if AMPSOCK_HOSTED

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ampsock.h"
#include "ampsock_hosted.h"
#include "../port/posix.h"
#include "../virtio/vdev.h"
#include "../virtio/vhost_user_backend.h"
#include "../wire/le.h"
#include "af_vsock.h"
#include "hosted.h"

#define Q_OUT AMP_HOSTED_OUT /* the guest's receive queue */
#define Q_IN  AMP_HOSTED_IN

struct dev_link {
	struct amp_vlink l; /* first */
	struct amp_hosted_server s;
	uint8_t config[8];
	unsigned running; /* bit per queue */
	bool seqpacket;
};

AMP_OPTIONAL(amp_vlink_stats);

static struct dev_link devs[AMPSOCK_VSOCK_LINKS]; /* l.runner.run: in use */

/* ---- the back-end's hooks ---- */

static int on_features(struct amp_vhost_be *be, uint64_t features)
{
	struct dev_link *d = be->owner;

	amp_vlink_down(&d->l);
	d->seqpacket = (features & AMP_VSOCK_F_SEQPACKET) != 0;
	return features & AMP_VIRTIO_F_VERSION_1 ? 0 : -ENOTSUP;
}

static void queues_changed(struct dev_link *d)
{
	struct amp_vsock *vs = &d->l.vs;

	if (d->running != (1u << Q_IN | 1u << Q_OUT)) {
		amp_vlink_pause(&d->l);
		return;
	}
	vs->in = &d->s.be.q[Q_IN].vq;
	vs->out = &d->s.be.q[Q_OUT].vq;
	if (d->l.up)
		return;
	vs->local_cid = AMP_VSOCK_CID_HOST;
	vs->peer_cid = amp_le32(d->config);
	vs->seqpacket = d->seqpacket;
	amp_vlink_up(&d->l);
	amp_link_change(d->l.index, true);
}

static void on_queue_start(struct amp_vhost_be *be, unsigned q, struct amp_vq *vq)
{
	struct dev_link *d = be->owner;

	(void)vq;
	d->running |= 1u << q;
	queues_changed(d);
}

static void on_queue_stop(struct amp_vhost_be *be, unsigned q, struct amp_vq *vq)
{
	struct dev_link *d = be->owner;

	(void)vq;
	d->running &= ~(1u << q);
	queues_changed(d);
}

static void kicked(struct amp_hosted_server *s, unsigned q)
{
	(void)amp_vhost_be_kicked(&s->be, q);
}

static void on_gone(struct amp_vhost_be *be, int err)
{
	struct dev_link *d = be->owner;

	(void)err;
	amp_hosted_gone(be);
	amp_vlink_down(&d->l);
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

static int32_t dev_run(struct amp_runner *r, uint32_t now_ms)
{
	struct dev_link *d = (struct dev_link *)(void *)r;
	int32_t ms;

	(void)amp_hosted_look(&d->s, now_ms);
	if (!d->l.up)
		return -1;
	ms = amp_vlink_turn(&d->l);
	return amp_hosted_failed(&d->s, ms == AMP_VLINK_BROKEN) ? 0 : ms;
}

static bool dev_arm(struct amp_runner *r, bool on)
{
	struct dev_link *d = (struct dev_link *)(void *)r;
	struct amp_vsock *vs = &d->l.vs;

	if (!d->l.up || !vs->in)
		return false;
	if (!on) {
		amp_vq_disarm(vs->in);
		amp_vq_disarm(vs->out);
		return false;
	}
	return amp_vsock_arm(vs);
}

/* The eventfd never blocks, and may not be closed meanwhile: the kick is sent here. */
static unsigned dev_kick_due(struct amp_runner *r)
{
	struct dev_link *d = (struct dev_link *)(void *)r;

	if (!d->l.up || !d->l.vs.in)
		return 0;
	amp_vlink_flush(&d->l);
	amp_vlink_asked(&d->l);
	for (unsigned q = 0; q < 2; q++) {
		if (&d->s.be.q[q].vq == d->l.vs.in && !amp_vlink_ask_back(&d->l))
			continue;
		if (amp_vq_kick_due(&d->s.be.q[q].vq))
			(void)amp_vhost_be_notify(&d->s.be, q);
	}
	return 0;
}

/* A kick that a sender found due: with the lock after all, for the same reason. */
static void dev_kick(struct amp_runner *r, unsigned queues)
{
	struct dev_link *d = (struct dev_link *)(void *)r;

	(void)queues; /* Q_OUT: no other is asked for */
	amp_port_lock();
	if (d->l.up && d->l.vs.out)
		amp_vhost_be_notify(&d->s.be, Q_OUT);
	amp_port_unlock();
}

/* ---- bring-up ---- */

static struct dev_link *dev_slot(void)
{
	for (unsigned i = AMPSOCK_VSOCK_LINKS; i-- > 0;) {
		if (!amp_vlinks[i] && !devs[i].l.runner.run) {
			devs[i].l.index = (uint8_t)i;
			return &devs[i];
		}
	}
	return NULL;
}

static void set_up(struct dev_link *d, uint32_t guest_cid)
{
	amp_put_le32(d->config, guest_cid);
	d->s.kicked = kicked;
	d->s.be.ops = &be_ops;
	d->s.be.owner = d;
	d->s.be.features = AMP_VSOCK_F_SEQPACKET;
	d->s.be.config = d->config;
	d->s.be.config_len = sizeof(d->config);
}

int amp_link_vsock_device(const char *path, uint32_t guest_cid)
{
	struct dev_link *d;
	int fd;

	if (guest_cid <= AMP_VSOCK_CID_HOST || guest_cid == UINT32_MAX)
		return -EINVAL;
	fd = amp_hosted_listen(path);
	if (fd < 0)
		return fd;
	amp_sigbus_install();
	amp_port_lock();
	d = dev_slot();
	if (d)
		set_up(d, guest_cid);
	if (!d || amp_hosted_serve(&d->s, fd)) {
		amp_port_unlock();
		close(fd);
		unlink(path);
		return -ENOBUFS;
	}
	d->l.runner.run = dev_run;
	d->l.runner.arm = dev_arm;
	d->l.runner.kick_due = dev_kick_due;
	d->l.runner.kick = dev_kick;
	d->l.out_bit = 1u << Q_OUT;
	d->l.runner.stats = amp_vlink_stats;
	amp_vlinks[d->l.index] = &d->l;
	amp_runner_add(&d->l.runner);
	amp_port_unlock();
	return 0;
}

#endif /* AMPSOCK_HOSTED */
