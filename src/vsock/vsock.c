// SPDX-License-Identifier: BSD-3-Clause
/*
 * The virtio-vsock engine: packets, connections, credit (virtio 1.2, 5.10).
 *
 * Theory of operation
 *
 * amp_vsock_run() is the heart: it takes packets off the in queue, one at a time, and
 * then sends what is owed. Nothing else calls the owner's hooks (but for a loop, whose
 * commit delivers at once).
 *
 * In. The 44-byte header is copied out of shared memory once and only the copy is
 * looked at. The payload is handed to the owner in place; it keeps, writes or holds it.
 *
 * Owed. A packet that the engine must send by itself (REQUEST, RESPONSE, credit,
 * SHUTDOWN, RST) is a bit in the connection, so memory for it is there by
 * construction. Connections with such bits form a list, served first come first
 * served until the out queue is empty; the rest stays owed. So receiving never waits
 * for sending, and a flood of REQUESTs costs connections, not memory. RSTs to
 * connections that we do not know have no struct to live in: they go to a short array;
 * while that is full the in queue is left alone (5.10.6.1.2, the one case where the
 * spec lets receiving stop).
 *
 * End. Every connection ends the same way: it becomes DEAD, goes on the owed list
 * (with or without an RST to send), and when the list is served it leaves the hash and
 * the owner gets EV_GONE, from amp_vsock_run() and from nowhere else, so that no call
 * of the owner pulls the struct away under its feet. Until then packets for it fall on
 * the dead struct and are ignored, which also keeps the port pair from being reused
 * while its RST is still to be sent.
 *
 * CID 1. A connection within this engine (loop) has no queue: reserve gives out one
 * static buffer, commit delivers it to the other end's hook in the same call, and
 * control packets are handed straight to input() when the owed list is served.
 */
#include <errno.h>
#include <string.h>

#include "../port/port.h"
#include "vsock.h"

/* Without AF_VSOCK all connections take a path; the engine has no queues of its own. */
#define QUEUES	AMPSOCK_VSOCK
#define LOOP(c) (!QUEUES || (c)->loop)

/* A driver's pool buffers are one piece; a device takes what the driver offers. */
#define CHAINS (AMPSOCK_VQ_DEVICE && QUEUES)

#define SHUT_BOTH (AMP_VSOCK_SHUTDOWN_RCV | AMP_VSOCK_SHUTDOWN_SEND)

/*
 * Most packets belong to a connection that is open and that nobody has shut: one look at
 * its four state bytes says so (little-endian, as vsock_hdr.h asserts). USUAL_SEND also
 * wants that no RESPONSE is owed, which goes before any data.
 */
#define USUAL	   0x00ffffffu
#define USUAL_SEND (USUAL | AMP_OWE_RESPONSE << 24)

static inline bool usual(const struct amp_vsock_conn *c, uint32_t which)
{
	return AMPSOCK_FAST && (c->standing & which) == AMP_CONN_OPEN;
}

/* ---- connections by address ---- */

static struct amp_vsock_conn **bucket(const struct amp_vsock *vs,
				      const struct amp_vsock_addr *local,
				      const struct amp_vsock_addr *peer)
{
	uint32_t h = local->port * 31u ^ peer->port ^ peer->cid << 5;

	return &vs->hash[(h ^ h >> 12) & (vs->hash_len - 1u)];
}

static struct amp_vsock_conn *find(const struct amp_vsock *vs,
				   const struct amp_vsock_addr *local,
				   const struct amp_vsock_addr *peer, unsigned type)
{
	struct amp_vsock_conn *c = *bucket(vs, local, peer);

	while (c && (c->local.port != local->port || c->peer.port != peer->port ||
		     c->peer.cid != peer->cid || c->local.cid != local->cid || c->type != type))
		c = c->hash_next;
	return c;
}

static void hash_add(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	struct amp_vsock_conn **head = bucket(vs, &c->local, &c->peer);

	c->hash_next = *head;
	*head = c;
}

static void hash_del(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	struct amp_vsock_conn **at = bucket(vs, &c->local, &c->peer);

	while (*at != c)
		at = &(*at)->hash_next;
	*at = c->hash_next;
	if (vs->recent == c)
		vs->recent = NULL;
}

/* A fresh connection; the owner's buf_alloc stays. */
static __attribute__((noinline)) void conn_init(struct amp_vsock *vs, struct amp_vsock_conn *c,
						const struct amp_vsock_addr *local,
						const struct amp_vsock_addr *peer,
						unsigned type, uint8_t state)
{
	uint32_t buf_alloc = c->buf_alloc;

	memset(c, 0, sizeof(*c));
	c->local = *local;
	c->peer = *peer;
	c->type = (uint8_t)type;
	c->state = state;
	c->buf_alloc = buf_alloc;
	c->loop = peer->cid == AMP_VSOCK_CID_LOCAL;
	hash_add(vs, c);
}

/* ---- what is owed ---- */

