/* SPDX-License-Identifier: BSD-3-Clause */
/* One line an event, to stderr; what can come in floods is limited per kind. */
#ifndef AMP_PROXY_LOG_H
#define AMP_PROXY_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum amp_log_level { AMP_LOG_ERROR, AMP_LOG_WARN, AMP_LOG_INFO, AMP_LOG_DEBUG };

/* What limits one kind of line: at most AMP_LOG_BURST in AMP_LOG_WINDOW_MS. Zeroed at first. */
#define AMP_LOG_BURST	  10u
#define AMP_LOG_WINDOW_MS 10000u
struct amp_log_rate {
	uint64_t since_ms;
	unsigned cnt;
	unsigned held_back;
};

void amp_log_level_set(enum amp_log_level level);
enum amp_log_level amp_log_level_get(void);
/* -EINVAL: no such level. */
int amp_log_level_parse(const char *text, enum amp_log_level *level);

void amp_log(enum amp_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void amp_log_some(struct amp_log_rate *rate, enum amp_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Text from a stranger, fit for one log line. Returns dst. */
const char *amp_log_clean(char *dst, size_t dst_len, const void *text, size_t len);

/* Monotonic milliseconds. */
uint64_t amp_now_ms(void);

#endif /* AMP_PROXY_LOG_H */
