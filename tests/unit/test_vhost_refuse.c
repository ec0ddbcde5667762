// SPDX-License-Identifier: BSD-3-Clause
/* The vhost-user back-end with front-ends that are wrong, or hostile. */
#include <netinet/in.h>

#include "vhost_rig.h"

/* --- memory tables --- */

static void bad_mem(const struct amp_vu_region *reg, uint32_t cnt, unsigned fd_cnt,
		    const char *word)
{
	struct rig r;
	int fds[AMP_VU_REGIONS];

	rig_up(&r);
	for (unsigned i = 0; i < fd_cnt; i++)
		fds[i] = r.mem_fd;
	assert_true(tell_mem(&r, reg, cnt, fds, fd_cnt) < 0);
	assert_int_equal(r.be.regions, 0);
	assert_gone(&r, word);
	rig_down(&r);
}

static void test_mem_refused(void **state)
{
	static const struct amp_vu_region one = {GUEST, MEM_LEN, USER, 0};
	static const struct amp_vu_region bad[] = {
		{GUEST, 0, USER, 0},			      /* empty */
		{0xfffffffffffff000ull, 0x2000, USER, 0},     /* wraps */
		{GUEST, 0x2000, 0xfffffffffffff000ull, 0},    /* wraps */
		{GUEST, 0x2000, USER, 0xfffffffffffff000ull}, /* wraps */
		{GUEST, 1ull << 50, USER, 0},		      /* absurd */
		{GUEST, MEM_LEN, USER, 1ull << 50},	      /* absurd */
	};
	struct amp_vu_region two[9] = {
		{GUEST, 0x2000, USER, 0},
		{GUEST + 0x1fff, 0x1000, USER + 0x10000, 0x2000},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		bad_mem(&bad[i], 1, 1, "impossible");
	bad_mem(&(struct amp_vu_region){GUEST, MEM_LEN + 1, USER, 0}, 1, 1, "its file at");
	bad_mem(&(struct amp_vu_region){GUEST, MEM_LEN, USER, 1}, 1, 1, "its file at");
	bad_mem(two, 2, 2, "overlap");
	two[1].guest_addr = GUEST - 0x1000 + 1;
	bad_mem(two, 2, 2, "overlap");
	bad_mem(two, 9, 8, "9 memory regions");
	bad_mem(two, 0xffffffffu, 8, "memory regions");
	bad_mem(two, 0, 0, "0 memory regions");
	bad_mem(two, 2, 1, "with 1 files");
	bad_mem(&one, 1, 2, "with 2 files");
}

static void test_mem_not_a_file(void **state)
{
	struct rig r;
	int fd = eventfd(0, 0);

	(void)state;
	rig_up(&r);
	assert_true(tell_mem(&r, &whole, 1, &fd, 1) < 0);
	assert_gone(&r, "not a file");
	rig_down(&r);
	close(fd);
	rig_up(&r);
	fd = open("/proc/self/exe", O_RDONLY);
	assert_true(tell_mem(&r, &(struct amp_vu_region){GUEST, 4096, USER, 0}, 1, &fd, 1) < 0);
	assert_gone(&r, "cannot map");
	rig_down(&r);
	close(fd);
}

static void test_mem_short_message(void **state)
{
	struct rig r;
	struct amp_vu_mem t = {.cnt = 2, .region = {whole, {GUEST * 2, 4096, USER * 2, 0}}};
	int fds[2];

	(void)state;
	rig_up(&r);
	fds[0] = fds[1] = r.mem_fd;
	say(&r, AMP_VU_SET_MEM_TABLE, 0, &t, 40, fds, 2);
	assert_true(amp_vhost_be_readable(&r.be) < 0);
	assert_gone(&r, "2 memory regions in 40 bytes");
	rig_down(&r);
}

static void test_ring_refused(void **state)
{
	static const struct {
		int64_t desc, avail, used;
		const char *word;
	} bad[] = {
		{-0x100000, 0, 0, "outside"},
		{0, 0x100000, 0, "outside"},
		{0, 0, 0x100000, "outside"},
		{0xfff0, 0, 0, "outside"}, /* ends beyond the second region */
		{0x3fc0, 0, 0, "outside"}, /* crosses from the first into the second */
		{8, 0, 0, "misaligned"},
		{0, 1, 0, "misaligned"},
		{0, 0, 2, "misaligned"},
	};
	const struct amp_vu_region reg[2] = {
		{GUEST, 0x5000, USER, 0},
		{GUEST + 0x5000, MEM_LEN - 0x5000, USER + 0x5000, 0x5000},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct rig r;
		struct amp_vu_addr a = ring_addr(0);
		int fds[2];

		rig_up(&r);
		fds[0] = fds[1] = r.mem_fd;
		tell_u64(&r, AMP_VU_SET_FEATURES, AMP_VIRTIO_F_VERSION_1, -1);
		tell_mem(&r, reg, 2, fds, 2);
		tell_state(&r, AMP_VU_SET_VRING_NUM, 0, NUM);
		a.desc += (uint64_t)bad[i].desc;
		a.avail += (uint64_t)bad[i].avail;
		a.used += (uint64_t)bad[i].used;
		tell(&r, AMP_VU_SET_VRING_ADDR, &a, sizeof(a), -1);
		r.kick = eventfd(0, 0);
		assert_true(tell_u64(&r, AMP_VU_SET_VRING_KICK, 0, r.kick) < 0);
		assert_int_equal(r.starts, 0);
		assert_gone(&r, bad[i].word);
		rig_down(&r);
	}
}

/* --- requests --- */

static void bad_state(uint32_t req, uint32_t q, uint32_t num, const char *word)
{
	struct rig r;

	rig_up(&r);
	rig_run(&r);
	assert_true(tell_state(&r, req, q, num) < 0);
	assert_gone(&r, word);
	rig_down(&r);
}

static void test_state_refused(void **state)
{
	(void)state;
	bad_state(AMP_VU_SET_VRING_NUM, 0, 0, "power of two");
	bad_state(AMP_VU_SET_VRING_NUM, 0, 3, "power of two");
	bad_state(AMP_VU_SET_VRING_NUM, 0, 2048, "power of two");
	bad_state(AMP_VU_SET_VRING_NUM, 0, 0x10008, "power of two");
	bad_state(AMP_VU_SET_VRING_NUM, 2, 8, "queue 2 of 2");
	bad_state(AMP_VU_SET_VRING_BASE, 0, 0x10000, "16-bit");
	bad_state(AMP_VU_SET_VRING_BASE, 0xffffffffu, 0, "queue 4294967295");
	bad_state(AMP_VU_GET_VRING_BASE, 2, 0, "queue 2 of 2");
	bad_state(AMP_VU_SET_VRING_ENABLE, 0, 2, "enable 2");
	bad_state(AMP_VU_SET_VRING_ENABLE, 9, 1, "queue 9 of 2");
}

static void test_features_refused(void **state)
{
	struct rig r;

	(void)state;
	rig_up(&r);
	assert_true(tell_u64(&r, AMP_VU_SET_FEATURES, 1ull << 34, -1) < 0);
	assert_gone(&r, "never offered");
	rig_down(&r);
	rig_up(&r);
	assert_true(tell_u64(&r, AMP_VU_SET_PROTOCOL_FEATURES, 1ull << 14, -1) < 0);
	assert_gone(&r, "never offered");
	rig_down(&r);
	rig_up(&r);
	r.refuse = -ENOTSUP;
	assert_true(tell_u64(&r, AMP_VU_SET_FEATURES, ALL_FEATS, -1) < 0);
	assert_gone(&r, "suffice");
	rig_down(&r);
}

static void bad_header(uint32_t req, uint32_t flags, uint32_t size, const char *word)
{
	struct rig r;
	struct amp_vu_msg m = {.hdr = {req, flags, size}};

	rig_up(&r);
	send_raw(r.fd, &m, sizeof(m), NULL, 0);
	assert_true(amp_vhost_be_readable(&r.be) < 0);
	assert_gone(&r, word);
	rig_down(&r);
}

static void test_header_refused(void **state)
{
	(void)state;
	bad_header(AMP_VU_GET_FEATURES, 0, 0, "not a vhost-user");
	bad_header(AMP_VU_GET_FEATURES, 2, 0, "not a vhost-user");
	bad_header(AMP_VU_GET_FEATURES, 5, 0, "not a vhost-user");
	bad_header(AMP_VU_GET_FEATURES, 1, 0xffffffffu, "4294967295 bytes");
	bad_header(AMP_VU_GET_FEATURES, 1, 9, "9 bytes");
	bad_header(AMP_VU_SET_FEATURES, 1, 4, "4 bytes");
	bad_header(AMP_VU_SET_VRING_ADDR, 1, 39, "39 bytes");
	bad_header(AMP_VU_GET_CONFIG, 1, 11, "11 bytes");
	bad_header(0, 1, 0, "unknown");
	bad_header(99, 1, 0, "unknown");
	bad_header(22, 1, 8, "unknown"); /* in the table, but empty */
}

static void test_set_config_refused_politely(void **state)
{
	struct rig r;
	struct amp_vu_msg m;
	struct amp_vu_config c = {.size = 8};

	(void)state;
	rig_up(&r);
	tell_u64(&r, AMP_VU_SET_PROTOCOL_FEATURES, AMP_VU_PROTO_REPLY_ACK, -1);
	say(&r, AMP_VU_SET_CONFIG, AMP_VU_NEED_REPLY, &c, 20, NULL, 0);
	assert_int_equal(amp_vhost_be_readable(&r.be), 0);
	assert_int_equal(hear(&r, &m), 8);
	assert_int_not_equal(m.u.u64, 0);
	/* no answer where none is asked for */
	tell(&r, AMP_VU_SET_CONFIG, &c, 20, -1);
	assert_int_equal(hear(&r, &m), -1);
	rig_down(&r);
}

static void test_byte_by_byte(void **state)
{
	struct rig r;
	struct amp_vu_mem t = {.cnt = 1, .region = {whole}};
	struct amp_vu_msg m = {.hdr = {AMP_VU_SET_MEM_TABLE, 1, 40}};
	uint8_t raw[52];

	(void)state;
	rig_up(&r);
	memcpy(&m.u, &t, 40);
	memcpy(raw, &m, sizeof(raw));
	for (size_t i = 0; i < sizeof(raw); i++) {
		send_raw(r.fd, raw + i, 1, &r.mem_fd, i == 0);
		assert_int_equal(r.be.regions, 0);
		assert_int_equal(amp_vhost_be_readable(&r.be), 0);
	}
	assert_int_equal(r.be.regions, 1);
	rig_down(&r);
}

static void test_many_at_once(void **state)
{
	struct rig r;
	struct amp_vu_msg m;

	(void)state;
	rig_up(&r);
	for (int i = 0; i < 40; i++)
		say(&r, AMP_VU_GET_FEATURES, 0, NULL, 0, NULL, 0);
	assert_int_equal(amp_vhost_be_readable(&r.be), 0);
	for (int i = 0; i < 40; i++)
		assert_int_equal(hear(&r, &m), 8);
	rig_down(&r);
}

static void test_replies_not_taken(void **state)
{
	struct rig r;
	int rc = 0;

	(void)state;
	rig_up(&r);
	for (int i = 0; i < 100000 && rc == 0; i++)
		rc = tell(&r, AMP_VU_GET_FEATURES, NULL, 0, -1);
	assert_true(rc < 0);
	assert_gone(&r, "does not take replies");
	rig_down(&r);
}

/* --- descriptors --- */

static void test_fd_kinds(void **state)
{
	static const char *const why = "neither an eventfd nor a Unix socket";
	struct rig r;
	int pfd[2];

	(void)state;
	rig_up(&r); /* epoll takes no file */
	assert_true(tell_u64(&r, AMP_VU_SET_VRING_KICK, 0, r.mem_fd) < 0);
	assert_gone(&r, why);
	rig_down(&r);
	rig_up(&r); /* a pipe raises SIGPIPE */
	assert_int_equal(pipe(pfd), 0);
	assert_true(tell_u64(&r, AMP_VU_SET_VRING_CALL, 0, pfd[1]) < 0);
	assert_gone(&r, why);
	rig_down(&r);
	close(pfd[0]);
	close(pfd[1]);
	rig_up(&r); /* none, and no word about it */
	assert_true(tell_u64(&r, AMP_VU_SET_VRING_KICK, 0, -1) < 0);
	assert_gone(&r, "without its descriptor");
	rig_down(&r);
	rig_up(&r);
	pfd[0] = eventfd(0, 0);
	assert_true(tell_u64(&r, AMP_VU_SET_VRING_KICK, 5, pfd[0]) < 0);
	assert_gone(&r, "queue 5 of 2");
	rig_down(&r);
	close(pfd[0]);
	rig_up(&r); /* of what it does not use it keeps nothing but what it knows */
	pfd[0] = eventfd(0, 0);
	tell(&r, AMP_VU_SET_BACKEND_REQ_FD, NULL, 0, pfd[0]);
	assert_gone(&r, "no Unix socket");
	rig_down(&r);
	close(pfd[0]);
}

/* A TCP socket whose close() waits for an hour, or for its peer, which reads nothing. */
static int lingering(int *peer)
{
	const struct linger hour = {.l_onoff = 1, .l_linger = 3600};
	struct sockaddr_in in = {.sin_family = AF_INET};
	static const char bytes[65536];
	socklen_t len = sizeof(in);
	int srv = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(srv, (struct sockaddr *)&in, len), 0);
	assert_int_equal(listen(srv, 1), 0);
	assert_int_equal(getsockname(srv, (struct sockaddr *)&in, &len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&in, len), 0);
	*peer = accept(srv, NULL, NULL);
	assert_true(*peer >= 0);
	close(srv);
	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hour, sizeof(hour)), 0);
	return fd;
}

