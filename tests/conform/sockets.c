/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The transports, as properties, and what every case does with their sockets. A transport
 * is a family and a type; where its two roles run is the runner's to say.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/rpmsg_socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/vm_sockets.h>

#include "conform.h"

/* What every connection-oriented family has, and more than one. */
#define CONNECTS (CT_REFUSES | CT_EOF | CT_PRESSURE | CT_BACKLOG | CT_MATES | CT_PORTS)
#define UNIX                                                                            \
	(CT_UNIX | CT_BIG | CT_SELF | CT_SOCKPAIR | CT_FREES | CT_RD_TOLD | CT_RESETS | \
	 CT_WHOLE)
#define TCP   (CONNECTS | CT_INET | CT_RESETS | CT_LINGERS | CT_BIG | CT_SELF | CT_WAITS)
#define UDP   (CT_INET | CT_EMPTY | CT_PORTS | CT_BIG | CT_DGREFUSED | CT_SELF | CT_FREES)
#define VSOCK (CONNECTS | CT_VSOCK | CT_BIG | CT_FREES | CT_RD_TOLD | CT_SOCKPAIR)
#define RAW   (CT_RPMSG | CT_EMPTY | CT_PORTS | CT_FREES | CT_WHOLE)

const struct ct_transport ct_transports[] = {
	{"unix-stream", AF_UNIX, SOCK_STREAM, CT_STREAM, CONNECTS | UNIX | CT_WAITS,
	 ECONNREFUSED, 0},
	{"unix-seqpacket", AF_UNIX, SOCK_SEQPACKET, CT_SEQPACKET,
	 CONNECTS | UNIX | CT_WAITS | CT_EMPTY, ECONNREFUSED, 100000},
	{"unix-dgram", AF_UNIX, SOCK_DGRAM, CT_DGRAM,
	 (UNIX & ~CT_SOCKPAIR) | CT_EMPTY | CT_PORTS | CT_PRESSURE, ECONNREFUSED, 100000},
	{"inet-stream", AF_INET, SOCK_STREAM, CT_STREAM, TCP | CT_V4, ECONNREFUSED, 0},
	{"inet-dgram", AF_INET, SOCK_DGRAM, CT_DGRAM, UDP | CT_V4, ECONNREFUSED, 65507},
	{"inet6-stream", AF_INET6, SOCK_STREAM, CT_STREAM, TCP, ECONNREFUSED, 0},
	{"inet6-dgram", AF_INET6, SOCK_DGRAM, CT_DGRAM, UDP, ECONNREFUSED, 65507},
	{"vsock-stream", AF_VSOCK, SOCK_STREAM, CT_STREAM, VSOCK | CT_LINGERS | CT_SELF,
	 ECONNREFUSED, 0},
	{"vsock-seqpacket", AF_VSOCK, SOCK_SEQPACKET, CT_SEQPACKET,
	 VSOCK | CT_LINGERS | CT_SELF | CT_WHOLE, ECONNREFUSED, 65536},
	{"rpmsg-stream", AF_RPMSG, SOCK_STREAM, CT_STREAM,
	 CONNECTS | CT_RPMSG | CT_BIG | CT_FREES | CT_RD_TOLD | CT_LINGERS, ECONNREFUSED, 0},
	{"rpmsg-seqpacket", AF_RPMSG, SOCK_SEQPACKET, CT_SEQPACKET, RAW, ECONNREFUSED, 496},
	{"rpmsg-dgram", AF_RPMSG, SOCK_DGRAM, CT_DGRAM, RAW, ECONNREFUSED, 496},
	/* Linux's AF_VSOCK answers a REQUEST that nobody wants as any reset. */
	{"linux-vsock-stream", AF_VSOCK, SOCK_STREAM, CT_STREAM, VSOCK | CT_SELF, ECONNRESET,
	 0},
	{"linux-vsock-seqpacket", AF_VSOCK, SOCK_SEQPACKET, CT_SEQPACKET, VSOCK | CT_SELF,
	 ECONNRESET, 65536},
	{NULL, 0, 0, 0, 0, 0, 0},
};

/* What ct_dial() sends on raw rpmsg, where a first message is what connects. */
static const char hello[] = "hello";

int ct_own(struct ct *t, int fd)
{
	CT_TRUE(t->nfds < CT_FDS);
	t->fds[t->nfds++] = fd;
	return fd;
}

void ct_disown(struct ct *t, int fd)
{
	unsigned i;

	for (i = 0; i < t->nfds; i++) {
		if (t->fds[i] == fd) {
			t->fds[i] = t->fds[--t->nfds];
			return;
		}
	}
}

void ct_close(struct ct *t, int fd)
{
	ct_disown(t, fd);
	CT_OK(close(fd));
}

int ct_socket(struct ct *t, int flags)
{
	return ct_own(t, (int)CT_OK(socket(t->tr->family, t->tr->type | flags, 0)));
}

/* ---- addresses ---- */

static void name_of(struct ct *t, char *buf, size_t size)
{
	snprintf(buf, size, "%s%c%u", t->place->tag, t->role, ++t->serial);
}

