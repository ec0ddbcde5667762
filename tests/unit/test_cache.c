// SPDX-License-Identifier: BSD-3-Clause
// Cache maintenance: host and remote on cores that do not share a cache (cache_rig.h).
// build: -O1 src/af_rpmsg/rpmsg.c src/virtio/vq_split.c -DAMPSOCK_CACHE_HOOKS=1 -DAMPSOCK_VQ_WARM=0 -include tests/unit/cache_site.h
// timeout: 120
/*
 * One script of all that a bus does, checked at every step. It must succeed with lines of
 * any length, whatever the caches do of themselves; and it must fail as soon as any one
 * call of a hook is left out, or that call has no business in the code. Where lines are
 * shared by both sides it must fail, too: docs/porting.md says what a board has to do.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "af_rpmsg/rpmsg.h"
#include "cache_rig.h"
#include "wire/le.h"

#define BUS_BASE 0x40000000u /* where memory lies for a device's DMA, so to speak */
#define NUM_MAX	 64u

enum { UP, DOWN }; /* vring0: remote to host; vring1 */

struct config {
	uint16_t num;
	uint32_t buf_len;
	uint32_t line;
	bool event_idx;
	uint32_t align;	     /* of what one core writes against what the other does */
	uint32_t used_align; /* the same of a ring's two halves */
	unsigned rounds;
	bool posted; /* the other script */
	uint32_t restless;
};

struct core {
	struct amp_rpmsg bus; /* first */
	struct amp_rpmsg_ept *hash[2];
	struct amp_rpmsg_named svc;
	struct amp_rpmsg_ept plain;
	struct amp_vq in, out;
	uint16_t state[2][NUM_MAX];
	uint32_t seq, len; /* of the next message out */
	uint32_t want_seq, want_len;
	unsigned got, names, tx_ready;
	bool asleep; /* waits for a kick */
	bool waits;  /* for buffers */
	bool hold;
	struct amp_rpmsg_rx held[2];
	unsigned held_cnt;
	bool wrong; /* a message or a name was not what it should be */
};

static struct {
	struct core core[2];
	struct config cfg;
	size_t desc[2], avail[2], used[2], used_end[2], pool[2];
	bool device_init;
	unsigned lives;
} w;

#define WANT(x)                        \
	do {                           \
		if (!(x))              \
			return #x;     \
		if (cr.err)            \
			return cr.err; \
	} while (0)
#define DO(x)                      \
	do {                       \
		const char *e_;    \
		cr.step = #x;      \
		e_ = x;            \
		if (e_)            \
			return e_; \
	} while (0)

/* ---- what the owner of a bus does ---- */

/* below 0x80: cr_forget() */
static uint8_t message_byte(uint32_t seq, uint32_t i)
{
	return (seq * 31u + i * 5u) & 0x7f;
}

static bool is_message(const uint8_t *p, uint32_t len, uint32_t seq)
{
	for (uint32_t i = 0; i < len; i++)
		if (p[i] != message_byte(seq, i))
			return false;
	return true;
}

static int on_data(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept,
		   const struct amp_rpmsg_rx *rx)
{
	struct core *c = (struct core *)bus;

	(void)ept;
	c->wrong |= rx->len != c->want_len++ || !is_message(rx->data, rx->len, c->want_seq++) ||
		    rx->src != 7 || rx->dst != 20;
	c->got++;
	if (!c->hold)
		return 0;
	c->held[c->held_cnt++] = *rx;
	return 1;
}

static void on_service(struct amp_rpmsg *bus, const char *name, uint32_t addr, bool gone)
{
	struct core *c = (struct core *)bus;

	c->names++;
	c->wrong |= strcmp(name, "service") != 0 || addr != 1024 || gone;
}

static void on_tx_ready(struct amp_rpmsg *bus)
{
	((struct core *)bus)->tx_ready++;
}

static void on_gone(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept)
{
	(void)ept;
	((struct core *)bus)->wrong = true;
}

