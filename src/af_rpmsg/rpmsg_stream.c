// SPDX-License-Identifier: BSD-3-Clause
/*
 * Byte streams over rpmsg endpoints (docs/protocol.md 10).
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
 * the engine's own rules. What arrives at a service's address is rpmsg_serve.c's.
 *
 * Out. Owed packets are bits in the connection (vsock.c). They wait for buffers, and then data
 * waits behind them.
 *
 * Buffers. Nothing is held here. What arrives is copied out by the owner's hook and the buffer
 * goes back at once, so a receiver that stalls ties up its own window and no buffer of the
 * link: bytes bound it, and messages need no meter of their own.
 */
#include <errno.h>
#include <string.h>

#include "rpmsg_stream_inner.h"

/* Defined in a file that need not be there: then nobody owes any. */
extern __typeof__(amp_rstream_answer) amp_rstream_answer __attribute__((weak));

/* The engine's numbers of the operations and those on the wire, four bits each. */
#if AMPSOCK_VSOCK
#define VSOCK_OP(op) (0x34765210u >> 4 * (op)&15u)
#define WIRE_OP(op)  (0x54367210u >> 4 * (op)&15u)
#else
#define VSOCK_OP(op) ((uint32_t)(op))
#define WIRE_OP(op)  ((uint32_t)(op))
#endif

#define SAME(wire, vsock) (VSOCK_OP(wire) == (vsock) && WIRE_OP(vsock) == (wire))
_Static_assert(SAME(AMP_RSTREAM_REQUEST, AMP_VSOCK_OP_REQUEST) &&
		       SAME(AMP_RSTREAM_RESPONSE, AMP_VSOCK_OP_RESPONSE) &&
		       SAME(AMP_RSTREAM_DATA, AMP_VSOCK_OP_RW) &&
		       SAME(AMP_RSTREAM_CREDIT, AMP_VSOCK_OP_CREDIT_UPDATE) &&
		       SAME(AMP_RSTREAM_CREDIT_REQUEST, AMP_VSOCK_OP_CREDIT_REQUEST) &&
		       SAME(AMP_RSTREAM_SHUTDOWN, AMP_VSOCK_OP_SHUTDOWN) &&
		       SAME(AMP_RSTREAM_RST, AMP_VSOCK_OP_RST),
	       "the two numberings");

static struct amp_rstream *rs_of(struct amp_vsock *vs)
{
	return (struct amp_rstream *)(void *)vs;
}

/* ---- out: the engine's path ---- */

/* The peer aligns a device's buffers as it likes: words are put, not assigned. */
static inline void send(struct amp_rstream *rs, struct amp_rstream_conn *rc,
			const struct amp_rpmsg_tx *tx, uint32_t word, uint32_t len)
{
	uint32_t fwd_cnt = rc->c.credit.fwd_cnt;
	uint8_t *hdr = tx->data;

	amp_vsock_told(&rc->c);
	amp_put_le32(hdr, word | AMP_RSTREAM_WORD(0, 0, rc->tx_tag));
	amp_put_le32(hdr + offsetof(struct amp_rstream_hdr, fwd_cnt), fwd_cnt);
	amp_rstream_count(&rs->vs.stats.tx_packets);
	door_commit(rs, rc, tx, rc->c.local.port, rc->c.peer.port, AMP_RSTREAM_HDR_LEN + len);
}

/* Who speaks. Returns its length. */
static inline uint32_t put_hello(const struct amp_rstream_conn *rc, uint8_t *to)
{
	amp_put_le32(to, AMP_RSTREAM_MAGIC);
	amp_put_le32(to + offsetof(struct amp_rstream_hello, version),
		     AMP_RSTREAM_WORD(AMP_RSTREAM_VERSION, 0, rc->rx_tag));
	amp_put_le32(to + offsetof(struct amp_rstream_hello, addr), rc->c.local.port);
	amp_put_le32(to + offsetof(struct amp_rstream_hello, window), rc->c.buf_alloc);
	return AMP_RSTREAM_HELLO_LEN;
}

