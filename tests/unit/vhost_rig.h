/* SPDX-License-Identifier: BSD-3-Clause */
/* A back-end with recording hooks, and a front-end that says whatever the test wants. */
#ifndef VHOST_RIG_H
#define VHOST_RIG_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virtio/vdev.h"
#include "virtio/vhost_user_backend.h"

#define MEM_LEN	  65536u
#define GUEST	  0x40000000ull
#define USER	  0x7f0000000000ull
#define NUM	  8u
#define RING_AT	  0x1000u /* queue q's ring: q * 0x1000 further */
#define BUFS_AT	  0x8000u
#define DEV_FEATS (3ull)
#define ALL_FEATS                                                      \
	(DEV_FEATS | AMP_VIRTIO_F_VERSION_1 | AMP_VIRTIO_F_EVENT_IDX | \
	 AMP_VU_F_PROTOCOL_FEATURES)

struct rig {
	struct amp_vhost_be be;
	int fd; /* the front-end's end */
	int mem_fd;
	uint8_t *mem;
	int kick, call; /* of the queue last set up by rig_queue() */
	/* recorded by the hooks */
	uint64_t features;
	int starts, stops, gones, err, refuse;
	int watched[AMP_VHOST_QUEUES];
	uint16_t seen[AMP_VHOST_QUEUES]; /* chains taken while running */
	char why[160];
	/* what hooks shall do */
	bool fail_in_start, reset_in_gone;
};

static const enum amp_vq_dir rig_dir[2] = {AMP_VQ_OUT, AMP_VQ_IN};
static const uint8_t rig_config[8] = {3, 0, 0, 0, 0, 0, 0, 0};

static int rig_features(struct amp_vhost_be *be, uint64_t features)
{
	struct rig *r = be->owner;

	r->features = features;
	return r->refuse;
}

static void rig_start(struct amp_vhost_be *be, unsigned q, struct amp_vq *vq)
{
	struct rig *r = be->owner;

	assert_ptr_equal(vq, &be->q[q].vq);
	r->starts++;
	if (r->fail_in_start)
		amp_vhost_be_fail(be, -EBADMSG, "no good");
}

static void rig_stop(struct amp_vhost_be *be, unsigned q, struct amp_vq *vq)
{
	struct rig *r = be->owner;

	(void)q;
	(void)vq;
	r->stops++;
}

static void rig_kick_fd(struct amp_vhost_be *be, unsigned q, int fd)
{
	struct rig *r = be->owner;

	if (fd < 0) /* must still be open: the owner takes it out of its epoll */
		assert_int_not_equal(fcntl(r->watched[q], F_GETFD), -1);
	r->watched[q] = fd;
}

static void rig_gone(struct amp_vhost_be *be, int err)
{
	struct rig *r = be->owner;

	assert_int_equal(r->watched[0], -1);
	assert_int_equal(r->watched[1], -1);
	assert_int_equal(r->starts, r->stops);
	r->gones++;
	r->err = err;
	snprintf(r->why, sizeof(r->why), "%s", be->why);
	if (r->reset_in_gone)
		amp_vhost_be_reset(be);
}

static const struct amp_vhost_be_ops rig_ops = {
	.features = rig_features,
	.queue_start = rig_start,
	.queue_stop = rig_stop,
	.kick_fd = rig_kick_fd,
	.gone = rig_gone,
};

static inline int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static inline void rig_connect(struct rig *r)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	r->fd = sv[0];
	assert_int_equal(amp_vhost_be_start(&r->be, sv[1]), 0);
}

