/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user front-end: a struct amp_vdev whose device is another process.
 *
 * Theory of operation. The handshake and everything that vdev_ops asks for are plain
 * requests on a blocking socket with a time-out; where the back-end offers REPLY_ACK
 * each is acknowledged before we go on. The shared memory is sealed against shrinking,
 * so that no mistake of ours can raise SIGBUS in the back-end. After set-up the socket
 * is silent: the only thing that it can still say is that the back-end is gone. That
 * wakes the stack, and fe_events() then looks, at most once in a millisecond, because
 * it is asked at every turn of the stack.
 *
 * Whatever goes wrong on the socket marks the device gone; nothing is tried twice.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "../port/port.h"
#include "../port/posix.h"
#include "vhost_user_frontend.h"
#include "vhost_user_msg.h"

#define REPLY_S	 5 /* a back-end that takes longer is dead */
#define NUM_MAX	 1024u
#define PAGE_LEN 4096u

#define PROTO_WANTED (AMP_VU_PROTO_MQ | AMP_VU_PROTO_REPLY_ACK | AMP_VU_PROTO_CONFIG)

static struct amp_vhost_fe *fe_of(struct amp_vdev *vd)
{
	return (struct amp_vhost_fe *)vd;
}

/* --- requests --- */

static int lost(struct amp_vhost_fe *fe, int rc)
{
	fe->gone = true;
	return rc;
}