static const struct amp_rpmsg_ops ops = {
	.data = on_data, .service = on_service, .tx_ready = on_tx_ready, .gone = on_gone};

/* ---- shared memory ---- */

static void *translate(void *ctx, uint64_t addr, uint32_t *len_io)
{
	(void)ctx;
	if (addr < BUS_BASE || addr - BUS_BASE >= CR_MEM)
		return NULL;
	if (*len_io > CR_MEM - (addr - BUS_BASE))
		*len_io = (uint32_t)(CR_MEM - (addr - BUS_BASE));
	return cr.copy[CR_DEVICE] + (addr - BUS_BASE);
}

static size_t up_to(size_t n, size_t align)
{
	return (n + align - 1) & ~(align - 1);
}

static size_t lay_out(void)
{
	const struct config *f = &w.cfg;
	size_t off = 0, base = f->align < 16 ? 16 : f->align;

	for (unsigned r = 0; r < 2; r++) {
		w.desc[r] = up_to(off, base);
		w.avail[r] = w.desc[r] + 16u * f->num;
		w.used[r] = up_to(w.avail[r] + 6u + 2u * f->num, f->used_align);
		off = w.used[r] + 6u + 8u * f->num;
		/* what is between two parts is the first one's */
		w.used_end[r] = up_to(off, r ? f->align : base);
	}
	for (unsigned r = 0; r < 2; r++) {
		w.pool[r] = up_to(off, f->align);
		off = w.pool[r] + (size_t)w.cfg.buf_len * f->num;
	}
	off = up_to(off, 64);
	assert_true(off <= CR_MEM);
	return off;
}

static struct amp_vq *vq_of(enum cr_core who, unsigned ring)
{
	return (who == CR_DRIVER) == (ring == UP) ? &w.core[who].in : &w.core[who].out;
}

static int queue_init(enum cr_core who, unsigned r)
{
	struct amp_vq_setup s = {
		.role = who == CR_DRIVER ? AMP_VQ_DRIVER : AMP_VQ_DEVICE,
		.dir = vq_of(who, r) == &w.core[who].in ? AMP_VQ_IN : AMP_VQ_OUT,
		.num = w.cfg.num,
		.desc = cr.copy[who] + w.desc[r],
		.avail = cr.copy[who] + w.avail[r],
		.used = cr.copy[who] + w.used[r],
		.event_idx = w.cfg.event_idx,
		.indirect = w.cfg.posted,
		.state = w.core[who].state[r],
		.bus_off = BUS_BASE - (uintptr_t)cr.copy[CR_DRIVER],
		.xlate = {.translate = translate},
	};

	return amp_vq_init(vq_of(who, r), &s);
}

static const char *links_up(void)
{
	struct core *h = &w.core[CR_DRIVER], *d = &w.core[CR_DEVICE];

	cr_forget(CR_DRIVER, 0, cr.len);
	cr_forget(CR_DEVICE, 0, cr.len);
	for (unsigned r = 0; r < 2; r++) {
		/* the driver's start-up code has been there, and its cache keeps it */
		cr_owns(CR_DRIVER, w.used[r], w.used_end[r] - w.used[r]);
		cr_owns(CR_DRIVER, w.pool[r], (size_t)w.cfg.buf_len * w.cfg.num);
		memset(cr.copy[CR_DRIVER] + w.pool[r], 0, (size_t)w.cfg.buf_len * w.cfg.num);
		WANT(queue_init(CR_DRIVER, r) == 0);
		WANT(amp_vq_pool(vq_of(CR_DRIVER, r), cr.copy[CR_DRIVER] + w.pool[r],
				 w.cfg.buf_len, w.cfg.num) == 0);
		cr_owns(CR_DEVICE, w.used[r], w.used_end[r] - w.used[r]);
		if (r == UP)
			cr_owns(CR_DEVICE, w.pool[r], (size_t)w.cfg.buf_len * w.cfg.num);
	}
	w.device_init = true;
	for (unsigned r = 0; r < 2; r++)
		WANT(queue_init(CR_DEVICE, r) == 0);
	w.device_init = false;
	amp_rpmsg_up(&d->bus, &d->in, &d->out, true);
	amp_rpmsg_up(&h->bus, &h->in, &h->out, true);
	h->asleep = d->asleep = true;
	h->waits = d->waits = false;
	WANT(amp_vq_avail(&h->out) == w.cfg.num && amp_vq_avail(&d->out) == w.cfg.num);
	/* the posted buffers: a device that sends nothing yet is not called for them */
	WANT(amp_vq_kick_due(&h->in) == w.cfg.event_idx);
	WANT(!amp_vq_kick_due(&h->in) && !amp_vq_kick_due(&h->out));
	WANT(!amp_vq_kick_due(&d->in) && !amp_vq_kick_due(&d->out));
	return NULL;
}

