/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A carrier family in memory, a port whose clock moves only when the stack sleeps, and a
 * little proxy that answers by script: all of AF_INET runs in one thread, the same way
 * every time.
 */
#ifndef INET_RIG_H
#define INET_RIG_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netdb.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/vm_sockets.h>
#include <cmocka.h>

#include <ampsock.h>
#include "socket/amp_calls.h"
#include "socket/family.h"
#include "wire/le.h"
#include "wire/offload.h"
#include "assert_errno.h"

/* Where there is no AF_VSOCK, AF_RPMSG is what carries. */
#if !AMPSOCK_VSOCK
#define amp_vsock_family     amp_rpmsg_family
#define amp_vsock_listen     amp_rpmsg_listen
#define amp_vsock_accept     amp_rpmsg_accept
#define amp_vsock_half_close amp_rpmsg_half_close
#define amp_vsock_direct     amp_rpmsg_direct
#define amp_vsock_name	     amp_rpmsg_name
#define amp_vsock_option     amp_rpmsg_option
#endif

#define TOKEN	   0x0123456789abcdefull
#define DOOR_TOKEN 0xfeedfacecafebeefull
#define ID_BASE	   1000u
#define IDS	   256u

/* ---- the port ---- */

static uint32_t clock_ms = 0xfffff000u; /* soon wraps */
static int sleeps;

#if AMP_PORT_THREADS
void amp_port_lock(void)
{
}

void amp_port_unlock(void)
{
}
#endif

void amp_port_wake(void)
{
}

uint32_t amp_port_now_ms(void)
{
	return clock_ms;
}

static void (*in_sleep)(int fd); /* another thread, once: the lock is free */
static int in_sleep_fd;

int amp_port_wait(int32_t timeout_ms)
{
	void (*fn)(int fd) = in_sleep;

	in_sleep = NULL;
	if (fn) {
		fn(in_sleep_fd);
		return 0;
	}
	assert_true(timeout_ms >= 0); /* nothing will ever happen: a lost wake-up */
	assert_true(++sleeps < 100000);
	clock_ms += (uint32_t)timeout_ms;
	return -ETIMEDOUT;
}

#if AMP_PORT_WAKE_ONE
/* There is one thread. */
int amp_port_wait_as(int32_t timeout_ms, bool named)
{
	(void)named;
	return amp_port_wait(timeout_ms);
}

void *amp_port_self(void)
{
	return &clock_ms;
}

void amp_port_wake_one(void *thread)
{
	(void)thread;
}

void amp_port_wake_rest(void)
{
}

void amp_port_unlock_briefly(void)
{
}
#endif

/* ---- carriers ---- */

struct wire {
	struct amp_sock *s;	       /* NULL: the guest has closed it */
	uint8_t in[70000], out[70000]; /* guest -> proxy, proxy -> guest */
	size_t in_len, out_len;
	uint8_t room[4096];
	size_t room_len;
	bool used, eof, rst, aborted, shut_wr;
	uint32_t id;
	uint8_t op; /* of its OPEN; 0: none yet */
	struct amp_off_open open;
};

static struct wire wires[64];
static unsigned wire_cnt;
static struct amp_sock *door;

static struct {
	bool link_down, nobody, mute, stall_in;
	size_t chop;   /* bytes to the guest at a time; 0: all */
	size_t mtu;    /* bytes from the guest in one reservation */
	size_t window; /* bytes from the guest not yet looked at */
	uint8_t version;
	unsigned cut_answer; /* send only so many bytes of an ANSWER; 0: all */
	struct wire *ctl;
	uint32_t next_id, bind_id, released[16];
	uint32_t listener, credits, credit_of[IDS]; /* the last one's; by id % IDS */
	unsigned releases, pings, sessions, creds;
	uint16_t bind_port;
	unsigned setopts, listens, binds, udp_connects;
	unsigned dry; /* so many times the middle of a message finds no buffer */
	uint8_t last_opt[64];
	unsigned last_opt_len;
	uint8_t opt_status, listen_status, bind_status;
	uint8_t frame[AMP_OFF_CTL_MAX]; /* the last request */
	uint32_t udp_max;
} px;