/* The last descriptor of it is ours, in whichever message it came. */
static void test_close_waits_for_nobody(void **state)
{
	static const struct {
		uint32_t req, len;
		const char *why;
	} all[] = {
		{AMP_VU_SET_VRING_KICK, 8, "neither an eventfd nor a Unix socket"},
		{AMP_VU_SET_VRING_CALL, 8, "neither an eventfd nor a Unix socket"},
		{AMP_VU_SET_VRING_ERR, 8, NULL},
		{AMP_VU_SET_BACKEND_REQ_FD, 0, "no Unix socket"},
		{AMP_VU_GET_FEATURES, 0, "1 descriptors"},
		{AMP_VU_SET_MEM_TABLE, 40, "not a file"},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
		struct {
			uint32_t head[3];
			struct amp_vu_mem mem;
		} msg = {{all[i].req, AMP_VU_VERSION, all[i].len}, {.cnt = 1}};
		int peer, fd;
		struct rig r;

		if (all[i].req != AMP_VU_SET_MEM_TABLE)
			msg.mem.cnt = 0;
		msg.mem.region[0].size = 4096;
		rig_up(&r);
		fd = lingering(&peer);
		send_raw(r.fd, &msg, 12 + all[i].len, &fd, 1);
		close(fd);
		alarm(5);
		amp_vhost_be_readable(&r.be);
		if (all[i].why)
			assert_gone(&r, all[i].why);
		rig_down(&r);
		alarm(0);
		close(peer);
	}
}

