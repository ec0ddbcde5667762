// SPDX-License-Identifier: BSD-3-Clause
// libFuzzer: one end of rpmsg streams; its peer, its door and its owner are the input.
// build: src/af_rpmsg/rpmsg_stream.c src/af_rpmsg/rpmsg_serve.c src/af_rpmsg/rpmsg_told.c src/af_rpmsg/rpmsg.c
// build: src/vsock/vsock.c src/vsock/vsock_out.c src/vsock/vsock_conn.c src/vsock/vsock_request.c src/virtio/vq_split.c -DAMPSOCK_VQ_DEVICE=1
/*
 * Byte 0: what kind of door. Then records of 9 bytes: a message of the peer (one of its
 * operations with the right tag and source, more or less, or bytes as they come), an act of
 * the owner on one of its connections, or what the door does.
 */
#include "../unit/stream_rig.h"

#define S (&rig.b)

static void run(void)
{
	S->in_run = true;
	RIG_CHECK(amp_rstream_run(&S->rs) == 0);
	S->in_run = false;
}

/* What went out says what it should, and makes room. */
static void peer_takes(void)
{
	while (rig.a.queue_len) {
		struct rig_msg *m = &rig.a.queue[--rig.a.queue_len];
		const uint8_t *p = m->mem + 1;

		RIG_CHECK(m->len >= 8 && p[0] >= AMP_RSTREAM_REQUEST &&
			  p[0] <= AMP_RSTREAM_SERVICE);
		if (p[0] != AMP_RSTREAM_DATA)
			RIG_CHECK(m->len == 8 || m->len == 24 || m->len == 52);
		if (p[0] == AMP_RSTREAM_REQUEST || p[0] == AMP_RSTREAM_RESPONSE)
			RIG_CHECK(m->len == 24 && amp_le32(p + 8) == AMP_RSTREAM_MAGIC);
		free(m->mem);
		S->out--;
	}
}

static void deliver(uint32_t src, uint32_t dst, const uint8_t *p, uint32_t len)
{
	struct rig_msg m = {.src = src, .dst = dst, .len = len, .mem = malloc(1 + len)};

	memcpy(m.mem + 1, p, len);
	rig_deliver(S, &m);
	free(m.mem);
}

/* Right in what the first bytes do not say otherwise. */
static void peer_message(const uint8_t *d)
{
	struct rig_end *e = &S->ends[d[1] % 6];
	bool conn = e->used && e->rc.ept.addr != AMP_RPMSG_ADDR_ANY && !(d[2] & 1);
	uint32_t src = conn && !(d[2] & 2) ? e->rc.c.peer.port : 500u + (d[3] & 3);
	uint8_t m[8 + 255] = {0};
	uint32_t len = 8;

	m[0] = d[0] & 15;
	m[1] = d[2] & 4 ? d[4] : m[0] == AMP_RSTREAM_SHUTDOWN ? d[4] & 3 : 0;
	amp_put_le16(m + 2, conn ? e->rc.rx_tag : 0);
	amp_put_le32(m + 4, conn ? e->rc.c.credit.tx_cnt - (d[2] & 8 ? d[5] : 0) : 0);
	memset(m + 8, d[6], sizeof(m) - 8);
	if (m[0] <= AMP_RSTREAM_RESPONSE || (m[0] == AMP_RSTREAM_RST && !conn)) {
		amp_put_le32(m + 8, AMP_RSTREAM_MAGIC);
		amp_put_le32(m + 12, 1u | (uint32_t)d[6] << 16);
		amp_put_le32(m + 16, src);
		amp_put_le32(m + 20, d[7] & 128 ? UINT32_MAX : d[7]);
		len = 24;
	} else if (m[0] == AMP_RSTREAM_SERVICE) {
		amp_put_le32(m + 8, AMP_RSTREAM_MAGIC);
		amp_put_le32(m + 12, 1u | (d[5] & 1u) << 8);
		amp_put_le32(m + 16, d[7]);
		len = AMP_RSTREAM_ROOM;
	} else if (m[0] == AMP_RSTREAM_DATA) {
		len = 8u + d[7];
	}
	if (d[2] & 16)
		m[d[4] % len] ^= d[5];
	if ((d[2] & 96) == 96)
		len = d[7] % (len + 1);
	deliver(src, conn ? e->rc.ept.addr : 20, m, len);
}

