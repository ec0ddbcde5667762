// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls mmap.data munmap madvise */
/* Theory of operation: zeroed.h. */
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "zeroed.h"

#ifdef AMPSOCK_SANITIZED
static const bool sanitized = true; /* they look after what is in the heap */
#else
static const bool sanitized = false;
#endif

void *amp_zeroed_new(size_t len)
{
	void *p;

	if (sanitized)
		return calloc(1, len);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	madvise(p, len,
		MADV_NOHUGEPAGE); /* of neighbours: where nobody has been is to stay so */
	return p;
}

void amp_zeroed_free(void *ptr, size_t len)
{
	if (sanitized)
		free(ptr);
	else if (ptr)
		munmap(ptr, len);
}
