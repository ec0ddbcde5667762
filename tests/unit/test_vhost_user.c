// SPDX-License-Identifier: BSD-3-Clause
// build: -Wl,--wrap=fstat
/* The vhost-user back-end with front-ends like QEMU and User-mode Linux, and its life. */
#include "vhost_rig.h"

#include <signal.h>
#include <sys/wait.h>

/* --- front-ends as they are --- */

static void test_qemu_order(void **state)
{
	struct rig r;
	struct amp_vu_msg m;
	struct amp_vu_config c = {.offset = 0, .size = 8};
	uint64_t proto, one = 1;

	(void)state;
	rig_up(&r);
	assert_true(ask_u64(&r, AMP_VU_GET_FEATURES) ==
		    (ALL_FEATS | AMP_VIRTIO_F_INDIRECT_DESC));
	proto = ask_u64(&r, AMP_VU_GET_PROTOCOL_FEATURES);
	assert_true(proto & AMP_VU_PROTO_CONFIG);
	assert_true(proto & AMP_VU_PROTO_BACKEND_REQ);
	tell_u64(&r, AMP_VU_SET_PROTOCOL_FEATURES, proto, -1);
	assert_int_equal(ask_u64(&r, AMP_VU_GET_QUEUE_NUM), 2);
	tell(&r, AMP_VU_SET_OWNER, NULL, 0, -1);
	/* GET_CONFIG of 8 bytes: 20 of payload */
	tell(&r, AMP_VU_GET_CONFIG, &c, 20, -1);
	assert_int_equal(hear(&r, &m), 20);
	assert_memory_equal(m.u.config.data, rig_config, 8);
	rig_run(&r);
	assert_int_equal(r.features, ALL_FEATS & ~AMP_VU_F_PROTOCOL_FEATURES);
	/* the early kick with nothing queued */
	assert_int_equal(write(r.kick, &one, 8), 8);
	assert_int_equal(amp_vhost_be_kicked(&r.be, 1), 0);
	assert_int_equal(r.gones, 0);
	amp_vhost_be_notify(&r.be, 1);
	assert_int_equal(read(r.call, &one, 8), 8);
	/* stop */
	tell_state(&r, AMP_VU_SET_VRING_ENABLE, 0, 0);
	assert_int_equal(r.stops, 1);
	tell_state(&r, AMP_VU_GET_VRING_BASE, 1, 0);
	assert_int_equal(hear(&r, &m), 8);
	assert_int_equal(m.u.state.num, 0);
	assert_int_equal(r.stops, 2);
	assert_int_equal(r.watched[1], -1);
	rig_down(&r);
}

static void test_config_bounds(void **state)
{
	struct rig r;
	struct amp_vu_msg m;
	struct amp_vu_config c = {.offset = 4, .size = 200};

	(void)state;
	rig_up(&r);
	tell(&r, AMP_VU_GET_CONFIG, &c, 212, -1); /* beyond ours: zeros */
	assert_int_equal(hear(&r, &m), 212);
	assert_int_equal(m.u.config.data[4], 0);
	c.offset = 100; /* beyond what a config space can be */
	tell(&r, AMP_VU_GET_CONFIG, &c, 212, -1);
	assert_int_equal(hear(&r, &m), 0);
	c.offset = 0xfffffff0u;
	c.size = 0x20;
	tell(&r, AMP_VU_GET_CONFIG, &c, 12 + 0x20, -1);
	assert_int_equal(hear(&r, &m), 0);
	c.offset = 0;
	c.size = 100; /* more than the payload holds */
	tell(&r, AMP_VU_GET_CONFIG, &c, 20, -1);
	assert_int_equal(hear(&r, &m), 0);
	assert_int_equal(r.gones, 0);
	rig_down(&r);
}

