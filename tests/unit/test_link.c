// SPDX-License-Identifier: BSD-3-Clause
/*
 * amp_link_vsock() against a device made for the test: bring-up and its refusals, resets from
 * the device, the event queue, a broken ring, a device that stays away and comes back.
 */
// small
// build: -DAMPSOCK_VSOCK_NUM=256 src/vsock/link_driver.c
#define AMPSOCK_CONFIG "port/hosted_config.h" /* as the library it is linked with */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <ampsock.h>
#include <sys/vm_sockets.h>

#include "port/port.h"
#include "socket/amp_calls.h"
#include "socket/stack.h"
#include "virtio/vdev.h"
#include "vsock/af_vsock.h"
#include "wire/le.h"

/* A small build keeps the flag to itself. */
#if AMPSOCK_FAST
#define BEGIN_UNCHANGED()	 (amp_changed = false)
#define ASSERT_CHANGED(expected) assert_int_equal(amp_changed, expected)
#else
#define BEGIN_UNCHANGED()	 ((void)0)
#define ASSERT_CHANGED(expected) ((void)0)
#endif

/* ---- the device ---- */

static struct {
	struct amp_vdev vd;
	uint64_t features;
	uint64_t accepted;
	uint64_t cid;
	uint16_t max[3];
	int fail; /* what probe says */
	int probes, resets, runs;
	unsigned events;
	struct amp_vq q[3]; /* our ends */
	struct amp_vsock vs;
	struct amp_vsock_conn *hash[1];
	struct amp_vsock_stray stray[4];
	struct amp_iov iov[8];
	struct amp_vsock_conn conn;
	struct amp_vsock_conn mute; /* asked for at port 2, never answered */
	unsigned seen;		    /* events of conn */
	uint32_t got;
	uint32_t alloc;	  /* 0: 4096 */
	bool kernel;	  /* keeps what comes unread, and charges packets as Linux does */
	uint32_t unread;  /* bytes */
	uint32_t packets; /* of those */
	bool overrun;	  /* where Linux resets with ENOBUFS */
	unsigned refills; /* kicks: buffers went back */
} dev;

static uint8_t dev_mem[32 << 20] __attribute__((aligned(64)));

static int dev_probe(struct amp_vdev *vd, uint32_t id, uint64_t *features)
{
	(void)vd;
	assert_int_equal(id, AMP_VIRTIO_ID_VSOCK);
	dev.probes++;
	*features = dev.features;
	return dev.fail;
}

static int dev_accept(struct amp_vdev *vd, uint64_t features)
{
	(void)vd;
	assert_int_equal(features & ~dev.features, 0);
	dev.accepted = features;
	return 0;
}

static uint32_t dev_max(struct amp_vdev *vd, unsigned q)
{
	(void)vd;
	return dev.max[q];
}

static void *same(void *ctx, uint64_t addr, uint32_t *len)
{
	(void)ctx;
	(void)len;
	return (void *)(uintptr_t)addr;
}

static int dev_queue(struct amp_vdev *vd, unsigned q, const struct amp_vq *vq)
{
	struct amp_vq_setup s = {
		.role = AMP_VQ_DEVICE,
		.dir = q == 1 ? AMP_VQ_IN : AMP_VQ_OUT,
		.num = vq->num,
		.desc = (void *)(uintptr_t)vq->desc,
		.avail = (void *)(uintptr_t)vq->avail,
		.used = (void *)(uintptr_t)vq->used,
		.event_idx = (dev.accepted & AMP_VIRTIO_F_EVENT_IDX) != 0,
		.xlate = {.translate = same},
	};

	(void)vd;
	assert_true(vq->num <= dev.max[q]);
	return amp_vq_init(&dev.q[q], &s);
}

static struct amp_vsock_conn *on_request(struct amp_vsock *vs,
					 const struct amp_vsock_ends *ends, uint8_t type)
{
	(void)vs;
	(void)type;
	if (ends->local.port == 2)
		return &dev.mute;
	if (ends->local.port != 1 || dev.conn.state != AMP_CONN_FREE)
		return NULL;
	dev.conn.buf_alloc = dev.alloc ? dev.alloc : 4096;
	amp_vsock_respond(vs, &dev.conn);
	return &dev.conn;
}

