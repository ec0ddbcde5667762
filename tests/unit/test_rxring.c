// SPDX-License-Identifier: BSD-3-Clause
// build: -O1 src/socket/rxring.c
/* Receive rings against a plain model: bytes, messages, wrap-around, hostile fragments. */
#define AMPSOCK_CONFIG "port/hosted_config.h" /* as the library it is linked with */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "socket/family.h"

static uint8_t ring_mem[AMPSOCK_RING_LEN];
static struct amp_sock sk;
static uint32_t seed;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % below;
}

static int fresh(void **state)
{
	(void)state;
	memset(&sk, 0, sizeof(sk));
	sk.rx.buf = ring_mem;
	/* just before the counters wrap */
	sk.rx.head = sk.rx.tail = (AMP_RING_IDX)(0u - 1000u);
	seed = 1;
	return 0;
}

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 2654435761u >> 13);
}

static void test_bytes(void **state)
{
	static uint8_t tmp[5000];
	size_t put = 0, got = 0, direct;

	(void)state;
	for (int k = 0; k < 20000; k++) {
		size_t n = rnd(sizeof(tmp)), room = amp_rxring_room(&sk.rx);
		struct iovec v[2] = {{tmp, n / 3}, {tmp + 2500, sizeof(tmp) - 2500}};

		if (rnd(2)) {
			for (size_t i = 0; i < n; i++)
				tmp[i] = byte_at(put + i);
			n = amp_sock_rx(&sk, tmp, n, &direct);
			assert_int_equal(direct, 0);
			assert_true(n <= room);
			put += n;
		} else {
			struct amp_msg m = {.iov = v, .iov_cnt = 2};
			size_t peeked = amp_rxring_read(&sk.rx, sk.rx.tail, &m, n);
			size_t skip = rnd(50);

			m.done = skip;
			n = amp_rxring_read(&sk.rx, sk.rx.tail, &m, n);
			sk.rx.tail = (AMP_RING_IDX)(sk.rx.tail + n);
			assert_true(n <= peeked + skip);
			for (size_t i = 0; i < n; i++) {
				size_t at = skip + i;
				uint8_t b = at < v[0].iov_len ? tmp[at]
							      : tmp[2500 + at - v[0].iov_len];

				assert_int_equal(b, byte_at(got + i));
			}
			got += n;
		}
		assert_int_equal(amp_rxring_used(&sk.rx), put - got);
	}
}

static void test_want(void **state)
{
	uint8_t a[16] = {0};
	struct amp_rx_want w = {.to = a + 3, .end = a + 15};
	size_t direct;

	(void)state;
	sk.want = &w;
	assert_int_equal(amp_sock_rx(&sk, "01234", 5, &direct), 5);
	assert_int_equal(direct, 5);
	assert_int_equal(amp_sock_rx(&sk, "56789abcdef", 11, &direct), 11);
	assert_int_equal(direct, 7);
	assert_ptr_equal(w.to, a + 15);
	assert_memory_equal(a,
			    "\0\0\0"
			    "0123456789ab",
			    16);
	/* in order: what follows older bytes goes behind them, whatever the caller's room */
	w.to = a;
	assert_int_equal(amp_sock_rx(&sk, "gh", 2, &direct), 2);
	assert_int_equal(direct, 0);
	assert_int_equal(amp_rxring_used(&sk.rx), 6);
}

static void test_full(void **state)
{
	static uint8_t big[AMPSOCK_RING_LEN + 10];
	size_t direct;

	(void)state;
	assert_int_equal(amp_sock_rx(&sk, big, sizeof(big), &direct), AMPSOCK_RING_LEN);
	assert_int_equal(amp_sock_rx(&sk, big, 1, &direct), 0);
	assert_int_equal(amp_rxring_room(&sk.rx), 0);
}

#define MODEL (1 << 18)
static struct {
	size_t len, at;
	bool eor;
} model[MODEL];

/*
 * A peer that keeps to its credit, but cuts messages as meanly as it can, never hits the
 * end of the ring; and every message comes out as it went in.
 */
