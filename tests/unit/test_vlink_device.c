// SPDX-License-Identifier: BSD-3-Clause
/* A link of the library at the device's end: packets of many descriptors, bulk, and nobody sleeps. */
#define AMPSOCK_CONFIG "port/hosted_config.h" /* as the library it is linked with */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <poll.h>
#include <sys/select.h>
#include <sys/vm_sockets.h>
#include <cmocka.h>

#include <ampsock.h>
#include "socket/amp_calls.h"
#include "vsock/af_vsock.h"

#define NUM 16

static uint8_t ring[4096] __attribute__((aligned(16)));
static uint8_t packet[64] __attribute__((aligned(16)));
static struct amp_vq drv, dev;
static uint16_t state[NUM];
static struct amp_vlink l;

static void *translate(void *ctx, uint64_t addr, uint32_t *len)
{
	(void)ctx;
	(void)len;
	return (void *)(uintptr_t)addr;
}

static unsigned none_due(struct amp_runner *r)
{
	(void)r;
	return 0;
}

/* Both ends of a ring; dir: the driver's. */
static void both_ends(struct amp_vq *driver, struct amp_vq *device, enum amp_vq_dir dir,
		      uint8_t *mem, uint16_t *its_state)
{
	struct amp_vq_setup s = {.role = AMP_VQ_DRIVER, .dir = dir, .num = NUM};
	size_t avail, used;

	(void)amp_vq_layout(NUM, &avail, &used);
	s.desc = mem;
	s.avail = mem + avail;
	s.used = mem + used;
	s.state = its_state;
	assert_int_equal(amp_vq_init(driver, &s), 0);
	s.role = AMP_VQ_DEVICE;
	s.dir = dir == AMP_VQ_OUT ? AMP_VQ_IN : AMP_VQ_OUT;
	s.xlate.translate = translate;
	assert_int_equal(amp_vq_init(device, &s), 0);
}

static void queues(void)
{
	both_ends(&drv, &dev, AMP_VQ_OUT, ring, state);
}

/* Four packets fill the ring, and the driver waits until it hears of them. */
static void test_ring_is_full(void **st)
{
	struct amp_vsock_hdr h = {
		.src_cid = 3, .dst_cid = 2, .type = 1, .op = AMP_VSOCK_OP_RST};
	struct amp_iov iov[4] = {{packet, 10},
				 {packet + 10, 10},
				 {packet + 20, 10},
				 {packet + 30, AMP_VSOCK_HDR_LEN - 30}};

	(void)st;
	memcpy(packet, &h, AMP_VSOCK_HDR_LEN);
	queues();
	l.runner.kick_due = none_due;
	l.vs.in = &dev;
	l.vs.local_cid = 2;
	l.vs.peer_cid = 3;
	amp_vlink_up(&l);
	amp_vlink_asked(&l);
	l.runner.due = false;
	for (int i = 0; i < NUM / 4; i++)
		assert_true(amp_vq_post(&drv, iov, 4, 0, NULL) >= 0);
	assert_int_equal(amp_vq_post(&drv, iov, 4, 0, NULL), -11);
	(void)amp_vlink_turn(&l);
	(void)amp_vlink_turn(&l); /* nothing more comes */
	assert_int_equal(l.vs.stats.rx_packets, NUM / 4);
	assert_true(l.runner.due);
	amp_vlink_asked(&l);
	l.runner.due = false;
	(void)amp_vlink_turn(&l); /* once */
	assert_false(l.runner.due);
}

/* ---- bulk ---- */

#define BULK 8000u

static uint8_t back[4096] __attribute__((aligned(16)));
static uint8_t bulk[4][AMP_VSOCK_HDR_LEN + BULK] __attribute__((aligned(16)));
static uint8_t to_driver[NUM][AMP_VSOCK_HDR_LEN] __attribute__((aligned(16)));
static uint16_t back_state[NUM];
static struct amp_vq back_drv, back_dev;
static struct amp_vlink link2;

static int32_t turn(struct amp_runner *r, uint32_t now_ms)
{
	(void)r;
	(void)now_ms;
	return amp_vlink_turn(&link2);
}

static unsigned flush_due(struct amp_runner *r)
{
	(void)r;
	amp_vlink_flush(&link2);
	amp_vlink_asked(&link2);
	return 0;
}

static void no_kick(struct amp_runner *r, unsigned queues)
{
	(void)r;
	(void)queues;
}

/* One from the driver: len bytes of fill, all of it one descriptor. */
static void send_packet(unsigned at, uint32_t port, uint16_t op, uint32_t len, uint8_t fill)
{
	struct amp_vsock_hdr h = {.src_cid = 3,
				  .dst_cid = 2,
				  .src_port = 1234,
				  .dst_port = port,
				  .len = len,
				  .type = 1,
				  .op = op,
				  .buf_alloc = 65536};
	struct amp_iov iov = {bulk[at], AMP_VSOCK_HDR_LEN + len};

	memcpy(bulk[at], &h, AMP_VSOCK_HDR_LEN);
	memset(bulk[at] + AMP_VSOCK_HDR_LEN, fill, len);
	assert_true(amp_vq_post(&drv, &iov, 1, 0, NULL) >= 0);
}

