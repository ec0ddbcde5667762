// SPDX-License-Identifier: BSD-3-Clause
/* Answers as tables. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/utf8.h"
#include "ctl.h"

#define CELL 1100 /* a rule has up to 1023 bytes */

struct column {
	const char *title, *key;
	bool number; /* to the right */
	/* What else goes into the cell. NULL: the value as it is. */
	void (*text)(const cJSON *row, char *dst, size_t len);
};

void ctl_put_clean(FILE *to, const char *text)
{
	char clean[CELL];

	snprintf(clean, sizeof(clean), "%s", text);
	amp_utf8_clean(clean, false);
	fputs(clean, to);
}

static size_t columns(const char *text)
{
	return amp_utf8_columns(text, strlen(text));
}

int ctl_print_json(const cJSON *result)
{
	char *text = cJSON_PrintUnformatted(result);

	if (!text)
		return ctl_complain(ENOMEM, "no memory");
	puts(text);
	free(text);
	return 0;
}

static void cell(const struct column *col, const cJSON *row, char *dst, size_t len)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(row, col->key);

	if (col->text)
		col->text(row, dst, len);
	else if (cJSON_IsString(v) && snprintf(dst, len, "%s", v->valuestring) >= (int)len)
		strcpy(dst + len - 4, "...");
	else if (cJSON_IsString(v))
		;
	else if (cJSON_IsNumber(v))
		snprintf(dst, len, "%.0f", v->valuedouble);
	else if (cJSON_IsBool(v))
		snprintf(dst, len, "%s", cJSON_IsTrue(v) ? "yes" : "no");
	else
		snprintf(dst, len, "-");
	if (!dst[0])
		snprintf(dst, len, "-");
}

static void put_row(const struct column *cols, const size_t *width, unsigned cnt,
		    char (*cells)[CELL])
{
	for (unsigned i = 0; i < cnt; i++) {
		int pad = (int)(width[i] - columns(cells[i]));

		if (cols[i].number)
			printf("%*s", pad, "");
		ctl_put_clean(stdout, cells[i]);
		if (i + 1 < cnt)
			printf("%*s", (cols[i].number ? 0 : pad) + 2, "");
	}
	putchar('\n');
}

#define COLUMNS_MAX 16

static void table(const struct column *cols, unsigned cnt, const cJSON *rows)
{
	char cells[COLUMNS_MAX][CELL];
	size_t width[COLUMNS_MAX];
	const cJSON *row;

	for (unsigned i = 0; i < cnt; i++) {
		width[i] = strlen(cols[i].title);
		snprintf(cells[i], CELL, "%s", cols[i].title);
	}
	cJSON_ArrayForEach(row, rows)
	{
		for (unsigned i = 0; i < cnt; i++) {
			char text[CELL];

			cell(&cols[i], row, text, CELL);
			if (columns(text) > width[i])
				width[i] = columns(text);
		}
	}
	put_row(cols, width, cnt, cells);
	cJSON_ArrayForEach(row, rows)
	{
		for (unsigned i = 0; i < cnt; i++)
			cell(&cols[i], row, cells[i], CELL);
		put_row(cols, width, cnt, cells);
	}
}

static void rtt(const cJSON *row, char *dst, size_t len)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(row, "rtt_us");

	dst[0] = 0;
	if (cJSON_IsNumber(v))
		snprintf(dst, len, "%.3f", v->valuedouble / 1000);
}

static const struct column link_columns[] = {
	{"LINK", "name", false, NULL},
	{"TYPE", "type", false, NULL},
	{"CID", "cid", true, NULL},
	{"UP", "up", false, NULL},
	{"FLOWS", "flows", true, NULL},
	{"SOCKETS", "sockets", true, NULL},
	{"FROM-GUEST", "from_guest_bytes", true, NULL},
	{"TO-GUEST", "to_guest_bytes", true, NULL},
	{"STALLS", "credit_stalls", true, NULL},
	{"DROPS", "datagram_drops", true, NULL},
	{"RESETS", "resets", true, NULL},
	{"DENIED", "denied", true, NULL},
	{"REFUSED", "refused", true, NULL},
	{"RESTARTS", "restarts", true, NULL},
	{"PATH", "path", false, NULL},
};

static const struct column socket_columns[] = {
	{"LINK", "link", false, NULL},
	{"KIND", "kind", false, NULL},
	{"PROTO", "proto", false, NULL},
	{"STATE", "state", false, NULL},
	{"GUEST", "guest_peer", false, NULL},
	{"ASKED", "guest_local", false, NULL},
	{"LOCAL", "host_local", false, NULL},
	{"PEER", "host_peer", false, NULL},
	{"FROM-GUEST", "from_guest_bytes", true, NULL},
	{"TO-GUEST", "to_guest_bytes", true, NULL},
	{"CREDIT", "credit_bytes", true, NULL},
	{"WINDOW", "window_bytes", true, NULL},
	{"HELD", "held_bytes", true, NULL},
	{"STALLS", "stalls", true, NULL},
	{"RTT-MS", "rtt_us", true, rtt},
};

static const struct column rule_columns[] = {
	{"LINK", "link", false, NULL}, {"KIND", "kind", false, NULL},
	{"HITS", "hits", true, NULL},  {"DENIED", "denied", true, NULL},
	{"RULE", "rule", false, NULL}, {"WHERE", "where", false, NULL},
};

static void pairs(const cJSON *object)
{
	const struct column col = {.title = ""};
	const cJSON *v;
	char text[CELL];

	cJSON_ArrayForEach(v, object)
	{
		struct column one = col;

		one.key = v->string;
		cell(&one, object, text, sizeof(text));
		printf("%-20s ", v->string);
		ctl_put_clean(stdout, text);
		putchar('\n');
	}
}

int ctl_show(const char *what, const cJSON *result, const struct ctl_options *opt)
{
	if (opt->json)
		return ctl_print_json(result);
	if (strcmp(what, "links") == 0)
		table(link_columns, sizeof(link_columns) / sizeof(*link_columns), result);
	else if (strcmp(what, "sockets") == 0)
		table(socket_columns, sizeof(socket_columns) / sizeof(*socket_columns), result);
	else if (strcmp(what, "rules") == 0)
		table(rule_columns, sizeof(rule_columns) / sizeof(*rule_columns), result);
	else
		pairs(result);
	return 0;
}
