/* SPDX-License-Identifier: BSD-3-Clause */
/* The offload codecs: what put writes get reads, and what put could not write get refuses. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "../../src/wire/offload.h"

static const struct amp_off_addr v4 = {
	.family = AMP_OFF_INET, .port = 0x1234, .addr = {10, 0, 2, 3}};
static const struct amp_off_addr v6 = {
	.family = AMP_OFF_INET6, .port = 443, .scope_id = 7, .addr = {0xfe, 0x80, [15] = 1}};

static struct amp_off_open open_example(void)
{
	return (struct amp_off_open){
		.magic = AMP_OFF_MAGIC,
		.version = AMP_OFF_VERSION,
		.op = AMP_OFF_CONNECT,
		.len = AMP_OFF_OPEN_LEN + 5,
		.token = 0x1122334455667788ull,
		.family = AMP_OFF_INET,
		.type = AMP_OFF_STREAM,
		.max_frame = 4096,
		.bound_id = 9,
		.features = 0,
		.opts_set = 1u << AMP_OFF_TCP_NODELAY | 1u << AMP_OFF_SO_KEEPALIVE,
		.opts = 1u << AMP_OFF_TCP_NODELAY,
		.keepidle_s = 600,
		.keepintvl_s = 30,
		.keepcnt = 4,
		.linger = 3,
		.peer = v4,
		.name_len = 5,
	};
}

static void addr_bytes(void **state)
{
	static const uint8_t want[24] = {1, 0, 0x34, 0x12, 0, 0, 0, 0, 10, 0, 2, 3};
	struct amp_off_addr a, junk = {.family = 0, .port = 9, .addr = {1}};
	uint8_t p[24];
	size_t i;

	(void)state;
	amp_off_put_addr(p, &v4);
	assert_memory_equal(p, want, 24);
	amp_off_put_addr(p, &v6);
	assert_true(amp_off_get_addr(p, &a));
	assert_int_equal(a.scope_id, 7);
	assert_int_equal(a.port, 443);
	assert_memory_equal(a.addr, v6.addr, 16);
	amp_off_put_addr(p, &junk); /* no address is all zero, whatever else the struct holds */
	for (i = 0; i < 24; i++)
		assert_int_equal(p[i], 0);
	assert_true(amp_off_get_addr(p, &a));
	for (i = 0; i < 24;
	     i++) { /* any other byte of no address: refused, or another family */
		memset(p, 0, 24);
		p[i] = 3;
		assert_false(amp_off_get_addr(p, &a));
	}
	for (i = 12; i < 24; i++) {
		amp_off_put_addr(p, &v4);
		p[i] = 1;
		assert_false(amp_off_get_addr(p, &a));
	}
}

static void open_round_trip(void **state)
{
	struct amp_off_open o = open_example(), q;
	uint8_t p[AMP_OFF_OPEN_LEN], r[AMP_OFF_OPEN_LEN];

	(void)state;
	amp_off_put_open(p, &o);
	assert_memory_equal(p, "AMSP", 4);
	assert_int_equal(p[4], 1);
	assert_int_equal(p[6], 125);
	assert_int_equal(p[8], 0x88);
	assert_int_equal(p[96], 5);
	assert_int_equal(amp_off_get_open(p, &q), AMP_OFF_OK);
	amp_off_put_open(r, &q);
	assert_memory_equal(p, r, sizeof(p));
	assert_int_equal(q.token == o.token, 1);
	assert_int_equal(q.keepcnt, 4);
}

static int open_with(void (*change)(struct amp_off_open *o))
{
	struct amp_off_open o = open_example(), q;
	uint8_t p[AMP_OFF_OPEN_LEN];

	change(&o);
	amp_off_put_open(p, &o);
	return amp_off_get_open(p, &q);
}

