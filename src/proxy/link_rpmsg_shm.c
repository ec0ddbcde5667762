// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls close fcntl.lock fstat newfstatat mmap.data */
/*
 * Link type rpmsg-shm: firmware that shares memory with this process (a VMM's RAM file, a UIO
 * device, reserved memory, a memfd). We map it and are the rpmsg host of the resource table in
 * it: rings, buffers and the handshake of epochs (virtio/remoteproc.h).
 *
 * Theory of operation
 *
 * A link is somewhere on this way, and falls back when what it stands on goes:
 *
 *	no file -> mapped -> begun (a table is there, the remote was asked) -> up
 *
 * look() goes as far forward as it can. It runs when the doorbell rings and from a timer, so
 * nobody has to be there first: the VMM may start later, its firmware boot later still, and
 * restart. What keeps a link from going on is said once for each reason.
 *
 * A remote that reboots is seen by its epoch; a ring or message that lies, and memory that is
 * taken away (sigbus.h), end the link from this side: the remote is asked for a new
 * epoch after a pause. So is one whose doorbell has gone, for then its machine has.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../virtio/remoteproc.h"
#include "../virtio/sigbus.h"
#include "bell.h"
#include "elf.h"
#include "helper.h"
#include "rlink.h"
#include "zeroed.h"

#define LOOK_MS	  250u	/* while there is something to wait for */
#define CHECK_MS  1000u /* while up: is it the same file still? */
#define PAUSE_MS  1000u /* after a lie */
#define AGAIN_MS  10u	/* between two lives of a remote, at least */
#define RING_MAX  1024u /* entries */
#define TABLE_SEC ".resource_table"

struct link_rs {
	struct amp_rlink rl; /* first */
	struct amp_rproc_host host;
	struct amp_bell bell;
	struct amp_sigbus guard; /* has the mapping */
	uint8_t *map;		 /* NULL: not mapped */
	size_t map_len;
	int fd; /* has the lock on the table; -1: not mapped */
	dev_t dev;
	ino_t ino;
	bool begun;
	uint64_t not_before_ms; /* when to begin, and to come up, again */
	uv_timer_t timer;
	struct amp_vq vq[AMP_RPROC_VRINGS];
	uint16_t state[AMP_RPROC_VRINGS][RING_MAX];
	char said[300]; /* what the link waits for, as it was last logged */
	struct amp_log_rate log_reset, log_waits;
};

static struct link_rs *of_link(struct amp_link *link)
{
	return amp_container_of(link, struct link_rs, rl.vl.link);
}

static const struct amp_link_conf *conf_of(const struct link_rs *l)
{
	return l->rl.vl.link.conf;
}

static const char *name_of(const struct link_rs *l)
{
	return conf_of(l)->name;
}

static bool is_up(const struct link_rs *l)
{
	return l->rl.bus.in != NULL;
}