static void owe(struct amp_vsock *vs, struct amp_vsock_conn *c, uint8_t bits)
{
	c->owed |= bits;
	if (c->on_list)
		return;
	c->on_list = 1;
	c->owed_next = NULL;
	if (vs->owed_head)
		vs->owed_tail->owed_next = c;
	else
		vs->owed_head = c;
	vs->owed_tail = c;
}

static void no_deadline(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	if (c->has_deadline)
		vs->closing_cnt--;
	c->has_deadline = 0;
}

/* The end: with an RST, or without when the peer has sent one or knows nothing of us. */
static void die(struct amp_vsock *vs, struct amp_vsock_conn *c, bool rst)
{
	if (c->state == AMP_CONN_DEAD)
		return;
	if (c->state == AMP_CONN_CONNECTING && (c->owed & AMP_OWE_REQUEST))
		rst = false;
	c->state = AMP_CONN_DEAD;
	c->owed = 0;
	no_deadline(vs, c);
	owe(vs, c, rst ? AMP_OWE_RST : 0);
}

/* The end, and not one that the owner asked for: it is told, once. */
static void reset(struct amp_vsock *vs, struct amp_vsock_conn *c, bool rst)
{
	bool told = c->state == AMP_CONN_CLOSING || c->state == AMP_CONN_DEAD;

	die(vs, c, rst);
	if (!told)
		vs->ops->event(vs, c, AMP_VSOCK_EV_RESET);
}

/* The peer broke a rule: its connection pays. */
static __attribute__((noinline, cold)) void conn_lied(struct amp_vsock *vs,
						      struct amp_vsock_conn *c, const char *why)
{
	vs->why = why;
	vs->stats.resets++;
	reset(vs, c, true);
}

/* ---- in ---- */

/* The peer has closed both ways and everything of it is consumed: the orderly end. */
static bool drained(const struct amp_vsock_conn *c)
{
	return c->peer_shut == SHUT_BOTH && c->credit.rx_cnt == c->credit.fwd_cnt;
}

static void in_shutdown(struct amp_vsock *vs, struct amp_vsock_conn *c, uint32_t flags)
{
	uint8_t was = c->peer_shut;

	c->peer_shut |= (uint8_t)(flags & SHUT_BOTH);
	if (c->state == AMP_CONN_CLOSING) {
		if (c->peer_shut == SHUT_BOTH)
			die(vs, c, true);
		return;
	}
	if (c->peer_shut != was)
		vs->ops->event(vs, c, AMP_VSOCK_EV_SHUT);
	if (c->state == AMP_CONN_OPEN && drained(c))
		die(vs, c, true);
}

static bool in_data(struct amp_vsock *vs, struct amp_vsock_conn *c, struct amp_vsock_rx *rx)
{
	int r;

	if (c->state == AMP_CONN_CLOSING)
		return false; /* nobody reads it any more */
	if (c->state != AMP_CONN_OPEN || (c->peer_shut & AMP_VSOCK_SHUTDOWN_SEND)) {
		conn_lied(vs, c,
			  AMP_WHY("data on a connection that is not open (virtio 5.10.6.4)"));
		return false;
	}
	if (!amp_credit_rx_ok(&c->credit, c->buf_alloc, rx->len)) {
		conn_lied(vs, c, AMP_WHY("more data than credit (virtio 5.10.6.3)"));
		return false;
	}
	c->credit.rx_cnt += rx->len;
	if (c->shut & AMP_VSOCK_SHUTDOWN_RCV) {
		amp_vsock_consumed(vs, c, rx->len);
		return false;
	}
	if (rx->len == 0 && c->type == AMP_VSOCK_STREAM)
		return false;
	r = vs->ops->data(vs, c, rx);
	if (r < 0)
		conn_lied(vs, c, AMP_WHY("receive buffer overrun"));
	return r > 0;
}

static void in_rst(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	c->owed = 0; /* nothing more to say, not even an RST of ours */
	/* after the peer's SHUTDOWN of both, or our own, an RST is the orderly end (5.10.6.5)
	 */
	if (c->shut == SHUT_BOTH || c->peer_shut == SHUT_BOTH)
		die(vs, c, false);
	else
		reset(vs, c, false);
}

/*
 * RST to an address that we know nothing of. There is room: run() saw to it. A path sends it
 * its own way.
 */
static __attribute__((noinline, cold)) void stray_rst(struct amp_vsock *vs,
						      const struct amp_vsock_addr *local,
						      const struct amp_vsock_addr *peer,
						      unsigned type)
{
	struct amp_vsock_stray *s;

	if (peer->cid == AMP_VSOCK_CID_LOCAL) {
		vs->path->stray(vs, local, peer, type);
		return;
	}
	if (vs->stray_cnt == vs->stray_len)
		return;
	s = &vs->stray[(vs->stray_head + vs->stray_cnt) % vs->stray_len];
	s->local = *local;
	s->peer = *peer;
	s->type = (uint8_t)type;
	vs->stray_cnt++;
	vs->stats.rst_strays++;
}

