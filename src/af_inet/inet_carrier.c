/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Carriers: how one comes up (connect, OPEN, ANSWER; protocol.md 4), the session's own first, and bytes to
 * and from it.
 */
#include <errno.h>
#include <string.h>

#include "ampsock.h"
#include "inet.h"

#if AMPSOCK_INET

/* OPEN is put together where its answer will lie: one of both at a time. */
uint8_t amp_inet_answer[AMP_OFF_OPEN_LEN] __attribute__((aligned(4)));

/* Of HELLO, for all that come up after it. */
static struct {
	uint32_t token[2];
	const struct amp_family *fam; /* whose the carriers are, where there are several */
} session;			      /* l */

struct amp_sock *amp_inet_carrier_new(void)
{
	struct amp_sock *c;
	int err;

	c = amp_sock_new((AMP_ONE_CARRIER ? amp_family_carrier() : session.fam)->domain,
			 SOCK_STREAM, 0, &err);
	if (c) {
		c->flags = AMP_SF_ORPHAN;
		c->linger_s = 0;
	}
	return c;
}

bool amp_inet_take(struct amp_sock *c, void *buf, size_t len, int flags)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct amp_msg m; /* by field: of all that there is memset() would be called */

	m.iov = buf ? &iov : NULL;
	m.iov_cnt = 1;
	m.len = len;
	m.done = 0;
	m.name = NULL;
	if (amp_rxring_used(&c->rx) < len)
		return false;
	AMP_CARRIER(c, recvmsg)(c, &m, flags);
	return true;
}

int amp_inet_send(struct amp_sock *c, void *p, size_t len, size_t done)
{
	const struct iovec iov = {.iov_base = p, .iov_len = len};
	ssize_t n = AMP_CARRIER_CARRY(c)(c, &iov, done, len, len - done);

	if (n > 0)
		amp_inet_poke(); /* the link has something to send */
	return (int)n;
}

int amp_inet_err(unsigned status)
{
	return -amp_off_errno(status);
}

/* protocol.md 2.4. s: NULL: HELLO. */
static void put_open(uint8_t *p, unsigned op, struct amp_sock *s)
{
	const struct amp_inet *i;

	memset(p, 0, AMP_OFF_OPEN_LEN);
	amp_put_le32(p, AMP_OFF_MAGIC);
	amp_put_le32(p + 4, AMP_OFF_VERSION | op << 8 | AMP_OFF_OPEN_LEN << 16);
	amp_put_le32(p + AMP_OFF_O_MAX_FRAME, AMP_INET_CTL_MAX);
	if (!s)
		return;
	i = amp_inet(s);
	amp_put_le32(p + AMP_OFF_O_TOKEN, session.token[0]);
	amp_put_le32(p + AMP_OFF_O_TOKEN + 4, session.token[1]);
	p[AMP_OFF_O_FAMILY] = amp_inet_wire(s->domain);
	p[AMP_OFF_O_FAMILY + 1] = amp_inet_wire_type(s->type);
	amp_put_le32(p + AMP_OFF_O_MAX_FRAME,
		     AMPSOCK_RING_LEN < UINT16_MAX ? AMPSOCK_RING_LEN : UINT16_MAX);
	amp_put_le32(p + AMP_OFF_O_BOUND_ID, i->id);
	amp_put_le32(p + AMP_OFF_O_OPTS_SET, (uint32_t)i->opts_set << 1);
	amp_put_le32(p + AMP_OFF_O_OPTS, (uint32_t)i->opts << 1);
	amp_copy(p + AMP_OFF_O_KEEP, i->keep, AMP_INET_OPEN_PART); /* as le.h: little-endian */
	amp_put_le16(p + AMP_OFF_O_LINGER,
		     (uint8_t)(s->linger_s + 1)); /* 255, not set, becomes 0 */
}

int amp_inet_recv_answer(struct amp_sock *c, unsigned op)
{
	unsigned status;

	if (!amp_inet_take(c, amp_inet_answer, AMP_OFF_ANSWER_LEN, 0))
		return c->flags & AMP_SF_EOF ? -ECONNRESET : -EAGAIN;
	status = (unsigned)amp_off_answer_ok(amp_inet_answer);
	if (status == AMP_OFF_OK)
		status = amp_inet_answer[AMP_OFF_A_OP] == op
				 ? amp_le16(amp_inet_answer + AMP_OFF_A_STATUS)
				 : AMP_OFF_EPROTO;
	return amp_inet_err(status);
}

/* Connect, once and again: 0, -EAGAIN, -errno. */
static int carrier_connect(struct amp_sock *c)
{
	const struct amp_carrier *to = c->fam->carrier;
	int r;

	if (c->err)
		r = -c->err;
	else if (c->flags & (AMP_SF_CONNECTED | AMP_SF_RESET)) /* who sends hears which */
		return 0;
	else
		r = AMP_CARRIER(c, connect)(c, to->proxy, to->len);
	/* the carrier's refusal is not the peer's: there is no proxy at the offload port */
	return r == -ECONNREFUSED ? -ENETDOWN : r;
}

_Static_assert(AMP_OFF_STREAM == 1 && AMP_OFF_CONNECT == 2 && AMP_OFF_DGRAM == 2 &&
		       AMP_OFF_UDP == 3,
	       "amp_inet_up(): the operation is the type's, and one more");

int amp_inet_up(struct amp_inet_way *i, struct amp_sock *s)
{
	unsigned op = s ? amp_inet_wire_type(s->type) + 1u : AMP_OFF_HELLO;
	uint8_t *p = amp_inet_answer;
	int r;

	if (!i->carrier) {
		if (!AMP_ONE_CARRIER && !s)
			session.fam =
				amp_family_carrier(); /* there is one (ampsock_config.h) */
		i->carrier = amp_inet_carrier_new();
		if (!i->carrier)
			return -ENOBUFS;
		i->off = 0;
		i->state = AMP_INET_UP;
		amp_inet_poke(); /* the link has something to send */
	}
	if (i->off < AMP_OFF_OPEN_LEN) {
		r = carrier_connect(i->carrier);
		if (r)
			return r;
		AMP_FORGET(p); /* one address, in a register */
		put_open(p, op, s);
		r = amp_inet_send(i->carrier, p, AMP_OFF_OPEN_LEN, i->off);
		if (r < 0)
			return r;
		i->off = (uint8_t)(i->off + r);
		if (i->off < AMP_OFF_OPEN_LEN)
			return -EAGAIN;
	}
	r = amp_inet_recv_answer(i->carrier, op);
	if (!r && !s) {
		session.token[0] = amp_le32(p + AMP_OFF_A_TOKEN);
		session.token[1] = amp_le32(p + AMP_OFF_A_TOKEN + 4);
	}
	return r;
}

#endif /* AMPSOCK_INET */
