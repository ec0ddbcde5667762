// SPDX-License-Identifier: BSD-3-Clause
/*
 * A guest that does what it is told: a Linux process with the library inside, whose calls a
 * test makes by text.
 *
 *	agent [PATH]        brings the link at PATH up first (none: only `link` does)
 *	agent rpmsg-remote:FILE,BELL | rpmsg-host:FILE,BELL | rpmsg-device:PATH
 *	                    a link of the other kind
 *
 * A line of standard input is "ID CALL ARGUMENT...", with numbers in decimal and bytes in
 * hexadecimal ("-": none); each runs in a thread of its own and answers one line on standard
 * output, "ID RESULT ERRNO WORD...". The main thread waits for lines in amp_read(), so the
 * stack moves at all times. End of input: exit 0.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../include/ampsock.h"
#include "../../include/ampsock_hosted.h"
#include "../../src/socket/amp_calls.h"

#define ARGS   40
#define PERIOD 65521u /* of the pattern: a prime, so that no buffer's length divides it */

struct job {
	char *line;
	char *arg[ARGS];
	int argc;
	char *out; /* words of the answer */
	size_t out_len, out_size;
};

static pthread_mutex_t out_lock = PTHREAD_MUTEX_INITIALIZER;
static uint8_t pattern[2 * PERIOD];

static long num(const struct job *j, int i)
{
	return i < j->argc ? strtol(j->arg[i], NULL, 0) : 0;
}

static void word(struct job *j, const char *text)
{
	size_t len = strlen(text);

	if (j->out_len + len + 2 > j->out_size) {
		j->out_size = (j->out_len + len + 2) * 2;
		j->out = realloc(j->out, j->out_size);
		if (!j->out)
			abort();
	}
	j->out[j->out_len++] = ' ';
	memcpy(j->out + j->out_len, text, len + 1);
	j->out_len += len;
}

static void word_num(struct job *j, long n)
{
	char text[24];

	snprintf(text, sizeof(text), "%ld", n);
	word(j, text);
}

static void word_hex(struct job *j, const void *data, size_t len)
{
	static const char digit[] = "0123456789abcdef";
	const uint8_t *p = data;
	char *text = malloc(2 * len + 2);

	if (!text)
		abort();
	for (size_t i = 0; i < len; i++) {
		text[2 * i] = digit[p[i] >> 4];
		text[2 * i + 1] = digit[p[i] & 15];
	}
	text[2 * len] = '\0';
	word(j, len ? text : "-");
	free(text);
}

/* Bytes of an argument; its own text is overwritten. */
static uint8_t *hex(struct job *j, int i, size_t *len)
{
	char *s = i < j->argc ? j->arg[i] : (char *)(uintptr_t) "-";
	uint8_t *p = (uint8_t *)s;
	size_t n = 0;

	if (*s == '-') {
		*len = 0;
		return (uint8_t *)s;
	}
	for (; s[0] && s[1]; s += 2) {
		unsigned byte;

		if (sscanf(s, "%2x", &byte) != 1)
			abort();
		p[n++] = (uint8_t)byte;
	}
	*len = n;
	return p;
}

/* ---- calls ---- */

static long do_socket(struct job *j)
{
	return amp_socket((int)num(j, 2), (int)num(j, 3), (int)num(j, 4));
}

static long do_bind(struct job *j)
{
	size_t len;
	uint8_t *sa = hex(j, 3, &len);
	struct sockaddr_storage ss;

	memcpy(&ss, sa, len);
	return amp_bind((int)num(j, 2), (struct sockaddr *)&ss, (socklen_t)len);
}

static long do_connect(struct job *j)
{
	size_t len;
	uint8_t *sa = hex(j, 3, &len);
	struct sockaddr_storage ss;

	memcpy(&ss, sa, len);
	return amp_connect((int)num(j, 2), (struct sockaddr *)&ss, (socklen_t)len);
}

static long do_listen(struct job *j)
{
	return amp_listen((int)num(j, 2), (int)num(j, 3));
}