void amp_vsock_requested(struct amp_vsock *vs, struct amp_vsock_conn *c,
			 const struct amp_vsock_addr *local, const struct amp_vsock_addr *peer,
			 unsigned type, uint32_t peer_buf_alloc)
{
	/* amp_vsock_respond() inside the hook */
	bool answered = c->state == AMP_CONN_OPEN;

	conn_init(vs, c, local, peer, type, AMP_CONN_REQUESTED);
	c->credit.peer_buf_alloc = peer_buf_alloc;
	if (answered)
		amp_vsock_respond(vs, c);
}

static void in_request(struct amp_vsock *vs, const struct amp_vsock_hdr *h,
		       const struct amp_vsock_addr *local, const struct amp_vsock_addr *peer)
{
	struct amp_vsock_conn *c = NULL;

	if (vs->ops->request &&
	    (h->type == AMP_VSOCK_STREAM || vs->seqpacket || peer->cid == AMP_VSOCK_CID_LOCAL))
		c = vs->ops->request(vs, *local, *peer, (uint8_t)h->type);
	if (c)
		amp_vsock_requested(vs, c, local, peer, h->type, h->buf_alloc);
	else
		stray_rst(vs, local, peer, h->type);
}

/* Returns whether the owner holds the buffer. */
static bool in_known(struct amp_vsock *vs, struct amp_vsock_conn *c,
		     const struct amp_vsock_hdr *h, struct amp_vsock_rx *rx)
{
	bool held = false;
	uint32_t had;

	if (h->op == AMP_VSOCK_OP_RST) {
		in_rst(vs, c);
		return false;
	}
	if (c->state == AMP_CONN_DEAD) {
		/* as if unknown: who asks anew for a pair that is about to go must hear of it
		 */
		owe(vs, c, AMP_OWE_RST);
		return false;
	}
	had = c->starved ? amp_credit_tx_space(&c->credit) : 0;
	if (!amp_credit_peer(&c->credit, h->buf_alloc, h->fwd_cnt)) {
		conn_lied(vs, c, AMP_WHY("fwd_cnt beyond what was sent (virtio 5.10.6.3)"));
		return false;
	}
	if (c->state == AMP_CONN_CONNECTING) {
		if (h->op != AMP_VSOCK_OP_RESPONSE || (c->owed & AMP_OWE_REQUEST)) {
			conn_lied(vs, c, AMP_WHY("no RESPONSE to a REQUEST (virtio 5.10.6.4)"));
		} else {
			c->state = AMP_CONN_OPEN;
			vs->ops->event(vs, c, AMP_VSOCK_EV_OPEN);
		}
		return false;
	}
	switch (h->op) {
	case AMP_VSOCK_OP_RW:
		held = in_data(vs, c, rx);
		break;
	case AMP_VSOCK_OP_SHUTDOWN:
		in_shutdown(vs, c, h->flags);
		break;
	case AMP_VSOCK_OP_CREDIT_REQUEST:
		c->eager = 1; /* it waits for more than it has: tell it of the next byte, too */
		owe(vs, c, AMP_OWE_CREDIT);
		break;
	case AMP_VSOCK_OP_CREDIT_UPDATE:
		break;
	default:
		conn_lied(vs, c, AMP_WHY("operation out of place (virtio 5.10.6.4)"));
		break;
	}
	if (c->starved && c->state == AMP_CONN_OPEN && amp_credit_tx_space(&c->credit) > had) {
		c->starved = 0;
		c->asked = 0;
		vs->ops->event(vs, c, AMP_VSOCK_EV_WRITABLE);
	}
	return held;
}

/* A good packet for c, or for nobody we know. */
static __attribute__((noinline)) bool input(struct amp_vsock *vs, const struct amp_vsock_hdr *h,
					    struct amp_vsock_rx *rx, struct amp_vsock_conn *c)
{
	struct amp_vsock_addr local = {(uint32_t)h->dst_cid, h->dst_port};
	struct amp_vsock_addr peer = {(uint32_t)h->src_cid, h->src_port};

	if (h->op == AMP_VSOCK_OP_INVALID || h->op > AMP_VSOCK_OP_CREDIT_REQUEST)
		vs->stats.rx_bad++; /* a known connection pays below, an unknown one gets RST */
	if (c)
		return in_known(vs, c, h, rx);
	if (h->op == AMP_VSOCK_OP_REQUEST)
		in_request(vs, h, &local, &peer);
	else if (h->op != AMP_VSOCK_OP_RST) /* an RST is never answered */
		stray_rst(vs, &local, &peer, h->type);
	return false;
}

/* The first len bytes of a chain into dst; iov moves on behind them. */
static void take(struct amp_iov **iov, uint16_t *cnt, void *dst, size_t len)
{
	uint8_t *to = dst;

	while (len) {
		size_t part = (*iov)->len < len ? (*iov)->len : len;

		memcpy(to, (*iov)->base, part);
		to += part;
		len -= part;
		(*iov)->base = (uint8_t *)(*iov)->base + part;
		(*iov)->len -= part;
		if ((*iov)->len == 0) {
			(*iov)++;
			(*cnt)--;
		}
	}
}

