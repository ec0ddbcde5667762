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

/* A program's own links have one kind of door, and then calls through it are plain calls. */
static inline const struct amp_rstream_door_ops *amp_rstream_door(const struct amp_rstream *rs)
{
	return AMPSOCK_VSOCK ? rs->door : &amp_rstream_bus_door;
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
