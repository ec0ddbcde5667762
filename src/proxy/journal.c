// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls close fcntl.plock fcntl.seals fstat newfstatat mmap.data munmap poll ppoll */
/* Theory of operation: journal.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper.h"
#include "journal.h"
#include "journal_index.h"
#include "zeroed.h"

#define MAGIC	0x314a4d41u /* "AMJ1" */
#define VERSION 1u
/* It can neither be shortened under our feet nor grow: no SIGBUS. */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

#define LOCK_MS	     2000
#define LOCK_STEP_MS 5

struct conn {
	uint32_t local_cid, local_port;
	uint32_t peer_port; /* peer's CID: the guest's */
	uint32_t type;	    /* enum amp_vsock_type; 0: free */
};

struct file {
	uint32_t magic;
	uint32_t version;
	uint32_t len;
	uint32_t cid;
	uint32_t busy;
	uint32_t active;   /* which record: 0 or 1; others: none yet */
	uint32_t overflow; /* connections without an entry, ever */
	uint32_t port;	   /* the next of ours */
	struct amp_vhost_rec rec[2];
	struct conn conn[AMP_JOURNAL_CONNS];
};

/* Belongs to the loop's thread. */
struct amp_journal {
	int fd;
	uint32_t cid;
	volatile struct file *file;
	uint32_t top;	  /* entries ever used: those above are untouched pages */
	uint32_t free_at; /* next[]: list of those that were struck; index + 1 */
	uint32_t orphans;
	uint32_t lowest;		/* no orphan is below it */
	uint64_t looks;			/* for orphans: entries that were looked at, ever */
	struct amp_journal_index index; /* of orphans; while there are any */
	uint8_t orphan[AMP_JOURNAL_CONNS / 8];
	uint16_t next[AMP_JOURNAL_CONNS]; /* last: zeroed.h */
};

_Static_assert(AMP_JOURNAL_CONNS < UINT16_MAX, "index + 1 is 16 bits");

static struct amp_journal *map(int fd)
{
	struct amp_journal *j = amp_zeroed_new(sizeof(*j));
	void *p;

	if (!j)
		return NULL;
	p = mmap(NULL, sizeof(struct file), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		amp_zeroed_free(j, sizeof(*j));
		return NULL;
	}
	j->fd = fd;
	j->file = p;
	return j;
}

/*
 * Not before our predecessor is dead: when the helper was killed, it is about to be, but may be
 * at the rings still. The lock is the process's, and goes with it.
 */
static int lock(int fd)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int tries = LOCK_MS / LOCK_STEP_MS;

	while (fcntl(fd, F_SETLK, &l) < 0) {
		if ((errno != EAGAIN && errno != EACCES) || tries-- == 0)
			return -errno;
		(void)poll(NULL, 0, LOCK_STEP_MS);
	}
	return 0;
}

struct amp_journal *amp_journal_new(uint32_t cid)
{
	int fd = amp_helper_journal(sizeof(struct file));
	struct amp_journal *j = NULL;

	if (fd >= 0 && lock(fd) == 0)
		j = map(fd);
	if (!j) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	j->cid = cid;
	j->file->magic = MAGIC;
	j->file->version = VERSION;
	j->file->len = sizeof(struct file);
	j->file->cid = cid;
	j->file->active = 2;
	return j;
}

static void set_orphan(struct amp_journal *j, uint32_t i, bool on)
{
	uint8_t bit = (uint8_t)(1u << (i & 7u));

	if (on)
		j->orphan[i / 8] |= bit;
	else
		j->orphan[i / 8] &= (uint8_t)~bit;
}

static bool is_orphan(const struct amp_journal *j, uint32_t i)
{
	return j->orphan[i / 8] & 1u << (i & 7u);
}

