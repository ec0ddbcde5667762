/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control channel, the checks and the life of a case. What a role says to the runner:
 *
 *	@ROLE ready			it waits for commands
 *	@ROLE c NAME - | WHY		answer to `l`: a case, and why it does not apply here
 *	@ROLE l				all cases were told
 *	@ROLE m TEXT			for the other role
 *	@ROLE f FILE:LINE: TEXT		a check did not hold
 *	@ROLE d ROW			a difference from Linux, on purpose
 *	@ROLE e				the case has ended here, everything is closed
 *
 * and what it hears, after its letter: `l TRANSPORT`, `r TRANSPORT CASE` (run), `m TEXT`,
 * `x` (the other role has failed). Lines without @ are not for the runner.
 */
#include <stdio.h>
#include <string.h>

#include "conform.h"

enum { OUT_FAILED = 1, OUT_PEER };

static void say(struct ct *t, const char *kind, const char *text)
{
	char line[CT_LINE_LEN + 8];
	int n = snprintf(line, sizeof(line) - 1, "@%c %s%s%.*s", t->role, kind,
			 *text ? " " : "", CT_LINE_LEN - 16, text);

	line[n] = '\n';
	ct_chan_out(t, line, (size_t)n + 1);
}

/* ---- checks ---- */

static void fail(struct ct *t, const char *file, int line, const char *text)
{
	const char *base = strrchr(file, '/');
	char buf[CT_LINE_LEN];

	snprintf(buf, sizeof(buf), "%s:%d: %s", base ? base + 1 : file, line, text);
	say(t, "f", buf);
	longjmp(t->out, OUT_FAILED);
}

#define NAME(e) \
	case e: \
		return #e

const char *ct_errno_name(int err)
{
	switch (err) {
		NAME(0);
		NAME(EACCES);
		NAME(EADDRINUSE);
		NAME(EADDRNOTAVAIL);
		NAME(EAFNOSUPPORT);
		NAME(EAGAIN);
		NAME(EALREADY);
		NAME(EBADF);
		NAME(ECONNABORTED);
		NAME(ECONNREFUSED);
		NAME(ECONNRESET);
		NAME(EDESTADDRREQ);
		NAME(EDOM);
		NAME(EFAULT);
		NAME(EHOSTUNREACH);
		NAME(EINPROGRESS);
		NAME(EINTR);
		NAME(EINVAL);
		NAME(EIO);
		NAME(EISCONN);
		NAME(EMFILE);
		NAME(EMSGSIZE);
		NAME(ENAMETOOLONG);
		NAME(ENETDOWN);
		NAME(ENETUNREACH);
		NAME(ENFILE);
		NAME(ENOBUFS);
		NAME(ENODEV);
		NAME(ENOENT);
		NAME(ENOMEM);
		NAME(ENOPROTOOPT);
		NAME(ENOSYS);
		NAME(ENOTCONN);
		NAME(ENOTSOCK);
		NAME(ENOTTY);
		NAME(EOPNOTSUPP);
		NAME(EPERM);
		NAME(EPIPE);
		NAME(EPROTO);
		NAME(EPROTONOSUPPORT);
		NAME(EPROTOTYPE);
		NAME(ESHUTDOWN);
		NAME(ESOCKTNOSUPPORT);
		NAME(ETIMEDOUT);
	default:
		return "E?";
	}
}

long ct_ok(struct ct *t, long ret, const char *file, int line, const char *expr)
{
	int err = errno;
	char buf[CT_LINE_LEN];

	if (ret < 0) {
		snprintf(buf, sizeof(buf), "%s: %s (%d)", expr, ct_errno_name(err), err);
		fail(t, file, line, buf);
	}
	return ret;
}

void ct_err(struct ct *t, long ret, int want, int or, const char *file, int line,
	    const char *expr)
{
	int err = errno;
	char buf[CT_LINE_LEN];

	if (ret == -1 && (err == want || (or &&err == or)))
		return;
	if (ret == -1)
		snprintf(buf, sizeof(buf), "%s: got %s (%d), expected %s", expr,
			 ct_errno_name(err), err, ct_errno_name(want));
	else
		snprintf(buf, sizeof(buf), "%s: got %ld, expected %s", expr, ret,
			 ct_errno_name(want));
	fail(t, file, line, buf);
}

