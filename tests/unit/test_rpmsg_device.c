// SPDX-License-Identifier: BSD-3-Clause
/*
 * The hosted remote behind a vhost-user socket (amp_link_rpmsg_device()), with a front-end that
 * does what Linux's virtio_uml and virtio_rpmsg_bus do, and then what they would not.
 */
#include "vhost_rig.h"

#include <poll.h>
#include <sys/un.h>

#include <ampsock.h>
#include <ampsock_hosted.h>
#include <sys/rpmsg_socket.h>

#include "port/port.h"
#include "socket/amp_calls.h"
#include "virtio/vring.h"
#include "wire/le.h"
#include "wire/rpmsg_hdr.h"

#define RX  0u /* the driver's receive queue */
#define TX  1u
#define BUF 512u

static char dir[] = "/tmp/ampsock-rdev-XXXXXX";
static char path[64];

/* The front-end: a kernel's rpmsg bus. */
struct kernel {
	struct rig r; /* fd, mem_fd, mem: no back-end of its own */
	struct amp_vq q[2];
	uint16_t state[2][NUM];
	int kick[2], call[2];
	/* the last message that came */
	uint32_t src, dst;
	uint16_t len;
	uint8_t data[BUF];
};

/* How the stack gets to look: asleep in a call, or a thread that never sleeps. */
static bool busy;

static void turns(void)
{
	for (int i = 0; i < 3; i++) {
		uint32_t ms = amp_port_now_ms();

		if (!busy)
			(void)amp_poll(NULL, 0, 1);
		while (busy && amp_port_now_ms() == ms)
			(void)amp_poll_links();
		(void)amp_poll_links();
	}
}

static void request(struct kernel *k, uint32_t req, const void *p, uint32_t len, int fd)
{
	say(&k->r, req, 0, p, len, &fd, fd >= 0);
}

static void features(struct kernel *k)
{
	uint64_t f = AMP_RPMSG_F_NS | AMP_VIRTIO_F_VERSION_1 | AMP_VIRTIO_F_EVENT_IDX |
		     AMP_VU_F_PROTOCOL_FEATURES;

	request(k, AMP_VU_SET_FEATURES, &f, 8, -1);
}

/* As vu_find_vqs(): up to where both queues are enabled, buffers not yet there. */
static void queues(struct kernel *k, bool polled)
{
	struct amp_vu_mem t = {.cnt = 1, .region = {whole}};

	say(&k->r, AMP_VU_SET_MEM_TABLE, 0, &t, sizeof(t), &k->r.mem_fd, 1);
	for (uint32_t q = 0; q < 2; q++) {
		struct amp_vu_state num = {q, NUM}, base = {q, 0}, on = {q, 1};
		struct amp_vu_addr a = ring_addr(q);
		uint64_t v = q, none = q | AMP_VU_VRING_NOFD;

		memset(k->r.mem + RING_AT + q * 0x1000u, 0, 0x1000);
		request(k, AMP_VU_SET_VRING_CALL, &v, 8, k->call[q]);
		request(k, AMP_VU_SET_VRING_NUM, &num, sizeof(num), -1);
		request(k, AMP_VU_SET_VRING_BASE, &base, sizeof(base), -1);
		request(k, AMP_VU_SET_VRING_ADDR, &a, sizeof(a), -1);
		request(k, AMP_VU_SET_VRING_KICK, polled ? &none : &v, 8,
			polled ? -1 : k->kick[q]);
		request(k, AMP_VU_SET_VRING_ENABLE, &on, sizeof(on), -1);
	}
	turns();
}

static void kick(struct kernel *k, unsigned q)
{
	static const uint64_t one = 1;

	assert_int_equal(write(k->kick[q], &one, 8), 8);
	turns();
}

static void buffers(struct kernel *k)
{
	rig_driver(&k->r, RX, &k->q[RX], k->state[RX]);
	rig_driver(&k->r, TX, &k->q[TX], k->state[TX]);
	(void)amp_vq_arm(&k->q[RX]);
}

static void plug_in(struct kernel *k)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	k->r.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	assert_int_equal(connect(k->r.fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	turns();
}

static void boot(struct kernel *k)
{
	memset(k, 0, sizeof(*k));
	for (unsigned q = 0; q < 2; q++) {
		k->kick[q] = eventfd(0, EFD_NONBLOCK);
		k->call[q] = eventfd(0, EFD_NONBLOCK);
	}
	k->r.mem_fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(k->r.mem_fd, MEM_LEN), 0);
	k->r.mem = mmap(NULL, MEM_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, k->r.mem_fd, 0);
	assert_ptr_not_equal(k->r.mem, MAP_FAILED);
	k->r.mem[0] = 0xea;
	plug_in(k);
	features(k);
	queues(k, false);
}

