// SPDX-License-Identifier: BSD-3-Clause
/* libampsock-preload.so: the calls that make, name and connect sockets. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "preload.h"

/* F_GETFL's O_NONBLOCK. */
static bool nonblocking(int fd)
{
	int fl = REAL(fcntl)(fd, F_GETFL);

	return fl >= 0 && (fl & O_NONBLOCK);
}

/* A descriptor that came from ampsock-run, with CLOEXEC set: as type wants it. */
static int adopt(int fd, int flags)
{
	if (!(flags & SOCK_CLOEXEC))
		REAL(fcntl)(fd, F_SETFD, 0);
	if (flags & SOCK_NONBLOCK)
		REAL(fcntl)(fd, F_SETFL, O_RDWR | O_NONBLOCK);
	return fd;
}

EXPORT int socket(int domain, int type, int protocol)
{
	struct amp_run_req q = {.op = AMP_RUN_SOCKET, .a = {domain, type, protocol}};
	int fd, r;

	if (!preload_takes(domain, type)) {
		fd = REAL(socket)(domain, type, protocol);
		preload_set(fd, FD_NOT);
		return fd;
	}
	r = preload_ask(&q, NULL, 0, NULL, &fd);
	if (r < 0 || fd < 0)
		return preload_result(r < 0 ? r : -EMFILE);
	preload_set(fd,
		    preload_kind_of_type(type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) | FD_FRESH);
	return adopt(fd, type);
}

/* Ours, or not: then the real call's turn. */
static bool ours(int fd, struct preload_fd *p)
{
	unsigned kind = preload_kind(fd) & FD_KIND;

	if (kind == FD_NOT)
		return false;
	if (preload_is_ours(fd, p))
		return true;
	preload_set(fd, FD_NOT);
	return false;
}

EXPORT int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct preload_fd p;
	struct amp_run_req q = {.op = AMP_RUN_BIND};

	if (!ours(fd, &p))
		return REAL(bind)(fd, addr, len);
	q.id = p.id;
	return preload_result(addr && len <= 128 ? preload_ask(&q, addr, len, NULL, NULL)
						 : -EINVAL);
}

EXPORT int listen(int fd, int backlog)
{
	struct preload_fd p;
	struct amp_run_req q = {.op = AMP_RUN_LISTEN, .a = {backlog}};
	int r;

	if (!ours(fd, &p))
		return REAL(listen)(fd, backlog);
	q.id = p.id;
	r = preload_ask(&q, NULL, 0, NULL, NULL);
	if (r == 0)
		preload_set(fd, preload_kind_of_type(p.type) | FD_LISTENS);
	return preload_result(r);
}

/* ---- connect ---- */

/* The descriptor's pair is used up by a connect() that failed: another under its number. */
static int renew(int fd, struct preload_fd *p)
{
	struct amp_run_req q = {.op = AMP_RUN_RENEW, .id = p->id};
	int new_fd, r, fdfl, fl;

	r = preload_ask(&q, NULL, 0, NULL, &new_fd);
	if (r < 0 || new_fd < 0)
		return r < 0 ? r : -EMFILE;
	fdfl = REAL(fcntl)(fd, F_GETFD);
	fl = REAL(fcntl)(fd, F_GETFL);
	preload_set(fd, preload_kind_of_type(p->type) | FD_FRESH);
	r = fdfl < 0 || REAL(dup3)(new_fd, fd, fdfl & FD_CLOEXEC ? O_CLOEXEC : 0) < 0 ? -errno
										      : 0;
	if (r == 0 && fl >= 0)
		REAL(fcntl)(fd, F_SETFL, fl);
	preload_forget(new_fd);
	REAL(close)(new_fd);
	return r;
}

static int connect_now(int fd, struct preload_fd *p, const struct sockaddr *addr, socklen_t len)
{
	struct amp_run_req q = {.op = AMP_RUN_CONNECT, .id = p->id};
	int r;

	r = preload_ask(&q, addr, len, NULL, NULL);
	if (r != -ESTALE)
		return r;
	r = renew(fd, p);
	return r ? r : preload_ask(&q, addr, len, NULL, NULL);
}

static int connect_later(int fd, struct preload_fd *p, const struct sockaddr *addr,
			 socklen_t len)
{
	struct amp_run_req q = {.op = AMP_RUN_CONNECT, .id = p->id, .a = {1}};
	int r = preload_ask_giving(&q, addr, len, fd);

	if (r != -ESTALE)
		return r;
	r = renew(fd, p);
	return r ? r : preload_ask_giving(&q, addr, len, fd);
}

EXPORT int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct preload_fd p;
	int r;

	if (!ours(fd, &p))
		return REAL(connect)(fd, addr, len);
	if (!addr || len > 128)
		return preload_result(-EINVAL);
	if (nonblocking(fd) && p.type != SOCK_DGRAM)
		return preload_result(connect_later(fd, &p, addr, len));
	r = connect_now(fd, &p, addr, len);
	if (r == 0)
		preload_set(fd, preload_kind_of_type(p.type));
	return preload_result(r);
}

/* ---- accept ---- */

static bool listens(int fd, const struct preload_fd *p)
{
	struct amp_run_req q = {.op = AMP_RUN_GETOPT,
				.id = p->id,
				.a = {SOL_SOCKET, SO_ACCEPTCONN, sizeof(int)}};
	struct amp_run_rep rep;
	int v = 0;

	if (preload_kind(fd) & FD_LISTENS)
		return true;
	if (preload_ask(&q, NULL, 0, &rep, NULL) == 0 && rep.data_len == sizeof(v))
		memcpy(&v, rep.data, sizeof(v));
	if (v)
		preload_set(fd, preload_kind_of_type(p->type) | FD_LISTENS);
	return v != 0;
}

