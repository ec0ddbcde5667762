// SPDX-License-Identifier: BSD-3-Clause
/*
 * libampsock-preload.so: which descriptors are ours, and requests to ampsock-run.
 *
 * Theory of operation. Nothing of a socket is kept here: a descriptor of ours is told by the
 * name that its Unix socket is bound to (run_msg.h), and everything else is ampsock-run's. So
 * there is nothing that fork() could tear, exec() lose or close() miss. One byte a descriptor
 * remembers what it was seen to be, so that ordinary descriptors cost a look into a table; it is
 * only believed where being wrong does no harm: "not ours" of a number that can not have become
 * ours behind our back, for every call that makes one is here; "ours" is asked again where it
 * matters.
 *
 * No memory is allocated but for getaddrinfo()'s answers, nothing waits for a lock, and no
 * thread runs here: the calls are as safe in signal handlers and after fork() as POSIX says.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/vm_sockets.h>
#include <sys/rpmsg_socket.h>
#include <unistd.h>

#include "preload.h"

#define KINDS 65536

static uint8_t kinds[KINDS]; /* single bytes: written and read whole */
static int limits[KINDS];    /* bytes of a message; 0: not asked yet */
static uint64_t nonce, token[2];
static int offload;
static bool on;
static struct sockaddr_un door;
static socklen_t door_len;

void *preload_real(const char *name)
{
	static const char text[] = "libampsock-preload.so: a call is not in the C library\n";
	void *fn = dlsym(RTLD_NEXT, name);

	if (!fn) {
		if (write(2, text, sizeof(text) - 1) < 0)
			abort();
		abort();
	}
	return fn;
}

__attribute__((constructor)) static void begin(void)
{
	const char *env = getenv(AMP_RUN_ENV);
	unsigned long long v[3];
	int n;

	if (!env || sscanf(env, "%16llx:%16llx%16llx:%d", &v[0], &v[1], &v[2], &offload) != 4)
		return;
	nonce = v[0];
	token[0] = v[1];
	token[1] = v[2];
	door.sun_family = AF_UNIX;
	n = snprintf(door.sun_path + 1, sizeof(door.sun_path) - 1, AMP_RUN_DOOR, v[0]);
	door_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
	on = true;
}

bool preload_on(void)
{
	return on;
}

bool preload_takes(int domain, int type)
{
	type &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (!on)
		return false;
	if (domain == AF_VSOCK || domain == AF_RPMSG)
		return true;
	return offload && (domain == AF_INET || domain == AF_INET6) &&
	       (type == SOCK_STREAM || type == SOCK_DGRAM);
}

int preload_result(int r)
{
	if (r >= 0)
		return r;
	errno = -r;
	return -1;
}

/* ---- descriptors ---- */

unsigned preload_kind_of_type(int type)
{
	return type == SOCK_STREAM ? FD_BYTES : type == SOCK_DGRAM ? FD_DGRAM : FD_MESSAGES;
}

void preload_set(int fd, unsigned kind)
{
	if (fd < 0 || fd >= KINDS)
		return;
	kinds[fd] = (uint8_t)kind;
	if (limits[fd])
		limits[fd] = 0;
}

int preload_limit(int fd)
{
	struct preload_fd p;
	int most;

	if (fd < KINDS && limits[fd])
		return limits[fd];
	most = preload_is_ours(fd, &p) ? preload_ask_fd(AMP_RUN_LIMIT, &p, 0, 0) : 0;
	if (most > 0 && fd < KINDS)
		limits[fd] = most;
	return most > 0 ? most : 0;
}

void preload_forget(int fd)
{
	preload_set(fd, FD_UNKNOWN);
}

/*
 * "Not ours" is not copied: between vfork() and exec the table is the parent's, too, whose
 * descriptor of that number may be ours.
 */
void preload_copied(int from, int to)
{
	unsigned kind = preload_kind_seen(from);

	if (to >= 0)
		preload_set(to, kind == FD_NOT ? FD_UNKNOWN : kind);
}

bool preload_is_ours(int fd, struct preload_fd *p)
{
	struct sockaddr_un sun;
	socklen_t len = sizeof(sun) - 1; /* and a NUL behind it */
	unsigned long long n, id;
	int e = errno;
	unsigned pair;
	bool ours = false;

	memset(&sun, 0, sizeof(sun));
	if (on && REAL(getsockname)(fd, (struct sockaddr *)&sun, &len) == 0 &&
	    sun.sun_family == AF_UNIX && len > offsetof(struct sockaddr_un, sun_path) + 12 &&
	    memcmp(sun.sun_path, "\0ampsock-run/", 13) == 0)
		ours = sscanf(sun.sun_path + 1, AMP_RUN_NAME, &n, &id, &p->domain, &p->type,
			      &pair) == 5 &&
		       n == nonce;
	if (ours)
		p->id = id;
	errno = e;
	return ours;
}

