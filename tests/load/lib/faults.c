// SPDX-License-Identifier: BSD-3-Clause
/*
 * Preloaded under the proxy: the resolver and the heap do what a test wants. $LOAD_FAULTS is a
 * file that both have mapped.
 *
 * Names: *.up.test is 127.0.0.1 at once; *.down.test waits for its server, as long as the test
 * says that it is silent, and is EAI_AGAIN then; everything else is glibc's.
 *
 * What runs out: of process pid's requests of the kind that is meant, number fail_at fails,
 * counted from when that was written, and after it every fail_every-th. Memory: the heap and
 * anonymous mmap(). Kernel: calls that need memory or descriptors of the kernel's.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct shared {
	_Atomic uint32_t silent;  /* name servers */
	_Atomic uint32_t waiting; /* names that wait for one */
	_Atomic uint32_t pid;
	_Atomic uint32_t fail_at;
	_Atomic uint32_t fail_every;
	_Atomic uint32_t cnt;	 /* requests since */
	_Atomic uint32_t failed; /* of those */
	_Atomic uint32_t kind;
};

enum { MEMORY, KERNEL };

static struct shared *shared;

__attribute__((constructor)) static void begin(void)
{
	int fd = open(getenv("LOAD_FAULTS"), O_RDWR | O_CLOEXEC);
	void *mem = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (mem == MAP_FAILED)
		_exit(99);
	close(fd);
	shared = mem;
}

static int ends(const char *name, const char *with)
{
	size_t n = name ? strlen(name) : 0, m = strlen(with);

	return n >= m && strcmp(name + n - m, with) == 0;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **res)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (ends(node, ".up.test"))
		return real("127.0.0.1", service, hints, res);
	if (!ends(node, ".down.test"))
		return real(node, service, hints, res);
	atomic_fetch_add(&shared->waiting, 1);
	while (atomic_load(&shared->silent))
		syscall(SYS_futex, &shared->silent, FUTEX_WAIT, 1, NULL, NULL, 0);
	atomic_fetch_sub(&shared->waiting, 1);
	return EAI_AGAIN;
}

/* ---- what runs out ---- */

static int fails(uint32_t kind, int err)
{
	uint32_t n;

	if (!shared || !shared->fail_at || shared->kind != kind ||
	    shared->pid != (uint32_t)getpid())
		return 0;
	n = atomic_fetch_add(&shared->cnt, 1) + 1;
	if (n != shared->fail_at && (!shared->fail_every || n < shared->fail_at ||
				     (n - shared->fail_at) % shared->fail_every))
		return 0;
	atomic_fetch_add(&shared->failed, 1);
	errno = err;
	return 1;
}

void *__libc_malloc(size_t len);
void *__libc_calloc(size_t n, size_t len);
void *__libc_realloc(void *mem, size_t len);

void *malloc(size_t len)
{
	return fails(MEMORY, ENOMEM) ? NULL : __libc_malloc(len);
}

void *calloc(size_t n, size_t len)
{
	return fails(MEMORY, ENOMEM) ? NULL : __libc_calloc(n, len);
}

void *realloc(void *mem, size_t len)
{
	return fails(MEMORY, ENOMEM) ? NULL : __libc_realloc(mem, len);
}

void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	if ((flags & MAP_ANONYMOUS) ? fails(MEMORY, ENOMEM) : fails(KERNEL, ENOMEM))
		return MAP_FAILED;
	return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, off);
}

int socket(int family, int type, int protocol)
{
	return fails(KERNEL, ENFILE) ? -1 : (int)syscall(SYS_socket, family, type, protocol);
}

int accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	return fails(KERNEL, ENFILE) ? -1 : (int)syscall(SYS_accept4, fd, sa, len, flags);
}

int epoll_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
	if (op == EPOLL_CTL_ADD && fails(KERNEL, ENOSPC))
		return -1;
	return (int)syscall(SYS_epoll_ctl, ep, op, fd, ev);
}

int bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	return fails(KERNEL, ENOMEM) ? -1 : (int)syscall(SYS_bind, fd, sa, len);
}

int listen(int fd, int backlog)
{
	return fails(KERNEL, ENOBUFS) ? -1 : (int)syscall(SYS_listen, fd, backlog);
}

int connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	return fails(KERNEL, ENOBUFS) ? -1 : (int)syscall(SYS_connect, fd, sa, len);
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	return fails(KERNEL, ENOBUFS) ? -1 : syscall(SYS_sendmsg, fd, msg, flags);
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	return fails(KERNEL, ENOMEM) ? -1 : syscall(SYS_recvmsg, fd, msg, flags);
}

ssize_t readv(int fd, const struct iovec *iov, int cnt)
{
	return fails(KERNEL, ENOMEM) ? -1 : syscall(SYS_readv, fd, iov, cnt);
}
