// SPDX-License-Identifier: BSD-3-Clause
// build: -UAMPSOCK_CONFIG -DAMPSOCK_FAST=0 -DAMPSOCK_INET=0 -DAMPSOCK_LOOP=0 -DAMP_PORT_THREADS=0
// build: src/socket/stack.c src/socket/socks.c src/socket/api.c src/socket/msg.c src/socket/msg_name.c src/socket/links.c src/socket/rxring.c
// build: src/socket/option.c src/vsock/vsock_option.c src/socket/shutdown.c src/vsock/vsock_shutdown.c src/vsock/af_vsock.c src/vsock/vlink.c
// build: src/vsock/link_driver.c src/vsock/vsock.c src/vsock/vsock_out.c src/vsock/vsock_conn.c src/virtio/vq_split.c
/*
 * A small core's own configuration: the driver's end of rings and nothing else, no thread, under the
 * sanitizers, which elsewhere have both ends in one library. The device is the test's, and knows the
 * ring from the specification.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <ampsock.h>
#include <sys/vm_sockets.h>

#include "port/port.h"
#include "socket/amp_calls.h"
#include "virtio/vdev.h"
#include "virtio/vq.h"
#include "virtio/vring.h"
#include "wire/vsock_hdr.h"

#ifndef GUEST_FAST /* test_guest_fast.c */
#define GUEST_FAST 0
#endif
#if AMPSOCK_VQ_DEVICE || !AMPSOCK_VQ_DRIVER || AMP_PORT_THREADS || AMPSOCK_HOSTED || \
	AMPSOCK_FAST != GUEST_FAST
#error "this is to be a small core's"
#endif

#define MUCH  51u   /* packets: more than there are buffers, several times */
#define STRAY 5000u /* a port that no socket of the guest's has, and those behind it */
#define ALLOC 8192u /* what the host takes before it must say that there is room again */

/* ---- the host: it takes what is sent to port 1, and sends it back; at port 3 it has more to say ---- */

struct queue {
	volatile struct vring_desc *desc;
	volatile struct vring_avail *avail;
	volatile struct vring_used *used;
	uint16_t num, next;
};

static struct {
	struct amp_vdev vd;
	struct queue q[2]; /* to the guest, from it */
	uint32_t got;	   /* bytes, as credit counts them */
	unsigned packets, resets, events;
	unsigned rsts;	 /* to packets of nobody, see test_strays() */
	uint32_t bad_id; /* says that this descriptor was used; UINT32_MAX: does not lie */
	bool told[2];	 /* notified of this queue */
	bool full;	 /* has an answer, and no buffer for it */
	uint16_t max;	 /* entries of a queue */
	unsigned more;	 /* packets that it has to send by itself: answers to asked */
	struct amp_vsock_hdr asked;
} host;

static uint8_t memory[1 << 20] __attribute__((aligned(64)));
static uint32_t now_ms;

/* The next buffer that the guest has made available; NULL: none. */
static uint8_t *take(struct queue *q, uint16_t *id, uint32_t *len)
{
	volatile struct vring_desc *d;
	uint8_t *p;

	if (!q->num || q->next == q->avail->idx)
		return NULL;
	*id = q->avail->ring[q->next++ & (q->num - 1)];
	assert_true(*id < q->num);
	d = &q->desc[*id];
	p = (uint8_t *)(uintptr_t)d->addr;
	*len = d->len;
	assert_true(p >= memory && p + *len <= memory + sizeof(memory));
	assert_int_equal(d->flags & VRING_DESC_F_NEXT, 0); /* its buffers are one piece */
	assert_int_equal(!!(d->flags & VRING_DESC_F_WRITE), q == &host.q[0]);
	return p;
}

static void give_back(struct queue *q, uint16_t id, uint32_t len)
{
	volatile struct vring_used_elem *e = &q->used->ring[q->used->idx & (q->num - 1)];

	e->id = id;
	e->len = len;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	q->used->idx++;
}

