// SPDX-License-Identifier: BSD-3-Clause
/*
 * A file of the configuration, and its lines while it is read, so that a complaint can show the one
 * it is about: also one that only the whole of the configuration shows, when the reading is over.
 */
#include <bsd/string.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../wire/utf8.h"
#include "config_inner.h"

#define INDENT "    "

struct source {
	struct source *next;
	char *where; /* FILE:LINE */
	char text[];
};

static struct source *lines;

bool amp_source_read(FILE *in, char *line, size_t size, int *zero)
{
	size_t n = 0;
	int ch;

	*zero = -1;
	while (n < size - 1 && (ch = fgetc(in)) != EOF) {
		if (!ch && *zero < 0)
			*zero = (int)n;
		line[n++] = (char)(ch ? ch : '?');
		if (ch == '\n')
			break;
	}
	line[n] = 0;
	return n > 0;
}

void amp_source_add(const char *where, const char *text)
{
	size_t len = strcspn(text, "\r\n");
	struct source *s = malloc(sizeof(*s) + len + 1);

	if (!s)
		return;
	s->where = strdup(where);
	if (!s->where) {
		free(s);
		return;
	}
	memcpy(s->text, text, len);
	s->text[len] = 0;
	s->next = lines;
	lines = s;
}

void amp_source_forget(void)
{
	while (lines) {
		struct source *s = lines;

		lines = s->next;
		free(s->where);
		free(s);
	}
}

static const char *line_of(const char *where)
{
	const struct source *s = lines;

	while (s && strcmp(s->where, where))
		s = s->next;
	return s ? s->text : NULL;
}

/* The value's place in a line. */
static size_t value_at(const char *line)
{
	size_t at = strcspn(line, "=");

	at += line[at] != 0;
	return at + strspn(line + at, " \t");
}

/* Of a long line, this much before a mark, and in all. */
#define BEFORE 60u
#define SHOWN  160u

/* To the start of a character, if it is one: four bytes at most. */
static size_t back_to_start(const char *line, size_t at)
{
	for (unsigned n = 0; n < 3 && at && ((unsigned char)line[at] & 0xc0) == 0x80; n++)
		at--;
	return at;
}

/* What is no text is shown as such. */
static void show_part(FILE *err, const char *text, size_t len)
{
	for (size_t i = 0, n; i < len; i += n) {
		const unsigned char *p = (const unsigned char *)text + i;

		n = amp_utf8_len(p, len - i);
		if (n == 0 || (*p < ' ' && *p != '\t') || *p == 0x7f ||
		    (n == 2 && p[0] == 0xc2 && p[1] < 0xa0)) {
			fputc('?', err);
			n += !n;
		} else {
			fwrite(p, 1, n, err);
		}
	}
}

static void repeat(FILE *err, int ch, size_t cnt)
{
	while (cnt-- > 0)
		fputc(ch, err);
}

/* A line, or what is around the place, and below it a mark under len bytes at `at`. */
static void mark(FILE *err, const char *line, size_t at, size_t len)
{
	size_t all = strlen(line), from = 0, to = all, columns;

	if (at > all)
		at = all;
	if (all > SHOWN) {
		from = at > BEFORE ? back_to_start(line, at - BEFORE) : 0;
		to = all - from > SHOWN ? back_to_start(line, from + SHOWN) : all;
	}
	fputs(from ? INDENT "..." : INDENT, err);
	show_part(err, line + from, to - from);
	fputs(to < all ? "...\n" INDENT : "\n" INDENT, err);
	fputs(from ? "   " : "", err);
	for (size_t n; from < at; from += n) {
		n = strcspn(line + from, "\t");
		if (n > at - from)
			n = at - from;
		repeat(err, ' ', amp_utf8_columns(line + from, n));
		if (from + n < at) {
			fputc('\t', err);
			n++;
		}
	}
	fputc('^', err);
	columns = amp_utf8_columns(line + at, len < to - at ? len : to - at);
	repeat(err, '~', columns ? columns - 1 : 0);
	fputc('\n', err);
}

