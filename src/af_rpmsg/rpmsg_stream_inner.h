/* SPDX-License-Identifier: BSD-3-Clause */
/* What rpmsg_stream.c (connections) and rpmsg_serve.c (services) share. */
#ifndef AMP_RPMSG_STREAM_INNER_H
#define AMP_RPMSG_STREAM_INNER_H

#include "../wire/le.h"
#include "rpmsg_stream.h"

#define AMP_RSTREAM_LONG (AMP_RSTREAM_HDR_LEN + AMP_RSTREAM_HELLO_LEN)

/* The first word of a header: op, flags, tag. */
#define AMP_RSTREAM_WORD(op, flags, tag) \
	((uint32_t)(op) | (uint32_t)(flags) << 8 | (uint32_t)(tag) << 16)

/* What has been read of shared memory so far is not read again: no check of it is in vain. */
static inline void amp_rstream_read(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* One more, for the owner of the streams. Who is not a proxy counts messages on the bus, and nobody
 * looks at these. */
static inline void amp_rstream_count(uint32_t *cnt)
{
	if (AMPSOCK_VSOCK)
		(*cnt)++;
}

/* Of a door onto a bus. */
static inline struct amp_rpmsg *amp_rstream_bus(const struct amp_rstream *rs)
{
	return rs->door_ctx;
}

/* ---- the door: a program's own links have one kind of it, and no table ---- */

static inline int door_open(struct amp_rstream *rs, struct amp_rstream_conn *rc, uint32_t dst)
{
	if (AMP_RPMSG_OTHERS)
		return rs->door->open(rs, rc, dst);
	/* who connects, or is asked, has found the link up */
	return amp_rpmsg_open(amp_rstream_bus(rs), &rc->ept, rc->ept.addr);
}

static inline void door_close(struct amp_rstream *rs, struct amp_rstream_conn *rc)
{
	if (AMP_RPMSG_OTHERS)
		rs->door->close(rs, rc);
	else
		(void)amp_rpmsg_close(amp_rstream_bus(rs), &rc->ept); /* it has no name */
}

static inline int door_reserve(struct amp_rstream *rs, struct amp_rstream_conn *rc,
			       struct amp_rpmsg_tx *tx)
{
	if (AMP_RPMSG_OTHERS)
		return rs->door->reserve(rs, rc, tx);
	return amp_rpmsg_reserve_for(amp_rstream_bus(rs), tx, AMP_RSTREAM_ROOM, true);
}

static inline void door_commit(struct amp_rstream *rs, struct amp_rstream_conn *rc,
			       const struct amp_rpmsg_tx *tx, uint32_t src, uint32_t dst,
			       uint32_t len)
{
	if (AMP_RPMSG_OTHERS)
		rs->door->commit(rs, rc, tx, src, dst, len);
	else
		amp_rpmsg_commit(amp_rstream_bus(rs), tx, src, dst, len);
}

static inline void door_cancel(struct amp_rstream *rs, const struct amp_rpmsg_tx *tx)
{
	if (AMP_RPMSG_OTHERS)
		rs->door->cancel(rs, tx);
	else
		amp_rpmsg_cancel(amp_rstream_bus(rs), tx);
}

static inline bool door_ready(const struct amp_rstream *rs)
{
	if (AMP_RPMSG_OTHERS)
		return rs->door->ready(rs);
	return amp_rpmsg_may_send_now(amp_rstream_bus(rs)); /* a socket waits */
}

enum amp_hello {
	AMP_HELLO_NOBODY, /* there is nobody to answer */
	AMP_HELLO_OTHER,  /* of another version, or broken behind what all versions have */
	AMP_HELLO_GOOD,
};
/* Who speaks in REQUEST, RESPONSE or the RST that takes a REQUEST back. */
enum amp_hello amp_rstream_hello(const struct amp_rpmsg_rx *rx,
				 struct amp_rstream_hello *hello);

/* Not 0, and not soon again. */
static inline uint16_t amp_rstream_new_tag(struct amp_rstream *rs)
{
	if (++rs->next_tag == 0)
		rs->next_tag = 1;
	return rs->next_tag;
}

/* Send the RSTs of refusals, while there are buffers. Linked with amp_rstream_serve(). */
void amp_rstream_answer(struct amp_rstream *rs);

#endif /* AMP_RPMSG_STREAM_INNER_H */