static int on_data(struct amp_vsock *vs, struct amp_vsock_conn *c,
		   const struct amp_vsock_rx *rx)
{
	dev.got += rx->len;
	if (dev.kernel) {
		dev.unread += rx->len;
		dev.packets++;
		dev.overrun |= dev.unread + 576 * dev.packets > dev.alloc;
	} else {
		amp_vsock_consumed(vs, c, rx->len);
	}
	return 0;
}

static void on_event(struct amp_vsock *vs, struct amp_vsock_conn *c, unsigned ev)
{
	(void)vs;
	(void)c;
	dev.seen |= ev;
}

static const struct amp_vsock_ops host_ops = {
	.request = on_request,
	.data = on_data,
	.event = on_event,
};

static int dev_run(struct amp_vdev *vd)
{
	(void)vd;
	dev.runs++;
	memset(&dev.vs, 0, sizeof(dev.vs));
	memset(&dev.conn, 0, sizeof(dev.conn));
	memset(&dev.mute, 0, sizeof(dev.mute));
	dev.vs.ops = &host_ops;
	dev.vs.in = &dev.q[1];
	dev.vs.out = &dev.q[0];
	dev.vs.local_cid = 2;
	dev.vs.peer_cid = (uint32_t)dev.cid;
	dev.vs.seqpacket = true;
	dev.vs.hash = dev.hash;
	dev.vs.hash_len = 1;
	dev.vs.iov = dev.iov;
	dev.vs.iov_max = 8;
	dev.vs.stray = dev.stray;
	dev.vs.stray_len = 4;
	(void)amp_vsock_respond; /* this end listens: vsock_request.c is wanted */
	amp_vsock_init(&dev.vs);
	return 0;
}

static int dev_config(struct amp_vdev *vd, uint32_t off, void *dst, uint32_t len)
{
	uint8_t raw[8];

	(void)vd;
	amp_put_le64(raw, dev.cid);
	assert_true(off + len <= 8);
	memcpy(dst, raw + off, len);
	return 0;
}

static unsigned dev_events(struct amp_vdev *vd)
{
	unsigned ev = dev.events;

	(void)vd;
	dev.events = 0;
	return ev;
}

/* A kick: the host's engine has its turn, and its answers are there at once. */
static void dev_notify(struct amp_vdev *vd, unsigned q)
{
	(void)vd;
	dev.refills += q == 0;
	amp_port_lock(); /* for ever, if the one who notifies still holds it */
	amp_port_unlock();
	while (dev.vs.in && (amp_vsock_run(&dev.vs, 100) > 0 || amp_vsock_arm(&dev.vs)))
		;
	amp_port_wake(); /* the interrupt */
}

static void dev_reset(struct amp_vdev *vd)
{
	(void)vd;
	dev.resets++;
	dev.vs.in = dev.vs.out = NULL;
}

static const struct amp_vdev_ops dev_ops = {
	.probe = dev_probe,
	.accept = dev_accept,
	.queue_max = dev_max,
	.queue_set = dev_queue,
	.run = dev_run,
	.config = dev_config,
	.events = dev_events,
	.notify = dev_notify,
	.reset = dev_reset,
};

/* ---- the tests ---- */

static int ups, downs;

static void on_link(void *arg, int link, int up)
{
	(void)arg;
	(void)link;
	if (up)
		ups++;
	else
		downs++;
}

static int set_up(void **state)
{
	(void)state;
	memset(&dev, 0, sizeof(dev));
	dev.vd.ops = &dev_ops;
	dev.vd.mem = dev_mem;
	dev.vd.mem_len = sizeof(dev_mem);
	dev.features = AMP_VIRTIO_F_VERSION_1 | AMP_VIRTIO_F_EVENT_IDX | AMP_VSOCK_F_SEQPACKET |
		       AMP_VIRTIO_F_RING_PACKED | 1;
	dev.cid = 3;
	dev.max[0] = dev.max[1] = 64;
	dev.max[2] = 64;
	ups = downs = 0;
	amp_link_callback(on_link, NULL);
	return 0;
}

