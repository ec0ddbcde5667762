// SPDX-License-Identifier: BSD-3-Clause
/*
 * Byte streams over rpmsg endpoints (docs/protocol.md, "Streams over rpmsg").
 *
 * Theory of operation
 *
 * This is an adapter. What a stream is (states, credit, what is owed, how it ends) is the
 * vsock engine's affair; here its packets become messages and messages its packets. A
 * message has 8 bytes of header where a packet has 44: who it is from and for is in the
 * rpmsg header already, the window never changes, and what remains is an operation, a tag and
 * fwd_cnt.
 *
 * In. A message for a connection must carry the connection's tag, and come from the peer's
 * endpoint where the door can see that. One that does not is from an earlier life of the
 * address, or forged: dropped and counted. It is not answered: an RST would have to carry the
 * tag that its sender wants to see, and the only one who knows that is the connection that it
 * was not for. A message that is right in both and wrong otherwise costs its connection, by
 * the engine's own rules.
 *
 * At a service's address there are no connections: REQUESTs, the RSTs that take them back,
 * and SERVICE. They name their sender's endpoint and tag in the payload, because not every
 * door shows the source.
 *
 * Out. Owed packets are bits in the connection (vsock.c). RSTs to REQUESTs that nobody takes
 * are kept in a short array until there are buffers; data waits behind them.
 *
 * Buffers. Nothing is held here. What arrives is copied out by the owner's hook and the buffer
 * goes back at once, so a receiver that stalls ties up its own window and no buffer of the
 * link; bytes bound it, and messages need no meter of their own.
 */
#include <errno.h>
#include <string.h>

#include "rpmsg_stream.h"

#define HELLO_LEN (AMP_RSTREAM_HDR_LEN + AMP_RSTREAM_HELLO_LEN)

/* The engine's numbers of the operations and those on the wire, four bits each. */
#define VSOCK_OP(op) (0x34765210u >> 4 * (op)&15u)
#define WIRE_OP(op)  ((uint8_t)(0x54367210u >> 4 * (op)&15u))

_Static_assert(VSOCK_OP(AMP_RSTREAM_REQUEST) == AMP_VSOCK_OP_REQUEST &&
		       VSOCK_OP(AMP_RSTREAM_RESPONSE) == AMP_VSOCK_OP_RESPONSE &&
		       VSOCK_OP(AMP_RSTREAM_DATA) == AMP_VSOCK_OP_RW &&
		       VSOCK_OP(AMP_RSTREAM_CREDIT) == AMP_VSOCK_OP_CREDIT_UPDATE &&
		       VSOCK_OP(AMP_RSTREAM_CREDIT_REQUEST) == AMP_VSOCK_OP_CREDIT_REQUEST &&
		       VSOCK_OP(AMP_RSTREAM_SHUTDOWN) == AMP_VSOCK_OP_SHUTDOWN &&
		       VSOCK_OP(AMP_RSTREAM_RST) == AMP_VSOCK_OP_RST &&
		       WIRE_OP(AMP_VSOCK_OP_REQUEST) == AMP_RSTREAM_REQUEST &&
		       WIRE_OP(AMP_VSOCK_OP_RESPONSE) == AMP_RSTREAM_RESPONSE &&
		       WIRE_OP(AMP_VSOCK_OP_RST) == AMP_RSTREAM_RST &&
		       WIRE_OP(AMP_VSOCK_OP_SHUTDOWN) == AMP_RSTREAM_SHUTDOWN &&
		       WIRE_OP(AMP_VSOCK_OP_RW) == AMP_RSTREAM_DATA &&
		       WIRE_OP(AMP_VSOCK_OP_CREDIT_UPDATE) == AMP_RSTREAM_CREDIT &&
		       WIRE_OP(AMP_VSOCK_OP_CREDIT_REQUEST) == AMP_RSTREAM_CREDIT_REQUEST,
	       "the two numberings");

static struct amp_rstream *rs_of(struct amp_vsock *vs)
{
	return (struct amp_rstream *)(void *)vs;
}

/* Not 0, and not soon again. */
static uint16_t new_tag(struct amp_rstream *rs)
{
	if (++rs->next_tag == 0)
		rs->next_tag = 1;
	return rs->next_tag;
}