void ct_eq(struct ct *t, long got, long want, const char *file, int line, const char *expr)
{
	int err = errno;
	char buf[CT_LINE_LEN];

	if (got == want)
		return;
	if (got == -1)
		snprintf(buf, sizeof(buf), "%s: got -1 (errno %s), expected %ld", expr,
			 ct_errno_name(err), want);
	else
		snprintf(buf, sizeof(buf), "%s: got %ld (0x%lx), expected %ld (0x%lx)", expr,
			 got, (unsigned long)got, want, (unsigned long)want);
	fail(t, file, line, buf);
}

void ct_true(struct ct *t, int good, const char *file, int line, const char *expr)
{
	char buf[CT_LINE_LEN];

	if (good)
		return;
	snprintf(buf, sizeof(buf), "%s: does not hold", expr);
	fail(t, file, line, buf);
}

int ct_differs(struct ct *t, const char *row)
{
	if (!(t->has & CT_OURS))
		return 0;
	say(t, "d", row);
	return 1;
}

int ct_linux_vsock(struct ct *t, const char *row)
{
	if (!(t->tr->props & CT_VSOCK))
		return 0;
	(void)ct_differs(t, row);
	return !!(t->has & CT_LINUX);
}

/* ---- the control channel ---- */

/* The other role's next word; ends the case when it failed. */
static const char *hear(struct ct *t)
{
	while (ct_chan_in(t, t->line, sizeof(t->line))) {
		if (t->line[0] == 'm' && t->line[1] == ' ')
			return t->line + 2;
		if (t->line[0] == 'x')
			longjmp(t->out, OUT_PEER);
	}
	longjmp(t->out, OUT_PEER);
}

void ct_tell(struct ct *t, const char *label)
{
	say(t, "m", label);
}

void ct_hear(struct ct *t, char *buf, size_t size)
{
	snprintf(buf, size, "%s", hear(t));
}

void ct_wait(struct ct *t, const char *label)
{
	char buf[CT_LINE_LEN];
	const char *got = hear(t);

	if (strcmp(got, label) == 0)
		return;
	snprintf(buf, sizeof(buf), "waiting for \"%s\" the other role said \"%.100s\"", label,
		 got);
	fail(t, t->c->name, 0, buf);
}

void ct_sync(struct ct *t, const char *label)
{
	ct_tell(t, label);
	ct_wait(t, label);
}

void ct_send_u32(struct ct *t, uint32_t n)
{
	char buf[16];

	snprintf(buf, sizeof(buf), "%lx", (unsigned long)n);
	say(t, "m", buf);
}

static unsigned digit(char c)
{
	return c >= 'a' ? (unsigned)(c - 'a') + 10 : (unsigned)(c - '0');
}

uint32_t ct_recv_u32(struct ct *t)
{
	const char *p = hear(t);
	uint32_t n = 0;

	for (; *p; p++)
		n = n << 4 | (digit(*p) & 15);
	return n;
}

void ct_send_addr(struct ct *t, const struct ct_addr *a)
{
	static const char hex[] = "0123456789abcdef";
	const uint8_t *p = (const uint8_t *)&a->ss;
	char buf[2 * sizeof(a->ss) + 1];
	socklen_t i;

	/* The family's number and the address are the same on both sides: its bytes are. */
	for (i = 0; i < a->len; i++) {
		buf[2 * i] = hex[p[i] >> 4];
		buf[2 * i + 1] = hex[p[i] & 15];
	}
	buf[2 * i] = '\0';
	say(t, "m", buf);
}

void ct_recv_addr(struct ct *t, struct ct_addr *a)
{
	const char *s = hear(t);
	uint8_t *p = (uint8_t *)&a->ss;

	memset(a, 0, sizeof(*a));
	for (; s[0] && s[1] && a->len < sizeof(a->ss); s += 2)
		p[a->len++] = (uint8_t)(digit(s[0]) << 4 | (digit(s[1]) & 15));
}

