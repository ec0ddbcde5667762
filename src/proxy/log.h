/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One line an event, to stderr; what can come in floods is limited per kind.
 *
 *	ampsock-proxy: LEVEL: MESSAGE[ KEY=VALUE ...]
 *
 * Where stderr is the journal's (JOURNAL_STREAM says so), a line begins with its priority in
 * sd-daemon(3)'s way, <3> to <7>. Values with blanks, quotes or = are quoted. A line is one line
 * and one write(), whatever a guest's name has in it; one that is too long (2047 bytes) ends with
 * [cut]. Nobody waits for who reads the log: what finds no room is counted, and said later.
 */
#ifndef AMP_PROXY_LOG_H
#define AMP_PROXY_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdint.h>

enum amp_log_level { AMP_LOG_ERROR, AMP_LOG_WARN, AMP_LOG_INFO, AMP_LOG_DEBUG };

/* What limits one kind of line: at most AMP_LOG_BURST in AMP_LOG_WINDOW_MS. Zeroed at first. */
#define AMP_LOG_BURST	  10u
#define AMP_LOG_WINDOW_MS 10000u
struct amp_log_rate {
	uint64_t since_ms;
	unsigned cnt;
	unsigned held_back; /* and to be told by the next line: log.c's table was full */
};

/* What is for machines to read. A list ends with a key NULL; a text NULL is left out. */
struct amp_log_field {
	const char *key;
	const char *text;
	uint64_t number;
	bool is_number;
};
#define AMP_LOG_TEXT(k, t)              \
	{                               \
		.key = (k), .text = (t) \
	}
#define AMP_LOG_NUMBER(k, n)                                 \
	{                                                    \
		.key = (k), .number = (n), .is_number = true \
	}
#define AMP_LOG_END         \
	{                   \
		.key = NULL \
	}

void amp_log_level_set(enum amp_log_level level);
enum amp_log_level amp_log_level_get(void);
const char *amp_log_level_text(enum amp_log_level level);
/* -EINVAL: no such level. */
int amp_log_level_parse(const char *text, enum amp_log_level *level);

void amp_log(enum amp_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void amp_log_some(struct amp_log_rate *rate, enum amp_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same with fields behind the message. rate NULL: not limited. */
void amp_log_fields(struct amp_log_rate *rate, enum amp_log_level level,
		    const struct amp_log_field *fields, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* A line that somebody asked for, whatever the level: "ampsock-proxy: counters: ...". */
void amp_log_counters(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Suppressed lines are told of by the next one of their kind, or by this call when none came in
 * their window (all: whether it is over or not). Returns ms until there is more to tell, 0: there
 * is none.
 */
uint64_t amp_log_tell(bool all);
/* held: something waits to be told; called once until amp_log_tell() has returned 0. */
void amp_log_on_held(void (*held)(void));
/* Calls amp_log_tell() from the loop's timer. */
void amp_log_timer_start(void);
void amp_log_timer_stop(void);

/*
 * Where a mistake in options or files is told, with its lines, before there is a proxy whose log it
 * could be in: standard error, with priorities if that is the journal's. To be kept open.
 */
FILE *amp_log_errors(void);

/* Text from a stranger, fit for one log line. Returns dst. */
const char *amp_log_clean(char *dst, size_t dst_len, const void *text, size_t len);

/* Monotonic milliseconds. */
uint64_t amp_now_ms(void);

#endif /* AMP_PROXY_LOG_H */
