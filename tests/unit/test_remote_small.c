// SPDX-License-Identifier: BSD-3-Clause
// build: -UAMPSOCK_CONFIG -DAMPSOCK_FAST=0 -DAMPSOCK_INET=0 -DAMPSOCK_VSOCK=0 -DAMPSOCK_RPMSG=1 -DAMP_PORT_THREADS=0
// build: -DAMPSOCK_RPMSG_NAMES=3 -DAMPSOCK_SOCKETS=6 -DAMPSOCK_RINGS=6 -DAMPSOCK_RING_LEN=1024
// build: src/socket/stack.c src/socket/socks.c src/socket/api.c src/socket/msg.c src/socket/msg_name.c src/socket/poll.c
// build: src/socket/links.c src/socket/listen.c src/socket/name.c src/socket/rxring.c src/socket/stats.c src/socket/direct.c
// build: src/af_rpmsg/af_rpmsg.c src/af_rpmsg/link_remote.c src/af_rpmsg/rlink.c src/af_rpmsg/rlink_stats.c
// build: src/af_rpmsg/rpmsg.c src/af_rpmsg/rpmsg_addr.c src/af_rpmsg/rpmsg_dgram.c src/af_rpmsg/rpmsg_direct.c
// build: src/af_rpmsg/rpmsg_listen.c src/af_rpmsg/rpmsg_name.c src/af_rpmsg/rpmsg_raw.c src/af_rpmsg/rpmsg_serve.c
// build: src/af_rpmsg/rpmsg_stream.c src/af_rpmsg/rpmsg_told.c src/vsock/af_vsock.c src/vsock/direct.c src/vsock/vlink.c
// build: src/vsock/vsock.c src/vsock/vsock_conn.c src/vsock/vsock_out.c src/vsock/vsock_listen.c src/vsock/vsock_name.c
// build: src/vsock/vsock_request.c src/virtio/remoteproc.c src/virtio/vq_split.c
/*
 * A small remote's own configuration: AF_RPMSG alone, no thread, one link that is called by name. The
 * host is the test's, and knows the vrings and the messages from their specifications.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <ampsock.h>
#include <sys/rpmsg_socket.h>

#include "port/port.h"
#include "socket/amp_calls.h"
#include "socket/stack.h"
#include "virtio/remoteproc.h"
#include "virtio/vring.h"
#include "wire/le.h"
#include "wire/rpmsg_hdr.h"
#include "assert_errno.h"

#if !AMP_ONE_RUNNER || !AMP_KICK_AT_ONCE || AMP_PORT_THREADS || AMPSOCK_VSOCK || AMPSOCK_FAST
#error "this is to be a small core's"
#endif

#define NUM    8u
#define BUF    512u
#define ALIGN  64u
#define DA     0x20000000u
#define ECHO   500u /* sends back what it gets */
#define SVC    600u /* streams: REQUESTs are taken by the next */
#define CONN   601u
#define WINDOW 4096u
#define TAG    77u

struct ring {
	volatile struct vring_desc *desc;
	volatile struct vring_avail *avail;
	volatile struct vring_used *used;
	uint16_t seen; /* used entries */
	uint8_t *bufs;
	unsigned da;
};

static uint8_t memory[64 << 10] __attribute__((aligned(4096)));
static uint32_t now_ms;
static struct {
	struct amp_rproc rp;
	struct ring q[2];
	bool keep;     /* buffers that came are not given back */
	bool off;      /* it does not come up */
	unsigned idle; /* sleeps of the remote, nothing happening */
	unsigned kept, ups, kicks;
	uint32_t tag, fwd; /* of the stream: the remote's tag, bytes had */
	struct {
		uint32_t src, dst, len;
		uint8_t data[BUF];
	} log[64];
	unsigned cnt;
} host;

/* ---- the host ---- */

static volatile struct amp_rsc_table *table(void)
{
	return (void *)memory;
}