/* data through guest memory, and GET_VRING_BASE tells how far we were */
static void test_ring_and_base(void **state)
{
	struct rig r;
	struct amp_vq drv;
	uint16_t st[NUM];
	struct amp_iov iov[4], dev_iov[4];
	struct amp_vq_buf b = {.iov = iov, .iov_max = 4};
	struct amp_vq_buf d = {.iov = dev_iov, .iov_max = 4};
	struct amp_vu_msg m;

	(void)state;
	rig_up(&r);
	rig_driver(&r, 1, &drv, st);
	rig_run(&r);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(amp_vq_get(&drv, &b), 1);
		memcpy(b.iov[0].base, "hello", 5);
		amp_vq_put(&drv, b.id, 5);
		assert_int_equal(amp_vq_get(&r.be.q[1].vq, &d), 1);
		assert_int_equal(d.len, 5);
		assert_memory_equal(d.iov[0].base, "hello", 5);
		/* the same memory, not the same mapping */
		assert_ptr_not_equal(d.iov[0].base, b.iov[0].base);
		amp_vq_put(&r.be.q[1].vq, d.id, 0);
	}
	assert_int_equal(amp_vq_get(&drv, &b), 1);
	amp_vq_put(&drv, b.id, 5);
	/* memory changes under a running queue: it goes on where it was */
	assert_int_equal(rig_memory(&r), 0);
	assert_int_equal(r.stops, 2);
	assert_int_equal(r.starts, 4);
	assert_int_equal(amp_vq_get(&r.be.q[1].vq, &d), 1);
	amp_vq_put(&r.be.q[1].vq, d.id, 0);
	tell_state(&r, AMP_VU_GET_VRING_BASE, 1, 0);
	assert_int_equal(hear(&r, &m), 8);
	assert_int_equal(m.u.state.num, 4);
	/* the notification owed is out by then */
	assert_int_equal(read(r.call, &(uint64_t){0}, 8), 8);
	rig_down(&r);
}