/* ---- the steps ---- */

static const char *send_one(enum cr_core from)
{
	struct core *c = &w.core[from];
	struct amp_rpmsg_tx tx;

	WANT(amp_rpmsg_reserve(&c->bus, &tx) == 0);
	for (uint32_t i = 0; i < c->len; i++)
		tx.data[i] = message_byte(c->seq, i);
	amp_rpmsg_commit(&c->bus, &tx, 7, 20, c->len);
	c->seq++;
	c->len++;
	return NULL;
}

/* n buffers on their way (some of them messages): called, taken, given back. */
static const char *take(enum cr_core from, unsigned n, unsigned messages)
{
	struct core *f = &w.core[from], *t = &w.core[!from];
	unsigned got = t->got;

	WANT(amp_vq_kick_due(&f->out) == t->asleep);
	t->asleep = false;
	WANT(amp_rpmsg_run(&t->bus, n + 1) == (int)n);
	WANT(t->got == got + messages && !t->wrong);
	WANT(amp_vq_kick_due(&t->in) == f->waits);
	if (w.lives == 1 && (f->seq & 1))
		WANT(amp_vq_avail(&f->out) == w.cfg.num - t->held_cnt);
	return NULL;
}

static const char *sleep_now(enum cr_core who, bool more)
{
	WANT(amp_rpmsg_arm(&w.core[who].bus) == more);
	w.core[who].asleep = true;
	return NULL;
}

static const char *announce(void)
{
	struct core *h = &w.core[CR_DRIVER], *d = &w.core[CR_DEVICE];
	unsigned names = h->names;

	WANT(amp_rpmsg_run(&h->bus, 4) == 0);
	WANT(amp_vq_kick_due(&h->out));
	WANT(amp_rpmsg_run(&d->bus, 4) == 1);
	WANT(d->names == names + 1 && !d->wrong);
	/* an event index begins at 0: the first buffer back calls */
	WANT(amp_vq_kick_due(&d->in) == w.cfg.event_idx);
	WANT(amp_vq_kick_due(&d->out));
	WANT(amp_rpmsg_run(&h->bus, 4) == 1);
	WANT(h->names == names + 1 && !h->wrong);
	WANT(!amp_vq_kick_due(&h->in));
	h->asleep = d->asleep = false;
	return NULL;
}

/* Sent when the other one is about to sleep: it must see that. */
static const char *race(enum cr_core from)
{
	DO(send_one(from));
	DO(sleep_now(!from, true));
	return take(from, 1, 1);
}

static const char *run_dry(enum cr_core from)
{
	struct core *c = &w.core[from];
	unsigned ready = c->tx_ready;
	struct amp_rpmsg_tx tx;

	for (unsigned i = 0; i < w.cfg.num; i++)
		DO(send_one(from));
	WANT(!amp_rpmsg_tx_ready(&c->bus));
	WANT(amp_rpmsg_reserve(&c->bus, &tx) == -EAGAIN);
	DO(sleep_now(from, false));
	c->waits = true;
	DO(take(from, w.cfg.num, w.cfg.num));
	c->waits = false;
	WANT(amp_rpmsg_tx_ready(&c->bus));
	WANT(amp_rpmsg_run(&c->bus, 1) == 0 && c->tx_ready == ready + 1);
	return NULL;
}

