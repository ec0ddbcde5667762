/* SPDX-License-Identifier: BSD-3-Clause */
/* ampsockctl: what its files share. The protocol is docs/control.md's. */
#ifndef AMP_CTL_H
#define AMP_CTL_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* sysexits of our own, few, as the proxy's */
#define EXIT_RUN   1
#define EXIT_USAGE 2

struct ctl_options {
	const char *socket;
	const char *link;
	const char *file;
	bool json;
	uint32_t frames; /* of top; 0: no end */
	uint32_t interval_s;
	uint32_t count, snap; /* 0: not given */
};

/* A connection and what of its input was not used yet. */
struct ctl_conn {
	int fd;
	char *buf;
	size_t len, room;
	bool heard; /* it has said something */
};

/* ---- ctl_conn.c ---- */
/* From now on errors are JSON (docs/control.md, "ampsockctl --json"), or text. */
void ctl_errors_json(bool json);
/* To stderr: "ampsockctl: ...", or JSON with err, an errno value, as its code. EXIT_RUN. */
int ctl_complain(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* 0, or EXIT_RUN and said. */
int ctl_connect(struct ctl_conn *conn, const char *path);
void ctl_close(struct ctl_conn *conn);
/*
 * Sends {"cmd":cmd}, or req with cmd in it, which is deleted. The result: an array for links,
 * sockets and rules, else an object; NULL: said.
 */
cJSON *ctl_ask(struct ctl_conn *conn, const char *cmd, cJSON *req);
/* Bytes that are there, at least want of them: waits. False: the end, or an error (said). */
bool ctl_more(struct ctl_conn *conn, size_t want);
void ctl_used(struct ctl_conn *conn, size_t len);

/* ---- ctl_show.c ---- */
int ctl_show(const char *what, const cJSON *result, const struct ctl_options *opt);
/* result on a line. */
int ctl_print_json(const cJSON *result);
/* Text of an answer, which is UTF-8, fit for a terminal. */
void ctl_put_clean(FILE *to, const char *text);

/* ---- ctl_top.c ---- */
int ctl_top(struct ctl_conn *conn, const struct ctl_options *opt);

/* ---- ctl_capture.c ---- */
int ctl_capture(struct ctl_conn *conn, const struct ctl_options *opt);

#endif /* AMP_CTL_H */