int amp_rstream_path_packet(struct amp_vsock *vs, struct amp_vsock_conn *c, unsigned op,
			    const struct amp_vsock_load *load)
{
	uint32_t len = (uint32_t)load->len, flags = load->flags;
	struct amp_rstream_conn *rc = amp_rstream_conn(c);
	struct amp_rstream *rs = rs_of(vs);
	struct amp_rpmsg_tx tx;
	struct amp_iov to;
	int r = door_reserve(rs, rc, &tx);

	if (r)
		return r;
	to.base = tx.data + AMP_RSTREAM_HDR_LEN;
	if (len) {
		if (len > tx.room - AMP_RSTREAM_HDR_LEN)
			len = tx.room - AMP_RSTREAM_HDR_LEN;
		amp_vsock_gather(&to, load->iov, load->off, len);
		c->credit.tx_cnt += len;
	} else if (op == AMP_VSOCK_OP_RESPONSE || !rc->tx_tag) {
		/* an RST without the peer's tag takes a REQUEST back: it says whose */
		len = put_hello(rc, to.base);
	}
	if (AMP_RPMSG_OTHERS && op == AMP_VSOCK_OP_REQUEST)
		flags = rs->door->request_flags;
	send(rs, rc, &tx, AMP_RSTREAM_WORD(WIRE_OP(op), flags, 0), len);
	return (int)len;
}

bool amp_rstream_path_send(struct amp_vsock *vs, struct amp_vsock_conn *c, uint16_t op,
			   uint32_t flags)
{
	const struct amp_vsock_load load = {.flags = flags};

	return amp_rstream_path_packet(vs, c, op, &load) >= 0;
}

/* RSTs to strangers wait for a buffer. (The bus of a program's own links knows: queued.) */
static inline bool must_queue(const struct amp_rstream *rs)
{
	return AMP_RPMSG_OTHERS && rs->stray_cnt;
}

/* The door's buffer in between. */
static struct amp_rpmsg_tx *door_tx(struct amp_vsock_tx *tx)
{
	return (struct amp_rpmsg_tx *)(void *)tx->own;
}
_Static_assert(!AMPSOCK_RPMSG ||
		       sizeof(struct amp_rpmsg_tx) <= sizeof(((struct amp_vsock_tx *)0)->own),
	       "struct amp_vsock_tx.own");

int amp_rstream_path_reserve(struct amp_vsock *vs, struct amp_vsock_conn *c,
			     struct amp_vsock_tx *tx)
{
	struct amp_rstream *rs = rs_of(vs);
	struct amp_rpmsg_tx *t = door_tx(tx);

	if (must_queue(rs) || door_reserve(rs, amp_rstream_conn(c), t))
		return 0;
	tx->iov[0].base = t->data + AMP_RSTREAM_HDR_LEN;
	tx->iov[0].len = tx->len = t->room - AMP_RSTREAM_HDR_LEN;
	tx->iov_cnt = 1;
	return 1;
}

void amp_rstream_path_commit(struct amp_vsock *vs, struct amp_vsock_conn *c,
			     struct amp_vsock_tx *tx, uint32_t len, uint32_t flags)
{
	(void)flags; /* of messages, which a stream has not */
	send(rs_of(vs), amp_rstream_conn(c), door_tx(tx), AMP_RSTREAM_DATA, len);
}

void amp_rstream_path_cancel(struct amp_vsock *vs, struct amp_vsock_tx *tx)
{
	struct amp_rstream *rs = rs_of(vs);

	door_cancel(rs, door_tx(tx));
}

bool amp_rstream_path_ready(const struct amp_vsock *vs)
{
	const struct amp_rstream *rs = (const struct amp_rstream *)(const void *)vs;

	return !must_queue(rs) && door_ready(rs);
}

void amp_rstream_path_gone(struct amp_vsock *vs, struct amp_vsock_conn *c)
{
	struct amp_rstream_conn *rc = amp_rstream_conn(c);
	struct amp_rstream *rs = rs_of(vs);

	if (rc->ept.addr != AMP_RPMSG_ADDR_ANY)
		door_close(rs, rc);
	rc->ept.addr = AMP_RPMSG_ADDR_ANY;
}

static const struct amp_vsock_path rstream_path = {
	.send = amp_rstream_path_send,
	.reserve = amp_rstream_path_reserve,
	.commit = amp_rstream_path_commit,
	.cancel = amp_rstream_path_cancel,
	.ready = amp_rstream_path_ready,
	.gone = amp_rstream_path_gone,
};

/* ---- in ---- */

enum amp_hello amp_rstream_hello(const struct amp_rpmsg_rx *rx, struct amp_rstream_hello *hello)
{
	const uint8_t *at = (const uint8_t *)rx->data + AMP_RSTREAM_HDR_LEN;
	uint32_t word;

