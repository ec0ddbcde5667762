// SPDX-License-Identifier: BSD-3-Clause
/*
 * AF_RPMSG, the remote, under a master as rpmsg-lite has it: the used ring of what it sends is
 * full from the beginning, all of its descriptors say WRITE, notifications of both vrings are
 * suppressed for ever and wanted all the same, and it counts on used lengths. And under a host as
 * OpenAMP has it: it accepts all that the table offers, and never writes its event.
 */
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
#include <sys/rpmsg_socket.h>

#include "port/port.h"
#include "socket/amp_calls.h"
#include "virtio/remoteproc.h"
#include "virtio/vring.h"
#include "wire/rpmsg_hdr.h"

#define NUM	8u
#define ALIGN	64u
#define LEN	512u
#define DA	0x20000000u
#define MEM	65536u
#define RING(i) (4096u + (i)*4096u)
#define BUFS(i) (16384u + (i)*NUM * LEN)
#define AVAIL	(16u * NUM)
#define USED	((18u * NUM + 4u + ALIGN - 1u) & ~(ALIGN - 1u)) /* as it counts: no used_event */

static struct {
	uint8_t mem[MEM] __attribute__((aligned(64)));
	struct amp_rproc rp;
	unsigned kicks[AMP_RPROC_VRINGS];
	uint16_t seen[AMP_RPROC_VRINGS]; /* of the used rings */
} lite;

static struct vring_desc *desc(unsigned i)
{
	return (struct vring_desc *)(void *)(lite.mem + RING(i));
}

static struct vring_avail *avail(unsigned i)
{
	return (struct vring_avail *)(void *)(lite.mem + RING(i) + AVAIL);
}

static struct vring_used *used(unsigned i)
{
	return (struct vring_used *)(void *)(lite.mem + RING(i) + USED);
}

static void notify(struct amp_rproc *rp, unsigned vring)
{
	(void)rp;
	lite.kicks[vring]++;
}

static void offer(unsigned i, uint16_t id)
{
	avail(i)->ring[avail(i)->idx % NUM] = id;
	amp_wmb();
	avail(i)->idx++;
}

/* What comes back of a vring, in order; false: nothing now. */
static bool back(unsigned i, struct vring_used_elem *e)
{
	if (lite.seen[i] == used(i)->idx)
		return false;
	amp_rmb();
	*e = used(i)->ring[lite.seen[i]++ % NUM];
	return true;
}

/* rpmsg_lite_master_init(), and what its platform has to write to the table. */
static void master_up(void)
{
	struct amp_rsc_table *t = (struct amp_rsc_table *)(void *)lite.mem;

	memset(lite.mem + RING(0), 0, MEM - RING(0));
	lite.seen[0] = lite.seen[1] = 0;
	for (unsigned i = 0; i < 2; i++) {
		avail(i)->flags = VRING_AVAIL_F_NO_INTERRUPT;
		for (uint16_t k = 0; k < NUM; k++) {
			desc(i)[k].addr = DA + BUFS(i) + k * LEN;
			desc(i)[k].len = LEN;
			desc(i)[k].flags = VRING_DESC_F_WRITE;
			if (i == AMP_RPROC_TX) {
				offer(i, k);
			} else {
				used(i)->ring[k].id = k;
				used(i)->ring[k].len = LEN;
				used(i)->idx++;
			}
		}
		t->vdev.vring[i].da = DA + RING(i);
	}
	t->vdev.gfeatures = 1;
	amp_wmb();
	t->vdev.status = 7;
}

static int up(void **state)
{
	static const struct amp_rproc_ops ops = {.notify = notify};
	static const struct amp_rsc_table table = AMP_RSC_TABLE_INIT(
		DA + 4096, MEM - 4096, 0, 0, NUM, ALIGN, DA + RING(0), DA + RING(1));

	(void)state;
	memcpy(lite.mem, &table, sizeof(table));
	lite.rp = (struct amp_rproc){
		.ops = &ops,
		.table = (struct amp_rsc_table *)(void *)lite.mem,
		.shm = lite.mem,
		.shm_da = DA,
		.shm_len = MEM,
		.num = NUM,
		.align = ALIGN,
	};
	if (amp_link_rpmsg(&lite.rp))
		return -1;
	master_up();
	lite.kicks[0] = lite.kicks[1] = 0;
	amp_poll_links();
	return 0;
}