static void ring_new(unsigned i)
{
	struct ring *r = &host.q[i];
	uint8_t *at = memory + 4096u * (1 + i);

	memset(at, 0, 4096);
	r->desc = (void *)at;
	r->avail = (void *)(at + 16u * NUM);
	r->used = (void *)(at + ((16u * NUM + 2u * NUM + 6u + ALIGN - 1u) & ~(ALIGN - 1u)));
	r->seen = 0;
	r->bufs = memory + 4096u * (4 + i);
	for (unsigned k = 0; k < NUM; k++) {
		r->desc[k].addr = DA + (uint64_t)(r->bufs + k * BUF - memory);
		r->desc[k].len = BUF;
		if (i != AMP_RPROC_TX)
			continue;
		r->desc[k].flags = VRING_DESC_F_WRITE;
		r->avail->ring[k] = (uint16_t)k;
		r->avail->idx++;
	}
	table()->vdev.vring[i].da = DA + (uint32_t)(at - memory);
}

static void host_up(void)
{
	ring_new(0);
	ring_new(1);
	host.ups++;
	host.kept = host.cnt = 0;
	table()->vdev.gfeatures = (uint32_t)AMP_RPMSG_F_NS;
	table()->vdev.status = AMP_RPROC_DRIVER_OK;
}

static void say(uint32_t src, uint32_t dst, const void *data, uint32_t len)
{
	struct ring *r = &host.q[AMP_RPROC_RX];
	uint16_t slot = r->avail->idx % NUM;
	uint8_t *p = r->bufs + slot * BUF;

	assert_true((uint16_t)(r->avail->idx - r->used->idx) < NUM);
	memset(p, 0, AMP_RPMSG_HDR_LEN);
	amp_put_le32(p, src);
	amp_put_le32(p + 4, dst);
	amp_put_le16(p + 12, (uint16_t)len);
	memcpy(p + AMP_RPMSG_HDR_LEN, data, len);
	r->desc[slot].len = BUF;
	r->avail->ring[slot] = slot;
	r->avail->idx++;
}

static void tell(const char *name, uint32_t addr, bool gone)
{
	struct amp_rpmsg_ns ns = {.addr = addr, .flags = gone};

	memcpy(ns.name, name, strlen(name));
	say(AMP_RPMSG_NS_ADDR, AMP_RPMSG_NS_ADDR, &ns, sizeof(ns));
}

static void stream(uint32_t src, uint32_t dst, const uint8_t *data, uint32_t len)
{
	uint8_t out[BUF];
	uint32_t op = data[0];

	if (op == AMP_RSTREAM_REQUEST) {
		assert_int_equal(dst, SVC);
		assert_int_equal(amp_le32(data + 8), AMP_RSTREAM_MAGIC);
		host.tag = (uint32_t)data[14] | (uint32_t)data[15] << 8;
		host.fwd = 0;
		amp_put_le32(out, AMP_RSTREAM_RESPONSE | host.tag << 16);
		amp_put_le32(out + 4, 0);
		amp_put_le32(out + 8, AMP_RSTREAM_MAGIC);
		amp_put_le32(out + 12, AMP_RSTREAM_VERSION | TAG << 16);
		amp_put_le32(out + 16, CONN);
		amp_put_le32(out + 20, WINDOW);
		say(CONN, src, out, 24);
	} else if (op == AMP_RSTREAM_DATA) {
		assert_int_equal(amp_le32(data) >> 16, TAG);
		host.fwd += len - AMP_RSTREAM_HDR_LEN;
		memcpy(out, data, len);
		amp_put_le32(out, AMP_RSTREAM_DATA | host.tag << 16);
		amp_put_le32(out + 4, host.fwd);
		say(CONN, src, out, len);
	} else if (op == AMP_RSTREAM_SHUTDOWN) {
		amp_put_le32(out, AMP_RSTREAM_RST | host.tag << 16);
		amp_put_le32(out + 4, host.fwd);
		say(CONN, src, out, 8);
	}
}

