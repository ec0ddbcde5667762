// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls accept4 close poll ppoll */
/*
 * Link type vhost-user-vsock: a VMM (QEMU, UML, our own hosted front-end) connects to
 * our Unix socket and shares its guest's memory; we are its virtio-vsock device.
 *
 * One VMM at a time. When it goes, the guest's flows go, and the next may come on the
 * same path. What a guest had sent is not lost with it: before a word of its VMM is read, or
 * that there will be none any more, what lies in the ring is taken, in turns like all else. A
 * flow that the guest had ended is delivered to its end (amp_link_gone()).
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../wire/le.h"
#include "helper.h"
#include "link_vv.h"
#include "listen.h"
#include "publish.h"
#include "zeroed.h"

#define AWAKE_LEN (16u * 1024u) /* moved between two of its turns: a link with bulk */
#define DUE_TURNS 64u /* of 128 datagrams (loop.h): in a full window of one's there are 8192 */

#define F_STREAM (1ull << 0) /* virtio 1.2, 5.10.3 */

static struct amp_link_vv *of_link(struct amp_link *link)
{
	return amp_container_of(link, struct amp_link_vv, vl.link);
}

static struct amp_link_vv *of_be(struct amp_vhost_be *be)
{
	return be->owner;
}

static const char *name_of(const struct amp_link_vv *l)
{
	return l->vl.link.conf->name;
}

/* ---- the pass ---- */

static void fail(struct amp_link_vv *l, int err, const char *why)
{
	amp_vhost_be_fail(&l->be, err, why);
}

/* The alarm has ended the wait (loop.h). */
static void waits(struct amp_link_vv *l, int err)
{
	fail(l, err, "a call descriptor that makes the writer wait");
}

/* False: the link has failed, and its queues are gone. */
static bool tell_driver(struct amp_link_vv *l)
{
	struct amp_vsock *vs = &l->vl.vs;
	int n = 0;

	if (vs->in && amp_vq_kick_due(vs->in))
		n = amp_vhost_be_notify(&l->be, AMP_VV_TX);
	if (vs->out && amp_vq_news(vs->out)) {
		l->awake = !amp_vq_kick_due(vs->out);
		if (!l->awake && n == 0)
			n = amp_vhost_be_notify(&l->be, AMP_VV_RX);
	}
	if (n)
		waits(l, n);
	return !n;
}

/*
 * Bulk moves: there is more in a moment. Then this work item comes again in its turn, behind
 * the other bulk, and the rings are not armed: a driver that is at work, too, need not kick
 * who is awake. The turn that finds nothing moved arms them, so sleep is never without.
 */
static bool stays_awake(struct amp_link_vv *l)
{
	const struct amp_link_stats *s = &l->vl.link.stats;
	uint64_t bytes = s->rx_bytes + s->tx_bytes, moved = bytes - l->bytes;

	l->bytes = bytes;
	return moved >= AWAKE_LEN;
}

/*
 * A message went to a guest that did not ask to be notified: it is awake, and its next may be here
 * before we were asleep (loop.h). Until then it need not kick.
 */
static bool looks_on(struct amp_link_vv *l, bool told)
{
	if (!told || !l->awake || !amp_busy_start(&l->busy))
		return false;
	amp_vq_hush(l->vl.vs.in);
	return true;
}

static bool busy_news(const struct amp_busy *busy)
{
	const struct amp_link_vv *l =
		(const void *)((const char *)busy - offsetof(struct amp_link_vv, busy));
	const struct amp_vsock *vs = &l->vl.vs;

	return vs->in && amp_vsock_news(vs);
}

/* One turn of the engine. Packets that were taken; negative: none, as things stand. */
static int turn(struct amp_link_vv *l)
{
	struct amp_vsock *vs = &l->vl.vs;
	int n;

	if (amp_vv_tell(l)) {
		tell_driver(l);
		return -1;
	}
	/* what flows have put into the ring: it need not wait for what comes now */
	if (!tell_driver(l))
		return -1;
	amp_vq_disarm(vs->in);
	amp_vq_disarm(vs->out);
	n = amp_vlink_run(&l->vl);
	if (amp_vhost_be_dead(&l->be)) {
		fail(l, -EFAULT, NULL);
		return -1;
	}
	if (n < 0)
		fail(l, -EBADMSG, vs->in->broken ? vs->in->why : vs->out->why);
	return n;
}