static void addr_unix(struct ct *t, struct ct_addr *a)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&a->ss;

	/* An abstract name: nothing is left in the file system. */
	un->sun_family = AF_UNIX;
	name_of(t, un->sun_path + 1, sizeof(un->sun_path) - 1);
	a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			     strlen(un->sun_path + 1));
}

static void addr_inet(struct ct_addr *a)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&a->ss;

	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a->len = sizeof(*in);
}

static void addr_inet6(struct ct_addr *a)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a->ss;

	in6->sin6_family = AF_INET6;
	in6->sin6_addr.s6_addr[15] = 1;
	a->len = sizeof(*in6);
}

static void addr_vsock(struct ct_addr *a)
{
	struct sockaddr_vm *vm = (struct sockaddr_vm *)&a->ss;

	vm->svm_family = AF_VSOCK;
	vm->svm_cid = VMADDR_CID_ANY;
	vm->svm_port = VMADDR_PORT_ANY;
	a->len = sizeof(*vm);
}

static void addr_rpmsg(struct ct *t, struct ct_addr *a)
{
	struct sockaddr_rpmsg *rp = (struct sockaddr_rpmsg *)&a->ss;

	rp->rp_family = AF_RPMSG;
	rp->rp_link = (uint16_t)t->place->link[t->role - 'a'];
	rp->rp_addr = RPMSG_ADDR_ANY;
	name_of(t, rp->rp_name, sizeof(rp->rp_name));
	a->len = sizeof(*rp);
}

void ct_addr_free(struct ct *t, struct ct_addr *a)
{
	memset(a, 0, sizeof(*a));
	switch (t->tr->family) {
	case AF_UNIX:
		addr_unix(t, a);
		break;
	case AF_INET:
		addr_inet(a);
		break;
	case AF_INET6:
		addr_inet6(a);
		break;
	case AF_VSOCK:
		addr_vsock(a);
		break;
	default:
		addr_rpmsg(t, a);
	}
}

void ct_name(struct ct *t, int fd, struct ct_addr *a)
{
	memset(a, 0, sizeof(*a));
	a->len = sizeof(a->ss);
	CT_OK(getsockname(fd, (struct sockaddr *)&a->ss, &a->len));
}

/* As it is seen by role `from`. */
static void seen_from(struct ct *t, int from, int fd, struct ct_addr *a)
{
	struct sockaddr_rpmsg *rp = (struct sockaddr_rpmsg *)&a->ss;

	ct_name(t, fd, a);
	if (t->tr->family == AF_VSOCK)
		((struct sockaddr_vm *)&a->ss)->svm_cid = t->place->cid[t->role - 'a'];
	if (t->tr->family != AF_RPMSG)
		return;
	rp->rp_link = (uint16_t)t->place->link[from];
	if (rp->rp_name[0])
		rp->rp_addr = RPMSG_ADDR_ANY;
}

void ct_addr_of(struct ct *t, int fd, struct ct_addr *a)
{
	seen_from(t, t->role == 'a', fd, a);
}

void ct_addr_self(struct ct *t, int fd, struct ct_addr *a)
{
	seen_from(t, t->role != 'a', fd, a);
}

int ct_same_addr(struct ct *t, const struct ct_addr *a, const struct ct_addr *b)
{
	const struct sockaddr_vm *v = (const void *)&a->ss, *w = (const void *)&b->ss;

	if (a->len != b->len)
		return 0;
	/* Linux marks the address of one guest in another: VMADDR_FLAG_TO_HOST */
	if (t->tr->family == AF_VSOCK)
		return v->svm_family == w->svm_family && v->svm_cid == w->svm_cid &&
		       v->svm_port == w->svm_port;
	return memcmp(&a->ss, &b->ss, a->len) == 0;
}

int ct_bound(struct ct *t, int flags, struct ct_addr *a)
{
	struct ct_addr at;
	int fd = ct_socket(t, flags);

	ct_addr_free(t, &at);
	CT_OK(bind(fd, (struct sockaddr *)&at.ss, at.len));
	if (a)
		ct_addr_of(t, fd, a);
	return fd;
}

/* ---- connections ---- */

int ct_listen(struct ct *t, int backlog)
{
	struct ct_addr a;
	int fd = ct_bound(t, 0, &a);

	CT_OK(listen(fd, backlog));
	ct_send_addr(t, &a);
	return fd;
}

int ct_dial(struct ct *t)
{
	struct ct_addr a;
	int fd = ct_socket(t, 0);

	ct_recv_addr(t, &a);
	CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
	if (!(t->tr->props & CT_MATES))
		CT_EQ(send(fd, hello, sizeof(hello), 0), sizeof(hello));
	return fd;
}

int ct_accept(struct ct *t, int lfd)
{
	int fd = ct_own(t, (int)CT_OK(accept(lfd, NULL, NULL)));
	char buf[16];

	if (!(t->tr->props & CT_MATES))
		CT_EQ(recv(fd, buf, sizeof(buf), 0), sizeof(hello));
	return fd;
}