/* What is held stays what it is, and goes back later. */
static const char *hold(enum cr_core from)
{
	struct core *c = &w.core[!from];

	c->hold = true;
	DO(send_one(from));
	DO(send_one(from));
	DO(take(from, 2, 2));
	c->hold = false;
	DO(send_one(from));
	DO(take(from, 1, 1));
	while (c->held_cnt) {
		const struct amp_rpmsg_rx *rx = &c->held[--c->held_cnt];

		WANT(is_message(rx->data, rx->len, c->want_seq - 3 + c->held_cnt));
		amp_rpmsg_release(&c->bus, rx->id);
	}
	WANT(!amp_vq_kick_due(&c->in));
	return NULL;
}

/* One taken back at once, one after another was sent: a device's comes back to the driver. */
static const char *cancel(enum cr_core from)
{
	struct core *c = &w.core[from];
	struct amp_rpmsg_tx tx;
	uint8_t *hdr;

	WANT(amp_rpmsg_reserve(&c->bus, &tx) == 0);
	amp_rpmsg_cancel(&c->bus, &tx);
	WANT(amp_rpmsg_reserve(&c->bus, &tx) == 0);
	hdr = tx.data - AMP_RPMSG_HDR_LEN;
	cr_was(from, (size_t)(hdr - cr.copy[from]), 0x11, AMP_RPMSG_HDR_LEN);
	DO(send_one(from));
	amp_rpmsg_cancel(&c->bus, &tx);
	if (from == CR_DRIVER)
		return take(from, 1, 1);
	DO(take(from, 2, 1));
	/* as a driver that looks at the header whatever the length is */
	hdr += cr.copy[CR_DRIVER] - cr.copy[CR_DEVICE];
	amp_port_cache_invalidate(hdr, AMP_RPMSG_HDR_LEN);
	WANT(amp_le32(hdr + 4) == AMP_RPMSG_ADDR_ANY && amp_le16(hdr + 12) == 0);
	return NULL;
}

static const char *life(void)
{
	w.lives++;
	DO(links_up());
	DO(announce());
	for (unsigned i = 0; i < w.cfg.rounds; i++) {
		for (unsigned from = 0; from < 2; from++) {
			DO(send_one(from));
			DO(take(from, 1, 1));
			if (i & (1u << from))
				DO(sleep_now(!from, false));
		}
	}
	for (unsigned from = 0; from < 2; from++) {
		DO(race(from));
		DO(run_dry(from));
		DO(hold(from));
		DO(cancel(from));
		DO(run_dry(from));
	}
	amp_rpmsg_down(&w.core[CR_DRIVER].bus);
	amp_rpmsg_down(&w.core[CR_DEVICE].bus);
	return NULL;
}

/*
 * Calls that may be of no consequence and are there all the same. (A clean that nobody
 * would have missed, because a later one covers it before the other core looks, needs no
 * excuse: that is found out while it is left out.)
 */
static const char *excuse(enum cr_core who, bool clean, uint32_t off, uint32_t len,
			  const uint8_t *was, const uint8_t *now)
{
	for (unsigned r = 0; r < 2; r++) {
		const struct amp_vq *vq = vq_of(who, r);

		if (off == (who == CR_DEVICE ? w.avail[r] : w.used[r]) + 2 && !clean) {
			if (w.device_init)
				return "set-up arms, and does not ask what has come since";
			if ((uint16_t)(amp_le16(was) - vq->get_idx - 1) < w.cfg.num)
				return "an index that is behind shows some of the news";
		}
		if (r == DOWN && off >= w.used[r] && off < w.used_end[r] && len == 8 &&
		    memcmp(was, now, 4) == 0)
			return "a used length that our host, unlike OpenAMP's, does not read";
		if (off < w.desc[r] || off >= w.avail[r] || len != 16)
			continue;
		if (memcmp(was, now, 8) == 0 && amp_le32(was + 8) > amp_le32(now + 8))
			return "a descriptor that seems longer than it is: the header knows";
		if (!clean && (amp_le16(was + 12) & ~VRING_DESC_F_WRITE))
			return "what seems no single descriptor is looked at again";
	}
	return NULL;
}