/* ---- out: the engine's path ---- */

/* Buffers of the device's side lie as the peer likes them: no word access before this. */
static void put_header(uint8_t *data, uint8_t op, uint32_t flags, uint16_t tag,
		       uint32_t fwd_cnt)
{
	struct amp_rstream_hdr h = {op, (uint8_t)flags, tag, fwd_cnt};

	memcpy(data, &h, sizeof(h));
}

/* Into the place behind the header: who I am. */
static void put_hello(uint8_t *data, const struct amp_rstream_conn *rc)
{
	struct amp_rstream_hello hello = {
		.magic = AMP_RSTREAM_MAGIC,
		.version = AMP_RSTREAM_VERSION,
		.tag = rc->rx_tag,
		.addr = rc->c.local.port,
		.window = rc->c.buf_alloc,
	};

	memcpy(data + AMP_RSTREAM_HDR_LEN, &hello, sizeof(hello));
}

static bool path_send(struct amp_vsock *vs, struct amp_vsock_conn *c, uint16_t op,
		      uint32_t flags)
{
	struct amp_rstream *rs = rs_of(vs);
	struct amp_rstream_conn *rc = amp_rstream_conn(c);
	uint32_t len = AMP_RSTREAM_HDR_LEN;
	struct amp_rpmsg_tx tx;

	if (rs->door->reserve(rs, rc, &tx))
		return false;
	if (op == AMP_VSOCK_OP_REQUEST)
		flags = rs->door->request_flags;
	put_header(tx.data, WIRE_OP(op), flags, rc->tx_tag, c->credit.fwd_cnt);
	/* an RST without the peer's tag takes a REQUEST back: it says whose */
	if (op == AMP_VSOCK_OP_RESPONSE || !rc->tx_tag) {
		put_hello(tx.data, rc);
		len = HELLO_LEN;
	}
	amp_vsock_told(c);
	vs->stats.tx_packets++;
	rs->door->commit(rs, rc, &tx, c->local.port, c->peer.port, len);
	return true;
}

/* The door's buffer in between is in tx->hdr: where it begins, and its id for the length. */
static int path_reserve(struct amp_vsock *vs, struct amp_vsock_conn *c, struct amp_vsock_tx *tx,
			uint32_t *room)
{
	struct amp_rstream *rs = rs_of(vs);
	struct amp_rpmsg_tx t;

	if (rs->stray_cnt || rs->door->reserve(rs, amp_rstream_conn(c), &t))
		return 0;
	tx->hdr[0].base = t.data;
	tx->hdr[0].len = t.id;
	*room = t.room - AMP_RSTREAM_HDR_LEN;
	tx->iov[0].base = t.data + AMP_RSTREAM_HDR_LEN;
	tx->iov[0].len = *room;
	tx->iov_cnt = 1;
	return 1;
}

static struct amp_rpmsg_tx door_tx(const struct amp_vsock_tx *tx)
{
	return (struct amp_rpmsg_tx){.data = tx->hdr[0].base, .id = (uint16_t)tx->hdr[0].len};
}

static void path_commit(struct amp_vsock *vs, struct amp_vsock_conn *c, struct amp_vsock_tx *tx,
			uint32_t len, uint32_t flags)
{
	struct amp_rstream *rs = rs_of(vs);
	struct amp_rpmsg_tx t = door_tx(tx);

	(void)flags; /* of messages, which a stream has not */
	put_header(t.data, AMP_RSTREAM_DATA, 0, amp_rstream_conn(c)->tx_tag, c->credit.fwd_cnt);
	amp_vsock_told(c);
	vs->stats.tx_packets++;
	rs->door->commit(rs, amp_rstream_conn(c), &t, c->local.port, c->peer.port,
			 AMP_RSTREAM_HDR_LEN + len);
}

static void path_cancel(struct amp_vsock *vs, struct amp_vsock_tx *tx)
{
	struct amp_rpmsg_tx t = door_tx(tx);

	rs_of(vs)->door->cancel(rs_of(vs), &t);
}

static bool path_ready(const struct amp_vsock *vs)
{
	const struct amp_rstream *rs = (const struct amp_rstream *)(const void *)vs;

	return rs->door->ready(rs);
}

