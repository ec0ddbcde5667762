// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls mmap.data munmap rt_sigaction rt_sigreturn */
/*
 * Theory of operation: sigbus.h. The table of guards is the only global; slots and counts
 * change with release stores, so that the handler sees whole entries only.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "sigbus.h"

static struct amp_sigbus *guard[AMP_SIGBUS_GUARDS]; /* atomic */

int amp_sigbus_enter(struct amp_sigbus *g)
{
	for (unsigned i = 0; i < AMP_SIGBUS_GUARDS; i++) {
		struct amp_sigbus *none = NULL;

		if (__atomic_compare_exchange_n(&guard[i], &none, g, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return 0;
	}
	return -ENFILE;
}

void amp_sigbus_unmap(struct amp_sigbus *g)
{
	unsigned cnt = g->cnt;

	__atomic_store_n(&g->cnt, 0, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < cnt; i++)
		munmap(g->area[i].map, g->area[i].len);
	memset(g->area, 0, sizeof(g->area));
}

void amp_sigbus_leave(struct amp_sigbus *g)
{
	amp_sigbus_unmap(g);
	for (unsigned i = 0; i < AMP_SIGBUS_GUARDS; i++) {
		if (__atomic_load_n(&guard[i], __ATOMIC_RELAXED) == g)
			__atomic_store_n(&guard[i], NULL, __ATOMIC_RELEASE);
	}
}

void amp_sigbus_add(struct amp_sigbus *g, void *map, size_t len)
{
	g->area[g->cnt].map = map;
	g->area[g->cnt].len = len;
	__atomic_store_n(&g->cnt, g->cnt + 1, __ATOMIC_RELEASE);
}

static bool owns(const struct amp_sigbus *g, unsigned cnt, const uint8_t *addr)
{
	for (unsigned i = 0; i < cnt; i++) {
		if ((size_t)(addr - g->area[i].map) < g->area[i].len)
			return true;
	}
	return false;
}

/* Async-signal-safe: mmap() is a bare system call. false: not ours, or no way out. */
static bool bury(const uint8_t *addr)
{
	for (unsigned i = 0; i < AMP_SIGBUS_GUARDS; i++) {
		struct amp_sigbus *g = __atomic_load_n(&guard[i], __ATOMIC_ACQUIRE);
		unsigned cnt = g ? __atomic_load_n(&g->cnt, __ATOMIC_ACQUIRE) : 0;

		if (!g || !owns(g, cnt, addr))
			continue;
		g->dead = 1;
		for (unsigned k = 0; k < cnt; k++) {
			if (mmap(g->area[k].map, g->area[k].len, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
				 0) == MAP_FAILED)
				return false;
		}
		return true;
	}
	return false;
}

static void on_sigbus(int sig, siginfo_t *info, void *ctx)
{
	int saved = errno;

	(void)ctx;
	/* a SIGBUS that somebody sent has a code <= 0 and no address */
	if (info->si_code <= 0 || !bury(info->si_addr)) {
		/* blocked until we return: then the process ends with the default action */
		signal(sig, SIG_DFL);
		raise(sig);
	}
	errno = saved;
}

int amp_sigbus_install(void)
{
	struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};

	sigemptyset(&sa.sa_mask);
	return sigaction(SIGBUS, &sa, NULL) < 0 ? -errno : 0;
}
