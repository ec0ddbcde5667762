// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls recvfrom */
/*
 * Theory of operation: hybrid.h. A line is refused at its first byte that cannot be: a peer
 * that speaks something else is not read up to a newline that never comes.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "hybrid.h"
#include "rule.h"

static bool blank(char ch)
{
	return ch == ' ' || ch == '\t';
}

static char upper(char ch)
{
	return ch >= 'a' && ch <= 'z' ? (char)(ch - 'a' + 'A') : ch;
}

/* text is the whole line without its newline, and its word is right. */
static bool take_port(struct amp_hybrid *h)
{
	char *p = h->text + strlen(h->word), *end = h->text + h->len;

	if (end > h->text && end[-1] == '\r')
		end--;
	while (end > p && blank(end[-1]))
		end--;
	*end = 0;
	if (!blank(*p))
		return false;
	while (blank(*p))
		p++;
	return amp_parse_u32(p, UINT32_MAX, &h->port);
}

int amp_hybrid_feed(struct amp_hybrid *h, const void *p, size_t len, size_t *used)
{
	const char *in = p;
	size_t word = strlen(h->word);

	for (*used = 0; *used < len; (*used)++) {
		char ch = in[*used];

		if (h->len < word) {
			if (upper(ch) != h->word[h->len])
				return -EPROTO;
		} else if (ch == '\n') {
			(*used)++;
			return take_port(h) ? 1 : -EPROTO;
		} else if (!blank(ch) && ch != '\r' && (ch < '0' || ch > '9')) {
			return -EPROTO;
		}
		if (h->len == AMP_HYBRID_LINE_MAX - 1u)
			return -EPROTO;
		h->text[h->len++] = ch;
	}
	return 0;
}

int amp_hybrid_read(struct amp_hybrid *h, int fd)
{
	char p[AMP_HYBRID_LINE_MAX];
	size_t used;
	ssize_t n;
	int r = 0;

	do {
		n = recv(fd, p, sizeof(p), MSG_PEEK | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ECONNREFUSED;
		r = amp_hybrid_feed(h, p, (size_t)n, &used);
		/* nobody else reads this socket: what was seen is there */
		if (used && recv(fd, p, used, MSG_DONTWAIT) != (ssize_t)used)
			return -EIO;
	} while (n < 0 || r == 0);
	return r;
}