/* A packet to the guest, an answer to h. False: it has no buffer for it. */
static bool say(const struct amp_vsock_hdr *h, uint16_t op, const void *data, uint32_t len)
{
	struct amp_vsock_hdr *to;
	uint32_t room;
	uint16_t id;

	to = (void *)take(&host.q[0], &id, &room);
	if (!to)
		return false;
	assert_true(room >= AMP_VSOCK_HDR_LEN + len);
	*to = (struct amp_vsock_hdr){.src_cid = h->dst_cid, .dst_cid = h->src_cid};
	to->src_port = h->dst_port;
	to->dst_port = h->src_port;
	to->len = len;
	to->type = h->type;
	to->op = op;
	to->buf_alloc = ALLOC;
	to->fwd_cnt = host.got;
	if (len)
		memcpy(to + 1, data, len);
	give_back(&host.q[0], host.bad_id != UINT32_MAX ? (uint16_t)host.bad_id : id,
		  AMP_VSOCK_HDR_LEN + len);
	return true;
}

/* Could it answer one more packet? */
static bool has_room(void)
{
	host.full = host.q[0].next == host.q[0].avail->idx;
	return !host.full;
}

/*
 * All that the guest has sent, as long as there is room for the answers; true: there was something.
 * A queue is looked at when the host was notified of it, and not otherwise: it always asks to be.
 */
static bool host_turn(void)
{
	struct amp_vsock_hdr *h;
	bool any = false;
	uint32_t len;
	uint16_t id;

	if (!host.told[1] && !(host.told[0] && host.full))
		return false;
	host.told[0] = host.told[1] = false;
	while (has_room() && (h = (void *)take(&host.q[1], &id, &len)) != NULL) {
		any = true;
		host.packets++;
		assert_true(len >= AMP_VSOCK_HDR_LEN && h->len == len - AMP_VSOCK_HDR_LEN);
		assert_int_equal(h->src_cid, 3);
		assert_int_equal(h->dst_cid, 2);
		if (h->op == AMP_VSOCK_OP_REQUEST) {
			host.got = 0;
			(void)say(h,
				  h->dst_port != 2 ? AMP_VSOCK_OP_RESPONSE : AMP_VSOCK_OP_RST,
				  NULL, 0);
		} else if (h->op == AMP_VSOCK_OP_RW && h->dst_port == 3) {
			host.got += h->len;
			host.more += MUCH;
			host.asked = *h;
		} else if (h->op == AMP_VSOCK_OP_RW) {
			host.got += h->len;
			assert_true(say(h, AMP_VSOCK_OP_RW, h + 1, h->len));
		} else if (h->op == AMP_VSOCK_OP_SHUTDOWN) {
			(void)say(h, AMP_VSOCK_OP_RST, NULL, 0);
		} else if (h->op == AMP_VSOCK_OP_CREDIT_REQUEST) {
			(void)say(h, AMP_VSOCK_OP_CREDIT_UPDATE, NULL, 0);
		} else if (h->op == AMP_VSOCK_OP_RST && h->src_port >= STRAY) {
			assert_int_equal(h->src_port, STRAY + host.rsts++);
		}
		give_back(&host.q[1], id, 0);
	}
	for (; host.more && has_room(); host.more--)
		any = say(&host.asked, AMP_VSOCK_OP_RW, "m", 1);
	return any;
}

/* ---- the transport ---- */

static int probe(struct amp_vdev *vd, uint32_t id, uint64_t *features)
{
	(void)vd;
	assert_int_equal(id, AMP_VIRTIO_ID_VSOCK);
	*features = AMP_VIRTIO_F_VERSION_1;
	return 0;
}

static int accept_features(struct amp_vdev *vd, uint64_t features)
{
	(void)vd;
	assert_int_equal(features, AMP_VIRTIO_F_VERSION_1);
	return 0;
}

static uint32_t queue_max(struct amp_vdev *vd, unsigned q)
{
	(void)vd;
	return q < 2 ? host.max : 0;
}

static int queue_set(struct amp_vdev *vd, unsigned q, const struct amp_vq *vq)
{
	(void)vd;
	host.q[q] = (struct queue){vq->desc, vq->avail, vq->used, vq->num, 0};
	return 0;
}

static int run(struct amp_vdev *vd)
{
	(void)vd;
	return 0;
}

static int config(struct amp_vdev *vd, uint32_t off, void *dst, uint32_t len)
{
	static const uint32_t cid[2] = {3, 0};

	(void)vd;
	memcpy(dst, (const uint8_t *)cid + off, len);
	return 0;
}

