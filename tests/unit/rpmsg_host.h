/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host of an rpmsg link in the same process as the library that is its remote: a resource
 * table in static memory, a bus, endpoints that remember what they got, and streams. Its
 * turns are taken in the remote's doorbell, where a kick would make it look, or when a test
 * says so. They are taken with the library's lock held: the rings would do without, but the
 * thread sanitizer does not know of what fences do.
 */
#ifndef RPMSG_HOST_H
#define RPMSG_HOST_H

#include <stdlib.h>
#include <string.h>

#include <ampsock.h>
#include "af_rpmsg/rpmsg.h"
#include "af_rpmsg/rpmsg_stream.h"
#include "port/port.h"
#include "virtio/remoteproc.h"

#define HOST_NUM   64u
#define HOST_DA	   0x20000000u
#define HOST_MEM   (512u << 10)
#define HOST_EPTS  16u
#define HOST_NAMES 64u
#define HOST_MSGS  64u
#define HOST_CONNS 8u
#define HOST_BYTES (1u << 20)

struct host_msg {
	uint32_t src, len;
	uint8_t data[512];
};

struct host_ept {
	struct amp_rpmsg_named e; /* first */
	unsigned got;
	struct host_msg msg[HOST_MSGS]; /* the last ones */
	bool open, echo, stream;
};

struct host_conn {
	struct amp_rstream_conn rc; /* first */
	unsigned events;
	size_t got, sent; /* bytes */
	unsigned stage;	  /* serve's own */
	uint8_t *bytes;
	bool hold; /* nothing is consumed */
	bool echo;
};

static struct {
	uint8_t mem[HOST_MEM] __attribute__((aligned(64)));
	/* the remote's */
	struct amp_rproc rp;
	unsigned kicks[2];
	unsigned in_notify;
	bool deaf; /* kicks are counted, and that is all */
	/* the host's */
	struct amp_rproc_host h;
	uint16_t state[2][HOST_NUM];
	struct amp_vq q[2];
	struct amp_rpmsg bus;
	struct amp_rpmsg_ept *hash[4];
	struct amp_rstream rs;
	struct amp_vsock_conn *conns[1];
	struct amp_iov iov[1];
	struct host_ept ept[HOST_EPTS];
	struct host_conn conn[HOST_CONNS];
	struct {
		char name[AMP_RPMSG_NAME_LEN];
		uint32_t addr;
		bool gone;
	} seen[HOST_NAMES];
	unsigned seen_cnt;
	unsigned ups, downs;
	uint32_t refuse;		    /* endpoint whose REQUESTs are refused */
	void (*serve)(struct host_conn *c); /* instead of the echo */
} host;

/* ---- what arrives ---- */

static int host_data(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept,
		     const struct amp_rpmsg_rx *rx)
{
	struct host_ept *e = (struct host_ept *)(void *)ept;
	struct host_msg *m;
	struct amp_rpmsg_tx tx;

	if (ept->kind == 1) {
		(void)amp_rstream_input(&host.rs, amp_rstream_of(ept), rx);
		return 0;
	}
	if (e->stream) {
		amp_rstream_serve(&host.rs, rx);
		return 0;
	}
	m = &e->msg[e->got++ % HOST_MSGS];
	m->src = rx->src;
	m->len = rx->len;
	memcpy(m->data, rx->data, rx->len);
	if (e->echo && amp_rpmsg_reserve(bus, &tx) == 0) {
		memcpy(tx.data, m->data, m->len);
		amp_rpmsg_commit(bus, &tx, ept->addr, rx->src, m->len);
	}
	return 0;
}

static void host_service(struct amp_rpmsg *bus, const char *name, uint32_t addr, bool gone)
{
	unsigned i = host.seen_cnt++ % HOST_NAMES;

	(void)bus;
	memset(host.seen[i].name, 0, sizeof(host.seen[i].name));
	memcpy(host.seen[i].name, name, strlen(name));
	host.seen[i].addr = addr;
	host.seen[i].gone = gone;
}

static void host_tx_ready(struct amp_rpmsg *bus)
{
	(void)bus;
	(void)amp_rstream_run(&host.rs);
}

static void host_gone(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept)
{
	(void)bus;
	((struct host_ept *)(void *)ept)->open = false;
}

static const struct amp_rpmsg_ops host_bus_ops = {
	.data = host_data,
	.service = host_service,
	.tx_ready = host_tx_ready,
	.gone = host_gone,
};

/* ---- streams ---- */