static void announcement_is_rung_for(void **state)
{
	struct vring_used_elem e;
	const struct amp_rpmsg_ns *ns;

	(void)state;
	assert_int_not_equal(lite.kicks[AMP_RPROC_TX], 0);
	assert_true(back(AMP_RPROC_TX, &e));
	assert_int_equal(e.len, AMP_RPMSG_HDR_LEN + AMP_RPMSG_NS_LEN);
	ns = (const void *)(lite.mem + BUFS(0) + e.id * LEN + AMP_RPMSG_HDR_LEN);
	assert_string_equal(ns->name, "ampsock~s");
	offer(AMP_RPROC_TX, (uint16_t)e.id);
}

static void messages_both_ways(void **state)
{
	struct sockaddr_rpmsg a = {.rp_family = AF_RPMSG, .rp_addr = 100};
	int fd = amp_socket(AF_RPMSG, SOCK_DGRAM, 0);
	struct vring_used_elem e;
	uint8_t data[LEN];
	unsigned kicks;

	(void)state;
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	for (uint32_t k = 0; k < 5 * NUM; k++) {
		struct amp_rpmsg_hdr h = {.src = 7, .dst = 100, .len = (uint16_t)(k * 7)};
		socklen_t len = sizeof(a);

		/* what it may send comes out of the used ring, as big as the ring says */
		assert_true(back(AMP_RPROC_RX, &e));
		assert_int_equal(e.len, LEN);
		memcpy(lite.mem + BUFS(1) + e.id * LEN, &h, sizeof(h));
		memset(lite.mem + BUFS(1) + e.id * LEN + sizeof(h), (int)k, h.len);
		offer(AMP_RPROC_RX, (uint16_t)e.id);
		assert_int_equal(amp_recvfrom(fd, data, sizeof(data), MSG_DONTWAIT,
					      (struct sockaddr *)&a, &len),
				 h.len);
		assert_int_equal(a.rp_addr, 7);
		kicks = lite.kicks[AMP_RPROC_TX];
		assert_int_equal(amp_sendto(fd, data, h.len, 0, (struct sockaddr *)&a, len),
				 h.len);
		assert_int_equal(lite.kicks[AMP_RPROC_TX], kicks + 1);
		assert_true(back(AMP_RPROC_TX, &e));
		assert_int_equal(e.len, sizeof(h) + h.len);
		assert_memory_equal(lite.mem + BUFS(0) + e.id * LEN + sizeof(h), data, h.len);
		offer(AMP_RPROC_TX, (uint16_t)e.id);
	}
	assert_int_equal(amp_close(fd), 0);
}

/* rpmsg_init_vdev() in the host's role, after remoteproc_create_virtio(). */
static int openamp_up(void **state)
{
	struct amp_rsc_table *t = (struct amp_rsc_table *)(void *)lite.mem;

	(void)state;
	t->vdev.status = 0;
	amp_poll_links();
	memset(lite.mem + RING(0), 0, MEM - RING(0));
	lite.seen[0] = lite.seen[1] = 0;
	t->vdev.gfeatures = t->vdev.dfeatures;
	avail(AMP_RPROC_RX)->flags = VRING_AVAIL_F_NO_INTERRUPT;
	for (uint16_t k = 0; k < NUM; k++) {
		desc(AMP_RPROC_TX)[k].addr = DA + BUFS(0) + k * LEN;
		desc(AMP_RPROC_TX)[k].len = LEN;
		desc(AMP_RPROC_TX)[k].flags = VRING_DESC_F_WRITE;
		offer(AMP_RPROC_TX, k);
	}
	amp_wmb();
	t->vdev.status = 7;
	lite.kicks[0] = lite.kicks[1] = 0;
	amp_poll_links();
	return 0;
}

/* Longer than its index is wide. */
static void openamp_hears_of_each_message(void **state)
{
	struct sockaddr_rpmsg a = {.rp_family = AF_RPMSG, .rp_addr = 7};
	int fd = amp_socket(AF_RPMSG, SOCK_DGRAM, 0);
	struct vring_used_elem e;

	(void)state;
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	for (uint32_t k = 0; k < 70000; k++) {
		unsigned kicks = lite.kicks[AMP_RPROC_TX];

		assert_int_equal(amp_send(fd, "abc", 3, 0), 3);
		assert_int_equal(lite.kicks[AMP_RPROC_TX], kicks + 1);
		assert_true(back(AMP_RPROC_TX, &e));
		offer(AMP_RPROC_TX, (uint16_t)e.id);
	}
	assert_int_equal(amp_close(fd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(announcement_is_rung_for),
		cmocka_unit_test(messages_both_ways),
	};
	const struct CMUnitTest openamp[] = {
		cmocka_unit_test_setup(announcement_is_rung_for, openamp_up),
		cmocka_unit_test(openamp_hears_of_each_message),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, up, NULL) |
	       cmocka_run_group_tests(openamp, NULL, NULL);
}
