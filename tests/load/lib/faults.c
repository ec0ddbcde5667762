// SPDX-License-Identifier: BSD-3-Clause
/*
 * Preloaded under the proxy: the resolver and the heap do what a test wants. $LOAD_FAULTS is a
 * file that both have mapped.
 *
 * Names: *.up.test is 127.0.0.1 at once; *.down.test waits for its server, as long as the test
 * says that it is silent, and is EAI_AGAIN then; everything else is glibc's.
 *
 * Heap: allocation number fail_at of process pid fails, counted from when that was written, and
 * after it every fail_every-th. Anonymous mmap() counts, too.
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
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct shared {
	_Atomic uint32_t silent;  /* name servers */
	_Atomic uint32_t waiting; /* names that wait for one */
	_Atomic uint32_t pid;
	_Atomic uint32_t fail_at;
	_Atomic uint32_t fail_every;
	_Atomic uint32_t cnt;	 /* allocations since */
	_Atomic uint32_t failed; /* of those */
};

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

/* ---- heap ---- */

static int fails(void)
{
	uint32_t n;

	if (!shared || !shared->fail_at || shared->pid != (uint32_t)getpid())
		return 0;
	n = atomic_fetch_add(&shared->cnt, 1) + 1;
	if (n != shared->fail_at &&
	    (!shared->fail_every || n < shared->fail_at || (n - shared->fail_at) % shared->fail_every))
		return 0;
	atomic_fetch_add(&shared->failed, 1);
	errno = ENOMEM;
	return 1;
}

void *__libc_malloc(size_t len);
void *__libc_calloc(size_t n, size_t len);
void *__libc_realloc(void *mem, size_t len);

void *malloc(size_t len)
{
	return fails() ? NULL : __libc_malloc(len);
}

void *calloc(size_t n, size_t len)
{
	return fails() ? NULL : __libc_calloc(n, len);
}

void *realloc(void *mem, size_t len)
{
	return fails() ? NULL : __libc_realloc(mem, len);
}

void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	if ((flags & MAP_ANONYMOUS) && fails())
		return MAP_FAILED;
	return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, off);
}