/* Two lives of a bus in the same memory. */
static const char *messages(void)
{
	for (unsigned i = 0; i < 2; i++) {
		struct core *c = &w.core[i];

		c->bus.ops = &ops;
		c->bus.hash = c->hash;
		c->bus.hash_len = 2;
		/* longer than an announcement, and each longer than the one before: a
		 * descriptor that was not looked at anew is too short */
		c->len = c->want_len = AMP_RPMSG_NS_LEN + 1;
		amp_rpmsg_init(&c->bus);
		WANT(amp_rpmsg_open_named(&c->bus, &c->svc, AMP_RPMSG_ADDR_ANY, "service") ==
		     0);
		WANT(amp_rpmsg_open(&c->bus, &c->plain, 20) == 0);
	}
	DO(life());
	DO(life());
	return NULL;
}

/*
 * Buffers that the driver's owner posts itself, in pieces, with and without a table of their
 * own. Whoever fills or empties them does the device's half of the work: only it knows where
 * they are, and how much of them.
 */
#define PIECES 3u
#define PIECE  128u

struct chain {
	struct amp_iov iov[PIECES]; /* as the driver sees them */
	struct amp_iov got[PIECES]; /* as the device does */
	uint8_t *table;
	uint32_t seq;
	uint16_t id;
	int head;
};

static void chain_owner(const struct chain *c, enum cr_core who)
{
	for (unsigned k = 0; k < PIECES; k++)
		cr_owns(who, (size_t)((uint8_t *)c->iov[k].base - cr.copy[CR_DRIVER]), PIECE);
}

static void fill(const struct amp_iov *iov, uint32_t seq)
{
	for (uint32_t n = 0; n < iov->len; n++)
		((uint8_t *)iov->base)[n] = message_byte(seq, n);
}

static const char *post(unsigned r, struct chain *c, bool indirect)
{
	bool out = r == DOWN;

	for (unsigned k = 0; k < PIECES; k++) {
		c->iov[k] =
			(struct amp_iov){c->table + (k + 1) * PIECE, 40 + (c->seq & 63) + k};
		if (out)
			fill(&c->iov[k], c->seq + k);
		else
			memset(c->iov[k].base, 0x22, c->iov[k].len);
	}
	c->head = amp_vq_post(vq_of(CR_DRIVER, r), c->iov, out ? PIECES : 0, out ? 0 : PIECES,
			      indirect ? c->table : NULL);
	WANT(c->head >= 0);
	if (!out)
		chain_owner(c, CR_DEVICE);
	return NULL;
}

static const char *serve(unsigned r, struct chain *c)
{
	struct amp_vq_buf b = {.iov = c->got, .iov_max = PIECES};

	WANT(amp_vq_get(vq_of(CR_DEVICE, r), &b) == 1 && b.iov_cnt == PIECES);
	c->id = b.id;
	for (unsigned k = 0; k < PIECES; k++) {
		WANT(c->got[k].len == c->iov[k].len);
		if (r == DOWN) {
			WANT(is_message(c->got[k].base, (uint32_t)c->got[k].len, c->seq + k));
			continue;
		}
		fill(&c->got[k], c->seq + k);
		amp_port_cache_clean(c->got[k].base, c->got[k].len);
	}
	return NULL;
}

static const char *reap(unsigned r, const struct chain *c)
{
	uint32_t len;
	uint16_t id;

	WANT(amp_vq_reap(vq_of(CR_DRIVER, r), &id, &len) == 1);
	WANT(id == c->head && len == c->seq);
	for (unsigned k = 0; r == UP && k < PIECES; k++) {
		amp_port_cache_invalidate(c->iov[k].base, c->iov[k].len);
		WANT(is_message(c->iov[k].base, (uint32_t)c->iov[k].len, c->seq + k));
	}
	chain_owner(c, CR_DRIVER);
	return NULL;
}