static long do_accept(struct job *j)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int r = amp_accept4((int)num(j, 2), (struct sockaddr *)&ss, &len, (int)num(j, 3));

	if (r >= 0)
		word_hex(j, &ss, len);
	return r;
}

static long do_sendto(struct job *j)
{
	size_t len, sa_len;
	uint8_t *data = hex(j, 3, &len);
	uint8_t *sa = hex(j, 5, &sa_len);
	struct sockaddr_storage ss;

	memcpy(&ss, sa, sa_len);
	return amp_sendto((int)num(j, 2), data, len, (int)num(j, 4),
			  sa_len ? (struct sockaddr *)&ss : NULL, (socklen_t)sa_len);
}

/* recvmsg FD LEN FLAGS -> data, source, msg_flags */
static long do_recvmsg(struct job *j)
{
	struct sockaddr_storage ss;
	size_t room = (size_t)num(j, 3);
	struct iovec iov = {.iov_base = malloc(room + 1), .iov_len = room};
	struct msghdr m = {
		.msg_name = &ss, .msg_namelen = sizeof(ss), .msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n = amp_recvmsg((int)num(j, 2), &m, (int)num(j, 4));
	int err = errno;

	if (n >= 0) {
		word_hex(j, iov.iov_base, (size_t)n < room ? (size_t)n : room);
		word_hex(j, &ss, m.msg_namelen);
		word_num(j, m.msg_flags);
	}
	free(iov.iov_base);
	errno = err;
	return n;
}

static long do_shutdown(struct job *j)
{
	return amp_shutdown((int)num(j, 2), (int)num(j, 3));
}

static long do_close(struct job *j)
{
	return amp_close((int)num(j, 2));
}

static long do_name(struct job *j)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int r = num(j, 3) ? amp_getpeername((int)num(j, 2), (struct sockaddr *)&ss, &len)
			  : amp_getsockname((int)num(j, 2), (struct sockaddr *)&ss, &len);

	if (r == 0)
		word_hex(j, &ss, len);
	return r;
}

static long do_getsockopt(struct job *j)
{
	uint8_t val[64];
	socklen_t len = (socklen_t)num(j, 5);
	int r = amp_getsockopt((int)num(j, 2), (int)num(j, 3), (int)num(j, 4), val, &len);

	if (r == 0)
		word_hex(j, val, len);
	return r;
}

static long do_setsockopt(struct job *j)
{
	size_t len;
	uint8_t *val = hex(j, 5, &len), copy[64];

	memcpy(copy, val, len);
	return amp_setsockopt((int)num(j, 2), (int)num(j, 3), (int)num(j, 4), copy,
			      (socklen_t)len);
}

static long do_fcntl(struct job *j)
{
	return amp_fcntl((int)num(j, 2), (int)num(j, 3), (int)num(j, 4));
}

static long do_readable(struct job *j)
{
	int n = 0, r = amp_ioctl((int)num(j, 2), 0x541b /* FIONREAD */, &n);

	return r < 0 ? r : n;
}

/* poll TIMEOUT FD EVENTS FD EVENTS ... -> revents of each */
static long do_poll(struct job *j)
{
	struct pollfd p[ARGS / 2];
	int n = 0, r;

	for (int i = 3; i + 1 < j->argc; i += 2, n++)
		p[n] = (struct pollfd){.fd = (int)num(j, i), .events = (short)num(j, i + 1)};
	r = amp_poll(p, (nfds_t)n, (int)num(j, 2));
	for (int i = 0; i < n && r >= 0; i++)
		word_num(j, p[i].revents);
	return r;
}

/* getaddrinfo NODE SERVICE FAMILY TYPE FLAGS -> canonical name, addresses */
static long do_getaddrinfo(struct job *j)
{
	struct addrinfo hints = {.ai_family = (int)num(j, 4),
				 .ai_socktype = (int)num(j, 5),
				 .ai_flags = (int)num(j, 6)};
	struct addrinfo *res, *a;
	int r = amp_getaddrinfo(strcmp(j->arg[2], "-") ? j->arg[2] : NULL,
				strcmp(j->arg[3], "-") ? j->arg[3] : NULL, &hints, &res);

	if (r)
		return r;
	word(j, res->ai_canonname ? res->ai_canonname : "-");
	for (a = res; a; a = a->ai_next)
		word_hex(j, a->ai_addr, a->ai_addrlen);
	amp_freeaddrinfo(res);
	return 0;
}