static void listen_ready(struct amp_watch *w, uint32_t events);

static void run(struct amp_work *work)
{
	struct amp_link_vv *l = amp_container_of(work, struct amp_link_vv, vl.work);
	struct amp_vsock *vs = &l->vl.vs;
	bool told;
	int n;

	amp_busy_stop(&l->busy);
	if (l->ring_all && (n = amp_vv_ring_all(l)) != 0) {
		waits(l, n);
		return;
	}
	if (l->next_waits && l->be.fd < 0 && l->listen.fd >= 0)
		listen_ready(&l->listen, 0);
	if (!vs->in || !vs->out) {
		amp_vlink_serve(&l->vl);
		return;
	}
	told = amp_vq_news(vs->out);
	n = turn(l);
	if (n < 0)
		return;
	if (n == (int)AMP_VLINK_BATCH || stays_awake(l))
		amp_work_queue(work);
	else if (n == 0 && looks_on(l, told))
		;
	/* asked again before sleep: what came in between has no kick (virtio 1.2, 2.7.13) */
	else if (amp_vsock_arm(vs))
		amp_work_queue(work);
	tell_driver(l);
}

/* ---- the back-end's hooks ---- */

static int hook_features(struct amp_vhost_be *be, uint64_t features)
{
	of_be(be)->vl.vs.seqpacket = (features & AMP_VSOCK_F_SEQPACKET) != 0;
	return 0;
}

/* The guest is gone; the engine is ready for the next. down: amp_link_gone() or amp_link_down(). */
static void detach(struct amp_link_vv *l, void (*down)(struct amp_link *link))
{
	bool seqpacket = l->vl.vs.seqpacket;

	amp_busy_stop(&l->busy);
	l->vl.vs.in = l->vl.vs.out = NULL;
	down(&l->vl.link);
	amp_vlink_down(&l->vl);
	l->vl.vs.seqpacket = seqpacket;
}

/*
 * A queue that goes on where it stopped belongs to the same driver (its memory map
 * changed, the VM was paused); one that starts anew belongs to a rebooted guest, whose
 * old connections are dead.
 */
static void hook_queue_start(struct amp_vhost_be *be, unsigned q, struct amp_vq *vq)
{
	struct amp_link_vv *l = of_be(be);

	if (l->ran[q] && vq->get_idx != l->stopped_at[q]) {
		memset(l->ran, 0, sizeof(l->ran));
		amp_log_some(&l->log_again, AMP_LOG_INFO, "link %s: the guest restarted",
			     name_of(l));
		detach(l, amp_link_gone);
		amp_vv_tell_end(l);
	}
	l->vq[q] = vq;
	l->ran[q] = true;
	l->vl.vs.out = l->vq[AMP_VV_RX];
	l->vl.vs.in = l->vq[AMP_VV_TX];
	if (l->vl.vs.in && l->vl.vs.out) {
		amp_link_up(&l->vl.link);
		amp_work_queue(&l->vl.work);
	}
}

static void hook_queue_stop(struct amp_vhost_be *be, unsigned q, struct amp_vq *vq)
{
	struct amp_link_vv *l = of_be(be);

	l->stopped_at[q] = vq->get_idx;
	l->vq[q] = NULL;
	l->vl.vs.out = l->vq[AMP_VV_RX];
	l->vl.vs.in = l->vq[AMP_VV_TX];
}

/*
 * An eventfd is watched for edges and never read: each kick is an edge, and a read less.
 * A socket (User-mode Linux) must be emptied; the first kicks go through the back-end in
 * any case, which looks for memory that is not shared.
 */
static void kicked(struct amp_watch *w, uint32_t events)
{
	struct amp_vv_kick *k = amp_container_of(w, struct amp_vv_kick, watch);
	struct amp_link_vv *l = k->link;

	(void)events;
	if ((l->be.blank || l->be.q[k->q].kick_sock) && amp_vhost_be_kicked(&l->be, k->q))
		return;
	amp_work_queue(&l->vl.work);
}

static void hook_kick_fd(struct amp_vhost_be *be, unsigned q, int fd)
{
	struct amp_link_vv *l = of_be(be);

	amp_watch_stop(&l->kick[q].watch);
	if (fd >= 0 && amp_watch_start(&l->kick[q].watch, fd, EPOLLIN | EPOLLET))
		fail(l, -EIO, "a kick descriptor that cannot be watched");
}