static void ch_magic(struct amp_off_open *o)
{
	o->magic ^= 1;
}
static void ch_version(struct amp_off_open *o)
{
	o->version = 2;
}
static void ch_len(struct amp_off_open *o)
{
	o->len++;
}
static void ch_short(struct amp_off_open *o)
{
	o->len = 8;
}
static void ch_op(struct amp_off_open *o)
{
	o->op = AMP_OFF_PING;
}
static void ch_type(struct amp_off_open *o)
{
	o->type = AMP_OFF_DGRAM;
}
static void ch_family(struct amp_off_open *o)
{
	o->family = 3;
}
static void ch_mixed(struct amp_off_open *o)
{
	o->local = v6;
}
static void ch_opts(struct amp_off_open *o)
{
	o->opts |= 1u << AMP_OFF_SO_BROADCAST;
}
static void ch_opt0(struct amp_off_open *o)
{
	o->opts_set |= 1u;
}
static void ch_opt31(struct amp_off_open *o)
{
	o->opts_set |= 1u << 31;
}
static void ch_nowhere(struct amp_off_open *o)
{
	o->peer.family = 0;
	o->name_len = 0;
	o->len = AMP_OFF_OPEN_LEN;
}
static void ch_hello(struct amp_off_open *o)
{
	o->op = AMP_OFF_HELLO;
}
static void ch_udp(struct amp_off_open *o)
{
	o->op = AMP_OFF_UDP;
}

static void open_refused(void **state)
{
	static void (*const bad[])(struct amp_off_open *) = {
		ch_magic, ch_len,  ch_short, ch_op,	 ch_type,  ch_family, ch_mixed,
		ch_opts,  ch_opt0, ch_opt31, ch_nowhere, ch_hello, ch_udp,
	};
	static const uint8_t reserved[] = {18, 19, 47, 49, 73, 97, 110, 119};
	struct amp_off_open o = open_example(), q;
	uint8_t p[AMP_OFF_OPEN_LEN];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(open_with(bad[i]), AMP_OFF_EPROTO);
	assert_int_equal(open_with(ch_version), AMP_OFF_EPROTONOSUPPORT);
	for (i = 0; i < sizeof(reserved); i++) {
		amp_off_put_open(p, &o);
		p[reserved[i]] ^= 0x40;
		assert_int_equal(amp_off_get_open(p, &q), AMP_OFF_EPROTO);
	}
}

static void open_hello_and_udp(void **state)
{
	struct amp_off_open h = {.magic = AMP_OFF_MAGIC,
				 .version = AMP_OFF_VERSION,
				 .op = AMP_OFF_HELLO,
				 .len = AMP_OFF_OPEN_LEN,
				 .max_frame = 768};
	struct amp_off_open u = {.magic = AMP_OFF_MAGIC,
				 .version = AMP_OFF_VERSION,
				 .op = AMP_OFF_UDP,
				 .len = AMP_OFF_OPEN_LEN,
				 .token = 1,
				 .family = AMP_OFF_INET6,
				 .type = AMP_OFF_DGRAM,
				 .local = v6};
	struct amp_off_open q;
	uint8_t p[AMP_OFF_OPEN_LEN];

	(void)state;
	amp_off_put_open(p, &h);
	assert_int_equal(amp_off_get_open(p, &q), AMP_OFF_OK);
	assert_int_equal(q.max_frame, 768);
	amp_off_put_open(p, &u);
	assert_int_equal(amp_off_get_open(p, &q), AMP_OFF_OK);
	assert_int_equal(q.local.scope_id, 7);
}

static void answer_round_trip(void **state)
{
	struct amp_off_answer a = {.magic = AMP_OFF_MAGIC,
				   .version = AMP_OFF_VERSION,
				   .op = AMP_OFF_ACCEPT,
				   .status = 5,
				   .id = 77,
				   .arg = 3,
				   .token = ~0ull,
				   .max_frame = 65535,
				   .local = v4,
				   .peer = v6},
			      b;
	uint8_t p[AMP_OFF_ANSWER_LEN], q[AMP_OFF_ANSWER_LEN];
	size_t i;

	(void)state;
	amp_off_put_answer(p, &a);
	assert_int_equal(amp_off_get_answer(p, &b), AMP_OFF_OK);
	amp_off_put_answer(q, &b);
	assert_memory_equal(p, q, sizeof(p));
	assert_int_equal(b.id, 77);
	p[4] = 9;
	assert_int_equal(amp_off_get_answer(p, &b), AMP_OFF_EPROTONOSUPPORT);
	p[0] = 0;
	assert_int_equal(amp_off_get_answer(p, &b), AMP_OFF_EPROTO);
	for (i = 28; i < 40; i++) {
		amp_off_put_answer(p, &a);
		p[i] = 1;
		assert_int_equal(amp_off_get_answer(p, &b), AMP_OFF_EPROTO);
	}
}

