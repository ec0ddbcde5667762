/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes that a stalled receiver could not take: a ring of the window's size, mapped
 * when it is needed and given back when it is empty, so that an idle flow costs none.
 * A few stay in a cache: a flow that stalls now and then maps nothing.
 */
#ifndef AMP_PROXY_BUF_H
#define AMP_PROXY_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "limit.h"

#define AMP_BUF_LEN (256u * 1024u)

struct amp_buf {
	uint8_t *mem; /* NULL: empty */
	struct amp_limits
		*limits; /* whose bytes these are: AMP_LIMIT_BUFFERED; NULL: nobody's */
	uint32_t head;
	uint32_t len;
};

/* False: more than fits (the caller's peer broke its window), more than the limit, or no
 * memory. Nothing is put then. */
bool amp_buf_put(struct amp_buf *buf, const struct iovec *iov, int cnt, size_t skip);
/* What is there, in at most two pieces. Returns how many. */
int amp_buf_peek(const struct amp_buf *buf, struct iovec iov[2]);
void amp_buf_drop(struct amp_buf *buf, size_t len);
void amp_buf_clear(struct amp_buf *buf);
/* The loop has nothing to do: what is kept for the next stall goes back. */
void amp_buf_rest(void);

/* n bytes from off on of an iovec into dst; false: there are fewer. */
bool amp_iov_copy(const struct iovec *iov, int cnt, size_t off, void *dst, size_t n);

#endif /* AMP_PROXY_BUF_H */