static long do_getnameinfo(struct job *j)
{
	char host[256], serv[64];
	struct sockaddr_storage ss;
	size_t len;
	uint8_t *sa = hex(j, 2, &len);
	int r;

	memcpy(&ss, sa, len);
	r = amp_getnameinfo((struct sockaddr *)&ss, (socklen_t)len, host, sizeof(host), serv,
			    sizeof(serv), (int)num(j, 3));
	if (r == 0) {
		word(j, host);
		word(j, serv);
	}
	return r;
}

static long do_link(struct job *j)
{
	int r = amp_link_vhost_user(j->arg[2], (int)num(j, 3));

	errno = -r;
	return r ? -1 : 0;
}

static long do_stats(struct job *j)
{
	struct amp_stats st;

	amp_stats_get(&st);
	word_num(j, st.sockets_used);
	word_num(j, st.sockets_max);
	word_num(j, st.rings_used);
	word_num(j, st.dgram_drops);
	word_num(j, st.link_resets);
	word_num(j, st.rx_bad);
	word_num(j, st.resets);
	return 0;
}

/* ---- much at once ---- */

/* pump FD TOTAL SEED CHUNK: sends that much of the pattern. */
static long do_pump(struct job *j)
{
	size_t total = (size_t)num(j, 3), seed = (size_t)num(j, 4), chunk = (size_t)num(j, 5);
	size_t done = 0;

	while (done < total) {
		size_t n = total - done < chunk ? total - done : chunk;
		ssize_t r;

		if (n > PERIOD)
			n = PERIOD;
		r = amp_send((int)num(j, 2), pattern + (done + seed) % PERIOD, n, 0);
		if (r <= 0)
			break;
		done += (size_t)r;
	}
	word_num(j, (long)done);
	return done == total ? 0 : -1;
}

/* drain FD MAX SEED: reads to the end (or MAX) and compares; -> bytes, first wrong one or -1 */
static long do_drain(struct job *j)
{
	size_t max = (size_t)num(j, 3), seed = (size_t)num(j, 4), done = 0;
	uint8_t *buf = malloc(PERIOD);
	long bad = -1;
	ssize_t r = 0;
	int err;

	while (done < max) {
		r = amp_recv((int)num(j, 2), buf, max - done < PERIOD ? max - done : PERIOD, 0);
		if (r <= 0)
			break;
		if (bad < 0 && memcmp(buf, pattern + (done + seed) % PERIOD, (size_t)r))
			bad = (long)done;
		done += (size_t)r;
	}
	err = errno;
	free(buf);
	word_num(j, (long)done);
	word_num(j, bad);
	errno = err;
	return r < 0 ? -1 : 0;
}

static void *echo_one(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char *buf = malloc(PERIOD);
	ssize_t n;

	while ((n = amp_recv(fd, buf, PERIOD, 0)) > 0) {
		for (ssize_t at = 0, r; at < n; at += r) {
			r = amp_send(fd, buf + at, (size_t)(n - at), 0);
			if (r <= 0)
				goto out;
		}
	}
	amp_shutdown(fd, SHUT_WR);
out:
	free(buf);
	amp_close(fd);
	return NULL;
}

/* serve FD COUNT: accepts that many and echoes each; returns when the last is accepted. */
static long do_serve(struct job *j)
{
	long n;

	for (n = 0; n < num(j, 3); n++) {
		int fd = amp_accept((int)num(j, 2), NULL, NULL);
		pthread_t t;

		if (fd < 0)
			break;
		if (pthread_create(&t, NULL, echo_one, (void *)(intptr_t)fd))
			abort();
		pthread_detach(t);
	}
	word_num(j, n);
	return n == num(j, 3) ? 0 : -1;
}

/* ---- lines ---- */