static inline void rig_up(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	memset(r->watched, -1, sizeof(r->watched));
	r->be.ops = &rig_ops;
	r->be.owner = r;
	r->be.features = DEV_FEATS;
	r->be.dir = rig_dir;
	r->be.queues = 2;
	r->be.config = rig_config;
	r->be.config_len = sizeof(rig_config);
	r->kick = r->call = -1;
	assert_int_equal(amp_vhost_be_init(&r->be), 0);
	r->mem_fd = memfd_create("guest", MFD_CLOEXEC);
	assert_true(r->mem_fd >= 0);
	assert_int_equal(ftruncate(r->mem_fd, MEM_LEN), 0);
	r->mem = mmap(NULL, MEM_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, r->mem_fd, 0);
	assert_ptr_not_equal(r->mem, MAP_FAILED);
	r->mem[0] = 0xea; /* some code */
	rig_connect(r);
}

static inline void close_if(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void rig_down(struct rig *r)
{
	amp_vhost_be_reset(&r->be);
	assert_int_equal(r->starts, r->stops);
	close_if(&r->fd);
	close_if(&r->mem_fd);
	close_if(&r->kick);
	close_if(&r->call);
	munmap(r->mem, MEM_LEN);
}

static inline void send_raw(int fd, const void *p, size_t len, const int *fds, unsigned cnt)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(64 * sizeof(int))];
	} ctl;
	struct iovec iov = {(void *)(uintptr_t)p, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (cnt) {
		struct cmsghdr *c;

		memset(&ctl, 0, sizeof(ctl));
		m.msg_control = &ctl;
		m.msg_controllen = CMSG_SPACE(cnt * sizeof(int));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(cnt * sizeof(int));
		memcpy(CMSG_DATA(c), fds, cnt * sizeof(int));
	}
	(void)!sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* What is sent, without looking at what comes of it. */
static inline void say(struct rig *r, uint32_t req, uint32_t flags, const void *p, uint32_t len,
		       const int *fds, unsigned cnt)
{
	struct amp_vu_msg m = {.hdr = {req, AMP_VU_VERSION | flags, len}};

	if (len)
		memcpy(&m.u, p, len < sizeof(m.u) ? len : sizeof(m.u));
	send_raw(r->fd, &m, AMP_VU_HDR_LEN + (len < sizeof(m.u) ? len : sizeof(m.u)), fds, cnt);
}

/* ... and this looks. */
static inline int tell(struct rig *r, uint32_t req, const void *p, uint32_t len, int fd)
{
	say(r, req, 0, p, len, &fd, fd >= 0);
	return amp_vhost_be_readable(&r->be);
}

static inline int tell_u64(struct rig *r, uint32_t req, uint64_t v, int fd)
{
	return tell(r, req, &v, 8, fd);
}

static inline int tell_state(struct rig *r, uint32_t req, uint32_t q, uint32_t num)
{
	struct amp_vu_state s = {q, num};

	return tell(r, req, &s, sizeof(s), -1);
}

/* The reply in *m; the number of bytes of its payload, -1: none. */
static inline int hear(struct rig *r, struct amp_vu_msg *m)
{
	ssize_t n = recv(r->fd, m, AMP_VU_HDR_LEN, MSG_DONTWAIT);

	if (n <= 0)
		return -1;
	assert_int_equal(n, AMP_VU_HDR_LEN);
	assert_int_equal(m->hdr.flags, 5); /* User-mode Linux wants exactly this */
	assert_true(m->hdr.size <= sizeof(m->u));
	if (m->hdr.size)
		assert_int_equal(recv(r->fd, &m->u, m->hdr.size, MSG_DONTWAIT), m->hdr.size);
	return (int)m->hdr.size;
}

static inline uint64_t ask_u64(struct rig *r, uint32_t req)
{
	struct amp_vu_msg m;

	assert_int_equal(tell(r, req, NULL, 0, -1), 0);
	assert_int_equal(hear(r, &m), 8);
	assert_int_equal(m.hdr.req, req);
	return m.u.u64;
}

static inline int tell_mem(struct rig *r, const struct amp_vu_region *reg, uint32_t cnt,
			   const int *fds, unsigned fd_cnt)
{
	struct amp_vu_mem t = {.cnt = cnt};

	memcpy(t.region, reg, (cnt < AMP_VU_REGIONS ? cnt : AMP_VU_REGIONS) * sizeof(*reg));
	say(r, AMP_VU_SET_MEM_TABLE, 0, &t, sizeof(t), fds, fd_cnt);
	return amp_vhost_be_readable(&r->be);
}

static const struct amp_vu_region whole = {GUEST, MEM_LEN, USER, 0};

static inline int rig_memory(struct rig *r)
{
	return tell_mem(r, &whole, 1, &r->mem_fd, 1);
}

static inline struct amp_vu_addr ring_addr(uint32_t q)
{
	size_t avail, used;
	uint64_t at = USER + RING_AT + q * 0x1000u;

	amp_vq_layout(NUM, &avail, &used);
	return (struct amp_vu_addr){q, 0, at, at + used, at + avail, 0};
}

/* NUM BASE ADDR CALL KICK, but not ENABLE. */
static inline int rig_queue(struct rig *r, uint32_t q)
{
	struct amp_vu_addr a = ring_addr(q);

	close_if(&r->kick);
	close_if(&r->call);
	r->kick = eventfd(0, EFD_NONBLOCK);
	r->call = eventfd(0, EFD_NONBLOCK);
	tell_state(r, AMP_VU_SET_VRING_NUM, q, NUM);
	tell_state(r, AMP_VU_SET_VRING_BASE, q, 0);
	tell(r, AMP_VU_SET_VRING_ADDR, &a, sizeof(a), -1);
	tell_u64(r, AMP_VU_SET_VRING_CALL, q, r->call);
	return tell_u64(r, AMP_VU_SET_VRING_KICK, q, r->kick);
}

/* The driver's end of queue q, in guest memory. */
static inline void rig_driver(struct rig *r, unsigned q, struct amp_vq *vq, uint16_t *state)
{
	size_t avail, used;
	uint8_t *ring = r->mem + RING_AT + q * 0x1000u;
	struct amp_vq_setup s = {
		.role = AMP_VQ_DRIVER,
		.dir = q == 0 ? AMP_VQ_IN : AMP_VQ_OUT,
		.num = NUM,
		.desc = ring,
		.event_idx = true,
		.state = state,
		.bus_off = GUEST - (uintptr_t)r->mem,
	};

	amp_vq_layout(NUM, &avail, &used);
	s.avail = ring + avail;
	s.used = ring + used;
	assert_int_equal(amp_vq_init(vq, &s), 0);
	assert_int_equal(amp_vq_pool(vq, r->mem + BUFS_AT + q * 0x2000u, 512, NUM), 0);
}

/* Up to where both queues run, as QEMU does it. */
static inline void rig_run(struct rig *r)
{
	ask_u64(r, AMP_VU_GET_FEATURES);
	tell_u64(r, AMP_VU_SET_PROTOCOL_FEATURES, ask_u64(r, AMP_VU_GET_PROTOCOL_FEATURES), -1);
	tell(r, AMP_VU_SET_OWNER, NULL, 0, -1);
	tell_u64(r, AMP_VU_SET_FEATURES, ALL_FEATS, -1);
	assert_int_equal(rig_memory(r), 0);
	for (uint32_t q = 0; q < 2; q++) {
		assert_int_equal(rig_queue(r, q), 0);
		assert_int_equal(tell_state(r, AMP_VU_SET_VRING_ENABLE, q, 1), 0);
	}
	assert_int_equal(r->starts - r->stops, 2);
}

static inline void assert_gone(struct rig *r, const char *word)
{
	assert_int_equal(r->gones, 1);
	if (!strstr(r->why, word))
		fail_msg("\"%s\" does not say \"%s\"", r->why, word);
	assert_int_equal(amp_vhost_be_readable(&r->be), -ENOTCONN);
	assert_int_equal(r->gones, 1);
}

#endif /* VHOST_RIG_H */