/* Two at once, the second is done first: heads and ids change places all the time. */
static const char *posted(unsigned r, uint32_t seq, bool indirect)
{
	struct chain a = {.seq = seq}, b = {.seq = seq + 1};

	a.table = cr.copy[CR_DRIVER] + w.pool[r] + seq % 3 * (8 * PIECE);
	b.table = a.table + 4 * PIECE;
	DO(post(r, &a, indirect));
	DO(post(r, &b, indirect));
	DO(serve(r, &a));
	DO(serve(r, &b));
	amp_vq_put(vq_of(CR_DEVICE, r), b.id, b.seq);
	amp_vq_put(vq_of(CR_DEVICE, r), a.id, a.seq);
	DO(reap(r, &b));
	return reap(r, &a);
}

static const char *chains(void)
{
	cr_forget(CR_DRIVER, 0, cr.len);
	cr_forget(CR_DEVICE, 0, cr.len);
	for (unsigned r = 0; r < 2; r++) {
		WANT(queue_init(CR_DRIVER, r) == 0);
		cr_owns(CR_DEVICE, w.used[r], w.used_end[r] - w.used[r]);
		w.device_init = true;
		WANT(queue_init(CR_DEVICE, r) == 0);
		w.device_init = false;
		for (unsigned i = 0; i < w.cfg.rounds; i++) {
			DO(posted(r, 4 * i, false));
			DO(posted(r, 4 * i + 2, true));
		}
	}
	return NULL;
}

/* NULL, or the first thing that went wrong. */
static const char *script(const struct config *cfg, unsigned skip)
{
	memset(&w, 0, sizeof(w));
	w.cfg = *cfg;
	cr_reset(cfg->line, lay_out(), skip);
	cr.restless = cfg->restless;
	cr.excuse = excuse;
	return cfg->posted ? chains() : messages();
}

/* ---- with every hook: it works, and lines have one writer ---- */

/* It must work, whatever else the caches do of themselves. */
static void works_with(struct config c)
{
	for (c.restless = 0; c.restless < 6; c.restless++) {
		const char *e = script(&c, 0);

		if (e)
			fail_msg("lines of %u, %u entries, seed %u: %s", c.line, c.num,
				 c.restless, e);
	}
}

static void works(void **state)
{
	static const uint32_t lines[] = {2, 16, 32, 64};

	(void)state;
	for (unsigned k = 0; k < 8; k++) {
		uint32_t line = lines[k / 2];
		struct config c = {.line = line,
				   .event_idx = k & 1,
				   .align = line,
				   .used_align = line < 4 ? 4 : line};

		for (uint16_t num = 4; num <= NUM_MAX; num = (uint16_t)(num * 2)) {
			c.num = num;
			/* buffers of one pool may share lines: all of it has one writer */
			c.buf_len = num == 16 ? 500 : 512;
			c.rounds = num + 6u;
			works_with(c);
		}
		c.posted = true;
		c.num = 8;
		c.rounds = 12;
		c.align = line < 16 ? 16 : line; /* tables of descriptors */
		works_with(c);
	}
}

/* Parts with different writers that share a line: no hook can help. */
static void shared_lines_do_not_work(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 8; k++) {
		uint32_t line = k & 2 ? 64 : 32;
		struct config c = {.num = 16,
				   .buf_len = 512,
				   .line = line,
				   .event_idx = k & 1,
				   .rounds = 40,
				   .align = k & 4 ? line : 4, /* of rings and pools */
				   .used_align = k & 4 ? 4 : line};
		const char *e = script(&c, 0);

		if (!e)
			fail_msg("lines of %u, shared: nothing happens", line);
	}
}

/* ---- without any one of them: it does not ---- */

