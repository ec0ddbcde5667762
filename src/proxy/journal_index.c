// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls getrandom */
/* Theory of operation: journal_index.h. */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "../wire/le.h"
#include "journal_index.h"

static uint64_t rotate(uint64_t v, unsigned by)
{
	return v << by | v >> (64 - by);
}

static void round_of(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

static void word(uint64_t v[4], uint64_t m)
{
	v[3] ^= m;
	round_of(v);
	round_of(v);
	v[0] ^= m;
}

uint64_t amp_siphash(const uint64_t secret[2], const void *data, uint32_t len)
{
	uint64_t v[4] = {secret[0] ^ 0x736f6d6570736575u, secret[1] ^ 0x646f72616e646f6du,
			 secret[0] ^ 0x6c7967656e657261u, secret[1] ^ 0x7465646279746573u};
	uint64_t last = (uint64_t)len << 56;
	const uint8_t *p = data;

	for (; len >= 8; len -= 8, p += 8)
		word(v, amp_le64(p));
	for (uint32_t i = 0; i < len; i++)
		last |= (uint64_t)p[i] << (8 * i);
	word(v, last);
	v[2] ^= 0xff;
	for (unsigned i = 0; i < 4; i++)
		round_of(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

int amp_journal_index_init(struct amp_journal_index *ix, uint32_t cnt, uint32_t top)
{
	uint32_t buckets = 1;

	while (buckets < cnt)
		buckets *= 2;
	ix->mask = buckets - 1;
	ix->first = calloc(buckets, sizeof(*ix->first));
	ix->next = calloc(top, sizeof(*ix->next));
	if (ix->first && ix->next &&
	    getrandom(ix->secret, sizeof(ix->secret), 0) == (ssize_t)sizeof(ix->secret))
		return 0;
	amp_journal_index_free(ix);
	return -ENOMEM;
}

void amp_journal_index_free(struct amp_journal_index *ix)
{
	free(ix->first);
	free(ix->next);
	ix->first = ix->next = NULL;
}

static uint16_t *bucket(const struct amp_journal_index *ix, const struct amp_journal_key *key)
{
	return &ix->first[amp_siphash(ix->secret, key, sizeof(*key)) & ix->mask];
}

void amp_journal_index_add(struct amp_journal_index *ix, uint32_t entry,
			   const struct amp_journal_key *key)
{
	uint16_t *first = bucket(ix, key);

	ix->next[entry] = *first;
	*first = (uint16_t)(entry + 1);
}

uint32_t amp_journal_index_first(const struct amp_journal_index *ix,
				 const struct amp_journal_key *key)
{
	return ix->first ? *bucket(ix, key) : 0;
}
