/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to journal.c: finds an orphan by its ports.
 *
 * Theory of operation
 *
 * A guest's every REQUEST is looked up among the orphans, of which there may be AMP_JOURNAL_CONNS, and
 * the guest has chosen their ports, in its predecessor's time and with all the leisure it wanted. So
 * they are in a hash table whose function is keyed with a number that it does not know, SipHash-2-4
 * (Aumasson, Bernstein: "SipHash: a fast short-input PRF"): it cannot fill one bucket.
 *
 * The table is made once, when the journal is opened, and what is in it is never taken out: the
 * bucket is a place to look at, and the journal says of each entry whether it is an orphan still.
 * With the last orphan all of it goes.
 */
#ifndef AMP_PROXY_JOURNAL_INDEX_H
#define AMP_PROXY_JOURNAL_INDEX_H

#include <stdint.h>

/* What is looked for, without gaps: zeros where there is nothing. */
struct amp_journal_key {
	uint32_t local_cid, local_port, peer_port, type;
};

struct amp_journal_index {
	uint64_t secret[2];
	uint32_t mask;	 /* of buckets */
	uint16_t *first; /* of each bucket: entry + 1, 0: none */
	uint16_t *next;	 /* behind each entry, the same */
};

/* For cnt of entries 0 to top - 1, below UINT16_MAX. 0 or -ENOMEM. */
int amp_journal_index_init(struct amp_journal_index *ix, uint32_t cnt, uint32_t top);
void amp_journal_index_free(struct amp_journal_index *ix);
void amp_journal_index_add(struct amp_journal_index *ix, uint32_t entry,
			   const struct amp_journal_key *key);
/* The first entry + 1 that may have this key, 0: none has; the rest is in next[]. */
uint32_t amp_journal_index_first(const struct amp_journal_index *ix,
				 const struct amp_journal_key *key);
/* SipHash-2-4 of len bytes. */
uint64_t amp_siphash(const uint64_t secret[2], const void *data, uint32_t len);

#endif /* AMP_PROXY_JOURNAL_INDEX_H */