int ct_pair(struct ct *t)
{
	struct ct_addr a;
	int fd, lfd;

	if (t->tr->kind == CT_DGRAM) {
		fd = ct_bound(t, 0, &a);
		ct_send_addr(t, &a);
		ct_recv_addr(t, &a);
		CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
		ct_sync(t, "connected");
		return fd;
	}
	if (t->role == 'b') {
		fd = ct_dial(t);
	} else {
		lfd = ct_listen(t, 1);
		fd = ct_accept(t, lfd);
		/* A raw rpmsg service ends with its listener: kept to the end of the case. */
		if (t->tr->props & CT_MATES)
			ct_close(t, lfd);
	}
	ct_sync(t, "connected");
	return fd;
}

/* ---- options, readiness ---- */

void ct_nothing(struct ct *t)
{
	(void)t;
}

void ct_quiet(struct ct *t)
{
	(void)ct_pair(t);
	ct_wait(t, "done");
}

int ct_connect_nb(struct ct *t, int fd, const struct ct_addr *a)
{
	int r;

	ct_nonblock(t, fd, 1);
	r = connect(fd, (const struct sockaddr *)&a->ss, a->len) ? errno : 0;
	if (r == EINPROGRESS) {
		CT_TRUE(ct_poll(t, fd, POLLOUT) & (POLLOUT | POLLERR));
		r = ct_get(t, fd, SOL_SOCKET, SO_ERROR);
	}
	ct_nonblock(t, fd, 0);
	return r;
}

int ct_fionread(struct ct *t, int fd, int none)
{
	int n = -1;

	if (ct_linux_vsock(t, "AF_VSOCK `ioctl`: FIONREAD, and what is none")) {
		CT_ERR(ioctl(fd, FIONREAD, &n), EOPNOTSUPP);
		return none;
	}
	CT_OK(ioctl(fd, FIONREAD, &n));
	return n;
}

void ct_until(struct ct *t, int fd, int n)
{
	char buf[16];
	int have;

	CT_TRUE((size_t)n < sizeof(buf));
	do {
		(void)poll(NULL, 0, 1);
		have = ct_fionread(t, fd, -1);
		if (have < 0)
			have = (int)recv(fd, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);
	} while (have < n);
	CT_EQ(have, n);
}

int ct_nonblock(struct ct *t, int fd, int on)
{
	int flags = (int)CT_OK(fcntl(fd, F_GETFL, 0));

	return (int)CT_OK(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

void ct_timeout(struct ct *t, int fd, int option, unsigned ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (int)(ms % 1000 * 1000)};

	CT_OK(setsockopt(fd, SOL_SOCKET, option, &tv, sizeof(tv)));
}

int ct_get(struct ct *t, int fd, int level, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	CT_OK(getsockopt(fd, level, option, &value, &len));
	CT_EQ(len, sizeof(value));
	return value;
}

void ct_set(struct ct *t, int fd, int level, int option, int value)
{
	CT_OK(setsockopt(fd, level, option, &value, sizeof(value)));
}

int ct_poll(struct ct *t, int fd, int events)
{
	struct pollfd p = {.fd = fd, .events = (short)events};

	CT_EQ(poll(&p, 1, -1), 1);
	CT_TRUE(p.revents != 0);
	return p.revents;
}

int ct_now(struct ct *t, int fd, int events)
{
	struct pollfd p = {.fd = fd, .events = (short)events};

	int n = (int)CT_OK(poll(&p, 1, 0));

	CT_EQ(n, p.revents != 0);
	return p.revents;
}

/* ---- bytes ---- */

static uint8_t byte_at(size_t at, unsigned seed)
{
	/* 251 is prime: no buffer's length hides a shift */
	return (uint8_t)((at + seed * 37u) % 251u);
}

void ct_fill(void *buf, size_t len, size_t at, unsigned seed)
{
	uint8_t *p = buf;
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = byte_at(at + i, seed);
}

int ct_same(const void *buf, size_t len, size_t at, unsigned seed)
{
	const uint8_t *p = buf;
	size_t i;

	for (i = 0; i < len; i++) {
		if (p[i] != byte_at(at + i, seed))
			return 0;
	}
	return 1;
}

void ct_send_all(struct ct *t, int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len) {
		size_t n = (size_t)CT_OK(send(fd, p, len, MSG_NOSIGNAL));

		CT_TRUE(n > 0 && n <= len);
		p += n;
		len -= n;
	}
}

unsigned long ct_stuff(struct ct *t, int fd, const void *buf, size_t len)
{
	unsigned long all = 0;
	ssize_t n;

	while ((n = send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0) {
		CT_TRUE(t->tr->kind == CT_STREAM ? (size_t)n <= len : (size_t)n == len);
		all += (unsigned long)n;
	}
	CT_ERR(n, EAGAIN);
	return all;
}

void ct_recv_all(struct ct *t, int fd, void *buf, size_t len)
{
	char *p = buf;

	while (len) {
		size_t n = (size_t)CT_OK(recv(fd, p, len, 0));

		CT_TRUE(n > 0 && n <= len);
		p += n;
		len -= n;
	}
}
