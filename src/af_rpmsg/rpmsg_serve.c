// SPDX-License-Identifier: BSD-3-Clause
/*
 * What arrives at the address of a stream service or a front door (docs/protocol.md 10):
 * REQUESTs, the RSTs that take them back, and SERVICE. They name their sender's endpoint and
 * tag in the payload, because not every door shows the source.
 *
 * An accepted REQUEST gets an endpoint of its own, and from there on is a connection like any
 * other (rpmsg_stream.c). The RST to one that nobody takes has no connection to be owed by: it
 * is kept in a short array until there is a buffer, and data waits behind it.
 */
#include <errno.h>
#include <string.h>

#include "rpmsg_stream_inner.h"

static __attribute__((noinline, cold)) void malformed(struct amp_rstream *rs, const char *why)
{
	rs->vs.stats.rx_bad++;
	AMP_WHY_SAY(&rs->vs, why);
}

/*
 * The living connection with this peer; it has told us its tag. One that is dead has an RST at
 * most to send, and who speaks of a REQUEST, or takes one back, does not wait for it: sent later,
 * it would meet whoever has that endpoint, and perhaps that tag, by then.
 */
static struct amp_rstream_conn *find_peer(const struct amp_rstream *rs, uint32_t addr)
{
	for (uint32_t i = 0; i < AMP_VSOCK_BUCKETS(&rs->vs); i++) {
		for (struct amp_vsock_conn *c = rs->vs.hash[i]; c; c = c->hash_next) {
			if (c->peer.port != addr || !amp_rstream_conn(c)->tx_tag)
				continue;
			if (c->state != AMP_CONN_DEAD)
				return amp_rstream_conn(c);
			c->owed &= AMP_VSOCK_LISTED;
		}
	}
	return NULL;
}

static void refuse(struct amp_rstream *rs, uint32_t local,
		   const struct amp_rstream_hello *hello, uint8_t flags)
{
	struct amp_rstream_stray *s = &rs->stray[rs->stray_cnt];

	if (rs->stray_cnt == AMP_RSTREAM_STRAYS) {
		amp_rstream_count(&rs->stats.unanswered);
		return;
	}
	rs->stray_cnt++;
	s->local = local;
	s->peer = hello->addr;
	s->tag = hello->tag;
	s->flags = flags;
}

void amp_rstream_answer(struct amp_rstream *rs)
{
	const struct amp_rstream_stray *s;
	struct amp_rpmsg_tx tx;

	while (rs->stray_cnt && door_reserve(rs, NULL, &tx) == 0) {
		s = &rs->stray[--rs->stray_cnt]; /* in any order */
		amp_put_le32(tx.data, AMP_RSTREAM_WORD(AMP_RSTREAM_RST, s->flags, s->tag));
		amp_put_le32(tx.data + 4, 0);
		amp_rstream_count(&rs->vs.stats.tx_packets);
		amp_rstream_count(&rs->vs.stats.rst_strays);
		door_commit(rs, NULL, &tx, s->local, s->peer, AMP_RSTREAM_HDR_LEN);
	}
	if (!AMP_RPMSG_OTHERS && rs->stray_cnt) /* as amp_rstream_run() */
		amp_rstream_bus(rs)->queued = true;
}

/* The owner has taken it: an endpoint of its own, or else its end. */
static void accepted(struct amp_rstream *rs, struct amp_rstream_conn *rc, uint32_t local,
		     const struct amp_rstream_hello *hello)
{
	struct amp_vsock_ends ends = {amp_vsock_at(AMP_VSOCK_CID_LOCAL, local),
				      amp_vsock_at(AMP_VSOCK_CID_LOCAL, hello->addr)};
	int r;

	rc->ept.addr = AMP_RPMSG_ADDR_ANY;
	r = door_open(rs, rc, hello->addr);
	if (r == 0) /* else the RST comes from the service */
		ends.local.port = rc->ept.addr;
	rc->rx_tag = amp_rstream_new_tag(rs);
	rc->tx_tag = hello->tag;
	amp_vsock_requested(&rs->vs, &rc->c, &ends, AMP_VSOCK_STREAM, hello->window);
	if (r)
		amp_vsock_abort(&rs->vs, &rc->c);
}