static void test_no_fd_on_purpose(void **state)
{
	struct rig r;
	int before;

	(void)state;
	rig_up(&r);
	rig_run(&r);
	before = count_fds();
	assert_int_equal(tell_u64(&r, AMP_VU_SET_VRING_CALL, 1 | AMP_VU_VRING_NOFD, -1), 0);
	assert_int_equal(count_fds(), before - 1); /* the one that it replaces is closed */
	amp_vhost_be_notify(&r.be, 1);
	assert_int_equal(tell_u64(&r, AMP_VU_SET_VRING_KICK, 1 | AMP_VU_VRING_NOFD, -1), 0);
	assert_int_equal(count_fds(), before - 2);
	assert_int_equal(r.watched[1], -1);
	assert_int_equal(amp_vhost_be_kicked(&r.be, 1), -ENOTCONN);
	assert_int_equal(r.gones, 0);
	rig_down(&r);
}

static int count_maps(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[400];
	int n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "memfd:guest") != NULL;
	fclose(f);
	return n;
}

static void test_fds_replaced(void **state)
{
	struct rig r;
	int before, maps = count_maps(), fd = eventfd(0, 0), req[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, req), 0);
	rig_up(&r);
	rig_run(&r);
	before = count_fds();
	for (int i = 0; i < 100; i++) {
		tell_u64(&r, AMP_VU_SET_VRING_KICK, 0, fd);
		tell_u64(&r, AMP_VU_SET_VRING_CALL, 0, fd);
		tell_u64(&r, AMP_VU_SET_VRING_ERR, 0, fd);
		if (i == 0) /* never had one before */
			before++;
		tell(&r, AMP_VU_SET_BACKEND_REQ_FD, NULL, 0, req[0]);
		rig_memory(&r);
	}
	assert_int_equal(r.gones, 0);
	assert_int_equal(count_fds(), before);
	assert_int_equal(count_maps(), maps + 2); /* the guest's own, and ours */
	rig_down(&r);
	assert_int_equal(count_maps(), maps);
	close(fd);
	close(req[0]);
	close(req[1]);
}