	if (rx->len < AMP_RSTREAM_LONG || amp_le32(at) != AMP_RSTREAM_MAGIC)
		return AMP_HELLO_NOBODY;
	word = amp_le32(at + offsetof(struct amp_rstream_hello, version));
	hello->addr = amp_le32(at + offsetof(struct amp_rstream_hello, addr));
	hello->window = amp_le32(at + offsetof(struct amp_rstream_hello, window));
	amp_rstream_read();
	hello->version = (uint8_t)word;
	hello->tag = (uint16_t)(word >> 16);
	if (!hello->tag || !hello->addr || hello->addr == AMP_RPMSG_ADDR_ANY ||
	    (rx->src && rx->src != hello->addr))
		return AMP_HELLO_NOBODY;
	return (uint16_t)word == AMP_RSTREAM_VERSION && rx->len == AMP_RSTREAM_LONG
		       ? AMP_HELLO_GOOD
		       : AMP_HELLO_OTHER;
}

/* The first word of who was asked. It is none when it is not what it should be. */
static void in_response(struct amp_rstream *rs, struct amp_rstream_conn *rc,
			const struct amp_rpmsg_rx *rx, struct amp_vsock_say *v)
{
	struct amp_rstream_hello hello;

	if (rc->tx_tag || amp_rstream_hello(rx, &hello) != AMP_HELLO_GOOD ||
	    (AMP_RPMSG_OTHERS && rs->door->redirect &&
	     rs->door->redirect(rs, rc, hello.addr))) {
		v->op = AMP_VSOCK_OP_INVALID;
		return;
	}
	rc->tx_tag = hello.tag;
	v->buf_alloc = hello.window;
	amp_vsock_rekey(&rs->vs, &rc->c, hello.addr);
}

/*
 * Another source than the peer's endpoint: a REQUEST is answered from a new one, or refused
 * from wherever the peer can; and there is who said in its REQUEST that it would.
 */
static bool may_come_from_elsewhere(const struct amp_rstream_conn *rc, unsigned op)
{
	return rc->ept.mark ||
	       (!rc->tx_tag && (op == AMP_VSOCK_OP_RESPONSE || op == AMP_VSOCK_OP_RST));
}

bool amp_rstream_input(struct amp_rstream *rs, struct amp_rstream_conn *rc,
		       const struct amp_rpmsg_rx *rx)
{
	const uint8_t *data = rx->data;
	struct amp_vsock_say v;
	struct amp_rstream_rx r;
	struct amp_iov iov;
	uint32_t word;

	amp_rstream_count(&rs->vs.stats.rx_packets);
	if (rx->len < AMP_RSTREAM_HDR_LEN) {
		rs->vs.stats.rx_bad++;
		return false;
	}
	word = amp_le32(data);
	v.fwd_cnt = amp_le32(data + offsetof(struct amp_rstream_hdr, fwd_cnt));
	amp_rstream_read();
	v.op = AMP_VSOCK_OP_INVALID;
	if (!AMPSOCK_VSOCK ||
	    (uint8_t)word <= AMP_RSTREAM_RST) /* else the engine refuses it as it is */
		v.op = (uint16_t)VSOCK_OP((uint8_t)word);
	if (word >> 16 != rc->rx_tag ||
	    (rx->src != rc->c.peer.port && rx->src && !may_come_from_elsewhere(rc, v.op))) {
		amp_rstream_count(&rs->stats.foreign);
		return false;
	}
	v.flags = word >> 8; /* the engine looks at SHUTDOWN's alone, and there at two bits */
	v.buf_alloc = rc->c.credit.peer_buf_alloc;
	if (v.op == AMP_VSOCK_OP_RESPONSE)
		in_response(rs, rc, rx, &v);
	iov.base = (void *)(uintptr_t)(data + AMP_RSTREAM_HDR_LEN);
	iov.len = r.v.len = rx->len - AMP_RSTREAM_HDR_LEN;
	r.v.iov = &iov;
	if (AMPSOCK_VSOCK) { /* else nobody asks */
		r.v.iov_cnt = 1;
		r.v.flags = 0;
		r.v.held = false;
		r.id = rx->id;
	}
	amp_vsock_input_for(&rs->vs, &rc->c, &v, &r.v);
	return AMPSOCK_VSOCK && r.v.held;
}

/* ---- the door ---- */

