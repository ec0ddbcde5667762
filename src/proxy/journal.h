/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A link's journal: what a successor of this process must know of a guest, in memory that
 * outlives the process.
 *
 * Theory of operation
 *
 * It is a sealed memory file, which the helper keeps open. In it are the vhost-user record
 * (vhost_user_keep.h), twice, so that there is always one that is whole, and the list of
 * connections that the guest believes in: an entry is written before a packet goes out or is
 * put that tells the guest of the connection, and struck when its RST has gone. The
 * successor says RST for each that it finds. That is what a virtio-vsock transport reset event
 * is for; but QEMU keeps the event queue to itself, so a guest that only waits for data would
 * never hear that nobody is there to send any.
 *
 * `busy` is set while messages of the front-end are being handled: a process that dies then
 * has taken a message from the socket that the record does not know. No successor can make up
 * for that, and it says so instead of serving a device that is set up by half.
 *
 * Everything read from here was written by a process that crashed, perhaps because a guest
 * made it do so: it is copied once and checked before it is used.
 */
#ifndef AMP_PROXY_JOURNAL_H
#define AMP_PROXY_JOURNAL_H

#include "../virtio/vhost_user_keep.h"
#include "../vsock/vsock.h"

/* Ends of one guest and its share of joined pairs. */
#define AMP_JOURNAL_CONNS 16384u

struct amp_journal;

/* A new one for the guest with this CID: NULL: no memory, no descriptor. */
struct amp_journal *amp_journal_new(uint32_t cid);
/* What a predecessor left; fd is ours, whatever comes of it. NULL and *why: no good. */
struct amp_journal *amp_journal_open(int fd, uint32_t cid, const char **why);
void amp_journal_free(struct amp_journal *j);
int amp_journal_fd(const struct amp_journal *j);

/*
 * The next port of our side. A guest may answer the predecessor's request when it has the
 * successor's already: they must not be for one pair of ports.
 */
void amp_journal_set_port(struct amp_journal *j, uint32_t port); /* j may be NULL */
uint32_t amp_journal_port(const struct amp_journal *j);

/* Messages are being handled. */
void amp_journal_busy(struct amp_journal *j, bool busy);
/* The record from now on. */
void amp_journal_record(struct amp_journal *j, const struct amp_vhost_rec *rec);
/* The predecessor's record. 0; -EBUSY: it died in the middle of a message; -EINVAL: none. */
int amp_journal_read(const struct amp_journal *j, struct amp_vhost_rec *rec);

/* The guest is about to hear of a connection. j may be NULL. Returns what strike takes;
 * 0: not written down. */
uint32_t amp_journal_note(struct amp_journal *j, const struct amp_vsock_ends *ends,
			  unsigned type);
void amp_journal_strike(struct amp_journal *j, uint32_t *noted);

/*
 * Connections of the predecessor that the guest has not been told of yet: the next behind *at
 * (0 at first), which becomes what strike takes. False: no more.
 */
bool amp_journal_orphan(struct amp_journal *j, uint32_t *at, struct amp_vsock_ends *ends,
			unsigned *type);
/* The same pair once more, from the guest: struck if it was an orphan. True: it was. */
bool amp_journal_claim(struct amp_journal *j, const struct amp_vsock_ends *ends, unsigned type);
/* An orphan is it still. */
bool amp_journal_waits(struct amp_journal *j, const struct amp_vsock_ends *ends, unsigned type);
/* What finding orphans has cost so far: entries that were looked at. */
uint64_t amp_journal_looks(const struct amp_journal *j);
/* Orphans are left. */
bool amp_journal_orphans(const struct amp_journal *j);
/* There was no room for all of them. */
bool amp_journal_overflown(const struct amp_journal *j);

#endif /* AMP_PROXY_JOURNAL_H */