static int dial(void)
{
	struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = 2, .svm_port = 1};
	int fd = amp_socket(AF_VSOCK, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* One reset, told once; then the end. */
static void is_reset(int fd)
{
	char b;

	errno = 0;
	assert_int_equal(amp_recv(fd, &b, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(amp_recv(fd, &b, 1, 0), 0);
	assert_int_equal(amp_close(fd), 0);
}

static void test_refused(void **state)
{
	(void)state;
	dev.fail = -ENODEV;
	assert_int_equal(amp_link_vsock(&dev.vd), -ENODEV);
	dev.fail = 0;
	dev.features &= ~AMP_VIRTIO_F_VERSION_1;
	assert_int_equal(amp_link_vsock(&dev.vd), -ENOTSUP);
	dev.features |= AMP_VIRTIO_F_VERSION_1;
	for (uint64_t cid = 0; cid < 3; cid++) {
		dev.cid = cid;
		assert_int_equal(amp_link_vsock(&dev.vd), -EPROTO);
	}
	dev.cid = 3 | 1ull << 32;
	assert_int_equal(amp_link_vsock(&dev.vd), -EPROTO);
	dev.cid = 3;
	dev.max[1] = 0;
	assert_int_equal(amp_link_vsock(&dev.vd), -ENODEV);
	dev.max[1] = 64;
	dev.vd.mem_len = 4096;
	assert_int_equal(amp_link_vsock(&dev.vd), -ENOBUFS);
	assert_int_equal(amp_link_wait(0), -ETIMEDOUT);
	assert_int_equal(ups, 0);
}

static void test_up(void **state)
{
	struct sockaddr_vm a;
	socklen_t len = sizeof(a);
	int fd;

	(void)state;
	dev.max[2] = 0; /* a device without an event queue will do */
	assert_int_equal(amp_link_vsock(&dev.vd), 0);
	assert_int_equal(dev.accepted, AMP_VIRTIO_F_VERSION_1 | AMP_VIRTIO_F_EVENT_IDX |
					       AMP_VSOCK_F_SEQPACKET);
	assert_int_equal(amp_link_wait(0), 0);
	assert_int_equal(ups, 1);
	fd = dial();
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(a.svm_cid, 3);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(amp_send(fd, "0123456789", 10, 0), 10);
	assert_int_equal(dev.got, 10000);
	assert_int_equal(amp_close(fd), 0);
	amp_poll_links();
	fd = dial(); /* the host uses the same struct again */
	assert_int_equal(amp_close(fd), 0);
	amp_poll_links();
	assert_int_equal(dev.seen & AMP_VSOCK_EV_RESET, 0);
}

/* The beginning of a message whose end never came is not that of the next connection's first. */
static void test_half_a_message(void **state)
{
	struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = 2, .svm_port = 1};
	struct iovec half = {(char[]){"half"}, 4}, whole = {(char[]){"whole"}, 5};
	int fd = amp_socket(AF_VSOCK, SOCK_SEQPACKET, 0);
	char buf[16];

	(void)state;
	assert_int_equal(amp_link_vsock(&dev.vd), 0);
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(amp_vsock_send(&dev.vs, &dev.conn, &half, 0, 4, 0), 4);
	amp_poll_links();
	amp_vsock_abort(&dev.vs, &dev.conn);
	assert_true(amp_vsock_run(&dev.vs, 100) >= 0);
	errno = 0;
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(amp_vsock_send(&dev.vs, &dev.conn, &whole, 0, 5, AMP_VSOCK_SEQ_EOM),
			 5);
	assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 5);
	assert_memory_equal(buf, "whole", 5);
	assert_int_equal(amp_close(fd), 0);
	amp_poll_links();
}

/* The device says that it must be reset: everything anew, listeners stay. */
static void test_needs_reset(void **state)
{
	struct sockaddr_vm a = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = 70};
	struct pollfd p = {.events = POLLIN};
	int fd, l = amp_socket(AF_VSOCK, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(amp_link_vsock(&dev.vd), 0);
	ups = downs = 0;
	assert_int_equal(amp_bind(l, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(amp_listen(l, 1), 0);
	fd = dial();
	dev.events = AMP_VDEV_EV_GONE;
	p.fd = fd;
	assert_int_equal(amp_poll(&p, 1, 1000), 1);
	assert_true(p.revents & POLLERR && p.revents & POLLHUP);
	is_reset(fd);
	assert_int_equal(dev.probes, 2);
	assert_int_equal(downs, 1);
	assert_int_equal(ups, 1);
	/* the host dials the old listener over the new link */
	dev.conn.buf_alloc = 4096;
	assert_int_equal(amp_vsock_connect(&dev.vs, &dev.conn, (struct amp_vsock_addr){2, 900},
					   (struct amp_vsock_addr){3, 70}, AMP_VSOCK_STREAM),
			 0);
	dev_notify(&dev.vd, 0);
	fd = amp_accept(l, NULL, NULL);
	assert_true(fd >= 0);
	assert_int_equal(amp_close(fd), 0);
	assert_int_equal(amp_close(l), 0);
}

/* 5.10.6.7: connections end, and the CID is another one afterwards. */
static void test_transport_reset(void **state)
{
	struct amp_iov iov[2];
	struct amp_vq_buf b = {.iov = iov, .iov_max = 2};
	struct sockaddr_vm a;
	socklen_t len = sizeof(a);
	int fd;

	(void)state;
	assert_int_equal(amp_link_vsock(&dev.vd), 0);
	fd = dial();
	/* an event of another kind is nobody's business */
	assert_int_equal(amp_vq_get(&dev.q[2], &b), 1);
	amp_put_le32(iov[0].base, 77);
	amp_vq_put(&dev.q[2], b.id, 4);
	for (int i = 0; i < 200; i++)
		amp_poll_links();
	assert_int_equal(dev.probes, 1);
	b.iov = iov;
	assert_int_equal(amp_vq_get(&dev.q[2], &b), 1);
	amp_put_le32(iov[0].base, 0);
	amp_vq_put(&dev.q[2], b.id, 4);
	dev.cid = 5;
	for (int i = 0; i < 200 && dev.probes == 1; i++)
		amp_poll_links();
	assert_int_equal(dev.probes, 2);
	is_reset(fd);
	fd = dial();
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(a.svm_cid, 5);
	/* an event ring with a lie in it is a broken link, not one that never sleeps again */
	b.iov = iov;
	assert_int_equal(amp_vq_get(&dev.q[2], &b), 1);
	amp_vq_put(&dev.q[2], 999, 4);
	for (int i = 0; i < 200 && dev.probes == 2; i++)
		amp_poll_links();
	assert_int_equal(dev.probes, 3);
	is_reset(fd);
}

/* A device without buffers hears that some went back long before its ring is empty, however deep. */
static void test_deep_ring(void **state)
{
	struct iovec one = {.iov_base = "x", .iov_len = 1};
	char buf[300];
	int fd, n = 0;

	(void)state;
	dev.max[0] = 256;
	assert_int_equal(amp_link_vsock(&dev.vd), 0);
	fd = dial();
	for (int round = 0; round < 3; round++) {
		while (amp_vsock_send(&dev.vs, &dev.conn, &one, 0, 1, 0) == 1)
			n++;
		assert_true(n > 200);
		(void)amp_vsock_arm(&dev.vs);
		dev.refills = 0;
		amp_poll_links();
		amp_poll_links();
		assert_true(dev.refills > 0);
		assert_int_equal(amp_recv(fd, buf, (size_t)n, MSG_WAITALL), n);
		n = 0;
	}
	assert_int_equal(amp_close(fd), 0);
	amp_poll_links();
}

/* What refuses strangers has room for four: what goes out to have room again is told of, too. */
static void test_many_strangers(void **state)
{
	struct iovec one = {.iov_base = "x", .iov_len = 1};
	struct amp_vsock_conn stranger[4];
	char byte;
	int fd;

	(void)state;
	assert_int_equal(amp_link_vsock(&dev.vd), 0);
	fd = dial();
	amp_poll_links();
	memset(stranger, 0, sizeof(stranger));
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(amp_vsock_connect(&dev.vs, &stranger[i],
						   amp_vsock_at(2, 5000 + i),
						   amp_vsock_at(3, 99), AMP_VSOCK_STREAM),
				 0);
	while (amp_vsock_run(&dev.vs, 100) > 0)
		;
	assert_int_equal(amp_vsock_send(&dev.vs, &dev.conn, &one, 0, 1, 0), 1);
	(void)amp_vsock_arm(&dev.vs);
	assert_int_equal(amp_recv(fd, &byte, 1, MSG_DONTWAIT), 1);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(stranger[i].state, AMP_CONN_FREE);
	assert_int_equal(amp_close(fd), 0);
	amp_poll_links();
}

/* A lie in the ring costs the link, once. */
static void test_broken_ring(void **state)
{
	struct amp_stats before, after;
	int fd;

	(void)state;
	assert_int_equal(amp_link_vsock(&dev.vd), 0);
	fd = dial();
	amp_stats_get(&before);
	*(volatile uint16_t *)((uint8_t *)(uintptr_t)dev.q[0].used + 2) += 1000;
	is_reset(fd);
	amp_stats_get(&after);
	assert_int_equal(after.link_resets, before.link_resets + 1);
	fd = dial();
	assert_int_equal(amp_close(fd), 0);
}

static unsigned lies;

static void count_lie(const char *line)
{
	lies += strstr(line, "fwd_cnt") != NULL;
}

/* A device that breaks the rules on each connection is counted, and said once in a life. */
static void test_lies_are_said_once(void **state)
{
	struct amp_stats before, now;

	(void)state;
	assert_int_equal(amp_link_vsock(&dev.vd), 0);
	lies = 0;
	amp_log_hook(count_lie);
	amp_stats_get(&before);
	for (unsigned life = 1; life <= 2; life++) {
		for (unsigned i = 0; i < 20; i++) {
			int fd = dial();

			dev.conn.credit.fwd_cnt += 1000; /* more than was ever sent */
			amp_vsock_shutdown(&dev.vs, &dev.conn, AMP_VSOCK_SHUTDOWN_SEND);
			dev_notify(&dev.vd, 0);
			amp_poll_links();
			is_reset(fd);
			dev_notify(&dev.vd, 0);
		}
		amp_stats_get(&now);
		assert_int_equal(now.resets, before.resets + 20 * life);
		assert_int_equal(lies, life);
		dev.events = AMP_VDEV_EV_GONE;
		amp_poll_links();
		assert_int_equal(amp_link_wait(1000), 0);
	}
	amp_log_hook(NULL);
}

/* It stays away; the owner brings it back. */
static void test_away_and_back(void **state)
{
	struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = 2, .svm_port = 1};
	int fd;

	(void)state;
	assert_int_equal(amp_link_vsock(&dev.vd), 0);
	fd = dial();
	dev.fail = -ENODEV;
	dev.events = AMP_VDEV_EV_GONE;
	is_reset(fd);
	assert_int_equal(amp_link_wait(0), -ETIMEDOUT);
	fd = amp_socket(AF_VSOCK, SOCK_STREAM, 0);
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), -1);
	assert_int_equal(errno, ENETUNREACH);
	dev.fail = 0;
	assert_int_equal(amp_link_vsock(&dev.vd), 0);
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(amp_close(fd), 0);
}