static void ctl_bounds(void **state)
{
	static const struct {
		uint16_t len;
		bool ok;
	} t[] = {{0, false}, {7, false}, {8, true}, {768, true}, {769, false}, {65535, false}};
	struct amp_off_ctl c = {.op = AMP_OFF_BIND | AMP_OFF_REPLY,
				.status = 3,
				.seq = 0xfffffffe},
			   d;
	uint8_t p[AMP_OFF_CTL_LEN];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		c.len = t[i].len;
		amp_off_put_ctl(p, &c);
		assert_int_equal(amp_off_get_ctl(p, &d), t[i].ok);
		assert_int_equal(d.len, t[i].len);
		assert_int_equal(d.op, 146);
		assert_int_equal(d.seq == c.seq && d.status == 3, 1);
	}
}

static void udp_lengths_agree(void **state)
{
	static const struct {
		uint16_t len;
		uint8_t kind, flags;
		uint32_t arg;
		bool ok;
	} t[] = {
		{32, AMP_OFF_UDP_DATA, 0, 0, true},  /* 0-byte datagram */
		{31, AMP_OFF_UDP_DATA, 0, 0, false}, /* shorter than its header */
		{0, AMP_OFF_UDP_DATA, 0, 0, false},
		{40, AMP_OFF_UDP_DATA, 0, 8, true},
		{40, AMP_OFF_UDP_DATA, 0, 9, false}, /* truncated without saying so */
		{40, AMP_OFF_UDP_DATA, 0, 7, false},
		{40, AMP_OFF_UDP_DATA, 1, 9, true},
		{40, AMP_OFF_UDP_DATA, 1, 8, false}, /* TRUNC, and nothing is missing */
		{40, AMP_OFF_UDP_DATA, 1, 65535, true},
		{40, AMP_OFF_UDP_DATA, 1, 65536, false}, /* no datagram is that long */
		{40, AMP_OFF_UDP_DATA, 1, 0xfffffff5, false},
		{40, AMP_OFF_UDP_DATA, 3, 9, false}, /* unknown flag */
		{65535, AMP_OFF_UDP_DATA, 0, 65503, true},
		{32, AMP_OFF_UDP_ERROR, 0, 6, true},
		{33, AMP_OFF_UDP_ERROR, 0, 6, false},
		{32, AMP_OFF_UDP_ERROR, 0, 0, false}, /* an error that is none */
		{32, AMP_OFF_UDP_DROPS, 0, 1000, true},
		{32, 3, 0, 0, false}, /* unknown kind */
	};
	struct amp_off_udp u = {.addr = v4}, v;
	uint8_t p[AMP_OFF_UDP_LEN];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		u.len = t[i].len;
		u.kind = t[i].kind;
		u.flags = t[i].flags;
		u.arg = t[i].arg;
		amp_off_put_udp(p, &u);
		assert_int_equal(amp_off_get_udp(p, &v), t[i].ok);
	}
	p[9] = 1; /* reserved byte of the address */
	assert_false(amp_off_get_udp(p, &v));
}

static void errno_both_ways(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i <= AMP_OFF_ESTALE; i++)
		assert_int_equal(amp_off_status(amp_off_errno(i)),
				 i == AMP_OFF_EAGAIN ? AMP_OFF_ENOBUFS : i);
	assert_int_equal(amp_off_status(EAGAIN), AMP_OFF_EAGAIN);
	assert_int_equal(amp_off_errno(AMP_OFF_ECONNREFUSED), ECONNREFUSED);
	assert_int_equal(amp_off_errno(AMP_OFF_ESTALE + 1), EIO);
	assert_int_equal(amp_off_errno(0xffff), EIO);
	assert_int_equal(amp_off_status(EXDEV), AMP_OFF_EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addr_bytes),	     cmocka_unit_test(open_round_trip),
		cmocka_unit_test(open_refused),	     cmocka_unit_test(open_hello_and_udp),
		cmocka_unit_test(answer_round_trip), cmocka_unit_test(ctl_bounds),
		cmocka_unit_test(udp_lengths_agree), cmocka_unit_test(errno_both_ways),
	};

	return cmocka_run_group_tests_name("offload", tests, NULL, NULL);
}