void amp_source_show(FILE *err, const char *where, const char *text)
{
	const char *line = line_of(where), *at = NULL;

	if (!line)
		return;
	if (text && *text) {
		at = strstr(line + value_at(line), text);
		if (!at)
			at = strstr(line, text);
	}
	if (at)
		mark(err, line, (size_t)(at - line), strlen(text));
	else if (text) /* an empty value: where it should be */
		mark(err, line, value_at(line), 1);
	else
		mark(err, line, strspn(line, " \t"), strlen(line + strspn(line, " \t")));
}

void amp_source_show_column(FILE *err, const char *where, size_t at)
{
	const char *line = line_of(where);

	if (line)
		mark(err, line, at, 1);
}

void amp_source_show_key(FILE *err, const char *where, const char *key)
{
	const char *line = line_of(where);
	const char *at = line ? strstr(line, key) : NULL;

	if (at)
		mark(err, line, (size_t)(at - line), strlen(key));
}

void amp_source_show_at(FILE *err, const char *where, const char *value, size_t at)
{
	const char *line = line_of(where);
	size_t len = strcspn(value + at, " \t");

	if (line)
		mark(err, line, value_at(line) + at, len);
	else /* an option: its text alone */
		mark(err, value, at, len);
}

/* ---- the file ---- */

/* A pipe may be one's way to hand it over, but it is not waited for who may open it some day. */
static FILE *open_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	FILE *in;

	if (fd < 0)
		return NULL;
	fcntl(fd, F_SETFL, O_RDONLY);
	in = fdopen(fd, "r");
	if (!in)
		close(fd);
	return in;
}

static bool is_pipe(FILE *in)
{
	struct stat st;

	return fstat(fileno(in), &st) == 0 && S_ISFIFO(st.st_mode);
}

int amp_config_file(struct amp_config *conf, const char *path, FILE *err)
{
	FILE *in = open_file(path);
	int r, ch;

	if (!in) {
		fprintf(err, "%s: %s\n", path, strerror(errno));
		conf->bad = true;
		return -EINVAL;
	}
	ch = fgetc(in);
	if (ch == EOF && is_pipe(in)) {
		fprintf(err, "%s: is a pipe with nothing in it: expected a file\n", path);
		fclose(in);
		conf->bad = true;
		return -EINVAL;
	}
	ungetc(ch, in);
	r = amp_config_stream(conf, in, path, err);
	fclose(in);
	return r;
}

/* ---- slips of the pen ---- */

/* Letters to change, add, leave out or exchange with their neighbours. Longer words: many. */
static unsigned distance(const char *a, const char *b)
{
	enum { MAX = 24 };
	unsigned d[MAX + 1][MAX + 1];
	size_t n = strlen(a), m = strlen(b);

	if (n > MAX || m > MAX)
		return MAX;
	for (unsigned i = 0; i <= n; i++)
		d[i][0] = i;
	for (unsigned j = 0; j <= m; j++)
		d[0][j] = j;
	for (unsigned i = 1; i <= n; i++) {
		for (unsigned j = 1; j <= m; j++) {
			unsigned v = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

			if (d[i - 1][j] + 1 < v)
				v = d[i - 1][j] + 1;
			if (d[i][j - 1] + 1 < v)
				v = d[i][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < v)
				v = d[i - 2][j - 2] + 1;
			d[i][j] = v;
		}
	}
	return d[n][m];
}

void amp_nearest(const char *typed, const char *known, struct amp_nearest *n)
{
	unsigned d = distance(typed, known);

	/* half of a short word is another word */
	if (d <= 2 && d < strlen(typed) && d <= strlen(known) / 2 &&
	    (!n->word || d < n->distance)) {
		n->word = known;
		n->distance = d;
	}
}