static void test_uml(void **state)
{
	struct rig r;
	struct amp_vu_msg m;
	struct amp_vu_mem t = {.cnt = 1, .region = {{0, MEM_LEN, USER, 0}}};
	struct amp_vu_addr a = ring_addr(0);
	struct amp_vu_state s = {0, NUM};
	int sv[2], slave[2];
	uint64_t q0 = 0, proto = AMP_VU_PROTO_BACKEND_REQ | AMP_VU_PROTO_REPLY_ACK |
				 AMP_VU_PROTO_CONFIG;

	(void)state;
	rig_up(&r);
	tell_u64(&r, AMP_VU_SET_FEATURES, 0x140000003ull, -1);
	/* it wants an answer to the request that turns answers on */
	say(&r, AMP_VU_SET_PROTOCOL_FEATURES, AMP_VU_NEED_REPLY, &proto, 8, NULL, 0);
	assert_int_equal(amp_vhost_be_readable(&r.be), 0);
	assert_int_equal(hear(&r, &m), 8);
	assert_int_equal(m.u.u64, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, slave), 0);
	say(&r, AMP_VU_SET_BACKEND_REQ_FD, AMP_VU_NEED_REPLY, NULL, 0, &slave[1], 1);
	close(slave[1]);
	assert_int_equal(amp_vhost_be_readable(&r.be), 0);
	assert_int_equal(hear(&r, &m), 8); /* hear() checks for flags 5 */
	assert_int_equal(m.u.u64, 0);
	/* still open: or UML thinks that the device broke */
	assert_int_equal(recv(slave[0], &m, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	/* 72 bytes for one region */
	say(&r, AMP_VU_SET_MEM_TABLE, AMP_VU_NEED_REPLY, &t, 72, &r.mem_fd, 1);
	assert_int_equal(amp_vhost_be_readable(&r.be), 0);
	assert_int_equal(hear(&r, &m), 8);
	/* call is a stream socket */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	for (int round = 0; round < 3; round++) { /* it starts over without GET_VRING_BASE */
		tell_u64(&r, AMP_VU_SET_FEATURES, 0x140000003ull, -1);
		tell(&r, AMP_VU_SET_VRING_NUM, &s, 8, -1);
		tell_state(&r, AMP_VU_SET_VRING_BASE, 0, 0);
		tell(&r, AMP_VU_SET_VRING_ADDR, &a, sizeof(a), -1);
		tell(&r, AMP_VU_SET_VRING_CALL, &q0, 8, sv[1]);
		close_if(&r.kick);
		r.kick = eventfd(0, 0);
		tell(&r, AMP_VU_SET_VRING_KICK, &q0, 8, r.kick);
		tell_state(&r, AMP_VU_SET_VRING_ENABLE, 0, 1);
		assert_int_equal(r.starts, round + 1);
		assert_int_equal(r.stops, round);
	}
	close(sv[1]);
	/* nobody reads: never blocks */
	for (int i = 0; i < 5000; i++)
		amp_vhost_be_notify(&r.be, 0);
	assert_int_equal(recv(sv[0], &q0, 8, MSG_DONTWAIT), 8);
	assert_int_equal(q0, 1);
	close(sv[0]);
	amp_vhost_be_notify(&r.be, 0); /* nobody there: no SIGPIPE */
	assert_int_equal(r.gones, 0);
	close(slave[0]);
	rig_down(&r);
}

/* a front-end that knows no protocol features has its rings enabled from the start */
static void test_no_protocol_features(void **state)
{
	struct rig r;

	(void)state;
	rig_up(&r);
	tell_u64(&r, AMP_VU_SET_FEATURES, AMP_VIRTIO_F_VERSION_1, -1);
	rig_memory(&r);
	rig_queue(&r, 0);
	assert_int_equal(r.starts, 1);
	rig_down(&r);
	/* ... and one that does has to say so */
	rig_up(&r);
	tell_u64(&r, AMP_VU_SET_FEATURES, ALL_FEATS, -1);
	rig_memory(&r);
	rig_queue(&r, 0);
	assert_int_equal(r.starts, 0);
	tell_state(&r, AMP_VU_SET_VRING_ENABLE, 0, 1);
	assert_int_equal(r.starts, 1);
	rig_down(&r);
}

/* User-mode Linux after a reset of the guest's driver: nothing else says that it is over */
static void test_features_anew(void **state)
{
	struct rig r;

	(void)state;
	rig_up(&r);
	rig_run(&r);
	tell_u64(&r, AMP_VU_SET_FEATURES, ALL_FEATS, -1);
	assert_int_equal(r.stops, 2);
	assert_int_equal(r.starts, 2);
	rig_memory(&r); /* rings that are not set up yet: stay away from them */
	assert_int_equal(r.starts, 2);
	assert_int_equal(rig_queue(&r, 0), 0);
	assert_int_equal(r.starts, 3);
	rig_down(&r);
}

static void test_any_order(void **state)
{
	struct rig r;

	(void)state;
	rig_up(&r);
	tell_u64(&r, AMP_VU_SET_FEATURES, ALL_FEATS, -1);
	tell_state(&r, AMP_VU_SET_VRING_ENABLE, 1, 1);
	rig_queue(&r, 1);
	assert_int_equal(r.starts, 0);
	rig_memory(&r);
	assert_int_equal(r.starts, 1);
	rig_down(&r);
}

static void test_legacy(void **state)
{
	struct rig r;

	(void)state;
	rig_up(&r);
	tell_u64(&r, AMP_VU_SET_FEATURES, 0, -1);
	rig_memory(&r);
	rig_queue(&r, 0);
	assert_gone(&r, "force-legacy=false");
	rig_down(&r);
}

/* the guest writes to its private copy of the file: all that we see is zero */
static void test_not_shared(void **state)
{
	struct rig r;
	uint64_t one = 1;

	(void)state;
	rig_up(&r);
	r.mem[0] = 0; /* the page is there, as after QEMU's copy on write */
	rig_run(&r);
	assert_int_equal(write(r.kick, &one, 8), 8);
	assert_int_equal(amp_vhost_be_kicked(&r.be, 1), -EFAULT);
	assert_gone(&r, "share=on");
	rig_down(&r);
	rig_up(&r);
	assert_int_equal(tell_mem(&r, &whole, 1, NULL, 0), -EINVAL);
	assert_gone(&r, "share=on");
	rig_down(&r);
	rig_up(&r); /* QEMU without a memory-backend complains itself, and gives up */
	tell_u64(&r, AMP_VU_SET_FEATURES, ALL_FEATS, -1);
	close_if(&r.fd);
	assert_int_equal(amp_vhost_be_readable(&r.be), -EFAULT);
	assert_int_equal(r.err, -EFAULT); /* not just one that has left */
	assert_gone(&r, "share=on");
	rig_down(&r);
}

/* our own front-end's memory is all zero at first, too */
static void test_blank_but_used(void **state)
{
	struct rig r;
	struct amp_vq drv;
	uint16_t st[NUM];
	uint64_t one = 1;
	struct amp_iov iov[1];
	struct amp_vq_buf b = {.iov = iov, .iov_max = 1};

	(void)state;
	rig_up(&r);
	r.mem[0] = 0;
	rig_run(&r);
	rig_driver(&r, 1, &drv, st);
	assert_int_equal(amp_vq_get(&drv, &b), 1);
	amp_vq_put(&drv, b.id, 5);
	assert_int_equal(write(r.kick, &one, 8), 8);
	assert_int_equal(amp_vhost_be_kicked(&r.be, 1), 0);
	rig_down(&r);
}

static void test_translate(void **state)
{
	/* two regions that touch, the second at an offset that is not of a page */
	const struct amp_vu_region reg[2] = {
		{GUEST, 0x1000, USER, 0},
		{GUEST + 0x1000, 0x1000, USER + 0x5000, 0x2010},
	};
	struct rig r;
	int fds[2];
	uint32_t len = 16;
	uint8_t *p;

	(void)state;
	rig_up(&r);
	fds[0] = fds[1] = r.mem_fd;
	assert_int_equal(tell_mem(&r, reg, 2, fds, 2), 0);
	r.mem[0x0ff8] = 1;
	r.mem[0x2010] = 2;
	p = amp_vhost_be_translate(&r.be, GUEST + 0xff8, &len);
	assert_non_null(p);
	assert_int_equal(*p, 1);
	assert_int_equal(len, 8); /* up to the border */
	len = 0xffffffffu;
	p = amp_vhost_be_translate(&r.be, GUEST + 0x1000, &len);
	assert_non_null(p);
	assert_int_equal(*p, 2);
	assert_int_equal(len, 0x1000);
	len = 1;
	assert_null(amp_vhost_be_translate(&r.be, GUEST + 0x2000, &len));
	assert_null(amp_vhost_be_translate(&r.be, GUEST - 1, &len));
	assert_null(amp_vhost_be_translate(&r.be, 0, &len));
	assert_null(amp_vhost_be_translate(&r.be, UINT64_MAX, &len));
	amp_vhost_be_reset(&r.be);
	assert_null(amp_vhost_be_translate(&r.be, GUEST, &len));
	rig_down(&r);
}

/* --- life --- */

static void test_hang_up(void **state)
{
	struct rig r;

	(void)state;
	rig_up(&r);
	rig_run(&r);
	close_if(&r.fd);
	assert_int_equal(amp_vhost_be_readable(&r.be), -ENOTCONN);
	assert_int_equal(r.err, 0);
	assert_gone(&r, "closed the connection");
	rig_down(&r);
	rig_up(&r);
	send_raw(r.fd, "abcde", 5, &r.mem_fd, 1);
	close_if(&r.fd);
	assert_int_equal(amp_vhost_be_readable(&r.be), -EPROTO);
	assert_gone(&r, "mid-message");
	rig_down(&r);
}

static void test_reuse(void **state)
{
	struct rig r;
	int before, sv[2];

	(void)state;
	rig_up(&r);
	r.reset_in_gone = true;
	before = count_fds();
	for (int i = 0; i < 20; i++) {
		rig_run(&r);
		close_if(&r.fd);
		close_if(&r.kick);
		close_if(&r.call);
		assert_true(amp_vhost_be_readable(&r.be) < 0);
		assert_int_equal(r.gones, i + 1);
		assert_int_equal(r.be.regions, 0);
		rig_connect(&r);
		assert_int_equal(count_fds(), before);
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	assert_int_equal(amp_vhost_be_start(&r.be, sv[0]), -EBUSY);
	close(sv[1]);
	assert_int_equal(count_fds(), before); /* ours from then on, even so */
	rig_down(&r);
}

static void test_owner_fails_it(void **state)
{
	struct rig r;

	(void)state;
	rig_up(&r);
	rig_run(&r);
	amp_vhost_be_fail(&r.be, -EBADMSG, "the ring lies");
	assert_int_equal(r.err, -EBADMSG);
	assert_gone(&r, "the ring lies");
	rig_down(&r);
	rig_up(&r); /* from a hook: as soon as that is safe */
	r.fail_in_start = true;
	r.reset_in_gone = true;
	tell_u64(&r, AMP_VU_SET_FEATURES, AMP_VIRTIO_F_VERSION_1, -1);
	rig_memory(&r);
	assert_int_equal(rig_queue(&r, 0), -EBADMSG);
	assert_int_equal(r.starts, 1);
	assert_gone(&r, "no good");
	rig_down(&r);
}

static void test_table_full(void **state)
{
	static struct amp_vhost_be be[300];
	int full = 0, before = count_fds();

	(void)state;
	for (int i = 0; i < 300; i++) {
		int rc, fd = eventfd(0, 0);

		be[i].ops = &rig_ops;
		be[i].dir = rig_dir;
		be[i].queues = 2;
		assert_int_equal(amp_vhost_be_init(&be[i]), 0);
		rc = amp_vhost_be_start(&be[i], fd);
		if (rc == -ENFILE)
			full++;
		else
			assert_int_equal(rc, 0);
	}
	assert_int_equal(full, 300 - 256);
	for (int i = 0; i < 300; i++)
		amp_vhost_be_reset(&be[i]);
	assert_int_equal(count_fds(), before);
}

static void test_init_refused(void **state)
{
	struct amp_vhost_be be = {
		.ops = &rig_ops, .dir = rig_dir, .queues = AMP_VHOST_QUEUES + 1};

	(void)state;
	assert_int_equal(amp_vhost_be_init(&be), -EINVAL);
	be.queues = 0;
	assert_int_equal(amp_vhost_be_init(&be), -EINVAL);
}

/* --- SIGBUS --- */

static void test_sigbus(void **state)
{
	struct rig r, other;
	volatile uint8_t *p, *q;
	uint32_t len = 1;

	(void)state;
	assert_int_equal(amp_sigbus_install(), 0);
	rig_up(&r);
	rig_up(&other);
	rig_run(&r);
	rig_run(&other);
	p = amp_vhost_be_translate(&r.be, GUEST + 0x8000, &len);
	q = amp_vhost_be_translate(&other.be, GUEST + 0x8000, &len);
	other.mem[0x8000] = 7;
	assert_int_equal(ftruncate(r.mem_fd, 4096), 0);
	assert_false(amp_vhost_be_dead(&r.be));
	assert_int_equal(*p, 0); /* would be the end of us all */
	*p = 1;
	assert_true(amp_vhost_be_dead(&r.be));
	assert_false(amp_vhost_be_dead(&other.be));
	assert_int_equal(*q, 7);
	amp_vhost_be_fail(&r.be, -EFAULT, NULL);
	assert_gone(&r, "took away memory");
	/* and again, with the same struct */
	amp_vhost_be_reset(&r.be);
	assert_false(amp_vhost_be_dead(&r.be));
	r.gones = 0;
	close_if(&r.fd);
	rig_connect(&r);
	assert_int_equal(ftruncate(r.mem_fd, MEM_LEN), 0);
	rig_run(&r);
	p = amp_vhost_be_translate(&r.be, GUEST + 0x8000, &len);
	assert_int_equal(ftruncate(r.mem_fd, 0), 0);
	assert_int_equal(*p, 0);
	/* the next message finds out, too */
	assert_int_equal(tell(&r, AMP_VU_GET_FEATURES, NULL, 0, -1), -EFAULT);
	assert_gone(&r, "took away memory");
	rig_down(&r);
	rig_down(&other);
}

static void test_sigbus_elsewhere(void **state)
{
	(void)state;
	for (int sent = 0; sent < 2; sent++) {
		int st;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			int fd = memfd_create("x", 0);
			volatile uint8_t *p;

			amp_sigbus_install();
			if (sent) {
				raise(SIGBUS);
				_exit(0);
			}
			p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
			_exit(*p); /* not reached */
		}
		assert_int_equal(waitpid(pid, &st, 0), pid);
		assert_true(WIFSIGNALED(st));
		assert_int_equal(WTERMSIG(st), SIGBUS);
	}
}

/* Huge pages need a machine that has reserved some: a file can claim them, too. */
static blksize_t claimed_page;
int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);

