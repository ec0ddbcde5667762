// SPDX-License-Identifier: BSD-3-Clause
/*
 * The AF_VSOCK family: sockets on connections of the engine.
 *
 * Theory of operation
 *
 * A socket's private part is its connection. While the engine knows it (state other than
 * FREE) the engine may call the hooks below; EV_GONE is its last word, and only then can
 * the slot be given back. So close() leaves an orphan behind (SUB_CLOSED) that ends by
 * itself: the peer's RST, or a deadline.
 *
 * Received bytes go to a waiting caller or into the socket's ring, and the transport's
 * buffer goes back at once. The advertised buffer is the ring, so the ring cannot
 * overflow unless the peer lies; then the engine resets the connection.
 *
 * A message (SOCK_SEQPACKET) is only begun when the peer has credit for all of it. If
 * transport buffers run out in its middle, SUB_TX_PART keeps other senders out until the
 * rest is gone.
 *
 * A connection to CID 1, or to one of our own CIDs, runs in the in-core loop, whose
 * addresses are all CID 1.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/vm_sockets.h>

#include "ampsock.h"
#include "../wire/offload.h"
#include "af_vsock.h"

AMP_OPTIONAL(amp_vlink_loop);
AMP_OPTIONAL(amp_vsock_loop_data);
AMP_OPTIONAL(amp_vsock_listen);
AMP_OPTIONAL(amp_vsock_accept);
AMP_OPTIONAL(amp_vsock_name);
AMP_OPTIONAL(amp_vsock_option);
AMP_OPTIONAL(amp_vsock_direct);
AMP_OPTIONAL(amp_vsock_half_close);
AMP_OPTIONAL(amp_vsock_unreserve);
AMP_OPTIONAL(amp_vsock_unlisten);

#define CLOSE_WAIT_S 8u /* for the peer's RST, as Linux */

/* ---- AF_VSOCK's own: addresses ---- */

#if AMPSOCK_VSOCK
static bool own_cid(uint32_t cid)
{
	for (unsigned i = 0; i < AMPSOCK_VSOCK_LINKS; i++) {
		if (amp_vlinks[i] && amp_vlinks[i]->up && amp_vlinks[i]->vs.local_cid == cid)
			return true;
	}
	return cid == VMADDR_CID_LOCAL;
}

/* The link towards cid, no CID of ours: a device end knows its one guest, a driver end reaches
 * everybody. */
static struct amp_vlink *link_to(uint32_t cid)
{
	for (unsigned i = 0; i < AMPSOCK_VSOCK_LINKS; i++) {
		struct amp_vlink *l = amp_vlinks[i];

		if (l && l->up && (!amp_vsock_guest(&l->vs) || amp_vsock_guest(&l->vs) == cid))
			return l;
	}
	return NULL;
}

/* ---- the family's operations ---- */

int amp_vsock_sock_create(struct amp_sock *s, int type, int protocol)
{
	(void)s;
	if (type != SOCK_STREAM && type != SOCK_SEQPACKET)
		return -ESOCKTNOSUPPORT;
	return protocol && protocol != AF_VSOCK ? -EPROTONOSUPPORT : 0;
}

static bool port_taken(uint32_t port)
{
	struct amp_sock *s = NULL;

	while ((s = amp_sock_next_of(s, &amp_vsock_family)) != NULL) {
		if ((s->flags & AMP_SF_BOUND) && conn_of(s)->local.port == port)
			return true;
	}
	return false;
}

/* The next free one: they rotate, so that a just-closed pair does not come back at once. */
uint32_t amp_vsock_port_any(void)
{
	static uint32_t last; /* of none yet */

	do {
		if (++last < 1024 || last >= VMADDR_PORT_ANY)
			last = 1024;
	} while (port_taken(last));
	return last;
}

static int get_addr(const struct sockaddr *addr, socklen_t len, struct amp_vsock_addr *to)
{
	const uint8_t *p = (const uint8_t *)addr; /* the caller's may lie anywhere */

	if (!addr || len < sizeof(struct sockaddr_vm))
		return -EINVAL;
	if (addr->sa_family != AF_VSOCK)
		return -EAFNOSUPPORT;
	memcpy(&to->cid, p + offsetof(struct sockaddr_vm, svm_cid), sizeof(to->cid));
	memcpy(&to->port, p + offsetof(struct sockaddr_vm, svm_port), sizeof(to->port));
	return 0;
}