static void path_gone(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	struct amp_rstream_conn *rc = amp_rstream_conn(c);

	if (rc->ept.addr != AMP_RPMSG_ADDR_ANY)
		rs_of(vs)->door->close(rs_of(vs), rc);
	rc->ept.addr = AMP_RPMSG_ADDR_ANY;
}

static const struct amp_vsock_path rstream_path = {
	.send = path_send,
	.reserve = path_reserve,
	.commit = path_commit,
	.cancel = path_cancel,
	.ready = path_ready,
	.gone = path_gone,
};

/* ---- in: at a service's address ---- */

static __attribute__((noinline, cold)) void malformed(struct amp_rstream *rs, const char *why)
{
	rs->vs.stats.rx_bad++;
	rs->vs.why = why;
}

/*
 * Who speaks in REQUEST, RESPONSE or the RST that takes a REQUEST back. These fields are the
 * same in every version. False: there is nobody to answer.
 */
static bool get_hello(const struct amp_rpmsg_rx *rx, struct amp_rstream_hello *hello)
{
	if (rx->len < HELLO_LEN)
		return false;
	memcpy(hello, (const uint8_t *)rx->data + AMP_RSTREAM_HDR_LEN, sizeof(*hello));
	return hello->magic == AMP_RSTREAM_MAGIC && hello->tag && hello->addr &&
	       hello->addr != AMP_RPMSG_ADDR_ANY && (!rx->src || rx->src == hello->addr);
}

/* Is all of it as this version has it? */
static bool good_hello(const struct amp_rpmsg_rx *rx, const struct amp_rstream_hello *hello,
		       uint32_t flags)
{
	return hello->version == AMP_RSTREAM_VERSION && rx->len == HELLO_LEN &&
	       !hello->reserved && !flags;
}

/* A connection with this end as its peer: by what REQUEST said, for what follows REQUEST. */
static struct amp_rstream_conn *find_peer(const struct amp_rstream *rs,
					  const struct amp_rstream_hello *hello)
{
	for (uint32_t i = 0; i < rs->vs.hash_len; i++) {
		for (struct amp_vsock_conn *c = rs->vs.hash[i]; c; c = c->hash_next) {
			if (c->peer.port == hello->addr &&
			    amp_rstream_conn(c)->tx_tag == hello->tag)
				return amp_rstream_conn(c);
		}
	}
	return NULL;
}

static void refuse(struct amp_rstream *rs, uint32_t local,
		   const struct amp_rstream_hello *hello, uint8_t flags)
{
	if (rs->stray_cnt == AMP_RSTREAM_STRAYS) {
		rs->stats.unanswered++;
		return;
	}
	rs->stray[rs->stray_cnt++] = (struct amp_rstream_stray){
		.local = local, .peer = hello->addr, .tag = hello->tag, .flags = flags};
}

/* The owner has taken it: an endpoint of its own, or the end of it. */
static void accept_request(struct amp_rstream *rs, struct amp_rstream_conn *rc, uint32_t local,
			   const struct amp_rstream_hello *hello)
{
	struct amp_vsock_addr me = {AMP_VSOCK_CID_LOCAL, local};
	struct amp_vsock_addr peer = {AMP_VSOCK_CID_LOCAL, hello->addr};
	int r;

	rc->ept.addr = AMP_RPMSG_ADDR_ANY;
	r = rs->door->open(rs, rc, hello->addr);
	if (r)
		rc->ept.addr = AMP_RPMSG_ADDR_ANY; /* the RST comes from the service */
	else
		me.port = rc->ept.addr;
	rc->rx_tag = new_tag(rs);
	rc->tx_tag = hello->tag;
	amp_vsock_requested(&rs->vs, &rc->c, &me, &peer, AMP_VSOCK_STREAM, hello->window);
	if (r)
		amp_vsock_abort(&rs->vs, &rc->c);
}