static struct site {
	const char *file; /* NULL: the end */
	int line;
	bool needed, needed_here; /* somewhere; with the lines in hand */
} sites[CR_SITES];

static struct site *site_of(const struct cr_call *c)
{
	const char *file = strrchr(c->file, '/') + 1; /* whoever includes it */
	struct site *s = sites;

	while (s->file && (s->line != c->line || strcmp(s->file, file)))
		s++;
	assert_true(s < &sites[CR_SITES - 1]);
	s->file = file;
	s->line = c->line;
	return s;
}

static unsigned record(const struct config *cfg)
{
	const char *e;

	cr.recording = true;
	e = script(cfg, 0);
	cr.recording = false;
	if (e)
		fail_msg("nothing left out: %s", e);
	assert_true(cr.calls < CR_CALLS);
	return cr.calls;
}

/* Whatever the caches held before. */
static bool fails_without(const struct config *c, unsigned call)
{
	bool fails = script(c, call), missed = cr.missed;

	if (fails)
		return true;
	cr.noise = 1;
	fails = script(c, call);
	cr.noise = 0;
	cr.missed |= missed;
	return fails;
}

/* Lines so short that no call does another one's work: each single call is needed. */
static void each_call(const struct config *c)
{
	unsigned n = record(c), needed = 0, excused = 0, covered = 0, useless = 0;

	for (unsigned i = 1; i <= n; i++) {
		const struct cr_call *call = &cr.call[i];
		struct site *s = site_of(call);

		if (!call->effect)
			continue; /* as if it had been left out */
		if (fails_without(c, i)) {
			s->needed = true;
			needed++;
		} else if (call->clean && !cr.missed) {
			covered++;
		} else if (call->excuse) {
			excused++;
		} else {
			print_error("call %u in %s: %s:%d\n", i, call->step, s->file, s->line);
			useless++;
		}
	}
	print_message("%u calls: %u needed, %u covered by others, %u excused\n", n, needed,
		      covered, excused);
	assert_true(needed > n / 3);
	assert_int_equal(useless, 0);
}

static void every_call_is_needed(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 3; k++) {
		const struct config c = {.num = k & 2 ? 8 : 4,
					 .buf_len = k & 2 ? 512 : 128,
					 .line = 2,
					 .event_idx = k & 1,
					 .align = 16,
					 .used_align = 4,
					 .rounds = 6,
					 .posted = k & 2};

		each_call(&c);
	}
}

/*
 * Lines as cores have them. A call in the code that is needed nowhere here has its work done
 * by another one for the same line; then it was needed above.
 */
static void every_place_is_needed(void **state)
{
	unsigned useless = 0;

	(void)state;
	for (unsigned k = 0; k < 6; k++) {
		uint32_t line = k < 3 ? 32 : 64;
		bool chains = k % 3 == 2;
		const struct config c = {.num = chains ? 8 : (uint16_t)line,
					 .buf_len = 512,
					 .line = line,
					 .event_idx = k % 3,
					 .align = line,
					 .used_align = line,
					 .rounds = chains ? 12 : line + 6,
					 .posted = chains};
		unsigned n = record(&c), places = 0, needed = 0;

		for (unsigned i = 1; i <= n; i++) {
			struct site *s = site_of(&cr.call[i]);

			if (cr.call[i].effect && !s->needed_here)
				s->needed_here = fails_without(&c, i);
		}
		for (struct site *s = sites; chains && s->file; s++) {
			places++;
			needed += s->needed_here;
			if (!s->needed_here && !s->needed) {
				print_error("%s:%d\n", s->file, s->line);
				useless++;
			}
			s->needed_here = false;
		}
		if (chains)
			print_message("lines of %u: %u of %u places needed\n", line, needed,
				      places);
	}
	assert_int_equal(useless, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(works),
		cmocka_unit_test(shared_lines_do_not_work),
		cmocka_unit_test(every_call_is_needed),
		cmocka_unit_test(every_place_is_needed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