/* Cut a chain's segments down to len bytes in all. */
static uint16_t trim(struct amp_iov *iov, uint16_t cnt, size_t len)
{
	uint16_t i = 0;

	if (len == 0)
		return 0;
	if (!CHAINS || len <= iov->len) {
		iov->len = len;
		return 1;
	}
	for (; i < cnt && len; i++) {
		if (iov[i].len > len)
			iov[i].len = len;
		len -= iov[i].len;
	}
	return i;
}

/* A header that breaks a rule: counted, explained, answered where the spec wants that. */
static __attribute__((noinline, cold)) void bad_header(struct amp_vsock *vs,
						       const struct amp_vsock_hdr *h,
						       uint32_t len)
{
	struct amp_vsock_addr local = {(uint32_t)h->dst_cid, h->dst_port};
	struct amp_vsock_addr peer = {(uint32_t)h->src_cid, h->src_port};

	vs->stats.rx_bad++;
	if (h->len > len)
		vs->why = AMP_WHY("length beyond the buffer (virtio 5.10.6)");
	else if ((h->src_cid | h->dst_cid) >> 32)
		vs->why = AMP_WHY("upper half of a CID in use (virtio 5.10.4)");
	else if (h->src_cid == AMP_VSOCK_CID_LOCAL)
		vs->why = AMP_WHY("CID 1 from outside (virtio 5.10.4)");
	else if (vs->peer_cid ? peer.cid != vs->peer_cid : local.cid != vs->local_cid)
		vs->why = AMP_WHY("foreign CID (virtio 5.10.6)");
	else if (h->op != AMP_VSOCK_OP_RST) /* 5.10.6.4: unknown type: RST of type stream */
		stray_rst(vs, &local, &peer, AMP_VSOCK_STREAM);
}

static inline bool good_header(const struct amp_vsock *vs, const struct amp_vsock_hdr *h,
			       uint32_t len)
{
	if (h->len > len || (h->src_cid | h->dst_cid) >> 32 || h->type - 1u > 1u ||
	    (uint32_t)h->src_cid == AMP_VSOCK_CID_LOCAL)
		return false;
	return vs->peer_cid ? (uint32_t)h->src_cid == vs->peer_cid
			    : (uint32_t)h->dst_cid == vs->local_cid;
}

/* Data on an open connection: what nearly every packet is. The rest is input()'s. */
static inline bool usual_data(struct amp_vsock_conn *c, const struct amp_vsock_hdr *h)
{
	return usual(c, USUAL) && h->op == AMP_VSOCK_OP_RW && h->len && !c->starved &&
	       amp_credit_rx_ok(&c->credit, c->buf_alloc, h->len) &&
	       amp_credit_peer(&c->credit, h->buf_alloc, h->fwd_cnt);
}

/* For the connection that got the last one? Whole CIDs are compared, so they are good ones. */
static inline bool same_again(const struct amp_vsock_conn *c, const struct amp_vsock_hdr *h)
{
	return c && h->src_port == c->peer.port && h->dst_port == c->local.port &&
	       h->src_cid == c->peer.cid && h->dst_cid == c->local.cid && h->type == c->type;
}

/* Its connection, or NULL. False: a bad header; it is answered where the spec wants that. */
static __attribute__((noinline)) bool look_up(struct amp_vsock *vs,
					      const struct amp_vsock_hdr *h, uint32_t len,
					      struct amp_vsock_conn **c)
{
	struct amp_vsock_addr local = {(uint32_t)h->dst_cid, h->dst_port};
	struct amp_vsock_addr peer = {(uint32_t)h->src_cid, h->src_port};

	if (!good_header(vs, h, len)) {
		bad_header(vs, h, len);
		return false;
	}
	*c = find(vs, &local, &peer, h->type);
	if (*c)
		vs->recent = *c;
	return true;
}

/* One packet. Returns whether the owner holds its buffer. */
static inline bool packet(struct amp_vsock *vs, struct amp_vq_buf *buf)
{
	struct amp_vsock_hdr h;
	struct amp_vsock_rx rx;
	struct amp_iov *iov = buf->iov;
	struct amp_vsock_conn *c = AMPSOCK_FAST ? vs->recent : NULL;
	int r;

	vs->stats.rx_packets++;
	if (buf->len < AMP_VSOCK_HDR_LEN) {
		vs->stats.rx_bad++;
		vs->why = AMP_WHY("packet shorter than its header (virtio 5.10.6)");
		return false;
	}
	if (!CHAINS || iov->len > AMP_VSOCK_HDR_LEN) {
		memcpy(&h, iov->base, AMP_VSOCK_HDR_LEN);
		iov->base = (uint8_t *)iov->base + AMP_VSOCK_HDR_LEN;
		iov->len -= AMP_VSOCK_HDR_LEN;
	} else {
		take(&iov, &buf->iov_cnt, &h, AMP_VSOCK_HDR_LEN);
	}
	if ((h.len > buf->len - AMP_VSOCK_HDR_LEN || !same_again(c, &h)) &&
	    !look_up(vs, &h, buf->len - AMP_VSOCK_HDR_LEN, &c))
		return false;
	rx.iov = iov;
	rx.iov_cnt = trim(iov, buf->iov_cnt, h.len);
	rx.id = buf->id;
	rx.len = h.len;
	rx.flags = h.flags;
	if (!c || !usual_data(c, &h))
		return input(vs, &h, &rx, c);
	c->credit.rx_cnt += rx.len;
	r = vs->ops->data(vs, c, &rx);
	if (r < 0)
		conn_lied(vs, c, AMP_WHY("receive buffer overrun"));
	return r > 0;
}

