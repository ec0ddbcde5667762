/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * #syscalls:hot preadv2 read write
 * #syscalls close recvfrom recvmsg sendto setsockopt
 */
/*
 * The vhost-user back-end: the connection, queues and notifications.
 *
 * Theory of operation. A message is collected in be->msg with recvmsg(MSG_DONTWAIT),
 * first its header, then exactly its payload, so that descriptors never get ahead of
 * the message they belong to; vhost_user_request.c acts on it.
 *
 * A queue runs when the front-end has started it (KICK), enabled it, and said where it
 * lies. The conditions may come in any order, so every queue is looked at after every
 * message.
 *
 * Nothing here blocks, whatever the front-end does with its end of the descriptors:
 * sockets are used with MSG_DONTWAIT, eventfds read with RWF_NOWAIT. One exception: a call
 * eventfd is set non-blocking, but a front-end that clears this again and fills the counter
 * makes our write() wait, until a signal of the owner's ends it (the proxy's loop has an
 * alarm for that): writes to eventfds know no RWF_NOWAIT. Nor does close() wait for what a TCP socket
 * that somebody slipped in has still to send: SO_LINGER is off before anything else is done with it,
 * and none but AF_UNIX sockets, which do not linger, are kept. Failure is always
 * the whole connection's: the handler returns -errno with be->why set, and
 * amp_vhost_be_fail() stops the queues and tells the owner.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vdev.h"
#include "vhost_user_backend.h"
#include "vhost_user_inner.h"
#include "vring.h"

#define BURST 64 /* messages per call: then the owner's other links get their turn */

int amp_vhost_be_why(struct amp_vhost_be *be, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(be->whybuf, sizeof(be->whybuf), fmt, ap);
	va_end(ap);
	be->why = be->whybuf;
	return err;
}

void amp_vhost_be_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_msg_fds(struct amp_vhost_be *be)
{
	while (be->fd_cnt > 0)
		amp_vhost_be_close(&be->fds[--be->fd_cnt]);
}

/* --- queues --- */

void amp_vhost_be_queue_pause(struct amp_vhost_be *be, unsigned i)
{
	struct amp_vhost_be_queue *q = &be->q[i];

	if (!q->running)
		return;
	q->running = false;
	be->ops->queue_stop(be, i, &q->vq);
	if (amp_vq_kick_due(&q->vq))
		(void)amp_vhost_be_notify(be, i);
	q->base = q->vq.get_idx;
}

/* It starts again only after another KICK message. */
void amp_vhost_be_queue_stop(struct amp_vhost_be *be, unsigned i)
{
	amp_vhost_be_queue_pause(be, i);
	be->q[i].kicked = false;
}

void amp_vhost_be_queues_pause(struct amp_vhost_be *be)
{
	unsigned i;

	for (i = 0; i < be->queues; i++)
		amp_vhost_be_queue_pause(be, i);
}

void amp_vhost_be_kick_drop(struct amp_vhost_be *be, unsigned i)
{
	if (be->q[i].kick_fd >= 0)
		be->ops->kick_fd(be, i, -1);
	amp_vhost_be_close(&be->q[i].kick_fd);
}

/* Virtio 1.2, 2.7: each part whole, or amp_vq would run over its end. */
static int queue_start(struct amp_vhost_be *be, unsigned i)
{
	struct amp_vhost_be_queue *q = &be->q[i];
	struct amp_vq_setup s = {
		.role = AMP_VQ_DEVICE,
		.dir = be->dir[i],
		.num = q->num,
		.event_idx = be->acked & AMP_VIRTIO_F_EVENT_IDX,
		.indirect = be->acked & AMP_VIRTIO_F_INDIRECT_DESC,
		.xlate = {.translate = amp_vhost_be_translate, .ctx = be},
		.start_idx = q->base,
		.order = be->order ? &be->order[i] : NULL,
	};

	if (!(be->acked & AMP_VIRTIO_F_VERSION_1))
		return amp_vhost_be_why(
			be, -ENOTSUP,
			"legacy virtio is not supported: start QEMU with -global "
			"virtio-mmio.force-legacy=false");
	s.desc = amp_vhost_be_user(be, q->desc, 16u * q->num);
	s.avail = amp_vhost_be_user(be, q->avail, 6u + 2u * q->num);
	s.used = amp_vhost_be_user(be, q->used, 6u + 8u * q->num);
	if (!s.desc || !s.avail || !s.used)
		return amp_vhost_be_why(be, -EFAULT, "queue %u: ring outside the shared memory",
					i);
	if (amp_vq_init(&q->vq, &s) < 0)
		return amp_vhost_be_why(be, -EINVAL, "queue %u: misaligned ring", i);
	q->running = true;
	be->ops->queue_start(be, i, &q->vq);
	return 0;
}