static unsigned events(struct amp_vdev *vd)
{
	unsigned ev = host.events;

	(void)vd;
	host.events = 0;
	return ev;
}

static void notify(struct amp_vdev *vd, unsigned q)
{
	(void)vd;
	host.told[q] = true;
}

static void reset(struct amp_vdev *vd)
{
	(void)vd;
	host.resets++;
	memset(host.q, 0, sizeof(host.q));
	host.told[0] = host.told[1] = host.full = false;
}

static const struct amp_vdev_ops vdev_ops = {
	.probe = probe,
	.accept = accept_features,
	.queue_max = queue_max,
	.queue_set = queue_set,
	.run = run,
	.config = config,
	.events = events,
	.notify = notify,
	.reset = reset,
};

/* ---- the port: the host has its turn while the guest sleeps ---- */

int amp_port_wait(int32_t timeout_ms)
{
	if (host_turn())
		return 0;
	assert_true(timeout_ms >= 0); /* or nothing would ever come */
	now_ms += (uint32_t)timeout_ms;
	return -ETIMEDOUT;
}

void amp_port_wake(void)
{
}

uint32_t amp_port_now_ms(void)
{
	return now_ms;
}

/* ---- the tests ---- */

static int dial(unsigned port)
{
	struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = 2, .svm_port = port};
	int fd = amp_socket(AF_VSOCK, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	if (amp_connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	assert_int_equal(amp_close(fd), 0);
	return -1;
}

static int begin(void **state)
{
	(void)state;
	host.vd = (struct amp_vdev){.ops = &vdev_ops, .mem = memory, .mem_len = sizeof(memory)};
	host.bad_id = UINT32_MAX;
	host.max = 64;
	return amp_link_vsock(&host.vd);
}

/* Each length, many rounds of the rings, and more than the host's credit at once. */
static void test_echo(void **state)
{
	static char out[3000], in[3000];
	int fd = dial(1);

	(void)state;
	assert_true(fd >= 0);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 7 + i / 256);
	for (size_t len = 1; len <= sizeof(out); len += len < 70 ? 1 : 97) {
		size_t sent = 0, got = 0;

		while (got < len) {
			ssize_t n;

			if (sent < len) {
				n = amp_send(fd, out + sent, len - sent, 0);
				assert_true(n > 0);
				sent += (size_t)n;
			}
			n = amp_recv(fd, in + got, sizeof(in) - got, 0);
			assert_true(n > 0);
			got += (size_t)n;
		}
		assert_int_equal(got, len);
		assert_memory_equal(in, out, len);
	}
	assert_true(host.packets > 3 * host.q[1].num);
	assert_int_equal(amp_shutdown(fd, SHUT_WR), 0);
	assert_int_equal(amp_close(fd), 0);
}

static void test_refused(void **state)
{
	(void)state;
	assert_int_equal(dial(2), -1);
	assert_int_equal(errno, ECONNREFUSED);
}

/* A host that has much to say waits for buffers, and we say nothing but that there are some again. */
static void test_much(void **state)
{
	int fd = dial(3);
	char c;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(amp_send(fd, "x", 1, 0), 1);
	for (unsigned i = 0; i < MUCH; i++)
		assert_int_equal(amp_recv(fd, &c, 1, 0), 1);
	assert_int_equal(amp_close(fd), 0);
}

/* A device with short queues: when all buffers are back it hears that, who knows when we sleep again. */
static void test_short_queues(void **state)
{
	int fd;
	char c;

	(void)state;
	for (host.max = 2; host.max; host.max--) {
		assert_int_equal(amp_link_vsock(&host.vd), 0);
		fd = dial(3);
		assert_true(fd >= 0);
		assert_int_equal(amp_send(fd, "x", 1, 0), 1);
		assert_int_equal(amp_recv(fd, &c, 1, 0), 1);
		assert_true(host.full && host.told[0]);
		for (unsigned i = 1; i < MUCH; i++)
			assert_int_equal(amp_recv(fd, &c, 1, 0), 1);
		assert_int_equal(amp_close(fd), 0);
	}
	host.max = 64;
	assert_int_equal(amp_link_vsock(&host.vd), 0);
}