static void online(struct kernel *k)
{
	boot(k);
	buffers(k);
	kick(k, RX);
}

static void power_off(struct kernel *k)
{
	close(k->r.fd);
	close(k->r.mem_fd);
	munmap(k->r.mem, MEM_LEN);
	for (unsigned q = 0; q < 2; q++) {
		close(k->kick[q]);
		close(k->call[q]);
	}
	turns();
}

/* The next message to the kernel; false: none. */
static bool hear_message(struct kernel *k)
{
	struct amp_iov iov;
	struct amp_vq_buf buf = {.iov = &iov, .iov_max = 1};
	const uint8_t *p;

	turns();
	if (amp_vq_get(&k->q[RX], &buf) <= 0)
		return false;
	p = iov.base;
	k->src = amp_le32(p);
	k->dst = amp_le32(p + 4);
	k->len = amp_le16(p + 12);
	assert_true(k->len <= BUF - AMP_RPMSG_HDR_LEN && buf.len >= k->len + 16u);
	memcpy(k->data, p + AMP_RPMSG_HDR_LEN, k->len);
	amp_vq_put(&k->q[RX], buf.id, 0);
	(void)amp_vq_arm(&k->q[RX]);
	kick(k, RX);
	return true;
}

static void send_message(struct kernel *k, uint32_t src, uint32_t dst, const void *data,
			 uint16_t len, uint16_t claims)
{
	struct amp_iov iov;
	struct amp_vq_buf buf = {.iov = &iov, .iov_max = 1};
	uint8_t *p;

	assert_int_equal(amp_vq_get(&k->q[TX], &buf), 1);
	p = iov.base;
	memset(p, 0, AMP_RPMSG_HDR_LEN);
	amp_put_le32(p, src);
	amp_put_le32(p + 4, dst);
	amp_put_le16(p + 12, claims);
	memcpy(p + AMP_RPMSG_HDR_LEN, data, len);
	amp_vq_put(&k->q[TX], buf.id, (uint32_t)len + AMP_RPMSG_HDR_LEN);
	kick(k, TX);
}

/* The address that the announcement of name has; 0: none came. flags: what is to be in it. */
static uint32_t announced(struct kernel *k, const char *name, uint32_t flags)
{
	uint32_t addr = 0;

	while (hear_message(k)) {
		if (k->dst != AMP_RPMSG_NS_ADDR || strcmp((char *)k->data, name) != 0)
			continue;
		assert_int_equal(k->len, AMP_RPMSG_NS_LEN);
		assert_int_equal(amp_le32(k->data + 36), flags);
		addr = amp_le32(k->data + 32);
	}
	return addr;
}

static struct sockaddr_rpmsg name_addr(uint32_t addr, const char *name)
{
	struct sockaddr_rpmsg a = {
		.rp_family = AF_RPMSG, .rp_link = RPMSG_LINK_ANY, .rp_addr = addr};

	snprintf(a.rp_name, sizeof(a.rp_name), "%s", name);
	return a;
}