int amp_vhost_be_queues_start(struct amp_vhost_be *be)
{
	unsigned i;
	int rc = 0;

	for (i = 0; i < be->queues && rc == 0 && !be->err; i++) {
		struct amp_vhost_be_queue *q = &be->q[i];

		if (!q->running && q->kicked && q->enabled && q->num && q->has_addr &&
		    be->regions && be->has_acked)
			rc = queue_start(be, i);
	}
	return rc;
}

/* --- receiving --- */

/* Of sockets: to close the last descriptor of one waits for nobody (others: ENOTSOCK). */
static void calm(int fd)
{
	static const struct linger off;

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
}

/* Keeps the descriptors of m; more than fit are closed. */
static int take_cmsgs(struct amp_vhost_be *be, struct msghdr *m)
{
	struct cmsghdr *c;
	int rc = 0;

	for (c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t i, cnt = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (i = 0; i < cnt; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			calm(fd);
			if (be->fd_cnt < AMP_VU_REGIONS) {
				be->fds[be->fd_cnt++] = fd;
			} else {
				close(fd);
				rc = -EPROTO;
			}
		}
	}
	if (m->msg_flags & MSG_CTRUNC)
		rc = -EPROTO;
	if (rc < 0)
		return amp_vhost_be_why(
			be, rc, "a message with too many descriptors, or we have no more");
	return 0;
}

/* Bytes received, 0: none now, or -errno. */
static int receive_some(struct amp_vhost_be *be, uint32_t want)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(AMP_VU_REGIONS * sizeof(int))];
	} ctl;
	struct iovec iov = {(uint8_t *)&be->msg + be->have, want};
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &ctl,
		.msg_controllen = sizeof(ctl),
	};
	ssize_t n;
	int rc;

	do {
		n = recvmsg(be->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < 0)
		return amp_vhost_be_why(be, -errno, "the front-end is gone: %s",
					strerror(errno));
	rc = take_cmsgs(be, &m);
	if (rc < 0)
		return rc;
	if (n == 0 && be->have > 0)
		return amp_vhost_be_why(be, -EPROTO, "the front-end is gone in mid-message");
	if (n == 0 && be->has_acked && !be->mapped) /* QEMU without any memory-backend */
		return amp_vhost_be_why(be, -EFAULT, AMP_VHOST_NOT_SHARED);
	if (n == 0)
		return amp_vhost_be_why(be, -ENOTCONN, "the front-end closed the connection");
	be->have += (uint32_t)n;
	return (int)n;
}

/* 1: be->msg is whole; 0: not yet; or -errno. */
static int receive(struct amp_vhost_be *be)
{
	for (;;) {
		uint32_t want = AMP_VU_HDR_LEN;
		int rc;

		if (be->have >= AMP_VU_HDR_LEN) {
			/* "Header": anything else is another protocol, or nonsense */
			if ((be->msg.hdr.flags & AMP_VU_VERSION_MASK) != AMP_VU_VERSION ||
			    (be->msg.hdr.flags & AMP_VU_REPLY))
				return amp_vhost_be_why(be, -EPROTO,
							"not a vhost-user request (flags 0x%x)",
							be->msg.hdr.flags);
			if (be->msg.hdr.size > sizeof(be->msg.u))
				return amp_vhost_be_why(be, -EMSGSIZE,
							"request %u with %u bytes",
							be->msg.hdr.req, be->msg.hdr.size);
			want += be->msg.hdr.size;
			if (be->have == want)
				return 1;
		}
		rc = receive_some(be, want - be->have);
		if (rc <= 0)
			return rc;
	}
}

/* --- the door --- */

static void finish(struct amp_vhost_be *be, int err)
{
	unsigned i;

	be->over = true;
	if (be->guard.dead)
		amp_vhost_be_why(be, -EFAULT,
				 "the front-end took away memory that it had shared");
	be->err = be->guard.dead ? -EFAULT : err;
	amp_vhost_be_queues_pause(be);
	for (i = 0; i < be->queues; i++)
		amp_vhost_be_kick_drop(be, i);
	be->ops->gone(be, be->err == -ENOTCONN ? 0 : be->err);
}

int amp_vhost_be_readable(struct amp_vhost_be *be)
{
	int rc = 0, n;

	if (be->fd < 0 || be->over)
		return -ENOTCONN;
	be->busy = true;
	for (n = 0; n < BURST && rc == 0 && !be->err && !be->guard.dead; n++) {
		rc = receive(be);
		if (rc <= 0)
			break;
		rc = amp_vhost_be_handle(be);
		close_msg_fds(be);
		be->have = 0;
	}
	be->busy = false;
	if (rc == 0)
		rc = be->guard.dead ? -EFAULT : be->err;
	if (rc < 0)
		finish(be, rc);
	return rc;
}

void amp_vhost_be_fail(struct amp_vhost_be *be, int err, const char *why)
{
	if (be->fd < 0 || be->over || be->err)
		return;
	if (why != be->whybuf)
		amp_vhost_be_why(be, err, "%s", why ? why : strerror(-err));
	be->err = err ? err : -ENOTCONN;
	if (!be->busy)
		finish(be, be->err);
}