static struct wire *wire_of(struct amp_sock *s)
{
	struct wire *w;

	memcpy(&w, s->priv.bytes, sizeof(w));
	return w;
}

static struct wire *wire_new(struct amp_sock *s)
{
	struct wire *w = &wires[wire_cnt++ % 64];

	memset(w, 0, sizeof(*w));
	w->s = s;
	w->used = true;
	memcpy(s->priv.bytes, &w, sizeof(w));
	return w;
}

static int fk_create(struct amp_sock *s, int type, int protocol)
{
	(void)s;
	(void)protocol;
	return type == SOCK_STREAM ? 0 : -EPROTOTYPE;
}

static int fk_bind(struct amp_sock *s, const struct sockaddr *a, socklen_t len)
{
	(void)a;
	(void)len;
	door = s;
	return 0;
}

int amp_vsock_listen(struct amp_sock *s, int backlog);
int amp_vsock_listen(struct amp_sock *s, int backlog)
{
	(void)s;
	(void)backlog;
	return 0;
}

static int fk_connect(struct amp_sock *s, const struct sockaddr *a, socklen_t len)
{
	(void)a;
	(void)len;
	if (wire_of(s))
		return -EAGAIN;
	if (px.link_down)
		return -ENETUNREACH;
	if (amp_sock_ring(s))
		return -ENOBUFS;
	wire_new(s);
	return -EAGAIN;
}

struct amp_sock *amp_vsock_accept(struct amp_sock *s, int *err);
struct amp_sock *amp_vsock_accept(struct amp_sock *s, int *err)
{
	*err = -EAGAIN;
	return amp_sock_queue_pop(s);
}

static size_t fk_window(const struct wire *w)
{
	size_t held = w->in_len + w->room_len;

	return held < px.window ? px.window - held : 0;
}

static ssize_t fk_carry(struct amp_sock *s, const struct iovec *iov, size_t off, size_t end,
			size_t whole)
{
	struct wire *w = wire_of(s);
	size_t at = 0, n = 0;

	assert_int_equal(w->room_len, 0);
	if (s->flags & (AMP_SF_RESET | AMP_SF_WR_SHUT | AMP_SF_HUP))
		return -EPIPE;
	if (whole > fk_window(w))
		return -EAGAIN;
	if (off == end)
		return 0;
	if (off && px.dry) { /* no transport buffer */
		px.dry--;
		return -EAGAIN;
	}
	for (; at < end; iov++) {
		const uint8_t *p = iov->iov_base;

		for (size_t k = 0; k < iov->iov_len && at < end; k++, at++) {
			if (at >= off && n < px.mtu && fk_window(w)) {
				w->in[w->in_len++] = p[k];
				n++;
			}
		}
	}
	return n ? (ssize_t)n : -EAGAIN;
}

static ssize_t fk_sendmsg(struct amp_sock *s, const struct amp_msg *m, int flags)
{
	(void)flags;
	assert_null(m->name);
	return fk_carry(s, m->iov, m->done, m->len, 0);
}

static ssize_t fk_recvmsg(struct amp_sock *s, struct amp_msg *m, int flags)
{
	bool peek = (flags & MSG_PEEK) != 0;

	if (!m->iov && !peek && m->len) {
		assert_true(m->len <= amp_rxring_used(&s->rx));
		s->rx.tail = (AMP_RING_IDX)(s->rx.tail + m->len);
		return (ssize_t)m->len;
	}
	if (amp_rxring_used(&s->rx)) {
		size_t n = amp_rxring_read(&s->rx, s->rx.tail, m, m->len - m->done);

		if (!peek)
			s->rx.tail = (AMP_RING_IDX)(s->rx.tail + n);
		return (ssize_t)n;
	}
	return s->flags & (AMP_SF_EOF | AMP_SF_RD_SHUT) ? 0 : -EAGAIN;
}

