// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls write clock_gettime
 * #syscalls:helper write clock_gettime
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define LINE_MAX_LEN 512

static enum amp_log_level threshold = AMP_LOG_INFO;
static const char *const level_name[] = {"error", "warning", "info", "debug"};

void amp_log_level_set(enum amp_log_level level)
{
	threshold = level;
}

enum amp_log_level amp_log_level_get(void)
{
	return threshold;
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

/* One write() a line, so that lines of several processes on one pipe do not mix. */
static void line(enum amp_log_level level, const char *fmt, va_list ap)
{
	char buf[LINE_MAX_LEN];
	int n, m;
	ssize_t r;

	n = snprintf(buf, sizeof(buf), "ampsock-proxy: %s: ", level_name[level]);
	m = vsnprintf(buf + n, sizeof(buf) - (size_t)n - 1, fmt, ap);
	if (m < 0)
		return;
	n += m;
	if (n > LINE_MAX_LEN - 2)
		n = LINE_MAX_LEN - 2;
	buf[n] = '\n';
	do
		r = write(STDERR_FILENO, buf, (size_t)n + 1);
	while (r < 0 && errno == EINTR); /* the loop's alarm */
}

void amp_log(enum amp_log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > threshold)
		return;
	va_start(ap, fmt);
	line(level, fmt, ap);
	va_end(ap);
}

void amp_log_some(struct amp_log_rate *rate, enum amp_log_level level, const char *fmt, ...)
{
	uint64_t now = amp_now_ms();
	va_list ap;

	if (level > threshold)
		return;
	if (now - rate->since_ms >= AMP_LOG_WINDOW_MS) {
		if (rate->held_back)
			amp_log(level, "%u more lines like the next one were held back",
				rate->held_back);
		rate->since_ms = now;
		rate->cnt = 0;
		rate->held_back = 0;
	}
	if (rate->cnt == AMP_LOG_BURST) {
		rate->held_back++;
		return;
	}
	rate->cnt++;
	va_start(ap, fmt);
	line(level, fmt, ap);
	va_end(ap);
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