static void in_request(struct amp_rstream *rs, bool service, const struct amp_rstream_hdr *h,
		       const struct amp_rpmsg_rx *rx)
{
	struct amp_rstream_conn *rc = NULL;
	struct amp_rstream_hello hello;

	if (!get_hello(rx, &hello)) {
		malformed(rs, AMP_WHY("REQUEST of nobody (docs/protocol.md 10.3)"));
		return;
	}
	if (hello.version != AMP_RSTREAM_VERSION) {
		rs->stats.versions++;
		refuse(rs, rx->dst, &hello, AMP_RSTREAM_VERSION);
		return;
	}
	if (find_peer(rs, &hello)) {
		rs->stats.duplicates++;
		return;
	}
	if (!good_hello(rx, &hello, h->flags & ~AMP_RSTREAM_F_ANY_SRC) || h->tag || h->fwd_cnt)
		malformed(rs, AMP_WHY("malformed REQUEST (docs/protocol.md 10.3)"));
	else if (service && rs->ops->request)
		rc = rs->ops->request(rs, rx->dst, hello.addr);
	if (!rc) {
		refuse(rs, rx->dst, &hello, 0);
		return;
	}
	accept_request(rs, rc, rx->dst, &hello);
	rc->c.any_src = h->flags & AMP_RSTREAM_F_ANY_SRC;
}

static void in_service(struct amp_rstream *rs, const struct amp_rstream_hdr *h,
		       const struct amp_rpmsg_rx *rx)
{
	struct amp_rstream_service s;

	if (rx->len < AMP_RSTREAM_ROOM) {
		malformed(rs, AMP_WHY("short SERVICE (docs/protocol.md 10.6)"));
		return;
	}
	memcpy(&s, (const uint8_t *)rx->data + AMP_RSTREAM_HDR_LEN, sizeof(s));
	if (s.magic != AMP_RSTREAM_MAGIC || s.version != AMP_RSTREAM_VERSION || h->tag ||
	    h->flags || rx->len != AMP_RSTREAM_ROOM || s.gone > 1 || s.reserved || !s.addr ||
	    s.addr == AMP_RPMSG_ADDR_ANY || !s.name[0] || !memchr(s.name, 0, sizeof(s.name)))
		malformed(rs, AMP_WHY("malformed SERVICE (docs/protocol.md 10.6)"));
	else if (rs->ops->service)
		rs->ops->service(rs, s.name, s.addr, s.gone);
}

/* ---- in: for a connection ---- */

static bool to_conn(struct amp_rstream *rs, struct amp_rstream_conn *rc,
		    const struct amp_rstream_hdr *h, const struct amp_rpmsg_rx *rx, uint16_t op,
		    uint32_t window)
{
	struct amp_iov iov = {(uint8_t *)(uintptr_t)rx->data + AMP_RSTREAM_HDR_LEN,
			      rx->len - AMP_RSTREAM_HDR_LEN};
	struct amp_rstream_rx r = {
		.v = {.iov = &iov, .iov_cnt = iov.len != 0, .len = (uint32_t)iov.len},
		.id = rx->id,
	};
	struct amp_vsock_hdr v = {
		.len = r.v.len,
		.type = AMP_VSOCK_STREAM,
		.op = op,
		.flags = h->flags,
		.buf_alloc = window,
		.fwd_cnt = h->fwd_cnt,
	};

	return amp_vsock_input_for(&rs->vs, &rc->c, &v, &r.v);
}

/* The first word of who was asked. INVALID when it is not what it should be. */
static uint16_t in_response(struct amp_rstream *rs, struct amp_rstream_conn *rc,
			    const struct amp_rstream_hdr *h, const struct amp_rpmsg_rx *rx,
			    uint32_t *window)
{
	struct amp_rstream_hello hello;

	if (rc->tx_tag || (rc->c.owed & AMP_OWE_REQUEST) || !get_hello(rx, &hello) ||
	    !good_hello(rx, &hello, h->flags) ||
	    (rs->door->redirect && rs->door->redirect(rs, rc, hello.addr)))
		return AMP_VSOCK_OP_INVALID;
	rc->tx_tag = hello.tag;
	*window = hello.window;
	amp_vsock_rekey(&rs->vs, &rc->c, hello.addr);
	return AMP_VSOCK_OP_RESPONSE;
}

/*
 * Another source than the peer's endpoint: a REQUEST is answered from a new one, or refused
 * from wherever the peer can; and who said in REQUEST that it would.
 */