int amp_vsock_sock_bind(struct amp_sock *s, const struct sockaddr *addr, socklen_t len)
{
	struct amp_vsock_addr at;
	int r = get_addr(addr, len, &at);

	if (r)
		return r;
	if (s->flags & (AMP_SF_BOUND | AMP_SF_CONNECTED | AMP_SF_CONNECTING))
		return -EINVAL;
	if (at.cid != VMADDR_CID_ANY && !own_cid(at.cid))
		return -EADDRNOTAVAIL;
	if (at.port == VMADDR_PORT_ANY)
		at.port = amp_vsock_port_any();
	else if (port_taken(at.port))
		return -EADDRINUSE;
	conn_of(s)->local = at;
	s->flags |= AMP_SF_BOUND;
	return 0;
}

int amp_vsock_sock_connect(struct amp_sock *s, const struct sockaddr *addr, socklen_t len)
{
	struct amp_vsock_conn *c = conn_of(s);
	struct amp_vsock_addr peer;
	struct amp_vlink *l;
	uint32_t bound;
	int r;

	/* an attempt is under way, or the last connection has packets to send */
	if (c->state != AMP_CONN_FREE)
		return -EAGAIN;
	r = get_addr(addr, len, &peer);
	if (r)
		return r;
	if (peer.cid == VMADDR_CID_ANY || peer.port == VMADDR_PORT_ANY)
		return -EINVAL;
	if (own_cid(peer.cid)) {
		peer.cid = VMADDR_CID_LOCAL;
		if (!amp_vlink_loop) /* linked with listen(): here nobody listens */
			return -ECONNREFUSED;
		l = amp_vlink_loop();
	} else {
		l = link_to(peer.cid);
	}
	if (!l)
		return -ENETUNREACH;
	r = amp_sock_ring(s);
	if (r)
		return r;
	if (!(s->flags & AMP_SF_BOUND))
		c->local.port = amp_vsock_port_any();
	bound = c->local.cid;
	c->local.cid = l->vs.local_cid;
	c->peer = peer;
	c->type = wire_type(s);
	c->buf_alloc = (AMP_CREDIT_CNT)buf_alloc(s);
	amp_runner_due(&l->runner);
	r = amp_vsock_open(&l->vs, c);
	if (r) {
		c->local.cid = bound;
		return r;
	}
	s->rx.head = s->rx.tail = 0;
	s->flags &= (uint16_t) ~(AMP_SF_RESET | AMP_SF_EOF | AMP_SF_HUP | AMP_SF_RD_SHUT |
				 AMP_SF_WR_SHUT);
	s->sub = 0;
	if (!is_stream(s))
		s->rx_part = 0; /* of the connection before */
	s->link = l->index;
	s->flags |= AMP_SF_BOUND;
	/* an attempt that nobody watches (O_NONBLOCK) ends, too */
	amp_vsock_deadline(&l->vs, c, amp_port_now_ms() + AMPSOCK_CONNECT_MS);
	return -EAGAIN;
}
#endif

/* ---- what AF_RPMSG's streams have, too ---- */

/* Meters do not count here: at the offload ports is our own proxy, whose bytes are bytes. */
static inline bool ours(const struct amp_sock *s)
{
	const struct amp_vsock_conn *c = (const struct amp_vsock_conn *)(const void *)&s->priv;

	return AMPSOCK_INET &&
	       (c->peer.port == AMP_OFF_PORT || c->local.port == AMP_OFF_ACCEPT_PORT);
}

/*
 * meter.h. A message is begun
 * when there is room for all of its packets: half a message is not read, however long one
 * waits for that.
 */
uint32_t amp_vsock_meter(struct amp_sock *s, uint32_t len)
{
	struct amp_vsock_sock *v = (struct amp_vsock_sock *)(void *)&s->priv;
	uint32_t more = is_stream(s) ? 0 : len / (AMPSOCK_VSOCK_BUF_LEN - AMP_VSOCK_HDR_LEN);
	struct amp_vsock *vs;
	uint32_t room;

	if (!metered(s) || ours(s))
		return len;
	room = amp_meter_room(&v->meter, &v->c.credit, more, v->c.reserved);
	if (room >= len)
		return len;
	if (room && is_stream(s))
		return room;
	vs = engine_of(s);
	amp_vsock_want_credit(vs, &v->c);
	if (!v->c.deadline_ms) /* asked again then, see amp_vsock_tick() */
		amp_vsock_deadline(vs, &v->c, amp_port_now_ms() + AMP_METER_MS);
	return 0;
}

