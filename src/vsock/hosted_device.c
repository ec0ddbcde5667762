// SPDX-License-Identifier: BSD-3-Clause
/*
 * The host as a Linux process: the same engine at the device's end of the queues, behind a
 * vhost-user back-end.
 *
 * Theory of operation. A listening socket and then one connection are watched by the port;
 * whoever leads there calls the drains below with the lock held. A thread that never sleeps
 * never leads, so the runner looks at the sockets by itself, too, once in a millisecond.
 *
 * The front-end may stop the queues and start them again when its memory map changes:
 * connections survive that. A new driver begins with SET_FEATURES: that resets them.
 */
#include "../ampsock_config.h"

#if AMPSOCK_HOSTED

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ampsock.h"
#include "ampsock_hosted.h"
#include "../port/posix.h"
#include "../virtio/vdev.h"
#include "../virtio/vhost_user_backend.h"
#include "../wire/le.h"
#include "af_vsock.h"
#include "hosted.h"

#define Q_OUT 0u /* the guest's receive queue */
#define Q_IN  1u

struct dev_link {
	struct amp_vlink l; /* first */
	struct amp_vhost_be be;
	uint8_t config[8];
	int listen_fd;
	uint32_t looked_ms;
	unsigned running; /* bit per queue */
	bool seqpacket;
};

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
	vs->in = &d->be.q[Q_IN].vq;
	vs->out = &d->be.q[Q_OUT].vq;
	if (d->l.up)
		return;
	vs->local_cid = AMP_VSOCK_CID_HOST;
	vs->peer_cid = amp_le32(d->config);
	vs->seqpacket = d->seqpacket;
	amp_vlink_up(&d->l);
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

static void kick_drain(int fd)
{
	for (unsigned i = 0; i < AMPSOCK_VSOCK_LINKS; i++) {
		for (unsigned q = 0; devs[i].l.runner.run && q < 2; q++) {
			if (devs[i].be.q[q].kick_fd == fd)
				(void)amp_vhost_be_kicked(&devs[i].be, q);
		}
	}
}

static void on_kick_fd(struct amp_vhost_be *be, unsigned q, int fd)
{
	if (be->q[q].kick_fd >= 0)
		amp_port_unwatch(be->q[q].kick_fd);
	if (fd >= 0 && amp_port_watch(fd, kick_drain))
		amp_log("vsock device: too many descriptors to watch");
}

static void on_gone(struct amp_vhost_be *be, int err)
{
	struct dev_link *d = be->owner;

	(void)err;
	if (be->why)
		amp_log(be->why);
	amp_port_unwatch(be->fd);
	amp_vlink_down(&d->l);
	amp_vhost_be_reset(be);
}

static const struct amp_vhost_be_ops be_ops = {
	.features = on_features,
	.queue_start = on_queue_start,
	.queue_stop = on_queue_stop,
	.kick_fd = on_kick_fd,
	.gone = on_gone,
};

/* ---- descriptors ---- */

static void conn_drain(int fd)
{
	for (unsigned i = 0; i < AMPSOCK_VSOCK_LINKS; i++) {
		if (devs[i].l.runner.run && devs[i].be.fd == fd) {
			(void)amp_vhost_be_readable(&devs[i].be);
			return;
		}
	}
}

static void take_connection(struct dev_link *d)
{
	int fd = accept4(d->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (d->be.fd >= 0) {
		amp_log("vsock device: a second front-end is turned away");
		close(fd);
	} else if (amp_vhost_be_start(&d->be, fd) == 0) {
		(void)amp_port_watch(fd, conn_drain);
		(void)amp_vhost_be_readable(&d->be);
	}
}

static void listen_drain(int fd)
{
	for (unsigned i = 0; i < AMPSOCK_VSOCK_LINKS; i++) {
		if (devs[i].l.runner.run && devs[i].listen_fd == fd)
			take_connection(&devs[i]);
	}
}

/* ---- the runner ---- */

static int32_t dev_run(struct amp_runner *r, uint32_t now_ms)
{
	struct dev_link *d = (struct dev_link *)(void *)r;
	const char *why;
	bool broken;
	int32_t ms;

	if (now_ms != d->looked_ms) {
		d->looked_ms = now_ms;
		if (d->be.fd < 0)
			take_connection(d);
		else
			(void)amp_vhost_be_readable(&d->be);
	}
	if (!d->l.up)
		return -1;
	ms = amp_vlink_turn(&d->l, &broken);
	if (amp_vhost_be_dead(&d->be)) {
		amp_vhost_be_fail(&d->be, -EFAULT, NULL);
		return 0;
	}
	if (broken) {
		why = d->be.q[Q_IN].vq.broken ? d->be.q[Q_IN].vq.why : d->be.q[Q_OUT].vq.why;
		amp_vhost_be_fail(&d->be, -EBADMSG, why);
		return 0;
	}
	return ms;
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
	d->l.in_cnt = 0;
	for (unsigned q = 0; q < 2; q++) {
		if (amp_vq_kick_due(&d->be.q[q].vq))
			amp_vhost_be_notify(&d->be, q);
	}
	return 0;
}

/* ---- bring-up ---- */

int amp_hosted_listen(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	const struct sockaddr *at = (const struct sockaddr *)&sun;
	size_t len = strlen(path);
	struct stat st;
	int fd, r;

	if (len >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	memcpy(sun.sun_path, path, len);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode) && connect(fd, at, sizeof(sun)) < 0 &&
	    errno == ECONNREFUSED)
		unlink(path);
	if (bind(fd, at, sizeof(sun)) < 0 || listen(fd, 4) < 0) {
		r = errno == EINVAL || errno == EISCONN ? -EADDRINUSE : -errno;
		close(fd);
		return r;
	}
	return fd;
}

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

int amp_link_vsock_device(const char *path, uint32_t guest_cid)
{
	static const enum amp_vq_dir dir[2] = {[Q_OUT] = AMP_VQ_OUT, [Q_IN] = AMP_VQ_IN};
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
	if (!d || amp_port_watch(fd, listen_drain)) {
		amp_port_unlock();
		close(fd);
		return -ENOBUFS;
	}
	amp_put_le32(d->config, guest_cid);
	d->listen_fd = fd;
	d->be.ops = &be_ops;
	d->be.owner = d;
	d->be.features = AMP_VSOCK_F_SEQPACKET;
	d->be.queues = 2;
	d->be.dir = dir;
	d->be.config = d->config;
	d->be.config_len = sizeof(d->config);
	(void)amp_vhost_be_init(&d->be);
	d->l.runner.run = dev_run;
	d->l.runner.arm = dev_arm;
	d->l.runner.kick_due = dev_kick_due;
	d->l.runner.stats = amp_vlink_stats;
	amp_vlinks[d->l.index] = &d->l;
	amp_runner_add(&d->l.runner);
	amp_port_unlock();
	return 0;
}

#endif /* AMPSOCK_HOSTED */