static void hook_gone(struct amp_vhost_be *be, int err)
{
	struct amp_link_vv *l = of_be(be);

	if (err)
		amp_log_some(&l->log_reset, AMP_LOG_WARN, "link %s: link reset: %s", name_of(l),
			     be->why);
	else
		amp_log_some(&l->log_detached, AMP_LOG_INFO, "link %s: guest detached",
			     name_of(l));
	amp_watch_stop(&l->conn);
	detach(l, amp_link_gone);
	amp_vv_keep_stop(l);
	memset(l->ran, 0, sizeof(l->ran));
	l->vl.vs.seqpacket = false;
	l->taking = false;
	amp_vhost_be_reset(be);
	amp_work_queue(&l->vl.work); /* the next VMM may have come, and flows go on */
}

static const struct amp_vhost_be_ops be_ops = {
	.features = hook_features,
	.queue_start = hook_queue_start,
	.queue_stop = hook_queue_stop,
	.kick_fd = hook_kick_fd,
	.gone = hook_gone,
};

/* ---- the socket ---- */

static void handle_messages(struct amp_link_vv *l)
{
	amp_vv_keep_begin(l);
	amp_vhost_be_readable(&l->be);
	amp_vv_keep_end(l);
}

/*
 * Nothing is left in the ring of what lay there when the VMM said something, or went, nor with ends
 * that had more datagrams than a turn has; a guest that goes on sending does not put that off. False:
 * the watch (of a level) calls again.
 */
static bool took_all(struct amp_link_vv *l)
{
	struct amp_vsock *vs = &l->vl.vs;
	bool due = !TAILQ_EMPTY(&l->vl.due);
	int n = -1;

	if (vs->in && vs->out && !l->taking) {
		l->taking = true;
		l->left = amp_vq_avail(vs->in);
		l->due_turns = DUE_TURNS;
	}
	if (vs->in && vs->out && (l->left || due)) {
		amp_work_queue(&l->vl.work); /* which arms the rings */
		n = turn(l);
	}
	if (n >= 0) {
		l->left = n && (unsigned)n < l->left ? l->left - (unsigned)n : 0;
		if (l->left || (!TAILQ_EMPTY(&l->vl.due) && l->due_turns--))
			return false;
	}
	l->taking = false;
	return true;
}

static void conn_ready(struct amp_watch *w, uint32_t events)
{
	struct amp_link_vv *l = amp_container_of(w, struct amp_link_vv, conn);

	(void)events;
	if (took_all(l) && w->fd >= 0)
		handle_messages(l);
}

/* The VMM has gone, and conn_ready() will come to that. */
static bool leaving(const struct amp_link_vv *l)
{
	struct pollfd p = {.fd = l->be.fd, .events = POLLRDHUP};

	return l->be.fd >= 0 && poll(&p, 1, 0) > 0;
}

static void attach(struct amp_link_vv *l, int fd)
{
	int r;

	if (l->be.fd >= 0) {
		amp_log_some(&l->log_second, AMP_LOG_WARN,
			     "link %s: a second VMM connected to %s and was refused",
			     name_of(l), l->vl.link.conf->path);
		close(fd);
		return;
	}
	r = amp_vhost_be_start(&l->be, fd);
	if (!r)
		r = amp_watch_start(&l->conn, fd, EPOLLIN);
	if (r) {
		amp_log_some(&l->log_second, AMP_LOG_ERROR, "link %s: cannot attach a VMM: %s",
			     name_of(l),
			     r == -ENFILE
				     ? "one process serves 256 guests that share memory, and "
				       "has them"
				     : strerror(-r));
		amp_vhost_be_reset(&l->be);
		return;
	}
	amp_vv_keep_start(l);
}

static void listen_ready(struct amp_watch *w, uint32_t events)
{
	struct amp_link_vv *l = amp_container_of(w, struct amp_link_vv, listen);
	int fd;

	(void)events;
	do {
		/* the one before may have gone, and its end be still unread: it is not in the way */
		l->next_waits = leaving(l);
		if (l->next_waits)
			return;
		fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			attach(l, fd);
	} while (fd >= 0 || amp_accept_next(errno));
	if (errno != EAGAIN) {
		amp_log_some(&l->log_second, AMP_LOG_ERROR, "link %s: accept: %s", name_of(l),
			     strerror(errno));
		amp_watch_retry(w);
	}
}