/* A message's beginning, which goes when there is credit for all of it. 0 or -errno. */
static ssize_t message_begin(struct amp_sock *s, const struct amp_msg *m,
			     struct amp_vsock_load *load)
{
	load->least = m->len;
	if (m->len > conn_of(s)->credit.peer_buf_alloc)
		return -EMSGSIZE;
	return AMP_PORT_THREADS && (s->sub & SUB_TX_PART) ? -EAGAIN : 0;
}

/*
 * n bytes went, or n is what went wrong. A thread that waits in the middle of its message keeps
 * others out, who are woken by it alone: a sender without room that woke them would be woken by
 * them, and so on for ever. Without threads there is nobody to be kept out.
 */
static void message_sent(struct amp_sock *s, const struct amp_msg *m, ssize_t n)
{
	if (n == -EAGAIN) {
		if (m->done)
			s->sub |= SUB_TX_PART;
	} else if ((s->sub & SUB_TX_PART) && (n < 0 || m->done + (size_t)n == m->len)) {
		s->sub &= (uint8_t)~SUB_TX_PART;
		amp_sock_changed(s); /* the next sender's turn */
	}
}

/* A packet at a time: what is left is the next call's, which msg.c makes. */
ssize_t amp_vsock_sock_sendmsg(struct amp_sock *s, const struct amp_msg *m, int flags)
{
	bool stream = is_stream(s);
	struct amp_vsock_load load = {m->iov, m->done, m->len - m->done, 1, 0};
	struct amp_vsock *vs;
	uint32_t part;
	ssize_t n;

	n = amp_vsock_may_send(s, m->name);
	if (n == 0 && !stream) {
		load.flags = flags & MSG_EOR ? AMP_VSOCK_SEQ_EOM | AMP_VSOCK_SEQ_EOR
					     : AMP_VSOCK_SEQ_EOM;
		if (!m->done)
			n = message_begin(s, m, &load);
	}
	if (n || !load.len)
		return n;
	vs = engine_of(s);
	part = (uint32_t)load.len; /* of a message the meter takes all or nothing */
	if (sizeof(size_t) > 4 && load.len > INT32_MAX)
		part = INT32_MAX;
	if (AMPSOCK_VSOCK && (stream || !m->done))
		part = amp_vsock_meter(s, part);
	if (!part)
		n = -EAGAIN;
	load.len = sizeof(size_t) > 4 && !stream ? load.len : part;
	if (n == 0)
		n = AMP_VSOCK_LOOP_APART && vs->path
			    ? amp_vsock_loop_data(vs, conn_of(s), &load)
			    : amp_vsock_send_load(vs, conn_of(s), &load);
	if (n > 0)
		amp_vsock_metered(s);
	if (n == -EAGAIN)
		amp_wait_credit(s); /* or for a buffer, which everybody hears of */
	if (AMP_PORT_THREADS && !stream)
		message_sent(s, m, n);
	return n;
}

#if AMPSOCK_INET
_Static_assert(AMPSOCK_VSOCK_BUF_LEN - AMP_VSOCK_HDR_LEN >= AMP_CARRY_LEAST,
	       "what carriers rely on");

/* A packet at a time. No meter: the bytes are our own proxy's (ours()), and so is the window. */
ssize_t amp_vsock_carry(struct amp_sock *s, const struct iovec *iov, size_t off, size_t end,
			size_t whole)
{
	struct amp_vsock_load load = {iov, off, end - off, whole, 0};
	int n = amp_vsock_may_send(s, NULL);

	return n ? n : amp_vsock_send_load(engine_of(s), conn_of(s), &load);
}
#endif

#if AMPSOCK_FAST
static __attribute__((noinline)) bool send_packet(struct amp_sock *s, const void *buf,
						  size_t len, int flags)
{
	struct amp_vlink *l = amp_vlink_of(s);
	uint32_t eom = 0;
	bool kick;

	if (!is_stream(s)) {
		if ((s->sub & SUB_TX_PART) || (flags & MSG_EOR))
			return false;
		eom = AMP_VSOCK_SEQ_EOM;
	}
	if ((s->flags & SEND_FLAGS) != AMP_SF_CONNECTED ||
	    !amp_vsock_send_fast(&l->vs, conn_of(s), buf, len, eom, &kick))
		return false;
	if (kick)
		amp_runner_kick(&l->runner, l->out_bit);
	return true;
}