int __wrap_fstat(int fd, struct stat *st)
{
	int rc = __real_fstat(fd, st);

	if (rc == 0 && claimed_page)
		st->st_blksize = claimed_page;
	return rc;
}

static void huge_case(int fd, blksize_t page, size_t want)
{
	const struct amp_vu_region reg = {GUEST, 0x10000, USER, 0x1000};
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint32_t len = 1;
	struct rig r;
	uint8_t *m;

	assert_ptr_not_equal(p, MAP_FAILED);
	rig_up(&r);
	claimed_page = page;
	assert_int_equal(tell_mem(&r, &reg, 1, &fd, 1), 0);
	claimed_page = 0;
	m = amp_vhost_be_translate(&r.be, GUEST, &len);
	assert_int_equal(*m, 5);
	assert_int_equal(r.be.guard.area[0].len, want);
	rig_down(&r);
	munmap(p, 4096);
}

static void test_huge_pages(void **state)
{
	const size_t huge = 2u << 20;
	const uint8_t five = 5;
	int fd = memfd_create("huge", MFD_HUGETLB);
	void *p = MAP_FAILED;

	(void)state;
	if (fd >= 0 && ftruncate(fd, (off_t)huge) == 0)
		p = mmap(NULL, huge, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED) {
		((uint8_t *)p)[0x1000] = 5;
		huge_case(fd, 0, huge);
		munmap(p, huge);
	}
	close_if(&fd);
	fd = memfd_create("small", 0);
	assert_int_equal(ftruncate(fd, (off_t)huge), 0);
	assert_int_equal(pwrite(fd, &five, 1, 0x1000), 1);
	huge_case(fd, (blksize_t)huge, huge);
	huge_case(fd, 65536, 2 * 65536); /* the region ends 0x1000 behind the first */
	huge_case(fd, 4096, 0x11000);
	huge_case(fd, 12345, 0x11000); /* no size of a page */
	huge_case(fd, 512, 0x11000);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_qemu_order),
		cmocka_unit_test(test_config_bounds),
		cmocka_unit_test(test_ring_and_base),
		cmocka_unit_test(test_uml),
		cmocka_unit_test(test_no_protocol_features),
		cmocka_unit_test(test_features_anew),
		cmocka_unit_test(test_any_order),
		cmocka_unit_test(test_legacy),
		cmocka_unit_test(test_not_shared),
		cmocka_unit_test(test_blank_but_used),
		cmocka_unit_test(test_translate),
		cmocka_unit_test(test_hang_up),
		cmocka_unit_test(test_reuse),
		cmocka_unit_test(test_owner_fails_it),
		cmocka_unit_test(test_table_full),
		cmocka_unit_test(test_init_refused),
		cmocka_unit_test(test_sigbus),
		cmocka_unit_test(test_sigbus_elsewhere),
		cmocka_unit_test(test_huge_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
