// SPDX-License-Identifier: BSD-3-Clause
/*
 * The vhost-user front-end: against our own back-end, which runs in a thread and echoes
 * (queue 1 to queue 0), and against back-ends that talk nonsense.
 */
#include "vhost_rig.h"

#include <poll.h>
#include <sys/un.h>

#include "port/port.h"
#include "port/posix.h"
#include "virtio/vhost_user_frontend.h"

#define FE_MEM 65536u

/* --- the port, as far as a front-end needs it --- */

static pthread_mutex_t stack = PTHREAD_MUTEX_INITIALIZER;
static int watch_cnt;

void amp_port_lock(void)
{
	pthread_mutex_lock(&stack);
}

void amp_port_unlock(void)
{
	pthread_mutex_unlock(&stack);
}

uint32_t amp_port_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint32_t)ts.tv_sec * 1000u + (uint32_t)ts.tv_nsec / 1000000u;
}

int amp_port_watch(int fd, void (*drain)(int fd))
{
	(void)drain;
	assert_int_not_equal(fcntl(fd, F_GETFD), -1);
	watch_cnt++;
	return 0;
}

void amp_port_unwatch(int fd)
{
	assert_int_not_equal(fcntl(fd, F_GETFD), -1);
	watch_cnt--;
}

void amp_port_drain(int fd)
{
	uint64_t n;

	(void)!read(fd, &n, sizeof(n));
}

/* --- an echoing device in a thread --- */

struct device {
	struct amp_vhost_be be;
	struct amp_vq *vq[2];
	int kick[2];
	int stop; /* eventfd */
	int starts;
	bool gone;
	pthread_t thread;
};

static void dev_start(struct amp_vhost_be *be, unsigned q, struct amp_vq *vq)
{
	struct device *d = be->owner;

	d->vq[q] = vq;
	d->starts++;
}

static void dev_stop(struct amp_vhost_be *be, unsigned q, struct amp_vq *vq)
{
	struct device *d = be->owner;

	(void)vq;
	d->vq[q] = NULL;
}

static void dev_kick_fd(struct amp_vhost_be *be, unsigned q, int fd)
{
	struct device *d = be->owner;

	d->kick[q] = fd;
}

static void dev_gone(struct amp_vhost_be *be, int err)
{
	struct device *d = be->owner;

	(void)err;
	d->gone = true;
}

static const struct amp_vhost_be_ops dev_ops = {
	.queue_start = dev_start,
	.queue_stop = dev_stop,
	.kick_fd = dev_kick_fd,
	.gone = dev_gone,
};

static bool dev_echo(struct device *d)
{
	struct amp_iov in[4], out[4];
	struct amp_vq_buf bi = {.iov = in, .iov_max = 4}, bo = {.iov = out, .iov_max = 4};

	if (!d->vq[0] || !d->vq[1])
		return false;
	while (amp_vq_avail(d->vq[0]) && amp_vq_get(d->vq[1], &bi) == 1) {
		if (amp_vq_get(d->vq[0], &bo) != 1)
			return false;
		memcpy(bo.iov[0].base, bi.iov[0].base, bi.len);
		amp_vq_put(d->vq[1], bi.id, 0);
		amp_vq_put(d->vq[0], bo.id, bi.len);
	}
	for (unsigned q = 0; q < 2; q++) {
		if (amp_vq_kick_due(d->vq[q]))
			amp_vhost_be_notify(&d->be, q);
	}
	/* whatever it is that we wait for */
	return amp_vq_arm(amp_vq_avail(d->vq[0]) ? d->vq[1] : d->vq[0]);
}

static void *dev_main(void *arg)
{
	struct device *d = arg;

	while (!d->gone) {
		struct pollfd p[4] = {{d->stop, POLLIN, 0},
				      {d->be.fd, POLLIN, 0},
				      {d->kick[0], POLLIN, 0},
				      {d->kick[1], POLLIN, 0}};

		if (poll(p, 4, 10000) <= 0 || p[0].revents)
			break;
		for (unsigned q = 0; q < 2; q++) {
			if (p[2 + q].revents)
				amp_vhost_be_kicked(&d->be, q);
		}
		if (p[1].revents)
			amp_vhost_be_readable(&d->be);
		while (dev_echo(d))
			;
	}
	amp_vhost_be_reset(&d->be);
	return NULL;
}