/*
 * QEMU without share=on hands out the file, but the guest writes to a private copy of it:
 * for us every ring stays as empty as it was born. be->blank says that all of the memory
 * looked like that at first; a kick for a ring without a trace of use settles it.
 */
static bool ring_untouched(const struct amp_vq *vq)
{
	unsigned i;

	if (vq->avail->idx != 0 || vq->get_idx != 0)
		return false;
	for (i = 0; i < vq->num; i++) {
		if (vq->desc[i].addr != 0)
			return false;
	}
	return true;
}

static ssize_t drain(const struct amp_vhost_be_queue *q)
{
	uint64_t room[32];
	struct iovec iov = {room, sizeof(room)};
	ssize_t n;

	if (q->kick_sock)
		return recv(q->kick_fd, room, sizeof(room), MSG_DONTWAIT);
	/* not read(): the front-end can make its description blocking and empty it first */
	n = preadv2(q->kick_fd, &iov, 1, -1, RWF_NOWAIT);
	if (n < 0 && errno == EOPNOTSUPP) /* before Linux 5.8 */
		n = read(q->kick_fd, room, sizeof(room));
	return n;
}

int amp_vhost_be_kicked(struct amp_vhost_be *be, unsigned i)
{
	struct amp_vhost_be_queue *q;
	ssize_t n;

	if (be->over || i >= be->queues || be->q[i].kick_fd < 0)
		return -ENOTCONN;
	q = &be->q[i];
	n = drain(q);
	if (n == 0) { /* a socket whose other end is closed: readable for ever */
		amp_vhost_be_kick_drop(be, i);
	} else if (n < 0 && errno != EAGAIN) { /* EINTR: only a read that had to wait */
		amp_vhost_be_fail(be, -EIO, "a kick descriptor that cannot be read");
		return -EIO;
	}
	if (be->blank && q->running) {
		be->blank = false;
		if (ring_untouched(&q->vq)) {
			amp_vhost_be_fail(be, -EFAULT, AMP_VHOST_NOT_SHARED);
			return -EFAULT;
		}
	}
	return 0;
}

int amp_vhost_be_notify(struct amp_vhost_be *be, unsigned i)
{
	static const uint64_t one = 1;
	const struct amp_vhost_be_queue *q = &be->q[i];
	ssize_t n;

	if (q->call_fd < 0)
		return 0;
	/* full: notifications enough wait there already. EPIPE: hang-up follows on be->fd. */
	n = q->call_sock ? send(q->call_fd, &one, sizeof(one), MSG_DONTWAIT | MSG_NOSIGNAL)
			 : write(q->call_fd, &one, sizeof(one));
	return n < 0 && errno == EINTR ? -EINTR : 0;
}

int amp_vhost_be_init(struct amp_vhost_be *be)
{
	unsigned i;

	if (!be->ops || !be->dir || be->queues == 0 || be->queues > AMP_VHOST_QUEUES)
		return -EINVAL;
	be->fd = be->req_fd = -1;
	be->fd_cnt = be->regions = 0;
	memset(&be->guard, 0, sizeof(be->guard));
	be->why = "";
	memset(be->q, 0, sizeof(be->q));
	for (i = 0; i < AMP_VHOST_QUEUES; i++)
		be->q[i].kick_fd = be->q[i].call_fd = -1;
	amp_vhost_be_reset(be);
	return 0;
}

int amp_vhost_be_start(struct amp_vhost_be *be, int fd)
{
	int rc = be->fd >= 0 ? -EBUSY : amp_sigbus_enter(&be->guard);

	if (rc < 0)
		close(fd);
	else
		be->fd = fd;
	be->conn_seq = ++be->seq;
	return rc;
}

void amp_vhost_be_reset(struct amp_vhost_be *be)
{
	unsigned i;

	be->over = true; /* hooks below can fail it no more */
	for (i = 0; i < be->queues; i++) {
		amp_vhost_be_queue_pause(be, i);
		amp_vhost_be_kick_drop(be, i);
		amp_vhost_be_close(&be->q[i].call_fd);
	}
	for (i = 0; i < be->regions; i++)
		amp_vhost_be_close(&be->region[i].fd);
	memset(be->q, 0, sizeof(be->q));
	for (i = 0; i < AMP_VHOST_QUEUES; i++)
		be->q[i].kick_fd = be->q[i].call_fd = -1;
	close_msg_fds(be);
	amp_vhost_be_close(&be->req_fd);
	amp_vhost_be_close(&be->fd);
	be->regions = be->last = 0;
	amp_sigbus_leave(&be->guard);
	memset(be->region, 0, sizeof(be->region));
	be->acked = be->proto = 0;
	be->has_acked = be->over = be->busy = be->blank = be->mapped = false;
	be->have = 0;
	be->err = 0;
	be->guard.dead = 0;
}