void amp_rstream_init(struct amp_rstream *rs)
{
	rs->vs.in = rs->vs.out = NULL;
	if (AMPSOCK_VSOCK) /* else it is called by its name */
		rs->vs.path = &rstream_path;
	rs->stray_cnt = 0;
	memset(&rs->stats, 0, sizeof(rs->stats));
	amp_vsock_init(&rs->vs);
}

void amp_rstream_down(struct amp_rstream *rs)
{
	/* their tags mean something else to the peer's next life */
	rs->stray_cnt = 0;
	amp_vsock_down(&rs->vs);
	if (AMP_RPMSG_OTHERS) /* else the bus knows */
		rs->vs.path_starved = false;
}

int amp_rstream_connect(struct amp_rstream *rs, struct amp_rstream_conn *rc, uint32_t addr)
{
	struct amp_vsock_ends ends = {.peer = amp_vsock_at(AMP_VSOCK_CID_LOCAL, addr)};
	int r;

	if (AMPSOCK_VSOCK && rc->ept.addr == 0) /* a program's own says what it means */
		rc->ept.addr = AMP_RPMSG_ADDR_ANY;
	r = door_open(rs, rc, addr);
	if (AMP_RPMSG_OTHERS && r) /* else none that is free can be refused */
		return r;
	ends.local = amp_vsock_at(AMP_VSOCK_CID_LOCAL, rc->ept.addr);
	rc->rx_tag = amp_rstream_new_tag(rs);
	rc->tx_tag = 0;
	/* its endpoint is new, and so is the pair */
	return amp_vsock_connect_ends(&rs->vs, &rc->c, &ends, AMP_VSOCK_STREAM);
}

int amp_rstream_run(struct amp_rstream *rs)
{
	if (!AMP_RPMSG_OTHERS) {
		/* a program's own links, whose bus keeps the next buffers for what found none */
		amp_rstream_bus(rs)->queued = !amp_vsock_flush(&rs->vs);
		if (rs->stray_cnt)
			amp_rstream_answer(rs);
		return 0;
	}
	if (rs->stray_cnt)
		amp_rstream_answer(rs);
	return amp_vsock_owed(&rs->vs);
}

size_t amp_rstream_name_len(const char *name)
{
	const size_t suffix = sizeof(AMP_RSTREAM_SUFFIX) - 1;
	size_t len = strlen(name);

	if (len <= suffix || memcmp(name + len - suffix, AMP_RSTREAM_SUFFIX, suffix) != 0)
		return 0;
	return len - suffix;
}

/* ---- the door onto a bus ---- */

#if AMP_RPMSG_OTHERS
static int bus_open(struct amp_rstream *rs, struct amp_rstream_conn *rc, uint32_t dst)
{
	(void)dst;
	if (!amp_rstream_bus(rs)->out)
		return -ENETDOWN;
	return amp_rpmsg_open(amp_rstream_bus(rs), &rc->ept, rc->ept.addr);
}

static void bus_close(struct amp_rstream *rs, struct amp_rstream_conn *rc)
{
	(void)amp_rpmsg_close(amp_rstream_bus(rs), &rc->ept); /* it has no name to withdraw */
}

static int bus_reserve(struct amp_rstream *rs, struct amp_rstream_conn *rc,
		       struct amp_rpmsg_tx *tx)
{
	(void)rc;
	return amp_rpmsg_reserve_for(amp_rstream_bus(rs), tx, AMP_RSTREAM_ROOM, true);
}

static void bus_commit(struct amp_rstream *rs, struct amp_rstream_conn *rc,
		       const struct amp_rpmsg_tx *tx, uint32_t src, uint32_t dst, uint32_t len)
{
	(void)rc;
	amp_rpmsg_commit(amp_rstream_bus(rs), tx, src, dst, len);
}

static void bus_cancel(struct amp_rstream *rs, const struct amp_rpmsg_tx *tx)
{
	amp_rpmsg_cancel(amp_rstream_bus(rs), tx);
}

static bool bus_ready(const struct amp_rstream *rs)
{
	return amp_rpmsg_tx_ready(amp_rstream_bus(rs));
}

const struct amp_rstream_door_ops amp_rstream_bus_door = {
	.open = bus_open,
	.close = bus_close,
	.reserve = bus_reserve,
	.commit = bus_commit,
	.cancel = bus_cancel,
	.ready = bus_ready,
};
#endif