static void fk_end(struct amp_sock *s, enum amp_end_why why)
{
	struct wire *w = wire_of(s);

	if (why != AMP_END_CLOSED)
		return;
	if (w) {
		w->s = NULL;
		w->aborted = s->linger_s == 0;
	}
	if (s == door)
		door = NULL;
	amp_sock_free(s);
}

int amp_vsock_half_close(struct amp_sock *s, int how);
int amp_vsock_half_close(struct amp_sock *s, int how)
{
	struct wire *w = wire_of(s);

	if (how != SHUT_RD) {
		s->flags |= AMP_SF_WR_SHUT;
		w->shut_wr = true;
	}
	if (how != SHUT_WR) { /* what lies in the ring is thrown away, as AF_VSOCK does */
		s->flags |= AMP_SF_RD_SHUT;
		s->rx.tail = s->rx.head;
	}
	return 0;
}

#if AMPSOCK_FAST
static bool fk_send_fast(struct amp_sock *s, const void *buf, size_t len, int flags)
{
	const struct iovec v = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};

	(void)flags;
	return fk_carry(s, &v, 0, len, len) == (ssize_t)len;
}

/* What comes lies in the ring. */
static void fk_recv_fast(struct amp_sock *s, struct amp_rx_want *w)
{
	assert_non_null(s);
	assert_true(w->to < w->end);
}
#endif

static int fk_poll(struct amp_sock *s)
{
	int ev = s->flags & AMP_SF_RESET ? POLLHUP | POLLIN | POLLOUT : 0;

	if (amp_rxring_used(&s->rx) || (s->flags & (AMP_SF_EOF | AMP_SF_RD_SHUT)))
		ev |= POLLIN;
	return fk_window(wire_of(s)) ? ev | POLLOUT : ev;
}

