// SPDX-License-Identifier: BSD-3-Clause
/*
 * Preloaded under the proxy where a test has no minutes to wait, or as long as it likes: the
 * monotonic clock is ahead by as many seconds as the first 64-bit number in the file $CLOCK_AHEAD
 * says, or stands at the second one's nanoseconds, if that is not 0.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NSEC 1000000000

static struct {
	_Atomic(int64_t) ahead_s, stands_ns;
} * clock_file;

__attribute__((constructor)) static void begin(void)
{
	int fd = open(getenv("CLOCK_AHEAD"), O_RDONLY | O_CLOEXEC);

	clock_file = mmap(NULL, sizeof(*clock_file), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (clock_file == MAP_FAILED)
		abort();
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int r = (int)syscall(SYS_clock_gettime, id, ts);
	int64_t stands_ns;

	if (r || !clock_file || (id != CLOCK_MONOTONIC && id != CLOCK_MONOTONIC_COARSE))
		return r;
	ts->tv_sec += atomic_load(&clock_file->ahead_s);
	stands_ns = atomic_load(&clock_file->stands_ns);
	if (stands_ns)
		*ts = (struct timespec){stands_ns / NSEC, stands_ns % NSEC};
	return 0;
}
