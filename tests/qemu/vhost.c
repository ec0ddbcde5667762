/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Firmware that makes AF_VSOCK calls as tests/vhost/inside.py types them. A line on the console is
 * "CALL ARGUMENT...", numbers in decimal; one is done after the other, and each answers a line
 * "= RESULT ERROR WORD...": the call's result, the name of its errno (or 0), and what it found.
 *
 * Data is a pattern that both ends know (pattern_make), from position SEED on; what comes is
 * also hashed with SHA-256, so that a test can compare it with what some program sent.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/vm_sockets.h>
#include <unistd.h>

#include <ampsock.h>

#define PERIOD	 65521u /* of the pattern: a prime, so that no buffer's length divides it */
#define CONNS	 12
#define ECHO_LEN 4096u
#define IDLE_MS	 60000 /* nothing moves for so long: the test is over */
#define ARGS	 8

/* ---- SHA-256 (FIPS 180-4) ---- */

struct sha {
	uint32_t h[8];
	uint64_t len;
	uint8_t block[64];
};

static const uint32_t sha_k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2};

static uint32_t ror(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static void sha_init(struct sha *s)
{
	static const uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
				      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

	memcpy(s->h, h, sizeof(h));
	s->len = 0;
}

static void sha_block(struct sha *s, const uint8_t *p)
{
	uint32_t w[64], v[8];

	for (unsigned i = 0; i < 16; i++)
		w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 |
		       (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
	for (unsigned i = 16; i < 64; i++) {
		uint32_t a = w[i - 15], b = w[i - 2];

		w[i] = w[i - 16] + w[i - 7] + (ror(a, 7) ^ ror(a, 18) ^ a >> 3) +
		       (ror(b, 17) ^ ror(b, 19) ^ b >> 10);
	}
	memcpy(v, s->h, sizeof(v));
	for (unsigned i = 0; i < 64; i++) {
		uint32_t t1 = v[7] + (ror(v[4], 6) ^ ror(v[4], 11) ^ ror(v[4], 25)) +
			      ((v[4] & v[5]) ^ (~v[4] & v[6])) + sha_k[i] + w[i];
		uint32_t t2 = (ror(v[0], 2) ^ ror(v[0], 13) ^ ror(v[0], 22)) +
			      ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));

		memmove(v + 1, v, 7 * sizeof(*v));
		v[4] += t1;
		v[0] = t1 + t2;
	}
	for (unsigned i = 0; i < 8; i++)
		s->h[i] += v[i];
}

static void sha_add(struct sha *s, const uint8_t *p, size_t len)
{
	while (len) {
		size_t at = s->len % 64, n = len < 64 - at ? len : 64 - at;

		if (n == 64) {
			sha_block(s, p);
		} else {
			memcpy(s->block + at, p, n);
			if (at + n == 64)
				sha_block(s, s->block);
		}
		s->len += n;
		p += n;
		len -= n;
	}
}

static void sha_print(struct sha *s)
{
	static const uint8_t pad[64] = {0x80};
	uint64_t bits = s->len * 8;
	uint8_t tail[8];

	sha_add(s, pad, 1 + (119 - s->len % 64) % 64);
	for (unsigned i = 0; i < 8; i++)
		tail[i] = (uint8_t)(bits >> (56 - 8 * i));
	sha_add(s, tail, 8);
	for (unsigned i = 0; i < 8; i++)
		printf("%s%08lx", i ? "" : " ", (unsigned long)s->h[i]);
}

/* ---- the pattern ---- */

static uint8_t pattern[2 * PERIOD], buf[PERIOD];

static void pattern_make(void)
{
	uint32_t x = 12345;

	for (unsigned i = 0; i < PERIOD; i++) {
		x = x * 1664525u + 1013904223u;
		pattern[i] = pattern[i + PERIOD] = (uint8_t)(x >> 24);
	}
}

static bool pattern_is(const uint8_t *p, size_t len, size_t pos)
{
	return memcmp(p, pattern + pos % PERIOD, len) == 0;
}

/* ---- answers ---- */

static unsigned long arg[ARGS];

