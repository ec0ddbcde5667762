/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connection states and credit arithmetic: floor 2, shared by vsock.c and
 * rpmsg_stream.c. Counters are free-running 32-bit numbers; only differences mean
 * anything (virtio 1.2, 5.10.6.3; the rpmsg stream uses the same arithmetic).
 */
#ifndef AMP_CONN_H
#define AMP_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "../ampsock_config.h"
#include "../wire/vsock_hdr.h"

enum amp_conn_state {
	AMP_CONN_FREE = 0,   /* the engine does not know it */
	AMP_CONN_CONNECTING, /* REQUEST owed or sent, no answer yet */
	AMP_CONN_REQUESTED,  /* the peer's REQUEST is here, the owner has not answered */
	AMP_CONN_OPEN,	     /* both know */
	AMP_CONN_CLOSING,    /* closed by the owner; waits for the peer's RST, bounded */
	AMP_CONN_DEAD,	     /* RST seen or owed; the engine lets go once it is sent */
};

/*
 * Owed packets: bits, not queue entries (DESIGN 5). The number of a bit is the packet's operation,
 * and they are sent in the order of the numbers. An RST is owed alone; every packet but a request
 * for credit says what CREDIT would, so that none is left when a SHUTDOWN is out.
 */
#define AMP_OWE_REQUEST	   (1u << AMP_VSOCK_OP_REQUEST)
#define AMP_OWE_RESPONSE   (1u << AMP_VSOCK_OP_RESPONSE)
#define AMP_OWE_RST	   (1u << AMP_VSOCK_OP_RST)
#define AMP_OWE_SHUTDOWN   (1u << AMP_VSOCK_OP_SHUTDOWN)
#define AMP_OWE_CREDIT	   (1u << AMP_VSOCK_OP_CREDIT_UPDATE)
#define AMP_OWE_CREDIT_REQ (1u << AMP_VSOCK_OP_CREDIT_REQUEST)

/* AMP_CREDIT_CNT: their low halves, where all windows of ours are small. */
struct amp_credit {
	uint32_t tx_cnt;	     /* bytes I sent */
	uint32_t peer_fwd_cnt;	     /* bytes the peer consumed, as it last said */
	uint32_t peer_buf_alloc;     /* the peer's buffer, as it last said */
	uint32_t fwd_cnt;	     /* bytes my owner consumed */
	AMP_CREDIT_CNT rx_cnt;	     /* bytes I received */
	AMP_CREDIT_CNT told_fwd_cnt; /* fwd_cnt as the peer last heard it */
};

/* Bytes that are here and not consumed. */
static inline uint32_t amp_credit_held(const struct amp_credit *c)
{
	return (AMP_CREDIT_CNT)(c->rx_cnt - c->fwd_cnt);
}

/* Bytes consumed that the peer has not heard of. */
static inline uint32_t amp_credit_news(const struct amp_credit *c)
{
	return (AMP_CREDIT_CNT)(c->fwd_cnt - c->told_fwd_cnt);
}

/* What the peer believes to be in use of my buffer. */
static inline uint32_t amp_credit_believed(const struct amp_credit *c)
{
	return (AMP_CREDIT_CNT)(c->rx_cnt - c->told_fwd_cnt);
}

static inline void amp_credit_received(struct amp_credit *c, uint32_t len)
{
	c->rx_cnt = (AMP_CREDIT_CNT)(c->rx_cnt + len);
}

static inline void amp_credit_told(struct amp_credit *c)
{
	c->told_fwd_cnt = (AMP_CREDIT_CNT)c->fwd_cnt;
}

/* Bytes that may be sent now. A peer that shrinks its buffer or lies gives 0, never a wrap. */
static inline uint32_t amp_credit_tx_space(const struct amp_credit *c)
{
	uint32_t in_flight = c->tx_cnt - c->peer_fwd_cnt;

	return in_flight < c->peer_buf_alloc ? c->peer_buf_alloc - in_flight : 0;
}

/* May the peer send len bytes more into a buffer of buf_alloc? */
static inline bool amp_credit_rx_ok(const struct amp_credit *c, uint32_t buf_alloc,
				    uint32_t len)
{
	uint32_t held = amp_credit_held(c);

	return held <= buf_alloc && len <= buf_alloc - held;
}

/* The peer's word about its buffer. False: it claims to have consumed more than was sent. */
static inline bool amp_credit_peer(struct amp_credit *c, uint32_t buf_alloc, uint32_t fwd_cnt)
{
	if (c->tx_cnt - fwd_cnt > c->tx_cnt - c->peer_fwd_cnt)
		return false;
	c->peer_buf_alloc = buf_alloc;
	c->peer_fwd_cnt = fwd_cnt;
	return true;
}

/*
 * Must the peer hear of consumed bytes, or could it stall? Yes when what it believes
 * to be free has fallen to half the buffer and there is news worth a packet: an eighth of
 * the buffer, or all there is. Half, not less: a peer that waits for a low-water mark of
 * its own still gets there.
 */
static inline bool amp_credit_update_due(const struct amp_credit *c, uint32_t buf_alloc)
{
	uint32_t news = amp_credit_news(c);

	return news && amp_credit_believed(c) >= buf_alloc / 2 &&
	       (news >= buf_alloc / 8 || amp_credit_held(c) == 0);
}

#endif /* AMP_CONN_H */