/* One line for each thing that it waits for, not for each look. */
__attribute__((format(printf, 2, 3))) static int waits(struct link_rs *l, const char *fmt, ...)
{
	char text[sizeof(l->said)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (strcmp(text, l->said))
		amp_log_some(&l->log_waits, AMP_LOG_INFO, "link %s: waiting: %s", name_of(l),
			     text);
	memcpy(l->said, text, sizeof(text));
	return -EAGAIN;
}

/* ---- the file ---- */

static void unmap(struct link_rs *l)
{
	amp_sigbus_unmap(&l->guard);
	l->guard.dead = 0;
	l->map = NULL;
	l->host.mem = NULL; /* and with it what was found there: the next table may not be */
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	l->begun = false;
}

/* The window's length, or why there is none. */
static int window(struct link_rs *l, const struct stat *st, uint64_t *len)
{
	const struct amp_shm_conf *shm = &conf_of(l)->shm;
	const char *path = conf_of(l)->path;
	uint64_t end = shm->offset + shm->size;

	*len = shm->size;
	if (S_ISCHR(st->st_mode)) /* a device says nothing of its length */
		return shm->size
			       ? 0
			       : waits(l, "%s is a device: its size must be given (size=BYTES)",
				       path);
	if (!S_ISREG(st->st_mode))
		return waits(l, "%s is neither a file nor a memory device", path);
	if ((uint64_t)st->st_size <= shm->offset)
		return waits(l, "%s has %lld bytes, none at offset %" PRIu64, path,
			     (long long)st->st_size, shm->offset);
	if ((uint64_t)st->st_size < end)
		return waits(l,
			     "%s has %lld bytes, less than offset and size say (%" PRIu64 ")",
			     path, (long long)st->st_size, end);
	if (!shm->size)
		*len = (uint64_t)st->st_size - shm->offset;
	return 0;
}

static int map_fd(struct link_rs *l, int fd)
{
	const struct amp_shm_conf *shm = &conf_of(l)->shm;
	uint64_t len, lead = shm->offset % (uint64_t)sysconf(_SC_PAGESIZE);
	struct stat st;
	void *map;

	if (fstat(fd, &st))
		return waits(l, "%s: %s", conf_of(l)->path, strerror(errno));
	if (window(l, &st, &len))
		return -EAGAIN;
	if (len > SIZE_MAX - lead)
		return waits(l, "%s: too large to map", conf_of(l)->path);
	map = mmap(NULL, (size_t)(len + lead), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_NORESERVE, fd, (off_t)(shm->offset - lead));
	if (map == MAP_FAILED)
		return waits(l, "%s: cannot map %" PRIu64 " bytes: %s", conf_of(l)->path, len,
			     strerror(errno));
	amp_sigbus_add(&l->guard, map, (size_t)(len + lead));
	l->map = (uint8_t *)map + lead;
	l->map_len = (size_t)len;
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	return 0;
}

static int map_file(struct link_rs *l)
{
	int r, fd = amp_helper_open(AMP_HELPER_MEMORY, conf_of(l)->path);

	if (fd < 0)
		return waits(l, "%s: %s", conf_of(l)->path, strerror(-fd));
	r = map_fd(l, fd);
	if (r)
		close(fd);
	else
		l->fd = fd;
	return r;
}

/* Is what is mapped still all there, and what the path leads to? */
static bool file_stands(const struct link_rs *l)
{
	const struct amp_shm_conf *shm = &conf_of(l)->shm;
	struct amp_helper_stat st;

	if (l->guard.dead)
		return false;
	if (amp_helper_stat(AMP_HELPER_MEMORY, conf_of(l)->path,
			    &st)) /* unlinked by whoever has it mapped: its affair */
		return true;
	if (st.dev != l->dev || st.ino != l->ino)
		return false;
	if (!S_ISREG(st.mode))
		return true;
	/* one that is still being made may grow */
	if (!shm->size && !is_up(l))
		return st.size == shm->offset + l->map_len;
	return st.size >= shm->offset + l->map_len;
}

/* ---- the table ---- */

/* Where the table is in the window. */
static int find_table(struct link_rs *l, size_t *off)
{
	const struct amp_shm_conf *shm = &conf_of(l)->shm;
	uint64_t base = shm->da + shm->offset, addr = shm->has_table ? shm->table : base;
	char why[300];

	if (shm->elf[0] && amp_elf_section(shm->elf, TABLE_SEC, &addr, why, sizeof(why)))
		return waits(l, "%s", why);
	if (addr < base || addr - base >= l->map_len)
		return waits(l,
			     "the resource table's address 0x%" PRIx64
			     " is outside of the window (0x%" PRIx64 " to 0x%" PRIx64
			     "): see da, offset and size",
			     addr, base, base + l->map_len);
	*off = (size_t)(addr - base);
	return 0;
}

/*
 * Two hosts of one table would take the remote from each other without end, whichever way
 * each was told of it (another path, another process): the first keeps it. The lock is
 * the descriptor's and goes with it.
 */
static int lock_table(struct link_rs *l, size_t off)
{
	struct flock at = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	fcntl(l->fd, F_OFD_SETLK, &at); /* where a table was before */
	at.l_type = F_WRLCK;
	at.l_start = (off_t)(conf_of(l)->shm.offset + off);
	at.l_len = 1;
	if (fcntl(l->fd, F_OFD_SETLK, &at) == 0 || (errno != EAGAIN && errno != EACCES))
		return 0; /* a file system without locks */
	return waits(l, "another link or process serves the resource table in %s",
		     conf_of(l)->path);
}

static int init_host(struct link_rs *l, size_t off)
{
	const struct amp_shm_conf *shm = &conf_of(l)->shm;
	struct amp_rproc_host *h = &l->host;

	memset(h, 0, sizeof(*h));
	h->mem = l->map;
	h->mem_da = shm->da + shm->offset;
	h->mem_len = l->map_len;
	if (shm->carve_size) {
		uint64_t at = shm->carveout - h->mem_da;

		if (shm->carveout < h->mem_da || at > h->mem_len ||
		    shm->carve_size > h->mem_len - at)
			return waits(l, "carveout 0x%" PRIx64 " is outside of the window",
				     shm->carveout);
		h->shm_off = (size_t)at;
		h->shm_len = (size_t)shm->carve_size;
	}
	h->buf_cnt = (uint16_t)shm->buf_cnt;
	for (unsigned q = 0; q < AMP_RPROC_VRINGS; q++) {
		h->buf_len[q] = shm->buf_len;
		h->state[q] = l->state[q];
	}
	h->state_len = RING_MAX;
	if (amp_rproc_host_init(h, off))
		return waits(l, "no good resource table at 0x%" PRIx64 " in %s: %s",
			     h->mem_da + off, conf_of(l)->path, h->why);
	return 0;
}

/* Ask for a new epoch. */
static int begin(struct link_rs *l)
{
	size_t off;

	if (amp_now_ms() < l->not_before_ms)
		return -EAGAIN;
	if (find_table(l, &off) || lock_table(l, off) || init_host(l, off))
		return -EAGAIN;
	if (amp_rproc_host_begin(&l->host))
		return waits(l, "no good resource table in %s: %s", conf_of(l)->path,
			     l->host.why);
	l->begun = true;
	amp_bell_ring(&l->bell);
	return 0;
}

/* ---- up and down ---- */

static void timer_due(uv_timer_t *t);

/* When to look again if nobody rings. */
static void set_timer(struct link_rs *l)
{
	uint64_t now = amp_now_ms(), wait = is_up(l) ? CHECK_MS : LOOK_MS;

	if (!is_up(l) && l->not_before_ms > now)
		wait = l->not_before_ms - now;
	uv_timer_start(&l->timer, timer_due, wait, 0);
}

static void detach(struct link_rs *l)
{
	amp_rlink_down(&l->rl);
	l->not_before_ms = amp_now_ms() + AGAIN_MS;
	l->begun = false;
	l->said[0] = 0;
	set_timer(l);
}

/* The remote has left, of its own accord. */
static void left(struct link_rs *l)
{
	if (is_up(l)) {
		amp_log_some(&l->rl.vl.link.log_attached, AMP_LOG_INFO,
			     "link %s: remote detached", name_of(l));
		detach(l);
	}
	l->begun = false;
}

/* It broke the rules: it hears of it, and has to begin anew. */
static void reset(struct link_rs *l, const char *why)
{
	amp_log_some(&l->log_reset, AMP_LOG_WARN, "link %s: link reset: %s", name_of(l), why);
	detach(l);
	amp_rproc_host_down(&l->host);
	amp_bell_ring(&l->bell);
	l->not_before_ms = amp_now_ms() + PAUSE_MS;
	set_timer(l);
}

static void lose_memory(struct link_rs *l)
{
	amp_log_some(&l->log_reset, AMP_LOG_WARN,
		     "link %s: link reset: %s was replaced, or cut short by its owner",
		     name_of(l), conf_of(l)->path);
	if (is_up(l))
		detach(l);
	unmap(l);
	l->said[0] = 0;
}

static void come_up(struct link_rs *l)
{
	if (amp_rproc_host_up(&l->host, l->vq)) {
		if (l->host.why)
			waits(l, "no good resource table in %s: %s", conf_of(l)->path,
			      l->host.why);
		l->begun = false;
		return;
	}
	l->said[0] = 0;
	amp_rlink_up(&l->rl, &l->vq[AMP_RPROC_TX], &l->vq[AMP_RPROC_RX],
		     amp_rproc_host_features(&l->host) & AMP_RPMSG_F_NS);
	amp_bell_ring(&l->bell);
}

/* As far forward as it goes. */
static void look(struct link_rs *l)
{
	enum amp_rproc_event ev;

	if (!l->bell.up || (!l->map && map_file(l)))
		return;
	for (unsigned i = 0; i < 2; i++) {
		if (!l->begun && begin(l))
			return;
		ev = amp_rproc_host_look(&l->host);
		if (l->guard.dead) /* what was seen is not the remote's: see run() */
			return;
		if (ev == AMP_RPROC_DOWN)
			left(l); /* and once more: it wants a new epoch */
		else if (ev == AMP_RPROC_UP)
			come_up(l);
		if (ev != AMP_RPROC_DOWN)
			break;
	}
	if (l->begun && !is_up(l))
		waits(l, "the remote to start (%s)", conf_of(l)->path);
}

/* ---- the pass ---- */

static void run(struct amp_work *work)
{
	struct link_rs *l = amp_container_of(work, struct link_rs, rl.vl.work);
	struct amp_rpmsg *bus = &l->rl.bus;
	bool ring;
	int n;

	if (l->map)
		look(l);
	if (l->guard.dead) {
		lose_memory(l);
		return;
	}
	if (!is_up(l))
		return;
	n = amp_vlink_run(&l->rl.vl);
	if (l->guard.dead) {
		lose_memory(l);
		return;
	}
	if (n < 0) {
		reset(l, bus->in->broken ? bus->in->why : bus->out->why);
		return;
	}
	/* asked again before sleep: what came in between has no kick (virtio 1.2, 2.7.13) */
	if (n == (int)AMP_VLINK_BATCH || amp_rpmsg_arm(bus))
		amp_work_queue(work);
	ring = amp_vq_kick_due(bus->in);
	if (amp_vq_kick_due(bus->out) || ring)
		amp_bell_ring(&l->bell);
}

static void timer_due(uv_timer_t *t)
{
	struct link_rs *l = t->data;

	if (l->map && !file_stands(l)) {
		if (is_up(l))
			lose_memory(l);
		else
			unmap(l);
	}
	if (!l->map)
		look(l);
	amp_work_queue(&l->rl.vl.work);
	set_timer(l);
}

static void rung(struct amp_bell *b)
{
	struct link_rs *l = amp_container_of(b, struct link_rs, bell);

	if (!l->map)
		look(l);
	amp_work_queue(&l->rl.vl.work);
}

static void lost(struct amp_bell *b)
{
	struct link_rs *l = amp_container_of(b, struct link_rs, bell);

	if (is_up(l)) {
		amp_log_some(&l->rl.vl.link.log_attached, AMP_LOG_INFO,
			     "link %s: remote detached: its doorbell is gone", name_of(l));
		detach(l);
		amp_rproc_host_down(&l->host);
	}
	unmap(l); /* the next machine may come with another file */
}

/* ---- the link ---- */

static int start(struct amp_link *link)
{
	struct link_rs *l = of_link(link);
	int r = amp_bell_start(&l->bell);

	if (r)
		return r;
	look(l);
	amp_work_queue(&l->rl.vl.work);
	set_timer(l);
	return 0;
}

static void stop(struct amp_link *link)
{
	struct link_rs *l = of_link(link);

	if (is_up(l))
		detach(l);
	if (l->map && l->host.mem && !l->guard.dead)
		amp_rproc_host_down(&l->host);
	amp_bell_ring(&l->bell);
	amp_bell_stop(&l->bell);
	uv_close((uv_handle_t *)&l->timer, NULL);
	unmap(l);
	amp_sigbus_leave(&l->guard);
	amp_rlink_fini(&l->rl);
}

static void rs_free(struct amp_link *link)
{
	struct link_rs *l = of_link(link);

	amp_rlink_free(&l->rl);
	amp_zeroed_free(l, sizeof(*l));
}

static void stats(const struct amp_link *link, char *dst, size_t len)
{
	const struct link_rs *l =
		(const void *)((const char *)link - offsetof(struct link_rs, rl.vl.link));
	size_t n = amp_rlink_stats(&l->rl, dst, len);

	snprintf(dst + n, len - n, " rings=%" PRIu64 " rung=%" PRIu64 " epoch=%" PRIu32,
		 l->bell.tx_cnt, l->bell.rx_cnt, l->host.epoch);
}

static void asked(struct amp_link *link)
{
	struct link_rs *l = of_link(link);

	if (is_up(l))
		reset(l, "an operator asked for it");
}

static const struct amp_link_ops rs_ops = {
	.type = "rpmsg-shm",
	.peer = "remote",
	.start = start,
	.stop = stop,
	.free = rs_free,
	.connect = amp_rlink_connect,
	.wanted = amp_rlink_wanted,
	.stats = stats,
	.reset = asked,
	.tap_kind = AMP_TAP_RPMSG,
	.tap = amp_rlink_tap,
};

struct amp_link *amp_link_rpmsg_shm(const struct amp_link_conf *conf)
{
	struct link_rs *l = amp_zeroed_new(sizeof(*l));

	if (!l)
		return NULL;
	l->fd = -1;
	if (amp_sigbus_enter(&l->guard)) {
		amp_zeroed_free(l, sizeof(*l));
		return NULL;
	}
	if (amp_rlink_init(&l->rl, &rs_ops, conf)) {
		amp_sigbus_leave(&l->guard);
		amp_rlink_free(&l->rl);
		amp_zeroed_free(l, sizeof(*l));
		return NULL;
	}
	l->rl.vl.work.run = run;
	l->bell.conf = &conf->shm.bell;
	l->bell.link = conf->name;
	l->bell.rung = rung;
	l->bell.lost = lost;
	amp_bell_init(&l->bell);
	uv_timer_init(amp_loop_uv(), &l->timer);
	l->timer.data = l;
	return &l->rl.vl.link;
}