/* What is free, and what is the predecessor's. */
static void sort(struct amp_journal *j)
{
	for (uint32_t i = AMP_JOURNAL_CONNS; i-- > 0;) {
		uint32_t type = j->file->conn[i].type;

		if (j->top == 0 && type == 0)
			continue;
		if (j->top == 0)
			j->top = i + 1;
		if (type == AMP_VSOCK_STREAM || type == AMP_VSOCK_SEQPACKET) {
			set_orphan(j, i, true);
			j->orphans++;
			continue;
		}
		j->file->conn[i].type = 0;
		j->next[i] = (uint16_t)j->free_at;
		j->free_at = i + 1;
	}
}

static void key_of(const struct amp_journal *j, uint32_t i, struct amp_journal_key *key)
{
	const volatile struct conn *c = &j->file->conn[i];

	key->local_cid = c->local_cid;
	key->local_port = c->local_port;
	key->peer_port = c->peer_port;
	key->type = c->type;
}

static uint32_t find(struct amp_journal *j, const struct amp_journal_key *want)
{
	struct amp_journal_key have;
	uint32_t at;

	for (at = amp_journal_index_first(&j->index, want); at; at = j->index.next[at - 1]) {
		j->looks++;
		key_of(j, at - 1, &have);
		if (is_orphan(j, at - 1) && memcmp(&have, want, sizeof(have)) == 0)
			return at;
	}
	return 0;
}

/* One that is there twice was not written by us, and would make its bucket long: once is enough. */
static int index_orphans(struct amp_journal *j)
{
	struct amp_journal_key key;
	int r = j->orphans ? amp_journal_index_init(&j->index, j->orphans, j->top) : 0;

	for (uint32_t i = 0; i < j->top && !r; i++) {
		uint32_t noted = i + 1;

		if (!is_orphan(j, i))
			continue;
		key_of(j, i, &key);
		if (find(j, &key))
			amp_journal_strike(j, &noted);
		else
			amp_journal_index_add(&j->index, i, &key);
	}
	return r;
}

struct amp_journal *amp_journal_open(int fd, uint32_t cid, const char **why)
{
	struct amp_journal *j = NULL;
	struct stat st;

	*why = "its journal is not a file of this version";
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    st.st_size == (off_t)sizeof(struct file) &&
	    (fcntl(fd, F_GET_SEALS) & SEALS) == SEALS) {
		j = map(fd);
		if (!j)
			*why = "no memory for its journal";
	}
	if (!j) {
		close(fd);
		return NULL;
	}
	if (j->file->magic != MAGIC || j->file->version != VERSION ||
	    j->file->len != sizeof(struct file)) {
		amp_journal_free(j);
		return NULL;
	}
	if (j->file->cid != cid) {
		*why = "the link's CID is another one now";
		amp_journal_free(j);
		return NULL;
	}
	if (lock(fd)) {
		*why = "the process before this one still has it";
		amp_journal_free(j);
		return NULL;
	}
	j->cid = cid;
	sort(j);
	if (index_orphans(j)) {
		*why = "no memory for its connections";
		amp_journal_free(j);
		return NULL;
	}
	return j;
}

void amp_journal_free(struct amp_journal *j)
{
	if (!j)
		return;
	amp_journal_index_free(&j->index);
	munmap((void *)(uintptr_t)j->file, sizeof(struct file));
	close(j->fd);
	amp_zeroed_free(j, sizeof(*j));
}

int amp_journal_fd(const struct amp_journal *j)
{
	return j->fd;
}

/*
 * Who reads does so when this process is no more: the kernel has ordered everything by then.
 * Only the compiler must not.
 */