static struct host_conn *host_conn_new(void)
{
	for (unsigned i = 0; i < HOST_CONNS; i++) {
		struct host_conn *c = &host.conn[i];

		if (c->rc.c.state != AMP_CONN_FREE)
			continue;
		free(c->bytes);
		memset(c, 0, sizeof(*c));
		c->bytes = malloc(HOST_BYTES);
		c->rc.ept.kind = 1;
		c->rc.ept.addr = AMP_RPMSG_ADDR_ANY;
		c->rc.c.buf_alloc = 32768;
		return c;
	}
	return NULL;
}

static struct amp_rstream_conn *host_request(struct amp_rstream *rs, uint32_t local,
					     uint32_t peer)
{
	struct host_conn *c = local == host.refuse ? NULL : host_conn_new();

	(void)peer;
	if (!c)
		return NULL;
	c->echo = true;
	amp_vsock_respond(&rs->vs, &c->rc.c);
	return &c->rc;
}

static int host_bytes(struct amp_vsock *vs, struct amp_vsock_conn *vc,
		      const struct amp_vsock_rx *rx)
{
	struct host_conn *c = (struct host_conn *)(void *)vc;

	if (rx->len > HOST_BYTES - c->got)
		abort();
	memcpy(c->bytes + c->got, rx->iov->base, rx->len);
	c->got += rx->len;
	if (!c->hold)
		amp_vsock_consumed(vs, vc, rx->len);
	return 0;
}

static void host_event(struct amp_vsock *vs, struct amp_vsock_conn *vc, unsigned ev)
{
	struct host_conn *c = (struct host_conn *)(void *)vc;

	(void)vs;
	c->events |= ev;
}

static const struct amp_vsock_ops host_vs_ops = {.data = host_bytes, .event = host_event};
static const struct amp_rstream_ops host_rs_ops = {.request = host_request};

/* As many of these as go. */
static inline size_t host_stream_send(struct host_conn *c, const void *data, size_t len)
{
	struct amp_iov iov[1];
	struct amp_vsock_tx tx = {.iov = iov, .iov_max = 1};
	size_t done = 0;

	while (done < len) {
		int r = amp_vsock_reserve(&host.rs.vs, &c->rc.c, (uint32_t)(len - done), &tx);

		if (r < 0)
			break;
		memcpy(iov[0].base, (const uint8_t *)data + done, (size_t)r);
		amp_vsock_commit(&host.rs.vs, &c->rc.c, &tx, (uint32_t)r, 0);
		done += (size_t)r;
	}
	return done;
}

static void host_echo(void)
{
	for (unsigned i = 0; i < HOST_CONNS; i++) {
		struct host_conn *c = &host.conn[i];

		if (c->rc.c.state != AMP_CONN_OPEN)
			continue;
		if (host.serve)
			host.serve(c);
		if (!c->echo || host.serve)
			continue;
		c->sent += host_stream_send(c, c->bytes + c->sent, c->got - c->sent);
		if (c->sent == c->got && (c->rc.c.peer_shut & AMP_VSOCK_SHUTDOWN_SEND))
			amp_vsock_shutdown(&host.rs.vs, &c->rc.c, AMP_VSOCK_SHUTDOWN_SEND);
	}
}

/* ---- turns ---- */

static void host_bus_down(void)
{
	amp_rpmsg_down(&host.bus);
	amp_rstream_down(&host.rs);
	host.downs++;
	host.seen_cnt = 0; /* the next one knows nothing */
}

/* Everything that there is to do. True: the remote is to look. */
static bool host_run(void)
{
	bool kick = false;
	int n;

	for (;;) {
		enum amp_rproc_event ev = amp_rproc_host_look(&host.h);

		if (ev == AMP_RPROC_NOTHING)
			break;
		if (host.bus.in)
			host_bus_down();
		kick = true;
		if (ev == AMP_RPROC_DOWN) {
			if (amp_rproc_host_begin(&host.h))
				break;
		} else if (amp_rproc_host_up(&host.h, host.q) == 0) {
			amp_rpmsg_up(&host.bus, &host.q[AMP_RPROC_TX], &host.q[AMP_RPROC_RX],
				     amp_rproc_host_features(&host.h) & AMP_RPMSG_F_NS);
			host.ups++;
		}
	}
	do {
		n = amp_rpmsg_run(&host.bus, 64);
		host_echo();
		(void)amp_rstream_run(&host.rs);
	} while (n > 0 || (host.bus.in && amp_rpmsg_arm(&host.bus)));
	for (unsigned i = 0; host.bus.in && i < 2; i++)
		kick |= amp_vq_kick_due(&host.q[i]);
	return kick;
}

static inline void host_lock(void)
{
	amp_port_lock();
}

/* The host's doing is over: it takes a turn and rings the bell. */
static inline void host_unlock(void)
{
	(void)host_run();
	amp_port_unlock();
	amp_port_wake();
}