static void test_too_many_fds(void **state)
{
	struct rig r;
	int fds[64], before = count_fds();

	struct amp_vu_region eight[8];

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		eight[i] =
			(struct amp_vu_region){GUEST + i * 0x1000u, 0x1000, USER, i * 0x1000u};
	for (unsigned cnt = 1; cnt <= 64; cnt *= 2) {
		rig_up(&r);
		for (unsigned i = 0; i < 64; i++)
			fds[i] = r.mem_fd;
		say(&r, AMP_VU_GET_FEATURES, 0, NULL, 0, fds, cnt);
		assert_true(amp_vhost_be_readable(&r.be) < 0);
		assert_gone(&r, "descriptors");
		rig_down(&r);
	}
	/* the kernel drops what we have no room for: the rest looks complete */
	rig_up(&r);
	for (unsigned i = 0; i < 64; i++)
		fds[i] = r.mem_fd;
	assert_true(tell_mem(&r, eight, 8, fds, 12) < 0);
	assert_gone(&r, "too many descriptors");
	rig_down(&r);
	/* in two helpings, each small enough */
	rig_up(&r);
	for (unsigned i = 0; i < 64; i++)
		fds[i] = r.mem_fd;
	send_raw(r.fd, "\1\0", 2, fds, 8);
	send_raw(r.fd, "\0\0", 2, fds, 8);
	assert_true(amp_vhost_be_readable(&r.be) < 0);
	assert_gone(&r, "too many descriptors");
	rig_down(&r);
	assert_int_equal(count_fds(), before);
}

