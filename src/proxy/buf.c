// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls mmap.data munmap */
#include <string.h>
#include <sys/mman.h>

#include "buf.h"

#define CACHE 8u

static uint8_t *cache[CACHE];
static unsigned cache_cnt;

static bool get(struct amp_buf *buf)
{
	void *mem;

	if (cache_cnt) {
		buf->mem = cache[--cache_cnt];
		return true;
	}
	mem = mmap(NULL, AMP_BUF_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		   0);
	if (mem == MAP_FAILED)
		return false;
	buf->mem = mem;
	return true;
}

void amp_buf_clear(struct amp_buf *buf)
{
	if (buf->mem && cache_cnt < CACHE)
		cache[cache_cnt++] = buf->mem;
	else if (buf->mem)
		munmap(buf->mem, AMP_BUF_LEN);
	if (buf->limits)
		amp_limit_give(buf->limits, AMP_LIMIT_BUFFERED, buf->len);
	buf->mem = NULL;
	buf->head = buf->len = 0;
}

void amp_buf_rest(void)
{
	while (cache_cnt)
		munmap(cache[--cache_cnt], AMP_BUF_LEN);
}

static void append(struct amp_buf *buf, const uint8_t *from, size_t len)
{
	while (len) {
		uint32_t at = (buf->head + buf->len) & (AMP_BUF_LEN - 1u);
		size_t n = AMP_BUF_LEN - at < len ? AMP_BUF_LEN - at : len;

		memcpy(buf->mem + at, from, n);
		from += n;
		len -= n;
		buf->len += (uint32_t)n;
	}
}

bool amp_buf_put(struct amp_buf *buf, const struct iovec *iov, int cnt, size_t skip)
{
	size_t total = 0;

	for (int i = 0; i < cnt; i++)
		total += iov[i].iov_len;
	total -= skip < total ? skip : total;
	if (total > AMP_BUF_LEN - buf->len ||
	    (buf->limits && !amp_limit_take(buf->limits, AMP_LIMIT_BUFFERED, total)))
		return false;
	if (!buf->mem && !get(buf)) {
		if (buf->limits)
			amp_limit_give(buf->limits, AMP_LIMIT_BUFFERED, total);
		return false;
	}
	for (int i = 0; i < cnt; i++) {
		size_t len = iov[i].iov_len;
		const uint8_t *from = iov[i].iov_base;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		append(buf, from + skip, len - skip);
		skip = 0;
	}
	return true;
}

int amp_buf_peek(const struct amp_buf *buf, struct iovec iov[2])
{
	uint32_t first = AMP_BUF_LEN - buf->head;

	if (buf->len == 0)
		return 0;
	iov[0].iov_base = buf->mem + buf->head;
	iov[0].iov_len = buf->len < first ? buf->len : first;
	if (buf->len <= first)
		return 1;
	iov[1].iov_base = buf->mem;
	iov[1].iov_len = buf->len - first;
	return 2;
}

void amp_buf_drop(struct amp_buf *buf, size_t len)
{
	buf->head = (buf->head + (uint32_t)len) & (AMP_BUF_LEN - 1u);
	buf->len -= (uint32_t)len;
	if (buf->limits)
		amp_limit_give(buf->limits, AMP_LIMIT_BUFFERED, len);
	if (buf->len == 0)
		amp_buf_clear(buf);
}

bool amp_iov_copy(const struct iovec *iov, int cnt, size_t off, void *dst, size_t n)
{
	uint8_t *to = dst;

	for (int i = 0; i < cnt && n; i++) {
		size_t part = iov[i].iov_len;

		if (off >= part) {
			off -= part;
			continue;
		}
		part -= off;
		if (part > n)
			part = n;
		memcpy(to, (const uint8_t *)iov[i].iov_base + off, part);
		to += part;
		n -= part;
		off = 0;
	}
	return n == 0;
}