/* The same to a peer whose buffer is measured in packets, too. */
static __attribute__((noinline)) bool send_metered(struct amp_sock *s, const void *buf,
						   size_t len, int flags)
{
	if ((s->flags & SEND_FLAGS) != AMP_SF_CONNECTED ||
	    amp_vsock_meter(s, (uint32_t)len) != (uint32_t)len ||
	    !send_packet(s, buf, len, flags))
		return false;
	amp_vsock_metered(s);
	return true;
}

bool amp_vsock_sock_send_fast(struct amp_sock *s, const void *buf, size_t len, int flags)
{
	return metered(s) && !ours(s) ? send_metered(s, buf, len, flags)
				      : send_packet(s, buf, len, flags);
}

/*
 * The next packet, if it is data for s, and the caller w has room for all of it, or for a message
 * nothing older: as amp_vsock_packet_fast(), whose order of reading this is, but the only
 * connection that it can be for is known.
 */
static inline bool packet_for(struct amp_vlink *l, struct amp_sock *s, struct amp_rx_want *w)
{
	struct amp_vsock *vs = &l->vs;
	struct amp_vsock_conn *c = conn_of(s);
	const volatile struct amp_vsock_hdr *h;
	struct ring_buf b = {.p = NULL};
	struct amp_vq *in = vs->in;
	uint8_t *to = w->to;
	size_t n, room = (size_t)(w->end - to);
	uint32_t len;

	if (!in || vs->to_do || !ring_peek(in, AMP_VQ_IN, &b) || b.len <= AMP_VSOCK_HDR_LEN ||
	    (AMPSOCK_VQ_DEVICE && ((uintptr_t)b.p & 3)))
		return false;
	h = b.p;
	/* whole CIDs are compared, so they are good ones (5.10.4) */
	if (h->src_port != c->peer.port || h->src_cid != amp_vsock_cid(&c->peer) ||
	    h->dst_port != c->local.port || h->dst_cid != amp_vsock_cid(&c->local) ||
	    *vsock_type_op(b.p) != VSOCK_TYPE_OP(c->type, AMP_VSOCK_OP_RW))
		return false;
	len = h->len;
	if (len - 1u >= b.len - AMP_VSOCK_HDR_LEN ||
	    !amp_credit_rx_ok(&c->credit, c->buf_alloc, len))
		return false;
	n = len;
	if (n > room) {
		if (is_stream(s))
			return false;
		n = room;
	}
	if (!is_stream(s) && (s->rx_part || !(h->flags & AMP_VSOCK_SEQ_EOM)))
		return false;
	if (!amp_credit_peer(&c->credit, h->buf_alloc, h->fwd_cnt))
		return false;
	w->to = to + n;
	vs->stats.rx_packets++;
	l->in_left--;
	if (amp_vsock_took(vs, c, len))
		amp_runner_due(&l->runner);
	amp_took();
	ring_enter(in, AMP_VQ_IN, &b, 0);
	memcpy(to, (const uint8_t *)b.p + AMP_VSOCK_HDR_LEN, n);
	ring_publish(in, AMP_VQ_IN, b.p, b.len);
	return true;
}

/* As amp_vlink_turn(), of what is for s. */
void amp_vsock_sock_recv_fast(struct amp_sock *s, struct amp_rx_want *w)
{
	struct amp_vlink *l = amp_vlink_of(s);

	if (!(s->flags & AMP_SF_CONNECTED) || s->rx.head != s->rx.tail ||
	    (conn_of(s)->standing & AMP_VSOCK_USUAL_IN) != AMP_CONN_OPEN)
		return;
	do {
		if (l->in_left <= 1 || !packet_for(l, s, w))
			return;
	} while (w->to != w->end && is_stream(s));
}
#endif

ssize_t amp_vsock_sock_recvmsg(struct amp_sock *s, struct amp_msg *m, int flags)
{
	bool peek = (flags & MSG_PEEK) != 0, over;
	size_t full;
	ssize_t n;

	m->name_len = 0;
	if (!s->rx.buf || !(s->flags & (AMP_SF_CONNECTED | AMP_SF_RESET)))
		return -ENOTCONN;
	if (s->rx.head == s->rx.tail) {
		over = (s->flags & (AMP_SF_EOF | AMP_SF_RD_SHUT)) && (is_stream(s) || !s->err);
		return over ? 0 : -EAGAIN;
	}
	if (is_stream(s)) {
		full = amp_rxring_read(&s->rx, s->rx.tail, m, m->len - m->done);
		n = (ssize_t)full;
		if (!peek)
			s->rx.tail = (AMP_RING_IDX)(s->rx.tail + full);
	} else {
		n = amp_rxring_msg_read(&s->rx, m, peek, &full);
	}
	if (!peek)
		amp_vsock_consumed(engine_of(s), conn_of(s), (uint32_t)full);
	return flags & MSG_TRUNC ? (ssize_t)full : n;
}