static void test_kick_sockets(void **state)
{
	struct rig r;
	int sv[2], fd;
	uint64_t many = 0xfffffffffffffffeull;

	(void)state;
	rig_up(&r);
	rig_run(&r);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	tell_u64(&r, AMP_VU_SET_VRING_KICK, 0, sv[1]);
	assert_int_equal(fcntl(r.watched[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	close(sv[1]);
	assert_int_equal(amp_vhost_be_kicked(&r.be, 0), 0); /* empty: does not block */
	send_raw(sv[0], "kickkick", 8, NULL, 0);
	assert_int_equal(amp_vhost_be_kicked(&r.be, 0), 0);
	close(sv[0]); /* readable for ever: let go of it */
	assert_int_equal(amp_vhost_be_kicked(&r.be, 0), 0);
	assert_int_equal(r.watched[0], -1);
	/* a front-end that makes its eventfd block and empties it before us */
	fd = eventfd(0, EFD_NONBLOCK);
	tell_u64(&r, AMP_VU_SET_VRING_KICK, 0, fd);
	assert_int_equal(fcntl(fd, F_SETFL, O_RDWR), 0);
	alarm(5);
	assert_int_equal(amp_vhost_be_kicked(&r.be, 0), 0);
	/* call eventfd that blocks, at its limit */
	assert_int_equal(fcntl(fd, F_SETFL, O_RDWR), 0);
	assert_int_equal(write(fd, &many, 8), 8);
	tell_u64(&r, AMP_VU_SET_VRING_CALL, 1, fd);
	amp_vhost_be_notify(&r.be, 1);
	alarm(0);
	assert_int_equal(r.gones, 0);
	close(fd);
	rig_down(&r);
}

/* --- hostile --- */

static uint32_t rnd_state = 1;

static uint32_t rnd(void)
{
	rnd_state = rnd_state * 1664525u + 1013904223u;
	return rnd_state >> 8;
}

/* Mostly near what is legal, so that it gets deep; sometimes not at all. */
static void hostile_message(struct rig *r, const int *fds)
{
	static const uint64_t odd[] = {
		0,	    1,		2,	   8,	   0x100,	  0x101,
		0xffff,	    0x10000,	GUEST,	   USER,   MEM_LEN,	  UINT32_MAX,
		UINT64_MAX, 1ull << 63, ALL_FEATS, 0x1000, USER + 0x1000, GUEST + 0x1000};
	struct amp_vu_msg m;
	uint8_t *raw = (uint8_t *)&m.u;
	uint32_t req = 1 + rnd() % 26, len, flags = AMP_VU_VERSION;
	struct amp_vu_addr a = ring_addr(rnd() % 2);

	memset(&m, 0, sizeof(m));
	for (size_t i = 0; i + 8 <= sizeof(m.u); i += 8)
		memcpy(raw + i, &odd[rnd() % (sizeof(odd) / sizeof(odd[0]))], 8);
	switch (rnd() % 8) {
	case 0:
		for (size_t i = 0; i < sizeof(m.u); i++)
			raw[i] = (uint8_t)rnd();
		break;
	case 1:
		memcpy(raw, &a, sizeof(a));
		break;
	case 2:
	case 3:
		m.u.state = (struct amp_vu_state){rnd() % 3, rnd() % 2 ? NUM : rnd() % 3};
		break;
	case 4:
		m.u.mem = (struct amp_vu_mem){.cnt = 1 + rnd() % 2, .region = {whole}};
		break;
	default:
		m.u.u64 = rnd() % 4 ? rnd() % 3 : ALL_FEATS;
	}
	len = req == AMP_VU_SET_VRING_ADDR ? 40 : req == AMP_VU_SET_MEM_TABLE ? 72 : 8;
	if (rnd() % 64 == 0)
		len = rnd() % 300;
	if (rnd() % 4 == 0)
		flags |= AMP_VU_NEED_REPLY;
	if (rnd() % 200 == 0)
		flags = rnd();
	m.hdr = (struct amp_vu_hdr){req, flags, len};
	send_raw(r->fd, &m, AMP_VU_HDR_LEN + (len > sizeof(m.u) ? sizeof(m.u) : len), fds,
		 rnd() % 16 == 0
			 ? rnd() % 12
			 : req == AMP_VU_SET_MEM_TABLE || req == AMP_VU_SET_VRING_KICK ||
				   req == AMP_VU_SET_VRING_CALL);
}

static void test_hostile(void **state)
{
	struct rig r;
	int fds[12], sv[2], before = count_fds(), after;
	unsigned lives = 0, starts = 0;

	(void)state;
	rig_up(&r);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	alarm(120);
	for (int i = 0; i < 60000; i++) {
		uint8_t sink[4096];

		for (int k = 0; k < 12; k++)
			fds[k] = sv[k % 2];
		fds[0] = rnd() % 3 ? r.mem_fd : sv[0];
		fds[rnd() % 4] = r.mem_fd;
		hostile_message(&r, fds);
		if (amp_vhost_be_readable(&r.be) < 0 || rnd() % 500 == 0) {
			starts += (unsigned)r.starts;
			assert_int_equal(r.gones + (int)lives >= (int)lives, 1);
			amp_vhost_be_reset(&r.be);
			assert_int_equal(r.starts, r.stops);
			r.starts = r.stops = 0;
			close_if(&r.fd);
			rig_connect(&r);
			lives++;
			/* half of them begin well */
			if (rnd() % 2)
				rig_run(&r);
		}
		for (unsigned q = 0; q < 2; q++) {
			struct amp_iov iov[8];
			struct amp_vq_buf b = {.iov = iov, .iov_max = 8};

			amp_vhost_be_kicked(&r.be, q);
			amp_vhost_be_notify(&r.be, q);
			if (r.be.q[q].running && amp_vq_get(&r.be.q[q].vq, &b) == 1)
				amp_vq_put(&r.be.q[q].vq, b.id, 0);
		}
		(void)!recv(r.fd, sink, sizeof(sink), MSG_DONTWAIT);
		if (rnd() % 16 == 0) /* scribble over rings */
			r.mem[RING_AT + rnd() % 0x2000] = (uint8_t)rnd();
	}
	alarm(0);
	assert_true(lives > 100);
	assert_true(starts > 100); /* deep enough */
	rig_down(&r);
	close(sv[0]);
	close(sv[1]);
	after = count_fds();
	assert_int_equal(after, before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mem_refused),
		cmocka_unit_test(test_mem_not_a_file),
		cmocka_unit_test(test_mem_short_message),
		cmocka_unit_test(test_ring_refused),
		cmocka_unit_test(test_state_refused),
		cmocka_unit_test(test_features_refused),
		cmocka_unit_test(test_header_refused),
		cmocka_unit_test(test_set_config_refused_politely),
		cmocka_unit_test(test_byte_by_byte),
		cmocka_unit_test(test_many_at_once),
		cmocka_unit_test(test_replies_not_taken),
		cmocka_unit_test(test_fd_kinds),
		cmocka_unit_test(test_close_waits_for_nobody),
		cmocka_unit_test(test_no_fd_on_purpose),
		cmocka_unit_test(test_fds_replaced),
		cmocka_unit_test(test_too_many_fds),
		cmocka_unit_test(test_kick_sockets),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
