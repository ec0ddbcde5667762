/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two cores that share memory and no cache. Each sees a copy of its own (what its cache
 * holds); memory itself is a third. The port's hooks move whole lines between them:
 *
 *	clean        a line that this core has written goes to memory
 *	invalidate   the line is forgotten, the next read takes it from memory
 *
 * Nothing else moves, which is the worst that a cache can do to who forgets a hook; with
 * `restless` on, written lines also go out, and unwritten ones come in, at any time, which
 * is the worst that it can do to who shares lines. What a line was when this core last met
 * memory is kept too (seen): bytes that differ from it are what the core has written since.
 *
 * Found out here: a written line that is invalidated (what was written is lost), and a
 * line written back over bytes that are the other core's.
 */
#ifndef CACHE_RIG_H
#define CACHE_RIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "port/port.h"
#include "ringpair.h"

#define CR_MEM	 (96u * 1024)
#define CR_CALLS 32768u
#define CR_SITES 64u

enum cr_core { CR_DRIVER, CR_DEVICE };

/* One call of a hook in the run that is compared with. */
struct cr_call {
	const void *site; /* where it was made */
	const char *excuse;
	const char *step; /* of the test's script */
	bool clean;
	bool effect; /* something is different afterwards */
};

static struct {
	uint8_t copy[2][CR_MEM] __attribute__((aligned(64)));
	uint8_t seen[2][CR_MEM];
	uint8_t mem[CR_MEM];
	uint8_t owner[CR_MEM]; /* enum cr_core: who may write */
	uint32_t line, len;
	uint32_t restless; /* seed; 0: off */
	const char *step;  /* what the test does */
	const char *err;   /* the first thing that must not happen */
	unsigned calls;	   /* so far */
	unsigned skip;	   /* this call does nothing; 0: none */
	bool missed;	   /* the other core has looked at what the skipped clean held back */
	uint32_t held_from, held_to; /* the skipped clean */
	enum cr_core held_core;
	bool recording;
	uint8_t noise;		       /* lowest bit of what forgotten lines hold */
	struct cr_call call[CR_CALLS]; /* of the recorded run */
	/* Why it does not matter that core `who` (or, of a clean, the other one) sees `was` at
	 * off instead of `now`; NULL: it does. */
	const char *(*excuse)(enum cr_core who, bool clean, uint32_t off, uint32_t len,
			      const uint8_t *was, const uint8_t *now);
} cr;

static inline bool cr_dirty(enum cr_core who, uint32_t at)
{
	return memcmp(cr.copy[who] + at, cr.seen[who] + at, cr.line) != 0;
}

static inline void cr_fail(const char *what)
{
	if (!cr.err)
		cr.err = what;
}

static inline void cr_line_out(enum cr_core who, uint32_t at)
{
	if (!cr_dirty(who, at))
		return;
	for (uint32_t i = at; i < at + cr.line; i++) {
		uint8_t mine = cr.copy[who][i];

		if (cr.owner[i] != who && mine != cr.seen[who][i])
			cr_fail("a core writes what is the other one's");
		if (cr.owner[i] != who && cr.mem[i] != mine)
			cr_fail("a line is written back over the other core's bytes");
		cr.mem[i] = cr.seen[who][i] = mine;
	}
}

static inline void cr_line_in(enum cr_core who, uint32_t at)
{
	if (cr_dirty(who, at))
		cr_fail("a written line is invalidated");
	memcpy(cr.copy[who] + at, cr.mem + at, cr.line);
	memcpy(cr.seen[who] + at, cr.mem + at, cr.line);
}

/* Any line, any time: written ones go out, the others come in anew. */
static inline void cr_unrest(void)
{
	for (unsigned i = 0; i < 8; i++) {
		enum cr_core who = rp_rand(&cr.restless) & 1;
		uint32_t at = rp_rand(&cr.restless) % (cr.len / cr.line) * cr.line;

		if (cr_dirty(who, at))
			cr_line_out(who, at);
		else
			cr_line_in(who, at);
	}
}

