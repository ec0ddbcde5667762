/* SPDX-License-Identifier: BSD-3-Clause */
/* #syscalls fcntl.flags fstat getsockopt newfstatat sendmsg */
/*
 * The vhost-user back-end: what each request means.
 *
 * Theory of operation. vu_ops[] says which sizes and how many descriptors a request
 * may have; a handler sees only what passed that table. A handler takes the
 * descriptors that it keeps (take_fd()); the rest are closed after it. It returns 0,
 * REPLIED, REFUSED, or -errno with be->why set: then the connection ends.
 *
 * Setting any property of a queue anew stops it: User-mode Linux starts over after a
 * guest's reset without ever saying GET_VRING_BASE. A new memory table only pauses the
 * queues: QEMU sends one whenever the guest's memory changes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../ampsock_config.h"
#include "vdev.h"
#include "vhost_user_inner.h"

#define FEATURES                                                                     \
	(AMP_VIRTIO_F_VERSION_1 | (AMPSOCK_EVENT_IDX ? AMP_VIRTIO_F_EVENT_IDX : 0) | \
	 AMP_VIRTIO_F_INDIRECT_DESC | AMP_VU_F_PROTOCOL_FEATURES)
/* BACKEND_REQ and REPLY_ACK for User-mode Linux, CONFIG for QEMU: neither works without. */
#define PROTO_FEATURES                                                         \
	(AMP_VU_PROTO_MQ | AMP_VU_PROTO_REPLY_ACK | AMP_VU_PROTO_BACKEND_REQ | \
	 AMP_VU_PROTO_CONFIG)

#define REPLIED 1 /* from a handler: the answer is out */
#define REFUSED 2 /* from a handler: harmless, but not done */

static int take_fd(struct amp_vhost_be *be)
{
	int fd = be->fds[0];

	be->fds[0] = -1;
	be->seq++;
	return fd;
}

/* The queue that a message names; NULL: none, be->why says so. */
static struct amp_vhost_be_queue *queue_of(struct amp_vhost_be *be, uint64_t i)
{
	if (i < be->queues)
		return &be->q[i];
	amp_vhost_be_why(be, -EINVAL, "request %u for queue %llu of %u", be->msg.hdr.req,
			 (unsigned long long)i, be->queues);
	return NULL;
}