/* All that came; true: there was something. */
static bool host_turn(void)
{
	struct ring *r = &host.q[AMP_RPROC_TX];
	bool any = false;

	if (!host.off && table()->vdev.config.remote_epoch == table()->vdev.config.host_epoch &&
	    !table()->vdev.status) {
		host_up();
		any = true;
	}
	while (r->used && r->seen != r->used->idx) {
		uint32_t id = r->used->ring[r->seen % NUM].id, at = host.cnt++ % 64;
		const uint8_t *p;

		assert_true(id < NUM);
		r->seen++;
		any = true;
		p = r->bufs + id * BUF;
		host.log[at].src = amp_le32(p);
		host.log[at].dst = amp_le32(p + 4);
		host.log[at].len = amp_le16(p + 12);
		assert_true(host.log[at].len <= BUF - AMP_RPMSG_HDR_LEN);
		memcpy(host.log[at].data, p + AMP_RPMSG_HDR_LEN, host.log[at].len);
		if (host.keep) {
			host.kept++;
		} else {
			r->avail->ring[r->avail->idx % NUM] = (uint16_t)id;
			r->avail->idx++;
		}
		if (host.log[at].dst == ECHO)
			say(ECHO, host.log[at].src, host.log[at].data, host.log[at].len);
		else if (host.log[at].dst == AMP_RPMSG_NS_ADDR &&
			 strcmp((char *)host.log[at].data, AMP_RSTREAM_DOOR "~s") == 0)
			host.cnt--; /* of every life the first */
		else if (host.log[at].dst == SVC || host.log[at].dst == CONN)
			stream(host.log[at].src, host.log[at].dst, host.log[at].data,
			       host.log[at].len);
	}
	return any;
}

/* Of the kept ones the oldest goes back. */
static void give_one(void)
{
	struct ring *r = &host.q[AMP_RPROC_TX];
	uint16_t at = (uint16_t)(r->seen - host.kept--);

	r->avail->ring[r->avail->idx % NUM] = (uint16_t)r->used->ring[at % NUM].id;
	r->avail->idx++;
}

static void give_back(void)
{
	host.keep = false;
	while (host.kept)
		give_one();
}

static void host_restart(void)
{
	table()->vdev.config.host_epoch++;
}

static void notify(struct amp_rproc *rp, unsigned vring)
{
	(void)rp;
	(void)vring;
	host.kicks++;
}

static const struct amp_rproc_ops rp_ops = {.notify = notify};

/* ---- the port: the host has its turn while the remote sleeps ---- */