static void messages(uint32_t max_len, uint32_t max_piece, int turns)
{
	static uint8_t tmp[70000];
	size_t first = 0, last = 0, sent = 0, credit = AMP_RING_MSG_ALLOC, left = 0;
	bool start = true;

	fresh(NULL);

	for (int k = 0; k < turns; k++) {
		if (rnd(3) && last - first < MODEL - 1) {
			size_t n;

			if (left == 0 && start) {
				left = 1 + rnd(max_len);
				model[last % MODEL].at = sent;
				model[last % MODEL].len = left;
				model[last % MODEL].eor = rnd(2);
			}
			n = 1 + rnd(max_piece);
			if (n > left)
				n = left;
			if (n > credit)
				continue; /* no credit: the reader's turn */
			for (size_t i = 0; i < n; i++)
				tmp[i] = byte_at(sent + i);
			left -= n;
			assert_int_equal(amp_rxring_msg_append(
						 &sk, tmp, n,
						 left ? 0
						      : AMP_RX_LAST | (model[last % MODEL].eor
									       ? AMP_RX_EOR
									       : 0)),
					 0);
			credit -= n;
			sent += n;
			start = left == 0;
			if (start)
				last++;
		} else {
			struct iovec v = {tmp, sizeof(tmp)};
			struct amp_msg m = {.iov = &v, .iov_cnt = 1};
			size_t full, want = model[first % MODEL].len;
			bool peek = rnd(2);
			ssize_t n;

			v.iov_len = rnd(4) ? sizeof(tmp) : rnd(100);
			n = amp_rxring_msg_read(&sk.rx, &m, peek, &full);
			if (first == last) {
				assert_int_equal(n, -EAGAIN);
				continue;
			}
			assert_int_equal(full, want);
			assert_int_equal(n, want < v.iov_len ? want : v.iov_len);
			assert_int_equal((m.flags & MSG_EOR) != 0, model[first % MODEL].eor);
			assert_int_equal((m.flags & MSG_TRUNC) != 0, want > v.iov_len);
			for (ssize_t i = 0; i < n; i++)
				assert_int_equal(tmp[i],
						 byte_at(model[first % MODEL].at + (size_t)i));
			if (!peek) {
				credit += full;
				first++;
			}
		}
	}
}

static void test_messages(void **state)
{
	(void)state;
	messages(60000, 70000, 20000);
	messages(70, 70, 100000);
	messages(70, 3, 400000);
	messages(3, 1, 600000);
	messages(1, 1, 600000);
	messages(5000, 7, 200000);
}

/* The dearest that credit buys, to its last byte: all of one byte, but the last, which is not over. */
static void test_brim(void **state)
{
	static const size_t last[] = {1, 3, 63, 64, 200};
	uint8_t tmp[200];
	struct iovec v = {tmp, sizeof(tmp)};

	(void)state;
	for (size_t k = 0; k < sizeof(last) / sizeof(last[0]); k++) {
		struct amp_msg m = {.iov = &v, .iov_cnt = 1};
		size_t full, ones = AMP_RING_MSG_ALLOC - last[k];

		for (size_t i = 0; i < ones; i++)
			assert_int_equal(amp_rxring_msg_append(&sk, "x", 1, AMP_RX_LAST), 0);
		for (size_t i = 0; i < last[k]; i++) {
			tmp[0] = byte_at(i);
			assert_int_equal(amp_rxring_msg_append(&sk, tmp, 1, 0), 0);
		}
		for (size_t i = 0; i < ones; i++) {
			assert_int_equal(amp_rxring_msg_read(&sk.rx, &m, false, &full), 1);
			assert_int_equal(full, 1);
			assert_int_equal(tmp[0], 'x');
		}
		assert_int_equal(amp_rxring_msg_read(&sk.rx, &m, false, &full), -EAGAIN);
		assert_int_equal(amp_rxring_msg_append(&sk, "", 0, AMP_RX_LAST), 0);
		assert_int_equal(amp_rxring_msg_read(&sk.rx, &m, false, &full), last[k]);
		for (size_t i = 0; i < last[k]; i++)
			assert_int_equal(tmp[i], byte_at(i));
	}
}

/* Empty ones cost a byte each without credit: refused when the ring is full, nothing breaks. */
static void test_empty_flood(void **state)
{
	struct iovec v = {NULL, 0};
	struct amp_msg m = {.iov = &v, .iov_cnt = 1};
	size_t full, n = 0;

	(void)state;
	while (amp_rxring_msg_append(&sk, "", 0, AMP_RX_LAST) == 0)
		n++;
	assert_int_equal(n, AMPSOCK_RING_LEN);
	while (amp_rxring_msg_read(&sk.rx, &m, false, &full) == 0)
		n--;
	assert_int_equal(n, 0);
}

#define T(f) cmocka_unit_test_setup(f, fresh)

/* The time-outs of small firmware: never shorter than asked for, and at most a thousandth longer. */
static void test_packed_timeouts(void **state)
{
	uint32_t ms, step;

	(void)state;
	for (ms = 0; ms <= 0x7ffu; ms++)
		assert_int_equal(amp_timeo_unpack(amp_timeo_pack(ms)), ms);
	for (step = 1; ms < AMP_TIMEO_MAX_MS - step; ms += step) {
		uint32_t got = amp_timeo_unpack(amp_timeo_pack(ms));

		assert_true(got >= ms && got - ms <= ms / 1000u);
		step += step < 1u << 22 ? step / 7 + 1 : 0;
	}
	assert_int_equal(amp_timeo_unpack(amp_timeo_pack(AMP_TIMEO_MAX_MS)), AMP_TIMEO_MAX_MS);
	assert_int_equal(amp_timeo_unpack(amp_timeo_pack(3500)), 3500);
	assert_int_equal(amp_timeo_unpack(amp_timeo_pack(60000)), 60000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_bytes),		 T(test_want), T(test_full),
		T(test_messages),	 T(test_brim), T(test_empty_flood),
		T(test_packed_timeouts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