/* A packet of an old connection that comes late must not hit a new one. */
static void test_ports_go_round(void **state)
{
	unsigned last = 0;

	(void)state;
	for (int i = 0; i < 100; i++) {
		struct sockaddr_vm a = {.svm_family = AF_VSOCK,
					.svm_cid = VMADDR_CID_ANY,
					.svm_port = VMADDR_PORT_ANY};
		socklen_t len = sizeof(a);
		int fd = amp_socket(AF_VSOCK, SOCK_STREAM, 0);

		assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
		assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&a, &len), 0);
		assert_true(a.svm_port > last); /* never one that was used before */
		last = a.svm_port;
		assert_int_equal(amp_close(fd), 0);
	}
}

/* Zero-copy survives a reset between reserve and commit. */
static void test_reserved_reset(void **state)
{
	struct iovec v[2];
	int fd, cnt;

	(void)state;
	assert_int_equal(amp_link_vsock(&dev.vd), 0);
	fd = dial();
	assert_int_equal(amp_reserve(fd, v, &cnt, 100), 100);
	dev.events = AMP_VDEV_EV_GONE;
	amp_poll_links();
	memset(v[0].iov_base, 0, 100);
	assert_int_equal(amp_commit(fd, 100), -1);
	assert_int_equal(errno, EPIPE);
	is_reset(fd);
}

