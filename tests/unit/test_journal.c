// SPDX-License-Identifier: BSD-3-Clause
/* A link's journal: orphans are found, also the last of very many, and what that costs. */
// build: src/proxy/journal.c src/proxy/journal_index.c src/proxy/zeroed.c
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/helper.h"
#include "proxy/journal.h"
#include "proxy/journal_index.h"

#define CID  3u
#define PORT 7000u

/* As the helper makes it. */
int amp_helper_journal(uint32_t len)
{
	int fd = memfd_create("test-journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)len) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW))
		abort();
	return fd;
}

static struct amp_vsock_ends ends_of(uint32_t i)
{
	struct amp_vsock_ends ends = {{2, PORT}, {CID, 1024 + i}};

	return ends;
}

/* What a process that died with cnt connections has left. */
static struct amp_journal *left_by(uint32_t cnt)
{
	struct amp_journal *j = amp_journal_new(CID);
	const char *why;
	int fd;

	assert_non_null(j);
	for (uint32_t i = 0; i < cnt; i++) {
		struct amp_vsock_ends ends = ends_of(i);

		assert_int_not_equal(amp_journal_note(j, &ends, AMP_VSOCK_STREAM), 0);
	}
	fd = dup(amp_journal_fd(j));
	amp_journal_free(j); /* its lock goes with it */
	j = amp_journal_open(fd, CID, &why);
	assert_non_null(j);
	return j;
}

static void test_siphash(void **state)
{
	/* of the paper, appendix A: bytes 0 to 14, key 0 to 15 */
	static const uint64_t key[2] = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
	uint8_t text[15];

	(void)state;
	for (uint8_t i = 0; i < sizeof(text); i++)
		text[i] = i;
	assert_true(amp_siphash(key, text, sizeof(text)) == 0xa129ca6149be45e5u);
}

/* Every orphan is found by its very ends and type, once. */
static void test_claim(void **state)
{
	enum { CNT = 1000 };
	struct amp_journal *j = left_by(CNT);

	(void)state;
	for (uint32_t i = 0; i < CNT; i += 2) {
		struct amp_vsock_ends ends = ends_of(i), other = ends;

		other.local.port++;
		assert_false(amp_journal_claim(j, &other, AMP_VSOCK_STREAM));
		other = ends;
		other.local.cid++;
		assert_false(amp_journal_claim(j, &other, AMP_VSOCK_STREAM));
		assert_false(amp_journal_claim(j, &ends, AMP_VSOCK_SEQPACKET));
		assert_true(amp_journal_waits(j, &ends, AMP_VSOCK_STREAM));
		assert_true(amp_journal_claim(j, &ends, AMP_VSOCK_STREAM));
		assert_false(amp_journal_claim(j, &ends, AMP_VSOCK_STREAM));
		assert_false(amp_journal_waits(j, &ends, AMP_VSOCK_STREAM));
		/* its place is another's, which is no orphan, whatever its ends */
		assert_int_equal(amp_journal_note(j, &ends, AMP_VSOCK_STREAM), i + 1);
		assert_false(amp_journal_claim(j, &ends, AMP_VSOCK_STREAM));
	}
	for (uint32_t at = 0, i = 1; i < CNT; i += 2) {
		struct amp_vsock_ends ends;
		uint32_t noted;
		unsigned type;

		assert_true(amp_journal_orphan(j, &at, &ends, &type));
		assert_int_equal(ends.peer.port, 1024 + i);
		noted = at;
		amp_journal_strike(j, &noted);
	}
	assert_false(amp_journal_orphans(j));
	amp_journal_free(j);
}

/* As many as there can be: a look-up, and telling them one by one, cost no search through all. */
static void test_cost(void **state)
{
	struct amp_journal *j = left_by(AMP_JOURNAL_CONNS);
	struct amp_vsock_ends ends;
	uint64_t before = amp_journal_looks(j);

	(void)state;
	for (uint32_t i = 0; i < AMP_JOURNAL_CONNS; i++) { /* of none of them */
		ends = ends_of(AMP_JOURNAL_CONNS + i);
		assert_false(amp_journal_claim(j, &ends, AMP_VSOCK_STREAM));
	}
	/* one bucket for each entry: one other in it, on average */
	assert_in_range(amp_journal_looks(j) - before, 1, 2 * AMP_JOURNAL_CONNS);
	before = amp_journal_looks(j);
	for (uint32_t i = AMP_JOURNAL_CONNS; i-- > AMP_JOURNAL_CONNS / 2;) {
		ends = ends_of(i);
		assert_true(amp_journal_claim(j, &ends, AMP_VSOCK_STREAM));
	}
	assert_in_range(amp_journal_looks(j) - before, 1, AMP_JOURNAL_CONNS);
	before = amp_journal_looks(j);
	while (amp_journal_orphans(j)) { /* as link_vv_keep.c does */
		uint32_t at = 0;
		unsigned type;

		assert_true(amp_journal_orphan(j, &at, &ends, &type));
		amp_journal_strike(j, &at);
	}
	assert_in_range(amp_journal_looks(j) - before, 1, 2 * AMP_JOURNAL_CONNS);
	amp_journal_free(j);
}

/* What was written by a process gone wrong: the same over and over. */
static void test_same(void **state)
{
	struct amp_journal *j = amp_journal_new(CID);
	struct amp_vsock_ends ends = ends_of(0);
	const char *why;
	uint64_t before;
	int fd;

	(void)state;
	assert_non_null(j);
	for (uint32_t i = 0; i < AMP_JOURNAL_CONNS; i++)
		assert_int_not_equal(amp_journal_note(j, &ends, AMP_VSOCK_STREAM), 0);
	fd = dup(amp_journal_fd(j));
	amp_journal_free(j);
	j = amp_journal_open(fd, CID, &why);
	assert_non_null(j);
	assert_in_range(amp_journal_looks(j), 1, AMP_JOURNAL_CONNS);
	before = amp_journal_looks(j);
	assert_true(amp_journal_claim(j, &ends, AMP_VSOCK_STREAM));
	assert_false(amp_journal_orphans(j));
	assert_in_range(amp_journal_looks(j) - before, 1, 1);
	amp_journal_free(j);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_siphash),
		cmocka_unit_test(test_claim),
		cmocka_unit_test(test_cost),
		cmocka_unit_test(test_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