static const char *err_name(int err)
{
	static const struct {
		int err;
		const char *name;
	} names[] = {
		{EAGAIN, "EAGAIN"},
		{ECONNREFUSED, "ECONNREFUSED"},
		{ECONNRESET, "ECONNRESET"},
		{EPIPE, "EPIPE"},
		{ENOTCONN, "ENOTCONN"},
		{ETIMEDOUT, "ETIMEDOUT"},
		{EINPROGRESS, "EINPROGRESS"},
		{ENETUNREACH, "ENETUNREACH"},
		{EMSGSIZE, "EMSGSIZE"},
		{ENOBUFS, "ENOBUFS"},
		{EADDRINUSE, "EADDRINUSE"},
		{ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT"},
		{EPROTO, "EPROTO"},
		{EMFILE, "EMFILE"},
		{ECONNABORTED, "ECONNABORTED"},
	};
	static char other[16];

	if (err == 0)
		return "0";
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (names[i].err == err)
			return names[i].name;
	}
	snprintf(other, sizeof(other), "%d", err);
	return other;
}

static void result(long r)
{
	printf("= %ld %s", r, err_name(r < 0 ? errno : 0));
}

/* ---- one call each ---- */

static int type_of(unsigned long n)
{
	return n == SOCK_SEQPACKET ? SOCK_SEQPACKET : SOCK_STREAM;
}