/* As much of m as goes now. */
static ssize_t send_some(struct amp_sock *s, struct amp_msg *m)
{
	ssize_t n = 0;

	while (m->done < m->len && (n = AMP_FAM(s->fam, sendmsg)(s, m, 0)) > 0)
		m->done += (size_t)n;
	return n;
}

/*
 * A message of many packets is nobody else's affair, unless its sender had to wait in its middle:
 * that kept others out, who are told when it is their turn.
 */
static void test_whole_message(void **state)
{
	static char bytes[1500000];
	struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = 2, .svm_port = 1};
	const struct iovec iov = {bytes, sizeof(bytes)};
	struct amp_msg m = {.iov = &iov, .iov_cnt = 1, .len = 50000};
	int fd = amp_socket(AF_VSOCK, SOCK_SEQPACKET, 0);
	struct amp_sock *s;

	(void)state;
	dev.alloc = 1 << 21;
	assert_int_equal(amp_link_vsock(&dev.vd), 0);
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	amp_port_lock();
	s = amp_sock_find(fd);
	BEGIN_UNCHANGED();
	assert_true(send_some(s, &m) > 0);
	assert_int_equal(m.done, 50000);
	ASSERT_CHANGED(false);
	amp_port_unlock();
	amp_poll_links();
	assert_int_equal(dev.got, 50000);
	m.done = 0;
	m.len = sizeof(bytes); /* more than the ring holds */
	amp_port_lock();
	assert_int_equal(send_some(s, &m), -EAGAIN);
	assert_in_range(m.done, 1, m.len - 1);
	amp_port_unlock();
	amp_poll_links();
	errno = 0;
	assert_int_equal(amp_send(fd, "x", 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	amp_port_lock();
	BEGIN_UNCHANGED();
	assert_true(send_some(s, &m) > 0);
	assert_int_equal(m.done, m.len);
	ASSERT_CHANGED(true);
	amp_port_unlock();
	assert_int_equal(amp_send(fd, "x", 1, 0), 1);
	assert_int_equal(dev.got, 50000 + sizeof(bytes) + 1);
	assert_int_equal(amp_close(fd), 0);
	amp_poll_links();
}

/* What a host's kernel, newer than 6.12.92, can keep: bytes, and 576 for every packet. */
static void flood_kernel(int type, size_t len)
{
	static char msg[8192];
	struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = 2, .svm_port = 1};
	struct pollfd p = {.events = POLLOUT};
	uint32_t sent = 0;

	dev.alloc = 262144;
	dev.kernel = true;
	assert_int_equal(amp_link_vsock(&dev.vd), 0);
	p.fd = amp_socket(AF_VSOCK, type, 0);
	assert_int_equal(amp_connect(p.fd, (struct sockaddr *)&a, sizeof(a)), 0);
	for (int round = 0; round < 20; round++) {
		uint32_t before = sent;

		assert_int_equal(amp_poll(&p, 1, 5000), 1); /* it is asked, and has news */
		assert_int_equal(p.revents, POLLOUT);
		while (amp_send(p.fd, msg, len, MSG_DONTWAIT) == (ssize_t)len)
			sent++;
		assert_int_equal(errno, EAGAIN);
		assert_false(dev.overrun);
		assert_true(sent - before >= (len < 576 ? 200 : 20)); /* half of what fits */
		assert_int_equal(amp_poll(&p, 1, 0), 0);
		/* read, and as older ones do it, not a word about it */
		dev.conn.credit.fwd_cnt += dev.unread;
		dev.unread = dev.packets = 0;
	}
	assert_int_equal(dev.got, sent * len);
	assert_int_equal(amp_close(p.fd), 0);
	amp_poll_links();
}