/* Packets of nobody while the guest has no buffer to send in: each has its RST, in their order. */
static void test_strays(void **state)
{
	struct amp_vsock_hdr h = {.src_cid = 3, .dst_cid = 2, .dst_port = 9, .src_port = STRAY};
	unsigned sent = 0, got = 0;
	int fd = dial(1);
	char c;

	(void)state;
	assert_true(fd >= 0);
	h.type = AMP_VSOCK_STREAM;
	host.rsts = 0;
	while (amp_send(fd, "x", 1, MSG_DONTWAIT) == 1)
		sent++;
	assert_in_range(sent, 1, host.q[1].num);
	while (say(&h, AMP_VSOCK_OP_RW, "y", 1))
		h.src_port++;
	assert_int_equal(h.src_port, STRAY + host.q[0].num);
	for (unsigned i = 0; i < 100 && host.rsts < host.q[0].num; i++) {
		amp_poll_links();
		(void)host_turn();
	}
	assert_int_equal(host.rsts, host.q[0].num);
	for (; got < sent; got++)
		assert_int_equal(amp_recv(fd, &c, 1, 0), 1);
	assert_int_equal(amp_close(fd), 0);
}

/* A used entry that nothing was lent for: the link is set up anew, its sockets are told. */
static void test_liar(void **state)
{
	unsigned resets = host.resets;
	int fd = dial(1);
	char c;

	(void)state;
	assert_true(fd >= 0);
	host.bad_id = host.q[0].num;
	assert_int_equal(amp_send(fd, "x", 1, 0), 1);
	assert_int_equal(amp_recv(fd, &c, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_true(host.resets > resets);
	host.bad_id = UINT32_MAX;
	assert_int_equal(amp_close(fd), 0);
	fd = dial(1);
	assert_true(fd >= 0);
	assert_int_equal(amp_close(fd), 0);
}

/* All buffers are out when the device goes: what was owed is owed to nobody, and every slot is free again. */
static void test_gone_owing(void **state)
{
	struct amp_vsock_hdr h = {.src_cid = 3, .dst_cid = 2, .dst_port = 9, .src_port = STRAY};
	const struct linger now = {.l_onoff = 1};
	unsigned resets = host.resets;
	int fd[AMPSOCK_SOCKETS], i;
	char c;

	(void)state;
	h.type = AMP_VSOCK_STREAM;
	for (i = 0; i < 4; i++) {
		fd[i] = dial(1);
		assert_true(fd[i] >= 0);
	}
	while (amp_send(fd[0], "x", 1, MSG_DONTWAIT) == 1)
		;
	assert_int_equal(amp_setsockopt(fd[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	assert_int_equal(amp_close(fd[1]), 0); /* an RST, and a SHUTDOWN */
	assert_int_equal(amp_close(fd[2]), 0);
	assert_true(say(&h, AMP_VSOCK_OP_RW, "y", 1)); /* an RST to nobody */
	amp_poll_links();
	host.events = AMP_VDEV_EV_GONE;
	amp_poll_links();
	assert_int_equal(host.resets, resets + 1);
	for (i = 0; i < 4; i += 3) {
		assert_int_equal(amp_recv(fd[i], &c, 1, 0), -1);
		assert_int_equal(errno, ECONNRESET);
		assert_int_equal(amp_close(fd[i]), 0);
	}
	for (i = 0; i < AMPSOCK_SOCKETS; i++) {
		fd[i] = amp_socket(AF_VSOCK, SOCK_STREAM, 0);
		assert_true(fd[i] >= 0);
	}
	while (i--)
		assert_int_equal(amp_close(fd[i]), 0);
	host.rsts = 0; /* nothing of before is said to the next life */
	i = dial(1);
	assert_true(i >= 0);
	assert_int_equal(amp_send(i, "x", 1, 0), 1);
	assert_int_equal(amp_recv(i, &c, 1, 0), 1);
	assert_int_equal(host.rsts, 0);
	assert_int_equal(amp_close(i), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_echo),	   cmocka_unit_test(test_refused),
		cmocka_unit_test(test_much),	   cmocka_unit_test(test_short_queues),
		cmocka_unit_test(test_strays),	   cmocka_unit_test(test_liar),
		cmocka_unit_test(test_gone_owing),
	};

	return cmocka_run_group_tests_name("guest", tests, begin, NULL);
}