static int start(struct amp_link *link)
{
	struct amp_link_vv *l = of_link(link);
	int fd, r;

	fd = amp_link_listen(AMP_HELPER_VHOST, link->conf->path);
	if (fd < 0)
		return fd;
	r = amp_watch_start(&l->listen, fd, EPOLLIN | EPOLLET);
	if (r) {
		close(fd);
		return r;
	}
	if (amp_vv_take_over(l)) {
		r = amp_watch_start(&l->conn, l->be.fd, EPOLLIN);
		if (r)
			fail(l, r, "its connection cannot be watched");
		else
			amp_log(AMP_LOG_INFO,
				"link %s: goes on with the guest that was attached",
				name_of(l));
		return 0;
	}
	amp_log(AMP_LOG_INFO, "link %s: waiting for a VMM on %s (cid %" PRIu32 ")", name_of(l),
		link->conf->path, link->conf->cid);
	return 0;
}

static void stop(struct amp_link *link)
{
	struct amp_link_vv *l = of_link(link);

	if (l->be.fd >= 0) {
		amp_watch_stop(&l->conn);
		detach(l, amp_link_down);
		amp_vv_keep_stop(l);
		amp_vhost_be_reset(&l->be);
	} else {
		detach(l, amp_link_down); /* of guests before */
	}
	uv_close((uv_handle_t *)&l->patience, NULL);
	if (l->listen.fd >= 0)
		amp_helper_unlink(AMP_HELPER_VHOST, link->conf->path);
	amp_watch_close_shared(&l->listen);
	amp_vlink_fini(&l->vl);
}

/* For a link that comes in our place, on the same path. */
static int yield(struct amp_link *link)
{
	struct amp_link_vv *l = of_link(link);
	int fd = l->listen.fd;

	amp_watch_stop(&l->listen);
	return fd;
}

static void vv_free(struct amp_link *link)
{
	amp_zeroed_free(of_link(link), sizeof(struct amp_link_vv));
}

static const struct amp_link_ops vv_ops = {
	.type = "vhost-user-vsock",
	.peer = "guest",
	.start = start,
	.stop = stop,
	.listen_kind = AMP_HELPER_VHOST,
	.yield = yield,
	.free = vv_free,
	.connect = amp_vlink_connect,
	.stats = amp_vlink_stats,
	.reset = amp_vlink_reset,
	.joined = amp_join_next,
	.tap_kind = AMP_TAP_VSOCK,
	.tap = amp_vlink_tap,
};

struct amp_link *amp_link_vhost_vsock(const struct amp_link_conf *conf)
{
	static const enum amp_vq_dir dir[AMP_VV_QUEUES] = {AMP_VQ_OUT, AMP_VQ_IN, AMP_VQ_OUT};
	struct amp_link_vv *l = amp_zeroed_new(sizeof(*l));

	if (!l)
		return NULL;
	if (amp_vlink_init(&l->vl, &vv_ops, &amp_vlink_vsock, conf)) {
		amp_zeroed_free(l, sizeof(*l));
		return NULL;
	}
	l->vl.work.run = run;
	l->busy = (struct amp_busy){.work = &l->vl.work, .news = busy_news};
	uv_timer_init(amp_loop_uv(), &l->patience);
	l->patience.data = l;
	l->listen.fd = l->conn.fd = -1;
	l->listen.ready = listen_ready;
	l->conn.ready = conn_ready;
	for (unsigned q = 0; q < AMP_VV_QUEUES; q++) {
		l->kick[q].watch.fd = -1;
		l->kick[q].watch.ready = kicked;
		l->kick[q].link = l;
		l->kick[q].q = q;
	}
	amp_put_le64(l->config, conf->cid); /* virtio 1.2, 5.10.4: guest_cid */
	l->be.ops = &be_ops;
	l->be.owner = l;
	l->be.features = F_STREAM | AMP_VSOCK_F_SEQPACKET;
	l->be.dir = dir;
	l->be.queues = AMP_VV_QUEUES;
	l->be.order = l->order;
	l->be.config = l->config;
	l->be.config_len = sizeof(l->config);
	amp_vhost_be_init(&l->be);
	return &l->vl.link;
}