static void owner_acts(const uint8_t *d, uint32_t now)
{
	struct rig_end *e = &S->ends[d[1] % 6];

	if (d[0] % 12 == 0) {
		e = rig_end_new(S, 1u + d[2]);
		if (e && amp_rstream_connect(&S->rs, &e->rc, 600u + (d[3] & 1)))
			e->used = false;
		return;
	}
	if (d[0] % 12 == 1) {
		(void)amp_vsock_tick(&S->rs.vs, now);
		(void)amp_rstream_tell(&S->rs, 20, 53, "n~s", 1, d[2] & 1);
		return;
	}
	if (!e->used || e->rc.c.state == AMP_CONN_FREE)
		return;
	switch (d[0] % 12) {
	case 2:
		amp_vsock_close(&S->rs.vs, &e->rc.c, now, d[2]);
		break;
	case 3:
		amp_vsock_abort(&S->rs.vs, &e->rc.c);
		break;
	case 4:
		amp_vsock_shutdown(&S->rs.vs, &e->rc.c, d[2] & 3);
		break;
	case 5:
		amp_vsock_respond(&S->rs.vs, &e->rc.c);
		break;
	case 6:
		amp_vsock_want_tx(&S->rs.vs, &e->rc.c);
		amp_vsock_want_credit(&S->rs.vs, &e->rc.c);
		break;
	case 7:
		if (e->held)
			rig_eat(S, e, 1u + d[2] % e->held);
		break;
	case 8:
		e->eat = d[2] & 1;
		break;
	case 9:
		if (e->tx.len)
			break;
		e->tx.iov = &e->tx_iov;
		e->tx.iov_max = 1;
		if (amp_vsock_reserve(&S->rs.vs, &e->rc.c, 1u + d[2], &e->tx) < 0)
			e->tx.len = 0;
		break;
	case 10:
		if (!e->tx.len)
			break;
		amp_vsock_commit(&S->rs.vs, &e->rc.c, &e->tx, 1u + d[2] % e->tx.len, 0);
		e->tx.len = 0;
		break;
	default:
		(void)rig_send(S, e, 1u + d[2]);
		break;
	}
}

static void door_acts(const uint8_t *d)
{
	S->bufs = d[0] & 7;
	S->no_open = d[1] % 8 == 0;
	S->no_redirect = d[2] % 8 == 0;
	S->later = d[3] & 1;
	S->backlog = d[3] & 2 ? UINT32_MAX : 0;
	S->window = d[4] & 128 ? 1u << 20 : 1u + d[4];
	if (d[5] % 16)
		return;
	peer_takes();
	rig_down(S);
	S->down = false;
}

static void finish(void)
{
	for (unsigned i = 0; i < RIG_ENDS; i++) {
		struct rig_end *e = &S->ends[i];

		if (e->used && e->rc.c.state != AMP_CONN_FREE)
			amp_vsock_abort(&S->rs.vs, &e->rc.c);
	}
	S->bufs = 128;
	run();
	peer_takes();
	rig_nothing_left();
	rig_free();
}

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t len)
{
	uint32_t now = 0;

	if (len < 1)
		return 0;
	rig_init(false);
	S->chardev = d[0] & 1;
	if (d[0] & 2)
		S->rs.door = &made_chardev;
	S->rs.next_tag = d[0] & 4 ? 0xfffe : 0;
	for (d++, len--; len >= 9; d += 9, len -= 9) {
		now += d[8];
		switch (d[0] % 8) {
		case 0:
		case 1:
		case 2:
			peer_message(d + 1);
			break;
		case 3:
			deliver(500u + (d[1] & 3), d[2] & 1 ? 20 : 1024u + (d[2] >> 1), d + 3,
				len < 64 ? (uint32_t)len - 3 : 61);
			break;
		case 4:
			run();
			if (d[1] & 1)
				peer_takes();
			break;
		case 5:
			door_acts(d + 1);
			break;
		default:
			owner_acts(d + 1, now);
			break;
		}
	}
	finish();
	return 0;
}