static void test_packets_are_metered(void **state)
{
	(void)state;
	flood_kernel(SOCK_STREAM, 1);
}

static void test_messages_are_metered(void **state)
{
	(void)state;
	flood_kernel(SOCK_SEQPACKET, 1);
}

static void test_larger_ones_are_metered(void **state)
{
	(void)state;
	flood_kernel(SOCK_SEQPACKET, 5000);
}

/* A device that always has something for somebody who waits, and who may send between: time goes
 * by all the same. */
static void deadline_under_load(bool looks, bool answers)
{
	struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = 2, .svm_port = 2};
	char c;
	struct iovec one = {.iov_base = "x", .iov_len = 1},
		     room = {.iov_base = &c, .iov_len = 1};
	int fd, fd2 = amp_socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0);
	unsigned after = 0;
	struct amp_sock *s;
	uint32_t end_ms;

	assert_int_equal(amp_link_vsock(&dev.vd), 0);
	fd = dial();
	assert_int_equal(amp_connect(fd2, (struct sockaddr *)&a, sizeof(a)), -1);
	assert_int_equal(errno, EINPROGRESS);
	end_ms = amp_port_now_ms() + 30;
	amp_port_lock();
	s = amp_sock_find(fd2);
	amp_vsock_no_deadline(conn_of(s));
	amp_vsock_deadline(engine_of(s), conn_of(s), end_ms);
	amp_port_unlock();
	while (after < 2 * 64 && (s->flags & AMP_SF_CONNECTING)) {
		if (amp_vsock_send(&dev.vs, &dev.conn, &one, 0, 1, 0) != 1) {
			dev_notify(&dev.vd, 0);
			continue;
		}
		if (looks)
			assert_int_equal(amp_readv(fd, &room, 1), 1);
		else
			assert_int_equal(amp_recv(fd, &c, 1, 0), 1);
		if (answers)
			assert_int_equal(amp_writev(fd, &one, 1), 1);
		after += (int32_t)(amp_port_now_ms() - end_ms) > 0;
	}
	assert_false(s->flags & AMP_SF_CONNECTING);
	assert_in_range(after, 0, 65);
	assert_int_equal(s->err, ETIMEDOUT);
	assert_int_equal(amp_close(fd), 0);
	assert_int_equal(amp_close(fd2), 0);
	amp_poll_links();
}