/* ---- out ---- */

void amp_vsock_fill_header(struct amp_vsock_conn *c, struct amp_vsock_hdr *h, uint16_t op,
			   uint32_t len, uint32_t flags)
{
	h->src_cid = c->local.cid;
	h->dst_cid = c->peer.cid;
	h->src_port = c->local.port;
	h->dst_port = c->peer.port;
	h->len = len;
	h->type = c->type;
	h->op = op;
	h->flags = flags;
	h->buf_alloc = c->buf_alloc;
	h->fwd_cnt = c->credit.fwd_cnt;
	amp_vsock_told(c);
}

bool amp_vsock_input_for(struct amp_vsock *vs, struct amp_vsock_conn *c,
			 const struct amp_vsock_hdr *h, struct amp_vsock_rx *rx)
{
	int r;

	if (!usual_data(c, h))
		return in_known(vs, c, h, rx);
	c->credit.rx_cnt += rx->len;
	r = vs->ops->data(vs, c, rx);
	if (r < 0)
		conn_lied(vs, c, AMP_WHY("receive buffer overrun"));
	return r > 0;
}

void amp_vsock_rekey(struct amp_vsock *vs, struct amp_vsock_conn *c, uint32_t peer_port)
{
	hash_del(vs, c);
	c->peer.port = peer_port;
	hash_add(vs, c);
}

void amp_vsock_input(struct amp_vsock *vs, const struct amp_vsock_hdr *h,
		     struct amp_vsock_rx *rx)
{
	struct amp_vsock_addr local = {(uint32_t)h->dst_cid, h->dst_port};
	struct amp_vsock_addr peer = {(uint32_t)h->src_cid, h->src_port};

	(void)input(vs, h, rx, find(vs, &local, &peer, h->type));
}

/* The header lies across up to three segments, the payload behind it. */
static __attribute__((noinline, cold)) int header_pieces(struct amp_vsock *vs,
							 struct amp_vsock_tx *tx, uint16_t cnt)
{
	struct amp_iov *iov = tx->iov;
	uint32_t left = AMP_VSOCK_HDR_LEN;

	memset(tx->hdr, 0, sizeof(tx->hdr));
	for (unsigned k = 0; left && cnt && k < 3; k++) {
		tx->hdr[k].base = iov->base;
		tx->hdr[k].len = iov->len < left ? iov->len : left;
		left -= (uint32_t)tx->hdr[k].len;
		iov->base = (uint8_t *)iov->base + tx->hdr[k].len;
		iov->len -= tx->hdr[k].len;
		if (iov->len == 0) {
			iov++;
			cnt--;
		}
	}
	tx->iov = iov;
	tx->iov_cnt = cnt;
	if (left) {
		vs->out->broken = true;
		vs->out->why =
			AMP_WHY("receive buffer without room for a header (virtio 5.10.6.1)");
		return -EBADMSG;
	}
	return 1;
}

/*
 * A buffer to send in: its first 44 bytes are described by hdr[], iov is what follows.
 * 1, 0 none, -EBADMSG.
 */
static int out_get(struct amp_vsock *vs, struct amp_vsock_tx *tx, uint32_t *room)
{
	struct amp_vq_buf buf = {.iov = tx->iov, .iov_max = tx->iov_max};
	int r;

	if (!vs->out)
		return 0;
	r = amp_vq_get(vs->out, &buf);
	if (r <= 0)
		return r;
	tx->id = buf.id;
	*room = buf.len - AMP_VSOCK_HDR_LEN;
	if (!CHAINS || tx->iov->len > AMP_VSOCK_HDR_LEN) {
		tx->hdr[0] = (struct amp_iov){tx->iov->base, AMP_VSOCK_HDR_LEN};
		tx->iov->base = (uint8_t *)tx->iov->base + AMP_VSOCK_HDR_LEN;
		tx->iov->len -= AMP_VSOCK_HDR_LEN;
		tx->iov_cnt = buf.iov_cnt;
		return 1;
	}
	return header_pieces(vs, tx, buf.iov_cnt);
}

/* Header into its place, packet to the peer. What lies in shared memory is not read back. */
static inline void out_put(struct amp_vsock *vs, struct amp_vsock_conn *c,
			   struct amp_vsock_tx *tx, uint16_t op, uint32_t len, uint32_t flags)
{
	struct amp_vsock_hdr h;

