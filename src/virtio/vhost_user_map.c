/* SPDX-License-Identifier: BSD-3-Clause */
/* #syscalls fstat newfstatat lseek mmap.data munmap pread64 */
/*
 * The vhost-user back-end: the guest's memory.
 *
 * Theory of operation. SET_MEM_TABLE brings at most eight regions, each a piece of a
 * file. All of them are checked before the first is mapped. A region is mapped from
 * the file's offset 0 on, because mmap() wants offsets on the file's own page size and
 * a front-end may name any (User-mode Linux does; huge pages make it worse).
 *
 * The file can shrink under the map at any time: then an access here gets SIGBUS, which
 * sigbus.c turns into a dead back-end.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vhost_user_inner.h"

/* Of one back-end: it could use up the address space of the process for all others. */
#define MAP_MAX (sizeof(size_t) > 4 ? 1ull << 40 : 1ull << 30)

/* Looked at once per connection to tell whether the memory is shared at all. */
#define BLANK_PAGES 1024

/* --- translation --- */

/* Hot: called for every descriptor. The same region matches nearly always. */
void *amp_vhost_be_translate(void *ctx, uint64_t addr, uint32_t *len_io)
{
	struct amp_vhost_be *be = ctx;
	const struct amp_vhost_be_region *r = &be->region[be->last];
	uint64_t off = addr - r->guest;

	if (off >= r->len) {
		unsigned i;

		for (i = 0; i < be->regions; i++) {
			r = &be->region[i];
			off = addr - r->guest; /* wraps to a huge offset when below */
			if (off < r->len)
				break;
		}
		if (i == be->regions)
			return NULL;
		be->last = i;
	}
	if (*len_io > r->len - off)
		*len_io = (uint32_t)(r->len - off);
	return r->mem + off;
}

void *amp_vhost_be_user(struct amp_vhost_be *be, uint64_t addr, uint32_t len)
{
	unsigned i;

	for (i = 0; i < be->regions; i++) {
		const struct amp_vhost_be_region *r = &be->region[i];
		uint64_t off = addr - r->user;

		if (off < r->len && len <= r->len - off)
			return r->mem + off;
	}
	return NULL;
}

/* --- mapping --- */

static void unmap(struct amp_vhost_be *be)
{
	while (be->regions > 0)
		amp_vhost_be_close(&be->region[--be->regions].fd);
	be->last = 0;
	amp_sigbus_unmap(&be->guard);
	memset(be->region, 0, sizeof(be->region));
}

/* Region i of the message, and how much of its file: checked against wrap-around. */
static int check_region(struct amp_vhost_be *be, unsigned i, uint64_t *total)
{
	const struct amp_vu_region m = be->msg.u.mem.region[i];
	uint64_t end, len;
	struct stat st;
	unsigned k;

	if (m.size == 0 || __builtin_add_overflow(m.guest_addr, m.size, &end) ||
	    __builtin_add_overflow(m.user_addr, m.size, &len) ||
	    __builtin_add_overflow(m.mmap_offset, m.size, &len) || len > MAP_MAX)
		return amp_vhost_be_why(be, -EINVAL, "memory region %u: impossible size", i);
	*total += len;
	if (*total > MAP_MAX)
		return amp_vhost_be_why(be, -ENOMEM, "memory regions larger than %llu bytes",
					(unsigned long long)MAP_MAX);
	for (k = 0; k < i; k++) {
		const struct amp_vu_region o = be->msg.u.mem.region[k];

		if (m.guest_addr < o.guest_addr + o.size && o.guest_addr < end)
			return amp_vhost_be_why(be, -EINVAL, "memory regions %u and %u overlap",
						k, i);
	}
	if (fstat(be->fds[i], &st) < 0 || !S_ISREG(st.st_mode))
		return amp_vhost_be_why(be, -EINVAL, "memory region %u: not a file. %s", i,
					AMP_VHOST_NOT_SHARED);
	/* or the first access would be a SIGBUS */
	if ((uint64_t)st.st_size < len)
		return amp_vhost_be_why(
			be, -EINVAL, "memory region %u ends at %llu, its file at %llu", i,
			(unsigned long long)len, (unsigned long long)st.st_size);
	return 0;
}

/* munmap() wants whole pages of the file, which may be huge ones. */
static size_t page_round(int fd, uint64_t len)
{
	struct stat st;
	uint64_t page = 4096;

	if (fstat(fd, &st) == 0 && st.st_blksize > 4096 && st.st_blksize <= 1 << 30 &&
	    (st.st_blksize & (st.st_blksize - 1)) == 0)
		page = (uint64_t)st.st_blksize;
	return (size_t)((len + page - 1) & ~(page - 1));
}

static int map_region(struct amp_vhost_be *be, unsigned i)
{
	const struct amp_vu_region m = be->msg.u.mem.region[i];
	struct amp_vhost_be_region *r = &be->region[i];
	size_t len = page_round(be->fds[i], m.mmap_offset + m.size);
	void *map;

	map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, be->fds[i],
		   0);
	if (map == MAP_FAILED)
		return amp_vhost_be_why(be, -errno, "memory region %u: cannot map: %s", i,
					strerror(errno));
	amp_sigbus_add(&be->guard, map, len);
	r->mem = (uint8_t *)map + m.mmap_offset;
	r->guest = m.guest_addr;
	r->user = m.user_addr;
	r->len = m.size;
	r->offset = m.mmap_offset;
	r->fd = be->fds[i];
	r->seq = ++be->seq;
	be->fds[i] = -1;
	be->regions = i + 1;
	return 0;
}

/*
 * Is the beginning of what the file holds all zero? A guest's memory is not: its code,
 * stack or device tree lie there. Not read through the map: that would fill holes.
 */
static bool file_blank(int fd, unsigned *budget)
{
	uint64_t page[512];
	off_t pos = 0;
	ssize_t n = 1;

	while (*budget > 0 && n > 0 && (pos = lseek(fd, pos, SEEK_DATA)) >= 0) {
		size_t i;

		n = pread(fd, page, sizeof(page), pos);
		for (i = 0; n > 0 && i < (size_t)n / sizeof(page[0]); i++) {
			if (page[i] != 0)
				return false;
		}
		pos += n;
		--*budget;
	}
	return true;
}

static bool all_blank(const struct amp_vhost_be *be)
{
	unsigned i, budget = BLANK_PAGES;

	for (i = 0; i < be->fd_cnt; i++) {
		if (!file_blank(be->fds[i], &budget))
			return false;
	}
	return true;
}

int amp_vhost_be_map(struct amp_vhost_be *be)
{
	uint32_t i, cnt = be->msg.u.mem.cnt;
	uint64_t total = 0;
	int rc = 0;

	if (cnt > AMP_VU_REGIONS || be->msg.hdr.size < 8 + cnt * sizeof(struct amp_vu_region))
		return amp_vhost_be_why(be, -EINVAL, "%u memory regions in %u bytes", cnt,
					be->msg.hdr.size);
	if (cnt == 0 || be->fd_cnt != cnt)
		return amp_vhost_be_why(be, -EINVAL, "%u memory regions with %u files. %s", cnt,
					be->fd_cnt, AMP_VHOST_NOT_SHARED);
	for (i = 0; i < cnt && rc == 0; i++)
		rc = check_region(be, i, &total);
	if (rc < 0)
		return rc;
	if (!be->mapped)
		be->blank = all_blank(be);
	be->mapped = true;
	unmap(be);
	for (i = 0; i < cnt && rc == 0; i++)
		rc = map_region(be, i);
	return rc;
}