static void packets_back(unsigned cnt)
{
	uint16_t id;
	uint32_t len;

	while (cnt--)
		assert_int_equal(amp_vq_reap(&drv, &id, &len), 1);
	assert_int_equal(amp_vq_reap(&drv, &id, &len), 0);
}

static void bulk_link(void)
{
	queues();
	both_ends(&back_drv, &back_dev, AMP_VQ_IN, back, back_state);
	for (unsigned i = 0; i < NUM; i++) {
		struct amp_iov iov = {to_driver[i], AMP_VSOCK_HDR_LEN};

		assert_true(amp_vq_post(&back_drv, &iov, 0, 1, NULL) >= 0);
	}
	link2.runner.run = turn;
	link2.runner.kick_due = flush_due;
	link2.runner.kick = no_kick;
	link2.runner.untimed = true;
	link2.vs.in = &dev;
	link2.vs.out = &back_dev;
	link2.vs.local_cid = 2;
	link2.vs.peer_cid = 3;
	amp_vlinks[0] = &link2;
	amp_vlink_up(&link2);
}

/* Connected to port 1234; its own is *port. */
static int connected(uint32_t *port)
{
	struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = 3, .svm_port = 1234};
	int fd = amp_socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(a);

	assert_true(fd >= 0);
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), -1);
	assert_int_equal(amp_getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*port = a.svm_port;
	send_packet(0, *port, AMP_VSOCK_OP_RESPONSE, 0, 0);
	assert_int_equal(amp_poll(&(struct pollfd){fd, POLLOUT, 0}, 1, 0), 1);
	packets_back(1);
	return fd;
}

static void holds(const uint8_t *p, size_t len, uint8_t fill)
{
	for (size_t i = 0; i < len; i++)
		assert_int_equal(p[i], fill);
}

/* poll() leaves what recv() then takes without a copy between, and in order. */
static void test_bulk_stays(void **st)
{
	static uint8_t got[4 * BULK];
	uint32_t port_a, port_b, before;
	struct pollfd both[2] = {{.events = POLLIN}, {.events = POLLIN}};
	struct timeval now = {0};
	fd_set set;
	int a, b;

	(void)st;
	bulk_link();
	both[0].fd = a = connected(&port_a);
	both[1].fd = b = connected(&port_b);
	for (int how = 0; how < 2; how++) {
		send_packet(0, port_a, AMP_VSOCK_OP_RW, BULK, 'a');
		send_packet(1, port_a, AMP_VSOCK_OP_RW, BULK, 'b');
		send_packet(2, port_a, AMP_VSOCK_OP_RW, 100, 'c');
		before = (uint32_t)link2.vs.stats.rx_packets;
		assert_int_equal(amp_poll(both, 2, 0), 1);
		assert_int_equal(both[0].revents, POLLIN);
		assert_int_equal(link2.vs.stats.rx_packets - before, 1);
		/* the short way, and the other */
		assert_int_equal(amp_recv(a, got, sizeof(got), how ? MSG_DONTWAIT : 0),
				 2 * BULK + 100);
		holds(got, BULK, 'a');
		holds(got + BULK, BULK, 'b');
		holds(got + 2 * BULK, 100, 'c');
		packets_back(3);
	}
	/* who is polled alone is told what lies behind somebody else's bulk, in the same call */
	for (int how = 0; how < 2; how++) {
		send_packet(0, port_a, AMP_VSOCK_OP_RW, BULK, 'a');
		send_packet(1, port_a, AMP_VSOCK_OP_RW, BULK, 'b');
		send_packet(2, port_b, AMP_VSOCK_OP_RW, 1, 'm');
		FD_ZERO(&set);
		FD_SET(b, &set);
		assert_int_equal(how ? amp_select(b + 1, &set, NULL, NULL, &now)
				     : amp_poll(both + 1, 1, 0),
				 1);
		assert_int_equal(amp_recv(b, got, sizeof(got), 0), 1);
		assert_int_equal(got[0], 'm');
		assert_int_equal(amp_recv(a, got, BULK, 0), BULK);
		holds(got, BULK, 'a');
		assert_int_equal(amp_recv(a, got, sizeof(got), 0), BULK);
		holds(got, BULK, 'b');
		packets_back(3);
	}
	assert_int_equal(amp_recv(a, got, 1, 0), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_bulk_stays), /* before there is a link that nobody may look at */
		cmocka_unit_test(test_ring_is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