static void in_this_order(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

void amp_journal_set_port(struct amp_journal *j, uint32_t port)
{
	if (!j)
		return;
	in_this_order();
	j->file->port = port;
	in_this_order();
}

uint32_t amp_journal_port(const struct amp_journal *j)
{
	return j->file->port;
}

void amp_journal_busy(struct amp_journal *j, bool busy)
{
	in_this_order();
	j->file->busy = busy;
	in_this_order();
}

void amp_journal_record(struct amp_journal *j, const struct amp_vhost_rec *rec)
{
	uint32_t to = j->file->active == 0;

	memcpy((void *)(uintptr_t)&j->file->rec[to], rec, sizeof(*rec));
	in_this_order();
	j->file->active = to;
}

int amp_journal_read(const struct amp_journal *j, struct amp_vhost_rec *rec)
{
	uint32_t from = j->file->active;

	if (from > 1)
		return -EINVAL;
	memcpy(rec, (const void *)(uintptr_t)&j->file->rec[from], sizeof(*rec));
	in_this_order();
	return j->file->busy ? -EBUSY : 0;
}

/* ---- connections ---- */

uint32_t amp_journal_note(struct amp_journal *j, const struct amp_vsock_ends *ends,
			  unsigned type)
{
	volatile struct conn *c;
	uint32_t i;

	if (!j)
		return 0;
	if (j->free_at) {
		i = j->free_at - 1;
		j->free_at = j->next[i];
	} else if (j->top < AMP_JOURNAL_CONNS) {
		i = j->top++;
	} else {
		j->file->overflow++;
		return 0;
	}
	c = &j->file->conn[i];
	c->local_cid = ends->local.cid;
	c->local_port = ends->local.port;
	c->peer_port = ends->peer.port;
	in_this_order();
	c->type = type;
	in_this_order();
	return i + 1;
}

void amp_journal_strike(struct amp_journal *j, uint32_t *noted)
{
	uint32_t i = *noted - 1;

	if (!j || !*noted)
		return;
	*noted = 0;
	in_this_order();
	j->file->conn[i].type = 0;
	if (is_orphan(j, i)) {
		set_orphan(j, i, false);
		if (--j->orphans == 0)
			amp_journal_index_free(&j->index);
	}
	j->next[i] = (uint16_t)j->free_at;
	j->free_at = i + 1;
}

bool amp_journal_orphan(struct amp_journal *j, uint32_t *at, struct amp_vsock_ends *ends,
			unsigned *type)
{
	bool lowest = *at <= j->lowest;
	uint32_t i = lowest ? j->lowest : *at;

	for (; i < j->top && !is_orphan(j, i); i++)
		j->looks++;
	if (lowest) /* there are never more than there were */
		j->lowest = i;
	if (i >= j->top)
		return false;
	j->looks++;
	ends->local.cid = j->file->conn[i].local_cid;
	ends->local.port = j->file->conn[i].local_port;
	ends->peer.cid = j->cid;
	ends->peer.port = j->file->conn[i].peer_port;
	*type = j->file->conn[i].type == AMP_VSOCK_SEQPACKET ? AMP_VSOCK_SEQPACKET
							     : AMP_VSOCK_STREAM;
	*at = i + 1;
	return true;
}

static uint32_t find_ends(struct amp_journal *j, const struct amp_vsock_ends *ends,
			  unsigned type)
{
	struct amp_journal_key want = {.local_cid = ends->local.cid,
				       .local_port = ends->local.port,
				       .peer_port = ends->peer.port,
				       .type = type};

	return j && j->orphans ? find(j, &want) : 0;
}

bool amp_journal_claim(struct amp_journal *j, const struct amp_vsock_ends *ends, unsigned type)
{
	uint32_t noted = find_ends(j, ends, type);

	if (!noted)
		return false;
	amp_journal_strike(j, &noted);
	return true;
}

bool amp_journal_waits(struct amp_journal *j, const struct amp_vsock_ends *ends, unsigned type)
{
	return find_ends(j, ends, type) != 0;
}

uint64_t amp_journal_looks(const struct amp_journal *j)
{
	return j->looks;
}

bool amp_journal_orphans(const struct amp_journal *j)
{
	return j && j->orphans;
}

bool amp_journal_overflown(const struct amp_journal *j)
{
	return j->file->overflow != 0;
}
