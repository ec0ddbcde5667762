// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation of the rate limit: a kind of line is a struct amp_log_rate of its owner.
 * How many lines of it were suppressed is counted in a small table here, with the first of them,
 * and not in the owner's memory, which may be gone when it is time to tell.
 *
 * #syscalls write poll ppoll clock_gettime fstat newfstatat
 * #syscalls:helper write poll ppoll clock_gettime fstat newfstatat
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

/*
 * The longest line that a person can cause, a control request's rule of 1023 characters with its
 * fields, fits. Less than PIPE_BUF: see can_write().
 */
#define LINE_MAX_LEN 2048
#define CUT	     "[cut]"
#define HELD_KINDS   16u
#define HELD_TEXT    160u

struct held {
	const struct amp_log_rate *kind; /* NULL: free. Only compared, never looked into */
	enum amp_log_level level;
	unsigned cnt;
	uint64_t due_ms;
	char text[HELD_TEXT];
};

static enum amp_log_level threshold = AMP_LOG_INFO;
static const char *const level_name[] = {"error", "warning", "info", "debug"};
static struct held held[HELD_KINDS];
static void (*on_held)(void);
static bool held_told; /* on_held was called */

void amp_log_level_set(enum amp_log_level level)
{
	threshold = level;
}

enum amp_log_level amp_log_level_get(void)
{
	return threshold;
}

const char *amp_log_level_text(enum amp_log_level level)
{
	return level_name[level];
}