static void test_deadline_under_load(void **state)
{
	(void)state;
	deadline_under_load(false, false);
	deadline_under_load(true, false);
}

static void test_deadline_beside_answers(void **state)
{
	(void)state;
	deadline_under_load(false, true);
	deadline_under_load(true, true);
}

/* What is under way stays so, whatever connect() is asked for; shutdown() gives it up, all of it. */
static void test_connect_under_way(void **state)
{
	struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = 2, .svm_port = 2};
	int fd, fd2 = amp_socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct pollfd p = {.fd = fd2, .events = POLLIN | POLLOUT};

	(void)state;
	assert_int_equal(amp_link_vsock(&dev.vd), 0);
	fd = dial();
	assert_int_equal(amp_connect(fd2, (struct sockaddr *)&a, sizeof(a)), -1);
	assert_int_equal(errno, EINPROGRESS);
	assert_int_equal(amp_connect(fd2, (struct sockaddr *)&a, sizeof(a) - 1), -1);
	assert_int_equal(errno, EALREADY);
	assert_int_equal(amp_poll(&p, 1, 0), 0);
	assert_int_equal(amp_shutdown(fd2, SHUT_RDWR), 0);
	amp_poll_links();
	assert_int_equal(amp_connect(fd2, (struct sockaddr *)&a, sizeof(a) - 1), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(amp_connect(fd2, (struct sockaddr *)&a, sizeof(a)), -1);
	assert_int_equal(errno, EINPROGRESS);
	assert_int_equal(amp_close(fd), 0);
	assert_int_equal(amp_close(fd2), 0);
	amp_poll_links();
}

#define T(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_refused),
		T(test_up),
		T(test_half_a_message),
		T(test_needs_reset),
		T(test_transport_reset),
		T(test_deep_ring),
		T(test_many_strangers),
		T(test_broken_ring),
		T(test_lies_are_said_once),
		T(test_away_and_back),
		T(test_reserved_reset),
		T(test_ports_go_round),
		T(test_whole_message),
		T(test_packets_are_metered),
		T(test_messages_are_metered),
		T(test_larger_ones_are_metered),
		T(test_deadline_under_load),
		T(test_deadline_beside_answers),
		T(test_connect_under_way),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