static int reply(struct amp_vhost_be *be, uint32_t len)
{
	struct iovec iov = {&be->msg, AMP_VU_HDR_LEN + len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	/* exactly these flags: User-mode Linux compares them (no NEED_REPLY echoed) */
	be->msg.hdr.flags = AMP_VU_VERSION | AMP_VU_REPLY;
	be->msg.hdr.size = len;
	if (sendmsg(be->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)iov.iov_len)
		return REPLIED;
	return amp_vhost_be_why(be, -EPIPE, "the front-end does not take replies");
}

static int reply_u64(struct amp_vhost_be *be, uint64_t v)
{
	be->msg.u.u64 = v;
	return reply(be, 8);
}

static int get_features(struct amp_vhost_be *be)
{
	return reply_u64(be, be->features | FEATURES);
}

static int set_features(struct amp_vhost_be *be)
{
	uint64_t f = be->msg.u.u64;
	unsigned i;
	int rc;

	if (f & ~(be->features | FEATURES))
		return amp_vhost_be_why(be, -EPROTO, "features 0x%llx were never offered",
					(unsigned long long)(f & ~(be->features | FEATURES)));
	for (i = 0; i < be->queues; i++) {
		amp_vhost_be_queue_stop(be, i);
		/* "Ring states": without the bit there is no ENABLE message */
		if (!(f & AMP_VU_F_PROTOCOL_FEATURES))
			be->q[i].enabled = true;
	}
	be->acked = f & ~AMP_VU_F_PROTOCOL_FEATURES;
	be->has_acked = true;
	rc = be->ops->features ? be->ops->features(be, be->acked) : 0;
	if (rc < 0)
		return amp_vhost_be_why(be, rc, "features 0x%llx do not suffice",
					(unsigned long long)be->acked);
	return 0;
}

static int get_protocol_features(struct amp_vhost_be *be)
{
	return reply_u64(be, PROTO_FEATURES);
}

static int set_protocol_features(struct amp_vhost_be *be)
{
	be->proto = be->msg.u.u64;
	if (be->proto & ~PROTO_FEATURES)
		return amp_vhost_be_why(be, -EPROTO,
					"protocol features 0x%llx were never offered",
					(unsigned long long)(be->proto & ~PROTO_FEATURES));
	return 0;
}

static int get_queue_num(struct amp_vhost_be *be)
{
	return reply_u64(be, be->queues);
}

/* SET_OWNER, RESET_OWNER ("recommended to ignore"), SET_VRING_ERR: nothing to do. */
static int nothing(struct amp_vhost_be *be)
{
	(void)be;
	return 0;
}

static int refuse(struct amp_vhost_be *be)
{
	(void)be;
	return REFUSED;
}

static int set_mem_table(struct amp_vhost_be *be)
{
	amp_vhost_be_queues_pause(be);
	return amp_vhost_be_map(be);
}

static int set_vring_num(struct amp_vhost_be *be)
{
	uint32_t num = be->msg.u.state.num;
	struct amp_vhost_be_queue *q = queue_of(be, be->msg.u.state.index);

	if (!q)
		return -EINVAL;
	/* virtio 1.2, 2.7: a power of two */
	if (num == 0 || num > AMP_VHOST_NUM_MAX || (num & (num - 1)))
		return amp_vhost_be_why(be, -EINVAL,
					"queue size %u: not a power of two up to %u", num,
					AMP_VHOST_NUM_MAX);
	amp_vhost_be_queue_stop(be, be->msg.u.state.index);
	q->num = (uint16_t)num;
	return 0;
}

static int set_vring_addr(struct amp_vhost_be *be)
{
	struct amp_vu_addr a = be->msg.u.addr;
	struct amp_vhost_be_queue *q = queue_of(be, a.index);

	if (!q)
		return -EINVAL;
	if (q->has_addr && q->desc == a.desc && q->avail == a.avail && q->used == a.used)
		return 0; /* QEMU repeats it for a flag that we do not offer */
	amp_vhost_be_queue_stop(be, a.index);
	q->desc = a.desc;
	q->avail = a.avail;
	q->used = a.used;
	q->has_addr = true;
	return 0;
}

static int set_vring_base(struct amp_vhost_be *be)
{
	uint32_t base = be->msg.u.state.num;
	struct amp_vhost_be_queue *q = queue_of(be, be->msg.u.state.index);

	if (!q)
		return -EINVAL;
	if (base > UINT16_MAX)
		return amp_vhost_be_why(be, -EINVAL, "ring base %u is no 16-bit index", base);
	amp_vhost_be_queue_stop(be, be->msg.u.state.index);
	q->base = (uint16_t)base;
	return 0;
}

static int get_vring_base(struct amp_vhost_be *be)
{
	uint32_t i = be->msg.u.state.index;
	struct amp_vhost_be_queue *q = queue_of(be, i);

	if (!q)
		return -EINVAL;
	amp_vhost_be_queue_stop(be, i);
	amp_vhost_be_kick_drop(be, i);
	be->msg.u.state.num = q->base;
	return reply(be, sizeof(be->msg.u.state));
}

static int set_vring_enable(struct amp_vhost_be *be)
{
	uint32_t i = be->msg.u.state.index, on = be->msg.u.state.num;
	struct amp_vhost_be_queue *q = queue_of(be, i);

	if (!q)
		return -EINVAL;
	if (on > 1)
		return amp_vhost_be_why(be, -EINVAL, "queue %u: enable %u", i, on);
	if (!on)
		amp_vhost_be_queue_pause(be, i);
	q->enabled = on;
	return 0;
}

/* The only sockets that VMMs pass. Those of others can make whoever closes them last wait (SO_LINGER). */
static bool is_unix(int fd)
{
	int domain = 0;
	socklen_t len = sizeof(domain);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

/*
 * The queue and the descriptor of a KICK or CALL message; *fd -1: none on purpose.
 * Only eventfds (no file type) and sockets can be used without ever blocking or a
 * SIGPIPE, and epoll takes no regular file.
 */
static struct amp_vhost_be_queue *vring_fd(struct amp_vhost_be *be, int *fd, bool *sock)
{
	uint64_t v = be->msg.u.u64;
	struct amp_vhost_be_queue *q = queue_of(be, v & AMP_VU_VRING_IDX_MASK);
	struct stat st;
	int fl;

	*fd = -1;
	if (!q || (v & AMP_VU_VRING_NOFD))
		return q;
	fl = be->fd_cnt ? fcntl(be->fds[0], F_GETFL) : -1;
	if (fl < 0 || fstat(be->fds[0], &st) < 0) {
		amp_vhost_be_why(be, -EPROTO, "request %u came without its descriptor",
				 be->msg.hdr.req);
		return NULL;
	}
	*sock = is_unix(be->fds[0]);
	if (((st.st_mode & S_IFMT) != 0 && !*sock) || (fl & O_ACCMODE) != O_RDWR ||
	    fcntl(be->fds[0], F_SETFL, fl | O_NONBLOCK) < 0) {
		amp_vhost_be_why(be, -EPROTO,
				 "request %u: neither an eventfd nor a Unix socket",
				 be->msg.hdr.req);
		return NULL;
	}
	*fd = take_fd(be);
	return q;
}

static int set_vring_kick(struct amp_vhost_be *be)
{
	unsigned i = (unsigned)(be->msg.u.u64 & AMP_VU_VRING_IDX_MASK);
	bool sock = false;
	int fd;
	struct amp_vhost_be_queue *q = vring_fd(be, &fd, &sock);

	if (!q)
		return -EPROTO;
	amp_vhost_be_kick_drop(be, i);
	q->kick_fd = fd;
	q->kick_sock = sock;
	q->kick_seq = be->seq;
	q->kicked = true;
	if (fd >= 0)
		be->ops->kick_fd(be, i, fd);
	return 0;
}

static int set_vring_call(struct amp_vhost_be *be)
{
	bool sock = false;
	int fd;
	struct amp_vhost_be_queue *q = vring_fd(be, &fd, &sock);

	if (!q)
		return -EPROTO;
	amp_vhost_be_close(&q->call_fd);
	q->call_fd = fd;
	q->call_sock = sock;
	q->call_seq = be->seq;
	return 0;
}

/* Never used, but User-mode Linux wants it to stay open. */
static int set_backend_req_fd(struct amp_vhost_be *be)
{
	if (be->fd_cnt == 0)
		return amp_vhost_be_why(be, -EPROTO, "request %u came without its descriptor",
					be->msg.hdr.req);
	if (!is_unix(be->fds[0]))
		return amp_vhost_be_why(be, -EPROTO, "request %u: no Unix socket",
					be->msg.hdr.req);
	amp_vhost_be_close(&be->req_fd);
	be->req_fd = take_fd(be);
	be->req_seq = be->seq;
	return 0;
}

static int get_config(struct amp_vhost_be *be)
{
	struct amp_vu_config *c = &be->msg.u.config;
	uint32_t off = c->offset, len = c->size;

	/* "A zero-length payload to indicate an error"; beyond our own config it is all zero */
	if (len > be->msg.hdr.size - AMP_VU_CONFIG_HDR_LEN || off > AMP_VU_CONFIG_MAX ||
	    len > AMP_VU_CONFIG_MAX - off)
		return reply(be, 0);
	memset(c->data, 0, sizeof(c->data));
	if (be->ops->config_get)
		be->ops->config_get(be, off, c->data, len);
	else if (be->config && off < be->config_len)
		memcpy(c->data, (const uint8_t *)be->config + off,
		       len < be->config_len - off ? len : be->config_len - off);
	return reply(be, AMP_VU_CONFIG_HDR_LEN + len);
}

static const struct vu_op {
	int (*fn)(struct amp_vhost_be *be);
	uint16_t len_min, len_max; /* of the payload */
	uint8_t fds;		   /* at most */
	bool changes;		   /* what a successor must know */
} vu_ops[] = {
	[AMP_VU_GET_FEATURES] = {get_features, 0, 8, 0, false},
	[AMP_VU_SET_FEATURES] = {set_features, 8, 8, 0, true},
	[AMP_VU_SET_OWNER] = {nothing, 0, 8, 0, false},
	[AMP_VU_RESET_OWNER] = {nothing, 0, 8, 0, false},
	/* User-mode Linux sends 72 bytes whatever the count: amp_vhost_be_map() compares */
	[AMP_VU_SET_MEM_TABLE] = {set_mem_table, 8, sizeof(struct amp_vu_mem), AMP_VU_REGIONS,
				  true},
	[AMP_VU_SET_VRING_NUM] = {set_vring_num, 8, 8, 0, true},
	[AMP_VU_SET_VRING_ADDR] = {set_vring_addr, 40, 40, 0, true},
	[AMP_VU_SET_VRING_BASE] = {set_vring_base, 8, 8, 0, true},
	[AMP_VU_GET_VRING_BASE] = {get_vring_base, 8, 8, 0, true},
	[AMP_VU_SET_VRING_KICK] = {set_vring_kick, 8, 8, 1, true},
	[AMP_VU_SET_VRING_CALL] = {set_vring_call, 8, 8, 1, true},
	[AMP_VU_SET_VRING_ERR] = {nothing, 8, 8, 1, false},
	[AMP_VU_GET_PROTOCOL_FEATURES] = {get_protocol_features, 0, 8, 0, false},
	[AMP_VU_SET_PROTOCOL_FEATURES] = {set_protocol_features, 8, 8, 0, true},
	[AMP_VU_GET_QUEUE_NUM] = {get_queue_num, 0, 8, 0, false},
	[AMP_VU_SET_VRING_ENABLE] = {set_vring_enable, 8, 8, 0, true},
	[AMP_VU_SET_BACKEND_REQ_FD] = {set_backend_req_fd, 0, 8, 1, true},
	[AMP_VU_GET_CONFIG] = {get_config, 12, sizeof(struct amp_vu_config), 0, false},
	[AMP_VU_SET_CONFIG] = {refuse, 12, sizeof(struct amp_vu_config), 0, false},
};

int amp_vhost_be_handle(struct amp_vhost_be *be)
{
	uint32_t req = be->msg.hdr.req, len = be->msg.hdr.size;
	bool need = be->msg.hdr.flags & AMP_VU_NEED_REPLY;
	const struct vu_op *op = req < sizeof(vu_ops) / sizeof(vu_ops[0]) ? &vu_ops[req] : NULL;
	int rc;

	if (!op || !op->fn)
		return amp_vhost_be_why(be, -ENOTSUP, "unknown vhost-user request %u", req);
	if (len < op->len_min || len > op->len_max)
		return amp_vhost_be_why(be, -EMSGSIZE, "request %u with %u bytes", req, len);
	if (be->fd_cnt > op->fds)
		return amp_vhost_be_why(be, -EPROTO, "request %u with %u descriptors", req,
					be->fd_cnt);
	rc = op->fn(be);
	be->changes += op->changes;
	if (rc == 0 || rc == REFUSED) {
		int start = amp_vhost_be_queues_start(be);

		if (start < 0)
			return start;
		/*
		 * REPLY_ACK as it is after the request: User-mode Linux wants an answer to the very
		 * SET_PROTOCOL_FEATURES that turns it on, and waits for ever.
		 */
		if (need && (be->proto & AMP_VU_PROTO_REPLY_ACK))
			rc = reply_u64(be, (uint64_t)rc);
	}
	return rc < 0 ? rc : 0;
}