	if (!CHAINS ||
	    (tx->hdr[0].len == AMP_VSOCK_HDR_LEN && !((uintptr_t)tx->hdr[0].base & 3))) {
		amp_vsock_fill_header(c, tx->hdr[0].base, op, len, flags);
	} else {
		const uint8_t *from = (const uint8_t *)&h;

		amp_vsock_fill_header(c, &h, op, len, flags);
		for (unsigned k = 0; k < 3 && tx->hdr[k].len; from += tx->hdr[k].len, k++)
			memcpy(tx->hdr[k].base, from, tx->hdr[k].len);
	}
	vs->stats.tx_packets++;
	amp_vq_put(vs->out, tx->id, AMP_VSOCK_HDR_LEN + len);
}

static bool send_control(struct amp_vsock *vs, struct amp_vsock_conn *c, uint16_t op,
			 uint32_t flags)
{
	struct amp_vsock_tx tx = {.iov = vs->iov, .iov_max = vs->iov_max};
	uint32_t room;

	if (LOOP(c))
		return vs->path->send(vs, c, op, flags);
	if (out_get(vs, &tx, &room) <= 0)
		return false;
	out_put(vs, c, &tx, op, 0, flags);
	return true;
}

static bool send_stray(struct amp_vsock *vs)
{
	const struct amp_vsock_stray *s = &vs->stray[vs->stray_head];
	struct amp_vsock_conn c = {.local = s->local, .peer = s->peer, .type = s->type};

	if (!send_control(vs, &c, AMP_VSOCK_OP_RST, 0))
		return false;
	vs->stray_head = (uint16_t)((vs->stray_head + 1u) % vs->stray_len);
	vs->stray_cnt--;
	return true;
}

/* Send one owed packet of c. False: no buffer. */
static bool send_owed(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	static const uint8_t op_of[6] = {
		AMP_VSOCK_OP_REQUEST,	     AMP_VSOCK_OP_RESPONSE, AMP_VSOCK_OP_CREDIT_UPDATE,
		AMP_VSOCK_OP_CREDIT_REQUEST, AMP_VSOCK_OP_SHUTDOWN, AMP_VSOCK_OP_RST,
	};
	unsigned i = 0;

	while (!(c->owed & 1u << i))
		i++;
	/* on a loop the answer may come back inside: the bit goes first */
	c->owed &= (uint8_t) ~(1u << i);
	if (send_control(vs, c, op_of[i], op_of[i] == AMP_VSOCK_OP_SHUTDOWN ? c->shut : 0))
		return true;
	c->owed |= (uint8_t)(1u << i);
	return false;
}

/* False: no buffer. */
static bool flush_strays(struct amp_vsock *vs)
{
	while (QUEUES && vs->stray_cnt) {
		if (!send_stray(vs)) {
			vs->tx_starved = true;
			return false;
		}
	}
	return true;
}

/* No buffer, or not now: tx_ready will say when to try again. */
static void tx_starve(struct amp_vsock *vs, const struct amp_vsock_conn *c)
{
	if (LOOP(c))
		vs->path_starved = true;
	else
		vs->tx_starved = true;
}

static void flush(struct amp_vsock *vs)
{
	struct amp_vsock_conn *c;

	if (!flush_strays(vs))
		return;
	while ((c = vs->owed_head) != NULL) {
		while (c->owed) {
			if (!send_owed(vs, c)) {
				tx_starve(vs, c);
				return;
			}
		}
		vs->owed_head = c->owed_next;
		c->on_list = 0;
		if (c->state == AMP_CONN_DEAD) {
			hash_del(vs, c);
			c->state = AMP_CONN_FREE;
			if (c->loop && vs->path->gone)
				vs->path->gone(vs, c);
			vs->ops->event(vs, c, AMP_VSOCK_EV_GONE);
		}
	}
}

/* ---- the door ---- */

void amp_vsock_init(struct amp_vsock *vs)
{
	memset(vs->hash, 0, vs->hash_len * sizeof(*vs->hash));
	vs->owed_head = vs->owed_tail = vs->recent = NULL;
	vs->stray_cnt = vs->stray_head = 0;
	vs->tx_starved = vs->path_starved = vs->loop_busy = false;
	vs->closing_cnt = 0;
	vs->why = NULL;
	memset(&vs->stats, 0, sizeof(vs->stats));
}

int amp_vsock_run(struct amp_vsock *vs, unsigned budget)
{
	struct amp_vq_buf buf;
	unsigned n = 0;
	int r = 0;

	vs->enough = false;
	while (QUEUES && vs->in && n < budget && !vs->enough) {
		if (vs->stray_cnt == vs->stray_len && !flush_strays(vs))
			break;
		buf.iov = vs->iov;
		buf.iov_max = vs->iov_max;
		r = amp_vq_get(vs->in, &buf);
		if (r <= 0)
			break;
		n++;
		if (!packet(vs, &buf))
			amp_vq_put(vs->in, buf.id, 0);
	}
	if (vs->owed_head || vs->stray_cnt)
		flush(vs);
	if ((QUEUES && vs->tx_starved && vs->out && amp_vq_avail(vs->out)) ||
	    (vs->path_starved && vs->path->ready(vs))) {
		vs->tx_starved = vs->path_starved = false;
		if (vs->ops->tx_ready)
			vs->ops->tx_ready(vs);
	}
	if (QUEUES && (r < 0 || (vs->out && vs->out->broken)))
		return -EBADMSG;
	return (int)n;
}