/* ---- a case ---- */

static const char *const prop_why[32] = {
	"nobody is told that nobody listens",
	"the peer does not hear of an end",
	"there are no empty messages",
	"bind() has no \"any\"",
	"close() with unread data does not reset",
	"SO_LINGER {1, 0} does not reset",
	"connect() waits for accept()",
	"a slow reader does not stop its sender",
	"not AF_INET",
	"not AF_UNIX",
	"not AF_VSOCK",
	"not AF_RPMSG",
	"who connects is known by its first message",
	"messages are small",
	"a datagram to nobody is lost in silence",
	"this side does not reach its own addresses",
	"a full backlog refuses",
	"no socketpair() of this type",
	"SHUT_RD is not told to the peer",
	"an address may stay taken for a while",
	"not AF_INET",
	"a send() that says EAGAIN may have sent a part",
	[24] = "one thread a role",
	[25] = "about this library",
	[26] = "about Linux's own calls",
	[27] = "both roles share their descriptors",
};

/* Why a case is not for this transport and place; NULL: it is. */
static const char *why_not(const struct ct *t, const struct ct_case *c)
{
	unsigned has = t->tr->props | t->has, bits;
	unsigned i;

	if (!(c->types & t->tr->kind))
		return t->tr->kind == CT_STREAM	     ? "not for streams"
		       : t->tr->kind == CT_SEQPACKET ? "not for SOCK_SEQPACKET"
						     : "not for datagrams";
	bits = c->needs & ~has;
	for (i = 0; i < 32; i++) {
		if (bits >> i & 1)
			return prop_why[i] ? prop_why[i] : "?";
	}
	return c->not &has ? "the family has another rule, which is a case of its own" : NULL;
}

static void run(struct ct *t, const struct ct_case *c)
{
	t->c = c;
	t->nfds = 0;
	if (setjmp(t->out) == 0)
		(t->role == 'a' ? c->a : c->b)(t);
	while (t->nfds)
		(void)close(t->fds[--t->nfds]);
	t->c = NULL;
	say(t, "e", "");
}

extern const struct ct_transport ct_transports[];

static const struct ct_transport *transport(const char *name, size_t len)
{
	const struct ct_transport *tr;

	for (tr = ct_transports; tr->name; tr++) {
		if (strlen(tr->name) == len && strncmp(tr->name, name, len) == 0)
			return tr;
	}
	return NULL;
}

static void list(struct ct *t)
{
	const struct ct_case *c;
	char buf[CT_LINE_LEN];
	const char *why;
	unsigned g;

	for (g = 0; ct_groups[g]; g++) {
		for (c = ct_groups[g]; c->name; c++) {
			why = why_not(t, c);
			snprintf(buf, sizeof(buf), "%s %s", c->name, why ? why : "-");
			say(t, "c", buf);
		}
	}
	say(t, "l", "");
}

static const struct ct_case *find(const char *name)
{
	const struct ct_case *c;
	unsigned g;

	for (g = 0; ct_groups[g]; g++) {
		for (c = ct_groups[g]; c->name; c++) {
			if (strcmp(c->name, name) == 0)
				return c;
		}
	}
	return NULL;
}

void ct_serve(struct ct *t)
{
	static const char unknown[] = "conform.c:0: no such case or transport";
	char line[CT_LINE_LEN], *arg, *end;
	const struct ct_case *c;

	say(t, "ready", "");
	while (ct_chan_in(t, line, sizeof(line))) {
		if ((line[0] != 'l' && line[0] != 'r') || line[1] != ' ')
			continue;
		arg = line + 2;
		end = strchr(arg, ' ');
		t->tr = transport(arg, end ? (size_t)(end - arg) : strlen(arg));
		c = end ? find(end + 1) : NULL;
		if (!t->tr || (line[0] == 'r' && !c))
			say(t, "f", unknown);
		else if (line[0] == 'l')
			list(t);
		else
			run(t, c);
	}
}
