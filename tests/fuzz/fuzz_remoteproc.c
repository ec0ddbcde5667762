// SPDX-License-Identifier: BSD-3-Clause
// libFuzzer: the host of a resource table, and the remote; the table and the moments are the input.
// build: src/virtio/remoteproc.c src/virtio/remoteproc_host.c src/virtio/vq_split.c
/*
 * Bytes 0 to 3 choose where the table lies, whether the owner says where rings go, their size and
 * the buffers'. Then operations of five bytes: a word written somewhere into the table (as it
 * comes, or as an offset or address that gets anywhere) or into a ring, or a step of one side.
 * Memory has exactly its size.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/remoteproc.h"
#include "virtio/vring.h"
#include "wire/le.h"

#define CHECK(x)                                                                \
	do {                                                                    \
		if (!(x)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                               \
	} while (0)

#define MEM_LEN 0x3000u
#define DA	0x9fffff000ull /* the window crosses a border of 4 GiB */
#define NUM	64u

static struct amp_rproc_host h;
static struct amp_rproc rp;
static struct amp_vq hq[2], rq[2];
static bool remote_up;

static bool apart(size_t a, size_t a_len, size_t b, size_t b_len)
{
	return a + a_len <= b || b + b_len <= a;
}

static void check_host(void)
{
	size_t off[5], len[5];

	off[0] = h.table_off;
	len[0] = h.table_len;
	for (unsigned i = 0; i < 2; i++) {
		const struct amp_rproc_ring *r = &h.ring[i];

		CHECK(r->num && r->num <= NUM && r->buf_cnt && r->buf_cnt <= r->num);
		off[1 + i] = r->off;
		len[1 + i] = r->len;
		off[3 + i] = r->buf_off;
		len[3 + i] = (size_t)r->buf_cnt * r->buf_len;
	}
	for (unsigned i = 0; i < 5; i++) {
		CHECK(off[i] <= MEM_LEN && len[i] <= MEM_LEN - off[i]);
		for (unsigned j = 0; j < i; j++)
			CHECK(apart(off[i], len[i], off[j], len[j]));
	}
	CHECK(h.trace_off <= MEM_LEN && h.trace_len <= MEM_LEN - h.trace_off);
}

static void result(int r)
{
	CHECK(r == 0 || r == -ENOENT || r == -EAGAIN || r == -EINVAL || r == -ENOSPC);
	if (r == 0)
		check_host();
	else
		CHECK(r == -EAGAIN || h.why);
}

static void use(struct amp_vq *vq)
{
	struct amp_iov iov[2];
	struct amp_vq_buf b = {.iov = iov, .iov_max = 2};

	if (amp_vq_get(vq, &b) <= 0)
		return;
	for (unsigned i = 0; i < b.iov_cnt; i++) {
		CHECK((uint8_t *)iov[i].base >= h.mem &&
		      iov[i].len <= (size_t)(h.mem + MEM_LEN - (uint8_t *)iov[i].base));
		if (vq->dir == AMP_VQ_OUT)
			memset(iov[i].base, 0x5a, iov[i].len);
	}
	amp_vq_put(vq, b.id, 16);
}

static void host_step(void)
{
	switch (amp_rproc_host_look(&h)) {
	case AMP_RPROC_DOWN:
		result(amp_rproc_host_begin(&h));
		break;
	case AMP_RPROC_UP:
		result(amp_rproc_host_up(&h, hq));
		break;
	default:
		break;
	}
	if (h.phase != AMP_RPROC_SERVING)
		return;
	use(&hq[0]);
	use(&hq[1]);
}

static void remote_step(void)
{
	switch (amp_rproc_look(&rp)) {
	case AMP_RPROC_DOWN:
		remote_up = false;
		amp_rproc_boot(&rp);
		break;
	case AMP_RPROC_UP:
		remote_up = amp_rproc_queue(&rp, 0, &rq[0]) == 0 &&
			    amp_rproc_queue(&rp, 1, &rq[1]) == 0;
		break;
	default:
		break;
	}
	if (!remote_up)
		return;
	use(&rq[0]);
	use(&rq[1]);
}

static void operate(const uint8_t *d, const struct amp_rsc_table *image)
{
	uint8_t *table = h.mem + h.table_off;
	size_t at = d[1] % (sizeof(*image) / 4) * 4;

	switch (d[0] % 10) {
	case 0: /* a word of the table, as it comes */
		memcpy(table + at, d + 1, 4);
		break;
	case 1: /* an address within the window, or nearly */
		amp_put_le32(table + at,
			     (uint32_t)DA + (amp_le16(d + 2) & 0x3ff0u) - 16u * (d[4] & 1));
		break;
	case 2: /* a small number */
		amp_put_le32(table + at, amp_le16(d + 2) & 0x1ffu);
		break;
	case 3: /* a power of two */
		amp_put_le32(table + at, 1u << (d[2] & 31));
		break;
	case 4: /* anything anywhere */
		h.mem[amp_le16(d + 1) % MEM_LEN] = d[3];
		break;
	case 5:
		memcpy(table, image, sizeof(*image));
		break;
	case 6:
		amp_rproc_host_down(&h);
		break;
	case 7:
		remote_up = false;
		amp_rproc_boot(&rp);
		break;
	case 8:
		host_step();
		break;
	default:
		remote_step();
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t len)
{
	static uint16_t state[2][NUM];
	struct amp_rsc_table image =
		AMP_RSC_TABLE_INIT((uint32_t)DA, MEM_LEN, (uint32_t)DA + MEM_LEN - 256, 256, 8,
				   16, AMP_RSC_ADDR_ANY, AMP_RSC_ADDR_ANY);
	uint8_t *mem;

	if (len < 4)
		return 0;
	if (posix_memalign((void **)&mem, 64, MEM_LEN))
		abort();
	memset(mem, 0, MEM_LEN);
	memset(&h, 0, sizeof(h));
	memset(&rp, 0, sizeof(rp));
	remote_up = false;
	image.vdev.vring[0].num = image.vdev.vring[1].num = 1u << (d[2] & 7);
	if (d[2] & 8)
		image.vdev.config_len = 0;
	if (d[2] & 16)
		image.vdev.vring[d[2] >> 5 & 1].da = (uint32_t)DA + 0x1000;
	h = (struct amp_rproc_host){.mem = mem,
				    .mem_da = DA,
				    .mem_len = MEM_LEN,
				    .buf_len = {d[3] & 1 ? 64 : 0, d[3] & 2 ? 256 : 0},
				    .buf_cnt = d[3] >> 4,
				    .state = {state[0], state[1]},
				    .state_len = NUM,
				    .table_off = d[0] * 64u % (MEM_LEN - 256) & ~3u};
	if (d[1] & 1) {
		h.shm_off = d[1] * 32u;
		h.shm_len = 0x1000;
	}
	rp = (struct amp_rproc){.table = (void *)(mem + h.table_off),
				.shm = mem,
				.shm_da = DA,
				.shm_len = MEM_LEN,
				.num = (uint16_t)image.vdev.vring[0].num,
				.align = 16};
	memcpy(mem + h.table_off, &image, sizeof(image));
	amp_rproc_boot(&rp);
	result(amp_rproc_host_init(&h, h.table_off));
	for (d += 4, len -= 4; len >= 5; d += 5, len -= 5)
		operate(d, &image);
	free(mem);
	return 0;
}