int amp_vsock_direct(struct amp_sock *s, enum amp_direct op, struct amp_direct_io *io);
int amp_vsock_direct(struct amp_sock *s, enum amp_direct op, struct amp_direct_io *io)
{
	struct wire *w = wire_of(s);
	size_t half;

	if (op == AMP_RETURN || op == AMP_BORROW)
		assert_true(op == AMP_BORROW || io->len <= amp_rxring_used(&s->rx));
	switch (op) {
	case AMP_RESERVE:
		if (s->flags & AMP_SF_RESET)
			return -EPIPE;
		if (!fk_window(w))
			return -EAGAIN;
		assert_int_equal(w->room_len, 0);
		if (io->len > px.mtu)
			io->len = px.mtu;
		if (io->len > fk_window(w))
			io->len = fk_window(w);
		if (io->len > sizeof(w->room))
			io->len = sizeof(w->room);
		w->room_len = io->len;
		half = io->len / 3; /* two pieces, to be nasty */
		io->iov[0] = (struct iovec){.iov_base = w->room, .iov_len = half};
		io->iov[1] =
			(struct iovec){.iov_base = w->room + half, .iov_len = io->len - half};
		io->cnt = 2;
		return 0;
	case AMP_COMMIT:
		assert_true(io->len <= w->room_len);
		memcpy(w->in + w->in_len, w->room, io->len);
		w->in_len += io->len;
		w->room_len = 0;
		return 0;
	case AMP_RETURN:
		s->rx.tail = (AMP_RING_IDX)(s->rx.tail + io->len);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* Wanted by the linker, not by these tests. */
int amp_vsock_name(struct amp_sock *s, bool peer, struct sockaddr *addr, socklen_t *len);
int amp_vsock_name(struct amp_sock *s, bool peer, struct sockaddr *addr, socklen_t *len)
{
	(void)s;
	(void)peer;
	(void)addr;
	(void)len;
	return -EOPNOTSUPP;
}

int amp_vsock_option(struct amp_sock *s, bool set, int level, int name, void *val,
		     socklen_t *len);
int amp_vsock_option(struct amp_sock *s, bool set, int level, int name, void *val,
		     socklen_t *len)
{
	(void)s;
	(void)set;
	(void)level;
	(void)name;
	(void)val;
	(void)len;
	return -ENOPROTOOPT;
}

static const struct sockaddr_vm fk_proxy = {.svm_family = AF_VSOCK, .svm_port = 1};
static const struct amp_carrier fk_carrier = {
	.carry = fk_carry,
	.proxy = (const struct sockaddr *)(const void *)&fk_proxy,
	.accept = (const struct sockaddr *)(const void *)&fk_proxy,
	.len = sizeof(fk_proxy),
};

#if AMPSOCK_RPMSG
/* Who calls sendto() links that, and with it the real family. */
int amp_rpmsg_dgram_to(struct amp_sock *s, const struct amp_msg *m, uint32_t *dst)
{
	(void)s;
	(void)m;
	(void)dst;
	return -EOPNOTSUPP;
}
#endif

/* In the place of the real one. */
const struct amp_family amp_vsock_family = {
	.domain = AMPSOCK_VSOCK ? AF_VSOCK : 65, /* families.def */
	.carrier = &fk_carrier,
	.create = fk_create,
	.bind = fk_bind,
	.connect = fk_connect,
	.listen = amp_vsock_listen,
	.accept = amp_vsock_accept,
	.sendmsg = fk_sendmsg,
	.recvmsg = fk_recvmsg,
	.end = fk_end,
	.half_close = amp_vsock_half_close,
	.poll = fk_poll,
	.direct = amp_vsock_direct,
#if AMPSOCK_FAST
	.send_fast = fk_send_fast,
	.recv_fast = fk_recv_fast,
#endif
};

/* ---- the proxy's words ---- */

static void say(struct wire *w, const void *p, size_t len)
{
	assert_true(w->out_len + len <= sizeof(w->out));
	memcpy(w->out + w->out_len, p, len);
	w->out_len += len;
}

static struct amp_off_addr addr4(uint32_t ip, uint16_t port)
{
	return (struct amp_off_addr){
		.family = AMP_OFF_INET,
		.port = port,
		.addr = {(uint8_t)(ip >> 24), (uint8_t)(ip >> 16), (uint8_t)(ip >> 8),
			 (uint8_t)ip},
	};
}

static void say_answer(struct wire *w, uint8_t op, uint16_t status, uint32_t id, uint32_t arg,
		       uint64_t token, struct amp_off_addr local, struct amp_off_addr peer)
{
	struct amp_off_answer a = {.magic = AMP_OFF_MAGIC,
				   .version = px.version,
				   .op = op,
				   .status = status,
				   .id = id,
				   .arg = arg,
				   .token = token,
				   .max_frame = px.udp_max,
				   .local = local,
				   .peer = peer};
	uint8_t p[AMP_OFF_ANSWER_LEN];

	amp_off_put_answer(p, &a);
	say(w, p, px.cut_answer ? px.cut_answer : sizeof(p));
}

static void say_ctl(uint8_t op, uint8_t status, uint32_t seq, const void *body, size_t len)
{
	struct amp_off_ctl c = {
		.len = (uint16_t)(8 + len), .op = op, .status = status, .seq = seq};
	uint8_t p[AMP_OFF_CTL_LEN];

	amp_off_put_ctl(p, &c);
	say(px.ctl, p, sizeof(p));
	say(px.ctl, body, len);
}

static __attribute__((unused)) void say_closed(uint32_t id, uint32_t status)
{
	uint8_t p[8];

	amp_put_le32(p, id);
	amp_put_le32(p + 4, status);
	say_ctl(AMP_OFF_CLOSED, 0, 99, p, 8);
}

static __attribute__((unused)) void say_udp(struct wire *w, uint8_t kind, uint8_t flags,
					    uint32_t arg, struct amp_off_addr from,
					    const void *data, size_t len)
{
	struct amp_off_udp u = {.len = (uint16_t)(AMP_OFF_UDP_LEN + len),
				.kind = kind,
				.flags = flags,
				.arg = arg,
				.addr = from};
	uint8_t p[AMP_OFF_UDP_LEN];

	amp_off_put_udp(p, &u);
	say(w, p, sizeof(p));
	say(w, data, len);
}

/* What connect() to a port comes to. */
static unsigned verdict(uint16_t port)
{
	switch (port) {
	case 81:
		return AMP_OFF_ECONNREFUSED;
	case 82:
		return AMP_OFF_EACCES;
	case 83:
		return AMP_OFF_ETIMEDOUT;
	case 84:
		return AMP_OFF_EADDRINUSE;
	case 86:
		return AMP_OFF_EAGAIN;
	default:
		return AMP_OFF_OK;
	}
}

static void px_open(struct wire *w)
{
	struct amp_off_addr none = {.family = 0}, local = addr4(0x0a000002, 40000);
	unsigned status;

	assert_int_equal(amp_off_get_open(w->in, &w->open), AMP_OFF_OK);
	w->op = w->open.op;
	w->in_len -= AMP_OFF_OPEN_LEN;
	memmove(w->in, w->in + AMP_OFF_OPEN_LEN, w->in_len);
	if (w->op == AMP_OFF_HELLO) {
		px.ctl = w;
		px.sessions++;
		if (!px.mute)
			say_answer(w, w->op, AMP_OFF_OK, 0, 0, TOKEN + px.sessions, none, none);
		return;
	}
	assert_true(w->open.token == TOKEN + px.sessions);
	w->id = px.next_id++;
	if (w->open.local.family) {
		local = w->open.local;
		if (!local.port)
			local.port = 45678;
	}
	if (w->open.family == AMP_OFF_INET6)
		local.family = AMP_OFF_INET6;
	status = verdict(w->op == AMP_OFF_CONNECT ? w->open.peer.port : w->open.local.port);
	if (w->open.peer.port == 85 || w->open.local.port == 85) /* never answers */
		return;
	say_answer(w, w->op, (uint16_t)status, w->id, 0, 0, status ? none : local,
		   status ? none : w->open.peer);
	if (status)
		w->eof = true;
}

static void px_request(const struct amp_off_ctl *c, const uint8_t *p, unsigned len)
{
	uint8_t ans[64] = {0};
	struct amp_off_addr a = {.family = 0};

	memcpy(px.frame, p, len);
	switch (c->op) {
	case AMP_OFF_PING:
		px.pings++;
		if (!px.mute)
			say_ctl(AMP_OFF_PONG, 0, c->seq, "", 0);
		return;
	case AMP_OFF_PONG:
		px.bind_port = 7777; /* seen */
		return;
	case AMP_OFF_CREDIT:
		px.credit_of[amp_le32(p) % IDS] += amp_le32(p + 4);
		px.creds++;
		if (amp_le32(p) != px.listener)
			return;
		px.credits += amp_le32(p + 4);
		return;
	case AMP_OFF_RELEASE:
		px.released[px.releases++ % 16] = amp_le32(p);
		return;
	case AMP_OFF_BIND:
		px.binds++;
		assert_true(amp_off_get_addr(p + 12, &a));
		if (!a.port)
			a.port = 5555;
		px.bind_port = a.port;
		px.bind_id = px.next_id++;
		amp_put_le32(ans, px.bind_id);
		amp_off_put_addr(ans + 4, &a);
		say_ctl(c->op | AMP_OFF_REPLY,
			px.bind_status ? px.bind_status : (uint8_t)verdict(a.port), c->seq, ans,
			28);
		return;
	case AMP_OFF_LISTEN:
		px.listens++;
		assert_int_equal(amp_le32(p), px.bind_id);
		px.listener = px.next_id++;
		px.credits = amp_le32(p + 8);
		amp_put_le32(ans, px.listener);
		amp_put_le64(ans + 8, DOOR_TOKEN);
		a = addr4(0, px.bind_port);
		amp_off_put_addr(ans + 16, &a);
		say_ctl(c->op | AMP_OFF_REPLY, px.listen_status, c->seq, ans, 40);
		return;
	case AMP_OFF_UDP_CONNECT:
		px.udp_connects++;
		a = addr4(0x0a000002, 40001);
		amp_off_put_addr(ans, &a);
		say_ctl(c->op | AMP_OFF_REPLY, 0, c->seq, ans, 24);
		return;
	case AMP_OFF_SETOPT:
		px.setopts++;
		memcpy(px.last_opt, p, len < 64 ? len : 64);
		px.last_opt_len = len;
		say_ctl(c->op | AMP_OFF_REPLY, px.opt_status, c->seq, "", 0);
		return;
	case AMP_OFF_GETOPT:
		amp_put_le16(ans + 2, 4);
		amp_put_le32(ans + 4, 42);
		say_ctl(c->op | AMP_OFF_REPLY, px.opt_status, c->seq, ans,
			px.opt_status ? 0 : 8);
		return;
	default:
		fail_msg("op %u", c->op);
	}
}

/* Names: a hook, so that one rig serves two tests. */
static bool (*px_resolver)(const struct amp_off_ctl *c, const uint8_t *body, unsigned len);

static void px_ctl(struct wire *w)
{
	struct amp_off_ctl c;

	while (w->in_len >= AMP_OFF_CTL_LEN) {
		assert_true(amp_off_get_ctl(w->in, &c));
		if (w->in_len < c.len)
			return;
		if (!px_resolver || !px_resolver(&c, w->in + 8, c.len - 8u))
			px_request(&c, w->in + 8, c.len - 8u);
		w->in_len -= c.len;
		memmove(w->in, w->in + c.len, w->in_len);
	}
}

static void px_deliver(struct wire *w)
{
	size_t n = w->out_len, direct;

	if (px.chop && n > px.chop)
		n = px.chop;
	if (n > amp_rxring_room(&w->s->rx))
		n = amp_rxring_room(&w->s->rx);
	if (n) {
		assert_int_equal(amp_sock_rx(w->s, w->out, n, &direct), n);
		w->out_len -= n;
		memmove(w->out, w->out + n, w->out_len);
		if (n == direct) /* as the links do: the caller's affair alone */
			amp_mine();
		else
			amp_sock_changed(w->s);
	}
	if (w->out_len)
		return;
	if (w->eof && !(w->s->flags & AMP_SF_EOF)) {
		w->s->flags |= AMP_SF_EOF;
		amp_sock_changed(w->s);
	}
	if (w->rst && !(w->s->flags & AMP_SF_RESET)) {
		w->s->flags &= (uint16_t)~AMP_SF_CONNECTED;
		amp_sock_reset(w->s, ECONNRESET);
	}
}

static int32_t fk_run(struct amp_runner *r, uint32_t now_ms)
{
	bool more = false;

	(void)r;
	(void)now_ms;
	for (unsigned i = 0; i < 64; i++) {
		struct wire *w = &wires[i];

		if (!w->used)
			continue;
		if (w->s && !(w->s->flags & (AMP_SF_CONNECTED | AMP_SF_RESET))) {
			if (px.nobody)
				amp_sock_reset(w->s, ECONNREFUSED);
			else
				w->s->flags |= AMP_SF_CONNECTED;
			amp_sock_changed(w->s);
			more = true;
		}
		if (!px.stall_in && !w->op && w->in_len >= AMP_OFF_OPEN_LEN)
			px_open(w);
		if (!px.stall_in && w->op == AMP_OFF_HELLO)
			px_ctl(w);
		if (w->s) {
			px_deliver(w);
			more |= w->out_len && amp_rxring_room(&w->s->rx);
		}
	}
	return more ? 0 : -1;
}

static struct amp_runner fk_runner = {.run = fk_run};

/* A carrier that somebody opens towards the guest's door. */
static struct wire *knock(bool trusted)
{
	struct amp_sock *s;
	struct wire *w;

	assert_non_null(door);
	s = amp_sock_find(amp_sock_new(amp_vsock_family.domain, SOCK_STREAM, 0));
	if (!s)
		return NULL;
	s->flags = AMP_SF_ORPHAN;
	if (amp_sock_ring(s)) {
		amp_sock_free(s);
		return NULL;
	}
	w = wire_new(s);
	w->op = AMP_OFF_ACCEPT;
	s->flags |= AMP_SF_CONNECTED;
	if (trusted)
		s->flags |= AMP_SF_TRUSTED;
	assert_int_equal(amp_sock_queue_push(door, s), 0);
	return w;
}

/* The proxy accepted a connection: header and all. */
static __attribute__((unused)) struct wire *visit(uint16_t port)
{
	struct wire *w = knock(true);

	if (!w)
		return NULL;
	w->id = px.next_id++;
	say_answer(w, AMP_OFF_ACCEPT, 0, w->id, px.listener, DOOR_TOKEN,
		   addr4(0x0a000002, px.bind_port), addr4(0x0a000009, port));
	return w;
}

static void spin(void)
{
	for (int i = 0; i < 20; i++)
		amp_poll_links();
}

/* Let ms pass, as a program that calls the stack now and then. */
static __attribute__((unused)) void pass(uint32_t ms)
{
	for (uint32_t t = 0; t < ms; t += 50) {
		clock_ms += 50;
		spin();
	}
}

static __attribute__((unused)) struct wire *last_wire(void)
{
	return &wires[(wire_cnt - 1) % 64];
}

static struct sockaddr_in sin4(const char *ip, uint16_t port)
{
	struct sockaddr_in a;

	memset(&a, 0, sizeof(a));
	a.sin_family = AF_INET;
	a.sin_port = htons(port);
	assert_int_equal(inet_pton(AF_INET, ip, &a.sin_addr), 1);
	return a;
}

static __attribute__((unused)) int try_connect(int fd, uint16_t port)
{
	struct sockaddr_in a = sin4("192.0.2.7", port);

	errno = 0;
	return amp_connect(fd, (struct sockaddr *)&a, sizeof(a));
}

static __attribute__((unused)) int tcp(uint16_t port)
{
	int fd = amp_socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(try_connect(fd, port), 0);
	return fd;
}

/* Every test: a proxy in its senses, no session left from before, and afterwards no socket. */
static int rig_up(void **state)
{
	(void)state;
	amp_runner_add(&fk_runner);
	memset(&px, 0, sizeof(px));
	px.next_id = ID_BASE;
	px.window = 16384;
	px.mtu = 2000;
	px.version = AMP_OFF_VERSION;
	px.udp_max = 65535;
	return 0;
}

static int rig_down(void **state)
{
	struct amp_sock *s;
	unsigned left = 0;

	(void)state;
	px.mute = px.stall_in = false;
	px.chop = 0;
	spin();
	for (s = amp_sock_next(NULL); s; s = amp_sock_next(s))
		if (s->domain != amp_vsock_family.domain)
			left++;
	assert_int_equal(left, 0);
	if (px.ctl && px.ctl->s) { /* end the session */
		px.ctl->rst = true;
		spin();
	}
	/* the door stays; everything else is gone */
	for (s = amp_sock_next(NULL); s; s = amp_sock_next(s))
		assert_ptr_equal(s, door);
	memset(wires, 0, sizeof(wires));
	return 0;
}

#endif /* INET_RIG_H */
