/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user back-end: the device side of one virtio device whose driver is in
 * another process (a VMM's guest, or our own front-end). Linux only.
 *
 * It has no loop, no heap and no thread. The owner accepts a connection on a Unix
 * socket, hands it in with amp_vhost_be_start(), watches the descriptor and calls
 * amp_vhost_be_readable() whenever it is readable. What the front-end wants comes
 * back through struct amp_vhost_be_ops. Everything the front-end says is hostile:
 * what is wrong ends this connection (ops->gone, with words for one log line) and
 * nothing else.
 *
 * The usual owner:
 *
 *	be.ops = ..., be.owner = ..., be.features = ..., be.queues = 2, be.dir = ...
 *	amp_vhost_be_init(&be);
 *	listening socket readable:  fd = accept4(.., SOCK_NONBLOCK | SOCK_CLOEXEC)
 *	                            amp_vhost_be_start(&be, fd), watch fd
 *	fd readable:                amp_vhost_be_readable(&be)
 *	ops->kick_fd:               (un)watch it
 *	kick fd readable:           amp_vhost_be_kicked(&be, q), run the engine
 *	after each engine run:      if (amp_vhost_be_dead(&be))
 *	                                    amp_vhost_be_fail(&be, -EFAULT, NULL);
 *	                            if (amp_vq_kick_due(vq)) amp_vhost_be_notify(&be, q)
 *	the ring is broken:         amp_vhost_be_fail(&be, -EBADMSG, vq->why)
 *	ops->gone:                  log be->why, unwatch fd, amp_vhost_be_reset(&be)
 */
#ifndef AMP_VHOST_USER_BACKEND_H
#define AMP_VHOST_USER_BACKEND_H

#include "sigbus.h"
#include "vhost_user_msg.h"
#include "vq.h"

#define AMP_VHOST_QUEUES  4u
#define AMP_VHOST_NUM_MAX 1024u /* ring entries */

struct amp_vhost_be;

struct amp_vhost_be_ops {
	/* The driver accepted these features (virtio and device bits). 0, or -errno: refused.
	 */
	int (*features)(struct amp_vhost_be *be, uint64_t features);
	/*
	 * vq works from now on. Look at it once: what was queued before has no kick. Hooks
	 * come from within amp_vhost_be_readable(): start no long work here.
	 */
	void (*queue_start)(struct amp_vhost_be *be, unsigned q, struct amp_vq *vq);
	/*
	 * vq stops: put or unget whatever you hold of it and forget all pointers into guest
	 * memory before you return. The same queue may start again at once (the memory map
	 * changed) and goes on where it was.
	 */
	void (*queue_stop)(struct amp_vhost_be *be, unsigned q, struct amp_vq *vq);
	/* Watch fd for kicks of queue q; -1: stop watching the present one, it is closed next.
	 */
	void (*kick_fd)(struct amp_vhost_be *be, unsigned q, int fd);
	/* Device configuration, len bytes from off; the rest stays zero. NULL: be->config. */
	void (*config_get)(struct amp_vhost_be *be, uint32_t off, void *dst, uint32_t len);
	/*
	 * The connection is over: err is 0 (closed by the front-end in good order) or -errno,
	 * be->why says what happened. Queues are stopped and kick fds unwatched already.
	 * Comes once per start. amp_vhost_be_reset() may be called from here.
	 */
	void (*gone)(struct amp_vhost_be *be, int err);
};

struct amp_vhost_be_region {
	uint64_t guest; /* guest-physical */
	uint64_t user;	/* front-end's address */
	uint64_t len;
	uint8_t *mem;	 /* where guest lies here */
	uint64_t offset; /* of it in its file */
	int fd;		 /* the file, for whoever takes over */
	uint32_t seq;	 /* as of amp_vhost_be_queue */
};

struct amp_vhost_be_queue {
	struct amp_vq vq;
	uint64_t desc, avail, used; /* front-end's addresses */
	int kick_fd;		    /* -1: none */
	int call_fd;
	uint16_t num;
	uint16_t base; /* avail index to start from, kept while stopped */
	bool has_addr;
	bool kicked; /* KICK has come: "started" in the specification's words */
	bool enabled;
	bool running;	/* told to the owner with queue_start */
	bool call_sock; /* call_fd is a socket, not an eventfd (User-mode Linux) */
	bool kick_sock;
	uint32_t kick_seq, call_seq; /* be->seq when the descriptors came */
};

/* All of it belongs to one thread: the owner's loop. */
struct amp_vhost_be {
	/* set by the owner before amp_vhost_be_init(), kept by reset */
	const struct amp_vhost_be_ops *ops;
	void *owner;
	uint64_t features; /* device's own feature bits; the transport's are added */
	/* of each queue as this side sees it: vsock rx is OUT, tx is IN */
	const enum amp_vq_dir *dir;
	unsigned queues;    /* <= AMP_VHOST_QUEUES */
	const void *config; /* device configuration space, or NULL with ops->config_get */
	uint32_t config_len;
	struct amp_vq_order *order; /* one for each queue, NULL: none (vq.h) */

	int fd; /* the connection, -1: none */
	uint32_t conn_seq;
	int err;
	const char *why; /* what happened, in words for the log: whybuf or static text */
	uint64_t acked;	 /* features accepted by the driver */
	uint64_t proto;	 /* protocol features accepted by the front-end */
	bool has_acked;
	bool over;   /* gone was told */
	bool busy;   /* in amp_vhost_be_readable(): a failure waits for its end */
	bool mapped; /* a memory table has come */
	bool blank;  /* it showed nothing but zeros: perhaps not shared at all */
	struct amp_vhost_be_queue q[AMP_VHOST_QUEUES];
	/* memory map */
	struct amp_sigbus guard;
	struct amp_vhost_be_region region[AMP_VU_REGIONS];
	unsigned regions;
	unsigned last; /* region that matched last */
	/* the message being received */
	struct amp_vu_msg msg;
	uint32_t have; /* bytes of it so far */
	int fds[AMP_VU_REGIONS];
	unsigned fd_cnt;
	int req_fd; /* SET_BACKEND_REQ_FD */
	uint32_t req_seq;
	uint32_t seq;	  /* counts descriptors that were kept: no two have the same */
	uint32_t changes; /* counts messages that changed what amp_vhost_be_save() saves */
	char whybuf[160];
};

/* Once per struct. 0 or -EINVAL. */
int amp_vhost_be_init(struct amp_vhost_be *be);
/* A front-end connected: fd is ours from now on (also when this fails). 0, -EBUSY, -ENFILE. */
int amp_vhost_be_start(struct amp_vhost_be *be, int fd);
/*
 * Reads and handles what there is, never blocks. 0; negative: ops->gone was called (and
 * be may have been reset or even started anew by it). Watch the descriptor level-triggered.
 */
int amp_vhost_be_readable(struct amp_vhost_be *be);
/* Drains the kick fd. 0; -errno: it is unusable, the connection is over. */
int amp_vhost_be_kicked(struct amp_vhost_be *be, unsigned q);
/*
 * Tell the driver that queue q has news. 0; -EINTR: the front-end has made its call eventfd
 * blocking, filled it, and a signal of ours ended the wait (an owner that serves others sees
 * to it that one comes: nothing else bounds that write). The driver was not told.
 */
int amp_vhost_be_notify(struct amp_vhost_be *be, unsigned q);
/*
 * End the connection as if the front-end had: stops queues, calls ops->gone(err) unless
 * that has happened. why: static text, or NULL when amp_vhost_be_dead().
 */
void amp_vhost_be_fail(struct amp_vhost_be *be, int err, const char *why);
/*
 * Forget the front-end: closes every descriptor (the connection too) and unmaps its
 * memory; no gone, but queue_stop and kick_fd(-1) where due. Then start works again.
 */
void amp_vhost_be_reset(struct amp_vhost_be *be);

/* Guest memory at addr for *len_io bytes or fewer (shortened at a region's end); NULL: none. */
void *amp_vhost_be_translate(void *be, uint64_t addr, uint32_t *len_io);

/* A front-end can shrink the file whose memory it shared: sigbus.h, which is to be installed. */
static inline bool amp_vhost_be_dead(const struct amp_vhost_be *be)
{
	return be->guard.dead != 0;
}

#endif /* AMP_VHOST_USER_BACKEND_H */
