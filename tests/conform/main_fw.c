/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conform ROLE TAG CID_A CID_B LINK_A LINK_B
 *
 * The cases in firmware: one role on a bare core, which has one thread. The channel is the
 * board's console, which the library reads as descriptor 0: while the role waits for a line
 * the stack moves. A line that begins with EOT is the end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conform.h"

#define EOT '\4'

static struct {
	char buf[2 * CT_LINE_LEN];
	size_t len;
} in;

void ct_chan_out(struct ct *t, const char *line, size_t len)
{
	(void)t;
	if (write(1, line, len) != (ssize_t)len)
		exit(1);
}

/* Until there is a whole line; 0: the console has failed, or nobody's line is that long. */
static char *whole_line(void)
{
	char *nl;

	while (!(nl = memchr(in.buf, '\n', in.len))) {
		ssize_t n = read(0, in.buf + in.len, sizeof(in.buf) - in.len);

		if (n <= 0)
			return NULL;
		in.len += (size_t)n;
	}
	return nl;
}

int ct_chan_in(struct ct *t, char *buf, size_t size)
{
	int mine = 0;
	char *nl;

	while (!mine && (nl = whole_line()) != NULL && in.buf[0] != EOT) {
		*nl++ = '\0';
		mine = in.buf[0] == t->role && in.buf[1] == ' ';
		if (mine)
			snprintf(buf, size, "%s", in.buf + 2);
		in.len -= (size_t)(nl - in.buf);
		memmove(in.buf, nl, in.len);
	}
	return mine;
}

/* The runner gives nobody here a case that needs CT_THREADS. */
struct ct_thread *ct_spawn(struct ct *t, void (*fn)(void *arg), void *arg)
{
	(void)fn;
	(void)arg;
	CT_TRUE(t->has & CT_THREADS);
	return NULL;
}

void ct_asleep(struct ct *t, struct ct_thread *th)
{
	(void)th;
	CT_TRUE(t->has & CT_THREADS);
}

void ct_join(struct ct *t, struct ct_thread *th)
{
	ct_asleep(t, th);
}

int main(int argc, char **argv)
{
	static struct ct_place place;
	static struct ct role;
	int i;

	if (argc != 7 || (strcmp(argv[1], "a") && strcmp(argv[1], "b"))) {
		printf("usage: conform a|b TAG CID_A CID_B LINK_A LINK_B\n");
		return 2;
	}
	place.tag = argv[2];
	for (i = 0; i < 2; i++) {
		place.cid[i] = (unsigned)strtoul(argv[3 + i], NULL, 0);
		place.link[i] = (unsigned)strtoul(argv[5 + i], NULL, 0);
	}
	role.role = argv[1][0];
	role.has = CT_OURS | CT_APART;
	role.place = &place;
	ct_serve(&role);
	return 0;
}