/* Our end of the connection. */
static int dev_up(struct device *d)
{
	int sv[2];

	memset(d, 0, sizeof(*d));
	d->kick[0] = d->kick[1] = -1;
	d->be.ops = &dev_ops;
	d->be.owner = d;
	d->be.features = DEV_FEATS;
	d->be.dir = rig_dir;
	d->be.queues = 2;
	d->be.config = rig_config;
	d->be.config_len = sizeof(rig_config);
	d->stop = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(amp_vhost_be_init(&d->be), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(amp_vhost_be_start(&d->be, sv[1]), 0);
	assert_int_equal(pthread_create(&d->thread, NULL, dev_main, d), 0);
	return sv[0];
}

static void dev_down(struct device *d)
{
	uint64_t one = 1;

	assert_int_equal(write(d->stop, &one, 8), 8);
	pthread_join(d->thread, NULL);
	close(d->stop);
}

/* --- the driver --- */

struct driver {
	struct amp_vhost_fe fe;
	struct amp_vq vq[2];
	uint16_t state[2][NUM];
};

static void drv_run(struct driver *d)
{
	struct amp_vdev *vd = &d->fe.vd;
	uint64_t f = 0, cid = 0;
	uint8_t *p = vd->mem;

	assert_int_equal(vd->ops->probe(vd, AMP_VIRTIO_ID_VSOCK, &f), 0);
	assert_true(f & AMP_VIRTIO_F_VERSION_1);
	assert_false(f & AMP_VU_F_PROTOCOL_FEATURES);
	assert_int_equal(vd->ops->accept(vd, f | (1ull << 40)), -ENOTSUP);
	f = AMP_VIRTIO_F_VERSION_1 | AMP_VIRTIO_F_EVENT_IDX;
	assert_int_equal(vd->ops->accept(vd, f), 0);
	assert_int_equal(vd->ops->config(vd, 0, &cid, 8), 0);
	assert_int_equal(cid, 3);
	assert_int_equal(vd->ops->config(vd, 250, &cid, 8), -EINVAL);
	assert_true(vd->ops->queue_max(vd, 1) >= NUM);
	assert_int_equal(vd->ops->queue_max(vd, 2), 0);
	for (unsigned q = 0; q < 2; q++) {
		size_t avail, used;
		struct amp_vq_setup s = {
			.role = AMP_VQ_DRIVER,
			.dir = q == 0 ? AMP_VQ_IN : AMP_VQ_OUT,
			.num = NUM,
			.desc = p + q * 0x1000u,
			.event_idx = true,
			.state = d->state[q],
			.bus_off = vd->bus_off,
		};

		amp_vq_layout(NUM, &avail, &used);
		s.avail = p + q * 0x1000u + avail;
		s.used = p + q * 0x1000u + used;
		assert_int_equal(amp_vq_init(&d->vq[q], &s), 0);
		assert_int_equal(amp_vq_pool(&d->vq[q], p + 0x4000 + q * 0x4000u, 1024, NUM),
				 0);
		assert_int_equal(vd->ops->queue_set(vd, q, &d->vq[q]), 0);
	}
	assert_int_equal(vd->ops->queue_set(vd, 2, &d->vq[0]), -EINVAL);
	assert_int_equal(vd->ops->run(vd), 0);
	assert_int_equal(vd->ops->events(vd), 0);
}

/* One message there and back; waits for the call descriptor, as the port does. */
static void drv_echo(struct driver *d, uint32_t n)
{
	struct amp_vdev *vd = &d->fe.vd;
	struct amp_iov iov[1];
	struct amp_vq_buf b = {.iov = iov, .iov_max = 1};
	int rc;

	while ((rc = amp_vq_get(&d->vq[1], &b)) == 0) {
		struct pollfd p = {d->fe.call_fd[1], POLLIN, 0};

		if (!amp_vq_arm(&d->vq[1]))
			assert_int_equal(poll(&p, 1, 5000), 1);
	}
	assert_int_equal(rc, 1);
	memcpy(b.iov[0].base, &n, sizeof(n));
	amp_vq_put(&d->vq[1], b.id, sizeof(n));
	if (amp_vq_kick_due(&d->vq[1]))
		vd->ops->notify(vd, 1);
	while ((rc = amp_vq_get(&d->vq[0], &b)) == 0) {
		struct pollfd p = {d->fe.call_fd[0], POLLIN, 0};

		if (!amp_vq_arm(&d->vq[0])) {
			assert_int_equal(poll(&p, 1, 5000), 1);
			amp_port_drain(p.fd);
		}
	}
	assert_int_equal(rc, 1);
	assert_int_equal(b.len, sizeof(n));
	assert_memory_equal(b.iov[0].base, &n, sizeof(n));
	amp_vq_put(&d->vq[0], b.id, 0);
	if (amp_vq_kick_due(&d->vq[0]))
		vd->ops->notify(vd, 0);
}

/* events() looks at most once in a millisecond */
static unsigned wait_gone(struct amp_vdev *vd)
{
	uint32_t end = amp_port_now_ms() + 5000;
	unsigned ev;

	do {
		ev = vd->ops->events(vd);
	} while (!ev && (int32_t)(end - amp_port_now_ms()) > 0);
	return ev;
}

static void test_echo(void **state)
{
	static struct driver drv;
	struct device dev;
	int before = count_fds();

	(void)state;
	assert_int_equal(amp_vhost_fe_open_fd(&drv.fe, dev_up(&dev), FE_MEM - 5), 0);
	assert_int_equal(drv.fe.vd.mem_len, FE_MEM);
	drv_run(&drv);
	for (uint32_t i = 0; i < 20000; i++)
		drv_echo(&drv, i);
	assert_int_equal(drv.fe.vd.ops->events(&drv.fe.vd), 0);
	amp_vhost_fe_close(&drv.fe);
	dev_down(&dev);
	assert_int_equal(watch_cnt, 0);
	assert_int_equal(count_fds(), before);
}

/* a driver that resets the device and starts over on the same connection */
static void test_reset(void **state)
{
	static struct driver drv;
	struct device dev;

	(void)state;
	assert_int_equal(amp_vhost_fe_open_fd(&drv.fe, dev_up(&dev), FE_MEM), 0);
	for (int round = 0; round < 5; round++) {
		drv_run(&drv);
		for (uint32_t i = 0; i < 13; i++)
			drv_echo(&drv, i);
		drv.fe.vd.ops->reset(&drv.fe.vd);
		/* nothing touches the memory from here on */
		memset(drv.fe.vd.mem, 0x55, drv.fe.vd.mem_len);
	}
	amp_vhost_fe_close(&drv.fe);
	dev_down(&dev);
	assert_int_equal(dev.starts, 10);
	assert_int_equal(watch_cnt, 0);
}

static void test_back_end_dies(void **state)
{
	static struct driver drv;
	struct device dev;
	int before = count_fds();

	(void)state;
	for (int round = 0; round < 5; round++) {
		struct amp_vdev *vd = &drv.fe.vd;
		uint64_t f, cid;

		assert_int_equal(amp_vhost_fe_open_fd(&drv.fe, dev_up(&dev), FE_MEM), 0);
		drv_run(&drv);
		drv_echo(&drv, 7);
		assert_int_equal(watch_cnt, 3);
		dev_down(&dev);
		assert_int_equal(wait_gone(vd), AMP_VDEV_EV_GONE);
		assert_int_equal(watch_cnt, 2); /* the dead socket wakes nobody any more */
		assert_int_equal(vd->ops->events(vd), AMP_VDEV_EV_GONE);
		assert_int_equal(vd->ops->probe(vd, AMP_VIRTIO_ID_VSOCK, &f), -ENODEV);
		assert_true(vd->ops->config(vd, 0, &cid, 8) < 0);
		vd->ops->notify(vd, 1);
		vd->ops->reset(vd);
		amp_vhost_fe_close(&drv.fe);
		amp_vhost_fe_close(&drv.fe);
		assert_int_equal(watch_cnt, 0);
		assert_int_equal(count_fds(), before);
	}
}

/* ... and in the middle of a request */
static void test_back_end_dies_early(void **state)
{
	static struct driver drv;
	struct device dev;
	uint64_t f;

	(void)state;
	assert_int_equal(amp_vhost_fe_open_fd(&drv.fe, dev_up(&dev), FE_MEM), 0);
	dev_down(&dev);
	assert_int_equal(drv.fe.vd.ops->accept(&drv.fe.vd, AMP_VIRTIO_F_VERSION_1), -EPIPE);
	assert_int_equal(drv.fe.vd.ops->events(&drv.fe.vd), AMP_VDEV_EV_GONE);
	assert_int_equal(drv.fe.vd.ops->probe(&drv.fe.vd, AMP_VIRTIO_ID_VSOCK, &f), -ENODEV);
	amp_vhost_fe_close(&drv.fe);
	assert_int_equal(watch_cnt, 0);
}

/* --- nonsense --- */

struct answer {
	uint32_t req, flags, size;
	uint64_t v;
};

static int peer = -1; /* the back-end's end, for the test to close */

/* Says all its answers at once: they wait in the socket for their questions. */
static int open_against(struct amp_vhost_fe *fe, const struct answer *a, size_t cnt)
{
	int sv[2], rc, before = count_fds();

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	for (size_t i = 0; i < cnt; i++) {
		struct amp_vu_msg m = {.hdr = {a[i].req, a[i].flags, a[i].size},
				       .u.u64 = a[i].v};

		send_raw(sv[1], &m, AMP_VU_HDR_LEN + (a[i].size < 256 ? a[i].size : 0), NULL,
			 0);
	}
	shutdown(sv[1], SHUT_WR);
	rc = amp_vhost_fe_open_fd(fe, sv[0], FE_MEM);
	peer = sv[1];
	if (rc < 0) {
		close_if(&peer);
		assert_int_equal(count_fds(), before);
		assert_int_equal(fe->fd, -1);
		assert_int_equal(watch_cnt, 0);
	}
	return rc;
}

#define FEATS_OK (AMP_VIRTIO_F_VERSION_1 | AMP_VU_F_PROTOCOL_FEATURES)

static void test_nonsense(void **state)
{
	static struct amp_vhost_fe fe;
	static const struct {
		int rc;
		size_t cnt;
		struct answer a[3];
	} t[] = {
		{-EPIPE, 0, {{0, 0, 0, 0}}},
		{-EPROTO, 1, {{2, 5, 8, FEATS_OK}}},	/* another request's answer */
		{-EPROTO, 1, {{1, 1, 8, FEATS_OK}}},	/* no answer at all */
		{-EPROTO, 1, {{1, 6, 8, FEATS_OK}}},	/* another version */
		{-EPROTO, 1, {{1, 5, 4, FEATS_OK}}},	/* too short */
		{-EPROTO, 1, {{1, 5, 0xffffffffu, 0}}}, /* too long */
		{-ENOTSUP, 1, {{1, 5, 8, AMP_VU_F_PROTOCOL_FEATURES}}}, /* legacy */
		{-ENOTSUP, 1, {{1, 5, 8, AMP_VIRTIO_F_VERSION_1}}},
		{-ENOTSUP,
		 2,
		 {{1, 5, 8, FEATS_OK}, {15, 5, 8, AMP_VU_PROTO_REPLY_ACK}}}, /* no CONFIG */
		{-EPIPE,
		 2,
		 {{1, 5, 8, FEATS_OK}, {15, 5, 8, AMP_VU_PROTO_CONFIG | AMP_VU_PROTO_MQ}}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		assert_int_equal(open_against(&fe, t[i].a, t[i].cnt), t[i].rc);
}

/* the least that a back-end can offer; then it talks out of turn: gone */
static void test_plain_back_end(void **state)
{
	static struct amp_vhost_fe fe;
	static const struct answer a[] = {
		{1, 5, 8, FEATS_OK}, {15, 5, 8, AMP_VU_PROTO_CONFIG}, {99, 5, 8, 0}};

	(void)state;
	assert_int_equal(open_against(&fe, a, 3), 0);
	assert_int_equal(fe.queues, AMP_VHOST_FE_QUEUES);
	assert_int_equal(wait_gone(&fe.vd), AMP_VDEV_EV_GONE);
	amp_vhost_fe_close(&fe);
	close_if(&peer);
	assert_int_equal(watch_cnt, 0);
}

/* SET_FEATURES refused with REPLY_ACK */
static void test_refused(void **state)
{
	static struct amp_vhost_fe fe;
	static const struct answer a[] = {
		{1, 5, 8, FEATS_OK},
		{15, 5, 8, AMP_VU_PROTO_CONFIG | AMP_VU_PROTO_REPLY_ACK},
		{3, 5, 8, 0},
		{2, 5, 8, 1},
	};

	(void)state;
	assert_int_equal(open_against(&fe, a, 4), 0);
	assert_int_equal(fe.vd.ops->accept(&fe.vd, AMP_VIRTIO_F_VERSION_1), -ENOTSUP);
	amp_vhost_fe_close(&fe);
	close_if(&peer);
}

static void test_open_path(void **state)
{
	static struct amp_vhost_fe fe;
	char dir[] = "/tmp/vhostXXXXXX", path[64], longer[200];
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), before;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	before = count_fds();
	amp_vhost_fe_close(&fe); /* never opened */
	assert_int_equal(count_fds(), before);
	assert_int_equal(amp_vhost_fe_open(&fe, path, FE_MEM), -ENOENT);
	assert_int_equal(bind(fd, (const struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(amp_vhost_fe_open(&fe, path, FE_MEM), -ECONNREFUSED);
	assert_int_equal(amp_vhost_fe_open(&fe, longer, FE_MEM), -ENAMETOOLONG);
	assert_int_equal(count_fds(), before);
	unlink(path);
	rmdir(dir);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_echo),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_back_end_dies),
		cmocka_unit_test(test_back_end_dies_early),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_plain_back_end),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_open_path),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