int amp_port_wait(int32_t timeout_ms)
{
	if (host_turn())
		return 0;
	assert_true(timeout_ms >= 0); /* or nothing would ever come */
	assert_true(host.idle++ < 1000);
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

static void settle(void)
{
	for (int i = 0; i < 8; i++) {
		(void)host_turn();
		amp_poll_links();
	}
}

static int boot(void **state)
{
	static const struct amp_rsc_table t =
		AMP_RSC_TABLE_INIT(DA, sizeof(memory), 0, 0, NUM, ALIGN, 0, 0);

	(void)state;
	memcpy(memory, &t, sizeof(t));
	table()->vdev.config.host_epoch = 1;
	host.rp = (struct amp_rproc){.ops = &rp_ops,
				     .table = (void *)memory,
				     .shm = memory,
				     .shm_da = DA,
				     .shm_len = sizeof(memory),
				     .num = NUM,
				     .align = ALIGN};
	if (amp_link_rpmsg(&host.rp))
		return -1;
	settle();
	return host.ups == 1 ? 0 : -1;
}

/* Each test in a life of its own. */
static int fresh(void **state)
{
	struct amp_stats st;

	(void)state;
	host.keep = false;
	host.idle = 0;
	host_restart();
	settle();
	amp_stats_get(&st);
	return st.sockets_used || table()->vdev.status != AMP_RPROC_DRIVER_OK;
}

static struct sockaddr_rpmsg named(const char *name)
{
	struct sockaddr_rpmsg a = {.rp_family = AF_RPMSG, .rp_addr = RPMSG_ADDR_ANY};

	memcpy(a.rp_name, name, strlen(name));
	return a;
}

static int sock(int type, bool nonblock)
{
	int fd = amp_socket(AF_RPMSG, type | (nonblock ? SOCK_NONBLOCK : 0), 0);

	assert_true(fd >= 0);
	return fd;
}

static int try(int fd, const char *name)
{
	struct sockaddr_rpmsg a = named(name);

	return amp_connect(fd, (struct sockaddr *)&a, sizeof(a));
}

static int dial(int type, const char *name)
{
	int fd = sock(type, false);

	assert_int_equal(try(fd, name), 0);
	return fd;
}

static int bound(int type, const char *name)
{
	struct sockaddr_rpmsg a = named(name);
	int fd = sock(type, false);

	assert_int_equal(amp_bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void echoes(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
	char buf[16];

	for (int i = 0; i < 40; i++) {
		assert_int_equal(amp_send(fd, "hello", 5, 0), 5);
		p.events = POLLIN;
		assert_int_equal(amp_poll(&p, 1, 1000), 1);
		assert_int_equal(amp_recv(fd, buf, sizeof(buf), 0), 5);
		assert_memory_equal(buf, "hello", 5);
	}
}

static void talk(void **state)
{
	struct sockaddr_rpmsg a = named("echo"), from;
	socklen_t len = sizeof(from);
	char buf[8];
	int fd;

	(void)state;
	tell("echo", ECHO, false);
	tell("svc~s", SVC, false);
	fd = dial(SOCK_SEQPACKET, "echo");
	echoes(fd);
	assert_int_equal(amp_close(fd), 0);
	fd = dial(SOCK_STREAM, "svc");
	echoes(fd);
	assert_int_equal(amp_close(fd), 0);
	settle();
	fd = sock(SOCK_DGRAM, false);
	assert_int_equal(amp_sendto(fd, "you", 3, 0, (struct sockaddr *)&a, sizeof(a)), 3);
	assert_int_equal(amp_recvfrom(fd, buf, 8, 0, (struct sockaddr *)&from, &len), 3);
	assert_int_equal(from.rp_addr, ECHO);
	assert_int_equal(amp_close(fd), 0);
}

/* More services in one turn than are remembered: who waits for the first has heard of it. */
static void names(void **state)
{
	static const char *const name[] = {"n0", "n1", "n2", "n3", "n4", "n5"};
	int fd = sock(SOCK_SEQPACKET, true), other = sock(SOCK_SEQPACKET, true);
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	struct amp_stats st;
	uint32_t lost;

	(void)state;
	amp_stats_get(&st);
	lost = st.names_lost;
	assert_errno(try(fd, "n0"), EINPROGRESS);
	for (unsigned i = 0; i < 6; i++)
		tell(name[i], ECHO + i, false);
	assert_int_equal(amp_poll(&p, 1, 1000), 1);
	assert_int_equal(p.revents, POLLOUT);
	settle();
	amp_stats_get(&st);
	assert_int_equal(st.names_lost, lost + 3);
	assert_int_equal(try(other, "n5"), 0);
	/* withdrawn, and again: the newest */
	tell("n4", ECHO + 4, true);
	tell("n3", ECHO + 3, true);
	tell("n3", 77, false);
	tell("n4", ECHO + 4, false);
	settle();
	amp_stats_get(&st);
	assert_int_equal(st.names_lost, lost + 3);
	tell("n6", 78, false); /* in place of n5 */
	settle();
	amp_stats_get(&st);
	assert_int_equal(st.names_lost, lost + 4);
	assert_int_equal(amp_close(other), 0);
	other = sock(SOCK_SEQPACKET, true);
	assert_int_equal(try(other, "n3"), 0);
	assert_int_equal(amp_close(other), 0);
	other = sock(SOCK_SEQPACKET, true);
	assert_int_equal(try(other, "n5"), -1);
	assert_int_equal(amp_close(other), 0);
	assert_int_equal(amp_close(fd), 0);
}

static uint32_t ns_of(unsigned i, const char *name)
{
	assert_true(i < host.cnt);
	assert_int_equal(host.log[i].dst, AMP_RPMSG_NS_ADDR);
	assert_int_equal(host.log[i].len, AMP_RPMSG_NS_LEN);
	assert_string_equal((char *)host.log[i].data, name);
	return amp_le32(host.log[i].data + 36);
}

/* Who takes all buffers; a datagram to nobody. */
static void exhaust(int fd)
{
	struct sockaddr_rpmsg a = {.rp_family = AF_RPMSG, .rp_addr = 900};

	host.keep = true;
	for (int i = 0;
	     amp_sendto(fd, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&a, sizeof(a)) == 1; i++)
		assert_true(i < 9);
	assert_int_equal(errno, EAGAIN);
	settle();
}

/* No buffer for withdrawals: they come first, whoever has the address and the name by then. */
static void leaving(void **state)
{
	int taker = sock(SOCK_DGRAM, false), a, b, c;
	struct sockaddr_rpmsg me;
	socklen_t len = sizeof(me);
	unsigned at;

	(void)state;
	a = bound(SOCK_DGRAM, "a");
	b = bound(SOCK_DGRAM, "b");
	settle();
	assert_int_equal(ns_of(0, "a"), AMP_RPMSG_NS_CREATE);
	assert_int_equal(ns_of(1, "b"), AMP_RPMSG_NS_CREATE);
	assert_int_equal(amp_getsockname(a, (struct sockaddr *)&me, &len), 0);
	exhaust(taker);
	assert_int_equal(amp_close(a), 0);
	assert_int_equal(amp_close(b), 0);
	c = sock(SOCK_DGRAM, false);
	assert_int_equal(amp_bind(c, (struct sockaddr *)&me, sizeof(me)), 0);
	/* nobody else gets what is owed */
	at = host.cnt;
	give_back();
	settle();
	assert_int_equal(ns_of(at, "b"), AMP_RPMSG_NS_DESTROY);
	assert_int_equal(ns_of(at + 1, "a"), AMP_RPMSG_NS_DESTROY);
	assert_int_equal(ns_of(at + 2, "a"), AMP_RPMSG_NS_CREATE);
	assert_int_equal(host.log[at + 2].src, me.rp_addr);
	/* the link goes while one leaves */
	exhaust(taker);
	assert_int_equal(amp_close(c), 0);
	c = bound(SOCK_DGRAM, "a");
	host.keep = false;
	host_restart();
	settle();
	assert_int_equal(host.cnt, 1);
	assert_int_equal(ns_of(0, "a"), AMP_RPMSG_NS_CREATE);
	assert_int_equal(amp_close(c), 0);
	assert_int_equal(amp_close(taker), 0);
	settle();
}

/* What a stream owes has the next buffer, however much a sender of datagrams wants it. */
static void owed_first(void **state)
{
	struct sockaddr_rpmsg a = {.rp_family = AF_RPMSG, .rp_addr = 900};
	int taker = sock(SOCK_DGRAM, false), fd;
	unsigned turns = 0;

	(void)state;
	tell("svc~s", SVC, false);
	fd = dial(SOCK_STREAM, "svc");
	exhaust(taker);
	assert_int_equal(amp_close(fd), 0);
	do {
		assert_true(turns++ < 3);
		give_one();
		(void)amp_sendto(taker, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&a, sizeof(a));
		(void)host_turn();
	} while (host.log[(host.cnt - 1) % 64].dst != CONN);
	give_back();
	settle();
	assert_int_equal(amp_close(taker), 0);
	settle();
}

/* What was reserved in an earlier life is given back to nobody. */
static void reserved(void **state)
{
	struct iovec io[2];
	int seq, str, cnt;

	(void)state;
	for (int i = 0; i < 3; i++) {
		tell("echo", ECHO, false);
		tell("svc~s", SVC, false);
		seq = dial(SOCK_SEQPACKET, "echo");
		str = dial(SOCK_STREAM, "svc");
		assert_int_equal(amp_reserve(seq, io, &cnt, 100), 100);
		assert_int_equal(amp_reserve(str, io, &cnt, 100), 100);
		host_restart();
		settle();
		assert_int_equal(host.q[AMP_RPROC_TX].used->idx, 1); /* the door's name */
		if (i == 0) {
			assert_errno(amp_commit(seq, 10), EPIPE);
			assert_errno(amp_commit(str, 10), EPIPE);
		}
		assert_int_equal(amp_close(seq), 0);
		assert_int_equal(amp_close(str), 0);
		settle();
		assert_int_equal(host.q[AMP_RPROC_TX].used->idx, 1); /* the door's name */
	}
}

/* A lie in each way that a ring goes: the link is reset, and comes again. */
static void broken(void **state)
{
	struct ring *r;
	int fd, l;

	(void)state;
	for (int i = 0; i < 4; i++) {
		unsigned ups = host.ups;
		struct pollfd p = {.events = POLLIN};

		host_restart();
		settle();
		assert_int_equal(host.ups, ++ups);
		tell("echo", ECHO, false);
		fd = dial(SOCK_SEQPACKET, "echo");
		echoes(fd);
		l = bound(SOCK_DGRAM, "mine");
		settle();
		r = &host.q[AMP_RPROC_TX];
		if (i == 0) { /* a length beyond the buffer */
			say(ECHO, 1, "x", 1);
			amp_put_le16(
				host.q[AMP_RPROC_RX].bufs +
					(host.q[AMP_RPROC_RX].avail->idx - 1u) % NUM * BUF + 12,
				600);
		} else if (i == 1) { /* no such buffer */
			say(ECHO, 1, "x", 1);
			host.q[AMP_RPROC_RX]
				.avail->ring[(host.q[AMP_RPROC_RX].avail->idx - 1u) % NUM] =
				NUM;
		} else { /* where there is no memory: by a send, by what is owed */
			for (unsigned k = 0; k < NUM; k++)
				r->desc[k].addr = DA + sizeof(memory);
		}
		if (i == 2)
			assert_errno(amp_send(fd, "x", 1, MSG_DONTWAIT), ECONNRESET);
		if (i == 3)
			assert_int_equal(amp_close(l), 0);
		p.fd = fd;
		assert_int_equal(amp_poll(&p, 1, 1000), 1);
		assert_true(p.revents & POLLHUP);
		if (i != 2)
			assert_errno(amp_recv(fd, &p, 1, 0), ECONNRESET);
		settle();
		assert_int_equal(host.ups, ups + 1);
		assert_int_equal(amp_close(fd), 0);
		if (i != 3) {
			assert_int_equal(ns_of(0, "mine"), AMP_RPMSG_NS_CREATE);
			assert_int_equal(amp_close(l), 0);
		}
	}
}

/* The ring breaks in a turn that had enough: a link that is down asks for no other turn. */
static void down_sleeps(void **state)
{
	int taker = sock(SOCK_DGRAM, false), l;

	(void)state;
	exhaust(taker);
	l = bound(SOCK_DGRAM, "mine");
	host.q[AMP_RPROC_TX].avail->idx += 2 * NUM;
	for (unsigned i = 0; i < 3; i++)
		tell((const char *[]){"n0", "n1", "n2"}[i], ECHO + i, false);
	host.off = true;
	host.idle = 0;
	assert_int_equal(amp_poll(NULL, 0, 1000), 0);
	assert_int_equal(table()->vdev.status, 0);
	assert_true(host.idle < 4);
	host.off = false;
	settle();
	assert_int_equal(table()->vdev.status, AMP_RPROC_DRIVER_OK);
	assert_int_equal(amp_close(l), 0);
	assert_int_equal(amp_close(taker), 0);
	settle();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(talk, fresh),
		cmocka_unit_test_setup(names, fresh),
		cmocka_unit_test_setup(leaving, fresh),
		cmocka_unit_test_setup(owed_first, fresh),
		cmocka_unit_test_setup(reserved, fresh),
		cmocka_unit_test_setup(broken, fresh),
		cmocka_unit_test_setup(down_sleeps, fresh),
	};

	return cmocka_run_group_tests_name("AF_RPMSG alone, small", tests, boot, NULL);
}