static int dial(int type, unsigned long cid, unsigned long port, int flags)
{
	struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK, .svm_cid = (unsigned)cid, .svm_port = (unsigned)port};
	int fd = socket(AF_VSOCK, type | flags, 0), err;

	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&vm, sizeof(vm)) != 0 && errno != EINPROGRESS) {
		err = errno;
		close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

/* connect TYPE CID PORT */
static void do_connect(void)
{
	result(dial(type_of(arg[0]), arg[1], arg[2], 0));
}

/* listen TYPE PORT BACKLOG */
static void do_listen(void)
{
	struct sockaddr_vm vm = {.svm_family = AF_VSOCK,
				 .svm_cid = VMADDR_CID_ANY,
				 .svm_port = (unsigned)arg[1]};
	int fd = socket(AF_VSOCK, type_of(arg[0]), 0);

	if (fd >= 0 && (bind(fd, (struct sockaddr *)&vm, sizeof(vm)) != 0 ||
			listen(fd, (int)arg[2]) != 0)) {
		result(-1);
		close(fd);
		return;
	}
	result(fd);
}

/* accept FD -> CID, port of the peer */
static void do_accept(void)
{
	struct sockaddr_vm vm;
	socklen_t len = sizeof(vm);
	int fd = accept((int)arg[0], (struct sockaddr *)&vm, &len);

	result(fd);
	if (fd >= 0)
		printf(" %u %u", (unsigned)vm.svm_cid, (unsigned)vm.svm_port);
}

/* name FD -> CID, port here */
static void do_name(void)
{
	struct sockaddr_vm vm;
	socklen_t len = sizeof(vm);
	int r = getsockname((int)arg[0], (struct sockaddr *)&vm, &len);

	result(r);
	if (r == 0)
		printf(" %u %u", (unsigned)vm.svm_cid, (unsigned)vm.svm_port);
}

/* send FD LEN SEED CHUNK -> bytes sent; in seqpacket a chunk is a record */
static void do_send(void)
{
	size_t done = 0;
	ssize_t r = 0;

	while (done < arg[1]) {
		size_t n = arg[1] - done < arg[3] ? arg[1] - done : arg[3];

		if (n > PERIOD)
			n = PERIOD;
		r = send((int)arg[0], pattern + (done + arg[2]) % PERIOD, n, MSG_NOSIGNAL);
		if (r <= 0)
			break;
		done += (size_t)r;
	}
	result(r < 0 ? -1 : 0);
	printf(" %lu", (unsigned long)done);
}

/* flood FD CHUNK MAX: sends of CHUNK bytes until one would wait -> bytes sent */
static void do_flood(void)
{
	size_t done = 0;
	ssize_t r = 0;

	while (done < arg[2] && (r = send((int)arg[0], pattern + done % PERIOD, arg[1],
					  MSG_NOSIGNAL | MSG_DONTWAIT)) > 0)
		done += (size_t)r;
	result(r < 0 ? -1 : 0);
	printf(" %lu", (unsigned long)done);
}

/* recv FD MAX SEED: to the end, or MAX -> bytes, 1 if they are the pattern, SHA-256, last result */
static void do_recv(void)
{
	size_t done = 0;
	bool same = true;
	ssize_t r = 1;
	struct sha s;

	sha_init(&s);
	while (done < arg[1]) {
		size_t n = arg[1] - done < PERIOD ? arg[1] - done : PERIOD;

		r = recv((int)arg[0], buf, n, 0);
		if (r <= 0)
			break;
		same &= pattern_is(buf, (size_t)r, done + arg[2]);
		sha_add(&s, buf, (size_t)r);
		done += (size_t)r;
	}
	result(r < 0 ? -1 : r == 0 ? 0 : 1);
	printf(" %lu %d", (unsigned long)done, same);
	sha_print(&s);
}

/* records FD COUNT: messages from pattern position 0 on -> 1 if they are, length of each */
static void do_records(void)
{
	size_t len[64], cnt = 0, done = 0;
	bool same = true;
	ssize_t r = 1;

	while (cnt < arg[1] && cnt < 64) {
		r = recv((int)arg[0], buf, sizeof(buf), MSG_TRUNC);
		if (r <= 0)
			break;
		same &= (size_t)r <= sizeof(buf) && pattern_is(buf, (size_t)r, done);
		done += (size_t)r;
		len[cnt++] = (size_t)r;
	}
	result(r < 0 ? -1 : (long)cnt);
	printf(" %d", same);
	for (size_t i = 0; i < cnt; i++)
		printf(" %lu", (unsigned long)len[i]);
}

static void do_shutdown(void)
{
	result(shutdown((int)arg[0], (int)arg[1]));
}

static void do_close(void)
{
	result(close((int)arg[0]));
}

/* linger FD SECONDS */
static void do_linger(void)
{
	struct linger l = {.l_onoff = 1, .l_linger = (int)arg[1]};

	result(setsockopt((int)arg[0], SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
}

/* poll FD EVENTS TIMEOUT -> revents */
static void do_poll(void)
{
	struct pollfd p = {.fd = (int)arg[0], .events = (short)arg[1]};

	result(poll(&p, 1, (int)arg[2]));
	printf(" %d", p.revents);
}

/* readable FD BYTES: waits until so many can be read -> FIONREAD */
static void do_readable(void)
{
	int n = 0, low = (int)arg[1];
	struct pollfd p = {.fd = (int)arg[0], .events = POLLIN};

	if (setsockopt(p.fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low)) != 0 ||
	    poll(&p, 1, IDLE_MS) < 0 || ioctl(p.fd, FIONREAD, &n) != 0)
		n = -1;
	result(n);
}

/* stats -> sockets in use, resets, link resets, bad packets */
static void do_stats(void)
{
	struct amp_stats st;

	amp_stats_get(&st);
	result(0);
	printf(" %lu %lu %lu %lu", (unsigned long)st.sockets_used, (unsigned long)st.resets,
	       (unsigned long)st.link_resets, (unsigned long)st.rx_bad);
}

/* ---- several connections at once ---- */

struct conn {
	size_t sent, got, seed; /* echo: seed unused, sent and got count the buffer */
	bool over, same;
	uint8_t echo[ECHO_LEN];
};

static struct conn conns[CONNS];
static struct pollfd fds[CONNS + 1];

/* Sends arg's pattern, half-closes, reads it back to EOF. */
static void turn_active(struct pollfd *p, struct conn *c, size_t len, size_t chunk)
{
	size_t n = len - c->sent < chunk ? len - c->sent : chunk;
	ssize_t r;

	if (p->revents & ~POLLOUT) {
		r = recv(p->fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (r > 0) {
			c->same &= pattern_is(buf, (size_t)r, c->got + c->seed);
			c->got += (size_t)r;
		} else if (r == 0 || errno != EAGAIN) {
			c->over = true;
			c->same &= r == 0 && c->got == len;
		}
	}
	if (!(p->revents & POLLOUT) || c->over)
		return;
	r = n ? send(p->fd, pattern + (c->sent + c->seed) % PERIOD, n,
		     MSG_NOSIGNAL | MSG_DONTWAIT)
	      : 0;
	c->sent += r > 0 ? (size_t)r : 0;
	if (c->sent == len && shutdown(p->fd, SHUT_WR) == 0)
		p->events = POLLIN;
}

/* What comes goes back, then EOF goes back. */
static void turn_echo(struct pollfd *p, struct conn *c)
{
	ssize_t r;

	if (c->sent == c->got) {
		r = recv(p->fd, c->echo, ECHO_LEN, MSG_DONTWAIT);
		if (r < 0 && errno == EAGAIN)
			return;
		c->over = r <= 0;
		c->same &= r >= 0;
		c->got = r > 0 ? (size_t)r : 0;
		c->sent = 0;
	}
	if (c->sent < c->got) {
		r = send(p->fd, c->echo + c->sent, c->got - c->sent,
			 MSG_NOSIGNAL | MSG_DONTWAIT);
		c->sent += r > 0 ? (size_t)r : 0;
		if (r < 0 && errno != EAGAIN) {
			c->over = true;
			c->same = false;
		}
	}
	p->events = c->sent < c->got ? POLLOUT : POLLIN;
}

static void add_conn(unsigned i, int fd, short events)
{
	fds[i] = (struct pollfd){.fd = fd, .events = events};
	conns[i].sent = conns[i].got = 0;
	conns[i].seed = i * 1000;
	conns[i].over = false;
	conns[i].same = true;
}

static unsigned reap(unsigned i)
{
	if (fds[i].fd < 0 || !conns[i].over)
		return 0;
	close(fds[i].fd);
	fds[i].fd = -1;
	return 1;
}

/* many TYPE CID PORT COUNT LEN CHUNK: so many connections, each its bytes there and back ->
 * how many were right; bytes sent and received by one that was not */
static void do_many(void)
{
	unsigned cnt = arg[3] < CONNS ? (unsigned)arg[3] : CONNS, over = 0, right = 0,
		 bad = CONNS;

	for (unsigned i = 0; i < cnt; i++)
		add_conn(i, dial(type_of(arg[0]), arg[1], arg[2], SOCK_NONBLOCK),
			 POLLIN | POLLOUT);
	for (unsigned i = 0; i < cnt; i++)
		over += fds[i].fd < 0;
	while (over < cnt && poll(fds, cnt, IDLE_MS) > 0) {
		for (unsigned i = 0; i < cnt; i++) {
			if (fds[i].fd < 0 || !fds[i].revents)
				continue;
			turn_active(&fds[i], &conns[i], arg[4], arg[5]);
			right += conns[i].over && conns[i].same;
			bad = conns[i].over && !conns[i].same ? i : bad;
			over += reap(i);
		}
	}
	for (unsigned i = 0; i < cnt; i++) {
		conns[i].over = true;
		(void)reap(i);
	}
	result((long)right);
	if (bad < CONNS)
		printf(" %lu %lu", (unsigned long)conns[bad].sent,
		       (unsigned long)conns[bad].got);
}

/* serve FD COUNT: echoes to so many connections of a listener, at once -> how many ended well */
static void do_serve(void)
{
	unsigned cnt = arg[1] < CONNS ? (unsigned)arg[1] : CONNS, come = 0, over = 0, right = 0;

	fds[CONNS] = (struct pollfd){.fd = (int)arg[0], .events = POLLIN};
	for (unsigned i = 0; i < CONNS; i++)
		fds[i].fd = -1;
	while (over < cnt && poll(fds, CONNS + 1, IDLE_MS) > 0) {
		if (fds[CONNS].revents && come < cnt) {
			add_conn(come, accept(fds[CONNS].fd, NULL, NULL), POLLIN);
			over += fds[come++].fd < 0;
			if (come == cnt)
				fds[CONNS].fd = -1;
			continue;
		}
		for (unsigned i = 0; i < come; i++) {
			if (fds[i].fd < 0 || !fds[i].revents)
				continue;
			turn_echo(&fds[i], &conns[i]);
			right += conns[i].over && conns[i].same;
			over += reap(i);
		}
	}
	for (unsigned i = 0; i < come; i++) {
		conns[i].over = true;
		(void)reap(i);
	}
	result((long)right);
}

static const struct {
	const char *name;
	void (*fn)(void);
} calls[] = {
	{"connect", do_connect},   {"listen", do_listen},   {"accept", do_accept},
	{"name", do_name},	   {"send", do_send},	    {"flood", do_flood},
	{"recv", do_recv},	   {"records", do_records}, {"shutdown", do_shutdown},
	{"close", do_close},	   {"linger", do_linger},   {"poll", do_poll},
	{"readable", do_readable}, {"stats", do_stats},	    {"many", do_many},
	{"serve", do_serve},
};

static void one_line(char *line)
{
	char *word = strtok(line, " \n"), *w;
	size_t i, n;

	memset(arg, 0, sizeof(arg));
	for (n = 0; n < ARGS && (w = strtok(NULL, " \n")) != NULL; n++)
		arg[n] = strtoul(w, NULL, 10);
	for (i = 0; word && i < sizeof(calls) / sizeof(*calls); i++) {
		if (strcmp(calls[i].name, word) == 0) {
			calls[i].fn();
			printf("\n");
			return;
		}
	}
	printf("= -1 ENOSYS\n");
}

int main(void)
{
	static char line[128];
	size_t len = 0;

	pattern_make();
	printf("ready\n");
	/* read() waits as every call does: the link goes on meanwhile */
	while (read(0, line + len, 1) == 1) {
		if (line[len] == '\n') {
			line[len] = '\0';
			if (strcmp(line, "end") == 0)
				return 0;
			one_line(line);
			len = 0;
		} else if (len < sizeof(line) - 1) {
			len++;
		}
	}
	return 1;
}