bool amp_vsock_arm(struct amp_vsock *vs)
{
	bool more = vs->in && vs->stray_cnt < vs->stray_len && amp_vq_arm(vs->in);

	return (vs->out && vs->tx_starved && amp_vq_arm(vs->out)) || more;
}

void amp_vsock_down(struct amp_vsock *vs)
{
	vs->in = vs->out = NULL;
	vs->stray_cnt = 0;
	vs->tx_starved = false;
	for (uint32_t i = 0; i < vs->hash_len; i++) {
		struct amp_vsock_conn *c, *next;

		for (c = vs->hash[i]; c; c = next) {
			next = c->hash_next;
			if (c->loop && vs->path->stays)
				continue;
			reset(vs, c, false);
			c->owed = 0; /* nothing can be sent */
		}
	}
	flush(vs);
}

int32_t amp_vsock_tick(struct amp_vsock *vs, uint32_t now_ms)
{
	int32_t next = -1;

	for (uint32_t i = 0; vs->closing_cnt && i < vs->hash_len; i++) {
		for (struct amp_vsock_conn *c = vs->hash[i]; c; c = c->hash_next) {
			int32_t left = (int32_t)(c->deadline_ms - now_ms);

			if (!c->has_deadline)
				continue;
			if (left <= 0) {
				die(vs, c, true);
				left = 0;
			}
			if (next < 0 || left < next)
				next = left;
		}
	}
	return next;
}

int amp_vsock_connect(struct amp_vsock *vs, struct amp_vsock_conn *c,
		      struct amp_vsock_addr local, struct amp_vsock_addr peer, uint8_t type)
{
	bool loop = peer.cid == AMP_VSOCK_CID_LOCAL;

	if (loop ? !vs->path : !vs->out)
		return -ENETDOWN;
	if (loop)
		local.cid = AMP_VSOCK_CID_LOCAL;
	if (find(vs, &local, &peer, type))
		return -EADDRINUSE;
	conn_init(vs, c, &local, &peer, type, AMP_CONN_CONNECTING);
	owe(vs, c, AMP_OWE_REQUEST);
	return 0;
}

void amp_vsock_respond(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	if (c->state == AMP_CONN_FREE) /* in the request hook: the rest is its last life */
		c->state = AMP_CONN_OPEN;
	if (c->state != AMP_CONN_REQUESTED)
		return;
	owe(vs, c, AMP_OWE_RESPONSE);
	c->state = AMP_CONN_OPEN;
	if (drained(c)) /* it has given up while it waited for us */
		die(vs, c, true);
}

void amp_vsock_abort(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	if (c->state != AMP_CONN_FREE)
		die(vs, c, true);
}

void amp_vsock_shutdown(struct amp_vsock *vs, struct amp_vsock_conn *c, uint8_t flags)
{
	if (c->state != AMP_CONN_OPEN || (c->shut & flags) == flags)
		return;
	c->shut |= flags;
	owe(vs, c, AMP_OWE_SHUTDOWN);
}

void amp_vsock_close(struct amp_vsock *vs, struct amp_vsock_conn *c, uint32_t now_ms,
		     uint32_t wait_ms)
{
	if (c->state != AMP_CONN_OPEN || c->peer_shut == SHUT_BOTH) {
		if (c->state != AMP_CONN_CLOSING)
			amp_vsock_abort(vs, c);
		return;
	}
	amp_vsock_shutdown(vs, c, SHUT_BOTH);
	c->state = AMP_CONN_CLOSING;
	c->deadline_ms = now_ms + wait_ms;
	vs->closing_cnt += !c->has_deadline;
	c->has_deadline = 1;
}

static int may_send(const struct amp_vsock_conn *c)
{
	if (c->owed & AMP_OWE_RESPONSE) /* no data before it */
		return -EAGAIN;
	if ((c->shut & AMP_VSOCK_SHUTDOWN_SEND) || (c->peer_shut & AMP_VSOCK_SHUTDOWN_RCV))
		return -EPIPE;
	if (c->state == AMP_CONN_OPEN)
		return 0;
	return c->state == AMP_CONN_CONNECTING || c->state == AMP_CONN_REQUESTED ? -ENOTCONN
										 : -ECONNRESET;
}

static uint32_t credit_left(const struct amp_vsock_conn *c)
{
	uint32_t space = amp_credit_tx_space(&c->credit);

	return space > c->reserved ? space - c->reserved : 0;
}

/* Owed packets found no buffer: the next ones are theirs, or data would starve them. */
static bool must_queue(const struct amp_vsock *vs, const struct amp_vsock_conn *c)
{
	if (LOOP(c))
		return vs->path_starved && vs->owed_head && !vs->path->stays;
	return vs->tx_starved && (vs->owed_head || vs->stray_cnt);
}

