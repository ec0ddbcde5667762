// SPDX-License-Identifier: BSD-3-Clause
/* top: what moves, on a plain terminal, refreshed every few seconds. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "../wire/utf8.h"
#include "ctl.h"

#define SOCKETS_SHOWN 15u
#define ANEW_S	      30u

/* One line of a frame: what was counted, and when it was counted before. */
struct entry {
	cJSON *row;
	char key[96];
	double from, to;	   /* bytes */
	double from_rate, to_rate; /* bytes/s */
};

struct frame {
	cJSON *links, *sockets;
	struct entry *entry[2]; /* of links, of sockets: by key */
	size_t cnt[2];
	double at_s;
};

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double number(const cJSON *row, const char *key)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(row, key);

	return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

static const char *text(const cJSON *row, const char *key)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(row, key);

	return cJSON_IsString(v) ? v->valuestring : "-";
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static int by_rate(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	double d = y->from_rate + y->to_rate - x->from_rate - x->to_rate;

	if (d == 0)
		d = y->from + y->to - x->from - x->to;
	return d > 0 ? 1 : d < 0 ? -1 : strcmp(x->key, y->key);
}

static void frame_free(struct frame *f)
{
	cJSON_Delete(f->links);
	cJSON_Delete(f->sockets);
	free(f->entry[0]);
	free(f->entry[1]);
	memset(f, 0, sizeof(*f));
}

static bool index_rows(struct frame *f, unsigned which, const cJSON *rows)
{
	size_t n = 0, cnt = (size_t)cJSON_GetArraySize(rows);
	cJSON *row;

	f->entry[which] = calloc(cnt + 1, sizeof(struct entry));
	if (!f->entry[which]) {
		ctl_complain(ENOMEM, "no memory");
		return false;
	}
	cJSON_ArrayForEach(row, rows)
	{
		struct entry *e = &f->entry[which][n];

		e->row = row;
		if (which && !cJSON_HasObjectItem(row, "id"))
			continue; /* a listener: nothing moves there */
		snprintf(e->key, sizeof(e->key), "%s/%.0f", text(row, which ? "link" : "name"),
			 number(row, "id"));
		e->from = number(row, "from_guest_bytes");
		e->to = number(row, "to_guest_bytes");
		n++;
	}
	f->cnt[which] = n;
	qsort(f->entry[which], n, sizeof(struct entry), by_key);
	return true;
}

static void rates(struct frame *now, const struct frame *before, unsigned which)
{
	double s = now->at_s - before->at_s;

	for (size_t i = 0; i < now->cnt[which]; i++) {
		struct entry *e = &now->entry[which][i];
		const struct entry *old =
			before->entry[which] ? bsearch(e, before->entry[which],
						       before->cnt[which], sizeof(*e), by_key)
					     : NULL;

		if (!old || s <= 0)
			continue;
		/* a counter that is smaller belongs to a proxy that began anew */
		e->from_rate = e->from > old->from ? (e->from - old->from) / s : 0;
		e->to_rate = e->to > old->to ? (e->to - old->to) / s : 0;
	}
}

static const char *human(double v, char dst[16])
{
	static const char unit[] = " KMGTP";
	unsigned i = 0;

	while (v >= 9999.5 && i + 2 < sizeof(unit)) {
		v /= 1024;
		i++;
	}
	if (i)
		snprintf(dst, 16, "%.1f%c", v, unit[i]);
	else
		snprintf(dst, 16, "%.0f", v);
	return dst;
}

/* In a column of 16. */
static void put_name(FILE *to, const char *name)
{
	size_t len = strlen(name);

	ctl_put_clean(to, name);
	fprintf(to, "%*s", len < 16 ? (int)(16 - len) : 0, "");
}

static void put_rate(FILE *to, const struct entry *e)
{
	char a[16], b[16], c[16], d[16];

	fprintf(to, "  %9s %9s  %9s %9s", human(e->from_rate, a), human(e->to_rate, b),
		human(e->from, c), human(e->to, d));
}