static bool may_come_from_elsewhere(const struct amp_rstream_conn *rc,
				    const struct amp_rstream_hdr *h)
{
	return rc->c.any_src ||
	       (!rc->tx_tag && (h->op == AMP_RSTREAM_RESPONSE || h->op == AMP_RSTREAM_RST));
}

static __attribute__((noinline)) void in_service_or_request(struct amp_rstream *rs,
							    struct amp_rstream_conn *rc,
							    const struct amp_rstream_hdr *h,
							    const struct amp_rpmsg_rx *rx)
{
	struct amp_rstream_hello hello;

	if (h->op == AMP_RSTREAM_REQUEST) {
		in_request(rs, !rc, h, rx);
		return;
	}
	if (h->op == AMP_RSTREAM_SERVICE) {
		in_service(rs, h, rx);
		return;
	}
	rc = NULL;
	if (h->op == AMP_RSTREAM_RST && !h->tag && get_hello(rx, &hello) &&
	    good_hello(rx, &hello, h->flags))
		rc = find_peer(rs, &hello);
	if (rc)
		(void)to_conn(rs, rc, h, rx, AMP_VSOCK_OP_RST, 0);
	else
		rs->stats.foreign++;
}

bool amp_rstream_input(struct amp_rstream *rs, struct amp_rstream_conn *rc,
		       const struct amp_rpmsg_rx *rx)
{
	struct amp_rstream_hdr h;
	uint32_t window;
	uint16_t op;

	rs->vs.stats.rx_packets++;
	if (rx->len < AMP_RSTREAM_HDR_LEN) {
		malformed(rs,
			  AMP_WHY("message shorter than its header (docs/protocol.md 10.2)"));
		return false;
	}
	memcpy(&h, rx->data, sizeof(h)); /* read once; the peer aligns as it likes */
	if (!rc || h.op == AMP_RSTREAM_REQUEST) {
		in_service_or_request(rs, rc, &h, rx);
		return false;
	}
	if (h.tag != rc->rx_tag ||
	    (rx->src != rc->c.peer.port && rx->src && !may_come_from_elsewhere(rc, &h))) {
		rs->stats.foreign++;
		return false;
	}
	op = h.op <= AMP_RSTREAM_RST ? VSOCK_OP(h.op) : AMP_VSOCK_OP_INVALID;
	window = rc->c.credit.peer_buf_alloc;
	if (op == AMP_VSOCK_OP_RESPONSE)
		op = in_response(rs, rc, &h, rx, &window);
	else if (rx->len != AMP_RSTREAM_HDR_LEN && op > AMP_VSOCK_OP_RST &&
		 op != AMP_VSOCK_OP_RW)
		op = AMP_VSOCK_OP_INVALID;
	return to_conn(rs, rc, &h, rx, op, window);
}

/* ---- the door ---- */

void amp_rstream_init(struct amp_rstream *rs)
{
	rs->vs.in = rs->vs.out = NULL;
	rs->vs.path = &rstream_path;
	rs->vs.stray_len = 0;
	rs->stray_cnt = 0;
	memset(&rs->stats, 0, sizeof(rs->stats));
	amp_vsock_init(&rs->vs);
}

void amp_rstream_down(struct amp_rstream *rs)
{
	/* their tags mean something else to the peer's next life */
	rs->stray_cnt = 0;
	amp_vsock_down(&rs->vs);
	rs->vs.path_starved = false;
}

int amp_rstream_connect(struct amp_rstream *rs, struct amp_rstream_conn *rc, uint32_t addr)
{
	struct amp_vsock_addr me = {AMP_VSOCK_CID_LOCAL, 0}, peer = {AMP_VSOCK_CID_LOCAL, addr};
	int r;

	if (rc->ept.addr == 0)
		rc->ept.addr = AMP_RPMSG_ADDR_ANY;
	r = rs->door->open(rs, rc, addr);
	if (r)
		return r;
	me.port = rc->ept.addr;
	rc->rx_tag = new_tag(rs);
	rc->tx_tag = 0;
	r = amp_vsock_connect(&rs->vs, &rc->c, me, peer, AMP_VSOCK_STREAM);
	if (r)
		path_gone(&rs->vs, &rc->c);
	return r;
}