int amp_vsock_reserve(struct amp_vsock *vs, struct amp_vsock_conn *c, uint32_t want,
		      struct amp_vsock_tx *tx)
{
	uint32_t space = credit_left(c), room;
	int r = usual(c, USUAL_SEND) ? 0 : may_send(c);

	if (r == 0 && space == 0)
		r = -EAGAIN;
	if (r) {
		if (r == -EAGAIN)
			amp_vsock_want_tx(vs, c);
		return r;
	}
	if (must_queue(vs, c))
		r = 0;
	else if (LOOP(c))
		r = vs->path->reserve(vs, c, tx, &room);
	else
		r = out_get(vs, tx, &room);
	if (r <= 0) {
		tx_starve(vs, c);
		return -EAGAIN;
	}
	if (QUEUES && room == 0) {
		vs->out->broken = true;
		vs->out->why =
			AMP_WHY("receive buffer without room for data (virtio 5.10.6.1)");
		return -EAGAIN;
	}
	if (want > space)
		want = space;
	if (want > room)
		want = room;
	if (want > INT32_MAX)
		want = INT32_MAX;
	tx->len = want;
	tx->iov_cnt = trim(tx->iov, tx->iov_cnt, want);
	c->reserved += want;
	return (int)want;
}

bool amp_vsock_send(struct amp_vsock *vs, struct amp_vsock_conn *c, const void *data,
		    size_t len, uint32_t flags)
{
	struct amp_vq_buf buf = {.iov = vs->iov, .iov_max = vs->iov_max};
	uint8_t *to;

	if (!usual(c, USUAL_SEND) || c->loop || vs->tx_starved || !vs->out ||
	    len > credit_left(c) || amp_vq_get(vs->out, &buf) <= 0)
		return false;
	to = buf.iov->base;
	if (buf.iov->len < AMP_VSOCK_HDR_LEN + len || (CHAINS && ((uintptr_t)to & 3))) {
		amp_vq_unget(vs->out, buf.id);
		return false;
	}
	memcpy(to + AMP_VSOCK_HDR_LEN, data, len);
	c->credit.tx_cnt += (uint32_t)len;
	amp_vsock_fill_header(c, (struct amp_vsock_hdr *)(void *)to, AMP_VSOCK_OP_RW,
			      (uint32_t)len, flags);
	vs->stats.tx_packets++;
	amp_vq_put(vs->out, buf.id, AMP_VSOCK_HDR_LEN + (uint32_t)len);
	return true;
}

void amp_vsock_commit(struct amp_vsock *vs, struct amp_vsock_conn *c, struct amp_vsock_tx *tx,
		      uint32_t len, uint32_t flags)
{
	if (!usual(c, USUAL_SEND) && may_send(c)) { /* over since it was reserved */
		amp_vsock_cancel(vs, c, tx);
		return;
	}
	c->reserved -= tx->len;
	c->credit.tx_cnt += len;
	if (!LOOP(c)) {
		out_put(vs, c, tx, AMP_VSOCK_OP_RW, len, flags);
		return;
	}
	vs->path->commit(vs, c, tx, len, flags);
}

void amp_vsock_cancel(struct amp_vsock *vs, struct amp_vsock_conn *c, struct amp_vsock_tx *tx)
{
	c->reserved -= tx->len;
	if (LOOP(c))
		vs->path->cancel(vs, tx);
	else if (vs->out)
		amp_vq_unget(vs->out, tx->id);
}

uint32_t amp_vsock_tx_space(const struct amp_vsock *vs, const struct amp_vsock_conn *c)
{
	uint32_t space = credit_left(c);

	if (may_send(c) || space == 0 || must_queue(vs, c))
		return 0;
	if (LOOP(c))
		return vs->path->ready(vs) ? space : 0;
	return vs->out && amp_vq_avail(vs->out) ? space : 0;
}

void amp_vsock_want_credit(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	if (c->state != AMP_CONN_OPEN)
		return;
	/* 5.10.6.3: ask once per drought, for peers that do not volunteer updates */
	c->starved = 1;
	if (!c->asked) {
		c->asked = 1;
		owe(vs, c, AMP_OWE_CREDIT_REQ);
	}
}

void amp_vsock_want_tx(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	if (c->state != AMP_CONN_OPEN)
		return;
	/* credit that is only reserved comes back here, not from the peer */
	if (amp_credit_tx_space(&c->credit))
		tx_starve(vs, c);
	else
		amp_vsock_want_credit(vs, c);
}

void amp_vsock_consumed(struct amp_vsock *vs, struct amp_vsock_conn *c, uint32_t n)
{
	c->credit.fwd_cnt += n;
	if (c->state != AMP_CONN_OPEN)
		return;
	if (drained(c))
		die(vs, c, true);
	else if (!(c->peer_shut & AMP_VSOCK_SHUTDOWN_SEND) &&
		 (c->eager || amp_credit_update_due(&c->credit, c->buf_alloc))) {
		c->eager = 0;
		owe(vs, c, AMP_OWE_CREDIT);
	}
}

void amp_vsock_release(struct amp_vsock *vs, uint16_t id)
{
	if (vs->in)
		amp_vq_put(vs->in, id, 0);
}