/* Closed, or an attempt is given up: that one's error is no later call's, the caller knows. */
static void conn_end(struct amp_sock *s, enum amp_end_why why)
{
	struct amp_vsock_conn *c = conn_of(s);
	unsigned linger_s = s->linger_s == 255 ? CLOSE_WAIT_S : s->linger_s;
	bool closed = why == AMP_END_CLOSED;

	unreserve(s);
	amp_sock_ring_free(s);
	if (closed)
		s->sub |= SUB_CLOSED;
	else
		s->flags |= AMP_SF_RESET;
	if (c->state != AMP_CONN_FREE)
		amp_vsock_close(engine_of(s), c, amp_port_now_ms(), linger_s * 1000u);
	else if (closed)
		amp_sock_free(s);
}

#if AMPSOCK_RPMSG
void amp_vsock_conn_end(struct amp_sock *s, enum amp_end_why why)
{
	conn_end(s, why);
}
#endif

#if AMPSOCK_VSOCK
void amp_vsock_sock_end(struct amp_sock *s, enum amp_end_why why)
{
	if (s->flags & AMP_SF_LISTEN)
		amp_vsock_unlisten(s);
	conn_end(s, why);
}
#endif

int amp_vsock_sock_poll(struct amp_sock *s)
{
	uint32_t used = amp_rxring_used(&s->rx);
	int ev = amp_sock_poll(s, used && (!is_stream(s) || used >= s->rcvlowat));

	if (ev >= 0)
		return ev;
	if (amp_vsock_may_send_now(engine_of(s), conn_of(s)) && amp_vsock_meter(s, 1))
		return ~ev | POLLOUT;
	return ~ev;
}

#if AMPSOCK_VSOCK
/* ---- what AF_INET's carriers need to know (docs/protocol.md) ---- */

#if AMPSOCK_INET
static const struct sockaddr_vm proxy_addr = {
	.svm_family = AF_VSOCK,
	.svm_port = AMP_OFF_PORT,
	.svm_cid = VMADDR_CID_HOST,
};
static const struct sockaddr_vm accept_addr = {
	.svm_family = AF_VSOCK,
	.svm_port = AMP_OFF_ACCEPT_PORT,
	.svm_cid = VMADDR_CID_ANY,
};
#if !AMP_ONE_CARRIER
static bool carrier_up(void)
{
	for (unsigned i = 0; i < AMPSOCK_VSOCK_LINKS; i++) {
		if (amp_vlinks[i] && amp_vlinks[i]->up)
			return true;
	}
	return false;
}
#endif

static const struct amp_carrier carrier = {
	.proxy = (const struct sockaddr *)&proxy_addr,
	.accept = (const struct sockaddr *)&accept_addr,
	.len = sizeof(struct sockaddr_vm),
#if !AMP_ONE_CARRIER
	.up = AMPSOCK_RPMSG ? carrier_up : NULL, /* else nobody asks */
	.carry = amp_vsock_carry,
#endif
};
#endif

const struct amp_family amp_vsock_family = {
	.domain = AF_VSOCK,
#if AMPSOCK_INET
	.carrier = &carrier,
#endif
#if !AMP_ONE_FAMILY
	.create = amp_vsock_sock_create,
	.bind = amp_vsock_sock_bind,
	.connect = amp_vsock_sock_connect,
	.sendmsg = amp_vsock_sock_sendmsg,
	.recvmsg = amp_vsock_sock_recvmsg,
	.end = amp_vsock_sock_end,
	.poll = amp_vsock_sock_poll,
#endif
	.listen = amp_vsock_listen,
	.accept = amp_vsock_accept,
	.half_close = amp_vsock_half_close,
	.name = amp_vsock_name,
	.option = amp_vsock_option,
	.direct = amp_vsock_direct,
#if AMPSOCK_FAST
	.send_fast = amp_vsock_sock_send_fast,
	.recv_fast = amp_vsock_sock_recv_fast,
#endif
};
#endif /* AMPSOCK_VSOCK */