static const struct {
	const char *name;
	long (*fn)(struct job *j);
} calls[] = {
	{"socket", do_socket},
	{"bind", do_bind},
	{"connect", do_connect},
	{"listen", do_listen},
	{"accept", do_accept},
	{"sendto", do_sendto},
	{"recvmsg", do_recvmsg},
	{"shutdown", do_shutdown},
	{"close", do_close},
	{"name", do_name},
	{"getsockopt", do_getsockopt},
	{"setsockopt", do_setsockopt},
	{"fcntl", do_fcntl},
	{"readable", do_readable},
	{"poll", do_poll},
	{"getaddrinfo", do_getaddrinfo},
	{"getnameinfo", do_getnameinfo},
	{"link", do_link},
	{"stats", do_stats},
	{"pump", do_pump},
	{"drain", do_drain},
	{"serve", do_serve},
};

static void answer(const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(1, text, len);

		if (n <= 0)
			_exit(1);
		text += n;
		len -= (size_t)n;
	}
}

static void *run(void *arg)
{
	struct job *j = arg;
	char head[64];
	long r = -1;
	size_t i;

	for (char *save = NULL, *w = strtok_r(j->line, " ", &save); w && j->argc < ARGS;
	     w = strtok_r(NULL, " ", &save))
		j->arg[j->argc++] = w;
	for (i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		if (j->argc > 1 && strcmp(calls[i].name, j->arg[1]) == 0)
			break;
	}
	errno = ENOSYS;
	if (i < sizeof(calls) / sizeof(*calls)) {
		errno = 0;
		r = calls[i].fn(j);
	}
	snprintf(head, sizeof(head), "%s %ld %d", j->arg[0], r, r < 0 ? errno : 0);
	pthread_mutex_lock(&out_lock);
	answer(head, strlen(head));
	answer(j->out, j->out_len);
	answer("\n", 1);
	pthread_mutex_unlock(&out_lock);
	free(j->out);
	free(j->line);
	free(j);
	return NULL;
}

static void start(const char *line, size_t len)
{
	struct job *j = calloc(1, sizeof(*j));
	pthread_t t;

	if (!j)
		abort();
	j->line = strndup(line, len);
	if (pthread_create(&t, NULL, run, j))
		abort();
	pthread_detach(t);
}

static void print_log(const char *line)
{
	fprintf(stderr, "ampsock: %s\n", line);
}

static int link_up(char *link)
{
	char *file = strchr(link, ':'), *bell = file ? strchr(file, ',') : NULL;

	if (strncmp(link, "rpmsg-", 6) != 0)
		return amp_link_vhost_user(link, 10000);
	if (strncmp(link, "rpmsg-device:", 13) == 0)
		return amp_link_rpmsg_device(link + 13);
	if (!bell)
		return -EINVAL;
	*bell++ = '\0';
	return strncmp(link, "rpmsg-host", 10) == 0 ? amp_link_rpmsg_host(file + 1, bell)
						    : amp_link_rpmsg_remote(file + 1, bell);
}

int main(int argc, char **argv)
{
	static char in[1 << 20];
	uint32_t x = 12345;
	size_t len = 0;
	ssize_t n;

	for (unsigned i = 0; i < PERIOD; i++) {
		x = x * 1664525u + 1013904223u;
		pattern[i] = pattern[i + PERIOD] = (uint8_t)(x >> 24);
	}
	amp_log_hook(print_log);
	if (argc > 1) {
		int r = link_up(argv[1]);

		if (r) {
			fprintf(stderr, "agent: %s: %s\n", argv[1], strerror(-r));
			return 2;
		}
	}
	answer("0 0 0\n", 6);
	while ((n = amp_read(0, in + len, sizeof(in) - len)) > 0) {
		char *nl, *at = in;

		len += (size_t)n;
		while ((nl = memchr(at, '\n', len - (size_t)(at - in))) != NULL) {
			start(at, (size_t)(nl - at));
			at = nl + 1;
		}
		len -= (size_t)(at - in);
		memmove(in, at, len);
	}
	/* threads that still wait in a call are not waited for */
	fflush(NULL);
	_exit(0);
}