int amp_rstream_run(struct amp_rstream *rs)
{
	struct amp_rpmsg_tx tx;

	while (rs->stray_cnt) {
		struct amp_rstream_stray s = rs->stray[0];

		if (rs->door->reserve(rs, NULL, &tx)) {
			rs->vs.path_starved = true;
			break;
		}
		memmove(&rs->stray[0], &rs->stray[1], --rs->stray_cnt * sizeof(s));
		put_header(tx.data, AMP_RSTREAM_RST, s.flags, s.tag, 0);
		rs->vs.stats.tx_packets++;
		rs->vs.stats.rst_strays++;
		rs->door->commit(rs, NULL, &tx, s.local, s.peer, AMP_RSTREAM_HDR_LEN);
	}
	return amp_vsock_run(&rs->vs, 0);
}

int amp_rstream_tell(struct amp_rstream *rs, uint32_t src, uint32_t door, const char *name,
		     uint32_t addr, bool gone)
{
	struct amp_rstream_service s = {
		.magic = AMP_RSTREAM_MAGIC,
		.version = AMP_RSTREAM_VERSION,
		.gone = gone,
		.addr = addr,
	};
	size_t len = strlen(name);
	struct amp_rpmsg_tx tx;

	if (len - 1 >= AMP_RPMSG_NAME_LEN - 1)
		return -EINVAL;
	memcpy(s.name, name, len);
	if (rs->stray_cnt || rs->door->reserve(rs, NULL, &tx))
		return -EAGAIN;
	put_header(tx.data, AMP_RSTREAM_SERVICE, 0, 0, 0);
	memcpy(tx.data + AMP_RSTREAM_HDR_LEN, &s, sizeof(s));
	rs->door->commit(rs, NULL, &tx, src, door, AMP_RSTREAM_ROOM);
	return 0;
}

size_t amp_rstream_name_len(const char *name)
{
	const size_t suffix = sizeof(AMP_RSTREAM_SUFFIX) - 1;
	size_t len = strlen(name);

	if (len <= suffix || memcmp(name + len - suffix, AMP_RSTREAM_SUFFIX, suffix))
		return 0;
	return len - suffix;
}

/* ---- the door onto a bus ---- */

static struct amp_rpmsg *bus_of(const struct amp_rstream *rs)
{
	return rs->door_ctx;
}

static int bus_open(struct amp_rstream *rs, struct amp_rstream_conn *rc, uint32_t dst)
{
	(void)dst;
	if (!bus_of(rs)->out)
		return -ENETDOWN;
	return amp_rpmsg_open(bus_of(rs), &rc->ept, rc->ept.addr, NULL);
}

static void bus_close(struct amp_rstream *rs, struct amp_rstream_conn *rc)
{
	(void)amp_rpmsg_close(bus_of(rs), &rc->ept); /* it has no name to withdraw */
}

static int bus_reserve(struct amp_rstream *rs, struct amp_rstream_conn *rc,
		       struct amp_rpmsg_tx *tx)
{
	struct amp_rpmsg *bus = bus_of(rs);

	(void)rc;
	if (amp_rpmsg_reserve(bus, tx))
		return -EAGAIN;
	if (tx->room >= AMP_RSTREAM_ROOM)
		return 0;
	amp_rpmsg_cancel(bus, tx);
	bus->out->broken = true;
	bus->out->why =
		AMP_WHY("buffer without room for a stream's messages (docs/protocol.md 10.2)");
	return -EAGAIN;
}

static void bus_commit(struct amp_rstream *rs, struct amp_rstream_conn *rc,
		       const struct amp_rpmsg_tx *tx, uint32_t src, uint32_t dst, uint32_t len)
{
	(void)rc;
	amp_rpmsg_commit(bus_of(rs), tx, src, dst, len);
}

static void bus_cancel(struct amp_rstream *rs, const struct amp_rpmsg_tx *tx)
{
	amp_rpmsg_cancel(bus_of(rs), tx);
}

static bool bus_ready(const struct amp_rstream *rs)
{
	return amp_rpmsg_tx_ready(bus_of(rs));
}

const struct amp_rstream_door_ops amp_rstream_bus_door = {
	.open = bus_open,
	.close = bus_close,
	.reserve = bus_reserve,
	.commit = bus_commit,
	.cancel = bus_cancel,
	.ready = bus_ready,
};