/* Of our version: whose it is from now on, NULL: nobody's. False: it was seen to before. */
static inline bool ask(struct amp_rstream *rs, const struct amp_rpmsg_rx *rx, bool good,
		       const struct amp_rstream_hello *hello, struct amp_rstream_conn **rc)
{
	*rc = find_peer(rs, hello->addr);
	if (*rc && (*rc)->tx_tag == hello->tag) {
		amp_rstream_count(&rs->stats.duplicates);
		return false;
	}
	/* an endpoint has one connection: its last was of an earlier life of the address */
	if (*rc)
		amp_vsock_in_rst(&rs->vs, &(*rc)->c);
	*rc = NULL;
	if (!good)
		malformed(rs, AMP_WHY("malformed REQUEST (protocol.md 10.3)"));
	else if (!AMPSOCK_VSOCK)
		*rc = amp_rpmsg_request(rs, rx->dst, hello->addr);
	else if (rs->ops->request)
		*rc = rs->ops->request(rs, rx->dst, hello->addr);
	return true;
}

static void in_request(struct amp_rstream *rs, const struct amp_rpmsg_rx *rx, uint32_t word,
		       uint32_t fwd_cnt)
{
	struct amp_rstream_conn *rc = NULL;
	struct amp_rstream_hello hello;
	enum amp_hello h = amp_rstream_hello(rx, &hello);
	uint8_t flags = 0;

	if (h == AMP_HELLO_NOBODY) {
		malformed(rs, AMP_WHY("REQUEST of nobody (protocol.md 10.3)"));
		return;
	}
	word -= AMP_RSTREAM_REQUEST;
	if (hello.version != AMP_RSTREAM_VERSION) {
		amp_rstream_count(&rs->stats.versions);
		flags = AMP_RSTREAM_VERSION;
	} else if (!ask(rs, rx,
			h == AMP_HELLO_GOOD && !fwd_cnt &&
				!(word & ~AMP_RSTREAM_WORD(0, AMP_RSTREAM_F_ANY_SRC, 0)),
			&hello, &rc)) {
		return;
	}
	if (!rc) {
		refuse(rs, rx->dst, &hello, flags);
		return;
	}
	accepted(rs, rc, rx->dst, &hello);
	rc->ept.mark = word != 0;
}

/* A REQUEST is taken back, by who had not heard of an answer. */
static void in_rst(struct amp_rstream *rs, const struct amp_rpmsg_rx *rx, uint32_t word)
{
	struct amp_rstream_conn *rc = NULL;
	struct amp_rstream_hello hello;

	if (word == AMP_RSTREAM_RST && amp_rstream_hello(rx, &hello) == AMP_HELLO_GOOD)
		rc = find_peer(rs, hello.addr);
	if (rc && rc->tx_tag == hello.tag)
		amp_vsock_in_rst(&rs->vs, &rc->c);
	else
		amp_rstream_count(&rs->stats.foreign);
}

void amp_rstream_serve(struct amp_rstream *rs, const struct amp_rpmsg_rx *rx)
{
	const uint8_t *data = rx->data;
	uint32_t word, fwd_cnt;

	if (rx->len < AMP_RSTREAM_HDR_LEN) {
		malformed(rs, AMP_WHY("message without header (protocol.md 10.2)"));
		return;
	}
	word = amp_le32(data);
	fwd_cnt = amp_le32(data + offsetof(struct amp_rstream_hdr, fwd_cnt));
	amp_rstream_read();
	switch ((uint8_t)word) {
	case AMP_RSTREAM_REQUEST:
		amp_rstream_count(&rs->vs.stats.rx_packets);
		in_request(rs, rx, word, fwd_cnt);
		break;
	case AMP_RSTREAM_SERVICE:
		amp_rstream_told(rs, rx);
		break;
	default:
		amp_rstream_count(&rs->vs.stats.rx_packets);
		in_rst(rs, rx, word);
		break;
	}
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
	if (rs->stray_cnt || door_reserve(rs, NULL, &tx))
		return -EAGAIN;
	amp_put_le32(tx.data, AMP_RSTREAM_SERVICE);
	amp_put_le32(tx.data + 4, 0);
	memcpy(tx.data + AMP_RSTREAM_HDR_LEN, &s, sizeof(s));
	amp_rstream_count(&rs->vs.stats.tx_packets);
	door_commit(rs, NULL, &tx, src, door, AMP_RSTREAM_ROOM);
	return 0;
}
