// SPDX-License-Identifier: BSD-3-Clause
/* Preloaded under the proxy: there is no memory for a buffer of 256 KiB, and for all else there is. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	if (len == 256u * 1024u && (flags & MAP_ANONYMOUS)) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, off);
}