static int serve(const char *name)
{
	struct sockaddr_rpmsg a = name_addr(RPMSG_ADDR_ANY, name);
	int fd = amp_socket(AF_RPMSG, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(amp_listen(fd, 4), 0);
	return fd;
}

static int accepted(int ls)
{
	int fd = amp_accept4(ls, NULL, NULL, SOCK_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

/* What had come, then ECONNRESET, and only once. */
static void assert_reset(int fd)
{
	ssize_t n;
	char b[8];

	do {
		n = amp_recv(fd, b, sizeof(b), 0);
	} while (n > 0);
	assert_int_equal(n, -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(amp_recv(fd, b, sizeof(b), 0), 0);
	amp_close(fd);
}

static int set_up(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/r.sock", dir);
	assert_int_equal(amp_link_rpmsg_device(path), 0);
	assert_int_equal(amp_link_rpmsg_device(path), -EADDRINUSE);
	return 0;
}

static int busy_set_up(void **state)
{
	(void)state;
	busy = true;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	rmdir(dir);
	return 0;
}

/* ---- tests ---- */

/* Queues are enabled before the driver has its name service: nothing comes before its kick. */
static void test_nothing_before_the_driver_is_ready(void **st)
{
	int ls = serve("svc");
	struct kernel k;

	(void)st;
	boot(&k);
	buffers(&k); /* they lie there already: only the kick says that all is ready */
	turns();
	assert_int_equal(k.q[RX].used->idx, 0);
	assert_int_equal(amp_link_wait(0), -ETIMEDOUT);
	kick(&k, TX); /* the other queue's is none */
	assert_int_equal(k.q[RX].used->idx, 0);
	kick(&k, RX);
	assert_int_equal(amp_link_wait(0), 0);
	assert_true(k.q[RX].used->idx > 0);
	assert_int_not_equal(announced(&k, "svc", 0), 0);
	power_off(&k);
	amp_close(ls);
}

/* One that wants to be polled has no kick to give. */
static void test_front_end_without_kicks(void **st)
{
	int ls = serve("svc");
	struct kernel k;

	(void)st;
	boot(&k);
	features(&k);
	queues(&k, true);
	buffers(&k);
	turns();
	assert_int_equal(amp_link_wait(0), 0);
	assert_int_not_equal(announced(&k, "svc", 0), 0);
	power_off(&k);
	amp_close(ls);
}

static void test_messages_both_ways(void **st)
{
	static uint8_t big[BUF];
	int ls = serve("svc"), fd;
	struct kernel k;
	uint8_t b[BUF];
	uint64_t calls;
	uint32_t addr;

	(void)st;
	for (unsigned i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7);
	online(&k);
	addr = announced(&k, "svc", 0);
	send_message(&k, 0x400, addr, big, 496, 496);
	fd = accepted(ls);
	assert_int_equal(amp_recv(fd, b, sizeof(b), 0), 496);
	assert_memory_equal(b, big, 496);
	assert_int_equal(amp_send(fd, big, 497, 0), -1);
	assert_int_equal(errno, EMSGSIZE);
	(void)!read(k.call[RX], &calls, 8);
	assert_int_equal(amp_send(fd, big, 496, 0), 496);
	assert_int_equal(read(k.call[RX], &calls, 8), 8); /* and the kernel is told */
	assert_true(hear_message(&k));
	assert_int_equal(k.src, addr);
	assert_int_equal(k.dst, 0x400);
	assert_int_equal(k.len, 496);
	assert_memory_equal(k.data, big, 496);
	for (int i = 0; i < 100; i++) { /* round and round the rings */
		send_message(&k, 0x400, addr, &i, sizeof(i), sizeof(i));
		assert_int_equal(amp_recv(fd, b, sizeof(b), 0), sizeof(i));
		assert_memory_equal(b, &i, sizeof(i));
		assert_int_equal(amp_send(fd, &i, sizeof(i), 0), sizeof(i));
		assert_true(hear_message(&k));
		assert_memory_equal(k.data, &i, sizeof(i));
	}
	amp_close(fd);
	amp_close(ls);
	assert_int_not_equal(announced(&k, "svc", 1), 0);
	power_off(&k);
}

/* The kernel announces a channel of its own. */
static void test_name_of_the_kernel(void **st)
{
	struct sockaddr_rpmsg a = name_addr(RPMSG_ADDR_ANY, "theirs");
	uint8_t ns[AMP_RPMSG_NS_LEN] = "theirs";
	struct kernel k;
	char b[8];
	int fd;

	(void)st;
	online(&k);
	while (hear_message(&k))
		;
	amp_put_le32(ns + 32, 77);
	send_message(&k, 77, AMP_RPMSG_NS_ADDR, ns, sizeof(ns), sizeof(ns));
	fd = amp_socket(AF_RPMSG, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
	assert_int_equal(amp_connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(amp_send(fd, "hello", 5, 0), 5);
	assert_true(hear_message(&k));
	assert_int_equal(k.dst, 77);
	send_message(&k, 77, k.src, "world", 5, 5);
	assert_int_equal(amp_recv(fd, b, sizeof(b), 0), 5);
	amp_put_le32(ns + 36, 1);
	send_message(&k, 77, AMP_RPMSG_NS_ADDR, ns, sizeof(ns), sizeof(ns));
	assert_int_equal(amp_recv(fd, b, sizeof(b), 0), 0); /* withdrawn */
	amp_close(fd);
	power_off(&k);
}

/* how 0: the front-end hangs up; 1: a new driver on the same connection; 2: a queue is disabled. */
static void reboot_test(int how)
{
	int ls = serve("svc"), fd;
	struct amp_vu_state off = {TX, 0};
	uint32_t addr, again;
	struct kernel k;

	online(&k);
	addr = announced(&k, "svc", 0);
	send_message(&k, 0x400, addr, "one", 3, 3);
	fd = accepted(ls);
	send_message(&k, 0x400, addr, "two", 3, 3); /* held, and lost with the link */
	if (how == 0)
		power_off(&k);
	else if (how == 1)
		features(&k);
	else
		request(&k, AMP_VU_SET_VRING_ENABLE, &off, sizeof(off), -1);
	turns();
	assert_int_equal(amp_link_wait(0), -ETIMEDOUT);
	assert_reset(fd);
	if (how == 0) {
		online(&k);
	} else {
		uint64_t left;

		(void)!read(k.kick[RX], &left, 8);
		queues(&k, false);
		buffers(&k);
		turns();
		assert_int_equal(k.q[RX].used->idx,
				 0); /* an old kick is none of the new life */
		kick(&k, RX);
	}
	again = announced(&k, "svc", 0);
	assert_int_equal(again, addr); /* a listener keeps its address */
	send_message(&k, 0x401, addr, "three", 5, 5);
	fd = accepted(ls);
	amp_close(fd);
	amp_close(ls);
	power_off(&k);
}

static void test_guest_reboots(void **st)
{
	(void)st;
	reboot_test(0);
}

static void test_driver_begins_anew(void **st)
{
	(void)st;
	reboot_test(1);
}

static void test_queue_is_disabled(void **st)
{
	(void)st;
	reboot_test(2);
}

/* A lie costs the connection, and the next front-end is served. */
static void test_lies(void **st)
{
	int ls = serve("svc"), fd;
	struct kernel k;
	char b[8];

	(void)st;
	online(&k);
	send_message(&k, 0x400, announced(&k, "svc", 0), "one", 3, 3);
	fd = accepted(ls);
	assert_int_equal(amp_recv(fd, b, sizeof(b), 0), 3);
	send_message(&k, 0x400, 1024, "x", 1, 0xffff);
	assert_reset(fd);
	assert_int_equal(recv(k.r.fd, b, 1, MSG_DONTWAIT), 0); /* hung up on */
	power_off(&k);
	online(&k);
	k.q[TX].avail->ring[k.q[TX].avail->idx % NUM] = 0x7777;
	k.q[TX].avail->idx++;
	kick(&k, TX);
	assert_int_equal(recv(k.r.fd, b, 1, MSG_DONTWAIT), 0);
	power_off(&k);
	online(&k);
	assert_int_equal(amp_sigbus_install(), 0); /* cmocka has taken it */
	assert_int_equal(ftruncate(k.r.mem_fd, 4096), 0);
	kick(&k, TX);
	assert_int_equal(recv(k.r.fd, b, 1, MSG_DONTWAIT), 0);
	assert_int_equal(ftruncate(k.r.mem_fd, MEM_LEN), 0);
	power_off(&k);
	online(&k);
	assert_int_not_equal(announced(&k, "svc", 0), 0);
	power_off(&k);
	amp_close(ls);
}

/* The first keeps what it has. */
static void test_second_front_end(void **st)
{
	int ls = serve("svc");
	struct kernel k, other;
	char b[8];

	(void)st;
	online(&k);
	memset(&other, 0, sizeof(other));
	plug_in(&other);
	assert_int_equal(recv(other.r.fd, b, 1, MSG_DONTWAIT), 0);
	close(other.r.fd);
	assert_int_not_equal(announced(&k, "svc", 0), 0);
	power_off(&k);
	amp_close(ls);
}

static void test_paths(void **st)
{
	char place[200];

	(void)st;
	memset(place, 'x', sizeof(place));
	place[sizeof(place) - 1] = '\0';
	assert_int_equal(amp_link_rpmsg_device(place), -ENAMETOOLONG);
	assert_int_equal(amp_link_rpmsg_device("/nowhere/r.sock"), -ENOENT);
	for (int i = 1; i < 4; i++) { /* AMPSOCK_RPMSG */
		snprintf(place, sizeof(place), "%s/%d", dir, i);
		assert_int_equal(amp_link_rpmsg_device(place), 0);
		unlink(place);
	}
	snprintf(place, sizeof(place), "%s/one-more", dir);
	assert_int_equal(amp_link_rpmsg_device(place), -ENOBUFS);
	assert_int_not_equal(access(place, F_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_before_the_driver_is_ready),
		cmocka_unit_test(test_front_end_without_kicks),
		cmocka_unit_test(test_messages_both_ways),
		cmocka_unit_test(test_name_of_the_kernel),
		cmocka_unit_test(test_guest_reboots),
		cmocka_unit_test(test_driver_begins_anew),
		cmocka_unit_test(test_queue_is_disabled),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_second_front_end),
		cmocka_unit_test_setup(test_nothing_before_the_driver_is_ready, busy_set_up),
		cmocka_unit_test(test_guest_reboots),
		cmocka_unit_test(test_driver_begins_anew),
		cmocka_unit_test(test_paths),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