static void give_address(const void *from, size_t len, struct sockaddr *addr, socklen_t *room)
{
	if (!addr || !room)
		return;
	memcpy(addr, from, len < *room ? len : *room);
	*room = (socklen_t)len;
}

/* The next connection: the record and its descriptor. */
static int take(int fd, struct amp_run_accept *a)
{
	union {
		struct cmsghdr h;
		uint8_t room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = a, .iov_len = sizeof(*a)};
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = REAL(recvmsg)(fd, &m, MSG_CMSG_CLOEXEC);
	int got;

	if (n < 0)
		return -errno;
	if (n == 0)
		return -EINVAL; /* shut down */
	if (m.msg_controllen < CMSG_LEN(sizeof(int)) || control.h.cmsg_type != SCM_RIGHTS)
		return -EMFILE; /* no number was free: the kernel has closed it */
	memcpy(&got, CMSG_DATA(&control.h), sizeof(got));
	return got;
}

EXPORT int accept4(int fd, struct sockaddr *restrict addr, socklen_t *restrict len, int flags)
{
	struct amp_run_accept a = {0};
	struct preload_fd p;
	int got;

	if (!ours(fd, &p)) {
		got = REAL(accept4)(fd, addr, len, flags);
		preload_forget(got);
		return got;
	}
	if (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC) || !listens(fd, &p))
		return preload_result(p.type == SOCK_DGRAM ? -EOPNOTSUPP : -EINVAL);
	got = take(fd, &a);
	if (got < 0)
		return preload_result(got);
	preload_set(got, preload_kind_of_type(p.type));
	give_address(a.addr, a.addr_len < sizeof(a.addr) ? a.addr_len : sizeof(a.addr), addr,
		     len);
	return adopt(got, flags);
}

EXPORT int accept(int fd, struct sockaddr *restrict addr, socklen_t *restrict len)
{
	int got;

	if ((preload_kind(fd) & FD_KIND) != FD_NOT)
		return accept4(fd, addr, len, 0);
	got = REAL(accept)(fd, addr, len);
	preload_forget(got);
	return got;
}

/* ---- names, options, shutdown ---- */

static int get_name(const struct preload_fd *p, int peer, struct sockaddr *addr, socklen_t *len)
{
	struct amp_run_req q = {.op = AMP_RUN_NAME_OF, .id = p->id, .a = {peer}};
	struct amp_run_rep rep;
	int r = preload_ask(&q, NULL, 0, &rep, NULL);

	if (r < 0)
		return preload_result(r);
	give_address(rep.data, rep.data_len, addr, len);
	return 0;
}

EXPORT int getsockname(int fd, struct sockaddr *restrict addr, socklen_t *restrict len)
{
	struct preload_fd p;

	return ours(fd, &p) ? get_name(&p, 0, addr, len) : REAL(getsockname)(fd, addr, len);
}

EXPORT int getpeername(int fd, struct sockaddr *restrict addr, socklen_t *restrict len)
{
	struct preload_fd p;

	return ours(fd, &p) ? get_name(&p, 1, addr, len) : REAL(getpeername)(fd, addr, len);
}

/* Those whose meaning is the kernel's: the program's calls wait and are counted there. */
static bool kernels(int level, int name)
{
	return level == SOL_SOCKET &&
	       (name == SO_RCVTIMEO || name == SO_SNDTIMEO || name == SO_RCVBUF ||
		name == SO_SNDBUF || name == SO_RCVLOWAT || name == SO_PEEK_OFF ||
		name == SO_COOKIE);
}

EXPORT int getsockopt(int fd, int level, int name, void *restrict val, socklen_t *restrict len)
{
	struct amp_run_req q = {.op = AMP_RUN_GETOPT, .a = {level, name}};
	struct preload_fd p;
	struct amp_run_rep rep;
	int known, r;

	if (!ours(fd, &p) || kernels(level, name))
		return REAL(getsockopt)(fd, level, name, val, len);
	if (!val || !len)
		return preload_result(-EFAULT);
	if (level == SOL_SOCKET && (name == SO_TYPE || name == SO_DOMAIN)) {
		known = name == SO_TYPE ? p.type : p.domain;
		*len = *len < sizeof(known) ? *len : sizeof(known);
		memcpy(val, &known, *len);
		return 0;
	}
	q.id = p.id;
	q.a[2] = *len > 1024 ? 1024 : (int)*len;
	r = preload_ask(&q, NULL, 0, &rep, NULL);
	if (r == -ENOTCONN && level == SOL_SOCKET && name == SO_ERROR)
		return REAL(getsockopt)(fd, level, name, val, len); /* over on both sides */
	if (r < 0)
		return preload_result(r);
	memcpy(val, rep.data, rep.data_len < *len ? rep.data_len : *len);
	*len = rep.data_len;
	return 0;
}

EXPORT int setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	struct amp_run_req q = {.op = AMP_RUN_SETOPT, .a = {level, name}};
	struct preload_fd p;

	if (!ours(fd, &p))
		return REAL(setsockopt)(fd, level, name, val, len);
	q.id = p.id;
	if (kernels(level, name)) {
		if (name == SO_SNDTIMEO) /* it is connect()'s, too */
			(void)preload_ask(&q, val, len, NULL, NULL);
		return REAL(setsockopt)(fd, level, name, val, len);
	}
	return preload_result(val ? preload_ask(&q, val, len, NULL, NULL) : -EFAULT);
}

EXPORT int shutdown(int fd, int how)
{
	struct preload_fd p;
	int r;

	if (ours(fd, &p)) {
		r = preload_ask_fd(AMP_RUN_SHUTDOWN, &p, how, 0);
		if (r < 0)
			return preload_result(r);
	}
	return REAL(shutdown)(fd, how);
}