static inline void cr_hook(const volatile void *addr, size_t len, bool clean, const void *site)
{
	const uint8_t *p = (const uint8_t *)addr;
	enum cr_core who = p >= cr.copy[1] && p < cr.copy[1] + CR_MEM ? CR_DEVICE : CR_DRIVER;
	uint32_t off, from, to;
	bool effect = false;

	if (p < cr.copy[who] || len > (size_t)(cr.copy[who] + CR_MEM - p)) {
		cr_fail("a hook is called for memory that is not shared");
		return;
	}
	if (cr.restless)
		cr_unrest();
	if (len == 0)
		return;
	off = (uint32_t)(p - cr.copy[who]);
	from = off / cr.line * cr.line;
	to = (off + (uint32_t)len + cr.line - 1) / cr.line * cr.line;
	cr.calls++;
	if (cr.calls == cr.skip) {
		cr.held_core = who;
		cr.held_from = clean ? from : 0;
		cr.held_to = clean ? to : 0;
		return;
	}
	for (uint32_t at = from; at < to; at += cr.line) {
		if (memcmp(cr.copy[who] + at, cr.mem + at, cr.line) &&
		    (!clean || cr_dirty(who, at)))
			effect = true;
		if (!clean && who != cr.held_core && at >= cr.held_from && at < cr.held_to &&
		    cr_dirty(cr.held_core, at) &&
		    !cr.excuse(who, false, off, (uint32_t)len, cr.mem + off,
			       cr.copy[cr.held_core] + off))
			cr.missed = true;
	}
	if (cr.recording && cr.calls < CR_CALLS)
		cr.call[cr.calls] = (struct cr_call){
			.site = site,
			.step = cr.step,
			.clean = clean,
			.effect = effect,
			.excuse = cr.excuse(who, clean, off, (uint32_t)len,
					    (clean ? cr.mem : cr.copy[who]) + off,
					    (clean ? cr.copy[who] : cr.mem) + off)};
	for (uint32_t at = from; at < to; at += cr.line) {
		if (clean)
			cr_line_out(who, at);
		else
			cr_line_in(who, at);
	}
}

void amp_port_cache_clean(const volatile void *addr, size_t len)
{
	cr_hook(addr, len, true, (const char *)__builtin_return_address(0) - 1);
}

void amp_port_cache_invalidate(const volatile void *addr, size_t len)
{
	cr_hook(addr, len, false, (const char *)__builtin_return_address(0) - 1);
}

/*
 * What a core has not written lately is in its cache as it was at any other time. (Else one
 * that writes what its copy says already would not be seen to write: nobody writes these
 * values.)
 */
static inline void cr_forget(enum cr_core who, size_t off, size_t len)
{
	static uint8_t noise[2][1024];
	static uint32_t rnd;

	for (unsigned i = 0; rnd == 0 && i < 1024; i++)
		noise[1][i] = (noise[0][i] = (uint8_t)(0x80 | (i * 37u & 0x3eu))) | 1u;
	for (size_t at = (off + cr.line - 1) / cr.line * cr.line; at + cr.line <= off + len;
	     at += cr.line) {
		rnd += 64 + 13;
		if (cr_dirty(who, (uint32_t)at))
			continue;
		memcpy(cr.copy[who] + at, noise[cr.noise] + rnd % 960, cr.line);
		memcpy(cr.seen[who] + at, cr.copy[who] + at, cr.line);
	}
}

/* From now on who may write there. */
static inline void cr_owns(enum cr_core who, size_t off, size_t len)
{
	memset(cr.owner + off, who, len);
	cr_forget(who, off, len);
}

static inline void cr_reset(uint32_t line, size_t len, unsigned skip)
{
	memset(cr.mem, 0x7f, len);
	for (unsigned who = 0; who < 2; who++) {
		memset(cr.copy[who], 0, len);
		memset(cr.seen[who], 0, len);
	}
	memset(cr.owner, CR_DRIVER, len);
	cr.len = (uint32_t)len;
	cr.line = line;
	cr.restless = 0;
	cr.err = NULL;
	cr.calls = 0;
	cr.skip = skip;
	cr.missed = false;
	cr.held_from = cr.held_to = 0;
}

#endif /* CACHE_RIG_H */