/* Of what there is, what the terminal has room for; no terminal: everything, and 15 sockets. */
struct screen {
	bool tty;
	bool clear; /* it can be cleared */
	unsigned rows, columns;
};

static void look_at(struct screen *s, const struct ctl_options *opt)
{
	const char *term = getenv("TERM");
	struct winsize w = {0};

	memset(s, 0, sizeof(*s));
	s->tty = isatty(STDOUT_FILENO) && !opt->json;
	if (!s->tty)
		return;
	s->clear = term && term[0] && strcmp(term, "dumb");
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &w); /* none: no bounds */
	s->columns = w.ws_col;
	if (s->clear) /* what scrolls has room for all */
		s->rows = w.ws_row;
}

/* How many links and sockets have a line: of both some, if there is room for two. */
static void divide(const struct frame *f, const struct screen *s, size_t shown[2])
{
	const size_t other = 4; /* two titles, an empty line, and the cursor's */
	size_t room = s->rows > other + 2 ? s->rows - other : 2;

	shown[0] = f->cnt[0];
	shown[1] = f->cnt[1] < SOCKETS_SHOWN ? f->cnt[1] : SOCKETS_SHOWN;
	if (!s->rows || shown[0] + shown[1] <= room)
		return;
	if (shown[1] > room / 2)
		shown[1] = shown[0] < room - room / 2 ? room - shown[0] : room / 2;
	if (shown[0] > room - shown[1])
		shown[0] = room - shown[1];
}

static void show_links(FILE *to, struct frame *f, size_t shown)
{
	struct entry *l = f->entry[0];
	char title[40] = "LINK";

	if (shown < f->cnt[0]) { /* then those that move */
		qsort(l, f->cnt[0], sizeof(*l), by_rate);
		snprintf(title, sizeof(title), "LINK (%.0f of %.0f)", (double)shown,
			 (double)f->cnt[0]);
	}
	fprintf(to, "%-16s  %9s %9s  %9s %9s  %5s %7s %8s\n", title, "FROM/s", "TO/s", "FROM",
		"TO", "FLOWS", "SOCKETS", "STALLS");
	for (size_t i = 0; i < shown; i++) {
		const struct entry *e = &l[i];

		put_name(to, text(e->row, "name"));
		put_rate(to, e);
		fprintf(to, "  %5.0f %7.0f %8.0f\n", number(e->row, "flows"),
			number(e->row, "sockets"),
			number(e->row, "credit_stalls") + number(e->row, "buffer_stalls"));
	}
	qsort(l, f->cnt[0], sizeof(*l), by_key); /* for rates() of the next frame */
}

static void show_sockets(FILE *to, struct frame *f, size_t shown)
{
	struct entry *s = f->entry[1];

	fprintf(to, "\n%-16s  %9s %9s  %9s %9s  %s\n", "SOCKET OF", "FROM/s", "TO/s", "FROM",
		"TO", "WHAT");
	qsort(s, f->cnt[1], sizeof(*s), by_rate);
	for (size_t i = 0; i < shown; i++) {
		put_name(to, text(s[i].row, "link"));
		put_rate(to, &s[i]);
		fprintf(to, "  ");
		ctl_put_clean(to, text(s[i].row, "kind"));
		fputc(' ', to);
		ctl_put_clean(to, text(s[i].row, "guest_peer"));
		fprintf(to, " <> ");
		ctl_put_clean(to, text(s[i].row, cJSON_HasObjectItem(s[i].row, "host_peer")
							 ? "host_peer"
							 : "guest_local"));
		fputc('\n', to);
	}
	qsort(s, f->cnt[1], sizeof(*s), by_key);
}

/* Lines that are no longer than the terminal's, and no more: one that scrolled lost its titles. */
static void put_lines(const char *text, const struct screen *s)
{
	for (unsigned row = 1; *text && (!s->rows || row < s->rows || row == 1); row++) {
		size_t len = strcspn(text, "\n"), n = len;

		/* back to where a character ends: part of a wide one has fewer columns */
		while (s->columns && n &&
		       ((text[n] & 0xc0) == 0x80 || amp_utf8_columns(text, n) > s->columns))
			n--;
		printf("%.*s\n", (int)n, text);
		text += len + (text[len] != 0);
	}
}