unsigned preload_kind_seen(int fd)
{
	return fd >= 0 && fd < KINDS ? kinds[fd] : FD_UNKNOWN;
}

unsigned preload_kind(int fd)
{
	struct preload_fd p;
	unsigned kind;

	if (fd < 0 || !on)
		return FD_NOT;
	kind = fd < KINDS ? kinds[fd] : FD_UNKNOWN;
	if (kind != FD_UNKNOWN)
		return kind;
	kind = preload_is_ours(fd, &p) ? preload_kind_of_type(p.type) : FD_NOT;
	preload_set(fd, kind);
	return kind;
}

/* ---- requests ---- */

/* Is it ampsock-run that listens there? Another user may have taken its address since it went. */
static bool trusted(int s)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	return REAL(getsockopt)(s, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 &&
	       (who.uid == 0 || who.uid == geteuid() || who.uid == getuid());
}

/* give: a descriptor that goes with the request, or -1. */
static int exchange(int s, struct amp_run_req *q, const void *data, size_t len,
		    struct amp_run_rep *rep, int *fd, int give)
{
	union {
		struct cmsghdr h;
		uint8_t room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec out[2] = {{.iov_base = q, .iov_len = AMP_RUN_HEAD(*q)},
			       {.iov_base = (void *)(uintptr_t)data, .iov_len = len}};
	struct iovec in = {.iov_base = rep, .iov_len = sizeof(*rep)};
	struct msghdr m = {.msg_iov = out, .msg_iovlen = 2};
	ssize_t n;
	int r;

	q->token[0] = token[0];
	q->token[1] = token[1];
	q->data_len = (uint32_t)len;
	if (give >= 0) {
		memset(&control, 0, sizeof(control));
		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.h), &give, sizeof(int));
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
	}
	while ((r = REAL(connect)(s, (struct sockaddr *)&door, door_len)) < 0 && errno == EINTR)
		;
	if (r < 0)
		return errno == ECONNREFUSED ? -ENETDOWN : -errno;
	if (!trusted(s))
		return -ENETDOWN;
	while ((n = REAL(sendmsg)(s, &m, MSG_NOSIGNAL)) < 0 && errno == EINTR)
		;
	if (n < 0)
		return -errno;
	m = (struct msghdr){.msg_iov = &in, .msg_iovlen = 1};
	if (fd) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
	}
	/* a call that does its work once is not asked for twice: only a connect() that waits for
	 * its peer is interrupted */
	while ((n = REAL(recvmsg)(s, &m, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR &&
	       (q->op != AMP_RUN_CONNECT || q->a[0]))
		;
	if (n < 0)
		return -errno;
	if ((size_t)n < AMP_RUN_HEAD(*rep) || (size_t)n != AMP_RUN_HEAD(*rep) + rep->data_len)
		return -ENETDOWN; /* ampsock-run is gone */
	if (fd && m.msg_controllen >= CMSG_LEN(sizeof(int)) &&
	    control.h.cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(&control.h), sizeof(int));
	return rep->ret;
}

static int ask(struct amp_run_req *q, const void *data, size_t len, struct amp_run_rep *rep,
	       int *fd, int give)
{
	struct amp_run_rep own;
	int r, s;

	if (fd)
		*fd = -1;
	if (len > AMP_RUN_DATA_MAX)
		return -EINVAL;
	s = REAL(socket)(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (s < 0)
		return -errno;
	r = exchange(s, q, data, len, rep ? rep : &own, fd, give);
	preload_forget(s); /* before: then the number may be another thread's */
	REAL(close)(s);
	return r;
}

int preload_ask(struct amp_run_req *q, const void *data, size_t len, struct amp_run_rep *rep,
		int *fd)
{
	return ask(q, data, len, rep, fd, -1);
}

int preload_ask_giving(struct amp_run_req *q, const void *data, size_t len, int give)
{
	return ask(q, data, len, NULL, NULL, give);
}

int preload_ask_fd(uint32_t op, const struct preload_fd *p, int a0, int a1)
{
	struct amp_run_req q = {.op = op, .id = p->id, .a = {a0, a1}};

	return preload_ask(&q, NULL, 0, NULL, NULL);
}

int preload_status(int fd)
{
	struct preload_fd p;
	int e = errno, r;

	if (!preload_is_ours(fd, &p)) {
		preload_forget(fd);
		return 0;
	}
	r = preload_ask_fd(AMP_RUN_STATUS, &p, 0, 0);
	errno = e;
	if (r == -ENETDOWN) /* ampsock-run was killed: no end in good order */
		return ECONNRESET;
	return r > 0 ? r : 0;
}