static int send_msg(struct amp_vhost_fe *fe, const struct amp_vu_msg *msg, int fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} ctl = {.room = {0}};
	struct iovec iov = {(void *)(uintptr_t)msg, AMP_VU_HDR_LEN + msg->hdr.size};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (fd >= 0) {
		struct cmsghdr *c;

		m.msg_control = &ctl;
		m.msg_controllen = sizeof(ctl);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	do {
		n = sendmsg(fe->fd, &m, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)iov.iov_len ? 0 : lost(fe, -EPIPE);
}

static int recv_all(struct amp_vhost_fe *fe, void *dst, size_t len)
{
	uint8_t *p = dst;

	while (len > 0) {
		ssize_t n = recv(fe->fd, p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return lost(fe, n < 0 && errno == EAGAIN ? -ETIMEDOUT : -EPIPE);
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The answer to req, which replaces *msg. Its size is for the caller to check. */
static int recv_reply(struct amp_vhost_fe *fe, uint32_t req, struct amp_vu_msg *msg)
{
	int rc = recv_all(fe, &msg->hdr, AMP_VU_HDR_LEN);

	if (rc < 0)
		return rc;
	/* "Header": version 1, reply bit; bounded before it is used as a length */
	if (msg->hdr.req != req || msg->hdr.size > sizeof(msg->u) ||
	    (msg->hdr.flags & (AMP_VU_VERSION_MASK | AMP_VU_REPLY)) !=
		    (AMP_VU_VERSION | AMP_VU_REPLY))
		return lost(fe, -EPROTO);
	return recv_all(fe, &msg->u, msg->hdr.size);
}

/* A request without an answer of its own. fd -1: none. -ENOTSUP: the back-end refused. */
static int tell(struct amp_vhost_fe *fe, uint32_t req, struct amp_vu_msg *msg, uint32_t len,
		int fd)
{
	bool ack = fe->proto & AMP_VU_PROTO_REPLY_ACK;
	int rc;

	msg->hdr.req = req;
	msg->hdr.flags = AMP_VU_VERSION | (ack ? AMP_VU_NEED_REPLY : 0);
	msg->hdr.size = len;
	rc = send_msg(fe, msg, fd);
	if (rc < 0 || !ack)
		return rc;
	rc = recv_reply(fe, req, msg);
	if (rc == 0 && msg->hdr.size != 8)
		rc = lost(fe, -EPROTO);
	if (rc == 0 && msg->u.u64 != 0)
		rc = -ENOTSUP;
	return rc;
}

static int tell_u64(struct amp_vhost_fe *fe, uint32_t req, uint64_t v, int fd)
{
	struct amp_vu_msg msg = {.u.u64 = v};

	return tell(fe, req, &msg, 8, fd);
}

static int tell_state(struct amp_vhost_fe *fe, uint32_t req, unsigned q, uint32_t num)
{
	struct amp_vu_msg msg = {.u.state = {.index = q, .num = num}};

	return tell(fe, req, &msg, sizeof(msg.u.state), -1);
}

/* A request with an answer: *msg both ways, at least min bytes of answer. */
static int ask(struct amp_vhost_fe *fe, uint32_t req, struct amp_vu_msg *msg, uint32_t len,
	       uint32_t min)
{
	int rc;

	msg->hdr.req = req;
	msg->hdr.flags = AMP_VU_VERSION;
	msg->hdr.size = len;
	rc = send_msg(fe, msg, -1);
	if (rc == 0)
		rc = recv_reply(fe, req, msg);
	if (rc == 0 && msg->hdr.size < min)
		rc = lost(fe, -EPROTO);
	return rc;
}

static int ask_u64(struct amp_vhost_fe *fe, uint32_t req, uint64_t *v)
{
	struct amp_vu_msg msg = {.u.u64 = 0};
	int rc = ask(fe, req, &msg, 0, 8);

	*v = msg.u.u64;
	return rc;
}

static int send_memory(struct amp_vhost_fe *fe)
{
	struct amp_vu_msg msg = {.u.mem.cnt = 1};
	const struct amp_vu_region r = {
		.guest_addr = (uintptr_t)fe->vd.mem,
		.size = fe->vd.mem_len,
		.user_addr = (uintptr_t)fe->vd.mem,
	};

	msg.u.mem.region[0] = r;
	return tell(fe, AMP_VU_SET_MEM_TABLE, &msg, 8 + sizeof(r), fe->mem_fd);
}

/* --- struct amp_vdev_ops, all with the stack lock held but for notify --- */

static void fe_reset(struct amp_vdev *vd)
{
	struct amp_vhost_fe *fe = fe_of(vd);
	unsigned q;

	for (q = 0; q < AMP_VHOST_FE_QUEUES; q++) {
		struct amp_vu_msg msg = {.u.state = {.index = q}};

		if (fe->gone || !(fe->running & (1u << q)))
			continue;
		/* the answer says that the back-end has let go of the ring */
		if (tell_state(fe, AMP_VU_SET_VRING_ENABLE, q, 0) == 0)
			(void)ask(fe, AMP_VU_GET_VRING_BASE, &msg, sizeof(msg.u.state),
				  sizeof(msg.u.state));
	}
	fe->running = fe->set = 0;
}

static int fe_probe(struct amp_vdev *vd, uint32_t device_id, uint64_t *features)
{
	struct amp_vhost_fe *fe = fe_of(vd);

	(void)device_id; /* nothing in the protocol tells it: the path of the socket does */
	if (fe->gone || fe->fd < 0)
		return -ENODEV;
	fe_reset(vd);
	*features = fe->features & ~AMP_VU_F_PROTOCOL_FEATURES;
	return fe->gone ? -ENODEV : 0;
}

static int fe_accept(struct amp_vdev *vd, uint64_t features)
{
	struct amp_vhost_fe *fe = fe_of(vd);
	int rc;

	if (features & ~fe->features)
		return -ENOTSUP;
	rc = tell_u64(fe, AMP_VU_SET_FEATURES, features | AMP_VU_F_PROTOCOL_FEATURES, -1);
	return rc < 0 ? rc : send_memory(fe);
}

static uint32_t fe_queue_max(struct amp_vdev *vd, unsigned q)
{
	return q < fe_of(vd)->queues ? NUM_MAX : 0;
}

static int new_eventfd(int *fd)
{
	if (*fd < 0)
		*fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return *fd < 0 ? -errno : 0;
}

static int queue_fds(struct amp_vhost_fe *fe, unsigned q)
{
	int rc = new_eventfd(&fe->kick_fd[q]);

	if (rc < 0 || fe->call_fd[q] >= 0)
		return rc;
	rc = new_eventfd(&fe->call_fd[q]);
	if (rc == 0)
		rc = amp_port_watch(fe->call_fd[q], amp_port_drain);
	if (rc < 0 && fe->call_fd[q] >= 0) {
		close(fe->call_fd[q]);
		fe->call_fd[q] = -1;
	}
	return rc;
}

static int fe_queue_set(struct amp_vdev *vd, unsigned q, const struct amp_vq *vq)
{
	struct amp_vhost_fe *fe = fe_of(vd);
	struct amp_vu_msg msg = {.u.addr = {
					 .index = q,
					 .desc = (uintptr_t)vq->desc,
					 .used = (uintptr_t)vq->used,
					 .avail = (uintptr_t)vq->avail,
				 }};
	int rc;

	if (q >= fe->queues)
		return -EINVAL;
	rc = queue_fds(fe, q);
	if (rc == 0)
		rc = tell_state(fe, AMP_VU_SET_VRING_NUM, q, vq->num);
	if (rc == 0) /* a driver's ring always starts from zero */
		rc = tell_state(fe, AMP_VU_SET_VRING_BASE, q, 0);
	if (rc == 0)
		rc = tell(fe, AMP_VU_SET_VRING_ADDR, &msg, sizeof(msg.u.addr), -1);
	if (rc == 0)
		rc = tell_u64(fe, AMP_VU_SET_VRING_CALL, q, fe->call_fd[q]);
	if (rc == 0)
		fe->set |= 1u << q;
	return rc;
}

static int fe_run(struct amp_vdev *vd)
{
	struct amp_vhost_fe *fe = fe_of(vd);
	unsigned q;
	int rc = 0;

	for (q = 0; q < AMP_VHOST_FE_QUEUES && rc == 0; q++) {
		if (!(fe->set & (1u << q)))
			continue;
		fe->running |= 1u << q;
		rc = tell_u64(fe, AMP_VU_SET_VRING_KICK, q, fe->kick_fd[q]);
		if (rc == 0)
			rc = tell_state(fe, AMP_VU_SET_VRING_ENABLE, q, 1);
	}
	return rc;
}

static int fe_config(struct amp_vdev *vd, uint32_t off, void *dst, uint32_t len)
{
	struct amp_vu_msg msg = {.u.config = {.offset = off, .size = len}};
	int rc;

	if (off > AMP_VU_CONFIG_MAX || len > AMP_VU_CONFIG_MAX - off)
		return -EINVAL;
	rc = ask(fe_of(vd), AMP_VU_GET_CONFIG, &msg, AMP_VU_CONFIG_HDR_LEN + len, 0);
	if (rc < 0)
		return rc;
	if (msg.hdr.size < AMP_VU_CONFIG_HDR_LEN + len)
		return -ENOTSUP;
	memcpy(dst, msg.u.config.data, len);
	return 0;
}

static unsigned fe_events(struct amp_vdev *vd)
{
	struct amp_vhost_fe *fe = fe_of(vd);
	uint32_t now_ms;
	uint8_t byte;

	if (fe->fd < 0)
		return AMP_VDEV_EV_GONE;
	now_ms = amp_port_now_ms();
	if (!fe->gone && now_ms != fe->looked_ms) {
		fe->looked_ms = now_ms;
		/* EOF, an error, and words out of turn are the same: it is not there any more
		 */
		fe->gone = recv(fe->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
			   (errno != EAGAIN && errno != EINTR);
	}
	if (!fe->gone)
		return 0;
	if (fe->watched) /* or it would wake us for ever */
		amp_port_unwatch(fe->fd);
	fe->watched = false;
	return AMP_VDEV_EV_GONE;
}

/*
 * Without the lock, so amp_vhost_fe_close() may be at work in another thread: fe->kicking
 * keeps it from closing a descriptor that we are about to write to, which could be
 * somebody else's by then. Pairs with kick_close(): both are sequentially consistent.
 */
static void fe_notify(struct amp_vdev *vd, unsigned q)
{
	static const uint64_t one = 1;
	struct amp_vhost_fe *fe = fe_of(vd);
	ssize_t n = 0;
	int fd;

	__atomic_add_fetch(&fe->kicking, 1, __ATOMIC_SEQ_CST);
	fd = __atomic_load_n(&fe->kick_fd[q], __ATOMIC_SEQ_CST);
	if (fd >= 0) /* full means that the back-end has yet to look anyway */
		n = write(fd, &one, sizeof(one));
	(void)n;
	__atomic_sub_fetch(&fe->kicking, 1, __ATOMIC_SEQ_CST);
}

static void kick_close(struct amp_vhost_fe *fe, unsigned q)
{
	int fd = __atomic_exchange_n(&fe->kick_fd[q], -1, __ATOMIC_SEQ_CST);

	while (__atomic_load_n(&fe->kicking, __ATOMIC_SEQ_CST) != 0)
		sched_yield(); /* a write that never blocks */
	if (fd >= 0)
		close(fd);
}

static const struct amp_vdev_ops fe_ops = {
	.probe = fe_probe,
	.accept = fe_accept,
	.queue_max = fe_queue_max,
	.queue_set = fe_queue_set,
	.run = fe_run,
	.config = fe_config,
	.events = fe_events,
	.notify = fe_notify,
	.reset = fe_reset,
};

/* --- opening --- */

static int get_memory(struct amp_vhost_fe *fe, size_t len)
{
	void *mem;

	if (len == 0 || len > SIZE_MAX / 2)
		return -EINVAL;
	len = (len + PAGE_LEN - 1) & ~(size_t)(PAGE_LEN - 1);
	fe->mem_fd = memfd_create("ampsock", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fe->mem_fd < 0 || ftruncate(fe->mem_fd, (off_t)len) < 0 ||
	    fcntl(fe->mem_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fe->mem_fd, 0);
	if (mem == MAP_FAILED)
		return -errno;
	fe->vd.mem = mem;
	fe->vd.mem_len = len;
	return 0;
}

/* "Starting and stopping": the protocol features come before everything else. */
static int handshake(struct amp_vhost_fe *fe)
{
	uint64_t v = 0;
	int rc = ask_u64(fe, AMP_VU_GET_FEATURES, &fe->features);

	if (rc < 0)
		return rc;
	if (!(fe->features & AMP_VIRTIO_F_VERSION_1) ||
	    !(fe->features & AMP_VU_F_PROTOCOL_FEATURES))
		return -ENOTSUP;
	rc = ask_u64(fe, AMP_VU_GET_PROTOCOL_FEATURES, &v);
	if (rc < 0)
		return rc;
	if (!(v & AMP_VU_PROTO_CONFIG)) /* a vsock device without it has no CID */
		return -ENOTSUP;
	rc = tell_u64(fe, AMP_VU_SET_PROTOCOL_FEATURES, v & PROTO_WANTED, -1);
	if (rc < 0)
		return rc;
	fe->proto = v & PROTO_WANTED;
	fe->queues = AMP_VHOST_FE_QUEUES;
	if (fe->proto & AMP_VU_PROTO_MQ) {
		rc = ask_u64(fe, AMP_VU_GET_QUEUE_NUM, &v);
		if (rc < 0)
			return rc;
		if (v < fe->queues)
			fe->queues = (uint32_t)v;
	}
	return tell(fe, AMP_VU_SET_OWNER, &(struct amp_vu_msg){.u.u64 = 0}, 0, -1);
}

int amp_vhost_fe_open_fd(struct amp_vhost_fe *fe, int fd, size_t mem_len)
{
	const struct timeval limit = {.tv_sec = REPLY_S};
	unsigned q;
	int rc;

	/* not kicking: a late notify of the time before may still be counted there */
	fe->vd = (struct amp_vdev){.ops = &fe_ops};
	fe->fd = fd;
	fe->mem_fd = -1;
	for (q = 0; q < AMP_VHOST_FE_QUEUES; q++)
		fe->kick_fd[q] = fe->call_fd[q] = -1;
	fe->features = fe->proto = 0;
	fe->queues = fe->set = fe->running = fe->looked_ms = 0;
	fe->watched = fe->gone = false;
	rc = get_memory(fe, mem_len);
	if (rc == 0 && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
			setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0))
		rc = -errno;
	if (rc == 0)
		rc = handshake(fe);
	if (rc == 0) {
		amp_port_lock();
		rc = amp_port_watch(fd, NULL);
		fe->watched = rc == 0;
		amp_port_unlock();
	}
	if (rc < 0)
		amp_vhost_fe_close(fe);
	return rc;
}

int amp_vhost_fe_open(struct amp_vhost_fe *fe, const char *path, size_t mem_len)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	int fd, rc;

	if (len >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	memcpy(sun.sun_path, path, len);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return amp_vhost_fe_open_fd(fe, fd, mem_len);
}

static void drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void amp_vhost_fe_close(struct amp_vhost_fe *fe)
{
	unsigned q;

	if (!fe->vd.ops) /* never opened: zeros are no descriptors */
		return;
	amp_port_lock();
	if (fe->watched)
		amp_port_unwatch(fe->fd);
	fe->watched = false;
	for (q = 0; q < AMP_VHOST_FE_QUEUES; q++) {
		if (fe->call_fd[q] >= 0)
			amp_port_unwatch(fe->call_fd[q]);
		drop(&fe->call_fd[q]);
		kick_close(fe, q);
	}
	drop(&fe->fd);
	drop(&fe->mem_fd);
	if (fe->vd.mem)
		munmap(fe->vd.mem, fe->vd.mem_len);
	fe->vd.mem = NULL;
	fe->vd.mem_len = 0;
	fe->gone = true;
	fe->set = fe->running = 0;
	amp_port_unlock();
}