int amp_log_level_parse(const char *text, enum amp_log_level *level)
{
	for (unsigned i = 0; i < sizeof(level_name) / sizeof(*level_name); i++) {
		if (strcmp(text, level_name[i]) == 0) {
			*level = (enum amp_log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

uint64_t amp_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

/* Is stderr the journal's? systemd.exec(5): JOURNAL_STREAM is device:inode of it. */
static bool journal(void)
{
	static int known = -1;
	const char *env;
	char *end;
	struct stat st;

	if (known >= 0)
		return known;
	known = 0;
	env = getenv("JOURNAL_STREAM");
	if (env && fstat(STDERR_FILENO, &st) == 0)
		known = strtoull(env, &end, 10) == st.st_dev && *end == ':' &&
			strtoull(end + 1, &end, 10) == st.st_ino && *end == 0;
	return known;
}

/* Of text that is written as it is: each line begins with a priority, however it comes in pieces. */
static ssize_t write_error(void *cookie, const char *text, size_t len)
{
	static bool inside;

	(void)cookie;
	for (size_t at = 0, n; at < len; at += n) {
		const char *end = memchr(text + at, '\n', len - at);

		n = end ? (size_t)(end - text) + 1 - at : len - at;
		if (!inside && write(STDERR_FILENO, "<3>", 3) < 0)
			return 0;
		if (write(STDERR_FILENO, text + at, n) < 0)
			return 0;
		inside = !end;
	}
	return (ssize_t)len;
}

FILE *amp_log_errors(void)
{
	FILE *to = journal() ? fopencookie(NULL, "w",
					   (cookie_io_functions_t){.write = write_error})
			     : NULL;

	if (to)
		setvbuf(to, NULL, _IOLBF, 0);
	return to ? to : stderr;
}

/* ---- one line ---- */

struct line {
	char text[LINE_MAX_LEN];
	size_t len;
	bool cut; /* there was more than room */
};

static void put_ch(struct line *l, char ch)
{
	/* C1 (U+0080 to U+009F): a terminal's commands, as those of C0 are */
	if (l->len && l->text[l->len - 1] == (char)0xc2 && (unsigned char)ch >= 0x80 &&
	    (unsigned char)ch < 0xa0)
		ch = l->text[l->len - 1] = '?';
	if (l->len < LINE_MAX_LEN - 1)
		l->text[l->len++] = (unsigned char)ch < 0x20 || ch == 0x7f ? '?' : ch;
	else
		l->cut = true;
}

/* Who reads it sees that something is missing. dst has len bytes, of characters not in part. */
static size_t mark_cut(char *dst, size_t len)
{
	size_t at = len - (sizeof(CUT) - 1);

	while (at && ((unsigned char)dst[at] & 0xc0) == 0x80)
		at--;
	memcpy(dst + at, CUT, sizeof(CUT) - 1);
	return at + sizeof(CUT) - 1;
}

static void put(struct line *l, const char *text)
{
	while (*text)
		put_ch(l, *text++);
}

static void put_fields(struct line *l, const struct amp_log_field *f)
{
	char number[24];

	for (; f && f->key; f++) {
		const char *text = f->text;

		if (f->is_number) {
			snprintf(number, sizeof(number), "%" PRIu64, f->number);
			text = number;
		}
		if (!text)
			continue;
		put_ch(l, ' ');
		put(l, f->key);
		put_ch(l, '=');
		if (text[0] && !strpbrk(text, " \"=\\")) {
			put(l, text);
			continue;
		}
		put_ch(l, '"');
		for (; *text; text++) {
			if (*text == '"' || *text == '\\')
				put_ch(l, '\\');
			put_ch(l, *text);
		}
		put_ch(l, '"');
	}
}

/* what: the level, or what else it is. */
static void begin(struct line *l, enum amp_log_level level, const char *what)
{
	static const char *const priority[] = {"<3>", "<4>", "<6>", "<7>"};

	l->len = 0;
	l->cut = false;
	if (journal())
		put(l, priority[level]);
	put(l, "ampsock-proxy: ");
	put(l, what);
	put(l, ": ");
}

static unsigned lost; /* lines */

/* One write() a line, so that lines of several processes on one pipe do not mix. */
static bool out(struct line *l)
{
	ssize_t r;

	if (l->cut)
		l->len = mark_cut(l->text, l->len);
	l->text[l->len++] = '\n';
	do
		r = write(STDERR_FILENO, l->text, l->len);
	while (r < 0 && errno == EINTR); /* the loop's alarm */
	return r >= 0;
}

/*
 * Whoever reads the log may have stopped, and a guest can fill the pipe to him in time: no line
 * is worth waiting for with every guest waiting, too. A pipe that can be written to takes
 * PIPE_BUF bytes (poll(2), pipe(7)), which is more than a line. What is lost is counted, and
 * said in the first line that gets through.
 */
static bool can_write(void)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
	struct line l;
	char text[80];

	if (poll(&p, 1, 0) == 0) {
		lost++;
		return false;
	}
	if (!lost)
		return true;
	snprintf(text, sizeof(text),
		 "%u lines were lost here: nobody read the log, or it was full", lost);
	begin(&l, AMP_LOG_WARN, level_name[AMP_LOG_WARN]);
	put(&l, text);
	if (!out(&l)) {
		lost++;
		return false;
	}
	lost = 0;
	return can_write(); /* that may have been all the room */
}

static void line(enum amp_log_level level, const char *what, const struct amp_log_field *fields,
		 const char *fmt, va_list ap)
{
	char message[LINE_MAX_LEN];
	struct line l;

	if (vsnprintf(message, sizeof(message), fmt, ap) < 0 || !can_write())
		return;
	begin(&l, level, what);
	put(&l, message);
	put_fields(&l, fields);
	if (!out(&l))
		lost++;
}

void amp_log(enum amp_log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > threshold)
		return;
	va_start(ap, fmt);
	line(level, level_name[level], NULL, fmt, ap);
	va_end(ap);
}

void amp_log_counters(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line(AMP_LOG_INFO, "counters", NULL, fmt, ap);
	va_end(ap);
}

/* ---- not all of them ---- */

static struct held *find(const struct amp_log_rate *kind)
{
	for (unsigned i = 0; i < HELD_KINDS; i++) {
		if (held[i].kind == kind)
			return &held[i];
	}
	return NULL;
}

static void hold(struct amp_log_rate *rate, enum amp_log_level level, const char *fmt,
		 va_list ap)
{
	struct held *h = find(rate);

	if (!h) {
		h = find(NULL);
		if (!h) {
			rate->held_back++;
			return;
		}
		h->kind = rate;
		h->level = level;
		h->cnt = 0;
		h->due_ms = rate->since_ms + AMP_LOG_WINDOW_MS;
		if (vsnprintf(h->text, HELD_TEXT, fmt, ap) >= (int)HELD_TEXT)
			h->text[mark_cut(h->text, HELD_TEXT - 1)] = 0;
	}
	h->cnt++;
	if (on_held && !held_told) {
		held_told = true;
		on_held();
	}
}

/* A new window of the kind begins, with a line: what the last one had suppressed goes before. */
static void tell_one(struct amp_log_rate *rate, enum amp_log_level level)
{
	struct held *h = find(rate);
	unsigned cnt = rate->held_back + (h ? h->cnt : 0);

	if (h)
		h->kind = NULL;
	rate->held_back = 0;
	if (cnt)
		amp_log(level, "%u more like the next one suppressed", cnt);
}

/* May one more of the kind be written? */
static bool passes(struct amp_log_rate *rate, enum amp_log_level level, const char *fmt,
		   va_list ap)
{
	uint64_t now = amp_now_ms();

	if (now - rate->since_ms >= AMP_LOG_WINDOW_MS) {
		tell_one(rate, level);
		rate->since_ms = now;
		rate->cnt = 0;
	}
	if (rate->cnt < AMP_LOG_BURST) {
		rate->cnt++;
		return true;
	}
	hold(rate, level, fmt, ap);
	return false;
}

void amp_log_some(struct amp_log_rate *rate, enum amp_log_level level, const char *fmt, ...)
{
	va_list ap, again;

	if (level > threshold)
		return;
	va_start(ap, fmt);
	va_copy(again, ap);
	if (passes(rate, level, fmt, ap))
		line(level, level_name[level], NULL, fmt, again);
	va_end(again);
	va_end(ap);
}

void amp_log_fields(struct amp_log_rate *rate, enum amp_log_level level,
		    const struct amp_log_field *fields, const char *fmt, ...)
{
	va_list ap, again;

	if (level > threshold)
		return;
	va_start(ap, fmt);
	va_copy(again, ap);
	if (!rate || passes(rate, level, fmt, ap))
		line(level, level_name[level], fields, fmt, again);
	va_end(again);
	va_end(ap);
}

uint64_t amp_log_tell(bool all)
{
	uint64_t now = amp_now_ms(), next = 0;

	for (unsigned i = 0; i < HELD_KINDS; i++) {
		struct held *h = &held[i];

		if (!h->kind)
			continue;
		if (!all && h->due_ms > now) {
			if (!next || h->due_ms - now < next)
				next = h->due_ms - now;
			continue;
		}
		h->kind = NULL;
		amp_log(h->level, "%u more suppressed, the first of them: %s", h->cnt, h->text);
	}
	held_told = next != 0;
	return next;
}

void amp_log_on_held(void (*fn)(void))
{
	on_held = fn;
}

const char *amp_log_clean(char *dst, size_t dst_len, const void *text, size_t len)
{
	const unsigned char *from = text;
	size_t n = 0;

	for (size_t i = 0; i < len && from[i] && n + 1 < dst_len; i++)
		dst[n++] = from[i] >= 0x20 && from[i] < 0x7f ? (char)from[i] : '?';
	dst[n] = 0;
	return dst;
}