static inline void host_turn(void)
{
	host_lock();
	host_unlock();
}

/* The remote's doorbell. */
static void host_notify(struct amp_rproc *rp, unsigned vring)
{
	bool kick = false;

	(void)rp;
	amp_port_lock(); /* for ever, if the one who notifies still holds it */
	host.kicks[vring]++;
	if (!host.deaf)
		kick = host_run();
	amp_port_unlock();
	if (kick)
		amp_port_wake();
}

static const struct amp_rproc_ops host_rp_ops = {.notify = host_notify};

/* ---- bring-up ---- */

static void host_bus_init(void)
{
	host.bus.ops = &host_bus_ops;
	host.bus.hash = host.hash;
	host.bus.hash_len = 4;
	amp_rpmsg_init(&host.bus);
	host.rs.vs.ops = &host_vs_ops;
	host.rs.vs.hash = host.conns;
	host.rs.vs.hash_len = 1;
	host.rs.vs.iov = host.iov;
	host.rs.vs.iov_max = 1;
	host.rs.ops = &host_rs_ops;
	host.rs.door = &amp_rstream_bus_door;
	host.rs.door_ctx = &host.bus;
	amp_rstream_init(&host.rs);
}

/* The memory as it is when both sides boot, the host first. */
static inline void host_boot(void)
{
	static const struct amp_rsc_table table =
		AMP_RSC_TABLE_INIT(HOST_DA + 4096, HOST_MEM - 4096, 0, 0, HOST_NUM, 64,
				   AMP_RSC_ADDR_ANY, AMP_RSC_ADDR_ANY);

	memset(host.mem, 0, sizeof(host.mem));
	memcpy(host.mem, &table, sizeof(table));
	host.rp = (struct amp_rproc){
		.ops = &host_rp_ops,
		.table = (struct amp_rsc_table *)(void *)host.mem,
		.shm = host.mem,
		.shm_da = HOST_DA,
		.shm_len = HOST_MEM,
		.num = HOST_NUM,
		.align = 64,
	};
	host.h.mem = host.mem;
	host.h.mem_da = HOST_DA;
	host.h.mem_len = HOST_MEM;
	host.h.state[0] = host.state[0];
	host.h.state[1] = host.state[1];
	host.h.state_len = HOST_NUM;
	if (amp_rproc_host_init(&host.h, 0))
		abort();
	host_bus_init();
}

/* The host dies, and another one comes. */
static inline void host_restart(void)
{
	host_lock();
	if (host.bus.in)
		host_bus_down();
	if (amp_rproc_host_init(&host.h, 0))
		abort();
	host_unlock();
}

/* ---- what a test asks of it ---- */

/* name NULL: by address alone; stream: REQUESTs are taken and echoed. */
static inline struct host_ept *host_open(unsigned i, uint32_t addr, const char *name)
{
	struct host_ept *e = &host.ept[i];

	host_lock();
	if (e->open)
		abort();
	memset(e, 0, sizeof(*e));
	if (amp_rpmsg_open_named(&host.bus, &e->e, addr, name))
		abort();
	e->open = true;
	e->stream = name && amp_rstream_name_len(name);
	host_unlock();
	return e;
}

static inline void host_close(struct host_ept *e)
{
	host_lock();
	if (amp_rpmsg_close(&host.bus, &e->e.ept))
		e->open = false;
	host_unlock();
}

static inline int host_send(uint32_t src, uint32_t dst, const void *data, uint32_t len)
{
	struct amp_rpmsg_tx tx;
	int r;

	host_lock();
	r = amp_rpmsg_reserve(&host.bus, &tx);
	if (r == 0) {
		if (len)
			memcpy(tx.data, data, len);
		amp_rpmsg_commit(&host.bus, &tx, src, dst, len);
	}
	host_unlock();
	return r;
}

/* What the remote last said of a name: its address, 0: withdrawn or never announced. */
static inline uint32_t host_seen(const char *name)
{
	uint32_t addr = 0;

	host_lock();
	for (unsigned i = 0; i < host.seen_cnt && i < HOST_NAMES; i++) {
		if (strcmp(host.seen[i].name, name) == 0)
			addr = host.seen[i].gone ? 0 : host.seen[i].addr;
	}
	host_unlock();
	return addr;
}

/* SERVICE at the remote's front door, as a proxy does it. */
static inline int host_tell(const char *name, uint32_t addr, bool gone)
{
	uint32_t door = host_seen("ampsock~s");
	int r;

	host_lock();
	r = amp_rstream_tell(&host.rs, addr, door, name, addr, gone);
	host_unlock();
	return r;
}

#endif /* RPMSG_HOST_H */
