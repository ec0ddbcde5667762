/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The line before the bytes of a hybrid vsock connection, as Firecracker and
 * cloud-hypervisor have it: who connects to the monitor's Unix socket says
 *
 *	CONNECT <port>\n
 *
 * and reads, when the guest has answered,
 *
 *	OK <port of the host's end>\n
 *
 * A refusal is the end of the stream instead. Behind either newline are the bytes of the
 * connection. A line may come byte by byte, and what is behind it in the same segment
 * belongs to somebody else: it is looked at before it is taken.
 */
#ifndef AMP_PROXY_HYBRID_H
#define AMP_PROXY_HYBRID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "CONNECT 4294967295\r\n" has 20, and a few more blanks hurt nobody. */
#define AMP_HYBRID_LINE_MAX 32u

struct amp_hybrid {
	const char *word; /* that begins the line, in capitals */
	char text[AMP_HYBRID_LINE_MAX];
	uint8_t len;
	uint32_t port; /* when the line was whole */
};

/*
 * The next len bytes of a stream. *used: how many were the line's, never more than up to its
 * newline. 1: the line is whole and right, and h->port is its number; 0: more is to come;
 * -EPROTO: this is no such line, nor will be.
 */
int amp_hybrid_feed(struct amp_hybrid *h, const void *p, size_t len, size_t *used);

/*
 * The same from a non-blocking socket: takes the line's bytes and no others. 1, -EPROTO, -EAGAIN,
 * -ECONNREFUSED at the end of the stream, or -errno.
 */
int amp_hybrid_read(struct amp_hybrid *h, int fd);

#endif /* AMP_PROXY_HYBRID_H */