static int show(struct frame *f, bool first, const struct ctl_options *opt)
{
	size_t shown[2], len;
	struct screen s;
	char *text = NULL;
	FILE *to = open_memstream(&text, &len);

	if (!to)
		return ctl_complain(ENOMEM, "no memory");
	look_at(&s, opt);
	divide(f, &s, shown);
	show_links(to, f, shown[0]);
	show_sockets(to, f, shown[1]);
	if (fclose(to)) {
		free(text);
		return ctl_complain(ENOMEM, "no memory");
	}
	if (s.clear)
		printf("\033[H\033[J");
	else if (!first)
		putchar('\n');
	put_lines(text, &s);
	free(text);
	return 0;
}

static cJSON *ask(struct ctl_conn *conn, const char *cmd, const struct ctl_options *opt)
{
	cJSON *req = cJSON_CreateObject();

	if (opt->link)
		cJSON_AddStringToObject(req, "link", opt->link);
	return ctl_ask(conn, cmd, req);
}

/* Bytes a second since the frame before, into the rows themselves: docs/control.md has the keys. */
static void add_rates(struct frame *f, unsigned which)
{
	for (size_t i = 0; i < f->cnt[which]; i++) {
		struct entry *e = &f->entry[which][i];

		cJSON_AddNumberToObject(e->row, "from_guest_bytes_per_s",
					(double)(uint64_t)e->from_rate);
		cJSON_AddNumberToObject(e->row, "to_guest_bytes_per_s",
					(double)(uint64_t)e->to_rate);
	}
}

static int show_json(struct frame *f)
{
	cJSON *o = cJSON_CreateObject();
	struct timespec ts;
	int r;

	add_rates(f, 0);
	add_rates(f, 1);
	clock_gettime(CLOCK_REALTIME, &ts);
	cJSON_AddNumberToObject(
		o, "time_ms",
		(double)((int64_t)ts.tv_sec * 1000 + (int64_t)ts.tv_nsec / 1000000));
	cJSON_AddItemReferenceToObject(o, "links", f->links);
	cJSON_AddItemReferenceToObject(o, "sockets", f->sockets);
	r = ctl_print_json(o);
	cJSON_Delete(o);
	return r;
}

/*
 * Until the next frame. The proxy ends a connection that says nothing for a minute
 * (docs/control.md), so that over a long pause there is none.
 */
static int next(struct ctl_conn *conn, const struct ctl_options *opt)
{
	const struct timespec pause = {.tv_sec = opt->interval_s};
	bool anew = opt->interval_s >= ANEW_S;

	if (anew)
		ctl_close(conn);
	nanosleep(&pause, NULL);
	return anew ? ctl_connect(conn, opt->socket) : 0;
}

int ctl_top(struct ctl_conn *conn, const struct ctl_options *opt)
{
	struct frame now = {0}, before = {0};
	int r = 0;

	for (uint32_t n = 0; !r && (!opt->frames || n < opt->frames); n++) {
		r = n ? next(conn, opt) : 0;
		if (r)
			break;
		now.links = ask(conn, "links", opt);
		now.sockets = now.links ? ask(conn, "sockets", opt) : NULL;
		now.at_s = now_s();
		r = now.sockets && index_rows(&now, 0, now.links) &&
				    index_rows(&now, 1, now.sockets)
			    ? 0
			    : EXIT_RUN;
		if (r)
			break;
		rates(&now, &before, 0);
		rates(&now, &before, 1);
		r = opt->json ? show_json(&now) : show(&now, n == 0, opt);
		if (fflush(stdout))
			r = ctl_complain(errno, "cannot write the answer: %s", strerror(errno));
		frame_free(&before);
		before = now;
		memset(&now, 0, sizeof(now));
	}
	frame_free(&now);
	frame_free(&before);
	return r;
}
